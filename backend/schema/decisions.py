"""Decisions as queries: whom to keep, whom to win back, value against promise, and how to serve a customer."""

from typing import Annotated

import strawberry

from backend.domain.customers import LifecycleStage
from backend.domain.decisions import RISK_BP_DEFAULT, Quadrant, ServeReason
from backend.domain.messages import label
from backend.domain.strategy import Serve
from backend.reads.selection import one
from backend.schema.context import Context, Info
from backend.schema.scalars import BigInt, Day
from backend.schema.types import Customer, Money
from backend.usecases.decisions import (
    QuadrantFound,
    Standing,
    StandingList,
    customers_at_risk,
    serve_decision_of,
    value_promise_quadrants,
    win_back_candidates,
)

ID = strawberry.ID
LIST_ROWS_DEFAULT = 20
QUADRANT_ROWS_DEFAULT = 5

for _enum in (Quadrant, Serve, ServeReason):
    strawberry.enum(_enum, description=(_enum.__doc__ or "").strip())

First = Annotated[int, strawberry.argument(description="How many customers.")]
Territory = Annotated[
    ID | None, strawberry.argument(description="A territory with everything below it; without, all you hold.")
]


@strawberry.type(description="A customer on a list: what it is worth and how likely it leaves, side by side.")
class CustomerStanding:
    customer_id: ID = strawberry.field(description="The customer.")
    segment: str = strawberry.field(description="Its segment.")
    stage: LifecycleStage = strawberry.field(description="Stage of its life.")
    existing_value: Money | None = strawberry.field(description="Value it brings today.")
    potential: Money | None = strawberry.field(description="Value it could bring more, a year.")
    future_value: Money = strawberry.field(description="Value expected of its future orders.")
    churn_risk_bp: int | None = strawberry.field(description="Risk of leaving in basis points.")
    expected_uplift: Money | None = strawberry.field(description="What a visit now is expected to bring.")
    yearly_value: Money | None = strawberry.field(description="What it brought a year while it bought.")
    last_order_on: Day | None = strawberry.field(description="Day of its last order, where the list asked for it.")

    @strawberry.field(description="The customer.")
    def customer(self) -> Customer | None:
        return one("customers", self.customer_id)  # type: ignore[return-value]


@strawberry.type(description="The first customers of a list.")
class CustomerStandings:
    total_count: int = strawberry.field(description="How many there are in all.")
    items: list[CustomerStanding] = strawberry.field(description="The first of them.")


