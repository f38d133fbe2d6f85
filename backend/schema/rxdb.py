"""RxDB's GraphQL replication: the fields its own query builders ask for, generated from the collection table.

The collection's name in RxDB decides every name here: `contacts` is pulled by `pullContacts`, pushed by
`pushContacts`, streamed by `streamContacts`, and its documents are `Contacts`. That client selects plain fields only
and repeats a request that brought errors for ever; so lists and maps are JSON, every field but `id` may be null, and
a state that is pushed is taken as it is and judged row by row. Source: npm `rxdb` 17, `replication-graphql`.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import orjson
import strawberry
from strawberry.scalars import JSON

from backend.domain.fields import Kind
from backend.errors import Code, Refused
from backend.schema.changes import COLUMNS
from backend.schema.context import Context, Info
from backend.schema.finished import Finished, Layout, StoredRecord
from backend.schema.inputs import snake
from backend.schema.scalars import BigInt
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.places import Row
from backend.sync.protocol import check_syncing
from backend.sync.rxdb import Checkpoint, Page, Removed, answer_pull, begin_at, collection_secret, pull, seal
from backend.sync.rxdb_push import DELETED, REV, PushRow, answer_push

PUSHED = tuple(column.collection for column in COLUMNS)
"""The collections a device may write."""
PUSH_FIELDS = frozenset(f"push{name[:1].upper()}{name[1:]}" for name in PUSHED)
RESERVED = {"collection": "collectionName", "primary": "isPrimary"}
"""Fields whose names RxDB keeps for itself, and how they are called instead."""
MILLISECONDS = 1_000
ROOM_SECONDS = 1
"""How long a stream waits before it asks again for a place among the followers."""

_OUT: Mapping[Kind, Any] = {
    Kind.INT: BigInt,
    Kind.MONEY_MINOR: BigInt,
    Kind.BOOL: bool,
    Kind.SET: JSON,
    Kind.MAP: JSON,
    Kind.CELLS: JSON,
    Kind.RECORDS: JSON,
}
"""Everything else is text."""
_JSON_TYPE: Mapping[Kind, str] = {
    Kind.INT: "integer",
    Kind.MONEY_MINOR: "integer",
    Kind.BOOL: "boolean",
    Kind.SET: "array",
    Kind.MAP: "object",
    Kind.CELLS: "object",
    Kind.RECORDS: "array",
}
ID_CHARACTERS = 36


@dataclass(frozen=True)
class RxCollection:
    """One collection as RxDB knows it."""

    collection: Collection

    @property
    def name(self) -> str:
        return self.collection.name

    @property
    def capital(self) -> str:
        return self.name[:1].upper() + self.name[1:]

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The documents' fields under RxDB's names, in the documents' order; `id` first."""
        own = {RESERVED.get(found.name, found.name): found.kind for found in self.collection.own_fields}
        return {"id": Kind.ID, **own, **{child.name: Kind.RECORDS for child in self.collection.children}}

    @cached_property
    def renamed(self) -> dict[str, str]:
        """Name in a document → RxDB's name, where they differ."""
        names = [found.name for found in self.collection.own_fields]
        return {name: RESERVED[name] for name in names if name in RESERVED}

    def layout(self) -> Layout:
        return Layout(frozenset([*self.kinds, REV, DELETED]), {theirs: ours for ours, theirs in self.renamed.items()})

    def gone(self, record_id: str) -> dict[str, Any]:
        """A removal: every field null but the id."""
        return {**dict.fromkeys([*self.kinds, REV]), "id": record_id, DELETED: True}

    def shown(self, found: Sequence[Row | Removed]) -> list[Any]:
        layout = self.layout()
        return [
            self.gone(one.record_id)
            if isinstance(one, Removed)
            else StoredRecord(one.document, {DELETED: False, REV: one.seq}, layout)
            for one in found
        ]

    def bulk(self, found: Sequence[Row | Removed], checkpoint: str) -> Any:
        return Finished(
            f"{self.capital}PullBulk", {"documents": self.shown(found), "checkpoint": {"cursor": checkpoint}}
        )

    def read(self, state: object) -> object:
        """A state as the client has it, under the documents' names."""
        if not isinstance(state, dict) or not self.renamed:
            return state
        back = {theirs: ours for ours, theirs in self.renamed.items()}
        return {back.get(name, name): value for name, value in state.items() if name not in self.renamed}

    def json_schema(self) -> dict[str, Any]:
        """The schema of the collection in RxDB, in which its query builders can select everything."""
        properties: dict[str, Any] = {"id": {"type": "string", "maxLength": ID_CHARACTERS}}
        told = {RESERVED.get(found.name, found.name) for found in self.collection.own_fields if found.server_only}
        for name, kind in {**self.kinds, REV: Kind.INT}.items():
            if kind is Kind.MAP and name in told:
                properties[name] = {}  # what the server tells there may be any value
            elif name != "id":
                properties[name] = {"type": [_JSON_TYPE.get(kind, "string"), "null"]}
        return {"version": 0, "primaryKey": "id", "type": "object", "properties": properties, "required": ["id"]}


