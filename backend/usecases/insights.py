"""From order history to "visit this customer today, because…": score runs, and the ranking they make possible.

A run reads one snapshot, computes in a worker thread and writes only what changed, in works of bounded size.
Each written score is right by itself, so a run that ended early is taken up by simply running again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic_ns
from typing import Any, TypeVar

import numpy as np
import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS, IntArray, IntColumn
from backend.domain.explanations import Line, explain
from backend.domain.feedback import evidence_ids, measure_documents, only_of
from backend.domain.frozen import (
    Fitted,
    Published,
    fitted_of,
    frontier_documents,
    next_version,
    parameters_of,
    published_of,
    tables_of,
)
from backend.domain.history import only
from backend.domain.judgements import JudgedPlace, Judgement, judged_place
from backend.domain.nightly import Night, Scored, StoredScores, score_night
from backend.domain.permissions import Action, Collection
from backend.domain.priority import priorities, rank_rows
from backend.domain.score_facts import as_inputs, fact_documents, is_open, take_facts, with_cadence
from backend.domain.score_policy import ScorePolicy
from backend.domain.score_runs import EmptyBecause, RunState
from backend.domain.territories import is_at_or_below
from backend.domain.times import day_number, local_day, quarter_of_day
from backend.domain.visit_uplift import VisitUplift
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.storage.engine import Connection, Engine
from backend.storage.feedback import FeedbackRows, feedback_of, read_feedback
from backend.storage.holding import held_customers
from backend.storage.judgements import judgements_on
from backend.storage.purchases import (
    PurchaseColumns,
    PurchasesRead,
    account_differs,
    purchase_pages,
    sales_of_purchases,
)
from backend.storage.score_policies import read_policy_in_force, write_moves
from backend.storage.statistics import (
    Crowd,
    FactRows,
    Habits,
    Heads,
    crowd_of,
    facts_of,
    read_facts,
    read_habits,
    read_heads,
    read_rates,
    read_stored_scores,
    read_unqualified,
    stored_scores_of,
)
from backend.storage.visit_holdouts import ProgrammeRows, read_programmes, uplift_from
from backend.sync.documents import canonical
from backend.sync.feed import WHOLE
from backend.sync.purchases import rebuild_purchases
from backend.sync.work import Door, Work, in_work

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Told (phase, done, of how many) while a run goes on; phases are COUNT, READ, COMPUTE, WRITE."""

BEAT_S = 20.0
ABANDONED_MS = 120_000
"""A run without a sign of life for so long belongs to a process that is gone."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did. `problems`: who was left out and why; `left_out_n`: how many customers that is."""

    id: str
    state: RunState
    as_of: str
    table_version: str
    fit_status: str
    level: float
    level_measured: bool
    refit: str
    customers_scored: int
    customers_changed: int
    customers_removed: int
    left_out_n: int
    milliseconds: int
    problems: tuple[Problem, ...] = ()


class _Stopped(Exception):
    """The caller asked to end the run."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Everything read for a run, as rows."""

    crowd: Crowd
    heads: Heads
    purchases: PurchaseColumns
    habits: Habits
    facts: FactRows
    feedback: FeedbackRows
    stored: list[Any]
    unqualified: list[str]
    published: tuple[str, str, str] | None
    versions: list[str]
    models: str | None
    policy: ScorePolicy
    programmes: ProgrammeRows
    territories: frozenset[str] | None


async def run_scores(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    clock: Clock,
    as_of: str | None = None,
    territory_id: str | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    rebuild: bool = False,
) -> RunSummary:
    """Score the organisation as of a local day (today), write what changed, and say so.

    Models, peers and tables always come from the whole organisation; `territory_id` limits what is written to
    the customers of that subtree. A currency without an exchange rate leaves its customers as they were, and
    the summary names it (NO_EXCHANGE_RATE). The purchases kept of every customer are what is read; where they do
    not account for the orders, or with `rebuild`, they are counted anew before. Raises NOT_PERMITTED, NOT_FOUND
    (territory), IN_THE_FUTURE, and BUSY while another run goes on. A run that fails is marked FAILED, one that is
    stopped CANCELLED.
    """
    _check_right(principal)
    today = local_day(clock(), settings.organisation_timezone)
    day = as_of or today
    if day > today:
        raise Refused(Problem(Code.IN_THE_FUTURE, ("asOf",), (today,)))
    run = _Run(engine, principal, settings, clock, new_id(), day, progress or _silent, cancelled or _never)
    territories = await _territories_below(engine, territory_id)
    await run.begin(territory_id)
    beat = asyncio.create_task(run.beat())
    try:
        summary = await run.carry_out(territories, rebuild=rebuild)
    except (_Stopped, asyncio.CancelledError) as stop:
        await asyncio.shield(run.end(RunState.CANCELLED))
        if isinstance(stop, asyncio.CancelledError):
            raise
        return run.summary(RunState.CANCELLED)
    except Refused as refused:
        await run.end(RunState.FAILED, refused.problems)
        raise
    except BaseException:
        await asyncio.shield(run.end(RunState.FAILED, (Problem(Code.INTERNAL),)))
        raise
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat
    return summary


