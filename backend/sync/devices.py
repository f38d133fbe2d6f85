"""What the sync calls ask of a device's row: may it, from where does it go on, and what is noted of it.

A pull is a read: what it proves is noted once a minute, or when much was proved. A push locks the row, so that two
pushes of one device take turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.domain.devices import drain_problem, state_at, unread, unserved
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Engine
from backend.sync.work import Work, in_work

NOTE_SECONDS = 60
NOTE_STEPS = 1_000
"""A cursor that came on by so many steps of the clock is noted at once."""


@dataclass(frozen=True, slots=True)
class Pulling:
    """What was noted of a device that may pull; moments in milliseconds."""

    acked_seq: int
    pulled_at_ms: int
    schema_version: int | None

    def is_news(self, base: int, schema_version: int | None, now_ms: int, note_seconds: int) -> bool:
        """Whether this pull is worth a write."""
        if schema_version is not None and schema_version != self.schema_version:
            return True
        return base >= self.acked_seq + NOTE_STEPS or now_ms >= self.pulled_at_ms + note_seconds * 1_000


PULLING_COLUMNS = ("state", "drain_until", "acked_seq", "pulled_at", "schema_version")
"""Of a device: what `pulling_of` judges it by."""


async def pulling_device(conn: Connection, principal: Principal, now_ms: int) -> Pulling:
    """The caller's device, which may pull. Raises `Refused`: DEVICE_REVOKED, DEVICE_DRAINING, DEVICE_WIPED."""
    rows = await conn.fetch(
        f"SELECT {', '.join(PULLING_COLUMNS)} FROM device WHERE id = ? AND user_id = ?",
        principal.device_id,
        principal.holder,
    )
    if not rows:
        raise Refused(Problem(Code.DEVICE_REVOKED))
    return pulling_of(rows[0], now_ms)


def pulling_of(row: Sequence[Any], now_ms: int) -> Pulling:
    """A device by its `PULLING_COLUMNS`. Raises `Refused`: DEVICE_DRAINING, DEVICE_WIPED, DEVICE_REVOKED."""
    state, drain_until, acked_seq, pulled_at, schema_version = row
    if problem := unread(state_at(state, drain_until, now_ms)):
        raise Refused(problem)
    return Pulling(acked_seq, pulled_at or 0, schema_version)


async def note_pull(
    engine: Engine,
    principal: Principal,
    known: Pulling,
    *,
    base: int,
    schema_version: int | None,
    clock: Clock,
    retries_max: int,
    note_seconds: int = NOTE_SECONDS,
) -> None:
    """Note what a pull proved, when it is news: history below the least `base` of all devices may be collected.

    `base`: of the cursor presented; 0 for none.
    """
    if not known.is_news(base, schema_version, clock(), note_seconds):
        return

    async def story(work: Work) -> None:
        await work.conn.execute(
            "UPDATE device SET acked_seq = CASE WHEN acked_seq < ? THEN ? ELSE acked_seq END, pulled_at = ?,"
            " last_seen_at = ?, schema_version = coalesce(?::int, schema_version) WHERE id = ?",
            base,
            base,
            work.now_ms,
            work.now_ms,
            schema_version,
            work.principal.device_id,
        )

    await in_work(engine, principal, story, clock=clock, retries_max=retries_max)


@dataclass(frozen=True, slots=True)
class Pushing:
    """A device whose queue is being taken. `drained_since_ms`: what was captured later is not taken."""

    last_client_seq: int
    draining: bool
    drained_since_ms: int | None
    clock_offset_ms: int | None = None
    """as its last push said: what is added to its times"""

    def problem_of(self, captured_at_ms: int | None) -> Problem | None:
        """Why a mutation is not taken from this device."""
        return drain_problem(captured_at_ms, self.drained_since_ms) if self.draining else None


async def lock_pushing_device(work: Work, *, whatever_state: bool = False) -> Pushing:
    """The caller's device, locked; it may push. Raises `Refused`: DEVICE_REVOKED, DEVICE_WIPED.

    `whatever_state`: what it holds comes by an operator's hand, who has decided that it is taken.
    """
    rows = await work.conn.fetch(
        "SELECT last_client_seq, state, drain_until, state_since, clock_offset_ms FROM device"
        " WHERE id = ? AND user_id = ? FOR UPDATE",
        work.principal.device_id,
        work.principal.holder,
    )
    if not rows:
        raise Refused(Problem(Code.DEVICE_REVOKED))
    ((last_client_seq, written, drain_until, state_since, offset_ms),) = rows
    state = state_at(written, drain_until, work.now_ms)
    if not whatever_state and (problem := unserved(state)):
        raise Refused(problem)
    return Pushing(int(last_client_seq), unread(state) is not None, state_since, offset_ms)
