"""What a device compares with when a checksum differs and the rows are many: sums by bucket, computed when asked.

The sum of all is kept in the write's transaction. Sums of parts are read from the digests then: a difference is
rare, and keeping them would cost every write.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Engine
from backend.sync.buckets import LAST_BYTE, bucket_of, check_buckets
from backend.sync.collections import COLLECTIONS
from backend.sync.devices import pulling_device
from backend.sync.feed import digest_text
from backend.sync.places import held_scopes, rows_of
from backend.sync.protocol import check_syncing
from backend.sync.pull import collections_behind
from backend.sync.versions import check_served, is_known, shape_at

SUMMED_ROWS = 500


@dataclass(frozen=True, slots=True)
class BucketSum:
    """Sum of digests modulo 2^64 and number of the records of one bucket."""

    bucket: int
    total: str
    count: int


async def answer_digest(
    engine: Engine,
    principal: Principal,
    scope: str,
    collection: str,
    buckets: int,
    *,
    schema_version: int,
    schema_oldest: int,
    now_ms: int,
) -> list[BucketSum]:
    """The buckets of a collection in a scope in which anything stands, as a client of a schema version is sent it.

    Raises `Refused`: NOT_PERMITTED, DEVICE_REVOKED, UPGRADE_REQUIRED, NOT_ALLOWED_VALUE, NOT_FOUND for a scope the
    caller does not hold.
    """
    check_syncing(principal)
    check_served(schema_version, oldest=schema_oldest)
    check_buckets(buckets)
    if not is_known(collection, schema_version):
        known = tuple(sorted(name for name in COLLECTIONS if is_known(name, schema_version)))
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("collection",), known))
    async with engine.read() as conn:
        await pulling_device(conn, principal, now_ms)
        held, _ = await held_scopes(conn, principal.holder, 0)
        if scope not in held:
            raise Refused(Problem(Code.NOT_FOUND, ("scope",)))
        sums = await _sums(conn, scope, collection, buckets, schema_version)
    return [BucketSum(bucket, digest_text(total), count) for bucket, (total, count) in sorted(sums.items())]


async def _sums(
    conn: Connection, scope: str, collection: str, buckets: int, version: int
) -> Mapping[int, tuple[int, int]]:
    behind = collection in await collections_behind(conn)
    if behind or shape_at(COLLECTIONS[collection], version) != COLLECTIONS[collection].doc_version:
        return await _sums_as_sent(conn, scope, collection, buckets, version)
    found: dict[int, tuple[int, int]] = {}
    for byte, high, low, count in await conn.fetch(
        # digests are added in halves, because neither database adds 64-bit numbers without an end
        f"SELECT substr(p.record_id, {LAST_BYTE}), SUM(f.digest >> 32), SUM(f.digest & 4294967295), COUNT(*)"
        " FROM feed_scope p JOIN feed f ON f.key = p.collection || ':' || p.record_id"
        f" WHERE p.scope = ? AND p.collection = ? AND p.left_seq IS NULL GROUP BY substr(p.record_id, {LAST_BYTE})",
        scope,
        collection,
    ):
        bucket = bucket_of(byte, buckets)
        total, held = found.get(bucket, (0, 0))
        found[bucket] = (total + (int(high) << 32) + int(low), held + count)
    return found


async def _sums_as_sent(
    conn: Connection, scope: str, collection: str, buckets: int, version: int
) -> Mapping[int, tuple[int, int]]:
    """The same from the documents this client is sent, where those are not the stored ones."""
    found: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    after = ""
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
        for row in rows.values():
            bucket = bucket_of(row.record_id, buckets)
            total, held = found[bucket]
            found[bucket] = (total + row.digest_number, held + 1)
        after = ids[-1]
    return found
