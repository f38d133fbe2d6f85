"""The sixteen segments beside other ways of cutting the same customers."""

from typing import Annotated

import strawberry

from backend.domain.messages import label
from backend.domain.segment_models import Cell, ModelFound, SegmentModel
from backend.domain.times import local_day
from backend.schema.context import Context, Info
from backend.schema.scalars import BigInt
from backend.schema.types import Money
from backend.usecases.segment_models import Comparison, compare_segment_models

ID = strawberry.ID

strawberry.enum(SegmentModel, description=(SegmentModel.__doc__ or "").strip())


@strawberry.type(description="One group of a model. Amounts are null where so few customers may not be told apart.")
class SegmentCell:
    code: str = strawberry.field(description="The group's code.")
    customers: int = strawberry.field(description="How many customers it holds.")
    existing_value: Money | None = strawberry.field(description="What they are worth today, together.")
    year_revenue: Money | None = strawberry.field(description="Their orders of the last four quarters.")


@strawberry.type(description="One way of cutting.")
class SegmentModelResult:
    model: SegmentModel = strawberry.field(description="Which.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    agreement_bp: int | None = strawberry.field(
        description="How far it agrees with the sixteen segments (normalised mutual information, basis points)."
    )
    cells: list[SegmentCell] = strawberry.field(description="Its groups, the most valuable first.")


@strawberry.type(description="Several ways of cutting the same customers.")
class SegmentModelComparison:
    customers: int = strawberry.field(description="How many customers were cut.")
    customers_left_out: int = strawberry.field(
        description="Customers that are too new, were never scored, or ordered in a currency without a rate."
    )
    models: list[SegmentModelResult] = strawberry.field(description="Each way.")


@strawberry.type
class SegmentModelQueries:
    @strawberry.field(
        description="The sixteen segments beside value × potential, value × growth × loyalty, and recency × frequency"
        " × money, over the same customers."
    )
    async def segment_models(
        self,
        info: Info,
        territory_id: Annotated[
            ID | None, strawberry.argument(description="A territory with everything below it; without, all you hold.")
        ] = None,
    ) -> SegmentModelComparison:
        context = info.context
        found = await compare_segment_models(
            context.engine,
            context.caller,
            settings=context.settings,
            today=local_day(context.now_ms, context.settings.organisation_timezone),
            territory_id=territory_id,
        )
        return SegmentModelComparison(
            customers=found.customers_n,
            customers_left_out=found.left_out_n,
            models=[_model(context, found, model) for model in found.models],
        )


def _model(context: Context, found: Comparison, model: ModelFound) -> SegmentModelResult:
    return SegmentModelResult(
        model=model.model,
        name=label(context.messages, SegmentModel.__name__, model.model.value, context.locale),
        agreement_bp=None if model.agreement is None else round(model.agreement * 10_000),
        cells=[_cell(context, cell, told=cell.customers_n >= found.amounts_from_n) for cell in model.cells],
    )


def _cell(context: Context, cell: Cell, *, told: bool) -> SegmentCell:
    def money(amount_minor: int) -> Money | None:
        currency = context.settings.reporting_currency
        return Money(amount_minor=BigInt(amount_minor), currency=currency) if told else None

    return SegmentCell(
        code=cell.code,
        customers=cell.customers_n,
        existing_value=money(cell.existing_value_minor),
        year_revenue=money(cell.year_revenue_minor),
    )
