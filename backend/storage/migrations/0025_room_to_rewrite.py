from typing import Any

from tortoise.migrations import operations as ops
from tortoise.migrations.schema_editor.base import BaseSchemaEditor

from backend.storage.growing import GrowingMigration

FILLED_PERCENT = {"feed": 80, "visit": 85, "sales_order": 85, "task": 85}
"""What phones change again and again. PostgreSQL rewrites a row beside where it stood, without a new entry in any
index, only where its page has room: full pages, of which a push changes all rows at once, never come to have any."""


async def leave_room(_apps: Any, editor: BaseSchemaEditor) -> None:
    """For pages filled from now on; those that are full become so as their rows move away."""
    client: Any = editor.client
    if client.capabilities.dialect == "postgres":
        for table, percent in FILLED_PERCENT.items():
            await client.execute_query(f"ALTER TABLE {table} SET (fillfactor = {percent})")


async def leave_none(_apps: Any, editor: BaseSchemaEditor) -> None:
    client: Any = editor.client
    if client.capabilities.dialect == "postgres":
        for table in FILLED_PERCENT:
            await client.execute_query(f"ALTER TABLE {table} RESET (fillfactor)")


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0024_runs_asked_to_end")]

    operations = [ops.RunPython(leave_room, leave_none)]
