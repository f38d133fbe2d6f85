"""How far devices are behind, in numbers that can be watched."""

from dataclasses import dataclass

from backend.domain.times import DAY_MS
from backend.storage.engine import Connection
from backend.sync.feed import read_clock

SILENT_DAYS = 7
"""Longer than a device may show what it holds without a pull."""
BEHIND_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """The clock; how many devices sync, of these how many nobody heard of for a week, and how many are far behind."""

    clock: int
    active: int
    silent: int
    behind: int


async def fleet_standing(conn: Connection, now_ms: int) -> Standing:
    clock, _ = await read_clock(conn)
    ((active, silent, behind),) = await conn.fetch(
        "SELECT count(*), sum(CASE WHEN last_seen_at < ? THEN 1 ELSE 0 END),"
        " sum(CASE WHEN pulled_at IS NOT NULL AND acked_seq < ? THEN 1 ELSE 0 END)"
        " FROM device WHERE state = 'ACTIVE' AND dropped_at IS NULL",
        now_ms - SILENT_DAYS * DAY_MS,
        clock - BEHIND_STEPS,
    )
    return Standing(clock, int(active), int(silent or 0), int(behind or 0))
