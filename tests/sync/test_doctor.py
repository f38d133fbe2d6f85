"""Drift of every kind is found, mended, and devices learn the truth."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backend.config import Settings
from backend.domain.times import local_day
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.sync.collections import COLLECTIONS
from backend.sync.doctor import Drift, check_feed, look_over, repair_feed
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.insights import run_scores
from backend.usecases.tasks import change_tasks
from backend.usecases.visits import change_visits
from tests.house import NOON_MS, House, create
from tests.usecases.phones import sync, synced


@pytest.fixture
async def shops(house: House) -> list[str]:
    """Three shops of wei's with a contact, a visit, a task and a score each; ids ascending."""
    ids = sorted(new_id() for _ in range(3))
    for shop in ids:
        contact = new_id()
        for use_case, wish in (
            (change_customers, create(shop, {"nameEn": "Shop", "kind": "RETAILER"})),
            (change_contacts, create(contact, {"nameKo": "김민수"})),
            (change_customer_contacts, create(new_id(), {"customerId": shop, "contactId": contact, "role": "BUYER"})),
            (change_visits, create(new_id(), {"customerId": shop, "plannedAt": NOON_MS})),
            (change_tasks, create(new_id(), {"customerId": shop, "title": "Call"})),
        ):
            [outcome] = await house.change("wei", use_case, wish)
            assert outcome.problems == ()
    await run_scores(house.engine, house.people["analyst"], settings=Settings(), clock=lambda: house.now_ms)
    return ids


async def found_by(house: House, **options: Any) -> dict[tuple[str, Drift], int]:
    return dict((await check_feed(house.engine, **options)).counts)


async def mend(house: House) -> int:
    report = await check_feed(house.engine)
    return await repair_feed(house.engine, house.people["system"], report, clock=lambda: house.now_ms, retries_max=3)


async def test_what_use_cases_wrote_has_no_drift_however_it_is_cut(house: House, shops: list[str]) -> None:
    for chunk_rows in (1, 2, 500):
        report = await check_feed(house.engine, chunk_rows=chunk_rows)
        assert report.counts == {}
        assert report.checked == await _rows(house)
    assert await mend(house) == 0


async def _rows(house: House) -> int:
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT COUNT(*) FROM feed")
    return int(rows[0][0])


Plant = Callable[[Connection, str], Awaitable[None]]


async def plant_document(conn: Connection, shop: str) -> None:
    await conn.execute("UPDATE customer SET name_en = 'Renamed behind' WHERE id = ?", shop)


async def plant_bytes(conn: Connection, shop: str) -> None:
    await conn.execute("UPDATE feed SET document = ? WHERE key = ?", b'{"id":"broken"}', f"customers:{shop}")


async def plant_version(conn: Connection, shop: str) -> None:
    await conn.execute("UPDATE feed SET doc_version = 0 WHERE key = ?", f"customers:{shop}")


async def plant_child(conn: Connection, shop: str) -> None:
    await conn.execute("UPDATE score_line SET points = points + 1 WHERE customer_id = ? AND position = 0", shop)


async def plant_missing(conn: Connection, shop: str) -> None:
    await conn.execute("DELETE FROM feed WHERE key = ?", f"customers:{shop}")
    await conn.execute("DELETE FROM feed_scope WHERE collection = 'customers' AND record_id = ?", shop)


async def plant_false_tombstone(conn: Connection, shop: str) -> None:
    await conn.execute("UPDATE feed SET deleted = ?, digest = 0 WHERE key = ?", True, f"customers:{shop}")


async def plant_ghost(conn: Connection, shop: str) -> None:
    await conn.execute("DELETE FROM task WHERE customer_id = ?", shop)


async def plant_lost_place(conn: Connection, shop: str) -> None:
    await conn.execute("UPDATE feed_scope SET left_seq = seq WHERE collection = 'customers' AND record_id = ?", shop)


async def plant_wrong_place(conn: Connection, shop: str) -> None:
    await conn.execute(
        "UPDATE visit SET territory_id = (SELECT id FROM territory WHERE path = '/cn/south') WHERE customer_id = ?",
        shop,
    )


async def plant_checksum(conn: Connection, _shop: str) -> None:
    await conn.execute("UPDATE scope_sum SET total = '00000000deadbeef' WHERE collection = 'customers'")


async def plant_count(conn: Connection, _shop: str) -> None:
    await conn.execute("UPDATE scope_sum SET live = live + 1 WHERE collection = 'visits'")


async def plant_lost_grant(conn: Connection, _shop: str) -> None:
    await conn.execute(
        "DELETE FROM user_scope WHERE scope = 'catalogue' AND user_id ="
        " (SELECT id FROM user_account WHERE name = 'wei')"
    )


