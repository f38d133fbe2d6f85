"""Orders: one aggregate from the grid on a phone to the manager's word, its totals always the server's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.domain.catalogue import PriceTier, Season, article_problems, book_problem, price_minor
from backend.domain.orders import (
    ORDER_STEPS,
    OrderSource,
    OrderState,
    currency_problem,
    discount_cap_bp,
    discount_problems,
    edit_problems,
    order_totals,
)
from backend.domain.permissions import Action, Collection, Role, may
from backend.domain.steps import check_steps
from backend.domain.tasks import TaskPriority, TaskSource, TaskState
from backend.domain.times import local_day
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.catalogue import price_lists_by_id, price_tiers, seasons_by_id, skus_by_id
from backend.storage.customers import CustomerHead, note_last
from backend.sync.changes import Change, Draft, Outcome, open_drafts, save_drafts
from backend.sync.rights import check_customers, check_reps, check_rights, lock_customers, stepper
from backend.sync.work import Door, Work

REP_DISCOUNT_CAP_BP = 1_000
"""What a rep may give off a line, in basis points."""
DECISIONS = (OrderState.CONFIRMED, OrderState.REJECTED, OrderState.PENDING_APPROVAL)


@dataclass(frozen=True, slots=True)
class Book:
    """What the catalogue says about the articles, prices and seasons of a batch of orders."""

    seasons: Mapping[str, Season]
    skus: Mapping[str, tuple[str, str, str]]
    tiers: Mapping[str, Sequence[PriceTier]]
    currencies: Mapping[str, str]


async def change_orders(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Create, change, submit, confirm, reject and delete orders, lines and cells included.

    Fields change in DRAFT only; two devices editing different cells both win. A decision on a submitted order
    gives its rep a task. Refuses what articles, order book, price list, discount cap and steps do not allow.
    """
    heads = await lock_customers(work, "sales_order", changes)
    drafts = await open_drafts(work, "orders", changes)
    _check_rights(work, drafts)
    check_customers(drafts, heads)
    _default_rep(work, drafts)
    await check_reps(work, drafts)
    alive = [draft for draft in drafts if draft.alive]
    book = await _read_book(work, alive, heads)
    for draft in alive:
        if draft.deleting:
            _check_deletable(draft)
        else:
            _decide(work, draft, heads.get(str(draft.after["customerId"])), book)
    outcomes = await save_drafts(work, "orders", drafts)
    await _note_customers(work, drafts)
    await _tell_reps(work, drafts)
    return outcomes


def _default_rep(work: Work, drafts: Sequence[Draft]) -> None:
    """An order without a rep is its creator's."""
    for draft in drafts:
        if draft.before is None and draft.after and draft.after.get("repId") is None:
            draft.after["repId"] = work.principal.user_id


def _check_rights(work: Work, drafts: Sequence[Draft]) -> None:
    """An approver may take the steps of a decision without a right to edit orders."""
    role = work.principal.role
    approver = role is not None and may(role, Action.APPROVE, Collection.ORDERS)
    deciding = [d for d in drafts if approver and set(d.accepted) <= {"state", "rejectReason"} and d.before]
    check_rights(work, Collection.ORDERS, [draft for draft in drafts if draft not in deciding])


async def _read_book(work: Work, drafts: Sequence[Draft], heads: Mapping[str, CustomerHead]) -> Book:
    lines = [line for draft in drafts for line in draft.after.get("lines") or []]
    lists = [head.price_list_id for head in heads.values()]
    return Book(
        seasons=await seasons_by_id(work.conn, [draft.after.get("seasonId") for draft in drafts]),
        skus=await skus_by_id(work.conn, [sku for line in lines for sku in line.get("cells") or {}]),
        tiers=await price_tiers(work.conn, lists, [str(line.get("styleId")) for line in lines]),
        currencies=await price_lists_by_id(work.conn, lists),
    )


def _check_deletable(draft: Draft) -> None:
    if draft.before is None or draft.before["state"] != OrderState.DRAFT:
        draft.refuse(Code.NOT_EDITABLE, "state", allowed=(OrderState.DRAFT.value,))


def _decide(work: Work, draft: Draft, head: CustomerHead | None, book: Book) -> None:
    order = draft.after
    if head is None:
        draft.refuse(Code.NOT_FOUND, "customerId")
        return
    if not head.held and work.door is not Door.JOB:
        draft.refuse(Code.NOT_PERMITTED, "customerId")
    before = None if draft.before is None else str(draft.before["state"])
    if before is None:
        _begin(work, draft, head)
    for line in order["lines"] or []:
        line.setdefault("discountBp", 0)
    walk, problems = check_steps(ORDER_STEPS, before, str(order["state"]), stepper(work), order)
    draft.problems += problems
    changed = {path.partition(".")[0] for path in draft.accepted}
    draft.problems += edit_problems(before, walk, sorted(changed))
    if before is None or "lines" in changed or "currency" in changed or OrderState.SUBMITTED in walk:
        _check_lines(work, draft, head, book)
    _total(draft)
    captured_ms = min(draft.change.captured_at_ms or work.now_ms, work.now_ms)
    if OrderState.SUBMITTED in walk:
        order["submittedAt"] = captured_ms
        order["number"] = order.get("number") or _number(draft.id)
        order["orderedAt"] = captured_ms
        order["orderedOn"] = local_day(captured_ms, head.timezone)
        _check_book(draft, book)


