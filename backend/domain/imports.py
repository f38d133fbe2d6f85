"""Order history from other systems: which column means what, and what is wrong with each row.

One row of a file is one order. Pure: rows come as texts, the time as an argument. A row that cannot be taken
carries all its problems and never keeps the others from being read.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar
from zoneinfo import ZoneInfo

from backend.domain.customers import CUSTOMER, CustomerKind, LifecycleStage, derived_fields
from backend.domain.fields import INTEGER_MAX, parse_integer, parse_text, validate
from backend.domain.money import currencies, divide_half_even, parse_currency, parse_decimal
from backend.domain.orders import QUANTITY_MAX
from backend.domain.territories import parse_path
from backend.domain.times import DAY_LAST, check_instant, local_day, parse_day, parse_zone
from backend.errors import Code, Problem, Refused

T = TypeVar("T")


class ImportState(StrEnum):
    """Where an import batch stands."""

    RUNNING = "RUNNING"
    """begun; a run that was cut short goes on where it stopped when the same file is sent again"""
    DONE = "DONE"
    UNDOING = "UNDOING"
    UNDONE = "UNDONE"


class RowOutcome(StrEnum):
    """What is kept of a row that did not simply become an order."""

    FAILED = "FAILED"
    LINKED = "LINKED"
    """its customer was found by our own code and now also answers to the other system's"""


class KeptReason(StrEnum):
    """Why undoing an import left a record it had made."""

    HAS_ORDERS = "HAS_ORDERS"
    HAS_VISITS = "HAS_VISITS"
    HAS_TASKS = "HAS_TASKS"
    HAS_ANSWERS = "HAS_ANSWERS"
    HAS_CASES = "HAS_CASES"
    HAS_JUDGEMENTS = "HAS_JUDGEMENTS"
    HAS_CONTACTS = "HAS_CONTACTS"
    HAS_DOORS = "HAS_DOORS"
    CHANGED = "CHANGED"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"


CODE_CHARACTERS_MAX = 60
EXTERNAL_CHARACTERS_MAX = 120
NUMBER_CHARACTERS_MAX = 40
DESCRIPTION_CHARACTERS_MAX = 200
CUSTOMERS_KEPT_MAX = 10_000
NO_ARTICLE = "-"
"""The one cell of a line without an article."""
ORDER_ID_COLUMN = "selvedge_order_id"
"""Column of a file of failed rows that keeps a row's derived id when the row is sent again alone."""
DAY_FIRST = "1970-01-02"
"""The first day that has begun after 1970-01-01 00:00 UTC in every zone."""
NOON = time(12)
FIRST_ZONE = "Pacific/Kiritimati"
"""Where a day begins first: what is the future there is the future everywhere."""
DAY_FORMS = ("YYYY-MM-DD", "YYYY-MM-DDTHH:MM:SS")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURRENCY_OF_MOST_DECIMALS = "KWD"
_NAMES = {"nameZh", "nameKo", "nameEn"}
_SYSTEM = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?", re.ASCII)
_DAY = re.compile(
    r"(\d{4})([-/.]?)(\d\d)\2(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,6})?)?)?",
    re.ASCII,
)
_WHOLE = re.compile(r"([+-]?\d{1,40})(?:\.0*)?", re.ASCII)
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Target:
    """What a column can be mapped to. `also`: other column names that are taken for it, folded."""

    name: str
    required: bool = False
    also: tuple[str, ...] = ()


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("customerCode", True, ("customer", "customerid", "customerno", "客户编码", "고객코드")),
        Target("orderedOn", True, ("orderdate", "date", "orderedat", "day", "订单日期", "주문일", "주문일자")),
        Target("netAmount", True, ("amount", "net", "total", "totalamount", "金额", "金额合计", "금액")),
        Target("units", also=("quantity", "qty", "pieces", "件数", "数量", "수량")),
        Target("currency", also=("currencycode", "币种", "통화")),
        Target("orderId", also=("order", "orderno", "ordernumber", _NOT_ALPHANUMERIC.sub("", ORDER_ID_COLUMN),
                                "订单号", "주문번호")),
        Target("description", also=("item", "product", "商品", "상품")),
        Target("customerName", also=("name", "客户名称", "고객명")),
        Target("customerKind", also=("kind", "客户类型")),
        Target("country", also=("countrycode", "国家", "국가")),
        Target("province", also=("省", "시도")),
        Target("city", also=("town", "城市", "도시")),
        Target("timezone", also=("zone",)),
        Target("territory", also=("territorypath",)),
    )
}  # fmt: skip
"""target → declaration. Those naming the customer matter only where the row brings a new one."""

