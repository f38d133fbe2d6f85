"""Chaos over real HTTP: two server processes on one database, a faulty proxy, devices, and the reference model.

`python -m tests.chaos.run --database sqlite --seed 1 --steps 20000`, or `make chaos`. Steps are played in episodes of
a thousand, each with an organisation of its own and a judgement at rest; a violation names the episode's seed, and
`--seed` with it and `--steps 1000` plays that episode again.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.storage.engine import Engine, open_engine
from mobile_contract.replica import KIND_OF, Document, Refusal
from tests.chaos.faults import ONLINE, FaultPlan
from tests.chaos.model import Violation
from tests.chaos.proxy import Exchange, Proxy, Totals, body_of, request_bytes, send
from tests.chaos.rest import judge_at_rest
from tests.chaos.stage import build, empty
from tests.chaos.world import Device, Lost, World, collide, move_doors_at_once
from tests.databases import RunFolder, free_port, fresh_postgres, fresh_sqlite
from tests.schema.conftest import PASSWORD, PASSWORD_HASH

ROOT = Path(__file__).parents[2]
EPISODE_STEPS = 1_000
TOGETHER_MAX = 4
"""How many devices act at the same moment."""
KILLS_PER_EPISODE = 3
START_SECONDS_MAX = 180
LAST_ROUNDS = 4
HEALED_SECONDS_MAX = 30
"""How long after healing queues may take to be empty."""
BREATH_SECONDS = 0.05

SIGN_IN = """mutation SignIn($email: String!, $password: String!, $device: DeviceInput!) {
  signIn(email: $email, password: $password, device: $device) {
    __typename ... on Session { accessToken userId } ... on Refusal { problems { code } } } }"""
PULL = """query SyncPull($cursor: String, $limit: Int!, $schemaVersion: Int!, $refetch: [SyncRefetch!]!) {
  syncPull(cursor: $cursor, limit: $limit, schemaVersion: $schemaVersion, refetch: $refetch) {
    clock cursor complete scopesRemoved ackedMutation
    blocks { scope collection left rows { seq digest document } }
    checksums { scope collection sum count } } }"""
PUSH = """mutation SyncPush($mutations: [SyncMutation!]!, $deviceNow: DateTime, $schemaVersion: Int!) {
  syncPush(mutations: $mutations, deviceNow: $deviceNow, schemaVersion: $schemaVersion) {
    __typename
    ... on SyncPushed { results {
      id status problems { code path allowed } records { collection seq digest document } } }
    ... on Refusal { problems { code } } } }"""
OFFICE = {
    "move": """mutation Move($moves: [CustomerMove!]!) { done: moveCustomers(moves: $moves) {
      __typename ... on Refusal { problems { code path } } } }""",
    "grant": """mutation Grant($userId: ID!, $territoryId: ID!) {
      done: grantTerritory(userId: $userId, territoryId: $territoryId) {
      __typename ... on Refusal { problems { code path } } } }""",
    "revoke": """mutation Revoke($userId: ID!, $territoryId: ID!) {
      done: revokeTerritory(userId: $userId, territoryId: $territoryId) {
      __typename ... on Refusal { problems { code path } } } }""",
}
OFFICE |= {
    "merge": """mutation Merge($survivorId: ID!, $mergedIds: [ID!]!) {
      done: mergeCustomers(survivorId: $survivorId, mergedIds: $mergedIds) {
      __typename ... on RecordsMerged { mergeIds } ... on Refusal { problems { code path } } } }""",
    "undo": """mutation Undo($id: ID!) {
      done: undoMerge(id: $id) { __typename ... on Refusal { problems { code path } } } }""",
}
OFFICE |= {
    verb: f"""mutation {verb.title()}($id: ID!) {{
      done: {verb}(id: $id) {{ __typename ... on Refusal {{ problems {{ code path }} }} }} }}"""
    for verb in (f"restore{kind[0].upper()}{kind[1:]}" for kind in KIND_OF.values() if kind != "syncIssue")
}
ROOT_FIELD = {"SyncPull": "syncPull", "SyncPush": "syncPush", "SignIn": "signIn"}


def wall_ms() -> int:
    return int(time() * 1_000)


# -- the servers -----------------------------------------------------------------------------------------------------


@dataclass
class Servers:
    """Two processes on one database, each at its own port, killed and started again."""

    database_url: str
    folder: Path
    seed: int
    mutant: str | None = None
    ports: tuple[int, int] = (0, 0)
    killed: int = 0
    _processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _starting: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> "Servers":
        self.ports = free_port(), free_port()
        try:
            # the first makes the keys that both use
            for port in self.ports:
                self._start(port)
                await self.wait(port)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for starting in self._starting:
            starting.cancel()
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _start(self, port: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "SELVEDGE_DATABASE_URL": self.database_url,
            "SELVEDGE_DATA_DIR": str(self.folder),
            "SELVEDGE_LOG_LEVEL": "ERROR",
            "SELVEDGE_ACCESS_TOKEN_SECONDS": "3600",
            "SELVEDGE_POOL_CONNECTIONS_MAX": "8",
            "SELVEDGE_USER_REQUESTS_PER_MINUTE": "0",
            "SELVEDGE_DEVICE_REQUESTS_PER_MINUTE": "0",
            "CHAOS_STALLS": str(self.seed),
        }
        chosen = {"CHAOS_MUTANT": self.mutant} if self.mutant else {}
        log = (self.folder / f"server-{port}.log").open("ab")
        with log:
            self._processes[port] = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.server_worker", str(port)],
                cwd=Path.cwd() if (Path.cwd() / "tests" / "chaos").exists() else ROOT,
                env={**os.environ, **settings, **chosen},
                stdout=log,
                stderr=log,
            )

    async def wait(self, port: int) -> None:
        """Until the process answers."""
        began = monotonic()
        while await send(port, request_bytes("/live", None)) is None:
            if self._processes[port].poll() is not None or monotonic() - began > START_SECONDS_MAX:
                raise RuntimeError(f"a server did not start: {self.said(port)}")
            await asyncio.sleep(0.1)

    def said(self, port: int) -> str:
        return (self.folder / f"server-{port}.log").read_text()[-3_000:]

    def kill(self, port: int) -> bool:
        """kill −9, and another is started at once; false while another one is still starting."""
        if self._starting:
            return False
        process = self._processes[port]
        process.kill()
        process.wait()
        self.killed += 1
        self._start(port)
        starting = asyncio.ensure_future(self.wait(port))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return True

    async def wait_for_all(self) -> None:
        for port in self.ports:
            await self.wait(port)


# -- the line of a device --------------------------------------------------------------------------------------------


@dataclass
class HttpLine:
    """GraphQL through the proxy, with real sign-in."""

    port: int = 0
    users: dict[str, str] = field(default_factory=dict)
    """access token → user"""
    after_push: Callable[[], None] | None = None
    """called once, the moment the next push was answered"""

    async def sign_in(self, device: Device) -> None:
        variables = {
            "email": device.user.email,
            "password": PASSWORD,
            "device": {"id": device.id, "name": device.name, "platform": "ANDROID"},
        }
        found = await self._ask(device, "SignIn", SIGN_IN, variables, suffix=ONLINE)
        device.token = found["accessToken"]
        self.users[device.token] = device.user.id

    async def pull(self, device: Device, request: Document) -> Document:
        page: Document = await self._ask(device, "SyncPull", PULL, request)
        return page

    async def push(self, device: Device, mutations: list[Document], device_now: str) -> list[Document]:
        version = device.replica.schema_version
        variables = {"mutations": mutations, "deviceNow": device_now, "schemaVersion": version}
        found = await self._ask(device, "SyncPush", PUSH, variables)
        if self.after_push is not None:
            kill, self.after_push = self.after_push, None
            kill()
        results: list[Document] = found["results"]
        return results

    async def office(self, device: Device, verb: str, variables: Document) -> Document:
        done: Document = await self._ask(device, verb.title(), OFFICE[verb], variables, suffix=ONLINE)
        return done

    async def breathe(self) -> None:
        await asyncio.sleep(BREATH_SECONDS)

    async def _ask(
        self, device: Device, operation: str, document: str, variables: Document, *, suffix: str = ""
    ) -> Any:
        device.tried += 1
        body = json.dumps({"operationName": operation, "query": document, "variables": variables}).encode()
        name = f"{device.name}/{device.tried}{suffix}"
        answer = await send(self.port, request_bytes("/graphql", body, token=device.token or None, name=name))
        if answer is None:
            raise Lost("no answer")
        found = json.loads(body_of(answer))
        if found.get("errors"):
            raise Refusal(found["errors"][0].get("extensions", {}).get("code", found["errors"][0]["message"]))
        value = found["data"][ROOT_FIELD.get(operation, "done")]
        if value.get("__typename") == "Refusal":
            raise Refusal(value["problems"][0]["code"])
        return value


class Witness:
    """Sees every answer a server gave, heard or not, and has the world judge it."""

    def __init__(self, world: World, line: HttpLine) -> None:
        self.world, self.line = world, line
        self.failures = 0

    def __call__(self, exchange: Exchange) -> None:
        head, _, body = exchange.request.partition(b"\r\n\r\n")
        sent = json.loads(body)
        answer = json.loads(body_of(exchange.answer))
        codes = [error.get("extensions", {}).get("code") for error in answer.get("errors") or []]
        if "INTERNAL" in codes:
            self.world.accuse(Violation(f"the server stumbled: {answer['errors']} over {sent['operationName']}"))
        operation, token = sent["operationName"], _token_of(head)
        user = self.world.scope.users.get(self.line.users.get(token, ""))
        if user is None or answer.get("errors"):
            return
        try:
            if operation == "SyncPull":
                page = answer["data"]["syncPull"]
                self.world.see_pull(user, page, exchange.asked_at, exchange.answered_at)
            elif operation == "SyncPush" and "results" in answer["data"]["syncPush"]:
                results = answer["data"]["syncPush"]["results"]
                self.world.see_push(user, results, exchange.asked_at, exchange.answered_at)
                self._stumbled(results)
        except Violation as violation:
            self.world.accuse(violation)

    def _stumbled(self, results: Sequence[Document]) -> None:
        for answer in results:
            if any(problem["code"] == "INTERNAL" for problem in answer["problems"]):
                raise Violation(f"a mutation made the server stumble: {answer}")


def _token_of(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"authorization: bearer "):
            return line.split()[-1].decode()
    return ""


# -- an episode ------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What some episodes came to."""

    steps: int = 0
    episodes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    carried: Totals = field(default_factory=Totals)
    killed: int = 0
    healed_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0


