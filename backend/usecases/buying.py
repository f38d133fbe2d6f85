"""How customers buy: their behaviour, what goes together, who is like whom, and who comes back."""

import asyncio
from dataclasses import dataclass

import numpy as np

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.affinity import Affinity, AffinityItem, affinity
from backend.domain.arrays import BoolArray, FloatArray, IntArray
from backend.domain.behaviour import Behaviour, behaviour_of
from backend.domain.cohorts import CohortTable, cohort_table
from backend.domain.given import check_first
from backend.domain.history import OrderColumns, history_of
from backend.domain.look_alikes import LookAlikeFeature, look_alikes
from backend.domain.sources import Source, SourceUsed
from backend.domain.times import add_days, day_from_number, day_number
from backend.errors import Code, Problem, Refused
from backend.storage.bought import read_baskets, read_bought
from backend.storage.engine import Connection, Engine
from backend.storage.holding import held_customers
from backend.storage.statistics import Crowd, crowd_of, read_habits, read_heads, read_orders, sales_of

HABIT_DAYS = 730
"""How far back habits and baskets are looked at where nobody says."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose orders are looked at: one customer's, a territory's with everything below it, or all the caller holds."""

    customer_id: str | None = None
    territory_id: str | None = None


@dataclass(frozen=True, slots=True)
class BehaviourFound:
    """`customers_n`: whose orders they are; `left_out_n`: customers in no amount, for want of an exchange rate."""

    as_of: str
    customers_n: int
    left_out_n: int
    behaviour: Behaviour
    sources: tuple[SourceUsed, ...]


@dataclass(frozen=True, slots=True)
class AffinityFound:
    as_of: str
    since: str
    items: tuple[str, ...]
    affinity: Affinity


@dataclass(frozen=True, slots=True)
class Likeness:
    """One measure of both, in whole units (money in minor ones), and what it adds to the distance."""

    feature: LookAlikeFeature
    own: int
    other: int
    apart: float
    weight: float


@dataclass(frozen=True, slots=True)
class Alike:
    customer_id: str
    distance: float
    shared_n: int
    likenesses: tuple[Likeness, ...]


@dataclass(frozen=True, slots=True)
class CohortsFound:
    """`hidden`: (c,) True for cohorts of so few customers that nothing of them is told."""

    as_of: str
    customers_n: int
    left_out_n: int
    table: CohortTable
    hidden: BoolArray
    hidden_below: int | None
    sources: tuple[SourceUsed, ...]


async def _crowd(
    conn: Connection, principal: Principal, settings: Settings, scope: Scope, as_of: str, today: str
) -> Crowd:
    """The customers of a scope, at least one; raises NOT_FOUND, NOT_PERMITTED and IN_THE_FUTURE."""
    if not principal.counts_orders:
        raise Refused(Problem(Code.NOT_PERMITTED, ("orders",)))
    if as_of > today:
        raise Refused(Problem(Code.IN_THE_FUTURE, ("asOf",), (today,)))
    if scope.customer_id is not None and scope.territory_id is not None:
        raise Refused(Problem(Code.INVALID_VALUE, ("territoryId",), ("customerId", "territoryId")))
    where, args = await held_customers(conn, principal, scope.territory_id)
    if scope.customer_id is not None:
        where, args = f"{where} AND k.id = ?", [*args, scope.customer_id]
    crowd = await crowd_of(conn, as_of, where, args)
    counted = await conn.fetch(f"SELECT COUNT(*) FROM customer k WHERE {crowd.where}", *crowd.args)
    if scope.customer_id is not None and not counted[0][0]:
        raise Refused(Problem(Code.NOT_FOUND, ("customerId",)))
    if principal.only_counts_orders and 0 < counted[0][0] < settings.cube_group_customers_min:
        # what few customers do together is what each of them does
        raise Refused(Problem(Code.NOT_PERMITTED, ("orders",), (str(settings.cube_group_customers_min),)))
    return crowd


@dataclass(frozen=True, slots=True)
class _Sold:
    """`ids`: (n,) customers; `orders`: of those whose every order has a rate."""

    ids: tuple[str, ...]
    kind: IntArray
    orders: OrderColumns
    left_out: BoolArray


async def _sold(conn: Connection, crowd: Crowd, settings: Settings) -> _Sold:
    heads = await read_heads(conn, crowd)
    found = await read_orders(conn, crowd)
    sales = await asyncio.to_thread(sales_of, found, customers_n=len(heads.ids), currency=settings.reporting_currency)
    kept = ~sales.left_out[sales.orders.customer]
    return _Sold(heads.ids, heads.kind, sales.orders.where(kept), sales.left_out)


def _sources(orders: OrderColumns) -> tuple[SourceUsed, ...]:
    days = orders.day
    if not days.size:
        return (SourceUsed(Source.ORDERS, recorded=False),)
    first, last = day_from_number(int(days.min())), day_from_number(int(days.max()))
    return (SourceUsed(Source.ORDERS, recorded=True, first_day=first, last_day=last, rows_n=int(days.size)),)


