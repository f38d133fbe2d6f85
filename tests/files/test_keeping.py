"""No byte of a committed row is ever lost, and none is left over: removal after commit, crashes, races, the doctor."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from backend.cli.main import run
from backend.errors import Code, Refused
from backend.storage.deleted import remove_deleted_before
from backend.storage.engine import SerializationFailure
from backend.sync.changes import Change, Intent
from backend.usecases.uploads import DAY_MS, Files
from tests.files.conftest import CHANGE, Desk, code_of, declare, on_sqlite
from tests.files.pictures import document, picture
from tests.house import House

OLD_S = 1_700_000_000


def files_of(desk: Desk) -> Files:
    return desk.served.services.files


async def remove(desk: Desk, attachment_id: str) -> None:
    await desk.house.change("wei", CHANGE, Change(attachment_id, Intent.DELETE))


async def forget_deleted(desk: Desk) -> None:
    """As the night after the days of bringing back does it."""
    async with desk.house.engine.write() as conn:
        await remove_deleted_before(conn, desk.house.now_ms + 1, desk.house.now_ms, rows_max=100)


def path_of(desk: Desk, digest: str) -> Path:
    return desk.settings.data_dir / "files" / digest[:2] / digest[2:4] / digest


async def test_bytes_go_after_the_last_row_that_needs_them(desk: Desk, visit: str) -> None:
    photo = picture()
    ids = [await desk.stored("wei", visit, photo, kind="PHOTO", mime="image/jpeg")]
    second, _ = await declare(desk.house, "wei", visit, photo, kind="PHOTO", mime="image/jpeg")
    ids.append(second)
    assert len(desk.files_kept()) == 2
    await remove(desk, ids[0])
    await forget_deleted(desk)
    assert await files_of(desk).collect() == 0
    assert (await desk.get("wei", ids[1])).status_code == 200
    await remove(desk, ids[1])
    assert await files_of(desk).collect() == 0, "it can still be brought back"
    assert (await desk.get("wei", ids[1])).status_code == 404
    await forget_deleted(desk)
    assert len(desk.files_kept()) == 2, "not before somebody looked"
    assert await files_of(desk).collect() == 2
    assert desk.files_kept() == []
    assert await files_of(desk).collect() == 0


async def test_what_is_taken_back_takes_its_bytes_with_it_on_its_way(desk: Desk, visit: str, paper: bytes) -> None:
    """Deleted between the last byte and the note that it is stored."""
    files = files_of(desk)
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    put = files.store.put

    async def put_and_delete(digest: str, data: bytes | Path) -> None:
        await put(digest, data)
        await remove(desk, attachment_id)

    files.store.put = put_and_delete  # type: ignore[method-assign]
    await desk.put("wei", attachment_id, paper)
    assert len(desk.files_kept()) == 1
    await files.collect()
    assert desk.files_kept() == []


async def test_a_file_collected_while_it_comes_again_is_written_again(desk: Desk, visit: str, paper: bytes) -> None:
    """The collector removes an unneeded file right after the same bytes were put for a new attachment."""
    files = files_of(desk)
    first = await desk.stored("wei", visit, paper)
    await remove(desk, first)
    await forget_deleted(desk)
    third, _ = await declare(desk.house, "wei", visit, paper)
    assert await desk.row(third, "state") == ("DECLARED",), "what nobody sees any more is no file to be had"
    put, collected = files.store.put, []

    async def put_then_collect(digest: str, data: bytes | Path) -> None:
        await put(digest, data)
        if not collected:
            collected.append(await files.collect())

    files.store.put = put_then_collect  # type: ignore[method-assign]
    assert (await desk.put("wei", third, paper)).json()["state"] == "STORED"
    assert collected == [1]
    assert (await desk.get("wei", third)).content == paper


@on_sqlite
async def test_a_crash_after_the_file_and_before_the_row_loses_nothing(
    desk: Desk, visit: str, paper: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    files = files_of(desk)

    async def dies(*_: Any) -> bool:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patched:
        patched.setattr(files, "_note_stored", dies)
        assert (await desk.put("wei", attachment_id, paper)).status_code == 500
    assert len(desk.files_kept()) == 1
    assert await desk.row(attachment_id, "state") == ("DECLARED",)
    assert await desk.offset("wei", attachment_id) == len(paper)
    answer = await desk.ask("wei", "PUT", f"/files/{attachment_id}", content_range=f"bytes */{len(paper)}")
    assert answer.json()["state"] == "STORED"
    assert (await desk.get("wei", attachment_id)).content == paper
    assert (await files.survey()).clean


async def test_a_database_that_wants_another_try_gets_it(
    desk: Desk, visit: str, paper: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    files = files_of(desk)
    real, tries = files._note_stored, []

    async def refuses_once(*given: Any) -> bool:
        found = await real(*given)
        tries.append(1)
        if len(tries) == 1:
            raise SerializationFailure
        return found

    monkeypatch.setattr(files, "_note_stored", refuses_once)
    assert (await desk.put("wei", attachment_id, paper)).json()["state"] == "STORED"
    assert len(tries) == 2


@on_sqlite
async def test_bytes_are_on_the_disk_before_a_row_says_so(
    desk: Desk, visit: str, paper: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order of writes: file synced, named, its folder synced; only then the row."""
    attachment_id, _ = await declare(desk.house, "wei", visit, paper)
    order: list[str] = []
    files = files_of(desk)
    note, fsync, replace = files._note_stored, os.fsync, Path.replace

    async def noted(*given: Any) -> bool:
        order.append("row")
        return await note(*given)

    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda path, goal: (order.append("name"), replace(path, goal))[1])
    monkeypatch.setattr(files, "_note_stored", noted)
    await desk.put("wei", attachment_id, paper)
    named = order.index("name")
    assert "sync" in order[:named]
    assert order[named : named + 3] == ["name", "sync", "row"]


