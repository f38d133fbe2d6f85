"""NBD, for comparison: customers buy at a rate λ ~ Gamma(r, α) and never leave.

What a model with leaving must beat. *Source*: Ehrenberg (1959); R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray
from backend.domain.newton import Curve, maximise, standard_errors, with_prior
from backend.domain.purchase import (
    ENOUGH_CUSTOMERS_N,
    ENOUGH_REPEATS_N,
    PLAUSIBLE_LOG_DISTANCE,
    PRIOR_LOG_SD,
    SAMPLE_MAX,
    Cells,
    FitStatus,
    PurchaseHistory,
    TimeUnit,
    check_history,
    pack_cells,
)
from backend.domain.special import log_gamma

SHIPPED_WEEKS = (1.2, 10.0)
"""(r, α) in weeks for organisations with too little history: about six orders a year. An assumption, flagged."""


@dataclass(frozen=True, slots=True)
class NbdFit:
    """Fitted (r, α) with their unit of time; see `PurchaseFit` for the other fields.

    `log_likelihood`: of when everybody bought, so that it compares with the models in which customers leave.
    """

    unit: TimeUnit
    r: float
    alpha: float
    log_likelihood: float
    standard_errors: tuple[float, float]
    status: FitStatus
    customers_n: int


def fit_nbd(history: PurchaseHistory, *, unit: TimeUnit = TimeUnit.WEEK, sample_max: int = SAMPLE_MAX) -> NbdFit:
    """Fit by maximum likelihood on at most `sample_max` customers; statuses as `fit_purchase`, and *raises* as it."""
    check_history(history)
    cells = pack_cells(history, unit, sample_max)
    centre = np.log(np.array(SHIPPED_WEEKS) * np.array([1.0, 7.0 / unit.days]))
    customers_n = int(cells.weight.sum())
    if len(history.repeats_n) < ENOUGH_CUSTOMERS_N or int(history.repeats_n.sum()) < ENOUGH_REPEATS_N:
        return _fit(unit, centre, _curve(cells, centre)[0], np.full(2, np.nan), FitStatus.SHIPPED_PRIOR, customers_n)
    found = maximise(lambda theta: _curve(cells, theta), centre)
    status = FitStatus.CONVERGED
    if not found.converged or (np.abs(found.at - centre) > PLAUSIBLE_LOG_DISTANCE).any():
        found = maximise(lambda theta: with_prior(_curve(cells, theta), theta, centre, PRIOR_LOG_SD), centre)
        status = FitStatus.REGULARISED if found.converged else FitStatus.NOT_CONVERGED
    errors = standard_errors(found.hessian)
    return _fit(unit, found.at, _curve(cells, found.at)[0], errors, status, customers_n)


def nbd_expected(fit: NbdFit, history: PurchaseHistory, horizons_days: tuple[int, ...]) -> FloatArray:
    """(n, h) purchases expected from now until each horizon: the rate seen, drawn to everybody's."""
    days = float(fit.unit.days)
    rate = (fit.r + history.repeats_n) / (fit.alpha + history.observed_days / days)
    return np.asarray(rate[:, None] * (np.array(horizons_days) / days), dtype=np.float64)


def nbd_count_probability(fit: NbdFit, count_n: int, horizon_days: int) -> float:
    """P(X(t) = n) of a customer of whom nothing is known yet."""
    until = horizon_days / float(fit.unit.days)
    if until <= 0.0:
        return float(count_n == 0)
    gamma = log_gamma(np.array([fit.r + count_n, fit.r, count_n + 1.0]))
    odds = fit.r * np.log(fit.alpha / (fit.alpha + until)) + count_n * np.log(until / (fit.alpha + until))
    return float(np.exp(gamma[0] - gamma[1] - gamma[2] + odds))


def _fit(
    unit: TimeUnit, at: FloatArray, value: float, log_errors: FloatArray, status: FitStatus, customers_n: int
) -> NbdFit:
    r, alpha = (float(one) for one in np.exp(at))
    errors = np.exp(at) * log_errors
    return NbdFit(unit, r, alpha, value, (float(errors[0]), float(errors[1])), status, customers_n)


def _curve(cells: Cells, theta: FloatArray) -> Curve:
    """Log-likelihood, gradient and Hessian in the logarithms of (r, α)."""
    r, alpha = (float(one) for one in np.exp(theta))
    weight, rows_n, end = cells.weight, float(cells.weight.sum()), alpha + cells.horizon
    most = int(cells.x.max()) if cells.x.size else 0
    per_count = np.bincount(cells.x.astype(np.int64), weight, minlength=most + 1)
    tail, of_r = np.cumsum(per_count[::-1])[::-1][1 : most + 1], r + np.arange(most, dtype=np.float64)
    rate = r + cells.x
    value = tail @ np.log(of_r) + rows_n * r * theta[1] - weight @ (rate * np.log(end))
    gradient = np.array(
        [
            tail @ (1.0 / of_r) + rows_n * theta[1] - weight @ np.log(end),
            rows_n * r / alpha - weight @ (rate / end),
        ]
    )
    cross = rows_n / alpha - float(weight @ (1.0 / end))
    hessian = np.array(
        [
            [-(tail @ (1.0 / of_r**2)), cross],
            [cross, float(weight @ (rate / end**2)) - rows_n * r / alpha**2],
        ]
    )
    scale = np.exp(theta)
    return float(value), gradient * scale, hessian * np.outer(scale, scale) + np.diag(gradient * scale)
