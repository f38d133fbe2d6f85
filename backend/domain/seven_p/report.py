"""The seven parts of the 7P analysis, and what each says: figures, rows of evidence, and what to be careful of.

A figure is a whole number in its unit, or it says why there is none; nothing that is not recorded passes for a zero.
*Source*: R18–R24.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from backend.domain.arrays import Basis
from backend.domain.kpis import Kpi, NoFigure, Period, Unit
from backend.domain.sources import SourceUsed

YEAR_DAYS = 364
"""Four quarters of 91 days: the same weekdays a year before."""
ROWS_MAX = 20
"""Rows of one list: those that matter most."""
RULES_VERSION = "7p-1"
"""How the parts are computed; changes when a score would come out differently from the same records."""


class SevenPPart(StrEnum):
    """The seven parts."""

    PROFILING = "PROFILING"
    PERSISTENCY = "PERSISTENCY"
    PROFITABILITY = "PROFITABILITY"
    PERFORMANCE = "PERFORMANCE"
    PROSPECTING = "PROSPECTING"
    PRODUCT = "PRODUCT"
    PROMOTION = "PROMOTION"


class SevenPFigure(StrEnum):
    """What a number in a 7P report tells."""

    CUSTOMERS = "CUSTOMERS"
    BUYERS = "BUYERS"
    NEW_BUYERS = "NEW_BUYERS"
    COMPLETENESS = "COMPLETENESS"
    SHARE = "SHARE"
    EXISTING_VALUE = "EXISTING_VALUE"
    MOVED_UP = "MOVED_UP"
    MOVED_DOWN = "MOVED_DOWN"
    LOYALTY = "LOYALTY"
    CHURN_RISK = "CHURN_RISK"
    RETENTION = "RETENTION"
    REPEAT_RATE = "REPEAT_RATE"
    DAYS_TO_SECOND_ORDER = "DAYS_TO_SECOND_ORDER"
    OVERDUE = "OVERDUE"
    DAYS_SINCE = "DAYS_SINCE"
    INTERVAL_DAYS = "INTERVAL_DAYS"
    INTERVAL_BEFORE_DAYS = "INTERVAL_BEFORE_DAYS"
    SURVIVAL = "SURVIVAL"
    GROSS = "GROSS"
    DISCOUNT = "DISCOUNT"
    RETURNS = "RETURNS"
    FREIGHT = "FREIGHT"
    GOODS = "GOODS"
    VISITS_COST = "VISITS_COST"
    SERVICE = "SERVICE"
    NET = "NET"
    REVENUE = "REVENUE"
    DISCOUNT_RATE = "DISCOUNT_RATE"
    PEER_DISCOUNT_RATE = "PEER_DISCOUNT_RATE"
    LOSS_MAKERS = "LOSS_MAKERS"
    ATTAINMENT = "ATTAINMENT"
    TARGET = "TARGET"
    GROWTH = "GROWTH"
    VOLUME_EFFECT = "VOLUME_EFFECT"
    PRICE_EFFECT = "PRICE_EFFECT"
    MIX_EFFECT = "MIX_EFFECT"
    STRIKE_RATE = "STRIKE_RATE"
    FILL_RATE = "FILL_RATE"
    DAYS_TO_PAY = "DAYS_TO_PAY"
    RETURN_RATE = "RETURN_RATE"
    FUTURE_VALUE = "FUTURE_VALUE"
    WHITESPACE = "WHITESPACE"
    FORECAST = "FORECAST"
    EXPECTED_ORDERS = "EXPECTED_ORDERS"
    NEXT_ORDER_IN = "NEXT_ORDER_IN"
    LEAD_SCORE = "LEAD_SCORE"
    NOT_BUYING = "NOT_BUYING"
    UNITS = "UNITS"
    LIFT = "LIFT"
    CONFIDENCE = "CONFIDENCE"
    SUPPORT = "SUPPORT"
    BROKEN_RUNS = "BROKEN_RUNS"
    MISSING_SHARE = "MISSING_SHARE"
    CAMPAIGNS = "CAMPAIGNS"
    RESPONSE = "RESPONSE"
    RESPONSE_LIFT = "RESPONSE_LIFT"
    RELATIVE_LIFT = "RELATIVE_LIFT"
    INCREMENT = "INCREMENT"
    ROI = "ROI"
    CANNIBALISATION = "CANNIBALISATION"
    FATIGUE = "FATIGUE"
    GAIN_VARIANCE_CUT = "GAIN_VARIANCE_CUT"
    DISCOUNT_RESPONSE = "DISCOUNT_RESPONSE"


class SevenPList(StrEnum):
    """What the rows of a list have in common."""

    KIND = "KIND"
    STAGE = "STAGE"
    SEGMENT = "SEGMENT"
    INCOMPLETE = "INCOMPLETE"
    FALLEN = "FALLEN"
    COHORT = "COHORT"
    OVERDUE = "OVERDUE"
    SLOWING = "SLOWING"
    QUICKENING = "QUICKENING"
    SURVIVAL = "SURVIVAL"
    WATERFALL = "WATERFALL"
    WHALE = "WHALE"
    LOSS_MAKER = "LOSS_MAKER"
    DISCOUNTED = "DISCOUNTED"
    CATEGORY_GROWTH = "CATEGORY_GROWTH"
    QUARTER = "QUARTER"
    FORECAST = "FORECAST"
    PROMISING = "PROMISING"
    NEXT_ORDER = "NEXT_ORDER"
    WHITE_CATEGORY = "WHITE_CATEGORY"
    CATEGORY = "CATEGORY"
    COLOUR = "COLOUR"
    SIZE = "SIZE"
    AFFINITY = "AFFINITY"
    BROKEN_RUN = "BROKEN_RUN"
    CAMPAIGN = "CAMPAIGN"
    GOAL = "GOAL"


class SevenPCaveat(StrEnum):
    """What to be careful of when reading a part."""

    NO_CUSTOMERS = "NO_CUSTOMERS"
    NO_ORDERS = "NO_ORDERS"
    NEVER_SCORED = "NEVER_SCORED"
    LEFT_OUT = "LEFT_OUT"
    SCORES_OF_TODAY = "SCORES_OF_TODAY"
    COMPLETENESS_OF_TODAY = "COMPLETENESS_OF_TODAY"
    YEAR_TOO_SHORT = "YEAR_TOO_SHORT"
    FEW_CUSTOMERS = "FEW_CUSTOMERS"
    DISCOUNTS_PARTLY = "DISCOUNTS_PARTLY"
    COSTS_NOT_RECORDED = "COSTS_NOT_RECORDED"
    GOODS_ASSUMED = "GOODS_ASSUMED"
    RETURNS_NOT_RECORDED = "RETURNS_NOT_RECORDED"
    FREIGHT_NOT_RECORDED = "FREIGHT_NOT_RECORDED"
    SERVICE_NOT_RECORDED = "SERVICE_NOT_RECORDED"
    GOALS_NOT_RECORDED = "GOALS_NOT_RECORDED"
    GOAL_REACHES_BACK = "GOAL_REACHES_BACK"
    SHIPMENTS_NOT_RECORDED = "SHIPMENTS_NOT_RECORDED"
    INVOICES_NOT_RECORDED = "INVOICES_NOT_RECORDED"
    OPPORTUNITIES_NOT_RECORDED = "OPPORTUNITIES_NOT_RECORDED"
    CAMPAIGNS_NOT_RECORDED = "CAMPAIGNS_NOT_RECORDED"
    MIX_WITHIN_CATEGORY = "MIX_WITHIN_CATEGORY"
    MODEL_SHIPPED = "MODEL_SHIPPED"
    INTERVAL_TOO_NARROW = "INTERVAL_TOO_NARROW"
    CELLS_CUT = "CELLS_CUT"
    STOCK_NOT_RECORDED = "STOCK_NOT_RECORDED"
    MANY_PAIRS = "MANY_PAIRS"
    NOT_A_CAUSE = "NOT_A_CAUSE"
    GAIN_MAY_BE_NONE = "GAIN_MAY_BE_NONE"
    GAIN_NOT_ADJUSTED = "GAIN_NOT_ADJUSTED"
    ROWS_WITHHELD = "ROWS_WITHHELD"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `value` in its unit, None where `missing` says why; `low`, `high`: its interval where one is known
    (95 %, of forecasts 80 %); `before`: the same a year before, None where nothing was recorded then; `n`: over how
    many."""

    code: SevenPFigure
    unit: Unit
    value: int | None
    low: int | None = None
    high: int | None = None
    before: int | None = None
    n: int = 0
    missing: NoFigure | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of evidence. `label`: a code or text to name it by; `collection`, `record_id`: the record it is about,
    with `related_id`, the newest record it rests on."""

    list: SevenPList
    figures: tuple[Figure, ...]
    label: str | None = None
    collection: str | None = None
    record_id: str | None = None
    related_id: str | None = None


@dataclass(frozen=True, slots=True)
class Caveat:
    """Something to be careful of; `count`: how many it concerns, where that can be said."""

    code: SevenPCaveat
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One of the seven. `score`: 0..100, None where nothing can be said; `trend`: points since a year before, None
    where that cannot be compared; `n`: customers it was computed over; `version`: of rules, tables or models."""

    code: SevenPPart
    score: int | None
    trend: int | None
    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    basis: Basis
    n: int
    caveats: tuple[Caveat, ...]
    sources: tuple[SourceUsed, ...]
    version: str = RULES_VERSION
    withheld: frozenset[SevenPList] = field(default_factory=frozenset)

    def figure(self, code: SevenPFigure) -> Figure:
        """The figure of a code; KeyError where the part has none."""
        found = next((one for one in self.figures if one.code is code), None)
        if found is None:
            raise KeyError(code)
        return found

    def rows_of(self, code: SevenPList) -> tuple[Row, ...]:
        """The rows of one list, in their sequence."""
        return tuple(row for row in self.rows if row.list is code)


