"""Sync issues: what was entered and did not simply stand, in the reader's words, and what to do about it."""

from enum import StrEnum
from typing import Annotated, Any

import strawberry

from backend.domain.issue_words import Told, tell_issue
from backend.domain.issues import IssueState, Resolution, WayOut
from backend.domain.times import DAY_MS
from backend.errors import Code, Problem, Refused
from backend.reads.selection import PageRequest, one
from backend.schema.changes import FieldConflict, apply_change, show_conflicts
from backend.schema.context import Info
from backend.schema.paging import After, Before, Connection, First, Last, RecordId, Way, select_one, select_page
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import JSON, BigInt, Instant
from backend.sync.changes import Change, Intent, Status

ID = strawberry.ID
OLDER_DAYS_MAX = 3_650
TOLD_FIELDS = (
    "collection", "code", "field", "base", "mine", "theirs", "theirs_by", "theirs_name", "theirs_at", "author_id",
    "author_name", "state", "captured_at", "created_at", "intent", "problems", "about", "names", "resolution",
    "resolved_by", "resolved_name", "resolved_at",
)  # fmt: skip
"""What the words are made of, as the record keeps them."""


class IssueScope(StrEnum):
    """Whose sync issues."""

    MINE = "MINE"
    TEAM = "TEAM"


strawberry.enum(IssueScope, description="Whose sync issues: one's own, or those of the people one manages.")


@strawberry.type(description="One way out of a sync issue.")
class SyncIssueWay:
    code: WayOut = strawberry.field(description="What to give as `choice`.")
    label: str = strawberry.field(description="What it does, in the reader's language.")


@strawberry.type(description="Something entered on a device that did not simply stand. Nothing of it is ever deleted.")
class SyncIssue:
    id: ID = strawberry.field(description="The issue's UUID.")
    rev: BigInt = strawberry.field(description="Number of its last change.")
    collection: str = strawberry.field(description="The collection of the record, such as `visits`.")
    record_id: ID = strawberry.field(description="The record.")
    mutation_id: ID | None = strawberry.field(description="The mutation of a device it came with.")
    code: str = strawberry.field(description="CONFLICT, or why it was refused.")
    field: str | None = strawberry.field(description="The field, down to the cell.")
    author_id: ID = strawberry.field(description="Whose entry it is.")
    author_name: str = strawberry.field(description="Whose entry it is, by name.")
    base: JSON | None = strawberry.field(description="What stood before both entries, where the device knew it.")
    mine: JSON | None = strawberry.field(description="What the author entered; of a refused change all of it.")
    theirs: JSON | None = strawberry.field(description="What stands.")
    theirs_by: str | None = strawberry.field(description="Who entered what stands: a colleague's id.")
    theirs_name: str | None = strawberry.field(description="Who entered what stands, by name.")
    theirs_at: Instant | None = strawberry.field(description="When that reached the server.")
    theirs_rev: BigInt | None = strawberry.field(description="The record's `rev` at which it was written.")
    captured_at: Instant | None = strawberry.field(description="When the author entered his, on the device.")
    created_at: Instant = strawberry.field(description="When the issue came up.")
    intent: str | None = strawberry.field(description="CREATE, PATCH or DELETE: what the author's change was.")
    base_rev: BigInt | None = strawberry.field(description="The `rev` the author's change was made on.")
    problems: JSON = strawberry.field(description="Every reason for a refusal: code, path, allowed, params.")
    about: JSON = strawberry.field(description="The record as it is recognised: names, number, day, zone, currency.")
    names: JSON = strawberry.field(description="What the ids in the values are called.")
    way_codes: list[str] = strawberry.field(description="The ways out there are, also of one that is settled.")
    state: IssueState = strawberry.field(description="Whether somebody still has to decide.")
    resolution: Resolution | None = strawberry.field(description="How it was settled.")
    resolved_value: JSON | None = strawberry.field(description="What was written then.")
    resolved_by: str | None = strawberry.field(description="Who settled it: a colleague's id.")
    resolved_name: str | None = strawberry.field(description="Who settled it, by name.")
    resolved_at: Instant | None = strawberry.field(description="When it was settled.")
    history: JSON = strawberry.field(description="What was tried before, by whom, and what stood then.")

    @strawberry.field(description="What it is about, in a line.")
    def title(self: Any, info: Info) -> str:
        return _told(self, info).title

    @strawberry.field(description="What happened and whose value stands, in the reader's language.")
    def text(self: Any, info: Info) -> str:
        return _told(self, info).text

    @strawberry.field(description="What can be done about it; empty once it is settled.")
    def ways_out(self: Any, info: Info) -> list[SyncIssueWay]:
        return [SyncIssueWay(code=WayOut(code), label=label) for code, label in _told(self, info).ways]

    @strawberry.field(description="True when it has been open for longer than the organisation allows (3 days).")
    def escalated(self: Any, info: Info) -> bool:
        days = info.context.settings.issue_escalation_days
        open_since: int = self.read("created_at")
        return bool(self.read("state") == IssueState.OPEN and info.context.now_ms - open_since >= days * DAY_MS)


