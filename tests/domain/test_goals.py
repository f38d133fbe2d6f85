"""Whether a goal will be met: by a straight line, both ways up and down, and never before it can be said."""

from dataclasses import replace

import pytest

from backend.domain.goals import GoalCaveat, GoalRecord, GoalVerdict, goal_progress, measured_until
from backend.domain.kpis import KpiCode, NoFigure, Unit

pytestmark = pytest.mark.requirement("R12", "R6")

GOAL = GoalRecord(
    id="g", name="Repeat more", metric=KpiCode.REPEAT_RATE, territory_id=None, window_days=30, baseline=4_000,
    target=5_000, starts_on="2026-01-01", due_on="2026-04-11", reason="Customers come once", judged_by="The rate",
    evaluation_id=None, owner_id="u", set_at_ms=0, set_by="staff:u",
)  # fmt: skip
"""A hundred days."""


def test_half_way_at_half_time_arrives_exactly() -> None:
    found = goal_progress(GOAL, 4_500, None, "2026-02-20")
    assert (found.verdict, found.way, found.time, found.pace) == (GoalVerdict.ON_TRACK, 0.5, 0.5, 1.0)
    assert found.forecast == 5_000
    assert GOAL.unit is Unit.BASIS_POINTS


def test_a_little_less_is_behind_and_says_where_it_will_end() -> None:
    found = goal_progress(GOAL, 4_499, None, "2026-02-20")
    assert (found.verdict, found.forecast) == (GoalVerdict.BEHIND, 4_998)


def test_a_goal_downwards_is_met_from_above() -> None:
    down = replace(GOAL, metric=KpiCode.CYCLE_DAYS, baseline=20, target=10)
    assert goal_progress(down, 15, None, "2026-02-20").verdict is GoalVerdict.ON_TRACK
    assert goal_progress(down, 16, None, "2026-02-20").verdict is GoalVerdict.BEHIND
    assert goal_progress(down, 10, None, "2026-02-20").verdict is GoalVerdict.MET
    worse = goal_progress(down, 24, None, "2026-02-20")
    assert (worse.way, worse.forecast, worse.verdict) == (-0.4, 28, GoalVerdict.BEHIND)


@pytest.mark.parametrize(
    ("today", "value", "verdict"),
    [
        ("2025-12-31", 4_900, GoalVerdict.NOT_BEGUN),
        ("2026-01-01", 4_000, GoalVerdict.TOO_EARLY),
        ("2026-01-10", 4_999, GoalVerdict.TOO_EARLY),
        ("2026-01-10", 5_000, GoalVerdict.MET),
        ("2026-01-11", 4_100, GoalVerdict.ON_TRACK),
        ("2026-04-11", 4_999, GoalVerdict.BEHIND),
        ("2026-04-12", 4_999, GoalVerdict.MISSED),
        ("2026-04-12", 5_000, GoalVerdict.MET),
    ],
)
def test_verdicts_over_the_time_of_a_goal(today: str, value: int, verdict: GoalVerdict) -> None:
    assert goal_progress(GOAL, value, None, today).verdict is verdict


def test_no_figure_is_no_progress_and_not_none_of_it() -> None:
    found = goal_progress(GOAL, None, NoFigure.NOT_RECORDED, "2026-02-20")
    assert (found.verdict, found.way, found.forecast) == (GoalVerdict.NO_FIGURE, None, None)
    assert found.missing is NoFigure.NOT_RECORDED
    assert found.time == 0.5


def test_a_window_that_begins_before_the_goal_is_told() -> None:
    reaches = (GoalCaveat.WINDOW_REACHES_BACK,)
    assert goal_progress(GOAL, 4_500, None, "2026-01-29").caveats == reaches
    assert goal_progress(GOAL, 4_500, None, "2026-01-30").caveats == ()


def test_after_the_due_day_the_figure_stays_that_of_the_due_day() -> None:
    assert measured_until(GOAL, "2026-06-01") == "2026-04-11"
    assert measured_until(GOAL, "2026-03-01") == "2026-03-01"
