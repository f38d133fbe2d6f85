"""Customer lifetime value: what a customer has brought plus what is expected, in four ways of reckoning.

All flows are contribution per period, oldest period first, in one money unit; whole columns of customers.
Churn enters each method exactly once: as survival, as a horizon, or inside the purchase model. *Source*: R50.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.errors import Code, Problem, Refused, refuse_if

PERIODS_MAX = 20
NEGLIGIBLE_SHARE = 0.05
_FLOWS = ("contribution", "expected_purchases", "margin_per_purchase", "gain", "season", "damping")
PEERS_MIN = 30
"""A peer group smaller than this sets no frontier."""


class Method(StrEnum):
    """How the value is reckoned.

    BASIC: discounted contribution of the recorded periods, nothing ahead. REGRESSION: the trend of the past
    carried on. INVERSE_CHURN: the mean of the past over round(1/q) periods. PROBABILISTIC: the purchase and
    spend models.
    """

    BASIC = "BASIC"
    REGRESSION = "REGRESSION"
    INVERSE_CHURN = "INVERSE_CHURN"
    PROBABILISTIC = "PROBABILISTIC"


class ChurnForm(StrEnum):
    """How churn enters a regression: flows × (1−q)^j, or full flows for round(1/q) periods, never both."""

    SURVIVAL = "SURVIVAL"
    HORIZON = "HORIZON"


class Timing(StrEnum):
    """When in its period a flow counts: at its end (j = 1, 2, …) or its start (j = 0, 1, …)."""

    END = "END"
    START = "START"


@dataclass(frozen=True, slots=True)
class ValueInputs:
    """What a valuation reads; (n,) or (n, k) floats in one money unit.

    `contribution`: (n, k) per elapsed period, oldest first; `churn`: (n,) per period, 0..1; `rate`:
    discount per period; `rate_old`: compounding of the past per period; `expected_purchases`: (n, h)
    cumulative E X(t_j) and `margin_per_purchase`: (n,) for PROBABILISTIC; `gain`: (n, h) value of a
    changed buying pattern p(j); `season`: (h,) index of the coming periods, mean 1; `damping`: 0..1, 1
    leaves the trend undamped.
    """

    contribution: FloatArray
    churn: FloatArray
    rate: float
    rate_old: float = 0.0
    expected_purchases: FloatArray | None = None
    margin_per_purchase: FloatArray | None = None
    gain: FloatArray | None = None
    season: FloatArray | None = None
    damping: float = 1.0
    churn_form: ChurnForm = ChurnForm.SURVIVAL
    timing: Timing = Timing.END


@dataclass(frozen=True, slots=True)
class LifetimeValue:
    """(n,) each: `past`, `future` in the unit of the flows, `periods_n` looked ahead. CLV = past + future."""

    past: FloatArray
    future: FloatArray
    periods_n: IntArray


def rate_per_period(yearly: float, periods_per_year: int) -> float:
    """(1 + yearly)^(1/k) − 1. *Raises* `OUT_OF_RANGE` for NaN or a rate ≤ −1."""
    _check_rate(yearly)
    return float((1.0 + yearly) ** (1.0 / periods_per_year) - 1.0)


def lifetime_value(inputs: ValueInputs, method: Method = Method.PROBABILISTIC) -> LifetimeValue:
    """Value every customer by one method.

    *Raises* `OUT_OF_RANGE` for a discount rate that is NaN or ≤ −1 or a churn outside 0..1; `INVALID_VALUE` for
    flows that are no numbers; `REQUIRED` when PROBABILISTIC lacks the models' columns.
    """
    _check_numbers(inputs)
    _check_rate(inputs.rate)
    _check_rate(inputs.rate_old)
    if np.isnan(inputs.churn).any() or (inputs.churn < 0).any() or (inputs.churn > 1).any():
        raise Refused(Problem(Code.OUT_OF_RANGE, ("churn",), ("0..1",)))
    rows_n = inputs.contribution.shape[0]
    if method is Method.BASIC:
        past = discounted_sum(inputs.contribution, inputs.rate, inputs.timing)
        return LifetimeValue(past, np.zeros(rows_n), np.zeros(rows_n, dtype=np.int64))
    flows, periods_n = _future_flows(inputs, method)
    counted = np.arange(1, flows.shape[1] + 1) <= periods_n[:, None]
    future = discounted_sum(np.where(counted, flows, 0.0), inputs.rate, inputs.timing)
    return LifetimeValue(past_value(inputs.contribution, inputs.rate_old), future, periods_n)


def discounted_sum(flows: FloatArray, rate: float, timing: Timing = Timing.END) -> FloatArray:
    """(n,) Σ_j flow_j / (1+c)^j over (n, k) flows."""
    first = 1 if timing is Timing.END else 0
    return np.asarray(flows @ (1.0 + rate) ** -np.arange(first, flows.shape[1] + first, dtype=np.float64))


def past_value(contribution: FloatArray, rate_old: float = 0.0) -> FloatArray:
    """(n,) Σ π_i (1+c_old)^age, the last period being of age 0; negative contributions stay negative."""
    ages = np.arange(contribution.shape[1] - 1, -1, -1, dtype=np.float64)
    return np.asarray(contribution @ (1.0 + rate_old) ** ages, dtype=np.float64)


def trend_forecast(contribution: FloatArray, periods_n: int, damping: float = 1.0) -> FloatArray:
    """(n, h) least-squares line through the past, carried on with each step's slope × `damping`^step.

    One period gives a flat line, none gives 0.
    """
    elapsed = contribution.shape[1]
    if elapsed == 0:
        return np.zeros((contribution.shape[0], periods_n))
    steps = np.arange(elapsed, dtype=np.float64) - (elapsed - 1) / 2.0
    mean = contribution.mean(axis=1)
    slope = contribution @ steps / max(float(steps @ steps), 1.0)
    ahead = (elapsed - 1) / 2.0 + np.cumsum(damping ** np.arange(periods_n, dtype=np.float64))
    return np.asarray(mean[:, None] + slope[:, None] * ahead)


def truncation_periods(churn: FloatArray, rate: float) -> IntArray:
    """(n,) smallest m with ((1−q)/(1+c))^m ≤ .05, at most `PERIODS_MAX`; 1 where everybody leaves."""
    shrink_log = np.log(np.maximum(1.0 - churn, 1e-300)) - np.log1p(rate)
    periods = np.full(churn.shape, float(PERIODS_MAX))
    np.divide(np.log(NEGLIGIBLE_SHARE), shrink_log, out=periods, where=shrink_log < 0)
    return np.clip(np.ceil(periods - 1e-12), 1, PERIODS_MAX).astype(np.int64)


def inverse_churn_periods(churn: FloatArray) -> IntArray:
    """(n,) m = round(1/q), the plain horizon, at most `PERIODS_MAX`."""
    inverse = np.full(churn.shape, float(PERIODS_MAX))
    np.divide(1.0, churn, out=inverse, where=churn > 1.0 / PERIODS_MAX)
    return np.floor(inverse + 0.5).astype(np.int64)


def constant_margin_value(margin: FloatArray, churn: FloatArray, rate: float) -> FloatArray:
    """(n,) Σ_{j≥1} A (1−q)^j/(1+c)^j = A(1−q)/(q+c): constant margin, survival form, without end.

    *Raises* `OUT_OF_RANGE` where q + c ≤ 0: the sum has no limit.
    """
    _check_rate(rate)
    if (churn + rate <= 0).any():
        raise Refused(Problem(Code.OUT_OF_RANGE, ("churn",), ("churn + rate > 0",)))
    return np.asarray(margin * (1.0 - churn) / (churn + rate), dtype=np.float64)


def referral_value(
    referral_rate: FloatArray, gain: FloatArray, cost: FloatArray, rate: float, periods_n: int
) -> FloatArray:
    """(n,) Σ_{j=1..m} ρ(G − k)/(1+c)^j: one generation of referred customers, none of theirs."""
    annuity = float(((1.0 + rate) ** -np.arange(1, periods_n + 1, dtype=np.float64)).sum())
    return np.asarray(referral_rate * (gain - cost) * annuity, dtype=np.float64)


def pattern_gain(
    frontier: FloatArray,
    run_rate: FloatArray,
    peers_n: IntArray,
    *,
    ramp: FloatArray,
    survival: FloatArray,
    margin: FloatArray,
    ramp_cost: FloatArray,
) -> FloatArray:
    """(n, h) p(j): what reaching the peers' frontier would add in each coming period.

    `frontier`, `run_rate`: (n,) revenue per period; `ramp`: (h,) share captured by period j, 0..1;
    `survival`: (n, h); `margin`: (n,) rate; `ramp_cost`: (h,) money. 0 in every period without `PEERS_MIN`
    peers or without a gap: nobody pays for a ramp that leads nowhere.
    """
    gap = np.maximum(frontier - run_rate, 0.0)
    reachable = (peers_n >= PEERS_MIN) & (gap > 0)
    flows = ramp[None, :] * (gap * margin)[:, None] * survival - ramp_cost[None, :]
    return np.asarray(np.where(reachable[:, None], flows, 0.0), dtype=np.float64)


def _future_flows(inputs: ValueInputs, method: Method) -> tuple[FloatArray, IntArray]:
    """Flows (n, PERIODS_MAX) before truncation and discount, and how many periods count."""
    rows_n = inputs.contribution.shape[0]
    ahead = np.arange(1, PERIODS_MAX + 1, dtype=np.float64)
    periods_n = truncation_periods(inputs.churn, inputs.rate)
    if method is Method.INVERSE_CHURN:
        flat = inputs.contribution.mean(axis=1) if inputs.contribution.shape[1] else np.zeros(rows_n)
        flows = np.repeat(flat[:, None], PERIODS_MAX, axis=1)
        periods_n = inverse_churn_periods(inputs.churn)
    elif method is Method.REGRESSION:
        flows = trend_forecast(inputs.contribution, PERIODS_MAX, inputs.damping)
        if inputs.season is not None:
            flows = flows * _padded(inputs.season[None, :], 1.0)
        if inputs.churn_form is ChurnForm.SURVIVAL:
            flows = flows * (1.0 - inputs.churn[:, None]) ** ahead
        else:
            periods_n = inverse_churn_periods(inputs.churn)
    else:
        flows = _model_flows(inputs)
    if inputs.gain is not None:
        flows = flows + _padded(inputs.gain, 0.0)
    return flows, periods_n


def _model_flows(inputs: ValueInputs) -> FloatArray:
    """[E X(t_j) − E X(t_{j−1})] × margin per purchase; survival is already inside."""
    expected, margin = inputs.expected_purchases, inputs.margin_per_purchase
    if expected is None or margin is None:
        raise Refused(Problem(Code.REQUIRED, ("expected_purchases",)), Problem(Code.REQUIRED, ("margin",)))
    per_period = np.diff(expected, axis=1, prepend=0.0)
    return _padded(per_period * margin[:, None], 0.0)


def _padded(columns: FloatArray, filler: float) -> FloatArray:
    """Cut or fill (n, h) to `PERIODS_MAX` columns."""
    missing = max(0, PERIODS_MAX - columns.shape[1])
    return np.pad(columns[:, :PERIODS_MAX], ((0, 0), (0, missing)), constant_values=filler)


def _check_numbers(inputs: ValueInputs) -> None:
    columns = {name: getattr(inputs, name) for name in _FLOWS}
    refuse_if(
        Problem(Code.INVALID_VALUE, (name,), ("numbers",))
        for name, column in columns.items()
        if column is not None and not np.isfinite(column).all()
    )


def _check_rate(rate: float) -> None:
    if not rate > -1.0 or not np.isfinite(rate):
        raise Refused(Problem(Code.OUT_OF_RANGE, ("rate",), ("> -1",)))
