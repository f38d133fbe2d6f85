"""GraphQL over websockets: the graphql-transport-ws protocol and no older one.

One connection carries any number of operations, each under an id of the client's. What a client sends against the
protocol closes the connection with a code of the protocol; what is wrong with one operation is told to that one.
Source: GraphQL over WebSocket, graphql-transport-ws.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from graphql import OperationType
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected
from structlog.contextvars import bound_contextvars

from backend.admission import CONNECTION_BYTES, within
from backend.config import Settings
from backend.domain.origins import is_allowed_origin
from backend.domain.rates import address_key
from backend.errors import Code, Problem, Refused, Retry
from backend.ids import new_id
from backend.schema.deprecations import NAMELESS, client_of
from backend.schema.execute import encode
from backend.schema.http import (
    Asked,
    GraphQLEdge,
    Malformed,
    Unrun,
    asked_from,
    code_of,
    error_result,
    read_json,
    refusal_result,
)
from backend.telemetry import error_told, logger
from backend.usecases.sessions import Standing

PROTOCOL = "graphql-transport-ws"
TOO_BIG = 1009
TRY_LATER = 1013
BAD_MESSAGE = 4400
NOT_ACKNOWLEDGED = 4401
FORBIDDEN = 4403
PROTOCOL_NOT_SPOKEN = 4406
INIT_TOO_LATE = 4408
ID_IN_USE = 4409
INIT_TWICE = 4429
ENDING = frozenset(
    {Code.UNAUTHENTICATED, Code.TOKEN_EXPIRED, Code.DEVICE_REVOKED, Code.DEVICE_WIPED, Code.CURSOR_EXPIRED}
)
"""Codes with which nothing more can be had on this connection."""
_GONE = (WebSocketDisconnect, WebSocketDisconnected)
_LOG = logger(__name__)


class GraphQLSockets:
    """Serves the websockets of one path."""

    def __init__(self, edge: GraphQLEdge, settings: Settings) -> None:
        self._edge = edge
        self._settings = settings
        self._open = 0

    @property
    def open(self) -> int:
        """How many are open now."""
        return self._open

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its handshake to its end."""
        if not is_welcome(websocket.headers, self._settings):
            await websocket.close()  # before it was accepted: answered 403
            return
        if self._open >= self._settings.sockets_max:
            await websocket.send_denial_response(Response(status_code=503, headers={"retry-after": "5"}))
            return
        self._open += 1
        try:
            with bound_contextvars(request_id=new_id()):
                await _Socket(websocket, self._edge, self._settings).run()
        finally:
            self._open -= 1


def is_welcome(headers: Headers, settings: Settings) -> bool:
    """True for pages of this very host and of the allowed origins, and for clients that are no browser's page."""
    origin = headers.get("origin")
    if origin is None or is_allowed_origin(origin, settings.allowed_origins, local=settings.demo):
        return True
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(host) and host.lower() == headers.get("host", "").lower()


