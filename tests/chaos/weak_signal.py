"""The first sync of a rep's phone over a 2G link that breaks off: how long until today's list is there, until all is.

The link carries 50 kbit/s with a round trip of 800 ms and a loss of 5 %; its time runs faster than ours (`SCALE`), its
bytes are true. Answers break off now and then, and each time the stream goes on behind the last line that came.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.config import Settings
from backend.domain.demo.world import make_world
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.usecases.demo import load_demo
from backend.usecases.insights import run_scores
from mobile_contract.replica import Refusal, Replica
from tests.chaos.faults import Fault, FaultPlan
from tests.chaos.proxy import TWO_G, Proxy, body_of, request_bytes
from tests.chaos.run import PULL
from tests.clocks import HandClock
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN
from tests.servers import Served, serve

SCALE = 200.0
NOON_MS = 12 * 3_600_000
BREAKS: Mapping[Fault, int] = {Fault.NONE: 55, Fault.CUT_ANSWER: 40, Fault.DROP_BEFORE: 5}
TRIES_MAX = 200
PAGE_ROWS = 50
"""Rows of a page of `syncPull` over such a link: a broken page is asked for again whole."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What had come down, and how many of the link's seconds had passed, when something was reached."""

    link_seconds: float
    bytes_up: int
    bytes_down: int
    requests: int
    documents: int
    rows: int
    """rows received: a document of two scopes comes twice"""

    def __str__(self) -> str:
        return (
            f"{self.link_seconds:6.1f} s, {self.bytes_down:>9,} bytes down, {self.bytes_up:>6,} up,"
            f" {self.requests:>3} requests, {self.documents:>5,} documents"
        )


@dataclass(slots=True)
class FirstSync:
    """`today`: the list of the day can be worked with; `whole`: everything is there and its checksums match."""

    today: Reached
    whole: Reached
    breaks: int
    rows_again: int
    """rows that came although they were there already"""


