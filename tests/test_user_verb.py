"""The first admin of a new organisation comes from the command line, and can then sign in."""

import asyncio
from pathlib import Path

import pytest

from backend.cli.main import run
from backend.config import Settings
from tests.servers import serve

SIGN_IN = """
mutation ($email: String!, $password: String!, $device: DeviceInput!) {
  signIn(email: $email, password: $password, device: $device) { ... on Session { accessToken } }
}"""


def _user(database: str, *more: str) -> int:
    return run(["user", "admin@haizhi.example", "--name", "陈思远", "--role", "ADMIN", "--database", database, *more])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELVEDGE_DATA_DIR", str(tmp_path))
    return tmp_path


async def test_the_first_admin_signs_in(folder: Path) -> None:
    database = f"sqlite://{folder / 'new.sqlite3'}"
    assert await asyncio.to_thread(_user, database, "--password", "a long enough one") == 0
    async with serve(Settings(database_url=database, data_dir=folder)) as served:
        device = {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "a laptop", "platform": "WEB"}
        given = {"email": "admin@haizhi.example", "password": "a long enough one", "device": device}
        token = (await served.ask(SIGN_IN, given))["data"]["signIn"]["accessToken"]
        answer = await served.ask("{ me { name role } }", token=token)
    assert answer["data"]["me"] == {"name": "陈思远", "role": "ADMIN"}


def test_what_is_wrong_is_said_and_nobody_is_added(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = f"sqlite://{folder / 'new.sqlite3'}"
    assert _user(database, "--password", "short") == 1
    assert "OUT_OF_RANGE" in capsys.readouterr().err
    assert _user(database, "--password", "a long enough one") == 0
    assert _user(database, "--password", "a long enough one") == 1
    assert "ID_TAKEN" in capsys.readouterr().err
