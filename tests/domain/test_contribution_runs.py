"""Who brings more and who less: groups, samples that nest, and an advice that weighs cost against what is open."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from backend.domain.arrays import IntColumn
from backend.domain.contribution_runs import (
    DECISION_SHARE,
    GROUPS,
    Advice,
    ContributionFound,
    ContributionGroup,
    ContributionInputs,
    Depth,
    NextLook,
    advise,
    contribution_found,
    group_customers,
    in_sample,
    largest,
    seasonal_trend,
    straight_trend,
)

pytestmark = pytest.mark.requirement("R27")

IDS = [f"customer-{place}" for place in range(1_500)]


def inputs(*rows: list[float], alive: list[float] | None = None) -> ContributionInputs:
    quarters = np.array(rows, dtype=np.float64)
    return ContributionInputs(
        quarters,
        IntColumn.missing(len(rows)),
        IntColumn.missing(len(rows)),
        alive=None if alive is None else np.array(alive),
    )


def groups(found: ContributionInputs, depth: Depth = Depth.BASIC) -> list[ContributionGroup]:
    return [GROUPS[place] for place in group_customers(found, depth).group.tolist()]


def test_each_way_a_customer_can_go_has_its_group() -> None:
    found = inputs(
        [100, 110, 120, 130], [130, 120, 110, 100], [100, 101, 99, 100], [0, 0, 5, 9], [9, 5, 0, 0], [0, 0, 0, 0],
        [-50, -40, -30, -20],
    )  # fmt: skip
    assert [one.value for one in groups(found)] == [
        "RISING", "FALLING", "STEADY", "NEW", "GONE", "NONE", "RISING",
    ]  # fmt: skip


def test_slopes_are_exact_on_a_line_and_say_nothing_from_two_quarters() -> None:
    line = straight_trend(np.array([[10.0, 14.0, 18.0, 22.0, 26.0]]))
    assert_allclose(line.slope_minor, [4.0])
    assert_allclose(line.error, [0.0], atol=1e-12)
    assert_allclose(line.yearly, [16.0 / 18.0])
    two = straight_trend(np.array([[10.0, 14.0]]))
    assert np.isinf(two.error).all()
    assert group_customers(inputs([10, 14]), Depth.BASIC).undecided.all()


def test_a_season_bends_the_straight_trend_and_not_the_other() -> None:
    # the same year twice, with everything sold in its last quarters
    seasonal = np.array([[0.0, 10, 90, 400, 0, 10, 90, 400]])
    assert straight_trend(seasonal).yearly[0] > 0.3
    assert_allclose(seasonal_trend(seasonal).yearly, [0.0])
    found = ContributionInputs(seasonal, IntColumn.missing(1), IntColumn.missing(1))
    assert groups(found, Depth.BASIC) == [ContributionGroup.RISING]
    assert groups(found, Depth.STANDARD) == [ContributionGroup.STEADY]
    assert contribution_found(found, Depth.STANDARD, customers_n=1).moved_n == 1


def test_only_the_full_depth_knows_who_has_left_in_silence() -> None:
    found = inputs([100, 100, 100, 100], [100, 100, 100, 100], alive=[0.2, 0.9])
    assert groups(found, Depth.STANDARD) == [ContributionGroup.STEADY] * 2
    assert groups(found, Depth.FULL) == [ContributionGroup.GONE, ContributionGroup.STEADY]


def test_groups_hold_everybody_once_and_sum_to_the_total() -> None:
    rng = np.random.default_rng(1)
    quarters = rng.gamma(0.4, 1_000.0, size=(300, 8)).round()
    found = contribution_found(
        ContributionInputs(quarters, IntColumn.missing(300), IntColumn.missing(300)), Depth.STANDARD, customers_n=300
    )
    assert sum(one.customers_n for one in found.groups) == 300
    assert sum(one.past_minor for one in found.groups) == found.total_minor == round(float(quarters.sum()))
    assert (found.low_minor, found.high_minor) == (found.total_minor, found.total_minor)
    # nobody was scored: that is not a future of nothing
    assert all(one.future_minor is None for one in found.groups)
    empty = contribution_found(inputs(*[[0.0, 0.0]]), Depth.BASIC, customers_n=1)
    assert (empty.total_minor, empty.undecided_n) == (0, 0)


def test_nobody_at_all_is_no_error() -> None:
    nobody = ContributionInputs(np.zeros((0, 4)), IntColumn.missing(0), IntColumn.missing(0))
    for depth in Depth:
        assert contribution_found(nobody, depth, customers_n=0).total_minor == 0


def test_a_sample_follows_from_the_ids_and_a_larger_one_holds_the_smaller() -> None:
    small, large = in_sample(IDS, 1_000, "s"), in_sample(IDS, 3_000, "s")
    assert abs(small.mean() - 0.1) < 0.03
    assert (small & ~large).sum() == 0
    assert (in_sample(IDS, 1_000, "s") == small).all()
    assert (in_sample(IDS, 1_000, "t") != small).any()
    assert in_sample(IDS, 10_000, "s").all()


def test_intervals_of_sampled_totals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    quarters = rng.gamma(1.5, 1_000.0, size=(len(IDS), 2))
    truth, held = float(quarters.sum()), 0
    for salt in range(120):
        drawn = in_sample(IDS, 2_000, str(salt))
        n = int(drawn.sum())
        found = contribution_found(
            ContributionInputs(quarters[drawn], IntColumn.missing(n), IntColumn.missing(n)),
            Depth.BASIC,
            customers_n=len(IDS),
            sampled_n=n,
        )
        held += found.low_minor <= truth <= found.high_minor
    assert 107 <= held <= 119


def test_the_largest_are_kept_with_ties_by_their_place() -> None:
    assert largest(np.array([5.0, 9.0, 5.0, 1.0]), 2).tolist() == [True, True, False, False]
    assert largest(np.array([5.0]), 9).tolist() == [True]


def open_run(undecided_minor: int, half_width: int = 0) -> ContributionFound:
    return ContributionFound(10, 10, 1_000, 1_000 - half_width, 1_000 + half_width, (), 0, 0, 3, undecided_minor)


def test_going_on_is_advised_exactly_while_it_can_bring_more_than_it_costs() -> None:
    # two hours at 5,000 each, again for the next depth; four quarters, so what is open is a year's
    edge = round((2 * 5_000) / DECISION_SHARE)
    for undecided, advice in ((edge, Advice.STOP), (edge + 100, Advice.GO_ON)):
        found = advise(
            open_run(undecided), depth=Depth.BASIC, sample_bp=10_000, quarters_n=4, milliseconds=0, hours=2.0,
            hour_minor=5_000,
        )  # fmt: skip
        assert found.advice is advice
        assert found.look is (NextLook.DEEPER if advice is Advice.GO_ON else None)
        assert found.cost_minor == 10_000
        assert [(one.look, one.costs_minor) for one in found.prices] == [(NextLook.DEEPER, 10_000)]


def test_the_deepest_look_at_everybody_ends_it_whatever_is_open() -> None:
    found = advise(
        open_run(10**12), depth=Depth.FULL, sample_bp=10_000, quarters_n=4, milliseconds=9, hours=0.0, hour_minor=5_000
    )
    assert (found.advice, found.prices) == (Advice.STOP, ())


def test_a_sample_costs_as_much_more_as_it_is_smaller_and_depths_by_what_they_took_before() -> None:
    hour = 3_600_000
    found = advise(
        open_run(0, half_width=10**7), depth=Depth.BASIC, sample_bp=2_500, quarters_n=8, milliseconds=hour, hours=0.0,
        hour_minor=100, depth_factors={Depth.STANDARD: 7.0},
    )  # fmt: skip
    prices = {one.look: one for one in found.prices}
    assert prices[NextLook.LARGER_SAMPLE].costs_minor == 400
    assert prices[NextLook.LARGER_SAMPLE].brings_minor == round(0.05 * 10**7 / 2)
    assert (prices[NextLook.DEEPER].brings_minor, prices[NextLook.DEEPER].costs_minor) == (0, 700)
    assert found.look is NextLook.LARGER_SAMPLE
