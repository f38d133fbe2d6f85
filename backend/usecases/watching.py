"""Who takes how much: reads of many people's contact data are noted, and pulls far beyond what a device has to hold.

Counts, never values. A pull is added up in the process and written down beside the requests, a second after it is
much, so that it stays a read; a process that is stopped writes down the rest, and one that is killed loses that second
and, of each device or other system, what is less than much. Source: promises.md §2.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.audit import AuditAction, Door, FieldChange
from backend.domain.given import check_first
from backend.domain.permissions import Action, Collection, Reach, reach
from backend.domain.privacy import CHANNEL_FIELDS, SecurityEventKind, is_watched, unusual_rows
from backend.domain.times import local_day
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.storage.audit import entry_of, save_audit, save_audit_alone
from backend.storage.engine import Connection, Engine, SerializationFailure
from backend.telemetry import counter, logger

PENDING_ROWS_MAX = 500
"""So many rows of a device are much."""
PENDING_SECONDS = 60
WRITE_AFTER_SECONDS = 1.0
PENDING_DEVICES_MAX = 10_000
CONTACTS = "contacts"
_LOG = logger(__name__)
_EVENTS = counter("security_events", "Security events raised by this process.", kind=tuple(SecurityEventKind))
_READS = counter("sensitive_reads", "Answers that showed the contact data of many people to somebody who sees all.")


@dataclass(slots=True)
class _Pending:
    """What one device, or another system, was given and nobody has written down yet."""

    principal: Principal
    since_ms: int
    rows: int = 0
    people: int = 0

    def is_due(self, now_ms: int) -> bool:
        return self.rows >= PENDING_ROWS_MAX or now_ms >= self.since_ms + PENDING_SECONDS * 1_000


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
    """Counts what is given out. One per process; to be closed before its engine."""

    def __init__(self, engine: Engine, *, settings: Settings, clock: Clock) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._soon: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Write down all that is pending."""
        if self._soon is not None:
            self._soon.cancel()
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await self._write(list(self._pending))

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
        """A device, or another system, was given so many rows of these collections; written down soon, when they are
        many or long ago."""
        given = sum(rows.values())
        taker = principal.device_id or principal.service_id
        if taker is None or given == 0:
            return
        now_ms = self._clock()
        pending = self._pending.setdefault(taker, _Pending(principal, now_ms))
        pending.rows += given
        pending.people += rows.get(CONTACTS, 0)
        if len(self._pending) > PENDING_DEVICES_MAX:
            await self._write([taker])
        elif self._soon is None and pending.is_due(now_ms):
            self._soon = asyncio.get_running_loop().call_later(WRITE_AFTER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._soon = None
        self._writing = asyncio.get_running_loop().create_task(self.write_down())

    async def write_down(self) -> None:
        """Write down what is much, or long ago."""
        now_ms = self._clock()
        await self._write([taker for taker, pending in self._pending.items() if pending.is_due(now_ms)])

    async def _write(self, takers: Sequence[str]) -> None:
        for taker in takers:
            # taken before it is written: what is given meanwhile begins anew
            pending = self._pending.pop(taker, None)
            if pending is None:
                continue
            try:
                # what is usual for another system nobody knows: of it only whose data it took is noted
                if pending.principal.device_id is not None:
                    await self._write_down(pending.principal, taker, pending, self._clock())
                await self.read(pending.principal, pending.people)
            except (Refused, SerializationFailure) as error:
                # a database that is away for a moment: it is written with the next
                later = self._pending.setdefault(taker, _Pending(pending.principal, pending.since_ms))
                later.since_ms = pending.since_ms
                later.rows += pending.rows
                later.people += pending.people
                _LOG.warning("what was pulled is not written down yet", error_type=type(error).__name__)
                return

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
    check_first(first, rows_max)
    before = await conn.fetch("SELECT at, id FROM security_event WHERE id = ?", after) if after else []
    where, args = (" WHERE (at, id) < (?, ?)", list(before[0])) if before else ("", [])
    rows = await conn.fetch(
        "SELECT id, at, kind, user_id, device_id, rows, rows_expected FROM security_event"
        f"{where} ORDER BY at DESC, id DESC LIMIT ?",
        *args,
        first,
    )
    return [SecurityEvent(*row) for row in rows]
