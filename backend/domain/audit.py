"""What the audit says: who did what to which record, by which door, and what stood before and after.

Pure. A change is told by the paths of `fields.field_paths` in the form documents carry; whatever a document does not
show is not told either. Values are bounded: the audit is a trail, not a second copy of the data (R32, R49).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson

from backend.domain.customers import CustomerKind
from backend.domain.fields import Shape, field_paths
from backend.domain.issues import SHAPES, field_at, shown_in, shown_value

VALUE_CHARACTERS_MAX = 500
"""A longer text is cut, and says so; 4,000 characters of notes are not kept twice for every comma."""
ENTRY_BYTES_MAX = 8_000
"""What all values of one entry may take, as JSON; beyond it paths are told without values."""
ENTRY_PATHS_MAX = 200
REASON_CHARACTERS_MAX = 400


class Door(StrEnum):
    """By which door a change came in; the audit keeps it."""

    ONLINE = "ONLINE"
    PUSH = "PUSH"
    """the native protocol"""
    RXDB = "RXDB"
    WATERMELON = "WATERMELON"
    IMPORT = "IMPORT"
    JOB = "JOB"
    """what the server does by itself, or an operator at its command line"""
    SYSTEM = "SYSTEM"
    """what followed on the server from what somebody did: a visit closed by the next check-in"""
    MERGE = "MERGE"
    """what followed from two records becoming one, or two again"""
    RESTORE = "RESTORE"
    """what came back with a record"""


DEVICE_DOORS = frozenset({Door.PUSH, Door.RXDB, Door.WATERMELON})
"""By which devices hand in what was captured on them."""


class AuditAction(StrEnum):
    """What was done. The list grows; a reader keeps what it does not know."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    RESTORE = "RESTORE"
    """a deleted record was brought back"""
    MERGE = "MERGE"
    UNMERGE = "UNMERGE"
    MOVE = "MOVE"
    """a customer was given to another territory"""
    GRACE = "GRACE"
    """taken from a former holder, captured before a territory changed hands"""
    RESOLVE = "RESOLVE"
    """a sync issue was settled"""
    MATCH = "MATCH"
    DISTINCT = "DISTINCT"
    STORE = "STORE"
    """the bytes of an attachment arrived"""
    LOSE = "LOSE"
    DOWNLOAD = "DOWNLOAD"
    READ = "READ"
    """something sensitive was read"""
    EXPORT = "EXPORT"
    ERASE = "ERASE"
    UNUSUAL_PULL = "UNUSUAL_PULL"
    """a device was given far more than its scopes hold"""
    RETAIN = "RETAIN"
    """retention removed what was kept long enough"""
    IMPORT = "IMPORT"
    UNDO = "UNDO"
    SCORE = "SCORE"
    CANCEL = "CANCEL"
    """a run was asked to end"""
    GRANT = "GRANT"
    REVOKE = "REVOKE"
    SIGN_IN = "SIGN_IN"
    SIGN_OUT = "SIGN_OUT"
    REUSE = "REUSE"
    """a refresh token that was used already came again"""
    DRAIN = "DRAIN"
    REACTIVATE = "REACTIVATE"
    WIPE = "WIPE"
    WIPE_ACKED = "WIPE_ACKED"
    DROP = "DROP"
    RESCUE = "RESCUE"
    EPOCH = "EPOCH"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One path with what stood and what stands, as documents carry it; None for nothing.

    `personal`: of a person, so that masked roles do not read it and erasure takes it away. `cut`: a value was too
    long to be kept whole.
    """

    path: str
    before: object = None
    after: object = None
    personal: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the trail. `fields` names what changed where values are not told.

    `cause_id`: what it was a part of: a pushed mutation, an import, a score run. `request_id`: as in the logs.
    """

    at_ms: int
    actor: str
    device_id: str | None
    door: str
    action: str
    collection: str
    record_id: str
    fields: tuple[str, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    captured_at_ms: int | None = None
    cause_id: str | None = None
    request_id: str | None = None
    reason: str | None = None


UNTOLD = frozenset(
    [
        "id",
        "searchKeys",
        "sortKey",
        "completenessPercent",
        "createdAt",
        "createdBy",
        "acceptedLateAt",
        "lastOrderAt",
        "lastVisitAt",
        "happensAt",
    ]
)
"""What follows from other fields and records, or says who and when, which the entry says itself."""
TOLD = frozenset(SHAPES)
"""Collections whose every change is told, also one that no use case noted."""
MADE_WITH = frozenset({"state", "repId", "assigneeId", "territoryId", "number"})
"""What the server gives a new record, told beside what its maker entered."""


def changes_between(
    shape: Shape,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
    *,
    among: Iterable[str] | None = None,
) -> tuple[FieldChange, ...]:
    """What differs between two records in stored form, by path; `before` is None for a new record.

    `among`: the fields outside of which nothing differs, where that is known; all of them are in `after`.
    Only fields of the shape are told. A field that is a person's only in some records (a customer's name is personal
    of a CONSUMER) is told as personal when either side was such a record.
    """
    stood = before or {}
    changed = {
        name: declared
        for name in (after if among is None else among)
        if after[name] != stood.get(name) and name not in UNTOLD and (declared := shape.field(name)) is not None
    }
    if not changed:
        return ()
    if shape.divided.isdisjoint(changed):
        person = is_person(stood) or is_person(after)
        return tuple(
            FieldChange(
                name,
                shown_in(declared, stood.get(name)),
                shown_in(declared, after[name]),
                personal=is_personal(shape, name, person=person),
            )
            for name, declared in sorted(changed.items())
        )
    old = field_paths(shape, {name: stood[name] for name in changed if stood.get(name) is not None})
    new = field_paths(shape, {name: after[name] for name in changed if after[name] is not None})
    person = is_person(stood) or is_person(after)
    return tuple(
        FieldChange(
            path,
            shown_value(shape, path, old.get(path)),
            shown_value(shape, path, new.get(path)),
            personal=is_personal(shape, path, person=person),
        )
        for path in sorted({*old, *new})
        # of a line only what is entered: its sums follow from it
        if old.get(path) != new.get(path) and field_at(shape, path) is not None
    )


def first_values(shape: Shape, record: Mapping[str, object], entered: Iterable[str]) -> tuple[FieldChange, ...]:
    """What a new record began with, by the paths its maker entered and what the server gave it."""
    names = MADE_WITH.union(path.partition(".")[0] for path in entered)
    kept = {name: value for name, value in record.items() if name in names or name == "kind"}
    found = changes_between(shape, None, kept)
    return found if "kind" in names else tuple(change for change in found if change.path != "kind")


def is_person(record: Mapping[str, object]) -> bool:
    """True for a customer who is a person, whose very name is personal data."""
    return record.get("kind") == CustomerKind.CONSUMER


_TRADE_NAMES = frozenset({"nameZh", "nameKo", "nameEn"})
_CUSTOM = "custom"


def is_personal(shape: Shape, path: str, *, person: bool) -> bool:
    """Whether the value at a path is of a person; a field without a declaration of its own counts as one."""
    name = path.partition(".")[0]
    declared = shape.field(name)
    if shape.name == "customers" and name in _TRADE_NAMES:
        return person
    return declared is None or declared.personal or name == _CUSTOM


def bounded(changes: Iterable[FieldChange]) -> tuple[FieldChange, ...]:
    """The same changes within the bounds of one entry: long texts cut, values left out once there are too many."""
    kept: list[FieldChange] = []
    room = ENTRY_BYTES_MAX
    for change in sorted(changes, key=lambda one: one.path)[:ENTRY_PATHS_MAX]:
        before, after = change.before, change.after
        whole_bytes = len(orjson.dumps([before, after]))
        if whole_bytes <= min(VALUE_CHARACTERS_MAX, room - len(change.path)):
            # most are: neither is longer than both together
            room -= whole_bytes + len(change.path)
            kept.append(change)
            continue
        before, after = _cut(before), _cut(after)
        room -= len(orjson.dumps([before, after])) + len(change.path)
        if room < 0:
            kept.append(FieldChange(change.path, None, None, change.personal, cut=True))
        elif before != change.before or after != change.after:
            kept.append(FieldChange(change.path, before, after, change.personal, cut=True))
        else:
            kept.append(change)
    return tuple(kept)


def _cut(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, str):
        return value if len(value) <= VALUE_CHARACTERS_MAX else f"{value[:VALUE_CHARACTERS_MAX]}…"
    if isinstance(value, Mapping | list | tuple):
        whole = orjson.dumps(value).decode()
        return value if len(whole) <= VALUE_CHARACTERS_MAX else f"{whole[:VALUE_CHARACTERS_MAX]}…"
    return value


def change_records(changes: Sequence[FieldChange]) -> list[dict[str, object]]:
    """Changes as the audit keeps them: `cut` only where it is so."""
    return [
        {"path": one.path, "before": one.before, "after": one.after, **({"cut": True} if one.cut else {})}
        for one in changes
    ]
