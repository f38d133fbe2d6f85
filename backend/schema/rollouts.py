"""Step four: what is rolled out, in which order, and what waits."""

from typing import Annotated

import strawberry

from backend.domain.capacity import Relief
from backend.domain.messages import label
from backend.domain.rollouts import Grades, LeftOut, LeftOutReason, RolloutRecord, RolloutState
from backend.domain.times import local_day
from backend.errors import Refused
from backend.schema.capacity import Capacity, Scope, show_capacity
from backend.schema.changes import tell
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Instant
from backend.usecases.rollouts import (
    RankedRollout,
    RolloutWish,
    finish_item,
    list_items,
    propose_item,
    ranked_rollout,
    start_item,
    stop_item,
)

ID = strawberry.ID
LIST_ROWS_DEFAULT = 20

declare(LeftOutReason, Relief, RolloutState)


@strawberry.type(description="An improvement to be rolled out.")
class RolloutItem:
    id: ID = strawberry.field(description="The item's UUID: the `subjectId` of its evaluation, of kind ROLL_OUT.")
    territory_id: ID | None = strawberry.field(description="Where; null for the whole organisation.")
    state: RolloutState = strawberry.field(description="How far it is.")
    state_text: str = strawberry.field(description="The same in the reader's language.")
    name: str = strawberry.field(description="What it is called.")
    purpose: str | None = strawberry.field(description="What it is for.")
    strategy: str | None = strawberry.field(description="The strategy it serves.")
    importance: int = strawberry.field(description="1 little to 5 much.")
    urgency: int = strawberry.field(description="1 little to 5 much.")
    difficulty: int = strawberry.field(description="1 little to 5 much.")
    resources: int = strawberry.field(description="How much of what is scarce it takes, 1 to 5.")
    disruption: int = strawberry.field(description="How much it disturbs normal work, 1 to 5.")
    worth: int = strawberry.field(
        description="4·importance + 3·urgency + 15 − difficulty − resources − disruption, less 3 for every time it was"
        " given up; at least 1."
    )
    minutes: BigInt = strawberry.field(description="Minutes of reps it takes.")
    budget_minor: BigInt = strawberry.field(description="Budget it takes.")
    currency: str = strawberry.field(description="Currency of the budget.")
    skills: list[str] = strawberry.field(description="What people must be able to do.")
    starts: int = strawberry.field(description="How often it was begun.")
    stops: int = strawberry.field(description="How often it was given up after it was begun.")
    again_and_again: bool = strawberry.field(description="True where it was begun and given up more than once.")
    reason: str | None = strawberry.field(description="Why it was given up the last time.")
    judged: bool = strawberry.field(description="True where an evaluation of it was closed.")
    to_be_judged: bool = strawberry.field(description="True where an evaluation of it is planned or running.")
    proposed_at: Instant = strawberry.field(description="When it was proposed.")
    proposed_by: str = strawberry.field(description="Who proposed it.")
    moved_at: Instant = strawberry.field(description="When its state changed last.")


@strawberry.type(description="Why an item is left out.")
class RolloutLeftOut:
    item: RolloutItem = strawberry.field(description="The item.")
    reasons: list[LeftOutReason] = strawberry.field(description="Everything that stands against it.")
    reason_texts: list[str] = strawberry.field(description="The same in the reader's language.")
    missing_minutes: BigInt = strawberry.field(description="Minutes that are too few for it.")
    missing_budget_minor: BigInt = strawberry.field(description="Budget that is too little for it.")
    missing_skills: list[str] = strawberry.field(description="Skills nobody has.")


