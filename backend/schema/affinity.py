"""What goes together, and who is like whom, each with how sure it is."""

from typing import Annotated

import strawberry

from backend.domain.affinity import AffinityItem
from backend.domain.look_alikes import LookAlikeFeature
from backend.domain.times import local_day
from backend.reads.selection import one as select
from backend.schema.behaviour import AsOf, TerritoryScope
from backend.schema.context import Info
from backend.schema.scalars import BigInt, Day
from backend.schema.types import Customer
from backend.usecases.buying import Alike, Scope, bought_together, who_is_alike

ID = strawberry.ID
PAIRS_DEFAULT = 20
ALIKE_DEFAULT = 5

for _enum in (AffinityItem, LookAlikeFeature):
    strawberry.enum(_enum, description=(_enum.__doc__ or "").strip())


@strawberry.type(description="Two things that stand in one order more often than by chance.")
class AffinityPair:
    first: str = strawberry.field(description="Who orders this")
    second: str = strawberry.field(description="orders that too, with probability `confidence`.")
    support: int = strawberry.field(description="Orders with both.")
    first_orders: int = strawberry.field(description="Orders with the first.")
    second_orders: int = strawberry.field(description="Orders with the second.")
    lift: float = strawberry.field(description="How many times as often as by chance.")
    lift_low: float = strawberry.field(description="Lower end of its 95 % interval (log-normal).")
    lift_high: float = strawberry.field(description="Upper end of its 95 % interval.")
    confidence: float = strawberry.field(description="Share of the first's orders that hold the second, 0 to 1.")
    confidence_low: float = strawberry.field(description="Lower end of its 95 % interval (Wilson).")
    confidence_high: float = strawberry.field(description="Upper end of its 95 % interval.")


@strawberry.type(description="What is ordered together in a scope.")
class AffinityTable:
    since: Day = strawberry.field(description="Orders from this local day on,")
    as_of: Day = strawberry.field(description="up to and with this one.")
    orders: int = strawberry.field(description="How many orders named what they are of.")
    items: int = strawberry.field(description="How many different things stand in them.")
    pairs_compared: int = strawberry.field(
        description="Pairs with enough orders (20). Of so many one in forty is above its interval by chance."
    )
    pairs: list[AffinityPair] = strawberry.field(description="Those beyond chance, the surest first.")


@strawberry.type(description="One measure of two customers.")
class Likeness:
    feature: LookAlikeFeature = strawberry.field(description="Which measure.")
    own: BigInt = strawberry.field(description="Of the customer; amounts in minor units of the reporting currency.")
    other: BigInt = strawberry.field(description="Of the one like it.")
    apart: float = strawberry.field(description="Standard deviations between them, 4 at most.")
    weight: float = strawberry.field(description="Share of the distance, 0 to 1.")


@strawberry.type(description="A customer like another one.")
class LookAlike:
    customer_id: ID = strawberry.field(description="The customer.")
    distance: float = strawberry.field(description="Root mean square of the differences, in standard deviations.")
    compared: int = strawberry.field(description="Measures known of both.")
    likenesses: list[Likeness] = strawberry.field(description="In what they are alike, the smallest difference first.")

    @strawberry.field(description="The customer.")
    def customer(self) -> Customer | None:
        return select("customers", self.customer_id)  # type: ignore[return-value]


@strawberry.type
class AffinityQueries:
    @strawberry.field(description="What stands in one order together more often than by chance, and how sure that is.")
    async def affinity(
        self,
        info: Info,
        item: Annotated[AffinityItem, strawberry.argument(description="What is compared.")] = AffinityItem.CATEGORY,
        territory_id: TerritoryScope = None,
        as_of: AsOf = None,
        since: Annotated[
            Day | None, strawberry.argument(description="First local day; two years back when absent.")
        ] = None,
        first: Annotated[int, strawberry.argument(description="How many pairs.")] = PAIRS_DEFAULT,
    ) -> AffinityTable:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await bought_together(
            context.engine,
            context.caller,
            Scope(territory_id=territory_id),
            settings=context.settings,
            item=item,
            as_of=as_of or today,
            today=today,
            since=since,
            first=first,
        )
        return AffinityTable(
            since=Day(found.since),
            as_of=Day(found.as_of),
            orders=found.affinity.baskets_n,
            items=found.affinity.items_n,
            pairs_compared=found.affinity.compared_n,
            pairs=[
                AffinityPair(
                    first=found.items[pair.first],
                    second=found.items[pair.second],
                    support=pair.support_n,
                    first_orders=pair.first_n,
                    second_orders=pair.second_n,
                    lift=pair.lift,
                    lift_low=pair.low,
                    lift_high=pair.high,
                    confidence=pair.confidence,
                    confidence_low=pair.confidence_low,
                    confidence_high=pair.confidence_high,
                )
                for pair in found.affinity.pairs
            ],
        )

    @strawberry.field(
        description="Customers of the same kind, among those you hold, that are most like one, and in what."
    )
    async def look_alikes(
        self,
        info: Info,
        customer_id: Annotated[ID, strawberry.argument(description="The customer.")],
        as_of: AsOf = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = ALIKE_DEFAULT,
    ) -> list[LookAlike]:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await who_is_alike(
            context.engine,
            context.caller,
            customer_id,
            settings=context.settings,
            as_of=as_of or today,
            today=today,
            first=first,
        )
        return [_alike(alike) for alike in found]


def _alike(found: Alike) -> LookAlike:
    return LookAlike(
        customer_id=ID(found.customer_id),
        distance=found.distance,
        compared=found.shared_n,
        likenesses=[
            Likeness(
                feature=one.feature,
                own=BigInt(one.own),
                other=BigInt(one.other),
                apart=one.apart,
                weight=one.weight,
            )
            for one in found.likenesses
        ],
    )
