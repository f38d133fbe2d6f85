"""The command line as a process: what it prints, what it writes, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from typer.main import get_command

from backend.cli.contract import CONTRACT, errors_text
from backend.cli.main import app, run
from backend.errors import Code
from tests.databases import free_port

VERBS = sorted(get_command(app).commands)


@dataclass(frozen=True)
class Done:
    status: int
    said: str
    complained: str


class CommandLine:
    """Runs command lines in a folder of the test's own, with no settings but those given."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._patch = patch
        self._capture = capture

    def __call__(self, *arguments: str, **settings: str) -> Done:
        with self._patch.context() as patch:
            patch.chdir(self.folder)
            for name in [name for name in os.environ if name.startswith("SELVEDGE_")]:
                patch.delenv(name)
            for name, value in settings.items():
                patch.setenv(f"SELVEDGE_{name.upper()}", value)
            status = run(arguments)
        captured = self._capture.readouterr()
        return Done(status, captured.out, captured.err)


@pytest.fixture
def selvedge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)


def _environment(settings: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SELVEDGE_")}
    named = {f"SELVEDGE_{name.upper()}": value for name, value in settings.items()}
    return kept | named | {"PYTHONPATH": str(Path(__file__).parent.parent), "NO_COLOR": "1", "COLUMNS": "100"}


@contextmanager
def serving(folder: Path, port: int, **settings: str) -> Iterator[subprocess.Popen[str]]:
    server = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "backend", "serve", "--port", str(port)],
        cwd=folder,
        env=_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield server
    finally:
        if server.poll() is None:
            server.kill()
        server.communicate()


def until_live(address: str, server: subprocess.Popen[str]) -> None:
    for _ in range(600):
        assert server.poll() is None, server.communicate()
        try:
            if httpx.get(f"{address}/live").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server never came up")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_an_example(verb: str, selvedge: CommandLine) -> None:
    done = selvedge(verb, "--help")
    assert done.status == 0, done.complained
    assert f"Example: selvedge {verb}" in done.said


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("port", "many"),
        ("port", "70000"),
        ("database_url", "mysql://root@localhost/x"),
        ("database_url", "postgres://selvedge@127.0.0.1:1/x"),
        ("database_url", "sqlite:///proc/nowhere/x.sqlite3"),
        ("log_level", "LOUD"),
        ("reporting_currency", "dollars"),
        ("reporting_currency", "XXQ"),
        ("organisation_timezone", "Mars/X"),
    ],
)
def test_a_wrong_setting_stops_the_start_naming_itself_and_the_form_wanted(
    setting: str, value: str, selvedge: CommandLine
) -> None:
    done = selvedge("migrate", **{setting: value})
    assert done.status == 2
    assert f"SELVEDGE_{setting.upper()}: " in done.complained
    assert "wanted: " in done.complained
    assert "Traceback" not in done.complained


def test_several_wrong_settings_are_named_at_once(selvedge: CommandLine) -> None:
    done = selvedge("migrate", port="0", log_level="x")
    assert done.complained.count("wanted: ") == 2


def test_migrations_are_applied_once(selvedge: CommandLine) -> None:
    first = selvedge("migrate")
    assert first.said.splitlines()[0] == "applied selvedge.0001_first"
    assert (selvedge.folder / "var" / "selvedge.sqlite3").exists()
    assert selvedge("migrate").said == "nothing to apply\n"


def test_a_served_database_answers_until_it_is_told_to_stop(tmp_path: Path, selvedge: CommandLine) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with serving(tmp_path, port, log_level="WARNING") as server:
        until_live(address, server)
        assert httpx.get(f"{address}/ready").status_code == 200
        answer = httpx.post(f"{address}/graphql", json={"query": "{ __typename }"})
        assert answer.json() == {"data": {"__typename": "Query"}}
        again = selvedge("serve", "--port", str(port))
        assert again.status == 2
        assert "SELVEDGE_PORT" in again.complained
        server.send_signal(signal.SIGTERM)
        said, complained = server.communicate(timeout=30)
    assert server.returncode == -signal.SIGTERM
    assert f"{address}/graphql" in said
    assert f"curl -s {address}/graphql" in said
    assert complained == ""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_does_not_start_says_why_and_tells_no_secret(
    tmp_path: Path, selvedge: CommandLine, workers: str
) -> None:
    first, other = "a1" * 32, "b2" * 32
    assert selvedge("migrate").status == 0
    assert selvedge("keys", "rotate", root_secret=first).status == 0
    with serving(tmp_path, free_port(), root_secret=other, workers=workers) as server:
        _, complained = server.communicate(timeout=60)
    assert server.returncode == 2
    reasons = [line for line in complained.splitlines() if "sealed under another root secret" in line]
    [logged] = [json.loads(line) for line in reasons if line.startswith("{")][:1]
    assert logged["level"] == "critical"
    assert logged["event"].startswith("the server does not start: SELVEDGE_ROOT_SECRET: ")
    assert any(line.startswith("setting SELVEDGE_ROOT_SECRET: ") for line in reasons)
    assert first not in complained
    assert other not in complained


def test_the_contract_is_written_and_checked(selvedge: CommandLine) -> None:
    folder = selvedge.folder / "contract"
    assert selvedge("contract", "--check", "--folder", str(folder)).status == 1
    assert not folder.exists()
    assert selvedge("contract", "--folder", str(folder)).status == 0
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == set(CONTRACT)
    assert selvedge("contract", "--check", "--folder", str(folder)).status == 0
    schema = folder / "schema.graphql"
    schema.write_text(schema.read_text().replace("type Query", "type Question"))
    drifted = selvedge("contract", "--check", "--folder", str(folder))
    assert drifted.status == 1
    assert "-type Question" in drifted.complained
    assert "+type Query" in drifted.complained
    assert "type Question" in schema.read_text()


def test_every_code_stands_in_the_table() -> None:
    rows = [line for line in errors_text().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [code.value for code in Code]
