"""Where work waits, over GraphQL."""

from typing import Annotated

import strawberry

from backend.domain.arrays import BASIS_POINTS
from backend.domain.bottlenecks import Flow, StateStay
from backend.domain.cases import CaseState
from backend.domain.messages import label
from backend.domain.orders import OrderState
from backend.domain.tasks import TaskState
from backend.domain.times import add_days, local_day
from backend.domain.visits import VisitState
from backend.schema.behaviour import TerritoryScope
from backend.schema.context import Context, Info
from backend.schema.scalars import Day
from backend.usecases.bottlenecks import FlowFound, bottlenecks_of

ID = strawberry.ID
SINCE_DAYS = 180

strawberry.enum(Flow, description=(Flow.__doc__ or "").strip())
_STATES = {Flow.VISITS: VisitState, Flow.ORDERS: OrderState, Flow.TASKS: TaskState, Flow.CASES: CaseState}


@strawberry.type(description="How long records stay in one state, those that are still in it counted too.")
class StateDuration:
    state: str = strawberry.field(description="The state.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    stays: int = strawberry.field(description="How many times a record came into it.")
    waiting: int = strawberry.field(description="How many are in it now.")
    median_minutes: int | None = strawberry.field(description="By when half have left; null where half have not.")
    p90_minutes: int | None = strawberry.field(description="By when nine of ten have left; null where they have not.")
    waited_bp: int = strawberry.field(description="Share of all time spent in this flow's states, in basis points.")
    examples: list[ID] = strawberry.field(description="Records that wait longest now.")


@strawberry.type(description="One kind of work on its way through its states.")
class FlowDurations:
    flow: Flow = strawberry.field(description="What goes through them.")
    records: int = strawberry.field(description="How many records were looked at.")
    bottleneck: str | None = strawberry.field(
        description="The state most time is spent in; null where fewer than 20 stays are known of any."
    )
    states: list[StateDuration] = strawberry.field(description="The state with most waiting first.")


@strawberry.type(description="Where work waits.")
class Bottlenecks:
    since: Day = strawberry.field(description="Records made from this day on, in the organisation's zone.")
    flows: list[FlowDurations] = strawberry.field(description="Each kind of work.")


@strawberry.type
class BottleneckQueries:
    @strawberry.field(
        description="How long visits, orders, tasks and cases you see stay in each state, from the trail and the"
        " moments they keep of themselves. What nobody wrote down is in no figure."
    )
    async def bottlenecks(
        self,
        info: Info,
        flows: Annotated[
            list[Flow] | None, strawberry.argument(description="Which; all you may read when absent.")
        ] = None,
        since: Annotated[
            Day | None, strawberry.argument(description="First day; half a year back when absent.")
        ] = None,
        territory_id: TerritoryScope = None,
    ) -> Bottlenecks:
        context = info.context
        zone = context.settings.organisation_timezone
        begin = since or add_days(local_day(context.now_ms, zone), -SINCE_DAYS)
        found = await bottlenecks_of(
            context.engine,
            context.caller,
            flows=flows,
            since=begin,
            zone=zone,
            now_ms=context.now_ms,
            territory_id=territory_id,
        )
        return Bottlenecks(since=Day(begin), flows=[_flow(context, one) for one in found])


def _flow(context: Context, found: FlowFound) -> FlowDurations:
    report = found.report
    return FlowDurations(
        flow=report.flow,
        records=len(found.ids),
        bottleneck=report.bottleneck,
        states=[_state(context, found, stay) for stay in report.states],
    )


def _state(context: Context, found: FlowFound, stay: StateStay) -> StateDuration:
    return StateDuration(
        state=stay.state,
        name=label(context.messages, _STATES[stay.flow].__name__, stay.state, context.locale),
        stays=stay.stays_n,
        waiting=stay.waiting_n,
        median_minutes=stay.median_minutes,
        p90_minutes=stay.p90_minutes,
        waited_bp=round(stay.waited_share * BASIS_POINTS),
        examples=[ID(found.ids[place]) for place in stay.examples],
    )
