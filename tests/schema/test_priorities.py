"""The ranking and the run over GraphQL: one request gives whom to visit, why, in words."""

import pytest

from backend.domain.messages import LOCALES
from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests import factories, histories
from tests.house import House, create
from tests.usecases.asking import ask, data

LIST = """
query ($territory: ID, $on: Date, $first: Int! = 20) {
  visitPriorities(territoryId: $territory, on: $on, first: $first) {
    asOf tableVersion scoredOn totalCount emptyBecause { code text }
    items {
      rank score scored customerId customer { id nameEn territory { nameEn } }
      lines { code points recorded numbers evidence text } reasons
    }
  }
}"""
RUN = """
mutation ($asOf: Date, $territory: ID) {
  runScores(asOf: $asOf, territoryId: $territory) {
    __typename
    ... on ScoresRun {
      id state asOf tableVersion fitStatus customersScored customersChanged customersLeftOut
      problems { code message path } run { id state customersChanged }
    }
    ... on Refusal { problems { code path message } }
  }
}"""


@pytest.fixture
async def market(house: House) -> list[str]:
    """Thirty shops, all but the last two with a history; ids ascending."""
    ids = sorted(new_id() for _ in range(30))
    wishes = [
        create(shop, {"nameEn": f"Shop {place}", "kind": "RETAILER", "territoryId": house.patches["north"]})
        for place, shop in enumerate(ids)
    ]
    await house.change("admin", change_customers, *wishes)
    rows = [
        (shop, f"2026-{month:02d}-{1 + place % 27:02d}", 10_000 * (1 + place))
        for place, shop in enumerate(ids[:28])
        for month in range(2, 11, 1 + place % 3)
    ]
    async with house.engine.write() as conn:
        await histories.orders(conn, rows)
    return ids


