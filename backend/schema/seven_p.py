"""The 7P analysis over GraphQL: seven parts with score, trend, evidence, caveats, sources and a picture each."""

from typing import Annotated

import strawberry

from backend.domain.arrays import Basis
from backend.domain.kpis import NoFigure, Unit
from backend.domain.messages import label, render
from backend.domain.seven_p.charts import chart_of
from backend.domain.seven_p.pictures import Words
from backend.domain.seven_p.report import Figure, Part, Row, SevenPCaveat, SevenPFigure, SevenPList, SevenPPart
from backend.domain.times import local_day
from backend.schema.context import Context, Info
from backend.schema.scalars import JSON, BigInt, Day
from backend.schema.sources import SourceUsed, show_sources
from backend.usecases.seven_p import ReportScope, SevenPReport, seven_p_report

ID = strawberry.ID

for _enum in (SevenPPart, SevenPFigure, SevenPList, SevenPCaveat):
    strawberry.enum(_enum, description=(_enum.__doc__ or "").strip())


@strawberry.type(description="One number of a 7P report.")
class SevenPNumber:
    code: SevenPFigure = strawberry.field(description="What it tells.")
    name: str = strawberry.field(description="What it tells, in the reader's language.")
    unit: Unit = strawberry.field(description="What `value`, `low`, `high` and `before` are counted in.")
    value: BigInt | None = strawberry.field(description="The number; null where `missing` says why there is none.")
    low: BigInt | None = strawberry.field(
        description="Lower end of its interval, where one is known: 95 %, of forecasts 80 %."
    )
    high: BigInt | None = strawberry.field(description="Upper end of its interval.")
    before: BigInt | None = strawberry.field(description="The same a year before; null where nothing tells it.")
    n: BigInt = strawberry.field(description="Over how many it was computed; 0 where that says nothing.")
    missing: NoFigure | None = strawberry.field(description="Why there is no number.")
    missing_text: str | None = strawberry.field(description="Why there is no number, in the reader's language.")


@strawberry.type(description="One row of evidence.")
class SevenPEvidence:
    list_code: SevenPList = strawberry.field(name="list", description="What the rows of its list have in common.")
    list_name: str = strawberry.field(description="That, in the reader's language.")
    label: str | None = strawberry.field(description="What it is about, in the reader's language where it is a code.")
    collection: str | None = strawberry.field(description="Kind of the record it is about.")
    record_id: ID | None = strawberry.field(description="The record it is about.")
    related_id: ID | None = strawberry.field(description="The newest order it rests on.")
    figures: list[SevenPNumber] = strawberry.field(description="Its numbers.")


@strawberry.type(description="Something to be careful of.")
class SevenPWarning:
    code: SevenPCaveat = strawberry.field(description="What.")
    text: str = strawberry.field(description="What, in the reader's language.")
    count: int | None = strawberry.field(description="How many it concerns, where that can be said.")


@strawberry.type(description="One of the seven parts.")
class SevenPPartReport:
    code: SevenPPart = strawberry.field(description="Which.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    score: int | None = strawberry.field(description="0 to 100; null where nothing can be said.")
    trend: int | None = strawberry.field(description="Points since a year before; null where that cannot be compared.")
    basis: str = strawberry.field(description="What it stands on, as a code.")
    basis_text: str = strawberry.field(description="What it stands on, in the reader's language.")
    n: int = strawberry.field(description="Customers it was computed over.")
    version: str = strawberry.field(description="Version of the rules, tables or models it was computed with.")
    figures: list[SevenPNumber] = strawberry.field(description="Its numbers.")
    evidence: list[SevenPEvidence] = strawberry.field(description="Its rows, list by list.")
    caveats: list[SevenPWarning] = strawberry.field(description="What to be careful of.")
    sources: list[SourceUsed] = strawberry.field(description="The records it was computed from.")
    chart: JSON = strawberry.field(
        description="A Vega-Lite (version 5) specification with its data inside, in the reader's language."
    )


@strawberry.type(description="The 7P analysis of a customer, a territory, or all you hold, with records of one moment.")
class SevenP:
    as_of: Day = strawberry.field(description="The local day it looks from.")
    currency: str = strawberry.field(description="The reporting currency of amounts.")
    customers: int = strawberry.field(description="How many customers the scope has.")
    customers_left_out: int = strawberry.field(
        description="Customers in no amount because a currency they ordered in has no exchange rate for its day."
    )
    parts: list[SevenPPartReport] = strawberry.field(description="All seven, always in the same order.")


@strawberry.type
class SevenPQueries:
    @strawberry.field(
        description="Profiling, persistency, profitability, performance, prospecting, product and promotion of one"
        " customer, of a territory with everything below it, or of all you hold. What is not recorded says so."
    )
    async def seven_p(
        self,
        info: Info,
        customer_id: Annotated[ID | None, strawberry.argument(description="One customer.")] = None,
        territory_id: Annotated[
            ID | None, strawberry.argument(description="A territory with everything below it; not with a customer.")
        ] = None,
        as_of: Annotated[Day | None, strawberry.argument(description="The local day; today when absent.")] = None,
    ) -> SevenP:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await seven_p_report(
            context.engine,
            context.caller,
            ReportScope(customer_id, territory_id),
            settings=context.settings,
            as_of=as_of or today,
            today=today,
        )
        return _shown(context, found)


def _shown(context: Context, found: SevenPReport) -> SevenP:
    words = Words(context.messages, context.locale, context.settings.reporting_currency)
    return SevenP(
        as_of=Day(found.as_of),
        currency=context.settings.reporting_currency,
        customers=found.customers_n,
        customers_left_out=found.left_out_n,
        parts=[_part(context, words, part) for part in found.parts],
    )


def _part(context: Context, words: Words, part: Part) -> SevenPPartReport:
    basis = Basis(part.basis).name
    return SevenPPartReport(
        code=part.code,
        name=words.name(part.code),
        score=part.score,
        trend=part.trend,
        basis=basis,
        basis_text=render(context.messages, f"basis.{basis}", context.locale),
        n=part.n,
        version=part.version,
        figures=[_number(context, words, figure) for figure in part.figures],
        evidence=[_evidence(context, words, row) for row in part.rows],
        caveats=[
            SevenPWarning(code=one.code, text=words.caveat(one.code, one.count), count=one.count)
            for one in part.caveats
        ],
        sources=show_sources(context, part.sources),
        chart=JSON(chart_of(part, words)),
    )


def _number(context: Context, words: Words, figure: Figure) -> SevenPNumber:
    missing = figure.missing
    return SevenPNumber(
        code=figure.code,
        name=words.name(figure.code),
        unit=figure.unit,
        value=_big(figure.value),
        low=_big(figure.low),
        high=_big(figure.high),
        before=_big(figure.before),
        n=BigInt(figure.n),
        missing=missing,
        missing_text=None
        if missing is None
        else label(context.messages, NoFigure.__name__, missing.value, context.locale),
    )


def _evidence(context: Context, words: Words, row: Row) -> SevenPEvidence:
    return SevenPEvidence(
        list_code=row.list,
        list_name=words.name(row.list),
        label=None if row.label is None else words.label(row),
        collection=row.collection,
        record_id=None if row.record_id is None else ID(row.record_id),
        related_id=None if row.related_id is None else ID(row.related_id),
        figures=[_number(context, words, figure) for figure in row.figures],
    )


def _big(value: int | None) -> BigInt | None:
    return None if value is None else BigInt(value)
