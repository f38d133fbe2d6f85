"""Performance: what was planned, growth and what made it, and how often a visit brings an order. *Source*: R12, R21.

Attainment is revenue over the days a goal is taken over, of its target: of the goal set for exactly this scope, and
goal by goal of those below it.

Growth is taken apart into volume (more pieces at last year's mean price), price (each category's own price) and mix
(what remains: other categories than last year); the three add up to the growth to the cent.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BASIS_POINTS, Basis, IntArray
from backend.domain.kpis import NoFigure, Period, Unit
from backend.domain.seven_p.quarters import quarter_rows
from backend.domain.seven_p.records import Records, RevenueGoal, absent, used, within
from backend.domain.seven_p.report import (
    ROWS_MAX,
    RULES_VERSION,
    YEAR_DAYS,
    Caveat,
    Figure,
    Part,
    Row,
    SevenPCaveat,
    SevenPFigure,
    SevenPList,
    SevenPPart,
    count,
    money,
    not_recorded,
    nothing,
    points,
    share,
    trend_of,
    year_until,
)
from backend.domain.sources import Source, SourceUsed
from backend.domain.survival import wilson_interval
from backend.domain.times import day_from_number

UNCHANGED = 50.0
"""The score of a year like the one before."""
_F, _L, _C = SevenPFigure, SevenPList, SevenPCaveat


@dataclass(frozen=True, slots=True)
class Growth:
    """Minor units: `now` − `before` = `volume` + `price` + `mix`, exactly."""

    now: int
    before: int
    volume: int
    price: int
    mix: int


def growth_of(units: IntArray, revenue: IntArray, units_before: IntArray, revenue_before: IntArray) -> Growth:
    """Growth over (k,) items. What was sold in one of both years only has no price to compare: it is mix."""
    now, before = int(revenue.sum()), int(revenue_before.sum())
    pieces, pieces_before = int(units.sum()), int(units_before.sum())
    volume = round((pieces - pieces_before) * before / pieces_before) if pieces_before else 0
    both = (units > 0) & (units_before > 0)
    old_price = np.divide(revenue_before, units_before, out=np.zeros(units.shape), where=both)
    price = round(float((revenue[both] - old_price[both] * units[both]).sum()))
    return Growth(now, before, volume, price, now - before - volume - price)


def performance(records: Records) -> Part:
    """Growth of the last year over the one before; the score is 50 + the growth in per cent, so 50 is unchanged."""
    today = records.as_of_day
    year, before, earlier = (year_until(today - back * YEAR_DAYS) for back in range(3))
    known = records.reaches(before)
    revenue = [int(records.revenue(span).sum()) for span in (year, before, earlier)]
    score = _score(revenue[0], revenue[1]) if known else None
    then = _score(revenue[1], revenue[2]) if records.reaches(earlier) else None
    rows, growth = _categories(records, year, before) if known else ([], None)
    quarters = quarter_rows(records)
    goals = _goal_rows(records)
    figures = (
        _attainment(records, next((one for one in records.goals if one.own), None)),
        money(_F.REVENUE, revenue[0], revenue[1] if known else None),
        _growth_rate(revenue, whole_before=records.reaches(earlier))
        if known
        else nothing(_F.GROWTH, Unit.BASIS_POINTS),
        *_effects(growth),
        _strike_rate(records, year, before),
        not_recorded(_F.FILL_RATE, Unit.BASIS_POINTS),
        not_recorded(_F.DAYS_TO_PAY, Unit.DAYS),
        not_recorded(_F.RETURN_RATE, Unit.BASIS_POINTS),
    )
    n = int((records.revenue(year) != 0).sum())
    caveats = [
        *_goal_caveats(records),
        Caveat(_C.SHIPMENTS_NOT_RECORDED),
        Caveat(_C.INVOICES_NOT_RECORDED),
        Caveat(_C.RETURNS_NOT_RECORDED),
    ]
    if not records.orders.day.size:
        caveats.append(Caveat(_C.NO_ORDERS))
    elif not known:
        caveats.append(Caveat(_C.YEAR_TOO_SHORT))
    if growth is not None:
        caveats.append(Caveat(_C.MIX_WITHIN_CATEGORY))
    return Part(
        SevenPPart.PERFORMANCE,
        score,
        trend_of(score, then),
        figures,
        (*goals, *quarters, *rows),
        Basis.PARTLY_RECORDED if records.orders.day.size else Basis.NOT_RECORDED,
        n,
        tuple(caveats),
        (
            used(Source.ORDERS, records.orders.day, today, before.first),
            used(Source.VISITS, records.visit_day, today, before.first),
            _goals_used(records),
            *absent(Source.INVOICES, Source.RETURNS, Source.FREIGHT),
        ),
        RULES_VERSION,
    )


def _attainment(records: Records, goal: RevenueGoal | None) -> Figure:
    """Revenue over the goal's days in shares of its target; a target of nothing or less cannot be attained."""
    if goal is None:
        return not_recorded(_F.ATTAINMENT, Unit.BASIS_POINTS)
    if goal.target_minor <= 0 or not records.orders.day.size:
        return nothing(_F.ATTAINMENT, Unit.BASIS_POINTS)
    sold = records.revenue(goal.window)[goal.members]
    return share(_F.ATTAINMENT, int(sold.sum()), goal.target_minor, n=int((sold != 0).sum()))


