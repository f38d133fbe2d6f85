"""Step one: what there is to work with, and what fits into it."""

from typing import Annotated

import strawberry

from backend.domain.capacity import CapacityRecord, Constraint, ConstraintKind, DropReason, MinutesBasis, Relief
from backend.domain.messages import label
from backend.domain.times import local_day
from backend.errors import Refused
from backend.schema.changes import tell
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Day, Instant
from backend.usecases.capacity import (
    ROLLOUT_SHARE_BP_DEFAULT,
    WIP_DEFAULT,
    CapacityWish,
    ContactsFound,
    list_capacities,
    plan_within_capacity,
    set_capacity,
)

ID = strawberry.ID
LIST_ROWS_DEFAULT = 20

declare(ConstraintKind, DropReason, MinutesBasis, Relief)

Scope = Annotated[
    ID | None,
    strawberry.argument(
        description="A territory with everything below it; without, the whole organisation, for a manager the node he"
        " is seated at."
    ),
]


@strawberry.type(description="A circumstance nobody here can change.")
class OuterConstraint:
    kind: ConstraintKind = strawberry.field(description="Of what kind.")
    text: str = strawberry.field(description="What it is.")


@strawberry.type(
    description="Minutes, budget and skills of a scope and period. A newer one stands before an older one."
)
class Capacity:
    id: ID = strawberry.field(description="The capacity's UUID.")
    territory_id: ID | None = strawberry.field(description="Of which territory; null for the whole organisation.")
    first_day: Day = strawberry.field(name="from", description="First day it holds.")
    last_day: Day = strawberry.field(name="until", description="Last day it holds.")
    working_days: int = strawberry.field(description="Mondays to Fridays less the holidays named.")
    reps: int = strawberry.field(description="Active reps of the scope when it was set.")
    reps_assumed: int = strawberry.field(description="Of them, those whose minutes were not recorded and assumed.")
    rep_minutes: BigInt = strawberry.field(description="All minutes of the period.")
    minutes_basis: MinutesBasis = strawberry.field(description="Where the minutes come from.")
    minutes_basis_text: str = strawberry.field(description="The same in the reader's language.")
    contact_minutes: BigInt = strawberry.field(description="Of them, left for customers.")
    rollout_minutes: BigInt = strawberry.field(description="Of them, what roll-outs may take.")
    raisable_minutes: BigInt = strawberry.field(description="Minutes that could be had on top.")
    budget_minor: BigInt = strawberry.field(description="Budget of roll-outs.")
    raisable_budget_minor: BigInt = strawberry.field(description="Budget that could be had on top.")
    currency: str = strawberry.field(description="Currency of the budget.")
    wip_max: int = strawberry.field(description="Roll-out items under way at once.")
    skills: list[str] = strawberry.field(description="What people here can do.")
    constraints: list[OuterConstraint] = strawberry.field(description="What stands around it.")
    set_at: Instant = strawberry.field(description="When it was set.")
    set_by: str = strawberry.field(description="Who set it.")


@strawberry.input(description="A circumstance nobody here can change.")
class OuterConstraintInput:
    kind: ConstraintKind = strawberry.field(description="Of what kind.")
    text: str = strawberry.field(description="What it is, at most 500 characters.")


@strawberry.input(description="What there is to work with.")
class CapacityInput:
    first_day: Day = strawberry.field(name="from", description="First day.")
    last_day: Day = strawberry.field(name="until", description="Last day, at most two years on.")
    territory_id: ID | None = strawberry.field(default=None, description="Of which territory; null for all.")
    rep_minutes: BigInt | None = strawberry.field(
        default=None, description="All minutes; when absent, reps × their day × working days."
    )
    holidays: list[Day] = strawberry.field(default_factory=list, description="Weekdays on which nobody works.")
    rollout_share_bp: int = strawberry.field(
        default=ROLLOUT_SHARE_BP_DEFAULT, description="Share of the minutes roll-outs may take, in basis points."
    )
    raisable_minutes: BigInt = strawberry.field(default=BigInt(0), description="Minutes that could be had on top.")
    budget_minor: BigInt = strawberry.field(default=BigInt(0), description="Budget, in the reporting currency.")
    raisable_budget_minor: BigInt = strawberry.field(default=BigInt(0), description="Budget that could be had on top.")
    wip_max: int = strawberry.field(default=WIP_DEFAULT, description="Roll-out items under way at once, 1 to 20.")
    skills: list[str] = strawberry.field(default_factory=list, description="What people here can do, at most 30.")
    constraints: list[OuterConstraintInput] = strawberry.field(
        default_factory=list, description="Economy, culture and whatever else stands around it, at most 20."
    )


@strawberry.type(description="A customer whose contacts do not fit.")
class DroppedCustomer:
    customer_id: ID = strawberry.field(description="The customer.")
    priority: int = strawberry.field(description="Its visit priority at the last score run.")
    minutes: BigInt = strawberry.field(description="What its contacts would take.")
    reason: DropReason = strawberry.field(description="Why they are left out.")
    reason_text: str = strawberry.field(description="The same in the reader's language.")