@strawberry.type(description="What to roll out with the capacity there is.")
class RolloutRanking:
    capacity: Capacity | None = strawberry.field(
        description="The capacity of exactly this scope that holds today; without one nothing is chosen."
    )
    chosen: list[RolloutItem] = strawberry.field(
        description="What is worth most together: what is under way first, then by worth per share of the capacity."
    )
    kept: int = strawberry.field(description="The first so many are under way.")
    worth: int = strawberry.field(description="What they are worth together.")
    used_minutes: BigInt = strawberry.field(description="Minutes they take; never more than there is.")
    used_budget_minor: BigInt = strawberry.field(description="Budget they take.")
    proven: bool = strawberry.field(description="True when no other choice is worth more, by search of all.")
    left_out: list[RolloutLeftOut] = strawberry.field(description="The others, the most worth first, with the reasons.")
    raised: list[RolloutItem] = strawberry.field(description="What could be taken besides, if what can be were raised.")
    again_and_again: list[RolloutItem] = strawberry.field(description="Begun and given up more than once.")
    relief_minutes: Relief = strawberry.field(description="What to do about minutes that are missing.")
    relief_minutes_text: str = strawberry.field(description="The same in the reader's language.")
    relief_budget: Relief = strawberry.field(description="What to do about budget that is missing.")
    relief_budget_text: str = strawberry.field(description="The same in the reader's language.")


@strawberry.input(description="An improvement to be rolled out.")
class RolloutItemInput:
    name: str = strawberry.field(description="What it is called, at most 120 characters.")
    importance: int = strawberry.field(description="1 little to 5 much.")
    urgency: int = strawberry.field(description="1 little to 5 much.")
    difficulty: int = strawberry.field(description="1 little to 5 much.")
    resources: int = strawberry.field(description="How much of what is scarce it takes, 1 to 5.")
    disruption: int = strawberry.field(description="How much it disturbs normal work, 1 to 5.")
    minutes: BigInt = strawberry.field(description="Minutes of reps it takes.")
    budget_minor: BigInt = strawberry.field(default=BigInt(0), description="Budget it takes, reporting currency.")
    territory_id: ID | None = strawberry.field(default=None, description="Where; null for the whole organisation.")
    purpose: str | None = strawberry.field(default=None, description="What it is for, at most 2000 characters.")
    strategy: str | None = strawberry.field(default=None, description="The strategy it serves.")
    skills: list[str] = strawberry.field(default_factory=list, description="What people must be able to do.")


@strawberry.type(description="The item as it stands now.")
class RolloutItemSaved:
    item: RolloutItem = strawberry.field(description="The item.")


RolloutAnswer = Annotated[
    RolloutItemSaved | Refusal,
    strawberry.union("RolloutAnswer", description="The item, or why nothing was changed."),
]
ItemArgument = Annotated[ID, strawberry.argument(description="Which item.")]


@strawberry.type
class RolloutQueries:
    @strawberry.field(description="Roll-out items you see, the newest first.")
    async def rollout_items(
        self,
        info: Info,
        territory_id: Annotated[
            ID | None, strawberry.argument(description="Of this territory and everything below it.")
        ] = None,
        states: Annotated[list[RolloutState] | None, strawberry.argument(description="In these states.")] = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT,
    ) -> list[RolloutItem]:
        context = info.context
        found = await list_items(
            context.engine,
            context.caller,
            settings=context.settings,
            first=first,
            territory_id=territory_id,
            states=states or (),
        )
        return [_item(context, one) for one in found]

    @strawberry.field(
        description="What to roll out: worth most together within minutes, budget and items under way at once, found by"
        " exact search; what is left out and why."
    )
    async def rank_rollout(self, info: Info, territory_id: Scope = None) -> RolloutRanking:
        context = info.context
        found = await ranked_rollout(
            context.engine,
            context.caller,
            today=local_day(context.now_ms, context.settings.organisation_timezone),
            territory_id=territory_id,
        )
        return _ranking(context, found)


