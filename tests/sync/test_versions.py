"""Schema versions of documents: who is sent what, across a change of shape, while both versions serve and write."""

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.fields import Field, Kind, Shape
from backend.domain.territories import Move
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.sync.changes import Change, Outcome
from backend.sync.collections import COLLECTIONS, Child, Collection
from backend.sync.doctor import Drift, check_feed, repair_feed
from backend.sync.documents import canonical, read_documents
from backend.sync.feed import digest_of, digest_text
from backend.sync.places import rows_of
from backend.sync.protocol import answer_push
from backend.sync.pull import PullRequest, pull
from backend.sync.push import Answer, Mutation
from backend.sync.rebuild import count_behind, rebuild_feed
from backend.sync.versions import (
    SCHEMA_VERSION,
    changed_between,
    declared_versions,
    is_known,
    projected,
    shape_at,
    versions_served,
)
from backend.usecases.customers import change_customers
from backend.usecases.orders import change_orders
from backend.usecases.territories import move_customers
from backend.usecases.visits import change_visits
from backend.wiring import USE_CASES
from mobile_contract.replica import SCHEMA_VERSION as REPLICA_VERSION
from mobile_contract.replica import Document, Replica
from tests import factories
from tests.house import NOON_MS, House, create, patch
from tests.sync.shapes import DEPOTS, NEXT, Future, migrate_to_next
from tests.sync.worlds import SECRET, page_json, pull_request
from tests.usecases.catalogues import Shelf, stock
from tests.usecases.phones import synced

Fields = Mapping[str, object]


async def ask(house: House, who: str, replica: Replica, **options: Any) -> Document:
    request = replica.pull_request()
    async with house.engine.read() as conn:
        page = await pull(
            conn, house.people[who], pull_request(request), secret=SECRET, bytes_max=10_000_000, **options
        )
    answer = page_json(page)
    assert replica.apply(request, answer)
    return answer


async def pull_all(house: House, who: str, replica: Replica) -> list[Document]:
    """Pages until complete. A checksum that differs is a mistake: nothing here damages a replica."""
    pages = []
    for _ in range(300):
        pages.append(await ask(house, who, replica))
        if pages[-1]["complete"]:
            assert replica.refetch == [], f"a false difference: {replica.refetch}"
            return pages
    raise AssertionError("never complete")


def sent(pages: list[Document]) -> list[tuple[str, str]]:
    return [(b["collection"], row["document"]["id"]) for page in pages for b in page["blocks"] for row in b["rows"]]


async def push(house: House, who: str, *mutations: Mutation, version: int = SCHEMA_VERSION) -> list[Answer]:
    _, answers = await answer_push(
        house.engine,
        house.people[who],
        mutations,
        USE_CASES,
        mutations_max=500,
        retries_max=3,
        clock=lambda: house.now_ms,
        schema_version=version,
    )
    return answers


async def a_visit(house: House, shop: str, **fields: object) -> str:
    made = new_id()
    [outcome] = await house.change(
        "wei", change_visits, create(made, {"customerId": shop, "plannedAt": NOON_MS, **fields})
    )
    assert outcome.problems == ()
    return made


@pytest.fixture
async def shop(house: House) -> str:
    made = new_id()
    [outcome] = await house.change("wei", change_customers, create(made, {"nameEn": "Shop", "kind": "RETAILER"}))
    assert outcome.problems == ()
    return made


# -- one document at one version ---------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.text(max_size=4),
    st.lists(st.text(max_size=2), max_size=2),
)
SINCE = st.integers(1, 4)


