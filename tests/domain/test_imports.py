"""Order history from other systems: mapping columns and checking rows."""

from collections.abc import Mapping, Sequence

import pytest

from backend.domain.customers import CUSTOMER, CustomerKind
from backend.domain.fields import INTEGER_MAX, validate
from backend.domain.imports import (
    TARGETS,
    CheckedRow,
    ImportRules,
    Moment,
    OrderRow,
    check_rows,
    check_rules,
    map_columns,
    named,
    new_customer,
    order_line,
    order_number,
    ordered_at_ms,
    parse_moment,
    parse_system,
    since_day,
)
from backend.domain.times import parse_instant
from backend.errors import Code, Refused

NOW_MS = parse_instant("2026-06-15T02:00:00.000Z")
"""Ten in the morning of the 15th in Shanghai; the 14th still in New York."""
RULES = ImportRules("USD", "RETAILER", "Asia/Shanghai")
HEADER = (
    "code", "day", "units", "amount", "currency", "id", "item", "name", "kind", "country", "zone", "territory",
)  # fmt: skip
MAP = {
    "customerCode": "code", "orderedOn": "day", "units": "units", "netAmount": "amount", "orderId": "id",
    "description": "item", "customerName": "name", "customerKind": "kind", "country": "country",
    "timezone": "zone", "territory": "territory",
}  # fmt: skip
GOOD = {"code": "C1", "day": "2026-06-01", "units": "2", "amount": "29.33"}

Found = set[tuple[Code, tuple[str, ...]]]


def check(
    *rows: Mapping[str, str], columns: Mapping[str, str] = MAP, rules: ImportRules = RULES, now_ms: int = NOW_MS
) -> list[CheckedRow]:
    places = {target: HEADER.index(column) for target, column in columns.items()}
    cells = [tuple(row.get(name, "") for name in HEADER) for row in rows]
    numbered = enumerate(cells, start=2)
    return list(check_rows(numbered, columns=places, width=len(HEADER), rules=rules, now_ms=now_ms))


def order(**cells: str) -> OrderRow:
    [row] = check({**GOOD, **cells})
    assert row.problems == ()
    assert row.order is not None
    return row.order


def problems(row: CheckedRow) -> Found:
    assert row.problems
    assert row.order is None
    return {(problem.code, problem.path) for problem in row.problems}


def test_a_row_is_one_order() -> None:
    read = order(id="A-7", item="Parka")
    assert (read.row_number, read.external, read.number) == (2, "A-7", "A-7")
    assert (read.customer_code, read.moment, read.units) == ("C1", Moment("2026-06-01"), 2)
    assert (read.amount_minor, read.currency, read.description) == (2933, "USD", "Parka")
    assert read.customer == {"kind": "RETAILER"}


@pytest.mark.parametrize(
    ("cell", "value", "code", "path"),
    [
        ("code", "", Code.REQUIRED, "customerCode"),
        ("code", "x" * 61, Code.TOO_LONG, "customerCode"),
        ("code", "a\0b", Code.INVALID_VALUE, "customerCode"),
        ("day", "", Code.REQUIRED, "orderedOn"),
        ("day", "06/01/2026", Code.INVALID_VALUE, "orderedOn"),
        ("day", "2026-02-30", Code.INVALID_VALUE, "orderedOn"),
        ("day", "2026-06-01T25:00", Code.INVALID_VALUE, "orderedOn"),
        ("day", "2026-06-01T10:00:00Z", Code.INVALID_VALUE, "orderedOn"),
        ("day", "1969-12-31", Code.OUT_OF_RANGE, "orderedOn"),
        ("day", "2026-06-17", Code.IN_THE_FUTURE, "orderedOn"),
        ("day", "2199-01-01", Code.IN_THE_FUTURE, "orderedOn"),
        ("units", "-1", Code.OUT_OF_RANGE, "units"),
        ("units", "1000001", Code.OUT_OF_RANGE, "units"),
        ("units", "9" * 30, Code.OUT_OF_RANGE, "units"),
        ("units", "two", Code.INVALID_VALUE, "units"),
        ("units", "1.5", Code.INVALID_VALUE, "units"),
        ("amount", "", Code.REQUIRED, "netAmount"),
        ("amount", "-0.01", Code.OUT_OF_RANGE, "netAmount"),
        ("amount", "29.333", Code.OUT_OF_RANGE, "netAmount"),
        ("amount", str(INTEGER_MAX), Code.OUT_OF_RANGE, "netAmount"),
        ("amount", "1,234.50", Code.INVALID_VALUE, "netAmount"),
        ("amount", "$5", Code.INVALID_VALUE, "netAmount"),
        ("amount", "1e3", Code.INVALID_VALUE, "netAmount"),
        ("amount", "NaN", Code.INVALID_VALUE, "netAmount"),
        ("id", "x" * 121, Code.TOO_LONG, "orderId"),
        ("item", "x" * 201, Code.TOO_LONG, "description"),
        ("name", "x" * 201, Code.TOO_LONG, "customerName"),
        ("kind", "SHOP", Code.NOT_ALLOWED_VALUE, "customerKind"),
        ("country", "ZZ", Code.NOT_ALLOWED_VALUE, "country"),
        ("zone", "Mars/Olympus", Code.INVALID_VALUE, "timezone"),
        ("territory", "east", Code.INVALID_VALUE, "territory"),
    ],
)
def test_a_cell_that_cannot_be_taken_is_told_with_its_target(cell: str, value: str, code: Code, path: str) -> None:
    [row] = check({**GOOD, cell: value})
    assert problems(row) == {(code, (path,))}


