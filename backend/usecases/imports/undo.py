"""Taking an import back: what it made is deleted unless somebody has come to need it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.imports import ImportState, KeptReason, since_day
from backend.domain.permissions import Action, Collection, may
from backend.errors import Code, Problem, Refused
from backend.storage.customers import customers_of
from backend.storage.engine import Engine
from backend.storage.imports import (
    Batch,
    batch_of,
    changed_since_import,
    existing,
    having,
    made_by_batch,
    order_bounds,
    release_externals,
    release_links,
    save_since,
    scopes_held,
    set_batch_state,
    visible_batch,
)
from backend.sync.changes import Change, Draft, Intent, load_records, save_drafts
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Door, Work, in_work

T = TypeVar("T")
NEEDED_BY = (
    (KeptReason.HAS_ORDERS, "sales_order", "customer_id"),
    (KeptReason.HAS_VISITS, "visit", "customer_id"),
    (KeptReason.HAS_TASKS, "task", "customer_id"),
    (KeptReason.HAS_ANSWERS, "answer", "customer_id"),
    (KeptReason.HAS_CASES, "service_case", "customer_id"),
    (KeptReason.HAS_JUDGEMENTS, "judgement", "customer_id"),
    (KeptReason.HAS_CONTACTS, "customer_contact", "customer_id"),
    (KeptReason.HAS_DOORS, "customer", "parent_id"),
)
"""What keeps a customer: reason, table, column that points to it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record the import had made that stays, and why."""

    collection: str
    record_id: str
    reason: KeptReason


@dataclass(frozen=True, slots=True)
class UndoReport:
    batch: Batch
    orders_deleted: int
    customers_deleted: int
    kept: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one transaction did. `last`: where the next goes on, None after the end."""

    deleted: int
    kept: tuple[Kept, ...]
    last: str | None


async def undo_import(
    engine: Engine, principal: Principal, batch_id: str, *, settings: Settings, clock: Clock
) -> UndoReport:
    """Delete the orders a batch made, then its customers on which nothing else hangs; devices learn it by tombstones.

    In chunks, each a transaction; cut short, it goes on when asked again. Asked once more after the end it tries
    again what was kept. Raises NOT_PERMITTED, NOT_FOUND.
    """
    for collection in (Collection.ORDERS, Collection.CUSTOMERS):
        if principal.role is None or not may(principal.role, Action.IMPORT, collection):
            raise Refused(Problem(Code.NOT_PERMITTED))

    async def tell(story: Callable[[Work], Awaitable[T]]) -> T:
        result, _ = await in_work(
            engine, principal, story, clock=clock, retries_max=settings.write_retries_max, door=Door.IMPORT
        )
        return result

    async def begin(work: Work) -> None:
        if await visible_batch(work.conn, principal, batch_id, lock=True) is None:
            raise Refused(Problem(Code.NOT_FOUND, ("batchId",)))
        await set_batch_state(work.conn, batch_id, ImportState.UNDOING.value, undone_at=None)
        work.audit("UNDO", Collection.IMPORTS.value, batch_id)

    async def end(work: Work) -> Batch:
        await set_batch_state(work.conn, batch_id, ImportState.UNDONE.value, undone_at=work.now_ms)
        batch = await batch_of(work.conn, batch_id)
        assert batch is not None
        return batch

    await tell(begin)
    deleted: dict[str, int] = {}
    kept: list[Kept] = []
    # orders first: a customer goes only when none is left
    for collection_name, undo_part in (("orders", _undo_orders), ("customers", _undo_customers)):
        deleted[collection_name] = 0
        last: str | None = ""
        while last is not None:
            part = await tell(_story(undo_part, batch_id, last, settings.import_chunk_rows))
            deleted[collection_name] += part.deleted
            kept += part.kept
            last = part.last
    return UndoReport(await tell(end), deleted["orders"], deleted["customers"], tuple(kept))


UndoPart = Callable[[Work, str, str, int], Awaitable[Part]]


def _story(undo_part: UndoPart, batch_id: str, after: str, limit: int) -> Callable[[Work], Awaitable[Part]]:
    return lambda work: undo_part(work, batch_id, after, limit)


