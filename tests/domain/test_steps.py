"""State machines: every step there is, none there is not, and the walks of clients that were offline."""

import pytest

from backend.domain.orders import ORDER_STEPS, OrderState
from backend.domain.permissions import Role
from backend.domain.steps import (
    ERP,
    SYSTEM,
    Machine,
    check_steps,
    evidence_problems,
    next_states,
    path_of_steps,
    step_problem,
)
from backend.domain.tasks import TASK_STEPS, TaskState
from backend.domain.visits import VISIT_STEPS, VisitState
from backend.errors import Code

MACHINES: dict[str, tuple[Machine, type]] = {
    "visit": (VISIT_STEPS, VisitState),
    "order": (ORDER_STEPS, OrderState),
    "task": (TASK_STEPS, TaskState),
}
WRITTEN = {
    "visit": """
        PLANNED→CONFIRMED|CHECKED_IN|MISSED|CANCELLED CONFIRMED→CHECKED_IN|MISSED|CANCELLED
        CHECKED_IN→COMPLETED|ABORTED COMPLETED→ ABORTED→ MISSED→ CANCELLED→""",
    "order": """
        DRAFT→SUBMITTED|CANCELLED SUBMITTED→PENDING_APPROVAL|CONFIRMED|REJECTED
        PENDING_APPROVAL→CONFIRMED|REJECTED REJECTED→DRAFT CONFIRMED→ALLOCATED|CANCELLED
        ALLOCATED→PARTLY_SHIPPED|SHIPPED|CANCELLED PARTLY_SHIPPED→SHIPPED SHIPPED→DELIVERED DELIVERED→CLOSED
        CLOSED→ CANCELLED→""",
    "task": """
        OPEN→IN_PROGRESS|DONE|CANCELLED|SNOOZED IN_PROGRESS→DONE|CANCELLED SNOOZED→OPEN DONE→OPEN CANCELLED→""",
}
STARTS = {"visit": {"PLANNED", "CHECKED_IN"}, "order": {"DRAFT"}, "task": {"OPEN"}}


@pytest.mark.parametrize("name", MACHINES)
def test_the_table_is_the_one_that_was_decided(name: str) -> None:
    machine, states = MACHINES[name]
    written = {
        at: {to for to in targets.split("|") if to}
        for at, targets in (entry.split("→") for entry in WRITTEN[name].split())
    }
    assert {at: set(targets) for at, targets in machine.steps.items()} == written
    assert set(machine.starts) == STARTS[name]
    assert set(machine.states) == {state.value for state in states}
    assert set(machine.evidence) <= set(machine.states)


@pytest.mark.parametrize("name", MACHINES)
def test_a_walk_uses_allowed_steps_only_and_is_a_shortest_one(name: str) -> None:
    machine, _ = MACHINES[name]
    for by in [*Role, SYSTEM, ERP]:
        for at in [None, *machine.states]:
            distance = {at: 0}
            frontier = [at]
            while frontier:
                frontier = [to for here in frontier for to in next_states(machine, here, by) if to not in distance]
                for to in frontier:
                    distance[to] = max(distance.values()) + (to not in distance)
            for to in machine.states:
                walk = path_of_steps(machine, at, to, by)
                if walk is None:
                    assert to not in distance
                    continue
                assert len(walk) <= distance[to]
                for here, there in zip([at, *walk], walk, strict=False):
                    assert there in next_states(machine, here, by)


def test_clients_that_send_only_the_last_state_are_walked_there() -> None:
    rep, manager = Role.REP.value, Role.MANAGER.value
    assert path_of_steps(VISIT_STEPS, "PLANNED", "COMPLETED", rep) == ["CHECKED_IN", "COMPLETED"]
    assert path_of_steps(VISIT_STEPS, None, "COMPLETED", rep) == ["CHECKED_IN", "COMPLETED"]
    assert path_of_steps(VISIT_STEPS, None, "MISSED", rep) == ["PLANNED", "MISSED"]
    assert path_of_steps(ORDER_STEPS, None, "SUBMITTED", rep) == ["DRAFT", "SUBMITTED"]
    assert path_of_steps(ORDER_STEPS, "REJECTED", "SUBMITTED", rep) == ["DRAFT", "SUBMITTED"]
    assert path_of_steps(ORDER_STEPS, "SUBMITTED", "CONFIRMED", manager) == ["CONFIRMED"]
    assert path_of_steps(TASK_STEPS, "DONE", "SNOOZED", rep) == ["OPEN", "SNOOZED"]
    assert path_of_steps(TASK_STEPS, "OPEN", "OPEN", rep) == []


