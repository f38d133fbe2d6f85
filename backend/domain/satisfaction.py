"""Satisfaction from what customers said and what became of their complaints; silence is not satisfaction."""

from dataclasses import dataclass

from backend.domain.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Answers:
    """Survey answers, one row each: `customer` (m,) row; `day` (m,) since 1970-01-01; `score` (m,) as asked.

    CSAT answers are 0..1 (worst to best), NPS answers 0..10.
    """

    customer: IntArray
    day: IntArray
    score: FloatArray


@dataclass(frozen=True, slots=True)
class Complaints:
    """Cases, one row each, of the trailing year.

    `customer` (m,) row; `severity` (m,) 0..1; `is_open` (m,); `age_share` (m,) age over the agreed time, ≥ 0,
    0 for closed ones; `late`, `reopened` (m,).
    """

    customer: IntArray
    severity: FloatArray
    is_open: BoolArray
    age_share: FloatArray
    late: BoolArray
    reopened: BoolArray


@dataclass(frozen=True, slots=True)
class SatisfactionInputs:
    """Everything satisfaction is made of; a part that is `None` was not recorded.

    `supplier_fault_returns_n`, `delivered_orders_n`: (n,) over the trailing year.
    """

    csat: Answers | None = None
    nps: Answers | None = None
    complaints: Complaints | None = None
    supplier_fault_returns_n: IntArray | None = None
    delivered_orders_n: IntArray | None = None
