"""Key figures of a period: one number each, what it is the share of, how sure it is and what it stands on.

Whole columns of one scope's customers; days are local days since 1970-01-01. A figure without anything to count says
why instead of being 0. *Source*: R6, R17.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import BASIS_POINTS, Basis, IntArray, IntColumn
from backend.domain.history import OrderColumns, history_of, purchase_days
from backend.domain.lifecycle import DORMANT_RATIO
from backend.domain.loyalty import recency_ratio
from backend.domain.sources import Source, SourceUsed
from backend.domain.survival import Z_95, survival, wilson_interval
from backend.domain.times import day_from_number
from backend.errors import Code, Problem, Refused

PERIOD_DAYS_MAX = 1_100
"""Three years and a little: longer periods hide what changed in them."""


class KpiCode(StrEnum):
    """The key figures."""

    REVENUE = "REVENUE"
    CYCLE_DAYS = "CYCLE_DAYS"
    COST_OF_SALE = "COST_OF_SALE"
    WIN_RATE = "WIN_RATE"
    SHARE_OF_WALLET = "SHARE_OF_WALLET"
    REPEAT_RATE = "REPEAT_RATE"
    DAYS_TO_SECOND_ORDER = "DAYS_TO_SECOND_ORDER"
    WIN_BACK_RATE = "WIN_BACK_RATE"
    ADOPTION = "ADOPTION"


class Unit(StrEnum):
    """What a figure is counted in."""

    MONEY_MINOR = "MONEY_MINOR"
    """minor units of the reporting currency"""
    DAYS = "DAYS"
    BASIS_POINTS = "BASIS_POINTS"
    """hundredths of a per cent"""
    POINTS = "POINTS"
    """0 to 100"""
    CODE = "CODE"
    COUNT = "COUNT"
    """how many"""


class NoFigure(StrEnum):
    """Why there is no figure."""

    NOT_RECORDED = "NOT_RECORDED"
    """what it would be computed from is not kept"""
    NOTHING_TO_COUNT = "NOTHING_TO_COUNT"
    """nobody and nothing in this scope and period"""
    NOT_REACHED = "NOT_REACHED"
    """less than half have come so far, so there is no middle one"""


@dataclass(frozen=True, slots=True)
class Period:
    """Local days from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def before(self) -> "Period":
        """As many days just before it."""
        return Period(self.first - (self.last - self.first + 1), self.first - 1)


def check_period(first: int, last: int, today: int) -> Period:
    """The period; *raises* OUT_OF_RANGE when it ends before it begins or is too long, IN_THE_FUTURE beyond today."""
    if last > today:
        raise Refused(Problem(Code.IN_THE_FUTURE, ("until",)))
    if not first <= last < first + PERIOD_DAYS_MAX:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("until",), ("from", f"{PERIOD_DAYS_MAX} days")))
    return Period(first, last)


@dataclass(frozen=True, slots=True)
class KpiInputs:
    """One scope's records up to the end of the period.

    `orders`: in the reporting currency; `visit_customer`, `visit_day`: (v,) completed visits; `reps_n`: active reps;
    `visiting_reps_n`: of them, how many recorded a visit in the period and in the one before it; `visit_cost_minor`:
    what one visit costs; `wallet_share_bp`: (n,) the newest share of wallet each customer had stated by the end of
    either period, None where nobody is ever asked.
    """

    orders: OrderColumns
    customers_n: int
    visit_customer: IntArray
    visit_day: IntArray
    reps_n: int
    visiting_reps_n: Mapping[Period, int]
    visit_cost_minor: int
    wallet_share_bp: Mapping[Period, IntColumn] | None = None


@dataclass(frozen=True, slots=True)
class Kpi:
    """One figure. `value` in its unit, or why there is none; `part` of `whole`: what it was computed from, in the
    unit of each; `low`, `high`: 95 % interval where one is known."""

    value: int | None
    part: int = 0
    whole: int = 0
    low: int | None = None
    high: int | None = None
    basis: Basis = Basis.RECORDED
    missing: NoFigure | None = None


def kpi(code: KpiCode, inputs: KpiInputs, period: Period) -> Kpi:
    """One key figure of a period, in the unit `metrics.METRICS` gives it.

    Where nothing can be counted `value` is None and `missing` says why. *Source*: R6, R17.
    """
    return _RULES[code](inputs, period)


def _within(days: IntArray, period: Period) -> np.ndarray:
    return np.asarray((days >= period.first) & (days <= period.last))


def _none(missing: NoFigure, part: int = 0, whole: int = 0) -> Kpi:
    return Kpi(None, part, whole, basis=Basis.NOT_RECORDED, missing=missing)


def _share(part: int, whole: int) -> Kpi:
    if whole == 0:
        return _none(NoFigure.NOTHING_TO_COUNT)
    low, high = wilson_interval(part, whole)
    value = round(part * BASIS_POINTS / whole)
    return Kpi(value, part, whole, round(low * BASIS_POINTS), round(high * BASIS_POINTS))


