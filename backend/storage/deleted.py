"""Deleted records, kept whole until nobody may bring them back any more.

Rows are copied column by column, as the tables of this process know them; a column it does not know takes its
default when the row comes back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from backend.storage.attachments import keep_for_return, release_files, returned
from backend.storage.engine import Connection
from backend.storage.models.attachments import Attachment
from backend.storage.models.custom import CustomFieldRow
from backend.storage.models.customers import Contact, Customer, CustomerContact
from backend.storage.models.feedback import Answer, AnswerMeasure, FormVersion, ServiceCase
from backend.storage.models.judged import Judgement
from backend.storage.models.work import OrderLine, SalesOrder, Task, Visit
from backend.storage.visibility import follows

Raw = dict[str, Any]
"""column → value, as the table holds it"""

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    str(model._meta.db_table): tuple(model._meta.fields_db_projection.values())
    for model in (
        Customer,
        Contact,
        CustomerContact,
        Visit,
        SalesOrder,
        OrderLine,
        Task,
        Answer,
        AnswerMeasure,
        ServiceCase,
        Judgement,
        Attachment,
        CustomFieldRow,
        FormVersion,
    )
}


@dataclass(frozen=True, slots=True)
class Copy:
    """A deleted record. `rows`: table → its rows, its own table's first; `part_of`: the key of what it went with;
    `merged_since`: ids it named that were merged away since, and are not what its row names any more."""

    collection: str
    record_id: str
    rows: Mapping[str, Sequence[Raw]]
    scopes: Sequence[str]
    customers: Sequence[str]
    part_of: str | None = None
    deleted_at_ms: int = 0
    deleted_by: str = ""
    merged_since: tuple[str, ...] = ()

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
    await keep_for_return(conn, {copy.key: copy.row for copy in copies if copy.collection == "attachments"})


_SELECT = "SELECT collection, record_id, rows, scopes, customers, part_of, deleted_at, deleted_by FROM deleted_record"


async def copies_of(conn: Connection, collection: str, ids: Sequence[str], *, lock: bool = False) -> dict[str, Copy]:
    """Record id → its copy; `lock`: held against others who would bring it back."""
    rows = await conn.fetch(
        f"{_SELECT} WHERE key = ANY(?) ORDER BY key{' FOR UPDATE' if lock else ''}",
        [key_of(collection, record_id) for record_id in ids],
    )
    return {copy.record_id: copy for copy in await _copies(conn, rows)}


async def copies_keyed(conn: Connection, keys: Sequence[str]) -> list[Copy]:
    """What is kept under these keys, whatever collections they are of."""
    return await _copies(conn, await conn.fetch(f"{_SELECT} WHERE key = ANY(?)", list(keys)))


async def copies_named(conn: Connection, record_id: str) -> list[Copy]:
    """What is kept under an id, whatever collection it was of."""
    return await _copies(conn, await conn.fetch(f"{_SELECT} WHERE record_id = ?", record_id))


async def copies_with(conn: Connection, keys: Sequence[str]) -> list[Copy]:
    """What went with these records, held against whoever would say that it is to stay away."""
    rows = await conn.fetch(f"{_SELECT} WHERE part_of = ANY(?) ORDER BY key FOR UPDATE", list(keys))
    return await _copies(conn, rows)


async def gone_with_others(conn: Connection, collection: str, ids: Sequence[str]) -> set[str]:
    """Which of these records went with another one, and would come back with it."""
    rows = await conn.fetch(
        "SELECT record_id FROM deleted_record WHERE key = ANY(?) AND part_of IS NOT NULL",
        [key_of(collection, record_id) for record_id in ids],
    )
    return {row[0] for row in rows}


async def any_copy_holds(conn: Connection, collection: str, text: str) -> bool:
    """Whether a deleted record of a collection would bring this text back, as its copy holds it."""
    rows = await conn.fetch(
        "SELECT 1 FROM deleted_record WHERE collection = ? AND rows LIKE ? ESCAPE '!' LIMIT 1", collection, f"%{text}%"
    )
    return bool(rows)


async def keep_away(conn: Connection, keys: Sequence[str]) -> None:
    """From now on these are deleted by themselves: they do not come back with what they went with."""
    if keys:
        await conn.execute("UPDATE deleted_record SET part_of = NULL WHERE key = ANY(?)", list(keys))


async def customers_followed(conn: Connection, ids: Sequence[str]) -> set[str]:
    """The customers that deleted records belong to."""
    if not ids:
        return set()
    rows = await conn.fetch("SELECT customers FROM deleted_record WHERE record_id = ANY(?)", list(ids))
    named = {customer for row in rows for customer in orjson.loads(row[0])}
    return named | set((await _survivors(conn, named)).values())


async def drop_copies(conn: Connection, keys: Sequence[str]) -> None:
    """What is back is no copy any more."""
    await conn.execute("DELETE FROM deleted_record WHERE key = ANY(?)", list(keys))
    await returned(conn, keys)


async def forget_deleted_copies(conn: Connection, record_ids: Sequence[str], now_ms: int) -> tuple[int, list[str]]:
    """Deleted records that can be brought back no more because their person is erased, and what hung on them: (how
    many, the files they would have come back with). The files are released: nothing may need them any more."""
    rows = await conn.fetch(
        "DELETE FROM deleted_record WHERE record_id = ANY(?)"
        " OR key IN (SELECT key FROM deleted_file WHERE holder_id = ANY(?)) RETURNING key",
        list(record_ids),
        list(record_ids),
    )
    return len(rows), await _let_go(conn, [row[0] for row in rows], now_ms)


async def remove_deleted_before(conn: Connection, before_ms: int, now_ms: int, *, rows_max: int) -> int:
    """Copies of records deleted before a moment, which nobody can bring back any more; returns how many went. The
    files they would have come back with are released."""
    rows = await conn.fetch(
        "DELETE FROM deleted_record WHERE key IN"
        " (SELECT key FROM deleted_record WHERE deleted_at < ? ORDER BY deleted_at LIMIT ?) RETURNING key",
        before_ms,
        rows_max,
    )
    await _let_go(conn, [row[0] for row in rows], now_ms)
    return len(rows)


async def remove_deleted_files_before(conn: Connection, before_ms: int, now_ms: int, *, rows_max: int) -> int:
    """Copies of deleted attachments that were added before a moment, but for those of orders; returns how many."""
    rows = await conn.fetch(
        f"DELETE FROM deleted_record WHERE key IN (SELECT key {DELETED_FILES_BEFORE} ORDER BY added_at LIMIT ?)"
        " RETURNING key",
        before_ms,
        rows_max,
    )
    await _let_go(conn, [row[0] for row in rows], now_ms)
    return len(rows)


DELETED_FILES_BEFORE = "FROM deleted_file WHERE added_at < ? AND holder <> 'orders'"


async def _let_go(conn: Connection, keys: Sequence[str], now_ms: int) -> list[str]:
    digests = await returned(conn, keys)
    await release_files(conn, digests, now_ms)
    return digests


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
        beside = {follows(copy.scopes, territory) for territory in live}
        own = {scope for scope in copy.scopes if scope.startswith("user:")} if live else set(copy.scopes)
        found[copy.key] = own | beside
    return found


_NAMING = ("customer_id", "contact_id", "parent_id", "record_id")
"""Columns that name a record which may have been merged into another one since."""


async def _copies(conn: Connection, rows: Sequence[Sequence[Any]]) -> list[Copy]:
    """The copies in these rows; what they name that was merged away since is what it became."""
    copies = [_copy(row) for row in rows]
    named = {one for copy in copies for one in (*copy.customers, *(copy.row.get(name) for name in _NAMING)) if one}
    survivors = await _survivors(conn, named)
    return [_following(copy, survivors) for copy in copies] if survivors else copies


async def _survivors(conn: Connection, named: Iterable[str]) -> Mapping[str, str]:
    rows = await conn.fetch("SELECT alias_id, record_id FROM record_alias WHERE alias_id = ANY(?)", sorted(named))
    return dict(rows)


def _following(copy: Copy, survivors: Mapping[str, str]) -> Copy:
    (table, own), *parts = copy.rows.items()
    row = {**copy.row, **{name: survivors.get(copy.row[name], copy.row[name]) for name in _NAMING if name in copy.row}}
    customers = sorted({survivors.get(customer, customer) for customer in copy.customers})
    merged_since = tuple(sorted({copy.row[name] for name in _NAMING if copy.row.get(name) in survivors}))
    rows = {table: [row, *own[1:]], **dict(parts)}
    return replace(copy, rows=rows, customers=customers, merged_since=merged_since)


def _copy(row: Sequence[Any]) -> Copy:
    rows, scopes, customers = (orjson.loads(text) for text in row[2:5])
    return Copy(row[0], row[1], rows, scopes, customers, row[5], row[6], row[7])


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
