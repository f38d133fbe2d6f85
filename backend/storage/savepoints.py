"""A part of a transaction that can be taken back while the rest goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.storage.engine import Connection, DatabaseTrouble


@asynccontextmanager
async def savepoint(conn: Connection) -> AsyncIterator[None]:
    """Everything inside is undone when it raises; the error goes on to the caller. Does not nest."""
    await conn.execute("SAVEPOINT part")
    try:
        yield
    except DatabaseTrouble:
        # the transaction is over already, and the savepoint with it
        raise
    except BaseException:
        await conn.execute("ROLLBACK TO SAVEPOINT part")
        await conn.execute("RELEASE SAVEPOINT part")
        raise
    await conn.execute("RELEASE SAVEPOINT part")
