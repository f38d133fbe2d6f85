"""Published figures of the purchase models on the CDNOW sample, each at its printed precision."""

import dataclasses

import numpy as np
import pytest
from scipy.special import gammaln, hyp2f1

from backend.domain.pareto import (
    fit_pareto,
    pareto_alive,
    pareto_expected,
    pareto_expected_of_new,
    pareto_log_likelihood,
)
from backend.domain.purchase import (
    Cells,
    FitStatus,
    Model,
    PurchaseFit,
    PurchaseHistory,
    TimeUnit,
    fit_purchase,
    log_likelihood,
    pack_cells,
)
from backend.domain.purchase_forecast import count_probability, expected_purchases
from tests.papers.cdnow import calibration

pytestmark = pytest.mark.requirement("R50")


def one_cell(x: float, t: float, horizon: float) -> Cells:
    return Cells(np.array([x]), np.array([t]), np.array([horizon]), np.ones(1))


def with_parameters(model: Model, r: float, alpha: float, a: float, b: float) -> PurchaseFit:
    fit = fit_purchase(calibration()[0], model=model)
    return dataclasses.replace(fit, r=r, alpha=alpha, a=a, b=b)


def test_bg_nbd_fit_reproduces_the_published_parameters():
    history, _ = calibration()
    fit = fit_purchase(history, model=Model.BG_NBD)
    assert fit.status is FitStatus.CONVERGED
    assert fit.customers_n == 2357
    published = (0.2425945, 4.4136019, 0.7929199, 2.4258881)
    assert round(fit.r, 7) == 0.2425945
    # The published search stopped where the likelihood is flat: 1.2e-9 below its maximum, which is ours. Seven
    # digits of r hold, α to one in the last digit printed, a and b to a hundred-thousandth of their standard errors.
    distance = np.abs(np.array([fit.r, fit.alpha, fit.a, fit.b]) - published)
    assert (distance <= [5e-8, 1.5e-7, 2.2e-6, 1.9e-5]).all()
    assert (distance < 3e-5 * np.array(fit.standard_errors)).all()
    assert round(fit.log_likelihood, 3) == -9582.429
    cells = pack_cells(history, TimeUnit.WEEK)
    below = fit.log_likelihood - log_likelihood(Model.BG_NBD, cells, *published)
    assert 0.0 < below < 2e-9
    assert round(log_likelihood(Model.BG_NBD, cells, *published), 3) == -9582.429


def test_mbg_nbd_fit_reproduces_the_published_parameters():
    fit = fit_purchase(calibration()[0], model=Model.MBG_NBD)
    assert (round(fit.r, 3), round(fit.alpha, 3)) == (0.525, 6.183)
    assert (round(fit.a, 3), round(fit.b, 3)) == (0.891, 1.614)
    assert round(fit.log_likelihood, 3) == -9582.136


def test_bg_nbd_conditional_expectation_of_the_first_customer():
    # The paper's worked example, with its parameters rounded to three digits: t_x = 30.43, T = 38.86 weeks.
    fit = with_parameters(Model.BG_NBD, 0.243, 4.414, 0.793, 2.426)
    first = PurchaseHistory(np.array([2]), np.array([213]), np.array([272]))
    assert round(float(expected_purchases(fit, first, (273,))[0, 0]), 3) == 1.226


def test_bg_nbd_count_probabilities():
    # Computed by their publishers from the paper's rounded parameters, not from the seven-digit fit.
    fit = with_parameters(Model.BG_NBD, 0.243, 4.414, 0.793, 2.426)
    assert round(count_probability(fit, 0, 39 * 7), 7) == 0.5737864
    assert count_probability(fit, 10, 2 * 7) == pytest.approx(1.07869e-07, abs=5e-13)


@pytest.mark.parametrize(
    ("x", "t", "published"),
    [(0.0, 0.0, -0.59947382), (200.0, 38.0, 100.7957)],
    ids=["never again", "two hundred"],
)
def test_bg_nbd_likelihood_of_hard_rows(x: float, t: float, published: float):
    value = log_likelihood(Model.BG_NBD, one_cell(x, t, 40.0), 0.25, 4.0, 0.8, 2.5)
    digits = 8 if x == 0 else 4
    assert round(value, digits) == published


def test_pareto_nbd_fit_reproduces_the_published_parameters():
    fit = fit_pareto(calibration()[0])
    assert fit.status is FitStatus.CONVERGED
    assert (round(fit.r, 3), round(fit.s, 3)) == (0.553, 0.606)
    assert (round(fit.alpha, 3), round(fit.beta, 3)) == (10.578, 11.669)
    assert round(fit.log_likelihood, 3) == -9594.976


def test_pareto_nbd_survival_and_expectation_of_the_worked_customer():
    # The published example's own fit, x = 26 purchases, the last after 30.86 of 31 weeks.
    fit = dataclasses.replace(fit_pareto(calibration()[0]), r=0.5534, alpha=10.5802, s=0.6061, beta=11.6562)
    worked = PurchaseHistory(np.array([26]), np.array([216]), np.array([217]))
    assert round(float(pareto_alive(fit, worked)[0]), 4) == 0.9979
    assert round(float(pareto_expected(fit, worked, (364,))[0, 0]), 1) == 25.5
    assert round(pareto_expected_of_new(fit, 364), 3) == 1.473


@pytest.mark.parametrize("model", Model)
def test_standard_errors_are_the_observed_informations(model: Model):
    # Second differences of the log-likelihood in the logarithms, inverted; by the delta method × the parameter.
    fit, cells = fit_purchase(calibration()[0], model=model), pack_cells(calibration()[0], TimeUnit.WEEK)
    at, step = np.log([fit.r, fit.alpha, fit.a, fit.b]), 1e-3 * np.eye(4)

    def value(theta: np.ndarray) -> float:
        return log_likelihood(model, cells, *np.exp(theta))

    information = np.array(
        [
            [
                -(value(at + i + j) - value(at + i - j) - value(at - i + j) + value(at - i - j)) / (4 * 1e-6)
                for j in step
            ]
            for i in step
        ]
    )
    errors = np.exp(at) * np.sqrt(np.diag(np.linalg.inv(information)))
    assert fit.standard_errors == pytest.approx(errors, rel=1e-3)


def test_pareto_nbd_likelihood_agrees_with_the_closed_form():
    # The published closed form with Gauss' hypergeometric function, for α ≥ β and x purchases until t of T.
    r, alpha, s, beta = 0.6, 11.0, 0.7, 9.0
    for x, t, horizon in ((0.0, 0.0, 38.9), (2.0, 30.4, 38.9), (25.0, 37.0, 39.0), (3.0, 39.0, 39.0)):
        power = r + s + x

        def tail(at: float, power: float = power) -> float:
            return float(hyp2f1(power, s + 1, power + 1, (alpha - beta) / (alpha + at)) / (alpha + at) ** power)

        inner = (alpha + horizon) ** -(r + x) * (beta + horizon) ** -s
        inner += s / power * (tail(t) - tail(horizon))
        closed = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + np.log(inner)
        ours = pareto_log_likelihood(one_cell(x, t, horizon), TimeUnit.WEEK, r, alpha, s, beta)
        assert ours == pytest.approx(closed, abs=1e-9)