class Phone:
    """A rep's phone on the weak link."""

    def __init__(self, proxy: Proxy, token: str) -> None:
        self.proxy, self.token = proxy, token
        self.replica = Replica(limit=PAGE_ROWS)
        self.rows = 0
        self.tried = 0

    def reached(self) -> Reached:
        proxy = self.proxy
        held = len(self.replica.documents)
        return Reached(proxy.link_seconds, proxy.bytes_up, proxy.bytes_down, proxy.requests, held, self.rows)

    def _request(self, path: str, body: bytes | None = None) -> bytes:
        self.tried += 1
        return request_bytes(path, body, token=self.token, name=f"phone/{self.tried}", accept="gzip")

    async def stream(self) -> FirstSync:
        """`GET /sync/bulk`, taken line by line as it comes, and again from where it broke off."""
        today: Reached | None = None
        for breaks in range(TRIES_MAX):
            query = urlencode(self.replica.bulk_query())
            async for lines in self._lines(self._request(f"/sync/bulk?{query}")):
                self.rows += sum(b'"document"' in line for line in lines)
                complete = self.replica.apply_bulk(lines)
                if today is None and "TODAY" in self.replica.ready:
                    today = self.reached()
                if complete:
                    whole = self.reached()
                    again = self.rows - len(self.replica.places)
                    return FirstSync(today or whole, whole, breaks, again)
        raise AssertionError(f"no end after {TRIES_MAX} tries")

    async def _lines(self, raw: bytes) -> AsyncIterator[list[bytes]]:
        """Whole lines, as many as are there; what a break leaves of one is forgotten."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        try:
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if b"gzip" in head.lower() else None
            chunked, rest, packed = b"chunked" in head.lower(), b"", b""
            while piece := await reader.read(16_384):
                packed += piece
                bare, packed = _unchunked(packed) if chunked else (packed, b"")
                rest += unpack.decompress(bare) if unpack else bare
                *lines, rest = rest.split(b"\n")
                if lines:
                    yield lines
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def pages(self) -> Reached:
        """The same by pages of `syncPull`: what a client without the stream does."""
        for _ in range(TRIES_MAX * 10):
            request = self.replica.pull_request()
            body = json.dumps({"operationName": "SyncPull", "query": PULL, "variables": request}).encode()
            answer = await self._answer(self._request("/graphql", body))
            if answer is None:
                continue
            found = json.loads(answer)
            if found.get("errors"):
                raise Refusal(found["errors"][0]["extensions"]["code"])
            page = found["data"]["syncPull"]
            self.replica.apply(request, page)
            if page["complete"] and not self.replica.refetch:
                return self.reached()
        raise AssertionError("no end")

    async def _answer(self, raw: bytes) -> bytes | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        try:
            writer.write(raw)
            answer = await reader.read(-1)
        except OSError:
            return None
        finally:
            writer.close()
        head, parted, _ = answer.partition(b"\r\n\r\n")
        if not parted:
            return None
        try:
            plain = body_of(answer)
            return zlib.decompress(plain, zlib.MAX_WBITS | 16) if b"gzip" in head.lower() else _whole_json(plain)
        except (zlib.error, ValueError):
            return None


def _whole_json(body: bytes) -> bytes:
    json.loads(body)
    return body


def _unchunked(packed: bytes) -> tuple[bytes, bytes]:
    """(what whole chunks hold, what is left of the next one)."""
    bare = b""
    while True:
        size, parted, rest = packed.partition(b"\r\n")
        if not parted:
            return bare, packed
        length = int(size.partition(b";")[0], 16)
        if len(rest) < length + 2:
            return bare, packed
        bare, packed = bare + rest[:length], rest[length + 2 :]


@asynccontextmanager
async def company(database_url: str, folder: Path, size: str) -> AsyncIterator[tuple[Served, str]]:
    """The demo company served at noon of its day; the e-mail of the rep with the most customers."""
    world = make_world(size)
    now_ms = world.setting.now_ms + NOON_MS
    people = world.table("user_account").columns
    admin_id = people["id"][list(people["role"]).index(Role.ADMIN.value)]
    settings = Settings(database_url=database_url, data_dir=folder)
    engine = open_engine(database_url)
    await engine.start()
    await load_demo(engine, world, password_hash=PASSWORD_HASH, clock=lambda: now_ms)
    admin = Principal(PrincipalKind.STAFF, user_id=admin_id, role=Role.ADMIN)
    await run_scores(engine, admin, settings=settings, clock=lambda: now_ms)
    async with engine.read() as conn:
        rows = await conn.fetch(
            "SELECT u.email FROM user_account u JOIN user_scope g ON g.user_id = u.id AND g.revoked_seq IS NULL"
            " JOIN feed_scope p ON p.scope = g.scope AND p.left_seq IS NULL AND p.collection = 'customers'"
            " WHERE u.role = 'REP' AND u.active GROUP BY u.email ORDER BY count(*) DESC, u.email LIMIT 1"
        )
    await engine.close()
    async with serve(settings, clock=HandClock(now_ms)) as served:
        yield served, rows[0][0]


async def sign_in(served: Served, email: str) -> str:
    variables = {
        "email": email,
        "password": PASSWORD,
        "device": {"id": new_id(), "name": "phone", "platform": "ANDROID"},
    }
    answer = await served.ask(SIGN_IN, variables)
    token: str = answer["data"]["signIn"]["accessToken"]
    return token


@asynccontextmanager
async def weak_phone(served: Served, email: str, seed: int, *, scale: float = SCALE) -> AsyncIterator[Phone]:
    """A phone just installed; signing in is not counted."""
    token = await sign_in(served, email)
    async with Proxy([served.port], FaultPlan(seed, BREAKS), replace(TWO_G, scale=scale)) as proxy:
        yield Phone(proxy, token)
