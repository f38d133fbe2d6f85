"""Whom to keep, win back, grow, and how to serve: lists over the scores in force, within what the caller holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS, IntColumn
from backend.domain.decisions import (
    GONE,
    NEVER_CAME,
    Quadrant,
    ServeDecision,
    at_risk_rows,
    quadrant_of,
    serve_decision,
    win_back_rows,
    yearly_while_active,
)
from backend.domain.given import check_first, check_range
from backend.domain.lifecycle import Stage
from backend.domain.segments import SEGMENT_CODES
from backend.domain.strategy import strategies_of
from backend.domain.times import day_number
from backend.errors import Code, Problem, Refused, refuse_if
from backend.storage.engine import Connection, Engine, Row
from backend.storage.holding import held_customers
from backend.storage.statistics import COUNTS
from backend.storage.visibility import visible_to

_SHOWN = (
    "s.customer_id, s.segment, s.stage, s.existing_value_minor, s.potential_minor, s.past_value_minor,"
    " s.future_value_minor, s.churn_risk_bp, s.facts"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """One customer on a list; amounts in minor units of the reporting currency, None where not known."""

    customer_id: str
    segment: str
    stage: str
    existing_value_minor: int | None
    potential_minor: int | None
    past_value_minor: int
    future_value_minor: int
    churn_risk_bp: int | None
    uplift_minor: int | None
    yearly_minor: int | None = None
    last_order_on: str | None = None


@dataclass(frozen=True, slots=True)
class StandingList:
    """The first of a list, and how many it has in all."""

    items: tuple[Standing, ...]
    total: int


@dataclass(frozen=True, slots=True)
class QuadrantFound:
    """One quadrant: how many customers, what they are worth together, and the first of them by existing value."""

    quadrant: Quadrant
    customers_n: int
    existing_value_minor: int
    potential_minor: int
    first_ids: tuple[str, ...]


async def customers_at_risk(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    first: int,
    least_bp: int,
    territory_id: str | None = None,
) -> StandingList:
    """Customers likely to leave who have not gone yet, those first whom a visit is expected to bring most. R28.

    Raises NOT_PERMITTED, OUT_OF_RANGE, and NOT_FOUND for a territory out of scope.
    """
    problems: list[Problem] = []
    check_range(first, 1, settings.page_rows_max, "first", problems)
    check_range(least_bp, 0, BASIS_POINTS, "leastRiskBp", problems)
    refuse_if(problems)
    rows = await _scored(
        engine, principal, territory_id,
        "s.churn_risk_bp >= ? AND NOT s.stage = ANY(?)", [least_bp, list(NEVER_CAME)],
    )  # fmt: skip
    standings = [_standing(row) for row in rows]
    order = at_risk_rows(
        IntColumn.of([one.churn_risk_bp for one in standings]),
        IntColumn.of([one.uplift_minor for one in standings]),
        least_bp,
    )
    return StandingList(tuple(standings[row] for row in order[:first].tolist()), int(order.size))


async def win_back_candidates(
    engine: Engine, principal: Principal, *, settings: Settings, first: int, territory_id: str | None = None
) -> StandingList:
    """Dormant and lost customers, those first who brought most a year while they bought. R17, R39.

    Raises NOT_PERMITTED, OUT_OF_RANGE, and NOT_FOUND for a territory out of scope.
    """
    check_first(first, settings.page_rows_max)
    rows = await _scored(
        engine, principal, territory_id, "s.stage = ANY(?)", [list(GONE)],
        join=" JOIN (SELECT customer_id, MIN(ordered_on) AS first_on, MAX(ordered_on) AS last_on FROM sales_order o"
        f" WHERE {COUNTS} GROUP BY customer_id) h ON h.customer_id = s.customer_id",
        more=", h.first_on, h.last_on",
    )  # fmt: skip
    yearly = yearly_while_active(
        np.array([row[5] for row in rows], dtype=np.int64),
        np.array([day_number(row[9]) for row in rows], dtype=np.int64),
        np.array([day_number(row[10]) for row in rows], dtype=np.int64),
    )
    order = win_back_rows(yearly)
    items = tuple(
        _standing(rows[row], yearly_minor=int(yearly[row]), last_order_on=rows[row][10])
        for row in order[:first].tolist()
    )
    return StandingList(items, int(order.size))


async def value_promise_quadrants(
    engine: Engine, principal: Principal, *, settings: Settings, first: int, territory_id: str | None = None
) -> tuple[QuadrantFound, ...]:
    """Existing value against promise: all quadrants, each with the first of its customers, by one statement. R39.

    Raises NOT_PERMITTED, OUT_OF_RANGE, and NOT_FOUND for a territory out of scope.
    """
    check_first(first, settings.page_rows_max)
    _check_right(principal)
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        rows = await conn.fetch(
            "SELECT part, n, existing, promise, id FROM (SELECT substr(s.segment, 1, 2) AS part, s.customer_id AS id,"
            " COUNT(*) OVER w AS n, SUM(s.existing_value_minor) OVER w AS existing,"
            " SUM(s.potential_minor) OVER w AS promise, ROW_NUMBER() OVER (PARTITION BY substr(s.segment, 1, 2)"
            " ORDER BY COALESCE(s.existing_value_minor, 0) DESC, s.customer_id) AS place"
            f" FROM customer_score s JOIN customer k ON k.id = s.customer_id WHERE {where}"
            " WINDOW w AS (PARTITION BY substr(s.segment, 1, 2))) f WHERE place <= ? ORDER BY part, place",
            *args,
            first,
        )
    return tuple(_quadrant(quadrant, [row for row in rows if quadrant_of(row[0]) is quadrant]) for quadrant in Quadrant)


async def serve_decision_of(
    engine: Engine, principal: Principal, *, settings: Settings, customer_id: str
) -> ServeDecision:
    """How to serve one customer, and what visits as planned would cost against what it is expected to bring. R51.

    Raises NOT_PERMITTED, and NOT_FOUND for a customer out of scope or never scored.
    """
    _check_right(principal)
    visible, args = visible_to(principal, "scores", "s", record_column="customer_id")
    async with engine.read() as conn:
        rows = await conn.fetch(
            "SELECT s.segment, s.stage, s.facts, t.tables FROM customer_score s JOIN priority_table t"
            f" ON t.id = s.table_id WHERE s.customer_id = ? AND {visible}",
            customer_id,
            *args,
        )
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("customerId",)))
    segment, stage, facts, tables = rows[0]
    table = strategies_of(orjson.loads(tables).get("strategies"))
    planned = table.strategy(SEGMENT_CODES.index(segment), Stage[stage])
    return serve_decision(planned, orjson.loads(facts).get("valueAtStakeMinor"), settings.visit_cost_minor)


def _check_right(principal: Principal) -> None:
    if not principal.reads("scores") or not principal.reads("customers"):
        raise Refused(Problem(Code.NOT_PERMITTED))


async def _scored(
    engine: Engine,
    principal: Principal,
    territory_id: str | None,
    condition: str,
    values: Sequence[object],
    *,
    join: str = "",
    more: str = "",
) -> list[Row]:
    """Rows of `_SHOWN` of the customers the caller holds, in the order of their ids."""
    _check_right(principal)
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        return await _rows(conn, f"{where} AND {condition}", [*args, *values], join, more)


async def _rows(conn: Connection, where: str, args: Sequence[object], join: str, more: str) -> list[Row]:
    return await conn.fetch(
        f"SELECT {_SHOWN}{more} FROM customer_score s JOIN customer k ON k.id = s.customer_id{join}"
        f" WHERE {where} ORDER BY s.customer_id",
        *args,
    )


def _standing(row: Sequence[Any], *, yearly_minor: int | None = None, last_order_on: str | None = None) -> Standing:
    customer_id, segment, stage, existing, promise, past, future, risk, facts = row[:9]
    return Standing(
        customer_id=customer_id,
        segment=segment,
        stage=stage,
        existing_value_minor=existing,
        potential_minor=promise,
        past_value_minor=past,
        future_value_minor=future,
        churn_risk_bp=risk,
        uplift_minor=orjson.loads(facts).get("upliftMinor"),
        yearly_minor=yearly_minor,
        last_order_on=last_order_on,
    )


def _quadrant(quadrant: Quadrant, rows: Sequence[Row]) -> QuadrantFound:
    if not rows:
        return QuadrantFound(quadrant, 0, 0, 0, ())
    _, customers_n, existing, promise, _ = rows[0]
    return QuadrantFound(
        quadrant, customers_n, int(existing or 0), int(promise or 0), tuple(row[4] for row in rows)
    )  # fmt: skip
