"""Loyalty: does the customer keep coming, give us a fair share, buy widely and keep what it buys?

Each part is a `Measure` 0..1; loyalty is their weighted mean over what is present, with the coverage
beside it. Nothing is punished for not being recorded, and nothing missing passes for a zero. *Source*:
R19, R52.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import (
    Basis,
    BoolArray,
    FloatArray,
    IntArray,
    IntColumn,
    Measure,
    clip01,
    codes,
    group_means,
    percentile_ranks,
    shrink,
    weighted_present,
)
from backend.domain.history import QUARTER_DAYS, HistoryColumns

INTERVAL_SHRINK_ORDERS = 2.0
OVERDUE_CENTRE = 1.5
OVERDUE_WIDTH = 0.25
WALLET_SHRINK_QUARTERS = 4.0
RETURN_SHRINK_ORDERS = 3.0
COVERAGE_ENOUGH = 0.5
YEAR_DAYS = 365.25
WEIGHTS = {
    "on_time": 0.30,
    "frequency": 0.20,
    "wallet": 0.15,
    "tenure": 0.10,
    "breadth": 0.10,
    "referrals": 0.05,
    "returns": 0.10,
}
ClosedRanges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Loyalty:
    """`score`: 0..100 with its confidence and basis; `coverage`: (n,) weight present 0..1; `parts` by name."""

    score: Measure
    coverage: FloatArray
    parts: dict[str, Measure]


def in_season_days(first: IntArray, last: IntArray, off_season: ClosedRanges) -> IntArray:
    """(n,) days from `first` to `last` that lie in no declared off-season; ranges [from, to] do not overlap."""
    days = last - first
    for start, end in off_season:
        closed = np.minimum(last, end + 1) - np.maximum(first, start)
        days = days - np.maximum(closed, 0)
    return np.asarray(np.maximum(days, 0), dtype=np.int64)


def typical_interval_days(history: HistoryColumns, off_season: ClosedRanges = ()) -> float | None:
    """Mean days in season between two orders of whoever came back; None when nobody did."""
    repeats = np.maximum(history.orders_n - 1, 0)
    span = in_season_days(history.first_day, history.last_day, off_season)
    if repeats.sum() == 0 or span.sum() == 0:
        return None
    return float(span.sum() / repeats.sum())


def recency_ratio(
    history: HistoryColumns, as_of_day: int, off_season: ClosedRanges = (), typical_days: float | None = None
) -> Measure:
    """Days since the last order over the customer's own interval between orders, 0..∞.

    The interval is shrunk to the population's (k = 2 intervals), so one order gives the population's; only
    days in season count. NaN without orders, or when nobody ever came back. `typical_days`: the
    population's interval, where these are not all of it.
    """
    repeats = np.maximum(history.orders_n - 1, 0).astype(np.float64)
    span = in_season_days(history.first_day, history.last_day, off_season).astype(np.float64)
    since = in_season_days(history.last_day, np.full_like(history.last_day, as_of_day), off_season)
    typical = typical_interval_days(history, off_season) if typical_days is None else typical_days
    if typical is None:
        return _unknown(len(history))
    own = np.divide(span, repeats, out=np.zeros_like(span), where=repeats > 0)
    interval = shrink(own, repeats, typical, INTERVAL_SHRINK_ORDERS)
    ratio = np.where(history.has_orders, since / interval, np.nan)
    basis = np.where(repeats > 0, Basis.SHRUNK_TO_PEERS, Basis.PEERS_ONLY)
    orders = history.orders_n.astype(np.float64)
    return _measure(ratio, orders / (orders + INTERVAL_SHRINK_ORDERS), basis)


def overdue(ratio: Measure) -> Measure:
    """1/(1+exp(−(ratio−1.5)/.25)), 0..1; where the ratio is unknown 0 with confidence 0, `NOT_RECORDED`."""
    exponent = np.clip((np.where(ratio.known, ratio.value, 0.0) - OVERDUE_CENTRE) / OVERDUE_WIDTH, -50.0, 50.0)
    late = np.where(ratio.known, 1.0 / (1.0 + np.exp(-exponent)), 0.0)
    return Measure(late, ratio.confidence, ratio.basis)


def churn_risk(alive: FloatArray, late: Measure, history: HistoryColumns) -> Measure:
    """1 − P(alive), shown within .01–.99, and with three repeat orders at least half of overdue; NaN without orders."""
    seasoned = history.orders_n - 1 >= 3
    floor = np.where(seasoned, 0.5 * late.value, 0.0)
    modelled = np.clip(1.0 - alive, 0.01, 0.99)
    risk = np.where(history.has_orders, np.clip(np.maximum(modelled, floor), 0.01, 0.99), np.nan)
    basis = np.where(floor > modelled, Basis.MODEL_AND_OVERDUE, Basis.MODEL)
    return _measure(risk, history.orders_n / (history.orders_n + 2.0), basis)


def share_of_wallet(history: HistoryColumns, budget_minor: IntColumn, peers: IntArray, as_of_day: int) -> Measure:
    """Our sales of the last four quarters over the customer's yearly budget, shrunk to peers (k = 4 quarters).

    Without a budget the peers' mean with confidence 0; NaN when no peer declared one either.
    """
    sales = history.quarter_revenue_minor[:, :4].sum(axis=1).astype(np.float64)
    stated = budget_minor.known & (budget_minor.values > 0) & history.has_orders
    own = np.full(sales.shape, np.nan)
    np.divide(sales, budget_minor.values, out=own, where=stated)
    own = clip01(own)
    quarters = np.clip((as_of_day - history.first_day) / QUARTER_DAYS, 0.0, 4.0)
    weight = np.where(stated, quarters, 0.0)
    mean = group_means(peers, own, np.ones_like(own))
    share = np.where(stated, shrink(own, weight, mean, WALLET_SHRINK_QUARTERS), mean)
    basis = np.where(stated, Basis.SHRUNK_TO_PEERS, Basis.PEERS_ONLY)
    return _measure(share, weight / (weight + WALLET_SHRINK_QUARTERS), basis)


def tenure(history: HistoryColumns, as_of_day: int) -> Measure:
    """1 − exp(−years since the first order / 3); NaN without orders."""
    years = (as_of_day - history.first_day) / YEAR_DAYS
    value = np.where(history.has_orders, 1.0 - np.exp(-np.maximum(years, 0.0) / 3.0), np.nan)
    return _measure(value, np.ones_like(value), codes(len(history), Basis.RECORDED))


def breadth(categories_n: IntColumn, peers: IntArray) -> Measure:
    """Categories bought over the peers' upper quartile, at most 1; NaN where not recorded."""
    reach = group_quantile(peers, categories_n.floats(), 0.75)
    value = np.divide(categories_n.floats(), reach, out=np.full(reach.shape, np.nan), where=reach > 0)
    return _measure(clip01(value), np.ones_like(value), codes(value.size, Basis.RECORDED))


