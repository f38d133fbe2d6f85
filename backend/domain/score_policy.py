"""What the organisation decides about scoring: weights of the priority's lines, a floor, and strategies; in versions.

An analyst drafts, an admin publishes; the next run freezes what was published into the table that devices rank with.
Thresholds and distributions stay as the quarter froze them. *Source*: R27, R28, R51, R52.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from backend.domain.arrays import MONEY_MINOR_MAX
from backend.domain.lifecycle import Stage
from backend.domain.priority import LINES, POINTS_DEFAULT, Points, PriorityParameters, publish_parameters
from backend.domain.segments import SEGMENT_CODES
from backend.domain.strategy import (
    OBJECTIVES,
    STRATEGY_CODES,
    Serve,
    StageRule,
    Strategy,
    StrategyTable,
    strategies_of,
)
from backend.errors import Code, Problem

WEIGHTS_SUM = 100
WEIGHT_MAX = 60
"""Of one line: no line decides alone, and products stay below 2^53 on a device."""
CADENCE_DAYS_MAX = 365
CADENCE_PERCENT_MAX = 1_000
TRIES_MAX = 50
POLICIES_MAX = 1_000
"""Versions kept; drafting beyond is refused."""
NOTE_CHARACTERS_MAX = 500

_FORWARD = LINES[:8]
"""The lines that speak for a visit: their maxima add up to 100."""


class PolicyState(StrEnum):
    """Whether a version was drafted only, or put into force; the newest published one counts."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"


@dataclass(frozen=True, slots=True)
class ScorePolicy:
    """One version. `number` 0 is what the product comes with; `existing_floor_minor`: no existing value below it is
    high, whatever the quarter's threshold says."""

    number: int = 0
    points: Points = POINTS_DEFAULT
    existing_floor_minor: int = 0
    strategies: StrategyTable = field(default_factory=StrategyTable)

    def parameters(self) -> PriorityParameters:
        """The weights and curves that a run publishes under this version."""
        return publish_parameters(self.version, points=self.points)

    @property
    def version(self) -> str:
        """As devices see it: `2026-1` is the product's own."""
        return f"policy-{self.number}" if self.number else "2026-1"

    def document(self) -> dict[str, Any]:
        """The version as it is stored."""
        points = self.points
        return {
            "weights": [
                {"line": code.value, "most": most} for code, most in zip(LINES[:-1], points.line_max, strict=True)
            ],
            "obligationPoints": {
                "severeCase": points.severe,
                "overdueTask": points.overdue,
                "openTask": points.still_open,
            },
            "existingFloorMinor": self.existing_floor_minor,
            "strategies": self.strategies.document(),
        }


def policy_of(number: int, document: Mapping[str, Any]) -> ScorePolicy:
    """Inverse of `ScorePolicy.document`."""
    weights = {one["line"]: one["most"] for one in document["weights"]}
    duties = document["obligationPoints"]
    return ScorePolicy(
        number,
        Points(
            tuple(weights[code.value] for code in LINES[:-1]),
            duties["severeCase"],
            duties["overdueTask"],
            duties["openTask"],
        ),
        document["existingFloorMinor"],
        strategies_of(document["strategies"]),
    )


@dataclass(frozen=True, slots=True)
class PolicyWish:
    """What to change of the version in force; None leaves a part as it stands.

    `weights`: (line, most) of some lines; `strategies`: (segment, stage or None for all, row); a row None takes an
    exact one away; `stages`: (stage, rule).
    """

    weights: Sequence[tuple[str, int]] | None = None
    obligation_points: tuple[int, int, int] | None = None
    existing_floor_minor: int | None = None
    strategies: Sequence[tuple[str, str | None, Strategy | None]] | None = None
    stages: Sequence[tuple[str, StageRule]] | None = None