async def episode(
    servers: Servers,
    engine: Engine,
    seed: int,
    steps: int,
    outcome: Outcome,
    on_step: Callable[[int], None],
    *,
    line: HttpLine | None = None,
    witness: Callable[[World, HttpLine], Callable[[Exchange], None]] = Witness,
    proxy_kind: type[Proxy] = Proxy,
    kills_count: int = KILLS_PER_EPISODE,
) -> None:
    """One organisation, `steps` steps, healing, and the judgement. Raises `Violation` with seed, step and trace."""
    await empty(engine)
    scope, devices, shelf = await build(engine, seed, wall_ms, PASSWORD_HASH)
    loop = asyncio.get_running_loop()
    line = line or HttpLine()
    world = World(seed, line, scope, devices, shelf, loop.time, wall_ms)
    plan = FaultPlan(seed)
    dice = random.Random(f"{seed}/order")
    kills = {dice.randrange(steps) for _ in range(kills_count)} if steps >= 100 else set()
    async with proxy_kind(servers.ports, plan, observe=witness(world, line)) as proxy:
        line.port = proxy.port
        try:
            await _play(world, servers, proxy, dice, steps, kills, on_step)
            healed = await _heal(world, servers, proxy, plan)
            outcome.healed_seconds.append(healed)
            outcome.judged.update(await judge_at_rest(world, engine))
        except Violation as violation:
            world.accuse(violation)
            raise world.told() from None
        finally:
            outcome.carried.add(proxy)
            outcome.counts.update(world.counts)
    outcome.episodes += 1


