"""Tasks of reps, managers and service agents: done, open, overdue, put off; some made by a rule of the server."""

from typing import Any

import numpy as np

from backend.domain.demo.customers import Customers
from backend.domain.demo.frame import HOUR_MS, Setting, Table, texts_of_days
from backend.domain.demo.orders import STATES, Orders
from backend.domain.demo.people import Patches
from backend.domain.orders import OrderState
from backend.domain.tasks import TaskPriority, TaskSource, TaskState
from backend.domain.times import DAY_MS

PER_REP_N = 36
PER_OTHER_N = 5
RULE_SINCE_DAYS = 180
"""Decisions on orders of this age on left the rep a task."""
_STATES = (TaskState.DONE, TaskState.OPEN, TaskState.IN_PROGRESS, TaskState.SNOOZED, TaskState.CANCELLED)
_STATE_BOUNDS = np.array([0.55, 0.83, 0.9, 0.95])
_PRIORITIES = (TaskPriority.NORMAL, TaskPriority.HIGH, TaskPriority.LOW)
_TITLES = (
    ("寄送新季样衣", "确认补货数量", "更新营业时间", "催收逾期货款", "带画册拜访店长", "整理橱窗陈列照片"),
    (
        "새 시즌 샘플 보내기",
        "추가 발주 수량 확인",
        "영업시간 업데이트",
        "미수금 확인",
        "점장에게 룩북 전달",
        "진열 사진 정리",
    ),
)
_OTHER_TITLE = "Prepare the monthly review"


def make_tasks(
    setting: Setting, patches: Patches, customers: Customers, orders: Orders, others: list[str], admin_id: str
) -> Table:
    """`others`: ids of managers and agents, whose tasks have no customer."""
    draw = setting.stream("tasks")
    rows = [
        *_of_reps(setting, patches, customers, draw),
        *_of_others(setting, draw, others),
        *_of_rules(setting, patches, customers, orders, draw, admin_id),
    ]
    names = ("customer_id", "assignee_id", "territory_id", "title", "state", "priority", "due_on", "due_sort",
             "source", "related_id", "snoozed_until", "done_at", "created_at", "created_by")  # fmt: skip
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    made_ms = np.array(columns["created_at"], dtype=np.int64)
    return Table("task", {"id": setting.ids("task", made_ms), **columns})


def _moments(
    setting: Setting, draw: np.random.Generator, n: int, offset_ms: Any
) -> tuple[list[TaskState], dict[str, list[Any]]]:
    """(n,) states and the columns that follow from them: a task is made, due, and perhaps done or put off."""
    pick = np.searchsorted(_STATE_BOUNDS, draw.random(n), side="right")
    open_ones = np.isin(pick, (1, 2, 3))
    age = np.where(open_ones, draw.integers(1, 20, n), draw.integers(5, 130, n))
    due = setting.as_of - age + draw.integers(0, 9, n)
    due = np.where(open_ones, setting.as_of + draw.integers(-9, 14, n), due)
    age = np.maximum(age, setting.as_of - due + 1)
    made_ms = setting.now_ms - age * DAY_MS + draw.integers(0, 8 * HOUR_MS, n)
    done_ms = made_ms + 1 + (draw.random(n) * (setting.now_ms - made_ms - 1)).astype(np.int64)
    done_ms = np.minimum(done_ms, made_ms + 10 * DAY_MS)
    later_ms = setting.now_ms + draw.integers(1, 6, n) * DAY_MS
    states = [_STATES[at] for at in pick.tolist()]
    due_sort = (due + 1) * DAY_MS - offset_ms
    return states, {
        "due_on": texts_of_days(due),
        "due_sort": due_sort.tolist(),
        "snoozed_until": [
            at if s is TaskState.SNOOZED else None for at, s in zip(later_ms.tolist(), states, strict=True)
        ],
        "done_at": [at if s is TaskState.DONE else None for at, s in zip(done_ms.tolist(), states, strict=True)],
        "created_at": made_ms.tolist(),
    }