RX_COLLECTIONS = tuple(RxCollection(collection) for collection in COLLECTIONS.values())


def rxdb_schemas_text() -> str:
    """`rxdb-schemas.json`: what an app gives to `addCollections`, and which of them it may push."""
    content = {rx.name: {"schema": rx.json_schema(), "push": rx.name in PUSHED} for rx in RX_COLLECTIONS}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"


# -- types ------------------------------------------------------------------------------------------------------


@strawberry.type(description="Where a device stands in one collection: opaque, of one user on one device.")
class RxdbCheckpoint:
    cursor: str = strawberry.field(description="Given back with the next pull.")


@dataclass(frozen=True, slots=True)
class _Types:
    """What one collection adds to the schema."""

    document: type[Any]
    bulk: type[Any]
    checkpoint: type[Any]
    row: type[Any]
    headers: Any


def _headers(value: Any) -> Any:
    """Whatever an app gives its replication as headers; who asks is told by the connection."""
    return value


HEADER_SCALARS: dict[object, Any] = {}
"""Python type → scalar, for the schema's configuration."""


def _made(name: str, types: Mapping[str, Any], fields: Mapping[str, Any]) -> type[Any]:
    return type(name, (), {"__annotations__": dict(types), "__module__": __name__, **fields})


def _document_type(rx: RxCollection) -> type[Any]:
    types: dict[str, Any] = {"id": strawberry.ID}
    fields: dict[str, Any] = {"id": strawberry.field(description="The record's id.")}
    for name, kind in rx.kinds.items():
        if name != "id":
            types[snake(name)] = _OUT.get(kind, str) | None
            fields[snake(name)] = strawberry.field(name=name, description=f"As `{name}` of the record's document.")
    types |= {"rev": BigInt | None, "deleted": bool | None}
    fields["rev"] = strawberry.field(description="Number of the record's last change.")
    fields["deleted"] = strawberry.field(name=DELETED, description="Deleted, or no longer in your scope.")
    made = _made(rx.capital, types, fields)
    return strawberry.type(made, description=f"A document of `{rx.name}` as RxDB holds it.")


