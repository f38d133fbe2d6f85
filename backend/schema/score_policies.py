"""The score policy over GraphQL: versions, drafting, publishing; the migration between segments and its alarms."""

from collections.abc import Sequence
from typing import Annotated

import strawberry

from backend.domain.customers import LifecycleStage
from backend.domain.lifecycle import Stage
from backend.domain.messages import render
from backend.domain.priority import LINES, LineCode
from backend.domain.score_policy import PolicyState, PolicyWish
from backend.domain.segments import SEGMENT_CODES
from backend.domain.strategy import Serve, StageRule, Strategy
from backend.domain.times import add_days, local_day
from backend.errors import Refused
from backend.reads.selection import one
from backend.schema.changes import tell
from backend.schema.context import Context, Info
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Day, Instant
from backend.schema.types import Customer, Money
from backend.usecases.score_policies import (
    Alarm,
    PolicyVersion,
    draft_policy,
    list_policies,
    publish_policy,
    segment_alarms,
    segment_migration,
)

ID = strawberry.ID
LIST_ROWS_DEFAULT = 20
ALARM_DAYS_DEFAULT = 30

strawberry.enum(PolicyState, description=(PolicyState.__doc__ or "").strip())

Territory = Annotated[
    ID | None, strawberry.argument(description="A territory with everything below it; without, all you hold.")
]


@strawberry.type(description="The most points a line of the priority may give.")
class LineWeight:
    line: LineCode = strawberry.field(description="The line.")
    most: int = strawberry.field(description="Its most points; the last line's are taken off.")


@strawberry.type(description="What to do for customers of one segment, in one stage or in all.")
class StrategyRow:
    segment: str = strawberry.field(description="The segment's code.")
    segment_name: str = strawberry.field(description="Its name in the reader's language.")
    stage: LifecycleStage | None = strawberry.field(description="The stage it stands for alone; null: all others.")
    objective: str = strawberry.field(description="What to reach, as a code.")
    objective_text: str = strawberry.field(description="What to reach, in the reader's language.")
    strategy: str = strawberry.field(description="How, as a code.")
    strategy_text: str = strawberry.field(description="How, in the reader's language.")
    cadence_days: int = strawberry.field(description="Longest gap planned between contacts; 0 = no visits.")
    serve: Serve = strawberry.field(description="How they are served.")
    tries_max: int = strawberry.field(description="After so many tries it ends; 0 = no limit.")


@strawberry.type(description="How a stage bends the rows that hold for every stage.")
class StageBend:
    stage: LifecycleStage = strawberry.field(description="The stage.")
    cadence_percent: int = strawberry.field(description="The cadence in per cent of the row's.")
    objective: str | None = strawberry.field(description="An objective that stands before the row's.")


@strawberry.type(description="One version of the score policy.")
class ScorePolicy:
    id: ID | None = strawberry.field(description="The version's UUID; null for what the product comes with.")
    number: int = strawberry.field(description="The version's number; 0 for what the product comes with.")
    state: PolicyState = strawberry.field(description="Drafted only, or published.")
    in_force: bool = strawberry.field(description="Whether runs from now on score by it.")
    weights: list[LineWeight] = strawberry.field(description="Most points of each line; the first eight add up to 100.")
    severe_case_points: int = strawberry.field(description="Points of each severe open case.")
    overdue_task_points: int = strawberry.field(description="Points of each task or promise past due.")
    open_task_points: int = strawberry.field(description="Points of each other open task.")
    existing_floor: Money = strawberry.field(description="No existing value below it is high.")
    strategies: list[StrategyRow] = strawberry.field(description="The strategies.")
    stages: list[StageBend] = strawberry.field(description="What stages bend.")
    note: str | None = strawberry.field(description="Why it was drafted.")
    drafted_at: Instant | None = strawberry.field(description="When it was drafted.")
    drafted_by: str | None = strawberry.field(description="Who drafted it.")
    published_at: Instant | None = strawberry.field(description="When it was last published.")
    published_by: str | None = strawberry.field(description="Who published it.")


@strawberry.input(description="The most points of one line.")
class LineWeightInput:
    line: LineCode = strawberry.field(description="The line.")
    most: int = strawberry.field(description="0 to 60.")


@strawberry.input(description="Points for what is open at a customer.")
class ObligationPointsInput:
    severe_case: int = strawberry.field(description="For each severe open case.")
    overdue_task: int = strawberry.field(description="For each task or promise past due.")
    open_task: int = strawberry.field(description="For each other open task.")


@strawberry.input(description="What to do for customers of one segment.")
class StrategyInput:
    objective: str = strawberry.field(description="What to reach, as a code.")
    strategy: str = strawberry.field(description="How, as a code.")
    cadence_days: int = strawberry.field(description="0 to 365; 0 = no visits.")
    serve: Serve = strawberry.field(description="How they are served.")
    tries_max: int = strawberry.field(default=0, description="0 = no limit.")


