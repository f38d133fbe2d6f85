"""Duplicates: named before a record is made, queued when it was, merged by people, and taken apart again."""

from typing import Annotated, Any

import strawberry

from backend.config import load_messages
from backend.domain.contacts import CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.duplicates import MatchLevel, MatchReason
from backend.domain.fields import Shape
from backend.domain.messages import label
from backend.errors import Refused
from backend.reads.selection import PageRequest, one
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.inputs import given_fields, make_input
from backend.schema.paging import select_list, to_one
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import Instant
from backend.schema.types import Contact, Customer
from backend.usecases.matches import MatchState, check_queue, dismiss_match, likely_duplicates, name_pair
from backend.usecases.merges import merge_records, undo_merge

ID = strawberry.ID
CUSTOMERS, CONTACTS = "customers", "contacts"
DUPLICATES_SHOWN = 5
PAIRS_SHOWN = 20

for _enum in (MatchLevel, MatchReason):
    strawberry.enum(_enum, description=(_enum.__doc__ or "").strip())


def _candidate(shape: Shape, name: str) -> type[Any]:
    description = f"What is known so far of a {name.lower()} about to be made."
    return make_input(shape, f"{name}Candidate", description, load_messages(), creating=False)


CustomerCandidate: Any = _candidate(CUSTOMER, "Customer")
ContactCandidate: Any = _candidate(CONTACT, "Contact")


@strawberry.type(description="One piece of evidence that two records are one, or are not.")
class MatchEvidence:
    code: MatchReason = strawberry.field(description="The evidence as a code.")
    text: str = strawberry.field(description="The evidence in the reader's language.")


@strawberry.type(description="A record that may be the one about to be made.")
class Duplicate:
    record_id: ID = strawberry.field(description="Its id.")
    level: MatchLevel = strawberry.field(description="How likely it is the same.")
    points: int = strawberry.field(description="What the evidence adds up to; a phone computes the same.")
    reasons: list[MatchEvidence] = strawberry.field(description="The evidence.")

    @strawberry.field(description="The customer, where customers were compared.")
    def customer(self) -> Customer | None:
        return one(CUSTOMERS, self.record_id)  # type: ignore[return-value]

    @strawberry.field(description="The contact, where contacts were compared.")
    def contact(self) -> Contact | None:
        return one(CONTACTS, self.record_id)  # type: ignore[return-value]


@strawberry.type(description="Two records that may be one, for somebody to look at.")
class MatchPair:
    id: ID = strawberry.field(description="The pair's id.")
    collection: str = strawberry.field(description="`customers` or `contacts`.")
    first_id: ID = strawberry.field(description="One of them.")
    second_id: ID = strawberry.field(description="The other.")
    points: int = strawberry.field(description="What the evidence adds up to.")
    reason_codes: list[str] = strawberry.field(description="The evidence as it was when they were compared, as codes.")
    state: MatchState = strawberry.field(description="What became of the pair.")
    found_at: Instant = strawberry.field(description="When they were compared.")
    first_customer: Customer | None = to_one("The two customers that still exist, where customers were compared.")
    second_customer: Customer | None = to_one("The second customer.")
    first_contact: Contact | None = to_one("The first contact, where contacts were compared.")
    second_contact: Contact | None = to_one("The second contact.")

    @strawberry.field(description="The evidence as it was when they were compared.")
    def reasons(self: Any, info: Info) -> list[MatchEvidence]:
        return [_evidence(info, MatchReason(code)) for code in self.read("reason_codes")]


@strawberry.type(description="Records were merged. Whoever still writes to a merged id writes to the survivor.")
class RecordsMerged:
    survivor_id: ID = strawberry.field(description="The record that stands.")
    merge_ids: list[ID] = strawberry.field(description="One per merged record, in order; `undoMerge` takes them.")

    @strawberry.field(description="The customer that stands, where customers were merged.")
    def customer(self) -> Customer | None:
        return one(CUSTOMERS, self.survivor_id)  # type: ignore[return-value]

    @strawberry.field(description="The contact that stands, where contacts were merged.")
    def contact(self) -> Contact | None:
        return one(CONTACTS, self.survivor_id)  # type: ignore[return-value]


@strawberry.type(description="A merge was taken back.")
class MergeUndone:
    collection: str = strawberry.field(description="`customers` or `contacts`.")
    survivor_id: ID = strawberry.field(description="The record that had taken the other in.")
    restored_id: ID = strawberry.field(description="The record that stands again, by its old id.")


@strawberry.type(description="A pair is in the queue of whoever may merge it.")
class MatchNamed:
    id: ID = strawberry.field(description="The pair's id.")


@strawberry.type(description="The two are two: the pair is not shown again.")
class MatchDismissed:
    id: ID = strawberry.field(description="The pair's id.")


def _union(name: str, what: str) -> object:
    return strawberry.union(name, description=what)


MergeResult = Annotated[RecordsMerged | Refusal, _union("MergeResult", "What was merged, or why nothing was.")]
UndoMergeResult = Annotated[MergeUndone | Refusal, _union("UndoMergeResult", "What was restored, or why nothing was.")]
NameMatchResult = Annotated[MatchNamed | Refusal, _union("NameMatchResult", "The pair, or why there is none.")]
DismissResult = Annotated[MatchDismissed | Refusal, _union("DismissResult", "The pair, or why it stays.")]

_SURVIVOR = Annotated[ID, strawberry.argument(description="The record that stands.")]
_MERGED = Annotated[list[ID], strawberry.argument(description="The records that go; their ids keep leading to it.")]
_TAKE = Annotated[
    list[str] | None,
    strawberry.argument(description="Fields, by document name, in which the merged record is right."),
]
_FIRST = Annotated[int, strawberry.argument(description="How many at most.")]
_COLLECTION = Annotated[str, strawberry.argument(description="`customers` or `contacts`.")]


