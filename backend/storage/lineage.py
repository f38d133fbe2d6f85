"""Where one customer's figures come from: the run that found them, and the rows and imports behind it."""

from collections.abc import Sequence

from backend.domain.sources import ImportUsed, Source, SourceUsed
from backend.domain.times import local_day
from backend.domain.visits import VisitState
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.engine import Connection, Row
from backend.storage.statistics import COUNTS

IMPORTS_MAX = 50
"""Imports named behind a figure, the newest first."""


async def read_customer_sources(conn: Connection, customer_id: str) -> list[SourceUsed]:
    """What is recorded of one customer, by kind of record."""
    [orders] = await conn.fetch(
        "SELECT COUNT(*), MIN(o.ordered_on), MAX(o.ordered_on) FROM sales_order o"
        f" WHERE o.customer_id = ? AND {COUNTS}",
        customer_id,
    )
    [visits] = await conn.fetch(
        "SELECT COUNT(v.id), MIN(v.check_in_at), MAX(v.check_in_at), MAX(k.timezone) FROM customer k LEFT JOIN visit v"
        f" ON v.customer_id = k.id AND v.state = '{VisitState.COMPLETED.value}' WHERE k.id = ?",
        customer_id,
    )
    [tasks] = await conn.fetch("SELECT COUNT(*) FROM task WHERE customer_id = ?", customer_id)
    [peers] = await conn.fetch(
        "SELECT COUNT(*) FROM customer_score s JOIN customer k ON k.id = s.customer_id"
        " WHERE k.kind = (SELECT kind FROM customer WHERE id = ?) AND k.id <> ?",
        customer_id,
        customer_id,
    )
    [answers] = await conn.fetch(
        "SELECT COUNT(*), MIN(answered_at), MAX(answered_at) FROM answer WHERE customer_id = ?", customer_id
    )
    [cases] = await conn.fetch(
        "SELECT COUNT(*), MIN(opened_at), MAX(opened_at) FROM service_case WHERE customer_id = ?", customer_id
    )
    zone = visits[3] or TIMEZONE_DEFAULT

    def used(source: Source, row: Row) -> SourceUsed:
        first, last = (None if at is None else local_day(at, zone) for at in row[1:3])
        return SourceUsed(source, row[0] > 0, first, last, row[0])

    return [
        SourceUsed(Source.ORDERS, orders[0] > 0, orders[1], orders[2], orders[0]),
        used(Source.VISITS, visits),
        used(Source.ANSWERS, answers),
        used(Source.CASES, cases),
        SourceUsed(Source.TASKS, tasks[0] > 0, rows_n=tasks[0]),
        SourceUsed(Source.PEERS, peers[0] > 0, rows_n=peers[0]),
    ]


async def read_imports(conn: Connection, customer_id: str) -> Sequence[ImportUsed]:
    """The imports that brought its orders, the newest first."""
    rows: list[Row] = await conn.fetch(
        "SELECT b.id, b.system, b.file_name, b.started_at, COUNT(*) FROM sales_order o"
        " JOIN external_id e ON e.record_id = o.id AND e.collection = 'orders' JOIN import_batch b ON b.id = e.batch_id"
        " WHERE o.customer_id = ? GROUP BY b.id, b.system, b.file_name, b.started_at"
        " ORDER BY b.started_at DESC, b.id LIMIT ?",
        customer_id,
        IMPORTS_MAX,
    )
    return [ImportUsed(*row) for row in rows]
