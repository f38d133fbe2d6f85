"""`GET /sync/turbo`: a first sync as the one text WatermelonDB's `unsafeTurbo` takes. See `watermelon.md`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from backend.clock import Clock
from backend.config import Settings
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.sync.versions import SCHEMA_VERSION_UNSAID
from backend.sync.watermelon import TABLES, turbo_text, wanted_tables
from backend.usecases.watching import Watch
from backend.web.doors import Doors, Visit, query_of, whole_number
from backend.web.streaming import StreamedAnswer, packer_for

TEXT_TYPE = "text/plain"
SCHEMA_VERSION_MOST = 1_000_000
CHARACTERS_MAX = {"lastPulledAt": 20, "schemaVersion": 9, "tables": 2_000}
"""The parameters taken, and how long each may be."""


class TurboDoor:
    """Answers the path. One per process: it knows how many texts are being sent."""

    def __init__(self, doors: Doors, engine: Engine, *, settings: Settings, clock: Clock, watch: Watch) -> None:
        self._doors = doors
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._watch = watch
        self.streams = 0
        """How many are open now."""

    async def answer(self, request: Request) -> Response:
        return await self._doors.answer(request, self._open, large=True)

    async def _open(self, visit: Visit) -> Response:
        query = query_of(visit.request, CHARACTERS_MAX)
        if query.get("lastPulledAt", "null") not in ("null", "0"):
            raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("lastPulledAt",), ("null",)))
        version = whole_number(query, "schemaVersion", default=SCHEMA_VERSION_UNSAID, least=1, most=SCHEMA_VERSION_MOST)
        tables = wanted_tables(query["tables"].split(",") if "tables" in query else list(TABLES))
        if self.streams >= self._settings.bulk_streams_max or self._doors.ending.is_set():
            raise Refused(Problem(Code.BUSY))
        parts = turbo_text(
            self._engine,
            visit.principal,
            tables,
            schema_version=version,
            schema_oldest=self._settings.schema_version_oldest,
            chunk_rows_max=self._settings.bulk_chunk_rows_max,
            clock=self._clock,
            still=lambda: self._doors.look_again(visit),
        )
        told = self._told(parts)
        first = await anext(told)
        await self._watch.pulled_all(visit.principal)
        return StreamedAnswer(
            told,
            first=first,
            media_type=TEXT_TYPE,
            packer=packer_for(visit.request.headers.get("accept-encoding")),
            ending=self._doors.ending,
            send_seconds_max=self._settings.stream_send_seconds_max,
        )

    async def _told(self, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The parts. A text that a refusal cuts short is no JSON, so nobody takes it for whole."""
        begun = False
        self.streams += 1
        try:
            async with aclosing(parts):
                async for part in parts:
                    yield part
                    begun = True
        except Refused:
            if not begun:
                raise
        finally:
            self.streams -= 1