@pytest.mark.requirement("R28")
async def test_a_rep_reads_whom_to_visit_and_why_in_one_request(house: House, market: list[str]) -> None:
    ran = (await data(house, "analyst", RUN))["runScores"]
    assert (ran["__typename"], ran["state"], ran["customersChanged"], ran["problems"]) == (
        "ScoresRun", "FINISHED", 30, [],
    )  # fmt: skip
    assert ran["run"] == {"id": ran["id"], "state": "FINISHED", "customersChanged": 30}
    found = (await data(house, "wei", LIST, territory=house.patches["north"], on="2026-11-23"))["visitPriorities"]
    assert (found["asOf"], found["scoredOn"], found["totalCount"]) == ("2026-11-23", "2026-11-22", 30)
    assert found["emptyBecause"] is None
    assert [item["rank"] for item in found["items"]] == list(range(1, 21))
    scores = [item["score"] for item in found["items"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]
    for item in found["items"]:
        assert sum(line["points"] for line in item["lines"]) == item["score"]
        assert item["customer"] == {
            "id": item["customerId"],
            "nameEn": f"Shop {market.index(item['customerId'])}",
            "territory": {"nameEn": "north"},
        }
        assert 1 <= len(item["reasons"]) <= 3
        assert max(map(len, item["reasons"])) <= 60
    assert found["items"][0]["reasons"][0].startswith("Expected to bring $")
    first = {line["code"]: line for line in found["items"][0]["lines"]}
    assert first["VALUE_AT_STAKE"]["recorded"]
    assert first["VALUE_AT_STAKE"]["text"].startswith("Expected to bring $")
    assert len(first["VALUE_AT_STAKE"]["evidence"]) == 1


async def test_the_list_speaks_the_readers_language(house: House, market: list[str]) -> None:
    await data(house, "analyst", RUN)
    told = {}
    for locale in LOCALES:
        answer = await ask(house, "wei", LIST, locale, first=1)
        told[locale] = [line["text"] for line in answer["data"]["visitPriorities"]["items"][0]["lines"]]
    assert "预计未来两个季度带来" in told["zh-CN"][0]
    assert "앞으로 두 분기에" in told["ko"][0]
    assert not set(told["en"]) & set(told["ko"])


async def test_an_empty_list_says_why_in_words(house: House) -> None:
    found = (await data(house, "wei", LIST))["visitPriorities"]
    assert (found["items"], found["totalCount"]) == ([], 0)
    assert found["emptyBecause"] == {"code": "NO_CUSTOMERS", "text": "There is no customer here yet."}


async def test_a_territory_out_of_scope_is_not_found_and_a_rep_runs_no_scores(house: House) -> None:
    answer = await ask(house, "wei", LIST, territory=house.patches["south"])
    assert answer["data"] is None
    [error] = answer["errors"]
    assert (error["extensions"]["code"], error["extensions"]["problems"][0]["path"]) == ("NOT_FOUND", ["territoryId"])
    refused = (await data(house, "wei", RUN))["runScores"]
    assert (refused["__typename"], [p["code"] for p in refused["problems"]]) == ("Refusal", ["NOT_PERMITTED"])
    refused = (await data(house, "analyst", RUN, asOf="2199-01-01"))["runScores"]
    assert [(p["code"], p["path"]) for p in refused["problems"]] == [("IN_THE_FUTURE", ["asOf"])]


async def test_a_missing_rate_is_told_with_the_run(house: House) -> None:
    shop = new_id()
    await house.change("wei", change_customers, create(shop, {"nameKo": "온유", "kind": "RETAILER"}))
    async with house.engine.write() as conn:
        await histories.orders(conn, [(shop, "2026-05-05", 1_000_000)], currency="KRW")
    ran = (await data(house, "analyst", RUN))["runScores"]
    assert (ran["state"], ran["customersLeftOut"]) == ("FINISHED", 1)
    [problem] = ran["problems"]
    assert problem["code"] == "NO_EXCHANGE_RATE"
    assert problem["message"].startswith("KRW: some orders have no exchange rate")


async def test_runs_are_listed_for_those_who_may_start_them(house: House, market: list[str]) -> None:
    await data(house, "analyst", RUN)
    runs = "{ scoreRuns(first: 5) { nodes { state asOf customersScored problems } } }"
    assert (await data(house, "analyst", runs))["scoreRuns"]["nodes"] == [
        {"state": "FINISHED", "asOf": "2026-11-22", "customersScored": 30, "problems": []}
    ]
    assert (await ask(house, "wei", runs))["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"


async def test_a_run_is_asked_to_end_by_those_who_may_start_one(house: House) -> None:
    cancel = """
mutation ($run: ID) {
  cancelScores(runId: $run) {
    __typename
    ... on ScoresCancelAsked { id run { id state cancelAskedAt finishedAt } }
    ... on Refusal { problems { code message path } }
  }
}"""
    refused = (await data(house, "analyst", cancel))["cancelScores"]
    assert [(p["code"], p["path"]) for p in refused["problems"]] == [("NOT_FOUND", ["runId"])]
    run_id = new_id()
    async with house.engine.write() as conn:
        await factories.insert(
            conn, "score_run", id=run_id, state="RUNNING", as_of="2026-11-22", table_id="", models="{}", scope="{}",
            problems="[]", customers_scored=0, customers_changed=0, milliseconds=0, started_at=house.now_ms,
            beat_at=house.now_ms, started_by="staff:x",
        )  # fmt: skip
    refused = (await data(house, "wei", cancel, run=run_id))["cancelScores"]
    assert [p["code"] for p in refused["problems"]] == ["NOT_PERMITTED"]
    for run in (run_id, None):
        assert (await data(house, "analyst", cancel, run=run))["cancelScores"] == {
            "__typename": "ScoresCancelAsked",
            "id": run_id,
            "run": {
                "id": run_id, "state": "RUNNING", "cancelAskedAt": "2026-11-22T04:00:00.000Z", "finishedAt": None,
            },
        }  # fmt: skip
