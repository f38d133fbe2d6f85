"""Visits: planned, checked in, completed; however they arrive, and in whatever order."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.domain.permissions import Collection
from backend.domain.steps import check_steps
from backend.domain.times import check_not_future
from backend.domain.visits import (
    CLOSED_WITHOUT_CHECK_OUT,
    VISIT_STEPS,
    VisitState,
    state_asked_for,
    verification_of,
    visits_to_close,
)
from backend.errors import Code, Refused
from backend.storage.customers import CustomerHead, note_last
from backend.sync.changes import Change, Draft, Outcome, open_drafts, save_drafts
from backend.sync.issues import keep_issue
from backend.sync.rights import check_customers, check_reps, check_rights, lock_customers, stepper
from backend.sync.work import Door, Work

CLOCK_AHEAD_MS = 300_000
"""How far ahead of ours a device's clock may run before a check-in is refused."""


async def change_visits(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Create, change and delete visits; at most one visit of a rep stays CHECKED_IN.

    Refuses NOT_FOUND (visit or customer out of scope), NOT_PERMITTED, INVALID_TRANSITION, EVIDENCE_MISSING,
    IN_THE_FUTURE and what the declared fields say; INVALID_TRANSITION too for a visit rescheduled from one that
    was not missed.
    """
    heads = await lock_customers(work, "visit", changes)
    drafts = await open_drafts(work, "visits", changes)
    _default_rep(work, drafts)
    check_rights(work, Collection.VISITS, drafts)
    check_customers(drafts, heads)
    await check_reps(work, drafts)
    for draft in drafts:
        if draft.alive and not draft.deleting:
            _decide(work, draft, heads.get(str(draft.after["customerId"])))
    await _check_rescheduled(work, drafts)
    await _keep_one_checked_in(work, drafts)
    outcomes = await save_drafts(work, "visits", drafts)
    await _note_customers(work, drafts)
    return outcomes


def _default_rep(work: Work, drafts: Sequence[Draft]) -> None:
    """A visit without a rep is its creator's; the field counts as given."""
    for draft in drafts:
        if draft.before is None and draft.after and draft.after.get("repId") is None:
            draft.after["repId"] = work.principal.user_id


def _decide(work: Work, draft: Draft, head: CustomerHead | None) -> None:
    visit = draft.after
    if head is None:
        draft.refuse(Code.NOT_FOUND, "customerId")
        return
    if not head.held and work.door is not Door.JOB:
        draft.refuse(Code.NOT_PERMITTED, "customerId")
    before = None if draft.before is None else str(draft.before["state"])
    if before is None:
        visit["state"] = state_asked_for({**draft.change.fields, "checkInAt": visit.get("checkInAt")})
        visit.update(createdAt=work.now_ms, createdBy=work.principal.holder, territoryId=head.territory_id)
    _, problems = check_steps(VISIT_STEPS, before, str(visit["state"]), stepper(work), visit)
    draft.problems += problems
    for name in ("checkInAt", "checkOutAt"):
        if visit.get(name) is not None and name in draft.accepted:
            try:
                check_not_future(int(visit[name]), work.now_ms, CLOCK_AHEAD_MS)
            except Refused as refused:
                draft.problems += [problem.under(name) for problem in refused.problems]
    visit["verification"] = verification_of(visit, head.place).value
    happens_at = _happens_at(visit)
    # three indexes know it: written again for each change of a visit, it costs more than the change
    if draft.before is None or _happens_at(draft.before) != happens_at:
        visit["happensAt"] = happens_at


def _happens_at(visit: Mapping[str, Any]) -> Any:
    """What the day of a visit is told by, in epoch ms; the column holds it for each visit as it stands."""
    return visit.get("checkInAt") or visit.get("plannedAt") or visit["createdAt"]


async def _check_rescheduled(work: Work, drafts: Sequence[Draft]) -> None:
    """A visit takes the place of a missed one of its customer only: a planned one is moved by `plannedAt`.

    What the same batch makes of the missed visit counts, and a foreign id is answered like any other wrong one.
    """
    new = [draft for draft in drafts if draft.alive and draft.before is None and draft.after.get("rescheduledFromId")]
    if not new:
        return
    rows = await work.conn.fetch(
        "SELECT id, customer_id, state FROM visit WHERE id = ANY(?)",
        sorted({str(draft.after["rescheduledFromId"]) for draft in new}),
    )
    standing = {visit_id: (customer_id, state) for visit_id, customer_id, state in rows}
    for draft in drafts:
        if draft.alive:
            standing[draft.id] = (draft.after["customerId"], draft.after["state"])
    for draft in new:
        if standing.get(draft.after["rescheduledFromId"]) != (draft.after["customerId"], VisitState.MISSED):
            draft.refuse(
                Code.INVALID_TRANSITION,
                "rescheduledFromId",
                allowed=(VisitState.MISSED.value,),
                enum=VisitState.__name__,
            )


async def _keep_one_checked_in(work: Work, drafts: Sequence[Draft]) -> None:
    """A second check-in closes the earlier visit as ABORTED, reason NO_CHECK_OUT, and says so to its rep."""
    entering = {
        draft.id: draft for draft in drafts if draft.alive and draft.after.get("state") == VisitState.CHECKED_IN
    }
    reps = sorted({str(draft.after["repId"]) for draft in entering.values()})
    if not reps:
        return
    rows = await work.conn.fetch(
        "SELECT id, rep_id, check_in_at FROM visit WHERE rep_id = ANY(?) AND state = ? ORDER BY id FOR UPDATE",
        reps,
        VisitState.CHECKED_IN.value,
    )
    leaving = {draft.id for draft in drafts if draft.alive and draft.after.get("state") != VisitState.CHECKED_IN}
    standing: dict[str, list[dict[str, Any]]] = {rep: [] for rep in reps}
    for visit_id, rep_id, check_in_at in rows:
        if visit_id not in entering and visit_id not in leaving:
            standing[rep_id].append({"id": visit_id, "checkInAt": check_in_at})
    for draft in entering.values():
        standing[str(draft.after["repId"])].append({"id": draft.id, "checkInAt": draft.after["checkInAt"]})
    for rep, visits in standing.items():
        for visit_id in visits_to_close(visits):
            await _close(work, visit_id, rep, entering.get(visit_id))


async def _close(work: Work, visit_id: str, rep: str, draft: Draft | None) -> None:
    if draft is not None:
        draft.after.update(CLOSED_WITHOUT_CHECK_OUT)
    else:
        await work.conn.execute(
            "UPDATE visit SET state = ?, reason = ? WHERE id = ?",
            CLOSED_WITHOUT_CHECK_OUT["state"],
            CLOSED_WITHOUT_CHECK_OUT["reason"],
            visit_id,
        )
        work.touched("visits", visit_id, CLOSED_WITHOUT_CHECK_OUT)
    await keep_issue(
        work,
        collection="visits",
        record_id=visit_id,
        code=CLOSED_WITHOUT_CHECK_OUT["reason"],
        path="state",
        mine=VisitState.CHECKED_IN.value,
        theirs=CLOSED_WITHOUT_CHECK_OUT["state"],
        ways_out=("ACCEPT",),
        user_id=rep,
    )


async def _note_customers(work: Work, drafts: Sequence[Draft]) -> None:
    """A completed visit is its customer's last one."""
    done = [
        (str(draft.after["customerId"]), int(_happens_at(draft.after)))
        for draft in drafts
        if draft.alive
        and not draft.deleting
        and draft.after.get("state") == VisitState.COMPLETED
        and (draft.before is None or draft.before["state"] != VisitState.COMPLETED)
    ]
    await note_last(work.conn, "last_visit_at", done)
    for customer_id, _ in done:
        work.touched("customers", customer_id, ())
