"""Finding and mending drift between the tables and what devices are told: documents, places, checksums, grants.

Everything is recomputed in chunks from the tables by the very functions that write the feed, and compared in a
snapshot per chunk. What drifted is touched again through a work, so it gets a new seq and every device learns the
truth.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.storage.engine import Connection, Engine
from backend.sync.collections import COLLECTIONS, Collection
from backend.sync.documents import read_documents
from backend.sync.feed import digest_of, digest_text, places_of, read_clock
from backend.sync.grants import read_organisation, scopes_of
from backend.sync.versions import is_same
from backend.sync.work import Door, Work, in_work

CHUNK_ROWS = 500
FINDINGS_KEPT_MAX = 100_000


class Drift(StrEnum):
    """What is wrong with one record, scope or user."""

    DOCUMENT = "DOCUMENT"
    """the stored document, its digest or its version is not what the tables say"""
    SHAPE = "SHAPE"
    """the document was written in another shape and is right as far as that goes: nothing to mend, but to rebuild"""
    MISSING = "MISSING"
    """the record exists, and devices were never told or told it is gone"""
    GHOST = "GHOST"
    """devices are told of a record that does not exist"""
    PLACE = "PLACE"
    """it stands in a scope where it should not, or not where it should"""
    CHECKSUM = "CHECKSUM"
    """the sum or count of a scope is not that of what stands in it"""
    GRANT = "GRANT"
    """a user holds a scope he should not, or lacks one"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that drifted; `record_id` is the user's for a GRANT and empty for a CHECKSUM."""

    drift: Drift
    collection: str
    record_id: str
    scope: str = ""


@dataclass(slots=True)
class Report:
    """What was found among `checked` records; `counts` is complete, `findings` what is to be mended, bounded."""

    checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[str, Drift]] = field(default_factory=Counter)

    @property
    def drifted(self) -> int:
        """What has to be mended."""
        return self.counts.total() - self.behind

    @property
    def behind(self) -> int:
        """Documents of another shape than the present one: right, and to be rebuilt when there is time."""
        return sum(count for (_, drift), count in self.counts.items() if drift is Drift.SHAPE)

    def add(self, finding: Finding) -> None:
        self.counts[finding.collection, finding.drift] += 1
        if finding.drift is not Drift.SHAPE and len(self.findings) < FINDINGS_KEPT_MAX:
            self.findings.append(finding)


Progress = Callable[[str, int], None]
"""Told (collection, records checked so far) after each chunk."""


async def check_feed(engine: Engine, *, chunk_rows: int = CHUNK_ROWS, progress: Progress | None = None) -> Report:
    """Compare everything devices are told with the tables.

    A snapshot per chunk: whatever commits between two of them was right in each, so this may run beside a live
    server, and nothing is held open for long.
    """
    report = Report()
    for collection in COLLECTIONS.values():
        after = ""
        while True:
            async with engine.read() as conn:
                ids = await _next_ids(conn, collection, after, chunk_rows)
                if not ids:
                    break
                await _check_records(conn, collection, ids, report)
            after = ids[-1]
            if progress is not None:
                progress(collection.name, report.checked)
    async with engine.read() as conn:
        scopes = await _scopes(conn)
    for scope in scopes:
        async with engine.read() as conn:
            for finding in await _wrong_sums(conn, scope):
                report.add(finding)
        if progress is not None:
            progress(scope, report.checked)
    async with engine.read() as conn:
        for finding in await _wrong_grants(conn):
            report.add(finding)
    return report


async def _scopes(conn: Connection) -> list[str]:
    """Every scope in which something stands, or has a checksum."""
    rows = await conn.fetch(
        "SELECT scope FROM scope_sum UNION SELECT scope FROM feed_scope WHERE left_seq IS NULL ORDER BY scope"
    )
    return [row[0] for row in rows]


async def _next_ids(conn: Connection, collection: Collection, after: str, most: int) -> list[str]:
    """The next ids among records, feed rows and open places, ascending."""
    column = collection.record_column
    sources = (
        await conn.fetch(
            f"SELECT {column} FROM {collection.table} WHERE {column} > ? ORDER BY {column} LIMIT {most}", after
        ),
        await conn.fetch(
            f"SELECT record_id FROM feed WHERE collection = ? AND record_id > ? ORDER BY record_id LIMIT {most}",
            collection.name,
            after,
        ),
        await conn.fetch(
            "SELECT DISTINCT record_id FROM feed_scope WHERE collection = ? AND record_id > ? AND left_seq IS NULL"
            f" ORDER BY record_id LIMIT {most}",
            collection.name,
            after,
        ),
    )
    found = {row[0] for rows in sources for row in rows}
    # beyond the end of a list that was cut there may be more of it
    cut = [rows[-1][0] for rows in sources if len(rows) == most]
    return sorted(record_id for record_id in found if not cut or record_id <= min(cut))


