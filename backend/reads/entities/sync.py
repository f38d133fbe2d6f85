"""Devices, and what did not simply stand of what they sent."""

from backend.auth.principal import Principal
from backend.reads.entities.entity import Column, Entity, Filter, Kind, Order
from backend.reads.entities.shorthand import BY_ID, ID, among, columns, number_key, rev, same
from backend.storage.models import people, sync
from backend.storage.visibility import devices_seen

SYNC_ISSUES = Entity(
    "syncIssues",
    "SyncIssue",
    sync.SyncIssue,
    None,
    (
        rev("syncIssues"),
        *columns(ID, "id", "recordId", "mutationId", authorId="user_id"),
        *columns(Kind.TEXT, "collection", "code", "field", "intent", "authorName", "theirsBy", "theirsName"),
        *columns(Kind.TEXT, "resolvedBy", "resolvedName"),
        *columns(Kind.ENUM, "state", "resolution"),
        *columns(Kind.JSON, "base", "mine", "theirs", "problems", "about", "names", "resolvedValue", "history"),
        *columns(Kind.TEXTS, wayCodes="ways_out"),
        *columns(Kind.BIGINT, "theirsRev", "baseRev"),
        *columns(Kind.TIMESTAMP, "theirsAt", "capturedAt", "createdAt", "resolvedAt"),
    ),
    {"CREATED_AT": Order(number_key("{a}.created_at"))},
    {
        **BY_ID,
        **same("authorId", "user_id"),
        **same("recordId", "record_id"),
        "authorIsNot": Filter("{a}.user_id <> ?::text"),
        **among("stateIn", "state"),
        "createdUpTo": Filter("{a}.created_at <= ?::bigint"),
    },
)


def _devices_seen(principal: Principal) -> str | None:
    seen = devices_seen(principal, "{a}")
    return seen[0].replace("?", "{user}") if seen else None


_DEVICE_STATE = "CASE WHEN {a}.state = 'DRAINING' AND {a}.drain_until <= {now} THEN 'REVOKED' ELSE {a}.state END"
_OPEN_ISSUES = "FROM sync_issue i WHERE i.user_id = {a}.user_id AND i.state = 'OPEN' AND i.device_id = {a}.id"
_OWNER = "(SELECT u.{name} FROM user_account u WHERE u.id = {a}.user_id)"
# up to date is who has seen a step of this epoch that the feed still leads on from
_BEHIND = (
    "(SELECT CASE WHEN {a}.acked_seq >= k.horizon AND ({a}.acked_seq >> 40) = (k.seq >> 40)"
    " THEN k.seq - {a}.acked_seq END FROM sync_clock k WHERE k.id = 1)"
)
DEVICES = Entity(
    "devices",
    "DeviceStatus",
    people.Device,
    None,
    (
        *columns(ID, "id", "userId"),
        Column("userName", Kind.TEXT, "user_id", expression=_OWNER.replace("{name}", "name")),
        Column("role", Kind.ENUM, "user_id", expression=_OWNER.replace("{name}", "role")),
        *columns(Kind.TEXT, "name", "platform", "appVersion", "stateReason"),
        *columns(Kind.INT, "schemaVersion", unsent="unsent_count", refused="refused_count"),
        Column("state", Kind.ENUM, "state", expression=_DEVICE_STATE),
        *columns(
            Kind.TIMESTAMP,
            "stateSince",
            "drainUntil",
            "droppedAt",
            "createdAt",
            "lastSeenAt",
            "pulledAt",
            "pushedAt",
            "unsentOldestAt",
            "reportedAt",
            wipeAcknowledgedAt="wipe_acked_at",
        ),
        *columns(Kind.BIGINT, "ackedSeq", "clockOffsetMs", ackedMutation="last_client_seq"),
        Column("behind", Kind.BIGINT, "acked_seq", expression=_BEHIND, may_be_null=True),
        Column("openIssues", Kind.INT, "id", expression=f"(SELECT count(*) {_OPEN_ISSUES})"),
    ),
    {"LAST_SEEN_AT": Order(number_key("{a}.last_seen_at"))},
    {
        **BY_ID,
        **same("userId", "user_id"),
        "stateIn": Filter(f"({_DEVICE_STATE}) = ANY(?)"),
        "silentSince": Filter("{a}.last_seen_at <= ?::bigint"),
        "unsent": Filter("{a}.unsent_count > 0"),
        "openIssues": Filter(f"EXISTS (SELECT 1 {_OPEN_ISSUES})"),
    },
    sees=_devices_seen,
    listed="devices",
    page_type="DeviceStatusPage",
)
