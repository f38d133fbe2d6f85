"""Looking for records that may be one: by keys first, then by all the evidence (`domain/duplicates.py`)."""

from collections.abc import Iterable, Mapping, Sequence

import orjson

from backend.domain.audit import DEVICE_DOORS
from backend.domain.duplicates import (
    POINTS,
    Match,
    MatchReason,
    best_first,
    contact_reasons,
    customer_reasons,
    match,
    match_keys,
    wanted_keys,
)
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.sync.changes import Draft
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Door, Work

CANDIDATES_MAX = 200
"""Records compared with one; of more that share a key the later ones by id are left out."""
PAIRS_MAX = 5
"""Likely pairs queued for one new record: more are no help to whoever looks."""
SHARED_BY_MAX = 20
"""Records that share a key before it stops being a hint."""
FIRST_TELLING_KEY = "e:"
"""Keys from here on are numbers and names; birthdays and cells of the map sort before."""
FIELD_DOORS = DEVICE_DOORS | {Door.ONLINE}


async def note_matches(work: Work, name: str, drafts: Sequence[Draft]) -> None:
    """Keep the keys of what was saved, and queue a new record with those it may be one with.

    An import brings its own keys and is not queued row by row.
    """
    gone = [draft.id for draft in drafts if draft.alive and draft.deleting]
    await drop_keys(work.conn, name, gone)
    saved = [draft for draft in drafts if draft.alive and not draft.deleting]
    changed = {d.id: d.after for d in saved if d.before is None or match_keys(d.before) != match_keys(d.after)}
    await save_keys(work.conn, name, changed)
    if work.door in FIELD_DOORS:
        for draft in saved:
            if draft.before is None:
                await _queue(work, name, draft.after)


async def save_keys(conn: Connection, name: str, records: Mapping[str, Mapping[str, object]]) -> None:
    """The keys of these records, in place of those they had."""
    await drop_keys(conn, name, list(records))
    await conn.execute_many(
        "INSERT INTO match_key (collection, record_id, key) VALUES (?, ?, ?)",
        [(name, record_id, key) for record_id, record in records.items() for key in match_keys(record)],
    )


async def drop_keys(conn: Connection, name: str, ids: Sequence[str]) -> None:
    if ids:
        await conn.execute("DELETE FROM match_key WHERE collection = ? AND record_id = ANY(?)", name, list(ids))


async def matches_of(
    conn: Connection, name: str, record: Mapping[str, object], *, visible: str = "1 = 1", args: Sequence[object] = ()
) -> list[Match]:
    """The records it may be one with, best first. `visible` is a predicate over the row `t`, `args` its arguments.

    `record` is in stored form; its own id, if it has one, is left out.
    """
    own_id = str(record.get("id") or "")
    rows = await conn.fetch(
        "SELECT DISTINCT record_id FROM match_key WHERE collection = ? AND key = ANY(?) AND record_id <> ?"
        " ORDER BY record_id LIMIT ?",
        name,
        wanted_keys(record),
        own_id,
        CANDIDATES_MAX,
    )
    found = await _evidence(conn, name, [row[0] for row in rows], visible, args)
    customers = await _customers_of(conn, [own_id, *found]) if name == "contacts" else {}
    return best_first(match(other_id, _reasons(name, record, other, customers)) for other_id, other in found.items())


_EVIDENCE: Mapping[str, tuple[str, ...]] = {
    "customers": (
        "id",
        "code",
        "nameZh",
        "nameKo",
        "nameEn",
        "kind",
        "parentId",
        "phone",
        "email",
        "taxId",
        "latE7",
        "lonE7",
    ),
    "contacts": ("id", "nameZh", "nameKo", "nameEn", "phone", "email", "birthDate"),
}


async def _evidence(
    conn: Connection, name: str, ids: Sequence[str], visible: str, args: Sequence[object]
) -> dict[str, dict[str, object]]:
    if not ids:
        return {}
    collection, fields = COLLECTIONS[name], _EVIDENCE[name]
    columns = ", ".join(f't."{collection.columns[field]}"' for field in fields)
    rows = await conn.fetch(
        f"SELECT {columns} FROM {collection.table} t WHERE t.id = ANY(?) AND {visible}", list(ids), *args
    )
    return {row[0]: dict(zip(fields, row, strict=True)) for row in rows}


