"""Ids that were merged away: whoever still names one means the record it became.

Phones that were offline know the old id only. Each use case of the table is wrapped once, so that an edit of the
old id and an order for it land on the survivor, by whichever door they come.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from backend.domain.fields import Kind, Shape
from backend.ids import is_id
from backend.storage.engine import Connection
from backend.sync.changes import Change, Intent, Outcome, Status, UseCase
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Work


async def survivors_of(conn: Connection, ids: Iterable[str]) -> dict[str, str]:
    """Alias → the record it stands for, for those of `ids` that are aliases."""
    wanted = sorted({record_id for record_id in ids if is_id(record_id)})
    if not wanted:
        return {}
    rows = await conn.fetch("SELECT alias_id, record_id FROM record_alias WHERE alias_id = ANY(?)", wanted)
    return dict(rows)


def following_aliases(collection: str, use_case: UseCase) -> UseCase:
    """The same use case, told of survivors where a change names an id that was merged away."""
    shape = COLLECTIONS[collection].shape

    async def follow(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        survivors = await survivors_of(work.conn, (named for change in changes for named in _named(shape, change)))
        if not survivors:
            return await use_case(work, changes)
        outcomes: list[Outcome] = []
        run: list[Change] = []
        for change in changes:
            told = _redirected(shape, change, survivors)
            gone = change.intent is Intent.DELETE and change.id in survivors
            if gone or any(told.id == other.id for other in run):
                # one batch names a record once; by another id it may have come twice
                outcomes += await use_case(work, run)
                run = []
            if gone:
                # what was to go is gone, and the survivor was not meant
                outcomes.append(Outcome(change.id, Status.APPLIED))
            else:
                run.append(told)
        return outcomes + await use_case(work, run)

    return follow


def _named(shape: Shape, change: Change) -> list[str]:
    """Its own id and those its fields name; most changes name no other."""
    fields = change.fields
    if shape.id_names.isdisjoint(fields):
        return [change.id]
    return [change.id, *(value for name in shape.ids if isinstance(value := fields.get(name), str))]


def _redirected(shape: Shape, change: Change, survivors: Mapping[str, str]) -> Change:
    """The change with survivors in place of aliases.

    Creating an id that was merged away is a client's second word about a record it once made or still shows: it
    is merged into the survivor field by field, so that nothing in it is lost.
    """
    fields = {
        name: survivors.get(value, value) if _is_id_field(shape, name) and isinstance(value, str) else value
        for name, value in change.fields.items()
        if name != "id"
    }
    if change.id not in survivors:
        return replace(change, fields=fields)
    if change.intent is Intent.CREATE:
        fixed = {declared.name for declared in shape.fields if declared.fixed}
        fields = {name: value for name, value in fields.items() if name not in fixed}
        return replace(change, id=survivors[change.id], intent=Intent.PATCH, fields=fields, base_rev=0)
    return replace(change, id=survivors[change.id], fields=fields, by_alias=True)


def _is_id_field(shape: Shape, name: str) -> bool:
    declared = shape.field(name)
    return declared is not None and declared.kind is Kind.ID