@st.composite
def records_and_fields(draw: Callable[..., Any], deep: bool = True) -> tuple[tuple[Field, ...], dict[str, Any]]:
    """Declared fields of any age, and a record that holds some of them."""
    names = draw(st.lists(st.text("abcdefg", min_size=1, max_size=3), unique=True, max_size=5))
    fields, record = [Field("id", Kind.ID)], {"id": "1"}
    for name in names:
        if deep and draw(st.booleans()):
            inner = draw(st.lists(records_and_fields(deep=False), min_size=1, max_size=1))[0]
            fields.append(Field(name, Kind.RECORDS, record=Shape(name, inner[0]), since=draw(SINCE)))
            record[name] = [inner[1]] * draw(st.integers(0, 2))
        else:
            fields.append(Field(name, Kind.TEXT, since=draw(SINCE)))
            record[name] = draw(VALUES)
        if draw(st.integers(0, 5)) == 0:
            del record[name]
    return tuple(fields), record


def known_to(fields: tuple[Field, ...], record: dict[str, Any], version: int) -> dict[str, Any]:
    """The reference: what a client of this version has heard of."""
    told = {}
    for one in fields:
        if one.since > version or one.name not in record:
            continue
        value = record[one.name]
        told[one.name] = [known_to(one.record.fields, entry, version) for entry in value] if one.record else value
    return told


@given(records_and_fields(), records_and_fields(deep=False), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=300)
def test_a_document_of_any_version_is_what_a_client_of_an_older_one_knows(
    own: tuple[tuple[Field, ...], dict[str, Any]],
    nested: tuple[tuple[Field, ...], dict[str, Any]],
    version: int,
    step: int,
) -> None:
    fields, record = own
    child = Child("lines", "t", "p", nested[0])
    collection = Collection("c", "t", Shape("c", fields), children=(child,))
    whole = {**record, "lines": [nested[1], nested[1]]}
    document = canonical(whole)
    shown = projected(collection, document, version, doc_version=collection.doc_version)
    wanted = {**known_to(fields, record, version), "lines": [known_to(nested[0], nested[1], version)] * 2}
    assert shown == canonical(wanted)
    # by way of any version between it is the same, and a second time nothing more is left out
    between = max(version, step)
    by_way = projected(collection, document, between, doc_version=collection.doc_version)
    assert projected(collection, by_way, version, doc_version=shape_at(collection, between)) == shown
    assert projected(collection, shown, version, doc_version=shape_at(collection, version)) is shown
    if shape_at(collection, version) == collection.doc_version:
        assert shown is document, "bytes of the present shape pass through"


def test_a_collection_changes_with_its_fields_those_of_its_records_and_its_lists() -> None:
    inner = Shape("r", (Field("id", Kind.ID), Field("deep", Kind.TEXT, since=4)))
    shape = Shape("c", (Field("id", Kind.ID), Field("list", Kind.RECORDS, record=inner, since=3)))
    collection = Collection(
        "c", "t", shape, children=(Child("rows", "r", "p", (Field("x", Kind.TEXT, since=5),)),), since=2
    )
    assert collection.versions == {2, 3, 4, 5}
    assert collection.doc_version == 5
    assert [shape_at(collection, version) for version in (1, 2, 3, 4, 5, 6)] == [2, 2, 3, 4, 5, 5]


def test_what_each_version_brought_is_declared_once() -> None:
    assert changed_between(1, 2) == ("attachments", "orders", "syncIssues", "tasks", "visits")
    assert changed_between(2, 3) == ("contacts", "customFields", "customers", "orders", "tasks", "visits")
    assert changed_between(3, 4) == ("answers", "cases", "forms", "judgements", "scores")
    assert changed_between(4, 4) == ()
    assert not is_known("attachments", 1)
    assert is_known("attachments", 2)
    assert not is_known("nothing", 2)
    assert REPLICA_VERSION == SCHEMA_VERSION == max(c.doc_version for c in COLLECTIONS.values())
    assert versions_served(1) == ("1", "2", "3", "4")
    assert versions_served(9) == (str(SCHEMA_VERSION),)
    told = declared_versions()["collections"]
    assert isinstance(told, dict)
    assert told["visits"] == {
        "since": 1,
        "fields": {"acceptedLateAt": {"since": 2, "default": None}, "custom": {"since": 3, "default": {}}},
    }


# -- clients of the version before -------------------------------------------------------------------------------


