"""A first sync brings first what other things hang on, and a device in the middle of an older one loses nothing."""

from typing import Any

import orjson
import pytest

from backend.auth.principal import Principal, Role
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.sync.collections import COLLECTIONS
from backend.sync.cursor import NAMES_END, Backfill, Cursor, Position, open_body, seal, seal_body, unseal
from backend.sync.walk import WALK, walk_of, walk_onward
from mobile_contract.replica import SCHEMA_VERSION, Document, Replica
from tests.factories import NOW_MS, insert, member
from tests.sync.offices import Office, Phone
from tests.sync.test_bulk import open_stream
from tests.sync.worlds import SECRET, staff

SCOPES = ("catalogue", "organisation", "tasks:a", "territory:a", "unassigned", "unassigned_tasks", "user:a")


@pytest.mark.parametrize("scope", [*SCOPES, "another:a", "teams:a", "unassigned_cases", "zones"])
def test_every_collection_of_every_scope_whichever_may_come_is_brought_once(scope: str) -> None:
    onward = [one for one in walk_onward(7) if one.onward is not None and one.scope <= scope < one.onward]
    for entries in (walk_of([scope], 7), onward):
        assert all(sum(entry.brings(collection) for entry in entries) == 1 for collection in COLLECTIONS)


def test_customers_go_before_everything_of_territories_and_all_that_before_tasks() -> None:
    told = [(entry.scope, entry.only, entry.without) for entry in walk_of(["territory:b", *SCOPES], 7)]
    assert told == [
        ("catalogue", None, None),
        ("organisation", None, None),
        ("territory:a", "customers", None),
        ("territory:b", "customers", None),
        ("unassigned", "customers", None),
        ("territory:a", None, "customers"),
        ("territory:b", None, "customers"),
        ("unassigned", None, "customers"),
        ("tasks:a", None, None),
        ("unassigned_tasks", None, None),
        ("user:a", None, None),
    ]
    assert [entry.onward for entry in walk_onward(7)] == [stretch.end for stretch in WALK]


def test_what_an_entry_says_comes_back_and_an_older_process_reads_it_as_more() -> None:
    """It knows six positions, of the third two parts, and of the last only whether anything is there."""
    entries = (*walk_onward(7), *walk_of(SCOPES, 7))
    cursor = Cursor(Position(7), 7, entries, SCHEMA_VERSION)
    token = seal(cursor, secret=SECRET, user_id="u", device_id="d")
    assert unseal(token, secret=SECRET, user_id="u", device_id="d") == cursor
    body = open_body(token, secret=SECRET, user_id="u", device_id="d")
    for (scope, up_to, after, only, *rest), entry in zip(orjson.loads(body)[2], entries, strict=True):
        assert (scope, up_to, after[:2]) == (entry.scope, 7, ["", ""])
        # it takes the one collection where that is said, else all; and goes on by names to the end
        assert (only, rest) == (entry.only, [None, entry.onward] if entry.onward else [])


# -- pages and streams ---------------------------------------------------------------------------------------------


async def filled(engine: Engine) -> Office:
    """Shops in both patches, and of each what sorts before and behind it by its collection's name."""
    office = await Office(engine).open(shops=4)
    async with office.job() as work:
        shops = dict.fromkeys(office.shops, office.east)
        for number in range(3):
            shops[await office.customer(work, office.west, f"West {number}")] = office.west
        for shop, patch in shops.items():
            common: dict[str, Any] = {"customer_id": shop, "territory_id": patch, "created_at": NOW_MS}
            made = {name: new_id() for name in ("cases", "customerContacts", "tasks", "visits")}
            await insert(
                work.conn, "service_case", id=made["cases"], kind="DELIVERY", priority="P3", state="NEW",
                subject="late", escalated=False, opened_at=NOW_MS, due_at=NOW_MS, late=False, reopened_times=0,
                created_by=office.rep, **common,
            )  # fmt: skip
            await insert(
                work.conn, "customer_contact", id=made["customerContacts"], contact_id=new_id(), role="BUYER",
                is_primary=False, **common,
            )  # fmt: skip
            await insert(
                work.conn, "task", id=made["tasks"], title="call", assignee_id=office.other_rep, state="OPEN",
                priority="NORMAL", due_sort=NOW_MS, source="HUMAN", created_by=office.rep, **common,
            )  # fmt: skip
            await insert(
                work.conn, "visit", id=made["visits"], rep_id=office.rep, state="PLANNED", purpose="SELL",
                verification="UNVERIFIED", happens_at=NOW_MS, created_by=office.rep, **common,
            )  # fmt: skip
            for name, record_id in made.items():
                work.touched(name, record_id)
    return office


def homeless(replica: Replica) -> list[tuple[str, str]]:
    """What hangs on a customer that is not there."""
    return [
        key
        for key, document in replica.documents.items()
        if document.get("customerId") and ("customers", document["customerId"]) not in replica.documents
    ]


