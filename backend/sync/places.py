"""Reading the feed: whose scopes, which places after a position, which documents. Every client's pull reads here.

All of it runs inside one snapshot; what the answers mean is the puller's affair.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from backend.storage.engine import Connection
from backend.sync.buckets import narrowing
from backend.sync.collections import COLLECTIONS
from backend.sync.cursor import Backfill, Position
from backend.sync.documents import read_documents
from backend.sync.feed import digest_of, digest_text
from backend.sync.versions import SCHEMA_VERSION, is_known, projected, shape_at

SCOPES_PER_STATEMENT = 100


class Row(NamedTuple):
    seq: int
    collection: str
    record_id: str
    digest_number: int
    """as it is stored"""
    document: bytes

    @property
    def digest(self) -> str:
        return digest_text(self.digest_number)


@dataclass(slots=True)
class Rows:
    """Rows of one collection, a column each; one by one where few are looked at."""

    collection: str
    seqs: list[int] = field(default_factory=list)
    record_ids: list[str] = field(default_factory=list)
    digest_numbers: list[int] = field(default_factory=list)
    documents: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.seqs)

    def __iter__(self) -> Iterator[Row]:
        return map(Row, self.seqs, repeat(self.collection), self.record_ids, self.digest_numbers, self.documents)


@dataclass(frozen=True, slots=True)
class Places:
    """Places in order and, of those that are open, the rows of their records: a column each.

    A page is thousands, and to make an object of each costs more than to read it.
    """

    scopes: Sequence[str] = ()
    place_seqs: Sequence[int] = ()
    collections: Sequence[str] = ()
    record_ids: Sequence[str] = ()
    left_seqs: Sequence[int | None] = ()
    stands: Sequence[object] = ()
    """Of closed ones: whether an open place of the same record in the same scope exists."""
    seqs: Sequence[int] = ()
    """of the records' last changes"""
    digest_numbers: Sequence[int] = ()
    doc_versions: Sequence[int] = ()
    documents: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.scopes)

    def part(self, begin: int, end: int) -> "Places":
        return Places(*(column[begin:end] for column in self.columns))

    @property
    def columns(self) -> "tuple[Sequence[Any], ...]":
        return tuple(getattr(self, name) for name in _COLUMNS)

    def position(self, at: int) -> Position:
        return Position(self.place_seqs[at], self.collections[at], self.record_ids[at], self.scopes[at])


_COLUMNS = tuple(one.name for one in fields(Places))
_POSITION = ("place_seqs", "collections", "record_ids", "scopes")
_KEY = ("collections", "record_ids")
_AT = (
    "WITH after(seq, collection, record_id, most) AS MATERIALIZED"
    " (SELECT CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT))"
)
"""What is asked stands in a table of its own: PostgreSQL, which plans anew as long as it knows the values, and for
one who holds many scopes that is more work than the reading, plans once; and SQLite compares with it faster."""
_ARM = (
    "SELECT * FROM (SELECT p.scope, p.seq AS place_seq, p.collection, p.record_id, p.left_seq,"
    # asked of closed places only, and in a form no planner answers by reading the whole table once
    " CASE WHEN p.left_seq IS NOT NULL THEN (SELECT 1 FROM feed_scope o WHERE o.scope = p.scope AND"
    " o.collection = p.collection AND o.record_id = p.record_id AND o.left_seq IS NULL LIMIT 1) END AS stands"
    " FROM feed_scope p WHERE p.scope = (SELECT CAST(? AS TEXT)) AND"
    " (p.seq, p.collection, p.record_id) {more} (SELECT seq, collection, record_id FROM after)"
    " ORDER BY p.seq, p.collection, p.record_id LIMIT (SELECT most FROM after)) s{n}"
)
_STORED = "f.seq, f.digest, f.doc_version, f.document"
_OF_OPEN = "s.left_seq IS NULL AND f.key = s.collection || ':' || s.record_id"
_WITH_STORED = f"LEFT JOIN feed f ON {_OF_OPEN}"
"""The left side's condition keeps PostgreSQL from remembering each document for the next place of the same record."""
_NOTHING_STORED = (None,) * 4


