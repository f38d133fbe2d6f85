"""Telling devices that something changed: the clock and nothing else.

A poke carries no data and may be lost: whoever follows compares the clock with the one of his last pull. So a
follower needs no queue, only to know that the clock went on; a slow one skips what lies between.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from backend.errors import Code, Problem, Refused
from backend.storage.dialects import Dialect
from backend.storage.engine import Engine
from backend.storage.steps import hear_steps, look_for_steps
from backend.sync.feed import read_clock
from backend.telemetry import logger

Tell = Callable[[], None]
_LOG = logger(__name__)


class Standings:
    """Whose sign-in, device or role changed, told to the connections he has open here.

    `wanted` is set while somebody watches. `forget` is called at each change, before anybody is told: what is
    remembered of standings is worth nothing then.
    """

    def __init__(self, wanted: asyncio.Event) -> None:
        self._wanted = wanted
        self._watching: dict[Tell, str | None] = {}
        self.forget: Callable[[], None] = lambda: None

    @property
    def watchers(self) -> int:
        """How many connections watch now."""
        return len(self._watching)

    def changed(self, user_ids: frozenset[str] | None) -> None:
        """These users are to be asked for again; None: everybody."""
        self.forget()
        for tell, user_id in list(self._watching.items()):
            if user_ids is None or user_id is None or user_id in user_ids:
                tell()

    @contextmanager
    def watch(self, user_id: str | None) -> Iterator[asyncio.Event]:
        """An event that is set whenever the user should be asked for again; whoever waits clears it."""
        event = asyncio.Event()
        with self.told(user_id, event.set):
            yield event

    @contextmanager
    def told(self, user_id: str | None, tell: Tell) -> Iterator[None]:
        """Meanwhile `tell`, of this caller alone, is called whenever the user should be asked for again."""
        self.join(tell, user_id)
        try:
            yield
        finally:
            self.leave(tell)

    def join(self, tell: Tell, user_id: str | None) -> None:
        """The same, until `leave`: for those who stay for long and are many."""
        self._watching[tell] = user_id
        self._wanted.set()

    def leave(self, tell: Tell) -> None:
        del self._watching[tell]


class Pokes:
    """The clock as this process knows it, and who follows it.

    Told by the engine of every step committed here; from elsewhere by PostgreSQL, and on SQLite by looking.
    Between two pokes are `coalesce_ms` at least; the steps meanwhile are one. `listen_url` is the server's own
    address where the engine's is a pooler's.
    """

    def __init__(
        self, engine: Engine, *, coalesce_ms: int, subscribers_max: int, listen_url: str | None = None
    ) -> None:
        self._engine = engine
        self._coalesce_seconds = coalesce_ms / 1_000
        self._subscribers_max = subscribers_max
        self._listen_url = listen_url or engine.url
        self._clock = 0
        self._followers: set[asyncio.Event] = set()
        self._told: Counter[Tell] = Counter()
        self._wanted = asyncio.Event()
        self.standings = Standings(self._wanted)
        self._waking: asyncio.TimerHandle | None = None
        self._woken_at = float("-inf")
        self._hearing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def subscribers(self) -> int:
        """How many follow now."""
        return len(self._followers) + self._told.total()

    @property
    def clock(self) -> int:
        """The clock as this process has heard of it; 0 before it has heard of any."""
        return self._clock

    @property
    def ended(self) -> bool:
        """True when nobody is told any more."""
        return self._closed

    def start(self) -> None:
        """Begin to hear of steps; the engine is started already."""
        self._engine.on_step, self._engine.on_standings = self.step, self.standings.changed
        hearing: Coroutine[Any, Any, None] = (
            hear_steps(self._listen_url, self.step, self.standings.changed)
            if self._engine.dialect is Dialect.POSTGRES
            else look_for_steps(self._engine, self._looked, self.standings.changed, self._wanted)
        )
        self._hearing = asyncio.get_running_loop().create_task(hearing)
        self._hearing.add_done_callback(_tell_why)

    async def close(self) -> None:
        """End every stream and hear no more."""
        self.end()
        self._engine.on_step = self._engine.on_standings = None
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait([self._hearing])
            self._hearing = None

    def end(self) -> None:
        """End every stream, as when the server is about to stop; nobody can follow any more."""
        self._closed = True
        if self._waking is not None:
            self._waking.cancel()
        self._wake()

    def step(self, clock: int) -> None:
        """The clock was committed as this; older news is no news."""
        if clock <= self._clock:
            return
        self._clock = clock
        if self._waking is None and self.subscribers and not self._closed:
            loop = asyncio.get_running_loop()
            # after a while of nothing at once: who waits for news waits for no window
            self._waking = loop.call_at(max(loop.time(), self._woken_at + self._coalesce_seconds), self._wake)

    def _looked(self, clock: int) -> None:
        """A look at the file; nobody looks while nobody would be told."""
        if not self.subscribers and not self.standings.watchers:
            self._wanted.clear()
        self.step(clock)

    async def follow(self) -> AsyncGenerator[int, None]:
        """The clock now, and again whenever it has gone on. Ends when the server stops.

        Raises `Refused(BUSY)` when as many follow as may.
        """
        self._check_room()
        woken = asyncio.Event()
        self._followers.add(woken)
        self._wanted.set()
        try:
            # read after joining, so that no step falls between
            sent = await self._read()
            self.step(sent)
            yield sent
            while not self._closed:
                await woken.wait()
                woken.clear()
                if self._clock > sent and not self._closed:
                    sent = self._clock
                    yield sent
        finally:
            self._followers.discard(woken)

    def join(self, tell: Tell) -> None:
        """One more follower, who reads the clock himself: until `leave`, `tell` is called whenever it has gone on.

        It may be one for many, and is called once for all of them, and when nobody is told any more. Raises as
        `follow` does.
        """
        self._check_room()
        self._told[tell] += 1
        self._wanted.set()

    def leave(self, tell: Tell) -> None:
        self._told[tell] -= 1
        if not self._told[tell]:
            del self._told[tell]

    def _check_room(self) -> None:
        if self._closed or self.subscribers >= self._subscribers_max:
            raise Refused(Problem(Code.BUSY))

    def _wake(self) -> None:
        self._waking = None
        self._woken_at = asyncio.get_running_loop().time()
        for woken in self._followers:
            woken.set()
        for tell in list(self._told):
            tell()

    async def now(self) -> int:
        """The clock as it is committed."""
        return await self._read()

    async def _read(self) -> int:
        async with self._engine.read() as conn:
            clock, _ = await read_clock(conn)
        return clock


def _tell_why(hearing: asyncio.Task[None]) -> None:
    """Steps of this process are still told without it."""
    if not hearing.cancelled() and (error := hearing.exception()) is not None:
        _LOG.error("no longer hearing of steps", error_type=type(error).__name__)
