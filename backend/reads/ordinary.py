"""The ordinary way: rows as records, field by field, relations in batches.

Selections with computed fields go this way, and tests compare the compiled answers with it. It is driven by
the same entity table and adds the same scope, but shares nothing of how values are written.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.domain.permissions import mask_text
from backend.reads.entities.entity import LIST_ROWS_MAX, Column, Embedded, Entity, Kind, Many, Relation
from backend.reads.entities.table import ENTITIES
from backend.reads.ordering import Ordered, behind, cursor_holds, settled
from backend.reads.scopes import Conditions, Scopes, fixed_conditions, personal_keys_sql, where_conditions
from backend.reads.selection import Form, Selection, Span, write_position
from backend.reads.sql import Parameter, Source, Sql, arguments_of, sql_of
from backend.storage.engine import Engine


class Record:
    """One row of an entity, or one of the objects embedded in it; `read` answers by attribute name."""

    def __init__(self, loader: "Loader", entity: Entity, values: dict[str, Any], part: Embedded | None = None) -> None:
        self._loader = loader
        self._entity = entity
        self._values = values
        self._part = part

    @property
    def typename(self) -> str:
        return self._part.typename if self._part else self._entity.typename

    @property
    def id(self) -> str:
        return str(self._values[self._entity.id_column])

    def read(self, attribute: str) -> Any:
        """The value of a column or embedded object, masked where the role reads it masked."""
        if self._part is not None:
            return self._value(next(c for c in self._part.columns if c.attribute == attribute))
        found = self._entity.by_attribute[attribute]
        if isinstance(found, Embedded):
            absent = any(self._values[name] is None for name in found.unless_null)
            return None if absent else Record(self._loader, self._entity, self._values, found)
        assert isinstance(found, Column), f"{attribute} is a relation: ask for it with `related`"
        return self._value(found)

    def _value(self, column: Column) -> Any:
        value = self._values[column.name if column.expression else column.column]
        if value is None:
            return None
        if column.personal and self._loader.principal.masked and self._is_personal(column):
            return mask_text(value) if column.kind is Kind.TEXT else None
        match column.kind:
            case Kind.BOOL:
                return bool(value)
            case Kind.JSON if column.custom_of is not None:
                hidden = self._loader.hidden_keys.get(column.custom_of, frozenset())
                return {key: held for key, held in orjson.loads(value).items() if key not in hidden}
            case Kind.JSON | Kind.TEXTS:
                return orjson.loads(value)
            case _:
                return value

    def _is_personal(self, column: Column) -> bool:
        if column.personal_where is None or column.kind is not Kind.TEXT:
            return True
        name, value = column.personal_where
        return bool(self._values[name] == value)

    def relation(self, name: str) -> Relation:
        found = self._entity.by_name[name]
        assert isinstance(found, Relation), f"{name} is no relation"
        return found

    def related(self, name: str, span: Span | None = None) -> Any:
        """The rows a relation leads to, awaitable. The wish is noted at once, so that siblings share it."""
        relation = self.relation(name)
        key = self._values[relation.ours]
        return self._loader.related(self._entity, relation, key, span)


@dataclass(frozen=True)
class RecordEdge:
    cursor: str
    node: Record


@dataclass(frozen=True)
class RecordPageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class RecordPage:
    """A connection: the records of a span, found in the order of the walk with one more when there is."""

    def __init__(
        self,
        found: Sequence[tuple[Record, str]],
        span: Span,
        count: Callable[[], Any],
        listed: str = "nodes",
    ) -> None:
        kept = list(found[: span.rows])
        self._kept = kept[::-1] if span.backward else kept
        self._more = len(found) > span.rows
        self._span = span
        self._count = count
        self.listed = listed

    @cached_property
    def nodes(self) -> list[Record]:
        return [record for record, _ in self._kept]

    @cached_property
    def edges(self) -> list[RecordEdge]:
        return [RecordEdge(cursor, record) for record, cursor in self._kept]

    @property
    def page_info(self) -> RecordPageInfo:
        came_from = self._span.position is not None
        return RecordPageInfo(
            has_next_page=came_from if self._span.backward else self._more,
            has_previous_page=self._more if self._span.backward else came_from,
            start_cursor=self._kept[0][1] if self._kept else None,
            end_cursor=self._kept[-1][1] if self._kept else None,
        )

    @property
    def total_count(self) -> Any:
        return self._count()


class Loader:
    """Reads records for one request. Wishes of one turn of the event loop become one statement."""

    def __init__(self, engine: Engine, principal: Principal, now_ms: int, counted: Callable[[], None]) -> None:
        self.principal = principal
        self._engine = engine
        self._now_ms = now_ms
        self._counted = counted
        self._waiting: dict[Any, dict[Any, asyncio.Future[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.hidden_keys: dict[str, frozenset[str]] = {}
        """Collection → keys of its custom fields that this principal does not read."""

    async def read(self, selection: Selection, span: Span) -> Any:
        """A record or None, a list of records, or a page, as the selection's form says."""
        entity = ENTITIES[selection.entity]
        scopes = Scopes(self.principal)

        def conditions(alias: str) -> Iterator[Sql]:
            return where_conditions(scopes, entity, selection, self._engine.dialect, alias)

        if selection.form in (Form.ONE, Form.EACH):
            alias = scopes.alias("t")
            sql = sql_of("SELECT ", _columns(scopes, entity, alias), scopes.rows_of(entity, alias, conditions(alias)))
            rows = await self._rows(entity, sql, selection=selection)
            found = [record for record, _, _ in rows]
            if selection.form is Form.EACH:
                return {record.id: record for record in found}
            return found[0] if found else None
        ordered = settled(entity, selection.order, selection.descending)
        rows = await self._rows(
            entity, _walk(scopes, entity, conditions, ordered, span), selection=selection, span=span
        )
        if selection.form is Form.LIST:
            return [record for record, _, _ in rows[: span.rows]]

        async def count() -> int:
            alias = scopes.alias("t")
            counting = sql_of("SELECT count(*)", scopes.rows_of(entity, alias, conditions(alias)))
            return int((await self._fetch(counting, selection=selection))[0][0])

        return RecordPage(self._with_cursors(ordered, rows), span, count, entity.listed)

    def related(self, entity: Entity, relation: Relation, key: Any, span: Span | None) -> Any:
        """What hangs on `key`: a record or None, a list, or a page of them."""

        async def load(keys: list[Any]) -> dict[Any, Any]:
            return await self._load(relation, keys, span)

        return self.soon((entity.name, relation.name, span), key, load)

    def _count(self, relation: Relation, key: Any) -> Any:
        async def load(keys: list[Any]) -> dict[Any, Any]:
            target, scopes = ENTITIES[relation.entity], Scopes(self.principal)
            alias = scopes.alias("t")
            sql = sql_of(
                f'SELECT {alias}."{relation.theirs}", count(*)',
                scopes.rows_of(target, alias, self._joined(scopes, relation, alias)),
                f' GROUP BY {alias}."{relation.theirs}"',
            )
            counts = {found: int(number) for found, number in await self._fetch(sql, given=[keys])}
            return {key: counts.get(key, 0) for key in keys}

        return self.soon(("count", relation), key, load)

    def soon(self, what: Any, key: Any, load: Callable[[list[Any]], Any]) -> Any:
        """What `load` finds for `key` (None where it finds nothing), asked for together with its siblings' keys."""
        loop = asyncio.get_running_loop()
        batch = self._waiting.get(what)
        if batch is None:
            batch = self._waiting[what] = {}

            async def answer() -> None:
                wishes = self._waiting.pop(what)
                try:
                    keys = [key for key in wishes if key is not None]
                    found = await load(keys) if keys else {}
                except Exception as error:  # noqa: BLE001 - handed to everyone who waits
                    for future in wishes.values():
                        # whoever was cancelled meanwhile, as a sibling of what failed is, waits no more
                        if not future.done():
                            future.set_exception(error)
                    return
                for key, future in wishes.items():
                    if not future.done():
                        future.set_result(found.get(key))

            task = loop.create_task(answer())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if key not in batch:
            batch[key] = loop.create_future()
        return batch[key]

    async def _load(self, relation: Relation, keys: list[Any], span: Span | None) -> dict[Any, Any]:
        target, scopes = ENTITIES[relation.entity], Scopes(self.principal)

        def conditions(alias: str) -> Iterator[Sql]:
            return self._joined(scopes, relation, alias)

        if relation.many is Many.ONE:
            alias = scopes.alias("t")
            sql = sql_of(
                "SELECT ",
                _columns(scopes, target, alias),
                f', {alias}."{relation.theirs}" AS hangs_on',
                scopes.rows_of(target, alias, conditions(alias)),
            )
            return {extra[0]: record for record, _, extra in await self._rows(target, sql, given=[keys])}
        most = {Many.FIRST: 1, Many.LIST: LIST_ROWS_MAX}.get(relation.many)
        walked = span if span is not None else Span(most or 0)
        ordered = settled(target, relation.order, None)
        sql = _walk(scopes, target, conditions, ordered, walked, hangs_on=relation.theirs)
        rows = await self._rows(target, sql, span=walked, given=[keys])
        by_key: dict[Any, list[Any]] = {key: [] for key in keys}
        for row in rows:
            by_key[row[2][0]].append(row)
        return {key: self._shaped(relation, key, found, ordered, walked) for key, found in by_key.items()}

    def _shaped(self, relation: Relation, key: Any, rows: list[Any], ordered: Ordered, span: Span) -> Any:
        match relation.many:
            case Many.FIRST:
                return rows[0][0] if rows else None
            case Many.LIST:
                return [record for record, _, _ in rows[: span.rows]]
            case _:
                found = self._with_cursors(ordered, rows)
                return RecordPage(found, span, lambda: self._count(relation, key))

    def _joined(self, scopes: Scopes, relation: Relation, alias: str) -> Iterator[Sql]:
        yield Sql(f'{alias}."{relation.theirs}" = ANY(?)', (Parameter(Source.GIVEN),))
        yield from fixed_conditions(scopes, relation, self._engine.dialect, alias)

    def _with_cursors(self, ordered: Ordered, rows: Sequence[Any]) -> list[tuple[Record, str]]:
        held = cursor_holds(ordered.order, self.principal)
        return [
            (record, write_position(ordered.name, (*([sort_by] if held else []), record.id)))
            for record, sort_by, _ in rows
        ]

    async def _rows(
        self,
        entity: Entity,
        sql: Sql,
        *,
        selection: Selection | None = None,
        span: Span | None = None,
        given: Sequence[Any] = (),
    ) -> list[tuple[Record, Any, tuple[Any, ...]]]:
        """(record, sort key, what else was selected) of each row."""
        names = _names(entity)
        await self._hide(entity)
        rows = await self._fetch(sql, selection=selection, span=span, given=given)
        found = []
        for row in rows:
            extra = tuple(row[len(names) :])
            record = Record(self, entity, dict(zip(names, row, strict=False)))
            found.append((record, extra[-1] if extra else None, extra))
        return found

    async def _hide(self, entity: Entity) -> None:
        """Learn which custom fields a masked role does not read, before the first record that may hold them."""
        for column in entity.columns:
            name = column.custom_of
            if name is not None and self.principal.masked and name not in self.hidden_keys:
                self.hidden_keys[name] = frozenset(row[0] for row in await self._fetch(Sql(personal_keys_sql(name))))

    async def _fetch(
        self,
        sql: Sql,
        *,
        selection: Selection | None = None,
        span: Span | None = None,
        given: Sequence[Any] = (),
    ) -> list[Any]:
        where = selection.where if selection else ()
        arguments = arguments_of(sql.parameters, self.principal, self._now_ms, where, [span] if span else [], given)
        self._counted()
        return await self._engine.fetch(sql.text, *arguments)


