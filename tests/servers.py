"""A real server on a real socket, inside the test's own process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from backend.app import make_app
from backend.clock import Clock, wall_clock_ms
from backend.config import Settings
from backend.web.listener import server_config
from backend.wiring import Services

JsonObject = dict[str, Any]
PATIENCE_SECONDS = 60
GRACEFUL_SECONDS = 10
"""How long connections that a test left open may stay."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the test run."""
        yield


class Served:
    """A running server: its address, what it is made of, and a client that speaks to it."""

    def __init__(
        self, app: Starlette, port: int, client: httpx.AsyncClient, connections: Collection[object] = ()
    ) -> None:
        self.app = app
        self.port = port
        self.client = client
        self.connections = connections
        """Those open now."""

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    async def post(self, body: object, **headers: str) -> httpx.Response:
        """POST to /graphql; names of headers with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post("/graphql", json=body, headers=named)

    async def ask(
        self, document: str, variables: JsonObject | None = None, *, token: str | None = None, **headers: str
    ) -> JsonObject:
        """The answer to a document, whatever it is."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        answer = await self.post({"query": document, "variables": variables}, **headers)
        found: JsonObject = answer.json()
        return found


@asynccontextmanager
async def serve(settings: Settings, *, clock: Clock = wall_clock_ms) -> AsyncIterator[Served]:
    app = make_app(settings, clock=clock)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = server_config(app, settings, timeout_keep_alive=30, timeout_graceful_shutdown=GRACEFUL_SECONDS)
    server = _Server(config)
    running = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server.started:
                if running.done():
                    running.result()
                await asyncio.sleep(0.005)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Served(app, port, client, server.server_state.connections)
    finally:
        server.should_exit = True
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await running
        finally:
            listening.close()
