"""The pull, as simulated: one page of what changed for a user since a position. Read `docs/` on the protocol.

Everything of one page is read in one snapshot. The delta is read per open scope by (scope, seq, collection, id)
and merged; a newly granted scope is sent by backfill, in the room the delta leaves. Which reading of this
algorithm fails, and how, is listed beside the oracle test (`tests/sync/test_pull_oracle.py`).
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from backend.auth.principal import Principal
from backend.storage.engine import Connection
from backend.sync.buckets import BUCKET_ROWS, buckets_for
from backend.sync.collections import COLLECTIONS
from backend.sync.counted import count_pulled
from backend.sync.cursor import FIRST, Backfill, Cursor, Position, expired, seal, unseal
from backend.sync.devices import Pulling
from backend.sync.feed import digest_text
from backend.sync.opening import read_opening
from backend.sync.places import Places, Row, Rows, places_after, rows_of, scopes_of, shapes_of, standing_after
from backend.sync.versions import SCHEMA_VERSION, changed_between, check_served, is_known, shape_at
from backend.sync.walk import walk_of

SUMMED_ROWS = 500
SUMS_KEPT_MAX = 10_000
HOLDERS_KEPT_MAX = 10_000


@dataclass(slots=True)
class Block:
    """What one page says about one collection in one scope. No id stands in both lists."""

    scope: str
    collection: str
    rows: Rows
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Checksum:
    scope: str
    collection: str
    total: str
    count: int
    buckets: int = 1
    """In how many parts a device that holds something else compares it."""


@dataclass(frozen=True, slots=True)
class Page:
    clock: int
    cursor: str
    complete: bool
    blocks: tuple[Block, ...]
    scopes_removed: tuple[str, ...]
    acked_mutation: int
    checksums: tuple[Checksum, ...]
    base: int
    """What the presented cursor proves the device has: collected history ends below it."""
    device: Pulling | None = None
    """What was noted of the device, where it was asked whether it may pull."""
    held: tuple[str, ...] = ()
    """The scopes open to the user, sorted."""


@dataclass(frozen=True, slots=True)
class Refetch:
    """A collection in a scope to be sent again; `bucket`, one of `buckets`, when only a part of it differs."""

    scope: str
    collection: str
    bucket: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class PullRequest:
    cursor: str | None
    limit: int
    schema_version: int = SCHEMA_VERSION
    refetch: tuple[Refetch, ...] = ()
    bytes_max: int | None = None
    """Bytes of documents the client wants at most in a page; one row always passes."""


class SumsKept:
    """What pulls leave for those that come after.

    Checksums of documents that are not sent as they are stored, kept while nothing they are made of changes: what
    stands in a scope is known by its own checksum; so devices of an older version that pull one after the other have
    it computed once. And which scopes a user held, to be read before it is known whether he holds them still.
    """

    def __init__(self) -> None:
        self._sums: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._scopes: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def scopes_held(self, user_id: str) -> tuple[str, ...] | None:
        """What the user held when he pulled last, sorted; None where that is not known."""
        return self._scopes.get(user_id)

    def hold_scopes(self, user_id: str, scopes: tuple[str, ...] | None) -> None:
        """Remember what a user holds, or forget it."""
        self._scopes.pop(user_id, None)
        if scopes is not None:
            self._scopes[user_id] = scopes
            while len(self._scopes) > HOLDERS_KEPT_MAX:
                self._scopes.popitem(last=False)

    def get(self, key: tuple[object, ...]) -> str | None:
        return self._sums.get(key)

    def put(self, key: tuple[object, ...], total: str) -> None:
        self._sums[key] = total
        while len(self._sums) > SUMS_KEPT_MAX:
            self._sums.popitem(last=False)


async def pull(
    conn: Connection,
    principal: Principal,
    request: PullRequest,
    *,
    secret: bytes,
    bytes_max: int,
    schema_oldest: int = 1,
    sums: SumsKept | None = None,
    bucket_rows: int = BUCKET_ROWS,
    client: str = "native",
    device_at_ms: int | None = None,
) -> Page:
    """One page for the principal's device; `conn` is one snapshot.

    Documents are those of the schema version asked for. Raises CURSOR_INVALID, CURSOR_EXPIRED (start again from
    null, keep local work; also when the client went back to an older schema than its cursor's), UPGRADE_REQUIRED;
    and, unless somebody has asked already, for a device that may not pull at `device_at_ms` what says so.
    """
    user_id, device_id = principal.holder, principal.device_id or ""
    version = request.schema_version
    check_served(version, oldest=schema_oldest)
    presented = (
        None if request.cursor is None else unseal(request.cursor, secret=secret, user_id=user_id, device_id=device_id)
    )
    scopes_at = -1 if presented is None else presented.scopes_at
    opening = await read_opening(conn, principal, scopes_at)
    clock = opening.clock
    device = None if device_at_ms is None else opening.device(device_at_ms)
    if presented is None:
        cursor, base = Cursor(Position(clock), scopes_at, (), version), 0
    else:
        cursor, base = presented, presented.position.base
        # what a newer client holds an older one would never be told to drop
        if cursor.is_expired(clock, opening.horizon) or cursor.schema > version:
            raise expired()
    open_scopes, lost = scopes_of(opening.grants, scopes_at)
    backfill = _backfill_now(cursor, open_scopes, lost, request.refetch)
    if cursor.schema < version:
        backfill += await _backfill_of_new_shapes(conn, cursor, sorted(open_scopes), backfill, version)

    page = _Filler(request.limit, min(bytes_max, request.bytes_max or bytes_max))
    position = await _delta(conn, cursor.position, open_scopes, clock, page, version)
    remaining = await _fill_back(conn, backfill, page, version)
    complete = position == Position(clock) and not remaining
    count_pulled(sum(len(block.rows) for block in page.blocks.values()), client)
    return Page(
        clock=clock,
        cursor=seal(
            Cursor(position, clock, remaining, version),
            secret=secret,
            user_id=user_id,
            device_id=device_id,
        ),
        complete=complete,
        blocks=tuple(page.blocks.values()),
        scopes_removed=tuple(sorted(lost)),
        acked_mutation=opening.acked_mutation,
        checksums=await read_checksums(conn, sorted(open_scopes), version=version, sums=sums, bucket_rows=bucket_rows)
        if complete
        else (),
        base=base,
        device=device,
        held=tuple(sorted(open_scopes)),
    )


def _backfill_now(
    cursor: Cursor, open_scopes: Mapping[str, int], lost: set[str], refetch: Sequence[Refetch]
) -> list[Backfill]:
    """The entries carried on, without lost scopes, and new ones for gained scopes and refetched collections."""
    up_to = cursor.position.seq
    kept = [
        entry
        for carried in cursor.backfill
        for entry in _spread(carried, open_scopes, cursor.scopes_at)
        if entry.scope not in lost and entry.scope in open_scopes
    ]
    kept += walk_of([scope for scope, granted in open_scopes.items() if granted > cursor.scopes_at], up_to)
    kept += [
        Backfill(wish.scope, up_to, only=wish.collection, bucket=wish.bucket)
        for wish in refetch
        if wish.scope in open_scopes
    ]
    return kept


def _spread(entry: Backfill, open_scopes: Mapping[str, int], scopes_at: int) -> list[Backfill]:
    """An entry as it stands, or one per scope when it goes on through all that were held at `scopes_at`."""
    if entry.onward is None:
        return [entry]
    here = replace(entry, onward=None)
    later = sorted(scope for scope, at in open_scopes.items() if entry.scope < scope < entry.onward and at <= scopes_at)
    return [here, *(replace(here, scope=scope, after=FIRST) for scope in later)]


async def _backfill_of_new_shapes(
    conn: Connection, cursor: Cursor, scopes: Sequence[str], entries: Sequence[Backfill], version: int
) -> list[Backfill]:
    """Entries for what the client's new version shows otherwise, or at all, where something of it stands.

    What is still to be sent from its beginning needs none: it comes in the new version anyway.
    """
    standing = await conn.fetch(
        "SELECT DISTINCT scope, collection FROM feed_scope WHERE scope = ANY(?) AND collection = ANY(?)"
        " AND left_seq IS NULL ORDER BY scope, collection",
        list(scopes),
        list(changed_between(cursor.schema, version)),
    )
    ahead = [entry for entry in entries if entry.untouched]
    return [
        Backfill(scope, cursor.position.seq, only=collection)
        for scope, collection in standing
        if not any(entry.scope == scope and entry.brings(collection) for entry in ahead)
    ]


class _Filler:
    """A page being filled, bounded by rows and by bytes; it always takes at least one row."""

    def __init__(self, limit: int, bytes_max: int) -> None:
        self.room = limit
        self.bytes_room = bytes_max
        self.taken = 0
        self.blocks: dict[tuple[str, str], Block] = {}

    @property
    def full(self) -> bool:
        return self.room <= 0 or (self.taken > 0 and self.bytes_room <= 0)

    def _block(self, scope: str, collection: str) -> Block:
        found = self.blocks.get((scope, collection))
        if found is None:
            found = self.blocks[scope, collection] = Block(scope, collection, Rows(collection))
        return found

    def put(self, scope: str, collection: str, record_id: str, seq: int, digest_number: int, document: bytes) -> bool:
        """Take a row, or say that it no longer fits."""
        size = len(document)
        if self.room <= 0 or (self.taken and (self.bytes_room <= 0 or size > self.bytes_room)):
            self.bytes_room = 0
            return False
        rows = self._block(scope, collection).rows
        rows.seqs.append(seq)
        rows.record_ids.append(record_id)
        rows.digest_numbers.append(digest_number)
        rows.documents.append(document)
        self.room -= 1
        self.taken += 1
        self.bytes_room -= size
        return True

    def put_first(self, places: Places) -> int:
        """Take as many open places with their rows as there is room for, if their bytes fit too; else none.

        A step for each would cost more than reading them. Returns how many were taken.
        """
        count = min(len(places), self.room)
        size = sum(map(len, places.documents[:count]))
        if count <= 0 or size > self.bytes_room:
            return 0
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for at, key in enumerate(zip(places.scopes[:count], places.collections[:count], strict=True)):
            found[key].append(at)
        for (scope, collection), places_at in found.items():
            rows = self._block(scope, collection).rows
            # one place alone would come without a tuple around it
            of = itemgetter(*places_at) if len(places_at) > 1 else lambda column, at=places_at[0]: (column[at],)
            rows.seqs += of(places.seqs)
            rows.record_ids += of(places.record_ids)
            rows.digest_numbers += of(places.digest_numbers)
            rows.documents += of(places.documents)
        self.room -= count
        self.taken += count
        self.bytes_room -= size
        return count

    def leave(self, scope: str, collection: str, record_id: str) -> bool:
        if self.full:
            return False
        self._block(scope, collection).left.append(record_id)
        self.room -= 1
        self.taken += 1
        return True


async def _delta(
    conn: Connection, position: Position, open_scopes: Mapping[str, int], clock: int, page: _Filler, version: int
) -> Position:
    """Fill the page with what changed after `position`; returns the position reached."""
    while not page.full:
        wanted = page.room + 1
        places = await places_after(conn, position, sorted(open_scopes), wanted)
        shapes = shapes_of(set(places.collections), version)
        other = await _in_another_shape(conn, places, shapes, version)
        taken = _take(places, shapes, open_scopes, other, page)
        if taken:
            position = places.position(taken - 1)
        if taken < len(places):
            return position
        if len(places) < wanted:
            return Position(clock)
    return position


async def _in_another_shape(
    conn: Connection, places: Places, shapes: Mapping[str, int], version: int
) -> dict[tuple[str, str], Row]:
    """What this client is sent of the records that are not stored in the shape it knows."""
    # names and shapes apart first: to put a page's together takes longer than to see that they are all the same
    wanted, stored_in = set(map(shapes.get, set(places.collections))) - {None}, set(places.doc_versions) - {None}
    if wanted == stored_in and len(wanted) == 1:
        return {}
    found = zip(places.collections, places.doc_versions, strict=True)
    if all(shapes.get(name, stored) == stored for name, stored in set(found) if stored is not None):
        return {}
    keys = [
        f"{name}:{record_id}"
        for name, record_id, stored in zip(places.collections, places.record_ids, places.doc_versions, strict=True)
        if stored is not None and stored != shapes.get(name, stored)
    ]
    return await rows_of(conn, keys, version=version)


def _take(
    places: Places,
    shapes: Mapping[str, int],
    open_scopes: Mapping[str, int],
    other: Mapping[tuple[str, str], Row],
    page: _Filler,
) -> int:
    """How many of the places, from the first, were delivered or concern nobody here: all, or until the page is full."""
    if not other and set(places.left_seqs) == {None} and shapes.keys() >= set(places.collections):
        taken = page.put_first(places)
        if taken:
            return taken
    for at, (scope, _, name, record_id, left_seq, stands, seq, digest, _, document) in enumerate(
        zip(*places.columns, strict=True)
    ):
        if name not in shapes:
            continue
        if left_seq is None:
            row = other.get((name, record_id)) if other else None
            if row is None:
                fits = page.put(scope, name, record_id, seq, digest, document)
            else:
                fits = page.put(scope, name, record_id, row.seq, row.digest_number, row.document)
        else:
            told = left_seq > open_scopes[scope] and not stands
            fits = not told or page.leave(scope, name, record_id)
        if not fits:
            return at
    return len(places)


async def _fill_back(
    conn: Connection, backfill: Sequence[Backfill], page: _Filler, version: int
) -> tuple[Backfill, ...]:
    """Fill the room left with what newly granted scopes hold; returns what is still to be sent."""
    remaining: list[Backfill] = []
    for entry in backfill:
        current: Backfill | None = entry
        while current is not None and not page.full:
            current = await _one_backfill(conn, current, page, version)
        if current is not None:
            remaining.append(current)
    return tuple(remaining)


async def _one_backfill(conn: Connection, entry: Backfill, page: _Filler, version: int) -> Backfill | None:
    wanted = page.room + 1
    places = await standing_after(conn, entry, wanted)
    shapes = shapes_of(set(places.collections), version)
    other = await _in_another_shape(conn, places, shapes, version)
    taken = _take(places, shapes, {}, other, page)
    if taken:
        entry = replace(entry, after=(places.collections[taken - 1], places.record_ids[taken - 1]))
    return entry if taken < len(places) or len(places) == wanted else None


async def read_checksums(
    conn: Connection,
    scopes: Sequence[str],
    *,
    version: int = SCHEMA_VERSION,
    sums: SumsKept | None = None,
    bucket_rows: int = BUCKET_ROWS,
) -> tuple[Checksum, ...]:
    """What a client of a schema version must hold of each (scope, collection) it knows, where anything stands.

    The sum kept is that of the stored documents. Where those are not what this client is sent, because it knows
    less or because they are not all of the present shape yet, it is computed from what it would be sent: a client
    takes a missing checksum for "nothing is there", and would fetch the collection again and again.
    """
    told = await conn.fetch(sums_sql(), list(scopes))
    mixed = _behind((name, least, most) for scope, name, _, least, most in told if not scope)
    rows = [row[:4] for row in told if row[0]]
    found = []
    for scope, name, total, live in rows:
        if not is_known(name, version):
            continue
        collection = COLLECTIONS[name]
        if name in mixed or shape_at(collection, version) != collection.doc_version:
            last = await _last_change(conn, scope) if name in mixed else 0
            key = (scope, name, version, total, live, last)
            known = sums.get(key) if sums else None
            total = known or await _sum_as_sent(conn, scope, name, version)
            if sums:
                sums.put(key, total)
        found.append(Checksum(scope, name, total, live, buckets_for(live, bucket_rows)))
    return tuple(found)


async def collections_behind(conn: Connection) -> frozenset[str]:
    """The collections of which some document has not the shape this process gives them.

    Least and largest, each one step into an index. Asked for "one above or below" PostgreSQL expects a third of the
    rows to be such, as it must of a value it does not know, and reads the whole table to find that none is.
    """
    return _behind(await conn.fetch(_shapes_sql()))


def sums_sql() -> str:
    """The checksums kept of a list of scopes; beside them, without a scope, the shapes of each collection."""
    return (
        "SELECT scope, collection, total, live, NULL AS most FROM scope_sum WHERE scope = ANY(?) AND live > 0"
        f" UNION ALL SELECT '', name, '', least, most FROM ({_shapes_sql()}) shapes ORDER BY 1, 2"
    )


def _shapes_sql() -> str:
    # one form for all: a plan with two steps of its own for each collection takes longer to begin than to run
    names = ", ".join(f"('{name}')" for name in COLLECTIONS)
    return (
        "SELECT n.column1 AS name,"
        " (SELECT MIN(doc_version) FROM feed WHERE collection = n.column1 AND NOT deleted) AS least,"
        " (SELECT MAX(doc_version) FROM feed WHERE collection = n.column1 AND NOT deleted) AS most"
        f" FROM (VALUES {names}) AS n"
    )


def _behind(shapes: Iterable[Sequence[Any]]) -> frozenset[str]:
    return frozenset(
        name for name, least, most in shapes if least is not None and not least == most == COLLECTIONS[name].doc_version
    )


async def _last_change(conn: Connection, scope: str) -> int:
    rows = await conn.fetch("SELECT MAX(seq) FROM feed_scope WHERE scope = ?", scope)
    return rows[0][0] or 0


async def _sum_as_sent(conn: Connection, scope: str, collection: str, version: int) -> str:
    """The sum of the digests of what stands there, as clients of this version are sent it."""
    total, after = 0, ""
    while ids := [
        row[0]
        for row in await conn.fetch(
            "SELECT record_id FROM feed_scope WHERE scope = ? AND collection = ? AND record_id > ?"
            f" AND left_seq IS NULL ORDER BY record_id LIMIT {SUMMED_ROWS}",
            scope,
            collection,
            after,
        )
    ]:
        rows = await rows_of(conn, [f"{collection}:{record_id}" for record_id in ids], version=version)
        total += sum(row.digest_number for row in rows.values())
        after = ids[-1]
    return digest_text(total)
