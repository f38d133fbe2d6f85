"""The clock, the feed, places and grants, receipts and sync issues."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, JsonText, Millis, Text


class SyncClock(Model):
    """One row. seq = epoch * 2^40 + n, the horizon is the oldest base a cursor may have."""

    id = fields.IntField(primary_key=True, generated=False)
    seq = fields.BigIntField()
    horizon = fields.BigIntField()
    standings = fields.BigIntField(db_default=0)
    """steps when somebody's sign-in, device or role changed; only SQLite's processes look at it"""

    class Meta:
        table = "sync_clock"


class ClockMark(Model):
    """The clock stood at `seq` when it was `at`: how old a seq is."""

    at = Millis(primary_key=True, generated=False)
    seq = fields.BigIntField()

    class Meta:
        table = "clock_mark"


class Feed(Model):
    """One row per record: the document as clients see it, and when it last changed."""

    key = Text(max_length=80, primary_key=True)
    """`<collection>:<record id>`."""
    collection = Text(max_length=30)
    record_id = Id()
    seq = fields.BigIntField()
    deleted = fields.BooleanField()
    doc_version = fields.IntField()
    field_seq = JsonText()
    digest = fields.BigIntField()
    document = fields.BinaryField()

    class Meta:
        table = "feed"
        indexes = (("collection", "record_id"),)


class FeedScope(Model):
    """A place: the time a record stood in a scope, as an interval. A return adds a row."""

    id = fields.BigIntField(primary_key=True, generated=True)
    scope = Text(max_length=60)
    collection = Text(max_length=30)
    record_id = Id()
    entered_seq = fields.BigIntField()
    left_seq = fields.BigIntField(null=True)
    seq = fields.BigIntField()
    left_at = Millis(null=True)
    """when it was closed: work captured before may still be handed in"""

    class Meta:
        table = "feed_scope"
        indexes = (
            ("scope", "seq", "collection", "record_id"),
            ("scope", "collection", "record_id"),
            ("collection", "record_id"),
        )


class UserScope(Model):
    """A grant: the time someone held a scope, as an interval."""

    id = fields.BigIntField(primary_key=True, generated=True)
    user_id = Id()
    scope = Text(max_length=60)
    granted_seq = fields.BigIntField()
    revoked_seq = fields.BigIntField(null=True)
    granted_at = Millis()
    revoked_at = Millis(null=True)

    class Meta:
        table = "user_scope"
        indexes = (("user_id", "scope"), ("scope", "user_id"))


class ScopeSum(Model):
    """Checksum of what stands in a scope: sum of digests mod 2^64, and how many."""

    key = Text(max_length=100, primary_key=True)
    scope = Text(max_length=60)
    collection = Text(max_length=30)
    total = Text(max_length=20)
    live = fields.BigIntField()

    class Meta:
        table = "scope_sum"


class Receipt(Model):
    mutation_id = Id(primary_key=True)
    device_id = Id()
    client_seq = fields.BigIntField()
    body_hash = Text(max_length=64)
    status = Text(max_length=20)
    problems = JsonText()
    records = JsonText()
    seq = fields.BigIntField()
    received_at = Millis()
    late = fields.BooleanField(db_default=False)

    class Meta:
        table = "receipt"
        indexes = (("device_id", "client_seq"), ("received_at",))


class SyncIssue(Model):
    """Something entered on a device that did not simply stand: kept, never silently dropped."""

    id = Id(primary_key=True)
    user_id = Id(db_index=True)
    device_id = Id(null=True)
    territory_id = Id(null=True)
    collection = Text(max_length=30)
    record_id = Id()
    mutation_id = Id(null=True)
    code = Text(max_length=30)
    field = Text(max_length=200, null=True)
    base = JsonText(null=True)
    mine = JsonText(null=True)
    theirs = JsonText(null=True)
    theirs_by = Text(max_length=60, null=True)
    theirs_at = Millis(null=True)
    ways_out = JsonText()
    state = Text(max_length=10)
    captured_at = Millis(null=True)
    created_at = Millis()
    author_name = Text(max_length=120, db_default="")
    theirs_name = Text(max_length=120, null=True)
    theirs_rev = fields.BigIntField(null=True)
    intent = Text(max_length=10, null=True)
    base_rev = fields.BigIntField(null=True)
    problems = JsonText(db_default="[]")
    about = JsonText(db_default="{}")
    names = JsonText(db_default="{}")
    resolution = Text(max_length=24, null=True)
    resolved_value = JsonText(null=True)
    resolved_by = Text(max_length=60, null=True)
    resolved_name = Text(max_length=120, null=True)
    resolved_at = Millis(null=True)
    history = JsonText(db_default="[]")

    class Meta:
        table = "sync_issue"
        indexes = (("user_id", "state", "created_at"),)
