"""Did it help? Evaluations of what is done to customers: planned, frozen, closed with a lesson."""

from typing import Annotated, Any

import strawberry

from backend.domain.backtest import Verdict
from backend.domain.customers import CustomerKind
from backend.domain.evaluations import (
    HOLDOUT_BP_MIN,
    EvaluationMetric,
    EvaluationRecord,
    EvaluationState,
    SubjectKind,
)
from backend.domain.given import check_first
from backend.domain.messages import label
from backend.domain.visit_uplift import UpliftBasis
from backend.errors import Refused
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.enums import declare
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Day, Instant
from backend.usecases.evaluations import (
    EvaluationPlan,
    arm_of,
    close_evaluation,
    drop_evaluation,
    freeze_evaluation,
    lessons_for,
    list_evaluations,
    plan_evaluation,
    visit_uplift_now,
)

ID = strawberry.ID
LIST_ROWS_DEFAULT = 20

declare(SubjectKind, EvaluationMetric, EvaluationState, Verdict, UpliftBasis)


@strawberry.type(description="What came of an evaluation. Figures are null where the arms were not what was planned.")
class EvaluationResult:
    treated: int = strawberry.field(description="Customers treated who still exist; all that were drawn count.")
    control: int = strawberry.field(description="Customers held out who still exist.")
    ratio_p: float = strawberry.field(description="How likely arms like these are as planned; below .001 is an end.")
    verdict: Verdict | None = strawberry.field(description="Whether the interval leaves 0 out.")
    lift: float | None = strawberry.field(description="Effect per customer, in units of the metric.")
    low: float | None = strawberry.field(description="Lower end of the 95 % interval.")
    high: float | None = strawberry.field(description="Upper end of the 95 % interval.")
    relative: float | None = strawberry.field(description="The effect as a share of what held-out customers showed.")
    treated_mean: float | None = strawberry.field(description="Mean of the treated.")
    control_mean: float | None = strawberry.field(description="Mean of the held out.")
    variance_cut: float | None = strawberry.field(description="Noise taken away by the forecast from before, 0 to 1.")
    forecasts: int | None = strawberry.field(
        description="Customers with a forecast kept at the start; without any, nothing is corrected for what they"
        " bought before. Null where it was not noted."
    )
    gain_variance_cut: float | None = strawberry.field(description="Noise of the gain taken away likewise, 0 to 1.")
    basis: str | None = strawberry.field(description="REVENUE, or DEFAULT_MARGIN where a margin is declared.")
    gain_minor: BigInt | None = strawberry.field(description="Money it brought over all treated customers.")
    gain_low_minor: BigInt | None = strawberry.field(description="Lower end of its 95 % interval.")
    gain_high_minor: BigInt | None = strawberry.field(description="Upper end of its 95 % interval.")
    cost_minor: BigInt | None = strawberry.field(description="What it cost.")
    net_minor: BigInt | None = strawberry.field(description="Gain less cost.")
    return_ratio: float | None = strawberry.field(description="Gain per unit of cost; null where it cost nothing.")


@strawberry.type(description="What an earlier evaluation taught.")
class EvaluationLesson:
    evaluation_id: ID = strawberry.field(description="The evaluation.")
    name: str = strawberry.field(description="What was evaluated.")
    state: EvaluationState = strawberry.field(description="How it ended.")
    ended_at: Instant = strawberry.field(description="When it ended.")
    verdict: Verdict | None = strawberry.field(description="Whether it helped; null where nothing was measured.")
    relative: float | None = strawberry.field(description="Effect as a share of what held-out customers showed.")
    return_ratio: float | None = strawberry.field(description="Gain per unit of cost.")
    lesson: str = strawberry.field(description="The lesson, in the words of whoever ended it.")


