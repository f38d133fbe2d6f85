"""Parts of a collection in a scope, by the last byte of the record id: so a difference among many rows is narrowed.

Ids are UUIDs, whose last byte is random in versions 4 and 7 alike, while the first bytes of version 7 are a time.
In JavaScript: `parseInt(id.slice(-2), 16) % buckets`.
"""

from backend.errors import Code, Problem, Refused
from backend.sync.cursor import Backfill

BUCKET_ROWS = 5_000
"""Rows of a collection in a scope beyond which it is compared in parts."""
BUCKETS_MAX = 256
BUCKETS = tuple(2**n for n in range(9))
PARTS_OF_A_BOUND = 10
"""A part has about the bound's tenth."""
LAST_BYTE = 35
"""Where the last two of a UUID's 36 characters begin, as SQL counts."""


def buckets_for(count: int, bucket_rows: int) -> int:
    """In how many parts to compare so many rows: 1 up to `bucket_rows`, else a power of two."""
    if count <= bucket_rows:
        return 1
    wanted = count * PARTS_OF_A_BOUND // bucket_rows
    return next((buckets for buckets in BUCKETS if buckets >= wanted), BUCKETS_MAX)


def bucket_of(record_id: str, buckets: int) -> int:
    return int(record_id[-2:], 16) % buckets


def check_bucket(bucket: int | None, buckets: int | None, path: tuple[str, ...] = ()) -> tuple[int, int] | None:
    """(which, of how many), or None when neither is given.

    Raises `Refused`: REQUIRED for one without the other, NOT_ALLOWED_VALUE, OUT_OF_RANGE.
    """
    if bucket is None and buckets is None:
        return None
    if bucket is None or buckets is None:
        raise Refused(Problem(Code.REQUIRED, (*path, "bucket" if bucket is None else "buckets")))
    check_buckets(buckets, path)
    if not 0 <= bucket < buckets:
        raise Refused(Problem(Code.OUT_OF_RANGE, (*path, "bucket"), ("0", str(buckets - 1))))
    return bucket, buckets


def check_buckets(buckets: int, path: tuple[str, ...] = ()) -> None:
    """Raise NOT_ALLOWED_VALUE for a number of parts that is no power of two up to 256."""
    if buckets not in BUCKETS:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, (*path, "buckets"), tuple(str(n) for n in BUCKETS)))


def narrowing(entry: Backfill) -> tuple[str, list[object]]:
    """What an entry asks beside its scope, as SQL over the place `p`, and its arguments."""
    sql = ""
    args: list[object] = []
    if entry.only is not None:
        sql += " AND p.collection = ?"
        args.append(entry.only)
    if entry.without is not None:
        sql += " AND p.collection <> ?"
        args.append(entry.without)
    if entry.bucket is not None:
        which, buckets = entry.bucket
        sql += f" AND substr(p.record_id, {LAST_BYTE}) = ANY(?)"
        args.append([f"{byte:02x}" for byte in range(which, BUCKETS_MAX, buckets)])
    return sql, args