_CUSTOMER_TARGETS = ("customerName", "customerKind", "country", "province", "city", "timezone")
_TARGET_OF_FIELD: Mapping[str, str] = {
    "nameZh": "customerName",
    "nameKo": "customerName",
    "nameEn": "customerName",
    "kind": "customerKind",
}


@dataclass(frozen=True, slots=True)
class ImportRules:
    """What holds for a whole file.

    `currency`: the one currency of its amounts, None when a column says it; `kind` of customers the rows do
    not give one; `timezone`: in which a day is judged where a row names none.
    """

    currency: str | None
    kind: str
    timezone: str


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order as a row tells it.

    `external`: its id in the other system, or derived from customer code, day and how many-th of that day;
    `number`: the id as the row gives it, else None; `units`: 0 where the file does not say them; `customer`:
    fields for a new customer, without a name when the row has none; `territory`: a path or None.
    """

    row_number: int
    external: str
    number: str | None
    customer_code: str
    moment: "Moment"
    amount_minor: int
    currency: str
    units: int
    description: str | None
    customer: Mapping[str, object]
    territory: str | None


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row after the checks: an order, or problems. `external` is known even for most failing rows."""

    number: int
    external: str | None
    order: OrderRow | None
    problems: tuple[Problem, ...] = ()


def parse_system(text: str) -> str:
    """The name of another system, small letters, digits and `._-`, at most 40; raises INVALID_VALUE."""
    name = text.strip().lower()
    if _SYSTEM.fullmatch(name) is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("cdnow", "sap-kr")))
    return name


def map_columns(header: Sequence[str], wanted: Mapping[str, str]) -> tuple[dict[str, int], list[Problem]]:
    """target → position of its column, and what is wrong with the mapping.

    `wanted`: target → column name, as the caller gives it. Targets it leaves out take a column of a matching
    name where exactly one is free. Problems: UNKNOWN_COLUMN for a target or column that does not exist,
    INVALID_VALUE for a column name the header has twice, REQUIRED for a target without a column.
    """
    names = tuple(name for name in header if name)
    columns: dict[str, int] = {}
    problems: list[Problem] = []
    for target, column in wanted.items():
        if target not in TARGETS:
            problems.append(Problem(Code.UNKNOWN_COLUMN, ("map", target), tuple(TARGETS)))
            continue
        places = [at for at, name in enumerate(header) if name == column.strip()]
        if not places:
            problems.append(Problem(Code.UNKNOWN_COLUMN, ("map", target), names))
        elif len(places) > 1:
            problems.append(Problem(Code.INVALID_VALUE, ("map", target), params={"reason": "twice"}))
        else:
            columns[target] = places[0]
    refused = {problem.path[-1] for problem in problems}
    columns |= _by_name(header, taken=set(columns.values()), free=set(TARGETS) - set(wanted))
    needed = [name for name, target in TARGETS.items() if target.required]
    problems += [
        Problem(Code.REQUIRED, ("map", name), names) for name in needed if name not in columns and name not in refused
    ]
    return columns, problems


def _by_name(header: Sequence[str], *, taken: set[int], free: set[str]) -> dict[str, int]:
    """Targets whose name, or another name of theirs, exactly one column has that nobody named."""
    found: dict[str, list[int]] = {}
    for at, column in enumerate(header):
        target = _target_of(column)
        if target in free and at not in taken:
            found.setdefault(target, []).append(at)
    return {target: places[0] for target, places in found.items() if len(places) == 1}


