"""RxDB's push: rows of what a device assumed and what it holds now, made into changes like any other.

A row becomes the difference between the two states, based on the `rev` its documents carry, and goes through the
use cases. What is answered is what the client must take instead of its own: the record as it stands, whole, or its
removal. Nothing said means that the row stands as sent, or that the record was written and will be pulled as it is.

A refusal can never be told as an error, which that client would repeat for ever: the record as it stands is the
answer, and the reason is kept as a sync issue, once for each row however often it comes. Only a row that names a
record still on its way is asked for again, for a while: collections are pushed side by side.
"""

import hashlib
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.domain.fields import Field, Kind, Shape
from backend.errors import Code, Problem, Refused
from backend.ids import is_id
from backend.storage.deleted import gone_with_others
from backend.storage.engine import Connection, Engine
from backend.storage.visibility import visible_to
from backend.sync.changes import Status
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.devices import lock_pushing_device
from backend.sync.documents import read_documents
from backend.sync.feed import read_stored
from backend.sync.places import Row, rows_of
from backend.sync.protocol import check_syncing
from backend.sync.push import Answer, Mutation, UseCaseTable, take
from backend.sync.rxdb import DAY_MS, Removed
from backend.sync.work import Door, Work, in_work

REV = "rev"
DELETED = "_deleted"
WAITED_DAYS_MAX = 30
NAMED = {"customerId": "customers", "parentId": "customers", "contactId": "contacts"}
"""Fields of a new record that may name one which another push still brings."""
SETTLED_AGAINST = frozenset({Status.REFUSED, Status.DEPENDENCY_FAILED, Status.CONFLICT})


@dataclass(frozen=True, slots=True)
class PushRow:
    """One row as it came: what the device took to be true, if anything, and what it holds now."""

    assumed: object
    new: object


@dataclass(slots=True)
class _Sent:
    """A row that is read: its difference as a mutation, or none where there is nothing to write."""

    record_id: object
    new: Mapping[str, object]
    deleted: bool
    mutation: Mutation | None
    waits: bool = False


@dataclass(slots=True)
class _Taken:
    sent: list[_Sent] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        return any(sent.waits for sent in self.sent)


async def answer_push(
    engine: Engine,
    principal: Principal,
    name: str,
    rows: Sequence[PushRow],
    table: UseCaseTable,
    *,
    rows_max: int,
    wait_ms: int,
    echo_ms: int,
    retries_max: int,
    clock: Clock,
) -> list[Row | Removed]:
    """What the device must take instead of what it sent, in the order of the rows; all else stands.

    Raises `Refused` only with what may pass later: BUSY where a row names a record not yet here (the others are
    written all the same), and TOO_MANY for more rows than `rows_max`, of which nothing is written.
    """
    check_syncing(principal)
    if len(rows) > rows_max:
        raise Refused(Problem(Code.TOO_MANY, (f"{name}PushRow",), (str(rows_max),)))

    async def story(work: Work) -> _Taken:
        return await _take_rows(work, COLLECTIONS[name], rows, table, wait_ms=wait_ms, echo_ms=echo_ms)

    taken, work = await in_work(engine, principal, story, clock=clock, retries_max=retries_max, door=Door.RXDB)
    if taken.waits:
        raise Refused(Problem(Code.BUSY, (f"{name}PushRow",)))
    async with engine.read() as conn:
        ids = [sent.record_id for sent in taken.sent if is_id(sent.record_id)]
        masters = await masters_of(conn, principal, COLLECTIONS[name], [str(record_id) for record_id in ids])
    told: dict[str, Row | Removed] = {}
    for sent in taken.sent:
        if isinstance(sent.record_id, str):
            told.pop(sent.record_id, None)
            instead = _instead(COLLECTIONS[name], sent, taken.answers, masters.get(sent.record_id), work.seq)
            if instead is not None:
                told[sent.record_id] = instead
    return list(told.values())


async def masters_of(
    conn: Connection, principal: Principal, collection: Collection, ids: Sequence[str]
) -> dict[str, Row]:
    """The records as they stand for the principal now; none of what he does not see."""
    if not ids:
        return {}
    column = collection.record_column
    visible, args = visible_to(principal, collection.name, "t", record_column=column)
    rows = await conn.fetch(
        f"SELECT t.{column} FROM {collection.table} t WHERE t.{column} = ANY(?) AND {visible}", list(ids), *args
    )
    found = await rows_of(conn, [f"{collection.name}:{row[0]}" for row in rows])
    return {record_id: row for (_, record_id), row in found.items()}


