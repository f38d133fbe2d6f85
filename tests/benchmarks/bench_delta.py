"""What must not grow with the size of the company: a delta, a revocation, a poke.

`python -m tests.benchmarks.bench_delta [sqlite|postgres] [rows]`. Both sizes are measured in turns, so that what else
the machine does falls on both. Nothing is asserted.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from backend.auth.principal import Principal, Role
from backend.clock import wall_clock_ms
from backend.storage.engine import Engine, open_engine
from backend.sync.cursor import Cursor, Position, seal
from backend.sync.feed import read_clock, step_clock
from backend.sync.poke import Pokes
from backend.sync.protocol import answer_pull
from backend.sync.pull import PullRequest
from backend.sync.versions import SCHEMA_VERSION
from backend.sync.work import Door, open_work
from tests.benchmarks.bench_bulk import say
from tests.benchmarks.feeds import big_feed, holder
from tests.databases import RunFolder, fresh_postgres, fresh_sqlite
from tests.sync.worlds import SECRET, staff

SMALL, LARGE = 1_000, 1_000_000
SCOPES = 4
CHANGED = 10
ROUNDS = 41
REVOKED = (10, 10_000)


@dataclass
class Company:
    """A feed of so many rows, and somebody who holds all of it."""

    engine: Engine
    rows: int
    phone: Principal
    ids: list[str] = field(default_factory=list)
    taken_ms: list[float] = field(default_factory=list)
    worked_ms: list[float] = field(default_factory=list)
    cursor: str | None = None

    async def change(self) -> None:
        """Ten records change, as a work leaves them."""
        async with self.engine.write() as conn:
            seq = await step_clock(conn)
            await conn.execute(
                "UPDATE feed SET seq = ? WHERE key = ANY(?)", seq, [f"customers:{one}" for one in self.ids]
            )
            await conn.execute(
                "UPDATE feed_scope SET seq = ? WHERE collection = 'customers' AND record_id = ANY(?)", seq, self.ids
            )

    async def pull(self) -> int:
        page = await answer_pull(
            self.engine, self.phone, PullRequest(self.cursor, 500, SCHEMA_VERSION), secret=SECRET, rows_max=1_000,
            bytes_max=2_000_000, retries_max=3, clock=wall_clock_ms,
        )  # fmt: skip
        self.cursor = page.cursor
        assert page.complete or self.cursor
        return sum(len(block.rows) for block in page.blocks)

    async def measure(self) -> None:
        await self.change()
        began, worked = time.perf_counter(), time.process_time()
        got = await self.pull()
        self.taken_ms.append(1_000 * (time.perf_counter() - began))
        self.worked_ms.append(1_000 * (time.process_time() - worked))
        assert got == CHANGED, got


async def company(engine: Engine, rows: int) -> Company:
    scopes = [f"territory:{number:02d}" for number in range(SCOPES)]
    await big_feed(engine, dict.fromkeys(scopes, rows // SCOPES))
    found = Company(engine, rows, await holder(engine, scopes))
    async with engine.read() as conn:
        rows_ = await conn.fetch(f"SELECT record_id FROM feed ORDER BY digest LIMIT {CHANGED}")
        clock, _ = await read_clock(conn)
    found.ids = [row[0] for row in rows_]
    found.cursor = await _cursor_at(found, clock)
    return found


async def _cursor_at(found: Company, clock: int) -> str:
    """The cursor of a phone that has everything, without pulling it."""
    at = Cursor(Position(clock), clock, (), SCHEMA_VERSION)
    return seal(at, secret=SECRET, user_id=found.phone.holder, device_id=found.phone.device_id or "")


async def bench_delta(small: Company, large: Company) -> None:
    for _ in range(3):
        for one in (small, large):
            await one.change()
            await one.pull()
    for _ in range(ROUNDS):
        for one in (small, large):
            await one.measure()
    for one in (small, large):
        say(
            f"a delta of {CHANGED} rows among {one.rows:,}: {statistics.median(one.taken_ms):.2f} ms,"
            f" {statistics.median(one.worked_ms):.2f} ms of this core"
        )
    say(
        f"delta at {large.rows:,} to delta at {small.rows:,}:"
        f" {statistics.median(large.taken_ms) / statistics.median(small.taken_ms):.2f},"
        f" of this core {statistics.median(large.worked_ms) / statistics.median(small.worked_ms):.2f}"
    )


async def bench_revoke(engine: Engine) -> None:
    """Taking a scope from somebody and telling his phone, by how much stands in it."""
    taken: dict[int, list[float]] = {rows: [] for rows in REVOKED}
    for turn in range(9):
        for rows in REVOKED:
            scope = f"territory:revoked-{rows}"
            if turn == 0:
                await big_feed(engine, {scope: rows}, seed=rows)
            phone = await holder(engine, [scope])
            one = Company(engine, rows, phone)
            async with engine.read() as conn:
                clock, _ = await read_clock(conn)
            one.cursor = await _cursor_at(one, clock)
            began = time.perf_counter()
            async with open_work(engine, staff("", None, Role.ADMIN), now_ms=wall_clock_ms(), door=Door.JOB) as work:
                work.reseat([phone.holder])
            await one.pull()
            taken[rows].append(1_000 * (time.perf_counter() - began))
    few, many = (statistics.median(taken[rows]) for rows in REVOKED)
    say(f"revoking {REVOKED[1]:,} rows: {many:.2f} ms, {REVOKED[0]}: {few:.2f} ms, ratio {many / few:.2f}")


async def bench_poke(engine: Engine) -> None:
    """From the end of a writing transaction to the follower's wake-up, beyond the time steps are gathered for."""
    pokes = Pokes(engine, coalesce_ms=0, subscribers_max=10)
    pokes.start()
    taken = []
    follower = pokes.follow()
    await anext(follower)
    for _ in range(ROUNDS):
        coming = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0)
        async with open_work(engine, staff("", None, Role.ADMIN), now_ms=wall_clock_ms(), door=Door.JOB) as work:
            work.touched("customers", "nobody", ())
        began = time.perf_counter()
        await coming
        taken.append(1_000 * (time.perf_counter() - began))
    await follower.aclose()
    await pokes.close()
    say(f"poke inside the server: {statistics.median(taken):.2f} ms after the commit (median)")


async def bench(small: str, large: str, rows: int) -> None:
    async with AsyncExitStack() as stack:
        companies = []
        for url, count in ((small, SMALL), (large, rows)):
            engine = open_engine(url)
            await engine.start()
            stack.push_async_callback(engine.close)
            companies.append(await company(engine, count))
        await bench_delta(*companies)
        await bench_revoke(companies[1].engine)
        await bench_poke(companies[1].engine)


async def on_postgres(server: str, rows: int) -> None:
    async with fresh_postgres(server) as small, fresh_postgres(server) as large:
        await bench(small, large, rows)


def main(wanted: list[str]) -> None:
    rows = next((int(word) for word in wanted if word.isdecimal()), LARGE)
    databases = [word for word in wanted if not word.isdecimal()] or ["sqlite", "postgres"]
    made = RunFolder.begin()
    try:
        if "sqlite" in databases:
            say("SQLite")
            template = made.sqlite_template()
            with tempfile.TemporaryDirectory() as path:
                urls = [fresh_sqlite(template, Path(path)) for _ in range(2)]
                asyncio.run(bench(urls[0], urls[1], rows))
        if "postgres" in databases:
            say("PostgreSQL")
            asyncio.run(on_postgres(made.postgres_url(), rows))
    finally:
        made.end()


if __name__ == "__main__":
    main(sys.argv[1:])
