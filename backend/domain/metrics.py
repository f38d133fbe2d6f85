"""Every figure the product shows, by its code: formula, unit and what it is computed from.

What is said of a figure in words is in the catalogue (`metric.<CODE>`, and `metric.<CODE>.sure` for how sure it is);
the page `docs/NUMBERS.md` and the query `explainMetric` are both printed from here. *Source*: R7, R8; the formulas
are those of the modules named beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.kpis import KPI_SOURCES, KPI_UNITS, KpiCode, Unit
from backend.domain.sources import Source


class MetricCode(StrEnum):
    """Figures of one customer, then key figures of many."""

    PRIORITY = "PRIORITY"
    SEGMENT = "SEGMENT"
    EXISTING_VALUE = "EXISTING_VALUE"
    PAST_VALUE = "PAST_VALUE"
    FUTURE_VALUE = "FUTURE_VALUE"
    POTENTIAL = "POTENTIAL"
    LOYALTY = "LOYALTY"
    SATISFACTION = "SATISFACTION"
    CHURN_RISK = "CHURN_RISK"
    REVENUE = "REVENUE"
    CYCLE_DAYS = "CYCLE_DAYS"
    COST_OF_SALE = "COST_OF_SALE"
    WIN_RATE = "WIN_RATE"
    SHARE_OF_WALLET = "SHARE_OF_WALLET"
    REPEAT_RATE = "REPEAT_RATE"
    DAYS_TO_SECOND_ORDER = "DAYS_TO_SECOND_ORDER"
    WIN_BACK_RATE = "WIN_BACK_RATE"
    ADOPTION = "ADOPTION"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: what it is counted in, how it is computed, from what, and where that is asked for."""

    unit: Unit
    formula: str
    sources: tuple[Source, ...]
    requirements: tuple[str, ...]


_M, _S = MetricCode, Source


def _key_figure(code: KpiCode, formula: str, *requirements: str) -> Metric:
    return Metric(KPI_UNITS[code], formula, KPI_SOURCES[code], requirements)


METRICS: Mapping[MetricCode, Metric] = {
    _M.PRIORITY: Metric(
        Unit.POINTS,
        "the sum of nine lines of at most 30, 20, 12, 12, 12, 8, 4, 2 and −20 points, clipped to 0..100",
        (_S.ORDERS, _S.VISITS, _S.TASKS, _S.CASES, _S.PEERS),
        ("R28", "R51"),
    ),
    _M.SEGMENT: Metric(
        Unit.CODE,
        "H or L for each of existing value, potential, loyalty, satisfaction; a side changes 10 % (money) or 5 points"
        " beyond its threshold, two nights in a row",
        (_S.ORDERS, _S.PEERS, _S.ANSWERS, _S.CASES),
        ("R52",),
    ),
    _M.EXISTING_VALUE: Metric(
        Unit.MONEY_MINOR,
        "Σ contribution of each of the last 12 quarters × 2^(−age in quarters / 4)",
        (_S.ORDERS, _S.COSTS, _S.RETURNS),
        ("R50", "R52"),
    ),
    _M.PAST_VALUE: Metric(
        Unit.MONEY_MINOR,
        "Σ (net revenue − costs) of all orders so far",
        (_S.ORDERS, _S.COSTS, _S.RETURNS),
        ("R27", "R50"),
    ),
    _M.FUTURE_VALUE: Metric(
        Unit.MONEY_MINOR,
        "Σ over coming quarters j of (orders expected in j × margin of an order + gain of a changed pattern)"
        " / (1 + quarterly discount)^j",
        (_S.ORDERS, _S.COSTS, _S.PEERS),
        ("R22", "R27", "R50"),
    ),
    _M.POTENTIAL: Metric(
        Unit.MONEY_MINOR,
        ".5 × (peers' 80th percentile − run rate)⁺ + .3 × gap of categories + .2 × trend, a year, at least 0",
        (_S.ORDERS, _S.PEERS),
        ("R22", "R39"),
    ),
    _M.LOYALTY: Metric(
        Unit.POINTS,
        "100 × (.30 on time + .20 frequency + .15 share of wallet + .10 tenure + .10 breadth + .05 referrals"
        " + .10 few returns), over the parts that are recorded",
        (_S.ORDERS, _S.ANSWERS, _S.RETURNS, _S.REFERRALS, _S.PEERS),
        ("R19", "R52"),
    ),
    _M.SATISFACTION: Metric(
        Unit.POINTS,
        "100 × (.40 CSAT + .20 recommendation + .25 complaints resolved + .15 few faulty deliveries), over the parts"
        " that are recorded; at most 40 while a severe complaint is open",
        (_S.ANSWERS, _S.CASES, _S.RETURNS),
        ("R34", "R52"),
    ),
    _M.CHURN_RISK: Metric(
        Unit.BASIS_POINTS,
        "1 − P(alive), within .01 and .99; from three repeat orders on at least half of how overdue the next one is",
        (_S.ORDERS, _S.PEERS),
        ("R19", "R28"),
    ),
    _M.REVENUE: _key_figure(KpiCode.REVENUE, "Σ net amount of the orders of the period", "R6"),
    _M.CYCLE_DAYS: _key_figure(
        KpiCode.CYCLE_DAYS, "median of (day of an order − day of the first visit after the order before)", "R6"
    ),
    _M.COST_OF_SALE: _key_figure(KpiCode.COST_OF_SALE, "visits made × cost of a visit / revenue of the period", "R6"),
    _M.WIN_RATE: _key_figure(KpiCode.WIN_RATE, "opportunities won / opportunities decided", "R6"),
    _M.SHARE_OF_WALLET: _key_figure(
        KpiCode.SHARE_OF_WALLET, "mean of the newest share of its buying that each customer stated", "R6"
    ),
    _M.REPEAT_RATE: _key_figure(
        KpiCode.REPEAT_RATE, "customers of the period who had ordered on an earlier day / customers who ordered", "R17"
    ),
    _M.DAYS_TO_SECOND_ORDER: _key_figure(
        KpiCode.DAYS_TO_SECOND_ORDER,
        "first day by which half of those who came new in the period had ordered again, by the product-limit estimate",
        "R17",
    ),
    _M.WIN_BACK_RATE: _key_figure(
        KpiCode.WIN_BACK_RATE,
        "customers silent for three of their own intervals when the period began who ordered in it / all of those",
        "R17",
    ),
    _M.ADOPTION: _key_figure(KpiCode.ADOPTION, "reps who recorded a visit in the period / active reps", "R12"),
}


def kpi_code(code: MetricCode) -> KpiCode | None:
    """The key figure of that name; None for a figure of one customer."""
    return KpiCode(code.value) if code.value in KpiCode.__members__ else None
