"""What a priority would be if something were done now: a visit, a case closed, an order taken.

Everything else stays as it is: other customers, the published tables, the fitted models, and what is ranked among
others (frequency, potential). *Source*: R28.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from backend.domain.arrays import IntColumn
from backend.domain.calibration import Calibration
from backend.domain.frozen import Published
from backend.domain.history import HistoryColumns, OrderColumns, history_of
from backend.domain.score_facts import DayFacts
from backend.domain.scoring import ScoreInputs, ScoreParameters, score_customers
from backend.domain.visit_uplift import VisitUplift, assumed_uplift


@dataclass(frozen=True, slots=True)
class Deed:
    """What is thought to be done on a day; `order_minor`: an order of that net amount in the reporting currency."""

    visit_now: bool = False
    case_closed: bool = False
    order_minor: int | None = None


@dataclass(frozen=True, slots=True)
class ModelsHeld:
    """What a customer alone cannot tell: the fitted models, the published set, the population's interval between
    orders, the declared margin, the cost of a visit and what one brings."""

    calibration: Calibration
    published: Published
    typical_interval_days: float | None
    default_margin: float | None
    visit_cost_minor: int
    uplift: VisitUplift = field(default_factory=assumed_uplift)


def facts_after(facts: DayFacts, deed: Deed, today: int) -> DayFacts:
    """The facts of one customer's day: a visit now is its last one."""
    return replace(facts, last_visit_day=IntColumn.full([today])) if deed.visit_now else facts


def document_after(
    document: Mapping[str, Any], deed: Deed, orders: OrderColumns, held: ModelsHeld, today: int
) -> dict[str, Any]:
    """The stored facts of one customer after the deed.

    An order moves what the models say by as much as they say it of these orders with it and without it, so that
    nothing but the order moves anything. `orders`: those of this customer up to the day.
    """
    after = dict(document)
    if deed.case_closed and after.get("severeCases") is not None:
        after["severeCases"] = 0
    if deed.order_minor is None:
        return after
    was, then = _amounts(orders, held, today), _amounts(_with_order(orders, deed.order_minor, today), held, today)
    for name, value in then.items():
        before = was[name]
        if value is not None:
            after[name] = value if before is None else (after.get(name) or 0) + value - before
    return after


def _with_order(orders: OrderColumns, amount_minor: int, today: int) -> OrderColumns:
    def more(column: "np.ndarray", value: object) -> Any:
        return np.append(column, np.array([value], dtype=column.dtype))

    return OrderColumns(
        customer=more(orders.customer, 0),
        day=more(orders.day, today),
        net_minor=more(orders.net_minor, amount_minor),
        cost_minor=more(orders.cost_minor, 0),
        cost_known=more(orders.cost_known, False),
        is_return=more(orders.is_return, False),
    )


def _amounts(orders: OrderColumns, held: ModelsHeld, today: int) -> dict[str, int | None]:
    """The amounts of the facts that rest on this customer's orders alone."""
    history: HistoryColumns = history_of(orders, customers_n=1, as_of_day=today)
    found = score_customers(
        ScoreInputs(history=history, kind=np.zeros(1, dtype=np.int64)),
        ScoreParameters(
            calibration=held.calibration,
            thresholds=held.published.thresholds,
            tables=held.published.tables,
            priority=held.published.parameters,
            default_margin=held.default_margin,
            visit_cost_minor=held.visit_cost_minor,
            typical_interval_days=held.typical_interval_days,
            uplift_base=held.uplift.base.value,
            uplift_peak=held.uplift.peak.value,
            uplift_centre=held.uplift.centre,
            uplift_width=held.uplift.width,
            uplift_measured=held.uplift.measured,
        ),
        today,
    )
    columns = {
        "valueAtStakeMinor": found.value_at_stake_minor,
        "upliftMinor": found.uplift_minor,
        "existingValueMinor": found.existing_value_minor,
    }
    return {name: column.tolist()[0] for name, column in columns.items()}
