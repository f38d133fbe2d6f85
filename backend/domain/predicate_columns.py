"""Predicates over whole columns: the answers the database gives, without one.

Each condition gives two masks, where it is true and where it is false; where it is neither, something is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray, IntColumn
from backend.domain.money import Money
from backend.domain.names import query_keys
from backend.domain.predicates import (
    Condition,
    Every,
    Kind,
    Not,
    Op,
    Predicate,
    PredicateField,
    Ref,
    Some,
    Vocabulary,
    by_day,
    day_of,
)
from backend.domain.times import day_number


@dataclass(frozen=True, slots=True)
class TextColumn:
    """(n,) texts, None where nothing was recorded: CHOICE, TEXT, TREE, and the search keys of SEARCH."""

    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class MoneyColumn:
    """(n,) minor units, each in the currency of its row."""

    amount_minor: IntColumn
    currency: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class SetColumn:
    """(n,) sets of words; one of which nothing was recorded is empty."""

    values: tuple[frozenset[str], ...]


Column = IntColumn | TextColumn | MoneyColumn | SetColumn
"""NUMBER (smallest units), DAY (days since 1970-01-01) and BOOL (0, 1) are `IntColumn`s. An AGE needs none."""


@dataclass(frozen=True, slots=True)
class Truth:
    """(n,) masks: where something holds and where it does not; neither where it cannot be known."""

    true: BoolArray
    false: BoolArray

    @classmethod
    def of(cls, holds: BoolArray, known: BoolArray) -> "Truth":
        return cls(holds & known, ~holds & known)

    def __invert__(self) -> "Truth":
        return Truth(self.false, self.true)


def select(predicate: Predicate, vocabulary: Vocabulary, columns: Mapping[Ref, Column], *, as_of: str) -> BoolArray:
    """(n,) True where the predicate holds as of a local day. `columns`: one for each of its `needed` fields."""
    return _truth(predicate, vocabulary, columns, as_of).true


def needed(found: Sequence[Ref], vocabulary: Vocabulary) -> tuple[Ref, ...]:
    """The columns a predicate with these fields reads: an AGE reads the day it counts from."""
    return tuple(dict.fromkeys(Ref(of) if (of := vocabulary.fields[ref.name].of) else ref for ref in found))


def _truth(predicate: Predicate, vocabulary: Vocabulary, columns: Mapping[Ref, Column], as_of: str) -> Truth:
    match predicate:
        case Not(part):
            return ~_truth(part, vocabulary, columns, as_of)
        case Every(parts):
            found = [_truth(part, vocabulary, columns, as_of) for part in parts]
            return Truth(_all(*(one.true for one in found)), _any(*(one.false for one in found)))
        case Some(parts):
            found = [_truth(part, vocabulary, columns, as_of) for part in parts]
            return Truth(_any(*(one.true for one in found)), _all(*(one.false for one in found)))
        case Condition() as condition:
            declared = vocabulary.fields[condition.ref.name]
            if declared.kind is Kind.AGE:
                condition = by_day(condition, declared)
                declared = vocabulary.fields[condition.ref.name]
            return _said(condition, declared, columns[condition.ref], as_of)


def _all(*masks: BoolArray) -> BoolArray:
    return np.asarray(np.logical_and.reduce(masks), dtype=np.bool_)


def _any(*masks: BoolArray) -> BoolArray:
    return np.asarray(np.logical_or.reduce(masks), dtype=np.bool_)


def _said(condition: Condition, declared: PredicateField, column: Column, as_of: str) -> Truth:
    match column:
        case SetColumn(values):
            return _of_sets(condition, values)
        case TextColumn(values):
            return _of_texts(condition, declared, values)
        case MoneyColumn():
            return _of_money(condition, column)
        case IntColumn():
            numbers = [
                day_number(day_of(value, as_of)) if declared.kind is Kind.DAY else int(value)  # type: ignore[arg-type]
                for value in condition.values
            ]
            return _of_numbers(condition.op, numbers, column)


def _of_sets(condition: Condition, values: Sequence[frozenset[str]]) -> Truth:
    wanted = frozenset(str(value) for value in condition.values)
    if condition.op is Op.MISSING:
        holds = np.array([not held for held in values], dtype=np.bool_)
    else:
        holds = np.array([not wanted.isdisjoint(held) for held in values], dtype=np.bool_)
    return Truth(holds, ~holds)


def _of_texts(condition: Condition, declared: PredicateField, values: Sequence[str | None]) -> Truth:
    known = np.array([value is not None for value in values], dtype=np.bool_)
    if condition.op is Op.MISSING:
        return Truth(~known, known)
    holds_of = _text_rule(condition, declared)
    return Truth.of(np.array([value is not None and holds_of(value) for value in values], dtype=np.bool_), known)


def _text_rule(condition: Condition, declared: PredicateField) -> Callable[[str], bool]:
    wanted = [str(value) for value in condition.values]
    first = wanted[0]
    if declared.kind is Kind.SEARCH:
        ahead = " " if condition.op is Op.STARTS else ""
        terms = [f"{ahead}{term}" for term in query_keys(first)]
        return lambda keys: all(term in f"{ahead}{keys}" for term in terms)
    match condition.op:
        case Op.EQUAL:
            return lambda text: text == first
        case Op.NOT_EQUAL:
            return lambda text: text != first
        case Op.CONTAINS:
            return lambda text: lower_ascii(first) in lower_ascii(text)
        case Op.STARTS:
            return lambda text: lower_ascii(text).startswith(lower_ascii(first))
        case Op.UNDER:
            return lambda path: any(path == one or path.startswith(f"{one.rstrip('/')}/") for one in wanted)
        case _:
            among = frozenset(wanted)
            return lambda text: text in among


_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def lower_ascii(text: str) -> str:
    """The text with A-Z as a-z and all else as it is: what both databases do, whatever their locale."""
    return text.translate(_LOWER)


def _of_money(condition: Condition, column: MoneyColumn) -> Truth:
    amounts = [value for value in condition.values if isinstance(value, Money)]
    known = column.amount_minor.known
    if amounts:
        same = np.array([code == amounts[0].currency for code in column.currency], dtype=np.bool_)
        known = known & same
    return _of_numbers(
        condition.op, [one.amount_minor for one in amounts], IntColumn(column.amount_minor.values, known)
    )


def _of_numbers(op: Op, wanted: Sequence[int], column: IntColumn) -> Truth:
    values, known = column.values, column.known
    if op is Op.MISSING:
        return Truth(~known, known)
    first = wanted[0]
    match op:
        case Op.EQUAL:
            holds = values == first
        case Op.NOT_EQUAL:
            holds = values != first
        case Op.LESS:
            holds = values < first
        case Op.AT_MOST:
            holds = values <= first
        case Op.MORE:
            holds = values > first
        case Op.AT_LEAST:
            holds = values >= first
        case Op.BETWEEN:
            holds = (values >= first) & (values <= wanted[1])
        case _:
            holds = np.isin(values, np.array(wanted, dtype=np.int64))
    return Truth.of(np.asarray(holds, dtype=np.bool_), known)