PLANTS: list[tuple[Plant, set[tuple[str, Drift]]]] = [
    (plant_document, {("customers", Drift.DOCUMENT)}),
    (plant_bytes, {("customers", Drift.DOCUMENT)}),
    (plant_version, {("customers", Drift.DOCUMENT)}),
    (plant_child, {("scores", Drift.DOCUMENT)}),
    (plant_missing, {("customers", Drift.MISSING), ("customers", Drift.PLACE), ("customers", Drift.CHECKSUM)}),
    (plant_false_tombstone, {("customers", Drift.MISSING), ("customers", Drift.CHECKSUM)}),
    (plant_ghost, {("tasks", Drift.GHOST), ("tasks", Drift.PLACE)}),
    (plant_lost_place, {("customers", Drift.PLACE), ("customers", Drift.CHECKSUM)}),
    (plant_wrong_place, {("visits", Drift.PLACE)}),
    (plant_checksum, {("customers", Drift.CHECKSUM)}),
    (plant_count, {("visits", Drift.CHECKSUM)}),
    (plant_lost_grant, {("people", Drift.GRANT)}),
]


@pytest.mark.parametrize(("plant", "kinds"), PLANTS, ids=[plant.__name__ for plant, _ in PLANTS])
async def test_every_kind_of_drift_is_found_mended_and_told(
    house: House, shops: list[str], plant: Plant, kinds: set[tuple[str, Drift]]
) -> None:
    replicas = {who: await synced(house, who) for who in ("wei", "na")}
    async with house.engine.write() as conn:
        await plant(conn, shops[1])
    assert set(await found_by(house)) == kinds
    assert await mend(house) > 0
    assert await found_by(house) == {}
    for who, replica in replicas.items():
        await sync(house, who, replica)
        fresh = await synced(house, who)
        assert (replica.documents, replica.places) == (fresh.documents, fresh.places), who


async def test_the_truth_reaches_a_phone_that_held_the_drift(house: House, shops: list[str]) -> None:
    replica = await synced(house, "wei")
    async with house.engine.write() as conn:
        await plant_document(conn, shops[0])
        await plant_ghost(conn, shops[0])
    await sync(house, "wei", replica)
    assert replica.documents["customers", shops[0]]["nameEn"] == "Shop", "nobody told it yet"
    await mend(house)
    await sync(house, "wei", replica)
    assert replica.documents["customers", shops[0]]["nameEn"] == "Renamed behind"
    assert shops[0] not in {d["customerId"] for (name, _), d in replica.documents.items() if name == "tasks"}


async def test_only_what_drifted_is_told_again(house: House, shops: list[str]) -> None:
    replica = await synced(house, "wei")
    before = dict(replica.seqs)
    async with house.engine.write() as conn:
        await plant_document(conn, shops[2])
    await mend(house)
    await sync(house, "wei", replica)
    assert {key for key, seq in replica.seqs.items() if before.get(key) != seq} == {("customers", shops[2])}


async def test_the_overview_counts_records_what_is_told_and_tombstones(house: House, shops: list[str]) -> None:
    async with house.engine.write() as conn:
        await plant_ghost(conn, shops[0])
    seen = await look_over(house.engine)
    assert set(seen.counts) == set(COLLECTIONS)
    assert seen.counts["customers"] == (3, 3, 0)
    assert seen.counts["tasks"] == (2, 3, 0)
    await mend(house)
    seen = await look_over(house.engine)
    assert seen.counts["tasks"] == (2, 2, 1)
    assert seen.clock > seen.horizon
    assert seen.last_run is not None
    assert (seen.last_run.state, seen.last_run.customers_scored) == ("FINISHED", 3)
    assert seen.last_run.as_of == local_day(house.now_ms, "Asia/Shanghai")


async def test_nothing_is_skipped_where_the_tables_and_the_feed_know_different_records(
    house: House, shops: list[str]
) -> None:
    async with house.engine.write() as conn:
        for shop in shops[:2]:
            await plant_missing(conn, shop)
        await plant_ghost(conn, shops[2])
    wanted = await found_by(house)
    assert (wanted["customers", Drift.MISSING], wanted["tasks", Drift.GHOST]) == (2, 1)
    for chunk_rows in (1, 2, 3):
        assert await found_by(house, chunk_rows=chunk_rows) == wanted, chunk_rows


async def test_beside_a_live_server_nothing_is_taken_for_drift(house: House, shops: list[str]) -> None:
    """What commits between two chunks was right before and after."""
    looking = asyncio.ensure_future(check_feed(house.engine, chunk_rows=1))
    written = 0
    while not looking.done():
        shop = new_id()
        fields = {"nameEn": f"Shop {written}", "kind": "RETAILER"}
        [outcome] = await house.change("wei", change_customers, create(shop, fields))
        assert outcome.problems == ()
        written += 1
    report = await looking
    assert report.counts == {}
    assert written, "nothing was written meanwhile"


async def test_a_wrong_sum_is_mended_without_a_look_at_other_scopes(house: House, shops: list[str]) -> None:
    async with house.engine.write() as conn:
        await conn.execute("UPDATE scope_sum SET live = live + 1 WHERE collection = 'customers'")
        await conn.execute("INSERT INTO scope_sum (key, scope, collection, total, live) VALUES"
                           " ('territory:x/visits', 'territory:x', 'visits', '00000000000000aa', 3)")  # fmt: skip
    found = await found_by(house)
    assert found == {("customers", Drift.CHECKSUM): 1, ("visits", Drift.CHECKSUM): 1}
    assert await mend(house) == 2
    assert await found_by(house) == {}