@strawberry.input(description="A row of the strategies.")
class StrategyRowInput:
    segment: str = strawberry.field(description="The segment's code.")
    stage: LifecycleStage | None = strawberry.field(default=None, description="For this stage alone.")
    row: StrategyInput | None = strawberry.field(
        default=None, description="What to do; null takes away a row that stands for one stage alone."
    )


@strawberry.input(description="How a stage bends the rows.")
class StageBendInput:
    stage: LifecycleStage = strawberry.field(description="The stage.")
    cadence_percent: int = strawberry.field(default=100, description="1 to 1,000.")
    objective: str | None = strawberry.field(default=None, description="An objective that stands before the row's.")


@strawberry.input(description="What to change of the version in force; what is not given stays.")
class ScorePolicyInput:
    weights: list[LineWeightInput] | None = strawberry.field(default=None, description="Of some lines, or all.")
    obligation_points: ObligationPointsInput | None = strawberry.field(default=None, description="All three.")
    existing_floor_minor: BigInt | None = strawberry.field(default=None, description="In the reporting currency.")
    strategies: list[StrategyRowInput] | None = strawberry.field(default=None, description="Rows to put or take.")
    stages: list[StageBendInput] | None = strawberry.field(default=None, description="Stages to bend otherwise.")
    note: str | None = strawberry.field(default=None, description="Why.")


@strawberry.type(description="A version was drafted.")
class ScorePolicyDrafted:
    id: ID = strawberry.field(description="Its UUID.")


@strawberry.type(description="A version was put into force; the next score run works by it.")
class ScorePolicyPublished:
    id: ID = strawberry.field(description="Its UUID.")


DraftResult = Annotated[
    ScorePolicyDrafted | Refusal,
    strawberry.union("ScorePolicyDraftResult", description="What was drafted, or why nothing was."),
]
PublishResult = Annotated[
    ScorePolicyPublished | Refusal,
    strawberry.union("ScorePolicyPublishResult", description="What was published, or why nothing was."),
]


@strawberry.type(description="Customers that went from one segment to another.")
class SegmentFlow:
    from_segment: str = strawberry.field(name="from", description="Segment at the end of the first day.")
    to_segment: str = strawberry.field(name="to", description="Segment at the end of the last day.")
    customers: int = strawberry.field(description="How many.")


@strawberry.type(description="The migration between segments.")
class SegmentMigration:
    first_day: Day = strawberry.field(name="from", description="The first day.")
    last_day: Day = strawberry.field(name="until", description="The last day.")
    segments: list[str] = strawberry.field(description="Rows and columns of `matrix`, in their sequence.")
    matrix: list[list[int]] = strawberry.field(description="Customers by segment before (rows) and after (columns).")
    flows: list[SegmentFlow] = strawberry.field(
        description="Cells off the diagonal with anybody in them, largest first."
    )


@strawberry.type(description="A move somebody should look at.")
class SegmentAlarm:
    customer_id: ID = strawberry.field(description="The customer.")
    on_day: Day = strawberry.field(description="The day it moved.")
    from_segment: str | None = strawberry.field(name="from", description="The segment it left.")
    to_segment: str = strawberry.field(name="to", description="The segment it entered.")
    cause: str = strawberry.field(description="What moved it, as a code.")
    cause_text: str = strawberry.field(description="What moved it, in the reader's language.")
    fallen: list[str] = strawberry.field(description="Axes that went from high to low: E, P, L, S.")

    @strawberry.field(description="The customer.")
    def customer(self) -> Customer | None:
        return one("customers", self.customer_id)  # type: ignore[return-value]


@strawberry.type(description="The first alarms, the newest day first.")
class SegmentAlarms:
    total_count: int = strawberry.field(description="How many there are in all.")
    items: list[SegmentAlarm] = strawberry.field(description="The first of them.")


@strawberry.type
class ScorePolicyQueries:
    @strawberry.field(description="Versions of the score policy, the newest first, and the product's own last.")
    async def score_policies(
        self, info: Info, first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT
    ) -> list[ScorePolicy]:
        context = info.context
        found = await list_policies(context.engine, context.caller, settings=context.settings, first=first)
        return [_shown(context, version) for version in found]

    @strawberry.field(description="How many customers went from which segment to which, between the ends of two days.")
    async def segment_migration(
        self,
        info: Info,
        first_day: Annotated[Day, strawberry.argument(name="from", description="The first day.")],
        last_day: Annotated[
            Day | None, strawberry.argument(name="until", description="The last day; today when absent.")
        ] = None,
        territory_id: Territory = None,
    ) -> SegmentMigration:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        until = last_day or today
        matrix = await segment_migration(
            context.engine,
            context.caller,
            first_day=first_day,
            last_day=until,
            today=today,
            territory_id=territory_id,
        )
        return SegmentMigration(
            first_day=first_day,
            last_day=Day(until),
            segments=list(SEGMENT_CODES),
            matrix=[list(row) for row in matrix],
            flows=_flows(matrix),
        )

    @strawberry.field(description="Customers whose segment fell, with the cause: value, loyalty or satisfaction.")
    async def segment_alarms(
        self,
        info: Info,
        since: Annotated[
            Day | None, strawberry.argument(description="Moves after this day; of the last 30 days when absent.")
        ] = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT,
        territory_id: Territory = None,
    ) -> SegmentAlarms:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await segment_alarms(
            context.engine,
            context.caller,
            settings=context.settings,
            since=since or add_days(today, -ALARM_DAYS_DEFAULT),
            first=first,
            territory_id=territory_id,
        )
        return SegmentAlarms(total_count=found.total, items=[_alarm(context, one) for one in found.items])


