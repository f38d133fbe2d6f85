"""Persistency: who stays, who comes again, who is overdue, and how long customers last. *Source*: R17, R19."""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BASIS_POINTS, Basis, BoolArray, FloatArray, IntArray
from backend.domain.cohorts import cohort_table
from backend.domain.history import history_of, purchase_days
from backend.domain.kpis import KpiCode, KpiInputs, NoFigure, Unit, kpi
from backend.domain.lifecycle import DORMANT_RATIO
from backend.domain.loyalty import overdue, recency_ratio
from backend.domain.seven_p.records import Records, used, within
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
    of_kpi,
    points,
    ranged,
    trend_of,
    year_until,
)
from backend.domain.sources import Source
from backend.domain.survival import survival, wilson_interval

COHORTS_MAX = 8
OVERDUE_FROM = 0.5
RECENT_INTERVALS = 4
EARLIER_INTERVALS_MIN = 4
TURN_FACTOR = 1.5
"""Intervals this many times as long as before, or as short, are another rhythm."""
TREND_Z = 2.5758293035489004
"""One in two hundred customers without any trend is beyond this on either side."""
SURVIVAL_DAYS = (90, 180, 365, 730)
FEW = 30
_F, _L, _C = SevenPFigure, SevenPList, SevenPCaveat


@dataclass(frozen=True, slots=True)
class _Due:
    """(n,) days of silence over the own interval, chance 0..1 that the next order is overdue, the own interval."""

    ratio: FloatArray
    late: FloatArray
    since: IntArray
    known: BoolArray

    @property
    def score(self) -> int | None:
        return points(100.0 * float(1.0 - self.late[self.known].mean())) if self.known.any() else None


def _due(records: Records, day: int) -> _Due:
    history = history_of(records.until(day), customers_n=len(records.customers), as_of_day=day)
    ratio = recency_ratio(history, day)
    return _Due(ratio.value, overdue(ratio).value, day - history.last_day, ratio.known & history.has_orders)


def persistency(records: Records) -> Part:
    """Retention, repeat rate, overdue customers and survival; the score is 100 × the mean chance of being on time."""
    customers_n, today = len(records.customers), records.as_of_day
    year, before = year_until(today), year_until(today - YEAR_DAYS)
    then_known = records.reaches(before)
    due = _due(records, today)
    past = _due(records, before.last) if then_known else None
    late = due.known & (np.nan_to_num(due.late) >= OVERDUE_FROM)
    inputs = KpiInputs(records.orders, customers_n, records.visit_customer, records.visit_day, 0, {}, 0)
    figures = (
        _mean_score(records),
        _mean_risk(records),
        _retention(records),
        *(
            of_kpi(
                code,
                unit,
                kpi(key, inputs, year),
                kpi(key, inputs, before) if then_known else None,
            )
            for code, key, unit in (
                (_F.REPEAT_RATE, KpiCode.REPEAT_RATE, Unit.BASIS_POINTS),
                (_F.DAYS_TO_SECOND_ORDER, KpiCode.DAYS_TO_SECOND_ORDER, Unit.DAYS),
            )
        ),
        count(_F.OVERDUE, int(late.sum()), None if past is None else int(_late(past).sum()), n=int(due.known.sum())),
    )
    slowing, quickening = _rhythms(records)
    rows = (*_cohorts(records), *_survival(records, due), *_overdue(records, due, late), *slowing, *quickening)
    caveats = []
    if not records.orders.day.size:
        caveats.append(Caveat(_C.NO_ORDERS))
    elif not then_known:
        caveats.append(Caveat(_C.YEAR_TOO_SHORT))
    if records.scores.loyalty_hundredths.known.any():
        caveats.append(Caveat(_C.SCORES_OF_TODAY))
    n = int(due.known.sum())
    if 0 < n < FEW:
        caveats.append(Caveat(_C.FEW_CUSTOMERS, n))
    return Part(
        SevenPPart.PERSISTENCY,
        due.score,
        trend_of(due.score, None if past is None else past.score),
        figures,
        rows,
        Basis.RECORDED if n else Basis.NOT_RECORDED,
        n,
        tuple(caveats),
        (used(Source.ORDERS, records.orders.day, today),),
        RULES_VERSION,
        frozenset({_L.OVERDUE, _L.SLOWING, _L.QUICKENING}),
    )


