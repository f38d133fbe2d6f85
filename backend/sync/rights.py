"""What a role may do to drafts, asked once for every collection and by every door."""

from collections.abc import Iterable, Sequence

from backend.domain.permissions import Action, Collection, may, updatable_fields
from backend.domain.steps import SYSTEM
from backend.errors import Code
from backend.sync.changes import Draft, Intent
from backend.sync.work import Door, Work

_ACTION = {Intent.CREATE: Action.CREATE, Intent.PATCH: Action.UPDATE, Intent.DELETE: Action.DELETE}


def check_rights(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    """Refuse what the principal's role may not do; a use case may still let a right of its own through."""
    role = work.principal.role
    if work.door is Door.JOB:
        return
    for draft in drafts:
        action = _ACTION[draft.change.intent]
        if role is None or not may(role, action, collection):
            draft.refuse(Code.NOT_PERMITTED)
        elif action is Action.UPDATE:
            _check_fields(draft, updatable_fields(role, collection))


def _check_fields(draft: Draft, allowed: frozenset[str] | None) -> None:
    named: Iterable[str] = sorted({path.partition(".")[0] for path in draft.accepted})
    for name in named:
        if allowed is not None and name not in allowed:
            draft.refuse(Code.NOT_PERMITTED, name, allowed=sorted(allowed))


def stepper(work: Work) -> str:
    """How the state machines name who asks."""
    return SYSTEM if work.door is Door.JOB or work.principal.role is None else work.principal.role.value
