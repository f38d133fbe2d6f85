"""RxDB's pull: one collection at a time, a checkpoint of its own for each, and removals by id.

That client takes what comes as truth and ends a run at the first page shorter than it asked for; it forgets the
checkpoint of an empty answer, and repeats every failed request for ever. The algorithm is `pull.md`'s, simulated
page by page; which simpler reading fails, and how, is listed beside `tests/sync/test_rxdb_oracle.py`.

Two things are added. What a device pushed a moment ago is told twice, the second time some seconds later: RxDB
leaves aside what comes of a record while its own write is on the way, and would never hear of it again. And a
checkpoint stands for what its collection holds, so the least of a device's checkpoints is what it has acked.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Engine
from backend.sync.counted import count_pulled
from backend.sync.cursor import Position, expired, open_body, seal_body
from backend.sync.devices import NOTE_SECONDS, NOTE_STEPS, pulling_device
from backend.sync.feed import read_clock
from backend.sync.places import Row, held_scopes, rows_of
from backend.sync.protocol import check_syncing
from backend.sync.work import Work, in_work

SCOPES_PER_STATEMENT = 100
DAY_MS = 86_400_000
HISTORY_DAYS_MIN = 30
"""History is never collected younger than this, so a collection silent for as long holds back nobody."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Of a scope that was lost: which of its places stood after `from_seq` is still to be told, after an id."""

    scope: str
    from_seq: int
    after: str = ""


@dataclass(frozen=True, slots=True)
class Backfill:
    """Of a scope that was gained: open places up to `up_to`, after an id, are still to be sent."""

    scope: str
    up_to: int
    after: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a device stands in one collection.

    `again`: where it stood before it was told of what itself had just pushed; when it is `due_ms`, it is told from
    there once more.
    """

    position: Position
    scopes_at: int
    backfill: tuple[Backfill, ...] = ()
    walk: tuple[Walk, ...] = ()
    again: "Checkpoint | None" = None
    due_ms: int = 0

    @property
    def base(self) -> int:
        """What the device surely has; history it still needs begins above."""
        return min([self.position.base, *(walk.from_seq for walk in self.walk)])


@dataclass(frozen=True, slots=True)
class Removed:
    """A record that is no longer to be seen: deleted, or gone from every scope held."""

    record_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. No id stands in it twice."""

    found: tuple[Row | Removed, ...]
    checkpoint: Checkpoint
    base: int
    """what the presented checkpoint proves"""


@dataclass(frozen=True, slots=True)
class _Kept:
    presented: str | None
    answer: str | None
    base: int
    seen_at_ms: int


def collection_secret(secret: bytes, collection: str) -> bytes:
    """The key of one collection's checkpoints: they are good for nothing else."""
    return hmac.new(secret, b"rxdb\0" + collection.encode(), hashlib.sha256).digest()


def seal(checkpoint: Checkpoint, *, secret: bytes, principal: Principal) -> str:
    """The text of a checkpoint for this user and device; `secret` is its collection's."""
    body = orjson.dumps(_packed(checkpoint))
    return seal_body(body, secret=secret, user_id=principal.holder, device_id=principal.device_id or "")


def unseal(token: str, *, secret: bytes, principal: Principal) -> Checkpoint:
    """The checkpoint in a text; raises CURSOR_INVALID for anyone else's, another collection's, or an altered one."""
    body = open_body(token, secret=secret, user_id=principal.holder, device_id=principal.device_id or "")
    return _unpacked(orjson.loads(body))


def _packed(checkpoint: Checkpoint) -> list[object]:
    at = checkpoint.position
    return [
        [at.seq, at.collection, at.record_id, at.scope],
        checkpoint.scopes_at,
        [[b.scope, b.up_to, b.after] for b in checkpoint.backfill],
        [[w.scope, w.from_seq, w.after] for w in checkpoint.walk],
        None if checkpoint.again is None else _packed(checkpoint.again),
        checkpoint.due_ms,
    ]


