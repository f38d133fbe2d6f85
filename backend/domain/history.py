"""Order history: from single orders to the sufficient statistics of every customer.

The same statistics can come from a database's own GROUP BY; then `HistoryColumns` is filled directly.
A purchase is a *day* on which a customer ordered: orders of one day merge, zero-price samples are none.
"""

from dataclasses import dataclass, replace

import numpy as np

from backend.domain.arrays import MONEY_MINOR_MAX, BoolArray, IntArray, group_sum, length_problems
from backend.errors import Code, Problem, refuse_if

QUARTER_DAYS = 91
QUARTERS_KEPT = 12
TOTAL_MINOR_MAX = float(2**62)
"""What all amounts together may come to, so that no sum of them leaves 64 bits."""


@dataclass(frozen=True, slots=True)
class OrderColumns:
    """Orders and returns, one row each, in any sequence.

    `customer`: (m,) row of the customer, 0..n−1; `day`: (m,) local order day, days since 1970-01-01 (a
    return carries the day of the *original* order); `net_minor`: (m,) net revenue in the reporting currency,
    negative for a return; `cost_minor`: (m,) cost of goods and cost to serve; `cost_known`: (m,) False where
    no cost was recorded; `is_return`: (m,) True where the row is a return and not an order; `order_key`: (m,)
    optional, rows of equal key are one order delivered twice and count once.
    """

    customer: IntArray
    day: IntArray
    net_minor: IntArray
    cost_minor: IntArray
    cost_known: BoolArray
    is_return: BoolArray
    order_key: IntArray | None = None

    def where(self, rows: BoolArray) -> "OrderColumns":
        """The (m,) rows that are True, in their sequence."""
        return OrderColumns(
            self.customer[rows],
            self.day[rows],
            self.net_minor[rows],
            self.cost_minor[rows],
            self.cost_known[rows],
            self.is_return[rows],
            None if self.order_key is None else self.order_key[rows],
        )


@dataclass(frozen=True, slots=True)
class HistoryColumns:
    """What the models need of every customer's past; (n,) unless said otherwise.

    `orders_n`: purchase days; `first_day`, `last_day`: days since 1970-01-01, 0 without orders;
    `revenue_minor`, `cost_minor`: lifetime totals; `quarter_*`: (n, k) by age, column 0 the `QUARTER_DAYS`
    days that end on the valuation day; `cost_known`: every row of this customer had its cost recorded (False
    without orders); `returns_n`: returned orders, −1 where returns are not recorded at all.
    """

    orders_n: IntArray
    first_day: IntArray
    last_day: IntArray
    revenue_minor: IntArray
    cost_minor: IntArray
    quarter_revenue_minor: IntArray
    quarter_cost_minor: IntArray
    quarter_orders_n: IntArray
    cost_known: BoolArray
    returns_n: IntArray

    def __len__(self) -> int:
        return int(self.orders_n.shape[0])

    @property
    def has_orders(self) -> BoolArray:
        """(n,) True for customers who ever bought."""
        return self.orders_n > 0


