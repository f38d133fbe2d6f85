"""Visits held out at random: what was expected of each customer at the start, and what came in the window.

Only evaluations of visit programmes that were closed, so whose arms were what was planned. *Source*: R28, R30.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS, IntArray
from backend.domain.evaluations import EvaluationState, SubjectKind
from backend.domain.exchange import convert_columns
from backend.domain.history import OrderColumns, history_of, only
from backend.domain.loyalty import recency_ratio
from backend.domain.money import Rate
from backend.domain.times import day_number
from backend.domain.visit_uplift import HeldOutVisits, VisitUplift, estimate_uplift
from backend.storage.engine import Connection, Row
from backend.storage.statistics import COUNTS

ORDERS_MAX = 2_000_000
"""Orders of one programme that are read; a programme with more is left out whole, never cut."""
PROGRAMMES_MAX = 24
_CLOSED = f"e.state = '{EvaluationState.CLOSED.value}' AND e.subject_kind = '{SubjectKind.VISIT_PROGRAMME.value}'"


@dataclass(frozen=True, slots=True)
class Programme:
    """One closed visit programme. `arms`: (customer id, held out, margin expected of two quarters); `orders`: (customer
    id, day, amount, currency) until the end of its window."""

    starts_on: str
    arms: Sequence[Row]
    orders: Sequence[Row]


@dataclass(frozen=True, slots=True)
class ProgrammeRows:
    """Closed visit programmes, the newest first, and the rates into the reporting currency."""

    programmes: tuple[Programme, ...]
    rates: tuple[Rate, ...]


async def read_programmes(conn: Connection, until_day: str) -> ProgrammeRows:
    """The newest programmes whose window was over on a day; nothing is read where there is none."""
    found = await conn.fetch(
        f"SELECT e.id, e.starts_on, e.ends_on FROM evaluation e WHERE {_CLOSED} AND e.ends_on < ?"
        " ORDER BY e.ends_on DESC, e.id DESC LIMIT ?",
        until_day,
        PROGRAMMES_MAX,
    )
    programmes = []
    for evaluation_id, starts_on, ends_on in found:
        arms = await conn.fetch(
            "SELECT a.customer_id, a.held_out, a.forecast_minor FROM evaluation_arm a"
            " JOIN customer k ON k.id = a.customer_id WHERE a.evaluation_id = ? AND a.forecast_minor > 0"
            " ORDER BY a.customer_id",
            evaluation_id,
        )
        orders = await conn.fetch(
            "SELECT o.customer_id, o.ordered_on, o.total_minor, o.currency FROM evaluation_arm a"
            " JOIN sales_order o ON o.customer_id = a.customer_id"
            f" WHERE a.evaluation_id = ? AND a.forecast_minor > 0 AND {COUNTS} AND o.ordered_on <= ? LIMIT ?",
            evaluation_id,
            ends_on,
            ORDERS_MAX,
        )
        if len(orders) < ORDERS_MAX:
            programmes.append(Programme(starts_on, arms, orders))
    rates = await conn.fetch("SELECT currency, valid_from, rate_e9 FROM exchange_rate ORDER BY currency, valid_from")
    return ProgrammeRows(tuple(programmes), tuple(Rate(*row) for row in rates))


def held_out_visits_of(found: ProgrammeRows, *, currency: str, margin_rate: float) -> HeldOutVisits:
    """All programmes as one set of columns; `margin_rate` 0..1 turns what was ordered into what the forecast counts.

    Customers with an order in a currency without a rate are left out.
    """
    parts = [_columns(one, found.rates, currency, margin_rate) for one in found.programmes if one.arms]
    if not parts:
        nothing = np.zeros(0)
        return HeldOutVisits(np.zeros(0, dtype=np.bool_), nothing, nothing, nothing)
    return HeldOutVisits(
        np.concatenate([one.treated for one in parts]),
        np.concatenate([one.spend for one in parts]),
        np.concatenate([one.recency_ratio for one in parts]),
        np.concatenate([one.outcome for one in parts]),
    )


def uplift_from(found: ProgrammeRows, settings: Settings) -> VisitUplift:
    """What a visit brings by these programmes, or what is assumed of it; money by the organisation's currency and
    margin. Not for the event loop."""
    margin = settings.default_margin_bp
    rate = 1.0 if margin is None else margin / BASIS_POINTS
    return estimate_uplift(held_out_visits_of(found, currency=settings.reporting_currency, margin_rate=rate))


def _columns(found: Programme, rates: Sequence[Rate], currency: str, margin_rate: float) -> HeldOutVisits:
    place = {row[0]: number for number, row in enumerate(found.arms)}
    orders = [row for row in found.orders if row[0] in place]
    customer: IntArray = np.array([place[row[0]] for row in orders], dtype=np.int64)
    day = np.array([row[1] for row in orders], dtype="datetime64[D]").astype(np.int64)
    names = np.array([row[3] for row in orders], dtype=np.str_)
    converted = convert_columns(
        np.array([row[2] for row in orders], dtype=np.int64), names, day, to=currency, rates=rates
    )
    kept = np.ones(len(found.arms), dtype=np.bool_)
    kept[customer[~converted.known]] = False
    nothing = np.zeros(day.shape, dtype=np.bool_)
    columns = only(OrderColumns(customer, day, converted.amount_minor, np.zeros_like(day), nothing, nothing), kept)
    start, customers_n = day_number(found.starts_on), int(kept.sum())
    before = columns.where(columns.day < start)
    inside = columns.where(columns.day >= start)
    money = np.bincount(inside.customer, inside.net_minor.astype(np.float64), minlength=customers_n)
    history = history_of(before, customers_n=customers_n, as_of_day=start)
    return HeldOutVisits(
        treated=~np.array([bool(row[1]) for row in found.arms], dtype=np.bool_)[kept],
        spend=np.array([float(row[2]) for row in found.arms])[kept],
        recency_ratio=recency_ratio(history, start, ()).value,
        outcome=np.asarray(money * margin_rate, dtype=np.float64),
    )
