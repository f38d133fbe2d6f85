"""Visits by every order of arrival."""

import pytest

from backend.domain.territories import Move
from backend.errors import Code
from backend.ids import new_id
from backend.sync.changes import Change, Status
from backend.usecases.customers import change_customers
from backend.usecases.territories import move_customers
from backend.usecases.visits import change_visits
from tests.house import NOON_MS, House, create, patch

MINUTE_MS = 60_000


@pytest.fixture
async def shop(house: House) -> str:
    shop_id = new_id()
    fields = {"nameZh": "北辰百货", "kind": "RETAILER", "latE7": 312304000, "lonE7": 1214737000}
    [outcome] = await house.change("wei", change_customers, create(shop_id, fields))
    assert outcome.status is Status.APPLIED
    return shop_id


async def _planned(house: House, shop: str, who: str = "wei") -> str:
    visit_id = new_id()
    [outcome] = await house.change(who, change_visits, create(visit_id, {"customerId": shop, "plannedAt": NOON_MS}))
    assert outcome.problems == ()
    return visit_id


async def test_a_day_sent_as_its_last_state_is_walked_along_the_allowed_steps(house: House, shop: str) -> None:
    visit_id = await _planned(house, shop)
    done = patch(
        visit_id,
        await house.rev("visits", visit_id),
        state="COMPLETED",
        checkInAt=NOON_MS - 30 * MINUTE_MS,
        checkOutAt=NOON_MS,
        outcome="ORDER_TAKEN",
    )
    [outcome] = await house.change("wei", change_visits, done)
    assert outcome.status is Status.APPLIED, outcome.problems
    assert await house.row("visit", visit_id, "state", "territory_id") == ("COMPLETED", house.patches["north"])
    assert await house.row("customer", shop, "last_visit_at") == (NOON_MS - 30 * MINUTE_MS,)


async def test_completing_without_evidence_names_what_is_missing(house: House, shop: str) -> None:
    visit_id = await _planned(house, shop)
    rev = await house.rev("visits", visit_id)
    [outcome] = await house.change("wei", change_visits, patch(visit_id, rev, state="COMPLETED"))
    assert {(p.code, p.path) for p in outcome.problems} == {
        (Code.EVIDENCE_MISSING, ("checkInAt",)),
        (Code.EVIDENCE_MISSING, ("checkOutAt",)),
        (Code.EVIDENCE_MISSING, ("outcome",)),
    }
    assert await house.row("visit", visit_id, "state") == ("PLANNED",)


async def test_a_second_check_in_closes_the_earlier_visit_and_tells_its_rep(house: House, shop: str) -> None:
    first, second = await _planned(house, shop), await _planned(house, shop)
    for visit_id, at_ms in ((first, NOON_MS - 90 * MINUTE_MS), (second, NOON_MS - 30 * MINUTE_MS)):
        rev = await house.rev("visits", visit_id)
        [outcome] = await house.change("wei", change_visits, patch(visit_id, rev, state="CHECKED_IN", checkInAt=at_ms))
        assert outcome.status is Status.APPLIED
    assert await house.row("visit", first, "state", "reason") == ("ABORTED", "NO_CHECK_OUT")
    assert await house.row("visit", second, "state") == ("CHECKED_IN",)
    async with house.engine.read() as conn:
        issues = await conn.fetch("SELECT user_id, record_id, code FROM sync_issue")
    assert [tuple(row) for row in issues] == [(house.people["wei"].user_id, first, "NO_CHECK_OUT")]


async def test_an_earlier_check_in_that_arrives_late_is_the_one_closed(house: House, shop: str) -> None:
    early, late = await _planned(house, shop), await _planned(house, shop)
    for visit_id, at_ms in ((late, NOON_MS), (early, NOON_MS - 60 * MINUTE_MS)):
        rev = await house.rev("visits", visit_id)
        await house.change("wei", change_visits, patch(visit_id, rev, state="CHECKED_IN", checkInAt=at_ms))
    assert await house.row("visit", early, "state") == ("ABORTED",)
    assert await house.row("visit", late, "state") == ("CHECKED_IN",)


async def _missed(house: House, visit_id: str) -> None:
    rev = await house.rev("visits", visit_id)
    [outcome] = await house.change("wei", change_visits, patch(visit_id, rev, state="MISSED"))
    assert outcome.status is Status.APPLIED, outcome.problems


def _again(shop: str, instead_of: str) -> Change:
    fields = {"customerId": shop, "plannedAt": NOON_MS + 60 * MINUTE_MS, "rescheduledFromId": instead_of}
    return create(new_id(), fields)


async def test_a_missed_visit_is_planned_again_as_a_new_one_that_names_it(house: House, shop: str) -> None:
    missed = await _planned(house, shop)
    await _missed(house, missed)
    again = _again(shop, missed)
    [outcome] = await house.change("wei", change_visits, again)
    assert outcome.status is Status.APPLIED, outcome.problems
    assert await house.row("visit", again.id, "state", "rescheduled_from_id") == ("PLANNED", missed)
    assert await house.row("visit", missed, "state") == ("MISSED",)


