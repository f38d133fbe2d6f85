"""The models kept for comparison, Pareto/NBD and NBD: right where they are used, flagged where data are poor."""

import dataclasses

import numpy as np
import pytest
from scipy import optimize, stats

from backend.domain.nbd import fit_nbd, nbd_count_probability, nbd_expected
from backend.domain.pareto import (
    ParetoFit,
    fit_pareto,
    pareto_alive,
    pareto_expected,
    pareto_expected_of_new,
    pareto_log_likelihood,
)
from backend.domain.purchase import Cells, FitStatus, Model, PurchaseHistory, TimeUnit, fit_purchase
from tests.domain.buyers import drawn_buyers
from tests.papers.cdnow import calibration

pytestmark = pytest.mark.requirement("R50")
FITS = pytest.mark.parametrize("fit", [fit_pareto, fit_nbd, fit_purchase])


def history(*rows: tuple[int, int, int]) -> PurchaseHistory:
    return PurchaseHistory(*(np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)))


def alike(x: int, t: int, observed: int, customers_n: int = 500) -> PurchaseHistory:
    return PurchaseHistory(*(np.full(customers_n, value, dtype=np.int64) for value in (x, t, observed)))


def pareto(r: float = 0.55, alpha: float = 10.6, s: float = 0.61, beta: float = 11.7) -> ParetoFit:
    return ParetoFit(TimeUnit.WEEK, r, alpha, s, beta, 0.0, (np.nan,) * 4, FitStatus.CONVERGED, 1)