async def _check_records(conn: Connection, collection: Collection, ids: Sequence[str], report: Report) -> None:
    documents = await read_documents(conn, collection, ids)
    stored = {
        row[0]: row[1:]
        for row in await conn.fetch(
            "SELECT record_id, deleted, doc_version, digest, document FROM feed WHERE key = ANY(?)",
            [f"{collection.name}:{record_id}" for record_id in ids],
        )
    }
    wanted = await places_of(conn, collection.name, list(documents)) if documents else {}
    standing: dict[str, set[str]] = defaultdict(set)
    for record_id, scope in await conn.fetch(
        "SELECT record_id, scope FROM feed_scope WHERE collection = ? AND record_id = ANY(?) AND left_seq IS NULL",
        collection.name,
        list(ids),
    ):
        standing[record_id].add(scope)
    for record_id in ids:
        report.checked += 1
        drift = _drift_of(collection, documents.get(record_id), stored.get(record_id))
        if drift is not None:
            report.add(Finding(drift, collection.name, record_id))
        for scope in sorted(standing[record_id] ^ wanted.get(record_id, set())):
            report.add(Finding(Drift.PLACE, collection.name, record_id, scope))


def _drift_of(
    collection: Collection, document: bytes | None, stored: tuple[bool, int, int, bytes] | None
) -> Drift | None:
    told = stored is not None and not stored[0]
    if document is None:
        return Drift.GHOST if told else None
    if stored is None or not told:
        return Drift.MISSING
    _, doc_version, digest, kept = stored
    if digest != digest_of(bytes(kept)) or doc_version < collection.since:
        return Drift.DOCUMENT
    if doc_version == collection.doc_version:
        return None if bytes(kept) == document else Drift.DOCUMENT
    return Drift.SHAPE if is_same(collection, bytes(kept), doc_version, document) else Drift.DOCUMENT


async def _sums(conn: Connection, scope: str) -> dict[str, tuple[str, int]]:
    """Collection → (sum, count) of what stands in a scope by the feed's own digests.

    Digests are added in halves, because neither database adds 64-bit numbers without an end.
    """
    rows = await conn.fetch(
        "SELECT p.collection, SUM(f.digest >> 32), SUM(f.digest & 4294967295), COUNT(*)"
        " FROM feed_scope p JOIN feed f ON f.key = p.collection || ':' || p.record_id"
        " WHERE p.scope = ? AND p.left_seq IS NULL AND NOT f.deleted GROUP BY p.collection",
        scope,
    )
    return {row[0]: (digest_text((int(row[1]) << 32) + int(row[2])), row[3]) for row in rows}


async def _wrong_sums(conn: Connection, scope: str) -> list[Finding]:
    right = await _sums(conn, scope)
    kept = {
        row[0]: (row[1], row[2])
        for row in await conn.fetch("SELECT collection, total, live FROM scope_sum WHERE scope = ?", scope)
    }
    nothing = (digest_text(0), 0)
    return [
        Finding(Drift.CHECKSUM, collection, "", scope)
        for collection in sorted(right.keys() | kept.keys())
        if right.get(collection, nothing) != kept.get(collection, nothing)
    ]


async def _wrong_grants(conn: Connection) -> list[Finding]:
    organisation = await read_organisation(conn)
    right = {
        (user_id, scope)
        for user_id in (*organisation.roles, *organisation.services)
        for scope in scopes_of(user_id, organisation)
    }
    held = {
        (row[0], row[1]) for row in await conn.fetch("SELECT user_id, scope FROM user_scope WHERE revoked_seq IS NULL")
    }
    return [Finding(Drift.GRANT, "people", user_id, scope) for user_id, scope in sorted(right ^ held)]


