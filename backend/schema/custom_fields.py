"""The fields an organisation defined for itself: which there are, and filtering records by what they hold."""

from collections.abc import Sequence
from typing import Annotated, Any

import strawberry

from backend.domain.custom import Customised, CustomWish, filter_conditions
from backend.errors import refuse_if
from backend.reads.selection import Condition, PageRequest
from backend.schema.context import Info
from backend.schema.paging import After, Before, Connection, First, Last, select_one, select_page
from backend.schema.paging import RecordId as Id
from backend.schema.scalars import JSON
from backend.schema.types import CustomField
from backend.sync.custom import custom_fields_of


def _optional(description: str) -> Any:
    return strawberry.field(default=None, description=description)


@strawberry.input(description="A condition on one custom field. All that is given must hold.")
class CustomFilter:
    key: str = strawberry.field(description="The field's key.")
    in_: list[JSON] | None = strawberry.field(
        default=None, name="in", description="Holding one of these; of CHOICES, any of these among others."
    )
    at_least: JSON | None = _optional("Of INT and DATE: this or more.")
    at_most: JSON | None = _optional("Of INT and DATE: this or less.")
    is_filled: bool | None = _optional("Holding anything at all, or nothing.")


async def custom_conditions(info: Info, collection: str, given: Sequence[CustomFilter] | None) -> tuple[Condition, ...]:
    """A filter's custom part as conditions; raises `Refused` with everything wrong, under `filter.custom`."""
    if not given:
        return ()
    context = info.context
    wishes = [CustomWish(one.key, one.in_, one.at_least, one.at_most, one.is_filled) for one in given]
    context.reads.count_statement()
    async with context.engine.read() as conn:
        defined = await custom_fields_of(conn, collection)
    conditions, problems = filter_conditions(defined, wishes, masked=context.caller.masked)
    refuse_if(problem.under("custom").under("filter") for problem in problems)
    return tuple(conditions)


@strawberry.type
class CustomFieldQueries:
    @strawberry.field(description="A field your organisation defined.")
    def custom_field(self, info: Info, id: Id) -> CustomField | None:
        return select_one(info, "customFields", id)  # type: ignore[no-any-return]

    @strawberry.field(description="The fields your organisation defined, in the order forms show them.")
    def custom_fields(
        self,
        info: Info,
        collection: Annotated[
            Customised | None, strawberry.argument(description="Of these records only; of all when absent.")
        ] = None,
        retired: Annotated[bool, strawberry.argument(description="Retired fields too.")] = False,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[CustomField]:
        return select_page(  # type: ignore[no-any-return]
            info,
            "customFields",
            PageRequest(first, after, last, before),
            (("collection", collection),),
            more=() if retired else (("inUse", ()),),
        )
