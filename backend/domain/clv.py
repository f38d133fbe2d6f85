"""Lifetime value of every customer by a method the caller chooses: whole minor units in, whole minor units out.

*Source*: R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray, IntColumn
from backend.domain.calibration import Calibration, purchase_history
from backend.domain.forecast import churn_per_quarter
from backend.domain.history import QUARTER_DAYS, HistoryColumns
from backend.domain.margin import contribution_of
from backend.domain.purchase import alive_probability
from backend.domain.purchase_forecast import forecast_cells
from backend.domain.spend import expected_spend
from backend.domain.value import (
    PERIODS_MAX,
    ChurnForm,
    Method,
    ValueInputs,
    lifetime_value,
    past_value,
    rate_per_period,
)


@dataclass(frozen=True, slots=True)
class ClvParameters:
    """What was asked for, echoed in the answer. Rates per year; periods are quarters of 91 days."""

    method: Method = Method.PROBABILISTIC
    discount_yearly: float = 0.10
    compound_past_yearly: float = 0.0
    default_margin: float | None = None
    churn_form: ChurnForm = ChurnForm.SURVIVAL
    damping: float = 1.0


@dataclass(frozen=True, slots=True)
class ClvColumns:
    """(n,) each: value of the past and the future in minor units, quarters looked ahead, churn per quarter in
    basis points (not known for prospects), and `Basis` codes. CLV = past + future.
    """

    asked: ClvParameters
    past_minor: IntColumn
    future_minor: IntColumn
    quarters_n: IntArray
    churn_bp: IntColumn
    basis: IntArray


def clv(
    history: HistoryColumns, *, calibration: Calibration, as_of_day: int, asked: ClvParameters | None = None
) -> ClvColumns:
    """Value every customer by one method.

    The regression and inverse-churn methods look at the quarters since each customer's first order only:
    quarters before it are no zeros. Prospects are worth 0 here; what they could become is in the score.
    *Raises* `OUT_OF_RANGE` for an impossible rate.
    """
    wish = asked or ClvParameters()
    contribution = contribution_of(history, wish.default_margin)
    expected, churn = _expectation(history, calibration, as_of_day)
    mean = history.revenue_minor / np.maximum(history.orders_n, 1)
    margin = expected_spend(calibration.spend, mean, history.orders_n) * contribution.rate
    past, future = np.zeros(len(history)), np.zeros(len(history))
    quarters_n = np.zeros(len(history), dtype=np.int64)
    rate, rate_old = rate_per_period(wish.discount_yearly, 4), rate_per_period(wish.compound_past_yearly, 4)
    lived = np.minimum((as_of_day - history.first_day) // QUARTER_DAYS + 1, contribution.quarters.shape[1])
    lived = np.where(history.has_orders, lived, 0)
    for quarters in np.unique(lived).tolist():
        rows = lived == quarters
        found = lifetime_value(
            ValueInputs(
                contribution=contribution.quarters[rows, contribution.quarters.shape[1] - quarters :],
                churn=churn[rows],
                rate=rate,
                rate_old=rate_old,
                expected_purchases=expected[rows],
                margin_per_purchase=margin[rows],
                churn_form=wish.churn_form,
                damping=wish.damping,
            ),
            wish.method,
        )
        past[rows], future[rows], quarters_n[rows] = found.past, found.future, found.periods_n
    if wish.method is not Method.BASIC:
        # What is older than the quarters kept belongs to the past as well, at the age of the oldest quarter.
        older = contribution.total - past_value(contribution.quarters)
        past += older * (1.0 + rate_old) ** (contribution.quarters.shape[1] - 1)
    future = np.where(history.has_orders, future, 0.0)
    return ClvColumns(
        asked=wish,
        past_minor=IntColumn.rounded(past),
        future_minor=IntColumn.rounded(future),
        quarters_n=np.where(history.has_orders, quarters_n, 0),
        churn_bp=IntColumn.rounded(np.where(history.has_orders, churn, np.nan), 10_000.0),
        basis=contribution.basis,
    )


def _expectation(history: HistoryColumns, calibration: Calibration, as_of_day: int) -> tuple[FloatArray, FloatArray]:
    """(n, h) purchases expected until each quarter's end, at the measured level, and (n,) churn per quarter."""
    buyers = purchase_history(history, as_of_day, history.has_orders)
    horizons = tuple(QUARTER_DAYS * j for j in range(1, PERIODS_MAX + 1))
    cells = forecast_cells(calibration.purchase, buyers, horizons)
    expected, churn = np.zeros((len(history), PERIODS_MAX)), np.full(len(history), 0.5)
    alive = alive_probability(calibration.purchase, buyers)
    expected[history.has_orders] = calibration.level * alive[:, None] * cells.per_cell[cells.index]
    churn[history.has_orders] = churn_per_quarter(cells.per_cell)[cells.index]
    return expected, churn
