"""Data quality and stale customers over GraphQL: what is wrong with whom, within scope, in the reader's words."""

from typing import Any

import pytest

from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests import factories
from tests.house import NOON_MS, House, create, patch
from tests.usecases.asking import ask, data

DAY_MS = 86_400_000
QUALITY = """
query ($customer: ID, $territory: ID, $days: Int) {
  dataQuality(customerId: $customer, territoryId: $territory, days: $days) {
    customers staleDays
    parts { part name scoreBp checked failed checks { rule text field checked failed examples } }
  }
}"""
STALE = """
query ($days: Int, $first: Int! = 20) { staleData(days: $days, first: $first) {
  totalCount customers items { customerId customer { nameEn } lastRecordedAt silentDays } } }"""


def failing(found: Any) -> dict[str, list[str]]:
    return {
        check["field"] or check["rule"]: check["examples"]
        for part in found["dataQuality"]["parts"] for check in part["checks"] if check["failed"]
    }  # fmt: skip


@pytest.fixture
async def shops(house: House) -> list[str]:
    """Three of wei's: a whole one, one that contradicts itself, one of whom only the name is known."""
    ids = sorted(new_id() for _ in range(3))
    whole = {
        "kind": "RETAILER", "code": "W1", "phone": "+8613800138000", "country": "CN", "city": "Shanghai",
        "street": "Road 1", "taxId": "91310000MA1FL00001", "currency": "CNY", "termsDays": 30,
        "timezone": "Asia/Shanghai", "openHours": {"MON": "09:00-18:00"}, "cadenceDays": 14,
        "latE7": 312000000, "lonE7": 1214000000,
        "territoryId": house.patches["north"], "stage": "MATURE",
    }  # fmt: skip
    wishes = [
        create(ids[0], {**whole, "nameEn": "Whole"}),
        create(ids[1], {**whole, "nameEn": "Odd", "code": "W1b", "country": "KR", "stage": "PROSPECT"}),
        create(ids[2], {"nameEn": "Bare", "kind": "RETAILER", "territoryId": house.patches["north"]}),
    ]
    outcomes = await house.change("admin", change_customers, *wishes)
    assert not [problem for outcome in outcomes for problem in outcome.problems]
    price_list = new_id()
    async with house.engine.write() as conn:
        await factories.insert(conn, "price_list", id=price_list, code="CNY", name="CNY", currency="CNY")
        await conn.execute("UPDATE customer SET price_list_id = ? WHERE id IN (?, ?)", price_list, ids[0], ids[1])
        await conn.execute("UPDATE customer SET last_order_at = ? WHERE id = ?", NOON_MS - 5 * DAY_MS, ids[1])
        await conn.execute("DELETE FROM match_pair")
        for first, second, state in ((ids[0], ids[1], "OPEN"), (ids[0], ids[2], "DISTINCT")):
            row = {"first_id": first, "second_id": second, "state": state, "points": 9, "reasons": "[]"}
            await factories.insert(
                conn, "match_pair", id=new_id(), collection="customers", found_at=NOON_MS, found_by="system", **row
            )
    return ids


@pytest.mark.requirement("R48")
async def test_what_is_wrong_with_whom_is_told_in_the_readers_words(house: House, shops: list[str]) -> None:
    whole, odd, bare = shops
    found = await data(house, "wei", QUALITY)
    faults = failing(found)
    assert found["dataQuality"]["customers"] == 3
    assert faults.pop("SAME_TAX_ID") == [whole, odd]
    assert faults.pop("PROSPECT_WITH_ORDERS") == faults.pop("PHONE_OF_OTHER_COUNTRY") == [odd]
    assert faults.pop("DUPLICATE_SUSPECTED") == [whole, odd], "a pair somebody decided on is none"
    assert set(map(tuple, faults.values())) == {(bare,)}
    assert len(faults) == 13, "everything that is wanted of a shop but its name"
    assert failing(await data(house, "wei", QUALITY, customer=odd)).keys() >= {"PROSPECT_WITH_ORDERS"}
    korean = (await ask(house, "wei", QUALITY, locale="ko", customer=bare))["data"]["dataQuality"]["parts"][0]
    assert korean["name"] == "완전성"
    assert all(check["text"].startswith("입력되지 않음: ") for check in korean["checks"])
    assert (await data(house, "na", QUALITY))["dataQuality"]["customers"] == 0
    [error] = (await ask(house, "na", QUALITY, customer=odd))["errors"]
    assert error["extensions"]["code"] == "NOT_FOUND"
    [error] = (await ask(house, "wei", QUALITY, days=0))["errors"]
    assert (error["extensions"]["code"], error["extensions"]["problems"][0]["path"]) == ("OUT_OF_RANGE", ["days"])


@pytest.mark.requirement("R32")
async def test_of_whom_nothing_was_recorded_for_long_is_listed_and_a_change_takes_him_off(
    house: House, shops: list[str]
) -> None:
    whole, odd, bare = shops
    house.now_ms += 100 * DAY_MS
    found = (await data(house, "wei", STALE, days=100))["staleData"]
    # all three were made 100 days ago; an order that is older does not make one younger
    assert [(one["customerId"], one["silentDays"]) for one in found["items"]] == [(one, 100) for one in shops]
    rev = await house.rev("customers", bare)
    from_now = await data(house, "wei", STALE, days=101)
    assert from_now["staleData"]["totalCount"] == 0
    async with house.engine.write() as conn:
        await conn.execute("UPDATE customer SET last_visit_at = ? WHERE id = ?", house.now_ms - DAY_MS, whole)
        await conn.execute("UPDATE customer SET last_order_at = ? WHERE id = ?", house.now_ms, odd)
    after = (await data(house, "wei", STALE, days=2))["staleData"]
    assert ([one["customerId"] for one in after["items"]], after["totalCount"], after["customers"]) == ([bare], 1, 3)
    await house.change("wei", change_customers, patch(bare, rev, city="Hangzhou"))
    assert (await data(house, "wei", STALE, days=2))["staleData"]["items"] == []
    assert failing(await data(house, "wei", QUALITY, days=1)).get("SILENT") == [whole]
    [error] = (await ask(house, "wei", STALE, first=0))["errors"]
    assert error["extensions"]["code"] == "OUT_OF_RANGE"


async def test_a_customer_that_came_by_an_import_is_as_old_as_its_record(house: House) -> None:
    async with house.engine.write() as conn:
        brought = await factories.customer(conn, territory_id=house.patches["north"])
    [found] = (await data(house, "wei", STALE, days=300))["staleData"]["items"]
    assert (found["customerId"], found["silentDays"]) == (brought, (NOON_MS - factories.NOW_MS) // DAY_MS)
