"""Key figures of small worlds that can be reckoned by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from backend.domain.arrays import Basis, IntColumn
from backend.domain.kpis import (
    KPI_SOURCES,
    KPI_UNITS,
    Kpi,
    KpiCode,
    KpiInputs,
    NoFigure,
    Period,
    check_period,
    kpi,
)
from backend.errors import Code, Refused
from tests.domain.worlds import order_columns

MAY = Period(100, 130)


def world(
    orders: Sequence[tuple[int, int, int]],
    visits: Sequence[tuple[int, int]] = (),
    *,
    customers_n: int = 5,
    reps_n: int = 0,
    visiting: int = 0,
    wallet: IntColumn | None = None,
) -> KpiInputs:
    return KpiInputs(
        orders=order_columns(orders),
        customers_n=customers_n,
        visit_customer=np.array([who for who, _ in visits], dtype=np.int64),
        visit_day=np.array([day for _, day in visits], dtype=np.int64),
        reps_n=reps_n,
        visiting_reps_n={MAY: visiting},
        visit_cost_minor=50,
        wallet_share_bp=None if wallet is None else {MAY: wallet},
    )


@pytest.mark.requirement("R6")
def test_revenue_is_the_orders_of_the_period_with_both_its_ends() -> None:
    found = kpi(KpiCode.REVENUE, world([(0, 99, 7), (0, 100, 10), (1, 130, 20), (1, 131, 40)]), MAY)
    assert (found.value, found.whole) == (30, 2)
    assert kpi(KpiCode.REVENUE, world([]), MAY) == Kpi(0)


@pytest.mark.requirement("R17")
def test_who_ordered_again_had_ordered_on_an_earlier_day() -> None:
    orders = [(0, 50, 9), (0, 110, 9), (1, 110, 9), (1, 110, 9), (2, 105, 9), (2, 120, 9), (3, 60, 9), (3, 70, 9)]
    found = kpi(KpiCode.REPEAT_RATE, world(orders), MAY)
    assert (found.value, found.part, found.whole) == (6667, 2, 3)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 6667 < found.high


@pytest.mark.requirement("R17")
def test_days_to_the_second_order_wait_for_those_who_have_not_come_again() -> None:
    orders = [(0, 100, 9), (0, 104, 9), (1, 101, 9), (1, 111, 9), (2, 102, 9), (2, 122, 9), (3, 129, 9), (4, 90, 9)]
    found = kpi(KpiCode.DAYS_TO_SECOND_ORDER, world(orders), MAY)
    # 4, 10 and 20 days, and one seen for a day only; a mean of those who came would call it 11
    assert (found.value, found.part, found.whole) == (10, 3, 4)
    rare = kpi(KpiCode.DAYS_TO_SECOND_ORDER, world([(0, 100, 9), (0, 104, 9), (1, 101, 9), (2, 102, 9)]), MAY)
    assert (rare.value, rare.missing, rare.part, rare.whole) == (None, NoFigure.NOT_REACHED, 1, 3)
    assert kpi(KpiCode.DAYS_TO_SECOND_ORDER, world([(4, 90, 9)]), MAY).missing is NoFigure.NOTHING_TO_COUNT


@pytest.mark.requirement("R17")
def test_won_back_are_the_dormant_who_order_again() -> None:
    steady = [(who, day, 9) for who in (0, 1, 2) for day in (0, 10, 20)]
    orders = [*steady, (0, 110, 9), (2, 95, 9), (2, 105, 9)]
    # 0 and 1 were silent for 79 days at intervals of 10; 2 had just come
    found = kpi(KpiCode.WIN_BACK_RATE, world(orders), MAY)
    assert (found.value, found.part, found.whole) == (5000, 1, 2)


@pytest.mark.requirement("R6")
def test_a_cycle_runs_from_the_first_visit_after_the_order_before() -> None:
    orders = [(0, 90, 9), (0, 120, 9), (1, 110, 9), (2, 115, 9), (3, 116, 9)]
    visits = [(0, 80), (0, 90), (0, 100), (0, 111), (1, 110), (2, 117), (4, 100)]
    found = kpi(KpiCode.CYCLE_DAYS, world(orders, visits), MAY)
    # 0: from day 100 (the visit of day 90 belongs to the order of day 90); 1: the same day; 2 and 3: not visited for
    assert (found.value, found.part, found.whole) == (0, 2, 4)
    [only] = [kpi(KpiCode.CYCLE_DAYS, world(orders[:2], visits), MAY)]
    assert (only.value, only.part, only.whole) == (20, 1, 1)
    assert kpi(KpiCode.CYCLE_DAYS, world(orders), MAY).missing is NoFigure.NOTHING_TO_COUNT
    assert kpi(KpiCode.CYCLE_DAYS, world([], visits), MAY).missing is NoFigure.NOTHING_TO_COUNT


@pytest.mark.requirement("R6")
def test_cost_of_sale_says_that_visits_are_only_a_part() -> None:
    found = kpi(KpiCode.COST_OF_SALE, world([(0, 110, 1_000)], [(0, 100), (1, 130), (2, 131)]), MAY)
    assert (found.value, found.part, found.whole, found.basis) == (1_000, 100, 1_000, Basis.PARTLY_RECORDED)
    assert kpi(KpiCode.COST_OF_SALE, world([], [(0, 100)]), MAY).missing is NoFigure.NOTHING_TO_COUNT


@pytest.mark.requirement("R6")
def test_what_nobody_records_is_no_zero() -> None:
    for code in (KpiCode.WIN_RATE, KpiCode.SHARE_OF_WALLET):
        found = kpi(code, world([(0, 110, 9)]), MAY)
        assert (found.value, found.missing, found.basis) == (None, NoFigure.NOT_RECORDED, Basis.NOT_RECORDED)
    stated = kpi(KpiCode.SHARE_OF_WALLET, world([], wallet=IntColumn.of([2_000, None, 4_000])), MAY)
    assert (stated.value, stated.part, stated.whole) == (3_000, 2, 5)
    asked = kpi(KpiCode.SHARE_OF_WALLET, world([], wallet=IntColumn.missing(5)), MAY)
    assert asked.missing is NoFigure.NOTHING_TO_COUNT


def test_adoption_is_the_share_of_reps_who_record_visits() -> None:
    assert kpi(KpiCode.ADOPTION, world([], reps_n=4, visiting=3), MAY).value == 7_500
    assert kpi(KpiCode.ADOPTION, world([]), MAY).missing is NoFigure.NOTHING_TO_COUNT


def test_every_figure_is_finite_on_nothing_and_has_unit_and_sources() -> None:
    for code in KpiCode:
        found = kpi(code, world([], customers_n=0), MAY)
        assert found.value is not None or found.missing is not None
        assert KPI_UNITS[code]
        assert KPI_SOURCES[code]


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [(10, 9, Code.OUT_OF_RANGE), (0, 1_100, Code.OUT_OF_RANGE), (2_990, 3_001, Code.IN_THE_FUTURE)],
)
def test_a_period_is_not_empty_not_endless_and_not_ahead(first: int, last: int, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        check_period(first, last, today=3_000)
    assert [problem.code for problem in refused.value.problems] == [code]


def test_the_period_before_ends_where_this_one_begins() -> None:
    assert check_period(100, 130, 3_000) == MAY
    assert MAY.before == Period(69, 99)
