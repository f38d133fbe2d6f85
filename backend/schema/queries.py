"""Everything that can be looked up: one record by its id, and a list of each kind with its filters and sorts.

A resolver here checks the right and says what is wanted as a `Selection`; the executor does the rest.
"""

from enum import StrEnum
from typing import Annotated, Any

import strawberry

from backend.domain.catalogue import ArticleState
from backend.domain.customers import CustomerKind, LifecycleStage
from backend.domain.orders import OrderState
from backend.domain.permissions import Role
from backend.domain.tasks import TaskState
from backend.domain.territories import TerritoryKind
from backend.domain.visits import VisitState
from backend.reads.find import entity_of
from backend.reads.selection import PageRequest
from backend.schema.context import Info
from backend.schema.custom_fields import CustomFilter, custom_conditions
from backend.schema.paging import (
    After,
    Before,
    Connection,
    First,
    Last,
    Node,
    RecordId,
    Way,
    select_one,
    select_page,
)
from backend.schema.scalars import Instant
from backend.schema.types import (
    Contact,
    Customer,
    CustomerScore,
    Order,
    Person,
    PriceList,
    ScoreRun,
    Season,
    Style,
    Task,
    Territory,
    Visit,
)

ID = strawberry.ID


def _optional(description: str) -> Any:
    return strawberry.field(default=None, description=description)


class CustomerSort(StrEnum):
    """What customers are sorted by. NAME goes upwards, all others downwards unless said otherwise."""

    NAME = "NAME"
    PRIORITY = "PRIORITY"
    CREATED_AT = "CREATED_AT"
    LAST_ORDER_AT = "LAST_ORDER_AT"


class ContactSort(StrEnum):
    """What contacts are sorted by. NAME goes upwards, CREATED_AT downwards unless said otherwise."""

    NAME = "NAME"
    CREATED_AT = "CREATED_AT"


for _sort in (CustomerSort, ContactSort):
    strawberry.enum(_sort, description=_sort.__doc__)


@strawberry.input(description="Which customers. All that is given must hold.")
class CustomerFilter:
    search: str | None = _optional(
        "Text in a name, code or telephone number; pinyin and initials find names too. "
        "Roles that read masked data find no persons, and nobody by digits."
    )
    kind: list[CustomerKind] | None = _optional("Any of these kinds.")
    stage: list[LifecycleStage] | None = _optional("At any of these stages.")
    territory_id: ID | None = _optional("Of this very territory.")
    parent_id: ID | None = _optional("Doors of this chain.")
    tag: str | None = _optional("With this tag.")
    custom: list[CustomFilter] | None = _optional("Holding these values in fields your organisation defined.")


@strawberry.input(description="Which contacts. All that is given must hold.")
class ContactFilter:
    search: str | None = _optional(
        "Text in a name or telephone number; pinyin and initials find names too. Not for roles that read masked data."
    )
    customer_id: ID | None = _optional("Of this customer.")
    custom: list[CustomFilter] | None = _optional("Holding these values in fields your organisation defined.")


@strawberry.input(description="Which visits. All that is given must hold.")
class VisitFilter:
    customer_id: ID | None = _optional("Of this customer.")
    rep_id: ID | None = _optional("By this colleague.")
    territory_id: ID | None = _optional("In this very territory.")
    state: list[VisitState] | None = _optional("In any of these states.")
    from_: Instant | None = strawberry.field(
        default=None, name="from", description="Happening at this moment or later."
    )
    to: Instant | None = _optional("Happening before this moment.")
    custom: list[CustomFilter] | None = _optional("Holding these values in fields your organisation defined.")


@strawberry.input(description="Which orders. All that is given must hold.")
class OrderFilter:
    customer_id: ID | None = _optional("By this customer.")
    rep_id: ID | None = _optional("Taken by this colleague.")
    territory_id: ID | None = _optional("In this very territory.")
    season_id: ID | None = _optional("Placed in this season.")
    state: list[OrderState] | None = _optional("In any of these states.")
    from_: Instant | None = strawberry.field(default=None, name="from", description="Placed at this moment or later.")
    to: Instant | None = _optional("Placed before this moment.")
    custom: list[CustomFilter] | None = _optional("Holding these values in fields your organisation defined.")


