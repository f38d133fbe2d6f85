"""What one customer's priority would be if something were done now, computed by the rules of the day's ranking."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS, MONEY_MINOR_MAX
from backend.domain.explanations import Line, explain
from backend.domain.frozen import Published, fitted_of, published_of
from backend.domain.priority import priorities
from backend.domain.score_facts import DayFacts, as_inputs, with_open_cases
from backend.domain.times import day_number
from backend.domain.visit_uplift import uplift_of
from backend.domain.what_if import Deed, ModelsHeld, document_after, facts_after
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.storage.holding import held_customers
from backend.storage.statistics import (
    OrderRows,
    crowd_of,
    facts_of,
    read_facts,
    read_heads,
    read_severe_cases,
    sales_of,
)
from backend.storage.values import read_models, read_sold_to


@dataclass(frozen=True, slots=True)
class Standing:
    """A priority with its lines."""

    score: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The priority of a customer on a day, as it is and after the deed."""

    on: str
    currency: str
    before: Standing
    after: Standing


@dataclass(frozen=True, slots=True)
class _Read:
    facts: DayFacts
    document: Mapping[str, Any]
    severe_ids: tuple[str, ...]
    published: Published
    orders: OrderRows
    models: dict[str, Any]


async def what_if(
    engine: Engine, principal: Principal, *, settings: Settings, customer_id: str, on: str, deed: Deed
) -> WhatIf:
    """The priority before and after; nothing is written.

    Raises NOT_PERMITTED; NOT_FOUND for a customer the caller does not work for or no run has scored; OUT_OF_RANGE for
    an amount that is not above 0 or too large; NO_EXCHANGE_RATE for past orders that cannot be converted.
    """
    if not principal.reads("scores") or not principal.reads("customers"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if deed.order_minor is not None and not 0 < deed.order_minor <= MONEY_MINOR_MAX:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("orderOfMinor",), ("1", str(MONEY_MINOR_MAX))))
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, None)
        crowd = await crowd_of(conn, on, f"k.id = ? AND {where}", [customer_id, *args])
        heads = await read_heads(conn, crowd)
        rows = await conn.fetch(
            "SELECT s.facts, t.version, t.tables FROM customer_score s JOIN priority_table t ON t.id = s.table_id"
            " WHERE s.customer_id = ?",
            customer_id,
        )
        models = await read_models(conn, on)
        if not heads.ids or not rows or models is None:
            raise Refused(Problem(Code.NOT_FOUND, ("customerId",)))
        facts, version, tables = rows[0]
        severe = await read_severe_cases(conn, crowd)
        read = _Read(
            facts=facts_of(await read_facts(conn, crowd), heads, crowd),
            document=with_open_cases([orjson.loads(facts)], severe)[0],
            severe_ids=severe.get(0, ()),
            published=published_of(version, orjson.loads(tables)),
            orders=(await read_sold_to(conn, customer_id, on)).orders,
            models=models,
        )
    return await asyncio.to_thread(_compute, read, settings, on, deed)


def _compute(read: _Read, settings: Settings, on: str, deed: Deed) -> WhatIf:
    today, margin = day_number(on), settings.default_margin_bp
    sales = sales_of(read.orders, customers_n=1, currency=settings.reporting_currency)
    if deed.order_minor is not None and sales.missing:
        raise Refused(*(Problem(Code.NO_EXCHANGE_RATE, (one,), params={"currency": one}) for one in sales.missing))
    held = ModelsHeld(
        calibration=fitted_of(read.models["calibration"]).calibration,
        published=read.published,
        typical_interval_days=read.models.get("typicalIntervalDays"),
        default_margin=None if margin is None else margin / BASIS_POINTS,
        visit_cost_minor=settings.visit_cost_minor,
        uplift=uplift_of(read.models.get("visitUplift")),
    )
    document = document_after(read.document, deed, sales.orders, held, today)
    return WhatIf(
        on,
        settings.reporting_currency,
        _standing(read.published, read.document, read.facts, read.severe_ids, today),
        _standing(
            read.published,
            document,
            facts_after(read.facts, deed, today),
            () if deed.case_closed else read.severe_ids,
            today,
        ),
    )


def _standing(
    published: Published, document: Mapping[str, Any], facts: DayFacts, severe_ids: tuple[str, ...], today: int
) -> Standing:
    columns = priorities(as_inputs([document], facts), published.parameters, published.tables, today)
    return Standing(int(columns.score[0]), explain(columns, 0, replace(facts.evidence(0), severe_ids=severe_ids)))
