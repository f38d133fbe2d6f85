"""Reading the feed: whose scopes, which places after a position, which documents. Every client's pull reads here.

All of it runs inside one snapshot; what the answers mean is the puller's affair.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from backend.storage.engine import Connection
from backend.sync.collections import COLLECTIONS
from backend.sync.cursor import Position
from backend.sync.documents import read_documents
from backend.sync.feed import digest_of, digest_text
from backend.sync.versions import SCHEMA_VERSION, is_known, projected, shape_at

SCOPES_PER_STATEMENT = 100


class Row(NamedTuple):
    seq: int
    collection: str
    record_id: str
    digest: str
    document: bytes


class Place(NamedTuple):
    scope: str
    position: Position
    left_seq: int | None
    stands: bool
    """An open place of the same record in the same scope exists."""


async def held_scopes(conn: Connection, user_id: str, at: int) -> tuple[dict[str, int], set[str]]:
    """(open scope → granted at, scopes that were open at `at` and have been closed since)."""
    rows = await conn.fetch(
        "SELECT scope, granted_seq, revoked_seq FROM user_scope WHERE user_id = ?"
        " AND (revoked_seq IS NULL OR revoked_seq > ?)",
        user_id,
        at,
    )
    open_scopes = {scope: granted for scope, granted, revoked in rows if revoked is None}
    lost = {scope for scope, granted, revoked in rows if revoked is not None and granted <= at < revoked}
    return open_scopes, lost


async def places_after(conn: Connection, position: Position, scopes: Sequence[str], limit: int) -> list[Place]:
    """The next places of these scopes by (seq, collection, id, scope), each scope read by its own index range."""
    found: list[Place] = []
    for start in range(0, len(scopes), SCOPES_PER_STATEMENT):
        part = scopes[start : start + SCOPES_PER_STATEMENT]
        one = (
            "SELECT * FROM (SELECT p.scope, p.seq, p.collection, p.record_id, p.left_seq,"
            " (p.left_seq IS NOT NULL AND EXISTS (SELECT 1 FROM feed_scope o WHERE o.scope = p.scope AND"
            " o.collection = p.collection AND o.record_id = p.record_id AND o.left_seq IS NULL)) AS stands"
            " FROM feed_scope p WHERE p.scope = ? AND (p.seq, p.collection, p.record_id) {more} (?, ?, ?)"
            " ORDER BY p.seq, p.collection, p.record_id LIMIT ?) s{n}"
        )
        statements, args = [], []
        for n, scope in enumerate(part):
            # rows of the very position are still to come in scopes that sort after its own
            more = ">=" if scope > position.scope else ">"
            statements.append(one.format(more=more, n=n))
            args += [scope, position.seq, position.collection, position.record_id, limit]
        found += [
            Place(row[0], Position(row[1], row[2], row[3], row[0]), row[4], bool(row[5]))
            for row in await conn.fetch(" UNION ALL ".join(statements), *args)
        ]
    found.sort(key=lambda place: place.position)
    return found[:limit]


async def documents_at(
    conn: Connection, places: Sequence[Place], *, version: int = SCHEMA_VERSION
) -> dict[tuple[str, str], Row]:
    keys = sorted({f"{p.position.collection}:{p.position.record_id}" for p in places})
    return await rows_of(conn, keys, version=version)


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
    rows = await conn.fetch(
        "SELECT collection, record_id, seq, digest, document, doc_version FROM feed WHERE key = ANY(?)", list(keys)
    )
    found: dict[tuple[str, str], Row] = {}
    behind: dict[str, dict[str, int]] = defaultdict(dict)
    names = {row[0] for row in rows}
    shapes = {name: shape_at(COLLECTIONS[name], version) for name in names if is_known(name, version)}
    for name, record_id, seq, digest, stored, doc_version in rows:
        shape = shapes.get(name)
        if shape is None:
            continue
        document = bytes(stored)
        shown = document
        if doc_version > shape:
            shown = projected(COLLECTIONS[name], document, version, doc_version=doc_version)
        text = digest_text(digest if shown is document else digest_of(shown))
        found[name, record_id] = Row(seq, name, record_id, text, shown)
        if doc_version < shape:
            behind[name][record_id] = seq
    for name, seqs in behind.items():
        for record_id, document in (await read_documents(conn, COLLECTIONS[name], list(seqs))).items():
            shown = projected(COLLECTIONS[name], document, version, doc_version=COLLECTIONS[name].doc_version)
            found[name, record_id] = Row(seqs[record_id], name, record_id, digest_text(digest_of(shown)), shown)
    return found
