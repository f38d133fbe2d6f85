"""Order history from other systems, taken over in chunks: one transaction each, and a run cut short goes on.

What a file, a system and the options name is one batch: sent again it is answered, not done again. What an
outside id names is one order: sent again with equal content it is unchanged, with other content ID_TAKEN and
left as it stands. Rows of an order file make customers and never change them, but for the day of the first and
the moment of the last order.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.config import Settings
from backend.domain.customers import derived_fields
from backend.domain.fields import with_defaults
from backend.domain.imports import (
    ORDER_ID_COLUMN,
    CheckedRow,
    ImportRules,
    ImportState,
    OrderRow,
    check_rows,
    check_rules,
    map_columns,
    new_customer,
    order_line,
    order_number,
    ordered_at_ms,
    parse_system,
    since_day,
)
from backend.domain.orders import ORDER, OrderSource, OrderState
from backend.domain.permissions import Action, Collection, Role, may
from backend.domain.territories import AssignmentSource, TerritoryKind
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import new_id
from backend.integrations.tables import Table
from backend.storage.customers import TIMEZONE_DEFAULT, note_last
from backend.storage.engine import Connection, Engine, SerializationFailure
from backend.storage.imports import (
    ORDERS_KIND,
    Batch,
    FailedRow,
    OrderHead,
    active_user,
    advance_batch,
    attempts,
    batch_of,
    claim_externals,
    count_batches,
    customers_by_code,
    customers_made,
    dated_by_people,
    existing,
    failed_rows,
    insert_batch,
    order_heads,
    records_by_external,
    release_externals,
    save_failed,
    save_linked,
    save_since,
    scopes_held,
    territories_named,
    visible_batch,
    visible_batches,
)
from backend.sync.changes import Change, Draft, Intent, load_records, open_drafts, save_drafts
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import canonical
from backend.sync.work import Door, Work, in_work

T = TypeVar("T")
BATCH_NAMESPACE = uuid.UUID("6a1f6c1e-4d0b-5b0c-9d0e-5e17ed9e0001")
TERRITORIES_NAMED_MAX = 20
Progress = Callable[[int, int], None]
"""Told after each chunk: rows done, rows in all."""


@dataclass(frozen=True, slots=True)
class ImportWish:
    """What the caller says about a file of orders.

    `columns`: target → column name, see `domain/imports.TARGETS`; `territory`: path or id of the patch for new
    customers; `match_codes`: find customers by our own customer code where the system's code is not known yet.
    """

    file_name: str
    system: str
    columns: Mapping[str, str] = field(default_factory=dict)
    currency: str | None = None
    kind: str | None = None
    territory: str | None = None
    match_codes: bool = False


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


@dataclass(frozen=True, slots=True)
class Home:
    """Where a new customer goes: a patch, or nowhere yet; days there are judged in `timezone`."""

    territory_id: str | None
    timezone: str


@dataclass(frozen=True, slots=True)
class Run:
    """What stays the same from the first chunk to the last."""

    system: str
    rules: ImportRules
    columns: Mapping[str, int]
    home: Home | None
    match_codes: bool

    @property
    def mapping(self) -> str:
        """The options as they name a batch."""
        options = {
            "columns": dict(self.columns),
            "currency": self.rules.currency,
            "kind": self.rules.kind,
            "matchCodes": self.match_codes,
            "territoryId": self.home.territory_id if self.home else None,
            "timezone": self.rules.timezone,
        }
        return canonical(options).decode()

    def checked(self, table: Table, now_ms: int) -> Iterator[CheckedRow]:
        numbered = ((row.number, row.cells) for row in table.rows())
        return check_rows(numbered, columns=self.columns, width=len(table.header), rules=self.rules, now_ms=now_ms)


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
    run = await _prepare(engine, principal, table, wish, settings)
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
    run = await _prepare(engine, principal, table, wish, settings)
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


async def _prepare(engine: Engine, principal: Principal, table: Table, wish: ImportWish, settings: Settings) -> Run:
    columns, problems = map_columns(table.header, wish.columns)
    rules, found = check_rules(
        currency=wish.currency, kind=wish.kind, timezone=settings.organisation_timezone, columns=columns
    )
    problems += found
    system = wish.system
    try:
        system = parse_system(wish.system)
    except Refused as refused:
        problems += [problem.under("system") for problem in refused.problems]
    async with engine.read() as conn:
        try:
            home = await _home(conn, principal, wish.territory, rules.timezone, by_row="territory" in columns)
        except Refused as refused:
            problems += refused.problems
            home = None
    refuse_if(problems)
    return Run(system, rules, columns, home, wish.match_codes)


async def _home(
    conn: Connection, principal: Principal, territory: str | None, timezone: str, *, by_row: bool
) -> Home | None:
    """Where new customers go whose rows do not say: the territory named, else the only patch held, else nowhere."""
    if territory:
        named = await territories_named(conn, principal, [territory])
        return _as_home(named.get(territory), "territory")
    scopes = await scopes_held(conn, principal)
    patches = sorted(scope.removeprefix("territory:") for scope in scopes if scope.startswith("territory:"))
    if len(patches) == 1:
        return _as_home((await territories_named(conn, principal, patches))[patches[0]], "territory")
    if "unassigned" in scopes:
        return Home(None, timezone)
    if by_row:
        return None
    paths = sorted(name for name in await territories_named(conn, principal, patches) if name.startswith("/"))
    raise Refused(Problem(Code.REQUIRED, ("territory",), tuple(paths[:TERRITORIES_NAMED_MAX])))


def _as_home(found: tuple[str, str, str, bool] | None, *path: str) -> Home:
    if found is None:
        raise Refused(Problem(Code.NOT_FOUND, path))
    territory_id, kind, timezone, held = found
    if kind != TerritoryKind.PATCH:
        enum = {"enum": TerritoryKind.__name__}
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, path, (TerritoryKind.PATCH.value,), enum))
    if not held:
        raise Refused(Problem(Code.NOT_FOUND, path))
    return Home(territory_id, timezone)


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
    plan = await _plan(work, run, rows, lock=True)
    await _apply(work, run, plan, batch_id)
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
            plan = await _plan(Work(conn, principal, now_ms, Door.IMPORT), run, chunk, lock=False)
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


@dataclass(slots=True)
class NewCustomer:
    """A customer first met in this chunk. `since` and `last_ms`: its first order's day, its last order."""

    id: str
    fields: Mapping[str, object]
    territory_id: str | None
    since: str
    last_ms: int


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    row: OrderRow
    customer_id: str
    territory_id: str | None
    at_ms: int


