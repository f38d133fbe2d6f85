"""Deleted records, kept whole until nobody may bring them back any more.

Rows are copied column by column, as the tables of this process know them; a column it does not know takes its
default when the row comes back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.storage.engine import Connection
from backend.storage.models.attachments import Attachment
from backend.storage.models.customers import Contact, Customer, CustomerContact
from backend.storage.models.work import OrderLine, SalesOrder, Task, Visit

Raw = dict[str, Any]
"""column → value, as the table holds it"""

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    str(model._meta.db_table): tuple(model._meta.fields_db_projection.values())
    for model in (Customer, Contact, CustomerContact, Visit, SalesOrder, OrderLine, Task, Attachment)
}


@dataclass(frozen=True, slots=True)
class Copy:
    """A deleted record. `rows`: table → its rows, its own table's first; `part_of`: the key of what it went with."""

    collection: str
    record_id: str
    rows: Mapping[str, Sequence[Raw]]
    scopes: Sequence[str]
    customers: Sequence[str]
    part_of: str | None = None
    deleted_at_ms: int = 0
    deleted_by: str = ""

    @property
    def key(self) -> str:
        return key_of(self.collection, self.record_id)

    @property
    def row(self) -> Raw:
        """The record's own row."""
        return next(iter(self.rows.values()))[0]


def key_of(collection: str, record_id: str) -> str:
    return f"{collection}:{record_id}"


async def whole_rows(conn: Connection, table: str, column: str, ids: Sequence[str]) -> list[Raw]:
    """The rows whose `column` is one of `ids`, every column of them."""
    names = _COLUMNS[table]
    listed = ", ".join(f'"{name}"' for name in names)
    rows = await conn.fetch(f"SELECT {listed} FROM {table} WHERE {column} = ANY(?)", list(ids))
    return [dict(zip(names, row, strict=True)) for row in rows]


async def put_back(conn: Connection, table: str, rows: Sequence[Raw]) -> None:
    """Insert rows as `whole_rows` gave them; what they hold of columns that are no more is left out."""
    if not rows:
        return
    names = [name for name in _COLUMNS[table] if name in rows[0]]
    listed, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" for _ in names)
    await conn.execute_many(
        f"INSERT INTO {table} ({listed}) VALUES ({marks})", [[row.get(name) for name in names] for row in rows]
    )


async def save_copies(conn: Connection, copies: Sequence[Copy]) -> None:
    """Keep copies; of a record deleted once more the last one."""
    await conn.execute_many(
        "INSERT INTO deleted_record (key, collection, record_id, part_of, deleted_at, deleted_by, scopes, customers,"
        " rows)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET part_of = excluded.part_of,"
        " deleted_at = excluded.deleted_at, deleted_by = excluded.deleted_by, scopes = excluded.scopes,"
        " customers = excluded.customers, rows = excluded.rows",
        [
            (
                copy.key,
                copy.collection,
                copy.record_id,
                copy.part_of,
                copy.deleted_at_ms,
                copy.deleted_by,
                _json(sorted(copy.scopes)),
                _json(sorted(copy.customers)),
                _json(copy.rows),
            )
            for copy in copies
        ],
    )


_SELECT = "SELECT collection, record_id, rows, scopes, customers, part_of, deleted_at, deleted_by FROM deleted_record"


async def copies_of(conn: Connection, collection: str, ids: Sequence[str], *, lock: bool = False) -> dict[str, Copy]:
    """Record id → its copy; `lock`: held against others who would bring it back."""
    rows = await conn.fetch(
        f"{_SELECT} WHERE key = ANY(?) ORDER BY key{' FOR UPDATE' if lock else ''}",
        [key_of(collection, record_id) for record_id in ids],
    )
    return {copy.record_id: copy for copy in map(_copy, rows)}


async def copies_keyed(conn: Connection, keys: Sequence[str]) -> list[Copy]:
    """What is kept under these keys, whatever collections they are of."""
    return [_copy(row) for row in await conn.fetch(f"{_SELECT} WHERE key = ANY(?)", list(keys))]


async def copies_named(conn: Connection, record_id: str) -> list[Copy]:
    """What is kept under an id, whatever collection it was of."""
    return [_copy(row) for row in await conn.fetch(f"{_SELECT} WHERE record_id = ?", record_id)]


async def copies_with(conn: Connection, keys: Sequence[str]) -> list[Copy]:
    """What went with these records, held against whoever would say that it is to stay away."""
    rows = await conn.fetch(f"{_SELECT} WHERE part_of = ANY(?) ORDER BY key FOR UPDATE", list(keys))
    return [_copy(row) for row in rows]


async def gone_with_others(conn: Connection, collection: str, ids: Sequence[str]) -> set[str]:
    """Which of these records went with another one, and would come back with it."""
    rows = await conn.fetch(
        "SELECT record_id FROM deleted_record WHERE key = ANY(?) AND part_of IS NOT NULL",
        [key_of(collection, record_id) for record_id in ids],
    )
    return {row[0] for row in rows}


async def keep_away(conn: Connection, keys: Sequence[str]) -> None:
    """From now on these are deleted by themselves: they do not come back with what they went with."""
    if keys:
        await conn.execute("UPDATE deleted_record SET part_of = NULL WHERE key = ANY(?)", list(keys))


async def customers_followed(conn: Connection, ids: Sequence[str]) -> set[str]:
    """The customers that deleted records belong to."""
    if not ids:
        return set()
    rows = await conn.fetch("SELECT customers FROM deleted_record WHERE record_id = ANY(?)", list(ids))
    return {customer for row in rows for customer in orjson.loads(row[0])}


async def drop_copies(conn: Connection, keys: Sequence[str]) -> None:
    """What is back is no copy any more."""
    await conn.execute("DELETE FROM deleted_record WHERE key = ANY(?)", list(keys))


async def scopes_held(conn: Connection, holder: str) -> set[str]:
    """Every scope somebody holds now."""
    rows = await conn.fetch("SELECT scope FROM user_scope WHERE user_id = ? AND revoked_seq IS NULL", holder)
    return {row[0] for row in rows}


async def scopes_now(conn: Connection, copies: Sequence[Copy]) -> dict[str, set[str]]:
    """Key → where each would stand if it were back: what followed a customer stands where that customer does now.

    Of a customer that is gone itself, and of what followed none, the places of then.
    """
    named = sorted({customer for copy in copies for customer in copy.customers})
    standing: dict[str, str | None] = dict(
        await conn.fetch("SELECT id, territory_id FROM customer WHERE id = ANY(?)", named)
    )
    found: dict[str, set[str]] = {}
    for copy in copies:
        live = [standing[customer] for customer in copy.customers if customer in standing]
        follows = {f"territory:{territory}" if territory else "unassigned" for territory in live}
        own = {scope for scope in copy.scopes if scope.startswith("user:")} if live else set(copy.scopes)
        found[copy.key] = own | follows
    return found


def _copy(row: Sequence[Any]) -> Copy:
    rows, scopes, customers = (orjson.loads(text) for text in row[2:5])
    return Copy(row[0], row[1], rows, scopes, customers, row[5], row[6], row[7])


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