async def buying_behaviour(
    engine: Engine, principal: Principal, scope: Scope, *, settings: Settings, as_of: str, today: str
) -> BehaviourFound:
    """Rhythm, season and habits of a customer, a territory, or all the caller holds, as of a local day.

    Habits are those of the last two years. Raises NOT_PERMITTED (also to roles that read sums only, of fewer customers
    than `cube_group_customers_min`), NOT_FOUND, IN_THE_FUTURE.
    """
    async with engine.read() as conn:
        crowd = await _crowd(conn, principal, settings, scope, as_of, today)
        sold = await _sold(conn, crowd, settings)
        bought = await read_bought(conn, crowd, add_days(as_of, -HABIT_DAYS))
    found = await asyncio.to_thread(behaviour_of, sold.orders, bought, as_of_day=day_number(as_of))
    sources = (*_sources(sold.orders), SourceUsed(Source.RETURNS, recorded=False))
    return BehaviourFound(as_of, len(sold.ids), int(sold.left_out.sum()), found, sources)


async def bought_together(
    engine: Engine,
    principal: Principal,
    scope: Scope,
    *,
    settings: Settings,
    item: AffinityItem,
    as_of: str,
    today: str,
    since: str | None,
    first: int,
) -> AffinityFound:
    """Pairs that stand in one order more often than by chance; `since`: two years back when absent.

    Raises what `buying_behaviour` raises, and OUT_OF_RANGE.
    """
    check_first(first, settings.page_rows_max)
    begin = since or add_days(as_of, -HABIT_DAYS)
    async with engine.read() as conn:
        crowd = await _crowd(conn, principal, settings, scope, as_of, today)
        rows = await read_baskets(conn, crowd, item.value, begin)
    names = tuple(sorted({row[1] for row in rows}))
    place = {name: number for number, name in enumerate(names)}
    basket = np.array([row[0] for row in rows], dtype=np.int64)
    items = np.array([place[row[1]] for row in rows], dtype=np.int64)
    found = await asyncio.to_thread(affinity, basket, items, items_n=len(names), shown_max=first)
    return AffinityFound(as_of, begin, names, found)


async def who_is_alike(
    engine: Engine, principal: Principal, customer_id: str, *, settings: Settings, as_of: str, today: str, first: int
) -> tuple[Alike, ...]:
    """The customers of the same kind, among those the caller holds, that are most like one; nearest first.

    Needs the right to read orders one by one. Raises NOT_PERMITTED, NOT_FOUND, OUT_OF_RANGE and IN_THE_FUTURE.
    """
    if principal.only_counts_orders:
        raise Refused(Problem(Code.NOT_PERMITTED, ("orders",)))
    check_first(first, settings.nested_page_rows_max)
    async with engine.read() as conn:
        crowd = await _crowd(conn, principal, settings, Scope(), as_of, today)
        sold = await _sold(conn, crowd, settings)
        habits = await read_habits(conn, crowd, len(sold.ids))
    if customer_id not in sold.ids:
        raise Refused(Problem(Code.NOT_FOUND, ("customerId",)))
    row = sold.ids.index(customer_id)
    peers = np.flatnonzero(sold.kind == sold.kind[row])
    raw = _features(sold, habits.breadth_n.floats(), day_number(as_of))[peers]
    # amounts and counts differ by factors, not by steps
    compared = np.where(_BY_FACTOR, np.log1p(np.maximum(raw, 0.0)), raw)
    names = [feature.value for feature in LookAlikeFeature]
    at = int(np.searchsorted(peers, row))
    found = await asyncio.to_thread(look_alikes, compared, names, row=at, count=first)
    return tuple(
        Alike(
            sold.ids[peers[one.row]],
            one.distance,
            one.shared_n,
            tuple(
                Likeness(
                    feature, *_whole(raw[[at, one.row], names.index(feature)]), difference.apart, difference.weight
                )
                for difference in one.differences
                for feature in (LookAlikeFeature(difference.feature),)
            ),
        )
        for one in found
    )


_BY_FACTOR = np.array([True, True, True, True, False, False])


def _whole(values: FloatArray) -> tuple[int, int]:
    own, other = np.rint(values).astype(np.int64).tolist()
    return own, other


def _features(sold: _Sold, breadth: FloatArray, as_of_day: int) -> FloatArray:
    """(n, 6) in the order of `LookAlikeFeature`; NaN for who never bought."""
    past = history_of(sold.orders, customers_n=len(sold.ids), as_of_day=as_of_day)
    sales = past.quarter_revenue_minor[:, :4].sum(axis=1).astype(np.float64)
    orders = past.quarter_orders_n[:, :4].sum(axis=1).astype(np.float64)
    average = np.divide(past.revenue_minor, past.orders_n, out=np.zeros(len(past)), where=past.has_orders)
    columns = (sales, orders, average, as_of_day - past.last_day, as_of_day - past.first_day, breadth)
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    return np.where(past.has_orders[:, None], table, np.nan)


async def retention(
    engine: Engine, principal: Principal, scope: Scope, *, settings: Settings, as_of: str, today: str
) -> CohortsFound:
    """Customers by the quarter of their first order and which share came again; raises what behaviour raises."""
    async with engine.read() as conn:
        crowd = await _crowd(conn, principal, settings, scope, as_of, today)
        sold = await _sold(conn, crowd, settings)
    table = await asyncio.to_thread(cohort_table, sold.orders, as_of_day=day_number(as_of))
    least = settings.cube_group_customers_min if principal.only_counts_orders else None
    hidden = np.zeros(table.size_n.shape, dtype=np.bool_) if least is None else table.size_n < least
    return CohortsFound(as_of, len(sold.ids), int(sold.left_out.sum()), table, hidden, least, _sources(sold.orders))
