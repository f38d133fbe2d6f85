"""Evaluations in their tables: who sees them, whom they are about, and what came of it in their window."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from backend.auth.principal import Principal
from backend.domain.evaluation_results import ArmRow, OrderRow
from backend.domain.evaluations import ENDED, EvaluationMetric, EvaluationRecord, EvaluationState, SubjectKind
from backend.domain.money import Rate
from backend.domain.permissions import Action, Collection, Reach, reach
from backend.domain.times import day_bounds_ms
from backend.storage.engine import Connection, Row
from backend.storage.statistics import COUNTS, SCORED
from backend.storage.visibility import BELOW_SEATS, visible_to

COLUMNS = (
    "id", "state", "subject_kind", "subject_id", "name", "strategy", "territory_id", "segments", "kinds", "metric",
    "starts_on", "ends_on", "holdout_bp", "salt", "cost_minor", "currency", "expectation", "planned_at", "planned_by",
    "frozen_at", "treated_n", "control_n", "ended_at", "ended_by", "result", "lesson",
)  # fmt: skip
_LISTED = ", ".join(f"e.{name}" for name in COLUMNS)
_ENDED = ", ".join(f"'{state.value}'" for state in ENDED)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Customers arms are drawn from: id, segment (empty: never scored), margin expected of two quarters or None."""

    ids: list[str]
    segments: list[str]
    forecasts: list[int | None]


@dataclass(frozen=True, slots=True)
class WindowRows:
    """`arms`: (customer id, held out, stratum, forecast) of those who still exist; `orders`: (customer id, day,
    amount, currency) within the window; `rates`: into the reporting currency."""

    arms: Sequence[ArmRow]
    orders: Sequence[OrderRow]
    rates: tuple[Rate, ...]


def sees_evaluations(principal: Principal, alias: str) -> tuple[str, list[object]] | None:
    """The predicate "this principal sees the evaluation `alias`", and its arguments; None for who sees none.

    What concerns the whole organisation concerns every subtree: whoever evaluates in one reads it.
    """
    how_far = reach(principal.role, Action.READ, Collection.EVALUATIONS) if principal.role else None
    if how_far is None:
        return None
    if how_far is Reach.ALL:
        return "1 = 1", []
    return f"({alias}.territory_id IS NULL OR {alias}.territory_id IN ({BELOW_SEATS}))", [principal.holder]


async def read_evaluations(
    conn: Connection,
    seen: tuple[str, Sequence[object]],
    *,
    where: str = "1 = 1",
    args: Sequence[object] = (),
    first: int,
    lock: bool = False,
) -> list[EvaluationRecord]:
    """Those seen for which `where` (over `evaluation e`) holds, newest first."""
    rows = await conn.fetch(
        f"SELECT {_LISTED} FROM evaluation e WHERE {seen[0]} AND {where}"
        f" ORDER BY e.planned_at DESC, e.id DESC LIMIT ?{' FOR UPDATE' if lock else ''}",
        *seen[1],
        *args,
        first,
    )
    return [_row_of(row) for row in rows]


async def count_evaluations(
    conn: Connection, seen: tuple[str, Sequence[object]], where: str, args: Sequence[object]
) -> int:
    rows = await conn.fetch(f"SELECT count(*) FROM evaluation e WHERE {seen[0]} AND {where}", *seen[1], *args)
    return int(rows[0][0])


LESSONS = f"e.state IN ({_ENDED}) AND e.lesson IS NOT NULL"


