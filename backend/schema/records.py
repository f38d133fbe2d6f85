"""What became of records: the history of one for whoever sees it, and the audit trail for those who watch."""

from collections.abc import Sequence
from typing import Annotated, Any

import strawberry

from backend.domain.audit import AuditAction, Door
from backend.domain.issue_words import ToldChange
from backend.domain.messages import label
from backend.errors import Code, Problem, Refused
from backend.reads.selection import PageRequest, SortKind, Span, read_position, span_of, write_position
from backend.schema.context import Info
from backend.schema.paging import After, Before, Connection, First, Last, PageInfo, RecordId, Way, select_page
from backend.schema.scalars import JSON, Instant
from backend.usecases.trail import Changed, Entry, Subject, note_trail_read, read_history

ID = strawberry.ID
HISTORY_ORDER = "HISTORY"
HISTORY_ROWS_DEFAULT = 50

strawberry.enum(AuditAction, description="What was done, as the audit names it.")
strawberry.enum(Door, name="AuditDoor", description="By which door a change came in.")

InLocale = Annotated[
    str | None, strawberry.argument(description="`en`, `zh-CN` or `ko`; the request's language when absent.")
]


@strawberry.type(description="One field of an entry: what stood, what stands.")
class FieldChange:
    path: str = strawberry.field(description="Where, down to the cell of an order: `lines.<id>.cells.<sku>`.")
    before: JSON | None = strawberry.field(description="What stood, as documents carry it; null where nothing did.")
    after: JSON | None = strawberry.field(description="What stands after it; null where nothing does.")
    masked: bool = strawberry.field(description="Of a person; your role reads it masked.")
    cut: bool = strawberry.field(description="A value was too long to be kept whole.")
    changed: strawberry.Private[Changed]
    collection: strawberry.Private[str]

    @strawberry.field(description="The field in words, down to the cell.")
    def label(self: Any, info: Info, locale: InLocale = None) -> str:
        return _told(self, info, locale).place

    @strawberry.field(description="What stood, in words: names for ids, labels for choices.")
    def before_text(self: Any, info: Info, locale: InLocale = None) -> str:
        return _told(self, info, locale).before

    @strawberry.field(description="What stands after it, in words.")
    def after_text(self: Any, info: Info, locale: InLocale = None) -> str:
        return _told(self, info, locale).after


def _told(change: Any, info: Info, locale: str | None) -> ToldChange:
    changed: Changed = change.changed
    return changed.told(info.context.messages, locale or info.context.locale, change.collection)


@strawberry.type(description="Something that was done to a record.")
class HistoryEntry:
    id: ID = strawberry.field(description="The entry's UUID.")
    at: Instant = strawberry.field(description="When it reached the server.")
    captured_at: Instant | None = strawberry.field(description="When it was entered on the device, where known.")
    action: str = strawberry.field(description="What was done; members of `AuditAction`. The list grows.")
    door: str = strawberry.field(description="By which door it came; members of `AuditDoor`. The list grows.")
    actor: str = strawberry.field(description="Who did it: `staff:<id>` or `service:<id>`.")
    actor_name: str | None = strawberry.field(
        description="Who did it, by name; null for who is not known any more, and for the server itself."
    )
    device_id: ID | None = strawberry.field(description="The device it was done on.")
    device_name: str | None = strawberry.field(description="What the device is called.")
    record_id: ID = strawberry.field(
        description="The record as it was then: another id than asked for where it was merged since."
    )
    fields: list[str] = strawberry.field(description="The fields it was about, also where no values are kept.")
    changes: list[FieldChange] = strawberry.field(description="What stood and what stands, field by field.")
    cause_id: str | None = strawberry.field(description="What it was a part of: a mutation, an import, a merge.")
    reason: str | None = strawberry.field(description="Why, where somebody said so.")

    @strawberry.field(description="What was done, in words.")
    def action_label(self: Any, info: Info, locale: InLocale = None) -> str:
        return label(info.context.messages, "AuditAction", self.action, locale or info.context.locale)

    @strawberry.field(description="The door in words.")
    def door_label(self: Any, info: Info, locale: InLocale = None) -> str:
        return label(info.context.messages, "AuditDoor", self.door, locale or info.context.locale)


@strawberry.type(description="What became of a record, newest first.")
class RecordHistory:
    collection: str = strawberry.field(description="The collection it is in, such as `visits`.")
    record_id: ID = strawberry.field(
        description="Its id: the survivor's, where the one asked for was merged into another."
    )
    deleted: bool = strawberry.field(description="It is deleted, and can still be brought back.")
    entries: list[HistoryEntry] = strawberry.field(description="The entries.")
    page_info: PageInfo = strawberry.field(description="How to go on.")


def _show_entry(entry: Entry, collection: str) -> HistoryEntry:
    return HistoryEntry(
        id=ID(entry.id),
        at=Instant(entry.at_ms),
        captured_at=None if entry.captured_at_ms is None else Instant(entry.captured_at_ms),
        action=entry.action,
        door=entry.door,
        actor=entry.actor,
        actor_name=entry.actor_name,
        device_id=None if entry.device_id is None else ID(entry.device_id),
        device_name=entry.device_name,
        record_id=ID(entry.record_id),
        fields=list(entry.fields),
        changes=[
            FieldChange(
                path=changed.path,
                before=changed.before,
                after=changed.after,
                masked=changed.masked,
                cut=changed.cut,
                changed=changed,
                collection=collection,
            )
            for changed in entry.changes
        ],
        cause_id=entry.cause_id,
        reason=entry.reason,
    )


