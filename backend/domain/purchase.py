"""When customers buy and whether they still do: BG/NBD and MBG/NBD, fitted and applied per distinct history.

Both models: purchases arrive at a rate λ ~ Gamma(r, α); after each purchase (MBG: also at time zero) a
customer leaves for good with probability p ~ Beta(a, b). MBG is the default: BG holds every one-time buyer
for alive. *Source*: Fader, Hardie, Lee (2005); Batislam, Denizel, Filiztekin (2007); R50.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Self

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.condensed import REGULARITY_MAX, CondensedCells, condensed_curve, parts_log, shares
from backend.domain.newton import Curve, maximise, standard_errors, with_prior
from backend.errors import Code, Problem, Refused, refuse_if

SAMPLE_MAX = 50_000
ENOUGH_CUSTOMERS_N = 200
ENOUGH_REPEATS_N = 100
SHIPPED_WEEKS = (1.2, 10.0, 0.4, 7.0)
"""(r, α, a, b) in weeks for organisations with too little history: about six orders a year, one in twenty the
last. An assumption about apparel shops, flagged wherever it is used."""
FIELD_MAX = (1 << 21) - 1
"""The largest count of purchases or of days that packs: 5,700 years."""
PRIOR_LOG_SD = 1.5
PLAUSIBLE_LOG_DISTANCE = 6.0
"""A fitted parameter more than e^6 away from the shipped one is a degenerate organisation, not a finding."""


class TimeUnit(Enum):
    """The unit in which a model's rates are expressed; the value is its length in days."""

    DAY = 1
    WEEK = 7

    @property
    def days(self) -> int:
        """Length in days."""
        return int(self.value)


class Model(IntEnum):
    """Which purchase model; the value is 1 where a customer can also leave before any repeat purchase."""

    BG_NBD = 0
    MBG_NBD = 1


class FitStatus(StrEnum):
    """How far a fit may be trusted."""

    CONVERGED = "CONVERGED"
    REGULARISED = "REGULARISED"
    SHIPPED_PRIOR = "SHIPPED_PRIOR"
    NOT_CONVERGED = "NOT_CONVERGED"


@dataclass(frozen=True, slots=True)
class PurchaseHistory:
    """(n,) whole numbers: `repeats_n` x, `last_repeat_days` t_x (from the first day), `observed_days` T."""

    repeats_n: IntArray
    last_repeat_days: IntArray
    observed_days: IntArray


@dataclass(frozen=True, slots=True)
class PurchaseFit:
    """Fitted parameters with their unit of time.

    `standard_errors`: of (r, α, a, b), from the observed information in their logarithms by the delta method, NaN
    where the curvature gives none; `log_likelihood`: of the rows fitted, without any prior; `customers_n`: rows
    fitted; `regularity`: k of CNBD-k, 1 for memoryless buying (MBG/NBD only).
    """

    model: Model
    unit: TimeUnit
    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    standard_errors: tuple[float, float, float, float]
    status: FitStatus
    customers_n: int
    regularity: int = 1


@dataclass(frozen=True, slots=True)
class Cells:
    """Distinct histories with how many customers share each: floats in the model's unit of time."""

    x: FloatArray
    t: FloatArray
    horizon: FloatArray
    weight: FloatArray


