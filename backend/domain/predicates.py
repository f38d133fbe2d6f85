"""One language for "which customers": a tree of conditions over declared fields, with two written forms.

What a predicate may say is its vocabulary: fields that are declared once, with their kind. The written forms are in
`predicate_json` and `predicate_text`; both give the same tree, are judged by the same rules, and are refused with every
problem at once, each with its position. Trees are compiled to SQL (`reads/predicates.py`) and evaluated over
columns (`predicate_columns`) with equal answers.

**What is missing.** A condition over a value that was never recorded is neither true nor false, and neither is `not`
of it; `and` and `or` follow Kleene. A record is chosen when the whole is true. `is missing` itself is always true or
false. A set is never unknown: where nothing was recorded it is empty. *Source*: `planning.md` §1; R8, R40.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from backend.domain.custom import CustomField, CustomKind
from backend.domain.fields import INTEGER_MAX
from backend.domain.money import Money
from backend.domain.names import query_keys
from backend.domain.times import add_days, parse_day
from backend.errors import Code, Problem, Refused

DAYS_MAX = 3_660
"""How far from the as-of day a relative day may be, and how long a window."""


PROBLEMS_MAX = 20
"""Problems that are told of one predicate."""
NUMBER_DIGITS_MAX = 25
"""Digits of a written number: what decimal arithmetic keeps exactly."""


class Kind(StrEnum):
    """What a field holds, which decides what may be said of it."""

    CHOICE = "CHOICE"
    """one of a closed list"""
    TEXT = "TEXT"
    """text compared exactly, or by ASCII letters without case"""
    SEARCH = "SEARCH"
    """search keys: found by terms folded as the search folds them"""
    NUMBER = "NUMBER"
    """a number of at most `decimals` places, kept as a whole number of the smallest"""
    MONEY = "MONEY"
    """minor units of a currency; an amount in another currency is not comparable, which is as if it were missing"""
    DAY = "DAY"
    """a local calendar day"""
    AGE = "AGE"
    """whole days from the day `of` another field to the as-of day"""
    BOOL = "BOOL"
    SET = "SET"
    """any number of words"""
    TREE = "TREE"
    """a path `/a/b`, standing below other paths"""


class Op(StrEnum):
    """What is said of a field."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    IN = "in"
    BETWEEN = "between"
    """from the first to the second, both included"""
    MISSING = "missing"
    CONTAINS = "contains"
    STARTS = "starts"
    HAS = "has"
    """the set holds this word"""
    UNDER = "under"
    """the path itself, or below it"""


_ORDERED = (Op.EQUAL, Op.NOT_EQUAL, Op.LESS, Op.AT_MOST, Op.MORE, Op.AT_LEAST, Op.BETWEEN, Op.MISSING)
OPS: Mapping[Kind, tuple[Op, ...]] = {
    Kind.CHOICE: (Op.EQUAL, Op.NOT_EQUAL, Op.IN, Op.MISSING),
    Kind.TEXT: (Op.EQUAL, Op.NOT_EQUAL, Op.IN, Op.CONTAINS, Op.STARTS, Op.MISSING),
    Kind.SEARCH: (Op.CONTAINS, Op.STARTS),
    Kind.NUMBER: (*_ORDERED, Op.IN),
    Kind.MONEY: _ORDERED,
    Kind.DAY: _ORDERED,
    Kind.AGE: _ORDERED,
    Kind.BOOL: (Op.EQUAL, Op.NOT_EQUAL, Op.MISSING),
    Kind.SET: (Op.HAS, Op.IN, Op.MISSING),
    Kind.TREE: (Op.EQUAL, Op.NOT_EQUAL, Op.IN, Op.UNDER, Op.MISSING),
}
"""Kind → what may be said of it."""
LISTED = frozenset({Op.IN, Op.UNDER})
"""Operators over one value or more."""


