"""Two devices changed one record: field by field, what stands, and what is kept for its author to see.

Pure. The units are the paths of `fields.field_paths`: a plain field, one key of a map, one cell of one order
line. A path *conflicts* when it was last written after the base the change was made on, by somebody else's
device, and the two values differ; the declared policy says what happens then (R4; `sync-protocol.md`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.domain.fields import Field, Kind, Merge, Shape, field_paths, policy_of

WHOLE = "*"
LATCHED = "DONE"
SEVERAL = ""
"""The writer of a value joined from several: nobody who writes next can have meant to replace the others' part
unless he had seen it."""
REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A value that did not win: where, what was sent, what stands, and who wrote that at which seq."""

    path: str
    mine: object
    theirs: object
    theirs_seq: int
    theirs_by: str


@dataclass(slots=True)
class Merged:
    """`accepted`: path → value to store. `behind`: somebody else wrote the record after the base.

    `outrun`: values a later capture took the place of, each as (the entry that lost, whether it was the sender's);
    nobody has to decide about them, but they are kept.
    """

    accepted: dict[str, object] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    joined: set[str] = field(default_factory=set)
    """paths whose value is of several writers now: of both texts, of all tags"""
    outrun: list[tuple[Conflict, bool]] = field(default_factory=list)
    behind: bool = False


def merge_change(
    shape: Shape,
    current: Mapping[str, object],
    change: Mapping[str, object],
    *,
    field_seq: Mapping[str, tuple[int, str]],
    base_rev: int,
    writer: str,
    captured: Mapping[str, int] | None = None,
    captured_at_ms: int | None = None,
    shown: Mapping[str, object] | None = None,
) -> Merged:
    """What of `change` (clean values by field) stands against `current`, which may be newer than its base.

    `field_seq`: path → (seq, writer) of its last change, `*` for every path not named. STEPS fields are
    accepted as sent: whether a path of allowed steps leads there is the state machine's question. `captured`:
    path → when the standing value of a LAST_WRITER field was captured; against a later one, a change captured
    at `captured_at_ms` gives way. `shown`: what stood before the sender, if he says so; of what he wrote himself and
    was not shown again (taken from a former holder, say) his next text or tags take nothing away.
    """
    found = Merged(behind=any(seq > base_rev and by != writer for seq, by in field_seq.values()))
    standing = field_paths(shape, {name: current[name] for name in change if name in current})
    lost = _changes_of_lost_records(shape, current, change)
    for path, mine in field_paths(shape, change).items():
        seq, by = _last_change(field_seq, path)
        theirs = standing.get(path)
        knew = seq <= base_rev or (by == writer and _was_shown(shape, shown, path, theirs))
        if record := next((head for head in lost if path.startswith(f"{head}.")), None):
            # a part of a record somebody took away is no record: it is kept whole, once
            if lost[record] is not None:
                found.conflicts.append(Conflict(record, lost[record], None, seq, by))
                lost[record] = None
        elif mine == theirs or (theirs is None and _takes_nothing(shape, standing, path, mine)):
            continue
        elif knew or (theirs is None and _is_new_part(standing, field_seq, path)):
            found.accepted[path] = mine
        elif _captured_later(captured or {}, path, captured_at_ms):
            found.outrun.append((Conflict(path, mine, theirs, seq, by), True))
        else:
            _resolve(found, shape, path, mine, theirs, seq, by)
    return found


def _was_shown(shape: Shape, shown: Mapping[str, object] | None, path: str, theirs: object) -> bool:
    """False where the sender says what stood before him, and a tag or a line that stands was not in it."""
    if shown is None or path not in shown or policy_of(shape, path) not in (Merge.SET_UNION, Merge.APPEND_TEXT):
        return True
    return set(_said(theirs)) <= set(_said(shown[path]))


def _said(value: object) -> list[str]:
    """The tags of a list, the lines of a text, without the blanks a device may not have taken away yet."""
    said = value if isinstance(value, list) else _lines(value)
    return [item.strip() for item in said if isinstance(item, str)]


def _captured_later(captured: Mapping[str, int], path: str, captured_at_ms: int | None) -> bool:
    return captured_at_ms is not None and captured.get(path, captured_at_ms) > captured_at_ms


def _changes_of_lost_records(
    shape: Shape, current: Mapping[str, object], change: Mapping[str, object]
) -> dict[str, object]:
    """Path of a record → what was to change in it, for records neither standing nor whole enough to be new."""
    found: dict[str, object] = {}
    for name, inner in shape.keyed:
        sent = change.get(name)
        if not isinstance(sent, list):
            continue
        held = current.get(name)
        standing = {record[inner.key] for record in held} if isinstance(held, list) else set()
        for record in sent:
            whole = all(any(record.get(part) not in (None, {}) for part in group) for group in inner.required)
            if record[inner.key] not in standing and not whole and not record.get(REMOVED):
                found[f"{name}.{record[inner.key]}"] = record
    return found


def _last_change(field_seq: Mapping[str, tuple[int, str]], path: str) -> tuple[int, str]:
    """When a path was last changed, and by whom. Taking a record away counts as changing all its parts."""
    head, _, last = path.rpartition(".")
    nearest = field_seq.get(path) or _nearest(field_seq, path)
    if last != REMOVED:
        return nearest
    return max([nearest, *(at for part, at in field_seq.items() if part.startswith(f"{head}."))])


def _takes_nothing(shape: Shape, standing: Mapping[str, object], path: str, mine: object) -> bool:
    """True for taking away what is not there: a cell, or a whole record."""
    head, _, last = path.rpartition(".")
    if last == REMOVED and head:
        return not any(part.startswith(f"{head}.") for part in standing)
    return mine == 0 and _is_cell(shape, path)


