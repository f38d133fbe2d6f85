"""The cube over GraphQL: customers and their orders cut along several sides, with totals where asked."""

from typing import Annotated, Any

import strawberry

from backend.domain.cube import MEASURES, CellState, CubeDimension, CubeMeasure, CubeUnit, CubeWish, Side
from backend.domain.messages import label
from backend.domain.times import local_day
from backend.schema.context import Context, Info
from backend.schema.predicates import PredicateInput, which_of
from backend.schema.scalars import BigInt, Day
from backend.schema.sources import SourceUsed, show_sources
from backend.usecases.cubes import CubeFound, CubeGroup, customer_cube

for _enum in (CubeDimension, CubeMeasure, CubeUnit, CellState):
    strawberry.enum(_enum, description=(_enum.__doc__ or "").strip())


@strawberry.input(description="One side to cut along.")
class CubeSideInput:
    by: CubeDimension = strawberry.field(description="Which side.")
    depth: int | None = strawberry.field(default=None, description="Of TERRITORY: the step of the tree, its root is 1.")
    key: str | None = strawberry.field(default=None, description="Of CUSTOM: the field's key.")


@strawberry.type(description="One figure of a group.")
class CubeCell:
    measure: CubeMeasure = strawberry.field(description="What it tells.")
    unit: CubeUnit = strawberry.field(description="What `value` is counted in.")
    state: CellState = strawberry.field(description="Whether it is there, and why not.")
    state_text: str | None = strawberry.field(description="Why it is not there, in the reader's language.")
    value: BigInt | None = strawberry.field(description="The figure; null where `state` says why.")
    n: int | None = strawberry.field(description="Of an average: over how many.")


@strawberry.type(description="Customers, or orders, that agree in some of the sides.")
class CubeRow:
    level: int = strawberry.field(description="By how many of the sides it is cut; fewer than all in totals.")
    keys: list[str | None] = strawberry.field(description="The value of each of these sides; null: nothing recorded.")
    currency: str = strawberry.field(description="The currency of its amounts.")
    cells: list[CubeCell] = strawberry.field(description="Its figures, in the order asked for.")


@strawberry.type(description="Customers cut along several sides, as of one day and within your scope.")
class CustomerCube:
    as_of: Day = strawberry.field(description="Orders and visits count up to and with this local day.")
    since: Day | None = strawberry.field(description="And from this one on; null: from the first.")
    rows: list[CubeRow] = strawberry.field(description="The finest groups first, in the order of their keys.")
    suppressed_rows: int = strawberry.field(description="Rows of too few customers to be told to your role.")
    suppressed_below: int | None = strawberry.field(
        description="Rows of fewer customers are not told to your role; null: all are."
    )
    sources: list[SourceUsed] = strawberry.field(description="The records it was computed from.")


@strawberry.type
class CubeQueries:
    @strawberry.field(
        description="Customers you see, cut along up to four sides. Along sides of orders (SEASON, CATEGORY, ORDER_…,"
        " CURRENCY) it counts orders and the customers who placed them. Amounts are in the reporting currency by the"
        " rate of each order's day, or, cut along CURRENCY, as ordered; they are never mixed."
    )
    async def customer_cube(
        self,
        info: Info,
        dimensions: Annotated[list[CubeSideInput], strawberry.argument(description="The sides; none: one group.")],
        measures: Annotated[list[CubeMeasure], strawberry.argument(description="What is told of each group.")],
        filter: Annotated[PredicateInput | None, strawberry.argument(description="Which customers.")] = None,
        as_of: Annotated[Day | None, strawberry.argument(description="The local day; today when absent.")] = None,
        since: Annotated[
            Day | None, strawberry.argument(description="First local day of orders and visits; all when absent.")
        ] = None,
        totals: Annotated[bool, strawberry.argument(description="A row over everything, too.")] = False,
        subtotals: Annotated[bool, strawberry.argument(description="Rows by the first sides only, too.")] = False,
    ) -> CustomerCube:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        sides = tuple(Side(one.by, one.depth, one.key) for one in dimensions)
        wish = CubeWish(sides, tuple(measures), totals, subtotals)
        found = await customer_cube(
            context.engine,
            context.caller,
            wish,
            which_of(filter),
            settings=context.settings,
            as_of=as_of or today,
            today=today,
            since=since,
        )
        return _shown(context, found)


def _shown(context: Context, found: CubeFound) -> CustomerCube:
    return CustomerCube(
        as_of=Day(found.as_of),
        since=None if found.since is None else Day(found.since),
        rows=[_row(context, group) for group in found.groups],
        suppressed_rows=found.suppressed_n,
        suppressed_below=found.suppressed_below,
        sources=show_sources(context, found.sources),
    )


def _row(context: Context, group: CubeGroup) -> CubeRow:
    def why(state: CellState) -> str | None:
        if state is CellState.SHOWN:
            return None
        return label(context.messages, CellState.__name__, state.value, context.locale)

    told: list[Any] = [
        CubeCell(
            measure=cell.measure,
            unit=MEASURES[cell.measure].unit,
            state=cell.state,
            state_text=why(cell.state),
            value=None if cell.value is None else BigInt(cell.value),
            n=cell.n,
        )
        for cell in group.cells
    ]
    return CubeRow(level=group.level, keys=list(group.keys), currency=group.currency, cells=told)
