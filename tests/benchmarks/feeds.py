"""Large feeds written straight into their tables, as the engine itself would have left them."""

import random
import uuid

import orjson

from backend.auth.principal import Principal, Role
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine
from backend.sync.collections import COLLECTIONS
from backend.sync.feed import digest_of, digest_text, read_clock
from tests.factories import NOW_MS, device, user
from tests.sync.worlds import staff

CHUNK = 5_000
VERSION = COLLECTIONS["customers"].doc_version
COLUMNS = {
    "feed": "key, collection, record_id, seq, deleted, doc_version, field_seq, digest, document",
    "feed_scope": "scope, collection, record_id, entered_seq, seq",
}


def shop_document(record_id: str, rng: random.Random) -> bytes:
    """A shop of about the size real ones have, canonical."""
    number = rng.randrange(10**9)
    return orjson.dumps(
        {
            "id": record_id,
            "nameZh": f"海之{number}服装店", "nameEn": f"Haizhi {number} Clothes", "nameKo": None,
            "kind": "RETAILER", "city": rng.choice(("上海", "杭州", "苏州", "Busan")), "country": "CN",
            "district": None, "street": f"No. {number % 997}", "postcode": f"{number % 10**6:06d}",
            "timezone": "Asia/Shanghai", "currency": "CNY", "latE7": 310_000_000 + number % 10**6,
            "lonE7": 1_210_000_000 + number % 10**7, "tier": "B", "state": "ACTIVE", "tags": [],
            "openHours": {"MON": "10:00-21:00", "TUE": "10:00-21:00", "SAT": "10:00-22:00"},
            "notes": None, "phone": f"+8613{number % 10**9:09d}",
            "priceListId": str(uuid.UUID(int=rng.getrandbits(128))),
            "parentId": None, "territoryId": str(uuid.UUID(int=rng.getrandbits(128))), "cadenceDays": 28,
            "searchKeys": f"海之{number}服装店 haizhi {number} clothes 13{number % 10**9:09d}",
            "sortKey": f"haizhi{number}",
        },
        option=orjson.OPT_SORT_KEYS,
    )  # fmt: skip


async def big_feed(engine: Engine, scopes_rows: dict[str, int], *, seed: int = 1) -> None:
    """So many shops in each scope, all of one seq apiece, with their checksums; the clock goes on by as many steps."""
    rng = random.Random(seed)
    async with engine.write() as conn:
        clock, _ = await read_clock(conn)
        for scope, count in scopes_rows.items():
            total, feed, places = 0, [], []
            for number in range(count):
                clock += number % 50 == 0
                record_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
                document = shop_document(record_id, rng)
                digest = digest_of(document)
                total += digest
                feed.append(
                    (f"customers:{record_id}", "customers", record_id, clock, False, VERSION, "{}", digest, document)
                )
                places.append((scope, "customers", record_id, clock, clock))
                if len(feed) == CHUNK or number == count - 1:
                    await _copy(conn, "feed", feed)
                    await _copy(conn, "feed_scope", places)
                    feed, places = [], []
            await conn.execute(
                "INSERT INTO scope_sum (key, scope, collection, total, live) VALUES (?, ?, 'customers', ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET total = excluded.total, live = excluded.live",
                f"{scope}/customers", scope, digest_text(total), count,
            )  # fmt: skip
        await conn.execute("UPDATE sync_clock SET seq = ?", clock)
    if engine.dialect is Dialect.POSTGRES:
        async with engine.write() as conn:
            await conn.execute("ANALYZE")


async def _copy(conn: Connection, table: str, rows: list[tuple[object, ...]]) -> None:
    raw = getattr(conn, "raw", None)
    names = COLUMNS[table].split(", ")
    if conn.dialect is Dialect.POSTGRES and raw is not None:
        await raw.copy_records_to_table(table, records=rows, columns=names)
        return
    await conn.execute_many(f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({', '.join('?' * len(names))})", rows)


async def holder(engine: Engine, scopes: list[str]) -> Principal:
    """A manager on a device who holds exactly these scopes."""
    async with engine.write() as conn:
        clock, _ = await read_clock(conn)
        user_id = await user(conn, role=Role.MANAGER.value)
        device_id = await device(conn, user_id)
        await conn.execute_many(
            "INSERT INTO user_scope (user_id, scope, granted_seq, granted_at) VALUES (?, ?, ?, ?)",
            [(user_id, scope, clock, NOW_MS) for scope in scopes],
        )
    return staff(user_id, device_id, Role.MANAGER)
