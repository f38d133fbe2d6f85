from typing import Any

from tortoise.migrations import operations as ops
from tortoise.migrations.schema_editor.base import BaseSchemaEditor

from backend.storage.growing import GrowingMigration

OWN_QUEUE_ONLY = "'SERVICE_AGENT', 'MARKETER', 'ANALYST'"
_OF_A_CUSTOMER = "(p.scope = 'unassigned' OR p.scope LIKE 'territory:%')"
_APART = "CASE WHEN p.scope = 'unassigned' THEN 'unassigned_tasks' ELSE 'tasks:' || substr(p.scope, 11) END"
_MOVING = (
    f"p.left_seq IS NULL AND {_OF_A_CUSTOMER} AND (p.collection = 'tasks' OR (p.collection = 'attachments'"
    " AND p.record_id IN (SELECT a.id FROM attachment a WHERE a.collection = 'tasks')))"
)
_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgres": "CAST(extract(epoch FROM now()) * 1000 AS BIGINT)",
}
_HELD_HIMSELF = (
    "EXISTS (SELECT 1 FROM territory_member m JOIN territory top ON top.id = m.territory_id"
    " JOIN territory t ON t.path = top.path OR substr(t.path, 1, length(top.path) + 1) = top.path || '/'"
    " WHERE m.user_id = p.user_id AND m.valid_to IS NULL AND t.id = substr(p.scope, 11))"
)


async def set_tasks_apart(_apps: Any, editor: BaseSchemaEditor) -> None:
    """Tasks, and what hangs on them, leave the scopes of territories for scopes of their own, as one step of the clock.

    Whoever reads the tasks of a territory is given its scope of tasks in the same step, so that his devices fetch
    them there; for everybody else they have left.
    """
    client: Any = editor.client
    dialect = client.capabilities.dialect

    async def rows(sql: str) -> list[tuple[Any, ...]]:
        return [
            tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in await client.execute_query_dict(sql)
        ]

    async def run(sql: str) -> None:
        await client.execute_query(sql)

    await run(
        "UPDATE deleted_record SET scopes = replace(replace(scopes, '\"territory:', '\"tasks:'), '\"unassigned\"',"
        " '\"unassigned_tasks\"') WHERE collection = 'tasks'"
        " OR key IN (SELECT key FROM deleted_file WHERE holder = 'tasks')"
    )
    if not await rows(f"SELECT 1 AS one FROM user_scope p WHERE {_OF_A_CUSTOMER} LIMIT 1"):
        return
    await run("UPDATE sync_clock SET seq = seq + 1 WHERE id = 1")
    [(seq,)] = await rows("SELECT seq FROM sync_clock WHERE id = 1")
    sums = await rows(
        f"SELECT p.scope, {_APART} AS apart, p.collection, SUM(f.digest >> 32) AS high,"
        " SUM(f.digest & 4294967295) AS low, COUNT(*) AS live"
        f" FROM feed_scope p JOIN feed f ON f.key = p.collection || ':' || p.record_id WHERE {_MOVING}"
        " GROUP BY p.scope, p.collection"
    )
    await run(
        "INSERT INTO feed_scope (scope, collection, record_id, entered_seq, seq)"
        f" SELECT {_APART}, p.collection, p.record_id, {seq}, {seq} FROM feed_scope p WHERE {_MOVING}"
    )
    await run(
        f"UPDATE feed_scope SET left_seq = {seq}, seq = {seq}, left_at = {_NOW_MS[dialect]}"
        f" WHERE id IN (SELECT p.id FROM feed_scope p WHERE {_MOVING})"
    )
    for scope, apart, collection, high, low, live in sums:
        moved = (int(high) << 32) + int(low)
        [(total, before)] = await rows(f"SELECT total, live FROM scope_sum WHERE key = '{scope}/{collection}'")
        await run(
            f"UPDATE scope_sum SET total = '{(int(total, 16) - moved) % 2**64:016x}', live = {before - live}"
            f" WHERE key = '{scope}/{collection}'"
        )
        await run(
            "INSERT INTO scope_sum (key, scope, collection, total, live)"
            f" VALUES ('{apart}/{collection}', '{apart}', '{collection}', '{moved % 2**64:016x}', {live})"
        )
    await run(
        "INSERT INTO user_scope (user_id, scope, granted_seq, granted_at)"
        f" SELECT p.user_id, {_APART}, {seq}, p.granted_at FROM user_scope p"
        f" WHERE p.revoked_seq IS NULL AND {_OF_A_CUSTOMER} AND (NOT EXISTS (SELECT 1 FROM user_account u"
        f" WHERE u.id = p.user_id AND u.role IN ({OWN_QUEUE_ONLY})) OR {_HELD_HIMSELF})"
    )


async def put_tasks_back(_apps: Any, _editor: BaseSchemaEditor) -> None:
    """Nothing: a program of before finds places and grants of another form with `selvedge doctor feed --rebuild`."""


class Migration(GrowingMigration):
    dependencies = [("selvedge", "0022_implementation")]

    operations = [ops.RunPython(set_tasks_apart, put_tasks_back)]
