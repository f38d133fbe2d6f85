"""Making one record of two, and taking that back (R32).

The id that goes stays known as an alias: what a phone that was offline still writes to it lands on the survivor
(`sync/aliases.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from backend.domain.contacts import derived_fields as derived_of_contact
from backend.domain.customers import derived_fields as derived_of_customer
from backend.domain.fields import whole_problems, with_defaults
from backend.domain.merging import MERGE_RIGHT_ON, MERGEABLE, survivor_changes, take_problems
from backend.domain.permissions import Action, may
from backend.domain.territories import AssignmentSource
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.storage.merged import point_back, stand_with_links
from backend.storage.visibility import granted_keys_sql
from backend.sync.attached import rehang
from backend.sync.changes import Change, Draft, Intent, load_records, save_drafts
from backend.sync.collections import COLLECTIONS
from backend.sync.matching import drop_keys, save_keys
from backend.sync.work import Door, Work

MERGED_AT_ONCE_MAX = 10
CUSTOMERS, CONTACTS = "customers", "contacts"
COLLECTION_OF_TABLE = {
    "visit": "visits",
    "sales_order": "orders",
    "task": "tasks",
    "answer": "answers",
    "service_case": "cases",
    "judgement": "judgements",
}
SAID_BY_CONTACTS = {"answer": "answers", "service_case": "cases"}
EARLIEST = ("createdAt",)
LATEST = ("lastOrderAt", "lastVisitAt")


@dataclass(slots=True)
class _Undo:
    """What taking a merge back needs, kept as JSON. `children`: table → ids that changed hands."""

    record: dict[str, Any]
    survivor_before: dict[str, Any]
    survivor_after: dict[str, Any]
    children: dict[str, list[str]]
    doors: list[str]
    links_dropped: list[dict[str, Any]]
    links_demoted: list[str]
    externals: list[str]
    aliases: list[str]
    attachments: list[str]


async def merge_records(
    work: Work, collection: str, survivor_id: str, merged_ids: Sequence[str], take: Sequence[str] = ()
) -> list[str]:
    """Merge records into a survivor, one after the other; the ids of the merges, by which each can be undone.

    Everything that hangs on a merged record goes to the survivor, in the survivor's territory. Fields named in
    `take` become those of the merged record, the last one's where several are merged.
    Raises NOT_PERMITTED, NOT_FOUND, INVALID_VALUE, TOO_MANY, and what the survivor's own rules say.
    """
    _check_right(work, collection)
    shape = MERGEABLE[collection]
    ids = list(dict.fromkeys(merged_ids))
    problems = take_problems(shape, take)
    if not ids:
        problems.append(Problem(Code.REQUIRED, ("mergedIds",)))
    if len(ids) > MERGED_AT_ONCE_MAX:
        problems.append(Problem(Code.TOO_MANY, ("mergedIds",), (str(MERGED_AT_ONCE_MAX),)))
    if survivor_id in ids:
        problems.append(Problem(Code.INVALID_VALUE, ("mergedIds",)))
    refuse_if(problems)
    await _lock_owners(work, collection, [survivor_id, *ids])
    records = await load_records(work, COLLECTIONS[collection], sorted(i for i in [survivor_id, *ids] if is_id(i)))
    missing = [] if survivor_id in records else [Problem(Code.NOT_FOUND, ("survivorId",))]
    missing += [Problem(Code.NOT_FOUND, ("mergedIds", str(at))) for at, one in enumerate(ids) if one not in records]
    refuse_if(missing)
    if collection == CUSTOMERS:
        await _check_held(work, list(records.values()))
    return [await _merge(work, collection, survivor_id, records[merged_id], take) for merged_id in ids]


def _check_right(work: Work, collection: str) -> None:
    role = work.principal.role
    if role is None or not may(role, Action.MERGE, MERGE_RIGHT_ON[collection]):
        raise Refused(Problem(Code.NOT_PERMITTED))


async def _lock_owners(work: Work, collection: str, ids: Sequence[str]) -> None:
    """Customers before their children, as every writer locks."""
    if collection == CONTACTS:
        rows = await work.conn.fetch(
            "SELECT customer_id FROM customer_contact WHERE contact_id = ANY(?)", [i for i in ids if is_id(i)]
        )
        await work.conn.fetch(
            "SELECT id FROM customer WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE", sorted({row[0] for row in rows})
        )


async def _check_held(work: Work, records: Sequence[Mapping[str, Any]]) -> None:
    """The head of a chain is seen through its doors too; who merges it must hold its own territory."""
    held = {row[0] for row in await work.conn.fetch(granted_keys_sql("territory"), work.principal.holder)}
    if any(record["territoryId"] not in {*held, None} for record in records):
        raise Refused(Problem(Code.NOT_PERMITTED))


async def _merge(work: Work, collection: str, survivor_id: str, merged: Mapping[str, Any], take: Sequence[str]) -> str:
    declared = COLLECTIONS[collection]
    merge_id = work.cause_id = new_id()
    work.consequences = Door.MERGE
    # read again for each: an earlier one of the same call may have changed it
    survivor = (await load_records(work, declared, [survivor_id]))[survivor_id]
    merged_id = str(merged["id"])
    changes = survivor_changes(MERGEABLE[collection], survivor, merged, take)
    undo = _Undo(dict(merged), {}, {}, {}, [], [], [], [], [], [])
    if collection == CUSTOMERS:
        changes |= await _family(work, survivor, merged, undo)
    after = {**survivor, **changes}
    for names, choose in ((EARLIEST, min), (LATEST, max)):
        for name in names:
            moments = [record[name] for record in (survivor, merged) if record.get(name) is not None]
            if name in survivor and moments:
                after[name] = choose(moments)
    after.update(_derived(collection, after))
    refuse_if(whole_problems(MERGEABLE[collection], after))
    undo.survivor_before = {name: survivor[name] for name in changes}
    undo.survivor_after = dict(changes)

    if collection == CUSTOMERS:
        await _move_children(work, merged_id, survivor_id, survivor["territoryId"], undo)
        await _end_assignment(work, merged_id)
    else:
        await _move_said(work, merged_id, survivor_id, undo)
    await _move_links(work, collection, merged_id, survivor_id, survivor.get("territoryId"), undo)
    undo.externals = [
        row[0]
        for row in await work.conn.fetch(
            "UPDATE external_id SET record_id = ? WHERE collection = ? AND record_id = ? RETURNING id",
            survivor_id,
            collection,
            merged_id,
        )
    ]
    undo.attachments = await rehang(work.conn, collection, merged_id, survivor_id)
    _rehung(work, undo.attachments)
    undo.aliases = [
        row[0]
        for row in await work.conn.fetch(
            "UPDATE record_alias SET record_id = ? WHERE record_id = ? RETURNING alias_id", survivor_id, merged_id
        )
    ]
    draft = Draft(Change(survivor_id, Intent.PATCH), survivor, after, dict(changes))
    gone = Draft(Change(merged_id, Intent.DELETE), merged, dict(merged))
    await save_drafts(work, collection, [draft, gone])
    await work.conn.execute(
        "INSERT INTO record_alias (alias_id, collection, record_id, merge_id, created_at) VALUES (?, ?, ?, ?, ?)",
        merged_id,
        collection,
        survivor_id,
        merge_id,
        work.now_ms,
    )
    await work.conn.execute(
        "INSERT INTO record_merge (id, collection, survivor_id, merged_id, state, undo, merged_at, merged_by)"
        " VALUES (?, ?, ?, ?, 'MERGED', ?, ?, ?)",
        merge_id,
        collection,
        survivor_id,
        merged_id,
        orjson.dumps(undo).decode(),
        work.now_ms,
        work.principal.actor,
    )
    await _settle_matches(work, collection, survivor_id, merged_id)
    await drop_keys(work.conn, collection, [merged_id])
    await save_keys(work.conn, collection, {survivor_id: after})
    work.audit("MERGE", collection, survivor_id, (merged_id,))
    return merge_id


def _derived(collection: str, record: Mapping[str, object]) -> dict[str, object]:
    return derived_of_customer(record) if collection == CUSTOMERS else derived_of_contact(record)


async def _family(work: Work, survivor: Mapping[str, Any], merged: Mapping[str, Any], undo: _Undo) -> dict[str, object]:
    """The doors of the merged head become the survivor's; a chain stays one storey high."""
    merged_id, survivor_id = merged["id"], survivor["id"]
    rows = await work.conn.fetch("SELECT id FROM customer WHERE parent_id = ? ORDER BY id FOR UPDATE", merged_id)
    doors = [row[0] for row in rows if row[0] != survivor_id]
    was_its_door = survivor["parentId"] == merged_id
    if doors and survivor["parentId"] is not None and not was_its_door:
        raise Refused(Problem(Code.INVALID_VALUE, ("survivorId",)))
    undo.doors = doors
    await work.conn.execute("UPDATE customer SET parent_id = ? WHERE id = ANY(?)", survivor_id, doors)
    for door in doors:
        work.touched(CUSTOMERS, door, ("parentId",))
    parent = merged["parentId"]
    if parent is not None:
        # it stands where its doors stand; one of them is no more, and another may take its place
        work.touched(CUSTOMERS, parent, ())
    if was_its_door:
        return {"parentId": None}
    if survivor["parentId"] is None and parent not in (None, survivor_id) and not doors:
        own_doors = await work.conn.fetch("SELECT id FROM customer WHERE parent_id = ? LIMIT 1", survivor_id)
        if not own_doors:
            return {"parentId": parent}
    return {}


