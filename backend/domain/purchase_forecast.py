"""What a fitted purchase model expects: purchases still to come, and how many in a given time.

Everything that depends on (x, T) only is computed once per distinct pair and handed out to the customers.
*Source*: Fader, Hardie, Lee (2005), eq. 8–10; Batislam et al. (2007); R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.purchase import PurchaseFit, PurchaseHistory, alive_probability

SERIES_TERMS_MAX = 4_000
SERIES_ENOUGH = 1e-13
DENSE_CELLS_MAX = 1 << 24


@dataclass(frozen=True, slots=True)
class CellForecast:
    """Expected purchases of *active* customers per distinct (x, T).

    `per_cell`: (c, h) until each horizon; `index`: (n,) the customer's cell.
    """

    per_cell: FloatArray
    index: IntArray


def forecast_cells(fit: PurchaseFit, history: PurchaseHistory, horizons_days: tuple[int, ...]) -> CellForecast:
    """Compute the expectation once per distinct (x, T). Horizons in days ≥ 0, whatever the model's unit."""
    if len(history.repeats_n) == 0:
        return CellForecast(np.zeros((0, len(horizons_days))), np.zeros(0, dtype=np.int64))
    x, observed, index = _distinct(history.repeats_n, history.observed_days)
    columns = [
        expected_while_alive(
            fit.r + x,
            fit.alpha + observed / float(fit.unit.days),
            fit.a,
            fit.b + x + float(fit.model),
            days / float(fit.unit.days),
        )
        for days in horizons_days
    ]
    return CellForecast(np.stack(columns, axis=1), index)


def expected_purchases(fit: PurchaseFit, history: PurchaseHistory, horizons_days: tuple[int, ...]) -> FloatArray:
    """(n, h) purchases expected from now until each horizon, given each customer's history.

    Survival is already inside.
    """
    cells = forecast_cells(fit, history, horizons_days)
    return np.asarray(alive_probability(fit, history)[:, None] * cells.per_cell[cells.index], dtype=np.float64)


def expected_of_new(fit: PurchaseFit, horizon_days: int) -> float:
    """Repeat purchases E[X(t)] of a customer just acquired."""
    one = np.ones(1)
    until = horizon_days / float(fit.unit.days)
    alive = fit.b / (fit.a + fit.b) if fit.model else 1.0
    return alive * float(expected_while_alive(fit.r * one, fit.alpha * one, fit.a, (fit.b + fit.model) * one, until)[0])


def expected_while_alive(rate: FloatArray, scale: FloatArray, a: float, b: FloatArray, until: float) -> FloatArray:
    """Purchases until `until` of customers known to be active, λ ~ Gamma(rate, scale), p ~ Beta(a, b).

    The closed form is (a+b−1)/(a−1)·[1 − (scale/(scale+t))^rate ₂F₁(rate, b; a+b−1; t/(scale+t))]. Euler's
    transformation turns it into (1−z)^(a−1)·₂F₁(a+b−1−rate, a−1; a+b−1; z), whose terms fall faster, and from
    which the factor a−1 cancels: a → 1 is no singularity, and neither is a+b → 1.
    """
    z = until / (scale + until)
    order, excess = a + b - 1.0, a - 1.0
    stays_log = np.log1p(-z)
    first = -stays_log if excess == 0.0 else -np.expm1(excess * stays_log) / excess
    return np.asarray(order * first - np.exp(excess * stays_log) * _series(order - rate, a, order, z))


def count_probability(fit: PurchaseFit, count_n: int, horizon_days: int) -> float:
    """P(X(t) = n) of a customer just acquired: n repeat purchases within the horizon."""
    until = horizon_days / float(fit.unit.days)
    steps = np.arange(count_n, dtype=np.float64)
    reach = np.log(until / (fit.alpha + until)) if until > 0 else -np.inf
    jumps = np.log((fit.r + steps) / (steps + 1.0)) + reach
    counting = np.exp(fit.r * np.log(fit.alpha / (fit.alpha + until)) + np.r_[0.0, np.cumsum(jumps)])
    tries = np.arange(count_n + int(fit.model), dtype=np.float64)
    survived = float(np.exp(np.sum(np.log(fit.b + tries) - np.log(fit.a + fit.b + tries))))
    active = survived * float(counting[-1])
    if tries.size == 0:
        return active
    gone = survived * fit.a / (fit.b + tries.size - 1.0)
    return active + gone * max(0.0, 1.0 - float(counting[:-1].sum()))


def _distinct(repeats_n: IntArray, observed_days: IntArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Distinct (x, T) pairs as floats, and each customer's index among them."""
    width = int(observed_days.max()) + 1
    key = repeats_n * width + observed_days
    top = int(key.max()) + 1
    if top <= DENSE_CELLS_MAX:
        # A table of flags is several times faster than sorting a million keys.
        flags = np.zeros(top, dtype=np.bool_)
        flags[key] = True
        cell = np.flatnonzero(flags)
        place = np.cumsum(flags, dtype=np.int64) - 1
        index = place[key]
    else:
        cell, index = np.unique(key, return_inverse=True)
    return (cell // width).astype(np.float64), (cell % width).astype(np.float64), index


def _series(upper: FloatArray, a: float, order: FloatArray, z: FloatArray) -> FloatArray:
    """Σ_{k≥1} (upper)_k (a)_{k−1} / ((order+1)_{k−1} k!) z^k, summed until the terms no longer count."""
    term = upper * z
    total = term.copy()
    for k in range(1, SERIES_TERMS_MAX):
        term = term * ((upper + k) * ((a + k - 1.0) / (k + 1.0)) / (order + k)) * z
        total += term
        if k % 8 == 0 and np.all(np.abs(term) <= SERIES_ENOUGH * (1.0 - z) * np.maximum(np.abs(total), 1e-12)):
            break
    return total
