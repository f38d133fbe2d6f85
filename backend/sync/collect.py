"""Letting go of history nobody needs any more, and beginning anew after a restore.

Places that were closed, grants that ended and records that are gone are kept for devices that have not heard of
it. The *horizon* is the least that every live device has surely seen, and never younger than some days; what ended
at or before it is removed, and a cursor from before it is answered CURSOR_EXPIRED. The horizon is committed before
anything is removed: a pull sees either all of the history or the horizon. Source: pull.md COLLECT, sync.md §3, §8.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.config import Settings
from backend.domain.devices import DRAINED, SILENT, DeviceState, days_ago
from backend.errors import Code, Problem, Refused
from backend.storage.dialects import Dialect
from backend.storage.engine import Connection, Engine
from backend.storage.steps import STEPS_CHANNEL
from backend.sync.feed import EPOCH_STEP, read_clock
from backend.sync.work import Door, Work, in_work

EPOCH_MAX = 8_191
"""Clocks stay below 2^53, which every client counts exactly."""


class History(StrEnum):
    """What is collected."""

    PLACES = "places"
    GRANTS = "grants"
    TOMBSTONES = "tombstones"
    RECEIPTS = "receipts"
    CHECKPOINTS = "checkpoints"


@dataclass(slots=True)
class Collected:
    """What a collection did. `horizon`: from now on; `removed`: rows by kind."""

    horizon: int = 0
    clock: int = 0
    devices_revoked: int = 0
    devices_dropped: int = 0
    removed: dict[History, int] = field(default_factory=dict)


Progress = Callable[[History, int, int], None]
"""Told (kind, rows removed so far, rows to remove) after each transaction."""


async def collect(
    engine: Engine, principal: Principal, *, settings: Settings, clock: Clock, progress: Progress | None = None
) -> Collected:
    """Settle devices whose time is over, move the horizon on, and remove what lies behind it, in small transactions.

    Safe while the server answers, and when cut short: the next one goes on. Run it every day.
    """
    rows_max, retries_max = settings.collect_rows_per_work, settings.write_retries_max
    done = Collected()

    async def revoke(work: Work) -> int:
        return await revoke_drained(work, rows_max)

    async def drop(work: Work) -> int:
        return await drop_silent(work, settings.device_silent_days, rows_max)

    async def move(work: Work) -> tuple[int, int, int]:
        return await move_horizon(work, settings.history_days_min)

    while found := (await in_work(engine, principal, revoke, clock=clock, retries_max=retries_max, door=Door.JOB))[0]:
        done.devices_revoked += found
    while found := (await in_work(engine, principal, drop, clock=clock, retries_max=retries_max, door=Door.JOB))[0]:
        done.devices_dropped += found
    (done.clock, done.horizon, up_to), _ = await in_work(
        engine, principal, move, clock=clock, retries_max=retries_max, door=Door.JOB
    )
    for kind, wanted in _removals(up_to, settings, clock()).items():
        async with engine.read() as conn:
            ((total,),) = await conn.fetch(f"SELECT count(*) FROM {wanted.table} WHERE {wanted.where}", *wanted.args)
        removed = 0
        while True:

            async def remove(work: Work, wanted: "_Removal" = wanted) -> int:
                return await remove_some(work.conn, wanted, rows_max)

            found, _ = await in_work(engine, principal, remove, clock=clock, retries_max=retries_max, door=Door.JOB)
            removed += found
            if progress is not None:
                progress(kind, removed, max(total, removed))
            if found < rows_max:
                break
        done.removed[kind] = done.removed.get(kind, 0) + removed
    return done


# -- devices ------------------------------------------------------------------------------------------------------


async def revoke_drained(work: Work, rows_max: int) -> int:
    """Write down that the days of draining are over; returns for how many devices."""
    rows = await work.conn.fetch(
        "SELECT id, user_id FROM device WHERE state = 'DRAINING' AND drain_until <= ? ORDER BY id LIMIT ? FOR UPDATE",
        work.now_ms,
        rows_max,
    )
    await _revoke(work, [row[0] for row in rows], {row[1] for row in rows}, DRAINED)
    return len(rows)


async def drop_silent(work: Work, silent_days: int, rows_max: int) -> int:
    """Devices not heard of for so long hold back nothing any more, and sync no more; returns how many."""
    rows = await work.conn.fetch(
        "SELECT id, user_id, state FROM device WHERE dropped_at IS NULL AND last_seen_at <= ? ORDER BY id LIMIT ?"
        " FOR UPDATE",
        days_ago(work.now_ms, silent_days),
        rows_max,
    )
    live = [row for row in rows if row[2] in (DeviceState.ACTIVE, DeviceState.DRAINING)]
    await _revoke(work, [row[0] for row in live], {row[1] for row in live}, SILENT)
    await work.conn.execute("UPDATE device SET dropped_at = ? WHERE id = ANY(?)", work.now_ms, [row[0] for row in rows])
    for device_id, _, _ in rows:
        work.audit("DROP", "devices", device_id)
    return len(rows)


async def _revoke(work: Work, device_ids: list[str], owners: set[str], reason: str) -> None:
    if not device_ids:
        return
    await work.conn.execute(
        # who had it drained still is who gave it up
        "UPDATE device SET state = 'REVOKED', state_since = ?, state_reason = ?, drain_until = NULL WHERE id = ANY(?)",
        work.now_ms,
        reason,
        device_ids,
    )
    await work.conn.execute(
        "UPDATE refresh_family SET revoked_at = ? WHERE device_id = ANY(?) AND revoked_at IS NULL",
        work.now_ms,
        device_ids,
    )
    for device_id in device_ids:
        work.audit("REVOKE", "devices", device_id, ("state",))
    work.standings |= owners


# -- the horizon --------------------------------------------------------------------------------------------------


async def move_horizon(work: Work, history_days: int) -> tuple[int, int, int]:
    """(clock, horizon from now on, up to which seq history may go). Notes how old the clock's present seq is.

    What may go ends at the horizon and is old enough besides: after a restore the horizon is as young as its epoch.
    """
    conn = work.conn
    clock, horizon = await read_clock(conn)
    old_enough = await seq_at(conn, days_ago(work.now_ms, history_days))
    ((acked,),) = await conn.fetch(
        # a device behind the horizon starts over anyway, and one that never came back has nothing to lose
        "SELECT min(acked_seq) FROM device WHERE state = 'ACTIVE' AND acked_seq > 0 AND acked_seq >= ?",
        horizon,
    )
    moved = max(horizon, min(old_enough, clock if acked is None else acked))
    await note_clock(conn, work.now_ms, clock)
    await forget_marks(conn, days_ago(work.now_ms, history_days))
    if moved > horizon:
        await set_horizon(conn, moved)
    return clock, moved, min(moved, old_enough)


async def set_horizon(conn: Connection, horizon: int) -> None:
    await conn.execute("UPDATE sync_clock SET horizon = ? WHERE id = 1 AND horizon < ?", horizon, horizon)


async def note_clock(conn: Connection, now_ms: int, clock: int) -> None:
    """The clock stands at this seq now."""
    await conn.execute("INSERT INTO clock_mark (at, seq) VALUES (?, ?) ON CONFLICT (at) DO NOTHING", now_ms, clock)


async def seq_at(conn: Connection, at_ms: int) -> int:
    """A seq that had been reached at a moment; 0 when that is not known.

    Known from the marks and from receipts. A server whose own clock was wrong once leaves a mark that is too old for
    its seq: none above a mark of a later moment is believed.
    """
    ((later,),) = await conn.fetch("SELECT min(seq) FROM clock_mark WHERE at > ?", at_ms)
    marks = await conn.fetch("SELECT seq FROM clock_mark WHERE at <= ?", at_ms)
    receipts = await conn.fetch(
        "SELECT seq FROM receipt WHERE received_at <= ? ORDER BY received_at DESC LIMIT 1", at_ms
    )
    return max((row[0] for row in [*marks, *receipts] if later is None or row[0] <= later), default=0)


async def forget_marks(conn: Connection, at_ms: int) -> None:
    """Of the marks older than a moment only the last says anything."""
    await conn.execute("DELETE FROM clock_mark WHERE at < (SELECT max(at) FROM clock_mark WHERE at <= ?)", at_ms)


# -- removing -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Removal:
    """Rows of a table that nobody needs; `where` stands in the statement twice, so `args` are given twice."""

    table: str
    key: str
    where: str
    args: tuple[object, ...]


def _removals(up_to: int, settings: Settings, now_ms: int) -> dict[History, "_Removal"]:
    gone = "device_id IN (SELECT id FROM device WHERE state IN ('REVOKED', 'WIPED'))"
    return {
        **history_up_to(up_to),
        History.RECEIPTS: _Removal(
            "receipt", "mutation_id", "received_at <= ?", (days_ago(now_ms, settings.receipt_days),)
        ),
        History.CHECKPOINTS: _Removal("rxdb_kept", "key", gone, ()),
    }


def history_up_to(seq: int) -> dict[History, "_Removal"]:
    """What ended at or before a seq."""
    return {
        History.PLACES: _Removal("feed_scope", "id", "left_seq <= ?", (seq,)),
        History.GRANTS: _Removal("user_scope", "id", "revoked_seq <= ?", (seq,)),
        History.TOMBSTONES: _Removal("feed", "key", "deleted AND seq <= ?", (seq,)),
    }


async def remove_some(conn: Connection, wanted: "_Removal", rows_max: int) -> int:
    """Remove at most so many rows; returns how many.

    The condition stands outside as well: a row somebody changes while it is waited for is judged again, and a record
    that came back in that moment stays.
    """
    rows = await conn.fetch(
        f"DELETE FROM {wanted.table} WHERE {wanted.where} AND {wanted.key} IN"
        f" (SELECT {wanted.key} FROM {wanted.table} WHERE {wanted.where} LIMIT ?) RETURNING {wanted.key}",
        *wanted.args,
        *wanted.args,
        rows_max,
    )
    return len(rows)


# -- after a restore ----------------------------------------------------------------------------------------------


async def next_epoch(work: Work, *, above: int = 0) -> tuple[int, int]:
    """Begin the next epoch, which makes every position of before worthless; returns (epoch before, epoch now).

    `above`: an epoch that was given out already, though this database does not know it: a backup may be restored
    twice. Raises OUT_OF_RANGE after 8,191 epochs.
    """
    ((seq,),) = await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
    epoch = max(seq // EPOCH_STEP, above) + 1
    if epoch > EPOCH_MAX:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("epoch",), ("1", str(EPOCH_MAX))))
    start = epoch * EPOCH_STEP
    await work.conn.execute("UPDATE sync_clock SET seq = ?, horizon = ? WHERE id = 1", start, start)
    await work.conn.execute("UPDATE device SET acked_seq = 0 WHERE acked_seq > 0")
    await work.conn.execute("DELETE FROM rxdb_kept")
    await note_clock(work.conn, work.now_ms, start)
    if work.conn.dialect is Dialect.POSTGRES:
        await work.conn.fetch("SELECT pg_notify(?, ?)", STEPS_CHANNEL, str(start))
    work.stepped = True
    work.audit("EPOCH", "clock", str(epoch))
    return seq // EPOCH_STEP, epoch
