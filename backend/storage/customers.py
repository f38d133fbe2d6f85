"""Named queries on customers: what a child record needs of the customer it belongs to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.ids import is_id
from backend.storage.engine import Connection
from backend.storage.visibility import holds_customer_to, visible_to

TIMEZONE_DEFAULT = "Asia/Shanghai"
CHILD_TABLES = (
    "customer_contact",
    "visit",
    "sales_order",
    "task",
    "answer",
    "service_case",
    "judgement",
    "customer_score",
)
"""Tables whose rows carry their customer's territory."""


@dataclass(frozen=True, slots=True)
class CustomerHead:
    """A customer as its children need it. `held`: the caller holds its own territory, not only a door's."""

    id: str
    territory_id: str | None
    timezone: str
    kind: str
    currency: str | None
    price_list_id: str | None
    lat_e7: int | None
    lon_e7: int | None
    geofence_m: int
    held: bool

    @property
    def place(self) -> dict[str, object]:
        """Its position as `domain/visits.verification_of` reads it."""
        return {"latE7": self.lat_e7, "lonE7": self.lon_e7, "geofenceM": self.geofence_m}


async def lock_heads(
    conn: Connection, principal: Principal, ids: Iterable[str | None], *, table: str = "", children: Sequence[str] = ()
) -> dict[str, CustomerHead]:
    """The customers among `ids`, and those of the `children` in their `table`, that the principal sees, by id, held
    until commit.

    Always called before the children are locked, so that moving a customer and writing its children take turns.
    Not a shared lock: a visit's end is noted on its customer, and two holders of a shared lock who both want to
    write deadlock.
    """
    wanted = sorted({customer_id for customer_id in ids if customer_id and is_id(customer_id)})
    arms = [f"SELECT w.customer_id FROM {table} w WHERE w.id = ANY(?)"] if children else []
    arms += ["SELECT n.id FROM customer n WHERE n.id = ANY(?)"] if wanted else []
    if not arms:
        return {}
    visible, args = visible_to(principal, "customers", "t")
    held, holding = holds_customer_to(principal, "t")
    rows = await conn.fetch(
        "SELECT t.id, t.territory_id, t.timezone, t.kind, t.currency, t.price_list_id, t.lat_e7, t.lon_e7,"
        f" t.geofence_m, {held}"
        f" FROM customer t WHERE t.id IN ({' UNION '.join(arms)}) AND {visible} ORDER BY t.id FOR NO KEY UPDATE OF t",
        *holding,
        *(ids for ids in (list(children), wanted) if ids),
        *args,
    )
    return {
        row[0]: CustomerHead(
            id=row[0],
            territory_id=row[1],
            timezone=row[2] or TIMEZONE_DEFAULT,
            kind=row[3],
            currency=row[4],
            price_list_id=row[5],
            lat_e7=row[6],
            lon_e7=row[7],
            geofence_m=row[8],
            held=bool(row[9]),
        )
        for row in rows
    }


async def held_customers(conn: Connection, principal: Principal, ids: Sequence[str]) -> set[str]:
    """Those of the customers that stand in a territory the principal holds, or in none."""
    if not ids:
        return set()
    held, holding = holds_customer_to(principal, "t")
    rows = await conn.fetch(f"SELECT t.id FROM customer t WHERE t.id = ANY(?) AND {held}", list(ids), *holding)
    return {row[0] for row in rows}


async def customers_of(conn: Connection, table: str, ids: Sequence[str]) -> dict[str, str | None]:
    """Record id → the customer it belongs to, for rows of a child table."""
    if not ids:
        return {}
    rows = await conn.fetch(f"SELECT id, customer_id FROM {table} WHERE id = ANY(?)", list(ids))
    return {row[0]: row[1] for row in rows}


async def note_last(conn: Connection, column: str, at: Sequence[tuple[str, int]]) -> None:
    """Raise `last_order_at` or `last_visit_at` of customers to a moment; never lowers it."""
    await conn.execute_many(
        f"UPDATE customer SET {column} = ? WHERE id = ? AND ({column} IS NULL OR {column} < ?)",
        [(moment, customer_id, moment) for customer_id, moment in at],
    )
