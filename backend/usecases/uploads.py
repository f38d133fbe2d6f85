"""The bytes of attachments: who may send and fetch them, what becomes of them, and that none is lost or left over.

In this order: bytes gather in the spool; when all are there they are checked and prepared; the prepared files are
kept and outlive a crash; then the row says so, in one transaction with the lock of the files; then the spool's
bytes go. A crash between any two leaves at worst a file nobody refers to, which `collect` finds.
"""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.config import Settings
from backend.domain.attachments import (
    HEAD_BYTES,
    JPEG,
    PICTURES,
    PREVIEW_BYTES_MAX,
    UPLOADABLE,
    AttachmentKind,
    AttachmentLimits,
    AttachmentState,
    PreviewState,
    download_name,
    sniffed,
)
from backend.domain.permissions import Action, Collection, may
from backend.domain.pictures import BadPicture
from backend.errors import Code, Problem, Refused
from backend.integrations.files import FileStore, LocalFiles, sweep_temporary
from backend.integrations.pictures import Picture, PictureTooLarge, read_picture
from backend.integrations.spool import Part, Spool
from backend.storage.attachments import (
    Held,
    attachment_of,
    files_named,
    files_to_check,
    is_referred_to,
    keep_files,
    lock_files,
    release_files,
    visible_attachment,
)
from backend.storage.engine import Connection, Engine
from backend.storage.visibility import visible_to
from backend.sync.attached import ATTACHMENTS
from backend.sync.work import Door, Work, in_work
from backend.telemetry import logger

T = TypeVar("T")
DAY_MS = 86_400_000
FILES_PER_COLLECTION = 500
PREVIEW_NAME = "preview.jpg"
PUTS_MAX = 3
"""How often a file is put again that was collected while it was being referred to."""
KEEPER = Principal(PrincipalKind.SERVICE, service_id="files")
_LOG = logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload has come. Bytes."""

    attachment_id: str
    offset: int
    size_bytes: int
    state: str


@dataclass(frozen=True, slots=True)
class Download:
    """A file that may be sent now. `digest` is the SHA-256 of exactly these bytes."""

    row: Held
    digest: str
    size_bytes: int
    mime: str
    name: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is kept of an upload: the bytes themselves or where they lie, and what was found out about them."""

    data: bytes | Path
    digest: str
    size_bytes: int
    picture: Picture | None


@dataclass(slots=True)
class Findings:
    """What `survey` saw. `missing` and `damaged` (of another length) name files and the attachments that refer to
    them; `orphans` are files nothing refers to."""

    kept: int = 0
    kept_bytes: int = 0
    orphans: list[str] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        return not (self.orphans or self.missing or self.damaged)


def limits_of(settings: Settings) -> AttachmentLimits:
    """The bounds on files, as set."""
    return AttachmentLimits(
        photo_bytes_max=settings.photo_bytes_max,
        signature_bytes_max=settings.signature_bytes_max,
        document_bytes_max=settings.document_bytes_max,
        per_record_max=settings.attachments_per_record_max,
    )


