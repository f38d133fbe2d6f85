"""`/metrics`: what this server counts, in Prometheus' text, for whoever may know.

With several processes on one port any of them answers for all: each keeps its counts in a folder they share, named
by `PROMETHEUS_MULTIPROC_DIR`. What is so many at the moment each brings up to date by itself every few seconds.
"""

import asyncio
import hmac
import os
import resource
import sys
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from backend.clock import Clock
from backend.config import Settings
from backend.errors import Refused
from backend.storage.engine import Engine, SerializationFailure
from backend.sync.feed import EPOCH_STEP
from backend.sync.lagging import Standing, fleet_standing
from backend.telemetry import REGISTRY, SHARED_FOLDER, gauge

REFRESH_SECONDS = 5.0
DATABASE_SECONDS_MAX = 3
BEARER = "bearer "
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Who sends these stands before the server for somebody else."""
KEPT = ("documents", "plans")
OPEN = ("websockets", "pokes", "streams")
_CONNECTIONS = gauge("database_connections", "connections to the database", state=("in_use", "open"))
_OPEN = gauge("open", "what is open now", what=OPEN)
_KEPT = gauge("kept", "entries kept in memory", what=KEPT)
_MEMORY = gauge("process_resident_bytes", "memory of a process", over="liveall")
_CPU = gauge("process_cpu_seconds", "processor seconds a process has used", over="liveall")
_DATABASE = gauge("database_up", "1 when the database answered", over="livemax")
_EPOCH = gauge("feed_epoch", "the epoch of the feed's clock", over="livemax")
_STEP = gauge("feed_step", "the step of the feed's clock within its epoch", over="livemax")
_DEVICES = gauge(
    "devices",
    "devices that sync: all, silent for a week, behind by many steps",
    over="livemax",
    state=("active", "silent", "behind"),
)

Levels = Mapping[str, Callable[[], int]]
"""What of `OPEN` and `KEPT` → how many now."""


class MetricsDoor:
    """Answers the path, and keeps the levels of this process up to date. One per process."""

    def __init__(self, engine: Engine, levels: Levels, *, settings: Settings, clock: Clock) -> None:
        self._engine = engine
        self._levels = levels
        self._settings = settings
        self._clock = clock
        self._refreshing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look now and then, where other processes answer for this one."""
        if SHARED_FOLDER in os.environ:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh_always())

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    async def answer(self, request: Request) -> Response:
        if not self._may(request):
            return Response(status_code=404)
        await self._refresh()
        return Response(generate_latest(_registry()), media_type=CONTENT_TYPE_LATEST)

    def _may(self, request: Request) -> bool:
        """With a token whoever shows it; without one only this machine, speaking for itself."""
        token = self._settings.metrics_token
        if token is not None:
            shown = request.headers.get("authorization", "")
            wanted = token.get_secret_value().encode()
            return shown[: len(BEARER)].lower() == BEARER and hmac.compare_digest(
                shown[len(BEARER) :].encode(errors="replace"), wanted
            )
        if request.client is None or any(name in request.headers for name in FORWARDED):
            return False
        try:
            return ip_address(request.client.host).is_loopback
        except ValueError:
            return False

    async def _refresh_always(self) -> None:
        while True:
            await self._refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _refresh(self) -> None:
        in_use, opened = self._engine.connections()
        _CONNECTIONS.set(in_use, state="in_use")
        _CONNECTIONS.set(opened, state="open")
        for what, level in self._levels.items():
            (_OPEN if what in OPEN else _KEPT).set(level(), what=what)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _CPU.set(used.ru_utime + used.ru_stime)
        _MEMORY.set(resident_bytes())
        standing = await self._standing()
        _DATABASE.set(standing is not None)
        if standing is not None:
            _EPOCH.set(standing.clock // EPOCH_STEP)
            _STEP.set(standing.clock % EPOCH_STEP)
            _DEVICES.set(standing.active, state="active")
            _DEVICES.set(standing.silent, state="silent")
            _DEVICES.set(standing.behind, state="behind")

    async def _standing(self) -> Standing | None:
        try:
            async with asyncio.timeout(DATABASE_SECONDS_MAX), self._engine.read() as conn:
                return await fleet_standing(conn, self._clock())
        except (Refused, SerializationFailure, TimeoutError):
            return None


def _registry() -> CollectorRegistry:
    """This process' own counts, or those of all that share its folder."""
    if SHARED_FOLDER not in os.environ:
        return REGISTRY
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together


def resident_bytes() -> int:
    """Memory of this process now; where the system does not say, its highest so far."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
