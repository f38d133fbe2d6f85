"""Other cuts beside the sixteen segments: each by hand, and how far they agree."""

import numpy as np
import pytest

from backend.domain.segment_models import (
    Cell,
    SegmentModel,
    agreement,
    cells_by_model,
    compare_models,
    fifths,
    rfm_codes,
)
from tests.domain.worlds import TODAY, history

pytestmark = pytest.mark.requirement("R52")


def test_fifths_hold_a_fifth_each_and_equals_together() -> None:
    assert fifths(np.arange(10.0)).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert fifths(np.array([3.0, 3.0, 3.0])).tolist() == [1, 1, 1]
    assert fifths(np.zeros(0)).tolist() == []


def test_rfm_is_recency_frequency_and_money_of_a_year() -> None:
    orders = [(0, TODAY - 300, 10), (1, TODAY - 1, 10), (1, TODAY - 100, 990), (2, TODAY - 50, 500)]
    codes = rfm_codes(history(orders, 3), TODAY)
    # the best of three stands above two thirds: the fourth fifth
    assert codes == ["111", "444", "212"]


def test_the_cells_of_each_model_come_from_letters_and_trend() -> None:
    growing = [(0, TODAY - 91 * quarter - 5, 100 * (12 - quarter) ** 2) for quarter in range(12)]
    shrinking = [(1, TODAY - 91 * quarter - 5, 100 * (1 + quarter) ** 2) for quarter in range(12)]
    past = history(growing + shrinking, 2)
    cells = cells_by_model(["HLHL", "LHLH"], past, TODAY)
    assert cells[SegmentModel.VALUE_POTENTIAL] == ["HL", "LH"]
    assert cells[SegmentModel.VALUE_GROWTH_LOYALTY] == ["HHH", "LLL"]
    found = {one.model: one for one in compare_models(cells, np.array([900, 100]), np.array([7, 5]))}
    sixteen = found[SegmentModel.SIXTEEN]
    assert sixteen.cells == (Cell("HLHL", 1, 900, 7), Cell("LHLH", 1, 100, 5))
    assert sixteen.agreement == pytest.approx(1.0)


def test_agreement_is_whole_for_the_same_cut_and_none_for_an_unrelated_one() -> None:
    left = ["a", "a", "b", "b"]
    assert agreement(left, ["x", "x", "y", "y"]) == pytest.approx(1.0)
    assert agreement(left, ["x", "y", "x", "y"]) == pytest.approx(0.0, abs=1e-12)
    assert agreement(left, ["x"] * 4) == 0.0
    assert agreement(["a"] * 3, ["x"] * 3) == 1.0
    assert agreement([], []) is None
    # a finer cut says all of a coarser one, not the other way round: √(ln2·ln2)/ln4
    assert agreement(left, ["p", "q", "r", "s"]) == pytest.approx(np.log(2) / np.sqrt(np.log(2) * np.log(4)))