def _goal_rows(records: Records) -> list[Row]:
    """Every goal with what was sold and what was to be; of few customers nothing to who reads sums only."""
    told = [one for one in records.goals if int(one.members.sum()) >= records.rows_from_n]
    return [
        Row(
            _L.GOAL,
            (
                _attainment(records, one),
                money(_F.REVENUE, int(records.revenue(one.window)[one.members].sum())),
                money(_F.TARGET, one.target_minor),
            ),
            label=one.name,
            collection="goals",
            record_id=one.id,
        )
        for one in sorted(told, key=lambda one: not one.own)[:ROWS_MAX]
    ]


def _goal_caveats(records: Records) -> list[Caveat]:
    missing = [] if any(one.own for one in records.goals) else [Caveat(_C.GOALS_NOT_RECORDED)]
    back = sum(one.reaches_back for one in records.goals)
    return [*missing, *([Caveat(_C.GOAL_REACHES_BACK, back)] if back else [])]


def _goals_used(records: Records) -> SourceUsed:
    if not records.goals:
        return SourceUsed(Source.GOALS, recorded=False)
    first = min(one.window.first for one in records.goals)
    last = max(one.window.last for one in records.goals)
    return SourceUsed(Source.GOALS, True, day_from_number(first), day_from_number(last), len(records.goals))


def _score(now: int, before: int) -> int | None:
    return points(UNCHANGED + 100.0 * (now - before) / before) if before > 0 else None


def _growth_rate(revenue: list[int], *, whole_before: bool) -> Figure:
    now, before, earlier = revenue
    if before <= 0:
        return nothing(_F.GROWTH, Unit.BASIS_POINTS)
    return Figure(
        _F.GROWTH,
        Unit.BASIS_POINTS,
        round((now - before) * BASIS_POINTS / before),
        before=round((before - earlier) * BASIS_POINTS / earlier) if whole_before and earlier > 0 else None,
    )


def _effects(growth: Growth | None) -> tuple[Figure, ...]:
    codes = (_F.VOLUME_EFFECT, _F.PRICE_EFFECT, _F.MIX_EFFECT)
    if growth is None:
        return tuple(nothing(code, Unit.MONEY_MINOR) for code in codes)
    return tuple(
        money(code, value) for code, value in zip(codes, (growth.volume, growth.price, growth.mix), strict=True)
    )


def _categories(records: Records, year: Period, before: Period) -> tuple[list[Row], Growth | None]:
    """Growth by category of the lines that have a style, and what made it; None where no such lines are."""
    lines, names = records.lines, records.lines.names
    sums = []
    for span in (year, before):
        kept = lines.where(within(lines.day, span) & (lines.category >= 0))
        units, revenue = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
        np.add.at(units, kept.category, kept.units)
        np.add.at(revenue, kept.category, kept.net_minor)
        sums.append((units, revenue))
    (units, revenue), (units_before, revenue_before) = sums
    if not units.any() or not units_before.any():
        return [], None
    order = np.lexsort((np.arange(len(names)), -revenue))
    rows = [
        Row(
            _L.CATEGORY_GROWTH,
            (
                money(_F.REVENUE, int(revenue[at]), int(revenue_before[at])),
                count(_F.UNITS, int(units[at]), int(units_before[at])),
            ),
            label=names[at],
        )
        for at in order.tolist()
    ]
    return rows, growth_of(units, revenue, units_before, revenue_before)


def _strike_rate(records: Records, year: Period, before: Period) -> Figure:
    """Visits on whose day the customer ordered, of the visits made."""
    found = []
    ordered = {
        (who, day) for who, day in zip(records.orders.customer.tolist(), records.orders.day.tolist(), strict=True)
    }
    for span in (year, before):
        made = within(records.visit_day, span)
        pairs = zip(records.visit_customer[made].tolist(), records.visit_day[made].tolist(), strict=True)
        found.append((sum(pair in ordered for pair in pairs), int(made.sum())))
    (struck, made_n), (struck_then, made_then) = found
    if not made_n:
        return nothing(_F.STRIKE_RATE, Unit.BASIS_POINTS, NoFigure.NOTHING_TO_COUNT)
    low, high = wilson_interval(struck, made_n)
    return Figure(
        _F.STRIKE_RATE,
        Unit.BASIS_POINTS,
        round(struck * BASIS_POINTS / made_n),
        round(low * BASIS_POINTS),
        round(high * BASIS_POINTS),
        round(struck_then * BASIS_POINTS / made_then) if made_then else None,
        made_n,
    )
