"""A worked example of every figure, computed by the very functions that compute it for customers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import Basis, IntColumn, Measure
from backend.domain.history import OrderColumns, history_of
from backend.domain.kpis import KpiCode, KpiInputs, Period, kpi
from backend.domain.loyalty import churn_risk, loyalty, overdue
from backend.domain.metrics import MetricCode, kpi_code
from backend.domain.potential import PART_WEIGHTS
from backend.domain.priority_vectors import priority_vectors
from backend.domain.satisfaction import Answers, SatisfactionInputs, satisfaction
from backend.domain.scoring import existing_value
from backend.domain.segments import SEGMENT_CODES, Dimensions, Thresholds, segment
from backend.domain.value import Method, ValueInputs, lifetime_value, past_value


@dataclass(frozen=True, slots=True)
class Example:
    """What goes in, by name, and the figure that comes out: a whole number in its unit, or a segment's code."""

    given: Mapping[str, str]
    result: int | str


def example_of(code: MetricCode) -> Example:
    """The worked example of a figure: what goes in, by name, and what the figure's own function makes of it."""
    figure = kpi_code(code)
    return _key_figure(figure) if figure else _EXAMPLES[code]()


def _listed(values: "np.ndarray") -> str:
    return ", ".join(f"{value:g}" for value in values.tolist())


def _existing_value() -> Example:
    quarters = np.array([10_000.0, 20_000.0, 30_000.0, 40_000.0])
    return Example(
        {"contribution of the last four quarters, oldest first": _listed(quarters)},
        int(existing_value(quarters[None, :])[0]),
    )


def _past_value() -> Example:
    revenue, costs = np.array([100.0, 120.0, 150.0, 130.0]), np.array([60.0, 70.0, 90.0, 80.0])
    value = past_value((revenue - costs)[None, :])
    return Example({"net revenue by quarter": _listed(revenue), "costs": _listed(costs)}, round(float(value[0])))


def _future_value() -> Example:
    expected = np.array([1.0, 1.8, 2.4])
    found = lifetime_value(
        ValueInputs(
            contribution=np.zeros((1, 1)),
            churn=np.array([0.5]),
            rate=0.02,
            expected_purchases=expected[None, :],
            margin_per_purchase=np.array([5_000.0]),
        ),
        Method.PROBABILISTIC,
    )
    given = {
        "orders expected by the end of each of three quarters": _listed(expected),
        "margin of an order": "5000",
        "discount of a quarter": "2 %",
    }
    return Example(given, round(float(found.future[0])))


def _potential() -> Example:
    parts = np.array([60_000.0, 20_000.0, -5_000.0])
    names = ("gap to the peers' 80th percentile", "gap of categories", "trend")
    given = {name: f"{part:g}" for name, part in zip(names, parts.tolist(), strict=True)}
    return Example(given, round(max(0.0, float(parts @ np.array(PART_WEIGHTS)))))


def _measure(value: float | None) -> Measure:
    known = value is not None
    return Measure(
        np.array([value if known else np.nan], dtype=np.float64),
        np.array([1.0 if known else 0.0]),
        np.array([Basis.RECORDED if known else Basis.NOT_RECORDED], dtype=np.int64),
    )


def _loyalty() -> Example:
    parts = {"on_time": 0.9, "frequency": 0.6, "wallet": None, "tenure": 0.5, "breadth": 0.4, "referrals": None,
             "returns": None}  # fmt: skip
    found = loyalty({name: _measure(value) for name, value in parts.items()})
    given = {name.replace("_", " "): "not recorded" if value is None else f"{value:g}" for name, value in parts.items()}
    return Example(given, round(float(found.score.value[0])))


def _satisfaction() -> Example:
    today = np.array([0])
    found = satisfaction(
        SatisfactionInputs(csat=Answers(today, today, np.array([0.75])), nps=Answers(today, today, np.array([9.0]))),
        customers_n=1,
        as_of_day=0,
    )
    given = {"CSAT": ".75", "recommendation": "9 of 10", "complaints": "not recorded", "returns": "not recorded"}
    return Example(given, round(float(found.value[0])))


