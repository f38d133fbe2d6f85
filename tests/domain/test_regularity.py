"""CNBD-k is taken only where tomorrow says so: chosen for regular re-orderers, left alone for everybody else."""

import dataclasses

import numpy as np
import pytest

from backend.domain.calibration import accept_refit, calibrate, rolling_cuts
from backend.domain.frozen import Fitted, fitted_of
from backend.domain.history import purchase_days
from backend.domain.purchase import Model, TimeUnit, alive_probability
from backend.domain.regularity import (
    GAPS_ENOUGH_N,
    RegularityStatus,
    Trial,
    choose_regularity,
    evenness,
)
from tests.domain.buyers import drawn_orders
from tests.domain.worlds import TODAY, order_columns
from tests.papers.cdnow import orders

pytestmark = pytest.mark.requirement("R50")
REGULARS = 1_500


@pytest.mark.parametrize(("k", "low", "high"), [(1, 0.85, 1.2), (3, 2.5, 3.5)])
def test_evenness_of_gaps_finds_the_beats_per_purchase(k: int, low: float, high: float):
    estimate, judged_n = evenness(*purchase_days(drawn_orders(4_000, k=k)))
    assert judged_n > 1_000
    assert estimate is not None
    assert low < estimate < high


def test_regular_reorderers_get_their_clock_and_the_fit_says_why():
    found = calibrate(drawn_orders(REGULARS, k=3), customers_n=REGULARS, as_of_day=TODAY, version="v")
    assert found.regularity.status is RegularityStatus.CHOSEN
    assert found.regularity.k == found.purchase.regularity >= 2
    best = next(trial for trial in found.regularity.trials if trial.k == found.regularity.k)
    assert best.gain > 2 * best.gain_error > 0
    assert best.count_error < best.count_error_memoryless
    assert found.level_measured


def test_other_models_and_the_memoryless_keep_one_beat():
    irregular = calibrate(drawn_orders(REGULARS, k=1), customers_n=REGULARS, as_of_day=TODAY, version="v")
    assert (irregular.regularity.status, irregular.purchase.regularity) == (RegularityStatus.IRREGULAR, 1)
    bg = calibrate(drawn_orders(REGULARS, k=3), customers_n=REGULARS, as_of_day=TODAY, version="v", model=Model.BG_NBD)
    assert (bg.purchase.model, bg.purchase.regularity) == (Model.BG_NBD, 1)


def test_music_buyers_are_no_regular_reorderers():
    customer, day, cents = orders()
    estimate, judged_n = evenness(*purchase_days(order_columns(list(zip(customer, day, cents, strict=True)))))
    assert judged_n > GAPS_ENOUGH_N
    assert estimate is not None
    assert estimate < 1.5


def test_a_clock_that_loses_the_hold_out_is_not_taken_however_even_the_gaps():
    memoryless = list(rolling_cuts(drawn_orders(REGULARS, k=1), customers_n=REGULARS, as_of_day=TODAY))
    found = choose_regularity(3.0, memoryless, TimeUnit.WEEK)
    assert (found.k, found.status) == (1, RegularityStatus.NOT_BETTER)
    assert [trial.wins for trial in found.trials] == [False]
    assert choose_regularity(2.5, memoryless, TimeUnit.WEEK).trials[1].k == 3, "both neighbours are tried"


def test_likelier_but_worse_at_counting_does_not_win_nor_does_what_chance_explains():
    won = Trial(2, 0.02, 0.005, 0.5, 0.6)
    assert won.wins
    assert not dataclasses.replace(won, count_error=0.61).wins
    assert not dataclasses.replace(won, gain_error=0.011).wins
    assert not dataclasses.replace(won, gain=-0.02).wins


def test_too_few_gaps_or_no_hold_out_judge_nothing():
    few = order_columns([(c, TODAY - 30 * n, 100) for c in range(GAPS_ENOUGH_N - 1) for n in range(4)])
    assert evenness(*purchase_days(few)) == (None, GAPS_ENOUGH_N - 1)
    assert evenness(*purchase_days(order_columns([]))) == (None, 0)
    assert choose_regularity(None, [], TimeUnit.WEEK).status is RegularityStatus.TOO_FEW
    assert choose_regularity(4.0, [], TimeUnit.WEEK).status is RegularityStatus.TOO_FEW
    equal = order_columns([(c, TODAY - 30 * n, 100) for c in range(GAPS_ENOUGH_N) for n in range(3)])
    assert evenness(*purchase_days(equal))[0] == 8.0, "equal gaps are the steadiest clock there is, not a division by 0"


def test_a_run_keeps_what_was_tried_and_finds_it_again():
    fitted = Fitted(
        calibrate(drawn_orders(REGULARS, k=3), customers_n=REGULARS, as_of_day=TODAY, version="v"), TODAY, REGULARS
    )
    document = fitted.document()
    assert document["regularity"]["status"] == "CHOSEN"
    assert document["regularity"]["trials"][0].keys() == {
        "k", "gain", "gainError", "countError", "countErrorMemoryless",
    }  # fmt: skip
    assert fitted_of(document) == fitted
    older = {**document, "purchase": {**document["purchase"]}}
    del older["regularity"], older["purchase"]["regularity"]
    before = fitted_of(older).calibration
    assert (before.purchase.regularity, before.regularity.status) == (1, RegularityStatus.TOO_FEW)
    assert accept_refit(before.purchase, fitted.calibration.purchase), "another clock is a new beginning"


def test_the_refit_is_judged_with_its_own_clock():
    fit = calibrate(drawn_orders(REGULARS, k=3), customers_n=REGULARS, as_of_day=TODAY, version="v").purchase
    worse = dataclasses.replace(fit, log_likelihood=fit.log_likelihood - 1.0)
    assert accept_refit(worse, fit)
    assert not accept_refit(fit, worse)
    assert np.isfinite(alive_probability(fit, next(iter(_pasts())))).all()


def _pasts():
    cuts = rolling_cuts(drawn_orders(REGULARS, k=3), customers_n=REGULARS, as_of_day=TODAY)
    return (cut.past for cut in cuts)
