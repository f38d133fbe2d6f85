"""CNBD-k: k = 1 is MBG/NBD, derivatives are right, the truth is found again, and independent routes agree."""

import math

import numpy as np
import pytest

from backend.domain.condensed import REGULARITY_MAX, CondensedCells, condensed_curve, expected_by_beat
from backend.domain.purchase import (
    Cells,
    FitStatus,
    Model,
    PurchaseFit,
    PurchaseHistory,
    TimeUnit,
    _curve,
    _Packed,
    alive_probability,
    fit_purchase,
    log_likelihood,
    pack_cells,
)
from backend.domain.purchase_forecast import (
    count_probability,
    expected_of_new,
    expected_purchases,
    forecast_cells,
    quiet_probability,
)
from backend.errors import Code, Refused
from tests.domain.buyers import drawn_buyers
from tests.papers.cdnow import calibration

pytestmark = pytest.mark.requirement("R50")

THETA = np.log(np.array([0.5, 6.0, 0.9, 1.6]))
TRUTH = (3.0, 9.0, 0.5, 6.0)


def packed(k: int, cells: Cells) -> CondensedCells:
    return CondensedCells.of(k, cells.x, cells.t, cells.horizon, cells.weight)


def made(k: int, r: float = 3.0, alpha: float = 9.0, a: float = 0.5, b: float = 6.0) -> PurchaseFit:
    nan = (math.nan,) * 4
    return PurchaseFit(Model.MBG_NBD, TimeUnit.WEEK, r, alpha, a, b, 0.0, nan, FitStatus.CONVERGED, 1, k)


@pytest.fixture(scope="module")
def every_third_beat() -> tuple[PurchaseHistory, np.ndarray]:
    return drawn_buyers(8_000, k=3)


def test_one_beat_per_purchase_is_mbg_nbd_to_the_last_derivative():
    cells = pack_cells(calibration()[0], TimeUnit.WEEK)
    ours, known = condensed_curve(packed(1, cells), THETA), _curve(_Packed.of(Model.MBG_NBD, cells), THETA)
    for mine, theirs in zip(ours, known, strict=True):
        assert np.asarray(mine) == pytest.approx(np.asarray(theirs), rel=1e-11, abs=1e-8)


@pytest.mark.parametrize("k", [2, 3, REGULARITY_MAX])
def test_gradient_and_hessian_are_those_of_the_value(k: int):
    cells = packed(k, pack_cells(calibration()[0], TimeUnit.WEEK, 500))
    _, gradient, hessian = condensed_curve(cells, THETA)
    for place in range(4):
        step = 1e-5 * np.eye(4)[place]
        up, down = condensed_curve(cells, THETA + step), condensed_curve(cells, THETA - step)
        assert gradient[place] == pytest.approx((up[0] - down[0]) / 2e-5, rel=1e-5, abs=1e-4)
        assert hessian[place] == pytest.approx((up[1] - down[1]) / 2e-5, rel=1e-5, abs=1e-3)


def test_the_truth_is_found_within_three_standard_errors(every_third_beat: tuple[PurchaseHistory, np.ndarray]):
    fit = fit_purchase(every_third_beat[0], regularity=3)
    assert (fit.status, fit.regularity) == (FitStatus.CONVERGED, 3)
    for found, true, error in zip((fit.r, fit.alpha, fit.a, fit.b), TRUTH, fit.standard_errors, strict=True):
        assert abs(found - true) < 3 * error
        assert error < 0.25 * true


