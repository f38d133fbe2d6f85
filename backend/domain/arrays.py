"""Columns: the array types of the domain, measures with what is known of them, and the few sums they share.

Everything in the insight domain works on whole columns, one row per customer. What was never recorded is
not a zero: it is `known == False` in an `IntColumn`, or NaN in the value of a `Measure`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Self, overload

import numpy as np
import numpy.typing as npt

from backend.errors import Code, Problem

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BASIS_POINTS = 10_000
MICRO = 1_000_000
MONEY_MINOR_MAX = 2**53 - 1
"""The largest amount a client can hold exactly."""


class Basis(IntEnum):
    """What a number stands on. The name is the code that clients see and render."""

    NOT_RECORDED = 0
    MARGIN = 1
    DEFAULT_MARGIN = 2
    REVENUE = 3
    PROSPECT = 4
    RECORDED = 5
    SHRUNK_TO_PEERS = 6
    PEERS_ONLY = 7
    KIND_PEERS = 8
    PRIOR = 9
    MODEL = 10
    MODEL_AND_OVERDUE = 11
    PARTLY_RECORDED = 12
    PROVISIONAL = 13
    CAPPED_BY_SEVERE_COMPLAINT = 14
    ASSUMED_RESPONSE = 15
    MEASURED_RESPONSE = 16


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of every customer.

    `value`: (n,) floats, NaN where nothing can be said; `confidence`: (n,) floats 0..1, 0 where the value
    is a prior or missing; `basis`: (n,) `Basis` codes.
    """

    value: FloatArray
    confidence: FloatArray
    basis: IntArray

    def __post_init__(self) -> None:
        if not (self.value.shape == self.confidence.shape == self.basis.shape):
            raise ValueError("a measure's columns differ in length")

    @property
    def known(self) -> BoolArray:
        """(n,) True where the measure says something."""
        return ~np.isnan(self.value)


@dataclass(frozen=True, slots=True)
class IntColumn:
    """Whole numbers of every customer, some never recorded: `values` (n,) int64 and `known` (n,) bool.

    Rows that are not known hold 0 in `values`.
    """

    values: IntArray
    known: BoolArray

    def __post_init__(self) -> None:
        if self.values.shape != self.known.shape:
            raise ValueError("an int column's values and mask differ in length")

    @classmethod
    def of(cls, items: Iterable[int | None]) -> Self:
        """Build the column from Python values, `None` for not recorded."""
        rows = list(items)
        known = np.array([item is not None for item in rows], dtype=np.bool_)
        return cls(np.array([item or 0 for item in rows], dtype=np.int64), known)

    @classmethod
    def missing(cls, rows_n: int) -> Self:
        """A column of which nothing was ever recorded."""
        return cls(np.zeros(rows_n, dtype=np.int64), np.zeros(rows_n, dtype=np.bool_))

    @classmethod
    def full(cls, values: npt.ArrayLike) -> Self:
        """A column known in every row."""
        column = np.asarray(values, dtype=np.int64)
        return cls(column, np.ones(column.shape, dtype=np.bool_))

    @classmethod
    def rounded(cls, values: FloatArray, scale: float = 1.0) -> Self:
        """Scale and round half-even to whole numbers; NaN becomes not recorded."""
        known = ~np.isnan(values)
        whole = np.rint(np.where(known, values, 0.0) * scale)
        return cls(np.clip(whole, -MONEY_MINOR_MAX, MONEY_MINOR_MAX).astype(np.int64), known)

    def take(self, rows: IntArray) -> "IntColumn":
        """Some rows, in their sequence."""
        return IntColumn(self.values[rows], self.known[rows])

    def floats(self) -> FloatArray:
        """The column as floats, NaN where not recorded."""
        return np.where(self.known, self.values.astype(np.float64), np.nan)

    def tolist(self) -> list[int | None]:
        """The column as Python values, `None` for not recorded."""
        pairs = zip(self.values.tolist(), self.known.tolist(), strict=True)
        return [value if known else None for value, known in pairs]


