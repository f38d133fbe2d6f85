"""The ear of the server: uvicorn's, with the bounds it has none of.

A head that does not come to its end in time, or is larger than any client's, is refused and its connection closed;
a connection whose other side takes nothing is given up by the system itself. Source: promises.md §3.
"""

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backend.config import Settings
from backend.telemetry import counter

REFUSED = counter("heads_refused", "Connections closed for the head of a request.", by=("late", "large"))
TOO_MANY = counter("connections_refused", "Connections closed at once because as many are open as may be.")
SOCKET_MESSAGES_QUEUED = 2
"""messages of one websocket that wait to be read: of a client who sends and takes nothing that is what is held"""
LINGER_SECONDS = 1
LATE = b"408 Request Timeout"
LARGE = b"431 Request Header Fields Too Large"
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\ncache-control: no-store\r\n"
    b"connection: close\r\n\r\n"
)
"""Said before anything is read: who it is and what he speaks is not known."""


def server_config(app: ASGIApp, settings: Settings, **more: Any) -> uvicorn.Config:
    """How the server listens: every way of serving the application begins here."""

    bounded = type("Bounded", (Listener,), {"settings": settings})
    return uvicorn.Config(
        app,
        http=bounded,
        log_config=None,
        access_log=False,
        server_header=False,
        # whom addresses are believed from is a setting of ours
        proxy_headers=False,
        ws_max_size=settings.socket_message_bytes_max,
        ws_max_queue=SOCKET_MESSAGES_QUEUED,
        **more,
    )


class Listener(HttpToolsProtocol):
    """One connection."""

    settings: Settings
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _head_fields = 0
    _in_head = False
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections_max:
            self._refused = True
            TOO_MANY.add()
            transport.write(FULL)
            transport.close()
            return
        self._wait_for_head()
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        peer = transport.get_extra_info("socket")
        if option is not None and peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.IPPROTO_TCP, option, self.settings.stream_send_seconds_max * 2_000)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.settings.head_bytes_max:
                self._refuse(LARGE)

    def on_message_begin(self) -> None:
        self._head_bytes = self._head_fields = 0
        self._in_head = True
        if self._timer is None:
            self._wait_for_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # behind the body, where whoever looks over requests on their way has not looked for one
        self._head_bytes += len(name) + len(value)
        self._head_fields += 1
        if not self._is_too_large():
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_came()
        if self._is_too_large():
            self._refuse(LARGE)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()
        if not self.parser.should_upgrade():
            # they are the request's now, which may let go of them long before it is answered
            self.headers = []

    def _is_too_large(self) -> bool:
        return self._head_bytes > self.settings.head_bytes_max or self._head_fields > self.settings.head_fields_max

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(self.settings.head_seconds_max, self._late)

    def _head_came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        # a connection that never said a word is closed without one
        self._refuse(LATE if self._in_head else b"")

    def _refuse(self, status: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._head_came()
        REFUSED.add(by="large" if status is LARGE else "late")
        if status:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\n"
                b"x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
            )
        # closed at once, what is still on its way here would reset the connection before the answer is read
        self.loop.call_later(LINGER_SECONDS if status else 0, self.transport.close)
