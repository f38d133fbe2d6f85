from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, Millis, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0014_custom_fields")]

    operations = [
        ops.CreateModel(
            name="DeletedFile",
            fields=[
                ("key", Text(primary_key=True, max_length=70, unique=True, db_index=True)),
                ("holder", Text(max_length=30)),
                ("holder_id", Id(db_index=True)),
                ("added_at", Millis(db_index=True)),
                ("stored_sha256", Text(null=True, db_index=True, max_length=64)),
                ("preview_sha256", Text(null=True, db_index=True, max_length=64)),
            ],
            options={
                "table": "deleted_file",
                "app": "selvedge",
                "pk_attr": "key",
                "table_description": "The files a deleted attachment would come back with, kept as long as it can.",
            },
            bases=["Model"],
        ),
    ]