@strawberry.input(description="Which tasks. All that is given must hold.")
class TaskFilter:
    assignee_id: ID | None = _optional("Of this colleague.")
    customer_id: ID | None = _optional("About this customer.")
    state: list[TaskState] | None = _optional("In any of these states.")
    due_before: Instant | None = _optional("Due before this moment.")
    custom: list[CustomFilter] | None = _optional("Holding these values in fields your organisation defined.")


@strawberry.input(description="Which territories. All that is given must hold.")
class TerritoryFilter:
    parent_id: ID | None = _optional("Right below this node.")
    kind: list[TerritoryKind] | None = _optional("Of any of these sizes.")


@strawberry.input(description="Which scores. All that is given must hold.")
class ScoreFilter:
    territory_id: ID | None = _optional("Of customers of this very territory.")
    segment: list[str] | None = _optional("In any of these segments.")
    priority_at_least: int | None = _optional("With at least this priority.")


@strawberry.input(description="Which styles. All that is given must hold.")
class StyleFilter:
    code: str | None = _optional("With this style number.")
    season_id: ID | None = _optional("Of this season.")
    category: list[str] | None = _optional("Of any of these categories.")
    state: list[ArticleState] | None = _optional("Still sold or not.")


Filtered = strawberry.argument(description="Which records; all when absent.")


@strawberry.type
class NodeQueries:
    @strawberry.field(description="The record with this id, whatever it is; null when it is out of your scope.")
    async def node(self, info: Info, id: RecordId) -> Node | None:
        context = info.context
        entity = await entity_of(context.engine, context.caller, id, context.reads.count_statement)
        return select_one(info, entity, id) if entity else None


@strawberry.type
class CustomerQueries:
    @strawberry.field(description="A customer with everything around it; null when it is out of your scope.")
    def customer(self, info: Info, id: RecordId) -> Customer | None:
        return select_one(info, "customers", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Customers in your scope.")
    async def customers(
        self,
        info: Info,
        filter: Annotated[CustomerFilter | None, Filtered] = None,
        sort: Annotated[CustomerSort, strawberry.argument(description="What they are sorted by.")] = CustomerSort.NAME,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Customer]:
        chosen = filter or CustomerFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "customers",
            PageRequest(first, after, last, before),
            (
                ("search", chosen.search),
                ("kindIn", chosen.kind),
                ("stageIn", chosen.stage),
                ("territoryId", chosen.territory_id),
                ("parentId", chosen.parent_id),
                ("tag", chosen.tag),
            ),
            sort=sort,
            direction=direction,
            more=await custom_conditions(info, "customers", chosen.custom),
        )


@strawberry.type
class ContactQueries:
    @strawberry.field(description="A contact; null when it is out of your scope.")
    def contact(self, info: Info, id: RecordId) -> Contact | None:
        return select_one(info, "contacts", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Contacts in your scope.")
    async def contacts(
        self,
        info: Info,
        filter: Annotated[ContactFilter | None, Filtered] = None,
        sort: Annotated[ContactSort, strawberry.argument(description="What they are sorted by.")] = ContactSort.NAME,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Contact]:
        chosen = filter or ContactFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "contacts",
            PageRequest(first, after, last, before),
            (("search", chosen.search), ("customerId", chosen.customer_id)),
            sort=sort,
            direction=direction,
            more=await custom_conditions(info, "contacts", chosen.custom),
        )