def _revenue(inputs: KpiInputs, period: Period) -> Kpi:
    """Net amount of the orders of the period; `whole`: how many orders."""
    counted = _within(inputs.orders.day, period)
    total = int(inputs.orders.net_minor[counted].sum())
    return Kpi(total, total, int(counted.sum()))


def _purchases(orders: OrderColumns, last: int) -> tuple[IntArray, IntArray]:
    """Customers and days of all purchases up to a day, sorted."""
    return purchase_days(orders.where(orders.day <= last))


def _repeat_rate(inputs: KpiInputs, period: Period) -> Kpi:
    """Of the customers who ordered in the period, those who had ordered on a day before."""
    who, day = _purchases(inputs.orders, period.last)
    later = np.r_[False, who[1:] == who[:-1]]
    in_period = _within(day, period)
    return _share(np.unique(who[in_period & later]).size, np.unique(who[in_period]).size)


def _days_to_second_order(inputs: KpiInputs, period: Period) -> Kpi:
    """Median days from the first to the second order day of those whose first fell into the period, by the
    product-limit estimate: whoever has not come again yet still counts. `part`: came again; `whole`: all of them."""
    who, day = _purchases(inputs.orders, period.last)
    first = np.flatnonzero(np.r_[True, who[1:] != who[:-1]]) if who.size else np.zeros(0, dtype=np.int64)
    new = first[_within(day[first], period)]
    follower = np.minimum(new + 1, who.size - 1)
    again = (new + 1 < who.size) & (who[follower] == who[new]) if new.size else np.zeros(0, dtype=np.bool_)
    waited = np.where(again, day[follower], period.last) - day[new]
    if not new.size:
        return _none(NoFigure.NOTHING_TO_COUNT)
    curve = survival(waited, again)
    median, came = curve.median_days(), int(again.sum())
    if median is None:
        return _none(NoFigure.NOT_REACHED, came, int(new.size))
    low = curve.days[curve.low <= 0.5]
    high = curve.days[curve.high <= 0.5]
    return Kpi(
        median,
        came,
        int(new.size),
        int(low[0]) if low.size else None,
        int(high[0]) if high.size else None,
    )


def _win_back_rate(inputs: KpiInputs, period: Period) -> Kpi:
    """Of the customers who were dormant when the period began, those who ordered in it."""
    orders = inputs.orders
    past = history_of(
        orders.where(orders.day < period.first), customers_n=inputs.customers_n, as_of_day=period.first - 1
    )
    ratio = recency_ratio(past, period.first - 1)
    dormant = ratio.known & (np.nan_to_num(ratio.value) >= DORMANT_RATIO)
    who, day = _purchases(orders, period.last)
    came = np.zeros(inputs.customers_n, dtype=np.bool_)
    came[who[_within(day, period)]] = True
    return _share(int((dormant & came).sum()), int(dormant.sum()))