async def read_candidates(
    conn: Connection, found: EvaluationRecord, node_ids: Sequence[str] | None, timezone: str, most: int
) -> Candidates:
    """Whom the evaluation is about, as they stand now, in the order of their ids; at most `most`."""
    where, args = [SCORED, "k.created_at < ?"], [day_bounds_ms(found.starts_on, timezone)[0]]
    values: list[object] = [*args]
    if node_ids is not None:
        where.append("k.territory_id = ANY(?)")
        values.append(list(node_ids))
    if found.kinds:
        where.append("k.kind = ANY(?)")
        values.append(list(found.kinds))
    if found.segments:
        where.append("s.segment = ANY(?)")
        values.append(list(found.segments))
    rows = await conn.fetch(
        "SELECT k.id, s.segment, s.facts FROM customer k LEFT JOIN customer_score s ON s.customer_id = k.id"
        f" WHERE {' AND '.join(where)} ORDER BY k.id LIMIT ?",
        *values,
        most,
    )
    forecasts = [orjson.loads(row[2]).get("valueAtStakeMinor") if row[2] else None for row in rows]
    return Candidates([row[0] for row in rows], [row[1] or "" for row in rows], forecasts)


async def read_window(conn: Connection, found: EvaluationRecord) -> WindowRows:
    """What every arm did in the window, whoever was treated."""
    arms = await conn.fetch(
        "SELECT a.customer_id, a.held_out, a.stratum, a.forecast_minor FROM evaluation_arm a"
        " JOIN customer k ON k.id = a.customer_id WHERE a.evaluation_id = ? ORDER BY a.customer_id",
        found.id,
    )
    orders = await conn.fetch(
        "SELECT a.customer_id, o.ordered_on, o.total_minor, o.currency FROM evaluation_arm a"
        " JOIN customer k ON k.id = a.customer_id JOIN sales_order o ON o.customer_id = a.customer_id"
        f" WHERE a.evaluation_id = ? AND {COUNTS} AND o.ordered_on >= ? AND o.ordered_on <= ?",
        found.id,
        found.starts_on,
        found.ends_on,
    )
    rates = await conn.fetch("SELECT currency, valid_from, rate_e9 FROM exchange_rate ORDER BY currency, valid_from")
    return WindowRows(
        [(row[0], bool(row[1]), row[2], row[3]) for row in arms],
        [(row[0], row[1], row[2], row[3]) for row in orders],
        tuple(Rate(*row) for row in rates),
    )


def _row_of(row: Row) -> EvaluationRecord:
    values = dict(zip(COLUMNS, row, strict=True))
    return EvaluationRecord(
        id=values["id"],
        state=EvaluationState(values["state"]),
        subject_kind=SubjectKind(values["subject_kind"]),
        subject_id=values["subject_id"],
        name=values["name"],
        strategy=values["strategy"],
        territory_id=values["territory_id"],
        segments=tuple(orjson.loads(values["segments"])),
        kinds=tuple(orjson.loads(values["kinds"])),
        metric=EvaluationMetric(values["metric"]),
        starts_on=values["starts_on"],
        ends_on=values["ends_on"],
        holdout_bp=values["holdout_bp"],
        salt=values["salt"],
        cost_minor=values["cost_minor"],
        currency=values["currency"],
        expectation=values["expectation"],
        planned_at_ms=values["planned_at"],
        planned_by=values["planned_by"],
        frozen_at_ms=values["frozen_at"],
        treated_n=values["treated_n"],
        control_n=values["control_n"],
        ended_at_ms=values["ended_at"],
        ended_by=values["ended_by"],
        result=None if values["result"] is None else orjson.loads(values["result"]),
        lesson=values["lesson"],
    )


async def read_arm_ids(
    conn: Connection, principal: Principal, evaluation_id: str, *, held_out: bool, after: str, first: int
) -> list[str]:
    """Customers of one arm whom the principal sees, by id, those after `after`."""
    visible, args = visible_to(principal, "customers", "k")
    rows = await conn.fetch(
        "SELECT a.customer_id FROM evaluation_arm a JOIN customer k ON k.id = a.customer_id"
        f" WHERE a.evaluation_id = ? AND a.held_out = ? AND a.customer_id > ? AND {visible}"
        " ORDER BY a.customer_id LIMIT ?",
        evaluation_id,
        held_out,
        after,
        *args,
        first,
    )
    return [row[0] for row in rows]
