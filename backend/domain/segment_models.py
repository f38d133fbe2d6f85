"""Other ways of cutting customers into groups, beside the sixteen segments, to be compared with them.

Value × potential, value × growth × loyalty, and recency × frequency × money in fifths. Each gives every customer a
cell; how far two ways agree is told by their normalised mutual information: 0 = neither says anything of the other,
1 = the same cut. *Source*: R52; Strehl and Ghosh (2002) for the measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import FloatArray, IntArray
from backend.domain.history import HistoryColumns
from backend.domain.lifecycle import TREND_TURN
from backend.domain.potential import yearly_trend

FIFTHS = 5


class SegmentModel(StrEnum):
    """Ways of cutting."""

    SIXTEEN = "SIXTEEN"
    """value, potential, loyalty, satisfaction"""
    VALUE_POTENTIAL = "VALUE_POTENTIAL"
    VALUE_GROWTH_LOYALTY = "VALUE_GROWTH_LOYALTY"
    RFM = "RFM"
    """fifths of recency, frequency and money, 5 the best"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One group of a model: its customers, what they are worth together, and their orders of the last four quarters."""

    code: str
    customers_n: int
    existing_value_minor: int
    year_revenue_minor: int


@dataclass(frozen=True, slots=True)
class ModelFound:
    """A model over the customers of a scope. `agreement`: 0..1 with the sixteen segments; None without customers."""

    model: SegmentModel
    cells: tuple[Cell, ...]
    agreement: float | None


def cells_by_model(segments: Sequence[str], history: HistoryColumns, as_of_day: int) -> dict[SegmentModel, list[str]]:
    """The cell of every customer by each model. `segments`: (n,) codes of four letters; all have ordered."""
    growing = yearly_trend(history, as_of_day) > TREND_TURN
    return {
        SegmentModel.SIXTEEN: list(segments),
        SegmentModel.VALUE_POTENTIAL: [code[:2] for code in segments],
        SegmentModel.VALUE_GROWTH_LOYALTY: [
            f"{code[0]}{'H' if up else 'L'}{code[2]}" for code, up in zip(segments, growing.tolist(), strict=True)
        ],
        SegmentModel.RFM: rfm_codes(history, as_of_day),
    }


def rfm_codes(history: HistoryColumns, as_of_day: int) -> list[str]:
    """(n,) three digits: fifths of recency, of order days and of money in the last four quarters; ties share one."""
    recency = -(as_of_day - history.last_day).astype(np.float64)
    orders = history.quarter_orders_n[:, :4].sum(axis=1).astype(np.float64)
    money = history.quarter_revenue_minor[:, :4].sum(axis=1).astype(np.float64)
    digits = [fifths(column) for column in (recency, orders, money)]
    return [f"{r}{f}{m}" for r, f, m in zip(*(column.tolist() for column in digits), strict=True)]


def fifths(values: FloatArray) -> IntArray:
    """(n,) 1..5 by the share of customers with less, the largest 5; equal values stand in the same fifth."""
    if values.size == 0:
        return np.zeros(0, dtype=np.int64)
    below = np.searchsorted(np.sort(values), values, side="left")
    return np.minimum(below * FIFTHS // values.size + 1, FIFTHS).astype(np.int64)


def compare_models(
    cells: dict[SegmentModel, list[str]], existing_minor: IntArray, year_revenue_minor: IntArray
) -> tuple[ModelFound, ...]:
    """Each model with its cells, the most valuable first, and its agreement with the sixteen segments."""
    sixteen = cells[SegmentModel.SIXTEEN]
    return tuple(
        ModelFound(model, _cells(codes, existing_minor, year_revenue_minor), agreement(sixteen, codes))
        for model, codes in cells.items()
    )


def _cells(codes: Sequence[str], existing_minor: IntArray, year_revenue_minor: IntArray) -> tuple[Cell, ...]:
    if not codes:
        return ()
    names, place = np.unique(np.array(codes), return_inverse=True)

    def total(values: IntArray) -> list[int]:
        sums = np.zeros(names.size, dtype=np.int64)
        np.add.at(sums, place, values)
        return [int(one) for one in sums]

    counted = zip(
        names.tolist(),
        total(np.ones_like(existing_minor)),
        total(existing_minor),
        total(year_revenue_minor),
        strict=True,
    )
    return tuple(sorted((Cell(*one) for one in counted), key=lambda cell: (-cell.existing_value_minor, cell.code)))


def agreement(left: Sequence[str], right: Sequence[str]) -> float | None:
    """Mutual information over the geometric mean of both entropies, 0..1; two cuts that both put all into one cell
    agree wholly. None without customers."""
    if not left:
        return None
    _, a = np.unique(np.array(left), return_inverse=True)
    _, b = np.unique(np.array(right), return_inverse=True)
    both = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(both, (a, b), 1.0 / len(left))
    information = _entropy(both.sum(axis=1)) + _entropy(both.sum(axis=0)) - _entropy(both.ravel())
    scale = float(np.sqrt(_entropy(both.sum(axis=1)) * _entropy(both.sum(axis=0))))
    if scale == 0.0:
        return 1.0 if both.shape == (1, 1) else 0.0
    return min(1.0, max(0.0, information / scale))


def _entropy(shares: FloatArray) -> float:
    held = shares[shares > 0]
    return float(-(held * np.log(held)).sum())
