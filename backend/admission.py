"""Who may come in now, and how much is worked on and held at once. One of each per process.

Four bounds, so that memory and waiting times have a limit whatever arrives: how often a user, a device, a
service and an address ask (token buckets, `domain/rates.py`); how many bytes of requests are held, and of answers
nobody takes; and how many requests are worked on and wait for it. Large work may not take every place, and small work
goes before it, but for one turn in four.
Source: promises.md §4.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.rates import Buckets, Rate, rate_limited
from backend.errors import Code, Problem, Refused
from backend.telemetry import counter, gauge

T = TypeVar("T")
MINUTE_SECONDS = 60
COST_PER_TOKEN = 1_000
"""A request is one token of its caller's, and one more for each so much that its document costs."""
LARGE_COST = 5_000
LARGE_BYTES = 64_000
LARGE_TURN = 4
"""Where both wait, every so manieth place given goes to large work."""
LIMITED = counter(
    "rate_limited", "Requests refused because their caller asks too often.", by=("user", "device", "service", "address")
)
BUSY = counter(
    "busy",
    "Requests refused because too much is worked on or held.",
    by=("places", "waiting", "bodies", "open"),
)
SMALL_BYTES = 16_384
"""A body no larger than this is taken even when those held are as many as may be."""
CONNECTION_BYTES = 131_072
"""So much of what is sent already may stand in a connection whose reader takes nothing."""
WORKING = gauge("requests_working", "Requests being worked on.")
WAITING = gauge("requests_waiting", "Requests that wait to be worked on.")
HELD = gauge("request_bytes_held", "Bytes of requests being held.")
UNTAKEN = gauge("answer_bytes_untaken", "Bytes of answers whose readers take nothing just now.")


class Admission:
    """The four bounds, for every door of a process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        keys_max = settings.rate_keys_max

        def per_minute(requests: int) -> Buckets:
            return Buckets(Rate(requests, MINUTE_SECONDS), keys_max=keys_max)

        self._users = per_minute(settings.user_requests_per_minute)
        self._devices = per_minute(settings.device_requests_per_minute)
        self._addresses = per_minute(settings.address_requests_per_minute)
        # one that has no rate of its own may ask as often as a colleague
        self._services = per_minute(settings.user_requests_per_minute)
        self.bodies = Bytes(settings.bodies_bytes_max)
        self.untaken = Untaken(settings.answers_bytes_max)
        self.places = Places(
            settings.requests_working_max, settings.requests_waiting_max, settings.request_wait_seconds_max
        )

    def address_asks(self, address: str) -> None:
        """Before anything of a request is read. `address` as `address_key` says; an empty one is let pass.

        Raises `Refused(RATE_LIMITED)`.
        """
        if address:
            self._take("address", self._addresses, address, 1)

    def caller_asks(self, principal: Principal, cost: int = 0) -> None:
        """Once it is known who asks; again with `cost`, once that is known. Raises `Refused(RATE_LIMITED)`."""
        tokens = cost // COST_PER_TOKEN if cost else 1
        if tokens and principal.device_id:
            self._take("device", self._devices, principal.device_id, tokens)
        if tokens and principal.user_id:
            self._take("user", self._users, principal.user_id, tokens)
        if tokens and principal.service_id:
            own = principal.requests_per_minute
            self._take(
                "service", self._services, principal.service_id, tokens, Rate(own, MINUTE_SECONDS) if own else None
            )

    def busy(self, by: str) -> Refused:
        """The refusal of one too many."""
        BUSY.add(by=by)
        return Refused(Problem(Code.BUSY))

    def _take(self, by: str, buckets: Buckets, key: str, tokens: int, own: Rate | None = None) -> None:
        wait_ms = buckets.take(key, self._clock(), tokens, rate=own)
        if wait_ms:
            LIMITED.add(by=by)
            raise rate_limited(by, (own or buckets.rate).tokens, wait_ms)


class Bytes:
    """How many bytes of requests are held at once."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held = 0

    @property
    def held(self) -> int:
        return self._held

    @contextmanager
    def holding(self) -> Iterator["Share"]:
        """What one request holds, given back when the block ends."""
        share = Share(self)
        try:
            yield share
        finally:
            share.add(-share.bytes)

    def take(self, share: "Share", more: int) -> None:
        """Small ones are always taken, and one that is alone. Raises `Refused(BUSY)`."""
        after = share.bytes + more
        if more > 0 and self._held + more > self._bytes_max and after > SMALL_BYTES and self._held > share.bytes:
            BUSY.add(by="bodies")
            raise Refused(Problem(Code.BUSY))
        self._held += more
        HELD.add(more)


class Share:
    """The bytes of one request."""

    def __init__(self, held: Bytes) -> None:
        self._held = held
        self.bytes = 0

    def add(self, more: int) -> None:
        """Hold so many more. Raises `Refused(BUSY)`."""
        self._held.take(self, more)
        self.bytes += more


