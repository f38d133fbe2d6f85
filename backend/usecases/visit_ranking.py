"""Whom to visit on a day, and why: the ranking that stored scores and the facts of the day make.

Points are computed by the whole-number rule devices use, so that both agree.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.arrays import IntColumn
from backend.domain.explanations import Evidence, Line, explain
from backend.domain.frozen import parameters_of, tables_of
from backend.domain.given import check_first
from backend.domain.judgements import JudgedPlace, Judgement, judged_place
from backend.domain.priority import priorities, rank_rows
from backend.domain.score_facts import as_inputs, is_open, with_cadence, with_open_cases
from backend.domain.score_runs import EmptyBecause
from backend.domain.times import day_number
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.storage.holding import held_customers
from backend.storage.judgements import judgements_on
from backend.storage.statistics import (
    Crowd,
    FactRows,
    Heads,
    crowd_of,
    facts_of,
    read_facts,
    read_heads,
    read_severe_cases,
)


@dataclass(frozen=True, slots=True)
class VisitPriority:
    """One customer on a ranking. `scored`: False for one that joined after the last run; `score` is what was computed,
    `place` where judgements put it."""

    rank: int
    customer_id: str
    names: dict[str, str | None]
    score: int
    scored: bool
    lines: tuple[Line, ...]
    place: JudgedPlace


@dataclass(frozen=True, slots=True)
class Ranking:
    """Whom to visit on a day, the most worthwhile first; `total`: how many were ranked.

    `scored_on`: the newest day any of their scores stands for; `empty`: why there is nobody.
    """

    on: str
    currency: str
    items: tuple[VisitPriority, ...]
    total: int
    table_version: str | None = None
    scored_on: str | None = None
    empty: EmptyBecause | None = None


async def visit_priorities(
    engine: Engine,
    principal: Principal | None,
    *,
    settings: Settings,
    on: str,
    first: int,
    territory_id: str | None = None,
) -> Ranking:
    """Rank the customers of a territory, or all the caller holds, for a local day.

    Points are computed again from the stored numbers and what is known of the day (visits, appointments, open
    tasks, severe complaints) by the whole-number rule devices use, so both agree. An override in force ranks a
    customer elsewhere, a skip of the caller's own behind all others; the computed score stays beside it. Customers
    without a score compete through the lines they have; those closed on that weekday are left out. `principal` None
    is the operator at the server itself, who sees everything. Raises NOT_PERMITTED, NOT_FOUND (a territory outside the
    caller's scope) and OUT_OF_RANGE.
    """
    if principal is not None and not principal.reads("scores"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    check_first(first, settings.page_rows_max)
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        crowd = await crowd_of(conn, on, where, args)
        heads = await read_heads(conn, crowd)
        empty = Ranking(on, settings.reporting_currency, (), 0)
        if not heads.ids:
            return _because(empty, EmptyBecause.NO_CUSTOMERS)
        tables = await conn.fetch("SELECT id, version, tables FROM priority_table ORDER BY id DESC")
        if not tables:
            return _because(empty, EmptyBecause.NOTHING_SCORED)
        rows = await conn.fetch(
            crowd.sql + "SELECT c.n, s.table_id, s.facts, s.as_of FROM customer_score s JOIN c ON c.id = s.customer_id",
            *crowd.values,
        )
        facts, severe = await read_facts(conn, crowd), await read_severe_cases(conn, crowd)
        seen = principal is None or principal.reads("judgements")
        judged = _Judged(await judgements_on(conn, crowd) if seen else {}, principal.user_id if principal else None)
        found = await asyncio.to_thread(_rank, heads, crowd, facts, severe, rows, tables, judged, first)
        if found is None:
            return _because(empty, EmptyBecause.ALL_CLOSED)
        names = await conn.fetch(
            "SELECT id, name_zh, name_ko, name_en FROM customer WHERE id = ANY(?)",
            [item.customer_id for item in found.items],
        )
    by_id = {row[0]: {"zh": row[1], "ko": row[2], "en": row[3]} for row in names}
    items = tuple(replace(item, names=by_id[item.customer_id]) for item in found.items)
    return replace(found, items=items, currency=settings.reporting_currency)


def _because(ranking: Ranking, reason: EmptyBecause) -> Ranking:
    return replace(ranking, empty=reason)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Judgements in force by the customer's number, and whose list it is."""

    of: dict[int, list[Judgement]]
    me: str | None


def _rank(
    heads: Heads,
    crowd: Crowd,
    found: FactRows,
    severe: Mapping[int, tuple[str, ...]],
    rows: Sequence[Any],
    tables: Sequence[Any],
    judged: _Judged,
    first: int,
) -> Ranking | None:
    """The first of the ranking, or None when everybody is closed."""
    closed = np.array([not is_open(orjson.loads(hours) if hours else None, crowd.day) for hours in heads.open_hours])
    if closed.all():
        return None
    customers_n = len(heads.ids)
    documents: list[dict[str, Any]] = [{}] * customers_n
    table_of = [tables[0][0]] * customers_n
    for row, table_id, facts, _ in rows:
        documents[row], table_of[row] = orjson.loads(facts), table_id
    scored = np.zeros(customers_n, dtype=np.bool_)
    scored[[row[0] for row in rows]] = True
    day_facts = facts_of(found, heads, crowd)
    agreed = IntColumn(heads.cadence_days.values, heads.cadence_days.known & ~scored)
    inputs = with_cadence(as_inputs(with_open_cases(documents, severe), day_facts), agreed)
    today = day_number(crowd.day)
    used = set(table_of)
    by_table = {
        table_id: priorities(inputs, parameters_of(document["parameters"]), tables_of(document["tables"]), today)
        for table_id, document in ((row[0], orjson.loads(row[2])) for row in tables if row[0] in used)
    }
    score = np.zeros(customers_n, dtype=np.int64)
    for table_id, columns in by_table.items():
        mine = np.array([one == table_id for one in table_of], dtype=np.bool_)
        score[mine] = columns.score[mine]
    places = {row: judged_place(int(score[row]), of, crowd.day, judged.me) for row, of in judged.of.items()}
    ranked_at, skipped = score.copy(), np.zeros(customers_n, dtype=np.bool_)
    for row, at in places.items():
        ranked_at[row], skipped[row] = at.ranked_at, at.skipped
    order = rank_rows(ranked_at, list(heads.ids), closed, skipped)

    def evidence(row: int) -> Evidence:
        return replace(day_facts.evidence(row), severe_ids=severe.get(row, ()))

    items = tuple(
        VisitPriority(
            rank=place + 1,
            customer_id=heads.ids[row],
            names={},
            score=int(score[row]),
            scored=bool(scored[row]),
            lines=explain(
                by_table[table_of[row]], row, replace(day_facts.evidence(row), severe_ids=severe.get(row, ()))
            ),
            place=places.get(row) or JudgedPlace(int(score[row]), False, ()),
        )
        for place, row in enumerate(order[:first].tolist())
    )
    return Ranking(
        on=crowd.day,
        currency="",
        items=items,
        total=int(order.size),
        table_version=tables[0][1],
        scored_on=max((row[3] for row in rows), default=None),
    )
