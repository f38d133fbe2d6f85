"""When records came into their states: from the trail, and from the moments they keep of themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import orjson

from backend.domain.bottlenecks import Flow, Step
from backend.domain.cases import CaseState
from backend.domain.orders import OrderState
from backend.domain.tasks import TaskState
from backend.domain.visits import VisitState
from backend.storage.engine import Connection, Row

RECORDS_MAX = 50_000
"""Records of one flow that are looked at, the newest first."""
_TABLES = {Flow.VISITS: "visit", Flow.ORDERS: "sales_order", Flow.TASKS: "task", Flow.CASES: "service_case"}
COLLECTIONS = {Flow.VISITS: "visits", Flow.ORDERS: "orders", Flow.TASKS: "tasks", Flow.CASES: "cases"}
_STAMPS = {
    Flow.VISITS: "r.planned_at, r.check_in_at, r.check_out_at",
    Flow.ORDERS: "r.submitted_at, NULL, CASE WHEN r.source = 'IMPORT' THEN 1 ELSE 0 END",
    Flow.TASKS: "r.done_at, NULL, NULL",
    Flow.CASES: "r.opened_at, r.waiting_since, NULL",
}
"""Flow → three moments its records keep of themselves; of orders the last says that it is imported history."""


@dataclass(frozen=True, slots=True)
class Passages:
    """`ids`: the records; `steps`: into which states they came, by their places."""

    ids: tuple[str, ...]
    steps: tuple[Step, ...]


async def read_passages(conn: Connection, flow: Flow, where: str, args: Sequence[object], since_ms: int) -> Passages:
    """The records `r` made since a moment for which `where` holds, with every step that is recorded."""
    rows = await conn.fetch(
        f"SELECT r.id, r.state, r.created_at, {_STAMPS[flow]} FROM {_TABLES[flow]} r"
        f" WHERE r.created_at >= ?::bigint AND {where} ORDER BY r.created_at DESC, r.id LIMIT ?::bigint",
        since_ms,
        *args,
        RECORDS_MAX,
    )
    place = {row[0]: number for number, row in enumerate(rows)}
    trail = await conn.fetch(
        "SELECT a.record_id, COALESCE(a.captured_at, a.at), a.changes FROM audit_entry a"
        f" WHERE a.collection = '{COLLECTIONS[flow]}' AND a.at >= ?::bigint AND a.changes LIKE '%\"path\":\"state\"%'"
        " ORDER BY a.at, a.id",
        since_ms,
    )
    followed: dict[int, list[Step]] = {}
    for record_id, at_ms, changes in trail:
        number = place.get(record_id)
        if number is not None:
            known = followed.setdefault(number, [])
            known.extend(_told(number, at_ms, changes, None if known else rows[number][2]))
    steps: list[Step] = []
    for number, row in enumerate(rows):
        own = followed.get(number) or list(_kept(flow, number, row))
        steps += own if flow is not Flow.VISITS or row[3] is None else _due(own, row[3])
    return Passages(tuple(place), tuple(steps))


def _told(number: int, at_ms: int, changes: str, created_ms: int | None) -> Iterator[Step]:
    """The steps of one entry; of a record's first one (with `created_ms`), the state it was made in as well."""
    for change in orjson.loads(changes):
        if change["path"] == "state" and isinstance(change.get("after"), str):
            if created_ms is not None and isinstance(change.get("before"), str):
                yield Step(number, min(created_ms, at_ms), change["before"])
            yield Step(number, at_ms, change["after"])


_AGREED = frozenset({VisitState.PLANNED.value, VisitState.CONFIRMED.value})


def _due(steps: Sequence[Step], planned_ms: int) -> list[Step]:
    """The steps of a visit, which waits from the moment it was planned for, and not while that is ahead."""
    ordered = sorted(steps, key=lambda step: step.at_ms)
    ends = [*(step.at_ms for step in ordered[1:]), *([None] if ordered else [])]
    return [
        replace(step, at_ms=max(step.at_ms, planned_ms if end is None else min(planned_ms, end)))
        if step.state in _AGREED
        else step
        for step, end in zip(ordered, ends, strict=True)
    ]


def _kept(flow: Flow, number: int, row: Row) -> Iterator[Step]:
    """What a record says of itself where the trail says nothing: it was brought by an import, or is older.

    A stay whose end nobody wrote down is no stay.
    """
    _, state, created, first, second, third = row
    match flow:
        case Flow.VISITS:
            if (second is not None and created < second) or state == VisitState.PLANNED:
                yield Step(number, created, VisitState.PLANNED.value)
            if second is not None and (third is not None or state == VisitState.CHECKED_IN):
                yield Step(number, second, VisitState.CHECKED_IN.value)
            elif second is not None:
                yield Step(number, second, None)
            if third is not None:
                yield Step(number, third, state)
        case Flow.ORDERS if not third:
            if first is not None or state == OrderState.DRAFT:
                yield Step(number, created, OrderState.DRAFT.value)
            if first is not None:
                still = state == OrderState.SUBMITTED
                yield Step(number, max(first, created), OrderState.SUBMITTED.value if still else None)
        case Flow.TASKS if first is not None or state == TaskState.OPEN:
            yield Step(number, created, TaskState.OPEN.value)
            if first is not None:
                yield Step(number, max(first, created), state)
        case Flow.CASES if state == CaseState.NEW:
            yield Step(number, first, state)
        case Flow.CASES if state == CaseState.WAITING_CUSTOMER and second is not None:
            yield Step(number, second, state)
        case _:
            return
