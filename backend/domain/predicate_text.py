"""The text form of predicates, as people write them: read with every problem at its place, printed in one way.

predicate  = all ("or" all)*            all = one ("and" one)*
one        = "not" one | "(" predicate ")" | condition
condition  = field comparison value | field ["not"] "in" "(" value ("," value)* ")"
           | field ["not"] "between" value "and" value | field "is" ["not"] "missing"
           | field ["not"] ("contains" | "starts" | "has" | "under") value
field      = name ("." name)* ["(" days ")"]
value      = 12.5 | 1200.50 USD | "text" | WORD | 2026-01-31 | today | today-90 | true | false
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from backend.domain.money import Money, exponent, parse_currency, parse_decimal
from backend.domain.predicates import (
    LISTED,
    PROBLEMS_MAX,
    USUAL_LIMITS,
    Condition,
    Every,
    Kind,
    Not,
    OnDay,
    Op,
    Predicate,
    PredicateField,
    PredicateLimits,
    Raw,
    Ref,
    Some,
    Today,
    Value,
    Vocabulary,
    Word,
    condition_of,
    height,
    lookups,
    number_text,
)
from backend.errors import Code, Problem, Refused

BRACKETS_PER_LEVEL = 2
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")
    | (?P<day>\d{4}-\d\d-\d\d)(?![\w-])
    | (?P<number>[+-]?\d+(?:\.\d+)?)(?!\w)
    | (?P<word>[^\W\d]\w*(?:\.\w+)*)
    | (?P<sign><=|>=|!=|[=<>(),+-])
    )""",
    re.VERBOSE,
)
_KEYWORDS = frozenset({"and", "or", "not", "in", "between", "is", "missing", "contains", "starts", "has", "under"})
_COMPARED = {op.value: op for op in (Op.EQUAL, Op.NOT_EQUAL, Op.LESS, Op.AT_MOST, Op.MORE, Op.AT_LEAST)}
_WORDED = {op.value: op for op in (Op.CONTAINS, Op.STARTS, Op.HAS)}
_AFTER_FIELD = (*_COMPARED, "in", "between", "is missing", *_WORDED, "under", "not")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    offset: int


END = "end"


class _Lost(Exception):
    """What follows cannot be read as a condition; reading goes on behind it."""


class _Hopeless(Exception):
    """Too deep, too many, or too much wrong: what follows is not read."""


def read_text(text: str, vocabulary: Vocabulary, limits: PredicateLimits = USUAL_LIMITS) -> Predicate:
    """The predicate of a text form; raises `Refused` with every problem at its place, TOO_LONG for a text not read.

    A problem's path ends with `offset=…`, `line=…`, `column=…`: the offset counts characters from 0, lines and columns
    from 1. Reading goes on behind a condition that cannot be read, to the next `and`, `or` or bracket.
    """
    if len(text) > limits.characters_max:
        raise Refused(Problem(Code.TOO_LONG, allowed=(str(limits.characters_max),)))
    reader = _TextReader(text, vocabulary, limits)
    found = reader.whole()
    if reader.problems:
        raise Refused(*reader.problems)
    assert found is not None, "what is not there was a problem"
    return found


