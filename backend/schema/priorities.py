"""Whom to visit, and why: the ranking of a day, and starting a score run."""

from typing import Annotated, Any

import strawberry

from backend.domain.explanations import Line, reasons
from backend.domain.judgements import Judgement, JudgementKind, JudgementReason
from backend.domain.line_texts import line_text, reason_text
from backend.domain.messages import label
from backend.domain.permissions import mask_text
from backend.domain.priority import LineCode
from backend.domain.score_runs import EmptyBecause, RunState
from backend.domain.times import local_day
from backend.domain.what_if import Deed
from backend.errors import Refused
from backend.reads.selection import one
from backend.schema.changes import tell
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.refusals import Problem, Refusal, refuse, show_problems
from backend.schema.scalars import JSON, BigInt, Day
from backend.schema.types import Customer, Person, ScoreRun
from backend.usecases.insights import RunSummary, cancel_scores, run_scores
from backend.usecases.visit_ranking import Ranking, VisitPriority, visit_priorities
from backend.usecases.what_if import Standing, WhatIf, what_if

ID = strawberry.ID
LIST_ROWS_DEFAULT = 20

declare(LineCode, EmptyBecause, RunState, JudgementKind, JudgementReason)


@strawberry.type(description="One line of a priority as of a day; the points of all lines add up to the score.")
class PriorityLine:
    code: LineCode = strawberry.field(description="What the line is about.")
    points: int = strawberry.field(description="Points it adds or takes.")
    recorded: bool = strawberry.field(description="Whether there was data for it; without, it has 0 points.")
    numbers: JSON = strawberry.field(description="The whole numbers behind it.")
    evidence: list[ID] = strawberry.field(description="Ids of the records that prove it.")
    text: str = strawberry.field(description="The line in words, in the reader's language.")


@strawberry.type(description="A judgement in force on a day's list.")
class RankedJudgement:
    id: ID = strawberry.field(description="The judgement's UUID.")
    kind: JudgementKind = strawberry.field(description="A skip, or an override.")
    reason: JudgementReason = strawberry.field(description="Why.")
    reason_text: str = strawberry.field(description="Why, in the reader's language.")
    note: str | None = strawberry.field(description="Why, in words; the first letter for roles that read masked data.")
    ends_on: Day = strawberry.field(description="Last local day it holds.")
    score: int | None = strawberry.field(description="The priority an override puts the customer at.")
    points: int | None = strawberry.field(description="By how much an override moves the priority instead.")
    author_id: ID = strawberry.field(description="Whose judgement it is.")

    @strawberry.field(description="Whose judgement it is.")
    def author(self) -> Person | None:
        return one("people", self.author_id)  # type: ignore[return-value]


@strawberry.type(description="One customer on a day's list.")
class RankedCustomer:
    rank: int = strawberry.field(description="Place on the list, from 1.")
    score: int = strawberry.field(description="Priority of a visit on that day, 0 to 100.")
    scored: bool = strawberry.field(description="False for a customer no score run has seen yet.")
    customer_id: ID = strawberry.field(description="The customer.")
    lines: list[PriorityLine] = strawberry.field(description="What the score is made of, in the order to be shown.")
    ranked_at: int = strawberry.field(
        description="Where it is ranked: the score, or where an override in force puts it, 0 to 100."
    )
    skipped: bool = strawberry.field(description="You said not to go on that day: it ranks behind all others.")
    judgements: list[RankedJudgement] = strawberry.field(
        description="Overrides and skips in force, the override that counts first. The score never changes by them."
    )
    reasons: list[str] = strawberry.field(
        description="The up to three strongest lines for a visit, each short enough for one line of a phone."
    )

    @strawberry.field(description="The customer.")
    def customer(self) -> Customer | None:
        return one("customers", self.customer_id)  # type: ignore[return-value]


@strawberry.type(description="Why a list is empty.")
class EmptyList:
    code: EmptyBecause = strawberry.field(description="The reason as a code.")
    text: str = strawberry.field(description="The reason in the reader's language.")


@strawberry.type(description="Whom to visit on a day, the most worthwhile first.")
class VisitPriorities:
    as_of: Day = strawberry.field(description="The day the list is for, judged in each customer's zone.")
    table_version: str | None = strawberry.field(description="The published weights and tables it was ranked with.")
    scored_on: Day | None = strawberry.field(description="The newest day a score on it stands for.")
    total_count: int = strawberry.field(description="How many customers were ranked.")
    items: list[RankedCustomer] = strawberry.field(description="The first of them.")
    empty_because: EmptyList | None = strawberry.field(description="Why there is nobody; null when there is.")


