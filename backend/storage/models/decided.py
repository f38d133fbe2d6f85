"""What the organisation decided about scoring, and where the segments of its customers went."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Day, Id, JsonText, Millis, Text


class ScorePolicyRow(Model):
    """One version of the score policy. A draft is never changed, only published or left."""

    id = Id(primary_key=True)
    number = fields.IntField(unique=True)
    state = Text(max_length=10)
    document = JsonText()
    note = Text(max_length=500, null=True)
    drafted_at = Millis()
    drafted_by = Text(max_length=60)
    published_at = Millis(null=True, db_index=True)
    published_by = Text(max_length=60, null=True)

    class Meta:
        table = "score_policy"


class SegmentMove(Model):
    """A customer entered a segment on a day. One row a day at most, as the last run of that day found it."""

    id = Id(primary_key=True)
    customer_id = Id()
    on_day = Day()
    from_segment = Text(max_length=12, null=True)
    to_segment = Text(max_length=12)
    cause = Text(max_length=20)
    run_id = Id()

    class Meta:
        table = "segment_move"
        unique_together = (("customer_id", "on_day"),)
        indexes = (("on_day", "customer_id"),)
