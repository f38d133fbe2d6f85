"""A field that fails cancels its siblings: nobody else may suffer from it."""

import asyncio
from typing import Any

import asyncpg
import pytest

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.reads.ordinary import Loader
from backend.storage.dialects import Dialect
from backend.storage.engine import Engine, open_engine

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


async def test_a_statement_cancelled_at_any_moment_leaves_its_connection_fit_for_the_next(engine: Engine) -> None:
    alone = open_engine(engine.url, pool_connections_max=1)
    await alone.start()
    try:
        for turns in range(25):
            # one that is not prepared yet: preparing and running it are two steps
            task = asyncio.create_task(alone.fetch(f"SELECT {turns}, count(*) FROM customer WHERE id > ?", "a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            async with asyncio.timeout(PATIENCE_SECONDS), alone.read() as conn:
                assert await conn.fetch("SELECT 1 FROM sync_clock")
            async with alone.write() as conn:
                await conn.execute("UPDATE sync_clock SET horizon = ?", turns)
            assert [row[0] for row in await alone.fetch("SELECT horizon FROM sync_clock")] == [turns]
    finally:
        await alone.close()


async def test_a_connection_given_back_between_preparing_and_running_takes_a_transaction(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very moment, found by what the driver does rather than by waiting."""
    alone = open_engine(engine.url, pool_connections_max=1)
    await alone.start()
    try:
        if alone.dialect is Dialect.POSTGRES:
            prepare = asyncpg.Connection._get_statement

            async def prepared_and_cancelled(self: Any, *args: Any, **named: Any) -> Any:
                await prepare(self, *args, **named)
                raise asyncio.CancelledError

            with monkeypatch.context() as patched:
                patched.setattr(asyncpg.Connection, "_get_statement", prepared_and_cancelled)
                with pytest.raises(asyncio.CancelledError):
                    await alone.fetch("SELECT count(*) FROM customer WHERE id > ?", "a")
        async with alone.read() as conn:
            assert await conn.fetch("SELECT 1 FROM sync_clock")
    finally:
        await alone.close()
