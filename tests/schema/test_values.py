"""What a customer is worth over GraphQL: inputs echoed, what nobody records said so, refusals as elsewhere."""

from typing import Any

import pytest

from backend.domain.messages import LOCALES
from backend.domain.times import add_days
from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests import histories
from tests.house import House, create
from tests.usecases.asking import ask, data

pytestmark = pytest.mark.requirement("R50")

TODAY = "2026-11-22"
MONEY = "{ amountMinor currency }"
CLV = f"""
query ($customer: ID!, $method: ClvMethod! = PROBABILISTIC, $asOf: Date, $discount: Float! = 0.1,
       $past: Float! = 0, $damping: Float! = 1, $referral: ClvReferral) {{
  clv(customer: $customer, method: $method, asOf: $asOf, discountYearly: $discount, compoundPastYearly: $past,
      damping: $damping, referral: $referral) {{
    customerId customer {{ nameEn }} asOf basis basisText value {MONEY} past {MONEY} future {MONEY} quarters churnBp
    referral {MONEY}
    asked {{ method discountYearly discountPerQuarter compoundPastYearly churnForm damping margin quarterDays
             referralPerQuarter referralGain {MONEY} referralCost {MONEY} }}
    history {{ purchases firstOrderOn lastOrderOn quarters }}
    model {{ version runId fittedOn model regularity fitStatus level levelMeasured frontier {MONEY} peers }}
    methods {{ method value {MONEY} past {MONEY} future {MONEY} gain {MONEY} quarters }}
    drivers {{ code value unit basis missing missingText }}
    sources {{ source recorded from until rows }}
  }}
}}"""
RUN = "mutation { runScores { __typename ... on ScoresRun { id } } }"
SCORED = "query ($id: ID!) { customer(id: $id) { score { pastValue { amountMinor } futureValue { amountMinor } } } }"


async def value(house: House, customer: str, who: str = "wei", **asked: object) -> dict[str, Any]:
    found: dict[str, Any] = (await data(house, who, CLV, customer=customer, **asked))["clv"]
    return found


async def refusal(house: House, customer: str, who: str = "wei", **asked: object) -> list[tuple[str, list[str]]]:
    answer = await ask(house, who, CLV, customer=customer, **asked)
    assert answer["data"] is None
    [error] = answer["errors"]
    return [(problem["code"], problem["path"]) for problem in error["extensions"]["problems"]]


async def shops(house: House, count: int, patch: str = "north") -> list[str]:
    ids = sorted(new_id() for _ in range(count))
    place = {"kind": "RETAILER", "territoryId": house.patches[patch], "country": "CN", "province": "31"}
    wishes = [create(shop, {"nameEn": f"Shop {n}", **place}) for n, shop in enumerate(ids)]
    outcomes = await house.change("admin", change_customers, *wishes)
    assert not [outcome.problems for outcome in outcomes if outcome.problems]
    return ids


async def sell(house: House, rows: list[tuple[str, str, int]], currency: str = "USD") -> None:
    async with house.engine.write() as conn:
        await histories.orders(conn, rows, currency=currency)


def monthly(shop: str, amount: int, count: int = 10) -> list[tuple[str, str, int]]:
    return [(shop, add_days(TODAY, -5 - 30 * n), amount) for n in range(count)]


@pytest.fixture
async def market(house: House) -> list[str]:
    """Thirty-two shops of wei's with a history each, and a prospect (the last)."""
    ids = await shops(house, 33)
    await sell(house, [row for n, shop in enumerate(ids[:-1]) for row in monthly(shop, 100_000 + 10_000 * n)])
    return ids


async def test_every_method_stands_beside_the_one_asked_for_and_inputs_are_echoed(house: House, market: list[str]):
    run = (await data(house, "analyst", RUN))["runScores"]["id"]
    found = await value(house, market[0], discount=0.2, past=0.1)
    assert (found["customerId"], found["customer"]["nameEn"], found["asOf"]) == (market[0], "Shop 0", TODAY)
    assert (found["basis"], found["value"]["currency"]) == ("REVENUE", "USD")
    asked = found["asked"]
    assert (asked["method"], asked["discountYearly"], asked["compoundPastYearly"]) == ("PROBABILISTIC", 0.2, 0.1)
    assert (1 + asked["discountPerQuarter"]) ** 4 == pytest.approx(1.2)
    assert (asked["churnForm"], asked["damping"], asked["margin"], asked["quarterDays"]) == ("SURVIVAL", 1.0, None, 91)
    assert found["history"] == {
        "purchases": 10,
        "firstOrderOn": add_days(TODAY, -275),
        "lastOrderOn": add_days(TODAY, -5),
        "quarters": 4,
    }
    model = found["model"]
    assert (model["runId"], model["fittedOn"], model["model"], model["regularity"]) == (run, TODAY, "MBG_NBD", 1)
    assert (model["fitStatus"], model["levelMeasured"], model["peers"]) == ("SHIPPED_PRIOR", False, 32)
    by_method = {item["method"]: item for item in found["methods"]}
    assert list(by_method) == ["BASIC", "REGRESSION", "INVERSE_CHURN", "PROBABILISTIC"]
    chosen = by_method["PROBABILISTIC"]
    assert [found[name] for name in ("value", "past", "future", "quarters")] == [
        chosen[name] for name in ("value", "past", "future", "quarters")
    ]
    for item in found["methods"]:
        assert item["value"]["amountMinor"] == item["past"]["amountMinor"] + item["future"]["amountMinor"]
    assert by_method["BASIC"]["future"]["amountMinor"] == 0
    assert by_method["PROBABILISTIC"]["past"]["amountMinor"] > 1_000_000, "compounded to now"
    assert by_method["PROBABILISTIC"]["gain"]["amountMinor"] > 0, "the smallest shop has a gap to its peers"
    assert found["sources"][0] == {
        "source": "ORDERS", "recorded": True, "from": add_days(TODAY, -275), "until": add_days(TODAY, -5), "rows": 10,
    }  # fmt: skip
    not_kept = {item["source"] for item in found["sources"] if not item["recorded"]}
    assert {"COSTS", "RETURNS", "REFERRALS", "VISITS"} <= not_kept
    regression = await value(house, market[0], method="REGRESSION", discount=0.2, past=0.1)
    assert regression["value"] == by_method["REGRESSION"]["value"]


