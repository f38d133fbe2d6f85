"""The score policy over GraphQL: drafted, published, in force with the next run; and where segments went."""

from typing import Any

import pytest

from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests import histories
from tests.house import House, create
from tests.usecases.asking import ask, data

RUN = "mutation { runScores { __typename ... on ScoresRun { tableVersion customersChanged } } }"
POLICIES = """
query ($first: Int! = 20) {
  scorePolicies(first: $first) {
    id number state inForce note draftedBy publishedBy weights { line most } existingFloor { amountMinor }
    severeCasePoints strategies { segment segmentName stage objective objectiveText cadenceDays serve }
    stages { stage cadencePercent objective }
  }
}"""
DRAFT = """
mutation ($input: ScorePolicyInput!) {
  draftScorePolicy(input: $input) {
    __typename ... on ScorePolicyDrafted { id } ... on Refusal { problems { code path allowed } }
  }
}"""
PUBLISH = """
mutation ($id: ID!) {
  publishScorePolicy(id: $id) {
    __typename ... on ScorePolicyPublished { id } ... on Refusal { problems { code path } }
  }
}"""
LIST = "{ visitPriorities(first: 50) { tableVersion items { customerId lines { code points } } } }"
SERVE = "query ($id: ID!) { serveDecision(customerId: $id) { planned cadenceDays } }"
MIGRATION = """
query ($from: Date!, $until: Date, $territory: ID) {
  segmentMigration(from: $from, until: $until, territoryId: $territory) {
    from until segments matrix flows { from to customers }
  }
}"""
ALARMS = """
query ($since: Date, $territory: ID) {
  segmentAlarms(since: $since, territoryId: $territory) {
    totalCount items { customerId onDay from to cause causeText fallen customer { id } }
  }
}"""


@pytest.fixture
async def shops(house: House) -> list[str]:
    """Thirty shops of the north with a steady history."""
    ids = sorted(new_id() for _ in range(30))
    wishes = [
        create(shop, {"nameEn": f"S{place}", "kind": "RETAILER", "territoryId": house.patches["north"]})
        for place, shop in enumerate(ids)
    ]
    await house.change("admin", change_customers, *wishes)
    rows = [
        (shop, f"2026-{month:02d}-{1 + place % 20:02d}", 10_000 * (1 + place))
        for place, shop in enumerate(ids)
        for month in range(1, 12)
    ]
    async with house.engine.write() as conn:
        await histories.orders(conn, rows)
    return ids


async def draft(house: House, who: str, **wish: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await data(house, who, DRAFT, input=wish))["draftScorePolicy"]
    return found


