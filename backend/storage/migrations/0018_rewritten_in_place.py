from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0017_decided")]

    operations = [
        # every push gives documents another seq: with that in an index, even in one that holds only what is deleted,
        # PostgreSQL writes a new entry into each index of the table for each of them
        ops.RunSQL(
            sql="DROP INDEX tombstone",
            reverse_sql="CREATE INDEX tombstone ON feed (seq) WHERE deleted",
        ),
        ops.RunSQL(
            sql="CREATE INDEX tombstone ON feed (key) WHERE deleted",
            reverse_sql="DROP INDEX tombstone",
        ),
    ]
