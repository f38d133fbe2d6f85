"""Decisions over GraphQL, over scores that were really computed: scope, order, totals and refusals."""

import orjson
import pytest

from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests import histories
from tests.house import House, create
from tests.usecases.asking import ask, data

RUN = "mutation { runScores { __typename } }"
STANDING = """
  totalCount items {
    customerId segment stage churnRiskBp lastOrderOn customer { id territoryId }
    existingValue { amountMinor currency } expectedUplift { amountMinor } yearlyValue { amountMinor }
  }"""
AT_RISK = (
    "query ($first: Int! = 20, $least: Int! = 5000, $territory: ID)"
    f" {{ atRisk(first: $first, leastRiskBp: $least, territoryId: $territory) {{ {STANDING} }} }}"
)
WIN_BACK = (
    "query ($first: Int! = 20, $territory: ID)"
    f" {{ winBackCandidates(first: $first, territoryId: $territory) {{ {STANDING} }} }}"
)
QUADRANTS = """
query ($first: Int! = 5, $territory: ID) {
  valuePromiseQuadrants(first: $first, territoryId: $territory) {
    quadrant name customers existingValue { amountMinor } potential { amountMinor } firstIds
  }
}"""
SERVE = """
query ($id: ID!) {
  serveDecision(customerId: $id) {
    serve serveText planned reason reasonText cadenceDays visitsAYear visitsCost { amountMinor currency }
    expectedMargin { amountMinor }
  }
}"""


@pytest.fixture
async def scored(house: House) -> list[str]:
    """Forty shops: half buy every month, a quarter stopped in spring, a quarter stopped last year; one in the south."""
    ids = sorted(new_id() for _ in range(40))
    wishes = [
        create(
            shop,
            {
                "nameEn": f"S{place}",
                "kind": "RETAILER",
                "territoryId": house.patches["south" if place == 39 else "north"],
            },
        )
        for place, shop in enumerate(ids)
    ]
    await house.change("admin", change_customers, *wishes)
    rows = []
    for place, shop in enumerate(ids):
        last = (11, 11, 5, 0)[place % 4]
        months = [f"2025-{month:02d}" for month in range(1, 13)] + [f"2026-{month:02d}" for month in range(1, last + 1)]
        rows += [(shop, f"{month}-{1 + place % 20:02d}", 10_000 * (1 + place)) for month in months]
    async with house.engine.write() as conn:
        await histories.orders(conn, rows)
    assert (await data(house, "analyst", RUN))["runScores"]["__typename"] == "ScoresRun"
    return ids


async def scores(house: House) -> dict[str, dict[str, object]]:
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT customer_id, stage, segment, churn_risk_bp, existing_value_minor, facts FROM customer_score"
        )
    names = ("stage", "segment", "risk", "existing", "facts")
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows}


@pytest.mark.requirement("R28")
async def test_at_risk_are_those_likely_to_leave_by_what_a_visit_brings(house: House, scored: list[str]) -> None:
    found = (await data(house, "manager", AT_RISK, least=100))["atRisk"]
    kept = await scores(house)
    wanted = {
        one for one, row in kept.items()
        if row["risk"] is not None and row["risk"] >= 100 and row["stage"] not in ("PROSPECT", "DORMANT", "LOST")
    }  # fmt: skip
    assert wanted
    assert found["totalCount"] == len(wanted)
    assert {item["customerId"] for item in found["items"]} <= wanted
    uplifts = [item["expectedUplift"]["amountMinor"] for item in found["items"]]
    assert uplifts == sorted(uplifts, reverse=True)
    for item in found["items"]:
        facts = orjson.loads(str(kept[item["customerId"]]["facts"]))
        assert item["expectedUplift"]["amountMinor"] == facts["upliftMinor"]
        assert (item["customer"]["id"], item["lastOrderOn"]) == (item["customerId"], None)
    few = (await data(house, "manager", AT_RISK, least=100, first=2))["atRisk"]
    assert (few["items"], few["totalCount"]) == (found["items"][:2], found["totalCount"])


