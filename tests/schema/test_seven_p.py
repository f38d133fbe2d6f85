"""The 7P analysis over GraphQL: the same on both databases, within scope, in the reader's language."""

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
SEVEN_P = """
query ($customer: ID, $territory: ID, $asOf: Date) {
  sevenP(customerId: $customer, territoryId: $territory, asOf: $asOf) {
    asOf currency customers customersLeftOut
    parts {
      code name score trend basis basisText n version chart
      figures { code name unit value low high before n missing missingText }
      evidence { list listName label collection recordId relatedId figures { code value low high before missing } }
      caveats { code text count } sources { source recorded from until rows }
    }
  }
}"""
ORDER = ["PROFILING", "PERSISTENCY", "PROFITABILITY", "PERFORMANCE", "PROSPECTING", "PRODUCT", "PROMOTION"]


@pytest.fixture
async def shops(house: House) -> list[str]:
    """Three shops in the north, a chain's head and a door of it, and one shop in the south; two years of orders."""
    ids = [new_id() for _ in range(5)]
    wishes = [
        create(shop, {"nameEn": f"S{place}", "kind": "CHAIN" if place in (2, 3) else "RETAILER",
                      "territoryId": house.patches["south" if place == 4 else "north"],
                      **({"parentId": ids[2]} if place == 3 else {})})
        for place, shop in enumerate(ids)
    ]  # fmt: skip
    await house.change("admin", change_customers, *wishes)
    wei = house.people["wei"].user_id or ""
    async with house.engine.write() as conn:
        style, colour, skus = await article(conn)
        for back in range(0, 720, 30):
            for shop, amount in ((ids[0], 10_000), (ids[2], 50_000)):
                await sell(conn, shop, add_days(TODAY, -back), amount, style, colour, {skus[0]: 6, skus[1]: 4})
        await histories.orders(conn, [(ids[1], add_days(TODAY, -400), 3_000), (ids[4], TODAY, 77)])
        await histories.orders(conn, [(ids[1], add_days(TODAY, -10), 5)], currency="THB")
        await histories.visits(
            conn, [(ids[0], wei, TODAY), (ids[0], wei, add_days(TODAY, -5)), (ids[3], wei, add_days(TODAY, -40))]
        )
    return ids


async def article(conn: Connection) -> tuple[str, str, list[str]]:
    """A style whose size S is no longer to be had."""
    style, colour, skus = new_id(), new_id(), [new_id() for _ in range(3)]
    await factories.insert(conn, "style", id=style, code="HZ-1", brand="HAIZHI", category="TOPS", size_scale="[]",
                           state="ACTIVE", created_at=factories.NOW_MS)  # fmt: skip
    await factories.insert(conn, "colour", id=colour, style_id=style, code="RED")
    for place, (sku, size) in enumerate(zip(skus, ("S", "M", "L"), strict=True)):
        await factories.insert(conn, "sku", id=sku, style_id=style, colour_id=colour, size=size, position=place,
                               state="DISCONTINUED" if size == "S" else "ACTIVE")  # fmt: skip
    return style, colour, skus


async def sell(
    conn: Connection, shop: str, day: str, listed: int, style: str, colour: str, cells: dict[str, int]
) -> None:
    """An order of one line at a tenth off the list price."""
    net, units = listed * 9 // 10, sum(cells.values())
    [order] = await histories.orders(conn, [(shop, day, net)])
    await factories.insert(
        conn, "order_line", id=new_id(), order_id=order, position=0, style_id=style, colour_id=colour,
        unit_price_minor=listed // units, discount_bp=1_000, cells=orjson.dumps(cells).decode(), units=units,
        total_minor=net,
    )  # fmt: skip


def parts_of(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["code"]: part for part in answer["sevenP"]["parts"]}


def value(part: dict[str, Any], code: str) -> Any:
    [figure] = [one for one in part["figures"] if one["code"] == code]
    return figure["missing"] or figure["value"]


