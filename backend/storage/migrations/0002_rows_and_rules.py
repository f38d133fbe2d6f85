from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration


class Migration(GrowingMigration):
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
        # lists in these orders are walked, not sorted (`backend/reads/entities/`)
        ops.RunSQL(
            sql="CREATE INDEX customer_by_creation ON customer (created_at, id)",
            reverse_sql="DROP INDEX customer_by_creation",
        ),
        ops.RunSQL(
            sql="CREATE INDEX customer_by_last_order ON customer (coalesce(last_order_at, 0), id)",
            reverse_sql="DROP INDEX customer_by_last_order",
        ),
        ops.RunSQL(
            sql="CREATE INDEX contact_by_creation ON contact (created_at, id)",
            reverse_sql="DROP INDEX contact_by_creation",
        ),
        ops.RunSQL(
            sql="CREATE INDEX task_by_due ON task (due_sort, id)",
            reverse_sql="DROP INDEX task_by_due",
        ),
        # the first epoch starts at 2^40
        ops.RunSQL(
            sql="INSERT INTO sync_clock (id, seq, horizon) VALUES (1, 1099511627776, 0)",
            reverse_sql="DELETE FROM sync_clock",
        ),
    ]
