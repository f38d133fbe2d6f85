"""Random histories of an organisation in the field, and what each device must then hold.

`Model` is the reference: it knows who holds what and what stands where *now*, and nothing of seq, intervals or
cursors. `World` plays a history against the product and compares at every complete pull. A failing history is
told by its seed: `play(engine, seed)` repeats it.
"""

import copy
import random
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.errors import Refused
from backend.storage.engine import BUSY_TIMEOUT_MS, Engine, SqliteEngine
from backend.sync.at_once import pull_at_once
from backend.sync.buckets import check_bucket
from backend.sync.collect import history_up_to, remove_some, set_horizon
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import read_documents
from backend.sync.pull import Page, PullRequest, Refetch, SumsKept, pull
from backend.sync.work import Door, Work, open_work
from mobile_contract.replica import Document, Key, Place, Replica
from tests.factories import FIRST_SEQ, NOW_MS, customer, device, insert, member, territory, user

SECRET = b"a secret for cursors"
BYTES_MAX = 2_000_000
COLLECTED_AT_ONCE = 3
TABLES = (
    "customer", "contact", "customer_contact", "visit", "task", "sales_order", "order_line", "customer_score",
    "score_line", "user_account", "device", "territory", "territory_member", "territory_assignment", "feed",
    "feed_scope", "user_scope", "scope_sum", "receipt", "sync_issue", "audit_entry",
)  # fmt: skip
WORD = re.compile(r"Word\d+")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MAY_NAME_UNSEEN = frozenset({"parentId", "customerId", "contactId"})
"""Fields that may name a row its reader does not see."""


class Mismatch(AssertionError):
    """A device holds what it must not, or lacks what it must have."""


class _InlineCursor:
    async def __aenter__(self) -> "_InlineCursor":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


class _Inline:
    """SQLite without a thread of its own: the same statements on the same file, several times as fast."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    async def execute_fetchall(self, sql: str, args: Sequence[Any] = ()) -> list[Any]:
        return self.raw.execute(sql, args).fetchall()

    def execute(self, sql: str, args: Sequence[Any] = ()) -> _InlineCursor:
        self.raw.execute(sql, args)
        return _InlineCursor()

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> _InlineCursor:
        self.raw.executemany(sql, rows)
        return _InlineCursor()

    async def commit(self) -> None:
        self.raw.execute("COMMIT")

    async def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    async def close(self) -> None:
        self.raw.close()


class InlineSqliteEngine(SqliteEngine):
    async def _open(self, *, read_only: bool) -> Any:
        raw = sqlite3.connect(self.path, isolation_level=None, cached_statements=500, check_same_thread=False)
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=OFF", "cache_size=-32000"):
            raw.execute(f"PRAGMA {pragma}")
        if read_only:
            raw.execute("PRAGMA query_only=1")
        return _Inline(raw)


@asynccontextmanager
async def fast_engine(url: str) -> AsyncIterator[Engine]:
    engine: Engine = InlineSqliteEngine(url)
    await engine.start()
    yield engine
    await engine.close()


# -- the reference ----------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What is true now. `records`: (collection, id) → the fields the history wrote."""

    patches: list[str]
    reps: list[str]
    manager: str
    held: set[tuple[str, str]] = field(default_factory=set)
    records: dict[Key, Document] = field(default_factory=dict)

    def of(self, collection: str) -> list[str]:
        return [record_id for name, record_id in self.records if name == collection]

    def scopes(self, user_id: str) -> set[str]:
        scopes = {"organisation", "catalogue", f"user:{user_id}"}
        if user_id == self.manager:
            scopes |= {f"{kind}:{patch}" for kind in ("territory", "tasks") for patch in self.patches}
            scopes |= {"unassigned", "unassigned_tasks"}
            return scopes | {f"user:{rep}" for rep in self.reps if any(u == rep for u, _ in self.held)}
        mine = [patch for rep, patch in self.held if rep == user_id]
        return scopes | {f"{kind}:{patch}" for kind in ("territory", "tasks") for patch in mine}

    def where(self, customer_id: str) -> str:
        at = self.records["customers", customer_id]["territoryId"]
        return f"territory:{at}" if at else "unassigned"

    def stands(self, collection: str, record_id: str) -> set[str]:
        """Every scope a record stands in."""
        fields = self.records[collection, record_id]
        match collection:
            case "people" | "territories":
                return {"organisation"}
            case "customers":
                doors = [d for d in self.of("customers") if self.records["customers", d]["parentId"] == record_id]
                return {self.where(record_id)} | {self.where(door) for door in doors} - {"unassigned"}
            case "contacts":
                links = [self.records["customerContacts", link] for link in self.of("customerContacts")]
                at = {self.where(link["customerId"]) for link in links if link["contactId"] == record_id}
                return at or {f"user:{fields['createdBy']}"}
            case "tasks":
                at = {self.where(fields["customerId"])} if fields["customerId"] else set()
                at = {"unassigned_tasks" if one == "unassigned" else f"tasks:{one.partition(':')[2]}" for one in at}
                return at | {f"user:{fields['assigneeId']}"}
            case _:
                return {self.where(fields["customerId"])}

    def places(self, user_id: str) -> set[Place]:
        mine = self.scopes(user_id)
        return {(*key, scope) for key in self.records for scope in self.stands(*key) & mine}


