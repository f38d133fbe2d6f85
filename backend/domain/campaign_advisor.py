"""Which activity has worked before for customers of a segment: closed evaluations, pooled by what was done.

A pattern is the kind of subject, the action (the strategy it followed, else the subject itself), the metric, and
whether it was aimed at the segment or at everybody. Effects are shares of what the customers left alone showed, so that
seasons and currencies compare; they are pooled by inverse variance with the variance between evaluations added:
wᵢ = 1/(sᵢ² + τ²), pooled = Σwᵢθᵢ/Σwᵢ, its standard error 1/√Σwᵢ, τ² = max(0, (Q − k + 1)/(Σ1/sᵢ² − Σsᵢ⁻⁴/Σsᵢ⁻²)) with
Q = Σ(θᵢ − θ̄)²/sᵢ² about the mean θ̄ by 1/sᵢ². *Source*: R10, R24; DerSimonian, Laird (1986), Controlled Clinical
Trials 7, 177-188.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import FloatArray
from backend.domain.backtest import Verdict, verdict_of
from backend.domain.evaluations import (
    CONFIDENCE,
    EvaluationMetric,
    EvaluationRecord,
    EvaluationState,
    SubjectKind,
    t_quantile,
)
from backend.domain.ranking import Interval
from backend.domain.survival import Z_95
from backend.errors import Code, Problem, Refused

ACTIVITIES = (SubjectKind.CAMPAIGN, SubjectKind.STRATEGY, SubjectKind.VISIT_PROGRAMME)
"""What is done to customers and can be done again."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """One effect of several: mean, 95 % interval, `spread`: standard deviation between evaluations (τ)."""

    lift: float
    low: float
    high: float
    spread: float


@dataclass(frozen=True, slots=True)
class Pattern:
    """What was done, and what came of it. `lift`, `low`, `high`, `spread`: shares of what customers left alone showed.

    `aimed`: only customers of named segments were treated, this one among them; else everybody. `evaluations`: newest
    first; `treated_n`, `control_n`: customers over all of them.
    """

    subject_kind: SubjectKind
    action: str
    metric: EvaluationMetric
    aimed: bool
    lift: float
    low: float
    high: float
    spread: float
    verdict: Verdict
    treated_n: int
    control_n: int
    evaluations: tuple[EvaluationRecord, ...]


def pooled(lifts: FloatArray, errors: FloatArray) -> Pooled:
    """One effect of (k,) effects with their (k,) standard errors, k ≥ 1; the interval is normal.

    Raises OUT_OF_RANGE for none, INVALID_VALUE for what is not finite or a standard error that is not positive.
    """
    if lifts.size == 0 or lifts.shape != errors.shape:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("effects",), ("1", "")))
    if not (np.isfinite(lifts).all() and np.isfinite(errors).all() and (errors > 0.0).all()):
        raise Refused(Problem(Code.INVALID_VALUE, ("effects",)))
    weights = errors**-2.0
    total = float(weights.sum())
    mean = float(weights @ lifts) / total
    unlike = float(weights @ (lifts - mean) ** 2)
    scale = total - float(weights @ weights) / total
    between = max(0.0, (unlike - (lifts.size - 1)) / scale) if lifts.size > 1 and scale > 0.0 else 0.0
    weights = 1.0 / (errors**2.0 + between)
    total = float(weights.sum())
    lift, half = float(weights @ lifts) / total, Z_95 / math.sqrt(total)
    return Pooled(lift, lift - half, lift + half, math.sqrt(between))


def relative_effect(found: EvaluationRecord) -> tuple[float, float] | None:
    """(lift, standard error) of a closed evaluation as shares of what the customers left alone showed.

    The error is that of the difference, taken back from its interval with as many degrees of freedom as the arms can
    have, which is never too small. None where nothing was measured, where the customers left alone showed nothing to be
    a share of, or where nobody differed from anybody, so that there is no error to weigh by.
    """
    result = found.result or {}
    lift, low, high, base = (result.get(name) for name in ("lift", "low", "high", "controlMean"))
    if found.state is not EvaluationState.CLOSED or lift is None or low is None or high is None or base is None:
        return None
    freedom = int(result["treatedN"]) + int(result["controlN"]) - 2
    error = (high - low) / 2.0 / t_quantile(0.5 + CONFIDENCE / 2.0, freedom)
    if base <= 0.0 or error <= 0.0:
        return None
    return lift / base, error / base


def ranked_patterns(found: Iterable[EvaluationRecord], segment: str) -> tuple[Pattern, ...]:
    """Patterns that tell something of a segment, the surest first: by the lower end of the interval, then by name.

    `found`: evaluations in any order. Those of other segments only, of other kinds of subjects, and those that measured
    nothing are left out. Empty where nothing is left.
    """
    groups: dict[tuple[SubjectKind, str, EvaluationMetric, bool], list[tuple[EvaluationRecord, float, float]]]
    groups = defaultdict(list)
    for one in found:
        effect = relative_effect(one)
        if effect is None or one.subject_kind not in ACTIVITIES or (one.segments and segment not in one.segments):
            continue
        groups[one.subject_kind, one.strategy or one.subject_id, one.metric, bool(one.segments)].append((one, *effect))
    patterns = []
    for (kind, action, metric, aimed), rows in groups.items():
        rows.sort(key=lambda row: (row[0].ends_on, row[0].id), reverse=True)
        together = pooled(np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))
        results = [row[0].result or {} for row in rows]
        patterns.append(
            Pattern(
                kind,
                action,
                metric,
                aimed,
                together.lift,
                together.low,
                together.high,
                together.spread,
                verdict_of(Interval(together.lift, together.low, together.high)),
                sum(result["treatedN"] for result in results),
                sum(result["controlN"] for result in results),
                tuple(row[0] for row in rows),
            )
        )
    return tuple(sorted(patterns, key=lambda one: (-one.low, one.subject_kind, one.action, one.metric, not one.aimed)))