async def _take_rows(
    work: Work,
    collection: Collection,
    rows: Sequence[PushRow],
    table: UseCaseTable,
    *,
    wait_ms: int,
    echo_ms: int,
) -> _Taken:
    device = await lock_pushing_device(work)  # pushes of one device come side by side and take turns
    late = device.problem_of(None)
    ids = {row.new.get("id") for row in rows if isinstance(row.new, Mapping) and is_id(row.new.get("id"))}
    held = await masters_of(work.conn, work.principal, collection, sorted(str(record_id) for record_id in ids))
    standing = {record_id: orjson.loads(row.document) for record_id, row in held.items()}
    stored = await read_stored(work.conn, collection.name, sorted(str(record_id) for record_id in ids - held.keys()))
    gone = {record_id for record_id, found in stored.items() if found.deleted}
    back = await _bring_back(work, collection, rows, gone, table, late)
    standing |= back.standing
    gone -= back.standing.keys()
    parts = await gone_with_others(work.conn, collection.name, sorted(gone)) if gone else set()
    by_mutation: dict[str, _Sent] = {}
    taken = _Taken()
    for row in rows:
        if isinstance(row.new, Mapping) and is_id(row.new.get("id")) and row.new["id"] in back.refused:
            taken.sent.append(_Sent(row.new["id"], row.new, row.new.get(DELETED) is True, None))
            continue
        sent = _read(work, collection, row, standing, gone, parts)
        if late is not None and sent.mutation is not None:
            sent.mutation = replace(sent.mutation, problems=(*sent.mutation.problems, late))
        taken.sent.append(sent)
        if sent.mutation is not None:
            by_mutation.setdefault(sent.mutation.id, sent)
    await _hold_back(work, collection, list(by_mutation.values()), wait_ms)
    mutations = [sent.mutation for sent in by_mutation.values() if sent.mutation and not sent.waits]
    kept_before = await _issues_of(work, mutations)
    for mutation, answer in zip(mutations, await take(work, mutations, table), strict=True):
        taken.answers[mutation.id] = answer
    await _forget_repeated(work, kept_before)
    await _note_pushed(work, collection, [str(record_id) for record_id in ids], mutations, echo_ms)
    return taken


@dataclass(slots=True)
class _Back:
    """Records a device had seen deleted and holds again: as they stand now, and those that stay deleted."""

    standing: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)


async def _bring_back(
    work: Work,
    collection: Collection,
    rows: Sequence[PushRow],
    gone: Container[str],
    table: UseCaseTable,
    late: Problem | None,
) -> _Back:
    """`_deleted: false` where the device knew of the deletion brings the record back as it was; what else differs in
    the row is then a change like any other. A new record that happens to be gone is none of these: it was sent before
    its device could know."""
    wanted: dict[str, Mutation] = {}
    for row in rows:
        if not isinstance(row.new, Mapping) or not isinstance(row.assumed, Mapping):
            continue
        record_id = row.new.get("id")
        knew, lives = row.assumed.get(DELETED) is True, row.new.get(DELETED) in (None, False)
        if knew and lives and isinstance(record_id, str) and record_id in gone:
            restore_id = _id_of(work, collection, PushRow(row.assumed, {"id": record_id, "restore": True}))
            problems = () if late is None else (late,)
            wanted[record_id] = Mutation(
                restore_id, 0, collection.name, record_id, None, {}, restore=True, problems=problems
            )
    if not wanted:
        return _Back()
    mutations = list(wanted.values())
    kept_before = await _issues_of(work, mutations)
    answers = await take(work, mutations, table)
    await _forget_repeated(work, kept_before)
    back = _Back(refused={m.record_id for m, a in zip(mutations, answers, strict=True) if a.status is Status.REFUSED})
    documents = await read_documents(work.conn, collection, [one for one in wanted if one not in back.refused])
    back.standing = {record_id: orjson.loads(document) for record_id, document in documents.items()}
    return back


