"""Answers that are finished already: plain values and stored bytes, of which a document takes what it asks for.

The library completes field by field, which for a page of a thousand stored documents costs more than reading
them. What a document asks is collected once and then picked from the plain values.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import orjson
from graphql import GraphQLNamedType, GraphQLObjectType, get_named_type
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList

from backend.reads.selection import TYPENAME


@dataclass(frozen=True, slots=True)
class Finished:
    """An object of the type `typename`: field name → plain value, list or object of such."""

    typename: str
    value: Any


@dataclass(slots=True)
class Layout:
    """The fields all stored records of one answer have. `stored`: name asked for → name in the document."""

    names: frozenset[str]
    stored: Mapping[str, str] = field(default_factory=dict)
    _asked: "tuple[Picked, ...]" = ()
    _whole: bool = False

    def is_whole(self, fields: "tuple[Picked, ...]") -> bool:
        """True when a document asks for every field under its own name, so that the stored bytes are the answer."""
        if self._asked is not fields:
            names = {one.name for one in fields if one.key == one.name and one.name != TYPENAME}
            self._asked, self._whole = fields, not self.stored and names == self.names
        return self._whole


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as its stored bytes, never parsed when all of it is asked for; `head` are fields beside them."""

    document: bytes
    head: Mapping[str, Any]
    layout: Layout

    def picked(self, fields: "tuple[Picked, ...]") -> Any:
        if self.layout.is_whole(fields):
            return orjson.Fragment(orjson.dumps(self.head)[:-1] + b"," + self.document[1:])
        value = {**orjson.loads(self.document), **self.head}
        stored = self.layout.stored
        return {
            one.key: one.typename if one.name == TYPENAME else value.get(stored.get(one.name, one.name))
            for one in fields
        }


def _printed_numbers(numbers: Sequence[int]) -> Iterable[bytes]:
    # one transaction writes many rows
    printed = {number: b"%d" % number for number in set(numbers)}
    return map(printed.__getitem__, numbers)


def _printed_digests(numbers: Sequence[int]) -> Iterable[bytes]:
    return struct.pack(f">{len(numbers)}q", *numbers).hex(",", 8).encode().split(b",")


_OF_ROW: Mapping[str, tuple[bytes, Callable[[Sequence[Any]], Iterable[bytes]]]] = {
    "collection": (b"", lambda names: map(orjson.dumps, names)),
    "seq": (b"", _printed_numbers),
    "digest": (b'"', _printed_digests),
    "document": (b"", lambda documents: documents),
}
"""Field of a row → what stands before and after it, and how all rows print it."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of the feed, printed as one piece with what a document asks of each. `columns`: by names of fields."""

    columns: Mapping[str, Sequence[Any]]

    def picked(self, fields: "tuple[Picked, ...]") -> orjson.Fragment:
        rows_n = len(self.columns["document"])
        if not rows_n:
            return orjson.Fragment(b"[]")
        # all of a column at once, and all pieces joined at once: a step for each row and field costs more than both
        columns: list[Iterable[bytes]] = []
        between = begin = b""
        for at, one in enumerate(fields):
            between += b'%b"%b":' % (b"," if at else b"{", one.key.encode())
            if one.name == TYPENAME:
                between += orjson.dumps(one.typename)
                continue
            quote, printed = _OF_ROW[one.name]
            if columns:
                columns.append(repeat(between + quote))
            else:
                begin = between + quote
            columns.append(printed(self.columns[one.name]))
            between = quote
        if not columns:
            return orjson.Fragment(b"[" + b",".join([between + b"}"] * rows_n) + b"]")
        columns.append(repeat(between + b"}," + begin))
        pieces = list(chain.from_iterable(zip(*columns, strict=False)))
        pieces[-1] = between + b"}]"
        return orjson.Fragment(b"".join([b"[" + begin, *pieces]))


@dataclass(frozen=True, slots=True)
class Picked:
    """One field of the answer under its response key."""

    key: str
    name: str
    typename: str
    fields: "tuple[Picked, ...]"


def picked_of(executor: Executor[Any], kind: GraphQLNamedType | None, details: FieldDetailsList) -> tuple[Picked, ...]:
    """What the document asks of an object type, all the way down."""
    if not isinstance(kind, GraphQLObjectType):
        return ()
    grouped = executor.collect_subfields(kind, details).grouped_field_set
    return tuple(
        Picked(
            key,
            name := found[0].node.name.value,
            kind.name,
            () if name == TYPENAME else picked_of(executor, get_named_type(kind.fields[name].type), found),
        )
        for key, found in grouped.items()
    )


def pick(value: Any, fields: tuple[Picked, ...]) -> Any:
    """The part of a finished value that was asked for; scalars as they are."""
    if not fields or value is None:
        return value
    if isinstance(value, StoredRecord | StoredRows):
        return value.picked(fields)
    if isinstance(value, list | tuple):
        return [pick(item, fields) for item in value]
    return {one.key: one.typename if one.name == TYPENAME else pick(value[one.name], one.fields) for one in fields}
