"""The implementation cockpit: five steps with what shows them, and what the system costs against what came of it.

*Source*: R26–R30, R56.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.cockpit import (
    FOLLOWED_DAYS,
    CapacityFacts,
    EvaluationFacts,
    Followed,
    RolloutFacts,
    RunFacts,
    StepFound,
    SystemCostKind,
    SystemReturn,
    contribution_step,
    evaluation_step,
    followed_strategies,
    resources_step,
    rollout_step,
    strategies_step,
    system_return,
)
from backend.domain.contribution_runs import Advice
from backend.domain.evaluations import RUNNING, EvaluationState
from backend.domain.given import check_days, check_range, checked_text
from backend.domain.lifecycle import Stage
from backend.domain.permissions import Action, Collection, Reach, reach
from backend.domain.rollouts import AGAIN_MIN, RolloutState
from backend.domain.segments import SEGMENT_CODES
from backend.domain.strategy import Serve, strategies_of
from backend.domain.times import DAY_MS
from backend.domain.visits import VisitState
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import new_id
from backend.storage.contribution_runs import read_runs
from backend.storage.engine import Connection, Engine, Row
from backend.storage.holding import held_customers
from backend.storage.implementation import (
    nodes_below,
    of_scope,
    read_capacity_in_force,
    read_newest_capacity,
    scope_read,
)
from backend.storage.rollouts import read_items
from backend.sync.work import Work

ITEMS_MAX = 500
EVALUATIONS_MAX = 500
COSTS_MAX = 2_000
"""Rows looked at for the cockpit, the newest first."""
MONEY_MAX = 10**15
NOTE_CHARACTERS_MAX = 500
COST_DAYS_MAX = 3_660
HOURS_HUNDREDTHS_MAX = 100_000_000


@dataclass(frozen=True, slots=True)
class Cockpit:
    """The five steps of a scope in their order, the strategies behind the third, and the return on the system, which is
    told for the whole organisation only."""

    territory_id: str | None
    as_of: str
    steps: tuple[StepFound, ...]
    strategies: tuple[Followed, ...]
    system: SystemReturn | None


@dataclass(frozen=True, slots=True)
class SystemCostWish:
    """What the system cost in a period, in the reporting currency; taken back by the same with a minus.
    `hours_hundredths`: of own people, behind an amount of HOURS."""

    kind: SystemCostKind
    amount_minor: int
    starts_on: str
    ends_on: str
    hours_hundredths: int | None = None
    note: str | None = None


async def tell_system_cost(work: Work, wish: SystemCostWish, settings: Settings) -> str:
    """Write down what the system cost; returns the row's id. For those whose right reaches the whole organisation.

    Raises NOT_PERMITTED, and all at once INVALID_VALUE, OUT_OF_RANGE, REQUIRED (hours of HOURS), TOO_LONG, TOO_MANY.
    """
    role = work.principal.role
    if role is None or reach(role, Action.CREATE, Collection.IMPLEMENTATION) is not Reach.ALL:
        raise Refused(Problem(Code.NOT_PERMITTED))
    problems: list[Problem] = []
    check_days(
        wish.starts_on, wish.ends_on, problems, least_days=1, most_days=COST_DAYS_MAX, names=("startsOn", "endsOn")
    )
    check_range(wish.amount_minor, -MONEY_MAX, MONEY_MAX, "amountMinor", problems)
    note = checked_text(wish.note, "note", NOTE_CHARACTERS_MAX, problems, required=False, breaks=True)
    if wish.kind is SystemCostKind.HOURS and wish.hours_hundredths is None:
        problems.append(Problem(Code.REQUIRED, ("hours",)))
    check_range(wish.hours_hundredths or 0, -HOURS_HUNDREDTHS_MAX, HOURS_HUNDREDTHS_MAX, "hours", problems)
    # one at a time: rows are counted
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    [row] = await work.conn.fetch("SELECT COUNT(*) FROM system_cost")
    if row[0] >= COSTS_MAX:
        problems.append(Problem(Code.TOO_MANY, ("systemCosts",), (str(COSTS_MAX),)))
    refuse_if(problems)
    cost_id = new_id()
    await work.conn.execute(
        "INSERT INTO system_cost (id, kind, amount_minor, currency, hours_hundredths, starts_on, ends_on, note,"
        " told_at, told_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        cost_id,
        wish.kind.value,
        wish.amount_minor,
        settings.reporting_currency,
        wish.hours_hundredths,
        wish.starts_on,
        wish.ends_on,
        note or None,
        work.now_ms,
        work.principal.actor,
    )
    work.audit("CREATE", "systemCosts", cost_id)
    return cost_id


async def implementation_cockpit(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    today: str,
    now_ms: int,
    territory_id: str | None = None,
) -> Cockpit:
    """The five steps of a scope, read in one snapshot. Without a territory: the whole organisation, for a manager the
    node he is seated at. Raises as `scope_read`, and NOT_PERMITTED for who reads no scores."""
    if not principal.reads("scores") or not principal.reads("visits"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    async with engine.read() as conn:
        node = await scope_read(conn, principal, territory_id)
        nodes = None if node is None else await nodes_below(conn, node)
        where, args = await held_customers(conn, principal, node)
        capacity = await _capacity(conn, node, today)
        runs = await _runs(conn, nodes)
        standing = await _standing(conn, where, args, now_ms)
        rollout = await _rollout(conn, nodes)
        evaluations = await _evaluations(conn, nodes, today)
        scope, scope_args = of_scope("g", nodes)
        [goals] = await conn.fetch(f"SELECT COUNT(*) FROM goal g WHERE g.closed_at IS NULL AND {scope}", *scope_args)
        system = await _system(conn, settings.reporting_currency) if node is None else None
    strategies = await asyncio.to_thread(_followed, standing, now_ms)
    steps = (
        resources_step(capacity, today),
        contribution_step(runs, today),
        strategies_step(strategies, max((row[4] for row in standing.rows), default=None)),
        rollout_step(rollout),
        evaluation_step(evaluations, rollout, int(goals[0])),
    )
    return Cockpit(node, today, steps, strategies, system)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Rows (id, segment, stage, created at, as of, visits made) and the strategies in force."""

    rows: Sequence[Row]
    document: dict[str, object] | None


