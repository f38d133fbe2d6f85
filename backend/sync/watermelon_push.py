"""WatermelonDB's push: everything an app changed since its last push, all of it or nothing.

A row becomes a mutation like any other device's and goes through `push.take`. Is one of them refused, or does a
column meet a newer value, nothing is written; what could not stand is kept as a sync issue all the same, once, and
the whole push is refused with what stood in its way. The client keeps its rows, pulls, settles them by its own rule
and pushes again; what has been taken meanwhile settles its issue.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.domain.deltas import NOTHING, nested_change
from backend.domain.fields import Field
from backend.domain.issues import IssueState, Resolution
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id
from backend.storage.deleted import gone_with_others
from backend.storage.engine import Engine
from backend.sync.changes import Intent, Status, load_records
from backend.sync.collections import COLLECTIONS
from backend.sync.cursor import expired
from backend.sync.devices import lock_pushing_device
from backend.sync.feed import Stored, read_clock, read_stored
from backend.sync.issues import ISSUES, close_issue, read_issue
from backend.sync.kept import sendable
from backend.sync.protocol import check_syncing
from backend.sync.push import Answer, Mutation, UseCaseTable, take
from backend.sync.watermelon import BASE, TABLES
from backend.sync.work import Door, Work, in_work

VERBS = ("created", "updated", "deleted")
OWN_COLUMNS = frozenset({"id", "_status", "_changed"})
"""What WatermelonDB keeps in a row for itself."""
PROBLEMS_MAX = 200
"""Problems named in an answer."""
TABLES_MAX = 200
STOPS = frozenset({Status.REFUSED, Status.CONFLICT, Status.DEPENDENCY_FAILED, Status.RETRY})

JsonRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Sent:
    """One row of a push. `raw` is empty for a deletion."""

    table: str
    verb: str
    id: str
    raw: JsonRow = field(default_factory=dict)

    @property
    def path(self) -> tuple[str, str, str]:
        return self.table, self.verb, sendable(self.id)

    @property
    def changed(self) -> tuple[str, ...]:
        """The columns the client changed; of a new row those that hold something."""
        if self.verb == "created":
            return tuple(name for name, value in self.raw.items() if value is not None and name not in OWN_COLUMNS)
        return tuple(name for name in str(self.raw.get("_changed", "")).split(",") if name)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A sync issue as its table holds it. `told`: mutation, code, field and what stood there."""

    id: str
    told: tuple[Any, ...]
    row: tuple[Any, ...]


class _Stopped(Exception):
    """Takes the savepoint of a push back; carries why, and the issues that were kept in it."""

    def __init__(self, problems: Sequence[Problem], issues: Sequence[_Kept]) -> None:
        super().__init__()
        self.problems = problems
        self.issues = issues


async def answer_watermelon_push(
    engine: Engine,
    principal: Principal,
    changes: object,
    last_pulled_at: float,
    table: UseCaseTable,
    *,
    rows_max: int,
    retries_max: int,
    clock: Clock,
) -> int:
    """Take what an app changed; the clock after it.

    Raises `Refused` with a path (table, verb, id, column) for each row that stood in the way: CONFLICT where somebody
    else changed the same column since `last_pulled_at`, else the refusal's own. Besides: CURSOR_EXPIRED, TOO_MANY
    above `rows_max` rows, what is wrong with the form of `changes`, NOT_PERMITTED, and what the device's state does
    not allow.
    """
    check_syncing(principal)
    rows = rows_sent(changes, table, rows_max=rows_max)
    problems, work = await in_work(
        engine,
        principal,
        lambda work: _push(work, rows, last_pulled_at, table),
        clock=clock,
        retries_max=retries_max,
        door=Door.WATERMELON,
    )
    refuse_if(problems[:PROBLEMS_MAX])
    return work.seq


