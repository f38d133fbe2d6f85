"""What customers say: forms, the answers to them, and cases. Answers and cases carry their customer's territory."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, JsonText, LongText, Millis, Minor, Text


class FormVersion(Model):
    """One version of a form. `questions` is a list of records."""

    id = Id(primary_key=True)
    key = Text(max_length=40)
    occasion = Text(max_length=10)
    name_zh = Text(max_length=200, null=True)
    name_ko = Text(max_length=200, null=True)
    name_en = Text(max_length=200, null=True)
    questions = JsonText()
    retired = fields.BooleanField()
    version = fields.IntField()
    created_at = Millis()
    created_by = Text(max_length=60)

    class Meta:
        table = "form"
        unique_together = (("key", "version"),)


class Answer(Model):
    """What was said to a form. `root_id` is the first answer of a chain of corrections, the own id without."""

    id = Id(primary_key=True)
    form_id = Id(db_index=True)
    customer_id = Id()
    visit_id = Id(null=True, db_index=True)
    contact_id = Id(null=True, db_index=True)
    style_id = Id(null=True, db_index=True)
    corrects_id = Id(null=True)
    root_id = Id(db_index=True)
    territory_id = Id(null=True)
    said = JsonText()
    answered_at = Millis()
    created_at = Millis()
    created_by = Text(max_length=60)
    accepted_late_at = Millis(null=True)

    class Meta:
        table = "answer"
        indexes = (
            ("customer_id", "answered_at", "id"),
            ("territory_id", "answered_at", "id"),
            ("answered_at", "id"),
        )


class AnswerMeasure(Model):
    """A measurement in an answer: `value` as asked, or minor units of `currency`."""

    id = Id(primary_key=True)
    answer_id = Id(db_index=True)
    position = fields.IntField()
    measure = Text(max_length=16)
    question = Text(max_length=40)
    value = Minor()
    currency = Text(max_length=3, null=True)

    class Meta:
        table = "answer_measure"
        indexes = (("measure", "answer_id"),)


class ServiceCase(Model):
    """A complaint, and what else a service desk works on."""

    id = Id(primary_key=True)
    kind = Text(max_length=12)
    customer_id = Id()
    contact_id = Id(null=True, db_index=True)
    visit_id = Id(null=True)
    order_id = Id(null=True)
    style_id = Id(null=True)
    territory_id = Id(null=True)
    subject = Text(max_length=200)
    notes = LongText(null=True)
    priority = Text(max_length=2)
    state = Text(max_length=16)
    escalated = fields.BooleanField()
    assignee_id = Id(null=True)
    resolution = LongText(null=True)
    opened_at = Millis()
    due_at = Millis()
    waiting_since = Millis(null=True)
    resolved_at = Millis(null=True)
    late = fields.BooleanField()
    reopened_times = fields.IntField()
    created_at = Millis()
    created_by = Text(max_length=60)
    accepted_late_at = Millis(null=True)

    class Meta:
        table = "service_case"
        indexes = (
            ("customer_id", "opened_at", "id"),
            ("territory_id", "due_at", "id"),
            ("assignee_id", "due_at", "id"),
            ("due_at", "id"),
        )
