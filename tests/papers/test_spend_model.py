"""Published figures of the Gamma-Gamma model on the CDNOW sample."""

import numpy as np
import pytest

from backend.domain.purchase import FitStatus
from backend.domain.spend import expected_spend, fit_spend
from tests.papers.cdnow import calibration

pytestmark = pytest.mark.requirement("R50")

PUBLISHED_SPEND = [24.65, 18.91, 35.17, 35.17, 35.17, 71.46, 18.91, 35.17, 27.28, 35.17]


def test_gamma_gamma_on_repeat_purchases_reproduces_the_published_fit():
    # The published convention: only the 946 customers who came back, mean of their *repeat* purchases, n = x.
    # The product itself fits on all purchases (n = x + 1).
    history, mean = calibration()
    back = history.repeats_n > 0
    fit = fit_spend(mean[back], history.repeats_n[back])
    assert fit.status is FitStatus.CONVERGED
    assert fit.customers_n == 946
    # Printed with two digits, v cut and not rounded (the optimum has 15.448).
    assert (round(fit.p, 2), round(fit.q, 2)) == (6.25, 3.74)
    assert np.trunc(fit.v * 100) / 100 == 15.44
    assert round(fit.log_likelihood, 2) == -4055.92


def test_gamma_gamma_expected_spend_of_customers_one_to_ten():
    # Customers in the file's order; without a repeat purchase the population's mean. Printed digits are cut.
    history, mean = calibration()
    back = history.repeats_n > 0
    fit = fit_spend(mean[back], history.repeats_n[back])
    first_ten = expected_spend(fit, mean[:10], history.repeats_n[:10])
    assert (np.trunc(first_ten * 100) / 100).tolist() == PUBLISHED_SPEND
