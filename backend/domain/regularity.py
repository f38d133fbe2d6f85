"""Is buying regular enough for CNBD-k? Screened by the evenness of gaps, decided on what was held out.

Taking a steadier clock is a claim about tomorrow, so tomorrow decides: for each cut of the past both models are fitted
on what was known then, and the next quarter judges them. *Source*: Wheat & Morrison (1990), Platzer & Reutterer
(2016); R50.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.condensed import REGULARITY_MAX
from backend.domain.purchase import Model, PurchaseFit, PurchaseHistory, TimeUnit, fit_purchase
from backend.domain.purchase_forecast import expected_purchases, quiet_probability

GAPS_ENOUGH_N = 100
"""Customers with two gaps between purchases, below which evenness is not judged."""
WORTH_TRYING = 1.5
GAIN_ERRORS_MIN = 2.0
CHANCE_MIN = 1e-9


class RegularityStatus(StrEnum):
    """Why CNBD-k was taken or not."""

    TOO_FEW = "TOO_FEW"
    IRREGULAR = "IRREGULAR"
    """the gaps are as uneven as chance makes them"""
    NOT_BETTER = "NOT_BETTER"
    """it did not beat MBG/NBD on the hold-out"""
    CHOSEN = "CHOSEN"


@dataclass(frozen=True, slots=True)
class Cut:
    """What was known on a day of the past, and how often each of these customers bought in the time held out."""

    past: PurchaseHistory
    bought_n: IntArray
    horizon_days: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One k against MBG/NBD on the same hold-outs.

    `gain`: mean log score of "buys at all in the time held out" per customer and cut, above that of MBG/NBD, with
    `gain_error` its standard error; `count_error`, `count_error_memoryless`: mean absolute error of the count.
    """

    k: int
    gain: float
    gain_error: float
    count_error: float
    count_error_memoryless: float

    @property
    def wins(self) -> bool:
        """Likelier by more than two standard errors, and no worse at counting."""
        return self.gain > GAIN_ERRORS_MIN * self.gain_error and self.count_error <= self.count_error_memoryless


@dataclass(frozen=True, slots=True)
class Regularity:
    """The k in use and how it came to be; `estimate`: k as the evenness of gaps suggests, None where not judged."""

    k: int = 1
    status: RegularityStatus = RegularityStatus.TOO_FEW
    estimate: float | None = None
    trials: tuple[Trial, ...] = ()

    def document(self) -> dict[str, Any]:
        """As it is kept with the run."""
        return {
            "k": self.k,
            "status": self.status.value,
            "estimate": self.estimate,
            "trials": [
                {
                    "k": trial.k,
                    "gain": trial.gain,
                    "gainError": trial.gain_error,
                    "countError": trial.count_error,
                    "countErrorMemoryless": trial.count_error_memoryless,
                }
                for trial in self.trials
            ],
        }


MEMORYLESS = Regularity()
"""MBG/NBD itself, where nothing was tried."""


def regularity_of(document: dict[str, Any] | None) -> Regularity:
    """Inverse of `Regularity.document`; a run that kept none knew MBG/NBD only."""
    if document is None:
        return MEMORYLESS
    trials = tuple(
        Trial(one["k"], one["gain"], one["gainError"], one["countError"], one["countErrorMemoryless"])
        for one in document["trials"]
    )
    return Regularity(document["k"], RegularityStatus(document["status"]), document["estimate"], trials)


def evenness(customer: IntArray, day: IntArray) -> tuple[float | None, int]:
    """k as the last two gaps of every customer suggest it, and how many customers that is.

    `customer`, `day`: (m,) distinct purchase days, sorted by customer and day. Of two gaps of one Erlang-k clock the
    first takes a share ~ Beta(k, k) of both, whatever the customer's rate; its variance gives k. None below
    `GAPS_ENOUGH_N`; at most `REGULARITY_MAX`.
    """
    if customer.size < 3:
        return None, 0
    last = np.flatnonzero(np.r_[customer[1:] != customer[:-1], True])
    last = last[last >= 2]
    last = last[customer[last - 2] == customer[last]]
    if last.size < GAPS_ENOUGH_N:
        return None, int(last.size)
    first_gap, both = day[last - 1] - day[last - 2], day[last] - day[last - 2]
    spread = float(np.mean((first_gap / both - 0.5) ** 2))
    if spread <= 0.0:
        return float(REGULARITY_MAX), int(last.size)
    return float(min((1.0 - 4.0 * spread) / (8.0 * spread), REGULARITY_MAX)), int(last.size)


def choose_regularity(estimate: float | None, cuts: Sequence[Cut], unit: TimeUnit) -> Regularity:
    """The k to use: 1 unless a k ≥ 2 beats MBG/NBD on the hold-outs; of several that do, the likeliest."""
    if estimate is None or not cuts:
        return Regularity(estimate=estimate)
    if estimate < WORTH_TRYING:
        return Regularity(1, RegularityStatus.IRREGULAR, estimate)
    candidates = sorted({int(np.clip(side, 2, REGULARITY_MAX)) for side in (np.floor(estimate), np.ceil(estimate))})
    memoryless = [_judge(cut, _fit(cut, 1, unit)) for cut in cuts]
    trials = tuple(_trial(k, [_judge(cut, _fit(cut, k, unit)) for cut in cuts], memoryless) for k in candidates)
    winners = [trial for trial in trials if trial.wins]
    if not winners:
        return Regularity(1, RegularityStatus.NOT_BETTER, estimate, trials)
    best = max(winners, key=lambda trial: trial.gain)
    return Regularity(best.k, RegularityStatus.CHOSEN, estimate, trials)


def _fit(cut: Cut, k: int, unit: TimeUnit) -> PurchaseFit:
    return fit_purchase(cut.past, model=Model.MBG_NBD, unit=unit, regularity=k)


def _judge(cut: Cut, fit: PurchaseFit) -> tuple[FloatArray, FloatArray]:
    """(n,) log score of "buys at all" and (n,) absolute error of the count."""
    quiet = np.clip(quiet_probability(fit, cut.past, cut.horizon_days), CHANCE_MIN, 1.0 - CHANCE_MIN)
    score = np.where(cut.bought_n > 0, np.log1p(-quiet), np.log(quiet))
    return score, np.abs(expected_purchases(fit, cut.past, (cut.horizon_days,))[:, 0] - cut.bought_n)


def _trial(
    k: int, found: Sequence[tuple[FloatArray, FloatArray]], memoryless: Sequence[tuple[FloatArray, FloatArray]]
) -> Trial:
    gain = np.concatenate([mine[0] - theirs[0] for mine, theirs in zip(found, memoryless, strict=True)])
    return Trial(
        k=k,
        gain=float(gain.mean()),
        gain_error=float(gain.std() / np.sqrt(gain.size)),
        count_error=float(np.concatenate([one[1] for one in found]).mean()),
        count_error_memoryless=float(np.concatenate([one[1] for one in memoryless]).mean()),
    )
