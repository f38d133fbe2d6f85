"""Who brings what, and who brings more or less than before: an analysis that may start small and says when to stop.

A run looks at one scope, so many quarters back, at all of its customers or at a sample drawn by a hash of their ids
(a larger sample holds the smaller one), deep or less deep. It records what it cost, and weighs what going on could
bring against what that would cost. Whole columns. *Source*: R27; `insight.md` §7.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from backend.domain.arrays import BASIS_POINTS, BoolArray, FloatArray, IntArray, IntColumn
from backend.domain.evaluations import arm_hashes
from backend.domain.survival import Z_95

QUARTERS_MIN, QUARTERS_MAX = 2, 12
SAMPLE_BP_MIN = 100
"""A hundredth of the customers: less is an anecdote."""
TOP_MAX = 10_000
FIRST_IDS = 10
BAND_YEARLY = 0.10
"""A change of less than a tenth a year is none."""
ALIVE_MIN = 0.5
DECISION_SHARE = 0.05
"""What a right decision about a customer is taken to move of what it contributes in a year: the share of a customer's
spend that a visit is assumed to bring. An assumption, shown with every advice."""
DEPTH_FACTOR = 3.0
"""How many times longer the next depth takes where no such run was made yet."""
HOUR_MS = 3_600_000


class Depth(StrEnum):
    """How deep a run looks."""

    BASIC = "BASIC"
    """what was contributed, and its straight trend through the quarters"""
    STANDARD = "STANDARD"
    """season compared with season; what the last score run expects beside it"""
    FULL = "FULL"
    """the purchase model fitted to this scope: who is gone, and what is still to come"""


DEPTHS = tuple(Depth)


class ContributionGroup(StrEnum):
    """Where a customer is going."""

    RISING = "RISING"
    STEADY = "STEADY"
    FALLING = "FALLING"
    NEW = "NEW"
    """nothing in the earlier half of the quarters"""
    GONE = "GONE"
    """nothing in the later half; in FULL also who has more likely left than not"""
    NONE = "NONE"
    """nothing at all in these quarters"""


GROUPS = tuple(ContributionGroup)


def in_sample(customer_ids: Sequence[str], share_bp: int, salt: str) -> BoolArray:
    """(n,) True for those drawn. The same ids and salt give the same draw, a larger share only adds to it."""
    return np.asarray(arm_hashes("contribution", customer_ids, salt) % BASIS_POINTS < share_bp)


def largest(total_minor: FloatArray, count: int) -> BoolArray:
    """(n,) True for the `count` rows that brought most; ties by the row."""
    kept = np.zeros(total_minor.size, dtype=np.bool_)
    kept[np.lexsort((np.arange(total_minor.size), -total_minor))[:count]] = True
    return kept


@dataclass(frozen=True, slots=True)
class Trend:
    """(n,) `slope_minor`: change from one quarter to the next; `yearly`: the same as a share of the mean quarter, a
    year; `error`: its standard error, infinite where so few quarters say nothing."""

    slope_minor: FloatArray
    yearly: FloatArray
    error: FloatArray


def straight_trend(quarters: FloatArray) -> Trend:
    """Least squares through (n, k) quarters, the oldest first."""
    k = quarters.shape[1]
    x = np.arange(k) - (k - 1) / 2.0
    power = float(x @ x)
    slope = quarters @ x / power
    rest = quarters - quarters.mean(axis=1)[:, None] - slope[:, None] * x
    error = np.sqrt((rest**2).sum(axis=1) / (k - 2) / power) if k > 2 else np.full(slope.shape, np.inf)
    return _relative(quarters, slope, error)


def seasonal_trend(quarters: FloatArray) -> Trend:
    """Mean difference to the same quarter of the year before, a quarter of it, over (n, k) quarters in minor units,
    oldest first: `slope` and its error per quarter, as the straight trend's. With less than two whole years (k < 8) the
    straight trend, which a season may bend."""
    k = quarters.shape[1]
    if k < 8:
        return straight_trend(quarters)
    steps = (quarters[:, 4:] - quarters[:, :-4]) / 4.0
    slope = steps.mean(axis=1)
    error = steps.std(axis=1, ddof=1) / np.sqrt(steps.shape[1])
    return _relative(quarters, slope, error)


def _relative(quarters: FloatArray, slope: FloatArray, error: FloatArray) -> Trend:
    level = np.abs(quarters).mean(axis=1)
    some = level > 0
    yearly, wide = np.zeros(slope.shape), np.zeros(slope.shape)
    np.divide(4.0 * slope, level, out=yearly, where=some)
    np.divide(4.0 * error, level, out=wide, where=some)
    return Trend(slope, yearly, wide)


@dataclass(frozen=True, slots=True)
class ContributionInputs:
    """`quarters`: (n, k) contribution in minor units, oldest first; `future_minor`, `potential_minor`: (n,) of the last
    score run, not known where never scored; `own_future_minor`, `alive`: (n,) of the model fitted to this scope, in
    FULL only; `alive` 0..1, NaN without orders."""

    quarters: FloatArray
    future_minor: IntColumn
    potential_minor: IntColumn
    own_future_minor: IntColumn | None = None
    alive: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Grouped:
    """(n,) `group`: place in `GROUPS`; `undecided`: its interval of change reaches over the edge of its group."""

    group: IntArray
    undecided: BoolArray
    trend: Trend


def group_customers(inputs: ContributionInputs, depth: Depth) -> Grouped:
    """Who is rising and who is falling, as far as a depth can tell."""
    quarters = inputs.quarters
    half = quarters.shape[1] // 2
    early, late = quarters[:, :half], quarters[:, quarters.shape[1] - half :]
    trend = straight_trend(quarters) if depth is Depth.BASIC else seasonal_trend(quarters)
    none = ~(quarters != 0).any(axis=1)
    new = ~none & ~(early != 0).any(axis=1) & ~(quarters[:, : quarters.shape[1] - half] != 0).any(axis=1)
    gone = ~none & ~(late != 0).any(axis=1)
    if depth is Depth.FULL and inputs.alive is not None:
        gone |= ~none & (np.nan_to_num(inputs.alive, nan=1.0) < ALIVE_MIN)
    group = np.select(
        [none, gone, new, trend.yearly >= BAND_YEARLY, trend.yearly <= -BAND_YEARLY],
        [GROUPS.index(one) for one in (
            ContributionGroup.NONE, ContributionGroup.GONE, ContributionGroup.NEW, ContributionGroup.RISING,
            ContributionGroup.FALLING,
        )],
        GROUPS.index(ContributionGroup.STEADY),
    )  # fmt: skip
    reach = Z_95 * trend.error
    near = np.minimum(np.abs(trend.yearly - BAND_YEARLY), np.abs(trend.yearly + BAND_YEARLY)) < reach
    return Grouped(group.astype(np.int64), np.asarray(near & ~none & ~gone & ~new), trend)


@dataclass(frozen=True, slots=True)
class GroupSum:
    """One group. Amounts in minor units over its customers; `future_minor`, `potential_minor` None where not one of
    them is known; `rows`: the first of them by what they brought, falling ones by what they lost."""

    group: ContributionGroup
    customers_n: int
    past_minor: int
    slope_minor: int
    future_minor: int | None
    potential_minor: int | None
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ContributionFound:
    """What a run found. `total_minor`: of all customers of the scope, with its 95 % interval where a sample was drawn;
    `moved_n`, `moved_minor`: customers whose group this depth changed against the one before it, and what they
    brought; `undecided_*`: of whom it is still open."""

    customers_n: int
    analysed_n: int
    total_minor: int
    low_minor: int
    high_minor: int
    groups: tuple[GroupSum, ...]
    moved_n: int
    moved_minor: int
    undecided_n: int
    undecided_minor: int


def contribution_found(
    inputs: ContributionInputs, depth: Depth, *, customers_n: int, sampled_n: int | None = None
) -> ContributionFound:
    """Group and sum. `customers_n`: of the whole scope, at least as many as analysed; `sampled_n`: how many a sample
    holds, None where everybody was asked for."""
    found = group_customers(inputs, depth)
    past = inputs.quarters.sum(axis=1)
    weight = np.abs(past)
    before = found
    if depth is not Depth.BASIC:
        before = group_customers(inputs, DEPTHS[DEPTHS.index(depth) - 1])
    moved = found.group != before.group
    total, half = _estimate(past, customers_n, sampled_n)
    return ContributionFound(
        customers_n=customers_n,
        analysed_n=past.size,
        total_minor=round(total),
        low_minor=round(total - half),
        high_minor=round(total + half),
        groups=tuple(_group_sum(inputs, found, past, place) for place in range(len(GROUPS))),
        moved_n=int(moved.sum()),
        moved_minor=round(float(weight[moved].sum())),
        undecided_n=int(found.undecided.sum()),
        undecided_minor=round(float(weight[found.undecided].sum())),
    )


def _estimate(past: FloatArray, customers_n: int, sampled_n: int | None) -> tuple[float, float]:
    """Total of the scope and half its interval; 0 where everybody was looked at."""
    if sampled_n is None or sampled_n >= customers_n:
        return float(past.sum()), 0.0
    if past.size < 2:
        return float(past.sum()), abs(float(past.sum()))
    share = past.size / customers_n
    half = Z_95 * customers_n * float(past.std(ddof=1)) / np.sqrt(past.size) * np.sqrt(max(1.0 - share, 0.0))
    return float(past.mean()) * customers_n, float(half)


def _group_sum(inputs: ContributionInputs, found: Grouped, past: FloatArray, place: int) -> GroupSum:
    mine = found.group == place
    group = GROUPS[place]
    falling = group in (ContributionGroup.FALLING, ContributionGroup.GONE)
    order = np.lexsort((np.arange(past.size), found.trend.slope_minor if falling else -past))
    rows = order[mine[order]][:FIRST_IDS]
    future = inputs.own_future_minor or inputs.future_minor

    def known(column: IntColumn) -> int | None:
        rows = mine & column.known
        return int(column.values[rows].sum()) if rows.any() else None

    return GroupSum(
        group=group,
        customers_n=int(mine.sum()),
        past_minor=round(float(past[mine].sum())),
        slope_minor=round(float(found.trend.slope_minor[mine].sum())),
        future_minor=known(future),
        potential_minor=known(inputs.potential_minor),
        rows=tuple(rows.tolist()),
    )


class NextLook(StrEnum):
    """How one could look closer."""

    LARGER_SAMPLE = "LARGER_SAMPLE"
    """the whole scope instead of a sample"""
    DEEPER = "DEEPER"
    """the next depth"""


class Advice(StrEnum):
    """Whether looking closer pays."""

    GO_ON = "GO_ON"
    STOP = "STOP"
    """it costs more than it can bring, or there is nothing closer to look at"""


@dataclass(frozen=True, slots=True)
class LookPrice:
    """One way of looking closer: what it can bring at most in a year, and what it would cost; minor units."""

    look: NextLook
    brings_minor: int
    costs_minor: int

    @property
    def pays(self) -> bool:
        """True where it can bring more than it costs."""
        return self.brings_minor > self.costs_minor


@dataclass(frozen=True, slots=True)
class RunAdvice:
    """What the run cost, what looking closer would cost and could bring, and which of it to do."""

    advice: Advice
    look: NextLook | None
    cost_minor: int
    prices: tuple[LookPrice, ...]


def advise(
    found: ContributionFound,
    *,
    depth: Depth,
    sample_bp: int,
    quarters_n: int,
    milliseconds: int,
    hours: float,
    hour_minor: int,
    depth_factors: Mapping[Depth, float] | None = None,
) -> RunAdvice:
    """Go on while what is still open is worth more than finding out.

    A run costs its time and the hours people spent on it, at the price of an hour; the next depth takes as much longer
    as such runs took before (`depth_factors`, else `DEPTH_FACTOR`), the whole scope as much longer as it is larger, and
    people spend the same hours again. It can bring `DECISION_SHARE` of the yearly contribution that is undecided, or
    of half the width of the total's interval.
    """

    def cost(factor: float) -> int:
        return round((milliseconds * factor / HOUR_MS + hours) * hour_minor)

    def brings(amount: float) -> int:
        return round(DECISION_SHARE * amount * 4.0 / quarters_n)

    prices = []
    if sample_bp < BASIS_POINTS:
        width = (found.high_minor - found.low_minor) / 2.0
        prices.append(LookPrice(NextLook.LARGER_SAMPLE, brings(width), cost(BASIS_POINTS / sample_bp)))
    if depth is not Depth.FULL:
        deeper = DEPTHS[DEPTHS.index(depth) + 1]
        factor = (depth_factors or {}).get(deeper, DEPTH_FACTOR)
        prices.append(LookPrice(NextLook.DEEPER, brings(found.undecided_minor), cost(factor)))
    paying = [one for one in prices if one.pays]
    best = max(paying, key=lambda one: one.brings_minor - one.costs_minor, default=None)
    return RunAdvice(
        Advice.STOP if best is None else Advice.GO_ON, None if best is None else best.look, cost(1.0), tuple(prices)
    )


@dataclass(frozen=True, slots=True)
class ContributionRunRecord:
    """An analysis as it is kept. `result`: what was found and advised; `rows_n`: records read for it."""

    id: str
    territory_id: str | None
    as_of: str
    quarters_n: int
    depth: Depth
    sample_bp: int
    top_n: int | None
    rows_n: int
    analysed_n: int
    milliseconds: int
    hours_hundredths: int
    result: dict[str, Any]
    started_at_ms: int
    started_by: str
