"""Lifetime value at the door: whole minor units, every method, every kind of history, inputs echoed."""

import numpy as np
import pytest

from backend.domain.arrays import Basis
from backend.domain.calibration import calibrate_history
from backend.domain.clv import ClvColumns, ClvParameters, clv
from backend.domain.history import QUARTER_DAYS, HistoryColumns
from backend.domain.value import Method
from backend.errors import Code, Refused
from tests.domain.worlds import TODAY, history

pytestmark = pytest.mark.requirement("R50")


def valued(found: HistoryColumns, **asked) -> ClvColumns:
    calibration = calibrate_history(found, as_of_day=TODAY, version="t")
    return clv(found, calibration=calibration, as_of_day=TODAY, asked=ClvParameters(**asked))


def quarterly(customer: int, *amounts: int) -> list[tuple[int, int, int]]:
    """One order a quarter, the newest first."""
    return [(customer, TODAY - 5 - QUARTER_DAYS * age, amount) for age, amount in enumerate(amounts)]


@pytest.mark.parametrize("method", Method)
def test_every_method_gives_whole_money_and_echoes_what_was_asked(method: Method):
    found = valued(history([*quarterly(0, 130, 150, 120, 100), (1, TODAY - 300, 70)], 3), method=method)
    assert found.asked.method is method
    assert found.past_minor.values.dtype == found.future_minor.values.dtype == np.int64
    assert found.past_minor.values[2] == found.future_minor.values[2] == 0, "a prospect has no past"
    assert found.basis.tolist() == [Basis.REVENUE, Basis.REVENUE, Basis.PROSPECT]
    assert bool(found.future_minor.values[0] > 0) == (method is not Method.BASIC)
    assert found.churn_bp.tolist()[2] is None


def test_the_past_is_all_that_came_in_however_old():
    rows = [(0, TODAY - 3_000, 500), *quarterly(0, 100)]
    assert valued(history(rows, 1)).past_minor.tolist() == [600]
    compounded = valued(history(rows, 1), compound_past_yearly=0.1).past_minor.tolist()[0]
    assert compounded is not None
    assert compounded > 600


def test_quarters_before_the_first_order_are_no_zeros():
    young = valued(history(quarterly(0, 100, 100, 100), 1), method=Method.REGRESSION)
    old = valued(history(quarterly(0, *[100] * 12), 1), method=Method.REGRESSION)
    assert young.future_minor.tolist()[0] == pytest.approx(old.future_minor.tolist()[0], rel=0.5)
    falling = valued(history(quarterly(0, 0, 0, 300, 300), 1), method=Method.REGRESSION)
    assert falling.future_minor.values[0] < young.future_minor.values[0]


def test_money_scales_with_the_minor_unit():
    rows = [*quarterly(0, 1_000, 2_000, 1_500), *quarterly(1, 400)]
    cents = valued(history(rows, 2))
    fine = valued(history([(c, d, m * 1_000) for c, d, m in rows], 2))
    assert fine.past_minor.values.tolist() == (1_000 * cents.past_minor.values).tolist()
    assert fine.future_minor.values == pytest.approx(1_000 * cents.future_minor.values, abs=1_000)


def test_returns_above_orders_stay_a_loss_and_nobody_is_an_empty_answer():
    rows = [(0, TODAY - 5, 500), (0, TODAY - 5, -800)]
    assert valued(history(rows, 1, returns=[1])).past_minor.tolist() == [-300]
    assert valued(history([], 0)).past_minor.tolist() == []


def test_an_impossible_rate_is_refused():
    for rate in (float("nan"), -1.0):
        with pytest.raises(Refused) as refused:
            valued(history(quarterly(0, 5), 1), discount_yearly=rate)
        assert refused.value.problems[0].code is Code.OUT_OF_RANGE