class _TextReader:
    def __init__(self, text: str, vocabulary: Vocabulary, limits: PredicateLimits) -> None:
        self.text, self.vocabulary, self.limits = text, vocabulary, limits
        self.problems: list[Problem] = []
        self.nodes = 0
        self.at = 0
        self.tokens = list(self._tokens())

    def _tokens(self) -> Iterator[_Token]:
        at = 0
        while True:
            found = _TOKEN.match(self.text, at)
            if found is None:
                rest = len(self.text) - len(self.text[at:].lstrip())
                if rest < len(self.text):
                    yield _Token("unreadable", self.text[rest], rest)
                    at = rest + 1
                    continue
                yield _Token(END, "", len(self.text))
                return
            kind = str(found.lastgroup)
            yield _Token(kind, found.group(kind), found.start(kind))
            at = found.end()

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += token.kind != END
        return token

    def is_next(self, text: str) -> bool:
        return self.next.text == text and self.next.kind in ("word", "sign")

    def skip(self, text: str) -> bool:
        if not self.is_next(text):
            return False
        self.at += 1
        return True

    def wrong(self, code: Code, offset: int, allowed: tuple[str, ...] = (), path: tuple[str, ...] = ()) -> None:
        line = self.text.count("\n", 0, offset) + 1
        column = offset - (self.text.rfind("\n", 0, offset) + 1) + 1
        place = (f"offset={offset}", f"line={line}", f"column={column}")
        self.problems.append(Problem(code, (*path, *place), allowed))
        if len(self.problems) >= PROBLEMS_MAX:
            raise _Hopeless

    def lost(self, *allowed: str) -> _Lost:
        self.wrong(Code.REQUIRED if self.next.kind == END else Code.INVALID_VALUE, self.next.offset, allowed)
        return _Lost()

    def count(self, offset: int) -> None:
        self.nodes += 1
        if self.nodes > self.limits.nodes_max:
            self.wrong(Code.TOO_MANY, offset, (str(self.limits.nodes_max),))
            raise _Hopeless

    def whole(self) -> Predicate | None:
        try:
            found = self.some(0)
            if found is not None and not self.problems and height(found) > self.limits.depth_max:
                self.wrong(Code.OUT_OF_RANGE, 0, ("0", str(self.limits.depth_max)))
            if found is not None and lookups(found, self.vocabulary) > self.limits.lookups_max:
                self.wrong(Code.TOO_MANY, 0, (str(self.limits.lookups_max),))
            while self.next.kind != END:
                self.wrong(Code.INVALID_VALUE, self.next.offset, ("and", "or"))
                self.take()
                self.recover()
                if self.skip("and") or self.skip("or"):
                    self.some(0)
            return found
        except _Hopeless:
            return None

    def recover(self) -> None:
        """Go to the next `and`, `or` or `)` that belongs to nothing opened meanwhile."""
        depth = 0
        while self.next.kind != END:
            if depth == 0 and (self.is_next("and") or self.is_next("or") or self.is_next(")")):
                return
            token = self.take()
            depth += (token.text == "(") - (token.text == ")") if token.kind == "sign" else 0

    def some(self, depth: int) -> Predicate | None:
        return self.joined("or", depth)

    def joined(self, word: str, depth: int) -> Predicate | None:
        start = self.next.offset
        parts = [self.part(word, depth)]
        while self.skip(word):
            parts.append(self.part(word, depth))
        if len(parts) == 1:
            return parts[0]
        self.count(start)
        kept = tuple(part for part in parts if part is not None)
        if len(kept) < len(parts):
            return None
        return Some(kept) if word == "or" else Every(kept)

    def part(self, word: str, depth: int) -> Predicate | None:
        return self.joined("and", depth) if word == "or" else self.one(depth)

    def deep(self, depth: int, offset: int) -> None:
        """Brackets may be more than the tree is high, but not without end."""
        if depth > BRACKETS_PER_LEVEL * (1 + self.limits.depth_max):
            self.wrong(Code.OUT_OF_RANGE, offset, ("0", str(self.limits.depth_max)))
            raise _Hopeless

    def one(self, depth: int) -> Predicate | None:
        token = self.next
        if self.skip("not"):
            self.count(token.offset)
            self.deep(depth + 1, token.offset)
            part = self.one(depth + 1)
            return None if part is None else Not(part)
        if self.skip("("):
            self.deep(depth + 1, token.offset)
            found = self.some(depth + 1)
            if not self.skip(")"):
                self.wrong(Code.REQUIRED, self.next.offset, (")", "and", "or"))
                self.recover()
                self.skip(")")
                return None
            return found
        self.count(token.offset)
        try:
            return self.condition()
        except _Lost:
            self.recover()
            return None

    def condition(self) -> Predicate | None:
        start = self.next
        if start.kind != "word" or start.text in _KEYWORDS:
            raise self.lost("not", "(", *sorted(self.vocabulary.fields))
        ref = Ref(self.take().text, self.days())
        sign = self.next
        if self.skip("is"):
            negated = self.skip("not")
            if not self.skip("missing"):
                raise self.lost("missing")
            op, raw, places = Op.MISSING, list[Raw](), list[int]()
        else:
            negated = self.skip("not")
            op, raw, places = self.said(negated)
        if negated:
            self.count(sign.offset)
        try:
            found = condition_of(self.vocabulary, self.limits, ref, op, raw)
        except Refused as refused:
            for problem in refused.problems:
                self.wrong(problem.code, self.place(problem.path, start, sign, places), problem.allowed, (ref.name,))
            return None
        return Not(found) if negated else found

    def place(self, path: tuple[str, ...], start: _Token, sign: _Token, places: list[int]) -> int:
        match path:
            case ("values", index):
                return places[int(index)]
            case ("values",) | ("op",):
                return sign.offset
            case _:
                return start.offset

    def days(self) -> int | None:
        if not self.skip("("):
            return None
        token = self.take()
        if token.kind != "number" or not token.text.isdecimal() or len(token.text) > 9:
            self.at -= token.kind != END
            raise self.lost("days")
        if not self.skip(")"):
            raise self.lost(")")
        return int(token.text)

    def said(self, negated: bool) -> tuple[Op, list[Raw], list[int]]:
        """Operator, values and where each value stands."""
        token = self.next
        if token.kind == "sign" and token.text in _COMPARED and not negated:
            self.take()
            return _COMPARED[token.text], *self.values(1)
        if self.skip("between"):
            first, at = self.values(1)
            if not self.skip("and"):
                raise self.lost("and")
            second, behind = self.values(1)
            return Op.BETWEEN, first + second, at + behind
        for op in LISTED:
            if self.skip(op.value):
                return op, *self.listed()
        if token.kind == "word" and token.text in _WORDED:
            self.take()
            return _WORDED[token.text], *self.values(1)
        raise self.lost(*_AFTER_FIELD)

    def listed(self) -> tuple[list[Raw], list[int]]:
        if not self.skip("("):
            return self.values(1)
        raw, places = self.values(1)
        while self.skip(","):
            more, at = self.values(1)
            raw, places = raw + more, places + at
        if not self.skip(")"):
            raise self.lost(",", ")")
        return raw, places

    def values(self, count: int) -> tuple[list[Raw], list[int]]:
        places, raw = [], []
        for _ in range(count):
            places.append(self.next.offset)
            raw.append(self.value())
        return raw, places

    def value(self) -> Raw:
        token = self.next
        match token.kind:
            case "number":
                self.take()
                return self.number(token)
            case "day":
                self.take()
                return Word(token.text)
            case "text":
                self.take()
                try:
                    return str(json.loads(token.text))
                except ValueError:
                    self.at -= 1
                    raise self.lost('"text"') from None
            case "word" if token.text not in _KEYWORDS:
                self.take()
                if token.text in ("true", "false"):
                    return token.text == "true"
                return self.today() if token.text == "today" else Word(token.text)
        raise self.lost("number", '"text"', "WORD", "2026-01-31", "today-90", "true", "false")

    def number(self, token: _Token) -> Raw:
        if self.next.kind != "word" or not re.fullmatch(r"[A-Z]{3}", self.next.text):
            return Decimal(token.text)
        currency = self.take()
        try:
            return Money(parse_decimal(token.text, parse_currency(currency.text)), currency.text)
        except Refused as refused:
            [problem] = refused.problems
            self.wrong(problem.code, token.offset, problem.allowed)
            raise _Lost from None

    def today(self) -> Raw:
        sign = self.next
        if sign.kind == "number" and sign.text[0] in "+-" and sign.text[1:].isdecimal():
            return Today(int(self.take().text[:10]))
        if sign.kind == "sign" and sign.text in "+-":
            self.take()
            token = self.next
            if token.kind != "number" or not token.text.isdecimal():
                raise self.lost("days")
            return Today(int(sign.text + self.take().text[:9]))
        return Today()


