"""The audit's table: the one function that writes to it, and the only ones that take anything away.

Entries are appended, in the transaction of what they tell. Triggers refuse every change and removal; retention and
erasure go through the latch, which is open for their own transaction alone.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import orjson

from backend.auth.principal import Principal
from backend.domain.audit import (
    REASON_CHARACTERS_MAX,
    AuditAction,
    AuditEntry,
    Door,
    FieldChange,
    bounded,
    change_records,
)
from backend.ids import new_id
from backend.storage.engine import Connection, Engine
from backend.telemetry import current_request_id


def entry_of(
    principal: Principal,
    action: AuditAction | str,
    collection: str,
    record_id: str,
    *,
    at_ms: int,
    door: Door = Door.ONLINE,
    fields: Iterable[str] = (),
    changes: Sequence[FieldChange] = (),
    captured_at_ms: int | None = None,
    cause_id: str | None = None,
    reason: str | None = None,
    request_id: str | None = None,
) -> AuditEntry:
    """What a principal did, as an entry; the request's id is the one the logs know it by, looked for unless given.

    `action` is a member of `AuditAction`, ValueError otherwise. `fields` are named where no `changes` are told.
    """
    named = {*fields, *(change.path.partition(".")[0] for change in changes)}
    return AuditEntry(
        at_ms=at_ms,
        actor=principal.actor,
        device_id=principal.device_id,
        door=door.value,
        action=AuditAction(action).value,
        collection=collection,
        record_id=record_id,
        fields=tuple(sorted(named)),
        changes=tuple(changes),
        captured_at_ms=captured_at_ms,
        cause_id=cause_id,
        request_id=request_id or current_request_id(),
        reason=reason[:REASON_CHARACTERS_MAX] if reason else None,
    )


async def save_audit(conn: Connection, entries: Sequence[AuditEntry]) -> None:
    """Append entries of any kind, in one statement, within the caller's transaction. Everything that is audited ends
    here: a `Work` brings what it noted, and whoever has no work calls `save_audit_alone`."""
    await conn.execute_many(
        "INSERT INTO audit_entry (id, at, actor, device_id, door, action, collection, record_id, fields_changed,"
        " changes, personal_changes, captured_at, cause_id, request_id, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_row(entry) for entry in entries],
    )


async def save_audit_alone(engine: Engine, entries: Sequence[AuditEntry]) -> None:
    """Append entries in a transaction of their own: of a read, or of an attempt that was refused. Steps no clock."""
    if entries:
        async with engine.write() as conn:
            await save_audit(conn, entries)


def _row(entry: AuditEntry) -> tuple[object, ...]:
    changes = bounded(entry.changes)
    return (
        new_id(),
        entry.at_ms,
        entry.actor,
        entry.device_id,
        entry.door,
        entry.action,
        entry.collection,
        entry.record_id,
        orjson.dumps(entry.fields).decode(),
        _json([change for change in changes if not change.personal]),
        _json([change for change in changes if change.personal]),
        entry.captured_at_ms,
        entry.cause_id,
        entry.request_id,
        entry.reason,
    )


def _json(changes: Sequence[FieldChange]) -> str | None:
    return orjson.dumps(change_records(changes), option=orjson.OPT_SORT_KEYS).decode() if changes else None


# -- retention and erasure ----------------------------------------------------------------------------------------


@asynccontextmanager
async def audit_open(conn: Connection) -> AsyncIterator[None]:
    """Lets this transaction, and no other, change and remove entries until the block ends."""
    await conn.execute("UPDATE audit_latch SET is_open = ? WHERE id = 1", True)
    yield
    await conn.execute("UPDATE audit_latch SET is_open = ? WHERE id = 1", False)


async def count_audit_before(
    conn: Connection, before_ms: int, collections: Sequence[str], actions: Sequence[str]
) -> int:
    """How many entries of a class are older than a moment: what `remove_audit_before` would take in the end.

    A class is given by collections, actions, or both; an empty list means any.
    """
    where, args = _class(before_ms, collections, actions)
    return int((await conn.fetch(f"SELECT count(*) FROM audit_entry WHERE {where}", *args))[0][0])


async def remove_audit_before(
    conn: Connection, before_ms: int, collections: Sequence[str], actions: Sequence[str], *, rows_max: int
) -> int:
    """Remove at most `rows_max` entries of a class older than a moment, oldest first; returns how many."""
    where, args = _class(before_ms, collections, actions)
    async with audit_open(conn):
        rows = await conn.fetch(
            f"DELETE FROM audit_entry WHERE id IN (SELECT id FROM audit_entry WHERE {where} ORDER BY at, id LIMIT ?)"
            " RETURNING id",
            *args,
            rows_max,
        )
    return len(rows)


def _class(before_ms: int, collections: Sequence[str], actions: Sequence[str]) -> tuple[str, list[object]]:
    parts: list[str] = ["at < ?"]
    args: list[object] = [before_ms]
    for column, names in (("collection", collections), ("action", actions)):
        if names:
            parts.append(f"{column} = ANY(?)")
            args.append(list(names))
    return " AND ".join(parts), args


async def forget_values_before(conn: Connection, before_ms: int, *, rows_max: int) -> int:
    """Take the values out of at most `rows_max` entries older than a moment; who, when and which fields stay."""
    async with audit_open(conn):
        rows = await conn.fetch(
            "UPDATE audit_entry SET changes = NULL, personal_changes = NULL WHERE id IN (SELECT id FROM audit_entry"
            " WHERE at < ? AND (changes IS NOT NULL OR personal_changes IS NOT NULL) ORDER BY at, id LIMIT ?)"
            " RETURNING id",
            before_ms,
            rows_max,
        )
    return len(rows)
