"""Scoring and the doctor from the command line."""

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest

from backend.integrations import lake as lakes
from backend.storage.engine import open_engine
from tests import factories, histories
from tests.databases import fresh_sqlite
from tests.papers.cdnow import orders as cdnow_orders
from tests.test_cli import CommandLine, selvedge

__all__ = ["selvedge"]


@pytest.fixture(scope="module")
def filled(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file with the CDNOW sample, in territory `/us`."""
    url = fresh_sqlite(sqlite_template, tmp_path_factory.mktemp("cdnow"))

    async def fill() -> None:
        engine = open_engine(url)
        await engine.start()
        async with engine.write() as conn:
            patch = await factories.territory(conn, "/us")
        await histories.cdnow(engine, patch)
        await engine.close()

    asyncio.run(fill())
    return Path(url.removeprefix("sqlite://"))


@pytest.fixture
def database(filled: Path, tmp_path: Path) -> str:
    """A copy of it."""
    path = tmp_path / "cdnow.sqlite3"
    with sqlite3.connect(filled) as original, sqlite3.connect(path) as copy:
        original.backup(copy)
    return f"sqlite://{path}"


def row(said: str, name: str) -> str:
    found = re.search(rf"^ *{name}  +(.*?) *$", said, re.MULTILINE)
    assert found is not None, said
    return found.group(1)


def test_score_says_what_it_did_and_whom_to_visit_first_and_why(selvedge: CommandLine, database: str) -> None:
    done = selvedge("score", "--as-of", "1998-06-30", "--database", database)
    assert done.status == 0, done.complained
    assert row(done.said, "purchase model") == "Fitted to the data"
    assert 0.8 <= float(row(done.said, "level factor")) <= 1.25
    assert (row(done.said, "customers"), row(done.said, "changed")) == ("2,357", "2,357")
    assert row(done.said, "tables") == "1998Q2-1"
    assert "visit first on 1998-06-30, of 2,357:" in done.said
    top = re.findall(r"^ +(\d)  +(\d+)  Buyer \d+  [0-9a-f-]{36}$", done.said, re.MULTILINE)
    assert [place for place, _ in top] == ["1", "2", "3", "4", "5"]
    for part, (_, score) in zip(
        re.split(r"^ +\d  +\d+  Buyer.*$", done.said, flags=re.MULTILINE)[1:], top, strict=True
    ):
        points = [int(found) for found in re.findall(r"^ +([+-]\d+)  \S", part, re.MULTILINE)]
        assert sum(points) == int(score)
    assert "Expected to bring $" in done.said
    again = selvedge("score", "--as-of", "1998-06-30", "--database", database, "--locale", "zh-CN")
    assert row(again.said, "changed") == "0"
    assert "预计未来两个季度带来" in again.said


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--as-of", "yesterday"), 2, "--as-of"),
        (("--as-of", "2199-01-01"), 1, "IN_THE_FUTURE"),
        (("--territory", "/nowhere"), 1, "NOT_FOUND"),
    ],
)
def test_score_names_what_it_cannot_do(
    options: tuple[str, ...], status: int, told: str, selvedge: CommandLine, database: str
) -> None:
    done = selvedge("score", *options, "--database", database)
    assert (done.status, told in done.complained) == (status, True), done.complained


def test_score_takes_a_territory_by_its_path_and_says_why_a_list_is_empty(
    selvedge: CommandLine, tmp_path: Path, database: str
) -> None:
    scored = selvedge("score", "--as-of", "1998-06-30", "--territory", "/us", "--database", database)
    assert row(scored.said, "customers") == "2,357"
    empty = f"sqlite://{tmp_path / 'empty.sqlite3'}"
    assert "There is no customer here yet." in selvedge("score", "--database", empty).said


def test_doctor_shows_how_the_database_stands(selvedge: CommandLine, tmp_path: Path, database: str) -> None:
    loaded = selvedge("doctor", "--database", database)
    assert (loaded.status, "do not account for all orders" in row(loaded.said, "statistics")) == (1, True)
    selvedge("score", "--as-of", "1998-06-30", "--rebuild", "--database", database)
    done = selvedge("doctor", "--database", database)
    assert done.status == 0, done.complained
    assert "up to date" in row(done.said, "migrations")
    assert "epoch 1, step" in row(done.said, "clock")
    assert row(done.said, "score run") == "1998-06-30 FINISHED, 2,357 scored, 2,357 changed"
    assert row(done.said, "statistics") == "as the orders say, of 1,000 customers looked at"
    assert row(done.said, "scores").split() == ["2,357", "2,357", "0"]
    assert row(done.said, "Order.ageDays") == "is reckoned from a day that is given"
    absent = selvedge("doctor", "--database", f"sqlite://{tmp_path / 'absent.sqlite3'}")
    assert absent.status == 2
    assert not (tmp_path / "absent.sqlite3").exists(), "looking makes no database"
    sqlite3.connect(tmp_path / "bare.sqlite3").close()
    bare = selvedge("doctor", "--database", f"sqlite://{tmp_path / 'bare.sqlite3'}")
    assert (bare.status, "0001_first" in bare.said) == (2, True)
    assert "selvedge migrate" in bare.complained


def test_orders_go_into_a_lake_and_are_counted_there(selvedge: CommandLine, tmp_path: Path, database: str) -> None:
    if lakes.duckdb is None:
        pytest.skip("the extra `lake` is not installed")
    folder = str(tmp_path / "lake")
    purchases_n = len({one for one in zip(*cdnow_orders(), strict=True) if one[2]})
    done = selvedge("lake", "export", folder, "--database", database)
    assert (done.status, row(done.said, "orders"), row(done.said, "customers")) == (0, "6,919", "2,357"), (
        done.complained
    )
    made = selvedge("lake", "rebuild", folder, "--as-of", "1998-06-30", "--compare", "--database", database)
    assert (made.status, row(made.said, "purchases")) == (1, f"{purchases_n:,}"), made.complained
    assert row(made.said, "compared") == f"{purchases_n:,} rows differ", "loaded into the tables, not counted"
    for arguments, told in (
        (("export", folder), "is there already"),
        (("rebuild", str(tmp_path)), "selvedge lake export"),
        (("rebuild", folder, "--as-of", "soon"), "--as-of"),
    ):
        wrong = selvedge("lake", *arguments, "--database", database)
        assert (wrong.status, told in wrong.complained) == (2, True), wrong.complained


def test_doctor_feed_finds_drift_and_mends_it(selvedge: CommandLine, tmp_path: Path, database: str) -> None:
    selvedge("score", "--as-of", "1998-06-30", "--database", database)
    # history put straight into the tables was never told to anybody
    found = selvedge("doctor", "feed", "--database", database)
    assert found.status == 1
    assert re.search(r"customers +MISSING +2,357", found.said), found.said
    assert re.search(r"orders +MISSING +6,919", found.said)
    assert "scores" not in found.said
    mended = selvedge("doctor", "feed", "--repair", "--database", database)
    assert (mended.status, "looking again" in mended.said) == (0, True), mended.said
    assert mended.said.rstrip().endswith(" 0 drifted")
    raw = sqlite3.connect(tmp_path / "cdnow.sqlite3")
    with raw:
        raw.execute("UPDATE customer SET name_en = 'Renamed behind' WHERE name_en = 'Buyer 7'")
    raw.close()
    found = selvedge("doctor", "feed", "--database", database)
    assert (found.status, bool(re.search(r"customers +DOCUMENT +1$", found.said, re.MULTILINE))) == (1, True)
    assert selvedge("doctor", "feed", "--repair", "--database", database).status == 0
    assert selvedge("doctor", "feed", "--database", database).status == 0


def test_doctor_repairs_only_what_it_was_asked_to_look_at(selvedge: CommandLine, database: str) -> None:
    for arguments in (("--repair",), ("everything",)):
        done = selvedge("doctor", *arguments, "--database", database)
        assert (done.status, "wanted" in done.complained) == (2, True)
