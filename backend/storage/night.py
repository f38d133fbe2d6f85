"""What a score run reads: customers page by page into whole columns, so that no row outlives its page.

A page asks what a ranking of its customers alone would ask, within the one snapshot of the run.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from backend.domain.arrays import BoolArray, Ids, IntArray, IntColumn
from backend.domain.feedback import CaseRows, Feedback, Told, evidence_ids, only_of
from backend.domain.frozen import KINDS
from backend.domain.history import OrderColumns, only
from backend.domain.nightly import LABEL_COLUMNS, MONEY_COLUMNS, SHARE_COLUMNS, StoredScores
from backend.domain.score_facts import FACT_KEYS, DayFacts, fact_columns, take_facts, text_hashes
from backend.storage.engine import Connection, Row
from backend.storage.feedback import FeedbackRows, feedback_of, read_feedback
from backend.storage.purchases import PurchaseColumns, PurchasesRead, purchase_pages, sales_of_purchases
from backend.storage.statistics import (
    SCORED,
    Crowd,
    FactRows,
    Habits,
    Heads,
    Sales,
    crowd_of,
    facts_of,
    read_facts,
    read_habits,
    read_heads,
    read_rates,
)

PAGE_CUSTOMERS = 5_000
"""Customers whose rows are held at once."""
STORED_NUMBERS = ("priority", *MONEY_COLUMNS, *SHARE_COLUMNS, "segment_state", "segment_state_before")
STORED_TEXTS = (*LABEL_COLUMNS, "previous_segment", "segment_cause", "segment_counted_on")
_DAY_COLUMNS = ("last_visit_day", "next_appointment_day", "overdue_tasks_n", "open_tasks_n")
_DAY_IDS = ("last_order_id", "last_visit_id", "next_appointment_id")
_EVIDENCE = ("task_ids", "case_ids", "answer_ids")
_HABITS = ("breadth_n", "has_preorder_history", "season_close_day")


@dataclass(frozen=True, slots=True)
class NightPage:
    """The rows of some customers. `stored`: (customer n, the columns of its score)."""

    crowd: Crowd
    heads: Heads
    purchases: PurchaseColumns
    habits: Habits
    facts: FactRows
    feedback: FeedbackRows
    stored: list[Row]


async def night_pages(conn: Connection, day: str, *, customers_n: int = PAGE_CUSTOMERS) -> AsyncIterator[NightPage]:
    """Everybody who is scored, in the order of ids, as known at the end of a local day."""
    whole, after = await crowd_of(conn, day), ""
    while True:
        rows = await conn.fetch(
            f"SELECT k.id FROM customer k WHERE {SCORED} AND k.id > ? ORDER BY k.id LIMIT {customers_n}", after
        )
        if not rows:
            return
        first, after = rows[0][0], rows[-1][0]
        crowd = replace(whole, where=f"{SCORED} AND k.id >= ? AND k.id <= ?", args=(first, after))
        heads = await read_heads(conn, crowd)
        yield NightPage(
            crowd=crowd,
            heads=heads,
            purchases=await _read_purchases(conn, heads.ids, day),
            habits=await read_habits(conn, crowd, len(heads.ids)),
            facts=await read_facts(conn, crowd),
            feedback=await read_feedback(conn, crowd),
            stored=await read_stored_scores(conn, crowd),
        )


async def scored_customers_n(conn: Connection) -> int:
    """How many customers `night_pages` will bring."""
    [(found,)] = await conn.fetch(f"SELECT COUNT(*) FROM customer k WHERE {SCORED}")
    return int(found)


async def _read_purchases(conn: Connection, ids: Sequence[str], day: str) -> PurchaseColumns:
    read = PurchasesRead()
    async for first, page, rows in purchase_pages(conn, ids, day):
        read.take(first, page, rows)
    return read.columns(await read_rates(conn))


async def read_stored_scores(conn: Connection, crowd: Crowd) -> list[Row]:
    columns = ", ".join(f"s.{name}" for name in (*STORED_NUMBERS, *STORED_TEXTS, "evidence", "facts"))
    return await conn.fetch(
        crowd.sql + f"SELECT c.n, {columns} FROM customer_score s JOIN c ON c.id = s.customer_id", *crowd.values
    )


def stored_scores_of(rows: Sequence[Row], customers_n: int) -> StoredScores:
    """The rows as columns of `customers_n` customers."""
    names = (*STORED_NUMBERS, *STORED_TEXTS, "evidence", "facts")
    columns = tuple(zip(*rows, strict=True)) if rows else ((),) * (1 + len(names))
    customer, by_name = np.array(columns[0], dtype=np.int64), dict(zip(names, columns[1:], strict=True))

    def scattered(column: IntColumn) -> IntColumn:
        found = IntColumn.missing(customers_n)
        found.values[customer], found.known[customer] = column.values, column.known
        return found

    scored, evidence = np.zeros(customers_n, dtype=np.bool_), np.zeros(customers_n, dtype=np.int64)
    scored[customer], evidence[customer] = True, text_hashes(by_name["evidence"])
    texts: dict[str, list[str]] = {}
    for name in STORED_TEXTS:
        texts[name] = [""] * customers_n
        for row, value in zip(columns[0], by_name[name], strict=True):
            texts[name][row] = value or ""
    return StoredScores(
        scored=scored,
        numbers={name: scattered(IntColumn.of(by_name[name])) for name in STORED_NUMBERS},
        texts=texts,
        facts={
            name: scattered(column)
            for name, column in fact_columns(orjson.loads(f"[{','.join(by_name['facts'])}]")).items()
        },
        evidence=evidence,
    )


async def read_unqualified(conn: Connection) -> list[str]:
    """Customers that have a score though nobody of their kind is scored."""
    rows = await conn.fetch(
        f"SELECT s.customer_id FROM customer_score s JOIN customer k ON k.id = s.customer_id WHERE NOT ({SCORED})"
        " ORDER BY s.customer_id"
    )
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class NightColumns:
    """(n,) columns of the customers to be scored, in the order of their ids.

    `within`: whose scores may be written; `places`: as of `Heads`; `left_out_n`: customers who are not here, because
    an order of theirs has no exchange rate; `missing`: currency → how many customers that is.
    """

    ids: Ids
    within: BoolArray
    kind: IntArray
    peer_group: IntArray
    places: tuple[str, ...]
    cadence_days: IntColumn
    habits: Habits
    orders: OrderColumns
    facts: DayFacts
    feedback: Feedback
    stored: StoredScores
    left_out_n: int
    missing: dict[str, int]


class NightRead:
    """Takes page after page; `columns` hands over all of it, once."""

    def __init__(self, *, currency: str, territories: frozenset[str] | None) -> None:
        """`currency`: the reporting currency; `territories`: where scores may be written, None: everywhere."""
        self._currency, self._territories = currency, territories
        self._customers_n = self._left_out_n = 0
        self._missing: Counter[str] = Counter()
        self._arrays: dict[str, list[npt.NDArray[Any]]] = {}
        self._ids: dict[str, list[Ids]] = {}
        self._texts: dict[str, list[str]] = {name: [] for name in STORED_TEXTS}
        self._shared: dict[str, str] = {}
        self._places: dict[str, int] = {}
        self._evidence: dict[str, dict[int, tuple[str, ...]]] = {name: {} for name in _EVIDENCE}
        self._cases_recorded = False

    def take(self, page: NightPage) -> None:
        heads, customers_n = page.heads, len(page.heads.ids)
        sales = sales_of_purchases(page.purchases, customers_n=customers_n, currency=self._currency)
        kept = np.flatnonzero(~sales.left_out)
        self._left_out_n += int(sales.left_out.sum())
        self._missing.update(sales.missing)
        self._keep_ids("customer", Ids(heads.ids).take(kept))
        self._keep("within", self._within(heads)[kept])
        self._keep("kind", heads.kind[kept])
        self._keep("peer_group", self._peer_groups(heads)[kept])
        self._keep_column("cadence_days", heads.cadence_days.take(kept))
        for name in _HABITS:
            self._keep_column(name, getattr(page.habits, name).take(kept))
        self._take_orders(sales)
        told = only_of(feedback_of(page.feedback, page.crowd.day, self._currency), ~sales.left_out)
        self._take_facts(take_facts(facts_of(page.facts, heads, page.crowd), kept), told)
        self._take_feedback(told)
        self._take_stored(stored_scores_of(page.stored, customers_n), kept)
        self._customers_n += int(kept.size)

    def columns(self) -> NightColumns:
        """Everything taken; what was gathered is let go."""
        places, peer_group = self._ordered_places()
        return NightColumns(
            ids=self._whole_ids("customer"),
            within=self._whole("within", np.bool_),
            kind=self._whole("kind"),
            peer_group=peer_group,
            places=places,
            cadence_days=self._column("cadence_days"),
            habits=Habits(**{name: self._column(name) for name in _HABITS}),
            orders=self._orders(),
            facts=DayFacts(
                last_visit_day=self._column("last_visit_day"),
                next_appointment_day=self._column("next_appointment_day"),
                overdue_tasks_n=self._column("overdue_tasks_n"),
                open_tasks_n=self._column("open_tasks_n"),
                last_order_id=self._whole_ids("last_order_id"),
                last_visit_id=self._whole_ids("last_visit_id"),
                next_appointment_id=self._whole_ids("next_appointment_id"),
                task_ids=self._evidence["task_ids"],
                case_ids=self._evidence["case_ids"],
                answer_ids=self._evidence["answer_ids"],
            ),
            feedback=self._feedback(),
            stored=StoredScores(
                scored=self._whole("scored", np.bool_),
                numbers={name: self._column(f"stored.{name}") for name in STORED_NUMBERS},
                texts=self._texts,
                facts={name: self._column(f"fact.{name}") for name in FACT_KEYS.values()},
                evidence=self._whole("evidence"),
            ),
            left_out_n=self._left_out_n,
            missing=dict(self._missing),
        )

    def _keep(self, name: str, array: npt.NDArray[Any]) -> None:
        self._arrays.setdefault(name, []).append(array)

    def _keep_column(self, name: str, column: IntColumn) -> None:
        self._keep(name, column.values)
        self._keep(f"{name} known", column.known)

    def _keep_ids(self, name: str, ids: Ids) -> None:
        self._ids.setdefault(name, []).append(ids)

    def _whole(self, name: str, kind: type = np.int64) -> npt.NDArray[Any]:
        # one after the other, so that never more than one column is there twice
        parts = self._arrays.pop(name, [])
        return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)

    def _column(self, name: str) -> IntColumn:
        return IntColumn(self._whole(name), self._whole(f"{name} known", np.bool_))

    def _whole_ids(self, name: str) -> Ids:
        return Ids.joined(self._ids.pop(name, []))

    def _within(self, heads: Heads) -> BoolArray:
        if self._territories is None:
            return np.ones(len(heads.ids), dtype=np.bool_)
        return np.array([one in self._territories for one in heads.territory_id], dtype=np.bool_)

    def _peer_groups(self, heads: Heads) -> IntArray:
        """The page's groups by the places of all pages, in the order they come."""
        known = np.array([self._places.setdefault(name, len(self._places)) for name in heads.places], dtype=np.int64)
        group = heads.peer_group
        return np.where(group < 0, -1, known[group // len(KINDS)] * len(KINDS) + group % len(KINDS))

    def _ordered_places(self) -> tuple[tuple[str, ...], IntArray]:
        """The places in the order of their names, and the groups by them."""
        names = sorted(self._places)
        rank = np.zeros(len(names), dtype=np.int64)
        rank[[self._places[name] for name in names]] = np.arange(len(names))
        group = self._whole("peer_group")
        if not names:
            return (), group
        return tuple(names), np.where(group < 0, -1, rank[group // len(KINDS)] * len(KINDS) + group % len(KINDS))

    def _take_orders(self, sales: Sales) -> None:
        orders = only(sales.orders, ~sales.left_out)
        self._keep("order customer", orders.customer + self._customers_n)
        self._keep("order day", orders.day)
        self._keep("order net", orders.net_minor)

    def _orders(self) -> OrderColumns:
        customer = self._whole("order customer")
        nothing = np.zeros(customer.shape, dtype=np.bool_)
        return OrderColumns(
            customer, self._whole("order day"), self._whole("order net"), np.zeros_like(customer), nothing, nothing
        )

    def _take_facts(self, facts: DayFacts, told: Feedback) -> None:
        cases, answers = evidence_ids(told)
        for name in _DAY_COLUMNS:
            self._keep_column(name, getattr(facts, name))
        for name in _DAY_IDS:
            self._keep_ids(name, getattr(facts, name))
        for name, found in (("task_ids", facts.task_ids), ("case_ids", cases), ("answer_ids", answers)):
            self._evidence[name].update((self._customers_n + row, ids) for row, ids in found.items())

    def _take_feedback(self, feedback: Feedback) -> None:
        told, cases = feedback.told, feedback.cases
        self._cases_recorded = self._cases_recorded or feedback.cases_recorded
        self._keep("told customer", told.customer + self._customers_n)
        for name in ("measure", "day", "value", "of_style"):
            self._keep(f"told {name}", getattr(told, name))
        self._keep_ids("told", Ids(told.ids))
        self._keep("case customer", cases.customer + self._customers_n)
        for name in ("severity", "opened", "is_open", "age_share", "late", "reopened"):
            self._keep(f"case {name}", getattr(cases, name))
        self._keep_ids("case", Ids(cases.ids))

    def _feedback(self) -> Feedback:
        told = Told(
            self._whole("told customer"),
            self._whole("told measure"),
            self._whole("told day"),
            self._whole("told value"),
            self._whole("told of_style", np.bool_),
            self._whole_ids("told"),
        )
        cases = CaseRows(
            self._whole("case customer"),
            self._whole("case severity", np.float64),
            self._whole("case opened"),
            self._whole("case is_open", np.bool_),
            self._whole("case age_share", np.float64),
            self._whole("case late", np.bool_),
            self._whole("case reopened", np.bool_),
            self._whole_ids("case"),
        )
        return Feedback(told, cases, self._cases_recorded)

    def _take_stored(self, stored: StoredScores, kept: IntArray) -> None:
        self._keep("scored", stored.scored[kept])
        self._keep("evidence", stored.evidence[kept])
        for name, column in stored.numbers.items():
            self._keep_column(f"stored.{name}", column.take(kept))
        for name, column in stored.facts.items():
            self._keep_column(f"fact.{name}", column.take(kept))
        places, shared = kept.tolist(), self._shared
        for name, texts in stored.texts.items():
            # few texts, many customers: each text once
            self._texts[name].extend(shared.setdefault(texts[row], texts[row]) for row in places)
