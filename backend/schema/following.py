"""Whoever follows the clock by server-sent events and asks nothing else: thousands, told by one task.

The first answer comes the ordinary way. From then on a follower is its connection and the clock it was told last: at
each poke all are asked for at once, each sign-in once, and the same bytes go to all who asked alike.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from graphql import DocumentNode, FieldNode, GraphQLError, OperationType
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.config import Settings
from backend.errors import Code, Problem, Refused
from backend.schema.errors import errors_json
from backend.schema.execute import encode
from backend.schema.http import ANSWER_VARIES, GraphQLEdge, operation_of
from backend.sync.poke import Pokes
from backend.sync.protocol import check_syncing

EVENT_TYPE = "text/event-stream"
ALIVE = b":\n\n"
COMPLETE = b"event: complete\ndata:\n\n"
TICKS = 5
"""Looks for the silent in the time after which one is asked for again."""
TOLD_AT_ONCE = 100
_POKE, _CLOCK, _TYPENAME = "syncPoke", "clock", "__typename"


class Form(NamedTuple):
    """How a document asks for the clock: the key of the poke, and key → field of what it wants of it."""

    key: str
    fields: tuple[tuple[str, str], ...]

    def event(self, clock: int) -> bytes:
        poke = {key: clock if name == _CLOCK else "SyncPoke" for key, name in self.fields}
        return event_of({"data": {self.key: poke}})

    def clock_of(self, answer: Mapping[str, Any]) -> int:
        """The clock an answer told."""
        key = next(key for key, name in self.fields if name == _CLOCK)
        return int(answer["data"][self.key][key])


def form_of(document: DocumentNode, operation_name: str | None) -> Form | None:
    """None for a document that asks anything else, or in any other way than field by field."""
    operation = operation_of(document, operation_name)
    if operation is None or operation.operation is not OperationType.SUBSCRIPTION:
        return None
    roots = operation.selection_set.selections
    if len(roots) != 1 or not isinstance(root := roots[0], FieldNode) or root.name.value != _POKE:
        return None
    asked = root.selection_set.selections if root.selection_set else ()
    fields = [one for one in asked if isinstance(one, FieldNode) and not one.directives]
    names = {one.name.value for one in fields}
    if operation.directives or root.directives or len(fields) < len(asked):
        return None
    if _CLOCK not in names or not names <= {_CLOCK, _TYPENAME}:
        return None
    return Form(_key(root), tuple((_key(one), one.name.value) for one in fields))


def _key(field: FieldNode) -> str:
    return (field.alias or field.name).value


def event_of(answer: Mapping[str, Any] | None) -> bytes:
    """An answer as an event; without one, the comment that says that the connection lives."""
    return ALIVE if answer is None else b"event: next\ndata: " + encode(answer) + b"\n\n"


class Followers:
    """All of a process."""

    def __init__(self, edge: GraphQLEdge, pokes: Pokes, settings: Settings) -> None:
        self._edge = edge
        self._pokes = pokes
        self._check_seconds = settings.stream_check_seconds
        self._all: set[Follower] = set()
        self._telling: asyncio.Task[None] | None = None
        self._again = False
        self._tick: asyncio.TimerHandle | None = None

    def join(self, follower: "Follower", user_id: str | None) -> None:
        """From now on the follower is told, until it leaves. Raises `Refused(BUSY)`."""
        self._pokes.join(self.soon)
        self._pokes.standings.join(follower.doubt, user_id)
        self._all.add(follower)
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(self._check_seconds / TICKS, self._look)
        self.soon()

    def leave(self, follower: "Follower") -> None:
        self._all.discard(follower)
        self._pokes.standings.leave(follower.doubt)
        self._pokes.leave(self.soon)

    def end(self) -> None:
        """Break off all: no `complete` is sent, they come again."""
        for follower in self._all:
            follower.finish()

    def soon(self) -> None:
        """Somebody may have to be told something."""
        self._again = True
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all())
            self._telling.add_done_callback(self._told_all)

    def _told_all(self, telling: asyncio.Task[None]) -> None:
        self._telling = None
        if not telling.cancelled() and (error := telling.exception()) is not None:
            # nobody would be told any more: better all come again
            for follower in self._all:
                follower.finish(error)
        elif self._again:
            # somebody asked between the end of the task and this
            self.soon()

    def said(self, follower: "Follower") -> None:
        """A follower has taken what was sent: what came meanwhile is told to him now."""
        if self._pokes.ended or follower.sent < self._pokes.clock or follower.suspect:
            self.soon()

    def _look(self) -> None:
        self._tick = None
        if self._all:
            self._tick = asyncio.get_running_loop().call_later(self._check_seconds / TICKS, self._look)
            self.soon()

    async def _tell_all(self) -> None:
        while self._again:
            self._again = False
            clock, ended = self._pokes.clock, self._pokes.ended
            silent_at = asyncio.get_running_loop().time() - self._check_seconds
            due = [one for one in self._all if one.is_due(clock, silent_at) or ended]
            for one in due:
                one.suspect = False
            verdicts = {} if ended else await self._verdicts({one.authorization for one in due})
            printed: dict[Form, bytes] = {}
            told = 0
            for one in due:
                if one.busy or one.finished:
                    continue
                if told % TOLD_AT_ONCE == TOLD_AT_ONCE - 1:
                    # whoever asks meanwhile is not to wait for all of them
                    await asyncio.sleep(0)
                told += 1
                if ended:
                    one.say(COMPLETE, last=True)
                elif (refused := verdicts[one.authorization]) is not None:
                    event = event_of({"errors": errors_json([GraphQLError(str(refused), original_error=refused)])})
                    one.say(event + COMPLETE, last=True)
                elif one.sent < clock:
                    one.sent = clock
                    one.say(printed.get(one.form) or printed.setdefault(one.form, one.form.event(clock)))
                elif one.heard_at <= silent_at:
                    one.say(ALIVE)

    async def _verdicts(self, authorizations: Iterable[str | None]) -> dict[str | None, Refused | None]:
        """Authorization → what its bearer would be refused with by now."""
        asked = list(authorizations)
        await self._edge.look_up(asked)
        return {one: await self._verdict(one) for one in asked}

    async def _verdict(self, authorization: str | None) -> Refused | None:
        standing, refused = await self._edge.who(authorization)
        if standing is None:
            return refused or Refused(Problem(Code.UNAUTHENTICATED))
        if standing.device_state != "ACTIVE":
            return Refused(Problem(Code.DEVICE_DRAINING))
        try:
            check_syncing(standing.principal)
        except Refused as not_permitted:
            return not_permitted
        return None


class Follower(Response):
    """One stream: what was told already, and what remains."""

    media_type = EVENT_TYPE

    def __init__(
        self,
        followers: Followers,
        form: Form,
        first: Mapping[str, Any],
        *,
        authorization: str | None,
        user_id: str | None,
        locale: str,
    ) -> None:
        self.form = form
        self.authorization = authorization
        self.sent = form.clock_of(first)
        self.suspect = False
        self.busy = True
        loop = asyncio.get_running_loop()
        self.heard_at = loop.time()
        self._first = event_of(first)
        self._followers = followers
        self._until: asyncio.Timeout | None = None
        """While nothing is to be done but to wait for the reader to leave: what ends that."""
        self._error: BaseException | None = None
        self.finished = False
        self._sending: asyncio.Task[None] | None = None
        self._send: Callable[[bytes], Any] | None = None
        self.status_code = 200
        self.background = None
        # proxies that gather answers before they pass them on are asked not to
        self.init_headers({"x-accel-buffering": "no", "content-language": locale, "vary": ANSWER_VARIES})
        followers.join(self, user_id)

    def is_due(self, clock: int, silent_at: float) -> bool:
        return not self.busy and (self.sent < clock or self.suspect or self.heard_at <= silent_at)

    def finish(self, error: BaseException | None = None) -> None:
        """No more is told."""
        if self.finished:
            return
        self.finished, self._error = True, error
        if self._until is not None:
            self._until.reschedule(asyncio.get_running_loop().time())

    def doubt(self) -> None:
        """Whether it may still be told is to be asked."""
        self.suspect = True
        self._followers.soon()

    def say(self, event: bytes, *, last: bool = False) -> None:
        """Send an event; until it is taken the follower is told nothing else."""
        self.busy = True
        self._sending = asyncio.get_running_loop().create_task(self._say(event, last))

    async def _say(self, event: bytes, last: bool) -> None:
        assert self._send is not None
        try:
            await self._send(event)
        except Exception as error:  # noqa: BLE001 - told where the request waits
            self.finish(error)
            return
        self._taken()
        if last:
            self.finish()

    def _taken(self) -> None:
        self.busy, self._sending = False, None
        self.heard_at = asyncio.get_running_loop().time()
        self._followers.said(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_event(event: bytes) -> None:
            await send({"type": "http.response.body", "body": event, "more_body": True})

        self._send = send_event
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send_event(self._first)
            # it stays for hours: what only its beginning wanted is let go of, by the connection too
            self._first, self.raw_headers = b"", []
            scope["headers"].clear()
            self._taken()
            if not self.finished:
                await self._reader_left(receive)
            if self._error is not None:
                raise self._error
            if self.finished:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            self.finish()
        finally:
            self._followers.leave(self)

    async def _reader_left(self, receive: Receive) -> None:
        """Until the reader has left, or there is no more to tell."""
        self._until = asyncio.timeout(None)
        try:
            with suppress(TimeoutError):
                async with self._until:
                    await left(receive)
        finally:
            self._until = None
            if self._sending is not None:
                self._sending.cancel()


async def left(receive: Receive) -> None:
    """Until the reader has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
