"""WatermelonDB's `synchronize()` on the same feed and the same use cases: a translation, no second engine.

A pull is judged by one number, the clock of the pull before (`pull.md`, WATERMELON): sent is what is visible and
changed, entered or was granted since; told as deleted is what is not visible now and met a grant that ended since.
The number carries no seal: outside [this epoch's start or horizon, clock] it is CURSOR_EXPIRED, inside it can only
bring what its caller may see anyway.

A row is scalars only (`table_of`): moments are epoch milliseconds, and lists and maps are JSON texts. A nested value
whose parts are merged one by one has a column `<name>Base` besides, which the app fills with the value its user saw,
so that a push (`watermelon_push.py`) says which parts changed.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Collection as Several
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.domain.deltas import falls_apart
from backend.domain.fields import INTEGER_MAX, Field, Kind, server_field
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id
from backend.storage.engine import Connection, Engine
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.counted import count_pulled
from backend.sync.cursor import expired
from backend.sync.devices import NOTE_SECONDS, note_pull, pulling_device
from backend.sync.documents import JSON_KINDS
from backend.sync.feed import EPOCH_STEP, read_clock
from backend.sync.places import rows_of
from backend.sync.protocol import check_syncing
from backend.sync.versions import SCHEMA_VERSION, check_served

BASE = "Base"
EVERYTHING = -1
"""Below every seq."""
DOCUMENTS_PER_STATEMENT = 1_000
NAMES_MAX = 1_000
"""Tables, columns or ids named in one part of a request."""
_NUMBERS = frozenset({Kind.INT, Kind.MONEY_MINOR, Kind.TIMESTAMP})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

Key = tuple[str, str]
"""(collection, record id)"""


# -- rows ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a WatermelonDB table, and the field it stands for. `base`: it holds what `field` was before."""

    name: str
    field: Field
    base: bool = False

    @property
    def is_json(self) -> bool:
        return self.field.kind in JSON_KINDS

    @property
    def type(self) -> str:
        if self.field.kind is Kind.BOOL:
            return "boolean"
        return "number" if self.field.kind in _NUMBERS else "string"


@dataclass(frozen=True)
class Table:
    """A collection as WatermelonDB holds it; `columns` without `id`, which every table has."""

    name: str
    columns: tuple[Column, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.is_json and not column.base)

    @cached_property
    def _moments(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.field.kind is Kind.TIMESTAMP)

    @cached_property
    def _bases(self) -> dict[str, Any]:
        return dict.fromkeys(column.name for column in self.columns if column.base)

    def row(self, document: bytes) -> dict[str, Any]:
        """A stored document as WatermelonDB takes it. A base is null: what was pulled has no local change."""
        row: dict[str, Any] = orjson.loads(document)
        for name in self._texts:
            if row.get(name) is not None:
                row[name] = orjson.dumps(row[name], option=orjson.OPT_SORT_KEYS).decode()
        for name in self._moments:
            if row.get(name) is not None:
                row[name] = (datetime.fromisoformat(row[name]) - _EPOCH) // _MS
        return row | self._bases


def table_of(collection: Collection) -> Table:
    """The table of a collection, read from its declaration."""
    fields = [declared for declared in collection.own_fields if declared.name != "id"]
    # a list only the server writes is declared by its rows alone
    fields += [
        collection.shape.field(child.name) or server_field(child.name, Kind.RECORDS) for child in collection.children
    ]
    columns = []
    for declared in fields:
        columns.append(Column(declared.name, declared))
        if falls_apart(declared) and not declared.server_only:
            columns.append(Column(f"{declared.name}{BASE}", declared, base=True))
    return Table(collection.name, tuple(columns))


TABLES: Mapping[str, Table] = {name: table_of(collection) for name, collection in COLLECTIONS.items()}
"""In the order in which records name each other: customers before their contacts, visits, orders and tasks."""


