"""Pareto/NBD, for comparison: customers buy at a rate λ ~ Gamma(r, α) until they leave at a rate μ ~ Gamma(s, β).

The likelihood integrates over the unknown day of leaving. Fixed Gauss–Legendre nodes replace the usual
hypergeometric functions: every history is then a mixture of "still active" and "left at node k", and first and
second derivatives follow from the shares of its parts. *Source*: Schmittlein, Morrison, Colombo (1987); R50.
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

NODES_N = 48
NODE_SHIFT_WEEKS = 5.0
START_WEEKS = (1.0, 10.0, 1.0, 50.0)
"""(r, α, s, β) in weeks where the climb begins and what a weak prior is centred on; used as they are, and flagged,
for organisations with too little history: five orders a year, gone after a year in the mean. An assumption."""


@dataclass(frozen=True, slots=True)
class ParetoFit:
    """Fitted (r, α, s, β) with their unit of time; see `PurchaseFit` for the other fields."""

    unit: TimeUnit
    r: float
    alpha: float
    s: float
    beta: float
    log_likelihood: float
    standard_errors: tuple[float, float, float, float]
    status: FitStatus
    customers_n: int


def fit_pareto(history: PurchaseHistory, *, unit: TimeUnit = TimeUnit.WEEK, sample_max: int = SAMPLE_MAX) -> ParetoFit:
    """Fit by maximum likelihood on at most `sample_max` customers; statuses as `fit_purchase`, and *raises* as it."""
    check_history(history)
    packed = _Packed.of(pack_cells(history, unit, sample_max), unit)
    centre = np.log(np.array(START_WEEKS) * np.array([1.0, 7.0 / unit.days, 1.0, 7.0 / unit.days]))
    customers_n = int(packed.weight.sum())
    if len(history.repeats_n) < ENOUGH_CUSTOMERS_N or int(history.repeats_n.sum()) < ENOUGH_REPEATS_N:
        return _fit(unit, centre, _curve(packed, centre)[0], np.full(4, np.nan), FitStatus.SHIPPED_PRIOR, customers_n)
    found = maximise(lambda theta: _curve(packed, theta), centre)
    status = FitStatus.CONVERGED
    if not found.converged or (np.abs(found.at - centre) > PLAUSIBLE_LOG_DISTANCE).any():
        found = maximise(lambda theta: with_prior(_curve(packed, theta), theta, centre, PRIOR_LOG_SD), centre)
        status = FitStatus.REGULARISED if found.converged else FitStatus.NOT_CONVERGED
    errors = standard_errors(found.hessian)
    return _fit(unit, found.at, _curve(packed, found.at)[0], errors, status, customers_n)


def _fit(
    unit: TimeUnit, at: FloatArray, value: float, log_errors: FloatArray, status: FitStatus, customers_n: int
) -> ParetoFit:
    r, alpha, s, beta = (float(one) for one in np.exp(at))
    errors = np.exp(at) * log_errors
    return ParetoFit(
        unit=unit,
        r=r,
        alpha=alpha,
        s=s,
        beta=beta,
        log_likelihood=value,
        standard_errors=(float(errors[0]), float(errors[1]), float(errors[2]), float(errors[3])),
        status=status,
        customers_n=customers_n,
    )


def pareto_alive(fit: ParetoFit, history: PurchaseHistory) -> FloatArray:
    """(n,) probability 0..1 that a customer with this history still buys."""
    key = (history.repeats_n << 42) | (history.last_repeat_days << 21) | history.observed_days
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    days = float(fit.unit.days)
    cells = Cells(
        history.repeats_n[first].astype(np.float64),
        history.last_repeat_days[first] / days,
        history.observed_days[first] / days,
        np.ones(first.size),
    )
    packed = _Packed.of(cells, fit.unit)
    parts = _parts(packed, fit.r, fit.alpha, fit.s, fit.beta)
    share = np.exp(parts - parts.max(axis=1, keepdims=True))
    return np.asarray((share[:, -1] / share.sum(axis=1))[index], dtype=np.float64)


def pareto_expected(fit: ParetoFit, history: PurchaseHistory, horizons_days: tuple[int, ...]) -> FloatArray:
    """(n, h) purchases expected from now until each horizon, given each customer's history."""
    days = float(fit.unit.days)
    end = history.observed_days / days
    rate = pareto_alive(fit, history) * (fit.r + history.repeats_n) / (fit.alpha + end)
    columns = [rate * _active_time(fit, fit.beta + end, horizon / days) for horizon in horizons_days]
    return np.stack(columns, axis=1) if columns else np.zeros((end.size, 0))


def pareto_expected_of_new(fit: ParetoFit, horizon_days: int) -> float:
    """Repeat purchases E[X(t)] of a customer just acquired."""
    until = horizon_days / float(fit.unit.days)
    return fit.r / fit.alpha * float(_active_time(fit, np.array([fit.beta]), until)[0])


