"""What is deleted is kept whole for a while, with where it stood, so that it can be brought back."""

from collections.abc import Mapping, Sequence

from backend.storage.deleted import Copy, key_of, save_copies, whole_rows
from backend.storage.engine import Connection
from backend.sync.collections import COLLECTIONS
from backend.sync.feed import places_of

KEPT = frozenset({"customers", "contacts", "customerContacts", "visits", "orders", "tasks", "attachments"})
"""Collections whose records can be brought back."""


async def keep_deleted(
    conn: Connection,
    name: str,
    ids: Sequence[str],
    *,
    at_ms: int,
    by: str,
    part_of: Mapping[str, str] | None = None,
) -> None:
    """Copy records that are about to be deleted. `part_of`: id → the key of what it goes with."""
    if not ids or name not in KEPT:
        return
    collection = COLLECTIONS[name]
    own = await whole_rows(conn, collection.table, "id", ids)
    parts = {child.table: await whole_rows(conn, child.table, child.parent, ids) for child in collection.children}
    parents = {child.table: child.parent for child in collection.children}
    places = await places_of(conn, name, [row["id"] for row in own])
    customers = await _customers_of(conn, name, own)
    await save_copies(
        conn,
        [
            Copy(
                name,
                row["id"],
                {
                    collection.table: [row],
                    **{
                        table: [part for part in found if part[parents[table]] == row["id"]]
                        for table, found in parts.items()
                    },
                },
                sorted(places.get(row["id"], ())),
                customers.get(row["id"], ()),
                (part_of or {}).get(row["id"]),
                at_ms,
                by,
            )
            for row in own
        ],
    )


async def keep_hanging(conn: Connection, records: Mapping[str, Sequence[str]], *, at_ms: int, by: str) -> None:
    """Copy what hangs on records that go (collection → ids); it goes with them, and comes back with them."""
    rows = await whole_rows(conn, "attachment", "record_id", [one for ids in records.values() for one in ids])
    hanging = {
        row["id"]: key_of(row["collection"], row["record_id"])
        for row in rows
        if row["record_id"] in records.get(row["collection"], ())
    }
    await keep_deleted(conn, "attachments", list(hanging), at_ms=at_ms, by=by, part_of=hanging)


async def _customers_of(conn: Connection, name: str, rows: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    """Record id → the customers whose territory says where it stands."""
    if name != "contacts":
        return {str(row["id"]): [str(row["customer_id"])] for row in rows if row.get("customer_id")}
    found: dict[str, list[str]] = {}
    for contact_id, customer_id in await conn.fetch(
        "SELECT contact_id, customer_id FROM customer_contact WHERE contact_id = ANY(?)", [row["id"] for row in rows]
    ):
        found.setdefault(contact_id, []).append(customer_id)
    return found
