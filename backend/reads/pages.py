"""What a connection prints of the rows picked for it: nodes, edges, cursors, and whether there are more."""

from collections.abc import Callable, Sequence

from backend.reads.entities.entity import Entity, Kind
from backend.reads.ordering import Ordered, cursor_holds
from backend.reads.printing import Printer
from backend.reads.rows import Row
from backend.reads.scopes import Conditions, Scopes, Scoping
from backend.reads.selection import Asked, SortKind
from backend.reads.sql import Parameter, Source, Sql, json_object, printed, sql_of

PrintNode = Callable[[Entity, Row, Sequence[Asked]], Sql]
"""Given a row: what is asked of it, as a JSON object."""


class PageFields:
    """What the fields of a connection need of its rows."""

    def __init__(
        self,
        scopes: Scopes,
        printer: Printer,
        entity: Entity,
        slot: int,
        ordered: Ordered,
        shape: tuple[bool, int],
        *,
        numbered: bool,
        print_node: PrintNode,
    ) -> None:
        self._numbered = numbered
        self._scopes = scopes
        self._printer = printer
        self._print_node = print_node
        self._entity = entity
        self._slot = slot
        self._ordered = ordered
        self._backward, self._held = shape
        self.row = Row(scopes.alias("r"))
        self.row.column(entity.id_column)
        self.alias = scopes.alias("g")
        self.printed: list[Sql] = []
        self.reads_rows = False

    def field(self, asked: Asked, conditions: Conditions, scoping: Scoping) -> str | Sql:
        name = "nodes" if asked.name == self._entity.listed else asked.name
        match name:
            case "totalCount":
                return self._total(conditions, scoping)
            case "nodes":
                node = self._print_node(self._entity, self.row, asked.fields)
                return self._gathered(node)
            case "edges":
                pairs = ((found.key, self._edge_field(found)) for found in asked.fields)
                return self._gathered(json_object(pairs))
            case "pageInfo":
                pairs = ((found.key, self._info_field(found)) for found in asked.fields)
                return json_object(pairs)
            case _:
                return f'"{self._entity.page_typename}"'

    def _total(self, conditions: Conditions, scoping: Scoping) -> Sql:
        alias = self._scopes.alias("t")
        rows = self._scopes.rows_of(
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
            return Sql(self._printer.gathered(f"{self.alias}.{name}"))
        text = self._printer.gathered(f"{self.alias}.{name}", only=f"{self.alias}.n <= ?::bigint")
        return Sql(text, (Parameter(Source.ROWS, self._slot),))

    def _edge_field(self, asked: Asked) -> str | Sql:
        match asked.name:
            case "node":
                return self._print_node(self._entity, self.row, asked.fields)
            case "cursor":
                return printed(['"', self._cursor(), '"'])
            case _:
                return f'"{self._entity.typename}Edge"'

    def _cursor(self) -> Sql:
        printer = self._printer
        held = cursor_holds(self._ordered.order, self._scopes.principal)
        values: list[str | Sql] = [f'["{self._ordered.name}",']
        for kind in held:
            as_kind = Kind.TEXT if kind is SortKind.TEXT else Kind.BIGINT
            values += [Sql(printer.value(f"{self.row.alias}.sort_by", as_kind, False)), ","]
        values += [Sql(printer.value(self.row.column(self._entity.id_column), Kind.TEXT, False)), "]"]
        return Sql(printer.hexadecimal(printed(values).text))

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
