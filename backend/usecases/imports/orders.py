"""Order history from other systems, taken over in chunks: one transaction each, and a run cut short goes on.

What a file, a system and the options name is one batch: sent again it is answered, not done again. What an
outside id names is one order: sent again with equal content it is unchanged, with other content ID_TAKEN and
left as it stands. Rows of an order file make customers and never change them, but for the day of the first and
the moment of the last order.
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.config import Settings
from backend.domain.imports import ORDER_ID_COLUMN, CheckedRow, ImportState
from backend.domain.permissions import Action, Collection, Role, may
from backend.errors import Code, Problem, Refused
from backend.integrations.tables import Table
from backend.storage.engine import Engine
from backend.storage.imports import (
    ORDERS_KIND,
    Batch,
    FailedRow,
    active_user,
    advance_batch,
    attempts,
    batch_of,
    count_batches,
    customers_made,
    failed_rows,
    insert_batch,
    save_failed,
    visible_batch,
    visible_batches,
)
from backend.sync.work import Door, Work, in_work
from backend.usecases.imports.plans import apply_plan, plan_chunk
from backend.usecases.imports.wishes import ImportWish, Run, prepare

T = TypeVar("T")
BATCH_NAMESPACE = uuid.UUID("6a1f6c1e-4d0b-5b0c-9d0e-5e17ed9e0001")
Progress = Callable[[int, int], None]
"""Told after each chunk: rows done, rows in all."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file. A dry run has no batch and says what would become of it.

    `failed`: the first failed rows by number, as many as were asked for; `repeated`: this content was done before.
    """

    batch: Batch | None
    rows_total: int
    orders_created: int
    rows_unchanged: int
    rows_failed: int
    customers_created: int
    failed: tuple[FailedRow, ...]
    repeated: bool = False


async def import_orders(
    engine: Engine,
    principal: Principal,
    table: Table,
    wish: ImportWish,
    *,
    settings: Settings,
    clock: Clock,
    failed_max: int,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Take over a file of orders; one bad row never stops the rest.

    Raises, all at once and before anything is written: NOT_PERMITTED; UNKNOWN_COLUMN, REQUIRED and
    INVALID_VALUE for the mapping and options; NOT_FOUND and NOT_ALLOWED_VALUE for the territory.
    """
    for collection in (Collection.ORDERS, Collection.CUSTOMERS):
        if principal.role is None or not may(principal.role, Action.IMPORT, collection):
            raise Refused(Problem(Code.NOT_PERMITTED))
    run = await prepare(engine, principal, table, wish, settings)
    tell = progress or _silent
    if dry_run:
        return await _rehearse(engine, principal, table, run, settings, clock(), failed_max, tell)
    batch, repeated = await _begin(engine, principal, table, wish, run, settings, clock)
    if batch.state == ImportState.RUNNING:
        batch = await _carry_out(engine, principal, table, run, batch, settings, clock, tell)
    return await _report(engine, batch, failed_max, repeated)


async def derived_ids(
    engine: Engine, principal: Principal, table: Table, wish: ImportWish, *, settings: Settings, clock: Clock
) -> dict[int, str]:
    """Row number → derived outside id, to be kept by rows that are sent again alone; none where a column of the
    file's own gives the ids."""
    run = await prepare(engine, principal, table, wish, settings)
    given = run.columns.get("orderId")
    if given is not None and table.header[given] != ORDER_ID_COLUMN:
        return {}
    return {row.number: row.external for row in run.checked(table, clock()) if row.external is not None}


@dataclass(frozen=True, slots=True)
class ImportPage:
    """Some of the imports one sees, the latest first, without their failed rows; `total`: how many there are."""

    imports: tuple[ImportReport, ...]
    more: bool
    total: int


