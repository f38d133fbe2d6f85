"""Predicates over GraphQL: what they may say, and trying one before it is used."""

from typing import Annotated, Any

import strawberry

from backend.domain.predicate_forms import Which
from backend.domain.predicates import OPS, Kind
from backend.domain.times import local_day
from backend.reads.selection import one as select
from backend.schema.context import Info
from backend.schema.scalars import JSON, Day
from backend.schema.types import Customer
from backend.usecases.matching import matching_customers, predicate_fields

ID = strawberry.ID
SAMPLE_DEFAULT = 10

strawberry.enum(Kind, name="PredicateKind", description=(Kind.__doc__ or "").strip())


@strawberry.input(description="Which customers, as a predicate in one of its two forms (docs/PREDICATES.md).")
class PredicateInput:
    text: str | None = strawberry.field(default=None, description='As text: `kind = CHAIN and city = "Shanghai"`.')
    json: JSON | None = strawberry.field(default=None, description='As JSON: `{"field": "kind", "op": "=", …}`.')


def which_of(given: PredicateInput | None) -> Which:
    """What a client wrote; everybody where it wrote nothing."""
    return Which() if given is None else Which(given.text, given.json)


@strawberry.type(description="What a predicate may say of one field.")
class PredicateFieldShown:
    name: str = strawberry.field(description="Its name in both forms.")
    kind: Kind = strawberry.field(description="What it holds.")
    operators: list[str] = strawberry.field(description="What may be said of it.")
    values: list[str] = strawberry.field(description="Of a closed list: its words.")
    windowed: bool = strawberry.field(description="Whether it takes a number of days: `orders(90)`.")
    currency: str | None = strawberry.field(description="Of money: the only currency it is in, where there is one.")


@strawberry.type(description="A customer that was chosen.")
class Chosen:
    customer_id: ID = strawberry.field(description="The customer.")

    @strawberry.field(description="The customer.")
    def customer(self) -> Customer | None:
        return select("customers", self.customer_id)  # type: ignore[return-value]


@strawberry.type(description="A predicate tried on the customers you see.")
class MatchingCustomers:
    text: str = strawberry.field(description="The predicate as text.")
    json: JSON = strawberry.field(description="The predicate as JSON.")
    count: int | None = strawberry.field(description="Whom it chooses; null where they are too few to be told to you.")
    sample: list[Chosen] = strawberry.field(description="The first of them, in no order of names.")


@strawberry.type
class PredicateQueries:
    @strawberry.field(description="What your predicates may say of customers; your organisation's own fields too.")
    async def predicate_fields(self, info: Info) -> list[PredicateFieldShown]:
        context = info.context
        found = await predicate_fields(context.engine, context.caller, context.settings)
        return [
            PredicateFieldShown(
                name=one.name,
                kind=one.kind,
                operators=[op.value for op in OPS[one.kind]],
                values=list(one.values),
                windowed=one.windowed,
                currency=one.currency or None,
            )
            for one in found
        ]

    @strawberry.field(description="Whom a predicate chooses of the customers you see, how many and a sample.")
    async def matching_customers(
        self,
        info: Info,
        filter: Annotated[PredicateInput, strawberry.argument(description="Which customers.")],
        as_of: Annotated[Day | None, strawberry.argument(description="The local day; today when absent.")] = None,
        first: Annotated[int, strawberry.argument(description="How many in the sample.")] = SAMPLE_DEFAULT,
    ) -> MatchingCustomers:
        context = info.context
        today = local_day(context.now_ms, context.settings.organisation_timezone)
        found = await matching_customers(
            context.engine,
            context.caller,
            which_of(filter),
            settings=context.settings,
            as_of=as_of or today,
            today=today,
            first=first,
        )
        document: Any = found.document
        sample = [Chosen(customer_id=ID(one)) for one in found.ids]
        return MatchingCustomers(text=found.text, json=document, count=found.count, sample=sample)
