"""A disk that is full below the attachments: what is sent is refused, what is kept is read, and nothing is spoilt."""

from pathlib import Path

import pytest

from backend.config import Settings
from backend.errors import Code
from tests.files.conftest import Desk, code_of, declare, in_thread
from tests.files.pictures import document
from tests.operations.conftest import disk as disk
from tests.operations.test_trouble_served import fill

SECOND = 60_000


@pytest.fixture
def file_settings(database_url: str, disk: Path) -> Settings:
    """Files on the small disk, the database elsewhere."""
    return Settings(database_url=database_url, data_dir=disk / "var", disk_free_bytes_min=0, access_token_seconds=3_600)


async def test_a_full_disk_refuses_files_keeps_what_has_arrived_and_goes_on_when_there_is_room(
    desk: Desk, visit: str, disk: Path
) -> None:
    first, second, third = (document(size) for size in (150_000, 2 * SECOND, 90_000))
    kept = await desk.stored("wei", visit, first)
    begun, _ = await declare(desk.house, "wei", visit, second)
    assert (await desk.put("wei", begun, second, 0, SECOND)).status_code == 200
    stone = await in_thread(fill, disk)

    for _ in range(3):
        refused = await desk.put("wei", begun, second, SECOND)
        assert (refused.status_code, code_of(refused)) == (507, Code.STORAGE_FULL.value)
        assert refused.json()["errors"][0]["extensions"]["retry"] == "LATER"
        assert await desk.offset("wei", begun) == SECOND, "what has arrived stays, and nothing half of what has not"
    # the database has room: the record is made, its bytes come later
    waiting, outcome = await declare(desk.house, "wei", visit, third)
    assert outcome.status.value == "APPLIED"
    refused = await desk.put("wei", waiting, third)
    assert (refused.status_code, code_of(refused)) == (507, Code.STORAGE_FULL.value)
    found = await desk.get("wei", kept)
    assert (found.status_code, found.content) == (200, first)

    stone.unlink()
    for attachment_id, data, start in ((begun, second, SECOND), (waiting, third, 0)):
        answer = await desk.put("wei", attachment_id, data, start)
        assert answer.json()["state"] == "STORED", answer.text
        assert (await desk.get("wei", attachment_id)).content == data
    assert len(desk.files_kept()) == 3
    assert not [path for path in (disk / "var" / "files").rglob("*") if path.is_file() and path.name.startswith(".")]
