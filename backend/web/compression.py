"""Answers that are one piece, packed for whoever can unpack; streams pack themselves or stay as they are.

No answer here stands under a cookie, so that packing secrets beside a stranger's words tells nobody their length.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.web.streaming import THREAD_BYTES, Packer, packer_for

PACKED_TYPES = (
    "application/graphql-response+json",
    "application/json",
    "image/svg+xml",
    "text/",
)
"""Beginnings of the media types that get smaller."""


class Compression:
    """Around an application: packs its answers of at least `bytes_min`, large ones in a thread."""

    def __init__(self, app: ASGIApp, bytes_min: int) -> None:
        self._app = app
        self._bytes_min = bytes_min

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wished = Headers(scope=scope).get("accept-encoding")
        await self._app(scope, receive, _Packing(send, wished, self._bytes_min))


class _Packing:
    """What one answer is sent through. Its head waits for its body, which says how long it is."""

    def __init__(self, send: Send, wished: str | None, bytes_min: int) -> None:
        self._send = send
        self._wished = wished
        self._bytes_min = bytes_min
        self._head: Message | None = None

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and _may_be_packed(MutableHeaders(raw=message["headers"])):
            self._head = message
            return
        head, self._head = self._head, None
        if head is not None and not message.get("more_body", False):
            message = await self._packed(head, message)
        if head is not None:
            await self._send(head)
        await self._send(message)

    async def _packed(self, head: Message, message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        headers = MutableHeaders(scope=head)
        headers.add_vary_header("Accept-Encoding")
        body = message.get("body", b"")
        packer = packer_for(self._wished)
        if len(body) < self._bytes_min or packer.encoding == "identity":
            return message
        packed = await asyncio.to_thread(_pack, packer, body) if len(body) >= THREAD_BYTES else _pack(packer, body)
        headers["content-encoding"] = packer.encoding
        headers["content-length"] = str(len(packed))
        return {**message, "body": packed}


def _may_be_packed(headers: MutableHeaders) -> bool:
    return "content-encoding" not in headers and headers.get("content-type", "").startswith(PACKED_TYPES)


def _pack(packer: Packer, body: bytes) -> bytes:
    return packer.pack(body) + packer.finish()