async def list_imports(
    engine: Engine, principal: Principal, *, first: int, after: tuple[int, str] | None = None
) -> ImportPage:
    """One's own imports and those one answers for, behind a (start, id); raises NOT_PERMITTED."""
    if not principal.reads(Collection.IMPORTS.value):
        raise Refused(Problem(Code.NOT_PERMITTED, (Collection.IMPORTS.value,)))
    async with engine.read() as conn:
        batches = await visible_batches(conn, principal, limit=first + 1, before=after)
        customers = await customers_made(conn, [batch.id for batch in batches])
        total = await count_batches(conn, principal)
    reports = [_summary(batch, customers[batch.id], repeated=True) for batch in batches[:first]]
    return ImportPage(tuple(reports), len(batches) > first, total)


async def read_import(engine: Engine, principal: Principal, batch_id: str) -> ImportReport | None:
    """One import as it stands, without its failed rows; None when the principal may not see it."""
    if not principal.reads(Collection.IMPORTS.value):
        return None
    async with engine.read() as conn:
        batch = await visible_batch(conn, principal, batch_id)
        customers = await customers_made(conn, [batch_id])
    return _summary(batch, customers[batch_id], repeated=True) if batch else None


async def read_failed(
    engine: Engine, principal: Principal, batch_id: str, *, first: int, after: int = 0
) -> tuple[FailedRow, ...]:
    """The failed rows of an import one sees, by row number, those behind row `after`."""
    async with engine.read() as conn:
        if await visible_batch(conn, principal, batch_id) is None:
            return ()
        return tuple(await failed_rows(conn, batch_id, limit=first, after=after))


async def importer(engine: Engine, email: str | None) -> Principal:
    """Who imports from the server's own command line: the active user of an e-mail, else the first administrator.

    Raises NOT_FOUND.
    """
    async with engine.read() as conn:
        found = await active_user(conn, email, fallback_role=Role.ADMIN.value)
    if found is None:
        raise Refused(Problem(Code.NOT_FOUND, ("as",)))
    user_id, role = found
    return Principal(PrincipalKind.STAFF, user_id=user_id, role=Role(role))


def _silent(_done: int, _total: int) -> None:
    return None


async def _begin(
    engine: Engine,
    principal: Principal,
    table: Table,
    wish: ImportWish,
    run: Run,
    settings: Settings,
    clock: Clock,
) -> tuple[Batch, bool]:
    """The batch of this content, begun now or before, and whether it was done before.

    Its id follows from the content, so two who begin it at the same moment begin one.
    """

    async def story(work: Work) -> tuple[Batch, bool]:
        undone = await attempts(work.conn, table.sha256, run.system, run.mapping)
        name = "\0".join((table.sha256, run.system, run.mapping, str(undone)))
        batch_id = str(uuid.uuid5(BATCH_NAMESPACE, name))
        before = await batch_of(work.conn, batch_id)
        if before is not None:
            return before, before.state == ImportState.DONE
        await insert_batch(
            work.conn,
            Batch(
                id=batch_id,
                kind=ORDERS_KIND,
                system=run.system,
                file_name=wish.file_name[-200:],
                file_sha256=table.sha256,
                mapping=run.mapping,
                state=ImportState.RUNNING.value,
                rows_total=table.rows_total,
                rows_created=0,
                rows_unchanged=0,
                rows_failed=0,
                started_at=work.now_ms,
                finished_at=None,
                undone_at=None,
                started_by=principal.actor,
            ),
        )
        work.audit("IMPORT", Collection.IMPORTS.value, batch_id)
        begun = await batch_of(work.conn, batch_id)
        assert begun is not None
        return begun, False

    return await _in_work(engine, principal, story, settings, clock)


async def _in_work(
    engine: Engine, principal: Principal, story: Callable[[Work], Awaitable[T]], settings: Settings, clock: Clock
) -> T:
    result, _ = await in_work(
        engine, principal, story, clock=clock, retries_max=settings.write_retries_max, door=Door.IMPORT
    )
    return result


