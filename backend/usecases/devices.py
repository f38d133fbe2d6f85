"""Devices: what they report of themselves, how they stand, and what support, managers and owners do with them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.clock import Clock
from backend.config import Settings
from backend.domain.devices import DeviceState, days_ago, state_at, state_problem
from backend.domain.given import check_range
from backend.domain.times import DAY_MS
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id
from backend.storage.engine import Connection, Engine, Row
from backend.storage.visibility import devices_seen
from backend.sync.feed import read_clock
from backend.sync.work import Door, Work, in_work

APP_VERSION_CHARACTERS_MAX = 40
REASON_CHARACTERS_MAX = 200
COUNT_MAX = 1_000_000
SILENT_DAYS_MAX = 3_650
EPOCH_BITS = 40
ACTION_OF: Mapping[DeviceState, str] = {
    DeviceState.ACTIVE: "REACTIVATE",
    DeviceState.DRAINING: "DRAIN",
    DeviceState.REVOKED: "REVOKE",
    DeviceState.WIPED: "WIPE",
}
"""How the audit names a change to a state."""
_AFTER = re.compile(r"(\d{1,16})\.([0-9a-f-]{36})")


# -- what a device reports ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """What a device says of itself: mutations not yet answered, and those refused that its user has not settled."""

    unsent: int
    unsent_oldest_at_ms: int | None = None
    refused: int = 0
    app_version: str | None = None


async def take_report(
    engine: Engine, principal: Principal, report: Report, *, settings: Settings, clock: Clock
) -> tuple[bool, str]:
    """(whether it was written, the device's state). Written at most every few seconds, unless the queue fell empty.

    Raises `Refused` with every problem, NOT_PERMITTED, DEVICE_REVOKED.
    """
    if principal.kind is not PrincipalKind.STAFF or not principal.device_id:
        raise Refused(Problem(Code.NOT_PERMITTED))
    refuse_if(_report_problems(report))
    now_ms = clock()
    async with engine.read() as conn:
        rows = await conn.fetch(
            "SELECT state, drain_until, reported_at, unsent_count FROM device WHERE id = ? AND user_id = ?",
            principal.device_id,
            principal.holder,
        )
    if not rows:
        raise Refused(Problem(Code.DEVICE_REVOKED))
    ((written, drain_until, reported_at, unsent_count),) = rows
    state = state_at(written, drain_until, now_ms)
    fresh = reported_at is not None and now_ms - reported_at < settings.device_report_seconds * 1_000
    if fresh and not (report.unsent == 0 < (unsent_count or 0)):
        return False, state
    oldest = report.unsent_oldest_at_ms

    async def story(work: Work) -> None:
        await work.conn.execute(
            "UPDATE device SET unsent_count = ?, unsent_oldest_at = ?, refused_count = ?,"
            " app_version = coalesce(?, app_version), reported_at = ?, last_seen_at = ? WHERE id = ?",
            report.unsent,
            None if oldest is None or report.unsent == 0 else min(oldest, work.now_ms),
            report.refused,
            report.app_version,
            work.now_ms,
            work.now_ms,
            work.principal.device_id,
        )

    await in_work(engine, principal, story, clock=clock, retries_max=settings.write_retries_max)
    return True, state


def _report_problems(report: Report) -> list[Problem]:
    problems = [
        Problem(Code.OUT_OF_RANGE, (name,), ("0", str(COUNT_MAX)))
        for name, count in (("unsent", report.unsent), ("refused", report.refused))
        if not 0 <= count <= COUNT_MAX
    ]
    if report.app_version is not None:
        problems += _text_problems(("appVersion",), report.app_version, APP_VERSION_CHARACTERS_MAX)
    return problems


def _text_problems(path: tuple[str, ...], text: str, characters_max: int) -> list[Problem]:
    if len(text) > characters_max:
        return [Problem(Code.TOO_LONG, path, (str(characters_max),))]
    # neither database keeps a NUL or half of a surrogate pair
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return [Problem(Code.INVALID_VALUE, path)]
    return []


# -- how devices stand --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which devices; all that is given must hold."""

    device_id: str | None = None
    user_id: str | None = None
    states: tuple[DeviceState, ...] = ()
    silent_days: int | None = None
    unsent: bool = False
    issues: bool = False


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """How a device stands; moments in milliseconds, null where nothing was ever noted."""

    id: str
    user_id: str
    user_name: str
    role: str
    name: str
    platform: str
    state: DeviceState
    state_since_ms: int | None
    state_reason: str | None
    drain_until_ms: int | None
    wipe_acked_at_ms: int | None
    dropped_at_ms: int | None
    created_at_ms: int
    last_seen_at_ms: int
    pulled_at_ms: int | None
    pushed_at_ms: int | None
    reported_at_ms: int | None
    acked_seq: int
    acked_mutation: int
    behind: int | None
    """steps of the clock it has surely not seen; null: it starts over, or never pulled"""
    unsent: int | None
    unsent_oldest_at_ms: int | None
    refused: int | None
    open_issues: int
    app_version: str | None
    schema_version: int | None
    clock_offset_ms: int | None


@dataclass(frozen=True, slots=True)
class StatusPage:
    """Devices, the longest silent first; `after` leads on, or is None at the end."""

    devices: tuple[DeviceStatus, ...]
    total: int
    after: str | None


_COLUMN_OF: Mapping[str, str] = {
    "id": "d.id",
    "user_id": "d.user_id",
    "user_name": "u.name",
    "role": "u.role",
    "name": "d.name",
    "platform": "d.platform",
    "state": "d.state",
    "state_since_ms": "d.state_since",
    "state_reason": "d.state_reason",
    "drain_until_ms": "d.drain_until",
    "wipe_acked_at_ms": "d.wipe_acked_at",
    "dropped_at_ms": "d.dropped_at",
    "created_at_ms": "d.created_at",
    "last_seen_at_ms": "d.last_seen_at",
    "pulled_at_ms": "d.pulled_at",
    "pushed_at_ms": "d.pushed_at",
    "reported_at_ms": "d.reported_at",
    "acked_seq": "d.acked_seq",
    "acked_mutation": "d.last_client_seq",
    "unsent": "d.unsent_count",
    "unsent_oldest_at_ms": "d.unsent_oldest_at",
    "refused": "d.refused_count",
    "open_issues": "(SELECT count(*) FROM sync_issue i WHERE i.user_id = d.user_id AND i.state = 'OPEN'"
    " AND i.device_id = d.id)",
    "app_version": "d.app_version",
    "schema_version": "d.schema_version",
    "clock_offset_ms": "d.clock_offset_ms",
}
_NAMES = tuple(_COLUMN_OF)
_COLUMNS = ", ".join(_COLUMN_OF.values())
_FROM = "FROM device d JOIN user_account u ON u.id = d.user_id"


async def sync_status(
    conn: Connection, principal: Principal, wanted: Wanted, *, first: int, after: str | None, now_ms: int, rows_max: int
) -> StatusPage:
    """A page of how the devices the caller may see stand.

    Raises `Refused`: NOT_PERMITTED, CURSOR_INVALID, OUT_OF_RANGE, INVALID_VALUE.
    """
    problems = status_problems(wanted, first=first, rows_max=rows_max)
    place = None if after is None else _AFTER.fullmatch(after)
    if after is not None and place is None:
        problems.append(Problem(Code.CURSOR_INVALID, ("after",)))
    refuse_if(problems)
    seen, seen_args = _seen_by(principal)
    where, args = _matching(wanted, now_ms)
    ((total,),) = await conn.fetch(f"SELECT count(*) {_FROM} WHERE {seen} AND {where}", *seen_args, *args)
    beyond, beyond_args = ("", [])
    if place is not None:
        beyond, beyond_args = " AND (d.last_seen_at, d.id) > (?, ?)", [int(place[1]), place[2]]
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {_FROM} WHERE {seen} AND {where}{beyond} ORDER BY d.last_seen_at, d.id LIMIT ?",
        *seen_args,
        *args,
        *beyond_args,
        first + 1,
    )
    clock, horizon = await read_clock(conn)
    devices = tuple(_status(row, clock, horizon, now_ms) for row in rows[:first])
    last = devices[-1] if len(rows) > first else None
    return StatusPage(devices, total, f"{last.last_seen_at_ms}.{last.id}" if last else None)


