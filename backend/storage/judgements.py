"""Judgements of many customers: those in force on a day, and what happened after them."""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray, IntArray
from backend.domain.judgement_quality import LAST_ORDER_DAYS_MAX, JudgedRows, OrderDays
from backend.domain.judgements import OVERRIDE_DAYS_MAX, Judgement, JudgementKind, JudgementReason
from backend.domain.times import add_days, day_number
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection
from backend.storage.statistics import COUNTS, Crowd

JUDGED_MAX = 5_000
"""Judgements of one report."""
ORDERS_MAX = 1_000_000
"""Orders of one report: more is asked territory by territory."""
_COLUMNS = (
    "j.id, j.customer_id, j.kind, j.reason, j.note, j.starts_on, j.ends_on, j.score, j.points, j.created_at,"
    " j.created_by"
)


async def judgements_on(conn: Connection, crowd: Crowd) -> dict[int, list[Judgement]]:
    """Those in force on the crowd's day, by the customer's number."""
    rows = await conn.fetch(
        crowd.sql + f"SELECT c.n, {_COLUMNS} FROM judgement j JOIN c ON c.id = j.customer_id"
        " WHERE j.starts_on <= ? AND j.ends_on >= ? AND NOT j.withdrawn ORDER BY j.id",
        *crowd.values,
        crowd.day,
        crowd.day,
    )
    found: dict[int, list[Judgement]] = {}
    for n, *values in rows:
        found.setdefault(n, []).append(_judgement(*values))
    return found


def _judgement(
    record_id: str,
    customer_id: str,
    kind: str,
    reason: str,
    note: str | None,
    starts_on: str,
    ends_on: str,
    score: int | None,
    points: int | None,
    created_at: int,
    created_by: str,
) -> Judgement:
    return Judgement(
        record_id,
        customer_id,
        JudgementKind(kind),
        JudgementReason(reason),
        note,
        starts_on,
        ends_on,
        score,
        points,
        created_at,
        created_by,
    )


@dataclass(frozen=True, slots=True)
class JudgedPast:
    """Judgements that began in a period. Rows of `keys` and `judged` are those whose time is over.

    `keys`: (kind, reason, who); `open_n`: of which it is too early to tell; `withdrawn_n`: taken back, told of no more;
    `ever_judged`: (n,) customers with a judgement that touched the time looked at.
    """

    keys: list[tuple[str, str, str]]
    judged: JudgedRows
    open_n: int
    withdrawn_n: int
    ever_judged: BoolArray
    orders: OrderDays


async def read_judged_past(
    conn: Connection, crowd: Crowd, customers_n: int, *, first_day: str, last_day: str, days: int
) -> JudgedPast:
    """Everything a report of judgements needs; `crowd` is of today. Raises TOO_MANY."""
    rows = await conn.fetch(
        crowd.sql + "SELECT c.n, j.id, j.kind, j.reason, j.created_by, j.starts_on, j.withdrawn"
        " FROM judgement j JOIN c ON c.id = j.customer_id WHERE j.starts_on >= ? AND j.starts_on <= ?"
        " ORDER BY j.starts_on, j.id LIMIT ?",
        *crowd.values,
        first_day,
        last_day,
        JUDGED_MAX + 1,
    )
    _few(len(rows), JUDGED_MAX)
    # whoever was judged at any time that overlaps what is looked at is nobody's comparison
    touched = await conn.fetch(
        crowd.sql + "SELECT DISTINCT c.n FROM judgement j JOIN c ON c.id = j.customer_id"
        " WHERE j.ends_on >= ? AND j.starts_on >= ? AND j.starts_on <= ?",
        *crowd.values,
        first_day,
        add_days(first_day, -OVERRIDE_DAYS_MAX - days),
        add_days(last_day, days),
    )
    ever = np.zeros(customers_n, dtype=np.bool_)
    ever[[row[0] for row in touched]] = True
    counted = [row for row in rows if not row[6]]
    over = [row for row in counted if add_days(row[5], days) < crowd.day]
    orders = await _order_days(conn, crowd, add_days(first_day, -LAST_ORDER_DAYS_MAX), add_days(last_day, days))
    return JudgedPast(
        keys=[(row[2], row[3], row[4]) for row in over],
        judged=JudgedRows(
            customer=np.array([row[0] for row in over], dtype=np.int64),
            day=np.array([day_number(row[5]) for row in over], dtype=np.int64),
            # the end of an id is random
            draw=np.array([int(row[1][-8:], 16) for row in over], dtype=np.int64),
        ),
        open_n=len(counted) - len(over),
        withdrawn_n=len(rows) - len(counted),
        ever_judged=ever,
        orders=orders,
    )


async def _order_days(conn: Connection, crowd: Crowd, first_day: str, last_day: str) -> OrderDays:
    rows = await conn.fetch(
        crowd.sql + "SELECT c.n, o.ordered_on FROM sales_order o JOIN c ON c.id = o.customer_id"
        f" WHERE {COUNTS} AND o.ordered_on >= ? AND o.ordered_on <= ? LIMIT ?",
        *crowd.values,
        first_day,
        last_day,
        ORDERS_MAX + 1,
    )
    _few(len(rows), ORDERS_MAX)
    customer: IntArray = np.array([row[0] for row in rows], dtype=np.int64)
    day = np.array([row[1] for row in rows], dtype="datetime64[D]").astype(np.int64)
    return OrderDays.of(customer, day)


def _few(count: int, most: int) -> None:
    if count > most:
        raise Refused(Problem(Code.TOO_MANY, ("territoryId",), (str(most),)))