def _unpacked(body: Sequence[Any]) -> Checkpoint:
    at, scopes_at, backfill, walk, again, due_ms = body
    return Checkpoint(
        Position(*at),
        scopes_at,
        tuple(Backfill(*entry) for entry in backfill),
        tuple(Walk(*entry) for entry in walk),
        None if again is None else _unpacked(again),
        due_ms,
    )


async def answer_pull(
    engine: Engine,
    principal: Principal,
    collection: str,
    token: str | None,
    limit: int,
    *,
    secret: bytes,
    rows_max: int,
    echo_ms: int,
    retries_max: int,
    clock: Clock,
    note_seconds: int = NOTE_SECONDS,
) -> tuple[Page, str]:
    """One page of a collection and its checkpoint's text; what the device has proved is noted now and then.

    Raises OUT_OF_RANGE for a limit, DEVICE_REVOKED, CURSOR_INVALID, and CURSOR_EXPIRED: the app then hands in what
    it holds, drops the collection with its replication state, and begins again without a checkpoint.
    """
    check_syncing(principal)
    if not 1 <= limit <= rows_max:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("limit",), ("1", str(rows_max))))
    own = collection_secret(secret, collection)
    presented = None if token is None else unseal(token, secret=own, principal=principal)
    mark = hashlib.sha256((token or "").encode()).hexdigest()
    now_ms = clock()
    async with engine.read() as conn:
        await pulling_device(conn, principal, now_ms)
        kept = await _read_kept(conn, principal, collection)
        now, horizon = await read_clock(conn)
        if kept is not None and kept.answer is not None and kept.presented == mark:
            # nothing came of it, so the client still presents the one before; one worn out is as if never kept
            later = unseal(kept.answer, secret=own, principal=principal)
            presented = presented if is_expired(later, now, horizon) else later
        page = await pull(conn, principal, collection, presented, limit, now_ms=now_ms, echo_ms=echo_ms)
    answer = seal(page.checkpoint, secret=own, principal=principal)
    keeps = not page.found and page.checkpoint != presented
    if kept is None or ((keeps or kept.base != page.base) and _is_news(kept, page.base, now_ms, note_seconds)):

        async def note(work: Work) -> None:
            await _note(work, collection, page.base, (mark, answer) if keeps else None)

        await in_work(engine, principal, note, clock=clock, retries_max=retries_max)
    return page, answer


def _is_news(kept: _Kept, base: int, now_ms: int, note_seconds: int) -> bool:
    """Whether it is worth a write; what is not kept is only found again."""
    return base >= kept.base + NOTE_STEPS or now_ms >= kept.seen_at_ms + note_seconds * 1_000


async def _read_kept(conn: Connection, principal: Principal, collection: str) -> _Kept | None:
    rows = await conn.fetch(
        "SELECT presented, answer, base_seq, seen_at FROM rxdb_kept WHERE key = ?",
        f"{principal.device_id}:{collection}",
    )
    return _Kept(*rows[0]) if rows else None


async def _note(work: Work, collection: str, base: int, kept: tuple[str, str] | None) -> None:
    """Keep how far a collection has come, and the checkpoint of an empty answer, which the client does not."""
    device_id = work.principal.device_id
    stays = "presented = rxdb_kept.presented, answer = rxdb_kept.answer"
    changes = stays if kept is None else "presented = excluded.presented, answer = excluded.answer"
    await work.conn.execute(
        "INSERT INTO rxdb_kept (key, device_id, collection, presented, answer, base_seq, seen_at)"
        f" VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET {changes},"
        " base_seq = excluded.base_seq, seen_at = excluded.seen_at",
        f"{device_id}:{collection}",
        device_id,
        collection,
        *(kept or (None, None)),
        base,
        work.now_ms,
    )
    ((acked,),) = await work.conn.fetch(
        "SELECT min(base_seq) FROM rxdb_kept WHERE device_id = ? AND seen_at >= ?",
        device_id,
        work.now_ms - HISTORY_DAYS_MIN * DAY_MS,
    )
    await work.conn.execute(
        "UPDATE device SET acked_seq = CASE WHEN acked_seq < ? THEN ? ELSE acked_seq END, pulled_at = ?,"
        " last_seen_at = ? WHERE id = ?",
        acked,
        acked,
        work.now_ms,
        work.now_ms,
        device_id,
    )


