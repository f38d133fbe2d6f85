"""Erasing people, what is held about one, what was pulled unusually, and what retention would remove."""

from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from backend.domain.messages import label, render
from backend.domain.privacy import ErasureReason, SecurityEventKind
from backend.domain.retention import RetentionClass
from backend.errors import Refused
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Instant
from backend.usecases.person_export import export_person
from backend.usecases.privacy.erased import Erased
from backend.usecases.retention import preview
from backend.usecases.watching import security_events

ID = strawberry.ID
FIRST_DEFAULT = 50

strawberry.enum(ErasureReason, description="Why a person's data is erased.")
strawberry.enum(SecurityEventKind, description="What an admin should look at. More may be added.")
strawberry.enum(RetentionClass, description="What is kept for a time of its own.")


@strawberry.type(description="So many of one kind.")
class KindCount:
    kind: str = strawberry.field(description="What: a collection, or a kind of copy such as `receipts`.")
    count: int = strawberry.field(description="How many.")


@strawberry.type(description="A text of another record that names the person.")
class Mention:
    collection: str = strawberry.field(description="Its collection.")
    record_id: ID = strawberry.field(description="Its id.")
    field: str = strawberry.field(description="Which of its texts.")


@strawberry.type(description="A person was erased, or had been before. No value of theirs is told.")
class PersonErased:
    id: ID = strawberry.field(description="The person's record; its id is taken by nobody ever again.")
    collection: str = strawberry.field(
        description="`contacts`: it is gone. `customers`, `people`: it stays for its orders or work, and is nobody."
    )
    ids: list[ID] = strawberry.field(
        description="All ids that were the person's: those merged into it, and contacts of an erased consumer alone."
    )
    erased_at: Instant = strawberry.field(description="When.")
    already: bool = strawberry.field(description="It had been erased before: nothing was left to do.")
    removed: list[KindCount] = strawberry.field(description="What was removed or cleared.")
    mentions: list[Mention] = strawberry.field(
        description="Texts of other records that name the person, for somebody to look at; a name may be another's too."
    )


@strawberry.type(description="What is kept for a time of its own, why, and how much of it is past its time.")
class RetentionRule:
    kept: RetentionClass = strawberry.field(description="The class.")
    name: str = strawberry.field(description="What it is called in the reader's language.")
    purpose: str = strawberry.field(description="What it is kept for.")
    ground: str = strawberry.field(description="By which ground, as the law names it.")
    days: int | None = strawberry.field(description="For how long; null: for ever.")
    rows: int | None = strawberry.field(
        description="How much a run at this moment would end; null where receipts go with the history they belong to."
    )


ErasePersonResult = Annotated[
    PersonErased | Refusal, strawberry.union("ErasePersonResult", description="Who was erased, or why nobody was.")
]


@strawberry.type(description="Everything held about a person, and that it was handed out is in the audit.")
class PersonExport:
    id: ID = strawberry.field(description="The person's record.")
    collection: str = strawberry.field(description="`contacts`, `customers` or `people`.")
    document: JSON = strawberry.field(
        description="{format, id, collection, language, at, sections: [{section, label, total, more, rows: [[{field,"
        " label, value}]]}]}: machine-readable, labels in the reader's language; `more` where a section was cut."
    )


@strawberry.type(description="Something an admin should look at.")
class SecurityEvent:
    id: ID = strawberry.field(description="The event's id; goes into `after`.")
    at: Instant = strawberry.field(description="When.")
    kind: SecurityEventKind = strawberry.field(description="What.")
    user_id: ID = strawberry.field(description="Whose doing it was.")
    device_id: ID | None = strawberry.field(description="By which device.")
    rows: BigInt = strawberry.field(description="How many rows it was given that day.")
    rows_expected: BigInt = strawberry.field(description="How many would not have been unusual.")


ExportPersonResult = Annotated[
    PersonExport | Refusal, strawberry.union("ExportPersonResult", description="What is held, or why it is not told.")
]


@strawberry.type
class PrivacyQueries:
    @strawberry.field(description="Security events, the newest first. For admins.")
    async def security_events(
        self,
        info: Info,
        first: Annotated[int, strawberry.argument(description="How many.")] = FIRST_DEFAULT,
        after: Annotated[ID | None, strawberry.argument(description="The last event seen.")] = None,
    ) -> list[SecurityEvent]:
        context = info.context
        async with context.engine.read() as conn:
            found = await security_events(
                conn, context.caller, first=first, after=after, rows_max=context.settings.page_rows_max
            )
        return [
            SecurityEvent(
                id=ID(one.id),
                at=Instant(one.at_ms),
                kind=SecurityEventKind(one.kind),
                user_id=ID(one.user_id),
                device_id=ID(one.device_id) if one.device_id else None,
                rows=BigInt(one.rows),
                rows_expected=BigInt(one.rows_expected),
            )
            for one in found
        ]

    @strawberry.field(description="What retention would end if it ran now, by class. For admins; changes nothing.")
    async def retention_preview(self, info: Info) -> list[RetentionRule]:
        context = info.context
        async with context.engine.read() as conn:
            found = await preview(conn, context.caller, context.settings, context.now_ms)
        return [
            RetentionRule(
                kept=one.rule.kept,
                name=label(context.messages, RetentionClass.__name__, one.rule.kept.value, context.locale),
                purpose=render(context.messages, one.rule.purpose_key, context.locale),
                ground=render(context.messages, one.rule.ground_key, context.locale),
                days=one.rule.days if one.rule.ends else None,
                rows=one.rows,
            )
            for one in found
        ]


@strawberry.type
class PrivacyMutations:
    @strawberry.mutation(
        description="Erase a person everywhere, for good: a contact, a customer of kind CONSUMER, or a colleague who"
        " has left. Orders stay. Devices drop what they hold with their next pull."
    )
    async def erase_person(
        self,
        info: Info,
        id: Annotated[ID, strawberry.argument(description="The contact, the customer or the colleague.")],
        reason: Annotated[ErasureReason, strawberry.argument(description="Why.")],
        strike_mentions: Annotated[
            bool,
            strawberry.argument(
                description="Strike names, numbers and addresses out of other records' texts, instead of listing them."
            ),
        ] = False,
    ) -> ErasePersonResult:
        context = info.context
        try:
            erased = await context.eraser.erase(context.caller, id, reason, strike_mentions=strike_mentions)
        except Refused as refused:
            return refuse(info, refused)
        return _shown(erased)

    @strawberry.mutation(
        description="Hand out everything held about a contact, a consumer or a colleague, for that person. Needs the"
        " right to export; a mutation, because that it was handed out is written down."
    )
    async def export_person(
        self, info: Info, id: Annotated[ID, strawberry.argument(description="Whose data.")]
    ) -> ExportPersonResult:
        context = info.context
        try:
            found = await tell(
                context,
                lambda work: export_person(
                    work,
                    id,
                    rows_max=context.settings.person_export_rows_max,
                    texts=context.messages,
                    locale=context.locale,
                ),
            )
        except Refused as refused:
            return refuse(info, refused)
        return PersonExport(id=id, collection=found["collection"], document=found)  # type: ignore[arg-type]


def _shown(erased: Erased) -> PersonErased:
    return PersonErased(
        id=ID(erased.id),
        collection=erased.collection,
        ids=[ID(one) for one in sorted(erased.ids)],
        erased_at=Instant(erased.at_ms),
        already=erased.already,
        removed=[KindCount(kind=kind, count=count) for kind, count in sorted(erased.counts.items())],
        mentions=[
            Mention(collection=one.collection, record_id=ID(one.record_id), field=one.field) for one in erased.mentions
        ],
    )
