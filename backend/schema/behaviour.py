"""How customers buy over GraphQL: rhythm, season and habits, and a reason where nothing can be said."""

from typing import Annotated

import strawberry

from backend.domain.arrays import BASIS_POINTS
from backend.domain.behaviour import Behaviour as FoundBehaviour
from backend.domain.behaviour import BehaviourPart
from backend.domain.behaviour import Habit as FoundHabit
from backend.domain.kpis import NoFigure
from backend.domain.messages import label
from backend.domain.times import local_day
from backend.schema.context import Context, Info
from backend.schema.scalars import Day
from backend.schema.sources import SourceUsed, show_sources
from backend.usecases.buying import Scope, buying_behaviour

ID = strawberry.ID

CustomerScope = Annotated[ID | None, strawberry.argument(description="One customer.")]
TerritoryScope = Annotated[
    ID | None, strawberry.argument(description="A territory with everything below it; with neither, all you hold.")
]
AsOf = Annotated[Day | None, strawberry.argument(description="The local day; today when absent.")]


strawberry.enum(BehaviourPart, description=(BehaviourPart.__doc__ or "").strip())


@strawberry.type(description="Days between one order day and the next of the same customer.")
class BuyingRhythm:
    median_days: float = strawberry.field(description="Half of the intervals are at most this long.")
    low_days: float = strawberry.field(description="A quarter of them are at most this long.")
    high_days: float = strawberry.field(description="Three quarters of them are at most this long.")
    intervals: int = strawberry.field(description="How many intervals there were.")
    recent_days: float | None = strawberry.field(
        description="Median of the last three intervals of each customer; null where nobody has four."
    )


@strawberry.type(description="Sales by month of the year, over whole years.")
class BuyingSeason:
    share_bp: list[int] = strawberry.field(description="Share of each month, January first, in basis points.")
    strength_bp: int = strawberry.field(description="0 for even months to 10,000 for one month only.")
    peak_months: list[int] = strawberry.field(description="Months a half above the mean, 1 to 12, the highest first.")
    order_days: int = strawberry.field(description="How many order days it stands on.")
    span_days: int = strawberry.field(description="Days from the first order to the as-of day.")


@strawberry.type(description="One value of a habit.")
class HabitShare:
    value: str = strawberry.field(description="The category, colour code or size.")
    share_bp: int = strawberry.field(description="Its share of the pieces, in basis points.")


@strawberry.type(description="What of one kind is bought, by pieces of the last two years.")
class BuyingHabit:
    shares: list[HabitShare] = strawberry.field(description="The largest.")
    rest_bp: int = strawberry.field(description="What the others share, in basis points.")
    breadth_bp: int = strawberry.field(description="0 for one value only to 10,000 for all alike.")
    values: int = strawberry.field(description="How many different ones.")
    units: int = strawberry.field(description="Pieces it stands on.")
    known_bp: int = strawberry.field(description="Share of all pieces for which it was recorded, in basis points.")


@strawberry.type(description="A part of which nothing can be said, and why.")
class BehaviourGap:
    part: BehaviourPart = strawberry.field(description="Which part.")
    why: NoFigure = strawberry.field(description="The reason.")
    text: str = strawberry.field(description="The reason in the reader's language.")


@strawberry.type(description="How a customer, or all of a scope, buys.")
class BuyingBehaviour:
    as_of: Day = strawberry.field(description="Orders up to and with this local day.")
    customers: int = strawberry.field(description="Whose orders they are.")
    customers_left_out: int = strawberry.field(
        description="Customers whose amounts are left out because an order's currency had no rate on its day."
    )
    rhythm: BuyingRhythm | None = strawberry.field(description="Days between orders.")
    season: BuyingSeason | None = strawberry.field(description="Months of the year.")
    category: BuyingHabit | None = strawberry.field(description="Categories.")
    colour: BuyingHabit | None = strawberry.field(description="Colours.")
    size: BuyingHabit | None = strawberry.field(description="Sizes.")
    missing: list[BehaviourGap] = strawberry.field(description="Parts of which nothing can be said.")
    sources: list[SourceUsed] = strawberry.field(description="The records it stands on.")


@strawberry.type
class BehaviourQueries:
    @strawberry.field(description="How a customer, a territory, or everybody you hold buys.")
    async def behaviour(
        self,
        info: Info,
        customer_id: CustomerScope = None,
        territory_id: TerritoryScope = None,
        as_of: AsOf = None,
    ) -> BuyingBehaviour:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await buying_behaviour(
            context.engine,
            context.caller,
            Scope(customer_id, territory_id),
            settings=context.settings,
            as_of=as_of or today,
            today=today,
        )
        said = found.behaviour
        rhythm, season = said.rhythm, said.season
        return BuyingBehaviour(
            as_of=Day(found.as_of),
            customers=found.customers_n,
            customers_left_out=found.left_out_n,
            rhythm=None
            if rhythm is None
            else BuyingRhythm(
                median_days=rhythm.median_days,
                low_days=rhythm.low_days,
                high_days=rhythm.high_days,
                intervals=rhythm.intervals_n,
                recent_days=rhythm.recent_days,
            ),
            season=None
            if season is None
            else BuyingSeason(
                share_bp=[_bp(one) for one in season.share.tolist()],
                strength_bp=_bp(season.strength),
                peak_months=list(season.peak_months),
                order_days=season.orders_n,
                span_days=season.span_days,
            ),
            category=_habit(said.category),
            colour=_habit(said.colour),
            size=_habit(said.size),
            missing=_gaps(context, said),
            sources=show_sources(context, found.sources),
        )


def _gaps(context: Context, said: FoundBehaviour) -> list[BehaviourGap]:
    told = {part: getattr(said, part.value.lower()) for part in BehaviourPart}
    gaps = []
    for part, found in told.items():
        if found is None:
            why = NoFigure.NOT_RECORDED if part is BehaviourPart.RETURNS else NoFigure.NOTHING_TO_COUNT
            text = label(context.messages, NoFigure.__name__, why.value, context.locale)
            gaps.append(BehaviourGap(part=part, why=why, text=text))
    return gaps


def _habit(found: FoundHabit | None) -> BuyingHabit | None:
    if found is None:
        return None
    return BuyingHabit(
        shares=[HabitShare(value=value, share_bp=_bp(share)) for value, share in found.shares],
        rest_bp=_bp(found.rest),
        breadth_bp=_bp(found.breadth),
        values=found.values_n,
        units=found.units_n,
        known_bp=_bp(found.known),
    )


def _bp(share: float) -> int:
    return round(share * BASIS_POINTS)
