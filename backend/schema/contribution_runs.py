"""Step two: who brings what, and who brings more or less than before."""

from typing import Annotated, Any

import strawberry

from backend.domain.arrays import BASIS_POINTS
from backend.domain.contribution_runs import (
    DECISION_SHARE,
    Advice,
    ContributionGroup,
    ContributionRunRecord,
    Depth,
    NextLook,
)
from backend.domain.messages import label, render
from backend.errors import Refused
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Day, Instant
from backend.usecases.contribution_runs import ContributionWish, analyse_contribution, list_contribution_runs

ID = strawberry.ID
LIST_ROWS_DEFAULT = 20

declare(Advice, ContributionGroup, Depth, NextLook)


@strawberry.type(
    description="Customers going one way. Amounts are null where there are so few that they could be told apart."
)
class ContributionGroupSum:
    group: ContributionGroup = strawberry.field(description="Which way.")
    name: str = strawberry.field(description="The same in the reader's language.")
    customers: int = strawberry.field(description="How many.")
    past_minor: BigInt | None = strawberry.field(description="What they brought in the quarters looked at.")
    slope_minor: BigInt | None = strawberry.field(description="By how much more each quarter, together.")
    future_minor: BigInt | None = strawberry.field(
        description="What is expected of them: in FULL by the model of this scope, in STANDARD by the last score run;"
        " null where nobody was scored."
    )
    potential_minor: BigInt | None = strawberry.field(description="What they could bring besides, a year.")
    customer_ids: list[ID] = strawberry.field(
        description="The first ten: by what they brought, falling ones by what they lost."
    )


@strawberry.type(description="One way of looking closer.")
class LookPrice:
    look: NextLook = strawberry.field(description="Which.")
    look_text: str = strawberry.field(description="The same in the reader's language.")
    brings_minor: BigInt = strawberry.field(description="What it can bring at most, a year.")
    costs_minor: BigInt = strawberry.field(description="What it would cost.")


@strawberry.type(description="An analysis of who brings what, with what it cost.")
class ContributionRun:
    id: ID = strawberry.field(description="The run's UUID.")
    territory_id: ID | None = strawberry.field(description="Of which territory; null for the whole organisation.")
    as_of: Day = strawberry.field(description="The day it looked from.")
    quarters: int = strawberry.field(description="How many quarters of 91 days back.")
    depth: Depth = strawberry.field(description="How deep it looked.")
    sample_bp: int = strawberry.field(description="Share of the customers looked at, in basis points.")
    top_n: int | None = strawberry.field(description="Only so many who brought most.")
    currency: str = strawberry.field(description="Currency of all amounts.")
    basis: str = strawberry.field(
        description="What contribution is: DEFAULT_MARGIN where one is declared, else REVENUE."
    )
    basis_text: str = strawberry.field(description="The same in the reader's language.")
    customers: int = strawberry.field(description="Customers of the scope.")
    analysed: int = strawberry.field(description="Of them, those looked at.")
    customers_left_out: int = strawberry.field(description="Left out for want of an exchange rate.")
    fit_status: str | None = strawberry.field(description="How the model's fit went, in FULL.")
    total_minor: BigInt | None = strawberry.field(description="What all brought; of a sample, the estimate for all.")
    low_minor: BigInt | None = strawberry.field(description="Lower end of its 95 % interval.")
    high_minor: BigInt | None = strawberry.field(description="Upper end of its 95 % interval.")
    groups: list[ContributionGroupSum] = strawberry.field(description="By where customers are going.")
    moved: int = strawberry.field(description="Customers whose group this depth changed against the one before it.")
    undecided: int = strawberry.field(description="Customers whose change might as well belong to another group.")
    rows: BigInt = strawberry.field(description="Records read.")
    milliseconds: BigInt = strawberry.field(description="What it took.")
    hours: float = strawberry.field(description="Hours people spent on it, as told.")
    cost_minor: BigInt = strawberry.field(description="Both at the price of an hour.")
    advice: Advice = strawberry.field(description="Whether looking closer pays.")
    look: NextLook | None = strawberry.field(description="How; null where it does not.")
    advice_text: str = strawberry.field(description="The advice with its rule, in the reader's language.")
    prices: list[LookPrice] = strawberry.field(description="What each way of looking closer costs and can bring.")
    started_at: Instant = strawberry.field(description="When it was made.")
    started_by: str = strawberry.field(description="Who made it.")


@strawberry.input(description="What to look at: begin small, and go on while it pays.")
class ContributionInput:
    territory_id: ID | None = strawberry.field(
        default=None, description="One region; without, everything, for a manager the node he is seated at."
    )
    quarters: int = strawberry.field(default=8, description="How many quarters of 91 days back, 2 to 12.")
    depth: Depth = strawberry.field(default=Depth.BASIC, description="How deep.")
    sample_bp: int = strawberry.field(
        default=BASIS_POINTS,
        description="Share of the customers in basis points, 100 to 10000. A larger sample holds the smaller one.",
    )
    top_n: int | None = strawberry.field(default=None, description="Only so many who brought most, 1 to 10000.")
    hours: float = strawberry.field(default=0.0, description="Hours people spend on it, 0 to 1000.")


