"""Forms: an admin publishes versions and retires them; what was answered to any of them stays readable."""

from collections import Counter
from collections.abc import Sequence

from backend.domain.forms import form_problems, whole_questions
from backend.domain.permissions import Collection
from backend.errors import Code
from backend.storage.deleted import any_copy_holds
from backend.sync.changes import Change, Draft, Outcome, UseCase, open_drafts, save_drafts
from backend.sync.rights import check_rights
from backend.sync.work import Work

FORMS_MAX = 500
"""Versions of all forms together while nobody has set it otherwise."""


def forms_within(forms_max: int = FORMS_MAX) -> UseCase:
    """The use case with its bound: how many versions there may be, retired ones counted."""

    async def change_forms(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        """Publish a version, retire it or take that back, and delete one nobody has answered.

        A version never changes otherwise: the next one is a record of its own, numbered here under the same key.
        """
        # one at a time: two admins who publish the same form at once
        await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
        drafts = await open_drafts(work, "forms", changes)
        check_rights(work, Collection.FORMS, drafts)
        versions = await _versions(work)
        for draft in drafts:
            if not draft.alive:
                continue
            if draft.deleting:
                await _refuse_answered(work, draft)
            elif draft.before is None:
                _publish(work, draft, versions, forms_max)
        return await save_drafts(work, "forms", drafts)

    return change_forms


async def _versions(work: Work) -> Counter[str]:
    """Key → its highest version; the empty key counts them all."""
    rows = await work.conn.fetch("SELECT key, MAX(version), COUNT(*) FROM form GROUP BY key")
    found = Counter({key: version for key, version, _ in rows})
    found[""] = sum(count for _, _, count in rows)
    return found


def _publish(work: Work, draft: Draft, versions: Counter[str], forms_max: int) -> None:
    form = draft.after
    draft.problems += form_problems(form)
    if versions[""] >= forms_max:
        draft.refuse(Code.TOO_MANY, "id", allowed=(str(forms_max),))
    if draft.problems:
        return
    key = str(form["key"])
    versions[key] += 1
    versions[""] += 1
    form["questions"] = whole_questions(form["questions"])
    form.update(version=versions[key], createdAt=work.now_ms, createdBy=work.principal.holder)


async def _refuse_answered(work: Work, draft: Draft) -> None:
    """An answer, seen or not, keeps what it was asked; so does a deleted one that may be brought back."""
    answered = await work.conn.fetch("SELECT 1 FROM answer WHERE form_id = ? LIMIT 1", draft.id)
    if answered or await any_copy_holds(work.conn, "answers", f'"form_id":"{draft.id}"'):
        draft.refuse(Code.NOT_EDITABLE, "id")
