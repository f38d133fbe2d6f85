"""The two databases behind one small surface: a writing transaction, a reading snapshot.

SQLite has one writing connection (`BEGIN IMMEDIATE`, so a write never fails half-way because another
process wrote first) and read-only WAL connections of its own for reads. PostgreSQL has a pool. Rows come
back as tuples: building model objects costs seven to ten times the query (`docs/adr/0002-statements.md`).
"""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiosqlite
import asyncpg

from backend.errors import BadSetting, Code, Problem, Refused
from backend.storage.batches import ROWS_MIN, TYPES, handed_over, set_based
from backend.storage.dialects import Dialect, for_postgres, for_sqlite, sqlite_argument
from backend.storage.lane import PLANNED_ONCE, Full, Gone, Lane
from backend.telemetry import logger

Row = tuple[Any, ...]
StepListener = Callable[[int], None]
"""Is told the clock right after a commit that stepped it."""
StandingsListener = Callable[[frozenset[str] | None], None]
"""Is told whose sign-ins, devices or roles changed, right after the commit; None: perhaps anybody's."""
BUSY_TIMEOUT_MS = 5_000
SQLITE_READERS = 2
TURN_SECONDS_MAX = 30
"""How long one waits for SQLite's writing connection, or for a reading one; where two wait for what each other hold,
one is told so."""
CLOSE_SECONDS_MAX = 5
"""How long closing waits for those who still use a connection; then it is taken from them."""
STATEMENTS_PREPARED_MAX = 100
"""Of one connection; asyncpg's own number."""
STATEMENT_PREPARED_BYTES_MAX = 100_000
"""Longer ones are planned anew each time. The widest documents come to some ten thousand."""
LANE_CONNECTIONS = 4
"""Of a pool with twice as many or more: kept for statements that are planned once."""
DISK_FREE_BYTES_FULL = 65_536
"""With less than this free, a failed write is put down to the full disk."""
_LOG = logger(__name__)


class SerializationFailure(Exception):
    """The database asks to run the whole transaction again (40001, 40P01)."""


class DatabaseTrouble(Exception):
    """The database is gone, or has no room: the transaction is lost, and no part of it can be saved.

    Raised by statements; whoever opened the transaction is told `Refused` with the same code.
    """

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code


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
        with _sqlite_answers():
            rows = await self.raw.execute_fetchall(for_sqlite(sql), [sqlite_argument(a) for a in args])
        return list(rows)  # type: ignore[arg-type]

    async def execute(self, sql: str, *args: object) -> None:
        with _sqlite_answers():
            async with self.raw.execute(for_sqlite(sql), [sqlite_argument(a) for a in args]):
                pass

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        if rows:
            with _sqlite_answers():
                async with self.raw.executemany(for_sqlite(sql), rows):
                    pass


@contextmanager
def _sqlite_answers() -> Iterator[None]:
    """What SQLite says of its file, in our words; a wrong statement stays what it is."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if (trouble := _sqlite_trouble(error)) is not None:
            raise trouble from error
        raise


def _sqlite_trouble(error: sqlite3.OperationalError) -> Exception | None:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return SerializationFailure(str(error))
    if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR_SHM"):
        return DatabaseTrouble(Code.STORAGE_FULL)
    # interrupted: the engine was closed meanwhile
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_INTERRUPT")):
        return DatabaseTrouble(Code.UNAVAILABLE)
    return None


async def _close_each(opened: Sequence[aiosqlite.Connection]) -> None:
    for raw in opened:
        await raw.close()


class PostgresConnection:
    dialect = Dialect.POSTGRES

    def __init__(self, raw: asyncpg.Connection, sets: dict[str, tuple[str, ...] | None]) -> None:
        self.raw = raw
        self._sets = sets
        """of this engine: statement → the types of its values, or None"""

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        with self._answers():
            return await self.raw.fetch(for_postgres(sql), *args)  # type: ignore[no-any-return]

    async def execute(self, sql: str, *args: object) -> None:
        with self._answers():
            await self.raw.execute(for_postgres(sql), *args)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        if not rows:
            return
        with self._answers():
            batch = set_based(sql) if len(rows) >= ROWS_MIN else None
            types = await self._types(sql) if batch is not None and batch.fits(rows) else None
            if batch is None or types is None:
                await self.raw.executemany(for_postgres(sql), rows)
                return
            forms, values = handed_over(rows, types)
            await self.raw.execute(batch.sql(types, forms), *values)

    async def _types(self, sql: str) -> tuple[str, ...] | None:
        """The types of a statement's values; None where one of them is not handed over as a list."""
        if sql not in self._sets:
            asked = await self.raw.prepare(for_postgres(sql))
            types = tuple(found.name for found in asked.get_parameters())
            self._sets[sql] = types if set(types) <= TYPES else None
        return self._sets[sql]

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """PostgreSQL has no NUL in its texts: a value that brings one is a wrong value, not an accident."""
        try:
            yield
        except asyncpg.CharacterNotInRepertoireError:
            raise Refused(Problem(Code.INVALID_VALUE, allowed=("text",))) from None
        except Exception as error:
            if (code := _postgres_trouble(error, lost=_is_lost(self.raw))) is not None:
                raise DatabaseTrouble(code) from error
            raise


