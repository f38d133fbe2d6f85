"""`selvedge devices` and `epoch`: what an operator sees and does."""

import asyncio
from io import StringIO
from pathlib import Path

import pytest

from backend.cli.main import run
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.ids import new_id
from backend.storage.engine import open_engine
from tests.databases import fresh_sqlite
from tests.sync.offices import Office

DAY_MS = 86_400_000


@pytest.fixture
def url(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SELVEDGE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture
def device_id(url: str) -> str:
    """A rep's phone that has pulled once."""

    async def scene() -> str:
        engine = open_engine(url)
        await engine.start()
        office = await Office(engine).open()
        phone = await office.phone(office.rep)
        await engine.close()
        return str(phone.line.principal.device_id)

    return asyncio.run(scene())


def rows(url: str, sql: str, *args: object) -> list[tuple[object, ...]]:
    async def ask() -> list[tuple[object, ...]]:
        engine = open_engine(url)
        await engine.start()
        try:
            async with engine.read() as conn:
                return await conn.fetch(sql, *args)
        finally:
            await engine.close()

    return asyncio.run(ask())


def note(url: str, device_id: str, column: str, at_ms: int) -> None:
    async def write() -> None:
        engine = open_engine(url)
        await engine.start()
        async with engine.write() as conn:
            await conn.execute(f"UPDATE device SET {column} = ? WHERE id = ?", at_ms, device_id)
        await engine.close()

    asyncio.run(write())


def test_a_device_is_listed_drained_revoked_taken_back_and_wiped(
    url: str, device_id: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> object:
        return rows(url, "SELECT state FROM device WHERE id = ?", device_id)[0][0]

    def listed(*options: str) -> str:
        capsys.readouterr()
        assert run(["devices", "list", *options, "--database", url]) == 0
        return capsys.readouterr().out

    assert device_id in listed()
    assert device_id not in listed("--state", "REVOKED")
    assert run(["devices", "list", "--state", "LOST", "--database", url]) == 2
    assert "ACTIVE" in capsys.readouterr().err
    for verb, wanted in (("drain", "DRAINING"), ("revoke", "REVOKED"), ("reactivate", "ACTIVE")):
        assert run(["devices", verb, device_id, "--database", url]) == 0
        assert f"is {wanted}" in capsys.readouterr().out
        assert state() == wanted
        assert device_id in listed("--state", wanted)
    monkeypatch.setattr("sys.stdin", StringIO())  # nobody there to say yes
    assert run(["devices", "wipe", device_id, "--database", url]) == 1
    assert state() == "ACTIVE"
    assert run(["devices", "wipe", device_id, "--reason", "stolen", "--yes", "--database", url]) == 0
    assert state() == "WIPED"
    assert "wipe acknowledged" not in listed()
    note(url, device_id, "wipe_acked_at", 1_767_225_600_000)
    assert "wipe acknowledged 2026-01-01" in listed()
    capsys.readouterr()
    assert run(["devices", "revoke", new_id(), "--database", url]) == 1
    assert "NOT_FOUND" in capsys.readouterr().err


def test_epochs_go_up_and_the_highest_is_remembered_beside_the_database(
    url: str, device_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["epoch", "--database", url]) == 0
    assert "epoch       1" in capsys.readouterr().out
    assert run(["epoch", "--next", "--yes", "--database", url]) == 0
    assert "epoch 1 has ended, epoch 2 has begun" in capsys.readouterr().out
    kept = tmp_path / "var" / "epoch"
    assert kept.read_text() == "2\n"
    kept.write_text("7\n")
    assert run(["epoch", "--next", "--yes", "--database", url]) == 0
    assert "epoch 8 has begun" in capsys.readouterr().out
    assert kept.read_text() == "8\n"
    kept.write_text("many\n")
    assert run(["epoch", "--next", "--yes", "--database", url]) == 2
    assert "wanted: a whole number" in capsys.readouterr().err


def test_collecting_drops_a_silent_device_and_says_so(
    url: str, device_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def dropped(told: str) -> str:
        (line,) = (line for line in told.splitlines() if "silent devices dropped" in line)
        return line.split()[-1]

    silent_ms = Settings().device_silent_days * DAY_MS
    for at_ms, wanted, gone in (
        (wall_clock_ms() - silent_ms + DAY_MS, "0", 0),
        (wall_clock_ms() - silent_ms - DAY_MS, "1", 1),
    ):
        note(url, device_id, "last_seen_at", at_ms)
        assert run(["collect", "--database", url]) == 0
        assert dropped(capsys.readouterr().out) == wanted
        assert rows(url, "SELECT count(dropped_at) FROM device WHERE id = ?", device_id) == [(gone,)]
