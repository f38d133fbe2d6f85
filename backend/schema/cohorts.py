"""Who comes back: cohorts by first-order quarter, with intervals."""

import strawberry

from backend.domain.arrays import BASIS_POINTS
from backend.domain.times import local_day
from backend.schema.behaviour import AsOf, TerritoryScope
from backend.schema.context import Info
from backend.schema.scalars import Day
from backend.schema.sources import SourceUsed, show_sources
from backend.usecases.buying import CohortsFound, Scope, retention


@strawberry.type(description="A cohort in one quarter of its life.")
class CohortCell:
    age: int = strawberry.field(description="Quarters after the first order's; 0 is that quarter itself.")
    quarter: str = strawberry.field(description="The quarter, such as 2026Q1.")
    ordered: int = strawberry.field(description="Customers who ordered in it.")
    share_bp: int = strawberry.field(description="Their share of the cohort, in basis points.")
    low_bp: int = strawberry.field(description="Lower end of its 95 % interval (Wilson).")
    high_bp: int = strawberry.field(description="Upper end of its 95 % interval.")
    whole: bool = strawberry.field(description="False for the quarter that is not over yet.")


@strawberry.type(description="Customers whose first order fell into one quarter.")
class Cohort:
    quarter: str = strawberry.field(description="The quarter, such as 2026Q1.")
    customers: int | None = strawberry.field(description="How many; null where they are too few to be told to you.")
    cells: list[CohortCell] = strawberry.field(description="The quarters that have begun; empty where nothing is told.")


@strawberry.type(description="Retention by cohort.")
class CohortTable:
    as_of: Day = strawberry.field(description="Orders up to and with this local day.")
    customers: int = strawberry.field(description="Customers of the scope, those without orders too.")
    customers_left_out: int = strawberry.field(
        description="Customers in no cohort because an order's currency had no rate on its day."
    )
    hidden_below: int | None = strawberry.field(
        description="Cohorts of fewer customers are not told to your role; null: all are."
    )
    cohorts: list[Cohort] = strawberry.field(description="The earliest first, quarters without new customers too.")
    sources: list[SourceUsed] = strawberry.field(description="The records it stands on.")


@strawberry.type
class CohortQueries:
    @strawberry.field(description="Customers by the quarter of their first order, and which share ordered again.")
    async def cohorts(self, info: Info, territory_id: TerritoryScope = None, as_of: AsOf = None) -> CohortTable:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await retention(
            context.engine,
            context.caller,
            Scope(territory_id=territory_id),
            settings=context.settings,
            as_of=as_of or today,
            today=today,
        )
        return CohortTable(
            as_of=Day(found.as_of),
            customers=found.customers_n,
            customers_left_out=found.left_out_n,
            hidden_below=found.hidden_below,
            cohorts=[_cohort(found, row) for row in range(len(found.table.quarters))],
            sources=show_sources(context, found.sources),
        )


def _cohort(found: CohortsFound, row: int) -> Cohort:
    table = found.table
    if found.hidden[row]:
        return Cohort(quarter=table.quarters[row], customers=None, cells=[])
    ages = [age for age in range(len(table.quarters)) if table.observed[row, age]]
    return Cohort(
        quarter=table.quarters[row],
        customers=int(table.size_n[row]),
        cells=[
            CohortCell(
                age=age,
                quarter=table.quarters[row + age],
                ordered=int(table.ordered_n[row, age]),
                share_bp=round(float(table.share[row, age]) * BASIS_POINTS),
                low_bp=round(float(table.low[row, age]) * BASIS_POINTS),
                high_bp=round(float(table.high[row, age]) * BASIS_POINTS),
                whole=bool(table.whole[row, age]),
            )
            for age in ages
        ],
    )
