"""How good is a ranking? Gain curve, normalised Gini, share caught by the top tenth, and intervals of differences.

A ranking is (n,) numbers, the highest first; what it is judged by is the (n,) money that came afterwards. Customers
with equal numbers share what their group brought: the figures are the mean over all ways to break the tie, so the
sequence of the rows never counts. *Source*: R28, R30; `insight.md` §5.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray

TOP_SHARE = 0.1
REPLICATES_N = 500
INTERVAL = (0.025, 0.975)
CELLS_MAX = 2_000_000
"""Replicates × customers held at once."""


@dataclass(frozen=True, slots=True)
class RankedOrder:
    """`order`: (n,) rows, the best first; `starts`: (g,) where each group of equal numbers begins in it."""

    order: IntArray
    starts: IntArray


@dataclass(frozen=True, slots=True)
class Quality:
    """`gini`: 1 = the order of the money itself, 0 = chance; `top`: share of the money held by the top tenth."""

    gini: FloatArray
    top: FloatArray


def ranked(score: FloatArray) -> RankedOrder:
    """Rows by score, the highest first; a score that is not known stands last."""
    key = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if ordered.size else order
    return RankedOrder(np.asarray(order, dtype=np.int64), np.asarray(starts, dtype=np.int64))


def quality(found: RankedOrder, money: FloatArray, weights: FloatArray | None = None) -> Quality:
    """Both figures of a ranking, one per row of `weights` (b, n), how often each customer counts (default: once).

    `money`: (n,), below 0 counts as 0. NaN where nobody brought anything, or nobody is there.
    """
    earned = np.maximum(money, 0.0)
    counted = np.ones((1, money.size)) if weights is None else weights
    perfect_gini, _ = _figures(ranked(earned), earned, counted)
    gini, top = _figures(found, earned, counted)
    normalised = np.full(gini.shape, np.nan)
    np.divide(gini, perfect_gini, out=normalised, where=np.nan_to_num(perfect_gini) > 0.0)
    return Quality(normalised, top)


def gain_curve(found: RankedOrder, money: FloatArray, points_n: int = 20) -> FloatArray:
    """(points_n + 1,) share of the money held by the best 0, 1/points_n … 1 of the customers; NaN without money."""
    earned = np.maximum(money, 0.0)
    at = np.linspace(0.0, 1.0, points_n + 1)
    if not earned.sum() > 0.0:
        return np.full(at.shape, np.nan)
    customers, amount = _cumulated(found, earned, np.ones((1, earned.size)))
    return np.asarray(np.interp(at, customers[0], amount[0]), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Judged:
    """One cut: `rows`: (n,) the customers' numbers among all cuts; `money`: (n,) what came afterwards;
    `orders`: name → ranking."""

    rows: IntArray
    money: FloatArray
    orders: dict[str, RankedOrder]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the interval that holds 95 % of the replicates."""

    value: float
    low: float
    high: float


Pair = tuple[str, str]


def compare(
    cuts: Sequence[Judged],
    pairs: Sequence[Pair],
    *,
    customers_n: int,
    seed: int,
    replicates_n: int = REPLICATES_N,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Pair, tuple[Interval, Interval]]:
    """The difference (first − second) of every pair in Gini and in the top tenth, the mean over all cuts.

    Paired: in one replicate both rankings, and all cuts, see the same customers the same number of times (a
    Poisson bootstrap of customers, whole columns at a time). Deterministic in `seed`. NaN where no cut has money.
    """
    names = sorted({name for pair in pairs for name in pair})
    point = {name: _mean_quality(cuts, name, None) for name in names}
    rng, step = np.random.default_rng(seed), max(1, CELLS_MAX // max(customers_n, 1))
    drawn: dict[str, list[tuple[FloatArray, FloatArray]]] = {name: [] for name in names}
    for start in range(0, replicates_n, step):
        size = min(step, replicates_n - start)
        weights = rng.poisson(1.0, (size, customers_n)).astype(np.float64)
        for name in names:
            drawn[name].append(_mean_quality(cuts, name, weights))
        if progress is not None:
            progress(start + size, replicates_n)
    whole = {
        name: tuple(np.concatenate([part[which] for part in parts]) if parts else np.zeros(0) for which in (0, 1))
        for name, parts in drawn.items()
    }

    def difference(pair: Pair, which: int) -> Interval:
        first, second = pair
        value = float(point[first][which][0] - point[second][which][0])
        spread = whole[first][which] - whole[second][which]
        spread = spread[~np.isnan(spread)]
        if not spread.size or np.isnan(value):
            return Interval(value, float("nan"), float("nan"))
        low, high = np.quantile(spread, INTERVAL)
        return Interval(value, float(low), float(high))

    return {pair: (difference(pair, 0), difference(pair, 1)) for pair in pairs}


def _mean_quality(cuts: Sequence[Judged], name: str, weights: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    found = [
        quality(cut.orders[name], cut.money, None if weights is None else weights[:, cut.rows])
        for cut in cuts
        if (cut.money > 0.0).any()
    ]
    if not found:
        nothing = np.full(1 if weights is None else weights.shape[0], np.nan)
        return nothing, nothing
    gini = np.mean([one.gini for one in found], axis=0)
    return np.asarray(gini), np.asarray(np.mean([one.top for one in found], axis=0))


def _cumulated(found: RankedOrder, earned: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(b, g+1) share of the customers and of the money by the end of each group, from 0 to 1."""
    ordered = weights[:, found.order]
    customers = np.add.reduceat(ordered, found.starts, axis=1)
    amount = np.add.reduceat(ordered * earned[found.order], found.starts, axis=1)
    return _shares(customers), _shares(amount)


def _shares(per_group: FloatArray) -> FloatArray:
    total = np.cumsum(per_group, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.pad(total / total[:, -1:], ((0, 0), (1, 0)))


def _figures(found: RankedOrder, earned: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(b,) Gini, not normalised, and (b,) share of the top tenth."""
    if not earned.size:
        nothing = np.full(weights.shape[0], np.nan)
        return nothing, nothing
    customers, amount = _cumulated(found, earned, weights)
    area = np.sum(np.diff(customers, axis=1) * (amount[:, 1:] + amount[:, :-1]), axis=1)
    return np.asarray(area - 1.0), _at(customers, amount, TOP_SHARE)


def _at(customers: FloatArray, amount: FloatArray, share: float) -> FloatArray:
    """(b,) the money's share where the customers' share reaches `share`, straight between the groups' ends."""
    row = np.arange(customers.shape[0])
    right = np.minimum((customers < share).sum(axis=1), customers.shape[1] - 1)
    left = np.maximum(right - 1, 0)
    width = customers[row, right] - customers[row, left]
    part = np.where(width > 0.0, (share - customers[row, left]) / np.where(width > 0.0, width, 1.0), 0.0)
    return np.asarray(amount[row, left] + part * (amount[row, right] - amount[row, left]), dtype=np.float64)