async def test_the_value_is_the_scores_own_for_buyers_and_prospects(house: House, market: list[str]):
    await data(house, "analyst", RUN)
    for shop in (market[0], market[15], market[-2], market[-1]):
        found = await value(house, shop)
        [(past, future)] = await _stored(house, shop)
        assert found["past"]["amountMinor"] == past
        assert found["future"]["amountMinor"] == pytest.approx(future, abs=1)
    prospect = await value(house, market[-1])
    assert (prospect["basis"], prospect["past"]["amountMinor"], prospect["churnBp"]) == ("PROSPECT", 0, None)
    probabilistic = prospect["methods"][3]
    assert probabilistic["future"] == probabilistic["gain"]
    assert probabilistic["future"]["amountMinor"] > 0
    assert prospect["history"] == {"purchases": 0, "firstOrderOn": None, "lastOrderOn": None, "quarters": 0}


async def _stored(house: House, shop: str) -> list[Any]:
    async with house.engine.read() as conn:
        return await conn.fetch(
            "SELECT past_value_minor, future_value_minor FROM customer_score WHERE customer_id = ?", shop
        )


async def test_drivers_nobody_records_have_a_reason_and_no_value(house: House, market: list[str]):
    async with house.engine.write() as conn:
        await histories.visits(
            conn, [(market[0], str(house.people["wei"].user_id), add_days(TODAY, -n)) for n in (3, 400)]
        )
    found = await value(house, market[0])
    drivers = {item["code"]: item for item in found["drivers"]}
    assert drivers["ORDER_FREQUENCY"]["value"] == 10.0
    assert (drivers["AVERAGE_ORDER_VALUE"]["value"], drivers["AVERAGE_ORDER_VALUE"]["unit"]) == (
        100_000.0, "MINOR_PER_ORDER",
    )  # fmt: skip
    assert drivers["UNITS_PER_ORDER"]["value"] == 1.0
    assert drivers["RETENTION_RATE"]["value"] == pytest.approx(1 - found["churnBp"] / 10_000)
    assert drivers["SELLING_COST"]["value"] == 10_000.0, "one visit within the year, at the declared cost"
    assert drivers["DISCOUNT_RATE"]["basis"] == "ASKED"
    missing = {code: item["missing"] for code, item in drivers.items() if item["value"] is None}
    assert missing == {
        "PRODUCT_COST": "NO_COSTS",
        "SERVICE_COST": "NO_SERVICE_COSTS",
        "REFERRAL_RATE": "NO_REFERRALS",
        "REFERRAL_COST": "NO_REFERRALS",
    }
    assert all(drivers[code]["basis"] == "NOT_RECORDED" for code in missing)
    texts = {
        locale: (await ask(house, "wei", CLV, locale, customer=market[0]))["data"]["clv"]["drivers"][4]["missingText"]
        for locale in LOCALES
    }
    assert len(set(texts.values())) == 3
    prospect = {item["code"]: item["missing"] for item in (await value(house, market[-1]))["drivers"]}
    assert prospect["RETENTION_RATE"] == prospect["ORDER_FREQUENCY"] == prospect["UNITS_PER_ORDER"] == "NO_ORDERS"


async def test_referrals_count_once_they_are_said(house: House, market: list[str]):
    terms = {"perQuarter": 0.1, "gainMinor": 8_000, "costMinor": 1_500}
    silent, told = await value(house, market[0]), await value(house, market[0], referral=terms)
    assert silent["referral"] is None
    quarters, rate = told["quarters"], told["asked"]["discountPerQuarter"]
    expected = sum(0.1 * 6_500 / (1 + rate) ** j for j in range(1, quarters + 1))
    assert told["referral"]["amountMinor"] == pytest.approx(expected, abs=0.51)
    assert told["value"] == silent["value"], "it stands beside the value"
    assert {d["code"]: d["value"] for d in told["drivers"]}["REFERRAL_COST"] == 1_500.0
    assert told["asked"]["referralGain"] == {"amountMinor": 8_000, "currency": "USD"}


