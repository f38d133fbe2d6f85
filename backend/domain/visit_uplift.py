"""What does a visit bring? The two shares in `expected_uplift`, estimated where visits were held out at random.

Until enough customers were held out the shipped assumptions stay, and the basis says so. *Source*: R28, R30;
`insight.md` §5, §7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray
from backend.domain.evaluations import t_quantile
from backend.errors import Code, Problem, Refused

ARM_CUSTOMERS_MIN = 200
"""Fewer in an arm leave the assumptions in force."""
HALF_WIDTH_MAX = 0.10
"""An interval wider than ± this says less than the assumptions do."""
SHARE_MAX = 1.0


class UpliftBasis(StrEnum):
    """What the shares stand on."""

    PRIOR = "PRIOR"
    """assumed: too few customers were held out"""
    ESTIMATED = "ESTIMATED"
    """measured on visits held out at random"""


@dataclass(frozen=True, slots=True)
class UpliftPrior:
    """The assumptions: see `expected_uplift`."""

    base: float = 0.05
    peak: float = 0.20
    centre: float = 1.5
    width: float = 0.25


PRIOR = UpliftPrior()
DIGITS = 6
"""Of a share as it is used and kept, so that the same data give the same scores wherever they are added up."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of expected spend with its 95 % interval; without one where it is assumed."""

    value: float
    low: float | None = None
    high: float | None = None

    def document(self) -> dict[str, float | None]:
        """As it is kept."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class VisitUplift:
    """What to call `expected_uplift` with. `base`: at customers on time; `peak`: at customers long past due.

    The shares of an estimate are held within 0..1; their intervals are as measured. `treated_n`, `control_n`: the
    customers it stands on, also where they were too few.
    """

    basis: UpliftBasis
    base: Share
    peak: Share
    centre: float
    width: float
    treated_n: int
    control_n: int

    @property
    def measured(self) -> bool:
        """True where the shares stand on visits held out at random."""
        return self.basis is UpliftBasis.ESTIMATED

    def document(self) -> dict[str, Any]:
        """As it is kept with the run that used it."""
        return {
            "basis": self.basis.value,
            "base": self.base.document(),
            "peak": self.peak.document(),
            "centre": self.centre,
            "width": self.width,
            "treatedN": self.treated_n,
            "controlN": self.control_n,
        }


def assumed_uplift(prior: UpliftPrior = PRIOR, treated_n: int = 0, control_n: int = 0) -> VisitUplift:
    """The assumptions, with how many customers there were to measure on."""
    return VisitUplift(
        UpliftBasis.PRIOR, Share(prior.base), Share(prior.peak), prior.centre, prior.width, treated_n, control_n
    )


def uplift_of(document: Mapping[str, Any] | None) -> VisitUplift:
    """Inverse of `VisitUplift.document`; of a run that kept none, the assumptions."""
    if document is None:
        return assumed_uplift()
    base, peak = (Share(one["value"], one["low"], one["high"]) for one in (document["base"], document["peak"]))
    return VisitUplift(
        UpliftBasis(document["basis"]),
        base,
        peak,
        document["centre"],
        document["width"],
        document["treatedN"],
        document["controlN"],
    )


@dataclass(frozen=True, slots=True)
class HeldOutVisits:
    """Randomised visit programmes, one row per customer and programme.

    `treated`: (m,) visits were planned (whether kept or not); `spend`: (m,) what was expected of the customer within
    the window without any regard to visits; `recency_ratio`: (m,) as of the start, NaN reads as on time;
    `outcome`: (m,) what came in the window; money all in one unit.
    """

    treated: BoolArray
    spend: FloatArray
    recency_ratio: FloatArray
    outcome: FloatArray


def estimate_uplift(found: HeldOutVisits, prior: UpliftPrior = PRIOR) -> VisitUplift:
    """Both shares by least squares in shares of expected spend, with intervals that allow uneven spread.

    The model is outcome = spend · [a·(1−σ) + b·σ] for everybody, + spend · [base·(1−σ) + peak·σ] where treated, σ the
    lateness of `expected_uplift`: a and b are whatever level the forecast was off by. The prior is handed back until
    both arms have `ARM_CUSTOMERS_MIN` customers with spend expected and both intervals are within `HALF_WIDTH_MAX`.
    Raises INVALID_VALUE for columns of different length or money that is not finite.
    """
    _check(found)
    used = found.spend > 0.0
    treated_n, control_n = int((used & found.treated).sum()), int((used & ~found.treated).sum())
    assumed = assumed_uplift(prior, treated_n, control_n)
    if min(treated_n, control_n) < ARM_CUSTOMERS_MIN:
        return assumed
    spend, treated = found.spend[used], found.treated[used]
    ratio = np.where(np.isnan(found.recency_ratio[used]), 0.0, found.recency_ratio[used])
    late = 1.0 / (1.0 + np.exp(-np.clip((ratio - prior.centre) / prior.width, -50.0, 50.0)))
    both = np.stack([1.0 - late, late], axis=1)
    # big customers vary more: each counts by the inverse of its own spend, bounded by the middle one's
    scale = 1.0 / (spend + float(np.median(spend)))
    design = np.concatenate([both, both * treated[:, None]], axis=1) * (spend * scale)[:, None]
    wanted = found.outcome[used] * scale
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return assumed
    inverse = np.asarray(np.linalg.inv(design.T @ design), dtype=np.float64)
    shares = inverse @ (design.T @ wanted)
    spare = wanted.size - design.shape[1]
    residual = (wanted - design @ shares) / (1.0 - np.minimum(_leverage(design, inverse), 0.99))
    spread = (design * residual[:, None]) @ inverse
    half = t_quantile(0.975, float(spare)) * np.sqrt((spread**2).sum(axis=0))
    if (half[2:] > HALF_WIDTH_MAX).any():
        return assumed
    return VisitUplift(
        UpliftBasis.ESTIMATED,
        _share(float(shares[2]), float(half[2])),
        _share(float(shares[3]), float(half[3])),
        prior.centre,
        prior.width,
        treated_n,
        control_n,
    )


def _share(value: float, half: float) -> Share:
    within = min(max(value, 0.0), SHARE_MAX)
    return Share(round(within, DIGITS), round(value - half, DIGITS), round(value + half, DIGITS))


def _leverage(design: FloatArray, inverse: FloatArray) -> FloatArray:
    return np.asarray(((design @ inverse) * design).sum(axis=1), dtype=np.float64)


def _check(found: HeldOutVisits) -> None:
    rows = {found.treated.shape, found.spend.shape, found.recency_ratio.shape, found.outcome.shape}
    if len(rows) != 1 or not (np.isfinite(found.spend).all() and np.isfinite(found.outcome).all()):
        raise Refused(Problem(Code.INVALID_VALUE, ("visits",)))
