"""What a fitted purchase model expects: purchases still to come, and how many in a given time.

Everything that depends on (x, T) only is computed once per distinct pair and handed out to the customers.
*Source*: Fader, Hardie, Lee (2005), eq. 8–10; Batislam et al. (2007); R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.condensed import expected_by_beat
from backend.domain.purchase import Model, PurchaseFit, PurchaseHistory, active_shares, alive_probability

SERIES_TERMS_MAX = 4_000
SERIES_ENOUGH = 1e-13
DENSE_CELLS_MAX = 1 << 24
FEW_CELLS = 4_096
BLOCK_CELLS = 65_536


@dataclass(frozen=True, slots=True)
class CellForecast:
    """Expected purchases of *active* customers per distinct (x, T), of CNBD-k per distinct (x, t_x, T).

    `per_cell`: (c, h) until each horizon; `index`: (n,) the customer's cell.
    """

    per_cell: FloatArray
    index: IntArray


def forecast_cells(fit: PurchaseFit, history: PurchaseHistory, horizons_days: tuple[int, ...]) -> CellForecast:
    """Compute the expectation once per distinct (x, T). Horizons in days ≥ 0, whatever the model's unit."""
    if len(history.repeats_n) == 0:
        return CellForecast(np.zeros((0, len(horizons_days))), np.zeros(0, dtype=np.int64))
    if fit.regularity > 1:
        return _condensed_cells(fit, history, horizons_days)
    x, observed, index = _distinct(history.repeats_n, history.observed_days)
    rate, scale, leaves = fit.r + x, fit.alpha + observed / float(fit.unit.days), fit.b + x + float(fit.model)
    until = np.array(horizons_days) / float(fit.unit.days)
    if x.size * until.size <= FEW_CELLS:
        # For few customers the passes over small columns are what costs: all horizons go in one.
        at_once = [np.repeat(column, until.size) for column in (rate, scale, leaves)]
        found = expected_while_alive(at_once[0], at_once[1], fit.a, at_once[2], np.tile(until, x.size))
        return CellForecast(found.reshape(x.size, until.size), index)
    columns = [expected_while_alive(rate, scale, fit.a, leaves, float(end)) for end in until]
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
    if fit.regularity > 1:
        begun = expected_by_beat(
            fit.regularity, fit.r * one, fit.alpha * one, fit.a, (fit.b + 1.0) * one, np.array([until])
        )
        return alive * float(begun[0, 0, 0])
    return alive * float(expected_while_alive(fit.r * one, fit.alpha * one, fit.a, (fit.b + fit.model) * one, until)[0])


def expected_while_alive(
    rate: FloatArray, scale: FloatArray, a: float, b: FloatArray, until: float | FloatArray
) -> FloatArray:
    """Purchases until `until` (one, or one each) of active customers, λ ~ Gamma(rate, scale), p ~ Beta(a, b).

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
    # beats 0 … k·n + k − 1: from k·n on the n-th purchase was made and the next was not
    steps = np.arange(fit.regularity * (count_n + 1) - 1, dtype=np.float64)
    reach = np.log(until / (fit.alpha + until)) if until > 0 else -np.inf
    jumps = np.log((fit.r + steps) / (steps + 1.0)) + reach
    counting = np.exp(fit.r * np.log(fit.alpha / (fit.alpha + until)) + np.r_[0.0, np.cumsum(jumps)])
    tries = np.arange(count_n + int(fit.model), dtype=np.float64)
    survived = float(np.exp(np.sum(np.log(fit.b + tries) - np.log(fit.a + fit.b + tries))))
    before = float(counting[: fit.regularity * count_n].sum())
    active = survived * (float(counting.sum()) - before)
    if tries.size == 0:
        return active
    gone = survived * fit.a / (fit.b + tries.size - 1.0)
    return active + gone * max(0.0, 1.0 - before)


def quiet_probability(fit: PurchaseFit, history: PurchaseHistory, horizon_days: int) -> FloatArray:
    """(n,) chance 0..1 of no purchase within the horizon, whether the customer is gone or only waits.

    The chance of a history that goes on in silence over the chance of the history itself.
    """
    if history.repeats_n.size == 0:
        return np.zeros(0)
    longer = PurchaseHistory(history.repeats_n, history.last_repeat_days, history.observed_days + horizon_days)
    if fit.model is Model.MBG_NBD:
        chance = active_shares(fit, longer)[1] - active_shares(fit, history)[1]
        return np.asarray(np.exp(np.minimum(chance, 0.0)), dtype=np.float64)
    days, rate = float(fit.unit.days), fit.r + history.repeats_n
    end, later = fit.alpha + history.observed_days / days, fit.alpha + longer.observed_days / days
    alive = alive_probability(fit, history)
    return np.asarray(1.0 - alive + alive * np.exp(rate * np.log(end / later)), dtype=np.float64)


def _condensed_cells(fit: PurchaseFit, history: PurchaseHistory, horizons_days: tuple[int, ...]) -> CellForecast:
    """Per distinct (x, T) and beat what an active customer will buy; per distinct history the beats it may be in."""
    key = (history.repeats_n << 42) | (history.last_repeat_days << 21) | history.observed_days
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    one = PurchaseHistory(history.repeats_n[first], history.last_repeat_days[first], history.observed_days[first])
    days = float(fit.unit.days)
    x, observed, pair = _distinct(one.repeats_n, one.observed_days)
    ahead = expected_by_beat(
        fit.regularity,
        fit.r + fit.regularity * x,
        fit.alpha + observed / days,
        fit.a,
        fit.b + x + 1.0,
        np.array(horizons_days) / days,
    )
    per_cell = np.empty((one.repeats_n.size, len(horizons_days)))
    # in blocks: beats × horizons of a million distinct histories would be gigabytes
    for start in range(0, per_cell.shape[0], BLOCK_CELLS):
        rows = slice(start, start + BLOCK_CELLS)
        some = PurchaseHistory(one.repeats_n[rows], one.last_repeat_days[rows], one.observed_days[rows])
        active = active_shares(fit, some)[0][:, 1:]
        beats = active / np.maximum(active.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        per_cell[rows] = np.einsum("cj,cjh->ch", beats, ahead[pair[rows]])
    return CellForecast(per_cell, index)


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