class _Against(Exception):
    """The client sent what the protocol does not know here."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Socket:
    """One connection."""

    def __init__(self, websocket: WebSocket, edge: GraphQLEdge, settings: Settings) -> None:
        self._websocket = websocket
        self._edge = edge
        self._settings = settings
        self._address = address_key(websocket.client.host) if websocket.client else ""
        self._language = websocket.headers.get("accept-language")
        self._authorization: str | None = None
        self._client = NAMELESS
        self._clock: int | None = None
        self._begun = asyncio.Event()
        self._acknowledged = False
        self._closing = False
        self._over = asyncio.Event()
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Returns when the connection is closed and all its operations have given back what they held."""
        if PROTOCOL not in self._websocket.scope["subprotocols"]:
            await self._websocket.accept()
            await self._close(PROTOCOL_NOT_SPOKEN, f"wanted: {PROTOCOL}")
            return
        await self._websocket.accept(PROTOCOL)
        tasks = [asyncio.ensure_future(self._guarded(self._hear)), asyncio.ensure_future(self._guarded(self._watch))]
        try:
            await self._over.wait()
        finally:
            tasks += self._operations.values()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _guarded(self, part: Any, *arguments: object) -> None:
        """Whatever ends a part of the connection ends all of it, with a code."""
        try:
            await part(*arguments)
        except _GONE:
            self._over.set()
        except _Against as against:
            await self._close(against.code, against.reason)
        except TimeoutError:
            await self._close(TRY_LATER, "messages were not taken")
        except Exception as error:  # noqa: BLE001 - where the unexpected ends
            error_id = new_id()
            _LOG.error("unexpected failure", error_id=error_id, where="socket", **error_told(error))
            await self._close(TRY_LATER, f"{Code.INTERNAL} {error_id}")

    async def _close(self, code: int, reason: str) -> None:
        if self._closing:
            return
        self._closing = True
        try:
            with suppress(TimeoutError, *_GONE):
                async with asyncio.timeout(self._settings.stream_send_seconds_max):
                    await self._websocket.close(code, reason)
        finally:
            self._over.set()

    async def _send(self, kind: str, **rest: object) -> None:
        """Raises TimeoutError when the client does not take it."""
        text = encode({"type": kind, **rest}).decode()
        await within(
            self._settings.stream_send_seconds_max,
            self._websocket.send_text(text),
            self._edge.admission.untaken,
            len(text) + CONNECTION_BYTES,
        )

    async def _watch(self) -> None:
        """Ends a connection that does not begin, and one whose caller may no longer be here."""
        try:
            async with asyncio.timeout(self._settings.socket_init_seconds_max):
                await self._begun.wait()
        except TimeoutError:
            raise _Against(INIT_TOO_LATE, "connection_init did not come in time") from None
        with self._edge.standings.watch((await self._check()).principal.user_id) as changed:
            while True:
                await self._check()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.stream_check_seconds):
                        await changed.wait()
                changed.clear()

    async def _check(self) -> Standing:
        standing, refused = await self._edge.who(self._authorization)
        if standing is None and refused is not None and refused.problems[0].retry is Retry.LATER:
            # nobody could be asked: that is no word against the caller
            raise _Against(TRY_LATER, refused.problems[0].code.value)
        if standing is None:
            raise _Against(FORBIDDEN, (refused.problems[0].code if refused else Code.UNAUTHENTICATED).value)
        return standing

    async def _hear(self) -> None:
        while True:
            received = await self._websocket.receive()
            if received["type"] == "websocket.disconnect":
                self._over.set()
                return
            await self._take(_message(received, self._settings), len(received["text"]))

    async def _take(self, message: Mapping[str, Any], message_bytes: int) -> None:
        match message.get("type"):
            case "connection_init":
                await self._begin(_payload(message) or {})
            case "ping":
                payload = _payload(message)
                await self._send("pong", **({} if payload is None else {"payload": payload}))
            case "pong":
                _payload(message)
            case "subscribe":
                await self._subscribe(_id(message), message, message_bytes)
            case "complete":
                if task := self._operations.pop(_id(message), None):
                    task.cancel()
            case _:
                raise _Against(BAD_MESSAGE, "the message has no type that a client sends")

    async def _begin(self, payload: Mapping[str, Any]) -> None:
        if self._begun.is_set():
            raise _Against(INIT_TWICE, "connection_init came before")
        self._begun.set()
        headers = payload.get("headers")  # where RxDB puts what its app gave as headers
        named = [*payload.items(), *(headers.items() if isinstance(headers, dict) else ())]
        given = [value for name, value in named if name.lower() == "authorization"]
        if len(given) == 1 and isinstance(given[0], str):
            self._authorization = given[0]
        self._client = client_of({**self._websocket.headers, **{name.lower(): value for name, value in named}})
        await self._check()
        # before the client may begin to pull: what its streams then leave out it has pulled
        self._clock = await self._edge.clock()
        self._acknowledged = True
        await self._send("connection_ack")

    async def _subscribe(self, operation_id: str, message: Mapping[str, Any], message_bytes: int) -> None:
        if not self._acknowledged:
            raise _Against(NOT_ACKNOWLEDGED, "connection_init must come first")
        payload = _payload(message)
        if payload is None:
            raise _Against(BAD_MESSAGE, "`payload` must be a map")
        if operation_id in self._operations:
            raise _Against(ID_IN_USE, "an operation with this id runs")
        try:
            asked = replace(asked_from(payload, body_bytes=message_bytes), client=self._client)
        except Malformed as malformed:
            if payload.get("query") == "":  # an empty document is a bad one, and those close nothing
                await self._fail(operation_id, error_result(Code.BAD_REQUEST, malformed.message))
                return
            raise _Against(BAD_MESSAGE, malformed.message) from None
        most = self._settings.socket_operations_max
        if len(self._operations) >= most:
            await self._fail(operation_id, refusal_result(Refused(Problem(Code.TOO_MANY, (), (str(most),)))))
            return
        self._operations[operation_id] = asyncio.ensure_future(self._guarded(self._operate, operation_id, asked))

    async def _operate(self, operation_id: str, asked: Asked) -> None:
        with self._edge.admission.bodies.holding() as share:
            try:
                share.add(asked.body_bytes)
            except Refused as busy:
                await self._fail(operation_id, refusal_result(busy))
                return
            await self._answer(operation_id, asked)

    async def _answer(self, operation_id: str, asked: Asked) -> None:
        answers = self._edge.answers(
            asked,
            self._authorization,
            self._language,
            kinds=tuple(OperationType),
            connected_clock=self._clock,
            address=self._address,
        )
        try:
            async with aclosing(answers):
                async for answer in answers:
                    if answer is not None and "data" not in answer:
                        await self._fail(operation_id, answer)
                        return
                    if answer is not None:
                        await self._send("next", id=operation_id, payload=answer)
        except Unrun as unrun:
            await self._fail(operation_id, unrun.result)
            return
        # forgotten before it is told, so that the client may use the id again
        self._operations.pop(operation_id, None)
        await self._send("complete", id=operation_id)

    async def _fail(self, operation_id: str, result: Mapping[str, Any]) -> None:
        code = code_of(result)
        if code in ENDING:
            raise _Against(FORBIDDEN, code)
        if self._operations.get(operation_id) is asyncio.current_task():
            del self._operations[operation_id]
        await self._send("error", id=operation_id, payload=result["errors"])


def _message(received: Message, settings: Settings) -> Mapping[str, Any]:
    text, bytes_max = received.get("text"), settings.socket_message_bytes_max
    if text is None:
        raise _Against(BAD_MESSAGE, "messages must be texts")
    if len(text) > bytes_max:
        raise _Against(TOO_BIG, f"the message is larger than {bytes_max} bytes")
    try:
        message = read_json(text, settings.value_depth_max, "the message")
    except Malformed as malformed:
        raise _Against(BAD_MESSAGE, malformed.message) from None
    if not isinstance(message, dict):
        raise _Against(BAD_MESSAGE, "messages must be maps")
    return message


def _payload(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """None when there is none at all."""
    if "payload" not in message:
        return None
    payload = message["payload"]
    if not isinstance(payload, dict):
        raise _Against(BAD_MESSAGE, "`payload` must be a map")
    return payload


def _id(message: Mapping[str, Any]) -> str:
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not operation_id:
        raise _Against(BAD_MESSAGE, "`id` must be a text")
    return operation_id
