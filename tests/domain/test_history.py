"""Orders become statistics: what counts as a purchase, what is refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.arrays import MONEY_MINOR_MAX
from backend.domain.history import history_of
from backend.errors import Code, Refused
from tests.domain.worlds import TODAY, history, order_columns

pytestmark = pytest.mark.requirement("R50")

rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(TODAY - 1500, TODAY), st.integers(-5_000, 50_000)), max_size=30
)


def test_same_day_orders_merge_into_one_purchase_and_their_money_adds_up():
    found = history([(0, TODAY - 10, 700), (0, TODAY - 10, 300), (0, TODAY - 3, 50)], 1)
    assert found.orders_n.tolist() == [2]
    assert found.revenue_minor.tolist() == [1050]
    assert (found.first_day[0], found.last_day[0]) == (TODAY - 10, TODAY - 3)


def test_zero_price_samples_are_no_purchases():
    found = history([(0, TODAY - 50, 0), (0, TODAY - 10, 700)], 2)
    assert found.orders_n.tolist() == [1, 0]
    assert found.first_day[0] == TODAY - 10


def test_a_return_is_booked_to_the_quarter_of_its_order_and_is_no_purchase():
    found = history([(0, TODAY - 100, 700), (0, TODAY - 100, -900)], 1, returns=[1], returns_recorded=True)
    assert found.orders_n.tolist() == [1]
    assert found.quarter_revenue_minor[0, :3].tolist() == [0, -200, 0]
    assert found.returns_n.tolist() == [1]
    assert history([(0, TODAY, 5)], 1).returns_n.tolist() == [-1], "nobody records returns here"


def test_quarters_end_on_the_valuation_day():
    found = history([(0, TODAY, 1), (0, TODAY - 90, 2), (0, TODAY - 91, 4), (0, TODAY - 12 * 91, 8)], 1)
    assert found.quarter_revenue_minor[0].tolist() == [3, 4, *[0] * 10]
    assert found.revenue_minor[0] == 15
    assert found.quarter_orders_n[0, :2].tolist() == [2, 1]


def test_cost_counts_as_known_only_when_every_order_has_one():
    found = history([(0, TODAY, 10), (0, TODAY - 1, 10), (1, TODAY, 10)], 3, costs=[4, None, 6])
    assert found.cost_known.tolist() == [False, True, False]


def test_bad_columns_are_refused_with_all_problems_at_once():
    with pytest.raises(Refused) as refused:
        history([(7, TODAY + 1, MONEY_MINOR_MAX + 1)], 2)
    assert [(p.code, p.path) for p in refused.value.problems] == [
        (Code.OUT_OF_RANGE, ("customer",)),
        (Code.IN_THE_FUTURE, ("day",)),
        (Code.OUT_OF_RANGE, ("net_minor",)),
    ]
    short = dataclasses.replace(order_columns([(0, TODAY, 1)]), day=np.zeros(0, dtype=np.int64))
    with pytest.raises(Refused) as refused:
        history_of(short, customers_n=1, as_of_day=TODAY)
    assert [p.code for p in refused.value.problems] == [Code.INVALID_VALUE]


@settings(max_examples=40, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_sequence_of_orders_does_not_matter(found, random):
    before = history(found, 5)
    random.shuffle(found)
    after = history(found, 5)
    for field in dataclasses.fields(before):
        assert np.array_equal(getattr(before, field.name), getattr(after, field.name)), field.name