def _show_history(subject: Subject, found: Sequence[Entry], span: Span) -> RecordHistory:
    kept = found[: span.rows]
    cursors = [write_position(HISTORY_ORDER, (entry.at_ms, entry.id)) for entry in (*kept[:1], *kept[-1:])]
    return RecordHistory(
        collection=subject.collection,
        record_id=ID(subject.id),
        deleted=subject.deleted,
        entries=[_show_entry(entry, subject.collection) for entry in kept],
        page_info=PageInfo(
            has_next_page=len(found) > span.rows,
            has_previous_page=span.position is not None,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        ),
    )


@strawberry.type(description="One line of the audit trail. It is never changed; retention and erasure alone take away.")
class AuditEntry:
    id: ID = strawberry.field(description="The entry's UUID.")
    at: Instant = strawberry.field(description="When it reached the server.")
    captured_at: Instant | None = strawberry.field(description="When it was entered on the device.")
    actor: str = strawberry.field(description="Who: `staff:<id>` or `service:<id>`.")
    actor_name: str | None = strawberry.field(description="Who, by name, where he is still known.")
    device_id: ID | None = strawberry.field(description="On which device.")
    door: str = strawberry.field(description="By which door; members of `AuditDoor`. The list grows.")
    action: str = strawberry.field(description="What was done; members of `AuditAction`. The list grows.")
    collection: str = strawberry.field(description="In which collection.")
    record_id: ID = strawberry.field(description="To which record.")
    fields: list[str] = strawberry.field(description="Which fields, or what else it was about.")
    changes: JSON | None = strawberry.field(description="[{path, before, after}] of what is nobody's personal data.")
    personal_changes: JSON | None = strawberry.field(description="The same of what is personal, until it is erased.")
    cause_id: str | None = strawberry.field(description="What it was a part of: a mutation, an import, a merge.")
    request_id: str | None = strawberry.field(description="The request, as the logs name it.")
    reason: str | None = strawberry.field(description="Why, where somebody said so.")


@strawberry.input(description="Which entries. All that is given must hold.")
class AuditFilter:
    actor: ID | None = strawberry.field(default=None, description="By this colleague or service.")
    device: ID | None = strawberry.field(default=None, description="On this device.")
    collection: str | None = strawberry.field(default=None, description="In this collection.")
    record: ID | None = strawberry.field(default=None, description="To this record.")
    action: list[AuditAction] | None = strawberry.field(default=None, description="Any of these.")
    door: list[Door] | None = strawberry.field(default=None, description="By any of these doors.")
    from_: Instant | None = strawberry.field(default=None, name="from", description="At this moment or later.")
    until: Instant | None = strawberry.field(default=None, description="Before this moment.")


Filtered = strawberry.argument(description="Which entries; all when absent.")


@strawberry.type
class TrailQueries:
    @strawberry.field(
        description="What became of a record, newest first; null when it is out of your scope. Of a deleted one as long"
        " as it can be brought back."
    )
    async def history(self, info: Info, id: RecordId, first: First = None, after: After = None) -> RecordHistory | None:
        context = info.context
        span = span_of(
            PageRequest(first, after),
            rows_max=context.settings.history_rows_max,
            rows_default=HISTORY_ROWS_DEFAULT,
            path=("history",),
            read_cursor=lambda cursor: read_position(cursor, HISTORY_ORDER, (SortKind.INTEGER,)),
        )
        found = await read_history(context.engine, context.caller, str(id), span.rows + 1, span.position)
        return None if found is None else _show_history(*found, span)

    @strawberry.field(
        description="Who did what, newest first; for those with the right to read it, and as far as that reaches."
        " Looking at it is itself audited."
    )
    async def audit_trail(
        self,
        info: Info,
        filter: Annotated[
            AuditFilter | None, strawberry.argument(description="Which entries; all when absent.")
        ] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[AuditEntry]:
        context, chosen = info.context, filter or AuditFilter()
        if chosen.from_ is not None and chosen.until is not None and chosen.from_ >= chosen.until:
            raise Refused(Problem(Code.OUT_OF_RANGE, ("filter", "until")))
        only = [] if chosen.action is None else list(dict.fromkeys(chosen.action))
        where: list[tuple[str, Any]] = [
            ("actor", chosen.actor),
            ("deviceId", chosen.device),
            ("collection", chosen.collection),
            ("recordId", chosen.record),
            # one is found by the index however seldom it is
            ("action", only[0] if len(only) == 1 else None),
            ("actionIn", None if len(only) == 1 else chosen.action),
            ("doorIn", chosen.door),
            ("from", chosen.from_),
            ("to", chosen.until),
        ]
        page = select_page(info, "audit", PageRequest(first, after, last, before), where, direction=direction)
        if not context.trail_noted:
            context.trail_noted = True
            asked = [name for name, given in where if given is not None]
            await note_trail_read(context.engine, context.caller, context.now_ms, asked, chosen.record)
        return page  # type: ignore[no-any-return]
