"""The two databases behind one small surface: a writing transaction, a reading snapshot.

SQLite has one writing connection (`BEGIN IMMEDIATE`, so a write never fails half-way because another
process wrote first) and read-only WAL connections of its own for reads. PostgreSQL has a pool. Rows come
back as tuples: building model objects costs seven to ten times the query (`docs/adr/0002-statements.md`).
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiosqlite
import asyncpg

from backend.errors import BadSetting, Code, Problem, Refused
from backend.storage.dialects import Dialect, for_postgres, for_sqlite, sqlite_argument

Row = tuple[Any, ...]
StepListener = Callable[[int], None]
"""Is told the clock right after a commit that stepped it."""
StandingsListener = Callable[[frozenset[str] | None], None]
"""Is told whose sign-ins, devices or roles changed, right after the commit; None: perhaps anybody's."""
BUSY_TIMEOUT_MS = 5_000
SQLITE_READERS = 2


class SerializationFailure(Exception):
    """The database asks to run the whole transaction again (40001, 40P01)."""


class Connection(Protocol):
    """What everybody above sees of a database connection. Statements follow `storage/dialects.py`."""

    dialect: Dialect

    async def fetch(self, sql: str, *args: object) -> list[Row]: ...

    async def execute(self, sql: str, *args: object) -> None: ...

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None: ...


class SqliteConnection:
    dialect = Dialect.SQLITE

    def __init__(self, raw: aiosqlite.Connection) -> None:
        self.raw = raw

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        rows = await self.raw.execute_fetchall(for_sqlite(sql), [sqlite_argument(a) for a in args])
        return list(rows)  # type: ignore[arg-type]

    async def execute(self, sql: str, *args: object) -> None:
        async with self.raw.execute(for_sqlite(sql), [sqlite_argument(a) for a in args]):
            pass

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        if rows:
            async with self.raw.executemany(for_sqlite(sql), rows):
                pass


class PostgresConnection:
    dialect = Dialect.POSTGRES

    def __init__(self, raw: asyncpg.Connection) -> None:
        self.raw = raw

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        with _text_it_can_hold():
            return await self.raw.fetch(for_postgres(sql), *args)  # type: ignore[no-any-return]

    async def execute(self, sql: str, *args: object) -> None:
        with _text_it_can_hold():
            await self.raw.execute(for_postgres(sql), *args)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        if rows:
            with _text_it_can_hold():
                await self.raw.executemany(for_postgres(sql), rows)


@contextmanager
def _text_it_can_hold() -> Iterator[None]:
    """PostgreSQL has no NUL in its texts: a value that brings one is a wrong value, not an accident."""
    try:
        yield
    except asyncpg.CharacterNotInRepertoireError:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("text",))) from None


class Engine(Protocol):
    dialect: Dialect
    url: str
    on_step: StepListener | None
    on_standings: StandingsListener | None

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def write(self) -> "AsyncTransaction": ...

    def read(self) -> "AsyncTransaction": ...


class AsyncTransaction(Protocol):
    async def __aenter__(self) -> Connection: ...

    async def __aexit__(self, *error: Any) -> bool | None: ...


class SqliteEngine:
    """Files only: an in-memory database cannot be seen by a second connection."""

    dialect = Dialect.SQLITE

    def __init__(self, url: str) -> None:
        self.url = url
        self.on_step: StepListener | None = None
        self.on_standings: StandingsListener | None = None
        self.path = Path(url.removeprefix("sqlite://"))
        self._writer: aiosqlite.Connection | None = None
        self._write_turn = asyncio.Lock()
        self._readers: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._all_readers: list[aiosqlite.Connection] = []

    async def start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = await self._open(read_only=False)
        for _ in range(SQLITE_READERS):
            reader = await self._open(read_only=True)
            self._all_readers.append(reader)
            self._readers.put_nowait(reader)

    async def _open(self, *, read_only: bool) -> aiosqlite.Connection:
        raw = await aiosqlite.connect(self.path, isolation_level=None, cached_statements=500)
        pragmas = [
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "cache_size=-32000",
        ]
        if read_only:
            pragmas.append("query_only=1")
        for pragma in pragmas:
            await raw.execute_fetchall(f"PRAGMA {pragma}")
        return raw

    async def close(self) -> None:
        for raw in [*self._all_readers, *([self._writer] if self._writer else [])]:
            await raw.close()
        self._all_readers.clear()
        self._writer = None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        assert self._writer is not None, "engine not started"
        async with self._write_turn:
            raw = self._writer
            try:
                await raw.execute_fetchall("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise _sqlite_trouble(error) from error
            except asyncio.CancelledError:
                # the statement runs on in its thread, though nobody waits for it any more
                await asyncio.shield(raw.rollback())
                raise
            try:
                yield SqliteConnection(raw)
            except BaseException:
                await asyncio.shield(raw.rollback())
                raise
            try:
                await asyncio.shield(raw.commit())
            except sqlite3.OperationalError as error:
                await raw.rollback()
                raise _sqlite_trouble(error) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        raw = await self._readers.get()
        try:
            try:
                # within the try: cancelled while waiting, the statement still runs
                await raw.execute_fetchall("BEGIN")
                yield SqliteConnection(raw)
            finally:
                await asyncio.shield(raw.rollback())
        finally:
            self._readers.put_nowait(raw)


def _sqlite_trouble(error: sqlite3.OperationalError) -> Exception:
    text = str(error)
    if "locked" in text or "busy" in text:
        return SerializationFailure(text)
    if "full" in text or "disk I/O" in text:
        return Refused(Problem(Code.BUSY))
    return error


class PostgresEngine:
    dialect = Dialect.POSTGRES

    def __init__(self, url: str, *, pool_connections_max: int = 10) -> None:
        self.url = url
        self.on_step: StepListener | None = None
        self.on_standings: StandingsListener | None = None
        self._pool_connections_max = pool_connections_max
        self._pool: asyncpg.Pool | None = None

    async def start(self) -> None:
        self._pool = await asyncpg.create_pool(
            self.url,
            min_size=1,
            max_size=self._pool_connections_max,
            init=_pass_json_through,
            # compiling a wide statement takes a second where running it takes milliseconds
            server_settings={"jit": "off"},
            # no code sets session state, and the reset costs more than half of a short query
            reset=_keep_session,
        )

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        assert self._pool is not None, "engine not started"
        try:
            async with self._pool.acquire() as raw, raw.transaction(isolation="read_committed"):
                yield PostgresConnection(raw)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
            raise SerializationFailure(str(error)) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        assert self._pool is not None, "engine not started"
        async with self._pool.acquire() as raw, raw.transaction(isolation="repeatable_read", readonly=True):
            yield PostgresConnection(raw)


async def _pass_json_through(raw: asyncpg.Connection) -> None:
    """JSON comes back as the bytes PostgreSQL printed, never parsed."""
    await raw.set_type_codec("json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")


async def _keep_session(_raw: asyncpg.Connection) -> None:
    return None


def open_engine(url: str, *, pool_connections_max: int = 10) -> Engine:
    """The engine for a URL; raises `BadSetting` for a scheme that is neither."""
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        return SqliteEngine(url)
    if scheme in {"postgres", "postgresql"}:
        return PostgresEngine(url, pool_connections_max=pool_connections_max)
    raise BadSetting(f"SELVEDGE_DATABASE_URL: unknown scheme {scheme!r}; wanted: sqlite://PATH or postgres://…")
