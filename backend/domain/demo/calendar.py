"""How strongly each day draws orders: the season's shape, the week, and the two countries' holidays."""

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.times import day_number

MONTH_WEIGHTS = np.array([0.55, 0.75, 1.35, 1.30, 0.90, 0.70, 0.80, 1.25, 1.50, 1.35, 0.95, 0.60])
WEEK_WEIGHTS = np.array([1.25, 1.25, 1.2, 1.2, 1.2, 0.55, 0.35])
"""Monday to Sunday, mean 1."""
LUNAR_NEW_YEAR = (
    "2022-02-01", "2023-01-22", "2024-02-10", "2025-01-29", "2026-02-17", "2027-02-06", "2028-01-26", "2029-02-13",
    "2030-02-03", "2031-01-23", "2032-02-11",
)  # fmt: skip
CHUSEOK = (
    "2022-09-10", "2023-09-29", "2024-09-17", "2025-10-06", "2026-09-25", "2027-09-15", "2028-10-03", "2029-09-22",
    "2030-09-12", "2031-10-01", "2032-09-19",
)  # fmt: skip
_REST = ((LUNAR_NEW_YEAR, 4, 10, 0), (LUNAR_NEW_YEAR, 1, 2, 1), (CHUSEOK, 2, 2, 1))
"""Feast, days before and after it that rest, country: 0 China, 1 Korea."""
RESTING_WEIGHT = 0.12


def weekday(days: IntArray) -> IntArray:
    """Monday 0 to Sunday 6."""
    return (days + 3) % 7


def resting(days: IntArray, korean: IntArray) -> np.typing.NDArray[np.bool_]:
    """(n,) True on the days around the feasts on which a country's shops see nobody."""
    found = np.zeros(np.broadcast(days, korean).shape, dtype=np.bool_)
    for feasts, before, after, country in _REST:
        for feast in feasts:
            at = day_number(feast)
            found |= (days >= at - before) & (days <= at + after) & (korean == country)
    return found


def day_weights(first: int, days_n: int, korean: int) -> FloatArray:
    """(days_n,) how strongly each day from `first` on draws orders; about 1 on average."""
    days = np.arange(first, first + days_n)
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    weights = MONTH_WEIGHTS[months] * WEEK_WEIGHTS[weekday(days)]
    quiet = resting(days, np.full(days_n, korean))
    return np.asarray(np.where(quiet, RESTING_WEIGHT * weights, weights), dtype=np.float64)
