"""The purchases of every customer, kept in the transaction of whatever changes orders, and counted anew on demand.

A row says how many orders of a customer are of one day, currency and amount. Amounts stay in their own currency: the
rate of the day is applied when they are read, so that a rate entered later changes no row.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import IntArray
from backend.domain.money import Rate
from backend.domain.purchases import Purchase, PurchaseNotes
from backend.storage.engine import Connection, Row
from backend.storage.statistics import COUNTS, Sales, sales_from

READ_CUSTOMERS = 5_000
"""Customers whose purchases are read at once."""
KEY = "customer_id, day, currency, amount_minor"
_COUNTS = f"{COUNTS} AND o.total_minor <> 0"
_GROUPED = (
    "SELECT o.customer_id, o.ordered_on AS day, o.currency, o.total_minor AS amount_minor, COUNT(*) AS orders_n"
    f" FROM sales_order o WHERE {_COUNTS} AND {{where}}"
    " GROUP BY o.customer_id, o.ordered_on, o.currency, o.total_minor"
)
_KEPT = f"SELECT {KEY}, orders_n FROM purchase p WHERE {{where}}"


async def keep_purchases(conn: Connection, notes: PurchaseNotes) -> None:
    """Carry what was noted into the table. While the clock's row is locked, so that whoever wrote an order of the same
    customer has committed, or comes later and sees this.

    What lies at the end of its customer's log is added, by one statement for all; of everything else the customer is
    counted anew from its orders.
    """
    recounted = set(notes.recounted)
    added = Counter(one for one in notes.added if one.customer_id not in recounted)
    if added:
        last: dict[str, str] = dict(
            await conn.fetch(
                "SELECT customer_id, MAX(day) FROM purchase WHERE customer_id = ANY(?) GROUP BY customer_id",
                sorted({one.customer_id for one in added}),
            )
        )
        recounted |= {one.customer_id for one in added if one.day < last.get(one.customer_id, "")}
        await _add(conn, Counter({one: n for one, n in added.items() if one.customer_id not in recounted}))
    await count_anew(conn, sorted(recounted))


async def _add(conn: Connection, added: Counter[Purchase]) -> None:
    await conn.execute_many(
        "INSERT INTO purchase (customer_id, day, currency, amount_minor, orders_n) VALUES (?, ?, ?, ?, ?)"
        f" ON CONFLICT ({KEY}) DO UPDATE SET orders_n = purchase.orders_n + excluded.orders_n",
        [(one.customer_id, one.day, one.currency, one.amount_minor, n) for one, n in added.items()],
    )


async def count_anew(conn: Connection, customer_ids: Sequence[str]) -> None:
    """The rows of these customers from their orders."""
    if not customer_ids:
        return
    await conn.execute("DELETE FROM purchase WHERE customer_id = ANY(?)", list(customer_ids))
    await conn.execute(
        f"INSERT INTO purchase ({KEY}, orders_n) {_GROUPED.format(where='o.customer_id = ANY(?)')}", list(customer_ids)
    )


async def customers_drifted(conn: Connection, customer_ids: Sequence[str]) -> list[str]:
    """Those of the customers whose rows are not what their orders say, by id."""
    if not customer_ids:
        return []
    counted, kept = _GROUPED.format(where="o.customer_id = ANY(?)"), _KEPT.format(where="p.customer_id = ANY(?)")
    ids = list(customer_ids)
    rows = await conn.fetch(
        f"SELECT customer_id FROM (SELECT * FROM ({counted} EXCEPT {kept}) missing"
        f" UNION ALL SELECT * FROM ({kept} EXCEPT {counted}) wrong) d GROUP BY customer_id ORDER BY customer_id",
        ids,
        ids,
        ids,
        ids,
    )
    return [row[0] for row in rows]


async def next_customers(conn: Connection, after: str, limit: int) -> list[str]:
    """The customers that follow `after` among those who have orders or purchases, by id."""
    rows = await conn.fetch(
        "SELECT customer_id FROM (SELECT DISTINCT customer_id FROM (SELECT customer_id FROM sales_order"
        f" WHERE customer_id > ? ORDER BY customer_id LIMIT {limit}) o"
        " UNION SELECT customer_id FROM (SELECT DISTINCT customer_id FROM purchase WHERE customer_id > ?"
        f" ORDER BY customer_id LIMIT {limit}) p) b ORDER BY customer_id LIMIT {limit}",
        after,
        after,
    )
    return [row[0] for row in rows]


async def sampled_customers(conn: Connection, sample_n: int) -> list[str]:
    """That many customers, drawn."""
    rows = await conn.fetch(f"SELECT id FROM customer ORDER BY RANDOM() LIMIT {sample_n}")
    return sorted(row[0] for row in rows)


_REMAINDER = 1_000_000_007
"""Sums of remainders stay within 64 bits, whatever the amounts are."""


async def account_differs(conn: Connection) -> bool:
    """Whether the table fails to account for the orders as a whole, by currency and year: how many, and their sum.

    One pass over both tables and nothing brought here; finds what went past the works, a load into the tables say.
    """

    def account(day: str, amount: str, times: str, rest: str) -> str:
        return (
            f"SELECT currency, SUBSTR({day}, 1, 4), CAST(SUM({times}) AS BIGINT),"
            f" CAST(SUM(({amount} % {_REMAINDER}) * {times}) AS BIGINT) FROM {rest} GROUP BY 1, 2"
        )

    told = await conn.fetch(account("o.ordered_on", "o.total_minor", "1", f"sales_order o WHERE {_COUNTS}"))
    kept = await conn.fetch(account("p.day", "p.amount_minor", "p.orders_n", "purchase p"))
    return sorted(tuple(row) for row in told) != sorted(tuple(row) for row in kept)


@dataclass(frozen=True, slots=True)
class PurchaseColumns:
    """Purchases as columns of equal length, in no order that means anything.

    `customer`: place among the ids that were asked for; `day`: days since 1970-01-01; `amount_minor` of one order, in
    `currencies[currency]`; `orders_n`: how many such orders.
    """

    customer: IntArray
    day: IntArray
    amount_minor: IntArray
    currency: IntArray
    orders_n: IntArray
    currencies: tuple[str, ...]
    rates: tuple[Rate, ...]


async def purchase_pages(
    conn: Connection, ids: Sequence[str], until: str, *, customers_n: int = READ_CUSTOMERS
) -> AsyncIterator[tuple[int, Sequence[str], list[Row]]]:
    """(place of the first id, ids, rows of (customer, day, amount, currency, orders)) page by page; `ids` ascend."""
    for first in range(0, len(ids), customers_n):
        page = ids[first : first + customers_n]
        rows = await conn.fetch(
            "SELECT customer_id, day, amount_minor, currency, orders_n FROM purchase"
            " WHERE customer_id >= ? AND customer_id <= ? AND day <= ?",
            page[0],
            page[-1],
            until,
        )
        yield first, page, rows


class PurchasesRead:
    """Gathers pages into columns; what a page holds besides is let go at once."""

    def __init__(self) -> None:
        self._parts: list[tuple[IntArray, IntArray, IntArray, IntArray, IntArray]] = []
        self._currencies: dict[str, int] = {}

    def take(self, first: int, ids: Sequence[str], rows: Sequence[Row]) -> None:
        """A page; rows of customers who were not asked for are left out."""
        places = {customer_id: first + place for place, customer_id in enumerate(ids)}
        wanted = [row for row in rows if row[0] in places]
        if not wanted:
            return
        customers, days, amounts, currencies, orders = zip(*wanted, strict=True)
        known = self._currencies
        for name in set(currencies):
            known.setdefault(name, len(known))
        self._parts.append(
            (
                np.array([places[one] for one in customers], dtype=np.int32),
                np.array(days, dtype="datetime64[D]").astype(np.int32),
                np.array(amounts, dtype=np.int64),
                np.array([known[name] for name in currencies], dtype=np.int16),
                np.array(orders, dtype=np.int32),
            )
        )

    def columns(self, rates: Sequence[Rate]) -> PurchaseColumns:
        """All of it, in 64 bits."""
        parts = self._parts or [(np.zeros(0, dtype=np.int64),) * 5]
        customer, day, amount_minor, currency, orders_n = (
            np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True)
        )
        return PurchaseColumns(customer, day, amount_minor, currency, orders_n, tuple(self._currencies), tuple(rates))


def sales_of_purchases(found: PurchaseColumns, *, customers_n: int, currency: str) -> Sales:
    """As `sales_of` finds them in the orders themselves: every order by itself, at the rate of its day."""
    rows = np.repeat(np.arange(found.customer.size), found.orders_n)
    names = np.array(found.currencies or ("",), dtype=np.str_)[found.currency[rows]]
    return sales_from(
        found.customer[rows],
        found.day[rows],
        found.amount_minor[rows],
        names,
        customers_n=customers_n,
        currency=currency,
        rates=found.rates,
    )