async def _customers_of(conn: Connection, contact_ids: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for contact_id, customer_id in await conn.fetch(
        "SELECT contact_id, customer_id FROM customer_contact WHERE contact_id = ANY(?)", list(contact_ids)
    ):
        found.setdefault(contact_id, set()).add(customer_id)
    return found


async def compare_alike(work: Work, name: str, after: str, records_max: int) -> tuple[str | None, int, int]:
    """Compare the next records by id with those of a higher id that share a number or a name.

    (last id looked at, None at the end; how many; new pairs queued). A key that very many share, such as a
    placeholder for a telephone number, says nothing.
    """
    rows = await work.conn.fetch(
        f"SELECT id FROM {COLLECTIONS[name].table} WHERE id > ? ORDER BY id LIMIT ?", after, records_max
    )
    ids = [row[0] for row in rows]
    if not ids:
        return None, 0, 0
    shared = await _sharing(work.conn, name, ids)
    named = sorted({record_id for pair in shared for record_id in pair})
    found = await _evidence(work.conn, name, named, "1 = 1", ())
    customers = await _customers_of(work.conn, named) if name == "contacts" else {}
    pairs = [
        (one, match(other, _reasons(name, found[one], found[other], customers)))
        for one, other in shared
        if one in found and other in found
    ]
    new = 0
    for one, judged in pairs:
        if judged is not None:
            new += await _keep_pair(work, name, one, judged)
    return ids[-1], len(ids), new


async def name_match(work: Work, name: str, one_id: str, other_id: str) -> str:
    """Queue a pair that a colleague says is one; its id. One that somebody decided on is to be looked at again."""
    found = await _evidence(work.conn, name, [one_id, other_id], "1 = 1", ())
    customers = await _customers_of(work.conn, list(found)) if name == "contacts" else {}
    reasons = (MatchReason.NAMED, *_reasons(name, found[one_id], found[other_id], customers))
    rows = await work.conn.fetch(
        "INSERT INTO match_pair (id, collection, first_id, second_id, points, reasons, state, found_at, found_by)"
        " VALUES (?, ?, ?, ?, ?, ?, 'OPEN', ?, ?) ON CONFLICT (collection, first_id, second_id) DO UPDATE"
        " SET points = excluded.points, reasons = excluded.reasons, state = 'OPEN', found_at = excluded.found_at,"
        " found_by = excluded.found_by RETURNING id",
        new_id(),
        name,
        *sorted((one_id, other_id)),
        sum(POINTS[reason] for reason in reasons),
        orjson.dumps([reason.value for reason in reasons]).decode(),
        work.now_ms,
        work.principal.holder,
    )
    return str(rows[0][0])


async def _sharing(conn: Connection, name: str, ids: Sequence[str]) -> list[tuple[str, str]]:
    """(one of `ids`, another record of a higher id) that share a number or a name with few others."""
    own = await conn.fetch(
        "SELECT DISTINCT key FROM match_key WHERE collection = ? AND record_id = ANY(?) AND key >= ?",
        name,
        list(ids),
        FIRST_TELLING_KEY,
    )
    shared = await conn.fetch(
        "SELECT key FROM match_key WHERE collection = ? AND key = ANY(?) GROUP BY key HAVING count(*) BETWEEN 2 AND ?",
        name,
        [row[0] for row in own],
        SHARED_BY_MAX,
    )
    holders: dict[str, list[str]] = {}
    for key, record_id in await conn.fetch(
        "SELECT key, record_id FROM match_key WHERE collection = ? AND key = ANY(?)", name, [row[0] for row in shared]
    ):
        holders.setdefault(key, []).append(record_id)
    looked_at = set(ids)
    pairs = {
        (one, other) for held in holders.values() for one in held if one in looked_at for other in held if other > one
    }
    return sorted(pairs)


def _reasons(
    name: str, one: Mapping[str, object], other: Mapping[str, object], customers: Mapping[str, set[str]]
) -> list[MatchReason]:
    if name == "customers":
        return customer_reasons(one, other)
    own, theirs = (customers.get(str(record.get("id")), set()) for record in (one, other))
    return contact_reasons(one, other, customers=own, other_customers=theirs)


async def _queue(work: Work, name: str, record: Mapping[str, object]) -> None:
    """Whoever entered it need not see the other one; who may merge them must see both (`usecases/matches.py`)."""
    for found in (await matches_of(work.conn, name, record))[:PAIRS_MAX]:
        await _keep_pair(work, name, str(record["id"]), found)


async def _keep_pair(work: Work, name: str, record_id: str, found: Match) -> int:
    """1 for a pair that was not there; one that somebody decided on stays decided."""
    rows = await work.conn.fetch(
        "INSERT INTO match_pair (id, collection, first_id, second_id, points, reasons, state, found_at, found_by)"
        " VALUES (?, ?, ?, ?, ?, ?, 'OPEN', ?, ?) ON CONFLICT (collection, first_id, second_id) DO NOTHING"
        " RETURNING id",
        new_id(),
        name,
        *sorted((record_id, found.record_id)),
        found.points,
        orjson.dumps([reason.value for reason in found.reasons]).decode(),
        work.now_ms,
        work.principal.holder,
    )
    return len(rows)
