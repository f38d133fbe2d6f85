"""Talking to a server over a connection that stays open, as a device would."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from backend.schema.sockets import PROTOCOL
from tests.servers import JsonObject, Served

PATIENCE_SECONDS = 180
POKE = "subscription { syncPoke { clock } }"


class Line:
    """A websocket of one device."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw = raw

    async def send(self, message: object) -> None:
        """A message; texts and bytes go as they are."""
        await self.raw.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def begin(self, token: str) -> None:
        await self.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        assert await self.hear() == {"type": "connection_ack"}

    async def subscribe(self, operation_id: str, document: str, **variables: object) -> None:
        payload = {"query": document, "variables": variables}
        await self.send({"type": "subscribe", "id": operation_id, "payload": payload})

    async def hear(self) -> JsonObject:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found: JsonObject = json.loads(await self.raw.recv())
        return found

    async def clock(self, operation_id: str = "p") -> int:
        """The clock of the next poke."""
        heard = await self.hear()
        assert (heard["type"], heard["id"]) == ("next", operation_id), heard
        clock: int = heard["payload"]["data"]["syncPoke"]["clock"]
        return clock

    async def end(self) -> tuple[int, str]:
        """Code and reason with which the server closes; whatever came before is passed over."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    await self.raw.recv()
        except ConnectionClosed:
            return self.raw.close_code or 0, self.raw.close_reason or ""


@asynccontextmanager
async def line(
    served: Served,
    token: str | None = None,
    *,
    origin: str | None = None,
    protocols: tuple[str, ...] = (PROTOCOL,),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Line]:
    """A websocket; one that has begun, where a token is given."""
    async with connect(
        f"ws://127.0.0.1:{served.port}/graphql",
        subprotocols=[Subprotocol(name) for name in protocols] or None,
        origin=Origin(origin) if origin is not None else None,
        additional_headers=headers,
        open_timeout=PATIENCE_SECONDS,
        compression=None,
        proxy=None,
    ) as raw:
        opened = Line(raw)
        if token is not None:
            await opened.begin(token)
        yield opened


class Events:
    """A stream of server-sent events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def block(self) -> list[str]:
        """The lines up to the next empty one; none where the stream has ended."""
        found: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for text in self._lines:
                if not text:
                    break
                found.append(text)
        return found

    async def event(self) -> tuple[str, Any]:
        """Name and data of the next event; comments are passed over."""
        block = await self.block()
        while block == [":"]:
            block = await self.block()
        name, data = block
        return name.removeprefix("event: "), json.loads(data.removeprefix("data:") or "null")

    async def clock(self) -> int:
        name, data = await self.event()
        assert name == "next", data
        clock: int = data["data"]["syncPoke"]["clock"]
        return clock


@asynccontextmanager
async def events(served: Served, document: str, token: str | None = None, **headers: str) -> AsyncIterator[Events]:
    """The answer of the path for streams, whatever its status."""
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    asking = served.client.stream("POST", "/graphql/stream", json={"query": document}, headers=headers)
    async with asking as answer:
        yield Events(answer)
