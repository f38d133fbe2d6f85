"""Several processes on one port: one that is killed is replaced, and stopping under load loses nothing."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from backend.ids import new_id
from backend.storage.engine import open_engine
from tests import factories
from tests.databases import free_port, fresh_postgres
from tests.operations.processes import alive, children_of, started, until_ready
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN

WRITE = "mutation ($id: ID!, $input: TaskInput!) { createTask(id: $id, input: $input) { __typename } }"
WRITERS = 4
BEFORE_KILL, BEFORE_STOP = 40, 100

linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers under /proc")


class Load:
    """Writers that go on until nobody answers any more; `taken` is what the server said it had taken."""

    def __init__(self, port: int, token: str) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.headers = {"authorization": f"Bearer {token}"}
        self.taken: list[str] = []
        self.statuses: set[int] = set()
        self.more = asyncio.Event()

    async def write(self) -> None:
        refused = 0
        async with httpx.AsyncClient(base_url=self.address, headers=self.headers, timeout=60) as client:
            while refused < 3:
                record_id = new_id()
                body = {"query": WRITE, "variables": {"id": record_id, "input": {"title": "under load"}}}
                try:
                    answer = await client.post("/graphql", json=body)
                except httpx.ConnectError:
                    return
                except httpx.TransportError:
                    # a worker was killed, or a kept connection closed: never answered, so never promised
                    refused += 1
                    continue
                refused = 0
                self.statuses.add(answer.status_code)
                if answer.status_code == 200:
                    assert answer.json()["data"]["createTask"]["__typename"] == "TaskChanged", answer.text
                    self.taken.append(record_id)
                    self.more.set()

    async def until(self, count: int) -> None:
        while len(self.taken) < count:
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), 60)


async def sign_in(client: httpx.AsyncClient) -> str:
    device = {"id": new_id(), "name": "a phone", "platform": "ANDROID"}
    variables = {"email": "min@example.com", "password": PASSWORD, "device": device}
    answer = await client.post("/graphql", json={"query": SIGN_IN, "variables": variables})
    return str(answer.json()["data"]["signIn"]["accessToken"])


async def prepare(database_url: str) -> None:
    engine = open_engine(database_url)
    await engine.start()
    async with engine.write() as conn:
        await factories.user(conn, email="min@example.com", password_hash=PASSWORD_HASH)
    await engine.close()


async def kept(database_url: str) -> set[str]:
    engine = open_engine(database_url)
    await engine.start()
    try:
        async with engine.read() as conn:
            return {str(row[0]) for row in await conn.fetch("SELECT id FROM task")}
    finally:
        await engine.close()


async def ended(server: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(server.wait, 40)


@linux
async def test_a_killed_worker_is_replaced_and_a_stop_under_load_loses_nothing(
    database_url: str, tmp_path: Path
) -> None:
    await prepare(database_url)
    port = free_port()
    with started(tmp_path, port, "--workers", "2", database_url=database_url) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await until_ready(client, server, tmp_path)
            token = await sign_in(client)
        load = Load(port, token)
        writers = [asyncio.ensure_future(load.write()) for _ in range(WRITERS)]
        await load.until(BEFORE_KILL)
        first = children_of(server)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        await load.until(BEFORE_STOP)
        while len(now := children_of(server)) < 2 or first[0] in now:
            await load.until(len(load.taken) + 1)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            counted = (await client.get("/metrics")).text
        os.kill(server.pid, signal.SIGTERM)
        assert await ended(server) == 0, (tmp_path / "log").read_text()
        await asyncio.wait_for(asyncio.gather(*writers), 60)
    assert load.statuses == {200}
    assert set(load.taken) <= await kept(database_url)
    assert 'selvedge_graphql_operations_total{kind="mutation",name="untrusted"}' in counted
    said = (tmp_path / "log").read_text()
    assert said.count("Selvedge answers at") == 1
    assert "Traceback" not in said
    assert not alive(now)


@linux
async def test_workers_do_not_outlive_their_parent(sqlite_url: str, tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, port, "--workers", "2", database_url=sqlite_url) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await until_ready(client, server, tmp_path)
        workers = children_of(server)
        server.kill()
        for _ in range(600):
            if not alive(workers):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"still there: {workers}")


@linux
async def test_workers_are_renewed_on_sighup_and_somebody_always_answers(sqlite_url: str, tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, port, "--workers", "2", database_url=sqlite_url) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await until_ready(client, server, tmp_path)
        while len(before := children_of(server)) < 2:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        os.kill(server.pid, signal.SIGHUP)
        answers = 0
        async with asyncio.timeout(60):
            while alive(before):
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                    assert (await client.get("/live")).status_code == 200
                answers += 1
                await asyncio.sleep(0.05)
        assert answers
        # one that ended stays among the children until the parent has asked how
        now = alive(children_of(server))
        assert len(now) == 2
        assert not set(now) & set(before)
        os.kill(server.pid, signal.SIGTERM)
        assert await ended(server) == 0, (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.postgres
async def test_more_connections_than_the_server_gives_are_refused_at_the_start(
    postgres_server: str, tmp_path: Path
) -> None:
    async with fresh_postgres(postgres_server) as url:
        with started(tmp_path, free_port(), "--workers", "64", database_url=url) as server:
            assert await ended(server) == 2
    said = (tmp_path / "log").read_text()
    assert "64 workers may open 704 connections" in said
    assert "the server gives 197" in said


@linux
async def test_what_is_being_answered_is_answered_before_the_server_stops_and_who_listens_is_told(
    database_url: str, tmp_path: Path
) -> None:
    """A write that waits for its turn when the server is told to stop, beside one who follows by each way."""
    await prepare(database_url)
    port = free_port()
    holding = open_engine(database_url)
    await holding.start()
    with started(tmp_path, port, "--workers", "2", database_url=database_url) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await until_ready(client, server, tmp_path)
            token = await sign_in(client)
            client.headers["authorization"] = f"Bearer {token}"
            record_id = new_id()
            body = {"query": WRITE, "variables": {"id": record_id, "input": {"title": "in time"}}}
            async with follow(port, token) as (socket, events):
                async with holding.write() as conn:
                    await conn.execute("UPDATE sync_clock SET seq = seq WHERE id = 1")
                    waiting = asyncio.ensure_future(client.post("/graphql", json=body))
                    async with asyncio.timeout(60):
                        while not IS_WORKING.search(await told(port)):  # noqa: ASYNC110 - another process
                            await asyncio.sleep(0.05)
                        server.send_signal(signal.SIGTERM)
                        while await accepts(port):  # noqa: ASYNC110 - another process
                            await asyncio.sleep(0.05)
                        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 - events come before it
                            while True:
                                await socket.recv()
                        async for _ in events:
                            pass
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code in {1001, 1012}
                    assert not waiting.done()
                answer = await waiting
        assert answer.json()["data"]["createTask"]["__typename"] == "TaskChanged"
        assert await ended(server) == 0, (tmp_path / "log").read_text()
    assert record_id in await kept(database_url)
    await holding.close()


IS_WORKING = re.compile(r"^selvedge_requests_working(?:\{[^}]*\})? 1\.0$", re.MULTILINE)
FOLLOW = "subscription { syncPoke { clock } }"


@asynccontextmanager
async def follow(port: int, token: str) -> AsyncIterator[tuple[ClientConnection, AsyncIterator[str]]]:
    """A websocket and an event stream of somebody who follows what is written, each with its first event heard."""
    address, protocols = f"127.0.0.1:{port}/graphql", [Subprotocol("graphql-transport-ws")]
    async with (
        httpx.AsyncClient(timeout=60) as client,
        connect(f"ws://{address}", subprotocols=protocols, open_timeout=60) as socket,
    ):
        await socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": FOLLOW}}))
        assert json.loads(await socket.recv())["type"] == "next"
        headers = {"authorization": f"Bearer {token}", "accept": "text/event-stream"}
        async with client.stream("POST", f"http://{address}/stream", json={"query": FOLLOW}, headers=headers) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "event: next"
            yield socket, lines


async def told(port: int) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        return (await client.get("/metrics")).text


async def accepts(port: int) -> bool:
    """Whether somebody new is let in."""
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await client.get("/live")
    except httpx.TransportError:
        return False
    return True
