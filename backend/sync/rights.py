"""What a role may do to drafts, asked once for every collection and by every door."""

from collections.abc import Container, Iterable, Sequence

from backend.domain.permissions import Action, Collection, Role
from backend.domain.steps import SYSTEM
from backend.errors import Code
from backend.storage.customers import CustomerHead, lock_heads
from backend.sync.changes import Change, Draft, Intent
from backend.sync.work import Door, Work

_ACTION = {Intent.CREATE: Action.CREATE, Intent.PATCH: Action.UPDATE, Intent.DELETE: Action.DELETE}


def check_rights(work: Work, collection: Collection, drafts: Sequence[Draft]) -> None:
    """Refuse what the principal's role may not do; a use case may still let a right of its own through."""
    if work.door is Door.JOB:
        return
    for draft in drafts:
        action = _ACTION[draft.change.intent]
        if not work.principal.may(action, collection):
            draft.refuse(Code.NOT_PERMITTED)
        elif action is Action.UPDATE:
            _check_fields(draft, work.principal.updatable_fields(collection))


def _check_fields(draft: Draft, allowed: frozenset[str] | None) -> None:
    named: Iterable[str] = sorted({path.partition(".")[0] for path in draft.accepted})
    for name in named:
        if allowed is not None and name not in allowed:
            draft.refuse(Code.NOT_PERMITTED, name, allowed=sorted(allowed))


async def lock_customers(work: Work, table: str, changes: Sequence[Change]) -> dict[str, CustomerHead]:
    """The customers that these changes of children are about, as `lock_heads` says: those of the rows there are, and
    those that new ones name."""
    named = [change.fields.get("customerId") for change in changes if change.intent is Intent.CREATE]
    return await lock_heads(
        work.conn,
        work.principal,
        [value for value in named if isinstance(value, str)],
        table=table,
        children=[change.id for change in changes],
    )


def check_customers(drafts: Sequence[Draft], seen: Container[str]) -> None:
    """NOT_FOUND for a customer named but not seen, said beside whatever else is wrong with the draft."""
    for draft in drafts:
        named = draft.after.get("customerId") if draft.before is None else None
        if named is not None and not draft.replayed and str(named) not in seen:
            draft.refuse(Code.NOT_FOUND, "customerId")


async def check_reps(work: Work, drafts: Sequence[Draft]) -> None:
    """A rep's work is his own; others may name any active colleague."""
    naming = [d for d in drafts if d.alive and not d.deleting and ("repId" in d.accepted or d.before is None)]
    wanted = sorted({str(draft.after["repId"]) for draft in naming if draft.after.get("repId")})
    asked = "SELECT id FROM user_account WHERE id = ANY(?) AND active"
    active = {row[0] for row in await work.conn.fetch(asked, wanted)} if wanted else set()
    for draft in naming:
        rep = draft.after.get("repId")
        if work.principal.role is Role.REP and rep != work.principal.user_id:
            draft.refuse(Code.NOT_PERMITTED, "repId")
        elif rep not in active and work.door is not Door.JOB:
            draft.refuse(Code.NOT_FOUND, "repId")


def stepper(work: Work) -> str:
    """How the state machines name who asks. A service takes the steps a rep takes: it decides nothing for managers."""
    if work.door is Door.JOB:
        return SYSTEM
    return (work.principal.role or Role.REP).value
