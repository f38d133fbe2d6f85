"""What changed between two whole values of a nested field, written as a change that names only what changed.

Some clients keep a nested value (a map, an order's lines) as one text and send it whole. What its user changed
is the difference to what he saw; only that may meet what others changed meanwhile (R4).
"""

from collections.abc import Mapping
from typing import TypeGuard

from backend.domain.fields import Field, Kind, Shape
from backend.domain.merge import REMOVED

NOTHING: tuple[object, ...] = ({}, [])
"""What `nested_change` says of equal values."""
NO_NAMES: frozenset[str] = frozenset()
Records = list[Mapping[str, object]]


def falls_apart(field: Field) -> bool:
    """True for a field whose parts are merged one by one: a map, cells, records with a key."""
    return field.kind in (Kind.MAP, Kind.CELLS) or (field.record is not None and bool(field.record.key))


def nested_change(
    field: Field, before: object, after: object, *, silent: frozenset[str] = NO_NAMES, kept: frozenset[str] = NO_NAMES
) -> object:
    """`after` as a change of `before`, in the form `fields.validate` takes; `{}` or `[]` when they are equal.

    `silent` names fields of records that only the server writes: they are never part of a change. `kept` names
    fields of records that are not compared where the record stood before. A value of another form comes back as it
    is: what is wrong with it is for `validate` to say.
    """
    if field.kind in (Kind.MAP, Kind.CELLS) and isinstance(after, Mapping):
        return _map_change(before, after, gone=0 if field.kind is Kind.CELLS else None)
    if field.record is not None and field.record.key and _are_records(after, field.record.key):
        return _records_change(field.record, before, after, silent, kept)
    return after


def _map_change(before: object, after: Mapping[str, object], *, gone: int | None) -> dict[str, object]:
    held = before if isinstance(before, Mapping) else {}
    changed = {key: entry for key, entry in after.items() if key not in held or held[key] != entry}
    return {**changed, **{key: gone for key in held if key not in after}}


def _are_records(value: object, key: str) -> TypeGuard[Records]:
    return isinstance(value, list) and all(
        isinstance(item, Mapping) and isinstance(item.get(key), str) for item in value
    )


def _records_change(
    shape: Shape, before: object, after: Records, silent: frozenset[str], kept: frozenset[str]
) -> list[dict[str, object]]:
    held = {item[shape.key]: item for item in before} if _are_records(before, shape.key) else {}
    changes: list[dict[str, object]] = []
    for item in after:
        sent = {name: value for name, value in item.items() if name not in silent}
        standing = held.get(item[shape.key])
        if standing is None:
            changes.append(sent)
        elif changed := _record_change(shape, standing, sent, kept):
            changes.append({shape.key: item[shape.key], **changed})
    if shape.field(REMOVED) is not None:
        left = held.keys() - {item[shape.key] for item in after}
        changes += [{shape.key: record_id, REMOVED: True} for record_id in sorted(map(str, left))]
    return changes


def _record_change(
    shape: Shape, standing: Mapping[str, object], sent: Mapping[str, object], kept: frozenset[str]
) -> dict[str, object]:
    changed: dict[str, object] = {}
    for name, value in sent.items():
        if name in kept or (name in standing and standing[name] == value):
            continue
        declared = shape.field(name)
        part = value if declared is None else nested_change(declared, standing.get(name), value)
        if part not in NOTHING or value in NOTHING:
            changed[name] = part
    return changed
