"""What a process holds under load made to fill its memory: `python -m tests.benchmarks.bench_load [rounds]`.

Each round, on one served process over SQLite: a thousand subscriptions by server-sent events and a thousand by
websocket, all told of a change; readers who ask for large answers and take nothing; 200 clients who send bodies as
large as may be; first syncs whose readers take hardly anything; and a flood of requests. Prints what was held at the
peak of each and after each round, what was told, and what a round leaves behind. Nothing is asserted.
"""

import asyncio
import os
import socket
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import httpx
import orjson
from graphql import get_introspection_query

from backend.config import Settings
from backend.ids import new_id
from backend.sync.versions import SCHEMA_VERSION
from tests.benchmarks.bench_bulk import Server, prepare, say, token_of
from tests.benchmarks.load import _follow_events, _follow_socket, _Heard, request
from tests.databases import RunFolder, free_port, fresh_sqlite

DOCUMENTS = 20_000
ROUNDS = 3
SUBSCRIPTIONS = 1_000
MUTE_READERS = 200
BODIES = 200
SLOW_STREAMS = 40
FLOOD_CLIENTS, FLOOD_REQUESTS = 1_500, 3_000
NAMED = {"SELVEDGE_DEVICE_REQUESTS_PER_MINUTE": "4000", "SELVEDGE_USER_REQUESTS_PER_MINUTE": "0"}
"""One device asks for everybody."""
MUTE_SECONDS, REST_SECONDS = 10, 3
PATIENCE_SECONDS = 30
WRITE = "mutation ($id: ID!, $input: TaskInput!) { createTask(id: $id, input: $input) { __typename } }"
ASK = b'{"query": "{ me { id } tasks(first: 20) { nodes { id title } } }"}'


