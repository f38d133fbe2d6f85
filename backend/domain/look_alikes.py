"""Customers that are most like one customer, and in what: nearest by standardised measures. *Source*: R10."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import FloatArray

SHARED_MIN = 0.5
"""Share of the measures known of the one that must be known of the other too."""
SPREAD_MAX = 4.0
"""Standard deviations at which a difference stops growing, so that one odd number does not decide."""


class LookAlikeFeature(StrEnum):
    """In what customers are compared."""

    YEARLY_SALES = "YEARLY_SALES"
    ORDERS_A_YEAR = "ORDERS_A_YEAR"
    AVERAGE_ORDER = "AVERAGE_ORDER"
    DAYS_SINCE_LAST_ORDER = "DAYS_SINCE_LAST_ORDER"
    DAYS_AS_CUSTOMER = "DAYS_AS_CUSTOMER"
    CATEGORIES = "CATEGORIES"


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of the two. `apart`: standard deviations between them; `weight`: its share of the distance, 0..1."""

    feature: str
    own: float
    other: float
    apart: float
    weight: float


@dataclass(frozen=True, slots=True)
class LookAlike:
    """One customer by its row. `distance`: root mean square of the differences in standard deviations; `differences`:
    the smallest first; `shared_n`: measures known of both."""

    row: int
    distance: float
    differences: tuple[Difference, ...]
    shared_n: int


def look_alikes(features: FloatArray, names: Sequence[str], *, row: int, count: int) -> tuple[LookAlike, ...]:
    """The `count` rows most like `row`, the nearest first; ties by row.

    `features`: (n, k), NaN where not recorded. Each column is standardised by its own mean and deviation; one without
    spread tells nothing and is left out. None where nothing is known of the row.
    """
    mean, spread = _moments(features)
    usable = (spread > 0) & ~np.isnan(features[row]) if features.size else np.zeros(len(names), dtype=np.bool_)
    if not usable.any():
        return ()
    scaled = (features[:, usable] - mean[usable]) / spread[usable]
    apart = np.clip(np.abs(scaled - scaled[row]), 0.0, SPREAD_MAX)
    shared = ~np.isnan(apart)
    shared_n = shared.sum(axis=1)
    squares = np.where(shared, apart, 0.0) ** 2
    total = squares.sum(axis=1)
    enough = shared_n >= max(1, int(np.ceil(SHARED_MIN * usable.sum())))
    distance = np.where(enough, np.sqrt(total / np.maximum(shared_n, 1)), np.inf)
    distance[row] = np.inf
    chosen = [one for one in np.argsort(distance, kind="stable")[:count].tolist() if np.isfinite(distance[one])]
    columns = np.flatnonzero(usable)
    found = []
    for one in chosen:
        rows = [
            Difference(
                names[columns[place]],
                float(features[row, columns[place]]),
                float(features[one, columns[place]]),
                float(apart[one, place]),
                float(squares[one, place] / total[one]) if total[one] > 0 else 0.0,
            )
            for place in np.flatnonzero(shared[one]).tolist()
        ]
        rows.sort(key=lambda difference: (difference.apart, difference.feature))
        found.append(LookAlike(one, float(distance[one]), tuple(rows), int(shared_n[one])))
    return tuple(found)


def _moments(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(k,) mean and standard deviation of what is known of each column; 0 spread where less than two are."""
    known = ~np.isnan(features)
    count = known.sum(axis=0)
    filled = np.where(known, features, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    variance = (np.where(known, features - mean, 0.0) ** 2).sum(axis=0) / np.maximum(count, 1)
    return mean, np.where(count > 1, np.sqrt(variance), 0.0)
