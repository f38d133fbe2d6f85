"""The definitions of custom fields as writes and filters use them."""

import orjson

from backend.domain.custom import CustomField, CustomKind
from backend.storage.engine import Connection


async def custom_fields_of(conn: Connection, collection: str) -> list[CustomField]:
    """What is defined for a collection, retired fields too, in the order forms show them."""
    rows = await conn.fetch(
        "SELECT key, kind, personal, required_since, choices, least, most, retired FROM custom_field"
        " WHERE collection = ? ORDER BY position, key",
        collection,
    )
    return [
        CustomField(
            key,
            CustomKind(kind),
            personal=bool(personal),
            required_since_ms=required_since,
            choices=tuple(choice["value"] for choice in orjson.loads(choices)),
            least=least,
            most=most,
            retired=bool(retired),
        )
        for key, kind, personal, required_since, choices, least, most, retired in rows
    ]
