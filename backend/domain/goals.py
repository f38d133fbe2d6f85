"""Goals: one key figure from a baseline to a target by a day, why, and whether it will be met.

*Source*: R6, R12.
"""

from dataclasses import dataclass
from enum import StrEnum

from backend.domain.kpis import KPI_UNITS, KpiCode, NoFigure, Unit
from backend.domain.times import days_between

WINDOW_DAYS_MIN, WINDOW_DAYS_MAX = 7, 366
GOAL_DAYS_MIN, GOAL_DAYS_MAX = 14, 1_830
EARLY_SHARE = 0.10
"""Before a tenth of the time is over a pace says nothing."""


@dataclass(frozen=True, slots=True)
class GoalRecord:
    """A goal as it is kept. Values in the unit of its key figure, which is taken over the `window_days` up to a day;
    `territory_id` None: the whole organisation; `judged_by`: how it will be judged; `evaluation_id`: by which
    evaluation, if one was planned."""

    id: str
    name: str
    metric: KpiCode
    territory_id: str | None
    window_days: int
    baseline: int
    target: int
    starts_on: str
    due_on: str
    reason: str
    judged_by: str
    evaluation_id: str | None
    owner_id: str
    set_at_ms: int
    set_by: str
    closed_at_ms: int | None = None

    @property
    def unit(self) -> Unit:
        """What its values are counted in."""
        return KPI_UNITS[self.metric]


class GoalVerdict(StrEnum):
    """Whether a goal is or will be met."""

    MET = "MET"
    """the value is at the target today"""
    ON_TRACK = "ON_TRACK"
    """at the pace so far it will be met"""
    BEHIND = "BEHIND"
    """at the pace so far it will not"""
    MISSED = "MISSED"
    """the day is over and it was not met"""
    TOO_EARLY = "TOO_EARLY"
    """less than a tenth of the time is over"""
    NOT_BEGUN = "NOT_BEGUN"
    NO_FIGURE = "NO_FIGURE"
    """the key figure has no value, and says why"""


class GoalCaveat(StrEnum):
    """What to know about a progress."""

    WINDOW_REACHES_BACK = "WINDOW_REACHES_BACK"
    """the days the figure is taken over begin before the goal does, so it still holds some of the old"""


@dataclass(frozen=True, slots=True)
class GoalProgress:
    """How far a goal is. `way`: share of the way from baseline to target, negative where it went the other way, above 1
    beyond the target; `time`: share of the time that is over, 0..1; `pace`: way / time; `forecast`: the value on the
    due day if it goes on like this."""

    verdict: GoalVerdict
    value: int | None
    way: float | None
    time: float
    pace: float | None
    forecast: int | None
    missing: NoFigure | None
    caveats: tuple[GoalCaveat, ...]


def measured_until(goal: GoalRecord, today: str) -> str:
    """The last day the figure is taken of: today, not later than the due day."""
    return min(today, goal.due_on)


def goal_progress(goal: GoalRecord, value: int | None, missing: NoFigure | None, today: str) -> GoalProgress:
    """A straight line from the baseline on the first day through today to the due day.

    `value`: the key figure as of `measured_until`, None with the reason in `missing`.
    """
    whole, gone = days_between(goal.starts_on, goal.due_on), days_between(goal.starts_on, today)
    time = min(max(gone / whole, 0.0), 1.0)
    back = gone >= 0 and days_between(goal.starts_on, measured_until(goal, today)) < goal.window_days - 1
    caveats = (GoalCaveat.WINDOW_REACHES_BACK,) if back else ()
    if value is None:
        return GoalProgress(GoalVerdict.NO_FIGURE, None, None, time, None, None, missing, caveats)
    way = (value - goal.baseline) / (goal.target - goal.baseline)
    if gone < 0:
        return GoalProgress(GoalVerdict.NOT_BEGUN, value, way, 0.0, None, None, None, caveats)
    if time < EARLY_SHARE:
        verdict = GoalVerdict.MET if way >= 1.0 else GoalVerdict.TOO_EARLY
        return GoalProgress(verdict, value, way, time, None, None, None, caveats)
    pace = way / time
    forecast = round(goal.baseline + (value - goal.baseline) / time)
    over = today > goal.due_on
    if way >= 1.0:
        verdict = GoalVerdict.MET
    elif over:
        verdict = GoalVerdict.MISSED
    else:
        verdict = GoalVerdict.ON_TRACK if pace >= 1.0 else GoalVerdict.BEHIND
    return GoalProgress(verdict, value, way, time, pace, forecast, None, caveats)
