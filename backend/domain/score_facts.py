"""The numbers a device ranks with: from columns to documents and back, and the facts of a day beside them.

*Source*: R28; the keys are those of `mobile_contract/priority.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np

from backend.domain.arrays import Ids, IntArray, IntColumn
from backend.domain.customers import Weekday
from backend.domain.explanations import Evidence
from backend.domain.priority import PriorityInputs
from backend.domain.times import day_from_number, day_number, day_start_ms, local_day

WEEKDAYS = tuple(day.value for day in Weekday)

FACT_KEYS: Mapping[str, str] = {
    "valueAtStakeMinor": "value_at_stake_minor",
    "upliftMinor": "uplift_minor",
    "upliftMeasured": "uplift_measured",
    "potentialMinor": "potential_minor",
    "potentialConfidenceBp": "potential_confidence_bp",
    "existingValueMinor": "existing_value_minor",
    "satisfactionBp": "satisfaction_bp",
    "satisfactionConfidenceBp": "satisfaction_confidence_bp",
    "loyaltyBp": "loyalty_bp",
    "cadenceDays": "cadence_days",
    "seasonCloseDay": "season_close_day",
    "hasPreorderHistory": "has_preorder_history",
    "severeCases": "severe_cases_n",
}
"""Key in a score's `facts` → column; the other columns a device fills from its own records."""


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What is known of (n,) customers on a day besides their scores, with the ids that prove it.

    `overdue_tasks_n`, `open_tasks_n`: open tasks past due, and the others; ids are texts, empty where there is
    none; `task_ids`: row → ids of all open tasks, for rows that have any; `case_ids`, `answer_ids`: the same of open
    complaints, and of the latest answers about satisfaction.
    """

    last_visit_day: IntColumn
    next_appointment_day: IntColumn
    overdue_tasks_n: IntColumn
    open_tasks_n: IntColumn
    last_order_id: Sequence[str]
    last_visit_id: Sequence[str]
    next_appointment_id: Sequence[str]
    task_ids: Mapping[int, tuple[str, ...]]
    case_ids: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    answer_ids: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.last_visit_day.values.shape[0])

    def evidence(self, row: int) -> Evidence:
        """The ids behind one customer's lines."""
        return Evidence(
            self.last_order_id[row] or None,
            self.last_visit_id[row] or None,
            self.next_appointment_id[row] or None,
            self.task_ids.get(row, ()),
            self.case_ids.get(row, ()),
            self.answer_ids.get(row, ()),
        )

    def evidence_text(self, row: int) -> str:
        """All ids of one customer as one text, equal exactly when the ids are."""
        parts = [self.last_order_id[row], self.last_visit_id[row], self.next_appointment_id[row]]
        for held in (self.task_ids, self.case_ids, self.answer_ids):
            parts += sorted(held.get(row, ()))
        return "|".join(parts)

    def evidence_texts(self) -> Iterator[str]:
        """The text of every customer, one after the other."""
        return (self.evidence_text(row) for row in range(len(self)))


def take_facts(facts: DayFacts, rows: IntArray) -> DayFacts:
    """The facts of some rows, in their sequence."""
    places = rows.tolist()

    def column(name: str) -> IntColumn:
        whole: IntColumn = getattr(facts, name)
        return IntColumn(whole.values[rows], whole.known[rows])

    return DayFacts(
        last_visit_day=column("last_visit_day"),
        next_appointment_day=column("next_appointment_day"),
        overdue_tasks_n=column("overdue_tasks_n"),
        open_tasks_n=column("open_tasks_n"),
        last_order_id=Ids(facts.last_order_id[row] for row in places),
        last_visit_id=Ids(facts.last_visit_id[row] for row in places),
        next_appointment_id=Ids(facts.next_appointment_id[row] for row in places),
        **{
            name: {place: held[row] for place, row in enumerate(places) if row in held}
            for name, held in (
                ("task_ids", facts.task_ids),
                ("case_ids", facts.case_ids),
                ("answer_ids", facts.answer_ids),
            )
        },
    )


