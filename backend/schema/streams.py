"""Operations answered as server-sent events: each request has a connection of its own.

`next` carries an answer, `complete` ends the operation, a comment now and then shows that the connection lives.
Source: GraphQL over Server-Sent Events, "distinct connections" mode.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from graphql import OperationType
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.config import Settings
from backend.domain.rates import address_key
from backend.errors import Code, Refused
from backend.schema.following import COMPLETE, EVENT_TYPE, Follower, Followers, event_of, form_of, left
from backend.schema.http import (
    ANSWER_VARIES,
    JSON_TYPE,
    GraphQLEdge,
    Malformed,
    Unrun,
    code_of,
    error_result,
    malformed_response,
    takes,
    unrun_response,
)
from backend.sync.poke import Pokes

METHODS = ("GET", "POST")
TOKEN_HEADER = "x-graphql-event-stream-token"
TOKEN_PARAMETER = "token"
NOT_SHARED = "streams are not shared: each operation has a connection of its own (distinct connections mode)"
READING = (OperationType.QUERY, OperationType.SUBSCRIPTION)

Answers = AsyncGenerator[dict[str, Any] | None, None]


class GraphQLStreams:
    """Answers the requests of the path for streams."""

    def __init__(self, edge: GraphQLEdge, pokes: Pokes, settings: Settings) -> None:
        self._edge = edge
        self._settings = settings
        self._ending = asyncio.Event()
        self._followers = Followers(edge, pokes, settings)

    def end(self) -> None:
        """Break off every stream, as when the server is about to stop. No `complete` is sent: clients come again."""
        self._ending.set()
        self._followers.end()

    async def answer(self, request: Request) -> Response:
        """A stream of events; or, where nothing may begin, a plain answer whose status says why."""
        if request.method in METHODS and not takes(request.headers.get("accept"), EVENT_TYPE):
            return malformed_response(Malformed(406, f"wanted: {EVENT_TYPE}"), JSON_TYPE)
        try:
            check_distinct(request)
            asked = await self._edge.asked(request)
        except Malformed as malformed:
            return malformed_response(malformed, JSON_TYPE)
        authorization, wished = request.headers.get("authorization"), request.headers.get("accept-language")
        locale = await self._edge.language(authorization, wished)
        answers = self._edge.answers(
            asked,
            authorization,
            wished,
            kinds=READING if request.method == "GET" else tuple(OperationType),
            address=address_key(request.client.host) if request.client else "",
        )
        try:
            first = await anext(answers)
        except Unrun as unrun:
            if unrun.always:
                return unrun_response(unrun, JSON_TYPE, locale)
            return self._stream(_once(unrun.result), locale)
        if self._ending.is_set() or (first is not None and "data" not in first and code_of(first) == Code.BUSY):
            await answers.aclose()
            return _busy(locale)
        document = self._edge.document(asked)
        form = form_of(document, asked.operation_name) if document else None
        if form is not None and first is not None and "errors" not in first:
            # from here on it needs no operation of its own
            await answers.aclose()
            standing, _ = await self._edge.who(authorization)
            user_id = standing.principal.user_id if standing else None
            try:
                return Follower(
                    self._followers, form, first, authorization=authorization, user_id=user_id, locale=locale
                )
            except Refused:
                return _busy(locale)
        return self._stream(_events(first, answers), locale)

    def _stream(self, events: AsyncGenerator[bytes, None], locale: str) -> "EventStream":
        return EventStream(events, self._ending, self._settings.stream_send_seconds_max, locale)


def _busy(locale: str) -> Response:
    busy = error_result(Code.BUSY, "no further stream now")
    return unrun_response(Unrun(503, busy, always=True, headers={"retry-after": "5"}), JSON_TYPE, locale)


def check_distinct(request: Request) -> None:
    """Raises `Malformed` for what only the protocol's other mode knows: a stream reserved first, and shared."""
    if request.method not in METHODS:
        raise Malformed(405, NOT_SHARED, allow=", ".join(METHODS))
    if TOKEN_HEADER in request.headers or TOKEN_PARAMETER in request.query_params:
        raise Malformed(400, NOT_SHARED)


class EventStream(Response):
    """Sends events until they end, the server does, or the reader leaves or leaves one untaken for too long."""

    media_type = EVENT_TYPE

    def __init__(
        self, events: AsyncGenerator[bytes, None], ending: asyncio.Event, send_seconds_max: int, locale: str
    ) -> None:
        self._events = events
        self._ending = ending
        self._send_seconds_max = send_seconds_max
        self.status_code = 200
        self.background = None
        # proxies that gather answers before they pass them on are asked not to
        self.init_headers({"x-accel-buffering": "no", "content-language": locale, "vary": ANSWER_VARIES})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send_all(send))
        ending = asyncio.ensure_future(self._ending.wait())
        tasks = {sending, ending, asyncio.ensure_future(left(receive))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # what the stream holds is given back before the request ends
            await asyncio.wait(tasks)
        with suppress(TimeoutError):  # a reader who takes nothing: an answer left open closes the connection
            if not sending.cancelled():
                sending.result()
            elif not ending.cancelled():
                await self._send(send, b"", more=False)

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for event in events:
                await self._send(send, event, more=True)
            await self._send(send, b"", more=False)

    async def _send(self, send: Send, event: bytes, *, more: bool) -> None:
        async with asyncio.timeout(self._send_seconds_max):
            await send({"type": "http.response.body", "body": event, "more_body": more})


async def _events(first: Mapping[str, Any] | None, answers: Answers) -> AsyncGenerator[bytes, None]:
    async with aclosing(answers):
        yield event_of(first)
        async for answer in answers:
            yield event_of(answer)
        yield COMPLETE


async def _once(result: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    yield event_of(result)
    yield COMPLETE
