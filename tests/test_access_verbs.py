"""Keys, services and forgotten passwords from the command line."""

import re
from pathlib import Path

import pytest

from backend.cli.main import run
from backend.ids import new_id


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path) -> str:
    monkeypatch.setenv("SELVEDGE_DATA_DIR", str(tmp_path))
    path = tmp_path / "here.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite://{path}"


def test_keys_are_listed_rotated_and_retired(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    def listed() -> list[str]:
        assert run(["keys", "list", "--database", database]) == 0
        return [line.split()[1] for line in capsys.readouterr().out.splitlines()]

    assert run(["keys", "rotate", "--database", database]) == 0
    made = capsys.readouterr().out.split()[0]
    assert listed() == ["SIGNING", "COMING"]
    assert run(["keys", "retire", made, "--database", database]) == 0
    assert run(["keys", "retire", new_id(), "--database", database]) == 1
    assert "NOT_FOUND" in capsys.readouterr().err
    assert run(["keys", "list", "--database", database]) == 0
    signing = next(line.split()[0] for line in capsys.readouterr().out.splitlines() if "SIGNING" in line)
    assert run(["keys", "retire", signing, "--database", database]) == 1
    assert "INVALID_TRANSITION" in capsys.readouterr().err
    assert run(["keys", "retire", signing, "--now", "--database", database]) == 0
    capsys.readouterr()
    assert sorted(listed()) == ["RETIRED", "RETIRED"]


def test_a_service_is_added_given_a_key_once_and_let_out(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "add", "erp", "--right", "read:nothing", "--database", database]) == 1
    assert "NOT_ALLOWED_VALUE" in capsys.readouterr().err
    assert run(["service", "add", "erp", "--right", "read:orders", "--everywhere", "--database", database]) == 0
    assert run(["service", "key", "nobody", "--database", database]) == 1
    capsys.readouterr()
    assert run(["service", "key", "erp", "--name", "May", "--days", "400", "--database", database]) == 0
    secret = re.findall(r"sk1\.[0-9a-f-]{36}\.[A-Za-z0-9_-]{43}", capsys.readouterr().out)
    assert len(secret) == 1
    key_id = secret[0].split(".")[1]
    assert run(["service", "revoke", key_id, "--database", database]) == 0
    assert run(["service", "off", "erp", "--yes", "--database", database]) == 0
    capsys.readouterr()
    assert run(["service", "list", "--database", database]) == 0
    told = capsys.readouterr().out
    assert "revoked" in told
    assert "let out" in told
    assert secret[0] not in told


def test_a_forgotten_password_gets_a_token_for_a_colleague_and_nobody_else(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reset-password", "nobody@example.com", "--database", database]) == 1
    words = ["--name", "Min", "--role", "BACK_OFFICE", "--password", "a long enough one", "--database", database]
    assert run(["user", "min@example.com", *words]) == 0
    capsys.readouterr()
    assert run(["reset-password", "min@example.com", "--database", database]) == 0
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", capsys.readouterr().out.splitlines()[-1])