def pack_cells(history: PurchaseHistory, unit: TimeUnit, sample_max: int = SAMPLE_MAX) -> Cells:
    """Sort the histories, keep every k-th when there are more than `sample_max`, and count equal ones.

    Sampling along the sorted order is deterministic, does not depend on the rows' sequence and keeps the
    shape of the distribution.
    """
    key = (history.repeats_n << 42) | (history.last_repeat_days << 21) | history.observed_days
    key = np.sort(key)
    key = key[:: max(1, -(-key.size // sample_max))]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if key.size else np.zeros(0, dtype=np.int64)
    cell = key[starts]
    mask = FIELD_MAX
    return Cells(
        x=(cell >> 42).astype(np.float64),
        t=((cell >> 21) & mask) / float(unit.days),
        horizon=(cell & mask) / float(unit.days),
        weight=np.diff(np.r_[starts, key.size]).astype(np.float64),
    )


def log_likelihood(
    model: Model, cells: Cells, r: float, alpha: float, a: float, b: float, regularity: int = 1
) -> float:
    """Log-likelihood of the cells, weights counted, in the unit of time of cells and α."""
    theta = np.log(np.array([r, alpha, a, b]))
    return _climbed(model, cells, regularity)(theta)[0]


def fit_purchase(
    history: PurchaseHistory,
    *,
    model: Model = Model.MBG_NBD,
    unit: TimeUnit = TimeUnit.WEEK,
    sample_max: int = SAMPLE_MAX,
    enough_customers_n: int = ENOUGH_CUSTOMERS_N,
    enough_repeats_n: int = ENOUGH_REPEATS_N,
    regularity: int = 1,
) -> PurchaseFit:
    """Fit by maximum likelihood on at most `sample_max` customers.

    Too little data gives the shipped parameters (`SHIPPED_PRIOR`). Where the likelihood alone drives a
    parameter to 0 or ∞ (everybody alike), a weak log-normal prior around them holds it (`REGULARISED`);
    otherwise no prior enters, so published figures are met exactly. `regularity`: k of CNBD-k.
    *Raises* `INVALID_VALUE` and `OUT_OF_RANGE` for histories that cannot be, `NOT_ALLOWED_VALUE` for a k the model
    does not have.
    """
    check_history(history)
    if regularity != 1 and (model is not Model.MBG_NBD or not 1 <= regularity <= REGULARITY_MAX):
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("regularity",), ("1", str(REGULARITY_MAX))))
    cells = pack_cells(history, unit, sample_max)
    customers_n = int(cells.weight.sum())
    if len(history.repeats_n) < enough_customers_n or int(history.repeats_n.sum()) < enough_repeats_n:
        return _shipped(model, unit, cells, customers_n)
    curve = _climbed(model, cells, regularity)
    centre = np.log(np.array(SHIPPED_WEEKS)) + np.array([0.0, np.log(7.0 / unit.days), 0.0, 0.0])
    # k beats make one purchase: the rate of beats is k times that of purchases
    centre[1] -= np.log(regularity)
    found = maximise(curve, centre)
    status = FitStatus.CONVERGED
    if not found.converged or (np.abs(found.at - centre) > PLAUSIBLE_LOG_DISTANCE).any():
        found = maximise(lambda theta: with_prior(curve(theta), theta, centre, PRIOR_LOG_SD), centre)
        status = FitStatus.REGULARISED if found.converged else FitStatus.NOT_CONVERGED
    r, alpha, a, b = (float(p) for p in np.exp(found.at))
    errors = np.exp(found.at) * standard_errors(found.hessian)
    return PurchaseFit(
        model=model,
        unit=unit,
        r=r,
        alpha=alpha,
        a=a,
        b=b,
        log_likelihood=curve(found.at)[0],
        standard_errors=(float(errors[0]), float(errors[1]), float(errors[2]), float(errors[3])),
        status=status,
        customers_n=customers_n,
        regularity=regularity,
    )


def check_history(history: PurchaseHistory) -> None:
    """Refuse what no history can be. Raises INVALID_VALUE for columns of different length, OUT_OF_RANGE for counts or
    days below 0 or beyond `FIELD_MAX` and for a last purchase after the end of what was seen."""
    x, t, observed = history.repeats_n, history.last_repeat_days, history.observed_days
    if not (x.shape == t.shape == observed.shape):
        raise Refused(Problem(Code.INVALID_VALUE, ("history",), (f"{x.size} rows",)))
    if x.size == 0:
        return
    found = [
        Problem(Code.OUT_OF_RANGE, (name,), ("0", str(FIELD_MAX)))
        for name, column in (("repeats_n", x), ("last_repeat_days", t), ("observed_days", observed))
        if int(column.min()) < 0 or int(column.max()) > FIELD_MAX
    ]
    if (t > observed).any():
        found.append(Problem(Code.OUT_OF_RANGE, ("last_repeat_days",), ("observed_days",)))
    refuse_if(found)


def alive_probability(fit: PurchaseFit, history: PurchaseHistory) -> FloatArray:
    """(n,) probability 0..1 that a customer with this history still buys.

    BG/NBD gives exactly 1 without a repeat purchase; MBG/NBD does not.
    """
    if history.repeats_n.size == 0:
        return np.zeros(0)
    if fit.regularity > 1:
        return np.asarray(1.0 - active_shares(fit, history)[0][:, 0], dtype=np.float64)
    # Days and counts are small whole numbers: logarithms are looked up, one per distinct day and count.
    counts = np.arange(int(history.repeats_n.max()) + 1, dtype=np.float64)
    days = np.arange(int(history.observed_days.max()) + 1, dtype=np.float64)
    tries = counts + fit.model
    odds_of_count = np.log(fit.a / np.where(tries > 0, fit.b + tries - 1.0, 1.0))
    log_since = np.log(fit.alpha + days / float(fit.unit.days))
    silence = log_since[history.observed_days] - log_since[history.last_repeat_days]
    odds_log = (fit.r + counts)[history.repeats_n] * silence + odds_of_count[history.repeats_n]
    alive = 1.0 / (1.0 + np.exp(np.minimum(odds_log, 700.0)))
    return alive if fit.model else np.where(history.repeats_n > 0, alive, 1.0)


def active_shares(fit: PurchaseFit, history: PurchaseHistory) -> tuple[FloatArray, FloatArray]:
    """(n, k+1) chances of "gone" and of "active, j beats into the next purchase", and the (n,) log-likelihood of the
    timing up to what is common to them. MBG/NBD and CNBD-k only."""
    days = float(fit.unit.days)
    x = history.repeats_n.astype(np.float64)
    t, observed = history.last_repeat_days / days, history.observed_days / days
    return shares(parts_log(fit.regularity, fit.r, fit.alpha, fit.a, fit.b, x, t, observed))


def _climbed(model: Model, cells: Cells, regularity: int) -> Callable[[FloatArray], Curve]:
    """The function of the logarithms of (r, α, a, b) that a fit climbs."""
    if regularity > 1:
        condensed = CondensedCells.of(regularity, cells.x, cells.t, cells.horizon, cells.weight)
        return lambda theta: condensed_curve(condensed, theta)
    packed = _Packed.of(model, cells)
    return lambda theta: _curve(packed, theta)


def _shipped(model: Model, unit: TimeUnit, cells: Cells, customers_n: int) -> PurchaseFit:
    r, alpha, a, b = SHIPPED_WEEKS
    alpha = alpha * 7.0 / unit.days
    value = log_likelihood(model, cells, r, alpha, a, b) if customers_n else 0.0
    nan = float("nan")
    return PurchaseFit(model, unit, r, alpha, a, b, value, (nan, nan, nan, nan), FitStatus.SHIPPED_PRIOR, customers_n)


@dataclass(frozen=True, slots=True)
class _Packed:
    """Cells with the tail counts that turn log Γ(r+x) − log Γ(r) into Σ log(r+k) over all customers."""

    cells: Cells
    tries: FloatArray
    can_leave: BoolArray
    steps: FloatArray
    repeat_tail: FloatArray
    tries_tail: FloatArray

    @classmethod
    def of(cls, model: Model, cells: Cells) -> Self:
        tries = cells.x + model
        most = int(tries.max()) if tries.size else 0
        return cls(
            cells,
            tries,
            tries > 0,
            np.arange(most, dtype=np.float64),
            _tail(cells.x, cells.weight, most),
            _tail(tries, cells.weight, most),
        )


def _tail(counts: FloatArray, weight: FloatArray, most: int) -> FloatArray:
    """(most,) weight of the cells whose count is above k = 0..most−1."""
    per_count = np.bincount(counts.astype(np.int64), weight, minlength=most + 1)
    return np.asarray(np.cumsum(per_count[::-1])[::-1][1 : most + 1], dtype=np.float64)


def _curve(packed: _Packed, theta: FloatArray) -> Curve:
    """Log-likelihood, gradient and Hessian in the logarithms of (r, α, a, b).

    Every history adds log(e^A + e^B): A still active at T, B gone since t_x; their share w of B gives
    first and second derivatives without differences.
    """
    r, alpha, a, b = (float(p) for p in np.exp(theta))
    cells, weight = packed.cells, packed.cells.weight
    rate = r + cells.x
    past_end, past_last = alpha + cells.horizon, alpha + cells.t
    log_end, log_last = np.log(past_end), np.log(past_last)
    below = np.where(packed.can_leave, b + packed.tries - 1.0, 1.0)
    lead = np.where(packed.can_leave, np.log(a / below) + rate * (log_end - log_last), -np.inf)
    tail = np.logaddexp(0.0, lead)
    gone = np.where(packed.can_leave, np.exp(lead - tail), 0.0)
    stays = 1.0 - gone

    value = float(weight @ (tail - rate * log_end) + weight.sum() * r * theta[1])
    gradient = np.array(
        [
            weight.sum() * theta[1] - weight @ (stays * log_end + gone * log_last),
            weight.sum() * r / alpha - weight @ (rate * (stays / past_end + gone / past_last)),
            weight @ gone / a,
            -(weight @ (gone / below)),
        ]
    )
    spread = (
        log_end - log_last,
        rate / past_end - rate / past_last,
        np.full_like(rate, 1.0 / a),
        -1.0 / below,
    )
    both = weight * gone * stays
    hessian = np.array([[both @ (one * other) for other in spread] for one in spread])
    cross = weight.sum() / alpha - weight @ (stays / past_end + gone / past_last)
    hessian[0, 1] += cross
    hessian[1, 0] += cross
    hessian[1, 1] += weight @ (rate * (stays / past_end**2 + gone / past_last**2)) - weight.sum() * r / alpha**2
    hessian[2, 2] -= weight @ gone / a**2
    hessian[3, 3] += weight @ (gone / below**2)
    value += _add_sums(packed, r, a, b, gradient, hessian)
    scale = np.exp(theta)
    return value, gradient * scale, hessian * np.outer(scale, scale) + np.diag(gradient * scale)


def _add_sums(packed: _Packed, r: float, a: float, b: float, gradient: FloatArray, hessian: FloatArray) -> float:
    """Add Σ log(r+k) and Σ log((b+k)/(a+b+k)) to value, gradient and Hessian (in place)."""
    steps, repeats, tries = packed.steps, packed.repeat_tail, packed.tries_tail
    of_r, of_b, of_ab = r + steps, b + steps, a + b + steps
    gradient[0] += repeats @ (1.0 / of_r)
    gradient[2] -= tries @ (1.0 / of_ab)
    gradient[3] += tries @ (1.0 / of_b - 1.0 / of_ab)
    hessian[0, 0] -= repeats @ (1.0 / of_r**2)
    curve_ab = float(tries @ (1.0 / of_ab**2))
    hessian[2:, 2:] += curve_ab
    hessian[3, 3] -= tries @ (1.0 / of_b**2)
    return float(repeats @ np.log(of_r) + tries @ (np.log(of_b) - np.log(of_ab)))
