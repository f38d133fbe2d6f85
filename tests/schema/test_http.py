"""GraphQL over HTTP on a real socket: whatever arrives is answered, and never with a 5xx."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import GraphQLError, get_introspection_query

from backend.config import Settings
from backend.domain.wishes import accepted_locale
from backend.errors import OPERATOR, Code
from backend.schema.errors import error_json
from backend.schema.http import GRAPHQL_TYPE, JSON_TYPE, answered_type
from tests.databases import fresh_sqlite
from tests.schema.conftest import Door
from tests.servers import serve

TYPENAME = {"query": "{ __typename }"}
ANSWER = {"data": {"__typename": "Query"}}


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The edge is the same above both databases; one is enough."""
    return fresh_sqlite(sqlite_template, tmp_path)


def code_of(answer: httpx.Response) -> str:
    body = answer.json()
    assert set(body) == {"errors"}
    code: str = body["errors"][0]["extensions"]["code"]
    return code


async def raw(door: Door, sent: bytes, *, half_close: bool = False) -> bytes:
    """What the server says to these very bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.served.port)
    writer.write(sent)
    await writer.drain()
    if half_close:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


def head_of(door: Door, *lines: str) -> bytes:
    host = f"Host: 127.0.0.1:{door.served.port}"
    return "\r\n".join(["POST /graphql HTTP/1.1", host, "Connection: close", *lines, "", ""]).encode()


async def test_every_answer_carries_the_headers_of_the_house(door: Door) -> None:
    for path in ("/graphql", "/live", "/ready", "/graphiql", "/nowhere", "/"):
        answer = await door.served.client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers["x-request-id"]) == 36
    answer = await door.served.post(TYPENAME, x_request_id="phone-0001")
    assert answer.headers["x-request-id"] == "phone-0001"
    answer = await door.served.post(TYPENAME, x_request_id="x" * 65)
    assert len(answer.headers["x-request-id"]) == 36


async def test_live_and_ready_answer(door: Door) -> None:
    assert (await door.served.client.get("/live")).json() == {"status": "live"}
    assert (await door.served.client.get("/ready")).json() == {"status": "ready"}
    await door.served.services.engine.close()
    assert (await door.served.client.get("/ready")).status_code == 503
    assert (await door.served.client.get("/live")).status_code == 200


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, JSON_TYPE),
        ("", JSON_TYPE),
        ("*/*", JSON_TYPE),
        ("application/*", JSON_TYPE),
        ("application/json", JSON_TYPE),
        ("APPLICATION/JSON; charset=utf-8", JSON_TYPE),
        (GRAPHQL_TYPE, GRAPHQL_TYPE),
        (f"{GRAPHQL_TYPE}, application/json;q=0.9", GRAPHQL_TYPE),
        (f"application/json, {GRAPHQL_TYPE}", JSON_TYPE),
        (f"application/json;q=0.8, {GRAPHQL_TYPE};q=0.9", GRAPHQL_TYPE),
        (f"{GRAPHQL_TYPE};q=0, */*", JSON_TYPE),
        ("text/html, */*;q=0.1", JSON_TYPE),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=much", None),
    ],
)
def test_the_form_of_the_answer_is_negotiated(accept: str | None, wanted: str | None) -> None:
    assert answered_type(accept) == wanted


@pytest.mark.parametrize(
    ("language", "locale"),
    [
        (None, "en"),
        ("", "en"),
        ("ko", "ko"),
        ("zh-TW", "zh-CN"),
        ("en;q=0.1, ko;q=0.2", "ko"),
        ("ko;q=x, zh", "zh-CN"),
        ("*", "en"),
    ],
)
def test_the_language_is_negotiated(language: str | None, locale: str) -> None:
    assert accepted_locale(language) == locale


NOT_RUN = [
    ("{", {}),
    ("{ nothing }", {}),
    ("query ($n: Int!) { __typename @skip(if: $n) }", {}),
    ("query ($locale: Boolean!) { __typename @skip(if: $locale) }", {"locale": "yes"}),
    ("query A { __typename } query B { __typename }", {}),
    ("fragment F on Query { __typename }", {}),
    ("{ ...F } fragment F on Query { ...F }", {}),
    ("{ " + " ".join(f"a{n}: __typename" for n in range(11)) + " }", {}),
    ("{ " * 5_000, {}),
    ("{ a " * 5_000, {}),
    ("{ __typename " + "# " * 20_000 + "\n" + "a " * 9_000 + "}", {}),
    ("subscription { __typename }", {}),
    ("\ud7ff\u0000", {}),
]


async def test_what_cannot_run_has_no_data_and_says_so_by_its_status(door: Door) -> None:
    for document, variables in NOT_RUN:
        body = {"query": document, "variables": variables}
        answer = await door.served.post(body, accept=GRAPHQL_TYPE)
        assert answer.headers["content-type"] == f"{GRAPHQL_TYPE}; charset=utf-8"
        assert answer.status_code == 400, document[:80]
        assert code_of(answer) in {"BAD_REQUEST", "QUERY_TOO_COSTLY"}
        older = await door.served.post(body, accept=JSON_TYPE)
        assert older.headers["content-type"] == f"{JSON_TYPE}; charset=utf-8"
        assert older.status_code == 200
        assert older.json() == answer.json()


async def test_what_ran_is_answered_with_200_in_both_forms(door: Door) -> None:
    for media_type in (GRAPHQL_TYPE, JSON_TYPE):
        answer = await door.served.post(TYPENAME, accept=media_type)
        assert (answer.status_code, answer.json()) == (200, ANSWER)


async def test_the_parameters_of_a_request_may_be_null_or_left_out(door: Door) -> None:
    body = {"query": "query A { __typename }", "operationName": None, "variables": None, "extensions": None}
    assert (await door.served.post(body)).json() == ANSWER
    assert (await door.served.post(body | {"operationName": "A", "variables": {}, "extra": 5})).json() == ANSWER
    assert code_of(await door.served.post(body | {"operationName": "B"})) == "BAD_REQUEST"


MALFORMED = [
    b"",
    b"5",
    b"null",
    b'"x"',
    b"[]",
    b"[" + json.dumps(TYPENAME).encode() + b"]",
    b"{}",
    b"{",
    b'{"query": null}',
    b'{"query": ""}',
    b'{"query": 5}',
    b'{"query": {}}',
    b'{"query": ["{ __typename }"]}',
    b'{"query": "{ __typename }", "variables": "{}"}',
    b'{"query": "{ __typename }", "variables": []}',
    b'{"query": "{ __typename }", "operationName": 5}',
    b'{"query": "{ __typename }", "extensions": "x"}',
    b'{"query": "{ __typename }", "variables": {"n": ' + b"9" * 400_000 + b"}}",
    b'{"query": "{ __typename }", "variables": {"n": 1e999}}',
    b'{"query": "{ __typename }", "variables": {"n": NaN}}',
    b'{"query": "{ __typename }", "variables": {"n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    b"[" * 100_000,
    b'{"query": "\xff\xfe { __typename }"}',
    b'{"query": "{ __typename } \\ud800"}',
    b"\x00\x01\x02",
    json.dumps(TYPENAME).encode("utf-16"),
]


async def test_a_malformed_body_is_refused_in_every_form(door: Door) -> None:
    for body in MALFORMED:
        for media_type in (GRAPHQL_TYPE, JSON_TYPE):
            headers = {"content-type": JSON_TYPE, "accept": media_type}
            answer = await door.served.client.post("/graphql", content=body, headers=headers)
            assert answer.status_code == 400, body[:80]
            assert code_of(answer) == "BAD_REQUEST"


async def test_a_body_of_another_type_is_refused(door: Door) -> None:
    for content_type in (
        None,
        "",
        "text/plain",
        "application/graphql",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=iso-8859-1",
        "application/json; charset=",
        ";;;",
    ):
        headers = {} if content_type is None else {"content-type": content_type}
        answer = await door.served.client.post("/graphql", content=json.dumps(TYPENAME).encode(), headers=headers)
        assert answer.status_code == 415, content_type
        assert code_of(answer) == "BAD_REQUEST"


async def test_json_is_json_however_it_is_written(door: Door) -> None:
    body = json.dumps({"query": "{ __typename } # 김민서 · 杭州"}, ensure_ascii=False).encode()
    for content_type in (
        "application/json; charset=UTF-8",
        "Application/JSON",
        'application/json;charset="utf-8"',
    ):
        answer = await door.served.client.post("/graphql", content=body, headers={"content-type": content_type})
        assert answer.json() == ANSWER


async def test_get_answers_queries_only(door: Door) -> None:
    client = door.served.client
    assert (await client.get("/graphql", params=TYPENAME)).json() == ANSWER
    several = {"query": "query A { __typename } query B($x: Boolean!) { a: __typename @skip(if: $x) }"}
    answer = await client.get("/graphql", params=several | {"operationName": "B", "variables": '{"x": false}'})
    assert answer.json() == {"data": {"a": "Query"}}
    for refused in (
        {"query": "mutation { __typename }"},
        {"query": "query A { __typename } mutation B { __typename }", "operationName": "B"},
    ):
        answer = await client.get("/graphql", params=refused)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        assert code_of(answer) == "BAD_REQUEST"
    # HEAD is GET without a body, and carries no request of its own
    head = await client.head("/graphql", params=TYPENAME)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"]
    assert (await client.head("/graphql", params={"query": "mutation { __typename }"})).status_code == 405
    carried = await client.request("HEAD", "/graphql", json={"query": "mutation { __typename }"})
    assert carried.status_code == 400
    for malformed in (
        {},
        {"query": ""},
        TYPENAME | {"variables": "{"},
        TYPENAME | {"variables": "5"},
        TYPENAME | {"extensions": "[]"},
    ):
        answer = await client.get("/graphql", params=malformed)
        assert answer.status_code == 400
        assert code_of(answer) == "BAD_REQUEST"


async def test_other_methods_are_not_allowed(door: Door) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert (await door.served.client.request(method, "/graphql")).status_code == 405


async def test_nobody_is_answered_in_a_form_he_did_not_ask_for(door: Door) -> None:
    assert (await door.served.post(TYPENAME, accept="text/html")).status_code == 406


async def test_a_body_over_the_cap_is_refused_stated_or_not(server_settings: Settings) -> None:
    async with serve(server_settings.model_copy(update={"body_bytes_max": 1_000})) as served:
        fits = json.dumps(TYPENAME).encode().ljust(1_000)
        headers = {"content-type": JSON_TYPE}
        assert (await served.client.post("/graphql", content=fits, headers=headers)).json() == ANSWER
        stated = await served.client.post("/graphql", content=fits + b" ", headers=headers)

        async def pieces() -> Any:
            for _ in range(3):
                yield b" " * 400

        streamed = await served.client.post("/graphql", content=pieces(), headers=headers)
        for answer in (stated, streamed):
            assert answer.status_code == 413
            assert code_of(answer) == "TOO_LARGE"


async def test_a_body_that_never_comes_is_given_up(server_settings: Settings, door: Door) -> None:
    async with serve(server_settings.model_copy(update={"body_seconds_max": 1})) as served:
        slow = Door(served, door.clock, door.user_id, door.email)
        said = await raw(slow, head_of(slow, "Content-Type: application/json", "Content-Length: 50") + b'{"query"')
    assert said.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_ends_early_harms_nobody(door: Door) -> None:
    await raw(
        door, head_of(door, "Content-Type: application/json", "Content-Length: 500") + b'{"query"', half_close=True
    )
    assert (await door.served.post(TYPENAME)).json() == ANSWER


async def test_a_broken_head_gets_one_answer_and_no_5xx(door: Door) -> None:
    for lines in (
        ("Content-Length: 28", "Transfer-Encoding: chunked"),
        ("Content-Length: 28", "Content-Length: 5"),
        ("Content-Length: -1",),
        ("Content-Length: many",),
        ("Transfer-Encoding: chunked", "Content-Length : 5"),
        ("X: " + "y" * 200_000,),
        (" broken",),
    ):
        sent = head_of(door, "Content-Type: application/json", *lines) + b'{"query": "{ __typename }"}'
        said = await raw(door, sent, half_close=True)
        assert said.count(b"HTTP/1.1 ") == 1, lines
        assert said.startswith(b"HTTP/1.1 4"), lines
        assert (await door.served.post(TYPENAME)).json() == ANSWER


async def test_a_doubling_document_is_refused_before_it_is_validated(door: Door) -> None:
    fragments = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ... {{ ...F{n + 1} }} }}" for n in range(26))
    text = f"{{ ...F0 }} {fragments} fragment F26 on Query {{ __typename }}"
    answer = await door.served.post({"query": text}, accept=GRAPHQL_TYPE)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "QUERY_TOO_COSTLY"
    assert {problem["params"]["measure"] for problem in error["extensions"]["problems"]} >= {"rootSelections", "cost"}


async def test_tools_may_ask_for_the_schema(door: Door) -> None:
    answer = await door.served.post({"query": get_introspection_query(descriptions=True)})
    assert set(answer.json()) == {"data"}
    assert answer.json()["data"]["__schema"]["mutationType"]["name"] == "Mutation"


async def test_a_failure_of_ours_is_masked_and_told_with_its_id(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("select secret from somewhere")

    monkeypatch.setattr(door.served.app.state.graphql, "answer", broken)
    answer = await door.served.post(TYPENAME, x_request_id="phone-0001")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["errors"][0]["extensions"] == {"code": "INTERNAL", "id": "phone-0001"}


def test_an_error_nobody_expected_is_told_by_its_id_and_by_nothing_it_says() -> None:
    """As resolvers fail: with a text of a library's, which may hold anything."""
    failed = GraphQLError("canary Qzxv", original_error=ValueError("canary Qzxv"), path=["me"])
    told = error_json(failed)
    assert told["extensions"].keys() == {"code", "id"}
    assert (told["extensions"]["code"], told["path"]) == ("INTERNAL", ["me"])
    assert told["message"] == OPERATOR[Code.INTERNAL]


async def test_by_no_door_may_values_stand_deeper_in_each_other_than_the_bound(door: Door) -> None:
    """What is deeper may be read here and not printed there: it is turned away before it is anybody's."""
    bound = door.served.services.settings.value_depth_max

    async def statuses(lists: int) -> list[int]:
        variables = '{"a": ' + "[" * lists + "]" * lists + "}"
        body = '{"query": "{ __typename }", "variables": ' + variables + "}"
        json_type = {"content-type": JSON_TYPE}
        asked = [
            await door.served.client.post("/graphql", content=body, headers=json_type),
            await door.served.client.get("/graphql", params={**TYPENAME, "variables": variables}),
            await door.served.client.get("/graphql", params={**TYPENAME, "extensions": variables}),
            await door.served.client.post("/graphql/stream", content=body, headers=json_type),
            await door.served.client.get("/graphql/stream", params={**TYPENAME, "variables": variables}),
        ]
        return [answer.status_code for answer in asked]

    assert await statuses(bound - 2) == [200] * 5
    assert await statuses(bound) == [400] * 5
