"""Key figures of a period and a scope: each with what it is the share of, its interval and what it stands on."""

from typing import Annotated

import strawberry

from backend.domain.arrays import Basis
from backend.domain.kpis import KPI_UNITS, KpiCode, NoFigure, Unit
from backend.domain.messages import label, render
from backend.domain.times import local_day
from backend.schema.context import Context, Info
from backend.schema.scalars import BigInt, Day
from backend.schema.sources import SourceUsed, show_sources
from backend.usecases.kpis import KpiFound, KpisFound, key_figures

ID = strawberry.ID

for _enum in (KpiCode, Unit):
    strawberry.enum(_enum, description=(_enum.__doc__ or "").strip())


@strawberry.type(description="One key figure of a period.")
class Kpi:
    code: KpiCode = strawberry.field(description="Which figure.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    unit: Unit = strawberry.field(description="What `value`, `low` and `high` are counted in.")
    value: BigInt | None = strawberry.field(description="The figure; null where `missing` says why there is none.")
    previous: BigInt | None = strawberry.field(description="The same of as many days just before.")
    part: BigInt = strawberry.field(description="What it was computed from: how many, or how much,")
    whole: BigInt = strawberry.field(description="of how many, or how much.")
    low: BigInt | None = strawberry.field(description="Lower end of the 95 % interval, where one is known.")
    high: BigInt | None = strawberry.field(description="Upper end of the 95 % interval, where one is known.")
    basis: str = strawberry.field(description="What it stands on, as a code.")
    basis_text: str = strawberry.field(description="What it stands on, in the reader's language.")
    missing: NoFigure | None = strawberry.field(description="Why there is no figure.")
    missing_text: str | None = strawberry.field(description="Why there is no figure, in the reader's language.")
    sources: list[SourceUsed] = strawberry.field(description="The records it was computed from.")


@strawberry.type(description="Key figures of one scope and period, all with the records of one moment.")
class Kpis:
    first_day: Day = strawberry.field(name="from", description="First day of the period.")
    last_day: Day = strawberry.field(name="until", description="Last day of the period, included.")
    currency: str = strawberry.field(description="The reporting currency of amounts.")
    customers: int = strawberry.field(description="How many customers the scope has.")
    customers_left_out: int = strawberry.field(
        description="Customers in no figure because a currency they ordered in has no exchange rate for its day."
    )
    items: list[Kpi] = strawberry.field(description="The figures asked for.")


@strawberry.type
class KpiQueries:
    @strawberry.field(
        description="Key figures of the customers you work for. A figure without anything to count says why."
    )
    async def kpis(
        self,
        info: Info,
        first_day: Annotated[Day, strawberry.argument(name="from", description="First local day.")],
        last_day: Annotated[
            Day | None, strawberry.argument(name="until", description="Last local day, included; today when absent.")
        ] = None,
        codes: Annotated[
            list[KpiCode] | None, strawberry.argument(description="Which figures; all when absent.")
        ] = None,
        territory_id: Annotated[
            ID | None, strawberry.argument(description="A territory with everything below it; without, all you hold.")
        ] = None,
    ) -> Kpis:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await key_figures(
            context.engine,
            context.caller,
            settings=context.settings,
            codes=list(KpiCode) if codes is None else codes,
            first_day=first_day,
            last_day=last_day or today,
            today=today,
            territory_id=territory_id,
        )
        return _shown(context, found)


def _shown(context: Context, found: KpisFound) -> Kpis:
    return Kpis(
        first_day=Day(found.first_day),
        last_day=Day(found.last_day),
        currency=context.settings.reporting_currency,
        customers=found.customers_n,
        customers_left_out=found.left_out_n,
        items=[show_kpi(context, one) for one in found.items],
    )


def show_kpi(context: Context, one: KpiFound) -> Kpi:
    """The figure in the words of whoever asks."""
    figure, basis = one.figure, Basis(one.figure.basis).name

    def words(enum: str, code: str) -> str:
        return label(context.messages, enum, code, context.locale)

    return Kpi(
        code=one.code,
        name=words(KpiCode.__name__, one.code.value),
        unit=KPI_UNITS[one.code],
        value=_big(figure.value),
        previous=_big(one.previous.value),
        part=BigInt(figure.part),
        whole=BigInt(figure.whole),
        low=_big(figure.low),
        high=_big(figure.high),
        basis=basis,
        basis_text=render(context.messages, f"basis.{basis}", context.locale),
        missing=figure.missing,
        missing_text=None if figure.missing is None else words(NoFigure.__name__, figure.missing.value),
        sources=show_sources(context, one.sources),
    )


def _big(value: int | None) -> BigInt | None:
    return None if value is None else BigInt(value)
