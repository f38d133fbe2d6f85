"""One declaration, two readings: where the feed says a record stands, and what the SQL predicate lets through."""

import random
from itertools import product

import pytest

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.domain.permissions import SERVICE_RIGHTS
from backend.ids import new_id
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine
from backend.storage.visibility import PLACES, held_sql, visible_sql, visible_to
from backend.sync.collections import COLLECTIONS
from backend.sync.feed import places_of
from backend.sync.work import Door, open_work
from tests.factories import NOW_MS, customer, insert, member, territory, user
from tests.sync.worlds import staff

ROWS = 12


async def scene(engine: Engine, rng: random.Random) -> tuple[dict[Role, list[str]], list[str]]:
    """Random rows in every collection that knows territories or people; (users by role, patches)."""
    async with open_work(engine, staff("", None, Role.ADMIN), now_ms=NOW_MS, door=Door.JOB) as work:
        conn = work.conn
        root = await territory(conn, "/r", kind="REGION")
        areas = [await territory(conn, f"/r/{n}", parent_id=root, kind="AREA") for n in range(2)]
        patches = [await territory(conn, f"/r/{n}/{m}", parent_id=areas[n]) for n, m in product(range(2), range(2))]
        people = {role: [await user(conn, role=role.value) for _ in range(2)] for role in Role}
        await member(conn, root, people[Role.MANAGER][0])
        await member(conn, areas[0], people[Role.MANAGER][1])
        for rep in people[Role.REP]:
            for patch in rng.sample(patches, rng.randint(1, 2)):
                await member(conn, patch, rep)
        everybody = [person for found in people.values() for person in found]
        await _rows(conn, rng, patches, everybody)
        work.reseat(everybody)
    return people, patches


async def _rows(conn: Connection, rng: random.Random, patches: list[str], everybody: list[str]) -> None:
    where: dict[str, str | None] = {}
    for _ in range(ROWS):
        at, parent = rng.choice([*patches, None]), rng.choice([*where, None, None])
        where[await customer(conn, territory_id=at, parent_id=parent)] = at
    shops = list(where)
    made = {"created_at": NOW_MS, "created_by": rng.choice(everybody)}
    for _ in range(ROWS):
        shop, contact, person = rng.choice(shops), new_id(), rng.choice(everybody)
        at = where[shop]
        await insert(
            conn, "contact", id=contact, channels="{}", consent_events="[]", search_keys="", sort_key="",
            created_at=NOW_MS, created_by=person,
        )  # fmt: skip
        for linked in rng.sample(shops, rng.randint(0, 2)):
            await insert(
                conn, "customer_contact", id=new_id(), customer_id=linked, contact_id=contact, role="BUYER",
                territory_id=where[linked], is_primary=False, created_at=NOW_MS,
            )  # fmt: skip
        await insert(
            conn, "visit", id=new_id(), customer_id=shop, rep_id=person, territory_id=at, state="PLANNED",
            purpose="SELL", verification="UNVERIFIED", happens_at=NOW_MS, **made,
        )  # fmt: skip
        await insert(
            conn, "sales_order", id=new_id(), customer_id=shop, territory_id=at, state="DRAFT", source="FIELD",
            currency="USD", total_minor=0, units=0, ordered_on="2026-01-01", ordered_at=NOW_MS, **made,
        )  # fmt: skip
        hanging = rng.random() < 0.6
        await insert(
            conn, "task", id=new_id(), customer_id=shop if hanging else None, assignee_id=person, title="t",
            territory_id=at if hanging else None, state="OPEN", priority="LOW", due_sort=0, source="HUMAN", **made,
        )  # fmt: skip
        await insert(
            conn, "sync_issue", id=new_id(), user_id=person, collection="visits", record_id=shop, code="CONFLICT",
            ways_out="[]", state="OPEN", created_at=NOW_MS,
        )  # fmt: skip
    await insert(
        conn, "season", id=new_id(), code="SS26", order_opens_on="2026-01-01", order_closes_on="2026-02-01",
        ships_from="2026-03-01", ships_to="2026-04-01",
    )  # fmt: skip


