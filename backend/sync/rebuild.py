"""After a change of shape: documents written before are printed anew, in batches, without waking any device.

A migration adds columns and leaves documents as they were; pulls show them in the new shape meanwhile. Once no
process of the version before writes any more, this gives them the new shape where they lie: no seq changes, the
checksums change in the same transaction. What is done stays done, so it can be stopped and begun again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.storage.engine import Connection, Engine
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.feed import reprint
from backend.sync.work import Door, Work, in_work

BATCH_ROWS = 500

Progress = Callable[[str, int, int], None]
"""Told (collection, documents done, documents there were to do) after each batch."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`reprinted` documents have the present shape now; `touched` had drifted too, and devices are told anew."""

    reprinted: int
    touched: int


async def count_behind(conn: Connection) -> dict[str, int]:
    """Collection → documents of an earlier shape, where there are any."""
    found = {}
    for name, collection in COLLECTIONS.items():
        rows = await conn.fetch(
            "SELECT COUNT(*) FROM feed WHERE collection = ? AND doc_version < ? AND NOT deleted",
            name,
            collection.doc_version,
        )
        if rows[0][0]:
            found[name] = int(rows[0][0])
    return found


async def rebuild_feed(
    engine: Engine,
    principal: Principal,
    *,
    clock: Clock,
    retries_max: int,
    batch_rows: int = BATCH_ROWS,
    progress: Progress | None = None,
) -> Rebuilt:
    """Give every document of an earlier shape the present one; returns how many, and how many had drifted.

    Run it when all processes are of this version: one of the version before would go on writing the earlier shape,
    and its devices would fetch again what was printed anew.
    """
    async with engine.read() as conn:
        behind = await count_behind(conn)
    reprinted = touched = 0
    for name, total in behind.items():
        done = 0

        async def batch(work: Work, collection: Collection = COLLECTIONS[name]) -> tuple[int, int]:
            return await _one_batch(work, collection, batch_rows)

        while True:
            (written, drifted), _ = await in_work(
                engine, principal, batch, clock=clock, retries_max=retries_max, door=Door.JOB
            )
            if not written + drifted:
                break
            reprinted, touched, done = reprinted + written, touched + drifted, done + written + drifted
            if progress is not None:
                progress(name, min(done, total), total)
    return Rebuilt(reprinted, touched)


async def _one_batch(work: Work, collection: Collection, batch_rows: int) -> tuple[int, int]:
    # whoever writes documents waits here, and takes its turn after this
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    rows = await work.conn.fetch(
        "SELECT record_id FROM feed WHERE collection = ? AND doc_version < ? AND NOT deleted"
        f" ORDER BY doc_version LIMIT {batch_rows}",
        collection.name,
        collection.doc_version,
    )
    ids = [row[0] for row in rows]
    drifted = await reprint(work.conn, collection, ids)
    for record_id in drifted:
        work.touched(collection.name, record_id, ())
    return len(ids) - len(drifted), len(drifted)