@dataclass(slots=True)
class Plan:
    """What a chunk comes to. `new` and `known` by customer code; `linked`: customer id → first row;
    `gone`: records that answered to one of the outside ids and were deleted since."""

    new: dict[str, NewCustomer] = field(default_factory=dict)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    linked: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    orders: list[PlannedOrder] = field(default_factory=list)
    unchanged: int = 0
    failed: list[FailedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands in the tables about the customers, orders and territories a chunk names."""

    hidden: frozenset[str]
    ambiguous: frozenset[str]
    matched: frozenset[str]
    orders: Mapping[str, OrderHead]
    territories: Mapping[str, tuple[str, str, str, bool]]
    scopes: frozenset[str]


async def _plan(work: Work, run: Run, rows: Sequence[CheckedRow], *, lock: bool) -> Plan:
    """Decide every row of a chunk; reads, and locks the customers it will write, and writes nothing."""
    plan = Plan()
    orders = [row.order for row in rows if row.order is not None]
    around = await _look_around(work, run, orders, plan, lock=lock)
    for row in rows:
        if row.order is None:
            plan.failed.append(FailedRow(row.number, row.problems))
            continue
        try:
            _plan_order(work, run, row.order, plan, around)
        except Refused as refused:
            plan.failed.append(FailedRow(row.number, refused.problems))
    return plan


async def _look_around(work: Work, run: Run, orders: Sequence[OrderRow], plan: Plan, *, lock: bool) -> Surroundings:
    conn, principal = work.conn, work.principal
    codes = sorted({order.customer_code for order in orders})
    answering = await records_by_external(conn, run.system, "customers", codes)
    ambiguous: set[str] = set()
    matched: set[str] = set()
    if run.match_codes:
        for code, customer_id in await customers_by_code(conn, principal, [c for c in codes if c not in answering]):
            if code in matched:
                ambiguous.add(code)
            matched.add(code)
            answering[code] = customer_id
    records = await load_records(work, COLLECTIONS["customers"], sorted(set(answering.values())), lock=lock)
    unseen = {code: customer_id for code, customer_id in answering.items() if customer_id not in records}
    standing = await existing(conn, "customer", list(unseen.values()))
    plan.known = {code: records[answering[code]] for code in answering if answering[code] in records}
    plan.gone = [customer_id for customer_id in unseen.values() if customer_id not in standing]
    known_orders = await records_by_external(conn, run.system, "orders", [order.external for order in orders])
    heads = await order_heads(conn, principal, list(known_orders.values()))
    plan.gone += [order_id for order_id in known_orders.values() if order_id not in heads]
    paths = sorted({order.territory for order in orders if order.territory})
    return Surroundings(
        hidden=frozenset(code for code, customer_id in unseen.items() if customer_id in standing),
        ambiguous=frozenset(ambiguous),
        matched=frozenset(matched),
        orders={external: heads[order_id] for external, order_id in known_orders.items() if order_id in heads},
        territories=await territories_named(conn, principal, paths) if paths else {},
        scopes=frozenset(await scopes_held(conn, principal)),
    )


def _plan_order(work: Work, run: Run, order: OrderRow, plan: Plan, around: Surroundings) -> None:
    """Put one order into the plan; raises `Refused` for a row that cannot be taken."""
    code = order.customer_code
    if code in around.ambiguous:
        raise Refused(Problem(Code.DUPLICATE_EXTERNAL_ID, ("customerCode",)))
    if code in around.hidden:
        raise Refused(Problem(Code.NOT_FOUND, ("customerCode",)))
    known = plan.known.get(code)
    if known is not None:
        customer_id, territory_id = str(known["id"]), known["territoryId"]
        zone = known["timezone"] or TIMEZONE_DEFAULT
        if territory_id is not None and f"territory:{territory_id}" not in around.scopes:
            # seen through a door of the chain, not held
            raise Refused(Problem(Code.NOT_PERMITTED, ("customerCode",)))
    else:
        home = _home_of(run, order, around)
        zone = str(order.customer.get("timezone") or home.timezone)
        brought = plan.new.get(code)
        customer_id = brought.id if brought else new_id()
        territory_id = brought.territory_id if brought else home.territory_id
        zone = str(brought.fields["timezone"]) if brought else zone
    at_ms = ordered_at_ms(order.moment, zone, work.now_ms)
    head = around.orders.get(order.external)
    if head is not None:
        _check_equal(order, customer_id, at_ms, head)
        plan.unchanged += 1
        return
    if known is None:
        _bring(plan, order, customer_id, territory_id, zone, at_ms)
    elif code in around.matched:
        plan.linked.setdefault(customer_id, order.row_number)
    plan.orders.append(PlannedOrder(order, customer_id, territory_id, at_ms))


def _home_of(run: Run, order: OrderRow, around: Surroundings) -> Home:
    if order.territory is not None:
        return _as_home(around.territories.get(order.territory), "territory")
    if run.home is None:
        raise Refused(Problem(Code.REQUIRED, ("territory",), ("territory",)))
    return run.home


def _check_equal(order: OrderRow, customer_id: str, at_ms: int, head: OrderHead) -> None:
    """Raise ID_TAKEN when the outside id belongs to an order with other content; of the time only what the row
    says is compared."""
    equal = (
        head.visible
        and head.customer_id == customer_id
        and head.ordered_on == order.moment.day
        and (order.moment.at is None or head.ordered_at == at_ms)
        and head.currency == order.currency
        and head.total_minor == order.amount_minor
        and head.units == order.units
    )
    if not equal:
        raise Refused(Problem(Code.ID_TAKEN, ("orderId",)))


def _bring(plan: Plan, order: OrderRow, customer_id: str, territory_id: str | None, zone: str, at_ms: int) -> None:
    brought = plan.new.get(order.customer_code)
    if brought is None:
        fields = new_customer(order, timezone=zone)
        plan.new[order.customer_code] = NewCustomer(customer_id, fields, territory_id, order.moment.day, at_ms)
    else:
        brought.since = min(brought.since, order.moment.day)
        brought.last_ms = max(brought.last_ms, at_ms)


async def _apply(work: Work, run: Run, plan: Plan, batch_id: str) -> None:
    if plan.gone:
        await release_externals(work.conn, plan.gone)
    by_id = {record["id"]: code for code, record in plan.known.items()}
    claims = {code: customer.id for code, customer in plan.new.items()}
    claims |= {by_id[customer_id]: customer_id for customer_id in plan.linked}
    await _claim(work, run, "customers", claims, batch_id)
    await save_linked(work.conn, batch_id, plan.linked)
    await _create_customers(work, list(plan.new.values()))
    await _create_orders(work, run, plan.orders, batch_id)
    await _date_customers(work, plan)


async def _claim(work: Work, run: Run, collection: str, claims: Mapping[str, str], batch_id: str) -> None:
    if claims and not await claim_externals(work.conn, run.system, collection, claims, batch_id):
        # another import was faster with one of them; seen again from the start it is a record that exists
        raise SerializationFailure("an outside id was claimed meanwhile")


async def _create_customers(work: Work, customers: Sequence[NewCustomer]) -> None:
    if not customers:
        return
    changes = [
        Change(customer.id, Intent.CREATE, {**customer.fields, "customerSince": customer.since})
        for customer in customers
    ]
    drafts = await open_drafts(work, "customers", changes)
    refuse_if(problem for draft in drafts for problem in draft.problems)
    for draft, customer in zip(drafts, customers, strict=True):
        draft.after.update(
            territoryId=customer.territory_id,
            createdAt=work.now_ms,
            createdBy=work.principal.holder,
            lastOrderAt=customer.last_ms,
        )
        draft.after.update(derived_fields(draft.after))
    await save_drafts(work, "customers", drafts)
    await work.conn.execute_many(
        "INSERT INTO territory_assignment (id, customer_id, territory_id, valid_from, source, assigned_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (new_id(), c.id, c.territory_id, work.now_ms, AssignmentSource.IMPORT.value, work.principal.actor)
            for c in customers
            if c.territory_id is not None
        ],
    )


async def _create_orders(work: Work, run: Run, orders: Sequence[PlannedOrder], batch_id: str) -> None:
    drafts = [_order_draft(work, planned) for planned in orders]
    claims = {planned.row.external: draft.id for planned, draft in zip(orders, drafts, strict=True)}
    await _claim(work, run, "orders", claims, batch_id)
    await save_drafts(work, "orders", drafts)


def _order_draft(work: Work, planned: PlannedOrder) -> Draft:
    """History: delivered, of nobody's making here, with the totals of the file and one line without an article."""
    row = planned.row
    order_id = new_id()
    order = {
        **with_defaults(ORDER, {}),
        "id": order_id,
        "number": order_number(row),
        "customerId": planned.customer_id,
        "territoryId": planned.territory_id,
        "repId": None,
        "state": OrderState.DELIVERED.value,
        "source": OrderSource.IMPORT.value,
        "currency": row.currency,
        "totalMinor": row.amount_minor,
        "units": row.units,
        "orderedOn": row.moment.day,
        "orderedAt": planned.at_ms,
        "submittedAt": planned.at_ms,
        "createdAt": work.now_ms,
        "createdBy": work.principal.holder,
        "lines": [{"id": new_id(), **order_line(row)}],
    }
    return Draft(Change(order_id, Intent.CREATE), None, order)


async def _date_customers(work: Work, plan: Plan) -> None:
    """Raise the last order of customers that stood before, and set the first where it is not a person's word."""
    last: dict[str, int] = {}
    since: dict[str, str] = {}
    for planned in plan.orders:
        customer_id, day = planned.customer_id, planned.row.moment.day
        last[customer_id] = max(last.get(customer_id, 0), planned.at_ms)
        since[customer_id] = min(since.get(customer_id, day), day)
    records = {str(record["id"]): record for record in plan.known.values()}
    raised = [
        (customer_id, at_ms)
        for customer_id, at_ms in last.items()
        if customer_id in records and (records[customer_id]["lastOrderAt"] or -1) < at_ms
    ]
    await note_last(work.conn, "last_order_at", raised)
    for customer_id, _ in raised:
        work.touched("customers", customer_id, ())
    earlier = {
        customer_id: day
        for customer_id, day in since.items()
        if customer_id in records and (records[customer_id]["customerSince"] or "9999") > day
    }
    dated = [customer_id for customer_id in earlier if records[customer_id]["customerSince"]]
    kept = await dated_by_people(work.conn, dated) if dated else set()
    moved = [since_day(records[customer_id], day) for customer_id, day in earlier.items() if customer_id not in kept]
    await save_since(work.conn, moved)
    for record in moved:
        work.touched("customers", str(record["id"]), ("customerSince",))
        work.audit("UPDATE", "customers", str(record["id"]), ("customerSince",))