@strawberry.type(description="One quadrant of value against promise.")
class ValuePromiseQuadrant:
    quadrant: Quadrant = strawberry.field(description="Which.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    customers: int = strawberry.field(description="How many customers it holds.")
    existing_value: Money = strawberry.field(description="What they are worth today, together.")
    potential: Money = strawberry.field(description="What they could bring more, together; those not known left out.")
    first_ids: list[ID] = strawberry.field(description="Its first customers by existing value.")


@strawberry.type(
    description="How to serve a customer. Orders, returns and complaints are taken from everybody, whatever it says."
)
class ServeAdvice:
    serve: Serve = strawberry.field(description="How to serve it.")
    serve_text: str = strawberry.field(description="The same in the reader's language.")
    planned: Serve = strawberry.field(description="What the strategy of its segment and stage says.")
    reason: ServeReason = strawberry.field(description="Why.")
    reason_text: str = strawberry.field(description="Why, in the reader's language.")
    cadence_days: int = strawberry.field(description="Days between contacts as planned; 0 without visits.")
    visits_a_year: int = strawberry.field(description="Visits a year at that cadence.")
    visits_cost: Money = strawberry.field(description="What those cost a year.")
    expected_margin: Money | None = strawberry.field(description="Margin expected of it a year.")


@strawberry.type
class DecisionQueries:
    @strawberry.field(
        description="Customers likely to leave, those first whom a visit is expected to bring most. Value and risk"
        " stand side by side; they are not multiplied."
    )
    async def at_risk(
        self,
        info: Info,
        territory_id: Territory = None,
        least_risk_bp: Annotated[
            int, strawberry.argument(description="From which risk on, basis points.")
        ] = RISK_BP_DEFAULT,
        first: First = LIST_ROWS_DEFAULT,
    ) -> CustomerStandings:
        context = info.context
        found = await customers_at_risk(
            context.engine,
            context.caller,
            settings=context.settings,
            first=first,
            least_bp=least_risk_bp,
            territory_id=territory_id,
        )
        return _list(context, found)

    @strawberry.field(description="Dormant and lost customers, those first who brought most a year while they bought.")
    async def win_back_candidates(
        self, info: Info, territory_id: Territory = None, first: First = LIST_ROWS_DEFAULT
    ) -> CustomerStandings:
        context = info.context
        found = await win_back_candidates(
            context.engine, context.caller, settings=context.settings, first=first, territory_id=territory_id
        )
        return _list(context, found)

    @strawberry.field(description="Existing value against promise: every quadrant, also the empty ones.")
    async def value_promise_quadrants(
        self, info: Info, territory_id: Territory = None, first: First = QUADRANT_ROWS_DEFAULT
    ) -> list[ValuePromiseQuadrant]:
        context = info.context
        found = await value_promise_quadrants(
            context.engine, context.caller, settings=context.settings, first=first, territory_id=territory_id
        )
        return [_quadrant(context, one) for one in found]

    @strawberry.field(description="How to serve a customer, and what visits would cost against what it brings.")
    async def serve_decision(
        self, info: Info, customer_id: Annotated[ID, strawberry.argument(description="The customer.")]
    ) -> ServeAdvice:
        context = info.context
        found = await serve_decision_of(
            context.engine, context.caller, settings=context.settings, customer_id=customer_id
        )
        return ServeAdvice(
            serve=found.serve,
            serve_text=_words(context, Serve.__name__, found.serve.value),
            planned=found.planned,
            reason=found.reason,
            reason_text=_words(context, ServeReason.__name__, found.reason.value),
            cadence_days=found.cadence_days,
            visits_a_year=found.visits_n,
            visits_cost=_sum(context, found.visits_cost_minor),
            expected_margin=_money(context, found.expected_minor),
        )


def _words(context: Context, enum: str, code: str) -> str:
    return label(context.messages, enum, code, context.locale)


def _sum(context: Context, amount_minor: int) -> Money:
    return Money(amount_minor=BigInt(amount_minor), currency=context.settings.reporting_currency)


def _money(context: Context, amount_minor: int | None) -> Money | None:
    return None if amount_minor is None else _sum(context, amount_minor)


def _list(context: Context, found: StandingList) -> CustomerStandings:
    return CustomerStandings(total_count=found.total, items=[_standing(context, item) for item in found.items])


def _standing(context: Context, found: Standing) -> CustomerStanding:
    return CustomerStanding(
        customer_id=ID(found.customer_id),
        segment=found.segment,
        stage=LifecycleStage(found.stage),
        existing_value=_money(context, found.existing_value_minor),
        potential=_money(context, found.potential_minor),
        future_value=_sum(context, found.future_value_minor),
        churn_risk_bp=found.churn_risk_bp,
        expected_uplift=_money(context, found.uplift_minor),
        yearly_value=_money(context, found.yearly_minor),
        last_order_on=None if found.last_order_on is None else Day(found.last_order_on),
    )


def _quadrant(context: Context, found: QuadrantFound) -> ValuePromiseQuadrant:
    return ValuePromiseQuadrant(
        quadrant=found.quadrant,
        name=_words(context, Quadrant.__name__, found.quadrant.value),
        customers=found.customers_n,
        existing_value=_sum(context, found.existing_value_minor),
        potential=_sum(context, found.potential_minor),
        first_ids=[ID(one) for one in found.first_ids],
    )
