"""Visit priority 0..100: nine lines and a clip that sum to it exactly, for all customers at once.

Everything after the published tables is whole-number arithmetic, so a device re-ranks to the same integers
(`mobile_contract/priority.py` is the same rule one customer at a time; vectors tie the two together).
*Source*: R28, R51; expected incremental money per visit ranks, never value × risk.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import BASIS_POINTS, MICRO, BoolArray, FloatArray, IntArray, IntColumn

VALUE_MINOR_MAX = 900_000_000_000
"""Amounts are clamped here before a table is read: (value − knot) × 10,000 stays below 2^53 on a device."""


class LineCode(StrEnum):
    """The lines of a priority, in the sequence in which they are shown and in which ties are broken."""

    VALUE_AT_STAKE = "VALUE_AT_STAKE"
    SAVABLE_REVENUE = "SAVABLE_REVENUE"
    POTENTIAL = "POTENTIAL"
    OVERDUE = "OVERDUE"
    OBLIGATIONS = "OBLIGATIONS"
    SEASON_WINDOW = "SEASON_WINDOW"
    SATISFACTION_GAP = "SATISFACTION_GAP"
    LOYALTY = "LOYALTY"
    JUST_VISITED = "JUST_VISITED"
    CLIP = "CLIP"


LINES = tuple(LineCode)


@dataclass(frozen=True, slots=True)
class PriorityParameters:
    """One published set of weights and curves; whole numbers only.

    `line_max`: points per line but the clip, in the order of `LINES` (the last one is taken off);
    `severe_points`, `overdue_points`, `open_points`: per severe case, overdue task or promise, other task;
    `overdue_curve`: share × 10^6 by (days since visit × 100 // cadence); `season_curve`: by days to the
    order book's close; `just_visited_curve`: by days to the nearest visit, past or agreed.
    """

    version: str
    line_max: tuple[int, ...]
    severe_points: int
    overdue_points: int
    open_points: int
    overdue_curve: tuple[int, ...]
    season_curve: tuple[int, ...]
    just_visited_curve: tuple[int, ...]

    def document(self) -> dict[str, object]:
        """The set as it travels to devices."""
        return {
            "version": self.version,
            "max": {code.value: most for code, most in zip(LINES[:-1], self.line_max, strict=True)},
            "obligationPoints": {
                "severeCases": self.severe_points,
                "overdueTasks": self.overdue_points,
                "openTasks": self.open_points,
            },
            "overdueCurve": list(self.overdue_curve),
            "seasonCurve": list(self.season_curve),
            "justVisitedCurve": list(self.just_visited_curve),
        }


@dataclass(frozen=True, slots=True)
class Points:
    """What lines may give: `line_max` in the order of `LINES` without the clip, the last one taken off; and points per
    severe case, per overdue task or promise, per other open task."""

    line_max: tuple[int, ...]
    severe: int
    overdue: int
    still_open: int


POINTS_DEFAULT = Points((30, 20, 12, 12, 12, 8, 4, 2, 20), 12, 6, 3)


def publish_parameters(
    version: str = "2026-1",
    *,
    points: Points = POINTS_DEFAULT,
    season_peak_days: int = 14,
    season_reach_days: int = 45,
    just_visited_fade_days: int = 7,
) -> PriorityParameters:
    """Freeze the curves into whole numbers; the only place where `exp` is used, once per publication.

    The season window is a triangle: 0 at `season_reach_days` before the close and earlier, 1 at
    `season_peak_days` before it, falling to near 0 on the closing day (too late to prepare a buy).
    """
    just_visited_days = 8 * just_visited_fade_days
    return PriorityParameters(
        version=version,
        line_max=points.line_max,
        severe_points=points.severe,
        overdue_points=points.overdue,
        open_points=points.still_open,
        overdue_curve=tuple(min(MICRO, max(0, (percent - 80) * MICRO // 120)) for percent in range(201)),
        season_curve=tuple(
            MICRO * (left + 1) // (season_peak_days + 1)
            if left <= season_peak_days
            else MICRO * (season_reach_days - left) // (season_reach_days - season_peak_days)
            for left in range(season_reach_days)
        ),
        just_visited_curve=tuple(
            round(MICRO * math.exp(-day / just_visited_fade_days)) for day in range(just_visited_days)
        ),
    )


@dataclass(frozen=True, slots=True)
class QTable:
    """A frozen distribution: 101 whole knots, ascending, the 0th to 100th percentile of one amount."""

    knots: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.knots) != 101 or any(a > b for a, b in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError("a table has 101 ascending knots")


@dataclass(frozen=True, slots=True)
class QTables:
    """The organisation's four distributions, frozen under one version."""

    version: str
    value: QTable
    uplift: QTable
    potential: QTable
    existing: QTable

    def document(self) -> dict[str, object]:
        """The tables as they travel to devices."""
        return {
            "version": self.version,
            "value": list(self.value.knots),
            "uplift": list(self.uplift.knots),
            "potential": list(self.potential.knots),
            "existing": list(self.existing.knots),
        }


def freeze_table(amounts: IntColumn) -> QTable:
    """Take the percentiles (smallest value whose cumulated share reaches i %) of the amounts recorded.

    Without any amount recorded all knots are 0.
    """
    ordered = np.sort(np.minimum(amounts.values[amounts.known], VALUE_MINOR_MAX))
    if ordered.size == 0:
        return QTable((0,) * 101)
    at = np.maximum((np.arange(101) * ordered.size + 99) // 100 - 1, 0)
    return QTable(tuple(ordered[at].tolist()))


def share_micro(table: QTable, amounts: IntArray) -> IntArray:
    """(n,) share of customers with no more than each amount, × 10^6; amounts ≤ 0 have nothing at stake: 0."""
    knots = np.asarray(table.knots, dtype=np.int64)
    value = np.minimum(amounts, VALUE_MINOR_MAX)
    at = np.searchsorted(knots, value, side="right") - 1
    low = np.clip(at, 0, 99)
    width = np.maximum(knots[low + 1] - knots[low], 1)
    inside = low * 10_000 + (value - knots[low]) * 10_000 // width
    share = np.where(at >= 100, MICRO, np.where(at < 0, 0, inside))
    return np.where(value <= 0, 0, share)


@dataclass(frozen=True, slots=True)
class PriorityInputs:
    """What the lines read, one row per customer.

    Amounts in minor units of the reporting currency; `*_bp`: 0..10,000; days since 1970-01-01; `uplift_measured`: 1
    where the uplift stands on visits held out at random, 0 or not known where it is assumed;
    `has_preorder_history`: 0 or 1; tasks counted as of the day (`overdue_tasks_n`: those past due).
    """

    value_at_stake_minor: IntColumn
    uplift_minor: IntColumn
    uplift_measured: IntColumn
    potential_minor: IntColumn
    potential_confidence_bp: IntColumn
    existing_value_minor: IntColumn
    satisfaction_bp: IntColumn
    satisfaction_confidence_bp: IntColumn
    loyalty_bp: IntColumn
    cadence_days: IntColumn
    season_close_day: IntColumn
    has_preorder_history: IntColumn
    severe_cases_n: IntColumn
    overdue_tasks_n: IntColumn
    open_tasks_n: IntColumn
    last_visit_day: IntColumn
    next_appointment_day: IntColumn

    def __len__(self) -> int:
        return int(self.value_at_stake_minor.values.shape[0])


@dataclass(frozen=True, slots=True)
class PriorityColumns:
    """Scores with what they are made of.

    `score`: (n,) 0..100; `points`: (n, 10) in the order of `LINES`, each row sums to the score;
    `recorded`: (n, 10) False where a line had no input; `numbers`: line → name → (n,) whole numbers to show
    (meaningful where recorded).
    """

    score: IntArray
    points: IntArray
    recorded: BoolArray
    numbers: dict[LineCode, dict[str, IntArray]]


@dataclass(frozen=True, slots=True)
class _Line:
    micro: IntArray
    recorded: BoolArray
    numbers: dict[str, IntArray]


def priorities(
    inputs: PriorityInputs, parameters: PriorityParameters, tables: QTables, as_of_day: int
) -> PriorityColumns:
    """Compute all lines of all customers as of a day. Deterministic; finite for 0 rows."""
    most = dict(zip(LINES[:-1], parameters.line_max, strict=True))
    existing = share_micro(tables.existing, inputs.existing_value_minor.values)
    lines = [
        _money_line(most[LineCode.VALUE_AT_STAKE], tables.value, inputs.value_at_stake_minor),
        _savable_line(most[LineCode.SAVABLE_REVENUE], tables.uplift, inputs),
        _potential_line(most[LineCode.POTENTIAL], tables.potential, inputs),
        _overdue_line(most[LineCode.OVERDUE], parameters, inputs, as_of_day),
        _obligations_line(most[LineCode.OBLIGATIONS], parameters, inputs),
        _season_line(most[LineCode.SEASON_WINDOW], parameters, inputs, as_of_day),
        _satisfaction_line(most[LineCode.SATISFACTION_GAP], inputs, existing),
        _loyalty_line(most[LineCode.LOYALTY], inputs, existing),
        _just_visited_line(most[LineCode.JUST_VISITED], parameters, inputs, as_of_day),
    ]
    recorded = np.stack([line.recorded for line in lines], axis=1)
    micro = np.where(recorded, np.stack([line.micro for line in lines], axis=1), 0)
    points = whole_points(micro)
    total = points.sum(axis=1)
    score = np.clip(total, 0, 100)
    numbers = {code: line.numbers for code, line in zip(LINES, lines, strict=False)}
    return PriorityColumns(
        score=score,
        points=np.concatenate([points, (score - total)[:, None]], axis=1),
        recorded=np.concatenate([recorded, np.ones((len(inputs), 1), dtype=np.bool_)], axis=1),
        numbers={**numbers, LineCode.CLIP: {"total": total}},
    )


def whole_points(micro: IntArray) -> IntArray:
    """Round (n, k) points × 10^6 to whole points by largest remainder; rows sum to the rounded sum.

    Ties go to the earlier column. A column with nothing left over is never raised.
    """
    base = micro // MICRO
    missing = (micro.sum(axis=1) + MICRO // 2) // MICRO - base.sum(axis=1)
    order = np.argsort(-(micro % MICRO), axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(micro.shape[1]), order.shape), axis=1)
    return np.asarray(base + (place < missing[:, None]), dtype=np.int64)


def rank_rows(
    score: IntArray, ids: list[str], closed: BoolArray | None = None, skipped: BoolArray | None = None
) -> IntArray:
    """Rows by score, the highest first, ties by id; those skipped behind all others; closed customers are left out,
    not scored 0."""
    behind = np.zeros(score.shape, dtype=np.bool_) if skipped is None else skipped
    order = np.lexsort((np.asarray(ids, dtype=np.str_), -score, behind)) if len(ids) else np.zeros(0, dtype=np.int64)
    return np.asarray(order if closed is None else order[~closed[order]], dtype=np.int64)


def expected_uplift(
    expected_spend: FloatArray,
    recency_ratio: FloatArray,
    *,
    base: float,
    peak: float,
    centre: float,
    width: float,
) -> FloatArray:
    """Incremental money one visit brings: expected spend × (base + (peak − base)·σ((ratio − centre)/width)).

    `expected_spend`: (n,) of the next two quarters, any unit; `recency_ratio`: (n,) days since the last order
    over the customer's own interval, NaN reads as on time. A visit moves little at someone who orders anyway
    and most at someone past due; someone gone for good is already small in `expected_spend`.
    *Source*: expected uplift ranked best but for the oracle in a simulation with known truth; `base` and
    `peak` are assumptions until campaigns with a hold-out have measured them, and the answer says so
    (`ASSUMED_RESPONSE`).
    """
    late = np.where(np.isnan(recency_ratio), 0.0, recency_ratio)
    lateness = 1.0 / (1.0 + np.exp(-np.clip((late - centre) / width, -50.0, 50.0)))
    return np.asarray(np.maximum(expected_spend, 0.0) * (base + (peak - base) * lateness), dtype=np.float64)


def _money_line(most: int, table: QTable, amounts: IntColumn) -> _Line:
    share = share_micro(table, amounts.values)
    return _Line(most * share, amounts.known, {"amountMinor": amounts.values, "shareMicro": share})


def _savable_line(most: int, table: QTable, inputs: PriorityInputs) -> _Line:
    """`measured`: 1 where the amount stands on visits held out at random, 0 where it is assumed."""
    line = _money_line(most, table, inputs.uplift_minor)
    measured = np.where(inputs.uplift_measured.known, inputs.uplift_measured.values, 0)
    return _Line(line.micro, line.recorded, {**line.numbers, "measured": measured})


def _potential_line(most: int, table: QTable, inputs: PriorityInputs) -> _Line:
    amounts, sure = inputs.potential_minor, inputs.potential_confidence_bp.values
    share = share_micro(table, amounts.values)
    numbers = {"amountMinor": amounts.values, "shareMicro": share, "confidenceBp": sure}
    return _Line(most * share * sure // BASIS_POINTS, amounts.known, numbers)


def _overdue_line(most: int, parameters: PriorityParameters, inputs: PriorityInputs, today: int) -> _Line:
    since, cadence = today - inputs.last_visit_day.values, inputs.cadence_days.values
    curve = np.asarray(parameters.overdue_curve, dtype=np.int64)
    percent = np.minimum(np.maximum(since, 0) * 100 // np.maximum(cadence, 1), curve.size - 1)
    recorded = inputs.last_visit_day.known & inputs.cadence_days.known & (cadence > 0)
    return _Line(most * curve[percent], recorded, {"daysSinceVisit": since, "cadenceDays": cadence})


def _obligations_line(most: int, parameters: PriorityParameters, inputs: PriorityInputs) -> _Line:
    severe, overdue = inputs.severe_cases_n.values, inputs.overdue_tasks_n.values
    still_open = inputs.open_tasks_n.values
    points = (
        parameters.severe_points * severe + parameters.overdue_points * overdue + parameters.open_points * still_open
    )
    recorded = inputs.severe_cases_n.known | inputs.overdue_tasks_n.known | inputs.open_tasks_n.known
    numbers = {"severeCases": severe, "overdueTasks": overdue, "openTasks": still_open}
    return _Line(np.minimum(points, most) * MICRO, recorded, numbers)


def _season_line(most: int, parameters: PriorityParameters, inputs: PriorityInputs, today: int) -> _Line:
    left, history = inputs.season_close_day.values - today, inputs.has_preorder_history.values
    curve = np.asarray(parameters.season_curve, dtype=np.int64)
    inside = (history != 0) & (left >= 0) & (left < curve.size)
    micro = np.where(inside, most * curve[np.clip(left, 0, curve.size - 1)], 0)
    recorded = inputs.season_close_day.known & inputs.has_preorder_history.known
    return _Line(micro, recorded, {"daysToClose": left, "preorderHistory": history})


def _satisfaction_line(most: int, inputs: PriorityInputs, existing: IntArray) -> _Line:
    happy, sure = inputs.satisfaction_bp, inputs.satisfaction_confidence_bp.values
    micro = most * existing * ((BASIS_POINTS - happy.values) * sure) // (BASIS_POINTS * BASIS_POINTS)
    numbers = {"satisfactionBp": happy.values, "shareMicro": existing, "confidenceBp": sure}
    return _Line(micro, happy.known & inputs.existing_value_minor.known, numbers)


def _loyalty_line(most: int, inputs: PriorityInputs, existing: IntArray) -> _Line:
    loyal = inputs.loyalty_bp
    micro = most * existing * loyal.values // BASIS_POINTS
    numbers = {"loyaltyBp": loyal.values, "shareMicro": existing}
    return _Line(micro, loyal.known & inputs.existing_value_minor.known, numbers)


def _just_visited_line(most: int, parameters: PriorityParameters, inputs: PriorityInputs, today: int) -> _Line:
    curve = np.asarray((*parameters.just_visited_curve, 0), dtype=np.int64)
    far = np.int64(2**31)
    since, ahead = today - inputs.last_visit_day.values, inputs.next_appointment_day.values - today
    past = np.where(inputs.last_visit_day.known & (since >= 0), since, far)
    coming = np.where(inputs.next_appointment_day.known & (ahead >= 0), ahead, far)
    nearest = np.minimum(past, coming)
    micro = -most * curve[np.minimum(nearest, curve.size - 1)]
    numbers = {"daysToNearestVisit": nearest, "isAppointment": (coming < past).astype(np.int64)}
    return _Line(micro, nearest < far, numbers)
