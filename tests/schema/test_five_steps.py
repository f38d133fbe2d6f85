"""The five steps over GraphQL: what there is, who brings what, what is rolled out, judged, and what is missing next."""

from typing import Any

import pytest

from backend.config import Settings
from backend.domain.contribution_runs import Depth
from backend.domain.times import add_days, day_start_ms
from backend.ids import new_id
from backend.sync.work import Door
from backend.usecases.contribution_runs import ContributionWish, analyse_contribution, list_contribution_runs
from backend.usecases.territories import create_territory
from tests import factories, histories
from tests.house import House
from tests.usecases.asking import ask, data

TODAY = "2026-11-22"
REFUSED = "... on Refusal { problems { code path allowed message } }"
SET = f"""
mutation ($input: CapacityInput!) {{ setCapacity(input: $input) {{ __typename
  ... on CapacitySaved {{ capacity {{ id territoryId workingDays reps repsAssumed repMinutes minutesBasis
    contactMinutes rolloutMinutes budgetMinor currency wipMax skills constraints {{ kind text }} }} }}
  {REFUSED} }} }}"""
PLAN = """
query ($territory: ID) { capacityPlan(territoryId: $territory) { capacity { id } availableMinutes wantedMinutes
  usedMinutes droppedMinutes customers taken dropped firstDropped { customerId priority minutes reason reasonText }
  relief reliefText } }"""
ANALYSE = f"""
mutation ($input: ContributionInput) {{ analyseContribution(input: $input) {{ __typename
  ... on ContributionRunMade {{ run {{ id territoryId depth customers analysed rows milliseconds totalMinor lowMinor
    highMinor fitStatus basis advice look adviceText costMinor moved undecided prices {{ look bringsMinor costsMinor }}
    groups {{ group customers pastMinor slopeMinor futureMinor customerIds }} }} }}
  {REFUSED} }} }}"""
PROPOSE = f"""
mutation ($input: RolloutItemInput!) {{ proposeRolloutItem(input: $input) {{ __typename
  ... on RolloutItemSaved {{ item {{ id state worth }} }} {REFUSED} }} }}"""
MOVE = f"""
mutation ($id: ID!) {{ %s(id: $id%s) {{ __typename
  ... on RolloutItemSaved {{ item {{ id state starts stops againAndAgain reason judged toBeJudged }} }}
  {REFUSED} }} }}"""
START, FINISH = MOVE % ("startRolloutItem", ""), MOVE % ("finishRolloutItem", "")
STOP = MOVE % ("stopRolloutItem", ', reason: "Nobody had the time"')
RANK = """
query ($territory: ID) { rankRollout(territoryId: $territory) { capacity { id } chosen { id } kept worth usedMinutes
  usedBudgetMinor proven leftOut { item { id } reasons reasonTexts missingMinutes missingBudgetMinor missingSkills }
  raised { id } againAndAgain { id } reliefMinutes reliefBudget } }"""
GOAL = f"""
mutation ($input: GoalInput!) {{ setGoal(input: $input) {{ __typename
  ... on GoalSaved {{ goal {{ id metric unit baseline target startsOn dueOn ownerId }} }} {REFUSED} }} }}"""
PROGRESS = """
query ($ids: [ID!]) { goalProgress(ids: $ids) { goal { id name closedAt } progress { verdict verdictText value wayBp
  timeBp pace forecast caveats caveatTexts figure { code value missing } } } }"""
COCKPIT = """
query ($territory: ID) { implementationCockpit(territoryId: $territory) { territoryId asOf
  steps { step name state stateText facts { fact count } ids from until missing { move text count } }
  strategies { strategy name customers due made followedBp }
  system { costMinor gainMinor ratio costBasis gainBasis text costs { kind amountMinor } } } }"""
COST = f"""
mutation ($input: SystemCostInput!) {{ tellSystemCost(input: $input) {{ __typename
  ... on SystemCostSaved {{ id }} {REFUSED} }} }}"""
