"""What became of a record: who changed what, from what to what, when, on which device and by which door.

Whoever sees the record reads its history, and reads in it what he would read in the record: masked roles the first
character of what is personal. A deleted record shows it to those who would see it if it came back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.domain.audit import TOLD, AuditAction
from backend.domain.issue_words import ToldChange, tell_change
from backend.domain.messages import Catalogue, locale_of
from backend.domain.permissions import mask_text
from backend.ids import is_id
from backend.storage.audit import entry_of, save_audit_alone
from backend.storage.deleted import copies_named, scopes_held, scopes_now
from backend.storage.engine import Connection, Engine
from backend.storage.visibility import visible_to
from backend.sync.collections import COLLECTIONS
from backend.sync.kept import Kept
from backend.sync.telling import Telling

ALL_RECORDS = "00000000-0000-0000-0000-000000000000"
"""What an entry about no single record names."""
WRITES = (
    AuditAction.CREATE,
    AuditAction.UPDATE,
    AuditAction.DELETE,
    AuditAction.RESTORE,
    AuditAction.MERGE,
    AuditAction.UNMERGE,
    AuditAction.MOVE,
    AuditAction.STORE,
    AuditAction.LOSE,
)
"""What a history tells; who read something is for the audit trail."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A record whose history is asked for; `aliases` are the ids of those that were merged into it."""

    collection: str
    id: str
    aliases: tuple[str, ...] = ()
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """One path of one entry, as one reader may see it."""

    path: str
    before: Any
    after: Any
    personal: bool
    masked: bool
    cut: bool
    about: Mapping[str, Any]
    names: Mapping[str, Any]

    def told(self, catalogue: Catalogue, locale: str, collection: str) -> ToldChange:
        """In words; what is masked stays masked."""
        found = tell_change(
            catalogue,
            locale_of(locale),
            collection,
            self.path,
            self.before,
            self.after,
            about=self.about,
            names=self.names,
        )
        if not self.masked:
            return found
        return ToldChange(found.place, _masked_text(self.before), _masked_text(self.after))


