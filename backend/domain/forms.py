"""Forms: what is asked on a visit or after it, version by version, and what the answers measure.

A version is a record of its own and never changes once published, so an answer that names it stays judged by what was
asked. The next version is a further record under the same key; the highest one that nobody retired is in force.
*Source*: R34, R43, R48.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.custom import CHOICES_MAX, CUSTOM_CHOICE, parse_key, whole_choices
from backend.domain.fields import INTEGER_MAX, Field, Kind, Shape, enum_field, server_field
from backend.domain.money import parse_currency
from backend.errors import Code, Problem

SINCE = 4
"""The schema version that brought forms, answers and cases."""
LABEL_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 400
LONG_TEXT_CHARACTERS_MAX = 4_000
QUESTIONS_MAX = 60
RATING_MOST = 5
NPS_MOST = 10
SHARE_MOST = 100


class QuestionKind(StrEnum):
    """What a question takes for an answer."""

    RATING = "RATING"
    """1 to 5 stars"""
    CSAT = "CSAT"
    """1 very dissatisfied to 5 very satisfied"""
    NPS = "NPS"
    """0 to 10: would you recommend us?"""
    MONEY = "MONEY"
    """an amount in minor units with its currency"""
    SHARE = "SHARE"
    """whole per cent, 0 to 100"""
    INT = "INT"
    CHOICE = "CHOICE"
    CHOICES = "CHOICES"
    TEXT = "TEXT"
    LONG_TEXT = "LONG_TEXT"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"


class FormOccasion(StrEnum):
    """When a form is asked."""

    VISIT = "VISIT"
    SERVICE = "SERVICE"
    """after a service case"""
    SURVEY = "SURVEY"
    """sent or asked by telephone"""


class Measured(StrEnum):
    """What an answer is a measurement of."""

    CSAT = "CSAT"
    NPS = "NPS"
    REVIEW = "REVIEW"
    """stars for a style where the answer names one, else for our service"""
    WALLET_BUDGET = "WALLET_BUDGET"
    """what the customer spends in a year on goods like ours, with everybody"""
    WALLET_SHARE = "WALLET_SHARE"
    """how much of that goes to us, in per cent"""
    REFERRALS = "REFERRALS"
    """how many others the customer has brought us"""


CHOOSING = frozenset({QuestionKind.CHOICE, QuestionKind.CHOICES})
MEASURES: Mapping[Measured, frozenset[QuestionKind]] = {
    Measured.CSAT: frozenset({QuestionKind.CSAT}),
    Measured.NPS: frozenset({QuestionKind.NPS}),
    Measured.REVIEW: frozenset({QuestionKind.RATING}),
    Measured.WALLET_BUDGET: frozenset({QuestionKind.MONEY}),
    Measured.WALLET_SHARE: frozenset({QuestionKind.SHARE}),
    Measured.REFERRALS: frozenset({QuestionKind.INT}),
}
"""Measure → the kinds of question that can feed it."""

_NAMES = tuple(Field(name, Kind.TEXT, limit=LABEL_CHARACTERS_MAX) for name in ("nameZh", "nameKo", "nameEn"))

FORM_QUESTION = Shape(
    "formQuestion",
    (
        Field("key", Kind.TEXT, nullable=False, limit=40, check=parse_key),
        enum_field("kind", QuestionKind, nullable=False),
        *_NAMES,
        Field("required", Kind.BOOL, nullable=False, default=False),
        Field("personal", Kind.BOOL, nullable=False, default=False),
        Field("choices", Kind.RECORDS, nullable=False, limit=CHOICES_MAX, record=CUSTOM_CHOICE),
        Field("least", Kind.INT, least=-INTEGER_MAX, most=INTEGER_MAX),
        Field("most", Kind.INT, least=-INTEGER_MAX, most=INTEGER_MAX),
        enum_field("measure", Measured),
    ),
    required=(("key",), ("kind",), ("nameEn", "nameZh", "nameKo")),
    key="key",
)
"""`personal`: the answer says something about a person, and goes with that person."""

FORM = Shape(
    "forms",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("key", Kind.TEXT, nullable=False, limit=40, check=parse_key, fixed=True),
        enum_field("occasion", FormOccasion, nullable=False, fixed=True),
        *(Field(name, Kind.TEXT, limit=LABEL_CHARACTERS_MAX, fixed=True) for name in ("nameZh", "nameKo", "nameEn")),
        Field("questions", Kind.RECORDS, nullable=False, limit=QUESTIONS_MAX, record=FORM_QUESTION, fixed=True),
        Field("retired", Kind.BOOL, nullable=False, default=False),
        server_field("version", Kind.INT),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
    ),
    required=(("key",), ("occasion",), ("nameEn", "nameZh", "nameKo"), ("questions",)),
)


def whole_questions(questions: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Each question with all that is known of one, its choices too; in the sequence they are asked."""
    blank: dict[str, object] = {found.name: found.default for found in FORM_QUESTION.fields}
    whole = [{**blank, "choices": [], **question} for question in questions]
    return [{**one, "choices": whole_choices(one["choices"] or [])} for one in whole]  # type: ignore[arg-type]


def form_problems(form: Mapping[str, object]) -> Iterable[Problem]:
    """What of a whole form does not go together; paths lead to the question by its place."""
    questions = form.get("questions")
    measured: set[object] = set()
    for place, question in enumerate(questions if isinstance(questions, list) else []):
        for problem in _question_problems(question):
            yield problem.under(str(place)).under("questions")
        measure = question.get("measure")
        if measure is not None and measure in measured:
            # one answer cannot say the same thing twice
            yield Problem(Code.INVALID_VALUE, ("questions", str(place), "measure"), params={"reason": "twice"})
        measured.add(measure)


