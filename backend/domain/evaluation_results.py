"""What came of an evaluation: the arms as they were drawn, and what each customer did in the window.

*Source*: R30; `insight.md` §7.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.backtest import verdict_of
from backend.domain.evaluations import (
    RATIO_P_MIN,
    Estimate,
    EvaluationMetric,
    EvaluationRecord,
    estimate,
    ratio_p,
    return_of,
)
from backend.domain.exchange import convert_columns
from backend.domain.money import Rate
from backend.domain.ranking import Interval
from backend.errors import Code, Problem, refuse_if

DIGITS = 6

ArmRow = tuple[str, bool, str, int | None]
"""(customer id, held out, stratum, margin expected of two quarters)"""
OrderRow = tuple[str, str, int, str]
"""(customer id, local day, amount in minor units, currency)"""


def judged(
    found: EvaluationRecord,
    arms: Sequence[ArmRow],
    orders: Sequence[OrderRow],
    *,
    rates: Sequence[Rate],
    margin_bp: int | None,
) -> dict[str, Any]:
    """The result of an evaluation: effect, interval and return, or only that the arms were not as planned.

    `arms`: of the customers who still exist; `orders`: theirs within the window; `margin_bp`: the declared margin, None
    for revenue. Raises NO_EXCHANGE_RATE naming the currencies that have none on their day.
    """
    planned = (found.control_n or 0) / max((found.treated_n or 0) + (found.control_n or 0), 1)
    control = np.array([bool(row[1]) for row in arms], dtype=np.bool_)
    treated_n, control_n = int((~control).sum()), int(control.sum())
    ratio = min(
        ratio_p(treated_n, control_n, planned),
        # customers who are gone must be missing from both arms alike
        ratio_p((found.treated_n or 0) - treated_n, (found.control_n or 0) - control_n, planned)
        if treated_n + control_n < (found.treated_n or 0) + (found.control_n or 0)
        else 1.0,
    )
    counted: dict[str, Any] = {
        "treatedN": treated_n,
        "controlN": control_n,
        "ratioP": round(ratio, DIGITS),
        "metric": found.metric.value,
    }
    if ratio < RATIO_P_MIN or min(treated_n, control_n) < 2:
        return counted
    outcomes = _outcomes(found, arms, orders, rates)
    forecast = np.array([np.nan if row[3] is None else float(row[3]) for row in arms])
    strata = numbered([row[2] for row in arms])

    def effect(metric: EvaluationMetric) -> Estimate:
        return estimate(outcomes[metric], ~control, forecast=forecast, strata=strata)

    primary, money = effect(found.metric), effect(EvaluationMetric.REVENUE)
    back = return_of(money, cost_minor=found.cost_minor, margin_bp=margin_bp)
    return {
        **counted,
        "lift": round(primary.lift, DIGITS),
        "low": round(primary.low, DIGITS),
        "high": round(primary.high, DIGITS),
        "relative": None if primary.relative is None else round(primary.relative, DIGITS),
        "treatedMean": round(primary.treated_mean, DIGITS),
        "controlMean": round(primary.control_mean, DIGITS),
        "varianceCut": round(primary.variance_cut, DIGITS),
        "verdict": verdict_of(Interval(primary.lift, primary.low, primary.high)).value,
        "forecastN": int(np.isfinite(forecast).sum()),
        "gainVarianceCut": round(money.variance_cut, DIGITS),
        "basis": "REVENUE" if margin_bp is None else "DEFAULT_MARGIN",
        "gainMinor": back.gain_minor,
        "gainLowMinor": back.gain_low_minor,
        "gainHighMinor": back.gain_high_minor,
        "costMinor": back.cost_minor,
        "netMinor": back.net_minor,
        "returnRatio": None if back.ratio is None else round(back.ratio, DIGITS),
    }


def _outcomes(
    found: EvaluationRecord, arms: Sequence[ArmRow], orders: Sequence[OrderRow], rates: Sequence[Rate]
) -> dict[EvaluationMetric, FloatArray]:
    """(n,) every metric of every customer of the arms, whoever was treated."""
    place = {row[0]: number for number, row in enumerate(arms)}
    customer = np.array([place[row[0]] for row in orders], dtype=np.int64)
    day = np.array([row[1] for row in orders], dtype="datetime64[D]").astype(np.int64)
    currency = np.array([row[3] for row in orders], dtype=np.str_)
    amount = np.array([row[2] for row in orders], dtype=np.int64)
    converted = convert_columns(amount, currency, day, to=found.currency, rates=rates)
    unknown = sorted(set(currency[~converted.known].tolist()))
    refuse_if([Problem(Code.NO_EXCHANGE_RATE, (code,), params={"currency": code}) for code in unknown])
    n = len(arms)
    revenue = np.bincount(customer, converted.amount_minor.astype(np.float64), minlength=n)
    pairs = np.unique(np.stack([customer[amount != 0], day[amount != 0]]), axis=1)
    days = np.bincount(pairs[0], minlength=n).astype(np.float64)
    return {
        EvaluationMetric.REVENUE: revenue,
        EvaluationMetric.ORDERS: days,
        EvaluationMetric.BUYERS: np.minimum(days, 1.0),
    }


def numbered(texts: Sequence[str]) -> IntArray:
    """(n,) the place of each text among the different ones."""
    return np.asarray(np.unique(np.array(texts, dtype=np.str_), return_inverse=True)[1], dtype=np.int64)
