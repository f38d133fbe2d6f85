"""What a visit brings, in the nightly run: assumed until enough visits were held out, then what was measured."""

from typing import Any

import orjson
import pytest

from backend.config import load_messages
from backend.domain.line_texts import line_text, reason_text
from backend.domain.messages import LOCALES
from backend.domain.priority import LineCode
from backend.domain.times import DAY_MS, add_days
from backend.usecases.insights import RunSummary, run_scores
from tests import histories
from tests.house import House
from tests.usecases.test_evaluations import SETTINGS, STARTS, arms, close, freeze, plan, sold
from tests.usecases.test_insights import fetch, ranking

EVERYBODY, PROSPECTS = 480, 20
BASE, PEAK = 0.02, 0.30


async def night(house: House) -> tuple[RunSummary, dict[str, Any]]:
    """The run, and what it kept of its models."""
    summary = await run_scores(house.engine, house.people["analyst"], settings=SETTINGS, clock=lambda: house.now_ms)
    [(models,)] = await fetch(house.engine, "SELECT models FROM score_run WHERE id = ?", summary.id)
    return summary, orjson.loads(models)["visitUplift"]


async def measured(house: House) -> dict[str, tuple[int | None, int | None]]:
    """Customer → (uplift, whether it was measured), as devices are told."""
    rows = await fetch(house.engine, "SELECT customer_id, facts FROM customer_score")
    found = {customer: orjson.loads(facts) for customer, facts in rows}
    return {customer: (facts["upliftMinor"], facts["upliftMeasured"]) for customer, facts in found.items()}


@pytest.mark.requirement("R28", "R30")
async def test_enough_visits_held_out_move_what_a_visit_brings_and_few_leave_the_assumption(house: House) -> None:
    today = STARTS
    async with house.engine.write() as conn:
        shops = await histories.customers(conn, EVERYBODY, territory_id=house.patches["north"])
        prospects = await histories.customers(conn, PROSPECTS, territory_id=house.patches["north"], prefix="New")
        # half of them order every 30 days and did so lately, half have been silent for 90 days
        rows = [
            (shop, add_days(today, -(2 if place % 2 else 92) - 30 * step), 20_000 + 40 * place)
            for place, shop in enumerate(shops)
            for step in range(4)
        ]
        await histories.orders(conn, rows)
    first, assumed = await night(house)
    assert (assumed["basis"], assumed["base"]) == ("PRIOR", {"value": 0.05, "low": None, "high": None})
    assert first.customers_changed == EVERYBODY + PROSPECTS
    told = await measured(house)
    assert {told[shop][1] for shop in shops} == {0}
    assert {told[one] for one in prospects} == {(None, None)}, "of whom nothing is known nothing was assumed"

    forecasts = dict(await fetch(house.engine, "SELECT customer_id, facts FROM customer_score"))
    spend = {shop: orjson.loads(forecasts[shop])["valueAtStakeMinor"] for shop in shops}
    evaluation_id = await plan(house, holdout_bp=5_000)
    await freeze(house, evaluation_id)
    held = await arms(house, evaluation_id)
    share = {shop: 0.5 + (0.0 if held[shop] else BASE if place % 2 else PEAK) for place, shop in enumerate(shops)}
    house.now_ms += DAY_MS
    await sold(
        house,
        [
            (shop, add_days(STARTS, place % 20), round(spend[shop] * share[shop] * (1 + (place % 5 - 2) / 50)))
            for place, shop in enumerate(shops)
        ],
    )
    house.now_ms += 30 * DAY_MS
    _, waiting = await night(house)
    assert waiting["basis"] == "PRIOR", "one that is not closed says nothing"
    await close(house, evaluation_id)
    before = await measured(house)
    second, found = await night(house)
    assert (found["basis"], found["treatedN"] + found["controlN"]) == ("ESTIMATED", EVERYBODY)
    for name, injected in (("base", BASE), ("peak", PEAK)):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        assert found[name]["value"] == pytest.approx(injected, abs=0.03), name
    after = await measured(house)
    assert 0 < second.customers_changed <= EVERYBODY, "whom nothing changes is not told"
    assert {after[shop] for shop in prospects} == {(None, None)}
    moved = [shop for shop in shops if after[shop] != before[shop]]
    assert len(moved) == second.customers_changed
    assert {after[shop][1] for shop in moved} == {1}
    facts = {customer: orjson.loads(one) for customer, one in await fetch(
        house.engine, "SELECT customer_id, facts FROM customer_score")}  # fmt: skip
    parts = [after[shop][0] / facts[shop]["valueAtStakeMinor"] for shop in moved]  # type: ignore[operator]
    low, high = found["base"]["value"], found["peak"]["value"]
    assert low - 0.001 <= min(parts) <= low + 0.01, "on time"
    assert max(parts) <= high + 0.001
    assert (await night(house))[0].customers_changed == 0

    found_list = await ranking(house, on=add_days(STARTS, 31), first=100)
    lines = {item.customer_id: item.lines for item in found_list.items}
    seen = next(shop for shop in lines if shop in moved)
    [line] = [one for one in lines[seen] if one.code is LineCode.SAVABLE_REVENUE]
    assert line.numbers["measured"] == 1
    for locale, word in zip(LOCALES, ("measured", "实测", "측정"), strict=True):
        assert word in line_text(load_messages(), line, locale, "USD")
        assert word in reason_text(load_messages(), line, locale, "USD")

    # two months on everybody is long past due, and a visit brings what was measured there, not what is assumed
    house.now_ms += 60 * DAY_MS
    await night(house)
    facts = {customer: orjson.loads(one) for customer, one in await fetch(
        house.engine, "SELECT customer_id, facts FROM customer_score")}  # fmt: skip
    parts = [facts[shop]["upliftMinor"] / facts[shop]["valueAtStakeMinor"] for shop in shops
             if (facts[shop]["valueAtStakeMinor"] or 0) > 1_000]  # fmt: skip
    assert parts, sorted(facts[shop]["valueAtStakeMinor"] or 0 for shop in shops)[-5:]
    assert max(parts) == pytest.approx(high, abs=0.005)
