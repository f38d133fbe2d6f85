"""Long answers, sent as they are made: packed for whoever can unpack, and ended when nobody takes them.

Memory is that of two parts and of the packer's window, however long the answer.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Protocol

from isal import isal_zlib
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.domain.wishes import wishes_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_LEVEL = 1
ZSTD_WINDOW_LOG = 17
"""128 KiB: a third of the work of level 3 with its wider window, for a fifth more bytes"""
GZIP_LEVEL = 1
"""of ISA-L: a seventh of the work of zlib's least, and fewer bytes than it"""
GZIP_WINDOW_BITS = 31
"""15 bits of window, in a gzip frame"""


ZSTD_OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: ZSTD_LEVEL,
    zstd.CompressionParameter.window_log: ZSTD_WINDOW_LOG,
}

THREAD_BYTES = 32_000


class Packer(Protocol):
    """Packs an answer part by part; what was given so far can be read by the other side at once."""

    encoding: str

    def pack(self, part: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class Zstd:
    encoding = "zstd"

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(options=ZSTD_OPTIONS)

    def pack(self, part: bytes) -> bytes:
        return self._compressor.compress(part, zstd.ZstdCompressor.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._compressor.flush()


class Gzip:
    encoding = "gzip"

    def __init__(self) -> None:
        self._compressor = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, GZIP_WINDOW_BITS)

    def pack(self, part: bytes) -> bytes:
        return self._compressor.compress(part) + self._compressor.flush(isal_zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._compressor.flush()


class Identity:
    encoding = "identity"

    def pack(self, part: bytes) -> bytes:
        return part

    def finish(self) -> bytes:
        return b""


PACKERS: Mapping[str, type[Packer]] = {"zstd": Zstd, "gzip": Gzip, "identity": Identity}
"""The best first."""


def packer_for(accept_encoding: str | None) -> Packer:
    """The packer an Accept-Encoding header likes best, of equals the one that packs best; none when none is named."""
    wishes = dict(wishes_of(accept_encoding))
    least = wishes.get("*", 0.0)
    liked = {name: wishes.get(name, least) for name in PACKERS}
    best = max(PACKERS, key=lambda name: liked[name])
    return PACKERS[best if liked[best] > 0 else "identity"]()


class StreamedAnswer(Response):
    """Sends parts until they end, the server does, or the reader leaves or leaves one untaken for too long.

    `first` was taken from `parts` already: whatever is wrong from the start was told by a status. `ending` is set
    when the server is about to stop. An answer broken off is not finished: its reader sees a connection that was cut.
    """

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        *,
        first: bytes,
        media_type: str,
        packer: Packer,
        ending: asyncio.Event,
        send_seconds_max: int,
    ) -> None:
        self._parts = parts
        self._first = first
        self._packer = packer
        self._ending = ending
        self._send_seconds_max = send_seconds_max
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        headers = {"vary": "Accept-Encoding", "x-accel-buffering": "no"}
        if packer.encoding != "identity":
            headers["content-encoding"] = packer.encoding
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send_all(send))
        tasks = {sending, asyncio.ensure_future(self._ending.wait()), asyncio.ensure_future(_left(receive))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            # what the parts hold is given back before the request ends
            await asyncio.wait(tasks)
            await self._parts.aclose()
        with suppress(TimeoutError):  # a reader who takes nothing: an answer left open closes the connection
            if not sending.cancelled():
                sending.result()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        part: bytes | None = self._first
        while part is not None:
            # the next part is read while this one is packed and sent, and never more than that one
            coming = asyncio.ensure_future(anext(self._parts, None))
            try:
                await self._send(send, await self._packed(part), more=True)
                part = await coming
            finally:
                coming.cancel()
                await asyncio.wait({coming})
        await self._send(send, self._packer.finish(), more=False)

    async def _packed(self, part: bytes) -> bytes:
        """Packed in a thread when it is large, so that others are served meanwhile."""
        if len(part) < THREAD_BYTES or self._packer.encoding == "identity":
            return self._packer.pack(part)
        return await asyncio.to_thread(self._packer.pack, part)

    async def _send(self, send: Send, packed: bytes, *, more: bool) -> None:
        async with asyncio.timeout(self._send_seconds_max):
            await send({"type": "http.response.body", "body": packed, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