@strawberry.type(description="Something done to customers, judged against customers to whom it was not done.")
class Evaluation:
    id: ID = strawberry.field(description="The evaluation's UUID.")
    state: EvaluationState = strawberry.field(description="How far it is.")
    subject_kind: SubjectKind = strawberry.field(description="What kind of thing is evaluated.")
    subject_id: str = strawberry.field(description="Which one: an id or a name of its own.")
    name: str = strawberry.field(description="What it is called.")
    strategy: str | None = strawberry.field(description="The strategy it follows.")
    territory_id: ID | None = strawberry.field(description="Where; null for the whole organisation.")
    segments: list[str] = strawberry.field(description="Segments it is limited to; none: all.")
    kinds: list[str] = strawberry.field(description="Kinds of customers it is limited to; none: all.")
    metric: EvaluationMetric = strawberry.field(description="The one thing that is measured.")
    starts_on: Day = strawberry.field(description="First day of the window.")
    ends_on: Day = strawberry.field(description="Last day of the window.")
    holdout_bp: int = strawberry.field(description="Share of the customers held out, in basis points.")
    cost_minor: BigInt = strawberry.field(description="What doing it costs.")
    currency: str = strawberry.field(description="Currency of all its amounts.")
    expectation: str | None = strawberry.field(description="What was hoped for, written down before.")
    planned_at: Instant = strawberry.field(description="When it was planned.")
    planned_by: str = strawberry.field(description="Who planned it.")
    frozen_at: Instant | None = strawberry.field(description="When the arms were drawn.")
    treated: int | None = strawberry.field(description="Customers drawn to be treated.")
    control: int | None = strawberry.field(description="Customers drawn to be held out.")
    ended_at: Instant | None = strawberry.field(description="When it was closed or given up.")
    result: EvaluationResult | None = strawberry.field(description="What came of it; null until it is closed.")
    lesson: str | None = strawberry.field(description="What was learned, or why it was given up.")
    lessons: list[EvaluationLesson] = strawberry.field(
        description="What earlier ones of the same strategy or kind taught; while this one is not over."
    )

    @strawberry.field(description="Customers of one arm whom you see, by id: whom to leave alone, or whom to treat.")
    async def customer_ids(
        self,
        info: Info,
        held_out: Annotated[bool, strawberry.argument(description="True: those to leave alone.")],
        first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT,
        after: Annotated[ID | None, strawberry.argument(description="Those after this customer's id.")] = None,
    ) -> list[ID]:
        context = info.context
        check_first(first, context.settings.page_rows_max)
        async with context.engine.read() as conn:
            found = await arm_of(conn, context.caller, self.id, held_out=held_out, after=after or "", first=first)
        return [ID(one) for one in found]


@strawberry.type(description="Evaluations, newest first.")
class Evaluations:
    total_count: int = strawberry.field(description="How many there are in all.")
    items: list[Evaluation] = strawberry.field(description="The first of them.")


@strawberry.input(description="What will be measured, of whom and when; it does not change afterwards.")
class PlanEvaluationInput:
    subject_kind: SubjectKind = strawberry.field(description="What kind of thing is evaluated.")
    subject_id: str = strawberry.field(description="Which one: an id or a name, at most 80 characters.")
    name: str = strawberry.field(description="What it is called, at most 120 characters.")
    metric: EvaluationMetric = strawberry.field(description="The one thing that is measured.")
    starts_on: Day = strawberry.field(description="First day of the window, after today.")
    ends_on: Day = strawberry.field(description="Last day of the window, 7 to 365 days.")
    strategy: str | None = strawberry.field(default=None, description="The strategy it follows.")
    territory_id: ID | None = strawberry.field(default=None, description="Where; null for the whole organisation.")
    segments: list[str] = strawberry.field(default_factory=list, description="Segments; none: all.")
    kinds: list[CustomerKind] = strawberry.field(default_factory=list, description="Kinds of customers; none: all.")
    holdout_bp: int = strawberry.field(
        default=HOLDOUT_BP_MIN, description="Share held out in basis points, 1000 to 5000."
    )
    cost_minor: BigInt = strawberry.field(
        default=BigInt(0), description="What doing it costs, in minor units of the reporting currency."
    )
    expectation: str | None = strawberry.field(default=None, description="What is hoped for.")


@strawberry.type(description="The evaluation as it stands now.")
class EvaluationSaved:
    evaluation: Evaluation = strawberry.field(description="The evaluation.")


EvaluationAnswer = Annotated[
    EvaluationSaved | Refusal,
    strawberry.union("EvaluationAnswer", description="The evaluation, or why nothing was changed."),
]
EvaluationArgument = Annotated[ID, strawberry.argument(description="Which evaluation.")]


@strawberry.type(description="A share of the spend expected of a customer.")
class UpliftShare:
    value: float = strawberry.field(description="The share in use, 0 to 1.")
    low: float | None = strawberry.field(description="Lower end of the 95 % interval; null where it is assumed.")
    high: float | None = strawberry.field(description="Upper end of the 95 % interval.")


