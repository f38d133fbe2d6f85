"""From order history to "visit this customer today, because…": score runs.

A run reads one snapshot page by page, computes off the event loop and writes only what changed, in works of bounded
size. Each written score is right by itself, so a run that ended early is taken up by simply running again.
"""

import asyncio
from asyncio import sleep
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.config import Settings
from backend.domain.arrays import BASIS_POINTS
from backend.domain.frozen import frontier_documents, next_version
from backend.domain.nightly import Night, Scored, score_night
from backend.domain.permissions import Action, Collection, Role
from backend.domain.score_runs import RunState
from backend.domain.times import local_day, quarter_of_day
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.integrations.apart import ChildFailed, told_apart
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine
from backend.storage.holding import territories_below
from backend.storage.night import NightColumns, NightRead, night_pages, scored_customers_n
from backend.storage.nights_before import NightsBefore, read_nights_before
from backend.storage.purchases import account_differs
from backend.storage.visit_holdouts import uplift_from
from backend.sync.documents import canonical
from backend.sync.purchases import rebuild_purchases
from backend.sync.run_stops import ask_to_stop, hearing_stops
from backend.sync.runs import KeptRun, Progress, problem_document, problem_of
from backend.sync.score_writes import prepare_scores, remove_scores, save_scores, save_states, states_of
from backend.sync.work import Work

ASK_S = 0.25
"""While something is computed, so often a run asks whether it is to end."""
TURN_S = 0.1
"""SQLite does not queue its writers: who waits asks every tenth of a second at most, and must find nobody there."""
S = TypeVar("S")
T = TypeVar("T")


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


@dataclass(slots=True)
class _Found:
    """What a run has done so far, as `RunSummary` tells it."""

    table_version: str = ""
    fit_status: str = ""
    level: float = 1.0
    level_measured: bool = False
    refit: str = ""
    customers_scored: int = 0
    customers_changed: int = 0
    customers_removed: int = 0
    left_out_n: int = 0


class _Stopped(Exception):
    """The caller asked to end the run."""


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
    apart: Sequence[str] | None = None,
    alone: bool = True,
) -> RunSummary:
    """Score the organisation as of a local day (today), write what changed, and say so.

    Models, peers and tables always come from the whole organisation; `territory_id` limits what is written to
    the customers of that subtree. A currency without an exchange rate leaves its customers as they were, and
    the summary names it (NO_EXCHANGE_RATE). The purchases kept of every customer are what is read; where they do
    not account for the orders, or with `rebuild`, they are counted anew before.
    `progress` is told of the phases COUNT, READ, COMPUTE and WRITE. `apart`: the command of a process that carries the
    run out (`carry_out_order`), so that whoever is served here need not wait for the interpreter; None: here.
    `alone`: False where another process may be writing to the same database, and is to have its turn too.
    Raises NOT_PERMITTED, NOT_FOUND (territory), IN_THE_FUTURE, and BUSY while another run goes on. A run that fails is
    marked FAILED, one that is stopped CANCELLED: by `cancelled`, or by whoever asked (`cancel_scores`).
    """
    if not principal.may(Action.SCORE, Collection.SCORES):
        raise Refused(Problem(Code.NOT_PERMITTED))
    today = local_day(clock(), settings.organisation_timezone)
    day = as_of or today
    if day > today:
        raise Refused(Problem(Code.IN_THE_FUTURE, ("asOf",), (today,)))
    territories = await territories_below(engine, territory_id)
    run = _Run(engine, principal, settings, clock, day, progress or _silent, cancelled or _never, alone=alone)
    await run.begin(territory_id)
    async with run.row.alive(), hearing_stops(engine, run.row) as asked:
        run.asked = asked
        try:
            if apart is None:
                await run.carry_out(territories, rebuild=rebuild)
            else:
                await run.carry_out_apart(apart, territory_id, rebuild=rebuild)
        except _Stopped:
            return await run.end(RunState.CANCELLED)
        return await run.end(RunState.FINISHED)


async def cancel_scores(work: Work, run_id: str | None = None) -> str:
    """Ask a score run to end, wherever it goes on, and hand back its id; `run_id` None: the one that goes on.

    It ends at its next page or batch, a computation is left where it is. What it wrote until then is right and stays;
    running again writes the rest. Who asked is in the audit. Raises NOT_PERMITTED for those who may not score,
    NOT_FOUND (no such run, or none goes on), INVALID_TRANSITION for one that has ended.
    """
    if not work.principal.may(Action.SCORE, Collection.SCORES):
        raise Refused(Problem(Code.NOT_PERMITTED))
    return await ask_to_stop(work, "score_run", "scores", run_id)


