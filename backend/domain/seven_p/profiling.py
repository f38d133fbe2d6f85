"""Profiling: who the customers are, how much is known of them, and where their segments went. *Source*: R18, R52."""

import numpy as np

from backend.domain.arrays import Basis
from backend.domain.frozen import KINDS
from backend.domain.history import purchase_days
from backend.domain.kpis import Unit
from backend.domain.segment_moves import fallen_axes, is_alarm
from backend.domain.segments import AXES
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
    counted_rows,
    nothing,
    points,
    year_until,
)
from backend.domain.sources import Source, SourceUsed

_F, _L, _C = SevenPFigure, SevenPList, SevenPCaveat


def profiling(records: Records) -> Part:
    """Counts and shares by kind, stage and segment; the score is the mean completeness of their records.

    How complete they were a year before is kept by nobody, so there is no trend.
    """
    customers, scores = records.customers, records.scores
    customers_n = len(customers)
    if not customers_n:
        return Part(SevenPPart.PROFILING, None, None, (count(_F.CUSTOMERS, 0),), (), Basis.NOT_RECORDED, 0,
                    (Caveat(_C.NO_CUSTOMERS),), (SourceUsed(Source.ORDERS, False),))  # fmt: skip
    complete = float(customers.completeness.mean())
    year, before = year_until(records.as_of_day), year_until(records.as_of_day - YEAR_DAYS)
    known_before = records.reaches(before)
    who, day = purchase_days(records.orders)
    first = np.r_[True, who[1:] != who[:-1]] if who.size else np.zeros(0, dtype=np.bool_)
    buyers = [int(np.unique(who[within(day, span)]).size) for span in (year, before)]
    new = [int((first & within(day, span)).sum()) for span in (year, before)]
    known = [code for code in scores.segment if code]
    figures = (
        count(_F.CUSTOMERS, customers_n),
        Figure(_F.COMPLETENESS, Unit.POINTS, round(complete), n=customers_n),
        count(_F.BUYERS, buyers[0], buyers[1] if known_before else None, n=customers_n),
        count(_F.NEW_BUYERS, new[0], new[1] if known_before else None, n=customers_n),
        *_moves(records),
    )
    value = {
        code: sum(
            worth
            for worth, segment in zip(scores.existing_minor.values.tolist(), scores.segment, strict=True)
            if segment == code
        )
        for code in set(known)
    }
    rows = [
        *counted_rows(_L.KIND, [KINDS[code] for code in customers.kind.tolist()]),
        *counted_rows(_L.STAGE, customers.stage),
        *counted_rows(_L.SEGMENT, known, extra=None if records.rows_from_n else value),
        *_incomplete(records),
        *_fallen(records),
    ]
    caveats = [Caveat(_C.COMPLETENESS_OF_TODAY)]
    if len(known) < customers_n:
        caveats.append(Caveat(_C.NEVER_SCORED, customers_n - len(known)))
    return Part(
        SevenPPart.PROFILING,
        points(complete),
        None,
        figures,
        tuple(rows),
        Basis.RECORDED,
        customers_n,
        tuple(caveats),
        (used(Source.ORDERS, records.orders.day, records.as_of_day),),
        scores.table_version or RULES_VERSION,
    )


def _moves(records: Records) -> tuple[Figure, Figure]:
    """Moves between segments of four letters since a year before, by the balance of their axes."""
    first_only = bool(records.moves) and all(move.from_segment is None for move in records.moves)
    if first_only or not any(records.scores.segment):
        # who was scored for the first time has moved from nowhere
        return nothing(_F.MOVED_UP, Unit.COUNT), nothing(_F.MOVED_DOWN, Unit.COUNT)
    balance = [
        sum((now == "H") - (was == "H") for was, now in zip(move.from_segment or "", move.to_segment, strict=False))
        for move in records.moves
        if move.from_segment is not None and len(move.from_segment) == len(move.to_segment) == len(AXES)
    ]
    return (
        count(_F.MOVED_UP, sum(one > 0 for one in balance), n=len(balance)),
        count(_F.MOVED_DOWN, sum(one < 0 for one in balance), n=len(balance)),
    )


def _incomplete(records: Records) -> list[Row]:
    complete = records.customers.completeness
    order = [row for row in np.argsort(complete, kind="stable").tolist() if complete[row] < 100][:ROWS_MAX]
    return [
        Row(
            _L.INCOMPLETE,
            (Figure(_F.COMPLETENESS, Unit.POINTS, int(complete[row])),),
            collection="customers",
            record_id=records.customers.ids[row],
        )
        for row in order
    ]


def _fallen(records: Records) -> list[Row]:
    """The newest moves that somebody should look at, each with the axes that fell."""
    alarms = sorted(
        (move for move in records.moves if is_alarm(move)), key=lambda move: (move.on_day, move.customer_id)
    )
    return [
        Row(
            _L.FALLEN,
            (),
            label=f"{move.from_segment or '–'} → {move.to_segment}"
            + (f" ({''.join(axes)})" if (axes := fallen_axes(move.from_segment, move.to_segment)) else ""),
            collection="customers",
            record_id=move.customer_id,
        )
        for move in alarms[::-1][:ROWS_MAX]
    ]