@strawberry.type(description="What a visit brings, as a share of the spend expected of a customer.")
class VisitUpliftFound:
    basis: UpliftBasis = strawberry.field(description="Whether it was measured or is assumed.")
    basis_text: str = strawberry.field(description="The same in the reader's language.")
    on_time: UpliftShare = strawberry.field(description="At customers who order when they are due.")
    overdue: UpliftShare = strawberry.field(description="At customers long past due.")
    treated: int = strawberry.field(description="Customers of closed visit programmes who were to be visited.")
    control: int = strawberry.field(description="Customers who were left alone.")


@strawberry.type
class EvaluationQueries:
    @strawberry.field(
        description="What a visit brings: measured on closed visit programmes once at least 200 customers are in each"
        " arm, assumed until then; for analysts and admins."
    )
    async def visit_uplift(self, info: Info) -> VisitUpliftFound:
        context = info.context
        async with context.engine.read() as conn:
            found = await visit_uplift_now(conn, context.caller, context.settings, context.now_ms)
        text = label(context.messages, UpliftBasis.__name__, found.basis.value, context.locale)
        base, peak = (
            UpliftShare(value=share.value, low=share.low, high=share.high) for share in (found.base, found.peak)
        )
        return VisitUpliftFound(
            basis=found.basis,
            basis_text=text,
            on_time=base,
            overdue=peak,
            treated=found.treated_n,
            control=found.control_n,
        )

    @strawberry.field(
        description="Evaluations you see, newest first: managers those of their subtree and of the whole organisation."
    )
    async def evaluations(
        self,
        info: Info,
        subject_kind: Annotated[SubjectKind | None, strawberry.argument(description="Of this kind only.")] = None,
        subject_id: Annotated[str | None, strawberry.argument(description="Of this subject only.")] = None,
        states: Annotated[list[EvaluationState] | None, strawberry.argument(description="In these states.")] = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT,
    ) -> Evaluations:
        context = info.context
        check_first(first, context.settings.page_rows_max)
        async with context.engine.read() as conn:
            found = await list_evaluations(
                conn,
                context.caller,
                first=first,
                subject_kind=subject_kind,
                subject_id=subject_id,
                states=states or (),
            )
        return Evaluations(
            total_count=found.total,
            items=[_shown(one, found.lessons.get(one.id, ())) for one in found.items],
        )

    @strawberry.field(description="One evaluation; null outside your scope.")
    async def evaluation(self, info: Info, id: EvaluationArgument) -> Evaluation | None:
        context = info.context
        async with context.engine.read() as conn:
            found = await list_evaluations(conn, context.caller, first=1, evaluation_id=id)
        return next((_shown(one, found.lessons.get(one.id, ())) for one in found.items), None)


@strawberry.type
class EvaluationMutations:
    @strawberry.mutation(
        description="Write down what will be measured before it starts. The answer's `lessons` are what earlier ones"
        " taught. For managers in their subtree, marketers, analysts and admins."
    )
    async def plan_evaluation(
        self, info: Info, input: Annotated[PlanEvaluationInput, strawberry.argument(description="The plan.")]
    ) -> EvaluationAnswer:
        context = info.context
        try:
            made = await tell(context, lambda work: plan_evaluation(work, _given(input), context.settings))
            return await _saved(info, made)
        except Refused as refused:
            return refuse(info, refused)

    @strawberry.mutation(description="Draw who is held out, once, not later than the first day of the window.")
    async def freeze_evaluation(self, info: Info, id: EvaluationArgument) -> EvaluationAnswer:
        context = info.context
        try:
            await tell(context, lambda work: freeze_evaluation(work, id, context.settings))
            return await _saved(info, id)
        except Refused as refused:
            return refuse(info, refused)

    @strawberry.mutation(
        description="Judge what came of it once its window is over, and keep it with a lesson. It never changes again."
    )
    async def close_evaluation(
        self,
        info: Info,
        id: EvaluationArgument,
        lesson: Annotated[str, strawberry.argument(description="What was learned, at most 2000 characters.")],
    ) -> EvaluationAnswer:
        context = info.context
        try:
            await tell(context, lambda work: close_evaluation(work, id, lesson, context.settings))
            return await _saved(info, id)
        except Refused as refused:
            return refuse(info, refused)

    @strawberry.mutation(description="Give an evaluation up before it was judged; the reason is kept.")
    async def drop_evaluation(
        self,
        info: Info,
        id: EvaluationArgument,
        reason: Annotated[str, strawberry.argument(description="Why, at most 2000 characters.")],
    ) -> EvaluationAnswer:
        context = info.context
        try:
            await tell(context, lambda work: drop_evaluation(work, id, reason))
            return await _saved(info, id)
        except Refused as refused:
            return refuse(info, refused)


