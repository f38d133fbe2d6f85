"""What earlier score runs left for the next: the tables of the quarter, the last fit, and who is to lose a score."""

from dataclasses import dataclass

import orjson

from backend.domain.frozen import Fitted, Published, fitted_of, published_of
from backend.domain.score_policy import ScorePolicy
from backend.domain.times import quarter_of_day
from backend.storage.engine import Connection
from backend.storage.night import read_unqualified
from backend.storage.score_policies import read_policy_in_force
from backend.storage.visit_holdouts import ProgrammeRows, read_programmes


@dataclass(frozen=True, slots=True)
class NightsBefore:
    """`published`, `table_id`: the quarter's newest, None and empty where none was frozen; `versions`: of all tables;
    `fitted`: the last fit; `unqualified`: customers with a score of whom nobody of the kind is scored."""

    published: Published | None
    table_id: str
    versions: list[str]
    fitted: Fitted | None
    unqualified: list[str]
    policy: ScorePolicy
    programmes: ProgrammeRows


async def read_nights_before(conn: Connection, day: str) -> NightsBefore:
    """As of a local day."""
    year, quarter = quarter_of_day(day)
    tables = await conn.fetch("SELECT id, version, tables FROM priority_table ORDER BY id DESC")
    fits = await conn.fetch("SELECT models FROM score_run WHERE models <> '{}' ORDER BY started_at DESC LIMIT 1")
    held = next((row for row in tables if row[1].startswith(f"{year}Q{quarter}-")), None)
    return NightsBefore(
        published=None if held is None else published_of(held[1], orjson.loads(held[2])),
        table_id="" if held is None else held[0],
        versions=[row[1] for row in tables],
        fitted=fitted_of(orjson.loads(fits[0][0])["calibration"]) if fits else None,
        unqualified=await read_unqualified(conn),
        policy=await read_policy_in_force(conn),
        programmes=await read_programmes(conn, day),
    )
