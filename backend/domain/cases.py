"""Cases: what a customer complains of, from the day it is heard until it is settled.

A complaint heard on a visit is the very record the service desk works on later: same table, same id, same states.
*Source*: R34, R52; `domain.md`, Case.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from backend.domain.customers import NOTES_CHARACTERS_MAX
from backend.domain.fields import Field, Kind, Merge, Shape, enum_field, server_field
from backend.domain.permissions import Role
from backend.domain.steps import SYSTEM, Machine, Stepper, check_steps
from backend.domain.times import DAY_MS
from backend.errors import Code, Problem

HOUR_MS = 3_600_000
SUBJECT_CHARACTERS_MAX = 200


class CaseKind(StrEnum):
    """What it is about. Questions, returns and repairs come with the service desk."""

    COMPLAINT = "COMPLAINT"


class CaseState(StrEnum):
    """Where a case stands."""

    NEW = "NEW"
    ASSIGNED = "ASSIGNED"
    IN_PROGRESS = "IN_PROGRESS"
    WAITING_CUSTOMER = "WAITING_CUSTOMER"
    """the clock stands still"""
    RESOLVED = "RESOLVED"
    CLOSED = "CLOSED"
    REOPENED = "REOPENED"


class CasePriority(StrEnum):
    """How bad it is, the worst first."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


SEVERITY: Mapping[str, float] = {"P1": 1.0, "P2": 0.75, "P3": 0.5, "P4": 0.25}
"""Priority → severity 0..1; from .75 on a complaint is severe."""
RESOLVE_HOURS: Mapping[str, int] = {"P1": 24, "P2": 72, "P3": 168, "P4": 336}
"""Priority → hours within which it should be settled, waiting for the customer not counted."""
REOPEN_DAYS_MAX = 14
SETTLED = frozenset({CaseState.RESOLVED, CaseState.CLOSED})

_ENTERS = frozenset({Role.REP.value, Role.SERVICE_AGENT.value, Role.ADMIN.value})
_WORKS = frozenset({Role.SERVICE_AGENT.value, Role.ADMIN.value})

CASE_STEPS = Machine(
    enum=CaseState.__name__,
    starts={CaseState.NEW: _ENTERS},
    steps={
        CaseState.NEW: {CaseState.ASSIGNED: _WORKS},
        CaseState.ASSIGNED: {CaseState.IN_PROGRESS: _WORKS},
        CaseState.IN_PROGRESS: {CaseState.WAITING_CUSTOMER: _WORKS, CaseState.RESOLVED: _WORKS},
        CaseState.WAITING_CUSTOMER: {CaseState.IN_PROGRESS: _WORKS},
        CaseState.RESOLVED: {CaseState.CLOSED: _WORKS, CaseState.REOPENED: _WORKS},
        CaseState.CLOSED: {CaseState.REOPENED: _WORKS},
        CaseState.REOPENED: {CaseState.ASSIGNED: _WORKS},
    },
    evidence={CaseState.RESOLVED: (("resolution",),)},
)

CASE = Shape(
    "cases",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        enum_field("kind", CaseKind, nullable=False, fixed=True, default=CaseKind.COMPLAINT.value),
        Field("customerId", Kind.ID, nullable=False, fixed=True),
        Field("contactId", Kind.ID),
        Field("visitId", Kind.ID, fixed=True),
        Field("aboutOrderId", Kind.ID, fixed=True),
        Field("styleId", Kind.ID, fixed=True),
        Field("subject", Kind.TEXT, nullable=False, limit=SUBJECT_CHARACTERS_MAX, personal=True),
        Field("notes", Kind.LONG_TEXT, limit=NOTES_CHARACTERS_MAX, merge=Merge.APPEND_TEXT, personal=True),
        enum_field("priority", CasePriority, nullable=False, default=CasePriority.P3.value),
        enum_field("state", CaseState, nullable=False, merge=Merge.STEPS, default=CaseState.NEW.value),
        Field("escalated", Kind.BOOL, nullable=False, default=False),
        Field("assigneeId", Kind.ID),
        Field("resolution", Kind.LONG_TEXT, limit=NOTES_CHARACTERS_MAX, merge=Merge.APPEND_TEXT, personal=True),
        Field("openedAt", Kind.TIMESTAMP, fixed=True),
        server_field("dueAt", Kind.TIMESTAMP),
        server_field("waitingSince", Kind.TIMESTAMP),
        server_field("resolvedAt", Kind.TIMESTAMP),
        server_field("late", Kind.BOOL, default=False),
        server_field("reopenedTimes", Kind.INT, default=0),
        server_field("territoryId", Kind.ID),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
        server_field("acceptedLateAt", Kind.TIMESTAMP),
    ),
    required=(("customerId",), ("subject",)),
)
"""`late`: it was settled after it was due, this time or before it was opened again. `dueAt` moves on by the time spent
waiting for the customer."""


def resolve_ms(priority: object) -> int:
    """How long a case of this priority may take."""
    return RESOLVE_HOURS[str(priority)] * HOUR_MS


def check_case_steps(
    at: str | None, to: str, by: Stepper, record: Mapping[str, object], now_ms: int
) -> tuple[list[str], list[Problem]]:
    """The walk to a state and what speaks against it; one settled more than 14 days ago is not opened again.

    `record`: as it will be after, with `resolvedAt` as it was before.
    """
    walk, problems = check_steps(CASE_STEPS, at, to, by, record)
    resolved_at = record.get("resolvedAt")
    again = CaseState.REOPENED in walk and by != SYSTEM
    if again and isinstance(resolved_at, int) and now_ms - resolved_at > REOPEN_DAYS_MAX * DAY_MS:
        params = {"enum": CaseState.__name__, "from": str(at), "to": to}
        problems = [*problems, Problem(Code.INVALID_TRANSITION, ("state",), params=params)]
    return walk, problems


def clocked(
    before: Mapping[str, object] | None, after: Mapping[str, object], walk: Iterable[str], at_ms: int
) -> dict[str, object]:
    """The fields the clock gives a case that goes through `walk` at a moment; `after` is as it will be otherwise.

    Waiting stops the clock, a settled case keeps when that was, and a reopened one begins anew.
    """
    opened = _moment(after.get("openedAt")) or at_ms
    allowed = resolve_ms(after["priority"])
    if before is None:
        due = opened + allowed
    else:
        # another priority promises another time, from the same beginning
        due = (_moment(before.get("dueAt")) or opened + allowed) + allowed - resolve_ms(before["priority"])
    waiting = _moment((before or {}).get("waitingSince"))
    resolved = _moment((before or {}).get("resolvedAt"))
    late = bool((before or {}).get("late"))
    reopened = int(str((before or {}).get("reopenedTimes") or 0))
    for state in walk:
        if waiting is not None:
            due, waiting = due + max(at_ms - waiting, 0), None
        if state == CaseState.WAITING_CUSTOMER:
            waiting = at_ms
        elif state == CaseState.RESOLVED:
            resolved, late = at_ms, late or at_ms > due
        elif state == CaseState.REOPENED:
            resolved, due, reopened = None, at_ms + allowed, reopened + 1
    return {
        "dueAt": due,
        "waitingSince": waiting,
        "resolvedAt": resolved,
        "late": late,
        "reopenedTimes": reopened,
    }


def _moment(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
