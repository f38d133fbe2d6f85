"""Where the bytes of attachments are kept, each file under the hash of its bytes.

A port with two shores: a local folder, and any object storage that `obstore` speaks to. A file is there whole or
not at all; putting it twice is putting it once. Whether a file may go is not decided here.
"""

import asyncio
import errno
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backend.errors import BadSetting, Code, Problem, Refused

try:
    import obstore
    from obstore.exceptions import BaseError as ObjectTrouble
    from obstore.exceptions import NotFoundError as ObjectMissing
    from obstore.store import from_url
except ImportError:  # the extra `files` is not installed
    obstore = None  # type: ignore[assignment]

READ_BYTES = 1_048_576
"""Most bytes of a file in memory for one reader."""
_KEY = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".tmp"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that lies there. `written_at_ms` is by the storage's own clock."""

    digest: str
    size_bytes: int
    written_at_ms: int


class FileStore(Protocol):
    """Files by the SHA-256 of their bytes. Raises STORAGE_FULL where there is no room, BUSY where nobody answers."""

    async def put(self, digest: str, data: bytes | Path) -> None:
        """Keep a file; on return it outlives a crash."""
        ...

    async def size_of(self, digest: str) -> int | None:
        """Its size in bytes; None when it is not there."""
        ...

    def read(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but not including `end`, a bounded piece at a time."""
        ...

    async def delete(self, digest: str) -> None:
        """Let a file go; no matter when it is not there."""
        ...

    def kept(self) -> AsyncIterator[Kept]:
        """Every file there is, in no order."""
        ...


def check_digest(digest: str) -> str:
    """The same digest; what is no digest never becomes a path."""
    if _KEY.fullmatch(digest) is None:
        raise ValueError("no SHA-256")
    return digest


def path_of(digest: str) -> str:
    """`ab/cd/abcd…`: no folder grows too large to be listed."""
    return f"{digest[:2]}/{digest[2:4]}/{check_digest(digest)}"


@contextmanager
def room_needed() -> Iterator[None]:
    """A disk without room is an answer to the client, not an accident."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Refused(Problem(Code.STORAGE_FULL)) from error
        raise


class LocalFiles:
    """A folder of this machine, or one that several servers share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def put(self, digest: str, data: bytes | Path) -> None:
        await asyncio.to_thread(self._put, digest, data)

    def _put(self, digest: str, data: bytes | Path) -> None:
        goal = self.folder / path_of(digest)
        size = data.stat().st_size if isinstance(data, Path) else len(data)
        if goal.exists() and goal.stat().st_size == size:
            return
        temporary = goal.with_name(f".{digest}.{secrets.token_hex(4)}{_TEMPORARY}")
        with room_needed():
            self._make_folder(goal.parent)
            try:
                with temporary.open("xb") as handle:
                    for piece in _pieces(data):
                        handle.write(piece)
                    handle.flush()
                    os.fsync(handle.fileno())
                temporary.replace(goal)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(goal.parent)

    def _make_folder(self, folder: Path) -> None:
        """A new folder is only there after a crash when the one above it was written too."""
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            _sync_folder(new.parent)

    async def size_of(self, digest: str) -> int | None:
        try:
            return (await asyncio.to_thread((self.folder / path_of(digest)).stat)).st_size
        except FileNotFoundError:
            return None

    async def read(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        handle = await asyncio.to_thread((self.folder / path_of(digest)).open, "rb")
        try:
            await asyncio.to_thread(handle.seek, start)
            while start < end and (piece := await asyncio.to_thread(handle.read, min(READ_BYTES, end - start))):
                start += len(piece)
                yield piece
        finally:
            handle.close()

    async def delete(self, digest: str) -> None:
        await asyncio.to_thread((self.folder / path_of(digest)).unlink, missing_ok=True)

    async def kept(self) -> AsyncIterator[Kept]:
        for first in await asyncio.to_thread(_entries, self.folder):
            for second in await asyncio.to_thread(_entries, first):
                for found in await asyncio.to_thread(_files, second):
                    yield found


def _pieces(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as handle:
        while piece := handle.read(READ_BYTES):
            yield piece


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _entries(folder: Path) -> list[Path]:
    return sorted(found for found in folder.iterdir() if found.is_dir()) if folder.is_dir() else []


def _files(folder: Path) -> list[Kept]:
    found = []
    for path in sorted(folder.iterdir()):
        if _KEY.fullmatch(path.name):
            stat = path.stat()
            found.append(Kept(path.name, stat.st_size, int(stat.st_mtime * 1_000)))
    return found


def sweep_temporary(folder: Path, before_ms: int) -> int:
    """Remove what writers left half-written before a moment; how many."""
    count = 0
    for path in folder.glob(f"??/??/.*{_TEMPORARY}"):
        if path.stat().st_mtime * 1_000 < before_ms:
            path.unlink(missing_ok=True)
            count += 1
    return count


class ObjectFiles:
    """Object storage: S3 and what speaks like it, Azure, Google, by URL. Keys and secrets come from its own
    environment variables, as `obstore` documents them."""

    def __init__(self, url: str) -> None:
        if obstore is None:
            raise BadSetting(
                "SELVEDGE_FILES_URL: object storage needs the extra `files`: pip install 'selvedge[files]'"
            )
        try:
            self._store = from_url(url)
        except (ObjectTrouble, ValueError) as error:
            raise BadSetting(f"SELVEDGE_FILES_URL: {error}") from error

    async def put(self, digest: str, data: bytes | Path) -> None:
        with _answering():
            await obstore.put_async(self._store, path_of(digest), data)

    async def size_of(self, digest: str) -> int | None:
        try:
            with _answering():
                return int((await obstore.head_async(self._store, path_of(digest)))["size"])
        except FileNotFoundError:
            return None

    async def read(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            with _answering():
                piece = await obstore.get_range_async(
                    self._store, path_of(digest), start=start, end=min(end, start + READ_BYTES)
                )
            if not piece:
                return
            start += len(piece)
            yield bytes(piece)

    async def delete(self, digest: str) -> None:
        try:
            with _answering():
                await obstore.delete_async(self._store, path_of(digest))
        except FileNotFoundError:
            pass

    async def kept(self) -> AsyncIterator[Kept]:
        with _answering():
            async for part in obstore.list(self._store):
                for found in part:
                    name = found["path"].rpartition("/")[2]
                    if _KEY.fullmatch(name):
                        yield Kept(name, found["size"], int(found["last_modified"].timestamp() * 1_000))


@contextmanager
def _answering() -> Iterator[None]:
    """What an object storage raises, in the words of this house."""
    try:
        yield
    except (ObjectMissing, FileNotFoundError) as error:
        raise FileNotFoundError(str(error)) from error
    except ObjectTrouble as error:
        raise Refused(Problem(Code.BUSY)) from error


def open_files(url: str | None, folder: Path) -> FileStore:
    """The storage for a setting: the folder where there is no URL. Raises `BadSetting`."""
    return LocalFiles(folder) if url is None else ObjectFiles(url)