def _target_of(column: str) -> str:
    folded = _NOT_ALPHANUMERIC.sub("", column.lower())
    # `net_amount_usd`: the currency is said again by the file's currency
    bare = folded[:-3] if folded[-3:].upper() in currencies() else folded
    for target in TARGETS.values():
        if folded in (target.name.lower(), *target.also):
            return target.name
        if target.name == "netAmount" and bare in (target.name.lower(), *target.also):
            return target.name
    return ""


def check_rules(
    *, currency: str | None, kind: str | None, timezone: str, columns: Mapping[str, int]
) -> tuple[ImportRules, list[Problem]]:
    """The rules of a file, and what is wrong with them. A currency is needed from somewhere."""
    problems: list[Problem] = []
    code = currency
    try:
        code = parse_currency(currency) if currency else None
        if code is None and "currency" not in columns:
            problems.append(Problem(Code.REQUIRED, ("currency",), ("currency",)))
    except Refused as refused:
        problems += [problem.under("currency") for problem in refused.problems]
    try:
        parse_zone(timezone)
    except Refused as refused:
        problems += [problem.under("timezone") for problem in refused.problems]
    wanted = (kind or CustomerKind.RETAILER.value).upper()
    if wanted not in set(CustomerKind):
        enum = {"enum": CustomerKind.__name__}
        problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("kind",), tuple(CustomerKind), enum))
    return ImportRules(code, wanted, timezone), problems


def check_rows(
    rows: Iterable[tuple[int, Sequence[str]]],
    *,
    columns: Mapping[str, int],
    width: int,
    rules: ImportRules,
    now_ms: int,
) -> Iterator[CheckedRow]:
    """Each row as an order or with its problems, in file order.

    `rows`: (row number, cells); `width`: columns of the header. Of rows with the same order id the first stands.
    A file is in one currency: where no rule names it, the first row's; other rows are CURRENCY_MIXED.
    """
    seen = _Seen(currency=rules.currency)
    for number, cells in rows:
        if any(cells[width:]):
            # one mark too many moves every cell after it: nothing in the row can be trusted
            yield CheckedRow(number, None, None, (Problem(Code.TOO_MANY, ("columns",), (str(width),)),))
        else:
            yield _check_row(_Row(number, cells, columns), rules, now_ms, seen)


@dataclass(slots=True)
class _Seen:
    """What rows of one file must be compared with."""

    currency: str | None
    externals: dict[str, int] = field(default_factory=dict)
    of_day: Counter[tuple[str, str]] = field(default_factory=Counter)
    customers: dict[tuple[str, ...], tuple[Mapping[str, object], list[Problem]]] = field(default_factory=dict)


@dataclass(slots=True)
class _Row:
    """One row being read; every cell that cannot be taken leaves its problems."""

    number: int
    cells: Sequence[str]
    columns: Mapping[str, int]
    problems: list[Problem] = field(default_factory=list)

    def text(self, target: str) -> str:
        at = self.columns.get(target)
        return self.cells[at] if at is not None and at < len(self.cells) else ""

    def read(self, target: str, parse: Callable[[str], T]) -> T | None:
        text = self.text(target)
        if not text:
            if TARGETS[target].required:
                self.problems.append(Problem(Code.REQUIRED, (target,), (target,)))
            return None
        try:
            return parse(text)
        except Refused as refused:
            self.problems += [Problem(p.code, (target,), p.allowed, p.params) for p in refused.problems]
            return None