async def _move_children(work: Work, from_id: str, to_id: str, territory_id: str | None, undo: _Undo) -> None:
    for table, name in COLLECTION_OF_TABLE.items():
        rows = await work.conn.fetch(f"SELECT id FROM {table} WHERE customer_id = ? ORDER BY id FOR UPDATE", from_id)
        ids = [row[0] for row in rows]
        undo.children[table] = ids
        await _give(work, table, name, ids, to_id, territory_id)
    work.purchases.recount([from_id, to_id])
    await _drop_score(work, from_id)


async def _give(
    work: Work, table: str, name: str, ids: Sequence[str], customer_id: str, territory_id: str | None
) -> None:
    await work.conn.execute(
        f"UPDATE {table} SET customer_id = ?, territory_id = ? WHERE id = ANY(?)", customer_id, territory_id, list(ids)
    )
    for record_id in ids:
        work.touched(name, record_id, ("customerId",))


async def _move_said(work: Work, from_id: str, to_id: str, undo: _Undo) -> None:
    """What one contact said, the other one said."""
    for table, name in SAID_BY_CONTACTS.items():
        rows = await work.conn.fetch(
            f"UPDATE {table} SET contact_id = ? WHERE contact_id = ? RETURNING id", to_id, from_id
        )
        undo.children[table] = sorted(row[0] for row in rows)
        for record_id in undo.children[table]:
            work.touched(name, record_id, ("contactId",))


