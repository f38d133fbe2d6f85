"""An engine whose statements are told to OpenTelemetry: what they do and to which table, never their text."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager

from backend.storage.dialects import Dialect
from backend.storage.engine import AsyncTransaction, Connection, Engine, Row, StandingsListener, StepListener
from backend.tracing import TRACES, Tell

_NAMED = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+\"?([a-z_]{1,63})\b")
_VERBS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "SAVEPOINT", "RELEASE", "ROLLBACK"})


class TracedEngine:
    """Any engine, asked as ever."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.dialect: Dialect = engine.dialect
        self.url = engine.url
        self.on_step: StepListener | None = None
        self.on_standings: StandingsListener | None = None

    async def start(self) -> None:
        await self._engine.start()

    async def close(self) -> None:
        await self._engine.close()

    def connections(self) -> tuple[int, int]:
        return self._engine.connections()

    def write(self) -> AsyncTransaction:
        return _traced("write", self._engine.write())

    def read(self) -> AsyncTransaction:
        return _traced("read", self._engine.read())

    async def fetch(self, sql: str, *args: object, steady: bool = False) -> list[Row]:
        with _statement(sql):
            return await self._engine.fetch(sql, *args, steady=steady)


@asynccontextmanager
async def _traced(kind: str, transaction: AsyncTransaction) -> AsyncIterator[Connection]:
    """The whole transaction, so that waiting for a connection and the commit show too."""
    with TRACES.span("transaction", kind=kind):
        async with transaction as conn:
            yield _TracedConnection(conn)


class _TracedConnection:
    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.dialect: Dialect = conn.dialect

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        with _statement(sql) as tell:
            rows = await self._conn.fetch(sql, *args)
            tell("rows", len(rows))
            return rows

    async def execute(self, sql: str, *args: object) -> None:
        with _statement(sql):
            await self._conn.execute(sql, *args)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with _statement(sql) as tell:
            tell("rows", len(rows))
            await self._conn.execute_many(sql, rows)


def _statement(sql: str) -> AbstractContextManager[Tell]:
    verb = sql.lstrip(" \n(").split(None, 1)[0].upper()
    table = _NAMED.search(sql)
    return TRACES.span("statement", verb=verb if verb in _VERBS else "OTHER", table=table.group(1) if table else "")
