"""Answers that are finished already: plain values and stored bytes, of which a document takes what it asks for.

The library completes field by field, which for a page of a thousand stored documents costs more than reading
them. What a document asks is collected once and then picked from the plain values.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import GraphQLNamedType, GraphQLObjectType, get_named_type
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList

from backend.reads.selection import TYPENAME
from backend.sync.feed import DIGEST_MODULUS


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


_OF_ROW: Mapping[str, tuple[bytes, Callable[[Sequence[Any]], Iterable[object]]]] = {
    "collection": (b"%b", lambda names: [orjson.dumps(name) for name in names]),
    "seq": (b"%d", lambda seqs: seqs),
    "digest": (b'"%016x"', lambda numbers: [number % DIGEST_MODULUS for number in numbers]),
    "document": (b"%b", lambda documents: documents),
}
"""Field of a row → how it is printed, and the values of all rows."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of the feed, printed as one piece with what a document asks of each. `columns`: by names of fields."""

    columns: Mapping[str, Sequence[Any]]

    def picked(self, fields: "tuple[Picked, ...]") -> orjson.Fragment:
        forms, columns = [], []
        for one in fields:
            if one.name == TYPENAME:
                form = orjson.dumps(one.typename)
            else:
                form, values_of = _OF_ROW[one.name]
                columns.append(values_of(self.columns[one.name]))
            forms.append(b'"%b":%b' % (one.key.encode(), form))
        form = b"{" + b",".join(forms) + b"}"
        # all of a column at once: a step for each row and field costs more than printing it
        rows_n = len(self.columns["document"])
        printed = [form % values for values in zip(*columns, strict=True)] if columns else [form] * rows_n
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
