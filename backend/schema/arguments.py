"""How input objects are made of what was sent.

The library works out names and types of every field for every object it makes, which is most of what a queue of a
hundred mutations costs before anything is done with it. Here that is worked out once for each input type.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any

import strawberry
from strawberry.scalars import is_scalar
from strawberry.types.arguments import InputContext, convert_argument
from strawberry.types.base import StrawberryList, StrawberryObjectDefinition, StrawberryOptional, StrawberryType
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition

Convert = Callable[[Any, InputContext], Any]


def prepare_inputs(schema: strawberry.Schema) -> None:
    """Let every input type of the schema make its objects by itself, with the outcome the library has."""
    for found in schema.schema_converter.type_map.values():
        definition = found.definition
        if isinstance(definition, StrawberryObjectDefinition) and definition.is_input:
            definition.from_input = _Maker(definition)


class _Maker:
    """Makes the objects of one input type. What it knows of the fields it learns at the first one."""

    def __init__(self, definition: StrawberryObjectDefinition) -> None:
        self._definition = definition
        self._absent: dict[str, None] = {}
        self._fields: dict[str, tuple[str, Convert | None]] = {}

    def __call__(self, kind: type, value: Mapping[str, Any], context: InputContext) -> Any:
        fields = self._fields or self._learn(context)
        given: dict[str, Any] = self._absent.copy()
        for graphql_name, found in value.items():
            name, convert = fields[graphql_name]
            given[name] = found if convert is None or found is None else convert(found, context)
        return kind(**given)

    def _learn(self, context: InputContext) -> dict[str, tuple[str, Convert | None]]:
        definition = self._definition
        self._absent = {
            field.python_name: None
            for field in definition.fields
            if field.default_value is MISSING and field.default_factory is MISSING
        }
        self._fields = {
            context.config.name_converter.from_field(field): (
                field.python_name,
                _convert_to(field.resolve_type(type_definition=definition), context),
            )
            for field in definition.fields
        }
        return self._fields


def _convert_to(kind: StrawberryType | type, context: InputContext) -> Convert | None:
    """What makes a value of this type of one that is not null; None where it is one already."""
    if isinstance(kind, StrawberryOptional):
        return _convert_to(kind.of_type, context)
    if (
        is_scalar(kind, context.scalar_registry)
        or isinstance(kind, StrawberryEnumDefinition)
        or has_enum_definition(kind)
    ):
        return None
    if isinstance(kind, StrawberryList):
        each = _convert_to(kind.of_type, context)
        if each is None:
            # a copy: a default of the schema is one list for all requests
            return lambda values, _context: list(values)
        return lambda values, context: [None if one is None else each(one, context) for one in values]
    definition = getattr(kind, "__strawberry_definition__", None)
    make = getattr(definition, "from_input", None)
    if isinstance(make, _Maker):
        return lambda value, context: make(kind, value, context)  # type: ignore[arg-type]
    return lambda value, context: convert_argument(value, kind, context.scalar_registry, context.config, context.info)
