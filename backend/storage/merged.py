"""What was deleted while its record was merged into another one: where it belongs once the merge is taken back.

A deleted record that is brought back lands on the survivor. It belonged to the one merged away, and goes back to that
with everything else; so the merge is told of it (`note_brought_back`). One that stays deleted beyond the undoing is
told which record it names again (`point_back`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from backend.storage.deleted import Copy, copies_keyed, copies_of, copies_with, save_copies
from backend.storage.engine import Connection

MERGES_AT_ONCE = 200
"""Merges looked into in one go; each holds a whole record."""


async def note_brought_back(conn: Connection, copies: Iterable[Copy]) -> None:
    """Add records to what the undoing of the merges since gives back, the later merges of a survivor too."""
    for copy in copies:
        for alias_id in copy.merged_since:
            named: str | None = alias_id
            while named is not None:
                named = await _note(conn, named, copy)


async def _note(conn: Connection, alias_id: str, copy: Copy) -> str | None:
    """Tell the merge that made an alias of this id; returns what it was merged into, None where it was not."""
    rows = await conn.fetch(
        "SELECT m.id, m.survivor_id, m.undo FROM record_alias a JOIN record_merge m ON m.id = a.merge_id"
        " WHERE a.alias_id = ? AND m.state = 'MERGED'",
        alias_id,
    )
    if not rows:
        return None
    merge_id, survivor_id, text = rows[0]
    undo = orjson.loads(text)
    given = _given_back(undo, copy)
    if copy.record_id not in given:
        given.append(copy.record_id)
        await conn.execute("UPDATE record_merge SET undo = ? WHERE id = ?", orjson.dumps(undo).decode(), merge_id)
    return str(survivor_id)


def _given_back(undo: dict[str, Any], copy: Copy) -> list[str]:
    """The list of an undo that records of this collection are on."""
    if copy.collection == "attachments":
        listed: list[str] = undo["attachments"]
    elif copy.collection == "customers":
        listed = undo["doors"]
    else:
        listed = undo["children"].setdefault(next(iter(copy.rows)), [])
    return listed


async def any_merge_holds(conn: Connection, collection: str, key: str) -> bool:
    """Whether undoing a merge of a collection would bring a value back under this key of a custom field."""
    after_id = ""
    while True:
        rows = await conn.fetch(
            "SELECT id, undo FROM record_merge WHERE collection = ? AND state = 'MERGED' AND undo LIKE ?::text"
            " AND id > ? ORDER BY id LIMIT ?",
            collection,
            f'%"{key}":%',
            after_id,
            MERGES_AT_ONCE,
        )
        for _, text in rows:
            undo = orjson.loads(text)
            if any(key in (held.get("custom") or {}) for held in (undo["record"], undo["survivor_before"])):
                return True
        if len(rows) < MERGES_AT_ONCE:
            return False
        after_id = rows[-1][0]


async def point_back(
    conn: Connection, collection: str, ids: Sequence[str], column: str, survivor_id: str, merged_id: str
) -> None:
    """Deleted records among these that name the survivor name the record again that it was merged with."""
    copies = []
    for copy in (await copies_of(conn, collection, ids, lock=True)).values():
        (table, own), *parts = copy.rows.items()
        if own[0].get(column) != survivor_id:
            continue
        rows = {table: [{**own[0], column: merged_id}, *own[1:]], **dict(parts)}
        customers = [merged_id if one == survivor_id and column == "customer_id" else one for one in copy.customers]
        copies.append(replace(copy, rows=rows, customers=customers))
    await save_copies(conn, copies)


async def stand_with_links(conn: Connection, link_ids: Sequence[str]) -> None:
    """Deleted contacts that some of these links went with follow again the customers their links name."""
    went = [copy.part_of for copy in (await copies_of(conn, "customerContacts", link_ids)).values() if copy.part_of]
    contacts = [contact for contact in await copies_keyed(conn, sorted(set(went))) if contact.collection == "contacts"]
    named: dict[str | None, set[str]] = {}
    for link in await copies_with(conn, [contact.key for contact in contacts]):
        named.setdefault(link.part_of, set()).add(link.row["customer_id"])
    await save_copies(conn, [replace(contact, customers=sorted(named[contact.key])) for contact in contacts])
