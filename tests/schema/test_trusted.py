"""Trusted documents: asked for by their hash over every transport, and the only ones of kinds of callers so set."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import get_args

import pytest

from backend.auth.principal import PrincipalKind
from backend.config import PrincipalWord, Settings, read_settings
from backend.errors import BadSetting
from backend.schema.execute import Documents, document_hash
from backend.schema.http import GRAPHQL_TYPE, make_documents
from backend.schema.root import build_schema
from backend.schema.trusted import check_operations, manifest_text, read_operations, trust_operations
from tests.databases import fresh_sqlite
from tests.schema.conftest import PASSWORD, Door
from tests.schema.lines import events, line
from tests.servers import JsonObject, Served, serve

OPERATIONS = {operation.path.stem: operation for operation in read_operations()}
ME = OPERATIONS["me"]
SIGN_IN = OPERATIONS["signIn"]
FREE = "query Free { me { name } }"


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The edge is the same above both databases; one is enough."""
    return fresh_sqlite(sqlite_template, tmp_path)


def by_hash(sha256: str) -> JsonObject:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256}}}


FORMS = [
    {"documentId": f"sha256:{ME.sha256}"},
    {"documentId": ME.sha256},
    {"documentId": ME.sha256.upper()},
    by_hash(ME.sha256),
    {"query": "", **by_hash(ME.sha256)},
    {"query": None, "documentId": ME.sha256},
    {"query": ME.text, **by_hash(ME.sha256)},
    {"documentId": f"sha256:{ME.sha256}", **by_hash(ME.sha256)},
]


async def token_of(door: Door) -> str:
    token: str = (await door.sign_in())["accessToken"]
    return token


def codes(answer: JsonObject) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


async def test_a_document_is_asked_for_by_its_hash_in_every_form(door: Door) -> None:
    token = await token_of(door)
    head = {"authorization": f"Bearer {token}"}
    expected = (await door.served.ask(ME.text, token=token))["data"]["me"]
    for form in FORMS:
        answer = await door.served.post(form, **head)
        assert answer.json()["data"]["me"] == expected, form
    for form in ({"documentId": ME.sha256}, {"extensions": json.dumps(by_hash(ME.sha256)["extensions"])}):
        got = await door.served.client.get("/graphql", params=form, headers=head)
        assert got.json()["data"]["me"] == expected, form
        streamed = await door.served.client.get("/graphql/stream", params=form, headers=head)
        assert '"me":' in streamed.text, form
    async with line(door.served, token) as socket:
        for form in FORMS:
            await socket.send({"type": "subscribe", "id": "a", "payload": form})
            assert (await socket.hear())["payload"]["data"]["me"] == expected, form
            assert await socket.hear() == {"type": "complete", "id": "a"}
        await socket.send({"type": "subscribe", "id": "b", "payload": by_hash(OPERATIONS["syncPoke"].sha256)})
        assert await socket.clock("b") >= 0


async def test_a_hash_nobody_knows_is_told_and_one_of_another_text_is_refused(door: Door) -> None:
    unknown = "0" * 64
    for form in ({"documentId": unknown}, {"documentId": "md5:5"}, {"documentId": "x" * 10_000}, by_hash(unknown)):
        answer = await door.served.post(form, accept=GRAPHQL_TYPE)
        assert answer.status_code == 400
        assert codes(answer.json()) == ["PERSISTED_QUERY_NOT_FOUND"], form
    for form in (
        {"query": FREE, "documentId": ME.sha256},
        {"query": FREE, **by_hash(ME.sha256)},
        {"documentId": unknown, **by_hash(ME.sha256)},
        {"documentId": 5},
        {"documentId": ""},
        {"extensions": {"persistedQuery": 5}},
        {"extensions": {"persistedQuery": {}}},
        {"extensions": {"persistedQuery": {"sha256Hash": None}}},
        {"extensions": {"persistedQuery": {"sha256Hash": ["x"]}}},
    ):
        answer = await door.served.post(form)
        assert (answer.status_code, codes(answer.json())) == (400, ["BAD_REQUEST"]), form
    async with line(door.served, await token_of(door)) as socket:
        await socket.send({"type": "subscribe", "id": "a", "payload": {"query": "", "documentId": unknown}})
        heard = await socket.hear()
        assert (heard["type"], codes({"errors": heard["payload"]})) == ("error", ["PERSISTED_QUERY_NOT_FOUND"])
        await socket.send({"type": "subscribe", "id": "a", "payload": {"documentId": 5}})
        assert (await socket.end())[0] == 4400


async def test_a_mutation_by_its_hash_is_none_to_get(door: Door) -> None:
    answer = await door.served.client.get("/graphql", params={"documentId": SIGN_IN.sha256})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@asynccontextmanager
async def strict(door: Door, *kinds: str, **settings: object) -> AsyncIterator[Served]:
    given = door.served.services.settings.model_copy(update={"trusted_documents_only": kinds, **settings})
    async with serve(given, clock=door.clock) as served:
        yield served


