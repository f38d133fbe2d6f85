"""Predicates drawn at random over a vocabulary, of every kind, operator and depth."""

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal

from backend.domain.custom import CustomField, CustomKind
from backend.domain.customer_fields import customer_vocabulary
from backend.domain.money import Money
from backend.domain.predicates import (
    LISTED,
    OPS,
    USUAL_LIMITS,
    Every,
    Kind,
    Not,
    Op,
    Predicate,
    PredicateField,
    Raw,
    Ref,
    Some,
    Today,
    condition_of,
)

OWN = (
    CustomField("tier", CustomKind.CHOICE, choices=("gold", "2nd-rate", "and")),
    CustomField("doors", CustomKind.INT),
    CustomField("opened", CustomKind.DATE),
    CustomField("vip", CustomKind.BOOL),
    CustomField("marks", CustomKind.CHOICES, choices=("a", "b", "today")),
    CustomField("remark", CustomKind.TEXT, personal=True),
)
VOCABULARY = customer_vocabulary("USD").with_custom(OWN)
TEXTS = (
    "Shanghai",
    "shanghai",
    "서울",
    "北京",
    'a "quoted"\ntext',
    "O'Neil",
    "ÉCOLE",
    "École",
    "back\\slash",
    "100%_",
    " ",
)
NAMES = ("北辰百货", "온유 스토어", "Grace Miller", "ㅇㅇ", "beichen", "GR", "mil", "+82 10-1234", "zzz")
PATHS = ("/cn", "/cn/north", "/cn/nor", "/cn/south", "/kr", "/")
TAGS = ("vip", "가", "no-mail", 'q"uote')
DAYS = ("2026-11-22", "2026-11-21", "2026-05-05", "2024-02-29", "1999-12-31")
OFFSETS = (0, -1, -30, -90, -365, 7)
WINDOWS = (1, 7, 90, 365)
AMOUNTS = (0, 1, 999, 10_000, 123_456, 2**40, -5)
CURRENCIES = ("USD", "KRW", "KWD")


def drawn(rng: random.Random, fields: Mapping[str, PredicateField] = VOCABULARY.fields, depth: int = 3) -> Predicate:
    """A predicate at most `depth` high."""
    if depth == 0 or rng.random() < 0.35:
        return _condition(rng, rng.choice(sorted(fields.items()))[1])
    if rng.random() < 0.3:
        return Not(drawn(rng, fields, depth - 1))
    parts = tuple(drawn(rng, fields, depth - 1) for _ in range(rng.randint(2, 3)))
    return rng.choice((Every, Some))(parts)


def _condition(rng: random.Random, declared: PredicateField) -> Predicate:
    op = rng.choice(OPS[declared.kind])
    count = {Op.MISSING: 0, Op.BETWEEN: 2}.get(op, rng.randint(1, 3) if op in LISTED else 1)
    window = rng.choice((None, *WINDOWS)) if declared.windowed else None
    currency = declared.currency or rng.choice(CURRENCIES)
    raw = [_raw(rng, declared, op, currency) for _ in range(count)]
    return condition_of(VOCABULARY, USUAL_LIMITS, Ref(declared.name, window), op, raw)


def _raw(rng: random.Random, declared: PredicateField, op: Op, currency: str) -> Raw:
    match declared.kind:
        case Kind.CHOICE:
            return rng.choice(declared.values)
        case Kind.SET:
            return rng.choice(declared.values or TAGS)
        case Kind.SEARCH:
            return rng.choice(NAMES)
        case Kind.TREE:
            return rng.choice(PATHS)
        case Kind.TEXT:
            return _cut(rng, rng.choice(TEXTS), op)
        case Kind.AGE:
            return Decimal(rng.choice((0, 1, 30, 90, 400)))
        case Kind.NUMBER:
            least, most = max(declared.least, -9), min(declared.most, 2**40)
            scaled = rng.choice((rng.randint(least, most), rng.randint(least, min(most, 40)), least, most))
            return Decimal(scaled).scaleb(-declared.decimals)
        case Kind.MONEY:
            return Money(rng.choice(AMOUNTS), currency)
        case Kind.DAY:
            return rng.choice(DAYS) if rng.random() < 0.5 else Today(rng.choice(OFFSETS))
        case Kind.BOOL:
            return rng.random() < 0.5


def _cut(rng: random.Random, text: str, op: Op) -> str:
    if op is Op.STARTS:
        return text[: rng.randint(1, len(text))]
    return text[rng.randint(0, len(text) - 1) :] if op is Op.CONTAINS else text


def several(seed: int, count: int, fields: Mapping[str, PredicateField] = VOCABULARY.fields) -> Sequence[Predicate]:
    rng = random.Random(seed)
    return [drawn(rng, fields) for _ in range(count)]