async def repair_feed(
    engine: Engine,
    principal: Principal,
    report: Report,
    *,
    clock: Clock,
    retries_max: int,
    progress: Progress | None = None,
) -> int:
    """Mend what a report found; returns how many records, users and sums were written.

    Records are judged anew inside each work, so one that changed since the report only becomes right sooner.
    """

    async def tell(story: Callable[[Work], Awaitable[int]]) -> int:
        written, _ = await in_work(engine, principal, story, clock=clock, retries_max=retries_max, door=Door.JOB)
        return written

    mended = 0
    by_collection: dict[str, dict[str, set[Drift]]] = defaultdict(lambda: defaultdict(set))
    users = sorted({finding.record_id for finding in report.findings if finding.drift is Drift.GRANT})
    for finding in report.findings:
        if finding.drift not in (Drift.GRANT, Drift.CHECKSUM):
            by_collection[finding.collection][finding.record_id].add(finding.drift)
    for name in sorted(by_collection):
        drifts = by_collection[name]
        ids = sorted(drifts)
        for start in range(0, len(ids), CHUNK_ROWS):
            chunk = {record_id: drifts[record_id] for record_id in ids[start : start + CHUNK_ROWS]}
            mended += await tell(lambda work, name=name, chunk=chunk: _touch_again(work, name, chunk))  # type: ignore[misc]
            if progress is not None:
                progress(name, min(start + CHUNK_ROWS, len(ids)))
    if users:
        mended += await tell(lambda work: _reseat(work, users))
    async with engine.read() as conn:
        scopes = await _scopes(conn)
    for scope in scopes:
        async with engine.read() as conn:
            wrong = await _wrong_sums(conn, scope)
        if wrong:
            mended += await tell(lambda work, scope=scope: _mend_sums(work, scope))  # type: ignore[misc]
    return mended


async def _touch_again(work: Work, name: str, drifts: Mapping[str, set[Drift]]) -> int:
    wrong = [f"{name}:{record_id}" for record_id, found in drifts.items() if Drift.DOCUMENT in found]
    # a digest no document has makes the work write the row again, even where only its bytes were wrong
    await work.conn.execute("UPDATE feed SET digest = 0 WHERE key = ANY(?)", wrong)
    for record_id in drifts:
        work.touched(name, record_id, ())
    return len(drifts)


async def _reseat(work: Work, users: Sequence[str]) -> int:
    work.reseat(users)
    return len(users)


async def _mend_sums(work: Work, scope: str) -> int:
    """A scope's sums anew, with the clock's row held: nobody else writes sums meanwhile."""
    await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    right = await _sums(work.conn, scope)
    rows = []
    for finding in await _wrong_sums(work.conn, scope):
        total, live = right.get(finding.collection, (digest_text(0), 0))
        rows.append((f"{scope}/{finding.collection}", scope, finding.collection, total, live))
    await work.conn.execute_many(
        "INSERT INTO scope_sum (key, scope, collection, total, live) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET total = excluded.total, live = excluded.live",
        rows,
    )
    return len(rows)


@dataclass(frozen=True, slots=True)
class LastRun:
    """The latest score run."""

    id: str
    state: str
    as_of: str
    customers_scored: int
    customers_changed: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Overview:
    """How the database stands. `counts`: collection → (records, told to devices, tombstones)."""

    clock: int
    horizon: int
    counts: Mapping[str, tuple[int, int, int]]
    devices: int
    last_run: LastRun | None


async def look_over(engine: Engine) -> Overview:
    """Clock, horizon, counts and the latest score run, in one snapshot."""
    async with engine.read() as conn:
        clock, horizon = await read_clock(conn)
        told = {
            row[0]: (row[1], row[2])
            for row in await conn.fetch(
                "SELECT collection, SUM(CASE WHEN deleted THEN 0 ELSE 1 END), SUM(CASE WHEN deleted THEN 1 ELSE 0 END)"
                " FROM feed GROUP BY collection"
            )
        }
        counts = {}
        for name, collection in COLLECTIONS.items():
            rows = await conn.fetch(f"SELECT COUNT(*) FROM {collection.table}")
            live, gone = told.get(name, (0, 0))
            counts[name] = (int(rows[0][0]), int(live), int(gone))
        devices = await conn.fetch("SELECT COUNT(*) FROM device WHERE state = 'ACTIVE'")
        runs = await conn.fetch(
            "SELECT id, state, as_of, customers_scored, customers_changed, milliseconds FROM score_run"
            " ORDER BY started_at DESC, id DESC LIMIT 1"
        )
    return Overview(clock, horizon, counts, int(devices[0][0]), LastRun(*runs[0]) if runs else None)
