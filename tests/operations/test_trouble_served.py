"""A database that goes away and comes back, a disk that fills up: what clients of a server are told meanwhile.

The server itself is never started anew.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic

import asyncpg
import httpx
import pytest

from backend.config import Settings
from backend.errors import Code, Retry
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.storage.steps import APPLICATION_NAME, STEPS_CHANNEL
from tests.databases import _control, fresh_postgres, fresh_sqlite
from tests.operations.test_workers import kept, prepare, sign_in
from tests.schema.test_sync import mutation
from tests.servers import Served, serve

WRITE = """
mutation ($id: ID!, $input: TaskInput!) {
  createTask(id: $id, input: $input) { __typename ... on Refusal { problems { code retry } } }
}
"""
PUSH = """
mutation ($mutations: [SyncMutation!]!) {
  syncPush(mutations: $mutations) {
    ... on SyncPushed { results { id status records { collection seq digest document } } }
    ... on Refusal { problems { code retry } }
  }
}"""
READ = "{ me { id } tasks(first: 5) { nodes { id } } }"
WRITERS = 3
AT_LEAST = 10
NOT_READY_SECONDS, READY_SECONDS = 5, 10
ANSWER_SECONDS_MAX = 15
PUSHED_WHEN_FULL = 40
PATIENCE_SECONDS = 60
"""For what has no promise of its own: whoever waits longer waits for what never comes."""


def settings_for(url: str, folder: Path) -> Settings:
    return Settings(
        database_url=url,
        data_dir=folder / "var",
        user_requests_per_minute=1_000_000,
        device_requests_per_minute=1_000_000,
        address_requests_per_minute=1_000_000,
    )


def problems_of(answer: httpx.Response) -> list[dict[str, str]]:
    """Of errors. One that carries none is a mistake of ours, and told whole."""
    errors = answer.json()["errors"]
    assert all("problems" in error["extensions"] for error in errors), answer.text
    return [each for error in errors for each in error["extensions"]["problems"]]


class Rep:
    """Somebody signed in, and what he was told."""

    def __init__(self, served: Served, token: str) -> None:
        self._served = served
        self._token = token
        self.taken: list[str] = []
        self.told: set[tuple[int, str]] = set()

    async def ask(self, document: str, **variables: object) -> httpx.Response:
        """Never waits longer than a client would."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await self._served.post(
                {"query": document, "variables": variables}, authorization=f"Bearer {self._token}"
            )

    async def write(self, record_id: str) -> bool:
        """Whether a task was taken; a refusal that does not say when to come again is none."""
        answer = await self.ask(WRITE, id=record_id, input={"title": "in trouble"})
        body = answer.json()
        if "errors" in body:
            found = problems_of(answer)
        elif body["data"]["createTask"]["__typename"] == "TaskChanged":
            self.taken.append(record_id)
            return True
        else:
            found = body["data"]["createTask"]["problems"]
        assert {each["retry"] for each in found} == {Retry.LATER.value}, answer.text
        assert int(answer.headers["retry-after"]) > 0
        self.told |= {(answer.status_code, each["code"]) for each in found}
        return False

    async def go_on(self, over: asyncio.Event) -> None:
        """Write one task after the other; one that was refused is sent again as it was."""
        while not over.is_set():
            record_id = new_id()
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                while not await self.write(record_id):  # noqa: ASYNC110 - nobody tells a client that it may come again
                    await asyncio.sleep(0.02)


class Phone(Rep):
    """Sends what it has not been given a receipt of, in its order, until it is given one."""

    def __init__(self, served: Served, token: str) -> None:
        super().__init__(served, token)
        self.waiting: list[dict[str, object]] = []
        self.receipts: dict[str, tuple[str, str]] = {}
        """by mutation: how it ended, and the document that was told with it"""
        self.recorded: set[str] = set()
        self._seq = 0

    def note(self, how_many: int) -> None:
        """Work done offline: as many tasks."""
        for _ in range(how_many):
            self._seq += 1
            record_id = new_id()
            self.recorded.add(record_id)
            self.waiting.append(mutation(self._seq, "task", record_id, {"title": "in trouble " * 10}))

    async def push(self) -> bool:
        """Whether everything that waited has a receipt now."""
        answer = await self.ask(PUSH, mutations=self.waiting)
        refused = self._refusals(answer)
        if refused:
            assert {each["retry"] for each in refused} == {Retry.LATER.value}, answer.text
            assert int(answer.headers["retry-after"]) > 0
            self.told |= {(answer.status_code, each["code"]) for each in refused}
        else:
            for found in answer.json()["data"]["syncPush"]["results"]:
                if found["status"] != "RETRY":
                    self.receipts[found["id"]] = found["status"], str(found["records"])
        self.waiting = [each for each in self.waiting if each["id"] not in self.receipts]
        return not self.waiting

    async def hears_the_same(self, pushed: list[dict[str, object]]) -> None:
        """What was pushed and taken, pushed again as it was: the same receipts."""
        first = {each["id"]: self.receipts[str(each["id"])] for each in pushed}
        assert {status for status, _ in first.values()} == {"APPLIED"}
        self.waiting = pushed
        self.receipts = {}
        assert await self.push()
        assert self.receipts == first

    def _refusals(self, answer: httpx.Response) -> list[dict[str, str]]:
        body = answer.json()
        if "errors" in body:
            return problems_of(answer)
        found: list[dict[str, str]] = body["data"]["syncPush"].get("problems", [])
        return found


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = PATIENCE_SECONDS) -> None:
    """Ask until it holds, within the seconds promised."""
    end = monotonic() + seconds
    while not await holds():
        assert monotonic() < end, f"not so within {seconds} s"
        await asyncio.sleep(0.02)