def is_expired(checkpoint: Checkpoint, clock: int, horizon: int) -> bool:
    """Of another epoch, or needing history that is gone."""
    return checkpoint.position.seq >> 40 != clock >> 40 or checkpoint.base < horizon


def begin_at(clock: int) -> Checkpoint:
    """Where somebody stands who has everything up to a clock: what a stream begins with."""
    return Checkpoint(Position(clock), clock)


async def pull(
    conn: Connection,
    principal: Principal,
    collection: str,
    presented: Checkpoint | None,
    limit: int,
    *,
    now_ms: int,
    echo_ms: int,
) -> Page:
    """One page of exactly `limit` records while there are more; `conn` is one snapshot. Raises CURSOR_EXPIRED."""
    clock, horizon = await read_clock(conn)
    at = presented or Checkpoint(Position(clock), -1)
    if presented is not None and is_expired(at, clock, horizon):
        raise expired("checkpoint", "cursor")
    reader = _Reader(conn, principal, collection)
    at, open_scopes = await _with_scopes_of_now(reader, at)
    if at.again is not None and now_ms >= at.due_ms:
        again = at.again
        at = replace(at, again=None, due_ms=0)
        if not is_expired(again, clock, horizon):
            at = _merged(at, (await _with_scopes_of_now(reader, again))[0])
    filling = _Filling(limit)
    walk = await _walk(reader, at.walk, filling)
    position = await _delta(reader, at.position, sorted(open_scopes), clock, filling)
    backfill = await _fill_back(reader, at.backfill, filling)
    reached = Checkpoint(position, clock, backfill, walk, at.again, at.due_ms)
    if not filling.found.keys().isdisjoint(await reader.pushed_since(now_ms - echo_ms)):
        before = at.again or replace(at, scopes_at=clock)
        reached = replace(reached, again=before, due_ms=now_ms + echo_ms)
    count_pulled(len(filling.found), "rxdb")
    return Page(tuple(filling.found.values()), reached, 0 if presented is None else presented.base)


async def _with_scopes_of_now(reader: "_Reader", at: Checkpoint) -> tuple[Checkpoint, dict[str, int]]:
    """Grants against those at the last page: a walk over each scope lost, a backfill of each gained.

    A scope given back does not end its walk: records may have left it while it was away.
    """
    open_scopes, lost = await held_scopes(reader.conn, reader.principal.holder, at.scopes_at)
    walks = {walk.scope: walk for walk in at.walk}
    for scope in sorted(lost):
        held = walks.get(scope)
        walks[scope] = Walk(scope, min(at.position.base, held.from_seq) if held else at.position.base)
    backfill = [entry for entry in at.backfill if entry.scope not in lost and entry.scope in open_scopes]
    gained = sorted(scope for scope, granted in open_scopes.items() if granted > at.scopes_at)
    backfill += [Backfill(scope, at.position.seq) for scope in gained]
    return replace(at, walk=tuple(walks.values()), backfill=tuple(backfill)), open_scopes


def _merged(at: Checkpoint, earlier: Checkpoint) -> Checkpoint:
    """Told from where it stood earlier, and of all it was still to be told where it stands."""
    walks = {walk.scope: walk for walk in at.walk}
    for walk in earlier.walk:
        held = walks.get(walk.scope, walk)
        walks[walk.scope] = Walk(walk.scope, min(walk.from_seq, held.from_seq), min(walk.after, held.after))
    backfills = {entry.scope: entry for entry in at.backfill}
    for entry in earlier.backfill:
        other = backfills.get(entry.scope, entry)
        backfills[entry.scope] = Backfill(entry.scope, max(entry.up_to, other.up_to), min(entry.after, other.after))
    position = min(at.position, earlier.position)
    return replace(at, position=position, walk=tuple(walks.values()), backfill=tuple(backfills.values()))


