"""What was entered and did not stand, in the form in which it is kept for people and printed in documents."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.domain.fields import INTEGER_MAX, Shape, field_paths
from backend.domain.issues import Resolution, shown_value
from backend.errors import Problem

KEPT_DEPTH_MAX = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What is to be kept. `writer` names who wrote the standing value as `field_seq` does: a device or a holder.

    `author_id`: whose entry it is, the principal's when absent. `resolution`: nobody has to decide, it is history.
    """

    collection: str
    record_id: str
    code: str
    path: str | None = None
    base: object = None
    mine: object = None
    theirs: object = None
    writer: str | None = None
    theirs_rev: int | None = None
    mutation_id: str | None = None
    captured_at_ms: int | None = None
    ways_out: tuple[str, ...] = ()
    author_id: str | None = None
    intent: str | None = None
    base_rev: int | None = None
    problems: tuple[Problem, ...] = ()
    resolution: Resolution | None = None


def as_kept(value: object, depth: int = 0) -> Any:
    """A value a client sent, as documents may hold it: what no reader would print the same becomes a text."""
    if depth > KEPT_DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {sendable(str(key)): as_kept(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_kept(entry, depth + 1) for entry in value]
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > INTEGER_MAX):
        return str(value)
    return value


def sendable(text: str) -> str:
    """The same text without halves of surrogate pairs and NUL, which no answer and no database takes."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def base_at(shape: Shape, base: Mapping[str, object] | None, path: str) -> object:
    """What a client says stood at a path before its change: `base` by path, or in the form of the document."""
    if not base:
        return None
    if path in base:
        return base[path]
    try:
        return field_paths(shape, base).get(path, _record_at(base, path))
    except (AttributeError, KeyError, TypeError):
        return None  # what a client remembers is shown, never relied upon


def _record_at(base: Mapping[str, object], path: str) -> object:
    """A whole record of a list, for the path of one."""
    name, _, rest = path.partition(".")
    records = base.get(name)
    if not isinstance(records, list):
        return None
    return next((found for found in records if isinstance(found, Mapping) and found.get("id") == rest), None)


def lost_value(shape: Shape, one: Kept) -> Kept:
    """The same entry with its values as documents carry them."""
    if one.path is None:
        return one
    return replace(
        one,
        mine=shown_value(shape, one.path, one.mine),
        theirs=shown_value(shape, one.path, one.theirs),
        base=shown_value(shape, one.path, one.base),
    )
