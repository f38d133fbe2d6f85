"""Where records came from and who changed them."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, JsonText, LongText, Millis, Text


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
    """Append-only: who did what to which record, by which door.

    `changes` and `personal_changes` are lists of {path, before, after} in the form documents carry, the second what is
    personal. Triggers let nothing be changed or removed but while `audit_latch` is open, which is for retention and
    erasure alone (`storage/audit.py`).
    """

    id = Id(primary_key=True)
    at = Millis()
    actor = Text(max_length=60)
    device_id = Id(null=True)
    door = Text(max_length=12)
    action = Text(max_length=12)
    collection = Text(max_length=30)
    record_id = Id(db_index=True)
    fields_changed = JsonText()
    changes = JsonText(null=True)
    personal_changes = JsonText(null=True)
    captured_at = Millis(null=True)
    cause_id = Text(max_length=36, null=True)
    request_id = Text(max_length=64, null=True)
    reason = LongText(null=True)

    class Meta:
        table = "audit_entry"
        indexes = (
            ("at", "id"),
            ("actor", "at", "id"),
            ("device_id", "at", "id"),
            ("collection", "at", "id"),
            ("action", "at", "id"),
        )


class AuditLatch(Model):
    """One row: whether this transaction may remove from the audit."""

    id = fields.IntField(primary_key=True, generated=False)
    is_open = fields.BooleanField()

    class Meta:
        table = "audit_latch"


class DeletedRecord(Model):
    """A record as it stood when it was deleted, whole, for as long as it may be brought back.

    `scopes` are the places it had, `customers` those its places follow. `rows` are its own row and those of its parts,
    column by column. `part_of` is the key of what it went with, and comes back with.
    """

    key = Text(primary_key=True, max_length=70)
    collection = Text(max_length=30)
    record_id = Id(db_index=True)
    part_of = Text(max_length=70, null=True, db_index=True)
    deleted_at = Millis(db_index=True)
    deleted_by = Text(max_length=60)
    scopes = JsonText()
    customers = JsonText()
    rows = JsonText()

    class Meta:
        table = "deleted_record"