class Ids(Sequence[str]):
    """Ids as one array of bytes, empty where there is none: a million take 36 MB, and no object each."""

    __slots__ = ("_bytes",)

    def __init__(self, ids: Iterable[str] | npt.NDArray[np.bytes_]) -> None:
        self._bytes = ids if isinstance(ids, np.ndarray) else np.array(list(ids), dtype=np.bytes_)

    def __len__(self) -> int:
        return int(self._bytes.shape[0])

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> "Ids": ...

    def __getitem__(self, at: int | slice) -> "str | Ids":
        return Ids(self._bytes[at]) if isinstance(at, slice) else str(self._bytes[at], "ascii")

    def take(self, rows: IntArray) -> "Ids":
        """Some rows, in their sequence."""
        return Ids(self._bytes[rows])

    @classmethod
    def joined(cls, parts: Sequence["Ids"]) -> "Ids":
        """One after the other."""
        return cls(np.concatenate([part._bytes for part in parts]) if parts else np.zeros(0, dtype="S1"))


def or_missing(column: IntColumn | None, rows_n: int) -> IntColumn:
    """The column, or one of which nothing was recorded."""
    return IntColumn.missing(rows_n) if column is None else column


def length_problems(rows_n: int, columns: dict[str, npt.NDArray[np.generic] | None]) -> list[Problem]:
    """One problem for every column whose first axis is not `rows_n` long."""
    return [
        Problem(Code.INVALID_VALUE, (name,), (f"{rows_n} rows",))
        for name, column in columns.items()
        if column is not None and (column.ndim == 0 or column.shape[0] != rows_n)
    ]


def codes(rows_n: int, code: int) -> IntArray:
    """(n,) of one code."""
    return np.full(rows_n, int(code), dtype=np.int64)


def clip01(values: FloatArray) -> FloatArray:
    """Clip into 0..1; NaN stays NaN."""
    return np.clip(values, 0.0, 1.0)


def shrink(own: FloatArray, weight: FloatArray, mean: FloatArray | float, strength: float) -> FloatArray:
    """Pull a customer's own mean towards the group's: (n·s + k·μ)/(n+k).

    `own` may be NaN where `weight` is 0. With weight 0 the answer is the mean itself.
    """
    kept = np.where(weight > 0, own, 0.0)
    return np.asarray((weight * kept + strength * mean) / (weight + strength), dtype=np.float64)


def group_sum(group: IntArray, values: IntArray, groups_n: int) -> IntArray:
    """Sum whole numbers per group without passing through floats. (groups_n,)."""
    out = np.zeros(groups_n, dtype=np.int64)
    np.add.at(out, group, values)
    return out


def group_means(group: IntArray, values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted mean of each row's group, per row; NaN values carry no weight, empty groups are NaN."""
    if values.size == 0:
        return np.zeros(0)
    _, index = np.unique(group, return_inverse=True)
    weight = np.where(np.isnan(values), 0.0, weights)
    total = np.bincount(index, weight * np.where(np.isnan(values), 0.0, values))
    share = np.bincount(index, weight)
    mean = np.full(total.shape, np.nan)
    np.divide(total, share, out=mean, where=share > 0)
    return np.asarray(mean[index], dtype=np.float64)


def percentile_ranks(values: FloatArray) -> FloatArray:
    """Mid-rank of each known value among the known ones, 0..1; NaN stays NaN; ties share one rank."""
    out = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    if known.any():
        column = values[known]
        ordered = np.sort(column)
        below = np.searchsorted(ordered, column, side="left")
        upto = np.searchsorted(ordered, column, side="right")
        out[known] = (below + upto) / (2.0 * column.size)
    return out


def weighted_present(parts: Sequence[tuple[float, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Weighted mean over the parts that are present, with the share of weight they carry.

    `parts`: (weight, (n,) values 0..1 or NaN). Returns `(mean, coverage)`: mean NaN where nothing is present.
    """
    total = sum(weight for weight, _ in parts)
    present = sum(np.where(np.isnan(value), 0.0, weight) for weight, value in parts)
    score = sum(np.where(np.isnan(value), 0.0, weight * value) for weight, value in parts)
    weight_present = np.asarray(present, dtype=np.float64)
    mean = np.full(weight_present.shape, np.nan)
    np.divide(np.asarray(score, dtype=np.float64), weight_present, out=mean, where=weight_present > 0)
    return mean, weight_present / total