@strawberry.type(description="The contacts that the strategies want against the minutes there are.")
class CapacityPlan:
    capacity: Capacity | None = strawberry.field(
        description="The capacity that holds today; without one nothing is planned."
    )
    first_day: Day = strawberry.field(name="from", description="Today.")
    last_day: Day = strawberry.field(name="until", description="The capacity's last day.")
    available_minutes: BigInt = strawberry.field(description="Minutes left for customers in those days.")
    wanted_minutes: BigInt = strawberry.field(description="What all contacts would take.")
    used_minutes: BigInt = strawberry.field(description="What those planned take; never more than there is.")
    dropped_minutes: BigInt = strawberry.field(description="What does not fit.")
    customers: int | None = strawberry.field(
        description="Customers who are due a visit by their strategy; null without a capacity."
    )
    taken: int = strawberry.field(description="Of them, those whose visits fit.")
    dropped: int = strawberry.field(description="Of them, those left out.")
    first_dropped: list[DroppedCustomer] = strawberry.field(
        description="The first of those, the highest priority first."
    )
    relief: Relief | None = strawberry.field(
        description="What to do about it: first what can be raised, then lower the goal."
    )
    relief_text: str | None = strawberry.field(description="The same in the reader's language.")


@strawberry.type(description="The capacity as it was written down.")
class CapacitySaved:
    capacity: Capacity = strawberry.field(description="The capacity.")


CapacityAnswer = Annotated[
    CapacitySaved | Refusal,
    strawberry.union("CapacityAnswer", description="The capacity, or why nothing was written."),
]


@strawberry.type
class CapacityQueries:
    @strawberry.field(description="Capacities you see, the newest first.")
    async def capacities(
        self,
        info: Info,
        territory_id: Annotated[ID | None, strawberry.argument(description="Of exactly this territory.")] = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT,
    ) -> list[Capacity]:
        context = info.context
        found = await list_capacities(
            context.engine, context.caller, settings=context.settings, first=first, territory_id=territory_id
        )
        return [show_capacity(context, one) for one in found]

    @strawberry.field(
        description="The visits that the strategies in force want from today on, by priority, as far as the minutes"
        " reach; who is left out and why."
    )
    async def capacity_plan(
        self,
        info: Info,
        territory_id: Scope = None,
        first: Annotated[int, strawberry.argument(description="How many of those left out.")] = LIST_ROWS_DEFAULT,
    ) -> CapacityPlan:
        context = info.context
        found = await plan_within_capacity(
            context.engine,
            context.caller,
            settings=context.settings,
            today=local_day(context.now_ms, context.settings.organisation_timezone),
            first=first,
            territory_id=territory_id,
        )
        return _plan(context, found)


@strawberry.type
class CapacityMutations:
    @strawberry.mutation(
        description="Write down what there is to work with. For managers in their subtree and admins everywhere."
    )
    async def set_capacity(
        self, info: Info, input: Annotated[CapacityInput, strawberry.argument(description="What there is.")]
    ) -> CapacityAnswer:
        context = info.context
        wish = CapacityWish(
            starts_on=input.first_day,
            ends_on=input.last_day,
            territory_id=input.territory_id,
            rep_minutes=input.rep_minutes,
            holidays=tuple(input.holidays),
            rollout_share_bp=input.rollout_share_bp,
            raisable_minutes=input.raisable_minutes,
            budget_minor=input.budget_minor,
            raisable_budget_minor=input.raisable_budget_minor,
            wip_max=input.wip_max,
            skills=tuple(input.skills),
            constraints=tuple(Constraint(one.kind, one.text) for one in input.constraints),
        )
        try:
            made = await tell(context, lambda work: set_capacity(work, wish, context.settings))
        except Refused as refused:
            return refuse(info, refused)
        [found] = await list_capacities(
            context.engine, context.caller, settings=context.settings, first=1, capacity_id=made
        )
        return CapacitySaved(capacity=show_capacity(context, found))


def show_capacity(context: Context, found: CapacityRecord) -> Capacity:
    return Capacity(
        id=ID(found.id),
        territory_id=None if found.territory_id is None else ID(found.territory_id),
        first_day=Day(found.starts_on),
        last_day=Day(found.ends_on),
        working_days=found.working_days,
        reps=found.reps_n,
        reps_assumed=found.reps_assumed_n,
        rep_minutes=BigInt(found.rep_minutes),
        minutes_basis=found.minutes_basis,
        minutes_basis_text=label(context.messages, MinutesBasis.__name__, found.minutes_basis.value, context.locale),
        contact_minutes=BigInt(found.contact_minutes),
        rollout_minutes=BigInt(found.rollout_minutes),
        raisable_minutes=BigInt(found.raisable_minutes),
        budget_minor=BigInt(found.budget_minor),
        raisable_budget_minor=BigInt(found.raisable_budget_minor),
        currency=found.currency,
        wip_max=found.wip_max,
        skills=list(found.skills),
        constraints=[OuterConstraint(kind=one.kind, text=one.text) for one in found.constraints],
        set_at=Instant(found.set_at_ms),
        set_by=found.set_by,
    )


def _plan(context: Context, found: ContactsFound) -> CapacityPlan:
    def words(enum: str, code: str) -> str:
        return label(context.messages, enum, code, context.locale)

    return CapacityPlan(
        capacity=None if found.capacity is None else show_capacity(context, found.capacity),
        first_day=Day(found.from_day),
        last_day=Day(found.until_day),
        available_minutes=BigInt(found.available_minutes),
        wanted_minutes=BigInt(found.wanted_minutes),
        used_minutes=BigInt(found.used_minutes),
        dropped_minutes=BigInt(found.dropped_minutes),
        customers=found.customers_n,
        taken=found.taken_n,
        dropped=found.dropped_n,
        first_dropped=[
            DroppedCustomer(
                customer_id=ID(one.customer_id),
                priority=one.priority,
                minutes=BigInt(one.minutes),
                reason=one.reason,
                reason_text=words(DropReason.__name__, one.reason.value),
            )
            for one in found.dropped
        ],
        relief=found.relief,
        relief_text=None if found.relief is None else words(Relief.__name__, found.relief.value),
    )
