"""Order histories in the tables, straight: many customers at once, as an import would leave them."""

from collections.abc import Sequence

import numpy as np

from backend.domain.customers import CustomerKind
from backend.domain.times import day_start_ms
from backend.ids import new_id
from backend.storage.engine import Connection, Engine
from tests import factories
from tests.papers.cdnow import orders as cdnow_orders

CUSTOMER = (
    "id", "kind", "stage", "name_en", "territory_id", "tags", "geofence_m", "search_keys", "sort_key",
    "completeness_percent", "created_at", "created_by",
)  # fmt: skip
ORDER = (
    "id", "customer_id", "territory_id", "state", "source", "currency", "total_minor", "units", "ordered_on",
    "ordered_at", "created_at", "created_by",
)  # fmt: skip


async def customers(
    conn: Connection,
    count: int,
    *,
    territory_id: str | None = None,
    kind: str = CustomerKind.RETAILER.value,
    prefix: str = "Shop",
) -> list[str]:
    """Customers without orders; their ids, ascending."""
    ids = sorted(new_id() for _ in range(count))
    await _insert(
        conn,
        "customer",
        CUSTOMER,
        [
            (record_id, kind, "PROSPECT", f"{prefix} {place}", territory_id, "[]", 150, "", f"{place:08d}", 0,
             factories.NOW_MS, "system")
            for place, record_id in enumerate(ids)
        ],
    )  # fmt: skip
    return ids


async def orders(
    conn: Connection,
    rows: Sequence[tuple[str, str, int]],
    *,
    currency: str = "USD",
    state: str = "CLOSED",
    territory_id: str | None = None,
) -> list[str]:
    """Imported history from (customer, local day, amount in minor units); ids in the rows' sequence."""
    ids = [new_id() for _ in rows]
    await _insert(
        conn,
        "sales_order",
        ORDER,
        [
            (record_id, customer_id, territory_id, state, "IMPORT", currency, amount, 1, day, 0, factories.NOW_MS,
             "system")
            for record_id, (customer_id, day, amount) in zip(ids, rows, strict=True)
        ],
    )  # fmt: skip
    return ids


VISIT = ("id", "customer_id", "rep_id", "state", "purpose", "check_in_at", "verification", "happens_at", "created_at",
         "created_by")  # fmt: skip


async def visits(conn: Connection, rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Completed visits from (customer, rep, local day in Shanghai), begun at noon; ids in the rows' sequence."""
    ids = [new_id() for _ in rows]
    moments = [day_start_ms(day, "Asia/Shanghai") + 12 * 3_600_000 for _, _, day in rows]
    await _insert(
        conn,
        "visit",
        VISIT,
        [
            (record_id, customer_id, rep_id, "COMPLETED", "SELL", at, "UNVERIFIED", at, at, "system")
            for record_id, (customer_id, rep_id, _), at in zip(ids, rows, moments, strict=True)
        ],
    )
    return ids


async def cdnow(engine: Engine, territory_id: str | None = None) -> list[str]:
    """The CDNOW sample: 2,357 customers with 6,919 orders from 1997-01-01 to 1998-06-30; ids by customer."""
    customer, day, cents = cdnow_orders()
    days = np.datetime_as_string(day.astype("datetime64[D]")).tolist()
    async with engine.write() as conn:
        ids = await customers(conn, int(customer.max()) + 1, territory_id=territory_id, kind="CONSUMER", prefix="Buyer")
        await orders(
            conn,
            [(ids[who], on, amount) for who, on, amount in zip(customer.tolist(), days, cents.tolist(), strict=True)],
            territory_id=territory_id,
        )
    return ids


async def _insert(conn: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    marks = ", ".join("?" for _ in columns)
    await conn.execute_many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