async def _play(
    world: World,
    servers: Servers,
    proxy: Proxy,
    dice: random.Random,
    steps: int,
    kills: set[int],
    on_step: Callable[[int], None],
) -> None:
    line = world.line
    assert isinstance(line, HttpLine)
    while world.at_step < steps:
        acting = dice.sample(world.devices, min(dice.randint(1, TOGETHER_MAX), steps - world.at_step))
        chosen = [(device, world.choose(dice, device)) for device in acting]
        for device, _ in chosen:
            device.busy = True
        before, world.at_step = world.at_step, world.at_step + len(chosen)
        if kills & set(range(before, world.at_step)):
            port = dice.choice(servers.ports)
            if dice.random() < 0.5:
                # the moment an answer is out, whatever it promised must stand
                line.after_push = lambda: _kill(world, servers, proxy.answered_by)
            else:
                asyncio.get_running_loop().call_later(dice.random() * 0.05, _kill, world, servers, port)
        await asyncio.gather(*(_one(world, device, step) for device, step in chosen))
        on_step(world.at_step - before)
        if world.violation is not None:
            raise world.violation


def _kill(world: World, servers: Servers, port: int) -> None:
    if servers.kill(port):
        world.note(f"kill -9 of server {servers.ports.index(port)}")


async def _one(world: World, device: Device, step: Any) -> None:
    try:
        await world.play(device, step)
    finally:
        device.busy = False


