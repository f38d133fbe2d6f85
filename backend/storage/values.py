"""What one customer's value is reckoned from: its orders, its visits, and the models of the run before that day."""

from dataclasses import dataclass
from typing import Any

import orjson

from backend.domain.times import DAY_MS, day_bounds_ms
from backend.domain.visits import VisitState
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.engine import Connection
from backend.storage.statistics import COUNTS, Crowd, OrderRows, place_name, read_orders

YEAR_DAYS = 364
"""Four quarters of 91 days."""


@dataclass(frozen=True, slots=True)
class OneCustomer:
    """A customer with where its peers are: `place` as `CN/31`, `None` where its province was not recorded."""

    id: str
    kind: str
    place: str | None
    zone: str


@dataclass(frozen=True, slots=True)
class SoldTo:
    """Orders of one customer up to a day: `rows_n` of them, their first and last day, pieces where they name any."""

    orders: OrderRows
    rows_n: int
    first_day: str | None
    last_day: str | None
    units_n: int


async def read_one_customer(conn: Connection, customer_id: str, where: str, args: list[object]) -> OneCustomer | None:
    """The customer if `where` (over `customer k`) holds for it."""
    rows = await conn.fetch(
        f"SELECT k.id, k.kind, k.country, k.province, k.timezone FROM customer k WHERE k.id = ? AND {where}",
        customer_id,
        *args,
    )
    if not rows:
        return None
    record_id, kind, country, province, zone = rows[0]
    place = None if province is None else place_name(country, province)
    return OneCustomer(record_id, kind, place, zone or TIMEZONE_DEFAULT)


async def read_sold_to(conn: Connection, customer_id: str, day: str) -> SoldTo:
    """Its orders that count, up to the day, as a score run reads them."""
    crowd = Crowd(day, (TIMEZONE_DEFAULT,), "k.id = ?", (customer_id,))
    [totals] = await conn.fetch(
        "SELECT COUNT(*), MIN(o.ordered_on), MAX(o.ordered_on), COALESCE(SUM(o.units), 0) FROM sales_order o"
        f" WHERE o.customer_id = ? AND {COUNTS} AND o.ordered_on <= ?",
        customer_id,
        day,
    )
    rows_n, first_day, last_day, units_n = totals
    return SoldTo(await read_orders(conn, crowd), rows_n, first_day, last_day, int(units_n))


async def read_year_visits(conn: Connection, customer: OneCustomer, day: str) -> tuple[int, int | None, int | None]:
    """How many visits were made in the year that ends with the day, and the moments of the first and the last."""
    ends = day_bounds_ms(day, customer.zone)[1]
    [row] = await conn.fetch(
        "SELECT COUNT(*), MIN(v.check_in_at), MAX(v.check_in_at) FROM visit v WHERE v.customer_id = ?"
        f" AND v.state = '{VisitState.COMPLETED.value}' AND v.check_in_at >= ? AND v.check_in_at < ?",
        customer.id,
        ends - YEAR_DAYS * DAY_MS,
        ends,
    )
    return int(row[0]), row[1], row[2]


async def read_models(conn: Connection, day: str) -> dict[str, Any] | None:
    """What the newest run of that day or before kept of its models, with its id as `runId`; none before the first."""
    rows = await conn.fetch(
        "SELECT id, models FROM score_run WHERE models <> '{}' AND as_of <= ? ORDER BY as_of DESC, started_at DESC"
        " LIMIT 1",
        day,
    )
    return None if not rows else {**orjson.loads(rows[0][1]), "runId": rows[0][0]}
