"""Whether what drafts name is there: records of the same customer, and records their author may see."""

from collections.abc import Mapping, Sequence

from backend.errors import Code
from backend.storage.customers import customers_of
from backend.storage.visibility import visible_to
from backend.sync.changes import Draft
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Work

ACTIVE_PEOPLE = "SELECT id FROM user_account WHERE id = ANY(?) AND active"


async def check_of_customer(work: Work, drafts: Sequence[Draft], named: Mapping[str, str]) -> None:
    """NOT_FOUND for a field (→ table) that names a record of another customer, or none."""
    for name, table in named.items():
        owners = await customers_of(work.conn, table, _ids(drafts, name))
        for draft in _naming(drafts, name):
            if owners.get(str(draft.after[name])) != draft.after["customerId"]:
                draft.refuse(Code.NOT_FOUND, name)


async def check_seen(work: Work, drafts: Sequence[Draft], named: Mapping[str, str]) -> None:
    """NOT_FOUND for a field (→ collection) that names a record its author does not see, or none."""
    for name, collection in named.items():
        wanted = _ids(drafts, name)
        visible, args = visible_to(work.principal, collection, "t")
        asked = f"SELECT t.id FROM {COLLECTIONS[collection].table} t WHERE t.id = ANY(?) AND {visible}"
        seen = {row[0] for row in await work.conn.fetch(asked, wanted, *args)} if wanted else set()
        _refuse_unseen(drafts, name, seen)


async def check_active(work: Work, drafts: Sequence[Draft], name: str) -> None:
    """NOT_FOUND for a field that names nobody who works here."""
    wanted = _ids(drafts, name)
    seen = {row[0] for row in await work.conn.fetch(ACTIVE_PEOPLE, wanted)} if wanted else set()
    _refuse_unseen(drafts, name, seen)


def _refuse_unseen(drafts: Sequence[Draft], name: str, seen: set[str]) -> None:
    for draft in _naming(drafts, name):
        if draft.after[name] not in seen:
            draft.refuse(Code.NOT_FOUND, name)


def _naming(drafts: Sequence[Draft], name: str) -> list[Draft]:
    """Those that name something, and another than before."""
    return [
        draft
        for draft in drafts
        if draft.after.get(name) is not None and draft.after[name] != (draft.before or {}).get(name)
    ]


def _ids(drafts: Sequence[Draft], name: str) -> list[str]:
    return sorted({str(draft.after[name]) for draft in _naming(drafts, name)})