@dataclass(slots=True)
class _Filling:
    """A page on its way: exactly `limit` records while there are more, none twice."""

    limit: int
    found: dict[str, Row | Removed] = field(default_factory=dict)

    @property
    def room(self) -> int:
        return self.limit - len(self.found)

    def put(self, record_id: str, one: Row | Removed) -> bool:
        """False when it no longer fits. What is in the page already is passed over: same snapshot, same answer."""
        if record_id in self.found:
            return True
        if self.room <= 0:
            return False
        self.found[record_id] = one
        return True


@dataclass(slots=True)
class _Reader:
    """One collection, read for one user within a snapshot."""

    conn: Connection
    principal: Principal
    collection: str

    async def documents(self, ids: Sequence[str]) -> dict[str, Row]:
        rows = await rows_of(self.conn, sorted({f"{self.collection}:{record_id}" for record_id in ids}))
        return {record_id: row for (_, record_id), row in rows.items()}

    async def visible(self, ids: Sequence[str]) -> set[str]:
        """Those with an open place in a scope held now."""
        if not ids:
            return set()
        rows = await self.conn.fetch(
            "SELECT DISTINCT p.record_id FROM feed_scope p"
            " JOIN user_scope g ON g.scope = p.scope AND g.user_id = ? AND g.revoked_seq IS NULL"
            " WHERE p.collection = ? AND p.record_id = ANY(?) AND p.left_seq IS NULL",
            self.principal.holder,
            self.collection,
            sorted(set(ids)),
        )
        return {row[0] for row in rows}

    async def pushed_since(self, moment_ms: int) -> set[str]:
        """The records this device pushed after a moment: it may still be waiting for what became of them."""
        rows = await self.conn.fetch(
            "SELECT record_id FROM rxdb_pushed WHERE device_id = ? AND collection = ? AND at > ?",
            self.principal.device_id,
            self.collection,
            moment_ms,
        )
        return {row[0] for row in rows}

    async def places(self, position: Position, scopes: Sequence[str], limit: int) -> list["_Place"]:
        """The next places by (seq, id, scope) and whether they met a grant, each scope by its own index range."""
        found: list[_Place] = []
        one = (
            "SELECT * FROM (SELECT p.scope, p.seq, p.record_id, p.left_seq, (p.left_seq IS NULL OR EXISTS"
            " (SELECT 1 FROM user_scope g WHERE g.user_id = ? AND g.scope = p.scope AND g.granted_seq < p.left_seq"
            " AND (g.revoked_seq IS NULL OR p.entered_seq < g.revoked_seq))) AS met"
            " FROM feed_scope p WHERE p.scope = ? AND p.collection = ?"
            " AND (p.seq, p.collection, p.record_id) {more} (?, ?, ?)"
            " ORDER BY p.seq, p.collection, p.record_id LIMIT ?) s{n}"
        )
        for start in range(0, len(scopes), SCOPES_PER_STATEMENT):
            statements: list[str] = []
            args: list[object] = []
            for n, scope in enumerate(scopes[start : start + SCOPES_PER_STATEMENT]):
                # rows of the very position are still to come in scopes that sort after its own
                more = ">=" if scope > position.scope else ">"
                statements.append(one.format(more=more, n=n))
                args += [self.principal.holder, scope, self.collection]
                args += [position.seq, position.collection, position.record_id, limit]
            found += [
                _Place(Position(seq, self.collection, record_id, scope), left is None, bool(met))
                for scope, seq, record_id, left, met in await self.conn.fetch(" UNION ALL ".join(statements), *args)
            ]
        found.sort(key=lambda place: place.position)
        return found[:limit]


@dataclass(frozen=True, slots=True)
class _Place:
    position: Position
    open: bool
    met: bool
    """Its time and a grant's met: the user may have seen the record here."""


