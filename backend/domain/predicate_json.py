"""The JSON form of predicates: read with every problem under its path, and written so that it is read back the same.

`{"and": […]}`, `{"or": […]}`, `{"not": …}`, or `{"field", "op", "value" | "values", "days"?}`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from backend.domain.fields import INTEGER_MAX
from backend.domain.money import Money
from backend.domain.predicates import (
    LISTED,
    PROBLEMS_MAX,
    USUAL_LIMITS,
    Condition,
    Every,
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
    condition_of,
    lookups,
    number_text,
)
from backend.errors import Code, Problem, Refused


def write_json(predicate: Predicate, vocabulary: Vocabulary) -> dict[str, object]:
    """The JSON form that `read_json` reads back to an equal tree."""
    match predicate:
        case Every(parts):
            return {"and": [write_json(part, vocabulary) for part in parts]}
        case Some(parts):
            return {"or": [write_json(part, vocabulary) for part in parts]}
        case Not(part):
            return {"not": write_json(part, vocabulary)}
        case Condition(ref, op, values):
            declared = vocabulary.fields[ref.name]
            document: dict[str, object] = {"field": ref.name, "op": op.value}
            if ref.days is not None:
                document["days"] = ref.days
            told = [_json_value(declared, value) for value in values]
            if op in LISTED or op is Op.BETWEEN:
                document["values"] = told
            elif told:
                document["value"] = told[0]
            return document


def _json_value(declared: PredicateField, value: Value) -> object:
    match value:
        case Money():
            return {"amountMinor": value.amount_minor, "currency": value.currency}
        case OnDay(day):
            return day
        case Today(days):
            return {"today": days}
        case bool() | str():
            return value
        case _:
            return float(number_text(value, declared.decimals)) if declared.decimals else value


def read_json(document: object, vocabulary: Vocabulary, limits: PredicateLimits = USUAL_LIMITS) -> Predicate:
    """The predicate of a JSON form (as decoded); raises `Refused` with every problem under its path."""
    reader = _JsonReader(vocabulary, limits)
    found = reader.read(document, (), 0)
    if found is not None and lookups(found, vocabulary) > limits.lookups_max:
        reader.wrong(Code.TOO_MANY, (), str(limits.lookups_max))
    if reader.problems:
        raise Refused(*reader.problems[:PROBLEMS_MAX])
    assert found is not None, "what is not there was a problem"
    return found


_CONDITION_KEYS = ("field", "op", "value", "values", "days")
_FORMS = ("and", "or", "not", "field")


@dataclass
class _JsonReader:
    vocabulary: Vocabulary
    limits: PredicateLimits
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0

    def wrong(self, code: Code, path: tuple[str, ...], *allowed: str) -> None:
        self.problems.append(Problem(code, path, allowed))

    def read(self, document: object, path: tuple[str, ...], depth: int) -> Predicate | None:
        self.nodes += 1
        if self.nodes > self.limits.nodes_max:
            if self.nodes == self.limits.nodes_max + 1:
                self.wrong(Code.TOO_MANY, path, str(self.limits.nodes_max))
            return None
        if depth > self.limits.depth_max:
            self.wrong(Code.OUT_OF_RANGE, path, "0", str(self.limits.depth_max))
            return None
        if not isinstance(document, Mapping):
            self.wrong(Code.INVALID_VALUE, path, *_FORMS)
            return None
        for word in ("and", "or", "not"):
            if word in document:
                for key in document:
                    if key != word:
                        self.wrong(Code.UNKNOWN_FIELD, (*path, _short(key)), word)
                return self.joined(word, document[word], (*path, word), depth + 1)
        return self.condition(document, path)

    def joined(self, word: str, inner: object, path: tuple[str, ...], depth: int) -> Predicate | None:
        if word == "not":
            part = self.read(inner, path, depth)
            return None if part is None else Not(part)
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            self.wrong(Code.REQUIRED if inner == [] else Code.INVALID_VALUE, path, "list")
            return None
        parts = []
        for place, one in enumerate(inner):
            if self.nodes > self.limits.nodes_max:
                break
            parts.append(self.read(one, (*path, str(place)), depth))
        kept = tuple(part for part in parts if part is not None)
        if len(kept) < len(inner):
            return None
        if len(kept) == 1:
            return kept[0]
        return Every(kept) if word == "and" else Some(kept)

    def condition(self, document: Mapping[str, object], path: tuple[str, ...]) -> Predicate | None:
        before = len(self.problems)
        for key in document:
            if key not in _CONDITION_KEYS:
                self.wrong(Code.UNKNOWN_FIELD, (*path, _short(key)), *_CONDITION_KEYS)
        name, days, word = document.get("field"), document.get("days"), document.get("op")
        if not isinstance(name, str):
            self.wrong(Code.REQUIRED if name is None else Code.INVALID_VALUE, (*path, "field"), *_FORMS)
        if days is not None and (not isinstance(days, int) or isinstance(days, bool)):
            self.wrong(Code.INVALID_VALUE, (*path, "days"), "number")
        if not isinstance(word, str) or word not in tuple(Op):
            self.wrong(
                Code.REQUIRED if word is None else Code.NOT_ALLOWED_VALUE, (*path, "op"), *(op.value for op in Op)
            )
        if len(self.problems) > before:
            return None
        op = Op(str(word))
        many = op in LISTED or op is Op.BETWEEN
        key, other = ("values", "value") if many else ("value", "values")
        if other in document:
            self.wrong(Code.UNKNOWN_FIELD, (*path, other), key)
        given = document.get(key, [])
        if many and (not isinstance(given, Sequence) or isinstance(given, str)):
            self.wrong(Code.INVALID_VALUE, (*path, key), "list")
        elif op is not Op.MISSING and key not in document:
            self.wrong(Code.REQUIRED, (*path, key))
        if len(self.problems) > before:
            return None
        items = list(given) if many else [given] if key in document else []  # type: ignore[call-overload]
        raw: list[Raw] = []
        for place, item in enumerate(items[: self.limits.values_max + 1]):
            try:
                raw.append(_raw_of(item))
            except Refused as refused:
                at = (*path, key, str(place)) if many else (*path, key)
                self.problems += [problem.under(*at) for problem in refused.problems]
        if len(self.problems) > before:
            return None
        ref = Ref(str(name), days if isinstance(days, int) else None)
        try:
            return condition_of(self.vocabulary, self.limits, ref, op, raw)
        except Refused as refused:
            self.problems += [
                Problem(problem.code, (*path, *_json_path(problem.path, many)), problem.allowed, problem.params)
                for problem in refused.problems
            ]
            return None


def _json_path(path: tuple[str, ...], many: bool) -> tuple[str, ...]:
    """`values › 0` of the rules is `value` in a document that has only one."""
    return ("value",) if path[:1] == ("values",) and not many else path


def _short(key: object) -> str:
    return str(key)[:40]


def _raw_of(item: object) -> Raw:
    """A JSON value as it was written; raises INVALID_VALUE, OUT_OF_RANGE and NOT_ALLOWED_VALUE (a currency)."""
    match item:
        case bool() | str():
            return item
        case int() if abs(item) <= INTEGER_MAX:
            return Decimal(item)
        case float() if math.isfinite(item):
            return Decimal(repr(item))
        case {"today": int(days), **rest} if not rest and not isinstance(days, bool):
            return Today(days)
        case {"amountMinor": int(amount), "currency": str(currency), **rest} if not rest and not isinstance(
            amount, bool
        ):
            return Money(amount, currency)
        case int():
            raise Refused(Problem(Code.OUT_OF_RANGE, allowed=(str(-INTEGER_MAX), str(INTEGER_MAX))))
        case _:
            allowed = ("text", "number", "true", "false", '{"today"}', '{"amountMinor", "currency"}')
            raise Refused(Problem(Code.INVALID_VALUE, allowed=allowed))