def _check_row(row: _Row, rules: ImportRules, now_ms: int, seen: _Seen) -> CheckedRow:
    code = row.read("customerCode", _parse_code)
    moment = row.read("orderedOn", parse_moment)
    currency = _currency(row, seen)
    amount_minor = row.read("netAmount", lambda text: _parse_amount(text, currency))
    units = row.read("units", _parse_units)
    number = row.read("orderId", _parse_external)
    description = row.read("description", _parse_description)
    territory = row.read("territory", parse_path)
    customer = _customer(row, rules, seen)
    external = number
    if moment is not None:
        if moment.day > _today(now_ms, str(customer.get("timezone") or FIRST_ZONE)):
            row.problems.append(Problem(Code.IN_THE_FUTURE, ("orderedOn",), (_today(now_ms, rules.timezone),)))
        if code is not None:
            seen.of_day[code, moment.day] += 1
            external = external or f"{code}/{moment.day}/{seen.of_day[code, moment.day]}"
    if external is not None and (first := seen.externals.setdefault(external, row.number)) != row.number:
        row.problems.append(Problem(Code.DUPLICATE_EXTERNAL_ID, ("orderId",), params={"row": first}))
    if row.problems or code is None or moment is None or external is None or amount_minor is None or currency is None:
        return CheckedRow(row.number, external, None, tuple(row.problems))
    order = OrderRow(
        row_number=row.number,
        external=external,
        number=number,
        customer_code=code,
        moment=moment,
        amount_minor=amount_minor,
        currency=currency,
        units=units or 0,
        description=description,
        customer=customer,
        territory=territory,
    )
    return CheckedRow(row.number, external, order)


def _parse_code(text: str) -> str:
    return parse_text(text, limit=CODE_CHARACTERS_MAX) or ""


def _parse_external(text: str) -> str:
    return parse_text(text, limit=EXTERNAL_CHARACTERS_MAX) or ""


def _parse_description(text: str) -> str:
    return parse_text(text, limit=DESCRIPTION_CHARACTERS_MAX) or ""


def _parse_units(text: str) -> int:
    """Whole pieces, 0 for a gift or a correction of price; `2.0` is 2, as spreadsheets write it."""
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("integer",)))
    return parse_integer(int(found.group(1)), least=0, most=QUANTITY_MAX)


def _parse_amount(text: str, currency: str | None) -> int:
    """Minor units; 0 is a sample. Without a known currency only the form is looked at."""
    amount_minor = parse_decimal(text, currency or _CURRENCY_OF_MOST_DECIMALS)
    return parse_integer(amount_minor, least=0, most=INTEGER_MAX)


def _currency(row: _Row, seen: _Seen) -> str | None:
    if "currency" not in row.columns:
        return seen.currency
    currency = row.read("currency", parse_currency)
    if not row.text("currency"):
        if seen.currency is None:
            row.problems.append(Problem(Code.REQUIRED, ("currency",), ("currency",)))
        return seen.currency
    seen.currency = seen.currency or currency
    if currency is not None and currency != seen.currency:
        row.problems.append(Problem(Code.CURRENCY_MIXED, ("currency",), (str(seen.currency),)))
    return currency


def _customer(row: _Row, rules: ImportRules, seen: _Seen) -> Mapping[str, object]:
    """The fields a row gives a new customer; most rows of a file give the same, so they are checked once."""
    texts = tuple([row.text(target) if target in row.columns else "" for target in _CUSTOMER_TARGETS])
    if texts not in seen.customers:
        if len(seen.customers) >= CUSTOMERS_KEPT_MAX:
            seen.customers.clear()
        seen.customers[texts] = _checked_customer(dict(zip(_CUSTOMER_TARGETS, texts, strict=True)), rules)
    fields, problems = seen.customers[texts]
    row.problems += problems
    return fields


def _checked_customer(texts: Mapping[str, str], rules: ImportRules) -> tuple[Mapping[str, object], list[Problem]]:
    given: dict[str, object] = {name: texts[name] for name in ("country", "province", "city", "timezone")}
    given["kind"] = texts["customerKind"].upper() or rules.kind
    given |= named(texts["customerName"])
    clean, problems = validate(CUSTOMER, {name: value for name, value in given.items() if value}, creating=False)
    fields = {name: value for name, value in clean.items() if value is not None}
    return fields, [
        Problem(p.code, (_TARGET_OF_FIELD.get(p.path[0], p.path[0]), *p.path[1:]), p.allowed, p.params)
        for p in problems
    ]


