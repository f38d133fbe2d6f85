"""Attachments as records: declared, captioned and deleted, offline like any other; their bytes come by another door."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from backend.auth.principal import Role
from backend.domain.attachments import AttachmentLimits, AttachmentState, PreviewState
from backend.domain.permissions import Collection
from backend.errors import Code
from backend.ids import is_id
from backend.storage.attachments import counts_of, lock_files, release_files
from backend.storage.customers import CustomerHead, lock_heads
from backend.storage.visibility import HOLDERS, visible_to
from backend.sync.changes import Change, Draft, Intent, Outcome, UseCase, open_drafts, save_drafts
from backend.sync.collections import COLLECTIONS
from backend.sync.rights import check_rights
from backend.sync.work import Door, Work

Record = tuple[str, str]
"""(collection, id) of what an attachment hangs on."""


def attachments_within(limits: AttachmentLimits) -> UseCase:
    """The use case of the table, for files no larger and no more than `limits`."""

    async def change(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        return await _change(work, changes, limits)

    return change


async def _change(work: Work, changes: Sequence[Change], limits: AttachmentLimits) -> list[Outcome]:
    """Create, change and delete attachments of records the caller sees; those of others only an admin changes.

    One whose very file the caller can already see is STORED at once: nobody obtains a file by naming its hash.
    Refuses NOT_FOUND (record out of scope), NOT_PERMITTED, TOO_LARGE, TOO_MANY and what the declared fields say.
    """
    records = await _records_of(work, changes)
    heads = await _lock_customers(work, records.values())
    seen = await _lock_records(work, records.values())
    drafts = await open_drafts(work, "attachments", changes)
    check_rights(work, Collection.ATTACHMENTS, drafts)
    for draft in drafts:
        if draft.part is not None:
            _check_author(work, draft, draft.part.row["created_by"])
        elif not draft.replayed and draft.after:
            _decide(work, draft, records.get(draft.id), seen, heads, limits)
    await _keep_few(work, drafts, limits)
    await _take_known_files(work, drafts)
    released = await _files_of(work, [draft.id for draft in drafts if draft.alive and draft.deleting])
    outcomes = await save_drafts(work, "attachments", drafts)
    await release_files(work.conn, released, work.now_ms)
    return outcomes


async def _records_of(work: Work, changes: Sequence[Change]) -> dict[str, Record]:
    """Attachment id → what it hangs on, or is to hang on."""
    found: dict[str, Record] = {}
    for change in changes:
        collection, record_id = change.fields.get("collection"), change.fields.get("recordId")
        if change.intent is Intent.CREATE and collection in HOLDERS and is_id(record_id):
            found[change.id] = (str(collection), str(record_id))
    rows = await work.conn.fetch(
        "SELECT id, collection, record_id FROM attachment WHERE id = ANY(?)", [change.id for change in changes]
    )
    return {**found, **{row[0]: (row[1], row[2]) for row in rows}}


async def _lock_customers(work: Work, records: Iterable[Record]) -> dict[Record, list[CustomerHead | None]]:
    """Record → the customers it belongs to, locked first of all; None for one the caller does not see."""
    wanted: list[Record] = sorted(set(records))
    owners: dict[Record, list[str]] = {}
    for collection in HOLDERS:
        ids = [record_id for name, record_id in wanted if name == collection]
        for record_id, customer_id in await _owners(work, collection, ids):
            if customer_id is not None:
                owners.setdefault((collection, record_id), []).append(customer_id)
    heads = await lock_heads(work.conn, work.principal, [one for named in owners.values() for one in named])
    return {record: [heads.get(one) for one in named] for record, named in owners.items()}


async def _owners(work: Work, collection: str, ids: Sequence[str]) -> list[tuple[str, str | None]]:
    if not ids or collection == "customers":
        return [(record_id, record_id) for record_id in ids]
    table, column = COLLECTIONS[collection].table, "id"
    if collection == "contacts":
        table, column = COLLECTIONS["customerContacts"].table, "contact_id"
    rows = await work.conn.fetch(f"SELECT {column}, customer_id FROM {table} WHERE {column} = ANY(?)", list(ids))
    return [(row[0], row[1]) for row in rows]


async def _lock_records(work: Work, records: Iterable[Record]) -> set[Record]:
    """Those of the records the caller sees, held: a record is not deleted while something is hung on it."""
    wanted: list[Record] = sorted(set(records))
    found: set[Record] = set()
    for collection in HOLDERS:
        ids = [record_id for name, record_id in wanted if name == collection]
        if ids:
            visible, args = visible_to(work.principal, collection, "t")
            rows = await work.conn.fetch(
                f"SELECT t.id FROM {COLLECTIONS[collection].table} t WHERE t.id = ANY(?) AND {visible}"
                " ORDER BY t.id FOR NO KEY UPDATE OF t",
                ids,
                *args,
            )
            found |= {(collection, row[0]) for row in rows}
    return found


def _check_author(work: Work, draft: Draft, author: object) -> None:
    if author != work.principal.holder and work.door is not Door.JOB and work.principal.role is not Role.ADMIN:
        draft.refuse(Code.NOT_PERMITTED, "id")


def _decide(
    work: Work,
    draft: Draft,
    record: Record | None,
    seen: set[Record],
    heads: Mapping[Record, Sequence[CustomerHead | None]],
    limits: AttachmentLimits,
) -> None:
    row = draft.after
    if draft.before is not None:
        _check_author(work, draft, row["createdBy"])
        return
    if record is not None and record not in seen:
        draft.refuse(Code.NOT_FOUND, "recordId")
    elif record is not None and work.door is not Door.JOB:
        shops = heads.get(record, ())
        if shops and not any(head is not None and head.held for head in shops):
            # seen through a door of the chain, not held
            draft.refuse(Code.NOT_PERMITTED, "recordId")
    size, kind = row.get("sizeBytes"), row.get("kind")
    if isinstance(size, int) and isinstance(kind, str) and size > limits.bytes_max(kind):
        draft.refuse(Code.TOO_LARGE, "sizeBytes", allowed=(str(limits.bytes_max(kind)),))
    row.update(
        state=AttachmentState.DECLARED.value,
        previewState=PreviewState.NONE.value,
        createdAt=work.now_ms,
        createdBy=work.principal.holder,
    )


async def _keep_few(work: Work, drafts: Sequence[Draft], limits: AttachmentLimits) -> None:
    """TOO_MANY for what would hang on a record beyond its bound."""
    new = [draft for draft in drafts if draft.alive and draft.before is None]
    if not new:
        return
    counts = Counter(await counts_of(work.conn, [str(draft.after["recordId"]) for draft in new]))
    for draft in new:
        record = (str(draft.after["collection"]), str(draft.after["recordId"]))
        counts[record] += 1
        if counts[record] > limits.per_record_max:
            draft.refuse(Code.TOO_MANY, "recordId", allowed=(str(limits.per_record_max),))


async def _take_known_files(work: Work, drafts: Sequence[Draft]) -> None:
    """New attachments of a file the caller can see on another record already: the bytes need not come twice.

    Only where they were to be treated alike: what keeps its position on one may not keep it on another.
    """
    new = [draft for draft in drafts if draft.alive and draft.before is None]
    if not new or work.principal.masked:
        return
    visible, args = visible_to(work.principal, "attachments", "t")
    rows = await work.conn.fetch(
        "SELECT t.sha256, t.size_bytes, t.mime, t.proof, t.stored_sha256, t.stored_bytes, t.preview_state,"
        " t.preview_sha256, t.width, t.height FROM attachment t"
        f" WHERE t.sha256 = ANY(?) AND t.state = ? AND {visible} ORDER BY t.id",
        sorted({str(draft.after["sha256"]) for draft in new}),
        AttachmentState.STORED.value,
        *args,
    )
    kept = await lock_files(work.conn, [digest for row in rows for digest in (row[4], row[7])])
    for draft in new:
        wanted = tuple(draft.after[name] for name in ("sha256", "sizeBytes", "mime", "proof"))
        for row in rows:
            if (*row[:3], bool(row[3])) == wanted and row[4] in kept and (row[7] is None or row[7] in kept):
                names = ("storedSha256", "storedBytes", "previewState", "previewSha256", "width", "height")
                draft.after.update(zip(names, row[4:], strict=True))
                draft.after["state"] = AttachmentState.STORED.value
                break


async def _files_of(work: Work, ids: Sequence[str]) -> list[str]:
    rows = await work.conn.fetch("SELECT stored_sha256, preview_sha256 FROM attachment WHERE id = ANY(?)", list(ids))
    return [digest for row in rows for digest in row if digest is not None]
