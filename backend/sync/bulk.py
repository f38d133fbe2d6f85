"""A first sync as one long stream of lines: today's pack, then everything else, then what changed meanwhile.

No snapshot outlives a chunk. The position is fixed by the clock of the first; what is written later reaches the
device by the delta at the end, and after the stream by `syncPull`, whose cursor every cursor line is. Stored
documents pass through as bytes. The lines, and how a client applies them, are in `sync-protocol.md`.

The stream is the pull of `pull.md` with its backfill first: an open place with seq ≤ the position is in the
backfill, a later one in the delta, whatever the order in which they are read.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import orjson

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Engine
from backend.sync.buckets import BUCKET_ROWS
from backend.sync.collections import COLLECTIONS
from backend.sync.counted import count_pulled
from backend.sync.cursor import END, FIRST, Backfill, Cursor, Position, expired, seal, unseal
from backend.sync.devices import NOTE_SECONDS, note_pull, pulling_device
from backend.sync.feed import read_clock
from backend.sync.opening import read_opening
from backend.sync.places import Places, Row, held_scopes, open_places, rows_of, scopes_of, standing_after
from backend.sync.protocol import check_streaming
from backend.sync.pull import Page, PullRequest, SumsKept, pull
from backend.sync.today import RANK, PackLimits, today_records
from backend.sync.versions import check_served, is_known, shape_at
from backend.sync.walk import walk_onward

TODAY = "today"
"""In place of a scope: the pack that goes first. A pull drops the entry, since nobody holds such a scope."""
CATALOGUE = "catalogue"
ROWS_AT_FIRST = 64
"""Rows of a chunk while nothing is known of their size."""
LAST = (END, "")
"""Sorts above every (collection, id)."""

SentPlace = tuple[str, str, str]
"""(scope, collection, record id)"""
Still = Callable[[], Awaitable[None]]
"""Raises what the caller would be refused with by now."""


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """Bounds of a stream: rows and about so many bytes of documents in what is read in one snapshot."""

    chunk_rows_max: int
    chunk_bytes: int
    pack: PackLimits
    schema_oldest: int = 1
    bucket_rows: int = BUCKET_ROWS


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """`after`: the place of the last row line received since the line that had `cursor`."""

    cursor: str | None
    after: SentPlace | None
    schema_version: int


async def bulk_lines(
    engine: Engine,
    principal: Principal,
    request: BulkRequest,
    *,
    secret: bytes,
    limits: BulkLimits,
    clock: Clock,
    retries_max: int,
    sums: SumsKept | None = None,
    still: Still | None = None,
    note_seconds: int = NOTE_SECONDS,
) -> AsyncGenerator[bytes, None]:
    """Parts of whole lines, to the line that says `complete`. Between two parts nothing is held open.

    Raises before the first part what `syncPull` raises, and INVALID_VALUE for an `after` that names no cursor; later
    whatever the caller would be refused with by then.
    """
    check_streaming(principal)
    check_served(request.schema_version, oldest=limits.schema_oldest)
    stream = _Stream(principal, request.schema_version, secret, limits, clock, sums)
    async with engine.read() as conn:
        device = await pulling_device(conn, principal, clock()) if principal.device_id else None
        first = await stream.begin(conn, request)
    if device is not None:
        # for a service no history is kept: one that stays away for long begins anew
        await note_pull(
            engine,
            principal,
            device,
            base=0 if request.cursor is None else stream.cursor.position.base,
            schema_version=request.schema_version,
            clock=clock,
            retries_max=retries_max,
            note_seconds=note_seconds,
        )
    yield first
    while not stream.complete:
        if still is not None:
            await still()
        async with engine.read() as conn:
            part = await stream.next_part(conn)
        yield part


@dataclass(slots=True)
class _Stream:
    """Where one stream stands. `sent` holds the places of the pack, so that the rest does not bring them again."""

    principal: Principal
    version: int
    secret: bytes
    limits: BulkLimits
    clock: Clock
    sums: SumsKept | None
    cursor: Cursor = field(default=Cursor(Position(0), 0, (), 0))
    pack: list[SentPlace] | None = None
    sent: set[SentPlace] = field(default_factory=set)
    count: int = 0
    rows_wanted: int = 0
    complete: bool = False

    async def begin(self, conn: Connection, request: BulkRequest) -> bytes:
        """Find the position; the first line names it and how many rows are to be expected in all."""
        clock, horizon = await read_clock(conn)
        self.rows_wanted = min(ROWS_AT_FIRST, self.limits.chunk_rows_max)
        if request.cursor is None:
            if request.after is not None:
                raise Refused(Problem(Code.REQUIRED, ("cursor",)))
            whole = (Backfill(TODAY, clock), *walk_onward(clock))
            self.cursor = Cursor(Position(clock), clock, whole, self.version)
        else:
            self.cursor = unseal(
                request.cursor,
                secret=self.secret,
                user_id=self.principal.holder,
                device_id=self.principal.device_id or "",
            )
            self._check_fresh(clock, horizon)
            if request.after is not None:
                self._skip_to(request.after)
        held, _ = await held_scopes(conn, self.principal.holder, clock)
        rows = await conn.fetch("SELECT SUM(live) FROM scope_sum WHERE scope = ANY(?)", sorted(held))
        return _line({"clock": clock, "cursor": self._sealed(), "rows": int(rows[0][0] or 0)})

    def _check_fresh(self, clock: int, horizon: int) -> None:
        cursor = self.cursor
        # what a newer client holds an older one would never be told to drop
        if cursor.is_expired(clock, horizon) or cursor.schema > self.version:
            raise expired()

    def _skip_to(self, after: SentPlace) -> None:
        """Go on behind a row received after the cursor's line. It is of the cursor's first entry, or says nothing."""
        if not self.cursor.backfill:
            return  # the delta is read again from the cursor; what comes twice is the same
        entry, *others = self.cursor.backfill
        scope, collection, record_id = after
        place = (collection, record_id)
        if entry.scope == TODAY:
            if entry.after == FIRST or _pack_key(place) > _pack_key(entry.after):
                entry = replace(entry, after=place)
        elif scope == entry.scope:
            entry = replace(entry, after=max(entry.after, place))
        elif entry.onward is not None and entry.scope < scope < entry.onward:
            entry = replace(entry, scope=scope, after=place)
        self.cursor = replace(self.cursor, backfill=(entry, *others))

    def _sealed(self) -> str:
        return seal(
            self.cursor,
            secret=self.secret,
            user_id=self.principal.holder,
            device_id=self.principal.device_id or "",
        )

    async def next_part(self, conn: Connection) -> bytes:
        """The next lines, up to a cursor line. Sets `complete` with the last."""
        if not self.cursor.backfill:
            return await self._delta(conn)
        opening = await read_opening(conn, self.principal, self.cursor.scopes_at)
        if self.principal.device_id:
            opening.device(self.clock())
        self._check_fresh(opening.clock, opening.horizon)
        held, _ = scopes_of(opening.grants, self.cursor.scopes_at)
        # a scope granted since is the delta's affair, whole
        open_scopes = sorted(scope for scope, granted in held.items() if granted <= self.cursor.scopes_at)
        entry, *others = self.cursor.backfill
        if entry.scope == TODAY:
            lines, entry_now = await self._today(conn, entry, frozenset(open_scopes))
        elif entry.onward is not None:
            within = [scope for scope in open_scopes if entry.scope <= scope < entry.onward]
            lines, entry_now = await self._onward(conn, entry, within)
        else:
            lines, entry_now = [], None
            if entry.scope in open_scopes:
                lines, entry_now = await self._scope(conn, entry)
        kept = [entry_now, *others] if entry_now is not None else others
        self.cursor = replace(self.cursor, backfill=tuple(kept))
        if entry.scope == TODAY and entry_now is None:
            lines.append(_line({"ready": "TODAY"}))
        lines.append(_line({"cursor": self._sealed()}))
        return b"".join(lines)

    async def _today(
        self, conn: Connection, entry: Backfill, open_scopes: frozenset[str]
    ) -> tuple[list[bytes], Backfill | None]:
        """Some of the pack. It is chosen once per stream; what left it since comes with the rest."""
        if self.pack is None:
            self.pack = await self._chosen(conn, entry)
        # places of one record stay together: a resumed stream goes on behind a record
        taken = 0
        while taken < len(self.pack) and (taken < self.rows_wanted or self.pack[taken][1:] == self.pack[taken - 1][1:]):
            taken += 1
        places, self.pack = self.pack[:taken], self.pack[taken:]
        keys = sorted({f"{collection}:{record_id}" for _, collection, record_id in places})
        standing = await open_places(conn, {place[1:] for place in places}, up_to=entry.up_to)
        rows = await rows_of(conn, keys, version=self.version)
        lines, size = [], 0
        for place in places:
            scope, collection, record_id = place
            row = rows.get((collection, record_id))
            if row is not None and place in standing and scope in open_scopes:
                lines.append(_row_line(scope, collection, row.seq, row.document))
                self.sent.add(place)
                size += len(row.document)
        self.count += len(lines)
        count_pulled(len(lines), "bulk")
        self._measure(len(lines), size)
        return lines, replace(entry, after=places[-1][1:]) if self.pack else None

    async def _chosen(self, conn: Connection, entry: Backfill) -> list[SentPlace]:
        records = await today_records(conn, self.principal.holder, now_ms=self.clock(), limits=self.limits.pack)
        if entry.after != FIRST:
            records = [record for record in records if _pack_key(record) > _pack_key(entry.after)]
        scopes: dict[tuple[str, str], list[str]] = {record: [] for record in records}
        held, _ = await held_scopes(conn, self.principal.holder, self.cursor.scopes_at)
        for scope, name, record_id in await open_places(conn, records, up_to=entry.up_to):
            if scope in held:
                scopes[name, record_id].append(scope)
        return sorted(
            ((scope, *record) for record, found in scopes.items() for scope in found),
            key=lambda place: (_pack_key(place[1:]), place[0]),
        )

    async def _onward(
        self, conn: Connection, entry: Backfill, open_scopes: Sequence[str]
    ) -> tuple[list[bytes], Backfill | None]:
        """From where the entry stands through its scopes, until a chunk is full."""
        lines: list[bytes] = []
        size = 0
        for scope in open_scopes:
            current: Backfill | None = entry if scope == entry.scope else replace(entry, scope=scope, after=FIRST)
            while current is not None:
                found, current_next = await self._scope(conn, current)
                lines += found
                size += sum(map(len, found))
                entry = current_next or replace(current, after=LAST)
                current = current_next
                if current is None and scope == CATALOGUE:
                    lines.append(_line({"ready": "CATALOGUE"}))
                if len(lines) >= min(ROWS_AT_FIRST, self.limits.chunk_rows_max) or size >= self.limits.chunk_bytes:
                    return lines, entry
        return lines, None

    async def _scope(self, conn: Connection, entry: Backfill) -> tuple[list[bytes], Backfill | None]:
        """The next rows of one scope; None when there are no more."""
        wanted = self.rows_wanted
        places = await standing_after(conn, entry, wanted)
        if not places:
            return [], None
        lines, size = await self._lines(conn, entry.scope, places)
        self._measure(len(places), size)
        if len(places) < wanted:
            return lines, None
        return lines, replace(entry, after=(places.collections[-1], places.record_ids[-1]))

    async def _lines(self, conn: Connection, scope: str, places: Places) -> tuple[list[bytes], int]:
        """Row lines of one scope, the stored bytes in them, and how many bytes those were."""
        lines: list[bytes] = []
        size = end = 0
        for name, group in groupby(places.collections):
            begin, end = end, end + sum(1 for _ in group)
            if not is_known(name, self.version):
                continue
            shape = shape_at(COLLECTIONS[name], self.version)
            found = places.part(begin, end)
            form = _row_head(scope, name).replace(b"%", b"%%") + b'%d,"document":%b}\n'
            shown: Mapping[tuple[str, str], Row] = {}
            if set(found.doc_versions) != {shape}:
                stored = zip(found.record_ids, found.doc_versions, strict=True)
                other = [f"{name}:{record_id}" for record_id, doc_version in stored if doc_version != shape]
                shown = await rows_of(conn, other, version=self.version)
            size += sum(map(len, found.documents))
            if self.sent or shown:
                for record_id, seq, document in zip(found.record_ids, found.seqs, found.documents, strict=True):
                    if (scope, name, record_id) not in self.sent:
                        row = shown.get((name, record_id))
                        lines.append(form % ((seq, document) if row is None else (row.seq, row.document)))
            else:
                lines += [form % row for row in zip(found.seqs, found.documents, strict=True)]
        self.count += len(lines)
        count_pulled(len(lines), "bulk")
        return lines, size

    def _measure(self, rows: int, size: int) -> None:
        """The next chunk's rows, from the size of this one's."""
        if rows:
            fitting = self.limits.chunk_bytes * rows // max(size, 1)
            self.rows_wanted = max(1, min(self.limits.chunk_rows_max, fitting))

    async def _delta(self, conn: Connection) -> bytes:
        """A page of what changed since the position, as `syncPull` answers it: one line, to be taken as a whole.

        Half of it would not do: rows of a scope that was granted after the cursor and lost before the next request
        would stay for ever, since to the cursor that scope was never held.
        """
        # it may take a scope away and bring it back: what the pack brought of it is then sent again
        self.sent.clear()
        page = await pull(
            conn,
            self.principal,
            PullRequest(self._sealed(), self.limits.chunk_rows_max, self.version),
            secret=self.secret,
            bytes_max=self.limits.chunk_bytes,
            schema_oldest=self.limits.schema_oldest,
            sums=self.sums,
            bucket_rows=self.limits.bucket_rows,
            client="bulk",
            device_at_ms=self.clock() if self.principal.device_id else None,
        )
        self.cursor = unseal(
            page.cursor,
            secret=self.secret,
            user_id=self.principal.holder,
            device_id=self.principal.device_id or "",
        )
        self.count += sum(len(block.rows) for block in page.blocks)
        self.complete = page.complete
        return _line({"page": page_json(page), **({"count": self.count} if page.complete else {})})


def _pack_key(record: Sequence[str]) -> tuple[int, str]:
    """Where a (collection, id) stands in the pack."""
    return RANK.get(record[0], len(RANK)), record[1]


def page_json(page: Page) -> Mapping[str, object]:
    """A page in the JSON of `syncPull`."""
    return {
        "clock": page.clock,
        "cursor": page.cursor,
        "complete": page.complete,
        "blocks": [
            {
                "scope": block.scope,
                "collection": block.collection,
                "rows": [
                    {"seq": row.seq, "digest": row.digest, "document": orjson.Fragment(row.document)}
                    for row in block.rows
                ],
                "left": block.left,
            }
            for block in page.blocks
        ],
        "scopesRemoved": page.scopes_removed,
        "ackedMutation": page.acked_mutation,
        "checksums": [
            {
                "scope": one.scope,
                "collection": one.collection,
                "sum": one.total,
                "count": one.count,
                "buckets": one.buckets,
            }
            for one in page.checksums
        ],
    }


_OF_A_CONTACT = b'","collection":"contacts","seq":'
_HEAD_BYTES_MAX = 256
"""Within so much of a row's line stands what it is about."""


def people_in(part: bytes) -> int:
    """How many rows of contacts stand in some whole lines of a stream."""
    found = 0
    for line in part.split(b"\n"):
        if line.startswith(b'{"scope":'):
            found += line.find(_OF_A_CONTACT, 0, _HEAD_BYTES_MAX) >= 0
        elif line.startswith(b'{"page":'):
            blocks = orjson.loads(line)["page"]["blocks"]
            found += sum(len(block["rows"]) for block in blocks if block["collection"] == "contacts")
    return found


def _row_head(scope: str, collection: str) -> bytes:
    return b'{"scope":%b,"collection":%b,"seq":' % (orjson.dumps(scope), orjson.dumps(collection))


def _row_line(scope: str, collection: str, seq: int, document: bytes) -> bytes:
    return b'%b%d,"document":%b}\n' % (_row_head(scope, collection), seq, document)


def _line(value: Mapping[str, object]) -> bytes:
    return orjson.dumps(value) + b"\n"
