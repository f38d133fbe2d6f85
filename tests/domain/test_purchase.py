"""The purchase models where they are hard: few data, everybody alike, singular parameters, another unit."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special as scipy_special
from scipy.integrate import quad

from backend.domain.calibration import LEVEL_MAX, accept_refit, backtest_level, calibrate
from backend.domain.purchase import (
    ENOUGH_CUSTOMERS_N,
    SHIPPED_WEEKS,
    FitStatus,
    Model,
    PurchaseFit,
    PurchaseHistory,
    TimeUnit,
    alive_probability,
    fit_purchase,
    pack_cells,
)
from backend.domain.purchase_forecast import count_probability, expected_of_new, expected_purchases
from backend.domain.special import digamma, log_gamma, trigamma
from tests.domain.worlds import TODAY, order_columns
from tests.papers.cdnow import calibration

pytestmark = pytest.mark.requirement("R50")


def made_fit(model: Model = Model.MBG_NBD, a: float = 0.89, b: float = 1.61, r: float = 0.52) -> PurchaseFit:
    nan = float("nan")
    return PurchaseFit(model, TimeUnit.WEEK, r, 6.2, a, b, 0.0, (nan,) * 4, FitStatus.CONVERGED, 1000)


def drawn_history(customers_n: int, *, seed: int = 5) -> PurchaseHistory:
    draw = np.random.default_rng(seed)
    observed = draw.integers(100, 400, customers_n)
    repeats = draw.poisson(2.0, customers_n)
    last = np.where(repeats > 0, 1 + (observed - 1) * draw.random(customers_n), 0).astype(np.int64)
    return PurchaseHistory(repeats.astype(np.int64), last, observed)


def alike(x: int, t: int, observed: int, customers_n: int = 500) -> PurchaseHistory:
    return PurchaseHistory(*(np.full(customers_n, value, dtype=np.int64) for value in (x, t, observed)))


def test_one_time_buyers_are_all_alive_in_bg_and_doubted_in_mbg():
    history = PurchaseHistory(np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), np.array([7, 700]))
    assert alive_probability(made_fit(Model.BG_NBD), history).tolist() == [1.0, 1.0]
    fresh, stale = alive_probability(made_fit(Model.MBG_NBD), history)
    assert fresh > stale > 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 900), st.integers(0, 400), st.integers(1, 200))
def test_longer_silence_never_makes_a_customer_likelier_to_be_alive(x, t, silence, more):
    both = PurchaseHistory(np.array([x, x]), np.array([t, t]), np.array([t + silence, t + silence + more]))
    for model in Model:
        near, far = alive_probability(made_fit(model), both)
        assert 0.0 <= far <= near <= 1.0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 60),
    st.integers(0, 900),
    st.integers(1, 900),
    st.floats(0.2, 5.0),
    st.floats(0.2, 8.0),
    st.floats(0.1, 4.0),
)
def test_expected_purchases_rise_with_the_horizon_and_stay_finite(x, silence, horizon, a, b, r):
    history = PurchaseHistory(np.array([x]), np.array([7 * x]), np.array([7 * x + silence]))
    for model in Model:
        near, far = expected_purchases(made_fit(model, a, b, r), history, (horizon, 2 * horizon))[0]
        assert 0.0 <= near <= far < math.inf


@pytest.mark.parametrize("model", Model)
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.8), (1.0, 2.0), (0.3, 0.4), (0.5, 0.5), (2.5, 3.0)])
def test_expectation_has_no_singularity_at_a_one_and_agrees_with_integration(model: Model, a: float, b: float):
    # Independent route: E X(t) = ∫ λ·P(active at s) ds, averaged over λ ~ Gamma(r, α) and p ~ Beta(a, b) by
    # d/ds E X(s) = E[λ p^0 e^(−λ p s)] with p integrated by quadrature and λ in closed form.
    fit = made_fit(model, a, b)
    extra = 1.0 if model else 0.0

    def rate(s: float) -> float:
        def over_p(p: float) -> float:
            density = p ** (a - 1) * (1 - p) ** (b + extra - 1) / scipy_special.beta(a, b)
            return density * fit.r * fit.alpha**fit.r / (fit.alpha + p * s) ** (fit.r + 1)

        return quad(over_p, 0, 1, limit=200)[0]

    expected = quad(rate, 0, 39, limit=100)[0]
    assert expected_of_new(fit, 39 * 7) == pytest.approx(expected, rel=1e-5)
    near = expected_of_new(made_fit(model, a + 1e-9, b), 39 * 7)
    assert near == pytest.approx(expected_of_new(fit, 39 * 7), rel=1e-7)


@pytest.mark.parametrize("model", Model)
def test_count_probabilities_sum_to_one_and_to_the_expectation(model: Model):
    fit = made_fit(model)
    chances = [count_probability(fit, n, 26 * 7) for n in range(250)]
    assert sum(chances) == pytest.approx(1.0, abs=1e-9)
    assert sum(n * p for n, p in enumerate(chances)) == pytest.approx(expected_of_new(fit, 26 * 7), rel=1e-6)
    assert count_probability(fit, 0, 0) == pytest.approx(1.0)


def test_the_unit_of_time_changes_parameters_but_no_answer():
    history = calibration()[0]
    weeks, days = (fit_purchase(history, unit=unit) for unit in (TimeUnit.WEEK, TimeUnit.DAY))
    assert days.alpha == pytest.approx(7 * weeks.alpha, rel=1e-5)
    assert (days.r, days.a, days.b) == pytest.approx((weeks.r, weeks.a, weeks.b), rel=1e-5)
    assert expected_purchases(days, history, (360,)) == pytest.approx(
        expected_purchases(weeks, history, (360,)), rel=1e-5
    )


def test_too_few_customers_or_repeats_use_the_shipped_parameters_and_say_so():
    few = fit_purchase(drawn_history(ENOUGH_CUSTOMERS_N - 1))
    assert few.status is FitStatus.SHIPPED_PRIOR
    assert (few.r, few.alpha, few.a, few.b) == SHIPPED_WEEKS
    assert fit_purchase(alike(0, 0, 200)).status is FitStatus.SHIPPED_PRIOR, "nobody came back"
    assert fit_purchase(drawn_history(0)).status is FitStatus.SHIPPED_PRIOR
    assert fit_purchase(drawn_history(ENOUGH_CUSTOMERS_N)).status is not FitStatus.SHIPPED_PRIOR
    assert fit_purchase(drawn_history(10), unit=TimeUnit.DAY).alpha == pytest.approx(SHIPPED_WEEKS[1] * 7)


@pytest.mark.parametrize("model", Model)
@pytest.mark.parametrize(("x", "t", "observed"), [(3, 140, 210), (1, 1, 700), (8, 200, 200)])
def test_everybody_alike_is_held_by_the_prior_and_flagged(model: Model, x: int, t: int, observed: int):
    fit = fit_purchase(alike(x, t, observed), model=model)
    assert fit.status in (FitStatus.REGULARISED, FitStatus.CONVERGED)
    assert all(1e-4 < value < 1e5 for value in (fit.r, fit.alpha, fit.a, fit.b))
    assert np.isfinite(expected_purchases(fit, alike(x, t, observed, 3), (182,))).all()
    if x == 3:
        assert fit.status is FitStatus.REGULARISED


def test_sampling_is_deterministic_and_blind_to_the_rows_sequence():
    history = drawn_history(5_000)
    shuffled = np.random.default_rng(1).permutation(5_000)
    other = PurchaseHistory(
        history.repeats_n[shuffled], history.last_repeat_days[shuffled], history.observed_days[shuffled]
    )
    first, again = (fit_purchase(h, sample_max=1_000) for h in (history, other))
    assert first == again
    assert first.customers_n == 1_000
    assert pack_cells(history, TimeUnit.WEEK).weight.sum() == 5_000


def test_special_functions_agree_with_an_independent_library():
    x = np.concatenate([np.geomspace(1e-3, 1e4, 60), [1.0, 2.0]])
    assert log_gamma(x) == pytest.approx(scipy_special.gammaln(x), rel=1e-11, abs=1e-11)
    assert digamma(x) == pytest.approx(scipy_special.digamma(x), rel=1e-11, abs=1e-11)
    assert trigamma(x) == pytest.approx(scipy_special.polygamma(1, x), rel=1e-11)


def steady_orders(gap_days: int, speed_up: int = 1):
    """400 customers ordering every `gap_days`, `speed_up` times as often in the last quarters."""
    rows = []
    for customer in range(400):
        start = TODAY - 700 + customer % 91
        for day in range(start, TODAY + 1, gap_days):
            rows.append((customer, day, 1_000))
            if day > TODAY - 273:
                rows.extend((customer, day + extra, 1_000) for extra in range(1, speed_up) if day + extra <= TODAY)
    return order_columns(rows)


def test_backtest_level_follows_what_happened_and_is_clipped():
    ordinary = backtest_level(
        steady_orders(35), customers_n=400, as_of_day=TODAY, model=Model.MBG_NBD, unit=TimeUnit.WEEK
    )
    assert ordinary is not None
    assert 0.8 <= ordinary <= 1.2
    boom = backtest_level(
        steady_orders(35, speed_up=8), customers_n=400, as_of_day=TODAY, model=Model.MBG_NBD, unit=TimeUnit.WEEK
    )
    assert boom == LEVEL_MAX


def test_a_short_history_measures_no_level():
    found = calibrate(order_columns([(0, TODAY, 100)]), customers_n=1, as_of_day=TODAY, version="v")
    assert (found.level, found.level_measured) == (1.0, False)


def test_a_refit_is_accepted_only_when_it_fits_no_worse_and_drifts_little():
    old = dataclasses.replace(made_fit(), log_likelihood=-100.0, customers_n=100, standard_errors=(0.1, 0.1, 0.1, 0.1))
    assert accept_refit(old, dataclasses.replace(old, r=old.r + 0.29))
    assert not accept_refit(old, dataclasses.replace(old, r=old.r + 0.31))
    assert not accept_refit(old, dataclasses.replace(old, log_likelihood=-101.0))
    assert accept_refit(old, dataclasses.replace(old, log_likelihood=-101.0, model=Model.BG_NBD))
