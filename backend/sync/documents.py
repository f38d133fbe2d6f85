"""Documents as clients see them, read from the tables and printed in canonical form."""

from collections.abc import Sequence
from typing import Any

import orjson

from backend.domain.fields import Field, Kind
from backend.domain.times import instant_text
from backend.storage.engine import Connection
from backend.sync.collections import Collection

JSON_KINDS = frozenset({Kind.SET, Kind.MAP, Kind.CELLS, Kind.RECORDS})
PRINTED_KINDS = JSON_KINDS | {Kind.TIMESTAMP, Kind.BOOL}
"""What `shown` changes."""


async def read_documents(conn: Connection, collection: Collection, ids: Sequence[str]) -> dict[str, bytes]:
    """Record id → canonical bytes, for those of `ids` that exist."""
    if not ids:
        return {}
    rows = await conn.fetch(collection.select_sql, list(ids))
    names, printed = collection.own_names, _printed(collection.own_fields)
    found = {row[0]: _record(names, row, printed) for row in rows}
    for child in collection.children:
        for record in found.values():
            record[child.name] = []
        names, printed = child.names, _printed(child.fields)
        for row in await conn.fetch(child.select_sql, list(ids)):
            if row[0] in found:
                found[row[0]][child.name].append(_record(names, row, printed))
    return {record_id: canonical(record) for record_id, record in found.items()}


def canonical(record: object) -> bytes:
    """Sorted keys, no spaces: the same bytes from Python and from JavaScript."""
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def _printed(fields: Sequence[Field]) -> list[tuple[str, Kind]]:
    """The fields that documents carry in another form than their column does."""
    return [(one.name, one.kind) for one in fields if one.kind in PRINTED_KINDS]


def _record(names: Sequence[str], row: Sequence[Any], printed: Sequence[tuple[str, Kind]]) -> dict[str, Any]:
    record = dict(zip(names, row[1:], strict=True))
    for name, kind in printed:
        if record[name] is not None:
            record[name] = shown(kind, record[name])
    return record


def shown(kind: Kind, value: Any) -> Any:
    """A column's value as documents carry it."""
    if kind is Kind.TIMESTAMP:
        return instant_text(value)
    if kind is Kind.BOOL:
        return bool(value)
    if kind in JSON_KINDS:
        return orjson.Fragment(value)  # stored in canonical form already
    return value
