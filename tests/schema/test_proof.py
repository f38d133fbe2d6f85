"""Backtests and evaluations over GraphQL: for whom, in words, and with refusals that name what is wrong."""

import pytest

from backend.domain.messages import LOCALES
from backend.domain.times import add_days, day_start_ms
from tests import histories
from tests.house import House
from tests.usecases.asking import ask, data

pytestmark = pytest.mark.requirement("R28", "R30")

TODAY, CUT = "2026-11-22", "2026-08-24"
RUN = """
mutation ($cuts: [Date!], $days: Int! = 90) {
  evaluatePriority(cuts: $cuts, holdoutDays: $days) {
    __typename
    ... on PriorityBacktest { id state customers priorityAgainstRfm summary }
    ... on Refusal { problems { code path message } }
  }
}"""
LAST = """{
  priorityEvaluation {
    id holdoutDays seed replicates customers currency priorityAgainstRfm summary caveats startedBy
    cuts { day customers buyersAfter moneyAfterMinor fitStatus countMae expectedOrders actualOrders
      deciles { customers expectedOrders actualOrders } rankings { ranking gini topShare gain } }
    comparisons { ranking baseline giniVerdict topShareVerdict texts gini { value low high } }
    ablation { line recorded gini { value low high } }
    document
  }
}"""
PLAN = """
mutation ($input: PlanEvaluationInput!) {
  planEvaluation(input: $input) {
    __typename
    ... on EvaluationSaved { evaluation { id state currency holdoutBp lessons { lesson verdict name } } }
    ... on Refusal { problems { code path message } }
  }
}"""
STEP = """
mutation ($id: ID!, $lesson: String!) {
  %s { __typename ... on EvaluationSaved { evaluation { state treated control lesson
    result { verdict lift low high treated control gainMinor netMinor returnRatio } } }
    ... on Refusal { problems { code path } } }
}"""
FREEZE, CLOSE = (STEP % text for text in ("freezeEvaluation(id: $id)", "closeEvaluation(id: $id, lesson: $lesson)"))
FREEZE = FREEZE.replace(", $lesson: String!", "")
WISH = {
    "subjectKind": "STRATEGY",
    "subjectId": "HHLH",
    "strategy": "HHLH",
    "name": "Frame contracts",
    "metric": "REVENUE",
    "startsOn": add_days(TODAY, 1),
    "endsOn": add_days(TODAY, 30),
    "holdoutBp": 5000,
}


@pytest.fixture
async def market(house: House) -> list[str]:
    async with house.engine.write() as conn:
        ids = await histories.customers(conn, 40, territory_id=house.patches["north"])
        await conn.execute("UPDATE customer SET created_at = ?", day_start_ms("2025-01-01", "Asia/Shanghai"))
        rows = [
            (shop, add_days(TODAY, -place - (20 + 3 * place) * step), 1_000 * (place + 1))
            for place, shop in enumerate(ids)
            for step in range(10)
        ]
        await histories.orders(conn, rows, territory_id=house.patches["north"])
    return ids


async def test_an_analyst_starts_a_backtest_and_an_admin_reads_it_in_words(house: House, market: list[str]) -> None:
    assert (await data(house, "analyst", LAST))["priorityEvaluation"] is None
    ran = (await data(house, "analyst", RUN, cuts=[CUT]))["evaluatePriority"]
    assert (ran["__typename"], ran["state"], ran["customers"]) == ("PriorityBacktest", "FINISHED", 40)
    last = (await data(house, "admin", LAST))["priorityEvaluation"]
    assert (last["id"], last["summary"]) == (ran["id"], ran["summary"])
    assert last["document"]["rfm"]["PRIORITY"] == last["priorityAgainstRfm"]
    assert len(last["ablation"]) == 9
    assert len(last["summary"]) == 6
    assert last["cuts"][0]["day"] == CUT
    assert sum(one["actualOrders"] for one in last["cuts"][0]["deciles"]) == last["cuts"][0]["actualOrders"]
    told = {locale: (await ask(house, "admin", LAST, locale))["data"]["priorityEvaluation"] for locale in LOCALES}
    for field in ("summary", "caveats"):
        assert len({tuple(one[field]) for one in told.values()}) == len(LOCALES)
    for one in told["en"]["comparisons"]:
        word = {"AS_GOOD": "is as good as", "BETTER": "ranks better", "WORSE": "ranks better"}[one["giniVerdict"]]
        assert word in one["texts"][0]
        interval = one["gini"]
        assert (interval["low"] <= 0 <= interval["high"]) == (one["giniVerdict"] == "AS_GOOD")


