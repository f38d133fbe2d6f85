# ruff: noqa: E501 - statements and documents stand as they are sent
"""The company the servers are measured on: built by set-based SQL on PostgreSQL, then copied row by row into SQLite.

The feed is printed by the product's own functions, so that a document here is what the server would have written. The
other servers get tables of their own beside it (`peer`): the same values, moments already as text, the number of the
last change as a column, and the indexes their questions want.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from backend.auth.passwords import Passwords
from backend.auth.principal import Principal, PrincipalKind
from backend.clock import wall_clock_ms
from backend.domain.fields import Field, Kind
from backend.domain.permissions import Role
from backend.ids import new_id
from backend.storage.engine import Engine, open_engine
from backend.storage.migrate import migrate
from backend.storage.visibility import places_sql
from backend.sync.collections import COLLECTIONS
from backend.sync.documents import read_documents
from backend.sync.feed import EPOCH_STEP, digest_of, digest_text, read_clock
from backend.sync.work import Door, Work, in_work
from backend.usecases.people import create_user
from backend.usecases.territories import create_territory, grant_territory

PASSWORD = "measured-with-care"
PATCH_CUSTOMERS = 1_000
PATCHES_HELD = 2
DELTA_ROWS = 1_000
ORDERS_OF_FEW, ORDERS_OF_MANY, MANY_EVERY = 2, 17, 5
"""Every fifth customer is a good one: 5 orders each on average."""
SEQ_ROWS = 50
CHUNK = 4_000
COPY_ROWS = 20_000
DAY_MS = 86_400_000

MADE = ("customers", "contacts", "customerContacts", "visits", "orders", "scores")
"""Collections made here; territories and people are made by their use cases."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Company:
    """What the questions are asked of. `rep` and `second` hold two patches each, `chief` sees everything."""

    customers: int
    rep: str
    second: str
    chief: str
    territories: tuple[str, ...]
    second_territories: tuple[str, ...]
    delta_from: int
    good_customers: tuple[str, ...]
    visits_second: tuple[str, ...]
    rows: dict[str, int]
    in_scope: dict[str, int]

    def save(self, path: Path) -> None:
        path.write_bytes(orjson.dumps(self.__dict__, option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, path: Path) -> "Company":
        found = orjson.loads(path.read_bytes())
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})


def _id(kind: int, number: str) -> str:
    """SQL for a UUID in the form of version 7: ascending in its first half, scattered in its last."""
    hashed = f"md5('{kind}:' || {number})"
    return (
        f"'0190' || lpad(to_hex({kind}), 4, '0') || '-' || lpad(to_hex(({number}) / 4096), 4, '0') || '-7' ||"
        f" lpad(to_hex(({number}) % 4096), 3, '0') || '-8' || substr({hashed}, 1, 3) || '-' || substr({hashed}, 4, 12)"
    )


CUSTOMER, CONTACT, LINK, VISIT, ORDER, LINE, SKU = range(1, 8)


