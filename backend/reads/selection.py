"""What is to be read: which records of which entity, in which order, how many, and which of their fields.

A resolver says the first part as a `Selection`; the second comes from the document, as a tree of `Asked`.
Neither knows GraphQL's own types.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from backend.errors import Code, Problem, Refused


class Form(StrEnum):
    """How the records found are written."""

    ONE = "ONE"
    """an object, or null when there is none"""
    LIST = "LIST"
    """a list of objects"""
    EACH = "EACH"
    """(id, object) of each, for records that stand in one list of an answer"""
    PAGE = "PAGE"
    """a connection: edges, nodes, pageInfo, totalCount"""


class SortKind(StrEnum):
    """The type of a sort key, for checking what a cursor holds."""

    TEXT = "text"
    INTEGER = "bigint"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`first`/`after` or `last`/`before` as a client gave them."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an ordered list: `rows` of it, behind (`backward`: ahead of) the position of a cursor.

    `position`: the sort keys of the cursor's record and its id; of a masked key only the id.
    """

    rows: int
    backward: bool = False
    position: tuple[str | int, ...] | None = None

    @property
    def shape(self) -> tuple[bool, int]:
        """What of it changes the statement, as against its values."""
        return self.backward, len(self.position or ())


USUAL_ROWS = frozenset({5, 10, 20, 25, 30, 50, 100, 200})
"""Sizes of pages that are written into statements: told how many rows are wanted, PostgreSQL needs no values to find
the best plan. Others are values, so that no client makes a statement for every number there is."""


def usual(rows: int | None) -> int | None:
    """The size of a page where it stands in the statement itself."""
    return rows if rows in USUAL_ROWS else None


Condition = tuple[str, tuple[Any, ...]]
"""The name of one of an entity's filters, and its values."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Records of one entity.

    `where`: names of the entity's filters with their values, all of which must hold; `order`: the name of
    one of its orders, `descending` None for the order's own direction; `page` is used by PAGE and LIST.
    """

    entity: str
    form: Form
    where: tuple[Condition, ...] = ()
    order: str | None = None
    descending: bool | None = None
    page: PageRequest = PageRequest()

    @property
    def shape(self) -> tuple[Any, ...]:
        """What of it changes the statement, as against its values."""
        filters = tuple((name, len(values)) for name, values in self.where)
        return self.entity, self.form, filters, self.order, self.descending


def one(entity: str, record_id: str) -> Selection:
    """The record with this id, if it is in scope."""
    return Selection(entity, Form.ONE, (("id", (record_id,)),))


@dataclass(frozen=True, slots=True)
class Asked:
    """One field of an answer under its response key, with what is asked below it.

    `slot` numbers the spans of a tree: 0 is the root's own, -1 means the field has none.
    """

    key: str
    name: str
    fields: "tuple[Asked, ...]" = ()
    slot: int = -1


TYPENAME = "__typename"


def span_of(
    page: PageRequest,
    *,
    rows_max: int,
    rows_default: int,
    path: tuple[str, ...],
    read_cursor: Callable[[str], tuple[str | int, ...]],
) -> Span:
    """The span a client asks for. Raises `Refused` naming every argument at fault and what is allowed.

    Backwards with `last` (and `before`), else forwards; mixing both directions is refused.
    """
    problems: list[Problem] = []
    backward = page.last is not None or page.before is not None
    if backward and (page.first is not None or page.after is not None):
        given = [name for name in ("first", "after", "last", "before") if getattr(page, name) is not None]
        problems.append(Problem(Code.INVALID_VALUE, (*path, given[-1]), allowed=("first, after", "last, before")))
    for name, count in (("first", page.first), ("last", page.last)):
        if count is not None and not 0 <= count <= rows_max:
            problems.append(Problem(Code.OUT_OF_RANGE, (*path, name), allowed=("0", str(rows_max))))
    position: tuple[str | int, ...] | None = None
    for name, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None:
            try:
                position = read_cursor(cursor)
            except ValueError:
                problems.append(Problem(Code.CURSOR_INVALID, (*path, name)))
    if problems:
        raise Refused(*problems)
    asked = page.last if backward else page.first
    return Span(min(rows_default, rows_max) if asked is None else asked, backward, position)


def read_position(cursor: str, order: str, kinds: tuple[SortKind, ...]) -> tuple[str | int, ...]:
    """What a cursor of this order holds; raises ValueError for any other text.

    A cursor is the hexadecimal form of the JSON list [order, key…, id]: both databases print it.
    """
    values = orjson.loads(bytes.fromhex(cursor))
    if not isinstance(values, list) or len(values) != len(kinds) + 2 or values[0] != order:
        raise ValueError("not a cursor of this order")
    *keys, record_id = values[1:]
    for key, kind in zip(keys, kinds, strict=True):
        wanted = str if kind is SortKind.TEXT else int
        if type(key) is not wanted or (isinstance(key, int) and abs(key) >= 2**63):
            raise ValueError("not a cursor of this order")
    if any("\x00" in text for text in (*keys, record_id) if isinstance(text, str)):
        raise ValueError("no database keeps such a text")
    if not isinstance(record_id, str):
        raise ValueError("not a cursor of this order")
    return (*keys, record_id)


def write_position(order: str, values: tuple[str | int, ...]) -> str:
    """The cursor that `read_position` reads."""
    return orjson.dumps([order, *values]).hex().upper()