async def test_a_client_of_the_version_before_is_sent_what_it_knows_and_checksums_of_that(
    house: House, shop: str
) -> None:
    made = await a_visit(house, shop)
    old, new = Replica(schema_version=1), Replica()
    pages = await pull_all(house, "wei", old)
    await pull_all(house, "wei", new)
    assert old.documents.keys() == {key for key in new.documents if is_known(key[0], 1)}
    assert "acceptedLateAt" in new.documents["visits", made]
    assert {**old.documents["visits", made], "acceptedLateAt": None, "custom": {}} == new.documents["visits", made]
    for block in (block for page in pages for block in page["blocks"]):
        for row in block["rows"]:
            assert row["digest"] == digest_text(digest_of(canonical(row["document"])))
    # damage is found by the checksum of what it was sent, and mended
    old.documents["visits", made] = {**old.documents["visits", made], "nextStep": "damaged"}
    await ask(house, "wei", old)
    assert old.refetch == [{"scope": f"territory:{house.patches['north']}", "collection": "visits"}]
    await pull_all(house, "wei", old)
    assert old.documents["visits", made]["nextStep"] is None


async def test_what_an_older_client_writes_leaves_alone_what_it_does_not_know(house: House, shop: str) -> None:
    made = await a_visit(house, shop)
    async with house.engine.write() as conn:
        await conn.execute("UPDATE visit SET accepted_late_at = 5 WHERE id = ?", made)
    rev = await house.rev("visits", made)
    change = Mutation(new_id(), 1, "visits", made, rev, {"nextStep": "call"})
    [answer] = await push(house, "wei", change, version=1)
    assert await house.row("visit", made, "next_step", "accepted_late_at") == ("call", 5)
    [row] = answer.records
    assert "acceptedLateAt" not in orjson.loads(row.document)
    assert row.digest == digest_text(digest_of(row.document))
    [row] = (await push(house, "wei", change))[0].records
    assert orjson.loads(row.document)["acceptedLateAt"] == "1970-01-01T00:00:00.005Z"


async def test_a_client_that_became_newer_is_sent_again_only_what_changed_its_shape(house: House, shop: str) -> None:
    visits = {await a_visit(house, shop) for _ in range(3)}
    phone = Replica(schema_version=1, limit=2)
    await pull_all(house, "wei", phone)
    phone.schema_version = SCHEMA_VERSION
    assert phone.view("visits", min(visits))["acceptedLateAt"] is None, "absence means the declared default"
    assert phone.view("visits", min(visits))["custom"] == {}
    changed = {key for key in phone.documents if key[0] in changed_between(1, SCHEMA_VERSION)}
    assert changed < phone.documents.keys()
    pages = await pull_all(house, "wei", phone)
    assert sorted(sent(pages)) == sorted(changed)
    assert all("acceptedLateAt" in phone.documents["visits", made] for made in visits)
    assert sent(await pull_all(house, "wei", phone)) == []


async def test_a_client_that_became_newer_in_the_middle_of_its_first_sync_misses_nothing(
    house: House, shop: str
) -> None:
    for _ in range(4):
        await a_visit(house, shop)
    whole = await synced(house, "wei")
    for pages_before in range(1, 12):
        phone = Replica(schema_version=1, limit=2)
        for _ in range(pages_before):
            await ask(house, "wei", phone)
        phone.schema_version = SCHEMA_VERSION
        await pull_all(house, "wei", phone)
        assert phone.documents == whole.documents


async def test_a_client_that_became_older_starts_again_and_keeps_nothing_it_does_not_know(
    house: House, shop: str
) -> None:
    made, hung = await a_visit(house, shop), new_id()
    fields = {
        "collection": "visits", "recordId": made, "kind": "PHOTO", "sha256": "0" * 64, "sizeBytes": 10,
        "mime": "image/jpeg", "fileName": "shelf.jpg",
    }  # fmt: skip
    [answer] = await push(house, "wei", Mutation(new_id(), 1, "attachments", hung, None, fields))
    assert answer.status.value == "APPLIED", answer.problems
    phone = await synced(house, "wei")
    assert ("attachments", hung) in phone.documents
    phone.schema_version = 1
    with pytest.raises(Refused) as refused:
        await ask(house, "wei", phone)
    assert [p.code for p in refused.value.problems] == [Code.CURSOR_EXPIRED]
    phone.expire()
    await pull_all(house, "wei", phone)
    other = Replica(schema_version=1)
    await pull_all(house, "wei", other)
    assert phone.documents == other.documents


