"""Whoever follows the clock hears that it went on, from wherever it was stepped, and nothing more than that."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.errors import Code, Refused
from backend.storage import steps
from backend.storage.engine import Engine, Row, open_engine
from backend.sync.feed import read_clock
from backend.sync.poke import Pokes
from backend.sync.work import Door, Work, open_work
from tests import factories

PATIENCE_SECONDS = 30
SYSTEM = Principal(PrincipalKind.STAFF, user_id="nobody", role=Role.ADMIN)


@asynccontextmanager
async def hub(engine: Engine, *, coalesce_ms: int = 5, subscribers_max: int = 10) -> AsyncIterator[Pokes]:
    pokes = Pokes(engine, coalesce_ms=coalesce_ms, subscribers_max=subscribers_max)
    pokes.start()
    try:
        yield pokes
    finally:
        await pokes.close()


async def write(engine: Engine) -> int:
    """One committed change; the clock it made."""
    async with open_work(engine, SYSTEM, now_ms=factories.NOW_MS, door=Door.JOB) as work:
        await _make_customer(work)
    return work.seq


async def _make_customer(work: Work) -> None:
    work.touched("customers", await factories.customer(work.conn))


async def clock_of(engine: Engine) -> int:
    async with engine.read() as conn:
        return (await read_clock(conn))[0]


async def coming(clocks: AsyncGenerator[int, None]) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(clocks)


@pytest.fixture
def only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the clock by himself: what is heard was told."""
    monkeypatch.setattr(steps, "SILENT_SECONDS_MAX", 3_600)
    monkeypatch.setattr(steps, "LOOK_SECONDS", 3_600)


@pytest.mark.usefixtures("only_told")
async def test_the_clock_comes_at_once_and_again_with_each_commit(engine: Engine) -> None:
    before = await write(engine)
    async with hub(engine) as pokes, aclosing(pokes.follow()) as clocks:
        assert await coming(clocks) == before
        for _ in range(3):
            seq = await write(engine)
            assert await coming(clocks) == seq


async def test_what_is_undone_or_changes_nothing_is_not_told(engine: Engine) -> None:
    heard: list[int] = []
    engine.on_step = heard.append
    before = await clock_of(engine)
    with pytest.raises(ZeroDivisionError):
        await _write_and_fail(engine)
    async with open_work(engine, SYSTEM, now_ms=factories.NOW_MS, door=Door.JOB) as work:
        work.audit("MATCH", "customers", "x")
    assert heard == []
    assert await write(engine) == before + 1
    assert heard == [before + 1]


async def _write_and_fail(engine: Engine) -> None:
    async with open_work(engine, SYSTEM, now_ms=factories.NOW_MS, door=Door.JOB) as work:
        await _make_customer(work)
        await work.leave()
        assert work.stepped
        raise ZeroDivisionError


@pytest.mark.usefixtures("only_told")
async def test_many_steps_are_few_pokes_and_the_last_clock_is_seen(engine: Engine) -> None:
    async with hub(engine, coalesce_ms=400) as pokes, aclosing(pokes.follow()) as clocks:
        told = [await coming(clocks)]

        async def listen() -> None:
            while told[-1] < told[0] + 100:
                told.append(await coming(clocks))

        listening = asyncio.ensure_future(listen())
        for _ in range(100):
            last = await write(engine)
        await listening
        assert told[-1] == last == told[0] + 100
        assert told == sorted(set(told))
        assert len(told) <= 50


async def test_steps_within_the_window_are_one_poke(engine: Engine) -> None:
    async with hub(engine) as pokes, aclosing(pokes.follow()) as clocks:
        first = await coming(clocks)
        for clock in (first + 3, first + 1, first + 9, first + 9, first):
            pokes.step(clock)
        assert await coming(clocks) == first + 9
        pokes.step(first + 10)
        assert await coming(clocks) == first + 10


