"""A long run's row: one alive at a time, a sign of life while it goes on, and the end it comes to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, TypeVar

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.domain.score_runs import RunState
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.sync.documents import canonical
from backend.sync.work import Door, Work, in_work

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Told (phase, done, of how many) while a run goes on."""

BEAT_S = 20.0
ABANDONED_MS = 120_000
"""A run without a sign of life for so long belongs to a process that is gone."""


@dataclass(slots=True)
class KeptRun:
    """A run on its way and its row in `table`, which has id, state, problems, milliseconds and the moments.

    `name`: what a problem calls it; `collection`: what the audit calls it; `found`: column → value, written with the
    run's last word.
    """

    engine: Engine
    principal: Principal
    clock: Clock
    retries_max: int
    table: str
    name: str
    collection: str
    id: str = field(default_factory=new_id)
    problems: tuple[Problem, ...] = ()
    found: dict[str, object] = field(default_factory=dict)
    started_ns: int = field(default_factory=monotonic_ns)

    @property
    def milliseconds(self) -> int:
        return (monotonic_ns() - self.started_ns) // 1_000_000

    async def work(self, story: Callable[[Work], Awaitable[T]]) -> T:
        result, _ = await in_work(
            self.engine, self.principal, story, clock=self.clock, retries_max=self.retries_max, door=Door.JOB
        )
        return result

    async def begin(self, columns: Mapping[str, object]) -> None:
        """The run's row, unless another one is alive (raises BUSY); rows of dead ones are closed."""

        async def story(work: Work) -> None:
            # whoever begins holds the clock's row, so two beginnings take turns
            await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
            running = await work.conn.fetch(
                f"SELECT id, beat_at FROM {self.table} WHERE state = ?", RunState.RUNNING.value
            )
            if not all(is_abandoned(beat_at, work.now_ms) for _, beat_at in running):
                raise Refused(Problem(Code.BUSY, (self.name,)))
            await work.conn.execute_many(
                f"UPDATE {self.table} SET state = ?, finished_at = ? WHERE id = ?",
                [(RunState.FAILED.value, work.now_ms, dead) for dead, _ in running],
            )
            row = {
                "id": self.id,
                "state": RunState.RUNNING.value,
                "problems": "[]",
                "milliseconds": 0,
                "started_at": work.now_ms,
                "beat_at": work.now_ms,
                "started_by": work.principal.actor,
                **columns,
            }
            await work.conn.execute(
                f"INSERT INTO {self.table} ({', '.join(row)}) VALUES ({', '.join('?' for _ in row)})", *row.values()
            )
            work.audit("SCORE", self.collection, self.id)

        await self.work(story)

    async def end(self, state: RunState, problems: Sequence[Problem] = ()) -> None:
        """The run's last word."""
        self.problems = (*self.problems, *problems)
        told = canonical([problem_document(problem) for problem in self.problems]).decode()

        async def story(work: Work) -> None:
            row = {
                "state": state.value,
                "problems": told,
                "milliseconds": self.milliseconds,
                "finished_at": work.now_ms,
                **self.found,
            }
            await work.conn.execute(
                f"UPDATE {self.table} SET {', '.join(f'{name} = ?' for name in row)} WHERE id = ?",
                *row.values(),
                self.id,
            )

        await self.work(story)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Signs of life within; a run that is broken off is kept as CANCELLED, one that fails as FAILED."""
        beat = asyncio.create_task(self._beat())
        try:
            yield
        except Refused as refused:
            await self.end(RunState.FAILED, refused.problems)
            raise
        except asyncio.CancelledError:
            await asyncio.shield(self.end(RunState.CANCELLED))
            raise
        except BaseException:
            await asyncio.shield(self.end(RunState.FAILED, (Problem(Code.INTERNAL),)))
            raise
        finally:
            beat.cancel()
            with suppress(asyncio.CancelledError):
                await beat

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            await self.work(
                lambda work: work.conn.execute(
                    f"UPDATE {self.table} SET beat_at = ? WHERE id = ?", work.now_ms, self.id
                )
            )


def is_abandoned(beat_at_ms: int, now_ms: int) -> bool:
    """Whether a run that says it goes on belongs to a process that is gone."""
    return now_ms - beat_at_ms >= ABANDONED_MS


def problem_of(document: Mapping[str, Any]) -> Problem:
    """A problem that was kept."""
    return Problem(
        Code(document["code"]), tuple(document["path"]), tuple(document["allowed"]), params=document["params"]
    )


def problem_document(problem: Problem) -> dict[str, object]:
    """A problem as a run keeps it."""
    return {
        "code": problem.code.value,
        "path": list(problem.path),
        "allowed": list(problem.allowed),
        "params": dict(problem.params),
    }
