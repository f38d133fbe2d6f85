"""State machines: a table of steps, who may take each, and what proves it.

A client that was offline may send only the last state. It is accepted when a path of steps this role may take
leads there and the record holds the evidence of every state on the way.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.errors import Code, Problem

Stepper = str
"""A role, `ERP` for a connected system, or `SYSTEM` for the server's own rules and imports."""

SYSTEM: Stepper = "SYSTEM"
ERP: Stepper = "ERP"

Steppers = frozenset[Stepper]


@dataclass(frozen=True, slots=True)
class Machine:
    """`starts`: states a new record may be created in. `steps`: state → next state → who may take the step.

    `evidence`: state → groups of fields; of each group one must hold a value in a record that enters it.
    SYSTEM may take every step.
    """

    enum: str
    starts: Mapping[str, Steppers]
    steps: Mapping[str, Mapping[str, Steppers]]
    evidence: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @property
    def states(self) -> tuple[str, ...]:
        """Every state, in the order of the table."""
        return tuple(self.steps)


def next_states(machine: Machine, at: str | None, by: Stepper | None = None) -> tuple[str, ...]:
    """States one step away, for one stepper or for anybody; `at` None means a record not yet made."""
    steps = machine.starts if at is None else machine.steps.get(at, {})
    return tuple(target for target, who in steps.items() if by is None or by == SYSTEM or by in who)


def path_of_steps(machine: Machine, at: str | None, to: str, by: Stepper) -> list[str] | None:
    """The shortest walk from `at` to `to` as the states entered, or None when this stepper has none.

    Empty when already there. Among equally short walks the one first in the table is taken, so phone and
    server walk the same way.
    """
    if at == to:
        return []
    came_from: dict[str, str | None] = {}
    waiting = deque([at])
    while waiting:
        here = waiting.popleft()
        for target in next_states(machine, here, by):
            if target in came_from or target == at:
                continue
            came_from[target] = here
            if target == to:
                return _walk(came_from, at, to)
            waiting.append(target)
    return None


def _walk(came_from: Mapping[str, str | None], at: str | None, to: str) -> list[str]:
    walk = [to]
    while (before := came_from[walk[-1]]) is not None and before != at:
        walk.append(before)
    return walk[::-1]


def step_problem(machine: Machine, at: str | None, to: str, by: Stepper) -> Problem | None:
    """None; NOT_PERMITTED when the step exists and is others'; else INVALID_TRANSITION.

    `allowed` lists the steps this stepper does have, or where he has none, the steps there are.
    """
    if path_of_steps(machine, at, to, by) is not None:
        return None
    others_can = to in next_states(machine, at)
    return Problem(
        Code.NOT_PERMITTED if others_can else Code.INVALID_TRANSITION,
        ("state",),
        allowed=next_states(machine, at, by) or next_states(machine, at),
        params={"enum": machine.enum, "from": at or "", "to": to},
    )


def evidence_problems(machine: Machine, entered: Iterable[str], record: Mapping[str, object]) -> list[Problem]:
    """EVIDENCE_MISSING for each proof the record lacks of the states entered on a walk, each once."""
    lacking = {
        group: state
        for state in entered
        for group in machine.evidence.get(state, ())
        if all(record.get(name) in (None, "", [], {}) for name in group)
    }
    return [
        Problem(Code.EVIDENCE_MISSING, (group[0],), allowed=group, params={"enum": machine.enum, "to": state})
        for group, state in lacking.items()
    ]


def check_steps(
    machine: Machine, at: str | None, to: str, by: Stepper, record: Mapping[str, object]
) -> tuple[list[str], list[Problem]]:
    """The walk to a pushed state and everything that speaks against it; `record` is as it will be after."""
    problem = step_problem(machine, at, to, by)
    if problem is not None:
        return [], [problem]
    walk = path_of_steps(machine, at, to, by) or []
    return walk, evidence_problems(machine, walk, record)