async def _push(work: Work, rows: Sequence[_Sent], last_pulled_at: float, table: UseCaseTable) -> Sequence[Problem]:
    """Why nothing was written; empty when everything was."""
    device = await lock_pushing_device(work)
    now, _ = await read_clock(work.conn)
    base_rev = _pushed_at(last_pulled_at, now)
    # a client of this kind does not say when something was captured
    drained = device.problem_of(None)
    try:
        async with work.part():
            await _take_all(work, rows, base_rev, table, drained)
    except _Stopped as stopped:
        await _keep(work, stopped.issues)
        found: Sequence[Problem] = stopped.problems
    else:
        found = ()
    await work.conn.execute("UPDATE device SET last_seen_at = ? WHERE id = ?", work.now_ms, work.principal.device_id)
    return found


def _pushed_at(given: float, clock: int) -> int:
    """The clock a client had pulled to. One that has expired still says what it had seen: it hands in before it
    begins again. Raises CURSOR_EXPIRED for one of the future, or none at all."""
    if not 0 <= given <= clock or given != int(given):
        raise expired("lastPulledAt")
    return int(given)


async def _take_all(
    work: Work, rows: Sequence[_Sent], base_rev: int, table: UseCaseTable, drained: Problem | None
) -> None:
    mutations: list[Mutation] = []
    of_mutation: dict[str, _Sent] = {}
    for name in TABLES:
        for row, mutation in await _mutations(work, [row for row in rows if row.table == name], base_rev, drained):
            of_mutation[mutation.id] = row
            mutations.append(mutation)
    # what hangs on a record goes before it
    deletions = [mutation for mutation in reversed(mutations) if mutation.delete]
    answers = await take(work, [*(mutation for mutation in mutations if not mutation.delete), *deletions], table)
    stopped = [answer for answer in answers if answer.status in STOPS]
    if stopped:
        issues = await _kept(work, [answer.mutation_id for answer in stopped])
        raise _Stopped([problem for answer in stopped for problem in _told(answer, of_mutation)], issues)
    await _settle(work, list(of_mutation))


def _told(answer: Answer, of_mutation: Mapping[str, _Sent]) -> Iterator[Problem]:
    row = of_mutation[answer.mutation_id]
    for problem in answer.problems or (Problem(Code.CONFLICT),):
        yield problem.under(*row.path)


# -- rows to mutations --------------------------------------------------------------------------------------------


def rows_sent(changes: object, table: UseCaseTable, *, rows_max: int) -> list[_Sent]:
    """The rows of `{table: {created: [row], updated: [row], deleted: [id]}}`.

    Raises what is wrong with its form: NOT_ALLOWED_VALUE for a table nobody writes, INVALID_VALUE, REQUIRED, TOO_MANY.
    Tables without rows may have any name: an app's own come along.
    """
    if not isinstance(changes, Mapping) or len(changes) > TABLES_MAX:
        raise Refused(Problem(Code.INVALID_VALUE, ("changes",), ("{table: {created, updated, deleted}}",)))
    written = tuple(name for name in TABLES if any((name, intent) in table for intent in Intent))
    rows: list[_Sent] = []
    problems: list[Problem] = []
    for name, sent in changes.items():
        lists = [(verb, sent.get(verb, [])) for verb in VERBS] if isinstance(sent, Mapping) else []
        if not lists or not all(isinstance(found, list) for _, found in lists):
            problems.append(Problem(Code.INVALID_VALUE, (sendable(name),), VERBS))
        elif any(found for _, found in lists) and name not in written:
            problems.append(Problem(Code.NOT_ALLOWED_VALUE, (sendable(name),), written))
        else:
            for verb, found in lists:
                rows += _rows_of(name, verb, found, problems)
    if len(rows) > rows_max:
        raise Refused(Problem(Code.TOO_MANY, ("changes",), (str(rows_max),)))
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.table, row.id) in seen:
            problems.append(Problem(Code.INVALID_VALUE, row.path, params={"reason": "twice"}))
        seen.add((row.table, row.id))
    refuse_if(problems[:PROBLEMS_MAX])
    return rows


