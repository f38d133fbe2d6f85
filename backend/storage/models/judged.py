"""Judgements beside scores. They carry their customer's territory."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, Millis, Text


class Judgement(Model):
    """Not today because, or another priority until. `score_before`: the priority the latest run had given."""

    id = Id(primary_key=True)
    customer_id = Id()
    territory_id = Id(null=True)
    kind = Text(max_length=8)
    reason = Text(max_length=20)
    note = Text(max_length=500, null=True)
    starts_on = Day()
    ends_on = Day()
    score = fields.IntField(null=True)
    points = fields.IntField(null=True)
    score_before = fields.IntField(null=True)
    withdrawn = fields.BooleanField()
    withdrawn_at = Millis(null=True)
    created_at = Millis()
    created_by = Text(max_length=60)
    accepted_late_at = Millis(null=True)

    class Meta:
        table = "judgement"
        indexes = (
            ("customer_id", "ends_on", "id"),
            ("territory_id", "ends_on", "id"),
            ("starts_on", "id"),
            ("ends_on", "id"),
        )
