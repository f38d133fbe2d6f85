"""Behaviour, affinity, look-alikes and cohorts over GraphQL: right figures, within scope, on both databases."""

from collections import Counter
from typing import Any

import orjson
import pytest

from backend.domain.times import add_days
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.usecases.customers import change_customers
from tests import factories, histories
from tests.house import House, create
from tests.usecases.asking import ask, data

TODAY = "2026-11-22"


async def shops(house: House, count: int, patch: str = "north", kind: str = "RETAILER") -> list[str]:
    ids = sorted(new_id() for _ in range(count))
    wishes = [
        create(shop, {"nameEn": f"Shop {place}", "kind": kind, "territoryId": house.patches[patch]})
        for place, shop in enumerate(ids)
    ]
    await house.change("admin", change_customers, *wishes)
    return ids


async def sell(conn: Connection, customer_id: str, day: str, amount: int, cells: dict[str, dict[str, int]]) -> None:
    """An order with a line for each category, whose cells are {size: pieces}; the colour is the size's length."""
    [order_id] = await histories.orders(conn, [(customer_id, day, amount)])
    for place, (category, sizes) in enumerate(sorted(cells.items())):
        style_id, colour_id = await article(conn, category)
        skus = {}
        for size, pieces in sizes.items():
            sku = new_id()
            row = {"style_id": style_id, "colour_id": colour_id, "size": size, "position": 0, "state": "ACTIVE"}
            await factories.insert(conn, "sku", id=sku, **row)
            skus[sku] = pieces
        await factories.insert(
            conn, "order_line", id=new_id(), order_id=order_id, position=place, style_id=style_id, colour_id=colour_id,
            unit_price_minor=1, discount_bp=0, cells=orjson.dumps(skus).decode(), units=sum(sizes.values()),
            total_minor=0,
        )  # fmt: skip


async def article(conn: Connection, category: str) -> tuple[str, str]:
    found = await conn.fetch(
        "SELECT s.id, c.id FROM style s JOIN colour c ON c.style_id = s.id WHERE s.code = ?", category
    )
    if found:
        return found[0][0], found[0][1]
    style_id, colour_id = new_id(), new_id()
    await factories.insert(conn, "style", id=style_id, code=category, brand="MINU", category=category, size_scale="[]",
                           state="ACTIVE", created_at=factories.NOW_MS)  # fmt: skip
    await factories.insert(conn, "colour", id=colour_id, style_id=style_id, code=f"{category}-red")
    return style_id, colour_id


BEHAVIOUR = """
query ($customer: ID, $territory: ID) {
  behaviour(customerId: $customer, territoryId: $territory) {
    asOf customers customersLeftOut
    rhythm { medianDays lowDays highDays intervals recentDays }
    season { shareBp strengthBp peakMonths orderDays }
    category { shares { value shareBp } restBp breadthBp values units knownBp }
    colour { shares { value shareBp } } size { shares { value shareBp } knownBp }
    missing { part why text } sources { source recorded from until rows }
  }
}"""


