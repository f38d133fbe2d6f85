"""Customers: made in the field with a name and a kind, completed later, never lost."""

from collections.abc import Sequence

from backend.domain.addresses import REGION_DEFAULT, REGION_OF_LOCALE
from backend.domain.customers import CUSTOMER, derived_fields, phone_region, with_phone_region
from backend.domain.fields import Shape
from backend.domain.permissions import Collection, Role
from backend.domain.territories import AssignmentSource
from backend.errors import Code
from backend.ids import new_id
from backend.storage.customers import held_customers
from backend.storage.deleted import key_of
from backend.storage.visibility import territories_held
from backend.sync.changes import Change, Draft, Intent, Outcome, open_drafts, save_drafts
from backend.sync.deleted import keep_deleted
from backend.sync.matching import note_matches
from backend.sync.rights import check_rights
from backend.sync.work import Door, Work


async def change_customers(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Create, change and delete customers.

    One a rep makes belongs to the territory it names, which he must hold; without one to his first territory.
    A customer with visits, orders or tasks is not deleted (NOT_EDITABLE): its history is the company's.
    """
    territories = {c.id: c.fields.get("territoryId") for c in changes if c.intent is Intent.CREATE}
    plain = [_without_territory(change) for change in changes]
    region = REGION_OF_LOCALE.get(work.principal.locale, REGION_DEFAULT)
    drafts = await open_drafts(work, "customers", plain, shape_of=lambda change: _shape(change, region))
    check_rights(work, Collection.CUSTOMERS, drafts)
    holding = await _held_territories(work)
    held = await held_customers(work.conn, work.principal, [draft.id for draft in drafts if draft.before is not None])
    await _check_parents(work, drafts)
    for draft in drafts:
        if not draft.alive or draft.deleting:
            continue
        if draft.before is None:
            _place(work, draft, territories.get(draft.id), holding)
        elif work.door is not Door.JOB and draft.id not in held:
            # seen through a door of the chain, not held
            draft.refuse(Code.NOT_PERMITTED, "id")
        draft.after.update(derived_fields(draft.after))
    await _refuse_used(work, [draft for draft in drafts if draft.alive and draft.deleting])
    outcomes = await save_drafts(work, "customers", drafts)
    await _after(work, drafts)
    await note_matches(work, "customers", drafts)
    return outcomes


def _shape(change: Change, region: str) -> Shape:
    """A telephone number without country code belongs to the country the change names, else to the writer's."""
    return with_phone_region(CUSTOMER, phone_region(change.fields, region))


def _without_territory(change: Change) -> Change:
    """A new customer may name its territory; later only a move changes it."""
    if change.intent is not Intent.CREATE or "territoryId" not in change.fields:
        return change
    fields = {name: value for name, value in change.fields.items() if name != "territoryId"}
    return Change(
        change.id, change.intent, fields, change.base_rev, change.captured_at_ms, change.mutation_id, change.base
    )


async def _held_territories(work: Work) -> list[str]:
    sql, args = territories_held(work.principal)
    rows = await work.conn.fetch(sql, *args)
    return sorted(row[0] for row in rows)


def _place(work: Work, draft: Draft, wanted: object, held: Sequence[str]) -> None:
    customer = draft.after
    customer.update(createdAt=work.now_ms, createdBy=work.principal.holder)
    if wanted is not None:
        if wanted not in held and work.door is not Door.JOB:
            draft.refuse(Code.NOT_FOUND, "territoryId")
        customer["territoryId"] = wanted
    elif work.principal.role is Role.REP and held:
        customer["territoryId"] = held[0]


async def _check_parents(work: Work, drafts: Sequence[Draft]) -> None:
    """A chain's head is named by its doors; it need not be visible to their rep, but it must exist. A chain has two
    levels: a head is no door, and who has doors becomes none."""
    naming = [d for d in drafts if d.alive and not d.deleting and "parentId" in d.accepted and d.after["parentId"]]
    if not naming:
        return
    wanted = sorted({str(draft.after["parentId"]) for draft in naming})
    # held until commit, so that a head does not become a door meanwhile
    rows = await work.conn.fetch(
        "SELECT t.id, t.parent_id FROM customer t WHERE t.id = ANY(?) OR t.parent_id = ANY(?)"
        " ORDER BY t.id FOR NO KEY UPDATE OF t",
        wanted,
        [draft.id for draft in naming],
    )
    parents: dict[str, str | None] = dict(rows)
    for draft in drafts:
        if draft.alive and not draft.deleting:
            parents[draft.id] = draft.after["parentId"]
        elif draft.deleting:
            parents.pop(draft.id, None)
    coming, heads = {draft.id for draft in drafts}, set(parents.values())
    for draft in naming:
        parent = str(draft.after["parentId"])
        if parent not in parents and parent not in coming:
            draft.refuse(Code.NOT_FOUND, "parentId")
        elif parents.get(parent) is not None or parent == draft.id or draft.id in heads:
            draft.refuse(Code.INVALID_VALUE, "parentId")


async def _refuse_used(work: Work, drafts: Sequence[Draft]) -> None:
    for table in ("visit", "sales_order", "task", "answer", "service_case", "judgement"):
        rows = await work.conn.fetch(
            f"SELECT DISTINCT customer_id FROM {table} WHERE customer_id = ANY(?)", [draft.id for draft in drafts]
        )
        used = {row[0] for row in rows}
        for draft in drafts:
            if draft.id in used and draft.alive:
                draft.refuse(Code.NOT_EDITABLE, "id")


async def _after(work: Work, drafts: Sequence[Draft]) -> None:
    """First assignments, the heads whose doors changed, and what hangs on a deleted customer."""
    created = [d for d in drafts if d.alive and d.before is None and d.after.get("territoryId")]
    await work.conn.execute_many(
        "INSERT INTO territory_assignment (id, customer_id, territory_id, valid_from, source, assigned_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                new_id(),
                draft.id,
                draft.after["territoryId"],
                work.now_ms,
                (AssignmentSource.IMPORT if work.door is Door.IMPORT else AssignmentSource.HUMAN).value,
                work.principal.actor,
            )
            for draft in created
        ],
    )
    for draft in drafts:
        if draft.alive:
            for customer in (draft.before or {}, draft.after):
                if customer.get("parentId"):
                    work.touched("customers", str(customer["parentId"]), ())
    await _drop_links(work, [draft.id for draft in drafts if draft.alive and draft.deleting])


