"""The 7P report of a customer, a territory, or all the caller holds, read in one snapshot."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.affinity import AffinityItem
from backend.domain.arrays import BASIS_POINTS, BoolArray, IntArray, IntColumn
from backend.domain.behaviour import Bought
from backend.domain.catalogue import ArticleState
from backend.domain.evaluations import EvaluationMetric
from backend.domain.exchange import convert_columns
from backend.domain.frozen import KINDS, fitted_of
from backend.domain.kpis import Period
from backend.domain.money import Rate
from backend.domain.score_facts import local_days
from backend.domain.segment_moves import Move
from backend.domain.seven_p.all_parts import seven_parts
from backend.domain.seven_p.records import (
    BrokenRun,
    CustomerColumns,
    Effect,
    LineColumns,
    Records,
    RevenueGoal,
    ScoreColumns,
)
from backend.domain.seven_p.report import YEAR_DAYS, Part
from backend.domain.times import add_days, day_number
from backend.errors import Code, Problem, Refused
from backend.storage.bought import CELLS_MAX, read_baskets, read_bought
from backend.storage.customers import TIMEZONE_DEFAULT
from backend.storage.engine import Connection, Engine, Row
from backend.storage.holding import held_customers
from backend.storage.kpis import read_visits_made
from backend.storage.score_policies import read_moves
from backend.storage.seven_p import (
    ScopeGoal,
    read_broken_runs,
    read_effects,
    read_report_customers,
    read_report_lines,
    read_report_orders,
    read_report_scores,
    read_revenue_goals,
)
from backend.storage.statistics import Crowd, OrderRows, crowd_of, sales_of
from backend.storage.values import read_models
from backend.sync.aliases import survivors_of

YEARS_READ = 2
"""Of lines: the last year, and the one it is compared with."""

PARENTS_MAX = 5
"""Heads above heads that are followed."""

Names = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ReportScope:
    """Whose report: one customer's, a territory's with everything below it, or all the caller holds."""

    customer_id: str | None = None
    territory_id: str | None = None


@dataclass(frozen=True, slots=True)
class SevenPReport:
    """`customers_n`: whose records they are; `left_out_n`: in no figure of money; `names`: of those named in rows;
    `subject`: names of the one customer asked for, none of many."""

    as_of: str
    customers_n: int
    left_out_n: int
    parts: tuple[Part, ...]
    names: Mapping[str, Names]
    subject: Names


@dataclass(frozen=True, slots=True)
class _Read:
    crowd: Crowd
    customers: Sequence[Row]
    orders: Sequence[Row]
    rates: tuple[Rate, ...]
    lines: Sequence[Row]
    scores: Sequence[Row]
    visits: Sequence[Row]
    moves: Sequence[Move]
    bought: Bought
    baskets: Sequence[Row]
    broken: Sequence[Row]
    effects: Sequence[tuple[str, str, str, dict[str, Any], int]]
    goals: Sequence[ScopeGoal]
    models: dict[str, Any] | None


async def seven_p_report(
    engine: Engine,
    principal: Principal | None,
    scope: ReportScope,
    *,
    settings: Settings,
    as_of: str,
    today: str,
) -> SevenPReport:
    """All seven parts as of a local day. `principal` None is the operator at the server itself.

    Asks for the right to read customers, scores, visits and orders, these one by one or as sums; of sums there must be
    enough customers behind them. Raises NOT_PERMITTED, NOT_FOUND, INVALID_VALUE (both a customer and a territory) and
    IN_THE_FUTURE.
    """
    if principal is not None and not (
        principal.counts_orders and all(principal.reads(one) for one in ("customers", "scores", "visits"))
    ):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if scope.customer_id is not None and scope.territory_id is not None:
        raise Refused(Problem(Code.INVALID_VALUE, ("territoryId",), ("customerId", "territoryId")))
    if as_of > today:
        raise Refused(Problem(Code.IN_THE_FUTURE, ("asOf",), (today,)))
    sums_only = principal is not None and principal.only_counts_orders
    async with engine.read() as conn:
        crowd = await _crowd(conn, principal, scope, as_of)
        customers = await read_report_customers(conn, crowd)
        if scope.customer_id is not None and not customers:
            raise Refused(Problem(Code.NOT_FOUND, ("customerId",)))
        if sums_only and 0 < len(customers) < settings.cube_group_customers_min:
            # what few customers bring together is what each of them brings
            raise Refused(Problem(Code.NOT_PERMITTED, ("orders",), (str(settings.cube_group_customers_min),)))
        # a goal is nobody's own: of one customer there is none
        goals = (
            await read_revenue_goals(conn, principal, scope.territory_id, as_of, settings.organisation_timezone)
            if scope.customer_id is None
            else []
        )
        read = await _read(conn, principal, crowd, customers, goals, as_of)
    return await asyncio.to_thread(
        _compute, read, settings, as_of, settings.cube_group_customers_min if sums_only else 0
    )


async def _crowd(conn: Connection, principal: Principal | None, scope: ReportScope, as_of: str) -> Crowd:
    where, args = await held_customers(conn, principal, scope.territory_id)
    if scope.customer_id is not None:
        named = (await survivors_of(conn, [scope.customer_id])).get(scope.customer_id, scope.customer_id)
        where, args = f"{where} AND k.id = ?", [*args, named]
    return await crowd_of(conn, as_of, where, args)


async def _read(
    conn: Connection,
    principal: Principal | None,
    crowd: Crowd,
    customers: Sequence[Row],
    goals: Sequence[ScopeGoal],
    as_of: str,
) -> _Read:
    year_ago = add_days(as_of, 1 - YEAR_DAYS)
    rates = await conn.fetch("SELECT currency, valid_from, rate_e9 FROM exchange_rate ORDER BY currency, valid_from")
    return _Read(
        crowd=crowd,
        customers=customers,
        orders=await read_report_orders(conn, crowd),
        rates=tuple(Rate(*row) for row in rates),
        lines=await read_report_lines(conn, crowd, add_days(as_of, 1 - YEARS_READ * YEAR_DAYS)),
        scores=await read_report_scores(conn, crowd),
        visits=await read_visits_made(conn, crowd),
        moves=[
            move
            for move in await read_moves(conn, crowd.where, crowd.args, add_days(as_of, -YEAR_DAYS))
            if move.on_day <= as_of
        ],
        bought=await read_bought(conn, crowd, year_ago),
        baskets=await read_baskets(conn, crowd, AffinityItem.CATEGORY.value, add_days(as_of, 1 - 2 * YEAR_DAYS)),
        broken=await read_broken_runs(conn, crowd, year_ago),
        effects=await read_effects(conn, principal, crowd, as_of),
        goals=goals,
        models=await read_models(conn, as_of),
    )


def _compute(read: _Read, settings: Settings, as_of: str, rows_from_n: int) -> SevenPReport:
    records = _records(read, settings, as_of, rows_from_n)
    parts = seven_parts(records)
    told = {row.record_id for part in parts for row in part.rows if row.collection == "customers"}
    names: dict[str, Names] = {row[0]: {"zh": row[5], "ko": row[6], "en": row[7]} for row in read.customers}
    return SevenPReport(
        as_of,
        len(names),
        int(records.customers.left_out.sum()),
        parts,
        {record_id: names[record_id] for record_id in names if record_id in told},
        next(iter(names.values())) if len(names) == 1 else {},
    )


def _records(read: _Read, settings: Settings, as_of: str, rows_from_n: int) -> Records:
    customers_n, currency = len(read.customers), settings.reporting_currency
    sales = sales_of(
        OrderRows([row[:4] for row in read.orders], read.rates), customers_n=customers_n, currency=currency
    )
    kept = ~sales.left_out[sales.orders.customer]
    zones = {zone: place for place, zone in enumerate(read.crowd.zones)}
    zone = np.array([zones[row[2] or TIMEZONE_DEFAULT] for row in read.customers], dtype=np.int64)
    visitor = np.array([row[0] for row in read.visits], dtype=np.int64)
    moments = np.array([row[1] for row in read.visits], dtype=np.int64)
    baskets, basket_names = _baskets(read.baskets)
    margin = settings.default_margin_bp
    models = None if read.models is None else fitted_of(read.models["calibration"])
    # what was fitted later than the day would know what came after
    known = models is not None and models.fitted_day <= day_number(as_of)
    return Records(
        as_of_day=day_number(as_of),
        customers=CustomerColumns(
            tuple(row[0] for row in read.customers),
            _accounts(read.customers),
            np.array([KINDS.index(row[1]) for row in read.customers], dtype=np.int64),
            tuple(row[3] for row in read.customers),
            np.array([row[4] for row in read.customers], dtype=np.int64),
            sales.left_out,
        ),
        orders=sales.orders.where(kept),
        order_ids=tuple(row[4] for row, stays in zip(read.orders, kept.tolist(), strict=True) if stays),
        lines=_lines(read, sales.left_out, currency),
        visit_customer=visitor,
        visit_day=local_days(moments, zone[visitor], read.crowd.zones),
        scores=_scores(read.scores, customers_n),
        moves=read.moves,
        bought=read.bought,
        baskets=baskets,
        basket_names=basket_names,
        broken=_broken(read.broken),
        effects=[_effect(one) for one in read.effects],
        models=models.calibration if models is not None and known else None,
        models_version=models.calibration.version if models is not None and known else None,
        visit_cost_minor=settings.visit_cost_minor,
        goods_share=None if margin is None else 1.0 - margin / BASIS_POINTS,
        goals=[_goal(one, read.customers, as_of) for one in read.goals],
        cells_cut=len(read.bought.units) >= CELLS_MAX,
        rows_from_n=rows_from_n,
    )


def _accounts(rows: Sequence[Row]) -> IntArray:
    """(n,) the row of the head of the chain a customer is a door of, where that is among them; else its own."""
    place = {row[0]: number for number, row in enumerate(rows)}
    found = np.array([place.get(row[8] or row[0], number) for number, row in enumerate(rows)], dtype=np.int64)
    # a head may have a head of its own
    for _ in range(PARENTS_MAX):
        found = found[found]
    return found


def _lines(read: _Read, left_out: BoolArray, currency: str) -> LineColumns:
    rows = [row for row in read.lines if not left_out[row[0]]]
    names = tuple(sorted({row[3] for row in rows if row[3] is not None}))
    place = {name: number for number, name in enumerate(names)}

    def whole(at: int) -> IntArray:
        return np.array([row[at] for row in rows], dtype=np.int64)

    day = np.array([row[1] for row in rows], dtype="datetime64[D]").astype(np.int64)
    codes = np.array([row[2] for row in rows], dtype=np.str_)
    net, listed = (convert_columns(whole(at), codes, day, to=currency, rates=read.rates).amount_minor for at in (6, 7))
    return LineColumns(
        names,
        whole(0),
        day,
        np.array([place.get(row[3], -1) for row in rows], dtype=np.int64),
        whole(5),
        net,
        listed,
        np.array([bool(row[4]) for row in rows], dtype=np.bool_),
    )


def _scores(rows: Sequence[Row], customers_n: int) -> ScoreColumns:
    segment = [""] * customers_n
    columns: list[list[int | None]] = [[None] * customers_n for _ in range(5)]
    for row in rows:
        segment[row[0]] = row[1]
        for column, value in zip(columns, row[2:7], strict=True):
            column[row[0]] = value
    versions = sorted({row[7] for row in rows if row[7] is not None})
    existing, potential, loyalty, churn, future = (IntColumn.of(column) for column in columns)
    return ScoreColumns(tuple(segment), existing, potential, loyalty, churn, future, versions[-1] if versions else None)


def _baskets(rows: Sequence[Row]) -> tuple[tuple[IntArray, IntArray], tuple[str, ...]]:
    names = tuple(sorted({row[1] for row in rows}))
    place = {name: number for number, name in enumerate(names)}
    basket = np.array([row[0] for row in rows], dtype=np.int64)
    return (basket, np.array([place[row[1]] for row in rows], dtype=np.int64)), names


def _broken(rows: Sequence[Row]) -> list[BrokenRun]:
    by_colour: dict[str, list[Row]] = {}
    for row in rows:
        by_colour.setdefault(row[3], []).append(row)
    return [
        BrokenRun(
            style_id=sizes[0][0],
            style_code=sizes[0][1],
            colour_code=sizes[0][2],
            missing=tuple(row[4] for row in sizes if row[5] != ArticleState.ACTIVE),
            sizes_n=len(sizes),
            gone_units=sum(row[6] for row in sizes if row[5] != ArticleState.ACTIVE),
            units=sum(row[6] for row in sizes),
        )
        for sizes in by_colour.values()
    ]


def _effect(found: tuple[str, str, str, dict[str, Any], int]) -> Effect:
    record_id, name, ends_on, result, cost = found
    return Effect(
        id=record_id,
        name=name,
        ends_on=ends_on,
        treated_n=result.get("treatedN", 0),
        control_n=result.get("controlN", 0),
        gain_minor=result.get("gainMinor"),
        gain_low_minor=result.get("gainLowMinor"),
        gain_high_minor=result.get("gainHighMinor"),
        cost_minor=cost,
        metric=EvaluationMetric(result.get("metric", EvaluationMetric.REVENUE)),
        lift=result.get("lift"),
        low=result.get("low"),
        high=result.get("high"),
        treated_mean=result.get("treatedMean"),
        control_mean=result.get("controlMean"),
        forecast_n=result.get("forecastN"),
        gain_variance_cut=result.get("gainVarianceCut"),
    )


def _goal(found: ScopeGoal, customers: Sequence[Row], as_of: str) -> RevenueGoal:
    today = day_number(as_of)
    window = Period(today - found.goal.window_days + 1, today)
    return RevenueGoal(
        id=found.goal.id,
        name=found.goal.name,
        target_minor=found.goal.target,
        window=window,
        reaches_back=window.first < day_number(found.goal.starts_on),
        members=np.array([found.nodes is None or row[9] in found.nodes for row in customers], dtype=np.bool_),
        own=found.own,
    )