def _names(entity: Entity) -> list[str]:
    """Names of the values of a record: every column any field or relation needs, then the expressions."""
    stored = {column.column: None for column in entity.columns if column.expression is None}
    stored |= {entity.id_column: None}
    stored |= {column.personal_where[0]: None for column in entity.columns if column.personal_where}
    stored |= {relation.ours: None for relation in entity.relations}
    stored |= {name: None for found in entity.fields if isinstance(found, Embedded) for name in found.unless_null}
    return [*stored, *(column.name for column in entity.columns if column.expression)]


def _columns(scopes: Scopes, entity: Entity, alias: str) -> Sql:
    expressions = {
        column.name: scopes.filled(column.expression, alias) for column in entity.columns if column.expression
    }
    return sql_of(
        *(sql_of(expressions.get(name, f'{alias}."{name}"'), f' AS "{name}"') for name in _names(entity)),
        by=", ",
    )


def _walk(
    scopes: Scopes,
    entity: Entity,
    conditions: Conditions,
    ordered: Ordered,
    span: Span,
    *,
    hangs_on: str | None = None,
) -> Sql:
    """The rows of a span in the order they are walked, and one more; per value of `hangs_on` when given."""
    alias = scopes.alias("t")
    key = ordered.order.key.sql.replace("{a}", alias)
    way = "DESC" if ordered.descending != span.backward else "ASC"
    by = f'{key} {way}, {alias}."{entity.id_column}" {way}'
    over = f'PARTITION BY {alias}."{hangs_on}" ' if hangs_on else ""
    own = f'{alias}."{hangs_on}" AS hangs_on, ' if hangs_on else ""

    def beyond() -> Iterator[Sql]:
        yield from conditions(alias)
        yield from behind(entity, ordered, span.shape, 0, alias)

    return sql_of(
        f"SELECT {', '.join(f'x.{_quoted(name)}' for name in _names(entity))}, ",
        "x.hangs_on, " if hangs_on else "",
        "x.sort_by FROM (SELECT ",
        _columns(scopes, entity, alias),
        f", {own}{key} AS sort_by, ",
        f"row_number() OVER ({over}ORDER BY {by}) AS walked",
        scopes.rows_of(entity, alias, beyond(), join=scopes.join_sql(entity, ordered.order, alias)),
        ") x WHERE x.walked <= ?::bigint ORDER BY x.walked",
        Sql("", (Parameter(Source.ROWS_AND_ONE),)),
    )


def _quoted(name: str) -> str:
    return f'"{name}"'
