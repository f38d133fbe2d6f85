"""Who takes how much: reads of many people's contact data are noted, and pulls far beyond what a device has to hold.

Counts, never values. A pull is added up in the process and written down now and then, so that it stays a read; what
a process had not written down when it stopped is not counted. Source: promises.md §2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.audit import AuditAction, Door, FieldChange
from backend.domain.permissions import Action, Collection, Reach, reach
from backend.domain.privacy import CHANNEL_FIELDS, SecurityEventKind, is_watched, unusual_rows
from backend.domain.times import local_day
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.storage.audit import entry_of, save_audit, save_audit_alone
from backend.storage.engine import Connection, Engine
from backend.telemetry import counter, logger

PENDING_ROWS_MAX = 500
PENDING_SECONDS = 60
PENDING_DEVICES_MAX = 10_000
CONTACTS = "contacts"
_LOG = logger(__name__)
_EVENTS = counter("security_events", "Security events raised by this process.", kind=tuple(SecurityEventKind))
_READS = counter("sensitive_reads", "Answers that showed the contact data of many people to somebody who sees all.")


@dataclass(slots=True)
class _Pending:
    """What one device was given and nobody has written down yet."""

    since_ms: int
    rows: int = 0
    people: int = 0


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """Something to look at; the moment in milliseconds."""

    id: str
    at_ms: int
    kind: str
    user_id: str
    device_id: str | None
    rows: int
    rows_expected: int


class Watch:
    """Counts what is given out. One per process."""

    def __init__(self, engine: Engine, *, settings: Settings, clock: Clock) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._pending: dict[str, _Pending] = {}

    async def read(self, principal: Principal, people: int) -> None:
        """An answer showed the contact data of so many people."""
        if people < self._settings.sensitive_rows_min or not is_watched(principal.role):
            return
        _READS.add()
        entry = entry_of(
            principal,
            AuditAction.READ,
            CONTACTS,
            "",
            at_ms=self._clock(),
            fields=CHANNEL_FIELDS,
            changes=(FieldChange("rows", None, people),),
        )
        await save_audit_alone(self._engine, [entry])

    async def pulled(self, principal: Principal, rows: Mapping[str, int]) -> None:
        """A device was given so many rows of these collections."""
        given = sum(rows.values())
        device_id = principal.device_id
        if device_id is None or given == 0:
            return
        now_ms = self._clock()
        pending = self._pending.setdefault(device_id, _Pending(now_ms))
        pending.rows += given
        pending.people += rows.get(CONTACTS, 0)
        late = now_ms >= pending.since_ms + PENDING_SECONDS * 1_000
        if pending.rows >= PENDING_ROWS_MAX or late or len(self._pending) > PENDING_DEVICES_MAX:
            del self._pending[device_id]
            await self._write_down(principal, device_id, pending, now_ms)
            await self.read(principal, pending.people)

    async def pulled_all(self, principal: Principal) -> None:
        """A device was given everything its scopes hold."""
        async with self._engine.read() as conn:
            rows = await rows_in_scope(conn, principal)
        await self.pulled(principal, rows)

    async def _write_down(self, principal: Principal, device_id: str, pending: _Pending, now_ms: int) -> None:
        day = local_day(now_ms, self._settings.organisation_timezone)
        async with self._engine.write() as conn:
            [(rows, told)] = await conn.fetch(
                "INSERT INTO pulled_rows (device_id, day, rows, told) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (device_id) DO UPDATE SET day = excluded.day,"
                " rows = CASE WHEN pulled_rows.day = excluded.day THEN pulled_rows.rows ELSE 0 END + excluded.rows,"
                " told = CASE WHEN pulled_rows.day = excluded.day THEN pulled_rows.told ELSE excluded.told END"
                " RETURNING rows, told",
                device_id,
                day,
                pending.rows,
                False,
            )
            if told or rows <= self._settings.unusual_pull_rows_min:
                return
            held = sum((await rows_in_scope(conn, principal)).values())
            expected = unusual_rows(
                held, times=self._settings.unusual_pull_times, rows_min=self._settings.unusual_pull_rows_min
            )
            if rows <= expected:
                return
            await conn.execute("UPDATE pulled_rows SET told = ? WHERE device_id = ?", True, device_id)
            await self._raise(conn, principal, device_id, rows, expected, now_ms)
        _EVENTS.add(kind=SecurityEventKind.UNUSUAL_PULL.value)
        _LOG.warning("unusually much was pulled", user_id=principal.holder, device_id=device_id, rows=rows)

    async def _raise(
        self, conn: Connection, principal: Principal, device_id: str, rows: int, expected: int, now_ms: int
    ) -> None:
        kind = SecurityEventKind.UNUSUAL_PULL
        await conn.execute(
            "INSERT INTO security_event (id, at, kind, user_id, device_id, rows, rows_expected)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            new_id(),
            now_ms,
            kind.value,
            principal.holder,
            device_id,
            rows,
            expected,
        )
        entry = entry_of(
            principal,
            AuditAction.UNUSUAL_PULL,
            "devices",
            device_id,
            at_ms=now_ms,
            door=Door.JOB,
            changes=(FieldChange("rows", expected, rows),),
        )
        await save_audit(conn, [entry])


async def rows_in_scope(conn: Connection, principal: Principal) -> dict[str, int]:
    """Collection → records that stand in the scopes the principal holds; one in two scopes counts twice."""
    rows = await conn.fetch(
        "SELECT s.collection, sum(s.live) FROM scope_sum s JOIN user_scope g ON g.scope = s.scope"
        " WHERE g.user_id = ? AND g.revoked_seq IS NULL GROUP BY s.collection",
        principal.holder,
    )
    return {collection: int(live) for collection, live in rows}


async def security_events(
    conn: Connection, principal: Principal, *, first: int, after: str | None, rows_max: int
) -> Sequence[SecurityEvent]:
    """Security events, the newest first; `after` is the id of the last one seen.

    Raises NOT_PERMITTED but for those who read the whole audit, OUT_OF_RANGE.
    """
    if principal.role is None or reach(principal.role, Action.READ, Collection.AUDIT) is not Reach.ALL:
        raise Refused(Problem(Code.NOT_PERMITTED))
    if not 1 <= first <= rows_max:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("first",), ("1", str(rows_max))))
    before = await conn.fetch("SELECT at, id FROM security_event WHERE id = ?", after) if after else []
    where, args = (" WHERE (at, id) < (?, ?)", list(before[0])) if before else ("", [])
    rows = await conn.fetch(
        "SELECT id, at, kind, user_id, device_id, rows, rows_expected FROM security_event"
        f"{where} ORDER BY at DESC, id DESC LIMIT ?",
        *args,
        first,
    )
    return [SecurityEvent(*row) for row in rows]
