"""Answers: what customers say to forms, on a visit without signal or at a desk; a correction is a further one."""

from collections.abc import Mapping, Sequence

from backend.domain.answers import MEASURES, VALUES, answer_shape, measurements, value_problems
from backend.domain.forms import Form
from backend.domain.permissions import Collection
from backend.domain.times import check_not_future
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.customers import CustomerHead
from backend.storage.forms import forms_named
from backend.sync.changes import Change, Draft, Intent, Outcome, open_drafts, save_drafts
from backend.sync.named import check_of_customer, check_seen
from backend.sync.rights import check_customers, check_rights, lock_customers
from backend.sync.work import Door, Work

CLOCK_AHEAD_MS = 300_000
"""How far ahead of ours a device's clock may run before an answer is refused as one of the future."""


async def change_answers(work: Work, changes: Sequence[Change]) -> list[Outcome]:
    """Take answers, judged by the version of the form they name, and delete them.

    Refuses NOT_FOUND (customer, form, visit, contact, style or answer named), NOT_PERMITTED, IN_THE_FUTURE, and what
    the form's questions say of the values.
    """
    heads = await lock_customers(work, "answer", changes)
    new = [change for change in changes if change.intent is Intent.CREATE]
    forms = await forms_named(work.conn, (change.fields.get("formId") for change in new))
    drafts = await open_drafts(
        work, "answers", changes, shape_of=lambda change: answer_shape(forms.get(str(change.fields.get("formId"))))
    )
    check_rights(work, Collection.ANSWERS, drafts)
    for draft in drafts:
        if draft.change.intent is Intent.CREATE and not draft.replayed:
            _check_form(draft, forms)
    check_customers(drafts, heads)
    made = [draft for draft in drafts if draft.alive and draft.before is None]
    await check_of_customer(work, made, {"visitId": "visit", "correctsId": "answer"})
    await check_seen(work, made, {"contactId": "contacts", "styleId": "styles"})
    for draft in made:
        _decide(work, draft, forms[str(draft.after["formId"])], heads[str(draft.after["customerId"])])
    await _find_roots(work, [draft for draft in made if draft.alive])
    return await save_drafts(work, "answers", drafts)


def _check_form(draft: Draft, forms: Mapping[str, Form]) -> None:
    """Of an answer to a form nobody here knows no value can be judged: only that the form is missing is said."""
    form_id = str(draft.change.fields.get("formId"))
    if form_id in forms:
        draft.problems += value_problems(forms[form_id], draft.after.get(VALUES) or {})
        return
    draft.problems = [problem for problem in draft.problems if problem.path[:1] != (VALUES,)]
    if not any(problem.path == ("formId",) for problem in draft.problems):
        draft.refuse(Code.NOT_FOUND, "formId")


def _decide(work: Work, draft: Draft, form: Form, head: CustomerHead) -> None:
    answer = draft.after
    if not head.held and work.door is not Door.JOB:
        draft.refuse(Code.NOT_PERMITTED, "customerId")
    said_at = answer.get("answeredAt") or draft.change.captured_at_ms or work.now_ms
    try:
        check_not_future(int(said_at), work.now_ms, CLOCK_AHEAD_MS)
    except Refused as refused:
        draft.problems += [problem.under("answeredAt") for problem in refused.problems]
    answer.update(
        answeredAt=said_at, createdAt=work.now_ms, createdBy=work.principal.holder, territoryId=head.territory_id
    )
    answer[MEASURES] = [{"id": new_id(), **one} for one in measurements(form, answer[VALUES])]


async def _find_roots(work: Work, drafts: Sequence[Draft]) -> None:
    """The first answer of each chain of corrections: of those that share one, only the last counts."""
    corrected = sorted({str(draft.after["correctsId"]) for draft in drafts if draft.after.get("correctsId")})
    rows = await work.conn.fetch("SELECT id, root_id FROM answer WHERE id = ANY(?)", corrected) if corrected else []
    roots: dict[object, str] = dict(rows)
    for draft in drafts:
        draft.after["rootId"] = roots.get(draft.after.get("correctsId"), draft.id)