@pytest.mark.requirement("R9")
async def test_a_customers_behaviour_is_said_with_what_it_stands_on(house: House) -> None:
    mine, other = await shops(house, 2)
    async with house.engine.write() as conn:
        for back in (0, 10, 30, 400):
            cells = {"TOPS": {"M": 3, "L": 1}, "SHOES": {"240": 4}} if back else {"TOPS": {"M": 8}}
            await sell(conn, mine, add_days(TODAY, -back), 1_000, cells)
        await histories.orders(conn, [(other, TODAY, 5), (mine, add_days(TODAY, -20), 1_000)])
    found = (await data(house, "wei", BEHAVIOUR, customer=mine))["behaviour"]
    assert found["rhythm"] == {"medianDays": 10.0, "lowDays": 10.0, "highDays": 100.0, "intervals": 4,
                               "recentDays": 10.0}  # fmt: skip
    assert {one["value"]: one["shareBp"] for one in found["category"]["shares"]} == {"TOPS": 6250, "SHOES": 3750}
    assert (found["category"]["units"], found["category"]["knownBp"], found["category"]["values"]) == (32, 10_000, 2)
    assert {one["value"] for one in found["colour"]["shares"]} == {"TOPS-red", "SHOES-red"}
    assert found["size"]["shares"][0] == {"value": "M", "shareBp": 5312}
    assert (found["season"]["peakMonths"], found["season"]["shareBp"][9:]) == ([11, 10], [2_500, 7_500, 0])
    assert [(one["part"], one["why"]) for one in found["missing"]] == [("RETURNS", "NOT_RECORDED")]
    assert found["sources"][0] == {"source": "ORDERS", "recorded": True, "from": add_days(TODAY, -400), "until": TODAY,
                                   "rows": 5}  # fmt: skip
    assert found["customers"] == 1
    alone = (await data(house, "wei", BEHAVIOUR, customer=other))["behaviour"]
    assert (alone["rhythm"], alone["season"], alone["category"]) == (None, None, None)
    assert {one["part"] for one in alone["missing"]} == {"RHYTHM", "SEASON", "CATEGORY", "COLOUR", "SIZE", "RETURNS"}


@pytest.mark.requirement("R49")
async def test_behaviour_is_within_scope_and_not_of_few_to_who_reads_sums_only(house: House) -> None:
    mine = await shops(house, 5)
    async with house.engine.write() as conn:
        await histories.orders(conn, [(shop, add_days(TODAY, -place), 10) for shop in mine for place in range(3)])

    async def refused(who: str, **variables: object) -> list[tuple[str, list[str]]]:
        [error] = (await ask(house, who, BEHAVIOUR, **variables))["errors"]
        return [(one["code"], one["path"]) for one in error["extensions"]["problems"]]

    assert await refused("na", customer=mine[0]) == [("NOT_FOUND", ["customerId"])]
    assert await refused("na", territory=house.patches["north"]) == [("NOT_FOUND", ["territoryId"])]
    assert await refused("wei", customer=mine[0], territory=house.patches["north"]) == [
        ("INVALID_VALUE", ["territoryId"])
    ]
    assert await refused("analyst", customer=mine[0]) == [("NOT_PERMITTED", ["orders"])]
    all_of_it = (await data(house, "analyst", BEHAVIOUR))["behaviour"]
    assert (all_of_it["customers"], all_of_it["rhythm"]["intervals"]) == (5, 10)
    assert (await data(house, "na", BEHAVIOUR))["behaviour"]["customers"] == 0


AFFINITY = """
query ($item: AffinityItem! = CATEGORY, $first: Int! = 20) { affinity(item: $item, first: $first) {
  since asOf orders items pairsCompared
  pairs { first second support firstOrders secondOrders lift liftLow liftHigh confidence confidenceLow confidenceHigh }
} }"""


@pytest.mark.requirement("R10")
async def test_what_is_ordered_together_is_told_with_its_interval(house: House) -> None:
    mine = await shops(house, 5)
    [foreign] = await shops(house, 1, "south")
    async with house.engine.write() as conn:
        for number in range(60):
            cells = {"TOPS": {"M": 1}, "SHOES": {"240": 1}} if number % 2 else {"KNITS": {"M": 1}}
            await sell(conn, mine[number % 5], add_days(TODAY, -number), 10, cells)
        for number in range(25):
            await sell(conn, foreign, add_days(TODAY, -number), 10, {"KNITS": {"M": 1}, "SHOES": {"240": 1}})
    found = (await data(house, "wei", AFFINITY))["affinity"]
    assert (found["orders"], found["items"], found["pairsCompared"]) == (60, 3, 1)
    [pair] = found["pairs"]
    assert {pair["first"], pair["second"]} == {"TOPS", "SHOES"}
    assert (pair["support"], pair["lift"], pair["confidence"]) == (30, 2.0, 1.0)
    assert 1.5 < pair["liftLow"] < 2 < pair["liftHigh"] < 2.7
    assert 0.88 < pair["confidenceLow"] < 0.89
    styles = (await data(house, "analyst", AFFINITY, item="STYLE"))["affinity"]
    assert (styles["orders"], styles["items"]) == (85, 3)
    assert (await ask(house, "wei", AFFINITY, first=0))["errors"][0]["extensions"]["code"] == "OUT_OF_RANGE"


