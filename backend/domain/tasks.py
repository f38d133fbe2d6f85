"""Tasks: something to do for a customer, due on a date or at an instant."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from backend.domain.custom import custom_values
from backend.domain.customers import NOTES_CHARACTERS_MAX
from backend.domain.fields import Field, Kind, Merge, Shape, enum_field, server_field
from backend.domain.permissions import Role
from backend.domain.steps import SYSTEM, Machine, Stepper, check_steps
from backend.domain.times import DAY_MS
from backend.errors import Code, Problem


class TaskState(StrEnum):
    """Where a task stands."""

    OPEN = "OPEN"
    IN_PROGRESS = "IN_PROGRESS"
    SNOOZED = "SNOOZED"
    DONE = "DONE"
    CANCELLED = "CANCELLED"


class TaskPriority(StrEnum):
    """How much it matters."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


class TaskSource(StrEnum):
    """Who made it: a rule of the server or a person."""

    RULE = "RULE"
    HUMAN = "HUMAN"


REOPEN_DAYS_MAX = 7

_ANYBODY = frozenset(role.value for role in Role)

TASK_STEPS = Machine(
    enum=TaskState.__name__,
    starts={TaskState.OPEN: _ANYBODY},
    steps={
        TaskState.OPEN: {
            TaskState.IN_PROGRESS: _ANYBODY,
            TaskState.DONE: _ANYBODY,
            TaskState.CANCELLED: _ANYBODY,
            TaskState.SNOOZED: _ANYBODY,
        },
        # Work that was begun must be able to end.
        TaskState.IN_PROGRESS: {TaskState.DONE: _ANYBODY, TaskState.CANCELLED: _ANYBODY},
        TaskState.SNOOZED: {TaskState.OPEN: _ANYBODY},
        TaskState.DONE: {TaskState.OPEN: _ANYBODY},
        TaskState.CANCELLED: {},
    },
    evidence={TaskState.SNOOZED: (("snoozedUntil",),)},
)


def _one_due(record: Mapping[str, object]) -> Iterable[Problem]:
    if record.get("dueOn") is not None and record.get("dueAt") is not None:
        yield Problem(Code.INVALID_VALUE, ("dueAt",), allowed=("dueOn", "dueAt"))


TASK = Shape(
    "tasks",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("customerId", Kind.ID, fixed=True),
        Field("assigneeId", Kind.ID, nullable=False),
        Field("title", Kind.TEXT, nullable=False, limit=200),
        Field("notes", Kind.LONG_TEXT, limit=NOTES_CHARACTERS_MAX, merge=Merge.APPEND_TEXT, personal=True),
        custom_values(),
        # Done stays done against a stale base; with a fresh one it may be reopened.
        enum_field("state", TaskState, nullable=False, merge=Merge.LATCH, default=TaskState.OPEN.value),
        enum_field("priority", TaskPriority, nullable=False, default=TaskPriority.NORMAL.value),
        Field("dueOn", Kind.DATE),
        Field("dueAt", Kind.TIMESTAMP),
        enum_field("source", TaskSource, nullable=False, fixed=True, default=TaskSource.HUMAN.value),
        Field("relatedId", Kind.ID, fixed=True),
        Field("snoozedUntil", Kind.TIMESTAMP, merge=Merge.LAST_WRITER),
        Field("doneAt", Kind.TIMESTAMP, merge=Merge.LATCH),
        server_field("territoryId", Kind.ID),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("acceptedLateAt", Kind.TIMESTAMP, since=2),
        server_field("createdBy", Kind.TEXT),
    ),
    required=(("title",),),
    rules=(_one_due,),
)


def check_task_steps(
    at: str | None, to: str, by: Stepper, record: Mapping[str, object], now_ms: int
) -> tuple[list[str], list[Problem]]:
    """The walk to a state and what speaks against it; a task done more than 7 days ago is not reopened."""
    walk, problems = check_steps(TASK_STEPS, at, to, by, record)
    done_at = record.get("doneAt")
    reopening = at == TaskState.DONE and bool(walk) and by != SYSTEM
    if reopening and isinstance(done_at, int) and now_ms - done_at > REOPEN_DAYS_MAX * DAY_MS:
        problems = [
            *problems,
            Problem(
                Code.INVALID_TRANSITION,
                ("state",),
                params={"enum": TaskState.__name__, "from": TaskState.DONE.value, "to": to},
            ),
        ]
    return walk, problems