async def held_scopes(conn: Connection, user_id: str, at: int) -> tuple[dict[str, int], set[str]]:
    """(open scope → granted at, scopes that were open at `at` and have been closed since)."""
    rows = await conn.fetch(
        "SELECT scope, granted_seq, revoked_seq FROM user_scope WHERE user_id = ?"
        " AND (revoked_seq IS NULL OR revoked_seq > ?)",
        user_id,
        at,
    )
    return scopes_of(rows, at)


def scopes_of(grants: Iterable[Sequence[Any]], at: int) -> tuple[dict[str, int], set[str]]:
    """The same of grants (scope, granted, revoked), those closed at `at` left out."""
    rows = list(grants)
    open_scopes = {scope: granted for scope, granted, revoked in rows if revoked is None}
    lost = {scope for scope, granted, revoked in rows if revoked is not None and granted <= at < revoked}
    return open_scopes, lost


async def places_after(conn: Connection, position: Position, scopes: Sequence[str], limit: int) -> Places:
    """The next places of these scopes by (seq, collection, id, scope), each scope read by its own index range."""
    parts = [scopes[start : start + SCOPES_PER_STATEMENT] for start in range(0, len(scopes), SCOPES_PER_STATEMENT)]
    if len(parts) == 1:
        return await _places(conn, *delta_sql(position, parts[0], limit), _POSITION)
    rows: list[Sequence[Any]] = []
    for part in parts:
        arms = _arms(tuple([scope > position.scope for scope in part]))
        rows += await conn.fetch(f"{_AT} {arms}", *_at(position, limit), *part)
    rows = sorted(rows, key=itemgetter(*map(_COLUMNS.index, _POSITION)))[:limit]
    keys = [f"{row[2]}:{row[3]}" if row[4] is None else "" for row in rows]
    stored = {
        key: rest
        for key, *rest in await conn.fetch(
            f"SELECT f.key, {_STORED} FROM feed f WHERE f.key = ANY(?)", sorted({key for key in keys if key})
        )
    }
    return _in_columns([(*row, *stored.get(key, _NOTHING_STORED)) for row, key in zip(rows, keys, strict=True)])


async def standing_after(conn: Connection, entry: Backfill, limit: int) -> Places:
    """What an entry is still to bring, by (collection, id): open places with the rows of their records."""
    narrowed, args = narrowing(entry)
    found = (
        f"SELECT s.*, {_STORED} FROM (SELECT p.scope, p.seq AS place_seq, p.collection, p.record_id, p.left_seq,"
        " NULL AS stands FROM feed_scope p WHERE p.scope = ? AND (p.collection, p.record_id) > (?, ?)"
        f" AND p.left_seq IS NULL AND p.seq <= ?{narrowed} ORDER BY p.collection, p.record_id LIMIT ?) s"
        f" {_WITH_STORED}"
    )
    return await _places(conn, found, [entry.scope, *entry.after, entry.up_to, *args, limit], _KEY)


async def _places(conn: Connection, found: str, args: Sequence[object], order: Sequence[str]) -> Places:
    """What a statement finds, by `order`.

    PostgreSQL could hand over each column as one array: what that saves here it costs there twice over.
    """
    places = _in_columns(await conn.fetch(found, *args))
    keys = list(zip(*(getattr(places, name) for name in order), strict=True))
    if keys == sorted(keys):
        # as both databases have them already, though neither promises it
        return places
    at = sorted(range(len(keys)), key=keys.__getitem__)
    return Places(*([column[one] for one in at] for column in places.columns))


def _in_columns(rows: Sequence[Sequence[Any]]) -> Places:
    return Places(*zip(*rows, strict=True)) if rows else Places()


async def open_places(conn: Connection, records: Iterable[tuple[str, str]], *, up_to: int) -> set[tuple[str, str, str]]:
    """The open places (scope, collection, id) of these records, entered or changed up to a clock.

    Asked collection by collection: no index finds a record by its id alone.
    """
    ids: dict[str, list[str]] = defaultdict(list)
    for name, record_id in sorted(records):
        ids[name].append(record_id)
    if not ids:
        return set()
    arm = (
        "SELECT scope, collection, record_id FROM feed_scope WHERE collection = ? AND record_id = ANY(?)"
        " AND left_seq IS NULL AND seq <= ?"
    )
    args: list[object] = [value for name, found in ids.items() for value in (name, found, up_to)]
    return {tuple(row) for row in await conn.fetch(" UNION ALL ".join([arm] * len(ids)), *args)}


