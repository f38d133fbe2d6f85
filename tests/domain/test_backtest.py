"""Cutting history: what ranks sees nothing of what came after, and what is said of the result is what was found."""

from dataclasses import replace

import numpy as np
import pytest

from backend.domain.arrays import IntColumn
from backend.domain.backtest import (
    ABLATED,
    BASELINES,
    OURS,
    After,
    Backtest,
    Cut,
    Ranker,
    Verdict,
    after_cut,
    backtest,
    order_cut,
    rankings_at,
    verdict_of,
)
from backend.domain.history import OrderColumns
from backend.domain.priority import LineCode
from backend.domain.ranking import Interval
from backend.domain.scoring import ScoreParameters
from tests.domain.worlds import order_columns

pytestmark = pytest.mark.requirement("R28", "R30")

CUT, DAYS, CUSTOMERS = 20_000, 90, 120
PARAMETERS = ScoreParameters()


def market(seed: int = 4) -> OrderColumns:
    """120 shops with rates and sizes of their own over a year before the cut and half a year after it."""
    rng = np.random.default_rng(seed)
    rows = []
    for shop in range(CUSTOMERS):
        rate, size = rng.gamma(1.5, 4.0), rng.lognormal(10.0, 0.7)
        first = CUT - int(rng.integers(60, 365))
        days = np.unique(rng.integers(first, CUT + 180, max(1, int(rate))))
        rows += [(shop, int(day), max(1, int(size * rng.lognormal(0.0, 0.3)))) for day in days]
    return order_columns(rows)


def with_future(orders: OrderColumns, seed: int) -> OrderColumns:
    """The same past, and quite another future: other buyers, other days, other amounts."""
    rng, later = np.random.default_rng(seed), orders.day > CUT
    customer, day, money = orders.customer.copy(), orders.day.copy(), orders.net_minor.copy()
    customer[later] = rng.permutation(customer[later])
    day[later] = CUT + rng.integers(1, DAYS, int(later.sum()))
    money[later] = rng.integers(1, 10**9, int(later.sum()))
    return replace(orders, customer=customer, day=day, net_minor=money)


def judged(orders: OrderColumns, *cuts: int) -> list[tuple[Cut, After]]:
    found = []
    for day in cuts or (CUT,):
        cut = order_cut(orders, customers_n=CUSTOMERS, day=day)
        found.append((cut, after_cut(orders, cut, customers_n=CUSTOMERS, holdout_days=DAYS)))
    return found


def test_another_future_changes_no_feature_and_no_ranking() -> None:
    orders = market()
    before = rankings_at(order_cut(orders, customers_n=CUSTOMERS, day=CUT), PARAMETERS, holdout_days=DAYS)
    for seed in range(3):
        moved = with_future(orders, seed)
        assert (moved.net_minor != orders.net_minor).any()
        cut = order_cut(moved, customers_n=CUSTOMERS, day=CUT)
        again = rankings_at(cut, PARAMETERS, holdout_days=DAYS)
        assert before.scores.keys() == again.scores.keys()
        for name, score in before.scores.items():
            assert np.array_equal(score, again.scores[name], equal_nan=True), name
        assert np.array_equal(before.expected_n, again.expected_n)
        assert before.calibration == again.calibration or np.array_equal(
            before.calibration.purchase.r, again.calibration.purchase.r
        )
        assert cut.orders.day.max() <= CUT
    moved_after = after_cut(with_future(orders, 1), cut, customers_n=CUSTOMERS, holdout_days=DAYS)
    assert not np.array_equal(
        moved_after.money, after_cut(orders, cut, customers_n=CUSTOMERS, holdout_days=DAYS).money
    ), "the future did move"


def test_another_past_changes_the_ranking() -> None:
    orders = market()
    other = replace(orders, net_minor=np.where(orders.day <= CUT, orders.net_minor[::-1], orders.net_minor))
    one, two = (
        rankings_at(order_cut(rows, customers_n=CUSTOMERS, day=CUT), PARAMETERS, holdout_days=DAYS)
        for rows in (orders, other)
    )
    assert not np.array_equal(one.scores[Ranker.VALUE], two.scores[Ranker.VALUE])


def test_frozen_sets_of_a_later_day_are_not_used() -> None:
    cut = order_cut(market(), customers_n=CUSTOMERS, day=CUT)
    plain = rankings_at(cut, PARAMETERS, holdout_days=DAYS)
    later = order_cut(with_future(market(), 2), customers_n=CUSTOMERS, day=CUT + DAYS)
    fitted = rankings_at(later, PARAMETERS, holdout_days=DAYS).calibration
    given = rankings_at(cut, replace(PARAMETERS, calibration=fitted), holdout_days=DAYS)
    assert all(np.array_equal(plain.scores[name], given.scores[name], equal_nan=True) for name in plain.scores)


