from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Millis


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0023_tasks_apart")]

    operations = [ops.AddField(model_name="ScoreRun", name="cancel_asked_at", field=Millis(null=True))]
