"""Satisfaction from what customers said and what became of their complaints; silence is not satisfaction.

*Source*: R34, R52.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import (
    Basis,
    BoolArray,
    FloatArray,
    IntArray,
    Measure,
    codes,
    shrink,
    weighted_present,
)

HALF_LIFE_DAYS = 180.0
ANSWER_SHRINK = 5.0
RETURN_SHRINK_ORDERS = 3.0
PRIOR_SCORE = 60.0
SEVERE_CAP = 40.0
SEVERE_FROM = 0.75
LATE_PENALTY = 0.5
REOPENED_PENALTY = 0.3
SILENCE = 0.5
WEIGHTS = {"csat": 0.40, "nps": 0.20, "resolution": 0.25, "returns": 0.15}


@dataclass(frozen=True, slots=True)
class Answers:
    """Survey answers, one row each: `customer` (m,) row; `day` (m,) since 1970-01-01; `score` (m,) as asked.

    CSAT answers are 0..1 (worst to best), NPS answers 0..10.
    """

    customer: IntArray
    day: IntArray
    score: FloatArray


@dataclass(frozen=True, slots=True)
class Complaints:
    """Cases, one row each, of the trailing year.

    `customer` (m,) row; `severity` (m,) 0..1; `is_open` (m,); `age_share` (m,) age over the agreed time, ≥ 0,
    0 for closed ones; `late`, `reopened` (m,).
    """

    customer: IntArray
    severity: FloatArray
    is_open: BoolArray
    age_share: FloatArray
    late: BoolArray
    reopened: BoolArray


@dataclass(frozen=True, slots=True)
class SatisfactionInputs:
    """Everything satisfaction is made of; a part that is `None` was not recorded.

    `supplier_fault_returns_n`, `delivered_orders_n`: (n,) over the trailing year.
    """

    csat: Answers | None = None
    nps: Answers | None = None
    complaints: Complaints | None = None
    supplier_fault_returns_n: IntArray | None = None
    delivered_orders_n: IntArray | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A company-wide figure −100..100 with its 95 % interval and the answers it rests on."""

    value: float
    low: float
    high: float
    answers_n: int


def satisfaction(
    inputs: SatisfactionInputs | None, *, customers_n: int, as_of_day: int, severe_open: BoolArray | None = None
) -> Measure:
    """0..100 per customer: 100·(.40 CSAT + .20 NPS + .25 resolution + .15 returns), over what is present.

    Nothing present: the prior 60 with confidence 0. An unresolved severe complaint (here, or counted by the
    caller in `severe_open`) caps at 40 and is certain knowledge, so its confidence is 1.
    """
    parts = satisfaction_parts(inputs, customers_n=customers_n, as_of_day=as_of_day)
    severe = severe_complaints(inputs, customers_n)
    return satisfaction_of(parts, severe if severe_open is None else severe | severe_open)


def satisfaction_parts(inputs: SatisfactionInputs | None, *, customers_n: int, as_of_day: int) -> dict[str, Measure]:
    """The four parts of satisfaction by name, 0..1 each; NaN where nothing was recorded."""
    given = inputs or SatisfactionInputs()
    return {
        "csat": answer_mean(given.csat, 1.0, customers_n, as_of_day),
        "nps": answer_mean(given.nps, 10.0, customers_n, as_of_day),
        "resolution": resolution(given.complaints, customers_n),
        "returns": fault_returns(given.supplier_fault_returns_n, given.delivered_orders_n, customers_n),
    }


def satisfaction_of(parts: Mapping[str, Measure], severe: BoolArray) -> Measure:
    """Satisfaction 0..100 from its parts; `severe`: (n,) an unresolved severe complaint caps it."""
    spoke = np.any([part.confidence > 0 for part in parts.values()], axis=0)
    columns = [(WEIGHTS[name], np.where(spoke, part.value, np.nan)) for name, part in parts.items()]
    mean, coverage = weighted_present(columns)
    sure = np.sum([WEIGHTS[name] * part.confidence for name, part in parts.items()], axis=0)
    value = np.where(spoke, 100.0 * mean, PRIOR_SCORE)
    basis = np.where(coverage > 1.0 - 1e-9, Basis.RECORDED, Basis.PARTLY_RECORDED)
    basis = np.where(spoke, basis, Basis.PRIOR)
    return Measure(
        np.where(severe, np.minimum(value, SEVERE_CAP), value),
        np.where(severe, 1.0, sure),
        np.where(severe, Basis.CAPPED_BY_SEVERE_COMPLAINT, basis).astype(np.int64),
    )


