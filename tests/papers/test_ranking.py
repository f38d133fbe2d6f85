"""Does the default model say something about the future? Fitted on nine months of CDNOW, judged on the next nine.

Consumer data of a music shop, not apparel trade.
"""

import numpy as np
import pytest

from backend.domain.calibration import LEVEL_MAX, LEVEL_MIN, calibrate, purchase_history
from backend.domain.history import OrderColumns, history_of
from backend.domain.purchase import Model, alive_probability, fit_purchase
from backend.domain.purchase_forecast import expected_purchases
from backend.domain.spend import expected_spend
from tests.papers.cdnow import orders

pytestmark = pytest.mark.requirement("R50")

CUT = int(np.datetime64("1997-09-30").astype(np.int64))


def columns_until(last_day: int) -> OrderColumns:
    customer, day, cents = orders()
    kept = day <= last_day
    nothing = np.zeros(int(kept.sum()), dtype=np.bool_)
    return OrderColumns(customer[kept], day[kept], cents[kept], np.zeros(nothing.size, np.int64), nothing, nothing)


def chance_to_outrank(score: np.ndarray, happened: np.ndarray) -> float:
    """Area under the curve: how often someone who bought again stands above someone who did not; ties half."""
    yes, no = score[happened], np.sort(score[~happened])
    wins = np.searchsorted(no, yes, "left") + np.searchsorted(no, yes, "right")
    return float(wins.sum() / (2 * yes.size * no.size))


def test_counts_and_money_of_the_next_nine_months():
    customer, day, _ = orders()
    customers_n, end = int(customer.max()) + 1, int(day.max())
    before = history_of(columns_until(CUT), customers_n=customers_n, as_of_day=CUT)
    after = history_of(columns_until(end), customers_n=customers_n, as_of_day=end)
    rows = before.has_orders
    fitted = calibrate(columns_until(CUT), customers_n=customers_n, as_of_day=CUT, version="test")
    past = purchase_history(before, CUT, rows)
    expected = expected_purchases(fitted.purchase, past, (end - CUT,))[:, 0]
    bought = (after.orders_n - before.orders_n)[rows]
    assert np.abs(expected - bought).mean() <= 0.77
    assert 0.80 <= expected.sum() / bought.sum() <= 0.86, "totals run low, as known of this model"

    mean = (before.revenue_minor / np.maximum(before.orders_n, 1))[rows]
    value = expected * expected_spend(fitted.spend, mean, before.orders_n[rows])
    money = (after.revenue_minor - before.revenue_minor)[rows]
    best = np.argsort(-value, kind="stable")[: value.size // 10]
    assert money[best].sum() / money.sum() >= 0.49
    assert LEVEL_MIN <= fitted.level <= LEVEL_MAX


def test_doubting_one_time_buyers_ranks_who_buys_again_and_not_doubting_them_inverts_it():
    customer, day, _ = orders()
    customers_n, end = int(customer.max()) + 1, int(day.max())
    before = history_of(columns_until(CUT), customers_n=customers_n, as_of_day=CUT)
    after = history_of(columns_until(end), customers_n=customers_n, as_of_day=end)
    rows = before.has_orders
    past = purchase_history(before, CUT, rows)
    again = (after.orders_n - before.orders_n)[rows] > 0
    ranked = {
        model: chance_to_outrank(alive_probability(fit_purchase(past, model=model), past), again) for model in Model
    }
    assert round(ranked[Model.BG_NBD], 2) == 0.32
    assert round(ranked[Model.MBG_NBD], 2) == 0.69
