"""Whom to keep, whom to win back, whom to grow, and how to serve each: rules over scores, shown side by side.

Value, risk and promise are never multiplied into one number: who is worth a visit is told by what a visit is expected
to bring. Whole columns, one row per customer. *Source*: R28, R39, R51.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import IntArray, IntColumn
from backend.domain.lifecycle import Stage
from backend.domain.strategy import Serve, Strategy

RISK_BP_DEFAULT = 5_000
"""More likely than not to leave."""
YEAR_DAYS = 365
GONE = (Stage.DORMANT.name, Stage.LOST.name)
"""Stages of customers to be won back; at risk are those who have not gone so far."""
NEVER_CAME = (Stage.PROSPECT.name, *GONE)


class Quadrant(StrEnum):
    """Existing value against promise, by the first two letters of the segment."""

    VALUABLE_AND_PROMISING = "VALUABLE_AND_PROMISING"
    VALUABLE = "VALUABLE"
    PROMISING = "PROMISING"
    NEITHER = "NEITHER"
    ONBOARDING = "ONBOARDING"
    """too new to be told"""


_QUADRANTS = {
    "HH": Quadrant.VALUABLE_AND_PROMISING,
    "HL": Quadrant.VALUABLE,
    "LH": Quadrant.PROMISING,
    "LL": Quadrant.NEITHER,
}


def quadrant_of(segment: str) -> Quadrant:
    """The quadrant of a segment's code."""
    return _QUADRANTS.get(segment[:2], Quadrant.ONBOARDING)


def at_risk_rows(risk_bp: IntColumn, uplift_minor: IntColumn, least_bp: int) -> IntArray:
    """Rows whose risk of leaving is known and at least `least_bp`: those first whom a visit is expected to bring most,
    those of whom that is not known last; then the higher risk, then the row itself."""
    rows = np.flatnonzero(risk_bp.known & (risk_bp.values >= least_bp))
    uplift = np.where(uplift_minor.known, uplift_minor.values, np.iinfo(np.int64).min + 1)[rows]
    return rows[np.lexsort((rows, -risk_bp.values[rows], -uplift))]


def yearly_while_active(past_minor: IntArray, first_day: IntArray, last_day: IntArray) -> IntArray:
    """(n,) what a customer brought a year from its first to its last order; a shorter time counts as a year."""
    years = np.maximum(last_day - first_day, YEAR_DAYS) / YEAR_DAYS
    return np.asarray(np.rint(past_minor / years), dtype=np.int64)


def win_back_rows(yearly_minor: IntArray) -> IntArray:
    """All rows, those first who brought most a year while they bought; then the row itself."""
    return np.lexsort((np.arange(yearly_minor.size), -yearly_minor))


class ServeReason(StrEnum):
    """Why a customer is served as it is."""

    BY_SEGMENT = "BY_SEGMENT"
    """the strategy of its segment and stage says so"""
    VISITS_COST_MORE = "VISITS_COST_MORE"
    """visits as planned would cost more than the customer is expected to bring"""
    VALUE_NOT_KNOWN = "VALUE_NOT_KNOWN"
    """what it will bring is not known, so the strategy stands"""


@dataclass(frozen=True, slots=True)
class ServeDecision:
    """How to serve one customer; amounts a year in minor units. `planned`: what the strategy says; `visits_n`: visits a
    year at its cadence. Whatever is decided, orders, returns and complaints are taken from everybody."""

    serve: Serve
    planned: Serve
    reason: ServeReason
    cadence_days: int
    visits_n: int
    visits_cost_minor: int
    expected_minor: int | None


def serve_decision(strategy: Strategy, half_year_minor: int | None, visit_cost_minor: int) -> ServeDecision:
    """FIELD gives way to INSIDE where visits would cost more than they can bring; nothing else is changed.

    `half_year_minor`: expected margin of the next two quarters, None where it is not known.
    """
    visits_n = -(-YEAR_DAYS // strategy.cadence_days) if strategy.cadence_days else 0
    cost = visits_n * visit_cost_minor
    expected = None if half_year_minor is None else 2 * half_year_minor
    serve, reason = strategy.serve, ServeReason.BY_SEGMENT
    if strategy.serve is Serve.FIELD:
        if expected is None:
            reason = ServeReason.VALUE_NOT_KNOWN
        elif cost > expected:
            serve, reason = Serve.INSIDE, ServeReason.VISITS_COST_MORE
    return ServeDecision(serve, strategy.serve, reason, strategy.cadence_days, visits_n, cost, expected)