async def _return_said(work: Work, merged_id: str, survivor_id: str, undo: _Undo) -> None:
    for table, name in SAID_BY_CONTACTS.items():
        rows = await work.conn.fetch(
            f"UPDATE {table} SET contact_id = ? WHERE id = ANY(?) AND contact_id = ? RETURNING id",
            merged_id,
            undo.children.get(table, []),
            survivor_id,
        )
        for (record_id,) in rows:
            work.touched(name, record_id, ("contactId",))
        await point_back(work.conn, name, undo.children.get(table, []), "contact_id", survivor_id, merged_id)


async def _drop_score(work: Work, customer_id: str) -> None:
    """The next run scores the survivor with everything it holds now."""
    await work.conn.execute("DELETE FROM score_line WHERE customer_id = ?", customer_id)
    if await work.conn.fetch("DELETE FROM customer_score WHERE customer_id = ? RETURNING customer_id", customer_id):
        work.deleted("scores", customer_id)


async def _end_assignment(work: Work, customer_id: str) -> None:
    await work.conn.execute(
        "UPDATE territory_assignment SET valid_to = ? WHERE customer_id = ? AND valid_to IS NULL",
        work.now_ms,
        customer_id,
    )


async def _move_links(
    work: Work, collection: str, from_id: str, to_id: str, territory_id: str | None, undo: _Undo
) -> None:
    """Links change hands; one that would say a second time what a link says already is dropped."""
    own, other = ("customer_id", "contact_id") if collection == CUSTOMERS else ("contact_id", "customer_id")
    rows = await work.conn.fetch(
        f"SELECT id, {own}, {other}, is_primary FROM customer_contact WHERE {own} = ANY(?) ORDER BY id FOR UPDATE",
        [from_id, to_id],
    )
    held = {row[2] for row in rows if row[1] == to_id}
    has_primary = any(row[3] for row in rows if row[1] == to_id)
    moved = [row for row in rows if row[1] == from_id and row[2] not in held]
    dropped = [row[0] for row in rows if row[1] == from_id and row[2] in held]
    undo.links_dropped = list((await load_records(work, COLLECTIONS["customerContacts"], dropped)).values())
    undo.children["customer_contact"] = [row[0] for row in moved]
    if collection == CUSTOMERS:
        undo.links_demoted = [row[0] for row in moved if row[3] and has_primary]
        await work.conn.execute(
            "UPDATE customer_contact SET is_primary = ? WHERE id = ANY(?)", False, undo.links_demoted
        )
        await work.conn.execute(
            "UPDATE customer_contact SET customer_id = ?, territory_id = ? WHERE id = ANY(?)",
            to_id,
            territory_id,
            undo.children["customer_contact"],
        )
    else:
        await work.conn.execute(
            "UPDATE customer_contact SET contact_id = ? WHERE id = ANY(?)", to_id, undo.children["customer_contact"]
        )
    await work.conn.execute("DELETE FROM customer_contact WHERE id = ANY(?)", dropped)
    for link_id in dropped:
        work.deleted("customerContacts", link_id)
    for row in moved:
        work.touched("customerContacts", row[0], ("customerId" if collection == CUSTOMERS else "contactId",))
    for contact_id in {row[2] if collection == CUSTOMERS else to_id for row in rows}:
        # its places follow its links
        work.touched(CONTACTS, contact_id, ())


