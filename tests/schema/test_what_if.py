"""What a visit, a closed case or an order would change: the very rule of the ranking, and what a run then finds."""

import orjson
import pytest

from backend.ids import new_id
from backend.usecases.cases import change_cases
from backend.usecases.customers import change_customers
from tests import histories
from tests.house import House, create
from tests.usecases.asking import ask, data

RUN = "mutation { runScores { __typename } }"
LIST = (
    "query ($on: Date!) { visitPriorities(first: 100, on: $on) { items { customerId score lines { code points } } } }"
)
ASK = """
query ($id: ID!, $visit: Boolean! = false, $case: Boolean! = false, $order: BigInt, $on: Date) {
  whatIf(customerId: $id, visitNow: $visit, caseClosed: $case, orderOfMinor: $order, on: $on) {
    on before { score lines { code points numbers } } after { score lines { code points numbers } }
  }
}"""
TODAY = "2026-11-22"


@pytest.fixture
async def shops(house: House) -> list[str]:
    """Forty scored shops of the north; the first was visited two months ago; one in the south."""
    ids = sorted(new_id() for _ in range(41))
    wishes = [
        create(shop, {"nameEn": f"S{place}", "kind": "RETAILER",
                      "territoryId": house.patches["south" if place == 40 else "north"]})
        for place, shop in enumerate(ids)
    ]  # fmt: skip
    await house.change("admin", change_customers, *wishes)
    rows = [
        (shop, f"2026-{month:02d}-{1 + place % 20:02d}", 10_000 * (1 + place))
        for place, shop in enumerate(ids)
        for month in range(1, 12, 1 + place % 3)
    ]
    async with house.engine.write() as conn:
        await histories.orders(conn, rows)
        await histories.visits(conn, [(ids[0], house.people["wei"].user_id or "", "2026-09-20")])
    await data(house, "analyst", RUN)
    return ids


def points(standing: dict[str, list[dict[str, int]]]) -> dict[object, int]:
    return {line["code"]: line["points"] for line in standing["lines"]}


@pytest.mark.requirement("R28")
async def test_before_is_the_days_ranking_and_a_visit_now_takes_its_points(house: House, shops: list[str]) -> None:
    listed = (await data(house, "wei", LIST, on=TODAY))["visitPriorities"]["items"]
    ranked = {item["customerId"]: item for item in listed}
    found = (await data(house, "wei", ASK, id=shops[0], visit=True))["whatIf"]
    assert found["on"] == TODAY
    assert (found["before"]["score"], points(found["before"])) == (
        ranked[shops[0]]["score"], points(ranked[shops[0]]),
    )  # fmt: skip
    before, after = points(found["before"]), points(found["after"])
    assert before["OVERDUE"] > 0
    assert (after["OVERDUE"], after["JUST_VISITED"]) == (0, -20)
    assert {code for code in before if before[code] != after[code]} <= {"OVERDUE", "JUST_VISITED", "CLIP"}
    nothing = (await data(house, "wei", ASK, id=shops[0]))["whatIf"]
    assert nothing["before"] == nothing["after"]


@pytest.mark.requirement("R28")
async def test_an_order_moves_the_amounts_as_the_next_run_finds_them(house: House, shops: list[str]) -> None:
    shop = shops[7]
    found = (await data(house, "wei", ASK, id=shop, order=250_000))["whatIf"]
    said = {line["code"]: line["numbers"].get("amountMinor") for line in found["after"]["lines"]}
    assert found["before"] != found["after"]
    async with house.engine.write() as conn:
        await histories.orders(conn, [(shop, TODAY, 250_000)])
    await data(house, "analyst", RUN)
    async with house.engine.read() as conn:
        [[text]] = await conn.fetch("SELECT facts FROM customer_score WHERE customer_id = ?", shop)
    facts = orjson.loads(text)
    assert said["VALUE_AT_STAKE"] == facts["valueAtStakeMinor"]
    # one more order moves the organisation's usual interval a little
    assert said["SAVABLE_REVENUE"] == pytest.approx(facts["upliftMinor"], rel=0.02)


async def test_a_closed_case_takes_its_points(house: House, shops: list[str]) -> None:
    complaint = {"customerId": shops[0], "subject": "holes", "priority": "P1"}
    [opened] = await house.change("wei", change_cases, create(new_id(), complaint))
    assert opened.problems == ()
    found = (await data(house, "wei", ASK, id=shops[0], case=True))["whatIf"]
    assert (points(found["before"])["OBLIGATIONS"], points(found["after"])["OBLIGATIONS"]) == (12, 0)


async def test_what_cannot_be_asked_is_refused(house: House, shops: list[str]) -> None:
    for variables, code, path in (
        ({"id": shops[40]}, "NOT_FOUND", ["customerId"]),
        ({"id": "no such"}, "NOT_FOUND", ["customerId"]),
        ({"id": shops[0], "order": 0}, "OUT_OF_RANGE", ["orderOfMinor"]),
        ({"id": shops[0], "order": -5}, "OUT_OF_RANGE", ["orderOfMinor"]),
    ):
        answer = await ask(house, "wei", ASK, **variables)
        [error] = answer["errors"]
        [problem] = error["extensions"]["problems"]
        assert (problem["code"], problem["path"]) == (code, path)
    huge = (await data(house, "wei", ASK, id=shops[0], order=2**53 - 1))["whatIf"]
    assert 0 <= huge["after"]["score"] <= 100
