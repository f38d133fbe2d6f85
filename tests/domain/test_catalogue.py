"""The catalogue: prices by tier and day, the order book, articles no longer sold."""

import pytest

from backend.domain.catalogue import PriceTier, Season, article_problems, book_problem, ean_check_digit, price_minor
from backend.errors import Code, Refused

TIERS = [
    PriceTier("s", 1, 1000, "2026-01-01"),
    PriceTier("s", 12, 900, "2026-01-01", "2026-06-30"),
    PriceTier("s", 1, 1100, "2026-07-01"),
    PriceTier("other", 1, 5, "2026-01-01"),
]


@pytest.mark.requirement("R38")
def test_the_highest_tier_reached_on_the_day_sets_the_price() -> None:
    assert price_minor(TIERS, "s", 11, "2026-06-30") == 1000
    assert price_minor(TIERS, "s", 12, "2026-06-30") == 900
    assert price_minor(TIERS, "s", 12, "2026-07-01") == 1100
    for style, units, day in (("s", 0, "2026-06-30"), ("s", 5, "2025-12-31"), ("none", 5, "2026-06-30")):
        with pytest.raises(Refused) as refused:
            price_minor(TIERS, style, units, day)
        assert refused.value.problems[0].code is Code.NO_PRICE


@pytest.mark.requirement("R38")
def test_the_order_book_is_open_from_its_first_to_its_last_day() -> None:
    season = Season("s", "2026-03-01", "2026-04-30")
    assert book_problem(season, "2026-03-01") is None
    assert book_problem(season, "2026-04-30") is None
    for day in ("2026-02-28", "2026-05-01"):
        problem = book_problem(season, day)
        assert problem is not None
        assert problem.code is Code.ORDER_WINDOW_CLOSED


def test_each_cell_names_an_article_that_is_sold_and_belongs_to_its_line() -> None:
    skus = {"a": ("s", "red", "ACTIVE"), "b": ("s", "red", "DISCONTINUED"), "c": ("s", "blue", "ACTIVE")}
    lines = [{"styleId": "s", "colourId": "red", "cells": {"a": 1, "b": 1, "c": 1, "d": 1}}, {"cells": None}]
    assert [(p.code, p.path) for p in article_problems(lines, skus)] == [
        (Code.SKU_DISCONTINUED, ("lines", "0", "cells", "b")),
        (Code.INVALID_VALUE, ("lines", "0", "cells", "c")),
        (Code.NOT_FOUND, ("lines", "0", "cells", "d")),
    ]


def test_an_ean_has_its_check_digit() -> None:
    assert ean_check_digit("400638133393") == "1"
    assert ean_check_digit("9638507") == "4"
    assert ean_check_digit("000000000000") == "0"
