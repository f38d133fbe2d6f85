"""The four dimensions cut into high and low: sixteen segments, held steady by a band and two nights.

A code is four letters in the order existing value, potential, loyalty, satisfaction (`HHLH`). What is unknown
keeps its previous side; a side never known before starts low (E, P) or at its prior (S). *Source*: R51, R52.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from backend.domain.arrays import BoolArray, IntArray, IntColumn

AXES = ("E", "P", "L", "S")
SEGMENTS_N = 16
ONBOARDING = 16
SEGMENT_CODES = (
    *("".join("H" if code >> (3 - axis) & 1 else "L" for axis in range(4)) for code in range(SEGMENTS_N)),
    "ONBOARDING",
)
"""Code by number: bit 3 existing value, bit 2 potential, bit 1 loyalty, bit 0 satisfaction; 16 onboarding."""

LOYALTY_THRESHOLD_BP = 6_000
SATISFACTION_THRESHOLD_BP = 6_000
SCORE_BAND_BP = 500
MONEY_BAND = 0.10
NIGHTS_NEEDED = 2
ONBOARDING_ORDERS_N = 2
ONBOARDING_DAYS = 90
PARETO_SHARE = 0.80


class Cause(IntEnum):
    """What moved a customer to the segment it is in; the name is the code clients see."""

    UNCHANGED = 0
    FIRST_SCORED = 1
    EXISTING_VALUE = 2
    POTENTIAL = 3
    LOYALTY = 4
    SATISFACTION = 5
    SEVERE_COMPLAINT = 6
    ONBOARDED = 7
    SEVERAL_AXES = 8


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The cuts of one quarter, frozen under a version.

    `existing_by_kind`: customer kind code → smallest high existing value, minor units;
    `existing_floor_minor`: a manager's floor under all of them; `potential_minor`: smallest high potential
    per year.
    """

    version: str
    existing_by_kind: tuple[tuple[int, int], ...]
    existing_floor_minor: int
    potential_minor: int
    loyalty_bp: int = LOYALTY_THRESHOLD_BP
    satisfaction_bp: int = SATISFACTION_THRESHOLD_BP


@dataclass(frozen=True, slots=True)
class PreviousSegments:
    """How last night left every customer; (n,) each.

    `code`: 0..16, −1 never scored; `since_day`: day the code was entered; `wanted_bits`: the sides 0..15
    that last night's numbers asked for; `nights`: (n, 4) consecutive nights each axis has asked for the
    other side.
    """

    code: IntArray
    since_day: IntArray
    bits: IntArray
    nights: IntArray