@strawberry.type
class ScorePolicyMutations:
    @strawberry.mutation(description="Draft a version from the one in force. Nothing changes until it is published.")
    async def draft_score_policy(
        self, info: Info, input: Annotated[ScorePolicyInput, strawberry.argument(description="What to change.")]
    ) -> DraftResult:
        try:
            policy_id = await tell(info.context, lambda work: draft_policy(work, _wish(input), input.note))
        except Refused as refused:
            return refuse(info, refused)
        return ScorePolicyDrafted(id=ID(policy_id))

    @strawberry.mutation(description="Put a version into force from the next score run on; for admins.")
    async def publish_score_policy(
        self, info: Info, id: Annotated[ID, strawberry.argument(description="The version.")]
    ) -> PublishResult:
        try:
            await tell(info.context, lambda work: publish_policy(work, id))
        except Refused as refused:
            return refuse(info, refused)
        return ScorePolicyPublished(id=id)


def _wish(given: ScorePolicyInput) -> PolicyWish:
    points = given.obligation_points
    return PolicyWish(
        weights=None if given.weights is None else [(one.line.value, one.most) for one in given.weights],
        obligation_points=None if points is None else (points.severe_case, points.overdue_task, points.open_task),
        existing_floor_minor=given.existing_floor_minor,
        strategies=None
        if given.strategies is None
        else [(one.segment, one.stage and one.stage.value, _strategy(one.row)) for one in given.strategies],
        stages=None
        if given.stages is None
        else [(one.stage.value, StageRule(one.cadence_percent, one.objective)) for one in given.stages],
    )


def _strategy(row: StrategyInput | None) -> Strategy | None:
    return None if row is None else Strategy(row.objective, row.strategy, row.cadence_days, row.serve, row.tries_max)


def _shown(context: Context, version: PolicyVersion) -> ScorePolicy:
    policy, shipped = version.policy, version.policy.number == 0
    points, table = policy.points, policy.strategies
    rows: list[tuple[str, Stage | None, Strategy]] = [(segment, None, row) for segment, row in table.by_segment.items()]
    rows += [(segment, stage, row) for (segment, stage), row in sorted(table.exact.items())]
    floor = Money(amount_minor=BigInt(policy.existing_floor_minor), currency=context.settings.reporting_currency)
    return ScorePolicy(
        id=None if shipped else ID(version.id),
        number=policy.number,
        state=version.state,
        in_force=version.in_force,
        weights=[LineWeight(line=code, most=most) for code, most in zip(LINES[:-1], points.line_max, strict=True)],
        severe_case_points=points.severe,
        overdue_task_points=points.overdue,
        open_task_points=points.still_open,
        existing_floor=floor,
        strategies=[_row(context, segment, stage, row) for segment, stage, row in rows],
        stages=[
            StageBend(stage=LifecycleStage(stage.name), cadence_percent=rule.cadence_percent, objective=rule.objective)
            for stage, rule in sorted(table.by_stage.items())
        ],
        note=version.note,
        drafted_at=None if shipped else Instant(version.drafted_at_ms),
        drafted_by=version.drafted_by or None,
        published_at=None if version.published_at_ms is None else Instant(version.published_at_ms),
        published_by=version.published_by,
    )


def _row(context: Context, segment: str, stage: Stage | None, row: Strategy) -> StrategyRow:
    def words(key: str) -> str:
        return render(context.messages, key, context.locale)

    return StrategyRow(
        segment=segment,
        segment_name=words(f"segment.{segment}"),
        stage=None if stage is None else LifecycleStage(stage.name),
        objective=row.objective,
        objective_text=words(f"objective.{row.objective}"),
        strategy=row.strategy,
        strategy_text=words(f"strategy.{row.strategy}"),
        cadence_days=row.cadence_days,
        serve=row.serve,
        tries_max=row.tries_max,
    )


def _flows(matrix: Sequence[Sequence[int]]) -> list[SegmentFlow]:
    found = [
        SegmentFlow(from_segment=SEGMENT_CODES[before], to_segment=SEGMENT_CODES[after], customers=count)
        for before, row in enumerate(matrix)
        for after, count in enumerate(row)
        if count and before != after
    ]
    return sorted(found, key=lambda flow: -flow.customers)


def _alarm(context: Context, alarm: Alarm) -> SegmentAlarm:
    move = alarm.move
    return SegmentAlarm(
        customer_id=ID(move.customer_id),
        on_day=Day(move.on_day),
        from_segment=move.from_segment,
        to_segment=move.to_segment,
        cause=move.cause,
        cause_text=render(context.messages, f"segmentCause.{move.cause}", context.locale),
        fallen=list(alarm.fallen),
    )
