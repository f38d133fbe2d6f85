"""Several processes on one port: one that is killed is replaced, and stopping under load loses nothing."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from backend.ids import new_id
from backend.storage.engine import open_engine
from tests import factories
from tests.databases import free_port
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