async def _duplicates(info: Info, collection: str, candidate: Any, first: int) -> list[Duplicate]:
    context = info.context
    found = await likely_duplicates(
        context.engine,
        context.caller,
        collection,
        given_fields(candidate),
        first=first,
        rows_max=context.settings.nested_page_rows_max,
    )
    return [
        Duplicate(
            record_id=ID(match.record_id),
            level=match.level,
            points=match.points,
            reasons=[_evidence(info, reason) for reason in match.reasons],
        )
        for match in found
    ]


def _evidence(info: Info, reason: MatchReason) -> MatchEvidence:
    context = info.context
    return MatchEvidence(code=reason, text=label(context.messages, MatchReason.__name__, reason.value, context.locale))


async def _find_customers(self: Any, info: Info, candidate: Any, first: int = DUPLICATES_SHOWN) -> list[Duplicate]:
    return await _duplicates(info, CUSTOMERS, candidate, first)


async def _find_contacts(self: Any, info: Info, candidate: Any, first: int = DUPLICATES_SHOWN) -> list[Duplicate]:
    return await _duplicates(info, CONTACTS, candidate, first)


def _asking(resolver: Any, candidate: Any) -> Any:
    about = strawberry.argument(description="What is known so far.")
    resolver.__annotations__ = {
        "info": Info,
        "candidate": Annotated[candidate, about],
        "first": _FIRST,
        "return": list[Duplicate],
    }
    return resolver


@strawberry.type
class MergeQueries:
    customer_duplicates: list[Duplicate] = strawberry.field(
        resolver=_asking(_find_customers, CustomerCandidate),
        description="Customers you see that the one about to be made may be; ask before creating it.",
    )
    contact_duplicates: list[Duplicate] = strawberry.field(
        resolver=_asking(_find_contacts, ContactCandidate),
        description="Contacts you see that the one about to be made may be; ask before creating it.",
    )

    @strawberry.field(description="Pairs that may be one record, newest first, for whoever may merge them.")
    async def match_queue(
        self,
        info: Info,
        collection: _COLLECTION = CUSTOMERS,
        state: Annotated[MatchState, strawberry.argument(description="What became of them.")] = MatchState.OPEN,
        first: _FIRST = PAIRS_SHOWN,
        after: Annotated[ID | None, strawberry.argument(description="The last pair of the page before.")] = None,
    ) -> list[MatchPair]:
        context = info.context
        await check_queue(
            context.engine,
            context.caller,
            collection,
            first=first,
            after=after,
            rows_max=context.settings.page_rows_max,
        )
        return select_list(  # type: ignore[no-any-return]
            info, "matchPairs", PageRequest(first, after), (("collection", collection), ("state", state))
        )


async def _merge(info: Info, collection: str, survivor_id: str, merged_ids: list[ID], take: list[str] | None) -> Any:
    try:
        merges = await tell(
            info.context, lambda work: merge_records(work, collection, survivor_id, merged_ids, take or ())
        )
    except Refused as refused:
        return refuse(info, refused)
    return RecordsMerged(survivor_id=ID(survivor_id), merge_ids=[ID(merge_id) for merge_id in merges])


@strawberry.type
class MergeMutations:
    @strawberry.mutation(description="Make one customer of several; all that hangs on them goes to the survivor.")
    async def merge_customers(
        self, info: Info, survivor_id: _SURVIVOR, merged_ids: _MERGED, take: _TAKE = None
    ) -> MergeResult:
        return await _merge(info, CUSTOMERS, survivor_id, merged_ids, take)  # type: ignore[no-any-return]

    @strawberry.mutation(description="Make one contact of several; a consent withdrawn anywhere stays withdrawn.")
    async def merge_contacts(
        self, info: Info, survivor_id: _SURVIVOR, merged_ids: _MERGED, take: _TAKE = None
    ) -> MergeResult:
        return await _merge(info, CONTACTS, survivor_id, merged_ids, take)  # type: ignore[no-any-return]

    @strawberry.mutation(description="Take a merge back. What came to the survivor since stays with it.")
    async def undo_merge(
        self, info: Info, id: Annotated[ID, strawberry.argument(description="The merge.")]
    ) -> UndoMergeResult:
        try:
            collection, survivor_id, restored_id = await tell(info.context, lambda work: undo_merge(work, id))
        except Refused as refused:
            return refuse(info, refused)
        return MergeUndone(collection=collection, survivor_id=ID(survivor_id), restored_id=ID(restored_id))

    @strawberry.mutation(description="Say that two records you see are one; whoever may merge them is asked to.")
    async def name_match(
        self,
        info: Info,
        one_id: Annotated[ID, strawberry.argument(description="One of them.")],
        other_id: Annotated[ID, strawberry.argument(description="The other.")],
        collection: _COLLECTION = CUSTOMERS,
    ) -> NameMatchResult:
        try:
            pair_id = await tell(info.context, lambda work: name_pair(work, collection, one_id, other_id))
        except Refused as refused:
            return refuse(info, refused)
        return MatchNamed(id=ID(pair_id))

    @strawberry.mutation(description="Say that the two records of a pair are two.")
    async def dismiss_match(
        self, info: Info, id: Annotated[ID, strawberry.argument(description="The pair.")]
    ) -> DismissResult:
        try:
            await tell(info.context, lambda work: dismiss_match(work, id))
        except Refused as refused:
            return refuse(info, refused)
        return MatchDismissed(id=id)