def revised(policy: ScorePolicy, wish: PolicyWish, number: int) -> tuple[ScorePolicy, list[Problem]]:
    """The policy with the wish, under a new number, and everything that is wrong with it."""
    problems = [
        *_weight_problems(wish.weights or ()),
        *_points_problems(wish.obligation_points),
        *_floor_problems(wish.existing_floor_minor),
        *_strategy_problems(wish.strategies or ()),
        *_stage_problems(wish.stages or ()),
    ]
    if problems:
        return policy, problems
    most = dict(zip((code.value for code in LINES[:-1]), policy.points.line_max, strict=True)) | dict(
        wish.weights or ()
    )
    total = sum(most[code.value] for code in _FORWARD)
    if total != WEIGHTS_SUM:
        params = {"given": total}
        return policy, [Problem(Code.OUT_OF_RANGE, ("weights",), (str(WEIGHTS_SUM), str(WEIGHTS_SUM)), params=params)]
    duties = wish.obligation_points or (policy.points.severe, policy.points.overdue, policy.points.still_open)
    floor = wish.existing_floor_minor
    return (
        ScorePolicy(
            number,
            Points(tuple(most[code.value] for code in LINES[:-1]), *duties),
            policy.existing_floor_minor if floor is None else floor,
            _strategies(policy.strategies, wish),
        ),
        [],
    )


def _strategies(table: StrategyTable, wish: PolicyWish) -> StrategyTable:
    by_segment, exact = dict(table.by_segment), dict(table.exact)
    for segment, stage, row in wish.strategies or ():
        if stage is None and row is not None:
            by_segment[segment] = row
        elif stage is not None and row is not None:
            exact[segment, Stage[stage]] = row
        elif stage is not None:
            exact.pop((segment, Stage[stage]), None)
    by_stage = dict(table.by_stage) | {Stage[stage]: rule for stage, rule in wish.stages or ()}
    return replace(table, by_segment=by_segment, by_stage=by_stage, exact=exact)


def _between(value: int, least: int, most: int, *path: str) -> Iterator[Problem]:
    if not least <= value <= most:
        yield Problem(Code.OUT_OF_RANGE, path, (str(least), str(most)))


def _one_of(value: str, allowed: Sequence[str], *path: str) -> Iterator[Problem]:
    if value not in allowed:
        yield Problem(Code.NOT_ALLOWED_VALUE, path, tuple(allowed))


def _weight_problems(weights: Sequence[tuple[str, int]]) -> Iterator[Problem]:
    names = [code.value for code in LINES[:-1]]
    for place, (line, most) in enumerate(weights):
        yield from _one_of(line, names, "weights", str(place), "line")
        yield from _between(most, 0, WEIGHT_MAX, "weights", str(place), "most")
    if len({line for line, _ in weights}) < len(weights):
        yield Problem(Code.INVALID_VALUE, ("weights",), ("each line once",))


def _points_problems(points: tuple[int, int, int] | None) -> Iterator[Problem]:
    names = ("severeCase", "overdueTask", "openTask")
    for name, value in zip(names, points or (), strict=False):
        yield from _between(value, 0, WEIGHTS_SUM, "obligationPoints", name)


def _floor_problems(floor: int | None) -> Iterator[Problem]:
    if floor is not None:
        yield from _between(floor, 0, MONEY_MINOR_MAX, "existingFloorMinor")


def _strategy_problems(rows: Sequence[tuple[str, str | None, Strategy | None]]) -> Iterator[Problem]:
    if len({row[:2] for row in rows}) < len(rows):
        yield Problem(Code.INVALID_VALUE, ("strategies",), ("each segment and stage once",))
    for place, (segment, stage, row) in enumerate(rows):
        at = ("strategies", str(place))
        yield from _one_of(segment, SEGMENT_CODES, *at, "segment")
        if stage is not None:
            yield from _one_of(stage, list(Stage.__members__), *at, "stage")
        if row is None:
            if stage is None:
                yield Problem(Code.REQUIRED, (*at, "stage"))
            continue
        yield from _one_of(row.objective, OBJECTIVES, *at, "objective")
        yield from _one_of(row.strategy, STRATEGY_CODES, *at, "strategy")
        yield from _between(row.cadence_days, 0, CADENCE_DAYS_MAX, *at, "cadenceDays")
        yield from _between(row.tries_max, 0, TRIES_MAX, *at, "triesMax")
        if row.cadence_days and row.serve is Serve.EXIT:
            yield Problem(Code.INVALID_VALUE, (*at, "cadenceDays"), ("0",))


def _stage_problems(stages: Sequence[tuple[str, StageRule]]) -> Iterator[Problem]:
    for place, (stage, rule) in enumerate(stages):
        at = ("stages", str(place))
        yield from _one_of(stage, list(Stage.__members__), *at, "stage")
        yield from _between(rule.cadence_percent, 1, CADENCE_PERCENT_MAX, *at, "cadencePercent")
        if rule.objective is not None:
            yield from _one_of(rule.objective, OBJECTIVES, *at, "objective")
