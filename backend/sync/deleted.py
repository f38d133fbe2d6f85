"""What is deleted is kept whole for a while, with where it stood, so that it can be brought back."""

from collections.abc import Mapping, Sequence

from backend.auth.principal import Principal
from backend.storage.deleted import (
    Copy,
    copies_keyed,
    copies_of,
    key_of,
    save_copies,
    scopes_held,
    scopes_now,
    whole_rows,
)
from backend.storage.engine import Connection
from backend.storage.visibility import seen_then
from backend.sync.collections import COLLECTIONS
from backend.sync.feed import places_of

KEPT = frozenset(
    {
        "customers",
        "contacts",
        "customerContacts",
        "visits",
        "orders",
        "tasks",
        "answers",
        "cases",
        "judgements",
        "attachments",
        "customFields",
        "forms",
    }
)
"""Collections whose records can be brought back."""
PARTS = frozenset({"customerContacts", "attachments"})
"""Collections whose records go with others, and come back with them."""


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


async def gone_parts(
    conn: Connection, principal: Principal, name: str, ids: Sequence[str], *, whoever: bool
) -> tuple[dict[str, Copy], list[str]]:
    """(Deleted records that went with another one, where the principal would see them if they were back; ids of which
    nothing is kept).

    Held until commit: whoever brings back what they went with has done so, or waits. Of what he brought back nothing
    is kept any more. `whoever`: seen by everybody.
    """
    if name not in PARTS or not ids:
        return {}, []
    copies = await copies_of(conn, name, ids, lock=True)
    parts = [copy for copy in copies.values() if copy.part_of is not None]
    unkept = [record_id for record_id in ids if record_id not in copies]
    if not parts or whoever:
        return {copy.record_id: copy for copy in parts}, unkept
    seen = await _seen(conn, principal, name, parts)
    return {copy.record_id: copy for copy in parts if copy.record_id in seen}, unkept


async def _seen(conn: Connection, principal: Principal, name: str, parts: Sequence[Copy]) -> set[str]:
    """Which of these the principal would see if they and what they went with were back, or saw at their capture."""
    if not principal.reads(name):
        return set()
    held = await scopes_held(conn, principal.holder)
    # what follows no customer itself stands where the record stood that it went with
    wholes = {copy.key: copy for copy in await copies_keyed(conn, [str(copy.part_of) for copy in parts])}
    places = await scopes_now(conn, [*parts, *wholes.values()])
    found = {
        copy.record_id
        for copy in parts
        if places[copy.key if copy.customers or copy.part_of not in wholes else str(copy.part_of)] & held
    }
    if principal.formerly is not None:
        sql, args = seen_then(principal, name, "d.record_id")
        rows = await conn.fetch(
            f"SELECT d.record_id FROM deleted_record d WHERE d.key = ANY(?) AND {sql}",
            [copy.key for copy in parts],
            *args,
        )
        found |= {row[0] for row in rows}
    return found


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
