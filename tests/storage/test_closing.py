"""Whoever waits for the engine waits for so long and no longer: for a connection, and for its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from backend.errors import Code, Refused
from backend.storage import engine as engines
from backend.storage.dialects import Dialect
from backend.storage.engine import SQLITE_READERS, Engine, open_engine

PATIENCE_SECONDS = 60
WITHOUT_END = {
    Dialect.SQLITE: "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n",
    Dialect.POSTGRES: "SELECT pg_sleep(3600)",
}
only_sqlite = pytest.mark.parametrize("database_source", ["sqlite"], indirect=True)


@pytest.mark.parametrize("kind", ["read", "write", "fetch", "steady"])
async def test_closing_waits_for_no_statement_without_end(
    database_url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "CLOSE_SECONDS_MAX", 0.2)
    engine = open_engine(database_url)
    await engine.start()
    begun = asyncio.Event()
    running = asyncio.ensure_future(_run_on(engine, kind, begun))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begun.wait()
        await engine.close()
        await asyncio.wait({running})
    assert isinstance(running.exception(), Refused), running
    assert engine.connections() == (0, 0)


async def _run_on(engine: Engine, kind: str, begun: asyncio.Event) -> None:
    statement = WITHOUT_END[engine.dialect]
    if kind in {"fetch", "steady"}:
        begun.set()
        await engine.fetch(statement, steady=kind == "steady")
        return
    async with engine.write() if kind == "write" else engine.read() as conn:
        begun.set()
        await conn.fetch(statement)


async def test_closing_waits_for_nobody_who_holds_a_transaction_and_does_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "CLOSE_SECONDS_MAX", 0.2)
    engine = open_engine(database_url)
    await engine.start()
    begun = asyncio.Event()

    async def hold() -> None:
        async with engine.write():
            begun.set()
            await asyncio.Event().wait()

    holding = asyncio.ensure_future(hold())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begun.wait()
        await engine.close()
        holding.cancel()
        await asyncio.wait({holding})
    other = open_engine(database_url)
    await other.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), other.write() as conn:
            assert await conn.fetch("SELECT 1") == [(1,)]
    finally:
        await other.close()


@only_sqlite
async def test_who_waits_for_a_connection_that_is_never_given_back_is_told_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two who wait for what each other hold would else wait for ever: PostgreSQL's pool has such a bound, too."""
    monkeypatch.setattr(engines, "TURN_SECONDS_MAX", 0.1)

    async def enter(kind: Callable[[], object]) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(kind())  # type: ignore[arg-type]

    async with AsyncExitStack() as holding:
        for _ in range(SQLITE_READERS):
            await holding.enter_async_context(engine.read())
        assert await _code_of(enter(engine.read)) is Code.BUSY
        assert await _code_of(engine.fetch("SELECT 1")) is Code.BUSY
        await holding.enter_async_context(engine.write())
        assert await _code_of(enter(engine.write)) is Code.BUSY
    assert await engine.fetch("SELECT 1") == [(1,)]
    async with engine.write() as conn:
        assert await conn.fetch("SELECT 1") == [(1,)]


async def _code_of(asking: Awaitable[object]) -> Code:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(Refused) as refused:
            await asking
    return refused.value.problems[0].code
