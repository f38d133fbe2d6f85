"""Finding customers by name, and listing them by priority: page 1 against page 100, among 60,000.

`python -m tests.benchmarks.bench_search [sqlite|postgres] [customers]`. The pages are asked for in turns, with the
cursors a client would have, so that what else the machine does falls on all of them. Nothing is asserted but that
both pages are full.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.config import Settings
from backend.domain.names import search_keys, sort_key
from backend.reads.plans import Plans
from backend.schema.context import Context
from backend.schema.execute import Documents, encode, execute
from backend.schema.root import build_schema
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine, open_engine
from tests.benchmarks.bench_bulk import say
from tests.databases import RunFolder, fresh_postgres, fresh_sqlite
from tests.factories import NOW_MS, user

CUSTOMERS = 60_000
TERRITORIES = 120
PAGES, ROWS = 100, 10
ROUNDS = 31
SCHEMA, SETTINGS = build_schema(), Settings()
FAMILIES, GIVEN = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗", "伟芳娜敏静丽强磊军洋勇艳杰涛明超兰霞平刚"
PLACES = ("Haizhi", "Beyond", "Orient", "Golden", "River", "Maple", "Star", "Lotus", "North", "Cloud")
THINGS = ("Clothes", "Fashion", "Garments", "Boutique", "Retail", "Apparel", "Tailors", "Outlet")
KOREAN = ("온유", "가람", "나래", "다온", "라온", "마루", "바다", "새별", "아라", "하늘")
ASKED = {
    "by name, all of them": ({"sort": "NAME"}, PAGES),
    "search `wang` (one of twenty, by pinyin)": ({"filter": {"search": "wang"}}, PAGES),
    "search `clothes` (one of eight)": ({"filter": {"search": "clothes"}}, PAGES),
    "search `온유` (one of ten)": ({"filter": {"search": "온유"}}, PAGES),
    "search `haizhi clo` (one of eighty)": ({"filter": {"search": "haizhi clo"}}, PAGES // 2),
    "search `clothes`, by priority": ({"filter": {"search": "clothes"}, "sort": "PRIORITY"}, PAGES),
    "by priority, all of them": ({"sort": "PRIORITY"}, PAGES),
    "search a telephone number's end (one)": ({"filter": {"search": "00012345"}}, 1),
    "search what nobody is called": ({"filter": {"search": "qqqqzz"}}, 1),
}
DOCUMENT = """query ($filter: CustomerFilter, $sort: CustomerSort! = NAME, $first: Int, $after: String) {
  customers(filter: $filter, sort: $sort, first: $first, after: $after) {
    nodes { id nameZh nameEn nameKo kind phone } pageInfo { hasNextPage endCursor }
  }
}"""


def names(rng: random.Random) -> dict[str, str | None]:
    zh = rng.choice(FAMILIES) + rng.choice(GIVEN) + rng.choice(GIVEN)
    return {"zh": zh, "en": f"{rng.choice(PLACES)} {rng.choice(THINGS)}", "ko": rng.choice(KOREAN)}


async def fill(engine: Engine, customers: int, *, seed: int = 1) -> Principal:
    """So many customers in their territories, nine of ten of them scored, and an administrator who holds them all."""
    rng = random.Random(seed)
    territories = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(TERRITORIES)]
    shops, scores = [], []
    for number in range(customers):
        record_id, territory = str(uuid.UUID(int=rng.getrandbits(128))), rng.choice(territories)
        called, phone = names(rng), f"+86138{number:08d}"
        shops.append(
            {
                "id": record_id, "name_zh": called["zh"], "name_en": called["en"], "name_ko": called["ko"],
                "kind": "RETAILER", "stage": "MATURE", "territory_id": territory, "phone": phone, "tags": "[]",
                "geofence_m": 200, "search_keys": search_keys(called, phones=[phone]), "sort_key": sort_key(called),
                "completeness_percent": 80, "created_at": NOW_MS + number, "created_by": "staff:x",
                "address_line": f"No. {number % 997}, Road {number % 89}", "notes": "A note of some length. " * 4,
            }
        )  # fmt: skip
        if number % 10:
            scores.append(
                {
                    "customer_id": record_id, "run_id": "r", "table_id": "t", "territory_id": territory,
                    "priority": rng.randrange(101), "segment": "HHHH", "segment_since": "2026-01-01",
                    "segment_cause": "FIRST", "stage": "MATURE", "past_value_minor": 1, "future_value_minor": 1,
                    "currency": "CNY", "basis": "ORDERS", "coverage_bp": 1, "confidence_bp": 1, "as_of": "2026-01-01",
                    "facts": "{}", "evidence": "[]", "segment_state": 0, "segment_state_before": 0,
                    "segment_counted_on": "2026-01-01",
                }
            )  # fmt: skip
    async with engine.write() as conn:
        user_id = await user(conn, role=Role.ADMIN.value)
        scopes = [f"territory:{one}" for one in territories] + ["unassigned", "catalogue", "organisation"]
        await conn.execute_many(
            "INSERT INTO user_scope (user_id, scope, granted_seq, granted_at) VALUES (?, ?, ?, ?)",
            [(user_id, scope, 1, NOW_MS) for scope in scopes],
        )
        await _copy(conn, "customer", shops)
        await _copy(conn, "customer_score", scores)
    async with engine.write() as conn:
        await conn.execute("ANALYZE")
    return Principal(PrincipalKind.STAFF, user_id=user_id, device_id="d", role=Role.ADMIN)


async def _copy(conn: Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    columns, raw = list(rows[0]), getattr(conn, "raw", None)
    records = [tuple(row.values()) for row in rows]
    if conn.dialect is Dialect.POSTGRES and raw is not None:
        await raw.copy_records_to_table(table, records=records, columns=columns)
        return
    await conn.execute_many(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", records
    )


class Client:
    """Asks as a client does."""

    def __init__(self, engine: Engine, principal: Principal) -> None:
        self._engine = engine
        self._principal = principal
        self._plans = Plans(100)
        self._documents = Documents(SCHEMA, SETTINGS)

    async def page(self, asked: dict[str, Any], after: str | None) -> tuple[dict[str, Any], float]:
        """A page, and how many milliseconds it took."""
        began = time.perf_counter()
        context = Context(self._engine, self._principal, SETTINGS, lambda: NOW_MS, NOW_MS, self._plans)
        variables = {**asked, "first": ROWS, "after": after}
        answer = encode(await execute(SCHEMA, context, self._documents, DOCUMENT, variables))
        taken_ms = 1_000 * (time.perf_counter() - began)
        found = orjson.loads(answer)
        assert "errors" not in found, found["errors"]
        return found["data"]["customers"], taken_ms

    async def cursor_of(self, asked: dict[str, Any], page: int) -> str | None:
        """The cursor in front of a page, found by walking there."""
        after = None
        for _ in range(page - 1):
            found, _ = await self.page(asked, after)
            after = found["pageInfo"]["endCursor"]
        return after


async def measure(engine: Engine, customers: int, where: str) -> None:
    client = Client(engine, await fill(engine, customers))
    for told, (asked, pages) in ASKED.items():
        after = await client.cursor_of(asked, pages)
        near, far, full = [], [], True
        for _ in range(ROUNDS):
            for cursor, taken in ((None, near), (after, far)):
                found, milliseconds = await client.page(asked, cursor)
                taken.append(milliseconds)
                full = full and len(found["nodes"]) == ROWS
        assert full or pages == 1, f"{told}: a page is not full"
        first, last = statistics.median(near), statistics.median(far)
        again = f"  page {pages} {last:6.2f} ms = {last / first:4.2f}×" if pages > 1 else ""
        say(f"{where}  {told:42} page 1 {first:6.2f} ms ({min(near):.2f}–{max(near):.2f}){again}")


async def main(folder: RunFolder, databases: Sequence[str], customers: int) -> None:
    say(f"{customers:,} customers in {TERRITORIES} territories, pages of {ROWS}, medians of {ROUNDS} rounds")
    async with AsyncExitStack() as stack:
        for database in databases:
            if database == "sqlite":
                path = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = fresh_sqlite(folder.sqlite_template(), path)
            else:
                url = await stack.enter_async_context(fresh_postgres(folder.postgres_url()))
            engine = open_engine(url)
            await engine.start()
            try:
                await measure(engine, customers, f"{database:8}")
            finally:
                await engine.close()


if __name__ == "__main__":
    given, folder = sys.argv[1:], RunFolder.begin()
    wanted = [name for name in ("sqlite", "postgres") if name in given] or ["sqlite", "postgres"]
    try:
        # what begins a server or a file runs a loop of its own, so it is made before ours
        if "sqlite" in wanted:
            folder.sqlite_template()
        if "postgres" in wanted:
            folder.postgres_url()
        asyncio.run(main(folder, wanted, next((int(word) for word in given if word.isdigit()), CUSTOMERS)))
    finally:
        folder.end()
