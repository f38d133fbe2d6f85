"""A priority in codes: each line with its points, its numbers and the ids of what proves it. No text here."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain.priority import LINES, LineCode, PriorityColumns

REASONS_MAX = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """Ids of the records a customer's lines rest on; `None` or empty where there is none."""

    last_order_id: str | None = None
    last_visit_id: str | None = None
    next_appointment_id: str | None = None
    task_ids: tuple[str, ...] = ()
    case_ids: tuple[str, ...] = ()
    answer_ids: tuple[str, ...] = ()
    severe_ids: tuple[str, ...] = ()
    """severe complaints open now, which are obligations; how content somebody is rests on those of the night"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one customer: whole `points`, `recorded` False without input, `numbers` to show."""

    code: LineCode
    points: int
    recorded: bool
    numbers: dict[str, int]
    evidence: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """The line as it travels to devices."""
        return {
            "code": self.code.value,
            "points": self.points,
            "recorded": self.recorded,
            "numbers": self.numbers,
            "evidence": list(self.evidence),
        }


def explain(columns: PriorityColumns, row: int, evidence: Evidence | None = None) -> tuple[Line, ...]:
    """All lines of one customer, the clip last; their points sum to the score.

    A line that was not recorded carries neither numbers nor evidence. *Source*: R28.
    """
    proof = evidence or Evidence()
    return tuple(_line(columns, row, place, code, proof) for place, code in enumerate(LINES))


def reasons(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The up to three lines that speak most for a visit, the strongest first; equal ones as they stand."""
    found = [line for line in lines if line.recorded and line.points > 0 and line.code is not LineCode.CLIP]
    return tuple(sorted(found, key=lambda line: -line.points)[:REASONS_MAX])


def _line(columns: PriorityColumns, row: int, place: int, code: LineCode, evidence: Evidence) -> Line:
    recorded = bool(columns.recorded[row, place])
    numbers = {name: int(column[row]) for name, column in columns.numbers[code].items()} if recorded else {}
    points = int(columns.points[row, place])
    return Line(code, points, recorded, numbers, _evidence_of(code, numbers, evidence) if recorded else ())


def _evidence_of(code: LineCode, numbers: dict[str, int], evidence: Evidence) -> tuple[str, ...]:
    if code in (LineCode.VALUE_AT_STAKE, LineCode.SAVABLE_REVENUE):
        found = evidence.last_order_id
    elif code is LineCode.OVERDUE:
        found = evidence.last_visit_id
    elif code is LineCode.OBLIGATIONS:
        return tuple(sorted({*evidence.task_ids, *evidence.case_ids, *evidence.severe_ids}))
    elif code is LineCode.SATISFACTION_GAP:
        return tuple(sorted((*evidence.answer_ids, *evidence.case_ids)))
    elif code is LineCode.JUST_VISITED:
        found = evidence.next_appointment_id if numbers["isAppointment"] else evidence.last_visit_id
    else:
        return ()
    return (found,) if found else ()
