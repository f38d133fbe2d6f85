"""Which two records are likely one: integer evidence that a phone computes as the server does (R32; `vectors/`).

Evidence adds up: the same tax number, telephone or e-mail, the same name or one much like it, nearness; and
against it another tax number, distance, another birthday. Names are compared as they are written, without the
words that only say a company's legal form. Nothing here decides to merge: people do.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.customers import CustomerKind, names_of
from backend.domain.names import fold

LIKELY_POINTS = 65
POSSIBLE_POINTS = 40
ALIKE_PERCENT = 70
NEAR_M = 150
AROUND_M = 1_000
FAR_M = 20_000
METRE_E7 = 90
"""One metre on a meridian in degrees times 10^7, rounded up."""
CELL_E7 = 100_000
"""Side of the cells by which neighbours are found: a little more than a kilometre on a meridian."""
COS_PERCENT = (100, 98, 94, 87, 77, 64, 50, 34, 17)
"""Cosine of 0, 10 … 80 degrees in percent: what a degree of longitude is worth there."""
LEGAL_FORMS = (
    "股份有限公司", "有限责任公司", "有限公司", "公司", "주식회사", "유한회사", "(주)", "㈜",
    "incorporated", "corporation", "company", "limited", "corp", "gmbh", "inc", "llc", "ltd", "co",
)  # fmt: skip
_LATIN_FORM = re.compile(
    rf"\b(?:{'|'.join(form for form in LEGAL_FORMS if form.isascii() and form.isalpha())})\b",
    re.ASCII,  # as JavaScript draws the border of a word
)
_OTHER_FORM = re.compile(
    "|".join(re.escape(fold(form)) for form in LEGAL_FORMS if not form.isalpha() or not form.isascii())
)


class MatchReason(StrEnum):
    """What speaks for two records being one, or against it."""

    NAMED = "NAMED"
    """a colleague said so"""
    SAME_CODE = "SAME_CODE"
    SAME_TAX_ID = "SAME_TAX_ID"
    SAME_PHONE = "SAME_PHONE"
    SAME_EMAIL = "SAME_EMAIL"
    SAME_NAME = "SAME_NAME"
    SAME_PERSON_NAME = "SAME_PERSON_NAME"
    NAME_ALIKE = "NAME_ALIKE"
    NEAR = "NEAR"
    AROUND = "AROUND"
    SAME_BIRTHDAY = "SAME_BIRTHDAY"
    SAME_CUSTOMER = "SAME_CUSTOMER"
    OTHER_TAX_ID = "OTHER_TAX_ID"
    OTHER_KIND = "OTHER_KIND"
    OTHER_BIRTHDAY = "OTHER_BIRTHDAY"
    FAR = "FAR"


class MatchLevel(StrEnum):
    """How likely two records are one."""

    LIKELY = "LIKELY"
    POSSIBLE = "POSSIBLE"


POINTS: Mapping[MatchReason, int] = {
    MatchReason.NAMED: 100,
    MatchReason.SAME_CODE: 60,
    MatchReason.SAME_TAX_ID: 60,
    MatchReason.SAME_PHONE: 40,
    MatchReason.SAME_EMAIL: 40,
    MatchReason.SAME_NAME: 45,
    MatchReason.SAME_PERSON_NAME: 25,
    MatchReason.NAME_ALIKE: 25,
    MatchReason.NEAR: 25,
    MatchReason.AROUND: 10,
    MatchReason.SAME_BIRTHDAY: 25,
    MatchReason.SAME_CUSTOMER: 25,
    MatchReason.OTHER_TAX_ID: -40,
    MatchReason.OTHER_KIND: -30,
    MatchReason.OTHER_BIRTHDAY: -40,
    MatchReason.FAR: -25,
}


@dataclass(frozen=True, slots=True)
class Match:
    """Two records that may be one. `points` is the sum over `reasons`, at least `POSSIBLE_POINTS`."""

    record_id: str
    points: int
    reasons: tuple[MatchReason, ...]

    @property
    def level(self) -> MatchLevel:
        return MatchLevel.LIKELY if self.points >= LIKELY_POINTS else MatchLevel.POSSIBLE


def name_core(text: str) -> str:
    """A name folded, without legal forms, spaces and marks; of a name that is nothing else, all of it."""
    folded = fold(text)
    bare = _OTHER_FORM.sub(" ", _LATIN_FORM.sub(" ", folded))
    return _letters(bare) or _letters(folded)


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def name_cores(record: Mapping[str, object]) -> list[str]:
    """The cores of all names of a record, in the order zh, ko, en, each once."""
    return list(dict.fromkeys(core for name in names_of(record).values() if name and (core := name_core(name))))


def alike_percent(one: str, other: str) -> int:
    """Shared pairs of neighbouring characters in percent of all pairs (Dice, rounded down); 100 for equal texts."""
    if one == other:
        return 100
    pairs = {one[at : at + 2] for at in range(len(one) - 1)}
    others = {other[at : at + 2] for at in range(len(other) - 1)}
    return 200 * len(pairs & others) // (len(pairs) + len(others)) if pairs and others else 0


def customer_reasons(one: Mapping[str, object], other: Mapping[str, object]) -> list[MatchReason]:
    """The evidence about two customers. Doors of one chain share its tax number and its name: that says nothing."""
    found = [MatchReason.SAME_CODE] if _same(one, other, "code") else []
    one_chain = _one_chain(one, other)
    if one_chain:
        pass
    elif _same(one, other, "taxId"):
        found.append(MatchReason.SAME_TAX_ID)
    elif one.get("taxId") and other.get("taxId"):
        found.append(MatchReason.OTHER_TAX_ID)
    found += _same_number(one, other)
    if not one_chain:
        found += _name_reason(one, other, person=CustomerKind.CONSUMER in (one.get("kind"), other.get("kind")))
    found += _distance_reason(one, other)
    kinds = one.get("kind"), other.get("kind")
    if None not in kinds and (kinds[0] == CustomerKind.CONSUMER) != (kinds[1] == CustomerKind.CONSUMER):
        found.append(MatchReason.OTHER_KIND)
    return found


def contact_reasons(
    one: Mapping[str, object],
    other: Mapping[str, object],
    *,
    customers: Collection[str] = (),
    other_customers: Collection[str] = (),
) -> list[MatchReason]:
    """The evidence about two contacts; `customers` are the ids of those they work at."""
    found = _same_number(one, other) + _name_reason(one, other, person=True)
    if _same(one, other, "birthDate"):
        found.append(MatchReason.SAME_BIRTHDAY)
    elif one.get("birthDate") and other.get("birthDate"):
        found.append(MatchReason.OTHER_BIRTHDAY)
    if set(customers) & set(other_customers):
        found.append(MatchReason.SAME_CUSTOMER)
    return found


def match(record_id: str, reasons: Sequence[MatchReason]) -> Match | None:
    """The match the evidence makes; None below `POSSIBLE_POINTS`."""
    points = sum(POINTS[reason] for reason in reasons)
    return Match(record_id, points, tuple(reasons)) if points >= POSSIBLE_POINTS else None


def best_first(matches: Iterable[Match | None]) -> list[Match]:
    """By points, then by id."""
    return sorted((found for found in matches if found is not None), key=lambda found: (-found.points, found.record_id))


def match_keys(record: Mapping[str, object]) -> list[str]:
    """Keys of which two records share at least one before they can match; sorted, each once.

    A name that is only alike needs nearness besides, which the cells of a grid bring.
    """
    numbers = (("k", "code"), ("t", "taxId"), ("p", "phone"), ("e", "email"))
    keys = [f"{letter}:{str(record[name]).lower()}" for letter, name in numbers if record.get(name)]
    keys += [f"n:{core}" for core in name_cores(record)]
    if (cell := _cell(record)) is not None:
        keys.append("c:{}:{}".format(*cell))
    if record.get("birthDate"):
        keys.append(f"b:{record['birthDate']}")
    return sorted(set(keys))


def wanted_keys(record: Mapping[str, object]) -> list[str]:
    """`match_keys` and the cells around: what to look for when looking for this record's likes."""
    keys = set(match_keys(record))
    if (cell := _cell(record)) is not None:
        keys |= {f"c:{cell[0] + north}:{cell[1] + east}" for north in (-1, 0, 1) for east in (-2, -1, 0, 1, 2)}
    return sorted(keys)


