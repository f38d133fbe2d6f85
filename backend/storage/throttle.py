"""Holding back whoever guesses passwords, with counts that every process of a deployment shares."""

import random
from asyncio import sleep
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from backend.clock import Clock
from backend.domain.rates import rate_limited
from backend.domain.throttling import (
    ACCOUNT_WAITS,
    ADDRESS_WAITS,
    DEVICE_WAITS,
    Tries,
    Waits,
    after_success,
    after_try,
    device_slot,
    slot,
    wait_ms,
)
from backend.errors import Code, Problem, Refused
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine, SerializationFailure

RETRY_PAUSE_S = 0.02
FORGOTTEN_ROWS_MAX = 20
"""How many rows nobody needs any more go with each try that is counted."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that was let in: the rows it was counted in."""

    waits: Mapping[str, Waits]
    known_device: bool


class Throttle:
    """Counts a try as failed before the password is looked at, so that many at once are not let in together."""

    def __init__(self, engine: Engine, secret: bytes, *, clock: Clock, retries_max: int) -> None:
        self._engine = engine
        self._secret = secret
        self._clock = clock
        self._retries_max = retries_max

    async def attempt(self, account: str, address: str, known_device: tuple[str, str] | None) -> Attempt:
        """Let a try in. `known_device`: (user id, device id) where the account has signed in before: what strangers
        try elsewhere, or from the same address, then counts for nothing. Raises `Refused(RATE_LIMITED)`."""
        if known_device is not None:
            waits = {device_slot(self._secret, *known_device): DEVICE_WAITS}
        else:
            waits = {slot(self._secret, "account", account.strip().lower()): ACCOUNT_WAITS}
            if address:
                waits[slot(self._secret, "address", address)] = ADDRESS_WAITS
        attempt = Attempt(waits, known_device is not None)
        async with self._engine.read() as conn:
            # whoever is held back costs a read and no write
            _check(await _tries(conn, list(waits)), waits, self._clock())

        async def count(conn: Connection) -> None:
            tries, now_ms = await _locked(conn, sorted(waits)), self._clock()
            _check(tries, waits, now_ms)
            await _keep(conn, {key: after_try(tries.get(key, Tries()), waits[key], now_ms) for key in waits})
            await _forget(conn, now_ms)

        await self._written(count)
        return attempt

    async def succeeded(self, attempt: Attempt) -> None:
        """The try was no failure: its row is forgiven; an address stays known for the failures of others."""

        async def forgive(conn: Connection) -> None:
            tries = await _locked(conn, sorted(attempt.waits))
            await _keep(
                conn,
                {
                    key: after_success(found, forgiven=attempt.waits[key] is not ADDRESS_WAITS)
                    for key, found in tries.items()
                },
            )

        await self._written(forgive)

    async def _written(self, story: Callable[[Connection], Awaitable[None]]) -> None:
        for attempt in range(self._retries_max + 1):
            try:
                async with self._engine.write() as conn:
                    await story(conn)
                return
            except SerializationFailure:
                await sleep(RETRY_PAUSE_S * (attempt + random.random()))
        raise Refused(Problem(Code.BUSY))


def _check(tries: Mapping[str, Tries], waits: Mapping[str, Waits], now_ms: int) -> None:
    longest = max((wait_ms(tries[key], waits[key], now_ms) for key in waits if key in tries), default=0)
    if longest:
        raise rate_limited("signIn", min(one.free for one in waits.values()), longest)


async def _tries(conn: Connection, keys: Sequence[str], *, lock: str = "") -> dict[str, Tries]:
    rows = await conn.fetch(
        f"SELECT key, failures, failed_at, free_at FROM sign_in_throttle WHERE key = ANY(?) ORDER BY key{lock}",
        list(keys),
    )
    return {key: Tries(failures, failed_at, free_at) for key, failures, failed_at, free_at in rows}


async def _locked(conn: Connection, keys: Sequence[str]) -> dict[str, Tries]:
    """The rows, made where there were none, and held by this transaction; always in one order."""
    await conn.execute_many(
        "INSERT INTO sign_in_throttle (key, failures, failed_at, free_at) VALUES (?, 0, 0, 0)"
        " ON CONFLICT (key) DO NOTHING",
        [(key,) for key in keys],
    )
    return await _tries(conn, keys, lock=" FOR UPDATE")


async def _keep(conn: Connection, tries: Mapping[str, Tries]) -> None:
    await conn.execute_many(
        "INSERT INTO sign_in_throttle (key, failures, failed_at, free_at) VALUES (?, ?, ?, ?) ON CONFLICT (key)"
        " DO UPDATE SET failures = excluded.failures, failed_at = excluded.failed_at, free_at = excluded.free_at",
        [(key, kept.failures, kept.failed_at_ms, kept.free_at_ms) for key, kept in sorted(tries.items())],
    )


async def _forget(conn: Connection, now_ms: int) -> None:
    """Some rows that count for nothing any more; those somebody holds are left to the next."""
    over = now_ms - max(one.forget_ms for one in (ACCOUNT_WAITS, ADDRESS_WAITS, DEVICE_WAITS))
    skipping = " FOR UPDATE SKIP LOCKED" if conn.dialect is Dialect.POSTGRES else ""
    await conn.execute(
        "DELETE FROM sign_in_throttle WHERE key IN (SELECT key FROM sign_in_throttle WHERE failed_at <= ?"
        f" ORDER BY failed_at LIMIT ?{skipping})",
        over,
        FORGOTTEN_ROWS_MAX,
    )
