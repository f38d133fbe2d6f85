"""Mutations of a push that GraphQL cannot read, told apart from those it can.

The library refuses a request as a whole when one value of its variables has not its type, also where a change names
two collections at once. A device's queue must not stand still for that: entries that cannot be read are put aside,
the others run, and each of those put aside is answered by itself, refused and kept for its author.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLInputObjectType,
    GraphQLSchema,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    TypeNode,
    Undefined,
)
from graphql.utilities import coerce_input_value
from strawberry.exceptions import StrawberryInputCoercionError

PUSHED_TYPE = "SyncMutation"
STAND_IN = "put aside"


@dataclass(slots=True)
class PutAside:
    """What could not be read, by the token that stands in for it; `variables` as they can be."""

    variables: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, Any] = field(default_factory=dict)


def put_aside(
    schema: GraphQLSchema, document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any]
) -> PutAside | None:
    """Variables that can be read, and the entries of pushes that cannot; None when there are none to put aside."""
    pushed = schema.get_type(PUSHED_TYPE)
    found = PutAside(dict(variables))
    if not isinstance(pushed, GraphQLInputObjectType):
        return None
    for name in _pushed_variables(document, operation_name):
        entries = variables.get(name)
        if not isinstance(entries, list):
            continue
        readable = list(entries)
        for index, entry in enumerate(entries):
            if entry is None or not _is_readable(entry, pushed):
                token = f"{STAND_IN} {name} {index}"
                found.entries[token] = entry
                readable[index] = {"id": "", "clientSeq": 0, "change": {"task": {"id": token}}}
        found.variables[name] = readable
    return found if found.entries else None


def _is_readable(entry: object, kind: GraphQLInputObjectType) -> bool:
    try:
        return coerce_input_value(entry, kind) is not Undefined
    except StrawberryInputCoercionError:
        return False


def _pushed_variables(document: DocumentNode, operation_name: str | None) -> list[str]:
    """The variables of an operation that are lists of pushed mutations."""
    operations = [
        found
        for found in document.definitions
        if isinstance(found, OperationDefinitionNode)
        and (operation_name is None or (found.name is not None and found.name.value == operation_name))
    ]
    if len(operations) != 1:
        return []
    return [
        declared.variable.name.value
        for declared in operations[0].variable_definitions or ()
        if _is_list_of(declared.type, PUSHED_TYPE)
    ]


def _is_list_of(kind: TypeNode, name: str) -> bool:
    inner = kind.type if isinstance(kind, NonNullTypeNode) else kind
    if not isinstance(inner, ListTypeNode):
        return False
    item = inner.type.type if isinstance(inner.type, NonNullTypeNode) else inner.type
    return isinstance(item, NamedTypeNode) and item.name.value == name