@strawberry.type
class VisitQueries:
    @strawberry.field(description="A visit; null when it is out of your scope.")
    def visit(self, info: Info, id: RecordId) -> Visit | None:
        return select_one(info, "visits", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Visits in your scope, latest first.")
    async def visits(
        self,
        info: Info,
        filter: Annotated[VisitFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Visit]:
        chosen = filter or VisitFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "visits",
            PageRequest(first, after, last, before),
            (
                ("customerId", chosen.customer_id),
                ("repId", chosen.rep_id),
                ("territoryId", chosen.territory_id),
                ("stateIn", chosen.state),
                ("from", chosen.from_),
                ("to", chosen.to),
            ),
            direction=direction,
            more=await custom_conditions(info, "visits", chosen.custom),
        )


@strawberry.type
class OrderQueries:
    @strawberry.field(description="An order; null when it is out of your scope.")
    def order(self, info: Info, id: RecordId) -> Order | None:
        return select_one(info, "orders", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Orders in your scope, latest first.")
    async def orders(
        self,
        info: Info,
        filter: Annotated[OrderFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Order]:
        chosen = filter or OrderFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "orders",
            PageRequest(first, after, last, before),
            (
                ("customerId", chosen.customer_id),
                ("repId", chosen.rep_id),
                ("territoryId", chosen.territory_id),
                ("seasonId", chosen.season_id),
                ("stateIn", chosen.state),
                ("from", chosen.from_),
                ("to", chosen.to),
            ),
            direction=direction,
            more=await custom_conditions(info, "orders", chosen.custom),
        )


@strawberry.type
class TaskQueries:
    @strawberry.field(description="A task; null when it is out of your scope.")
    def task(self, info: Info, id: RecordId) -> Task | None:
        return select_one(info, "tasks", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Tasks in your scope, by due moment; those without one come last.")
    async def tasks(
        self,
        info: Info,
        filter: Annotated[TaskFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Task]:
        chosen = filter or TaskFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "tasks",
            PageRequest(first, after, last, before),
            (
                ("assigneeId", chosen.assignee_id),
                ("customerId", chosen.customer_id),
                ("stateIn", chosen.state),
                ("dueBefore", chosen.due_before),
            ),
            direction=direction,
            more=await custom_conditions(info, "tasks", chosen.custom),
        )


@strawberry.type
class TerritoryQueries:
    @strawberry.field(description="A territory; null when it is out of your scope.")
    def territory(self, info: Info, id: RecordId) -> Territory | None:
        return select_one(info, "territories", id)  # type: ignore[no-any-return]

    @strawberry.field(description="Nodes of the territory tree, by path.")
    def territories(
        self,
        info: Info,
        filter: Annotated[TerritoryFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Territory]:
        chosen = filter or TerritoryFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "territories",
            PageRequest(first, after, last, before),
            (("parentId", chosen.parent_id), ("kindIn", chosen.kind)),
            direction=direction,
        )


@strawberry.type
class PeopleQueries:
    @strawberry.field(description="Colleagues, by name.")
    def people(
        self,
        info: Info,
        role: Annotated[list[Role] | None, strawberry.argument(description="With any of these roles.")] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Person]:
        page = PageRequest(first, after, last, before)
        return select_page(info, "people", page, (("roleIn", role),), direction=direction)  # type: ignore[no-any-return]


@strawberry.type
class InsightQueries:
    @strawberry.field(description="Scores of customers in your scope, highest priority first.")
    def scores(
        self,
        info: Info,
        filter: Annotated[ScoreFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[CustomerScore]:
        chosen = filter or ScoreFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "scores",
            PageRequest(first, after, last, before),
            (
                ("territoryId", chosen.territory_id),
                ("segmentIn", chosen.segment),
                ("priorityAtLeast", chosen.priority_at_least),
            ),
            direction=direction,
        )

    @strawberry.field(description="Score runs, latest first; for those who may score or override.")
    def score_runs(
        self,
        info: Info,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[ScoreRun]:
        page = PageRequest(first, after, last, before)
        return select_page(info, "scoreRuns", page, direction=direction)  # type: ignore[no-any-return]


@strawberry.type
class CatalogueQueries:
    @strawberry.field(description="Styles, by number.")
    def styles(
        self,
        info: Info,
        filter: Annotated[StyleFilter | None, Filtered] = None,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Style]:
        chosen = filter or StyleFilter()
        return select_page(  # type: ignore[no-any-return]
            info,
            "styles",
            PageRequest(first, after, last, before),
            (
                ("code", chosen.code),
                ("seasonId", chosen.season_id),
                ("categoryIn", chosen.category),
                ("stateIn", chosen.state),
            ),
            direction=direction,
        )

    @strawberry.field(description="Seasons, by code.")
    def seasons(
        self,
        info: Info,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Season]:
        page = PageRequest(first, after, last, before)
        return select_page(info, "seasons", page, direction=direction)  # type: ignore[no-any-return]

    @strawberry.field(description="Price lists, by code.")
    def price_lists(
        self,
        info: Info,
        direction: Way = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[PriceList]:
        page = PageRequest(first, after, last, before)
        return select_page(info, "priceLists", page, direction=direction)  # type: ignore[no-any-return]


@strawberry.type
class RecordQueries(
    NodeQueries,
    CustomerQueries,
    ContactQueries,
    VisitQueries,
    OrderQueries,
    TaskQueries,
    TerritoryQueries,
    PeopleQueries,
    InsightQueries,
    CatalogueQueries,
):
    """All of them, for the root."""
