"""The whole of it in one process, with nothing left to chance: clock, ids, dice, network and storage are handed in.

The same seed gives the same trace to the last byte, so a failure can be looked at as often as one likes:
`python -m tests.chaos.simulation --seed N --steps M`. A crash abandons the engine in the middle of a transaction, or
between the commit and the answer, and another is opened on the same file.
"""

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from backend import ids
from backend.auth.principal import Principal, PrincipalKind, Role
from backend.domain.territories import Move
from backend.domain.times import parse_instant
from backend.errors import Refused
from backend.storage.migrate import migrate
from backend.sync import work as work_module
from backend.sync.changes import Change, Intent
from backend.sync.protocol import answer_pull, answer_push
from backend.sync.push import Answer, Mutation
from backend.sync.work import Work, in_work
from backend.usecases.merges import merge_records, undo_merge
from backend.usecases.territories import grant_territory, move_customers, revoke_territory
from backend.wiring import USE_CASES
from mobile_contract.replica import KIND_OF, Document, Refusal
from tests.chaos.faults import ONLINE, REPLAY_AFTER_REQUESTS, Fault, FaultPlan
from tests.chaos.model import User, Violation
from tests.chaos.rest import judge_at_rest
from tests.chaos.stage import build
from tests.chaos.world import Device, Lost, World
from tests.factories import device as insert_device
from tests.sync.worlds import InlineSqliteEngine, page_json, pull_request

BEGAN_MS = 1_795_320_000_000
SECRET = b"the simulation's"
STEP_MS_MAX = 400_000
CRASHES = 0.02
"""Of the requests that reach the server, how many it does not survive."""
CRASHES_AT_COMMIT = 0.4
"""How many of these come right after a commit; the others at any statement."""
STATEMENTS_MAX = 60
COLLECTION_OF = {kind: collection for collection, kind in KIND_OF.items()}
RESTORED_BY = {f"restore{kind[0].upper()}{kind[1:]}": collection for kind, collection in COLLECTION_OF.items()}


class Crashed(BaseException):
    """The process is gone; no handler of its own ran."""


class _MortalConnection:
    """A raw connection that dies at a given statement, and then does nothing any more."""

    def __init__(self, raw: Any, life: "_Life") -> None:
        self._raw, self._life = raw, life

    async def execute_fetchall(self, sql: str, args: Sequence[Any] = ()) -> list[Any]:
        self._life.spend()
        found: list[Any] = await self._raw.execute_fetchall(sql, args)
        return found

    def execute(self, sql: str, args: Sequence[Any] = ()) -> Any:
        self._life.spend()
        return self._raw.execute(sql, args)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Any:
        self._life.spend()
        return self._raw.executemany(sql, rows)

    async def commit(self) -> None:
        self._life.spend()
        await self._raw.commit()
        self._life.spend_commit()

    async def rollback(self) -> None:
        if not self._life.over:
            await self._raw.rollback()

    async def close(self) -> None:
        await self._raw.close()


