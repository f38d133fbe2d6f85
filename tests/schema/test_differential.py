"""Compiled answers against ordinary ones, on documents nobody thought of."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from graphql import print_schema
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries

from backend.schema.execute import core_schema
from backend.storage.engine import Engine, open_engine
from tests.databases import fresh_postgres, fresh_sqlite
from tests.reads.asking import SCHEMA, Asker
from tests.reads.documents import Writer
from tests.reads.world import PRINCIPALS, World, make_world

HYPOTHESIS_DOCUMENTS = 40
WRITTEN_DOCUMENTS = 70
ROOT_FIELDS = [
    "node",
    "customer",
    "customers",
    "contact",
    "contacts",
    "visit",
    "visits",
    "order",
    "orders",
    "task",
    "tasks",
    "territory",
    "territories",
    "people",
    "scores",
    "scoreRuns",
    "styles",
    "seasons",
    "priceLists",
]
_ID = re.compile(r'\b((?:id|\w+Id): )"(?:[^"\\]|\\.)*"')
_COUNT = re.compile(r"\b(first|last): -?\d+")
_CURSOR = re.compile(r'\b(?:after|before): (?:"(?:[^"\\]|\\.)*"|null)(?:, )?')
_LAST = re.compile(r"\blast: (?:-?\d+|null)(?:, )?")
_EMPTY = re.compile(r"\(\s*\)")
_CURSOR_GIVEN = re.compile(r'"([0-9A-F]{60,})"')
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def hypothesis_documents(count: int) -> list[str]:
    """Documents drawn by hypothesis, the same every time; no shrinking: the database is asked elsewhere."""
    found: list[str] = []
    scalars = {
        "DateTime": st.sampled_from(["2026-01-01T00:00:00.000Z", "2025-12-30T23:59:59.999Z"]).map(nodes.String),
        "Date": st.just("2026-01-01").map(nodes.String),
        "JSON": st.just("{}").map(nodes.String),
        "BigInt": st.just(1).map(nodes.Int),
    }
    strategy = queries(print_schema(core_schema(SCHEMA)), fields=ROOT_FIELDS, custom_scalars=scalars, allow_x00=False)

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def gather(document: str) -> None:
        found.append(document)

    gather()
    return found


def made_real(document: str, world: World, rng: random.Random) -> str:
    """The same document with ids that exist and pages that are mostly allowed."""
    ids = world.everything
    text = _ID.sub(lambda found: f'{found[1]}"{rng.choice(ids)}"', document)
    text = _COUNT.sub(lambda found: f"{found[1]}: {rng.choice([0, 1, 2, 3, 20, rng.randrange(-1, 120)])}", text)
    if rng.random() < 0.9:
        text = _EMPTY.sub("", _LAST.sub("", _CURSOR.sub("", text)))
    return text


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return hypothesis_documents(HYPOTHESIS_DOCUMENTS)


class Questions:
    """Who asks what. Cursors of earlier answers come back as arguments of later documents."""

    def __init__(self, drawn: list[str], world: World, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = world
        self.drawn = drawn
        self.writer = Writer(core_schema(SCHEMA), world.everything, seed)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for document in self.drawn:
            yield self.rng.choice(PRINCIPALS), made_real(document, self.world, self.rng)
        for _ in range(WRITTEN_DOCUMENTS):
            yield self.rng.choice(PRINCIPALS), self.writer.document(ROOT_FIELDS)

    def learn(self, answer: bytes) -> None:
        self.writer.cursors = (self.writer.cursors + _CURSOR_GIVEN.findall(answer.decode()))[-40:]


async def test_both_ways_answer_the_same_to_the_byte(engine: Engine, drawn: list[str]) -> None:
    asker = Asker(engine, await make_world(engine))
    questions = Questions(drawn, asker.world, seed=5)
    compiled = ordinary = size = 0
    for who, document in questions:
        expected = await asker.bytes(who, document, compiled=False)
        answer = await asker.bytes(who, document)
        assert answer == expected, (who, document)
        assert b'"INTERNAL"' not in answer, (who, document)
        questions.learn(answer)
        compiled += asker.reads.compiled
        ordinary += asker.reads.fallbacks
        size += len(answer)
    # a comparison of nothing with nothing would pass too
    assert compiled > HYPOTHESIS_DOCUMENTS + WRITTEN_DOCUMENTS
    assert ordinary > 0
    assert size > 60_000


@pytest.mark.postgres
async def test_both_databases_print_the_same_bytes(
    sqlite_template: Path, postgres_server: str, tmp_path: Path, drawn: list[str]
) -> None:
    async with fresh_postgres(postgres_server) as url:
        askers = []
        for address in (fresh_sqlite(sqlite_template, tmp_path), url):
            engine = open_engine(address)
            await engine.start()
            askers.append(Asker(engine, await make_world(engine)))
        questions = Questions(drawn, askers[0].world, seed=6)
        for who, document in questions:
            here, there = [await asker.bytes(who, document) for asker in askers]
            assert here == there, (who, document)
            questions.learn(here)
        for asker in askers:
            await asker.engine.close()


@pytest.mark.parametrize("compiled", [True, False])
async def test_no_id_of_another_rep_is_ever_answered(engine: Engine, drawn: list[str], compiled: bool) -> None:
    asker = Asker(engine, await make_world(engine))
    questions = Questions(drawn, asker.world, seed=8)
    foreign = set(_foreign(asker.world))
    assert len(foreign) > 40
    for _, document in questions:
        answer = await asker.bytes("rep1", document, compiled=compiled)
        told = set(_UUID.findall(answer.decode())) | set(_in_cursors(answer))
        assert not told & foreign - set(_UUID.findall(document)), document
        questions.learn(answer)


def _in_cursors(answer: bytes) -> Iterator[str]:
    for cursor in _CURSOR_GIVEN.findall(answer.decode()):
        yield str(orjson.loads(bytes.fromhex(cursor))[-1])


def _foreign(world: World) -> Iterator[str]:
    """Ids of rep2's territory, but the chain's head whose door rep1 has."""
    south = world.territories[2]
    for record_id, territory_id in world.territory_of.items():
        if territory_id == south and record_id not in world.customers["head"]:
            yield record_id
