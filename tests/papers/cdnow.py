"""The CDNOW sample as the `lifetimes` package ships it, read as files: importing it raises warnings.

Its summary prints weeks with two decimals; the data themselves are whole days, so t_x and T are restored to
days. Published parameters with seven digits were fitted on the exact weeks (days / 7), not on rounded ones.
"""

import csv
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

from backend.domain.arrays import FloatArray
from backend.domain.purchase import PurchaseHistory


def data_folder() -> Path:
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets"


@cache
def calibration() -> tuple[PurchaseHistory, FloatArray]:
    """2,357 customers up to 1997-09-30: their histories and the mean of their repeat purchases in dollars."""
    with (data_folder() / "cdnow_customers_summary_with_transactions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    days = {name: np.array([round(float(row[name]) * 7) for row in rows]) for name in ("t_x", "T")}
    history = PurchaseHistory(np.array([int(float(row["x"])) for row in rows]), days["t_x"], days["T"])
    return history, np.array([float(row["zbar"]) for row in rows])


@cache
def orders() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """6,919 orders until 1998-06-30: customer row, day since 1970-01-01, amount in cents."""
    lines = (data_folder() / "CDNOW_sample.txt").read_text(encoding="utf-8").split("\n")
    fields = [line.split() for line in lines if line.strip()]
    _, customer = np.unique([int(f[1]) for f in fields], return_inverse=True)
    dates = np.array([f"{f[2][:4]}-{f[2][4:6]}-{f[2][6:]}" for f in fields], dtype="datetime64[D]")
    cents = np.array([round(float(f[4]) * 100) for f in fields])
    return customer, dates.astype(np.int64), cents
