"""Which rows of an entity somebody is shown: the scope predicate at every level, and the filters asked for.

Every row of every entity is read through `Scopes.rows_of`, which adds the scope predicate: there is no
other way to name an entity's table.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.domain.permissions import Action, Reach, reach
from backend.reads.entities.entity import Beside, Entity, Filter, Order, Relation, readable
from backend.reads.entities.table import ENTITIES
from backend.reads.selection import Selection
from backend.reads.sql import NOW, USER, Parameter, Source, Sql, sql_of
from backend.storage.dialects import Dialect
from backend.storage.visibility import visible_ids_sql, visible_sql

Conditions = Callable[[str], Iterator[Sql]]
"""Given the alias of an entity's row: what must hold of it beside its scope."""


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
                return Sql(f'{alias}."{entity.id_column}" IN ({ids})', (USER,) * asks)
            if self._held is not None:
                self._held_for[entity.name] = None
            text, asks = visible_sql(
                entity.name, alias, reads=self._reads, record_column=entity.id_column, held=self._held
            )
            return Sql(text, (USER,) * asks)
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
                pieces.append(Sql("?::bigint", (NOW,)))
            elif piece == "{user}":
                pieces.append(Sql("?", (USER,)))
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


def personal_keys_sql(collection: str) -> str:
    """The keys of a collection's custom fields that are personal."""
    return f"SELECT c.key FROM custom_field c WHERE c.collection = '{collection}' AND c.personal"


def holds_few(principal: Principal, entity: Entity) -> bool:
    """True where a whole scope is read faster than an ordered list is walked until a page is full."""
    if principal.role is None or entity.right is None:
        return False
    return reach(principal.role, Action.READ, entity.right) is Reach.OWN


@dataclass(frozen=True, slots=True)
class Scoping:
    """How the rows of a list are scoped. `part`: they are parts of a row in scope."""

    part: bool = False
    at_once: bool = False
    count_at_once: bool = False
