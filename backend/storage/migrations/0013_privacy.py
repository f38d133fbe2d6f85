from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Day, Id, Millis, Text


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0012_records")]

    operations = [
        ops.AddField(model_name="Contact", name="unrelated_since", field=Millis(null=True)),
        ops.CreateModel(
            name="ErasedPerson",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("collection", Text(max_length=30)),
                ("erasure_id", Id(db_index=True)),
                ("reason", Text(max_length=24)),
                ("erased_at", Millis()),
                ("erased_by", Text(max_length=60)),
            ],
            options={
                "table": "erased_person",
                "app": "selvedge",
                "pk_attr": "id",
                "table_description": "An id under which a person's data was held and never is again. Ids say nothing: they were made at random.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="SecurityEvent",
            fields=[
                ("id", Id(primary_key=True, unique=True, db_index=True)),
                ("at", Millis()),
                ("kind", Text(max_length=24)),
                ("user_id", Id()),
                ("device_id", Id(null=True)),
                ("rows", fields.BigIntField()),
                ("rows_expected", fields.BigIntField()),
            ],
            options={
                "table": "security_event",
                "app": "selvedge",
                "indexes": [Index(fields=["at", "id"]), Index(fields=["user_id", "at"])],
                "pk_attr": "id",
                "table_description": "Something an admin should look at. Counts and ids, never values.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="PulledRows",
            fields=[
                ("device_id", Id(primary_key=True, unique=True, db_index=True)),
                ("day", Day()),
                ("rows", fields.BigIntField()),
                ("told", fields.BooleanField()),
            ],
            options={
                "table": "pulled_rows",
                "app": "selvedge",
                "pk_attr": "device_id",
                "table_description": "How many rows a device was given on a day of the organisation's, and whether that was found unusual.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="NightlyRun",
            fields=[
                ("job", Text(primary_key=True, unique=True, db_index=True, max_length=24)),
                ("day", Day()),
                ("started_at", Millis()),
                ("finished_at", Millis(null=True)),
                ("failed_with", Text(null=True, max_length=60)),
            ],
            options={
                "table": "nightly_run",
                "app": "selvedge",
                "pk_attr": "job",
                "table_description": "The last run of each nightly job, claimed by one process.",
            },
            bases=["Model"],
        ),
    ]
