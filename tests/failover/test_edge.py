"""The reverse proxy as `deploy/haproxy/edge.cfg` has it, started on loopback in front of two servers.

What clients do all day goes through it: requests, websockets, event streams. A server that stops is not noticed by
them, and where none is left they are told in the form they know. `make failover` plays chaos through the same file.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from backend.errors import Code, Retry
from backend.ids import new_id
from tests.databases import free_port, fresh_sqlite
from tests.failover.cluster import DEPLOY
from tests.failover.test_deploy import HAPROXY
from tests.operations.test_trouble_served import READY_SECONDS, Rep, settings_for, until, until_status
from tests.operations.test_workers import kept, prepare, sign_in
from tests.schema.lines import POKE, events, line
from tests.servers import Served, serve

STOP_SECONDS_MAX = 20
WRITES = 12


@asynccontextmanager
async def edge_before(*servers: Served) -> AsyncIterator[Served]:
    """The reverse proxy; a client of it."""
    assert HAPROXY is not None
    port = free_port()
    addresses = {f"APP_{number}": f"127.0.0.1:{server.port}" for number, server in enumerate(servers, 1)}
    proxy = subprocess.Popen(  # noqa: ASYNC220 - begun in a moment, and ended by its number
        [HAPROXY, "-db", "-f", str(DEPLOY / "haproxy" / "edge.cfg")],
        env={**os.environ, **addresses, "EDGE_BIND": f"127.0.0.1:{port}"},
        stdin=subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            edge = Served(servers[0].app, port, client)
            await until_listening(edge, proxy)
            yield edge
    finally:
        proxy.terminate()
        try:
            await asyncio.to_thread(proxy.wait, STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            proxy.kill()
            proxy.wait()


async def until_listening(edge: Served, proxy: "subprocess.Popen[bytes]") -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            assert proxy.poll() is None, "the reverse proxy does not start"
            try:
                await edge.client.get("/live")
            except httpx.TransportError:
                await asyncio.sleep(0.02)
            else:
                return


@pytest.fixture
def url(sqlite_template: Path, tmp_path: Path) -> str:
    """Which database stands behind is all the same to a proxy."""
    if HAPROXY is None or shutil.which(HAPROXY) is None:
        pytest.skip("no haproxy here: apt-get install haproxy")
    return fresh_sqlite(sqlite_template, tmp_path)


async def test_the_reverse_proxy_carries_what_clients_do_and_stands_in_for_servers_that_stop(
    url: str, tmp_path: Path
) -> None:
    await prepare(url)
    async with AsyncExitStack() as first, AsyncExitStack() as second, AsyncExitStack() as front:
        servers = [await stack.enter_async_context(serve(settings_for(url, tmp_path))) for stack in (first, second)]
        edge = await front.enter_async_context(edge_before(*servers))
        await until_status(edge, 200, READY_SECONDS)
        token = await sign_in(edge.client)
        rep = Rep(edge, token)
        assert (await servers[0].client.get("/metrics")).status_code == 200
        assert (await edge.client.get("/metrics")).status_code == 404

        async with line(edge, token) as socket, events(edge, POKE, token) as stream:
            await socket.subscribe("p", POKE)
            before = await socket.clock(), await stream.clock()
            assert await rep.write(new_id())
            # each piece comes as it is sent, whichever server sends it
            assert min(await socket.clock(), await stream.clock()) > max(before)

        # those who left are known to have left, by whom they followed
        async def followed_by_nobody() -> bool:
            return not any(server.services.pokes.subscribers for server in servers)

        await until(followed_by_nobody, READY_SECONDS)

        # one server stops, and nobody tells the proxy: what it cannot bring there it brings to the other
        await first.aclose()
        for _ in range(WRITES):
            record_id = new_id()
            async with asyncio.timeout(READY_SECONDS):
                while not await rep.write(record_id):  # noqa: ASYNC110 - nobody tells a client that it may come again
                    await asyncio.sleep(0.05)
        assert set(rep.taken) == await kept(url)
        assert len(rep.taken) == WRITES + 1

        await second.aclose()
        answer = await edge.client.post("/graphql", json={"query": "{ serverTime }"})
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
        assert int(answer.headers["retry-after"]) > 0
        (error,) = answer.json()["errors"]
        assert error["extensions"] == {"code": Code.UNAVAILABLE.value, "retry": Retry.LATER.value}