@on_sqlite
async def test_uploads_nobody_goes_on_with_are_forgotten(desk: Desk, house: House, visit: str, paper: bytes) -> None:
    old, _ = await declare(house, "wei", visit, paper)
    new, _ = await declare(house, "wei", visit, document(9_000))
    for one, data in ((old, paper), (new, document(9_000))):
        await desk.put("wei", one, data, 0, 100)
    part = desk.settings.data_dir / "uploads" / f"{old}.part"
    await asyncio.to_thread(os.utime, part, (OLD_S, OLD_S))
    young = desk.settings.data_dir / "uploads" / f"{new}.part"
    now_s = house.now_ms / 1_000
    await asyncio.to_thread(os.utime, young, (now_s, now_s))
    await files_of(desk).collect()
    assert await desk.offset("wei", old) == 0
    assert await desk.offset("wei", new) == 100
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT attachment_id FROM upload")
    assert [row[0] for row in rows] == [new]
    assert (await desk.put("wei", old, paper)).json()["state"] == "STORED"


async def test_the_doctor_names_what_is_missing_damaged_and_left_over(
    desk: Desk, house: House, visit: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = [document(3_000, seed=seed) for seed in range(3)]
    whole, missing, damaged = [await desk.stored("wei", visit, data) for data in papers]
    digests = [hashlib.sha256(data).hexdigest() for data in papers]
    path_of(desk, digests[1]).unlink()
    path_of(desk, digests[2]).write_bytes(b"half")
    stray = hashlib.sha256(b"stray").hexdigest()
    fresh = hashlib.sha256(b"fresh").hexdigest()
    for digest, data in ((stray, b"stray"), (fresh, b"fresh")):
        await files_of(desk).store.put(digest, data)
    await asyncio.to_thread(os.utime, path_of(desk, stray), (OLD_S, OLD_S))
    now_s = house.now_ms / 1_000
    await asyncio.to_thread(os.utime, path_of(desk, fresh), (now_s, now_s))
    found = await files_of(desk).survey()
    assert (found.missing, found.damaged) == ({digests[1]: [missing]}, {digests[2]: [damaged]})
    assert found.orphans == [stray], "one just written may belong to a row about to be written"

    monkeypatch.setenv("SELVEDGE_DATABASE_URL", desk.settings.database_url)
    monkeypatch.setenv("SELVEDGE_DATA_DIR", str(desk.settings.data_dir))
    assert await asyncio.to_thread(run, ["doctor", "files"]) == 1
    told = capsys.readouterr().out
    assert digests[1] in told
    assert missing in told
    assert (await desk.row(missing, "state")) == ("STORED",), "looking changes nothing"

    await files_of(desk).repair(found)
    assert not path_of(desk, stray).exists()
    assert path_of(desk, fresh).exists()
    for attachment_id, state in ((whole, "STORED"), (missing, "LOST"), (damaged, "LOST")):
        assert await desk.row(attachment_id, "state") == (state,)
    assert code_of(await desk.get("wei", missing)) == "NOT_UPLOADED"
    assert (await files_of(desk).survey()).clean
    for attachment_id, data in ((missing, papers[1]), (damaged, papers[2])):
        assert (await desk.put("wei", attachment_id, data)).json()["state"] == "STORED", "who has it sends it again"
        assert (await desk.get("manager", attachment_id)).content == data


@on_sqlite
async def test_a_file_lost_under_a_reader_is_told_as_not_there(desk: Desk, visit: str, paper: bytes) -> None:
    attachment_id = await desk.stored("wei", visit, paper)
    (digest,) = await desk.row(attachment_id, "stored_sha256")
    path_of(desk, str(digest)).unlink()
    assert code_of(await desk.get("wei", attachment_id)) == "NOT_UPLOADED"
    with pytest.raises(Refused) as refused:
        await files_of(desk).fetch(desk.house.people["wei"], attachment_id, preview=False, look_only=True)
    assert refused.value.problems[0].code is Code.NOT_UPLOADED


@on_sqlite
async def test_the_note_of_a_day_is_kept_a_day(desk: Desk, house: House, visit: str, paper: bytes) -> None:
    await desk.stored("wei", visit, paper)
    await files_of(desk).collect()
    async with house.engine.read() as conn:
        assert len(await conn.fetch("SELECT 1 FROM upload")) == 1
    house.now_ms += DAY_MS + 1
    await files_of(desk).collect()
    async with house.engine.read() as conn:
        assert await conn.fetch("SELECT 1 FROM upload") == []
