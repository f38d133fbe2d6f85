"""What one document may ask for, judged before it is validated.

Stock limiters follow every fragment spread, so a few nested fragments cost exponential time. Here each fragment is
weighed once: a weight is what a selection asks for per object it stands on, and a spread adds the weight of its
fragment. The numbers may be astronomical; computing them takes one pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_interface_type,
    is_list_type,
    is_object_type,
)

from backend.config import Settings
from backend.errors import Code, Problem, refuse_if

ROWS_ASSUMED = 10
"""What a list without page arguments is priced at."""
INTROSPECTION_DEPTH_MAX = 20
"""The questions tools ask about a schema nest deeper than any about data."""
INTROSPECTION = frozenset({"__schema", "__type"})
NESTING_PER_DEPTH = 3
"""Selection sets that may stand in each other, fragments included, for each level of fields allowed."""
PAGE_ARGUMENTS = ("first", "last")
BULK_ARGUMENTS = ("limit",)
"""What sizes an answer that is one page by itself."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What a selection set asks for, on one object.

    `fields`: those of the set itself, fragments opened; `depth`: fields below each other; `nesting`: selection
    sets below each other, fragments included; `aliases` and `directives`: how many, spreads counted as often as
    they are spread; `cost`: fields answered, each as often as the lists above it have rows.
    """

    fields: int = 0
    depth: int = 0
    nesting: int = 0
    aliases: int = 0
    directives: int = 0
    cost: int = 0


NOTHING = Weight()


class Limits:
    """Holds a document to the limits of the settings. `schema` tells which fields are pages and lists."""

    def __init__(self, schema: GraphQLSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings

    def check(self, document: DocumentNode) -> None:
        """Before validation, for the text alone: pages sized by variables count as one row.

        Raises `Refused` with QUERY_TOO_COSTLY for each limit exceeded, `allowed` being the limit.
        """
        scale = _Scale(self._schema, self._settings, document, None)
        problems: dict[str, Problem] = {}
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                for problem in scale.problems(definition):
                    problems.setdefault(problem.path[0], problem)
        refuse_if(problems.values())

    def check_variables(
        self, document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> None:
        """Before one operation runs, with pages at the size the variables give them. Raises as `check` does."""
        if operation.variable_definitions:
            refuse_if(_Scale(self._schema, self._settings, document, variables).problems(operation))


class _Scale:
    """Weighs the operations of one document."""

    def __init__(
        self,
        schema: GraphQLSchema,
        settings: Settings,
        document: DocumentNode,
        variables: Mapping[str, Any] | None,
    ) -> None:
        self._schema = schema
        self._settings = settings
        self._variables = variables
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._known: dict[str, Weight] = {}
        self._open: set[str] = set()
        self._defaults: dict[str, Any] = {}
        self._nesting_max = settings.document_depth_max * NESTING_PER_DEPTH

    def problems(self, operation: OperationDefinitionNode) -> list[Problem]:
        settings = self._settings
        self._defaults = {
            definition.variable.name.value: _integer(definition.default_value)
            for definition in operation.variable_definitions or ()
        }
        parent = self._schema.get_root_type(operation.operation)
        roots = self._root_names(operation.selection_set)
        introspects = bool(roots) and roots <= INTROSPECTION
        depth_max = INTROSPECTION_DEPTH_MAX if introspects else settings.document_depth_max
        try:
            weight = self._selections(operation.selection_set, parent, 0)
        except _TooDeep:
            return [_problem("nesting", self._nesting_max)]
        measured = (
            ("depth", weight.depth, depth_max),
            ("nesting", weight.nesting, self._nesting_max),
            ("aliases", weight.aliases, settings.document_aliases_max),
            ("directives", weight.directives + len(operation.directives or ()), settings.document_aliases_max),
            ("rootSelections", weight.fields, settings.root_selections_max),
            ("cost", weight.cost, settings.document_cost_max),
        )
        return [_problem(name, most) for name, found, most in measured if found > most]

    def _root_names(self, selections: SelectionSetNode) -> set[str]:
        """Names of the fields of the operation itself."""
        names: set[str] = set()
        spread: set[str] = set()
        waiting = [selections]
        while waiting:
            for selection in waiting.pop().selections:
                if isinstance(selection, FieldNode):
                    names.add(selection.name.value)
                elif isinstance(selection, InlineFragmentNode):
                    waiting.append(selection.selection_set)
                elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
                    spread.add(selection.name.value)
                    if fragment := self._fragments.get(selection.name.value):
                        waiting.append(fragment.selection_set)
        return names

    def _selections(self, selections: SelectionSetNode, parent: GraphQLNamedType | None, nesting: int) -> Weight:
        if nesting > self._nesting_max:
            raise _TooDeep
        fields = depth = below = aliases = directives = cost = 0
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                part = self._field(selection, parent, nesting)
            elif isinstance(selection, InlineFragmentNode):
                named = selection.type_condition
                kind = self._schema.get_type(named.name.value) if named else parent
                part = self._selections(selection.selection_set, kind, nesting + 1)
            elif isinstance(selection, FragmentSpreadNode):
                part = self._fragment(selection.name.value, nesting + 1)
            else:
                continue
            fields += part.fields
            depth = max(depth, part.depth)
            below = max(below, part.nesting)
            aliases += part.aliases
            directives += part.directives + len(selection.directives or ())
            cost += part.cost
        return Weight(fields, depth, below + 1, aliases, directives, cost)

    def _fragment(self, name: str, nesting: int) -> Weight:
        known = self._known.get(name)
        if known is not None:
            return known
        fragment = self._fragments.get(name)
        # validation has words for a fragment that is missing or spreads itself
        if fragment is None or name in self._open:
            return NOTHING
        self._open.add(name)
        try:
            kind = self._schema.get_type(fragment.type_condition.name.value)
            weight = self._selections(fragment.selection_set, kind, nesting)
        finally:
            self._open.discard(name)
        self._known[name] = weight
        return weight

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, nesting: int) -> Weight:
        field = None
        if is_object_type(parent) or is_interface_type(parent):
            field = self._schema.get_field(parent, node.name.value)
        inner = NOTHING
        if node.selection_set is not None:
            kind = get_named_type(field.type) if field is not None else None
            inner = self._selections(node.selection_set, kind, nesting + 1)
        return Weight(
            1,
            inner.depth + 1,
            inner.nesting,
            inner.aliases + (node.alias is not None),
            inner.directives,
            1 + inner.cost * self._rows(node, field, parent),
        )

    def _rows(self, node: FieldNode, field: GraphQLField | None, parent: GraphQLNamedType | None) -> int:
        """How many objects the field's own selection is answered for."""
        if field is None:
            return 1
        if any(name in field.args for name in PAGE_ARGUMENTS):
            return self._page_rows(node, field, PAGE_ARGUMENTS)
        if _is_bulk(get_named_type(field.type)) and BULK_ARGUMENTS[0] in field.args:
            return self._page_rows(node, field, BULK_ARGUMENTS)
        if not is_list_type(get_nullable_type(field.type)):
            return 1
        # the lists inside a page have the page's rows, which are counted already; a schema has few types
        counted = _is_page(parent) or (parent is not None and parent.name.startswith("__"))
        return 1 if counted else ROWS_ASSUMED

    def _page_rows(self, node: FieldNode, field: GraphQLField, sizes: tuple[str, ...]) -> int:
        asked = [self._asked(argument.value) for argument in node.arguments or () if argument.name.value in sizes]
        given = [rows for rows in asked if rows is not None]
        if not given:
            defaults = [_default(field.args[name]) for name in sizes if name in field.args]
            given = [rows for rows in defaults if rows is not None] or [self._settings.nested_page_rows_max]
        return max(1, *given)

    def _asked(self, value: object) -> int | None:
        if not isinstance(value, VariableNode):
            return _integer(value)
        if self._variables is None:
            return 1
        name = value.name.value
        found = self._variables.get(name, self._defaults.get(name))
        return found if type(found) is int else None


class _TooDeep(Exception):
    pass


def _problem(measure: str, most: int) -> Problem:
    return Problem(Code.QUERY_TOO_COSTLY, (measure,), (str(most),))


def _integer(value: object) -> int | None:
    return int(value.value) if isinstance(value, IntValueNode) and len(value.value) <= 10 else None


def _default(argument: GraphQLArgument) -> int | None:
    if argument.default is not None:
        return _integer(argument.default.literal)
    return argument.default_value if type(argument.default_value) is int else None


PAGE_MARKS = frozenset({"pageInfo", "items"})
"""Fields of a type whose lists are as long as the `first` of the field that leads to it."""


BULK_MARKS = frozenset({"documents", "checkpoint"})
"""Fields of an answer whose `documents` are as many as the `limit` of the field that leads to it."""


def _is_page(parent: GraphQLNamedType | None) -> bool:
    return _is_bulk(parent) or (is_object_type(parent) and not PAGE_MARKS.isdisjoint(parent.fields))


def _is_bulk(kind: GraphQLNamedType | None) -> bool:
    return is_object_type(kind) and kind.fields.keys() == BULK_MARKS
