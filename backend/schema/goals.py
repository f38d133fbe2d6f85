"""Goals, and whether they will be met: the key figure comes from where all key figures come from."""

from collections.abc import Sequence
from typing import Annotated

import strawberry

from backend.domain.goals import (
    WINDOW_DAYS_MAX,
    WINDOW_DAYS_MIN,
    GoalCaveat,
    GoalRecord,
    GoalVerdict,
    goal_progress,
    measured_until,
)
from backend.domain.kpis import KpiCode, Unit
from backend.domain.messages import label
from backend.domain.times import add_days, local_day
from backend.errors import Code, Problem, Refused
from backend.schema.changes import tell
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.kpis import Kpi, show_kpi
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Day, Instant
from backend.usecases.goals import GoalWish, close_goal, list_goals, set_goal
from backend.usecases.kpis import KpiFound, key_figures

ID = strawberry.ID
LIST_ROWS_DEFAULT = 10
WINDOW_DAYS_DEFAULT = 91

declare(GoalCaveat, GoalVerdict)


@strawberry.type(description="How far a goal is, by a straight line from its baseline through today.")
class GoalProgress:
    verdict: GoalVerdict = strawberry.field(description="Whether it is or will be met.")
    verdict_text: str = strawberry.field(description="The same in the reader's language.")
    value: BigInt | None = strawberry.field(description="The figure now; null where `figure` says why.")
    way_bp: int | None = strawberry.field(
        description="Share of the way from baseline to target, in basis points; negative where it went the other way."
    )
    time_bp: int = strawberry.field(description="Share of the time that is over, in basis points.")
    pace: float | None = strawberry.field(description="Way over time: 1 is as fast as it must be.")
    forecast: BigInt | None = strawberry.field(description="The figure on the due day, if it goes on like this.")
    figure: Kpi = strawberry.field(
        description="The key figure behind it: interval, sources, and why it may have no value."
    )
    caveats: list[GoalCaveat] = strawberry.field(description="What to know about it.")
    caveat_texts: list[str] = strawberry.field(description="The same in the reader's language.")


@strawberry.type(description="A key figure from a baseline to a target by a day, and why.")
class Goal:
    id: ID = strawberry.field(description="The goal's UUID.")
    name: str = strawberry.field(description="What it is called.")
    metric: KpiCode = strawberry.field(description="The key figure.")
    metric_text: str = strawberry.field(description="Its name in the reader's language.")
    unit: Unit = strawberry.field(description="What its values are counted in.")
    territory_id: ID | None = strawberry.field(description="Where; null for the whole organisation.")
    window_days: int = strawberry.field(description="The figure is taken over so many days up to the day.")
    baseline: BigInt = strawberry.field(description="Where it began.")
    target: BigInt = strawberry.field(description="Where it is to be.")
    starts_on: Day = strawberry.field(description="Since when.")
    due_on: Day = strawberry.field(description="By when.")
    reason: str = strawberry.field(description="Why it was set.")
    judged_by: str = strawberry.field(description="How it will be judged.")
    evaluation_id: ID | None = strawberry.field(description="The evaluation planned for it.")
    owner_id: ID = strawberry.field(description="Whose it is.")
    set_at: Instant = strawberry.field(description="When it was set.")
    set_by: str = strawberry.field(description="Who set it.")
    closed_at: Instant | None = strawberry.field(description="When it was taken off the list.")


@strawberry.type(description="A goal with how far it is.")
class GoalWithProgress:
    goal: Goal = strawberry.field(description="The goal.")
    progress: GoalProgress = strawberry.field(description="How far it is.")


@strawberry.input(description="A goal.")
class GoalInput:
    name: str = strawberry.field(description="What it is called, at most 120 characters.")
    metric: KpiCode = strawberry.field(description="The key figure.")
    target: BigInt = strawberry.field(description="Where it is to be, in the unit of the figure.")
    due_on: Day = strawberry.field(description="By when; 14 days to five years after the start.")
    reason: str = strawberry.field(description="Why, at most 2000 characters.")
    judged_by: str = strawberry.field(description="How it will be judged, at most 2000 characters.")
    starts_on: Day | None = strawberry.field(default=None, description="Since when; today when absent.")
    baseline: BigInt | None = strawberry.field(
        default=None, description="Where it begins; measured over the window up to the start when absent."
    )
    window_days: int = strawberry.field(
        default=WINDOW_DAYS_DEFAULT, description="The figure is taken over so many days up to the day, 7 to 366."
    )
    territory_id: ID | None = strawberry.field(default=None, description="Where; null for the whole organisation.")
    evaluation_id: ID | None = strawberry.field(default=None, description="The evaluation planned for it.")
    owner_id: ID | None = strawberry.field(default=None, description="Whose it is; yours when absent.")


@strawberry.type(description="The goal as it stands now.")
class GoalSaved:
    goal: Goal = strawberry.field(description="The goal.")


GoalAnswer = Annotated[
    GoalSaved | Refusal, strawberry.union("GoalAnswer", description="The goal, or why nothing was changed.")
]


@strawberry.type
class GoalQueries:
    @strawberry.field(
        description="Goals you see with how far they are, the next due first. Each key figure is computed now, over the"
        " customers you hold."
    )
    async def goal_progress(
        self,
        info: Info,
        territory_id: Annotated[
            ID | None, strawberry.argument(description="Of this territory and everything below it.")
        ] = None,
        ids: Annotated[list[ID] | None, strawberry.argument(description="These only, closed ones too.")] = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT,
    ) -> list[GoalWithProgress]:
        context = info.context
        found = await list_goals(
            context.engine,
            context.caller,
            settings=context.settings,
            first=first,
            territory_id=territory_id,
            goal_ids=tuple(ids or ()),
        )
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        figures = await _figures(context, found, today)
        return [
            GoalWithProgress(goal=_goal(context, one), progress=_progress(context, one, figures[one.id], today))
            for one in found
        ]


