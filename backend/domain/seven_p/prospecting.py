"""Prospecting, what is still to come: future value, whitespace, four quarters ahead, who orders next. *Source*: R22.

The forecast is expected orders × expected spend of every customer, by the purchase and spend models, times the season
of the quarter. Its 80 % interval counts the chance of each customer's orders and amounts, what is not known of its own
rate, whether it is still a customer at all, and how far the totals of the last four quarters were from what would have
been expected of them.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import Basis, FloatArray, IntArray
from backend.domain.calibration import Calibration, calibrate_history, purchase_history
from backend.domain.history import QUARTER_DAYS, HistoryColumns, history_of
from backend.domain.kpis import Period, Unit
from backend.domain.loyalty import recency_ratio
from backend.domain.purchase import alive_probability
from backend.domain.purchase_forecast import forecast_cells
from backend.domain.seven_p.quarters import quarter_rows
from backend.domain.seven_p.records import Records, absent, used
from backend.domain.seven_p.report import (
    ROWS_MAX,
    RULES_VERSION,
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
    ranged,
    share,
    year_until,
)
from backend.domain.sources import Source
from backend.domain.spend import expected_spend

QUARTERS_AHEAD = 4
Z_80 = 1.2815515655446004
"""Two-sided 80 % of the normal distribution."""
SPEND_SPREAD = 1.0
"""Variance of one order's amount over the square of its mean, where too few orders tell it."""
UNCHANGED = 50.0
_F, _L, _C = SevenPFigure, SevenPList, SevenPCaveat


@dataclass(frozen=True, slots=True)
class Ahead:
    """(4,) coming quarters of 91 days: expected revenue in minor units with its 80 % interval, and orders."""

    expected: FloatArray
    low: FloatArray
    high: FloatArray
    orders: FloatArray


def ahead(
    history: HistoryColumns, models: Calibration, *, as_of_day: int, spread: float = SPEND_SPREAD, strayed: float = 0.0
) -> Ahead:
    """The coming quarters of all customers together.

    `spread`: squared variation of one customer's order amounts; `strayed`: how far totals miss, relative to them.

    Variance of a customer's quarter: m·s²·(1 + spread) + m²·s²·((1 + 1/(r + x)) / p − 1), with m orders and amount s
    expected, x repeat orders so far, r of the model and p = P(alive).
    """
    rows = history.has_orders
    zeros = np.zeros(QUARTERS_AHEAD)
    if not rows.any():
        return Ahead(zeros, zeros, zeros, zeros)
    past = purchase_history(history, as_of_day, rows)
    ends = tuple(QUARTER_DAYS * (j + 1) for j in range(QUARTERS_AHEAD))
    cells = forecast_cells(models.purchase, past, ends)
    alive = alive_probability(models.purchase, past)
    until = alive[:, None] * cells.per_cell[cells.index] * models.level
    orders = np.diff(until, axis=1, prepend=0.0)
    mean = history.revenue_minor[rows] / np.maximum(history.orders_n[rows], 1)
    amount = expected_spend(models.spend, mean, history.orders_n[rows])[:, None]
    unsure = (1.0 + 1.0 / (models.purchase.r + past.repeats_n)) / np.maximum(alive, 1e-6) - 1.0
    variance = (orders * amount**2 * (1.0 + spread) + (orders * amount) ** 2 * unsure[:, None]).sum(axis=0)
    season = seasons(history.quarter_revenue_minor.sum(axis=0))
    expected = (orders * amount).sum(axis=0) * season
    error = np.sqrt(variance * season**2 + (expected * strayed) ** 2)
    return Ahead(
        expected,
        np.maximum(expected - Z_80 * error, 0.0),
        expected + Z_80 * error,
        orders.sum(axis=0) * season,
    )


