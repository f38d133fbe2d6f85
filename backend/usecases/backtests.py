"""Does the priority work here? Backtests on the organisation's own records, and on a file of orders.

A run reads each cut from one snapshot, computes in a worker thread and keeps its result; it writes nothing else.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS, IntArray
from backend.domain.backtest import (
    CUSTOMERS_MIN,
    CUTS_MAX,
    HOLDOUT_DAYS_MAX,
    HOLDOUT_DAYS_MIN,
    SEED_DEFAULT,
    After,
    Cut,
    after_cut,
    backtest,
    order_cut,
    sample_gates,
    until,
)
from backend.domain.backtest_document import DATABASE_CAVEATS, FILE_CAVEATS, Caveat, backtest_document
from backend.domain.feedback import only_of, referrals_n, satisfaction_inputs, severe_cases_n, wallet_year_minor
from backend.domain.fields import INTEGER_MAX
from backend.domain.history import OrderColumns, history_of, only
from backend.domain.permissions import Action, Collection
from backend.domain.ranking import REPLICATES_N
from backend.domain.score_facts import take_facts
from backend.domain.score_policy import ScorePolicy
from backend.domain.score_runs import RunState
from backend.domain.scoring import ScoreInputs, ScoreParameters
from backend.domain.times import add_days, day_from_number, day_number, local_day
from backend.errors import Code, Problem, Refused, refuse_if
from backend.storage.engine import Connection, Engine
from backend.storage.feedback import feedback_of
from backend.storage.past import PastRows, read_past
from backend.storage.score_policies import read_policy_in_force, read_policy_numbered
from backend.storage.statistics import facts_of, sales_of
from backend.sync.documents import canonical
from backend.sync.runs import KeptRun, Progress, problem_of

HOLDOUT_DAYS_DEFAULT = 182
CUTS_DEFAULT = 3
REPLICATES_MAX = 5_000


@dataclass(frozen=True, slots=True)
class BacktestWish:
    """Where to cut and how far to look. `cuts`: local days, none: the newest that leave a whole hold-out, one
    hold-out apart; `policy`: number of the score policy to rank by, a draft too; None: the one in force."""

    cuts: tuple[str, ...] = ()
    holdout_days: int = HOLDOUT_DAYS_DEFAULT
    seed: int = SEED_DEFAULT
    replicates_n: int = REPLICATES_N
    policy: int | None = None


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """A run as it is kept. `result`: as `backtest_document`, None unless it finished; moments in milliseconds."""

    id: str
    state: RunState
    cuts: tuple[str, ...]
    holdout_days: int
    seed: int
    result: dict[str, Any] | None
    problems: tuple[Problem, ...]
    milliseconds: int
    started_at_ms: int
    finished_at_ms: int | None
    started_by: str


def may_evaluate(principal: Principal) -> bool:
    """Analysts and admins."""
    return principal.may(Action.SCORE, Collection.EVALUATIONS)


async def last_evaluation(conn: Connection, principal: Principal) -> BacktestRun | None:
    """The newest run that finished, None before the first. Raises NOT_PERMITTED."""
    if not may_evaluate(principal):
        raise Refused(Problem(Code.NOT_PERMITTED))
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM priority_evaluation WHERE state = ? ORDER BY started_at DESC, id DESC LIMIT 1",
        RunState.FINISHED.value,
    )
    return _run_of(rows[0]) if rows else None


async def evaluate_priority(
    engine: Engine,
    principal: Principal,
    wish: BacktestWish,
    *,
    settings: Settings,
    clock: Clock,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> BacktestRun:
    """Cut the organisation's history, rank as of then, judge by what came after, and keep the result.

    `progress` is told of the phases READ, RANK and COMPARE, and `cancelled` is asked wherever it is: a run that is
    stopped is kept as CANCELLED, without a result; so is one whose caller went away, which computes no further either.
    Raises `Refused` with every problem: NOT_PERMITTED, OUT_OF_RANGE (hold-out, replicates, seed, too few
    `customers` who had bought by a cut), TOO_MANY (cuts), NOT_FOUND (a policy), IN_THE_FUTURE for a cut whose hold-out
    is not over, BUSY while another evaluation goes on. A run that fails is kept as FAILED.
    """
    if not may_evaluate(principal):
        raise Refused(Problem(Code.NOT_PERMITTED))
    today = local_day(clock(), settings.organisation_timezone)
    cuts = checked_cuts(wish, today)
    async with engine.read() as conn:
        policy = await _policy(conn, wish.policy)
    run = _Run(engine, principal, settings, clock, cuts, wish, policy, progress or _silent, cancelled or _never)
    await run.begin()
    async with run.row.alive():
        try:
            await run.carry_out()
        except _Stopped:
            await run.row.end(RunState.CANCELLED)
        return await run.kept()


async def _policy(conn: Connection, number: int | None) -> ScorePolicy:
    """The version asked for, else the one in force. Raises NOT_FOUND."""
    found = await read_policy_in_force(conn) if number is None else await read_policy_numbered(conn, number)
    if found is None:
        raise Refused(Problem(Code.NOT_FOUND, ("policy",)))
    return found


def checked_cuts(wish: BacktestWish, last_day: str) -> tuple[str, ...]:
    """The cuts of a wish, newest first, each once. `last_day`: until when orders are known."""
    problems = []
    if not HOLDOUT_DAYS_MIN <= wish.holdout_days <= HOLDOUT_DAYS_MAX:
        allowed = (str(HOLDOUT_DAYS_MIN), str(HOLDOUT_DAYS_MAX))
        problems.append(Problem(Code.OUT_OF_RANGE, ("holdoutDays",), allowed))
    if not 1 <= wish.replicates_n <= REPLICATES_MAX:
        problems.append(Problem(Code.OUT_OF_RANGE, ("replicates",), ("1", str(REPLICATES_MAX))))
    if not 0 <= wish.seed <= INTEGER_MAX:
        problems.append(Problem(Code.OUT_OF_RANGE, ("seed",), ("0", str(INTEGER_MAX))))
    if len(set(wish.cuts)) > CUTS_MAX:
        problems.append(Problem(Code.TOO_MANY, ("cuts",), (str(CUTS_MAX),)))
    refuse_if(problems)
    latest = add_days(last_day, -wish.holdout_days)
    found = sorted(set(wish.cuts), reverse=True) or [
        add_days(latest, -step * wish.holdout_days) for step in range(CUTS_DEFAULT)
    ]
    refuse_if([Problem(Code.IN_THE_FUTURE, ("cuts",), (latest,)) for day in found if day > latest][:1])
    return tuple(found)


def evaluate_orders(
    orders: OrderColumns,
    wish: BacktestWish,
    *,
    customers_n: int,
    parameters: ScoreParameters,
    known_sample: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The result for orders alone, as `backtest_document`; `known_sample`: with the gates of the CDNOW sample.

    Default cuts: those whose whole hold-out lies before the last order and which have somebody to rank; with too
    short a history one, in its middle. Raises as `evaluate_priority`.
    """
    if not orders.day.size:
        raise Refused(Problem(Code.NOT_FOUND, ("orders",)))
    cuts = _file_cuts(orders, wish)
    told = progress or _silent
    judged = []
    for day in cuts:
        cut = order_cut(orders, customers_n=customers_n, day=day)
        _check_enough(cut)
        judged.append((cut, after_cut(orders, cut, customers_n=customers_n, holdout_days=wish.holdout_days)))
    found = backtest(
        judged,
        parameters,
        holdout_days=wish.holdout_days,
        seed=wish.seed,
        replicates_n=wish.replicates_n,
        progress=told,
    )
    return backtest_document(found, caveats=FILE_CAVEATS, gates=sample_gates(found) if known_sample else ())


