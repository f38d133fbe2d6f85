"""The feed: one stored document per record, its places as intervals, and checksums, all written after the clock.

`feed.document` is canonical JSON (sorted keys; integers, strings, booleans and null), written once and passed
through unparsed ever after. `field_seq` maps a field path to `[seq, writer]` of its last change, without a writer
where values of several were joined; the path `*` stands for every field not named, and `@<path>` keeps when a value
was captured whose later capture wins.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import orjson

from backend.domain.merge import SEVERAL
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Row
from backend.storage.steps import STEPS_CHANNEL
from backend.storage.visibility import PLACES, places_sql
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.documents import read_documents
from backend.sync.versions import is_same

EPOCH_STEP = 2**40
WHOLE = "*"
CAPTURED = "@"
EMPTY_DOCUMENT = b"{}"
FIELD_SEQ_KEPT_CHARACTERS_MAX = 1_000
"""Longer ones are those of orders, of which no two are alike."""
DIGEST_MODULUS = 2**64


@dataclass(slots=True)
class Touch:
    """What a work noted about one record."""

    collection: str
    record_id: str
    paths: set[str] = field(default_factory=set)
    captured: dict[str, int] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)
    created: bool = False
    deleted: bool = False
    restored: bool = False
    """it was deleted and is back: what its fields remember of who wrote them still holds"""
    stays: bool = False
    """whoever wrote it knows that nothing changed by which its places are told"""

    def copy(self) -> "Touch":
        return replace(self, paths=set(self.paths), captured=dict(self.captured), joined=set(self.joined))


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A document that changed without anybody having noted it for the audit; None where there was or is none."""

    collection: str
    record_id: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A feed row without its document."""

    seq: int
    deleted: bool
    field_seq: Mapping[str, tuple[int, str]]
    captured: Mapping[str, int]
    digest: int

    @property
    def made_seq(self) -> int:
        """When the record was made, as far as its fields remember."""
        return self.field_seq.get(WHOLE, (0, ""))[0]


def digest_of(document: bytes) -> int:
    """First 8 bytes of SHA-256, as the signed integer a BIGINT holds."""
    return int.from_bytes(hashlib.sha256(document).digest()[:8], "big", signed=True)


def digest_text(digest: int) -> str:
    """A digest or a sum of digests as clients compare it: 16 hexadecimal digits."""
    return f"{digest % DIGEST_MODULUS:016x}"


async def read_clock(conn: Connection) -> tuple[int, int]:
    """(clock, horizon) of this snapshot."""
    rows = await conn.fetch("SELECT seq, horizon FROM sync_clock WHERE id = 1")
    return rows[0][0], rows[0][1]


async def step_clock(conn: Connection) -> int:
    """The next seq. Its row stays locked until commit: whoever steps later also commits later.

    PostgreSQL tells the other processes at commit, in the order of commits, and nothing of what is undone.
    """
    told = f", pg_notify('{STEPS_CHANNEL}', seq::text)" if conn.dialect is Dialect.POSTGRES else ""
    rows = await conn.fetch(f"UPDATE sync_clock SET seq = seq + 1 WHERE id = 1 RETURNING seq{told}")
    return int(rows[0][0])


async def read_stored(conn: Connection, collection: str, ids: Iterable[str]) -> dict[str, Stored]:
    rows = await conn.fetch(
        "SELECT record_id, seq, deleted, field_seq, digest FROM feed WHERE key = ANY(?)",
        [f"{collection}:{record_id}" for record_id in ids],
    )
    return _stored(rows)


async def read_stored_and_clock(conn: Connection, collection: str, ids: Iterable[str]) -> tuple[dict[str, Stored], int]:
    """The same, and the clock of the same moment."""
    rows = await conn.fetch(
        "SELECT f.record_id, f.seq, f.deleted, f.field_seq, f.digest, c.seq"
        " FROM sync_clock c LEFT JOIN feed f ON f.key = ANY(?) WHERE c.id = 1",
        [f"{collection}:{record_id}" for record_id in ids],
    )
    return _stored([row for row in rows if row[0] is not None]), rows[0][5]


def _stored(rows: Iterable[Row]) -> dict[str, Stored]:
    return {row[0]: Stored(row[1], bool(row[2]), *_field_seq(row[3]), row[4]) for row in rows}


def _field_seq(text: str) -> tuple[Mapping[str, tuple[int, str]], Mapping[str, int]]:
    """(path → last change, path → when its value was captured)."""
    return _short_field_seq(text) if len(text) <= FIELD_SEQ_KEPT_CHARACTERS_MAX else _read_field_seq(text)


@lru_cache(maxsize=1_000)
def _short_field_seq(text: str) -> tuple[Mapping[str, tuple[int, str]], Mapping[str, int]]:
    """Records that were made or changed together have one text, and each is read twice."""
    return _read_field_seq(text)


def _read_field_seq(text: str) -> tuple[Mapping[str, tuple[int, str]], Mapping[str, int]]:
    changes: dict[str, tuple[int, str]] = {}
    captured: dict[str, int] = {}
    for path, held in orjson.loads(text).items():
        if path.startswith(CAPTURED):
            captured[path.removeprefix(CAPTURED)] = held
        else:
            changes[path] = (held[0], held[1])
    return changes, captured


async def write_feed(
    conn: Connection,
    seq: int,
    writer: str,
    touches: Sequence[Touch],
    *,
    now_ms: int,
    watched: Callable[[str, str], bool] = lambda _collection, _record_id: False,
) -> list[Rewritten]:
    """Documents, places and checksums of the touched records, as the tables stand now.

    Returns what became of the `watched` ones (collection, record id) whose documents changed.
    """
    by_collection: dict[str, list[Touch]] = defaultdict(list)
    for touch in touches:
        by_collection[touch.collection].append(touch)
    sums = _Sums(now_ms)
    rewritten: list[Rewritten] = []
    for name in sorted(by_collection):
        rewritten += await _write_collection(conn, COLLECTIONS[name], seq, writer, by_collection[name], sums, watched)
    await sums.save(conn)
    return rewritten


async def _write_collection(
    conn: Connection,
    collection: Collection,
    seq: int,
    writer: str,
    touches: Sequence[Touch],
    sums: "_Sums",
    watched: Callable[[str, str], bool],
) -> list[Rewritten]:
    before, standing = await _read_standing(conn, collection.name, [touch.record_id for touch in touches])
    documents = await read_documents(conn, collection, [t.record_id for t in touches if not t.deleted])
    digests: dict[str, tuple[int, int]] = {}
    changed: set[str] = set()
    new, held = [], []
    for touch in touches:
        record_id, old = touch.record_id, before.get(touch.record_id)
        document = documents.get(record_id)
        if document is None and old is None:
            continue  # made and removed within this work: nobody ever saw it
        digest = digest_of(document) if document is not None else 0
        digests[record_id] = (old.digest if old else 0, digest)
        gone = document is None
        if old is not None and old.digest == digest and old.deleted == gone:
            continue
        changed.add(record_id)
        key = f"{collection.name}:{record_id}"
        field_seq = orjson.dumps(_next_field_seq(old, touch, seq, writer), option=orjson.OPT_SORT_KEYS).decode()
        values = (seq, gone, collection.doc_version, field_seq, digest, EMPTY_DOCUMENT if gone else document)
        # a row of what is gone may be collected at any moment, and is then a new one
        if old is None or old.deleted:
            new.append((key, collection.name, record_id, *values))
        else:
            held.append((*values, key))
    rewritten = await _rewritten(conn, collection.name, sorted(one for one in changed if watched(collection.name, one)))
    await conn.execute_many(
        "UPDATE feed SET seq = ?, deleted = ?, doc_version = ?, field_seq = ?, digest = ?, document = ? WHERE key = ?",
        held,
    )
    await conn.execute_many(
        "INSERT INTO feed (key, collection, record_id, seq, deleted, doc_version, field_seq, digest, document)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET seq = excluded.seq,"
        " deleted = excluded.deleted, doc_version = excluded.doc_version, field_seq = excluded.field_seq,"
        " digest = excluded.digest, document = excluded.document",
        new,
    )
    # a chain's doors may still name a head that is gone: what does not exist stands nowhere
    stay = {touch.record_id for touch in touches if touch.stays} & standing.keys() & documents.keys()
    asked = [record_id for record_id in documents if record_id not in stay]
    wanted = await places_of(conn, collection.name, asked) if asked else {}
    wanted.update((record_id, {scope for _, scope in standing[record_id]}) for record_id in stay)
    await _write_places(conn, collection.name, seq, digests, changed, standing, wanted, sums)
    return [Rewritten(collection.name, one, before, documents.get(one)) for one, before in rewritten.items()]


async def _rewritten(conn: Connection, collection: str, ids: Sequence[str]) -> dict[str, bytes | None]:
    """The documents that are about to be replaced."""
    if not ids:
        return {}
    rows = await conn.fetch(
        "SELECT record_id, document FROM feed WHERE key = ANY(?) AND NOT deleted",
        [f"{collection}:{record_id}" for record_id in ids],
    )
    held: dict[str, bytes | None] = {row[0]: bytes(row[1]) for row in rows}
    return {record_id: held.get(record_id) for record_id in ids}


def _next_field_seq(old: Stored | None, touch: Touch, seq: int, writer: str) -> dict[str, object]:
    captured = {f"{CAPTURED}{path}": at for path, at in touch.captured.items()}
    if old is None or (old.deleted and not touch.restored) or touch.created:
        return {WHOLE: (seq, writer), **captured}
    kept = {f"{CAPTURED}{path}": at for path, at in old.captured.items()}
    written = {path: (seq, SEVERAL if path in touch.joined else writer) for path in touch.paths}
    return {**old.field_seq, **kept, **written, **captured}


async def places_of(conn: Connection, collection: str, ids: Sequence[str]) -> dict[str, set[str]]:
    """Where the records stand by the tables: record id → scopes."""
    found: dict[str, set[str]] = defaultdict(set)
    for record_id, scope in await conn.fetch(places_sql(collection), *[list(ids)] * len(PLACES[collection])):
        found[record_id].add(scope)
    return found


async def _read_standing(
    conn: Connection, collection: str, ids: Sequence[str]
) -> tuple[dict[str, Stored], dict[str, list[tuple[int, str]]]]:
    """(What is stored of records, record id → its open places as (id of the place, scope))."""
    rows = await conn.fetch(
        "SELECT f.record_id, f.seq, f.deleted, f.field_seq, f.digest, p.id, p.scope FROM feed f LEFT JOIN feed_scope p"
        " ON p.collection = ? AND p.record_id = f.record_id AND p.left_seq IS NULL WHERE f.key = ANY(?)",
        collection,
        [f"{collection}:{record_id}" for record_id in ids],
    )
    standing: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in rows:
        if row[5] is not None:
            standing[row[0]].append((row[5], row[6]))
    return _stored(rows), standing


async def _write_places(
    conn: Connection,
    collection: str,
    seq: int,
    digests: Mapping[str, tuple[int, int]],
    changed: set[str],
    standing: Mapping[str, Sequence[tuple[int, str]]],
    wanted: Mapping[str, set[str]],
    sums: "_Sums",
) -> None:
    left, kept, entered = [], [], []
    for record_id, (old_digest, new_digest) in digests.items():
        scopes, open_in = wanted.get(record_id, set()), set[str]()
        for place_id, scope in standing.get(record_id, ()):
            if scope not in scopes:
                left.append((seq, seq, sums.now_ms, place_id))
                sums.add(scope, collection, -old_digest, -1)
                continue
            open_in.add(scope)
            if record_id in changed:
                kept.append((seq, place_id))
                sums.add(scope, collection, new_digest - old_digest, 0)
        for scope in sorted(scopes - open_in):
            entered.append((scope, collection, record_id, seq, seq))
            sums.add(scope, collection, new_digest, 1)
    await conn.execute_many("UPDATE feed_scope SET left_seq = ?, seq = ?, left_at = ? WHERE id = ?", left)
    await conn.execute_many("UPDATE feed_scope SET seq = ? WHERE id = ?", kept)
    await conn.execute_many(
        "INSERT INTO feed_scope (scope, collection, record_id, entered_seq, seq) VALUES (?, ?, ?, ?, ?)",
        entered,
    )


async def reprint(conn: Connection, collection: Collection, ids: Sequence[str]) -> list[str]:
    """Print documents of an earlier shape anew where they lie; returns those that say another thing than their tables.

    Neither seq nor places change: for every device the record is what it was. The clock's row must be held. What
    drifted is left to be touched, so that devices learn of it.
    """
    rows = await conn.fetch(
        "SELECT record_id, doc_version, digest, document FROM feed WHERE key = ANY(?) AND NOT deleted",
        [f"{collection.name}:{record_id}" for record_id in ids],
    )
    documents = await read_documents(conn, collection, [row[0] for row in rows])
    digests: dict[str, tuple[int, int]] = {}
    drifted, written = [], []
    for record_id, doc_version, digest, stored in rows:
        document = documents.get(record_id)
        right = document is not None and is_same(collection, bytes(stored), doc_version, document)
        if document is None or not (right or digest == digest_of(document)):
            drifted.append(record_id)
        else:
            digests[record_id] = (digest, digest_of(document))
            written.append((collection.doc_version, digest_of(document), document, f"{collection.name}:{record_id}"))
    await conn.execute_many("UPDATE feed SET doc_version = ?, digest = ?, document = ? WHERE key = ?", written)
    sums = _Sums(0)
    for record_id, scope in await conn.fetch(
        "SELECT record_id, scope FROM feed_scope WHERE collection = ? AND record_id = ANY(?) AND left_seq IS NULL",
        collection.name,
        list(digests),
    ):
        before, after = digests[record_id]
        sums.add(scope, collection.name, after - before, 0)
    await sums.save(conn)
    return drifted


class _Sums:
    """Changes of checksums, gathered and written once. The clock's lock makes read-then-write safe."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        """when this step of the clock is made"""
        self._changes: dict[tuple[str, str], list[int]] = {}

    def add(self, scope: str, collection: str, digest: int, count: int) -> None:
        change = self._changes.setdefault((scope, collection), [0, 0])
        change[0] += digest
        change[1] += count

    async def save(self, conn: Connection) -> None:
        if not self._changes:
            return
        keys = {f"{scope}/{collection}": (scope, collection) for scope, collection in self._changes}
        rows = await conn.fetch("SELECT key, total, live FROM scope_sum WHERE key = ANY(?)", sorted(keys))
        present = {row[0]: (int(row[1], 16), row[2]) for row in rows}
        written = []
        for key, (scope, collection) in sorted(keys.items()):
            total, live = present.get(key, (0, 0))
            digest, count = self._changes[scope, collection]
            written.append((key, scope, collection, digest_text(total + digest), live + count))
        await conn.execute_many(
            "INSERT INTO scope_sum (key, scope, collection, total, live) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET total = excluded.total, live = excluded.live",
            written,
        )