def _same_number(one: Mapping[str, object], other: Mapping[str, object]) -> list[MatchReason]:
    wanted = ((MatchReason.SAME_PHONE, "phone"), (MatchReason.SAME_EMAIL, "email"))
    return [reason for reason, name in wanted if _same(one, other, name)]


def _name_reason(one: Mapping[str, object], other: Mapping[str, object], *, person: bool) -> list[MatchReason]:
    """Many people have the same name, and more have one like it; few companies do."""
    alike = max((alike_percent(a, b) for a in name_cores(one) for b in name_cores(other)), default=0)
    if alike == 100:
        return [MatchReason.SAME_PERSON_NAME if person else MatchReason.SAME_NAME]
    return [MatchReason.NAME_ALIKE] if alike >= ALIKE_PERCENT and not person else []


def _same(one: Mapping[str, object], other: Mapping[str, object], name: str) -> bool:
    value = one.get(name)
    return isinstance(value, str) and bool(value) and value.lower() == str(other.get(name) or "").lower()


def _one_chain(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    heads = [record.get("parentId") or record.get("id") for record in (one, other)]
    return heads[0] is not None and heads[0] == heads[1]


def _cell(record: Mapping[str, object]) -> tuple[int, int] | None:
    lat, lon = record.get("latE7"), record.get("lonE7")
    return (lat // CELL_E7, lon // CELL_E7) if isinstance(lat, int) and isinstance(lon, int) else None


def _distance_reason(one: Mapping[str, object], other: Mapping[str, object]) -> list[MatchReason]:
    """Whole numbers only, and none above 2^53, so that JavaScript comes to the same."""
    lat, lon, other_lat, other_lon = (record.get(name) for record in (one, other) for name in ("latE7", "lonE7"))
    if not (
        isinstance(lat, int) and isinstance(lon, int) and isinstance(other_lat, int) and isinstance(other_lon, int)
    ):
        return []
    north = abs(lat - other_lat)
    east = abs(lon - other_lon)
    # around the back of the earth is the shorter way
    east = min(east, 3_600_000_000 - east) * COS_PERCENT[min(abs(lat) // 100_000_000, 8)] // 100
    if max(north, east) > FAR_M * METRE_E7:
        return [MatchReason.FAR]
    square = north * north + east * east
    for reason, metres in ((MatchReason.NEAR, NEAR_M), (MatchReason.AROUND, AROUND_M)):
        if square <= (metres * METRE_E7) ** 2:
            return [reason]
    return [MatchReason.FAR] if square > (FAR_M * METRE_E7) ** 2 else []
