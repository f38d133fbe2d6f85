"""A GraphQL server as Strawberry's and Tortoise's documentation write one: models, types, a resolver per relation.

`python -m tests.benchmarks.peers.strawberry_server PORT DATABASE SHAPES [tuned]`. `tuned` adds what helps without
another design: dataloaders for every relation, caches of parsed and validated documents, orjson.
It answers without sign-in, scope or limits.
"""

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Optional

import orjson
import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.scalars import JSON
from tortoise import Tortoise, connections, fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

PORT, DATABASE, SHAPES = int(sys.argv[1]), sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
TUNED = "tuned" in sys.argv[4:]
SQLITE = DATABASE.startswith("sqlite")

COLUMNS = {"String": fields.TextField, "Int": fields.IntField, "Boolean": fields.BooleanField, "JSON": fields.JSONField}
PYTHON = {"String": str, "Int": int, "Boolean": bool, "JSON": JSON}


def model(name: str, table: str, shape: str, **more: Any) -> type[Model]:
    """A Tortoise model with the columns of a shape; a column that is a relation's is the relation's."""
    taken = {relation.source_field for relation in more.values() if getattr(relation, "source_field", None)}
    found: dict[str, Any] = {"__module__": __name__, "Meta": type("Meta", (), {"table": table})}
    for _, column, kind in SHAPES[shape]:
        if column == "id":
            found["id"] = fields.CharField(36, primary_key=True)
        elif column not in taken:
            found[column] = COLUMNS[kind](null=True)
    return type(name, (Model,), {**found, **more})


def belongs(to: str, column: str, back: str | bool) -> Any:
    return fields.ForeignKeyField(
        f"models.{to}", related_name=back, source_field=column, null=True, db_constraint=False
    )


Territory = model("Territory", "territory", "territories")
Customer = model(
    "Customer", "customer", "customers",
    territory=belongs("Territory", "territory_id", "customers"), priority=fields.IntField(), rev=fields.IntField(),
)  # fmt: skip
Contact = model("Contact", "contact", "contacts")
Link = model(
    "Link", "link", "customerContacts", customer=belongs("Customer", "customer_id", "links"),
    contact=belongs("Contact", "contact_id", "links"), territory_id=fields.TextField(), sorted_at=fields.BigIntField(),
)  # fmt: skip
Visit = model(
    "Visit", "visit", "visits", customer=belongs("Customer", "customer_id", "visits"), territory_id=fields.TextField(),
    happens_at=fields.BigIntField(), rev=fields.IntField(),
)  # fmt: skip
Order = model(
    "Order", "sales_order", "orders", customer=belongs("Customer", "customer_id", "orders"),
    territory_id=fields.TextField(), sorted_at=fields.BigIntField(),
)  # fmt: skip
Line = model("Line", "order_line", "lines", order=belongs("Order", "order_id", "lines"), position=fields.IntField())
Score = model("Score", "score", "scores", territory_id=fields.TextField())


class Loaders:
    """One set per request."""

    def __init__(self) -> None:
        self.territory = DataLoader(load_fn=by_id(Territory))
        self.contact = DataLoader(load_fn=by_id(Contact))
        self.links = DataLoader(load_fn=by_parent(Link, "customer_id", ("sorted_at", "id")))
        self.orders = DataLoader(load_fn=by_parent(Order, "customer_id", ("-sorted_at", "-id")))
        self.lines = DataLoader(load_fn=by_parent(Line, "order_id", ("position", "id")))
        self.next_visit = DataLoader(load_fn=by_parent(Visit, "customer_id", ("happens_at", "id"), state="PLANNED"))


def by_id(of: type[Model]) -> Callable[[list[str]], Any]:
    async def load(keys: list[str]) -> list[Any]:
        found = {row.id: row for row in await of.filter(id__in=keys)}
        return [found.get(key) for key in keys]

    return load


def by_parent(of: type[Model], column: str, order: Sequence[str], **where: Any) -> Callable[[list[str]], Any]:
    async def load(keys: list[str]) -> list[list[Any]]:
        found: dict[str, list[Any]] = {key: [] for key in keys}
        for row in await of.filter(**{f"{column}__in": keys}, **where).order_by(*order):
            found[getattr(row, column)].append(row)
        return [found[key] for key in keys]

    return load


def graphql_type(name: str, shape: str, extra: Sequence[tuple[str, type]] = (), **resolvers: Any) -> Any:
    annotations: dict[str, Any] = {column: Optional[PYTHON[kind]] for _, column, kind in SHAPES[shape]}  # noqa: UP045
    annotations.update(dict(extra))
    members = {"__annotations__": annotations, "__module__": __name__}
    members.update({field: strawberry.field(resolver=resolver) for field, resolver in resolvers.items()})
    return strawberry.type(type(name, (), members), name=name)


async def _contact(root: Any, info: strawberry.Info) -> Any:
    return await (info.context["loaders"].contact.load(root.contact_id) if TUNED else root.contact)


async def _territory(root: Any, info: strawberry.Info) -> Any:
    return await (info.context["loaders"].territory.load(root.territory_id) if TUNED else root.territory)


async def _links(root: Any, info: strawberry.Info, first: int) -> Any:
    if TUNED:
        return (await info.context["loaders"].links.load(root.id))[:first]
    return await root.links.all().order_by("sorted_at", "id").limit(first)