async def test_others_neither_start_nor_read_a_backtest(house: House) -> None:
    for who in ("wei", "manager", "agent"):
        assert (await ask(house, who, LAST))["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
        refused = (await data(house, who, RUN))["evaluatePriority"]
        assert [problem["code"] for problem in refused["problems"]] == ["NOT_PERMITTED"]


async def test_a_cut_whose_future_is_not_over_is_refused_in_words(house: House) -> None:
    refused = (await data(house, "analyst", RUN, cuts=[TODAY]))["evaluatePriority"]
    assert [(one["code"], one["path"]) for one in refused["problems"]] == [("IN_THE_FUTURE", ["cuts"])]
    assert refused["problems"][0]["message"]


async def test_planned_drawn_closed_and_the_lesson_meets_the_next_plan(house: House, market: list[str]) -> None:
    planned = (await data(house, "analyst", PLAN, input=WISH))["planEvaluation"]["evaluation"]
    assert (planned["state"], planned["lessons"]) == ("PLANNED", [])
    drawn = (await data(house, "analyst", FREEZE, id=planned["id"]))["freezeEvaluation"]["evaluation"]
    assert (drawn["state"], drawn["treated"], drawn["control"]) == ("FROZEN", 20, 20)
    listed = (
        await data(
            house,
            "manager",
            "{ evaluations(subjectKind: STRATEGY, states: [FROZEN]) { totalCount items { id name"
            " heldOut: customerIds(heldOut: true, first: 40) treatedIds: customerIds(heldOut: false, first: 40) } } }",
        )
    )["evaluations"]
    assert listed["totalCount"] == 1
    [item] = listed["items"]
    assert sorted(item["heldOut"] + item["treatedIds"]) == market
    early = (await data(house, "analyst", CLOSE, id=planned["id"], lesson="Too early."))["closeEvaluation"]
    assert [(one["code"], one["path"]) for one in early["problems"]] == [("OUT_OF_RANGE", ["endsOn"])]
    house.now_ms += 31 * 86_400_000
    closed = (await data(house, "analyst", CLOSE, id=planned["id"], lesson="Nothing moved."))["closeEvaluation"]
    assert closed["evaluation"]["state"] == "CLOSED"
    assert closed["evaluation"]["result"]["verdict"] == "AS_GOOD"
    again = (await data(house, "admin", CLOSE, id=planned["id"], lesson="It did."))["closeEvaluation"]
    assert [one["code"] for one in again["problems"]] == ["INVALID_TRANSITION"]
    next_days = {"startsOn": add_days(TODAY, 40), "endsOn": add_days(TODAY, 70)}
    following = (await data(house, "analyst", PLAN, input={**WISH, **next_days}))["planEvaluation"]["evaluation"]
    assert following["lessons"] == [{"lesson": "Nothing moved.", "verdict": "AS_GOOD", "name": "Frame contracts"}]
    one = "query ($id: ID!) { evaluation(id: $id) { id lessons { lesson } } }"
    assert (await data(house, "manager", one, id=following["id"]))["evaluation"]["lessons"] == [
        {"lesson": "Nothing moved."}
    ]
    assert (await data(house, "manager", one, id="nonsense"))["evaluation"] is None


async def test_a_plan_with_mistakes_tells_them_all(house: House) -> None:
    wrong = {**WISH, "name": "", "holdoutBp": 10, "startsOn": "2020-01-01"}
    refused = (await data(house, "analyst", PLAN, input=wrong))["planEvaluation"]
    assert {(one["code"], one["path"][0]) for one in refused["problems"]} == {
        ("REQUIRED", "name"),
        ("OUT_OF_RANGE", "holdoutBp"),
        ("OUT_OF_RANGE", "startsOn"),
        ("OUT_OF_RANGE", "endsOn"),
    }
    assert all(one["message"] for one in refused["problems"])


async def test_what_a_visit_brings_says_that_it_is_assumed(house: House) -> None:
    asked = "{ visitUplift { basis basisText onTime { value low } overdue { value high } treated control } }"
    assert (await data(house, "analyst", asked))["visitUplift"] == {
        "basis": "PRIOR",
        "basisText": "Assumed: too few visits were held out",
        "onTime": {"value": 0.05, "low": None},
        "overdue": {"value": 0.2, "high": None},
        "treated": 0,
        "control": 0,
    }
    assert (await ask(house, "wei", asked))["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