async def until_status(served: Served, status: int, seconds: float) -> None:
    async def answers() -> bool:
        return (await served.client.get("/ready")).status_code == status

    await until(answers, seconds)


async def until_taken(rep: Rep, more: int) -> None:
    wanted = len(rep.taken) + more

    async def reached() -> bool:
        return len(rep.taken) >= wanted

    await until(reached)


async def until_pokes_arrive(served: Served, url: str) -> None:
    """What another process commits is heard of, on a connection of the time after."""
    raw = await asyncpg.connect(url)
    poked = asyncio.Event()
    try:

        async def listens() -> bool:
            listening = await raw.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()"
                " AND query LIKE 'SELECT seq%'",
                APPLICATION_NAME,
            )
            return bool(listening)

        await until(listens, READY_SECONDS)

        async def follow() -> None:
            events = served.services.pokes.follow()
            clock = await anext(events)
            await raw.execute("UPDATE sync_clock SET seq = seq + 1 WHERE id = 1")
            await raw.execute(f"SELECT pg_notify('{STEPS_CHANNEL}', (SELECT seq::text FROM sync_clock))")
            assert await anext(events) > clock
            poked.set()
            await events.aclose()

        await asyncio.wait_for(follow(), READY_SECONDS)
    finally:
        await raw.close()
    assert poked.is_set()


@pytest.mark.postgres
async def test_postgresql_restarted_under_load_is_told_as_such_and_loses_nothing(
    own_server: tuple[str, Path], tmp_path: Path
) -> None:
    address, data = own_server
    async with fresh_postgres(address) as url:
        await prepare(url)
        async with serve(settings_for(url, tmp_path)) as served:
            rep = Rep(served, await sign_in(served.client))
            over = asyncio.Event()
            writers = [asyncio.ensure_future(rep.go_on(over)) for _ in range(WRITERS)]
            for how in ("fast", "immediate"):
                await until_taken(rep, AT_LEAST)
                rep.told.clear()
                await asyncio.to_thread(_control, data, "stop", "-m", how)
                await until_status(served, 503, NOT_READY_SECONDS)
                assert (await served.client.get("/live")).status_code == 200
                read = await rep.ask(READ)
                assert (read.status_code, read.headers["retry-after"]) in {(200, "5"), (503, "5")}
                assert {error["extensions"]["code"] for error in read.json()["errors"]} == {Code.UNAVAILABLE.value}

                async def was_told() -> bool:
                    return bool(rep.told)

                await until(was_told)
                await asyncio.to_thread(_control, data, "start", "-w", "-t", "60", "-l", str(data.parent / "log"))
                await until_status(served, 200, READY_SECONDS)
                await until_taken(rep, AT_LEAST)
                assert rep.told <= {(200, Code.UNAVAILABLE.value), (503, Code.UNAVAILABLE.value)}
            over.set()
            await asyncio.gather(*writers)
            await until_pokes_arrive(served, url)
            assert len(rep.taken) == len(set(rep.taken)) >= 4 * AT_LEAST
            assert set(rep.taken) <= await kept(url)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    stone = folder / "stone"
    with stone.open("wb", buffering=0) as out:
        try:
            while shutil.disk_usage(folder).free:
                out.write(b"\0" * 4_096)
        except OSError:
            pass
    return stone


async def test_a_full_disk_refuses_writes_serves_reads_and_recovers(
    sqlite_template: Path, disk: Path, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=12000000", str(disk)], check=True)  # noqa: ASYNC221 - nothing else runs yet
    url = fresh_sqlite(sqlite_template, disk)
    await fill_and_free(url, disk, tmp_path)
    engine = open_engine(url)
    await engine.start()
    async with engine.read() as conn:
        assert await conn.fetch("PRAGMA integrity_check") == [("ok",)]
    await engine.close()


@pytest.mark.postgres
async def test_a_full_disk_below_postgresql_refuses_writes_serves_reads_and_recovers(
    postgres_on_a_small_disk: tuple[str, Path], tmp_path: Path
) -> None:
    url, disk = postgres_on_a_small_disk
    await fill_and_free(url, disk, tmp_path)
    raw = await asyncpg.connect(url)
    try:
        await raw.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        await raw.execute(
            "SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid"
            " JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND c.relnamespace = 'public'::regnamespace"
        )
    finally:
        await raw.close()


async def fill_and_free(url: str, disk: Path, tmp_path: Path) -> None:
    """Writes are refused while nothing fits on the disk, and say when to come again; reads go on; nothing is lost."""
    await prepare(url)
    async with serve(settings_for(url, tmp_path)) as served:
        rep = Rep(served, await sign_in(served.client))
        phone = Phone(served, await sign_in(served.client))
        assert await rep.write(new_id())
        stone = fill(disk)
        while await rep.write(new_id()):
            assert len(rep.taken) < 1_000, "the disk is never full"
        refused_id = new_id()
        phone.note(PUSHED_WHEN_FULL)
        unsent = list(phone.waiting)
        for _ in range(3):
            assert not await rep.write(refused_id)
            found = (await rep.ask(READ)).json()
            assert "errors" not in found
            assert found["data"]["me"]["id"]
            assert not await phone.push()
            assert phone.waiting == unsent, "some of it was taken, and it is told as if not"
        assert rep.told == phone.told == {(200, Code.STORAGE_FULL.value)}
        assert (await served.client.get("/ready")).status_code == 200
        stone.unlink()
        assert await rep.write(refused_id)
        assert await phone.push()
        await phone.hears_the_same(unsent)
    assert set(rep.taken) | phone.recorded == await kept(url)
