"""Amounts into one currency by dated rates, in SQL: the same digits as `domain.exchange.convert_columns`."""

from backend.domain.money import exponent, odd_decimals
from backend.storage.dialects import Dialect

_BILLION = "1000000000"
_WHOLE_MAX = "9000000000000000000.0"
"""Below what 64 bits hold, whichever way a float rounds."""
_MINOR_MAX = "9007199254740991"


def converted_sql(amount: str, currency: str, day: str, to: str) -> str:
    """`amount` (minor units ≥ 0) of `currency` on `day`, three expressions, in minor units of `to`; half-even.

    NULL where no rate was in force, or where no client could hold the result.
    """
    rate = (
        f"(SELECT r.rate_e9 FROM exchange_rate r WHERE r.currency = {currency} AND r.valid_from <= {day}"
        " ORDER BY r.valid_from DESC LIMIT 1)"
    )
    scale = {code: exponent(to) - places for code, places in odd_decimals().items()}
    usual = exponent(to) - 2
    times = _by_currency(currency, {code: 10 ** max(by, 0) for code, by in scale.items()}, 10 ** max(usual, 0))
    over = _by_currency(currency, {code: 10 ** max(-by, 0) for code, by in scale.items()}, 10 ** max(-usual, 0))
    # without a limit PostgreSQL puts each step into the next, and looks the rate up wherever it is named
    given = f"SELECT CAST({amount} AS BIGINT) AS a, CAST({rate} AS BIGINT) AS r, {times} AS m, {over} AS d LIMIT 1"
    # amount × rate would need 90 bits: taken apart at 10^9 on both sides nothing is above 2^63
    size = "CAST(a AS DOUBLE PRECISION) * m"
    fits = f"{size} <= {_WHOLE_MAX} AND {size} * r / {_BILLION} <= {_MINOR_MAX}.0 * d AND {size} * r / {_BILLION}"
    apart = (
        f"SELECT d, a * m AS s, r / {_BILLION} AS rh, r % {_BILLION} AS rl"
        f" FROM ({given}) q WHERE {fits} <= {_WHOLE_MAX} LIMIT 1"
    )
    crossed = f"(s % {_BILLION}) * rl"
    whole = (
        f"SELECT d, s * rh + (s / {_BILLION}) * rl + {crossed} / {_BILLION} AS w, {crossed} % {_BILLION} AS rest"
        f" FROM ({apart}) q LIMIT 1"
    )
    twice, one = f"2 * ((w % d) * {_BILLION} + rest)", f"d * {_BILLION}"
    up = f"CASE WHEN {twice} > {one} OR ({twice} = {one} AND (w / d) % 2 = 1) THEN 1 ELSE 0 END"
    return f"CASE WHEN {currency} = '{to}' THEN {amount} ELSE (SELECT w / d + {up} FROM ({whole}) q) END"


def _by_currency(currency: str, places: dict[str, int], usual: int) -> str:
    cases = " ".join(f"WHEN '{code}' THEN {value}" for code, value in places.items() if value != usual)
    text = f"CASE {currency} {cases} ELSE {usual} END" if cases else str(usual)
    return f"CAST({text} AS BIGINT)"


def sum_sql(amount: str, dialect: Dialect) -> str:
    """The sum of amounts ≥ 0, 0 of none; NULL where no client could hold it. Amounts that are NULL do not count.

    SQLite's `sum` ends a statement that passes 64 bits; its `total` is exact as long as the answer is one.
    """
    if dialect is Dialect.SQLITE:
        return f"CASE WHEN total({amount}) <= {_MINOR_MAX} THEN CAST(total({amount}) AS INTEGER) END"
    return f"CASE WHEN COALESCE(SUM({amount}), 0) <= {_MINOR_MAX} THEN CAST(COALESCE(SUM({amount}), 0) AS BIGINT) END"
