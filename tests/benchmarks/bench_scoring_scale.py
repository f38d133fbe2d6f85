"""A whole score run at scale, from the tables and back: how long each phase takes, and the most memory it ever has.

    python -m tests.benchmarks.bench_scoring_scale URL [--customers N] [--written M] [--orders K]

`URL`: an empty database, which is filled. Of N customers with K orders each, M are in the territory whose scores are
written; models, peers and tables are of all N. The first run writes M scores. Then every other customer is given a
score too, a copy of one of theirs, so that the second run reads N of them back; it has nothing to write.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import asyncio
import resource
import time

import numpy as np

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.permissions import SCORE_RIGHT, Role
from backend.domain.times import add_days
from backend.ids import new_id
from backend.storage.engine import Engine, open_engine
from backend.storage.migrate import migrate
from backend.storage.night import STORED_NUMBERS, STORED_TEXTS
from backend.sync.work import Door, Work, in_work
from backend.usecases.insights import run_scores
from backend.usecases.territories import create_territory
from backend.wiring import SCORE_COMMAND
from tests import histories
from tests.benchmarks.bench_bulk import say
from tests.benchmarks.bench_scoring import Child

TODAY = "2026-11-22"
CHUNK = 50_000
OPERATOR = Principal(PrincipalKind.SERVICE, service_id="operator", rights=frozenset({SCORE_RIGHT}))
SYSTEM = Principal(PrincipalKind.STAFF, user_id=new_id(), device_id=None, role=Role.ADMIN)


async def fill(engine: Engine, customers_n: int, written_n: int, orders_each: int) -> str:
    """The territory whose scores are written."""

    async def tree(work: Work) -> tuple[str, str]:
        top: dict[str, object] = {"timezone": "Asia/Shanghai", "nameEn": "China", "path": "/cn", "kind": "REGION"}
        root = await create_territory(work, top)
        node = {**top, "nameEn": "East", "path": "/cn/east", "parentId": root}
        return root, await create_territory(work, node)

    (root, east), _ = await in_work(engine, SYSTEM, tree, clock=wall_clock_ms, retries_max=0, door=Door.JOB)
    draw = np.random.default_rng(1)
    for first in range(0, customers_n, CHUNK):
        count = min(CHUNK, customers_n - first)
        here = east if first < written_n else root
        async with engine.write() as conn:
            ids = await histories.customers(conn, count, territory_id=here)
            who = draw.integers(0, count, count * orders_each).tolist()
            ago, amounts = draw.integers(0, 900, len(who)).tolist(), draw.integers(1_000, 10**6, len(who)).tolist()
            rows = [(ids[w], add_days(TODAY, -d), a) for w, d, a in zip(who, ago, amounts, strict=True)]
            await histories.orders(conn, rows, currency="CNY", territory_id=here)
    async with engine.write() as conn:
        await conn.execute(
            "INSERT INTO purchase (customer_id, day, currency, amount_minor, orders_n) SELECT customer_id, ordered_on,"
            " currency, total_minor, COUNT(*) FROM sales_order GROUP BY 1, 2, 3, 4"
        )
        await conn.execute("ANALYZE")
    return east


async def score_the_others(engine: Engine) -> None:
    """Every customer without a score is given a copy of one there is."""
    columns = [
        *("run_id", "table_id", "territory_id", "as_of", "facts", "evidence", *STORED_NUMBERS),
        *(name for name in STORED_TEXTS if name != "table_id"),
        *("segment_since", "measures"),
    ]
    async with engine.write() as conn:
        [(held,)] = await conn.fetch("SELECT COUNT(*) FROM customer_score")
        await conn.execute(
            f"INSERT INTO customer_score (customer_id, {', '.join(columns)}) SELECT k.id,"
            f" {', '.join(f's.{one}' for one in columns)}"
            f" FROM (SELECT id, (ROW_NUMBER() OVER (ORDER BY id) - 1) % {held} AS n FROM customer WHERE id NOT IN"
            " (SELECT customer_id FROM customer_score)) k JOIN (SELECT c.*, ROW_NUMBER() OVER (ORDER BY customer_id)"
            " - 1 AS n FROM customer_score c) s ON s.n = k.n"
        )
        await conn.execute("ANALYZE")


async def scored(engine: Engine, settings: Settings, territory_id: str, name: str) -> None:
    began = last = time.perf_counter()
    spent: dict[str, float] = {}

    def told(phase: str, _done: int, _total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[phase] = spent.get(phase, 0.0) + now - last
        last = now

    child, worked = Child(os.getpid()), _worked_s()
    done = await run_scores(
        engine, OPERATOR, settings=settings, clock=wall_clock_ms, as_of=TODAY, territory_id=territory_id,
        progress=told, apart=SCORE_COMMAND,
    )  # fmt: skip
    peak = child.over() / 2**20
    phases = ", ".join(f"{phase.lower()} {seconds:.1f} s" for phase, seconds in spent.items())
    say(
        f"{name:>10}: {time.perf_counter() - began:.1f} s ({phases}), {_worked_s() - worked:.1f} s of a"
        f" processor, peak {peak:.2f} GiB, {done.customers_changed:,}"
        f" of {done.customers_scored:,} written, {done.state.value}; load {os.getloadavg()[0]:.1f}"
    )


def _worked_s() -> float:
    """Seconds of a processor that processes begun here and ended since have had, changed least by a crowd."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


async def bench(url: str, customers_n: int, written_n: int, orders_each: int) -> None:
    await migrate(url)
    engine = open_engine(url, pool_connections_max=4)
    await engine.start()
    settings = Settings(database_url=url, reporting_currency="CNY")
    try:
        began = time.perf_counter()
        territory_id = await fill(engine, customers_n, written_n, orders_each)
        orders_n, filled_s = customers_n * orders_each, time.perf_counter() - began
        say(f"{customers_n:,} customers, {orders_n:,} orders: {filled_s:.0f} s to fill")
        await scored(engine, settings, territory_id, "first run")
        await score_the_others(engine)
        await scored(engine, settings, territory_id, "again")
    finally:
        await engine.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description="A score run at scale.")
    arguments.add_argument("url")
    arguments.add_argument("--customers", type=int, default=100_000)
    arguments.add_argument("--written", type=int, default=20_000)
    arguments.add_argument("--orders", type=int, default=5)
    given = arguments.parse_args()
    asyncio.run(bench(given.url, given.customers, given.written, given.orders))


if __name__ == "__main__":
    main()