async def _drop_links(work: Work, customer_ids: Sequence[str]) -> None:
    if not customer_ids:
        return
    rows = await work.conn.fetch(
        "SELECT id, contact_id, customer_id FROM customer_contact WHERE customer_id = ANY(?)", list(customer_ids)
    )
    if work.keeps_deleted:
        with_them = {row[0]: key_of("customers", row[2]) for row in rows}
        await keep_deleted(
            work.conn,
            "customerContacts",
            list(with_them),
            at_ms=work.now_ms,
            by=work.principal.actor,
            part_of=with_them,
        )
    await work.conn.execute("DELETE FROM customer_contact WHERE customer_id = ANY(?)", list(customer_ids))
    await work.conn.execute("DELETE FROM score_line WHERE customer_id = ANY(?)", list(customer_ids))
    scored = await work.conn.fetch(
        "DELETE FROM customer_score WHERE customer_id = ANY(?) RETURNING customer_id", list(customer_ids)
    )
    await work.conn.execute(
        "UPDATE territory_assignment SET valid_to = ? WHERE customer_id = ANY(?) AND valid_to IS NULL",
        work.now_ms,
        list(customer_ids),
    )
    for link_id, contact_id, _ in rows:
        work.deleted("customerContacts", link_id)
        work.touched("contacts", contact_id, ())
    for (customer_id,) in scored:
        work.deleted("scores", customer_id)