def _types(rx: RxCollection) -> _Types:
    document = _document_type(rx)
    bulk = strawberry.type(
        _made(
            f"{rx.capital}PullBulk",
            {"documents": list[document], "checkpoint": RxdbCheckpoint},  # type: ignore[valid-type]
            {
                "documents": strawberry.field(description="Full records, and the ids of those to drop."),
                "checkpoint": strawberry.field(description="Where the device then stands."),
            },
        ),
        description=f"What changed in `{rx.name}` since a checkpoint: as many as asked for while there are more.",
    )
    checkpoint = strawberry.input(
        _made(
            f"{rx.capital}InputCheckpoint",
            {"cursor": str},
            {"cursor": strawberry.field(description="From the last answer.")},
        ),
        description=f"The checkpoint of `{rx.name}`.",
    )
    row = strawberry.input(
        _made(
            f"{rx.capital}InputPushRow",
            {"assumed_master_state": JSON | None, "new_document_state": JSON},
            {
                "assumed_master_state": strawberry.field(
                    default=None, description="What the device took to be true; nothing for what it made itself."
                ),
                "new_document_state": strawberry.field(description="What the device holds now."),
            },
        ),
        description=f"A change of one record of `{rx.name}`, as two states.",
    )
    headers = type(f"{rx.capital}InputHeaders", (), {})
    HEADER_SCALARS[headers] = strawberry.scalar(
        name=f"{rx.capital}InputHeaders",
        description="Whatever headers the app gave its replication. Who asks is what the connection said.",
        serialize=_headers,
        parse_value=_headers,
    )
    return _Types(document, bulk, checkpoint, row, headers)


# -- fields -----------------------------------------------------------------------------------------------------


async def _pulled(info: Info, rx: RxCollection, checkpoint: Any, limit: int) -> Any:
    context, settings = info.context, info.context.settings
    page, token = await answer_pull(
        context.engine,
        context.caller,
        rx.name,
        None if checkpoint is None else checkpoint.cursor,
        limit,
        secret=context.cursor_secret,
        rows_max=settings.pull_rows_max,
        echo_ms=settings.rxdb_echo_seconds * MILLISECONDS,
        retries_max=settings.write_retries_max,
        clock=context.clock,
        note_seconds=settings.device_note_seconds,
    )
    if context.watch_door is not None:
        await context.watch_door.pulled(context.caller, {rx.name: len(page.found)})
    return rx.bulk(page.found, token)


async def _pushed(info: Info, rx: RxCollection, rows: Sequence[Any]) -> Any:
    context, settings = info.context, info.context.settings
    instead = await answer_push(
        context.engine,
        context.caller,
        rx.name,
        [PushRow(rx.read(row.assumed_master_state), rx.read(row.new_document_state)) for row in rows],
        context.use_cases,
        rows_max=settings.push_mutations_max,
        wait_ms=settings.rxdb_wait_seconds * MILLISECONDS,
        echo_ms=settings.rxdb_echo_seconds * MILLISECONDS,
        retries_max=settings.write_retries_max,
        clock=context.clock,
    )
    return Finished(rx.capital, rx.shown(instead))


async def _streamed(info: Info, rx: RxCollection) -> AsyncGenerator[Any, None]:
    """Pages since the connection began, each with a checkpoint that passes nothing not yet sent."""
    context = info.context
    check_syncing(context.caller)
    secret = collection_secret(context.cursor_secret, rx.name)
    at = begin_at(context.connected_clock if context.connected_clock is not None else await context.pokes.now())
    async with aclosing(_Turns(context)) as turns:
        while await turns.next(at.due_ms if at.again is not None else None):
            more = True
            while more:
                caller = await context.caller_now()
                check_syncing(caller)
                page = await _next_page(context, rx, at)
                at, more = page.checkpoint, len(page.found) == context.settings.rxdb_stream_rows_max
                if page.found:
                    yield rx.bulk(page.found, seal(at, secret=secret, principal=caller))


async def _next_page(context: Context, rx: RxCollection, at: Checkpoint) -> Page:
    settings = context.settings
    async with context.engine.read() as conn:
        return await pull(
            conn,
            context.caller,
            rx.name,
            at,
            settings.rxdb_stream_rows_max,
            now_ms=context.clock(),
            echo_ms=settings.rxdb_echo_seconds * MILLISECONDS,
        )


