"""Whole-column statistics from the database's own SQL: what a score run and a ranking read.

Customers are numbered by id inside every statement (`c.n`, from 0), so rows come back as small tuples of numbers
that numpy takes as they are; nothing is looped over customer by customer. What was never recorded stays so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.domain.arrays import BoolArray, IntArray, IntColumn, group_sum
from backend.domain.cases import SETTLED as CASES_SETTLED
from backend.domain.cases import SEVERITY, CasePriority
from backend.domain.catalogue import DeliveryWindow
from backend.domain.customers import CustomerKind
from backend.domain.exchange import convert_columns
from backend.domain.frozen import KINDS
from backend.domain.history import OrderColumns
from backend.domain.money import Rate
from backend.domain.orders import UNCOUNTED
from backend.domain.satisfaction import SEVERE_FROM
from backend.domain.score_facts import DayFacts, local_days
from backend.domain.tasks import TaskState
from backend.domain.times import add_days, day_bounds_ms, day_number
from backend.domain.visits import VisitState
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.engine import Connection, Row

YEAR_DAYS = 365
UNSCORED_KINDS = (CustomerKind.FABRIC_SUPPLIER.value,)
"""Kinds the company buys from and never sells to."""


def _listed(states: Iterable[str]) -> str:
    return ", ".join(f"'{state}'" for state in states)


COUNTS = f"o.state NOT IN ({_listed(UNCOUNTED)})"
"""An order counts from the moment it was submitted, unless it was cancelled or sent back; history always does."""
_AGREED = _listed((VisitState.PLANNED, VisitState.CONFIRMED))
_SETTLED = _listed((TaskState.DONE, TaskState.CANCELLED))
_CASES_SETTLED = _listed(sorted(CASES_SETTLED))
_SEVERE = _listed([one for one in CasePriority if SEVERITY[one.value] >= SEVERE_FROM])
SCORED = f"k.kind NOT IN ({_listed(UNSCORED_KINDS)})"


@dataclass(frozen=True, slots=True)
class Crowd:
    """Which customers, and the day on which facts are judged, in each customer's own zone.

    `where`: a predicate over `customer k` with its arguments; `zones`: every zone that occurs.
    """

    day: str
    zones: tuple[str, ...]
    where: str = SCORED
    args: tuple[object, ...] = ()

    @property
    def sql(self) -> str:
        """`c`: (id, n, zone, day_begins, day_ends) with n from 0 in the order of ids."""
        cases = " ".join("WHEN ?::text THEN ?::bigint" for _ in self.zones)
        zone = "COALESCE(k.timezone, ?::text)"
        return (
            f"WITH c AS (SELECT k.id, ROW_NUMBER() OVER (ORDER BY k.id) - 1 AS n,"
            f" CASE {zone} {cases} END AS day_begins, CASE {zone} {cases} END AS day_ends"
            f" FROM customer k WHERE {self.where}) "
        )

    @property
    def values(self) -> list[object]:
        """The arguments of `sql`."""
        bounds = [day_bounds_ms(self.day, zone) for zone in self.zones]
        found: list[object] = []
        for edge in (0, 1):
            found.append(TIMEZONE_DEFAULT)
            for zone, bound in zip(self.zones, bounds, strict=True):
                found += [zone, bound[edge]]
        return [*found, *self.args]


async def crowd_of(conn: Connection, day: str, where: str = SCORED, args: Sequence[object] = ()) -> Crowd:
    """The customers for which `where` (over `customer k`) holds, on a local day."""
    rows = await conn.fetch("SELECT DISTINCT timezone FROM customer WHERE timezone IS NOT NULL")
    zones = tuple(sorted({TIMEZONE_DEFAULT, *(row[0] for row in rows)}))
    return Crowd(day, zones, where, tuple(args))


@dataclass(frozen=True, slots=True)
class Heads:
    """(n,) customers in the order of their ids. `kind`: place in `KINDS`; `zone`: place in the crowd's zones."""

    ids: tuple[str, ...]
    kind: IntArray
    zone: IntArray
    territory_id: tuple[str | None, ...]
    cadence_days: IntColumn
    peer_group: IntArray
    open_hours: tuple[str | None, ...]
    places: tuple[str, ...]
    """countries with provinces as `CN/31`: a peer group is a place × the number of kinds + the kind"""