def _begin(work: Work, draft: Draft, head: CustomerHead) -> None:
    order = draft.after
    captured_ms = min(draft.change.captured_at_ms or work.now_ms, work.now_ms)
    if order.get("source") == OrderSource.IMPORT and work.door not in (Door.IMPORT, Door.JOB):
        draft.refuse(Code.NOT_ALLOWED_VALUE, "source")
    order.update(
        createdAt=work.now_ms,
        createdBy=work.principal.holder,
        territoryId=head.territory_id,
        orderedAt=captured_ms,
        orderedOn=local_day(captured_ms, head.timezone),
    )
    for line in order["lines"] or []:
        line.pop("removed", None)


def _check_lines(work: Work, draft: Draft, head: CustomerHead, book: Book) -> None:
    """Articles, currency, prices (the list's own, unless the role may set them) and discounts of every line."""
    order = draft.after
    lines: list[dict[str, Any]] = order["lines"] or []
    draft.problems += article_problems(lines, book.skus)
    role = work.principal.role or Role.REP
    draft.problems += discount_problems(lines, discount_cap_bp(role, REP_DISCOUNT_CAP_BP))
    if head.price_list_id is None or head.price_list_id not in book.currencies:
        _require_prices(draft, lines)
        return
    mixed = currency_problem(str(order["currency"]), book.currencies[head.price_list_id])
    if mixed is not None:
        draft.problems.append(mixed)
        return
    units_by_style: dict[str, int] = {}
    for line in lines:
        style_id = str(line["styleId"])
        units_by_style[style_id] = units_by_style.get(style_id, 0) + sum(line["cells"].values())
    for index, line in enumerate(lines):
        style_id = str(line["styleId"])
        try:
            line["unitPriceMinor"] = price_minor(
                book.tiers[head.price_list_id], style_id, units_by_style[style_id], str(order["orderedOn"])
            )
        except Refused as refused:
            draft.problems += [problem.under("lines", str(index)) for problem in refused.problems]


def _require_prices(draft: Draft, lines: Sequence[Mapping[str, Any]]) -> None:
    """Without a price list the price is the rep's to name."""
    for index, line in enumerate(lines):
        if line.get("unitPriceMinor") is None:
            draft.refuse(Code.REQUIRED, "lines", str(index), "unitPriceMinor", allowed=("unitPriceMinor",))


def _total(draft: Draft) -> None:
    if not draft.alive:
        return
    order = draft.after
    lines: list[dict[str, Any]] = order["lines"] or []
    try:
        totals = order_totals(lines, str(order["currency"]))
    except Refused as refused:
        draft.problems += refused.problems
        return
    for line, total_minor, units in zip(lines, totals.line_total_minor, totals.line_units, strict=True):
        line.update(totalMinor=total_minor, units=units)
    order.update(totalMinor=totals.total_minor, units=totals.units)


def _check_book(draft: Draft, book: Book) -> None:
    season_id = draft.after.get("seasonId")
    if season_id is None:
        return
    season = book.seasons.get(str(season_id))
    if season is None:
        draft.refuse(Code.NOT_FOUND, "seasonId")
    elif (problem := book_problem(season, str(draft.after["orderedOn"]))) is not None:
        draft.problems.append(problem)


def _number(order_id: str) -> str:
    """Short enough to say on the phone; the tail of a UUIDv7 is random."""
    return f"SO-{order_id[-12:].upper()}"


async def _note_customers(work: Work, drafts: Sequence[Draft]) -> None:
    submitted = [
        (str(draft.after["customerId"]), int(draft.after["submittedAt"]))
        for draft in drafts
        if draft.alive
        and not draft.deleting
        and draft.after.get("submittedAt") is not None
        and (draft.before is None or draft.before.get("submittedAt") != draft.after["submittedAt"])
    ]
    await note_last(work.conn, "last_order_at", submitted)
    for customer_id, _ in submitted:
        work.touched("customers", customer_id, ())


async def _tell_reps(work: Work, drafts: Sequence[Draft]) -> None:
    """A rejection or a confirmation becomes a task of the rep, in the same transaction."""
    rows = []
    for draft in drafts:
        before = None if draft.before is None else draft.before["state"]
        state = draft.after.get("state")
        if not draft.alive or draft.deleting or before in (None, state) or state not in DECISIONS[:2]:
            continue
        task_id = new_id()
        due_on = local_day(work.now_ms, "Asia/Shanghai")
        rows.append(
            (
                task_id,
                draft.after["customerId"],
                draft.after["repId"],
                await _territory_of(work, str(draft.after["customerId"])),
                f"ORDER_{state}",
                TaskState.OPEN.value,
                (TaskPriority.HIGH if state == OrderState.REJECTED else TaskPriority.NORMAL).value,
                due_on,
                work.now_ms,
                TaskSource.RULE.value,
                draft.id,
                draft.after.get("rejectReason"),
                work.now_ms,
                work.principal.holder,
            )
        )
        work.touched("tasks", task_id)
    await work.conn.execute_many(
        "INSERT INTO task (id, customer_id, assignee_id, territory_id, title, state, priority, due_on, due_sort,"
        " source, related_id, notes, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


async def _territory_of(work: Work, customer_id: str) -> str | None:
    rows = await work.conn.fetch("SELECT territory_id FROM customer WHERE id = ?", customer_id)
    return rows[0][0] if rows else None