def test_a_row_tells_all_its_problems_and_the_others_are_read() -> None:
    good, bad, later = check(GOOD, {"code": "", "day": "x", "units": "-2", "amount": "-1"}, GOOD)
    assert good.order is not None
    assert later.order is not None
    assert problems(bad) == {
        (Code.REQUIRED, ("customerCode",)),
        (Code.INVALID_VALUE, ("orderedOn",)),
        (Code.OUT_OF_RANGE, ("units",)),
        (Code.OUT_OF_RANGE, ("netAmount",)),
    }


def test_a_free_order_and_one_without_pieces_are_kept() -> None:
    assert order(amount="0").amount_minor == 0
    assert order(amount="0.00", units="0").units == 0
    assert order(units="").units == 0
    assert order(units="2.0").units == 2


def test_a_row_with_more_cells_than_the_header_is_not_trusted() -> None:
    places = {"customerCode": 0, "orderedOn": 1, "netAmount": 2}
    rows = [(2, ("C1", "2026-06-01", "5", "")), (3, ("C1", "2026-06-01", "5", "00"))]
    first, second = check_rows(rows, columns=places, width=3, rules=RULES, now_ms=NOW_MS)
    assert first.order is not None
    assert problems(second) == {(Code.TOO_MANY, ("columns",))}


def test_a_row_with_fewer_cells_lacks_only_what_it_lacks() -> None:
    places = {"customerCode": 0, "orderedOn": 1, "netAmount": 2, "units": 3}
    rows = [(2, ("C1", "2026-06-01", "5")), (3, ("C1", "2026-06-01"))]
    first, second = check_rows(rows, columns=places, width=4, rules=RULES, now_ms=NOW_MS)
    assert first.order is not None
    assert problems(second) == {(Code.REQUIRED, ("netAmount",))}


def test_of_rows_with_one_order_id_the_first_stands() -> None:
    rows = check({**GOOD, "id": "A"}, {**GOOD, "id": "B"}, {**GOOD, "id": "A", "amount": "1"})
    assert [row.order is not None for row in rows] == [True, True, False]
    assert problems(rows[2]) == {(Code.DUPLICATE_EXTERNAL_ID, ("orderId",))}
    assert rows[2].problems[0].params == {"row": 2}


def test_without_an_order_id_one_follows_from_customer_day_and_how_manieth() -> None:
    rows = check(GOOD, {**GOOD, "day": "2026/06/01"}, {**GOOD, "code": "C2"}, {**GOOD, "id": "given"}, GOOD)
    assert [row.external for row in rows] == [
        "C1/2026-06-01/1",
        "C1/2026-06-01/2",
        "C2/2026-06-01/1",
        "given",
        "C1/2026-06-01/4",
    ]
    assert order_number(order()) is None


def test_a_row_that_fails_for_its_amount_keeps_its_place_among_the_orders_of_its_day() -> None:
    bad = check(GOOD, {**GOOD, "amount": "x"}, {**GOOD, "amount": "5"})
    mended = check(GOOD, {**GOOD, "amount": "4"}, {**GOOD, "amount": "5"})
    assert [row.external for row in bad] == [row.external for row in mended]