@dataclass(frozen=True, slots=True)
class PredicateField:
    """One field of a vocabulary.

    `values`: what a CHOICE (or a SET with a closed list) may be; `decimals`: places of a NUMBER; `least`, `most`: its
    range in the smallest unit; `of`: the DAY field an AGE counts from; `windowed`: takes a number of days,
    `orders(90)`, and means all time without; `currency`: the one all amounts of a MONEY field are in; `personal`: says
    something of a person; `reads`: the collection whoever asks must be permitted to read, beside customers; `sums`:
    reading its totals is enough.
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
    decimals: int = 0
    least: int = -INTEGER_MAX
    most: int = INTEGER_MAX
    of: str = ""
    windowed: bool = False
    currency: str = ""
    personal: bool = False
    reads: str = ""
    sums: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """A field as a condition names it; `days` is its window, None for all time."""

    name: str
    days: int | None = None


@dataclass(frozen=True, slots=True)
class OnDay:
    """A calendar day, `YYYY-MM-DD`."""

    day: str


@dataclass(frozen=True, slots=True)
class Today:
    """The as-of day, `days` later (earlier when negative)."""

    days: int = 0


Value = str | bool | int | Money | OnDay | Today


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing said of one field. `values`: none for `missing`, two for `between`, else one, or more for a list."""

    ref: Ref
    op: Op
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Every:
    """All of two parts or more."""

    parts: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Any of two parts or more."""

    parts: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whatever its part does not say."""

    part: "Predicate"


Predicate = Condition | Every | Some | Not


@dataclass(frozen=True, slots=True)
class PredicateLimits:
    """Bounds of one predicate. `depth_max`: how many `and`s, `or`s and `not`s a condition may stand in; `nodes_max`:
    all conditions, `and`s, `or`s and `not`s; `lookups_max`: conditions on what stands in other tables than the record's
    own; `values_max`: of one list; `characters_max`: of the whole text form."""

    depth_max: int = 8
    nodes_max: int = 100
    lookups_max: int = 30
    values_max: int = 200
    value_characters_max: int = 200
    characters_max: int = 10_000


USUAL_LIMITS = PredicateLimits()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The fields a predicate may name. `withheld`: fields there are, but not for whoever asks."""

    fields: Mapping[str, PredicateField]
    withheld: frozenset[str] = frozenset()

    @classmethod
    def of(cls, fields: Sequence[PredicateField]) -> "Vocabulary":
        return cls({found.name: found for found in fields})

    def with_custom(self, defined: Sequence[CustomField]) -> "Vocabulary":
        """With the organisation's own fields of customers, as `custom.<key>`."""
        own = (_custom_field(one) for one in defined)
        return replace(self, fields={**self.fields, **{found.name: found for found in own}})

    def without(self, names: frozenset[str]) -> "Vocabulary":
        """The same with fields withheld; an AGE goes with the day it counts from."""
        gone = {name for name, found in self.fields.items() if name in names or found.of in names}
        kept = {name: found for name, found in self.fields.items() if name not in gone}
        return Vocabulary(kept, self.withheld | gone)


CUSTOM_PREFIX = "custom."
_CUSTOM_KINDS: Mapping[CustomKind, Kind] = {
    CustomKind.TEXT: Kind.TEXT,
    CustomKind.LONG_TEXT: Kind.TEXT,
    CustomKind.INT: Kind.NUMBER,
    CustomKind.DATE: Kind.DAY,
    CustomKind.BOOL: Kind.BOOL,
    CustomKind.CHOICE: Kind.CHOICE,
    CustomKind.CHOICES: Kind.SET,
}


def _custom_field(one: CustomField) -> PredicateField:
    return PredicateField(
        f"{CUSTOM_PREFIX}{one.key}", _CUSTOM_KINDS[one.kind], values=one.choices, personal=one.personal
    )


class Word(str):
    """A word that stands without quotes in the text form: an enum's value, never a text."""

    __slots__ = ()


Raw = str | bool | Decimal | Money | Today
"""A value as it was written, before its field says what it must be."""