def seasons(quarters: IntArray) -> FloatArray:
    """The season of each of the coming four quarters, mean 1, from (k,) revenues of past ones, the newest first.

    Each year's quarters are taken as shares of their year and the mean drawn towards 1 by one year's weight; 1 of less
    than a year.
    """
    sold = np.trim_zeros(np.maximum(quarters, 0).astype(np.float64), "b")
    years_n = sold.size // QUARTERS_AHEAD
    if not years_n:
        return np.ones(QUARTERS_AHEAD)
    # the quarter that comes next is the one that is three quarters old now, a year on
    by_year = sold[: years_n * QUARTERS_AHEAD].reshape(years_n, QUARTERS_AHEAD)[:, ::-1]
    level = by_year.mean(axis=1, keepdims=True)
    relative = np.divide(by_year, level, out=np.ones_like(by_year), where=level > 0)
    return np.asarray((relative.sum(axis=0) + 1.0) / (years_n + 1), dtype=np.float64)


def missed(records: Records, models: Calibration) -> float | None:
    """How far totals miss: root mean square of actual over expected revenue − 1 of each of the last four quarters, as
    it would have been expected the day before. None with fewer than two that had a year of orders behind them.

    The parameters are those of today, so it errs on the small side.
    """
    found = []
    for back in range(1, QUARTERS_AHEAD + 1):
        cut = records.as_of_day - back * QUARTER_DAYS
        if not records.reaches(year_until(cut)):
            break
        history = history_of(records.until(cut), customers_n=len(records.customers), as_of_day=cut)
        expected = float(ahead(history, models, as_of_day=cut).expected[0])
        if expected > 0:
            came = int(records.revenue(Period(cut + 1, cut + QUARTER_DAYS)).sum())
            found.append(came / expected - 1.0)
    return float(np.sqrt(np.mean(np.square(found)))) if len(found) > 1 else None


def prospecting(records: Records) -> Part:
    """Future value, whitespace, the forecast and the next orders; the score is 50 × forecast / sales of the last year.

    A year before, nobody had these models, so there is no trend.
    """
    today, customers_n = records.as_of_day, len(records.customers)
    history = history_of(records.orders, customers_n=customers_n, as_of_day=today)
    bought = bool(history.has_orders.any())
    models = records.models or calibrate_history(history, as_of_day=today, version="shipped")
    strayed = missed(records, models) if bought else None
    found = ahead(history, models, as_of_day=today, spread=spend_spread(records), strayed=strayed or 0.0)
    sold = int(records.revenue(year_until(today)).sum())
    total = float(found.expected.sum())
    score = points(UNCHANGED * total / sold) if sold > 0 else None
    # quarters stray together more than apart: their errors are added, not their squares
    span = (round(float(found.low.sum())), round(float(found.high.sum())))
    figures = (
        _stored(records, _F.FUTURE_VALUE),
        _stored(records, _F.WHITESPACE),
        Figure(_F.FORECAST, Unit.MONEY_MINOR, round(total), *span, sold, customers_n)
        if bought
        else nothing(_F.FORECAST, Unit.MONEY_MINOR),
        count(_F.EXPECTED_ORDERS, round(float(found.orders.sum()))),
        not_recorded(_F.LEAD_SCORE, Unit.POINTS),
    )
    rows = (
        *quarter_rows(records),
        *_forecast(found, bought),
        *_promising(records),
        *_next_orders(records, history),
        *_white(records),
    )
    caveats = [Caveat(_C.OPPORTUNITIES_NOT_RECORDED), Caveat(_C.SCORES_OF_TODAY)]
    if not bought:
        caveats.append(Caveat(_C.NO_ORDERS))
    elif records.models is None:
        caveats.append(Caveat(_C.MODEL_SHIPPED))
    if bought and strayed is None:
        caveats.append(Caveat(_C.INTERVAL_TOO_NARROW))
    return Part(
        SevenPPart.PROSPECTING,
        score,
        None,
        figures,
        rows,
        Basis.MODEL if bought else Basis.NOT_RECORDED,
        int(history.has_orders.sum()),
        tuple(caveats),
        (used(Source.ORDERS, records.orders.day, today), *absent(Source.OPPORTUNITIES)),
        records.models_version or RULES_VERSION,
        frozenset({_L.PROMISING, _L.NEXT_ORDER}),
    )


