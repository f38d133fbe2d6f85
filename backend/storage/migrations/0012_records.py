from tortoise import migrations
from tortoise.migrations.operations import Operation


class Migration(migrations.Migration):
    dependencies = [("selvedge", "0011_access")]

    operations: list[Operation] = []