async def _carry_out(
    engine: Engine,
    principal: Principal,
    table: Table,
    run: Run,
    batch: Batch,
    settings: Settings,
    clock: Clock,
    tell: Progress,
) -> Batch:
    """Every chunk that is not done yet. Rows are counted in the chunk's own transaction, so none is done twice."""
    batch_id, at = batch.id, batch.rows_done
    rows = islice(run.checked(table, clock()), at, None)
    tell(at, batch.rows_total)
    while chunk := list(islice(rows, settings.import_chunk_rows)):
        first = at
        at += len(chunk)

        async def story(work: Work, chunk: Sequence[CheckedRow] = chunk, first: int = first) -> Batch:
            return await _write_chunk(work, run, batch_id, chunk, first)

        batch = await _in_work(engine, principal, story, settings, clock)
        tell(at, batch.rows_total)
    return batch


async def _write_chunk(work: Work, run: Run, batch_id: str, chunk: Sequence[CheckedRow], first: int) -> Batch:
    """Rows `first`, `first` + 1, … of the file, less those somebody running the same batch has done meanwhile."""
    work.cause_id = batch_id
    batch = await batch_of(work.conn, batch_id, lock=True)
    if batch is not None and batch.state == ImportState.DONE:
        return batch
    if batch is None or batch.state != ImportState.RUNNING:
        state = batch.state if batch else ImportState.UNDONE.value
        enum = {"enum": ImportState.__name__, "state": state}
        raise Refused(Problem(Code.NOT_EDITABLE, ("state",), (ImportState.RUNNING.value,), enum))
    rows = chunk[max(batch.rows_done - first, 0) :]
    plan = await plan_chunk(work, run, rows, lock=True)
    await apply_plan(work, run, plan, batch_id)
    await save_failed(work.conn, batch_id, plan.failed)
    done = batch.rows_done + len(rows) == batch.rows_total
    await advance_batch(
        work.conn,
        batch_id,
        created=len(plan.orders),
        unchanged=plan.unchanged,
        failed=len(plan.failed),
        state=(ImportState.DONE if done else ImportState.RUNNING).value,
        finished_at=work.now_ms if done else None,
    )
    after = await batch_of(work.conn, batch_id)
    assert after is not None
    return after


async def _rehearse(
    engine: Engine,
    principal: Principal,
    table: Table,
    run: Run,
    settings: Settings,
    now_ms: int,
    failed_max: int,
    tell: Progress,
) -> ImportReport:
    """What the import would do, by the same plans, in reading snapshots."""
    rows = run.checked(table, now_ms)
    created = unchanged = failed = done = 0
    kept: list[FailedRow] = []
    new_codes: set[str] = set()
    while chunk := list(islice(rows, settings.import_chunk_rows)):
        async with engine.read() as conn:
            plan = await plan_chunk(Work(conn, principal, now_ms, Door.IMPORT), run, chunk, lock=False)
        created += len(plan.orders)
        unchanged += plan.unchanged
        failed += len(plan.failed)
        new_codes |= plan.new.keys()
        kept += plan.failed[: failed_max - len(kept)]
        done += len(chunk)
        tell(done, table.rows_total)
    return ImportReport(None, table.rows_total, created, unchanged, failed, len(new_codes), tuple(kept))


async def _report(engine: Engine, batch: Batch, failed_max: int, repeated: bool) -> ImportReport:
    async with engine.read() as conn:
        failed = await failed_rows(conn, batch.id, limit=failed_max)
        customers = await customers_made(conn, [batch.id])
    return replace(_summary(batch, customers[batch.id], repeated=repeated), failed=tuple(failed))


def _summary(batch: Batch, customers_created: int, *, repeated: bool) -> ImportReport:
    return ImportReport(
        batch,
        batch.rows_total,
        batch.rows_created,
        batch.rows_unchanged,
        batch.rows_failed,
        customers_created,
        (),
        repeated,
    )
