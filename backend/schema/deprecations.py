"""Who still uses what is deprecated, so that it can be taken away without breaking anybody unawares.

A use is a request whose document, or whose variables, name a deprecated field, argument, input field or enum value.
It is counted once for each of them, under the client's own name and version, both within bounds.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_named_type,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
    is_scalar_type,
    type_from_ast,
    visit,
)
from starlette.datastructures import Headers

from backend.telemetry import OTHER, counter

CLIENTS_MAX = 50
VERSIONS_MAX = 200
COORDINATES_MAX = 500
UNNAMED = "unnamed"
NAME_HEADER = "x-client-name"
VERSION_HEADER = "x-client-version"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/@-]{0,39}")
USES = counter(
    "deprecated_uses",
    "requests that used something deprecated of the schema",
    client=CLIENTS_MAX,
    version=VERSIONS_MAX,
    coordinate=COORDINATES_MAX,
)


@dataclass(frozen=True, slots=True)
class Client:
    """What a client calls itself."""

    name: str = UNNAMED
    version: str = UNNAMED


NAMELESS = Client()


def client_of(headers: Headers | Mapping[str, Any]) -> Client:
    """By the two headers; what no name would look like counts as `other`."""
    return Client(_named(headers.get(NAME_HEADER)), _named(headers.get(VERSION_HEADER)))


def _named(given: object) -> str:
    if not given:
        return UNNAMED
    return given if isinstance(given, str) and _NAME.fullmatch(given) else OTHER


class Deprecations:
    """What of one schema is deprecated, and which documents use it; as many of those are remembered as are told."""

    def __init__(self, schema: GraphQLSchema, *, documents_max: int) -> None:
        self._schema = schema
        self._documents_max = documents_max
        self._of_document: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._of_operation: OrderedDict[int, _Declared] = OrderedDict()
        self.coordinates = frozenset(_deprecated(schema))

    def count(
        self,
        client: Client,
        key: str,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        variables: Mapping[str, Any],
    ) -> None:
        """Count what a request uses; `key` identifies its document."""
        if not self.coordinates:
            return
        used = self._used(key, document)
        declared = self._declared(operation)
        if declared:
            used |= self.coordinates.intersection(_given(declared, variables))
        for coordinate in used:
            USES.add(client=client.name, version=client.version, coordinate=coordinate)

    def _used(self, key: str, document: DocumentNode) -> frozenset[str]:
        found = self._of_document.get(key)
        if found is None:
            names = _Names(TypeInfo(self._schema))
            visit(document, TypeInfoVisitor(names.info, names))
            found = self._of_document[key] = self.coordinates & names.found
            while len(self._of_document) > self._documents_max:
                self._of_document.popitem(last=False)
        else:
            self._of_document.move_to_end(key)
        return found

    def _declared(self, operation: OperationDefinitionNode) -> "tuple[tuple[str, GraphQLInputType], ...]":
        """The variables in whose values something deprecated may stand: a scalar holds no names of the schema."""
        found = self._of_operation.get(id(operation))
        if found is None:
            told = []
            for one in operation.variable_definitions or ():
                kind = type_from_ast(self._schema, one.type)
                if kind is not None and not is_scalar_type(get_named_type(kind)):
                    told.append((one.variable.name.value, kind))
            found = self._of_operation[id(operation)] = _Declared(operation, tuple(told))  # type: ignore[arg-type]
            while len(self._of_operation) > self._documents_max:
                self._of_operation.popitem(last=False)
        else:
            self._of_operation.move_to_end(id(operation))
        return found.variables


@dataclass(frozen=True, slots=True)
class _Declared:
    """Of an operation, which is held on to, so that no other one has its id."""

    operation: OperationDefinitionNode
    variables: tuple[tuple[str, GraphQLInputType], ...]


def _given(declared: Iterable[tuple[str, GraphQLInputType]], variables: Mapping[str, Any]) -> Iterator[str]:
    for name, kind in declared:
        if (value := variables.get(name)) is not None:
            yield from _names_in(value, kind)


class _Names(Visitor):
    """The coordinates a document names: `Type.field`, `Type.field(argument:)`, `Input.field`, `Enum.VALUE`."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self.info = info
        self.found: set[str] = set()

    def enter_field(self, node: Any, *_: object) -> None:
        if parent := self.info.get_parent_type():
            self.found.add(f"{parent.name}.{node.name.value}")

    def enter_argument(self, node: Any, *_: object) -> None:
        parent, field = self.info.get_parent_type(), self.info.get_field_def()
        if parent and field and not self.info.get_directive():
            name = next(name for name, known in parent.fields.items() if known is field)  # type: ignore[union-attr]
            self.found.add(f"{parent.name}.{name}({node.name.value}:)")

    def enter_object_field(self, node: Any, *_: object) -> None:
        parent = self.info.get_parent_input_type()
        if parent:
            self.found.add(f"{get_named_type(parent).name}.{node.name.value}")

    def enter_enum_value(self, node: Node, *_: object) -> None:
        kind = get_named_type(self.info.get_input_type())
        if is_enum_type(kind):
            self.found.add(f"{kind.name}.{node.value}")  # type: ignore[attr-defined]


def _names_in(value: object, kind: GraphQLInputType) -> Iterator[str]:
    """The input fields and enum values in a variable, as deep as its type goes."""
    if is_non_null_type(kind):
        kind = kind.of_type
    if is_list_type(kind):
        for item in value if isinstance(value, list) else [value]:
            yield from _names_in(item, kind.of_type)
    elif is_enum_type(kind):
        yield f"{kind.name}.{value}"
    elif is_input_object_type(kind) and isinstance(value, dict):
        yield from _fields_in(value, kind)


def _fields_in(value: Mapping[str, object], kind: GraphQLInputObjectType) -> Iterator[str]:
    for name, inner in value.items():
        if field := kind.fields.get(name):
            yield f"{kind.name}.{name}"
            yield from _names_in(inner, field.type)


def _deprecated(schema: GraphQLSchema) -> Iterator[str]:
    for kind in schema.type_map.values():
        if is_enum_type(kind):
            yield from (f"{kind.name}.{name}" for name, value in kind.values.items() if value.deprecation_reason)
        elif is_input_object_type(kind):
            yield from (f"{kind.name}.{name}" for name, field in kind.fields.items() if field.deprecation_reason)
        elif is_object_type(kind):
            for name, field in kind.fields.items():
                if field.deprecation_reason:
                    yield f"{kind.name}.{name}"
                for argument, given in field.args.items():
                    if given.deprecation_reason:
                        yield f"{kind.name}.{name}({argument}:)"