def _churn_risk() -> Example:
    days = np.array([0, 30, 60, 90])
    nothing = np.zeros(4, dtype=np.int64)
    orders = OrderColumns(nothing, days, nothing + 100, nothing, nothing.astype(np.bool_), nothing.astype(np.bool_))
    history = history_of(orders, customers_n=1, as_of_day=150)
    late = overdue(Measure(np.array([2.0]), np.array([1.0]), np.array([Basis.RECORDED], dtype=np.int64)))
    found = churn_risk(np.array([0.7]), late, history)
    given = {"P(alive)": ".7", "repeat orders": "3", "days since the last order over the own interval": "2"}
    return Example(given, round(float(found.value[0]) * 10_000))


def _priority() -> Example:
    """The first case of the vectors of which everything is recorded and each line speaks."""
    cases = [case["expected"] for case in priority_vectors()["cases"]]
    case = next(one for one in cases if all(line["recorded"] and line["points"] for line in one["lines"][:-1]))
    return Example({line["code"]: str(line["points"]) for line in case["lines"]}, int(case["score"]))


def _segment() -> Example:
    thresholds = Thresholds("example", ((0, 400_000),), 0, 60_000)
    values = (500_000, 20_000, 7_200, 5_100)
    found = segment(
        Dimensions(*(IntColumn.full([value]) for value in values)),
        thresholds,
        kind=np.zeros(1, dtype=np.int64),
        onboarding=np.zeros(1, dtype=np.bool_),
        severe_open=np.zeros(1, dtype=np.bool_),
        previous=None,
        as_of_day=0,
    )
    given = {
        "existing value, threshold 400000": "500000",
        "potential, threshold 60000": "20000",
        "loyalty, threshold 60": "72",
        "satisfaction, threshold 60": "51",
    }
    return Example(given, SEGMENT_CODES[int(found.code[0])])


_EXAMPLES: Mapping[MetricCode, Callable[[], Example]] = {
    MetricCode.PRIORITY: _priority,
    MetricCode.SEGMENT: _segment,
    MetricCode.EXISTING_VALUE: _existing_value,
    MetricCode.PAST_VALUE: _past_value,
    MetricCode.FUTURE_VALUE: _future_value,
    MetricCode.POTENTIAL: _potential,
    MetricCode.LOYALTY: _loyalty,
    MetricCode.SATISFACTION: _satisfaction,
    MetricCode.CHURN_RISK: _churn_risk,
}

_ORDERS = ((0, -40, 900), (0, 5, 1_000), (1, 3, 2_000), (1, 17, 3_000), (2, -300, 500), (2, -290, 500), (2, -280, 500),
           (2, 12, 4_000), (3, -300, 700), (3, -290, 700), (4, 20, 800))  # fmt: skip
"""(customer, day, amount); the period is the days 0 to 29."""
_VISITS = ((0, 1), (1, 14), (2, 10), (4, 21))
_STATED_BP = (2_000, None, 4_000, None, None)


def _key_figure(code: KpiCode) -> Example:
    customer, day, amount = (np.array(column, dtype=np.int64) for column in zip(*_ORDERS, strict=True))
    nothing = np.zeros(customer.size, dtype=np.bool_)
    period = Period(0, 29)
    inputs = KpiInputs(
        orders=OrderColumns(customer, day, amount, np.zeros_like(customer), nothing, nothing),
        customers_n=5,
        visit_customer=np.array([who for who, _ in _VISITS], dtype=np.int64),
        visit_day=np.array([on for _, on in _VISITS], dtype=np.int64),
        reps_n=4,
        visiting_reps_n={period: 3},
        visit_cost_minor=100,
        wallet_share_bp={period: IntColumn.of(_STATED_BP)},
    )
    found = kpi(code, inputs, period)
    given = {
        "orders as customer: day, amount (period: days 0 to 29)": "; ".join(f"{w}: {d}, {a}" for w, d, a in _ORDERS)
    }
    if code in (KpiCode.CYCLE_DAYS, KpiCode.COST_OF_SALE):
        given["visits as customer: day"] = "; ".join(f"{who}: {on}" for who, on in _VISITS)
    if code is KpiCode.COST_OF_SALE:
        given["cost of a visit"] = "100"
    if code is KpiCode.SHARE_OF_WALLET:
        given = {"shares stated": "20 %, 40 %, and three who said nothing"}
    if code is KpiCode.ADOPTION:
        given = {"active reps": "4", "of them with a visit in the period": "3"}
    if found.missing is not None:
        return Example({}, found.missing.value)
    return Example(given, int(found.value or 0))