def rows(part: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [one for one in part["evidence"] if one["list"] == code]


@pytest.mark.requirement("R18", "R19", "R20", "R21", "R22", "R23", "R24")
async def test_a_rep_reads_all_seven_parts_of_his_customers(house: House, shops: list[str]) -> None:
    answer = await data(house, "wei", SEVEN_P)
    assert [part["code"] for part in answer["sevenP"]["parts"]] == ORDER
    assert (answer["sevenP"]["customers"], answer["sevenP"]["customersLeftOut"]) == (4, 1)
    found = parts_of(answer)
    kinds = {one["label"]: one["figures"][0]["value"] for one in rows(found["PROFILING"], "KIND")}
    assert kinds == {"Retailer": 2, "Chain": 2}
    profit = found["PROFITABILITY"]
    year = 13 * (10_000 + 50_000)
    assert [value(profit, code) for code in ("GROSS", "DISCOUNT", "RETURNS", "FREIGHT", "GOODS", "VISITS_COST",
            "SERVICE", "NET")] == [year, -year // 10, "NOT_RECORDED", "NOT_RECORDED", "NOT_RECORDED", -30_000,
            "NOT_RECORDED", year * 9 // 10 - 30_000]  # fmt: skip
    # the door was visited and its head ordered: together they are no loss
    assert value(profit, "LOSS_MAKERS") == 0
    assert profit["score"] == round(100 * (year * 9 // 10 - 30_000) / year)
    assert value(found["PERFORMANCE"], "STRIKE_RATE") == 3_333
    assert value(found["PERFORMANCE"], "DAYS_TO_PAY") == "NOT_RECORDED"
    [run] = rows(found["PRODUCT"], "BROKEN_RUN")
    assert (run["label"], run["figures"][0]["value"], found["PRODUCT"]["score"]) == ("HZ-1 RED: S", 6_000, 40)
    assert len(rows(found["PROSPECTING"], "FORECAST")) == 4
    assert (found["PROMOTION"]["score"], value(found["PROMOTION"], "ROI")) == (None, "NOT_RECORDED")
    orders = next(one for one in profit["sources"] if one["source"] == "ORDERS")
    assert (orders["recorded"], orders["until"], orders["rows"]) == (True, TODAY, 26)
    assert {one["source"] for one in profit["sources"] if not one["recorded"]} >= {"RETURNS", "FREIGHT", "COSTS"}
    assert {caveat["code"] for caveat in profit["caveats"]} >= {"RETURNS_NOT_RECORDED", "LEFT_OUT"}


async def test_one_customer_and_one_day_may_be_asked_for(house: House, shops: list[str]) -> None:
    found = parts_of(await data(house, "wei", SEVEN_P, customer=shops[0], asOf=add_days(TODAY, -365)))
    assert value(found["PERFORMANCE"], "REVENUE") == 9_000 * 11
    assert value(found["PROFITABILITY"], "VISITS_COST") == 0
    assert found["PERSISTENCY"]["n"] == 1


async def set_goal(house: House, name: str, target: int, territory: str | None, **more: Any) -> str:
    """A goal for revenue over 91 days, in force since forty days ago."""
    found = new_id()
    async with house.engine.write() as conn:
        await factories.insert(
            conn, "goal", **{"id": found, "name": name, "metric": "REVENUE", "territory_id": territory,
            "window_days": 91, "baseline": 1, "target": target, "starts_on": add_days(TODAY, -40),
            "due_on": add_days(TODAY, 40), "reason": "The season", "judged_by": "Invoices",
            "owner_id": house.people["manager"].user_id, "set_at": house.now_ms - 86_400_000,
            "set_by": "staff:x", **more},
        )  # fmt: skip
    return found


@pytest.mark.requirement("R6", "R12", "R21")
async def test_attainment_is_of_the_goal_of_just_this_scope_and_is_not_recorded_elsewhere(
    house: House, shops: list[str]
) -> None:
    # of the last 91 days there are four orders of each of two shops in the north, and one in the south
    sold = 4 * 9 * (1_000 + 5_000)
    north, south = house.patches["north"], house.patches["south"]
    goals = {
        "north": await set_goal(house, "North", 2 * sold, north),
        "south": await set_goal(house, "South", 154, south),
        "over": await set_goal(house, "Over", 9, north, due_on=add_days(TODAY, -1)),
        "closed": await set_goal(house, "Closed", 9, north, closed_at=house.now_ms - 86_400_000),
        "other": await set_goal(house, "Other", 9, north, metric="WIN_RATE"),
        "whole": await set_goal(house, "Whole", 4 * (sold + 77), None, due_on=add_days(TODAY, 41)),
    }

    async def told(who: str, **asked: Any) -> tuple[Any, list[tuple[str, list[Any]]]]:
        part = parts_of(await data(house, who, SEVEN_P, **asked))["PERFORMANCE"]
        assert all(one["collection"] == "goals" for one in rows(part, "GOAL"))
        listed = [(one["recordId"], [f["value"] for f in one["figures"]]) for one in rows(part, "GOAL")]
        return value(part, "ATTAINMENT"), listed

    of_north = (goals["north"], [5_000, sold, 2 * sold])
    of_south = (goals["south"], [5_000, 77, 154])
    of_all = (goals["whole"], [2_500, sold + 77, 4 * (sold + 77)])
    assert await told("manager", territory=north) == (5_000, [of_north])
    everything = await told("admin")
    assert (everything[0], everything[1][0]) == (2_500, of_all)
    assert sorted(everything[1][1:]) == sorted([of_north, of_south])
    # all that a manager holds is what the node he is seated at holds, and the goal of the whole is not his
    assert (await told("manager"))[0] == "NOT_RECORDED"
    async with house.engine.read() as conn:
        [[root]] = await conn.fetch("SELECT parent_id FROM territory WHERE id = ?", north)
    of_root = (await set_goal(house, "Root", sold + 77, root), [10_000, sold + 77, sold + 77])
    value_of_root, listed = await told("manager")
    assert (value_of_root, listed[0]) == (10_000, of_root)
    assert sorted(listed[1:]) == sorted([of_north, of_south])
    # one customer has no goal, and who sees no goals is told of none
    assert await told("manager", customer=shops[0]) == ("NOT_RECORDED", [])
    assert await told("wei") == ("NOT_RECORDED", [])
    # who reads sums only is told of no territory with so few customers: five in all, four, one
    assert await told("analyst") == (2_500, [of_all, of_root])
    # before it was set there was none
    assert await told("manager", territory=north, asOf=add_days(TODAY, -20)) == ("NOT_RECORDED", [])


@pytest.mark.requirement("R24")
async def test_campaigns_that_were_judged_tell_response_and_lift_with_its_interval(
    house: House, shops: list[str]
) -> None:
    result = {
        "treatedN": 30, "controlN": 10, "metric": "BUYERS", "lift": 0.09, "low": 0.01, "high": 0.17,
        "treatedMean": 0.5, "controlMean": 0.41, "gainMinor": 700, "gainLowMinor": -100, "gainHighMinor": 1_500,
    }  # fmt: skip
    found = new_id()
    async with house.engine.write() as conn:
        for place, (kind, state) in enumerate(
            [("CAMPAIGN", "CLOSED"), ("CAMPAIGN", "ABORTED"), ("STRATEGY", "CLOSED")]
        ):
            record = found if place == 0 else new_id()
            await factories.insert(
                conn, "evaluation", id=record, state=state, subject_kind=kind, subject_id="autumn", name="Autumn mail",
                segments="[]", kinds="[]", metric="BUYERS", starts_on=add_days(TODAY, -60),
                ends_on=add_days(TODAY, -10), holdout_bp=2_500, salt="s", cost_minor=350, currency="USD",
                planned_at=house.now_ms, planned_by="staff:x", result=orjson.dumps(result).decode(),
            )  # fmt: skip
            await factories.insert(
                conn, "evaluation_arm", id=new_id(), evaluation_id=record, customer_id=shops[0],
                held_out=False, stratum="NONE",
            )  # fmt: skip
    part = parts_of(await data(house, "manager", SEVEN_P, territory=house.patches["north"]))["PROMOTION"]
    assert (value(part, "RESPONSE"), value(part, "CAMPAIGNS"), value(part, "ROI")) == (5_000, 1, 10_000)
    [row] = rows(part, "CAMPAIGN")
    assert row["recordId"] == found
    [lift] = [one for one in row["figures"] if one["code"] == "RESPONSE_LIFT"]
    assert (lift["value"], lift["low"], lift["high"]) == (900, 100, 1_700)
    elsewhere = parts_of(await data(house, "admin", SEVEN_P, territory=house.patches["south"]))["PROMOTION"]
    assert (value(elsewhere, "RESPONSE"), rows(elsewhere, "CAMPAIGN")) == ("NOT_RECORDED", [])


@pytest.mark.parametrize("locale", ["en", "zh-CN", "ko"])
async def test_without_records_there_are_no_rows_but_a_reason_in_the_readers_language(
    house: House, locale: str
) -> None:
    answer = (await ask(house, "na", SEVEN_P, locale))["data"]
    names = {"en": "Profiling", "zh-CN": "概况分析", "ko": "프로파일"}
    assert answer["sevenP"]["parts"][0]["name"] == names[locale]
    for part in answer["sevenP"]["parts"]:
        assert (part["score"], part["trend"], part["basis"], part["n"]) == (None, None, "NOT_RECORDED", 0), part["code"]
        assert part["evidence"] == [] or {one["list"] for one in part["evidence"]} == {"WATERFALL"}
        assert all(one["figures"][0]["value"] is None for one in part["evidence"])
        assert part["caveats"], part["code"]
        assert all(one["text"] and "–" not in one["text"] for one in part["caveats"])
        assert part["chart"]["data"]["values"] == []
        assert part["chart"]["title"]["subtitle"]


@pytest.mark.requirement("R49")
async def test_what_is_out_of_scope_is_not_found_and_who_reads_sums_learns_nothing_of_single_customers(
    house: House, shops: list[str]
) -> None:
    async def refused(who: str, **asked: object) -> list[tuple[str, list[str]]]:
        [error] = (await ask(house, who, SEVEN_P, **asked))["errors"]
        return [(one["code"], one["path"]) for one in error["extensions"]["problems"]]

    assert await refused("na", customer=shops[0]) == [("NOT_FOUND", ["customerId"])]
    assert await refused("wei", territory=house.patches["south"]) == [("NOT_FOUND", ["territoryId"])]
    assert await refused("wei", customer=shops[0], territory=house.patches["north"]) == [
        ("INVALID_VALUE", ["territoryId"])
    ]
    assert await refused("wei", asOf=add_days(TODAY, 1)) == [("IN_THE_FUTURE", ["asOf"])]
    assert await refused("analyst", customer=shops[0]) == [("NOT_PERMITTED", ["orders"])]
    assert await refused("analyst", territory=house.patches["south"]) == [("NOT_PERMITTED", ["orders"])]
    found = parts_of(await data(house, "analyst", SEVEN_P))
    assert value(found["PROFITABILITY"], "GROSS") == 13 * 60_000 + 77
    told = {one["recordId"] for part in found.values() for one in part["evidence"] if part["code"] != "PROFILING"}
    assert not told & set(shops)
    assert "ROWS_WITHHELD" in {one["code"] for one in found["PROFITABILITY"]["caveats"]}
    whole = parts_of(await data(house, "manager", SEVEN_P))
    assert {one["recordId"] for one in rows(whole["PROSPECTING"], "NEXT_ORDER")} & set(shops)


async def test_pictures_hold_their_data_and_fetch_nothing(house: House, shops: list[str]) -> None:
    answer = await data(house, "wei", SEVEN_P)
    text = orjson.dumps([part["chart"] for part in answer["sevenP"]["parts"]]).decode()
    assert "://" not in text
    assert '"url"' not in text
    assert len(text) < 100_000
