"""Inputs of mutations, made from the domain's field declarations: a field is declared once.

In a patch every field may be left out (absent: unchanged) or be null (emptied, where the field allows it).
"""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from backend.domain.custom import CUSTOM_CHOICE
from backend.domain.fields import Field, Kind, Shape
from backend.domain.forms import FORM_QUESTION
from backend.domain.messages import LOCALE_DEFAULT, Catalogue
from backend.domain.orders import ORDER_LINE
from backend.schema.enums import ENUMS
from backend.schema.scalars import BigInt, Day, Instant

_PYTHON_TYPE: Mapping[Kind, Any] = {
    Kind.TEXT: str,
    Kind.LONG_TEXT: str,
    Kind.INT: BigInt,
    Kind.MONEY_MINOR: BigInt,
    Kind.TIMESTAMP: Instant,
    Kind.DATE: Day,
    Kind.ID: strawberry.ID,
    Kind.SET: list[str],
    Kind.BOOL: bool,
    Kind.MAP: JSON,
    Kind.CELLS: JSON,
}
_SMALL_MOST = 2**31 - 1


def snake(name: str) -> str:
    """`checkInLatE7` → `check_in_lat_e7`, the attribute strawberry prints back as it was."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def make_input(
    shape: Shape,
    typename: str,
    description: str,
    catalogue: Catalogue,
    *,
    creating: bool,
    more: tuple[str, ...] = (),
) -> type[Any]:
    """An input type with the client's fields of a shape; `more` names further id fields."""
    types: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for field in shape.client_fields:
        if (field.name == shape.key and not _keyed(shape)) or (field.fixed and not creating):
            continue
        inner, text = _type_of(field, catalogue), description_of(field, catalogue)
        if creating and (field.name,) in shape.required:
            types[snake(field.name)], defaults[snake(field.name)] = inner, strawberry.field(description=text)
        else:
            types[snake(field.name)], defaults[snake(field.name)] = inner | None, _optional(text)
    for name in more:
        types[snake(name)] = strawberry.ID | None
        defaults[snake(name)] = _optional(_sentence(catalogue[LOCALE_DEFAULT].get(f"field.{name}", name)))
    made = type(typename, (), {"__annotations__": types, "__module__": __name__, **defaults})
    return strawberry.input(made, description=description)


def _optional(text: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=text)


def _keyed(shape: Shape) -> bool:
    """Records inside a field bring their own key; a collection's id is an argument of its own."""
    return shape in (ORDER_LINE, CUSTOM_CHOICE, FORM_QUESTION)


def _type_of(field: Field, catalogue: Catalogue) -> Any:
    if field.kind is Kind.ENUM:
        return ENUMS[field.enum]
    if field.kind is Kind.RECORDS and field.record is not None:
        return list[_record_input(field.record, catalogue)]  # type: ignore[misc]
    if field.kind is Kind.INT and field.most is not None and field.most <= _SMALL_MOST:
        return int
    return _PYTHON_TYPE[field.kind]


def _record_input(shape: Shape, catalogue: Catalogue) -> type[Any]:
    """One type per kind of record, for creating and patching alike."""
    if shape.name not in _RECORD_INPUTS:
        text = "An entry of a list; in a patch only the entries that change, and of those only what changes."
        _RECORD_INPUTS[shape.name] = make_input(
            shape, f"{shape.name[:1].upper()}{shape.name[1:]}Input", text, catalogue, creating=False
        )
    return _RECORD_INPUTS[shape.name]


_RECORD_INPUTS: dict[str, type[Any]] = {}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def description_of(field: Field, catalogue: Catalogue) -> str:
    """What a field is, its bounds and the form of its values, in a sentence."""
    label = catalogue[LOCALE_DEFAULT].get(f"field.{field.name}", field.name)
    bounds = []
    if field.limit is not None:
        bounds.append(f"at most {field.limit}")
    if field.least is not None or field.most is not None:
        low = "" if field.least is None else f"{field.least}"
        high = "" if field.most is None else f"{field.most}"
        bounds.append(f"{low}..{high}")
    tail = f" ({'; '.join(bounds)})" if bounds else ""
    return _sentence(f"{label}{tail}")


def given_fields(given: Any) -> dict[str, Any]:
    """What a client named in an input, by document names; absent fields stay absent, null stays null."""
    found: dict[str, Any] = {}
    for declared in dataclasses.fields(given):
        value = getattr(given, declared.name)
        if value is not strawberry.UNSET:
            found[to_camel_case(declared.name)] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return given_fields(value)
    return value
