"""The implementation cockpit: five steps, each with its state, what shows it, and what is missing next.

A step is DONE by what is recorded, never because somebody says so. *Source*: R26–R30, R56; `insight.md` §7.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from backend.domain.arrays import BASIS_POINTS, BoolArray, IntArray
from backend.domain.times import add_days

FOLLOWED_DAYS = 182
"""Half a year of visits is held against the cadence."""
FOLLOWED_BP_MIN = 8_000
"""A strategy is followed where four of five contacts due were made."""
ANALYSIS_DAYS = 92
"""An analysis older than a quarter is old."""
EVIDENCE_IDS_MAX = 5


class CockpitStep(StrEnum):
    """The five steps."""

    RESOURCES = "RESOURCES"
    CONTRIBUTION = "CONTRIBUTION"
    STRATEGIES = "STRATEGIES"
    ROLL_OUT = "ROLL_OUT"
    EVALUATION = "EVALUATION"


class StepState(StrEnum):
    """How far a step is."""

    NOT_STARTED = "NOT_STARTED"
    GOING = "GOING"
    DONE = "DONE"


class NextMove(StrEnum):
    """What is missing next."""

    SET_CAPACITY = "SET_CAPACITY"
    """no capacity holds for today"""
    RECORD_DAY_MINUTES = "RECORD_DAY_MINUTES"
    """minutes of reps are assumed"""
    NAME_CONSTRAINTS = "NAME_CONSTRAINTS"
    """what stands around it was not noted"""
    ANALYSE = "ANALYSE"
    """no analysis, or only old ones"""
    LOOK_CLOSER = "LOOK_CLOSER"
    """the last analysis says that looking closer pays"""
    SCORE = "SCORE"
    """nobody was scored"""
    VISIT_BY_CADENCE = "VISIT_BY_CADENCE"
    """fewer contacts were made than the strategies want"""
    PROPOSE = "PROPOSE"
    """no roll-out item"""
    START = "START"
    """items are proposed and none is under way"""
    FINISH = "FINISH"
    """items are under way"""
    SETTLE_AGAIN_AND_AGAIN = "SETTLE_AGAIN_AND_AGAIN"
    """items were started and given up again and again"""
    PLAN_EVALUATION = "PLAN_EVALUATION"
    """items are under way without an evaluation, or none was ever planned"""
    CLOSE_EVALUATION = "CLOSE_EVALUATION"
    """a window is over and nobody has drawn the lesson"""


class Fact(StrEnum):
    """What is counted as evidence."""

    REP_MINUTES = "REP_MINUTES"
    REPS = "REPS"
    BUDGET_MINOR = "BUDGET_MINOR"
    CONSTRAINTS = "CONSTRAINTS"
    RUNS = "RUNS"
    CUSTOMERS_ANALYSED = "CUSTOMERS_ANALYSED"
    SCORED = "SCORED"
    STRATEGIES = "STRATEGIES"
    CONTACTS_DUE = "CONTACTS_DUE"
    CONTACTS_MADE = "CONTACTS_MADE"
    ITEMS_PROPOSED = "ITEMS_PROPOSED"
    ITEMS_STARTED = "ITEMS_STARTED"
    ITEMS_STOPPED = "ITEMS_STOPPED"
    ITEMS_DONE = "ITEMS_DONE"
    STARTS = "STARTS"
    STOPS = "STOPS"
    EVALUATIONS_RUNNING = "EVALUATIONS_RUNNING"
    EVALUATIONS_CLOSED = "EVALUATIONS_CLOSED"
    GOALS = "GOALS"


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing missing, with how many of them."""

    move: NextMove
    count: int = 0