def _late(due: _Due) -> BoolArray:
    return np.asarray(due.known & (np.nan_to_num(due.late) >= OVERDUE_FROM), dtype=np.bool_)


def _mean_score(records: Records) -> Figure:
    column = records.scores.loyalty_hundredths
    if not column.known.any():
        return not_recorded(_F.LOYALTY, Unit.POINTS)
    mean = float(column.values[column.known].mean()) / 100.0
    return Figure(_F.LOYALTY, Unit.POINTS, round(mean), n=int(column.known.sum()))


def _mean_risk(records: Records) -> Figure:
    column = records.scores.churn_risk_bp
    if not column.known.any():
        return not_recorded(_F.CHURN_RISK, Unit.BASIS_POINTS)
    return Figure(
        _F.CHURN_RISK, Unit.BASIS_POINTS, round(float(column.values[column.known].mean())), n=int(column.known.sum())
    )


def _retention(records: Records) -> Figure:
    """Of those who ordered in the year before, who ordered in the last one; and the same a year earlier."""
    shares = []
    for last in (records.as_of_day, records.as_of_day - YEAR_DAYS):
        year, before = year_until(last), year_until(last - YEAR_DAYS)
        who, day = records.orders.customer, records.orders.day
        bought = records.orders.net_minor > 0
        had = np.unique(who[within(day, before) & bought])
        stayed = np.intersect1d(had, who[within(day, year) & bought]).size
        shares.append((stayed, had.size, records.reaches(before)))
    (stayed, had_n, told), (earlier, earlier_n, told_then) = shares
    if not told or not had_n:
        return nothing(_F.RETENTION, Unit.BASIS_POINTS, NoFigure.NOTHING_TO_COUNT)
    low, high = wilson_interval(stayed, had_n)
    return Figure(
        _F.RETENTION,
        Unit.BASIS_POINTS,
        round(stayed * BASIS_POINTS / had_n),
        round(low * BASIS_POINTS),
        round(high * BASIS_POINTS),
        round(earlier * BASIS_POINTS / earlier_n) if told_then and earlier_n else None,
        had_n,
    )


def _cohorts(records: Records) -> list[Row]:
    """The newest cohorts, a row for each quarter of age: `2026Q1 +2` ordered two quarters after their first order."""
    table = cohort_table(records.orders, as_of_day=records.as_of_day)
    rows: list[Row] = []
    for cohort in range(max(0, len(table.quarters) - COHORTS_MAX), len(table.quarters)):
        size = int(table.size_n[cohort])
        if 0 < size < records.rows_from_n:
            continue
        rows += [
            Row(
                _L.COHORT,
                (
                    ranged(
                        _F.RETENTION,
                        Unit.BASIS_POINTS,
                        (column[cohort, age] for column in (table.share, table.low, table.high)),
                        BASIS_POINTS,
                        n=size,
                    ),
                ),
                label=f"{table.quarters[cohort]} +{age}",
            )
            for age in np.flatnonzero(table.observed[cohort]).tolist()
        ]
    return rows