def condition_of(vocabulary: Vocabulary, limits: PredicateLimits, ref: Ref, op: Op, raw: Sequence[Raw]) -> Condition:
    """The condition, when field, operator and values go together.

    Raises `Refused` with all problems; paths are `("field",)`, `("days",)`, `("op",)` and `("value", index)`.
    """
    declared = vocabulary.fields.get(ref.name)
    if declared is None:
        code = Code.NOT_PERMITTED if ref.name in vocabulary.withheld else Code.UNKNOWN_FIELD
        raise Refused(Problem(code, ("field",), tuple(sorted(vocabulary.fields)), {"field": ref.name}))
    problems: list[Problem] = []
    if ref.days is not None and not declared.windowed:
        windowed = tuple(sorted(name for name, found in vocabulary.fields.items() if found.windowed))
        problems.append(Problem(Code.INVALID_VALUE, ("days",), windowed))
    elif ref.days is not None and not 1 <= ref.days <= DAYS_MAX:
        problems.append(Problem(Code.OUT_OF_RANGE, ("days",), ("1", str(DAYS_MAX))))
    if op not in OPS[declared.kind]:
        problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("op",), tuple(one.value for one in OPS[declared.kind])))
        raise Refused(*problems)
    wanted = {Op.MISSING: (0, 0), Op.BETWEEN: (2, 2)}.get(op, (1, limits.values_max if op in LISTED else 1))
    if not wanted[0] <= len(raw) <= wanted[1]:
        code = Code.TOO_MANY if len(raw) > wanted[1] > 2 else Code.INVALID_VALUE
        allowed = (str(wanted[1]),) if code is Code.TOO_MANY else tuple(dict.fromkeys(str(count) for count in wanted))
        problems.append(Problem(code, ("values",), allowed))
        raise Refused(*problems)
    values: list[Value] = []
    for place, one in enumerate(raw):
        try:
            values.append(_value(declared, op, one, limits))
        except Refused as refused:
            problems += [problem.under("values", str(place)) for problem in refused.problems]
    if not problems and op is Op.BETWEEN and len({v.currency for v in values if isinstance(v, Money)}) > 1:
        problems.append(Problem(Code.CURRENCY_MIXED, ("values", "1")))
    if problems:
        raise Refused(*problems)
    return Condition(ref, op, tuple(values))


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_PATH_FORM = "/cn/east"


def _value(declared: PredicateField, op: Op, raw: Raw, limits: PredicateLimits) -> Value:
    match declared.kind:
        case Kind.CHOICE:
            return _choice(declared, raw)
        case Kind.SET:
            return _choice(declared, raw) if declared.values else str(_text(raw, limits))
        case Kind.TEXT | Kind.TREE | Kind.SEARCH:
            if isinstance(raw, Word):
                raise Refused(Problem(Code.INVALID_VALUE, allowed=('"text"',)))
            text = _text(raw, limits)
            if declared.kind is Kind.TREE and not text.startswith("/"):
                raise Refused(Problem(Code.INVALID_VALUE, allowed=(f'"{_PATH_FORM}"',)))
            if op in (Op.CONTAINS, Op.STARTS) and not (query_keys(text) if declared.kind is Kind.SEARCH else text):
                raise Refused(Problem(Code.REQUIRED))
            return text
        case Kind.NUMBER | Kind.AGE:
            return _number(declared, raw)
        case Kind.MONEY:
            if not isinstance(raw, Money):
                raise Refused(Problem(Code.INVALID_VALUE, allowed=("1200.50 USD", '{"amountMinor", "currency"}')))
            if declared.currency not in ("", raw.currency):
                raise Refused(Problem(Code.CURRENCY_MIXED, allowed=(declared.currency,)))
            return raw
        case Kind.DAY:
            return _day(raw)
        case Kind.BOOL:
            if not isinstance(raw, bool):
                raise Refused(Problem(Code.INVALID_VALUE, allowed=("true", "false")))
            return raw


def _text(raw: Raw, limits: PredicateLimits) -> str:
    if not isinstance(raw, str):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=('"text"',)))
    if len(raw) > limits.value_characters_max:
        raise Refused(Problem(Code.TOO_LONG, allowed=(str(limits.value_characters_max),)))
    if "\x00" in raw or _HALF_CHARACTER.search(raw):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=('"text"',)))
    return str(raw)