def _file_cuts(orders: OrderColumns, wish: BacktestWish) -> tuple[int, ...]:
    last = day_from_number(int(orders.day.max()))
    found = tuple(day_number(day) for day in checked_cuts(wish, last))
    if wish.cuts:
        return found
    first = np.sort(_first_days(orders))
    enough = [day for day in found if int(np.searchsorted(first, day, side="right")) >= CUSTOMERS_MIN]
    return tuple(enough) or found[:1]


def _first_days(orders: OrderColumns) -> IntArray:
    order = np.lexsort((orders.day, orders.customer))
    customer, day = orders.customer[order], orders.day[order]
    return np.asarray(day[np.flatnonzero(np.r_[True, customer[1:] != customer[:-1]])], dtype=np.int64)


def _check_enough(cut: Cut) -> None:
    buyers_n = int(cut.inputs.history.has_orders.sum())
    if buyers_n < CUSTOMERS_MIN:
        params: dict[str, str | int] = {"day": day_from_number(cut.day), "count": buyers_n}
        raise Refused(Problem(Code.OUT_OF_RANGE, ("customers",), (f"≥ {CUSTOMERS_MIN}",), params=params))


_COLUMNS = "id, state, cuts, holdout_days, seed, result, problems, milliseconds, started_at, finished_at, started_by"


def _run_of(row: Any) -> BacktestRun:
    return BacktestRun(
        id=row[0],
        state=RunState(row[1]),
        cuts=tuple(orjson.loads(row[2])),
        holdout_days=row[3],
        seed=row[4],
        result=None if row[5] is None else orjson.loads(row[5]),
        problems=tuple(problem_of(one) for one in orjson.loads(row[6])),
        milliseconds=row[7],
        started_at_ms=row[8],
        finished_at_ms=row[9],
        started_by=row[10],
    )


def _silent(_phase: str, _done: int, _total: int) -> None:
    return None


def _never() -> bool:
    return False


class _Stopped(Exception):
    """The caller asked to end the run, or is gone."""


