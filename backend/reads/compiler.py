"""From a selection and the fields asked of it to one SQL statement that prints the finished answer."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from backend.auth.principal import Principal
from backend.reads.beside import BesideWalk, is_parted
from backend.reads.entities.entity import LIST_ROWS_MAX, Column, Embedded, Entity, Kind, Many, Relation
from backend.reads.entities.table import ENTITIES
from backend.reads.ordering import Ordered, behind, settled
from backend.reads.pages import PageFields
from backend.reads.plans import Plan, sizes_of
from backend.reads.printing import PRINTERS, literal, masked
from backend.reads.rows import Row, taken
from backend.reads.scopes import (
    Conditions,
    Scopes,
    Scoping,
    fixed_conditions,
    holds_few,
    personal_keys_sql,
    where_conditions,
)
from backend.reads.selection import TYPENAME, Asked, Form, Selection, Span
from backend.reads.sql import USER, Parameter, Source, Sql, json_object, sql_of
from backend.storage.dialects import Dialect
from backend.storage.visibility import held_sql


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
        return sql_of(Sql(f"WITH {self._held} AS MATERIALIZED ({held_sql(self._held_for)}) ", (USER,)), answer)

    def _answer(self, selection: Selection, asked: Sequence[Asked]) -> Sql:
        entity = ENTITIES[selection.entity]

        def conditions(alias: str) -> Iterator[Sql]:
            return where_conditions(self, entity, selection, self._dialect, alias)

        if selection.form in (Form.ONE, Form.EACH):
            row = Row(self.alias("t"))
            answer = self._object(entity, row, asked)
            return sql_of(
                f'SELECT {row.alias}."{entity.id_column}", ' if selection.form is Form.EACH else "SELECT ",
                self._bytes(answer),
                self.rows_of(entity, row.alias, conditions(row.alias)),
            )
        ordered = settled(entity, selection.order, selection.descending)
        few = holds_few(self.principal, entity)
        scoping = Scoping(at_once=few and entity.few, count_at_once=few)
        if selection.form is Form.PAGE:
            return sql_of("SELECT ", self._bytes(self._page(entity, asked, 0, conditions, ordered, scoping)))
        size = self._sizes[0]
        most = Sql("?", (Parameter(Source.ROWS, 0),)) if size is None else Sql(str(size))
        return sql_of("SELECT ", self._bytes(self._list(entity, asked, conditions, ordered, most, scoping, slot=0)))

    def _bytes(self, sql: Sql) -> Sql:
        return Sql(self._printer.as_bytes(sql.text), sql.parameters)

    def _object(self, entity: Entity, row: Row, asked: Sequence[Asked]) -> Sql:
        return json_object((found.key, self._field(entity, row, found)) for found in asked)

    def _field(self, entity: Entity, row: Row, asked: Asked) -> str | Sql:
        if asked.name == TYPENAME:
            return f'"{entity.typename}"'
        match entity.by_name[asked.name]:
            case Column() as column:
                return self._column(entity, row, column)
            case Embedded() as embedded:
                return self._embedded(entity, row, embedded, asked.fields)
            case Relation() as relation:
                return self._relation(entity, row, relation, asked)

    def _column(self, entity: Entity, row: Row, column: Column) -> str | Sql:
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

    def _expression(self, entity: Entity, row: Row, column: Column) -> Sql:
        assert column.expression is not None
        for name in (column.column, *_OWN_COLUMN.findall(column.expression)):
            row.column(name)
        value = self.filled(column.expression, row.alias)
        around = self._printer.value(_HERE, column.kind, column.may_be_null).split(_HERE)
        pieces: list[str | Sql] = [around[0]]
        for after in around[1:]:
            pieces += [value, after]
        return sql_of(*pieces)

    def _embedded(self, entity: Entity, row: Row, embedded: Embedded, asked: Sequence[Asked]) -> str | Sql:
        by_name = {column.name: column for column in embedded.columns}
        answer = json_object(
            (
                found.key,
                f'"{embedded.typename}"' if found.name == TYPENAME else self._column(entity, row, by_name[found.name]),
            )
            for found in asked
        )
        absent = [f"{row.column(name)} IS NULL" for name in embedded.unless_null if entity.nullable(name)]
        if not absent:
            return answer
        return sql_of(f"CASE WHEN {' OR '.join(absent)} THEN 'null' ELSE ", answer, " END")

    def _relation(self, entity: Entity, row: Row, relation: Relation, asked: Asked) -> Sql:
        target = ENTITIES[relation.entity]
        ours = row.column(relation.ours)
        part = target.part_of == (entity.name, relation.theirs, relation.ours)

        def conditions(alias: str) -> Iterator[Sql]:
            yield Sql(f'{alias}."{relation.theirs}" = {ours}')
            yield from fixed_conditions(self, relation, self._dialect, alias)

        if relation.many is Many.ONE:
            inner = Row(self.alias("t"))
            answer = self._object(target, inner, asked.fields)
            rows = self.rows_of(target, inner.alias, conditions(inner.alias), scoped_already=part)
            return sql_of("coalesce((SELECT ", answer, rows, "), 'null')")
        ordered = settled(target, relation.order, None)
        if relation.many is Many.FIRST:
            inner = Row(self.alias("r"))
            answer = self._object(target, inner, asked.fields)
            picked = self._picked(target, inner, conditions, ordered, Sql("1"), Scoping(part))
            return sql_of("coalesce((SELECT ", answer, " FROM (", picked, f") {inner.alias}), 'null')")
        if relation.many is Many.LIST:
            most = Sql(str(LIST_ROWS_MAX))
            return self._list(target, asked.fields, conditions, ordered, most, Scoping(part))
        return self._page(target, asked.fields, asked.slot, conditions, ordered, Scoping(part))

    def _picked(
        self,
        entity: Entity,
        outer: Row,
        conditions: Conditions,
        ordered: Ordered,
        most: Sql,
        scoping: Scoping,
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
            by_parts = scoping.at_once and self._may_walk_parts and is_parted(self, beside)
            if by_parts or not scoping.at_once:
                backward, held = shape
                walk = BesideWalk(
                    self, self._dialect, entity, outer, conditions, beside, most,
                    down=ordered.descending != backward,
                    at=tuple(Parameter(Source.POSITION, slot or 0, index) for index in range(held)),
                    by_parts=by_parts,
                )  # fmt: skip
                return walk.picked()
        alias = self.alias("t")

        def all_of_it() -> Iterator[Sql]:
            yield from conditions(alias)
            yield from behind(entity, ordered, shape, slot or 0, alias)

        key = ordered.order.key.sql.replace("{a}", alias)
        way = "DESC" if ordered.descending != shape[0] else "ASC"
        return sql_of(
            f"SELECT {taken(outer, alias, key if with_key else None)}",
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

    def _list(
        self,
        entity: Entity,
        asked: Sequence[Asked],
        conditions: Conditions,
        ordered: Ordered,
        most: Sql,
        scoping: Scoping,
        slot: int | None = None,
    ) -> Sql:
        row = Row(self.alias("r"))
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
        scoping: Scoping,
    ) -> Sql:
        """A connection: pick one row more than asked, number them, print each, gather.

        Where nobody asks whether there are more, and the rows are walked in the order of the answer, neither the row
        nor the numbers are needed.
        """
        backward = self._shapes[slot][0]
        simple = not backward and all(found.name != "pageInfo" for found in asked)
        page = PageFields(
            self,
            self._printer,
            entity,
            slot,
            ordered,
            self._shapes[slot],
            numbered=not simple,
            print_node=self._object,
        )
        answer = json_object((found.key, page.field(found, conditions, scoping)) for found in asked)
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
