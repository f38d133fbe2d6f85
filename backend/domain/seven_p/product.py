"""Product: what is bought, what goes together, and where size runs are broken. *Source*: R23."""

from collections.abc import Sequence

from backend.domain.affinity import affinity
from backend.domain.arrays import BASIS_POINTS, Basis
from backend.domain.behaviour import Habit, habit_of
from backend.domain.kpis import Unit
from backend.domain.seven_p.records import BrokenRun, Records, absent, used
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
    not_recorded,
    points,
    ranged,
    share,
    year_until,
)
from backend.domain.sources import Source

_F, _L, _C = SevenPFigure, SevenPList, SevenPCaveat


def product(records: Records) -> Part:
    """Mix of the last year by category, colour and size, pairs bought together, and broken size runs.

    The score is the share of pieces bought in sizes that are still to be had; which were a year before is kept by
    nobody, so there is no trend.
    """
    bought = records.bought
    units = int(bought.units.sum())
    gone = sum(run.gone_units for run in records.broken)
    pairs = affinity(*records.baskets, items_n=len(records.basket_names), shown_max=ROWS_MAX)
    habits = (
        (_L.CATEGORY, habit_of(bought.category, bought.units)),
        (_L.COLOUR, habit_of(bought.colour, bought.units)),
        (_L.SIZE, habit_of(bought.size, bought.units)),
    )
    rows = [row for code, habit in habits if habit is not None for row in _mix(code, habit)]
    rows += [
        Row(
            _L.AFFINITY,
            (
                ranged(_F.LIFT, Unit.BASIS_POINTS, (pair.lift, pair.low, pair.high), BASIS_POINTS),
                ranged(
                    _F.CONFIDENCE,
                    Unit.BASIS_POINTS,
                    (pair.confidence, pair.confidence_low, pair.confidence_high),
                    BASIS_POINTS,
                ),
                count(_F.SUPPORT, pair.support_n, n=pairs.baskets_n),
            ),
            label=f"{records.basket_names[pair.first]} → {records.basket_names[pair.second]}",
        )
        for pair in pairs.pairs
    ]
    rows += _broken(records.broken, units)
    figures = (
        count(_F.UNITS, units, n=len(records.customers)),
        count(_F.BROKEN_RUNS, len(records.broken)),
        share(_F.MISSING_SHARE, gone, units),
        count(_F.SUPPORT, pairs.baskets_n),
        not_recorded(_F.RETURN_RATE, Unit.BASIS_POINTS),
    )
    caveats = [Caveat(_C.RETURNS_NOT_RECORDED), Caveat(_C.STOCK_NOT_RECORDED)]
    if not units:
        caveats.append(Caveat(_C.NO_ORDERS))
    if records.cells_cut:
        caveats.append(Caveat(_C.CELLS_CUT, len(bought.units)))
    if pairs.compared_n:
        caveats.append(Caveat(_C.MANY_PAIRS, pairs.compared_n))
    year = year_until(records.as_of_day)
    return Part(
        SevenPPart.PRODUCT,
        points(100.0 * (1.0 - gone / units)) if units else None,
        None,
        figures,
        tuple(rows),
        Basis.PARTLY_RECORDED if units else Basis.NOT_RECORDED,
        int((records.revenue(year) != 0).sum()),
        tuple(caveats),
        (used(Source.ORDERS, records.orders.day, year.last, year.first), *absent(Source.RETURNS)),
        RULES_VERSION,
    )


def _mix(code: SevenPList, habit: Habit) -> list[Row]:
    return [
        Row(code, (Figure(_F.SHARE, Unit.BASIS_POINTS, round(part * BASIS_POINTS), n=habit.units_n),), label=name)
        for name, part in habit.shares
    ]


def _broken(runs: Sequence[BrokenRun], units: int) -> list[Row]:
    """Broken size runs, those first whose missing sizes were most of what was bought."""
    order = sorted(runs, key=lambda run: (-run.gone_units, run.style_code, run.colour_code))[:ROWS_MAX]
    return [
        Row(
            _L.BROKEN_RUN,
            (
                share(_F.MISSING_SHARE, run.gone_units, run.units, n=run.units),
                count(_F.UNITS, run.gone_units, n=units),
            ),
            label=f"{run.style_code} {run.colour_code}: {'/'.join(run.missing)}",
            collection="styles",
            record_id=run.style_id,
        )
        for run in order
    ]
