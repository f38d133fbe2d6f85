"""What is kept of what was done: imports and the audit."""

from backend.domain.permissions import Collection
from backend.reads.entities.entity import Column, Entity, Filter, Kind, Order
from backend.reads.entities.shorthand import BY_ID, ID, among, between, columns, number_key, same
from backend.storage.imports import sees_batch
from backend.storage.models import records
from backend.storage.visibility import trail_seen

_CUSTOMERS_MADE = (
    "(SELECT count(*) FROM external_id e WHERE e.batch_id = {a}.id AND e.collection = 'customers' AND NOT EXISTS"
    " (SELECT 1 FROM import_row r WHERE r.batch_id = e.batch_id AND r.outcome = 'LINKED'"
    " AND r.record_id = e.record_id))"
)
IMPORT_BATCHES = Entity(
    "importBatches",
    "ImportBatch",
    records.ImportBatch,
    Collection.IMPORTS,
    (
        *columns(ID, "id"),
        Column("startedById", ID, "started_by", expression="substr({a}.started_by, 7)"),
        *columns(Kind.TEXT, "system", "fileName"),
        *columns(Kind.ENUM, "state"),
        *columns(Kind.INT, "rowsTotal", "rowsUnchanged", "rowsFailed", ordersCreated="rows_created"),
        Column("customersCreated", Kind.INT, "id", expression=_CUSTOMERS_MADE),
        *columns(Kind.TIMESTAMP, "startedAt", "finishedAt", "undoneAt"),
    ),
    {"STARTED_AT": Order(number_key("{a}.started_at"), descending=True)},
    BY_ID,
    sees=lambda _: sees_batch("{a}").replace("?", "{user}"),
)
_ACTOR_NAME = (
    "coalesce((SELECT u.name FROM user_account u WHERE {a}.actor LIKE 'staff:%' AND u.id = substr({a}.actor, 7)),"
    " (SELECT s.name FROM service s WHERE {a}.actor LIKE 'service:%' AND s.id = substr({a}.actor, 9)))"
)
_BY_ACTOR = (
    "{a}.actor = (SELECT CASE WHEN EXISTS (SELECT 1 FROM user_account u WHERE u.id = v.id) THEN 'staff:'"
    " ELSE 'service:' END || v.id FROM (SELECT ?::text AS id) v)"
)
"""By a colleague or another system of this id. One value, so that the newest of whoever did little are found by the
index: of several, PostgreSQL may walk the whole trail backwards until it has met enough."""
AUDIT = Entity(
    "audit",
    "AuditEntry",
    records.AuditEntry,
    Collection.AUDIT,
    (
        *columns(ID, "id", "deviceId", "recordId"),
        *columns(Kind.TIMESTAMP, "at", "capturedAt"),
        *columns(Kind.TEXT, "actor", "action", "door", "collection", "causeId", "requestId"),
        Column("actorName", Kind.TEXT, "actor", expression=_ACTOR_NAME, may_be_null=True),
        *columns(Kind.TEXT, "reason", personal=True),
        *columns(Kind.TEXTS, fields="fields_changed"),
        *columns(Kind.JSON, "changes"),
        *columns(Kind.JSON, "personalChanges", personal=True),
    ),
    {"AT": Order(number_key("{a}.at"), descending=True)},
    {
        **BY_ID,
        "actor": Filter(_BY_ACTOR),
        **same("deviceId", "device_id"),
        **same("collection", "collection"),
        **same("recordId", "record_id"),
        **same("action", "action"),
        **among("actionIn", "action"),
        **among("doorIn", "door"),
        **between("at"),
    },
    sees=lambda principal: trail_seen(principal, "{a}"),
)
