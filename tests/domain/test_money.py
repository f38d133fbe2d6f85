"""Money: integers of one currency, rounded once per line."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.money import (
    Money,
    convert,
    currencies,
    divide_half_even,
    exponent,
    line_total_minor,
    parse_decimal,
    sum_money,
)
from backend.errors import Code, Refused


def code_of(refused: pytest.ExceptionInfo[Refused]) -> tuple[Code, str]:
    problem = refused.value.problems[0]
    return problem.code, ".".join(problem.path)


def test_decimal_places_follow_iso_4217_and_not_habit() -> None:
    assert {c: exponent(c) for c in ("KRW", "JPY", "USD", "CNY", "KWD", "IQD", "RSD")} == {
        "KRW": 0,
        "JPY": 0,
        "USD": 2,
        "CNY": 2,
        "KWD": 3,
        "IQD": 3,
        "RSD": 2,
    }
    for unknown in ("XXX", "usd ", "DEM", "EURO"):
        with pytest.raises(Refused) as refused:
            exponent(unknown)
        assert code_of(refused)[0] is Code.NOT_ALLOWED_VALUE


def test_a_line_is_rounded_once_half_to_even() -> None:
    assert line_total_minor(1999, 3, 0) == 5997
    assert line_total_minor(25, 1, 5000) == 12
    assert line_total_minor(35, 1, 5000) == 18
    assert line_total_minor(25, 3, 5000) == 38
    assert line_total_minor(100, 7, 10_000) == 0
    with pytest.raises(Refused) as refused:
        line_total_minor(100, 1, 10_001)
    assert code_of(refused) == (Code.OUT_OF_RANGE, "discountBp")
    with pytest.raises(Refused):
        line_total_minor(2**52, 3, 0)


@given(st.integers(-(10**18), 10**18), st.integers(1, 10**12))
def test_half_even_division_agrees_with_exact_fractions(numerator: int, denominator: int) -> None:
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


def test_a_territory_total_goes_beyond_31_bits() -> None:
    orders = [Money(900_000_000, "USD")] * 13
    assert sum_money(orders) == Money(11_700_000_000, "USD")
    assert sum_money(orders).amount_minor > 2**31


def test_amounts_stay_below_two_to_the_53() -> None:
    assert Money(2**53 - 1, "KRW").amount_minor == 9_007_199_254_740_991
    for amount in (2**53, -(2**53)):
        with pytest.raises(Refused) as refused:
            Money(amount, "KRW")
        assert code_of(refused) == (Code.OUT_OF_RANGE, "amountMinor")
    with pytest.raises(Refused):
        sum_money([Money(2**53 - 1, "KRW"), Money(1, "KRW")])


def test_currencies_never_meet_in_one_sum() -> None:
    with pytest.raises(Refused) as refused:
        sum_money([Money(1, "USD"), Money(1, "KRW"), Money(1, "USD"), Money(1, "CNY")])
    assert [(p.code, p.path, p.allowed) for p in refused.value.problems] == [
        (Code.CURRENCY_MIXED, ("1", "currency"), ("USD",)),
        (Code.CURRENCY_MIXED, ("3", "currency"), ("USD",)),
    ]
    with pytest.raises(Refused):
        sum_money([Money(1, "USD")], "KRW")
    assert sum_money([], "KRW") == Money(0, "KRW")
    with pytest.raises(Refused) as empty:
        sum_money([])
    assert code_of(empty) == (Code.REQUIRED, "currency")


def test_conversion_minds_the_decimal_places_of_both_sides() -> None:
    assert convert(100_00, "USD", "KRW", 1_385_500_000_000) == 138_550
    assert convert(138_550, "KRW", "USD", 721_761) == 100_00
    assert convert(1_000, "KWD", "USD", 3_250_000_000) == 325
    assert convert(5, "USD", "CNY", 500_000_000) == 2
    assert convert(7, "USD", "CNY", 500_000_000) == 4
    with pytest.raises(Refused):
        convert(1, "USD", "CNY", 0)


@given(st.integers(-(10**12), 10**12), st.sampled_from(["KRW", "USD", "KWD"]))
def test_converting_at_par_changes_nothing(amount: int, currency: str) -> None:
    assert convert(amount, currency, currency, 1_000_000_000) == amount


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("29.33", "USD", 2933),
        ("29.3", "USD", 2930),
        ("-0.05", "USD", -5),
        (" 7 ", "USD", 700),
        ("1500", "KRW", 1500),
        ("1500.00", "KRW", 1500),
        ("1.2345000", "KWD", None),
        ("0.001", "KWD", 1),
        ("1,234.50", "USD", None),
        ("1e3", "USD", None),
        ("", "USD", None),
        (".5", "USD", None),
        ("29.335", "USD", None),
        ("15.5", "KRW", None),
        ("９", "USD", None),
        ("NaN", "USD", None),
        ("90071992547409.92", "USD", None),
        ("9" * 39, "USD", None),
    ],
)
def test_plain_decimals_become_minor_units_and_nothing_else_does(text: str, currency: str, minor: int | None) -> None:
    if minor is not None:
        assert parse_decimal(text, currency) == minor
        return
    with pytest.raises(Refused) as refused:
        parse_decimal(text, currency)
    assert code_of(refused)[0] in {Code.INVALID_VALUE, Code.OUT_OF_RANGE}


@given(st.integers(-(2**53) + 1, 2**53 - 1), st.sampled_from(sorted(currencies())))
@settings(max_examples=150)
def test_every_amount_is_read_from_its_decimal_text(amount: int, currency: str) -> None:
    text = format(Decimal(amount).scaleb(-exponent(currency)), "f")
    assert parse_decimal(text, currency) == amount
