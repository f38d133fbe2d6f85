"""Bare bytes on a socket: a 4xx or a closed connection, never a 5xx, never a wait without end; it lives on."""

import asyncio
import json
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backend.config import Settings
from tests.schema.conftest import Door
from tests.servers import Served, serve

PATIENCE_SECONDS = 20
OK = b'{"query": "{ __typename }"}'


async def said(served: Served, *sent: bytes, end: bool = False) -> bytes:
    """All that the server says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    found = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                for part in sent:
                    writer.write(part)
                    await writer.drain()
                if end:
                    writer.write_eof()
                while part := await reader.read(65_536):
                    found += part
            except ConnectionError:
                pass
    finally:
        writer.close()
    return bytes(found)


def head(served: Served, *lines: str, first: str = "POST /graphql HTTP/1.1") -> bytes:
    host = f"Host: 127.0.0.1:{served.port}"
    return "\r\n".join([first, host, "Connection: close", *lines, "", ""]).encode("latin-1")


def request(served: Served, body: bytes, *lines: str) -> bytes:
    return head(served, "Content-Type: application/json", f"Content-Length: {len(body)}", *lines) + body


def statuses(answers: bytes) -> list[int]:
    """The status of each answer in these bytes."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


async def lives(served: Served) -> None:
    answer = await served.client.post("/graphql", content=OK, headers={"content-type": "application/json"})
    assert answer.json() == {"data": {"__typename": "Query"}}


def variables(text: str) -> bytes:
    """A request whose one variable is written so."""
    return b'{"query": "query ($n: Int) { __typename @skip(if: false) }", "variables": {"n": ' + text.encode() + b"}}"


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "a number": b"5",
    "null": b"null",
    "a text": b'"x"',
    "a list": b"[]",
    "a batch": b"[" + OK + b"]",
    "half a map": b'{"query"',
    "bytes that are no UTF-8": b'{"query": "{ \xc3\x28 }"}',
    "an overlong form": b'{"query": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"query": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"query": "{ __typename } # \\ud800"}',
    "UTF-16": OK.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + OK,
    "zeros": b"\x00" * 1_000,
    "100,000 lists": b"[" * 100_000,
    "100,000 lists and their ends": variables("[" * 100_000 + "]" * 100_000),
    "100,000 maps": variables('{"a":' * 100_000 + "1" + "}" * 100_000),
    "200 lists": variables("[" * 200 + "]" * 200),
    "400,000 digits": variables("9" * 200_000),
    "a number too large": variables("1e999"),
    "NaN": variables("NaN"),
    "Infinity": variables("-Infinity"),
    "a comment": b"/* */" + OK,
    "two maps": OK + OK,
    "400,000 digits in the document": b'{"query": "{ node(id: ' + b"9" * 90_000 + b') { id } }"}',
    "400,000 digits of an Int in the document": b'{"query": "{ customers(first: %s) { nodes { id } } }"}'
    % (b"9" * 90_000),
    "a document of half a surrogate": json.dumps({"query": '{ node(id: "\\uD800") { id } }'}).encode(),
    "a document of lists": json.dumps({"query": "{ node(id: " + "[" * 20_000 + ") { id } }"}).encode(),
    "a document of braces": json.dumps({"query": "{" * 50_000}).encode(),
    "a document of quotes": json.dumps({"query": '"' * 50_000}).encode(),
    "a document of one long comment": json.dumps({"query": "#" * 200_000}).encode(),
}


async def test_no_body_is_too_strange_to_be_refused(served: Served) -> None:
    for name, body in BODIES.items():
        for accept in ("application/json", "application/graphql-response+json"):
            answer = await said(served, request(served, body, f"Accept: {accept}"))
            [status] = statuses(answer)
            told = accept == "application/json" and status == 200 and b'"errors"' in answer and b'"data"' not in answer
            assert 400 <= status < 500 or told, (name, answer[:300])
            assert b"x-content-type-options: nosniff" in answer, name
            assert b"cache-control: no-store" in answer, name
            assert b"INTERNAL" not in answer, (name, answer)
            assert b"Traceback" not in answer
    await lives(served)


