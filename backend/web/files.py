"""`/files/{id}` and `/files/{id}/preview`: the bytes of attachments, sent in chunks and fetched in ranges.

`PUT` with `Content-Range: bytes 0-99/300` appends; `HEAD` tells by `Upload-Offset` where to go on, whatever broke off;
`GET` is an ordinary ranged download. The whole conversation is in `mobile_contract/attachments.md`.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from backend.config import Settings
from backend.domain.attachments import PREVIEW_BYTES_MAX, AttachmentState
from backend.errors import Code, Problem, Refused
from backend.ids import is_id
from backend.usecases.uploads import Download, Files, Progress
from backend.web.doors import ACTIVE, CutOff, Doors, Visit, check_stated_bytes, json_answer
from backend.web.streaming import Identity, StreamedAnswer

WRITE_BYTES = 262_144
"""Received bytes are written when so many have come, or no more come."""
_CHUNK = re.compile(r"bytes (?:(\d{1,15})-(\d{1,15})|(\*))/(\d{1,15})", re.ASCII)
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)
_NOT_IN_A_NAME = re.compile(r'[^\x20-\x7e]|["\\%;]')


class FileDoors:
    """Answers both paths. One per process."""

    def __init__(self, doors: Doors, files: Files, *, settings: Settings) -> None:
        self._doors = doors
        self._files = files
        self._settings = settings

    async def answer(self, request: Request) -> Response:
        if request.method == "PUT":
            return await self._doors.answer(request, self._put, draining=True)
        if request.method == "HEAD":
            return await self._doors.answer(request, self._head, syncing=False, draining=True)
        return await self._doors.answer(request, self._get, syncing=False)

    async def answer_preview(self, request: Request) -> Response:
        if request.method == "PUT":
            return await self._doors.answer(request, self._put_preview, draining=True)
        return await self._doors.answer(request, self._get_preview, syncing=False)

    # -- sending -----------------------------------------------------------------------------------------------

    async def _put(self, visit: Visit) -> Response:
        start, end, total = self._chunk_of(visit.request)
        chunk = self._received(visit, 0 if start is None else end - start)
        self._check_free()
        async with self._files.turn:
            try:
                progress = await self._files.send(visit.principal, _id_of(visit), start, total, chunk)
            except Refused as refused:
                answer = self._doors.refusal(refused, visit.locale)
                if refused.problems[0].code is Code.UPLOAD_OFFSET:
                    answer.headers["upload-offset"] = refused.problems[0].allowed[0]
                if isinstance(refused, CutOff):
                    answer.headers["connection"] = "close"
                return answer
        return _told(progress)

    def _chunk_of(self, request: Request) -> tuple[int | None, int, int]:
        """(first byte or None, byte after the last, total) as the headers say. Raises `Refused`."""
        check_stated_bytes(request, self._settings.file_chunk_bytes_max)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(Problem(Code.INVALID_VALUE, ("Content-Encoding",), ("identity",)))
        stated = request.headers.get("content-length")
        given = request.headers.get("content-range")
        if given is None:
            if stated is None or not stated.isdecimal():
                raise Refused(Problem(Code.REQUIRED, ("Content-Range",), ("bytes <first>-<last>/<total>",)))
            return 0, int(stated), int(stated)
        found = _CHUNK.fullmatch(given.strip())
        if found is None:
            raise Refused(Problem(Code.INVALID_VALUE, ("Content-Range",), ("bytes <first>-<last>/<total>",)))
        first, last, none, total = found.groups()
        if none:
            return None, 0, int(total)
        start, end = int(first), int(last) + 1
        if not start < end <= int(total):
            raise Refused(Problem(Code.OUT_OF_RANGE, ("Content-Range",), ("0", total)))
        if end - start > self._settings.file_chunk_bytes_max:
            raise Refused(Problem(Code.TOO_LARGE, ("Content-Range",), (str(self._settings.file_chunk_bytes_max),)))
        if stated is not None and stated != str(end - start):
            raise Refused(Problem(Code.INVALID_VALUE, ("Content-Length",), (str(end - start),)))
        return start, end, int(total)

    async def _received(self, visit: Visit, bytes_max: int) -> AsyncIterator[bytes]:
        """The body in pieces worth writing. What came before it broke off is given all the same.

        Raises TOO_LARGE beyond `bytes_max`, BAD_REQUEST for one that ends early or takes too long, and whatever a
        sender who may not be here any more is refused with.
        """
        deadline = asyncio.get_running_loop().time() + self._settings.file_chunk_seconds_max
        waiting, count = bytearray(), 0
        parts = self._doors.as_long_as_here(visit, visit.request.stream(), draining=True)
        while True:
            trouble: Problem | None = None
            try:
                async with asyncio.timeout_at(deadline):
                    part = await anext(parts, None)
            except (ClientDisconnect, TimeoutError):
                part, trouble = None, Problem(Code.BAD_REQUEST)
            if part is not None:
                waiting += part[: bytes_max - count]
                count += len(part)
                trouble = Problem(Code.TOO_LARGE, (), (str(bytes_max),)) if count > bytes_max else None
            if waiting and (part is None or trouble is not None or len(waiting) >= WRITE_BYTES):
                yield bytes(waiting)
                waiting.clear()
            if trouble is not None:
                raise Refused(trouble)
            if part is None:
                return

    async def _put_preview(self, visit: Visit) -> Response:
        data = await self._doors.body(visit.request, bytes_max=PREVIEW_BYTES_MAX)
        self._check_free()
        async with self._files.turn:
            return _told(await self._files.send_preview(visit.principal, _id_of(visit), data))

    async def _head(self, visit: Visit) -> Response:
        progress = await self._files.progress(visit.principal, _id_of(visit))
        headers = dict(_told(progress).headers)
        if progress.state == AttachmentState.STORED and visit.device_state == ACTIVE:
            try:
                found = await self._files.fetch(visit.principal, _id_of(visit), preview=False, look_only=True)
            except Refused:
                return _bare(headers)  # whoever sent it may not read it any more
            return _bare({**headers, **_headers_of(found)})
        return _bare(headers)

    # -- fetching ----------------------------------------------------------------------------------------------

    async def _get(self, visit: Visit) -> Response:
        return await self._download(visit, preview=False)

    async def _get_preview(self, visit: Visit) -> Response:
        return await self._download(visit, preview=True)

    async def _download(self, visit: Visit, *, preview: bool) -> Response:
        request = visit.request
        self._check_free()
        look_only = request.method == "HEAD"
        found = await self._files.fetch(visit.principal, _id_of(visit), preview=preview, look_only=look_only)
        headers = _headers_of(found)
        if _matches(request.headers.get("if-none-match"), headers["etag"]):
            return Response(status_code=304, headers={"etag": headers["etag"]})
        start, end, status = 0, found.size_bytes, 200
        wished = None if look_only else _range_of(request.headers, headers["etag"], found.size_bytes)
        if wished is not None:
            start, end = wished
            if start >= end:
                answer = self._doors.refusal(Refused(Problem(Code.OUT_OF_RANGE, ("Range",))), visit.locale)
                answer.status_code = 416
                answer.headers["content-range"] = f"bytes */{found.size_bytes}"
                return answer
            status = 206
            headers["content-range"] = f"bytes {start}-{end - 1}/{found.size_bytes}"
        headers["content-length"] = str(end - start)
        if look_only:
            return _bare(headers)
        parts = self._parts(found.digest, start, end)
        try:
            first = await anext(parts, b"")
        except FileNotFoundError:
            raise Refused(Problem(Code.NOT_UPLOADED, ("id",))) from None
        return _FileAnswer(
            parts, first, status, headers, self._doors.ending, send_seconds_max=self._settings.stream_send_seconds_max
        )

    async def _parts(self, digest: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        async with self._files.turn:
            async for part in self._files.store.read(digest, start, end):
                yield part

    def _check_free(self) -> None:
        if self._files.busy() or self._doors.ending.is_set():
            raise Refused(Problem(Code.BUSY))


class _FileAnswer(StreamedAnswer):
    """A file or a part of it, with its length; never packed, so that a range is a range of the file."""

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        first: bytes,
        status: int,
        headers: Mapping[str, str],
        ending: asyncio.Event,
        *,
        send_seconds_max: int,
    ) -> None:
        super().__init__(
            parts,
            first=first,
            media_type=headers["content-type"],
            packer=Identity(),
            ending=ending,
            send_seconds_max=send_seconds_max,
        )
        self.status_code = status
        self.init_headers(headers)


def _id_of(visit: Visit) -> str:
    attachment_id = str(visit.request.path_params["id"])
    if not is_id(attachment_id):
        raise Refused(Problem(Code.NOT_FOUND, ("id",)))
    return attachment_id


def _told(progress: Progress) -> Response:
    """Progress as JSON, and in the header fields of the resumable-uploads draft."""
    stored = progress.state == AttachmentState.STORED
    told = {
        "id": progress.attachment_id,
        "state": progress.state,
        "offset": progress.offset,
        "sizeBytes": progress.size_bytes,
    }
    headers = {
        "upload-offset": str(progress.offset),
        "upload-length": str(progress.size_bytes),
        "upload-complete": "?1" if stored else "?0",
    }
    return json_answer(told, headers=headers)


def _bare(headers: Mapping[str, str]) -> Response:
    """An answer to HEAD: headers only, and their lengths as they would be."""
    upload = {name: value for name, value in headers.items() if name.startswith("upload-")}
    of_file = {name: value for name, value in headers.items() if "etag" in headers and name not in upload}
    return Response(status_code=200 if of_file else 204, headers={**upload, **of_file})


def _headers_of(found: Download) -> dict[str, str]:
    """What a download says of itself. It is never shown inside a page: always saved, always of its own type."""
    plain = _NOT_IN_A_NAME.sub("_", found.name)
    return {
        "content-type": found.mime,
        "content-length": str(found.size_bytes),
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(found.name, safe='')}",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
        "accept-ranges": "bytes",
        "etag": f'"{found.digest}"',
    }


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    named = {tag.strip().removeprefix("W/") for tag in if_none_match[:4_000].split(",")}
    return "*" in named or etag in named


def _range_of(headers: Mapping[str, str], etag: str, size: int) -> tuple[int, int] | None:
    """(first, after the last) of a single range that still holds; None for the whole; empty when it cannot be met.

    Several ranges at once, or a form not known, are answered with the whole (RFC 9110, 14.2).
    """
    given, condition = headers.get("range"), headers.get("if-range")
    found = _RANGE.fullmatch(given.strip()) if given else None
    if found is None or (condition is not None and condition.strip() != etag):
        return None
    first, last = found.groups()
    if first:
        end = size if not last else min(int(last) + 1, size)
        if last and int(last) < int(first):
            return None
        return int(first), end
    if not last:
        return None
    return max(size - int(last), 0), size if int(last) else 0
