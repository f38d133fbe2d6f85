"""Judgements: a rep's "not today, because…", and a manager's other priority; both kept, never rewritten."""

from collections.abc import Mapping, Sequence

from backend.domain.judgements import JudgementKind, judgement_problems
from backend.domain.permissions import Action, Collection
from backend.domain.times import local_day
from backend.errors import Code
from backend.storage.customers import CustomerHead
from backend.sync.changes import Change, Draft, Outcome, open_drafts, save_drafts
from backend.sync.rights import check_customers, check_rights, lock_customers
from backend.sync.work import Door, Work


async def change_judgements(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Take judgements, take them back, and delete them.

    Refuses NOT_FOUND (customer), NOT_PERMITTED (an override by who has no right to, somebody else's skip taken back),
    NOT_ALLOWED_VALUE (a reason of the other kind), OUT_OF_RANGE (days too far), NOT_EDITABLE (taken back already) and
    what the declared fields say.
    """
    heads = await lock_customers(work, "judgement", changes)
    drafts = await open_drafts(work, "judgements", changes)
    check_rights(work, Collection.JUDGEMENTS, drafts)
    check_customers(drafts, heads)
    # what is wrong with single fields is told together with what is wrong between them
    new = [draft for draft in drafts if draft.before is None and draft.after and not draft.deleting]
    scores = await _scores(work, new)
    for draft in new:
        _make(work, draft, heads.get(str(draft.after.get("customerId"))), scores)
    for draft in drafts:
        if draft.alive and not draft.deleting and draft.before is not None:
            _take_back(work, draft)
    return await save_drafts(work, "judgements", drafts)


async def _scores(work: Work, drafts: Sequence[Draft]) -> dict[str, int]:
    ids = sorted({str(draft.after.get("customerId")) for draft in drafts})
    rows = await work.conn.fetch("SELECT customer_id, priority FROM customer_score WHERE customer_id = ANY(?)", ids)
    return dict(rows)


def _make(work: Work, draft: Draft, head: CustomerHead | None, scores: Mapping[str, int]) -> None:
    judgement = draft.after
    by_hand = work.door is not Door.JOB
    may_override = not by_hand or work.principal.may(Action.OVERRIDE, Collection.SCORES)
    if judgement.get("kind") == JudgementKind.OVERRIDE and not may_override:
        draft.refuse(Code.NOT_PERMITTED, "kind", allowed=(JudgementKind.SKIP.value,))
    if head is None:
        return
    if not head.held and by_hand:
        draft.refuse(Code.NOT_PERMITTED, "customerId")
    # a clock that runs ahead judges nothing of days to come
    made_at_ms = min(draft.change.captured_at_ms or work.now_ms, work.now_ms)
    today = local_day(made_at_ms, head.timezone)
    judgement["startsOn"] = judgement.get("startsOn") or today
    judgement["endsOn"] = judgement.get("endsOn") or judgement["startsOn"]
    faulty = {problem.path[:1] for problem in draft.problems}
    if judgement.get("kind") and judgement.get("reason"):
        draft.problems += [one for one in judgement_problems(judgement, today) if one.path[:1] not in faulty]
    judgement.update(
        scoreBefore=scores.get(head.id),
        territoryId=head.territory_id,
        createdAt=work.now_ms,
        createdBy=work.principal.holder,
    )


def _take_back(work: Work, draft: Draft) -> None:
    before = draft.before or {}
    if draft.after["withdrawn"] == before.get("withdrawn"):
        return
    if before.get("withdrawn"):
        draft.refuse(Code.NOT_EDITABLE, "withdrawn")
        return
    own = before.get("createdBy") == work.principal.holder
    over = before.get("kind") == JudgementKind.OVERRIDE and work.principal.may(Action.OVERRIDE, Collection.SCORES)
    if not (own or over) and work.door is not Door.JOB:
        draft.refuse(Code.NOT_PERMITTED, "withdrawn")
    draft.after["withdrawnAt"] = min(draft.change.captured_at_ms or work.now_ms, work.now_ms)
