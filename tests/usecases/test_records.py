"""Deleted records come back whole, where they would stand, for whoever may; the trail says what became of each."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from backend.domain.territories import Move
from backend.domain.times import DAY_MS
from backend.errors import Code
from backend.ids import new_id
from backend.storage.deleted import forget_deleted_copies, remove_deleted_before
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.sync.push import Mutation, push
from backend.sync.work import Door, Work
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.records import RESTORE_DAYS
from backend.usecases.tasks import change_tasks
from backend.usecases.territories import move_customers
from backend.usecases.visits import change_visits
from backend.wiring import USE_CASES
from tests.house import House, create, patch
from tests.usecases.phones import sync, synced


async def restore(house: House, who: str, collection: str, record_id: str) -> Outcome:
    use_case = USE_CASES[collection, Intent.RESTORE]
    [outcome] = await house.change(who, use_case, Change(record_id, Intent.RESTORE))
    return outcome


async def delete(house: House, collection: str, record_id: str, who: str = "admin") -> None:
    use_case = USE_CASES[collection, Intent.DELETE]
    [outcome] = await house.change(who, use_case, Change(record_id, Intent.DELETE))
    assert outcome.status is Status.APPLIED, outcome.problems


async def shop_of(house: House, who: str = "wei", **fields: object) -> str:
    shop = new_id()
    [outcome] = await house.change(
        who, change_customers, create(shop, {"nameEn": "Shop", "kind": "RETAILER", **fields})
    )
    assert outcome.status is Status.APPLIED, outcome.problems
    return shop


async def visit_at(house: House, shop: str, who: str = "wei", **fields: object) -> str:
    visit = new_id()
    given = {"customerId": shop, "purpose": "SELL", "plannedAt": house.now_ms, "notes": "bring samples", **fields}
    [outcome] = await house.change(who, change_visits, create(visit, given))
    assert outcome.status is Status.APPLIED, outcome.problems
    return visit


async def document_of(house: House, collection: str, record_id: str) -> Mapping[str, Any] | None:
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT document FROM feed WHERE key = ? AND NOT deleted", f"{collection}:{record_id}")
    return orjson.loads(bytes(rows[0][0])) if rows else None


@pytest.mark.requirement("R32")
@pytest.mark.parametrize("who", ["wei", "admin"])
async def test_what_comes_back_is_what_was_deleted(house: House, who: str) -> None:
    shop = await shop_of(house, notes="asks for linen", tags=["VIP"])
    visit = await visit_at(house, shop)
    stood = await document_of(house, "visits", visit)
    phone = await synced(house, "wei")
    await delete(house, "visits", visit)
    await sync(house, "wei", phone)
    assert ("visits", visit) not in phone.documents
    before = await house.rev("visits", visit)
    assert await document_of(house, "visits", visit) is None
    assert (await restore(house, who, "visits", visit)).status is Status.APPLIED
    assert await document_of(house, "visits", visit) == stood
    assert await house.rev("visits", visit) > before
    await sync(house, "wei", phone)
    assert phone.documents["visits", visit]["notes"] == "bring samples"


async def test_restoring_what_stands_is_answered_as_restored_and_writes_nothing(house: House) -> None:
    shop = await shop_of(house)
    visit = await visit_at(house, shop)
    await delete(house, "visits", visit)
    assert (await restore(house, "wei", "visits", visit)).status is Status.APPLIED
    rev = await house.rev("visits", visit)
    assert (await restore(house, "wei", "visits", visit)).status is Status.APPLIED
    assert await house.rev("visits", visit) == rev


async def test_a_contact_comes_back_with_its_links_and_stands_where_they_do(house: House) -> None:
    shop, contact, link = await shop_of(house), new_id(), new_id()
    await house.change("wei", change_contacts, create(contact, {"nameEn": "Kim", "phone": "+821012345678"}))
    await house.change(
        "wei", change_customer_contacts, create(link, {"customerId": shop, "contactId": contact, "role": "BUYER"})
    )
    await delete(house, "contacts", contact)
    assert await house.row("customer_contact", link, "id") == ()
    assert (await restore(house, "wei", "contacts", contact)).status is Status.APPLIED
    assert await house.row("customer_contact", link, "customer_id", "contact_id") == (shop, contact)
    phone = await synced(house, "wei")
    assert {("contacts", contact), ("customerContacts", link)} <= set(phone.documents)


async def test_a_customer_comes_back_with_its_people_and_its_territory(house: House) -> None:
    shop, contact, link = await shop_of(house), new_id(), new_id()
    await house.change("wei", change_contacts, create(contact, {"nameEn": "Kim"}))
    await house.change(
        "wei", change_customer_contacts, create(link, {"customerId": shop, "contactId": contact, "role": "BUYER"})
    )
    await delete(house, "customers", shop)
    assert (await restore(house, "wei", "customers", shop)).status is Status.APPLIED
    async with house.engine.read() as conn:
        open_now = await conn.fetch(
            "SELECT territory_id FROM territory_assignment WHERE customer_id = ? AND valid_to IS NULL", shop
        )
    assert [row[0] for row in open_now] == [house.patches["north"]]
    phone = await synced(house, "wei")
    assert {("customers", shop), ("contacts", contact), ("customerContacts", link)} <= set(phone.documents)


async def test_a_link_whose_customer_is_gone_by_now_stays_away(house: House) -> None:
    first, second, contact, links = await shop_of(house), await shop_of(house), new_id(), [new_id(), new_id()]
    await house.change("wei", change_contacts, create(contact, {"nameEn": "Kim"}))
    for shop, link in zip((first, second), links, strict=True):
        await house.change(
            "wei", change_customer_contacts, create(link, {"customerId": shop, "contactId": contact, "role": "BUYER"})
        )
    await delete(house, "contacts", contact)
    await delete(house, "customers", second)
    assert (await restore(house, "wei", "contacts", contact)).status is Status.APPLIED
    assert await house.row("customer_contact", links[0], "id") == (links[0],)
    assert await house.row("customer_contact", links[1], "id") == ()


async def test_who_may_not_see_it_is_told_nothing_and_who_may_only_read_is_refused(house: House) -> None:
    shop = await shop_of(house)
    visit = await visit_at(house, shop)
    await delete(house, "visits", visit)
    for who, told in (("na", (Code.NOT_FOUND, ("id",))), ("agent", (Code.NOT_PERMITTED, ()))):
        outcome = await restore(house, who, "visits", visit)
        # as of a random id: that there was one, and what it hung on, is not told either
        assert [(problem.code, problem.path) for problem in outcome.problems] == [told], who
    outcome = await restore(house, "wei", "visits", new_id())
    assert [problem.code for problem in outcome.problems] == [Code.NOT_FOUND]
    outcome = await restore(house, "wei", "visits", "no id")
    assert [problem.code for problem in outcome.problems] == [Code.INVALID_VALUE]
    assert await house.row("visit", visit, "id") == ()


async def test_it_comes_back_to_whoever_holds_its_customer_now(house: House) -> None:
    shop = await shop_of(house)
    visit = await visit_at(house, shop)
    await delete(house, "visits", visit)
    house.now_ms += 1
    await house.work("admin", lambda work: move_customers(work, [Move(shop, house.patches["south"])]))
    refused = await restore(house, "wei", "visits", visit)
    assert [problem.code for problem in refused.problems] == [Code.NOT_FOUND]
    assert (await restore(house, "na", "visits", visit)).status is Status.APPLIED
    assert await house.row("visit", visit, "territory_id") == (house.patches["south"],)
    assert ("visits", visit) in (await synced(house, "na")).documents
    assert ("visits", visit) not in (await synced(house, "wei")).documents


async def test_what_it_hangs_on_must_be_there(house: House) -> None:
    shop = await shop_of(house)
    task = new_id()
    await house.change("wei", change_tasks, create(task, {"title": "Call", "customerId": shop}))
    await delete(house, "tasks", task)
    await delete(house, "customers", shop)
    outcome = await restore(house, "wei", "tasks", task)
    assert [(problem.code, problem.path) for problem in outcome.problems] == [(Code.NOT_FOUND, ("customerId",))]
    assert (await restore(house, "wei", "customers", shop)).status is Status.APPLIED
    assert (await restore(house, "wei", "tasks", task)).status is Status.APPLIED


async def test_after_the_days_nothing_comes_back_whether_the_copy_is_collected_or_not(house: House) -> None:
    shop = await shop_of(house)
    visit = await visit_at(house, shop)
    await delete(house, "visits", visit)
    house.now_ms += RESTORE_DAYS * DAY_MS
    assert (await restore(house, "wei", "visits", visit)).status is Status.APPLIED
    await delete(house, "visits", visit)
    house.now_ms += RESTORE_DAYS * DAY_MS + 1
    late = await restore(house, "wei", "visits", visit)
    assert [(p.code, p.allowed) for p in late.problems] == [(Code.RESTORE_TOO_LATE, (str(RESTORE_DAYS),))]
    assert [p.code for p in (await restore(house, "na", "visits", visit)).problems] == [Code.NOT_FOUND]
    async with house.engine.write() as conn:
        assert await remove_deleted_before(conn, house.now_ms, house.now_ms, rows_max=10) == 1
    assert [p.code for p in (await restore(house, "wei", "visits", visit)).problems] == [Code.RESTORE_TOO_LATE]


async def test_an_edit_captured_before_the_deletion_was_known_is_merged_into_what_came_back(house: House) -> None:
    shop = await shop_of(house)
    visit = await visit_at(house, shop)
    base = await house.rev("visits", visit)
    [outcome] = await house.change("admin", change_visits, patch(visit, base, notes="by the office"))
    await delete(house, "visits", visit)
    await restore(house, "admin", "visits", visit)
    [outcome] = await house.change("wei", change_visits, patch(visit, base, nextStep="call again"))
    assert outcome.status is Status.MERGED, outcome.problems
    [outcome] = await house.change("wei", change_visits, patch(visit, base, notes="by the rep"))
    assert await house.row("visit", visit, "next_step") == ("call again",)
    assert outcome.status in (Status.MERGED, Status.CONFLICT)


@pytest.mark.requirement("R32")
@pytest.mark.parametrize("door", ["admin", "wei"])
async def test_who_wrote_which_field_is_known_after_it_came_back_whoever_brought_it(house: House, door: str) -> None:
    """Against what somebody else wrote after its base an edit loses; against its own author's, or nobody's, never."""
    visit = await visit_at(house, await shop_of(house))
    made = await house.rev("visits", visit)
    [outcome] = await house.change("admin", change_visits, patch(visit, made, nextStep="by the office"))
    [outcome] = await house.change("wei", change_visits, patch(visit, made, reason="WEATHER"))
    assert outcome.status is Status.MERGED, outcome.problems
    await delete(house, "visits", visit)
    assert (await restore(house, door, "visits", visit)).status is Status.APPLIED
    [lost] = await house.change("wei", change_visits, patch(visit, made, nextStep="by the rep"))
    assert [(one.path, one.theirs, one.theirs_by) for one in lost.conflicts] == [
        ("nextStep", "by the office", house.people["admin"].device_id)
    ]
    [won] = await house.change("wei", change_visits, patch(visit, made, reason="ILLNESS", minutesPlanned=20))
    assert won.status is Status.MERGED, won
    assert await house.row("visit", visit, "next_step", "reason", "minutes_planned") == ("by the office", "ILLNESS", 20)


async def test_a_visit_that_was_under_way_comes_back_closed_where_another_is_by_now(house: House) -> None:
    shop = await shop_of(house)
    first = await visit_at(house, shop, state="CHECKED_IN", checkInAt=house.now_ms)
    await delete(house, "visits", first)
    await visit_at(house, shop, state="CHECKED_IN", checkInAt=house.now_ms)
    assert (await restore(house, "wei", "visits", first)).status is Status.APPLIED
    assert await house.row("visit", first, "state", "reason") == ("ABORTED", "NO_CHECK_OUT")


async def test_an_erased_person_does_not_come_back(house: House) -> None:
    shop = await shop_of(house)
    await delete(house, "customers", shop)
    async with house.engine.write() as conn:
        assert await forget_deleted_copies(conn, [shop], house.now_ms) == (1, [])
    assert [p.code for p in (await restore(house, "wei", "customers", shop)).problems] == [Code.RESTORE_TOO_LATE]


async def trail(house: House, record_id: str) -> list[tuple[str, str, str, Any]]:
    """(action, door, actor, changes as (path, before, after)) of a record, oldest first."""
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT action, door, actor, changes, personal_changes FROM audit_entry WHERE record_id = ?"
            " ORDER BY at, id",
            record_id,
        )
    return [
        (
            row[0],
            row[1],
            row[2],
            sorted(
                (one["path"], one["before"], one["after"])
                for text in row[3:5]
                if text is not None
                for one in orjson.loads(text)
            ),
        )
        for row in rows
    ]


@pytest.mark.requirement("R32")
async def test_every_write_leaves_what_stood_before_and_after(house: House) -> None:
    shop = await shop_of(house, termsDays=30)
    await house.change("wei", change_customers, patch(shop, await house.rev("customers", shop), termsDays=60))
    house.now_ms += 1
    await house.work("admin", lambda work: move_customers(work, [Move(shop, house.patches["south"])], "retired"))
    await delete(house, "customers", shop)
    await restore(house, "admin", "customers", shop)
    made, changed, moved, gone, back = await trail(house, shop)
    wei, admin = house.people["wei"].actor, house.people["admin"].actor
    assert made[:3] == ("CREATE", "ONLINE", wei)
    assert ("termsDays", None, 30) in made[3]
    assert changed == ("UPDATE", "ONLINE", wei, [("termsDays", 30, 60)])
    assert moved == ("MOVE", "ONLINE", admin, [("territoryId", house.patches["north"], house.patches["south"])])
    assert (gone[:3], back[:3]) == (("DELETE", "ONLINE", admin), ("RESTORE", "ONLINE", admin))


async def test_what_follows_on_the_server_is_told_as_that(house: House) -> None:
    """The next check-in closes the visit before: nobody asked for it, and its history says so."""
    shop = await shop_of(house)
    first = await visit_at(house, shop, state="CHECKED_IN", checkInAt=house.now_ms)
    await visit_at(house, shop, state="CHECKED_IN", checkInAt=house.now_ms + 1)
    _, closed = await trail(house, first)
    assert closed[:3] == ("UPDATE", "SYSTEM", house.people["wei"].actor)
    assert ("state", "CHECKED_IN", "ABORTED") in closed[3]


async def test_what_is_undone_with_its_savepoint_leaves_no_entry(house: House) -> None:
    shop = await shop_of(house)
    told = await trail(house, shop)

    async def story(work: Work) -> None:
        try:
            async with work.part():
                await change_customers(work, [patch(shop, 0, termsDays=5)])
                raise RuntimeError("undone")
        except RuntimeError:
            pass

    await house.work("wei", story)
    assert await trail(house, shop) == told


async def handed_in(house: House, who: str, *mutations: Mutation) -> list[Any]:
    async def story(work: Work) -> list[Any]:
        return await push(work, mutations, USE_CASES, mutations_max=100)

    return await house.work(who, story, door=Door.PUSH)


async def test_a_restoration_captured_without_signal_is_taken_once_and_answered_the_same(house: House) -> None:
    shop = await shop_of(house)
    visit = await visit_at(house, shop)
    base = await house.rev("visits", visit)
    await delete(house, "visits", visit)
    at_ms = house.now_ms
    back = Mutation(new_id(), 1, "visits", visit, None, {}, restore=True, captured_at_ms=at_ms)
    edit = Mutation(new_id(), 2, "visits", visit, base, {"nextStep": "call"}, captured_at_ms=at_ms)
    first = await handed_in(house, "wei", back, edit)
    assert [answer.status for answer in first] == [Status.APPLIED, Status.APPLIED]
    assert not any(answer.late for answer in first)
    assert await house.row("visit", visit, "next_step", "notes") == ("call", "bring samples")
    rev = await house.rev("visits", visit)
    again = await handed_in(house, "wei", back, edit)
    assert [answer.status for answer in again] == [Status.APPLIED, Status.APPLIED]
    assert await house.rev("visits", visit) == rev
    doors = [(action, door) for action, door, _, _ in await trail(house, visit)]
    assert doors == [("CREATE", "ONLINE"), ("DELETE", "ONLINE"), ("RESTORE", "PUSH"), ("UPDATE", "PUSH")]


async def test_a_restoration_that_is_refused_is_kept_and_stops_nobody(house: House) -> None:
    shop = await shop_of(house)
    visit = await visit_at(house, shop)
    await delete(house, "visits", visit)
    mutations = [
        Mutation(new_id(), 1, "visits", visit, None, {"notes": "and more"}, restore=True),
        Mutation(new_id(), 2, "visits", visit, None, {}, restore=True, delete=True),
        Mutation(new_id(), 3, "visits", new_id(), None, {}, restore=True),
        Mutation(new_id(), 4, "syncIssues", new_id(), None, {}, restore=True),
        Mutation(new_id(), 5, "visits", visit, None, {}, restore=True),
    ]
    answers = await handed_in(house, "wei", *mutations)
    assert [[problem.code for problem in answer.problems] for answer in answers] == [
        [Code.INVALID_VALUE],
        [Code.INVALID_VALUE],
        [Code.NOT_FOUND],
        [Code.NOT_ALLOWED_VALUE],
        [],
    ]
    async with house.engine.read() as conn:
        kept = await conn.fetch("SELECT intent, mine, ways_out FROM sync_issue ORDER BY created_at, id")
    assert {row[0] for row in kept} == {"RESTORE"}
    assert all(orjson.loads(row[1]) == {"restore": True} for row in kept)
    assert all(orjson.loads(row[2]) == ["DISCARD"] for row in kept)


async def test_what_is_made_and_deleted_and_brought_back_in_one_push_stands(house: House) -> None:
    shop, visit = await shop_of(house, "admin", territoryId=house.patches["north"]), new_id()
    given = {"customerId": shop, "purpose": "SELL", "plannedAt": house.now_ms}
    answers = await handed_in(
        house,
        "admin",
        Mutation(new_id(), 1, "visits", visit, None, given),
        Mutation(new_id(), 2, "visits", visit, 0, {}, delete=True),
        Mutation(new_id(), 3, "visits", visit, None, {}, restore=True),
    )
    assert [answer.status for answer in answers] == [Status.APPLIED] * 3
    assert (await document_of(house, "visits", visit) or {})["purpose"] == "SELL"
    assert ("visits", visit) in (await synced(house, "wei")).documents