def _question_problems(question: Mapping[str, object]) -> Iterable[Problem]:
    kind, choices, measure = question.get("kind"), question.get("choices"), question.get("measure")
    if kind in CHOOSING and not choices:
        yield Problem(Code.REQUIRED, ("choices",), allowed=("choices",))
    if kind not in CHOOSING and choices:
        yield Problem(Code.INVALID_VALUE, ("choices",), allowed=tuple(sorted(CHOOSING)))
    least, most = question.get("least"), question.get("most")
    for name, bound in (("least", least), ("most", most)):
        if kind != QuestionKind.INT and bound is not None:
            yield Problem(Code.INVALID_VALUE, (name,), allowed=(QuestionKind.INT.value,))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield Problem(Code.OUT_OF_RANGE, ("most",), allowed=(str(least), str(INTEGER_MAX)))
    if isinstance(measure, str) and kind not in MEASURES[Measured(measure)]:
        yield Problem(Code.INVALID_VALUE, ("measure",), allowed=_measures_of(kind))


def _measures_of(kind: object) -> tuple[str, ...]:
    return tuple(measure.value for measure, kinds in MEASURES.items() if kind in kinds)


@dataclass(frozen=True, slots=True)
class Question:
    """One question, as far as answers are judged by it."""

    key: str
    kind: QuestionKind
    required: bool = False
    personal: bool = False
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    measure: Measured | None = None

    @property
    def entry(self) -> Field:
        """The field an answer to it is read by."""
        least, most = _BOUNDS.get(self.kind, (self.least, self.most))
        return Field(
            self.key,
            _KIND[self.kind],
            nullable=not self.required,
            limit=_LIMIT.get(self.kind),
            least=least,
            most=most,
            values=self.choices if self.kind in CHOOSING else (),
            personal=self.personal,
            entries=_MONEY if self.kind is QuestionKind.MONEY else None,
        )


_KIND: Mapping[QuestionKind, Kind] = {
    QuestionKind.RATING: Kind.INT,
    QuestionKind.CSAT: Kind.INT,
    QuestionKind.NPS: Kind.INT,
    QuestionKind.MONEY: Kind.MAP,
    QuestionKind.SHARE: Kind.INT,
    QuestionKind.INT: Kind.INT,
    QuestionKind.CHOICE: Kind.ENUM,
    QuestionKind.CHOICES: Kind.SET,
    QuestionKind.TEXT: Kind.TEXT,
    QuestionKind.LONG_TEXT: Kind.LONG_TEXT,
    QuestionKind.BOOLEAN: Kind.BOOL,
    QuestionKind.DATE: Kind.DATE,
}
_BOUNDS: Mapping[QuestionKind, tuple[int, int]] = {
    QuestionKind.RATING: (1, RATING_MOST),
    QuestionKind.CSAT: (1, RATING_MOST),
    QuestionKind.NPS: (0, NPS_MOST),
    QuestionKind.SHARE: (0, SHARE_MOST),
}
_LIMIT: Mapping[QuestionKind, int] = {
    QuestionKind.TEXT: TEXT_CHARACTERS_MAX,
    QuestionKind.LONG_TEXT: LONG_TEXT_CHARACTERS_MAX,
}
_MONEY = (
    Field("amountMinor", Kind.MONEY_MINOR, nullable=False, least=0),
    Field("currency", Kind.TEXT, nullable=False, limit=3, check=parse_currency),
)
WRITTEN = frozenset({QuestionKind.TEXT, QuestionKind.LONG_TEXT})
"""Kinds answered in words."""


@dataclass(frozen=True, slots=True)
class Form:
    """One version of a form."""

    id: str
    key: str
    version: int
    questions: tuple[Question, ...]
    retired: bool = False

    @property
    def entries(self) -> tuple[Field, ...]:
        """The fields its answers are read by."""
        return tuple(question.entry for question in self.questions)


def form_of(record: Mapping[str, object]) -> Form:
    """A stored form as answers are judged by it."""
    questions: Sequence[Mapping[str, object]] = record["questions"]  # type: ignore[assignment]
    return Form(
        str(record["id"]),
        str(record["key"]),
        int(str(record["version"])),
        tuple(_question_of(question) for question in questions),
        bool(record.get("retired")),
    )


def _question_of(question: Mapping[str, object]) -> Question:
    choices: Sequence[Mapping[str, object]] = question.get("choices") or ()  # type: ignore[assignment]
    least, most, measure = question.get("least"), question.get("most"), question.get("measure")
    return Question(
        str(question["key"]),
        QuestionKind(str(question["kind"])),
        required=bool(question.get("required")),
        personal=bool(question.get("personal")),
        choices=tuple(str(choice["value"]) for choice in choices),
        least=least if isinstance(least, int) else None,
        most=most if isinstance(most, int) else None,
        measure=Measured(str(measure)) if measure else None,
    )


def in_force(forms: Iterable[Form]) -> dict[str, Form]:
    """Key → its highest version, where that is not retired."""
    highest: dict[str, Form] = {}
    for form in forms:
        if form.key not in highest or highest[form.key].version < form.version:
            highest[form.key] = form
    return {key: form for key, form in sorted(highest.items()) if not form.retired}
