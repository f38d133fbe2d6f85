"""Moving customers, seating reps, and the tree itself."""

from typing import Annotated

import strawberry

from backend.domain.territories import Move, TerritoryKind
from backend.errors import Refused
from backend.reads.selection import one
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.refusals import Refusal, refuse
from backend.schema.types import Territory
from backend.usecases.territories import create_territory, grant_territory, move_customers, revoke_territory

ReasonArgument = Annotated[str | None, strawberry.argument(description="Why; kept with the change.")]


@strawberry.input(description="A customer to be given to a territory.")
class CustomerMove:
    customer_id: strawberry.ID = strawberry.field(description="The customer.")
    territory_id: strawberry.ID = strawberry.field(description="A patch you hold.")


@strawberry.type(description="Customers were moved; old and new reps learn it by their next pull.")
class CustomersMoved:
    moved: int = strawberry.field(description="How many; a customer already there is left alone.")


@strawberry.type(description="A seat in the tree was given or taken.")
class SeatChanged:
    user_id: strawberry.ID = strawberry.field(description="Who.")
    territory_id: strawberry.ID = strawberry.field(description="Which node.")


@strawberry.type(description="A node was added to the tree.")
class TerritoryCreated:
    id: strawberry.ID = strawberry.field(description="Its id.")

    @strawberry.field(description="The node.")
    def territory(self) -> Territory | None:
        return one("territories", self.id)  # type: ignore[return-value]


@strawberry.input(description="A new node of the tree.")
class TerritoryInput:
    path: str = strawberry.field(description="Such as `/cn/east/sh-01`: the parent's path and one more step.")
    kind: TerritoryKind = strawberry.field(description="REGION, AREA or PATCH; customers belong to patches.")
    timezone: str = strawberry.field(description="An IANA time zone.")
    parent_id: strawberry.ID | None = strawberry.field(default=None, description="The node above; none for a root.")
    name_zh: str | None = strawberry.field(default=None, description="Name in Chinese.")
    name_ko: str | None = strawberry.field(default=None, description="Name in Korean.")
    name_en: str | None = strawberry.field(default=None, description="Name in English.")


def _union(name: str) -> object:
    return strawberry.union(name, description="What was written, or why nothing was.")


MoveResult = Annotated[CustomersMoved | Refusal, _union("MoveResult")]
SeatResult = Annotated[SeatChanged | Refusal, _union("SeatResult")]
TerritoryResult = Annotated[TerritoryCreated | Refusal, _union("TerritoryResult")]


@strawberry.type
class TerritoryMutations:
    @strawberry.mutation(description="Give customers to other territories, with all that hangs on them.")
    async def move_customers(
        self,
        info: Info,
        moves: Annotated[list[CustomerMove], strawberry.argument(description="Which customer goes where.")],
        reason: ReasonArgument = None,
    ) -> MoveResult:
        wanted = [Move(move.customer_id, move.territory_id) for move in moves]
        try:
            moved = await tell(info.context, lambda work: move_customers(work, wanted, reason))
        except Refused as refused:
            return refuse(info, refused)
        return CustomersMoved(moved=moved)

    @strawberry.mutation(description="Seat a colleague in a node of the tree.")
    async def grant_territory(
        self,
        info: Info,
        user_id: Annotated[strawberry.ID, strawberry.argument(description="Who.")],
        territory_id: Annotated[strawberry.ID, strawberry.argument(description="Which node.")],
        reason: ReasonArgument = None,
    ) -> SeatResult:
        try:
            await tell(info.context, lambda work: grant_territory(work, user_id, territory_id, reason))
        except Refused as refused:
            return refuse(info, refused)
        return SeatChanged(user_id=user_id, territory_id=territory_id)

    @strawberry.mutation(description="Take a colleague's seat in a node of the tree.")
    async def revoke_territory(
        self,
        info: Info,
        user_id: Annotated[strawberry.ID, strawberry.argument(description="Who.")],
        territory_id: Annotated[strawberry.ID, strawberry.argument(description="Which node.")],
    ) -> SeatResult:
        try:
            await tell(info.context, lambda work: revoke_territory(work, user_id, territory_id))
        except Refused as refused:
            return refuse(info, refused)
        return SeatChanged(user_id=user_id, territory_id=territory_id)

    @strawberry.mutation(description="Add a node to the territory tree.")
    async def create_territory(
        self, info: Info, input: Annotated[TerritoryInput, strawberry.argument(description="The node.")]
    ) -> TerritoryResult:
        fields: dict[str, object] = {
            "path": input.path,
            "kind": input.kind.value,
            "timezone": input.timezone,
            "parentId": input.parent_id,
            "nameZh": input.name_zh,
            "nameKo": input.name_ko,
            "nameEn": input.name_en,
        }
        try:
            territory_id = await tell(info.context, lambda work: create_territory(work, fields))
        except Refused as refused:
            return refuse(info, refused)
        return TerritoryCreated(id=strawberry.ID(territory_id))
