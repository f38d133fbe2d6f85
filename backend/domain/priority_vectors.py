"""Cases that tie every implementation of the visit priority to the same whole numbers.

The committed file is regenerated and compared in the tests; a client in any language is right when it gives
the expected lines for every case.
"""

import json
import random
from collections.abc import Sequence
from typing import Any

from backend.domain.arrays import IntColumn
from backend.domain.explanations import Evidence, explain
from backend.domain.priority import (
    VALUE_MINOR_MAX,
    PriorityInputs,
    QTable,
    QTables,
    priorities,
    publish_parameters,
)

Document = dict[str, Any]

TODAY = 20_779
CASES_N = 80

_AMOUNTS = ("valueAtStakeMinor", "upliftMinor", "potentialMinor", "existingValueMinor")


def priority_vectors() -> Document:
    """Build the whole file: one parameter set, one set of tables, fixed and drawn cases, the ranking."""
    parameters, tables = publish_parameters(), _tables()
    cases = [*_edge_cases(), *_drawn_cases()]
    columns = priorities(as_inputs([c["score"] for c in cases], [c["facts"] for c in cases]), parameters, tables, TODAY)
    scores = columns.score.tolist()
    for row, case in enumerate(cases):
        lines = explain(columns, row, evidence_of(case["facts"]))
        case["expected"] = {"score": scores[row], "lines": [line.document() for line in lines]}
    ranking = sorted(range(len(cases)), key=lambda row: (-scores[row], cases[row]["customerId"]))
    return {
        "parameters": parameters.document(),
        "tables": tables.document(),
        "cases": cases,
        "ranking": [cases[row]["customerId"] for row in ranking],
    }


def vectors_text() -> str:
    """The file as committed: sorted keys, one case a line."""
    found = priority_vectors()
    names = ("parameters", "tables", "ranking")
    parts = [f'"{name}": {json.dumps(found[name], sort_keys=True)}' for name in names]
    cases = ",\n".join(json.dumps(case, sort_keys=True) for case in found["cases"])
    return "{" + ",\n".join(parts) + f',\n"cases": [\n{cases}\n]}}\n'


def as_inputs(scores: Sequence[Document], facts: Sequence[Document]) -> PriorityInputs:
    """The columns of some customers from the documents that travel; all facts of one day."""

    def column(rows: Sequence[Document], name: str) -> IntColumn:
        return IntColumn.of([None if row.get(name) is None else int(row[name]) for row in rows])

    late, still_open = _task_counts(facts)
    return PriorityInputs(
        value_at_stake_minor=column(scores, "valueAtStakeMinor"),
        uplift_minor=column(scores, "upliftMinor"),
        potential_minor=column(scores, "potentialMinor"),
        potential_confidence_bp=column(scores, "potentialConfidenceBp"),
        existing_value_minor=column(scores, "existingValueMinor"),
        satisfaction_bp=column(scores, "satisfactionBp"),
        satisfaction_confidence_bp=column(scores, "satisfactionConfidenceBp"),
        loyalty_bp=column(scores, "loyaltyBp"),
        cadence_days=column(scores, "cadenceDays"),
        season_close_day=column(scores, "seasonCloseDay"),
        has_preorder_history=column(scores, "hasPreorderHistory"),
        severe_cases_n=column(scores, "severeCases"),
        overdue_tasks_n=late,
        open_tasks_n=still_open,
        last_visit_day=column(facts, "lastVisitDay"),
        next_appointment_day=column(facts, "nextAppointmentDay"),
    )


def evidence_of(facts: Document) -> Evidence:
    """The ids among a device's facts."""
    return Evidence(
        last_order_id=facts.get("lastOrderId"),
        last_visit_id=facts.get("lastVisitId"),
        next_appointment_id=facts.get("nextAppointmentId"),
        task_ids=tuple(task["id"] for task in facts.get("openTasks") or ()),
    )


def _task_counts(facts: Sequence[Document]) -> tuple[IntColumn, IntColumn]:
    late: list[int | None] = []
    still_open: list[int | None] = []
    for row in facts:
        tasks = row.get("openTasks")
        past = sum(t["dueDay"] is not None and t["dueDay"] < row["today"] for t in tasks or ())
        late.append(None if tasks is None else past)
        still_open.append(None if tasks is None else len(tasks) - past)
    return IntColumn.of(late), IntColumn.of(still_open)


