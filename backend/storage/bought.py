"""What was ordered, cell by cell, and which things stand in one order together."""

from collections.abc import Sequence

import numpy as np

from backend.domain.behaviour import Bought
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Row
from backend.storage.statistics import COUNTS, Crowd

CELLS_MAX = 500_000
"""Articles, or things in baskets, that one question looks at."""


async def read_bought(conn: Connection, crowd: Crowd, since: str) -> Bought:
    """What the orders that count are of, from a day on up to the crowd's: category, colour code, size, and how many
    pieces of each article, added up."""
    each = "json_each(l.cells) h" if conn.dialect is Dialect.SQLITE else "json_each_text(l.cells::json) h(key, value)"
    rows = await conn.fetch(
        # first the pieces of each article, which are few, then what the articles are
        crowd.sql + ", q AS MATERIALIZED (SELECT l.style_id, l.colour_id, h.key AS sku_id,"
        " SUM(CAST(h.value AS BIGINT)) AS pieces"
        " FROM sales_order o JOIN c ON c.id = o.customer_id JOIN order_line l ON l.order_id = o.id"
        f" CROSS JOIN {each} WHERE {COUNTS} AND o.ordered_on >= ? AND o.ordered_on <= ? GROUP BY 1, 2, 3)"
        " SELECT y.category, r.code, u.size, CAST(q.pieces AS BIGINT) FROM q LEFT JOIN style y ON y.id = q.style_id"
        " LEFT JOIN colour r ON r.id = q.colour_id LEFT JOIN sku u ON u.id = q.sku_id LIMIT ?::bigint",
        *crowd.values,
        since,
        crowd.day,
        CELLS_MAX,
    )
    category, colour, size, units = zip(*rows, strict=True) if rows else ((),) * 4
    return Bought(category, colour, size, np.array(units, dtype=np.int64))


ITEM_COLUMNS = {"CATEGORY": "y.category", "STYLE": "y.code"}
"""What can stand in a basket → its column."""


async def read_baskets(conn: Connection, crowd: Crowd, item: str, since: str) -> Sequence[Row]:
    """Rows (order number from 0, item), each once, of the orders that count from a day on up to the crowd's."""
    column = ITEM_COLUMNS[item]
    return await conn.fetch(
        crowd.sql + f"SELECT DENSE_RANK() OVER (ORDER BY q.id) - 1, q.item FROM (SELECT DISTINCT o.id, {column} AS item"
        " FROM sales_order o JOIN c ON c.id = o.customer_id JOIN order_line l ON l.order_id = o.id"
        f" JOIN style y ON y.id = l.style_id WHERE {COUNTS} AND o.ordered_on >= ? AND o.ordered_on <= ?) q"
        " ORDER BY 1, 2 LIMIT ?::bigint",
        *crowd.values,
        since,
        crowd.day,
        CELLS_MAX,
    )
