"""From a selection and the fields asked of it to one SQL statement that prints the finished answer.

Every row of every entity is read through `Scopes.rows_of`, which adds the scope predicate: there is no
other way to name an entity's table. Statements hold no values, so one plan serves every request of its shape.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import chain
from typing import Any, NamedTuple

from backend.auth.principal import Principal
from backend.domain.permissions import Action, Reach, reach
from backend.reads.entities import (
    ENTITIES,
    LIST_ROWS_MAX,
    Beside,
    Column,
    Embedded,
    Entity,
    Filter,
    Kind,
    Many,
    Order,
    Relation,
    readable,
)
from backend.reads.printing import PRINTERS, joined, literal, masked
from backend.reads.selection import TYPENAME, Asked, Form, Selection, SortKind, Span, usual
from backend.storage.dialects import Dialect
from backend.storage.visibility import (
    held_sql,
    parted_by_territory,
    territory_parts,
    visible_ids_sql,
    visible_sql,
)


class Source(Enum):
    """Where the value of a `?` comes from when a plan is run."""

    USER = auto()
    NOW = auto()
    WHERE = auto()
    """value `part` of the selection's filter `slot`"""
    ROWS = auto()
    """how many rows span `slot` asks for"""
    ROWS_AND_ONE = auto()
    """one more, to know whether there are more"""
    POSITION = auto()
    """value `part` of the cursor of span `slot`"""
    GIVEN = auto()
    """value `part` of those handed over beside the selection"""


class Parameter(NamedTuple):
    source: Source
    slot: int = 0
    part: int = 0


_USER = Parameter(Source.USER)
_NOW = Parameter(Source.NOW)


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of a statement with the parameters of its `?`, in order.

    JSON text put together keeps its `pieces`, so that it stands without brackets in what it is put into.
    """

    text: str
    parameters: tuple[Parameter, ...] = ()
    pieces: "tuple[str | Sql, ...]" = ()


def sql_of(*parts: str | Sql, by: str = "") -> Sql:
    """The pieces one after the other."""
    texts: list[str] = []
    parameters: list[Parameter] = []
    for part in parts:
        if isinstance(part, Sql):
            texts.append(part.text)
            parameters.extend(part.parameters)
        else:
            texts.append(part)
    return Sql(by.join(texts), tuple(parameters))


def _printed(parts: Sequence[str | Sql]) -> Sql:
    """JSON text out of its pieces; a plain `str` is text as it stands, an `Sql` an expression."""
    merged: list[str | Sql] = []
    for part in _flat(parts):
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    texts = [literal(part) if isinstance(part, str) else part.text for part in merged]
    parameters = [p for part in merged if isinstance(part, Sql) for p in part.parameters]
    return Sql(joined(texts), tuple(parameters), tuple(merged))


def _flat(parts: Sequence[str | Sql]) -> Iterator[str | Sql]:
    for part in parts:
        if isinstance(part, Sql) and part.pieces:
            yield from part.pieces
        else:
            yield part


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement, where its parameters come from, and whatever the caller wants to keep beside it."""

    sql: str
    parameters: tuple[Parameter, ...]
    note: Any = None
    sizes: tuple[int | None, ...] = ()
    """Rows by slot where they stand in the statement: `usual` of the spans it was made for."""
    steady: bool = False
    """Which plan of the database's is best does not hang on the values."""

    def fits(self, spans: Sequence[Span]) -> bool:
        """Whether the statement asks for as many rows as these spans do."""
        return self.sizes == sizes_of(spans)

    def arguments(self, principal: Principal, now_ms: int, selection: Selection, spans: Sequence[Span]) -> list[Any]:
        """The values of one run, in the order of the statement's `?`."""
        return arguments_of(self.parameters, principal, now_ms, selection.where, spans)


def sizes_of(spans: Sequence[Span]) -> tuple[int | None, ...]:
    return tuple([usual(span.rows) for span in spans])


Where = tuple[tuple[str, tuple[Any, ...]], ...]


def arguments_of(
    parameters: Sequence[Parameter],
    principal: Principal,
    now_ms: int,
    where: Where = (),
    spans: Sequence[Span] = (),
    given: Sequence[Any] = (),
) -> list[Any]:
    """The value of each parameter."""
    holder = principal.holder
    values: list[Any] = []
    for source, slot, part in parameters:
        match source:
            case Source.USER:
                values.append(holder)
            case Source.NOW:
                values.append(now_ms)
            case Source.WHERE:
                values.append(where[slot][1][part])
            case Source.ROWS:
                values.append(spans[slot].rows)
            case Source.ROWS_AND_ONE:
                values.append(spans[slot].rows + 1)
            case Source.POSITION:
                position = spans[slot].position
                assert position is not None, "a plan is used for the shape it was made for"
                values.append(position[part])
            case Source.GIVEN:
                values.append(given[part])
    return values


