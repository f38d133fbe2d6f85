"""Work captured before a territory changed hands is taken from whoever had it then, for some days (`sync.md` §8).

A change is *late* when its device may no longer see what it names and did when the change was captured: some place
of the record met a grant of the user then, and that ended since, not longer ago than the days of grace. Its own
capture decides, so it runs with a principal that says when (`Principal.formerly`); everything that loads rows under
scope asks the principal, and no use case knows. What is taken lands where the record stands now, is marked, and is
answered without the record.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backend.auth.principal import Formerly
from backend.domain.territories import GRACE_DAYS, in_grace
from backend.domain.times import DAY_MS
from backend.ids import is_id
from backend.storage.customers import customers_of
from backend.storage.visibility import CONTINUED, HOLDERS, MEETING
from backend.sync.aliases import survivors_of
from backend.sync.changes import Change, Intent
from backend.sync.collections import COLLECTIONS
from backend.sync.work import Work

Key = tuple[str, str]
"""(collection, record id); of a territory (`TERRITORIES`, id)"""
TERRITORIES = "territories"
_NAMED: Mapping[str, str] = {"customerId": "customers", "contactId": "contacts"}


@dataclass(slots=True)
class _Seen:
    """How one user saw one record. `ended`: (granted at, ended at) of each time that is over."""

    now: bool = False
    ended: list[tuple[int, int]] = field(default_factory=list)

    def then(self, captured_at_ms: int, now_ms: int, grace_days: int) -> bool:
        return any(
            granted_at <= captured_at_ms and in_grace(captured_at_ms, ended_at, now_ms, grace_days)
            for granted_at, ended_at in self.ended
        )


_NEVER = _Seen()


async def late_changes(
    work: Work, wishes: Sequence[tuple[str, Change]], *, grace_days: int = GRACE_DAYS
) -> list[Formerly | None]:
    """For each (collection, change) of a queue, oldest first: when it was captured, if it is late; else None.

    A change without a time, or of what its device still sees, never is.
    """
    timed = [(name, change) for name, change in wishes if _is_timed(change)]
    if not timed:
        return [None] * len(wishes)
    keys = {key for name, change in timed for key in _keys(name, change)}
    survivors = await survivors_of(work.conn, {record_id for _, record_id in keys})
    keys |= {(name, survivors[record_id]) for name, record_id in keys if record_id in survivors}
    owners = await _owners(work, keys)
    keys |= {("customers", owner) for owner in owners.values()}
    seen = await _how_seen(work, keys)
    for (name, record_id), how in list(seen.items()):
        if record_id in survivors:
            how.now = how.now or seen.get((name, survivors[record_id]), _NEVER).now
    found: list[Formerly | None] = []
    made: dict[Key, str] = {}
    for name, change in wishes:
        at = change.captured_at_ms
        late = at is not None and _is_late(work, name, change, at, seen, {**owners, **made}, grace_days)
        if late and change.intent is Intent.CREATE and is_id(change.fields.get("customerId")):
            made[name, change.id] = str(change.fields["customerId"])
        after_ms = work.now_ms - grace_days * DAY_MS - 1
        found.append(Formerly(at, max(at, after_ms)) if late and at is not None else None)
    return found


def _is_timed(change: Change) -> bool:
    # whether something may be brought back is judged by what its user sees now
    return change.captured_at_ms is not None and is_id(change.id) and change.intent is not Intent.RESTORE


def _keys(name: str, change: Change) -> Iterable[Key]:
    """What must be seen for the change to be taken: the record, or what a new one hangs on."""
    if change.intent is not Intent.CREATE:
        yield name, change.id
        return
    for field_name, collection in _NAMED.items():
        if is_id(named := change.fields.get(field_name)):
            yield collection, str(named)
    holder = change.fields.get("collection")
    if name == "attachments" and holder in HOLDERS and is_id(named := change.fields.get("recordId")):
        yield str(holder), str(named)
    if name == "customers" and is_id(named := change.fields.get("territoryId")):
        yield TERRITORIES, str(named)


def _is_late(
    work: Work,
    name: str,
    change: Change,
    captured_at_ms: int,
    seen: Mapping[Key, _Seen],
    owners: Mapping[Key, str],
    grace_days: int,
) -> bool:
    for key in _keys(name, change):
        how = seen.get(key, _NEVER)
        if how.now:
            continue
        # what was made late never stood where its author could see it: its customer did
        owner = seen.get(("customers", owners.get(key, "")), _NEVER)
        if any(one.then(captured_at_ms, work.now_ms, grace_days) for one in (how, owner)):
            return True
    return False


async def _owners(work: Work, keys: Iterable[Key]) -> dict[Key, str]:
    """The customers of records a rep goes on with."""
    found: dict[Key, str] = {}
    for name in sorted(CONTINUED):
        ids = sorted(record_id for collection, record_id in keys if collection == name)
        owners = await customers_of(work.conn, COLLECTIONS[name].table, ids)
        found.update({(name, record_id): owner for record_id, owner in owners.items() if owner is not None})
    return found


async def _how_seen(work: Work, keys: Iterable[Key]) -> dict[Key, _Seen]:
    """Every time a place of these records and a grant of the principal were open together."""
    by_collection: dict[str, list[str]] = defaultdict(list)
    for name, record_id in keys:
        by_collection[name].append(record_id)
    found: dict[Key, _Seen] = defaultdict(_Seen)
    territories = by_collection.pop(TERRITORIES, [])
    for name, ids in sorted(by_collection.items()):
        rows = await work.conn.fetch(
            "SELECT w.record_id, u.granted_at, w.left_seq IS NULL, w.left_at, u.revoked_seq IS NULL, u.revoked_at"
            " FROM feed_scope w JOIN user_scope u ON u.scope = w.scope AND u.user_id = ?"
            f" WHERE w.collection = ? AND w.record_id = ANY(?) AND {MEETING}",
            work.principal.holder,
            name,
            sorted(ids),
        )
        for record_id, granted_at, stands, left_at, held, revoked_at in rows:
            how = found[name, record_id]
            ends = [] if stands else [left_at]
            ends += [] if held else [revoked_at]
            if not ends:
                how.now = True
            elif None not in ends:  # a place closed before that was noted says nothing
                how.ended.append((granted_at, min(ends)))
    rows = await work.conn.fetch(
        "SELECT scope, granted_at, revoked_at FROM user_scope WHERE user_id = ? AND scope = ANY(?)",
        work.principal.holder,
        [f"territory:{territory_id}" for territory_id in sorted(territories)],
    )
    for scope, granted_at, revoked_at in rows:
        how = found[TERRITORIES, scope.removeprefix("territory:")]
        if revoked_at is None:
            how.now = True
        else:
            how.ended.append((granted_at, revoked_at))
    return found