def test_the_future_of_regular_buyers_is_told_better_than_by_mbg(
    every_third_beat: tuple[PurchaseHistory, np.ndarray],
):
    past, bought = every_third_beat
    expected = {k: expected_purchases(fit_purchase(past, regularity=k), past, (182,))[:, 0] for k in (1, 3)}
    errors = {k: np.abs(found - bought).mean() for k, found in expected.items()}
    assert errors[3] < 0.9 * errors[1]
    assert expected[3].sum() == pytest.approx(bought.sum(), rel=0.03)
    fit = fit_purchase(past, regularity=3)
    quiet = quiet_probability(fit, past, 182)
    for low in np.arange(0.0, 1.0, 0.25):
        rows = (quiet >= low) & (quiet < low + 0.25)
        assert (bought[rows] == 0).mean() == pytest.approx(quiet[rows].mean(), abs=0.05)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_counts_expectation_and_silence_of_a_new_customer_agree(k: int):
    fit = made(k)
    chances = [count_probability(fit, n, 364) for n in range(220)]
    assert sum(chances) == pytest.approx(1.0, abs=1e-9)
    assert sum(n * chance for n, chance in enumerate(chances)) == pytest.approx(expected_of_new(fit, 364), rel=1e-8)
    new = PurchaseHistory(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    assert quiet_probability(fit, new, 364)[0] == pytest.approx(chances[0], rel=1e-10)
    assert expected_purchases(fit, new, (364,))[0, 0] == pytest.approx(expected_of_new(fit, 364), rel=1e-10)


@pytest.mark.parametrize("model", Model)
def test_silence_agrees_with_the_likelihood_of_a_longer_history(model: Model):
    fit = made(1)
    fit = PurchaseFit(model, *(getattr(fit, name) for name in PurchaseFit.__slots__[1:]))
    past = PurchaseHistory(np.array([0, 1, 7]), np.array([0, 30, 140]), np.array([50, 90, 140]))
    expected = []
    for x, t, observed in zip(past.repeats_n, past.last_repeat_days, past.observed_days, strict=True):
        both = [
            log_likelihood(
                model, Cells(*(np.array([v]) for v in (x * 1.0, t / 7, end / 7, 1.0))), fit.r, fit.alpha, fit.a, fit.b
            )
            for end in (observed, observed + 91)
        ]
        expected.append(math.exp(both[1] - both[0]))
    assert quiet_probability(fit, past, 91) == pytest.approx(expected, rel=1e-9)


def test_silence_beyond_its_own_rhythm_tells_more_of_a_regular_buyer():
    steady = PurchaseHistory(np.full(3, 10), np.full(3, 350), np.array([355, 400, 500]))
    regular, irregular = alive_probability(made(4, alpha=3.0), steady), alive_probability(made(1, alpha=12.0), steady)
    assert (np.diff(regular) < 0).all()
    assert regular[0] > 0.9
    assert regular[2] < irregular[2]


def test_cells_hand_out_what_is_computed_once_and_long_horizons_rise():
    past = PurchaseHistory(np.array([2, 2, 40]), np.array([60, 60, 300]), np.array([90, 90, 300]))
    cells = forecast_cells(made(3), past, (0, 91, 1820))
    assert cells.per_cell.shape == (2, 3)
    assert cells.index[0] == cells.index[1]
    found = expected_purchases(made(3), past, (0, 91, 1820))
    assert found[:, 0].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert (np.diff(found, axis=1) > 0).all()
    assert forecast_cells(made(3), PurchaseHistory(*(np.zeros(0, np.int64),) * 3), (91,)).per_cell.shape == (0, 1)


def test_beats_of_a_poisson_clock_agree_with_the_closed_form():
    cells = forecast_cells(made(1), PurchaseHistory(np.array([4]), np.array([70]), np.array([90])), (182,))
    one = np.ones(1)
    counted = expected_by_beat(1, 7.0 * one, (9.0 + 90 / 7) * one, 0.5, 11.0 * one, np.array([26.0]))
    assert counted[0, 0, 0] == pytest.approx(cells.per_cell[0, 0], rel=1e-9)


@pytest.mark.parametrize(("model", "k"), [(Model.BG_NBD, 2), (Model.MBG_NBD, 0), (Model.MBG_NBD, REGULARITY_MAX + 1)])
def test_a_k_the_model_does_not_have_is_refused(model: Model, k: int):
    with pytest.raises(Refused) as refused:
        fit_purchase(calibration()[0], model=model, regularity=k)
    assert refused.value.problems[0].code is Code.NOT_ALLOWED_VALUE
