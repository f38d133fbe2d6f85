from tortoise import migrations
from tortoise.migrations.operations import Operation


class Migration(migrations.Migration):
    dependencies = [("selvedge", "0014_custom_fields")]

    operations: list[Operation] = []
