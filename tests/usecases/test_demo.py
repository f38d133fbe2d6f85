"""Loading the demo world: the same on both databases, all of it or nothing, and ready to be worked with."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from backend.auth.passwords import Passwords
from backend.auth.principal import Principal, PrincipalKind
from backend.domain.custom import CUSTOM
from backend.domain.demo.frame import Table, digest_of
from backend.domain.demo.orders import SHARED_DRAFT
from backend.domain.demo.world import World, demo_sign_ins, digests, make_world
from backend.domain.permissions import Role
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.storage.visibility import visible_to
from backend.sync.changes import Change, Intent, Status
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import canonical, shown
from backend.sync.feed import digest_of as digest_of_document
from backend.sync.feed import digest_text
from backend.sync.work import Door, open_work
from backend.usecases.demo import PASSWORD, DatabaseNotEmpty, ensure_demo, is_empty, load_demo, sign_ins_of
from backend.usecases.orders import change_orders
from tests import factories

NO_HASH = "no password"
TABLES = ("user_account", "customer", "visit", "feed", "feed_scope", "user_scope", "scope_sum", "import_batch")


@pytest.fixture(scope="module")
def world() -> World:
    return make_world("tiny")


def now(world: World) -> int:
    return world.setting.now_ms + 3_600_000


async def load(engine: Engine, world: World, *, password_hash: str = NO_HASH) -> None:
    await load_demo(engine, world, password_hash=password_hash, clock=lambda: now(world))


async def counts(engine: Engine) -> dict[str, int]:
    async with engine.read() as conn:
        return {table: (await conn.fetch(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES}


async def read_back(engine: Engine, table: Table) -> Table:
    names = list(table.columns)
    async with engine.read() as conn:
        listed = ", ".join(f'"{name}"' for name in names)
        rows = await conn.fetch(f"SELECT {listed} FROM {table.name}")
    flags = {name for name, values in table.columns.items() if any(isinstance(value, bool) for value in values)}
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return Table(
        table.name,
        {
            name: [bool(value) if name in flags else value for value in column]
            for name, column in zip(names, columns, strict=True)
        },
    )


# --- what stands there afterwards --------------------------------------------------------------------------------


@pytest.mark.requirement("R14")
async def test_read_back_from_the_database_every_part_has_the_digest_it_was_made_with(
    engine: Engine, world: World
) -> None:
    await load(engine, world)
    found = {
        part: digest_of([await read_back(engine, table) for table in tables]) for part, tables in world.parts.items()
    }
    assert found == digests(world)


async def test_the_feed_holds_the_document_of_every_record_and_nothing_else(engine: Engine, world: World) -> None:
    """The expected documents are printed from the world itself, so both databases are held to the same bytes."""
    await load(engine, world)
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT key, document, digest, deleted FROM feed")
    expected = expected_documents(world)
    assert {row[0]: bytes(row[1]) for row in rows} == expected
    assert all(row[2] == digest_of_document(bytes(row[1])) and not row[3] for row in rows)
    assert {key.partition(":")[0] for key in expected} == {
        "customers", "contacts", "customerContacts", "visits", "orders", "tasks", "territories", "people", "seasons",
        "styles", "priceLists", "customFields", "forms", "answers", "cases",
    }  # fmt: skip


def expected_documents(world: World) -> dict[str, bytes]:
    tables = {table.name: _rows(table) for table in world.tables}
    found: dict[str, bytes] = {}
    for name, collection in COLLECTIONS.items():
        children: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for child in collection.children if collection.table in tables else ():
            by_parent: dict[str, list[dict[str, Any]]] = defaultdict(list)
            order = [part.strip() for part in child.order.split(",")]
            for row in sorted(tables[child.table], key=lambda row: tuple(row[part] for part in order)):
                document = {f.name: _shown(f.kind, row.get(child.columns[f.name])) for f in child.fields}
                by_parent[row[child.parent]].append(document)
            children[child.name] = by_parent
        for row in tables.get(collection.table, ()):
            kept = {CUSTOM: "{}"} | row  # what the database puts where nothing is given
            document = {f.name: _shown(f.kind, kept.get(collection.columns[f.name])) for f in collection.own_fields}
            document |= {child: by_parent.get(row["id"], []) for child, by_parent in children.items()}
            found[f"{name}:{row['id']}"] = canonical(document)
    return found


def _rows(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, values, strict=True)) for values in zip(*table.columns.values(), strict=True)]


def _shown(kind: Any, value: Any) -> Any:
    return value if value is None else shown(kind, value)


async def test_checksums_are_the_sums_of_what_stands_in_each_scope(engine: Engine, world: World) -> None:
    await load(engine, world)
    async with engine.read() as conn:
        places = await conn.fetch(
            "SELECT p.scope, p.collection, f.digest FROM feed_scope p"
            " JOIN feed f ON f.collection = p.collection AND f.record_id = p.record_id WHERE p.left_seq IS NULL"
        )
        sums = await conn.fetch("SELECT scope, collection, total, live FROM scope_sum")
    expected: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for scope, collection, digest in places:
        expected[scope, collection][0] += digest
        expected[scope, collection][1] += 1
    assert {(row[0], row[1]): (row[2], row[3]) for row in sums} == {
        key: (digest_text(total), live) for key, (total, live) in expected.items()
    }


@dataclass
class Seen:
    by_tables: set[str]
    by_feed: set[str]


async def seen(engine: Engine, principal: Principal, collection: str) -> Seen:
    visible, args = visible_to(principal, collection, "t")
    async with engine.read() as conn:
        rows = await conn.fetch(f"SELECT t.id FROM {COLLECTIONS[collection].table} t WHERE {visible}", *args)
        placed = await conn.fetch(
            "SELECT DISTINCT p.record_id FROM feed_scope p JOIN user_scope g ON g.scope = p.scope"
            " WHERE p.collection = ? AND p.left_seq IS NULL AND g.revoked_seq IS NULL AND g.user_id = ?",
            collection,
            principal.holder,
        )
    return Seen({row[0] for row in rows}, {row[0] for row in placed})


async def principals(engine: Engine, world: World) -> dict[Role, Principal]:
    async with engine.read() as conn:
        users = dict(await conn.fetch("SELECT email, id FROM user_account"))
    return {
        one.role: Principal(PrincipalKind.STAFF, user_id=users[one.email], device_id=new_id(), role=one.role)
        for one in demo_sign_ins(world)
    }


async def test_every_role_has_grants_that_say_what_the_tables_say(engine: Engine, world: World) -> None:
    await load(engine, world)
    for role, principal in (await principals(engine, world)).items():
        for collection in ("customers", "visits", "contacts", "tasks", "styles"):
            both = await seen(engine, principal, collection)
            assert both.by_feed == both.by_tables, (role, collection)
            assert both.by_tables or collection == "tasks", (role, collection)


async def test_a_rep_sees_the_customers_of_his_patch_and_the_heads_of_its_doors(engine: Engine, world: World) -> None:
    await load(engine, world)
    rep = (await principals(engine, world))[Role.REP]
    (patch,) = [m["territory_id"] for m in _rows(world.table("territory_member")) if m["user_id"] == rep.user_id]
    customers = _rows(world.table("customer"))
    own = [row for row in customers if row["territory_id"] == patch]
    expected = {row["id"] for row in own} | {row["parent_id"] for row in own if row["parent_id"]}
    assert 5 < len(expected) < len(customers)
    assert (await seen(engine, rep, "customers")).by_tables == expected


async def test_everybody_signs_in_with_the_password_shown(engine: Engine, world: World) -> None:
    passwords = Passwords(workers=1)
    try:
        await load(engine, world, password_hash=await passwords.hash(PASSWORD))
        async with engine.read() as conn:
            rows = await conn.fetch("SELECT DISTINCT password_hash FROM user_account")
        assert len(rows) == 1
        assert await passwords.matches(PASSWORD, rows[0][0])
    finally:
        passwords.close()


async def test_the_sign_ins_of_a_demo_can_be_shown_again_and_no_others(engine: Engine, world: World) -> None:
    async with engine.write() as conn:
        rep = await factories.user(conn)
    assert await sign_ins_of(engine) == []
    async with engine.write() as conn:
        await conn.execute("DELETE FROM user_account WHERE id = ?", rep)
    await load(engine, world)
    assert await sign_ins_of(engine) == demo_sign_ins(world)


async def test_what_was_built_is_noted_with_its_seed_and_digests(engine: Engine, world: World) -> None:
    await load(engine, world)
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT state, mapping, rows_created FROM import_batch WHERE kind = 'demo'")
    ((state, mapping, rows_n),) = rows
    assert state == "DONE"
    assert rows_n == sum(len(table) for table in world.tables)
    assert orjson.loads(mapping) == {
        "profile": "tiny",
        "seed": 20261122,
        "asOf": "2026-11-22",
        "parts": digests(world),
    }


# --- all of it or nothing ----------------------------------------------------------------------------------------


class Interrupted(Exception):
    """The process is stopped half-way."""


@pytest.mark.parametrize("stopped_at", ["customer", "feed"])
async def test_a_load_that_is_cut_off_leaves_an_empty_database_to_start_again(
    engine: Engine, world: World, stopped_at: str
) -> None:
    def stop(doing: str, done: int, of: int) -> None:
        if doing == stopped_at and done > 0.5 * of * (stopped_at == "feed"):
            raise Interrupted

    with pytest.raises(Interrupted):
        await load_demo(engine, world, password_hash=NO_HASH, clock=lambda: now(world), progress=stop)
    assert set((await counts(engine)).values()) == {0}
    assert await is_empty(engine)
    await load(engine, world)
    assert (await counts(engine))["import_batch"] == 1


async def test_a_database_that_holds_anything_else_is_refused_and_left_alone(engine: Engine, world: World) -> None:
    async with engine.write() as conn:
        await factories.user(conn)
    before = await counts(engine)
    with pytest.raises(DatabaseNotEmpty, match="rows in user_account"):
        await load(engine, world)
    assert await counts(engine) == before


async def test_of_two_processes_that_start_together_one_builds_and_one_is_told(engine: Engine, world: World) -> None:
    outcomes = await asyncio.gather(load(engine, world), load(engine, world), return_exceptions=True)
    refused = [one for one in outcomes if one is not None]
    assert [str(one) for one in refused] == ["the demo world is already in this database"]
    assert isinstance(refused[0], DatabaseNotEmpty)
    assert (await counts(engine))["customer"] == 40


async def test_a_first_start_builds_the_world_and_a_second_changes_nothing(engine: Engine, world: World) -> None:
    async def start() -> World | None:
        return await ensure_demo(engine, profile="tiny", password_hash=NO_HASH, clock=lambda: now(world))

    first = await start()
    assert first is not None
    assert digests(first) == digests(world)
    before = await counts(engine)
    assert await start() is None
    assert await counts(engine) == before


async def test_of_two_servers_that_start_together_one_builds_and_the_other_goes_on(
    engine: Engine, world: World
) -> None:
    starts = [ensure_demo(engine, profile="tiny", password_hash=NO_HASH, clock=lambda: now(world)) for _ in range(2)]
    built = [one for one in await asyncio.gather(*starts) if one is not None]
    assert len(built) == 1
    assert (await counts(engine))["customer"] == 40


async def test_progress_ends_at_all_of_it(engine: Engine, world: World) -> None:
    told: list[tuple[str, int, int]] = []
    loaded = await load_demo(
        engine,
        world,
        password_hash=NO_HASH,
        clock=lambda: now(world),
        progress=lambda doing, done, of: told.append((doing, done, of)),
    )
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert {of for _, _, of in told} == {loaded.rows + loaded.documents}
    assert told[-1][1] == told[-1][2]


# --- ready to be worked with -------------------------------------------------------------------------------------


async def test_two_phones_edit_the_order_prepared_for_them_and_both_win(engine: Engine, world: World) -> None:
    await load(engine, world)
    rep = (await principals(engine, world))[Role.REP]
    async with engine.read() as conn:
        ((order_id,),) = await conn.fetch("SELECT id FROM sales_order WHERE po_number = ?", SHARED_DRAFT)
        ((rev,),) = await conn.fetch("SELECT seq FROM feed WHERE key = ?", f"orders:{order_id}")
        lines = await conn.fetch("SELECT id, cells FROM order_line WHERE order_id = ? ORDER BY position", order_id)
    cells = [(line_id, sku) for line_id, text in lines for sku in orjson.loads(text)]
    for phone, (line_id, sku), quantity in ((1, cells[0], 41), (2, cells[-1], 43)):
        device = Principal(rep.kind, user_id=rep.user_id, device_id=new_id(), role=rep.role)
        change = Change(order_id, Intent.PATCH, {"lines": [{"id": line_id, "cells": {sku: quantity}}]}, base_rev=rev)
        async with open_work(engine, device, now_ms=now(world), door=Door.PUSH) as work:
            (outcome,) = await change_orders(work, [change])
        assert outcome.status is (Status.APPLIED if phone == 1 else Status.MERGED), outcome.problems
    async with engine.read() as conn:
        rows = await conn.fetch("SELECT id, cells FROM order_line WHERE order_id = ?", order_id)
    after = {(line_id, sku): n for line_id, text in rows for sku, n in orjson.loads(text).items()}
    assert (after[cells[0]], after[cells[-1]]) == (41, 43)


async def test_the_prepared_order_can_be_submitted(engine: Engine, world: World) -> None:
    await load(engine, world)
    rep = (await principals(engine, world))[Role.REP]
    async with engine.read() as conn:
        rows = await conn.fetch(
            "SELECT o.id, f.seq, o.total_minor FROM sales_order o JOIN feed f ON f.key = 'orders:' || o.id"
            " WHERE o.po_number = ?",
            SHARED_DRAFT,
        )
    ((order_id, rev, total_minor),) = rows
    async with open_work(engine, rep, now_ms=now(world), door=Door.PUSH) as work:
        (outcome,) = await change_orders(work, [Change(order_id, Intent.PATCH, {"state": "SUBMITTED"}, base_rev=rev)])
    assert outcome.status is Status.APPLIED, outcome.problems
    async with engine.read() as conn:
        after = await conn.fetch("SELECT state, total_minor FROM sales_order WHERE id = ?", order_id)
    assert tuple(after[0]) == ("SUBMITTED", total_minor)
