"""A pull by one statement: what a page begins with, what changed, and the checksums, all of one snapshot.

A transaction of three statements is as much work as many a pull's reading. Only which scopes are read must be known
beforehand: those the user held at his last pull are remembered, and what the statement tells of his grants says
whether he holds them still. The page is made by `pull` itself, out of what was read; where that is not all it asks
for, it is made the usual way.
"""

from functools import lru_cache

from backend.auth.principal import Principal
from backend.storage.engine import Engine, Row
from backend.sync.buckets import BUCKET_ROWS
from backend.sync.cursor import Cursor, unseal
from backend.sync.devices import PULLING_COLUMNS
from backend.sync.foretold import Beyond, Foretold
from backend.sync.opening import OPENING_SQL
from backend.sync.places import SCOPES_PER_STATEMENT, delta_sql
from backend.sync.pull import Page, PullRequest, SumsKept, pull, sums_sql
from backend.sync.versions import SCHEMA_VERSION

_SUM, _GRANT, _NOW = 2, 3, 4
"""What stands in the column `stands` of rows that are no places."""
_STANDS = 5
_BESIDE = (
    " UNION ALL SELECT q.scope, NULL, q.collection, q.total, NULL, {sum}, q.live, q.most, NULL, NULL FROM ({sums}) q"
    " UNION ALL SELECT g.scope, g.granted_seq, NULL, NULL, g.revoked_seq, {grant}, NULL, NULL, NULL, NULL"
    " FROM user_scope g WHERE g.user_id = ? AND (g.revoked_seq IS NULL OR g.revoked_seq > ?)"
    " UNION ALL SELECT CAST(d.pulled_at AS TEXT), c.seq, d.state, CAST(d.drain_until AS TEXT), c.horizon, {now},"
    " d.last_client_seq, d.acked_seq, d.schema_version, NULL"
    " FROM sync_clock c LEFT JOIN device d ON d.id = ? AND d.user_id = ? WHERE c.id = 1"
)
"""Behind a delta, in its columns: checksums and shapes; grants; the clock and the device."""


async def pull_at_once(
    engine: Engine,
    principal: Principal,
    request: PullRequest,
    *,
    secret: bytes,
    bytes_max: int,
    sums: SumsKept,
    bucket_rows: int = BUCKET_ROWS,
    device_at_ms: int | None = None,
) -> Page | None:
    """`pull`'s page, or None where one statement does not read all that it asks for. Raises what `pull` raises."""
    scopes = sums.scopes_held(principal.holder)
    if scopes is None or not 0 < len(scopes) <= SCOPES_PER_STATEMENT or request.cursor is None or request.refetch:
        return None
    if request.schema_version != SCHEMA_VERSION:
        return None
    cursor = unseal(request.cursor, secret=secret, user_id=principal.holder, device_id=principal.device_id or "")
    if cursor.backfill or cursor.schema != SCHEMA_VERSION:
        return None
    read = await _read(engine, principal, cursor, scopes, request.limit + 1)
    try:
        return await pull(
            read,
            principal,
            request,
            secret=secret,
            bytes_max=bytes_max,
            sums=sums,
            bucket_rows=bucket_rows,
            device_at_ms=device_at_ms,
        )
    except Beyond:
        # the next one of his goes the usual way too, which remembers what he holds by then
        sums.hold_scopes(principal.holder, None)
        return None


async def _read(engine: Engine, principal: Principal, cursor: Cursor, scopes: tuple[str, ...], limit: int) -> Foretold:
    """Everything `pull` asks for in most cases, by the statements it asks with."""
    delta, delta_args = delta_sql(cursor.position, scopes, limit)
    summing, holder = sums_sql(), principal.holder
    opening_args = (principal.device_id or "", holder, holder, cursor.scopes_at)
    rows = await engine.fetch(
        _whole(delta, summing),
        *delta_args,
        list(scopes),
        holder,
        cursor.scopes_at,
        principal.device_id or "",
        holder,
        steady=True,
    )
    places_n = len(rows)
    while places_n and (rows[places_n - 1][_STANDS] or 0) >= _SUM:
        places_n -= 1
    places, beside = rows[:places_n], rows[places_n:]
    if not {row[_STANDS] for row in places} <= {None, 1}:
        # no database promises that parts stand one after the other
        places = [row for row in rows if (row[_STANDS] or 0) < _SUM]
        beside = [row for row in rows if (row[_STANDS] or 0) >= _SUM]
    told = [(row[0], row[2], row[3], row[6], row[7]) for row in beside if row[_STANDS] == _SUM]
    return Foretold(
        engine.dialect,
        {
            OPENING_SQL: (opening_args, _opening(beside, principal.device_id)),
            delta: (delta_args, places),
            summing: ((list(scopes),), sorted(told, key=lambda row: row[:2])),
        },
    )


@lru_cache(maxsize=1_000)
def _whole(delta: str, sums: str) -> str:
    return delta + _BESIDE.format(sums=sums, sum=_SUM, grant=_GRANT, now=_NOW)


def _opening(beside: list[Row], device_id: str | None) -> list[Row]:
    """As `OPENING_SQL` tells it: a row for each grant, or one without."""
    now = next(row for row in beside if row[_STANDS] == _NOW)
    pulled_at, clock, state, drain_until, horizon, _, last_client_seq, acked_seq, schema_version, _ = now
    noted = {
        "state": state,
        "drain_until": None if drain_until is None else int(drain_until),
        "acked_seq": acked_seq,
        "pulled_at": None if pulled_at is None else int(pulled_at),
        "schema_version": schema_version,
    }
    known = device_id if state is not None else None
    first = (clock, horizon, known, last_client_seq, *[noted[name] for name in PULLING_COLUMNS])
    grants = [(row[0], row[1], row[4]) for row in beside if row[_STANDS] == _GRANT]
    return [(*first, *grant) for grant in grants or [(None, None, None)]]
