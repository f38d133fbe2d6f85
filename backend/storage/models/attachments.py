"""What hangs on records, the files it is kept in, and uploads under way."""

from tortoise import fields
from tortoise.models import Model

from backend.storage.models.columns import Id, Millis, Text


class Attachment(Model):
    """A row before and after its bytes. `sha256` is of the bytes declared, `stored_sha256` of those kept."""

    id = Id(primary_key=True)
    collection = Text(max_length=30)
    record_id = Id()
    kind = Text(max_length=12)
    file_name = Text(max_length=120)
    sha256 = Text(max_length=64)
    size_bytes = fields.IntField()
    mime = Text(max_length=60)
    proof = fields.BooleanField()
    caption = Text(max_length=500, null=True)
    state = Text(max_length=10)
    refused_for = Text(max_length=40, null=True)
    stored_sha256 = Text(max_length=64, null=True)
    stored_bytes = fields.IntField(null=True)
    preview_state = Text(max_length=8)
    preview_sha256 = Text(max_length=64, null=True)
    width = fields.IntField(null=True)
    height = fields.IntField(null=True)
    created_at = Millis()
    created_by = Text(max_length=60)

    class Meta:
        table = "attachment"
        indexes = (("record_id", "created_at", "id"), ("sha256",), ("stored_sha256",), ("preview_sha256",))


class StoredFile(Model):
    """A file that is kept, under the hash of its bytes. Whoever adds or takes away a reference locks its row.

    `check_at`: since when somebody should look whether anything still refers to it.
    """

    sha256 = Text(max_length=64, primary_key=True)
    size_bytes = fields.BigIntField()
    created_at = Millis()
    check_at = Millis(null=True, db_index=True)

    class Meta:
        table = "stored_file"


class DeletedFile(Model):
    """The files a deleted attachment would come back with, kept as long as it can.

    `key` is that of its copy in `deleted_record`, `holder` the collection and `holder_id` the record it hung on,
    `added_at` when it was.
    """

    key = Text(primary_key=True, max_length=70)
    holder = Text(max_length=30)
    holder_id = Id(db_index=True)
    added_at = Millis(db_index=True)
    stored_sha256 = Text(max_length=64, null=True, db_index=True)
    preview_sha256 = Text(max_length=64, null=True, db_index=True)

    class Meta:
        table = "deleted_file"


class Upload(Model):
    """Who began to send the bytes of an attachment, and when. The bytes received are counted by their file."""

    attachment_id = Id(primary_key=True)
    user_id = Id()
    size_bytes = fields.BigIntField()
    started_at = Millis()
    finished_at = Millis(null=True)

    class Meta:
        table = "upload"
        indexes = (("user_id", "started_at"),)