@pytest.mark.requirement("R39")
async def test_to_be_won_back_are_the_dormant_and_lost_by_what_they_brought_a_year(
    house: House, scored: list[str]
) -> None:
    found = (await data(house, "wei", WIN_BACK))["winBackCandidates"]
    kept = await scores(house)
    gone = [one for one in scored[:39] if kept[one]["stage"] in ("DORMANT", "LOST")]
    assert len(gone) >= 9
    assert (found["totalCount"], len(found["items"])) == (len(gone), min(20, len(gone)))
    yearly = [item["yearlyValue"]["amountMinor"] for item in found["items"]]
    assert yearly == sorted(yearly, reverse=True)
    assert yearly[0] > 0
    assert {item["stage"] for item in found["items"]} <= {"DORMANT", "LOST"}
    assert all(item["lastOrderOn"] < "2026-06" for item in found["items"])


@pytest.mark.requirement("R39")
async def test_the_quadrants_hold_everybody_once(house: House, scored: list[str]) -> None:
    found = (await data(house, "manager", QUADRANTS))["valuePromiseQuadrants"]
    kept = await scores(house)
    assert [one["quadrant"] for one in found] == [
        "VALUABLE_AND_PROMISING", "VALUABLE", "PROMISING", "NEITHER", "ONBOARDING",
    ]  # fmt: skip
    assert sum(one["customers"] for one in found) == 40
    assert sum(one["existingValue"]["amountMinor"] for one in found) == sum(
        row["existing"] or 0 for row in kept.values()
    )
    letters = {"VALUABLE_AND_PROMISING": "HH", "VALUABLE": "HL", "PROMISING": "LH", "NEITHER": "LL"}
    for one in found[:4]:
        inside = [shop for shop, row in kept.items() if str(row["segment"])[:2] == letters[one["quadrant"]]]
        assert one["customers"] == len(inside)
        inside.sort(key=lambda shop: (-int(str(kept[shop]["existing"] or 0)), shop))
        assert one["firstIds"] == inside[:5]
    assert {one["customers"] for one in found} != {0, 40}
    north = (await data(house, "wei", QUADRANTS))["valuePromiseQuadrants"]
    assert sum(one["customers"] for one in north) == 39


@pytest.mark.requirement("R51")
async def test_how_to_serve_says_what_visits_cost_against_what_comes_back(house: House, scored: list[str]) -> None:
    kept = await scores(house)
    facts = orjson.loads(str(kept[scored[0]]["facts"]))
    found = (await data(house, "wei", SERVE, id=scored[0]))["serveDecision"]
    assert found["expectedMargin"]["amountMinor"] == 2 * facts["valueAtStakeMinor"]
    assert found["visitsCost"] == {"amountMinor": 10_000 * found["visitsAYear"], "currency": "USD"}
    answer = await ask(house, "wei", SERVE, "zh-CN", id=scored[0])
    assert answer["data"]["serveDecision"]["serveText"] != found["serveText"]
    for unseen in (scored[39], new_id()):
        answer = await ask(house, "wei", SERVE, id=unseen)
        [error] = answer["errors"]
        assert error["extensions"]["problems"][0]["code"] == "NOT_FOUND"


@pytest.mark.parametrize("document", [AT_RISK, WIN_BACK, QUADRANTS])
async def test_lists_are_bounded_and_keep_to_the_scope(house: House, document: str) -> None:
    for first in (0, 201):
        answer = await ask(house, "wei", document, first=first)
        [error] = answer["errors"]
        [problem] = error["extensions"]["problems"]
        assert (problem["code"], problem["path"]) == ("OUT_OF_RANGE", ["first"])
    answer = await ask(house, "wei", document, territory=house.patches["south"])
    [error] = answer["errors"]
    assert error["extensions"]["problems"][0]["path"] == ["territoryId"]
