"""Records that were found to be one: what the lost id stands for, what undoing needs, and who may be whom."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, JsonText, Millis, Text


class RecordAlias(Model):
    """An id that was merged away, and the record it stands for ever since, never another alias."""

    alias_id = Id(primary_key=True)
    collection = Text(max_length=30)
    record_id = Id(db_index=True)
    merge_id = Id(db_index=True)
    created_at = Millis()

    class Meta:
        table = "record_alias"


class RecordMerge(Model):
    """One record made of two. `undo` holds what taking it back needs."""

    id = Id(primary_key=True)
    collection = Text(max_length=30)
    survivor_id = Id(db_index=True)
    merged_id = Id(db_index=True)
    state = Text(max_length=8)
    undo = JsonText()
    merged_at = Millis()
    merged_by = Text(max_length=60)
    undone_at = Millis(null=True)
    undone_by = Text(max_length=60, null=True)

    class Meta:
        table = "record_merge"
        indexes = (("merged_at", "id"),)


class MatchKey(Model):
    """What records are compared by: those without a key in common cannot match."""

    id = fields.BigIntField(primary_key=True, generated=True)
    collection = Text(max_length=30)
    record_id = Id()
    key = Text(max_length=270)

    class Meta:
        table = "match_key"
        indexes = (("collection", "key"), ("collection", "record_id"))


class MatchPair(Model):
    """Two records that may be one, for somebody to look at. `first_id` sorts before `second_id`."""

    id = Id(primary_key=True)
    collection = Text(max_length=30)
    first_id = Id(db_index=True)
    second_id = Id(db_index=True)
    points = fields.IntField()
    reasons = JsonText()
    state = Text(max_length=8)
    found_at = Millis()
    found_by = Text(max_length=60)
    decided_at = Millis(null=True)
    decided_by = Text(max_length=60, null=True)

    class Meta:
        table = "match_pair"
        unique_together = (("collection", "first_id", "second_id"),)
        indexes = (("state", "found_at", "id"),)