async def test_a_slow_follower_holds_the_latest_clock_only(engine: Engine) -> None:
    async with hub(engine, coalesce_ms=0) as pokes, aclosing(pokes.follow()) as slow, aclosing(pokes.follow()) as quick:
        first = await coming(slow)
        await coming(quick)
        for clock in range(first + 1, first + 6):
            pokes.step(clock)
            assert await coming(quick) == clock
        assert await coming(slow) == first + 5
        pokes.step(first + 6)
        assert await coming(slow) == first + 6


async def test_as_many_may_follow_as_the_setting_says(engine: Engine) -> None:
    async with hub(engine, subscribers_max=2) as pokes:
        one, two, three = pokes.follow(), pokes.follow(), pokes.follow()
        await coming(one)
        await coming(two)
        with pytest.raises(Refused) as refused:
            await coming(three)
        assert [problem.code for problem in refused.value.problems] == [Code.BUSY]
        assert pokes.subscribers == 2
        await one.aclose()
        async with aclosing(pokes.follow()) as four:
            await coming(four)
            assert pokes.subscribers == 2
        await two.aclose()
        assert pokes.subscribers == 0


async def test_a_follower_whose_task_is_cancelled_is_forgotten(engine: Engine) -> None:
    async with hub(engine) as pokes:

        async def listen() -> None:
            async with aclosing(pokes.follow()) as clocks:
                async for _ in clocks:
                    pass

        listening = [asyncio.ensure_future(listen()) for _ in range(5)]
        async with aclosing(pokes.follow()) as clocks:
            pokes.step(await coming(clocks) + 1)
            await coming(clocks)
            assert pokes.subscribers == 6
        for task in listening:
            task.cancel()
        await asyncio.wait(listening)
        assert pokes.subscribers == 0


async def test_streams_end_when_the_server_stops_and_none_begins(engine: Engine) -> None:
    async with hub(engine) as pokes, aclosing(pokes.follow()) as clocks:
        await coming(clocks)
        pokes.end()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert [clock async for clock in clocks] == []
        with pytest.raises(Refused):
            await coming(pokes.follow())
        assert pokes.subscribers == 0


async def test_two_processes_poke_each_other(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "SILENT_SECONDS_MAX", 3_600)
    async with (
        started(database_url) as other,
        hub(engine) as here,
        hub(other) as there,
        aclosing(here.follow()) as clocks,
        aclosing(there.follow()) as other_clocks,
    ):
        assert await coming(clocks) == await coming(other_clocks)
        for writer in (other, engine):
            seq = await write(writer)
            assert await coming(clocks) == seq
            assert await coming(other_clocks) == seq


@pytest.mark.postgres
@pytest.mark.usefixtures("only_told")
@pytest.mark.parametrize("database_source", ["postgres"], indirect=True)
async def test_a_lost_connection_is_made_again_and_what_was_missed_is_told(engine: Engine, database_url: str) -> None:
    async with started(database_url) as other, hub(engine) as pokes, aclosing(pokes.follow()) as clocks:
        await coming(clocks)
        for _ in range(2):
            lost = await listener(other)
            async with other.read() as conn:
                await conn.fetch("SELECT pg_terminate_backend(?, 10000)", lost)
            missed = await write(other)
            assert await coming(clocks) == missed
            assert await listener(other) != lost
            told = await write(other)
            assert await coming(clocks) == told


@pytest.mark.postgres
@pytest.mark.parametrize("database_source", ["postgres"], indirect=True)
async def test_a_silent_connection_is_asked_for_the_clock(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "SILENT_SECONDS_MAX", 0.05)
    async with hub(engine) as pokes, aclosing(pokes.follow()) as clocks:
        before = await coming(clocks)
        async with engine.write() as conn:
            await conn.execute("UPDATE sync_clock SET seq = seq + 1")  # and nobody is told
        assert await coming(clocks) == before + 1


@asynccontextmanager
async def started(database_url: str) -> AsyncIterator[Engine]:
    """The database as another process has it open."""
    engine = open_engine(database_url)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def listener(engine: Engine) -> int:
    """The server's process for the one connection that listens, once there is one."""
    found: list[Row] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not found:
            async with engine.read() as conn:
                found = await conn.fetch(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = ? AND datname = current_database()",
                    steps.APPLICATION_NAME,
                )
    return int(found[0][0])
