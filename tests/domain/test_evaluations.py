"""Arms and effects: drawn by a hash, held to their plan, and intervals that mean what they say."""

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.evaluations import (
    RATIO_P_MIN,
    EvaluationState,
    arm_hashes,
    check_step,
    estimate,
    held_out,
    ratio_p,
    return_of,
    t_quantile,
)
from backend.errors import Code, Refused

pytestmark = pytest.mark.requirement("R30")

SPLITS = 2_000


def people(n: int) -> list[str]:
    rng = np.random.default_rng(3)
    return [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(n)]


def test_an_arm_follows_from_the_names_and_changes_with_each_of_them() -> None:
    ids, strata = people(2_000), np.zeros(2_000, dtype=np.int64)
    one = held_out(arm_hashes("visits", ids, "a"), strata, 2_000)
    assert (one == held_out(arm_hashes("visits", ids, "a"), strata, 2_000)).all()
    for other in (arm_hashes("visits", ids, "b"), arm_hashes("calls", ids, "a")):
        both = (one & held_out(other, strata, 2_000)).sum()
        assert 40 <= both <= 120, "another salt or subject is another draw: about 20 % of 20 % meet"
    backwards = held_out(arm_hashes("visits", ids[::-1], "a"), strata, 2_000)
    assert (backwards[::-1] == one).all(), "the sequence of the customers does not count"


