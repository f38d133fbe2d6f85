"""Key figures of a period and a scope, read in one snapshot."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.arrays import IntColumn
from backend.domain.kpis import Kpi, KpiCode, KpiInputs, Period, check_period, kpi, sources_used
from backend.domain.score_facts import local_days
from backend.domain.sources import SourceUsed
from backend.domain.times import day_number
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine, Row
from backend.storage.holding import held_customers
from backend.storage.kpis import read_reps, read_visits_made, read_wallet_shares
from backend.storage.statistics import Crowd, Heads, OrderRows, crowd_of, read_heads, read_orders, sales_of


@dataclass(frozen=True, slots=True)
class KpiFound:
    """One key figure, the same of as many days before, and what it was computed from."""

    code: KpiCode
    figure: Kpi
    previous: Kpi
    sources: tuple[SourceUsed, ...]


@dataclass(frozen=True, slots=True)
class KpisFound:
    """Key figures of one scope. `left_out_n`: customers whose orders have no exchange rate and are in no figure."""

    first_day: str
    last_day: str
    customers_n: int
    left_out_n: int
    items: tuple[KpiFound, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    heads: Heads
    crowd: Crowd
    orders: OrderRows
    visits: Sequence[Row]
    shares: Sequence[Row]
    reps: frozenset[str]


async def key_figures(
    engine: Engine,
    principal: Principal | None,
    *,
    settings: Settings,
    codes: Sequence[KpiCode],
    first_day: str,
    last_day: str,
    today: str,
    territory_id: str | None = None,
) -> KpisFound:
    """The figures asked for, each once, over the customers the caller holds; all with the records of one moment.

    Asks for the right to read orders, one by one or as sums; of sums there must be enough customers behind them.
    Raises NOT_PERMITTED, NOT_FOUND (a territory out of scope), OUT_OF_RANGE and IN_THE_FUTURE.
    """
    if principal is not None and not (principal.counts_orders and principal.reads("visits")):
        raise Refused(Problem(Code.NOT_PERMITTED))
    period = check_period(day_number(first_day), day_number(last_day), day_number(today))
    async with engine.read() as conn:
        where, args = await held_customers(conn, principal, territory_id)
        crowd = await crowd_of(conn, last_day, where, args)
        read = _Read(
            heads=await read_heads(conn, crowd),
            crowd=crowd,
            orders=await read_orders(conn, crowd),
            visits=await read_visits_made(conn, crowd),
            shares=await read_wallet_shares(conn, crowd),
            reps=frozenset(await read_reps(conn, principal, territory_id)),
        )
    few = 0 < len(read.heads.ids) < settings.cube_group_customers_min
    if few and principal is not None and principal.only_counts_orders:
        # what few customers bring together is what each of them brings
        raise Refused(Problem(Code.NOT_PERMITTED, ("orders",), (str(settings.cube_group_customers_min),)))
    return await asyncio.to_thread(_compute, read, settings, list(dict.fromkeys(codes)), period, first_day, last_day)


def _compute(
    read: _Read, settings: Settings, codes: Sequence[KpiCode], period: Period, first_day: str, last_day: str
) -> KpisFound:
    customers_n = len(read.heads.ids)
    sales = sales_of(read.orders, customers_n=customers_n, currency=settings.reporting_currency)
    visits = [row for row in read.visits if not sales.left_out[row[0]]]
    customer = np.array([row[0] for row in visits], dtype=np.int64)
    moments = np.array([row[1] for row in visits], dtype=np.int64)
    days = local_days(moments, read.heads.zone[customer], read.crowd.zones)
    reps = np.array([row[2] for row in visits], dtype=object)
    inputs = KpiInputs(
        orders=sales.orders.where(~sales.left_out[sales.orders.customer]),
        customers_n=customers_n,
        visit_customer=customer,
        visit_day=days,
        reps_n=len(read.reps),
        visiting_reps_n={
            span: len(read.reps & set(reps[(days >= span.first) & (days <= span.last)].tolist()))
            for span in (period, period.before)
        },
        visit_cost_minor=settings.visit_cost_minor,
        wallet_share_bp={span: _stated(read, customers_n, span) for span in (period, period.before)},
    )
    items = tuple(
        KpiFound(code, kpi(code, inputs, period), kpi(code, inputs, period.before), sources_used(code, inputs, period))
        for code in codes
    )
    return KpisFound(first_day, last_day, customers_n, int(sales.left_out.sum()), items)


def _stated(read: _Read, customers_n: int, period: Period) -> IntColumn:
    """(n,) the newest share of wallet stated by the end of a period, basis points."""
    customer, per_cent, moments = (np.array([row[at] for row in read.shares], dtype=np.int64) for at in range(3))
    told = local_days(moments, read.heads.zone[customer], read.crowd.zones) <= period.last
    values, known = np.zeros(customers_n, dtype=np.int64), np.zeros(customers_n, dtype=np.bool_)
    # rows stand in the order of their telling: the last one of a customer stays
    values[customer[told]], known[customer[told]] = per_cent[told] * 100, True
    return IntColumn(values, known)
