"""Tasks: due once, done for good against a stale base, reopened within a week."""

import pytest

from backend.domain.fields import Merge, policy_of, validate
from backend.domain.merge import merge_change, with_paths
from backend.domain.permissions import Role
from backend.domain.steps import SYSTEM
from backend.domain.tasks import TASK, check_task_steps
from backend.domain.times import DAY_MS
from backend.errors import Code

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def test_a_title_suffices_and_a_task_is_due_once() -> None:
    assert validate(TASK, {"title": "Call back"}, creating=True)[1] == []
    problems = validate(TASK, {"title": " ", "dueOn": "2026-03-01", "dueAt": 5}, creating=True)[1]
    assert [(p.code, p.path) for p in problems] == [
        (Code.REQUIRED, ("title",)),
        (Code.INVALID_VALUE, ("dueAt",)),
    ]
    problems = validate(TASK, {"customerId": ID, "createdBy": "x"}, creating=False)[1]
    assert [p.code for p in problems] == [Code.NOT_EDITABLE, Code.SERVER_ONLY_FIELD]


@pytest.mark.parametrize(("age_days_ms", "reopened"), [(7 * DAY_MS, True), (7 * DAY_MS + 1, False)])
def test_a_task_is_reopened_within_seven_days(age_days_ms: int, reopened: bool) -> None:
    walk, problems = check_task_steps("DONE", "OPEN", Role.REP, {"doneAt": 1_000}, 1_000 + age_days_ms)
    assert walk == ["OPEN"]
    assert ([p.code for p in problems] == []) is reopened
    assert ([p.code for p in problems] == [Code.INVALID_TRANSITION]) is not reopened
    assert check_task_steps("DONE", "OPEN", SYSTEM, {"doneAt": 1_000}, 1_000 + age_days_ms)[1] == []


def test_snoozing_says_until_when_and_a_done_task_sent_again_is_no_step() -> None:
    _, problems = check_task_steps("OPEN", "SNOOZED", Role.REP, {}, 0)
    assert [(p.code, p.path) for p in problems] == [(Code.EVIDENCE_MISSING, ("snoozedUntil",))]
    assert check_task_steps("DONE", "DONE", Role.REP, {"doneAt": 0}, 99 * DAY_MS) == ([], [])


def test_done_is_a_latch_against_a_stale_base_only() -> None:
    assert policy_of(TASK, "state") is Merge.LATCH


@pytest.mark.parametrize(
    ("standing", "base_rev", "sent", "stands"),
    [("DONE", 10, "IN_PROGRESS", "DONE"), ("DONE", 20, "OPEN", "OPEN"), ("OPEN", 10, "DONE", "DONE")],
)
def test_what_stands_after_two_people_changed_a_task(standing: str, base_rev: int, sent: str, stands: str) -> None:
    task = {"state": standing}
    merged = merge_change(TASK, task, {"state": sent}, field_seq={"state": (20, "x")}, base_rev=base_rev, writer="y")
    assert with_paths(TASK, task, merged.accepted)["state"] == stands