class Plans:
    """Plans of a process by key; the least recently used leave."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()

    def get(self, key: Hashable) -> Plan | None:
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
        return plan

    def keep(self, key: Hashable, plan: Plan) -> None:
        self._plans[key] = plan
        while len(self._plans) > self._entries_max:
            self._plans.popitem(last=False)

    def __len__(self) -> int:
        return len(self._plans)


def scope_class(principal: Principal) -> Hashable:
    """What of a principal changes a statement: not whose rows, only which kinds and with which masks."""
    return principal.kind, principal.role, principal.rights


Conditions = Callable[[str], Iterator[Sql]]
"""Given the alias of an entity's row: what must hold of it beside its scope."""


def compile_selection(
    selection: Selection,
    asked: Sequence[Asked],
    spans: Sequence[Span],
    principal: Principal,
    dialect: Dialect,
    note: Any = None,
) -> Plan | None:
    """The statement that answers `asked` about a selection: one row with the bytes, or no row for null.

    None where the document is nested deeper than the database reads statements.
    """
    for walks_parts in (True, False):
        sql = _Compiler(principal, dialect, spans, walks_parts=walks_parts).statement(selection, asked)
        if PRINTERS[dialect].can_run(sql.text):
            sizes = sizes_of(spans)
            return Plan(sql.text, sql.parameters, note, sizes, _is_steady(selection, sizes, sql.parameters))
    return None


_NAMED = frozenset({"id", "ids"})


def _is_steady(selection: Selection, sizes: Sequence[int | None], parameters: Sequence[Parameter]) -> bool:
    """True where no value says how many rows there are: records are named, or as many are asked for as is written."""
    if any(name not in _NAMED for name, _ in selection.where):
        return False
    counted = sizes if selection.form in (Form.LIST, Form.PAGE) else sizes[1:]
    return None not in counted and not any(parameter.source is Source.POSITION for parameter in parameters)