def _is_lost(raw: asyncpg.Connection) -> bool:
    """Whether a connection is closed; one that was lost the pool takes back by itself, and then nobody may ask it."""
    try:
        return bool(raw.is_closed())
    except asyncpg.InterfaceError:
        return True


def _postgres_trouble(error: BaseException, *, lost: bool) -> Code | None:
    """What an error says of the server; None where it speaks of the statement. `lost`: the connection is closed."""
    if isinstance(error, asyncpg.DiskFullError):
        return Code.STORAGE_FULL
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return Code.BUSY
    # 25006: a server that was the primary until now
    gone = (
        asyncpg.PostgresConnectionError,
        asyncpg.AdminShutdownError,
        asyncpg.CrashShutdownError,
        asyncpg.CannotConnectNowError,
        asyncpg.ReadOnlySQLTransactionError,
        # an idle connection has heard its server's last words, and not yet that it is closed
        asyncpg.InternalClientError,
        # a statement took longer than it may: of a server that fell silent nobody hears more than this
        TimeoutError,
    )
    if isinstance(error, gone) or (lost and isinstance(error, (asyncpg.InterfaceError, OSError))):
        return Code.UNAVAILABLE
    return None


class Engine(Protocol):
    dialect: Dialect
    url: str
    on_step: StepListener | None
    on_standings: StandingsListener | None

    async def start(self) -> None: ...

    async def close(self) -> None:
        """Close every connection, within seconds: whoever still uses one finds it gone."""

    def write(self) -> "AsyncTransaction":
        """A transaction, committed when its block ends.

        Raises `SerializationFailure`; `Refused`: BUSY, UNAVAILABLE, STORAGE_FULL, of which nobody knows, where they
        come at the very end, whether it was committed.
        """

    def read(self) -> "AsyncTransaction":
        """A snapshot. Raises `Refused`: BUSY, UNAVAILABLE."""

    def connections(self) -> tuple[int, int]:
        """How many connections are in use, and how many are open."""

    async def fetch(self, sql: str, *args: object, steady: bool = False) -> list[Row]:
        """What one reading statement finds, in one round trip: a statement is a snapshot of its own.

        `steady`: which plan is best does not hang on the arguments, so that one is enough. Raises as `read` does.
        """


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
            # what is deleted is overwritten with zeros, so that an erased person is not in the file either
            "secure_delete=ON",
            "cache_size=-32000",
        ]
        if read_only:
            pragmas.append("query_only=1")
        for pragma in pragmas:
            await raw.execute_fetchall(f"PRAGMA {pragma}")
        return raw

    async def close(self) -> None:
        # the writer last: who closes last takes the log into the file
        opened = [*self._all_readers, *([self._writer] if self._writer else [])]
        self._all_readers.clear()
        self._readers = asyncio.Queue()
        self._writer = None
        closing = asyncio.ensure_future(_close_each(opened))
        _, waiting = await asyncio.wait({closing}, timeout=CLOSE_SECONDS_MAX)
        if waiting:
            # a statement runs on in its thread, perhaps for nobody any more
            for raw in opened:
                with suppress(ValueError):  # closed already
                    await raw.interrupt()
            await asyncio.wait({closing}, timeout=CLOSE_SECONDS_MAX)
        if closing.cancel():
            _LOG.error("a connection does not close", code=Code.INTERNAL.value)
        else:
            closing.result()

    def connections(self) -> tuple[int, int]:
        opened = len(self._all_readers) + (self._writer is not None)
        return len(self._all_readers) - self._readers.qsize() + self._write_turn.locked(), opened

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        assert self._writer is not None, "engine not started"
        raw = self._writer
        async with self._turn_to_write():
            with self._trouble_told():
                try:
                    await raw.execute_fetchall("BEGIN IMMEDIATE")
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
                except sqlite3.OperationalError:
                    await raw.rollback()
                    raise

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TURN_SECONDS_MAX):
                await self._write_turn.acquire()
        except TimeoutError:
            raise Refused(Problem(Code.BUSY)) from None
        try:
            yield
        finally:
            self._write_turn.release()

    async def _reader(self) -> aiosqlite.Connection:
        assert self._all_readers, "engine not started"
        with suppress(asyncio.QueueEmpty):
            return self._readers.get_nowait()
        try:
            async with asyncio.timeout(TURN_SECONDS_MAX):
                return await self._readers.get()
        except TimeoutError:
            raise Refused(Problem(Code.BUSY)) from None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        raw = await self._reader()
        try:
            with self._trouble_told():
                try:
                    # within the try: cancelled while waiting, the statement still runs
                    await raw.execute_fetchall("BEGIN")
                    yield SqliteConnection(raw)
                finally:
                    await asyncio.shield(raw.rollback())
        finally:
            self._give_back(raw)

    async def fetch(self, sql: str, *args: object, steady: bool = False) -> list[Row]:
        raw = await self._reader()
        try:
            with self._trouble_told():
                # cancelled, the statement runs on in its thread and is finished there before the next one begins
                return await SqliteConnection(raw).fetch(sql, *args)
        finally:
            self._give_back(raw)

    def _give_back(self, raw: aiosqlite.Connection) -> None:
        if raw in self._all_readers:  # else the engine was closed meanwhile
            self._readers.put_nowait(raw)

    @contextmanager
    def _trouble_told(self) -> Iterator[None]:
        try:
            with _sqlite_answers():
                yield
        except DatabaseTrouble as trouble:
            raise Refused(Problem(self._reason(trouble.code))) from trouble
        except (ValueError, sqlite3.ProgrammingError) as error:
            if self._writer is not None:
                raise
            # the connection was closed under whoever used it
            raise Refused(Problem(Code.UNAVAILABLE)) from error

    def _reason(self, code: Code) -> Code:
        """A write that failed on a disk without room failed for want of it, whatever SQLite calls it."""
        if code is Code.UNAVAILABLE and self.path.parent.exists():
            free_bytes = shutil.disk_usage(self.path.parent).free
            return Code.STORAGE_FULL if free_bytes < DISK_FREE_BYTES_FULL else code
        return code