def _rehung(work: Work, attachment_ids: Sequence[str]) -> None:
    for attachment_id in attachment_ids:
        work.touched("attachments", attachment_id, ("recordId",))


async def _settle_matches(work: Work, collection: str, survivor_id: str, merged_id: str) -> None:
    """The pair itself is merged; what else was compared with the one that is gone has nobody to look at any more."""
    await work.conn.execute(
        "UPDATE match_pair SET state = 'MERGED', decided_at = ?, decided_by = ?"
        " WHERE collection = ? AND state = 'OPEN' AND (first_id = ? OR second_id = ?)",
        work.now_ms,
        work.principal.actor,
        collection,
        merged_id,
        merged_id,
    )


async def undo_merge(work: Work, merge_id: str) -> tuple[str, str, str]:
    """Take a merge back; (collection, survivor id, restored id).

    What changed hands goes back, the survivor's fields too where nobody has changed them since. What came to the
    survivor after the merge, also by the old id, stays with it.
    Raises NOT_PERMITTED, NOT_FOUND, NOT_EDITABLE when it is undone already or the survivor is no more.
    """
    rows = await work.conn.fetch(
        "SELECT collection, survivor_id, merged_id, state, undo FROM record_merge WHERE id = ? FOR UPDATE", merge_id
    )
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("id",)))
    ((collection, survivor_id, merged_id, state, kept),) = rows
    _check_right(work, collection)
    declared = COLLECTIONS[collection]
    await _lock_owners(work, collection, [survivor_id])
    found = await load_records(work, declared, [survivor_id])
    if survivor_id not in found:
        exists = await work.conn.fetch(f"SELECT id FROM {declared.table} WHERE id = ?", survivor_id)
        raise Refused(Problem(Code.NOT_FOUND if exists else Code.NOT_EDITABLE, ("id",)))
    survivor = found[survivor_id]
    if state != "MERGED":
        raise Refused(Problem(Code.NOT_EDITABLE, ("id",)))
    undo = _Undo(**orjson.loads(kept))
    work.cause_id, work.consequences = merge_id, Door.MERGE
    if collection == CUSTOMERS:
        await _check_held(work, [survivor])

    # a field that came since the two became one has its default
    whole = {**with_defaults(COLLECTIONS[collection].shape, {}), **undo.record}
    restored = await _restorable(work, collection, whole)
    back = {n: undo.survivor_before[n] for n, value in undo.survivor_after.items() if survivor.get(n) == value}
    after = {**survivor, **back}
    after.update(_derived(collection, after))
    again = Draft(Change(merged_id, Intent.CREATE), None, restored)
    await work.conn.execute("DELETE FROM record_alias WHERE alias_id = ?", merged_id)
    await save_drafts(work, collection, [again, Draft(Change(survivor_id, Intent.PATCH), survivor, after, dict(back))])
    if collection == CUSTOMERS:
        for head in (survivor["parentId"], after["parentId"], restored.get("parentId")):
            if head is not None:
                # it stands where its doors stand
                work.touched(CUSTOMERS, str(head), ())
        await _return_children(work, merged_id, survivor_id, restored.get("territoryId"), undo)
    else:
        await _return_said(work, merged_id, survivor_id, undo)
    await _return_links(work, collection, merged_id, survivor_id, undo)
    _rehung(work, await rehang(work.conn, collection, survivor_id, merged_id, only=undo.attachments))
    await point_back(work.conn, "attachments", undo.attachments, "record_id", survivor_id, merged_id)
    await work.conn.execute(
        "UPDATE external_id SET record_id = ? WHERE id = ANY(?) AND record_id = ?",
        merged_id,
        undo.externals,
        survivor_id,
    )
    await work.conn.execute(
        "UPDATE record_alias SET record_id = ? WHERE alias_id = ANY(?) AND record_id = ?",
        merged_id,
        undo.aliases,
        survivor_id,
    )
    await work.conn.execute(
        "UPDATE record_merge SET state = 'UNDONE', undone_at = ?, undone_by = ? WHERE id = ?",
        work.now_ms,
        work.principal.actor,
        merge_id,
    )
    await save_keys(work.conn, collection, {merged_id: restored, survivor_id: after})
    work.audit("UNMERGE", collection, survivor_id, (merged_id,))
    return collection, survivor_id, merged_id