def _choice(declared: PredicateField, raw: Raw) -> str:
    if not isinstance(raw, str) or raw not in declared.values:
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, allowed=declared.values))
    return str(raw)


def _number(declared: PredicateField, raw: Raw) -> int:
    if not isinstance(raw, Decimal):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("number",)))
    if len(raw.as_tuple().digits) > NUMBER_DIGITS_MAX:
        raise Refused(Problem(Code.TOO_LONG, allowed=(str(NUMBER_DIGITS_MAX),)))
    scaled = raw.scaleb(declared.decimals) if abs(raw) <= INTEGER_MAX else None
    if scaled is not None and scaled != scaled.to_integral_value():
        raise Refused(Problem(Code.INVALID_VALUE, allowed=(f"{declared.decimals} decimals",)))
    if scaled is None or not declared.least <= scaled <= declared.most:
        bounds = (number_text(declared.least, declared.decimals), number_text(declared.most, declared.decimals))
        raise Refused(Problem(Code.OUT_OF_RANGE, allowed=bounds))
    return int(scaled)


def _day(raw: Raw) -> Value:
    if isinstance(raw, Today):
        if abs(raw.days) > DAYS_MAX:
            raise Refused(Problem(Code.OUT_OF_RANGE, allowed=(f"today-{DAYS_MAX}", f"today+{DAYS_MAX}")))
        return raw
    if not isinstance(raw, str):
        raise Refused(Problem(Code.INVALID_VALUE, allowed=("2026-01-31", "today-90")))
    return OnDay(parse_day(str(raw)))


def number_text(scaled: int, decimals: int) -> str:
    """A whole number of the smallest unit as a plain decimal, without zeros behind."""
    sign, digits = "-" if scaled < 0 else "", str(abs(scaled)).rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:].rstrip("0")) if decimals else (digits, "")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def refs(predicate: Predicate) -> tuple[Ref, ...]:
    """Every field a predicate names, once, in its order; an iterative walk, so depth does not matter."""
    found: dict[Ref, None] = {}
    waiting = [predicate]
    while waiting:
        match waiting.pop():
            case Condition(ref):
                found[ref] = None
            case Not(part):
                waiting.append(part)
            case Every(parts) | Some(parts):
                waiting.extend(reversed(parts))
    return tuple(found)


def height(predicate: Predicate) -> int:
    """How many `and`s, `or`s and `not`s the deepest condition stands in."""
    match predicate:
        case Not(part):
            return 1 + height(part)
        case Every(parts) | Some(parts):
            return 1 + max(map(height, parts))
        case _:
            return 0


def lookups(predicate: Predicate, vocabulary: Vocabulary) -> int:
    """How many of its conditions are on what stands in other tables."""
    waiting, count = [predicate], 0
    while waiting:
        match waiting.pop():
            case Condition(ref):
                declared = vocabulary.fields[ref.name]
                count += bool(vocabulary.fields[declared.of].reads if declared.of else declared.reads)
            case Not(part):
                waiting.append(part)
            case Every(parts) | Some(parts):
                waiting.extend(parts)
    return count


_TURNED = {Op.LESS: Op.MORE, Op.AT_MOST: Op.AT_LEAST, Op.MORE: Op.LESS, Op.AT_LEAST: Op.AT_MOST}


def by_day(condition: Condition, declared: PredicateField) -> Condition:
    """A condition on an AGE as the one on the day it counts from that says the same."""
    days = [Today(-value) for value in condition.values if isinstance(value, int)]
    turned = tuple(reversed(days))
    return Condition(Ref(declared.of), _TURNED.get(condition.op, condition.op), turned)


def day_of(value: Value, as_of: str) -> str:
    """The calendar day of a value of a DAY field."""
    return add_days(as_of, value.days) if isinstance(value, Today) else value.day if isinstance(value, OnDay) else ""
