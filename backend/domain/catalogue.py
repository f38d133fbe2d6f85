"""The catalogue as far as an order needs it: what is sold, when a season's book is open, what it costs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.errors import Code, Problem, Refused


class ArticleState(StrEnum):
    """Whether a style or SKU is still sold."""

    ACTIVE = "ACTIVE"
    DISCONTINUED = "DISCONTINUED"


class DeliveryWindow(StrEnum):
    """How goods are ordered: before the season or from stock."""

    PREBOOK = "PREBOOK"
    AT_ONCE = "AT_ONCE"


@dataclass(frozen=True, slots=True)
class Season:
    """A season's order book: local days, both ends included."""

    id: str
    order_opens_on: str
    order_closes_on: str


@dataclass(frozen=True, slots=True)
class PriceTier:
    """A style's price from a number of units on, in [valid_from, valid_to] local days; None is open-ended."""

    style_id: str
    min_units: int
    price_minor: int
    valid_from: str
    valid_to: str | None = None


def ean_check_digit(digits: str) -> str:
    """The last digit of an EAN, from the ones before it: weights 3 and 1 alternating from the right."""
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-weighted % 10)


def book_problem(season: Season, day: str) -> Problem | None:
    """ORDER_WINDOW_CLOSED on a local day before the season's book opens or after it closes."""
    if season.order_opens_on <= day <= season.order_closes_on:
        return None
    return Problem(Code.ORDER_WINDOW_CLOSED, ("seasonId",), allowed=(season.order_opens_on, season.order_closes_on))


def price_minor(tiers: Iterable[PriceTier], style_id: str, units: int, day: str) -> int:
    """A style's unit price for a number of units on a local day: of the tiers reached the highest.

    Of prices with the same tier the one valid latest counts. Raises NO_PRICE.
    """
    reached = [
        tier
        for tier in tiers
        if tier.style_id == style_id
        and tier.min_units <= units
        and tier.valid_from <= day
        and (tier.valid_to is None or day <= tier.valid_to)
    ]
    if not reached:
        raise Refused(Problem(Code.NO_PRICE, ("styleId",)))
    return max(reached, key=lambda tier: (tier.min_units, tier.valid_from)).price_minor


def article_problems(lines: Sequence[Mapping[str, object]], skus: Mapping[str, tuple[str, str, str]]) -> list[Problem]:
    """What is wrong with the articles of an order's lines.

    `skus`: id → (style id, colour id, state) of the SKUs known. NOT_FOUND for an unknown SKU, INVALID_VALUE
    for one of another style or colour than its line, SKU_DISCONTINUED; each with the path of its cell.
    """
    problems: list[Problem] = []
    for index, line in enumerate(lines):
        cells = line.get("cells")
        for sku in cells if isinstance(cells, Mapping) else ():
            path = ("lines", str(index), "cells", str(sku))
            if sku not in skus:
                problems.append(Problem(Code.NOT_FOUND, path))
                continue
            style_id, colour_id, state = skus[sku]
            if (style_id, colour_id) != (line.get("styleId"), line.get("colourId")):
                problems.append(Problem(Code.INVALID_VALUE, path))
            elif state == ArticleState.DISCONTINUED:
                problems.append(Problem(Code.SKU_DISCONTINUED, path))
    return problems
