"""Customer lifetime value: the golden vectors to six decimals, and every edge the definition names."""

import numpy as np
import pytest

from backend.domain.arrays import Basis, IntColumn
from backend.domain.margin import contribution_of
from backend.domain.value import (
    ChurnForm,
    Method,
    Timing,
    ValueInputs,
    constant_margin_value,
    discounted_sum,
    inverse_churn_periods,
    lifetime_value,
    past_value,
    pattern_gain,
    rate_per_period,
    referral_value,
    trend_forecast,
    truncation_periods,
)
from backend.errors import Code, Refused
from tests.domain.worlds import TODAY, history

pytestmark = pytest.mark.requirement("R50")

REVENUE = np.array([[100.0, 120.0, 150.0, 130.0]])
COST = np.array([[60.0, 70.0, 90.0, 80.0]])
CONTRIBUTION = REVENUE - COST


def one(value: float) -> np.ndarray:
    return np.array([value])


def test_basic_value_of_the_golden_vector():
    found = lifetime_value(ValueInputs(CONTRIBUTION, one(0.25), 0.02), Method.BASIC)
    assert round(float(found.past[0]), 6) == 190.005737
    assert found.future.tolist() == [0.0]
    at_start = lifetime_value(ValueInputs(CONTRIBUTION, one(0.25), 0.02, timing=Timing.START), Method.BASIC)
    assert at_start.past[0] == pytest.approx(190.005737 * 1.02, abs=1e-6)


def test_past_value_compounds_to_now_or_stays_as_it_was():
    assert round(float(past_value(CONTRIBUTION, 0.02)[0]), 6) == 205.668320
    assert past_value(CONTRIBUTION).tolist() == [200.0]


def test_regression_over_the_inverse_churn_horizon():
    assert trend_forecast(CONTRIBUTION, 4)[0].tolist() == pytest.approx([60, 64, 68, 72])
    assert inverse_churn_periods(one(0.25)).tolist() == [4]
    inputs = ValueInputs(
        CONTRIBUTION,
        one(0.25),
        0.02,
        rate_old=0.02,
        gain=np.full((1, 20), 5.0),
        churn_form=ChurnForm.HORIZON,
    )
    found = lifetime_value(inputs, Method.REGRESSION)
    assert round(float(found.future[0]), 6) == 269.971764
    assert round(float(found.past[0] + found.future[0]), 6) == 475.640084


def test_the_plain_horizon_is_one_over_churn_rounded():
    assert inverse_churn_periods(np.array([0.6, 0.3, 0.05, 0.0, 1.0])).tolist() == [2, 3, 20, 20, 1]


def test_survival_form_and_the_fixed_horizon_that_overstates_it():
    survival = float(constant_margin_value(one(50.0), one(0.25), 0.02)[0])
    assert round(survival, 6) == 138.888889
    flat = ValueInputs(np.full((1, 4), 50.0), one(0.25), 0.02)
    fixed = lifetime_value(flat, Method.INVERSE_CHURN)
    assert round(float(fixed.future[0]), 6) == 190.386435
    assert round(float(fixed.future[0]) / survival, 2) == 1.37
    truncated = lifetime_value(flat, Method.REGRESSION)
    assert truncated.periods_n.tolist() == [10]
    assert 0.95 * survival <= truncated.future[0] < survival, "the horizon may cut off five percent, no more"


def test_referrals_count_one_generation():
    assert round(float(referral_value(one(0.1), one(80.0), one(15.0), 0.02, 4)[0]), 6) == 24.750237


def test_churn_enters_once():
    flows = np.full((1, 4), 50.0)
    horizon = ValueInputs(flows, one(0.25), 0.0, churn_form=ChurnForm.HORIZON)
    assert lifetime_value(horizon, Method.REGRESSION).future[0] == pytest.approx(200.0), "no survival factor"
    model = ValueInputs(
        flows,
        one(0.25),
        0.0,
        expected_purchases=np.cumsum(np.full((1, 20), 1.0), axis=1),
        margin_per_purchase=one(10.0),
    )
    found = lifetime_value(model, Method.PROBABILISTIC)
    assert found.future[0] == pytest.approx(10.0 * found.periods_n[0]), "survival is already in E X"


def test_truncation_horizon_is_the_smallest_that_leaves_five_percent():
    churn, rate = np.array([0.25, 0.5, 0.0, 1.0, 0.999]), 0.02
    periods = truncation_periods(churn, rate)
    assert periods.tolist() == [10, 5, 20, 1, 1]
    assert (0.75 / 1.02) ** 10 <= 0.05
    assert (0.75 / 1.02) ** 9 > 0.05


def test_discount_per_quarter_compounds_to_the_yearly_rate():
    assert (1 + rate_per_period(0.10, 4)) ** 4 == pytest.approx(1.10)


@pytest.mark.parametrize("rate", [float("nan"), -1.0, -2.0, float("inf")])
def test_impossible_discount_rates_are_refused(rate: float):
    with pytest.raises(Refused) as refused:
        lifetime_value(ValueInputs(CONTRIBUTION, one(0.25), rate), Method.BASIC)
    assert refused.value.problems[0].code is Code.OUT_OF_RANGE
    with pytest.raises(Refused):
        rate_per_period(rate, 4)