async def carry_out_order(
    engine: Engine,
    order: Mapping[str, Any],
    *,
    settings: Settings,
    clock: Clock,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    """In a process of its own: the run that `run_scores` has begun, and the last word on it."""
    principal = Principal(
        PrincipalKind(order["principal"]["kind"]),
        **{name: order["principal"][name] for name in _PRINCIPAL},
        role=None if order["principal"]["role"] is None else Role(order["principal"]["role"]),
    )
    run = _Run(engine, principal, settings, clock, order["day"], progress, cancelled, alone=False)
    run.row.id = order["id"]
    state, refused = RunState.FINISHED, []
    try:
        await run.carry_out(await territories_below(engine, order["territoryId"]), rebuild=order["rebuild"])
    except _Stopped:
        state = RunState.CANCELLED
    except Refused as error:
        state, refused = RunState.FAILED, [problem_document(problem) for problem in error.problems]
    return {
        "last": state.value,
        "found": asdict(run.found),
        "problems": [problem_document(problem) for problem in run.row.problems],
        "refused": refused,
    }


_PRINCIPAL = ("user_id", "device_id", "service_id", "contact_id", "locale")
_NOT_HANDED_ON = {"root_secret", "metrics_token", "cursor_secret", "oidc_client_secret"}
"""Settings that a run asks nothing of."""


def _silent(_phase: str, _done: int, _total: int) -> None:
    return None


def _never() -> bool:
    return False


class _Run:
    """One run on its way: its row, its counts, and the steps in the order they are taken."""

    def __init__(
        self,
        engine: Engine,
        principal: Principal,
        settings: Settings,
        clock: Clock,
        day: str,
        progress: Progress,
        cancelled: Callable[[], bool],
        *,
        alone: bool,
    ) -> None:
        self.turn_s = 0.0 if alone or engine.dialect is not Dialect.SQLITE else TURN_S
        self.engine, self.principal, self.settings, self.clock = engine, principal, settings, clock
        self.day, self.progress = day, progress
        self._cancelled, self.asked = cancelled, _never
        self.row = KeptRun(engine, principal, clock, settings.write_retries_max, "score_run", "scoreRun", "scores")
        self.found = _Found()

    async def begin(self, territory_id: str | None) -> None:
        await self.row.begin(
            {
                "as_of": self.day,
                "table_id": "",
                "models": "{}",
                "scope": canonical({"territoryId": territory_id}).decode(),
                "customers_scored": 0,
                "customers_changed": 0,
            }
        )

    async def end(self, state: RunState) -> RunSummary:
        self.keep_counts()
        await self.row.end(state)
        return RunSummary(
            id=self.row.id,
            state=state,
            as_of=self.day,
            milliseconds=self.row.milliseconds,
            problems=self.row.problems,
            **asdict(self.found),
        )

    def keep_counts(self) -> None:
        """What the row will say, however the run ends."""
        self.row.found |= {
            "customers_scored": self.found.customers_scored,
            "customers_changed": self.found.customers_changed,
        }

    def cancelled(self) -> bool:
        """Whoever called has had enough, or somebody asked in the run's row."""
        return self._cancelled() or self.asked()

    def check(self) -> None:
        if self.cancelled():
            raise _Stopped

    async def carry_out(self, territories: frozenset[str] | None, *, rebuild: bool) -> None:
        """Count, read, compute, write; each is told to `progress`."""
        await self._count(rebuild)
        self.check()
        columns, before = await self._read(territories)
        self.check()
        self.progress("COMPUTE", 0, 1)
        night = self._night(columns, before)
        scored = await self._unless_cancelled(asyncio.to_thread(score_night, night))
        self.progress("COMPUTE", 1, 1)
        self.check()
        calibration, found = scored.fitted.calibration, self.found
        found.table_version, found.refit = scored.published.version, scored.refit.value
        found.fit_status = calibration.purchase.status.value
        found.level, found.level_measured = calibration.level, calibration.level_measured
        found.customers_scored = int(columns.within.sum())
        self.keep_counts()
        await self._publish(scored, night, columns.places)
        await self._write(columns, night, scored)
        if territories is None:
            await self._remove(before.unqualified)

    async def _unless_cancelled(self, computing: Coroutine[Any, Any, T]) -> T:
        """What was computed. A thread cannot be ended: whoever has had enough leaves it to itself."""
        found = asyncio.create_task(computing)
        try:
            while not (await asyncio.wait({found}, timeout=ASK_S))[0]:
                self.check()
            return found.result()
        finally:
            found.cancel()

    async def carry_out_apart(self, command: Sequence[str], territory_id: str | None, *, rebuild: bool) -> None:
        """Have it carried out by another process. Raises what it would raise here."""
        principal = self.principal
        order = {
            "id": self.row.id,
            "day": self.day,
            "territoryId": territory_id,
            "rebuild": rebuild,
            "principal": {
                "kind": principal.kind.value,
                "role": None if principal.role is None else principal.role.value,
                **{name: getattr(principal, name) for name in _PRINCIPAL},
            },
            "settings": self.settings.model_dump(mode="json", exclude_unset=True, exclude=_NOT_HANDED_ON),
        }
        try:
            last = await told_apart(
                command,
                order,
                hear=lambda told: self.progress(told["phase"], told["done"], told["total"]),
                cancelled=self.cancelled,
            )
        except ChildFailed:
            if not self.cancelled():
                raise
            # it was ended before it could say how far it came
            self.found.customers_changed = await self._written_n()
            raise _Stopped from None
        self.found = _Found(**last["found"])
        self.keep_counts()
        self.row.problems = tuple(problem_of(one) for one in last["problems"])
        if last["last"] == RunState.CANCELLED:
            raise _Stopped
        if last["last"] == RunState.FAILED:
            raise Refused(*(problem_of(one) for one in last["refused"]))

    async def _written_n(self) -> int:
        async with self.engine.read() as conn:
            rows = await conn.fetch("SELECT COUNT(*) FROM customer_score WHERE run_id = ?", self.row.id)
        return int(rows[0][0])

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

    async def _read(self, territories: frozenset[str] | None) -> tuple[NightColumns, NightsBefore]:
        """One snapshot: customers as columns, and what the nights before left."""
        async with self.engine.read() as conn:
            return await self._read_customers(conn, territories), await read_nights_before(conn, self.day)

    async def _read_customers(self, conn: Connection, territories: frozenset[str] | None) -> NightColumns:
        done, total = 0, await scored_customers_n(conn)
        self.progress("READ", done, total)
        read = NightRead(currency=self.settings.reporting_currency, territories=territories)
        async for page in night_pages(conn, self.day):
            self.check()
            await asyncio.to_thread(read.take, page)
            done += len(page.heads.ids)
            self.progress("READ", done, total)
        columns = read.columns()
        self.found.left_out_n = columns.left_out_n
        self.row.problems = tuple(
            Problem(Code.NO_EXCHANGE_RATE, (currency,), params={"currency": currency, "count": count})
            for currency, count in sorted(columns.missing.items())
        )
        return columns

    def _night(self, columns: NightColumns, before: NightsBefore) -> Night:
        habits = columns.habits
        year, quarter = quarter_of_day(self.day)
        margin = self.settings.default_margin_bp
        return Night(
            as_of=self.day,
            quarter=f"{year}Q{quarter}",
            orders=columns.orders,
            kind=columns.kind,
            peer_group=columns.peer_group,
            cadence_days=columns.cadence_days,
            breadth_n=habits.breadth_n,
            season_close_day=habits.season_close_day,
            has_preorder_history=habits.has_preorder_history,
            facts=columns.facts,
            stored=columns.stored,
            currency=self.settings.reporting_currency,
            published=before.published,
            table_id=before.table_id,
            new_version=next_version(f"{year}Q{quarter}", before.versions),
            new_table_id=new_id(),
            fitted=before.fitted,
            default_margin=None if margin is None else margin / BASIS_POINTS,
            visit_cost_minor=self.settings.visit_cost_minor,
            policy=before.policy,
            feedback=columns.feedback,
            uplift=uplift_from(before.programmes, self.settings),
        )

    async def _publish(self, scored: Scored, night: Night, places: Sequence[str]) -> None:
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
                "visitUplift": night.uplift.document(),
            }
            await work.conn.execute(
                "UPDATE score_run SET table_id = ?, models = ? WHERE id = ?",
                scored.table_id,
                canonical(models).decode(),
                self.row.id,
            )

        await self.row.work(story)

    async def _write(self, columns: NightColumns, night: Night, scored: Scored) -> None:
        changed = np.flatnonzero(scored.changed & columns.within)
        total, size = int(changed.size), self.settings.score_rows_per_work
        for start in range(0, total, size):
            self.check()
            rows = changed[start : start + size]
            prepared = await asyncio.to_thread(prepare_scores, self.row.id, columns.ids, night, scored, rows)
            self.found.customers_changed += await self.row.work(_with(save_scores, prepared))
            self.keep_counts()
            self.progress("WRITE", min(start + size, total), total)
            await sleep(self.turn_s)
        remembered = np.flatnonzero(scored.remembered & columns.within)
        for start in range(0, int(remembered.size), size):
            self.check()
            rows = remembered[start : start + size]
            await self.row.work(_with(save_states, states_of(columns.ids, night, scored, rows)))

    async def _remove(self, ids: Sequence[str]) -> None:
        size = self.settings.score_rows_per_work
        for start in range(0, len(ids), size):
            self.check()
            batch = ids[start : start + size]
            await self.row.work(_with(remove_scores, batch))
            self.found.customers_removed += len(batch)


def _with(story: Callable[[Work, S], Awaitable[T]], given: S) -> Callable[[Work], Awaitable[T]]:
    return lambda work: story(work, given)