@strawberry.type(description="The analysis that was made.")
class ContributionRunMade:
    run: ContributionRun = strawberry.field(description="The run.")


ContributionAnswer = Annotated[
    ContributionRunMade | Refusal,
    strawberry.union("ContributionAnswer", description="The analysis, or why there is none."),
]


@strawberry.type
class ContributionRunQueries:
    @strawberry.field(description="Analyses of contribution in your scope, the newest first.")
    async def contribution_runs(
        self,
        info: Info,
        territory_id: Annotated[ID | None, strawberry.argument(description="Of exactly this territory.")] = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = LIST_ROWS_DEFAULT,
    ) -> list[ContributionRun]:
        context = info.context
        found = await list_contribution_runs(
            context.engine, context.caller, settings=context.settings, first=first, territory_id=territory_id
        )
        return [_shown(context, one) for one in found]


@strawberry.type
class ContributionRunMutations:
    @strawberry.mutation(
        description="Look at who brings what, and keep what was found with its cost. For managers in their subtree,"
        " analysts and admins."
    )
    async def analyse_contribution(
        self,
        info: Info,
        input: Annotated[ContributionInput | None, strawberry.argument(description="What to look at.")] = None,
    ) -> ContributionAnswer:
        context, wish = info.context, input or ContributionInput()
        try:
            made = await analyse_contribution(
                context.engine,
                context.caller,
                ContributionWish(
                    territory_id=wish.territory_id,
                    quarters_n=wish.quarters,
                    depth=wish.depth,
                    sample_bp=wish.sample_bp,
                    top_n=wish.top_n,
                    hours_hundredths=round(min(max(wish.hours, -1.0), 1e6) * 100),
                ),
                settings=context.settings,
                clock=context.clock,
            )
        except Refused as refused:
            return refuse(info, refused)
        return ContributionRunMade(run=_shown(context, made))


def _shown(context: Context, found: ContributionRunRecord) -> ContributionRun:
    result = found.result
    least_n = context.settings.cube_group_customers_min if context.caller.only_counts_orders else 0
    told = found.analysed_n >= least_n

    def words(enum: str, code: str) -> str:
        return label(context.messages, enum, code, context.locale)

    def money(amount: int | None, *, told: bool = told) -> BigInt | None:
        return None if amount is None or not told else BigInt(amount)

    look = None if result["look"] is None else NextLook(result["look"])
    key = "advice.STOP" if look is None else f"advice.{look.value}"
    return ContributionRun(
        id=ID(found.id),
        territory_id=None if found.territory_id is None else ID(found.territory_id),
        as_of=Day(found.as_of),
        quarters=found.quarters_n,
        depth=found.depth,
        sample_bp=found.sample_bp,
        top_n=found.top_n,
        currency=result["currency"],
        basis=result["basis"],
        basis_text=render(context.messages, f"basis.{result['basis']}", context.locale),
        customers=result["customers"],
        analysed=found.analysed_n,
        customers_left_out=result["leftOut"],
        fit_status=result["fitStatus"],
        total_minor=money(result["totalMinor"]),
        low_minor=money(result["lowMinor"]),
        high_minor=money(result["highMinor"]),
        groups=[_group(words, one, least_n) for one in result["groups"]],
        moved=result["moved"],
        undecided=result["undecided"],
        rows=BigInt(found.rows_n),
        milliseconds=BigInt(found.milliseconds),
        hours=found.hours_hundredths / 100.0,
        cost_minor=BigInt(result["costMinor"]),
        advice=Advice(result["advice"]),
        look=look,
        advice_text=render(context.messages, key, context.locale, {"percent": round(100 * DECISION_SHARE)}),
        prices=[
            LookPrice(
                look=NextLook(one["look"]),
                look_text=words(NextLook.__name__, one["look"]),
                brings_minor=BigInt(one["bringsMinor"]),
                costs_minor=BigInt(one["costsMinor"]),
            )
            for one in result["prices"]
        ],
        started_at=Instant(found.started_at_ms),
        started_by=found.started_by,
    )


def _group(words: Any, one: dict[str, Any], least_n: int) -> ContributionGroupSum:
    def money(name: str) -> BigInt | None:
        return None if one[name] is None or one["customers"] < least_n else BigInt(one[name])

    return ContributionGroupSum(
        group=ContributionGroup(one["group"]),
        name=words(ContributionGroup.__name__, one["group"]),
        customers=one["customers"],
        past_minor=money("pastMinor"),
        slope_minor=money("slopeMinor"),
        future_minor=money("futureMinor"),
        potential_minor=money("potentialMinor"),
        customer_ids=[ID(row) for row in one["ids"]],
    )