def _check_right(principal: Principal) -> None:
    if not principal.may(Action.SCORE, Collection.SCORES):
        raise Refused(Problem(Code.NOT_PERMITTED))


def _silent(_phase: str, _done: int, _total: int) -> None:
    return None


def _never() -> bool:
    return False


async def territory_named(engine: Engine, name: str) -> str:
    """The id of a territory given by its id or path; raises NOT_FOUND."""
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT id FROM territory WHERE id = ? OR path = ?", name, name)
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("territory",)))
    return str(rows[0][0])


async def _territories_below(engine: Engine, territory_id: str | None) -> frozenset[str] | None:
    if territory_id is None:
        return None
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT id, path FROM territory")
    top = next((path for node, path in rows if node == territory_id), None)
    if top is None:
        raise Refused(Problem(Code.NOT_FOUND, ("territoryId",)))
    return frozenset(node for node, path in rows if is_at_or_below(path, top))


class _Run:
    """One run on its way: its row, its counts, and the steps in the order they are taken."""

    def __init__(
        self,
        engine: Engine,
        principal: Principal,
        settings: Settings,
        clock: Clock,
        run_id: str,
        day: str,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> None:
        self.engine, self.principal, self.settings, self.clock = engine, principal, settings, clock
        self.id, self.day, self.progress, self.cancelled = run_id, day, progress, cancelled
        self.started_ns = monotonic_ns()
        self.scored: Scored | None = None
        self.problems: tuple[Problem, ...] = ()
        self.scored_n = self.changed_n = self.removed_n = self.left_out_n = 0

    async def work(self, story: Callable[[Work], Awaitable[T]]) -> T:
        result, _ = await in_work(
            self.engine,
            self.principal,
            story,
            clock=self.clock,
            retries_max=self.settings.write_retries_max,
            door=Door.JOB,
        )
        return result

    async def begin(self, territory_id: str | None) -> None:
        """The run's row, unless another run is alive; rows of dead ones are closed."""

        async def story(work: Work) -> None:
            # whoever begins holds the clock's row, so two beginnings take turns
            await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
            running = await work.conn.fetch("SELECT id, beat_at FROM score_run WHERE state = ?", RunState.RUNNING.value)
            if any(work.now_ms - beat_at < ABANDONED_MS for _, beat_at in running):
                raise Refused(Problem(Code.BUSY, ("scoreRun",)))
            await work.conn.execute_many(
                "UPDATE score_run SET state = ?, finished_at = ? WHERE id = ?",
                [(RunState.FAILED.value, work.now_ms, dead) for dead, _ in running],
            )
            await work.conn.execute(
                "INSERT INTO score_run (id, state, as_of, table_id, models, scope, problems, customers_scored,"
                " customers_changed, milliseconds, started_at, beat_at, started_by)"
                " VALUES (?, ?, ?, '', '{}', ?, '[]', 0, 0, 0, ?, ?, ?)",
                self.id,
                RunState.RUNNING.value,
                self.day,
                canonical({"territoryId": territory_id}).decode(),
                work.now_ms,
                work.now_ms,
                work.principal.actor,
            )
            work.audit("SCORE", "scores", self.id)

        await self.work(story)

    async def beat(self) -> None:
        """Signs of life while the run goes on."""
        while True:
            await asyncio.sleep(BEAT_S)
            await self.work(
                lambda work: work.conn.execute("UPDATE score_run SET beat_at = ? WHERE id = ?", work.now_ms, self.id)
            )

    async def end(self, state: RunState, problems: Sequence[Problem] = ()) -> None:
        """The run's last word."""
        self.problems = (*self.problems, *problems)

        async def story(work: Work) -> None:
            await work.conn.execute(
                "UPDATE score_run SET state = ?, problems = ?, customers_scored = ?, customers_changed = ?,"
                " milliseconds = ?, finished_at = ? WHERE id = ?",
                state.value,
                canonical([_problem_document(problem) for problem in self.problems]).decode(),
                self.scored_n,
                self.changed_n,
                self.milliseconds,
                work.now_ms,
                self.id,
            )

        await self.work(story)

    @property
    def milliseconds(self) -> int:
        return (monotonic_ns() - self.started_ns) // 1_000_000

    def summary(self, state: RunState) -> RunSummary:
        scored = self.scored
        calibration = scored.fitted.calibration if scored else None
        return RunSummary(
            id=self.id,
            state=state,
            as_of=self.day,
            table_version=scored.published.version if scored else "",
            fit_status=calibration.purchase.status.value if calibration else "",
            level=calibration.level if calibration else 1.0,
            level_measured=calibration.level_measured if calibration else False,
            refit=scored.refit.value if scored else "",
            customers_scored=self.scored_n,
            customers_changed=self.changed_n,
            customers_removed=self.removed_n,
            left_out_n=self.left_out_n,
            milliseconds=self.milliseconds,
            problems=self.problems,
        )

    def check(self) -> None:
        if self.cancelled():
            raise _Stopped

    async def carry_out(self, territories: frozenset[str] | None, *, rebuild: bool) -> RunSummary:
        """Count, read, compute, write; each is told to `progress`."""
        await self._count(rebuild)
        self.check()
        self.progress("READ", 0, 1)
        snapshot = await self._read(territories)
        self.progress("READ", 1, 1)
        self.check()
        self.progress("COMPUTE", 0, 1)
        night, kept = await asyncio.to_thread(self._gather, snapshot)
        scored = await asyncio.to_thread(score_night, night)
        self.progress("COMPUTE", 1, 1)
        self.check()
        self.scored = scored
        within = _within(snapshot, kept, territories)
        self.scored_n = int(within.sum())
        await self._publish(scored, night.uplift, snapshot.heads.places)
        await self._write(snapshot, night, scored, kept, within)
        if territories is None:
            await self._remove(snapshot.unqualified)
        await self.end(RunState.FINISHED)
        return self.summary(RunState.FINISHED)

    async def _count(self, rebuild: bool) -> None:
        """The purchases are what the orders say: orders put into the tables past all works are found here."""
        if not rebuild:
            async with self.engine.read() as conn:
                rebuild = await account_differs(conn)
        if rebuild:
            await rebuild_purchases(
                self.engine,
                self.principal,
                clock=self.clock,
                retries_max=self.settings.write_retries_max,
                progress=self._counted,
            )

    def _counted(self, customers_n: int) -> None:
        self.progress("COUNT", customers_n, 0)
        self.check()

    async def _read_purchases(self, conn: Connection, ids: Sequence[str]) -> PurchaseColumns:
        read = PurchasesRead()
        async for first, page, rows in purchase_pages(conn, ids, self.day):
            await asyncio.to_thread(read.take, first, page, rows)
            self.check()
        return read.columns(await read_rates(conn))

    async def _read(self, territories: frozenset[str] | None) -> _Snapshot:
        async with self.engine.read() as conn:
            crowd = await crowd_of(conn, self.day)
            heads = await read_heads(conn, crowd)
            year, quarter = quarter_of_day(self.day)
            tables = await conn.fetch("SELECT id, version, tables FROM priority_table ORDER BY id DESC")
            fits = await conn.fetch(
                "SELECT models FROM score_run WHERE models <> '{}' ORDER BY started_at DESC LIMIT 1"
            )
            held = [row for row in tables if row[1].startswith(f"{year}Q{quarter}-")]
            return _Snapshot(
                crowd=crowd,
                heads=heads,
                purchases=await self._read_purchases(conn, heads.ids),
                habits=await read_habits(conn, crowd, len(heads.ids)),
                facts=await read_facts(conn, crowd),
                feedback=await read_feedback(conn, crowd),
                stored=await read_stored_scores(conn, crowd),
                unqualified=await read_unqualified(conn),
                published=(held[0][0], held[0][1], held[0][2]) if held else None,
                versions=[row[1] for row in tables],
                models=fits[0][0] if fits else None,
                policy=await read_policy_in_force(conn),
                programmes=await read_programmes(conn, self.day),
                territories=territories,
            )

    def _gather(self, found: _Snapshot) -> tuple[Night, IntArray]:
        """Rows into the columns of the customers to be scored, and which of the heads those are."""
        heads, customers_n = found.heads, len(found.heads.ids)
        sales = sales_of_purchases(found.purchases, customers_n=customers_n, currency=self.settings.reporting_currency)
        self.left_out_n = int(sales.left_out.sum())
        self.problems = tuple(
            Problem(Code.NO_EXCHANGE_RATE, (currency,), params={"currency": currency, "count": count})
            for currency, count in sorted(sales.missing.items())
        )
        kept = np.flatnonzero(~sales.left_out)
        told = only_of(feedback_of(found.feedback, self.day, self.settings.reporting_currency), ~sales.left_out)
        cases, answers = evidence_ids(told)
        facts = take_facts(facts_of(found.facts, heads, found.crowd), kept)
        year, quarter = quarter_of_day(self.day)
        margin = self.settings.default_margin_bp
        published = None if found.published is None else _published(found.published)
        night = Night(
            as_of=self.day,
            quarter=f"{year}Q{quarter}",
            orders=only(sales.orders, ~sales.left_out),
            kind=heads.kind[kept],
            peer_group=heads.peer_group[kept],
            cadence_days=_take(heads.cadence_days, kept),
            breadth_n=_take(found.habits.breadth_n, kept),
            season_close_day=_take(found.habits.season_close_day, kept),
            has_preorder_history=_take(found.habits.has_preorder_history, kept),
            facts=replace(facts, case_ids=cases, answer_ids=answers),
            stored=_take_stored(stored_scores_of(found.stored, customers_n), kept),
            currency=self.settings.reporting_currency,
            published=published,
            table_id=found.published[0] if found.published else "",
            new_version=next_version(f"{year}Q{quarter}", found.versions),
            new_table_id=new_id(),
            fitted=_fitted(found.models),
            default_margin=None if margin is None else margin / BASIS_POINTS,
            visit_cost_minor=self.settings.visit_cost_minor,
            policy=found.policy,
            feedback=told,
            uplift=uplift_from(found.programmes, self.settings),
        )
        return night, kept

    async def _publish(self, scored: Scored, uplift: VisitUplift, places: Sequence[str]) -> None:
        """The table before the scores that name it, and what the models were fitted to."""

        async def story(work: Work) -> None:
            if scored.published_anew:
                await work.conn.execute(
                    "INSERT INTO priority_table (id, version, tables, created_at) VALUES (?, ?, ?, ?)",
                    scored.table_id,
                    scored.published.version,
                    canonical(scored.published.document()).decode(),
                    work.now_ms,
                )
                work.touched("priorityTables", scored.table_id)
            models = {
                "calibration": scored.fitted.document(),
                "refit": scored.refit.value,
                "refitAccepted": scored.refit_accepted,
                "frontiers": frontier_documents(scored.frontiers, places),
                "typicalIntervalDays": scored.typical_interval_days,
                "visitUplift": uplift.document(),
            }
            await work.conn.execute(
                "UPDATE score_run SET table_id = ?, models = ? WHERE id = ?",
                scored.table_id,
                canonical(models).decode(),
                self.id,
            )

        await self.work(story)

    async def _write(
        self, snapshot: _Snapshot, night: Night, scored: Scored, kept: IntArray, within: np.ndarray
    ) -> None:
        changed = np.flatnonzero(scored.changed & within)
        remembered = np.flatnonzero(scored.remembered & within)
        total, size = int(changed.size), self.settings.score_rows_per_work
        for start in range(0, total, size):
            self.check()
            rows = changed[start : start + size]
            prepared = await asyncio.to_thread(_prepare, self.id, snapshot.heads.ids, night, scored, kept, rows)
            self.changed_n += await self.work(lambda work, prepared=prepared: _save(work, prepared))  # type: ignore[misc]
            self.progress("WRITE", min(start + size, total), total)
        states = [scored.numbers[name].values[remembered].tolist() for name in _STATES]
        ids = [snapshot.heads.ids[row] for row in kept[remembered].tolist()]
        for start in range(0, len(ids), size):
            part = slice(start, start + size)
            batch = list(zip(*(column[part] for column in states), [self.day] * size, ids[part], strict=False))
            await self.work(
                lambda work, batch=batch: work.conn.execute_many(  # type: ignore[misc]
                    "UPDATE customer_score SET segment_state = ?, segment_state_before = ?, segment_counted_on = ?"
                    " WHERE customer_id = ?",
                    batch,
                )
            )

    async def _remove(self, ids: Sequence[str]) -> None:
        """Scores of customers that no longer qualify, with their tombstones."""
        size = self.settings.score_rows_per_work
        for start in range(0, len(ids), size):
            batch = list(ids[start : start + size])

            async def story(work: Work, batch: list[str] = batch) -> None:
                await work.conn.execute("DELETE FROM score_line WHERE customer_id = ANY(?)", batch)
                await work.conn.execute("DELETE FROM customer_score WHERE customer_id = ANY(?)", batch)
                for customer_id in batch:
                    work.deleted("scores", customer_id)

            await self.work(story)
            self.removed_n += len(batch)


_STATES = ("segment_state", "segment_state_before")
_NUMBERS = (
    "priority",
    "existing_value_minor",
    "potential_minor",
    "loyalty_hundredths",
    "satisfaction_hundredths",
    "churn_risk_bp",
    "past_value_minor",
    "future_value_minor",
    "coverage_bp",
    "confidence_bp",
    *_STATES,
)
_TEXTS = (
    "table_id",
    "segment",
    "segment_since",
    "previous_segment",
    "segment_cause",
    "stage",
    "basis",
    "currency",
    "evidence",
    "segment_counted_on",
    "questions",
)
_COLUMNS = ("customer_id", "run_id", "territory_id", "as_of", "facts", *_NUMBERS, *_TEXTS, "measures")
_UPSERT = (
    f"INSERT INTO customer_score ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' for _ in _COLUMNS)})"
    " ON CONFLICT (customer_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "customer_id")
)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Scores ready to be written: customer id → the values of `_COLUMNS` after the territory, and the lines."""

    ids: list[str]
    run_id: str
    as_of: str
    facts: list[str]
    values: list[tuple[object, ...]]
    lines: list[list[tuple[int, str, int, bool, str, str]]]
    moves: list[tuple[str, str | None, str, str]]
    """(customer, segment before or None, segment, cause) of those whom this night moved"""


def _prepare(
    run_id: str, all_ids: Sequence[str], night: Night, scored: Scored, kept: IntArray, rows: IntArray
) -> _Prepared:
    columns, places = scored.columns, rows.tolist()
    numbers = [_take(scored.numbers[name], rows).tolist() for name in _NUMBERS]
    texts: list[list[str | None]] = [[scored.texts[name][row] for row in places] for name in _TEXTS]
    texts[_TEXTS.index("previous_segment")] = [value or None for value in texts[_TEXTS.index("previous_segment")]]
    lines = [
        [
            (place, line.code.value, line.points, line.recorded, *_line_texts(line))
            for place, line in enumerate(explain(columns.priority, row, night.facts.evidence(row)))
        ]
        for row in places
    ]
    measures = [canonical(one).decode() for one in measure_documents(scored.proof, places)]
    return _Prepared(
        ids=[all_ids[row] for row in kept[rows].tolist()],
        run_id=run_id,
        as_of=night.as_of,
        facts=[canonical(document).decode() for document in fact_documents(columns.priority_inputs, places)],
        values=list(zip(*numbers, *texts, measures, strict=True)),
        lines=lines,
        moves=_moves(all_ids, scored, kept, places),
    )


def _moves(
    all_ids: Sequence[str], scored: Scored, kept: IntArray, places: Sequence[int]
) -> list[tuple[str, str | None, str, str]]:
    segment, texts = scored.columns.segment, scored.texts
    return [
        (
            all_ids[int(kept[row])],
            texts["previous_segment"][row] or None,
            texts["segment"][row],
            texts["segment_cause"][row],
        )
        for row in places
        if segment.code[row] != segment.previous_code[row]
    ]


def _line_texts(line: Line) -> tuple[str, str]:
    return canonical(line.numbers).decode(), canonical(list(line.evidence)).decode()


async def _save(work: Work, prepared: _Prepared) -> int:
    """Write scores with their lines; customers deleted meanwhile are skipped. Returns how many."""
    # as they stand now: somebody may have moved since the snapshot
    territories: dict[str, str | None] = dict(
        await work.conn.fetch(
            "SELECT id, territory_id FROM customer WHERE id = ANY(?) ORDER BY id FOR SHARE", prepared.ids
        )
    )
    existing = {
        row[0]
        for row in await work.conn.fetch(
            "SELECT customer_id FROM customer_score WHERE customer_id = ANY(?)", prepared.ids
        )
    }
    ids = [customer_id for customer_id in prepared.ids if customer_id in territories]
    await work.conn.execute_many(
        _UPSERT,
        [
            (customer_id, prepared.run_id, territories[customer_id], prepared.as_of, facts, *values)
            for customer_id, facts, values in zip(prepared.ids, prepared.facts, prepared.values, strict=True)
            if customer_id in territories
        ],
    )
    await work.conn.execute("DELETE FROM score_line WHERE customer_id = ANY(?)", ids)
    await work.conn.execute_many(
        "INSERT INTO score_line (id, customer_id, position, code, points, recorded, numbers, evidence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (new_id(), customer_id, *line)
            for customer_id, lines in zip(prepared.ids, prepared.lines, strict=True)
            if customer_id in territories
            for line in lines
        ],
    )
    await write_moves(
        work.conn,
        prepared.run_id,
        prepared.as_of,
        ids,
        [move for move in prepared.moves if move[0] in territories],
    )
    for customer_id in ids:
        work.touched("scores", customer_id, (WHOLE,) if customer_id in existing else None)
    return len(ids)


def _problem_document(problem: Problem) -> dict[str, object]:
    return {"code": problem.code.value, "path": list(problem.path), "params": dict(problem.params)}


def _published(row: tuple[str, str, str]) -> Published:
    return published_of(row[1], orjson.loads(row[2]))


def _fitted(models: str | None) -> Fitted | None:
    return None if models is None else fitted_of(orjson.loads(models)["calibration"])


def _within(snapshot: _Snapshot, kept: IntArray, territories: frozenset[str] | None) -> np.ndarray:
    """(kept,) True for customers whose scores this run may write."""
    if territories is None:
        return np.ones(kept.size, dtype=np.bool_)
    of = snapshot.heads.territory_id
    return np.array([of[row] in territories for row in kept.tolist()], dtype=np.bool_)


def _take(column: IntColumn, rows: IntArray) -> IntColumn:
    return IntColumn(column.values[rows], column.known[rows])


def _take_stored(stored: StoredScores, rows: IntArray) -> StoredScores:
    places = rows.tolist()
    return StoredScores(
        scored=stored.scored[rows],
        numbers={name: _take(column, rows) for name, column in stored.numbers.items()},
        texts={name: [column[row] for row in places] for name, column in stored.texts.items()},
        facts=[stored.facts[row] for row in places],
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
    tasks) by the whole-number rule devices use, so both agree. An override in force ranks a customer elsewhere, a
    skip of the caller's own behind all others; the computed score stays beside it. Customers without a score compete
    through the lines they have; those closed on that weekday are left out. `principal` None is the operator at the
    server itself, who sees everything. Raises NOT_PERMITTED, NOT_FOUND (a territory outside the caller's scope) and
    OUT_OF_RANGE.
    """
    if principal is not None and not principal.reads("scores"):
        raise Refused(Problem(Code.NOT_PERMITTED))
    if not 1 <= first <= settings.page_rows_max:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("first",), ("1", str(settings.page_rows_max))))
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
        facts = await read_facts(conn, crowd)
        seen = principal is None or principal.reads("judgements")
        judged = _Judged(await judgements_on(conn, crowd) if seen else {}, principal.user_id if principal else None)
        found = await asyncio.to_thread(_rank, heads, crowd, facts, rows, tables, judged, first)
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
    inputs = with_cadence(as_inputs(documents, day_facts), agreed)
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
    items = tuple(
        VisitPriority(
            rank=place + 1,
            customer_id=heads.ids[row],
            names={},
            score=int(score[row]),
            scored=bool(scored[row]),
            lines=explain(by_table[table_of[row]], row, day_facts.evidence(row)),
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
