"""Pareto/NBD, for comparison: customers buy at a rate λ ~ Gamma(r, α) until they leave at a rate μ ~ Gamma(s, β).

The likelihood integrates over the unknown day of leaving. Fixed Gauss–Legendre nodes replace the usual
hypergeometric functions: every history is then a mixture of "still active" and "left at node k", and first and
second derivatives follow from the shares of its parts. *Source*: Schmittlein, Morrison, Colombo (1987); R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray
from backend.domain.newton import Curve, maximise, standard_errors
from backend.domain.purchase import (
    SAMPLE_MAX,
    Cells,
    FitStatus,
    PurchaseHistory,
    TimeUnit,
    pack_cells,
)

NODES_N = 48
NODE_SHIFT_WEEKS = 5.0
START_WEEKS = (1.0, 10.0, 1.0, 10.0)


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
    """Fit by maximum likelihood on at most `sample_max` customers; `NOT_CONVERGED` where there is no maximum."""
    packed = _Packed.of(pack_cells(history, unit, sample_max), unit)
    scale = np.array([1.0, 7.0 / unit.days, 1.0, 7.0 / unit.days])
    found = maximise(lambda theta: _curve(packed, theta), np.log(np.array(START_WEEKS) * scale))
    r, alpha, s, beta = (float(value) for value in np.exp(found.at))
    errors = np.exp(found.at) * standard_errors(found.hessian)
    return ParetoFit(
        unit=unit,
        r=r,
        alpha=alpha,
        s=s,
        beta=beta,
        log_likelihood=found.value,
        standard_errors=(float(errors[0]), float(errors[1]), float(errors[2]), float(errors[3])),
        status=FitStatus.CONVERGED if found.converged else FitStatus.NOT_CONVERGED,
        customers_n=int(packed.weight.sum()),
    )


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


def _curve(packed: _Packed, theta: FloatArray) -> Curve:
    """Log-likelihood, gradient and Hessian in the logarithms of (r, α, s, β)."""
    r, alpha, s, beta = (float(value) for value in np.exp(theta))
    weight, rows_n = packed.weight, float(packed.weight.sum())
    rate = (r + packed.x)[:, None]
    left = np.ones(packed.at.shape[1])
    left[-1] = 0.0
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
