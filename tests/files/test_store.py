"""The port to where files are kept, held to one contract on every shore there is here; and the spool."""

import errno
import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadSetting, Code, Refused
from backend.ids import new_id
from backend.integrations import files
from backend.integrations.files import READ_BYTES, FileStore, LocalFiles, ObjectFiles, open_files, sweep_temporary
from backend.integrations.spool import Spool

SHORES = ["folder", "memory", "objects"]


@pytest.fixture(params=SHORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    (tmp_path / "objects").mkdir()
    urls = {"folder": None, "memory": "memory:///", "objects": f"file://{tmp_path}/objects"}
    return open_files(urls[request.param], tmp_path / "files")


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def read(store: FileStore, digest: str, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in store.read(digest, start, end)])


async def test_what_is_put_is_there_once_whole_and_in_parts(store: FileStore, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(2 * READ_BYTES + 77)
    digest = named(data)
    assert await store.size_of(digest) is None
    for given in (data, data, _file(tmp_path, data)):
        await store.put(digest, given)
        assert await store.size_of(digest) == len(data)
    for start, end in [
        (0, len(data)),
        (0, 1),
        (5, 9),
        (READ_BYTES - 1, READ_BYTES + 1),
        (len(data) - 3, len(data)),
        (4, 4),
    ]:
        assert await read(store, digest, start, end) == data[start:end]
    assert [(kept.digest, kept.size_bytes) async for kept in store.kept()] == [(digest, len(data))]
    assert all([abs(kept.written_at_ms - time.time() * 1_000) < 3_600_000 async for kept in store.kept()])


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "given"
    path.write_bytes(data)
    return path


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(store: FileStore) -> None:
    for data in (b"one", b"two"):
        await store.put(named(data), data)
    await store.delete(named(b"one"))
    await store.delete(named(b"one"))
    assert await store.size_of(named(b"one")) is None
    assert [kept.digest async for kept in store.kept()] == [named(b"two")]
    with pytest.raises(FileNotFoundError):
        await read(store, named(b"one"), 0, 3)


@pytest.mark.parametrize("key", ["../../etc/passwd", "a", "A" * 64, "0" * 63, "0" * 64 + "/x", "..", ""])
async def test_what_is_no_hash_is_no_path(store: FileStore, key: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        await store.put(key, b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        await store.size_of(key)


async def test_a_file_of_another_length_is_written_anew(tmp_path: Path) -> None:
    """A file that a broken disk left short."""
    store = LocalFiles(tmp_path)
    await store.put(named(b"whole"), b"whole")
    files_in(tmp_path)[0].write_bytes(b"who")
    await store.put(named(b"whole"), b"whole")
    assert await read(store, named(b"whole"), 0, 9) == b"whole"


async def test_a_full_disk_is_an_answer_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalFiles(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused) as refused:
        await store.put(named(b"data"), b"data")
    assert refused.value.problems[0].code is Code.STORAGE_FULL
    assert files_in(tmp_path) == []


async def test_what_a_dead_writer_left_is_swept_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path)
    await store.put(named(b"data"), b"data")
    (kept,) = files_in(tmp_path)
    old, new = kept.with_name(f".{kept.name}.1.tmp"), kept.with_name(f".{kept.name}.2.tmp")
    for path in (old, new):
        path.write_bytes(b"da")
    os.utime(old, (1, 1))
    assert sweep_temporary(tmp_path, 1_000_000) == 1
    assert files_in(tmp_path) == sorted([kept, new])
    assert [found.digest async for found in store.kept()] == [named(b"data")]


def test_a_wrong_address_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSetting, match="SELVEDGE_FILES_URL"):
        open_files("nonsense://x", tmp_path)
    monkeypatch.setattr(files, "obstore", None)
    with pytest.raises(BadSetting, match=r"selvedge\[files\]"):
        ObjectFiles("memory:///")


# -- the spool -------------------------------------------------------------------------------------------------


async def test_an_upload_is_held_by_one_and_found_as_it_was_left(tmp_path: Path) -> None:
    spool, upload = Spool(tmp_path), new_id()
    assert spool.offset(upload) == 0
    async with spool.open(upload) as part:
        await part.append(b"abc")
        with pytest.raises(Refused) as refused:
            async with Spool(tmp_path).open(upload):
                pass
        assert refused.value.problems[0].code is Code.BUSY
    assert Spool(tmp_path).offset(upload) == 3
    async with Spool(tmp_path).open(upload) as part:
        await part.append(b"def")
        assert await part.whole() == b"abcdef"
        assert await part.head(4) == b"abcd"
        assert await part.sha256() == named(b"abcdef")
        part.drop()
    assert spool.offset(upload) == 0
    assert files_in(tmp_path) == []


async def test_bytes_without_room_are_not_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, upload = Spool(tmp_path), new_id()
    real = os.write
    async with spool.open(upload) as part:
        await part.append(b"abc")
        room = [2]

        def tight(handle: int, data: Any) -> int:
            if not room:
                raise OSError(errno.ENOSPC, "no room")
            return real(handle, bytes(data)[: room.pop()])

        monkeypatch.setattr(os, "write", tight)
        with pytest.raises(Refused) as refused:
            await part.append(b"defgh")
        monkeypatch.undo()
        assert refused.value.problems[0].code is Code.STORAGE_FULL
        assert part.offset == 3
        await part.append(b"d")
        assert await part.whole() == b"abcd"


def test_what_is_no_id_is_no_upload(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no id"):
        Spool(tmp_path).offset("../x")