def app_schema() -> dict[str, Any]:
    """What WatermelonDB's `appSchema` and `tableSchema` take.

    Every column may be empty: what a new record does not say is null, and null is left to the server's default.
    """
    return {
        "version": SCHEMA_VERSION,
        "tables": [
            {
                "name": table.name,
                "columns": [
                    {"name": column.name, "type": column.type, "isOptional": True}
                    | ({"isIndexed": True} if column.field.kind is Kind.ID else {})
                    for column in table.columns
                ],
            }
            for table in TABLES.values()
        ],
    }


# -- pulling ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Migration:
    """What an app's own schema gained since its last pull: whole tables, and columns of others."""

    tables: frozenset[str] = frozenset()
    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WatermelonRequest:
    """What `synchronize()` hands to `pullChanges`; `migration` and `again` as JSON brings them.

    `tables`: only these. `again`: table → ids to be sent though they did not change, of rows an app let go of.
    """

    last_pulled_at: float | None
    schema_version: int = SCHEMA_VERSION
    migration: object = None
    tables: Sequence[str] | None = None
    again: object = None


@dataclass(frozen=True, slots=True)
class WatermelonPage:
    """`changes` is printed JSON; `base` is what the caller has surely seen; `rows` by table, those gone too."""

    changes: bytes
    timestamp: int
    base: int
    rows: Mapping[str, int]


async def answer_watermelon_pull(
    engine: Engine,
    principal: Principal,
    request: WatermelonRequest,
    *,
    rows_max: int,
    retries_max: int,
    clock: Clock,
    schema_oldest: int = 1,
    note_seconds: int = NOTE_SECONDS,
) -> WatermelonPage:
    """Everything that changed for the caller's device since its last pull; what that proves is noted.

    Raises what `watermelon_pull` raises, NOT_PERMITTED, and what the device's state does not allow.
    """
    check_syncing(principal)
    async with engine.read() as conn:
        device = await pulling_device(conn, principal, clock())
        page = await watermelon_pull(conn, principal, request, rows_max=rows_max, schema_oldest=schema_oldest)
    await note_pull(
        engine,
        principal,
        device,
        base=page.base,
        schema_version=min(request.schema_version, SCHEMA_VERSION),
        clock=clock,
        retries_max=retries_max,
        note_seconds=note_seconds,
    )
    return page


async def watermelon_pull(
    conn: Connection, principal: Principal, request: WatermelonRequest, *, rows_max: int, schema_oldest: int = 1
) -> WatermelonPage:
    """One pull; `conn` is one snapshot.

    Raises UPGRADE_REQUIRED, CURSOR_EXPIRED; NOT_ALLOWED_VALUE, INVALID_VALUE for a wrong table or migration; TOO_MANY
    above `rows_max` rows: a first sync of so many comes by `/sync/turbo`.
    """
    # an app counts on with columns of its own: a number above ours is no newer client of ours
    check_served(min(request.schema_version, SCHEMA_VERSION), oldest=schema_oldest)
    tables = wanted_tables(request.tables)
    migration, again = migration_of(request.migration), again_of(request.again)
    now, horizon = await read_clock(conn)
    since = pulled_at(request.last_pulled_at, now, horizon)
    user_id = principal.holder
    found = await changed_for(conn, user_id, EVERYTHING if since is None else since, tables)
    gone: list[Key] = []
    if since is not None:
        gone = await removed_for(conn, user_id, since, tables)
        found += await _asked_again(conn, user_id, found, again, tables)
        found += await _new_to_the_app(conn, user_id, found, migration, tables)
    if len(found) + len(gone) > rows_max:
        raise Refused(Problem(Code.TOO_MANY, ("lastPulledAt",), (str(rows_max),)))
    updated: dict[str, list[bytes]] = {name: [] for name in tables}
    for name, row in await printed_rows(conn, found):
        updated[name].append(row)
    deleted: dict[str, list[str]] = {name: [] for name in tables}
    for name, record_id in gone:
        deleted[name].append(record_id)
    parts = [
        b'"%s":{"created":[],"updated":[%s],"deleted":%s}'
        % (name.encode(), b",".join(updated[name]), orjson.dumps(deleted[name]))
        for name in tables
    ]
    count_pulled(len(found) + len(gone), "watermelon")
    rows = Counter(name for name, _ in (*found, *gone))
    return WatermelonPage(b"{%s}" % b",".join(parts), now, since or 0, rows)


