"""A field that fails cancels its siblings: nobody else may suffer from it."""

import asyncio
from typing import Any

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.reads.ordinary import Loader
from backend.storage.engine import Engine, PostgresEngine

PATIENCE_SECONDS = 20


async def test_who_waits_beside_somebody_cancelled_is_answered(engine: Engine) -> None:
    loader = Loader(engine, Principal(PrincipalKind.STAFF, user_id="u", role=Role.ADMIN), 0, lambda: None)

    async def load(keys: list[Any]) -> dict[Any, Any]:
        return {key: key.upper() for key in keys}

    async def fail(keys: list[Any]) -> dict[Any, Any]:
        raise ValueError(keys)

    cancelled, waiting = loader.soon("here", "a", load), loader.soon("here", "b", load)
    cancelled.cancel()
    gone, failing = loader.soon("there", "a", fail), loader.soon("there", "b", fail)
    gone.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await waiting == "B"
        (told,) = await asyncio.gather(failing, return_exceptions=True)
        assert isinstance(told, ValueError)


async def test_a_connection_left_within_a_transaction_is_out_of_it_for_the_next(engine: Engine) -> None:
    if isinstance(engine, PostgresEngine):
        assert engine._pool is not None
        async with engine._pool.acquire() as raw:
            # as when the end of a transaction was cancelled: nobody ended it
            await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await raw.fetch("SELECT count(*) FROM customer")
    async with engine.read() as conn:
        assert await conn.fetch("SELECT 1 FROM sync_clock")
    async with engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET horizon = 7")
    assert [row[0] for row in await engine.fetch("SELECT horizon FROM sync_clock")] == [7]
