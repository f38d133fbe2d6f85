"""Values that were overwritten are gone from the database's own files too, as far as that is in our hands.

SQLite zeroes what is deleted (`secure_delete`, set where connections are opened) and keeps older pages in its log
until the log is taken over. PostgreSQL clears overwritten rows by VACUUM, which runs by itself.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from backend.storage.dialects import Dialect
from backend.storage.engine import BUSY_TIMEOUT_MS, Engine


async def forget_log(engine: Engine) -> bool:
    """Take SQLite's log over into its file and empty it; False when a reader held on to it for too long.

    What stays then is taken over with the next write that finds nobody reading.
    """
    if engine.dialect is not Dialect.SQLITE:
        return True
    return await asyncio.to_thread(_empty_log, Path(engine.url.removeprefix("sqlite://")))


def _empty_log(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1_000, isolation_level=None)) as raw:
        ((busy, _, _),) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return bool(busy == 0)
