"""From GraphQL's tree to the neutral one: what a document asks below a selection.

Fragments, aliases, directives and merging are the executor's own doing (`collect_subfields`); here its result
is only written down in terms of the entity table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLField, GraphQLObjectType, VariableNode, get_named_type
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetails, FieldDetailsList
from graphql.execution.values import get_argument_values

from backend.auth.principal import Principal
from backend.config import Settings
from backend.errors import Problem, Refused
from backend.reads.entities.entity import Column, Embedded, Entity, Many, Order, Relation
from backend.reads.entities.table import ENTITIES
from backend.reads.ordering import cursor_holds, settled
from backend.reads.selection import (
    TYPENAME,
    Asked,
    Form,
    PageRequest,
    Selection,
    Span,
    read_position,
    span_of,
    usual,
)

NESTED_ROWS_DEFAULT = 10
ROOT_ROWS_DEFAULT = 50
PAGE_ARGUMENTS = ("first", "after", "last", "before")


@dataclass(frozen=True, slots=True)
class NestedPage:
    """Where the arguments of a connection inside a selection stand, to be read anew for each request.

    `page`: what they say, where they stand in the document itself, so that every request says the same.
    """

    field: GraphQLField
    details: FieldDetails
    order_name: str
    order: Order
    path: tuple[str, ...]
    page: PageRequest | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked below a selection. `computed`: what of it is no column, as `Type.field`, so nothing is compiled."""

    asked: tuple[Asked, ...]
    nested: tuple[NestedPage, ...]
    computed: tuple[str, ...]


class _Reader:
    """Walks one selection's subtree."""

    def __init__(self, executor: Executor[Any]) -> None:
        self._executor = executor
        self.nested: list[NestedPage] = []
        self.computed: dict[str, None] = {}

    def fields(
        self, kind: GraphQLObjectType, details: FieldDetailsList
    ) -> list[tuple[str, str, GraphQLField | None, FieldDetailsList]]:
        """(response key, name, definition, where it stands) of what is asked of an object."""
        grouped = self._executor.collect_subfields(kind, details).grouped_field_set
        return [
            (key, found[0].node.name.value, kind.fields.get(found[0].node.name.value), found)
            for key, found in grouped.items()
        ]

    def of_entity(
        self, entity: Entity, kind: GraphQLObjectType, details: FieldDetailsList, path: tuple[str, ...]
    ) -> tuple[Asked, ...]:
        asked: list[Asked] = []
        for key, name, definition, found in self.fields(kind, details):
            if name == TYPENAME:
                asked.append(Asked(key, name))
                continue
            assert definition is not None, "validated documents name known fields"
            match entity.by_name.get(name):
                case None:
                    self.computed[f"{kind.name}.{name}"] = None
                case Column():
                    asked.append(Asked(key, name))
                case Embedded():
                    asked.append(Asked(key, name, self._plain(_object(definition), found)))
                case Relation() as relation:
                    asked.append(self._relation(relation, key, name, definition, found, (*path, key)))
        return tuple(asked)

    def _relation(
        self,
        relation: Relation,
        key: str,
        name: str,
        definition: GraphQLField,
        details: FieldDetailsList,
        path: tuple[str, ...],
    ) -> Asked:
        target, kind = ENTITIES[relation.entity], _object(definition)
        if relation.many is not Many.PAGE:
            return Asked(key, name, self.of_entity(target, kind, details, path))
        ordered = settled(target, relation.order, None)
        page = page_request(self._executor, definition, details[0]) if _is_said_plainly(details[0]) else None
        self.nested.append(NestedPage(definition, details[0], ordered.name, ordered.order, path, page))
        slot = len(self.nested)
        return Asked(key, name, self.of_page(target, kind, details, path), slot)

    def of_page(
        self, entity: Entity, kind: GraphQLObjectType, details: FieldDetailsList, path: tuple[str, ...]
    ) -> tuple[Asked, ...]:
        asked: list[Asked] = []
        for key, name, definition, found in self.fields(kind, details):
            inner: tuple[Asked, ...] = ()
            if name in ("nodes", entity.listed) and definition is not None:
                inner = self.of_entity(entity, _object(definition), found, (*path, key))
            elif name == "edges" and definition is not None:
                inner = self._edges(entity, _object(definition), found, (*path, key))
            elif name == "pageInfo" and definition is not None:
                inner = self._plain(_object(definition), found)
            asked.append(Asked(key, name, inner))
        return tuple(asked)

    def _edges(
        self, entity: Entity, kind: GraphQLObjectType, details: FieldDetailsList, path: tuple[str, ...]
    ) -> tuple[Asked, ...]:
        asked: list[Asked] = []
        for key, name, definition, found in self.fields(kind, details):
            inner: tuple[Asked, ...] = ()
            if name == "node" and definition is not None:
                inner = self.of_entity(entity, _object(definition), found, (*path, key))
            asked.append(Asked(key, name, inner))
        return tuple(asked)

    def _plain(self, kind: GraphQLObjectType, details: FieldDetailsList) -> tuple[Asked, ...]:
        return tuple(Asked(key, name) for key, name, _, _ in self.fields(kind, details))


