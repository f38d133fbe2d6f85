"""Fields an organisation defines for itself (R13): what may be defined, and what a record may hold of them.

A definition is a record like any other and reaches every device, so that a phone without signal shows, checks and
fills what its admin asked for. Values are in the record's `custom` map under the definition's key: merged key by
key, in the feed at `custom.<key>`. A definition is never taken back once something is filled in: it is retired,
forms leave it out, and what a phone that has not heard of that sends is still taken.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from backend.domain.fields import INTEGER_MAX, Field, Kind, Shape, enum_field, server_field
from backend.errors import Code, Problem, Refused

CUSTOM = "custom"
"""The field of a record that holds its custom values."""
SINCE = 3
"""The schema version that brought them."""
LABEL_CHARACTERS_MAX = 80
TEXT_CHARACTERS_MAX = 400
LONG_TEXT_CHARACTERS_MAX = 4_000
CHOICES_MAX = 100
POSITION_MAX = 1_000
KEY_FORM = "a letter a-z, then letters and digits, 40 at most"
VALUE_FORM = "letters, digits, - and _, 40 at most"


class CustomKind(StrEnum):
    """What a custom field holds."""

    TEXT = "TEXT"
    LONG_TEXT = "LONG_TEXT"
    INT = "INT"
    DATE = "DATE"
    BOOL = "BOOL"
    CHOICE = "CHOICE"
    CHOICES = "CHOICES"


class Customised(StrEnum):
    """Collections whose records can have custom fields."""

    customers = "customers"
    contacts = "contacts"
    visits = "visits"
    orders = "orders"
    tasks = "tasks"


CHOOSING = frozenset({CustomKind.CHOICE, CustomKind.CHOICES})
_KEY = re.compile(r"[a-z][A-Za-z0-9]{0,39}", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)


def parse_key(text: str) -> str:
    """The same text when it can be a key; raises INVALID_VALUE."""
    if _KEY.fullmatch(text) is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=(KEY_FORM,)))
    return text


def parse_choice(text: str) -> str:
    """The same text when it can be the value of a choice; raises INVALID_VALUE."""
    if _VALUE.fullmatch(text) is None:
        raise Refused(Problem(Code.INVALID_VALUE, allowed=(VALUE_FORM,)))
    return text


_NAMES = tuple(Field(name, Kind.TEXT, limit=LABEL_CHARACTERS_MAX) for name in ("nameZh", "nameKo", "nameEn"))

CUSTOM_CHOICE = Shape(
    "customChoice",
    (
        Field("value", Kind.TEXT, nullable=False, limit=40, check=parse_choice),
        *_NAMES,
        Field("retired", Kind.BOOL, nullable=False, default=False),
    ),
    required=(("value",),),
    key="value",
)

CUSTOM_FIELD = Shape(
    "customFields",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        enum_field("collection", Customised, nullable=False, fixed=True),
        Field("key", Kind.TEXT, nullable=False, limit=40, check=parse_key, fixed=True),
        enum_field("kind", CustomKind, nullable=False, fixed=True),
        *_NAMES,
        Field("required", Kind.BOOL, nullable=False, default=False),
        Field("personal", Kind.BOOL, nullable=False, default=False),
        Field("choices", Kind.RECORDS, nullable=False, limit=CHOICES_MAX, record=CUSTOM_CHOICE),
        Field("least", Kind.INT, least=-INTEGER_MAX, most=INTEGER_MAX),
        Field("most", Kind.INT, least=-INTEGER_MAX, most=INTEGER_MAX),
        Field("position", Kind.INT, nullable=False, least=0, most=POSITION_MAX, default=0),
        Field("retired", Kind.BOOL, nullable=False, default=False),
        server_field("requiredSince", Kind.TIMESTAMP),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
    ),
    required=(("collection",), ("key",), ("kind",), ("nameEn", "nameZh", "nameKo")),
)


def whole_choices(choices: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Each choice with all that is known of one."""
    return [{**{found.name: found.default for found in CUSTOM_CHOICE.fields}, **choice} for choice in choices]


def custom_values() -> Field:
    """The declaration of a record's custom values before any is defined."""
    return Field(CUSTOM, Kind.MAP, nullable=False, default={}, since=SINCE, entries=())


@dataclass(frozen=True, slots=True)
class CustomField:
    """One definition, as far as values are judged by it. `required_since_ms` is None where it is not required."""

    key: str
    kind: CustomKind
    personal: bool = False
    required_since_ms: int | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    retired: bool = False

    def entry(self, *, at_ms: int | None) -> Field:
        """The field that a value captured at `at_ms` is read by; None: nothing is required then.

        A form filled in before a field was asked for cannot have it.
        """
        asked = (
            not self.retired
            and at_ms is not None
            and self.required_since_ms is not None
            and at_ms >= self.required_since_ms
        )
        field = Field(self.key, _KIND[self.kind], nullable=not asked, personal=self.personal)
        match self.kind:
            case CustomKind.TEXT:
                return replace(field, limit=TEXT_CHARACTERS_MAX)
            case CustomKind.LONG_TEXT:
                return replace(field, limit=LONG_TEXT_CHARACTERS_MAX)
            case CustomKind.INT:
                return replace(field, least=self.least, most=self.most)
            case CustomKind.CHOICE | CustomKind.CHOICES:
                return replace(field, values=self.choices)
            case _:
                return field