@dataclass
class _Row:
    """An alias, and the columns taken from it."""

    alias: str
    used: dict[str, None] = field(default_factory=dict)

    def column(self, name: str) -> str:
        self.used[name] = None
        return f'{self.alias}."{name}"'


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order with its direction settled."""

    name: str
    order: Order
    descending: bool


class Scopes:
    """The scope predicate of any entity for one principal, with fresh aliases for what it joins."""

    def __init__(self, principal: Principal, *, held: str | None = None) -> None:
        """`held` names what begins the statement and says what the principal holds; see `visible_sql`."""
        self.principal = principal
        self._aliases = 0
        self._held = held
        self._held_for: dict[str, None] = {}
        """The collections whose predicates look there."""

    def alias(self, letter: str) -> str:
        self._aliases += 1
        return f"{letter}{self._aliases}"

    def scope(self, entity: Entity, alias: str, *, at_once: bool = False) -> Sql:
        """What makes the row `alias` visible; false for what the role may not read at all.

        `at_once`: by the ids of all that is visible, rather than by looking at each row.
        """
        if not readable(self.principal, entity):
            return Sql("1 = 0")
        if entity.sees is not None:
            seen = entity.sees(self.principal)
            assert seen is not None, "not readable otherwise"
            return sql_of("(", self.filled(seen, alias), ")")
        if entity.unplaced:
            return Sql("1 = 1")
        if entity.part_of is None:
            if at_once:
                ids, asks = visible_ids_sql(entity.name, reads=self._reads)
                return Sql(f'{alias}."{entity.id_column}" IN ({ids})', (_USER,) * asks)
            if self._held is not None:
                self._held_for[entity.name] = None
            text, asks = visible_sql(
                entity.name, alias, reads=self._reads, record_column=entity.id_column, held=self._held
            )
            return Sql(text, (_USER,) * asks)
        name, own, theirs = entity.part_of
        parent, above = ENTITIES[name], self.alias("w")
        return sql_of(
            f'EXISTS (SELECT 1 FROM {parent.table} {above} WHERE {above}."{theirs}" = {alias}."{own}" AND ',
            self.scope(parent, above),
            ")",
        )

    def _reads(self, name: str) -> bool:
        return readable(self.principal, ENTITIES[name])

    def rows_of(
        self,
        entity: Entity,
        alias: str,
        conditions: Iterator[Sql],
        *,
        join: Sql | None = None,
        scoped_already: bool = False,
        at_once: bool = False,
    ) -> Sql:
        """FROM and WHERE of an entity's rows, always within scope.

        `scoped_already`: the rows are parts of a row whose scope stands in the same statement.
        """
        scope = [] if scoped_already else [self.scope(entity, alias, at_once=at_once)]
        return sql_of(
            f" FROM {entity.table} {alias} ",
            join or Sql(""),
            " WHERE ",
            sql_of(*conditions, *scope, by=" AND "),
        )

    def filled(self, template: str, alias: str, values: Sequence[Parameter] = ()) -> Sql:
        """A template with its alias, the moment, who asks and the scopes of further tables put in."""
        waiting = iter(values)
        pieces: list[str | Sql] = []
        for piece in _PLACEHOLDER.split(template.replace("{a}", alias)):
            if piece == "{now}":
                pieces.append(Sql("?::bigint", (_NOW,)))
            elif piece == "{user}":
                pieces.append(Sql("?", (_USER,)))
            elif piece.startswith("{scope "):
                _, name, further = piece[1:-1].split()
                pieces.append(self.scope(ENTITIES[name], further))
            elif piece == "?":
                pieces.append(Sql("?", (next(waiting),)))
            else:
                pieces.append(piece)
        return sql_of(*pieces)

    def filter_sql(self, declared: Filter, alias: str, dialect: Dialect, values: Sequence[Parameter]) -> Sql:
        template = declared.sqlite if dialect is Dialect.SQLITE and declared.sqlite else declared.sql
        return self.filled(template, alias, values)

    def join_sql(self, entity: Entity, order: Order, alias: str) -> Sql:
        """What brings in the table of a key that does not stand in the row itself."""
        return sql_of("LEFT ", self.beside_sql(entity, order.beside, alias)) if order.beside else Sql("")

    def beside_sql(self, entity: Entity, beside: Beside, alias: str, *, is_walked: bool = False) -> Sql:
        """`is_walked`: SQLite is to read it by its key; it would rather find all that is in scope, and sort that."""
        on = f'{alias}s."{beside.own}" = {alias}."{entity.id_column}"'
        seen = f"{{scope {beside.entity} {'+' if is_walked else ''}{alias}s}}"
        return self.filled(f"JOIN {beside.table} {alias}s ON {on} AND {seen}", alias)


_PLACEHOLDER = re.compile(r"(\?|\{now\}|\{user\}|\{scope \w+ \+?\w+\})")


def settled(entity: Entity, name: str | None, descending: bool | None) -> Ordered:
    """The order asked for, or the entity's first; in the direction asked for, or the order's own."""
    order = entity.orders[name or entity.first_order]
    return Ordered(name or entity.first_order, order, order.descending if descending is None else descending)


def cursor_holds(order: Order, principal: Principal) -> tuple[SortKind, ...]:
    """The kinds of sort keys a cursor carries: none of a personal key for a masked role."""
    return () if order.key.personal and principal.masked else (order.key.kind,)


def where_conditions(
    scopes: Scopes, entity: Entity, selection: Selection, dialect: Dialect, alias: str
) -> Iterator[Sql]:
    """The selection's filters over the row `alias`; what a masked role may not compare finds nothing."""
    for slot, (name, values) in enumerate(selection.where):
        declared = entity.filters[name]
        if declared.personal and scopes.principal.masked:
            yield Sql("1 = 0")
            continue
        parameters = [Parameter(Source.WHERE, slot, index) for index in range(len(values))]
        if declared.repeats:
            for parameter in parameters:
                yield scopes.filter_sql(declared, alias, dialect, [parameter])
        else:
            yield scopes.filter_sql(declared, alias, dialect, parameters)


def fixed_conditions(scopes: Scopes, relation: Relation, dialect: Dialect, alias: str) -> Iterator[Sql]:
    """The filters a relation always has."""
    for name in relation.where:
        yield scopes.filter_sql(ENTITIES[relation.entity].filters[name], alias, dialect, ())


def behind(entity: Entity, ordered: Ordered, shape: tuple[bool, int], slot: int, alias: str) -> Iterator[Sql]:
    """What holds of rows beyond the cursor of a span; nothing without one."""
    backward, held = shape
    if not held:
        return
    sign = "<" if ordered.descending != backward else ">"
    key = ordered.order.key.sql.replace("{a}", alias)
    here = f'({key}, {alias}."{entity.id_column}")'
    values = [Parameter(Source.POSITION, slot, index) for index in range(held)]
    if held == 2:
        kind = ordered.order.key.kind.value
        yield Sql(f"{here} {sign} (?::{kind}, ?::text)", tuple(values))
        return
    # the cursor names a record only: its key is looked up, and where it is gone the list starts again
    its_key = ordered.order.key.sql.replace("{a}", f"{alias}c")
    its_row = f'FROM {entity.table} {alias}c WHERE {alias}c."{entity.id_column}" = ?::text'
    yield Sql(
        f"(NOT EXISTS (SELECT 1 {its_row}) OR {here} {sign} ((SELECT {its_key} {its_row}), ?::text))",
        (values[0],) * 3,
    )


