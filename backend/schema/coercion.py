"""Variables that are objects, coerced by what is known of their type.

The library finds out anew for each value of a list what its type is, and looks through everything once more for what
is nested too deeply: for a queue of a hundred mutations that takes four times as long as here, where it is worked out
once for each document. Whatever is not taken here goes the library's way, which also words every error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    is_required_input_field,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource
from graphql.utilities import coerce_input_value
from graphql.utilities.coerce_input_value import coerce_default_value

Coerce = Callable[[Any], Any]
"""Makes the value of what was sent; `Undefined`, or whatever a scalar raises, where it is none of the type."""


@dataclass(frozen=True, slots=True)
class Light:
    """An operation whose variables that are objects are coerced beforehand."""

    document: DocumentNode
    """without the definitions of these variables"""
    operation: OperationDefinitionNode
    """as it was written"""
    variables: tuple[tuple[GraphQLVariableSignature, Coerce], ...]

    def coerced(self, given: Mapping[str, Any]) -> VariableValues | None:
        """The values of these variables; None where one is absent or wrong, and the library must say what is so."""
        sources, values = {}, {}
        for signature, coerce in self.variables:
            name = signature.name
            sent = given.get(name, Undefined)
            if sent is Undefined:
                return None
            try:
                value = coerce(sent)
            except Exception:  # noqa: BLE001 - whatever a scalar raises, the value is none of its
                return None
            if value is Undefined:
                return None
            sources[name], values[name] = VariableValueSource(signature, sent), value
        return VariableValues(sources, values)


def light_operations(schema: GraphQLSchema, document: DocumentNode) -> dict[str | None, Light]:
    """Operation name → its light form, for a valid document; under None the only operation."""
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    found: dict[str | None, Light] = {}
    for operation in operations:
        light = _light(schema, document, operation)
        if light is not None:
            if operation.name is not None:
                found[operation.name.value] = light
            if len(operations) == 1:
                found[None] = light
    return found


def _light(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Light | None:
    variables, rest = [], []
    for definition in operation.variable_definitions or ():
        signature = get_variable_signature(schema, definition)
        coerce = None if isinstance(signature, GraphQLError) else coercer_of(signature.type)
        if isinstance(signature, GraphQLError) or coerce is None:
            rest.append(definition)
        else:
            variables.append((signature, coerce))
    if not variables:
        return None
    lighter = replace(operation, variable_definitions=tuple(rest))
    definitions = tuple(lighter if one is operation else one for one in document.definitions)
    return Light(replace(document, definitions=definitions), operation, tuple(variables))


def coercer_of(kind: GraphQLInputType) -> Coerce | None:
    """What coerces values of a type with objects in it; None where the type is simple, or may contain itself."""
    if not _has_objects(kind) or _holds_itself(kind, ()):
        return None
    return _coercer(kind)


def _has_objects(kind: GraphQLInputType) -> bool:
    if isinstance(kind, GraphQLNonNull | GraphQLList):
        return _has_objects(kind.of_type)
    return isinstance(kind, GraphQLInputObjectType)


def _holds_itself(kind: GraphQLInputType, within: tuple[GraphQLInputType, ...]) -> bool:
    """Such values may be nested deeper than they can be followed; all others are as deep as their type."""
    if isinstance(kind, GraphQLNonNull | GraphQLList):
        return _holds_itself(kind.of_type, within)
    if not isinstance(kind, GraphQLInputObjectType):
        return False
    return kind in within or any(_holds_itself(one.type, (*within, kind)) for one in kind.fields.values())


def _coercer(kind: GraphQLInputType) -> Coerce:
    if isinstance(kind, GraphQLNonNull):
        inner = _coercer(kind.of_type)
        return lambda sent: Undefined if sent is None else inner(sent)
    if isinstance(kind, GraphQLList):
        return _list_coercer(kind, _coercer(kind.of_type))
    if isinstance(kind, GraphQLInputObjectType):
        return _choice_coercer(kind) if kind.is_one_of else _object_coercer(kind)
    parse = kind.coerce_input_value

    return lambda sent: None if sent is None else parse(sent)


def _list_coercer(kind: GraphQLList[Any], each: Coerce) -> Coerce:
    def coerce(sent: Any) -> Any:
        if sent is None:
            return None
        if type(sent) is not list:
            return coerce_input_value(sent, kind)
        values = []
        for one in sent:
            value = each(one)
            if value is Undefined:
                return Undefined
            values.append(value)
        return values

    return coerce


def _object_coercer(kind: GraphQLInputObjectType) -> Coerce:
    names = kind.fields.keys()
    # name, name of the value, what makes it, whether it must be given, what stands for it where it is not
    fields = [
        (name, one.out_name or name, _coercer(one.type), is_required_input_field(one), coerce_default_value(one))
        for name, one in kind.fields.items()
    ]
    out_type = kind.out_type

    def coerce(sent: Any) -> Any:
        if sent is None:
            return None
        if type(sent) is not dict or not sent.keys() <= names:
            return Undefined
        values: dict[str, Any] = {}
        for name, out_name, make, required, default in fields:
            if name in sent:
                value = make(sent[name])
                if value is Undefined:
                    return Undefined
                values[out_name] = value
            elif required:
                return Undefined
            elif default is not Undefined:
                values[out_name] = default
        return out_type(values)

    return coerce


def _choice_coercer(kind: GraphQLInputObjectType) -> Coerce:
    """Of many fields one is given, and only that one is looked at."""
    makers = {name: (one.out_name or name, _coercer(one.type)) for name, one in kind.fields.items()}
    out_type = kind.out_type

    def coerce(sent: Any) -> Any:
        if sent is None:
            return None
        if type(sent) is not dict or len(sent) != 1:
            return Undefined
        ((name, given),) = sent.items()
        if name not in makers:
            return Undefined
        out_name, make = makers[name]
        value = make(given)
        return Undefined if value is None or value is Undefined else out_type({out_name: value})

    return coerce
