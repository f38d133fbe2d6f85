"""Which activity worked before for a segment."""

from typing import Annotated

import strawberry

from backend.domain.backtest import Verdict
from backend.domain.campaign_advisor import Pattern
from backend.domain.evaluations import EvaluationMetric, SubjectKind
from backend.domain.given import check_first
from backend.domain.kpis import NoFigure
from backend.domain.messages import label
from backend.schema.context import Info
from backend.schema.enums import declare
from backend.schema.scalars import Day
from backend.usecases.campaign_advisor import advise_campaign

ID = strawberry.ID
PATTERNS_DEFAULT = 10

declare(SubjectKind, EvaluationMetric, Verdict)


@strawberry.type(description="Something that was done to customers before, and what came of it.")
class ActivityPattern:
    subject_kind: SubjectKind = strawberry.field(description="What kind of thing was done.")
    subject_kind_text: str = strawberry.field(description="The same in the reader's language.")
    action: str = strawberry.field(description="The strategy it followed, else the subject's own name or id.")
    metric: EvaluationMetric = strawberry.field(description="What was measured.")
    metric_text: str = strawberry.field(description="The same in the reader's language.")
    aimed: bool = strawberry.field(
        description="True: only customers of named segments were treated, this one among them; false: everybody."
    )
    lift: float = strawberry.field(description="Effect as a share of what customers left alone showed, pooled.")
    low: float = strawberry.field(description="Lower end of its 95 % interval: what patterns are ranked by.")
    high: float = strawberry.field(description="Upper end of its 95 % interval.")
    spread: float = strawberry.field(description="Standard deviation of the effect between the evaluations.")
    verdict: Verdict = strawberry.field(description="Whether the interval leaves 0 out.")
    treated: int = strawberry.field(description="Customers treated, over all evaluations.")
    control: int = strawberry.field(description="Customers left alone.")
    evaluations: list[ID] = strawberry.field(description="Closed evaluations it stands on, the newest first.")
    last_ended_on: Day = strawberry.field(description="Last day of the newest one's window.")
    lesson: str | None = strawberry.field(description="What the newest one taught, in the words of whoever closed it.")


@strawberry.type(description="What worked before for customers of a segment, the surest first.")
class CampaignAdvice:
    segment: str = strawberry.field(description="The segment asked for.")
    compared: int = strawberry.field(
        description="Patterns compared. Of so many one in forty is above its interval by chance."
    )
    patterns: list[ActivityPattern] = strawberry.field(description="The first of them, by the lower end of the lift.")
    missing: NoFigure | None = strawberry.field(
        description="NOT_RECORDED where no closed evaluation tells anything of this segment."
    )
    missing_text: str | None = strawberry.field(description="The same in the reader's language.")


@strawberry.type
class CampaignAdvisorQueries:
    @strawberry.field(
        description="Past campaigns, strategies and visit programmes ranked by the lower end of their lift's 95 %"
        " interval, as closed evaluations measured it; for those who see evaluations. Effects of one pattern are pooled"
        " by inverse variance with the variance between evaluations added (DerSimonian and Laird, 1986)."
    )
    async def campaign_advisor(
        self,
        info: Info,
        segment: Annotated[str, strawberry.argument(description="One of the sixteen segments, such as LLLH.")],
        metric: Annotated[
            EvaluationMetric | None, strawberry.argument(description="Measured by this only; null: by any.")
        ] = None,
        first: Annotated[int, strawberry.argument(description="How many patterns.")] = PATTERNS_DEFAULT,
    ) -> CampaignAdvice:
        context = info.context
        check_first(first, context.settings.page_rows_max)
        async with context.engine.read() as conn:
            found = await advise_campaign(conn, context.caller, context.settings, segment=segment, metric=metric)

        def words(enum: type, value: str) -> str:
            return label(context.messages, enum.__name__, value, context.locale)

        return CampaignAdvice(
            segment=segment,
            compared=len(found),
            patterns=[
                _shown(one, words(SubjectKind, one.subject_kind.value), words(EvaluationMetric, one.metric.value))
                for one in found[:first]
            ],
            missing=None if found else NoFigure.NOT_RECORDED,
            missing_text=None if found else words(NoFigure, NoFigure.NOT_RECORDED.value),
        )


def _shown(found: Pattern, kind_text: str, metric_text: str) -> ActivityPattern:
    newest = found.evaluations[0]
    return ActivityPattern(
        subject_kind=found.subject_kind,
        subject_kind_text=kind_text,
        action=found.action,
        metric=found.metric,
        metric_text=metric_text,
        aimed=found.aimed,
        lift=found.lift,
        low=found.low,
        high=found.high,
        spread=found.spread,
        verdict=found.verdict,
        treated=found.treated_n,
        control=found.control_n,
        evaluations=[ID(one.id) for one in found.evaluations],
        last_ended_on=Day(newest.ends_on),
        lesson=newest.lesson,
    )
