"""Customers, their people, their places in the tree, and what is to be done for them."""

from dataclasses import replace

import orjson
import pytest

from backend.domain.consent import CONSENT_EVENT, consent_given
from backend.domain.fields import records_stored
from backend.domain.territories import Move
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Status
from backend.sync.pull import PullRequest, pull
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.tasks import change_tasks
from backend.usecases.territories import grant_territory, move_customers, revoke_territory
from tests.house import NOON_MS, House, create, patch

DAY_MS = 86_400_000


async def _visible(house: House, who: str) -> set[tuple[str, str]]:
    """(collection, id) of everything a device of theirs gets from nothing."""
    cursor, found = None, set()
    while True:
        async with house.engine.read() as conn:
            page = await pull(conn, house.people[who], PullRequest(cursor, 100), secret=b"s", bytes_max=10**6)
        for block in page.blocks:
            found |= {(row.collection, row.record_id) for row in block.rows}
        cursor = page.cursor
        if page.complete:
            return found


async def _customer(house: House, who: str, **fields: object) -> str:
    customer_id = new_id()
    given = {"nameEn": "Shop", "kind": "RETAILER", **fields}
    [outcome] = await house.change(who, change_customers, create(customer_id, given))
    assert outcome.status is Status.APPLIED, outcome.problems
    return customer_id


async def test_name_and_kind_suffice_and_all_that_is_wrong_is_said_at_once(house: House) -> None:
    assert await _customer(house, "wei")
    bad = {"kind": "SHOP", "email": "x", "priority": 3, "territoryId": house.patches["south"]}
    [outcome] = await house.change("wei", change_customers, create(new_id(), bad))
    assert {(p.code, p.path) for p in outcome.problems} == {
        (Code.NOT_ALLOWED_VALUE, ("kind",)),
        (Code.INVALID_VALUE, ("email",)),
        (Code.UNKNOWN_FIELD, ("priority",)),
        (Code.REQUIRED, ("nameZh",)),
    }


async def test_a_patch_to_a_server_only_field_is_refused(house: House) -> None:
    customer_id = await _customer(house, "wei")
    rev = await house.rev("customers", customer_id)
    [outcome] = await house.change("wei", change_customers, patch(customer_id, rev, territoryId=house.patches["south"]))
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.SERVER_ONLY_FIELD, ("territoryId",))]


async def test_a_rep_creates_only_in_territories_held(house: House) -> None:
    fields = {"nameEn": "x", "kind": "RETAILER", "territoryId": house.patches["south"]}
    [outcome] = await house.change("wei", change_customers, create(new_id(), fields))
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.NOT_FOUND, ("territoryId",))]


async def test_another_reps_id_is_taken_and_says_no_more(house: House) -> None:
    customer_id = await _customer(house, "na")
    [outcome] = await house.change("wei", change_customers, create(customer_id, {"nameEn": "x", "kind": "CHAIN"}))
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.ID_TAKEN, ("id",))]
    rev = await house.rev("customers", customer_id)
    [edited] = await house.change("wei", change_customers, patch(customer_id, rev, nameEn="mine"))
    assert [p.code for p in edited.problems] == [Code.NOT_FOUND]


@pytest.mark.requirement("R46")
async def test_a_chains_head_is_seen_by_the_reps_of_its_doors_but_edited_by_its_own(house: House) -> None:
    head = await _customer(house, "wei", kind="CHAIN")
    assert ("customers", head) not in await _visible(house, "na")
    door = await _customer(house, "na", parentId=head)
    assert ("customers", head) in await _visible(house, "na")
    rev = await house.rev("customers", head)
    [outcome] = await house.change("na", change_customers, patch(head, rev, notes="x"))
    assert [p.code for p in outcome.problems] == [Code.NOT_PERMITTED]
    house.now_ms += 1_000
    await house.work("manager", lambda work: move_customers(work, [Move(door, house.patches["north"])]))
    assert ("customers", head) not in await _visible(house, "na")


