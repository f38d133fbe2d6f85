"""Customers cut along several sides at once: what may be asked, and what each group shows of its sums.

The database gives sums and counts per group (`reads/cube.py`); here the question is judged before and the figures are
made after: averages half-even from whole numbers, NOT_RECORDED where a source does not exist, and nothing of a group so
small that it would show single customers to a role that may read sums only. *Source*: R8; privacy R49.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.custom import CustomField, CustomKind
from backend.domain.money import divide_half_even
from backend.errors import Code, Problem, Refused

DIMENSIONS_MAX = 4
DEPTH_MAX = 9
PRIORITY_TIERS = ((80, "80-100"), (60, "60-79"), (40, "40-59"), (20, "20-39"), (0, "0-19"))
"""Least priority of a tier → its name, from the top."""


class CubeDimension(StrEnum):
    """A side along which customers, or their orders, are cut."""

    KIND = "KIND"
    STAGE = "STAGE"
    SEGMENT = "SEGMENT"
    PRIORITY_TIER = "PRIORITY_TIER"
    TERRITORY = "TERRITORY"
    COUNTRY = "COUNTRY"
    PROVINCE = "PROVINCE"
    CITY = "CITY"
    CUSTOM = "CUSTOM"
    SEASON = "SEASON"
    CATEGORY = "CATEGORY"
    ORDER_QUARTER = "ORDER_QUARTER"
    ORDER_MONTH = "ORDER_MONTH"
    ORDER_SOURCE = "ORDER_SOURCE"
    CURRENCY = "CURRENCY"


class CubeMeasure(StrEnum):
    """What is told of each group."""

    CUSTOMERS = "CUSTOMERS"
    ORDERS = "ORDERS"
    NET_SALES = "NET_SALES"
    AVERAGE_ORDER = "AVERAGE_ORDER"
    UNITS = "UNITS"
    VISITS = "VISITS"
    AVERAGE_PRIORITY = "AVERAGE_PRIORITY"
    AVERAGE_LOYALTY = "AVERAGE_LOYALTY"
    AVERAGE_SATISFACTION = "AVERAGE_SATISFACTION"
    MARGIN = "MARGIN"
    RETURNS = "RETURNS"


class CubeUnit(StrEnum):
    """What a figure of a cube is counted in."""

    COUNT = "COUNT"
    MONEY_MINOR = "MONEY_MINOR"
    """minor units of the group's currency"""
    HUNDREDTHS = "HUNDREDTHS"
    """hundredths of a point"""


class CellState(StrEnum):
    """Whether a figure is there, and why not."""

    SHOWN = "SHOWN"
    NOT_RECORDED = "NOT_RECORDED"
    """nothing keeps what it would be made of"""
    NOTHING_TO_COUNT = "NOTHING_TO_COUNT"
    """an average over nothing"""
    NO_EXCHANGE_RATE = "NO_EXCHANGE_RATE"
    """some order's currency had no rate on its day, so there is no whole sum"""
    TOO_LARGE = "TOO_LARGE"
    """beyond what a client can hold exactly"""
    SUPPRESSED = "SUPPRESSED"
    """of so few customers that the figure would tell what single ones ordered"""


OF_ORDERS = frozenset(
    {
        CubeDimension.SEASON,
        CubeDimension.CATEGORY,
        CubeDimension.ORDER_QUARTER,
        CubeDimension.ORDER_MONTH,
        CubeDimension.ORDER_SOURCE,
        CubeDimension.CURRENCY,
    }
)
"""Dimensions that cut orders: customers are then those who ordered there, each once in every group."""
_OF_SCORES = frozenset({CubeDimension.SEGMENT, CubeDimension.PRIORITY_TIER})
CUSTOM_KINDS = frozenset({CustomKind.CHOICE, CustomKind.BOOL})
"""Kinds of custom fields whose values make groups."""


@dataclass(frozen=True, slots=True)
class MeasureRule:
    """`sums`: the columns the figure is made of; `reads`: the collection they stand in; `with_orders`: can be told of
    groups of orders; `recorded`: False while no part of the product keeps it."""

    unit: CubeUnit
    sums: tuple[str, ...] = ()
    reads: str = ""
    with_orders: bool = False
    recorded: bool = True


