"""The fields an organisation defines for itself (R13): an admin defines, changes and retires them."""

from collections.abc import Sequence

from backend.domain.custom import definition_problems, whole_choices
from backend.domain.permissions import Collection
from backend.errors import Code
from backend.storage.deleted import any_copy_holds
from backend.storage.merged import any_merge_holds
from backend.sync.changes import Change, Draft, Outcome, UseCase, open_drafts, save_drafts
from backend.sync.collections import COLLECTIONS
from backend.sync.rights import check_rights
from backend.sync.work import Work

FIELDS_MAX = 50
"""Custom fields of one collection while nobody has set it otherwise."""


def custom_fields_within(fields_max: int = FIELDS_MAX) -> UseCase:
    """The use case with its bound: how many fields one collection may have, retired ones counted."""

    async def change_custom_fields(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        """Define, change and take back definitions. What records hold is never touched.

        Only a definition nothing was filled in for can be deleted; others are retired.
        """
        # one at a time: two admins who define the same key at once
        await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
        drafts = await open_drafts(work, "customFields", changes)
        check_rights(work, Collection.CUSTOM_FIELDS, drafts)
        await _check_new(work, [draft for draft in drafts if draft.alive and draft.before is None], fields_max)
        for draft in drafts:
            if draft.alive and not draft.deleting:
                draft.problems += definition_problems(draft.after)
        for draft in drafts:
            if not draft.alive:
                continue
            if draft.deleting:
                await _refuse_filled(work, draft)
                continue
            definition = draft.after
            definition["choices"] = whole_choices(definition["choices"])
            if draft.before is None:
                definition.update(createdAt=work.now_ms, createdBy=work.principal.holder)
            if not definition["required"]:
                definition["requiredSince"] = None
            elif definition["requiredSince"] is None:
                definition["requiredSince"] = work.now_ms
        return await save_drafts(work, "customFields", drafts)

    return change_custom_fields


async def _check_new(work: Work, drafts: Sequence[Draft], fields_max: int) -> None:
    rows = await work.conn.fetch("SELECT collection, key FROM custom_field")
    taken = {(row[0], row[1]) for row in rows}
    for draft in drafts:
        place = str(draft.after["collection"]), str(draft.after["key"])
        if place in taken:
            draft.refuse(Code.ID_TAKEN, "key")
        elif sum(collection == place[0] for collection, _ in taken) >= fields_max:
            draft.refuse(Code.TOO_MANY, "collection", allowed=(str(fields_max),))
        taken.add(place)


async def _refuse_filled(work: Work, draft: Draft) -> None:
    """A value in any record, seen or not, keeps its definition; so does one that would come back with a deleted record
    or with a merge that is undone, when the key could be another field's by then."""
    collection, key = str(draft.after["collection"]), str(draft.after["key"])
    table = COLLECTIONS[collection].table
    rows = await work.conn.fetch(f"SELECT 1 FROM {table} WHERE custom LIKE ?::text LIMIT 1", f'%"{key}":%')
    if (
        rows
        # a copy holds the map as a text within its own JSON
        or await any_copy_holds(work.conn, collection, f'\\"{key}\\":')
        or await any_merge_holds(work.conn, collection, key)
    ):
        draft.refuse(Code.NOT_EDITABLE, "id")
