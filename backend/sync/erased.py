"""Erased people stay erased: whatever a phone that was offline still says of one is refused, and not kept.

Each use case of the table is wrapped once, as for aliases, so that this holds by whichever door a change comes.
"""

from collections.abc import Iterable, Mapping, Sequence

from backend.domain.fields import Shape
from backend.domain.privacy import MAPS_OF_CHILDREN, POSITIONS_OF_VISIT, TEXTS_OF_CHILDREN
from backend.errors import Code, Problem
from backend.ids import is_id
from backend.storage.engine import Connection
from backend.sync.changes import Change, Intent, Outcome, Status, UseCase
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Work

_HELD_FIELDS: Mapping[str, frozenset[str]] = {
    name: frozenset({*texts, *(POSITIONS_OF_VISIT if name == "visits" else ()), *MAPS_OF_CHILDREN})
    for name, texts in TEXTS_OF_CHILDREN.items()
}
"""Of work on an erased consumer: what nobody writes any more. Its state may go on, books are kept of it."""


async def erased_among(conn: Connection, ids: Iterable[str]) -> set[str]:
    """Which of these ids are of people who were erased."""
    wanted = sorted({record_id for record_id in ids if is_id(record_id)})
    if not wanted:
        return set()
    return {row[0] for row in await conn.fetch("SELECT id FROM erased_person WHERE id = ANY(?)", wanted)}


def refusing_erased(collection: str, use_case: UseCase) -> UseCase:
    """The same use case for what names no erased person; the rest is refused with PERSON_ERASED."""
    shape = COLLECTIONS[collection].shape

    async def pass_on(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        refused = await _refused(work, collection, shape, changes)
        if not refused:
            return await use_case(work, changes)
        rest = [change for at, change in enumerate(changes) if at not in refused]
        passed = iter(await use_case(work, rest) if rest else ())
        return [
            Outcome(change.id, Status.REFUSED, (Problem(Code.PERSON_ERASED, refused[at]),))
            if at in refused
            else next(passed)
            for at, change in enumerate(changes)
        ]

    return pass_on


async def _refused(work: Work, collection: str, shape: Shape, changes: Sequence[Change]) -> dict[int, tuple[str, ...]]:
    """Index of a change → path of what names somebody erased in it."""
    named = [_named(shape, change) for change in changes]
    all_named = {value for ids in named for value in ids.values() if is_id(value)}
    erased, held = await _erased(work.conn, collection, sorted(all_named), changes)
    found: dict[int, tuple[str, ...]] = {}
    for at, (change, ids) in enumerate(zip(changes, named, strict=True)):
        path = next((name for name, value in ids.items() if value in erased), None)
        if path is not None:
            found[at] = (path,)
        elif change.id in held and (texts := sorted(_HELD_FIELDS[collection] & set(change.fields))):
            found[at] = (texts[0],)
    return found


def _named(shape: Shape, change: Change) -> dict[str, str]:
    """Field → the id it names, its own first; most changes name no other."""
    fields = change.fields
    if shape.id_names.isdisjoint(fields):
        return {"id": change.id}
    named = (name for name in shape.ids if name != "id")
    return {"id": change.id} | {name: value for name in named if isinstance(value := fields.get(name), str)}


async def _erased(
    conn: Connection, collection: str, named: Sequence[str], changes: Sequence[Change]
) -> tuple[set[str], set[str]]:
    """(Which of these ids are of erased people, which of the records to be changed are of an erased consumer)."""
    patched = sorted({c.id for c in changes if c.intent is Intent.PATCH and is_id(c.id)})
    if collection not in _HELD_FIELDS or not patched:
        return await erased_among(conn, named), set()
    rows = await conn.fetch(
        "SELECT id, 0 FROM erased_person WHERE id = ANY(?) UNION ALL"
        f" SELECT w.id, 1 FROM {COLLECTIONS[collection].table} w JOIN erased_person e ON e.id = w.customer_id"
        " WHERE w.id = ANY(?)",
        list(named),
        patched,
    )
    return {row[0] for row in rows if not row[1]}, {row[0] for row in rows if row[1]}
