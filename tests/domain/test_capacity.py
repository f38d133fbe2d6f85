"""What there is to work with: plans take no more, and say who is left out and what could be raised."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.capacity import (
    DropReason,
    MinutesBasis,
    Relief,
    plan_contacts,
    rep_time,
    way_out,
    working_days,
)

pytestmark = pytest.mark.requirement("R26")


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_working_days_are_weekdays_less_holidays() -> None:
    # 2026-11-23 is a Monday
    assert working_days("2026-11-23", "2026-11-29") == 5
    assert working_days("2026-11-23", "2026-11-29", ["2026-11-24", "2026-11-28"]) == 4
    assert working_days("2026-11-28", "2026-11-29") == 0
    assert working_days("2026-11-23", "2026-11-23") == 1


def test_minutes_never_recorded_are_assumed_and_counted_and_nobody_is_not_zero_minutes() -> None:
    found = rep_time([480, None, 240], 10, 400)
    assert (found.minutes, found.reps_n, found.assumed_n) == (11_200, 3, 1)
    assert found.basis is MinutesBasis.PARTLY_ASSUMED
    assert rep_time([480], 10, 400).basis is MinutesBasis.RECORDED
    assert rep_time([], 10, 400).basis is MinutesBasis.NOT_RECORDED


def test_contacts_go_by_priority_and_a_small_one_may_still_fit_after_a_large_one_did_not() -> None:
    plan = plan_contacts(ints(60, 90, 30, 0, 500), ints(70, 90, 70, 99, 80), 130)
    assert plan.taken.tolist() == [False, True, True, False, False]
    assert plan.dropped == ((4, DropReason.NEVER_FITS), (0, DropReason.NO_MINUTES))
    assert (plan.wanted_minutes, plan.used_minutes, plan.dropped_minutes) == (680, 120, 560)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), max_size=30), st.integers(-5, 2_000))
def test_a_plan_never_exceeds_what_there_is_and_forgets_nobody(rows: list[tuple[int, int]], available: int) -> None:
    need, priority = ints(*(row[0] for row in rows)), ints(*(row[1] for row in rows))
    plan = plan_contacts(need, priority, available)
    assert plan.used_minutes == int(need[plan.taken].sum()) <= max(available, 0)
    left_out = {row for row, _ in plan.dropped}
    assert left_out | set(np.flatnonzero(plan.taken).tolist()) == set(np.flatnonzero(need > 0).tolist())
    left = max(available, 0) - plan.used_minutes
    # nobody was left out for whom there was still room
    assert all(int(need[row]) > left for row in left_out)
    assert plan.dropped_minutes == sum(int(need[row]) for row in left_out)


@pytest.mark.parametrize(
    ("missing", "raisable", "found"),
    [
        (0, 0, Relief.FITS),
        (10, 10, Relief.RAISE_FIRST),
        (11, 10, Relief.RAISE_AND_LOWER),
        (1, 0, Relief.LOWER_GOAL),
    ],
)
def test_what_can_be_raised_comes_before_lowering_the_goal(missing: int, raisable: int, found: Relief) -> None:
    assert way_out(missing, raisable) is found