@dataclass(frozen=True, slots=True)
class StepFound:
    """One step. `facts`: counts that show it; `ids`: the newest records behind it; `from_day`, `until_day`: local days
    it stands on; `missing`: the most pressing first, none when there is nothing to do now."""

    step: CockpitStep
    state: StepState
    facts: Mapping[Fact, int]
    ids: tuple[str, ...] = ()
    from_day: str | None = None
    until_day: str | None = None
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True)
class CapacityFacts:
    """The newest capacity of the scope; None of it where there is none."""

    id: str
    starts_on: str
    ends_on: str
    rep_minutes: int
    reps_n: int
    reps_assumed_n: int
    budget_minor: int
    constraints_n: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Analyses of the scope, the newest last looked at."""

    ids: Sequence[str] = ()
    on_day: str | None = None
    analysed_n: int = 0
    go_on: bool = False


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """Items by state, starts and stops of all, `again_n` started and given up again and again, `unjudged_n` under way
    without an evaluation."""

    ids: Sequence[str] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    starts_n: int = 0
    stops_n: int = 0
    again_n: int = 0
    unjudged_n: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """Evaluations of the scope; `waiting_n`: of those running, how many have a window that is over."""

    ids: Sequence[str] = ()
    running_n: int = 0
    waiting_n: int = 0
    closed_n: int = 0
    first_day: str | None = None
    last_day: str | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """One strategy: customers who have it, contacts due by its cadence, and how many of those were made. More contacts
    with one customer do not stand for those another did not get."""

    strategy: str
    customers_n: int
    due_n: int
    made_n: int

    @property
    def followed_bp(self) -> int | None:
        """Share of the contacts due that were made; None where none are due."""
        return round(self.made_n * BASIS_POINTS / self.due_n) if self.due_n else None


def followed_strategies(
    strategy: Sequence[str], cadence_days: IntArray, known_days: IntArray, visits_n: IntArray
) -> tuple[Followed, ...]:
    """Contacts against cadence, by strategy, the most customers first.

    (n,) each: the strategy's code; days between contacts, 0 none wanted; days the customer has been there, at most
    `FOLLOWED_DAYS` count; visits made in those days. One is due for each whole cadence.
    """
    days = np.clip(known_days, 0, FOLLOWED_DAYS)
    due = np.where(cadence_days > 0, days // np.maximum(cadence_days, 1), 0)
    made = np.minimum(visits_n, due)
    names = np.array(strategy, dtype=np.str_)
    found = []
    for name in dict.fromkeys(sorted(strategy)):
        mine: BoolArray = names == name
        found.append(Followed(name, int(mine.sum()), int(due[mine].sum()), int(made[mine].sum())))
    return tuple(sorted(found, key=lambda one: (-one.customers_n, one.strategy)))


def resources_step(found: CapacityFacts | None, today: str) -> StepFound:
    """DONE while a capacity with recorded minutes and noted constraints holds today."""
    if found is None:
        return StepFound(CockpitStep.RESOURCES, StepState.NOT_STARTED, {}, missing=(Missing(NextMove.SET_CAPACITY),))
    holds = found.starts_on <= today <= found.ends_on
    missing = []
    if not holds:
        missing.append(Missing(NextMove.SET_CAPACITY))
    if found.reps_assumed_n:
        missing.append(Missing(NextMove.RECORD_DAY_MINUTES, found.reps_assumed_n))
    if not found.constraints_n:
        missing.append(Missing(NextMove.NAME_CONSTRAINTS))
    return StepFound(
        CockpitStep.RESOURCES,
        StepState.GOING if missing else StepState.DONE,
        {
            Fact.REP_MINUTES: found.rep_minutes,
            Fact.REPS: found.reps_n,
            Fact.BUDGET_MINOR: found.budget_minor,
            Fact.CONSTRAINTS: found.constraints_n,
        },
        (found.id,),
        found.starts_on,
        found.ends_on,
        tuple(missing),
    )


def contribution_step(found: RunFacts, today: str) -> StepFound:
    """DONE while an analysis not older than a quarter says that looking closer does not pay."""
    if found.on_day is None:
        missing: tuple[Missing, ...] = (Missing(NextMove.ANALYSE),)
        return StepFound(CockpitStep.CONTRIBUTION, StepState.NOT_STARTED, {Fact.RUNS: 0}, missing=missing)
    old = found.on_day < add_days(today, -ANALYSIS_DAYS)
    missing = (Missing(NextMove.ANALYSE),) if old else (Missing(NextMove.LOOK_CLOSER),) if found.go_on else ()
    return StepFound(
        CockpitStep.CONTRIBUTION,
        StepState.GOING if missing else StepState.DONE,
        {Fact.RUNS: len(found.ids), Fact.CUSTOMERS_ANALYSED: found.analysed_n},
        tuple(found.ids)[:EVIDENCE_IDS_MAX],
        until_day=found.on_day,
        missing=missing,
    )


def strategies_step(found: Sequence[Followed], as_of: str | None) -> StepFound:
    """Whether what the strategies want is done: contacts due and made, over all of them.

    DONE where the share made reaches `FOLLOWED_BP_MIN` basis points, NOT_STARTED before any customer was scored.
    """
    scored = sum(one.customers_n for one in found)
    due, made = sum(one.due_n for one in found), sum(one.made_n for one in found)
    facts = {
        Fact.SCORED: scored,
        Fact.STRATEGIES: len(found),
        Fact.CONTACTS_DUE: due,
        Fact.CONTACTS_MADE: made,
    }
    if not scored:
        missing: tuple[Missing, ...] = (Missing(NextMove.SCORE),)
        return StepFound(CockpitStep.STRATEGIES, StepState.NOT_STARTED, facts, missing=missing)
    followed = made * BASIS_POINTS >= due * FOLLOWED_BP_MIN
    missing = () if followed else (Missing(NextMove.VISIT_BY_CADENCE, due - made),)
    state = StepState.DONE if followed else StepState.GOING
    return StepFound(CockpitStep.STRATEGIES, state, facts, until_day=as_of, missing=missing)


def rollout_step(found: RolloutFacts) -> StepFound:
    """DONE where something was carried through and nothing is under way."""
    proposed, started, stopped, done = (
        found.counts.get(state, 0) for state in ("PROPOSED", "STARTED", "STOPPED", "DONE")
    )
    facts = {
        Fact.ITEMS_PROPOSED: proposed,
        Fact.ITEMS_STARTED: started,
        Fact.ITEMS_STOPPED: stopped,
        Fact.ITEMS_DONE: done,
        Fact.STARTS: found.starts_n,
        Fact.STOPS: found.stops_n,
    }
    missing = []
    if found.again_n:
        missing.append(Missing(NextMove.SETTLE_AGAIN_AND_AGAIN, found.again_n))
    if started:
        missing.append(Missing(NextMove.FINISH, started))
    elif proposed:
        missing.append(Missing(NextMove.START, proposed))
    elif not done:
        missing.append(Missing(NextMove.PROPOSE))
    state = StepState.DONE if done and not started and not found.again_n else StepState.GOING
    if not found.starts_n and not done:
        state = StepState.NOT_STARTED
    ids = tuple(found.ids)[:EVIDENCE_IDS_MAX]
    return StepFound(CockpitStep.ROLL_OUT, state, facts, ids, missing=tuple(missing))


def evaluation_step(found: EvaluationFacts, rollout: RolloutFacts, goals_n: int) -> StepFound:
    """DONE where something was judged, nothing waits to be, and all that is under way will be."""
    missing = []
    if found.waiting_n:
        missing.append(Missing(NextMove.CLOSE_EVALUATION, found.waiting_n))
    if rollout.unjudged_n or not (found.running_n or found.closed_n):
        missing.append(Missing(NextMove.PLAN_EVALUATION, rollout.unjudged_n))
    state = StepState.DONE if found.closed_n and not missing else StepState.GOING
    if not found.running_n and not found.closed_n:
        state = StepState.NOT_STARTED
    return StepFound(
        CockpitStep.EVALUATION,
        state,
        {
            Fact.EVALUATIONS_RUNNING: found.running_n,
            Fact.EVALUATIONS_CLOSED: found.closed_n,
            Fact.GOALS: goals_n,
        },
        tuple(found.ids)[:EVIDENCE_IDS_MAX],
        found.first_day,
        found.last_day,
        tuple(missing),
    )


class SystemCostKind(StrEnum):
    """What the system itself costs."""

    LICENCE = "LICENCE"
    ROLL_OUT = "ROLL_OUT"
    HOURS = "HOURS"
    """hours of own people, at the price given for one"""
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class SystemReturn:
    """What the system cost against what was measured to come of it, minor units. None: nothing of it was recorded,
    which is not nothing. `ratio`: gain per unit of cost; `low`, `high`: with the ends of the gains' intervals."""

    cost_minor: int | None
    cost_by_kind: Mapping[SystemCostKind, int]
    gain_minor: int | None
    gain_low_minor: int | None
    gain_high_minor: int | None
    evaluations_n: int
    ratio: float | None
    low: float | None
    high: float | None


def system_return(costs: Sequence[tuple[SystemCostKind, int]], gains: Sequence[tuple[int, int, int]]) -> SystemReturn:
    """Costs by kind, and (gain, low, high) of every evaluation that was closed with money.

    Intervals add as independent ones do: the half widths by the root of their squares' sum.
    """
    by_kind: dict[SystemCostKind, int] = {}
    for kind, amount in costs:
        by_kind[kind] = by_kind.get(kind, 0) + amount
    cost = sum(by_kind.values()) if costs else None
    gain = low = high = None
    if gains:
        gain = sum(one[0] for one in gains)
        low = round(gain - float(np.sqrt(sum(float(one[0] - one[1]) ** 2 for one in gains))))
        high = round(gain + float(np.sqrt(sum(float(one[2] - one[0]) ** 2 for one in gains))))
    ratios = [None if amount is None or not cost else amount / cost for amount in (gain, low, high)]
    return SystemReturn(cost, by_kind, gain, low, high, len(gains), *ratios)
