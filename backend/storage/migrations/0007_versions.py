from tortoise import fields
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Millis


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0006_merges")]

    operations = [
        ops.AddField(model_name="FeedScope", name="left_at", field=Millis(null=True)),
        ops.AddField(model_name="Receipt", name="late", field=fields.BooleanField(db_default=False)),
        ops.AddField(model_name="SalesOrder", name="accepted_late_at", field=Millis(null=True)),
        ops.AddField(model_name="Task", name="accepted_late_at", field=Millis(null=True)),
        ops.AddField(model_name="Visit", name="accepted_late_at", field=Millis(null=True)),
        # asked on every complete pull: is there a document of another shape than the present one
        ops.RunSQL(
            sql="CREATE INDEX feed_shape ON feed (collection, doc_version) WHERE NOT deleted",
            reverse_sql="DROP INDEX feed_shape",
        ),
    ]
