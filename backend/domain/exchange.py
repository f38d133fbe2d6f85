"""Whole columns of amounts into one currency by dated rates, exactly as `money.convert` does it one by one."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain.arrays import MONEY_MINOR_MAX, BoolArray, IntArray
from backend.domain.money import RATE_E9, Rate, exponent
from backend.domain.times import day_number
from backend.errors import Code, Problem, Refused


@dataclass(frozen=True, slots=True)
class Converted:
    """`amount_minor`: (m,) in the wanted currency, 0 where no rate was in force; `known`: (m,) False there."""

    amount_minor: IntArray
    known: BoolArray


def convert_columns(
    amount_minor: IntArray, currency: npt.NDArray[np.str_], day: IntArray, *, to: str, rates: Iterable[Rate]
) -> Converted:
    """Convert (m,) amounts in (m,) ISO 4217 currencies at the rate in force on each (m,) day since 1970-01-01.

    Half-even per amount. Amounts in `to` stay as they are. *Raises* OUT_OF_RANGE for a result no client could
    hold. *Source*: domain conventions (dated exchange rates); R50.
    """
    out = np.zeros_like(amount_minor)
    known = np.zeros(amount_minor.shape, dtype=np.bool_)
    by_currency: dict[str, list[Rate]] = {}
    for rate in rates:
        by_currency.setdefault(rate.currency, []).append(rate)
    for code in np.unique(currency).tolist():
        rows = currency == code
        if code == to:
            out[rows], known[rows] = amount_minor[rows], True
            continue
        ordered = sorted(by_currency.get(code, []), key=lambda rate: rate.valid_from)
        starts = np.array([day_number(rate.valid_from) for rate in ordered], dtype=np.int64)
        values = np.array([rate.rate_e9 for rate in ordered], dtype=np.int64)
        at = np.searchsorted(starts, day[rows], side="right") - 1
        in_force = at >= 0
        if in_force.any():
            converted = np.zeros(at.shape, dtype=np.int64)
            scale = exponent(to) - exponent(code)
            converted[in_force] = _times_rate(amount_minor[rows][in_force], values[at[in_force]], scale)
            out[rows], known[rows] = converted, in_force
    return Converted(out, known)


def _times_rate(amount: IntArray, rate_e9: IntArray, scale: int) -> IntArray:
    """amount × rate × 10^scale, half-even, in whole numbers that never leave 64 bits."""
    largest = np.abs(amount).astype(np.float64) * rate_e9 / RATE_E9 * 10.0**scale
    if (largest > MONEY_MINOR_MAX).any():
        raise Refused(Problem(Code.OUT_OF_RANGE, ("totalMinor",), (str(-MONEY_MINOR_MAX), str(MONEY_MINOR_MAX))))
    scaled = amount * 10 ** max(scale, 0)
    # amount × rate would need 90 bits: taken apart at 10^9 on both sides nothing is above 2^60
    high, low = np.divmod(scaled, RATE_E9)
    rate_high, rate_low = np.divmod(rate_e9, RATE_E9)
    crossed, rest = np.divmod(low * rate_low, RATE_E9)
    whole = scaled * rate_high + high * rate_low + crossed
    denominator = 10 ** max(-scale, 0)
    whole, over = np.divmod(whole, denominator)
    # what is left is (over × 10^9 + rest) of (denominator × 10^9); a denominator is at most 10^4
    twice = 2 * (over * RATE_E9 + rest)
    one = denominator * RATE_E9
    return np.asarray(whole + ((twice > one) | ((twice == one) & (whole % 2 == 1))), dtype=np.int64)
