"""Answers: what a customer said to a form, told once and never rewritten.

A score names the answers it rests on, so an answer stays as it was given. Who got one wrong gives a further answer
that corrects it; of a chain of corrections the last one counts. *Source*: R34, R48, R52.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from backend.domain.fields import Field, Kind, Shape, server_field
from backend.domain.forms import Form
from backend.errors import Code, Problem

VALUES = "values"
"""The field that holds what was said, by the question's key."""
MEASURES = "measures"
"""What of it is a measurement: rows the server makes."""

ANSWER = Shape(
    "answers",
    (
        Field("id", Kind.ID, nullable=False, fixed=True),
        Field("formId", Kind.ID, nullable=False, fixed=True),
        Field("customerId", Kind.ID, nullable=False, fixed=True),
        Field("visitId", Kind.ID, fixed=True),
        Field("contactId", Kind.ID, fixed=True),
        Field("styleId", Kind.ID, fixed=True),
        Field("correctsId", Kind.ID, fixed=True),
        Field(VALUES, Kind.MAP, nullable=False, default={}, entries=(), fixed=True, personal=True),
        Field("answeredAt", Kind.TIMESTAMP, fixed=True),
        server_field("territoryId", Kind.ID),
        server_field("createdAt", Kind.TIMESTAMP),
        server_field("createdBy", Kind.TEXT),
        server_field("acceptedLateAt", Kind.TIMESTAMP),
    ),
    required=(("formId",), ("customerId",)),
)

ANSWER_MEASURE = Shape(
    "answerMeasure",
    (
        server_field("id", Kind.ID),
        server_field("measure", Kind.ENUM),
        server_field("question", Kind.TEXT),
        server_field("value", Kind.MONEY_MINOR),
        server_field("currency", Kind.TEXT),
    ),
)
"""One measurement: `value` as asked (1–5, 0–10, per cent, a count), or minor units of `currency`."""


def answer_shape(form: Form | None) -> Shape:
    """How an answer to this version is read; to one nobody here knows, nothing of it can be judged."""
    if form is None:
        return ANSWER
    entries = form.entries
    return replace(
        ANSWER,
        fields=tuple(replace(found, entries=entries) if found.name == VALUES else found for found in ANSWER.fields),
    )


def value_problems(form: Form, values: Mapping[str, object]) -> Iterable[Problem]:
    """What an entry alone does not say: an amount of money has two parts."""
    for question in form.questions:
        entry, value = question.entry, values.get(question.key)
        if entry.entries and isinstance(value, Mapping):
            for part in entry.entries:
                if value.get(part.name) is None:
                    yield Problem(Code.REQUIRED, (VALUES, question.key, part.name), allowed=(part.name,))


def measurements(form: Form, values: Mapping[str, object]) -> list[dict[str, object]]:
    """What of these (checked) values is a measurement, in the sequence of the questions; ids are the caller's."""
    found: list[dict[str, object]] = []
    for question in form.questions:
        value = values.get(question.key)
        if question.measure is None or value is None:
            continue
        amount = value.get("amountMinor") if isinstance(value, Mapping) else value
        currency = value.get("currency") if isinstance(value, Mapping) else None
        found.append(
            {"measure": question.measure.value, "question": question.key, "value": amount, "currency": currency}
        )
    return found
