"""The advisor over closed evaluations of an organisation: who is told, of which, and that nothing is not zero."""

from typing import Any

import orjson
import pytest

from backend.config import Settings
from backend.domain.campaign_advisor import Pattern
from backend.domain.evaluations import EvaluationMetric
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.usecases.campaign_advisor import advise_campaign
from tests import factories
from tests.domain.test_campaign_advisor import told
from tests.house import NOON_MS, House
from tests.usecases.asking import ask, data

pytestmark = pytest.mark.requirement("R10", "R24")

ASKED = """query($segment: String!, $metric: EvaluationMetric, $first: Int! = 10) {
  campaignAdvisor(segment: $segment, metric: $metric, first: $first) {
    compared missing missingText
    patterns { action subjectKindText metric aimed lift low verdict treated evaluations lastEndedOn lesson } } }"""


async def closed(house: House, action: str, lift: float, error: float, **columns: Any) -> str:
    """A closed campaign as it is kept."""
    found = new_id()
    given = {
        "state": "CLOSED", "subject_kind": "CAMPAIGN", "subject_id": "c", "name": action, "strategy": action,
        "territory_id": None, "segments": "[]", "kinds": "[]", "metric": "REVENUE", "starts_on": "2026-01-01",
        "ends_on": "2026-01-31", "holdout_bp": 5_000, "salt": found, "cost_minor": 0, "currency": "USD",
        "planned_at": NOON_MS, "planned_by": "x", "frozen_at": NOON_MS, "treated_n": 500, "control_n": 500,
        "ended_at": NOON_MS, "ended_by": "x", "result": orjson.dumps(told(lift, error)).decode(),
        "lesson": f"{action} teaches",
    }  # fmt: skip
    async with house.engine.write() as conn:
        await factories.insert(conn, "evaluation", id=found, **{**given, **columns})
    return found


async def advised(house: House, who: str, segment: str = "LLLH", **options: Any) -> tuple[Pattern, ...]:
    settings = options.pop("settings", Settings())
    async with house.engine.read() as conn:
        return await advise_campaign(conn, house.people[who], settings, segment=segment, **options)


async def test_what_worked_for_a_segment_comes_first_and_names_what_it_stands_on(house: House) -> None:
    unsure = await closed(house, "outlet offer", 0.40, 0.30)
    older = await closed(house, "season mailing", 0.10, 0.02, segments='["LLLH"]')
    newer = await closed(house, "season mailing", 0.10, 0.02, segments='["LLLH"]', ends_on="2026-03-31", lesson="again")
    await closed(house, "for others", 0.90, 0.01, segments='["HHHH"]')
    await closed(house, "still running", 0.90, 0.01, state="FROZEN", result=None)
    found = (await data(house, "analyst", ASKED, segment="LLLH"))["campaignAdvisor"]
    assert (found["compared"], found["missing"]) == (2, None)
    first, second = found["patterns"]
    assert (first["action"], first["aimed"], first["verdict"], first["subjectKindText"]) == (
        "season mailing", True, "BETTER", "Campaign",
    )  # fmt: skip
    assert (first["evaluations"], first["lastEndedOn"], first["lesson"]) == ([newer, older], "2026-03-31", "again")
    assert (first["lift"], first["treated"]) == (pytest.approx(0.10, abs=1e-6), 1_000)
    # two errors of .02 make one of .02/√2
    assert first["low"] == pytest.approx(0.10 - 1.959964 * 0.02 / 2**0.5, abs=1e-5)
    assert (second["evaluations"], second["aimed"], second["verdict"]) == ([unsure], False, "AS_GOOD")
    shortened = (await data(house, "analyst", ASKED, segment="LLLH", first=1))["campaignAdvisor"]
    assert (shortened["compared"], len(shortened["patterns"])) == (2, 1)
    assert [one.action for one in await advised(house, "analyst", metric=EvaluationMetric.BUYERS)] == []


async def test_where_nothing_was_closed_it_says_so_and_names_no_number(house: House) -> None:
    found = (await data(house, "admin", ASKED, segment="LLLH"))["campaignAdvisor"]
    assert (found["compared"], found["patterns"], found["missing"]) == (0, [], "NOT_RECORDED")
    assert found["missingText"]


async def test_who_sees_no_evaluation_is_told_none_and_a_manager_learns_from_his_subtree(house: House) -> None:
    async with house.engine.write() as conn:
        far = await factories.territory(conn, "/us")
    await closed(house, "near", 0.2, 0.1, territory_id=house.patches["north"])
    await closed(house, "far", 0.2, 0.1, territory_id=far)
    await closed(house, "everywhere", 0.2, 0.1)
    assert {one.action for one in await advised(house, "manager")} == {"near", "everywhere"}
    assert {one.action for one in await advised(house, "analyst")} == {"near", "far", "everywhere"}
    for who in ("wei", "agent"):
        answer = await ask(house, who, ASKED, segment="LLLH")
        assert answer["errors"][0]["extensions"]["code"] == Code.NOT_PERMITTED


async def test_a_segment_there_is_not_and_too_many_rows_are_refused_and_the_newest_are_looked_at(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await advised(house, "analyst", "XXXX")
    assert [(one.code, one.path) for one in refused.value.problems] == [(Code.NOT_ALLOWED_VALUE, ("segment",))]
    for first in (0, 1_000_000):
        answer = await ask(house, "analyst", ASKED, segment="LLLH", first=first)
        assert answer["errors"][0]["extensions"]["code"] == Code.OUT_OF_RANGE
    for place in range(12):
        await closed(house, f"a{place:02d}", 0.2, 0.1, planned_at=NOON_MS + place)
    found = await advised(house, "analyst", settings=Settings(advisor_evaluations_max=10))
    assert [one.action for one in found] == [f"a{place:02d}" for place in range(2, 12)]