def status_problems(wanted: Wanted, *, first: int, rows_max: int) -> list[Problem]:
    """What is wrong with a question about devices, by its arguments' names."""
    problems: list[Problem] = []
    check_range(first, 1, rows_max, "first", problems)
    if wanted.silent_days is not None:
        check_range(wanted.silent_days, 0, SILENT_DAYS_MAX, "silentSinceDays", problems)
    for name, given in (("deviceId", wanted.device_id), ("userId", wanted.user_id)):
        if given is not None and not is_id(given):
            problems.append(Problem(Code.INVALID_VALUE, (name,), ("UUID",)))
    return problems


def _seen_by(principal: Principal) -> tuple[str, list[object]]:
    """The predicate "this principal may see how the device `d` stands", and its arguments; raises NOT_PERMITTED."""
    seen = devices_seen(principal, "d")
    if seen is None:
        raise Refused(Problem(Code.NOT_PERMITTED))
    sql, asks = seen
    return sql, [principal.holder] * asks


def _matching(wanted: Wanted, now_ms: int) -> tuple[str, list[object]]:
    parts, args = ["1 = 1"], list[object]()
    for column, given in (("d.id", wanted.device_id), ("d.user_id", wanted.user_id)):
        if given is not None:
            parts.append(f"{column} = ?")
            args.append(given)
    if wanted.states:
        # a draining that is over is a revocation, also before the nightly job has written it down
        parts.append("(CASE WHEN d.state = 'DRAINING' AND d.drain_until <= ? THEN 'REVOKED' ELSE d.state END) = ANY(?)")
        args += [now_ms, [state.value for state in wanted.states]]
    if wanted.silent_days is not None:
        parts.append("d.last_seen_at <= ?")
        args.append(days_ago(now_ms, wanted.silent_days))
    if wanted.unsent:
        parts.append("d.unsent_count > 0")
    if wanted.issues:
        parts.append(
            "EXISTS (SELECT 1 FROM sync_issue i WHERE i.user_id = d.user_id AND i.state = 'OPEN'"
            " AND i.device_id = d.id)"
        )
    return " AND ".join(parts), args


