"""What a visit brings: assumed until enough visits were held out at random, measured afterwards."""

import numpy as np
import pytest

from backend.domain.visit_uplift import ARM_CUSTOMERS_MIN, PRIOR, HeldOutVisits, UpliftBasis, estimate_uplift
from backend.errors import Code, Refused

pytestmark = pytest.mark.requirement("R28", "R30")


def programme(
    rows_n: int, *, base: float, peak: float, seed: int = 7, holdout: float = 0.5, level: float = 1.3
) -> HeldOutVisits:
    """A world in which the truth is known: forecasts are off by `level`, visits bring `base` to `peak` of spend."""
    rng = np.random.default_rng(seed)
    spend = rng.lognormal(9.0, 0.8, rows_n)
    ratio = rng.uniform(0.2, 3.0, rows_n)
    treated = rng.random(rows_n) >= holdout
    late = 1.0 / (1.0 + np.exp(-(ratio - PRIOR.centre) / PRIOR.width))
    lift = base * (1.0 - late) + peak * late
    noise = rng.lognormal(-0.02, 0.2, rows_n)
    return HeldOutVisits(treated, spend, ratio, spend * (level + lift * treated) * noise)


def test_known_shares_are_found_whatever_the_level_of_the_forecast() -> None:
    for level in (0.7, 1.0, 1.3):
        found = estimate_uplift(programme(4_000, base=0.02, peak=0.35, level=level))
        assert found.basis is UpliftBasis.ESTIMATED
        for share, truth in ((found.base, 0.02), (found.peak, 0.35)):
            assert share.low is not None
            assert share.high is not None
            assert share.low <= truth <= share.high
            assert share.high - share.low < 0.1
        assert found.treated_n + found.control_n == 4_000


def test_intervals_hold_the_truth_nineteen_times_of_twenty() -> None:
    hits = np.zeros(2)
    for seed in range(200):
        found = estimate_uplift(programme(1_000, base=0.05, peak=0.2, seed=seed, holdout=0.4))
        for place, (share, truth) in enumerate(((found.base, 0.05), (found.peak, 0.2))):
            assert share.low is not None
            assert share.high is not None
            hits[place] += share.low <= truth <= share.high
    assert ((hits / 200 >= 0.90) & (hits / 200 <= 0.99)).all(), hits


def test_visits_that_bring_nothing_are_found_to_bring_nothing_not_less() -> None:
    found = estimate_uplift(programme(4_000, base=-0.05, peak=0.0))
    assert found.basis is UpliftBasis.ESTIMATED
    assert found.base.value == 0.0
    assert found.base.high is not None
    assert found.base.high < 0.0
    assert 0.0 <= found.peak.value < 0.05


@pytest.mark.parametrize(
    "found",
    [
        programme(0, base=0.1, peak=0.3),
        programme(ARM_CUSTOMERS_MIN, base=0.1, peak=0.3),
        programme(5_000, base=0.1, peak=0.3, holdout=0.0),
        programme(5_000, base=0.1, peak=0.3, holdout=0.01),
    ],
    ids=["nobody", "few", "no hold-out", "a small hold-out"],
)
def test_until_enough_were_held_out_the_assumptions_stay_and_say_so(found: HeldOutVisits) -> None:
    kept = estimate_uplift(found)
    assert kept.basis is UpliftBasis.PRIOR
    assert (kept.base.value, kept.peak.value) == (PRIOR.base, PRIOR.peak)
    assert (kept.base.low, kept.peak.high) == (None, None)
    assert kept.treated_n + kept.control_n == found.spend.size


def test_an_interval_too_wide_and_customers_all_alike_leave_the_assumptions() -> None:
    wide = programme(1_000, base=0.05, peak=0.2)
    noisy = wide.outcome * np.random.default_rng(1).lognormal(0.0, 2.5, wide.outcome.size)
    assert estimate_uplift(HeldOutVisits(wide.treated, wide.spend, wide.recency_ratio, noisy)).basis == "PRIOR"
    alike = np.full(1_000, 1e9)
    assert estimate_uplift(HeldOutVisits(wide.treated, wide.spend, alike, wide.outcome)).basis == "PRIOR"


def test_a_hold_out_of_few_is_too_few_however_clear_it_looks() -> None:
    found = programme(5_000, base=0.05, peak=0.2, holdout=0.03)
    clear = found.spend * (1.0 + 0.1 * found.treated)
    kept = estimate_uplift(HeldOutVisits(found.treated, found.spend, found.recency_ratio, clear))
    assert (kept.basis, kept.control_n < ARM_CUSTOMERS_MIN) == (UpliftBasis.PRIOR, True)


def test_money_that_is_no_number_is_refused() -> None:
    bad = programme(10, base=0.0, peak=0.0)
    bad.outcome[3] = np.nan
    with pytest.raises(Refused) as refused:
        estimate_uplift(bad)
    assert refused.value.problems[0].code is Code.INVALID_VALUE
