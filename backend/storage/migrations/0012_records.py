from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.schema_editor.base import BaseSchemaEditor

from backend.storage.growing import GrowingMigration
from backend.storage.models.columns import Id, JsonText, LongText, Millis, Text

KEPT = "the audit is append-only"
SQLITE = """CREATE TRIGGER audit_entry_{lower} BEFORE {verb} ON audit_entry
WHEN NOT EXISTS (SELECT 1 FROM audit_latch WHERE is_open = 1)
BEGIN SELECT RAISE(ABORT, '{kept}'); END"""
POSTGRES = (
    """CREATE FUNCTION audit_entry_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM audit_latch WHERE is_open) THEN RAISE EXCEPTION '{kept}'; END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$""",
    """CREATE TRIGGER audit_entry_kept BEFORE UPDATE OR DELETE ON audit_entry
FOR EACH ROW EXECUTE FUNCTION audit_entry_kept()""",
    """CREATE FUNCTION audit_entry_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{kept}'; END $$""",
    """CREATE TRIGGER audit_entry_whole BEFORE TRUNCATE ON audit_entry
FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_whole()""",
)


async def keep_audit(_apps: Any, editor: BaseSchemaEditor) -> None:
    """Triggers: entries are changed and removed only while the latch is open, within the transaction that opened it."""
    client: Any = editor.client
    if client.capabilities.dialect == "sqlite":
        statements = [SQLITE.format(lower=verb.lower(), verb=verb, kept=KEPT) for verb in ("UPDATE", "DELETE")]
    else:
        statements = [statement.replace("{kept}", KEPT) for statement in POSTGRES]
    for statement in statements:
        await client.execute_query(statement)


async def keep_audit_no_more(_apps: Any, editor: BaseSchemaEditor) -> None:
    client: Any = editor.client
    if client.capabilities.dialect == "sqlite":
        statements = ["DROP TRIGGER audit_entry_update", "DROP TRIGGER audit_entry_delete"]
    else:
        statements = [
            "DROP TRIGGER audit_entry_kept ON audit_entry",
            "DROP TRIGGER audit_entry_whole ON audit_entry",
            "DROP FUNCTION audit_entry_kept()",
            "DROP FUNCTION audit_entry_whole()",
        ]
    for statement in statements:
        await client.execute_query(statement)


class Migration(GrowingMigration):
    dependencies = [('selvedge', '0011_access')]

    operations = [
        ops.CreateModel(
            name='AuditLatch',
            fields=[
                ('id', fields.IntField(generated=False, primary_key=True, unique=True, db_index=True)),
                ('is_open', fields.BooleanField()),
            ],
            options={'table': 'audit_latch', 'app': 'selvedge', 'pk_attr': 'id', 'table_description': 'One row: whether this transaction may remove from the audit.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='DeletedRecord',
            fields=[
                ('key', Text(primary_key=True, unique=True, db_index=True, max_length=70)),
                ('collection', Text(max_length=30)),
                ('record_id', Id(db_index=True)),
                ('part_of', Text(null=True, db_index=True, max_length=70)),
                ('deleted_at', Millis(db_index=True)),
                ('deleted_by', Text(max_length=60)),
                ('scopes', JsonText(unique=False)),
                ('customers', JsonText(unique=False)),
                ('rows', JsonText(unique=False)),
            ],
            options={'table': 'deleted_record', 'app': 'selvedge', 'pk_attr': 'key', 'table_description': 'A record as it stood when it was deleted, whole, for as long as it may be brought back.'},
            bases=['Model'],
        ),
        ops.AddField(model_name='AuditEntry', name='changes', field=JsonText(null=True, unique=False)),
        ops.AddField(model_name='AuditEntry', name='personal_changes', field=JsonText(null=True, unique=False)),
        ops.AddField(model_name='AuditEntry', name='captured_at', field=Millis(null=True)),
        ops.AddField(model_name='AuditEntry', name='cause_id', field=Text(null=True, max_length=36)),
        ops.AddField(model_name='AuditEntry', name='request_id', field=Text(null=True, max_length=64)),
        ops.AddField(model_name='AuditEntry', name='reason', field=LongText(null=True, unique=False)),
        ops.AddIndex(model_name='AuditEntry', index=Index(fields=['actor', 'at', 'id'])),
        ops.AddIndex(model_name='AuditEntry', index=Index(fields=['device_id', 'at', 'id'])),
        ops.AddIndex(model_name='AuditEntry', index=Index(fields=['collection', 'at', 'id'])),
        ops.AddIndex(model_name='AuditEntry', index=Index(fields=['action', 'at', 'id'])),
        ops.RunSQL(sql="INSERT INTO audit_latch (id, is_open) VALUES (1, false)", reverse_sql="DELETE FROM audit_latch"),
        ops.RunPython(keep_audit, keep_audit_no_more),
    ]