class Untaken:
    """Answers, or parts of them, that wait for readers who take nothing just now, and the bytes they hold.

    Readers are not asked to come again later, whose work is done: when it is too much, whoever has taken nothing for
    longest is given up. Who takes bit by bit has always waited for a short time only.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held = 0
        # in the order in which they began to wait
        self._waiting: dict[asyncio.Timeout, int] = {}

    @property
    def held(self) -> int:
        return self._held

    @contextmanager
    def waiting(self, until: asyncio.Timeout, held: int) -> Iterator[None]:
        """For as long as the block waits; `until` ends it, before its time when another needs the room."""
        self._waiting[until] = held
        self._add(held)
        while self._held > self._bytes_max and len(self._waiting) > 1:
            longest = next(iter(self._waiting))
            self._add(-self._waiting.pop(longest))
            if not longest.expired():
                longest.reschedule(asyncio.get_running_loop().time())
        try:
            yield
        finally:
            self._add(-self._waiting.pop(until, 0))

    def _add(self, more: int) -> None:
        self._held += more
        UNTAKEN.add(more)


class Places:
    """So many are worked on at once, and so many wait for a place, not longer than they may.

    Large work has three places of four, and as much of the waiting room as half.
    """

    def __init__(self, working_max: int, waiting_max: int, wait_seconds_max: float) -> None:
        self._working_max = working_max
        self._large_max = max(1, working_max * 3 // 4)
        self._waiting_max = {False: waiting_max, True: (waiting_max + 1) // 2}
        self._wait_seconds_max = wait_seconds_max
        self._working = {False: 0, True: 0}
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {False: deque(), True: deque()}
        self._turn = 0

    @property
    def working(self) -> int:
        """How many are worked on now."""
        return self._working[False] + self._working[True]

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting[False]) + len(self._waiting[True])

    def place(self, *, large: bool = False) -> "Place":
        """A place to be worked on, given back when the block ends.

        Raises `Refused(BUSY)` when too many wait already, and when none is free in time.
        """
        return Place(self, large)

    async def take(self, large: bool) -> None:
        if not self._waiting[large] and self._has_room(large):
            self._working[large] += 1
        else:
            await self._wait(large)
        WORKING.add(1)

    def give_back(self, large: bool) -> None:
        WORKING.add(-1)
        self._working[large] -= 1
        self._hand_on()

    def _has_room(self, large: bool) -> bool:
        return self.working < self._working_max and (not large or self._working[True] < self._large_max)

    async def _wait(self, large: bool) -> None:
        queue = self._waiting[large]
        if self.waiting >= self._waiting_max[False] or len(queue) >= self._waiting_max[large]:
            BUSY.add(by="waiting")
            raise Refused(Problem(Code.BUSY))
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(given)
        WAITING.add(1)
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await given
        except BaseException as error:
            if given.done() and not given.cancelled():
                # the place was given in the very moment its taker left
                self._working[large] -= 1
                self._hand_on()
            elif given in queue:
                queue.remove(given)
            if isinstance(error, TimeoutError):
                BUSY.add(by="places")
                raise Refused(Problem(Code.BUSY)) from None
            raise
        finally:
            WAITING.add(-1)

    def _hand_on(self) -> None:
        """Give free places to those who wait."""
        while (self._waiting[False] or self._waiting[True]) and (large := self._next()) is not None:
            given = self._waiting[large].popleft()
            if not given.done():
                self._working[large] += 1
                given.set_result(None)

    def _next(self) -> bool | None:
        """Whose turn it is, large work's or small; None when there is nobody, or no place, to be given."""
        ready = [large for large in (False, True) if self._waiting[large] and self._has_room(large)]
        if len(ready) < 2:
            return ready[0] if ready else None
        self._turn += 1
        return self._turn % LARGE_TURN == 0


class Place:
    """Of one who is worked on."""

    def __init__(self, places: Places, large: bool) -> None:
        self._places = places
        self._large = large

    async def __aenter__(self) -> None:
        await self._places.take(self._large)

    async def __aexit__(self, *_error: object) -> None:
        self._places.give_back(self._large)


def is_large(cost: int, body_bytes: int) -> bool:
    """Whether a request is large work, by what its document costs and what came with it."""
    return cost >= LARGE_COST or body_bytes >= LARGE_BYTES


async def within(seconds: float, work: Coroutine[Any, Any, T], untaken: Untaken | None = None, held: int = 0) -> T:
    """What the work returns; raises TimeoutError when it takes longer.

    Work that never has to wait, as most reading and sending of small things, is not timed at all: a timer costs more.
    Sending says how many bytes it holds while it waits.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout(seconds) as until:
        if untaken is None:
            return await _Rest[T](work, waits_for)
        with untaken.waiting(until, held):
            return await _Rest[T](work, waits_for)


class _Rest(Generic[T]):
    """Work that has begun already, from the first thing it waits for."""

    def __init__(self, work: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._work = work
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        work, waits_for = self._work, self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    work.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - handed on to where it is waited for
                    waits_for = work.throw(error)
                else:
                    waits_for = work.send(sent)
        except StopIteration as done:
            result: T = done.value
            return result
