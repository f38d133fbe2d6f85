"""Where records came from and who changed them."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, JsonText, Millis, Text


class ExternalId(Model):
    id = Id(primary_key=True)
    system = Text(max_length=40)
    collection = Text(max_length=30)
    external = Text(max_length=120)
    record_id = Id(db_index=True)
    batch_id = Id(null=True, db_index=True)

    class Meta:
        table = "external_id"
        unique_together = (("system", "collection", "external"),)


class ImportBatch(Model):
    id = Id(primary_key=True)
    kind = Text(max_length=20)
    system = Text(max_length=40)
    file_name = Text(max_length=200)
    file_sha256 = Text(max_length=64, db_index=True)
    mapping = JsonText()
    state = Text(max_length=10)
    rows_total = fields.IntField()
    rows_created = fields.IntField()
    rows_unchanged = fields.IntField()
    rows_failed = fields.IntField()
    started_at = Millis()
    finished_at = Millis(null=True)
    undone_at = Millis(null=True)
    started_by = Text(max_length=60)

    class Meta:
        table = "import_batch"


class ImportRow(Model):
    """The outcome of one row that was not simply created."""

    id = Id(primary_key=True)
    batch_id = Id(db_index=True)
    row_number = fields.IntField()
    outcome = Text(max_length=10)
    record_id = Id(null=True)
    problems = JsonText()

    class Meta:
        table = "import_row"


class AuditEntry(Model):
    """Append-only: who did what to which record, by which door."""

    id = Id(primary_key=True)
    at = Millis()
    actor = Text(max_length=60)
    device_id = Id(null=True)
    door = Text(max_length=12)
    action = Text(max_length=12)
    collection = Text(max_length=30)
    record_id = Id(db_index=True)
    fields_changed = JsonText()

    class Meta:
        table = "audit_entry"
        indexes = (("at", "id"),)