def test_nbd_fit_is_the_maximum_another_optimiser_finds():
    past, _ = calibration()
    fit = fit_nbd(past)
    x, weeks = past.repeats_n, past.observed_days / 7.0

    def minus(theta: np.ndarray) -> float:
        r, alpha = np.exp(theta)
        return -float(stats.nbinom.logpmf(x, r, alpha / (alpha + weeks)).sum())

    other = optimize.minimize(minus, np.log([1.0, 10.0]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
    assert fit.status is FitStatus.CONVERGED
    assert (fit.r, fit.alpha) == pytest.approx(np.exp(other.x), rel=1e-5)
    # counts and timing differ by what no parameter touches: x! / T^x ways to place x purchases
    placed = float((stats.poisson.logpmf(x, weeks) + weeks).sum())
    assert fit.log_likelihood == pytest.approx(-other.fun - placed, abs=1e-4)
    assert fit.log_likelihood < fit_purchase(past, model=Model.BG_NBD).log_likelihood - 100, "customers do leave"


def test_nbd_counts_and_expectation():
    fit = fit_nbd(calibration()[0])
    chances = [nbd_count_probability(fit, n, 273) for n in range(400)]
    known = stats.nbinom.pmf(np.arange(400), fit.r, fit.alpha / (fit.alpha + 39.0))
    assert chances == pytest.approx(known, rel=1e-9)
    assert sum(n * chance for n, chance in enumerate(chances)) == pytest.approx(fit.r / fit.alpha * 39.0, rel=1e-9)
    assert [nbd_count_probability(fit, n, 0) for n in (0, 1)] == [1.0, 0.0]
    ahead = nbd_expected(fit, history((0, 0, 700), (5, 600, 700)), (0, 91, 182))
    assert ahead[:, 0].tolist() == [0.0, 0.0]
    assert ahead[:, 2] == pytest.approx(2 * ahead[:, 1])
    assert ahead[1, 1] == pytest.approx((fit.r + 5) / (fit.alpha + 100) * 13)


def test_pareto_survival_is_the_likelihoods_own_share():
    # P(alive) = what "still active at T" adds to the likelihood, over the likelihood
    fit, rows = pareto(), history((0, 0, 200), (3, 150, 200), (30, 190, 200))
    for row in range(3):
        x, t, end = rows.repeats_n[row], rows.last_repeat_days[row] / 7, rows.observed_days[row] / 7
        whole = pareto_log_likelihood(
            Cells(*(np.array([float(v)]) for v in (x, t, end, 1.0))), fit.unit, fit.r, fit.alpha, fit.s, fit.beta
        )
        active = sum(np.log(fit.r + k) for k in range(x)) + fit.r * np.log(fit.alpha / (fit.alpha + end))
        active += -x * np.log(fit.alpha + end) + fit.s * np.log(fit.beta / (fit.beta + end))
        assert pareto_alive(fit, rows)[row] == pytest.approx(np.exp(active - whole), rel=1e-9)


def test_pareto_expectation_has_no_singularity_at_s_one_and_rises():
    near, at = (pareto_expected_of_new(pareto(s=s), 364) for s in (1.0 + 1e-9, 1.0))
    assert near == pytest.approx(at, rel=1e-7)
    found = pareto_expected(pareto(), history((0, 0, 200), (3, 150, 200)), (0, 91, 182))
    assert found[:, 0].tolist() == [0.0, 0.0]
    assert (np.diff(found, axis=1) > 0).all()
    assert pareto_expected(pareto(), history((1, 1, 2)), ()).shape == (1, 0)


@FITS
def test_little_history_uses_shipped_parameters_and_says_so(fit):
    none = PurchaseHistory(*(np.zeros(0, np.int64),) * 3)
    for poor in (none, history((4, 40, 90)), alike(0, 0, 300), alike(3, 50, 90, 199)):
        found = fit(poor)
        assert found.status is FitStatus.SHIPPED_PRIOR
        assert np.isnan(found.standard_errors).all()
        assert np.isfinite(found.log_likelihood)
        assert found.customers_n == poor.repeats_n.size


@FITS
@pytest.mark.parametrize("row", [(3, 140, 210), (1, 1, 700), (8, 200, 200), (1, 3_650, 3_650), (2, 10, 3_660)])
def test_everybody_alike_stays_finite_and_is_flagged_or_found(fit, row: tuple[int, int, int]):
    found = fit(alike(*row))
    assert found.status in (FitStatus.REGULARISED, FitStatus.CONVERGED)
    values = [getattr(found, name) for name in ("r", "alpha", "a", "b", "s", "beta") if hasattr(found, name)]
    assert all(1e-4 < value < 1e6 for value in values)


@FITS
def test_standard_errors_come_from_the_observed_information(fit):
    # halved data, errors larger by the square root of two; and none below nothing
    past, _ = drawn_buyers(6_000, k=1, a=0.8, b=4.0)
    half = PurchaseHistory(past.repeats_n[::2], past.last_repeat_days[::2], past.observed_days[::2])
    whole, part = np.array(fit(past).standard_errors), np.array(fit(half).standard_errors)
    assert (whole > 0).all()
    assert part / whole == pytest.approx(np.full(whole.size, np.sqrt(2.0)), rel=0.25)


def test_another_unit_of_time_is_the_same_model():
    past = calibration()[0]
    for fit, names in ((fit_pareto, ("r", "s")), (fit_nbd, ("r",))):
        weeks, days = (fit(past, unit=unit) for unit in (TimeUnit.WEEK, TimeUnit.DAY))
        assert days.alpha == pytest.approx(7 * weeks.alpha, rel=1e-4)
        assert [getattr(days, name) for name in names] == pytest.approx(
            [getattr(weeks, name) for name in names], rel=1e-4
        )


@FITS
@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PurchaseHistory)])
@pytest.mark.parametrize("wrong", [-1, 1 << 21])
def test_counts_and_days_that_cannot_be_are_refused(fit, field: str, wrong: int):
    good = alike(3, 140, 210)
    column = getattr(good, field).copy()
    column[7] = wrong
    with pytest.raises(Exception, match="OUT_OF_RANGE"):
        fit(dataclasses.replace(good, **{field: column}))
    with pytest.raises(Exception, match="INVALID_VALUE"):
        fit(dataclasses.replace(good, **{field: column[:5]}))