@dataclass(frozen=True, slots=True)
class SegmentColumns:
    """The segment of every customer; (n,) unless said otherwise.

    `code`: 0..15, 16 = onboarding (see `SEGMENT_CODES`); `bits`: the four sides behind the code (also while
    onboarding); `nights`: (n, 4) consecutive nights each axis has asked for the other side; `since_day`;
    `previous_code`: −1 never scored; `cause`: `Cause` of the last step taken tonight; `known`: (n, 4) False
    where the axis had no data and kept its side.
    """

    code: IntArray
    bits: IntArray
    nights: IntArray
    since_day: IntArray
    previous_code: IntArray
    cause: IntArray
    known: BoolArray


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What is cut: money in minor units, scores in basis points; not known = no data on that axis."""

    existing_value_minor: IntColumn
    potential_minor: IntColumn
    loyalty_bp: IntColumn
    satisfaction_bp: IntColumn


def freeze_thresholds(
    version: str,
    *,
    kind: IntArray,
    existing_value_minor: IntColumn,
    counted: BoolArray,
    visit_cost_minor: int,
    margin_rate: float,
    existing_floor_minor: int = 0,
) -> Thresholds:
    """Freeze the cuts of a quarter.

    E: within each kind, the smallest value in the smallest set that holds 80 % of the kind's positive
    contribution; P: what four visits cost, in revenue (cost / margin rate).
    """
    cuts = []
    for code in np.unique(kind).tolist():
        rows = (kind == code) & counted & existing_value_minor.known
        cuts.append((code, _pareto_cut(existing_value_minor.values[rows])))
    margin = margin_rate if margin_rate > 0 else 1.0
    return Thresholds(version, tuple(cuts), existing_floor_minor, round(4 * visit_cost_minor / margin))


def segment(
    dimensions: Dimensions,
    thresholds: Thresholds,
    *,
    kind: IntArray,
    onboarding: BoolArray,
    severe_open: BoolArray,
    previous: PreviousSegments | None,
    as_of_day: int,
) -> SegmentColumns:
    """Place every customer in its segment for tonight.

    A customer scored before changes sides only beyond the band (±5 points, ±10 % of the cut) and on the
    second night in a row; an open severe complaint turns satisfaction low at once. What is unknown keeps
    its side; at the first scoring unknown E, P and L are low and unknown S stands at its prior, 60: high.
    `onboarding` customers (fewer than two orders or 90 days) get that code; their sides are kept up behind
    it.
    """
    before = previous or _never_scored(kind.size)
    values, known = _axes(dimensions)
    cut = _cuts(thresholds, kind)
    was_high = _sides(before.bits)
    first_time = before.code < 0
    now_high = np.where(known, values >= cut, np.array([False, False, False, True]))
    beyond = np.where(was_high, values < cut - _band(cut), values >= cut + _band(cut)) & known
    nights = np.where(beyond, before.nights + 1, 0)
    turned = nights >= NIGHTS_NEEDED
    high = np.where(first_time[:, None], now_high, was_high ^ turned)
    nights = np.where(turned | first_time[:, None], 0, nights)
    high[:, 3] &= ~severe_open
    nights[severe_open, 3] = 0
    bits = high @ np.array([8, 4, 2, 1])
    code = np.where(onboarding, ONBOARDING, bits)
    moved = code != before.code
    return SegmentColumns(
        code=code,
        bits=bits,
        nights=nights,
        since_day=np.where(moved, as_of_day, before.since_day),
        previous_code=before.code,
        cause=_causes(before, code, high != was_high, severe_open),
        known=known,
    )


def as_previous(tonight: SegmentColumns) -> PreviousSegments:
    """Tonight's answer as the next night's memory."""
    return PreviousSegments(tonight.code, tonight.since_day, tonight.bits, tonight.nights)


def migration_matrix(before: IntArray, after: IntArray) -> IntArray:
    """(17, 17) customers by segment before (rows) and after (columns); rows of −1 (never scored) are left out."""
    both = (before >= 0) & (after >= 0)
    size = len(SEGMENT_CODES)
    counts = np.bincount(before[both] * size + after[both], minlength=size * size)
    return counts.reshape(size, size).astype(np.int64)


def _pareto_cut(values: IntArray) -> int:
    """Smallest value of the smallest set holding 80 % of the positive total; 1 when there is none."""
    ordered = np.sort(values[values > 0])[::-1]
    if ordered.size == 0:
        return 1
    held = np.cumsum(ordered)
    return int(ordered[np.searchsorted(held, PARETO_SHARE * held[-1])])


def _never_scored(rows_n: int) -> PreviousSegments:
    zeros = np.zeros(rows_n, dtype=np.int64)
    return PreviousSegments(zeros - 1, zeros, zeros, np.zeros((rows_n, 4), dtype=np.int64))


def _axes(dimensions: Dimensions) -> tuple[IntArray, BoolArray]:
    columns = (
        dimensions.existing_value_minor,
        dimensions.potential_minor,
        dimensions.loyalty_bp,
        dimensions.satisfaction_bp,
    )
    return np.stack([c.values for c in columns], axis=1), np.stack([c.known for c in columns], axis=1)


def _cuts(thresholds: Thresholds, kind: IntArray) -> IntArray:
    """(n, 4) the cut of every axis; a kind without its own has the manager's floor."""
    existing = np.full(kind.shape, max(thresholds.existing_floor_minor, 1), dtype=np.int64)
    for code, cut in thresholds.existing_by_kind:
        existing[kind == code] = max(cut, thresholds.existing_floor_minor)
    others = [thresholds.potential_minor, thresholds.loyalty_bp, thresholds.satisfaction_bp]
    return np.stack([existing, *(np.full(kind.shape, cut, dtype=np.int64) for cut in others)], axis=1)


def _band(cut: IntArray) -> IntArray:
    """(n, 4) half width: a tenth of a money cut, five points of a score."""
    money = np.rint(cut[:, :2] * MONEY_BAND).astype(np.int64)
    return np.concatenate([money, np.full_like(money, SCORE_BAND_BP)], axis=1)


def _sides(bits: IntArray) -> BoolArray:
    return np.asarray((bits[:, None] >> np.array([3, 2, 1, 0])) & 1, dtype=np.bool_)


def _causes(before: PreviousSegments, code: IntArray, turned: BoolArray, severe: BoolArray) -> IntArray:
    """Why the code is another than before."""
    which = turned @ np.array([1, 1, 1, 1])
    axis = Cause.EXISTING_VALUE + np.argmax(turned, axis=1)
    cause = np.where(which > 1, Cause.SEVERAL_AXES, axis)
    cause = np.where(turned[:, 3] & severe & (which == 1), Cause.SEVERE_COMPLAINT, cause)
    cause = np.where(before.code == ONBOARDING, Cause.ONBOARDED, cause)
    cause = np.where(code == before.code, Cause.UNCHANGED, cause)
    return np.where(before.code < 0, Cause.FIRST_SCORED, cause).astype(np.int64)
