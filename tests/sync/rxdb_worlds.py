"""The histories of `worlds.py` played to phones that run RxDB, and what each must then hold.

`RxPhone` keeps what that client keeps, by its own rules: a checkpoint is stored with the documents of a page and
never without; a run ends at the first page that is shorter than asked for; what comes of a record whose own write is
still on its way is left aside.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.errors import Refused
from backend.storage.engine import Engine
from backend.sync import rxdb
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import read_documents
from backend.sync.rxdb import Removed
from tests.factories import NOW_MS
from tests.sync.worlds import SECRET, Document, Key, Mismatch, World

ECHO_MS = 10_000
NAMES = ("customers", "contacts", "customerContacts", "visits", "tasks", "people", "territories")
OFTEN = ("customers", "customers", "customers", "contacts", "contacts", "customerContacts", "visits", "tasks", "people")
"""What is asked for, as often as it goes in and out of sight."""


@dataclass
class RxHeld:
    """One collection on one phone."""

    checkpoint: str | None = None
    documents: dict[str, Document] = field(default_factory=dict)


@dataclass
class RxPhone:
    principal: Principal
    held: dict[str, RxHeld] = field(default_factory=lambda: {name: RxHeld() for name in NAMES})
    waiting: dict[Key, int] = field(default_factory=dict)
    """(collection, id) → until when its own write is on the way, so that what comes of it is left aside"""
    missed: set[Key] = field(default_factory=set)
    """what was left aside and has not been told again yet"""


@dataclass
class RxAnswer:
    found: list[tuple[str, Document | None]]
    checkpoint: str
    limit: int
    expected: dict[str, Document]


class RxWorld(World):
    """The same organisation; its phones run RxDB."""

    def __init__(self, engine: Engine, rng: random.Random, *, deaf: bool) -> None:
        super().__init__(engine, rng)
        self.deaf = deaf
        self.now_ms = NOW_MS
        self.rx: list[RxPhone] = []

    async def begin(self) -> None:
        async with self.engine.write() as conn:
            for table in ("rxdb_kept", "rxdb_pushed"):
                await conn.execute(f"DELETE FROM {table}")
        await super().begin()
        self.rx = [RxPhone(phone.principal) for phone in self.phones]

    async def write(self) -> None:
        """One transaction; where phones are deaf, what one of them wrote is for a while not taken by it."""
        before = {key: dict(fields) for key, fields in self.model.records.items()}
        await super().write()
        if not self.deaf:
            return
        after = self.model.records
        changed = [key for key in {*before, *after} if before.get(key) != after.get(key) and key[0] in NAMES]
        phone = self.rng.choice(self.rx)
        async with self.engine.write() as conn:
            await conn.execute_many(
                "INSERT INTO rxdb_pushed (key, device_id, collection, record_id, at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET at = excluded.at",
                [
                    (f"{phone.principal.device_id}:{name}:{one}", phone.principal.device_id, name, one, self.now_ms)
                    for name, one in sorted(changed)
                ],
            )
        for key in changed:
            phone.waiting[key] = self.now_ms + self.rng.randint(0, ECHO_MS - 1)

    async def collect(self) -> None:
        """History of some days ago is forgotten, never that of the last seconds a deaf phone still needs."""
        if not self.deaf:
            await super().collect()

    async def ask_rx(self, phone: RxPhone, name: str) -> RxAnswer | None:
        """One request; None when the phone had to drop the collection."""
        held, limit = phone.held[name], self.rng.choice((1, 1, 1, 2, 2, 3, 5, 7))
        self.now_ms += self.rng.choice((0, 1, 500, 4_000))
        try:
            page, token = await rxdb.answer_pull(
                self.engine,
                phone.principal,
                name,
                held.checkpoint,
                limit,
                secret=SECRET,
                rows_max=1_000,
                echo_ms=ECHO_MS,
                retries_max=3,
                clock=lambda: self.now_ms,
                note_seconds=0,
            )
        except Refused as refused:
            if held.checkpoint is None or [p.code for p in refused.problems] != ["CURSOR_EXPIRED"]:
                raise
            self.trace.append("expired")
            phone.held[name] = RxHeld()
            phone.missed -= {key for key in phone.missed if key[0] == name}
            return None
        self.pulls += 1
        return self._read(phone, name, page.found, token, limit)

    def _read(self, phone: RxPhone, name: str, found: Any, token: str, limit: int) -> RxAnswer:
        owner = phone.principal.holder
        seen = {record_id for collection, record_id, _ in self.model.places(owner) if collection == name}
        told: list[tuple[str, Document | None]] = []
        for one in found:
            if isinstance(one, Removed):
                told.append((one.record_id, None))
                if one.record_id in seen:
                    raise Mismatch(f"said to be gone, though it is to be seen: {name}")
                if (name, one.record_id) not in self.once_seen[owner]:
                    raise Mismatch(f"named as gone: {name} this user never saw")
            else:
                told.append((one.record_id, orjson.loads(one.document)))
                if one.record_id not in seen:
                    raise Mismatch(f"sent {name} that is not to be seen")
        if len({record_id for record_id, _ in told}) != len(told):
            raise Mismatch(f"an id twice in one page of {name}")
        if len(told) > limit:
            raise Mismatch("more than was asked for")
        expected = {record_id: dict(self.model.records[name, record_id]) for record_id in seen}
        return RxAnswer(told, token, limit, expected)

    def apply_rx(self, phone: RxPhone, name: str, answer: RxAnswer) -> bool:
        """True when more is to be asked for. A run that ends must have brought everything."""
        held = phone.held[name]
        for record_id, document in answer.found:
            key = (name, record_id)
            if phone.waiting.get(key, 0) > self.now_ms:
                phone.missed.add(key)
                continue
            phone.missed.discard(key)
            if document is None:
                held.documents.pop(record_id, None)
            else:
                held.documents[record_id] = document
        if answer.found:
            held.checkpoint = answer.checkpoint
        if len(answer.found) == answer.limit:
            return True
        left_out = {record_id for collection, record_id in phone.missed if collection == name}
        self._compare(phone, name, answer.expected, left_out)
        return False

    def _compare(self, phone: RxPhone, name: str, expected: dict[str, Document], left_out: set[str]) -> None:
        held = phone.held[name].documents
        if more := held.keys() - expected.keys() - left_out:
            raise Mismatch(f"{phone.principal.role} holds too much of {name}: {sorted(more)}")
        if less := expected.keys() - held.keys() - left_out:
            raise Mismatch(f"{phone.principal.role} lacks of {name}: {sorted(less)}")
        for record_id in expected.keys() & held.keys() - left_out:
            fields = expected[record_id]
            if {one: held[record_id][one] for one in fields} != fields:
                raise Mismatch(f"{name} is held as it was, not as it is")

    async def run(self, phone: RxPhone, name: str) -> None:
        """Some requests of a run, which writes, lost answers and a dead battery interrupt."""
        for _ in range(self.rng.choice((1, 1, 2, 3, 8, 30))):
            answer = await self.ask_rx(phone, name)
            if self.rng.random() < 0.15:
                await self.write()
            if answer is None or self.rng.random() < 0.1:
                continue  # lost on the way: the very same is asked again
            if not self.apply_rx(phone, name, answer):
                return

    async def rest(self) -> None:
        """Everything becomes quiet, what was left aside is told again, and every phone holds the tables' very bytes."""
        self.now_ms += 2 * ECHO_MS
        async with self.engine.read() as conn:
            true = {name: await read_documents(conn, COLLECTIONS[name], self.model.of(name)) for name in NAMES}
        for phone in self.rx:
            for name in NAMES:
                for turn in range(2):
                    self.now_ms += ECHO_MS
                    for _ in range(300):
                        answer = await self.ask_rx(phone, name)
                        if answer is not None and not self.apply_rx(phone, name, answer):
                            break
                    else:
                        raise Mismatch("a run without end though nobody writes")
                    if turn and any(collection == name for collection, _ in phone.missed):
                        raise Mismatch(f"never told again: {[key for key in phone.missed if key[0] == name]}")
                for record_id, document in phone.held[name].documents.items():
                    if document != orjson.loads(true[name][record_id]):
                        raise Mismatch(f"{name} {record_id} differs from its tables")


async def play_rx(engine: Engine, seed: int, *, steps: int = 40, deaf: bool = False) -> RxWorld:
    """One history. Raises `Mismatch`, with the seed and what was done, when a phone goes wrong."""
    rng = random.Random(seed)
    world = RxWorld(engine, rng, deaf=deaf)
    await world.begin()
    awake = rng.sample(world.rx, 2)
    try:
        for _ in range(rng.randint(1, 4)):
            await world.write()
        for _ in range(steps):
            chance = rng.random()
            if chance < 0.36:
                await world.write()
            elif chance < 0.39:
                await world.collect()
            elif chance < 0.41:
                await world.back_up()
            elif chance < 0.42:
                await world.restore()
            else:
                await world.run(rng.choice(awake), rng.choice(OFTEN))
        await world.rest()
    except Mismatch as mismatch:
        raise Mismatch(f"seed {seed}: {mismatch}\n{' '.join(world.trace)}") from None
    return world
