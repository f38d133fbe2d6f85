"""Analyses of contribution in their table, and what they read."""

from collections.abc import Sequence

import orjson

from backend.domain.contribution_runs import ContributionRunRecord, Depth
from backend.storage.engine import Connection, Row

COLUMNS = (
    "id", "territory_id", "as_of", "quarters_n", "depth", "sample_bp", "top_n", "rows_n", "analysed_n", "milliseconds",
    "hours_hundredths", "result", "started_at", "started_by",
)  # fmt: skip
PACE_RUNS = 20


async def read_runs(conn: Connection, where: str, args: Sequence[object], first: int) -> list[ContributionRunRecord]:
    """Those for which `where` (over `contribution_run c`) holds, the newest first."""
    rows = await conn.fetch(
        f"SELECT {', '.join(f'c.{name}' for name in COLUMNS)} FROM contribution_run c WHERE {where}"
        " ORDER BY c.started_at DESC, c.id DESC LIMIT ?",
        *args,
        first,
    )
    return [_run(row) for row in rows]


async def read_paces(conn: Connection) -> dict[Depth, float]:
    """Milliseconds a thousand records took, by depth, over the newest runs; depths never run are not in it."""
    rows = await conn.fetch(
        "SELECT depth, milliseconds, rows_n FROM contribution_run ORDER BY started_at DESC, id DESC LIMIT ?", PACE_RUNS
    )
    found = {}
    for depth in Depth:
        mine = [row for row in rows if row[0] == depth.value]
        read_n = sum(row[2] for row in mine)
        if read_n:
            found[depth] = 1_000.0 * sum(row[1] for row in mine) / read_n
    return found


async def read_scored(conn: Connection, begin: str, values: Sequence[object]) -> list[Row]:
    """Rows (customer n, future value, potential) of those scored; `begin` names the crowd."""
    return await conn.fetch(
        begin + "SELECT c.n, s.future_value_minor, s.potential_minor FROM c JOIN customer_score s"
        " ON s.customer_id = c.id",
        *values,
    )


def _run(row: Row) -> ContributionRunRecord:
    value = dict(zip(COLUMNS, row, strict=True))
    return ContributionRunRecord(
        id=value["id"],
        territory_id=value["territory_id"],
        as_of=value["as_of"],
        quarters_n=value["quarters_n"],
        depth=Depth(value["depth"]),
        sample_bp=value["sample_bp"],
        top_n=value["top_n"],
        rows_n=value["rows_n"],
        analysed_n=value["analysed_n"],
        milliseconds=value["milliseconds"],
        hours_hundredths=value["hours_hundredths"],
        result=orjson.loads(value["result"]),
        started_at_ms=value["started_at"],
        started_by=value["started_by"],
    )
