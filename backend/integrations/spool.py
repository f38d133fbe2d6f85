"""Bytes on their way: one growing file per upload, which a restart finds as it was left.

How much has arrived is the file's own length, so nothing else has to agree with it. One writer at a time holds a
file's lock, also against other processes on the same folder.
"""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from backend.errors import Code, Problem, Refused
from backend.ids import is_id
from backend.integrations.files import READ_BYTES, room_needed

_SUFFIX = ".part"


class Part:
    """The bytes of one upload, while its lock is held."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self._handle = handle

    @property
    def offset(self) -> int:
        """How many bytes have arrived."""
        return os.fstat(self._handle.fileno()).st_size

    async def append(self, piece: bytes) -> None:
        """Add bytes at the end, all of them or none. Raises STORAGE_FULL."""
        await asyncio.to_thread(self._append, piece)

    def _append(self, piece: bytes) -> None:
        before = self.offset
        try:
            with room_needed():
                written = 0
                while written < len(piece):
                    written += os.write(self._handle.fileno(), piece[written:])
        except BaseException:
            os.ftruncate(self._handle.fileno(), before)
            raise

    async def sha256(self) -> str:
        """Of all bytes that have arrived."""
        return await asyncio.to_thread(self._sha256)

    def _sha256(self) -> str:
        found = hashlib.sha256()
        with self.path.open("rb") as handle:
            while piece := handle.read(READ_BYTES):
                found.update(piece)
        return found.hexdigest()

    async def head(self, count: int) -> bytes:
        """The first bytes."""
        return await asyncio.to_thread(lambda: os.pread(self._handle.fileno(), count, 0))

    async def whole(self) -> bytes:
        """All bytes; for what was bounded before."""
        return await asyncio.to_thread(self.path.read_bytes)

    def drop(self) -> None:
        """Begin anew: nothing has arrived."""
        self.path.unlink(missing_ok=True)


class Spool:
    """The folder of uploads under way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, upload_id: str) -> Path:
        if not is_id(upload_id):
            raise ValueError("no id")
        return self.folder / f"{upload_id}{_SUFFIX}"

    def offset(self, upload_id: str) -> int:
        """How many bytes have arrived; 0 for an upload that was never begun."""
        try:
            return self._path(upload_id).stat().st_size
        except FileNotFoundError:
            return 0

    @asynccontextmanager
    async def open(self, upload_id: str) -> AsyncIterator[Part]:
        """Hold an upload alone. Raises BUSY when somebody else does."""
        path = self._path(upload_id)
        handle = await asyncio.to_thread(self._locked, path)
        try:
            yield Part(path, handle)
        finally:
            handle.close()

    def _locked(self, path: Path) -> BinaryIO:
        with room_needed():
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                handle = path.open("a+b", buffering=0)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if path.exists() and path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                        return handle
                except BlockingIOError:
                    handle.close()
                    raise Refused(Problem(Code.BUSY)) from None
                except FileNotFoundError:
                    pass
                # it was dropped between opening and locking
                handle.close()

    def abandoned(self, before_ms: int) -> list[str]:
        """Ids of uploads nothing has been added to since a moment."""
        if not self.folder.is_dir():
            return []
        found = []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            upload_id = path.name.removesuffix(_SUFFIX)
            if is_id(upload_id) and path.stat().st_mtime * 1_000 < before_ms:
                found.append(upload_id)
        return found