@strawberry.type(description="What a score run did.")
class ScoresRun:
    id: ID = strawberry.field(description="The run's UUID.")
    state: RunState = strawberry.field(description="How far it got.")
    as_of: Day = strawberry.field(description="The day it looked from.")
    table_version: str = strawberry.field(description="The published weights and tables it used.")
    fit_status: str = strawberry.field(description="How far the purchase model may be trusted.")
    level: float = strawberry.field(description="Factor on expected purchases from the backtest, .8 to 1.25.")
    level_measured: bool = strawberry.field(description="False where history was too short to measure the level.")
    customers_scored: int = strawberry.field(description="Customers looked at.")
    customers_changed: int = strawberry.field(description="Customers whose score changed; only these are synced.")
    customers_removed: int = strawberry.field(description="Customers whose score was withdrawn.")
    customers_left_out: int = strawberry.field(description="Customers that keep their last score; see `problems`.")
    milliseconds: int = strawberry.field(description="How long it took.")
    problems: list[Problem] = strawberry.field(description="Who was left out, and why.")

    @strawberry.field(description="The run as it is kept.")
    def run(self) -> ScoreRun | None:
        return one("scoreRuns", self.id)  # type: ignore[return-value]


RunScoresResult = Annotated[
    ScoresRun | Refusal, strawberry.union("RunScoresResult", description="What the run did, or why it did not start.")
]


@strawberry.type(description="A score run was asked to end; it does within seconds.")
class ScoresCancelAsked:
    id: ID = strawberry.field(description="The run's UUID.")

    @strawberry.field(description="The run as it is kept: RUNNING until it has heard, CANCELLED from then on.")
    def run(self) -> ScoreRun | None:
        return one("scoreRuns", self.id)  # type: ignore[return-value]


CancelScoresResult = Annotated[
    ScoresCancelAsked | Refusal,
    strawberry.union("CancelScoresResult", description="The run that was asked to end, or why none was."),
]

Territory = Annotated[
    ID | None, strawberry.argument(description="A territory with everything below it; without, all you hold.")
]


@strawberry.type(description="A priority with its lines.")
class PriorityStanding:
    score: int = strawberry.field(description="0 to 100.")
    lines: list[PriorityLine] = strawberry.field(description="What it is made of.")


@strawberry.type(description="What a deed would change of a customer's priority. Nothing is written.")
class PriorityWhatIf:
    customer_id: ID = strawberry.field(description="The customer.")
    on: Day = strawberry.field(description="The day.")
    before: PriorityStanding = strawberry.field(description="As it is.")
    after: PriorityStanding = strawberry.field(description="After the deed.")


@strawberry.type
class PriorityQueries:
    @strawberry.field(
        description="A customer's priority as it is and if something were done now. Other customers, the published"
        " tables and the fitted models stay as they are."
    )
    async def what_if(
        self,
        info: Info,
        customer_id: Annotated[ID, strawberry.argument(description="The customer.")],
        visit_now: Annotated[bool, strawberry.argument(description="A visit is made on the day.")] = False,
        case_closed: Annotated[bool, strawberry.argument(description="Its severe cases are closed.")] = False,
        order_of_minor: Annotated[
            BigInt | None, strawberry.argument(description="An order of this net amount, in the reporting currency.")
        ] = None,
        on: Annotated[Day | None, strawberry.argument(description="The local day; today when absent.")] = None,
    ) -> PriorityWhatIf:
        context = info.context
        found = await what_if(
            context.engine,
            context.caller,
            settings=context.settings,
            customer_id=customer_id,
            on=on or local_day(context.now_ms, context.settings.organisation_timezone),
            deed=Deed(visit_now, case_closed, order_of_minor),
        )
        return PriorityWhatIf(
            customer_id=customer_id,
            on=Day(found.on),
            before=_standing(context, found, found.before),
            after=_standing(context, found, found.after),
        )

    @strawberry.field(
        description="Whom to visit on a day and why, the most worthwhile first. A phone computes the same list offline."
    )
    async def visit_priorities(
        self,
        info: Info,
        territory_id: Territory = None,
        on: Annotated[Day | None, strawberry.argument(description="The local day; today when absent.")] = None,
        first: Annotated[int, strawberry.argument(description="How many customers.")] = LIST_ROWS_DEFAULT,
    ) -> VisitPriorities:
        context = info.context
        found = await visit_priorities(
            context.engine,
            context.caller,
            settings=context.settings,
            on=on or local_day(context.now_ms, context.settings.organisation_timezone),
            first=first,
            territory_id=territory_id,
        )
        return _shown(context, found)


