"""Several processes on one port: a parent that answers nobody, and the workers it starts, replaces and stops.

The parent holds the listening socket and hands it on. A worker says that it answers by a byte on a pipe, and stops
when the parent is gone, which it learns from its standard input. One that dies is replaced; SIGHUP replaces all of
them, one after the other, the old one going when the new one answers. POSIX only.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from backend.config import PREFIX, Settings
from backend.telemetry import SHARED_FOLDER, logger

SETTING_WRONG = 2
GAVE_UP = 1
SHORT_LIFE_SECONDS = 5.0
SHORT_LIVES_MAX = 5
"""Of one place, one after the other: then something is wrong that another worker does not mend."""
PAUSE_SECONDS_FIRST = 0.1
KILL_AFTER_SECONDS = 5
"""How much longer than its time to stop a worker is waited for."""
_LOG = logger(__name__)


class _Worker:
    """One process, and when it is ready."""

    def __init__(self, process: Process, ready: asyncio.Future[bool]) -> None:
        self.process = process
        self.ready = ready
        self.began = monotonic()
        self.ended = asyncio.ensure_future(process.wait())

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


class Workers:
    """`count` workers on one socket, until told to stop."""

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        *,
        metrics_folder: str,
        graceful_seconds: int,
        ready: Callable[[], None],
    ) -> None:
        self._count = settings.workers
        self._listening = listening
        self._graceful_seconds = graceful_seconds
        self._metrics_folder = metrics_folder
        self._environment = {**os.environ, **_as_variables(settings), SHARED_FOLDER: metrics_folder}
        self._tell_ready = ready
        self._stopping = asyncio.Event()
        self._renewing = [asyncio.Event() for _ in range(self._count)]
        self._one_by_one = asyncio.Lock()
        self._all: set[_Worker] = set()

    async def run(self) -> int:
        """The status to end with, when all have stopped."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._renew)
        places = [asyncio.ensure_future(self._keep(place)) for place in range(self._count)]
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({stopping, *places}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            # whoever comes now is turned away at once instead of waiting for nobody
            self._listening.close()
            for worker in self._all:
                worker.stop()
            await self._all_gone()
        statuses = await asyncio.gather(*places)
        return max(statuses)

    def _renew(self) -> None:
        for event in self._renewing:
            event.set()

    async def _all_gone(self) -> None:
        if not self._all:
            return
        _, left = await asyncio.wait(
            [worker.ended for worker in self._all], timeout=self._graceful_seconds + KILL_AFTER_SECONDS
        )
        for worker in self._all:
            if worker.ended in left:
                with suppress(ProcessLookupError):
                    worker.process.kill()
        if left:
            await asyncio.wait(left)

    async def _keep(self, place: int) -> int:
        """Keep a place filled. Returns when stopping, or with the status of a worker no other would do better than."""
        short_lives = 0
        worker = await self._start()
        while True:
            renewing = asyncio.ensure_future(self._renewing[place].wait())
            stopping = asyncio.ensure_future(self._stopping.wait())
            waited: set[asyncio.Future[Any]] = {worker.ended, renewing, stopping}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            renewing.cancel()
            stopping.cancel()
            if self._stopping.is_set():
                return 0
            if not worker.ended.done():
                worker = await self._renewed(place, worker)
                continue
            status = worker.ended.result()
            if status == SETTING_WRONG:
                return status
            short_lives = short_lives + 1 if monotonic() - worker.began < SHORT_LIFE_SECONDS else 0
            _LOG.warning("a worker ended and is replaced", code=status, attempt=short_lives)
            if short_lives > SHORT_LIVES_MAX:
                return GAVE_UP
            await asyncio.sleep(PAUSE_SECONDS_FIRST * 2**short_lives)
            if self._stopping.is_set():
                return 0
            worker = await self._start()

    async def _renewed(self, place: int, old: _Worker) -> _Worker:
        """Another worker in the place of one that answers, which goes only when the other answers too."""
        async with self._one_by_one:
            self._renewing[place].clear()
            new = await self._start()
            coming: set[asyncio.Future[Any]] = {new.ready, new.ended}
            await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            if new.ended.done():
                _LOG.error("a new worker did not come up; the old one stays", code=new.ended.result())
                return old
            old.stop()
            return new

    async def _start(self) -> _Worker:
        loop = asyncio.get_running_loop()
        heard, told = os.pipe()
        command = [sys.executable, *_warnings(), "-m", "backend", "serve"]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                f"--worker={self._listening.fileno()},{told}",
                env=self._environment,
                stdin=PIPE,
                pass_fds=(self._listening.fileno(), told),
                start_new_session=True,
            )
        finally:
            os.close(told)
        ready: asyncio.Future[bool] = loop.create_future()

        def hear() -> None:
            loop.remove_reader(heard)
            if not ready.done():
                ready.set_result(bool(os.read(heard, 1)))
            os.close(heard)
            if ready.result():
                self._tell_ready()

        loop.add_reader(heard, hear)
        worker = _Worker(process, ready)
        self._all.add(worker)
        worker.ended.add_done_callback(lambda _ended: self._forget(worker))
        if self._stopping.is_set():
            worker.stop()
        return worker

    def _forget(self, worker: _Worker) -> None:
        self._all.discard(worker)
        # what it counted stays counted, what it held is held no more
        mark_process_dead(worker.process.pid, self._metrics_folder)  # type: ignore[no-untyped-call]


def _as_variables(settings: Settings) -> Mapping[str, str]:
    """What the command line may have changed."""
    return {
        f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in ("host", "port", "database_url", "workers")
    }


def _warnings() -> list[str]:
    return [f"-W{option}" for option in sys.warnoptions]


def stop_with_parent(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Within a worker: stop when the standard input ends, as it does with the parent."""

    def look() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            stop()

    loop.add_reader(sys.stdin.fileno(), look)
