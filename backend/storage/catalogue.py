"""Named queries on the catalogue: what pricing and checking an order needs."""

from collections.abc import Iterable

from backend.domain.catalogue import PriceTier, Season
from backend.storage.engine import Connection


async def seasons_by_id(conn: Connection, ids: Iterable[str | None]) -> dict[str, Season]:
    wanted = sorted({season_id for season_id in ids if season_id})
    rows = await conn.fetch("SELECT id, order_opens_on, order_closes_on FROM season WHERE id = ANY(?)", wanted)
    return {row[0]: Season(row[0], row[1], row[2]) for row in rows}


async def skus_by_id(conn: Connection, ids: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """SKU id → (style id, colour id, state); a SKU of a discontinued style is discontinued."""
    rows = await conn.fetch(
        "SELECT k.id, k.style_id, k.colour_id, CASE WHEN s.state = 'ACTIVE' THEN k.state ELSE s.state END"
        " FROM sku k JOIN style s ON s.id = k.style_id WHERE k.id = ANY(?)",
        sorted(set(ids)),
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def price_lists_by_id(conn: Connection, ids: Iterable[str | None]) -> dict[str, str]:
    """Price list id → its currency."""
    wanted = sorted({list_id for list_id in ids if list_id})
    return dict(await conn.fetch("SELECT id, currency FROM price_list WHERE id = ANY(?)", wanted))


async def price_tiers(
    conn: Connection, list_ids: Iterable[str | None], style_ids: Iterable[str]
) -> dict[str, list[PriceTier]]:
    """Price list id → its prices of these styles."""
    wanted = sorted({list_id for list_id in list_ids if list_id})
    rows = await conn.fetch(
        "SELECT price_list_id, style_id, min_units, price_minor, valid_from, valid_to FROM price"
        " WHERE price_list_id = ANY(?) AND style_id = ANY(?)",
        wanted,
        sorted(set(style_ids)),
    )
    found: dict[str, list[PriceTier]] = {list_id: [] for list_id in wanted}
    for row in rows:
        found[row[0]].append(PriceTier(*row[1:]))
    return found
