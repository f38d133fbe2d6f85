"""Create, update and delete for every collection a client writes: an online mutation is a batch of one.

The mutations are made from a line per collection, because they are the same story: the input's fields become a
`Change`, the use case from the table answers, and the record is read after commit like any other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import orjson
import strawberry
from strawberry.scalars import JSON

from backend.config import load_messages
from backend.domain.answers import ANSWER
from backend.domain.attachments import ATTACHMENT
from backend.domain.cases import CASE
from backend.domain.contacts import CONTACT, CUSTOMER_CONTACT
from backend.domain.custom import CUSTOM_FIELD
from backend.domain.customers import CUSTOMER
from backend.domain.fields import Shape
from backend.domain.forms import FORM
from backend.domain.judgements import JUDGEMENT
from backend.domain.merge import Conflict
from backend.domain.orders import ORDER
from backend.domain.tasks import TASK
from backend.domain.visits import VISIT
from backend.errors import Refused
from backend.ids import new_id
from backend.reads.selection import one
from backend.schema.context import Context, Info
from backend.schema.inputs import given_fields, make_input
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt
from backend.schema.types import (
    Answer,
    Attachment,
    Case,
    Contact,
    Customer,
    CustomerContact,
    CustomField,
    Form,
    Judgement,
    Order,
    Task,
    Visit,
)
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.sync.work import Work, in_work

T = TypeVar("T")

ChangeStatus = strawberry.enum(
    Status,
    name="ChangeStatus",
    description="What became of a change. MERGED: somebody else had changed other fields, both stand. "
    "CONFLICT: the fields named stay as somebody else set them, and your values are kept as sync issues.",
)


@strawberry.type(description="A value of yours that did not win.")
class FieldConflict:
    path: str = strawberry.field(description="The field, down to the cell.")
    mine: JSON | None = strawberry.field(description="What you sent.")
    theirs: JSON | None = strawberry.field(description="What stands.")
    theirs_rev: BigInt = strawberry.field(description="The `rev` at which it was written.")


@dataclass(frozen=True, slots=True)
class Column:
    """One collection's mutations: `createVisit`, `updateVisit`, `deleteVisit`."""

    collection: str
    record: type[Any]
    shape: Shape
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.record.__name__


COLUMNS = (
    Column("customers", Customer, CUSTOMER, more=("territoryId",)),
    Column("contacts", Contact, CONTACT),
    Column("customerContacts", CustomerContact, CUSTOMER_CONTACT),
    Column("visits", Visit, VISIT),
    Column("orders", Order, ORDER),
    Column("tasks", Task, TASK),
    Column("forms", Form, FORM),
    Column("answers", Answer, ANSWER),
    Column("cases", Case, CASE),
    Column("judgements", Judgement, JUDGEMENT),
    Column("attachments", Attachment, ATTACHMENT),
    Column("customFields", CustomField, CUSTOM_FIELD),
)


async def apply_change(context: Context, collection: str, change: Change) -> Outcome:
    """One change through its use case, in a work of its own. Raises `Refused` with all its problems."""
    use_case = context.use_cases[collection, change.intent]
    [outcome] = await tell(context, lambda work: use_case(work, [change]))
    if outcome.status is Status.REFUSED:
        raise Refused(*outcome.problems)
    return outcome


async def tell(context: Context, story: Callable[[Work], Awaitable[T]]) -> T:
    """A story in a work of its own, by whoever asks."""
    result, _ = await in_work(
        context.engine,
        context.caller,
        story,
        clock=context.clock,
        retries_max=context.settings.write_retries_max,
    )
    return result


def show_conflicts(conflicts: Sequence[Conflict]) -> list[FieldConflict]:
    return [
        FieldConflict(
            path=conflict.path,
            mine=_shown(conflict.mine),
            theirs=_shown(conflict.theirs),
            theirs_rev=BigInt(conflict.theirs_seq),
        )
        for conflict in conflicts
    ]


def _shown(value: object) -> Any:
    return orjson.loads(orjson.dumps(value))


