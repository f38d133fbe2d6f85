"""Where work waits: how long visits, orders, tasks and cases stay in each state, those still in it counted too.

Steps come from the trail and from the moments records keep of themselves. What is still waiting counts as having
waited at least so long (the product-limit estimate), so a state nobody gets out of does not look quick. *Source*: R37.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.cases import CaseState
from backend.domain.orders import OrderState
from backend.domain.survival import Survival, survival
from backend.domain.tasks import TaskState
from backend.domain.visits import VisitState

EXAMPLES_MAX = 5
STAYS_MIN = 20
"""Stays below which a state is not named the bottleneck of its flow."""
MINUTE_MS = 60_000


class Flow(StrEnum):
    """What goes through states."""

    VISITS = "VISITS"
    ORDERS = "ORDERS"
    TASKS = "TASKS"
    CASES = "CASES"


ENDS: Mapping[Flow, frozenset[str]] = {
    Flow.VISITS: frozenset(
        {VisitState.COMPLETED.value, VisitState.ABORTED.value, VisitState.MISSED.value, VisitState.CANCELLED.value}
    ),
    Flow.ORDERS: frozenset({OrderState.CLOSED.value, OrderState.CANCELLED.value}),
    Flow.TASKS: frozenset({TaskState.DONE.value, TaskState.CANCELLED.value}),
    Flow.CASES: frozenset({CaseState.RESOLVED.value, CaseState.CLOSED.value}),
}
"""States in which nothing waits any more."""


@dataclass(frozen=True, slots=True)
class Step:
    """A record came into a state at a moment; `state` None: it left the one before and where to is not recorded."""

    record: int
    at_ms: int
    state: str | None


@dataclass(frozen=True, slots=True)
class StateStay:
    """How long records stay in one state, in minutes.

    `stays_n`: all of them; `waiting_n`: still there; `median_minutes`, `p90_minutes`: by when half and nine of ten have
    left, None where so many have not; `waited_share`: of all minutes spent in the flow's states, 0..1; `examples`:
    records that wait longest now, the longest first.
    """

    flow: Flow
    state: str
    stays_n: int
    waiting_n: int
    median_minutes: int | None
    p90_minutes: int | None
    waited_share: float
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FlowReport:
    """One flow, the state with most waiting first. `bottleneck`: that state, None below `STAYS_MIN` stays."""

    flow: Flow
    states: tuple[StateStay, ...]
    bottleneck: str | None


def flow_report(flow: Flow, steps: Iterable[Step], *, now_ms: int) -> FlowReport:
    """How long records stay in each state up to now. Steps may come in any order; two of one moment stand in the order
    given, and coming into the state one is in already is no step. Steps after `now_ms` are not seen yet."""
    by_record: dict[int, list[Step]] = {}
    for step in steps:
        if step.at_ms <= now_ms:
            by_record.setdefault(step.record, []).append(step)
    stays: dict[str, list[tuple[int, bool, int]]] = {}
    for record, taken in by_record.items():
        taken.sort(key=lambda step: step.at_ms)
        current: Step | None = None
        for step in taken:
            if current is not None and step.state == current.state:
                continue
            if current is not None and current.state is not None:
                minutes = (step.at_ms - current.at_ms) // MINUTE_MS
                stays.setdefault(current.state, []).append((minutes, True, record))
            current = step
        if current is not None and current.state is not None and current.state not in ENDS[flow]:
            minutes = (now_ms - current.at_ms) // MINUTE_MS
            stays.setdefault(current.state, []).append((minutes, False, record))
    left = {state: found for state, found in stays.items() if state not in ENDS[flow]}
    whole = sum(minutes for found in left.values() for minutes, _, _ in found)
    states = tuple(sorted((_stay(flow, state, found, whole) for state, found in left.items()), key=_waited))
    named = next((one.state for one in states if one.stays_n >= STAYS_MIN), None)
    return FlowReport(flow, states, named)


def _waited(stay: StateStay) -> tuple[float, str]:
    return -stay.waited_share, stay.state


def _stay(flow: Flow, state: str, found: Sequence[tuple[int, bool, int]], whole: int) -> StateStay:
    minutes = np.array([one for one, _, _ in found], dtype=np.int64)
    left = np.array([gone for _, gone, _ in found], dtype=np.bool_)
    curve = survival(minutes, left)
    waiting = sorted(((-one, record) for one, gone, record in found if not gone))
    return StateStay(
        flow=flow,
        state=state,
        stays_n=minutes.size,
        waiting_n=int((~left).sum()),
        median_minutes=curve.median_days(),
        p90_minutes=_left_by(curve, 0.9),
        waited_share=float(minutes.sum() / whole) if whole else 0.0,
        examples=tuple(record for _, record in waiting[:EXAMPLES_MAX]),
    )


def _left_by(curve: Survival, share: float) -> int | None:
    """The duration by which so large a share has left; None where it never has."""
    reached = np.flatnonzero(curve.share <= 1.0 - share + 1e-12)
    return int(curve.days[reached[0]]) if reached.size else None
