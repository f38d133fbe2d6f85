"""The weekly part: fit the purchase and spend models of an organisation and measure their level."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray
from backend.domain.history import HistoryColumns, OrderColumns, history_of, purchase_days
from backend.domain.purchase import (
    ENOUGH_CUSTOMERS_N,
    ENOUGH_REPEATS_N,
    Model,
    PurchaseFit,
    PurchaseHistory,
    TimeUnit,
    fit_purchase,
)
from backend.domain.purchase_forecast import expected_purchases
from backend.domain.regularity import MEMORYLESS, Cut, Regularity, choose_regularity, evenness
from backend.domain.spend import SpendFit, fit_spend

LEVEL_MIN, LEVEL_MAX = 0.8, 1.25
BACKTEST_DAYS = 91
BACKTEST_CUTS_N = 3
DRIFT_ERRORS_MAX = 3.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a nightly run takes from the last accepted fit.

    `spend`: in minor units per purchase, fitted on all orders (n = x + 1); `level`: factor on expected
    purchases from the rolling backtest, .8..1.25; `level_measured`: False where the history was too short to
    measure one.
    """

    version: str
    purchase: PurchaseFit
    spend: SpendFit
    level: float
    level_measured: bool
    regularity: Regularity = MEMORYLESS


def purchase_history(history: HistoryColumns, as_of_day: int, rows: BoolArray) -> PurchaseHistory:
    """The (x, t_x, T) of the customers chosen by `rows`, who must all have ordered."""
    return PurchaseHistory(
        history.orders_n[rows] - 1,
        (history.last_day - history.first_day)[rows],
        as_of_day - history.first_day[rows],
    )


def calibrate_history(
    history: HistoryColumns,
    *,
    as_of_day: int,
    version: str,
    model: Model = Model.MBG_NBD,
    unit: TimeUnit = TimeUnit.WEEK,
    level: float | None = None,
    regularity: Regularity | None = None,
) -> Calibration:
    """Fit both models to an organisation's statistics; the level is 1 and not measured unless given, k is 1."""
    chosen = regularity or MEMORYLESS
    rows = history.has_orders
    count = history.orders_n[rows]
    mean = history.revenue_minor[rows] / np.maximum(count, 1)
    return Calibration(
        version=version,
        purchase=fit_purchase(purchase_history(history, as_of_day, rows), model=model, unit=unit, regularity=chosen.k),
        spend=fit_spend(mean, count),
        level=1.0 if level is None else level,
        level_measured=level is not None,
        regularity=chosen,
    )


def calibrate(
    orders: OrderColumns,
    *,
    customers_n: int,
    as_of_day: int,
    version: str,
    model: Model = Model.MBG_NBD,
    unit: TimeUnit = TimeUnit.WEEK,
) -> Calibration:
    """Fit both models, choose k and measure the level from single orders. *Raises* as `history_of`.

    CNBD-k is taken instead of MBG/NBD only where it wins on the hold-outs; other models have no k.
    """
    history = history_of(orders, customers_n=customers_n, as_of_day=as_of_day, quarters_n=1)
    cuts = list(rolling_cuts(orders, customers_n=customers_n, as_of_day=as_of_day))
    chosen = MEMORYLESS
    if model is Model.MBG_NBD:
        estimate, _ = evenness(*purchase_days(orders))
        chosen = choose_regularity(estimate, cuts, unit)
    level = level_of(cuts, model=model, unit=unit, regularity=chosen.k)
    return calibrate_history(
        history, as_of_day=as_of_day, version=version, model=model, unit=unit, level=level, regularity=chosen
    )


def backtest_level(
    orders: OrderColumns,
    *,
    customers_n: int,
    as_of_day: int,
    model: Model,
    unit: TimeUnit,
    horizon_days: int = BACKTEST_DAYS,
    cuts_n: int = BACKTEST_CUTS_N,
    regularity: int = 1,
) -> float | None:
    """The level by a rolling backtest over the cuts of `rolling_cuts`; see `level_of`."""
    cuts = rolling_cuts(orders, customers_n=customers_n, as_of_day=as_of_day, horizon_days=horizon_days, cuts_n=cuts_n)
    return level_of(list(cuts), model=model, unit=unit, regularity=regularity)


def rolling_cuts(
    orders: OrderColumns,
    *,
    customers_n: int,
    as_of_day: int,
    horizon_days: int = BACKTEST_DAYS,
    cuts_n: int = BACKTEST_CUTS_N,
) -> Iterator[Cut]:
    """The past as it was known `horizon_days`, twice as many, … before the day, each with what followed.

    Ends where what was known is too little to fit anything.
    """
    # of the quarters nothing is asked, and they are most of a history
    after = history_of(orders, customers_n=customers_n, as_of_day=as_of_day, quarters_n=1)
    for step in range(1, cuts_n + 1):
        cut = as_of_day - step * horizon_days
        before = history_of(_until(orders, cut), customers_n=customers_n, as_of_day=cut, quarters_n=1)
        rows = before.has_orders
        if int(rows.sum()) < ENOUGH_CUSTOMERS_N or int((before.orders_n[rows] - 1).sum()) < ENOUGH_REPEATS_N:
            return
        yield Cut(purchase_history(before, cut, rows), (after.orders_n - before.orders_n)[rows], horizon_days)
        after = before


def level_of(cuts: Sequence[Cut], *, model: Model, unit: TimeUnit, regularity: int = 1) -> float | None:
    """Actual over expected purchases over all cuts, clipped to .8..1.25; `None` with too little history.

    For each cut the model is fitted on what was known then and asked for the time held out. The purchase models
    rank well but run low or high in total; ranks do not change by this factor.
    """
    actual = expected = 0.0
    for cut in cuts:
        fit = fit_purchase(cut.past, model=model, unit=unit, regularity=regularity)
        expected += float(expected_purchases(fit, cut.past, (cut.horizon_days,)).sum())
        actual += float(cut.bought_n.sum())
    if expected <= 0.0:
        return None
    return float(np.clip(actual / expected, LEVEL_MIN, LEVEL_MAX))


def accept_refit(old: PurchaseFit, new: PurchaseFit) -> bool:
    """Accept a weekly refit unless likelihood per customer falls or a parameter drifts by 3 s.e. or more.

    Likelihoods are comparable only within one unit, model and k; another one is always a new beginning. A
    parameter without a standard error is not judged for drift.
    """
    if (old.model, old.unit, old.regularity) != (new.model, new.unit, new.regularity):
        return True
    if not old.customers_n or not new.customers_n:
        return True
    if new.log_likelihood / new.customers_n < old.log_likelihood / old.customers_n:
        return False
    was, now = np.array([old.r, old.alpha, old.a, old.b]), np.array([new.r, new.alpha, new.a, new.b])
    allowed = DRIFT_ERRORS_MAX * np.array(old.standard_errors)
    return bool(np.all((np.abs(now - was) < allowed) | np.isnan(allowed)))


def _until(orders: OrderColumns, day: int) -> OrderColumns:
    kept = orders.day <= day
    return OrderColumns(
        orders.customer[kept],
        orders.day[kept],
        orders.net_minor[kept],
        orders.cost_minor[kept],
        orders.cost_known[kept],
        orders.is_return[kept],
        None if orders.order_key is None else orders.order_key[kept],
    )
