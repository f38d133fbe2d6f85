from tortoise import migrations
from tortoise.migrations.operations import Operation


class Migration(migrations.Migration):
    dependencies = [("selvedge", "0009_digests")]

    operations: list[Operation] = []
