"""What a chunk of rows comes to, decided before anything is written, and writing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.domain.customers import derived_fields
from backend.domain.fields import with_defaults
from backend.domain.imports import (
    CheckedRow,
    OrderRow,
    new_customer,
    order_line,
    order_number,
    ordered_at_ms,
    since_day,
)
from backend.domain.orders import ORDER, OrderSource, OrderState
from backend.domain.territories import AssignmentSource
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import new_id
from backend.storage.customers import TIMEZONE_DEFAULT, note_last
from backend.storage.engine import SerializationFailure
from backend.storage.imports import (
    FailedRow,
    OrderHead,
    claim_externals,
    customers_by_code,
    dated_by_people,
    existing,
    order_heads,
    records_by_external,
    release_externals,
    save_linked,
    save_since,
    scopes_held,
    territories_named,
)
from backend.sync.changes import Change, Draft, Intent, load_records, open_drafts, save_drafts
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Work
from backend.usecases.imports.wishes import Home, Run, as_home


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


async def plan_chunk(work: Work, run: Run, rows: Sequence[CheckedRow], *, lock: bool) -> Plan:
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
        return as_home(around.territories.get(order.territory), "territory")
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


async def apply_plan(work: Work, run: Run, plan: Plan, batch_id: str) -> None:
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