def pulled_at(given: float | None, clock: int, horizon: int) -> int | None:
    """The clock a client stands at; None for the first sync, which says null or 0.

    Raises CURSOR_EXPIRED for whatever is not a clock of this epoch from the horizon on.
    """
    if given is None or given == 0:
        return None
    first = max(clock // EPOCH_STEP * EPOCH_STEP, horizon)
    if not first <= given <= clock or given != int(given):
        raise expired("lastPulledAt")
    return int(given)


async def changed_for(conn: Connection, user_id: str, since: int, tables: Sequence[str]) -> list[Key]:
    """What the user sees now and that changed, entered or was granted after `since`; each once, in order."""
    rows = await conn.fetch(
        "SELECT p.collection, p.record_id FROM user_scope g JOIN feed_scope p ON p.scope = g.scope AND p.seq > ?"
        " WHERE g.user_id = ? AND g.revoked_seq IS NULL AND p.left_seq IS NULL AND p.collection = ANY(?)"
        " UNION SELECT p.collection, p.record_id FROM user_scope g JOIN feed_scope p ON p.scope = g.scope"
        " WHERE g.user_id = ? AND g.granted_seq > ? AND g.revoked_seq IS NULL AND p.left_seq IS NULL"
        " AND p.collection = ANY(?) ORDER BY 1, 2",
        since,
        user_id,
        list(tables),
        user_id,
        # the first half finds everything already
        INTEGER_MAX if since == EVERYTHING else since,
        list(tables),
    )
    return [(row[0], row[1]) for row in rows]


async def removed_for(conn: Connection, user_id: str, since: int, tables: Sequence[str]) -> list[Key]:
    """What the user does not see now and saw at some time after `since`: a place met a grant, and that ended."""
    met = (
        " AND p.entered_seq < coalesce(g.revoked_seq, p.entered_seq + 1)"
        " AND g.granted_seq < coalesce(p.left_seq, g.granted_seq + 1) AND p.collection = ANY(?)"
        " AND NOT EXISTS (SELECT 1 FROM user_scope h JOIN feed_scope o ON o.scope = h.scope"
        " AND o.collection = p.collection AND o.record_id = p.record_id AND o.left_seq IS NULL"
        " WHERE h.user_id = g.user_id AND h.revoked_seq IS NULL)"
    )
    rows = await conn.fetch(
        "SELECT p.collection, p.record_id FROM user_scope g JOIN feed_scope p ON p.scope = g.scope AND p.seq > ?"
        " WHERE g.user_id = ? AND p.left_seq > ? AND (g.revoked_seq IS NULL OR g.revoked_seq > ?)"
        f"{met} UNION SELECT p.collection, p.record_id FROM user_scope g JOIN feed_scope p ON p.scope = g.scope"
        " WHERE g.user_id = ? AND g.revoked_seq > ? AND (p.left_seq IS NULL OR p.left_seq > ?)"
        f"{met} ORDER BY 1, 2",
        since,
        user_id,
        since,
        since,
        list(tables),
        user_id,
        since,
        since,
        list(tables),
    )
    return [(row[0], row[1]) for row in rows]


async def _asked_again(
    conn: Connection, user_id: str, found: Iterable[Key], again: Mapping[str, Several[str]], tables: Sequence[str]
) -> list[Key]:
    """What an app let go of, as far as its user sees it."""
    missing = sorted({(name, record_id) for name in tables for record_id in again.get(name, ())} - set(found))
    if not missing:
        return []
    rows = await conn.fetch(
        "SELECT DISTINCT p.collection, p.record_id FROM feed_scope p JOIN user_scope g ON g.scope = p.scope"
        " WHERE p.collection = ANY(?) AND p.record_id = ANY(?) AND p.left_seq IS NULL AND g.user_id = ?"
        " AND g.revoked_seq IS NULL",
        sorted({name for name, _ in missing}),
        sorted({record_id for _, record_id in missing}),
        user_id,
    )
    seen = {(row[0], row[1]) for row in rows}
    return [key for key in missing if key in seen]


async def _new_to_the_app(
    conn: Connection, user_id: str, found: Iterable[Key], migration: Migration, tables: Sequence[str]
) -> list[Key]:
    """Rows of tables the app did not have, and rows that say something in columns it did not have."""
    known = set(found)
    whole = [name for name in tables if name in migration.tables]
    keys = [key for key in await changed_for(conn, user_id, EVERYTHING, whole) if key not in known] if whole else []
    for name in tables:
        columns = migration.columns.get(name)
        if not columns or name in migration.tables:
            continue
        standing = [key for key in await changed_for(conn, user_id, EVERYTHING, [name]) if key not in known]
        for part in _parts(standing):
            documents = await rows_of(conn, [f"{name}:{record_id}" for _, record_id in part])
            for key in part:
                record = orjson.loads(documents[key].document)
                if any(record.get(column) is not None for column in columns):
                    keys.append(key)
    return keys


async def printed_rows(conn: Connection, keys: Sequence[Key]) -> list[tuple[str, bytes]]:
    """(table, row as JSON) of records that stand, in order."""
    printed = []
    for part in _parts(keys):
        documents = await rows_of(conn, [f"{name}:{record_id}" for name, record_id in part])
        printed += [(key[0], orjson.dumps(TABLES[key[0]].row(documents[key].document))) for key in part]
    return printed


def _parts(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[at : at + DOCUMENTS_PER_STATEMENT] for at in range(0, len(keys), DOCUMENTS_PER_STATEMENT)]


# -- what a request may say ---------------------------------------------------------------------------------------


def wanted_tables(given: Sequence[str] | None) -> list[str]:
    """The tables of a pull, in the order of `TABLES`; all of them without a wish. Raises NOT_ALLOWED_VALUE."""
    if given is None:
        return list(TABLES)
    refuse_if(_unknown(given, ("tables",)))
    return [name for name in TABLES if name in set(given)]


def migration_of(given: object) -> Migration:
    """WatermelonDB's `{from, tables: [name], columns: [{table, columns: [name]}]}`.

    A table we do not have is the app's own, and so is a column. Raises INVALID_VALUE for another form.
    """
    if given is None:
        return Migration()
    form = Refused(Problem(Code.INVALID_VALUE, ("migration",), ("{from, tables, columns}",)))
    if not isinstance(given, Mapping):
        raise form
    tables, columns = given.get("tables", []), given.get("columns", [])
    if not _are_names(tables) or not isinstance(columns, list) or len(columns) > NAMES_MAX:
        raise form
    by_table: dict[str, frozenset[str]] = {}
    for entry in columns:
        if not isinstance(entry, Mapping) or not _are_names([entry.get("table")]):
            raise form
        if not _are_names(entry.get("columns")):
            raise form
        by_table[entry["table"]] = by_table.get(entry["table"], frozenset()) | frozenset(entry["columns"])
    return Migration(frozenset(tables), by_table)


def again_of(given: object) -> Mapping[str, frozenset[str]]:
    """`{table: [id]}`. Raises INVALID_VALUE for another form, NOT_ALLOWED_VALUE for a table that is none."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(
        _are_names(ids) and all(is_id(one) for one in ids) for ids in given.values()
    ):
        raise Refused(Problem(Code.INVALID_VALUE, ("again",), ("{table: [id]}",)))
    refuse_if(_unknown(list(given), ("again",)))
    return {name: frozenset(ids) for name, ids in given.items()}


def _unknown(names: Sequence[str], path: tuple[str, ...]) -> list[Problem]:
    if len(names) > NAMES_MAX:
        return [Problem(Code.TOO_MANY, path, (str(NAMES_MAX),))]
    return [Problem(Code.NOT_ALLOWED_VALUE, (*path, name), tuple(TABLES)) for name in names if name not in TABLES]


def _are_names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= NAMES_MAX and all(isinstance(name, str) for name in value)


# -- a first sync as one text -------------------------------------------------------------------------------------

Still = Callable[[], Awaitable[None]]
"""Raises what the caller would be refused with by now."""


async def turbo_text(
    engine: Engine,
    principal: Principal,
    tables: Sequence[str],
    *,
    schema_version: int,
    schema_oldest: int,
    chunk_rows_max: int,
    clock: Clock,
    still: Still,
) -> AsyncGenerator[bytes, None]:
    """`{"timestamp", "changes"}` of a first sync, in parts; between two parts nothing is held open.

    The timestamp is the clock of the first snapshot. Each record its caller saw then is sent once, as it is when its
    turn comes, unless it is no longer his to see; whatever changed meanwhile the next pull brings or takes away.
    Raises before the first part what a pull raises, and later whatever the caller would be refused with by then.
    """
    check_syncing(principal)
    check_served(min(schema_version, SCHEMA_VERSION), oldest=schema_oldest)
    async with engine.read() as conn:
        await pulling_device(conn, principal, clock())
        now, _ = await read_clock(conn)
        filled = await conn.fetch(
            "SELECT s.collection, s.scope FROM scope_sum s JOIN user_scope g ON g.scope = s.scope"
            " WHERE g.user_id = ? AND g.revoked_seq IS NULL AND s.live > 0 ORDER BY s.collection, s.scope",
            principal.holder,
        )
    yield b'{"timestamp":%d,"changes":{' % now
    for number, name in enumerate(tables):
        yield b'%s"%s":{"created":[],"deleted":[],"updated":[' % (b"," if number else b"", name.encode())
        separator = b""
        for scope in [scope for collection, scope in filled if collection == name]:
            after: str | None = ""
            while after is not None:
                await still()
                async with engine.read() as conn:
                    ids = await _standing_at(conn, principal.holder, now, scope, name, after, chunk_rows_max)
                    rows = [row for _, row in await printed_rows(conn, [(name, one) for one, seen in ids if seen])]
                after = ids[-1][0] if len(ids) == chunk_rows_max else None
                count_pulled(len(rows), "turbo")
                if rows:
                    yield separator + b",".join(rows)
                    separator = b","
        yield b"]}"
    yield b"}}"


async def _standing_at(
    conn: Connection, user_id: str, at: int, scope: str, collection: str, after: str, limit: int
) -> list[tuple[str, bool]]:
    """(id, still seen) of what stood in a scope at a clock, and in none before it that the user held then."""
    stood = "{p}.entered_seq <= ? AND ({p}.left_seq IS NULL OR {p}.left_seq > ?)"
    rows = await conn.fetch(
        "SELECT p.record_id, EXISTS (SELECT 1 FROM feed_scope n JOIN user_scope g ON g.scope = n.scope"
        " WHERE n.collection = p.collection AND n.record_id = p.record_id AND n.left_seq IS NULL AND g.user_id = ?"
        f" AND g.revoked_seq IS NULL) FROM feed_scope p WHERE p.scope = ? AND p.collection = ? AND p.record_id > ?"
        f" AND {stood.format(p='p')} AND NOT EXISTS (SELECT 1 FROM feed_scope o JOIN user_scope h ON h.scope = o.scope"
        f" WHERE o.collection = p.collection AND o.record_id = p.record_id AND o.scope < p.scope"
        f" AND {stood.format(p='o')} AND h.user_id = ? AND h.granted_seq <= ?"
        " AND (h.revoked_seq IS NULL OR h.revoked_seq > ?)) ORDER BY p.record_id LIMIT ?",
        user_id,
        scope,
        collection,
        after,
        at,
        at,
        at,
        at,
        user_id,
        at,
        at,
        limit,
    )
    return [(row[0], bool(row[1])) for row in rows]