async def pages(phone: Phone, limit: int) -> list[Document]:
    """Pull to the end; nothing is without its customer at any time."""
    found: list[Document] = []
    phone.replica.limit = limit
    while not found or not found[-1]["complete"]:
        request = phone.replica.pull_request()
        found.append(await phone.line.ask(request))
        assert phone.replica.apply(request, found[-1])
        assert not homeless(phone.replica), f"after page {len(found)}"
        assert len(found) < 200
    assert phone.replica.refetch == []
    return found


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("limit", [1, 5])
async def test_a_first_sync_and_a_new_territory_bring_customers_before_what_hangs_on_them(
    engine: Engine, limit: int
) -> None:
    office = await filled(engine)
    phone = await office.phone(office.rep, synced=False)
    assert len(await pages(phone, limit)) > 5
    assert len(phone.replica.views("tasks")) == 4
    async with office.job() as work:
        await member(work.conn, office.west, office.rep)
        work.reseat([office.rep])
    await pages(phone, limit)
    for name in ("cases", "customerContacts", "customers", "tasks", "visits"):
        assert len(phone.replica.views(name)) == 7, name


async def test_a_task_whose_customer_is_not_there_is_held_and_stops_nothing(engine: Engine) -> None:
    office = await filled(engine)
    phone = await office.phone(office.other_rep)
    assert len(homeless(phone.replica)) == 4
    assert len(phone.replica.views("tasks")) == 7
    assert {customer_id for customer_id, _ in phone.replica.ranked("2026-01-01")} <= phone.replica.views(
        "customers"
    ).keys()


@pytest.mark.requirement("R4")
async def test_a_stream_brings_them_so_too_and_so_it_does_where_it_was_cut(engine: Engine) -> None:
    office = await filled(engine)
    phone = await office.phone(office.manager, synced=False)
    replica, complete, streams = phone.replica, False, 0
    while not complete:
        streams += 1
        assert streams < 200
        stream = open_stream(engine, phone.line.principal, replica.bulk_query(), rows_max=2, pack_rows=1)
        lines: list[bytes] = []
        async for part in stream:
            lines += part.splitlines()
            if len(lines) > 4:
                break
        await stream.aclose()
        # a line at a time, the last of those that came is lost
        for line in lines[: max(1, len(lines) - 1)] if len(lines) > 4 else lines:
            complete = replica.apply_bulk([line])
            assert not homeless(replica)
    assert replica.refetch == []
    assert len(replica.views("tasks")) == len(replica.views("customers")) == 7


# -- devices in the middle -----------------------------------------------------------------------------------------


def cursor_of_before(principal: Principal, clock: int, scopes: list[str], *, onward: bool) -> str:
    """As it was written when scopes went by their names: no third part, and true for "and all later ones"."""
    entries: list[list[object]] = [[scope, clock, ["", ""], None] for scope in scopes]
    if onward:
        entries = [[scopes[0], clock, ["", ""], None, None, True]]
    body = orjson.dumps([[clock, "~", "", ""], clock, entries, SCHEMA_VERSION])
    return seal_body(body, secret=SECRET, user_id=principal.holder, device_id=principal.device_id or "")


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("onward", [False, True], ids=["pages", "a stream"])
async def test_a_device_in_the_middle_of_a_walk_by_names_ends_with_everything(engine: Engine, onward: bool) -> None:
    office = await filled(engine)
    whole = await office.phone(office.manager)
    phone = await office.phone(office.manager, synced=False)
    replica, principal = phone.replica, phone.line.principal
    scopes = sorted({scope for _, _, scope in whole.replica.places})
    at = scopes.index(max(scope for scope in scopes if scope.startswith("tasks:")))
    # it has what stands in the scopes before
    for collection, record_id, scope in whole.replica.places:
        if scope < scopes[at]:
            row = {"seq": whole.replica.seqs[collection, record_id]}
            row["document"] = whole.replica.documents[collection, record_id]
            replica._put(scope, collection, row)
    replica.cursor = cursor_of_before(principal, whole.replica.clock, scopes[at:], onward=onward)
    if onward:
        stream = open_stream(engine, principal, replica.bulk_query(), rows_max=2)
        complete = False
        async for part in stream:
            complete = replica.apply_bulk(part.splitlines())
        assert complete
    else:
        request = replica.pull_request()
        while not (page := await phone.line.ask({**request, "limit": 3}))["complete"]:
            assert replica.apply(request, page)
            request = replica.pull_request()
        assert replica.apply(request, page)
    assert replica.refetch == [], "nothing had to be repaired"
    assert (replica.places, replica.documents) == (whole.replica.places, whole.replica.documents)


def test_an_entry_of_before_goes_on_to_the_end_of_all_names() -> None:
    token = cursor_of_before(staff("u", "d", Role.REP), 7, ["tasks:a"], onward=True)
    cursor = unseal(token, secret=SECRET, user_id="u", device_id="d")
    assert cursor.backfill == (Backfill("tasks:a", 7, onward=NAMES_END),)
