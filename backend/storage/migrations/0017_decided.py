from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Day, Id, JsonText, Millis, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0016_proof")]

    operations = [
        ops.CreateModel(
            name="ScorePolicyRow",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("number", fields.IntField(unique=True)),
                ("state", Text(max_length=10)),
                ("document", JsonText(unique=False)),
                ("note", Text(null=True, max_length=500)),
                ("drafted_at", Millis()),
                ("drafted_by", Text(max_length=60)),
                ("published_at", Millis(null=True, db_index=True)),
                ("published_by", Text(null=True, max_length=60)),
            ],
            options={
                "table": "score_policy",
                "app": "selvedge",
                "pk_attr": "id",
                "table_description": "One version of the score policy. A draft is never changed, only published or left.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="SegmentMove",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("customer_id", Id()),
                ("on_day", Day()),
                ("from_segment", Text(null=True, max_length=12)),
                ("to_segment", Text(max_length=12)),
                ("cause", Text(max_length=20)),
                ("run_id", Id()),
            ],
            options={
                "table": "segment_move",
                "app": "selvedge",
                "unique_together": (("customer_id", "on_day"),),
                "indexes": [Index(fields=["on_day", "customer_id"])],
                "pk_attr": "id",
                "table_description": "A customer entered a segment on a day. One row a day at most, as the last run of "
                "that day found it.",
            },
            bases=["Model"],
        ),
    ]