@pytest.mark.requirement("R28", "R52")
async def test_what_an_admin_publishes_is_what_the_next_run_scores_by(house: House, shops: list[str]) -> None:
    first = (await data(house, "analyst", RUN))["runScores"]
    assert first["tableVersion"] == "2026Q4-1"
    drafted = await draft(
        house, "analyst", note="more for money",
        weights=[{"line": "VALUE_AT_STAKE", "most": 50}, {"line": "SAVABLE_REVENUE", "most": 0}],
        strategies=[{"segment": code, "row": {"objective": "DEVELOP", "strategy": "CO_PLAN_SEASON", "cadenceDays": 9,
                                              "serve": "FIELD"}} for code in ("HHHH", "HHLH", "HLHH", "HLLH", "LLHH")],
    )  # fmt: skip
    assert drafted["__typename"] == "ScorePolicyDrafted"
    # a draft changes nothing
    again = (await data(house, "analyst", RUN))["runScores"]
    assert (again["tableVersion"], again["customersChanged"]) == ("2026Q4-1", 0)
    refused = (await data(house, "analyst", PUBLISH, id=drafted["id"]))["publishScorePolicy"]
    assert refused["problems"] == [{"code": "NOT_PERMITTED", "path": []}]
    published = (await data(house, "admin", PUBLISH, id=drafted["id"]))["publishScorePolicy"]
    assert published == {"__typename": "ScorePolicyPublished", "id": drafted["id"]}
    async with house.engine.read() as conn:
        [before] = await conn.fetch("SELECT tables FROM priority_table")
    ran = (await data(house, "analyst", RUN))["runScores"]
    assert (ran["tableVersion"], ran["customersChanged"]) == ("2026Q4-2", 30)
    async with house.engine.read() as conn:
        [after] = await conn.fetch("SELECT tables FROM priority_table WHERE version = '2026Q4-2'")
    # the quarter's thresholds and distributions stand
    for part in ("tables", "thresholds"):
        assert _part(before[0], part) == _part(after[0], part)
    found = (await data(house, "wei", LIST))["visitPriorities"]
    points = [{line["code"]: line["points"] for line in item["lines"]} for item in found["items"]]
    assert max(one["VALUE_AT_STAKE"] for one in points) > 30
    assert {one["SAVABLE_REVENUE"] for one in points} == {0}
    advice = (await data(house, "wei", SERVE, id=shops[29]))["serveDecision"]
    assert advice["cadenceDays"] in (9, 9 * 75 // 100)
    # and back again
    versions = (await data(house, "manager", POLICIES))["scorePolicies"]
    assert [(one["number"], one["state"], one["inForce"]) for one in versions] == [
        (1, "PUBLISHED", True), (0, "PUBLISHED", False),
    ]  # fmt: skip
    assert (versions[0]["note"], versions[0]["draftedBy"]) == (
        "more for money", f"staff:{house.people['analyst'].user_id}",
    )  # fmt: skip
    assert sum(one["most"] for one in versions[0]["weights"][:8]) == 100
    rows = {(one["segment"], one["stage"]): one for one in versions[0]["strategies"]}
    assert rows["HHHH", None]["objectiveText"] == "Develop"
    assert rows["HHHH", None]["cadenceDays"] == 9
    assert rows["LLLL", None]["serve"] == "EXIT"


def _part(tables: str, name: str) -> str:
    start = tables.index(f'"{name}":{{')
    return tables[start : tables.index("}", start)]


async def test_a_draft_that_does_not_add_up_is_refused_with_everything_that_is_wrong(house: House) -> None:
    refused = await draft(house, "analyst", weights=[{"line": "LOYALTY", "most": 3}])
    assert refused["problems"] == [{"code": "OUT_OF_RANGE", "path": ["weights"], "allowed": ["100", "100"]}]
    refused = await draft(house, "analyst", existingFloorMinor=-1, strategies=[{"segment": "LLLX"}], note="x" * 501)
    assert [(one["code"], one["path"]) for one in refused["problems"]] == [
        ("OUT_OF_RANGE", ["existingFloorMinor"]),
        ("NOT_ALLOWED_VALUE", ["strategies", "0", "segment"]),
        ("REQUIRED", ["strategies", "0", "stage"]),
        ("TOO_LONG", ["note"]),
    ]
    for who in ("wei", "manager"):
        assert (await draft(house, who))["problems"][0]["code"] == "NOT_PERMITTED"
    missing = (await data(house, "admin", PUBLISH, id=new_id()))["publishScorePolicy"]
    assert missing["problems"] == [{"code": "NOT_FOUND", "path": ["id"]}]
    assert [one["number"] for one in (await data(house, "analyst", POLICIES))["scorePolicies"]] == [0]


@pytest.mark.requirement("R52")
async def test_moves_are_kept_counted_and_told_with_their_cause(house: House, shops: list[str]) -> None:
    await data(house, "analyst", RUN)
    async with house.engine.read() as conn:
        [[count, days]] = await conn.fetch("SELECT COUNT(*), COUNT(DISTINCT on_day) FROM segment_move")
        kept = dict(await conn.fetch("SELECT customer_id, segment FROM customer_score"))
    assert (count, days) == (30, 1)
    # who moved later, as a run would leave it
    richest = next(shop for shop in reversed(shops) if kept[shop][0] == "H" and kept[shop] != "ONBOARDING")
    fallen = "L" + kept[richest][1:]
    async with house.engine.write() as conn:
        await conn.execute(
            "INSERT INTO segment_move (id, customer_id, on_day, from_segment, to_segment, cause, run_id)"
            " VALUES (?, ?, '2026-11-24', ?, ?, 'EXISTING_VALUE', ?)",
            new_id(), richest, kept[richest], fallen, new_id(),
        )  # fmt: skip
        await conn.execute("UPDATE customer_score SET segment = ? WHERE customer_id = ?", fallen, richest)
    house.now_ms += 3 * 86_400_000
    found = (await data(house, "manager", MIGRATION, **{"from": "2026-11-22"}))["segmentMigration"]
    assert (found["from"], found["until"], len(found["segments"])) == ("2026-11-22", "2026-11-25", 17)
    assert found["flows"] == [{"from": kept[richest], "to": fallen, "customers": 1}]
    assert sum(map(sum, found["matrix"])) == 30
    earlier = await data(house, "manager", MIGRATION, **{"from": "2026-11-22", "until": "2026-11-23"})
    assert earlier["segmentMigration"]["flows"] == []
    alarms = (await data(house, "wei", ALARMS))["segmentAlarms"]
    assert alarms["totalCount"] == 1
    [alarm] = alarms["items"]
    assert (alarm["customerId"], alarm["from"], alarm["to"], alarm["fallen"]) == (
        richest, kept[richest], fallen, ["E"],
    )  # fmt: skip
    assert alarm["customer"] == {"id": richest}
    assert (await data(house, "na", ALARMS))["segmentAlarms"]["totalCount"] == 0
    assert (await data(house, "wei", ALARMS, since="2026-11-24"))["segmentAlarms"]["totalCount"] == 0
    zh = (await ask(house, "wei", ALARMS, "zh-CN"))["data"]["segmentAlarms"]["items"][0]["causeText"]
    assert zh != alarm["causeText"]
    answer = await ask(house, "wei", MIGRATION, **{"from": "2026-11-22", "until": "2026-11-21"})
    assert answer["errors"][0]["extensions"]["problems"][0]["path"] == ["until"]


async def test_a_run_repeated_keeps_a_move_once(house: House, shops: list[str]) -> None:
    for _ in range(2):
        await data(house, "analyst", RUN)
    async with house.engine.write() as conn:
        await histories.orders(conn, [(shops[0], "2026-11-20", 90_000_000)])
    await data(house, "analyst", RUN)
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT customer_id, COUNT(*) FROM segment_move GROUP BY customer_id")
    assert {row[1] for row in rows} == {1}
    assert len(rows) == 30