async def test_versions_not_served_only_push(house: House, shop: str) -> None:
    made = await a_visit(house, shop)
    rev = await house.rev("visits", made)
    for version, oldest in ((1, 2), (1, 99), (0, 1), (-3, 1), (SCHEMA_VERSION + 1, 1)):
        with pytest.raises(Refused) as refused:
            await ask(house, "wei", Replica(schema_version=version), schema_oldest=oldest)
        [problem] = refused.value.problems
        assert (problem.code, problem.path) == (Code.UPGRADE_REQUIRED, ("schemaVersion",))
        assert problem.allowed == versions_served(oldest)
    [answer] = await push(house, "wei", Mutation(new_id(), 1, "visits", made, rev, {"nextStep": "call"}), version=1)
    assert answer.status.value == "APPLIED"


async def test_a_client_newer_than_the_server_keeps_its_queue(house: House, shop: str) -> None:
    """As happens while processes are replaced: refusing for good what this one cannot read would lose it."""
    made = await a_visit(house, shop)
    change = Mutation(new_id(), 1, "visits", made, await house.rev("visits", made), {"shelfMeters": 3})
    with pytest.raises(Refused) as refused:
        await push(house, "wei", change, version=NEXT)
    assert [(p.code, p.allowed) for p in refused.value.problems] == [(Code.UPGRADE_REQUIRED, versions_served(1))]
    async with house.engine.read() as conn:
        assert await conn.fetch("SELECT COUNT(*) FROM sync_issue") == [(0,)]
        assert await conn.fetch("SELECT COUNT(*) FROM receipt") == [(0,)]


# -- across a change of shape ------------------------------------------------------------------------------------


@dataclass
class Era:
    """A database both versions write: the present code is the version before, `Future` the next one."""

    house: House
    future: Future
    shelf: Shelf
    shops: list[str]
    visits: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)

    def process(self, version: int) -> AbstractContextManager[None]:
        return self.future.in_force() if version == NEXT else nullcontext()

    async def change(self, use_case: Any, change: Change, version: int) -> Outcome:
        with self.process(version):
            [outcome] = await self.house.change("wei", use_case, change)
        return outcome

    async def truth(self, version: int) -> dict[tuple[str, str], Document]:
        """What a client of a version must hold of visits, orders and depots, by the tables."""
        found = {}
        with self.future.in_force():
            async with self.house.engine.read() as conn:
                for name in ("visits", "orders", DEPOTS):
                    collection = COLLECTIONS[name]
                    if collection.since > version:
                        continue
                    ids = [row[0] for row in await conn.fetch(f"SELECT id FROM {collection.table}")]
                    for record_id, document in (await read_documents(conn, collection, ids)).items():
                        shown = projected(collection, document, version, doc_version=collection.doc_version)
                        found[name, record_id] = orjson.loads(shown)
        return found

    async def seqs(self) -> dict[str, int]:
        async with self.house.engine.read() as conn:
            return dict(await conn.fetch("SELECT key, seq FROM feed"))

    async def rebuild(self, batch_rows: int = 500, version: int = NEXT) -> int:
        with self.process(version):
            done = await rebuild_feed(
                self.house.engine, self.house.people["system"], clock=lambda: self.house.now_ms, retries_max=3,
                batch_rows=batch_rows,
            )  # fmt: skip
        assert done.touched == 0
        return done.reprinted