def test_impossible_churn_and_missing_model_columns_are_refused():
    for churn in (float("nan"), -0.1, 1.1):
        with pytest.raises(Refused):
            lifetime_value(ValueInputs(CONTRIBUTION, one(churn), 0.0), Method.REGRESSION)
    with pytest.raises(Refused) as refused:
        lifetime_value(ValueInputs(CONTRIBUTION, one(0.2), 0.0))
    assert refused.value.problems[0].code is Code.REQUIRED
    with pytest.raises(Refused):
        constant_margin_value(one(1.0), one(0.0), 0.0)


def test_a_prospect_is_worth_what_it_could_become_and_nothing_else():
    inputs = ValueInputs(
        np.zeros((1, 0)),
        one(0.5),
        0.0,
        gain=np.full((1, 20), 5.0),
        expected_purchases=np.zeros((1, 20)),
        margin_per_purchase=one(10.0),
    )
    for method in (Method.PROBABILISTIC, Method.REGRESSION, Method.INVERSE_CHURN):
        found = lifetime_value(inputs, method)
        assert found.past.tolist() == [0.0]
        assert found.future[0] == 5.0 * found.periods_n[0]


def test_negative_lifetime_margin_stays_negative():
    inputs = ValueInputs(-CONTRIBUTION, one(0.25), 0.02)
    for method in (Method.BASIC, Method.REGRESSION, Method.INVERSE_CHURN):
        found = lifetime_value(inputs, method)
        assert found.past[0] + found.future[0] < 0


def test_one_order_gives_a_flat_trend():
    assert trend_forecast(np.array([[30.0]]), 3)[0].tolist() == [30.0, 30.0, 30.0]


def test_damping_bends_the_trend_and_season_shapes_it():
    damped = trend_forecast(CONTRIBUTION, 3, damping=0.5)[0]
    assert damped.tolist() == pytest.approx([60.0, 62.0, 63.0])
    season = ValueInputs(
        np.full((1, 4), 50.0), one(0.5), 0.0, season=np.array([2.0, 0.0]), churn_form=ChurnForm.HORIZON
    )
    assert lifetime_value(season, Method.REGRESSION).future[0] == pytest.approx(100.0)


def test_pattern_gain_needs_thirty_peers_and_a_gap():
    parts = {
        "ramp": np.array([0.25, 0.5]),
        "survival": np.full((4, 2), 0.9),
        "margin": np.full(4, 0.4),
        "ramp_cost": np.array([3.0, 0.0]),
    }
    frontier, run_rate = np.array([100.0, 100.0, 100.0, 50.0]), np.array([60.0, 60.0, 100.0, 80.0])
    gain = pattern_gain(frontier, run_rate, np.array([30, 29, 300, 300]), **parts)
    assert gain[0].tolist() == pytest.approx([0.25 * 40 * 0.4 * 0.9 - 3.0, 0.5 * 40 * 0.4 * 0.9])
    assert not gain[1:].any()


def test_nobody_to_value_is_an_empty_answer():
    found = lifetime_value(ValueInputs(np.zeros((0, 4)), np.zeros(0), 0.02), Method.REGRESSION)
    assert found.past.shape == found.future.shape == found.periods_n.shape == (0,)
    assert discounted_sum(np.zeros((0, 3)), 0.1).shape == (0,)


def test_without_any_margin_everybody_ranks_on_revenue():
    found = contribution_of(history([(0, TODAY, 900), (1, TODAY, 100)], 3), None)
    assert found.basis.tolist() == [Basis.REVENUE, Basis.REVENUE, Basis.PROSPECT]
    assert found.total.tolist() == [900.0, 100.0, 0.0]


def test_own_costs_beat_the_category_which_beats_the_organisation():
    rows = [(0, TODAY, 1000), (1, TODAY, 1000), (2, TODAY, 1000)]
    category = IntColumn.of([None, 3000, None])
    found = contribution_of(history(rows, 3, costs=[400, None, None]), 0.1, category)
    assert found.basis.tolist() == [Basis.MARGIN, Basis.DEFAULT_MARGIN, Basis.DEFAULT_MARGIN]
    assert found.total.tolist() == pytest.approx([600.0, 300.0, 600.0]), "the recorded beats the declared"
    assert found.quarters[:, -1].tolist() == pytest.approx([600.0, 300.0, 600.0]), "the newest quarter is last"
    assert not found.quarters[:, :-1].any()


def test_bases_of_one_run_are_never_contribution_beside_revenue():
    found = contribution_of(history([(0, TODAY, 1000), (1, TODAY, 1000)], 2, costs=[400, None]), None)
    assert Basis.REVENUE not in found.basis.tolist()


def test_returns_above_orders_make_a_negative_contribution():
    rows = [(0, TODAY - 5, 500), (0, TODAY - 5, -800)]
    found = contribution_of(history(rows, 1, returns=[1]), 0.5)
    assert found.total.tolist() == [-150.0]
    assert np.isfinite(found.rate).all()