@strawberry.type
class PriorityMutations:
    @strawberry.mutation(description="Score the organisation now; for those who may. Only what changed is written.")
    async def run_scores(
        self,
        info: Info,
        as_of: Annotated[
            Day | None, strawberry.argument(description="The day to look from; today when absent.")
        ] = None,
        territory_id: Annotated[
            ID | None, strawberry.argument(description="Write only the scores of this territory and those below it.")
        ] = None,
    ) -> RunScoresResult:
        context = info.context
        try:
            summary = await run_scores(
                context.engine,
                context.caller,
                settings=context.settings,
                clock=context.clock,
                as_of=as_of,
                territory_id=territory_id,
                apart=context.score_command,
            )
        except Refused as refused:
            return refuse(info, refused)
        return _run(info, summary)

    @strawberry.mutation(
        description="Ask a score run to end, wherever it goes on; for those who may start one. What it wrote until"
        " then is right and stays, running again writes the rest. Asking twice is asking once."
    )
    async def cancel_scores(
        self,
        info: Info,
        run_id: Annotated[ID | None, strawberry.argument(description="The run; without, the one that goes on.")] = None,
    ) -> CancelScoresResult:
        try:
            found = await tell(info.context, lambda work: cancel_scores(work, run_id))
        except Refused as refused:
            return refuse(info, refused)
        return ScoresCancelAsked(id=ID(found))


def _shown(context: Context, found: Ranking) -> VisitPriorities:
    reason = None
    if found.empty is not None:
        text = label(context.messages, EmptyBecause.__name__, found.empty.value, context.locale)
        reason = EmptyList(code=found.empty, text=text)
    return VisitPriorities(
        as_of=Day(found.on),
        table_version=found.table_version,
        scored_on=None if found.scored_on is None else Day(found.scored_on),
        total_count=found.total,
        items=[_item(context, found, item) for item in found.items],
        empty_because=reason,
    )


def _item(context: Context, found: Ranking, item: VisitPriority) -> RankedCustomer:
    return RankedCustomer(
        rank=item.rank,
        score=item.score,
        scored=item.scored,
        customer_id=ID(item.customer_id),
        lines=[_line(context, line, found.currency) for line in item.lines],
        ranked_at=item.place.ranked_at,
        skipped=item.place.skipped,
        judgements=[_judgement(context, judgement) for judgement in item.place.shown],
        reasons=[reason_text(context.messages, line, context.locale, found.currency) for line in reasons(item.lines)],
    )


def _judgement(context: Context, found: Judgement) -> RankedJudgement:
    return RankedJudgement(
        id=ID(found.id),
        kind=found.kind,
        reason=found.reason,
        reason_text=label(context.messages, JudgementReason.__name__, found.reason.value, context.locale),
        note=mask_text(found.note) if context.caller.masked else found.note,
        ends_on=Day(found.ends_on),
        score=found.score,
        points=found.points,
        author_id=ID(found.created_by),
    )


def _standing(context: Context, found: WhatIf, one: Standing) -> PriorityStanding:
    return PriorityStanding(score=one.score, lines=[_line(context, line, found.currency) for line in one.lines])


def _line(context: Context, line: Line, currency: str) -> PriorityLine:
    numbers: Any = dict(line.numbers)
    return PriorityLine(
        code=line.code,
        points=line.points,
        recorded=line.recorded,
        numbers=numbers,
        evidence=[ID(record_id) for record_id in line.evidence],
        text=line_text(context.messages, line, context.locale, currency),
    )


def _run(info: Info, summary: RunSummary) -> ScoresRun:
    return ScoresRun(
        id=ID(summary.id),
        state=summary.state,
        as_of=Day(summary.as_of),
        table_version=summary.table_version,
        fit_status=summary.fit_status,
        level=summary.level,
        level_measured=summary.level_measured,
        customers_scored=summary.customers_scored,
        customers_changed=summary.customers_changed,
        customers_removed=summary.customers_removed,
        customers_left_out=summary.left_out_n,
        milliseconds=summary.milliseconds,
        problems=show_problems(info, summary.problems),
    )
