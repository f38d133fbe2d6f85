"""Documents as clients see them, read from the tables and printed in canonical form."""

from collections.abc import Sequence
from typing import Any

import orjson

from backend.domain.fields import Field, Kind
from backend.domain.times import instant_text
from backend.storage.engine import Connection
from backend.sync.collections import Collection

JSON_KINDS = frozenset({Kind.SET, Kind.MAP, Kind.CELLS, Kind.RECORDS})


async def read_documents(conn: Connection, collection: Collection, ids: Sequence[str]) -> dict[str, bytes]:
    """Record id → canonical bytes, for those of `ids` that exist."""
    if not ids:
        return {}
    rows = await conn.fetch(collection.select_sql, list(ids))
    fields = collection.own_fields
    found = {row[0]: _record(fields, row, 1) for row in rows}
    for child in collection.children:
        for record in found.values():
            record[child.name] = []
        for row in await conn.fetch(child.select_sql, list(ids)):
            if row[0] in found:
                found[row[0]][child.name].append(_record(child.fields, row, 1))
    return {record_id: canonical(record) for record_id, record in found.items()}


def canonical(record: object) -> bytes:
    """Sorted keys, no spaces: the same bytes from Python and from JavaScript."""
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def _record(fields: Sequence[Field], row: Sequence[Any], start: int) -> dict[str, Any]:
    return {
        field.name: value if value is None else shown(field.kind, value)
        for field, value in zip(fields, row[start:], strict=True)
    }


def shown(kind: Kind, value: Any) -> Any:
    """A column's value as documents carry it."""
    if kind is Kind.TIMESTAMP:
        return instant_text(value)
    if kind is Kind.BOOL:
        return bool(value)
    if kind in JSON_KINDS:
        return orjson.Fragment(value)  # stored in canonical form already
    return value