@strawberry.type
class RolloutMutations:
    @strawberry.mutation(
        description="Put an improvement on the list. For managers in their subtree and admins everywhere."
    )
    async def propose_rollout_item(
        self, info: Info, input: Annotated[RolloutItemInput, strawberry.argument(description="The item.")]
    ) -> RolloutAnswer:
        context = info.context
        wish = RolloutWish(
            name=input.name,
            grades=Grades(input.importance, input.urgency, input.difficulty, input.resources, input.disruption),
            minutes=input.minutes,
            budget_minor=input.budget_minor,
            territory_id=input.territory_id,
            purpose=input.purpose,
            strategy=input.strategy,
            skills=tuple(input.skills),
        )
        try:
            made = await tell(context, lambda work: propose_item(work, wish, context.settings))
        except Refused as refused:
            return refuse(info, refused)
        return await _saved(context, made)

    @strawberry.mutation(
        description="Begin an item, or begin it again. Refused where the capacity of its place or of one above has no"
        " room."
    )
    async def start_rollout_item(self, info: Info, id: ItemArgument) -> RolloutAnswer:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        try:
            await tell(context, lambda work: start_item(work, id, today))
        except Refused as refused:
            return refuse(info, refused)
        return await _saved(context, id)

    @strawberry.mutation(description="Give an item up, for now or for good.")
    async def stop_rollout_item(
        self,
        info: Info,
        id: ItemArgument,
        reason: Annotated[str, strawberry.argument(description="Why, at most 2000 characters.")],
    ) -> RolloutAnswer:
        context = info.context
        try:
            await tell(context, lambda work: stop_item(work, id, reason))
        except Refused as refused:
            return refuse(info, refused)
        return await _saved(context, id)

    @strawberry.mutation(description="An item is done when an evaluation of it was closed.")
    async def finish_rollout_item(self, info: Info, id: ItemArgument) -> RolloutAnswer:
        context = info.context
        try:
            await tell(context, lambda work: finish_item(work, id))
        except Refused as refused:
            return refuse(info, refused)
        return await _saved(context, id)


async def _saved(context: Context, item_id: str) -> RolloutItemSaved:
    [found] = await list_items(context.engine, context.caller, settings=context.settings, first=1, item_id=item_id)
    return RolloutItemSaved(item=_item(context, found))


def _words(context: Context, enum: str, code: str) -> str:
    return label(context.messages, enum, code, context.locale)


def _ranking(context: Context, found: RankedRollout) -> RolloutRanking:
    def shown(ids: tuple[str, ...]) -> list[RolloutItem]:
        return [_item(context, found.items[one]) for one in ids]

    plan = found.plan
    return RolloutRanking(
        capacity=None if found.capacity is None else show_capacity(context, found.capacity),
        chosen=[] if plan is None else shown(plan.chosen),
        kept=0 if plan is None else plan.kept_n,
        worth=0 if plan is None else plan.worth,
        used_minutes=BigInt(0 if plan is None else plan.used_minutes),
        used_budget_minor=BigInt(0 if plan is None else plan.used_budget_minor),
        proven=plan is not None and plan.proven,
        left_out=[] if plan is None else [_left_out(context, one, found.items[one.id]) for one in plan.left_out],
        raised=shown(found.raised),
        again_and_again=[] if plan is None else shown(plan.again_and_again),
        relief_minutes=found.relief_minutes,
        relief_minutes_text=_words(context, Relief.__name__, found.relief_minutes.value),
        relief_budget=found.relief_budget,
        relief_budget_text=_words(context, Relief.__name__, found.relief_budget.value),
    )


def _left_out(context: Context, one: LeftOut, item: RolloutRecord) -> RolloutLeftOut:
    return RolloutLeftOut(
        item=_item(context, item),
        reasons=list(one.reasons),
        reason_texts=[_words(context, LeftOutReason.__name__, reason.value) for reason in one.reasons],
        missing_minutes=BigInt(one.missing_minutes),
        missing_budget_minor=BigInt(one.missing_budget_minor),
        missing_skills=list(one.skills),
    )


def _item(context: Context, found: RolloutRecord) -> RolloutItem:
    one = found.candidate
    return RolloutItem(
        id=ID(found.id),
        territory_id=None if found.territory_id is None else ID(found.territory_id),
        state=found.state,
        state_text=_words(context, RolloutState.__name__, found.state.value),
        name=found.name,
        purpose=found.purpose,
        strategy=found.strategy,
        importance=one.grades.importance,
        urgency=one.grades.urgency,
        difficulty=one.grades.difficulty,
        resources=one.grades.resources,
        disruption=one.grades.disruption,
        worth=one.worth,
        minutes=BigInt(one.minutes),
        budget_minor=BigInt(one.budget_minor),
        currency=found.currency,
        skills=list(one.skills),
        starts=one.starts_n,
        stops=one.stops_n,
        again_and_again=one.again_and_again,
        reason=found.reason,
        judged=found.judged,
        to_be_judged=found.to_be_judged,
        proposed_at=Instant(found.proposed_at_ms),
        proposed_by=found.proposed_by,
        moved_at=Instant(found.moved_at_ms),
    )
