"""One unit of work: the only transaction of a request, and what leaving it writes.

Use cases note which records changed; on leaving, the clock steps once and, while its row is locked, documents
and places are computed by queries, so that the order of `seq` is the order of commits and no reader can skip
a transaction that commits late. Nothing but the feed, receipts and audit is written after the clock step.
"""

import random
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.domain.audit import TOLD, AuditAction, AuditEntry, FieldChange, changes_between
from backend.domain.audit import Door as Door
from backend.domain.purchases import PurchaseNotes
from backend.errors import Code, Problem, Refused
from backend.storage.audit import entry_of, save_audit
from backend.storage.engine import Connection, Engine, SerializationFailure
from backend.storage.purchases import keep_purchases
from backend.storage.savepoints import savepoint
from backend.storage.steps import tell_standings
from backend.storage.visibility import HOLDERS
from backend.sync.attached import ATTACHMENTS, delete_with_records, hanging_on_touched
from backend.sync.collections import COLLECTIONS
from backend.sync.deleted import keep_hanging
from backend.sync.feed import Rewritten, Touch, read_clock, step_clock, write_feed
from backend.sync.grants import write_grants
from backend.sync.receipts import Receipt, save_receipts
from backend.telemetry import counter, current_request_id

T = TypeVar("T")
RETRY_PAUSE_S = 0.02
_RETRIES = counter("write_retries", "transactions begun again, by door", door=[door.value for door in Door])