_KIND: Mapping[CustomKind, Kind] = {
    CustomKind.TEXT: Kind.TEXT,
    CustomKind.LONG_TEXT: Kind.LONG_TEXT,
    CustomKind.INT: Kind.INT,
    CustomKind.DATE: Kind.DATE,
    CustomKind.BOOL: Kind.BOOL,
    CustomKind.CHOICE: Kind.ENUM,
    CustomKind.CHOICES: Kind.SET,
}


def with_custom(shape: Shape, defined: Sequence[CustomField], *, at_ms: int | None) -> Shape:
    """The shape with the organisation's own fields in its `custom` map, as asked for at `at_ms`."""
    entries = tuple(one.entry(at_ms=at_ms) for one in defined)
    return replace(
        shape,
        fields=tuple(replace(found, entries=entries) if found.name == CUSTOM else found for found in shape.fields),
    )


def definition_problems(definition: Mapping[str, object]) -> Iterable[Problem]:
    """What of a whole definition does not go together: choices without a choice, bounds without a number."""
    kind, choices = definition.get("kind"), definition.get("choices")
    if kind in CHOOSING and not choices:
        yield Problem(Code.REQUIRED, ("choices",), allowed=("choices",))
    if kind not in CHOOSING and choices:
        yield Problem(Code.INVALID_VALUE, ("choices",), allowed=tuple(sorted(CHOOSING)))
    least, most = definition.get("least"), definition.get("most")
    for name, bound in (("least", least), ("most", most)):
        if kind != CustomKind.INT and bound is not None:
            yield Problem(Code.INVALID_VALUE, (name,), allowed=(CustomKind.INT.value,))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield Problem(Code.OUT_OF_RANGE, ("most",), allowed=(str(least), str(INTEGER_MAX)))


@dataclass(frozen=True, slots=True)
class CustomWish:
    """One condition of a filter on custom values: what is None is not asked."""

    key: str
    among: Sequence[object] | None = None
    at_least: object | None = None
    at_most: object | None = None
    filled: bool | None = None


Condition = tuple[str, tuple[object, ...]]
"""(name of an entity's filter, its values)"""
WISHES_MAX = 10
AMONG_MAX = 100
_ORDERED: Mapping[CustomKind, str] = {CustomKind.INT: "Number", CustomKind.DATE: "Text"}


def filter_conditions(
    defined: Sequence[CustomField], wishes: Sequence[CustomWish], *, masked: bool
) -> tuple[list[Condition], list[Problem]]:
    """A filter on custom values as conditions over the entity, and everything wrong with it.

    For a masked reader a personal field is none: what may not be read may not be compared.
    """
    known = {one.key: one for one in defined if not (masked and one.personal)}
    conditions: list[Condition] = []
    problems: list[Problem] = []
    if len(wishes) > WISHES_MAX:
        return [], [Problem(Code.TOO_MANY, allowed=(str(WISHES_MAX),))]
    for index, wish in enumerate(wishes):
        field = known.get(wish.key)
        if field is None:
            problems.append(Problem(Code.UNKNOWN_FIELD, (str(index), "key"), tuple(sorted(known))))
            continue
        try:
            conditions += _conditions(field, wish)
        except Refused as refused:
            problems += [problem.under(str(index)) for problem in refused.problems]
    return conditions, problems


def _conditions(field: CustomField, wish: CustomWish) -> Iterable[Condition]:
    entry = field.entry(at_ms=None)
    found: list[Condition] = []
    if wish.among is not None:
        if len(wish.among) > AMONG_MAX:
            raise Refused(Problem(Code.TOO_MANY, ("in",), allowed=(str(AMONG_MAX),)))
        one = replace(entry, kind=Kind.ENUM) if field.kind is CustomKind.CHOICES else entry
        found.append(
            (
                "customHas" if field.kind is CustomKind.CHOICES else "customIn",
                (wish.key, [_told(field, one, value, place) for place, value in enumerate(wish.among)]),
            )
        )
    for name, bound, sign in (("atLeast", wish.at_least, "From"), ("atMost", wish.at_most, "To")):
        if bound is None:
            continue
        if field.kind not in _ORDERED:
            raise Refused(Problem(Code.INVALID_VALUE, (name,), tuple(sorted(_ORDERED))))
        unbounded = replace(entry, least=None, most=None)
        found.append((f"custom{_ORDERED[field.kind]}{sign}", (wish.key, _compared(unbounded, bound, name))))
    if wish.filled is not None:
        found.append(("customFilled" if wish.filled else "customEmpty", (wish.key,)))
    return found


def _told(field: CustomField, entry: Field, value: object, place: int) -> object:
    """A member of a list as it stands there, any other value as the JSON text it is stored as."""
    parsed = _compared(entry, value, "in", str(place))
    return parsed if field.kind is CustomKind.CHOICES else json.dumps(parsed, ensure_ascii=False)


def _compared(entry: Field, value: object, *path: str) -> object:
    """A value to compare with, in stored form."""
    try:
        return entry.parse(value)
    except Refused as refused:
        raise Refused(*(_under(problem, path) for problem in refused.problems)) from None


def _under(problem: Problem, path: Sequence[str]) -> Problem:
    for name in reversed(path):
        problem = problem.under(name)
    return problem