def delta_sql(position: Position, scopes: Sequence[str], limit: int) -> tuple[str, list[object]]:
    """What is next after a position in so many scopes as fit one statement, with its rows; and the arguments."""
    return _delta_sql(tuple([scope > position.scope for scope in scopes])), [*_at(position, limit), *scopes]


def _at(position: Position, limit: int) -> tuple[object, ...]:
    return position.seq, position.collection, position.record_id, limit


@lru_cache(maxsize=1_000)
def _delta_sql(behind: tuple[bool, ...]) -> str:
    return (
        f"{_AT} SELECT s.*, {_STORED} FROM (SELECT * FROM ({_arms(behind)}) u"
        f" ORDER BY place_seq, collection, record_id, scope LIMIT (SELECT most FROM after)) s {_WITH_STORED}"
    )


def _arms(behind: Sequence[bool]) -> str:
    """Arms for after `_AT`, one for each scope; of each whether it sorts behind the position's own."""
    # rows of the very position are still to come in those
    return " UNION ALL ".join([_ARM.format(more=">=" if later else ">", n=n) for n, later in enumerate(behind)])


def shapes_of(names: Iterable[str], version: int) -> dict[str, int]:
    """Collection → the shape clients of a schema version know its documents in, for those they know."""
    return {name: shape_at(COLLECTIONS[name], version) for name in names if is_known(name, version)}


async def rows_of(
    conn: Connection, keys: Sequence[str], *, version: int = SCHEMA_VERSION
) -> dict[tuple[str, str], Row]:
    """Documents as clients of a schema version know them, by (collection, id); none of collections they do not know.

    Stored bytes pass through. What was written in a later shape loses what came since; what was written in an
    earlier one, before a migration or by a process of the version before, is printed anew from the tables of the
    same snapshot, which may hold what that process did not know how to tell.
    """
    if not keys:
        return {}
    asked = f"SELECT {', '.join(STORED_COLUMNS)} FROM feed WHERE key = ANY(?)"
    return await shown_rows(conn, await conn.fetch(asked, list(keys)), version=version)


STORED_COLUMNS = ("collection", "record_id", "seq", "digest", "document", "doc_version")
"""Of the feed: what `stored_rows` makes its rows of."""


def stored_rows(
    rows: Iterable[Sequence[Any]], *, version: int
) -> tuple[dict[tuple[str, str], Row], dict[str, dict[str, int]]]:
    """(Rows by (collection, id) as clients know them, of `STORED_COLUMNS`; those of an earlier shape, which have to be
    printed anew: collection → record id → seq)."""
    rows = list(rows)
    found: dict[tuple[str, str], Row] = {}
    behind: dict[str, dict[str, int]] = defaultdict(dict)
    shapes = shapes_of({row[0] for row in rows}, version)
    for name, record_id, seq, digest, stored, doc_version in rows:
        shape = shapes.get(name)
        if shape is None:
            continue
        document = bytes(stored)
        shown = document
        if doc_version > shape:
            shown = projected(COLLECTIONS[name], document, version, doc_version=doc_version)
        number = digest if shown is document else digest_of(shown)
        found[name, record_id] = Row(seq, name, record_id, number, shown)
        if doc_version < shape:
            behind[name][record_id] = seq
    return found, behind


async def shown_rows(conn: Connection, rows: Iterable[Sequence[Any]], *, version: int) -> dict[tuple[str, str], Row]:
    """The same, with those of an earlier shape printed anew from the tables of the snapshot the rows are of."""
    found, behind = stored_rows(rows, version=version)
    for name, seqs in behind.items():
        for record_id, document in (await read_documents(conn, COLLECTIONS[name], list(seqs))).items():
            shown = projected(COLLECTIONS[name], document, version, doc_version=COLLECTIONS[name].doc_version)
            found[name, record_id] = Row(seqs[record_id], name, record_id, digest_of(shown), shown)
    return found
