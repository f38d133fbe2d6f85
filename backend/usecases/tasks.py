"""Tasks: given, done, put off; done stays done against somebody who had not seen it."""

from collections.abc import Sequence

from backend.domain.permissions import Action, Collection
from backend.domain.tasks import TaskState, check_task_steps
from backend.domain.times import day_bounds_ms
from backend.errors import Code
from backend.storage.customers import TIMEZONE_DEFAULT, CustomerHead
from backend.sync.changes import Change, Draft, Outcome, open_drafts, save_drafts
from backend.sync.rights import check_customers, check_rights, lock_customers, stepper
from backend.sync.work import Door, Work

NO_DUE_MS = 4_102_444_800_000
"""Tasks without a due moment sort after all others (2100-01-01)."""


async def change_tasks(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Create, change and delete tasks. Only who may assign gives a task to somebody else."""
    heads = await lock_customers(work, "task", changes)
    drafts = await open_drafts(work, "tasks", changes)
    check_rights(work, Collection.TASKS, drafts)
    check_customers(drafts, heads)
    assignees = await _active_people(work, drafts)
    for draft in drafts:
        if draft.alive and not draft.deleting:
            _decide(work, draft, heads, assignees)
    return await save_drafts(work, "tasks", drafts)


async def _active_people(work: Work, drafts: Sequence[Draft]) -> set[str]:
    wanted = sorted({str(draft.after["assigneeId"]) for draft in drafts if draft.alive and draft.after["assigneeId"]})
    rows = await work.conn.fetch("SELECT id FROM user_account WHERE id = ANY(?) AND active", wanted)
    return {row[0] for row in rows}


def _decide(work: Work, draft: Draft, heads: dict[str, CustomerHead], assignees: set[str]) -> None:
    task = draft.after
    head = heads.get(str(task.get("customerId")))
    if draft.before is None:
        task["assigneeId"] = task.get("assigneeId") or work.principal.user_id
        task.update(createdAt=work.now_ms, createdBy=work.principal.holder)
        task["territoryId"] = head.territory_id if head else None
    _check_assignee(work, draft, assignees)
    before = None if draft.before is None else str(draft.before["state"])
    if task["state"] == TaskState.DONE and task.get("doneAt") is None:
        task["doneAt"] = draft.change.captured_at_ms or work.now_ms
    elif task["state"] != TaskState.DONE and before == TaskState.DONE:
        if draft.accepted.get("doneAt") is not None:
            # reopened and done at once: which of the two is meant, its author has to say
            draft.refuse(Code.INVALID_VALUE, "doneAt")
        task["doneAt"] = None
    record = {**task, "doneAt": (draft.before or task).get("doneAt")}
    _, problems = check_task_steps(before, str(task["state"]), stepper(work), record, work.now_ms)
    draft.problems += problems
    task["dueSort"] = _due_ms(task, head)


def _check_assignee(work: Work, draft: Draft, assignees: set[str]) -> None:
    assignee = str(draft.after["assigneeId"])
    if "assigneeId" not in draft.accepted:
        return
    to_self = assignee == work.principal.user_id
    if not to_self and work.door is not Door.JOB and not work.principal.may(Action.ASSIGN, Collection.TASKS):
        draft.refuse(Code.NOT_PERMITTED, "assigneeId")
    elif assignee not in assignees:
        draft.refuse(Code.NOT_FOUND, "assigneeId")


def _due_ms(task: dict[str, object], head: CustomerHead | None) -> int:
    """The end of the due day in the customer's zone, the due instant, or far away."""
    if isinstance(due_at := task.get("dueAt"), int):
        return due_at
    if isinstance(due_on := task.get("dueOn"), str):
        return day_bounds_ms(due_on, head.timezone if head else TIMEZONE_DEFAULT)[1]
    return NO_DUE_MS
