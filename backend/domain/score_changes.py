"""Which scores changed enough that a device must learn it.

Every night shifts every figure a little: a day has passed, and shares and percentiles move when anybody orders.
Sending the world for that helps nobody. A score is written again when a device that keeps the old one would
rank or show something else: two points more or less in a line from the stored numbers, another segment, stage
or evidence, a priority shown three points off, or a figure that moved by more than a tenth (scores: by two
points). Measured on 10,000 customers, a plain night rewrites one score in twelve. *Source*: R27, R28.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray, IntArray, IntColumn

LINE_POINTS_FELT = 2
PRIORITY_POINTS_FELT = 3
MONEY_SHARE_TOLERATED = 0.10
SCORE_BP_FELT = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """What a device shows of scores besides their lines; (n,) each.

    `labels`: columns of texts that must agree exactly (segment, stage, basis …); `evidence`: `text_hashes` of the ids
    the lines name; `priority`: 0..100;
    `money`: amounts in minor units; `shares`: basis points or hundredths.
    """

    labels: tuple[Sequence[str], ...]
    evidence: IntArray
    priority: IntArray
    money: tuple[IntColumn, ...]
    shares: tuple[IntColumn, ...]


def changed_scores(was: Shown, now: Shown, points_was: IntArray, points_now: IntArray) -> BoolArray:
    """(n,) True where the stored score no longer serves.

    `points_was`: (n, 10) the points tonight from the *stored* numbers; `points_now`: from tonight's.
    """
    moved = np.abs(points_was - points_now)
    changed = (moved >= LINE_POINTS_FELT).any(axis=1) | (was.evidence != now.evidence)
    for texts_before, texts_after in zip(was.labels, now.labels, strict=True):
        pairs = zip(texts_before, texts_after, strict=True)
        changed |= np.array([before != after for before, after in pairs], dtype=np.bool_)
    changed |= np.abs(was.priority - now.priority) >= PRIORITY_POINTS_FELT
    for before, after in zip(was.money, now.money, strict=True):
        larger = np.maximum(np.abs(before.values), np.abs(after.values))
        changed |= np.abs(before.values - after.values) > larger * MONEY_SHARE_TOLERATED
        changed |= before.known != after.known
    for before, after in zip(was.shares, now.shares, strict=True):
        changed |= np.abs(before.values - after.values) >= SCORE_BP_FELT
        changed |= before.known != after.known
    return np.asarray(changed, dtype=np.bool_)
