"""The gate before every door: who asks too often, and too many at once, are told so before anything is read.

Inside it no answer waits for its reader longer than it may. Source: promises.md §4.
"""

from collections.abc import MutableMapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from backend.admission import CONNECTION_BYTES, Admission, Untaken, within
from backend.config import Settings
from backend.domain.rates import ADDRESS_UNKNOWN, address_key
from backend.domain.wishes import accepted_locale
from backend.errors import Code, Problem, Refused
from backend.telemetry import counter
from backend.web.doors import Doors

SENT_BYTES = 65_536
"""An answer goes out in parts of so much: a reader has so long for each."""
ALWAYS_OPEN = frozenset({"/live", "/ready", "/metrics"})
SAID_ONCE = frozenset({b"authorization", b"content-type", b"host", b"accept-language"})
"""Headers of which a second one would be read by some and not by others."""
UNREAD = counter("readers_dropped", "Answers broken off because nobody took them.")


class Gate:
    """Around the doors, inside `app.Edge`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        state = scope["app"].state
        admission: Admission = state.services.admission
        try:
            self._look(scope, admission)
        except Refused as refused:
            await _turn_away(refused, state.doors, scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._open += 1
        try:
            with admission.bodies.holding() as share:
                scope.setdefault("state", {})["share"] = share
                await self._app(scope, receive, self._patient(send, admission.untaken))
        except Unread:
            # an answer left open closes its connection
            UNREAD.add()
        finally:
            self._open -= 1

    def _look(self, scope: Scope, admission: Admission) -> None:
        client = scope.get("client")
        admission.address_asks(address_key(client[0]) if client else ADDRESS_UNKNOWN)
        if scope["type"] == "http" and self._open >= self._settings.requests_open_max:
            raise admission.busy("open")
        names = [name for name, _ in scope["headers"] if name in SAID_ONCE]
        if len(names) != len(set(names)):
            raise Refused(Problem(Code.BAD_REQUEST))

    def _patient(self, send: Send, untaken: Untaken) -> Send:
        async def send_in_parts(message: MutableMapping[str, Any]) -> None:
            body: bytes = message.get("body", b"")
            if message["type"] != "http.response.body" or len(body) <= SENT_BYTES:
                await self._send(send, message, untaken, len(body))
                return
            for begin in range(0, len(body), SENT_BYTES):
                part = body[begin : begin + SENT_BYTES]
                more = begin + SENT_BYTES < len(body) or message.get("more_body", False)
                # until the last part is sent the whole stays in memory
                await self._send(
                    send, {"type": "http.response.body", "body": part, "more_body": more}, untaken, len(body)
                )

        return send_in_parts

    async def _send(self, send: Send, message: MutableMapping[str, Any], untaken: Untaken, body_bytes: int) -> None:
        try:
            await within(
                self._settings.stream_send_seconds_max, _sent(send, message), untaken, body_bytes + CONNECTION_BYTES
            )
        except TimeoutError:
            raise Unread from None


async def _sent(send: Send, message: MutableMapping[str, Any]) -> None:
    await send(message)


class Unread(Exception):
    """The reader of an answer does not take it."""


async def _turn_away(refused: Refused, doors: Doors, scope: Scope, receive: Receive, send: Send) -> None:
    language = HTTPConnection(scope).headers.get("accept-language")
    response = doors.refusal(refused, accepted_locale(language))
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)