async def read_heads(conn: Connection, crowd: Crowd) -> Heads:
    rows = await conn.fetch(
        "SELECT k.id, k.kind, COALESCE(k.timezone, ?::text), k.territory_id, k.cadence_days, k.country, k.province,"
        f" k.open_hours FROM customer k WHERE {crowd.where} ORDER BY k.id",
        TIMEZONE_DEFAULT,
        *crowd.args,
    )
    ids, kinds, zones, territories, cadences, countries, provinces, hours = _columns(rows, 8)
    kind = _places(kinds, KINDS)
    places, peer_group = _peer_groups(kind, countries, provinces)
    return Heads(
        ids=ids,
        kind=kind,
        zone=_places(zones, crowd.zones),
        territory_id=territories,
        cadence_days=IntColumn.of(cadences),
        peer_group=peer_group,
        open_hours=hours,
        places=places,
    )


def place_name(country: str | None, province: str | None) -> str:
    """Where peers are: `CN/31`."""
    return f"{country}/{province}"


def _peer_groups(
    kind: IntArray, countries: Sequence[Any], provinces: Sequence[Any]
) -> tuple[tuple[str, ...], IntArray]:
    """Customers of one kind in one province are peers; −1 where the province was not recorded. And the places."""
    if not provinces:
        return (), np.zeros(0, dtype=np.int64)
    places = np.array([place_name(country, province) for country, province in zip(countries, provinces, strict=True)])
    known = np.array([province is not None for province in provinces], dtype=np.bool_)
    names, place = np.unique(places, return_inverse=True)
    return tuple(names.tolist()), np.where(known, place * len(KINDS) + kind, -1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class OrderRows:
    """Orders that count: `rows` of (customer n, day, amount, currency); `rates`: into the reporting currency."""

    rows: Sequence[Row]
    rates: tuple[Rate, ...]


async def read_orders(conn: Connection, crowd: Crowd) -> OrderRows:
    """Every order that counts, up to the crowd's day."""
    rows = await conn.fetch(
        crowd.sql + "SELECT c.n, o.ordered_on, o.total_minor, o.currency"
        f" FROM sales_order o JOIN c ON c.id = o.customer_id WHERE {COUNTS} AND o.ordered_on <= ?",
        *crowd.values,
        crowd.day,
    )
    return OrderRows(rows, await read_rates(conn))


async def read_rates(conn: Connection) -> tuple[Rate, ...]:
    """All exchange rates into the reporting currency."""
    rates = await conn.fetch("SELECT currency, valid_from, rate_e9 FROM exchange_rate ORDER BY currency, valid_from")
    return tuple(Rate(*row) for row in rates)


@dataclass(frozen=True, slots=True)
class Sales:
    """Orders in the reporting currency.

    `left_out`: (n,) customers with an order whose currency had no rate on its day; `missing`: currency → how
    many customers that is.
    """

    orders: OrderColumns
    left_out: BoolArray
    missing: dict[str, int]


def sales_of(found: OrderRows, *, customers_n: int, currency: str) -> Sales:
    """Convert all orders at the rate of their day; raises OUT_OF_RANGE beyond 2^53."""
    customers, days, amounts, currencies = _columns(found.rows, 4)
    return sales_from(
        np.array(customers, dtype=np.int64),
        np.array(days, dtype="datetime64[D]").astype(np.int64),
        np.array(amounts, dtype=np.int64),
        np.array(currencies, dtype=np.str_),
        customers_n=customers_n,
        currency=currency,
        rates=found.rates,
    )


def sales_from(
    customer: IntArray,
    day: IntArray,
    amount_minor: IntArray,
    names: npt.NDArray[np.str_],
    *,
    customers_n: int,
    currency: str,
    rates: Sequence[Rate],
) -> Sales:
    """The same of columns, one row per order; `names`: the currency of each."""
    converted = convert_columns(amount_minor, names, day, to=currency, rates=rates)
    # a sample without a price is nothing in any currency
    unknown = ~converted.known & (amount_minor != 0)
    left_out = np.zeros(customers_n, dtype=np.bool_)
    left_out[customer[unknown]] = True
    missing = {
        str(code): int(np.unique(customer[unknown & (names == code)]).size) for code in np.unique(names[unknown])
    }
    nothing = np.zeros(customer.shape, dtype=np.bool_)
    orders = OrderColumns(customer, day, converted.amount_minor, np.zeros_like(customer), nothing, nothing)
    return Sales(orders, left_out, missing)


@dataclass(frozen=True, slots=True)
class Habits:
    """(n,) what customers buy: categories in the last year, pre-orders ever, and when the next book closes."""

    breadth_n: IntColumn
    has_preorder_history: IntColumn
    season_close_day: IntColumn


async def read_habits(conn: Connection, crowd: Crowd, customers_n: int) -> Habits:
    """Breadth is known where lines name their style; pre-orders where orders name their delivery window."""
    year_ago = add_days(crowd.day, -YEAR_DAYS)
    lines = await conn.fetch(
        crowd.sql + "SELECT c.n, COUNT(DISTINCT CASE WHEN o.ordered_on > ? THEN s.category END),"
        " SUM(CASE WHEN o.ordered_on > ? AND s.id IS NULL THEN 1 ELSE 0 END),"
        " SUM(CASE WHEN s.id IS NULL THEN 0 ELSE 1 END)"
        " FROM sales_order o JOIN c ON c.id = o.customer_id JOIN order_line l ON l.order_id = o.id"
        f" LEFT JOIN style s ON s.id = l.style_id WHERE {COUNTS} AND o.ordered_on <= ? GROUP BY c.n",
        *crowd.values,
        year_ago,
        year_ago,
        crowd.day,
    )
    windows = await conn.fetch(
        crowd.sql + f"SELECT c.n, MAX(CASE WHEN o.\"window\" = '{DeliveryWindow.PREBOOK.value}' THEN 1 ELSE 0 END)"
        f' FROM sales_order o JOIN c ON c.id = o.customer_id WHERE {COUNTS} AND o."window" IS NOT NULL'
        " AND o.ordered_on <= ? GROUP BY c.n",
        *crowd.values,
        crowd.day,
    )
    closing = await conn.fetch("SELECT MIN(order_closes_on) FROM season WHERE order_closes_on >= ?", crowd.day)
    customer, categories, unstyled, styled = (np.array(column, dtype=np.int64) for column in _columns(lines, 4))
    # no category in a year of orders without styles is not known; in a year without orders it is none
    known = (categories > 0) | ((styled > 0) & (unstyled == 0))
    buyer, preorders = (np.array(column, dtype=np.int64) for column in _columns(windows, 2))
    close = None if closing[0][0] is None else day_number(closing[0][0])
    return Habits(
        breadth_n=_scattered(customer[known], categories[known], customers_n),
        has_preorder_history=_scattered(buyer, preorders, customers_n),
        season_close_day=IntColumn.missing(customers_n)
        if close is None
        else IntColumn.full(np.full(customers_n, close)),
    )


@dataclass(frozen=True, slots=True)
class FactRows:
    """Last visits (n, instant, id), next appointments (n, instant, id), open tasks (n, id, due day, due instant)
    and last orders (n, id)."""

    visits: Sequence[Row]
    appointments: Sequence[Row]
    tasks: Sequence[Row]
    orders: Sequence[Row]


async def read_facts(conn: Connection, crowd: Crowd) -> FactRows:
    """What a day's ranking reads besides the scores, each judged in the customer's own zone."""
    begin, values = crowd.sql, crowd.values
    visits = await conn.fetch(
        begin + "SELECT n, check_in_at, id FROM (SELECT c.n, v.check_in_at, v.id, ROW_NUMBER() OVER"
        " (PARTITION BY c.n ORDER BY v.check_in_at DESC, v.id DESC) AS place"
        " FROM visit v JOIN c ON c.id = v.customer_id"
        f" WHERE v.state = '{VisitState.COMPLETED.value}' AND v.check_in_at < c.day_ends) f WHERE place = 1",
        *values,
    )
    appointments = await conn.fetch(
        begin + "SELECT n, planned_at, id FROM (SELECT c.n, v.planned_at, v.id, ROW_NUMBER() OVER"
        " (PARTITION BY c.n ORDER BY v.planned_at, v.id) AS place FROM visit v JOIN c ON c.id = v.customer_id"
        f" WHERE v.state IN ({_AGREED}) AND v.planned_at >= c.day_begins) f WHERE place = 1",
        *values,
    )
    tasks = await conn.fetch(
        begin + "SELECT c.n, t.id, t.due_on, t.due_at FROM task t JOIN c ON c.id = t.customer_id"
        f" WHERE t.state NOT IN ({_SETTLED}) ORDER BY c.n, t.id",
        *values,
    )
    orders = await conn.fetch(
        begin + "SELECT n, id FROM (SELECT c.n, o.id, ROW_NUMBER() OVER"
        " (PARTITION BY c.n ORDER BY o.ordered_on DESC, o.id DESC) AS place"
        f" FROM sales_order o JOIN c ON c.id = o.customer_id WHERE {COUNTS} AND o.ordered_on <= ?) f"
        " WHERE place = 1",
        *values,
        crowd.day,
    )
    return FactRows(visits, appointments, tasks, orders)


async def read_severe_cases(conn: Connection, crowd: Crowd) -> dict[int, tuple[str, ...]]:
    """n → ids of the severe complaints that are open now, by id; for those who have any."""
    rows = await conn.fetch(
        crowd.sql + "SELECT c.n, k.id FROM service_case k JOIN c ON c.id = k.customer_id"
        f" WHERE k.state NOT IN ({_CASES_SETTLED}) AND k.priority IN ({_SEVERE}) ORDER BY c.n, k.id",
        *crowd.values,
    )
    found: dict[int, tuple[str, ...]] = {}
    for row, case_id in rows:
        found[row] = (*found.get(row, ()), case_id)
    return found


def facts_of(found: FactRows, heads: Heads, crowd: Crowd) -> DayFacts:
    """The rows as columns."""
    customers_n = len(heads.ids)
    task_rows, task_ids, _, _ = _columns(found.tasks, 4)
    task_customer = np.array(task_rows, dtype=np.int64)
    late = _due_days(found.tasks, heads, crowd) < day_number(crowd.day)
    ones = np.ones_like(task_customer)
    by_customer: dict[int, list[str]] = {}
    for row, task_id in zip(task_rows, task_ids, strict=True):
        by_customer.setdefault(row, []).append(task_id)
    return DayFacts(
        last_visit_day=_days(found.visits, heads, crowd),
        next_appointment_day=_days(found.appointments, heads, crowd),
        overdue_tasks_n=IntColumn.full(group_sum(task_customer[late], ones[late], customers_n)),
        open_tasks_n=IntColumn.full(group_sum(task_customer[~late], ones[~late], customers_n)),
        last_order_id=_texts(found.orders, 1, customers_n),
        last_visit_id=_texts(found.visits, 2, customers_n),
        next_appointment_id=_texts(found.appointments, 2, customers_n),
        task_ids={row: tuple(ids) for row, ids in by_customer.items()},
    )


def _due_days(tasks: Sequence[Row], heads: Heads, crowd: Crowd) -> IntArray:
    """(t,) local day a task is due; one due never is far away."""
    rows, _, due_on, due_at = _columns(tasks, 4)
    never = np.iinfo(np.int64).max
    days = np.full(len(tasks), never, dtype=np.int64)
    dated = np.array([day is not None for day in due_on], dtype=np.bool_)
    timed = ~dated & np.array([at is not None for at in due_at], dtype=np.bool_)
    days[dated] = np.array([day for day in due_on if day is not None], dtype="datetime64[D]").astype(np.int64)
    zone = heads.zone[np.array(rows, dtype=np.int64)[timed]]
    moments = np.array(due_at, dtype=object)[timed].astype(np.int64)
    days[timed] = local_days(moments, zone, crowd.zones)
    return days


def _days(rows: Sequence[Row], heads: Heads, crowd: Crowd) -> IntColumn:
    customers, moments, _ = _columns(rows, 3)
    customer = np.array(customers, dtype=np.int64)
    days = local_days(np.array(moments, dtype=np.int64), heads.zone[customer], crowd.zones)
    return _scattered(customer, days, len(heads.ids))


def _texts(rows: Sequence[Row], place: int, customers_n: int) -> list[str]:
    found = [""] * customers_n
    for row in rows:
        found[row[0]] = row[place]
    return found


def _columns(rows: Sequence[Row], width: int) -> tuple[tuple[Any, ...], ...]:
    """Rows as columns, also when there is none."""
    return tuple(zip(*rows, strict=True)) if rows else ((),) * width


def _places(values: Sequence[str], known: Sequence[str]) -> IntArray:
    places = {value: place for place, value in enumerate(known)}
    return np.array([places[value] for value in values], dtype=np.int64)


def _scattered(customer: IntArray, values: IntArray, customers_n: int) -> IntColumn:
    """Values of some customers among all."""
    out, known = np.zeros(customers_n, dtype=np.int64), np.zeros(customers_n, dtype=np.bool_)
    out[customer], known[customer] = values, True
    return IntColumn(out, known)