def write_text(predicate: Predicate, vocabulary: Vocabulary) -> str:
    """The one printed form, which `read_text` reads back to an equal tree."""
    match predicate:
        case Every(parts):
            return " and ".join(_inner(part, vocabulary, Every) for part in parts)
        case Some(parts):
            return " or ".join(_inner(part, vocabulary, Some) for part in parts)
        case Not(part):
            return f"not {_inner(part, vocabulary, Not)}"
        case Condition(ref, op, values):
            declared = vocabulary.fields[ref.name]
            name = ref.name if ref.days is None else f"{ref.name}({ref.days})"
            told = [_written(declared, value) for value in values]
            if op is Op.MISSING:
                return f"{name} is missing"
            if op is Op.BETWEEN:
                return f"{name} between {told[0]} and {told[1]}"
            return f"{name} {op.value} ({', '.join(told)})" if op in LISTED else f"{name} {op.value} {told[0]}"


def _inner(part: Predicate, vocabulary: Vocabulary, within: type[Every | Some | Not]) -> str:
    text = write_text(part, vocabulary)
    joins = isinstance(part, Some) or (isinstance(part, Every) and within is not Some)
    return f"({text})" if joins else text


def _written(declared: PredicateField, value: Value) -> str:
    match value:
        case Money():
            return f"{number_text(value.amount_minor, exponent(value.currency))} {value.currency}"
        case OnDay(day):
            return day
        case Today(days):
            return f"today{days:+d}" if days else "today"
        case bool():
            return "true" if value else "false"
        case int():
            return number_text(value, declared.decimals)
        case str():
            is_word = declared.kind is Kind.CHOICE and _TOKEN.fullmatch(value) and value.isidentifier()
            bare = is_word and value not in _KEYWORDS and value not in ("true", "false", "today")
            return value if bare else json.dumps(value, ensure_ascii=False)
