"""Scalars: each has one written form, the same on both databases and both ways of answering."""

from collections.abc import Mapping
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, ValueNode
from graphql.utilities import value_from_ast_untyped
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from backend.domain.fields import INTEGER_MAX
from backend.domain.times import INSTANT_FORM, instant_text, parse_day, parse_instant
from backend.errors import Refused

BigInt = NewType("BigInt", int)
Day = NewType("Day", str)
Instant = NewType("Instant", int)

__all__ = ["JSON", "SCALARS", "BigInt", "Day", "Instant"]


def _big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > INTEGER_MAX:
        raise GraphQLError(f"BigInt is a whole number between -{INTEGER_MAX} and {INTEGER_MAX}")
    return value


def _big_int_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> int:
    return _big_int(value_from_ast_untyped(node, variables))


def _day(value: Any) -> str:
    try:
        return parse_day(value if isinstance(value, str) else "")
    except Refused:
        raise GraphQLError("Date is a day between 1900-01-01 and 2199-12-31, written YYYY-MM-DD") from None


def _instant(value: Any) -> int:
    try:
        return parse_instant(value if isinstance(value, str) else "")
    except Refused:
        raise GraphQLError(f"DateTime is an instant in UTC between 1970 and 2199, written {INSTANT_FORM}") from None


SCALARS: dict[object, Any] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number below 2^53 in size, written as a JSON integer.",
        serialize=_big_int,
        parse_value=_big_int,
        parse_literal=_big_int_literal,
    ),
    Day: strawberry.scalar(
        name="Date",
        description="A local calendar day, written YYYY-MM-DD.",
        serialize=str,
        parse_value=_day,
    ),
    Instant: strawberry.scalar(
        name="DateTime",
        description="An instant in UTC, always written YYYY-MM-DDTHH:MM:SS.mmmZ.",
        serialize=instant_text,
        parse_value=_instant,
    ),
}
"""Python type → scalar, for the schema's configuration."""


def schema_config(default_resolver: Any, more: Mapping[object, Any]) -> StrawberryConfig:
    """The schema's configuration; `more` are scalars only one column knows."""
    return StrawberryConfig(scalar_map={**SCALARS, **more}, default_resolver=default_resolver)
