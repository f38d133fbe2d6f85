"""Small worlds for the insight tests: order columns from plain tuples."""

from collections.abc import Sequence

import numpy as np

from backend.domain.history import HistoryColumns, OrderColumns, history_of

TODAY = 20_000


def order_columns(
    rows: Sequence[tuple[int, int, int]],
    *,
    costs: Sequence[int | None] | None = None,
    returns: Sequence[int] = (),
    keys: Sequence[int] | None = None,
) -> OrderColumns:
    """Rows of (customer, day, net amount); `costs` beside them; `returns`: positions of returns; `keys`: order keys."""
    found = list(rows)
    cost = list(costs) if costs is not None else [None] * len(found)
    flags = np.zeros(len(found), dtype=np.bool_)
    flags[list(returns)] = True
    return OrderColumns(
        customer=np.array([row[0] for row in found], dtype=np.int64),
        day=np.array([row[1] for row in found], dtype=np.int64),
        net_minor=np.array([row[2] for row in found], dtype=np.int64),
        cost_minor=np.array([value or 0 for value in cost], dtype=np.int64),
        cost_known=np.array([value is not None for value in cost], dtype=np.bool_),
        is_return=flags,
        order_key=None if keys is None else np.array(keys, dtype=np.int64),
    )


def history(
    rows: Sequence[tuple[int, int, int]],
    customers_n: int,
    *,
    costs: Sequence[int | None] | None = None,
    returns: Sequence[int] = (),
    returns_recorded: bool = False,
    keys: Sequence[int] | None = None,
) -> HistoryColumns:
    columns = order_columns(rows, costs=costs, returns=returns, keys=keys)
    return history_of(columns, customers_n=customers_n, as_of_day=TODAY, returns_recorded=returns_recorded)
