"""Orders as Parquet, and statistics made of it by another engine: the same digits."""

import os
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
import pytest

from backend.config import Settings
from backend.domain.history import HistoryColumns, history_of
from backend.domain.times import add_days, day_number
from backend.errors import BadSetting
from backend.ids import new_id
from backend.integrations import lake as lakes
from backend.integrations.lake import Lake, compare_purchases, export_lake, open_lake, rebuild_statistics
from backend.storage.statistics import crowd_of, read_heads, read_orders, sales_of
from backend.usecases.insights import run_scores
from tests import factories, histories
from tests.house import House

TODAY = "2026-11-22"
SAME = ("orders_n", "first_day", "last_day", "revenue_minor", "quarter_revenue_minor", "quarter_orders_n")


@pytest.fixture(autouse=True)
def _extra() -> None:
    """Where the extra is missing the tests are skipped with the reason; in CI that is a failure."""
    if lakes.duckdb is None:
        reason = "the extra `lake` is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


async def traded(house: House, seed: int, orders_n: int = 500) -> list[str]:
    """Shops with random orders in five currencies, some without a rate on their day, some samples, some not counted."""
    dice = Random(seed)
    async with house.engine.write() as conn:
        ids = await histories.customers(conn, 30, territory_id=house.patches["north"])
        for currency, day, rate_e9 in (
            ("USD", "2023-01-01", 7_100_000_001), ("USD", "2026-06-01", 6_999_999_999),
            ("KRW", "2023-01-01", 5_153_333), ("KWD", "2026-01-01", 23_456_789_012), ("EUR", "2020-01-01", 500_000_000),
        ):  # fmt: skip
            await factories.insert(
                conn, "exchange_rate", id=new_id(), currency=currency, valid_from=day, rate_e9=rate_e9
            )
        for currency in ("CNY", "USD", "KRW", "KWD", "EUR"):
            for state in ("CLOSED", "CLOSED", "SUBMITTED", "CANCELLED", "DRAFT"):
                rows = [
                    (dice.choice(ids[:-3]), add_days(TODAY, -int(1_300 * dice.random() ** 2)),
                     dice.choice([0, 1, -250, 49_999, dice.randint(1, 10**7)]))
                    for _ in range(orders_n // 25)
                ]  # fmt: skip
                await histories.orders(conn, rows, currency=currency, state=state)
    return ids


async def exported(house: House, folder: Path, **options: Any) -> Lake:
    return await export_lake(house.engine, folder, as_of=TODAY, currency="CNY", **options)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "sqlite3" not in path.name)


def read(folder: Path) -> dict[str, np.ndarray]:
    found = lakes.duckdb.sql(f"SELECT * FROM read_parquet('{folder / lakes.STATISTICS}')").fetchnumpy()
    return {
        name: np.array(column.tolist()) if name.startswith("quarter") else np.asarray(column)
        for name, column in found.items()
    }


async def own(house: House, day: str) -> tuple[tuple[str, ...], HistoryColumns, np.ndarray]:
    """As the product counts them."""
    async with house.engine.read() as conn:
        crowd = await crowd_of(conn, day)
        ids = (await read_heads(conn, crowd)).ids
        sales = sales_of(await read_orders(conn, crowd), customers_n=len(ids), currency="CNY")
    return ids, history_of(sales.orders, customers_n=len(ids), as_of_day=day_number(day)), sales.left_out


@pytest.mark.parametrize("seed", [1, 2])
async def test_duckdb_makes_the_same_statistics_of_parquet_to_the_digit(
    house: House, tmp_path: Path, seed: int
) -> None:
    await traded(house, seed)
    told: list[tuple[str, int, int]] = []
    lake = await exported(house, tmp_path / "lake", rows_per_file=200, progress=lambda *step: told.append(step))
    assert told == [("orders", 200, 500), ("orders", 400, 500), ("orders", 500, 500)]
    assert len(names_in(lake.folder / "orders")) == 3
    for day in (TODAY, add_days(TODAY, -500)):
        made = rebuild_statistics(lake, as_of=day)
        ids, history, left_out = await own(house, day)
        found = read(lake.folder)
        assert found["customer_id"].tolist() == list(ids)
        for name in SAME:
            np.testing.assert_array_equal(found[name], getattr(history, name), err_msg=name)
        np.testing.assert_array_equal(found["left_out"], left_out)
        assert (made.customers_n, made.left_out_n) == (30, int(left_out.sum()))
        assert 0 < made.left_out_n < 30
        assert set(found["as_of_day"].tolist()) == {day_number(day)}


async def test_what_the_database_keeps_is_compared_with_what_the_lake_says(house: House, tmp_path: Path) -> None:
    ids = await traded(house, 3)
    await run_scores(
        house.engine, house.people["analyst"], settings=Settings(reporting_currency="CNY"), clock=lambda: house.now_ms
    )
    lake = await exported(house, tmp_path / "lake")
    rebuild_statistics(lake)
    assert await compare_purchases(house.engine, lake) == (0, False)
    async with house.engine.write() as conn:
        await conn.execute("UPDATE purchase SET orders_n = orders_n + 1 WHERE customer_id = ?", ids[0])
        [(rows_n,)] = await conn.fetch("SELECT COUNT(*) FROM purchase WHERE customer_id = ?", ids[0])
    assert rows_n > 0
    assert await compare_purchases(house.engine, lake) == (2 * rows_n, False)
    assert orjson.loads((lake.folder / "fit.json").read_bytes())["purchase"]["model"] == "MBG_NBD"


async def test_an_empty_company_is_a_lake_too(house: House, tmp_path: Path) -> None:
    lake = await exported(house, tmp_path / "lake")
    made = rebuild_statistics(lake)
    assert (lake.orders_n, made.purchases_n, made.customers_n, made.left_out_n) == (0, 0, 0, 0)
    assert await compare_purchases(house.engine, lake) == (0, False)


async def test_a_lake_names_what_is_wrong_with_its_folder(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = await exported(house, tmp_path / "lake")
    with pytest.raises(BadSetting, match="is there already"):
        await exported(house, lake.folder)
    with pytest.raises(BadSetting, match="selvedge lake export"):
        open_lake(tmp_path)
    with pytest.raises(BadSetting, match="can be made"):
        await exported(house, lake.folder / "manifest.json" / "below")
    for wrong in (b"{", b'{"format": 2}', b'{"format": 1, "asOf": "soon"}', b"[]"):
        (lake.folder / "manifest.json").write_bytes(wrong)
        with pytest.raises(BadSetting, match="wanted: a folder"):
            open_lake(lake.folder)
    (lake.folder / "orders" / names_in(lake.folder / "orders")[0]).write_bytes(b"no parquet at all")
    with pytest.raises(BadSetting, match="lake"):
        rebuild_statistics(lake)
    monkeypatch.setattr(lakes, "duckdb", None)
    with pytest.raises(BadSetting, match=r"selvedge\[lake\]"):
        await exported(house, tmp_path / "other")


async def test_an_export_that_was_cut_short_leaves_no_folder_and_is_begun_again(house: House, tmp_path: Path) -> None:
    await traded(house, 4, orders_n=50)

    def cut(_what: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await exported(house, tmp_path / "lake", progress=cut)
    assert names_in(tmp_path) == ["lake.part"]
    assert (await exported(house, tmp_path / "lake")).orders_n == 50
    assert names_in(tmp_path) == ["lake"]
