"""What customers told us, from the tables into columns: measurements that stand, complaints as they stood on a day."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain.cases import SETTLED, SEVERITY, resolve_ms
from backend.domain.exchange import convert_columns
from backend.domain.feedback import MEASURED, CaseRows, Feedback, Told
from backend.domain.money import Rate
from backend.domain.times import DAY_MS, day_number
from backend.storage.engine import Connection, Row
from backend.storage.statistics import Crowd

_SETTLED = ", ".join(f"'{state}'" for state in sorted(SETTLED))


@dataclass(frozen=True, slots=True)
class FeedbackRows:
    """`told`: (customer n, measure, value, currency, answered at, end of the day, has style, answer id); `cases`:
    (customer n, priority, opened at, due at, settled at, waiting since, late, reopened, begin and end of the day,
    id)."""

    told: Sequence[Row]
    cases: Sequence[Row]
    cases_recorded: bool
    rates: tuple[Rate, ...]


async def read_feedback(conn: Connection, crowd: Crowd) -> FeedbackRows:
    """Everything told up to the crowd's day, judged in each customer's zone."""
    told = await conn.fetch(
        crowd.sql + "SELECT c.n, m.measure, m.value, m.currency, a.answered_at, c.day_ends,"
        " CASE WHEN a.style_id IS NULL THEN 0 ELSE 1 END, a.id"
        " FROM answer a JOIN c ON c.id = a.customer_id JOIN answer_measure m ON m.answer_id = a.id"
        " WHERE a.answered_at < c.day_ends AND NOT EXISTS (SELECT 1 FROM answer later WHERE later.root_id = a.root_id"
        " AND (later.created_at > a.created_at OR (later.created_at = a.created_at AND later.id > a.id)))"
        " ORDER BY c.n, a.answered_at, a.id, m.position",
        *crowd.values,
    )
    cases = await conn.fetch(
        crowd.sql + "SELECT c.n, s.priority, s.opened_at, s.due_at,"
        f" CASE WHEN s.state IN ({_SETTLED}) THEN s.resolved_at END, s.waiting_since,"
        " CASE WHEN s.late THEN 1 ELSE 0 END, s.reopened_times, c.day_begins, c.day_ends, s.id"
        " FROM service_case s JOIN c ON c.id = s.customer_id WHERE s.opened_at < c.day_ends ORDER BY c.n, s.id",
        *crowd.values,
    )
    ever = await conn.fetch("SELECT 1 FROM service_case LIMIT 1")
    rates = await conn.fetch("SELECT currency, valid_from, rate_e9 FROM exchange_rate ORDER BY currency, valid_from")
    return FeedbackRows(told, cases, bool(ever), tuple(Rate(*row) for row in rates))


def feedback_of(found: FeedbackRows, day: str, currency: str) -> Feedback:
    """The rows as columns; an amount whose currency has no rate on its day is left out: it is not known."""
    return Feedback(_told(found, day, currency), _cases(found.cases, day), found.cases_recorded)


def _told(found: FeedbackRows, day: str, currency: str) -> Told:
    if not found.told:
        return Told.nothing()
    customer, measure, value, money, at, ends, styled, ids = zip(*found.told, strict=True)
    days = day_number(day) - (np.array(ends, dtype=np.int64) - 1 - np.array(at, dtype=np.int64)) // DAY_MS
    amounts = np.array(value, dtype=np.int64)
    is_money = np.array([one is not None for one in money], dtype=np.bool_)
    known = np.ones(amounts.shape, dtype=np.bool_)
    if is_money.any():
        names = np.array([one for one in money if one is not None], dtype=np.str_)
        converted = convert_columns(amounts[is_money], names, days[is_money], to=currency, rates=found.rates)
        amounts[is_money], known[is_money] = converted.amount_minor, converted.known
    places = {one.value: place for place, one in enumerate(MEASURED)}
    # a measure a later version knows is none here
    code = np.array([places.get(one, -1) for one in measure], dtype=np.int64)
    rows = np.flatnonzero(known & (code >= 0))
    return Told(
        np.array(customer, dtype=np.int64)[rows],
        code[rows],
        days[rows],
        amounts[rows],
        np.array(styled, dtype=np.int64)[rows] > 0,
        tuple(ids[at] for at in rows.tolist()),
    )


def _cases(rows: Sequence[Row], day: str) -> CaseRows:
    if not rows:
        return CaseRows.nothing()
    customer, priority, opened, due, settled, waiting, late, reopened, begins, ends, ids = zip(*rows, strict=True)
    opened_at, due_at = np.array(opened, dtype=np.int64), np.array(due, dtype=np.int64)
    begin, end = np.array(begins, dtype=np.int64), np.array(ends, dtype=np.int64)
    far = np.iinfo(np.int64).max
    settled_at = np.array([far if one is None else one for one in settled], dtype=np.int64)
    is_open = settled_at >= end
    # the clock stands still while the customer is waited for
    now = np.minimum(begin, np.array([far if one is None else one for one in waiting], dtype=np.int64))
    allowed = np.array([resolve_ms(one) for one in priority], dtype=np.int64)
    return CaseRows(
        customer=np.array(customer, dtype=np.int64),
        severity=np.array([SEVERITY[one] for one in priority]),
        opened=day_number(day) - (end - 1 - opened_at) // DAY_MS,
        is_open=is_open,
        age_share=np.maximum(now - (due_at - allowed), 0) / allowed,
        late=(np.array(late, dtype=np.int64) > 0) | (is_open & (now > due_at)),
        reopened=np.array(reopened, dtype=np.int64) > 0,
        ids=ids,
    )