async def test_a_chain_has_two_levels_whichever_of_them_comes_first(house: House) -> None:
    """A head that became a door would leave its own doors below a door."""
    head, door, other = [await _customer(house, "admin") for _ in range(3)]
    revs = {one: await house.rev("customers", one) for one in (head, door, other)}

    async def hang(**parents: str) -> list[tuple[str, ...]]:
        named = {"head": head, "door": door, "other": other}
        changes = [patch(named[one], revs[named[one]], parentId=named[parent]) for one, parent in parents.items()]
        outcomes = await house.change("admin", change_customers, *changes)
        told = [tuple(f"{p.code} {p.path[0]}" for p in outcome.problems) for outcome in outcomes]
        for one in revs:
            revs[one] = await house.rev("customers", one)
        return told

    wrong = ("INVALID_VALUE parentId",)
    assert await hang(head="head") == [wrong]
    assert await hang(door="head", head="door") == [wrong, wrong]
    assert await hang(door="head", head="other") == [wrong, wrong]
    assert await hang(door="head") == [()]
    assert await hang(head="other") == [wrong]
    assert await hang(other="door") == [wrong]
    [freed] = await house.change("admin", change_customers, patch(door, revs[door], parentId=None))
    assert freed.status is Status.APPLIED
    assert await hang(head="other") == [()]


async def test_a_door_may_move_to_another_head_in_the_batch_that_makes_its_head_a_door(house: House) -> None:
    head, other = await _customer(house, "admin"), await _customer(house, "admin")
    door = await _customer(house, "admin", parentId=head)
    changes = [
        patch(door, await house.rev("customers", door), parentId=other),
        patch(head, await house.rev("customers", head), parentId=other),
    ]
    outcomes = await house.change("admin", change_customers, *changes)
    assert [outcome.status for outcome in outcomes] == [Status.APPLIED, Status.APPLIED]


async def test_a_buyer_of_shops_in_two_territories_is_seen_in_both(house: House) -> None:
    mine, theirs, buyer = await _customer(house, "wei"), await _customer(house, "na"), new_id()
    [made] = await house.change("wei", change_contacts, create(buyer, {"nameZh": "张伟", "phone": "13800138000"}))
    assert made.status is Status.APPLIED, made.problems
    assert ("contacts", buyer) in await _visible(house, "wei")
    links = {}
    for customer_id, who in ((mine, "wei"), (theirs, "admin")):
        links[who] = new_id()
        fields = {"customerId": customer_id, "contactId": buyer, "role": "BUYER"}
        [linked] = await house.change(who, change_customer_contacts, create(links[who], fields))
        assert linked.status is Status.APPLIED, linked.problems
    for who in ("wei", "na"):
        assert ("contacts", buyer) in await _visible(house, who)
    removal = Change(links["admin"], Intent.DELETE)
    [removed] = await house.change("admin", change_customer_contacts, removal)
    assert removed.status is Status.APPLIED
    assert ("contacts", buyer) not in await _visible(house, "na")
    assert ("contacts", buyer) in await _visible(house, "wei")


@pytest.mark.requirement("R49")
async def test_a_withdrawal_of_consent_wins_however_late_it_arrives(house: House) -> None:
    shop, buyer = await _customer(house, "wei"), new_id()
    await house.change("wei", change_contacts, create(buyer, {"nameEn": "Kim"}))
    link = create(new_id(), {"customerId": shop, "contactId": buyer})
    await house.change("wei", change_customer_contacts, link)
    base = await house.rev("contacts", buyer)
    event = {"channel": "EMAIL", "purpose": "MARKETING", "source": "VISIT", "wordingVersion": "1"}
    given = {**event, "change": "GIVEN", "at": NOON_MS}
    withdrawn = {**event, "change": "WITHDRAWN", "at": NOON_MS - DAY_MS}
    for who, one in (("admin", given), ("wei", withdrawn)):
        [outcome] = await house.change(who, change_contacts, patch(buyer, base, consentEvents=[one]))
        assert outcome.status in (Status.APPLIED, Status.MERGED), outcome.problems
    [text] = await house.row("contact", buyer, "consent_events")
    assert '"at":"2026-11-2' in str(text)
    events = records_stored(CONSENT_EVENT, orjson.loads(str(text)))
    assert len(events) == 2
    assert not consent_given(events, "EMAIL", "MARKETING")