SCORE = {
    "run_id": new_id(), "table_id": "", "segment_since": TODAY, "segment_cause": "FIRST", "stage": "MATURE",
    "past_value_minor": 0, "future_value_minor": 900, "currency": "USD", "basis": "REVENUE", "coverage_bp": 0,
    "confidence_bp": 0, "as_of": TODAY, "evidence": "", "segment_state": 0, "segment_state_before": 0,
    "segment_counted_on": TODAY, "facts": "{}",
}  # fmt: skip
GRADES = {"importance": 3, "urgency": 3, "difficulty": 3, "resources": 3, "disruption": 3}
MONTH = {"from": "2026-11-16", "until": "2026-12-13"}
"""Twenty weekdays."""


def codes(answer: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    assert answer["__typename"] == "Refusal", answer
    return [(one["code"], tuple(one["path"])) for one in answer["problems"]]


def error_codes(answer: dict[str, Any]) -> list[str]:
    return [problem["code"] for error in answer["errors"] for problem in error["extensions"]["problems"]]


async def set_capacity(house: House, who: str = "admin", **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await data(house, who, SET, input={**MONTH, **given}))["setCapacity"]
    return found


async def propose(house: House, who: str = "admin", **given: Any) -> str:
    wish = {"name": "Photo of every shelf", "minutes": 100, **GRADES, **given}
    answer = (await data(house, who, PROPOSE, input=wish))["proposeRolloutItem"]
    assert answer["__typename"] == "RolloutItemSaved", answer
    return str(answer["item"]["id"])


async def move(house: House, document: str, item_id: str, who: str = "admin") -> dict[str, Any]:
    [found] = (await data(house, who, document, id=item_id)).values()
    return dict(found)


async def elsewhere(house: House) -> str:
    """A country the manager of the house has nothing to do with."""
    fields = {"path": "/kr", "kind": "REGION", "nameEn": "Korea", "timezone": "Asia/Seoul"}
    return await house.work("system", lambda work: create_territory(work, fields), door=Door.JOB)


@pytest.fixture
async def shops(house: House) -> list[str]:
    """Twelve shops in the north that sell more each quarter, the last of them less; six in the south."""
    async with house.engine.write() as conn:
        north = await histories.customers(conn, 12, territory_id=house.patches["north"])
        south = await histories.customers(conn, 6, territory_id=house.patches["south"])
        await conn.execute("UPDATE customer SET created_at = ?", day_start_ms("2025-01-01", "Asia/Shanghai"))
        rows = [
            (shop, add_days(TODAY, -40 - 91 * quarter), 1_000 * (9 - quarter if shop != north[-1] else 1 + quarter))
            for shop in [*north, *south]
            for quarter in range(8)
        ]
        await histories.orders(conn, rows, territory_id=house.patches["north"])
    return [*north, *south]


async def score(house: House, shops: list[str]) -> None:
    """All of them champions who want a visit a fortnight; the priority falls with the id."""
    async with house.engine.write() as conn:
        for place, shop in enumerate(shops):
            await factories.insert(
                conn, "customer_score", customer_id=shop, segment="HHHH", priority=90 - place, **SCORE
            )


@pytest.mark.requirement("R26")
async def test_a_capacity_is_reckoned_from_reps_and_days_and_says_what_it_assumed(house: House) -> None:
    north = house.patches["north"]
    saved = (await set_capacity(house, "manager", territoryId=north, holidays=["2026-11-17"]))["capacity"]
    assert (saved["workingDays"], saved["reps"], saved["repsAssumed"]) == (19, 1, 1)
    assert (saved["repMinutes"], saved["minutesBasis"]) == (19 * 480, "PARTLY_ASSUMED")
    assert (saved["rolloutMinutes"], saved["contactMinutes"]) == (912, 8_208)
    async with house.engine.write() as conn:
        await conn.execute("UPDATE user_account SET day_minutes = 400 WHERE id = ?", house.people["wei"].user_id)
    whole = (await set_capacity(house, constraints=[{"kind": "ECONOMY", "text": "A slow winter"}]))["capacity"]
    assert (whole["repMinutes"], whole["repsAssumed"]) == (20 * (400 + 480), 1)
    assert whole["constraints"] == [{"kind": "ECONOMY", "text": "A slow winter"}]
    given = (await set_capacity(house, repMinutes=5_000))["capacity"]
    assert (given["repMinutes"], given["minutesBasis"]) == (5_000, "GIVEN")


@pytest.mark.requirement("R26")
async def test_a_capacity_is_refused_with_everything_that_is_wrong_and_by_whose_it_is(house: House) -> None:
    wrong = {"budgetMinor": -1, "wipMax": 0, "rolloutShareBp": 10_001, "skills": ["x" * 61], "holidays": [TODAY] * 121}
    assert codes(await set_capacity(house, territoryId=new_id(), **{**wrong, "until": "2029-01-01"})) == [
        ("OUT_OF_RANGE", ("endsOn",)), ("TOO_MANY", ("holidays",)), ("OUT_OF_RANGE", ("budgetMinor",)),
        ("OUT_OF_RANGE", ("rolloutShareBp",)), ("OUT_OF_RANGE", ("wipMax",)), ("TOO_LONG", ("skills", "0")),
        ("NOT_FOUND", ("territoryId",)),
    ]  # fmt: skip
    assert codes(await set_capacity(house, "manager")) == [("NOT_FOUND", ("territoryId",))]
    for who in ("wei", "analyst", "agent"):
        assert codes(await set_capacity(house, who)) == [("NOT_PERMITTED", ())]
    korea = await elsewhere(house)
    assert codes(await set_capacity(house, "manager", territoryId=korea)) == [("NOT_FOUND", ("territoryId",))]
    # nobody works there, and nobody named any minutes: that is not a capacity of nothing
    assert codes(await set_capacity(house, territoryId=korea)) == [("EVIDENCE_MISSING", ("repMinutes",))]


@pytest.mark.requirement("R26")
async def test_planned_contacts_never_exceed_the_capacity_and_the_dropped_are_named(
    house: House, shops: list[str]
) -> None:
    await score(house, shops[:4])
    empty = (await data(house, "manager", PLAN))["capacityPlan"]
    assert (empty["capacity"], empty["customers"], empty["relief"]) == (None, None, None)
    # from today 15 of 20 weekdays are left: three quarters of what customers have; three weeks hold one visit each
    await set_capacity(
        house, "manager", territoryId=house.patches["north"], repMinutes=160, rolloutShareBp=0, raisableMinutes=40
    )
    found = (await data(house, "manager", PLAN, territory=house.patches["north"]))["capacityPlan"]
    assert (found["availableMinutes"], found["wantedMinutes"], found["usedMinutes"]) == (120, 180, 90)
    assert (found["customers"], found["taken"], found["dropped"]) == (4, 2, 2)
    assert [(one["customerId"], one["reason"]) for one in found["firstDropped"]] == [
        (shops[2], "NO_MINUTES"), (shops[3], "NO_MINUTES"),
    ]  # fmt: skip
    assert (found["relief"], found["droppedMinutes"]) == ("RAISE_AND_LOWER", 90)
    assert error_codes(await ask(house, "wei", PLAN)) == ["NOT_PERMITTED"]


@pytest.mark.requirement("R27")
async def test_an_analysis_starts_with_one_region_and_keeps_what_it_found_and_cost(
    house: House, shops: list[str]
) -> None:
    run = await data(house, "manager", ANALYSE, input={"territoryId": house.patches["north"], "hours": 1.5})
    run = run["analyseContribution"]["run"]
    assert (run["customers"], run["analysed"], run["rows"], run["basis"]) == (12, 12, 96, "REVENUE")
    groups = {one["group"]: one for one in run["groups"]}
    assert (groups["RISING"]["customers"], groups["FALLING"]["customers"]) == (11, 1)
    assert groups["FALLING"]["customerIds"] == [shops[11]]
    assert (groups["FALLING"]["pastMinor"], groups["FALLING"]["slopeMinor"]) == (36_000, -1_000)
    assert run["totalMinor"] == sum(one["pastMinor"] for one in run["groups"]) == 11 * 44_000 + 36_000
    assert groups["RISING"]["futureMinor"] is None
    assert run["milliseconds"] >= 1
    assert run["costMinor"] >= 7_500
    # the lines are straight, so nothing is open: going deeper can bring nothing
    assert (run["advice"], run["look"], run["undecided"]) == ("STOP", None, 0)
    assert [(one["look"], one["bringsMinor"]) for one in run["prices"]] == [("DEEPER", 0)]


@pytest.mark.requirement("R27")
async def test_samples_read_less_and_depths_more(house: House, shops: list[str]) -> None:
    async def run(**wish: Any) -> dict[str, Any]:
        return dict((await data(house, "admin", ANALYSE, input=wish))["analyseContribution"]["run"])

    await score(house, shops)
    whole, sample = await run(), await run(sampleBp=5_000)
    assert (whole["customers"], whole["analysed"], whole["lowMinor"]) == (18, 18, whole["totalMinor"])
    assert sample["customers"] == 18
    assert 0 < sample["analysed"] < 18
    assert sample["rows"] == 8 * sample["analysed"] < whole["rows"]
    assert sample["lowMinor"] <= sample["totalMinor"] <= sample["highMinor"]
    deeper = await run(depth="STANDARD", topN=3)
    assert (deeper["analysed"], deeper["rows"]) == (3, whole["rows"] + 18)
    assert sum(one["futureMinor"] or 0 for one in deeper["groups"]) == 2_700
    full = await run(depth="FULL")
    assert full["fitStatus"] is not None
    assert (full["advice"], full["prices"]) == ("STOP", [])
    assert codes((await data(house, "admin", ANALYSE, input={"quarters": 13, "sampleBp": 99, "topN": 0, "hours": -1}))[
        "analyseContribution"
    ]) == [("OUT_OF_RANGE", (name,)) for name in ("quarters", "sampleBp", "topN", "hoursHundredths")]  # fmt: skip


@pytest.mark.requirement("R27")
async def test_who_may_analyse_what_and_how_little_of_few_a_reader_of_sums_is_told(
    house: House, shops: list[str]
) -> None:
    made = (await data(house, "analyst", ANALYSE))["analyseContribution"]["run"]
    groups = {one["group"]: one for one in made["groups"]}
    assert (groups["FALLING"]["customers"], groups["FALLING"]["pastMinor"]) == (1, None)
    assert groups["RISING"]["pastMinor"] == 17 * 44_000
    for who in ("wei", "agent"):
        assert codes((await data(house, who, ANALYSE))["analyseContribution"]) == [("NOT_PERMITTED", ())]
    korea = await elsewhere(house)
    refused = (await data(house, "manager", ANALYSE, input={"territoryId": korea}))["analyseContribution"]
    assert codes(refused) == [("NOT_FOUND", ("territoryId",))]
    # without naming one a manager means his own seat; what was made of everything is not his to read
    own = (await data(house, "manager", ANALYSE))["analyseContribution"]["run"]
    assert own["territoryId"] is not None
    runs = "{ contributionRuns { id territoryId } }"
    assert [one["id"] for one in (await data(house, "manager", runs))["contributionRuns"]] == [own["id"]]
    assert len((await data(house, "analyst", runs))["contributionRuns"]) == 2


@pytest.mark.requirement("R27")
async def test_the_history_of_analyses_is_bounded(house: House, shops: list[str]) -> None:
    settings, admin = Settings(contribution_runs_kept=2), house.people["admin"]
    made = []
    for depth in (Depth.BASIC, Depth.STANDARD, Depth.BASIC):
        house.now_ms += 1_000
        run = await analyse_contribution(
            house.engine, admin, ContributionWish(depth=depth), settings=settings, clock=lambda: house.now_ms
        )
        made.append(run.id)
    kept = await list_contribution_runs(house.engine, admin, settings=settings, first=9)
    assert [one.id for one in kept] == [made[2], made[1]]


@pytest.mark.requirement("R29")
async def test_nothing_is_started_beyond_what_there_is_anywhere_above_it(house: House) -> None:
    north = house.patches["north"]
    item = await propose(house, "manager", territoryId=north, minutes=60, budgetMinor=500, skills=["photos"])
    assert codes(await move(house, START, item)) == [("EVIDENCE_MISSING", ("capacity",))]
    await set_capacity(house, "manager", territoryId=north, repMinutes=1_000, budgetMinor=500, skills=["photos"])
    await set_capacity(house, repMinutes=500, budgetMinor=400)
    # there is room in the north; of the whole organisation there is not
    refused = await move(house, START, item)
    assert codes(refused) == [
        ("OUT_OF_RANGE", ("minutes",)), ("OUT_OF_RANGE", ("budgetMinor",)), ("EVIDENCE_MISSING", ("skills",)),
    ]  # fmt: skip
    assert [one["allowed"] for one in refused["problems"]] == [["0", "50"], ["0", "400"], ["photos"]]
    await set_capacity(house, repMinutes=600, budgetMinor=500, skills=["photos"], wipMax=1)
    assert (await move(house, START, item))["item"]["state"] == "STARTED"
    other = await propose(house, territoryId=house.patches["south"], minutes=0)
    assert codes(await move(house, START, other)) == [("TOO_MANY", ("wipMax",))]


@pytest.mark.requirement("R29", "R30")
async def test_starts_and_stops_are_counted_and_done_needs_an_evaluation_closed(house: House) -> None:
    await set_capacity(house, repMinutes=10_000)
    item = await propose(house)
    assert codes(await move(house, FINISH, item)) == [("INVALID_TRANSITION", ("state",))]
    for _ in range(2):
        await move(house, START, item)
        stopped = (await move(house, STOP, item))["item"]
    assert (stopped["state"], stopped["starts"], stopped["stops"], stopped["againAndAgain"]) == ("STOPPED", 2, 2, True)
    assert stopped["reason"] == "Nobody had the time"
    ranking = (await data(house, "admin", RANK))["rankRollout"]
    assert [one["id"] for one in ranking["againAndAgain"]] == [item]
    await move(house, START, item)
    assert codes(await move(house, FINISH, item)) == [("EVIDENCE_MISSING", ("evaluation",))]
    evaluation_id = new_id()
    async with house.engine.write() as conn:
        await factories.insert(
            conn, "evaluation", id=evaluation_id, state="FROZEN", subject_kind="ROLL_OUT", subject_id=item,
            name="Photos", segments="[]", kinds="[]", metric="REVENUE", starts_on=TODAY, ends_on=TODAY,
            holdout_bp=1_000, salt="s", cost_minor=0, currency="USD", planned_at=1, planned_by="staff:x",
        )  # fmt: skip
    assert codes(await move(house, FINISH, item)) == [("EVIDENCE_MISSING", ("evaluation",))]
    async with house.engine.write() as conn:
        await conn.execute("UPDATE evaluation SET state = 'CLOSED' WHERE id = ?", evaluation_id)
    done = (await move(house, FINISH, item))["item"]
    assert (done["state"], done["judged"], done["toBeJudged"]) == ("DONE", True, False)
    assert codes(await move(house, START, item)) == [("INVALID_TRANSITION", ("state",))]


@pytest.mark.requirement("R29")
async def test_the_ranking_fills_the_capacity_of_its_scope_and_names_what_waits_and_what_raising_would_bring(
    house: House,
) -> None:
    north = house.patches["north"]
    await set_capacity(
        house, "manager", territoryId=north, repMinutes=1_000, budgetMinor=100, wipMax=2, raisableMinutes=30
    )
    best = await propose(house, "manager", territoryId=north, minutes=80, importance=5, urgency=5)
    small = await propose(house, "manager", territoryId=north, minutes=45)
    twin = await propose(house, "manager", territoryId=north, minutes=45)
    dear = await propose(house, "manager", territoryId=north, minutes=1, budgetMinor=101)
    elsewhere_id = await propose(house, territoryId=house.patches["south"], minutes=1)
    found = (await data(house, "manager", RANK, territory=north))["rankRollout"]
    # two of 27 are worth more than one of 41
    assert {one["id"] for one in found["chosen"]} == {small, twin}
    assert (found["worth"], found["usedMinutes"], found["proven"]) == (54, 90, True)
    left = {one["item"]["id"]: one for one in found["leftOut"]}
    assert set(left) == {best, dear}
    assert (left[best]["reasons"], left[best]["missingMinutes"]) == (["MINUTES_USED", "WIP_LIMIT"], 70)
    assert left[dear]["reasons"] == ["TOO_MUCH_BUDGET", "WIP_LIMIT"]
    assert left[dear]["reasonTexts"][0] == "Needs more budget than there is"
    # thirty more minutes would let the best in
    assert [one["id"] for one in found["raised"]] == [best]
    assert (found["reliefMinutes"], found["reliefBudget"]) == ("RAISE_AND_LOWER", "LOWER_GOAL")
    nothing = (await data(house, "admin", RANK))["rankRollout"]
    assert (nothing["capacity"], nothing["chosen"]) == (None, [])
    assert elsewhere_id not in left


@pytest.mark.requirement("R29")
async def test_items_are_refused_with_every_problem_and_out_of_scope_they_are_not_there(house: House) -> None:
    wish = {"name": " ", "minutes": -1, "budgetMinor": 2 * 10**15, **GRADES, "importance": 6, "urgency": 0}
    assert codes((await data(house, "admin", PROPOSE, input=wish))["proposeRolloutItem"]) == [
        ("REQUIRED", ("name",)), ("OUT_OF_RANGE", ("importance",)), ("OUT_OF_RANGE", ("urgency",)),
        ("OUT_OF_RANGE", ("minutes",)), ("OUT_OF_RANGE", ("budgetMinor",)),
    ]  # fmt: skip
    korea = await elsewhere(house)
    theirs, all_of_it = await propose(house, territoryId=korea), await propose(house)
    assert codes(await move(house, STOP, theirs, "manager")) == [("NOT_FOUND", ("itemId",))]
    assert codes(await move(house, STOP, all_of_it, "manager")) == [("NOT_PERMITTED", ())]
    assert codes(await move(house, STOP, all_of_it, "analyst")) == [("NOT_PERMITTED", ())]
    assert codes(await move(house, STOP, "no id")) == [("NOT_FOUND", ("itemId",))]
    listed = (await data(house, "manager", "{ rolloutItems { id } }"))["rolloutItems"]
    assert [one["id"] for one in listed] == [all_of_it]
    assert error_codes(await ask(house, "wei", "{ rolloutItems { id } }")) == ["NOT_PERMITTED"]


@pytest.mark.requirement("R12", "R6")
async def test_a_goal_begins_where_the_figure_stands_and_says_whether_it_will_be_met(
    house: House, shops: list[str]
) -> None:
    north = house.patches["north"]
    wish = {
        "name": "More from the north", "metric": "REVENUE", "target": 200_000, "dueOn": add_days(TODAY, 100),
        "reason": "The season was slow", "judgedBy": "Orders of the quarter", "territoryId": north,
    }  # fmt: skip
    goal = (await data(house, "manager", GOAL, input=wish))["setGoal"]["goal"]
    # the newest quarter of eleven shops and of the one that falls
    assert (goal["baseline"], goal["unit"], goal["startsOn"]) == (11 * 9_000 + 1_000, "MONEY_MINOR", TODAY)
    assert goal["ownerId"] == house.people["manager"].user_id
    early = (await data(house, "manager", PROGRESS))["goalProgress"][0]["progress"]
    assert (early["verdict"], early["value"], early["caveats"]) == ("TOO_EARLY", 100_000, ["WINDOW_REACHES_BACK"])
    house.now_ms += 50 * 86_400_000
    async with house.engine.write() as conn:
        await histories.orders(conn, [(shops[0], add_days(TODAY, 45), 150_000)], territory_id=north)
    found = (await data(house, "manager", PROGRESS, ids=[goal["id"]]))["goalProgress"][0]["progress"]
    # orders of 90 days ago are just in the window, of 40 + 50 days
    assert (found["value"], found["wayBp"], found["timeBp"]) == (250_000, 15_000, 5_000)
    assert (found["verdict"], found["forecast"], found["pace"]) == ("MET", 400_000, 3.0)
    assert found["figure"]["code"] == "REVENUE"


@pytest.mark.requirement("R12")
async def test_a_goal_without_a_figure_wants_a_baseline_and_says_that_there_is_none(house: House) -> None:
    wish = {
        "name": "Win more", "metric": "WIN_RATE", "target": 4_000, "dueOn": add_days(TODAY, 100),
        "reason": "Too few won", "judgedBy": "Opportunities won",
    }  # fmt: skip
    refused = (await data(house, "admin", GOAL, input=wish))["setGoal"]
    assert codes(refused) == [("REQUIRED", ("baseline",))]
    goal = (await data(house, "admin", GOAL, input={**wish, "baseline": 3_000}))["setGoal"]["goal"]
    answer = await ask(house, "admin", PROGRESS, "ko", ids=[goal["id"]])
    found = answer["data"]["goalProgress"][0]["progress"]
    assert (found["verdict"], found["verdictText"], found["value"]) == ("NO_FIGURE", "수치 없음", None)
    assert found["figure"]["missing"] == "NOT_RECORDED"
    wrong = {
        **wish, "baseline": 4_000, "name": "", "dueOn": add_days(TODAY, 3), "windowDays": 5, "ownerId": new_id(),
        "evaluationId": "no id",
    }  # fmt: skip
    assert codes((await data(house, "admin", GOAL, input=wrong))["setGoal"]) == [
        ("REQUIRED", ("name",)), ("OUT_OF_RANGE", ("dueOn",)), ("OUT_OF_RANGE", ("windowDays",)),
        ("OUT_OF_RANGE", ("target",)), ("NOT_FOUND", ("ownerId",)), ("NOT_FOUND", ("evaluationId",)),
    ]  # fmt: skip
    for days in (-(2**31), 2**31 - 1):
        endless = {**wish, "metric": "REVENUE", "windowDays": days}
        assert codes((await data(house, "admin", GOAL, input=endless))["setGoal"]) == [
            ("OUT_OF_RANGE", ("windowDays",))
        ]
    close = f"mutation ($id: ID!) {{ closeGoal(id: $id) {{ __typename {REFUSED} }} }}"
    assert codes((await data(house, "analyst", close, id=goal["id"]))["closeGoal"]) == [("NOT_PERMITTED", ())]
    assert (await data(house, "admin", close, id=goal["id"]))["closeGoal"]["__typename"] == "GoalSaved"
    assert codes((await data(house, "admin", close, id=goal["id"]))["closeGoal"]) == [
        ("INVALID_TRANSITION", ("state",))
    ]
    assert (await data(house, "admin", PROGRESS))["goalProgress"] == []


@pytest.mark.requirement("R30", "R56")
async def test_the_cockpit_walks_through_the_five_steps_by_what_is_recorded(house: House, shops: list[str]) -> None:
    async def states(who: str = "admin", **variables: Any) -> dict[str, tuple[str, list[str]]]:
        found = (await data(house, who, COCKPIT, **variables))["implementationCockpit"]
        return {one["step"]: (one["state"], [move["move"] for move in one["missing"]]) for one in found["steps"]}

    assert await states() == {
        "RESOURCES": ("NOT_STARTED", ["SET_CAPACITY"]), "CONTRIBUTION": ("NOT_STARTED", ["ANALYSE"]),
        "STRATEGIES": ("NOT_STARTED", ["SCORE"]), "ROLL_OUT": ("NOT_STARTED", ["PROPOSE"]),
        "EVALUATION": ("NOT_STARTED", ["PLAN_EVALUATION"]),
    }  # fmt: skip
    await set_capacity(house, repMinutes=9_000, constraints=[{"kind": "CULTURE", "text": "New Year"}])
    await data(house, "admin", ANALYSE)
    await score(house, shops[:2])
    async with house.engine.write() as conn:
        wei = str(house.people["wei"].user_id)
        await histories.visits(conn, [(shops[0], wei, add_days(TODAY, -7 * week)) for week in range(20)])
    item = await propose(house)
    await move(house, START, item)
    found = await states()
    assert found["RESOURCES"] == found["CONTRIBUTION"] == ("DONE", [])
    # thirteen are due with each; more with one do not stand for none with the other
    assert found["STRATEGIES"] == ("GOING", ["VISIT_BY_CADENCE"])
    assert found["ROLL_OUT"] == ("GOING", ["FINISH"])
    assert found["EVALUATION"] == ("NOT_STARTED", ["PLAN_EVALUATION"])
    shown = (await data(house, "admin", COCKPIT))["implementationCockpit"]
    strategy = shown["strategies"][0]
    assert (strategy["strategy"], strategy["customers"]) == ("CO_PLAN_SEASON", 2)
    assert (strategy["due"], strategy["made"], strategy["followedBp"]) == (26, 13, 5_000)
    step = shown["steps"][3]
    assert step["ids"] == [item]
    assert {one["fact"]: one["count"] for one in step["facts"]}["STARTS"] == 1
    # of the manager's own scope nobody wrote down what there is
    own = (await data(house, "manager", COCKPIT))["implementationCockpit"]
    assert own["territoryId"] is not None
    assert (own["steps"][0]["state"], own["system"]) == ("NOT_STARTED", None)
    assert error_codes(await ask(house, "wei", COCKPIT)) == ["NOT_PERMITTED"]
    assert error_codes(await ask(house, "manager", COCKPIT, territory=await elsewhere(house))) == ["NOT_FOUND"]


@pytest.mark.requirement("R56")
async def test_what_the_system_costs_stands_against_what_was_measured_and_is_not_recorded_before(house: House) -> None:
    async def system(locale: str = "en") -> dict[str, Any]:
        return dict((await ask(house, "admin", COCKPIT, locale))["data"]["implementationCockpit"]["system"])

    before = await system("zh-CN")
    assert (before["costMinor"], before["costBasis"], before["gainBasis"]) == (None, "NOT_RECORDED", "NOT_RECORDED")
    assert before["text"] == "成本和测得的收益均未记录。"
    year = {"from": "2026-01-01", "until": "2026-12-31"}
    for kind, amount, more in (("LICENCE", 40_000, {}), ("HOURS", 20_000, {"hours": 12.5}), ("LICENCE", -10_000, {})):
        cost = {"kind": kind, "amountMinor": amount, **year, **more}
        assert (await data(house, "admin", COST, input=cost))["tellSystemCost"]["__typename"] == "SystemCostSaved"
    async with house.engine.write() as conn:
        await factories.insert(
            conn, "evaluation", id=new_id(), state="CLOSED", subject_kind="CAMPAIGN", subject_id="c", name="Autumn",
            segments="[]", kinds="[]", metric="REVENUE", starts_on="2026-09-01", ends_on="2026-10-01", holdout_bp=1_000,
            salt="s", cost_minor=0, currency="USD", planned_at=1, planned_by="staff:x",
            result='{"gainMinor":100000,"gainLowMinor":25000,"gainHighMinor":175000}',
        )  # fmt: skip
    found = await system()
    assert (found["costMinor"], found["gainMinor"], found["ratio"]) == (50_000, 100_000, 2.0)
    assert {one["kind"]: one["amountMinor"] for one in found["costs"]} == {"LICENCE": 30_000, "HOURS": 20_000}
    assert found["text"] == "Costs as told, gain as measured by closed evaluations."
    wrong = {"kind": "HOURS", "amountMinor": 2 * 10**15, "from": "2026-02-01", "until": "2026-01-01"}
    assert codes((await data(house, "admin", COST, input=wrong))["tellSystemCost"]) == [
        ("OUT_OF_RANGE", ("endsOn",)), ("OUT_OF_RANGE", ("amountMinor",)), ("REQUIRED", ("hours",)),
    ]  # fmt: skip
    for who in ("manager", "analyst", "wei"):
        assert codes((await data(house, who, COST, input=wrong))["tellSystemCost"]) == [("NOT_PERMITTED", ())]


@pytest.mark.requirement("R32")
async def test_every_step_taken_stands_in_the_audit(house: House) -> None:
    await set_capacity(house, repMinutes=10_000)
    item = await propose(house)
    await move(house, START, item)
    await move(house, STOP, item)
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT action, record_id, reason FROM audit_entry WHERE collection = 'rolloutItems' ORDER BY id"
        )
    assert [(row[0], row[1]) for row in rows] == [("CREATE", item), ("UPDATE", item), ("UPDATE", item)]
    assert rows[2][2] == "Nobody had the time"
