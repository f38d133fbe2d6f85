"""Ending a long run from elsewhere: whoever may asks in its row, and whoever carries it out looks there now and then.

The run may go on in another process, or on another server: the row is what both see.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from backend.domain.audit import AuditAction
from backend.domain.score_runs import RunState
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.sync.runs import KeptRun, is_abandoned
from backend.sync.work import Work
from backend.telemetry import logger

LOOK_S = 1.0
"""So long after it was asked, at most, a run hears of it."""
_LOG = logger(__name__)


async def ask_to_stop(work: Work, table: str, collection: str, run_id: str | None) -> str:
    """Note that a run is to end; its id. `run_id` None: the one that goes on, whichever it is.

    Asked twice is asked once. A run whose process is gone hears nothing: it is closed here, as the next one that begins
    would close it. Raises NOT_FOUND (no such run; without an id: none goes on), INVALID_TRANSITION for one that has
    ended.
    """
    which = "state = ?" if run_id is None else "id = ?"
    found = await work.conn.fetch(
        f"SELECT id, state, beat_at, cancel_asked_at FROM {table} WHERE {which} ORDER BY started_at DESC LIMIT 1"
        " FOR UPDATE",
        RunState.RUNNING.value if run_id is None else run_id,
    )
    if not found:
        raise Refused(Problem(Code.NOT_FOUND, ("runId",)))
    [(known, state, beat_at, asked_at)] = found
    if state != RunState.RUNNING:
        raise Refused(Problem(Code.INVALID_TRANSITION, ("state",), (), {"enum": RunState.__name__}))
    if asked_at is None:
        await work.conn.execute(f"UPDATE {table} SET cancel_asked_at = ? WHERE id = ?", work.now_ms, known)
        work.audit(AuditAction.CANCEL, collection, known)
    if is_abandoned(beat_at, work.now_ms):
        await work.conn.execute(
            f"UPDATE {table} SET state = ?, finished_at = ? WHERE id = ?", RunState.FAILED.value, work.now_ms, known
        )
    return str(known)


@asynccontextmanager
async def hearing_stops(engine: Engine, row: KeptRun) -> AsyncIterator[Callable[[], bool]]:
    """Within, whether somebody has asked this run to end, as it was known `LOOK_S` ago at most."""
    asked = asyncio.Event()
    looking = asyncio.create_task(_look(engine, row, asked))
    try:
        yield asked.is_set
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({looking})
        if not looking.cancelled() and (error := looking.exception()) is not None:
            # a run that could not be stopped is no run that failed
            _LOG.warning("a run could not be asked to end", error_type=type(error).__name__, code=Code.INTERNAL.value)


async def _look(engine: Engine, row: KeptRun, asked: asyncio.Event) -> None:
    while not asked.is_set():
        # a database that is away for a moment is looked into again
        with suppress(Refused):
            async with engine.read() as conn:
                found = await conn.fetch(f"SELECT cancel_asked_at FROM {row.table} WHERE id = ?", row.id)
            if found and found[0][0] is not None:
                asked.set()
                return
        await asyncio.sleep(LOOK_S)