def _tables() -> QTables:
    """Skewed tables with ties at 0, a plateau and a last knot at the clamp."""
    value = tuple(0 if i < 20 else (i - 19) ** 3 * 217 for i in range(101))
    plateau = tuple(max(0, min(i, 60) - 30) * 10_007 + max(0, i - 70) * 1_003 for i in range(101))
    existing = (*(i * i * 331 - 50_000 for i in range(100)), VALUE_MINOR_MAX)
    return QTables("2026Q4-1", QTable(value), QTable(value), QTable(plateau), QTable(existing))


def _case(name: str, score: Document, facts: Document) -> Document:
    return {"customerId": name, "score": score, "facts": {"today": TODAY, **facts}}


def _edge_cases() -> list[Document]:
    """Nothing known; everything at its most; only deductions; every boundary of the curves and tables."""
    full = {
        "valueAtStakeMinor": VALUE_MINOR_MAX * 2,
        "upliftMinor": VALUE_MINOR_MAX,
        "potentialMinor": 900_000,
        "potentialConfidenceBp": 10_000,
        "existingValueMinor": VALUE_MINOR_MAX,
        "satisfactionBp": 0,
        "satisfactionConfidenceBp": 10_000,
        "loyaltyBp": 10_000,
        "cadenceDays": 14,
        "seasonCloseDay": TODAY + 14,
        "hasPreorderHistory": 1,
        "severeCases": 3,
    }
    equal = {"existingValueMinor": VALUE_MINOR_MAX, "satisfactionConfidenceBp": 10_000}
    boundaries = [
        _case(
            f"boundary-{offset:03d}",
            {**full, "seasonCloseDay": TODAY + offset},
            {"lastVisitDay": TODAY - offset},
        )
        for offset in (-1, 0, 1, 11, 12, 27, 28, 29, 44, 45, 55, 56, 57)
    ]
    return [
        _case("nothing-recorded", {}, {}),
        _case("everything-at-most", full, {"lastVisitDay": TODAY - 400, "lastVisitId": "v1", "openTasks": []}),
        _case("visited-today", {}, {"lastVisitDay": TODAY, "lastVisitId": "v2"}),
        _case("agreed-for-today", {}, {"nextAppointmentDay": TODAY, "nextAppointmentId": "v3"}),
        _case("appointment-missed", {}, {"nextAppointmentDay": TODAY - 1, "nextAppointmentId": "v4"}),
        _case("loss-maker", {**full, "existingValueMinor": -5, "valueAtStakeMinor": -5}, {"openTasks": []}),
        _case("tie-b", {"valueAtStakeMinor": 500_000}, {}),
        _case("tie-a", {"valueAtStakeMinor": 500_000}, {}),
        # half a point each of two lines: the whole one goes to the earlier
        _case("equal-remainders", {**equal, "satisfactionBp": 8_750, "loyaltyBp": 2_500}, {}),
        *boundaries,
    ]


def _drawn_cases() -> list[Document]:
    draw = random.Random(20_261_122)
    return [_drawn_case(draw, number) for number in range(CASES_N)]


def _drawn_case(draw: random.Random, number: int) -> Document:
    def maybe(value: Any) -> Any:
        return value if draw.random() < 0.8 else None

    score = {name: maybe(int(draw.lognormvariate(11, 2)) - 20_000) for name in _AMOUNTS}
    score |= {
        "potentialConfidenceBp": draw.randrange(10_001),
        "satisfactionBp": maybe(draw.randrange(10_001)),
        "satisfactionConfidenceBp": draw.randrange(10_001),
        "loyaltyBp": maybe(draw.randrange(10_001)),
        "cadenceDays": maybe(draw.choice([0, 7, 14, 21, 28, 56])),
        "seasonCloseDay": maybe(TODAY + draw.randrange(-5, 60)),
        "hasPreorderHistory": maybe(draw.randrange(2)),
        "severeCases": maybe(draw.choice([0, 0, 0, 1])),
    }
    tasks = [{"id": f"t{number}-{i}", "dueDay": maybe(TODAY + draw.randrange(-3, 4))} for i in range(draw.randrange(4))]
    facts = {
        "lastVisitDay": maybe(TODAY - draw.randrange(80)),
        "lastVisitId": f"v{number}",
        "nextAppointmentDay": maybe(TODAY + draw.randrange(-3, 30)),
        "nextAppointmentId": f"a{number}",
        "lastOrderId": maybe(f"o{number}"),
        "openTasks": maybe(tasks),
    }
    return _case(f"drawn-{number:03d}", score, facts)
