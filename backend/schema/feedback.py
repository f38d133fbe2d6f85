"""What customers say: forms, answers and complaints."""

from typing import Annotated, Any

import strawberry

from backend.domain.cases import CasePriority, CaseState
from backend.domain.forms import FormOccasion, Measured
from backend.domain.line_texts import next_question_text
from backend.domain.questions import AskedBecause, AskedFact
from backend.reads.selection import PageRequest, one
from backend.schema.context import Info
from backend.schema.enums import declare
from backend.schema.paging import After, Before, Connection, First, Last, Way, select_one, select_page
from backend.schema.paging import RecordId as Id
from backend.schema.scalars import Instant
from backend.schema.types import Answer, Case, Form
from backend.usecases.next_questions import next_questions

ID = strawberry.ID


def _optional(description: str) -> Any:
    return strawberry.field(default=None, description=description)


@strawberry.input(description="Which answers. All that is given must hold.")
class AnswerFilter:
    customer_id: ID | None = _optional("Of this customer.")
    form_id: ID | None = _optional("To this version of a form.")
    visit_id: ID | None = _optional("Given on this visit.")
    style_id: ID | None = _optional("About this style.")
    territory_id: ID | None = _optional("Of customers of this very territory.")
    measure: Measured | None = _optional("Holding a measurement of this.")
    from_: Instant | None = strawberry.field(default=None, name="from", description="Said at or after this moment.")
    to: Instant | None = _optional("Said before this moment.")
    standing: bool = strawberry.field(default=False, description="Without those that were corrected since.")


@strawberry.input(description="Which complaints. All that is given must hold.")
class CaseFilter:
    customer_id: ID | None = _optional("Of this customer.")
    assignee_id: ID | None = _optional("This colleague works on it.")
    territory_id: ID | None = _optional("Of customers of this very territory.")
    state: list[CaseState] | None = _optional("In any of these states.")
    priority: list[CasePriority] | None = _optional("Of any of these priorities.")
    unsettled: bool = strawberry.field(default=False, description="Not yet settled only.")
    escalated: bool = strawberry.field(default=False, description="Escalated ones only.")


Filtered = strawberry.argument(description="Which records; all when absent.")


declare(AskedFact, AskedBecause)


@strawberry.type(description="A fact worth asking a customer for on the next visit.")
class NextQuestion:
    fact: AskedFact = strawberry.field(description="What it would tell.")
    because: AskedBecause = strawberry.field(description="Whether it was never recorded, or too long ago.")
    low_segment: str = strawberry.field(description="The segment the worst answer would lead to.")
    high_segment: str = strawberry.field(description="The segment the best answer would lead to.")
    form_id: ID | None = strawberry.field(description="The version of a form that asks it; null while none does.")
    form_key: str | None = strawberry.field(description="That form's key.")
    question: str | None = strawberry.field(description="The question's key in that form.")
    text: str = strawberry.field(description="Why, in the reader's language.")

    @strawberry.field(description="The form that asks it.")
    def form(self) -> Form | None:
        return None if self.form_id is None else one("forms", self.form_id)  # type: ignore[return-value]


@strawberry.type
class FeedbackQueries:
    @strawberry.field(
        description="What to ask a customer next: at most three facts never recorded or known too long ago, those first"
        " that would most change its segment. Empty for a customer no score run has seen."
    )
    async def next_questions(self, info: Info, customer_id: Id) -> list[NextQuestion]:
        context = info.context
        return [
            NextQuestion(
                fact=found.fact,
                because=found.because,
                low_segment=found.low,
                high_segment=found.high,
                form_id=None if found.form_id is None else ID(found.form_id),
                form_key=found.form_key,
                question=found.question,
                text=next_question_text(
                    context.messages, found.fact, found.because, found.low, found.high, context.locale
                ),
            )
            for found in await next_questions(context.engine, context.caller, str(customer_id))
        ]

    @strawberry.field(description="One version of a form.")
    def form(self, info: Info, id: Id) -> Form | None:
        return select_one(info, "forms", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Forms, by key.")
    def forms(
        self,
        info: Info,
        key: Annotated[str | None, strawberry.argument(description="Versions of this key only.")] = None,
        occasion: Annotated[FormOccasion | None, strawberry.argument(description="Asked then only.")] = None,
        in_force: Annotated[bool, strawberry.argument(description="Only what is asked now.")] = False,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Form]:
        return select_page(  # type: ignore[no-any-return]
            info,
            "forms",
            PageRequest(first, after, last, before),
            (("key", key), ("occasion", occasion), ("inForce", () if in_force else None)),
        )

    @strawberry.field(description="An answer; null when it is out of your scope.")
    def answer(self, info: Info, id: Id) -> Answer | None:
        return select_one(info, "answers", id)  # type: ignore[no-any-return]

    @strawberry.field(description="What customers in your scope answered, latest first.")
    def answers(
        self,
        info: Info,
        filter: Annotated[AnswerFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Answer]:
        chosen = filter or AnswerFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "answers",
            PageRequest(first, after, last, before),
            (
                ("customerId", chosen.customer_id),
                ("formId", chosen.form_id),
                ("visitId", chosen.visit_id),
                ("styleId", chosen.style_id),
                ("territoryId", chosen.territory_id),
                ("measure", chosen.measure),
                ("from", chosen.from_),
                ("to", chosen.to),
                ("standing", () if chosen.standing else None),
            ),
            direction=direction,
        )

    @strawberry.field(description="A complaint; null when it is out of your scope.")
    def case(self, info: Info, id: Id) -> Case | None:
        return select_one(info, "cases", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Complaints in your scope, by when they should be settled.")
    def cases(
        self,
        info: Info,
        filter: Annotated[CaseFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Case]:
        chosen = filter or CaseFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "cases",
            PageRequest(first, after, last, before),
            (
                ("customerId", chosen.customer_id),
                ("assigneeId", chosen.assignee_id),
                ("territoryId", chosen.territory_id),
                ("stateIn", chosen.state),
                ("priorityIn", chosen.priority),
                ("unsettled", () if chosen.unsettled else None),
                ("escalated", () if chosen.escalated else None),
            ),
            direction=direction,
        )
