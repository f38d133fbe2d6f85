"""A manager's word on a submitted order."""

from typing import Annotated

import strawberry

from backend.domain.orders import OrderState
from backend.errors import Refused
from backend.reads.selection import one
from backend.schema.changes import apply_change
from backend.schema.context import Info
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt
from backend.schema.types import Order
from backend.sync.changes import Change, Intent


@strawberry.type(description="An order was decided; its rep has a task about it.")
class OrderDecided:
    id: strawberry.ID = strawberry.field(description="The order's id.")

    @strawberry.field(description="The order as it stands now.")
    def order(self) -> Order | None:
        return one("orders", self.id)  # type: ignore[return-value]


DecisionResult = Annotated[
    OrderDecided | Refusal, strawberry.union("DecisionResult", description="The decision, or why it was not taken.")
]


async def _decide(info: Info, order_id: str, base_rev: int, fields: dict[str, object]) -> OrderDecided | Refusal:
    try:
        await apply_change(info.context, "orders", Change(order_id, Intent.PATCH, fields, base_rev))
    except Refused as refused:
        return refuse(info, refused)
    return OrderDecided(id=strawberry.ID(order_id))


@strawberry.type
class OrderMutations:
    @strawberry.mutation(description="Confirm a submitted order.")
    async def confirm_order(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The order.")],
        base_rev: Annotated[BigInt, strawberry.argument(description="The `rev` it was decided on.")],
    ) -> DecisionResult:
        return await _decide(info, id, base_rev, {"state": OrderState.CONFIRMED.value})

    @strawberry.mutation(description="Send a submitted order back to its rep, with the reason.")
    async def reject_order(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The order.")],
        base_rev: Annotated[BigInt, strawberry.argument(description="The `rev` it was decided on.")],
        reason: Annotated[str, strawberry.argument(description="What the rep reads.")],
    ) -> DecisionResult:
        fields: dict[str, object] = {"state": OrderState.REJECTED.value, "rejectReason": reason}
        return await _decide(info, id, base_rev, fields)