def _rows_of(table: str, verb: str, found: Sequence[object], problems: list[Problem]) -> Iterator[_Sent]:
    for index, sent in enumerate(found):
        raw = {"id": sent} if verb == "deleted" else sent
        if not isinstance(raw, Mapping) or not isinstance(raw.get("id"), str):
            problems.append(Problem(Code.INVALID_VALUE, (table, verb, str(index)), ("id",)))
        elif not is_id(raw["id"]):
            problems.append(Problem(Code.INVALID_VALUE, (table, verb, sendable(raw["id"]), "id"), ("UUID",)))
        elif verb == "updated" and not isinstance(raw.get("_changed"), str):
            problems.append(Problem(Code.REQUIRED, (table, verb, raw["id"], "_changed"), ("_changed",)))
        else:
            yield _Sent(table, verb, raw["id"], {} if verb == "deleted" else raw)


async def _mutations(
    work: Work, rows: Sequence[_Sent], base_rev: int, drained: Problem | None
) -> list[tuple[_Sent, Mutation]]:
    """What the rows of one table come to. Deleting what is not there is done already."""
    if not rows:
        return []
    collection = COLLECTIONS[rows[0].table]
    ids = [row.id for row in rows]
    stored = await read_stored(work.conn, collection.name, ids)
    standing = await load_records(work, collection, [row.id for row in rows if _asks_what_stands(row)], lock=False)
    missing = [row.id for row in rows if row.verb == "deleted" and row.id not in standing]
    # what went with another record stays away from now on
    parts = await gone_with_others(work.conn, collection.name, missing) if missing else set()
    found = []
    for row in rows:
        record = standing.get(row.id)
        if row.verb == "deleted" and record is None and row.id not in parts:
            continue
        if row.verb == "updated" and not any(not name.endswith(BASE) for name in row.changed):
            continue
        seen = _base_rev(stored.get(row.id), base_rev)
        made = _Translation(row, record)
        made.read()
        new = row.verb == "created" and record is None
        problems = made.problems if drained is None else [drained]
        mutation = Mutation(
            id=_mutation_id(work.principal, row),
            client_seq=0,
            collection=collection.name,
            record_id=row.id,
            base_rev=None if new else seen,
            fields=made.fields,
            delete=row.verb == "deleted",
            base=made.base or None,
            problems=tuple(problems),
        )
        if mutation.delete or new or mutation.fields or problems:
            found.append((row, mutation))
    return found


def _asks_what_stands(row: _Sent) -> bool:
    """True where what stands decides what a row means: a new one may exist, a gone one may be gone already."""
    if row.verb != "updated":
        return True
    columns = TABLES[row.table].by_name
    return any(f"{name}{BASE}" in columns and row.raw.get(f"{name}{BASE}") is None for name in row.changed)


def _base_rev(stored: Stored | None, base_rev: int) -> int:
    """What the client had seen. Of a record made after its last pull it is nothing: it was made on this device."""
    return base_rev if stored is None or stored.made_seq <= base_rev else 0


def _mutation_id(principal: Principal, row: _Sent) -> str:
    """The same for the same change of the same device, however often it is sent and whatever was pulled between."""
    said = {name: row.raw.get(name) for name in row.changed}
    # the standard form takes integers of any size and halves of surrogate pairs
    body = orjson.dumps(
        [principal.device_id, row.path, sorted((sendable(name), repr(value)) for name, value in said.items())],
        default=str,
    )
    return str(uuid.UUID(bytes=hashlib.sha256(body).digest()[:16], version=5))


