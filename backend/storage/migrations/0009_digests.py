from tortoise.migrations.operations import Operation

from backend.storage.growing import GrowingMigration


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0008_issues")]

    operations: list[Operation] = []
