"""Changing records, by whichever door: load many, let a use case decide, save many.

A `Change` is what a caller wants of one record. `open_drafts` loads the batch under the caller's scope and with
its locks (customers first, then the records, by id), checks the declared shape and merges each change with what
stands; the use case adds what its rules say; `save_drafts` writes what is left, notes it in the work, and keeps
every value that did not win as a sync issue.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson

from backend.domain.audit import AuditAction, FieldChange, changes_between, first_values
from backend.domain.custom import CUSTOM, with_custom
from backend.domain.fields import (
    Field,
    Kind,
    Merge,
    Shape,
    field_paths,
    policy_of,
    records_shown,
    records_stored,
    validate,
    whole_problems,
    with_defaults,
)
from backend.domain.issues import CONFLICT_WAYS, Resolution, WayOut, shown_value
from backend.domain.merge import WHOLE, Conflict, merge_change, with_paths
from backend.errors import Code, Problem
from backend.ids import is_id
from backend.storage.deleted import Copy, keep_away, key_of
from backend.storage.visibility import place_columns, visible_to
from backend.sync.collections import COLLECTIONS, Child, Collection, column_of
from backend.sync.custom import custom_fields_of
from backend.sync.deleted import gone_parts, keep_deleted
from backend.sync.documents import JSON_KINDS, canonical
from backend.sync.feed import EPOCH_STEP, Stored, read_stored, read_stored_and_clock
from backend.sync.issues import keep_issues, people_of
from backend.sync.kept import Kept, base_at, lost_value
from backend.sync.work import Door, Work

ACCEPTED_LATE = "acceptedLateAt"
ORDERS = "orders"
NOBODY = ""
"""The author of what no person entered: an import or a rule loses nothing it would not do again."""
NEVER_STORED = Stored(0, False, {}, {}, 0)


class Intent(StrEnum):
    CREATE = "CREATE"
    PATCH = "PATCH"
    DELETE = "DELETE"
    RESTORE = "RESTORE"
    """bring a deleted record back as it was"""


class Status(StrEnum):
    """What became of one change. Only RETRY may be sent again."""

    APPLIED = "APPLIED"
    MERGED = "MERGED"
    """somebody else had changed other fields; both changes stand"""
    CONFLICT = "CONFLICT"
    """a field stays as somebody else set it; the value sent is kept as a sync issue"""
    REFUSED = "REFUSED"
    DEPENDENCY_FAILED = "DEPENDENCY_FAILED"
    RETRY = "RETRY"
    ALREADY_HANDLED = "ALREADY_HANDLED"


@dataclass(frozen=True, slots=True)
class Change:
    """One wish: `fields` are as the caller sent them, by document name; `base` what the caller had before."""

    id: str
    intent: Intent
    fields: Mapping[str, object] = field(default_factory=dict)
    base_rev: int | None = None
    captured_at_ms: int | None = None
    mutation_id: str | None = None
    base: Mapping[str, object] | None = None
    by_alias: bool = False
    """It named an id that was merged away: its base is a revision of a record that is no more."""


@dataclass(slots=True)
class Outcome:
    id: str
    status: Status
    problems: tuple[Problem, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


UseCase = Callable[[Work, Sequence[Change]], Awaitable[list[Outcome]]]


@dataclass(slots=True)
class Draft:
    """One change on its way: what stood, what would stand, and what is wrong with it.

    `before` is None for a new record. `after` holds every field in stored form (moments as epoch ms); a use
    case may set server fields there. `accepted` are the paths that changed. A draft with problems is not saved.
    """

    change: Change
    before: Mapping[str, Any] | None
    after: dict[str, Any]
    accepted: dict[str, object] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    outrun: list[tuple[Conflict, bool]] = field(default_factory=list)
    """as in `Merged`"""
    joined: set[str] = field(default_factory=set)
    """as in `Merged`"""
    problems: list[Problem] = field(default_factory=list)
    behind: bool = False
    unseen: dict[str, set[str]] = field(default_factory=dict)
    """of a deletion: others who wrote after its base → the paths they wrote"""
    replayed: bool = False
    """The record exists with equal content already: answered as the first time, written no more."""
    part: Copy | None = None
    """of a deletion: the record, which is gone with another one and would come back with it"""

    @property
    def id(self) -> str:
        return self.change.id

    @property
    def alive(self) -> bool:
        return not self.problems and not self.replayed

    @property
    def deleting(self) -> bool:
        return self.change.intent is Intent.DELETE

    def refuse(self, code: Code, *path: str, allowed: Sequence[str] = (), **params: str | int) -> None:
        self.problems.append(Problem(code, path, tuple(allowed), params))

    def outcome(self) -> Outcome:
        if self.problems:
            return Outcome(self.id, Status.REFUSED, tuple(self.problems))
        if self.conflicts:
            return Outcome(self.id, Status.CONFLICT, conflicts=tuple(self.conflicts))
        return Outcome(self.id, Status.MERGED if self.behind else Status.APPLIED)


async def open_drafts(
    work: Work, name: str, changes: Sequence[Change], *, shape_of: Callable[[Change], Shape] | None = None
) -> list[Draft]:
    """One draft per change, in order; ids within a batch are distinct.

    `shape_of` gives the shape a change is read by, where that depends on who sends it.

    Rows outside the caller's scope are not found. Creating an id that exists is a replay when its content is
    equal and ID_TAKEN otherwise.
    """
    collection = COLLECTIONS[name]
    ids = sorted({change.id for change in changes if is_id(change.id)})
    rows = await load_records(work, collection, ids)
    existing = {change.id for change in changes if change.intent is Intent.CREATE} - rows.keys()
    taken = await _taken(work, collection, sorted(existing))
    stored, clock = await read_stored_and_clock(work.conn, name, ids)
    going = [c.id for c in changes if c.intent is Intent.DELETE and c.id not in rows and c.id in stored]
    parts, unkept = await gone_parts(work.conn, work.principal, name, going, whoever=work.door is Door.JOB)
    if unkept:
        # while we waited for whoever had them, they may have come back
        rows |= await load_records(work, collection, unkept)
        stored |= await read_stored(work.conn, name, unkept)
    custom = await custom_fields_of(work.conn, name) if CUSTOM in collection.columns else []
    drafts = []
    for sent in changes:
        change = _as_of_this_epoch(sent, stored.get(sent.id, NEVER_STORED))
        if not is_id(change.id):
            drafts.append(Draft(change, None, {}, problems=[Problem(Code.INVALID_VALUE, ("id",), ("UUID",))]))
            continue
        row = rows.get(change.id)
        shape = shape_of(change) if shape_of else collection.shape
        if custom:
            shape = with_custom(shape, custom, at_ms=_asked_at(work, change))
        if change.intent is Intent.CREATE:
            drafts.append(_create(collection, shape, change, row, change.id in taken))
        elif row is None:
            gone = change.id in stored and stored[change.id].deleted
            drafts.append(_missing(change, gone, parts.get(change.id)))
        elif change.intent is Intent.DELETE:
            known = stored[change.id].field_seq if change.id in stored else {}
            drafts.append(_delete_draft(collection, change, row, known, work.writer))
        else:
            drafts.append(
                _patch(collection, shape, change, row, stored.get(change.id, NEVER_STORED), work.writer, clock)
            )
    return drafts


def _asked_at(work: Work, change: Change) -> int | None:
    """As of when required custom fields are: what a file or a rule brings in was filled in by nobody."""
    if work.door in (Door.IMPORT, Door.JOB):
        return None
    return work.now_ms if change.captured_at_ms is None else change.captured_at_ms


def _as_of_this_epoch(change: Change, stored: Stored) -> Change:
    """A restore takes records back that devices then make again: who saw one before saw it as it was made."""
    base = change.base_rev or 0
    if base >= EPOCH_STEP and base // EPOCH_STEP < stored.made_seq // EPOCH_STEP:
        return replace(change, base_rev=stored.made_seq)
    return change


async def load_records(
    work: Work, collection: Collection, ids: Sequence[str], *, lock: bool = True
) -> dict[str, dict[str, Any]]:
    """Whole records by id in stored form, those the principal sees; locked against other writers."""
    if not ids:
        return {}
    visible, args = visible_to(work.principal, collection.name, "t", record_column=collection.record_column)
    columns = ", ".join(f't."{column}"' for column in collection.columns.values())
    rows = await work.conn.fetch(
        f"SELECT t.{collection.record_column}, {columns} FROM {collection.table} t"
        f" WHERE t.{collection.record_column} = ANY(?) AND {visible}"
        f" ORDER BY t.{collection.record_column}{' FOR UPDATE OF t' if lock else ''}",
        list(ids),
        *args,
    )
    kept = _kept_otherwise(collection.own_fields)
    found = {row[0]: _stored_record(collection.own_names, row, kept) for row in rows}
    for child in collection.children:
        for record in found.values():
            record[child.name] = []
        kept = _kept_otherwise(child.fields)
        for row in await work.conn.fetch(child.select_sql, list(found)):
            found[row[0]][child.name].append(_stored_record(child.names, row, kept))
    return found


def _kept_otherwise(fields: Sequence[Field]) -> list[Field]:
    """The fields whose column holds something else than their value."""
    return [one for one in fields if one.record is not None or one.kind is Kind.BOOL or one.kind in JSON_KINDS]


def _stored_record(names: Sequence[str], row: Sequence[Any], kept: Sequence[Field]) -> dict[str, Any]:
    record = dict(zip(names, row[1:], strict=True))
    for declared in kept:
        if record[declared.name] is not None:
            record[declared.name] = _python_value(declared, record[declared.name])
    return record


def _python_value(declared: Field, value: Any) -> Any:
    if declared.record is not None:
        return records_stored(declared.record, orjson.loads(value))
    if declared.kind in JSON_KINDS:
        return orjson.loads(value)
    return bool(value) if declared.kind is Kind.BOOL else value


def _column_value(declared: Field | None, value: Any) -> Any:
    if value is None or declared is None:
        return value
    if declared.record is not None:
        return canonical(records_shown(declared.record, value)).decode()
    return canonical(value).decode() if declared.kind in JSON_KINDS else value


async def _taken(work: Work, collection: Collection, ids: Sequence[str]) -> set[str]:
    """Ids that exist where the caller cannot see them, or once existed. This one answer may tell so."""
    if not ids:
        return set()
    column = collection.record_column
    rows = await work.conn.fetch(
        f"SELECT {column} FROM {collection.table} WHERE {column} = ANY(?)"
        " UNION SELECT record_id FROM feed WHERE key = ANY(?)",
        list(ids),
        [f"{name}:{record_id}" for name in COLLECTIONS for record_id in ids],
    )
    return {row[0] for row in rows}


def _create(collection: Collection, shape: Shape, change: Change, row: Mapping[str, Any] | None, taken: bool) -> Draft:
    clean, problems = validate(shape, {**change.fields, "id": change.id}, creating=True)
    wanted = with_defaults(collection.shape, clean)
    if row is not None:
        draft = Draft(change, row, dict(row), problems=problems)
        standing = field_paths(collection.shape, row)
        sent = field_paths(collection.shape, clean)
        same = (
            standing.get(path) == value or path.rpartition(".")[2] in collection.reset for path, value in sent.items()
        )
        if not problems and all(same):
            draft.replayed = True
        elif not problems:
            draft.refuse(Code.ID_TAKEN, "id")
        return draft
    if taken:
        problems.append(Problem(Code.ID_TAKEN, ("id",)))
    after = {**collection.shape.first_server_values, **wanted, "id": change.id}
    draft = Draft(change, None, after, problems=problems)
    draft.accepted = field_paths(collection.shape, clean)
    return draft


def _delete_draft(
    collection: Collection,
    change: Change,
    row: Mapping[str, Any],
    field_seq: Mapping[str, tuple[int, str]],
    writer: str,
) -> Draft:
    """Against what somebody else wrote after its base, a deletion wins only where the collection says so."""
    draft = Draft(change, row, dict(row))
    base = change.base_rev
    for path, (seq, by) in field_seq.items():
        if base is not None and seq > base and by != writer:
            draft.unseen.setdefault(by, set()).add(path)
    draft.behind = bool(draft.unseen)
    if draft.behind and not collection.deletion_wins:
        draft.refuse(Code.CONFLICT, "id")
    return draft


def _missing(change: Change, gone: bool, part: Copy | None) -> Draft:
    draft = Draft(change, None, {}, part=part)
    if gone and change.intent is Intent.DELETE:
        draft.replayed = True
    else:
        draft.refuse(Code.DELETED if gone else Code.NOT_FOUND, "id")
    return draft


def _patch(
    collection: Collection,
    shape: Shape,
    change: Change,
    row: Mapping[str, Any],
    stored: Stored,
    writer: str,
    clock: int,
) -> Draft:
    clean, problems = validate(shape, change.fields, creating=False)
    draft = Draft(change, row, dict(row), problems=problems)
    if change.base_rev is None:
        draft.refuse(Code.REQUIRED, "baseRev", allowed=("baseRev",))
    elif not _could_be_seen(change.base_rev, stored, clock, change.by_alias):
        draft.refuse(Code.OUT_OF_RANGE, "baseRev", allowed=(str(stored.made_seq), str(clock)))
    if draft.problems:
        return draft
    merged = merge_change(
        collection.shape,
        row,
        clean,
        field_seq=stored.field_seq,
        base_rev=change.base_rev or 0,
        writer=writer,
        captured=stored.captured,
        captured_at_ms=change.captured_at_ms,
        shown=change.base,
    )
    draft.accepted, draft.conflicts, draft.behind = merged.accepted, merged.conflicts, merged.behind
    draft.outrun, draft.joined = merged.outrun, merged.joined
    draft.after = with_paths(collection.shape, row, merged.accepted)
    draft.problems += whole_problems(collection.shape, draft.after)
    return draft


def _could_be_seen(base_rev: int, stored: Stored, clock: int, by_alias: bool) -> bool:
    """A revision is one between the record's making and now; 0 stands for a record made here and not answered yet.

    One from the future would win against everything in silence, one from before the record against nothing.
    """
    return base_rev == 0 or ((by_alias or stored.made_seq <= base_rev) and base_rev <= clock)


async def save_drafts(work: Work, name: str, drafts: Sequence[Draft]) -> list[Outcome]:
    """Write what the rules let through, note it, and keep every value that did not win."""
    collection = COLLECTIONS[name]
    alive = [draft for draft in drafts if draft.alive]
    if work.principal.formerly is not None:
        _mark_late(work, collection, alive)
    await _keep_deleted(work, collection, [draft for draft in alive if draft.deleting])
    await _delete(work, collection, [draft for draft in alive if draft.deleting])
    await _insert(work, collection, [draft for draft in alive if draft.before is None])
    await _update(work, collection, [d for d in alive if d.before is not None and not d.deleting])
    if name == ORDERS:
        for draft in alive:
            work.purchases.changed(draft.before, None if draft.deleting else draft.after)
    await _keep_lost(work, collection, [draft for draft in alive if draft.conflicts or draft.outrun])
    await _keep_away(work, collection, [draft for draft in drafts if draft.part is not None and not draft.problems])
    return [draft.outcome() for draft in drafts]


def _mark_late(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    """Taken from a former holder: whoever holds the record now sees since when it has this."""
    for draft in drafts:
        if ACCEPTED_LATE in collection.columns and not draft.deleting:
            draft.after[ACCEPTED_LATE] = work.now_ms
        _tell(work, AuditAction.GRACE, collection, draft)


async def _delete(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    ids = [draft.id for draft in drafts]
    if work.keeps_deleted:
        await keep_deleted(work.conn, collection.name, ids, at_ms=work.now_ms, by=work.principal.actor)
    for table, column in [*((c.table, c.parent) for c in collection.children), (collection.table, "id")]:
        if ids:
            await work.conn.execute(f"DELETE FROM {table} WHERE {column} = ANY(?)", ids)
    for draft in drafts:
        work.deleted(collection.name, draft.id)
        _tell(work, AuditAction.DELETE, collection, draft)


async def _keep_away(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    """What somebody deletes that went with another record already does not come back with that."""
    await keep_away(work.conn, [key_of(collection.name, draft.id) for draft in drafts])
    for draft in drafts:
        _tell(work, AuditAction.DELETE, collection, draft)


async def _insert(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    if not drafts:
        return
    named = set().union(*(draft.after for draft in drafts))
    extra = sorted(named - set(collection.columns) - {child.name for child in collection.children})
    names = [*collection.columns, *extra]
    columns = [*collection.columns.values(), *(column_of(name) for name in extra)]
    kept = {names.index(declared.name): declared for declared in _kept_otherwise(collection.own_fields)}
    rows = [[draft.after.get(name) for name in names] for draft in drafts]
    for row in rows:
        for at, declared in kept.items():
            row[at] = _column_value(declared, row[at])
    await work.conn.execute_many(
        f"INSERT INTO {collection.table} ({_listed(columns)}) VALUES ({_marks(columns)})", rows
    )
    for child in collection.children:
        await _save_children(work, child, drafts)
    for draft in drafts:
        work.touched(collection.name, draft.id)
        # an import is told by its batch, not by a copy of all it brought
        values = () if work.door is Door.IMPORT else first_values(collection.shape, draft.after, draft.accepted)
        _tell(work, AuditAction.CREATE, collection, draft, values)


async def _save_children(work: Work, child: Child, drafts: Sequence[Draft]) -> None:
    """The rows of a list as they are to be; one that stays is changed where it lies, so that a column this process
    does not know, because a later version added it, keeps its value."""
    gone: list[str] = []
    standing: list[list[object]] = []
    new: list[list[object]] = []
    for draft in drafts:
        held = {str(record["id"]) for record in (draft.before or {}).get(child.name) or []}
        for position, record in enumerate(draft.after.get(child.name) or []):
            values = [_column_value(declared, record.get(declared.name)) for declared in child.fields]
            if str(record["id"]) in held:
                held.remove(str(record["id"]))
                standing.append([position, *values, record["id"], draft.id])
            else:
                new.append([draft.id, position, *values])
        gone += sorted(held)
    if gone:
        await work.conn.execute(
            f"DELETE FROM {child.table} WHERE id = ANY(?) AND {child.parent} = ANY(?)",
            gone,
            [draft.id for draft in drafts],
        )
    columns = ["position", *child.columns.values()]
    assignments = ", ".join(f'"{column}" = ?' for column in columns)
    await work.conn.execute_many(
        f"UPDATE {child.table} SET {assignments} WHERE id = ? AND {child.parent} = ?", standing
    )
    columns = [child.parent, *columns]
    await work.conn.execute_many(f"INSERT INTO {child.table} ({_listed(columns)}) VALUES ({_marks(columns)})", new)


async def _update(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    """Rows that change the same columns go in one statement."""
    fields = {declared.name: declared for declared in collection.own_fields}
    children = {child.name for child in collection.children}
    placed_by, stays = place_columns(collection.name), set[str]()
    written: dict[str, list[str]] = {}
    by_names: dict[tuple[str, ...], list[Draft]] = defaultdict(list)
    for draft in drafts:
        before = draft.before or {}
        named = written[draft.id] = [
            name for name, value in draft.after.items() if (stood := before.get(name)) is not value and stood != value
        ]
        by_names[tuple(name for name in named if name not in children)].append(draft)
    for names, group in by_names.items():
        columns = [collection.columns.get(name, column_of(name)) for name in names]
        if placed_by is not None and placed_by.isdisjoint(columns):
            stays.update(draft.id for draft in group)
        if names:
            assignments = ", ".join(f'"{column}" = ?' for column in columns)
            await work.conn.execute_many(
                f"UPDATE {collection.table} SET {assignments} WHERE {collection.record_column} = ?",
                [[*(_column_value(fields.get(n), draft.after[n]) for n in names), draft.id] for draft in group],
            )
    for child in collection.children:
        changed = [d for d in drafts if d.before is not None and d.after[child.name] != d.before[child.name]]
        await _save_children(work, child, changed)
    for draft in drafts:
        captured = _captures(work, collection, draft)
        work.touched(collection.name, draft.id, draft.accepted, captured, draft.joined, stays=draft.id in stays)
        if draft.accepted:
            _tell(
                work,
                AuditAction.UPDATE,
                collection,
                draft,
                changes_between(collection.shape, draft.before, draft.after, among=written[draft.id]),
            )


def _tell(
    work: Work, action: AuditAction, collection: Collection, draft: Draft, changes: Sequence[FieldChange] = ()
) -> None:
    work.audit(
        action,
        collection.name,
        draft.id,
        {path.partition(".")[0] for path in draft.accepted} if action is AuditAction.UPDATE else (),
        changes=changes,
        captured_at_ms=draft.change.captured_at_ms,
        cause_id=draft.change.mutation_id,
    )


def _captures(work: Work, collection: Collection, draft: Draft) -> dict[str, int]:
    """When the values were captured whose later capture wins."""
    at_ms = draft.change.captured_at_ms or work.now_ms
    return {path: at_ms for path in draft.accepted if policy_of(collection.shape, path) is Merge.LAST_WRITER}


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _marks(columns: Sequence[str]) -> str:
    return ", ".join("?" for _ in columns)


async def _keep_lost(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    """One sync issue for each value that lost, whoever entered it."""
    kept: list[Kept] = []
    for draft in drafts:
        kept += [_lost(draft, collection, conflict) for conflict in draft.conflicts]
        kept += [await _outrun(work, draft, collection, *lost) for lost in draft.outrun]
    if work.principal.formerly is not None:
        # who may not read the record any more is told that his value lost, and not what stands
        kept = [
            replace(one, theirs=None, writer=None, theirs_rev=None) if one.author_id is None else one for one in kept
        ]
    with work.acting_as(replace(work.principal, formerly=None)):
        await keep_issues(work, [lost_value(collection.shape, one) for one in kept if one.author_id != NOBODY])


def _lost(draft: Draft, collection: Collection, conflict: Conflict) -> Kept:
    return Kept(
        collection.name,
        draft.id,
        Code.CONFLICT.value,
        path=conflict.path,
        base=base_at(collection.shape, draft.change.base, conflict.path),
        mine=conflict.mine,
        theirs=conflict.theirs,
        writer=conflict.theirs_by,
        theirs_rev=conflict.theirs_seq,
        mutation_id=draft.change.mutation_id,
        captured_at_ms=draft.change.captured_at_ms,
        ways_out=CONFLICT_WAYS,
        intent=draft.change.intent.value,
        base_rev=draft.change.base_rev,
    )


async def _outrun(work: Work, draft: Draft, collection: Collection, conflict: Conflict, was_mine: bool) -> Kept:
    """A later capture stands. Nobody has to decide; the value that lost is kept for whoever had entered it."""
    kept = replace(_lost(draft, collection, conflict), ways_out=(), resolution=Resolution.LATER_CAPTURE)
    if was_mine:
        return kept
    author = (await people_of(work.conn, {conflict.theirs_by}))[conflict.theirs_by]
    return replace(
        kept,
        mine=conflict.theirs,
        theirs=conflict.mine,
        base=None,
        writer=work.writer,
        theirs_rev=None,
        # the mutation at hand is the one that won, and another's
        mutation_id=None,
        author_id=author.id if author.name else NOBODY,
        captured_at_ms=None,
    )


async def _keep_deleted(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    """What others had entered in a record that a deletion takes which had not seen it."""
    unseen = [draft for draft in drafts if draft.behind and draft.unseen]
    writers = await people_of(work.conn, {writer for draft in unseen for writer in draft.unseen})
    kept = []
    for draft in unseen:
        paths = field_paths(collection.shape, {n: v for n, v in (draft.before or {}).items() if v is not None})
        for writer, wrote in sorted(draft.unseen.items()):
            mine = {
                path: shown_value(collection.shape, path, value)
                for path, value in paths.items()
                if path in wrote or WHOLE in wrote
            }
            kept.append(
                Kept(
                    collection.name,
                    draft.id,
                    Code.DELETED.value,
                    mine=mine,
                    writer=work.writer,
                    author_id=writers[writer].id if writers[writer].name else NOBODY,
                    ways_out=(WayOut.ACCEPT.value,),
                    problems=(Problem(Code.DELETED),),
                )
            )
    await keep_issues(work, [one for one in kept if one.author_id != NOBODY])
