"""Who comes back: customers by the quarter of their first order, and which share ordered again in each quarter after.

*Source*: R17; intervals by Wilson (1927).
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.history import OrderColumns, purchase_days
from backend.domain.survival import wilson_interval


@dataclass(frozen=True, slots=True)
class CohortTable:
    """Retention by cohort and age. `quarters`: (c,) first-order quarters, `2026Q1`, ascending without gaps; `size_n`:
    (c,) customers; `ordered_n`: (c, a) customers who ordered in the quarter `age` later, column 0 being the cohort's
    own; `observed`: (c, a) True where that quarter has begun; `whole`: (c, a) True where it is over as well.

    `share`, `low`, `high`: (c, a) 0..1 with 95 % intervals, NaN where nothing was observed or the cohort is empty.
    """

    quarters: tuple[str, ...]
    size_n: IntArray
    ordered_n: IntArray
    observed: BoolArray
    whole: BoolArray
    share: FloatArray
    low: FloatArray
    high: FloatArray


def cohort_table(orders: OrderColumns, *, as_of_day: int) -> CohortTable:
    """The table of all orders up to and with a day; amounts of 0 (samples) and returns are no orders.

    No order gives an empty table. Every cohort's column 0 is 1 by definition.
    """
    who, day = purchase_days(orders.where(orders.day <= as_of_day))
    if not who.size:
        empty = np.zeros((0, 0))
        none = np.zeros((0, 0), dtype=np.bool_)
        return CohortTable((), _ints(0), empty.astype(np.int64), none, none, empty, empty, empty)
    quarter = quarter_numbers(day)
    first_at = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
    cohort_of = np.repeat(quarter[first_at], np.diff(np.r_[first_at, who.size]))
    first, now = int(cohort_of.min()), int(quarter_numbers(np.array([as_of_day]))[0])
    ages_n = now - first + 1
    # a customer with several orders in one quarter is one
    once = np.unique(np.stack([who, cohort_of - first, quarter - cohort_of]), axis=1)
    ordered = np.zeros((ages_n, ages_n), dtype=np.int64)
    np.add.at(ordered, (once[1], once[2]), 1)
    size = ordered[:, 0]
    ends = first + np.add.outer(np.arange(ages_n), np.arange(ages_n))
    observed = (ends <= now) & (size > 0)[:, None]
    over = int(quarter_numbers(np.array([as_of_day + 1]))[0]) > now
    whole = observed & ((ends < now) | over)
    share, low, high = (np.full(ordered.shape, np.nan) for _ in range(3))
    for row, age in np.argwhere(observed).tolist():
        share[row, age] = ordered[row, age] / size[row]
        low[row, age], high[row, age] = wilson_interval(int(ordered[row, age]), int(size[row]))
    names = tuple(f"{number // 4}Q{number % 4 + 1}" for number in range(first, now + 1))
    return CohortTable(names, size, ordered, observed, whole, share, low, high)


def quarter_numbers(day: IntArray) -> IntArray:
    """(m,) quarters since the year 0 of (m,) days since 1970-01-01."""
    month = np.asarray(day, dtype="datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return np.asarray((month + 1970 * 12) // 3, dtype=np.int64)


def _ints(rows_n: int) -> IntArray:
    return np.zeros(rows_n, dtype=np.int64)