def spend_spread(records: Records) -> float:
    """Squared variation of order amounts about their customer's mean, over all customers with two orders or more."""
    who, amount = records.orders.customer, records.orders.net_minor.astype(np.float64)
    kept = amount > 0
    who, amount = who[kept], amount[kept]
    if not who.size:
        return SPEND_SPREAD
    count_n = np.bincount(who)
    mean = np.bincount(who, amount) / np.maximum(count_n, 1)
    off = ((amount / mean[who]) - 1.0) ** 2
    freedom = float((count_n[count_n > 1] - 1).sum())
    return float(off[count_n[who] > 1].sum()) / freedom if freedom else SPEND_SPREAD


def _stored(records: Records, code: SevenPFigure) -> Figure:
    column = records.scores.future_minor if code is _F.FUTURE_VALUE else records.scores.potential_minor
    if not column.known.any():
        return not_recorded(code, Unit.MONEY_MINOR)
    return money(code, int(column.values[column.known].sum()), n=int(column.known.sum()))


def _forecast(found: Ahead, bought: bool) -> list[Row]:
    if not bought:
        return []
    return [
        Row(
            _L.FORECAST,
            (ranged(_F.FORECAST, Unit.MONEY_MINOR, (one[at] for one in (found.expected, found.low, found.high))),),
            label=f"+{at + 1}",
        )
        for at in range(QUARTERS_AHEAD)
    ]


def _promising(records: Records) -> list[Row]:
    """The customers with most to win, by their gap to comparable customers."""
    column = records.scores.potential_minor
    worth = np.where(column.known, column.values, 0)
    order = np.lexsort((np.arange(worth.size), -worth))[:ROWS_MAX]
    return [
        Row(
            _L.PROMISING,
            (money(_F.WHITESPACE, int(worth[row])),),
            collection="customers",
            record_id=records.customers.ids[row],
        )
        for row in order.tolist()
        if worth[row] > 0
    ]


def _next_orders(records: Records, history: HistoryColumns) -> list[Row]:
    """Who is expected to order next, by the own interval after the last order; overdue ones are not among them."""
    # a day later, so that who ordered today has an interval too
    ratio = recency_ratio(history, records.as_of_day + 1)
    since = records.as_of_day - history.last_day
    known = ratio.known & history.has_orders & (np.nan_to_num(ratio.value) > 0)
    interval = np.divide(since + 1, ratio.value, out=np.zeros(since.shape), where=known)
    wait = np.rint(interval - since).astype(np.int64)
    chosen = np.flatnonzero(known & (wait >= 0))
    chosen = chosen[np.lexsort((chosen, wait[chosen]))][:ROWS_MAX]
    last = records.last_orders()
    return [
        Row(
            _L.NEXT_ORDER,
            (
                Figure(_F.NEXT_ORDER_IN, Unit.DAYS, int(wait[row])),
                Figure(_F.INTERVAL_DAYS, Unit.DAYS, round(float(interval[row]))),
            ),
            collection="customers",
            record_id=records.customers.ids[row],
            related_id=last.get(row),
        )
        for row in chosen.tolist()
    ]


def _white(records: Records) -> list[Row]:
    """Categories that some customers of a kind buy and others of it do not: how many buyers take none of each."""
    lines, year = records.lines, year_until(records.as_of_day)
    kept = lines.where((lines.day >= year.first) & (lines.day <= year.last) & (lines.category >= 0))
    buyers = np.unique(kept.customer)
    if not buyers.size or (0 < buyers.size < records.rows_from_n):
        return []
    rows = []
    for at, name in enumerate(lines.names):
        taking = int(np.unique(kept.customer[kept.category == at]).size)
        without = int(buyers.size) - taking
        if taking and without:
            rows.append(
                Row(
                    _L.WHITE_CATEGORY,
                    (count(_F.NOT_BUYING, without, n=int(buyers.size)), share(_F.SHARE, without, int(buyers.size))),
                    label=name,
                )
            )
    rows.sort(key=lambda row: (-(row.figures[0].value or 0), row.label or ""))
    return rows[:ROWS_MAX]
