"""The short way for a document that asks one thing, which is what apps ask most.

An executor works out anew in every request what the text of a document says for good: its operation, its root field,
which arguments are written out and which are variables. Of a document that was answered by one selection at its root,
or by one finished value, that is remembered beside the document; the next request goes from its variables to the
field's resolver, and from the selection it returns to the plan, without an executor. Whatever is not as simple as that
goes the usual way: a fragment or directive at the root, a variable that is no text (of a finished value: and no whole
number), a plan that is not kept.

The rules are those of the usual way, in its order: the resolver decides who may ask, the plan has scope and masks in
it, a failure stands at the path of the field and nulls it, or all of `data` where null may not stand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

import strawberry
from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLObjectType,
    GraphQLOutputType,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    ValueNode,
    VariableNode,
    is_non_null_type,
    located_error,
    type_from_ast,
)
from graphql.execution.values import get_argument_values, get_variable_values
from strawberry.schema.schema_converter import GraphQLCoreConverter, get_arguments
from strawberry.types.field import StrawberryField

from backend.reads.selection import Selection
from backend.schema.context import Context
from backend.schema.executor import Kept, count_hit, plan_key, run_plan
from backend.schema.finished import Finished, Picked, pick
from backend.schema.selection import spans_of, variables_shape

TEXTS = frozenset({"ID", "String"})
"""Scalars whose values are handed to resolvers as they come, when they come as texts."""
NUMBER = "Int"
"""The one whose values are, when they come as whole numbers of its size."""
MARKED_FROM = 1_000_000_000


class OutOfReach(Exception):
    """A resolver asked for something of the execution that the short way has not."""


class _Asking:
    """What of an execution resolvers of selections look at."""

    __slots__ = ("context", "field_name")

    def __init__(self, context: Context, field_name: str) -> None:
        self.context = context
        self.field_name = field_name

    def __getattr__(self, name: str) -> Any:
        raise OutOfReach(name)


@dataclass(frozen=True, slots=True)
class Shortcut:
    """What an operation of one root field says in every request."""

    operation_name: str | None
    """its own, whether it was asked for by it or not"""
    node: FieldNode
    key: str
    return_type: GraphQLOutputType
    place: tuple[str, str]
    field: StrawberryField
    resolve: Callable[..., Any]
    sources: tuple[Any, ...]
    constants: Mapping[str, Any]
    given: tuple[tuple[str, str], ...]
    """(the resolver's name for it, variable) of each argument that is one"""
    info_name: str | None
    variables: Mapping[str, type]
    """each a text or a number"""
    shape: tuple[Any, ...]
    """of the variables, when all are texts"""
    finished: tuple[Picked, ...] | None = None
    """what is asked of a finished value; None where the answer is a selection"""

    def fits(self, variables: Mapping[str, Any]) -> bool:
        """Whether the variables are all there, each of its type, and no others."""
        if variables.keys() != self.variables.keys():
            return False
        for name, kind in self.variables.items():
            value = variables[name]
            if type(value) is not kind:
                return False
            if isinstance(value, int) and not GRAPHQL_MIN_INT <= value <= GRAPHQL_MAX_INT:
                return False
        return True

    async def answer(self, context: Context, variables: Mapping[str, Any]) -> ExecutionResult | None:
        """The result; None where only the usual way gives one, which then asks the resolver again.

        Resolvers of queries look and change nothing; what one notes it notes once in a request.
        """
        try:
            found = await self._found(context, variables)
        except OutOfReach:
            return None
        except Exception as error:  # noqa: BLE001 - whatever a field fails with is told as an executor tells it
            located = located_error(error, [self.node], [self.key])
            return ExecutionResult(None if is_non_null_type(self.return_type) else {self.key: None}, [located])
        return ExecutionResult({self.key: found[0]}, None) if found else None

    async def _found(self, context: Context, variables: Mapping[str, Any]) -> tuple[Any] | None:
        arguments = {**self.constants, **{name: variables[variable] for name, variable in self.given}}
        if self.info_name is not None:
            asking: Any = _Asking(context, self.field.python_name)
            arguments[self.info_name] = strawberry.Info(_raw_info=asking, _field=self.field)
        selection = self.resolve(*self.sources, **arguments)
        if isawaitable(selection):
            selection = await selection
        if self.finished is not None:
            if not isinstance(selection, Finished):
                return None
            context.reads.shortcuts += 1
            return (pick(selection.value, self.finished),)
        if not isinstance(selection, Selection):
            return None
        key = plan_key(context, self.operation_name, self.place, selection, self.shape)
        plan = context.plans.get(key)
        if plan is None:
            return None
        kept: Kept = plan.note
        spans = kept.spans
        if not spans:
            pages = [found.page for found in kept.nested if found.page is not None]
            if len(pages) < len(kept.nested):
                return None
            spans = tuple(spans_of(selection, kept.nested, pages, self.place[1:], context.caller, context.settings))
            if not plan.fits(spans):
                return None
        context.reads.selections += 1
        context.reads.shortcuts += 1
        count_hit(context)
        answer = await run_plan(context, plan, selection, spans)
        if answer is None and is_non_null_type(self.return_type):
            raise TypeError(f"Cannot return null for non-nullable field {self.place[0]}.{self.node.name.value}.")
        return (answer,)


def shortcut_of(
    schema: strawberry.Schema,
    document: DocumentNode,
    operation_name: str | None,
    finished: tuple[Picked, ...] | None = None,
) -> Shortcut | None:
    """The short way for an operation that ran as the usual way runs it; None where there is none.

    `finished`: what it asks of the finished value it was answered by.
    """
    operation = _operation(document, operation_name)
    if operation is None or operation.operation is not OperationType.QUERY or operation.directives:
        return None
    node, *others = operation.selection_set.selections
    if others or not isinstance(node, FieldNode) or node.directives:
        return None
    core = schema._schema
    root = core.query_type
    assert isinstance(root, GraphQLObjectType)
    definition = root.fields.get(node.name.value)
    field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF) if definition else None
    if definition is None or not isinstance(field, StrawberryField) or field.base_resolver is None or field.extensions:
        return None
    marks = _marks(schema, operation, numbers=finished is not None)
    written = node.arguments or ()
    if marks is None or any(_holds_variable(one.value) for one in written):
        return None
    values = get_variable_values(core, operation.variable_definitions or (), dict(marks))
    if isinstance(values, list):
        return None
    info: Any = object()
    sources, arguments = get_arguments(
        field=field,
        source=None,
        info=info,
        kwargs=get_argument_values(definition, node, values, None, False),
        config=schema.config,
        scalar_registry=schema.schema_converter.scalar_registry,
    )
    given = {name: variable for name, value in arguments.items() for variable, mark in marks.items() if value is mark}
    if len(given) != sum(isinstance(one.value, VariableNode) for one in written):
        return None
    key = (node.alias or node.name).value
    return Shortcut(
        operation_name=operation.name.value if operation.name else None,
        node=node,
        key=key,
        return_type=definition.type,
        place=(root.name, key),
        field=field,
        resolve=field.base_resolver,
        sources=tuple(sources),
        constants={name: value for name, value in arguments.items() if name not in given and value is not info},
        given=tuple(given.items()),
        info_name=next((name for name, value in arguments.items() if value is info), None),
        variables={name: type(mark) for name, mark in marks.items()},
        shape=variables_shape(values.coerced),
        finished=finished,
    )


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    found = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if name is not None:
        found = [one for one in found if one.name is not None and one.name.value == name]
    return found[0] if len(found) == 1 else None


def _marks(
    schema: strawberry.Schema, operation: OperationDefinitionNode, *, numbers: bool
) -> dict[str, str | int] | None:
    """A value for each variable, by which it is known again where it arrives: a text or, where they may be `numbers`,
    a number; None where not all may."""
    marks: dict[str, str | int] = {}
    for at, one in enumerate(operation.variable_definitions or ()):
        kind = str(type_from_ast(schema._schema, one.type)).removesuffix("!")
        name = one.variable.name.value
        if kind in TEXTS:
            marks[name] = f"the variable {name}"
        elif numbers and kind == NUMBER:
            marks[name] = MARKED_FROM + at
        else:
            return None
    return marks


def _holds_variable(value: ValueNode) -> bool:
    """Whether a variable stands inside a list or a map, where it is no argument by itself."""
    if isinstance(value, ListValueNode):
        return any(isinstance(one, VariableNode) or _holds_variable(one) for one in value.values)
    if isinstance(value, ObjectValueNode):
        return any(isinstance(one.value, VariableNode) or _holds_variable(one.value) for one in value.fields)
    return False
