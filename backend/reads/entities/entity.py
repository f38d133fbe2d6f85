"""What an entity that can be read consists of: columns, relations, filters and orders, and how each is written.

Templates hold `{a}` where the alias of the entity's row goes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from tortoise.models import Model

from backend.auth.principal import Principal
from backend.domain.permissions import Action, Collection
from backend.reads.selection import SortKind


class Kind(StrEnum):
    """How a column is stored and written."""

    ID = "ID"
    TEXT = "TEXT"
    ENUM = "ENUM"
    INT = "INT"
    """|x| < 2^31"""
    BIGINT = "BIGINT"
    """|x| < 2^53"""
    TIMESTAMP = "TIMESTAMP"
    """epoch ms, written as an instant"""
    DATE = "DATE"
    BOOL = "BOOL"
    JSON = "JSON"
    """JSON text, embedded as it stands"""
    TEXTS = "TEXTS"
    """JSON text that is a list of texts"""


LIST_ROWS_MAX = 1_000
"""A bound above every list that is no connection: an order has at most 500 lines."""
_BEFORE_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def snake(name: str) -> str:
    """`checkInLatE7` → `check_in_lat_e7`."""
    return _BEFORE_CAPITAL.sub(r"_\1", name).lower()


@dataclass(frozen=True, slots=True)
class Column:
    """A field printed from one column, or from the SQL of `expression`. `personal`: masked roles read
    the first character of a text, and nothing of anything else; with `personal_where` (a column and its value)
    only in rows where it holds: a shop's name is no personal data, a person's is. `custom_of` names the collection
    whose custom fields a map holds: masked roles read it without those defined as personal."""

    name: str
    kind: Kind
    column: str
    personal: bool = False
    expression: str | None = None
    personal_where: tuple[str, str] | None = None
    may_be_null: bool = False
    """of an expression; a column's own model says it"""
    custom_of: str | None = None

    @property
    def attribute(self) -> str:
        return snake(self.name)


@dataclass(frozen=True, slots=True)
class Embedded:
    """An object made of the row's own columns; null where one of `unless_null` is."""

    name: str
    typename: str
    columns: tuple[Column, ...]
    unless_null: tuple[str, ...]


class Many(StrEnum):
    """What a relation leads to."""

    ONE = "ONE"
    """one row or null"""
    FIRST = "FIRST"
    """the first of many, or null"""
    LIST = "LIST"
    """a bounded list"""
    PAGE = "PAGE"
    """a connection"""


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows of `entity` whose `theirs` equals this row's `ours`; `where` names filters without values."""

    name: str
    entity: str
    many: Many
    ours: str
    theirs: str
    order: str | None = None
    where: tuple[str, ...] = ()


Field = Column | Embedded | Relation


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition. `?` takes the values in order, `{now}` the moment of the request, `{scope <entity> <alias>}` the
    scope predicate of a further table, which never stands without it. `sqlite` differs where the databases do.
    `repeats`: once per value, all must hold. `personal`: it compares what masked roles do not read, so they are
    refused it, or given `masked` instead."""

    sql: str
    sqlite: str | None = None
    repeats: bool = False
    personal: bool = False
    masked: str | None = None


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key, NOT NULL or coalesced. `personal`: a masked role's cursor does not hold it."""

    sql: str
    kind: SortKind
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Beside:
    """A table with at most one row beside each row of an entity: `own` is that entity's id, `entity` its scope's.

    `column` is NOT NULL and indexed together with `own`; a row without one in scope counts as `absent`, which is
    below whatever stands there.
    """

    table: str
    own: str
    column: str
    entity: str
    absent: int


@dataclass(frozen=True, slots=True)
class Order:
    """Keys in one direction; the id comes last by itself. `beside`: where the key stands in another table."""

    key: SortKey
    descending: bool = False
    beside: Beside | None = None


@dataclass(frozen=True)
class Entity:
    """One kind of record. Its scope is that of its collection, or of the parent row it is a part of.

    `right`: on what a role must have one of `actions`; None for what every colleague sees.
    `part_of`: (parent entity, own column, parent's column): visible exactly when that parent is.
    `unplaced`: has no scope but the right: the organisation's own records, never synced.
    `sees`: a scope of its own, as a template, None for who sees nothing; for what is not synced and not everybody's.
    `few`: a rep sees hundreds of them, not tens of thousands, so a list is the sorted scope.
    `listed`, `page_type`: where its pages have names of their own for `nodes` and for the type.
    """

    name: str
    typename: str
    model: type[Model]
    right: Collection | None
    fields: tuple[Field, ...]
    orders: Mapping[str, Order]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    id_column: str = "id"
    part_of: tuple[str, str, str] | None = None
    unplaced: bool = False
    actions: tuple[Action, ...] = (Action.READ,)
    node: bool = False
    few: bool = False
    sees: Callable[[Principal], str | None] | None = None
    listed: str = "nodes"
    page_type: str | None = None

    @cached_property
    def table(self) -> str:
        return str(self.model._meta.db_table)

    @cached_property
    def page_typename(self) -> str:
        return self.page_type or f"{self.typename}Connection"

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {found.name: found for found in self.fields}

    @cached_property
    def by_attribute(self) -> dict[str, Field]:
        return {snake(found.name): found for found in self.fields}

    @cached_property
    def first_order(self) -> str:
        return next(iter(self.orders))

    def nullable(self, *columns: str) -> bool:
        """True when one of the columns can be NULL."""
        return any(self.model._meta.fields_map[column].null for column in columns)

    @cached_property
    def relations(self) -> tuple[Relation, ...]:
        return tuple(found for found in self.fields if isinstance(found, Relation))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every column field, those inside embedded objects too."""
        return tuple(_columns(self.fields))


def _columns(fields: tuple[Field, ...]) -> Iterator[Column]:
    for found in fields:
        if isinstance(found, Column):
            yield found
        elif isinstance(found, Embedded):
            yield from found.columns


def readable(principal: Principal, entity: Entity) -> bool:
    """True when the role, or a service's rights, may read this kind of record at all; which, the scope says."""
    if entity.sees is not None:
        permitted = entity.right is None or any(principal.may(action, entity.right) for action in entity.actions)
        return permitted and entity.sees(principal) is not None
    if entity.right is None:
        return principal.role is not None or principal.may(Action.READ, Collection.USERS)
    return any(principal.may(action, entity.right) for action in entity.actions)
