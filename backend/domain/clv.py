"""Lifetime value of every customer by a method the caller chooses: whole minor units in, whole minor units out.

*Source*: R50.
"""

from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import MONEY_MINOR_MAX, FloatArray, IntArray, IntColumn
from backend.domain.calibration import Calibration, purchase_history
from backend.domain.clv_drivers import ReferralTerms
from backend.domain.forecast import QUARTERS_PER_YEAR, churn_per_quarter, pattern_reached
from backend.domain.history import QUARTER_DAYS, HistoryColumns
from backend.domain.margin import contribution_of
from backend.domain.purchase import alive_probability
from backend.domain.purchase_forecast import forecast_cells
from backend.domain.spend import expected_spend
from backend.domain.value import (
    PERIODS_MAX,
    ChurnForm,
    Method,
    ValueInputs,
    discounted_sum,
    lifetime_value,
    past_value,
    rate_per_period,
    referral_value,
)
from backend.errors import Code, Problem, refuse_if

YEARLY_RATE_MAX = 10.0
"""Ten times a year: beyond it is a slip of the pen, and nothing stays finite."""
REFERRALS_PER_QUARTER_MAX = 1_000.0


@dataclass(frozen=True, slots=True)
class ClvParameters:
    """What was asked for, echoed in the answer. Rates per year; periods are quarters of 91 days."""

    method: Method = Method.PROBABILISTIC
    discount_yearly: float = 0.10
    compound_past_yearly: float = 0.0
    default_margin: float | None = None
    churn_form: ChurnForm = ChurnForm.SURVIVAL
    damping: float = 1.0


@dataclass(frozen=True, slots=True)
class PeerGap:
    """What reaching the best of its peers would bring a customer: p(j) of the value.

    `year_minor`: (n,) revenue a year missing to the peers' frontier, ≥ 0; `peers_n`: (n,) how many peers set it;
    `capture_share` of it is thought reachable within `ramp_quarters`, at a visit a quarter.
    """

    year_minor: FloatArray
    peers_n: IntArray
    visit_cost_minor: int
    capture_share: float = 0.25
    ramp_quarters: int = 4


@dataclass(frozen=True, slots=True)
class ClvColumns:
    """(n,) each: value of the past and the future in minor units, quarters looked ahead, churn per quarter in
    basis points (not known for prospects), and `Basis` codes. CLV = past + future.

    `gain_minor`: the part of `future_minor` that a changed buying pattern would bring; all of it for a prospect.
    """

    asked: ClvParameters
    past_minor: IntColumn
    future_minor: IntColumn
    gain_minor: IntColumn
    quarters_n: IntArray
    churn_bp: IntColumn
    basis: IntArray


def check_asked(asked: ClvParameters, referral: ReferralTerms | None = None) -> None:
    """Refuse what cannot be reckoned with, all at once: rates ≤ −1, above `YEARLY_RATE_MAX` or not numbers, a damping
    outside 0..1, a margin outside −1..1, referrals below 0 or without bound. *Raises* `OUT_OF_RANGE`."""
    found = []

    def within(name: str, value: float, least: float, most: float, *, above: bool = False) -> None:
        if not (least < value if above else least <= value) or not value <= most:
            found.append(Problem(Code.OUT_OF_RANGE, (name,), (f"> {least:g}" if above else f"{least:g}", f"{most:g}")))

    within("discountYearly", asked.discount_yearly, -1.0, YEARLY_RATE_MAX, above=True)
    within("compoundPastYearly", asked.compound_past_yearly, -1.0, YEARLY_RATE_MAX, above=True)
    within("damping", asked.damping, 0.0, 1.0)
    if asked.default_margin is not None:
        within("defaultMargin", asked.default_margin, -1.0, 1.0)
    if referral is not None:
        within("perQuarter", referral.per_quarter, 0.0, REFERRALS_PER_QUARTER_MAX)
        within("gainMinor", referral.gain_minor, -MONEY_MINOR_MAX, MONEY_MINOR_MAX)
        within("costMinor", referral.cost_minor, 0, MONEY_MINOR_MAX)
    refuse_if(found)


def referrals_minor(terms: ReferralTerms, *, quarters_n: int, discount_yearly: float) -> int:
    """Whole minor units that one generation of referred customers is worth over the quarters looked ahead."""
    rate = rate_per_period(discount_yearly, 4)
    found = referral_value(
        np.array([terms.per_quarter]), np.array([float(terms.gain_minor)]), np.array([float(terms.cost_minor)]), rate,
        quarters_n,
    )  # fmt: skip
    return int(IntColumn.rounded(found).values[0])