def _masked_text(value: object) -> str:
    return value if isinstance(value, str) else "•••" if value is not None else ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a history. `actor_name` and `device_name` are None for who is no person here, or is not known."""

    id: str
    at_ms: int
    captured_at_ms: int | None
    action: str
    door: str
    actor: str
    actor_name: str | None
    device_id: str | None
    device_name: str | None
    record_id: str
    fields: Sequence[str]
    changes: Sequence[Changed]
    cause_id: str | None
    reason: str | None


async def subject_of(conn: Connection, principal: Principal, record_id: str) -> Subject | None:
    """The record with this id if the principal may see its history; None otherwise.

    An id that was merged away stands for the record it became.
    """
    if not is_id(record_id):
        return None
    aliases = await conn.fetch("SELECT record_id FROM record_alias WHERE alias_id = ?", record_id)
    record_id = aliases[0][0] if aliases else record_id
    collection = await _standing(conn, principal, record_id)
    if collection is not None:
        rows = await conn.fetch("SELECT alias_id FROM record_alias WHERE record_id = ? ORDER BY alias_id", record_id)
        return Subject(collection, record_id, tuple(row[0] for row in rows))
    copies = [copy for copy in await copies_named(conn, record_id) if principal.reads(copy.collection)]
    now = await scopes_now(conn, copies)
    held = await scopes_held(conn, principal.holder) if copies else set()
    for copy in copies:
        if now[copy.key] & held:
            return Subject(copy.collection, record_id, deleted=True)
    return None


async def _standing(conn: Connection, principal: Principal, record_id: str) -> str | None:
    """The collection in which the principal sees a record of this id: one statement, an index look-up each."""
    arms: list[str] = []
    args: list[object] = []
    for name in sorted(TOLD):
        visible, asked = visible_to(principal, name, "t")
        arms.append(f"SELECT '{name}' FROM {COLLECTIONS[name].table} t WHERE t.id = ? AND {visible}")
        args += [record_id, *asked]
    rows = await conn.fetch(" UNION ALL ".join(arms), *args)
    return str(rows[0][0]) if rows else None


async def history_of(
    conn: Connection, principal: Principal, subject: Subject, *, rows: int, before: tuple[int, str] | None = None
) -> list[Entry]:
    """The latest entries of a record, newest first, at most `rows`; `before`: only those older than (at, id)."""
    at_ms, entry_id = before or (2**62, "")
    found = await conn.fetch(
        "SELECT a.id, a.at, a.captured_at, a.action, a.door, a.actor, coalesce(u.name, s.name), a.device_id, d.name,"
        " a.record_id, a.fields_changed, a.changes, a.personal_changes, a.cause_id, a.reason FROM audit_entry a"
        " LEFT JOIN user_account u ON u.id = substr(a.actor, 7) AND a.actor LIKE 'staff:%'"
        " LEFT JOIN service s ON s.id = substr(a.actor, 9) AND a.actor LIKE 'service:%'"
        " LEFT JOIN device d ON d.id = a.device_id"
        " WHERE a.record_id = ANY(?) AND a.collection = ? AND a.action = ANY(?)"
        " AND (a.at < ? OR (a.at = ? AND a.id < ?)) ORDER BY a.at DESC, a.id DESC LIMIT ?",
        [subject.id, *subject.aliases],
        subject.collection,
        [action.value for action in WRITES],
        at_ms,
        at_ms,
        entry_id,
        rows,
    )
    read = [(row, _changes(row[11], personal=False) + _changes(row[12], personal=True)) for row in found]
    kept = {
        (row[0], change["path"]): Kept(
            subject.collection,
            subject.id,
            "",
            path=change["path"],
            mine=change["before"],
            theirs=change["after"],
        )
        for row, changes in read
        for change, _ in changes
    }
    telling = await Telling(conn, principal).read(list(kept.values())) if kept else None
    return [_entry(row, changes, principal, telling, kept) for row, changes in read]


def _changes(text: str | None, *, personal: bool) -> list[tuple[dict[str, Any], bool]]:
    return [] if text is None else [(change, personal) for change in orjson.loads(text)]


def _entry(
    row: Sequence[Any],
    changes: Sequence[tuple[dict[str, Any], bool]],
    principal: Principal,
    telling: Telling | None,
    kept: Mapping[tuple[str, str], Kept],
) -> Entry:
    told = []
    for change, personal in sorted(changes, key=lambda one: str(one[0]["path"])):
        masked = personal and principal.masked
        one = kept[row[0], change["path"]]
        told.append(
            Changed(
                change["path"],
                _masked(change["before"]) if masked else change["before"],
                _masked(change["after"]) if masked else change["after"],
                personal,
                masked,
                bool(change.get("cut")),
                telling.about(one) if telling else {},
                telling.names(one) if telling and not masked else {},
            )
        )
    # a reason is free text, which may name a person
    reason = None if principal.masked else row[14]
    return Entry(
        id=row[0],
        at_ms=row[1],
        captured_at_ms=row[2],
        action=row[3],
        door=row[4],
        actor=row[5],
        actor_name=row[6],
        device_id=row[7],
        device_name=row[8],
        record_id=row[9],
        fields=orjson.loads(row[10]),
        changes=told,
        cause_id=row[13],
        reason=reason,
    )


def _masked(value: object) -> object:
    return mask_text(value) if isinstance(value, str) else None


async def read_history(
    engine: Engine, principal: Principal, record_id: str, rows: int, position: Sequence[str | int] | None
) -> tuple[Subject, list[Entry]] | None:
    """A record's history in one snapshot, at most `rows` behind the position (at, id); None out of scope."""
    async with engine.read() as conn:
        subject = await subject_of(conn, principal, record_id)
        if subject is None:
            return None
        before = None if position is None else (int(position[0]), str(position[1]))
        return subject, await history_of(conn, principal, subject, rows=rows, before=before)


async def note_trail_read(
    engine: Engine, principal: Principal, now_ms: int, filters: Sequence[str], record_id: str | None
) -> None:
    """That somebody looked at the audit trail, by which filters, and of which record where he named one."""
    named = record_id if is_id(record_id) else ALL_RECORDS
    await save_audit_alone(
        engine, [entry_of(principal, AuditAction.READ, "audit", str(named), at_ms=now_ms, fields=filters)]
    )
