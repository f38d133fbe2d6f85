"""What an erasure did, and how each record it took or changed is noted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.domain.audit import AuditAction
from backend.domain.permissions import Collection
from backend.sync.work import Work

CONTACTS, CUSTOMERS, PEOPLE = "contacts", "customers", "people"
RIGHT_ON: Mapping[str, Collection] = {
    CONTACTS: Collection.CONTACTS,
    CUSTOMERS: Collection.CUSTOMERS,
    PEOPLE: Collection.USERS,
}
"""Collections in which people stand → what the right to erase them is given on."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Somebody else's text that names the person, for somebody to look at."""

    collection: str
    record_id: str
    field: str


@dataclass(slots=True)
class Erased:
    """What an erasure did. `counts`: what was removed or cleared, by kind."""

    id: str
    collection: str
    erasure_id: str
    reason: str
    at_ms: int
    ids: dict[str, str] = field(default_factory=dict)
    """every id that is of the person → its collection"""
    counts: dict[str, int] = field(default_factory=dict)
    mentions: list[Mention] = field(default_factory=list)
    attachment_ids: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    already: bool = False
    """erased before: nothing was left to do"""

    def count(self, kind: str, rows: int) -> None:
        if rows:
            self.counts[kind] = self.counts.get(kind, 0) + rows


def note_gone(work: Work, collection: str, ids: Sequence[str]) -> None:
    for record_id in ids:
        work.deleted(collection, record_id)
        note_erased(work, collection, record_id)


def note_erased(work: Work, collection: str, record_id: str, fields: Sequence[str] = ()) -> None:
    """Every record that changed gets an entry of its own, for what no entry tells of is told with its values."""
    work.audit(AuditAction.ERASE, collection, record_id, fields)
