"""Step two: who brings what and who brings more or less than before; runs with their cost, kept. R27."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

import numpy as np

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS, BoolArray, IntColumn
from backend.domain.calibration import calibrate_history, purchase_history
from backend.domain.clv import ClvParameters, clv
from backend.domain.contribution_runs import (
    QUARTERS_MAX,
    QUARTERS_MIN,
    SAMPLE_BP_MIN,
    TOP_MAX,
    ContributionFound,
    ContributionInputs,
    ContributionRunRecord,
    Depth,
    RunAdvice,
    advise,
    contribution_found,
    in_sample,
    largest,
)
from backend.domain.given import check_first, check_range
from backend.domain.history import OrderColumns, history_of, only
from backend.domain.margin import contribution_of
from backend.domain.permissions import Action, Collection
from backend.domain.purchase import alive_probability
from backend.domain.times import day_number, local_day
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import new_id
from backend.storage.contribution_runs import COLUMNS, read_paces, read_runs, read_scored
from backend.storage.engine import Engine, Row
from backend.storage.holding import held_customers
from backend.storage.implementation import may_place, scope_read, sees_steps
from backend.storage.statistics import OrderRows, crowd_of, read_orders, sales_of
from backend.sync.documents import canonical
from backend.sync.work import Work, in_work

SALT = "2026-1"
"""Of the draw: the same customers are in the sample from run to run."""
HOURS_HUNDREDTHS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class ContributionWish:
    """What to look at. `quarters_n` of 91 days up to today; `sample_bp`: share of the customers; `top_n`: only those
    who brought most; `hours_hundredths`: what people spend on it."""

    territory_id: str | None = None
    quarters_n: int = 8
    depth: Depth = Depth.BASIC
    sample_bp: int = BASIS_POINTS
    top_n: int | None = None
    hours_hundredths: int = 0


@dataclass(frozen=True, slots=True)
class _Read:
    ids: tuple[str, ...]
    all_n: int
    orders: OrderRows
    scored: Sequence[Row]

    @property
    def rows_n(self) -> int:
        return len(self.orders.rows) + len(self.scored)


async def analyse_contribution(
    engine: Engine, principal: Principal, wish: ContributionWish, *, settings: Settings, clock: Clock
) -> ContributionRunRecord:
    """Look at one scope, say what was found and whether looking closer pays, and keep it with its cost.

    Managers in their subtree; analysts and admins everywhere. A manager who names no territory means the node he is
    seated at. Raises NOT_PERMITTED, NOT_FOUND, REQUIRED (territory), and all at once OUT_OF_RANGE.
    """
    may_look = principal.may(Action.SCORE, Collection.IMPLEMENTATION) and principal.counts_orders
    if not may_look or not principal.reads("scores"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    problems: list[Problem] = []
    check_range(wish.quarters_n, QUARTERS_MIN, QUARTERS_MAX, "quarters", problems)
    check_range(wish.sample_bp, SAMPLE_BP_MIN, BASIS_POINTS, "sampleBp", problems)
    check_range(1 if wish.top_n is None else wish.top_n, 1, TOP_MAX, "topN", problems)
    check_range(wish.hours_hundredths, 0, HOURS_HUNDREDTHS_MAX, "hoursHundredths", problems)
    refuse_if(problems)
    started_ms, started_ns = clock(), monotonic_ns()
    today = local_day(started_ms, settings.organisation_timezone)
    async with engine.read() as conn:
        node = await scope_read(conn, principal, wish.territory_id)
        if not await may_place(conn, principal, Action.SCORE, node):
            raise Refused(Problem(Code.NOT_PERMITTED))
        where, args = await held_customers(conn, principal, node)
        rows = await conn.fetch(f"SELECT k.id FROM customer k WHERE {where} ORDER BY k.id", *args)
        ids = [row[0] for row in rows]
        if wish.sample_bp < BASIS_POINTS:
            drawn = in_sample(ids, wish.sample_bp, SALT).tolist()
            chosen = [one for one, is_drawn in zip(ids, drawn, strict=True) if is_drawn]
            where, args = f"{where} AND k.id = ANY(?)", [*args, chosen]
        else:
            chosen = ids
        crowd = await crowd_of(conn, today, where, args)
        scored = await read_scored(conn, crowd.sql, crowd.values) if wish.depth is not Depth.BASIC else []
        read = _Read(tuple(chosen), len(ids), await read_orders(conn, crowd), scored)
        paces = await read_paces(conn)
    found, shown, left_out_n, status = await asyncio.to_thread(_compute, read, wish, settings, day_number(today))
    milliseconds = max(1, (monotonic_ns() - started_ns) // 1_000_000)
    advice = advise(
        found,
        depth=wish.depth,
        sample_bp=wish.sample_bp,
        quarters_n=wish.quarters_n,
        milliseconds=milliseconds,
        hours=wish.hours_hundredths / 100.0,
        hour_minor=settings.analysis_hour_minor,
        depth_factors=_factors(paces, milliseconds, read.rows_n),
    )
    document = _document(found, shown, advice, left_out_n, status, settings)
    values: list[object] = [
        run_id := new_id(), node, today, wish.quarters_n, wish.depth.value, wish.sample_bp, wish.top_n, read.rows_n,
        found.analysed_n, milliseconds, wish.hours_hundredths, canonical(document).decode(), started_ms,
        principal.actor,
    ]  # fmt: skip

    async def keep(work: Work) -> None:
        await work.conn.execute(
            f"INSERT INTO contribution_run ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)})", *values
        )
        await work.conn.execute(
            "DELETE FROM contribution_run WHERE id NOT IN (SELECT id FROM contribution_run"
            " ORDER BY started_at DESC, id DESC LIMIT ?)",
            settings.contribution_runs_kept,
        )
        work.audit("SCORE", "contributionRuns", run_id)

    await in_work(engine, principal, keep, clock=clock, retries_max=settings.write_retries_max)
    async with engine.read() as conn:
        return (await read_runs(conn, "c.id = ?", [run_id], 1))[0]


async def list_contribution_runs(
    engine: Engine, principal: Principal, *, settings: Settings, first: int, territory_id: str | None = None
) -> tuple[ContributionRunRecord, ...]:
    """Runs of the scopes the caller holds, the newest first; those of the whole organisation are for who sees all of
    it. Raises NOT_PERMITTED and OUT_OF_RANGE."""
    seen = sees_steps(principal, "c")
    if seen is None or not principal.counts_orders:
        raise Refused(Problem(Code.NOT_PERMITTED))
    check_first(first, settings.page_rows_max)
    where, args = [seen[0]], list(seen[1])
    if args:
        where.append("c.territory_id IS NOT NULL")
    if territory_id is not None:
        where.append("c.territory_id = ?")
        args.append(territory_id)
    async with engine.read() as conn:
        return tuple(await read_runs(conn, " AND ".join(where), args, first))


def _factors(paces: Mapping[Depth, float], milliseconds: int, rows_n: int) -> dict[Depth, float]:
    """How many times longer each depth took than this run, where such runs were made."""
    if not rows_n:
        return {}
    own = 1_000.0 * milliseconds / rows_n
    return {depth: max(pace / own, 1.0) for depth, pace in paces.items()}


def _compute(
    read: _Read, wish: ContributionWish, settings: Settings, today: int
) -> tuple[ContributionFound, list[str], int, str | None]:
    """What was found, the ids its rows are numbered by, how many had orders without a rate, and how the fit went."""
    sales = sales_of(read.orders, customers_n=len(read.ids), currency=settings.reporting_currency)
    kept = ~sales.left_out
    orders, n = only(sales.orders, kept), int(kept.sum())
    margin = None if settings.default_margin_bp is None else settings.default_margin_bp / BASIS_POINTS
    history = history_of(orders, customers_n=n, as_of_day=today, quarters_n=wish.quarters_n)
    quarters = contribution_of(history, margin).quarters
    rows: BoolArray = np.ones(n, dtype=np.bool_)
    if wish.top_n is not None:
        rows = largest(quarters.sum(axis=1), wish.top_n)
    future, potential = _scored_columns(read.scored, len(read.ids))
    inputs = ContributionInputs(quarters[rows], _of(future, kept, rows), _of(potential, kept, rows))
    status = None
    if wish.depth is Depth.FULL and history.has_orders.any():
        inputs, status = _with_model(inputs, orders, n, rows, today, margin)
    sampled = wish.sample_bp < BASIS_POINTS and wish.top_n is None
    found = contribution_found(
        inputs,
        wish.depth,
        customers_n=read.all_n if sampled else int(rows.sum()),
        sampled_n=len(read.ids) if sampled else None,
    )
    ids = [one for one, stays in zip(read.ids, kept.tolist(), strict=True) if stays]
    return found, [one for one, stays in zip(ids, rows.tolist(), strict=True) if stays], int((~kept).sum()), status


def _with_model(
    inputs: ContributionInputs, orders: OrderColumns, n: int, rows: BoolArray, today: int, margin: float | None
) -> tuple[ContributionInputs, str]:
    """With the purchase model fitted to this scope's own orders."""
    history = history_of(orders, customers_n=n, as_of_day=today)
    calibration = calibrate_history(history, as_of_day=today, version="contribution")
    buyers = history.has_orders
    alive = np.full(n, np.nan)
    alive[buyers] = alive_probability(calibration.purchase, purchase_history(history, today, buyers))
    future = clv(
        history, calibration=calibration, as_of_day=today, asked=ClvParameters(default_margin=margin)
    ).future_minor
    known = IntColumn(future.values[rows], future.known[rows])
    deeper = ContributionInputs(inputs.quarters, inputs.future_minor, inputs.potential_minor, known, alive[rows])
    return deeper, calibration.purchase.status.value