def _survival(records: Records, due: _Due) -> list[Row]:
    """Share of customers who have not gone silent by an age, all together and by the year of their first order.

    A customer counts as gone on the day of its last order, once it was silent for three of its own intervals.
    """
    who, day = purchase_days(records.orders)
    if not who.size:
        return []
    starts = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
    row, first, last = who[starts], day[starts], day[np.r_[starts[1:] - 1, who.size - 1]]
    gone = np.nan_to_num(due.ratio[row]) >= DORMANT_RATIO
    age = np.where(gone, last - first, records.as_of_day - first)
    year = np.asarray(first, dtype="datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    groups: list[tuple[str | None, BoolArray]] = [(None, np.ones(row.shape, dtype=np.bool_))]
    groups += [(str(one), year == one) for one in np.unique(year)[-3:].tolist()]
    rows = []
    for label, kept in groups:
        if int(kept.sum()) < max(records.rows_from_n, 1):
            continue
        curve = survival(age[kept], gone[kept])
        longest = int(age[kept].max())
        for until in SURVIVAL_DAYS:
            if until > longest:
                break
            at = int(np.searchsorted(curve.days, until, side="right")) - 1
            share, low, high = (1.0, 1.0, 1.0) if at < 0 else (curve.share[at], curve.low[at], curve.high[at])
            rows.append(
                Row(
                    _L.SURVIVAL,
                    (ranged(_F.SURVIVAL, Unit.BASIS_POINTS, (share, low, high), BASIS_POINTS, n=int(kept.sum())),),
                    label=f"{label or 'ALL'} +{until}",
                )
            )
    return rows


def _overdue(records: Records, due: _Due, late: BoolArray) -> list[Row]:
    """Overdue customers, those first who brought most in the last year."""
    year = records.revenue(year_until(records.as_of_day))
    last = records.last_orders()
    chosen = np.flatnonzero(late)
    order = chosen[np.lexsort((chosen, -year[chosen]))][:ROWS_MAX]
    return [
        Row(
            _L.OVERDUE,
            (
                Figure(_F.DAYS_SINCE, Unit.DAYS, int(due.since[row])),
                Figure(_F.INTERVAL_DAYS, Unit.DAYS, round(float(due.since[row] / due.ratio[row]))),
                money(_F.REVENUE, int(year[row])),
            ),
            collection="customers",
            record_id=records.customers.ids[row],
            related_id=last.get(int(row)),
        )
        for row in order.tolist()
    ]


def _rhythms(records: Records) -> tuple[list[Row], list[Row]]:
    """Customers who order ever less often, and those who order ever more often, the steadiest change first.

    The last intervals must be longer, or shorter, than those before by the factor, and all intervals together must have
    a trend: the correlation of their logarithm with their sequence, times √(n − 1), beyond `TREND_Z`.
    """
    who, day = purchase_days(records.orders)
    if not who.size:
        return [], []
    starts = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
    ends = np.r_[starts[1:] - 1, who.size - 1]
    trend = _interval_trends(who, day, starts, ends)
    told = ends - starts >= RECENT_INTERVALS + EARLIER_INTERVALS_MIN
    starts, ends, trend = starts[told], ends[told], trend[told]
    row, cut = who[starts], ends - RECENT_INTERVALS
    recent = (day[ends] - day[cut]) / RECENT_INTERVALS
    earlier = (day[cut] - day[starts]) / (cut - starts)
    alive = records.as_of_day - day[ends] < YEAR_DAYS
    found = []
    for code, chosen, strength in (
        (_L.SLOWING, alive & (recent >= TURN_FACTOR * earlier) & (trend >= TREND_Z), -trend),
        (_L.QUICKENING, alive & (recent * TURN_FACTOR <= earlier) & (trend <= -TREND_Z), trend),
    ):
        at = np.flatnonzero(chosen)
        at = at[np.lexsort((row[at], strength[at]))][:ROWS_MAX]
        found.append(
            [
                Row(
                    code,
                    (
                        Figure(_F.INTERVAL_DAYS, Unit.DAYS, round(float(recent[one]))),
                        Figure(_F.INTERVAL_BEFORE_DAYS, Unit.DAYS, round(float(earlier[one]))),
                    ),
                    collection="customers",
                    record_id=records.customers.ids[int(row[one])],
                )
                for one in at.tolist()
            ]
        )
    return found[0], found[1]


def _interval_trends(who: IntArray, day: IntArray, starts: IntArray, ends: IntArray) -> FloatArray:
    """(c,) correlation of log interval and sequence × √(n − 1) of each customer; 0 of fewer than three intervals."""
    same = who[1:] == who[:-1]
    place = np.repeat(np.arange(starts.size), ends - starts)
    count_n = np.maximum(ends - starts, 1).astype(np.float64)
    y = np.log((day[1:] - day[:-1])[same].astype(np.float64))
    x = np.arange(same.size, dtype=np.float64)[same]

    def centred(values: FloatArray) -> FloatArray:
        mean = np.bincount(place, values, starts.size) / count_n
        return np.asarray(values - mean[place], dtype=np.float64)

    x, y = centred(x), centred(y)
    both, spread_x, spread_y = (np.bincount(place, one, starts.size) for one in (x * y, x * x, y * y))
    scale = np.sqrt(spread_x * spread_y)
    known = (scale > 1e-9) & (ends - starts >= 3)
    found = np.divide(both * np.sqrt(count_n - 1), scale, out=np.zeros(starts.shape), where=known)
    return np.asarray(found, dtype=np.float64)
