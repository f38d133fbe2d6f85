"""What to ask on the next visit: the facts not known, or known too long ago, that would most change a segment.

For each fact the worst and the best answer are put in by the very formulas of satisfaction and loyalty, one answer more
among those there are, and the segment is read off. First comes what moves the segment at more of its two bounds, then
what swings more points of priority, then the sequence of `AskedFact`. *Source*: R48, R52.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import Basis, BoolArray, FloatArray, IntArray, IntColumn, Measure, codes
from backend.domain.forms import Measured
from backend.domain.history import QUARTER_DAYS, HistoryColumns
from backend.domain.loyalty import WALLET_SHRINK_QUARTERS, loyalty
from backend.domain.satisfaction import ANSWER_SHRINK, satisfaction_of
from backend.domain.segments import ONBOARDING, SCORE_BAND_BP, SEGMENT_CODES, SegmentColumns, Thresholds

QUESTIONS_MAX = 3


class AskedFact(StrEnum):
    """What a question could tell us of a customer."""

    CSAT = "CSAT"
    NPS = "NPS"
    WALLET = "WALLET"
    REFERRALS = "REFERRALS"


class AskedBecause(StrEnum):
    """Why it is asked."""

    UNRECORDED = "UNRECORDED"
    STALE = "STALE"


ANSWERED_BY: Mapping[AskedFact, tuple[Measured, ...]] = {
    AskedFact.CSAT: (Measured.CSAT,),
    AskedFact.NPS: (Measured.NPS,),
    AskedFact.WALLET: (Measured.WALLET_SHARE, Measured.WALLET_BUDGET),
    AskedFact.REFERRALS: (Measured.REFERRALS,),
}
"""Fact → the measures that tell it, the one to ask for first in front."""
STALE_DAYS: Mapping[AskedFact, int] = {
    AskedFact.CSAT: 180,
    AskedFact.NPS: 180,
    AskedFact.WALLET: 365,
    AskedFact.REFERRALS: 365,
}
"""After so many days a fact is asked again: an opinion weighs half by then."""
_SATISFACTION_PART: Mapping[AskedFact, str] = {AskedFact.CSAT: "csat", AskedFact.NPS: "nps"}
_LOYALTY_PART: Mapping[AskedFact, str] = {AskedFact.WALLET: "wallet", AskedFact.REFERRALS: "referrals"}
_SATISFACTION_POINTS, _LOYALTY_POINTS = 4.0, 2.0
"""What a hundred points of each are worth in a priority."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the night found: the parts of both scores by name, and the segments with the cuts they were made by."""

    satisfaction: Mapping[str, Measure]
    loyalty: Mapping[str, Measure]
    severe: BoolArray
    segment: SegmentColumns
    thresholds: Thresholds
    history: HistoryColumns
    as_of_day: int


@dataclass(frozen=True, slots=True)
class NextQuestions:
    """(n, 4) columns in the sequence of `AskedFact`.

    `rank`: place 0, 1, 2 among what is to be asked, −1 not asked; `stale`: known once; `low`, `high`: segment codes
    after the worst and the best answer.
    """

    rank: IntArray
    stale: BoolArray
    low: IntArray
    high: IntArray

    def texts(self) -> list[str]:
        """(n,) the documents of every customer as canonical JSON; equal rows are written once."""
        packed = np.zeros(self.rank.shape[0], dtype=np.int64)
        for place in range(len(AskedFact)):
            for column, size in ((self.rank + 1, 8), (self.stale.astype(np.int64), 2), (self.low, 32), (self.high, 32)):
                packed = packed * size + column[:, place]
        _, first, which = np.unique(packed, return_index=True, return_inverse=True)
        told = [
            json.dumps(self.documents(row), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            for row in first.tolist()
        ]
        return [told[at] for at in which.tolist()]

    def documents(self, row: int) -> list[dict[str, str]]:
        """What to ask one customer, as it travels to devices."""
        order = [place for place in np.argsort(self.rank[row], kind="stable").tolist() if self.rank[row, place] >= 0]
        facts = tuple(AskedFact)
        return [
            {
                "measure": facts[place].value,
                "because": (AskedBecause.STALE if self.stale[row, place] else AskedBecause.UNRECORDED).value,
                "low": SEGMENT_CODES[int(self.low[row, place])],
                "high": SEGMENT_CODES[int(self.high[row, place])],
            }
            for place in order
        ]


def next_questions(standing: Standing, ages_days: Mapping[AskedFact, IntColumn]) -> NextQuestions:
    """At most three questions for every customer.

    `ages_days`: (n,) days since each fact was last told, not known where it never was.
    Monotone: a fact becomes no less worth asking by getting older. Empty columns for no customer.
    """
    n = standing.severe.shape[0]
    low, high = np.zeros((n, len(AskedFact)), dtype=np.int64), np.zeros((n, len(AskedFact)), dtype=np.int64)
    swing, asked = np.zeros((n, len(AskedFact))), np.zeros((n, len(AskedFact)), dtype=np.bool_)
    stale = np.zeros((n, len(AskedFact)), dtype=np.bool_)
    for place, fact in enumerate(AskedFact):
        age = ages_days[fact]
        stale[:, place] = age.known & (age.values > STALE_DAYS[fact])
        asked[:, place] = ~age.known | stale[:, place]
        low[:, place], least = _after(standing, fact, 0.0)
        high[:, place], most = _after(standing, fact, 1.0)
        points = _SATISFACTION_POINTS if fact in _SATISFACTION_PART else _LOYALTY_POINTS
        swing[:, place] = points * (most - least)
    now = standing.segment.code[:, None]
    moved = (low != now).astype(np.int64) + (high != now)
    # whole numbers: the same sequence on every machine
    worth = moved * 1_000_000 + np.rint(np.nan_to_num(swing) * 100).astype(np.int64)
    order = np.argsort(np.where(asked, -worth, np.iinfo(np.int64).max), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(len(AskedFact)), order.shape).copy(), axis=1)
    return NextQuestions(np.where(asked & (rank < QUESTIONS_MAX), rank, -1), stale, low, high)