async def _undo_orders(work: Work, batch_id: str, after: str, limit: int) -> Part:
    made = await made_by_batch(work.conn, batch_id, "orders", after=after, limit=limit)
    ids = [record_id for _, record_id, _ in made]
    owners = await customers_of(work.conn, "sales_order", ids)
    customers = await load_records(
        work, COLLECTIONS["customers"], sorted({owner for owner in owners.values() if owner is not None})
    )
    orders = await load_records(work, COLLECTIONS["orders"], sorted(ids))
    # an order stands where its customer does: who sees it sees both
    reachable = [order_id for order_id, order in orders.items() if order["customerId"] in customers]
    standing = await existing(work.conn, "sales_order", ids)
    reasons = dict.fromkeys(standing.difference(reachable), KeptReason.OUT_OF_SCOPE)
    reasons |= dict.fromkeys(await having(work.conn, "task", "related_id", reachable), KeptReason.HAS_TASKS)
    reasons |= dict.fromkeys(await changed_since_import(work.conn, "orders", reachable), KeptReason.CHANGED)
    going = [orders[order_id] for order_id in reachable if order_id not in reasons]
    await save_drafts(work, "orders", [_deletion(order) for order in going])
    await release_externals(work.conn, [order_id for order_id in ids if order_id not in reasons])
    await _date_back(work, customers, going)
    return _part("orders", made, reasons, len(going))


async def _date_back(
    work: Work, customers: Mapping[str, Mapping[str, Any]], deleted: Sequence[Mapping[str, Any]]
) -> None:
    """Let customers' first day and last order follow from the orders that are left.

    A first day is taken back only where it was the day of a deleted order: any other is a person's word.
    """
    first: dict[str, str] = {}
    for order in deleted:
        customer_id, day = order["customerId"], order["orderedOn"]
        first[customer_id] = min(first.get(customer_id, day), day)
    bounds = await order_bounds(work.conn, sorted(first))
    await work.conn.execute_many(
        "UPDATE customer SET last_order_at = ? WHERE id = ?",
        [(last_ms, customer_id) for customer_id, (_, last_ms) in bounds.items()],
    )
    for customer_id in first:
        work.touched("customers", customer_id, ())
    back = [
        since_day(customers[customer_id], bounds[customer_id][0])
        for customer_id, day in first.items()
        if customers[customer_id]["customerSince"] == day and bounds[customer_id][0] != day
    ]
    await save_since(work.conn, back)
    for record in back:
        work.touched("customers", str(record["id"]), ("customerSince",))
        work.audit("UPDATE", "customers", str(record["id"]), ("customerSince",))


async def _undo_customers(work: Work, batch_id: str, after: str, limit: int) -> Part:
    made = await made_by_batch(work.conn, batch_id, "customers", after=after, limit=limit)
    await release_links(work.conn, batch_id, [record_id for _, record_id, linked in made if linked])
    ids = [record_id for _, record_id, linked in made if not linked]
    customers = await load_records(work, COLLECTIONS["customers"], sorted(ids))
    held = await _held(work, customers.values())
    standing = await existing(work.conn, "customer", ids)
    reasons = dict.fromkeys(standing.difference(held), KeptReason.OUT_OF_SCOPE)
    for reason, table, column in reversed(NEEDED_BY):
        reasons |= dict.fromkeys(await having(work.conn, table, column, sorted(held)), reason)
    for customer_id in await changed_since_import(work.conn, "customers", sorted(held)):
        reasons.setdefault(customer_id, KeptReason.CHANGED)
    going = [customers[customer_id] for customer_id in sorted(held) if customer_id not in reasons]
    await save_drafts(work, "customers", [_deletion(customer) for customer in going])
    await release_externals(work.conn, [customer_id for customer_id in ids if customer_id not in reasons])
    await _drop_children(work, [str(customer["id"]) for customer in going])
    return _part("customers", made, reasons, len(going))


async def _drop_children(work: Work, customer_ids: Sequence[str]) -> None:
    """Scores and the place in the tree end with the customer."""
    if not customer_ids:
        return
    await work.conn.execute("DELETE FROM score_line WHERE customer_id = ANY(?)", list(customer_ids))
    scored = await work.conn.fetch(
        "DELETE FROM customer_score WHERE customer_id = ANY(?) RETURNING customer_id", list(customer_ids)
    )
    for (customer_id,) in scored:
        work.deleted("scores", customer_id)
    await work.conn.execute(
        "UPDATE territory_assignment SET valid_to = ? WHERE customer_id = ANY(?) AND valid_to IS NULL",
        work.now_ms,
        list(customer_ids),
    )


async def _held(work: Work, customers: Any) -> set[str]:
    """Ids of those of the customers whose own territory the caller holds."""
    scopes = await scopes_held(work.conn, work.principal)
    return {
        str(customer["id"])
        for customer in customers
        if customer["territoryId"] is None or f"territory:{customer['territoryId']}" in scopes
    }


def _deletion(record: Mapping[str, Any]) -> Draft:
    return Draft(Change(str(record["id"]), Intent.DELETE), record, dict(record))


def _part(
    collection: str, made: Sequence[tuple[str, str, bool]], reasons: Mapping[str, KeptReason], deleted: int
) -> Part:
    kept = tuple(Kept(collection, record_id, reasons[record_id]) for _, record_id, _ in made if record_id in reasons)
    return Part(deleted, kept, made[-1][0] if made else None)
