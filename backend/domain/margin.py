"""From revenue to contribution, and on which basis: own costs, a default margin, or revenue alone.

One run ranks on one kind of money: contribution wherever any margin is known, revenue only when none is known
for anybody. *Source*: R50, R51.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BASIS_POINTS, Basis, FloatArray, IntArray, IntColumn, codes, shrink
from backend.domain.history import HistoryColumns

MARGIN_SHRINK_ORDERS = 4.0


@dataclass(frozen=True, slots=True)
class Contribution:
    """What customers contributed, in minor units.

    `quarters`: (n, k), *oldest first*; `total`: (n,) lifetime; `rate`: (n,) margin rate for future revenue;
    `basis`: (n,) `Basis` codes.
    """

    quarters: FloatArray
    total: FloatArray
    rate: FloatArray
    basis: IntArray


def contribution_of(
    history: HistoryColumns, default_margin: float | None, category_margin_bp: IntColumn | None = None
) -> Contribution:
    """Turn revenue into contribution, customer by customer on the best basis there is.

    Costs recorded for every order of a customer: MARGIN. Else the margin of the customer's categories
    (`category_margin_bp`), else the organisation's own or declared margin: DEFAULT_MARGIN. No margin known
    anywhere: REVENUE for all. Customers without orders: PROSPECT. Negative contribution stays negative.
    """
    rows_n = len(history)
    typical = _organisation_margin(history, default_margin)
    known_category = category_margin_bp is not None and bool(category_margin_bp.known.any())
    if typical is None and not known_category:
        rate, basis = np.ones(rows_n), codes(rows_n, Basis.REVENUE)
        own = np.zeros(rows_n, dtype=np.bool_)
    else:
        rate = _default_rates(rows_n, typical, category_margin_bp)
        own = history.cost_known
        basis = np.where(own, Basis.MARGIN, Basis.DEFAULT_MARGIN).astype(np.int64)
    revenue = history.quarter_revenue_minor[:, ::-1].astype(np.float64)
    net = revenue - history.quarter_cost_minor[:, ::-1]
    lifetime = history.revenue_minor.astype(np.float64)
    return Contribution(
        quarters=np.where(own[:, None], net, revenue * rate[:, None]),
        total=np.where(own, lifetime - history.cost_minor, lifetime * rate),
        rate=_future_rates(history, rate, own),
        basis=np.where(history.has_orders, basis, Basis.PROSPECT).astype(np.int64),
    )


def _organisation_margin(history: HistoryColumns, default_margin: float | None) -> float | None:
    """Margin over everybody whose costs are recorded, else the declared one, else `None`."""
    revenue = int(history.revenue_minor[history.cost_known].sum())
    if revenue <= 0:
        return default_margin
    return (revenue - int(history.cost_minor[history.cost_known].sum())) / revenue


def _default_rates(rows_n: int, typical: float | None, category_bp: IntColumn | None) -> FloatArray:
    """Category margin where known, else the organisation's; that of the categories' mean when it has none."""
    if category_bp is None:
        return np.full(rows_n, typical)
    category = category_bp.floats() / BASIS_POINTS
    fallback = typical if typical is not None else float(category[category_bp.known].mean())
    return np.where(category_bp.known, category, fallback)


def _future_rates(history: HistoryColumns, rate: FloatArray, own: np.ndarray) -> FloatArray:
    """Own margin rate shrunk to the default by number of orders, within −1..1."""
    revenue = history.revenue_minor.astype(np.float64)
    seen = np.zeros(revenue.shape)
    np.divide(revenue - history.cost_minor, revenue, out=seen, where=own & (revenue > 0))
    weight = np.where(own & (revenue > 0), history.orders_n, 0).astype(np.float64)
    return np.clip(shrink(seen, weight, rate, MARGIN_SHRINK_ORDERS), -1.0, 1.0)
