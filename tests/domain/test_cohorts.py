"""Cohorts: counted by hand, whole and begun quarters told apart, and never a share of nothing."""

from collections import defaultdict

import numpy as np
import pytest

from backend.domain.cohorts import cohort_table, quarter_numbers
from backend.domain.history import OrderColumns
from backend.domain.times import day_number


def orders(*rows: tuple[int, str, int]) -> OrderColumns:
    who, days, amounts = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 3
    count = len(rows)
    day = np.array([day_number(one) for one in days], dtype=np.int64) if count else np.zeros(0, dtype=np.int64)
    nothing = np.zeros(count, dtype=np.bool_)
    whole = np.zeros(count, dtype=np.int64)
    return OrderColumns(who.astype(np.int64), day, amounts.astype(np.int64), whole, nothing, nothing)


@pytest.mark.requirement("R17")
def test_a_cohort_is_who_ordered_first_then_and_its_row_who_came_again() -> None:
    found = cohort_table(
        orders(
            (0, "2026-01-05", 10), (0, "2026-02-05", 10), (0, "2026-07-01", 10), (1, "2026-03-31", 10),
            (2, "2026-04-01", 10), (2, "2026-07-01", 10), (3, "2026-09-01", 0), (4, "2026-11-01", 10),
        ),
        as_of_day=day_number("2026-09-30"),
    )  # fmt: skip
    assert found.quarters == ("2026Q1", "2026Q2", "2026Q3")
    assert found.size_n.tolist() == [2, 1, 0]
    assert found.ordered_n[0].tolist() == [2, 0, 1]
    assert found.ordered_n[1, :2].tolist() == [1, 1]
    assert found.observed.tolist() == [[True, True, True], [True, True, False], [False, False, False]]
    assert found.whole.tolist() == found.observed.tolist(), "the last day of a quarter ends it"
    assert found.share[0].tolist() == [1.0, 0.0, 0.5]
    assert 0 < found.low[0, 2] < 0.5 < found.high[0, 2] < 1
    assert np.isnan(found.share[2]).all()
    begun = cohort_table(orders((0, "2026-01-05", 10), (0, "2026-07-01", 10)), as_of_day=day_number("2026-09-29"))
    assert (begun.observed[0].tolist(), begun.whole[0].tolist()) == ([True] * 3, [True, True, False])


def test_drawn_orders_give_what_counting_gives() -> None:
    rng = np.random.default_rng(2)
    start, now = day_number("2024-11-20"), day_number("2026-11-22")
    rows = [(int(rng.integers(0, 40)), int(rng.integers(start, now + 30))) for _ in range(300)]
    columns = orders(*((who, str(np.datetime64(day, "D")), 5) for who, day in rows))
    found = cohort_table(columns, as_of_day=now)
    quarters: dict[int, set[int]] = defaultdict(set)
    for who, day in rows:
        if day <= now:
            quarters[who].add(int(quarter_numbers(np.array([day]))[0]))
    first = min(min(seen) for seen in quarters.values())
    expected = np.zeros_like(found.ordered_n)
    for seen in quarters.values():
        for quarter in seen:
            expected[min(seen) - first, quarter - min(seen)] += 1
    assert found.ordered_n.tolist() == expected.tolist()
    assert found.quarters[-1] == "2026Q4"
    known = found.observed
    assert (found.low[known] <= found.share[known]).all()
    assert (found.share[known] <= found.high[known]).all()
    assert not np.isfinite(found.share[~known]).any()


def test_no_orders_give_an_empty_table() -> None:
    found = cohort_table(orders(), as_of_day=day_number("2026-11-22"))
    assert (found.quarters, found.ordered_n.shape) == ((), (0, 0))