@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=17),
    share=st.integers(1_000, 5_000),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_stratum_gives_its_share_and_all_together_at_least_it(sizes: list[int], share: int, seed: int) -> None:
    strata = np.repeat(np.arange(len(sizes)), sizes)
    if strata.size < 2:
        return
    hashes = np.random.default_rng(seed).integers(0, 1 << 62, strata.size)
    control = held_out(hashes, strata, share)
    assert control.sum() == -(-strata.size * share // 10_000)
    exact = control.mean()
    for place, size in enumerate(sizes):
        assert abs(control[strata == place].sum() - size * exact) <= 1.0 + 1e-9


def test_every_customer_may_be_held_out() -> None:
    rng, times = np.random.default_rng(5), np.zeros(40)
    strata = np.repeat(np.arange(8), 5)
    for _ in range(SPLITS):
        times += held_out(rng.integers(0, 1 << 62, 40), strata, 1_000)
    assert (np.abs(times / SPLITS - 0.1) < 0.035).all()


@pytest.mark.parametrize("share", [0, 999, 5_001, 10_000])
def test_less_than_a_tenth_or_more_than_a_half_is_not_held_out(share: int) -> None:
    with pytest.raises(Refused) as refused:
        held_out(np.arange(100), np.zeros(100, dtype=np.int64), share)
    assert refused.value.problems[0].code is Code.OUT_OF_RANGE


def test_arms_that_are_not_what_was_planned_are_found_out() -> None:
    assert ratio_p(900, 100, 0.1) == pytest.approx(1.0)
    assert ratio_p(905, 95, 0.1) > 0.5
    assert ratio_p(970, 30, 0.1) < RATIO_P_MIN < ratio_p(920, 80, 0.1)
    assert ratio_p(0, 0, 0.1) == 0.0
    # χ² = 10.828 is the point of .001
    assert ratio_p(9_000 - 99, 1_000 + 99, 0.1) < 0.001 < ratio_p(9_000 - 98, 1_000 + 98, 0.1)


def market(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skewed spends with many zeros, a forecast that knows something of them, and strata by the forecast."""
    worth = rng.lognormal(8.0, 1.0, n)
    spend = np.where(rng.random(n) < 0.6, worth * rng.lognormal(0.0, 0.5, n), 0.0)
    return spend, worth, np.searchsorted(np.quantile(worth, [0.25, 0.5, 0.75, 0.9]), worth)


def test_where_nothing_was_done_nineteen_of_twenty_intervals_hold_nothing() -> None:
    rng = np.random.default_rng(11)
    spend, forecast, strata = market(rng, 600)
    hits, cuts = 0, []
    for _ in range(SPLITS):
        treated = ~held_out(rng.integers(0, 1 << 62, spend.size), strata, 1_000)
        found = estimate(spend, treated, forecast=forecast, strata=strata)
        hits += found.low <= 0.0 <= found.high
        cuts.append(found.variance_cut)
    assert 0.93 <= hits / SPLITS <= 0.97
    assert np.mean(cuts) > 0.3, "the forecast takes noise away"


def test_an_injected_effect_is_recovered_on_average_and_the_forecast_hides_none_of_it() -> None:
    rng = np.random.default_rng(12)
    spend, forecast, strata = market(rng, 600)
    lifts, covered = [], 0
    for _ in range(400):
        treated = ~held_out(rng.integers(0, 1 << 62, spend.size), strata, 3_000)
        # it works in proportion to what the forecast knows, the hardest case for an adjustment by it
        gain = 0.2 * forecast
        found = estimate(spend + gain * treated, treated, forecast=forecast, strata=strata)
        lifts.append(found.lift)
        covered += found.low <= gain.mean() <= found.high
    assert np.mean(lifts) == pytest.approx(0.2 * forecast.mean(), rel=0.03)
    assert covered / 400 >= 0.93


def test_what_the_forecast_foretells_exactly_is_taken_off_exactly_however_uneven_the_arms() -> None:
    forecast = np.arange(60.0)
    treated = forecast >= 25
    found = estimate(3.0 * forecast + 1_000.0 * treated, treated, forecast=forecast)
    assert [found.lift, found.low, found.high] == pytest.approx([1_000.0] * 3)


def test_without_a_forecast_it_is_welch_to_the_digit() -> None:
    # Welch (1947) by hand: variances 2.5 and 10 over 5 and 5
    outcome = np.array([1.0, 2, 3, 4, 5, 2, 4, 6, 8, 10])
    treated = np.arange(10) >= 5
    found = estimate(outcome, treated)
    assert found.lift == 3.0
    assert found.freedom == pytest.approx((0.5 + 2.0) ** 2 / (0.5**2 / 4 + 2.0**2 / 4))
    half = 2.4469 * (2.5**0.5)  # 5.88 degrees of freedom: 2.4587
    assert found.high - found.lift == pytest.approx(half, rel=0.01)
    assert (found.treated_mean, found.control_mean, found.relative) == (6.0, 3.0, 1.0)


def test_quantiles_of_student() -> None:
    printed = {4: 2.7764, 5: 2.5706, 10: 2.2281, 30: 2.0423, 1_000: 1.9623}
    for freedom, value in printed.items():
        assert t_quantile(0.975, freedom) == pytest.approx(value, abs=0.001)


def test_everybody_alike_and_arms_of_one_and_numbers_that_are_none() -> None:
    treated = np.arange(20) % 2 == 0
    same = estimate(np.full(20, 5.0), treated, forecast=np.full(20, 3.0), strata=np.arange(20) // 10)
    assert (same.lift, same.low, same.high) == (0.0, 0.0, 0.0)
    alone = estimate(np.arange(20.0), treated, forecast=np.full(20, np.nan), strata=np.arange(20))
    assert np.isfinite([alone.lift, alone.low, alone.high]).all()
    for outcome, arm in ((np.ones(3), np.array([True, True, False])), (np.array([np.nan] * 4), treated[:4])):
        with pytest.raises(Refused):
            estimate(outcome, arm)


def test_what_came_back_for_what_was_spent() -> None:
    treated = np.arange(200) >= 20
    found = estimate(np.where(treated, 150.0, 100.0) + np.tile([-1.0, 1.0], 100), treated)
    back = return_of(found, cost_minor=3_000, margin_bp=4_000)
    assert (back.gain_minor, back.net_minor, back.ratio) == (3_600, 600, 1.2)
    assert back.gain_low_minor < 3_600 < back.gain_high_minor
    assert return_of(found, cost_minor=0, margin_bp=None).ratio is None


def test_what_ended_does_not_begin_again() -> None:
    check_step(EvaluationState.PLANNED, EvaluationState.FROZEN)
    for now, then in (
        (EvaluationState.CLOSED, EvaluationState.CLOSED),
        (EvaluationState.CLOSED, EvaluationState.DROPPED),
        (EvaluationState.PLANNED, EvaluationState.CLOSED),
        (EvaluationState.ABORTED, EvaluationState.FROZEN),
    ):
        with pytest.raises(Refused) as refused:
            check_step(now, then)
        assert refused.value.problems[0].code is Code.INVALID_TRANSITION