async def test_an_earlier_day_knows_no_later_order_and_no_later_model(house: House, market: list[str]):
    await data(house, "analyst", RUN)
    then = add_days(TODAY, -100)
    found = await value(house, market[0], asOf=then)
    assert (found["asOf"], found["history"]["purchases"], found["history"]["lastOrderOn"]) == (
        then, 6, add_days(TODAY, -125),
    )  # fmt: skip
    assert (found["model"]["runId"], found["model"]["version"], found["model"]["fittedOn"]) == (None, "shipped", then)
    assert found["model"]["frontier"] is None
    before = await value(house, market[0], asOf="1990-01-01")
    assert (before["basis"], before["value"]["amountMinor"]) == ("PROSPECT", 0)


async def test_who_may_not_see_the_customer_finds_nothing(house: House, market: list[str]):
    assert await refusal(house, market[0], "na") == [("NOT_FOUND", ["customer"])]
    assert await refusal(house, new_id()) == [("NOT_FOUND", ["customer"])]
    assert await refusal(house, "no id at all") == [("NOT_FOUND", ["customer"])]
    assert (await value(house, market[0], "manager"))["customerId"] == market[0]
    assert (await value(house, market[0], "analyst"))["customerId"] == market[0]


async def test_an_id_merged_away_means_who_it_became_and_a_supplier_is_nobodys_customer(
    house: House, market: list[str]
):
    away, supplier = new_id(), new_id()
    place = {"kind": "FABRIC_SUPPLIER", "territoryId": house.patches["north"]}
    await house.change("admin", change_customers, create(supplier, {"nameEn": "Mill", **place}))
    async with house.engine.write() as conn:
        await conn.execute(
            "INSERT INTO record_alias (alias_id, collection, record_id, merge_id, created_at)"
            " VALUES (?, 'customers', ?, ?, 0)",
            away,
            market[0],
            new_id(),
        )
    assert (await value(house, away))["customerId"] == market[0]
    assert await refusal(house, away, "na") == [("NOT_FOUND", ["customer"])]
    assert await refusal(house, supplier) == [("NOT_FOUND", ["customer"])]


async def test_rates_and_days_that_cannot_be_are_told_all_at_once(house: House, market: list[str]):
    assert await refusal(house, market[0], asOf="2026-11-23") == [("IN_THE_FUTURE", ["asOf"])]
    terms = {"perQuarter": -0.1, "gainMinor": 1, "costMinor": -1}
    assert await refusal(house, market[0], discount=-1.0, past=1e308, damping=-0.5, referral=terms) == [
        ("OUT_OF_RANGE", ["discountYearly"]),
        ("OUT_OF_RANGE", ["compoundPastYearly"]),
        ("OUT_OF_RANGE", ["damping"]),
        ("OUT_OF_RANGE", ["perQuarter"]),
        ("OUT_OF_RANGE", ["costMinor"]),
    ]
    free = await value(house, market[0], discount=0.0)
    assert free["future"]["amountMinor"] > (await value(house, market[0]))["future"]["amountMinor"]


async def test_currencies_are_brought_together_at_the_rate_of_the_day_or_refused(house: House):
    [shop] = await shops(house, 1)
    await sell(house, [(shop, add_days(TODAY, -40), 10_000)])
    await sell(house, [(shop, add_days(TODAY, -20), 1_300_000)], "KRW")
    assert await refusal(house, shop) == [("NO_EXCHANGE_RATE", ["KRW"])]
    async with house.engine.write() as conn:
        await conn.execute(
            "INSERT INTO exchange_rate (id, currency, valid_from, rate_e9) VALUES (?, 'KRW', '2026-01-01', 769231)",
            new_id(),
        )
    found = await value(house, shop)
    assert (found["history"]["purchases"], found["past"]["amountMinor"]) == (2, 10_000 + 100_000)


async def test_extreme_histories_give_finite_answers(house: House):
    huge, large, old, gap, one, away = await shops(house, 6)
    await sell(house, [(huge, add_days(TODAY, -n), 2**53 - 1) for n in (1, 31, 61)])
    assert await refusal(house, huge) == [("OUT_OF_RANGE", ["value"])]
    await sell(house, [(large, add_days(TODAY, -n), 10**14) for n in (1, 31, 61)])
    await sell(house, [(old, "1901-05-01", 500), (old, "1969-12-31", 500)])
    await sell(house, [(gap, add_days(TODAY, -3_660), 900), (gap, add_days(TODAY, -3_650), 900), (gap, TODAY, 900)])
    await sell(house, [(one, TODAY, 700)])
    await sell(house, [(away, TODAY, 0), (away, TODAY, -900)])
    for shop in (large, old, gap, one, away):
        assert [item["quarters"] <= 20 for item in (await value(house, shop))["methods"]] == [True] * 4
    assert (await value(house, old))["past"]["amountMinor"] == 1_000
    assert (await value(house, one))["history"]["quarters"] == 1
    assert (await value(house, away))["past"]["amountMinor"] == -900
