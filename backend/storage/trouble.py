"""Which errors of a database say "again, from the start", and which say that something is wrong."""

import sqlite3

import asyncpg

from backend.storage.engine import DatabaseTrouble, SerializationFailure

AGAIN = (
    SerializationFailure,
    DatabaseTrouble,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    sqlite3.OperationalError,
    OSError,
)


def wants_another_try(error: BaseException) -> bool:
    """True when the whole transaction has to be given up and may pass later: locks, lost connections, a full disk."""
    return isinstance(error, AGAIN)
