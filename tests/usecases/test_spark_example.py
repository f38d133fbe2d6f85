"""The example for Spark scores as the product does, wherever its batches are cut."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from backend.domain.calibration import calibrate, purchase_history
from backend.domain.frozen import Fitted
from backend.domain.history import HistoryColumns, OrderColumns, history_of
from backend.domain.purchase import alive_probability
from backend.domain.purchase_forecast import expected_purchases
from backend.domain.spend import expected_spend
from tests.papers.cdnow import orders as cdnow_orders

try:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from examples.spark.score_lake import HALF_YEAR_DAYS, SCORED, scorer
except ImportError as error:
    if os.environ.get("CI"):
        raise
    pytest.skip(f"not installed: {error.name}", allow_module_level=True)

ROOT = Path(__file__).parents[2]
TODAY = 10_407
PROSPECTS_N = 40


@pytest.fixture(scope="module")
def sample() -> tuple[HistoryColumns, dict[str, Any]]:
    """CDNOW with some who never bought, and what its models are fitted to."""
    customer, day, cents = cdnow_orders()
    nothing = np.zeros(customer.size, dtype=np.bool_)
    columns = OrderColumns(customer, day, cents, np.zeros_like(cents), nothing, nothing)
    customers_n = int(customer.max()) + 1 + PROSPECTS_N
    fitted = Fitted(calibrate(columns, customers_n=customers_n, as_of_day=TODAY, version="fit"), TODAY, customers_n)
    return history_of(columns, customers_n=customers_n, as_of_day=TODAY), {
        "history": fitted.document(),
        "calibration": fitted.calibration,
    }


def statistics(history: HistoryColumns) -> pa.Table:
    """As `selvedge lake rebuild` writes them."""
    n = len(history)
    left_out = np.zeros(n, dtype=np.bool_)
    left_out[3] = True
    return pa.table(
        {
            "customer_id": [f"c{row:05}" for row in range(n)],
            **{name: getattr(history, name) for name in ("orders_n", "first_day", "last_day", "revenue_minor")},
            "left_out": left_out,
            "as_of_day": np.full(n, TODAY),
        }
    )


def test_batches_are_scored_as_whole_columns_are(sample: tuple[HistoryColumns, dict[str, Any]]) -> None:
    history, fit = sample
    table = statistics(history)
    kept = history.has_orders.copy()
    kept[3] = False
    calibration = fit["calibration"]
    past = purchase_history(history, TODAY, kept)
    alive = alive_probability(calibration.purchase, past)
    orders = expected_purchases(calibration.purchase, past, (HALF_YEAR_DAYS,))[:, 0] * calibration.level
    mean = history.revenue_minor[kept] / history.orders_n[kept]
    spend = expected_spend(calibration.spend, mean, history.orders_n[kept])
    for rows_n in (7, 500, len(history)):
        batches = list(scorer(fit["history"])(table.to_batches(max_chunksize=rows_n)))
        assert len(batches) == -(-len(history) // rows_n)
        found = pa.Table.from_batches(batches, SCORED)
        assert found["customer_id"].to_pylist() == [f"c{row:05}" for row in np.flatnonzero(kept).tolist()]
        for name, column in (("alive", alive), ("orders", orders), ("spend_minor", spend)):
            np.testing.assert_allclose(found[name].to_numpy(), column, rtol=1e-12, err_msg=name)
    assert list(scorer(fit["history"])([])) == []
    [empty] = scorer(fit["history"])(table.slice(len(history) - PROSPECTS_N).to_batches())
    assert (empty.num_rows, empty.schema) == (0, SCORED)


def test_spark_itself_gives_the_same(sample: tuple[HistoryColumns, dict[str, Any]], tmp_path: Path) -> None:
    """Where PySpark and a Java are; they are no part of anybody's installation, so their want is no failure."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("not installed: pyspark")
    history, fit = sample
    pq.write_table(statistics(history), tmp_path / "statistics.parquet")
    (tmp_path / "fit.json").write_bytes(orjson.dumps(fit["history"]))
    where = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path)), "SPARK_LOCAL_IP": "127.0.0.1",
             "PYSPARK_PYTHON": sys.executable}  # fmt: skip
    subprocess.run(
        [sys.executable, "examples/spark/score_lake.py", str(tmp_path), str(tmp_path / "scored")],
        cwd=ROOT, env=where, check=True, timeout=240,
    )  # fmt: skip
    [whole] = scorer(fit["history"])(statistics(history).combine_chunks().to_batches())
    found = pq.read_table(tmp_path / "scored").sort_by("customer_id")
    assert found["customer_id"].to_pylist() == whole["customer_id"].to_pylist()
    for name in SCORED.names[1:]:
        np.testing.assert_allclose(found[name].to_numpy(), whole[name].to_numpy(), rtol=1e-12, err_msg=name)
