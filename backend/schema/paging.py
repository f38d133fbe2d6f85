"""Pages, and the fields that lead from one record to others."""

import re
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

import strawberry

from backend.domain.names import query_keys
from backend.errors import Code, Problem, Refused
from backend.reads.entities.entity import Many, readable
from backend.reads.entities.table import ENTITIES
from backend.reads.ordinary import Record
from backend.reads.selection import Condition, Form, PageRequest, Selection
from backend.schema.context import Context, Info
from backend.schema.selection import nested_span

SEARCH_CHARACTERS_MAX = 100
SEARCH_TERMS_MAX = 8

NodeType = TypeVar("NodeType")


@strawberry.interface(description="A record with an id of its own, found by `node`.")
class Node:
    id: strawberry.ID = strawberry.field(description="The record's UUID.")


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether the list goes on after this page.")
    has_previous_page: bool = strawberry.field(description="Whether the list has something before this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first record, for `before`.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last record, for `after`.")


@strawberry.type(description="A record in its place in a list.")
class Edge(Generic[NodeType]):
    cursor: str = strawberry.field(description="The place, to go on from with `after` or `before`.")
    node: NodeType = strawberry.field(description="The record.")


@strawberry.type(description="One page of a list.")
class Connection(Generic[NodeType]):
    edges: list[Edge[NodeType]] = strawberry.field(description="The records with their cursors.")
    nodes: list[NodeType] = strawberry.field(description="The records alone.")
    page_info: PageInfo = strawberry.field(description="How to go on.")
    total_count: int = strawberry.field(description="How many there are in all; counted only when asked.")


class Direction(StrEnum):
    """Which end of a sorted list comes first."""

    ASC = "ASC"
    DESC = "DESC"


strawberry.enum(Direction, description=Direction.__doc__)

First = Annotated[int | None, strawberry.argument(description="How many records from the front.")]
After = Annotated[str | None, strawberry.argument(description="Only records after this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many records from the end.")]
Before = Annotated[str | None, strawberry.argument(description="Only records before this cursor.")]
Way = Annotated[Direction | None, strawberry.argument(description="Another direction than the sort's own.")]
RecordId = Annotated[strawberry.ID, strawberry.argument(description="The record's UUID.")]


def to_one(description: str) -> Any:
    """A field that leads to one record, or a bounded list of parts."""
    return strawberry.field(resolver=_related, description=description)


def to_page(description: str) -> Any:
    """A field that leads to a connection."""
    return strawberry.field(resolver=_related_page, description=description)


def _related(root: Any, info: Info) -> Any:
    record: Record = root
    return record.related(info.field_name)


def _related_page(
    root: Any, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Any:
    record: Record = root
    context = info.context
    relation = record.relation(info.field_name)
    assert relation.many is Many.PAGE
    page = PageRequest(first, after, last, before)
    span = nested_span(info.field_name, relation, page, context.caller, context.settings)
    return record.related(info.field_name, span)


def select_one(info: Info, entity: str, record_id: str) -> Any:
    """The record with this id; null when it is out of scope or does not exist."""
    allow(info.context, entity)
    return Selection(entity, Form.ONE, (("id", (_storable(record_id, "id"),)),))


def select_page(
    info: Info,
    entity: str,
    page: PageRequest,
    where: Iterable[tuple[str, Any]] = (),
    *,
    sort: StrEnum | None = None,
    direction: Direction | None = None,
    more: tuple[Condition, ...] = (),
) -> Any:
    """A page of an entity's records. A filter given as None is left out, one that takes no value is given as `()`;
    `search` is cut into its terms.

    `more` are conditions that are ready already.

    Raises NOT_PERMITTED for a filter that compares what a masked role does not read.
    """
    allow(info.context, entity)
    masked = info.context.caller.masked
    filters = tuple(
        (_allowed(entity, name, masked), values)
        for name, given in where
        if given is not None and ((values := _values(name, given, masked)) or given == ())
    )
    return Selection(
        entity,
        Form.PAGE,
        (*filters, *more),
        sort.value if sort else None,
        None if direction is None else direction is Direction.DESC,
        page,
    )


def select_list(info: Info, entity: str, page: PageRequest, where: Iterable[tuple[str, Any]] = ()) -> Any:
    """A bounded list of an entity's records in its first order; `page.after` is the id of the last one seen."""
    selected: Selection = select_page(info, entity, page, where)
    return replace(selected, form=Form.LIST)


def allow(context: Context, entity: str) -> None:
    """Raise NOT_PERMITTED when the role may not read this kind of record at all."""
    if not readable(context.caller, ENTITIES[entity]):
        raise Refused(Problem(Code.NOT_PERMITTED, (entity,)))


def _allowed(entity: str, name: str, masked: bool) -> str:
    """The filter a role may use by this name."""
    declared = ENTITIES[entity].filters[name]
    if not (declared.personal and masked):
        return name
    if declared.masked is None:
        raise Refused(Problem(Code.NOT_PERMITTED, (name,)))
    return declared.masked


def _values(name: str, given: Any, masked: bool) -> tuple[Any, ...]:
    if name == "search":
        return _terms(given, masked)
    if given == ():
        return ()
    if isinstance(given, list):
        return ([_storable(item, name) for item in given],)
    return (_storable(given, name),)


def _terms(text: str, masked: bool) -> tuple[str, ...]:
    """What to look for. Digits alone are how telephone numbers are found, which masked roles do not read."""
    if len(text) > SEARCH_CHARACTERS_MAX:
        raise Refused(Problem(Code.TOO_LONG, ("search",), allowed=(str(SEARCH_CHARACTERS_MAX),)))
    terms = query_keys(str(_storable(text, "search")))
    if len(terms) > SEARCH_TERMS_MAX:
        raise Refused(Problem(Code.TOO_MANY, ("search",), allowed=(str(SEARCH_TERMS_MAX),)))
    if masked and any(term.isdigit() for term in terms):
        raise Refused(Problem(Code.NOT_PERMITTED, ("search",)))
    return terms


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def _storable(value: Any, name: str) -> Any:
    """The same value, enums as their text; refused where no database could hold such a text."""
    if not isinstance(value, str):
        return value
    text = str(value.value) if isinstance(value, StrEnum) else str(value)
    if (not text.isascii() and _HALF_CHARACTER.search(text)) or "\x00" in text:
        raise Refused(Problem(Code.INVALID_VALUE, (name,), allowed=("text",)))
    return text
