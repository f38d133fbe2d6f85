"""`GET /sync/bulk`: everything a device may hold, as lines of JSON while they are read. See `sync-protocol.md`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from starlette.requests import Request
from starlette.responses import Response

from backend.clock import Clock
from backend.config import Settings
from backend.domain.privacy import is_watched
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.sync.bulk import BulkLimits, BulkRequest, SentPlace, bulk_lines, people_in
from backend.sync.pull import SumsKept
from backend.sync.today import PackLimits
from backend.sync.versions import SCHEMA_VERSION_UNSAID
from backend.usecases.watching import CONTACTS, Watch
from backend.web.doors import Doors, Visit, query_of, whole_number
from backend.web.streaming import StreamedAnswer, packer_for

LINES_TYPE = "application/x-ndjson"
SCHEMA_VERSION_MOST = 1_000_000
AFTER_FORM = "<scope>/<collection>/<id>"
CHARACTERS_MAX = {"cursor": 8_000, "after": 200, "schemaVersion": 9}
"""The parameters taken, and how long each may be."""


class BulkDoor:
    """Answers the path. One per process: it knows how many streams are open."""

    def __init__(
        self,
        doors: Doors,
        engine: Engine,
        *,
        settings: Settings,
        secret: bytes,
        clock: Clock,
        sums: SumsKept,
        watch: Watch,
    ) -> None:
        self._doors = doors
        self._engine = engine
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._sums = sums
        self._watch = watch
        self._limits = bulk_limits(settings)
        self.streams = 0
        """How many are open now."""

    async def answer(self, request: Request) -> Response:
        return await self._doors.answer(request, self._open, large=True)

    async def _open(self, visit: Visit) -> Response:
        query = query_of(visit.request, CHARACTERS_MAX)
        version = whole_number(query, "schemaVersion", default=SCHEMA_VERSION_UNSAID, least=1, most=SCHEMA_VERSION_MOST)
        wanted = BulkRequest(query.get("cursor"), _after(query.get("after")), version)
        if self.streams >= self._settings.bulk_streams_max or self._doors.ending.is_set():
            raise Refused(Problem(Code.BUSY))
        parts = bulk_lines(
            self._engine,
            visit.principal,
            wanted,
            secret=self._secret,
            limits=self._limits,
            clock=self._clock,
            retries_max=self._settings.write_retries_max,
            sums=self._sums,
            still=lambda: self._doors.look_again(visit),
            note_seconds=self._settings.device_note_seconds,
        )
        told = self._told(visit, parts)
        first = await anext(told)
        return StreamedAnswer(
            told,
            first=first,
            media_type=LINES_TYPE,
            packer=packer_for(visit.request.headers.get("accept-encoding")),
            ending=self._doors.ending,
            send_seconds_max=self._settings.stream_send_seconds_max,
        )

    async def _told(self, visit: Visit, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The parts; a refusal after the first is the last line."""
        begun = False
        self.streams += 1
        try:
            async with aclosing(parts):
                async for part in parts:
                    # before it goes out: who leaves in the middle was given it
                    people = people_in(part) if is_watched(visit.principal.role) else 0
                    await self._watch.pulled(
                        visit.principal, {CONTACTS: people, "": max(0, part.count(b"\n") - people)}
                    )
                    yield part
                    begun = True
        except Refused as refused:
            if not begun:
                raise
            yield orjson.dumps(self._doors.refusal_json(refused, visit.locale)) + b"\n"
        finally:
            self.streams -= 1


def bulk_limits(settings: Settings) -> BulkLimits:
    return BulkLimits(
        chunk_rows_max=settings.bulk_chunk_rows_max,
        chunk_bytes=settings.bulk_chunk_bytes,
        pack=PackLimits(settings.today_customers_max, settings.today_rows_max),
        schema_oldest=settings.schema_version_oldest,
        bucket_rows=settings.digest_bucket_rows,
    )


def _after(text: str | None) -> SentPlace | None:
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        raise Refused(Problem(Code.INVALID_VALUE, ("after",), (AFTER_FORM,)))
    return parts[0], parts[1], parts[2]