def answer_mean(answers: Answers | None, top: float, customers_n: int, as_of_day: int) -> Measure:
    """Mean answer 0..1, an answer losing half its weight in 180 days, shrunk to everybody's (k = 5 answers).

    NaN for customers who were never asked or never answered.
    """
    if answers is None or answers.customer.size == 0:
        return _absent(customers_n)
    age = np.maximum(as_of_day - answers.day, 0)
    fresh = np.exp2(-age / HALF_LIFE_DAYS)
    score = np.clip(answers.score / top, 0.0, 1.0)
    weight = np.bincount(answers.customer, fresh, minlength=customers_n).astype(np.float64)
    total = np.bincount(answers.customer, fresh * score, minlength=customers_n)
    answered = np.bincount(answers.customer, minlength=customers_n) > 0
    own = np.divide(total, weight, out=np.zeros(customers_n), where=weight > 0)
    value = shrink(own, weight, float(total.sum() / weight.sum()), ANSWER_SHRINK)
    return _part(np.where(answered, value, np.nan), weight / (weight + ANSWER_SHRINK), Basis.SHRUNK_TO_PEERS)


def resolution(complaints: Complaints | None, customers_n: int) -> Measure:
    """1 − Σ open severity·min(1, age/agreed time) − .5·late − .3·re-opened, floor 0.

    Without a complaint .5 with confidence 0: silence is not satisfaction. NaN where cases are not recorded.
    """
    if complaints is None:
        return _absent(customers_n)
    who = complaints.customer
    pressing = complaints.severity * np.minimum(1.0, np.maximum(complaints.age_share, 0.0))
    burden = np.bincount(who, np.where(complaints.is_open, pressing, 0.0), minlength=customers_n)
    late = np.bincount(who, complaints.late.astype(np.float64), minlength=customers_n) > 0
    again = np.bincount(who, complaints.reopened.astype(np.float64), minlength=customers_n) > 0
    complained = np.bincount(who, minlength=customers_n) > 0
    value = np.clip(1.0 - burden - LATE_PENALTY * late - REOPENED_PENALTY * again, 0.0, 1.0)
    return _part(np.where(complained, value, SILENCE), complained.astype(np.float64), Basis.RECORDED)


def fault_returns(returned_n: IntArray | None, delivered_n: IntArray | None, customers_n: int) -> Measure:
    """1 − min(1, RT/(3μ)) over returns that were the supplier's fault, RT shrunk to μ (k = 3 orders)."""
    if returned_n is None or delivered_n is None:
        return _absent(customers_n)
    orders = np.maximum(delivered_n, 0).astype(np.float64)
    returned = np.where(orders > 0, returned_n, 0).astype(np.float64)
    mean = float(returned.sum() / orders.sum()) if orders.sum() else 0.0
    own = np.divide(returned, orders, out=np.zeros_like(orders), where=orders > 0)
    rate = shrink(own, orders, mean, RETURN_SHRINK_ORDERS)
    value = 1.0 - np.minimum(1.0, rate / (3.0 * mean)) if mean > 0 else np.ones_like(rate)
    return _part(np.where(orders > 0, value, np.nan), orders / (orders + RETURN_SHRINK_ORDERS), Basis.SHRUNK_TO_PEERS)


def company_nps(answers: Answers) -> Interval:
    """Promoters (9–10) minus detractors (0–6) in per cent, with a 95 % interval from the share's variance.

    No answers: NaN with an interval of −100..100.
    """
    answers_n = int(answers.score.size)
    if answers_n == 0:
        return Interval(float("nan"), -100.0, 100.0, 0)
    promoters = float((answers.score >= 9).mean())
    detractors = float((answers.score <= 6).mean())
    value = promoters - detractors
    # Three pseudo-answers keep the interval honest when all answers agree.
    spread = max(promoters + detractors - value**2, 1.0 / (answers_n + 3))
    half = 1.96 * float(np.sqrt(spread / answers_n))
    low, high = max(-1.0, value - half), min(1.0, value + half)
    return Interval(100.0 * value, 100.0 * low, 100.0 * high, answers_n)


def severe_complaints(inputs: SatisfactionInputs | None, customers_n: int) -> BoolArray:
    """(n,) True where a severe complaint is open."""
    complaints = None if inputs is None else inputs.complaints
    if complaints is None:
        return np.zeros(customers_n, dtype=np.bool_)
    severe = complaints.is_open & (complaints.severity >= SEVERE_FROM)
    return np.asarray(np.bincount(complaints.customer[severe], minlength=customers_n) > 0)


def _part(value: FloatArray, confidence: FloatArray, basis: Basis) -> Measure:
    known = ~np.isnan(value)
    column = np.where(known, basis, Basis.NOT_RECORDED).astype(np.int64)
    return Measure(value, np.where(known, confidence, 0.0), column)


def _absent(rows_n: int) -> Measure:
    return Measure(np.full(rows_n, np.nan), np.zeros(rows_n), codes(rows_n, Basis.NOT_RECORDED))