def year_until(day: int) -> Period:
    """The year that ends with a day."""
    return Period(day - YEAR_DAYS + 1, day)


def count(code: SevenPFigure, value: int, before: int | None = None, *, n: int = 0) -> Figure:
    """A number of things."""
    return Figure(code, Unit.COUNT, value, before=before, n=n)


def money(code: SevenPFigure, value: int, before: int | None = None, *, n: int = 0) -> Figure:
    """An amount in minor units of the reporting currency."""
    return Figure(code, Unit.MONEY_MINOR, value, before=before, n=n)


def ranged(code: SevenPFigure, unit: Unit, values: Iterable[float], scale: float = 1.0, *, n: int = 0) -> Figure:
    """A figure with its interval: value, lower and upper end, each × `scale` and rounded."""
    value, low, high = (round(float(one) * scale) for one in values)
    return Figure(code, unit, value, low, high, n=n)


def share(code: SevenPFigure, part: float, whole: float, *, n: int = 0) -> Figure:
    """A share in basis points; nothing to count where the whole is nothing."""
    if whole == 0:
        return Figure(code, Unit.BASIS_POINTS, None, missing=NoFigure.NOTHING_TO_COUNT)
    return Figure(code, Unit.BASIS_POINTS, round(part * 10_000 / whole), n=n)


