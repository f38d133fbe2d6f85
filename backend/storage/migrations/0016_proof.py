from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Day, Id, JsonText, LongText, Millis, Minor, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0015_deleted_files")]

    operations = [
        ops.CreateModel(
            name="PriorityEvaluation",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("state", Text(max_length=10)),
                ("cuts", JsonText(unique=False)),
                ("holdout_days", fields.IntField()),
                ("seed", fields.BigIntField()),
                ("result", JsonText(null=True, unique=False)),
                ("problems", JsonText(unique=False)),
                ("milliseconds", fields.BigIntField()),
                ("started_at", Millis()),
                ("finished_at", Millis(null=True)),
                ("beat_at", Millis()),
                ("started_by", Text(max_length=60)),
            ],
            options={
                "table": "priority_evaluation",
                "app": "selvedge",
                "indexes": [Index(fields=["started_at", "id"])],
                "pk_attr": "id",
                "table_description": "A backtest that was run on this organisation's own records. Never changed once "
                "it ended.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Evaluation",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("state", Text(max_length=10)),
                ("subject_kind", Text(max_length=20)),
                ("subject_id", Text(max_length=80)),
                ("name", Text(max_length=120)),
                ("strategy", Text(null=True, max_length=40)),
                ("territory_id", Id(null=True)),
                ("segments", JsonText(unique=False)),
                ("kinds", JsonText(unique=False)),
                ("metric", Text(max_length=20)),
                ("starts_on", Day()),
                ("ends_on", Day()),
                ("holdout_bp", fields.IntField()),
                ("salt", Text(max_length=40)),
                ("cost_minor", Minor()),
                ("currency", Text(max_length=3)),
                ("expectation", LongText(null=True, unique=False)),
                ("planned_at", Millis()),
                ("planned_by", Text(max_length=60)),
                ("frozen_at", Millis(null=True)),
                ("treated_n", fields.IntField(null=True)),
                ("control_n", fields.IntField(null=True)),
                ("ended_at", Millis(null=True)),
                ("ended_by", Text(null=True, max_length=60)),
                ("result", JsonText(null=True, unique=False)),
                ("lesson", LongText(null=True, unique=False)),
            ],
            options={
                "table": "evaluation",
                "app": "selvedge",
                "indexes": [Index(fields=["planned_at", "id"]), Index(fields=["subject_kind", "planned_at"])],
                "pk_attr": "id",
                "table_description": "Something done to customers, judged against customers to whom it was not done.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="EvaluationArm",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("evaluation_id", Id()),
                ("customer_id", Id(db_index=True)),
                ("held_out", fields.BooleanField()),
                ("stratum", Text(max_length=12)),
                ("forecast_minor", Minor(null=True)),
            ],
            options={
                "table": "evaluation_arm",
                "app": "selvedge",
                "unique_together": (("evaluation_id", "customer_id"),),
                "pk_attr": "id",
                "table_description": "A customer as it stood when the arms were drawn: what is judged later may not "
                "move.",
            },
            bases=["Model"],
        ),
    ]