async def _capacity(conn: Connection, node: str | None, today: str) -> CapacityFacts | None:
    found = await read_capacity_in_force(conn, node, today) or await read_newest_capacity(conn, node)
    if found is None:
        return None
    return CapacityFacts(
        found.id,
        found.starts_on,
        found.ends_on,
        found.rep_minutes,
        found.reps_n,
        found.reps_assumed_n,
        found.budget_minor,
        len(found.constraints),
    )


async def _runs(conn: Connection, nodes: Sequence[str] | None) -> RunFacts:
    where, args = of_scope("c", nodes)
    found = await read_runs(conn, where, args, ITEMS_MAX)
    if not found:
        return RunFacts()
    newest = found[0]
    go_on = newest.result["advice"] == Advice.GO_ON.value
    return RunFacts([one.id for one in found], newest.as_of, newest.analysed_n, go_on)


async def _standing(conn: Connection, where: str, args: Sequence[object], now_ms: int) -> _Standing:
    rows = await conn.fetch(
        "SELECT s.customer_id, s.segment, s.stage, k.created_at, s.as_of, COALESCE(v.n, 0) FROM customer_score s"
        " JOIN customer k ON k.id = s.customer_id LEFT JOIN (SELECT customer_id, COUNT(*) AS n FROM visit"
        f" WHERE state = '{VisitState.COMPLETED.value}' AND check_in_at >= ? GROUP BY customer_id) v"
        f" ON v.customer_id = s.customer_id WHERE {where} ORDER BY s.customer_id",
        now_ms - FOLLOWED_DAYS * DAY_MS,
        *args,
    )
    tables = await conn.fetch("SELECT tables FROM priority_table ORDER BY created_at DESC, id DESC LIMIT 1")
    return _Standing(rows, orjson.loads(tables[0][0]).get("strategies") if tables else None)


def _followed(found: _Standing, now_ms: int) -> tuple[Followed, ...]:
    table = strategies_of(found.document)
    wanted = [table.strategy(SEGMENT_CODES.index(row[1]), Stage[row[2]]) for row in found.rows]
    return followed_strategies(
        [one.strategy for one in wanted],
        # calls and mailings are recorded nowhere yet: what is not visited cannot be held against visits
        np.array([one.cadence_days if one.serve is Serve.FIELD else 0 for one in wanted], dtype=np.int64),
        np.array([(now_ms - row[3]) // DAY_MS for row in found.rows], dtype=np.int64),
        np.array([row[5] for row in found.rows], dtype=np.int64),
    )


async def _rollout(conn: Connection, nodes: Sequence[str] | None) -> RolloutFacts:
    where, args = of_scope("r", nodes)
    items = await read_items(conn, ("1 = 1", ()), where, args, ITEMS_MAX)
    counts: dict[str, int] = {}
    for one in items:
        counts[one.state.value] = counts.get(one.state.value, 0) + 1
    started = [one for one in items if one.state is RolloutState.STARTED]
    return RolloutFacts(
        ids=[one.id for one in items],
        counts=counts,
        starts_n=sum(one.candidate.starts_n for one in items),
        stops_n=sum(one.candidate.stops_n for one in items),
        again_n=sum(one.candidate.stops_n >= AGAIN_MIN for one in items if one.state is not RolloutState.DONE),
        unjudged_n=sum(not one.judged and not one.to_be_judged for one in started),
    )


async def _evaluations(conn: Connection, nodes: Sequence[str] | None, today: str) -> EvaluationFacts:
    where, args = of_scope("e", nodes)
    rows = await conn.fetch(
        f"SELECT e.id, e.state, e.starts_on, e.ends_on FROM evaluation e WHERE {where}"
        " ORDER BY e.planned_at DESC, e.id DESC LIMIT ?",
        *args,
        EVALUATIONS_MAX,
    )
    running = [row for row in rows if row[1] in {state.value for state in RUNNING}]
    closed = [row for row in rows if row[1] == EvaluationState.CLOSED.value]
    counted = [*running, *closed]
    return EvaluationFacts(
        ids=[row[0] for row in rows if row in counted],
        running_n=len(running),
        waiting_n=sum(row[3] < today for row in running),
        closed_n=len(closed),
        first_day=min((row[2] for row in counted), default=None),
        last_day=max((row[3] for row in counted), default=None),
    )


async def _system(conn: Connection, currency: str) -> SystemReturn:
    costs = await conn.fetch("SELECT kind, amount_minor FROM system_cost WHERE currency = ? ORDER BY id", currency)
    rows = await conn.fetch(
        f"SELECT e.result FROM evaluation e WHERE e.state = '{EvaluationState.CLOSED.value}' AND e.currency = ?"
        " AND e.result IS NOT NULL ORDER BY e.id",
        currency,
    )
    results = [orjson.loads(row[0]) for row in rows]
    return system_return(
        [(SystemCostKind(kind), amount) for kind, amount in costs],
        [
            (one["gainMinor"], one["gainLowMinor"], one["gainHighMinor"])
            for one in results
            if one.get("gainMinor") is not None
        ],
    )
