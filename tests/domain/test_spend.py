"""The spend model: blind to the unit of money, sane where spend is degenerate or absent."""

import numpy as np
import pytest

from backend.domain.purchase import FitStatus
from backend.domain.spend import expected_spend, fit_spend
from tests.papers.cdnow import calibration

pytestmark = pytest.mark.requirement("R50")


def drawn(customers_n: int = 800) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    count = draw.integers(1, 12, customers_n)
    level = 1.0 / draw.gamma(4.0, 1.0 / 15.0, customers_n)
    return draw.gamma(6.0 * count, level / count), count


def test_cents_and_dollars_give_the_same_model():
    mean, count = drawn()
    dollars, cents = fit_spend(mean, count), fit_spend(mean * 100, count)
    assert (cents.p, cents.q, cents.v) == pytest.approx((dollars.p, dollars.q, 100 * dollars.v), rel=1e-6)
    assert expected_spend(cents, mean * 100, count) == pytest.approx(
        100 * expected_spend(dollars, mean, count), rel=1e-6
    )


def test_known_parameters_are_recovered():
    fit = fit_spend(*drawn(20_000))
    assert fit.status is FitStatus.CONVERGED
    for found, true, error in zip((fit.p, fit.q), (6.0, 4.0), fit.standard_errors, strict=False):
        assert abs(found - true) < 4 * error
        assert error < 0.5


def test_own_mean_counts_for_more_the_more_was_bought():
    history, mean = calibration()
    back = history.repeats_n > 0
    fit = fit_spend(mean[back], history.repeats_n[back])
    once, often = expected_spend(fit, np.array([200.0, 200.0]), np.array([1, 50]))
    nobody = expected_spend(fit, np.array([200.0]), np.array([0]))[0]
    assert nobody < once < often < 200.0


def test_few_equal_or_absent_spends_are_flagged_and_finite():
    few = fit_spend(np.full(10, 70.0), np.full(10, 2))
    assert few.status is FitStatus.SHIPPED_PRIOR
    assert expected_spend(few, np.zeros(1), np.zeros(1, dtype=np.int64))[0] == pytest.approx(70.0)
    equal = fit_spend(np.full(500, 70.0), np.full(500, 3))
    assert equal.status is FitStatus.REGULARISED
    assert expected_spend(equal, np.full(1, 70.0), np.full(1, 3))[0] == pytest.approx(70.0, rel=0.01)
    none = fit_spend(np.zeros(0), np.zeros(0, dtype=np.int64))
    assert expected_spend(none, np.zeros(1), np.zeros(1, dtype=np.int64)).tolist() == [0.0]


def test_returns_above_orders_neither_enter_the_fit_nor_give_negative_spend():
    mean, count = drawn()
    spoiled = fit_spend(np.append(mean, -500.0), np.append(count, 3))
    assert spoiled.customers_n == 800
    assert expected_spend(spoiled, np.array([-500.0]), np.array([3]))[0] > 0
