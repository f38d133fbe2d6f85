"""Named queries on imports: batches, the rows they failed on, and which record answers to which outside id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from backend.auth.principal import Principal
from backend.domain.imports import ImportState, RowOutcome
from backend.errors import Code, Problem
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.storage.visibility import granted_keys_sql, visible_to

ORDERS_KIND = "orders"
_BATCH_COLUMNS = (
    "id, kind, system, file_name, file_sha256, mapping, state, rows_total, rows_created, rows_unchanged,"
    " rows_failed, started_at, finished_at, undone_at, started_by"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One import of one file. Rows done so far are created + unchanged + failed, always a whole prefix."""

    id: str
    kind: str
    system: str
    file_name: str
    file_sha256: str
    mapping: str
    state: str
    rows_total: int
    rows_created: int
    rows_unchanged: int
    rows_failed: int
    started_at: int
    finished_at: int | None
    undone_at: int | None
    started_by: str

    @property
    def rows_done(self) -> int:
        return self.rows_created + self.rows_unchanged + self.rows_failed


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that was not taken, and every reason."""

    number: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class OrderHead:
    """An order as an import compares it. `visible`: to who imports."""

    visible: bool
    id: str
    customer_id: str
    ordered_on: str
    ordered_at: int
    currency: str
    total_minor: int
    units: int


async def insert_batch(conn: Connection, batch: Batch) -> None:
    """Begin a batch; one that exists is left alone."""
    columns = _BATCH_COLUMNS.split(", ")
    await conn.execute(
        f"INSERT INTO import_batch ({_BATCH_COLUMNS}) VALUES ({', '.join('?' for _ in columns)})"
        " ON CONFLICT (id) DO NOTHING",
        *(getattr(batch, name) for name in columns),
    )


async def batch_of(conn: Connection, batch_id: str, *, lock: bool = False) -> Batch | None:
    """The batch whoever asks; `lock` holds it until commit."""
    rows = await conn.fetch(
        f"SELECT {_BATCH_COLUMNS} FROM import_batch WHERE id = ?{' FOR UPDATE' if lock else ''}", batch_id
    )
    return Batch(*rows[0]) if rows else None


async def attempts(conn: Connection, file_sha256: str, system: str, mapping: str) -> int:
    """How often this content was imported and undone again."""
    rows = await conn.fetch(
        "SELECT count(*) FROM import_batch WHERE file_sha256 = ? AND system = ? AND mapping = ? AND state IN (?, ?)",
        file_sha256,
        system,
        mapping,
        ImportState.UNDOING.value,
        ImportState.UNDONE.value,
    )
    return int(rows[0][0])


def sees_batch(alias: str = "import_batch") -> str:
    """The predicate "this user (asked for once) may see the batch"."""
    # other kinds, such as the demo company, are nobody's to page through or to undo;
    # whoever holds `user:<id>` sees what that user imported: everybody his own, an admin everybody's
    return f"{alias}.kind = '{ORDERS_KIND}' AND substr({alias}.started_by, 7) IN ({granted_keys_sql('user')})"


async def visible_batches(
    conn: Connection, principal: Principal, *, limit: int, before: tuple[int, str] | None = None
) -> list[Batch]:
    """The principal's batches and those of whom he answers for, the latest first; `before` a (start, id)."""
    older, args = ("", ()) if before is None else (" AND (started_at, id) < (?, ?)", before)
    rows = await conn.fetch(
        f"SELECT {_BATCH_COLUMNS} FROM import_batch WHERE {sees_batch()}{older}"
        " ORDER BY started_at DESC, id DESC LIMIT ?",
        principal.holder,
        *args,
        limit,
    )
    return [Batch(*row) for row in rows]


async def count_batches(conn: Connection, principal: Principal) -> int:
    rows = await conn.fetch(f"SELECT count(*) FROM import_batch WHERE {sees_batch()}", principal.holder)
    return int(rows[0][0])


async def visible_batch(conn: Connection, principal: Principal, batch_id: str, *, lock: bool = False) -> Batch | None:
    """The batch, for whom `visible_batches` would show it to."""
    rows = await conn.fetch(
        f"SELECT {_BATCH_COLUMNS} FROM import_batch WHERE {sees_batch()} AND id = ?{' FOR UPDATE' if lock else ''}",
        principal.holder,
        batch_id,
    )
    return Batch(*rows[0]) if rows else None


async def advance_batch(
    conn: Connection, batch_id: str, *, created: int, unchanged: int, failed: int, state: str, finished_at: int | None
) -> None:
    await conn.execute(
        "UPDATE import_batch SET rows_created = rows_created + ?, rows_unchanged = rows_unchanged + ?,"
        " rows_failed = rows_failed + ?, state = ?, finished_at = ? WHERE id = ?",
        created,
        unchanged,
        failed,
        state,
        finished_at,
        batch_id,
    )


