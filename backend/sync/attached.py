"""What hangs on records goes with them: deleted when they are, seen wherever they are, renamed when they are.

A work that deletes or moves a record need not know that anything hangs on it. On leaving, what hangs on records it
deleted is deleted, and what hangs on records that may have moved is looked at again, because its places are theirs.
"""

from collections.abc import Iterable, Sequence

from backend.storage.attachments import delete_attachments_of, hanging_on
from backend.storage.engine import Connection
from backend.storage.visibility import HOLDERS
from backend.sync.feed import Touch

ATTACHMENTS = "attachments"


async def delete_with_records(conn: Connection, touches: Iterable[Touch], now_ms: int) -> list[str]:
    """Delete what hangs on the records deleted; returns its ids. Before the clock step: rows may have to be waited for.

    Whoever adds an attachment holds its record's row, and whoever deletes the record waits for that.
    """
    gone: dict[str, list[str]] = {}
    for touch in touches:
        if touch.deleted and touch.collection in HOLDERS:
            gone.setdefault(touch.collection, []).append(touch.record_id)
    return await delete_attachments_of(conn, gone, now_ms) if gone else []


async def hanging_on_touched(conn: Connection, touches: Iterable[Touch]) -> list[str]:
    """What hangs on records that may have moved. After the clock step: then nothing added meanwhile is missed."""
    touched: dict[str, list[str]] = {}
    for touch in touches:
        if touch.collection in HOLDERS and not touch.deleted and not touch.stays:
            touched.setdefault(touch.collection, []).append(touch.record_id)
    return await hanging_on(conn, touched)


async def rehang(
    conn: Connection, collection: str, old_id: str, new_id: str, *, only: Sequence[str] | None = None
) -> list[str]:
    """Hang what hangs on one record on another of the same collection; returns the ids, to be touched by the work.

    `only` names the attachments to take, so that what was taken can be given back.
    """
    taken = await hanging_on(conn, {collection: [old_id]})
    if only is not None:
        taken = sorted(set(taken) & set(only))
    await conn.execute(
        "UPDATE attachment SET record_id = ? WHERE id = ANY(?) AND collection = ?", new_id, taken, collection
    )
    return taken