async def _saved(info: Info, evaluation_id: str) -> EvaluationSaved:
    context = info.context
    async with context.engine.read() as conn:
        found = await list_evaluations(conn, context.caller, first=1, evaluation_id=evaluation_id)
        lessons = await lessons_for(conn, context.caller, evaluation_id)
    return EvaluationSaved(evaluation=_shown(found.items[0], lessons))


def _given(input: PlanEvaluationInput) -> EvaluationPlan:
    return EvaluationPlan(
        subject_kind=input.subject_kind,
        subject_id=input.subject_id,
        name=input.name,
        metric=input.metric,
        starts_on=input.starts_on,
        ends_on=input.ends_on,
        strategy=input.strategy,
        territory_id=input.territory_id,
        segments=tuple(input.segments),
        kinds=tuple(kind.value for kind in input.kinds),
        holdout_bp=input.holdout_bp,
        cost_minor=input.cost_minor,
        expectation=input.expectation,
    )


def _shown(found: EvaluationRecord, lessons: tuple[EvaluationRecord, ...]) -> Evaluation:
    return Evaluation(
        id=ID(found.id),
        state=found.state,
        subject_kind=found.subject_kind,
        subject_id=found.subject_id,
        name=found.name,
        strategy=found.strategy,
        territory_id=None if found.territory_id is None else ID(found.territory_id),
        segments=list(found.segments),
        kinds=list(found.kinds),
        metric=found.metric,
        starts_on=Day(found.starts_on),
        ends_on=Day(found.ends_on),
        holdout_bp=found.holdout_bp,
        cost_minor=BigInt(found.cost_minor),
        currency=found.currency,
        expectation=found.expectation,
        planned_at=Instant(found.planned_at_ms),
        planned_by=found.planned_by,
        frozen_at=None if found.frozen_at_ms is None else Instant(found.frozen_at_ms),
        treated=found.treated_n,
        control=found.control_n,
        ended_at=None if found.ended_at_ms is None else Instant(found.ended_at_ms),
        result=None if found.result is None else _result(found.result),
        lesson=found.lesson,
        lessons=[_lesson(one) for one in lessons],
    )


def _result(found: dict[str, Any]) -> EvaluationResult:
    def money(name: str) -> BigInt | None:
        return None if found.get(name) is None else BigInt(found[name])

    return EvaluationResult(
        treated=found["treatedN"],
        control=found["controlN"],
        ratio_p=found["ratioP"],
        verdict=_verdict(found),
        lift=found.get("lift"),
        low=found.get("low"),
        high=found.get("high"),
        relative=found.get("relative"),
        treated_mean=found.get("treatedMean"),
        control_mean=found.get("controlMean"),
        variance_cut=found.get("varianceCut"),
        forecasts=found.get("forecastN"),
        gain_variance_cut=found.get("gainVarianceCut"),
        basis=found.get("basis"),
        gain_minor=money("gainMinor"),
        gain_low_minor=money("gainLowMinor"),
        gain_high_minor=money("gainHighMinor"),
        cost_minor=money("costMinor"),
        net_minor=money("netMinor"),
        return_ratio=found.get("returnRatio"),
    )


def _lesson(found: EvaluationRecord) -> EvaluationLesson:
    result = found.result or {}
    return EvaluationLesson(
        evaluation_id=ID(found.id),
        name=found.name,
        state=found.state,
        ended_at=Instant(found.ended_at_ms or found.planned_at_ms),
        verdict=_verdict(result),
        relative=result.get("relative"),
        return_ratio=result.get("returnRatio"),
        lesson=found.lesson or "",
    )


def _verdict(result: dict[str, Any]) -> Verdict | None:
    return Verdict(result["verdict"]) if result.get("verdict") else None