def _told(record: Any, info: Info) -> Told:
    context = info.context
    document = {_camel(name): record.read(name) for name in TOLD_FIELDS}
    document["waysOut"] = record.read("way_codes")
    return tell_issue(context.messages, document, context.locale, context.caller.holder)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@strawberry.type(description="What became of a decision about a sync issue.")
class SyncIssueResolved:
    id: ID = strawberry.field(description="The issue's id.")
    status: Status = strawberry.field(
        description="APPLIED or MERGED: it is settled. CONFLICT: the record had changed again, it stays open."
    )
    conflicts: list[FieldConflict] = strawberry.field(description="What stands in the way now.")

    @strawberry.field(description="The issue as it stands now.")
    def issue(self) -> SyncIssue | None:
        return one("syncIssues", self.id)  # type: ignore[return-value]


SyncIssueResult = Annotated[
    SyncIssueResolved | Refusal,
    strawberry.union("SyncIssueResult", description="What became of the decision, or why it was not taken."),
]


@strawberry.type
class IssueQueries:
    @strawberry.field(description="A sync issue; null when it is neither yours nor of somebody you manage.")
    def sync_issue(self, info: Info, id: RecordId) -> SyncIssue | None:
        return select_one(info, "syncIssues", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Sync issues, the oldest first.")
    def sync_issues(
        self,
        info: Info,
        scope: Annotated[IssueScope, strawberry.argument(description="Whose.")] = IssueScope.MINE,
        state: Annotated[
            list[IssueState] | None, strawberry.argument(description="In any of these states; OPEN when absent.")
        ] = None,
        older_than_days: Annotated[
            int | None, strawberry.argument(description="Only those that came up that many days ago or earlier.")
        ] = None,
        record_id: Annotated[ID | None, strawberry.argument(description="Only those about this record.")] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[SyncIssue]:
        context = info.context
        if older_than_days is not None and not 0 <= older_than_days <= OLDER_DAYS_MAX:
            raise Refused(Problem(Code.OUT_OF_RANGE, ("olderThanDays",), ("0", str(OLDER_DAYS_MAX))))
        up_to = None if older_than_days is None else max(0, context.now_ms - older_than_days * DAY_MS)
        return select_page(  # type: ignore[no-any-return]
            info,
            "syncIssues",
            PageRequest(first, after, last, before),
            (
                ("authorId" if scope is IssueScope.MINE else "authorIsNot", context.caller.holder),
                ("stateIn", [IssueState.OPEN] if state is None else state),
                ("createdUpTo", up_to),
                ("recordId", record_id),
            ),
            direction=direction,
        )


@strawberry.type
class IssueMutations:
    @strawberry.mutation(
        description="Settle a sync issue: your own, or one of somebody you manage, within your own rights."
    )
    async def resolve_sync_issue(
        self,
        info: Info,
        id: RecordId,
        choice: Annotated[WayOut, strawberry.argument(description="One of its ways out.")],
        value: Annotated[JSON | None, strawberry.argument(description="With CUSTOM: what is to stand.")] = None,
        fields: Annotated[
            JSON | None, strawberry.argument(description="With CHANGE_AND_SEND_AGAIN: the fields corrected.")
        ] = None,
        without: Annotated[
            list[str] | None, strawberry.argument(description="With CHANGE_AND_SEND_AGAIN: fields to leave out.")
        ] = None,
        record_rev: Annotated[
            BigInt | None,
            strawberry.argument(
                description="The record's `rev` that was looked at; the issue's `theirsRev` when absent. If the field"
                " was written since, it is a conflict again."
            ),
        ] = None,
    ) -> SyncIssueResult:
        given = {"value": value, "fields": fields, "without": without, "recordRev": record_rev}
        decision = {"choice": choice.value, **{name: part for name, part in given.items() if part is not None}}
        try:
            outcome = await apply_change(info.context, "syncIssues", Change(str(id), Intent.PATCH, decision))
        except Refused as refused:
            return refuse(info, refused)
        return SyncIssueResolved(id=ID(outcome.id), status=outcome.status, conflicts=show_conflicts(outcome.conflicts))
