from tortoise.migrations import operations as ops
from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, Millis, Text
from tortoise import fields
from tortoise.indexes import Index

class Migration(GrowingMigration):
    dependencies = [("selvedge", "0002_rows_and_rules")]

    operations = [
        ops.CreateModel(
            name='ClockMark',
            fields=[
                ('at', Millis(primary_key=True, generated=False, unique=True, db_index=True)),
                ('seq', fields.BigIntField()),
            ],
            options={'table': 'clock_mark', 'app': 'selvedge', 'pk_attr': 'at', 'table_description': 'The clock stood at `seq` when it was `at`: how old a seq is.'},
            bases=['Model'],
        ),
        ops.AddField(model_name='Device', name='app_version', field=Text(null=True, max_length=40)),
        ops.AddField(model_name='Device', name='clock_offset_ms', field=fields.BigIntField(null=True)),
        ops.AddField(model_name='Device', name='drain_until', field=Millis(null=True)),
        ops.AddField(model_name='Device', name='dropped_at', field=Millis(null=True)),
        ops.AddField(model_name='Device', name='pulled_at', field=Millis(null=True)),
        ops.AddField(model_name='Device', name='pushed_at', field=Millis(null=True)),
        ops.AddField(model_name='Device', name='refused_count', field=fields.IntField(null=True)),
        ops.AddField(model_name='Device', name='reported_at', field=Millis(null=True)),
        ops.AddField(model_name='Device', name='schema_version', field=fields.IntField(null=True)),
        ops.AddField(model_name='Device', name='state_by', field=Id(null=True)),
        ops.AddField(model_name='Device', name='state_reason', field=Text(null=True, max_length=200)),
        ops.AddField(model_name='Device', name='state_since', field=Millis(null=True)),
        ops.AddField(model_name='Device', name='unsent_count', field=fields.IntField(null=True)),
        ops.AddField(model_name='Device', name='unsent_oldest_at', field=Millis(null=True)),
        ops.AddField(model_name='Device', name='wipe_acked_at', field=Millis(null=True)),
        ops.AddIndex(model_name='Receipt', index=Index(fields=['received_at'])),
        ops.AddField(model_name='SyncClock', name='standings', field=fields.BigIntField(db_default=0)),
        # what a nightly collection walks, and nothing else does
        ops.RunSQL(
            sql="CREATE INDEX closed_place ON feed_scope (left_seq) WHERE left_seq IS NOT NULL",
            reverse_sql="DROP INDEX closed_place",
        ),
        ops.RunSQL(
            sql="CREATE INDEX closed_grant ON user_scope (revoked_seq) WHERE revoked_seq IS NOT NULL",
            reverse_sql="DROP INDEX closed_grant",
        ),
        ops.RunSQL(
            sql="CREATE INDEX tombstone ON feed (seq) WHERE deleted",
            reverse_sql="DROP INDEX tombstone",
        ),
    ]