async def _orders(root: Any, info: strawberry.Info, first: int) -> Any:
    if TUNED:
        return (await info.context["loaders"].orders.load(root.id))[:first]
    return await root.orders.all().order_by("-sorted_at", "-id").limit(first)


async def _lines(root: Any, info: strawberry.Info) -> Any:
    return await (info.context["loaders"].lines.load(root.id) if TUNED else root.lines.all().order_by("position", "id"))


async def _next_visit(root: Any, info: strawberry.Info) -> Any:
    if TUNED:
        return next(iter(await info.context["loaders"].next_visit.load(root.id)), None)
    return await root.visits.filter(state="PLANNED").order_by("happens_at", "id").first()


TerritoryType = graphql_type("Territory", "territories")
ContactType = graphql_type("Contact", "contacts")
_contact.__annotations__["return"] = Optional[ContactType]  # noqa: UP045
LinkType = graphql_type("CustomerContact", "customerContacts", contact=_contact)
LineType = graphql_type("OrderLine", "lines", [("position", int)])
_lines.__annotations__["return"] = list[LineType]
OrderType = graphql_type("Order", "orders", lines=_lines)
VisitType = graphql_type("Visit", "visits", [("rev", int)])
ScoreType = graphql_type("Score", "scores")
_territory.__annotations__["return"] = Optional[TerritoryType]  # noqa: UP045
_links.__annotations__["return"] = list[LinkType]
_orders.__annotations__["return"] = list[OrderType]
_next_visit.__annotations__["return"] = Optional[VisitType]  # noqa: UP045
CustomerType = graphql_type(
    "Customer", "customers", [("priority", int), ("rev", int)],
    territory=_territory, contacts=_links, orders=_orders, next_visit=_next_visit,
)  # fmt: skip


@strawberry.type
class Query:
    @strawberry.field
    async def customer(self, id: str) -> Optional[CustomerType]:  # type: ignore[valid-type]  # noqa: UP045
        return await Customer.get_or_none(id=id)

    @strawberry.field
    async def morning_list(self, territories: list[str], most: int) -> list[CustomerType]:  # type: ignore[valid-type]
        return await Customer.filter(territory_id__in=territories).order_by("-priority", "-id").limit(most)

    @strawberry.field
    async def visits_since(self, territories: list[str], since: int, most: int) -> list[VisitType]:  # type: ignore[valid-type]
        return await Visit.filter(territory_id__in=territories, rev__gt=since).order_by("rev", "id").limit(most)

    @strawberry.field
    async def customers_in(self, territories: list[str]) -> list[CustomerType]:  # type: ignore[valid-type]
        return await Customer.filter(territory_id__in=territories)

    @strawberry.field
    async def contacts_in(self, territories: list[str]) -> list[ContactType]:  # type: ignore[valid-type]
        wanted = await Link.filter(territory_id__in=territories).distinct().values_list("contact_id", flat=True)
        return await Contact.filter(id__in=wanted)

    @strawberry.field
    async def links_in(self, territories: list[str]) -> list[LinkType]:  # type: ignore[valid-type]
        return await Link.filter(territory_id__in=territories)

    @strawberry.field
    async def visits_in(self, territories: list[str]) -> list[VisitType]:  # type: ignore[valid-type]
        return await Visit.filter(territory_id__in=territories)

    @strawberry.field
    async def orders_in(self, territories: list[str]) -> list[OrderType]:  # type: ignore[valid-type]
        return await Order.filter(territory_id__in=territories)

    @strawberry.field
    async def scores_in(self, territories: list[str]) -> list[ScoreType]:  # type: ignore[valid-type]
        return await Score.filter(territory_id__in=territories)


@strawberry.input
class VisitPatch:
    id: str
    next_step: str


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def update_visits(self, patches: list[VisitPatch]) -> list[VisitType]:  # type: ignore[valid-type]
        changed = []
        async with in_transaction():
            for patch in patches:
                visit = await Visit.get(id=patch.id)
                visit.next_step = patch.next_step
                visit.rev += 1
                await visit.save()
                changed.append(visit)
        return changed


PARSED, VALIDATED = ParserCache(), ValidationCache()
# the same two for every request: what is cached must outlive it
schema = strawberry.Schema(Query, Mutation, extensions=[lambda: PARSED, lambda: VALIDATED] if TUNED else [])


async def _answer(request: Request) -> Response:
    """The tuned edge: the schema's own execution, printed by orjson."""
    asked = orjson.loads(await request.body())
    result = await schema.execute(
        asked["query"], variable_values=asked.get("variables"), context_value={"loaders": Loaders()}
    )
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    return Response(orjson.dumps(body), media_type="application/json")


async def _live(_request: Request) -> Response:
    return JSONResponse({"status": "live"})


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    await Tortoise.init(
        config={
            "connections": {"default": DATABASE},
            "apps": {"models": {"models": [__name__], "default_connection": "default"}},
        },
        _enable_global_fallback=True,
    )
    if SQLITE:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-64000"):
            await connections.get("default").execute_query(f"PRAGMA {pragma}")
    yield
    await connections.close_all()


def main() -> None:
    edge = Route("/graphql", _answer, methods=["POST"]) if TUNED else Route("/graphql", GraphQL(schema))
    app = Starlette(routes=[Route("/live", _live), edge], lifespan=_lifespan)
    uvicorn.run(
        app, host="127.0.0.1", port=PORT, http="httptools", loop="uvloop", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
