"""A small organisation and its phones, over the same calls the API makes: no HTTP, no doubles."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from backend.auth.principal import Principal, Role
from backend.errors import Refused
from backend.storage.engine import Engine
from backend.sync.changes import Change, Intent, Outcome
from backend.sync.collections import COLLECTIONS
from backend.sync.digests import answer_digest
from backend.sync.protocol import answer_pull, answer_push
from backend.sync.push import Answer, Mutation, UseCaseTable
from backend.sync.work import Door, Work, open_work
from backend.wiring import USE_CASES
from mobile_contract.replica import KIND_OF, SCHEMA_VERSION, Document, Refusal, Replica
from tests.factories import NOW_MS, customer, device, insert, member, territory, user
from tests.sync.worlds import SECRET, page_json, pull_request, staff

LIMITS: Mapping[str, int] = {"rows_max": 1_000, "bytes_max": 2_000_000, "retries_max": 3}
COLLECTION_OF = {kind: collection for collection, kind in KIND_OF.items()}
NOON = "2026-01-01T12:00:00.000Z"


def mutation_of(sent: Document) -> Mutation:
    """A mutation as GraphQL hands it on."""
    ((kind, wish),) = sent["change"].items()
    return Mutation(
        id=sent["id"],
        client_seq=sent["clientSeq"],
        collection=COLLECTION_OF.get(kind, kind),
        record_id=wish["id"],
        base_rev=wish.get("baseRev"),
        fields=wish.get("set") or {},
        delete=bool(wish.get("delete")),
        group=sent.get("group"),
        captured_at_ms=sent.get("capturedAt"),
        base=wish.get("base"),
    )


def answer_json(answer: Answer) -> Document:
    return {
        "id": answer.mutation_id,
        "status": answer.status.value,
        "problems": [
            {"code": p.code.value, "path": list(p.path), "allowed": list(p.allowed), "retry": p.retry.value}
            for p in answer.problems
        ],
        "records": [
            {
                "collection": row.collection,
                "seq": row.seq,
                "digest": row.digest,
                "document": orjson.loads(row.document),
            }
            for row in answer.records
        ],
    }


@dataclass
class Line:
    """A phone's connection. `clock_ms` is the server's clock."""

    engine: Engine
    principal: Principal
    loop: asyncio.AbstractEventLoop
    table: UseCaseTable = field(default_factory=lambda: USE_CASES)
    clock_ms: int = NOW_MS
    pages: list[Document] = field(default_factory=list)

    async def ask(self, request: Document) -> Document:
        page = await answer_pull(
            self.engine, self.principal, pull_request(request), secret=SECRET, clock=lambda: self.clock_ms, **LIMITS
        )
        return page_json(page)

    async def hand_in(self, mutations: Sequence[Document]) -> list[Document]:
        _, answers = await answer_push(
            self.engine,
            self.principal,
            [mutation_of(sent) for sent in mutations],
            self.table,
            mutations_max=500,
            retries_max=3,
            clock=lambda: self.clock_ms,
        )
        return [answer_json(answer) for answer in answers]

    def pull(self, request: Document) -> Document:
        page: Document = self._wait(self.ask(request))
        self.pages.append(page)
        return page

    def push(self, mutations: list[Document]) -> list[Document]:
        answers: list[Document] = self._wait(self.hand_in(mutations))
        return answers

    def digest(self, scope: str, collection: str, buckets: int) -> list[Document]:
        found = self._wait(
            answer_digest(
                self.engine, self.principal, scope, collection, buckets,
                schema_version=SCHEMA_VERSION, schema_oldest=1, now_ms=self.clock_ms,
            )
        )  # fmt: skip
        return [{"bucket": one.bucket, "sum": one.total, "count": one.count} for one in found]

    def _wait(self, coroutine: Any) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()
        except Refused as refused:
            raise Refusal(refused.problems[0].code.value) from None


@dataclass
class Phone:
    line: Line
    replica: Replica = field(default_factory=Replica)

    async def sync(self) -> "Phone":
        await asyncio.to_thread(self.replica.sync, self.line)
        return self

    async def push(self) -> list[Document]:
        """One request with the whole queue; its answers are taken."""
        answers = await self.line.hand_in(self.replica.queue)
        self.replica.take_answers(answers)
        return answers

    def view(self, collection: str, record_id: str) -> Document:
        found = self.replica.view(collection, record_id)
        assert found is not None, f"{collection} {record_id} is not on the phone"
        return found

    def issues(self) -> list[Document]:
        return list(self.replica.views("syncIssues").values())


@dataclass
class Office:
    """Two patches under one root, a rep for each, their manager, an admin and a service agent."""

    engine: Engine
    root: str = ""
    east: str = ""
    west: str = ""
    rep: str = ""
    other_rep: str = ""
    manager: str = ""
    admin: str = ""
    agent: str = ""
    roles: dict[str, Role] = field(default_factory=dict)
    shops: list[str] = field(default_factory=list)
    """customers in the east"""
    now_ms: int = NOW_MS

    async def open(self, shops: int = 3) -> "Office":
        async with self.job() as work:
            conn = work.conn
            self.root = await territory(conn, "/r", kind="REGION")
            self.east = await territory(conn, "/r/east", parent_id=self.root)
            self.west = await territory(conn, "/r/west", parent_id=self.root)
            for node in (self.root, self.east, self.west):
                work.touched("territories", node)
            self.rep = await self._person(work, Role.REP, self.east)
            self.other_rep = await self._person(work, Role.REP, self.west)
            self.manager = await self._person(work, Role.MANAGER, self.root)
            self.admin = await self._person(work, Role.ADMIN)
            self.agent = await self._person(work, Role.SERVICE_AGENT)
            for number in range(shops):
                self.shops.append(await self.customer(work, self.east, f"Shop {number}"))
            work.reseat(self.roles)
        return self

    def job(self) -> Any:
        return open_work(self.engine, staff("system", None, Role.ADMIN), now_ms=NOW_MS, door=Door.JOB)

    def work(self, user_id: str, device_id: str | None = None) -> Any:
        """An online request of a colleague, a second after the one before."""
        self.now_ms += 1_000
        return open_work(self.engine, staff(user_id, device_id, self.roles[user_id]), now_ms=self.now_ms)

    async def _person(self, work: Work, role: Role, node: str | None = None) -> str:
        person = await user(work.conn, role=role.value)
        self.roles[person] = role
        work.touched("people", person)
        if node:
            await member(work.conn, node, person)
        return person

    async def customer(self, work: Work, at: str | None, name: str, **columns: Any) -> str:
        made = await customer(work.conn, name_en=name, territory_id=at, **columns)
        if at is not None:
            await insert(
                work.conn, "territory_assignment", id=made, customer_id=made, territory_id=at, valid_from=NOW_MS,
                source="HUMAN", assigned_by="system",
            )  # fmt: skip
        work.touched("customers", made)
        if columns.get("parent_id"):
            work.touched("customers", columns["parent_id"], ())
        return made

    async def phone(self, user_id: str, *, synced: bool = True) -> Phone:
        async with self.engine.write() as conn:
            device_id = await device(conn, user_id)
        principal = staff(user_id, device_id, self.roles[user_id])
        phone = Phone(Line(self.engine, principal, asyncio.get_running_loop()))
        return await phone.sync() if synced else phone

    async def online(self, user_id: str, collection: str, *changes: Change) -> list[Outcome]:
        """An online mutation: the same use case, a batch of its own."""
        async with self.work(user_id) as work:
            return await USE_CASES[collection, changes[0].intent](work, changes)

    async def rev(self, collection: str, record_id: str) -> int:
        rows = await self.rows("SELECT seq FROM feed WHERE key = ?", f"{collection}:{record_id}")
        return int(rows[0][0])

    async def patch(self, user_id: str, collection: str, record_id: str, **fields: object) -> Outcome:
        base = await self.rev(collection, record_id)
        (outcome,) = await self.online(user_id, collection, Change(record_id, Intent.PATCH, fields, base))
        return outcome

    async def rows(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        async with self.engine.read() as conn:
            return [tuple(row) for row in await conn.fetch(sql, *args)]

    async def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything users entered, to compare states."""
        names = sorted({c.table for c in COLLECTIONS.values()} | {"order_line"})
        return {name: sorted(await self.rows(f"SELECT * FROM {name}"), key=repr) for name in names}


def visit_fields(customer_id: str, **more: object) -> Document:
    return {"customerId": customer_id, "plannedAt": NOON, **more}