def referrals(referrals_n: IntColumn) -> Measure:
    """1 − exp(−n/2): none is a true 0 where referrals are recorded at all, else NaN."""
    value = 1.0 - np.exp(-np.maximum(referrals_n.floats(), 0.0) / 2.0)
    return _measure(value, np.ones_like(value), codes(value.size, Basis.RECORDED))


def returns_score(returns_n: IntArray, orders_n: IntArray) -> Measure:
    """1 − min(1, RT/(3μ)) with the return rate RT shrunk to its mean μ (k = 3 orders).

    `returns_n` −1: not recorded, then 2/3 (the score of the mean rate) with confidence 0.
    """
    recorded = (returns_n >= 0) & (orders_n > 0)
    orders = np.where(recorded, orders_n, 0).astype(np.float64)
    returned = np.where(recorded, returns_n, 0).astype(np.float64)
    mean = float(returned.sum() / orders.sum()) if orders.sum() else 0.0
    own = np.divide(returned, orders, out=np.zeros_like(orders), where=orders > 0)
    rate = shrink(own, orders, mean, RETURN_SHRINK_ORDERS)
    relative = rate / (3.0 * mean) if mean > 0 else np.zeros_like(rate)
    value = np.where(recorded, 1.0 - np.minimum(1.0, relative), 2.0 / 3.0)
    basis = np.where(recorded, Basis.SHRUNK_TO_PEERS, Basis.PRIOR)
    return Measure(value, orders / (orders + RETURN_SHRINK_ORDERS), basis.astype(np.int64))


def frequency(history: HistoryColumns, peers: IntArray) -> Measure:
    """Percentile 0..1 of orders in the last four quarters among customers of the same kind; NaN without orders."""
    orders = history.quarter_orders_n[:, :4].sum(axis=1).astype(np.float64)
    orders = np.where(history.has_orders, orders, np.nan)
    value = np.full(orders.shape, np.nan)
    for group in np.unique(peers):
        members = peers == group
        value[members] = percentile_ranks(orders[members])
    return _measure(value, np.ones_like(value), codes(value.size, Basis.RECORDED))


def loyalty(parts: dict[str, Measure]) -> Loyalty:
    """100 × the weighted mean of the parts present, by `WEIGHTS`.

    A part counts as present where its confidence is above 0 or its value was recorded; `PROVISIONAL` where
    the parts present carry less than half of the weight. Without any part NaN.
    """
    present = [(WEIGHTS[name], np.where(_counts(part), part.value, np.nan)) for name, part in parts.items()]
    missing = 1.0 - sum(weight for weight, _ in present)
    rows_n = next(iter(parts.values())).value.size
    mean, coverage = weighted_present([*present, (missing, np.full(rows_n, np.nan))])
    basis = np.where(coverage < COVERAGE_ENOUGH, Basis.PROVISIONAL, Basis.PARTLY_RECORDED)
    basis = np.where(coverage > 1.0 - 1e-9, Basis.RECORDED, basis)
    sure = sum(
        weight * np.where(np.isnan(value), 0.0, part.confidence)
        for (weight, value), part in zip(present, parts.values(), strict=True)
    )
    return Loyalty(_measure(100.0 * mean, np.asarray(sure, dtype=np.float64), basis), coverage, parts)


def group_quantile(group: IntArray, values: FloatArray, share: float) -> FloatArray:
    """Quantile of each row's group over its known values, handed back per row; NaN for groups without any."""
    out = np.full(values.shape, np.nan)
    for member in np.unique(group):
        rows = group == member
        known = values[rows & ~np.isnan(values)]
        if known.size:
            out[rows] = np.quantile(known, share)
    return out


def _counts(part: Measure) -> BoolArray:
    neutral = (part.basis == Basis.NOT_RECORDED) | (part.basis == Basis.PRIOR)
    return np.asarray(part.known & ~neutral & ~((part.basis == Basis.PEERS_ONLY) & (part.confidence == 0)))


def _measure(value: FloatArray, confidence: FloatArray, basis: IntArray) -> Measure:
    """A measure whose unknown rows carry no confidence and say so."""
    known = ~np.isnan(value)
    return Measure(value, np.where(known, confidence, 0.0), np.where(known, basis, Basis.NOT_RECORDED).astype(np.int64))


def _unknown(rows_n: int) -> Measure:
    return Measure(np.full(rows_n, np.nan), np.zeros(rows_n), codes(rows_n, Basis.NOT_RECORDED))
