from tortoise import migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("selvedge", "0001_first")]

    operations = [
        # Tortoise prints a condition on NULL as `= NULL`, which never holds
        ops.RunSQL(
            sql="CREATE UNIQUE INDEX one_open_assignment ON territory_assignment (customer_id) WHERE valid_to IS NULL",
            reverse_sql="DROP INDEX one_open_assignment",
        ),
        ops.RunSQL(
            sql="CREATE UNIQUE INDEX one_open_place ON feed_scope (scope, collection, record_id) WHERE left_seq IS NULL",
            reverse_sql="DROP INDEX one_open_place",
        ),
        ops.RunSQL(
            sql="CREATE UNIQUE INDEX one_open_grant ON user_scope (user_id, scope) WHERE revoked_seq IS NULL",
            reverse_sql="DROP INDEX one_open_grant",
        ),
        # the first epoch starts at 2^40
        ops.RunSQL(
            sql="INSERT INTO sync_clock (id, seq, horizon) VALUES (1, 1099511627776, 0)",
            reverse_sql="DELETE FROM sync_clock",
        ),
    ]
