"""What a customer spends per purchase: the Gamma-Gamma model.

A customer's purchases vary around the customer's own mean, and the means vary between customers; how often
someone buys says nothing about how much. Published examples fit the model on repeat purchases (n = x);
here it is fitted on all purchases (n = x + 1), because the first order of a shop is money like any other.
*Source*: Fader, Hardie, "The Gamma-Gamma model of monetary value" (2013); R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.newton import Curve, maximise, standard_errors, with_prior
from backend.domain.purchase import ENOUGH_CUSTOMERS_N, SAMPLE_MAX, FitStatus
from backend.domain.special import digamma, log_gamma, trigamma
from backend.errors import Code, Problem, Refused

SHIPPED = (6.0, 4.0)
"""(p, q) for organisations with too little history; v then follows from their mean spend. An assumption."""
PRIOR_LOG_SD = 1.0
PLAUSIBLE_LOG_DISTANCE = 5.0
Q_MIN = 1.05
"""With q ≤ 1 the mean over customers is infinite: not a finding but a sign of too little data."""


@dataclass(frozen=True, slots=True)
class SpendFit:
    """Fitted parameters; `v` is in the money unit of the means that were fitted, `p` and `q` have none."""

    p: float
    q: float
    v: float
    log_likelihood: float
    standard_errors: tuple[float, float, float]
    status: FitStatus
    customers_n: int


def fit_spend(
    mean_spend: FloatArray,
    purchases_n: IntArray,
    *,
    sample_max: int = SAMPLE_MAX,
    enough_customers_n: int = ENOUGH_CUSTOMERS_N,
) -> SpendFit:
    """Fit by maximum likelihood to customers' mean spend per purchase, in any money unit.

    Rows without a purchase or with a mean ≤ 0 (returns ate it) say nothing about positive spend and are left
    out. Too few rows give the shipped shape at the mean spend seen; a likelihood without a proper maximum
    (everybody spends the same) is held by a weak log-normal prior. See `FitStatus`.
    *Raises* `INVALID_VALUE` for a spend that is no number, `OUT_OF_RANGE` for a count below 0.
    """
    _check(mean_spend, purchases_n)
    used = (purchases_n > 0) & (mean_spend > 0)
    mean, count = _sample(mean_spend[used], purchases_n[used].astype(np.float64), sample_max)
    if int(used.sum()) < enough_customers_n:
        return _shipped(mean)
    # The fit runs on spend in units of its own average, so the unit of money cannot matter.
    unit = float(mean.mean())
    packed = _Packed.of(mean / unit, count)
    centre = np.log(np.array([*SHIPPED, (SHIPPED[1] - 1.0) / SHIPPED[0]]))
    found = maximise(lambda theta: _curve(packed, theta), centre)
    status = FitStatus.CONVERGED
    far = (np.abs(found.at - centre) > PLAUSIBLE_LOG_DISTANCE).any()
    if not found.converged or far or np.exp(found.at[1]) < Q_MIN:
        found = maximise(lambda theta: with_prior(_curve(packed, theta), theta, centre, PRIOR_LOG_SD), centre)
        status = FitStatus.REGULARISED
    at = found.at
    if not found.converged or (np.abs(at - centre) > PLAUSIBLE_LOG_DISTANCE).any():
        # Equal spends have no maximum at all: stop at the edge of what is plausible, with the mean seen.
        at = np.clip(at, centre - PLAUSIBLE_LOG_DISTANCE, centre + PLAUSIBLE_LOG_DISTANCE)
        at[1] = max(at[1], np.log(Q_MIN))
        at[2] = np.log(np.exp(at[1]) - 1.0) - at[0]
    p, q, v = (float(value) for value in np.exp(at))
    errors = np.exp(at) * standard_errors(found.hessian)
    return SpendFit(
        p=p,
        q=max(q, Q_MIN),
        v=v * unit,
        log_likelihood=_curve(packed, at)[0] - mean.size * float(np.log(unit)),
        standard_errors=(float(errors[0]), float(errors[1]), float(errors[2]) * unit),
        status=status,
        customers_n=int(mean.size),
    )


def expected_spend(fit: SpendFit, mean_spend: FloatArray, purchases_n: IntArray) -> FloatArray:
    """(n,) expected spend per purchase E[Z | m, n], in the unit fitted; the population's mean without any.

    A negative own mean (more returned than bought) counts as 0. *Raises* as `fit_spend`.
    """
    _check(mean_spend, purchases_n)
    count = purchases_n.astype(np.float64)
    own = np.where(purchases_n > 0, np.maximum(mean_spend, 0.0), 0.0)
    return np.asarray(fit.p * (fit.v + count * own) / (fit.p * count + fit.q - 1.0), dtype=np.float64)


def _check(mean_spend: FloatArray, purchases_n: IntArray) -> None:
    if mean_spend.shape != purchases_n.shape or not np.isfinite(mean_spend).all():
        raise Refused(Problem(Code.INVALID_VALUE, ("mean_spend",), (f"{purchases_n.size} numbers",)))
    if purchases_n.size and int(purchases_n.min()) < 0:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("purchases_n",), (">= 0",)))


def _sample(mean: FloatArray, count: FloatArray, sample_max: int) -> tuple[FloatArray, FloatArray]:
    """Every k-th customer along the sorted order: deterministic, whatever the rows' sequence."""
    order = np.lexsort((mean, count))[:: max(1, -(-mean.size // sample_max))]
    return mean[order], count[order]


def _shipped(mean: FloatArray) -> SpendFit:
    p, q = SHIPPED
    v = float(mean.mean()) * (q - 1.0) / p if mean.size else 0.0
    nan = float("nan")
    return SpendFit(p, q, v, nan, (nan, nan, nan), FitStatus.SHIPPED_PRIOR, int(mean.size))


@dataclass(frozen=True, slots=True)
class _Packed:
    """The sample, with Γ's arguments needed only once per distinct count."""

    count: FloatArray
    total: FloatArray
    distinct: FloatArray
    weight: FloatArray
    logs: float
    count_logs: float

    @classmethod
    def of(cls, mean: FloatArray, count: FloatArray) -> "_Packed":
        distinct, weight = np.unique(count, return_counts=True)
        total = mean * count
        return cls(
            count,
            total,
            distinct,
            weight.astype(np.float64),
            float(np.log(mean).sum()),
            float(count @ np.log(total)),
        )


def _curve(packed: _Packed, theta: FloatArray) -> Curve:
    """Log-likelihood, gradient and Hessian in the logarithms of (p, q, v)."""
    p, q, v = (float(value) for value in np.exp(theta))
    n, weight, rows_n = packed.distinct, packed.weight, float(packed.count.size)
    both, own = p * n + q, p * n
    spread = packed.total + v
    log_spread, shape = np.log(spread), p * packed.count + q
    value = (
        float(weight @ (log_gamma(both) - log_gamma(own)))
        + rows_n * (q * theta[2] - float(log_gamma(np.array([q]))[0]))
        + p * packed.count_logs
        - packed.logs
        - float(shape @ log_spread)
    )
    psi_both = digamma(both)
    gradient = np.array(
        [
            weight @ (n * (psi_both - digamma(own))) + packed.count_logs - packed.count @ log_spread,
            weight @ psi_both + rows_n * (theta[2] - digamma(np.array([q]))[0]) - log_spread.sum(),
            rows_n * q / v - (shape / spread).sum(),
        ]
    )
    bend = trigamma(both)
    pp = weight @ (n * n * (bend - trigamma(own)))
    pq = weight @ (n * bend)
    qq = weight @ bend - rows_n * trigamma(np.array([q]))[0]
    pv, qv = -(packed.count / spread).sum(), rows_n / v - (1.0 / spread).sum()
    vv = (shape / spread**2).sum() - rows_n * q / v**2
    hessian = np.array([[pp, pq, pv], [pq, qq, qv], [pv, qv, vv]])
    scale = np.exp(theta)
    return float(value), gradient * scale, hessian * np.outer(scale, scale) + np.diag(gradient * scale)