def personal_keys_sql(collection: str) -> str:
    """The keys of a collection's custom fields that are personal."""
    return f"SELECT c.key FROM custom_field c WHERE c.collection = '{collection}' AND c.personal"


def holds_few(principal: Principal, entity: Entity) -> bool:
    """True where a whole scope is read faster than an ordered list is walked until a page is full."""
    if principal.role is None or entity.right is None:
        return False
    return reach(principal.role, Action.READ, entity.right) is Reach.OWN


@dataclass(frozen=True, slots=True)
class _Scoping:
    """How the rows of a list are scoped. `part`: they are parts of a row in scope."""

    part: bool = False
    at_once: bool = False
    count_at_once: bool = False


_ABOVE_IDS = "g"
"""Sorts behind every id, which is hexadecimal."""


def _taken(outer: _Row, alias: str, key: str | None) -> str:
    """The columns `outer` uses of the row `alias`, and its sort key."""
    taken = [f'{alias}."{name}" AS "{name}"' for name in outer.used]
    return ", ".join([*taken, f"{key} AS sort_by"] if key is not None else taken) or "1 AS one"


_OWN_COLUMN = re.compile(r"\{a\}\.(\w+)")
_HERE = "\x00"
"""Stands for a value until it is put in."""


class _Compiler(Scopes):
    def __init__(self, principal: Principal, dialect: Dialect, spans: Sequence[Span], *, walks_parts: bool) -> None:
        """`walks_parts`: what is faster and nests deeper, of which SQLite reads only so much."""
        asked_once = dialect is Dialect.POSTGRES and holds_few(principal, ENTITIES["customers"])
        super().__init__(principal, held="held" if asked_once else None)
        self._may_walk_parts = walks_parts
        self._dialect = dialect
        self._printer = PRINTERS[dialect]
        self._shapes = [span.shape for span in spans]
        self._sizes = sizes_of(spans)
        """What stands in the statement itself, by slot; None where it is a value."""

    def statement(self, selection: Selection, asked: Sequence[Asked]) -> Sql:
        answer = self._answer(selection, asked)
        if not self._held_for:
            return answer
        return sql_of(Sql(f"WITH {self._held} AS MATERIALIZED ({held_sql(self._held_for)}) ", (_USER,)), answer)

    def _answer(self, selection: Selection, asked: Sequence[Asked]) -> Sql:
        entity = ENTITIES[selection.entity]

        def conditions(alias: str) -> Iterator[Sql]:
            return where_conditions(self, entity, selection, self._dialect, alias)

        if selection.form in (Form.ONE, Form.EACH):
            row = _Row(self.alias("t"))
            answer = self._object(entity, row, asked)
            return sql_of(
                f'SELECT {row.alias}."{entity.id_column}", ' if selection.form is Form.EACH else "SELECT ",
                self._bytes(answer),
                self.rows_of(entity, row.alias, conditions(row.alias)),
            )
        ordered = settled(entity, selection.order, selection.descending)
        few = holds_few(self.principal, entity)
        scoping = _Scoping(at_once=few and entity.few, count_at_once=few)
        if selection.form is Form.PAGE:
            return sql_of("SELECT ", self._bytes(self._page(entity, asked, 0, conditions, ordered, scoping)))
        size = self._sizes[0]
        most = Sql("?", (Parameter(Source.ROWS, 0),)) if size is None else Sql(str(size))
        return sql_of("SELECT ", self._bytes(self._list(entity, asked, conditions, ordered, most, scoping, slot=0)))

    def _bytes(self, sql: Sql) -> Sql:
        return Sql(self._printer.as_bytes(sql.text), sql.parameters)

    def _object(self, entity: Entity, row: _Row, asked: Sequence[Asked]) -> Sql:
        return self._pairs((found, self._field(entity, row, found)) for found in asked)

    def _pairs(self, pairs: Iterator[tuple[Asked, str | Sql]]) -> Sql:
        parts: list[str | Sql] = []
        for found, value in pairs:
            parts += ["," if parts else "{", f'"{found.key}":', value]
        return _printed([*parts, "}"] if parts else ["{}"])

    def _field(self, entity: Entity, row: _Row, asked: Asked) -> str | Sql:
        if asked.name == TYPENAME:
            return f'"{entity.typename}"'
        match entity.by_name[asked.name]:
            case Column() as column:
                return self._column(entity, row, column)
            case Embedded() as embedded:
                return self._embedded(entity, row, embedded, asked.fields)
            case Relation() as relation:
                return self._relation(entity, row, relation, asked)

    def _column(self, entity: Entity, row: _Row, column: Column) -> str | Sql:
        if column.expression is not None:
            return self._expression(entity, row, column)
        nullable = entity.nullable(column.column)
        if column.custom_of is not None and self.principal.masked:
            return Sql(self._printer.without_keys(row.column(column.column), personal_keys_sql(column.custom_of)))
        if not (column.personal and self.principal.masked):
            return Sql(self._printer.value(row.column(column.column), column.kind, nullable))
        if column.kind is not Kind.TEXT:
            return "null"
        plain, shown = row.column(column.column), masked(row.column(column.column))
        if column.personal_where is not None:
            name, value = column.personal_where
            shown = f"CASE WHEN {row.column(name)} = {literal(value)} THEN {shown} ELSE {plain} END"
        return Sql(self._printer.value(shown, column.kind, nullable))

    def _expression(self, entity: Entity, row: _Row, column: Column) -> Sql:
        assert column.expression is not None
        for name in (column.column, *_OWN_COLUMN.findall(column.expression)):
            row.column(name)
        value = self.filled(column.expression, row.alias)
        around = self._printer.value(_HERE, column.kind, column.may_be_null).split(_HERE)
        pieces: list[str | Sql] = [around[0]]
        for after in around[1:]:
            pieces += [value, after]
        return sql_of(*pieces)

    def _embedded(self, entity: Entity, row: _Row, embedded: Embedded, asked: Sequence[Asked]) -> str | Sql:
        by_name = {column.name: column for column in embedded.columns}
        answer = self._pairs(
            (
                found,
                f'"{embedded.typename}"' if found.name == TYPENAME else self._column(entity, row, by_name[found.name]),
            )
            for found in asked
        )
        absent = [f"{row.column(name)} IS NULL" for name in embedded.unless_null if entity.nullable(name)]
        if not absent:
            return answer
        return sql_of(f"CASE WHEN {' OR '.join(absent)} THEN 'null' ELSE ", answer, " END")

    def _relation(self, entity: Entity, row: _Row, relation: Relation, asked: Asked) -> Sql:
        target = ENTITIES[relation.entity]
        ours = row.column(relation.ours)
        part = target.part_of == (entity.name, relation.theirs, relation.ours)

        def conditions(alias: str) -> Iterator[Sql]:
            yield Sql(f'{alias}."{relation.theirs}" = {ours}')
            yield from fixed_conditions(self, relation, self._dialect, alias)

        if relation.many is Many.ONE:
            inner = _Row(self.alias("t"))
            answer = self._object(target, inner, asked.fields)
            rows = self.rows_of(target, inner.alias, conditions(inner.alias), scoped_already=part)
            return sql_of("coalesce((SELECT ", answer, rows, "), 'null')")
        ordered = settled(target, relation.order, None)
        if relation.many is Many.FIRST:
            inner = _Row(self.alias("r"))
            answer = self._object(target, inner, asked.fields)
            picked = self._picked(target, inner, conditions, ordered, Sql("1"), _Scoping(part))
            return sql_of("coalesce((SELECT ", answer, " FROM (", picked, f") {inner.alias}), 'null')")
        if relation.many is Many.LIST:
            most = Sql(str(LIST_ROWS_MAX))
            return self._list(target, asked.fields, conditions, ordered, most, _Scoping(part))
        return self._page(target, asked.fields, asked.slot, conditions, ordered, _Scoping(part))

    def _picked(
        self,
        entity: Entity,
        outer: _Row,
        conditions: Conditions,
        ordered: Ordered,
        most: Sql,
        scoping: _Scoping,
        *,
        slot: int | None = None,
        with_key: bool = False,
    ) -> Sql:
        """The columns `outer` uses of the rows asked for, in order. What is printed comes after the limit.

        `with_key`: with the key as `sort_by`, by which the caller puts them in order himself.
        """
        shape = (False, 0) if slot is None else self._shapes[slot]
        beside = ordered.order.beside
        if beside and with_key and shape[1] in (0, 2) and not scoping.part:
            by_parts = scoping.at_once and self._walks_parts(beside)
            if by_parts or not scoping.at_once:
                return self._picked_beside(entity, outer, conditions, ordered, most, beside, slot or 0, by_parts)
        alias = self.alias("t")

        def all_of_it() -> Iterator[Sql]:
            yield from conditions(alias)
            yield from behind(entity, ordered, shape, slot or 0, alias)

        key = ordered.order.key.sql.replace("{a}", alias)
        way = "DESC" if ordered.descending != shape[0] else "ASC"
        return sql_of(
            f"SELECT {_taken(outer, alias, key if with_key else None)}",
            self.rows_of(
                entity,
                alias,
                all_of_it(),
                join=self.join_sql(entity, ordered.order, alias),
                scoped_already=scoping.part,
                at_once=scoping.at_once,
            ),
            f' ORDER BY {key} {way}, {alias}."{entity.id_column}" {way} LIMIT ',
            most,
        )

    def _walks_parts(self, beside: Beside) -> bool:
        """True where the key's table can be walked territory by territory."""
        entity = ENTITIES[beside.entity]
        return (
            self._may_walk_parts
            and entity.table == beside.table
            and entity.sees is None
            and not entity.unplaced
            and entity.part_of is None
            and readable(self.principal, entity)
            and parted_by_territory(entity.name, beside.table, beside.own)
        )

    def _picked_beside(
        self,
        entity: Entity,
        outer: _Row,
        conditions: Conditions,
        ordered: Ordered,
        most: Sql,
        beside: Beside,
        slot: int,
        by_parts: bool,
    ) -> Sql:
        """The same by a key of another table, walking that table's index and then the rows that have none in it.

        The join sorted as a whole costs as much as the table is long. What the first walk fills, the second does not
        begin: its limit is what is left. `by_parts`: each territory of the few that are held is walked by itself,
        and of what they give the first are taken.
        """
        backward, held = self._shapes[slot]
        down = ordered.descending != backward
        way, sign = ("DESC", "<") if down else ("ASC", ">")
        at = [Parameter(Source.POSITION, slot, index) for index in range(held)]

        def having() -> Sql:
            alias = self.alias("t")
            keys = f'{alias}s."{beside.column}"', f'{alias}s."{beside.own}"'

            def all_of_it() -> Iterator[Sql]:
                yield from conditions(alias)
                if at:
                    yield Sql(f"({', '.join(keys)}) {sign} (?::bigint, ?::text)", tuple(at))

            order = f" ORDER BY {keys[0]} {way}, {keys[1]} {way} LIMIT "
            if not by_parts:
                # a column with a sign is in no index
                join = self.beside_sql(entity, beside, alias, is_walked=self._dialect is Dialect.SQLITE)
                rows = self.rows_of(entity, alias, all_of_it(), join=join)
                return sql_of(f"SELECT {_taken(outer, alias, keys[0])}", rows, order)

            def joined_to(row: str) -> str:
                return f'JOIN {beside.table} {row}s ON {row}s."{beside.own}" = {row}."{entity.id_column}"'

            def part(condition: Sql, taken: str) -> Sql:
                rows = self.rows_of(entity, alias, chain((condition,), all_of_it()), join=Sql(joined_to(alias)))
                return sql_of(f"SELECT {taken}", rows, order, most)

            (held_keys, within), (_, without) = territory_parts(f"{alias}s")
            taken = _taken(outer, alias, keys[0])
            each, all_parts = self.alias("e"), self.alias("u")
            if self._dialect is Dialect.SQLITE:
                # it joins no parts that look at what stands before them; a list of ids may
                shown = _taken(outer, each, f'{each}s."{beside.column}"')
                ids = part(Sql(within), f'{alias}."{entity.id_column}"')
                held_parts = sql_of(
                    Sql(f"SELECT {shown} FROM {held_keys} CROSS JOIN {entity.table} {each} ", (_USER,)),
                    # in this order, or the list would be made anew for each row
                    f'CROSS {joined_to(each)} WHERE {each}."{entity.id_column}" IN (',
                    ids,
                    ")",
                )
            else:
                held_parts = sql_of(
                    Sql(f"SELECT {each}.* FROM {held_keys} CROSS JOIN LATERAL (", (_USER,)),
                    part(Sql(within), taken),
                    f") {each}",
                )
            return sql_of(
                "SELECT * FROM (",
                held_parts,
                " UNION ALL SELECT * FROM (",
                part(Sql(without, (_USER,)), taken),
                f") {all_parts}n) {all_parts}"
                f' ORDER BY {all_parts}.sort_by {way}, {all_parts}."{entity.id_column}" {way} LIMIT ',
            )

        def lacking() -> Sql:
            alias = self.alias("t")
            own = f'{alias}."{entity.id_column}"'
            none, every = ("''", f"'{_ABOVE_IDS}'") if down else (f"'{_ABOVE_IDS}'", "''")

            def all_of_it() -> Iterator[Sql]:
                yield from conditions(alias)
                further = f'{alias}s."{beside.own}" = {own} AND {{scope {beside.entity} {alias}s}}'
                yield self.filled(f"NOT EXISTS (SELECT 1 FROM {beside.table} {alias}s WHERE {further})", alias)
                if at:
                    # a range of ids, which an index serves, where a comparison of pairs would not
                    cases = f"WHEN {beside.absent} THEN ?::text ELSE CASE WHEN ?::bigint"
                    yield Sql(
                        f"{own} {sign} CASE ?::bigint {cases} {'>' if down else '<'} {beside.absent}"
                        f" THEN {every} ELSE {none} END END",
                        (at[0], at[1], at[0]),
                    )

            rows = self.rows_of(entity, alias, all_of_it(), at_once=by_parts)
            return sql_of(f"SELECT {_taken(outer, alias, str(beside.absent))}", rows, f" ORDER BY {own} {way} LIMIT ")

        first, second = (having(), lacking()) if down else (lacking(), having())
        walked, rest = self.alias("w"), self.alias("w")
        left = sql_of("(SELECT CAST(", most, f" AS BIGINT) - count(*) FROM {walked})")
        return sql_of(
            f"WITH {walked} AS MATERIALIZED (",
            sql_of(first, most),
            f") SELECT * FROM {walked} UNION ALL SELECT * FROM (",
            sql_of(second, left),
            f") {rest}",
        )

    def _list(
        self,
        entity: Entity,
        asked: Sequence[Asked],
        conditions: Conditions,
        ordered: Ordered,
        most: Sql,
        scoping: _Scoping,
        slot: int | None = None,
    ) -> Sql:
        row = _Row(self.alias("r"))
        answer = self._object(entity, row, asked)
        picked = self._picked(entity, row, conditions, ordered, most, scoping, slot=slot)
        outer = self.alias("j")
        return sql_of(
            f"(SELECT {self._printer.gathered(f'{outer}.j')} FROM (SELECT ",
            answer,
            " AS j FROM (",
            picked,
            f") {row.alias}) {outer})",
        )

    def _page(
        self,
        entity: Entity,
        asked: Sequence[Asked],
        slot: int,
        conditions: Conditions,
        ordered: Ordered,
        scoping: _Scoping,
    ) -> Sql:
        """A connection: pick one row more than asked, number them, print each, gather.

        Where nobody asks whether there are more, and the rows are walked in the order of the answer, neither the row
        nor the numbers are needed.
        """
        backward = self._shapes[slot][0]
        simple = not backward and all(found.name != "pageInfo" for found in asked)
        page = _Page(self, entity, slot, ordered, self._shapes[slot], numbered=not simple)
        answer = self._pairs((found, page.field(found, conditions, scoping)) for found in asked)
        if not page.reads_rows:
            return answer

        size = self._sizes[slot]
        if size is None:
            most = Sql("?", (Parameter(Source.ROWS if simple else Source.ROWS_AND_ONE, slot),))
        else:
            most = Sql(str(size if simple else size + 1))
        picked = self._picked(entity, page.row, conditions, ordered, most, scoping, slot=slot, with_key=True)
        way = "DESC" if ordered.descending != backward else "ASC"
        row, numbered = page.row.alias, self.alias("n")
        in_order = f'ORDER BY {numbered}.sort_by {way}, {numbered}."{entity.id_column}" {way}'
        if simple:
            # what was walked in two parts stands in no order yet
            settled_rows = (
                sql_of("SELECT * FROM (", picked, f") {numbered} {in_order}") if ordered.order.beside else picked
            )
            printed = sql_of(*page.printed, by=", ")
            return sql_of(
                "(SELECT ", answer, " FROM (SELECT ", printed, " FROM (", settled_rows, f") {row}) {page.alias})"
            )
        number = f"row_number() OVER ({in_order})"
        return sql_of(
            "(SELECT ",
            answer,
            " FROM (SELECT ",
            sql_of(f"{row}.n AS n, {row}.total AS total", *page.printed, by=", "),
            f" FROM (SELECT {numbered}.*, {number} AS n, count(*) OVER () AS total FROM (",
            picked,
            f") {numbered}) {row} ORDER BY {row}.n {'DESC' if backward else 'ASC'}) {page.alias})",
        )