@pytest.fixture
async def era(house: House, shop: str, monkeypatch: pytest.MonkeyPatch) -> Era:
    """Two visits and an order of the version before, and then a migration that adds columns and nothing else."""
    shelf = await house.work("system", stock)
    era = Era(house, Future(monkeypatch), shelf, [shop])
    era.visits = [await a_visit(house, shop) for _ in range(2)]
    era.orders = [await _order(era, SCHEMA_VERSION)]
    async with house.engine.write() as conn:
        await migrate_to_next(conn)
    return era


async def _order(era: Era, version: int, **fields: object) -> str:
    made = new_id()
    line = {
        "id": new_id(), "styleId": era.shelf.style, "colourId": era.shelf.colour, "unitPriceMinor": 100,
        "cells": {era.shelf.small: 2},
    }  # fmt: skip
    wish = {"customerId": era.shops[0], "currency": "CNY", "lines": [{**line, **fields}]}
    outcome = await era.change(change_orders, create(made, wish), version)
    assert outcome.problems == ()
    return made


async def test_documents_of_before_are_shown_in_the_new_shape_and_rebuilt_without_a_seq(era: Era) -> None:
    house = era.house
    old, new = Replica(), Replica(schema_version=NEXT)
    await pull_all(house, "wei", old)
    with era.future.in_force():
        await pull_all(house, "wei", new)
        await pull_all(house, "wei", old)
        [visit] = [new.documents["visits", era.visits[0]]]
        assert (visit["shelfMeters"], "shelfMeters" in old.documents["visits", era.visits[0]]) == (7, False)
        assert new.documents["orders", era.orders[0]]["lines"][0]["giftWrap"] == "NONE"
        async with house.engine.read() as conn:
            assert await count_behind(conn) == {"orders": 1, "visits": 2}
        report = await check_feed(house.engine)
        assert (report.drifted, report.behind) == (0, 3)
        assert report.findings == []
        before = await era.seqs()
        mended = await repair_feed(
            house.engine, house.people["system"], report, clock=lambda: house.now_ms, retries_max=3
        )
        assert (mended, await era.seqs()) == (0, before), "a shape is no drift, and wakes no device"
        assert await era.rebuild(batch_rows=1) == 3
        assert await era.seqs() == before
        assert (await check_feed(house.engine)).counts == {}
        assert await era.rebuild() == 0
        held = dict(new.documents)
        for replica in (old, new):
            assert sent(await pull_all(house, "wei", replica)) == [], "nobody is sent anything for a change of shape"
        assert new.documents == held
        late = Replica(schema_version=NEXT)
        await pull_all(house, "wei", late)
        assert late.documents == held


async def test_what_drifted_before_is_told_when_it_is_rebuilt(era: Era) -> None:
    async with era.house.engine.write() as conn:
        await conn.execute("UPDATE visit SET next_step = 'unnoticed' WHERE id = ?", era.visits[0])
    phone = await synced(era.house, "wei")
    assert phone.documents["visits", era.visits[0]]["nextStep"] is None
    with era.future.in_force():
        done = await rebuild_feed(
            era.house.engine, era.house.people["system"], clock=lambda: era.house.now_ms, retries_max=3
        )
        assert (done.reprinted, done.touched) == (2, 1)
        assert (await check_feed(era.house.engine)).counts == {}
    await pull_all(era.house, "wei", phone)
    assert phone.documents["visits", era.visits[0]]["nextStep"] == "unnoticed"


