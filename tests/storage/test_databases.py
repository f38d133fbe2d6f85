"""The ground other tests stand on: each test has a migrated database of its own."""

from backend.storage.engine import Engine, open_engine
from backend.storage.visibility import visible_sql
from tests import factories


async def _bump(engine: Engine) -> int:
    async with engine.write() as conn:
        (row,) = await conn.fetch("UPDATE sync_clock SET seq = seq + 1 RETURNING seq")
    return int(row[0])


async def test_a_database_is_migrated(engine: Engine) -> None:
    assert await _bump(engine) == 2**40 + 1


async def test_a_database_has_seen_no_other_test(engine: Engine) -> None:
    assert await _bump(engine) == 2**40 + 1


async def test_two_engines_can_share_one_database(engine: Engine, database_url: str) -> None:
    other = open_engine(database_url)
    await other.start()
    try:
        await _bump(engine)
        assert await _bump(other) == 2**40 + 2
    finally:
        await other.close()


async def test_the_factories_insert_rows_the_database_takes(engine: Engine) -> None:
    async with engine.write() as conn:
        rep = await factories.user(conn)
        await factories.device(conn, rep)
        territory = await factories.territory(conn, "/cn/east/sh-01")
        await factories.member(conn, territory, rep)
        await factories.grant(conn, rep, f"territory:{territory}", f"user:{rep}")
        customer = await factories.customer(conn, territory_id=territory, tags=["denim"])
    predicate, asks = visible_sql("customers", "c", reads=lambda _: True)
    async with engine.read() as conn:
        seen = await conn.fetch(f"SELECT c.id FROM customer c WHERE {predicate}", *[rep] * asks)
    assert seen == [(customer,)]
