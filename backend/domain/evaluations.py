"""Did it help? What is done to customers is judged against customers to whom it was not done, drawn beforehand.

The subject may be anything: a programme of visits, a strategy, a roll-out, a campaign. Arms follow from a hash of
subject, customer and salt, within strata; everybody counts in the arm drawn, whatever was done afterwards
(intention to treat); one metric in one window, named before it starts. *Source*: R28, R30; `insight.md` §7.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np

from backend.domain.arrays import BASIS_POINTS, BoolArray, FloatArray, IntArray
from backend.errors import Code, Problem, Refused

HOLDOUT_BP_MIN, HOLDOUT_BP_MAX = 1_000, 5_000
"""At least a tenth is held out; more than half would be a programme for nobody."""
RATIO_P_MIN = 0.001
"""Arms that fit their plan worse than this were not what was planned."""
ARM_CUSTOMERS_MIN = 10
CONFIDENCE = 0.95


class SubjectKind(StrEnum):
    """What is evaluated."""

    VISIT_PROGRAMME = "VISIT_PROGRAMME"
    STRATEGY = "STRATEGY"
    ROLL_OUT = "ROLL_OUT"
    CAMPAIGN = "CAMPAIGN"
    SERVICE_POLICY = "SERVICE_POLICY"
    OTHER = "OTHER"


class EvaluationMetric(StrEnum):
    """What is measured of every customer in the window."""

    REVENUE = "REVENUE"
    """net order value, in minor units of the reporting currency"""
    ORDERS = "ORDERS"
    """days on which the customer ordered"""
    BUYERS = "BUYERS"
    """1 for a customer who ordered at all, else 0"""


class EvaluationState(StrEnum):
    """How far an evaluation is."""

    PLANNED = "PLANNED"
    FROZEN = "FROZEN"
    """arms are drawn; nothing about it changes any more but its end"""
    CLOSED = "CLOSED"
    ABORTED = "ABORTED"
    """arms were not what was planned: nothing can be said"""
    DROPPED = "DROPPED"
    """never begun, or given up before its window ended"""


NEXT: Mapping[EvaluationState, tuple[EvaluationState, ...]] = {
    EvaluationState.PLANNED: (EvaluationState.FROZEN, EvaluationState.DROPPED),
    EvaluationState.FROZEN: (EvaluationState.CLOSED, EvaluationState.ABORTED, EvaluationState.DROPPED),
    EvaluationState.CLOSED: (),
    EvaluationState.ABORTED: (),
    EvaluationState.DROPPED: (),
}
RUNNING = (EvaluationState.PLANNED, EvaluationState.FROZEN)
ENDED = (EvaluationState.CLOSED, EvaluationState.ABORTED, EvaluationState.DROPPED)


def check_step(now: EvaluationState, then: EvaluationState) -> None:
    """Raises INVALID_TRANSITION with the states that are open."""
    if then not in NEXT[now]:
        raise Refused(Problem(Code.INVALID_TRANSITION, ("state",), tuple(NEXT[now])))


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """An evaluation as it is kept. Days are local days of the organisation; moments in milliseconds; money in minor
    units of `currency`. `territory_id` None: the whole organisation; no `segments`, no `kinds`: all of them.
    `result`: None until it was closed."""

    id: str
    state: EvaluationState
    subject_kind: SubjectKind
    subject_id: str
    name: str
    strategy: str | None
    territory_id: str | None
    segments: tuple[str, ...]
    kinds: tuple[str, ...]
    metric: EvaluationMetric
    starts_on: str
    ends_on: str
    holdout_bp: int
    salt: str
    cost_minor: int
    currency: str
    expectation: str | None
    planned_at_ms: int
    planned_by: str
    frozen_at_ms: int | None
    treated_n: int | None
    control_n: int | None
    ended_at_ms: int | None
    ended_by: str | None
    result: dict[str, Any] | None
    lesson: str | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """An effect per customer with its 95 % interval and degrees of freedom.

    `control_mean`: what the held-out customers showed; `variance_cut`: share of the variance that the forecast from
    before took away, 0..1.
    """

    lift: float
    low: float
    high: float
    treated_mean: float
    control_mean: float
    freedom: float
    variance_cut: float
    treated_n: int
    control_n: int

    @property
    def relative(self) -> float | None:
        """The lift as a share of the control's mean; None where that is 0."""
        return self.lift / self.control_mean if self.control_mean else None