def test_what_came_after_is_counted_by_hand() -> None:
    orders = order_columns(
        [(0, CUT, 5), (0, CUT + 1, 10), (0, CUT + 1, 20), (0, CUT + DAYS, 40), (0, CUT + DAYS + 1, 80), (1, CUT - 1, 7),
         (1, CUT + 2, 9), (1, CUT + 2, -4), (2, CUT + 3, 1_000)],
        returns=[7],
    )  # fmt: skip
    cut = order_cut(orders, customers_n=3, day=CUT)
    after = after_cut(orders, cut, customers_n=3, holdout_days=DAYS)
    assert after.money.tolist() == [70.0, 5.0, 1_000.0]
    assert after.purchases_n.tolist() == [2, 1, 1], "two orders of one day are one purchase, a return is none"
    rankings = rankings_at(cut, PARAMETERS, holdout_days=DAYS)
    assert rankings.buyers.tolist() == [True, True, False], "who had not bought by then is not ranked"


def whole(**options: int) -> Backtest:
    return backtest(judged(market(), CUT, CUT - DAYS), PARAMETERS, holdout_days=DAYS, replicates_n=60, **options)


def test_a_backtest_compares_each_of_ours_with_each_baseline_and_is_the_same_again() -> None:
    told: list[tuple[str, int, int]] = []
    found = backtest(
        judged(market(), CUT, CUT - DAYS), PARAMETERS, holdout_days=DAYS, seed=3, replicates_n=60,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert found == whole(seed=3)
    assert found != whole(seed=4)
    assert {(one.ours, one.baseline) for one in found.comparisons} == {
        (ours, base) for ours in OURS for base in BASELINES if ours is not base
    }
    assert (told[0], told[1], told[-1]) == (("RANK", 1, 2), ("RANK", 2, 2), ("COMPARE", 60, 60))
    first = found.cuts[0]
    assert sum(part.customers_n for part in first.deciles) == first.customers_n
    assert sum(part.actual_n for part in first.deciles) == first.actual_total
    assert sum(part.expected_n for part in first.deciles) == pytest.approx(first.expected_total)
    expected = [part.expected_n / part.customers_n for part in first.deciles]
    assert expected == sorted(expected, reverse=True)
    by_name = {one.ranker: one for one in first.rankers}
    assert by_name[Ranker.RANDOM].gini == pytest.approx(0.0, abs=1e-9)
    assert by_name[Ranker.VALUE].gini > 0.3


def test_each_of_nine_lines_is_left_out_once_and_one_without_data_is_not_nought() -> None:
    found = whole()
    assert [one.line for one in found.ablation] == list(ABLATED)
    assert len(ABLATED) == 9
    by_line = {one.line: one for one in found.ablation}
    for line in (LineCode.OVERDUE, LineCode.OBLIGATIONS, LineCode.JUST_VISITED):
        assert (by_line[line].recorded, by_line[line].gini, by_line[line].top_share) == (False, None, None)
    value = by_line[LineCode.VALUE_AT_STAKE]
    assert value.recorded
    assert value.gini is not None
    assert value.gini.value != 0.0


def test_a_line_with_data_is_measured_and_leaving_it_out_is_leaving_out_its_points() -> None:
    [(cut, after)] = judged(market())
    tasks = IntColumn.full(np.arange(CUSTOMERS) % 3)
    known = replace(cut, inputs=replace(cut.inputs, overdue_tasks_n=tasks))
    with_tasks = rankings_at(known, PARAMETERS, holdout_days=DAYS)
    without = rankings_at(cut, PARAMETERS, holdout_days=DAYS)
    assert LineCode.OBLIGATIONS in with_tasks.lines_known
    assert np.array_equal(with_tasks.scores[f"PRIORITY-{LineCode.OBLIGATIONS}"], without.scores[Ranker.PRIORITY]), (
        "without its points the priority is what it would have been"
    )
    found = backtest([(known, after)], PARAMETERS, holdout_days=DAYS, replicates_n=20)
    [obligations] = [one for one in found.ablation if one.line is LineCode.OBLIGATIONS]
    assert obligations.recorded
    assert obligations.gini is not None
    assert obligations.gini.value < 0.0, "tasks spread by chance only disturb the order of the money"


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(0.1, 0.01, 0.2), Verdict.BETTER),
        (Interval(0.1, -0.01, 0.2), Verdict.AS_GOOD),
        (Interval(0.1, 0.0, 0.2), Verdict.AS_GOOD),
        (Interval(-0.1, -0.2, -0.01), Verdict.WORSE),
        (Interval(float("nan"), float("nan"), float("nan")), Verdict.NOT_MEASURED),
    ],
)
def test_nobody_is_better_where_the_interval_holds_nothing(interval: Interval, verdict: Verdict) -> None:
    assert verdict_of(interval) is verdict


def test_one_buyer_and_a_future_without_orders_are_said_not_to_be_measured() -> None:
    for orders in (order_columns([(0, CUT - 5, 100)]), order_columns([(0, CUT - 5, 100), (0, CUT + 3, 7)])):
        cut = order_cut(orders, customers_n=1, day=CUT)
        after = after_cut(orders, cut, customers_n=1, holdout_days=DAYS)
        found = backtest([(cut, after)], PARAMETERS, holdout_days=DAYS, replicates_n=10)
        assert {one.gini_verdict for one in found.comparisons} == {Verdict.NOT_MEASURED}