def _is_cell(shape: Shape, path: str) -> bool:
    name, _, rest = path.partition(".")
    declared = shape.field(name)
    if declared is None or not rest:
        return False
    if declared.record is not None:
        return _is_cell(declared.record, rest.partition(".")[2])
    return declared.kind is Kind.CELLS


def _nearest(field_seq: Mapping[str, tuple[int, str]], path: str) -> tuple[int, str]:
    """The last change of the closest enclosing path that has one of its own."""
    while "." in path:
        path = path.rpartition(".")[0]
        if path in field_seq:
            return field_seq[path]
    return field_seq.get(WHOLE, (0, ""))


def _is_new_part(standing: Mapping[str, object], field_seq: Mapping[str, tuple[int, str]], path: str) -> bool:
    """True for a key, cell or record nobody else has set or taken away: adding it takes nothing from anyone."""
    head, _, last = path.rpartition(".")
    return bool(head) and path not in standing and path not in field_seq and last != REMOVED


def _resolve(found: Merged, shape: Shape, path: str, mine: object, theirs: object, seq: int, by: str) -> None:
    match policy_of(shape, path):
        case Merge.STEPS:
            found.accepted[path] = mine
        case Merge.LAST_WRITER:
            found.accepted[path] = mine
            found.outrun.append((Conflict(path, mine, theirs, seq, by), False))
        case Merge.SET_UNION if _fits(shape, path, both := union(theirs, mine)):
            found.accepted[path] = both
            found.joined.add(path)
        case Merge.APPEND_TEXT if _fits(shape, path, text := appended(theirs, mine)):
            found.accepted[path] = text
            found.joined.add(path)
        case Merge.SERVER_ONLY:
            pass
        case Merge.LATCH if theirs != LATCHED and not isinstance(theirs, int):
            # a state not yet final gives way; a moment already set does not
            found.accepted[path] = mine
        case _:
            found.conflicts.append(Conflict(path, mine, theirs, seq, by))


def _fits(shape: Shape, path: str, joined: object) -> bool:
    """False where what both sides wrote is together more than the field may hold: then it is a conflict.

    Records are let through: a withdrawal of consent is never put off for want of room.
    """
    declared = shape.field(path)
    if declared is None or declared.limit is None or declared.kind is Kind.RECORDS:
        return True
    return not isinstance(joined, str | list) or len(joined) <= declared.limit


def union(theirs: object, mine: object) -> list[object]:
    """Everything either list holds, each once; texts sorted as they are stored, other entries theirs first."""
    both: list[object] = []
    for item in [entry for items in (theirs, mine) if isinstance(items, list) for entry in items]:
        if item not in both:
            both.append(item)
    texts = [item for item in both if isinstance(item, str)]
    return [*sorted(texts)] if len(texts) == len(both) else both


def appended(theirs: object, mine: object) -> str | None:
    """Both texts, one below the other, the lines they begin with in common once.

    Lines that stand in the other text already are not repeated, nor those the one ends and the other goes on with;
    a word inside a line never counts as said.
    """
    first, second = _lines(theirs), _lines(mine)
    common = 0
    while common < min(len(first), len(second)) and first[common] == second[common]:
        common += 1
    added = second[common:]
    if any(first[at : at + len(added)] == added for at in range(len(first) - len(added) + 1)):
        added = []
    said = next((n for n in range(min(len(first), len(added)), 0, -1) if first[-n:] == added[:n]), 0)
    return "\n".join([*first, *added[said:]]) or None


def _lines(text: object) -> list[str]:
    return str(text).split("\n") if text else []


def with_paths(shape: Shape, current: Mapping[str, object], accepted: Mapping[str, object]) -> dict[str, object]:
    """The whole record after the accepted paths are put in.

    A null entry takes a map's key away, a cell of 0 the cell, and a line without cells is dropped.
    """
    record = dict(current)
    for path, value in accepted.items():
        name, _, rest = path.partition(".")
        declared = shape.field(name)
        if not rest or declared is None:
            record[name] = value
        elif declared.record is None:
            record[name] = _with_entry(record.get(name), rest, value, declared)
        else:
            record[name] = _with_record_path(declared.record, record.get(name), rest, value)
    for name, inner in shape.keyed:
        if isinstance(record.get(name), list):
            record[name] = _without_empty(inner, record[name])
    return record


def _with_entry(held: object, key: str, value: object, declared: Field) -> dict[str, object]:
    entries = dict(held) if isinstance(held, Mapping) else {}
    if value is None or (declared.kind is Kind.CELLS and value == 0):
        entries.pop(key, None)
    else:
        entries[key] = value
    return entries


def _with_record_path(shape: Shape, held: object, rest: str, value: object) -> list[object]:
    record_id, _, path = rest.partition(".")
    records = list(held) if isinstance(held, list) else []
    for index, record in enumerate(records):
        if record[shape.key] == record_id:
            records[index] = with_paths(shape, record, {path: value})
            return records
    return [*records, with_paths(shape, {shape.key: record_id}, {path: value})]


def _without_empty(shape: Shape, records: object) -> list[object]:
    assert isinstance(records, list)
    cells = [declared.name for declared in shape.fields if declared.kind is Kind.CELLS]
    return [
        {name: value for name, value in record.items() if name != REMOVED}
        for record in records
        if not record.get(REMOVED) and (not cells or any(record.get(name) for name in cells))
    ]
