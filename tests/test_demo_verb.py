"""`selvedge demo`: one command from an empty database to somebody who can sign in."""

from pathlib import Path

import pytest

from backend.cli.main import run

DAY = "2026-11-22"


@pytest.fixture
def empty(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path / 'new.sqlite3'}"


def test_it_builds_the_company_once_and_shows_who_can_sign_in(empty: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--profile", "tiny", "--as-of", DAY, "--database", empty]) == 0
    said = capsys.readouterr().out
    assert f"profile tiny, seed 20261122, as of {DAY}" in said
    assert "wang.wei@haizhi.example" in said
    assert run(["demo", "--profile", "tiny", "--as-of", DAY, "--database", empty]) == 1
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [("--profile", "huge", "one of tiny, demo, load"), ("--as-of", "2026-13-01", "a day as YYYY-MM-DD")],
)
def test_a_wrong_option_is_named_with_the_form_it_wants(
    empty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, wanted: str
) -> None:
    assert run(["demo", option, value, "--database", empty]) == 2
    assert f"{option}: '{value}'; wanted: {wanted}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