def _status(row: Row, clock: int, horizon: int, now_ms: int) -> DeviceStatus:
    known = dict(zip(_NAMES, row, strict=True))
    acked = known["acked_seq"]
    up_to_date = acked >= horizon and acked >> EPOCH_BITS == clock >> EPOCH_BITS
    known["state"] = state_at(known["state"], known["drain_until_ms"], now_ms)
    return DeviceStatus(**known, behind=clock - acked if up_to_date else None)


# -- what is done with a device -----------------------------------------------------------------------------------


async def change_device(
    work: Work, device_id: str, state: DeviceState, *, reason: str | None, drain_days: int
) -> DeviceStatus:
    """Put a device into a state; one that is in it already stays as it is, without complaint.

    Admins may for all, managers for the devices of reps below them, everybody for his own; taking back what
    somebody else did to one's device is for those above. A revoked or wiped device's sign-ins end.
    Raises `Refused`: NOT_FOUND, NOT_PERMITTED, INVALID_TRANSITION with the states possible, TOO_LONG.
    """
    reason = (reason or "").strip() or None
    refuse_if(_text_problems(("reason",), reason or "", REASON_CHARACTERS_MAX))
    seen, args = _seen_by(work.principal)
    rows = (
        await work.conn.fetch(
            f"SELECT d.user_id, d.state, d.drain_until, d.state_by FROM device d WHERE d.id = ? AND {seen} FOR UPDATE",
            device_id,
            *args,
        )
        if is_id(device_id)
        else []
    )
    if not rows:
        raise Refused(Problem(Code.NOT_FOUND, ("deviceId",)))
    ((owner, written, drain_until, changed_by),) = rows
    before = state_at(written, drain_until, work.now_ms)
    _check_right(work, owner, taken_back_from=changed_by if state is DeviceState.ACTIVE else None)
    if problem := state_problem(before, state):
        raise Refused(problem)
    if before is not state:
        await write_state(work, device_id, state, reason=reason, by=work.principal.holder, drain_days=drain_days)
        work.standings.add(owner)
    return (await _statuses(work.conn, [device_id], work.now_ms))[0]


def _check_right(work: Work, owner: str, *, taken_back_from: str | None) -> None:
    role, mine = work.principal.role, owner == work.principal.user_id
    above = work.door is Door.JOB or role is Role.ADMIN or (role is Role.MANAGER and not mine)
    if not above and not (mine and taken_back_from in (None, owner)):
        raise Refused(Problem(Code.NOT_PERMITTED))


async def write_state(
    work: Work, device_id: str, state: DeviceState, *, reason: str | None, by: str | None, drain_days: int
) -> None:
    """The state of a locked device row, with what goes with it."""
    await work.conn.execute(
        "UPDATE device SET state = ?, state_since = ?, state_reason = ?, state_by = ?, drain_until = ?,"
        " dropped_at = NULL WHERE id = ?",
        state.value,
        work.now_ms,
        reason,
        by,
        work.now_ms + drain_days * DAY_MS if state is DeviceState.DRAINING else None,
        device_id,
    )
    if state in (DeviceState.REVOKED, DeviceState.WIPED):
        await work.conn.execute(
            "UPDATE refresh_family SET revoked_at = ? WHERE device_id = ? AND revoked_at IS NULL",
            work.now_ms,
            device_id,
        )
    work.audit(ACTION_OF[state], "devices", device_id, ("state",))


async def _statuses(conn: Connection, device_ids: Sequence[str], now_ms: int) -> list[DeviceStatus]:
    rows = await conn.fetch(f"SELECT {_COLUMNS} {_FROM} WHERE d.id = ANY(?) ORDER BY d.id", list(device_ids))
    clock, horizon = await read_clock(conn)
    return [_status(row, clock, horizon, now_ms) for row in rows]
