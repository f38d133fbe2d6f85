"""Roll-out items in their table, and whether what was rolled out was judged."""

from collections.abc import Sequence

import orjson

from backend.domain.evaluations import RUNNING, EvaluationState, SubjectKind
from backend.domain.rollouts import Candidate, Grades, RolloutRecord, RolloutState
from backend.storage.engine import Connection, Row

COLUMNS = (
    "id", "territory_id", "state", "name", "purpose", "strategy", "importance", "urgency", "difficulty", "resources",
    "disruption", "minutes", "budget_minor", "currency", "skills", "starts_n", "stops_n", "reason", "proposed_at",
    "proposed_by", "moved_at",
)  # fmt: skip
_JUDGED = (
    f"SELECT 1 FROM evaluation e WHERE e.subject_kind = '{SubjectKind.ROLL_OUT.value}' AND e.subject_id = r.id"
    " AND e.state"
)
_CLOSED = f"EXISTS ({_JUDGED} = '{EvaluationState.CLOSED.value}')"
_OPEN = ", ".join(f"'{state.value}'" for state in RUNNING)


async def read_items(
    conn: Connection,
    seen: tuple[str, Sequence[object]],
    where: str,
    args: Sequence[object],
    first: int,
    *,
    lock: bool = False,
) -> list[RolloutRecord]:
    """Those seen for which `where` (over `rollout_item r`) holds, the newest first."""
    rows = await conn.fetch(
        f"SELECT {', '.join(f'r.{name}' for name in COLUMNS)}, CASE WHEN {_CLOSED} THEN 1 ELSE 0 END,"
        f" CASE WHEN EXISTS ({_JUDGED} IN ({_OPEN})) THEN 1 ELSE 0 END FROM rollout_item r"
        f" WHERE {seen[0]} AND {where} ORDER BY r.proposed_at DESC, r.id DESC LIMIT ?{' FOR UPDATE' if lock else ''}",
        *seen[1],
        *args,
        first,
    )
    return [_item(row) for row in rows]


def _item(row: Row) -> RolloutRecord:
    value = dict(zip((*COLUMNS, "judged", "to_be_judged"), row, strict=True))
    return RolloutRecord(
        candidate=Candidate(
            id=value["id"],
            grades=Grades(*(value[name] for name in Grades.__slots__)),
            minutes=value["minutes"],
            budget_minor=value["budget_minor"],
            state=RolloutState(value["state"]),
            starts_n=value["starts_n"],
            stops_n=value["stops_n"],
            skills=tuple(orjson.loads(value["skills"])),
        ),
        territory_id=value["territory_id"],
        name=value["name"],
        purpose=value["purpose"],
        strategy=value["strategy"],
        currency=value["currency"],
        reason=value["reason"],
        proposed_at_ms=value["proposed_at"],
        proposed_by=value["proposed_by"],
        moved_at_ms=value["moved_at"],
        judged=bool(value["judged"]),
        to_be_judged=bool(value["to_be_judged"]),
    )
