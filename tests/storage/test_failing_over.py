"""What the engine makes of a database that changes its leader, and of a pooler in front of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from backend.config import Settings
from backend.errors import BadSetting, Code, Refused, Retry
from backend.storage.engine import Engine, open_engine
from backend.wiring import open_request_engine
from tests.databases import fresh_postgres

WITHIN = "SELECT current_setting('transaction_read_only')"
PREPARED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
async def own_url(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_postgres(postgres_server) as url:
        raw = await asyncpg.connect(url)
        await raw.execute("CREATE TABLE kept (text TEXT)")
        await raw.close()
        yield url


async def put(engine: Engine) -> None:
    async with engine.write() as conn:
        await conn.execute("INSERT INTO kept VALUES (?)", "x")


async def administer(url: str, statement: str) -> None:
    raw = await asyncpg.connect(url)
    await raw.execute(statement)
    await raw.close()


def only_code(refused: Refused) -> Code:
    (problem,) = refused.problems
    assert problem.retry is Retry.LATER
    return problem.code


async def test_a_connection_to_who_leads_no_more_is_given_up(own_url: str) -> None:
    """Its session stays read-only for good: only another one, by the same pool, can write again."""
    name = own_url.rsplit("/", 1)[1]
    await administer(own_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    engine = open_engine(own_url, pool_connections_max=1)
    await engine.start()
    try:
        with pytest.raises(Refused) as refused:
            await put(engine)
        assert only_code(refused.value) is Code.UNAVAILABLE
        raw = await asyncpg.connect(own_url, server_settings={"default_transaction_read_only": "off"})
        await raw.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await raw.close()
        for _ in range(5):  # the pool may have opened the next one, too, before that
            with contextlib.suppress(Refused):
                await put(engine)
        assert await engine.fetch("SELECT count(*) FROM kept") != [(0,)]
    finally:
        await engine.close()


@pytest.mark.parametrize("kind", ["write", "read", "fetch"])
async def test_nobody_waits_for_a_server_that_says_nothing(own_url: str, kind: str) -> None:
    engine = open_engine(own_url, pool_connections_max=1, statement_seconds_max=1)
    await engine.start()
    try:
        (before,) = await engine.fetch("SELECT pg_backend_pid()")
        with pytest.raises(Refused) as refused:  # noqa: PT012 - one of three
            if kind == "fetch":
                await engine.fetch("SELECT pg_sleep(60)")
            else:
                async with engine.write() if kind == "write" else engine.read() as conn:
                    await conn.fetch("SELECT pg_sleep(60)")
        assert only_code(refused.value) is Code.UNAVAILABLE
        await put(engine)
        (after,) = await engine.fetch("SELECT pg_backend_pid()")
        assert after != before
    finally:
        await engine.close()


async def test_a_connection_ended_by_the_server_is_told_and_replaced(own_url: str) -> None:
    engine = open_engine(own_url, pool_connections_max=1)
    await engine.start()
    try:
        with pytest.raises(Refused) as refused:  # noqa: PT012 - it ends in the middle
            async with engine.write() as conn:
                ((pid,),) = await conn.fetch("SELECT pg_backend_pid()")
                await administer(own_url, f"SELECT pg_terminate_backend({pid})")
                await conn.execute("INSERT INTO kept VALUES ('lost')")
        assert only_code(refused.value) is Code.UNAVAILABLE
        await put(engine)
        assert await engine.fetch("SELECT count(*) FROM kept") == [(1,)]
    finally:
        await engine.close()


@pytest.mark.parametrize("pooled", [True, False])
async def test_through_a_pooler_nothing_is_left_in_a_session(own_url: str, pooled: bool) -> None:
    engine = open_engine(own_url, pool_connections_max=1, through_pooler=pooled)
    await engine.start()
    try:
        for _ in range(2):
            await put(engine)
            async with engine.read() as conn:
                await conn.fetch("SELECT text FROM kept WHERE text = ?", "x")
            async with engine.write() as conn:
                await conn.execute_many("INSERT INTO kept VALUES (?)", [("y",)] * 50)
            await engine.fetch("SELECT text FROM kept WHERE text = ?", "y")
        ((left,),) = await engine.fetch(PREPARED)
        ((within,),) = await engine.fetch(WITHIN)
        assert (left == 0) is pooled
        # prepared and run within one transaction, which a pooler keeps together
        assert (within == "on") is pooled
        # JSON is still passed through as it was printed
        assert await engine.fetch("SELECT json_build_object('a', 1)") == [(b'{"a" : 1}',)]
    finally:
        await engine.close()


async def test_requests_go_through_the_pooler_that_is_named(own_url: str) -> None:
    engine = open_request_engine(Settings(database_url="postgres://127.0.0.1:1/none", pooler_url=own_url))
    await engine.start()
    try:
        async with asyncio.timeout(30):
            await put(engine)
    finally:
        await engine.close()


def test_a_pooler_in_front_of_a_file_is_refused() -> None:
    with pytest.raises(BadSetting, match="SELVEDGE_POOLER_URL"):
        open_request_engine(Settings(database_url="sqlite://x.sqlite3", pooler_url="postgres://127.0.0.1/x"))
