"""`selvedge rescue FILE`: an operator sees whose work it is, decides, and is told what became of each part."""

import asyncio
import secrets
from pathlib import Path

import pytest

from backend.auth.keys import load_rescue_keys
from backend.cli.main import run
from backend.ids import new_id
from backend.storage.engine import open_engine
from mobile_contract.rescue import base64url, rescue_content, write_rescue
from tests.databases import fresh_sqlite
from tests.sync.offices import Office


@pytest.fixture
def lost_phone(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """The rescue file of a wiped phone with two tasks, one of which cannot be; and its database."""
    url = fresh_sqlite(sqlite_template, tmp_path)
    monkeypatch.setenv("SELVEDGE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")

    async def scene() -> bytes:
        engine = open_engine(url)
        await engine.start()
        office = await Office(engine).open()
        phone = await office.phone(office.rep)
        phone.replica.edit("tasks", new_id(), {"title": "samples"})
        phone.replica.edit("tasks", new_id(), {"title": ""})
        async with engine.write() as conn:
            await conn.execute("UPDATE device SET state = 'WIPED' WHERE id = ?", phone.line.principal.device_id)
        await engine.close()
        keys = load_rescue_keys(tmp_path / "var")
        device = str(phone.line.principal.device_id)
        content = rescue_content(office.rep, device, phone.replica.queue, "2026-01-01T00:00:00.000Z")
        return write_rescue(content, keys.kid, base64url(keys.public), iv=secrets.token_bytes(12))

    file = tmp_path / "work.rescue"
    file.write_bytes(asyncio.run(scene()))
    return file, url


def test_the_work_of_a_wiped_phone_is_taken_once(
    lost_phone: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    file, url = lost_phone
    assert run(["rescue", str(file), "--dry-run", "--database", url]) == 0
    told = capsys.readouterr().out
    assert "Kim Min-seo" in told
    assert "WIPED" in told
    assert "2 mutations" in told
    assert "a dry run: nothing was written" in told
    for _ in range(2):
        assert run(["rescue", str(file), "--yes", "--database", url]) == 0
        told = capsys.readouterr().out
        assert "1 APPLIED, 1 REFUSED" in told
        assert "dry run" not in told
        assert "Title is missing" in told


def test_a_damaged_file_is_named_and_nothing_is_taken(
    lost_phone: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    file, url = lost_phone
    file.write_bytes(file.read_bytes()[:-30])
    assert run(["rescue", str(file), "--yes", "--database", url]) == 1
    assert "RESCUE_DAMAGED" in capsys.readouterr().err
