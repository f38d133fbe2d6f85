"""Statements that are planned once, on connections of their own."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from backend.errors import Code, Refused
from backend.storage.engine import LANE_CONNECTIONS, Engine, open_engine
from tests.databases import fresh_postgres

PLANNED = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE '%counted' || ' here%'"
COUNT = 'SELECT count(*) AS "counted here" FROM kept WHERE number = ?::int'
ME = "SELECT pg_backend_pid()"
PATIENCE_SECONDS = 20


@pytest.fixture
async def url(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_postgres(postgres_server) as made:
        raw = await asyncpg.connect(made)
        await raw.execute("CREATE TABLE kept AS SELECT n AS number FROM generate_series(1, 100) n")
        await raw.close()
        yield made


@pytest.fixture
async def engine(url: str) -> AsyncIterator[Engine]:
    made = open_engine(url, statement_seconds_max=5, pool_wait_seconds_max=1)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def answered(engine: Engine) -> int:
    """The process of the connection that was used last, and will be next."""
    ((pid,),) = await engine.fetch(ME, steady=True)
    return int(pid)


async def test_a_steady_statement_is_planned_once_and_any_other_by_its_values(engine: Engine) -> None:
    for number in range(4):
        assert await engine.fetch(COUNT, number + 1, steady=True) == [(1,)]
        assert await engine.fetch(COUNT, number + 1) == [(1,)]
    assert await engine.fetch(PLANNED, steady=True) == [(0, 4)]
    assert await engine.fetch(PLANNED) == [(4, 0)]


async def test_there_are_only_so_many_and_the_next_waits_his_turn(engine: Engine) -> None:
    before = engine.connections()[1]
    many = [engine.fetch("SELECT ?::int, pg_backend_pid(), pg_sleep(0.01)", n, steady=True) for n in range(30)]
    told = [rows[0] for rows in await asyncio.gather(*many)]
    assert [number for number, *_ in told] == list(range(30))
    assert len({pid for _, pid, _ in told}) == LANE_CONNECTIONS
    assert engine.connections()[1] == before + LANE_CONNECTIONS


async def test_who_waits_too_long_is_told_so(engine: Engine) -> None:
    held = [asyncio.create_task(engine.fetch("SELECT pg_sleep(3)", steady=True)) for _ in range(LANE_CONNECTIONS)]
    # each has taken its connection, or begun to open it, before it waits for anything
    await asyncio.sleep(0)
    with pytest.raises(Refused) as refused:
        await engine.fetch(ME, steady=True)
    assert refused.value.problems[0].code is Code.BUSY
    for task in held:
        task.cancel()
    await asyncio.wait(held)
    assert await engine.fetch(COUNT, 1, steady=True) == [(1,)]


async def test_a_connection_that_was_ended_is_replaced(engine: Engine, answered: int) -> None:
    task = asyncio.create_task(engine.fetch("SELECT pg_sleep(60)", steady=True))
    await engine.fetch("SELECT 1")
    async with asyncio.timeout(60):
        while await engine.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = ? AND state <> 'active'", answered):
            assert not task.done(), "it sleeps on another connection"
    await engine.fetch("SELECT pg_terminate_backend(?)", answered)
    with pytest.raises(Refused) as refused:
        await task
    assert refused.value.problems[0].code is Code.UNAVAILABLE
    assert (await engine.fetch(ME, steady=True))[0][0] != answered


async def test_one_that_says_nothing_is_given_up(url: str) -> None:
    engine = open_engine(url, statement_seconds_max=1)
    await engine.start()
    try:
        ((silent,),) = await engine.fetch(ME, steady=True)
        with pytest.raises(Refused) as refused:
            await engine.fetch("SELECT pg_sleep(60)", steady=True)
        assert refused.value.problems[0].code is Code.UNAVAILABLE
        assert (await engine.fetch(ME, steady=True))[0][0] != silent
    finally:
        await engine.close()


async def test_a_refused_value_costs_no_connection(engine: Engine, answered: int) -> None:
    with pytest.raises(Refused) as refused:
        await engine.fetch("SELECT ?::text", "a\x00b", steady=True)
    assert refused.value.problems[0].code is Code.INVALID_VALUE
    assert await engine.fetch(ME, steady=True) == [(answered,)]


async def test_one_cancelled_at_any_moment_leaves_the_next_its_own_answer(engine: Engine) -> None:
    for turns in range(25):
        task = asyncio.create_task(engine.fetch(f"SELECT {turns}, count(*) FROM kept WHERE number > ?", 3, steady=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await engine.fetch("SELECT ?::int", turns, steady=True) == [(turns,)]


async def test_no_server_no_answer(url: str) -> None:
    engine = open_engine(url.replace(url.rsplit("/", 1)[1], "never_made"))
    with pytest.raises(Refused) as refused:
        await engine.fetch(ME, steady=True)
    assert refused.value.problems[0].code is Code.UNAVAILABLE


@pytest.mark.parametrize(("connections", "pooler"), [(LANE_CONNECTIONS, False), (10, True)])
async def test_a_small_pool_and_a_pooler_keep_none_apart(url: str, connections: int, pooler: bool) -> None:
    engine = open_engine(url, pool_connections_max=connections, through_pooler=pooler)
    await engine.start()
    try:
        opened = engine.connections()[1]
        assert await engine.fetch(COUNT, 1, steady=True) == [(1,)]
        assert engine.connections()[1] == opened
    finally:
        await engine.close()