def _read(
    work: Work,
    collection: Collection,
    row: PushRow,
    standing: Mapping[str, Mapping[str, Any]],
    gone: Container[str],
    parts: Container[str],
) -> _Sent:
    mutation_id = _id_of(work, collection, row)
    if not isinstance(row.new, Mapping):
        problem = Problem(Code.INVALID_VALUE, ("newDocumentState",), ("map",))
        return _Sent(None, {}, False, _faulty(mutation_id, collection, "", {"newDocumentState": row.new}, problem))
    record_id, deleted = row.new.get("id"), row.new.get(DELETED) is True
    if not is_id(record_id):
        problem = Problem(Code.INVALID_VALUE, ("id",), ("UUID",))
        return _Sent(record_id, row.new, deleted, _faulty(mutation_id, collection, "", row.new, problem))
    if row.assumed is not None and not isinstance(row.assumed, Mapping):
        problem = Problem(Code.INVALID_VALUE, ("assumedMasterState",), ("map",))
        return _Sent(record_id, row.new, deleted, _faulty(mutation_id, collection, str(record_id), row.new, problem))
    if row.new.get(DELETED) not in (None, True, False):
        problem = Problem(Code.INVALID_VALUE, (DELETED,), ("true", "false"))
        return _Sent(record_id, row.new, False, _faulty(mutation_id, collection, str(record_id), row.new, problem))
    assumed = None if row.assumed is None or row.assumed.get(DELETED) is True else row.assumed
    if deleted and record_id in gone:
        # what went with another record stays away from now on; what went by itself is done already
        again = Mutation(mutation_id, 0, collection.name, str(record_id), None, {}, delete=True, base=assumed)
        return _Sent(record_id, row.new, deleted, again if record_id in parts else None)
    mutation = _mutation(mutation_id, collection, str(record_id), assumed, row.new, deleted, standing)
    return _Sent(record_id, row.new, deleted, mutation)


