"""What a phone needs first: today's list, and what is to be known of the customers on it.

Today is judged for each customer in his own zone. On the list stand the visits planned or begun for that day, then
the customers of the highest priority; beside them their links, contacts, open tasks and orders, scores, and the
tables that rank them. Everything is bounded, and only places its reader holds are named.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backend.domain.orders import OrderState
from backend.domain.tasks import TaskState
from backend.domain.times import DAY_MS, local_day
from backend.domain.visits import VisitState
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.engine import Connection
from backend.storage.visibility import granted_keys_sql

IN_ORDER = (
    "priorityTables",
    "visits",
    "customers",
    "scores",
    "customerContacts",
    "contacts",
    "tasks",
    "orders",
)
"""The collections of the pack, as they are sent."""
RANK: Mapping[str, int] = {name: place for place, name in enumerate(IN_ORDER)}
ON_THE_LIST = (VisitState.PLANNED, VisitState.CONFIRMED, VisitState.CHECKED_IN)
SETTLED_TASKS = (TaskState.DONE, TaskState.CANCELLED)
SETTLED_ORDERS = (OrderState.REJECTED, OrderState.DELIVERED, OrderState.CLOSED, OrderState.CANCELLED)


@dataclass(frozen=True, slots=True)
class PackLimits:
    """Bounds of the pack: customers beside those with a visit today, and records in all."""

    customers_max: int
    rows_max: int


async def today_records(conn: Connection, user_id: str, *, now_ms: int, limits: PackLimits) -> list[tuple[str, str]]:
    """(collection, id) of what to send first, in that order, at most `rows_max`; seen or not is not judged here."""
    visits, visited = await _visits_today(conn, user_id, now_ms, limits.rows_max)
    customers = list(dict.fromkeys([*visited, *await _first_customers(conn, user_id, limits.customers_max)]))
    customers = customers[: limits.rows_max]

    async def ids(sql: str, *args: object) -> list[str]:
        rows = await conn.fetch(f"{sql} LIMIT {limits.rows_max}", *args)
        return sorted({row[0] for row in rows})

    tables = await ids(
        "SELECT id FROM priority_table WHERE id IN (SELECT table_id FROM customer_score WHERE customer_id = ANY(?))"
        " OR id = (SELECT MAX(id) FROM priority_table)",
        customers,
    )
    links = await ids("SELECT id FROM customer_contact WHERE customer_id = ANY(?) ORDER BY id", customers)
    contacts = await ids("SELECT contact_id FROM customer_contact WHERE id = ANY(?) ORDER BY contact_id", links)
    tasks = await ids(
        "SELECT id FROM task WHERE (assignee_id = ? OR customer_id = ANY(?))"
        f" AND state NOT IN ({_quoted(SETTLED_TASKS)}) ORDER BY due_sort, id",
        user_id,
        customers,
    )
    orders = await ids(
        f"SELECT id FROM sales_order WHERE customer_id = ANY(?) AND state NOT IN ({_quoted(SETTLED_ORDERS)})"
        " ORDER BY ordered_at DESC, id",
        customers,
    )
    found: dict[str, Sequence[str]] = {
        "priorityTables": tables,
        "visits": sorted(visits),
        "customers": sorted(customers),
        "scores": sorted(customers),
        "customerContacts": links,
        "contacts": contacts,
        "tasks": tasks,
        "orders": orders,
    }
    return [(name, record_id) for name in IN_ORDER for record_id in found[name]][: limits.rows_max]


async def _visits_today(conn: Connection, user_id: str, now_ms: int, most: int) -> tuple[list[str], list[str]]:
    """(visits, their customers) of the user's today, each judged in its customer's zone."""
    rows = await conn.fetch(
        "SELECT v.id, v.customer_id, v.happens_at, c.timezone FROM visit v LEFT JOIN customer c ON c.id = v.customer_id"
        f" WHERE v.rep_id = ? AND v.state IN ({_quoted(ON_THE_LIST)}) AND v.happens_at > ? AND v.happens_at < ?"
        f" ORDER BY v.happens_at, v.id LIMIT {most}",
        user_id,
        # no zone is a whole day away from another's day
        now_ms - 2 * DAY_MS,
        now_ms + 2 * DAY_MS,
    )
    today = [
        (visit, customer)
        for visit, customer, happens_at, zone in rows
        if local_day(happens_at, zone or TIMEZONE_DEFAULT) == local_day(now_ms, zone or TIMEZONE_DEFAULT)
    ]
    return [visit for visit, _ in today], [customer for _, customer in today]


async def _first_customers(conn: Connection, user_id: str, most: int) -> list[str]:
    """The user's customers of the highest priority."""
    rows = await conn.fetch(
        f"SELECT customer_id FROM customer_score WHERE territory_id IN ({granted_keys_sql('territory')})"
        f" ORDER BY priority DESC, customer_id LIMIT {most}",
        user_id,
    )
    return [row[0] for row in rows]


def _quoted(states: Iterable[str]) -> str:
    return ", ".join(f"'{state}'" for state in states)