class PostgresEngine:
    dialect = Dialect.POSTGRES

    def __init__(
        self,
        url: str,
        *,
        pool_connections_max: int = 10,
        pool_wait_seconds_max: int = 10,
        statement_seconds_max: int | None = None,
        through_pooler: bool = False,
    ) -> None:
        self.url = url
        self.on_step: StepListener | None = None
        self.on_standings: StandingsListener | None = None
        self._statement_seconds_max = statement_seconds_max
        self._through_pooler = through_pooler
        """Every transaction may be on another connection of the server: nothing of a session outlives it."""
        self._pool_connections_max = pool_connections_max
        self._pool_wait_seconds_max = pool_wait_seconds_max
        self._pool: asyncpg.Pool | None = None
        self._sets: dict[str, tuple[str, ...] | None] = {}
        kept_apart = LANE_CONNECTIONS if pool_connections_max >= 2 * LANE_CONNECTIONS and not through_pooler else 0
        self._lane = Lane(self._connect_for_lane, connections_max=kept_apart, wait_seconds_max=pool_wait_seconds_max)
        self._pool_connections_max -= kept_apart

    async def start(self) -> None:
        self._pool = await asyncpg.create_pool(
            self.url,
            min_size=1,
            max_size=self._pool_connections_max,
            timeout=self._pool_wait_seconds_max,
            command_timeout=self._statement_seconds_max,
            init=_pass_json_through,
            # compiling a wide statement takes a second where running it takes milliseconds; a pooler takes no
            # settings of a session
            server_settings={} if self._through_pooler else {"jit": "off"},
            statement_cache_size=0 if self._through_pooler else STATEMENTS_PREPARED_MAX,
            max_cacheable_statement_size=STATEMENT_PREPARED_BYTES_MAX,
            # no code sets session state, and the reset costs more than half of a short query
            reset=_keep_session,
        )

    async def _connect_for_lane(self) -> asyncpg.Connection:
        raw = await asyncpg.connect(
            self.url,
            timeout=self._pool_wait_seconds_max,
            command_timeout=self._statement_seconds_max,
            server_settings={"jit": "off", **PLANNED_ONCE},
            statement_cache_size=STATEMENTS_PREPARED_MAX,
            max_cacheable_statement_size=STATEMENT_PREPARED_BYTES_MAX,
        )
        await _pass_json_through(raw)
        return raw

    async def close(self) -> None:
        await self._lane.close(CLOSE_SECONDS_MAX)
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    def connections(self) -> tuple[int, int]:
        if self._pool is None:
            return 0, 0
        in_use, opened = self._pool.get_size() - self._pool.get_idle_size(), self._pool.get_size()
        return in_use + self._lane.in_use, opened + self._lane.opened

    def write(self) -> "AsyncTransaction":
        return self._transaction("read_committed", readonly=False)

    def read(self) -> "AsyncTransaction":
        return self._transaction("repeatable_read", readonly=True)

    async def fetch(self, sql: str, *args: object, steady: bool = False) -> list[Row]:
        if steady and self._lane.connections_max:
            return await self._fetch_steady(sql, args)
        if self._through_pooler:
            # prepared in one turn and run in the next: only a transaction keeps both on one connection
            async with self._transaction("read_committed", readonly=True) as conn:
                return await conn.fetch(sql, *args)
        async with self._connected() as raw:
            try:
                return await PostgresConnection(raw, self._sets).fetch(sql, *args)
            except asyncio.CancelledError:
                # cancelled between preparing and running, the server has not heard that this was all, and whoever
                # comes next could not begin a transaction
                with suppress(Exception):
                    await asyncio.shield(raw.execute("SELECT 1"))
                raise

    async def _fetch_steady(self, sql: str, args: Sequence[object]) -> list[Row]:
        try:
            return await self._lane.fetch(for_postgres(sql), args)
        except Full:
            raise Refused(Problem(Code.BUSY)) from None
        except Gone as gone:
            raise Refused(Problem(_postgres_trouble(gone.why, lost=True) or Code.UNAVAILABLE)) from gone
        except asyncpg.CharacterNotInRepertoireError:
            raise Refused(Problem(Code.INVALID_VALUE, allowed=("text",))) from None
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
            raise SerializationFailure(str(error)) from error
        except Exception as error:
            if (code := _postgres_trouble(error, lost=False)) is not None:
                raise Refused(Problem(code)) from error
            raise

    @asynccontextmanager
    async def _transaction(self, isolation: str, *, readonly: bool) -> AsyncIterator[Connection]:
        async with self._connected() as raw, raw.transaction(isolation=isolation, readonly=readonly):
            yield PostgresConnection(raw, self._sets)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool; what befalls it is told as `write` and `read` say."""
        pool = self._pool
        assert pool is not None, "engine not started"
        try:
            raw = await pool.acquire(timeout=self._pool_wait_seconds_max)
        except TimeoutError:
            raise Refused(Problem(Code.BUSY)) from None
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError) as error:
            raise Refused(Problem(_postgres_trouble(error, lost=True) or Code.UNAVAILABLE)) from error
        try:
            yield raw
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
            raise SerializationFailure(str(error)) from error
        except DatabaseTrouble as trouble:
            _give_up(raw, trouble.__cause__)
            raise Refused(Problem(trouble.code)) from trouble
        except Exception as error:
            # at its beginning or its end; what its statements met is told above
            if (code := _postgres_trouble(error, lost=_is_lost(raw))) is not None:
                _give_up(raw, error)
                raise Refused(Problem(code)) from error
            raise
        finally:
            await pool.release(raw)


def _give_up(raw: asyncpg.Connection, error: BaseException | None) -> None:
    """End a connection to a server that is no primary any more, silent or gone: the next may lead elsewhere."""
    of_no_use = (asyncpg.ReadOnlySQLTransactionError, asyncpg.InternalClientError, TimeoutError)
    if isinstance(error, of_no_use) and not _is_lost(raw):
        raw.terminate()


async def _pass_json_through(raw: asyncpg.Connection) -> None:
    """JSON comes back as the bytes PostgreSQL printed, never parsed."""
    # in a transaction: a statement is prepared and run in two turns, which a pooler may send to two connections
    async with raw.transaction():
        await raw.set_type_codec("json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")


async def _keep_session(_raw: asyncpg.Connection) -> None:
    return None


def open_engine(
    url: str,
    *,
    pool_connections_max: int = 10,
    pool_wait_seconds_max: int = 10,
    statement_seconds_max: int | None = None,
    through_pooler: bool = False,
) -> Engine:
    """The engine for a URL; raises `BadSetting` for a scheme that is neither.

    The bounds and `through_pooler`, that the URL leads to a pooler which hands out connections by transaction, are
    PostgreSQL's. A statement that takes longer than `statement_seconds_max` is given up with its connection.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        return SqliteEngine(url)
    if scheme in {"postgres", "postgresql"}:
        return PostgresEngine(
            url,
            pool_connections_max=pool_connections_max,
            pool_wait_seconds_max=pool_wait_seconds_max,
            statement_seconds_max=statement_seconds_max,
            through_pooler=through_pooler,
        )
    raise BadSetting(f"SELVEDGE_DATABASE_URL: unknown scheme {scheme!r}; wanted: sqlite://PATH or postgres://…")
