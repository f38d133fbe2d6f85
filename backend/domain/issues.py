"""Sync issues: which ways out there are, and what each writes. In words: `issue_words.py`."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from backend.domain.answers import ANSWER
from backend.domain.attachments import ATTACHMENT
from backend.domain.cases import CASE
from backend.domain.contacts import CONTACT, CUSTOMER_CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.fields import Field, Kind, Shape, records_shown
from backend.domain.judgements import JUDGEMENT
from backend.domain.orders import ORDER
from backend.domain.tasks import TASK
from backend.domain.times import instant_text
from backend.domain.visits import VISIT

Document = Mapping[str, Any]


class IssueState(StrEnum):
    """Whether somebody still has to decide."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


class WayOut(StrEnum):
    """What can be done about a sync issue."""

    KEEP_MINE = "KEEP_MINE"
    """the author's value is written after all"""
    KEEP_THEIRS = "KEEP_THEIRS"
    """what stands stays"""
    CUSTOM = "CUSTOM"
    """a third value is written"""
    CHANGE_AND_SEND_AGAIN = "CHANGE_AND_SEND_AGAIN"
    """the kept change is sent again, with corrections"""
    DISCARD = "DISCARD"
    """the kept change is given up; it stays readable"""
    ACCEPT = "ACCEPT"
    """taken note of: the server has done something a person should know"""


class Resolution(StrEnum):
    """How an issue was settled: by one of the ways out, or by a later capture without anybody."""

    KEEP_MINE = "KEEP_MINE"
    KEEP_THEIRS = "KEEP_THEIRS"
    CUSTOM = "CUSTOM"
    CHANGE_AND_SEND_AGAIN = "CHANGE_AND_SEND_AGAIN"
    DISCARD = "DISCARD"
    ACCEPT = "ACCEPT"
    LATER_CAPTURE = "LATER_CAPTURE"


CONFLICT_WAYS = (WayOut.KEEP_MINE.value, WayOut.KEEP_THEIRS.value, WayOut.CUSTOM.value)
REFUSED_WAYS = (WayOut.CHANGE_AND_SEND_AGAIN.value, WayOut.DISCARD.value)
SHAPES: Mapping[str, Shape] = {
    "customers": CUSTOMER,
    "contacts": CONTACT,
    "customerContacts": CUSTOMER_CONTACT,
    "visits": VISIT,
    "orders": ORDER,
    "tasks": TASK,
    "answers": ANSWER,
    "cases": CASE,
    "judgements": JUDGEMENT,
    "attachments": ATTACHMENT,
}
"""Collection → what a client writes in it."""
REMOVED = "removed"


def change_at(shape: Shape, path: str, value: object) -> dict[str, object]:
    """The change that puts `value` at a path of `field_paths`; null takes a key, a cell or a whole record away."""
    name, _, rest = path.partition(".")
    declared = shape.field(name)
    if not rest or declared is None:
        return {name: value}
    if declared.record is None:
        return {name: {rest: 0 if value is None and declared.kind is Kind.CELLS else value}}
    record_id, _, inner = rest.partition(".")
    key = declared.record.key
    if inner:
        return {name: [{key: record_id, **change_at(declared.record, inner, value)}]}
    if not isinstance(value, Mapping):
        return {name: [{key: record_id, REMOVED: True}]}
    clean = {part: entry for part, entry in value.items() if _is_written(declared.record, part)}
    return {name: [{**clean, key: record_id}]}


def restored(shape: Shape, path: str, base: object, mine: object) -> object:
    """What to write to keep `mine`: a part of a line that is gone needs the rest of the line it was a part of."""
    name, _, rest = path.partition(".")
    declared = shape.field(name)
    if declared is None or declared.record is None or "." in rest or not rest:
        return mine
    if not isinstance(base, Mapping) or not isinstance(mine, Mapping):
        return mine
    return corrected(declared.record, base, mine)


def corrected(
    shape: Shape, kept: Mapping[str, Any], fields: Mapping[str, Any], without: Iterable[str] = ()
) -> dict[str, Any]:
    """A kept change with corrections: maps by key and lines by id, null or 0 takes an entry out, `removed` a line.

    `without` names fields to leave out altogether, such as one the server does not know.
    """
    after: dict[str, Any] = dict(kept)
    for name, value in fields.items():
        declared, held = shape.field(name), after.get(name)
        keyed = declared.record if declared is not None and declared.record is not None else None
        if declared is not None and declared.kind in (Kind.MAP, Kind.CELLS) and isinstance(value, Mapping):
            entries = {**(held if isinstance(held, Mapping) else {}), **value}
            after[name] = {key: entry for key, entry in entries.items() if entry not in (None, 0)}
        elif keyed is not None and keyed.key and isinstance(value, list) and isinstance(held, list):
            after[name] = _corrected_records(keyed, held, value)
        else:
            after[name] = value
    for name in without:
        after.pop(name, None)
    return after


def _corrected_records(shape: Shape, held: Sequence[Any], corrections: Sequence[Any]) -> list[Any]:
    records = [record for record in held if isinstance(record, Mapping)]
    known = {record.get(shape.key): dict(record) for record in records}
    for one in corrections:
        if not isinstance(one, Mapping):
            return [*held, *corrections]
        record_id = one.get(shape.key)
        if one.get(REMOVED) and record_id in known:
            del known[record_id]
        else:
            known[record_id] = corrected(shape, known.get(record_id, {}), one)
    return list(known.values())


def _is_written(shape: Shape, name: str) -> bool:
    declared = shape.field(name)
    return declared is not None and not declared.server_only


def shown_value(shape: Shape, path: str, value: object) -> object:
    """The value at a path as documents carry it: moments as text."""
    if value is None:
        return None
    declared = field_at(shape, path)
    return value if declared is None else shown_in(declared, value)


def shown_in(declared: Field, value: object) -> object:
    """The whole value of a field as documents carry it."""
    if declared.kind is Kind.TIMESTAMP and isinstance(value, int):
        return instant_text(value)
    if declared.record is not None and isinstance(value, list):
        return records_shown(declared.record, value)
    return value


def field_at(shape: Shape, path: str) -> Field | None:
    """The declaration of the field a path leads to; of an entry of a map the map's, of a whole record the list's."""
    name, _, rest = path.partition(".")
    declared = shape.field(name)
    if declared is None or declared.record is None:
        return declared
    inner = rest.partition(".")[2]
    return field_at(declared.record, inner) if inner else declared
