"""What the seven parts are computed from: whole columns of one scope's customers, as of a day.

Money is in minor units of the reporting currency; days are local days since 1970-01-01; customers are rows 0..n−1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain.arrays import BoolArray, IntArray, IntColumn
from backend.domain.behaviour import Bought
from backend.domain.calibration import Calibration
from backend.domain.evaluations import EvaluationMetric
from backend.domain.history import OrderColumns
from backend.domain.kpis import Period
from backend.domain.segment_moves import Move
from backend.domain.sources import Source, SourceUsed
from backend.domain.times import day_from_number


@dataclass(frozen=True, slots=True)
class CustomerColumns:
    """(n,) customers. `account`: the row of the head of its chain where that is among them, else its own; `kind`: codes
    as in `frozen.KINDS`; `completeness`: per cent of the fields wanted of its kind; `left_out`: those with an order
    that could not be converted, who are in no figure of money."""

    ids: tuple[str, ...]
    account: IntArray
    kind: IntArray
    stage: tuple[str | None, ...]
    completeness: IntArray
    left_out: BoolArray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """(n,) what the newest score run found; not known of those it never scored. `segment`: '' there."""

    segment: tuple[str, ...]
    existing_minor: IntColumn
    potential_minor: IntColumn
    loyalty_hundredths: IntColumn
    churn_risk_bp: IntColumn
    future_minor: IntColumn
    table_version: str | None = None


@dataclass(frozen=True, slots=True)
class LineColumns:
    """(m,) order lines of the last two years together by customer, day and category. `category`: place in `names`, −1
    without a style; `listed_minor`: at the price before discount; `priced`: False where no discount was recorded."""

    names: tuple[str, ...]
    customer: IntArray
    day: IntArray
    category: IntArray
    units: IntArray
    net_minor: IntArray
    listed_minor: IntArray
    priced: BoolArray

    def where(self, rows: BoolArray) -> "LineColumns":
        """The (m,) rows that are True."""
        return LineColumns(
            self.names,
            *(
                getattr(self, name)[rows]
                for name in ("customer", "day", "category", "units", "net_minor", "listed_minor", "priced")
            ),
        )


@dataclass(frozen=True, slots=True)
class BrokenRun:
    """A colour of a style that is sold, of which some sizes are no longer to be had. `gone_units`, `units`: pieces the
    scope bought in the last year, of these sizes and of all; `missing`: their names in the order of the scale."""

    style_id: str
    style_code: str
    colour_code: str
    missing: tuple[str, ...]
    sizes_n: int
    gone_units: int
    units: int
    net_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What an evaluated campaign came to. Money in minor units over all treated; `lift`: of the metric per customer
    with its interval; `treated_mean`, `control_mean`: the metric of an arm's customers; None where nothing can be said.
    `forecast_n`: customers of whom a forecast was kept at the start, None: not noted; `gain_variance_cut`: share of the
    gain's variance that forecast and segment took away, 0..1.
    """

    id: str
    name: str
    ends_on: str
    treated_n: int
    control_n: int
    gain_minor: int | None
    gain_low_minor: int | None
    gain_high_minor: int | None
    cost_minor: int
    metric: EvaluationMetric = EvaluationMetric.REVENUE
    lift: float | None = None
    low: float | None = None
    high: float | None = None
    treated_mean: float | None = None
    control_mean: float | None = None
    forecast_n: int | None = None
    gain_variance_cut: float | None = None


@dataclass(frozen=True, slots=True)
class RevenueGoal:
    """A goal for revenue that is in force on the day. `window`: the days it is taken over, up to the day;
    `reaches_back`: they begin before the goal does; `members`: (n,) True for the customers of its territory; `own`: set
    for exactly the scope of the report, not for a territory below it."""

    id: str
    name: str
    target_minor: int
    window: Period
    reaches_back: bool
    members: BoolArray
    own: bool


@dataclass(frozen=True, slots=True)
class Records:
    """One scope's records up to and with `as_of_day`.

    `orders`: of customers not left out, with `order_ids` row for row; `baskets`: (order, item) rows of categories in
    one order, items named by `basket_names`; `cells_cut`: more cells than were looked at; `models`: of the run of that
    day or before, None before the first; `goods_share`: cost of goods as a share of the list price where a margin is
    declared; `goals`: those of the scope and below it, as far as the reader sees goals, the next due first;
    `rows_from_n`: groups of fewer customers are not told to who reads sums only, 0 for others.
    """

    as_of_day: int
    customers: CustomerColumns
    orders: OrderColumns
    order_ids: tuple[str, ...]
    lines: LineColumns
    visit_customer: IntArray
    visit_day: IntArray
    scores: ScoreColumns
    moves: Sequence[Move]
    bought: Bought
    baskets: tuple[IntArray, IntArray]
    basket_names: tuple[str, ...]
    broken: Sequence[BrokenRun]
    effects: Sequence[Effect]
    models: Calibration | None
    models_version: str | None
    visit_cost_minor: int
    goods_share: float | None = None
    goals: Sequence[RevenueGoal] = ()
    cells_cut: bool = False
    rows_from_n: int = 0

    def until(self, day: int) -> OrderColumns:
        """The orders up to and with a day."""
        return self.orders.where(self.orders.day <= day)

    def by_customer(self, values: IntArray, customer: IntArray) -> IntArray:
        """(n,) sums of (m,) values."""
        out = np.zeros(len(self.customers), dtype=np.int64)
        np.add.at(out, customer, values)
        return out

    def revenue(self, period: Period) -> IntArray:
        """(n,) net revenue of a period."""
        kept = within(self.orders.day, period)
        return self.by_customer(self.orders.net_minor[kept], self.orders.customer[kept])

    def reaches(self, period: Period) -> bool:
        """True when orders were recorded as far back as the first month of the period."""
        return bool(self.orders.day.size) and int(self.orders.day.min()) <= period.first + MONTH_DAYS

    def last_orders(self) -> Mapping[int, str]:
        """The id of the newest order of each customer who has one."""
        order = np.lexsort((np.arange(self.orders.day.size), self.orders.day))
        return {int(self.orders.customer[at]): self.order_ids[at] for at in order.tolist()}


MONTH_DAYS = 31


def within(days: IntArray, period: Period) -> BoolArray:
    """(m,) True for the days of a period."""
    return np.asarray((days >= period.first) & (days <= period.last), dtype=np.bool_)


def used(source: Source, days: IntArray, last: int, first: int | None = None) -> SourceUsed:
    """A source of (m,) days, as far as they lie in a span."""
    kept = days[(days <= last) & (True if first is None else days >= first)]
    if not kept.size:
        return SourceUsed(source, recorded=False)
    return SourceUsed(source, True, day_from_number(int(kept.min())), day_from_number(int(kept.max())), int(kept.size))


def absent(*sources: Source) -> tuple[SourceUsed, ...]:
    """Sources that nothing records yet."""
    return tuple(SourceUsed(source, recorded=False) for source in sources)