class _Translation:
    """A row's columns as fields of a change."""

    def __init__(self, row: _Sent, standing: Mapping[str, Any] | None) -> None:
        self.row = row
        self.standing = standing
        self.collection = COLLECTIONS[row.table]
        self.columns = TABLES[row.table].by_name
        self.fields: dict[str, object] = {}
        self.base: dict[str, object] = {}
        self.problems: list[Problem] = []

    def read(self) -> None:
        for name in self.row.changed:
            column = self.columns.get(name)
            if column is not None and column.base:
                continue
            value = self.row.raw.get(name)
            if column is None:
                self.fields[sendable(name)] = value  # for the shape to refuse
            elif self.row.verb == "created" and self.standing is not None and self._stands(column.field, value):
                continue
            elif column.is_json:
                self._read_nested(column.field, value)
            else:
                self.fields[name] = value

    def _stands(self, declared: Field, value: object) -> bool:
        """True for what a row sent once more need not say: what only the server writes, or what was said already."""
        assert self.standing is not None
        return declared.server_only or (declared.fixed and value == self.standing.get(declared.name))

    def _read_nested(self, declared: Field, text: object) -> None:
        value, found = self._parsed(declared.name, text)
        if not found:
            return
        base, has_base = self._base(declared)
        before = self.standing.get(declared.name) if not has_base and self.standing is not None else base
        if before is None or value is None:
            self.fields[declared.name] = _without_silent(declared, value, self._silent(declared.name))
            return
        again = self.row.verb == "created"
        change = nested_change(
            declared,
            before,
            value,
            silent=self._silent(declared.name),
            kept=self.collection.reset if again else frozenset(),
        )
        if change not in NOTHING or value in NOTHING:
            self.fields[declared.name] = change
        if has_base:
            self.base[declared.name] = base

    def _base(self, declared: Field) -> tuple[object, bool]:
        name = f"{declared.name}{BASE}"
        if name not in self.columns or self.row.raw.get(name) is None:
            return None, False
        return self._parsed(name, self.row.raw[name])

    def _parsed(self, name: str, text: object) -> tuple[object, bool]:
        """(the value in a JSON text, whether it could be read)."""
        if text is None:
            return None, True
        try:
            return orjson.loads(text if isinstance(text, str) else b""), True
        except orjson.JSONDecodeError:
            self.problems.append(Problem(Code.INVALID_VALUE, (name,), ("JSON",)))
            return None, False

    def _silent(self, name: str) -> frozenset[str]:
        """Fields of a list's records that documents show and only the server writes."""
        fields = next((child.fields for child in self.collection.children if child.name == name), ())
        return frozenset(declared.name for declared in fields if declared.server_only)


def _without_silent(declared: Field, value: object, silent: frozenset[str]) -> object:
    return nested_change(declared, None, value, silent=silent) if declared.record is not None else value


# -- what did not stand -------------------------------------------------------------------------------------------


async def _kept(work: Work, mutation_ids: Sequence[str]) -> list[_Kept]:
    """What the push kept of these mutations, whole."""
    keys = await work.conn.fetch(
        "SELECT id, mutation_id, code, field, theirs FROM sync_issue WHERE mutation_id = ANY(?) AND state = ?"
        " ORDER BY id",
        list(mutation_ids),
        IssueState.OPEN.value,
    )
    rows = await work.conn.fetch("SELECT * FROM sync_issue WHERE id = ANY(?) ORDER BY id", [key[0] for key in keys])
    return [_Kept(key[0], tuple(key[1:]), tuple(row)) for key, row in zip(keys, rows, strict=True)]


async def _keep(work: Work, issues: Sequence[_Kept]) -> None:
    """Put back what was kept in a savepoint that was taken back; what is open already is not kept twice."""
    known = {issue.told for issue in await _kept(work, [str(issue.told[0]) for issue in issues])}
    new = [issue for issue in issues if issue.told not in known]
    if not new:
        return
    marks = ", ".join("?" for _ in new[0].row)
    await work.conn.execute_many(f"INSERT INTO sync_issue VALUES ({marks})", [issue.row for issue in new])
    for issue in new:
        work.touched(ISSUES, issue.id)


async def _settle(work: Work, mutation_ids: Sequence[str]) -> None:
    """What was kept of these very changes when they were sent before stands by now."""
    for issue in await _kept(work, mutation_ids):
        found = await read_issue(work, issue.id)
        if found is not None:
            conflict = found.code == Code.CONFLICT.value
            await close_issue(
                work, found, Resolution.KEEP_MINE if conflict else Resolution.CHANGE_AND_SEND_AGAIN, found.mine
            )
