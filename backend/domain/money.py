"""Money in integer minor units of one currency: rounding, sums, dated exchange rates.

Half-even per line, then sums, so a total is always the sum of the lines a customer sees.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from babel.core import get_global

from backend.domain.fields import INTEGER_MAX
from backend.errors import Code, Problem, Refused

BASIS_POINTS = 10_000
RATE_E9 = 1_000_000_000
DISCOUNT_BP_MAX = BASIS_POINTS

_EXPONENTS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
"""ISO 4217 decimal places; every other currency has 2."""

_DECIMAL = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (|x| < 2^53) of an ISO 4217 currency."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        check_amount(self.amount_minor)
        exponent(self.currency)


@dataclass(frozen=True, slots=True)
class Rate:
    """From `valid_from` (local day) on, one unit of `currency` is `rate_e9` / 10⁹ of the base currency."""

    currency: str
    valid_from: str
    rate_e9: int


@cache
def currencies() -> frozenset[str]:
    """ISO 4217 codes that are legal tender somewhere today."""
    tender = get_global("territory_currencies").values()
    return frozenset(code for uses in tender for code, _, until, legal in uses if legal and until is None)


def parse_currency(text: str) -> str:
    """The ISO 4217 code in capitals; raises NOT_ALLOWED_VALUE."""
    code = text.upper()
    if code not in currencies():
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, allowed=("CNY", "KRW", "USD", "…")))
    return code


def odd_decimals() -> dict[str, int]:
    """Currency → decimal places, for every one that has not 2."""
    return {code: places for places, codes in _EXPONENTS.items() for code in codes.split()}


def exponent(currency: str) -> int:
    """Decimal places of a currency by ISO 4217: KRW 0, USD 2, KWD 3; raises NOT_ALLOWED_VALUE.

    CLDR's digits are not used: they follow habit (IQD 0, RSD 0), the standard says 3 and 2.
    """
    parse_currency(currency)
    return next((places for places, codes in _EXPONENTS.items() if currency in codes), 2)


def check_amount(amount_minor: int) -> int:
    """The same amount when every JSON reader keeps it exactly; raises OUT_OF_RANGE."""
    if abs(amount_minor) > INTEGER_MAX:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("amountMinor",), allowed=(str(-INTEGER_MAX), str(INTEGER_MAX))))
    return amount_minor


def divide_half_even(numerator: int, denominator: int) -> int:
    """The whole number nearest to a quotient, an exact half to the even one; `denominator` > 0."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + (twice > denominator or (twice == denominator and whole % 2 == 1))


def line_total_minor(unit_price_minor: int, quantity: int, discount_bp: int) -> int:
    """What a line costs in minor units: price × quantity less the discount, rounded once, half-even.

    `discount_bp` in 0..10,000 basis points. Raises OUT_OF_RANGE for a discount outside or a result a client
    could not hold.
    """
    if not 0 <= discount_bp <= DISCOUNT_BP_MAX:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("discountBp",), allowed=("0", str(DISCOUNT_BP_MAX))))
    gross = unit_price_minor * quantity * (BASIS_POINTS - discount_bp)
    return check_amount(divide_half_even(gross, BASIS_POINTS))


def sum_money(amounts: Sequence[Money], currency: str | None = None) -> Money:
    """The sum; refuses CURRENCY_MIXED with the index of each amount in another currency.

    `currency` is the one expected, else the first amount's; an empty sum needs it and raises REQUIRED
    without. Raises OUT_OF_RANGE when the total leaves 2^53.
    """
    expected = currency or (amounts[0].currency if amounts else None)
    if expected is None:
        raise Refused(Problem(Code.REQUIRED, ("currency",)))
    mixed = [
        Problem(Code.CURRENCY_MIXED, (str(index), "currency"), allowed=(expected,))
        for index, amount in enumerate(amounts)
        if amount.currency != expected
    ]
    if mixed:
        raise Refused(*mixed)
    return Money(sum(amount.amount_minor for amount in amounts), expected)


def convert(amount_minor: int, currency: str, to: str, rate_e9: int) -> int:
    """An amount in minor units of `to`, half-even.

    `rate_e9`: 10⁹ × how many major units of `to` one major unit of `currency` buys, > 0. Raises OUT_OF_RANGE.
    """
    if rate_e9 <= 0:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("rateE9",), allowed=("1", str(INTEGER_MAX))))
    scale = exponent(to) - exponent(currency)
    numerator = amount_minor * rate_e9 * 10 ** max(scale, 0)
    return check_amount(divide_half_even(numerator, RATE_E9 * 10 ** max(-scale, 0)))


def parse_decimal(text: str, currency: str) -> int:
    """Minor units of a plain decimal text: ("29.33", "USD") → 2933, ("1500", "KRW") → 1500.

    Raises INVALID_VALUE for anything but digits with a point (thousands marks are ambiguous between
    countries), OUT_OF_RANGE for more decimals than the currency has, unless they are zeros, or beyond 2^53.
    """
    found = _DECIMAL.fullmatch(text.strip())
    if found is None or len(text) > 40:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("1234.56",)))
    sign, whole, fraction = found.group(1), found.group(2), (found.group(3) or "").rstrip("0")
    places = exponent(currency)
    if len(fraction) > places:
        raise Refused(Problem(Code.OUT_OF_RANGE, allowed=(f"{places} decimals",), params={"currency": currency}))
    return check_amount(int(f"{sign}{whole}{fraction.ljust(places, '0')}"))