def _after(standing: Standing, fact: AskedFact, answer: float) -> tuple[IntArray, FloatArray]:
    """(n,) segment codes and the score 0..100 it leads to when the fact is told as `answer`, 0 worst to 1 best."""
    if fact in _SATISFACTION_PART:
        parts = dict(standing.satisfaction)
        parts[_SATISFACTION_PART[fact]] = _one_answer_more(parts[_SATISFACTION_PART[fact]], answer)
        score = satisfaction_of(parts, standing.severe).value
        return _code(standing, score, 3, standing.thresholds.satisfaction_bp), score
    parts = dict(standing.loyalty)
    told = _wallet_told(standing, answer) if fact is AskedFact.WALLET else np.full(standing.severe.shape, answer)
    sure = np.ones_like(told)
    parts[_LOYALTY_PART[fact]] = Measure(told, sure, codes(told.shape[0], Basis.RECORDED))
    score = loyalty(parts).score.value
    return _code(standing, score, 2, standing.thresholds.loyalty_bp), score


def _one_answer_more(part: Measure, answer: float) -> Measure:
    """The mean with one fresh answer among those there are; without any it starts from everybody's mean."""
    sure = np.minimum(part.confidence, 1.0 - 1e-9)
    weight = np.where(part.known, ANSWER_SHRINK * sure / (1.0 - sure), 0.0)
    mean = float(part.value[part.known].mean()) if part.known.any() else 0.5
    start = np.where(part.known, part.value, mean)
    value = ((weight + ANSWER_SHRINK) * start + answer) / (weight + ANSWER_SHRINK + 1.0)
    return Measure(value, (weight + 1.0) / (weight + 1.0 + ANSWER_SHRINK), codes(value.shape[0], Basis.SHRUNK_TO_PEERS))


def _wallet_told(standing: Standing, answer: float) -> FloatArray:
    """The share as shrunk with as many quarters as the customer has ordered."""
    part = standing.loyalty["wallet"]
    mean = float(part.value[part.known].mean()) if part.known.any() else 0.5
    quarters = np.clip((standing.as_of_day - standing.history.first_day) / QUARTER_DAYS, 0.0, 4.0)
    return np.asarray((quarters * answer + WALLET_SHRINK_QUARTERS * mean) / (quarters + WALLET_SHRINK_QUARTERS))


def _code(standing: Standing, score: FloatArray, axis: int, cut_bp: int) -> IntArray:
    """The segment with one side decided by a new score, beyond the band; onboarding stays onboarding."""
    bit = 1 << (3 - axis)
    bits = standing.segment.bits
    was_high = (bits & bit) > 0
    worth = np.nan_to_num(score, nan=cut_bp / 100.0) * 100.0
    is_high = np.where(was_high, worth >= cut_bp - SCORE_BAND_BP, worth >= cut_bp + SCORE_BAND_BP)
    if axis == 3:
        is_high = is_high & ~standing.severe
    code = np.where(is_high, bits | bit, bits & ~bit)
    return np.where(standing.segment.code == ONBOARDING, ONBOARDING, code).astype(np.int64)
