"""Questions about the schema: made beside the loop, one at a time, kept within bounds, and answered as ever."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphql import get_introspection_query

from backend.config import Settings
from backend.schema import introspection
from backend.schema.execute import execute
from backend.schema.introspection import SchemaAnswers
from tests.databases import fresh_sqlite
from tests.schema.conftest import Door

ASKED = """query ($old: Boolean = false, $on: Boolean!) {
  __type(name: "Customer") { name fields(includeDeprecated: $old) @include(if: $on) { name } } }"""


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Nothing of it is the database's; one is enough."""
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture
def server_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, data_dir=tmp_path / "var")


class Made:
    """What was made, in which threads, and how much of it at the same time."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.at_once = self.at_once_most = 0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    seen, real, counting = Made(), introspection.begin, threading.Lock()

    def begin(*args: Any) -> Any:
        with counting:
            seen.threads.append(threading.current_thread())
            seen.at_once += 1
            seen.at_once_most = max(seen.at_once_most, seen.at_once)
        try:
            return real(*args)
        finally:
            with counting:
                seen.at_once -= 1

    monkeypatch.setattr(introspection, "begin", begin)
    return seen


async def test_what_tools_ask_is_made_once_and_not_by_the_loop(door: Door, made: Made) -> None:
    text = get_introspection_query(descriptions=True)
    answers = await asyncio.gather(*(door.served.ask(text) for _ in range(4)))
    assert len(made.threads) == 1
    assert made.threads[0] is not threading.main_thread()
    services = door.served.services
    plain = await execute(services.schema, services.context(None, "en"), services.documents, text)
    assert all(answer == plain for answer in answers)
    assert len(answers[0]["data"]["__schema"]["types"]) > 100


async def test_each_question_has_its_own_answer_and_one_is_made_at_a_time(door: Door, made: Made) -> None:
    kept_max = door.served.services.settings.schema_answers_max
    texts = [f'{{ a{n}: __typename __type(name: "Customer") {{ name n{n}: kind }} }}' for n in range(kept_max + 4)]
    for _ in range(2):
        found = await asyncio.gather(*(door.served.ask(text) for text in texts))
        for n, answer in enumerate(found):
            assert answer == {"data": {f"a{n}": "Query", "__type": {"name": "Customer", f"n{n}": "OBJECT"}}}
    assert made.at_once_most == 1
    assert len(door.served.app.state.graphql._schema_answers) == kept_max


async def test_answers_that_are_kept_stay_within_their_bytes(door: Door, made: Made) -> None:
    """Two of these answers are more than the bound, and the largest by itself."""
    edge, bound = door.served.app.state.graphql, 700
    settings = door.served.services.settings.model_copy(update={"schema_answers_bytes_max": bound})
    kept = edge._schema_answers = SchemaAnswers(door.served.services.schema, settings)
    texts = ['{ __type(name: "Customer") { description fields { name } } }']
    texts += [f'{{ __type(name: "Me") {{ {" ".join(f"{name}{n}: name" for n in range(45))} }} }}' for name in "abc"]
    for text in texts * 2:
        assert "errors" not in await door.served.ask(text)
        assert kept._bytes <= bound
    assert len(kept) == 1
    assert len(made.threads) == 8


async def test_variables_make_another_answer_and_a_wrong_one_is_not_kept(door: Door, made: Made) -> None:
    for _ in range(2):
        assert "fields" in (await door.served.ask(ASKED, {"on": True}))["data"]["__type"]
        assert "fields" not in (await door.served.ask(ASKED, {"on": False}))["data"]["__type"]
        assert "errors" in await door.served.ask(ASKED, {})
        assert "fields" in (await door.served.ask(ASKED, {"on": True, "old": True, "more": "9" * 60}))["data"]["__type"]
    assert len(made.threads) == 3 + 2


BESIDE: list[tuple[str, Callable[[Any], bool]]] = [
    ("{ __typename }", lambda data: data == {"__typename": "Query"}),
    ("mutation { __typename }", lambda data: data == {"__typename": "Mutation"}),
    ("{ __schema { queryType { name } } me { id } }", lambda data: data["me"]["id"]),
    ("{ ...A } fragment A on Query { me { id } __schema { queryType { name } } }", lambda data: data["me"]["id"]),
]


@pytest.mark.parametrize(("text", "right"), BESIDE)
async def test_what_asks_for_more_than_the_schema_goes_the_usual_way(
    door: Door, made: Made, text: str, right: Callable[[Any], bool]
) -> None:
    token = (await door.sign_in())["accessToken"]
    assert right((await door.served.ask(text, token=token))["data"])
    assert made.threads == []


async def test_by_a_fragment_it_is_the_schema_all_the_same(door: Door, made: Made) -> None:
    text = "{ ...A } fragment A on Query { __schema { queryType { name } } }"
    assert (await door.served.ask(text))["data"] == {"__schema": {"queryType": {"name": "Query"}}}
    assert len(made.threads) == 1
