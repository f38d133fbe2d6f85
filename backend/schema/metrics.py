"""`explainMetric`: any figure the product shows, in words, with its formula, its inputs and where it comes from."""

from collections.abc import Sequence
from typing import Annotated

import strawberry

from backend.domain.kpis import KpiCode, Unit
from backend.domain.messages import label, render
from backend.domain.metric_examples import Example, example_of
from backend.domain.metrics import METRICS, MetricCode, kpi_code
from backend.domain.sources import ImportUsed
from backend.domain.sources import SourceUsed as FoundSource
from backend.domain.times import add_days, local_day
from backend.errors import Code, Problem, Refused
from backend.schema.context import Context, Info
from backend.schema.kpis import Kpi, show_kpi
from backend.schema.scalars import BigInt, Day, Instant
from backend.schema.sources import SourceUsed, show_sources
from backend.usecases.kpis import key_figures
from backend.usecases.metrics import Lineage, explain_customer_metric

ID = strawberry.ID
PERIOD_DAYS = 365
"""A key figure is explained by the year up to today."""

strawberry.enum(MetricCode, description=(MetricCode.__doc__ or "").strip())


@strawberry.type(description="An import that brought some of the orders.")
class ImportBehind:
    id: ID = strawberry.field(description="The import's UUID.")
    system: str = strawberry.field(description="The system it came from.")
    file_name: str = strawberry.field(description="The file.")
    started_at: Instant = strawberry.field(description="When it began.")
    orders: int = strawberry.field(description="How many of the customer's orders it brought.")


@strawberry.type(description="Where a figure comes from.")
class MetricLineage:
    run_id: ID = strawberry.field(description="The score run that found it.")
    as_of: Day = strawberry.field(description="The day that run looked from.")
    table_version: str = strawberry.field(description="The published weights and thresholds it used.")
    started_at: Instant = strawberry.field(description="When the run began.")
    started_by: str = strawberry.field(description="Who started it.")
    imports: list[ImportBehind] = strawberry.field(description="The imports behind its orders, the newest first.")


@strawberry.type(description="One number that goes into a worked example.")
class ExampleInput:
    name: str = strawberry.field(description="What it is, in English.")
    value: str = strawberry.field(description="The number.")


@strawberry.type(description="A worked example, computed by the same code.")
class MetricExample:
    inputs: list[ExampleInput] = strawberry.field(description="What goes in.")
    result: str = strawberry.field(description="What comes out, in the figure's unit.")


@strawberry.type(description="A figure explained. Of a key figure of many customers `kpi` holds the figure itself.")
class MetricExplained:
    code: MetricCode = strawberry.field(description="Which figure.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    meaning: str = strawberry.field(description="What it says, in the reader's language.")
    formula: str = strawberry.field(description="How it is computed.")
    unit: Unit = strawberry.field(description="What it is counted in.")
    sure: str = strawberry.field(description="How sure it is and why, in the reader's language.")
    requirements: list[str] = strawberry.field(description="Where it is asked for.")
    value: BigInt | None = strawberry.field(description="The figure; null where not recorded, or where it is a code.")
    value_code: str | None = strawberry.field(description="The figure where it is a code, such as a segment.")
    basis: str | None = strawberry.field(description="What it stands on, as a code.")
    basis_text: str | None = strawberry.field(description="What it stands on, in the reader's language.")
    confidence_bp: int | None = strawberry.field(description="How sure, or how much of it is recorded; basis points.")
    sources: list[SourceUsed] = strawberry.field(description="The records it was computed from.")
    lineage: MetricLineage | None = strawberry.field(description="Run, table and imports; null for key figures.")
    kpi: Kpi | None = strawberry.field(description="The key figure of the year up to today; null for a customer's.")
    example: MetricExample = strawberry.field(description="A worked example.")


@strawberry.type
class MetricQueries:
    @strawberry.field(
        description="What a figure means, how it was computed, from which records, and how sure it is. Also printed in"
        " `docs/NUMBERS.md`."
    )
    async def explain_metric(
        self,
        info: Info,
        code: Annotated[MetricCode, strawberry.argument(description="Which figure.")],
        id: Annotated[
            ID | None,
            strawberry.argument(description="The customer; for a key figure a territory, or nothing for all you hold."),
        ] = None,
    ) -> MetricExplained:
        context = info.context
        figure = kpi_code(code)
        if figure is not None:
            return await _key_figure(context, code, figure, id)
        if id is None:
            raise Refused(Problem(Code.REQUIRED, ("id",)))
        found = await explain_customer_metric(context.engine, context.caller, code=code, customer_id=id)
        return _explained(
            context,
            code,
            found.sources,
            value=found.value,
            basis=found.basis,
            confidence_bp=found.confidence_bp,
            lineage=_lineage(found.lineage),
        )


async def _key_figure(context: Context, code: MetricCode, figure: KpiCode, territory_id: str | None) -> MetricExplained:
    today = local_day(context.now_ms, context.settings.organisation_timezone)
    found = await key_figures(
        context.engine,
        context.caller,
        settings=context.settings,
        codes=[figure],
        first_day=add_days(today, 1 - PERIOD_DAYS),
        last_day=today,
        today=today,
        territory_id=territory_id,
    )
    [one] = found.items
    shown = show_kpi(context, one)
    return _explained(context, code, one.sources, value=one.figure.value, basis=shown.basis, kpi=shown)


def _explained(
    context: Context,
    code: MetricCode,
    sources: Sequence[FoundSource],
    *,
    value: int | str | None,
    basis: str | None,
    confidence_bp: int | None = None,
    lineage: MetricLineage | None = None,
    kpi: Kpi | None = None,
) -> MetricExplained:
    metric, key = METRICS[code], f"metric.{code.value}"
    return MetricExplained(
        code=code,
        name=label(context.messages, MetricCode.__name__, code.value, context.locale),
        meaning=render(context.messages, key, context.locale),
        formula=metric.formula,
        unit=metric.unit,
        sure=render(context.messages, f"{key}.sure", context.locale),
        requirements=list(metric.requirements),
        value=BigInt(value) if isinstance(value, int) else None,
        value_code=value if isinstance(value, str) else None,
        basis=basis,
        basis_text=None if basis is None else render(context.messages, f"basis.{basis}", context.locale),
        confidence_bp=confidence_bp,
        sources=show_sources(context, sources),
        lineage=lineage,
        kpi=kpi,
        example=_example(example_of(code)),
    )


def _example(found: Example) -> MetricExample:
    inputs = [ExampleInput(name=name, value=value) for name, value in found.given.items()]
    return MetricExample(inputs=inputs, result=str(found.result))


def _lineage(found: Lineage) -> MetricLineage:
    return MetricLineage(
        run_id=ID(found.run_id),
        as_of=Day(found.as_of),
        table_version=found.table_version,
        started_at=Instant(found.started_at_ms),
        started_by=found.started_by,
        imports=[_import(one) for one in found.imports],
    )


def _import(found: ImportUsed) -> ImportBehind:
    return ImportBehind(
        id=ID(found.id),
        system=found.system,
        file_name=found.file_name,
        started_at=Instant(found.started_at_ms),
        orders=found.orders_n,
    )
