"""How customers buy: rhythm, season and breadth, and nothing said of what was not recorded."""

import numpy as np
import pytest

from backend.domain.behaviour import Bought, behaviour_of, evenness, habit_of, rhythm_of, seasonality_of
from backend.domain.times import day_number
from tests.domain.test_cohorts import orders

TODAY = day_number("2026-11-22")


@pytest.mark.requirement("R9")
def test_intervals_are_between_the_order_days_of_one_customer() -> None:
    rhythm = rhythm_of(
        orders((0, "2026-01-01", 5), (0, "2026-01-01", 5), (0, "2026-01-11", 5), (0, "2026-02-10", 5),
               (1, "2026-01-05", 5), (1, "2026-01-25", 5), (2, "2026-03-03", 5), (0, "2026-02-11", 0))
    )  # fmt: skip
    assert rhythm is not None
    assert (rhythm.median_days, rhythm.low_days, rhythm.high_days, rhythm.intervals_n) == (20, 15, 25, 3)
    assert rhythm_of(orders((0, "2026-01-01", 5), (0, "2026-01-11", 5))) is None
    assert rhythm_of(orders()) is None


def test_a_rhythm_that_slows_down_shows_in_the_last_intervals() -> None:
    days = np.cumsum([0, 21, 20, 22, 21, 40, 47, 52]).tolist()
    rows = [(0, str(np.datetime64("2026-01-01") + day), 5) for day in days]
    other = [(1, "2026-01-01", 5), (1, "2026-01-02", 5), (1, "2026-01-03", 5), (1, "2026-01-04", 5)]
    slowing = rhythm_of(orders(*rows, *other))
    assert slowing is not None
    assert (slowing.intervals_n, slowing.recent_days) == (10, 47), "three intervals are the rhythm itself"
    short = rhythm_of(orders(*other))
    assert short is not None
    assert short.recent_days is None


def test_a_season_counts_every_month_of_whole_years_once() -> None:
    years = [f"{year}-{month:02d}-10" for year in (2024, 2025, 2026) for month in range(1, 13)]
    rows = [(0, day, 400 if day[5:7] == "03" else 100) for day in years if "2024-11-22" < day <= "2026-11-22"]
    found = seasonality_of(orders(*rows), as_of_day=TODAY)
    assert found is not None
    # over one year and almost two: one whole year back, December 2025 to November 2026
    assert found.share[2] == pytest.approx(400 / 1500)
    assert found.peak_months == (3,)
    assert 0 < found.strength < 0.2
    assert found.orders_n == 12
    one = seasonality_of(orders((0, "2025-11-01", 5), (0, "2026-03-01", 7)), as_of_day=TODAY)
    assert one is not None
    assert (one.strength, one.peak_months) == (1.0, (3,))
    assert seasonality_of(orders((0, "2026-03-01", 7)), as_of_day=TODAY) is None
    assert seasonality_of(orders((0, "2024-03-01", 7)), as_of_day=day_number("2026-02-27")) is None


def test_a_habit_names_the_largest_and_says_how_much_was_recorded() -> None:
    habit = habit_of(["tops", "shoes", None, "tops"], np.array([5, 5, 10, 5]))
    assert habit is not None
    assert habit.shares == (("tops", pytest.approx(2 / 3)), ("shoes", pytest.approx(1 / 3)))
    assert (habit.values_n, habit.units_n, habit.known, habit.rest) == (2, 15, 0.6, 0.0)
    many = habit_of([f"c{place:02d}" for place in range(12)], np.full(12, 3))
    assert many is not None
    assert (len(many.shares), many.breadth, many.rest) == (10, pytest.approx(1.0), pytest.approx(1 / 6))
    assert habit_of([None, None], np.array([1, 2])) is None
    assert habit_of([], np.zeros(0, dtype=np.int64)) is None


def test_evenness_is_0_for_one_and_1_for_all_alike() -> None:
    assert evenness(np.array([1.0])) == 0.0
    assert evenness(np.array([1.0, 0.0])) == 0.0
    assert evenness(np.full(7, 1 / 7)) == pytest.approx(1.0)


def test_of_nothing_nothing_is_said_and_returns_are_not_recorded() -> None:
    nothing = behaviour_of(orders(), Bought((), (), (), np.zeros(0, dtype=np.int64)), as_of_day=TODAY)
    assert (nothing.rhythm, nothing.season, nothing.category, nothing.colour, nothing.size, nothing.returns) == (
        None,
    ) * 6