@dataclass
class Load:
    """The server, who asks it, and what was seen."""

    server: Server
    token: str
    told: Counter[str] = field(default_factory=Counter)
    peaks_mb: dict[str, list[float]] = field(default_factory=dict)

    def memory_mb(self, name: str = "VmRSS") -> float:
        return self.server.memory_kb(name) / 1024

    def post(self, content: bytes, *, named: bool = True) -> bytes:
        return request("POST", "/graphql", {"Authorization": f"Bearer {self.token}"} if named else {}, content)

    @asynccontextmanager
    async def measured(self, part: str) -> AsyncIterator[None]:
        self.server.forget_peak()
        yield
        self.peaks_mb.setdefault(part, []).append(self.memory_mb("VmHWM"))

    def count(self, part: str, status: int, head: bytes) -> None:
        later = " with Retry-After" if b"retry-after:" in head.lower() else ""
        self.told[f"{part}: {status}{later}"] += 1

    async def once(self, part: str, content: bytes) -> None:
        """One request on a connection of its own."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=4_000_000)
        except OSError:
            self.told[f"{part}: no connection"] += 1
            return
        try:
            writer.write(content)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
            self.count(part, int(head[9:12]), head)
        except TimeoutError:
            self.told[f"{part}: nothing within {PATIENCE_SECONDS} s"] += 1
        except (OSError, asyncio.IncompleteReadError):
            self.told[f"{part}: closed"] += 1
        finally:
            writer.close()

    async def subscriptions(self) -> None:
        """A thousand by each way, open together; then a change everybody is told of."""
        heard = _Heard(2 * SUBSCRIPTIONS)
        opened = []
        for follow in (_follow_events, _follow_socket):
            for _ in range(SUBSCRIPTIONS // 50):
                opened += await asyncio.gather(*(follow(self.server.port, self.token, heard) for _ in range(50)))
        # the first event of each tells the clock it begins with
        await asyncio.wait_for(heard.everybody(), 60)
        heard.again()
        variables = {"id": new_id(), "input": {"title": "told to everybody"}}
        await self.once("change", self.post(orjson.dumps({"query": WRITE, "variables": variables})))
        await asyncio.wait_for(heard.everybody(), 60)
        self.told["subscriptions: told of a change"] += len(heard.at)
        for task, writer in opened:
            task.cancel()
            writer.close()

    async def mute_readers(self) -> None:
        """Each asks for some 600 kB again and again, and takes none of it."""
        asked = self.post(orjson.dumps({"query": get_introspection_query()}), named=False)
        writers = []
        for _ in range(MUTE_READERS):
            narrow = socket.socket()
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            narrow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", self.server.port))
            _, writer = await asyncio.open_connection(sock=narrow, limit=1_024)
            writer.write(asked * 4)
            writers.append(writer)
        await asyncio.sleep(MUTE_SECONDS)
        for writer in writers:
            writer.transport.abort()

    async def large_bodies(self, bytes_max: int) -> None:
        body = orjson.dumps({"query": "{ __typename }", "variables": {"a": ["x" * 100] * ((bytes_max - 1_000) // 103)}})
        assert len(body) <= bytes_max
        asked = self.post(body, named=False)
        await asyncio.gather(*(self.once("bodies", asked) for _ in range(BODIES)))

    async def slow_streams(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}", "Accept-Encoding": "identity"}
        asked = request("GET", f"/sync/bulk?schemaVersion={SCHEMA_VERSION}", headers)

        async def take() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=1_024)
            try:
                writer.write(asked)
                head = await reader.readuntil(b"\r\n\r\n")
                self.count("streams", int(head[9:12]), head)
                for _ in range(5 * MUTE_SECONDS):
                    if not await reader.read(1_024):
                        break
                    await asyncio.sleep(0.2)
            except (OSError, asyncio.IncompleteReadError):
                self.told["streams: closed"] += 1
            finally:
                writer.transport.abort()

        await asyncio.gather(*(take() for _ in range(SLOW_STREAMS)))

    async def flood(self) -> None:
        left = iter(range(FLOOD_REQUESTS))

        async def ask() -> None:
            for _ in left:
                await self.once("flood", self.post(ASK))

        await asyncio.gather(*(ask() for _ in range(FLOOD_CLIENTS)))

    async def round(self, settings: Settings) -> None:
        for part, doing in (
            ("subscriptions", self.subscriptions()),
            ("mute readers", self.mute_readers()),
            ("large bodies", self.large_bodies(settings.body_bytes_max)),
            ("slow streams", self.slow_streams()),
            ("flood", self.flood()),
        ):
            began = perf_counter()
            async with self.measured(part):
                await doing
            say(f"  {part}: {perf_counter() - began:.0f} s, at most {self.peaks_mb[part][-1]:.0f} MB")
            await asyncio.sleep(REST_SECONDS)

    async def dropped(self) -> str:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.server.port}") as client:
            text = (await client.get("/metrics")).text
        wanted = ("selvedge_readers_dropped_total", "selvedge_rate_limited_total", "selvedge_busy_total")
        return "\n".join(f"  {line}" for line in text.splitlines() if line.startswith(wanted))


def slope(values: list[float]) -> float:
    """By how much the values grow from one to the next, by least squares."""
    return statistics.linear_regression(range(len(values)), values).slope if len(values) > 1 else 0.0


async def bench(server: Server, settings: Settings, token: str, rounds: int) -> None:
    load = Load(server, token)
    before, after = load.memory_mb(), []
    for number in range(1, rounds + 1):
        await load.round(settings)
        after.append(load.memory_mb())
        peak = max(values[-1] for values in load.peaks_mb.values())
        say(f"round {number}: at most {peak:.0f} MB, {after[-1]:.0f} MB afterwards")
    say(f"before {before:.0f} MB; resident after each round {', '.join(f'{one:.0f}' for one in after)} MB;")
    say(f"  a round leaves {slope(after):+.1f} MB, from the second on {slope(after[1:]):+.1f} MB")
    for part, values in load.peaks_mb.items():
        say(f"  at the peak of {part}: {max(values):.0f} MB")
    for what, count in sorted(load.told.items()):
        say(f"  {what}: {count:,}")
    say(await load.dropped())


def main(wanted: list[str]) -> None:
    rounds = int(wanted[0]) if wanted else ROUNDS
    made = RunFolder.begin()
    try:
        with tempfile.TemporaryDirectory() as path:
            url = fresh_sqlite(made.sqlite_template(), Path(path))
            principal, family_id = asyncio.run(prepare(url, DOCUMENTS))
            settings = Settings(database_url=url, data_dir=Path(path) / "var")
            os.environ.update(NAMED)
            server = Server(settings, free_port())
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
                    server.wait(client)
                asyncio.run(bench(server, settings, token_of(settings, principal, family_id), rounds))
            finally:
                server.stop()
    finally:
        made.end()


if __name__ == "__main__":
    main(sys.argv[1:])