def _of_reps(
    setting: Setting, patches: Patches, customers: Customers, draw: np.random.Generator
) -> list[tuple[Any, ...]]:
    accounts_n = len(customers.accounts.kind)
    per_patch = np.bincount(customers.patch[:accounts_n], minlength=len(patches.ids))
    sorted_rows = np.argsort(customers.patch[:accounts_n], kind="stable")
    first = np.cumsum(per_patch) - per_patch
    patch = np.repeat(np.flatnonzero(per_patch > 0), PER_REP_N)
    n = len(patch)
    customer = sorted_rows[first[patch] + (draw.random(n) * per_patch[patch]).astype(np.int64)]
    states, moments = _moments(setting, draw, n, patches.offset_ms[patch])
    priority, title = draw.integers(0, 5, n).tolist(), draw.random(n).tolist()
    found = []
    for row in range(n):
        rep = patches.rep_ids[int(patches.rep[patch[row]])]
        titles = _TITLES[int(patches.korean[patch[row]])]
        found.append(
            (
                customers.ids[int(customer[row])],
                rep,
                patches.ids[int(patch[row])],
                titles[int(title[row] * len(titles))],
                states[row].value,
                _PRIORITIES[max(0, priority[row] - 2)].value,
                moments["due_on"][row],
                moments["due_sort"][row],
                TaskSource.HUMAN.value,
                None,
                moments["snoozed_until"][row],
                moments["done_at"][row],
                moments["created_at"][row],
                rep,
            )
        )
    return found


def _of_others(setting: Setting, draw: np.random.Generator, others: list[str]) -> list[tuple[Any, ...]]:
    n = PER_OTHER_N * len(others)
    states, moments = _moments(setting, draw, n, 8 * HOUR_MS)
    return [
        (
            None,
            others[row // PER_OTHER_N],
            None,
            _OTHER_TITLE,
            states[row].value,
            TaskPriority.NORMAL.value,
            moments["due_on"][row],
            moments["due_sort"][row],
            TaskSource.HUMAN.value,
            None,
            moments["snoozed_until"][row],
            moments["done_at"][row],
            moments["created_at"][row],
            others[row // PER_OTHER_N],
        )
        for row in range(n)
    ]


def _of_rules(
    setting: Setting, patches: Patches, customers: Customers, orders: Orders, draw: np.random.Generator, admin_id: str
) -> list[tuple[Any, ...]]:
    """What a manager's word on an order leaves its rep to do; of old ones only rejections are still told."""
    age = setting.as_of - orders.day
    rejected = (orders.state == STATES.index(OrderState.REJECTED)) & (age < RULE_SINCE_DAYS)
    confirmed = (orders.state == STATES.index(OrderState.CONFIRMED)) & (age < 12)
    rows = np.flatnonzero(rejected | confirmed)
    done = (age[rows] > 14) | (draw.random(len(rows)) < 0.3)
    found = []
    for row, closed in zip(rows.tolist(), done.tolist(), strict=True):
        account, no = int(orders.account[row]), bool(rejected[row])
        patch = int(customers.patch[account])
        made_ms = int(orders.submitted_ms[row]) + 20 * HOUR_MS
        due = int(orders.day[row]) + 2
        found.append(
            (
                customers.ids[account],
                patches.rep_ids[int(patches.rep[patch])],
                patches.ids[patch],
                "ORDER_REJECTED" if no else "ORDER_CONFIRMED",
                (TaskState.DONE if closed else TaskState.OPEN).value,
                (TaskPriority.HIGH if no else TaskPriority.NORMAL).value,
                texts_of_days(np.array([due]))[0],
                (due + 1) * DAY_MS - int(patches.offset_ms[patch]),
                TaskSource.RULE.value,
                orders.ids[row],
                None,
                min(made_ms + 30 * HOUR_MS, setting.now_ms) if closed else None,
                made_ms,
                admin_id,
            )
        )
    return found