def _payload(column: Column) -> type[Any]:
    """`VisitChanged`: the record after commit, and what became of the change."""
    field_name = column.name[:1].lower() + column.name[1:]

    def record(self: Any) -> Any:
        return one(column.collection, self.id)

    record.__annotations__["return"] = column.record | None
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field_name)
    made = type(
        f"{column.name}Changed",
        (),
        {
            "__annotations__": {"id": strawberry.ID, "status": Status, "conflicts": list[FieldConflict]},
            "__module__": __name__,
            "id": strawberry.field(description="The record's id."),
            "status": strawberry.field(description="What became of the change."),
            "conflicts": strawberry.field(description="The fields in which it did not win."),
            snake: strawberry.field(
                resolver=record, description="The record as it stands now; null when deleted or out of your scope."
            ),
        },
    )
    return strawberry.type(made, description=f"{column.name} created, changed or deleted.")


_ID = Annotated[strawberry.ID, strawberry.argument(description="The record's id.")]
_NEW_ID = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="The new record's id, a UUID of version 7; made here when absent."),
]
_BASE_REV = Annotated[BigInt, strawberry.argument(description="The `rev` the change is made on.")]


def _mutations(column: Column, catalogue: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    name, payload = column.name, _payload(column)
    a_name = f"an {name}" if name[0] in "AEIOU" else f"a {name}"
    result = Annotated[
        payload | Refusal,  # type: ignore[valid-type]
        strawberry.union(f"{name}Result", description="What was written, or why nothing was."),
    ]
    created = make_input(
        column.shape,
        f"{name}Input",
        f"A new {name}. What is left out takes its default.",
        catalogue,
        creating=True,
        more=column.more,
    )
    # what is told once is never changed: there is nothing a patch of it could hold
    patchable = any(not one.fixed for one in column.shape.client_fields)
    patched = (
        make_input(
            column.shape,
            f"{name}Patch",
            f"Changes of {a_name}: a field left out stays, null empties it.",
            catalogue,
            creating=False,
        )
        if patchable
        else created
    )

    async def answer(info: Info, change: Change) -> Any:
        try:
            outcome = await apply_change(info.context, column.collection, change)
        except Refused as refused:
            return refuse(info, refused)
        return payload(id=strawberry.ID(outcome.id), status=outcome.status, conflicts=show_conflicts(outcome.conflicts))

    async def create(self: Any, info: Info, input: Any, id: Any = None) -> Any:
        return await answer(info, Change(new_id() if id is None else id, Intent.CREATE, given_fields(input)))

    async def update(self: Any, info: Info, id: Any, base_rev: Any, patch: Any) -> Any:
        return await answer(info, Change(id, Intent.PATCH, given_fields(patch), base_rev))

    async def delete(self: Any, info: Info, id: Any) -> Any:
        return await answer(info, Change(id, Intent.DELETE))

    async def restore(self: Any, info: Info, id: Any) -> Any:
        return await answer(info, Change(id, Intent.RESTORE))

    fields: Any = Annotated[created, strawberry.argument(description="The fields.")]
    changes: Any = Annotated[patched, strawberry.argument(description="What changes.")]
    create.__annotations__ = {"info": Info, "input": fields, "id": _NEW_ID, "return": result}
    update.__annotations__ = {"info": Info, "id": _ID, "base_rev": _BASE_REV, "patch": changes, "return": result}
    delete.__annotations__ = {"info": Info, "id": _ID, "return": result}
    restore.__annotations__ = {"info": Info, "id": _ID, "return": result}
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    made = {
        f"create{snake}": strawberry.mutation(
            resolver=create, description=f"Create {a_name}. The same id with the same content answers as before."
        ),
        f"update{snake}": strawberry.mutation(
            resolver=update, description=f"Change {a_name}, merged field by field with what others changed."
        ),
        f"delete{snake}": strawberry.mutation(
            resolver=delete, description=f"Delete {a_name} for all. For some weeks it can be brought back."
        ),
        f"restore{snake}": strawberry.mutation(
            resolver=restore, description=f"Bring a deleted {name} back as it was, with what went with it."
        ),
    }
    return made if patchable else {key: one for key, one in made.items() if key != f"update{snake}"}


def _all_mutations() -> dict[str, Any]:
    catalogue = load_messages()
    made: dict[str, Any] = {"__module__": __name__}
    for column in COLUMNS:
        made.update(_mutations(column, catalogue))
    return made


RecordMutations: Any = strawberry.type(type("RecordMutations", (), _all_mutations()))
"""Every `create…`, `update…`, `delete…` and `restore…`."""