def business_sql(customers: int, now_ms: int, run_id: str) -> list[str]:
    """Statements for everything but the tree, the people and the feed. `bench_patch` names patches and their reps."""
    contacts, patches = customers * 3 // 2, max(2 * PATCHES_HELD, customers // PATCH_CUSTOMERS)
    name = "CASE WHEN n % 5 < 3 THEN 'haizhi' ELSE 'donghua' END"
    return [
        f"""INSERT INTO customer (id, code, name_zh, name_en, kind, stage, territory_id, country, province, city,
        district, street, postcode, address_line, phone, email, tags, lat_e7, lon_e7, geofence_m, timezone, open_hours,
        credit_limit_minor, currency, terms_days, cadence_days, customer_since, search_keys, sort_key,
        completeness_percent, last_order_at, last_visit_at, created_at, created_by)
        SELECT {_id(CUSTOMER, "n")}, 'C' || lpad(n::text, 7, '0'), '海之' || n || '服装店',
        initcap({name}) || ' ' || n || ' Clothes', 'RETAILER', (ARRAY['NEW','GROWING','MATURE','DORMANT'])[1 + n % 4],
        p.id, 'CN', '浙江', (ARRAY['上海','杭州','苏州','宁波'])[1 + n % 4], '西湖区', 'No. ' || n % 997, lpad((n % 999999)::text, 6, '0'),
        'No. ' || n % 997 || ' 西湖区', '+8613' || lpad((n * 7919 % 1000000000)::text, 9, '0'), 'shop' || n || '@example.com',
        '["key","spring"]', 310000000 + n % 1000000, 1210000000 + n * 31 % 10000000, 150, 'Asia/Shanghai',
        '{{"MON":"10:00-21:00","SAT":"10:00-22:00","TUE":"10:00-21:00"}}', 1000000 + n % 9000000, 'CNY', 30, 28, '2024-03-01',
        '海之' || n || '服装店 ' || {name} || n || 'fuzhuangdian ' || {name} || ' ' || n || ' clothes c' || lpad(n::text, 7, '0'),
        {name} || '6' || length(n::text) || n, 80, {now_ms} - (n % 90) * {DAY_MS}::bigint, {now_ms} - (n % 30) * {DAY_MS}::bigint,
        {now_ms} - (n % 700) * {DAY_MS}::bigint - n, 'IMPORT'
        FROM generate_series(0, {customers - 1}) n JOIN bench_patch p ON p.number = n % {patches}""",
        """INSERT INTO territory_assignment (id, customer_id, territory_id, valid_from, source, assigned_by)
        SELECT gen_random_uuid()::text, id, territory_id, created_at, 'IMPORT', 'IMPORT' FROM customer""",
        f"""INSERT INTO contact (id, name_zh, name_en, phone, email, channels, preferred_channel, locale, consent_events,
        search_keys, sort_key, created_at, created_by)
        SELECT {_id(CONTACT, "n")}, '王' || n, 'Wang ' || n, '+8615' || lpad((n * 104729::bigint % 1000000000)::text, 9, '0'),
        'wang' || n || '@example.com', '{{"WECHAT":"wang' || n || '"}}', 'WECHAT', 'zh', '[]', '王' || n || ' wang' || n, 'wang26' || length(n::text) || n,
        {now_ms} - (n % 600) * {DAY_MS}::bigint - n, 'IMPORT' FROM generate_series(0, {contacts - 1}) n""",
        f"""INSERT INTO customer_contact (id, customer_id, contact_id, territory_id, role, is_primary, created_at)
        SELECT {_id(LINK, "n")}, c.id, {_id(CONTACT, "n")}, c.territory_id, (ARRAY['BUYER','OWNER','MERCH'])[1 + n % 3],
        n < {customers}, {now_ms} - (n % 600) * {DAY_MS}::bigint - n
        FROM generate_series(0, {contacts - 1}) n JOIN customer c ON c.id = {_id(CUSTOMER, f"(n % {customers})")}""",
        f"""INSERT INTO visit (id, customer_id, rep_id, territory_id, state, purpose, planned_at, window_start_at, window_end_at,
        check_in_at, check_in_lat_e7, check_in_lon_e7, check_in_accuracy_m, check_in_fix_age_s, check_out_at, verification,
        outcome, next_step, minutes_planned, notes, happens_at, created_at, created_by)
        SELECT {_id(VISIT, "2 * n + k")}, c.id, p.rep_id, c.territory_id, CASE k WHEN 0 THEN 'PLANNED' ELSE 'COMPLETED' END, 'SELL',
        at, at, at + 3600000, CASE k WHEN 1 THEN at END, CASE k WHEN 1 THEN c.lat_e7 END, CASE k WHEN 1 THEN c.lon_e7 END,
        CASE k WHEN 1 THEN 12 END, CASE k WHEN 1 THEN 3 END, CASE k WHEN 1 THEN at + 2400000 END,
        CASE k WHEN 1 THEN 'VERIFIED' ELSE 'UNVERIFIED' END, CASE k WHEN 1 THEN 'ORDER_EXPECTED' END, 'step 0', 40,
        CASE k WHEN 1 THEN '春款陈列已更新 display of the spring line renewed' END, at, {now_ms} - 30 * {DAY_MS}::bigint - n, 'IMPORT'
        FROM generate_series(0, {customers - 1}) n JOIN customer c ON c.id = {_id(CUSTOMER, "n")}
        JOIN bench_patch p ON p.id = c.territory_id CROSS JOIN generate_series(0, 1) k
        CROSS JOIN LATERAL (SELECT {now_ms} + CASE k WHEN 0 THEN 2 + n % 30 ELSE -1 - n % 60 END * {DAY_MS}::bigint + n * 1000::bigint) t(at)""",
        f"""INSERT INTO sales_order (id, number, customer_id, rep_id, territory_id, state, source, "window", currency, po_number,
        requested_ship_on, total_minor, units, ordered_on, ordered_at, submitted_at, created_at, created_by)
        SELECT {_id(ORDER, "32 * n + k")}, 'SO-' || 32 * n + k, c.id, p.rep_id, c.territory_id, 'CONFIRMED', 'FIELD', 'SPRING', 'CNY',
        'PO' || n || '-' || k, '2027-02-01', 3 * 119000 + 100 * (n % 97), 36, to_char(to_timestamp(at / 1000), 'YYYY-MM-DD'), at, at, at, 'IMPORT'
        FROM generate_series(0, {customers - 1}) n JOIN customer c ON c.id = {_id(CUSTOMER, "n")}
        JOIN bench_patch p ON p.id = c.territory_id
        CROSS JOIN LATERAL generate_series(0, CASE WHEN n % {MANY_EVERY} = 0 THEN {ORDERS_OF_MANY} ELSE {ORDERS_OF_FEW} END - 1) k
        CROSS JOIN LATERAL (SELECT {now_ms} - (k * 20 + n % 20) * {DAY_MS}::bigint - n) t(at)""",
        f"""INSERT INTO order_line (id, order_id, "position", description, unit_price_minor, discount_bp, cells, units, total_minor)
        SELECT {_id(LINE, "(4 * o.n + k)")}, o.id, k, 'Style ' || (o.n * 7 + k) % 300 || ' linen shirt', 9900 + k * 1000, 0,
        '{{"' || {_id(SKU, "((o.n * 7 + k) % 3000)")} || '":6,"' || {_id(SKU, "((o.n * 7 + k + 1) % 3000 + 3000)")} || '":6}}', 12, 119000
        FROM (SELECT id, substr(number, 4)::int AS n FROM sales_order) o CROSS JOIN generate_series(0, 2) k""",
        f"""INSERT INTO customer_score (customer_id, run_id, table_id, territory_id, priority, segment, segment_since, segment_cause,
        stage, existing_value_minor, potential_minor, loyalty_hundredths, satisfaction_hundredths, churn_risk_bp, past_value_minor,
        future_value_minor, currency, basis, coverage_bp, confidence_bp, as_of, facts, evidence, segment_state, segment_state_before,
        segment_counted_on)
        SELECT id, '{run_id}', '{run_id}', territory_id, ('x' || substr(md5(id), 1, 5))::bit(20)::int % 10000, 'CORE', '2026-01-01', 'FIRST',
        stage, 500000, 900000, 7000, 6500, 1200, 300000, 600000, 'USD', 'HISTORY', 9000, 8000, '2026-11-01',
        '{{"orders":5,"visits":2}}', '[]', 0, 0, '2026-11-01' FROM customer""",
    ]


