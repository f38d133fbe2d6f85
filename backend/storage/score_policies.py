"""Versions of the score policy, and the moves between segments that runs left behind."""

from collections.abc import Sequence

import orjson

from backend.domain.score_policy import PolicyState, ScorePolicy, policy_of
from backend.domain.segment_moves import Move
from backend.ids import new_id
from backend.storage.engine import Connection, Row

COLUMNS = "id, number, state, document, note, drafted_at, drafted_by, published_at, published_by"


async def read_policy_in_force(conn: Connection) -> ScorePolicy:
    """The version published last; the product's own when nobody published one."""
    rows = await conn.fetch(
        "SELECT number, document FROM score_policy WHERE state = ? ORDER BY published_at DESC, number DESC LIMIT 1",
        PolicyState.PUBLISHED.value,
    )
    return policy_of(rows[0][0], orjson.loads(rows[0][1])) if rows else ScorePolicy()


async def read_policy_numbered(conn: Connection, number: int) -> ScorePolicy | None:
    """A version by its number, drafted or published; 0 is the product's own; None where there is no such version."""
    if number == 0:
        return ScorePolicy()
    rows = await conn.fetch("SELECT document FROM score_policy WHERE number = ?", number)
    return policy_of(number, orjson.loads(rows[0][0])) if rows else None


async def read_policies(conn: Connection, first: int) -> list[Row]:
    """The newest versions, as `COLUMNS`."""
    return await conn.fetch(f"SELECT {COLUMNS} FROM score_policy ORDER BY number DESC LIMIT ?", first)


async def write_moves(
    conn: Connection,
    run_id: str,
    on_day: str,
    customer_ids: Sequence[str],
    moves: Sequence[tuple[str, str | None, str, str]],
) -> None:
    """Keep what a night moved, (customer, before, after, cause), in place of what an earlier run of that day found."""
    await conn.execute("DELETE FROM segment_move WHERE on_day = ? AND customer_id = ANY(?)", on_day, list(customer_ids))
    await conn.execute_many(
        "INSERT INTO segment_move (id, customer_id, on_day, from_segment, to_segment, cause, run_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(new_id(), customer, on_day, before, after, cause, run_id) for customer, before, after, cause in moves],
    )


async def read_moves(conn: Connection, where: str, args: Sequence[object], after_day: str) -> list[Move]:
    """Moves after a day of the customers `k` for whom `where` holds, by customer and day."""
    rows = await conn.fetch(
        "SELECT m.customer_id, m.on_day, m.from_segment, m.to_segment, m.cause FROM segment_move m"
        f" JOIN customer k ON k.id = m.customer_id WHERE m.on_day > ? AND {where} ORDER BY m.customer_id, m.on_day",
        after_day,
        *args,
    )
    return [Move(*row) for row in rows]


async def read_moved_and_others(
    conn: Connection, where: str, args: Sequence[object], after_day: str
) -> tuple[set[str], dict[str, int]]:
    """Who moved after a day and has a score now, and how many of the others are in each segment."""
    moved = "EXISTS (SELECT 1 FROM segment_move m WHERE m.customer_id = s.customer_id AND m.on_day > ?)"
    ids = await conn.fetch(
        f"SELECT s.customer_id FROM customer_score s JOIN customer k ON k.id = s.customer_id WHERE {moved} AND {where}",
        after_day,
        *args,
    )
    others = await conn.fetch(
        "SELECT s.segment, COUNT(*) FROM customer_score s JOIN customer k ON k.id = s.customer_id"
        f" WHERE NOT {moved} AND {where} GROUP BY s.segment",
        after_day,
        *args,
    )
    return {row[0] for row in ids}, dict(others)