MEASURES: Mapping[CubeMeasure, MeasureRule] = {
    CubeMeasure.CUSTOMERS: MeasureRule(CubeUnit.COUNT, with_orders=True),
    CubeMeasure.ORDERS: MeasureRule(CubeUnit.COUNT, ("orders",), "orders", with_orders=True),
    CubeMeasure.NET_SALES: MeasureRule(CubeUnit.MONEY_MINOR, ("net", "unknown"), "orders", with_orders=True),
    CubeMeasure.AVERAGE_ORDER: MeasureRule(CubeUnit.MONEY_MINOR, ("net", "unknown", "orders"), "orders", True),
    CubeMeasure.UNITS: MeasureRule(CubeUnit.COUNT, ("units",), "orders", with_orders=True),
    CubeMeasure.VISITS: MeasureRule(CubeUnit.COUNT, ("visits",), "visits"),
    CubeMeasure.AVERAGE_PRIORITY: MeasureRule(CubeUnit.HUNDREDTHS, ("priority", "priority_n"), "scores"),
    CubeMeasure.AVERAGE_LOYALTY: MeasureRule(CubeUnit.HUNDREDTHS, ("loyalty", "loyalty_n"), "scores"),
    CubeMeasure.AVERAGE_SATISFACTION: MeasureRule(CubeUnit.HUNDREDTHS, ("satisfaction", "satisfaction_n"), "scores"),
    CubeMeasure.MARGIN: MeasureRule(CubeUnit.MONEY_MINOR, with_orders=True, recorded=False),
    CubeMeasure.RETURNS: MeasureRule(CubeUnit.COUNT, with_orders=True, recorded=False),
}


@dataclass(frozen=True, slots=True)
class Side:
    """One dimension asked for. `depth`: of TERRITORY, steps below the root node, which is 1; `key`: of CUSTOM."""

    dimension: CubeDimension
    depth: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CubeWish:
    """A whole question. `totals`: a row over everything; `subtotals`: one for every value of the first dimension, of
    the first two, and so on."""

    sides: tuple[Side, ...]
    measures: tuple[CubeMeasure, ...]
    totals: bool = False
    subtotals: bool = False

    @property
    def of_orders(self) -> bool:
        """Whether orders are cut, and not customers."""
        return any(side.dimension in OF_ORDERS for side in self.sides)

    @property
    def by_currency(self) -> bool:
        """Whether each group has a currency of its own."""
        return any(side.dimension is CubeDimension.CURRENCY for side in self.sides)

    @property
    def sums(self) -> tuple[str, ...]:
        """The columns to add up, each once."""
        return tuple(dict.fromkeys(name for measure in self.measures for name in MEASURES[measure].sums))

    @property
    def asks_orders(self) -> bool:
        """Whether something is told that orders tell."""
        return self.of_orders or any(MEASURES[measure].reads == "orders" for measure in self.measures)

    @property
    def levels(self) -> tuple[int, ...]:
        """By how many of the first dimensions rows are grouped, the finest first."""
        whole = len(self.sides)
        between = range(whole - 1, 0, -1) if self.subtotals else ()
        return (whole, *between, *((0,) if self.totals and whole else ()))


def cube_problems(
    wish: CubeWish,
    *,
    defined: Sequence[CustomField],
    masked: bool,
    may: Callable[[str], bool],
    allowed: Collection[str],
) -> list[Problem]:
    """Everything wrong with a question, under `dimensions` and `measures`.

    `may` says whether orders (their sums at least), visits or scores may be read; `allowed` are the fields that a
    predicate of the same person may name, told where a field is forbidden.
    """
    problems: list[Problem] = []
    if len(wish.sides) > DIMENSIONS_MAX:
        problems.append(Problem(Code.TOO_MANY, ("dimensions",), (str(DIMENSIONS_MAX),)))
    if not wish.measures:
        problems.append(Problem(Code.REQUIRED, ("measures",), tuple(CubeMeasure)))
    for name, given in (("dimensions", wish.sides), ("measures", wish.measures)):
        for place, one in enumerate(given):
            if one in given[:place]:
                problems.append(Problem(Code.INVALID_VALUE, (name, str(place)), params={"reason": "twice"}))
    known = {one.key: one for one in defined if one.kind in CUSTOM_KINDS}
    for place, side in enumerate(wish.sides):
        path = ("dimensions", str(place))
        if (side.depth is None) == (side.dimension is CubeDimension.TERRITORY):
            code = Code.REQUIRED if side.depth is None else Code.INVALID_VALUE
            problems.append(Problem(code, (*path, "depth"), (CubeDimension.TERRITORY.value,)))
        elif side.depth is not None and not 1 <= side.depth <= DEPTH_MAX:
            problems.append(Problem(Code.OUT_OF_RANGE, (*path, "depth"), ("1", str(DEPTH_MAX))))
        if (side.key is None) == (side.dimension is CubeDimension.CUSTOM):
            code = Code.REQUIRED if side.key is None else Code.INVALID_VALUE
            problems.append(Problem(code, (*path, "key"), (CubeDimension.CUSTOM.value,)))
        elif side.key is not None:
            open_keys = tuple(sorted(key for key, one in known.items() if not (masked and one.personal)))
            if side.key not in open_keys:
                code = Code.NOT_PERMITTED if side.key in known else Code.UNKNOWN_FIELD
                problems.append(Problem(code, (*path, "key"), open_keys))
        needs = "orders" if side.dimension in OF_ORDERS else "scores" if side.dimension in _OF_SCORES else ""
        if needs and not may(needs):
            problems.append(Problem(Code.NOT_PERMITTED, (*path, side.dimension.value), tuple(sorted(allowed))))
    tellable = tuple(one for one in CubeMeasure if MEASURES[one].with_orders or not wish.of_orders)
    for place, measure in enumerate(wish.measures):
        if measure not in tellable:
            problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("measures", str(place)), tellable))
        elif MEASURES[measure].reads and not may(MEASURES[measure].reads):
            problems.append(Problem(Code.NOT_PERMITTED, ("measures", str(place)), tuple(
                one.value for one in CubeMeasure if not MEASURES[one].reads or may(MEASURES[one].reads)
            )))  # fmt: skip
    if wish.by_currency and (wish.totals or wish.subtotals):
        problems.append(Problem(Code.CURRENCY_MIXED, ("totals" if wish.totals else "subtotals",)))
    return problems