def _active_time(fit: ParetoFit, scale: FloatArray, until: float) -> FloatArray:
    """(n,) mean time an active customer stays active until `until`; s = 1 is no singularity."""
    stays_log, excess = np.log(scale / (scale + until)), fit.s - 1.0
    share = -stays_log if excess == 0.0 else -np.expm1(excess * stays_log) / excess
    return np.asarray(scale * share, dtype=np.float64)


def pareto_log_likelihood(cells: Cells, unit: TimeUnit, r: float, alpha: float, s: float, beta: float) -> float:
    """Log-likelihood of the cells, in the unit of time of cells, α and β."""
    return _curve(_Packed.of(cells, unit), np.log(np.array([r, alpha, s, beta])))[0]


@dataclass(frozen=True, slots=True)
class _Packed:
    """Cells with the days at which a customer may have left: (c, k+1), the last column is T, still active."""

    x: FloatArray
    weight: FloatArray
    at: FloatArray
    log_width: FloatArray
    steps: FloatArray
    tail: FloatArray

    @classmethod
    def of(cls, cells: Cells, unit: TimeUnit) -> "_Packed":
        shift = NODE_SHIFT_WEEKS * 7.0 / unit.days
        place, width = np.polynomial.legendre.leggauss(NODES_N)
        start, end = np.log(cells.t + shift), np.log(cells.horizon + shift)
        half = (end - start) / 2.0
        nodes = np.exp(start[:, None] + half[:, None] * (place + 1.0))
        measure = half[:, None] * width * nodes
        log_width = np.full(measure.shape, -np.inf)
        np.log(measure, out=log_width, where=measure > 0)
        most = int(cells.x.max()) if cells.x.size else 0
        per_count = np.bincount(cells.x.astype(np.int64), cells.weight, minlength=most + 1)
        return cls(
            x=cells.x,
            weight=cells.weight,
            at=np.concatenate([nodes - shift, cells.horizon[:, None]], axis=1),
            log_width=np.concatenate([log_width, np.zeros((cells.x.size, 1))], axis=1),
            steps=np.arange(most, dtype=np.float64),
            tail=np.cumsum(per_count[::-1])[::-1][1 : most + 1].astype(np.float64),
        )


def _left(packed: _Packed) -> FloatArray:
    """(k+1,) 1 where a part means the customer left, 0 for the last, which means active at T."""
    left = np.ones(packed.at.shape[1])
    left[-1] = 0.0
    return left


def _parts(packed: _Packed, r: float, alpha: float, s: float, beta: float) -> FloatArray:
    """(c, k+1) logarithms of the parts of each history, up to what is common to them."""
    left = _left(packed)
    rate = (r + packed.x)[:, None]
    return np.asarray(
        packed.log_width + left * np.log(s) - rate * np.log(alpha + packed.at) - (s + left) * np.log(beta + packed.at),
        dtype=np.float64,
    )


def _curve(packed: _Packed, theta: FloatArray) -> Curve:
    """Log-likelihood, gradient and Hessian in the logarithms of (r, α, s, β)."""
    r, alpha, s, beta = (float(value) for value in np.exp(theta))
    weight, rows_n = packed.weight, float(packed.weight.sum())
    rate = (r + packed.x)[:, None]
    left = _left(packed)
    log_a, log_b = np.log(alpha + packed.at), np.log(beta + packed.at)
    inverse_a, inverse_b = 1.0 / (alpha + packed.at), 1.0 / (beta + packed.at)
    parts = packed.log_width + left * theta[2] - rate * log_a - (s + left) * log_b
    top = parts.max(axis=1, keepdims=True)
    share = np.exp(parts - top)
    total = share.sum(axis=1, keepdims=True)
    share /= total
    slopes = np.stack([-log_a, -rate * inverse_a, left / s - log_b, -(s + left) * inverse_b])
    mean = (share * slopes).sum(axis=2)
    weighted = share * weight[:, None]
    own = np.array(
        [
            packed.tail @ (1.0 / (r + packed.steps)) + rows_n * theta[1],
            rows_n * r / alpha,
            rows_n * theta[3],
            rows_n * s / beta,
        ]
    )
    gradient = mean @ weight + own
    hessian = np.einsum("ick,jck,ck->ij", slopes, slopes, weighted) - (mean * weight) @ mean.T
    hessian[0, 0] -= packed.tail @ (1.0 / (r + packed.steps) ** 2)
    hessian[1, 1] += (weighted * rate * inverse_a**2).sum() - rows_n * r / alpha**2
    hessian[2, 2] -= (weighted * left).sum() / s**2
    hessian[3, 3] += (weighted * (s + left) * inverse_b**2).sum() - rows_n * s / beta**2
    for one, other, cross in (
        (0, 1, rows_n / alpha - (weighted * inverse_a).sum()),
        (2, 3, rows_n / beta - (weighted * inverse_b).sum()),
    ):
        hessian[one, other] += cross
        hessian[other, one] += cross
    value = float(
        weight @ (top + np.log(total))[:, 0]
        + packed.tail @ np.log(r + packed.steps)
        + rows_n * (r * theta[1] + s * theta[3])
    )
    scale = np.exp(theta)
    return value, gradient * scale, hessian * np.outer(scale, scale) + np.diag(gradient * scale)
