from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import JsonText, Millis, Text


class Migration(GrowingMigration):
    dependencies = [('selvedge', '0007_versions')]

    operations = [
        ops.AddField(model_name='SyncIssue', name='author_name', field=Text(db_default='', max_length=120)),
        ops.AddField(model_name='SyncIssue', name='theirs_name', field=Text(null=True, max_length=120)),
        ops.AddField(model_name='SyncIssue', name='theirs_rev', field=fields.BigIntField(null=True)),
        ops.AddField(model_name='SyncIssue', name='intent', field=Text(null=True, max_length=10)),
        ops.AddField(model_name='SyncIssue', name='base_rev', field=fields.BigIntField(null=True)),
        ops.AddField(model_name='SyncIssue', name='problems', field=JsonText(db_default='[]', unique=False)),
        ops.AddField(model_name='SyncIssue', name='about', field=JsonText(db_default='{}', unique=False)),
        ops.AddField(model_name='SyncIssue', name='names', field=JsonText(db_default='{}', unique=False)),
        ops.AddField(model_name='SyncIssue', name='resolution', field=Text(null=True, max_length=24)),
        ops.AddField(model_name='SyncIssue', name='resolved_value', field=JsonText(null=True, unique=False)),
        ops.AddField(model_name='SyncIssue', name='resolved_by', field=Text(null=True, max_length=60)),
        ops.AddField(model_name='SyncIssue', name='resolved_name', field=Text(null=True, max_length=120)),
        ops.AddField(model_name='SyncIssue', name='resolved_at', field=Millis(null=True)),
        ops.AddField(model_name='SyncIssue', name='history', field=JsonText(db_default='[]', unique=False)),
        ops.AddIndex(model_name='SyncIssue', index=Index(fields=['user_id', 'state', 'created_at'])),
        # who wrote was kept as the device, which tells no reader anything
        ops.RunSQL(
            sql="UPDATE sync_issue SET theirs_by = (SELECT d.user_id FROM device d WHERE d.id = theirs_by)"
            " WHERE theirs_by IN (SELECT id FROM device)",
            reverse_sql="SELECT 1",
        ),
        ops.RunSQL(
            sql="UPDATE sync_issue SET theirs_name = (SELECT u.name FROM user_account u WHERE u.id = theirs_by),"
            " author_name = coalesce((SELECT u.name FROM user_account u WHERE u.id = user_id), '')",
            reverse_sql="SELECT 1",
        ),
    ]
