"""Did people know better? Of judged customers how many ordered within so many days, beside comparable ones.

Comparable to a judged customer is one of the same kind whose last order was as long ago on the judgement's first day
and who was not judged at all in that time. It is an observation, not an experiment: whoever is judged was chosen.
*Source*: R28; intervals by Wilson (1927), of a difference by Newcombe (1998).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from typing import TypeVar

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.survival import wilson_interval

ENOUGH_N = 20
"""Fewer judged customers say nothing."""
COMPARED_EACH_MAX = 4
"""Comparable customers taken for each judgement."""
LOOKED_AT_MAX = 256
"""Customers of the same kind looked at for them."""
BANDS_DAYS = (30, 90, 180)
"""Last orders are as long ago as each other between two of these."""
LAST_ORDER_DAYS_MAX = BANDS_DAYS[-1]
_DAYS = 1 << 20

K = TypeVar("K", bound=Hashable)


class JudgementVerdict(StrEnum):
    """What the figures allow to say."""

    TOO_FEW = "TOO_FEW"
    NO_DIFFERENCE = "NO_DIFFERENCE"
    ORDERED_MORE = "ORDERED_MORE"
    ORDERED_LESS = "ORDERED_LESS"


@dataclass(frozen=True, slots=True)
class OrderDays:
    """When customers ordered: `keys` (m,) ascending, row of the customer × 2^20 + day since 1970-01-01."""

    keys: IntArray

    @classmethod
    def of(cls, customer: IntArray, day: IntArray) -> "OrderDays":
        return cls(np.sort(customer * _DAYS + day))

    def within(self, customer: IntArray, first: IntArray, days: int) -> BoolArray:
        """(k,) whether customers ordered on one of the `days` + 1 days that begin with `first`."""
        start = np.searchsorted(self.keys, customer * _DAYS + first, side="left")
        return np.asarray(np.searchsorted(self.keys, customer * _DAYS + first + days, side="right") > start)

    def band(self, customer: IntArray, before: IntArray) -> IntArray:
        """(k,) how long ago the last order was on a day: place in `BANDS_DAYS`, their number for longer or never."""
        keys = np.concatenate([np.array([-1], dtype=np.int64), self.keys])
        last = keys[np.searchsorted(self.keys, customer * _DAYS + before, side="left")]
        ago = np.where(last // _DAYS == customer, before - last % _DAYS, LAST_ORDER_DAYS_MAX)
        return np.asarray(np.searchsorted(np.array(BANDS_DAYS), ago, side="right"), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """Judgements whose time is over, one row each: `customer` (j,) row, `day` (j,) first day, `draw` (j,) any number
    that is fixed for a judgement: where among the comparable ones the search begins."""

    customer: IntArray
    day: IntArray
    draw: IntArray


@dataclass(frozen=True, slots=True)
class Compared:
    """(j,) whether the judged customer ordered; of how many comparable ones, how many did."""

    ordered: BoolArray
    compared_n: IntArray
    compared_ordered_n: IntArray


def compare(judged: JudgedRows, orders: OrderDays, group: IntArray, ever_judged: BoolArray, days: int) -> Compared:
    """Each judgement beside comparable customers. `group` (n,) of all customers; `ever_judged` (n,)."""
    free = np.flatnonzero(~ever_judged)
    pools = {int(one): free[group[free] == one] for one in np.unique(group[judged.customer])}
    bands = orders.band(judged.customer, judged.day)
    found_n, ordered_n = np.zeros_like(judged.day), np.zeros_like(judged.day)
    for row, (customer, day) in enumerate(zip(judged.customer.tolist(), judged.day.tolist(), strict=True)):
        pool = pools[int(group[customer])]
        if pool.size == 0:
            continue
        start = int(judged.draw[row]) % pool.size
        near = pool[(start + np.arange(min(LOOKED_AT_MAX, pool.size))) % pool.size]
        on = np.full(near.shape, day, dtype=np.int64)
        taken = near[orders.band(near, on) == bands[row]][:COMPARED_EACH_MAX]
        found_n[row] = taken.size
        ordered_n[row] = int(orders.within(taken, on[: taken.size], days).sum())
    return Compared(orders.within(judged.customer, judged.day, days), found_n, ordered_n)


@dataclass(frozen=True, slots=True)
class Share:
    """A share 0..1 with its 95 % interval, of `whole` customers; all 0 but the interval of nothing."""

    part: int
    whole: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class JudgementFigures:
    """What came of some judgements. `judgements_n`: how many there are; `judged`: of those with comparable customers,
    who ordered; `compared`: of the comparable ones, each judgement counting alike; `difference` with its interval."""

    judgements_n: int
    judged: Share
    compared: Share
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    verdict: JudgementVerdict


def figures(found: Compared, rows: IntArray) -> JudgementFigures:
    """The figures of some judgements: `rows` (k,) into `found`.

    Shares and their 95 % intervals in 0..1. Those without anybody to be compared with count as judgements and in no
    share; below `ENOUGH_N` of the others there is no difference, and the verdict is TOO_FEW.
    """
    kept = rows[found.compared_n[rows] > 0]
    judged = _share(int(found.ordered[kept].sum()), int(kept.size))
    compared = _weighed(found.compared_ordered_n[kept], found.compared_n[kept])
    if judged.whole < ENOUGH_N:
        return JudgementFigures(int(rows.size), judged, compared, None, None, None, JudgementVerdict.TOO_FEW)
    difference = judged.value - compared.value
    low = difference - sqrt((judged.value - judged.low) ** 2 + (compared.high - compared.value) ** 2)
    high = difference + sqrt((judged.high - judged.value) ** 2 + (compared.value - compared.low) ** 2)
    verdict = JudgementVerdict.NO_DIFFERENCE
    if low > 0.0:
        verdict = JudgementVerdict.ORDERED_MORE
    elif high < 0.0:
        verdict = JudgementVerdict.ORDERED_LESS
    return JudgementFigures(int(rows.size), judged, compared, difference, low, high, verdict)


def figures_by(found: Compared, keys: Sequence[K]) -> list[tuple[K, JudgementFigures]]:
    """The figures of each key, the most frequent first; `keys`: one per judgement."""
    rows: dict[K, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    groups = sorted(rows.items(), key=lambda one: (-len(one[1]), str(one[0])))
    return [(key, figures(found, np.array(at, dtype=np.int64))) for key, at in groups]


def _share(part: int, whole: int) -> Share:
    low, high = wilson_interval(part, whole)
    return Share(part, whole, part / whole if whole else 0.0, low, high)


def _weighed(ordered_n: IntArray, of_n: IntArray) -> Share:
    """Each judgement counts alike, whether it has one comparable customer or four; the interval is of as many as
    that is worth (Kish)."""
    if of_n.size == 0:
        return _share(0, 0)
    each: FloatArray = ordered_n / of_n
    worth = of_n.size**2 / float((1.0 / of_n).sum())
    value = float(each.mean())
    low, high = wilson_interval(value * worth, worth)
    return Share(int(ordered_n.sum()), int(of_n.sum()), value, low, high)