@dataclass(slots=True)
class Work:
    """What a use case is handed first. It never begins, commits or steps the clock itself."""

    conn: Connection
    principal: Principal
    now_ms: int
    door: Door
    touches: dict[tuple[str, str], Touch] = field(default_factory=dict)
    purchases: PurchaseNotes = field(default_factory=PurchaseNotes)
    """What changes in the statistics of customers, by the orders written here."""
    audits: list[AuditEntry] = field(default_factory=list)
    cause_id: str | None = None
    """What everything within is a part of and the audit names it by: an import, a score run, a merge."""
    request_id: str | None = field(default_factory=current_request_id)
    """As the logs and the audit know the request by."""
    consequences: Door = Door.SYSTEM
    """The door of what follows from what is done here without being asked for."""
    receipts: list[Receipt] = field(default_factory=list)
    reseated: set[str] = field(default_factory=set)
    standings: set[str] = field(default_factory=set)
    """users whose sign-ins, devices or role changed: their open connections are asked for again"""
    seq: int = 0
    """The clock after leaving; 0 before."""
    stepped: bool = False
    """True when leaving stepped the clock: something is there to be pulled."""

    @property
    def writer(self) -> str:
        """How `field_seq` names who wrote: the device, or the principal when there is none."""
        return self.principal.device_id or self.principal.holder

    def touched(
        self,
        collection: str,
        record_id: str,
        paths: Iterable[str] | None = None,
        captured: Mapping[str, int] | None = None,
        joined: Iterable[str] = (),
        *,
        stays: bool = False,
    ) -> None:
        """Note that a record's document or places may have changed; `paths` are the fields a client set.

        `paths=None` marks a new record: all its fields are of this change. `joined` as in `Merged`. `stays`: nothing
        was written by which its places are told (`storage/visibility.py: place_columns`), so that they are as they
        were, unless somebody else in this work says otherwise.
        """
        touch = self.touches.get((collection, record_id))
        if touch is None:
            touch = self.touches[collection, record_id] = Touch(collection, record_id, stays=stays)
        touch.stays = touch.stays and stays
        touch.captured.update(captured or {})
        touch.joined.update(joined)
        if paths is None:
            touch.created = True
        else:
            touch.paths.update(paths)

    def restored(self, collection: str, record_id: str) -> None:
        """Note that a deleted record is back; its row is there already."""
        self.touched(collection, record_id, ())
        touch = self.touches[(collection, record_id)]
        touch.deleted, touch.restored = False, True

    def deleted(self, collection: str, record_id: str) -> None:
        """Note that a record is gone for all; its row is removed by the use case."""
        self.touched(collection, record_id, ())
        self.touches[(collection, record_id)].deleted = True

    def reseat(self, user_ids: Iterable[str]) -> None:
        """Note that these users' grants may have changed: the tree, a membership, a role or a cover did."""
        self.reseated.update(user_ids)

    @property
    def keeps_deleted(self) -> bool:
        """False where what goes has a way back of its own (undoing a merge, repeating an import), or must have none."""
        return self.door is not Door.IMPORT and self.consequences is not Door.MERGE and not self._erases

    @property
    def _erases(self) -> bool:
        return any(entry.action == AuditAction.ERASE for entry in self.audits)

    def audit(
        self,
        action: AuditAction | str,
        collection: str,
        record_id: str,
        fields: Iterable[str] = (),
        *,
        changes: Sequence[FieldChange] = (),
        captured_at_ms: int | None = None,
        cause_id: str | None = None,
        reason: str | None = None,
        door: Door | None = None,
    ) -> None:
        """Note what the present principal did, to be written with it. As in `storage.audit.entry_of`."""
        self.audits.append(
            entry_of(
                self.principal,
                action,
                collection,
                record_id,
                at_ms=self.now_ms,
                door=door or self.door,
                fields=fields,
                changes=changes,
                captured_at_ms=captured_at_ms,
                cause_id=cause_id or self.cause_id,
                reason=reason,
                request_id=self.request_id,
            )
        )

    @contextmanager
    def acting_as(self, principal: Principal) -> Iterator[None]:
        """What happens within is done, and seen, as this principal."""
        standing = self.principal
        self.principal = principal
        try:
            yield
        finally:
            self.principal = standing

    @asynccontextmanager
    async def part(self) -> AsyncIterator[None]:
        """A savepoint whose notes are taken back with its rows."""
        touches = {key: touch.copy() for key, touch in self.touches.items()}
        audits, reseated, purchases = len(self.audits), set(self.reseated), self.purchases.copy()
        try:
            async with savepoint(self.conn):
                yield
        except BaseException:
            self.touches, self.reseated, self.purchases = touches, reseated, purchases
            del self.audits[audits:]
            raise

    async def leave(self) -> None:
        """Audit, clock, purchases, documents, places, checksums, receipts, and the audit of what followed: in this
        order, once."""
        gone = {
            name: [t.record_id for t in self.touches.values() if t.deleted and t.collection == name] for name in HOLDERS
        }
        if any(gone.values()) and self.keeps_deleted:
            await keep_hanging(self.conn, gone, at_ms=self.now_ms, by=self.principal.actor)
        for record_id in await delete_with_records(self.conn, self.touches.values(), self.now_ms):
            self.deleted(ATTACHMENTS, record_id)
            self.audit("DELETE", ATTACHMENTS, record_id)
        # before the clock, which the others wait for
        told = len(self.audits)
        await save_audit(self.conn, self.audits)
        if self.touches or self.reseated:
            self.seq = await step_clock(self.conn)
            self.stepped = True
            await keep_purchases(self.conn, self.purchases)
            if self.reseated:
                await write_grants(self.conn, self.seq, self.now_ms, self.reseated)
            for record_id in await hanging_on_touched(self.conn, self.touches.values()):
                self.touched(ATTACHMENTS, record_id, ())
            rewritten = await write_feed(
                self.conn,
                self.seq,
                self.writer,
                list(self.touches.values()),
                now_ms=self.now_ms,
                watched=self._unnoted(),
            )
            self._note_consequences(rewritten)
        else:
            self.seq, _ = await read_clock(self.conn)
        await save_receipts(self.conn, self.receipts, seq=self.seq, now_ms=self.now_ms)
        await save_audit(self.conn, self.audits[told:])
        if self.standings:
            await tell_standings(self.conn, self.standings)

    def _unnoted(self) -> Callable[[str, str], bool]:
        """Which records no entry tells of yet. Imports and jobs are told as a whole, by their own entries."""
        if self.door in (Door.IMPORT, Door.JOB):
            return lambda _collection, _record_id: False
        noted = {(entry.collection, entry.record_id) for entry in self.audits}
        return lambda collection, record_id: collection in TOLD and (collection, record_id) not in noted

    def _note_consequences(self, rewritten: Sequence[Rewritten]) -> None:
        """What followed on the server from what somebody did is told like what he did himself."""
        erases = self._erases
        for one in rewritten:
            key = (one.collection, one.record_id)
            if one.after is None:
                self.audit(AuditAction.DELETE, *key, door=self.consequences)
                continue
            before = None if one.before is None else orjson.loads(one.before)
            changes = changes_between(COLLECTIONS[one.collection].shape, before, orjson.loads(one.after))
            if erases:
                # what was taken away is not kept here instead
                self.audit(AuditAction.UPDATE, *key, {change.path.partition(".")[0] for change in changes})
            elif self.touches[key].restored:
                self.audit(AuditAction.RESTORE, *key, door=self.consequences)
            elif before is None:
                self.audit(AuditAction.CREATE, *key, changes=changes, door=self.consequences)
            elif changes:
                self.audit(AuditAction.UPDATE, *key, changes=changes, door=self.consequences)


@asynccontextmanager
async def open_work(
    engine: Engine, principal: Principal, *, now_ms: int, door: Door = Door.ONLINE
) -> AsyncIterator[Work]:
    """The one transaction of a request; committed when the block ends, undone when it raises."""
    async with engine.write() as conn:
        work = Work(conn, principal, now_ms, door)
        yield work
        await work.leave()
    if work.stepped and engine.on_step is not None:
        engine.on_step(work.seq)
    if work.standings and engine.on_standings is not None:
        engine.on_standings(frozenset(work.standings))


async def in_work(
    engine: Engine,
    principal: Principal,
    story: Callable[[Work], Awaitable[T]],
    *,
    clock: Clock,
    retries_max: int,
    door: Door = Door.ONLINE,
) -> tuple[T, Work]:
    """Tell a story in one work, again from the start when the database asks for it.

    Raises `Refused(BUSY)` when it still asks after `retries_max` repetitions.
    """
    for attempt in range(retries_max + 1):
        try:
            async with open_work(engine, principal, now_ms=clock(), door=door) as work:
                result = await story(work)
            return result, work
        except SerializationFailure:
            _RETRIES.add(door=door.value)
            await sleep(RETRY_PAUSE_S * (attempt + random.random()))
    raise Refused(Problem(Code.BUSY))