class Files:
    """What all doors to bytes share. One per process."""

    def __init__(self, engine: Engine, store: FileStore, spool: Spool, *, settings: Settings, clock: Clock) -> None:
        self.store = store
        self.spool = spool
        self._engine = engine
        self._settings = settings
        self._limits = limits_of(settings)
        self._clock = clock
        # pictures are unpacked a few at a time, whatever is uploaded
        self._painters = ThreadPoolExecutor(settings.picture_workers_max, "pictures")
        self._requests = asyncio.Semaphore(settings.file_requests_max)
        self._keeping: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Collect from now on, now and then, until closed."""
        self._keeping = asyncio.ensure_future(self._keep())

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        self._painters.shutdown(wait=False, cancel_futures=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._settings.files_collect_seconds)
            try:
                await self.collect()
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the next time may go well
                _LOG.error("files were not collected", error_type=type(error).__name__, code=Code.INTERNAL.value)

    def busy(self) -> bool:
        """True when as many requests with bytes are running as may."""
        return self._requests.locked()

    @property
    def turn(self) -> asyncio.Semaphore:
        """Held by every request that moves bytes."""
        return self._requests

    # -- sending ---------------------------------------------------------------------------------------------

    async def progress(self, principal: Principal, attachment_id: str) -> Progress:
        """How much has arrived, for whoever may send or see it. Raises NOT_FOUND."""
        async with self._engine.read() as conn:
            row = await _sendable(conn, principal, attachment_id) or await _seen(conn, principal, attachment_id)
        if row is None:
            raise Refused(Problem(Code.NOT_FOUND, ("id",)))
        return self._progress(row)

    def _progress(self, row: Held) -> Progress:
        stored = row.state == AttachmentState.STORED
        return Progress(row.id, row.size_bytes if stored else self.spool.offset(row.id), row.size_bytes, row.state)

    async def send(
        self, principal: Principal, attachment_id: str, start: int | None, total: int, chunk: AsyncIterator[bytes]
    ) -> Progress:
        """Take the bytes from `start` on, of `total` in all; with the last one the file is checked and kept.

        `start` None sends nothing and only finishes what has arrived. What arrived of a chunk that breaks off stays.
        Raises `Refused`: NOT_FOUND, NOT_EDITABLE, OUT_OF_RANGE, UPLOAD_OFFSET, UPLOAD_QUOTA, TOO_LARGE,
        STORAGE_FULL, BUSY, FILE_HASH_MISMATCH, FILE_TYPE_MISMATCH.
        """
        row = await self._open_row(principal, attachment_id)
        if row.state == AttachmentState.STORED:
            return self._progress(row)
        self._check(row, start, total)
        async with self.spool.open(attachment_id) as part:
            if start is not None:
                if start != part.offset:
                    raise Refused(Problem(Code.UPLOAD_OFFSET, ("offset",), (str(part.offset),)))
                if start == 0:
                    await self._begin(principal, row)
                await self._gather(part, row, chunk)
            if part.offset < row.size_bytes:
                return Progress(row.id, part.offset, row.size_bytes, row.state)
            return await self._finish(principal, row, part)

    async def _open_row(self, principal: Principal, attachment_id: str) -> Held:
        async with self._engine.read() as conn:
            row = await _sendable(conn, principal, attachment_id)
        if row is None:
            raise Refused(Problem(Code.NOT_FOUND, ("id",)))
        return row

    def _check(self, row: Held, start: int | None, total: int) -> None:
        if row.state not in UPLOADABLE:
            raise Refused(Problem(Code.NOT_EDITABLE, ("state",), tuple(sorted(UPLOADABLE))))
        if total != row.size_bytes or (start is not None and not 0 <= start < total):
            raise Refused(Problem(Code.OUT_OF_RANGE, ("offset",), ("0", str(row.size_bytes))))
        if row.size_bytes > self._limits.bytes_max(row.kind):
            raise Refused(Problem(Code.TOO_LARGE, ("sizeBytes",), (str(self._limits.bytes_max(row.kind)),)))

    async def _begin(self, principal: Principal, row: Held) -> None:
        """Note who begins, within what one user may send in a day and have open at once."""
        if (
            shutil.disk_usage(self._existing(self.spool.folder)).free
            < row.size_bytes + self._settings.disk_free_bytes_min
        ):
            raise Refused(Problem(Code.STORAGE_FULL))

        async def story(work: Work) -> None:
            await work.conn.fetch("SELECT id FROM user_account WHERE id = ? FOR UPDATE", principal.holder)
            rows = await work.conn.fetch(
                "SELECT attachment_id, size_bytes, started_at, finished_at FROM upload"
                " WHERE user_id = ? AND attachment_id <> ?",
                principal.holder,
                row.id,
            )
            today = sorted((at_ms, size) for _, size, at_ms, _ in rows if at_ms > work.now_ms - DAY_MS)
            most = self._settings.upload_bytes_per_day_max
            if (wait_ms := _until_room(today, most - row.size_bytes, work.now_ms)) > 0:
                raise _over_quota("sizeBytes", most, wait_ms)
            unfinished = sum(finished_at is None for *_, finished_at in rows)
            if unfinished >= self._settings.uploads_per_user_max:
                raise _over_quota("uploads", self._settings.uploads_per_user_max, UNFINISHED_WAIT_MS)
            await work.conn.execute(
                "INSERT INTO upload (attachment_id, user_id, size_bytes, started_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (attachment_id) DO UPDATE SET user_id = excluded.user_id,"
                " started_at = excluded.started_at, finished_at = NULL",
                row.id,
                principal.holder,
                row.size_bytes,
                work.now_ms,
            )

        await self._work(principal, story)

    def _existing(self, folder: Path) -> Path:
        return next(path for path in (folder, *folder.absolute().parents) if path.exists())

    async def _gather(self, part: Part, row: Held, chunk: AsyncIterator[bytes]) -> None:
        async for piece in chunk:
            if part.offset + len(piece) > row.size_bytes:
                raise Refused(Problem(Code.TOO_LARGE, ("sizeBytes",), (str(row.size_bytes),)))
            await part.append(piece)

    async def _finish(self, principal: Principal, row: Held, part: Part) -> Progress:
        if await part.sha256() != row.sha256:
            part.drop()
            raise Refused(Problem(Code.FILE_HASH_MISMATCH, ("sha256",), (row.sha256,)))
        try:
            prepared = await self._prepare(row, part)
        except Refused as refused:
            part.drop()
            await self._note_refused(principal, row, refused.problems[0].code)
            raise
        for _ in range(PUTS_MAX):
            await self._put(prepared)
            if await self._work(principal, lambda work: self._note_stored(work, row.id, prepared)):
                part.drop()
                return Progress(row.id, row.size_bytes, row.size_bytes, AttachmentState.STORED.value)
        raise Refused(Problem(Code.BUSY))

    async def _prepare(self, row: Held, part: Part) -> Prepared:
        if sniffed(await part.head(HEAD_BYTES)) != row.mime:
            raise Refused(Problem(Code.FILE_TYPE_MISMATCH, ("mime",), (row.mime,)))
        if row.mime not in PICTURES:
            return Prepared(part.path, row.sha256, row.size_bytes, None)
        picture = await self._painted(await part.whole(), row.mime)
        if row.proof:
            return Prepared(part.path, row.sha256, row.size_bytes, picture)
        digest = hashlib.sha256(picture.data).hexdigest()
        return Prepared(picture.data, digest, len(picture.data), picture)

    async def _painted(self, data: bytes, mime: str) -> Picture:
        """Raises FILE_TYPE_MISMATCH for what is no whole picture, TOO_LARGE for one with too many pixels."""
        pixels_max = self._settings.picture_pixels_max
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._painters, lambda: read_picture(data, mime, pixels_max=pixels_max)
            )
        except BadPicture:
            raise Refused(Problem(Code.FILE_TYPE_MISMATCH, ("mime",), (mime,))) from None
        except PictureTooLarge:
            raise Refused(Problem(Code.TOO_LARGE, ("width",), (str(pixels_max),))) from None

    async def _put(self, prepared: Prepared) -> None:
        await self.store.put(prepared.digest, prepared.data)
        if prepared.picture is not None:
            await self.store.put(hashlib.sha256(prepared.picture.preview).hexdigest(), prepared.picture.preview)

    async def _note_stored(self, work: Work, attachment_id: str, prepared: Prepared) -> bool:
        """The row, its files, and that the upload is over; False when a file went meanwhile and must be put again."""
        row = await attachment_of(work.conn, attachment_id, lock=True)
        picture = prepared.picture
        sizes: dict[str, int] = {prepared.digest: prepared.size_bytes}
        preview = None
        if picture is not None:
            preview = hashlib.sha256(picture.preview).hexdigest()
            sizes[preview] = len(picture.preview)
        await keep_files(work.conn, sizes, work.now_ms)
        await lock_files(work.conn, sizes)
        for digest in sizes:
            if await self.store.size_of(digest) is None:
                return False
        if row is None:
            # deleted while its bytes were on their way: nothing refers to them
            await release_files(work.conn, sizes, work.now_ms)
            return True
        released = [digest for digest in (row.stored_sha256, row.preview_sha256) if digest not in sizes]
        await work.conn.execute(
            "UPDATE attachment SET state = ?, refused_for = NULL, stored_sha256 = ?, stored_bytes = ?,"
            " preview_state = ?, preview_sha256 = ?, width = ?, height = ? WHERE id = ?",
            AttachmentState.STORED.value,
            prepared.digest,
            prepared.size_bytes,
            (PreviewState.NONE if preview is None else PreviewState.READY).value,
            preview,
            picture.width if picture else None,
            picture.height if picture else None,
            attachment_id,
        )
        await release_files(work.conn, released, work.now_ms)
        await _note_finished(work, attachment_id)
        work.touched(ATTACHMENTS, attachment_id, ())
        work.audit("STORE", ATTACHMENTS, attachment_id)
        return True

    async def _note_refused(self, principal: Principal, row: Held, code: Code) -> None:
        async def story(work: Work) -> None:
            await work.conn.execute(
                "UPDATE attachment SET state = ?, refused_for = ? WHERE id = ?",
                AttachmentState.REFUSED.value,
                code.value,
                row.id,
            )
            await _note_finished(work, row.id)
            work.touched(ATTACHMENTS, row.id, ())

        await self._work(principal, story)

    async def send_preview(self, principal: Principal, attachment_id: str, data: bytes) -> Progress:
        """A small picture sent ahead, so that colleagues see something at once. It is painted anew.

        Raises `Refused`: NOT_FOUND, NOT_EDITABLE once the whole is here, NOT_ALLOWED_VALUE for what has no
        preview, TOO_LARGE, FILE_TYPE_MISMATCH.
        """
        row = await self._open_row(principal, attachment_id)
        if row.state not in UPLOADABLE:
            raise Refused(Problem(Code.NOT_EDITABLE, ("state",), tuple(sorted(UPLOADABLE))))
        if row.mime not in PICTURES:
            raise Refused(Problem(Code.NOT_ALLOWED_VALUE, ("mime",), tuple(sorted(PICTURES))))
        if len(data) > PREVIEW_BYTES_MAX:
            raise Refused(Problem(Code.TOO_LARGE, ("preview",), (str(PREVIEW_BYTES_MAX),)))
        mime = sniffed(data)
        if mime not in PICTURES:
            raise Refused(Problem(Code.FILE_TYPE_MISMATCH, ("preview",), tuple(sorted(PICTURES))))
        preview = (await self._painted(data, str(mime))).preview
        digest = hashlib.sha256(preview).hexdigest()
        for _ in range(PUTS_MAX):
            await self.store.put(digest, preview)
            if await self._work(principal, lambda work: self._note_preview(work, row.id, digest, len(preview))):
                return self._progress(row)
        raise Refused(Problem(Code.BUSY))

    async def _note_preview(self, work: Work, attachment_id: str, digest: str, size_bytes: int) -> bool:
        row = await attachment_of(work.conn, attachment_id, lock=True)
        await keep_files(work.conn, {digest: size_bytes}, work.now_ms)
        if await self.store.size_of(digest) is None:
            return False
        if row is None or row.state not in UPLOADABLE:
            await release_files(work.conn, [digest], work.now_ms)
            return True
        await work.conn.execute(
            "UPDATE attachment SET preview_state = ?, preview_sha256 = ? WHERE id = ?",
            PreviewState.DEVICE.value,
            digest,
            attachment_id,
        )
        await release_files(work.conn, {row.preview_sha256} - {digest}, work.now_ms)
        work.touched(ATTACHMENTS, attachment_id, ())
        return True

    # -- fetching --------------------------------------------------------------------------------------------

    async def fetch(self, principal: Principal, attachment_id: str, *, preview: bool, look_only: bool) -> Download:
        """What to send, judged by what the caller may see at this moment; a signature's reading is audited.

        Raises `Refused`: NOT_FOUND, NOT_PERMITTED for roles that read personal data masked, NOT_UPLOADED.
        """
        async with self._engine.read() as conn:
            row = await _seen(conn, principal, attachment_id)
        if row is None:
            raise Refused(Problem(Code.NOT_FOUND, ("id",)))
        if principal.masked:
            raise Refused(Problem(Code.NOT_PERMITTED))
        digest = row.preview_sha256 if preview else row.stored_sha256
        size = None
        if digest is not None and (preview or row.state == AttachmentState.STORED):
            size = await self.store.size_of(digest)
        if digest is None or size is None:
            if row.state == AttachmentState.STORED and not preview:
                _LOG.error("a file is missing", code=Code.NOT_UPLOADED.value)
            raise Refused(Problem(Code.NOT_UPLOADED, ("preview",) if preview else ("id",)))
        if row.kind == AttachmentKind.SIGNATURE and not look_only:
            await self._work(principal, lambda work: _note_download(work, row.id))
        if preview:
            return Download(row, digest, size, JPEG, PREVIEW_NAME)
        return Download(row, digest, size, row.mime, download_name(row.file_name, row.mime))

    # -- keeping house ---------------------------------------------------------------------------------------

    async def collect(self) -> int:
        """Remove files that nothing refers to any more, and uploads nobody went on with; how many files went."""
        removed = 0
        async with self._engine.read() as conn:
            waiting = await files_to_check(conn, FILES_PER_COLLECTION)
        for digest in waiting:
            removed += await self._work(KEEPER, lambda work, digest=digest: self._remove(work, digest))  # type: ignore[misc]
        await self._collect_uploads()
        return removed

    async def forget(self, attachment_ids: Sequence[str], digests: Sequence[str]) -> int:
        """Remove at once the bytes of attachments that were erased, those still on their way too; how many files went.

        A file that something else refers to stays.
        """
        for attachment_id in attachment_ids:
            try:
                async with self.spool.open(attachment_id) as part:
                    part.drop()
            except Refused:
                continue  # whoever sends it finds no row, and its bytes are collected
        removed = 0
        for digest in digests:
            removed += await self._work(KEEPER, lambda work, digest=digest: self._remove(work, digest))  # type: ignore[misc]
        return removed

    async def _remove(self, work: Work, digest: str) -> int:
        """Under the file's lock: whoever comes to refer to it waits, or came before and is seen."""
        if not await lock_files(work.conn, [digest]):
            return 0
        if await is_referred_to(work.conn, digest):
            await work.conn.execute("UPDATE stored_file SET check_at = NULL WHERE sha256 = ?", digest)
            return 0
        await self.store.delete(digest)
        await work.conn.execute("DELETE FROM stored_file WHERE sha256 = ?", digest)
        return 1

    async def _collect_uploads(self) -> None:
        before_ms = self._clock() - self._settings.upload_days * DAY_MS
        for upload_id in await asyncio.to_thread(self.spool.abandoned, before_ms):
            try:
                async with self.spool.open(upload_id) as part:
                    part.drop()
            except Refused:
                continue  # somebody goes on with it at this very moment
            await self._work(KEEPER, lambda work, upload_id=upload_id: _forget_upload(work, upload_id))  # type: ignore[misc]

        async def story(work: Work) -> None:
            await work.conn.execute(
                "DELETE FROM upload WHERE started_at < ? AND (finished_at IS NOT NULL OR started_at < ?)",
                work.now_ms - DAY_MS,
                before_ms,
            )

        await self._work(KEEPER, story)
        if isinstance(self.store, LocalFiles):
            await asyncio.to_thread(sweep_temporary, self.store.folder, self._clock() - DAY_MS)

    async def survey(self) -> Findings:
        """Compare what lies there with what the database speaks of. Files younger than a day are no orphans: their
        row may be about to be written."""
        async with self._engine.read() as conn:
            named = await files_named(conn)
            rows = await conn.fetch("SELECT sha256, size_bytes FROM stored_file")
        sizes: dict[str, int] = dict(rows)
        found = Findings()
        missing = set(named)
        async for kept in self.store.kept():
            found.kept += 1
            found.kept_bytes += kept.size_bytes
            missing.discard(kept.digest)
            if kept.digest in named and sizes.get(kept.digest, kept.size_bytes) != kept.size_bytes:
                found.damaged[kept.digest] = sorted(named[kept.digest])
            elif kept.digest not in named and kept.written_at_ms < self._clock() - DAY_MS:
                found.orphans.append(kept.digest)
        found.missing = {digest: sorted(named[digest]) for digest in sorted(missing)}
        return found

    async def repair(self, found: Findings) -> None:
        """Remove the orphans and what is damaged, and say of attachments without their bytes that these are lost."""
        for digest in found.orphans:
            await self._work(KEEPER, lambda work, digest=digest: self._remove_orphan(work, digest))  # type: ignore[misc]
        for digest in found.damaged:
            await self.store.delete(digest)
        for digest, ids in (*found.missing.items(), *found.damaged.items()):
            await self._work(KEEPER, lambda work, digest=digest, ids=ids: self._note_lost(work, digest, ids))  # type: ignore[misc]

    async def _remove_orphan(self, work: Work, digest: str) -> int:
        await keep_files(work.conn, {digest: 0}, work.now_ms)
        return await self._remove(work, digest)

    async def _note_lost(self, work: Work, digest: str, ids: list[str]) -> None:
        if await self.store.size_of(digest) is not None:
            return  # sent again meanwhile
        for attachment_id in ids:
            row = await attachment_of(work.conn, attachment_id, lock=True)
            if row is None or digest not in (row.stored_sha256, row.preview_sha256):
                continue
            if row.stored_sha256 == digest:
                await work.conn.execute(
                    "UPDATE attachment SET state = ?, stored_sha256 = NULL, stored_bytes = NULL WHERE id = ?",
                    AttachmentState.LOST.value,
                    attachment_id,
                )
            else:
                await work.conn.execute(
                    "UPDATE attachment SET preview_state = ?, preview_sha256 = NULL WHERE id = ?",
                    PreviewState.NONE.value,
                    attachment_id,
                )
            work.touched(ATTACHMENTS, attachment_id, ())
            work.audit("LOSE", ATTACHMENTS, attachment_id)
        for column in ("stored_sha256", "preview_sha256"):
            await work.conn.execute(f"UPDATE deleted_file SET {column} = NULL WHERE {column} = ?", digest)
        await work.conn.execute("DELETE FROM stored_file WHERE sha256 = ?", digest)

    async def _work(self, principal: Principal, story: Callable[[Work], Awaitable[T]]) -> T:
        door = Door.JOB if principal is KEEPER else Door.ONLINE
        result, _ = await in_work(
            self._engine,
            principal,
            story,
            clock=self._clock,
            retries_max=self._settings.write_retries_max,
            door=door,
        )
        return result


