"""The audit at a million entries: what a page of the trail costs by each filter, and what a write adds to the table.

    python -m tests.benchmarks.bench_audit sqlite:////tmp/audit.sqlite3 [entries]

The database is migrated and filled; it must be empty, or one this filled before.
"""

import asyncio
import sys
import time

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.config import Settings
from backend.ids import new_id
from backend.reads.plans import Plans
from backend.schema.context import Context
from backend.schema.execute import Documents, encode, execute
from backend.schema.root import build_schema
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine, open_engine
from backend.storage.migrate import migrate
from backend.sync.changes import Change, Intent
from backend.sync.work import open_work
from backend.usecases.customers import change_customers
from tests import factories

ENTRIES = 1_000_000
ROUNDS = 7
CHANGES = 1_000
START_MS = 1_700_000_000_000
TRAIL = (
    "query ($filter: AuditFilter, $after: String) { auditTrail(filter: $filter, first: 100, after: $after) {"
    " nodes { id at actorName action door collection recordId changes personalChanges } pageInfo { endCursor } } }"
)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def fill(conn: Connection, entries: int) -> None:
    """Entries of 200 people on 5,000 records, one a second; one in a thousand is an export, one in ten a visit's."""
    rows = (
        f"SELECT n FROM generate_series(1, {entries}) AS n"
        if conn.dialect is Dialect.POSTGRES
        else f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {entries}) SELECT n FROM c"
    )
    pad = "lpad(n::text, 12, '0')" if conn.dialect is Dialect.POSTGRES else "printf('%012d', n)"
    who = "lpad((n % 200)::text, 12, '0')" if conn.dialect is Dialect.POSTGRES else "printf('%012d', n % 200)"
    what = "lpad((n % 5000)::text, 12, '0')" if conn.dialect is Dialect.POSTGRES else "printf('%012d', n % 5000)"
    await conn.execute(
        "INSERT INTO audit_entry (id, at, actor, device_id, door, action, collection, record_id, fields_changed,"
        f" changes) SELECT '00000000-0000-7000-8000-' || {pad}, {START_MS} + n * 1000,"
        f" 'staff:00000000-0000-7000-8001-' || {who}, '00000000-0000-7000-8002-' || {who}, 'PUSH',"
        " CASE WHEN n % 1000 = 0 THEN 'EXPORT' ELSE 'UPDATE' END,"
        " CASE WHEN n % 10 = 0 THEN 'visits' ELSE 'customers' END,"
        f' \'00000000-0000-7000-8003-\' || {what}, \'["notes"]\', \'[{{"after":60,"before":30,"path":"termsDays"}}]\''
        f" FROM ({rows}) AS filled"
    )


async def page_ms(engine: Engine, principal: Principal, schema: object, plans: Plans, **filter: object) -> float:
    """The median of some rounds, in milliseconds, with what noting the look costs."""
    taken = []
    settings = Settings()
    documents = Documents(schema, settings)  # type: ignore[arg-type]
    for _ in range(ROUNDS):
        context = Context(
            engine=engine, principal=principal, settings=settings, clock=lambda: START_MS, now_ms=START_MS, plans=plans,
            trail_noted=True, document_key="bench",
        )  # fmt: skip
        began = time.perf_counter()
        answer = encode(await execute(schema, context, documents, TRAIL, {"filter": filter}))  # type: ignore[arg-type]
        taken.append((time.perf_counter() - began) * 1_000)
        assert b"errors" not in answer, answer[:500]
        assert context.reads.fallbacks == 0
    return sorted(taken)[ROUNDS // 2]


async def bytes_of(conn: Connection) -> int:
    """What the table and its indexes take."""
    if conn.dialect is Dialect.POSTGRES:
        return int((await conn.fetch("SELECT pg_total_relation_size('audit_entry')"))[0][0])
    rows = await conn.fetch("SELECT sum(pgsize) FROM dbstat WHERE name = 'audit_entry' OR name LIKE '%audit_entry%'")
    return int(rows[0][0] or 0)


async def growth(engine: Engine, admin: Principal) -> None:
    """Rows and bytes that a thousand creations and a thousand edits of customers add."""
    ids = [new_id() for _ in range(CHANGES)]
    given = {"nameEn": "A shop on the corner", "kind": "RETAILER", "city": "Shanghai", "phone": "+862161234567"}
    for intent in (Intent.CREATE, Intent.PATCH):
        async with engine.read() as conn:
            before = (await conn.fetch("SELECT count(*) FROM audit_entry"))[0][0], await bytes_of(conn)
        for first in range(0, CHANGES, 100):
            async with open_work(engine, admin, now_ms=START_MS) as work:
                fields = given if intent is Intent.CREATE else {"termsDays": 30, "notes": "asks for linen, twice"}
                base_rev = None if intent is Intent.CREATE else 0
                changes = [Change(one, intent, fields, base_rev) for one in ids[first : first + 100]]
                outcomes = await change_customers(work, changes)
                assert not any(outcome.problems for outcome in outcomes), outcomes[0]
        async with engine.read() as conn:
            after = (await conn.fetch("SELECT count(*) FROM audit_entry"))[0][0], await bytes_of(conn)
        say(f"{CHANGES} {intent.value}: {after[0] - before[0]} entries, {(after[1] - before[1]) / 1024:,.0f} KiB")


async def main(url: str, entries: int) -> None:
    await migrate(url)
    engine = open_engine(url)
    await engine.start()
    schema, plans = build_schema(), Plans(100)
    async with engine.write() as conn:
        user = await factories.user(conn, role=Role.ADMIN.value, name="bench")
        await factories.grant(conn, user, "unassigned")
    admin = Principal(PrincipalKind.STAFF, user_id=user, role=Role.ADMIN)
    async with engine.read() as conn:
        held = (await conn.fetch("SELECT count(*) FROM audit_entry"))[0][0]
    if held < entries:
        await growth(engine, admin)
        began = time.perf_counter()
        async with engine.write() as conn:
            await fill(conn, entries)
        async with engine.write() as conn:
            await conn.execute("ANALYZE audit_entry")
        say(f"filled in {time.perf_counter() - began:,.0f} s")
    record = "00000000-0000-7000-8003-000000000042"
    person = "00000000-0000-7000-8001-000000000042"
    for name, filter in {
        "nothing": {},
        "record": {"record": record},
        "actor": {"actor": person},
        "device": {"device": "00000000-0000-7000-8002-000000000042"},
        "collection": {"collection": "visits"},
        "a collection nobody writes": {"collection": "tasks"},
        "a rare action": {"action": ["EXPORT"]},
        "an action nobody did": {"action": ["ERASE"]},
        "an action of a record": {"action": ["EXPORT"], "record": record},
        "a day": {"from": "2023-11-20T00:00:00.000Z", "until": "2023-11-21T00:00:00.000Z"},
    }.items():
        say(f"by {name}: {await page_ms(engine, admin, schema, plans, **filter):,.1f} ms")
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else ENTRIES))
