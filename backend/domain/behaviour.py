"""How customers buy: the rhythm of their orders, their seasons, and how wide they choose among categories, colours
and sizes. For one customer or any number of them; what is not recorded says so. *Source*: R9.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.history import OrderColumns, purchase_days

INTERVALS_MIN = 2
"""Fewer say nothing about a rhythm."""
RECENT_INTERVALS = 3
SEASON_DAYS_MIN = 365
"""Over less than a year no season can be told from chance."""
MONTHS = 12
SHOWN_MAX = 10
"""Values of a habit that are named; the rest is one share."""


class BehaviourPart(StrEnum):
    """What can be said of how customers buy."""

    RHYTHM = "RHYTHM"
    SEASON = "SEASON"
    CATEGORY = "CATEGORY"
    COLOUR = "COLOUR"
    SIZE = "SIZE"
    RETURNS = "RETURNS"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Days between consecutive order days of the same customer: quartiles, and over how many intervals.

    `recent_days`: the median of each customer's last `RECENT_INTERVALS`; None where nobody has that many and one more,
    so that there is something to compare it with.
    """

    median_days: float
    low_days: float
    high_days: float
    intervals_n: int
    recent_days: float | None = None


@dataclass(frozen=True, slots=True)
class Seasonality:
    """`share`: (12,) of sales by calendar month, 0..1; `strength`: 0 for even months .. 1 for one month only;
    `peak_months`: 1..12, those a half above the mean, the highest first; over `orders_n` order days and `span_days`."""

    share: FloatArray
    strength: float
    peak_months: tuple[int, ...]
    orders_n: int
    span_days: int


@dataclass(frozen=True, slots=True)
class Habit:
    """What of one kind is bought. `shares`: (value, share of units), the largest first; `rest`: the share of values
    not named; `breadth`: entropy by the number of values there are, 0 for one only .. 1 for all alike; `values_n`: how
    many different ones; `known`: the share of units for which it was recorded."""

    shares: tuple[tuple[str, float], ...]
    rest: float
    breadth: float
    values_n: int
    units_n: int
    known: float


@dataclass(frozen=True, slots=True)
class Behaviour:
    """None: too little was recorded to say. Returns are recorded by no part of the product yet."""

    rhythm: Rhythm | None
    season: Seasonality | None
    category: Habit | None
    colour: Habit | None
    size: Habit | None
    returns: None = None


def rhythm_of(orders: OrderColumns) -> Rhythm | None:
    """The rhythm of all customers in the columns; None with fewer than `INTERVALS_MIN` intervals."""
    who, day = purchase_days(orders)
    same = who[1:] == who[:-1] if who.size else np.zeros(0, dtype=np.bool_)
    gaps = (day[1:] - day[:-1])[same] if who.size else np.zeros(0, dtype=np.int64)
    if gaps.size < INTERVALS_MIN:
        return None
    low, median, high = np.percentile(gaps, [25, 50, 75]).tolist()
    owner = who[1:][same]
    first = np.searchsorted(owner, owner, side="left")
    behind = np.searchsorted(owner, owner, side="right") - np.arange(owner.size)
    long_enough = np.searchsorted(owner, owner, side="right") - first > RECENT_INTERVALS
    recent = gaps[long_enough & (behind <= RECENT_INTERVALS)]
    return Rhythm(median, low, high, int(gaps.size), float(np.median(recent)) if recent.size else None)


def seasonality_of(orders: OrderColumns, *, as_of_day: int) -> Seasonality | None:
    """Sales by calendar month over whole years back from a day, so that no month counts once more than another.

    None where there is less than a year between the first order and that day, or nothing was sold since.
    """
    if not orders.day.size:
        return None
    span = as_of_day - int(orders.day.min()) + 1
    years = span // SEASON_DAYS_MIN
    if years == 0:
        return None
    kept = orders.where((orders.day > as_of_day - years * SEASON_DAYS_MIN) & (orders.day <= as_of_day))
    month = np.asarray(kept.day, dtype="datetime64[D]").astype("datetime64[M]").astype(np.int64) % MONTHS
    sold = np.bincount(month, np.maximum(kept.net_minor, 0).astype(np.float64), MONTHS)
    if sold.sum() <= 0:
        return None
    share = sold / sold.sum()
    peaks = [int(place) for place in np.argsort(-share, kind="stable") if share[place] >= 1.5 / MONTHS]
    count = int(purchase_days(kept)[0].size)
    return Seasonality(share, 1.0 - evenness(share), tuple(place + 1 for place in peaks), count, span)


def habit_of(values: Sequence[str | None], units: IntArray) -> Habit | None:
    """What is bought of one kind, from (m,) values (None: not recorded) and (m,) units, the most bought first.

    Shares in 0..1 of the units whose value is known; what is beyond the first `SHOWN_MAX` is `rest`. None where nothing
    was recorded of it.
    """
    total = int(units.sum())
    known = np.array([value is not None for value in values], dtype=np.bool_)
    told = int(units[known].sum()) if known.any() else 0
    if told <= 0:
        return None
    names, place = np.unique(np.array([value for value in values if value is not None]), return_inverse=True)
    by_value = np.bincount(place, units[known].astype(np.float64), names.size)
    share = by_value / told
    order = np.lexsort((names, -share))
    shown = order[:SHOWN_MAX]
    return Habit(
        shares=tuple((str(names[one]), float(share[one])) for one in shown),
        rest=float(max(0.0, 1.0 - share[shown].sum())) if order.size > SHOWN_MAX else 0.0,
        breadth=evenness(share),
        values_n=int(names.size),
        units_n=told,
        known=told / total,
    )


def evenness(share: FloatArray) -> float:
    """Entropy of (k,) shares over that of k equal ones, 0..1; 0 for one value."""
    if share.size < 2:
        return 0.0
    some = share[share > 0]
    return float(np.clip(-(some * np.log(some)).sum() / np.log(share.size), 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Bought:
    """(m,) cells of order lines: what was bought, None where it was not recorded, and how many pieces."""

    category: tuple[str | None, ...]
    colour: tuple[str | None, ...]
    size: tuple[str | None, ...]
    units: IntArray


def behaviour_of(orders: OrderColumns, bought: Bought, *, as_of_day: int) -> Behaviour:
    """Everything that can be said of how the customers in the columns buy, as of a day."""
    return Behaviour(
        rhythm=rhythm_of(orders),
        season=seasonality_of(orders, as_of_day=as_of_day),
        category=habit_of(bought.category, bought.units),
        colour=habit_of(bought.colour, bought.units),
        size=habit_of(bought.size, bought.units),
    )
