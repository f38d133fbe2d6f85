"""Potential: what a customer could bring in a year beyond today, in revenue, each part listed.

*Source*: R22, R39, R52.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import Basis, BoolArray, FloatArray, IntArray, IntColumn, Measure
from backend.domain.history import QUARTER_DAYS, HistoryColumns
from backend.domain.loyalty import group_quantile

PEERS_MIN = 30
PEER_SHARE = 0.80
BREADTH_SHARE = 0.75
PART_WEIGHTS = (0.5, 0.3, 0.2)
TREND_YEARLY_MAX = 0.5
KIND_LEVEL_CONFIDENCE = 0.7


@dataclass(frozen=True, slots=True)
class Potential:
    """`year_minor`: revenue per year ≥ 0 with confidence and basis, NaN without enough peers on any level.

    `parts_minor`: (n, 3) peer gap, category gap, trend, before weighting; `trend_yearly`: (n,) −.5..+.5,
    NaN with less than five quarters of history; `peers_n`: (n,) size of the peer group that set the
    frontier, 0 none.
    """

    year_minor: Measure
    parts_minor: FloatArray
    trend_yearly: FloatArray
    peers_n: IntArray


def potential(
    history: HistoryColumns,
    *,
    kind: IntArray,
    peer_group: IntArray,
    categories_n: IntColumn,
    as_of_day: int,
    active: BoolArray,
) -> Potential:
    """.5·(peers' P80 − run rate)⁺ + .3·category gap + .2·trend, floor 0.

    Peers are the active customers with orders in the same `peer_group` (−1 none) when at least 30, else in
    the same kind, else there is no frontier and nothing is claimed: NaN, `NOT_RECORDED`.
    """
    run_rate = yearly_run_rate(history, as_of_day)
    counted = active & history.has_orders
    frontier, basis = _frontier(run_rate, kind, peer_group, counted, PEER_SHARE)
    peer_gap = np.maximum(frontier - run_rate, 0.0)
    category_gap = _category_gap(run_rate, kind, categories_n, counted)
    trend = yearly_trend(history, as_of_day)
    trend_money = np.where(np.isnan(trend), 0.0, trend) * np.maximum(run_rate, 0.0)
    parts = np.stack([np.nan_to_num(peer_gap), np.nan_to_num(category_gap), trend_money], axis=1)
    value = np.where(np.isnan(frontier), np.nan, np.maximum(parts @ np.array(PART_WEIGHTS), 0.0))
    heard = np.array(PART_WEIGHTS) @ np.stack([~np.isnan(frontier), ~np.isnan(category_gap), ~np.isnan(trend)])
    level = np.where(basis == Basis.KIND_PEERS, KIND_LEVEL_CONFIDENCE, 1.0)
    confidence = np.where(np.isnan(frontier), 0.0, heard * level)
    group = np.where(basis == Basis.PEERS_ONLY, _peers_n(peer_group, counted), _peers_n(kind, counted))
    peers_n = np.where(np.isnan(frontier), 0, group).astype(np.int64)
    return Potential(Measure(value, confidence, basis), parts, trend, peers_n)


@dataclass(frozen=True, slots=True)
class Frontier:
    """What the best of one group of peers bring in a year: `PEER_SHARE` of them bring no more.

    `kind`, `group`: codes as in the columns, `group` −1 for the whole kind; minor units; `peers_n` ≥ `PEERS_MIN`.
    """

    kind: int
    group: int
    year_minor: float
    peers_n: int


def peer_frontiers(
    history: HistoryColumns, *, kind: IntArray, peer_group: IntArray, as_of_day: int
) -> tuple[Frontier, ...]:
    """The frontier of every group and kind that has enough peers: what `potential` measures gaps to."""
    run_rate, buyers = yearly_run_rate(history, as_of_day), history.has_orders
    found = []
    for column, grouped in ((peer_group, True), (kind, False)):
        counted = buyers & (column >= 0)
        codes, place = np.unique(column[counted], return_inverse=True)
        sizes = np.bincount(place, minlength=codes.size)
        reach = group_quantile(column, np.where(counted, run_rate, np.nan), PEER_SHARE)
        for number in np.flatnonzero(sizes >= PEERS_MIN).tolist():
            row = int(np.flatnonzero(column == codes[number])[0])
            group = int(codes[number]) if grouped else -1
            found.append(Frontier(int(kind[row]), group, float(reach[row]), int(sizes[number])))
    return tuple(found)


def yearly_run_rate(history: HistoryColumns, as_of_day: int) -> FloatArray:
    """(n,) revenue of the last four quarters; a shorter history is stretched to a year, at most fourfold."""
    known_days = np.clip(as_of_day - history.first_day, QUARTER_DAYS, 4 * QUARTER_DAYS)
    revenue = history.quarter_revenue_minor[:, :4].sum(axis=1)
    return np.asarray(revenue * (4.0 * QUARTER_DAYS / known_days), dtype=np.float64)


def yearly_trend(history: HistoryColumns, as_of_day: int) -> FloatArray:
    """(n,) Theil–Sen slope season on season, relative to the customer's mean quarter, clipped to ±50 % a year.

    Only quarters of the same season are compared, so a seasonal buyer is not falling out of season. Quarters
    before the first order say nothing. NaN where no two comparable quarters exist.
    """
    quarters = history.quarter_revenue_minor.astype(np.float64)
    quarters_n = quarters.shape[1]
    complete = (as_of_day - history.first_day + 1) // QUARTER_DAYS
    quarters[np.arange(quarters_n) >= np.where(history.has_orders, complete, 0)[:, None]] = np.nan
    slopes = [
        (quarters[:, recent] - quarters[:, recent + 4 * years]) / years
        for years in range(1, quarters_n // 4 + 1)
        for recent in range(quarters_n - 4 * years)
    ]
    if not slopes:
        return np.full(len(history), np.nan)
    level = _mean_known(quarters)
    slope = _median_known(np.stack(slopes, axis=1))
    relative = np.full(level.shape, np.nan)
    np.divide(slope, level, out=relative, where=level > 0)
    return np.asarray(np.clip(relative, -TREND_YEARLY_MAX, TREND_YEARLY_MAX), dtype=np.float64)


def _frontier(
    run_rate: FloatArray, kind: IntArray, group: IntArray, counted: BoolArray, share: float
) -> tuple[FloatArray, IntArray]:
    """The peers' quantile by group where it is large enough, else by kind, else NaN; and which it was."""
    visible = np.where(counted, run_rate, np.nan)
    by_group = np.where(
        (_peers_n(group, counted) >= PEERS_MIN) & (group >= 0), group_quantile(group, visible, share), np.nan
    )
    by_kind = np.where(_peers_n(kind, counted) >= PEERS_MIN, group_quantile(kind, visible, share), np.nan)
    frontier = np.where(np.isnan(by_group), by_kind, by_group)
    basis = np.where(np.isnan(by_group), Basis.KIND_PEERS, Basis.PEERS_ONLY)
    return frontier, np.where(np.isnan(frontier), Basis.NOT_RECORDED, basis).astype(np.int64)


def _peers_n(group: IntArray, counted: BoolArray) -> IntArray:
    """(n,) counted members of each row's group."""
    if group.size == 0:
        return np.zeros(0, dtype=np.int64)
    _, index = np.unique(group, return_inverse=True)
    return np.asarray(np.bincount(index, counted)[index], dtype=np.int64)


def _category_gap(run_rate: FloatArray, kind: IntArray, categories_n: IntColumn, counted: BoolArray) -> FloatArray:
    """Categories missing to the peers' upper quartile × today's revenue per category; NaN where not recorded."""
    own = categories_n.floats()
    reach = group_quantile(kind, np.where(counted, own, np.nan), BREADTH_SHARE)
    per_category = np.divide(np.maximum(run_rate, 0.0), own, out=np.zeros_like(run_rate), where=own > 0)
    return np.asarray(np.maximum(reach - own, 0.0) * per_category, dtype=np.float64)


def _mean_known(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return np.asarray(mean, dtype=np.float64)


def _median_known(values: FloatArray) -> FloatArray:
    """Row medians over known values: NaN sorts to the end."""
    count = (~np.isnan(values)).sum(axis=1)
    ordered = np.sort(values, axis=1)
    rows = np.arange(values.shape[0])
    low, high = np.maximum((count - 1) // 2, 0), np.maximum(count // 2, 0)
    middle = (ordered[rows, low] + ordered[rows, np.minimum(high, values.shape[1] - 1)]) / 2.0
    return np.where(count > 0, middle, np.nan)
