"""Whole columns convert to the same integers as one amount at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.exchange import convert_columns
from backend.domain.money import Rate, convert
from backend.domain.times import day_number
from backend.errors import Code, Refused

DAYS = ("2025-12-31", "2026-01-01", "2026-06-30", "2026-07-01")
PAIRS = [("USD", "KRW"), ("KRW", "USD"), ("USD", "CNY"), ("KRW", "KWD"), ("KWD", "KRW"), ("USD", "KWD")]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(PAIRS),
    st.lists(st.tuples(st.integers(-(10**10), 10**10), st.sampled_from(DAYS)), min_size=1, max_size=20),
    st.tuples(st.integers(1, 10**11), st.integers(1, 10**11)),
)
def test_a_column_converts_as_each_amount_does(pair, rows, rates):
    to, currency = pair
    in_force = [Rate(currency, "2026-01-01", rates[0]), Rate(currency, "2026-07-01", rates[1])]
    found = convert_columns(
        np.array([amount for amount, _ in rows]),
        np.array([currency] * len(rows)),
        np.array([day_number(day) for _, day in rows]),
        to=to,
        rates=in_force[::-1],
    )
    for (amount, day), converted, known in zip(rows, found.amount_minor.tolist(), found.known.tolist(), strict=True):
        assert known == (day >= "2026-01-01")
        rate = rates[day >= "2026-07-01"]
        assert converted == (convert(amount, currency, to, rate) if known else 0)


def test_an_exact_half_goes_to_the_even_unit_on_either_side_of_zero():
    amounts = np.array([1, 3, 5, -1, -3, -5])
    currencies, days = np.array(["USD"] * 6), np.zeros(6, dtype=np.int64)
    found = convert_columns(amounts, currencies, days, to="CNY", rates=[Rate("USD", "1970-01-01", 500_000_000)])
    assert found.amount_minor.tolist() == [0, 2, 2, 0, -2, -2]


def test_amounts_of_the_wanted_currency_need_no_rate_and_an_unknown_currency_is_not_known():
    currencies = np.array(["USD", "KRW", "CNY"])
    found = convert_columns(np.array([5, 6, 7]), currencies, np.zeros(3, dtype=np.int64), to="USD", rates=[])
    assert found.known.tolist() == [True, False, False]
    assert found.amount_minor.tolist() == [5, 0, 0]


def test_nothing_converts_to_nothing():
    none = np.zeros(0, dtype=np.int64)
    assert convert_columns(none, np.zeros(0, dtype=np.str_), none, to="USD", rates=[]).known.size == 0


def test_a_result_no_client_could_hold_is_refused():
    with pytest.raises(Refused) as refused:
        convert_columns(
            np.array([2**50]), np.array(["USD"]), np.array([1]), to="KRW", rates=[Rate("USD", "1970-01-01", 10**15)]
        )
    assert refused.value.problems[0].code is Code.OUT_OF_RANGE
