"""Skips and overrides: the records, and whether they were right."""

from typing import Annotated, Any

import strawberry

from backend.domain.judgement_quality import JudgementFigures, JudgementVerdict, Share
from backend.domain.judgements import JudgementKind, JudgementReason
from backend.domain.messages import label
from backend.domain.times import local_day
from backend.reads.selection import PageRequest, one
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.paging import After, Before, Connection, First, Last, Way, select_one, select_page
from backend.schema.paging import RecordId as Id
from backend.schema.scalars import Day
from backend.schema.types import Judgement, Person
from backend.usecases.judgement_quality import judgement_quality

ID = strawberry.ID
WITHIN_DAYS_DEFAULT = 30

declare(JudgementVerdict)


def _optional(description: str) -> Any:
    return strawberry.field(default=None, description=description)


@strawberry.input(description="Which judgements. All that is given must hold.")
class JudgementFilter:
    customer_id: ID | None = _optional("Of this customer.")
    territory_id: ID | None = _optional("Of customers of this very territory.")
    kind: JudgementKind | None = _optional("Skips, or overrides.")
    created_by: ID | None = _optional("Whose judgement it is.")
    standing_on: Day | None = _optional("In force on this day.")


@strawberry.type(description="A share with its 95 % interval.")
class JudgementShare:
    part: int = strawberry.field(description="How many ordered.")
    whole: int = strawberry.field(description="Of how many.")
    share: float | None = strawberry.field(description="As a share of 0 to 1; null of nobody.")
    low: float | None = strawberry.field(description="Lower end of its 95 % interval (Wilson).")
    high: float | None = strawberry.field(description="Upper end.")


@strawberry.type(description="What came of some judgements.")
class JudgementOutcome:
    kind: JudgementKind = strawberry.field(description="Skips, or overrides.")
    reason: JudgementReason | None = strawberry.field(description="Those of this reason; null where of any.")
    reason_text: str | None = strawberry.field(description="The reason in the reader's language.")
    person_id: ID | None = strawberry.field(description="Those of this colleague; null where of anybody.")
    judgements: int = strawberry.field(description="How many there were whose time is over.")
    judged: JudgementShare = strawberry.field(
        description="Of the judged customers, who ordered; without those nobody is comparable to."
    )
    compared: JudgementShare = strawberry.field(
        description="Of comparable customers, who ordered; up to four per judgement, each judgement counting alike."
    )
    difference: float | None = strawberry.field(description="Judged minus compared; null of fewer than 20.")
    difference_low: float | None = strawberry.field(description="Lower end of its 95 % interval (Newcombe).")
    difference_high: float | None = strawberry.field(description="Upper end.")
    verdict: JudgementVerdict = strawberry.field(description="What that allows to say.")
    verdict_text: str = strawberry.field(description="The same in the reader's language.")

    @strawberry.field(description="The colleague.")
    def person(self) -> Person | None:
        return None if self.person_id is None else one("people", self.person_id)  # type: ignore[return-value]


@strawberry.type(
    description="Whether people knew better than the priority. An observation, no experiment: whoever is judged was"
    " chosen."
)
class JudgementQualityReport:
    first_day: Day = strawberry.field(name="from", description="First day of the period.")
    last_day: Day = strawberry.field(name="until", description="Last day of the period, included.")
    within_days: int = strawberry.field(description="Within how many days of a judgement's first day an order counts.")
    by_kind: list[JudgementOutcome] = strawberry.field(description="All skips, and all overrides.")
    by_reason: list[JudgementOutcome] = strawberry.field(description="By reason, the most frequent first.")
    by_person: list[JudgementOutcome] | None = strawberry.field(
        description="By whose judgement it was; null for who may not override."
    )
    too_early: int = strawberry.field(description="Judgements whose days are not over yet, in no figure.")
    withdrawn: int = strawberry.field(description="Judgements taken back, in no figure.")


Filtered = strawberry.argument(description="Which records; all when absent.")


@strawberry.type
class JudgementQueries:
    @strawberry.field(description="A skip or an override; null when it is out of your scope.")
    def judgement(self, info: Info, id: Id) -> Judgement | None:
        return select_one(info, "judgements", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Skips and overrides in your scope, those that end last first.")
    def judgements(
        self,
        info: Info,
        filter: Annotated[JudgementFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Judgement]:
        chosen = filter or JudgementFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "judgements",
            PageRequest(first, after, last, before),
            (
                ("customerId", chosen.customer_id),
                ("territoryId", chosen.territory_id),
                ("kind", chosen.kind),
                ("createdBy", chosen.created_by),
                ("standingOn", chosen.standing_on),
            ),
            direction=direction,
        )

    @strawberry.field(
        description="Of skips and overrides that began in a period, how often the customer ordered within so many days,"
        " beside customers of the same kind whose last order was as long ago and who were not judged; for managers,"
        " analysts and admins."
    )
    async def judgement_quality(
        self,
        info: Info,
        first_day: Annotated[Day, strawberry.argument(name="from", description="First local day.")],
        last_day: Annotated[Day, strawberry.argument(name="until", description="Last local day, included.")],
        territory_id: Annotated[
            ID | None, strawberry.argument(description="A territory with everything below it; without, all you hold.")
        ] = None,
        within_days: Annotated[
            int, strawberry.argument(description="Within how many days an order counts.")
        ] = WITHIN_DAYS_DEFAULT,
    ) -> JudgementQualityReport:
        context = info.context
        found = await judgement_quality(
            context.engine,
            context.caller,
            today=local_day(context.now_ms, context.settings.organisation_timezone),
            first_day=first_day,
            last_day=last_day,
            within_days=within_days,
            territory_id=territory_id,
        )
        people = found.by_person
        return JudgementQualityReport(
            first_day=first_day,
            last_day=last_day,
            within_days=within_days,
            by_kind=[_outcome(context, kind, figures) for kind, figures in found.by_kind],
            by_reason=[_outcome(context, kind, figures, reason=why) for (kind, why), figures in found.by_reason],
            by_person=None
            if people is None
            else [_outcome(context, kind, figures, person_id=who) for (kind, who), figures in people],
            too_early=found.open_n,
            withdrawn=found.withdrawn_n,
        )


def _outcome(
    context: Context, kind: str, found: JudgementFigures, *, reason: str | None = None, person_id: str | None = None
) -> JudgementOutcome:
    def text(enum: str, value: str) -> str:
        return label(context.messages, enum, value, context.locale)

    return JudgementOutcome(
        kind=JudgementKind(kind),
        reason=None if reason is None else JudgementReason(reason),
        reason_text=None if reason is None else text(JudgementReason.__name__, reason),
        person_id=None if person_id is None else ID(person_id),
        judgements=found.judgements_n,
        judged=_share(found.judged),
        compared=_share(found.compared),
        difference=found.difference,
        difference_low=found.difference_low,
        difference_high=found.difference_high,
        verdict=found.verdict,
        verdict_text=text(JudgementVerdict.__name__, found.verdict.value),
    )


def _share(found: Share) -> JudgementShare:
    some = found.whole > 0
    return JudgementShare(
        part=found.part,
        whole=found.whole,
        share=found.value if some else None,
        low=found.low if some else None,
        high=found.high if some else None,
    )
