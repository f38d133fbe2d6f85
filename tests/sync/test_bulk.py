"""The stream of a first sync against the reference model: cut anywhere, with writes between its parts.

`SELVEDGE_TEST_HISTORIES=20000` plays more on each database; `SELVEDGE_TEST_SEED` begins elsewhere.
"""

import os
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from itertools import compress
from pathlib import Path
from typing import Any

import orjson
import pytest

from backend.auth.principal import Principal, Role
from backend.errors import Refused
from backend.ids import new_id
from backend.storage.engine import Connection, Engine
from backend.sync import bulk
from backend.sync.bulk import BulkLimits, BulkRequest, bulk_lines
from backend.sync.places import Places
from backend.sync.today import PackLimits
from backend.sync.work import Door, open_work
from mobile_contract.replica import Document, Replica
from tests.databases import fresh_sqlite
from tests.factories import NOW_MS, customer, device, insert, member, territory, user
from tests.sync.worlds import SECRET, UUID, WORD, Mismatch, Phone, World, _without_references, fast_engine, play, staff

ASKED_FOR = int(os.environ.get("SELVEDGE_TEST_HISTORIES", "0"))
FIRST_SEED = int(os.environ.get("SELVEDGE_TEST_SEED", "0"))
MUTANT_HISTORIES_MAX = 400


def request_of(query: dict[str, str]) -> BulkRequest:
    """The request a replica's query is."""
    scope, collection, record_id = after.split("/") if (after := query.get("after")) else ("", "", "")
    place = (scope, collection, record_id) if after else None
    return BulkRequest(query.get("cursor"), place, int(query["schemaVersion"]))


def open_stream(
    engine: Engine,
    principal: Principal,
    query: dict[str, str],
    *,
    rows_max: int = 3,
    pack_rows: int = 6,
    now_ms: int = NOW_MS,
) -> AsyncGenerator[bytes, None]:
    return bulk_lines(
        engine,
        principal,
        request_of(query),
        secret=SECRET,
        limits=BulkLimits(rows_max, 2_000, PackLimits(2, pack_rows)),
        clock=lambda: now_ms,
        retries_max=3,
    )


class BulkWorld(World):
    """Phones that take streams as well as pages; one of them at a time, as a phone does."""

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        super().__init__(engine, rng)
        self.streams: dict[int, AsyncGenerator[bytes, None]] = {}
        self.completed = 0
        self.cuts = 0

    async def step(self, phone: Phone) -> None:
        if id(phone) not in self.streams and self.rng.random() < 0.3:
            await super().step(phone)
            return
        if self.rng.random() < 0.3:
            await self.write()
        for _ in range(self.rng.randint(1, 6)):
            if not await self.take(phone):
                return

    async def take(self, phone: Phone) -> bool:
        """One part, or some of its lines; False when the stream has ended, one way or another."""
        replica = phone.replica
        if id(phone) not in self.streams:
            phone.waiting.clear()
            self.streams[id(phone)] = open_stream(
                self.engine, phone.principal, replica.bulk_query(),
                rows_max=self.rng.randint(1, 7), pack_rows=self.rng.randint(1, 12),
            )  # fmt: skip
        try:
            part = await anext(self.streams[id(phone)])
        except Refused as refused:
            await self.hang_up(phone)
            self._expire(phone, refused)
            return False
        owner = phone.principal.holder
        expected = self.model.places(owner)
        contents = {place[:2]: dict(self.model.records[place[:2]]) for place in expected}
        self.check_lines(owner, part, expected, contents)
        lines = part.splitlines()
        cut = self.rng.random() < 0.25
        taken = self.rng.randint(0, len(lines)) if cut else len(lines)
        complete = replica.apply_bulk(lines[:taken])
        if complete:
            self.completed += 1
            if replica.refetch and not phone.damaged:
                raise Mismatch(f"checksums differ though nothing was damaged: {replica.refetch}")
            if not replica.refetch:
                self.check_held(phone, expected, contents)
        if cut or complete:
            self.cuts += cut
            await self.hang_up(phone)
            return False
        return True

    def check_held(self, phone: Phone, expected: set[Any], contents: dict[Any, Document]) -> None:
        phone.damaged = False
        replica = phone.replica
        if replica.places != expected or replica.documents.keys() != contents.keys():
            raise Mismatch(
                f"too much {sorted(replica.places - expected)}, too little {sorted(expected - replica.places)}"
            )
        for key, fields in contents.items():
            held = replica.documents[key]
            if {name: held[name] for name in fields} != fields:
                raise Mismatch(f"{key} is held as it was, not as it is")

    def check_lines(self, owner: str, part: bytes, expected: set[Any], contents: dict[Any, Document]) -> None:
        """Nothing is sent that its reader may not see at that moment, nor named that he never saw."""
        for line in part.splitlines():
            told = orjson.loads(line)
            if "document" in told and (told["collection"], told["document"]["id"], told["scope"]) not in expected:
                raise Mismatch(f"sent {told['collection']} of {told['scope']}, where it does not stand or is not seen")
            page = told.get("page", {"blocks": [], "scopesRemoved": []})
            for block in page["blocks"]:
                rows = {(block["collection"], row["document"]["id"], block["scope"]) for row in block["rows"]}
                if not rows <= expected:
                    raise Mismatch("a page brings what is not to be seen")
                if not {(block["collection"], gone) for gone in block["left"]} <= self.once_seen[owner]:
                    raise Mismatch("named as left what this user never saw")
            if not set(page["scopesRemoved"]) <= self.once_held[owner]:
                raise Mismatch("a scope never held is said to be lost")
            for word in WORD.findall(line.decode()):
                key = self.word_of[word]
                if key not in contents or word not in contents[key].values():
                    raise Mismatch(f"{word} of {key} is not to be seen, or no longer")
            if not set(UUID.findall(orjson.dumps(_without_references(told)).decode())) <= self._known_ids(owner):
                raise Mismatch("an id that was never visible")

    async def hang_up(self, phone: Phone) -> None:
        if (stream := self.streams.pop(id(phone), None)) is not None:
            await stream.aclose()

    async def rest(self) -> None:
        for phone in self.phones:
            await self.hang_up(phone)
        await super().rest()
        for phone in self.phones:
            fresh = Replica()
            async for part in open_stream(self.engine, phone.principal, fresh.bulk_query()):
                done = fresh.apply_bulk(part.splitlines())
            if not done or fresh.refetch or fresh.sums() != phone.replica.sums():
                raise Mismatch("a new phone that streams holds something else than one that paged")
            if (fresh.documents, fresh.places) != (phone.replica.documents, phone.replica.places):
                raise Mismatch("the same sums, and other documents")