def clv(
    history: HistoryColumns,
    *,
    calibration: Calibration,
    as_of_day: int,
    asked: ClvParameters | None = None,
    gap: PeerGap | None = None,
) -> ClvColumns:
    """Value every customer by one method.

    The regression and inverse-churn methods look at the quarters since each customer's first order only:
    quarters before it are no zeros. A prospect is worth what reaching its peers would bring: nothing without `gap`.
    *Raises* `OUT_OF_RANGE` as `check_asked`, `IN_THE_FUTURE` for an order after the day.
    """
    wish = asked or ClvParameters()
    check_asked(wish)
    if (history.last_day[history.has_orders] > as_of_day).any():
        refuse_if([Problem(Code.IN_THE_FUTURE, ("history", "last_day"), (str(as_of_day),))])
    contribution = contribution_of(history, wish.default_margin)
    expected, churn = _expectation(history, calibration, as_of_day)
    mean = history.revenue_minor / np.maximum(history.orders_n, 1)
    margin = expected_spend(calibration.spend, mean, history.orders_n) * contribution.rate
    gain = _gain(gap, contribution.rate, churn)
    past, future, gained = np.zeros(len(history)), np.zeros(len(history)), np.zeros(len(history))
    quarters_n = np.zeros(len(history), dtype=np.int64)
    rate, rate_old = rate_per_period(wish.discount_yearly, 4), rate_per_period(wish.compound_past_yearly, 4)
    lived = np.minimum((as_of_day - history.first_day) // QUARTER_DAYS + 1, contribution.quarters.shape[1])
    lived = np.where(history.has_orders, lived, 0)
    for quarters in np.unique(lived).tolist():
        rows = lived == quarters
        found = lifetime_value(
            ValueInputs(
                contribution=contribution.quarters[rows, contribution.quarters.shape[1] - quarters :],
                churn=churn[rows],
                rate=rate,
                rate_old=rate_old,
                expected_purchases=expected[rows],
                margin_per_purchase=margin[rows],
                gain=gain[rows],
                churn_form=wish.churn_form,
                damping=wish.damping,
            ),
            wish.method,
        )
        past[rows], future[rows], quarters_n[rows] = found.past, found.future, found.periods_n
        counted = np.arange(1, PERIODS_MAX + 1) <= found.periods_n[:, None]
        gained[rows] = discounted_sum(np.where(counted, gain[rows], 0.0), rate)
    if wish.method is not Method.BASIC:
        # What is older than the quarters kept belongs to the past as well, at the age of the oldest quarter.
        older = contribution.total - past_value(contribution.quarters)
        past += older * (1.0 + rate_old) ** (contribution.quarters.shape[1] - 1)
    quarters_n = np.where(history.has_orders | (gained > 0), quarters_n, 0)
    return ClvColumns(
        asked=wish,
        past_minor=IntColumn.rounded(past),
        future_minor=IntColumn.rounded(future),
        gain_minor=IntColumn.rounded(gained),
        quarters_n=quarters_n,
        churn_bp=IntColumn.rounded(np.where(history.has_orders, churn, np.nan), 10_000.0),
        basis=contribution.basis,
    )


def _gain(gap: PeerGap | None, margin_rate: FloatArray, churn: FloatArray) -> FloatArray:
    if gap is None:
        return np.zeros((churn.size, PERIODS_MAX))
    return pattern_reached(
        gap.year_minor / QUARTERS_PER_YEAR,
        gap.peers_n,
        margin_rate=margin_rate,
        churn=churn,
        capture_share=gap.capture_share,
        ramp_quarters=gap.ramp_quarters,
        visit_cost=float(gap.visit_cost_minor),
    )


def _expectation(history: HistoryColumns, calibration: Calibration, as_of_day: int) -> tuple[FloatArray, FloatArray]:
    """(n, h) purchases expected until each quarter's end, at the measured level, and (n,) churn per quarter."""
    buyers = purchase_history(history, as_of_day, history.has_orders)
    horizons = tuple(QUARTER_DAYS * j for j in range(1, PERIODS_MAX + 1))
    cells = forecast_cells(calibration.purchase, buyers, horizons)
    expected, churn = np.zeros((len(history), PERIODS_MAX)), np.full(len(history), 0.5)
    alive = alive_probability(calibration.purchase, buyers)
    expected[history.has_orders] = calibration.level * alive[:, None] * cells.per_cell[cells.index]
    churn[history.has_orders] = churn_per_quarter(cells.per_cell)[cells.index]
    return expected, churn