@strawberry.type
class GoalMutations:
    @strawberry.mutation(
        description="Set a goal. What was written does not change. For managers in their subtree and admins everywhere."
    )
    async def set_goal(
        self, info: Info, input: Annotated[GoalInput, strawberry.argument(description="The goal.")]
    ) -> GoalAnswer:
        context = info.context
        try:
            starts_on = input.starts_on or local_day(context.now_ms, context.settings.organisation_timezone)
            wish = GoalWish(
                name=input.name,
                metric=input.metric,
                baseline=await _baseline(context, input, starts_on),
                target=input.target,
                starts_on=starts_on,
                due_on=input.due_on,
                reason=input.reason,
                judged_by=input.judged_by,
                window_days=input.window_days,
                territory_id=input.territory_id,
                evaluation_id=input.evaluation_id,
                owner_id=input.owner_id,
            )
            made = await tell(context, lambda work: set_goal(work, wish, context.settings))
        except Refused as refused:
            return refuse(info, refused)
        return await _saved(context, made)

    @strawberry.mutation(description="Take a goal off the list; it is kept.")
    async def close_goal(
        self, info: Info, id: Annotated[ID, strawberry.argument(description="Which goal.")]
    ) -> GoalAnswer:
        context = info.context
        try:
            await tell(context, lambda work: close_goal(work, id))
        except Refused as refused:
            return refuse(info, refused)
        return await _saved(context, id)


async def _saved(context: Context, goal_id: str) -> GoalSaved:
    [found] = await list_goals(context.engine, context.caller, settings=context.settings, first=1, goal_ids=(goal_id,))
    return GoalSaved(goal=_goal(context, found))


async def _baseline(context: Context, input: GoalInput, starts_on: str) -> int:
    """The one given, else the figure over the window up to the start; a figure that has no value must be given."""
    if input.baseline is not None:
        return input.baseline
    today = local_day(context.now_ms, context.settings.organisation_timezone)
    # another window is refused with whatever else is wrong
    window_days = min(max(input.window_days, WINDOW_DAYS_MIN), WINDOW_DAYS_MAX)
    found = await _figure(context, [input.metric], input.territory_id, min(starts_on, today), window_days, today)
    if found[0].figure.value is None:
        raise Refused(Problem(Code.REQUIRED, ("baseline",)))
    return found[0].figure.value


async def _figure(
    context: Context, codes: Sequence[KpiCode], territory_id: str | None, until: str, window_days: int, today: str
) -> tuple[KpiFound, ...]:
    found = await key_figures(
        context.engine,
        context.caller,
        settings=context.settings,
        codes=codes,
        first_day=add_days(until, 1 - window_days),
        last_day=until,
        today=today,
        territory_id=territory_id,
    )
    return found.items


async def _figures(context: Context, goals: Sequence[GoalRecord], today: str) -> dict[str, KpiFound]:
    """Goal id → its figure; goals of one scope and window are computed together."""
    groups: dict[tuple[str | None, str, int], list[GoalRecord]] = {}
    for one in goals:
        groups.setdefault((one.territory_id, measured_until(one, today), one.window_days), []).append(one)
    found: dict[str, KpiFound] = {}
    for (territory_id, until, window_days), mine in groups.items():
        codes = list(dict.fromkeys(one.metric for one in mine))
        figures = {one.code: one for one in await _figure(context, codes, territory_id, until, window_days, today)}
        found |= {one.id: figures[one.metric] for one in mine}
    return found


def _words(context: Context, enum: str, code: str) -> str:
    return label(context.messages, enum, code, context.locale)


def _progress(context: Context, goal: GoalRecord, figure: KpiFound, today: str) -> GoalProgress:
    found = goal_progress(goal, figure.figure.value, figure.figure.missing, today)
    return GoalProgress(
        verdict=found.verdict,
        verdict_text=_words(context, GoalVerdict.__name__, found.verdict.value),
        value=None if found.value is None else BigInt(found.value),
        way_bp=None if found.way is None else round(min(max(found.way, -1e5), 1e5) * 10_000),
        time_bp=round(found.time * 10_000),
        pace=found.pace,
        forecast=None if found.forecast is None else BigInt(min(max(found.forecast, 1 - 2**53), 2**53 - 1)),
        figure=show_kpi(context, figure),
        caveats=list(found.caveats),
        caveat_texts=[_words(context, GoalCaveat.__name__, one.value) for one in found.caveats],
    )


def _goal(context: Context, found: GoalRecord) -> Goal:
    return Goal(
        id=ID(found.id),
        name=found.name,
        metric=found.metric,
        metric_text=_words(context, KpiCode.__name__, found.metric.value),
        unit=found.unit,
        territory_id=None if found.territory_id is None else ID(found.territory_id),
        window_days=found.window_days,
        baseline=BigInt(found.baseline),
        target=BigInt(found.target),
        starts_on=Day(found.starts_on),
        due_on=Day(found.due_on),
        reason=found.reason,
        judged_by=found.judged_by,
        evaluation_id=None if found.evaluation_id is None else ID(found.evaluation_id),
        owner_id=ID(found.owner_id),
        set_at=Instant(found.set_at_ms),
        set_by=found.set_by,
        closed_at=None if found.closed_at_ms is None else Instant(found.closed_at_ms),
    )