@pytest.mark.requirement("R4")
async def test_streams_cut_anywhere_end_where_pages_end_on_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or 120)))


@pytest.mark.postgres
@pytest.mark.requirement("R4")
@pytest.mark.parametrize("database_source", ["postgres"], indirect=True)
async def test_streams_cut_anywhere_end_where_pages_end_on_postgres(engine: Engine) -> None:
    await play_many(engine, range(FIRST_SEED, FIRST_SEED + (ASKED_FOR or 25)))


async def play_many(engine: Engine, seeds: Iterable[int]) -> None:
    completed = cuts = 0
    for seed in seeds:
        world = await play(engine, seed, kind=BulkWorld)
        completed += world.completed
        cuts += world.cuts
    assert completed, "no stream ever came to its end"
    assert cuts, "no stream was ever cut"


# -- mutants: each reading below is simpler, and wrong -----------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def scopes_lost_on_the_way_still_sent(patch: pytest.MonkeyPatch) -> None:
    true = bulk.read_opening

    async def mutant(conn: Connection, principal: Principal, at: int) -> Any:
        rows = await conn.fetch(
            "SELECT scope FROM user_scope WHERE user_id = ? AND granted_seq <= ?", principal.holder, at
        )
        return (await true(conn, principal, at))._replace(grants=[(scope, 0, None) for (scope,) in rows])

    patch.setattr(bulk, "read_opening", mutant)


def the_position_is_that_of_the_end(patch: pytest.MonkeyPatch) -> None:
    """What was written while the stream ran is never brought."""
    true = bulk._Stream._delta

    async def mutant(self: Any, conn: Connection) -> bytes:
        clock, _ = await bulk.read_clock(conn)
        self.cursor = bulk.replace(self.cursor, position=bulk.Position(clock), scopes_at=clock)
        return await true(self, conn)

    patch.setattr(bulk._Stream, "_delta", mutant)


def a_resumed_stream_skips_one(patch: pytest.MonkeyPatch) -> None:
    true = bulk._Stream._skip_to

    def mutant(self: Any, after: Any) -> None:
        true(self, (after[0], after[1], after[2][:-1] + "~"))
        entry, *others = self.cursor.backfill or (None,)
        if entry is not None and entry.scope == after[0]:
            entry = bulk.replace(entry, after=(after[1], "~"))
            self.cursor = bulk.replace(self.cursor, backfill=(entry, *others))

    patch.setattr(bulk._Stream, "_skip_to", mutant)


def what_was_sent_is_remembered_by_record(patch: pytest.MonkeyPatch) -> None:
    """A record sent in one scope is not sent in the other."""
    true = bulk._Stream._lines

    async def mutant(self: Any, conn: Connection, scope: str, places: Places) -> Any:
        known = {place[1:] for place in self.sent}
        records = list(zip(places.collections, places.record_ids, strict=True))
        new = [record not in known for record in records]
        self.sent |= {(scope, *record) for record in records}
        lines, size = await true(self, conn, "-", Places(*(list(compress(column, new)) for column in places.columns)))
        return [line.replace(b'"scope":"-"', b'"scope":"%b"' % scope.encode()) for line in lines], size

    patch.setattr(bulk._Stream, "_lines", mutant)