def test_a_file_is_in_one_currency() -> None:
    columns = {**MAP, "currency": "currency"}
    free = ImportRules(None, "RETAILER", "Asia/Shanghai")
    rows = check(
        {**GOOD, "currency": "usd"}, {**GOOD, "currency": "KRW", "amount": "5000"}, columns=columns, rules=free
    )
    assert rows[0].order is not None
    assert problems(rows[1]) == {(Code.CURRENCY_MIXED, ("currency",))}
    assert rows[1].problems[0].allowed == ("USD",)
    [other] = check({**GOOD, "currency": "EUR"}, columns=columns)
    assert problems(other) == {(Code.CURRENCY_MIXED, ("currency",))}
    [unknown] = check({**GOOD, "currency": "XXX"}, columns=columns)
    assert problems(unknown) == {(Code.NOT_ALLOWED_VALUE, ("currency",))}
    [blank] = check(GOOD, columns=columns, rules=free)
    assert problems(blank) == {(Code.REQUIRED, ("currency",))}
    [ruled] = check(GOOD, columns=columns)
    assert ruled.order is not None


def test_amounts_have_the_decimals_of_their_currency() -> None:
    for currency, amount, minor in (("KRW", "5000", 5000), ("USD", "5000", 500000), ("KWD", "1.234", 1234)):
        [row] = check({**GOOD, "amount": amount}, rules=ImportRules(currency, "RETAILER", "Asia/Seoul"))
        assert row.order is not None
        assert row.order.amount_minor == minor
    [row] = check({**GOOD, "amount": "1.5"}, rules=ImportRules("KRW", "RETAILER", "Asia/Seoul"))
    assert problems(row) == {(Code.OUT_OF_RANGE, ("netAmount",))}


def test_what_is_the_future_is_judged_where_the_customer_is() -> None:
    # the 15th has begun in Shanghai and in Kiritimati, not in New York
    assert order(day="2026-06-15", zone="Asia/Shanghai").moment.day == "2026-06-15"
    [row] = check({**GOOD, "day": "2026-06-15", "zone": "America/New_York"})
    assert problems(row) == {(Code.IN_THE_FUTURE, ("orderedOn",))}
    with pytest.raises(Refused, match="IN_THE_FUTURE"):
        ordered_at_ms(Moment("2026-06-15"), "America/New_York", NOW_MS)


def test_an_order_counts_from_noon_of_its_day_or_from_the_time_given() -> None:
    shanghai = "Asia/Shanghai"
    assert ordered_at_ms(Moment("2026-06-01"), shanghai, NOW_MS) == parse_instant("2026-06-01T04:00:00.000Z")
    given = parse_moment("2026-06-01 13:45")
    assert ordered_at_ms(given, shanghai, NOW_MS) == parse_instant("2026-06-01T05:45:00.000Z")
    # the day New York's clocks go forward has 23 hours, and its noon is still noon
    assert ordered_at_ms(Moment("2026-03-08"), "America/New_York", NOW_MS) == parse_instant("2026-03-08T16:00:00.000Z")
    # noon of today is still to come at ten in the morning
    assert ordered_at_ms(Moment("2026-06-15"), shanghai, NOW_MS) == NOW_MS
    with pytest.raises(Refused, match="IN_THE_FUTURE"):
        ordered_at_ms(parse_moment("2026-06-15T10:01"), shanghai, NOW_MS)


@pytest.mark.parametrize(
    "text",
    ["2026-06-01", "2026/06/01", "2026.06.01", "20260601", "2026-06-01T13:45:06", "2026-06-01 13:45", "20260601 13:45"],
)
def test_days_are_read_where_the_year_comes_first(text: str) -> None:
    assert parse_moment(text).day == "2026-06-01"
    for other in ("2026-06/01", "26-06-01", "1-6-2026", "2026-6-1", "2026-06-01T13", "20260601T1345 "):
        with pytest.raises(Refused, match="INVALID_VALUE"):
            parse_moment(other)


def test_a_name_stands_under_the_language_of_its_script() -> None:
    assert named("王府井百货") == {"nameZh": "王府井百货"}
    assert named("김민서 상점") == {"nameKo": "김민서 상점"}
    assert named("Café Zoë") == {"nameEn": "Café Zoë"}
    assert named("") == {}


def test_a_new_customer_is_whole_by_the_rules_of_customers() -> None:
    for cells in ({}, {"name": "王府井", "kind": "chain", "country": "cn", "zone": "Asia/Seoul"}):
        fields = new_customer(order(**cells), timezone="America/New_York")
        _, found = validate(CUSTOMER, fields, creating=True)
        assert found == []
    assert fields == {
        "code": "C1", "nameZh": "王府井", "kind": "CHAIN", "country": "CN", "timezone": "Asia/Seoul", "stage": "NEW",
    }  # fmt: skip
    assert new_customer(order(), timezone="America/New_York")["nameEn"] == "C1"