async def test_a_visit_found_missed_and_planned_again_come_in_one_batch(house: House, shop: str) -> None:
    missed, held = await _planned(house, shop), await _planned(house, shop)
    outcomes = await house.change(
        "wei",
        change_visits,
        _again(shop, missed),
        patch(missed, await house.rev("visits", missed), state="MISSED"),
        _again(shop, held),
        # refused itself, so the visit still stands as planned
        patch(held, await house.rev("visits", held), state="MISSED", outcome="?"),
    )
    assert [outcome.status for outcome in outcomes] == [Status.APPLIED] * 2 + [Status.REFUSED] * 2
    assert [(p.code, p.path) for p in outcomes[2].problems] == [(Code.INVALID_TRANSITION, ("rescheduledFromId",))]


async def test_only_a_missed_visit_of_the_same_customer_is_planned_again(house: House, shop: str) -> None:
    planned, cancelled, elsewhere = [await _planned(house, shop) for _ in range(3)]
    rev = await house.rev("visits", cancelled)
    await house.change("wei", change_visits, patch(cancelled, rev, state="CANCELLED"))
    await _missed(house, elsewhere)
    other_shop = new_id()
    [made] = await house.change("wei", change_customers, create(other_shop, {"nameEn": "Other", "kind": "RETAILER"}))
    assert made.status is Status.APPLIED
    wrong = [_again(shop, planned), _again(shop, cancelled), _again(other_shop, elsewhere), _again(shop, new_id())]
    outcomes = await house.change("wei", change_visits, *wrong)
    for wish, outcome in zip(wrong, outcomes, strict=True):
        assert [(p.code, p.path, p.allowed) for p in outcome.problems] == [
            (Code.INVALID_TRANSITION, ("rescheduledFromId",), ("MISSED",))
        ]
        assert await house.row("visit", wish.id, "id") == ()


async def test_a_customer_of_another_territory_is_not_found(house: House, shop: str) -> None:
    [outcome] = await house.change("na", change_visits, create(new_id(), {"customerId": shop, "plannedAt": NOON_MS}))
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.NOT_FOUND, ("customerId",))]


async def test_a_check_in_from_the_future_is_refused(house: House, shop: str) -> None:
    visit_id = await _planned(house, shop)
    rev = await house.rev("visits", visit_id)
    ahead = patch(visit_id, rev, state="CHECKED_IN", checkInAt=NOON_MS + 60 * MINUTE_MS)
    [outcome] = await house.change("wei", change_visits, ahead)
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.IN_THE_FUTURE, ("checkInAt",))]


async def test_a_moved_customer_takes_its_visits_along(house: House, shop: str) -> None:
    visit_id = await _planned(house, shop)
    moves = [Move(shop, house.patches["south"])]
    house.now_ms += MINUTE_MS
    assert await house.work("manager", lambda work: move_customers(work, moves)) == 1
    assert await house.row("visit", visit_id, "territory_id") == (house.patches["south"],)
    rev = await house.rev("visits", visit_id)
    [by_old] = await house.change("wei", change_visits, patch(visit_id, rev, notes="x"))
    [by_new] = await house.change("na", change_visits, patch(visit_id, rev, notes="x"))
    assert [p.code for p in by_old.problems] == [Code.NOT_FOUND]
    assert by_new.status is Status.APPLIED
    async with house.engine.read() as conn:
        places = await conn.fetch(
            "SELECT scope, left_seq IS NULL FROM feed_scope WHERE record_id = ? ORDER BY id", visit_id
        )
    north, south = house.patches["north"], house.patches["south"]
    assert [(scope, bool(still)) for scope, still in places] == [
        (f"territory:{north}", False),
        (f"territory:{south}", True),
    ]


async def test_a_visit_is_told_by_when_it_was_else_by_when_it_is_planned(house: House, shop: str) -> None:
    """The column that lists of days are sorted by follows every change of what it is made of."""
    visit_id = await _planned(house, shop)
    moved, entered = NOON_MS + MINUTE_MS, NOON_MS - MINUTE_MS
    for change, at_ms in (
        ({}, NOON_MS),
        ({"nextStep": "call"}, NOON_MS),
        ({"plannedAt": moved}, moved),
        ({"state": "CHECKED_IN", "checkInAt": entered}, entered),
        ({"plannedAt": NOON_MS}, entered),
    ):
        rev = await house.rev("visits", visit_id)
        [outcome] = await house.change("wei", change_visits, patch(visit_id, rev, **change))
        assert outcome.status is Status.APPLIED, outcome.problems
        assert await house.row("visit", visit_id, "happens_at") == (at_ms,)