def _scored_columns(scored: Sequence[Row], n: int) -> tuple[IntColumn, IntColumn]:
    future: list[int | None] = [None] * n
    potential: list[int | None] = [None] * n
    for row, future_minor, potential_minor in scored:
        future[row], potential[row] = future_minor, potential_minor
    return IntColumn.of(future), IntColumn.of(potential)


def _of(column: IntColumn, kept: BoolArray, rows: BoolArray) -> IntColumn:
    return IntColumn(column.values[kept][rows], column.known[kept][rows])


def _document(
    found: ContributionFound,
    ids: Sequence[str],
    advice: RunAdvice,
    left_out_n: int,
    status: str | None,
    settings: Settings,
) -> dict[str, Any]:
    return {
        "currency": settings.reporting_currency,
        "basis": "REVENUE" if settings.default_margin_bp is None else "DEFAULT_MARGIN",
        "customers": found.customers_n,
        "leftOut": left_out_n,
        "fitStatus": status,
        "totalMinor": found.total_minor,
        "lowMinor": found.low_minor,
        "highMinor": found.high_minor,
        "moved": found.moved_n,
        "movedMinor": found.moved_minor,
        "undecided": found.undecided_n,
        "undecidedMinor": found.undecided_minor,
        "groups": [
            {
                "group": one.group.value,
                "customers": one.customers_n,
                "pastMinor": one.past_minor,
                "slopeMinor": one.slope_minor,
                "futureMinor": one.future_minor,
                "potentialMinor": one.potential_minor,
                "ids": [ids[row] for row in one.rows],
            }
            for one in found.groups
        ],
        "advice": advice.advice.value,
        "look": None if advice.look is None else advice.look.value,
        "costMinor": advice.cost_minor,
        "prices": [
            {"look": one.look.value, "bringsMinor": one.brings_minor, "costsMinor": one.costs_minor}
            for one in advice.prices
        ],
    }
