"""What became of records: deleted ones brought back, the history of one, and who looked at the trail.

A deleted record comes back as it was, under its own id, with what went with it; it stands where it would stand if it
had never gone, and every field remembers who wrote it, so that what was entered meanwhile on a phone is merged.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from backend.domain.attachments import AttachmentLimits, AttachmentState, PreviewState
from backend.domain.audit import AuditAction, Door
from backend.domain.permissions import Action, Collection, Role
from backend.domain.territories import AssignmentSource
from backend.domain.times import DAY_MS
from backend.domain.visits import CLOSED_WITHOUT_CHECK_OUT, VisitState
from backend.errors import Code, Problem
from backend.ids import is_id, new_id
from backend.storage.attachments import counts_of, lock_files
from backend.storage.customers import CustomerHead, lock_heads
from backend.storage.deleted import (
    Copy,
    Raw,
    copies_of,
    copies_with,
    drop_copies,
    put_back,
    scopes_held,
    scopes_now,
)
from backend.storage.merged import note_brought_back
from backend.storage.visibility import granted_keys_sql, visible_to
from backend.sync.changes import ORDERS, Change, Outcome, Status, UseCase, load_records
from backend.sync.collections import COLLECTIONS
from backend.sync.feed import read_stored
from backend.sync.matching import save_keys
from backend.sync.work import Work

RESTORE_DAYS = 30
ATTACHMENTS_MAX = AttachmentLimits().per_record_max
RESTORED = "RESTORED"
_RIGHT: Mapping[str, Collection] = {
    "customers": Collection.CUSTOMERS,
    "contacts": Collection.CONTACTS,
    "customerContacts": Collection.CONTACTS,
    "visits": Collection.VISITS,
    "orders": Collection.ORDERS,
    "tasks": Collection.TASKS,
    "answers": Collection.ANSWERS,
    "cases": Collection.CASES,
    "judgements": Collection.JUDGEMENTS,
    "attachments": Collection.ATTACHMENTS,
    "customFields": Collection.CUSTOM_FIELDS,
    "forms": Collection.FORMS,
}
_KNOWN_BY: Mapping[str, tuple[str, str]] = {"customFields": ("collection", "key"), "forms": ("key", "version")}
"""What an admin makes, and the columns no two of them share: deleted, another may have come in its place."""
_OF_A_CUSTOMER = frozenset({"customerContacts", "visits", "orders", "tasks", "answers", "cases", "judgements"})


def restoring(
    name: str, days: int = RESTORE_DAYS, attachments_max: int = ATTACHMENTS_MAX, rows_max: int | None = None
) -> UseCase:
    """The use case that brings records of a collection back for `days` after they were deleted. `rows_max`: how many
    definitions one collection, or versions all forms, may have."""

    async def restore(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        """Bring deleted records back. One that stands already is answered as restored.

        Refuses NOT_FOUND (never there, or out of scope; with a path: what it hangs on is gone), NOT_PERMITTED,
        RESTORE_TOO_LATE, TOO_MANY (an attachment of a record that has as many as it may by now), ID_TAKEN (a definition
        or a version of a form in whose place another one stands).
        """
        return await _Restoring(work, name, days, attachments_max, rows_max).answer(changes)

    return restore


def _holder(row: Raw) -> tuple[str, str]:
    return row["collection"], row["record_id"]


class _Restoring:
    """One batch of one collection."""

    def __init__(self, work: Work, name: str, days: int, attachments_max: int, rows_max: int | None) -> None:
        self.work = work
        self.name = name
        self.days = days
        self.attachments_max = attachments_max
        self.rows_max = rows_max
        self.hung: Counter[tuple[str, str]] = Counter()
        """how many attachments come back in this batch, by the record they hang on"""
        self.taken: set[tuple[object, ...]] = set()
        """what those are known by that come back in this batch"""
        self.heads: dict[str, CustomerHead] = {}

    async def answer(self, changes: Sequence[Change]) -> list[Outcome]:
        ids = sorted({change.id for change in changes if is_id(change.id)})
        if self.name in _KNOWN_BY:
            # one at a time, as they are made
            await self.work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
        # customers before what hangs on them, as everybody locks them
        early = await copies_of(self.work.conn, self.name, ids)
        named = {customer for copy in early.values() for customer in copy.customers}
        self.heads = await lock_heads(self.work.conn, self.work.principal, named)
        copies = await copies_of(self.work.conn, self.name, ids, lock=True)
        standing = await load_records(self.work, COLLECTIONS[self.name], ids, lock=False)
        gone = await read_stored(self.work.conn, self.name, ids)
        seen = await self._seen(list(copies.values()))
        problems: dict[str, list[Problem]] = {}
        coming: dict[str, Copy] = {}
        for record_id in ids:
            copy = copies.get(record_id)
            if record_id in standing:
                continue
            if copy is None or copy.key not in seen:
                # its id is no secret to whoever held it, and nothing else is told
                late = copy is None and record_id in gone and gone[record_id].deleted
                problems[record_id] = [self._too_late() if late else Problem(Code.NOT_FOUND, ("id",))]
            elif copy.deleted_at_ms < self.work.now_ms - self.days * DAY_MS:
                problems[record_id] = [self._too_late()]
            else:
                problems[record_id] = await self._problems(copy)
                if not problems[record_id]:
                    coming[record_id] = copy
                    if self.name == "attachments":
                        self.hung[_holder(copy.row)] += 1
                    self.taken.add(self._known(copy.row))
        await self._bring_back(list(coming.values()))
        return [self._outcome(change, problems) for change in changes]

    def _outcome(self, change: Change, problems: Mapping[str, Sequence[Problem]]) -> Outcome:
        if not is_id(change.id):
            return Outcome(change.id, Status.REFUSED, (Problem(Code.INVALID_VALUE, ("id",), ("UUID",)),))
        found = tuple(problems.get(change.id, ()))
        return Outcome(change.id, Status.REFUSED if found else Status.APPLIED, found)

    def _too_late(self) -> Problem:
        return Problem(Code.RESTORE_TOO_LATE, ("id",), (str(self.days),))

    async def _seen(self, copies: Sequence[Copy]) -> set[str]:
        """Keys of those the principal would see if they were back."""
        if self.work.door is Door.JOB:
            return {copy.key for copy in copies}
        if not copies or not self.work.principal.reads(self.name):
            return set()
        held = await scopes_held(self.work.conn, self.work.principal.holder)
        now = await scopes_now(self.work.conn, copies)
        found = {copy.key for copy in copies if now[copy.key] & held}
        if self.name == "attachments":
            found |= {copy.key for copy in copies if await self._record_seen(copy.row)}
        return found

    # -- may it, and can it -------------------------------------------------------------------------------------

    async def _problems(self, copy: Copy) -> list[Problem]:
        found = [] if self._may(copy) else [Problem(Code.NOT_PERMITTED)]
        row = copy.row
        if self.name in _OF_A_CUSTOMER and row["customer_id"] is not None:
            head = self.heads.get(row["customer_id"])
            if head is None:
                found.append(Problem(Code.NOT_FOUND, ("customerId",)))
            elif not head.held and self.work.door is not Door.JOB:
                found.append(Problem(Code.NOT_PERMITTED, ("customerId",)))
        if self.name == "customerContacts" and not await self._exists("contact", row["contact_id"]):
            found.append(Problem(Code.NOT_FOUND, ("contactId",)))
        if self.name == "customers":
            found += await self._problems_of_customer(row)
        if self.name in _KNOWN_BY:
            found += await self._problems_of_place(row)
        if self.name == "attachments" and not await self._record_seen(row):
            found.append(Problem(Code.NOT_FOUND, ("recordId",)))
        elif self.name == "attachments":
            holder = _holder(row)
            standing = (await counts_of(self.work.conn, [holder[1]])).get(holder, 0)
            if standing + self.hung[holder] >= self.attachments_max:
                found.append(Problem(Code.TOO_MANY, ("recordId",), (str(self.attachments_max),)))
        return found

    def _may(self, copy: Copy) -> bool:
        if self.work.door is Door.JOB:
            return True
        principal, right = self.work.principal, _RIGHT[self.name]
        if self.name == "attachments":
            own = copy.row["created_by"] == principal.holder
            return principal.role is Role.ADMIN or (own and principal.may(Action.DELETE, right))
        return principal.may(Action.DELETE, right) or principal.may(Action.UPDATE, right)

    async def _problems_of_customer(self, row: Raw) -> list[Problem]:
        found = []
        territories = {
            one[0] for one in await self.work.conn.fetch(granted_keys_sql("territory"), self.work.principal.holder)
        }
        if row["territory_id"] not in {*territories, None} and self.work.door is not Door.JOB:
            # seen through a door of the chain, not held
            found.append(Problem(Code.NOT_PERMITTED, ("id",)))
        if row["parent_id"] is not None:
            head = await self.work.conn.fetch("SELECT parent_id FROM customer WHERE id = ?", row["parent_id"])
            if not head:
                found.append(Problem(Code.NOT_FOUND, ("parentId",)))
            elif head[0][0] is not None:
                # its head was merged into a door meanwhile, and a chain is one storey high
                found.append(Problem(Code.INVALID_VALUE, ("parentId",)))
        return found

    def _known(self, row: Raw) -> tuple[object, ...]:
        return tuple(row[name] for name in _KNOWN_BY.get(self.name, ()))

    async def _problems_of_place(self, row: Raw) -> list[Problem]:
        """Another one may have come in its place, and so many that it is one too many."""
        table, known = COLLECTIONS[self.name].table, self._known(row)
        alike = " AND ".join(f"{name} = ?" for name in _KNOWN_BY[self.name])
        if known in self.taken or await self.work.conn.fetch(f"SELECT id FROM {table} WHERE {alike}", *known):
            return [Problem(Code.ID_TAKEN, ("key",))]
        among, args = ("collection = ?", [row["collection"]]) if "collection" in row else ("1 = 1", [])
        ((standing,),) = await self.work.conn.fetch(f"SELECT count(*) FROM {table} WHERE {among}", *args)
        coming = sum(one[: len(args)] == tuple(args) for one in self.taken)
        if self.rows_max is not None and standing + coming >= self.rows_max:
            return [Problem(Code.TOO_MANY, ("id",), (str(self.rows_max),))]
        return []

    async def _exists(self, table: str, record_id: str) -> bool:
        return bool(await self.work.conn.fetch(f"SELECT id FROM {table} WHERE id = ?", record_id))

    async def _record_seen(self, row: Raw) -> bool:
        """Whether what an attachment hangs on stands where the principal sees it; held until commit."""
        name = row["collection"]
        visible, args = visible_to(self.work.principal, name, "t")
        where = "1 = 1" if self.work.door is Door.JOB else visible
        rows = await self.work.conn.fetch(
            f"SELECT t.id FROM {COLLECTIONS[name].table} t WHERE t.id = ? AND {where} FOR NO KEY UPDATE OF t",
            row["record_id"],
            *([] if self.work.door is Door.JOB else args),
        )
        return bool(rows)

    # -- back ----------------------------------------------------------------------------------------------------

    async def _bring_back(self, copies: Sequence[Copy]) -> None:
        if not copies:
            return
        work = self.work
        await self._put_back(copies)
        await note_brought_back(work.conn, copies)
        for copy in copies:
            work.restored(copy.collection, copy.record_id)
            work.audit(AuditAction.RESTORE, copy.collection, copy.record_id)
        await drop_copies(work.conn, [copy.key for copy in copies])
        if self.name == "customers":
            await self._assign(copies)
        await self._with_them(copies)
        if self.name in ("customers", "contacts"):
            records = await load_records(work, COLLECTIONS[self.name], [copy.record_id for copy in copies], lock=False)
            await save_keys(work.conn, self.name, records)

    async def _put_back(self, copies: Sequence[Copy]) -> None:
        territories: dict[str, str | None] = dict(
            await self.work.conn.fetch(
                "SELECT id, territory_id FROM customer WHERE id = ANY(?)",
                sorted({customer for copy in copies for customer in copy.customers}),
            )
        )
        for copy in copies:
            adapted = await self._adapted(copy, territories)
            for table, rows in copy.rows.items():
                await put_back(self.work.conn, table, [adapted] if rows and rows[0] is copy.row else rows)
            if copy.collection == ORDERS:
                self.work.purchases.recount(copy.customers)

    async def _adapted(self, copy: Copy, territories: Mapping[str, str | None]) -> Raw:
        """The record's own row as it is to stand now: where its customer stands, with what is still there."""
        row = dict(copy.row)
        if row.get("customer_id") in territories:
            row["territory_id"] = territories[row["customer_id"]]
        if copy.collection == "visits" and row["state"] == VisitState.CHECKED_IN:
            open_now = await self.work.conn.fetch(
                "SELECT id FROM visit WHERE rep_id = ? AND state = ?", row["rep_id"], VisitState.CHECKED_IN.value
            )
            if open_now:
                row.update(CLOSED_WITHOUT_CHECK_OUT)
        if copy.collection == "attachments":
            kept = await lock_files(self.work.conn, [row["stored_sha256"], row["preview_sha256"]])
            if row["stored_sha256"] is None or row["stored_sha256"] not in kept:
                # its bytes are gone: it is announced again, for whoever still has them
                row.update(
                    state=AttachmentState.DECLARED.value,
                    stored_sha256=None,
                    stored_bytes=None,
                    preview_state=PreviewState.NONE.value,
                    preview_sha256=None,
                )
            elif row["preview_sha256"] is not None and row["preview_sha256"] not in kept:
                row.update(preview_state=PreviewState.NONE.value, preview_sha256=None)
        return row

    async def _assign(self, copies: Sequence[Copy]) -> None:
        work = self.work
        await work.conn.execute_many(
            "INSERT INTO territory_assignment (id, customer_id, territory_id, valid_from, source, reason, assigned_by)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    new_id(),
                    copy.record_id,
                    copy.row["territory_id"],
                    work.now_ms,
                    AssignmentSource.HUMAN.value,
                    RESTORED,
                    work.principal.actor,
                )
                for copy in copies
                if copy.row["territory_id"] is not None
            ],
        )
        for copy in copies:
            if copy.row["parent_id"] is not None:
                # it stands where its doors stand
                work.touched("customers", copy.row["parent_id"], ())

    async def _with_them(self, copies: Sequence[Copy]) -> None:
        """What went with a record comes back with it, as far as what it hangs on is there."""
        work = self.work
        back = []
        for part in await copies_with(work.conn, [copy.key for copy in copies]):
            row = part.row
            if part.collection != "customerContacts" or (
                await self._exists("customer", row["customer_id"]) and await self._exists("contact", row["contact_id"])
            ):
                back.append(part)
        await self._put_back(back)
        work.consequences = Door.RESTORE
        for part in back:
            work.restored(part.collection, part.record_id)
        await drop_copies(work.conn, [part.key for part in back])
        for link in (*copies, *back):
            if link.collection == "customerContacts":
                # its places follow its links
                work.touched("contacts", link.row["contact_id"], ())