@dataclass(frozen=True, slots=True)
class Return:
    """What it brought: whole minor units over all treated customers, after the cost; `ratio` per unit of cost."""

    gain_minor: int
    gain_low_minor: int
    gain_high_minor: int
    cost_minor: int
    net_minor: int
    ratio: float | None


def arm_hashes(subject: str, customer_ids: Sequence[str], salt: str) -> IntArray:
    """(n,) 62-bit numbers that look random and follow from the names alone."""
    start = hashlib.blake2b(f"{subject}\x1f{salt}\x1f".encode(), digest_size=8)

    def number(customer_id: str) -> int:
        one = start.copy()
        one.update(customer_id.encode())
        return int.from_bytes(one.digest(), "big") >> 2

    return np.fromiter((number(one) for one in customer_ids), dtype=np.int64, count=len(customer_ids))


def held_out(hashes: IntArray, strata: IntArray, holdout_bp: int) -> BoolArray:
    """(n,) True for the customers who are left alone.

    Customers stand in the sequence of their strata, within a stratum in that of their hashes, and every k-th is held
    out: each stratum gives its share to within one customer, all together never less than `holdout_bp`. Raises
    OUT_OF_RANGE for a share below a tenth or above a half, and where fewer than two customers are given.
    """
    if not HOLDOUT_BP_MIN <= holdout_bp <= HOLDOUT_BP_MAX:
        allowed = (str(HOLDOUT_BP_MIN), str(HOLDOUT_BP_MAX))
        raise Refused(Problem(Code.OUT_OF_RANGE, ("holdoutBp",), allowed))
    total = int(hashes.size)
    if total < 2:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("customers",), ("2", "")))
    count = -(-total * holdout_bp // BASIS_POINTS)
    order = np.lexsort((hashes, strata))
    # where the counting starts is drawn by the hashes too, else the first of a stratum would never be held out
    begin = float(np.bitwise_xor.reduce(hashes) % (1 << 30)) / (1 << 30)
    places = np.floor((np.arange(count) + begin) * total / count).astype(np.int64)
    out = np.zeros(total, dtype=np.bool_)
    out[order[places]] = True
    return out


def ratio_p(treated_n: int, control_n: int, planned_control_share: float) -> float:
    """Two-sided p of arms of these sizes under the planned share (χ² of one degree of freedom)."""
    total = treated_n + control_n
    if not total:
        return 0.0
    expected = total * planned_control_share
    spread = expected * (1.0 - planned_control_share)
    if spread <= 0.0:
        return 1.0 if control_n == expected else 0.0
    return math.erfc(abs(control_n - expected) / math.sqrt(2.0 * spread))


def estimate(
    outcome: FloatArray,
    treated: BoolArray,
    *,
    forecast: FloatArray | None = None,
    strata: IntArray | None = None,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The mean difference treated − control with Welch's interval, after what was foreseeable is taken off.

    `outcome`: (n,) the metric in the window; `forecast`: (n,) what was expected of each customer before the start
    (CUPED: its slope is fitted within arms and strata, so it can take off noise but no effect); NaN counts as the
    mean; `strata`: (n,) as drawn. Raises OUT_OF_RANGE with fewer than two customers in an arm, INVALID_VALUE for
    an outcome that is not finite.
    """
    if not np.isfinite(outcome).all():
        raise Refused(Problem(Code.INVALID_VALUE, ("outcome",)))
    treated_n, control_n = int(treated.sum()), int((~treated).sum())
    if min(treated_n, control_n) < 2:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("customers",), ("2", "")))
    group = np.zeros(outcome.shape, dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    strata_n = int(group.max()) + 1
    own = outcome - _stratum_effect(outcome, group, treated)
    parameters_n = strata_n - 1
    if forecast is not None:
        seen = np.where(np.isfinite(forecast), forecast, np.nan)
        x = np.where(np.isnan(seen), np.nanmean(seen) if np.isfinite(seen).any() else 0.0, seen)
        x = x - _stratum_effect(x, group, treated)
        inside_x, inside_y = _centred(x, treated), _centred(own, treated)
        power = float(inside_x @ inside_x)
        if power > 0.0:
            own = own - float(inside_x @ inside_y) / power * (x - x.mean())
            parameters_n += 1
    return _welch(own, outcome, treated, parameters_n, confidence)


def return_of(found: Estimate, *, cost_minor: int, margin_bp: int | None) -> Return:
    """Money from an effect in money: lift × treated customers, at the margin where one is declared, less the cost."""
    share = 1.0 if margin_bp is None else margin_bp / BASIS_POINTS
    gain, low, high = (round(value * found.treated_n * share) for value in (found.lift, found.low, found.high))
    return Return(gain, low, high, cost_minor, gain - cost_minor, gain / cost_minor if cost_minor else None)


def t_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's distribution by the expansion about the normal one; within .01 from 4 degrees on.

    *Source*: Abramowitz, Stegun 26.7.5.
    """
    z, v = NormalDist().inv_cdf(probability), max(freedom, 1.0)
    terms = (
        (z**3 + z) / 4.0,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96.0,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384.0,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160.0,
    )
    return z + sum(term / v ** (place + 1) for place, term in enumerate(terms))


def _stratum_effect(values: FloatArray, group: IntArray, treated: BoolArray) -> FloatArray:
    """(n,) how far each stratum's mean lies from the mean of all, arms weighted alike within it.

    Arms differ by the effect; weighting them as drawn in all strata keeps it out of the strata's means.
    """
    share = float(treated.mean())
    sums = {arm: np.bincount(group, np.where(treated == arm, values, 0.0)) for arm in (True, False)}
    counts = {arm: np.bincount(group, (treated == arm).astype(np.float64)) for arm in (True, False)}
    mean = {}
    for arm in (True, False):
        overall = float(values[treated == arm].mean())
        mean[arm] = np.where(counts[arm] > 0, sums[arm] / np.maximum(counts[arm], 1.0), np.nan) - overall
    size = counts[True] + counts[False]
    weight_true = np.where(counts[True] > 0, share, 0.0)
    weight_false = np.where(counts[False] > 0, 1.0 - share, 0.0)
    total = weight_true + weight_false
    effect = (np.nan_to_num(mean[True]) * weight_true + np.nan_to_num(mean[False]) * weight_false) / total
    effect = effect - float(effect @ size) / float(size.sum())
    return np.asarray(effect[group], dtype=np.float64)


def _centred(values: FloatArray, treated: BoolArray) -> FloatArray:
    return np.asarray(values - np.where(treated, values[treated].mean(), values[~treated].mean()), dtype=np.float64)


def _welch(own: FloatArray, outcome: FloatArray, treated: BoolArray, parameters_n: int, confidence: float) -> Estimate:
    rows_n = own.size
    spare = rows_n / max(rows_n - 2 - parameters_n, 1) * (rows_n - 2) / rows_n
    one, two = own[treated], own[~treated]
    error_one = float(one.var(ddof=1)) / one.size * spare
    error_two = float(two.var(ddof=1)) / two.size * spare
    error = error_one + error_two
    freedom = (
        error**2 / (error_one**2 / (one.size - 1) + error_two**2 / (two.size - 1)) if error > 0.0 else rows_n - 2.0
    )
    half = t_quantile(0.5 + confidence / 2.0, freedom) * math.sqrt(error)
    lift = float(one.mean() - two.mean())
    raw = float(outcome[treated].var(ddof=1)) / one.size + float(outcome[~treated].var(ddof=1)) / two.size
    return Estimate(
        lift=lift,
        low=lift - half,
        high=lift + half,
        treated_mean=float(outcome[treated].mean()),
        control_mean=float(outcome[~treated].mean()),
        freedom=float(freedom),
        variance_cut=max(0.0, 1.0 - error / raw) if raw > 0.0 else 0.0,
        treated_n=int(one.size),
        control_n=int(two.size),
    )
