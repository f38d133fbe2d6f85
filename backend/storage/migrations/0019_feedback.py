from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, JsonText, LongText, Millis, Minor, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0018_rewritten_in_place")]

    operations = [
        ops.CreateModel(
            name="Answer",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("form_id", Id(db_index=True)),
                ("customer_id", Id()),
                ("visit_id", Id(null=True, db_index=True)),
                ("contact_id", Id(null=True, db_index=True)),
                ("style_id", Id(null=True, db_index=True)),
                ("corrects_id", Id(null=True)),
                ("root_id", Id(db_index=True)),
                ("territory_id", Id(null=True)),
                ("said", JsonText(unique=False)),
                ("answered_at", Millis()),
                ("created_at", Millis()),
                ("created_by", Text(max_length=60)),
                ("accepted_late_at", Millis(null=True)),
            ],
            options={
                "table": "answer",
                "app": "selvedge",
                "indexes": [
                    Index(fields=["customer_id", "answered_at", "id"]),
                    Index(fields=["territory_id", "answered_at", "id"]),
                    Index(fields=["answered_at", "id"]),
                ],
                "pk_attr": "id",
                "table_description": "What was said to a form. `root_id` is the first answer of a chain of corrections, the own id without.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="AnswerMeasure",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("answer_id", Id(db_index=True)),
                ("position", fields.IntField()),
                ("measure", Text(max_length=16)),
                ("question", Text(max_length=40)),
                ("value", Minor()),
                ("currency", Text(null=True, max_length=3)),
            ],
            options={
                "table": "answer_measure",
                "app": "selvedge",
                "indexes": [Index(fields=["measure", "answer_id"])],
                "pk_attr": "id",
                "table_description": "A measurement in an answer: `value` as asked, or minor units of `currency`.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="FormVersion",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("key", Text(max_length=40)),
                ("occasion", Text(max_length=10)),
                ("name_zh", Text(null=True, max_length=200)),
                ("name_ko", Text(null=True, max_length=200)),
                ("name_en", Text(null=True, max_length=200)),
                ("questions", JsonText(unique=False)),
                ("retired", fields.BooleanField()),
                ("version", fields.IntField()),
                ("created_at", Millis()),
                ("created_by", Text(max_length=60)),
            ],
            options={
                "table": "form",
                "app": "selvedge",
                "unique_together": (("key", "version"),),
                "pk_attr": "id",
                "table_description": "One version of a form. `questions` is a list of records.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="ServiceCase",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("kind", Text(max_length=12)),
                ("customer_id", Id()),
                ("contact_id", Id(null=True, db_index=True)),
                ("visit_id", Id(null=True)),
                ("order_id", Id(null=True)),
                ("style_id", Id(null=True)),
                ("territory_id", Id(null=True)),
                ("subject", Text(max_length=200)),
                ("notes", LongText(null=True, unique=False)),
                ("priority", Text(max_length=2)),
                ("state", Text(max_length=16)),
                ("escalated", fields.BooleanField()),
                ("assignee_id", Id(null=True)),
                ("resolution", LongText(null=True, unique=False)),
                ("opened_at", Millis()),
                ("due_at", Millis()),
                ("waiting_since", Millis(null=True)),
                ("resolved_at", Millis(null=True)),
                ("late", fields.BooleanField()),
                ("reopened_times", fields.IntField()),
                ("created_at", Millis()),
                ("created_by", Text(max_length=60)),
                ("accepted_late_at", Millis(null=True)),
            ],
            options={
                "table": "service_case",
                "app": "selvedge",
                "indexes": [
                    Index(fields=["customer_id", "opened_at", "id"]),
                    Index(fields=["territory_id", "due_at", "id"]),
                    Index(fields=["assignee_id", "due_at", "id"]),
                    Index(fields=["due_at", "id"]),
                ],
                "pk_attr": "id",
                "table_description": "A complaint, and what else a service desk works on.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="CustomerScore",
            name="measures",
            field=JsonText(db_default="{}", unique=False),
        ),
        ops.AddField(
            model_name="CustomerScore",
            name="questions",
            field=JsonText(db_default="[]", unique=False),
        ),
    ]