async def test_kinds_so_set_are_answered_trusted_documents_only(door: Door) -> None:
    variables = {
        "email": door.email,
        "password": PASSWORD,
        "device": {"id": "019a7d00-0000-7000-8000-00000000d001", "name": "a phone", "platform": "IOS"},
    }
    async with strict(door, "ANONYMOUS", "STAFF") as served:
        free = await served.post({"query": FREE}, accept=GRAPHQL_TYPE)
        assert free.status_code == 400
        assert codes(free.json()) == ["DOCUMENT_NOT_TRUSTED"]
        assert codes(await served.ask("{ never parsed")) == ["DOCUMENT_NOT_TRUSTED"]
        signed_in = (await served.post({"documentId": SIGN_IN.sha256, "variables": variables})).json()
        token = signed_in["data"]["signIn"]["accessToken"]
        assert codes(await served.ask(FREE, token=token)) == ["DOCUMENT_NOT_TRUSTED"]
        assert "data" in await served.ask(ME.text, token=token)
        got = await served.client.get("/graphql", params={"query": FREE}, headers={"authorization": f"Bearer {token}"})
        assert codes(got.json()) == ["DOCUMENT_NOT_TRUSTED"]
        async with line(served, token) as socket, events(served, FREE, token) as stream:
            await socket.subscribe("a", FREE)
            heard = await socket.hear()
            assert (heard["type"], codes({"errors": heard["payload"]})) == ("error", ["DOCUMENT_NOT_TRUSTED"])
            assert codes((await stream.event())[1]) == ["DOCUMENT_NOT_TRUSTED"]
        # a token that is not taken is what to tell him of: with another he may be of a kind that asks what it likes
        assert codes(await served.ask(FREE, token="worn")) == ["UNAUTHENTICATED"]


async def test_other_kinds_may_ask_what_they_like(door: Door) -> None:
    token = await token_of(door)
    async with strict(door, "ANONYMOUS", "SERVICE") as served:
        assert "data" in await served.ask(FREE, token=token)
        assert codes(await served.ask("{ serverTime }")) == ["DOCUMENT_NOT_TRUSTED"]
    async with strict(door, "STAFF") as served:
        assert codes(await served.ask(FREE, token=token)) == ["DOCUMENT_NOT_TRUSTED"]
        assert "data" in await served.ask("{ __typename }")


async def test_a_folder_of_further_documents_is_trusted_too(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "free.graphql").write_text(FREE)
    by_windows = "query Windows {\r\n  __typename\r\n}\r\n"
    (folder / "windows.graphql").write_bytes(by_windows.encode())
    token = await token_of(door)
    async with strict(door, "STAFF", trusted_documents_dir=folder) as served:
        assert "data" in await served.ask(FREE, token=token)
        hash_of_bytes = sha256((folder / "windows.graphql").read_bytes()).hexdigest()
        answer = await served.post({"documentId": f"sha256:{hash_of_bytes}"}, authorization=f"Bearer {token}")
        assert set(answer.json()) == {"data"}
        assert "data" in await served.ask(by_windows, token=token)
        answer = await served.post({"documentId": document_hash(FREE)}, authorization=f"Bearer {token}")
        assert set(answer.json()) == {"data"}


def test_a_setting_names_kinds_that_exist() -> None:
    assert set(get_args(PrincipalWord)) == {kind.value for kind in PrincipalKind}
    assert read_settings(trusted_documents_only="ANONYMOUS, STAFF").trusted_documents_only == ("ANONYMOUS", "STAFF")
    with pytest.raises(BadSetting, match="SELVEDGE_TRUSTED_DOCUMENTS_ONLY"):
        read_settings(trusted_documents_only="NOBODY")


def test_the_schema_answers_every_operation_of_the_contract() -> None:
    """Within the limits as they are unless somebody sets others."""
    check_operations(build_schema(), Settings())
    manifest = json.loads(manifest_text())
    assert {name.removesuffix(".graphql") for name in manifest} == set(OPERATIONS)
    for name, operation in OPERATIONS.items():
        assert manifest[f"{name}.graphql"]["sha256"] == document_hash(operation.path.read_text())
        assert manifest[f"{name}.graphql"]["operation"] == name[0].upper() + name[1:]
    assert len({operation.sha256 for operation in OPERATIONS.values()}) == len(OPERATIONS) >= 20


@pytest.mark.parametrize(
    "text",
    ["query Q { nothing }", "{ me { name } }", "query A { __typename } query B { __typename }", "query {", "",
     "fragment F on Me { name }", "query Q { " + " ".join(f"a{n}: __typename" for n in range(11)) + " }"],
)  # fmt: skip
def test_a_server_does_not_start_with_a_document_it_cannot_answer(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.graphql").write_text(text)
    with pytest.raises(BadSetting, match=r"bad\.graphql"):
        check_operations(build_schema(), Settings(trusted_documents_dir=tmp_path))
    with pytest.raises(BadSetting, match="nowhere"):
        check_operations(build_schema(), Settings(trusted_documents_dir=tmp_path / "nowhere"))


def test_trusted_documents_are_read_once_and_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    documents, _ = make_documents(build_schema(), Settings(document_cache_entries_max=1))
    trust_operations(documents, Settings())
    read: list[str] = []
    prepare = Documents._prepare
    monkeypatch.setattr(Documents, "_prepare", lambda *given: read.append(given[2]) or prepare(*given))
    for _ in range(3):
        assert documents.trusted(ME.sha256) is documents.prepare(ME.text)
        free = documents.prepare(FREE)
    found = documents.trusted(ME.sha256)
    assert found is not None
    assert (found.trusted, free.trusted) == (True, False)
    assert documents.prepare(FREE) is free
    assert read == [ME.text, FREE]