ALIKE = """
query ($customer: ID!) { lookAlikes(customerId: $customer, first: 3) {
  customerId customer { nameEn } distance compared likenesses { feature own other apart weight }
} }"""


@pytest.mark.requirement("R10")
async def test_a_look_alike_is_of_the_same_kind_and_says_in_what(house: House) -> None:
    mine = await shops(house, 6)
    [chain] = await shops(house, 1, kind="CHAIN")
    rows = [
        (shop, add_days(TODAY, -30 * back), 1_000 * 10**place)
        for place, shop in enumerate(mine[:5])
        for back in range(6)
    ]
    async with house.engine.write() as conn:
        await histories.orders(conn, [*rows, *((chain, add_days(TODAY, -30 * back), 1_000) for back in range(6))])
    found = (await data(house, "wei", ALIKE, customer=mine[0]))["lookAlikes"]
    assert [one["customerId"] for one in found] == [mine[1], mine[2], mine[3]]
    first = {one["feature"]: one for one in found[0]["likenesses"]}
    assert (first["YEARLY_SALES"]["own"], first["YEARLY_SALES"]["other"]) == (6_000, 60_000)
    assert found[0]["distance"] < found[1]["distance"]
    assert (await data(house, "wei", ALIKE, customer=mine[5]))["lookAlikes"] == [], "it never bought"
    codes = {
        who: (await ask(house, who, ALIKE, customer=mine[0]))["errors"][0]["extensions"]["code"]
        for who in ("na", "analyst")
    }
    assert codes == {"na": "NOT_FOUND", "analyst": "NOT_PERMITTED"}


COHORTS = """{ cohorts { asOf customers customersLeftOut hiddenBelow
  cohorts { quarter customers cells { age quarter ordered shareBp lowBp highBp whole } } sources { rows } } }"""


@pytest.mark.requirement("R17")
async def test_cohorts_are_told_by_quarter_and_small_ones_not_to_everybody(house: House) -> None:
    mine = await shops(house, 7)
    first = ["2026-01-10"] * 5 + ["2026-05-05"] * 2
    rows: list[tuple[str, str, int]] = [(shop, day, 10) for shop, day in zip(mine, first, strict=True)]
    rows += [(mine[0], "2026-04-01", 10), (mine[1], "2026-11-01", 10), (mine[5], "2026-07-01", 10)]
    async with house.engine.write() as conn:
        await histories.orders(conn, rows)
    found = (await data(house, "wei", COHORTS))["cohorts"]
    told = {one["quarter"]: one for one in found["cohorts"]}
    assert (found["customers"], found["hiddenBelow"], found["sources"][0]["rows"]) == (7, None, 10)
    assert [(cell["quarter"], cell["ordered"], cell["shareBp"], cell["whole"]) for cell in told["2026Q1"]["cells"]] == [
        ("2026Q1", 5, 10_000, True), ("2026Q2", 1, 2_000, True), ("2026Q3", 0, 0, True), ("2026Q4", 1, 2_000, False),
    ]  # fmt: skip
    assert told["2026Q2"]["customers"] == 2
    assert told["2026Q3"] == {"quarter": "2026Q3", "customers": 0, "cells": []}
    seen = {one["quarter"]: one["customers"] for one in (await data(house, "analyst", COHORTS))["cohorts"]["cohorts"]}
    assert (seen["2026Q1"], seen["2026Q2"]) == (5, None)
    assert Counter(seen.values())[None] == 3
    empty: Any = (await data(house, "na", COHORTS))["cohorts"]
    assert (empty["customers"], empty["cohorts"]) == (0, [])