async def _people(engine: Engine, customers: int) -> tuple[list[tuple[int, str, str]], dict[str, str]]:
    """The tree, an admin and a rep for every two patches; returns (number, patch, rep) and who is who by e-mail."""
    passwords = Passwords(workers=1)
    password_hash = await passwords.hash(PASSWORD)
    passwords.close()
    patches = max(2 * PATCHES_HELD, customers // PATCH_CUSTOMERS)
    system = Principal(PrincipalKind.STAFF, user_id=new_id(), device_id=None, role=Role.ADMIN)

    async def story(work: Work) -> tuple[list[tuple[int, str, str]], dict[str, str]]:
        node: dict[str, object] = {"timezone": "Asia/Shanghai", "nameEn": "China", "nameZh": "中国"}
        root = await create_territory(work, {**node, "path": "/cn", "kind": "REGION"})
        users = {"chief": await create_user(work, email="chief@bench.example", name="Chief", role="ADMIN",
                                            password_hash=password_hash)}  # fmt: skip
        seats = []
        for number in range(patches):
            fields = {
                **node,
                "path": f"/cn/p{number:04d}",
                "kind": "PATCH",
                "nameEn": f"Patch {number}",
                "parentId": root,
            }
            patch = await create_territory(work, fields)
            who = f"rep{number // PATCHES_HELD}"
            if who not in users:
                users[who] = await create_user(
                    work, email=f"{who}@bench.example", name=f"Rep {who[3:]}", role="REP", password_hash=password_hash
                )
            await grant_territory(work, users[who], patch)
            seats.append((number, patch, users[who]))
        return seats, users

    found, _ = await in_work(engine, system, story, clock=wall_clock_ms, retries_max=0, door=Door.JOB)
    return found


async def build_postgres(url: str, customers: int, tell: Tell) -> Company:
    """Everything into an empty PostgreSQL database."""
    await migrate(url)
    engine = open_engine(url)
    await engine.start()
    raw = await asyncpg.connect(url)
    try:
        tell("people and patches")
        seats, users = await _people(engine, customers)
        await raw.execute("CREATE UNLOGGED TABLE bench_patch (number int, id text, rep_id text)")
        await raw.copy_records_to_table("bench_patch", records=seats)
        for statement in business_sql(customers, wall_clock_ms(), new_id()):
            tell(statement.split()[2])
            await raw.execute(statement)
        await raw.execute("DROP TABLE bench_patch")
        await raw.execute("ANALYZE")
        for name in MADE:
            tell(f"feed: {name}")
            await _feed(engine, raw, name)
        tell("checksums")
        await _sums(raw)
        held = [seat[1] for seat in seats]
        mine, second = held[:PATCHES_HELD], held[PATCHES_HELD : 2 * PATCHES_HELD]
        delta_from = await _delta(raw, mine)
        await raw.execute("VACUUM (ANALYZE)")
        tell("tables of the others")
        await _peer_tables(raw)
        return await _company(raw, customers, users, mine, second, delta_from)
    finally:
        await raw.close()
        await engine.close()


async def _feed(engine: Engine, raw: asyncpg.Connection, name: str) -> None:
    """Documents as the product prints them, by COPY; then where they stand."""
    collection = COLLECTIONS[name]
    columns = ("key", "collection", "record_id", "seq", "deleted", "doc_version", "field_seq", "digest", "document")
    async with engine.read() as conn:
        clock, _ = await read_clock(conn)
        ids = [r[0] for r in await conn.fetch(f"SELECT {collection.record_column} FROM {collection.table} ORDER BY 1")]
        for start in range(0, len(ids), CHUNK):
            documents = await read_documents(conn, collection, ids[start : start + CHUNK])
            rows = []
            for number, (record_id, document) in enumerate(documents.items()):
                seq = clock + 1 + (start + number) // SEQ_ROWS
                rows.append((f"{name}:{record_id}", name, record_id, seq, False, collection.doc_version,
                             f'{{"*":[{seq},"IMPORT"]}}', digest_of(document), document))  # fmt: skip
            await raw.copy_records_to_table("feed", records=rows, columns=columns)
    await raw.execute("UPDATE sync_clock SET seq = $1", clock + 1 + len(ids) // SEQ_ROWS)
    # of all records instead of those in a list
    everywhere = places_sql(name).replace("= ANY(?)", "IS NOT NULL")
    await raw.execute(
        "INSERT INTO feed_scope (scope, collection, record_id, entered_seq, seq)"
        f" SELECT w.scope, '{name}', w.id, f.seq, f.seq FROM ({everywhere}) w(id, scope)"
        f" JOIN feed f ON f.key = '{name}:' || w.id"
    )


async def _sums(raw: asyncpg.Connection) -> None:
    rows = await raw.fetch(
        "SELECT p.scope, p.collection, sum(f.digest::numeric), count(*) FROM feed_scope p JOIN feed f ON"
        " f.key = p.collection || ':' || p.record_id WHERE p.collection = ANY($1) GROUP BY 1, 2",
        list(MADE),
    )
    await raw.copy_records_to_table(
        "scope_sum",
        records=[(f"{scope}/{name}", scope, name, digest_text(int(total)), live) for scope, name, total, live in rows],
        columns=("key", "scope", "collection", "total", "live"),
    )


async def _delta(raw: asyncpg.Connection, territories: Sequence[str]) -> int:
    """So many visits of the first rep were changed last; returns the clock before that."""
    clock = int(await raw.fetchval("SELECT seq FROM sync_clock"))
    ids = [row[0] for row in await raw.fetch(
        "SELECT id FROM visit WHERE territory_id = ANY($1) AND state = 'PLANNED' ORDER BY id LIMIT $2",
        list(territories), DELTA_ROWS)]  # fmt: skip
    steps = f"(array_position($1::text[], record_id) - 1) / {SEQ_ROWS} + 1"
    await raw.execute(
        f"UPDATE feed SET seq = $2::bigint + {steps} WHERE key = ANY(SELECT 'visits:' || one FROM unnest($1::text[]) one)",
        ids, clock,
    )  # fmt: skip
    await raw.execute(
        f"UPDATE feed_scope SET seq = $2::bigint + {steps} WHERE collection = 'visits' AND record_id = ANY($1)",
        ids,
        clock,
    )
    await raw.execute("UPDATE sync_clock SET seq = $1", clock + len(ids) // SEQ_ROWS + 1)
    return clock


async def _company(
    raw: asyncpg.Connection,
    customers: int,
    users: dict[str, str],
    mine: Sequence[str],
    second: Sequence[str],
    delta_from: int,
) -> Company:
    good = await raw.fetch(
        "SELECT customer_id FROM sales_order WHERE territory_id = ANY($1) GROUP BY 1 HAVING count(*) >= 10 ORDER BY 1",
        list(mine),
    )
    visits = await raw.fetch(
        "SELECT id FROM visit WHERE territory_id = ANY($1) AND state = 'PLANNED' ORDER BY id", list(second)
    )
    rows = {table: await raw.fetchval(f"SELECT count(*) FROM {table}") for table in
            ("customer", "contact", "customer_contact", "visit", "sales_order", "order_line", "customer_score", "feed")}  # fmt: skip
    scopes = [f"territory:{one}" for one in mine]
    in_scope = dict(
        await raw.fetch(
            "SELECT collection, count(DISTINCT record_id) FROM feed_scope WHERE scope = ANY($1) GROUP BY 1 ORDER BY 1",
            scopes,
        )
    )
    return Company(
        customers, "rep0@bench.example", "rep1@bench.example", "chief@bench.example", tuple(mine), tuple(second),
        delta_from, tuple(row[0] for row in good), tuple(row[0] for row in visits), rows, in_scope,
    )  # fmt: skip


# What the other servers read

PEER_TABLES = {
    "customers": "customer",
    "contacts": "contact",
    "customerContacts": "link",
    "visits": "visit",
    "orders": "sales_order",
    "lines": "order_line",
    "scores": "score",
    "territories": "territory",
}
_INSTANT = "to_char(to_timestamp({0} / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
_JSON = (Kind.SET, Kind.MAP, Kind.CELLS, Kind.RECORDS)
GRAPHQL_TYPES = {Kind.INT: "Int", Kind.MONEY_MINOR: "Int", Kind.BOOL: "Boolean", **dict.fromkeys(_JSON, "JSON")}


def _shown(field: Field, column: str) -> str:
    if field.kind is Kind.TIMESTAMP:
        return _INSTANT.format(column)
    if field.kind in (Kind.INT, Kind.MONEY_MINOR):
        return f"{column}::int"
    return f"{column}::json" if field.kind in _JSON else column


def peer_column(name: str) -> str:
    """`latE7` → `lat_e7`; a name of its own, so that the other servers need no table of exceptions."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def shapes() -> dict[str, list[tuple[str, str, str]]]:
    """What documents hold, by collection: (name, column of the peers' tables, GraphQL type)."""
    fields: dict[str, Sequence[Field]] = {name: COLLECTIONS[name].own_fields for name in (*MADE, "territories")}
    fields["lines"] = COLLECTIONS["orders"].children[0].fields
    return {
        name: [(one.name, peer_column(one.name), GRAPHQL_TYPES.get(one.kind, "String")) for one in found]
        for name, found in fields.items()
    }


def _peer_sql() -> list[str]:
    made = ["DROP SCHEMA IF EXISTS peer CASCADE", "CREATE SCHEMA peer", "CREATE SEQUENCE peer.changes"]
    for name, table in PEER_TABLES.items():
        if name == "lines":
            child = COLLECTIONS["orders"].children[0]
            parts = [
                f'{_shown(f, chr(34) + child.columns[f.name] + chr(34))} AS "{peer_column(f.name)}"'
                for f in child.fields
            ]
            made.append(f"CREATE TABLE peer.{table} AS SELECT {', '.join(parts)}, order_id, position FROM order_line")
        else:
            collection = COLLECTIONS[name]
            parts = [
                f'{_shown(f, "t." + chr(34) + collection.columns[f.name] + chr(34))} AS "{peer_column(f.name)}"'
                for f in collection.own_fields
            ]
            if name in ("customerContacts", "orders", "scores"):
                parts.append("t.territory_id")
            if name == "customers":
                parts.append(f"s.priority, t.created_at AS sorted_at, (f.seq % {EPOCH_STEP})::int AS rev")
            if name == "visits":
                parts.append(f"t.territory_id, t.happens_at, (f.seq % {EPOCH_STEP})::int AS rev")
                parts = list(dict.fromkeys(parts))
            source = f"{collection.table} t"
            if name == "customers":
                source += " JOIN customer_score s ON s.customer_id = t.id"
            if name in ("customers", "visits"):
                source += f" JOIN feed f ON f.key = '{name}:' || t.id"
            if name == "customerContacts":
                parts.append("t.created_at AS sorted_at")
            if name == "orders":
                parts.append("t.ordered_at AS sorted_at")
            made.append(f"CREATE TABLE peer.{table} AS SELECT {', '.join(parts)} FROM {source}")
        made.append(f"ALTER TABLE peer.{table} ADD PRIMARY KEY (id)")
    return made


PEER_INDEXES = (
    "customer (territory_id, priority DESC, id DESC)",
    "link (customer_id, sorted_at, id)",
    "link (contact_id)",
    "link (territory_id)",
    "visit (customer_id, state, happens_at, id)",
    "visit (territory_id, rev)",
    "sales_order (customer_id, sorted_at, id)",
    "sales_order (territory_id)",
    "order_line (order_id, position)",
    "score (territory_id)",
)
PEER_KEYS = (
    ("customer", "territory_id", "territory"),
    ("link", "customer_id", "customer"),
    ("link", "contact_id", "contact"),
    ("visit", "customer_id", "customer"),
    ("sales_order", "customer_id", "customer"),
    ("order_line", "order_id", "sales_order"),
    ("score", "id", "customer"),
)
"""Foreign keys, which some of the others find their relations by."""

PEER_FUNCTIONS = (
    "morning_list(territories text[], most int) RETURNS SETOF peer.customer STABLE AS $$ SELECT * FROM peer.customer"
    " WHERE territory_id = ANY(territories) ORDER BY priority DESC, id DESC LIMIT most $$",
    "visits_since(territories text[], since int, most int) RETURNS SETOF peer.visit STABLE AS $$ SELECT * FROM peer.visit"
    " WHERE territory_id = ANY(territories) AND rev > since ORDER BY rev, id LIMIT most $$",
    *(
        f"{name}(territories text[]) RETURNS SETOF peer.{table} STABLE AS $$ SELECT * FROM peer.{table}"
        " WHERE territory_id = ANY(territories) $$"
        for name, table in (
            ("customers_in", "customer"),
            ("links_in", "link"),
            ("visits_in", "visit"),
            ("orders_in", "sales_order"),
            ("scores_in", "score"),
        )
    ),
    "contacts_in(territories text[]) RETURNS SETOF peer.contact STABLE AS $$ SELECT * FROM peer.contact WHERE id IN"
    " (SELECT contact_id FROM peer.link WHERE territory_id = ANY(territories)) $$",
    "change_visits(patches json) RETURNS SETOF peer.visit VOLATILE AS $$ UPDATE peer.visit v SET next_step = p.next_step,"
    " rev = nextval('peer.changes') FROM json_to_recordset(patches) p(id text, next_step text) WHERE v.id = p.id"
    " RETURNING v.* $$",
)
"""How PostGraphile is given questions with a list of territories, and the set-based write."""


async def _peer_tables(raw: asyncpg.Connection) -> None:
    for statement in _peer_sql():
        await raw.execute(statement)
    for index in PEER_INDEXES:
        await raw.execute(f"CREATE INDEX ON peer.{index}")
    for table, column, other in PEER_KEYS:
        await raw.execute(f"ALTER TABLE peer.{table} ADD FOREIGN KEY ({column}) REFERENCES peer.{other} (id) NOT VALID")
    for function in PEER_FUNCTIONS:
        await raw.execute(f"CREATE FUNCTION peer.{function} LANGUAGE sql")
    await raw.execute("SELECT setval('peer.changes', (SELECT max(rev) FROM peer.visit))")
    for table in PEER_TABLES.values():
        await raw.execute(f"VACUUM (ANALYZE) peer.{table}")


# The same into SQLite


async def copy_to_sqlite(url: str, product: Path, peers: Path, tell: Tell) -> None:
    """What stands in PostgreSQL into a migrated SQLite file, and the peers' tables into another one."""
    await migrate(f"sqlite://{product}")
    raw = await asyncpg.connect(url)
    try:
        await _copy_product(raw, product, tell)
        await _copy_peers(raw, peers, tell)
    finally:
        await raw.close()


async def _copy_product(raw: asyncpg.Connection, path: Path, tell: Tell) -> None:
    lite = _opened(path)
    tables = [
        row[0]
        for row in lite.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    ]
    indexes = lite.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    for name, _ in indexes:
        lite.execute(f'DROP INDEX "{name}"')
    for table in sorted(tables):
        if table == "tortoise_migrations":
            continue
        columns = [row[1] for row in lite.execute(f'PRAGMA table_info("{table}")')]
        tell(f"SQLite: {table}")
        lite.execute(f'DELETE FROM "{table}"')
        await _carry(raw, lite, f'public."{table}"', table, columns)
    tell("SQLite: indexes")
    for _, sql in indexes:
        lite.execute(sql)
    lite.execute("ANALYZE")
    lite.close()


async def _copy_peers(raw: asyncpg.Connection, path: Path, tell: Tell) -> None:
    lite = _opened(path)
    for name, table in PEER_TABLES.items():
        tell(f"SQLite, of the others: {name}")
        columns = [row[0] for row in await raw.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'peer' AND table_name = $1"
            " ORDER BY ordinal_position", table)]  # fmt: skip
        kinds = ", ".join(f'"{column}"' + (" TEXT PRIMARY KEY" if column == "id" else "") for column in columns)
        lite.execute(f"CREATE TABLE {table} ({kinds})")
        await _carry(raw, lite, f"peer.{table}", table, columns)
    for number, index in enumerate(PEER_INDEXES):
        lite.execute(f"CREATE INDEX peer_{number} ON {index}")
    lite.execute("ANALYZE")
    lite.close()


def _opened(path: Path) -> sqlite3.Connection:
    lite = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=OFF", "cache_size=-200000"):
        lite.execute(f"PRAGMA {pragma}")
    return lite


async def _carry(
    raw: asyncpg.Connection, lite: sqlite3.Connection, source: str, table: str, columns: Sequence[str]
) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    insert = f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(columns))})'
    lite.execute("BEGIN")
    async for rows in _chunks(raw, f"SELECT {names} FROM {source}"):
        lite.executemany(insert, rows)
    lite.execute("COMMIT")


async def _chunks(raw: asyncpg.Connection, sql: str) -> AsyncIterator[list[Any]]:
    async with raw.transaction():
        cursor = await raw.cursor(sql)
        while rows := await cursor.fetch(COPY_ROWS):
            yield rows


def build(url: str, product: Path, peers: Path, customers: int, tell: Tell) -> Company:
    """Both databases, of one content."""
    company = asyncio.run(build_postgres(url, customers, tell))
    asyncio.run(copy_to_sqlite(url, product, peers, tell))
    return company