HEADS: dict[str, tuple[str, ...]] = {
    "both lengths": ("Content-Length: 27", "Transfer-Encoding: chunked"),
    "both lengths, the other way about": ("Transfer-Encoding: chunked", "Content-Length: 27"),
    "two lengths": ("Content-Length: 27", "Content-Length: 5"),
    "a length below nothing": ("Content-Length: -1",),
    "a length with a sign": ("Content-Length: +27",),
    "a length of many digits": ("Content-Length: " + "9" * 40,),
    "an unknown encoding": ("Transfer-Encoding: gzip",),
    "chunked twice": ("Transfer-Encoding: chunked, chunked",),
    "a space before the colon": ("Content-Length : 27",),
    "a folded line": ("X: a", " b"),
    "a zero": ("X: a\x00b",),
    "a line feed alone": ("X: a\nContent-Length: 27",),
    "no name": (": x",),
    "one of 200,000 characters": ("X: " + "y" * 200_000,),
    "5,000 of them": tuple(f"X-{n}: y" for n in range(5_000)),
    "a hundred and fifty": tuple(f"X-{n}: y" for n in range(150)),
    "two of who asks": ("Authorization: Bearer a", "Authorization: Bearer b"),
    "two types": ("Content-Type: application/json", "Content-Type: text/plain"),
    "two hosts": ("Host: elsewhere",),
}


async def test_no_head_is_too_strange_to_be_refused(served: Served) -> None:
    for name, lines in HEADS.items():
        given = lines if "type" in name else ("Content-Type: application/json", *lines)
        answer = await said(served, head(served, *given) + OK, end=True)
        assert len(statuses(answer)) <= 1, (name, answer)
        assert all(400 <= status < 500 for status in statuses(answer)), (name, answer[:300])
    await lives(served)


async def test_a_head_that_is_too_large_is_told_so(served: Served) -> None:
    for lines in (HEADS["one of 200,000 characters"], HEADS["5,000 of them"]):
        answer = await said(served, head(served, *lines), end=True)
        assert statuses(answer) in ([431], [400])
    assert statuses(await said(served, head(served, *HEADS["a hundred and fifty"]), end=True)) == [431]
    long = f"GET /graphql?query={'x' * 90_000} HTTP/1.1"
    assert statuses(await said(served, head(served, first=long), end=True))[0] in (414, 431, 400)


FIRST_LINES = [
    "POST /graphql HTTP/9.9", "POST /graphql", "\x16\x03\x01\x02\x00", "GET http://[::1 HTTP/1.1", "GET * HTTP/1.1",
    "CONNECT example.com:443 HTTP/1.1", "BREW /graphql HTTP/1.1", "GET /graphql?query=%ff%fe HTTP/1.1",
    "GET /graphql?variables=%5B%5B HTTP/1.1", "GET /../../etc/passwd HTTP/1.1", "GET /files/%00 HTTP/1.1",
    "GET /files/..%2f..%2fetc%2fpasswd HTTP/1.1", "GET /sync/bulk?cursor=%00 HTTP/1.1", "TRACE /graphql HTTP/1.1",
    "GET /sync/bulk?after=a&after=b&schemaVersion=99999999999999999999 HTTP/1.1", "GET /sync/turbo?x=%F0%28 HTTP/1.1",
    "GET /graphql?query=%7B__typename%7D&variables=%00 HTTP/1.1", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0",
]  # fmt: skip


async def test_no_first_line_is_too_strange(served: Served) -> None:
    for line in FIRST_LINES:
        answer = await said(served, head(served, first=line), end=True)
        assert all(status < 500 for status in statuses(answer)), (line, answer[:300])
    await lives(served)


