from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, Millis, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0004_rxdb")]

    operations = [
        ops.CreateModel(
            name="Attachment",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("collection", Text(max_length=30)),
                ("record_id", Id()),
                ("kind", Text(max_length=12)),
                ("file_name", Text(max_length=120)),
                ("sha256", Text(max_length=64)),
                ("size_bytes", fields.IntField()),
                ("mime", Text(max_length=60)),
                ("proof", fields.BooleanField()),
                ("caption", Text(null=True, max_length=500)),
                ("state", Text(max_length=10)),
                ("refused_for", Text(null=True, max_length=40)),
                ("stored_sha256", Text(null=True, max_length=64)),
                ("stored_bytes", fields.IntField(null=True)),
                ("preview_state", Text(max_length=8)),
                ("preview_sha256", Text(null=True, max_length=64)),
                ("width", fields.IntField(null=True)),
                ("height", fields.IntField(null=True)),
                ("created_at", Millis()),
                ("created_by", Text(max_length=60)),
            ],
            options={
                "table": "attachment",
                "app": "selvedge",
                "indexes": [
                    Index(fields=["record_id", "created_at", "id"]),
                    Index(fields=["sha256"]),
                    Index(fields=["stored_sha256"]),
                    Index(fields=["preview_sha256"]),
                ],
                "pk_attr": "id",
                "table_description": "A row before and after its bytes. `sha256` is of the bytes declared, "
                "`stored_sha256` of those kept.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="StoredFile",
            fields=[
                ("sha256", Text(primary_key=True, max_length=64, unique=True, db_index=True)),
                ("size_bytes", fields.BigIntField()),
                ("created_at", Millis()),
                ("check_at", Millis(null=True, db_index=True)),
            ],
            options={
                "table": "stored_file",
                "app": "selvedge",
                "pk_attr": "sha256",
                "table_description": "A file that is kept, under the hash of its bytes. Whoever adds or takes away "
                "a reference locks its row.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Upload",
            fields=[
                ("attachment_id", Id(primary_key=True, unique=True, db_index=True)),
                ("user_id", Id()),
                ("size_bytes", fields.BigIntField()),
                ("started_at", Millis()),
                ("finished_at", Millis(null=True)),
            ],
            options={
                "table": "upload",
                "app": "selvedge",
                "indexes": [Index(fields=["user_id", "started_at"])],
                "pk_attr": "attachment_id",
                "table_description": "Who began to send the bytes of an attachment, and when. The bytes received "
                "are counted by their file.",
            },
            bases=["Model"],
        ),
    ]