def test_nobody_takes_steps_that_are_not_his() -> None:
    rep, manager = Role.REP.value, Role.MANAGER.value
    assert path_of_steps(ORDER_STEPS, "SUBMITTED", "CONFIRMED", rep) is None
    assert path_of_steps(VISIT_STEPS, "PLANNED", "COMPLETED", manager) is None
    assert path_of_steps(VISIT_STEPS, None, "PLANNED", Role.ANALYST.value) is None
    problem = step_problem(ORDER_STEPS, "SUBMITTED", "CONFIRMED", rep)
    assert problem is not None
    assert (problem.code, problem.path) == (Code.NOT_PERMITTED, ("state",))


def test_a_connected_system_steps_only_after_confirmation() -> None:
    before = ["DRAFT", "SUBMITTED", "PENDING_APPROVAL", "REJECTED"]
    for at in before:
        assert next_states(ORDER_STEPS, at, ERP) == ()
    assert path_of_steps(ORDER_STEPS, "CONFIRMED", "CLOSED", ERP) == ["ALLOCATED", "SHIPPED", "DELIVERED", "CLOSED"]
    assert path_of_steps(ORDER_STEPS, "CONFIRMED", "ALLOCATED", Role.MANAGER.value) is None


def test_a_step_that_does_not_exist_lists_those_that_do() -> None:
    problem = step_problem(VISIT_STEPS, "COMPLETED", "PLANNED", Role.REP.value)
    assert problem is not None
    assert (problem.code, problem.allowed) == (Code.INVALID_TRANSITION, ())
    problem = step_problem(ORDER_STEPS, "DRAFT", "REJECTED", ERP)
    assert problem is not None
    assert (problem.code, problem.allowed) == (Code.INVALID_TRANSITION, ("SUBMITTED", "CANCELLED"))
    problem = step_problem(ORDER_STEPS, "SUBMITTED", "CONFIRMED", Role.REP.value)
    assert problem is not None
    assert problem.code is Code.NOT_PERMITTED
    problem = step_problem(VISIT_STEPS, "CHECKED_IN", "MISSED", Role.REP.value)
    assert problem is not None
    assert (problem.code, problem.allowed) == (Code.INVALID_TRANSITION, ("COMPLETED", "ABORTED"))
    assert problem.params == {"enum": "VisitState", "from": "CHECKED_IN", "to": "MISSED"}
    unknown = step_problem(VISIT_STEPS, "PLANNED", "EATEN", Role.REP.value)
    assert unknown is not None
    assert unknown.code is Code.INVALID_TRANSITION


def test_every_state_walked_through_wants_its_evidence() -> None:
    walk, problems = check_steps(VISIT_STEPS, "PLANNED", "COMPLETED", Role.REP.value, {})
    assert walk == ["CHECKED_IN", "COMPLETED"]
    assert [(p.code, p.path) for p in problems] == [
        (Code.EVIDENCE_MISSING, (name,)) for name in ("checkInAt", "checkOutAt", "outcome")
    ]
    proof: dict[str, object] = {"checkInAt": 1, "checkOutAt": 2, "outcome": "NO_ORDER"}
    assert check_steps(VISIT_STEPS, "PLANNED", "COMPLETED", Role.REP.value, proof) == (walk, [])
    assert [p.path for p in evidence_problems(VISIT_STEPS, ["ABORTED"], {"reason": None})] == [("reason",)]
    assert [p.path for p in evidence_problems(ORDER_STEPS, ["DRAFT", "SUBMITTED"], {"lines": []})] == [("lines",)]
    assert [p.path for p in evidence_problems(ORDER_STEPS, ["REJECTED"], {})] == [("rejectReason",)]
    assert check_steps(VISIT_STEPS, "COMPLETED", "PLANNED", Role.REP.value, proof)[0] == []
