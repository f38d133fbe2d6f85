from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Day, Id, Millis, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0019_feedback")]

    operations = [
        ops.CreateModel(
            name="Judgement",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("customer_id", Id()),
                ("territory_id", Id(null=True)),
                ("kind", Text(max_length=8)),
                ("reason", Text(max_length=20)),
                ("note", Text(null=True, max_length=500)),
                ("starts_on", Day()),
                ("ends_on", Day()),
                ("score", fields.IntField(null=True)),
                ("points", fields.IntField(null=True)),
                ("score_before", fields.IntField(null=True)),
                ("withdrawn", fields.BooleanField()),
                ("withdrawn_at", Millis(null=True)),
                ("created_at", Millis()),
                ("created_by", Text(max_length=60)),
                ("accepted_late_at", Millis(null=True)),
            ],
            options={
                "table": "judgement",
                "app": "selvedge",
                "indexes": [
                    Index(fields=["customer_id", "ends_on", "id"]),
                    Index(fields=["territory_id", "ends_on", "id"]),
                    Index(fields=["starts_on", "id"]),
                    Index(fields=["ends_on", "id"]),
                ],
                "pk_attr": "id",
                "table_description": "Not today because, or another priority until. `score_before`: the priority the latest run had given.",
            },
            bases=["Model"],
        ),
    ]
