"""`selvedge import orders`: history from a file to orders, told row by row, and taken back."""

import csv
import re
import sqlite3
from pathlib import Path

import pytest

from backend.cli.main import run

HISTORY = """customer_code,order_date,units,net_amount_usd
C1,1997-01-01,2,29.33
C1,1997-01-18,-2,29.73
C2,1997-01-02,1,0
C2,1997-01-02,1,=5
,1997-01-02,1,5
"""
OPTIONS = ("--system", "cdnow", "--currency", "USD", "--kind", "CONSUMER")
MAP = ("--map", "customerCode=customer_code", "--map", "netAmount=net_amount_usd")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("company") / "demo.sqlite3"
    assert run(["demo", "--profile", "tiny", "--as-of", "2026-11-22", "--database", f"sqlite://{path}"]) == 0
    return path


class Importing:
    """Runs the verb on a copy of the demo company of the test's own."""

    def __init__(self, company: Path, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.path = folder / "copy.sqlite3"
        with sqlite3.connect(company) as original, sqlite3.connect(self.path) as copy:
            original.backup(copy)
        original.close()
        copy.close()
        self.file = folder / "history.csv"
        self.file.write_text(HISTORY, "utf-8")
        self._capture = capture

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capture.readouterr()
        status = run(["import", "orders", *arguments, "--database", f"sqlite://{self.path}"])
        told = self._capture.readouterr()
        return status, told.out, told.err

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.path) as conn:
            rows = conn.execute(sql).fetchall()
        conn.close()
        return rows

    @property
    def imported(self) -> int:
        [(count,)] = self.fetch("SELECT count(*) FROM sales_order WHERE source = 'IMPORT'")
        assert isinstance(count, int)
        return count

    @property
    def batches(self) -> int:
        return len(self.fetch("SELECT id FROM import_batch WHERE kind = 'orders'"))


@pytest.fixture
def importing(company: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Importing:
    return Importing(company, tmp_path, capsys)


def counted(said: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"^ *((?:[a-z]+ )*[a-z]+) +(\d+) *$", said, re.MULTILINE)}


def test_a_history_is_imported_once_and_every_row_accounted_for(importing: Importing) -> None:
    already = importing.imported
    status, said, _ = importing(str(importing.file), *OPTIONS, *MAP)
    assert status == 0
    wanted = {"rows": 5, "orders created": 2, "customers created": 2, "rows unchanged": 0, "rows not taken": 3}
    assert counted(said) == wanted
    assert re.search(r"^row 3: Pieces is outside the possible range\.", said, re.MULTILINE)
    assert importing.imported == already + 2
    status, said, _ = importing(str(importing.file), *OPTIONS, *MAP)
    assert (status, counted(said), importing.imported) == (0, wanted, already + 2)
    assert "this content was imported before" in said


def test_a_dry_run_writes_nothing(importing: Importing) -> None:
    already = importing.imported
    status, said, _ = importing(str(importing.file), *OPTIONS, "--dry-run")
    assert (status, counted(said)["orders created"]) == (0, 2)
    assert "nothing was written" in said
    assert (importing.imported, importing.batches) == (already, 0)


def test_failed_rows_come_with_reasons_and_can_be_mended_and_sent_alone(importing: Importing) -> None:
    already = importing.imported
    failed = importing.folder / "failed.csv"
    importing(str(importing.file), *OPTIONS, "--failed-rows", str(failed))
    header, *rows = csv.reader(failed.read_text("utf-8").splitlines())
    assert header == [
        "customer_code", "order_date", "units", "net_amount_usd", "selvedge_order_id", "selvedge_row",
        "selvedge_codes", "selvedge_reasons",
    ]  # fmt: skip
    assert [row[:7] for row in rows] == [
        ["C1", "1997-01-18", "'-2", "29.73", "C1/1997-01-18/1", "3", "OUT_OF_RANGE"],
        ["C2", "1997-01-02", "1", "'=5", "C2/1997-01-02/2", "5", "INVALID_VALUE"],
        ["", "1997-01-02", "1", "5", "", "6", "REQUIRED"],
    ]
    mended = failed.read_text("utf-8").replace("'-2", "2").replace("'=5", "0")
    failed.write_text(mended, "utf-8")
    again = importing.folder / "again.csv"
    status, said, _ = importing(str(failed), *OPTIONS, "--failed-rows", str(again))
    assert status == 0
    # the second order of that day is not taken for the first, though all its cells are the same
    assert (counted(said)["orders created"], counted(said)["rows unchanged"]) == (2, 0)
    assert importing.imported == already + 4
    assert csv.reader(again.read_text("utf-8").splitlines()).__next__() == header


def test_an_import_is_taken_back_by_its_batch(importing: Importing) -> None:
    already = importing.imported
    _, said, _ = importing(str(importing.file), *OPTIONS)
    batch = re.search(r"batch ([0-9a-f-]{36})", said)
    assert batch is not None
    status, said, _ = importing("--undo", batch[1])
    assert (status, counted(said)) == (0, {"orders deleted": 2, "customers deleted": 2, "records kept": 0})
    assert importing.imported == already
    assert importing("--undo", "none")[0] == 1


def test_what_cannot_be_begun_is_told_and_ends_with_status_1(importing: Importing) -> None:
    before = importing.fetch("SELECT seq FROM sync_clock")
    status, _, complained = importing(str(importing.file), "--system", "cdnow", "--map", "units=pieces")
    assert status == 1
    assert "UNKNOWN_COLUMN map.units: Column mapping › Pieces: the file has no such column." in complained
    assert "REQUIRED currency: Currency is missing." in complained
    importing.file.write_bytes(b"k,d\nZo\xeb,1\n")
    status, _, complained = importing(str(importing.file), *OPTIONS)
    told = "NOT_UTF8 content.rows.1: File › row 2: this is not UTF-8 text."
    assert (status, complained.startswith(told)) == (1, True)
    importing.file.write_bytes(b"")
    assert importing(str(importing.file), *OPTIONS)[0] == 1
    assert importing(str(importing.file), *OPTIONS, "--as", "nobody@haizhi.example")[0] == 1
    assert (importing.fetch("SELECT seq FROM sync_clock"), importing.batches) == (before, 0)


def test_who_imports_may_be_named_and_needs_the_right(importing: Importing) -> None:
    status, _, complained = importing(str(importing.file), *OPTIONS, "--as", "wang.wei@haizhi.example")
    assert (status, complained.partition(" ")[0]) == (1, "NOT_PERMITTED")
    assert importing(str(importing.file), *OPTIONS, "--as", "he.jianguo@haizhi.example")[0] == 0
    by = "SELECT u.email FROM import_batch b JOIN user_account u ON b.started_by = 'staff:' || u.id"
    assert importing.fetch(f"{by} WHERE b.kind = 'orders'") == [("he.jianguo@haizhi.example",)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("FILE", "--map", "units"), "--map: 'units'; wanted: TARGET=COLUMN"),
        (("FILE", "--map", "units=a", "--map", "units=b"), "--map: 'units=b'; wanted: TARGET=COLUMN"),
        ((), "FILE, --undo: wanted"),
        (("FILE", "--undo", "x"), "FILE, --undo: wanted"),
    ],
)
def test_a_wrong_option_is_named_with_the_form_it_wants(
    importing: Importing, arguments: tuple[str, ...], named: str
) -> None:
    given = [str(importing.file) if argument == "FILE" else argument for argument in arguments]
    status, _, complained = importing(*given)
    assert (status, named in complained) == (2, True)
