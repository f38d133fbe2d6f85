"""The implementation cockpit: five steps with what shows them, and the return on the system itself."""

from typing import Annotated

import strawberry

from backend.domain.cockpit import (
    CockpitStep,
    Fact,
    NextMove,
    StepFound,
    StepState,
    SystemCostKind,
    SystemReturn,
)
from backend.domain.messages import label, render
from backend.domain.times import local_day
from backend.errors import Refused
from backend.schema.capacity import Scope
from backend.schema.changes import tell
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Day
from backend.usecases.cockpit import SystemCostWish, implementation_cockpit, tell_system_cost

ID = strawberry.ID

declare(CockpitStep, Fact, NextMove, StepState, SystemCostKind)


@strawberry.type(description="One count that shows how far a step is.")
class CockpitFact:
    fact: Fact = strawberry.field(description="What is counted.")
    name: str = strawberry.field(description="The same in the reader's language.")
    count: BigInt = strawberry.field(description="How many.")


@strawberry.type(description="What is missing next.")
class CockpitMissing:
    move: NextMove = strawberry.field(description="What to do.")
    text: str = strawberry.field(description="The same in the reader's language.")
    count: BigInt = strawberry.field(description="How many it concerns; 0 where that says nothing.")


@strawberry.type(description="One of the five steps. DONE by what is recorded, never because somebody says so.")
class CockpitStepShown:
    step: CockpitStep = strawberry.field(description="Which step.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    state: StepState = strawberry.field(description="How far it is.")
    state_text: str = strawberry.field(description="The same in the reader's language.")
    facts: list[CockpitFact] = strawberry.field(description="The counts that show it.")
    ids: list[ID] = strawberry.field(description="The newest records behind it.")
    first_day: Day | None = strawberry.field(name="from", description="First day it stands on.")
    last_day: Day | None = strawberry.field(name="until", description="Last day it stands on.")
    missing: list[CockpitMissing] = strawberry.field(description="What is missing next, the most pressing first.")


@strawberry.type(description="A strategy: how many customers have it, and whether it is followed.")
class StrategyFollowed:
    strategy: str = strawberry.field(description="Its code.")
    name: str = strawberry.field(description="Its name in the reader's language.")
    customers: int = strawberry.field(description="Customers whose segment and stage have it.")
    due: int = strawberry.field(description="Contacts due by its cadence in the last half year.")
    made: int = strawberry.field(description="Of them, those that were made.")
    followed_bp: int | None = strawberry.field(description="Their share in basis points; null where none were due.")


@strawberry.type(description="Costs of one kind.")
class SystemCostSum:
    kind: SystemCostKind = strawberry.field(description="Which kind.")
    name: str = strawberry.field(description="The same in the reader's language.")
    amount_minor: BigInt = strawberry.field(description="How much.")


@strawberry.type(description="What the system cost against what was measured to come of it.")
class SystemReturnShown:
    currency: str = strawberry.field(description="Currency of all amounts.")
    cost_minor: BigInt | None = strawberry.field(description="What it cost; null: NOT_RECORDED, which is not nothing.")
    costs: list[SystemCostSum] = strawberry.field(description="By kind.")
    gain_minor: BigInt | None = strawberry.field(description="What closed evaluations measured; null: NOT_RECORDED.")
    gain_low_minor: BigInt | None = strawberry.field(description="Lower end of its 95 % interval.")
    gain_high_minor: BigInt | None = strawberry.field(description="Upper end of its 95 % interval.")
    evaluations: int = strawberry.field(description="Closed evaluations with money behind the gain.")
    ratio: float | None = strawberry.field(description="Gain per unit of cost; null where one of them is not recorded.")
    low: float | None = strawberry.field(description="Lower end of its 95 % interval.")
    high: float | None = strawberry.field(description="Upper end of its 95 % interval.")
    cost_basis: str = strawberry.field(description="RECORDED or NOT_RECORDED.")
    gain_basis: str = strawberry.field(description="RECORDED or NOT_RECORDED.")
    text: str = strawberry.field(description="What stands and what is missing, in the reader's language.")


@strawberry.type(description="The five steps of a scope.")
class ImplementationCockpit:
    territory_id: ID | None = strawberry.field(description="Of which territory; null for the whole organisation.")
    as_of: Day = strawberry.field(description="The organisation's day.")
    steps: list[CockpitStepShown] = strawberry.field(description="The five, in their order.")
    strategies: list[StrategyFollowed] = strawberry.field(description="Behind the third, the most customers first.")
    system: SystemReturnShown | None = strawberry.field(
        description="The return on the system; of the whole organisation only."
    )


@strawberry.input(description="What the system cost in a period. Taken back by the same with a minus.")
class SystemCostInput:
    kind: SystemCostKind = strawberry.field(description="Which kind.")
    amount_minor: BigInt = strawberry.field(description="How much, in the reporting currency.")
    first_day: Day = strawberry.field(name="from", description="First day of the period.")
    last_day: Day = strawberry.field(name="until", description="Last day of the period.")
    hours: float | None = strawberry.field(default=None, description="Of own people; needed for HOURS.")
    note: str | None = strawberry.field(default=None, description="What it was, at most 500 characters.")


@strawberry.type(description="The cost was written down.")
class SystemCostSaved:
    id: ID = strawberry.field(description="The row's UUID.")


SystemCostAnswer = Annotated[
    SystemCostSaved | Refusal,
    strawberry.union("SystemCostAnswer", description="The cost, or why nothing was written."),
]


@strawberry.type
class CockpitQueries:
    @strawberry.field(
        description="The five steps of introducing and running it: resources, contribution, strategies, roll-out,"
        " evaluation; each with its state, what shows it, and what is missing next."
    )
    async def implementation_cockpit(self, info: Info, territory_id: Scope = None) -> ImplementationCockpit:
        context = info.context
        found = await implementation_cockpit(
            context.engine,
            context.caller,
            settings=context.settings,
            today=local_day(context.now_ms, context.settings.organisation_timezone),
            now_ms=context.now_ms,
            territory_id=territory_id,
        )
        return ImplementationCockpit(
            territory_id=None if found.territory_id is None else ID(found.territory_id),
            as_of=Day(found.as_of),
            steps=[_step(context, one) for one in found.steps],
            strategies=[
                StrategyFollowed(
                    strategy=one.strategy,
                    name=render(context.messages, f"strategy.{one.strategy}", context.locale),
                    customers=one.customers_n,
                    due=one.due_n,
                    made=one.made_n,
                    followed_bp=one.followed_bp,
                )
                for one in found.strategies
            ],
            system=None if found.system is None else _system(context, found.system),
        )


@strawberry.type
class CockpitMutations:
    @strawberry.mutation(description="Write down what the system cost. For admins.")
    async def tell_system_cost(
        self, info: Info, input: Annotated[SystemCostInput, strawberry.argument(description="The cost.")]
    ) -> SystemCostAnswer:
        context = info.context
        wish = SystemCostWish(
            kind=input.kind,
            amount_minor=input.amount_minor,
            starts_on=input.first_day,
            ends_on=input.last_day,
            hours_hundredths=None if input.hours is None else round(min(max(input.hours, -1e9), 1e9) * 100),
            note=input.note,
        )
        try:
            made = await tell(context, lambda work: tell_system_cost(work, wish, context.settings))
        except Refused as refused:
            return refuse(info, refused)
        return SystemCostSaved(id=ID(made))


def _words(context: Context, enum: str, code: str) -> str:
    return label(context.messages, enum, code, context.locale)


def _step(context: Context, found: StepFound) -> CockpitStepShown:
    return CockpitStepShown(
        step=found.step,
        name=_words(context, CockpitStep.__name__, found.step.value),
        state=found.state,
        state_text=_words(context, StepState.__name__, found.state.value),
        facts=[
            CockpitFact(fact=fact, name=_words(context, Fact.__name__, fact.value), count=BigInt(count))
            for fact, count in found.facts.items()
        ],
        ids=[ID(one) for one in found.ids],
        first_day=None if found.from_day is None else Day(found.from_day),
        last_day=None if found.until_day is None else Day(found.until_day),
        missing=[
            CockpitMissing(
                move=one.move,
                text=_words(context, NextMove.__name__, one.move.value),
                count=BigInt(one.count),
            )
            for one in found.missing
        ],
    )


def _system(context: Context, found: SystemReturn) -> SystemReturnShown:
    def money(amount: int | None) -> BigInt | None:
        return None if amount is None else BigInt(amount)

    has_cost, has_gain = found.cost_minor is not None, found.gain_minor is not None
    key = {(True, True): "both", (True, False): "noGain", (False, True): "noCost", (False, False): "neither"}
    return SystemReturnShown(
        currency=context.settings.reporting_currency,
        cost_minor=money(found.cost_minor),
        costs=[
            SystemCostSum(
                kind=kind, name=_words(context, SystemCostKind.__name__, kind.value), amount_minor=BigInt(amount)
            )
            for kind, amount in found.cost_by_kind.items()
        ],
        gain_minor=money(found.gain_minor),
        gain_low_minor=money(found.gain_low_minor),
        gain_high_minor=money(found.gain_high_minor),
        evaluations=found.evaluations_n,
        ratio=found.ratio,
        low=found.low,
        high=found.high,
        cost_basis="RECORDED" if has_cost else "NOT_RECORDED",
        gain_basis="RECORDED" if has_gain else "NOT_RECORDED",
        text=render(context.messages, f"systemReturn.{key[has_cost, has_gain]}", context.locale),
    )