async def _restorable(work: Work, collection: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as it was, without references to what is no more."""
    restored = dict(record)
    if collection == CUSTOMERS:
        for name, table in (("parentId", "customer"), ("territoryId", "territory")):
            if restored.get(name) and not await work.conn.fetch(f"SELECT id FROM {table} WHERE id = ?", restored[name]):
                restored[name] = None
    return restored


async def _return_children(work: Work, merged_id: str, survivor_id: str, territory_id: str | None, undo: _Undo) -> None:
    for table, name in COLLECTION_OF_TABLE.items():
        rows = await work.conn.fetch(
            f"SELECT id FROM {table} WHERE id = ANY(?) AND customer_id = ? ORDER BY id FOR UPDATE",
            undo.children.get(table, []),
            survivor_id,
        )
        await _give(work, table, name, [row[0] for row in rows], merged_id, territory_id)
        await point_back(work.conn, name, undo.children.get(table, []), "customer_id", survivor_id, merged_id)
    work.purchases.recount([survivor_id, merged_id])
    doors = await work.conn.fetch(
        "UPDATE customer SET parent_id = ? WHERE id = ANY(?) AND parent_id = ? RETURNING id",
        merged_id,
        undo.doors,
        survivor_id,
    )
    for (door,) in doors:
        work.touched(CUSTOMERS, door, ("parentId",))
    await point_back(work.conn, CUSTOMERS, undo.doors, "parent_id", survivor_id, merged_id)
    if parent := undo.record.get("parentId"):
        work.touched(CUSTOMERS, parent, ())
    if territory_id is not None:
        await work.conn.execute(
            "INSERT INTO territory_assignment (id, customer_id, territory_id, valid_from, source, assigned_by)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            new_id(),
            merged_id,
            territory_id,
            work.now_ms,
            AssignmentSource.HUMAN.value,
            work.principal.actor,
        )


async def _return_links(work: Work, collection: str, merged_id: str, survivor_id: str, undo: _Undo) -> None:
    own = "customer_id" if collection == CUSTOMERS else "contact_id"
    territory_id = undo.record.get("territoryId")
    rows = await work.conn.fetch(
        f"SELECT id, contact_id FROM customer_contact WHERE id = ANY(?) AND {own} = ? ORDER BY id FOR UPDATE",
        undo.children.get("customer_contact", []),
        survivor_id,
    )
    ids = [row[0] for row in rows]
    moved = undo.children.get("customer_contact", [])
    await point_back(work.conn, "customerContacts", moved, own, survivor_id, merged_id)
    if collection == CUSTOMERS:
        await stand_with_links(work.conn, moved)
    await work.conn.execute(f"UPDATE customer_contact SET {own} = ? WHERE id = ANY(?)", merged_id, ids)
    if collection == CUSTOMERS:
        await work.conn.execute("UPDATE customer_contact SET territory_id = ? WHERE id = ANY(?)", territory_id, ids)
        demoted = [link_id for link_id in undo.links_demoted if link_id in ids]
        await work.conn.execute("UPDATE customer_contact SET is_primary = ? WHERE id = ANY(?)", True, demoted)
    for link_id, contact_id in rows:
        work.touched("customerContacts", link_id, ("customerId" if collection == CUSTOMERS else "contactId",))
        work.touched(CONTACTS, contact_id, ())
    customers = await work.conn.fetch(
        "SELECT id, territory_id FROM customer WHERE id = ANY(?)", [link["customerId"] for link in undo.links_dropped]
    )
    contacts = await work.conn.fetch(
        "SELECT id FROM contact WHERE id = ANY(?)", [link["contactId"] for link in undo.links_dropped]
    )
    territories: dict[str, str | None] = dict(customers)
    known = {row[0] for row in contacts}
    links = [
        Draft(Change(link["id"], Intent.CREATE), None, {**link, "territoryId": territories[link["customerId"]]})
        for link in undo.links_dropped
        if link["customerId"] in territories and link["contactId"] in known
    ]
    await save_drafts(work, "customerContacts", links)
    for link in links:
        work.touched(CONTACTS, str(link.after["contactId"]), ())
    if collection == CONTACTS:
        for contact_id in (merged_id, survivor_id):
            work.touched(CONTACTS, contact_id, ())
