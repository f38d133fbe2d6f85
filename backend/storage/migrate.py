"""Bringing a database to the present shape: Tortoise's own migrations, one process at a time."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from tortoise import Tortoise
from tortoise.migrations.api import migrate as run_migrations
from tortoise.migrations.api import plan as plan_migrations

MODEL_FILES = (
    "people",
    "territories",
    "customers",
    "work",
    "catalogue",
    "insight",
    "records",
    "sync",
    "merges",
    "attachments",
    "rxdb",
    "privacy",
    "access",
    "custom",
    "proof",
    "decided",
    "feedback",
    "judged",
    "implementation",
)
ADVISORY_LOCK = 0x53454C56  # any number, the same in every process of this product


def tortoise_config(url: str) -> dict[str, Any]:
    connection = url if not url.startswith("postgresql://") else "postgres://" + url.removeprefix("postgresql://")
    return {
        # the connection is named by its database, because Tortoise caches statements by that name
        "connections": {"sqlite" if url.startswith("sqlite") else "postgres": connection},
        "apps": {
            "selvedge": {
                "models": [f"backend.storage.models.{name}" for name in MODEL_FILES],
                "default_connection": "sqlite" if url.startswith("sqlite") else "postgres",
                "migrations": "backend.storage.migrations",
            }
        },
    }


async def migrate(url: str) -> list[str]:
    """Apply what is missing; returns the plan that was carried out. Safe to call from several processes."""
    async with _alone(url):
        config = tortoise_config(url)
        try:
            steps = await plan_migrations(config=config)
            await run_migrations(config=config)
        finally:
            await Tortoise.close_connections()
        return steps


async def pending(url: str) -> list[str]:
    """The migrations this database still lacks; changes nothing."""
    if not url.startswith("sqlite://"):
        # the plan of a server that cannot be reached would look like that of an empty database
        await (await asyncpg.connect(url)).close()
    try:
        steps = await plan_migrations(config=tortoise_config(url))
    finally:
        await Tortoise.close_connections()
    return [step.removeprefix("+ ") for step in steps if step.startswith("+ ")]


def known_migrations() -> list[str]:
    """Names of the migrations this program has."""
    return sorted(path.stem for path in (Path(__file__).parent / "migrations").glob("[0-9]*.py"))


@asynccontextmanager
async def _alone(url: str) -> AsyncIterator[None]:
    if url.startswith("sqlite://"):
        path = Path(url.removeprefix("sqlite://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".migrating").open("w") as handle:
            # in a thread: a second caller in this process would otherwise stop the loop the first one needs
            await asyncio.to_thread(fcntl.flock, handle, fcntl.LOCK_EX)
            yield
        return
    raw = await asyncpg.connect(url)
    try:
        await raw.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        yield
    finally:
        await raw.close()