# -- one device -------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    request: Document
    page: Document
    expected: set[Place]
    contents: dict[Key, Document]


@dataclass
class Phone:
    principal: Principal
    replica: Replica = field(default_factory=Replica)
    waiting: list[Asked] = field(default_factory=list)
    damaged: bool = False


def staff(user_id: str, device_id: str | None, role: Role) -> Principal:
    return Principal(PrincipalKind.STAFF, user_id=user_id, device_id=device_id, role=role)


def pull_request(request: Document) -> PullRequest:
    wishes = tuple(
        Refetch(wish["scope"], wish["collection"], check_bucket(wish.get("bucket"), wish.get("buckets")))
        for wish in request["refetch"]
    )
    return PullRequest(request["cursor"], request["limit"], request["schemaVersion"], wishes, request.get("bytesMax"))


def page_json(page: Page) -> Document:
    """A page as GraphQL sends it."""
    return {
        "clock": page.clock,
        "cursor": page.cursor,
        "complete": page.complete,
        "blocks": [
            {
                "scope": block.scope,
                "collection": block.collection,
                "rows": [
                    {"seq": row.seq, "digest": row.digest, "document": orjson.loads(row.document)} for row in block.rows
                ],
                "left": list(block.left),
            }
            for block in page.blocks
        ],
        "scopesRemoved": list(page.scopes_removed),
        "ackedMutation": page.acked_mutation,
        "checksums": [
            {"scope": c.scope, "collection": c.collection, "sum": c.total, "count": c.count, "buckets": c.buckets}
            for c in page.checksums
        ],
    }