@dataclass
class _Life:
    """How many statements a server has left; None is for ever."""

    left: int | None = None
    commits: int | None = None
    """how many commits it has left; it dies right after the last"""
    over: bool = False

    def spend_commit(self) -> None:
        if self.commits is not None:
            self.commits -= 1
            if self.commits <= 0:
                self.over = True
                raise Crashed

    def spend(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.over = True
        if self.over:
            raise Crashed


class MortalEngine(InlineSqliteEngine):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.life = _Life()

    async def _open(self, *, read_only: bool) -> Any:
        return _MortalConnection(await super()._open(read_only=read_only), self.life)


@dataclass(frozen=True, slots=True)
class _Request:
    """What went over the wire: enough to be answered again, later."""

    kind: str
    user: User
    device_id: str
    body: Any


@dataclass
class Network:
    """The servers and everything between them and the devices, as function calls in one order."""

    engine: MortalEngine
    plan: FaultPlan
    dice: random.Random
    wall_ms: Callable[[], int]
    passing: Callable[[], None]
    """lets the time of one request pass"""
    world: World | None = None
    sent: int = 0
    crashes: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    trace: Any = field(default_factory=hashlib.sha256)
    late: list[tuple[int, _Request]] = field(default_factory=list)
    registered: set[str] = field(default_factory=set)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    # -- the line of a device

    async def sign_in(self, device: Device) -> None:
        async with self.turn:
            if device.id not in self.registered:
                self.engine.life.left = self.engine.life.commits = None
                async with self.engine.write() as conn:
                    await insert_device(conn, device.user.id, id=device.id)
                self.registered.add(device.id)
        device.token = device.id

    async def pull(self, device: Device, request: Document) -> Document:
        page: Document = await self._send(device, "pull", request)
        return page

    async def push(self, device: Device, mutations: list[Document], device_now: str) -> list[Document]:
        answers: list[Document] = await self._send(
            device, "push", (mutations, device_now, device.replica.schema_version)
        )
        return answers

    async def office(self, device: Device, verb: str, variables: Document) -> Document:
        done: Document = await self._send(device, verb, variables)
        return done

    async def breathe(self) -> None:
        return None

    # -- on the way

    async def _send(self, device: Device, kind: str, body: Any) -> Any:
        device.tried += 1
        request = _Request(kind, device.user, device.id, orjson.loads(orjson.dumps(body)))
        online = "" if kind in ("pull", "push") else ONLINE
        fault, dice = self.plan.draw(f"{device.name}/{device.tried}{online}")
        self.sent += 1
        self.fates[fault.value] += 1
        await self._replay_what_is_due()
        if fault in (Fault.DROP_BEFORE, Fault.CUT_REQUEST):
            raise Lost(fault.value)
        if fault is Fault.LATE_REPLAY:
            self.late.append((self.sent + dice.randint(*REPLAY_AFTER_REQUESTS), request))
        if fault in (Fault.TWICE, Fault.TWICE_AT_ONCE):
            await self._swallowed(request)
        answer = await self._serve(request)
        if fault in (Fault.DROP_AFTER, Fault.CUT_ANSWER):
            raise Lost(fault.value)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def _replay_what_is_due(self) -> None:
        due = [request for at, request in self.late if at <= self.sent]
        self.late = [(at, request) for at, request in self.late if at > self.sent]
        for request in due:
            self.fates["REPLAYED_LATE"] += 1
            await self._swallowed(request)

    async def quiet(self) -> None:
        """Whatever was kept for a late replay arrives now."""
        late, self.late = self.late, []
        for _, request in late:
            await self._swallowed(request)

    async def _swallowed(self, request: _Request) -> None:
        """An answer nobody hears."""
        try:
            await self._serve(request)
        except Lost:
            return

    # -- the server

    async def _serve(self, request: _Request) -> Any:
        """The answer as the server gives it, a refusal too. Requests take turns: their order is the seed's."""
        async with self.turn:
            return await self._serve_one(request)

    async def _serve_one(self, request: _Request) -> Any:
        """Sometimes the server does not live to answer."""
        assert self.world is not None
        began = self.world.now()
        self.passing()
        dying = not self.plan.healthy and self.dice.random() < CRASHES
        at_commit = dying and self.dice.random() < CRASHES_AT_COMMIT
        self.engine.life.left = self.dice.randrange(STATEMENTS_MAX) if dying and not at_commit else None
        self.engine.life.commits = 1 if at_commit else None
        try:
            answer = await self._answer(request)
            if dying:
                raise Crashed  # it had done everything, and the answer was not out yet
        except Crashed:
            await self._start_again()
            self._trace("crash", request.kind)
            raise Lost("the server died") from None
        except Refused as refused:
            answer = Refusal(refused.problems[0].code.value)
        self._trace(request.kind, request.device_id, request.body, _sayable(answer))
        if not isinstance(answer, Refusal):
            if request.kind == "pull":
                self.world.see_pull(request.user, answer, began, self.world.now())
            elif request.kind == "push":
                self.world.see_push(request.user, answer, began, self.world.now())
        return answer

    def _trace(self, *what: object) -> None:
        self.trace.update(orjson.dumps(what, option=orjson.OPT_SORT_KEYS))

    async def _start_again(self) -> None:
        """What was not committed is gone with the process."""
        self.crashes += 1
        url = self.engine.url
        await self.engine.close()
        self.engine = MortalEngine(url)
        await self.engine.start()

    async def _answer(self, request: _Request) -> Any:
        principal = Principal(
            PrincipalKind.STAFF, user_id=request.user.id, device_id=request.device_id, role=Role(request.user.role)
        )
        match request.kind:
            case "pull":
                page = await answer_pull(
                    self.engine, principal, pull_request(request.body), secret=SECRET, rows_max=1_000,
                    bytes_max=200_000, retries_max=3, clock=self.wall_ms,
                )  # fmt: skip
                return page_json(page)
            case "push":
                mutations, device_now, version = request.body
                _, answers = await answer_push(
                    self.engine,
                    principal,
                    [mutation_of(sent) for sent in mutations],
                    USE_CASES,
                    mutations_max=500,
                    retries_max=3,
                    clock=self.wall_ms,
                    device_now_ms=parse_instant(device_now),
                    schema_version=version,
                )
                return [answer_json(answer) for answer in answers]
            case verb:
                return await self._office(principal, verb, request.body)

    async def _office(self, principal: Principal, verb: str, body: Document) -> Document:
        async def story(work: Work) -> object:
            match verb:
                case restoring if restoring in RESTORED_BY:
                    change = Change(body["id"], Intent.RESTORE)
                    (outcome,) = await USE_CASES[RESTORED_BY[verb], Intent.RESTORE](work, [change])
                    if outcome.problems:
                        raise Refused(*outcome.problems)
                    return None
                case "move":
                    moves = [Move(move["customerId"], move["territoryId"]) for move in body["moves"]]
                    return await move_customers(work, moves)
                case "grant":
                    return await grant_territory(work, body["userId"], body["territoryId"])
                case "revoke":
                    return await revoke_territory(work, body["userId"], body["territoryId"])
                case "merge":
                    return await merge_records(work, "customers", body["survivorId"], body["mergedIds"])
                case "undo":
                    return await undo_merge(work, body["id"])
                case _:
                    raise ValueError(verb)

        done, _ = await in_work(self.engine, principal, story, clock=self.wall_ms, retries_max=3)
        return {"done": done, "mergeIds": done if verb == "merge" else []}


def mutation_of(sent: Document) -> Mutation:
    """A mutation as GraphQL hands it on."""
    ((kind, wish),) = sent["change"].items()
    return Mutation(
        id=sent["id"],
        client_seq=sent["clientSeq"],
        collection=COLLECTION_OF[kind],
        record_id=wish["id"],
        base_rev=wish.get("baseRev"),
        fields=wish.get("set") or {},
        delete=bool(wish.get("delete")),
        group=sent.get("group"),
        captured_at_ms=parse_instant(sent["capturedAt"]) if sent.get("capturedAt") else None,
        base=wish.get("base"),
        restore=bool(wish.get("restore")),
    )


def answer_json(answer: Answer) -> Document:
    return {
        "id": answer.mutation_id,
        "status": answer.status.value,
        "problems": [{"code": p.code.value, "path": list(p.path), "allowed": list(p.allowed)} for p in answer.problems],
        "records": [
            {"collection": r.collection, "seq": r.seq, "digest": r.digest, "document": orjson.loads(r.document)}
            for r in answer.records
        ],
    }


def _sayable(answer: Any) -> Any:
    return {"refused": answer.code} if isinstance(answer, Refusal) else answer


class _SeededIds:
    """What `backend.ids` asks for new ids, with its own dice; they sort by the simulated time like real ones."""

    def __init__(self, dice: random.Random, wall_ms: Callable[[], int]) -> None:
        self._dice, self._wall_ms = dice, wall_ms

    def uuid7(self) -> uuid.UUID:
        low = 0b10 << 62 | self._dice.getrandbits(62)
        return uuid.UUID(int=self._wall_ms() << 80 | 0x7 << 76 | self._dice.getrandbits(12) << 64 | low)


async def _no_pause(_seconds: float) -> None:
    return None


@contextmanager
def nothing_left_to_chance(seed: int, wall_ms: Callable[[], int]) -> Iterator[None]:
    """The two places where the product asks for chance: new ids, and the pause before a write is tried again."""
    kept = ids.uuid_utils, work_module.random, work_module.sleep
    ids.uuid_utils = _SeededIds(random.Random(f"{seed}/ids"), wall_ms)  # type: ignore[assignment]
    work_module.random = random.Random(f"{seed}/pauses")  # type: ignore[assignment]
    work_module.sleep = _no_pause  # type: ignore[assignment]
    try:
        yield
    finally:
        ids.uuid_utils, work_module.random, work_module.sleep = kept  # type: ignore[assignment]


@dataclass
class Told:
    """What a run came to."""

    seed: int
    steps: int
    digest: str
    counts: Counter[str]
    fates: Counter[str]
    crashes: int
    judged: dict[str, int]
    seconds: float


async def simulate(url: str, seed: int, steps: int, *, on_step: Callable[[int], None] | None = None) -> Told:
    """One episode on a migrated, empty database. Raises `Violation` with the seed, the step and a trace."""
    began = perf_counter()
    dice = random.Random(f"{seed}/order")
    wall, watch = [BEGAN_MS], [0.0]

    def now() -> float:
        watch[0] += 1
        return watch[0]

    def passing() -> None:
        wall[0] += dice.randrange(1, 2_000)

    with nothing_left_to_chance(seed, lambda: wall[0]):
        engine = MortalEngine(url)
        await engine.start()
        scope, devices, shelf = await build(engine, seed, lambda: wall[0], "none")
        network = Network(engine, FaultPlan(seed), random.Random(f"{seed}/crashes"), lambda: wall[0], passing)
        world = network.world = World(seed, network, scope, devices, shelf, now, lambda: wall[0])
        try:
            for at in range(steps):
                world.at_step = at
                wall[0] += dice.randrange(STEP_MS_MAX)
                device = dice.choice(devices)
                await world.play(device, world.choose(dice, device))
                if world.violation is not None:
                    raise world.told()
                if on_step is not None:
                    on_step(at)
            judged = await _come_to_rest(world, network)
        except Violation as violation:
            if world.violation is None:
                world.accuse(violation)
                raise world.told() from None
            raise
        finally:
            await network.engine.close()
    return Told(
        seed, steps, network.trace.hexdigest(), world.counts, network.fates, network.crashes, judged,
        perf_counter() - began,
    )  # fmt: skip


async def _come_to_rest(world: World, network: Network) -> dict[str, int]:
    network.plan.heal()
    await network.quiet()
    await world.settle()
    if world.violation is not None:
        raise world.told()
    judged = await judge_at_rest(world, network.engine)
    for device in sorted(world.devices, key=lambda d: d.name):
        documents = sorted((key, document) for key, document in device.replica.documents.items())
        network.trace.update(orjson.dumps(documents, option=orjson.OPT_SORT_KEYS))
    return judged


def run(seed: int, steps: int, on_step: Callable[[int], None] | None = None) -> Told:
    """A simulation on a throw-away file."""
    with tempfile.TemporaryDirectory(prefix="selvedge-simulation-") as folder:
        url = f"sqlite://{Path(folder) / 'simulated.sqlite3'}"
        asyncio.run(migrate(url))
        return asyncio.run(simulate(url, seed, steps, on_step=on_step))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2_000)
    given = parser.parse_args(arguments)
    try:
        told = run(given.seed, given.steps)
    except Violation as violation:
        sys.stdout.write(f"VIOLATION {violation}\n")
        return 1
    sys.stdout.write(
        f"seed {told.seed}, {told.steps} steps in {told.seconds:.1f} s ({told.steps / told.seconds:.0f}/s),"
        f" {told.crashes} crashes\nfaults  {dict(sorted(told.fates.items()))}\n"
        f"did     {dict(sorted(told.counts.items()))}\njudged  {told.judged}\ntrace   {told.digest}\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