def test_the_one_line_of_an_order_has_the_totals_of_the_file() -> None:
    assert order_line(order(units="3", amount="10.00")) == {
        "styleId": None, "colourId": None, "description": None, "unitPriceMinor": 333, "discountBp": 0,
        "cells": {"-": 3}, "units": 3, "totalMinor": 1000,
    }  # fmt: skip
    nothing = order_line(order(units="0", amount="7"))
    assert (nothing["cells"], nothing["unitPriceMinor"], nothing["totalMinor"]) == ({}, 700, 700)


def test_another_first_day_changes_what_follows_from_it() -> None:
    customer = {"kind": "CONSUMER", "nameEn": "C1", "customerSince": None}
    with_day = since_day(customer, "1997-01-01")
    assert with_day["customerSince"] == "1997-01-01"
    assert int(str(with_day["completenessPercent"])) > int(str(since_day(customer, None)["completenessPercent"]))


def mapped(header: Sequence[str], wanted: Mapping[str, str]) -> tuple[dict[str, int], Found]:
    columns, found = map_columns(header, wanted)
    return columns, {(problem.code, problem.path) for problem in found}


def test_columns_of_a_matching_name_need_no_mapping() -> None:
    header = ("customer_code", "order_date", "units", "net_amount_usd", "", "colour")
    assert mapped(header, {}) == ({"customerCode": 0, "orderedOn": 1, "units": 2, "netAmount": 3}, set())
    assert mapped(("客户编码", "订单日期", "数量", "金额"), {})[1] == set()
    assert mapped(("고객코드", "주문일자", "수량", "금액"), {})[1] == set()


def test_a_name_two_columns_have_is_left_to_the_caller() -> None:
    header = ("code", "customer", "customer id", "date", "amount")
    columns, found = mapped(header, {})
    assert found == {(Code.REQUIRED, ("map", "customerCode"))}
    assert mapped(header, {"customerCode": "customer id"}) == (
        {"customerCode": 2, "orderedOn": 3, "netAmount": 4},
        set(),
    )
    assert "customerCode" not in columns


def test_a_column_named_for_one_target_is_not_taken_for_another() -> None:
    columns, found = mapped(("id", "date", "total"), {"customerCode": "date"})
    assert columns == {"customerCode": 1, "netAmount": 2}
    assert found == {(Code.REQUIRED, ("map", "orderedOn"))}


def test_unknown_columns_and_targets_are_told_with_those_that_exist() -> None:
    header = ("customer_code", "order_date", "net_amount", "twice", "twice")
    wanted = {"customerCode": "cust", "units": "twice", "price": "net_amount"}
    assert mapped(header, wanted)[1] == {
        (Code.UNKNOWN_COLUMN, ("map", "customerCode")),
        (Code.INVALID_VALUE, ("map", "units")),
        (Code.UNKNOWN_COLUMN, ("map", "price")),
    }
    _, found = map_columns(header, wanted)
    allowed = {problem.path[-1]: problem.allowed for problem in found}
    assert allowed["customerCode"] == header
    assert allowed["price"] == tuple(TARGETS)


def test_every_needed_target_without_a_column_is_told() -> None:
    _, found = mapped(("a", "b"), {})
    assert found == {(Code.REQUIRED, ("map", name)) for name in ("customerCode", "orderedOn", "netAmount")}


def test_the_rules_of_a_file_are_checked_together() -> None:
    def told(**given: str | None) -> Found:
        values = {"currency": "USD", "kind": None, "timezone": "Asia/Seoul", **given}
        _, found = check_rules(
            currency=values["currency"], kind=values["kind"], timezone=str(values["timezone"]), columns={}
        )
        return {(problem.code, problem.path) for problem in found}

    assert told() == set()
    assert told(kind="consumer") == set()
    assert told(currency=None, kind="SHOP", timezone="Nowhere") == {
        (Code.REQUIRED, ("currency",)),
        (Code.NOT_ALLOWED_VALUE, ("kind",)),
        (Code.INVALID_VALUE, ("timezone",)),
    }
    assert told(currency="XXX") == {(Code.NOT_ALLOWED_VALUE, ("currency",))}
    rules, found = check_rules(currency=None, kind=None, timezone="Asia/Seoul", columns={"currency": 3})
    assert (rules.currency, rules.kind, found) == (None, CustomerKind.RETAILER, [])


def test_a_system_has_a_plain_name() -> None:
    assert parse_system(" CDNow ") == "cdnow"
    for name in ("", "a b", "x" * 41, "-a", "수주"):
        with pytest.raises(Refused, match="INVALID_VALUE"):
            parse_system(name)
