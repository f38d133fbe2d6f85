"""One way to write a statement for both databases.

Statements are written once with `?` for every value, `= ANY(?)` for "one of this list", and PostgreSQL's row
locks. SQLite reads lists through `json_each` and needs no row locks: its writer is alone already.
"""

import re
from enum import StrEnum
from functools import lru_cache

import orjson


class Dialect(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


_LOCK = re.compile(r"\s+FOR\s+(?:NO KEY UPDATE|UPDATE|SHARE|KEY SHARE)(?:\s+OF\s+\w+)?")
_CAST = re.compile(r"\?::\w+(?:\[\])?")


@lru_cache(maxsize=2_000)
def for_postgres(sql: str) -> str:
    """`?` becomes `$1`, `$2`, … in order; the statement holds no other question mark."""
    parts = sql.split("?")
    return parts[0] + "".join(f"${n}{part}" for n, part in enumerate(parts[1:], start=1))


@lru_cache(maxsize=2_000)
def for_sqlite(sql: str) -> str:
    without_locks = _LOCK.sub("", sql)
    without_casts = _CAST.sub("?", without_locks)
    return without_casts.replace("= ANY(?)", "IN (SELECT value FROM json_each(?))")


def sqlite_argument(value: object) -> object:
    """Lists travel to SQLite as JSON text."""
    return orjson.dumps(value).decode() if isinstance(value, list | tuple) else value
