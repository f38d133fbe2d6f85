"""Score a lake of any size: the product's own pure functions, run by Spark over its Parquet.

    selvedge lake export /lake/2026-11-22 && selvedge lake rebuild /lake/2026-11-22
    pip install pyspark pyarrow        # and a Java; they are no part of the product's installation
    spark-submit examples/spark/score_lake.py /lake/2026-11-22 /lake/2026-11-22-scored

Spark moves batches of statistics; each is scored by whole columns, as the nightly run does it, with the fit that the
last run left in the lake (`fit.json`). A customer's score hangs on no other customer's, so it does not matter where
Spark cuts its batches. Executors need the package `selvedge`.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from backend.domain.frozen import fitted_of
from backend.domain.purchase import PurchaseHistory, alive_probability
from backend.domain.purchase_forecast import expected_purchases
from backend.domain.spend import expected_spend

HALF_YEAR_DAYS = 182
SCORED = pa.schema(
    [("customer_id", pa.string()), ("alive", pa.float64()), ("orders", pa.float64()), ("spend_minor", pa.float64())]
)
SCORED_DDL = "customer_id string, alive double, orders double, spend_minor double"
Mapper = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def scorer(fit: Mapping[str, Any], horizon_days: int = HALF_YEAR_DAYS) -> Mapper:
    """What `mapInArrow` takes. `fit`: the document of `fit.json`.

    Gives each customer who ever bought and whose currencies all had rates: the probability of being a customer still,
    orders expected within the horizon, and what one of them is expected to be worth.
    """

    def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        calibration = fitted_of(fit).calibration
        for batch in batches:
            orders_n, left_out = _numbers(batch, "orders_n"), batch["left_out"].to_numpy(zero_copy_only=False)
            kept = (orders_n > 0) & ~left_out
            count, first, today = (
                column[kept] for column in (orders_n, _numbers(batch, "first_day"), _numbers(batch, "as_of_day"))
            )
            past = PurchaseHistory(count - 1, _numbers(batch, "last_day")[kept] - first, today - first)
            alive = alive_probability(calibration.purchase, past)
            orders = expected_purchases(calibration.purchase, past, (horizon_days,))[:, 0] * calibration.level
            spend = expected_spend(calibration.spend, _numbers(batch, "revenue_minor")[kept] / count, count)
            ids = batch["customer_id"].filter(pa.array(kept))
            yield pa.record_batch([ids.cast(pa.string()), pa.array(alive), pa.array(orders), pa.array(spend)], SCORED)

    return score


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.asarray(batch[name].to_numpy(zero_copy_only=False), dtype=np.int64)


def main() -> None:
    """Score what stands in a lake, and write it beside."""
    arguments = argparse.ArgumentParser(description="Score a lake with Spark.")
    arguments.add_argument("lake", type=Path, help="a folder after `selvedge lake rebuild`")
    arguments.add_argument("out", type=Path, help="where the scores go, as Parquet; must not exist")
    given = arguments.parse_args()
    from pyspark.sql import SparkSession  # not installed with the product, and not needed to read this file

    fit = orjson.loads((given.lake / "fit.json").read_bytes())
    spark = SparkSession.builder.appName("selvedge-lake").getOrCreate()
    statistics = spark.read.parquet(str(given.lake / "statistics.parquet"))
    statistics.mapInArrow(scorer(fit), SCORED_DDL).write.parquet(str(given.out))
    spark.stop()


if __name__ == "__main__":
    main()
