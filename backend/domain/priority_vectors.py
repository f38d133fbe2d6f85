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
from backend.domain.judgements import Judgement, JudgementKind, JudgementReason, judged_place
from backend.domain.priority import (
    VALUE_MINOR_MAX,
    PriorityInputs,
    QTable,
    QTables,
    priorities,
    publish_parameters,
)
from backend.domain.times import add_days, day_from_number, instant_text

Document = dict[str, Any]

TODAY = 20_779
ON = day_from_number(TODAY)
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
        **_judged(scores, [case["customerId"] for case in cases]),
    }


def vectors_text() -> str:
    """The file as committed: sorted keys, one case a line."""
    found = priority_vectors()
    names = ("parameters", "tables", "ranking", "judgements", "judged")
    parts = [f'"{name}": {json.dumps(found[name], sort_keys=True)}' for name in names]
    cases = ",\n".join(json.dumps(case, sort_keys=True) for case in found["cases"])
    return "{" + ",\n".join(parts) + f',\n"cases": [\n{cases}\n]}}\n'


def _judged(scores: Sequence[int], ids: Sequence[str]) -> Document:
    """Judgements, and the lists of two people on some days: who stands where, and in which sequence."""
    made = _judgements(ids)
    of = {name: [one for one in made if one.customer_id == name] for name in ids}
    lists = []
    for on, me in ((ON, "rep-1"), (ON, "rep-2"), (add_days(ON, 1), "rep-1"), (add_days(ON, 40), "rep-1")):
        places = {name: judged_place(score, of[name], on, me) for name, score in zip(ids, scores, strict=True)}
        lists.append(
            {
                "on": on,
                "me": me,
                "ranking": sorted(ids, key=lambda name: (places[name].skipped, -places[name].ranked_at, name)),
                "places": {
                    name: {"rankedAt": at.ranked_at, "skipped": at.skipped, "shown": [one.id for one in at.shown]}
                    for name, at in places.items()
                    if of[name]
                },
            }
        )
    return {"judgements": [_judgement_document(one) for one in made], "judged": lists}


def _judgements(ids: Sequence[str]) -> list[Judgement]:
    """Edges at customers of their own, then drawn ones, several at a customer."""
    draw = random.Random(20_261_123)

    def made(number: int, customer: str, kind: JudgementKind, **more: Any) -> Judgement:
        given = {"starts_on": ON, "ends_on": ON, "score": None, "points": None, "created_by": "rep-1", **more}
        at_ms = given.pop("at_ms", number * 60_000)
        return Judgement(f"j{number:03d}", customer, kind, JudgementReason.OTHER, "x", created_at_ms=at_ms, **given)

    skip, override = JudgementKind.SKIP, JudgementKind.OVERRIDE
    edges: list[tuple[str, JudgementKind, Document]] = [
        ("everything-at-most", skip, {}),
        ("visited-today", override, {"score": 100}),
        ("agreed-for-today", override, {"points": -100}),
        ("tie-a", override, {"points": 100}),
        ("tie-b", override, {"score": 7, "at_ms": 0}),
        ("tie-b", override, {"score": 9, "at_ms": 0}),
        ("loss-maker", override, {"score": 0, "withdrawn": True}),
        ("equal-remainders", skip, {"created_by": "rep-2"}),
        ("equal-remainders", override, {"score": 50, "ends_on": add_days(ON, 40)}),
        ("nothing-recorded", override, {"score": 60, "starts_on": add_days(ON, 1), "ends_on": add_days(ON, 1)}),
    ]
    drawn = []
    for _ in range(30):
        first = draw.randrange(-3, 3)
        more: Document = {"starts_on": add_days(ON, first), "ends_on": add_days(ON, first + draw.randrange(5))}
        more["withdrawn"], kind = draw.random() < 0.1, draw.choice((skip, override))
        if kind is override:
            more |= {"score": draw.randrange(101)} if draw.random() < 0.5 else {"points": draw.randrange(-60, 61)}
        more["created_by"] = draw.choice(("rep-1", "rep-2"))
        drawn.append((draw.choice(ids[-40:]), kind, more))
    return [made(number, name, kind, **more) for number, (name, kind, more) in enumerate([*edges, *drawn])]


def _judgement_document(one: Judgement) -> Document:
    """What of the document that travels the ranking reads."""
    return {
        "id": one.id,
        "customerId": one.customer_id,
        "kind": one.kind.value,
        "startsOn": one.starts_on,
        "endsOn": one.ends_on,
        "score": one.score,
        "points": one.points,
        "withdrawn": one.withdrawn,
        "createdAt": instant_text(one.created_at_ms),
        "createdBy": one.created_by,
    }


def as_inputs(scores: Sequence[Document], facts: Sequence[Document]) -> PriorityInputs:
    """The columns of some customers from the documents that travel; all facts of one day."""

    def column(rows: Sequence[Document], name: str) -> IntColumn:
        return IntColumn.of([None if row.get(name) is None else int(row[name]) for row in rows])

    late, still_open = _task_counts(facts)
    return PriorityInputs(
        value_at_stake_minor=column(scores, "valueAtStakeMinor"),
        uplift_minor=column(scores, "upliftMinor"),
        uplift_measured=column(scores, "upliftMeasured"),
        potential_minor=column(scores, "potentialMinor"),
        potential_confidence_bp=column(scores, "potentialConfidenceBp"),
        existing_value_minor=column(scores, "existingValueMinor"),
        satisfaction_bp=column(scores, "satisfactionBp"),
        satisfaction_confidence_bp=column(scores, "satisfactionConfidenceBp"),
        loyalty_bp=column(scores, "loyaltyBp"),
        cadence_days=column(scores, "cadenceDays"),
        season_close_day=column(scores, "seasonCloseDay"),
        has_preorder_history=column(scores, "hasPreorderHistory"),
        severe_cases_n=_severe_counts(scores, facts),
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
        severe_ids=tuple(facts.get("severeCases") or ()),
    )


def _severe_counts(scores: Sequence[Document], facts: Sequence[Document]) -> IntColumn:
    """What the device holds itself; of the night where it holds no cases, or neither knows of one."""
    counts: list[int | None] = []
    for score, row in zip(scores, facts, strict=True):
        held, stored = row.get("severeCases"), score.get("severeCases")
        counts.append(stored if held is None or (not held and stored is None) else len(held))
    return IntColumn.of(counts)


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
        _case("case-of-today", {**equal, "severeCases": 0}, {"openTasks": [], "severeCases": ["c1"]}),
        _case("first-case-ever", {}, {"severeCases": ["c2", "c1"]}),
        _case("case-settled-today", {**equal, "severeCases": 2}, {"openTasks": [], "severeCases": []}),
        _case("no-case-ever", {}, {"severeCases": []}),
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
    if number % 3:
        score["upliftMeasured"] = number % 2
    tasks = [{"id": f"t{number}-{i}", "dueDay": maybe(TODAY + draw.randrange(-3, 4))} for i in range(draw.randrange(4))]
    facts = {
        "lastVisitDay": maybe(TODAY - draw.randrange(80)),
        "lastVisitId": f"v{number}",
        "nextAppointmentDay": maybe(TODAY + draw.randrange(-3, 30)),
        "nextAppointmentId": f"a{number}",
        "lastOrderId": maybe(f"o{number}"),
        "openTasks": maybe(tasks),
    }
    if number % 2:
        facts["severeCases"] = maybe([f"c{number}-{place}" for place in range(draw.choice([0, 0, 1, 2]))])
    return _case(f"drawn-{number:03d}", score, facts)