def _object(definition: GraphQLField) -> GraphQLObjectType:
    kind = get_named_type(definition.type)
    assert isinstance(kind, GraphQLObjectType), "lists of abstract types are not compiled"
    return kind


def wanted_of(
    executor: Executor[Any],
    selection: Selection,
    kind: GraphQLObjectType,
    details: FieldDetailsList,
    path: tuple[str, ...],
) -> Wanted:
    """What the document asks of a selection whose answer is an object (or list) of `kind`."""
    reader = _Reader(executor)
    entity = ENTITIES[selection.entity]
    if selection.form is Form.PAGE:
        asked = reader.of_page(entity, kind, details, path)
    else:
        asked = reader.of_entity(entity, kind, details, path)
    return Wanted(asked, tuple(reader.nested), tuple(reader.computed))


def spans_of(
    selection: Selection,
    nested: Sequence[NestedPage],
    pages: Sequence[PageRequest],
    path: tuple[str, ...],
    principal: Principal,
    settings: Settings,
) -> list[Span]:
    """The spans by slot: the root's, then each connection's inside, for which `pages` holds what is asked.

    Raises `Refused` with all problems.
    """
    spans: list[Span] = []
    problems: list[Problem] = []

    def add(page: PageRequest, rows_max: int, rows_default: int, name: str, order: Order, at: Any) -> None:
        kinds = cursor_holds(order, principal)
        try:
            spans.append(
                span_of(
                    page,
                    rows_max=rows_max,
                    rows_default=rows_default,
                    path=at,
                    read_cursor=lambda cursor: read_position(cursor, name, kinds),
                )
            )
        except Refused as refused:
            problems.extend(refused.problems)

    ordered = settled(ENTITIES[selection.entity], selection.order, selection.descending)
    if selection.form is Form.LIST and selection.page.after is not None:
        # a list has no cursors: whoever selects it says behind which record, and has seen to it that there is one
        spans.append(Span(selection.page.first or 0, position=(selection.page.after,)))
    else:
        root_default = ROOT_ROWS_DEFAULT if selection.form is Form.PAGE else settings.page_rows_max
        add(selection.page, settings.page_rows_max, root_default, ordered.name, ordered.order, path)
    for found, page in zip(nested, pages, strict=True):
        rows_max = settings.nested_page_rows_max
        add(page, rows_max, NESTED_ROWS_DEFAULT, found.order_name, found.order, found.path)
    if problems:
        raise Refused(*problems)
    return spans


def nested_span(name: str, relation: Relation, page: PageRequest, principal: Principal, settings: Settings) -> Span:
    """The span of one connection inside an ordinary answer; its arguments were found good before."""
    ordered = settled(ENTITIES[relation.entity], relation.order, None)
    kinds = cursor_holds(ordered.order, principal)
    return span_of(
        page,
        rows_max=settings.nested_page_rows_max,
        rows_default=NESTED_ROWS_DEFAULT,
        path=(name,),
        read_cursor=lambda cursor: read_position(cursor, ordered.name, kinds),
    )


def _is_said_plainly(details: FieldDetails) -> bool:
    """Whether a field's arguments are all written out where it stands."""
    return not any(isinstance(argument.value, VariableNode) for argument in details.node.arguments or ())


def page_request(executor: Executor[Any], field: GraphQLField, details: FieldDetails) -> PageRequest:
    given = get_argument_values(
        field,
        details.node,
        executor.variable_values,
        details.fragment_variable_values,
        executor.hide_suggestions,
    )
    return PageRequest(**{name: given.get(name) for name in PAGE_ARGUMENTS})


def variables_shape(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What of the variables can change a statement: which are absent or null, and how switches stand.

    Filters and sorts of the root are in the selection's own shape; connections inside take page arguments
    only, of which presence is all that counts, and sizes that are written into statements.
    """
    return tuple([(name, _shape_of(value)) for name, value in sorted(values.items())])


def _shape_of(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    size = usual(value) if isinstance(value, int) else None
    return "given" if size is None else (size,)