def _cycle_days(inputs: KpiInputs, period: Period) -> Kpi:
    """Median days from the visit that began the work to the order: the first visit after the order before.

    `part`: orders with such a visit; `whole`: all order days of the period. Orders nobody visited for have no cycle.
    """
    who, day = _purchases(inputs.orders, period.last)
    in_period = _within(day, period)
    whole = int(in_period.sum())
    if not whole:
        return _none(NoFigure.NOTHING_TO_COUNT)
    if not inputs.visit_customer.size:
        return _none(NoFigure.NOTHING_TO_COUNT, 0, whole)
    begin = min(int(day.min()), int(inputs.visit_day.min()))
    width = period.last - begin + 2
    made = inputs.visit_day <= period.last
    visits = np.sort(inputs.visit_customer[made] * width + inputs.visit_day[made] - begin + 1)
    # a visit on the day of the order before belongs to that order
    previous = np.where(np.r_[False, who[1:] == who[:-1]], np.r_[0, day[:-1]] - begin + 1, 0)
    place = np.searchsorted(visits, who * width + previous, side="right")
    found = np.append(visits, np.iinfo(np.int64).max)[place]
    visited = in_period & (found <= who * width + day - begin + 1)
    cycles = np.sort((who * width + day - begin + 1 - found)[visited])
    if not cycles.size:
        return _none(NoFigure.NOTHING_TO_COUNT, 0, whole)
    n = int(cycles.size)
    # order statistics around the middle: distribution-free interval of a median
    half = Z_95 * np.sqrt(n) / 2
    low, high = max(0, int(np.floor(n / 2 - half))), min(n - 1, int(np.ceil(n / 2 + half)))
    return Kpi(int(cycles[(n - 1) // 2]), n, whole, int(cycles[low]), int(cycles[high]))


def _cost_of_sale(inputs: KpiInputs, period: Period) -> Kpi:
    """Cost of the visits made over revenue. Freight, service and discounts are in no book yet: partly recorded."""
    revenue = int(inputs.orders.net_minor[_within(inputs.orders.day, period)].sum())
    cost = int(_within(inputs.visit_day, period).sum()) * inputs.visit_cost_minor
    if revenue <= 0:
        return _none(NoFigure.NOTHING_TO_COUNT, cost, revenue)
    return Kpi(round(cost * BASIS_POINTS / revenue), cost, revenue, basis=Basis.PARTLY_RECORDED)


def _win_rate(_inputs: KpiInputs, _period: Period) -> Kpi:
    """Opportunities won of those decided: none are kept yet."""
    return _none(NoFigure.NOT_RECORDED)


def _share_of_wallet(inputs: KpiInputs, period: Period) -> Kpi:
    """Mean of the newest shares customers stated; `part`: how many did, `whole`: customers."""
    if inputs.wallet_share_bp is None:
        return _none(NoFigure.NOT_RECORDED)
    stated = inputs.wallet_share_bp[period]
    values = stated.values[stated.known].astype(np.float64)
    if not values.size:
        return _none(NoFigure.NOTHING_TO_COUNT, 0, inputs.customers_n)
    mean = float(values.mean())
    low = high = None
    if values.size > 1:
        half = Z_95 * float(values.std(ddof=1)) / np.sqrt(values.size)
        low, high = max(0, round(mean - half)), min(BASIS_POINTS, round(mean + half))
    return Kpi(round(mean), int(values.size), inputs.customers_n, low, high)


def _adoption(inputs: KpiInputs, period: Period) -> Kpi:
    """Of the active reps, those who recorded a visit in the period."""
    return _share(inputs.visiting_reps_n.get(period, 0), inputs.reps_n)


_RULES: Mapping[KpiCode, Callable[[KpiInputs, Period], Kpi]] = {
    KpiCode.REVENUE: _revenue,
    KpiCode.CYCLE_DAYS: _cycle_days,
    KpiCode.COST_OF_SALE: _cost_of_sale,
    KpiCode.WIN_RATE: _win_rate,
    KpiCode.SHARE_OF_WALLET: _share_of_wallet,
    KpiCode.REPEAT_RATE: _repeat_rate,
    KpiCode.DAYS_TO_SECOND_ORDER: _days_to_second_order,
    KpiCode.WIN_BACK_RATE: _win_back_rate,
    KpiCode.ADOPTION: _adoption,
}

KPI_UNITS: Mapping[KpiCode, Unit] = {
    KpiCode.REVENUE: Unit.MONEY_MINOR,
    KpiCode.CYCLE_DAYS: Unit.DAYS,
    KpiCode.COST_OF_SALE: Unit.BASIS_POINTS,
    KpiCode.WIN_RATE: Unit.BASIS_POINTS,
    KpiCode.SHARE_OF_WALLET: Unit.BASIS_POINTS,
    KpiCode.REPEAT_RATE: Unit.BASIS_POINTS,
    KpiCode.DAYS_TO_SECOND_ORDER: Unit.DAYS,
    KpiCode.WIN_BACK_RATE: Unit.BASIS_POINTS,
    KpiCode.ADOPTION: Unit.BASIS_POINTS,
}

KPI_SOURCES: Mapping[KpiCode, tuple[Source, ...]] = {
    KpiCode.REVENUE: (Source.ORDERS, Source.RETURNS),
    KpiCode.CYCLE_DAYS: (Source.ORDERS, Source.VISITS),
    KpiCode.COST_OF_SALE: (Source.ORDERS, Source.VISITS, Source.FREIGHT),
    KpiCode.WIN_RATE: (Source.OPPORTUNITIES,),
    KpiCode.SHARE_OF_WALLET: (Source.ANSWERS,),
    KpiCode.REPEAT_RATE: (Source.ORDERS,),
    KpiCode.DAYS_TO_SECOND_ORDER: (Source.ORDERS,),
    KpiCode.WIN_BACK_RATE: (Source.ORDERS,),
    KpiCode.ADOPTION: (Source.VISITS, Source.USERS),
}

_IN_THE_PERIOD = frozenset({KpiCode.REVENUE, KpiCode.COST_OF_SALE, KpiCode.ADOPTION})
"""The others look back as far as there is anything."""


def sources_used(code: KpiCode, inputs: KpiInputs, period: Period) -> tuple[SourceUsed, ...]:
    """What a key figure of a period was computed from."""
    first = period.first if code in _IN_THE_PERIOD else None
    found = {
        Source.ORDERS: _days_used(Source.ORDERS, inputs.orders.day, first, period.last),
        Source.VISITS: _days_used(Source.VISITS, inputs.visit_day, first, period.last),
        Source.USERS: SourceUsed(Source.USERS, inputs.reps_n > 0, rows_n=inputs.reps_n),
    }
    if inputs.wallet_share_bp is not None:
        stated_n = int(inputs.wallet_share_bp[period].known.sum())
        found[Source.ANSWERS] = SourceUsed(Source.ANSWERS, stated_n > 0, rows_n=stated_n)
    return tuple(found.get(source, SourceUsed(source, recorded=False)) for source in KPI_SOURCES[code])


def _days_used(source: Source, days: IntArray, first: int | None, last: int) -> SourceUsed:
    used = days[(days <= last) & ((days >= first) if first is not None else True)]
    if not used.size:
        return SourceUsed(source, recorded=False)
    return SourceUsed(source, True, day_from_number(int(used.min())), day_from_number(int(used.max())), int(used.size))
