"""The predicate language: two written forms of one tree, every problem at its place, and what is missing."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.arrays import IntColumn
from backend.domain.custom import CustomField, CustomKind
from backend.domain.customer_fields import customer_vocabulary
from backend.domain.money import Money
from backend.domain.predicate_columns import MoneyColumn, SetColumn, TextColumn, needed, select
from backend.domain.predicate_json import read_json, write_json
from backend.domain.predicate_text import read_text, write_text
from backend.domain.predicates import (
    OPS,
    Condition,
    Every,
    Kind,
    Not,
    OnDay,
    Op,
    PredicateLimits,
    Ref,
    Some,
    Today,
    height,
    refs,
)
from backend.domain.times import day_number
from backend.errors import Refused
from tests.domain.predicate_cases import VOCABULARY, drawn

SMALL = PredicateLimits(depth_max=3, nodes_max=6, values_max=3, value_characters_max=5, characters_max=200)


def text_problems(text: str, limits: PredicateLimits = SMALL) -> list[tuple[str, tuple[str, ...]]]:
    with pytest.raises(Refused) as refused:
        read_text(text, VOCABULARY, limits)
    return [(problem.code.value, problem.path) for problem in refused.value.problems]


def json_problems(document: object, limits: PredicateLimits = SMALL) -> list[tuple[str, tuple[str, ...]]]:
    with pytest.raises(Refused) as refused:
        read_json(document, VOCABULARY, limits)
    return [(problem.code.value, problem.path) for problem in refused.value.problems]


def at(offset: int, column: int, line: int = 1) -> tuple[str, ...]:
    return (f"offset={offset}", f"line={line}", f"column={column}")


@settings(max_examples=150)
@given(st.randoms(use_true_random=False))
def test_both_forms_of_a_predicate_are_read_back_to_the_same_tree(rng: random.Random) -> None:
    predicate = drawn(rng)
    assert read_text(write_text(predicate, VOCABULARY), VOCABULARY) == predicate
    document = orjson.loads(orjson.dumps(write_json(predicate, VOCABULARY)))
    assert read_json(document, VOCABULARY) == predicate


def test_what_people_write_is_read_as_they_mean_it() -> None:
    told = """kind in (RETAILER, "CHAIN") and not city contains "hai" or netSales(365) >= 1200.50 USD
    and lastOrderOn between today - 90 and today and tags not has "vip" and loyalty < 62.5 and code is not missing"""
    sales = Condition(Ref("netSales", 365), Op.AT_LEAST, (Money(120_050, "USD"),))
    since = Condition(Ref("lastOrderOn"), Op.BETWEEN, (Today(-90), Today()))
    assert read_text(told, VOCABULARY) == Some(
        (
            Every(
                (
                    Condition(Ref("kind"), Op.IN, ("RETAILER", "CHAIN")),
                    Not(Condition(Ref("city"), Op.CONTAINS, ("hai",))),
                )
            ),
            Every(
                (
                    sales,
                    since,
                    Not(Condition(Ref("tags"), Op.HAS, ("vip",))),
                    Condition(Ref("loyalty"), Op.LESS, (6_250,)),
                    Not(Condition(Ref("code"), Op.MISSING)),
                )
            ),
        )
    )
    assert read_text("creditLimit = 1500 KRW", VOCABULARY) == Condition(
        Ref("creditLimit"), Op.EQUAL, (Money(1_500, "KRW"),)
    )
    assert read_text("customerSince > 2026-01-31", VOCABULARY) == Condition(
        Ref("customerSince"), Op.MORE, (OnDay("2026-01-31"),)
    )


def test_a_text_is_refused_with_every_problem_at_its_place() -> None:
    limits = PredicateLimits()
    told = "knd = RETAILER and kind = SHOP or\n  loyalty > 1.234 and city = 5 and priority between 1 or orders(0) < 1"
    assert text_problems(told, limits) == [
        ("UNKNOWN_FIELD", ("knd", *at(0, 1))),
        ("NOT_ALLOWED_VALUE", ("kind", *at(26, 27))),
        ("INVALID_VALUE", ("loyalty", *at(46, 13, 2))),
        ("INVALID_VALUE", ("city", *at(63, 30, 2))),
        ("INVALID_VALUE", at(88, 55, 2)),
        ("OUT_OF_RANGE", ("orders", *at(91, 58, 2))),
    ]


@pytest.mark.parametrize(
    ("told", "code", "offset"),
    [
        ("", "REQUIRED", 0),
        ("kind", "REQUIRED", 4),
        ("kind =", "REQUIRED", 6),
        ("(kind = CHAIN", "REQUIRED", 13),
        ("kind = CHAIN)", "INVALID_VALUE", 12),
        ("kind = CHAIN city", "INVALID_VALUE", 13),
        ("kind contains \"a\"", "NOT_ALLOWED_VALUE", 5),
        ("city = Shanghai", "INVALID_VALUE", 7),
        ('city = "ab', "INVALID_VALUE", 7),
        (r'city = "\x"', "INVALID_VALUE", 7),
        (r'city = "\ud800"', "INVALID_VALUE", 7),
        (r'city = "\u0000"', "INVALID_VALUE", 7),
        ('city = "longer"', "TOO_LONG", 7),
        ('city contains ""', "REQUIRED", 14),
        ("name contains \"  \"", "REQUIRED", 14),
        ('territory under "cn"', "INVALID_VALUE", 16),
        ("netSales > 5 EUR", "CURRENCY_MIXED", 11),
        ("netSales > 5 XXX", "NOT_ALLOWED_VALUE", 11),
        ("netSales > 5.123 USD", "OUT_OF_RANGE", 11),
        ("netSales > 5", "INVALID_VALUE", 11),
        ("creditLimit between 1 USD and 2 KRW", "CURRENCY_MIXED", 30),
        ("priority = 101", "OUT_OF_RANGE", 11),
        ("priority = " + "9" * 60, "TOO_LONG", 11),
        ("priority in (1, 2, 3, 4)", "TOO_MANY", 9),
        ("customerSince = 2026-02-30", "INVALID_VALUE", 16),
        ("customerSince = today+99999", "OUT_OF_RANGE", 16),
        ("custom.vip = 1", "INVALID_VALUE", 13),
        ("custom.none = 1", "UNKNOWN_FIELD", 0),
        ("city(90) = \"a\"", "INVALID_VALUE", 0),
        ("orders(1.5) > 1", "INVALID_VALUE", 7),
        ("not not not not kind = CHAIN", "OUT_OF_RANGE", 0),
        ("(" * 30 + "kind = CHAIN", "OUT_OF_RANGE", 8),
        (" or ".join(["vip"] * 3), "INVALID_VALUE", 4),
        ("kind = CHAIN # comment", "INVALID_VALUE", 13),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_text_is_told_where_it_stands(told: str, code: str, offset: int) -> None:
    found = text_problems(told)
    assert found[0][0] == code, found
    assert found[0][1][-3] == f"offset={offset}", found


def test_a_text_has_bounds() -> None:
    assert text_problems("x" * 201) == [("TOO_LONG", ())]
    assert text_problems(" and ".join(["kind = CHAIN"] * 7))[0][0] == "TOO_MANY"
    assert len(text_problems(" and ".join(["q = 1"] * 30), PredicateLimits())) == 20
    wide = " and ".join(["kind = CHAIN"] * 5)
    assert height(read_text(wide, VOCABULARY, SMALL)) == 1


@pytest.mark.parametrize(
    ("document", "problems"),
    [
        (None, [("INVALID_VALUE", ())]),
        ([], [("INVALID_VALUE", ())]),
        ({}, [("REQUIRED", ("field",)), ("REQUIRED", ("op",))]),
        ({"and": []}, [("REQUIRED", ("and",))]),
        (
            {"and": [{"not": 1}, {"or": "x"}]},
            [("INVALID_VALUE", ("and", "0", "not")), ("INVALID_VALUE", ("and", "1", "or"))],
        ),
        ({"and": [], "or": []}, [("UNKNOWN_FIELD", ("or",)), ("REQUIRED", ("and",))]),
        ({"field": "kind", "op": "~"}, [("NOT_ALLOWED_VALUE", ("op",))]),
        ({"field": "kind", "op": "="}, [("REQUIRED", ("value",))]),
        ({"field": "kind", "op": "=", "value": "X"}, [("NOT_ALLOWED_VALUE", ("value",))]),
        ({"field": "kind", "op": "in", "value": "X"}, [("UNKNOWN_FIELD", ("value",)), ("REQUIRED", ("values",))]),
        ({"field": "kind", "op": "in", "values": ["CHAIN", 1]}, [("NOT_ALLOWED_VALUE", ("values", "1"))]),
        ({"field": "kind", "op": "in", "values": []}, [("INVALID_VALUE", ("values",))]),
        ({"field": "kind", "op": "missing", "value": 1}, [("INVALID_VALUE", ("value",))]),
        ({"field": "priority", "op": "=", "value": float("nan")}, [("INVALID_VALUE", ("value",))]),
        ({"field": "priority", "op": "=", "value": float("inf")}, [("INVALID_VALUE", ("value",))]),
        ({"field": "priority", "op": "=", "value": 2**60}, [("OUT_OF_RANGE", ("value",))]),
        ({"field": "priority", "op": "=", "value": True}, [("INVALID_VALUE", ("value",))]),
        (
            {"field": "netSales", "op": "=", "value": {"amountMinor": 1.5, "currency": "USD"}},
            [("INVALID_VALUE", ("value",))],
        ),
        (
            {"field": "netSales", "op": "=", "value": {"amountMinor": 2**60, "currency": "USD"}},
            [("OUT_OF_RANGE", ("value", "amountMinor"))],
        ),
        (
            {"field": "netSales", "op": "=", "value": {"amountMinor": 1, "currency": "ZZZ"}},
            [("NOT_ALLOWED_VALUE", ("value",))],
        ),
        ({"field": "lastOrderOn", "op": "<", "value": {"today": True}}, [("INVALID_VALUE", ("value",))]),
        ({"field": "orders", "op": "<", "value": 1, "days": 0}, [("OUT_OF_RANGE", ("days",))]),
        ({"field": "orders", "op": "<", "value": 1, "days": "7"}, [("INVALID_VALUE", ("days",))]),
        ({"not": {"not": {"not": {"not": {}}}}}, [("OUT_OF_RANGE", ("not",) * 4)]),
        ({"or": [{"field": "kind", "op": "missing"}] * 9}, [("TOO_MANY", ("or", "5"))]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_document_is_told_by_its_path(
    document: Any, problems: list[tuple[str, tuple[str, ...]]]
) -> None:
    assert json_problems(document) == problems


def test_what_costs_a_look_elsewhere_is_bounded_and_problems_are_too() -> None:
    limits = PredicateLimits(lookups_max=2)
    assert read_text("orders > 1 and units > 1 and kind = CHAIN", VOCABULARY, limits)
    assert text_problems("orders > 1 and daysSinceLastOrder > 1 and priority > 1", limits) == [("TOO_MANY", at(0, 1))]
    wanted = {"and": [{"field": "orders", "op": ">", "value": 1}] * 3}
    assert json_problems(wanted, limits) == [("TOO_MANY", ())]
    assert len(json_problems({"or": [{"field": "x", "op": "=", "value": 1}] * 50}, PredicateLimits())) == 20


def test_a_field_withheld_is_refused_with_what_is_allowed_and_takes_what_counts_from_it_along() -> None:
    narrow = VOCABULARY.without(frozenset({"name", "lastOrderOn"}))
    with pytest.raises(Refused) as refused:
        read_text('name contains "x" and daysSinceLastOrder > 3 and nothing = 1', narrow)
    assert [problem.code.value for problem in refused.value.problems] == [
        "NOT_PERMITTED",
        "NOT_PERMITTED",
        "UNKNOWN_FIELD",
    ]
    for problem in refused.value.problems:
        assert "kind" in problem.allowed
        assert not {"name", "lastOrderOn", "daysSinceLastOrder"} & set(problem.allowed)


COLUMNS = {
    Ref("city"): TextColumn(("Shanghai", None, "Busan", "SHANGHAI")),
    Ref("priority"): IntColumn.of([10, 20, None, 10]),
    Ref("tags"): SetColumn((frozenset(), frozenset({"vip"}), frozenset({"vip", "a"}), frozenset({"a"}))),
    Ref("creditLimit"): MoneyColumn(IntColumn.of([100, 100, None, 500]), ("USD", "KRW", "USD", "USD")),
    Ref("lastOrderOn"): IntColumn.of([day_number("2026-11-22"), day_number("2026-08-24"), None, 0]),
    Ref("territory"): TextColumn(("/cn/north", "/cn", "/cn/northern", None)),
}


@pytest.mark.parametrize(
    ("told", "chosen"),
    [
        ('city = "Shanghai"', [0]),
        ('not city = "Shanghai"', [2, 3]),
        ('city != "Shanghai"', [2, 3]),
        ("city is missing", [1]),
        ("not city is missing", [0, 2, 3]),
        ('city starts "shang"', [0, 3]),
        ('city = "Shanghai" or priority = 20', [0, 1]),
        ('not (city = "Shanghai" or priority = 20)', [3]),
        ('not (city = "Busan" and priority = 10)', [0, 1, 3]),
        ('tags has "vip"', [1, 2]),
        ('not tags has "vip"', [0, 3]),
        ("tags is missing", [0]),
        ("creditLimit >= 1 USD", [0, 3]),
        ("not creditLimit >= 2 USD", [0]),
        ("creditLimit is missing", [2]),
        ("daysSinceLastOrder <= 90", [0, 1]),
        ("daysSinceLastOrder > 89", [1, 3]),
        ("daysSinceLastOrder between 0 and 90", [0, 1]),
        ("not daysSinceLastOrder < 90", [1, 3]),
        ('territory under "/cn/north"', [0]),
        ('territory under "/cn"', [0, 1, 2]),
        ('not territory under "/cn/north"', [1, 2]),
    ],
)
def test_what_is_missing_is_neither_true_nor_false(told: str, chosen: list[int]) -> None:
    predicate = read_text(told, VOCABULARY)
    assert set(needed(refs(predicate), VOCABULARY)) <= set(COLUMNS)
    found = select(predicate, VOCABULARY, COLUMNS, as_of="2026-11-22")
    assert np.flatnonzero(found).tolist() == chosen


PAGE = (Path(__file__).parents[2] / "docs" / "PREDICATES.md").read_text("utf-8")


def test_the_page_names_every_field_and_what_it_shows_is_read() -> None:
    named = set(re.findall(r"`([a-z]\w*)`", PAGE.partition("## Fields")[2].partition("## Rules")[0]))
    own = {name for name in VOCABULARY.fields if not name.startswith("custom.")}
    assert own - named == set()
    text, document = re.search(r"```\n(.*?)```", PAGE, re.DOTALL), re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert text
    assert document
    shown = customer_vocabulary("USD").with_custom([CustomField("tier", CustomKind.CHOICE, choices=("gold", "silver"))])
    for line in text.group(1).splitlines():
        assert refs(read_text(line, shown))
    assert refs(read_json(orjson.loads(document.group(1)), shown))


CALLED = {"words": Kind.CHOICE, "texts": Kind.TEXT, "`name`": Kind.SEARCH, "numbers": Kind.NUMBER, "money": Kind.MONEY,
          "days": Kind.DAY, "counted days": Kind.AGE, "yes or no": Kind.BOOL, "sets": Kind.SET,
          "`territory`": Kind.TREE}  # fmt: skip


def test_the_page_says_of_what_each_operator_may_be_said() -> None:
    table = PAGE.partition("| said | of | means |")[2].partition("\n\n")[0]
    told: dict[Op, set[Kind]] = {}
    for said, of in re.findall(r"^\| ([^|]*`[^|]*) \| ([^|]+) \|", table, re.MULTILINE):
        but, kinds = (
            of.startswith("all but "),
            {CALLED[one] for one in re.split(", | and ", of.removeprefix("all but "))},
        )
        for written in re.findall("`([^`]+)`", said):
            told[Op(written.removeprefix("is ").partition(" ")[0])] = set(Kind) - kinds if but else kinds
    assert told == {op: {kind for kind in Kind if op in OPS[kind]} for op in Op}


def test_over_no_rows_nothing_is_chosen() -> None:
    empty = {Ref("city"): TextColumn(()), Ref("priority"): IntColumn.of([])}
    told = read_text('city in ("a") or not priority in (1, 2)', VOCABULARY)
    assert select(told, VOCABULARY, empty, as_of="2026-11-22").tolist() == []
