"""A server process and a client of the first release go on working across a migration, beside those of today.

The first release is the tree of a commit of this repository's history, run as it was. Where the history does not
reach back so far (a shallow clone), `tests/sync/test_versions.py` still plays two versions of the declarations; here
the test is skipped, with the reason.
"""

import asyncio
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.times import instant_text
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.storage.migrate import migrate
from backend.sync.doctor import check_feed
from backend.sync.rebuild import rebuild_feed
from mobile_contract import replica as present
from tests.schema.conftest import PASSWORD, SIGN_IN
from tests.servers import serve

ROOT = Path(__file__).parents[2]
RELEASE_ONE = "a2356407608e8f3a5df3f6373a146d7e3c77d80d"
"""The last commit of schema version 1."""
STARTING_SECONDS_MAX = 60
Answer = dict[str, Any]


@pytest.fixture(scope="session")
def release_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the first release."""
    packed = subprocess.run(
        ["git", "archive", RELEASE_ONE, "backend", "mobile_contract", "pyproject.toml"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        pytest.skip(f"the history does not reach {RELEASE_ONE}: {packed.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("release_one")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database nobody has migrated yet."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path / 'old.sqlite3'}"
        return
    server = request.getfixturevalue("postgres_server")
    yield asyncio.run(_empty_postgres(server))


async def _empty_postgres(server: str) -> str:
    name = f"old_{new_id().replace('-', '')[-16:]}"
    raw = await asyncpg.connect(f"{server}/postgres")
    try:
        await raw.execute(f"CREATE DATABASE {name}")
    finally:
        await raw.close()
    return f"{server}/{name}"


@dataclass(frozen=True)
class Settled:
    """A database in the shape of the first release, with a company that release made; `shared` are the settings all
    processes of the deployment have."""

    url: str
    shared: dict[str, str]
    ids: dict[str, str]


@pytest.fixture
def settled(release_one: Path, empty_database: str, tmp_path: Path) -> Settled:
    shared = {
        "DATABASE_URL": empty_database,
        "DATA_DIR": str(tmp_path / "data"),
        "CURSOR_SECRET": "shared by all processes of a deployment",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("release_one.py")), empty_database],
        cwd=release_one,
        env=environment(release_one, shared),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return Settled(empty_database, shared, json.loads(done.stdout.decode().splitlines()[-1]))


def environment(tree: Path, settings: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), **{f"SELVEDGE_{name}": text for name, text in settings.items()}}


@asynccontextmanager
async def old_server(tree: Path, settings: dict[str, str]) -> AsyncIterator[str]:
    """The first release, serving; yields its address."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "backend", "serve", "--port", str(port)),
        cwd=tree,
        env=environment(tree, settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(STARTING_SECONDS_MAX):
            while not _listens(port):
                assert process.returncode is None, "the server of the first release ended"
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def old_replica(tree: Path) -> ModuleType:
    """The reference client of the first release."""
    spec = importlib.util.spec_from_file_location("release_one_replica", tree / "mobile_contract" / "replica.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Phone:
    """A phone with its own client code and operations, speaking to whichever server it is pointed at."""

    replica: Any
    contract: Path
    http: httpx.AsyncClient
    token: str = ""
    refetched: int = 0
    sent: list[tuple[str, str]] = field(default_factory=list)

    async def sign_in(self, server: str, email: str) -> None:
        device = {"id": new_id(), "name": "a phone", "platform": "ANDROID"}
        answer = await self._say(server, SIGN_IN, {"email": email, "password": PASSWORD, "device": device})
        self.token = answer["data"]["signIn"]["accessToken"]

    async def _say(self, server: str, document: str, variables: Answer) -> Answer:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        body = {"query": document, "variables": variables}
        answer: Answer = (await self.http.post(f"{server}/graphql", json=body, headers=headers)).json()
        return answer

    def _operation(self, name: str) -> str:
        return (self.contract / "operations" / f"{name}.graphql").read_text()

    async def pull(self, server: str) -> None:
        """Until complete and equal; `sent` is what came, `refetched` how often a checksum differed."""
        self.sent, self.refetched = [], 0
        for _ in range(30):
            request = self.replica.pull_request()
            answer = await self._say(server, self._operation("syncPull"), request)
            assert "errors" not in answer, answer["errors"]
            page = answer["data"]["syncPull"]
            self.sent += [(b["collection"], row["document"]["id"]) for b in page["blocks"] for row in b["rows"]]
            assert self.replica.apply(request, page)
            if page["complete"] and not self.replica.refetch:
                return
            self.refetched += bool(page["complete"])
        raise AssertionError("never complete and equal")

    async def refused(self, server: str) -> Answer:
        answer = await self._say(server, self._operation("syncPull"), self.replica.pull_request())
        extensions: Answer = answer["errors"][0]["extensions"]
        return extensions

    async def push(self, server: str) -> list[str]:
        variables = {"mutations": self.replica.queue, "deviceNow": instant_text(wall_clock_ms())}
        answer = await self._say(server, self._operation("syncPush"), variables)
        assert "errors" not in answer, answer["errors"]
        results = answer["data"]["syncPush"]["results"]
        self.replica.take_answers(results)
        return [result["status"] for result in results]

    def field(self, name: str, record_id: str) -> object:
        return self.replica.documents["visits", record_id].get(name, "absent")


@pytest.mark.requirement("R4")
async def test_a_process_and_a_client_of_the_first_release_work_on_across_the_migration(
    release_one: Path, settled: "Settled"
) -> None:
    ids, shared = settled.ids, settled.shared
    visit, other = ids["visit"], ids["other"]
    settings = Settings(
        database_url=settled.url,
        data_dir=Path(shared["DATA_DIR"]),
        cursor_secret=SecretStr(shared["CURSOR_SECRET"]),
    )
    async with httpx.AsyncClient(timeout=30) as http:
        old = Phone(old_replica(release_one).Replica(limit=3), release_one / "mobile_contract", http)
        new = Phone(present.Replica(limit=3), ROOT / "mobile_contract", http)
        async with old_server(release_one, shared) as before:
            await old.sign_in(before, "wei@haizhi.example")
            await old.pull(before)
            assert old.field("acceptedLateAt", visit) == "absent"

            await migrate(settled.url)  # while the process of the first release serves
            await old.pull(before)
            assert (old.sent, old.refetched) == ([], 0)

            async with serve(settings) as served:
                after = f"http://127.0.0.1:{served.port}"
                await new.sign_in(after, "manager@haizhi.example")
                await new.pull(after)
                assert new.refetched == 0
                assert new.field("acceptedLateAt", visit) is None
                await old.pull(after)
                assert (old.sent, old.refetched) == ([], 0), (
                    "the client of before is told nothing new, nor anything false"
                )
                # a client of today that comes to the process of before is refused as a whole, and loses nothing
                assert (await new.refused(before))["code"] == "BAD_REQUEST"
                same = Phone(present.Replica(), release_one / "mobile_contract", http, new.token)
                [problem] = (await same.refused(before))["problems"]
                assert (problem["code"], problem["allowed"]) == ("UPGRADE_REQUIRED", ["1"])

                # what the process of before writes, the client of today sees with the declared default
                made = new_id()
                old.replica.edit("visits", made, {"customerId": ids["shop"], "plannedAt": "2026-12-01T08:00:00.000Z"})
                old.replica.edit("visits", visit, {"nextStep": "by the old"})
                assert await old.push(before) == ["APPLIED", "APPLIED"]
                await new.pull(after)
                assert new.refetched == 0
                assert {record_id for _, record_id in new.sent} >= {made, visit}
                assert (new.field("nextStep", visit), new.field("acceptedLateAt", made)) == ("by the old", None)

                # what the process of today writes, the client of before sees by either
                new.replica.edit("visits", other, {"minutesPlanned": 45})
                assert await new.push(after) == ["APPLIED"]
                await old.pull(before)
                assert old.field("minutesPlanned", other) == 45
                await old.pull(after)
                # the process of before passed on a document it did not understand; it is set right by its checksum
                assert old.refetched <= 1
                assert old.field("acceptedLateAt", other) == "absent"
                old.replica.edit("visits", other, {"nextStep": "by the old, at the new"})
                assert await old.push(after) == ["APPLIED"]
                await old.pull(after)
                assert old.refetched == 0

                # and the one writes what the other wrote, in turns
                old.replica.edit("visits", other, {"nextStep": "and at the old"})
                assert await old.push(before) == ["APPLIED"]
                await new.pull(after)
                assert (new.field("nextStep", other), new.field("minutesPlanned", other)) == ("and at the old", 45)
                assert new.refetched == 0

        # the process of before is gone: now documents are rebuilt
        async with serve(settings) as served:
            after = f"http://127.0.0.1:{served.port}"
            await old.pull(after)
            engine = open_engine(settled.url)
            await engine.start()
            try:
                report = await check_feed(engine)
                assert (report.drifted, report.behind > 0) == (0, True)
                system = Principal(PrincipalKind.STAFF, user_id=new_id(), role=Role.ADMIN)
                rebuilt = await rebuild_feed(engine, system, clock=wall_clock_ms, retries_max=3, batch_rows=2)
                assert rebuilt.touched == 0
                assert rebuilt.reprinted >= 2
                assert (await check_feed(engine)).counts == {}
            finally:
                await engine.close()
            for phone in (old, new):
                await phone.pull(after)
                assert (phone.sent, phone.refetched) == ([], 0)
            old.replica.edit("visits", visit, {"nextStep": "still here"})
            assert await old.push(after) == ["APPLIED"]
            await new.pull(after)
            assert new.field("nextStep", visit) == "still here"
