"""The sixteen segments beside other ways of cutting the same customers."""

import asyncio
from dataclasses import dataclass

import numpy as np

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.history import history_of, only
from backend.domain.segment_models import ModelFound, cells_by_model, compare_models
from backend.domain.segments import ONBOARDING, SEGMENT_CODES
from backend.domain.times import day_number
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine, Row
from backend.storage.holding import held_customers
from backend.storage.statistics import OrderRows, crowd_of, read_orders, sales_of


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every model over the same customers. `left_out_n`: onboarding, never scored, or with orders that cannot be
    converted."""

    customers_n: int
    left_out_n: int
    models: tuple[ModelFound, ...]
    amounts_from_n: int
    """Amounts of cells with fewer customers are not for this caller's eyes."""


async def compare_segment_models(
    engine: Engine, principal: Principal, *, settings: Settings, today: str, territory_id: str | None = None
) -> Comparison:
    """Cut the customers the caller holds by each model, as of today. R52.

    Asks for the right to read scores and orders, one by one or as sums. Raises NOT_PERMITTED and NOT_FOUND (territory).
    """
    if not principal.reads("scores") or not principal.counts_orders:
        raise Refused(Problem(Code.NOT_PERMITTED))
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        crowd = await crowd_of(conn, today, where, args)
        scores = await conn.fetch(
            crowd.sql + "SELECT c.n, s.segment, COALESCE(s.existing_value_minor, 0) FROM c"
            " LEFT JOIN customer_score s ON s.customer_id = c.id ORDER BY c.n",
            *crowd.values,
        )
        orders = await read_orders(conn, crowd)
    least_n = settings.cube_group_customers_min if principal.only_counts_orders else 0
    return await asyncio.to_thread(_compute, scores, orders, settings, today, least_n)


def _compute(scores: list[Row], orders: OrderRows, settings: Settings, today: str, least_n: int) -> Comparison:
    customers_n, day = len(scores), day_number(today)
    sales = sales_of(orders, customers_n=customers_n, currency=settings.reporting_currency)
    told = np.array([row[1] is not None and row[1] != SEGMENT_CODES[ONBOARDING] for row in scores], dtype=np.bool_)
    kept = told & ~sales.left_out
    history = history_of(only(sales.orders, kept), customers_n=int(kept.sum()), as_of_day=day)
    segments = [row[1] for row, stays in zip(scores, kept.tolist(), strict=True) if stays]
    existing = np.array([row[2] for row, stays in zip(scores, kept.tolist(), strict=True) if stays], dtype=np.int64)
    models = compare_models(
        cells_by_model(segments, history, day), existing, history.quarter_revenue_minor[:, :4].sum(axis=1)
    )
    return Comparison(int(kept.sum()), customers_n - int(kept.sum()), models, least_n)
