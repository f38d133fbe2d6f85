"""Figures of a ranking: against plain loops, whatever the ties, weights and zeros."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.ranking import Judged, compare, gain_curve, quality, ranked

pytestmark = pytest.mark.requirement("R28", "R30")

amounts = st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(any)


def plain_gini(order: list[int], money: list[float]) -> float:
    """Twice the area between the gain curve of one sequence and the diagonal, step by step."""
    total, area, held = sum(money), 0.0, 0.0
    for row in order:
        area += (2 * held + money[row] / total) / (2 * len(order))
        held += money[row] / total
    return 2 * area - 1


@given(money=amounts, scores=st.data())
def test_ties_are_worth_the_mean_over_all_ways_to_break_them(money: list[int], scores: st.DataObject) -> None:
    score = scores.draw(st.lists(st.integers(0, 2), min_size=len(money), max_size=len(money)))
    rows = range(len(money))
    ways = [way for way in itertools.permutations(rows) if [score[r] for r in way] == sorted(score, reverse=True)]
    wanted = np.mean([plain_gini(list(way), [float(m) for m in money]) for way in ways])
    best = plain_gini(sorted(rows, key=lambda row: -money[row]), [float(m) for m in money])
    found = quality(ranked(np.array(score, dtype=np.float64)), np.array(money, dtype=np.float64))
    if best < 1e-9:
        assert np.isnan(found.gini[0]), "equal money has no order to be found"
    else:
        assert found.gini[0] == pytest.approx(wanted / best, abs=1e-9)


def test_the_ends_of_the_scale() -> None:
    money = np.arange(100.0)
    assert quality(ranked(money), money).gini[0] == pytest.approx(1.0)
    assert quality(ranked(-money), money).gini[0] == pytest.approx(-1.0)
    chance = quality(ranked(np.zeros(100)), money)
    assert (chance.gini[0], chance.top[0]) == (pytest.approx(0.0), pytest.approx(0.1))
    assert quality(ranked(money), money).top[0] == pytest.approx(sum(range(90, 100)) / sum(range(100)))


def test_a_score_not_known_stands_last_and_debts_count_as_nothing() -> None:
    score, money = np.array([np.nan, 1.0, 2.0]), np.array([5.0, -7.0, 5.0])
    assert ranked(score).order.tolist() == [2, 1, 0]
    assert (quality(ranked(score), money).gini == quality(ranked(score), np.array([5.0, 0.0, 5.0])).gini).all()


@given(money=amounts, counts=st.data())
def test_a_weight_is_that_many_customers(money: list[int], counts: st.DataObject) -> None:
    times = counts.draw(st.lists(st.integers(0, 3), min_size=len(money), max_size=len(money)))
    several = np.repeat(np.array(money, dtype=np.float64), times)
    score = np.array([3.0, 1.0, 1.0, 2.0, 5.0, 0.0])[: len(money)]
    if not several.any():
        return
    weighted = quality(ranked(score), np.array(money, dtype=np.float64), np.array([times], dtype=np.float64))
    plain = quality(ranked(np.repeat(score, times)), several)
    assert weighted.gini == pytest.approx(plain.gini, abs=1e-9, nan_ok=True)
    assert weighted.top == pytest.approx(plain.top, abs=1e-9)


def test_a_gain_curve_rises_from_nothing_to_all() -> None:
    rng = np.random.default_rng(2)
    money = rng.lognormal(0, 2, 500)
    curve = gain_curve(ranked(money), money)
    assert (curve[0], curve[-1]) == (0.0, pytest.approx(1.0))
    assert (np.diff(curve) >= 0).all()
    assert (np.diff(np.diff(curve)) <= 1e-12).all(), "the best order brings the most first"
    assert np.isnan(gain_curve(ranked(money), np.zeros(500))).all()
    assert np.isnan(gain_curve(ranked(np.zeros(0)), np.zeros(0))).all()


def world(noise: float, seed: int, n: int = 400) -> Judged:
    rng = np.random.default_rng(seed)
    worth = rng.lognormal(0.0, 1.0, n)
    money = worth * rng.lognormal(0.0, 1.0, n)
    clear, same = worth, worth * 3.0
    dim = worth * rng.lognormal(0.0, noise, n)
    orders = {"clear": ranked(clear), "same": ranked(same), "dim": ranked(dim)}
    return Judged(np.arange(n), money, orders)


def test_differences_are_paired_and_deterministic_in_the_seed() -> None:
    pairs = [("clear", "dim"), ("dim", "clear"), ("clear", "same")]
    found = compare([world(2.0, 1)], pairs, customers_n=400, seed=9, replicates_n=200)
    assert found == compare([world(2.0, 1)], pairs, customers_n=400, seed=9, replicates_n=200)
    assert found != compare([world(2.0, 1)], pairs, customers_n=400, seed=10, replicates_n=200)
    gini, back = found["clear", "dim"][0], found["dim", "clear"][0]
    assert gini.low > 0.0
    assert (back.value, back.low) == (pytest.approx(-gini.value), pytest.approx(-gini.high))
    same = found["clear", "same"][0]
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0), "the same order differs in no replicate"


def test_the_interval_is_as_wide_as_other_samples_differ() -> None:
    pair = [("clear", "dim")]
    found = compare([world(1.0, 0)], pair, customers_n=400, seed=3, replicates_n=400)["clear", "dim"][0]
    others = [
        compare([world(1.0, seed)], pair, customers_n=400, seed=3, replicates_n=1)["clear", "dim"][0].value
        for seed in range(1, 80)
    ]
    assert found.high - found.low == pytest.approx(np.quantile(others, 0.975) - np.quantile(others, 0.025), rel=0.4)


def test_several_cuts_are_one_mean_and_a_cut_without_money_says_nothing() -> None:
    pair = [("clear", "dim")]
    one, two = world(1.0, 1), world(1.0, 2)
    nothing = Judged(two.rows, np.zeros(400), two.orders)
    values = [compare([cut], pair, customers_n=400, seed=1, replicates_n=20)[pair[0]][0].value for cut in (one, two)]
    both = compare([one, two, nothing], pair, customers_n=400, seed=1, replicates_n=20)[pair[0]][0]
    assert both.value == pytest.approx(np.mean(values))
    silent = compare([nothing], pair, customers_n=400, seed=1, replicates_n=20)[pair[0]][0]
    assert np.isnan([silent.value, silent.low, silent.high]).all()
