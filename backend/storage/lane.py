"""Connections for statements that are a read each, and planned once: PostgreSQL's planning takes longer than many of
them run.

Told nothing else, it looks at the values of each request and plans again; which plan is the best for a statement that
names its records, or walks an index for as many rows as stand in the statement, does not hang on them. A setting of
the session says so, so these connections are apart. Taking one costs nothing that a pool's costs: no task, no reset.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
IDLE_SECONDS_MAX = 300
"""A connection that was not used for longer is not trusted: what stands between may have forgotten it."""
STATEMENTS_MAX = 50_000
"""of one connection, which then makes room for a new one; asyncpg's own number"""
NOT_OPENED = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError)
"""What asyncpg raises where no connection can be had."""


class Full(Exception):
    """None was free in time."""


class Gone(Exception):
    """The connection was lost, or none could be had."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class Lane:
    """At most so many connections, opened when first needed; the one used last is used next."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        connections_max: int,
        wait_seconds_max: float,
    ) -> None:
        self._connect = connect
        self.connections_max = connections_max
        self._wait_seconds_max = wait_seconds_max
        self._free: list[_Kept] = []
        self._all: set[_Kept] = set()
        self._closings = 0
        self._waiting: deque[asyncio.Future[_Kept | None]] = deque()
        self.opened = 0
        """Connections that are open, or being opened."""

    @property
    def in_use(self) -> int:
        return self.opened - len(self._free)

    async def fetch(self, sql: str, args: Sequence[object]) -> list[Any]:
        """What a statement finds. Raises what asyncpg raises, `Full` and `Gone`."""
        kept = self._taken() or await self._opened_or_waited()
        try:
            rows: list[Any] = await kept.raw.fetch(sql, *args)
        except asyncpg.PostgresError as error:
            if kept.raw.is_closed():
                self._drop(kept)
                raise Gone(error) from error
            self._give(kept)
            raise
        except asyncio.CancelledError:
            # cancelled between preparing and running, the server has not heard that this was all
            try:
                await asyncio.shield(kept.raw.execute("SELECT 1"))
            except BaseException:  # noqa: BLE001 - one that cannot say even this is of no use
                self._drop(kept)
            else:
                self._give(kept)
            raise
        except BaseException as error:
            # nobody knows how far it came: silent, or handed what it cannot send
            closed = kept.raw.is_closed()
            self._drop(kept)
            if closed and isinstance(error, Exception):
                raise Gone(error) from error
            raise
        self._give(kept)
        return rows

    async def close(self, seconds_max: float) -> None:
        """Ends all: those that nobody uses each within so long, the others at once, which whoever uses them is told."""
        self._closings += 1
        free, self._free = self._free, []
        for kept in self._all - set(free):
            kept.raw.terminate()
        for kept in free:
            self._all.discard(kept)
            self.opened -= 1
            try:
                await kept.raw.close(timeout=seconds_max)
            except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError):
                kept.raw.terminate()

    def _taken(self) -> "_Kept | None":
        now_s = asyncio.get_running_loop().time()
        while self._free:
            kept = self._free.pop()
            if not kept.raw.is_closed() and now_s - kept.used_s < IDLE_SECONDS_MAX and kept.statements < STATEMENTS_MAX:
                return kept
            self._drop(kept)
        return None

    async def _opened_or_waited(self) -> "_Kept":
        while self.opened >= self.connections_max:
            handed = await self._waited()
            if handed is not None:
                return handed
        self.opened += 1
        closings = self._closings
        try:
            kept = _Kept(await self._connect())
        except BaseException as error:
            self.opened -= 1
            self._make_room()
            if isinstance(error, NOT_OPENED):
                raise Gone(error) from error
            raise
        if closings != self._closings:
            self._drop(kept)
            raise Gone(ConnectionAbortedError("closed while it was opened"))
        self._all.add(kept)
        return kept

    async def _waited(self) -> "_Kept | None":
        """What another has done with; None where there is room for one more."""
        turn: asyncio.Future[_Kept | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # handed over in the very moment its taker left
                handed = turn.result()
                self._make_room() if handed is None else self._hand_on(handed)
            if isinstance(error, TimeoutError):
                raise Full from None
            raise

    def _give(self, kept: "_Kept") -> None:
        kept.used_s = asyncio.get_running_loop().time()
        kept.statements += 1
        self._hand_on(kept)

    def _hand_on(self, kept: "_Kept") -> None:
        turn = self._next()
        if turn is None:
            self._free.append(kept)
        else:
            turn.set_result(kept)

    def _drop(self, kept: "_Kept") -> None:
        self.opened -= 1
        self._all.discard(kept)
        kept.raw.terminate()
        self._make_room()

    def _make_room(self) -> None:
        if (turn := self._next()) is not None:
            turn.set_result(None)

    def _next(self) -> "asyncio.Future[_Kept | None] | None":
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                return turn
        return None


class _Kept:
    """A connection, and what of it is remembered."""

    def __init__(self, raw: asyncpg.Connection) -> None:
        self.raw = raw
        self.used_s = asyncio.get_running_loop().time()
        self.statements = 0
