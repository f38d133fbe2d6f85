"""Cases: a complaint heard on a visit, and its way to being settled; the clock of its priority runs beside it."""

from collections.abc import Sequence

from backend.domain.cases import CaseState, check_case_steps, clocked
from backend.domain.permissions import Collection
from backend.domain.times import check_not_future
from backend.errors import Code, Refused
from backend.storage.customers import CustomerHead
from backend.sync.changes import Change, Draft, Outcome, open_drafts, save_drafts
from backend.sync.named import check_active, check_of_customer, check_seen
from backend.sync.rights import check_customers, check_rights, lock_customers, stepper
from backend.sync.work import Door, Work

CLOCK_AHEAD_MS = 300_000
"""How far ahead of ours a device's clock may run before a complaint is refused as one of the future."""


async def change_cases(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Open, change, settle and delete cases.

    Refuses NOT_FOUND (case, customer, or what it names), NOT_PERMITTED, INVALID_TRANSITION, EVIDENCE_MISSING (a
    resolution in words), IN_THE_FUTURE and what the declared fields say.
    """
    heads = await lock_customers(work, "service_case", changes)
    drafts = await open_drafts(work, "cases", changes)
    check_rights(work, Collection.CASES, drafts)
    check_customers(drafts, heads)
    kept = [draft for draft in drafts if draft.alive and not draft.deleting]
    await check_of_customer(work, kept, {"visitId": "visit", "aboutOrderId": "sales_order"})
    await check_seen(work, kept, {"contactId": "contacts", "styleId": "styles"})
    await check_active(work, kept, "assigneeId")
    for draft in kept:
        _decide(work, draft, heads.get(str(draft.after["customerId"])))
    return await save_drafts(work, "cases", drafts)


def _decide(work: Work, draft: Draft, head: CustomerHead | None) -> None:
    case = draft.after
    if head is None:
        draft.refuse(Code.NOT_FOUND, "customerId")
        return
    if not head.held and work.door is not Door.JOB:
        draft.refuse(Code.NOT_PERMITTED, "customerId")
    before = None if draft.before is None else str(draft.before["state"])
    # a clock that runs ahead settles nothing before it happened
    at_ms = min(draft.change.captured_at_ms or work.now_ms, work.now_ms)
    if draft.before is None:
        case.update(createdAt=work.now_ms, createdBy=work.principal.holder, territoryId=head.territory_id)
        case["openedAt"] = case.get("openedAt") or draft.change.captured_at_ms or work.now_ms
        try:
            check_not_future(int(case["openedAt"]), work.now_ms, CLOCK_AHEAD_MS)
        except Refused as refused:
            draft.problems += [problem.under("openedAt") for problem in refused.problems]
    record = {**case, "resolvedAt": (draft.before or {}).get("resolvedAt")}
    walk, problems = check_case_steps(before, str(case["state"]), stepper(work), record, work.now_ms)
    draft.problems += problems
    if CaseState.ASSIGNED in walk and case.get("assigneeId") is None:
        # who takes the step takes the case
        case["assigneeId"] = work.principal.user_id
    case.update(clocked(draft.before, case, walk, at_ms))
