"""What is bought together more often than by chance, and by how much: pairs with their lift and how sure it is.

*Sources*: R10; association rules after Agrawal, Imieliński and Swami (1993); the interval of the lift is log-normal
with the variance of the delta method on the four cells of a pair (Agresti, Categorical Data Analysis, 3rd ed., §16.1),
that of the confidence is Wilson's (1927).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import IntArray
from backend.domain.survival import Z_95, wilson_interval

SUPPORT_MIN = 20
"""Baskets a pair must stand in together."""
ITEMS_MAX = 500
"""Items that are compared with each other, those in most baskets; the table of pairs is its square."""


class AffinityItem(StrEnum):
    """What is compared: what stands in one order together."""

    CATEGORY = "CATEGORY"
    STYLE = "STYLE"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two items. `first` → `second`: who takes the first takes the second with probability `confidence`.

    `support_n`: baskets with both; `first_n`, `second_n`: with each; `lift`: how many times as often as by chance, with
    its 95 % interval; `confidence` with its own.
    """

    first: int
    second: int
    support_n: int
    first_n: int
    second_n: int
    lift: float
    low: float
    high: float
    confidence: float
    confidence_low: float
    confidence_high: float


@dataclass(frozen=True, slots=True)
class Affinity:
    """`pairs`: the surest first, by the lower end of the lift. `baskets_n`: all baskets; `compared_n`: how many pairs
    had the support, one in forty of which is beyond its interval by chance on either side."""

    pairs: tuple[Pair, ...]
    baskets_n: int
    items_n: int
    compared_n: int


def affinity(
    basket: IntArray, item: IntArray, *, items_n: int, support_min: int = SUPPORT_MIN, shown_max: int = 50
) -> Affinity:
    """Pairs of items that stand together in at least `support_min` baskets and whose lift is above 1 beyond doubt.

    `basket`, `item`: (m,) an item 0..items_n−1 in a basket; twice the same counts once. Each pair stands in the
    direction of the higher confidence. Only the `ITEMS_MAX` most frequent items are compared. Empty input gives none.
    """
    if not basket.size:
        return Affinity((), 0, 0, 0)
    _, place = np.unique(basket, return_inverse=True)
    once = np.unique(np.stack([place, item]), axis=1)
    baskets_n = int(once[0].max()) + 1
    counts = np.bincount(once[1], minlength=items_n)
    frequent = np.argsort(-counts, kind="stable")[:ITEMS_MAX]
    frequent = np.sort(frequent[counts[frequent] >= support_min])
    together = _together(once, frequent, baskets_n)
    first, second = np.nonzero(np.triu(together >= support_min, 1))
    both = together[first, second]
    pairs = [
        pair
        for a, b, n in zip(frequent[first].tolist(), frequent[second].tolist(), both.tolist(), strict=True)
        if (pair := _pair(a, b, n, int(counts[a]), int(counts[b]), baskets_n)).low > 1.0
    ]
    pairs.sort(key=lambda pair: (-pair.low, pair.first, pair.second))
    return Affinity(tuple(pairs[:shown_max]), baskets_n, int((counts > 0).sum()), int(both.size))


BASKETS_AT_ONCE = 4_096


def _together(once: IntArray, frequent: IntArray, baskets_n: int) -> IntArray:
    """(k, k) baskets in which two of the frequent items stand, a part of the baskets at a time."""
    column = np.full(int(once[1].max()) + 1 if once.size else 0, -1, dtype=np.int64)
    column[frequent[frequent < column.size]] = np.arange(frequent.size)[frequent < column.size]
    kept = column[once[1]] >= 0
    basket, item = once[0][kept], column[once[1][kept]]
    order = np.argsort(basket, kind="stable")
    basket, item = basket[order], item[order]
    out = np.zeros((frequent.size, frequent.size), dtype=np.int64)
    for start in range(0, baskets_n, BASKETS_AT_ONCE):
        low, high = np.searchsorted(basket, [start, start + BASKETS_AT_ONCE])
        held = np.zeros((BASKETS_AT_ONCE, frequent.size), dtype=np.float32)
        held[basket[low:high] - start, item[low:high]] = 1.0
        # whole numbers far below 2^24, so single precision keeps them exactly
        out += np.rint(held.T @ held).astype(np.int64)
    return out


def lift_interval(both_n: int, first_n: int, second_n: int, baskets_n: int) -> tuple[float, float, float]:
    """The lift of a pair with its 95 % interval; `both_n` ≥ 1.

    Var log lift = 1/n₁₂ − 1/n₁ − 1/n₂ + (2·lift − 1)/N.
    """
    lift = both_n * baskets_n / (first_n * second_n)
    variance = 1 / both_n - 1 / first_n - 1 / second_n + (2 * lift - 1) / baskets_n
    width = float(np.exp(Z_95 * np.sqrt(max(variance, 0.0))))
    return lift, lift / width, lift * width


def _pair(a: int, b: int, both_n: int, a_n: int, b_n: int, baskets_n: int) -> Pair:
    if b_n < a_n:
        a, b, a_n, b_n = b, a, b_n, a_n
    lift, low, high = lift_interval(both_n, a_n, b_n, baskets_n)
    sure_low, sure_high = wilson_interval(both_n, a_n)
    return Pair(a, b, both_n, a_n, b_n, lift, low, high, both_n / a_n, sure_low, sure_high)