@dataclass(frozen=True, slots=True)
class Group:
    """Sums of one group. `level`: how many of the dimensions it is cut by; `keys`: their values, None where nothing
    was recorded; `sums` by column, None beyond what can be held."""

    level: int
    keys: tuple[str | None, ...]
    customers_n: int
    sums: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure. `n`: of how many an average is."""

    measure: CubeMeasure
    state: CellState
    value: int | None = None
    n: int | None = None


def cells(group: Group, measures: Sequence[CubeMeasure]) -> tuple[Cell, ...]:
    """The figures of a group, in the order asked for."""
    return tuple(_cell(group, measure) for measure in measures)


def _cell(group: Group, measure: CubeMeasure) -> Cell:
    rule = MEASURES[measure]
    if not rule.recorded:
        return Cell(measure, CellState.NOT_RECORDED)
    if measure is CubeMeasure.CUSTOMERS:
        return Cell(measure, CellState.SHOWN, group.customers_n)
    first = group.sums[rule.sums[0]]
    if "unknown" in rule.sums and group.sums["unknown"]:
        return Cell(measure, CellState.NO_EXCHANGE_RATE)
    if first is None:
        return Cell(measure, CellState.TOO_LARGE)
    if rule.sums == ("net", "unknown") or len(rule.sums) == 1:
        return Cell(measure, CellState.SHOWN, first)
    n = group.sums[rule.sums[-1]] or 0
    if n == 0:
        return Cell(measure, CellState.NOTHING_TO_COUNT, n=0)
    times = 100 if measure is CubeMeasure.AVERAGE_PRIORITY else 1
    return Cell(measure, CellState.SHOWN, divide_half_even(first * times, n), n)


def suppressed(groups: Sequence[Group], least_n: int) -> frozenset[tuple[int, tuple[str | None, ...]]]:
    """(level, keys) of groups of which nothing may be told to who may read sums only.

    Those of fewer than `least_n` customers; and where those left out under one parent have together fewer, the
    smallest of their neighbours too, so that no subtraction from the parent tells them; and everything under a group
    that is left out. A filter that cuts one customer off is not answered either: its group is below `least_n`, but two
    questions that differ by one customer can still be subtracted (`docs/LIMITS.md`).
    """
    finest = max((group.level for group in groups), default=0)
    leaves = [group for group in groups if group.level == finest]
    counts: dict[tuple[int, tuple[str | None, ...]], int] = {}
    for leaf in leaves:
        for level in range(finest + 1):
            key = (level, leaf.keys[:level])
            counts[key] = counts.get(key, 0) + leaf.customers_n
    # a customer who ordered in several groups is one in the sum: where the database counted, its count stands
    counts.update({(group.level, group.keys): group.customers_n for group in groups})
    gone: set[tuple[int, tuple[str | None, ...]]] = {(0, ())} if 0 < counts.get((0, ()), 0) < least_n else set()
    for level in range(1, finest + 1):
        by_parent: dict[tuple[str | None, ...], list[tuple[int, tuple[str | None, ...]]]] = {}
        for key in sorted((key for key in counts if key[0] == level), key=lambda key: (counts[key], repr(key))):
            by_parent.setdefault(key[1][:-1], []).append(key)
        for parent, children in by_parent.items():
            gone.update(_left_out(children, counts, least_n, whole=(level - 1, parent) in gone))
    return frozenset(gone)


def _left_out(
    children: Sequence[tuple[int, tuple[str | None, ...]]],
    counts: Mapping[tuple[int, tuple[str | None, ...]], int],
    least_n: int,
    *,
    whole: bool,
) -> Sequence[tuple[int, tuple[str | None, ...]]]:
    """Of the groups under one parent, the smallest first."""
    if whole:
        return children
    out = [key for key in children if counts[key] < least_n]
    hidden = sum(counts[key] for key in out)
    for key in children[len(out) :]:
        if not out or hidden >= least_n:
            break
        out.append(key)
        hidden += counts[key]
    return out


def refuse_too_many(groups_n: int, groups_max: int) -> None:
    """*Raises* TOO_MANY where a question has more groups than are answered at once."""
    if groups_n > groups_max:
        raise Refused(Problem(Code.TOO_MANY, ("dimensions",), (str(groups_max),)))
