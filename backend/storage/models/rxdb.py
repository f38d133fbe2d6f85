"""What the server remembers of RxDB's replications, because that client does not."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, LongText, Millis, Text


class RxdbKept(Model):
    """One row per device and collection: how far it has come, and the checkpoint of its last empty answer."""

    key = Text(max_length=80, primary_key=True)
    """`<device id>:<collection>`."""
    device_id = Id(db_index=True)
    collection = Text(max_length=30)
    presented = Text(max_length=64, null=True)
    """SHA-256 of the checkpoint that was answered with nothing, in hexadecimal digits"""
    answer = LongText(null=True)
    """the checkpoint that answer carried"""
    base_seq = fields.BigIntField()
    seen_at = Millis()

    class Meta:
        table = "rxdb_kept"


class RxdbWaiting(Model):
    """A row pushed before the record it names: since when it has been told to come again."""

    mutation_id = Id(primary_key=True)
    device_id = Id(db_index=True)
    first_at = Millis()

    class Meta:
        table = "rxdb_waiting"


class RxdbPushed(Model):
    """When a device last pushed a record: for some seconds it may not hear what it is told of it."""

    key = Text(max_length=120, primary_key=True)
    """`<device id>:<collection>:<record id>`."""
    device_id = Id()
    collection = Text(max_length=30)
    record_id = Id()
    at = Millis()

    class Meta:
        table = "rxdb_pushed"
        indexes = (("device_id", "collection", "at"),)