def history_of(
    orders: OrderColumns,
    *,
    customers_n: int,
    as_of_day: int,
    quarters_n: int = QUARTERS_KEPT,
    returns_recorded: bool = False,
) -> HistoryColumns:
    """Group orders into the statistics of `customers_n` customers as of a day.

    Same-day orders merge into one purchase; rows whose net amount is 0 are samples and not counted.
    *Raises* `IN_THE_FUTURE` for an order after `as_of_day`, `OUT_OF_RANGE` for a customer row outside 0..n−1
    or amounts a client, or their sum, could not hold, `INVALID_VALUE` for columns of different length: all at once.
    *Source*: R27, R50.
    """
    refuse_if(_problems(orders, customers_n, as_of_day))
    counted = (orders.net_minor != 0) & _first_delivery(orders)
    who, day = orders.customer[counted], orders.day[counted]
    quarter = np.minimum((as_of_day - day) // QUARTER_DAYS, quarters_n)
    cell = who * (quarters_n + 1) + quarter
    shape = (customers_n, quarters_n + 1)

    def by_quarter(values: IntArray) -> IntArray:
        return group_sum(cell, values, customers_n * (quarters_n + 1)).reshape(shape)

    revenue, cost = by_quarter(orders.net_minor[counted]), by_quarter(orders.cost_minor[counted])
    buyer, bought_day = _purchase_days(who[~orders.is_return[counted]], day[~orders.is_return[counted]])
    bought_quarter = np.minimum((as_of_day - bought_day) // QUARTER_DAYS, quarters_n)
    ones = np.ones_like(buyer)
    bought = group_sum(buyer * (quarters_n + 1) + bought_quarter, ones, customers_n * (quarters_n + 1))
    orders_n = group_sum(buyer, ones, customers_n)
    first, last = _first_and_last(buyer, bought_day, customers_n)
    unknown_cost = group_sum(who, (~orders.cost_known[counted]).astype(np.int64), customers_n)
    returned = group_sum(who, orders.is_return[counted].astype(np.int64), customers_n)
    return HistoryColumns(
        orders_n=orders_n,
        first_day=first,
        last_day=last,
        revenue_minor=revenue.sum(axis=1),
        cost_minor=cost.sum(axis=1),
        quarter_revenue_minor=revenue[:, :quarters_n],
        quarter_cost_minor=cost[:, :quarters_n],
        quarter_orders_n=bought.reshape(shape)[:, :quarters_n],
        cost_known=(unknown_cost == 0) & (orders_n > 0),
        returns_n=returned if returns_recorded else np.full(customers_n, -1, dtype=np.int64),
    )


def only(orders: OrderColumns, kept: BoolArray) -> OrderColumns:
    """The orders of the customers kept, numbered as those are without the others. `kept`: (n,)."""
    number = np.cumsum(kept) - 1
    found = orders.where(kept[orders.customer])
    return replace(found, customer=number[found.customer])


def purchase_days(orders: OrderColumns) -> tuple[IntArray, IntArray]:
    """(p,) customers and (p,) days of all purchases, sorted by both: what counts as one, as `history_of` counts it."""
    counted = (orders.net_minor != 0) & _first_delivery(orders) & ~orders.is_return
    return _purchase_days(orders.customer[counted], orders.day[counted])


def _problems(orders: OrderColumns, customers_n: int, as_of_day: int) -> list[Problem]:
    rows_n = orders.customer.shape[0]
    names = ("day", "net_minor", "cost_minor", "cost_known", "is_return")
    found = length_problems(rows_n, {name: getattr(orders, name) for name in names})
    if rows_n == 0 or found:
        return found
    if (orders.customer < 0).any() or (orders.customer >= customers_n).any():
        found.append(Problem(Code.OUT_OF_RANGE, ("customer",), ("0", str(customers_n - 1))))
    if (orders.day > as_of_day).any():
        found.append(Problem(Code.IN_THE_FUTURE, ("day",), (str(as_of_day),)))
    found.extend(
        Problem(Code.OUT_OF_RANGE, (name,), (str(-MONEY_MINOR_MAX), str(MONEY_MINOR_MAX)))
        for name in ("net_minor", "cost_minor")
        if np.abs(getattr(orders, name)).max() > MONEY_MINOR_MAX
        or np.abs(getattr(orders, name).astype(np.float64)).sum() > TOTAL_MINOR_MAX
    )
    return found


def _first_delivery(orders: OrderColumns) -> BoolArray:
    """True for the first row of every order key, for all rows when there are no keys."""
    if orders.order_key is None:
        return np.ones(orders.customer.shape, dtype=np.bool_)
    first = np.zeros(orders.customer.shape, dtype=np.bool_)
    first[np.unique(orders.order_key, return_index=True)[1]] = True
    return first


def _purchase_days(customer: IntArray, day: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct (customer, day) pairs, sorted: same-day orders merge."""
    if customer.size == 0:
        return customer, day
    base = int(day.min())
    width = int(day.max()) - base + 1
    pairs = np.unique(customer * width + (day - base))
    return pairs // width, pairs % width + base


def _first_and_last(buyer: IntArray, day: IntArray, customers_n: int) -> tuple[IntArray, IntArray]:
    """First and last purchase day; `buyer` is sorted, and within it `day`."""
    first = np.zeros(customers_n, dtype=np.int64)
    last = np.zeros(customers_n, dtype=np.int64)
    if buyer.size:
        starts = np.flatnonzero(np.r_[True, buyer[1:] != buyer[:-1]])
        first[buyer[starts]] = day[starts]
        last[buyer[starts]] = day[np.r_[starts[1:] - 1, buyer.size - 1]]
    return first, last
