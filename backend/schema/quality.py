"""Data quality over GraphQL: four parts with how many and examples, and who has not been heard of."""

from typing import Annotated

import strawberry

from backend.domain.messages import label
from backend.domain.quality import Check, Quality, QualityPart, QualityRule
from backend.reads.selection import one as select
from backend.schema.behaviour import CustomerScope, TerritoryScope
from backend.schema.context import Context, Info
from backend.schema.scalars import Instant
from backend.schema.types import Customer
from backend.usecases.data_quality import QualityFound, quality_of, stale_customers

ID = strawberry.ID
ROWS_DEFAULT = 20

for _enum in (QualityPart, QualityRule):
    strawberry.enum(_enum, description=(_enum.__doc__ or "").strip())

StaleDays = Annotated[
    int | None,
    strawberry.argument(description="Days without anything recorded; the setting `stale_days` if absent."),
]


@strawberry.type(description="One thing that was checked of all customers.")
class QualityCheck:
    rule: QualityRule = strawberry.field(description="What was checked.")
    text: str = strawberry.field(description="The same in the reader's language.")
    field: str | None = strawberry.field(description="Of FIELD_MISSING: the field.")
    checked: int = strawberry.field(description="Customers it was checked of.")
    failed: int = strawberry.field(description="Customers that fail it.")
    examples: list[ID] = strawberry.field(description="The first of them.")


@strawberry.type(description="One side of data quality.")
class QualityPartFound:
    part: QualityPart = strawberry.field(description="Which side.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    score_bp: int | None = strawberry.field(
        description="Share of checks that passed, in basis points; null where nothing could be checked."
    )
    checked: int = strawberry.field(description="Checks made.")
    failed: int = strawberry.field(description="Checks failed.")
    checks: list[QualityCheck] = strawberry.field(description="What was checked, the most failures first.")


@strawberry.type(description="How good what is recorded of customers is.")
class DataQuality:
    customers: int = strawberry.field(description="Customers looked at: those you hold and sell to.")
    stale_days: int = strawberry.field(description="Days without anything recorded that count as stale.")
    parts: list[QualityPartFound] = strawberry.field(description="Completeness, freshness, consistency, uniqueness.")


@strawberry.type(description="A customer nobody recorded anything of for long.")
class StaleCustomer:
    customer_id: ID = strawberry.field(description="The customer.")
    last_recorded_at: Instant = strawberry.field(description="The last order, visit or change.")
    silent_days: int = strawberry.field(description="Whole days since.")

    @strawberry.field(description="The customer.")
    def customer(self) -> Customer | None:
        return select("customers", self.customer_id)  # type: ignore[return-value]


@strawberry.type(description="Customers nobody recorded anything of for long.")
class StaleCustomers:
    total_count: int = strawberry.field(description="How many there are in all.")
    customers: int = strawberry.field(description="Of how many customers.")
    items: list[StaleCustomer] = strawberry.field(description="The longest silent first.")


@strawberry.type
class QualityQueries:
    @strawberry.field(description="How good what is recorded of a customer, a territory, or all you hold is.")
    async def data_quality(
        self,
        info: Info,
        customer_id: CustomerScope = None,
        territory_id: TerritoryScope = None,
        days: StaleDays = None,
    ) -> DataQuality:
        context = info.context
        found = await quality_of(
            context.engine,
            context.caller,
            settings=context.settings,
            now_ms=context.now_ms,
            customer_id=customer_id,
            territory_id=territory_id,
            stale_days=days,
        )
        return DataQuality(
            customers=len(found.ids),
            stale_days=found.stale_days,
            parts=[_part(context, found, part) for part in found.parts],
        )

    @strawberry.field(description="Customers without an order, a visit or a change for long, the longest silent first.")
    async def stale_data(
        self,
        info: Info,
        days: StaleDays = None,
        territory_id: TerritoryScope = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = ROWS_DEFAULT,
    ) -> StaleCustomers:
        context = info.context
        found = await stale_customers(
            context.engine,
            context.caller,
            settings=context.settings,
            now_ms=context.now_ms,
            first=first,
            territory_id=territory_id,
            stale_days=days,
        )
        return StaleCustomers(
            total_count=found.total,
            customers=found.checked_n,
            items=[
                StaleCustomer(
                    customer_id=ID(one.customer_id),
                    last_recorded_at=Instant(one.touched_ms),
                    silent_days=one.silent_days,
                )
                for one in found.items
            ],
        )


def _part(context: Context, found: QualityFound, part: Quality) -> QualityPartFound:
    return QualityPartFound(
        part=part.part,
        name=label(context.messages, QualityPart.__name__, part.part.value, context.locale),
        score_bp=part.score_bp,
        checked=part.checked_n,
        failed=part.failed_n,
        checks=[_check(context, found, check) for check in part.checks],
    )


def _check(context: Context, found: QualityFound, check: Check) -> QualityCheck:
    text = label(context.messages, QualityRule.__name__, check.rule.value, context.locale)
    if check.field is not None:
        texts = context.messages[context.locale] if context.locale in context.messages else context.messages["en"]
        text = f"{text}: {texts.get(f'field.{check.field}', check.field)}"
    return QualityCheck(
        rule=check.rule,
        text=text,
        field=check.field,
        checked=check.checked_n,
        failed=check.failed_n,
        examples=[ID(found.ids[row]) for row in check.examples],
    )
