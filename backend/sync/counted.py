"""What is counted of syncing: rows sent, mutations answered, and refusals at every door."""

from collections import Counter
from collections.abc import Iterable

from backend.errors import Code, Problem
from backend.sync.changes import Status
from backend.telemetry import counter

DOORS = ("graphql", "door", "push")
CLIENTS = ("native", "rxdb", "watermelon", "bulk", "turbo")
_REFUSALS = counter("refusals", "problems told, by code and door", code=[code.value for code in Code], door=DOORS)
_PUSHED = counter(
    "pushed_mutations", "mutations answered, by what became of them", status=[status.value for status in Status]
)
_PULLED = counter("pulled_rows", "records and removals sent to devices, by how they pull", client=CLIENTS)


def count_refused(problems: Iterable[Problem], door: str) -> None:
    for problem in problems:
        _REFUSALS.add(code=problem.code.value, door=door)


def count_pushed(statuses: Iterable[Status], problems: Iterable[Problem]) -> None:
    """What became of the mutations of a push, and everything that was wrong with them."""
    for status, times in Counter(statuses).items():
        _PUSHED.add(times, status=status.value)
    count_refused(problems, "push")


def count_pulled(rows: int, client: str) -> None:
    if rows:
        _PULLED.add(rows, client=client)
