"""What a cube may be asked, what its figures are, and which groups are too small to be told."""

import numpy as np
import pytest

from backend.domain.cube import (
    Cell,
    CellState,
    CubeDimension,
    CubeMeasure,
    CubeWish,
    Group,
    Side,
    cells,
    cube_problems,
    suppressed,
)
from backend.domain.custom import CustomField, CustomKind

OWN = (
    CustomField("tier", CustomKind.CHOICE, choices=("a",)),
    CustomField("kin", CustomKind.BOOL, personal=True),
    CustomField("doors", CustomKind.INT),
)
D, M = CubeDimension, CubeMeasure


def problems(
    wish: CubeWish, *, masked: bool = False, may: tuple[str, ...] = ("orders", "visits", "scores")
) -> list[str]:
    found = cube_problems(wish, defined=OWN, masked=masked, may=lambda name: name in may, allowed=("kind",))
    return [f"{one.code.value} {'.'.join(one.path)}" for one in found]


def wish(*sides: Side, measures: tuple[CubeMeasure, ...] = (M.CUSTOMERS,), **more: bool) -> CubeWish:
    return CubeWish(sides, measures, **more)


def test_everything_wrong_with_a_question_is_told_at_once() -> None:
    sides = (
        Side(D.TERRITORY),
        Side(D.KIND, depth=1),
        Side(D.CUSTOM),
        Side(D.CUSTOM, key="doors"),
        Side(D.KIND, depth=1),
        Side(D.TERRITORY, depth=99),
    )
    assert problems(wish(*sides, measures=())) == [
        "TOO_MANY dimensions",
        "REQUIRED measures",
        "INVALID_VALUE dimensions.4",
        "REQUIRED dimensions.0.depth",
        "INVALID_VALUE dimensions.1.depth",
        "REQUIRED dimensions.2.key",
        "UNKNOWN_FIELD dimensions.3.key",
        "INVALID_VALUE dimensions.4.depth",
        "OUT_OF_RANGE dimensions.5.depth",
    ]


def test_what_a_role_may_not_read_makes_no_group_and_no_figure() -> None:
    asked = wish(Side(D.SEGMENT), Side(D.CUSTOM, key="kin"), measures=(M.VISITS, M.NET_SALES))
    assert problems(asked, masked=True, may=("orders",)) == [
        "NOT_PERMITTED dimensions.0.SEGMENT",
        "NOT_PERMITTED dimensions.1.key",
        "NOT_PERMITTED measures.0",
    ]
    assert problems(asked) == []


def test_groups_of_orders_have_no_visits_and_currencies_no_totals() -> None:
    asked = wish(Side(D.CURRENCY), measures=(M.NET_SALES, M.VISITS), totals=True)
    assert problems(asked) == ["NOT_ALLOWED_VALUE measures.1", "CURRENCY_MIXED totals"]


def figures(measure: CubeMeasure, **sums: int | None) -> Cell:
    return cells(Group(0, (), 3, sums), (measure,))[0]


@pytest.mark.parametrize(
    ("measure", "sums", "state", "value"),
    [
        (M.CUSTOMERS, {}, CellState.SHOWN, 3),
        (M.NET_SALES, {"net": 500, "unknown": 0}, CellState.SHOWN, 500),
        (M.NET_SALES, {"net": 500, "unknown": 1}, CellState.NO_EXCHANGE_RATE, None),
        (M.NET_SALES, {"net": None, "unknown": 0}, CellState.TOO_LARGE, None),
        (M.AVERAGE_ORDER, {"net": 5, "unknown": 0, "orders": 2}, CellState.SHOWN, 2),
        (M.AVERAGE_ORDER, {"net": 0, "unknown": 0, "orders": 0}, CellState.NOTHING_TO_COUNT, None),
        (M.AVERAGE_ORDER, {"net": 5, "unknown": 2, "orders": 2}, CellState.NO_EXCHANGE_RATE, None),
        (M.AVERAGE_PRIORITY, {"priority": 7, "priority_n": 3}, CellState.SHOWN, 233),
        (M.AVERAGE_LOYALTY, {"loyalty": 7, "loyalty_n": 2}, CellState.SHOWN, 4),
        (M.AVERAGE_LOYALTY, {"loyalty": 0, "loyalty_n": 0}, CellState.NOTHING_TO_COUNT, None),
        (M.MARGIN, {}, CellState.NOT_RECORDED, None),
        (M.RETURNS, {}, CellState.NOT_RECORDED, None),
    ],
)
def test_a_figure_is_shown_or_says_why_not(
    measure: CubeMeasure, sums: dict[str, int | None], state: CellState, value: int | None
) -> None:
    found = figures(measure, **sums)
    assert (found.state, found.value) == (state, value)


def groups(*counts: int) -> list[Group]:
    return [Group(1, (str(place),), count, {}) for place, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("counts", "out"),
    [
        ((5, 9, 30), set()),
        ((4, 9, 30), {"0", "1"}),
        ((4, 4, 30), {"0", "1"}),
        ((1, 1, 7, 30), {"0", "1", "2"}),
        ((4,), {"0"}),
        ((), set()),
    ],
)
def test_no_small_group_is_told_nor_what_is_left_when_the_others_are_taken_off(
    counts: tuple[int, ...], out: set[str]
) -> None:
    found = suppressed(groups(*counts), 5)
    assert {keys[0] for level, keys in found if level == 1} == out


def test_what_stands_under_a_group_left_out_is_left_out_too() -> None:
    rows = [Group(2, ("a", "x"), 4, {}), Group(2, ("b", "x"), 6, {}), Group(2, ("b", "y"), 7, {}),
            Group(2, ("c", "x"), 50, {})]  # fmt: skip
    found = suppressed(rows, 5)
    assert {keys for level, keys in found if level == 2} == {("a", "x"), ("b", "x"), ("b", "y")}
    total = suppressed([Group(1, ("a",), 2, {}), Group(0, (), 2, {})], 5)
    assert (0, ()) in total


@pytest.mark.requirement("R49")
def test_what_is_left_out_never_adds_up_to_less_than_the_least() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        counts = {(str(a), str(b)): int(rng.integers(1, 12)) for a in range(3) for b in range(3) if rng.random() < 0.8}
        rows = [Group(2, keys, count, {}) for keys, count in counts.items()]
        out = suppressed(rows, 5)
        for parent in {keys[0] for keys in counts}:
            hidden = [count for keys, count in counts.items() if keys[0] == parent and (2, keys) in out]
            shown = [count for keys, count in counts.items() if keys[0] == parent and (2, keys) not in out]
            assert all(count >= 5 for count in shown)
            assert not hidden or not shown or sum(hidden) >= 5
