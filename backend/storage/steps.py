"""Hearing of what other processes committed: steps of the clock, and whose standing changed.

PostgreSQL tells them on a connection of its own, which must reach the server itself and no pooler. It can be lost
at any time, without a word when a network falls silent; so the clock is also read whenever the connection is new,
and now and then while it is old. SQLite tells nobody anything: there one has to look.
"""

import asyncio
import random
from collections.abc import Collection

import asyncpg

from backend.errors import Refused
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine, SerializationFailure, StandingsListener, StepListener
from backend.telemetry import logger

STEPS_CHANNEL = "selvedge_steps"
STANDINGS_CHANNEL = "selvedge_standings"
"""Carries user ids by commas, or `*` for everybody."""
USERS_TOLD_MAX = 100
"""Of more at once everybody is asked for again: a message holds 8,000 bytes."""
EVERYBODY = "*"
APPLICATION_NAME = "selvedge steps"
"""How the connection is named in the server's list of them."""
CONNECT_SECONDS_MAX = 10
SILENT_SECONDS_MAX = 10
"""How long a connection may say nothing before it is asked for the clock."""
ANSWER_SECONDS_MAX = 5
PAUSE_SECONDS_FIRST = 0.1
PAUSE_DOUBLINGS_MAX = 6
LOOK_SECONDS = 0.5
"""Whoever is shut out is out within a second, with time to spare for asking who he is."""
CLOCK_SQL = "SELECT seq FROM sync_clock WHERE id = 1"
_LOG = logger(__name__)


async def tell_standings(conn: Connection, user_ids: Collection[str]) -> None:
    """Let every process know, at commit, that these users' sign-ins, devices or roles changed."""
    if conn.dialect is Dialect.POSTGRES:
        told = ",".join(sorted(user_ids)) if len(user_ids) <= USERS_TOLD_MAX else EVERYBODY
        await conn.fetch("SELECT pg_notify(?, ?)", STANDINGS_CHANNEL, told)
    else:
        await conn.execute("UPDATE sync_clock SET standings = standings + 1 WHERE id = 1")


async def hear_steps(url: str, heard: StepListener, changed: StandingsListener) -> None:
    """Tell what PostgreSQL commits, until cancelled. The server may go away and come back meanwhile."""
    attempt = 0
    while True:
        reason = "closed by the server"
        try:
            raw = await asyncpg.connect(
                url, timeout=CONNECT_SECONDS_MAX, server_settings={"application_name": APPLICATION_NAME}
            )
            try:
                await _hear(raw, heard, changed)
                attempt = 0
            finally:
                raw.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            reason = type(error).__name__
        attempt += 1
        _LOG.warning("not hearing of steps", error_type=reason, attempt=attempt)
        # many processes lose the same server at once
        pause_seconds = PAUSE_SECONDS_FIRST * 2 ** min(attempt - 1, PAUSE_DOUBLINGS_MAX)
        await asyncio.sleep(pause_seconds * (0.5 + random.random()))


async def _hear(raw: asyncpg.Connection, heard: StepListener, changed: StandingsListener) -> None:
    """Returns when the connection is lost; raises when it does not answer."""
    lost = asyncio.Event()
    raw.add_termination_listener(lambda _raw: lost.set())
    await raw.add_listener(STEPS_CHANNEL, lambda _raw, _pid, _channel, clock: heard(int(clock)))
    await raw.add_listener(STANDINGS_CHANNEL, lambda _raw, _pid, _channel, told: changed(_users(told)))
    changed(None)  # what was told before nobody heard
    while not lost.is_set():
        heard(await raw.fetchval(CLOCK_SQL, timeout=ANSWER_SECONDS_MAX))
        try:
            async with asyncio.timeout(SILENT_SECONDS_MAX):
                await lost.wait()
        except TimeoutError:
            continue


def _users(told: str) -> frozenset[str] | None:
    return None if told == EVERYBODY else frozenset(told.split(","))


async def look_for_steps(
    engine: Engine, heard: StepListener, changed: StandingsListener, wanted: asyncio.Event
) -> None:
    """Tell what became of an SQLite file twice a second while it is wanted, until cancelled."""
    known = -1
    while True:
        await wanted.wait()
        try:
            async with engine.read() as conn:
                ((clock, standings),) = await conn.fetch("SELECT seq, standings FROM sync_clock WHERE id = 1")
            heard(clock)
            if standings != known:
                known = standings
                changed(None)
        except (Refused, SerializationFailure) as error:
            # a file that cannot be read now may be read in a second
            _LOG.warning("not hearing of steps", error_type=type(error).__name__)
        await asyncio.sleep(LOOK_SECONDS)
