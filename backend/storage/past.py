"""What was known on an earlier day: the columns of a cut, read so that nothing later shows.

A record counts from the moment it was made; what became of it afterwards does not. Where the moment of a change was
never kept (kind and place of a customer, an order cancelled since) the record is taken as it stands, and the caveats
of an evaluation say so. *Source*: R30.
"""

from dataclasses import dataclass, replace

from backend.domain.cases import SETTLED
from backend.domain.money import Rate
from backend.domain.tasks import TaskState
from backend.domain.times import add_days, day_bounds_ms
from backend.domain.visits import VisitState
from backend.storage.engine import Connection
from backend.storage.feedback import FeedbackRows
from backend.storage.statistics import (
    COUNTS,
    SCORED,
    Crowd,
    FactRows,
    Habits,
    Heads,
    OrderRows,
    crowd_of,
    read_habits,
    read_heads,
    read_orders,
)

_CASE_SETTLED = ", ".join(f"'{state}'" for state in sorted(SETTLED))
_SETTLED = f"'{TaskState.DONE.value}', '{TaskState.CANCELLED.value}'"


@dataclass(frozen=True, slots=True)
class PastRows:
    """A cut as rows. `orders`: until `last_day`, what came after the cut with them; all else as of the crowd's day."""

    crowd: Crowd
    heads: Heads
    orders: OrderRows
    habits: Habits
    facts: FactRows
    feedback: FeedbackRows
    last_day: str


async def read_past(conn: Connection, day: str, holdout_days: int, timezone: str) -> PastRows:
    """The customers known on a day, with everything their priority was made of then, and their orders until the
    end of the hold-out."""
    known = (
        f"{SCORED} AND (k.created_at < ? OR EXISTS (SELECT 1 FROM sales_order o WHERE o.customer_id = k.id"
        f" AND {COUNTS} AND o.ordered_on <= ?))"
    )
    crowd = await crowd_of(conn, day, known, (day_bounds_ms(day, timezone)[1], day))
    heads = await read_heads(conn, crowd)
    last_day = add_days(day, holdout_days)
    return PastRows(
        crowd=crowd,
        heads=heads,
        orders=await read_orders(conn, replace(crowd, day=last_day)),
        habits=await read_habits(conn, crowd, len(heads.ids)),
        facts=await _past_facts(conn, crowd),
        feedback=await _past_feedback(conn, crowd),
        last_day=last_day,
    )


async def _past_facts(conn: Connection, crowd: Crowd) -> FactRows:
    """As `read_facts`, as of the end of the crowd's day: last visits, what had been agreed, tasks open then."""
    begin, values = crowd.sql, crowd.values
    visits = await conn.fetch(
        begin + "SELECT n, check_in_at, id FROM (SELECT c.n, v.check_in_at, v.id, ROW_NUMBER() OVER"
        " (PARTITION BY c.n ORDER BY v.check_in_at DESC, v.id DESC) AS place"
        " FROM visit v JOIN c ON c.id = v.customer_id"
        f" WHERE v.state = '{VisitState.COMPLETED.value}' AND v.check_in_at < c.day_ends) f WHERE place = 1",
        *values,
    )
    # whatever became of an appointment: on the day it stood
    appointments = await conn.fetch(
        begin + "SELECT n, planned_at, id FROM (SELECT c.n, v.planned_at, v.id, ROW_NUMBER() OVER"
        " (PARTITION BY c.n ORDER BY v.planned_at, v.id) AS place FROM visit v JOIN c ON c.id = v.customer_id"
        " WHERE v.planned_at >= c.day_begins AND v.created_at < c.day_ends"
        " AND (v.check_in_at IS NULL OR v.check_in_at >= c.day_ends)) f WHERE place = 1",
        *values,
    )
    tasks = await conn.fetch(
        begin + "SELECT c.n, t.id, t.due_on, t.due_at FROM task t JOIN c ON c.id = t.customer_id"
        f" WHERE t.created_at < c.day_ends AND (t.state NOT IN ({_SETTLED}) OR t.done_at >= c.day_ends)"
        " ORDER BY c.n, t.id",
        *values,
    )
    return FactRows(visits, appointments, tasks, [])


async def _past_feedback(conn: Connection, crowd: Crowd) -> FeedbackRows:
    """As `read_feedback`, as of the end of the crowd's day: what had been said, complaints as far as they had come.

    How often a case was opened again is dated nowhere, so it counts only for those settled by then.
    """
    then = "(later.created_at < c.day_ends AND later.root_id = a.root_id AND (later.created_at > a.created_at"
    told = await conn.fetch(
        crowd.sql + "SELECT c.n, m.measure, m.value, m.currency, a.answered_at, c.day_ends,"
        " CASE WHEN a.style_id IS NULL THEN 0 ELSE 1 END, a.id"
        " FROM answer a JOIN c ON c.id = a.customer_id JOIN answer_measure m ON m.answer_id = a.id"
        " WHERE a.answered_at < c.day_ends AND a.created_at < c.day_ends AND NOT EXISTS (SELECT 1 FROM answer later"
        f" WHERE {then} OR (later.created_at = a.created_at AND later.id > a.id))))"
        " ORDER BY c.n, a.answered_at, a.id, m.position",
        *crowd.values,
    )
    done = f"s.state IN ({_CASE_SETTLED}) AND s.resolved_at < c.day_ends"
    cases = await conn.fetch(
        crowd.sql + f"SELECT c.n, s.priority, s.opened_at, s.due_at, CASE WHEN {done} THEN s.resolved_at END,"
        " CASE WHEN s.waiting_since < c.day_ends THEN s.waiting_since END,"
        f" CASE WHEN {done} AND s.late THEN 1 ELSE 0 END, CASE WHEN {done} THEN s.reopened_times ELSE 0 END,"
        " c.day_begins, c.day_ends, s.id FROM service_case s JOIN c ON c.id = s.customer_id"
        " WHERE s.opened_at < c.day_ends AND s.created_at < c.day_ends ORDER BY c.n, s.id",
        *crowd.values,
    )
    rates = await conn.fetch("SELECT currency, valid_from, rate_e9 FROM exchange_rate ORDER BY currency, valid_from")
    # a source that came into use later was not recorded then: no complaint of these customers is no knowledge
    return FeedbackRows(told, cases, bool(cases), tuple(Rate(*row) for row in rates))
