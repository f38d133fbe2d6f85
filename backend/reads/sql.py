"""Pieces of statements: text with the places of its values, and what is put in there when it is run.

Statements hold no values, so one of them serves every request of its shape.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from backend.auth.principal import Principal
from backend.reads.printing import joined, literal
from backend.reads.selection import Span


class Source(Enum):
    """Where the value of a `?` comes from when a plan is run."""

    USER = auto()
    NOW = auto()
    WHERE = auto()
    """value `part` of the selection's filter `slot`"""
    ROWS = auto()
    """how many rows span `slot` asks for"""
    ROWS_AND_ONE = auto()
    """one more, to know whether there are more"""
    POSITION = auto()
    """value `part` of the cursor of span `slot`"""
    GIVEN = auto()
    """value `part` of those handed over beside the selection"""


class Parameter(NamedTuple):
    source: Source
    slot: int = 0
    part: int = 0


USER = Parameter(Source.USER)
NOW = Parameter(Source.NOW)


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of a statement with the parameters of its `?`, in order.

    JSON text put together keeps its `pieces`, so that it stands without brackets in what it is put into.
    """

    text: str
    parameters: tuple[Parameter, ...] = ()
    pieces: "tuple[str | Sql, ...]" = ()


def sql_of(*parts: str | Sql, by: str = "") -> Sql:
    """The pieces one after the other."""
    texts: list[str] = []
    parameters: list[Parameter] = []
    for part in parts:
        if isinstance(part, Sql):
            texts.append(part.text)
            parameters.extend(part.parameters)
        else:
            texts.append(part)
    return Sql(by.join(texts), tuple(parameters))


def printed(parts: Sequence[str | Sql]) -> Sql:
    """JSON text out of its pieces; a plain `str` is text as it stands, an `Sql` an expression."""
    merged: list[str | Sql] = []
    for part in _flat(parts):
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    texts = [literal(part) if isinstance(part, str) else part.text for part in merged]
    parameters = [p for part in merged if isinstance(part, Sql) for p in part.parameters]
    return Sql(joined(texts), tuple(parameters), tuple(merged))


def json_object(pairs: Iterable[tuple[str, str | Sql]]) -> Sql:
    """The text of an object: keys with the pieces of their values."""
    parts: list[str | Sql] = []
    for key, value in pairs:
        parts += ["," if parts else "{", f'"{key}":', value]
    return printed([*parts, "}"] if parts else ["{}"])


def _flat(parts: Sequence[str | Sql]) -> Iterator[str | Sql]:
    for part in parts:
        if isinstance(part, Sql) and part.pieces:
            yield from part.pieces
        else:
            yield part


Where = tuple[tuple[str, tuple[Any, ...]], ...]


def arguments_of(
    parameters: Sequence[Parameter],
    principal: Principal,
    now_ms: int,
    where: Where = (),
    spans: Sequence[Span] = (),
    given: Sequence[Any] = (),
) -> list[Any]:
    """The value of each parameter."""
    holder = principal.holder
    values: list[Any] = []
    for source, slot, part in parameters:
        match source:
            case Source.USER:
                values.append(holder)
            case Source.NOW:
                values.append(now_ms)
            case Source.WHERE:
                values.append(where[slot][1][part])
            case Source.ROWS:
                values.append(spans[slot].rows)
            case Source.ROWS_AND_ONE:
                values.append(spans[slot].rows + 1)
            case Source.POSITION:
                position = spans[slot].position
                assert position is not None, "a plan is used for the shape it was made for"
                values.append(position[part])
            case Source.GIVEN:
                values.append(given[part])
    return values