class _Turns:
    """When a stream looks again: the clock moved, or something is due a second time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clocks = context.pokes.follow()
        self._coming: asyncio.Future[int | None] | None = None

    async def next(self, due_ms: int | None) -> bool:
        """False when the server stops. That client takes an error for the end, so a full house is waited out."""
        while True:
            if self._coming is None:
                self._coming = asyncio.ensure_future(anext(self._clocks, None))
            wait_s = None if due_ms is None else max(0.0, (due_ms - self._context.clock()) / MILLISECONDS)
            happened, _ = await asyncio.wait({self._coming}, timeout=wait_s)
            if not happened:
                return True
            coming, self._coming = self._coming, None
            try:
                return coming.result() is not None
            except Refused as full:
                if full.problems[0].code is not Code.BUSY:
                    raise
                await asyncio.sleep(ROOM_SECONDS)
                self._clocks = self._context.pokes.follow()

    async def aclose(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})
        with suppress(RuntimeError):
            await self._clocks.aclose()


_LIMIT = Annotated[int, strawberry.argument(description="How many; a shorter answer says that there are no more.")]


def _pull_field(rx: RxCollection, types: _Types) -> Any:
    async def resolver(self: Any, info: Info, limit: Any, checkpoint: Any = None) -> Any:
        return await _pulled(info, rx, checkpoint, limit)

    at: Any = Annotated[types.checkpoint | None, strawberry.argument(description="From the last answer; else all.")]
    resolver.__annotations__ = {"info": Info, "limit": _LIMIT, "checkpoint": at, "return": types.bulk}
    return strawberry.field(
        resolver=resolver, name=f"pull{rx.capital}", description=f"RxDB's pull of `{rx.name}`: `rxdb.md`."
    )


def _push_field(rx: RxCollection, types: _Types) -> Any:
    async def resolver(self: Any, info: Info, rows: Any = None) -> Any:
        return await _pushed(info, rx, rows or [])

    row: Any = types.row
    given: Any = Annotated[
        list[row] | None,
        strawberry.argument(name=f"{rx.name}PushRow", description="What changed on the device."),
    ]
    document: Any = types.document
    resolver.__annotations__ = {"info": Info, "rows": given, "return": list[document]}
    return strawberry.mutation(
        resolver=resolver,
        name=f"push{rx.capital}",
        description=f"RxDB's push of `{rx.name}`: answers the records that stand otherwise than they were sent.",
    )


def _stream_field(rx: RxCollection, types: _Types) -> Any:
    async def resolver(self: Any, info: Info, headers: Any = None) -> AsyncGenerator[Any, None]:
        async with aclosing(_streamed(info, rx)) as events:
            async for event in events:
                yield event

    given: Any = Annotated[types.headers | None, strawberry.argument(description="Not looked at.")]
    bulk: Any = types.bulk
    resolver.__annotations__ = {"info": Info, "headers": given, "return": AsyncGenerator[bulk, None]}
    return strawberry.subscription(
        resolver=resolver,
        name=f"stream{rx.capital}",
        description=f"RxDB's stream of `{rx.name}`: what changed since the connection began, as it happens.",
    )


def _all_fields() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    queries: dict[str, Any] = {"__module__": __name__}
    mutations: dict[str, Any] = {"__module__": __name__}
    subscriptions: dict[str, Any] = {"__module__": __name__}
    for rx in RX_COLLECTIONS:
        types = _types(rx)
        queries[f"pull_{snake(rx.name)}"] = _pull_field(rx, types)
        subscriptions[f"stream_{snake(rx.name)}"] = _stream_field(rx, types)
        if rx.name in PUSHED:
            mutations[f"push_{snake(rx.name)}"] = _push_field(rx, types)
    return queries, mutations, subscriptions


_QUERIES, _MUTATIONS, _SUBSCRIPTIONS = _all_fields()
RxdbQueries: Any = strawberry.type(type("RxdbQueries", (), _QUERIES))
"""Every `pull…`."""
RxdbMutations: Any = strawberry.type(type("RxdbMutations", (), _MUTATIONS))
"""Every `push…`."""
RxdbSubscriptions: Any = strawberry.type(type("RxdbSubscriptions", (), _SUBSCRIPTIONS))
"""Every `stream…`."""
