"""PostgreSQL stops and starts again, a disk fills up: what callers are told, and that all goes on afterwards."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from backend.errors import Code, Refused, Retry
from backend.storage.engine import Engine, open_engine
from tests.databases import _control, _run, fresh_postgres

LARGER_DISK = "size=9000000"
ROW = "x" * 50_000


async def put(engine: Engine, text: str) -> None:
    async with engine.write() as conn:
        await conn.execute("INSERT INTO kept VALUES (?)", text)


async def count(engine: Engine) -> int:
    async with engine.read() as conn:
        return int((await conn.fetch("SELECT count(*) FROM kept"))[0][0])


def only_code(refused: Refused) -> Code:
    (problem,) = refused.problems
    assert problem.retry is Retry.LATER
    return problem.code


async def test_a_full_disk_refuses_writes_serves_reads_and_recovers(disk: Path) -> None:
    engine = open_engine(f"sqlite://{disk}/small.sqlite3")
    await engine.start()
    try:
        async with engine.write() as conn:
            await conn.execute("CREATE TABLE kept (text TEXT)")
        taken = 0
        with pytest.raises(Refused) as refused:  # noqa: PT012 - which of them it is depends on the disk
            for _ in range(200):
                await put(engine, ROW)
                taken += 1
        assert only_code(refused.value) is Code.STORAGE_FULL
        assert await count(engine) == taken > 0
        with pytest.raises(Refused) as refused:
            await put(engine, ROW * 10)
        assert only_code(refused.value) is Code.STORAGE_FULL
        assert await count(engine) == taken
        larger = ["mount", "-o", f"remount,{LARGER_DISK}", str(disk)]
        subprocess.run(larger, check=True)  # noqa: ASYNC221 - nothing else runs meanwhile
        await put(engine, ROW * 10)
        async with engine.read() as conn:
            assert await conn.fetch("PRAGMA integrity_check") == [("ok",)]
        assert await count(engine) == taken + 1
    finally:
        await engine.close()


@pytest.mark.postgres
def test_a_server_that_went_away_is_told_as_such_and_found_again(own_server: tuple[str, Path]) -> None:
    asyncio.run(_away_and_back(*own_server))


async def _away_and_back(address: str, data: Path) -> None:
    engine = open_engine(f"{address}/postgres", pool_connections_max=3)
    await engine.start()
    try:
        async with engine.write() as conn:
            await conn.execute("CREATE TABLE kept (text TEXT)")
        await put(engine, "before")
        with pytest.raises(Refused) as refused:  # noqa: PT012 - it goes away in the middle
            async with engine.write() as conn:
                await conn.execute("INSERT INTO kept VALUES ('lost')")
                _control(data, "stop", "-m", "fast")
                await conn.execute("INSERT INTO kept VALUES ('lost')")
        assert only_code(refused.value) is Code.UNAVAILABLE
        for doing in (count(engine), put(engine, "lost"), count(engine)):
            with pytest.raises(Refused) as refused:
                await doing
            assert only_code(refused.value) is Code.UNAVAILABLE
        _control(data, "start", "-w", "-t", "60", "-l", str(data.parent / "log"))
        assert await count(engine) == 1
        await put(engine, "after")
        assert await count(engine) == 2
    finally:
        await engine.close()


TURNS_MAX = 4
"""of the loop: by then it has read all that a server says on leaving, and that it left"""


@pytest.mark.postgres
async def test_a_connection_ended_while_nobody_used_it_is_told_as_gone_whenever_it_is_taken(
    postgres_server: str,
) -> None:
    """Its server's last words and the end of the connection are read one after the other: whoever takes it before,
    between or after is told `UNAVAILABLE`, or gets another one."""
    async with fresh_postgres(postgres_server) as url:
        engine = open_engine(url, pool_connections_max=8)
        await engine.start()
        try:
            for how in ("write", "read", "fetch", "steady"):
                told = []
                for turns in range(TURNS_MAX):
                    assert await _use(engine, how) is None
                    end_connections(url)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    told.append(await _use(engine, how))
                    assert await _use(engine, how) is None, "the lost one was kept"
                assert set(told) <= {None, Code.UNAVAILABLE}
                assert Code.UNAVAILABLE in told, "every connection was found to be lost before it was used"
        finally:
            await engine.close()


async def _use(engine: Engine, how: str) -> Code | None:
    try:
        match how:
            case "write":
                async with engine.write() as conn:
                    await conn.fetch("SELECT 1")
            case "read":
                async with engine.read() as conn:
                    await conn.fetch("SELECT 1")
            case _:
                await engine.fetch("SELECT 1", steady=how == "steady")
    except Refused as refused:
        return only_code(refused)
    return None


def end_connections(url: str) -> None:
    """All of that database, without a turn of our loop."""
    ending = (
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    _run("psql", "-X", "-q", "-d", url, "-c", ending)


async def test_a_pool_that_stays_full_is_told_after_a_while(postgres_server: str) -> None:
    async with fresh_postgres(postgres_server) as url:
        engine = open_engine(url, pool_connections_max=1, pool_wait_seconds_max=1)
        await engine.start()
        async with engine.read():
            assert engine.connections() == (1, 1)
            with pytest.raises(Refused) as refused:
                async with engine.read():
                    pass
        assert only_code(refused.value) is Code.BUSY
        async with engine.read():
            pass
        await engine.close()