@pytest.mark.parametrize(
    "mutant",
    [
        scopes_lost_on_the_way_still_sent,
        the_position_is_that_of_the_end,
        a_resumed_stream_skips_one,
        what_was_sent_is_remembered_by_record,
    ],
    ids=lambda mutant: mutant.__name__,
)
async def test_a_simpler_reading_is_caught(
    mutant: Patch, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    async with fast_engine(fresh_sqlite(sqlite_template, tmp_path)) as engine:
        with pytest.raises(Mismatch):
            await play_many(engine, range(MUTANT_HISTORIES_MAX))


# -- what random histories rarely reach ----------------------------------------------------------------------------


async def patch_with_shops(engine: Engine, shops: int) -> tuple[Principal, str]:
    """A rep on a phone, and his patch with shops he visits today."""
    async with open_work(engine, staff("", None, Role.ADMIN), now_ms=NOW_MS, door=Door.JOB) as work:
        patch = await territory(work.conn, "/r", kind="PATCH")
        rep = await user(work.conn)
        phone = await device(work.conn, rep)
        await member(work.conn, patch, rep)
        for _ in range(shops):
            shop = await customer(work.conn, territory_id=patch)
            work.touched("customers", shop)
            visit = await planned(work.conn, shop, rep, patch, NOW_MS)
            work.touched("visits", visit)
        work.reseat([rep])
    return staff(rep, phone, Role.REP), patch


async def planned(
    conn: Connection, shop: str, rep: str, patch: str, happens_at: int, state: str = "PLANNED", **more: object
) -> str:
    visit = new_id()
    await insert(
        conn, "visit", id=visit, customer_id=shop, rep_id=rep, territory_id=patch, state=state, purpose="SELL",
        verification="UNVERIFIED", happens_at=happens_at, planned_at=happens_at, created_at=NOW_MS, created_by=rep,
    )  # fmt: skip
    return visit


async def reseat(engine: Engine, user_id: str, patch: str, *, held: bool) -> None:
    async with open_work(engine, staff("", None, Role.ADMIN), now_ms=NOW_MS, door=Door.JOB) as work:
        if held:
            await member(work.conn, patch, user_id)
        else:
            await work.conn.execute("UPDATE territory_member SET valid_to = ? WHERE user_id = ?", NOW_MS, user_id)
        work.reseat([user_id])


async def test_a_patch_taken_and_given_back_on_the_way_comes_whole_again(engine: Engine) -> None:
    """What the pack had brought of it was dropped with the patch, so it is sent again."""
    rep, patch = await patch_with_shops(engine, shops=6)
    phone = Replica()
    stream = open_stream(engine, rep, phone.bulk_query(), rows_max=2, pack_rows=100)
    complete = False
    async for part in stream:
        complete = phone.apply_bulk(part.splitlines())
        if phone.ready and not complete and len(phone.places) == 12:
            await reseat(engine, rep.holder, patch, held=False)
            await reseat(engine, rep.holder, patch, held=True)
            phone.ready.clear()
    assert complete
    assert len(phone.views("customers")) == len(phone.views("visits")) == 6
    assert phone.refetch == []


async def test_a_patch_taken_on_the_way_is_gone_at_the_end(engine: Engine) -> None:
    rep, patch = await patch_with_shops(engine, shops=6)
    phone = Replica()
    stream = open_stream(engine, rep, phone.bulk_query(), rows_max=2, pack_rows=100)
    sent_after = 0
    taken = False
    async for part in stream:
        sent_after += part.count(b'"document"') if taken else 0
        phone.apply_bulk(part.splitlines())
        if not taken and len(phone.places) == 4:
            await reseat(engine, rep.holder, patch, held=False)
            taken = True
    assert taken
    assert sent_after == 0
    assert phone.documents == {}
    assert phone.refetch == []


async def test_parts_are_bounded_however_much_there_is(engine: Engine) -> None:
    """A part is read, sent and forgotten: memory is that of the largest part, not of the whole."""
    rep, _ = await patch_with_shops(engine, shops=150)
    sizes = {}
    for rows_max in (5, 50):
        stream = open_stream(engine, rep, Replica().bulk_query(), rows_max=rows_max, pack_rows=10)
        sizes[rows_max] = [(part.count(b'"document"'), len(part)) async for part in stream]
    assert max(count for count, _ in sizes[5]) <= 10  # a record may stand in two places
    # about 2,000 bytes of documents are asked for, and the first part finds out how large they are
    assert sum(size <= 8_000 for _, size in sizes[50]) >= len(sizes[50]) - 1


# -- the pack of today ---------------------------------------------------------------------------------------------


async def test_today_is_judged_in_the_zone_of_each_customer(engine: Engine) -> None:
    rep, patch = await patch_with_shops(engine, shops=0)
    now = 1_795_320_000_000  # 04:00 UTC on 22 November: noon in Shanghai, the evening before in Los Angeles
    hour = 3_600_000
    wanted, others = set(), set()
    async with open_work(engine, staff("", None, Role.ADMIN), now_ms=NOW_MS, door=Door.JOB) as work:
        for zone, hours, state, today in (
            ("Asia/Shanghai", 11, "PLANNED", True),
            ("Asia/Shanghai", 13, "PLANNED", False),
            ("Asia/Shanghai", -11, "CONFIRMED", True),
            ("Asia/Shanghai", -13, "CONFIRMED", False),
            ("Asia/Shanghai", 1, "CHECKED_IN", True),
            ("Asia/Shanghai", 1, "CANCELLED", False),
            ("Asia/Shanghai", -1, "COMPLETED", False),
            ("America/Los_Angeles", 3, "PLANNED", True),
            ("America/Los_Angeles", 5, "PLANNED", False),
            ("America/Los_Angeles", -19, "PLANNED", True),
            ("America/Los_Angeles", -21, "PLANNED", False),
        ):
            shop = await customer(work.conn, territory_id=patch, timezone=zone)
            visit = await planned(work.conn, shop, rep.holder, patch, now + hours * hour, state)
            work.touched("customers", shop)
            work.touched("visits", visit)
            (wanted if today else others).update({("visits", visit), ("customers", shop)})
        foreign = await planned(work.conn, shop, new_id(), patch, now)
        work.touched("visits", foreign)
        others.add(("visits", foreign))
    sent = await before_ready(engine, rep, now_ms=now, pack_rows=100)
    assert set(sent) == wanted
    assert wanted & others == set()


async def before_ready(engine: Engine, rep: Principal, **more: int) -> list[tuple[str, str]]:
    found = []
    async for part in open_stream(engine, rep, Replica().bulk_query(), **more):
        for line in part.splitlines():
            told = orjson.loads(line)
            if told.get("ready") == "TODAY":
                return found
            if "document" in told:
                found.append((told["collection"], told["document"]["id"]))
    raise AssertionError("never ready")


async def test_of_the_customers_on_the_list_everything_needed_comes_and_once(engine: Engine) -> None:
    rep, patch = await patch_with_shops(engine, shops=0)
    made: dict[str, str] = {}
    async with open_work(engine, staff("", None, Role.ADMIN), now_ms=NOW_MS, door=Door.JOB) as work:
        conn = work.conn
        shop, other = [await customer(conn, territory_id=patch) for _ in range(2)]
        await insert(
            conn, "contact", id=(contact := new_id()), name_en="Kim", channels="{}", consent_events="[]",
            search_keys="", sort_key="", created_at=NOW_MS, created_by=rep.holder,
        )  # fmt: skip
        await insert(
            conn, "customer_contact", id=(link := new_id()), customer_id=shop, contact_id=contact, role="BUYER",
            territory_id=patch, is_primary=True, created_at=NOW_MS,
        )  # fmt: skip
        task, done = new_id(), new_id()
        for task_id, state in ((task, "OPEN"), (done, "DONE")):
            await insert(
                conn, "task", id=task_id, customer_id=shop, assignee_id=rep.holder, territory_id=patch, title="t",
                state=state, priority="NORMAL", due_sort=NOW_MS, source="HUMAN", created_at=NOW_MS, created_by="x",
            )  # fmt: skip
        visit = await planned(conn, shop, rep.holder, patch, NOW_MS)
        made = {visit: "visits", shop: "customers", link: "customerContacts", contact: "contacts", task: "tasks"}
        for record_id, name in {**made, other: "customers", done: "tasks"}.items():
            work.touched(name, record_id)
    sent = await before_ready(engine, rep, pack_rows=100)
    assert sent[:2] == [("visits", visit), ("customers", shop)], "what the list shows comes first"
    assert sorted(set(sent)) == sorted((name, record_id) for record_id, name in made.items())
    places = []
    async for part in open_stream(engine, rep, Replica().bulk_query(), pack_rows=100):
        told = [orjson.loads(line) for line in part.splitlines()]
        places += [(row["scope"], row["document"]["id"]) for row in told if "document" in row]
    assert len(places) == len(set(places)), "what the pack brought does not come again"
    assert {record_id for _, record_id in places} >= {*made, other, done}


async def test_the_pack_is_bounded(engine: Engine) -> None:
    rep, _ = await patch_with_shops(engine, shops=30)
    assert len(await before_ready(engine, rep, pack_rows=7)) == 7