class _Run:
    """One run on its way: its row, and the steps in the order they are taken."""

    def __init__(
        self,
        engine: Engine,
        principal: Principal,
        settings: Settings,
        clock: Clock,
        cuts: tuple[str, ...],
        wish: BacktestWish,
        policy: ScorePolicy,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> None:
        self.engine, self.settings = engine, settings
        self.cuts, self.wish, self.policy = cuts, wish, policy
        self._told, self._cancelled, self._left = progress, cancelled, False
        self.row = KeptRun(
            engine,
            principal,
            clock,
            settings.write_retries_max,
            "priority_evaluation",
            "priorityEvaluation",
            "priorityEvaluations",
        )

    async def begin(self) -> None:
        await self.row.begin(
            {
                "cuts": canonical(list(self.cuts)).decode(),
                "holdout_days": self.wish.holdout_days,
                "seed": self.wish.seed,
            }
        )

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tell how far it is, from whatever thread; ends the run here when it is to end."""
        if self._left or self._cancelled():
            raise _Stopped
        self._told(phase, done, total)

    async def kept(self) -> BacktestRun:
        """As it stands in its row."""
        async with self.engine.read() as conn:
            rows = await conn.fetch(f"SELECT {_COLUMNS} FROM priority_evaluation WHERE id = ?", self.row.id)
        return _run_of(rows[0])

    async def carry_out(self) -> None:
        """Read every cut, then compute off the event loop."""
        judged: list[tuple[Cut, After]] = []
        numbers: dict[str, int] = {}
        left_out_n = 0
        for place, day in enumerate(self.cuts):
            self.progress("READ", place, len(self.cuts))
            async with self.engine.read() as conn:
                found = await read_past(conn, day, self.wish.holdout_days, self.settings.organisation_timezone)
            cut, after, missing_n = await asyncio.to_thread(self._gather, found, numbers)
            left_out_n += missing_n
            # a short history has fewer cuts than were looked for by default; a cut that was asked for must hold
            if not self.wish.cuts and judged and int(cut.inputs.history.has_orders.sum()) < CUSTOMERS_MIN:
                break
            _check_enough(cut)
            judged.append((cut, after))
        self.progress("READ", len(self.cuts), len(self.cuts))
        try:
            result = await asyncio.to_thread(self._compute, judged, left_out_n)
        except asyncio.CancelledError:
            # nobody ends a thread from outside: it ends itself where it would tell how far it is
            self._left = True
            raise
        if self._cancelled():
            raise _Stopped
        self.row.found["result"] = canonical(result).decode()
        await self.row.end(RunState.FINISHED)

    def _compute(self, judged: Sequence[tuple[Cut, After]], left_out_n: int) -> dict[str, Any]:
        margin = self.settings.default_margin_bp
        found = backtest(
            judged,
            ScoreParameters(
                version=self.policy.version,
                priority=self.policy.parameters(),
                strategies=self.policy.strategies,
                existing_floor_minor=self.policy.existing_floor_minor,
                default_margin=None if margin is None else margin / BASIS_POINTS,
                visit_cost_minor=self.settings.visit_cost_minor,
            ),
            holdout_days=self.wish.holdout_days,
            seed=self.wish.seed,
            replicates_n=self.wish.replicates_n,
            progress=self.progress,
        )
        caveats: Iterable[Caveat] = (*DATABASE_CAVEATS, *([Caveat.NO_RATE_LEFT_OUT] if left_out_n else []))
        return backtest_document(
            found, caveats=tuple(caveats), currency=self.settings.reporting_currency, policy=self.policy.number
        )

    def _gather(self, found: PastRows, numbers: dict[str, int]) -> tuple[Cut, After, int]:
        """Rows into a cut and what came after it; `numbers`: customer id → its number among all cuts."""
        ids, day = found.heads.ids, day_number(found.crowd.day)
        sales = sales_of(found.orders, customers_n=len(ids), currency=self.settings.reporting_currency)
        kept = np.flatnonzero(~sales.left_out)
        orders = only(sales.orders, ~sales.left_out)
        before = until(orders, day)
        facts = take_facts(facts_of(found.facts, found.heads, found.crowd), kept)
        told = only_of(feedback_of(found.feedback, found.crowd.day, self.settings.reporting_currency), ~sales.left_out)
        history = history_of(before, customers_n=int(kept.size), as_of_day=day)
        inputs = ScoreInputs(
            history=history,
            kind=found.heads.kind[kept],
            peer_group=found.heads.peer_group[kept],
            breadth_n=found.habits.breadth_n.take(kept),
            last_visit_day=facts.last_visit_day,
            next_appointment_day=facts.next_appointment_day,
            season_close_day=found.habits.season_close_day.take(kept),
            has_preorder_history=found.habits.has_preorder_history.take(kept),
            overdue_tasks_n=facts.overdue_tasks_n,
            open_tasks_n=facts.open_tasks_n,
            referrals_n=referrals_n(told, len(history)),
            wallet_year_minor=wallet_year_minor(told, history, day),
            severe_cases_n=severe_cases_n(told, len(history)),
            satisfaction=satisfaction_inputs(told, day),
        )
        after = after_cut(
            orders,
            Cut(day, np.arange(kept.size), before, inputs),
            customers_n=int(kept.size),
            holdout_days=self.wish.holdout_days,
        )
        rows = np.array([numbers.setdefault(ids[row], len(numbers)) for row in kept.tolist()], dtype=np.int64)
        return Cut(day, rows, before, inputs), after, int(sales.left_out.sum())