CHUNKS: dict[str, bytes] = {
    "no size": b"\r\n\r\n",
    "a size that is none": b"zz\r\nabc\r\n0\r\n\r\n",
    "a size below nothing": b"-5\r\nabc\r\n0\r\n\r\n",
    "a size of many digits": b"f" * 60 + b"\r\n",
    "a chunk shorter than it says": b"5\r\nab\r\n0\r\n\r\n",
    "a chunk longer than it says": b"1\r\nabcdef\r\n0\r\n\r\n",
    "no end": b"5\r\nabcde\r\n",
    "an endless extension": b"5;" + b"x" * 200_000 + b"\r\nabcde\r\n0\r\n\r\n",
    "another request behind it": b"0\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def test_no_chunks_are_too_strange(served: Served) -> None:
    lines = head(served, "Content-Type: application/json", "Transfer-Encoding: chunked")
    for name, body in CHUNKS.items():
        answer = await said(served, lines + body, end=True)
        assert all(status < 500 for status in statuses(answer)), (name, answer[:300])
    one_by_one = b"".join(b"1\r\n" + OK[place : place + 1] + b"\r\n" for place in range(len(OK)))
    assert statuses(await said(served, lines + one_by_one + b"0\r\n\r\n")) == [200]
    await lives(served)


async def test_what_stands_behind_the_body_is_no_header(door: Door) -> None:
    """A proxy that takes an address or a token out of the head lets trailers through."""
    token = (await door.sign_in())["accessToken"]
    body = b'{"query": "{ me { id } }"}'
    chunked = b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    named, nobody = (f"Authorization: Bearer {token}", "X: y")
    for above, below, status in ((named, nobody, 200), (nobody, named, 401)):
        lines = head(door.served, "Content-Type: application/json", "Transfer-Encoding: chunked", above)
        assert statuses(await said(door.served, lines + chunked + below.encode() + b"\r\n\r\n")) == [status]


async def test_a_body_over_the_cap_in_chunks_is_stopped_at_the_cap(server_settings: Settings) -> None:
    async with serve(server_settings.model_copy(update={"body_bytes_max": 1_000})) as served:
        lines = head(served, "Content-Type: application/json", "Transfer-Encoding: chunked")
        answer = await said(served, lines, *[b"64\r\n" + b" " * 100 + b"\r\n"] * 30, end=True)
        assert statuses(answer) == [413]
        await lives(served)


async def test_requests_in_one_breath_are_answered_in_their_order(served: Served) -> None:
    one = f"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(OK)}\r\n\r\n"
    many = (one.encode() + OK) * 50
    answers = await said(served, many + request(served, b"5"))
    assert statuses(answers) == [200] * 50 + [400]


async def test_who_speaks_too_slowly_is_given_up(server_settings: Settings) -> None:
    bounds = {"head_seconds_max": 1, "body_seconds_max": 1}
    async with serve(server_settings.model_copy(update=bounds)) as served:
        silent, half, begun, slow_body = await asyncio.gather(
            said(served),
            said(served, b"POST /gra"),
            said(served, head(served, "X: y")[:-2]),
            said(served, head(served, "Content-Type: application/json", "Content-Length: 50") + b"{"),
        )
        assert silent == b""
        assert [statuses(half), statuses(begun), statuses(slow_body)] == [[408], [408], [408]]
        await lives(served)


ODD_TEXTS = (
    "\x00",
    "a\x00b",
    "\u202egnirts",
    "\u200b",
    "\ufeff",
    "e\u0301" * 3_000,
    "👩‍👩‍👧‍👦",
    "\U0010ffff",
    "'; DROP TABLE x --",
)
ODD_NUMBERS = ("9007199254740993", "-9007199254740993", "1e400", "0.1", "-0.0", "18446744073709551616", "true", '"5"')
ODD_DAYS = ("0000-00-00", "2026-02-30", "9999-12-31", "1899-12-31", "2026-1-1", "٢٠٢٦-٠١-٠١", "")
CREATE = """mutation ($id: ID!, $input: TaskCreate!) { createTask(id: $id, input: $input) { __typename } }"""


async def test_odd_texts_numbers_and_days_are_taken_or_refused_by_name(door: Door) -> None:
    token = (await door.sign_in())["accessToken"]

    async def ask(document: str, text: str) -> str:
        body = b'{"query": ' + json.dumps(document).encode() + b', "variables": ' + text.encode() + b"}"
        answer = await said(door.served, request(door.served, body, f"Authorization: Bearer {token}"))
        assert statuses(answer)[0] < 500, (text, answer)
        assert b"INTERNAL" not in answer, (text, answer)
        return answer.decode()

    search = "query ($text: String) { customers(first: 1, filter: {search: $text}) { nodes { id } } }"
    for odd in ODD_TEXTS:
        for document in (
            search,
            "query ($text: ID!) { node(id: $text) { id } }",
            "query ($text: ID!) { customer(id: $text) { id } }",
        ):
            await ask(document, json.dumps({"text": odd}))
        await ask(
            "query ($text: String) { customers(first: 1, after: $text) { nodes { id } } }", json.dumps({"text": odd})
        )
    for number in ODD_NUMBERS:
        await ask("query ($n: Int) { customers(first: $n) { nodes { id } } }", '{"n": ' + number + "}")
    for day in ODD_DAYS:
        await ask(
            "query ($d: DateTime) { visits(first: 1, filter: {plannedFrom: $d}) { nodes { id } } }",
            json.dumps({"d": day}),
        )
    await lives(door.served)


async def test_a_websocket_against_every_rule_is_closed_with_a_code(served: Served) -> None:
    async def closed_by(*messages: Any) -> int | None:
        async with connect(
            f"ws://127.0.0.1:{served.port}/graphql", subprotocols=["graphql-transport-ws"], open_timeout=10
        ) as socket:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    for message in messages:
                        await socket.send(message)
                    while True:
                        await socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else None

    for message in (
        "",
        "5",
        "null",
        "[]",
        "{",
        '{"type": 5}',
        '{"type": null}',
        "[" * 100_000,
        '{"type": "\\ud800"}',
        "9" * 200_000,
    ):
        assert await closed_by(message) == 4400, message[:50]
    for message in (b"\x00\x01", b"\xff"):
        assert await closed_by(message) == 4400
    assert await closed_by('{"type": "ping", "payload": {"a": "' + "x" * 5_000_000 + '"}}') == 1009
    await lives(served)