async def set_batch_state(conn: Connection, batch_id: str, state: str, *, undone_at: int | None) -> None:
    await conn.execute("UPDATE import_batch SET state = ?, undone_at = ? WHERE id = ?", state, undone_at, batch_id)


async def save_failed(conn: Connection, batch_id: str, rows: Sequence[FailedRow]) -> None:
    await conn.execute_many(
        "INSERT INTO import_row (id, batch_id, row_number, outcome, problems) VALUES (?, ?, ?, ?, ?)",
        [(new_id(), batch_id, row.number, RowOutcome.FAILED.value, _problems_json(row.problems)) for row in rows],
    )


async def save_linked(conn: Connection, batch_id: str, linked: Mapping[str, int]) -> None:
    """Note customers (id → row number) that were found by our own code, not made by the batch."""
    await conn.execute_many(
        "INSERT INTO import_row (id, batch_id, row_number, outcome, record_id, problems) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (new_id(), batch_id, number, RowOutcome.LINKED.value, record_id, "[]")
            for record_id, number in linked.items()
        ],
    )


async def failed_rows(conn: Connection, batch_id: str, *, limit: int, after: int = 0) -> list[FailedRow]:
    """The batch's failed rows by number, those behind row `after`."""
    rows = await conn.fetch(
        "SELECT row_number, problems FROM import_row WHERE batch_id = ? AND outcome = ? AND row_number > ?"
        " ORDER BY row_number LIMIT ?",
        batch_id,
        RowOutcome.FAILED.value,
        after,
        limit,
    )
    return [FailedRow(number, _problems(text)) for number, text in rows]


def _problems_json(problems: Sequence[Problem]) -> str:
    return orjson.dumps(
        [
            {"allowed": p.allowed, "code": p.code.value, "params": dict(sorted(p.params.items())), "path": p.path}
            for p in problems
        ]
    ).decode()


def _problems(text: str) -> tuple[Problem, ...]:
    return tuple(
        Problem(Code(one["code"]), tuple(one["path"]), tuple(one["allowed"]), one["params"])
        for one in orjson.loads(text)
    )


async def records_by_external(
    conn: Connection, system: str, collection: str, externals: Sequence[str]
) -> dict[str, str]:
    """Outside id → record id, whoever made it."""
    rows = await conn.fetch(
        "SELECT external, record_id FROM external_id WHERE system = ? AND collection = ? AND external = ANY(?)",
        system,
        collection,
        list(externals),
    )
    return dict(rows)


async def claim_externals(
    conn: Connection, system: str, collection: str, records: Mapping[str, str], batch_id: str
) -> bool:
    """Let records (outside id → record id) answer to their outside ids; False when somebody was faster with one.

    An outside id being claimed by a transaction still open is waited for.
    """
    await conn.execute_many(
        "INSERT INTO external_id (id, system, collection, external, record_id, batch_id) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (system, collection, external) DO NOTHING",
        [
            (new_id(), system, collection, external, record_id, batch_id)
            for external, record_id in sorted(records.items())
        ],
    )
    return await records_by_external(conn, system, collection, list(records)) == dict(records)


async def release_externals(conn: Connection, record_ids: Sequence[str]) -> None:
    await conn.execute("DELETE FROM external_id WHERE record_id = ANY(?)", list(record_ids))


async def release_links(conn: Connection, batch_id: str, record_ids: Sequence[str]) -> None:
    """Forget the outside ids one batch gave to records it did not make."""
    await conn.execute("DELETE FROM external_id WHERE batch_id = ? AND record_id = ANY(?)", batch_id, list(record_ids))


async def made_by_batch(
    conn: Connection, batch_id: str, collection: str, *, after: str, limit: int
) -> list[tuple[str, str, bool]]:
    """(external_id row, record id, whether only linked) of what a batch claimed, by row id, behind row `after`."""
    rows = await conn.fetch(
        "SELECT e.id, e.record_id, EXISTS (SELECT 1 FROM import_row r WHERE r.batch_id = e.batch_id"
        " AND r.outcome = ? AND r.record_id = e.record_id) FROM external_id e"
        " WHERE e.batch_id = ? AND e.collection = ? AND e.id > ? ORDER BY e.id LIMIT ?",
        RowOutcome.LINKED.value,
        batch_id,
        collection,
        after,
        limit,
    )
    return [(row[0], row[1], bool(row[2])) for row in rows]


async def customers_made(conn: Connection, batch_ids: Sequence[str]) -> dict[str, int]:
    """Batch id → how many customers it made that were not taken back."""
    rows = await conn.fetch(
        "SELECT e.batch_id, count(*) FROM external_id e WHERE e.batch_id = ANY(?) AND e.collection = 'customers'"
        " AND NOT EXISTS (SELECT 1 FROM import_row r WHERE r.batch_id = e.batch_id AND r.outcome = ?"
        " AND r.record_id = e.record_id) GROUP BY e.batch_id",
        list(batch_ids),
        RowOutcome.LINKED.value,
    )
    return dict.fromkeys(batch_ids, 0) | dict(rows)


