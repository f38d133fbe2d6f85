"""Skips and overrides: who may say them, how long they hold, and what they do to a day's list."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.domain.territories import Move
from backend.domain.times import add_days
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.usecases.judgements import change_judgements
from backend.usecases.territories import move_customers
from tests.house import NOON_MS, House, create, patch
from tests.usecases.phones import synced
from tests.usecases.test_insights import ranking, run, sell, shops, steady

TODAY = "2026-11-22"
OVERRIDE = {"kind": "OVERRIDE", "reason": "STRATEGIC", "score": 90, "endsOn": add_days(TODAY, 30)}
SKIP = {"kind": "SKIP", "reason": "NO_TIME"}


def problems(outcome: Outcome) -> set[tuple[str, str]]:
    return {(problem.code.value, ".".join(problem.path)) for problem in outcome.problems}


async def judge(
    house: House, shop: str, who: str = "wei", *, captured_at_ms: int | None = None, **fields: Any
) -> Outcome:
    change = create(new_id(), {"customerId": shop, **fields}, captured_at_ms=captured_at_ms)
    [outcome] = await house.change(who, change_judgements, change)
    return outcome


async def taken_back(house: House, judgement: str, who: str, *, withdrawn: bool = True) -> Outcome:
    change = patch(judgement, await house.rev("judgements", judgement), withdrawn=withdrawn)
    [outcome] = await house.change(who, change_judgements, change)
    return outcome


async def document(house: House, judgement: str, who: str = "wei") -> Mapping[str, Any]:
    """As a phone has it."""
    return (await synced(house, who)).documents["judgements", judgement]


@pytest.mark.requirement("R28")
async def test_a_skip_is_for_the_day_of_its_capture_and_an_override_until_it_ends(house: House) -> None:
    [shop] = await shops(house, 1)
    # late in the evening of the day before, in Shanghai; sent today
    skip = await judge(house, shop, **SKIP, captured_at_ms=NOON_MS - 13 * 3_600_000)
    override = await judge(house, shop, "manager", **OVERRIDE)
    assert [skip.status, override.status] == [Status.APPLIED] * 2, (skip, override)
    seen = await document(house, skip.id)
    assert (seen["startsOn"], seen["endsOn"]) == ("2026-11-21", "2026-11-21")
    assert (seen["createdBy"], seen["scoreBefore"], seen["withdrawn"]) == (house.people["wei"].user_id, None, False)
    seen = await document(house, override.id)
    assert (seen["startsOn"], seen["endsOn"], seen["score"], seen["points"]) == (TODAY, add_days(TODAY, 30), 90, None)


async def test_everything_wrong_with_a_judgement_is_said_at_once(house: House) -> None:
    [shop] = await shops(house, 1)
    wrong = await judge(
        house, shop, "manager", kind="OVERRIDE", reason="NO_TIME", score=101, points=5, endsOn=add_days(TODAY, 91)
    )
    assert problems(wrong) == {
        ("NOT_ALLOWED_VALUE", "reason"),
        ("OUT_OF_RANGE", "score"),
        ("OUT_OF_RANGE", "endsOn"),
    }
    assert problems(await judge(house, shop, "manager", kind="OVERRIDE", reason="OTHER", endsOn=TODAY)) == {
        ("REQUIRED", "note"),
        ("REQUIRED", "score"),
    }
    both = await judge(house, shop, "manager", **{**OVERRIDE, "points": 5})
    assert problems(both) == {("INVALID_VALUE", "points")}
    long = await judge(house, shop, kind="SKIP", reason="STRATEGIC", score=3, endsOn=add_days(TODAY, 31))
    assert problems(long) == {
        ("NOT_ALLOWED_VALUE", "reason"),
        ("INVALID_VALUE", "score"),
        ("OUT_OF_RANGE", "endsOn"),
    }
    backwards = await judge(house, shop, **SKIP, startsOn=TODAY, endsOn=add_days(TODAY, -1))
    assert problems(backwards) == {("OUT_OF_RANGE", "endsOn")}
    old = await judge(house, shop, **SKIP, startsOn=add_days(TODAY, -32))
    assert problems(old) == {("OUT_OF_RANGE", "startsOn")}
    assert problems(await judge(house, new_id(), **SKIP)) == {("NOT_FOUND", "customerId")}
    assert problems(await judge(house, shop, kind="WISH", reason="NO_TIME")) == {("NOT_ALLOWED_VALUE", "kind")}


@pytest.mark.requirement("R28")
async def test_an_override_needs_the_right_and_a_customer_in_scope(house: House) -> None:
    [mine], [theirs] = await shops(house, 1), await shops(house, 1, patch_name="south")
    assert problems(await judge(house, mine, **OVERRIDE)) == {("NOT_PERMITTED", "kind")}
    assert problems(await judge(house, theirs, **SKIP)) == {("NOT_FOUND", "customerId")}
    for who in ("agent", "analyst"):
        assert ("NOT_PERMITTED", "") in problems(await judge(house, mine, who, **SKIP)), who
    assert (await judge(house, theirs, "manager", **OVERRIDE)).status is Status.APPLIED


async def test_whoever_said_it_takes_it_back_once_and_a_manager_any_override(house: House) -> None:
    [shop] = await shops(house, 1)
    skip, override = await judge(house, shop, **SKIP), await judge(house, shop, "admin", **OVERRIDE)
    assert problems(await taken_back(house, skip.id, "manager")) == {("NOT_PERMITTED", "withdrawn")}
    assert problems(await taken_back(house, override.id, "wei")) == {("NOT_PERMITTED", "withdrawn")}
    assert (await taken_back(house, skip.id, "wei")).status is Status.APPLIED
    assert (await taken_back(house, override.id, "manager")).status is Status.APPLIED
    assert (await document(house, skip.id))["withdrawnAt"] == "2026-11-22T04:00:00.000Z"
    assert problems(await taken_back(house, skip.id, "wei", withdrawn=False)) == {("NOT_EDITABLE", "withdrawn")}
    [fixed] = await house.change(
        "manager", change_judgements, patch(override.id, await house.rev("judgements", override.id), score=10)
    )
    assert problems(fixed) == {("NOT_EDITABLE", "score")}
    [gone] = await house.change("manager", change_judgements, Change(override.id, Intent.DELETE))
    assert problems(gone) == {("NOT_PERMITTED", "")}


@pytest.mark.requirement("R28")
async def test_a_judgement_moves_the_customer_and_leaves_its_score(house: House) -> None:
    ids = await shops(house, 4)
    await sell(house, [row for place, shop in enumerate(ids) for row in steady(shop, 10_000 * (place + 1))])
    await run(house)
    plain = await ranking(house)
    first, *_, last = [item.customer_id for item in plain.items]
    skip = await judge(house, first, **SKIP)
    override = await judge(house, last, "manager", **OVERRIDE)
    older = await judge(house, last, "manager", **{**OVERRIDE, "score": None, "points": -100})
    assert {one.status for one in (skip, override, older)} == {Status.APPLIED}
    await taken_back(house, older.id, "manager")

    found = await ranking(house)
    assert (found.items[0].customer_id, found.items[-1].customer_id) == (last, first)
    assert {item.customer_id: item.score for item in found.items} == {
        item.customer_id: item.score for item in plain.items
    }, "what was computed stays"
    places = {item.customer_id: item.place for item in found.items}
    assert (places[last].ranked_at, places[last].skipped, [one.id for one in places[last].shown]) == (
        90,
        False,
        [override.id],
    )
    assert (places[first].skipped, [one.id for one in places[first].shown]) == (True, [skip.id])
    assert [item.place.shown for item in found.items[1:-1]] == [()] * 2

    # the manager is shown the skip, and keeps the customer where it is
    theirs = {item.customer_id: item for item in (await ranking(house, "manager")).items}
    assert (theirs[first].rank, theirs[first].place.skipped, len(theirs[first].place.shown)) == (2, False, 1)
    phone = await synced(house, "wei")
    me = str(house.people["wei"].user_id)
    assert [one for one, _ in phone.ranked(TODAY, me)] == [item.customer_id for item in found.items]
    tomorrow = add_days(TODAY, 1)
    there = await ranking(house, on=tomorrow)
    assert not any(item.place.skipped for item in there.items)
    assert [one for one, _ in phone.ranked(tomorrow, me)] == [item.customer_id for item in there.items]
    after = add_days(TODAY, 31)
    assert not any(item.place.shown for item in (await ranking(house, on=after)).items)


async def test_a_judgement_goes_where_its_customer_goes(house: House) -> None:
    [shop] = await shops(house, 1)
    skip = await judge(house, shop, **SKIP)
    house.now_ms += 3_600_000
    await house.work("manager", lambda work: move_customers(work, [Move(shop, house.patches["south"])]))
    assert ("judgements", skip.id) not in (await synced(house, "wei")).documents
    assert ("judgements", skip.id) in (await synced(house, "na")).documents
