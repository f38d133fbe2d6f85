"""Pairs bought together: counted by hand, intervals that hold what they promise, look-alikes with their reasons."""

import numpy as np
import pytest

from backend.domain import affinity as module
from backend.domain.affinity import affinity, lift_interval
from backend.domain.look_alikes import look_alikes


def baskets(rng: np.random.Generator, count: int, shares: tuple[float, float], lift: float) -> np.ndarray:
    """(count, 2) whether each of two items is taken, with a known lift."""
    a, b = shares
    both = a * b * lift
    cell = rng.choice(4, size=count, p=[both, a - both, b - both, 1 - a - b + both])
    return np.stack([(cell == 0) | (cell == 1), (cell == 0) | (cell == 2)], axis=1)


@pytest.mark.requirement("R10")
def test_the_interval_of_a_lift_holds_the_true_one_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(600):
        taken = baskets(rng, 500, (0.3, 0.2), 1.5)
        both, first, second = (int(one.sum()) for one in (taken.all(axis=1), taken[:, 0], taken[:, 1]))
        _, low, high = lift_interval(both, first, second, 500)
        held += low <= 1.5 <= high
    assert 0.93 <= held / 600 <= 0.97


def drawn(seed: int, baskets_n: int = 3_000, items_n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    taken = rng.random((baskets_n, items_n)) < np.linspace(0.02, 0.3, items_n)
    planted = rng.random(baskets_n) < 0.05
    taken[planted, 3] = taken[planted, 4] = True
    basket, item = np.nonzero(taken)
    return basket.astype(np.int64), item.astype(np.int64)


def test_pairs_are_what_counting_gives_and_what_was_planted_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    basket, item = drawn(4)
    shuffled = np.random.default_rng(0).permutation(basket.size)
    twice = np.r_[shuffled, shuffled[:50]]
    monkeypatch.setattr(module, "BASKETS_AT_ONCE", 700)
    found = affinity(basket[twice] * 7 + 3, item[twice], items_n=12)
    assert (found.pairs[0].first, found.pairs[0].second) in ((3, 4), (4, 3))
    held = [set(item[basket == one].tolist()) for one in range(3_000)]
    held = [one for one in held if one]
    for pair in found.pairs:
        first_n, second_n = (sum(x in one for one in held) for x in (pair.first, pair.second))
        both_n = sum({pair.first, pair.second} <= one for one in held)
        assert (pair.support_n, pair.first_n, pair.second_n) == (both_n, first_n, second_n)
        assert both_n >= 20
        assert pair.confidence == both_n / first_n >= both_n / second_n
        assert pair.lift == pytest.approx(both_n * len(held) / (first_n * second_n))
        assert 1 < pair.low < pair.lift < pair.high
    assert found.baskets_n == len(held)
    assert found.compared_n >= len(found.pairs)


def test_below_the_support_nothing_is_said() -> None:
    basket = np.repeat(np.arange(19), 2)
    item = np.tile([0, 1], 19)
    assert affinity(basket, item, items_n=2).pairs == ()
    assert affinity(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), items_n=0).baskets_n == 0
    # always together, in 20 baskets of 40: twice as often as by chance
    lone = np.r_[basket, 19, 19, np.arange(20, 40)]
    pair = affinity(lone, np.r_[item, 0, 1, np.full(20, 2)], items_n=3).pairs[0]
    assert (pair.support_n, pair.lift, pair.confidence) == (20, 2.0, 1.0)


NAMES = ("sales", "orders", "same", "gap")


@pytest.mark.requirement("R10")
def test_a_look_alike_is_near_in_deviations_and_says_in_what() -> None:
    features = np.array(
        [[100, 10, 1, 30], [102, 10, 1, np.nan], [100, 30, 1, 30], [900, 11, 1, 31], [np.nan, np.nan, 1, 30]],
        dtype=float,
    )
    found = look_alikes(features, NAMES, row=0, count=9)
    assert [one.row for one in found] == [1, 2, 3]
    assert found[0].shared_n == 2, "a measure nobody differs in tells nothing"
    assert [one.feature for one in found[1].differences] == ["gap", "sales", "orders"]
    assert found[1].differences[-1].weight == pytest.approx(1.0)
    assert (found[0].differences[0].own, found[0].differences[0].other) == (10, 10)
    assert sum(one.weight for one in found[2].differences) == pytest.approx(1.0)
    scaled = look_alikes(features * [1_000, 1, 1, 1], NAMES, row=0, count=9)
    assert [one.distance for one in scaled] == pytest.approx([one.distance for one in found])


def test_of_a_customer_nothing_is_known_of_nobody_is_alike() -> None:
    assert look_alikes(np.array([[np.nan], [1.0], [2.0]]), ("a",), row=0, count=3) == ()
    assert look_alikes(np.ones((3, 2)), ("a", "b"), row=1, count=3) == ()
    assert look_alikes(np.ones((1, 1)), ("a",), row=0, count=3) == ()
