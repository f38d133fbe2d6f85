"""Nightly jobs: due once a day from an hour on, by one process of all, and taken over from one that died."""

import asyncio

from backend.domain.times import DAY_MS
from backend.storage.engine import Engine, open_engine
from backend.sync.nightly import CLAIM_HOURS, HOUR_MS, Nightly, claim
from backend.telemetry import metric_value
from tests.clocks import HandClock

MIDNIGHT_MS = 1_795_276_800_000
"""2026-11-21 16:00 UTC, where it is midnight of the 22nd in Shanghai."""


def nightly(engine: Engine, clock: HandClock, done: list[str], *, fails: str = "") -> Nightly:
    async def job(name: str) -> None:
        await asyncio.sleep(0)
        if name == fails:
            raise RuntimeError("no")
        done.append(name)

    jobs = {name: (lambda name=name: job(name)) for name in ("collect", "retention")}  # type: ignore[misc]
    return Nightly(engine, jobs, hour=3, timezone="Asia/Shanghai", clock=clock)


async def runs(engine: Engine) -> list[tuple[object, ...]]:
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT job, day, finished_at, failed_with FROM nightly_run ORDER BY job")
    return [tuple(row) for row in rows]


async def test_jobs_are_due_once_a_day_from_their_hour_on(engine: Engine) -> None:
    clock, done = HandClock(MIDNIGHT_MS + 3 * HOUR_MS - 1), list[str]()
    server = nightly(engine, clock, done)
    assert await server.look() == []
    clock.now_ms += 1
    assert await server.look() == ["collect", "retention"]
    for hours in (0, 5, 20):
        clock.now_ms = MIDNIGHT_MS + 3 * HOUR_MS + hours * HOUR_MS
        assert await server.look() == []
    clock.now_ms = MIDNIGHT_MS + DAY_MS + 1  # the next day, and not yet three o'clock
    assert await server.look() == []
    clock.now_ms += 3 * HOUR_MS
    assert await server.look() == ["collect", "retention"]
    assert done == ["collect", "retention"] * 2
    assert [row[:2] for row in await runs(engine)] == [("collect", "2026-11-23"), ("retention", "2026-11-23")]


async def test_of_all_processes_one_carries_a_job_out(engine: Engine) -> None:
    other = open_engine(engine.url)
    await other.start()
    try:
        clock, done = HandClock(MIDNIGHT_MS + 4 * HOUR_MS), list[str]()
        servers = [nightly(one, clock, done) for one in (engine, other, engine, other)]
        await asyncio.gather(*(server.look() for server in servers))
        assert sorted(done) == ["collect", "retention"]
    finally:
        await other.close()


async def test_a_claim_of_a_process_that_died_is_taken_over(engine: Engine) -> None:
    at = MIDNIGHT_MS + 4 * HOUR_MS
    assert await claim(engine, "collect", "2026-11-22", at)
    assert not await claim(engine, "collect", "2026-11-22", at + CLAIM_HOURS * HOUR_MS)
    assert await claim(engine, "collect", "2026-11-22", at + CLAIM_HOURS * HOUR_MS + 1)


async def test_a_clock_that_goes_back_repeats_no_night(engine: Engine) -> None:
    assert await claim(engine, "collect", "2026-11-22", MIDNIGHT_MS)
    assert not await claim(engine, "collect", "2026-11-21", MIDNIGHT_MS)


async def test_a_job_that_fails_is_noted_and_keeps_no_other_from_running(engine: Engine) -> None:
    before = metric_value("selvedge_nightly_runs_total", job="collect", result="failed")
    clock, done = HandClock(MIDNIGHT_MS + 4 * HOUR_MS), list[str]()
    assert await nightly(engine, clock, done, fails="collect").look() == ["collect", "retention"]
    assert done == ["retention"]
    assert [row[3] for row in await runs(engine)] == ["RuntimeError", None]
    assert metric_value("selvedge_nightly_runs_total", job="collect", result="failed") == before + 1
    assert await nightly(engine, clock, done).look() == []  # not again before the next night
