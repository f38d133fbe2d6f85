"""How fast the sync engine writes and reads: `python -m tests.benchmarks.bench_sync [sqlite|postgres]`.

Prints figures and ratios; ratios are what counts, figures depend on the machine. Nothing here is asserted.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from backend.ids import new_id
from backend.storage.engine import Engine, open_engine
from backend.sync.work import open_work
from tests.databases import RunFolder, fresh_postgres, fresh_sqlite
from tests.factories import NOW_MS, customer
from tests.sync.offices import Office, Phone, visit_fields

VISITS = 100
ROUNDS = 9
SMALL, LARGE = 1_000, 100_000
CHUNK = 500


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


async def median_s(rounds: int, once: Callable[[], Awaitable[None]]) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await once()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def bench_push(office: Office) -> None:
    """A push of 100 visit edits through the use case, receipts and feed."""
    phone = await office.phone(office.rep)
    visits = [new_id() for _ in range(VISITS)]
    for number, visit in enumerate(visits):
        phone.replica.edit("visits", visit, visit_fields(office.shops[number % len(office.shops)]))
    began = time.perf_counter()
    await phone.push()
    say(f"push of {VISITS} new visits: {VISITS / (time.perf_counter() - began):,.0f} changes/s")
    turn = 0

    async def edits() -> None:
        nonlocal turn
        turn += 1
        for visit in visits:
            phone.replica.edit("visits", visit, {"nextStep": f"step {turn}"})
        answers = await phone.line.hand_in(phone.replica.queue)
        assert {answer["status"] for answer in answers} == {"APPLIED"}
        phone.replica.take_answers(answers)

    for _ in range(2):
        await edits()
    worked = time.process_time()
    taken = await median_s(ROUNDS, edits)
    worked = (time.process_time() - worked) / ROUNDS
    say(
        f"push of {VISITS} visit edits: {VISITS / taken:,.0f} changes/s, {VISITS / worked:,.0f} per second of processor"
    )


async def fill(office: Office, customers_n: int) -> None:
    """Customers of the east up to a number."""
    ((held,),) = await office.rows("SELECT count(*) FROM customer")
    for start in range(held, customers_n, CHUNK):
        async with office.job() as work:
            for number in range(start, min(start + CHUNK, customers_n)):
                made = await customer(work.conn, name_en=f"Shop {number}", territory_id=office.east)
                work.touched("customers", made)


async def first_sync(phone: Phone) -> float:
    """Documents a second of a whole first pull in pages of 1,000, without applying them."""
    began, got, cursor = time.perf_counter(), 0, None
    while True:
        request = {"cursor": cursor, "limit": 1_000, "schemaVersion": 1, "refetch": []}
        page = await phone.line.ask(request)
        got += sum(len(block["rows"]) for block in page["blocks"])
        cursor = page["cursor"]
        if page["complete"]:
            phone.replica.cursor = cursor
            return got / (time.perf_counter() - began)


async def bench_delta(office: Office, phone: Phone) -> float:
    """Milliseconds of a pull that brings ten changes."""
    taken = []
    for turn in range(ROUNDS):
        async with open_work(office.engine, phone.line.principal, now_ms=NOW_MS) as work:
            for shop in (office.shops * 4)[:10]:
                await work.conn.execute("UPDATE customer SET city = ? WHERE id = ?", f"c{turn}{shop[-3:]}", shop)
                work.touched("customers", shop, ("city",))
        request = {**phone.replica.pull_request(), "limit": 500}
        began = time.perf_counter()
        page = await phone.line.ask(request)
        taken.append(1_000 * (time.perf_counter() - began))
        phone.replica.cursor = page["cursor"]
    return statistics.median(taken)


async def bench(engine: Engine) -> None:
    office = await Office(engine).open(shops=10)
    await bench_push(office)
    deltas = {}
    for rows in (SMALL, LARGE):
        await fill(office, rows)
        phone = await office.phone(office.rep, synced=False)
        say(f"first sync of {rows:,} customers: {await first_sync(phone):,.0f} documents/s")
        deltas[rows] = await bench_delta(office, phone)
        say(f"the same delta at {rows:,} customers: {deltas[rows]:.2f} ms")
    say(f"delta at {LARGE:,} to delta at {SMALL:,}: {deltas[LARGE] / deltas[SMALL]:.2f}")
    await bench_push(office)


async def on_sqlite(folder: RunFolder) -> None:
    with tempfile.TemporaryDirectory() as path:
        engine = open_engine(fresh_sqlite(folder.sqlite_template(), Path(path)))
        await engine.start()
        await bench(engine)
        await engine.close()


async def on_postgres(server: str) -> None:
    async with fresh_postgres(server) as url:
        engine = open_engine(url)
        await engine.start()
        await bench(engine)
        await engine.close()


if __name__ == "__main__":
    made = RunFolder.begin()
    try:
        wanted = sys.argv[1:] or ["sqlite", "postgres"]
        if "sqlite" in wanted:
            say("SQLite")
            made.sqlite_template()
            asyncio.run(on_sqlite(made))
        if "postgres" in wanted:
            say("PostgreSQL")
            asyncio.run(on_postgres(made.postgres_url()))
    finally:
        made.end()
