"""The product-limit estimate against its textbook example, and shares with their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.survival import survival, wilson_interval

# weeks of remission of 21 patients; False: still in remission when last seen (Freireich et al. 1963)
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [True] * 3 + [False, True, False, True, False, False, True, True] + [False] * 3 + [True] * 2 + [False] * 5


def test_the_textbook_curve() -> None:
    curve = survival(np.array(WEEKS), np.array(RELAPSED))
    assert curve.days.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert curve.at_risk_n.tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert curve.events_n.tolist() == [3, 1, 1, 1, 1, 1, 1]
    assert curve.share.round(4).tolist() == [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    assert (round(curve.low[0], 3), round(curve.high[0], 3)) == (0.620, 0.952)
    assert curve.median_days() == 23


def test_nobody_and_nothing_that_happened() -> None:
    nobody = survival(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))
    assert (nobody.days.size, nobody.median_days()) == (0, None)
    waiting = survival(np.array([3, 5]), np.array([False, False]))
    assert (waiting.days.size, waiting.median_days()) == (0, None)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60))
def test_it_falls_within_its_interval_and_needs_no_order(cases: list[tuple[int, bool]]) -> None:
    days = np.array([day for day, _ in cases], dtype=np.int64)
    happened = np.array([event for _, event in cases], dtype=np.bool_)
    curve = survival(days, happened)
    assert (np.diff(curve.share) <= 0).all()
    assert ((curve.low <= curve.share + 1e-12) & (curve.share <= curve.high + 1e-12)).all()
    assert (curve.low >= 0).all()
    assert (curve.high <= 1).all()
    turned = survival(days[::-1].copy(), happened[::-1].copy())
    assert turned.share.tolist() == curve.share.tolist()


def test_without_anybody_still_waiting_it_is_the_plain_share() -> None:
    days = np.array([1, 2, 2, 4, 9])
    curve = survival(days, np.ones(5, dtype=np.bool_))
    assert curve.share == pytest.approx([0.8, 0.4, 0.2, 0.0])
    assert (curve.low[-1], curve.high[-1]) == (0.0, 0.0)


def test_wilsons_interval() -> None:
    # 81 of 263: Newcombe (1998), table I, method 3
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert tuple(round(edge, 4) for edge in wilson_interval(15, 148)) == (0.0624, 0.1605)
    assert tuple(round(edge, 4) for edge in wilson_interval(0, 20)) == (0.0, 0.1611)
    assert tuple(round(edge, 4) for edge in wilson_interval(1, 29)) == (0.0061, 0.1718)
    assert wilson_interval(0, 0) == (0.0, 1.0)