class _Page:
    """What the fields of a connection need of its rows."""

    def __init__(
        self,
        compiler: _Compiler,
        entity: Entity,
        slot: int,
        ordered: Ordered,
        shape: tuple[bool, int],
        *,
        numbered: bool,
    ) -> None:
        self._numbered = numbered
        self._compiler = compiler
        self._entity = entity
        self._slot = slot
        self._ordered = ordered
        self._backward, self._held = shape
        self.row = _Row(compiler.alias("r"))
        self.row.column(entity.id_column)
        self.alias = compiler.alias("g")
        self.printed: list[Sql] = []
        self.reads_rows = False

    def field(self, asked: Asked, conditions: Conditions, scoping: _Scoping) -> str | Sql:
        name = "nodes" if asked.name == self._entity.listed else asked.name
        match name:
            case "totalCount":
                return self._total(conditions, scoping)
            case "nodes":
                node = self._compiler._object(self._entity, self.row, asked.fields)
                return self._gathered(node)
            case "edges":
                pairs = ((found, self._edge_field(found)) for found in asked.fields)
                return self._gathered(self._compiler._pairs(pairs))
            case "pageInfo":
                pairs = ((found, self._info_field(found)) for found in asked.fields)
                return self._compiler._pairs(pairs)
            case _:
                return f'"{self._entity.page_typename}"'

    def _total(self, conditions: Conditions, scoping: _Scoping) -> Sql:
        alias = self._compiler.alias("t")
        rows = self._compiler.rows_of(
            self._entity,
            alias,
            conditions(alias),
            scoped_already=scoping.part,
            at_once=scoping.count_at_once,
        )
        return sql_of("CAST((SELECT count(*)", rows, ") AS TEXT)")

    def _gathered(self, printed: Sql) -> Sql:
        self.reads_rows = True
        name = f"j{len(self.printed)}"
        self.printed.append(sql_of(printed, f" AS {name}"))
        if not self._numbered:
            return Sql(self._compiler._printer.gathered(f"{self.alias}.{name}"))
        text = self._compiler._printer.gathered(f"{self.alias}.{name}", only=f"{self.alias}.n <= ?::bigint")
        return Sql(text, (Parameter(Source.ROWS, self._slot),))

    def _edge_field(self, asked: Asked) -> str | Sql:
        match asked.name:
            case "node":
                return self._compiler._object(self._entity, self.row, asked.fields)
            case "cursor":
                return _printed(['"', self._cursor(), '"'])
            case _:
                return f'"{self._entity.typename}Edge"'

    def _cursor(self) -> Sql:
        printer = self._compiler._printer
        held = cursor_holds(self._ordered.order, self._compiler.principal)
        values: list[str | Sql] = [f'["{self._ordered.name}",']
        for kind in held:
            as_kind = Kind.TEXT if kind is SortKind.TEXT else Kind.BIGINT
            values += [Sql(printer.value(f"{self.row.alias}.sort_by", as_kind, False)), ","]
        values += [Sql(printer.value(self.row.column(self._entity.id_column), Kind.TEXT, False)), "]"]
        return Sql(printer.hexadecimal(_printed(values).text))

    def _info_field(self, asked: Asked) -> str | Sql:
        match asked.name:
            case "hasNextPage":
                return self._came_from() if self._backward else self._more()
            case "hasPreviousPage":
                return self._more() if self._backward else self._came_from()
            case "startCursor":
                return self._end(first=not self._backward)
            case "endCursor":
                return self._end(first=self._backward)
            case _:
                return '"PageInfo"'

    def _came_from(self) -> str:
        return "true" if self._held else "false"

    def _more(self) -> Sql:
        self.reads_rows = True
        rows = Parameter(Source.ROWS, self._slot)
        return Sql("CASE WHEN count(*) > ?::bigint THEN 'true' ELSE 'false' END", (rows,))

    def _end(self, *, first: bool) -> Sql:
        """The cursor of the row numbered 1, or of the last one within the span."""
        self.reads_rows = True
        name = f"j{len(self.printed)}"
        self.printed.append(sql_of(self._cursor(), f" AS {name}"))
        a, rows = self.alias, Parameter(Source.ROWS, self._slot)
        if first:
            which = Sql(f"{a}.n = 1 AND {a}.n <= ?::bigint", (rows,))
        else:
            which = Sql(f"{a}.n <= ?::bigint AND ({a}.n = ?::bigint OR {a}.n = {a}.total)", (rows, rows))
        return sql_of(f"coalesce('\"' || max({a}.{name}) FILTER (WHERE ", which, ") || '\"', 'null')")