async def test_a_process_of_before_keeps_what_it_does_not_know(era: Era) -> None:
    """It writes fields, lines and whole records beside columns that were added while it runs."""
    house, [order] = era.house, era.orders
    outcome = await era.change(
        change_visits, patch(era.visits[0], await house.rev("visits", era.visits[0]), shelfMeters=40), NEXT
    )
    assert outcome.problems == ()
    [(line_id,)] = await _lines(house, order, "id")
    wrap = [{"id": line_id, "giftWrap": "RED"}]
    outcome = await era.change(change_orders, patch(order, await house.rev("orders", order), lines=wrap), NEXT)
    assert outcome.problems == ()
    more = {
        "id": new_id(), "styleId": era.shelf.style, "colourId": era.shelf.colour, "unitPriceMinor": 5,
        "cells": {era.shelf.medium: 1},
    }  # fmt: skip
    lines = [{"id": line_id, "cells": {era.shelf.small: 9}}, more]
    for change, use_case in (
        (patch(era.visits[0], await house.rev("visits", era.visits[0]), nextStep="old"), change_visits),
        (patch(order, await house.rev("orders", order), lines=lines), change_orders),
    ):
        assert (await era.change(use_case, change, SCHEMA_VERSION)).problems == ()
    assert await house.row("visit", era.visits[0], "shelf_meters", "next_step") == (40, "old")
    assert await _lines(house, order, "gift_wrap", "units") == [("RED", 9), ("NONE", 1)]
    with era.future.in_force():
        new = Replica(schema_version=NEXT)
        await pull_all(house, "wei", new)
    assert new.documents["visits", era.visits[0]]["shelfMeters"] == 40, "though the document of before does not say it"
    assert [line["giftWrap"] for line in new.documents["orders", order]["lines"]] == ["RED", "NONE"]


async def _lines(house: House, order: str, *columns: str) -> list[tuple[object, ...]]:
    async with house.engine.read() as conn:
        return [
            tuple(row)
            for row in await conn.fetch(
                f"SELECT {', '.join(columns)} FROM order_line WHERE order_id = ? ORDER BY position", order
            )
        ]


@pytest.mark.parametrize("seed", range(3))
async def test_both_versions_write_and_serve_while_documents_are_rebuilt_and_no_phone_is_ever_wrong(
    era: Era, seed: int
) -> None:
    house, rng = era.house, random.Random(seed)
    phones = [Replica(limit=3), Replica(schema_version=NEXT, limit=3), Replica(schema_version=1, limit=3)]
    depots = 0
    for step in range(60):
        version = rng.choice((SCHEMA_VERSION, NEXT))
        chance = rng.random()
        house.now_ms += 1
        if chance < 0.45:
            await _write(era, rng, version, step)
        elif chance < 0.5:
            depots += 1
            await _depot(era, depots)
        elif chance < 0.55:
            target = rng.choice(("north", "south"))
            await house.work(
                "manager", lambda work, to=target: move_customers(work, [Move(era.shops[0], house.patches[to])])
            )
        elif chance < 0.68:
            before = await era.seqs()
            with era.future.in_force():
                await _some_batches(era, rng.randint(1, 2))
            assert await era.seqs() == before
        elif chance < 0.72:
            phones[0].schema_version = NEXT if phones[0].schema_version == SCHEMA_VERSION else SCHEMA_VERSION
        else:
            phone = rng.choice(phones)
            if phone.schema_version == NEXT:
                version = NEXT
            with era.process(version):
                await _pull_some(house, phone, rng)
    with era.future.in_force():
        for phone in phones:
            await _pull_until_complete(house, phone)
        await era.rebuild()
        assert (await check_feed(house.engine)).counts == {}
    for phone in phones:
        with era.process(max(SCHEMA_VERSION, phone.schema_version)):
            await _pull_until_complete(house, phone)
        seen = {(name, record_id) for name, record_id, _ in phone.places if name in ("visits", "orders", DEPOTS)}
        truth = await era.truth(phone.schema_version)
        assert {key: phone.documents[key] for key in seen} == {key: truth[key] for key in seen}
        async with house.engine.read() as conn:
            [(territory,)] = await conn.fetch("SELECT territory_id FROM customer WHERE id = ?", era.shops[0])
        stands = territory == house.patches["north"]
        assert {key[0] for key in seen} >= ({"visits", "orders"} if stands else set())
        assert len(seen) == (len(truth) if stands else len([key for key in truth if key[0] == DEPOTS]))