async def _sendable(conn: Connection, principal: Principal, attachment_id: str) -> Held | None:
    """The row, for whoever may send its bytes: whoever declared it, wherever its record has gone since, because his
    device alone has them; and colleagues who may add to the record, because the hash proves they have the same."""
    role = principal.role
    if role is None or not may(role, Action.CREATE, Collection.ATTACHMENTS):
        return None
    row = await attachment_of(conn, attachment_id)
    if row is None or row.created_by == principal.holder:
        return row
    return await _seen(conn, principal, attachment_id)


async def _seen(conn: Connection, principal: Principal, attachment_id: str) -> Held | None:
    visible, args = visible_to(principal, ATTACHMENTS, "t")
    return await visible_attachment(conn, attachment_id, visible, args)


async def _note_finished(work: Work, attachment_id: str) -> None:
    await work.conn.execute("UPDATE upload SET finished_at = ? WHERE attachment_id = ?", work.now_ms, attachment_id)


async def _forget_upload(work: Work, attachment_id: str) -> None:
    await work.conn.execute("DELETE FROM upload WHERE attachment_id = ? AND finished_at IS NULL", attachment_id)


async def _note_download(work: Work, attachment_id: str) -> None:
    work.audit("DOWNLOAD", ATTACHMENTS, attachment_id)


UNFINISHED_WAIT_MS = 60_000
"""Uploads end when their sender ends them; nobody knows when, so he is told to look again before long."""


def _until_room(today: Sequence[tuple[int, int]], room: int, now_ms: int) -> int:
    """How long until of these (begun at, bytes), oldest first, no more than `room` bytes are of the last 24 hours.

    0 when that is so now; a day where it will never be, because one file alone is larger than what a day may hold.
    """
    held, wait_ms = sum(size for _, size in today), 0
    for at_ms, size in today:
        if held <= room:
            return wait_ms
        held, wait_ms = held - size, at_ms + DAY_MS - now_ms
    return wait_ms if held <= room else DAY_MS


def _over_quota(what: str, most: int, wait_ms: int) -> Refused:
    params = {"retryAfterSeconds": max(1, -(-wait_ms // 1_000))}
    return Refused(Problem(Code.UPLOAD_QUOTA, (what,), (str(most),), params))