def is_open(hours: Mapping[str, str] | None, day: str) -> bool:
    """Whether a customer with these opening hours opens at all on a local day; without hours it is not known."""
    return not hours or WEEKDAYS[date.fromisoformat(day).weekday()] in hours


def fact_documents(inputs: PriorityInputs, rows: Sequence[int]) -> list[dict[str, int | None]]:
    """The `facts` of some rows, in their sequence."""
    at = np.asarray(rows, dtype=np.int64)
    columns = [getattr(inputs, name) for name in FACT_KEYS.values()]
    lists = [IntColumn(column.values[at], column.known[at]).tolist() for column in columns]
    return [dict(zip(FACT_KEYS, values, strict=True)) for values in zip(*lists, strict=True)]


def as_inputs(documents: Sequence[Mapping[str, Any]], facts: DayFacts) -> PriorityInputs:
    """What the lines read, from stored documents (empty for a customer never scored) and the facts of a day."""
    return inputs_of(fact_columns(documents), facts)


def with_open_cases(
    documents: Sequence[Mapping[str, Any]], severe_ids: Mapping[int, Sequence[str]]
) -> list[Mapping[str, Any]]:
    """The stored documents with the severe complaints open now in place of those that were open at the night.

    `severe_ids`: row → their ids, for rows that have any. Where neither knows of one, none is recorded.
    """
    return [
        {**document, "severeCases": len(severe_ids.get(row, ()))}
        if row in severe_ids or document.get("severeCases") is not None
        else document
        for row, document in enumerate(documents)
    ]


def fact_columns(documents: Sequence[Mapping[str, Any]]) -> dict[str, IntColumn]:
    """Stored documents as the columns they were made of."""
    return {name: IntColumn.of([doc.get(key) for doc in documents]) for key, name in FACT_KEYS.items()}


def inputs_of(stored: Mapping[str, IntColumn], facts: DayFacts) -> PriorityInputs:
    """As `as_inputs`, of columns; `stored`: by name, as `fact_columns` makes them."""
    return PriorityInputs(
        **stored,
        overdue_tasks_n=facts.overdue_tasks_n,
        open_tasks_n=facts.open_tasks_n,
        last_visit_day=facts.last_visit_day,
        next_appointment_day=facts.next_appointment_day,
    )


def with_cadence(inputs: PriorityInputs, agreed: IntColumn) -> PriorityInputs:
    """For customers never scored the cadence agreed with them still counts."""
    own = inputs.cadence_days
    known = own.known | agreed.known
    return replace(inputs, cadence_days=IntColumn(np.where(own.known, own.values, agreed.values), known))


def text_hashes(texts: Iterable[str]) -> IntArray:
    """(n,) a number for each text: equal for equal texts, and of different ones but for one in 2^64 different.

    Good within a process only: another one makes others.
    """
    return np.fromiter(map(hash, texts), dtype=np.int64)


def local_days(at_ms: IntArray, zone: IntArray, zones: Sequence[str]) -> IntArray:
    """(m,) local days since 1970-01-01 of (m,) instants in zones given by their place in `zones`."""
    out = np.zeros_like(at_ms)
    for place, name in enumerate(zones):
        rows = zone == place
        if rows.any():
            out[rows] = _days_in(at_ms[rows], name)
    return out


def _days_in(at_ms: IntArray, zone: str) -> IntArray:
    """Days begin at known instants; an instant belongs to the last day that has begun."""
    first = day_number(local_day(int(at_ms.min()), zone))
    last = day_number(local_day(int(at_ms.max()), zone))
    starts = [day_start_ms(day_from_number(day), zone) for day in range(first, last + 1)]
    return np.asarray(first + np.searchsorted(np.array(starts), at_ms, side="right") - 1, dtype=np.int64)
