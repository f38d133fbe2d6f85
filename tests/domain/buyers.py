"""Customers drawn from a known truth: each buys at every k-th beat of its own clock until it leaves."""

import numpy as np

from backend.domain.history import OrderColumns
from backend.domain.purchase import PurchaseHistory
from tests.domain.worlds import TODAY


def drawn_days(
    customers_n: int, *, k: int, r: float = 3.0, alpha: float = 9.0, a: float = 0.5, b: float = 6.0, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) customer and day of every purchase and (n,) first day; weeks; first days lie 200 to 700 before TODAY and
    half a year after TODAY is drawn too."""
    draw = np.random.default_rng(seed)
    beats, leaves = draw.gamma(r, 1.0 / alpha, customers_n), draw.beta(a, b, customers_n)
    first = TODAY - draw.integers(200, 700, customers_n)
    rows, days = [np.arange(customers_n)], [first]
    at, active = first / 7.0, draw.random(customers_n) > leaves
    while active.any():
        at = at + draw.gamma(k, 1.0 / beats)
        active &= at <= (TODAY + 182) / 7.0
        rows.append(np.flatnonzero(active))
        days.append(np.rint(at[active] * 7.0).astype(np.int64))
        active &= draw.random(customers_n) > leaves
    return np.concatenate(rows), np.concatenate(days), first


def drawn_buyers(customers_n: int, **truth: float) -> tuple[PurchaseHistory, np.ndarray]:
    """Histories as of TODAY and how often each bought in the half year after."""
    customer, day, first = drawn_days(customers_n, **truth)
    known = day <= TODAY
    counts = np.bincount(customer[known], minlength=customers_n) - 1
    last = np.zeros(customers_n, dtype=np.int64)
    np.maximum.at(last, customer[known], day[known])
    after = np.bincount(customer[~known], minlength=customers_n)
    return PurchaseHistory(counts, last - first, TODAY - first), after


def drawn_orders(customers_n: int, **truth: float) -> OrderColumns:
    """The purchases up to TODAY as orders of 10.00."""
    customer, day, _ = drawn_days(customers_n, **truth)
    known = day <= TODAY
    nothing = np.zeros(int(known.sum()), dtype=np.bool_)
    amount = np.full(nothing.size, 1_000, dtype=np.int64)
    return OrderColumns(customer[known], day[known], amount, np.zeros_like(amount), nothing, nothing)