async def _write(era: Era, rng: random.Random, version: int, step: int) -> None:
    house = era.house
    async with house.engine.read() as conn:
        [(territory,)] = await conn.fetch("SELECT territory_id FROM customer WHERE id = ?", era.shops[0])
    if territory != house.patches["north"]:
        return
    chosen = rng.random()
    if chosen < 0.2:
        made = new_id()
        wish: dict[str, object] = {"customerId": era.shops[0], "plannedAt": NOON_MS + step}
        if version == NEXT and rng.random() < 0.5:
            wish["shelfMeters"] = step
        assert (await era.change(change_visits, create(made, wish), version)).problems == ()
        era.visits.append(made)
    elif chosen < 0.7:
        visit = rng.choice(era.visits)
        fields: dict[str, object] = {"nextStep": f"step {step}"}
        if version == NEXT and rng.random() < 0.6:
            fields = {"shelfMeters": step}
        change = patch(visit, await house.rev("visits", visit), **fields)
        assert (await era.change(change_visits, change, version)).problems == ()
    else:
        order = rng.choice(era.orders)
        [(line_id,)] = await _lines(house, order, "id")
        line: dict[str, object] = {"id": line_id, "cells": {era.shelf.small: step + 1}}
        if version == NEXT:
            line = {"id": line_id, "giftWrap": f"W{step}"}
        change = patch(order, await house.rev("orders", order), lines=[line])
        assert (await era.change(change_orders, change, version)).problems == ()


async def _depot(era: Era, number: int) -> None:
    """Only the next version knows the collection; the present one carries it by."""
    with era.future.in_force():

        async def story(work: Any) -> None:
            made = new_id()
            await factories.insert(
                work.conn, "depot", id=made, name=f"D{number}", territory_id=era.house.patches["north"]
            )
            work.touched(DEPOTS, made)

        await era.house.work("system", story)


async def _some_batches(era: Era, batches: int) -> None:
    """The rebuild, stopped after a few batches of two."""

    class Stopped(Exception):
        pass

    left = [batches]

    def stop(_collection: str, _done: int, _total: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    try:
        await rebuild_feed(
            era.house.engine, era.house.people["system"], clock=lambda: era.house.now_ms, retries_max=3,
            batch_rows=2, progress=stop,
        )  # fmt: skip
    except Stopped:
        return


def _expire(phone: Replica, refused: Refused) -> None:
    if [problem.code for problem in refused.problems] != [Code.CURSOR_EXPIRED]:
        raise refused
    phone.expire()


async def _pull_some(house: House, phone: Replica, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 6)):
        try:
            page = await ask(house, "wei", phone)
        except Refused as refused:
            _expire(phone, refused)
            continue
        if page["complete"]:
            assert phone.refetch == [], phone.refetch


async def _pull_until_complete(house: House, phone: Replica) -> None:
    try:
        await pull_all(house, "wei", phone)
    except Refused as refused:
        _expire(phone, refused)
        await pull_all(house, "wei", phone)


async def test_an_upgrade_reads_the_feed_only_where_something_changed_stands(house: House, shop: str) -> None:
    """The cursor names (scope, collection) pairs, and only those with records: it must stay small."""
    await a_visit(house, shop)
    phone = Replica(schema_version=1)
    await pull_all(house, "wei", phone)
    async with house.engine.read() as conn:
        page = await pull(
            conn,
            house.people["wei"],
            PullRequest(phone.cursor, 1, SCHEMA_VERSION),
            secret=SECRET,
            bytes_max=10_000,
        )
    assert len(page.cursor) < 400


async def test_rows_of_a_collection_or_a_shape_this_process_does_not_know_are_not_read(
    era: Era,
) -> None:
    await _depot(era, 1)
    house = era.house
    visit = era.visits[0]
    await era.change(change_visits, patch(visit, await house.rev("visits", visit), shelfMeters=3), NEXT)

    async def read(conn: Connection) -> list[str]:
        return [row[0] for row in await conn.fetch("SELECT key FROM feed")]

    async with house.engine.read() as conn:
        rows = await rows_of(conn, await read(conn))
        assert not [name for name, _ in rows if name == DEPOTS]
        assert "shelfMeters" not in orjson.loads(rows["visits", visit].document)
    report = await check_feed(house.engine)
    assert report.counts == {("visits", Drift.SHAPE): 1}
