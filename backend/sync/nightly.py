"""Nightly jobs inside the server: due once a day from an hour on, carried out by one process of all.

Every process looks now and then; whoever claims a job's row for the day does it. A process that dies leaves a claim
that is believed for some hours, then another one takes the job over. Nothing here knows what the jobs do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from backend.clock import Clock
from backend.domain.times import local_clock, local_day
from backend.errors import Code
from backend.storage.engine import Engine
from backend.telemetry import counter, logger

Job = Callable[[], Awaitable[object]]
LOOK_SECONDS = 60
CLAIM_HOURS = 6
"""After so long a claim without an end is a dead process's."""
HOUR_MS = 3_600_000
_LOG = logger(__name__)
_RUNS = counter("nightly_runs", "Nightly jobs carried out by this process.", job=16, result=("done", "failed"))


class Nightly:
    """Looks, claims and runs. One per process."""

    def __init__(self, engine: Engine, jobs: Mapping[str, Job], *, hour: int, timezone: str, clock: Clock) -> None:
        self._engine = engine
        self._jobs = jobs
        self._hour = hour
        self._timezone = timezone
        self._clock = clock
        self._looking: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Look from now on, until closed."""
        self._looking = asyncio.ensure_future(self._look_on())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the next look may go well
                _LOG.error("no nightly job was claimed", error_type=type(error).__name__, code=Code.INTERNAL.value)

    async def look(self) -> list[str]:
        """Carry out what is due and nobody else has; the names of the jobs that were run here."""
        now_ms = self._clock()
        if local_clock(now_ms, self._timezone) < f"{self._hour:02}:00":
            return []
        day, run = local_day(now_ms, self._timezone), []
        for name, job in self._jobs.items():
            if await claim(self._engine, name, day, self._clock()):
                await self._run(name, day, job)
                run.append(name)
        return run

    async def _run(self, name: str, day: str, job: Job) -> None:
        failed = None
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - one job that fails keeps no other from running
            failed = type(error).__name__
            _LOG.error("a nightly job failed", operation=name, error_type=failed, code=Code.INTERNAL.value)
        _RUNS.add(job=name, result="failed" if failed else "done")
        async with self._engine.write() as conn:
            await conn.execute(
                "UPDATE nightly_run SET finished_at = ?, failed_with = ? WHERE job = ? AND day = ?",
                self._clock(),
                failed,
                name,
                day,
            )


async def claim(engine: Engine, job: str, day: str, now_ms: int) -> bool:
    """Whether the job of that day is the caller's to do."""
    async with engine.write() as conn:
        rows = await conn.fetch(
            "INSERT INTO nightly_run (job, day, started_at) VALUES (?, ?, ?) ON CONFLICT (job) DO UPDATE SET"
            " day = excluded.day, started_at = excluded.started_at, finished_at = NULL, failed_with = NULL"
            " WHERE nightly_run.day < excluded.day OR (nightly_run.finished_at IS NULL AND nightly_run.started_at < ?)"
            " RETURNING job",
            job,
            day,
            now_ms,
            now_ms - CLAIM_HOURS * HOUR_MS,
        )
    return bool(rows)
