"""`GET /sync/bulk` over a real socket: packed, resumed, refused, broken off."""

import asyncio
import gzip
import json
import sys
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.auth.principal import Role
from backend.config import Settings
from backend.storage.engine import Engine
from backend.sync.work import Door as WorkDoor
from backend.sync.work import open_work
from backend.web.streaming import packer_for
from mobile_contract.replica import Replica
from tests import factories
from tests.schema.conftest import Door
from tests.schema.conftest import door as door
from tests.sync.worlds import staff

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SHOPS = 40
PATIENCE_SECONDS = 60
"""A stream that does not end is a failure, and no test that waits for ever."""


@pytest.fixture
def server_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        data_dir=tmp_path / "var",
        bulk_chunk_rows_max=7,
        bulk_streams_max=2,
        stream_send_seconds_max=1,
    )


@dataclass
class Rep:
    """A signed-in phone with a patch full of shops."""

    door: Door
    token: str
    device_id: str
    patch: str

    async def get(self, query: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        named = {"authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.door.served.client.get("/sync/bulk", params=query, headers=named)

    async def lines(self, query: dict[str, str] | None = None, **headers: str) -> list[str]:
        answer = await self.get(query, **headers)
        assert answer.status_code == 200, answer.text
        return answer.text.splitlines()

    async def refused(self, query: dict[str, str] | None = None, **headers: str) -> tuple[int, str, str]:
        """(status, code, message)"""
        answer = await self.get(query, **headers)
        error = answer.json()["errors"][0]
        return answer.status_code, error["extensions"]["code"], error["message"]


async def fill(engine: Engine, user_id: str) -> str:
    async with open_work(engine, staff("", None, Role.ADMIN), now_ms=factories.NOW_MS, door=WorkDoor.JOB) as work:
        patch = await factories.territory(work.conn, "/r", kind="PATCH")
        await factories.member(work.conn, patch, user_id)
        for number in range(SHOPS):
            shop = await factories.customer(work.conn, name_en=f"Shop {number}", territory_id=patch)
            work.touched("customers", shop)
        work.touched("people", user_id)
        work.touched("territories", patch)
        work.reseat([user_id])
    return patch


@pytest.fixture
async def rep(door: Door) -> Rep:
    patch = await fill(door.served.services.engine, door.user_id)
    session = await door.sign_in()
    return Rep(door, session["accessToken"], session["deviceId"], patch)


async def test_a_phone_holds_everything_after_the_last_line(rep: Rep) -> None:
    phone = Replica()
    assert phone.apply_bulk(await rep.lines(phone.bulk_query()))
    assert len(phone.views("customers")) == SHOPS
    assert phone.refetch == []
    assert phone.ready == {"TODAY", "CATALOGUE"}


async def test_the_first_line_says_how_much_is_to_come_and_the_last_how_much_came(rep: Rep) -> None:
    lines = [json.loads(line) for line in await rep.lines()]
    documents = [line for line in lines if "document" in line]
    assert lines[0]["rows"] == len(documents) == lines[-1]["count"] == SHOPS + 2
    assert lines[-1]["page"]["complete"]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("zstd, gzip", "zstd"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("identity", None),
        ("br", None),
        ("nonsense;;q==,,", None),
        ("", None),
    ],
)
def test_what_the_reader_can_unpack_is_what_he_gets(accepted: str, encoding: str | None) -> None:
    assert packer_for(accepted).encoding == (encoding or "identity")


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
def test_what_was_packed_so_far_can_be_read_before_the_rest_comes(encoding: str) -> None:
    packer = packer_for(encoding)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else zstd.ZstdDecompressor()
    parts = [b'{"customer":%d}\n' % number * 1_000 for number in range(5)]
    for part in [*parts, b""]:
        assert unpacker.decompress(packer.pack(part)) == part
    assert unpacker.decompress(packer.finish()) == b""
    assert unpacker.eof


async def test_packed_lines_are_the_same_lines(rep: Rep) -> None:
    plain = (await rep.get(accept_encoding="identity")).content
    packed: dict[str, bytes] = {}
    for encoding in ("zstd", "gzip"):
        headers = {"authorization": f"Bearer {rep.token}", "accept-encoding": encoding}
        async with rep.door.served.client.stream("GET", "/sync/bulk", headers=headers) as answer:
            assert answer.headers["content-encoding"] == encoding
            assert "Accept-Encoding" in answer.headers["vary"]
            packed[encoding] = b"".join([part async for part in answer.aiter_raw()])
    assert without_cursors(gzip.decompress(packed["gzip"])) == without_cursors(plain)
    assert without_cursors(zstd.decompress(packed["zstd"])) == without_cursors(plain)
    assert max(len(part) for part in packed.values()) < len(plain) / 3


def without_cursors(body: bytes) -> list[Any]:
    lines = [json.loads(line) for line in body.splitlines()]
    for line in lines:
        line.pop("cursor", None)
        line.get("page", {}).pop("cursor", None)
    return lines


async def test_cut_behind_any_line_nothing_is_missing_and_nothing_comes_twice(rep: Rep) -> None:
    whole = await rep.lines(Replica().bulk_query())
    wanted = rows_of(whole)
    for taken in range(len(whole)):
        phone = Replica()
        phone.apply_bulk(whole[:taken])
        rest = await rep.lines(phone.bulk_query())
        assert phone.apply_bulk(rest)
        assert phone.refetch == []
        assert sorted(rows_of(whole[:taken]) + rows_of(rest)) == sorted(wanted), taken


def rows_of(lines: list[str]) -> list[tuple[str, str, str]]:
    told = [json.loads(line) for line in lines]
    return [(row["scope"], row["collection"], row["document"]["id"]) for row in told if "document" in row]


async def test_every_cursor_on_the_way_is_one_of_sync_pull(rep: Rep) -> None:
    """A phone may go over to pages wherever it is."""
    lines = [json.loads(line) for line in await rep.lines()]
    cursors = [line["cursor"] for line in lines if "cursor" in line]
    assert len(cursors) > SHOPS // 7
    for cursor in cursors:
        left, complete = cursor, False
        got = []
        while not complete:
            answer = await rep.door.served.ask(PULL, {"cursor": left}, token=rep.token)
            page = answer["data"]["syncPull"]
            got += [row["document"]["id"] for block in page["blocks"] for row in block["rows"]]
            left, complete = page["cursor"], page["complete"]
        before = next(n for n, line in enumerate(lines) if line.get("cursor") == cursor)
        had = [line["document"]["id"] for line in lines[:before] if "document" in line]
        assert sorted(got + had) == sorted(line["document"]["id"] for line in lines if "document" in line)


PULL = """query ($cursor: String) { syncPull(cursor: $cursor, limit: 500, schemaVersion: 1) {
  cursor complete blocks { rows { document } } } }"""


# -- refusals --------------------------------------------------------------------------------------------------


async def test_without_a_token_nobody_comes_in(rep: Rep) -> None:
    for given in ("", "Bearer", "Bearer x", "Basic abc", f"bearer {rep.token}x"):
        status, code, _ = await rep.refused(authorization=given)
        assert (status, code) == (401, "UNAUTHENTICATED"), given
    answer = await rep.door.served.client.get("/sync/bulk")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_worn_out_token_is_told_as_such(rep: Rep) -> None:
    rep.door.clock.now_ms += 601_000
    status, code, message = await rep.refused()
    assert (status, code) == (401, "TOKEN_EXPIRED")
    assert message


async def test_refusals_are_in_the_readers_language(rep: Rep) -> None:
    _, _, his_own = await rep.refused({"limit": "3"}, accept_language="en")
    assert any("가" <= letter <= "힣" for letter in his_own), his_own
    anonymous = await rep.door.served.client.get("/sync/bulk", headers={"accept-language": "fr;q=0.1, zh-TW"})
    assert any("一" <= letter <= "鿿" for letter in anonymous.json()["errors"][0]["message"])


BAD_PARAMETERS: list[tuple[dict[str, str], int, str, str]] = [
    ({"limit": "3"}, 400, "UNKNOWN_FIELD", "limit"),
    ({"cursor": ""}, 400, "CURSOR_INVALID", "cursor"),
    ({"cursor": "AAAA"}, 400, "CURSOR_INVALID", "cursor"),
    ({"cursor": "ä"}, 400, "CURSOR_INVALID", "cursor"),
    ({"cursor": "A" * 8_001}, 400, "TOO_LONG", "cursor"),
    ({"after": "territory:1/customers/2"}, 400, "REQUIRED", "cursor"),
    ({"after": "customers/2"}, 400, "INVALID_VALUE", "after"),
    ({"after": "a//b"}, 400, "INVALID_VALUE", "after"),
    ({"after": "a/b/c/d"}, 400, "INVALID_VALUE", "after"),
    ({"after": "x" * 201}, 400, "TOO_LONG", "after"),
    ({"schemaVersion": "0"}, 400, "OUT_OF_RANGE", "schemaVersion"),
    ({"schemaVersion": "-1"}, 400, "INVALID_VALUE", "schemaVersion"),
    ({"schemaVersion": "²"}, 400, "INVALID_VALUE", "schemaVersion"),
    ({"schemaVersion": "1.0"}, 400, "INVALID_VALUE", "schemaVersion"),
    ({"schemaVersion": "99"}, 426, "UPGRADE_REQUIRED", "schemaVersion"),
]


async def test_bad_parameters_are_named(rep: Rep) -> None:
    for query, status, code, name in BAD_PARAMETERS:
        answer = await rep.get(query)
        extensions = answer.json()["errors"][0]["extensions"]
        assert (answer.status_code, extensions["code"], extensions["path"]) == (status, code, [name]), query


async def test_all_that_is_wrong_with_a_query_is_said_at_once(rep: Rep) -> None:
    answer = await rep.door.served.client.get(
        "/sync/bulk?cursor=a&cursor=b&what=1", headers={"authorization": f"Bearer {rep.token}"}
    )
    codes = [error["extensions"]["code"] for error in answer.json()["errors"]]
    assert sorted(codes) == ["INVALID_VALUE", "UNKNOWN_FIELD"]


async def test_a_cursor_with_any_letter_changed_is_refused(rep: Rep) -> None:
    cursor = json.loads((await rep.lines())[0])["cursor"]
    for at in range(0, len(cursor), 5):
        flipped = cursor[:at] + ("B" if cursor[at] == "A" else "A") + cursor[at + 1 :]
        status, code, _ = await rep.refused({"cursor": flipped})
        assert (status, code) == (400, "CURSOR_INVALID"), at
    for cut in (cursor[:-1], cursor + "=", cursor + "A", cursor[1:]):
        assert (await rep.refused({"cursor": cut}))[1] == "CURSOR_INVALID"


async def test_a_cursor_behind_the_horizon_or_of_another_epoch_is_gone(rep: Rep) -> None:
    cursor = json.loads((await rep.lines())[0])["cursor"]
    await rep.door.execute("UPDATE sync_clock SET seq = seq + 10, horizon = seq + 5")
    assert (await rep.refused({"cursor": cursor}))[:2] == (410, "CURSOR_EXPIRED")
    assert await rep.lines()
    await rep.door.execute("UPDATE sync_clock SET seq = seq + 1099511627776")
    assert (await rep.refused({"cursor": cursor}))[:2] == (410, "CURSOR_EXPIRED")


async def test_an_after_that_is_of_no_row_of_mine_only_skips(rep: Rep) -> None:
    """Whatever a client claims to have, it is told nothing it may not see, and its checksums tell it the rest."""
    cursor = json.loads((await rep.lines())[0])["cursor"]
    for after in ("zzz/customers/x", "territory:none/customers/x", "today/visits/x", "'/'/'"):
        lines = await rep.lines({"cursor": cursor, "after": after})
        assert json.loads(lines[-1])["page"]["complete"]


async def test_only_get_is_answered(rep: Rep) -> None:
    """Not HEAD either, for which the whole would be made and thrown away."""
    for path in ("/sync/bulk", "/sync/turbo?lastPulledAt=null"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD"):
            answer = await rep.door.served.client.request(
                method, path, headers={"authorization": f"Bearer {rep.token}"}
            )
            assert answer.status_code == 405, (method, path)
            assert answer.headers["allow"] == "GET"


async def test_who_may_not_sync_gets_no_stream(rep: Rep) -> None:
    for role, device, code in (
        ("ANALYST", "ACTIVE", "NOT_PERMITTED"),
        ("MARKETER", "ACTIVE", "NOT_PERMITTED"),
        ("REP", "DRAINING", "DEVICE_DRAINING"),
        ("REP", "REVOKED", "DEVICE_REVOKED"),
    ):
        await rep.door.execute("UPDATE user_account SET role = ? WHERE id = ?", role, rep.door.user_id)
        await rep.door.execute("UPDATE device SET state = ? WHERE id = ?", device, rep.device_id)
        rep.door.clock.now_ms += 1_000
        assert (await rep.refused())[:2] == (403, code)


# -- a stream that does not come to its end -----------------------------------------------------------------------

Sent = MutableMapping[str, Any]


async def call(
    rep: Rep, send: Callable[[Sent], Awaitable[None]], receive: Callable[[], Awaitable[Sent]] | None = None
) -> None:
    """One request to the application itself, so that the test is what takes its answer."""

    async def wait() -> Sent:
        await asyncio.Event().wait()
        return {}

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/sync/bulk",
        "raw_path": b"/sync/bulk", "query_string": b"", "scheme": "http", "server": ("127.0.0.1", 1), "client": None,
        "headers": [(b"authorization", f"Bearer {rep.token}".encode())],
    }  # fmt: skip
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rep.door.served.app(scope, receive or wait, send)


async def test_a_device_revoked_while_it_streams_hears_no_more(rep: Rep) -> None:
    bodies: list[bytes] = []

    async def send(message: Sent) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
            if len(bodies) == 3:
                await rep.door.execute("UPDATE device SET state = 'REVOKED' WHERE id = ?", rep.device_id)

    await call(rep, send)
    lines = b"".join(bodies).splitlines()
    assert json.loads(lines[-1])["errors"][0]["extensions"]["code"] == "DEVICE_REVOKED"
    assert not any(b'"complete":true' in line for line in lines)
    assert len(rows_of([line.decode() for line in lines])) < SHOPS
    rep.door.clock.now_ms += 1_000
    assert (await rep.refused())[:2] == (403, "DEVICE_REVOKED")


async def test_a_token_that_wears_out_ends_its_stream(rep: Rep) -> None:
    bodies: list[bytes] = []

    async def send(message: Sent) -> None:
        bodies.append(message.get("body", b""))
        if len(bodies) == 3:
            rep.door.clock.now_ms += 601_000

    await call(rep, send)
    assert json.loads(b"".join(bodies).splitlines()[-1])["errors"][0]["extensions"]["code"] == "TOKEN_EXPIRED"
    assert rep.door.served.app.state.bulk.streams == 0


@pytest.mark.parametrize("parts", [0, 2])
async def test_a_reader_who_takes_nothing_is_left(rep: Rep, parts: int) -> None:
    taken = 0

    async def send(message: Sent) -> None:
        nonlocal taken
        if message["type"] == "http.response.body":
            taken += 1
            if taken > parts:
                await asyncio.Event().wait()

    await call(rep, send)
    assert taken == parts + 1
    assert rep.door.served.app.state.bulk.streams == 0


async def test_a_reader_who_leaves_frees_his_stream(rep: Rep) -> None:
    begun = asyncio.Event()

    async def send(message: Sent) -> None:
        begun.set()
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Sent:
        await begun.wait()
        return {"type": "http.disconnect"}

    await call(rep, send, receive)
    assert rep.door.served.app.state.bulk.streams == 0


async def test_more_streams_than_may_be_open_are_asked_to_come_later(rep: Rep) -> None:
    begun, going_on = asyncio.Event(), asyncio.Event()
    waiting = 0

    async def send(message: Sent) -> None:
        nonlocal waiting
        if message["type"] == "http.response.start":
            waiting += 1
            if waiting == 2:
                begun.set()
            await going_on.wait()

    streams = [asyncio.ensure_future(call(rep, send)) for _ in range(2)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begun.wait()
    answer = await rep.get()
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (503, "BUSY")
    assert answer.headers["retry-after"]
    going_on.set()
    await asyncio.gather(*streams)
    assert await rep.lines()


async def test_a_server_that_stops_breaks_streams_off(rep: Rep) -> None:
    finished = False

    async def send(message: Sent) -> None:
        nonlocal finished
        if message["type"] == "http.response.body":
            rep.door.served.app.state.doors.ending.set()
            finished |= not message.get("more_body", False)
            await asyncio.Event().wait()

    await call(rep, send)
    assert not finished, "a stream broken off must not look whole"
    assert (await rep.refused())[:2] == (503, "BUSY")
