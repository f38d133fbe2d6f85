from tortoise import fields
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, JsonText, Millis, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0013_privacy")]

    operations = [
        ops.CreateModel(
            name="CustomFieldRow",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("collection", Text(max_length=30)),
                ("key", Text(max_length=40)),
                ("kind", Text(max_length=12)),
                ("name_zh", Text(null=True, max_length=80)),
                ("name_ko", Text(null=True, max_length=80)),
                ("name_en", Text(null=True, max_length=80)),
                ("required", fields.BooleanField()),
                ("personal", fields.BooleanField()),
                ("choices", JsonText(unique=False)),
                ("least", fields.BigIntField(null=True)),
                ("most", fields.BigIntField(null=True)),
                ("position", fields.IntField()),
                ("retired", fields.BooleanField()),
                ("required_since", Millis(null=True)),
                ("created_at", Millis()),
                ("created_by", Text(max_length=60)),
            ],
            options={
                "table": "custom_field",
                "app": "selvedge",
                "unique_together": (("collection", "key"),),
                "pk_attr": "id",
                "table_description": "A definition. The values are in the `custom` columns of the records.",
            },
            bases=["Model"],
        ),
        *(
            ops.AddField(model_name=name, name="custom", field=JsonText(db_default="{}", unique=False))
            for name in ("Customer", "Contact", "Visit", "SalesOrder", "Task")
        ),
    ]