def named(name: str) -> dict[str, str]:
    """A name under the language its script tells; any name in Latin letters, or none of these, as English."""
    if not name:
        return {}
    if _HANGUL.search(name):
        return {"nameKo": name}
    return {"nameZh" if _HAN.search(name) else "nameEn": name}


def new_customer(order: OrderRow, *, timezone: str) -> dict[str, object]:
    """The client fields of a customer first met in this row; its code serves where it has no name.

    `timezone`: of the territory it goes to. It has ordered, so it is no prospect.
    """
    fields = {"code": order.customer_code, "stage": LifecycleStage.NEW.value, "timezone": timezone, **order.customer}
    return fields if _NAMES & fields.keys() else {**fields, "nameEn": order.customer_code}


@dataclass(frozen=True, slots=True)
class Moment:
    """When an order was placed by its customer's clock; `at` is None where only the day is known."""

    day: str
    at: time | None = None


def parse_moment(text: str) -> Moment:
    """A local day, with or without a time: `2026-01-31`, `2026/01/31`, `2026.01.31`, `20260131`, `2026-01-31T13:45:00`.

    The year comes first, since `01/02/2026` is another day in another country. Raises INVALID_VALUE for any
    other form or an impossible day, OUT_OF_RANGE before 1970.
    """
    found = _DAY.fullmatch(text)
    if found is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=DAY_FORMS))
    year, _, month, day, hour, minute, second = found.groups()
    whole = parse_day(f"{year}-{month}-{day}")
    if whole < DAY_FIRST:
        raise Refused(Problem(Code.OUT_OF_RANGE, allowed=(DAY_FIRST, DAY_LAST)))
    if hour is None:
        return Moment(whole)
    try:
        return Moment(whole, time(int(hour), int(minute), int(second or 0)))
    except ValueError:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=DAY_FORMS)) from None


def ordered_at_ms(moment: Moment, zone: str, now_ms: int) -> int:
    """The instant an order counts as placed, in its customer's zone: noon where only the day is known.

    Raises IN_THE_FUTURE; noon of today, still to come, is taken as now.
    """
    at_ms = _instant_ms(moment.day, moment.at or NOON, zone)
    if at_ms > now_ms and (moment.at is not None or moment.day > _today(now_ms, zone)):
        raise Refused(Problem(Code.IN_THE_FUTURE, ("orderedOn",), (_today(now_ms, zone),)))
    return min(at_ms, now_ms)


@lru_cache(maxsize=256)
def _today(now_ms: int, zone: str) -> str:
    return local_day(now_ms, zone)


@lru_cache(maxsize=4096)
def _instant_ms(day: str, at: time, zone: str) -> int:
    """A time of day a zone skips is read with the offset before the jump, one that comes twice as the first."""
    moment = datetime.combine(date.fromisoformat(day), at, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return check_instant((moment - _EPOCH) // timedelta(milliseconds=1))


def order_line(order: OrderRow) -> dict[str, object]:
    """The one line of an order without articles. Its total is the file's; the price per piece is rounded from it."""
    units = order.units
    return {
        "styleId": None,
        "colourId": None,
        "description": order.description,
        "unitPriceMinor": divide_half_even(order.amount_minor, units) if units else order.amount_minor,
        "discountBp": 0,
        "cells": {NO_ARTICLE: units} if units else {},
        "units": units,
        "totalMinor": order.amount_minor,
    }


def order_number(order: OrderRow) -> str | None:
    """The other system's own number where it gave one short enough to be shown."""
    return order.number if order.number and len(order.number) <= NUMBER_CHARACTERS_MAX else None


def since_day(customer: Mapping[str, object], day: str | None) -> dict[str, object]:
    """The customer with another first day (YYYY-MM-DD, None where none is known), and what follows from it."""
    after = {**customer, "customerSince": day}
    return {**after, **derived_fields(after)}
