"""Money still to come: expected purchases × expected spend × margin, in blocks so that memory stays bounded."""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray, IntColumn
from backend.domain.calibration import Calibration, purchase_history
from backend.domain.history import QUARTER_DAYS, HistoryColumns
from backend.domain.potential import Potential
from backend.domain.purchase_forecast import forecast_cells
from backend.domain.spend import expected_spend
from backend.domain.value import PERIODS_MAX, ValueInputs, lifetime_value, pattern_gain

BLOCK_ROWS = 65_536
NEAR_QUARTERS = 2
CHURN_QUARTERS = 4
QUARTERS_PER_YEAR = 4.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """(n,) each: `value_at_stake_minor`: expected margin of the next two quarters, not known for prospects;
    `future_minor`: V_future; `quarters_n`: quarters looked ahead; `expected_orders_milli`: orders × 1,000
    expected in the next two quarters, not known for prospects.
    """

    value_at_stake_minor: IntColumn
    future_minor: IntColumn
    quarters_n: IntArray
    expected_orders_milli: IntColumn


def forecast(
    history: HistoryColumns,
    *,
    alive: FloatArray,
    margin_rate: FloatArray,
    potential: Potential,
    calibration: Calibration,
    as_of_day: int,
    discount: float,
    capture_share: float,
    ramp_quarters: int,
    visit_cost_minor: int,
) -> Forecast:
    """Apply the models to every customer.

    `alive`: (n,) P(alive), 0 for prospects; `margin_rate`: (n,); `discount` per quarter. A prospect's
    value is what reaching its peers would bring, and nothing else. *Source*: R22, R50.
    """
    rows_n, buyers = len(history), history.has_orders
    quarters = tuple(QUARTER_DAYS * j for j in range(1, PERIODS_MAX + 1))
    cells = forecast_cells(calibration.purchase, purchase_history(history, as_of_day, buyers), quarters)
    cell = np.full(rows_n, cells.per_cell.shape[0], dtype=np.int64)
    cell[buyers] = cells.index
    per_cell = np.concatenate([cells.per_cell, np.zeros((1, PERIODS_MAX))]) * calibration.level
    churn_of_cell = churn_per_quarter(per_cell)
    mean = history.revenue_minor / np.maximum(history.orders_n, 1)
    margin = expected_spend(calibration.spend, mean, history.orders_n) * margin_rate
    future, periods_n = np.zeros(rows_n), np.zeros(rows_n, dtype=np.int64)
    for start in range(0, rows_n, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        churn = churn_of_cell[cell[rows]]
        gain = pattern_reached(
            potential.parts_minor[rows, 0] / QUARTERS_PER_YEAR,
            potential.peers_n[rows],
            margin_rate=margin_rate[rows],
            churn=churn,
            capture_share=capture_share,
            ramp_quarters=ramp_quarters,
            visit_cost=float(visit_cost_minor),
        )
        found = lifetime_value(
            ValueInputs(
                contribution=np.zeros((churn.size, 0)),
                churn=churn,
                rate=discount,
                expected_purchases=alive[rows, None] * per_cell[cell[rows]],
                margin_per_purchase=margin[rows],
                gain=gain,
            )
        )
        future[rows], periods_n[rows] = found.future, found.periods_n
    near = np.where(buyers, alive * per_cell[cell, NEAR_QUARTERS - 1], np.nan)
    return Forecast(
        value_at_stake_minor=IntColumn.rounded(near * margin),
        future_minor=IntColumn.rounded(future),
        quarters_n=periods_n,
        expected_orders_milli=IntColumn.rounded(near, 1000.0),
    )


def churn_per_quarter(cumulative: FloatArray) -> FloatArray:
    """(c,) how fast expected purchases fade per quarter, over the first year; .5 where nothing is expected.

    `cumulative`: (c, h ≥ 4) expected purchases until each quarter's end.
    """
    first = cumulative[:, 0]
    fourth = cumulative[:, CHURN_QUARTERS - 1] - cumulative[:, CHURN_QUARTERS - 2]
    kept = np.full(first.shape, 0.5 ** (CHURN_QUARTERS - 1))
    np.divide(np.maximum(fourth, 0.0), first, out=kept, where=first > 0)
    return np.clip(1.0 - kept ** (1.0 / (CHURN_QUARTERS - 1)), 0.0, 1.0)


def pattern_reached(
    gap_quarter: FloatArray,
    peers_n: IntArray,
    *,
    margin_rate: FloatArray,
    churn: FloatArray,
    capture_share: float,
    ramp_quarters: int,
    visit_cost: float,
) -> FloatArray:
    """(n, `PERIODS_MAX`) p(j): a linear ramp to the captured share of the gap to the peers, one visit's cost per
    quarter of the ramp.

    `gap_quarter`: (n,) revenue per quarter missing to the peers' frontier. A ramp that does not pay for itself is not
    begun: 0.
    """
    ahead = np.arange(1, PERIODS_MAX + 1, dtype=np.float64)
    gain = pattern_gain(
        gap_quarter,
        np.zeros_like(gap_quarter),
        peers_n,
        ramp=capture_share * np.minimum(1.0, ahead / max(ramp_quarters, 1)),
        survival=(1.0 - churn[:, None]) ** ahead,
        margin=margin_rate,
        ramp_cost=np.where(ahead <= ramp_quarters, visit_cost, 0.0),
    )
    return np.where((gain.sum(axis=1) > 0)[:, None], gain, 0.0)
