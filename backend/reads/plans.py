"""Statements that are kept for the next request of the same shape."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from backend.auth.principal import Principal
from backend.reads.selection import Selection, Span, usual
from backend.reads.sql import Parameter, arguments_of


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement, where its parameters come from, and whatever the caller wants to keep beside it."""

    sql: str
    parameters: tuple[Parameter, ...]
    note: Any = None
    sizes: tuple[int | None, ...] = ()
    """Rows by slot where they stand in the statement: `usual` of the spans it was made for."""
    steady: bool = False
    """Which plan of the database's is best does not hang on the values."""

    def fits(self, spans: Sequence[Span]) -> bool:
        """Whether the statement asks for as many rows as these spans do."""
        return self.sizes == sizes_of(spans)

    def arguments(self, principal: Principal, now_ms: int, selection: Selection, spans: Sequence[Span]) -> list[Any]:
        """The values of one run, in the order of the statement's `?`."""
        return arguments_of(self.parameters, principal, now_ms, selection.where, spans)


def sizes_of(spans: Sequence[Span]) -> tuple[int | None, ...]:
    return tuple([usual(span.rows) for span in spans])


class Plans:
    """Plans of a process by key; the least recently used leave."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()

    def get(self, key: Hashable) -> Plan | None:
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
        return plan

    def keep(self, key: Hashable, plan: Plan) -> None:
        self._plans[key] = plan
        while len(self._plans) > self._entries_max:
            self._plans.popitem(last=False)

    def __len__(self) -> int:
        return len(self._plans)


def scope_class(principal: Principal) -> Hashable:
    """What of a principal changes a statement: not whose rows, only which kinds and with which masks."""
    return principal.kind, principal.role, principal.rights
