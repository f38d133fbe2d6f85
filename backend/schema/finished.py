"""Answers that are finished already: plain values and stored bytes, of which a document takes what it asks for.

The library completes field by field, which for a page of a thousand stored documents costs more than reading
them. What a document asks is collected once and then picked from the plain values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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


class StoredRow(Protocol):
    """What the feed holds of a record."""

    @property
    def collection(self) -> str: ...

    @property
    def seq(self) -> int: ...

    @property
    def digest(self) -> str: ...

    @property
    def document(self) -> bytes: ...


_OF_ROW: Mapping[str, tuple[bytes, Callable[[StoredRow], object]]] = {
    "collection": (b"%b", lambda row: orjson.dumps(row.collection)),
    "seq": (b"%d", lambda row: row.seq),
    "digest": (b'"%b"', lambda row: row.digest.encode()),
    "document": (b"%b", lambda row: row.document),
}
"""Field of a row → how it is printed, and of what."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of the feed, printed as one piece with what a document asks of each."""

    rows: Sequence[StoredRow]

    def picked(self, fields: "tuple[Picked, ...]") -> orjson.Fragment:
        forms, values = [], []
        for one in fields:
            if one.name == TYPENAME:
                form = orjson.dumps(one.typename)
            else:
                form, value = _OF_ROW[one.name]
                values.append(value)
            forms.append(b'"%b":%b' % (one.key.encode(), form))
        form = b"{" + b",".join(forms) + b"}"
        if values:
            printed = [form % tuple([value(row) for value in values]) for row in self.rows]
        else:
            printed = [form] * len(self.rows)
        return orjson.Fragment(b"[" + b",".join(printed) + b"]")


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