async def test_a_granted_territory_arrives_and_a_taken_one_leaves(house: House) -> None:
    shop = await _customer(house, "na")
    wei, south = str(house.people["wei"].user_id), house.patches["south"]
    assert ("customers", shop) not in await _visible(house, "wei")
    await house.work("manager", lambda work: grant_territory(work, wei, south))
    assert ("customers", shop) in await _visible(house, "wei")
    await house.work("manager", lambda work: revoke_territory(work, wei, south))
    assert ("customers", shop) not in await _visible(house, "wei")


async def test_moving_asks_for_the_right_and_for_territories_held(house: House) -> None:
    shop = await _customer(house, "wei")
    house.now_ms += 1_000
    moves = [Move(shop, house.patches["south"])]
    for who in ("wei", "analyst"):
        with pytest.raises(Refused, match="NOT_PERMITTED"):
            await house.work(who, lambda work: move_customers(work, moves))
    with pytest.raises(Refused, match="NOT_FOUND"):
        await house.work("manager", lambda work: move_customers(work, [Move(new_id(), house.patches["south"])]))


async def test_a_customer_with_history_is_not_deleted_and_one_without_leaves_every_device(house: House) -> None:
    kept, gone = (
        await _customer(house, "admin", territoryId=house.patches["north"]),
        await _customer(house, "admin", territoryId=house.patches["north"]),
    )
    await house.change("wei", change_tasks, create(new_id(), {"title": "call", "customerId": kept}))
    refused, deleted = await house.change(
        "admin", change_customers, Change(kept, Intent.DELETE), Change(gone, Intent.DELETE)
    )
    assert [p.code for p in refused.problems] == [Code.NOT_EDITABLE]
    assert deleted.status is Status.APPLIED
    seen = await _visible(house, "wei")
    assert ("customers", kept) in seen
    assert ("customers", gone) not in seen


async def test_done_stays_done_against_a_stale_base_and_reopens_on_a_fresh_one(house: House) -> None:
    task_id = new_id()
    wei = str(house.people["wei"].user_id)
    given = {"title": "send lookbook", "assigneeId": wei, "dueOn": "2026-11-25"}
    [made] = await house.change("manager", change_tasks, create(task_id, given))
    assert made.status is Status.APPLIED, made.problems
    base = await house.rev("tasks", task_id)
    [done] = await house.change("wei", change_tasks, patch(task_id, base, state="DONE"))
    assert done.status is Status.APPLIED, done.problems
    [stale] = await house.change("manager", change_tasks, patch(task_id, base, state="CANCELLED"))
    assert await house.row("task", task_id, "state", "done_at") == ("DONE", NOON_MS)
    assert stale.status is Status.CONFLICT
    rev = await house.rev("tasks", task_id)
    [reopened] = await house.change("manager", change_tasks, patch(task_id, rev, state="OPEN"))
    assert reopened.status is Status.APPLIED, reopened.problems
    assert await house.row("task", task_id, "state", "done_at") == ("OPEN", None)


async def test_a_rep_gives_tasks_to_nobody_else(house: House) -> None:
    na = str(house.people["na"].user_id)
    [outcome] = await house.change("wei", change_tasks, create(new_id(), {"title": "x", "assigneeId": na}))
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.NOT_PERMITTED, ("assigneeId",))]


@pytest.mark.parametrize(
    ("locale", "typed", "stored"),
    [("ko", "010-2345-6789", "+821023456789"), ("zh-CN", "138 0013 8000", "+8613800138000")],
)
async def test_a_local_telephone_number_is_one_of_the_writers_country(
    house: House, locale: str, typed: str, stored: str
) -> None:
    house.people["wei"] = replace(house.people["wei"], locale=locale)
    customer_id = await _customer(house, "wei", phone=typed)
    assert await house.row("customer", customer_id, "phone") == (stored,)
    abroad = await _customer(house, "wei", phone="(212) 555-0123", country="US")
    assert await house.row("customer", abroad, "phone") == ("+12125550123",)