def not_recorded(code: SevenPFigure, unit: Unit) -> Figure:
    """A figure that nobody records the inputs of."""
    return Figure(code, unit, None, missing=NoFigure.NOT_RECORDED)


def nothing(code: SevenPFigure, unit: Unit, missing: NoFigure = NoFigure.NOTHING_TO_COUNT) -> Figure:
    """A figure without anything to count."""
    return Figure(code, unit, None, missing=missing)


def of_kpi(code: SevenPFigure, unit: Unit, now: Kpi, then: Kpi | None) -> Figure:
    """A key figure with the one of a year before."""
    before = None if then is None else then.value
    return Figure(code, unit, now.value, now.low, now.high, before, now.whole, now.missing)


def trend_of(score: int | None, before: int | None) -> int | None:
    """Points gained since a year before."""
    return None if score is None or before is None else score - before


def points(value: float) -> int:
    """A score within 0..100, in whole points."""
    return round(min(100.0, max(0.0, value)))


def counted_rows(
    code: SevenPList, labels: Sequence[str | None], shown_max: int = ROWS_MAX, extra: Mapping[str, int] | None = None
) -> list[Row]:
    """A row for each label with how many there are and their share, the most first; `extra`: existing value of each."""
    counts: dict[str | None, int] = {}
    for one in labels:
        counts[one] = counts.get(one, 0) + 1
    order = sorted(counts, key=lambda one: (-counts[one], one or ""))[:shown_max]
    return [
        Row(
            code,
            (
                count(SevenPFigure.CUSTOMERS, counts[one]),
                share(SevenPFigure.SHARE, counts[one], len(labels)),
                *(
                    (money(SevenPFigure.EXISTING_VALUE, extra[one]),)
                    if extra is not None and one is not None and one in extra
                    else ()
                ),
            ),
            label=one,
        )
        for one in order
    ]