class World:
    """An organisation of two reps (one with two phones) and their manager, with three patches under one root."""

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        self.engine, self.rng = engine, rng
        self.model = Model([], [], "")
        self.phones: list[Phone] = []
        self.words = 0
        self.word_of: dict[str, Key] = {}
        self.once_seen: dict[str, set[Key]] = {}
        self.once_held: dict[str, set[str]] = {}
        self.trace: list[str] = []
        self.pulls = 0
        self.sums, self.at_once = SumsKept(), 0
        """what is remembered of those who pulled, and how many pulls one statement answered"""
        self.backup: tuple[dict[str, list[Any]], Model] = ({}, self.model)

    def id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def word(self, *key: str) -> str:
        self.words += 1
        self.word_of[f"Word{self.words}"] = (key[0], key[1])
        return f"Word{self.words}"

    async def begin(self) -> None:
        rng = self.rng
        async with self.engine.write() as conn:
            for table in TABLES:
                await conn.execute(f"DELETE FROM {table}")
            await conn.execute("UPDATE sync_clock SET seq = ?, horizon = 0", FIRST_SEQ)
        async with open_work(self.engine, staff("", None, Role.ADMIN), now_ms=NOW_MS, door=Door.JOB) as work:
            conn, model = work.conn, self.model
            root = await territory(conn, "/r", id=self.id(), kind="REGION")
            model.patches = [
                await territory(conn, f"/r/{n}", id=self.id(), parent_id=root, kind="PATCH") for n in range(3)
            ]
            for patch in [root, *model.patches]:
                self._wrote(work, "territories", patch, {}, new=True)
            model.manager = await self._person(work, Role.MANAGER)
            await member(conn, root, model.manager)
            model.reps = [await self._person(work, Role.REP) for _ in range(2)]
            for rep in model.reps:
                for patch in rng.sample(model.patches, rng.randint(0, 2)):
                    await self._seat(work, rep, patch)
            for owner, role in [(model.manager, Role.MANAGER), *((r, Role.REP) for r in [*model.reps, model.reps[0]])]:
                principal = staff(owner, await device(conn, owner, id=self.id()), role)
                self.phones.append(Phone(principal))
            work.reseat([model.manager, *model.reps])
        self._remember()
        await self.back_up()

    async def _person(self, work: Work, role: Role) -> str:
        person = self.id()
        name = self.word("people", person)
        await user(work.conn, id=person, role=role.value, name=name)
        self._wrote(work, "people", person, {"name": name}, new=True)
        return person

    def _wrote(self, work: Work, collection: str, record_id: str, fields: Document, *, new: bool = False) -> None:
        work.touched(collection, record_id, None if new else list(fields))
        self.model.records.setdefault((collection, record_id), {}).update(fields)

    async def _seat(self, work: Work, rep: str, patch: str) -> None:
        await member(work.conn, patch, rep)
        self.model.held.add((rep, patch))
        work.reseat([rep, self.model.manager])

    def _remember(self) -> None:
        for owner in [self.model.manager, *self.model.reps]:
            self.once_seen.setdefault(owner, set()).update(p[:2] for p in self.model.places(owner))
            self.once_held.setdefault(owner, set()).update(self.model.scopes(owner))

    # -- writes ---------------------------------------------------------------------------------------------

    async def write(self) -> None:
        """One transaction of one to five changes: all share one seq."""
        phone = self.rng.choice(self.phones)
        async with open_work(self.engine, phone.principal, now_ms=NOW_MS, door=Door.JOB) as work:
            for _ in range(self.rng.choice((1, 1, 2, 5))):
                change = self.rng.choices(CHANGES, WEIGHTS)[0]
                self.trace.append(change.__name__)
                await change(self, work)
        self._remember()

    def _pick(self, collection: str) -> str | None:
        found = self.model.of(collection)
        return self.rng.choice(found) if found else None

    async def make_customer(self, work: Work) -> None:
        patch = self.rng.choice([*self.model.patches, None])
        heads = [c for c in self.model.of("customers") if self.model.records["customers", c]["parentId"] is None]
        parent = self.rng.choice(heads) if heads and self.rng.random() < 0.4 else None
        made = self.id()
        name = self.word("customers", made)
        await customer(work.conn, id=made, name_en=name, territory_id=patch, parent_id=parent)
        self._wrote(work, "customers", made, {"nameEn": name, "territoryId": patch, "parentId": parent}, new=True)
        self._touch_head(work, made)

    def _touch_head(self, work: Work, customer_id: str) -> None:
        head = self.model.records["customers", customer_id]["parentId"]
        if head is not None:
            work.touched("customers", head, ())

    async def edit_customers(self, work: Work) -> None:
        found = self.model.of("customers")
        for chosen in self.rng.sample(found, min(len(found), self.rng.choice((1, 1, 8)))):
            name = self.word("customers", chosen)
            await work.conn.execute("UPDATE customer SET name_en = ? WHERE id = ?", name, chosen)
            self._wrote(work, "customers", chosen, {"nameEn": name})

    async def touch_for_nothing(self, work: Work) -> None:
        if chosen := self._pick("customers"):
            work.touched("customers", chosen, ())

    async def move_customer(self, work: Work) -> None:
        if (chosen := self._pick("customers")) is None:
            return
        patch = self.rng.choice([*self.model.patches, None])
        for table, column in (
            ("customer", "id"),
            ("customer_contact", "customer_id"),
            ("visit", "customer_id"),
            ("task", "customer_id"),
        ):
            await work.conn.execute(f"UPDATE {table} SET territory_id = ? WHERE {column} = ?", patch, chosen)
        self._wrote(work, "customers", chosen, {"territoryId": patch})
        self._touch_head(work, chosen)
        for collection, record_id in self._hanging_on(chosen):
            work.touched(collection, record_id, ())

    def _hanging_on(self, customer_id: str) -> list[Key]:
        keys = [key for key, fields in self.model.records.items() if fields.get("customerId") == customer_id]
        links = [self.model.records[key] for key in keys if key[0] == "customerContacts"]
        return keys + [("contacts", link["contactId"]) for link in links]

    async def drop_customer(self, work: Work) -> None:
        chosen = self._pick("customers")
        if chosen is None or self.rng.random() < 0.5:
            return
        for collection, record_id in self._hanging_on(chosen):
            if collection == "contacts":
                work.touched(collection, record_id, ())
            else:
                await self._delete(work, collection, record_id)
        self._touch_head(work, chosen)
        await self._delete(work, "customers", chosen)
        for door in self.model.of("customers"):
            if self.model.records["customers", door]["parentId"] == chosen and self.rng.random() < 0.5:
                # the other half keep naming a head that is gone
                await work.conn.execute("UPDATE customer SET parent_id = NULL WHERE id = ?", door)
                self._wrote(work, "customers", door, {"parentId": None})

    async def _delete(self, work: Work, collection: str, record_id: str) -> None:
        await work.conn.execute(f"DELETE FROM {COLLECTIONS[collection].table} WHERE id = ?", record_id)
        work.deleted(collection, record_id)
        del self.model.records[collection, record_id]

    async def make_contact(self, work: Work) -> None:
        made, creator = self.id(), self.rng.choice(self.model.reps)
        name = self.word("contacts", made)
        await insert(
            work.conn, "contact", id=made, name_en=name, channels="{}", consent_events="[]", search_keys="",
            sort_key="", created_at=NOW_MS, created_by=creator,
        )  # fmt: skip
        self._wrote(work, "contacts", made, {"nameEn": name, "createdBy": creator}, new=True)
        if self.rng.random() < 0.8:
            await self.link(work, made)

    async def link(self, work: Work, contact_id: str | None = None) -> None:
        contact_id, chosen = contact_id or self._pick("contacts"), self._pick("customers")
        if contact_id is None or chosen is None:
            return
        made = self.id()
        await insert(
            work.conn, "customer_contact", id=made, customer_id=chosen, contact_id=contact_id, role="BUYER",
            territory_id=self.model.records["customers", chosen]["territoryId"], is_primary=False, created_at=NOW_MS,
        )  # fmt: skip
        self._wrote(work, "customerContacts", made, {"customerId": chosen, "contactId": contact_id}, new=True)
        work.touched("contacts", contact_id, ())

    async def unlink(self, work: Work) -> None:
        if (chosen := self._pick("customerContacts")) is not None:
            contact_id = self.model.records["customerContacts", chosen]["contactId"]
            await self._delete(work, "customerContacts", chosen)
            work.touched("contacts", contact_id, ())

    async def edit_contact(self, work: Work) -> None:
        if (chosen := self._pick("contacts")) is not None:
            name = self.word("contacts", chosen)
            await work.conn.execute("UPDATE contact SET name_en = ? WHERE id = ?", name, chosen)
            self._wrote(work, "contacts", chosen, {"nameEn": name})

    async def make_visit(self, work: Work) -> None:
        if (chosen := self._pick("customers")) is None:
            return
        made = self.id()
        notes = self.word("visits", made)
        await insert(
            work.conn, "visit", id=made, customer_id=chosen, rep_id=self.model.reps[0], notes=notes,
            territory_id=self.model.records["customers", chosen]["territoryId"], state="PLANNED", purpose="SELL",
            verification="UNVERIFIED", happens_at=NOW_MS, created_at=NOW_MS, created_by=self.model.reps[0],
        )  # fmt: skip
        self._wrote(work, "visits", made, {"customerId": chosen, "notes": notes}, new=True)

    async def make_task(self, work: Work) -> None:
        made, assignee = self.id(), self.rng.choice(self.model.reps)
        chosen = self._pick("customers") if self.rng.random() < 0.6 else None
        at = self.model.records["customers", chosen]["territoryId"] if chosen else None
        title = self.word("tasks", made)
        await insert(
            work.conn, "task", id=made, customer_id=chosen, assignee_id=assignee, territory_id=at, title=title,
            state="OPEN", priority="NORMAL", due_sort=NOW_MS, source="HUMAN", created_at=NOW_MS, created_by=assignee,
        )  # fmt: skip
        fields = {"customerId": chosen, "assigneeId": assignee, "title": title}
        self._wrote(work, "tasks", made, fields, new=True)

    async def give_task(self, work: Work) -> None:
        if (chosen := self._pick("tasks")) is not None:
            assignee = self.rng.choice(self.model.reps)
            await work.conn.execute("UPDATE task SET assignee_id = ? WHERE id = ?", assignee, chosen)
            self._wrote(work, "tasks", chosen, {"assigneeId": assignee})

    async def drop_task(self, work: Work) -> None:
        if (chosen := self._pick("tasks")) is not None:
            await self._delete(work, "tasks", chosen)

    async def give_patch(self, work: Work) -> None:
        rep, patch = self.rng.choice(self.model.reps), self.rng.choice(self.model.patches)
        if (rep, patch) not in self.model.held:
            await self._seat(work, rep, patch)

    async def take_patch(self, work: Work) -> None:
        if self.model.held:
            rep, patch = self.rng.choice(sorted(self.model.held))
            await work.conn.execute(
                "UPDATE territory_member SET valid_to = ? WHERE user_id = ? AND territory_id = ? AND valid_to IS NULL",
                NOW_MS,
                rep,
                patch,
            )
            self.model.held.remove((rep, patch))
            work.reseat([rep, self.model.manager])

    # -- the house's own jobs -------------------------------------------------------------------------------

    async def collect(self) -> None:
        """Forget history up to a horizon, as far as devices lag behind or further."""
        self.trace.append("collect")
        async with self.engine.write() as conn:
            ((clock, horizon),) = await conn.fetch("SELECT seq, horizon FROM sync_clock")
            horizon = max(horizon, clock - self.rng.randint(0, 6))
            await set_horizon(conn, horizon)
            for wanted in history_up_to(horizon).values():
                while await remove_some(conn, wanted, COLLECTED_AT_ONCE) == COLLECTED_AT_ONCE:
                    pass

    async def back_up(self) -> None:
        async with self.engine.read() as conn:
            tables = {table: await conn.fetch(f"SELECT * FROM {table}") for table in (*TABLES, "sync_clock")}
        self.backup = tables, copy.deepcopy(self.model)

    async def restore(self) -> None:
        """The database of some time ago comes back, what was written since is lost, and an epoch begins."""
        self.trace.append("restore")
        tables, model = self.backup
        self.model = copy.deepcopy(model)
        async with self.engine.write() as conn:
            ((clock,),) = await conn.fetch("SELECT seq FROM sync_clock")
            for table, rows in tables.items():
                await conn.execute(f"DELETE FROM {table}")
                if rows:
                    marks = ", ".join("?" for _ in rows[0])
                    await conn.execute_many(f"INSERT INTO {table} VALUES ({marks})", [tuple(row) for row in rows])
            await conn.execute("UPDATE sync_clock SET seq = ?", (clock // FIRST_SEQ + 1) * FIRST_SEQ)

    # -- reads ----------------------------------------------------------------------------------------------

    async def ask(self, phone: Phone) -> None:
        phone.replica.limit = self.rng.randint(1, 7)
        bytes_max = self.rng.choice((BYTES_MAX, BYTES_MAX, 1_500))
        request = phone.replica.pull_request()
        at_once = await self._at_once(phone, pull_request(request), bytes_max)
        try:
            async with self.engine.read() as conn:
                page = await pull(conn, phone.principal, pull_request(request), secret=SECRET, bytes_max=bytes_max)
        except Refused as refused:
            self._same(at_once, refused.problems)
            self._expire(phone, refused)
            return
        self._same(at_once, page)
        self.pulls += 1
        # what he held is remembered sometimes only, so that it is older than what he holds, too
        if self.sums.scopes_held(phone.principal.holder) is None or self.pulls % 3 == 0:
            self.sums.hold_scopes(phone.principal.holder, page.held)
        owner = phone.principal.holder
        expected = self.model.places(owner)
        contents = {place[:2]: dict(self.model.records[place[:2]]) for place in expected}
        asked = Asked(request, page_json(page), expected, contents)
        self._check_page(owner, asked, phone.replica.limit if bytes_max == BYTES_MAX else None)
        phone.waiting.append(asked)

    async def _at_once(self, phone: Phone, request: PullRequest, bytes_max: int) -> object:
        """What one statement says of a pull: a page, problems, or nothing."""
        try:
            return await pull_at_once(
                self.engine, phone.principal, request, secret=SECRET, bytes_max=bytes_max, sums=self.sums
            )
        except Refused as refused:
            return refused.problems

    def _same(self, at_once: object, told: object) -> None:
        """A pull by one statement says what the usual one says, or leaves it to that."""
        if at_once is not None:
            self.at_once += 1
            if at_once != told:
                raise Mismatch(f"by one statement: {at_once}, else: {told}")

    def _expire(self, phone: Phone, refused: Refused) -> None:
        if phone.replica.cursor is None or [p.code for p in refused.problems] != ["CURSOR_EXPIRED"]:
            raise refused
        self.trace.append("expired")
        phone.replica.expire()
        phone.waiting.clear()

    def _check_page(self, owner: str, asked: Asked, rows_wanted: int | None) -> None:
        """Nothing invisible is in it, and it is full while more exists."""
        page, seen = asked.page, {place[:2] for place in asked.expected}
        said = 0
        for block in page["blocks"]:
            scope, collection = block["scope"], block["collection"]
            rows = [row["document"].get("id") for row in block["rows"]]
            said += len(rows) + len(block["left"])
            for record_id in rows:
                if (collection, record_id, scope) not in asked.expected:
                    raise Mismatch(f"sent {collection} of {scope}, where it does not stand or who may not see it")
            if not {(collection, record_id) for record_id in block["left"]} <= self.once_seen[owner]:
                raise Mismatch(f"named as left of {scope}: {collection} this user never saw")
            if set(rows) & set(block["left"]):
                raise Mismatch("one block both brings and takes an id")
            if asked.request["cursor"] is None and block["left"]:
                raise Mismatch("a first page names what left")
        if not set(page["scopesRemoved"]) <= self.once_held[owner]:
            raise Mismatch("a scope never held is said to be lost")
        text = orjson.dumps(page).decode()
        for word in set(WORD.findall(text)):
            key = self.word_of[word]
            if key not in seen or word not in asked.contents[key].values():
                raise Mismatch(f"{word} of {key} is not to be seen, or no longer")
        if not set(UUID.findall(orjson.dumps(_without_references(page)).decode())) <= self._known_ids(owner):
            raise Mismatch("an id that was never visible")
        if not page["complete"] and (said != rows_wanted if rows_wanted else said == 0):
            raise Mismatch(f"a page of {said} rows although more exists")

    def _known_ids(self, owner: str) -> set[str]:
        scopes = {scope.partition(":")[2] for scope in self.once_held[owner]}
        return {record_id for _, record_id in self.once_seen[owner]} | scopes

    def apply(self, phone: Phone, asked: Asked) -> None:
        replica = phone.replica
        if not replica.apply(asked.request, asked.page) or not asked.page["complete"]:
            return
        if replica.refetch:
            if not phone.damaged:
                raise Mismatch(f"checksums differ though nothing was damaged: {replica.refetch}")
            return
        phone.damaged = False
        if replica.places != asked.expected:
            more, less = replica.places - asked.expected, asked.expected - replica.places
            raise Mismatch(f"{phone.principal.role}: holds too much {sorted(more)}, lacks {sorted(less)}")
        for key, fields in asked.contents.items():
            held = replica.documents[key]
            if {name: held[name] for name in fields} != fields:
                raise Mismatch(f"{key} is held as it was, not as it is")
        if replica.documents.keys() != asked.contents.keys() or replica.seqs.keys() != asked.contents.keys():
            raise Mismatch("documents without a place")

    async def step(self, phone: Phone) -> None:
        """A phone asks; answers get lost, come late or twice, and writes slip in between."""
        chance = self.rng.random()
        if chance < 0.75 or not phone.waiting:
            await self.ask(phone)
            if self.rng.random() < 0.3:
                return
        if self.rng.random() < 0.15:
            await self.write()
        if phone.waiting:
            asked = phone.waiting.pop(self.rng.randrange(len(phone.waiting)))
            if self.rng.random() < 0.1:
                return  # lost on the way
            self.apply(phone, asked)
            if self.rng.random() < 0.1:
                phone.waiting.append(asked)

    def damage(self, phone: Phone) -> None:
        """A bug on the phone, or a broken file: it must find out and heal."""
        replica = phone.replica
        if not replica.documents:
            return
        self.trace.append("damage")
        phone.damaged = True
        key = self.rng.choice(sorted(replica.documents))
        if self.rng.random() < 0.5:
            replica.documents[key] = {**replica.documents[key], "notes": "damaged"}
        else:
            replica.places -= {place for place in replica.places if place[:2] == key}
            del replica.documents[key], replica.seqs[key]

    async def rest(self) -> None:
        """Everything becomes quiet: each phone pulls until it is complete, and holds the tables' very bytes."""
        async with self.engine.read() as conn:
            true = {
                (name, record_id): document
                for name in {name for name, _ in self.model.records}
                for record_id, document in (await read_documents(conn, COLLECTIONS[name], self.model.of(name))).items()
            }
        for phone in self.phones:
            phone.waiting.clear()
            for _ in range(500):
                await self.ask(phone)
                if not phone.waiting:
                    continue
                asked = phone.waiting.pop()
                self.apply(phone, asked)
                if asked.page["complete"] and not phone.replica.refetch:
                    break
            else:
                raise Mismatch("pulls without end though nobody writes")
            for key, document in phone.replica.documents.items():
                if document != orjson.loads(true[key]):
                    raise Mismatch(f"{key} differs from its tables")


Change = Callable[[World, Work], Awaitable[None]]
CHANGES: tuple[Change, ...] = (
    World.make_customer, World.edit_customers, World.touch_for_nothing, World.move_customer, World.drop_customer,
    World.make_contact, World.link, World.unlink, World.edit_contact, World.make_visit, World.make_task,
    World.give_task, World.drop_task, World.give_patch, World.take_patch,
)  # fmt: skip
WEIGHTS = (5, 5, 1, 8, 2, 3, 3, 2, 2, 2, 2, 2, 1, 4, 4)


def _without_references(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_references(entry)
            for name, entry in value.items()
            if name not in MAY_NAME_UNSEEN and name not in ("cursor", "createdBy", "repId", "assigneeId")
        }
    return [_without_references(entry) for entry in value] if isinstance(value, list) else value


W = TypeVar("W", bound=World)


async def play(engine: Engine, seed: int, *, steps: int = 40, kind: type[W] = World) -> W:  # type: ignore[assignment]
    """One history. Raises `Mismatch`, with the seed and what was done, when a device goes wrong."""
    rng = random.Random(seed)
    world = kind(engine, rng)
    await world.begin()
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
            elif chance < 0.44:
                world.damage(rng.choice(world.phones))
            else:
                await world.step(rng.choice(world.phones))
        await world.rest()
    except Mismatch as mismatch:
        raise Mismatch(f"seed {seed}: {mismatch}\n{' '.join(world.trace)}") from None
    return world