async def seen_by_places(conn: Connection, principal: Principal, collection: str, ids: list[str]) -> set[str]:
    grants = await conn.fetch(
        "SELECT scope FROM user_scope WHERE user_id = ? AND revoked_seq IS NULL", principal.holder
    )
    scopes = {row[0] for row in grants}
    places = await places_of(conn, collection, ids)
    return {record_id for record_id in ids if places[record_id] & scopes} if principal.reads(collection) else set()


async def seen_by_predicate(conn: Connection, principal: Principal, collection: str) -> set[str]:
    declared = COLLECTIONS[collection]
    visible, args = visible_to(principal, collection, "t", record_column=declared.record_column)
    rows = await conn.fetch(f"SELECT t.{declared.record_column} FROM {declared.table} t WHERE {visible}", *args)
    return {row[0] for row in rows}


async def seen_by_what_is_held(conn: Connection, principal: Principal, collection: str) -> set[str]:
    """The same where the statement finds out once what the principal holds."""
    declared = COLLECTIONS[collection]
    visible, asks = visible_sql(
        collection, "t", reads=principal.reads, record_column=declared.record_column, held="held"
    )
    assert asks == 0
    select = f"SELECT t.{declared.record_column} FROM {declared.table} t WHERE {visible}"
    rows = await conn.fetch(f"WITH held AS MATERIALIZED ({held_sql([collection])}) {select}", principal.holder)
    return {row[0] for row in rows}


@pytest.mark.parametrize("seed", range(4))
async def test_places_and_predicate_say_the_same_for_everybody(engine: Engine, seed: int) -> None:
    people, patches = await scene(engine, random.Random(seed))
    principals = [staff(person, None, role) for role, found in people.items() for person in found]
    rights = frozenset(SERVICE_RIGHTS)
    service = Principal(PrincipalKind.SERVICE, service_id=new_id(), rights=rights)
    mute = Principal(PrincipalKind.SERVICE, service_id=service.service_id)
    buyer = Principal(PrincipalKind.CUSTOMER, contact_id=new_id())
    async with engine.write() as conn:
        for holder in (service.holder, buyer.holder):
            await insert(
                conn, "user_scope", user_id=holder, scope=f"territory:{patches[0]}", granted_seq=1, granted_at=NOW_MS
            )
    counts: dict[str, int] = {}
    async with engine.read() as conn:
        for collection, principal in product(PLACES, [*principals, service, mute, buyer]):
            declared = COLLECTIONS[collection]
            rows = await conn.fetch(f"SELECT {declared.record_column} FROM {declared.table}")
            ids = [row[0] for row in rows]
            predicate = await seen_by_predicate(conn, principal, collection)
            assert predicate == await seen_by_places(conn, principal, collection, ids), (collection, principal.kind)
            if engine.dialect is Dialect.POSTGRES and principal.reads(collection):
                assert predicate == await seen_by_what_is_held(conn, principal, collection), (collection, principal)
            if principal.role is Role.REP and 0 < len(predicate) < len(ids):
                counts[collection] = counts.get(collection, 0) + 1
            if principal.kind is PrincipalKind.CUSTOMER or principal is mute:
                assert predicate == set()
    assert {"customers", "visits", "orders", "tasks"} & counts.keys(), "some rep sees some of something, not all"


async def test_a_revoked_grant_shows_nothing(engine: Engine) -> None:
    people, _ = await scene(engine, random.Random(1))
    rep = people[Role.REP][0]
    async with engine.write() as conn:
        await conn.execute("UPDATE user_scope SET revoked_seq = 99 WHERE user_id = ?", rep)
    async with engine.read() as conn:
        for collection in PLACES:
            assert await seen_by_predicate(conn, staff(rep, None, Role.REP), collection) == set()
            if engine.dialect is Dialect.POSTGRES:
                assert await seen_by_what_is_held(conn, staff(rep, None, Role.REP), collection) == set()
