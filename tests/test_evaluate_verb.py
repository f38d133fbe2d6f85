"""`selvedge evaluate`: a known sample with its gates, a file of orders, and this organisation's own records."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from backend.storage.engine import open_engine
from tests import factories, histories
from tests.databases import fresh_sqlite
from tests.papers.order_file import write_order_file
from tests.test_cli import CommandLine, selvedge

__all__ = ["selvedge"]
pytestmark = pytest.mark.requirement("R28", "R30")

QUICK = ("--replicates", "40")


def test_the_sample_meets_its_gates_and_says_where_rfm_is_as_good(selvedge: CommandLine) -> None:
    done = selvedge("evaluate", "--sample", "cdnow", *QUICK)
    assert done.status == 0, done.complained
    assert done.said.count(": met") == 2
    assert "RFM is as good as blend of ranks" in done.said
    assert "Overdue for a visit: no data" in done.said
    assert "Only orders were known" in done.said


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("orders") / "cdnow.csv"
    write_order_file(path)
    return path


def test_a_file_of_orders_is_judged_as_the_sample_it_is(selvedge: CommandLine, orders: Path) -> None:
    cut = ("--cut", "1997-09-30", "--holdout-days", "273", "--json")
    done = selvedge("evaluate", "--orders", str(orders), "--amount", "net_amount_usd", *cut, *QUICK)
    assert done.status == 0, done.complained
    found = json.loads(done.said)
    sample = json.loads(selvedge("evaluate", "--sample", "cdnow", "--json", *QUICK).said)
    assert [gate["met"] for gate in sample["gates"]] == [True, True]
    assert found["gates"] == [], "a file is no known sample"
    assert found["cuts"] == sample["cuts"]
    several = selvedge("evaluate", "--orders", str(orders), "--amount", "net_amount_usd", "--json", *QUICK)
    days = [one["day"] for one in json.loads(several.said)["cuts"]]
    assert days == ["1997-12-30", "1997-07-01"], "182 days apart, and nobody had bought by the third"


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--cut", "yesterday"), 2, "--cut"),
        (("--customer", "who"), 2, "--customer"),
        (("--sample", "cdnow"), 2, "--sample"),
        (("--cut", "1998-06-01"), 1, "IN_THE_FUTURE"),
        (("--cut", "1996-01-01"), 1, "OUT_OF_RANGE"),
        (("--holdout-days", "3"), 1, "OUT_OF_RANGE"),
        (("--amount", "order_date"), 1, "INVALID_VALUE"),
    ],
)
def test_what_cannot_be_judged_is_named(
    options: tuple[str, ...], status: int, told: str, selvedge: CommandLine, orders: Path
) -> None:
    given = () if "--amount" in options else ("--amount", "net_amount_usd")
    done = selvedge("evaluate", "--orders", str(orders), *given, *options)
    assert (done.status, told in done.complained) == (status, True), done.complained
    assert selvedge("evaluate", "--sample", "other").status == 2


def test_this_organisations_own_records_are_judged_and_the_run_is_kept(
    selvedge: CommandLine, sqlite_template: Path, tmp_path: Path
) -> None:
    url = fresh_sqlite(sqlite_template, tmp_path)

    async def fill() -> None:
        engine = open_engine(url)
        await engine.start()
        async with engine.write() as conn:
            patch = await factories.territory(conn, "/us")
        await histories.cdnow(engine, patch)
        await engine.close()

    asyncio.run(fill())
    cut = ("--cut", "1997-09-30", "--holdout-days", "273")
    done = selvedge("evaluate", *cut, "--json", "--database", url, *QUICK)
    assert done.status == 0, done.complained
    found = json.loads(done.said)
    sample = json.loads(selvedge("evaluate", "--sample", "cdnow", "--json", *QUICK).said)
    ginis = [{one["ranking"]: one["gini"] for one in kept["cuts"][0]["rankings"]} for kept in (found, sample)]
    for name in ("VALUE", "RFM", "RECENCY", "LAST_PERIOD"):
        assert ginis[0][name] == pytest.approx(ginis[1][name], abs=1e-6), "the same orders give the same ranking"
    with sqlite3.connect(url.removeprefix("sqlite://")) as conn:
        [(run_id, state, by)] = conn.execute("SELECT id, state, started_by FROM priority_evaluation").fetchall()
    assert (run_id, state, by) == (found["id"], "FINISHED", "service:operator")
