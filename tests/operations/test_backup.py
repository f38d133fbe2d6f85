"""Backups: what is in them, what they are put back onto, and that devices lose nothing by it, on both databases."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from backend.cli.main import run
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.sync.doctor import check_feed
from backend.sync.feed import EPOCH_STEP, read_clock
from tests import factories
from tests.sync.offices import Office, Phone, visit_fields

DIGEST = "ab" * 32


class Place:
    """A database and its data folder, and the command line as an operator uses it there."""

    def __init__(self, url: str, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.data_dir = folder / "var"
        self.backup = folder / "backups" / "first"
        self._patch = patch
        self._capture = capture

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        with self._patch.context() as patch:
            for name in [name for name in os.environ if name.startswith("SELVEDGE_")]:
                patch.delenv(name)
            patch.setenv("SELVEDGE_DATABASE_URL", self.url)
            patch.setenv("SELVEDGE_DATA_DIR", str(self.data_dir))
            # each verb has a loop of its own
            status = await asyncio.to_thread(run, arguments)
        captured = self._capture.readouterr()
        return status, captured.out + captured.err

    def file(self, digest: str = DIGEST) -> Path:
        return self.data_dir / "files" / digest[:2] / digest[2:4] / digest


@pytest.fixture
def place(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Place:
    return Place(database_url, tmp_path, monkeypatch, capsys)


async def alike(office: Office, *phones: Phone) -> None:
    """After two rounds each phone holds what a new one would, nobody waits, and the feed says what the tables say."""
    for _ in range(2):
        for phone in phones:
            await phone.sync()
    for phone in phones:
        assert phone.replica.queue == []
        fresh = await office.phone(str(phone.line.principal.user_id))
        assert phone.replica.documents == fresh.replica.documents
        assert phone.replica.places == fresh.replica.places
    assert (await check_feed(office.engine)).drifted == 0


@pytest.mark.requirement("R4")
async def test_phones_that_sync_during_the_backup_and_after_it_lose_nothing_by_a_restore(place: Place) -> None:
    engine = open_engine(place.url)
    await engine.start()
    office = await Office(engine).open()
    phones = [await office.phone(office.rep), await office.phone(office.manager)]
    titles = []

    async def go_on(phone: Phone, name: str, stop: asyncio.Event, least: int) -> None:
        count = 0
        while not stop.is_set() or count < least:
            count += 1
            titles.append(f"{name} {count}")
            phone.replica.edit("tasks", new_id(), {"title": titles[-1]})
            await phone.sync()

    place.file().parent.mkdir(parents=True)
    place.file().write_bytes(b"a photo")
    made = asyncio.Event()
    writers = [asyncio.ensure_future(go_on(phone, f"w{n}", made, 3)) for n, phone in enumerate(phones)]
    status, said = await place("backup", str(place.backup))
    made.set()
    await asyncio.gather(*writers)
    assert status == 0, said
    shop = office.shops[0]
    phones[0].replica.edit("visits", new_id(), visit_fields(shop, notes="after the backup"))
    await phones[0].sync()
    before = await clock_of(place.url)
    await engine.close()

    # another life of the same server, where nothing of what came after is known
    place.file().unlink()
    status, said = await place("restore", str(place.backup))
    assert status == 1
    assert "--force" in said
    assert await clock_of(place.url) == before
    status, said = await place("restore", str(place.backup), "--force", "--yes")
    assert status == 0, said
    assert f"epoch {before // EPOCH_STEP + 1} has begun" in said
    assert place.file().read_bytes() == b"a photo"

    office.engine = engine = open_engine(place.url)
    await engine.start()
    try:
        assert await clock_of(place.url) // EPOCH_STEP == before // EPOCH_STEP + 1
        for phone in phones:
            phone.line.engine = engine
        await alike(office, *phones)
        assert sorted(row[0] for row in await office.rows("SELECT title FROM task")) == sorted(titles)
        assert await office.rows("SELECT notes FROM visit") == [("after the backup",)]
        assert await office.rows("SELECT count(*) FROM sync_issue") == [(0,)]
    finally:
        await engine.close()


async def clock_of(url: str) -> int:
    engine = open_engine(url)
    await engine.start()
    try:
        async with engine.read() as conn:
            return (await read_clock(conn))[0]
    finally:
        await engine.close()


async def test_a_backup_is_whole_and_says_what_it_is(place: Place) -> None:
    place.data_dir.mkdir()
    for name in ("keys.json", "rescue-keys.json", "erasures.jsonl", "epoch"):
        (place.data_dir / name).write_text("7")
    status, said = await place("backup", str(place.backup))
    assert status == 0, said
    manifest = json.loads((place.backup / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["dialect"] in place.url
    assert manifest["migrations"][0] == "0001_first"
    names = {"keys.json", "rescue-keys.json", "erasures.jsonl", "epoch"}
    assert {path.name for path in (place.backup / "keys").iterdir()} == names
    assert (place.backup.stat().st_mode & 0o077) == 0
    assert [path.name for path in place.backup.parent.iterdir()] == ["first"]
    # never over another
    status, said = await place("backup", str(place.backup))
    assert status == 1
    assert "already" in said
    # without keys
    other = place.backup.with_name("second")
    assert (await place("backup", str(other), "--no-keys"))[0] == 0
    assert {path.name for path in (other / "keys").iterdir()} == names - {"keys.json", "rescue-keys.json"}


async def test_the_epoch_is_above_every_one_given_out(place: Place) -> None:
    place.data_dir.mkdir()
    (place.data_dir / "epoch").write_text("4\n")
    assert (await place("backup", str(place.backup)))[0] == 0
    (place.data_dir / "epoch").unlink()
    status, said = await place("restore", str(place.backup), "--force", "--yes")
    assert status == 0, said
    assert "epoch 5 has begun" in said
    status, said = await place("restore", str(place.backup), "--force", "--yes")
    assert status == 0, said
    assert "epoch 6 has begun" in said


async def test_a_file_that_is_missing_is_told_and_what_the_server_has_is_not_overwritten(place: Place) -> None:
    place.data_dir.mkdir()
    (place.data_dir / "keys.json").write_text("of then")
    engine = open_engine(place.url)
    await engine.start()
    async with engine.write() as conn:
        named = {"id": new_id(), "collection": "visits", "record_id": new_id(), "kind": "PHOTO", "file_name": "a.png",
                 "sha256": DIGEST, "size_bytes": 7, "mime": "image/png", "proof": False, "state": "STORED",
                 "stored_sha256": DIGEST, "preview_state": "NONE", "created_at": 1, "created_by": new_id()}  # fmt: skip
        await factories.insert(conn, "attachment", **named)
    await engine.close()
    status, said = await place("backup", str(place.backup))
    assert (status, DIGEST in said) == (1, True)
    assert (place.backup / "manifest.json").exists(), "it is made all the same"
    (place.data_dir / "keys.json").write_text("of now")
    status, said = await place("restore", str(place.backup), "--force", "--yes")
    assert (status, DIGEST in said) == (1, True)
    assert "kept this server's own keys.json" in said
    assert (place.data_dir / "keys.json").read_text() == "of now"
    if place.url.startswith("sqlite"):
        replaced = Path(place.url.removeprefix("sqlite://"))
        assert list(replaced.parent.glob(f"{replaced.name}.before-*Z")), "what was there is kept aside"


@pytest.mark.parametrize(
    ("what", "told"), [("damaged", "damaged"), ("later", "later program"), ("none", "no backup"), ("other", "is of")]
)
async def test_what_cannot_be_restored_is_refused_before_anything_is_touched(
    place: Place, what: str, told: str
) -> None:
    assert (await place("backup", str(place.backup)))[0] == 0
    manifest = place.backup / "manifest.json"
    found = json.loads(manifest.read_text())
    if what == "damaged":
        database = next(place.backup.glob("database.*"))
        content = bytearray(database.read_bytes())
        content[len(content) // 2] ^= 1
        database.write_bytes(content)
    elif what == "later":
        manifest.write_text(json.dumps({**found, "migrations": [*found["migrations"], "9999_later"]}))
    elif what == "none":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps({**found, "dialect": "postgres" if found["dialect"] == "sqlite" else "sqlite"}))
    before = await clock_of(place.url)
    status, said = await place("restore", str(place.backup), "--force", "--yes")
    assert status == 1
    assert told in said
    assert await clock_of(place.url) == before


async def test_a_database_in_use_is_not_replaced(place: Place) -> None:
    assert (await place("backup", str(place.backup)))[0] == 0
    engine = open_engine(place.url)
    await engine.start()
    try:
        async with engine.read() as conn:
            await read_clock(conn)
        status, said = await place("restore", str(place.backup), "--force", "--yes")
        assert status == 1
        assert "in use" in said
    finally:
        await engine.close()


async def test_without_the_tools_of_postgresql_it_is_said_which_are_missing(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if place.url.startswith("sqlite"):
        pytest.skip("SQLite needs none")
    monkeypatch.setattr("backend.integrations.backups.SERVERS_FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    status, said = await place("backup", str(place.backup))
    assert status == 1
    assert "pg_dump is not here" in said
    assert not place.backup.exists()
