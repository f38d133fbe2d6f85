"""Contacts and the links that say at which customers they work."""

from collections.abc import Sequence

from backend.domain.addresses import REGION_DEFAULT, REGION_OF_LOCALE
from backend.domain.consent import merge_consent
from backend.domain.contacts import CONTACT, derived_fields
from backend.domain.customers import with_phone_region
from backend.domain.permissions import Collection
from backend.errors import Code
from backend.storage.customers import customers_of, lock_heads
from backend.storage.deleted import key_of
from backend.storage.visibility import visible_to
from backend.sync.changes import Change, Draft, Intent, Outcome, open_drafts, save_drafts
from backend.sync.deleted import keep_deleted
from backend.sync.matching import note_matches
from backend.sync.rights import check_rights
from backend.sync.work import Work


async def change_contacts(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Create, change and delete contacts. Consent events only ever grow: a withdrawal wins every merge."""
    linked = await work.conn.fetch(
        "SELECT contact_id, customer_id FROM customer_contact WHERE contact_id = ANY(?)",
        [change.id for change in changes],
    )
    await lock_heads(work.conn, work.principal, [row[1] for row in linked])
    region = REGION_OF_LOCALE.get(work.principal.locale, REGION_DEFAULT)
    drafts = await open_drafts(work, "contacts", changes, shape_of=lambda _: with_phone_region(CONTACT, region))
    check_rights(work, Collection.CONTACTS, drafts)
    for draft in drafts:
        if not draft.alive or draft.deleting:
            continue
        contact = draft.after
        if draft.before is None:
            contact.update(createdAt=work.now_ms, createdBy=work.principal.holder)
        sent = draft.change.fields.get("consentEvents")
        if draft.before is not None and sent is not None:
            contact["consentEvents"] = merge_consent(draft.before["consentEvents"], contact["consentEvents"])
        contact.update(derived_fields(contact))
    going = [draft.id for draft in drafts if draft.alive and draft.deleting]
    outcomes = await save_drafts(work, "contacts", drafts)
    await _drop_links(work, going)
    await note_matches(work, "contacts", drafts)
    return outcomes


async def _drop_links(work: Work, contact_ids: Sequence[str]) -> None:
    if not contact_ids:
        return
    rows = await work.conn.fetch(
        "SELECT id, contact_id FROM customer_contact WHERE contact_id = ANY(?)", list(contact_ids)
    )
    with_them = {link_id: key_of("contacts", contact_id) for link_id, contact_id in rows}
    await keep_deleted(
        work.conn,
        "customerContacts",
        list(with_them),
        at_ms=work.now_ms,
        by=work.principal.actor,
        part_of=with_them,
    )
    await work.conn.execute("DELETE FROM customer_contact WHERE contact_id = ANY(?)", list(contact_ids))
    for link_id in with_them:
        work.deleted("customerContacts", link_id)


async def change_customer_contacts(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Link contacts to customers; the contact stands wherever one of its customers does."""
    owners = await customers_of(work.conn, "customer_contact", [change.id for change in changes])
    named = [change.fields.get("customerId") for change in changes if change.intent is Intent.CREATE]
    heads = await lock_heads(
        work.conn, work.principal, [*owners.values(), *(value for value in named if isinstance(value, str))]
    )
    drafts = await open_drafts(work, "customerContacts", changes)
    # a link that came back while we waited for it names a customer nobody asked for yet
    late = {str(draft.after["customerId"]) for draft in drafts if draft.alive} - heads.keys()
    heads = {**heads, **(await lock_heads(work.conn, work.principal, late))} if late else heads
    check_rights(work, Collection.CONTACTS, drafts)
    known = await _known_contacts(work, drafts)
    for draft in drafts:
        if not draft.alive:
            continue
        link = draft.after
        head = heads.get(str(link["customerId"]))
        if head is None:
            draft.refuse(Code.NOT_FOUND, "customerId")
        elif str(link["contactId"]) not in known:
            draft.refuse(Code.NOT_FOUND, "contactId")
        elif draft.before is None:
            link.update(createdAt=work.now_ms, territoryId=head.territory_id)
    outcomes = await save_drafts(work, "customerContacts", drafts)
    for draft in drafts:
        if draft.alive:
            # its places follow its links
            work.touched("contacts", str(draft.after["contactId"]), ())
    return outcomes


async def _known_contacts(work: Work, drafts: Sequence[Draft]) -> set[str]:
    """Which of the contacts to be linked exist where the caller sees them."""
    ids = sorted({str(draft.after["contactId"]) for draft in drafts if draft.alive})
    visible, args = visible_to(work.principal, "contacts", "t")
    rows = await work.conn.fetch(f"SELECT t.id FROM contact t WHERE t.id = ANY(?) AND {visible}", ids, *args)
    return {row[0] for row in rows}