async def existing(conn: Connection, table: str, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that exist, in whatever territory."""
    return {row[0] for row in await conn.fetch(f"SELECT id FROM {table} WHERE id = ANY(?)", list(ids))}


async def customers_by_code(conn: Connection, principal: Principal, codes: Sequence[str]) -> list[tuple[str, str]]:
    """(code, id) of the customers the principal sees under these codes of our own."""
    visible, args = visible_to(principal, "customers", "t")
    rows = await conn.fetch(
        f"SELECT t.code, t.id FROM customer t WHERE t.code = ANY(?) AND {visible}", list(codes), *args
    )
    return [(row[0], row[1]) for row in rows]


async def order_heads(conn: Connection, principal: Principal, ids: Sequence[str]) -> dict[str, OrderHead]:
    visible, args = visible_to(principal, "orders", "t")
    rows = await conn.fetch(
        "SELECT t.id, t.customer_id, t.ordered_on, t.ordered_at, t.currency, t.total_minor, t.units,"
        f" {visible} FROM sales_order t WHERE t.id = ANY(?)",
        *args,
        list(ids),
    )
    return {row[0]: OrderHead(bool(row[-1]), *row[:-1]) for row in rows}


async def dated_by_people(conn: Connection, customer_ids: Sequence[str]) -> set[str]:
    """Customers whose `customerSince` may be a person's word: made, or given that field, by another door."""
    rows = await conn.fetch(
        "SELECT DISTINCT record_id FROM audit_entry WHERE record_id = ANY(?) AND door <> 'IMPORT'"
        " AND (action = 'CREATE' OR fields_changed LIKE '%\"customerSince\"%')",
        list(customer_ids),
    )
    return {row[0] for row in rows}


async def changed_since_import(conn: Connection, collection: str, record_ids: Sequence[str]) -> set[str]:
    """Records somebody changed by another door than an import."""
    rows = await conn.fetch(
        "SELECT DISTINCT record_id FROM audit_entry WHERE record_id = ANY(?) AND collection = ? AND door <> 'IMPORT'",
        list(record_ids),
        collection,
    )
    return {row[0] for row in rows}


async def having(conn: Connection, table: str, column: str, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that rows of a table point to."""
    rows = await conn.fetch(f"SELECT DISTINCT {column} FROM {table} WHERE {column} = ANY(?)", list(ids))
    return {row[0] for row in rows}


async def order_bounds(conn: Connection, customer_ids: Sequence[str]) -> dict[str, tuple[str | None, int | None]]:
    """Customer id → (first order day, last order instant) by the orders that stand."""
    rows = await conn.fetch(
        "SELECT c.id, (SELECT min(o.ordered_on) FROM sales_order o WHERE o.customer_id = c.id AND"
        " o.submitted_at IS NOT NULL), (SELECT max(o.ordered_at) FROM sales_order o WHERE o.customer_id = c.id"
        " AND o.submitted_at IS NOT NULL) FROM customer c WHERE c.id = ANY(?)",
        list(customer_ids),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def save_since(conn: Connection, customers: Sequence[Mapping[str, object]]) -> None:
    """Write the first day of customers, as documents name it, and the completeness that follows."""
    await conn.execute_many(
        "UPDATE customer SET customer_since = ?, completeness_percent = ? WHERE id = ?",
        [(one["customerSince"], one["completenessPercent"], one["id"]) for one in customers],
    )


async def active_user(conn: Connection, email: str | None, *, fallback_role: str) -> tuple[str, str] | None:
    """(id, role) of the active user of an e-mail, or without one of the first user of a role."""
    column, value = ("email", email) if email else ("role", fallback_role)
    rows = await conn.fetch(
        f"SELECT id, role FROM user_account WHERE active AND {column} = ? ORDER BY created_at, id LIMIT 1", value
    )
    return (rows[0][0], rows[0][1]) if rows else None


async def territories_named(
    conn: Connection, principal: Principal, names: Sequence[str]
) -> dict[str, tuple[str, str, str, bool]]:
    """Path or id → (id, kind, time zone, held by the principal) of territories."""
    rows = await conn.fetch(
        f"SELECT id, path, kind, timezone, id IN ({granted_keys_sql('territory')}) FROM territory"
        " WHERE id = ANY(?) OR path = ANY(?)",
        principal.holder,
        list(names),
        list(names),
    )
    found = {}
    for territory_id, path, kind, timezone, held in rows:
        found[territory_id] = found[path] = (territory_id, kind, timezone, bool(held))
    return found


async def scopes_held(conn: Connection, principal: Principal) -> set[str]:
    rows = await conn.fetch("SELECT scope FROM user_scope WHERE user_id = ? AND revoked_seq IS NULL", principal.holder)
    return {row[0] for row in rows}