async def _heal(world: World, servers: Servers, proxy: Proxy, plan: FaultPlan) -> float:
    """The network is well again: how many seconds until every queue is empty."""
    line = world.line
    assert isinstance(line, HttpLine)
    line.after_push = None
    await servers.wait_for_all()
    plan.heal()
    began = monotonic()
    await asyncio.gather(*(_empty_queue(world, device) for device in world.devices))
    healed = monotonic() - began
    if healed > HEALED_SECONDS_MAX:
        raise Violation(f"queues were empty only {healed:.0f} s after healing")
    await proxy.quiet()
    await _last_minute(world)
    await world.settle()
    if world.violation is not None:
        raise world.violation
    return healed


async def _last_minute(world: World) -> None:
    """Everybody at once, once more: what goes wrong between two writers now, nobody's later writing repairs."""
    admin = next(device for device in world.devices if device.user.role == "ADMIN")
    await world.sync(admin)
    for _ in range(LAST_ROUNDS):
        acting = [world.play(admin, move_doors_at_once) for _ in range(2)]
        acting += [world.play(device, collide) for device in world.devices[:2]]
        await asyncio.gather(*acting)


async def _empty_queue(world: World, device: Device) -> None:
    while device.replica.queue:
        try:
            await world.push(device)
        except Lost:
            await world.line.breathe()
        if world.violation is not None:
            raise world.violation


# -- a run -----------------------------------------------------------------------------------------------------------


async def run(
    database_url: str,
    seed: int,
    steps: int,
    folder: Path,
    *,
    mutant: str | None = None,
    on_step: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Episodes on a migrated database, with one pair of server processes."""
    outcome = Outcome()
    began = monotonic()
    engine = open_engine(database_url)
    await engine.start()
    try:
        async with Servers(database_url, folder, seed, mutant) as servers:
            try:
                while outcome.steps < steps:
                    now = min(EPISODE_STEPS, steps - outcome.steps)
                    await episode(servers, engine, seed + outcome.episodes, now, outcome, on_step)
                    outcome.steps += now
            except Violation as violation:
                said = "\n".join(servers.said(port)[-1_500:] for port in servers.ports)
                raise Violation(f"{violation}\n{said}") from None
            finally:
                outcome.killed = servers.killed
    finally:
        await engine.close()
        outcome.seconds = monotonic() - began
    return outcome


@asynccontextmanager
async def database(kind: str, folder: RunFolder) -> AsyncIterator[str]:
    """A migrated database of this run's own."""
    if kind == "sqlite":
        yield fresh_sqlite(await asyncio.to_thread(folder.sqlite_template), folder.path)
    else:
        server = await asyncio.to_thread(folder.postgres_url)
        async with fresh_postgres(server) as url:
            yield url


def told(kind: str, seed: int, outcome: Outcome) -> str:
    """What a run came to, for people."""
    carried = outcome.carried
    faults = {name: count for name, count in sorted(carried.fates.items()) if name != "NONE"}
    slowest = max(outcome.healed_seconds, default=0.0)
    return (
        f"{kind}: seed {seed}, {outcome.steps:,} steps in {outcome.episodes} episodes, {outcome.seconds:.0f} s,"
        f" no violation\n"
        f"  {carried.requests:,} requests, {carried.bytes_up:,} bytes up, {carried.bytes_down:,} bytes down,"
        f" {outcome.killed} kill -9, queues empty {slowest:.1f} s after healing at the latest\n"
        f"  faults {faults}\n"
        f"  did    {dict(sorted(outcome.counts.items()))}\n"
        f"  judged {dict(sorted(outcome.judged.items()))}\n"
    )


async def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"), action="append")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CHAOS_SEED", "1")))
    parser.add_argument("--steps", type=int, default=int(os.environ.get("CHAOS_STEPS", "20000")))
    parser.add_argument("--mutant")
    given = parser.parse_args(arguments)
    folder = RunFolder.begin()
    try:
        for kind in given.database or ["sqlite", "postgres"]:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns) as progress, tempfile.TemporaryDirectory() as data:
                bar = progress.add_task(f"chaos, {kind}, seed {given.seed}", total=given.steps)
                async with database(kind, folder) as url:
                    outcome = await run(
                        url,
                        given.seed,
                        given.steps,
                        Path(data),
                        mutant=given.mutant,
                        on_step=lambda steps, progress=progress, bar=bar: progress.advance(bar, steps),  # type: ignore[misc]
                    )
            sys.stdout.write(told(kind, given.seed, outcome))
    except Violation as violation:
        sys.stdout.write(f"VIOLATION {violation}\n")
        return 1
    finally:
        folder.end()
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