async def _walk(reader: _Reader, walks: Sequence[Walk], filling: _Filling) -> tuple[Walk, ...]:
    """Tell what the lost scopes held and is no longer to be seen; returns what is still to be told."""
    remaining: list[Walk] = []
    for walk in walks:
        current: Walk | None = walk
        while current is not None and filling.room > 0:
            current = await _one_walk(reader, current, filling)
        if current is not None:
            remaining.append(current)
    return tuple(remaining)


async def _one_walk(reader: _Reader, walk: Walk, filling: _Filling) -> Walk | None:
    wanted = filling.room + 1
    rows = await reader.conn.fetch(
        "SELECT DISTINCT p.record_id FROM feed_scope p WHERE p.scope = ? AND p.collection = ? AND p.record_id > ?"
        " AND (p.left_seq IS NULL OR p.left_seq > ?) AND EXISTS (SELECT 1 FROM user_scope g WHERE g.user_id = ?"
        " AND g.scope = p.scope AND (p.left_seq IS NULL OR g.granted_seq < p.left_seq)"
        " AND (g.revoked_seq IS NULL OR p.entered_seq < g.revoked_seq)) ORDER BY p.record_id LIMIT ?",
        walk.scope,
        reader.collection,
        walk.after,
        walk.from_seq,
        reader.principal.holder,
        wanted,
    )
    ids = [row[0] for row in rows]
    seen = await reader.visible(ids)
    for record_id in ids:
        if record_id not in seen and not filling.put(record_id, Removed(record_id)):
            return walk
        walk = replace(walk, after=record_id)
    return walk if len(ids) == wanted else None


async def _delta(reader: _Reader, position: Position, scopes: Sequence[str], clock: int, filling: _Filling) -> Position:
    """Tell what changed after `position`; returns the position reached, which passes nothing that did not fit."""
    while filling.room > 0:
        wanted = filling.room + 1
        places = await reader.places(position, scopes, wanted)
        documents = await reader.documents([place.position.record_id for place in places if place.open])
        seen = await reader.visible([place.position.record_id for place in places if not place.open and place.met])
        for place in places:
            if not _take(place, documents, seen, filling):
                return position
            position = place.position
        if len(places) < wanted:
            return Position(clock)
    return position


def _take(place: _Place, documents: Mapping[str, Row], seen: set[str], filling: _Filling) -> bool:
    """True when the place was told of, or concerns nobody here; False when it no longer fits."""
    record_id = place.position.record_id
    if place.open:
        return filling.put(record_id, documents[record_id])
    if place.met and record_id not in seen:
        return filling.put(record_id, Removed(record_id))
    return True


async def _fill_back(reader: _Reader, backfill: Sequence[Backfill], filling: _Filling) -> tuple[Backfill, ...]:
    """Fill the room left with what newly granted scopes hold; returns what is still to be sent."""
    remaining: list[Backfill] = []
    for entry in backfill:
        current: Backfill | None = entry
        while current is not None and filling.room > 0:
            current = await _one_backfill(reader, current, filling)
        if current is not None:
            remaining.append(current)
    return tuple(remaining)


async def _one_backfill(reader: _Reader, entry: Backfill, filling: _Filling) -> Backfill | None:
    wanted = filling.room + 1
    rows: list[Any] = await reader.conn.fetch(
        "SELECT p.record_id FROM feed_scope p WHERE p.scope = ? AND p.collection = ? AND p.record_id > ?"
        " AND p.left_seq IS NULL AND p.seq <= ? ORDER BY p.record_id LIMIT ?",
        entry.scope,
        reader.collection,
        entry.after,
        entry.up_to,
        wanted,
    )
    documents = await reader.documents([row[0] for row in rows])
    for (record_id,) in rows:
        if not filling.put(record_id, documents[record_id]):
            return entry
        entry = replace(entry, after=record_id)
    return entry if len(rows) == wanted else None