def _id_of(work: Work, collection: Collection, row: PushRow) -> str:
    """The same for the same row of the same device, so that what it left behind is known when it comes again."""
    body = json.dumps([work.principal.device_id, collection.name, row.assumed, row.new], sort_keys=True)
    digits = hashlib.sha256(body.encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


def _faulty(
    mutation_id: str, collection: Collection, record_id: str, fields: Mapping[str, object], *problems: Problem
) -> Mutation:
    return Mutation(mutation_id, 0, collection.name, record_id, None, fields, problems=problems)


def _mutation(
    mutation_id: str,
    collection: Collection,
    record_id: str,
    assumed: Mapping[str, object] | None,
    new: Mapping[str, object],
    deleted: bool,
    standing: Mapping[str, Mapping[str, Any]],
) -> Mutation | None:
    """What a row asks for; None where there is nothing to do."""
    current = standing.get(record_id)
    rev = None if assumed is None else assumed.get(REV)
    if rev is not None and (type(rev) is not int or rev < 0):
        fields = {name: value for name, value in new.items() if name != "id"}
        return _faulty(mutation_id, collection, record_id, fields, Problem(Code.INVALID_VALUE, (REV,), ("integer",)))
    if deleted:
        if current is None and assumed is None:
            return None  # made and taken away before anybody heard of it
        base = None if assumed is None else rev or 0
        return Mutation(mutation_id, 0, collection.name, record_id, base, {}, delete=True, base=assumed)
    if assumed is None and current is None:
        return Mutation(mutation_id, 0, collection.name, record_id, None, _whole(collection, new))
    if assumed is None:
        # made here, answered, and the answer lost: what it holds beyond what stands is added, nothing taken away
        fields = changes_of(collection, current or {}, new, adding=True)
        base_rev = 0
    else:
        fields, base_rev = changes_of(collection, assumed, new), rev or 0
    if not fields:
        return None
    return Mutation(mutation_id, 0, collection.name, record_id, base_rev, fields, base=assumed)


def changes_of(
    collection: Collection, before: Mapping[str, object], after: Mapping[str, object], *, adding: bool = False
) -> dict[str, object]:
    """The difference as a change says it: of maps the keys, of lines what differs in each, by id.

    What only the server writes is no difference. `adding`: what is absent or empty in `after` is left alone.
    """
    found: dict[str, object] = {}
    for name in _client_names(collection, {**before, **after}):
        old, new = before.get(name), after.get(name)
        if adding and new is None:
            continue
        change = _difference(collection, collection.shape.field(name), old, new, adding)
        if change is not _SAME:
            found[name] = change
    return found


_SAME = object()


def _client_names(collection: Collection, state: Mapping[str, object]) -> Iterable[str]:
    """The fields of a state that are a client's to write, and those nobody knows, which are refused by name."""
    for name in state:
        declared = collection.shape.field(name)
        if name in ("id", REV) or name.startswith("_") or (declared is not None and declared.server_only):
            continue
        yield name


def _difference(collection: Collection, declared: Field | None, old: object, new: object, adding: bool) -> object:
    if old == new and type(old) is type(new):
        return _SAME
    if declared is None:
        return new
    if declared.kind in (Kind.MAP, Kind.CELLS) and _is_map(old) and _is_map(new):
        return _keys_changed(declared, old or {}, new or {}, adding)  # type: ignore[arg-type]
    if declared.kind is Kind.SET and _is_list(old) and _is_list(new):
        same = _members(old) == _members(new)
        return _SAME if same else new if new is not None else []
    if declared.record is not None and _is_records(declared.record, old) and _is_records(declared.record, new):
        return _records_changed(collection, declared, old or [], new or [], adding)  # type: ignore[arg-type]
    return new


def _is_map(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def _is_list(value: object) -> bool:
    return value is None or isinstance(value, list)


def _members(value: object) -> list[str]:
    return sorted({json.dumps(member, sort_keys=True) for member in value}) if isinstance(value, list) else []


def _is_records(shape: Shape, value: object) -> bool:
    """A list of maps, told apart by their keys where they have one."""
    if value is None:
        return True
    if not isinstance(value, list) or not all(isinstance(record, Mapping) for record in value):
        return False
    keys = [record.get(shape.key) for record in value] if shape.key else []
    return all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys)


def _keys_changed(declared: Field, old: Mapping[str, object], new: Mapping[str, object], adding: bool) -> object:
    gone = 0 if declared.kind is Kind.CELLS else None
    found = {key: value for key, value in new.items() if key not in old or old[key] != value}
    if not adding:
        found |= {key: gone for key in old if key not in new}
    return found or _SAME


def _records_changed(collection: Collection, declared: Field, old: list[Any], new: list[Any], adding: bool) -> object:
    shape = declared.record
    assert shape is not None
    if not shape.key:
        added = [record for record in new if record not in old]
        return added or _SAME
    held = {record[shape.key]: record for record in old}
    found: list[dict[str, object]] = []
    for record in new:
        before = held.pop(record[shape.key], None)
        changed: dict[str, object] = {}
        for name in _line_names(collection, declared, {**(before or {}), **record}):
            value = record.get(name)
            if before is None:
                difference = _SAME if value is None else value
            elif adding and value is None:
                difference = _SAME
            else:
                difference = _difference(collection, shape.field(name), before.get(name), value, adding)
            if difference is not _SAME:
                changed[name] = difference
        if changed or before is None:
            found.append({shape.key: record[shape.key], **changed})
    if not adding:
        found += [{shape.key: key, "removed": True} for key in held]
    return found or _SAME


def _line_names(collection: Collection, declared: Field, record: Mapping[str, object]) -> Iterable[str]:
    """The fields of a record inside a field that are a client's to write, and those nobody knows."""
    shape = declared.record
    stored = {
        inner.name for child in collection.children if child.name == declared.name for inner in child.fields
        if inner.server_only
    }  # fmt: skip
    for name in record:
        if shape is not None and name != shape.key and name not in stored:
            yield name


def _whole(collection: Collection, new: Mapping[str, object]) -> dict[str, object]:
    """A new record: what it holds; what is empty takes its default."""
    found: dict[str, object] = {}
    for name in _client_names(collection, new):
        value, declared = new[name], collection.shape.field(name)
        if value is None:
            continue
        if declared is not None and declared.record is not None and _is_records(declared.record, value):
            value = _records_changed(collection, declared, [], list(value), False)  # type: ignore[call-overload]
        if value is not _SAME:
            found[name] = value
    return found


def same_for_client(collection: Collection, master: Mapping[str, object], new: Mapping[str, object]) -> bool:
    """True when a record stands as a device holds it, in everything a client may write."""
    return not changes_of(collection, master, new)


def _instead(
    collection: Collection, sent: _Sent, answers: Mapping[str, Answer], master: Row | None, seq: int
) -> Row | Removed | None:
    """What the device must take instead of what it sent; None where its own stands, or is pulled as it is now."""
    if master is None:
        return None if sent.deleted else Removed(str(sent.record_id))
    answer = answers.get(sent.mutation.id) if sent.mutation else None
    if sent.deleted or (answer is not None and answer.status in SETTLED_AGAINST):
        return master
    if answer is not None and master.seq == seq:
        return None  # written now: whoever follows the feed is told of it
    return None if same_for_client(collection, orjson.loads(master.document), sent.new) else master


async def _hold_back(work: Work, collection: Collection, sent: Sequence[_Sent], wait_ms: int) -> None:
    """Mark the new records that name one not yet here, unless they have waited long enough or it was refused."""
    coming = {one.record_id for one in sent if isinstance(one.record_id, str)}
    named: dict[tuple[str, str], list[_Sent]] = {}
    for one in sent:
        mutation = one.mutation
        if mutation is None or mutation.delete or mutation.base_rev is not None or mutation.problems:
            continue
        for name, target in NAMED.items():
            value = mutation.fields.get(name)
            if is_id(value) and not (target == collection.name and value in coming):
                named.setdefault((target, str(value)), []).append(one)
    known = await _known(work, sorted(named))
    for key, waiting in named.items():
        if key not in known:
            for one in waiting:
                one.waits = True
    held = [one.mutation.id for one in sent if one.waits and one.mutation]
    if not held:
        return
    rows = await work.conn.fetch("SELECT mutation_id, first_at FROM rxdb_waiting WHERE mutation_id = ANY(?)", held)
    since = {row[0]: row[1] for row in rows}
    await work.conn.execute_many(
        "INSERT INTO rxdb_waiting (mutation_id, device_id, first_at) VALUES (?, ?, ?)",
        [(one, work.principal.device_id, work.now_ms) for one in held if one not in since],
    )
    for one in sent:
        if one.waits and one.mutation and work.now_ms - since.get(one.mutation.id, work.now_ms) >= wait_ms:
            one.waits = False


async def _known(work: Work, named: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that exist or once did, seen by the caller or not, and those a push of his was refused."""
    if not named:
        return set()
    rows = await work.conn.fetch(
        "SELECT collection, record_id FROM feed WHERE key = ANY(?)"
        " UNION SELECT collection, alias_id FROM record_alias WHERE alias_id = ANY(?)"
        " UNION SELECT collection, record_id FROM sync_issue WHERE record_id = ANY(?) AND user_id = ?",
        [f"{collection}:{record_id}" for collection, record_id in named],
        [record_id for _, record_id in named],
        [record_id for _, record_id in named],
        work.principal.holder,
    )
    return {(row[0], row[1]) for row in rows}


async def _issues_of(work: Work, mutations: Sequence[Mutation]) -> dict[str, set[str]]:
    """Mutation → the issues an earlier coming of the same row left."""
    found: dict[str, set[str]] = {}
    rows = await work.conn.fetch(
        "SELECT mutation_id, id FROM sync_issue WHERE mutation_id = ANY(?)", [mutation.id for mutation in mutations]
    )
    for mutation_id, issue_id in rows:
        found.setdefault(mutation_id, set()).add(issue_id)
    return found


async def _forget_repeated(work: Work, kept_before: Mapping[str, set[str]]) -> None:
    """A row that came before and was kept is not kept again; nobody ever saw what is taken back here."""
    if kept_before:
        await work.conn.execute(
            "DELETE FROM sync_issue WHERE mutation_id = ANY(?) AND NOT (id = ANY(?))",
            sorted(kept_before),
            sorted(issue_id for ids in kept_before.values() for issue_id in ids),
        )


async def _note_pushed(
    work: Work, collection: Collection, ids: Sequence[str], mutations: Sequence[Mutation], echo_ms: int
) -> None:
    """What the device may be waiting for, for some seconds; and what no longer waits."""
    device_id = work.principal.device_id
    await work.conn.execute("DELETE FROM rxdb_pushed WHERE device_id = ? AND at <= ?", device_id, work.now_ms - echo_ms)
    await work.conn.execute_many(
        "INSERT INTO rxdb_pushed (key, device_id, collection, record_id, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET at = excluded.at",
        [(f"{device_id}:{collection.name}:{one}", device_id, collection.name, one, work.now_ms) for one in sorted(ids)],
    )
    await work.conn.execute(
        "DELETE FROM rxdb_waiting WHERE mutation_id = ANY(?) OR (device_id = ? AND first_at < ?)",
        [mutation.id for mutation in mutations],
        device_id,
        work.now_ms - WAITED_DAYS_MAX * DAY_MS,
    )
