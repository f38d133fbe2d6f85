"""How good what is recorded of customers is: complete, fresh, free of contradictions, and each customer once.

Four parts, each with how many things were checked, how many failed and examples; a part of nothing checked says so.
*Source*: R32, R48.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import phonenumbers

from backend.domain.arrays import BASIS_POINTS, BoolArray, IntColumn
from backend.domain.customers import CustomerKind, LifecycleStage, wanted_fields

EXAMPLES_MAX = 5
NO_VALUE = (None, "", "{}", "[]")
"""What a stored column holds where nothing was recorded."""


class QualityPart(StrEnum):
    """A side of data quality."""

    COMPLETENESS = "COMPLETENESS"
    FRESHNESS = "FRESHNESS"
    CONSISTENCY = "CONSISTENCY"
    UNIQUENESS = "UNIQUENESS"


class QualityRule(StrEnum):
    """What is checked; of FIELD_MISSING there is one for each field that is wanted."""

    FIELD_MISSING = "FIELD_MISSING"
    SILENT = "SILENT"
    """no order, visit or change for as many days as asked"""
    PROSPECT_WITH_ORDERS = "PROSPECT_WITH_ORDERS"
    SINCE_AFTER_LAST_ORDER = "SINCE_AFTER_LAST_ORDER"
    """customer since a day after its last order"""
    CURRENCY_OF_PRICE_LIST = "CURRENCY_OF_PRICE_LIST"
    """another currency than its price list's"""
    PHONE_OF_OTHER_COUNTRY = "PHONE_OF_OTHER_COUNTRY"
    DOOR_OF_NO_CHAIN = "DOOR_OF_NO_CHAIN"
    """it hangs below a customer that is no chain"""
    DUPLICATE_SUSPECTED = "DUPLICATE_SUSPECTED"
    """a pair that may be one customer and that nobody has decided on"""
    SAME_TAX_ID = "SAME_TAX_ID"
    SAME_CODE = "SAME_CODE"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule over all customers. `field`: of FIELD_MISSING; `examples`: rows of the first customers that fail it."""

    rule: QualityRule
    checked_n: int
    failed_n: int
    examples: tuple[int, ...]
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """One part. `score_bp`: the share of checks that passed, in basis points; None where nothing was checked."""

    part: QualityPart
    checked_n: int
    failed_n: int
    score_bp: int | None
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """(n,) customers, a column for each stored one.

    `stored`: field → values as they are stored, for every field that may be wanted, and `stage`; `silent_days`: since
    the last order, visit or change; `last_order_day`, `since_day`: days since 1970-01-01; `price_list_currency` and
    `parent_kind`: None where there is none; `suspected`: rows of undecided pairs, one in scope is enough.
    """

    kind: Sequence[str]
    stored: Mapping[str, Sequence[object]]
    silent_days: IntColumn
    last_order_day: IntColumn
    since_day: IntColumn
    price_list_currency: Sequence[str | None]
    parent_kind: Sequence[str | None]
    suspected: BoolArray

    def __len__(self) -> int:
        return len(self.kind)


def data_quality(facts: CustomerFacts, *, stale_days: int) -> tuple[Quality, ...]:
    """The four parts, in the order of `QualityPart`."""
    checks = {
        QualityPart.COMPLETENESS: _missing(facts),
        QualityPart.FRESHNESS: [
            _check(QualityRule.SILENT, facts.silent_days.known, facts.silent_days.values >= stale_days)
        ],
        QualityPart.CONSISTENCY: _contradictions(facts),
        QualityPart.UNIQUENESS: _twice(facts),
    }
    return tuple(_part(part, found) for part, found in checks.items())


def _part(part: QualityPart, checks: Sequence[Check]) -> Quality:
    checked, failed = sum(one.checked_n for one in checks), sum(one.failed_n for one in checks)
    score = BASIS_POINTS * (checked - failed) // checked if checked else None
    ordered = sorted(checks, key=lambda one: (-one.failed_n, one.rule.value, one.field or ""))
    return Quality(part, checked, failed, score, tuple(ordered))


def _check(rule: QualityRule, checked: BoolArray, fails: BoolArray, field: str | None = None) -> Check:
    failed = np.flatnonzero(checked & fails)
    return Check(rule, int(checked.sum()), int(failed.size), tuple(failed[:EXAMPLES_MAX].tolist()), field)


def _recorded(values: Sequence[object]) -> BoolArray:
    return np.array([value not in NO_VALUE for value in values], dtype=np.bool_)


def _missing(facts: CustomerFacts) -> list[Check]:
    """One check for each thing that is wanted of some kind; of several fields that serve alike one is enough."""
    kinds = np.array(facts.kind, dtype=np.str_)
    wanted: dict[tuple[str, ...], BoolArray] = {}
    for kind in CustomerKind:
        of_kind = kinds == kind.value
        for group in wanted_fields(kind.value):
            wanted[group] = wanted.get(group, np.zeros(len(facts), dtype=np.bool_)) | of_kind
    checks = []
    for group, asked in wanted.items():
        held = np.logical_or.reduce([_recorded(facts.stored[name]) for name in group])
        if asked.any():
            checks.append(_check(QualityRule.FIELD_MISSING, asked, ~held, group[0]))
    return checks


def _contradictions(facts: CustomerFacts) -> list[Check]:
    everybody = np.ones(len(facts), dtype=np.bool_)
    ordered = facts.last_order_day.known
    prospect = np.array([stage == LifecycleStage.PROSPECT.value for stage in facts.stored["stage"]], dtype=np.bool_)
    currency = facts.stored["currency"]
    lists = facts.price_list_currency
    listed = np.array([a not in NO_VALUE and b is not None for a, b in zip(currency, lists, strict=True)], np.bool_)
    differ = np.array([a != b for a, b in zip(currency, lists, strict=True)], dtype=np.bool_)
    abroad, phoned = _abroad(facts.stored["phone"], facts.stored["country"])
    parents = facts.parent_kind
    door = np.array([parent is not None for parent in parents], dtype=np.bool_)
    stray = np.array([parent != CustomerKind.CHAIN.value for parent in parents], dtype=np.bool_)
    return [
        _check(QualityRule.PROSPECT_WITH_ORDERS, everybody, prospect & ordered),
        _check(
            QualityRule.SINCE_AFTER_LAST_ORDER,
            ordered & facts.since_day.known,
            facts.since_day.values > facts.last_order_day.values,
        ),
        _check(QualityRule.CURRENCY_OF_PRICE_LIST, listed, differ),
        _check(QualityRule.PHONE_OF_OTHER_COUNTRY, phoned, abroad),
        _check(QualityRule.DOOR_OF_NO_CHAIN, door, stray),
    ]


def _abroad(phones: Sequence[object], countries: Sequence[object]) -> tuple[BoolArray, BoolArray]:
    """Where a telephone number (E.164) has another country's prefix, and where that can be told."""
    prefixes = {
        str(country): f"+{phonenumbers.country_code_for_region(str(country))}"
        for country in set(countries)
        if isinstance(country, str) and country
    }
    known = np.zeros(len(phones), dtype=np.bool_)
    abroad = np.zeros(len(phones), dtype=np.bool_)
    for place, (phone, country) in enumerate(zip(phones, countries, strict=True)):
        prefix = prefixes.get(str(country))
        if isinstance(phone, str) and phone.startswith("+") and prefix not in (None, "+0"):
            known[place], abroad[place] = True, not phone.startswith(str(prefix))
    return abroad, known


def _twice(facts: CustomerFacts) -> list[Check]:
    checks = [_check(QualityRule.DUPLICATE_SUSPECTED, np.ones(len(facts), dtype=np.bool_), facts.suspected)]
    for rule, name in ((QualityRule.SAME_TAX_ID, "taxId"), (QualityRule.SAME_CODE, "code")):
        recorded = _recorded(facts.stored[name])
        texts = np.array([str(value).strip().casefold() for value in facts.stored[name]], dtype=np.str_)
        _, place = np.unique(texts, return_inverse=True)
        count = np.bincount(place[recorded], minlength=len(facts))
        checks.append(_check(rule, recorded, np.asarray(count[place] > 1, dtype=np.bool_)))
    return checks
