from tortoise import migrations
from tortoise.migrations.operations import Operation


class Migration(migrations.Migration):
    dependencies = [("selvedge", "0002_rows_and_rules")]

    operations: list[Operation] = []
