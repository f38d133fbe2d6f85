"""Migrations: one process at a time, on databases that already hold data, and in step with the models."""

import asyncio
import itertools
import re
import sys
import uuid
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import asyncpg
import pytest
from tortoise import Tortoise
from tortoise.migrations.api import migrate as run_migrations
from tortoise.migrations.autodetector import MigrationAutodetector

from backend.storage import migrations
from backend.storage.dialects import Dialect
from backend.storage.engine import Engine, open_engine
from backend.storage.migrate import migrate, tortoise_config
from tests import factories

FOLDER = Path(migrations.__file__).parent


@pytest.fixture
async def empty_url(database_source: Path | str, tmp_path: Path) -> AsyncIterator[str]:
    """A database with nothing in it."""
    if isinstance(database_source, Path):
        yield f"sqlite://{tmp_path / 'empty.sqlite3'}"
        return
    name = f"empty_{uuid.uuid4().hex}"
    raw = await asyncpg.connect(f"{database_source}/postgres")
    await raw.execute(f"CREATE DATABASE {name}")
    yield f"{database_source}/{name}"
    await raw.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await raw.close()


def test_migrations_stand_in_one_line_numbered_as_they_follow() -> None:
    """Two that follow the same one would be applied in an order that nobody decided."""
    names = sorted(path.stem for path in FOLDER.glob("0*.py"))
    numbers = [name[:4] for name in names]
    assert len(set(numbers)) == len(numbers), numbers
    for before, name in itertools.pairwise(names):
        follows = import_module(f"{migrations.__name__}.{name}").Migration.dependencies
        assert follows == [("selvedge", before)], name


async def _migrate_in_a_process(url: str) -> int:
    code = "import asyncio, sys; from backend.storage.migrate import migrate; asyncio.run(migrate(sys.argv[1]))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, url, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


async def test_several_processes_may_migrate_at_once(empty_url: str) -> None:
    assert await asyncio.gather(*(_migrate_in_a_process(empty_url) for _ in range(3))) == [0, 0, 0]
    engine = open_engine(empty_url)
    await engine.start()
    async with engine.read() as conn:
        assert [tuple(row) for row in await conn.fetch("SELECT id, seq FROM sync_clock")] == [(1, 2**40)]
    await engine.close()


async def test_a_database_that_holds_data_is_migrated_and_keeps_it(empty_url: str) -> None:
    await run_migrations(config=tortoise_config(empty_url), target="selvedge.0001_first")
    await Tortoise.close_connections()
    engine = open_engine(empty_url)
    await engine.start()
    async with engine.write() as conn:
        customer_id = await factories.customer(conn)
    await migrate(empty_url)
    async with engine.read() as conn:
        assert [row[0] for row in await conn.fetch("SELECT id FROM customer")] == [customer_id]
        assert len(await conn.fetch("SELECT id FROM sync_clock")) == 1
    await engine.close()


async def test_the_migrations_say_what_the_models_say(engine: Engine) -> None:
    config = tortoise_config(engine.url)
    await Tortoise.init(config=config, init_connections=False)
    try:
        assert Tortoise.apps is not None
        writers = await MigrationAutodetector(Tortoise.apps, config["apps"]).changes()
    finally:
        await Tortoise.close_connections()
    assert [writer.operations for writer in writers] == []


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (
            "territory_assignment",
            {"customer_id": "c", "territory_id": "t", "valid_from": 1, "source": "HUMAN", "assigned_by": "x"},
        ),
        ("feed_scope", {"scope": "s", "collection": "c", "record_id": "r", "entered_seq": 1, "seq": 1}),
        ("user_scope", {"user_id": "u", "scope": "s", "granted_seq": 1, "granted_at": 1}),
    ],
)
async def test_at_most_one_interval_is_open(engine: Engine, table: str, row: dict[str, object]) -> None:
    ended = {"territory_assignment": "valid_to", "feed_scope": "left_seq", "user_scope": "revoked_seq"}[table]
    names = {"territory_assignment": ("a", "b", "c")}.get(table)

    def of(index: int) -> dict[str, object]:
        return {**row, **({"id": names[index]} if names else {})}

    async with engine.write() as conn:
        await factories.insert(conn, table, **of(0))
        await conn.execute(f"UPDATE {table} SET {ended} = ?", 5)
        await factories.insert(conn, table, **of(1))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        async with engine.write() as conn:
            await factories.insert(conn, table, **of(2))


async def test_a_document_is_rewritten_without_a_new_entry_in_any_index(engine: Engine) -> None:
    """PostgreSQL rewrites a row in place only where no index names a column that changed, be it in a condition."""
    wanted = {
        Dialect.SQLITE: "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'feed' AND sql IS NOT NULL",
        Dialect.POSTGRES: "SELECT indexdef FROM pg_indexes WHERE tablename = 'feed'",
    }[engine.dialect]
    found = [row[0] for row in await engine.fetch(wanted)]
    assert any("tombstone" in one for one in found)
    for one in found:
        assert not re.search(r"\b(seq|field_seq|digest|document)\b", one), one


async def test_a_document_that_is_rewritten_again_and_again_comes_to_stand_where_its_page_has_room(
    engine: Engine,
) -> None:
    """Also where all that a page holds is rewritten at once, as a push does with what was made together."""
    if engine.dialect is not Dialect.POSTGRES:
        pytest.skip("SQLite rewrites a row where it is")
    keys, document, in_place = [f"x:{n}" for n in range(200)], b"d" * 900, 0
    counted = "SELECT pg_stat_get_xact_tuples_hot_updated('feed'::regclass)"
    async with engine.write() as conn:
        for key in keys:
            await factories.insert(conn, "feed", key=key, collection="x", record_id=key, seq=1, deleted=False,
                                   doc_version=1, field_seq="{}", digest=1, document=document)  # fmt: skip
    for turn in range(12):
        async with engine.write() as conn:
            ((before,),) = await conn.fetch(counted)
            await conn.execute("UPDATE feed SET seq = ?, document = ? WHERE key = ANY(?)", turn, document, keys)
            ((after,),) = await conn.fetch(counted)
            in_place = after - before
    assert in_place > len(keys) * 2 // 3
