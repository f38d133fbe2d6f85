"""The seven parts by hand on tiny worlds: every figure that can be reckoned on paper is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.config import load_messages
from backend.domain.arrays import Basis, IntArray, IntColumn
from backend.domain.behaviour import Bought
from backend.domain.calibration import Calibration
from backend.domain.evaluations import EvaluationMetric
from backend.domain.frozen import KINDS
from backend.domain.history import OrderColumns, history_of
from backend.domain.kpis import NoFigure, Period
from backend.domain.messages import LOCALES
from backend.domain.purchase import FitStatus, Model, PurchaseFit, TimeUnit
from backend.domain.segment_moves import Move
from backend.domain.seven_p.all_parts import seven_parts
from backend.domain.seven_p.charts import chart_of
from backend.domain.seven_p.performance import growth_of, performance
from backend.domain.seven_p.persistency import persistency
from backend.domain.seven_p.pictures import Words
from backend.domain.seven_p.product import product
from backend.domain.seven_p.profiling import profiling
from backend.domain.seven_p.profitability import profitability, waterfall, whale_rows
from backend.domain.seven_p.promotion import discount_response, promotion
from backend.domain.seven_p.prospecting import Z_80, ahead, prospecting, seasons
from backend.domain.seven_p.records import (
    BrokenRun,
    CustomerColumns,
    Effect,
    LineColumns,
    Records,
    RevenueGoal,
    ScoreColumns,
)
from backend.domain.seven_p.report import Part, SevenPCaveat, SevenPFigure, SevenPList, SevenPPart, year_until
from backend.domain.sources import Source
from backend.domain.spend import SpendFit

F, L, C = SevenPFigure, SevenPList, SevenPCaveat
TODAY = 20_000
RETAILER, CHAIN = KINDS.index("RETAILER"), KINDS.index("CHAIN")
Order = tuple[int, int, int]
"""(customer, days ago, amount)"""
Line = tuple[int, int, int, int, int, int]
"""(customer, days ago, category, pieces, net, at list price)"""


def ints(values: Sequence[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def world(
    customers_n: int,
    orders: Sequence[Order] = (),
    lines: Sequence[Line] = (),
    visits: Sequence[tuple[int, int]] = (),
    **more: Any,
) -> Records:
    """A world of retailers who never were scored."""
    rows = sorted(orders, key=lambda one: -one[1])
    nothing = np.zeros(len(rows), dtype=np.bool_)
    missing = IntColumn.missing(customers_n)
    columns = list(zip(*lines, strict=True)) if lines else [()] * 6
    records = Records(
        as_of_day=TODAY,
        customers=CustomerColumns(
            tuple(f"c{row}" for row in range(customers_n)),
            np.arange(customers_n),
            np.full(customers_n, RETAILER),
            ("MATURE",) * customers_n,
            np.full(customers_n, 80),
            np.zeros(customers_n, dtype=np.bool_),
        ),
        orders=OrderColumns(
            ints([one[0] for one in rows]),
            ints([TODAY - one[1] for one in rows]),
            ints([one[2] for one in rows]),
            np.zeros(len(rows), dtype=np.int64),
            nothing,
            nothing,
        ),
        order_ids=tuple(f"o{place}" for place in range(len(rows))),
        lines=LineColumns(
            ("KNITS", "TOPS"),
            ints(columns[0]),
            TODAY - ints(columns[1]),
            ints(columns[2]),
            ints(columns[3]),
            ints(columns[4]),
            ints(columns[5]),
            ints(columns[2]) >= 0,
        ),
        visit_customer=ints([one[0] for one in visits]),
        visit_day=TODAY - ints([one[1] for one in visits]),
        scores=ScoreColumns(("",) * customers_n, missing, missing, missing, missing, missing),
        moves=(),
        bought=Bought((), (), (), ints([])),
        baskets=(ints([]), ints([])),
        basket_names=(),
        broken=(),
        effects=(),
        models=None,
        models_version=None,
        visit_cost_minor=100,
    )
    return replace(records, **more)


def told(part: Part, code: SevenPFigure) -> int | NoFigure | None:
    found = part.figure(code)
    return found.missing or found.value


def caveats(part: Part) -> set[SevenPCaveat]:
    return {one.code for one in part.caveats}


# --- nothing recorded ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("customers_n", [0, 3])
def test_of_nothing_there_are_no_rows_no_zero_and_a_reason(customers_n: int) -> None:
    for part in seven_parts(world(customers_n)):
        known = part.code is SevenPPart.PROFILING and customers_n > 0
        assert (part.score is None, part.trend) == (not known, None), part.code
        assert part.caveats, part.code
        assert known or {row.list for row in part.rows} <= {L.WATERFALL}
        for figure in part.figures:
            counted = figure.code in (F.CUSTOMERS, F.COMPLETENESS, F.BUYERS, F.NEW_BUYERS)
            empty = figure.unit.value == "COUNT" and figure.value == 0
            assert figure.missing is not None or counted or empty or figure.value == 0, figure
            if figure.unit.value == "BASIS_POINTS":
                assert figure.value is None, figure
        assert all(figure.value is None for row in part.rows if row.list is L.WATERFALL for figure in row.figures)


@pytest.mark.parametrize("locale", LOCALES)
def test_every_part_has_a_picture_that_fetches_nothing_also_of_nothing(locale: str) -> None:
    words = Words(load_messages(), locale, "USD")
    many = world(3, [(who, 40 * back + who, 1_000) for who in range(3) for back in range(19)])
    for records in (world(0), many):
        for part in seven_parts(records):
            spec = chart_of(part, words)
            text = orjson.dumps(spec).decode()
            assert "://" not in text
            assert len(text) < 40_000
            if not records.orders.day.size:
                assert spec["data"] == {"values": []}
                assert spec["title"]["subtitle"]


# --- profiling ----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R18")
def test_profiling_counts_kinds_segments_and_moves() -> None:
    records = world(4, [(0, 5, 10), (1, 400, 10)])
    scores = ScoreColumns(
        ("HHHH", "LLLL", "HHHH", ""), IntColumn.of([70, 5, 30, None]), *(IntColumn.missing(4) for _ in range(4))
    )
    moves = [
        Move("c0", "2024-01-02", "LHHH", "HHHH", "EXISTING_VALUE"),
        Move("c1", "2024-02-02", "HHHH", "LLLL", "SEVERAL_AXES"),
        Move("c2", "2024-03-02", None, "HHHH", "FIRST_SCORED"),
        Move("c3", "2024-04-02", "LLLL", "LLLH", "SATISFACTION"),
    ]
    customers = replace(
        records.customers, kind=ints([RETAILER, CHAIN, CHAIN, CHAIN]), completeness=ints([100, 50, 70, 80])
    )
    part = profiling(replace(records, scores=scores, moves=moves, customers=customers))
    assert (part.score, part.trend, part.n) == (75, None, 4)
    assert [(row.label, row.figures[0].value, row.figures[1].value) for row in part.rows_of(L.KIND)] == [
        ("CHAIN", 3, 7_500), ("RETAILER", 1, 2_500),
    ]  # fmt: skip
    assert [(row.label, [one.value for one in row.figures]) for row in part.rows_of(L.SEGMENT)] == [
        ("HHHH", [2, 6_667, 100]), ("LLLL", [1, 3_333, 5]),
    ]  # fmt: skip
    assert (told(part, F.MOVED_UP), told(part, F.MOVED_DOWN)) == (2, 1)
    assert [row.record_id for row in part.rows_of(L.FALLEN)] == ["c1"]
    assert [row.record_id for row in part.rows_of(L.INCOMPLETE)] == ["c1", "c2", "c3"]
    assert (told(part, F.BUYERS), part.figure(F.BUYERS).before, told(part, F.NEW_BUYERS)) == (1, None, 1)


# --- persistency --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R19")
def test_persistency_tells_who_stays_and_who_is_overdue() -> None:
    monthly = [(0, 30 * back, 100) for back in range(24)]
    silent = [(1, 30 * back, 900) for back in range(10, 24)]
    once = [(2, 700, 50)]
    part = persistency(world(3, [*monthly, *silent, *once]))
    # of the three of the year before, two ordered again: the silent one until 300 days ago
    retention = part.figure(F.RETENTION)
    assert (retention.value, retention.n, retention.before) == (6_667, 3, None)
    assert retention.low is not None
    assert retention.high is not None
    assert retention.low < 6_667 < retention.high
    first, second = part.rows_of(L.OVERDUE)
    assert (first.record_id, first.figures[0].value, first.figures[2].value) == ("c1", 300, 900 * 3)
    assert (second.record_id, second.figures[0].value) == ("c2", 700)
    assert (told(part, F.OVERDUE), part.n) == (2, 3)
    # one wholly on time, two wholly overdue, but for the shoulders of the curve
    assert part.score == 33
    # a year before, the silent one was on time
    assert part.trend is not None
    assert part.trend < 0
    ages = {row.label: row.figures[0].value for row in part.rows_of(L.SURVIVAL) if (row.label or "").startswith("ALL")}
    # c2 was gone on the day it came, c1 after 390 days
    assert ages == {"ALL +90": 6_667, "ALL +180": 6_667, "ALL +365": 6_667}


def test_who_is_not_gone_yet_counts_as_long_as_it_was_seen() -> None:
    part = persistency(
        world(2, [(0, 20 * back, 10) for back in range(21)] + [(1, 20 * back, 10) for back in range(1, 16)])
    )
    assert [(row.label, row.figures[0].value) for row in part.rows_of(L.SURVIVAL)][:3] == [
        ("ALL +90", 10_000), ("ALL +180", 10_000), ("ALL +365", 10_000),
    ]  # fmt: skip


def test_a_steady_change_of_rhythm_is_told_from_chance() -> None:
    def visits_of(who: int, gaps: Sequence[int]) -> list[Order]:
        ago = np.cumsum([3, *gaps])
        return [(who, int(day), 10) for day in ago]

    slower = visits_of(0, [47, 43, 39, 35, 31, 28, 26, 24, 22, 21])
    faster = visits_of(1, [11, 13, 15, 18, 21, 25, 30, 36, 43, 52])
    # lately half as long again as before, but up and down all the time
    uneven = visits_of(2, [20, 100, 20, 60, 60, 20, 15, 60, 20, 15])
    part = persistency(world(3, [*slower, *faster, *uneven]))
    assert [row.record_id for row in part.rows_of(L.SLOWING)] == ["c0"]
    assert [row.record_id for row in part.rows_of(L.QUICKENING)] == ["c1"]
    [row] = part.rows_of(L.SLOWING)
    assert [figure.value for figure in row.figures] == [41, 25]


def test_small_cohorts_are_not_told_to_who_reads_sums_only() -> None:
    orders = [(who, 600 if who == 6 else 300, 10) for who in range(7)]
    assert {row.figures[0].n for row in persistency(world(7, orders)).rows_of(L.COHORT)} == {1, 6}
    assert {row.figures[0].n for row in persistency(world(7, orders, rows_from_n=5)).rows_of(L.COHORT)} == {6}


# --- profitability ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R20")
def test_the_waterfall_by_hand() -> None:
    records = world(
        3,
        [(0, 10, 900), (1, 20, 500), (1, 500, 77)],
        [(0, 10, 1, 10, 900, 1_000), (1, 20, -1, 1, 500, 500)],
        [(0, 1), (1, 2), (1, 3), (2, 4)],
        goods_share=0.6,
    )
    part = profitability(records)
    steps = {row.label: row.figures[0].missing or row.figures[0].value for row in part.rows_of(L.WATERFALL)}
    assert steps == {
        "GROSS": 1_500, "DISCOUNT": -100, "RETURNS": NoFigure.NOT_RECORDED, "FREIGHT": NoFigure.NOT_RECORDED,
        "GOODS": -900, "VISITS_COST": -400, "SERVICE": NoFigure.NOT_RECORDED, "NET": 100,
    }  # fmt: skip
    assert part.score == 7
    # c0: 900 − 600 − 100; c1: 500 − 300 − 200; c2: a visit and nothing bought
    assert [(row.record_id, row.figures[0].value) for row in part.rows_of(L.LOSS_MAKER)] == [("c2", -100)]
    [partly] = [one.count for one in part.caveats if one.code is C.DISCOUNTS_PARTLY]
    assert partly == 64
    assert C.COSTS_NOT_RECORDED not in caveats(part)
    without = profitability(replace(records, goods_share=None))
    assert (told(without, F.GOODS), told(without, F.NET)) == (NoFigure.NOT_RECORDED, 1_000)
    assert C.COSTS_NOT_RECORDED in caveats(without)


amounts = st.integers(min_value=-(10**9), max_value=10**12)


@pytest.mark.requirement("R20")
@settings(max_examples=60, deadline=None)
@given(
    orders=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 700), amounts), max_size=30),
    lines=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 700), st.integers(-1, 1), st.integers(0, 999), amounts, amounts),
        max_size=30,
    ),
    visits=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 700)), max_size=20),
    goods=st.none() | st.floats(0, 1),
    account=st.lists(st.integers(0, 4), min_size=5, max_size=5),
)
def test_the_waterfall_adds_up_to_the_cent(
    orders: list[Order], lines: list[Line], visits: list[tuple[int, int]], goods: float | None, account: list[int]
) -> None:
    records = world(5, orders, lines, visits, goods_share=goods)
    records = replace(records, customers=replace(records.customers, account=ints(account)))
    found = waterfall(records, year_until(TODAY))
    taken = found.discount + found.visits + (0 if found.goods is None else found.goods)
    assert (found.gross - taken == found.net).all()
    assert (found.gross - found.discount == found.revenue_minor).all()
    part = profitability(records)
    steps = [row.figures[0] for row in part.rows_of(L.WATERFALL)]
    if all(step.value is None for step in steps):
        return
    *before, net = [step.value for step in steps]
    assert sum(value for value in before if value is not None) == net
    assert net == sum(amount for _, ago, amount in orders if ago < 364) - 100 * sum(
        ago < 364 for _, ago in visits
    ) - int(0 if found.goods is None else found.goods.sum())
    if whale := part.rows_of(L.WHALE):
        assert whale[-1].figures[1].value == net


def test_a_whale_curve_rises_to_the_best_and_falls_to_the_net_and_hides_small_steps() -> None:
    rows = whale_rows(ints([50, -30, 100, 0]), 1)
    assert [(row.label, row.figures[0].value, row.figures[1].value) for row in rows] == [
        ("1", 2_500, 100), ("2", 5_000, 150), ("3", 7_500, 150), ("4", 10_000, 120),
    ]  # fmt: skip
    assert [row.label for row in whale_rows(np.arange(12), 5)] == ["6", "12"]
    assert whale_rows(np.arange(4), 5) == []
    assert whale_rows(ints([]), 1) == []


def test_a_discount_far_above_its_kind_is_named_and_the_chain_carries_its_doors() -> None:
    lines: list[Line] = [(who, 10, 1, 10, 950, 1_000) for who in range(4)]
    lines.append((4, 10, 1, 10, 700, 1_000))
    records = world(6, [(who, 10, net) for who, _, _, _, net, _ in lines], lines, [(5, 3)] * 5)
    part = profitability(replace(records, customers=replace(records.customers, account=ints([0, 1, 2, 3, 4, 0]))))
    [row] = part.rows_of(L.DISCOUNTED)
    assert (row.record_id, [figure.value for figure in row.figures]) == ("c4", [3_000, 500, -300, 700])
    # the door's visits are its head's: 950 − 500 is no loss
    assert part.rows_of(L.LOSS_MAKER) == ()
    assert [one.record_id for one in profitability(records).rows_of(L.LOSS_MAKER)] == ["c5"]


# --- performance --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R21")
def test_growth_by_volume_price_and_mix_by_hand() -> None:
    # before: 10 knits at 10, 10 tops at 30; now: 10 knits at 12, 20 tops at 30
    found = growth_of(ints([10, 20]), ints([120, 600]), ints([10, 10]), ints([100, 300]))
    assert (found.volume, found.price, found.mix) == (200, 20, 100)
    assert found.now - found.before == found.volume + found.price + found.mix
    # what is new has no price to compare
    new = growth_of(ints([5, 0]), ints([50, 0]), ints([0, 5]), ints([0, 40]))
    assert (new.volume, new.price, new.mix) == (0, 0, 10)
    none = growth_of(ints([0]), ints([0]), ints([0]), ints([0]))
    assert (none.volume, none.price, none.mix) == (0, 0, 0)


@pytest.mark.requirement("R21")
def test_performance_by_hand() -> None:
    orders = [(0, 10, 720), (0, 370, 300), (0, 720, 300)]
    lines: list[Line] = [(0, 10, 0, 10, 120, 120), (0, 10, 1, 20, 600, 600), (0, 370, 0, 10, 100, 100),
                         (0, 370, 1, 10, 300, 300)]  # fmt: skip
    part = performance(world(1, orders, lines, [(0, 10), (0, 11), (0, 12), (0, 370)]))
    assert (part.score, part.trend, part.n) == (70, None, 1)
    assert told(part, F.GROWTH) == 2_000
    assert [told(part, code) for code in (F.VOLUME_EFFECT, F.PRICE_EFFECT, F.MIX_EFFECT)] == [200, 20, 100]
    strike = part.figure(F.STRIKE_RATE)
    assert (strike.value, strike.n, strike.before) == (3_333, 3, 10_000)
    for code in (F.ATTAINMENT, F.FILL_RATE, F.DAYS_TO_PAY, F.RETURN_RATE):
        assert told(part, code) is NoFigure.NOT_RECORDED
    young = performance(world(1, [(0, 10, 720)]))
    assert (young.score, told(young, F.GROWTH), C.YEAR_TOO_SHORT in caveats(young)) == (
        None, NoFigure.NOTHING_TO_COUNT, True,
    )  # fmt: skip


def goal(target: int, days: int, members: Sequence[int], *, own: bool = False, back: bool = False) -> RevenueGoal:
    return RevenueGoal(f"g{target}", f"Sell {target}", target, Period(TODAY - days + 1, TODAY), back,
                       np.array(members, dtype=np.bool_), own)  # fmt: skip


@pytest.mark.requirement("R12", "R21")
def test_attainment_is_what_was_sold_in_the_days_of_the_goal_set_for_this_scope() -> None:
    orders = [(0, 0, 300), (0, 89, 200), (0, 90, 7_000), (1, 5, 40), (2, 5, -40)]
    goals = [goal(80, 10, [0, 1, 1]), goal(1_000, 90, [1, 1, 1], own=True), goal(50, 90, [0, 1, 0], back=True)]
    part = performance(world(3, orders, goals=goals))
    found = part.figure(F.ATTAINMENT)
    assert (found.value, found.n) == (5_000, 3)
    assert [(row.record_id, row.label, [figure.value for figure in row.figures]) for row in part.rows_of(L.GOAL)] == [
        ("g1000", "Sell 1000", [5_000, 500, 1_000]),
        ("g80", "Sell 80", [0, 0, 80]),
        ("g50", "Sell 50", [8_000, 40, 50]),
    ]
    assert [one.count for one in part.caveats if one.code is C.GOAL_REACHES_BACK] == [1]
    assert C.GOALS_NOT_RECORDED not in caveats(part)
    assert [(one.recorded, one.rows_n) for one in part.sources if one.source is Source.GOALS] == [(True, 3)]


def test_goals_of_others_are_no_plan_of_this_scope_and_few_customers_are_not_told_apart() -> None:
    goals = [goal(80, 10, [0, 1, 1]), goal(90, 10, [1, 1, 1])]
    part = performance(world(3, [(1, 5, 40)], goals=goals))
    assert told(part, F.ATTAINMENT) is NoFigure.NOT_RECORDED
    assert C.GOALS_NOT_RECORDED in caveats(part)
    assert [row.record_id for row in part.rows_of(L.GOAL)] == ["g80", "g90"]
    sums = performance(world(3, [(1, 5, 40)], goals=goals, rows_from_n=3))
    assert [row.record_id for row in sums.rows_of(L.GOAL)] == ["g90"]
    # a target of nothing is reached by nobody, and without any order nothing is known to be missed
    assert told(performance(world(1, [(0, 5, 40)], goals=[goal(0, 10, [1], own=True)])), F.ATTAINMENT) is (
        NoFigure.NOTHING_TO_COUNT
    )
    assert told(performance(world(1, goals=[goal(9, 10, [1], own=True)])), F.ATTAINMENT) is NoFigure.NOTHING_TO_COUNT


# --- prospecting --------------------------------------------------------------------------------------------------


def models(*, r: float = 8.0, alpha: float = 40.0, a: float = 1e-6, b: float = 1e3) -> Calibration:
    """Customers who hardly ever leave and order every five weeks."""
    none = (float("nan"),) * 4
    purchase = PurchaseFit(
        model=Model.MBG_NBD, unit=TimeUnit.WEEK, r=r, alpha=alpha, a=a, b=b, log_likelihood=0.0, standard_errors=none,
        status=FitStatus.CONVERGED, customers_n=300,
    )  # fmt: skip
    spend = SpendFit(6.0, 4.0, 8_000.0, 0.0, none[:3], FitStatus.CONVERGED, 300)
    return Calibration("t", purchase, spend, 1.0, True)


def test_seasons_are_shares_of_their_year_drawn_towards_one() -> None:
    assert seasons(ints([])).tolist() == [1.0] * 4
    assert seasons(ints([5, 5, 5])).tolist() == [1.0] * 4
    # newest first: the quarter to come was last seen three quarters ago
    assert seasons(ints([10, 10, 10, 30])).tolist() == pytest.approx([1.5, 5 / 6, 5 / 6, 5 / 6])
    assert seasons(ints([10, 10, 10, 30] * 3)).tolist() == pytest.approx([1.75, 0.75, 0.75, 0.75])


@pytest.mark.requirement("R22")
def test_eight_of_ten_quarters_fall_into_the_interval() -> None:
    """Customers drawn from the very models that forecast them: the interval must hold what it promises."""
    draw = np.random.default_rng(7)
    inside, trials = 0, 300
    for _ in range(trials):
        rate = draw.gamma(8.0, 1 / 40.0, 25)
        customer, day, amount = [], [], []
        for who in range(25):
            ago = 364
            while ago > -91:
                customer.append(who)
                day.append(TODAY - int(ago))
                amount.append(max(1, int(draw.gamma(6.0, 16_000 / 6.0))))
                ago -= max(1, round(7 * draw.exponential(1 / rate[who])))
        who, on, paid = ints(customer), ints(day), ints(amount)
        known = on <= TODAY
        nothing = np.zeros(int(known.sum()), dtype=np.bool_)
        zeros = np.zeros(int(known.sum()), dtype=np.int64)
        history = history_of(
            OrderColumns(who[known], on[known], paid[known], zeros, nothing, nothing), customers_n=25, as_of_day=TODAY
        )
        flat = replace(history, quarter_revenue_minor=np.ones_like(history.quarter_revenue_minor))
        found = ahead(flat, models(), as_of_day=TODAY, spread=1 / 6.0)
        came = int(paid[~known & (on <= TODAY + 91)].sum())
        inside += bool(found.low[0] <= came <= found.high[0])
    assert 0.73 * trials <= inside <= 0.88 * trials


def test_the_spread_of_one_customers_quarter_by_hand() -> None:
    history = history_of(world(1, [(0, 30 * back, 100) for back in range(24)]).orders, customers_n=1, as_of_day=TODAY)
    flat = replace(history, quarter_revenue_minor=np.ones_like(history.quarter_revenue_minor))
    found = ahead(flat, models(), as_of_day=TODAY, spread=0.5)
    orders, money = found.orders[0], found.expected[0]
    # 23 repeat orders, hardly a chance to be gone
    variance = (money / orders) ** 2 * orders * 1.5 + money**2 / (8.0 + 23)
    assert ((found.high[0] - money) / Z_80) ** 2 == pytest.approx(variance, rel=1e-3)


def test_totals_that_missed_before_widen_the_interval_of_what_is_to_come() -> None:
    history = history_of(world(1, [(0, 30 * back, 100) for back in range(24)]).orders, customers_n=1, as_of_day=TODAY)
    narrow = ahead(history, models(), as_of_day=TODAY)
    wide = ahead(history, models(), as_of_day=TODAY, strayed=0.5)
    assert (wide.expected == narrow.expected).all()
    half = (narrow.high - narrow.expected) / Z_80
    assert ((wide.high - wide.expected) / Z_80).tolist() == pytest.approx(
        np.sqrt(half**2 + (0.5 * narrow.expected) ** 2).tolist()
    )


@pytest.mark.requirement("R22")
def test_prospecting_tells_the_next_orders_and_what_nobody_buys() -> None:
    orders = [(0, 30 * back, 100) for back in range(24)] + [(1, 20 + 40 * back, 100) for back in range(12)]
    lines: list[Line] = [(0, 10, 0, 1, 1, 1), (0, 10, 1, 1, 1, 1), (1, 20, 0, 1, 1, 1)]
    part = prospecting(world(2, orders, lines, models=models(), models_version="fit-1"))
    waits = {row.record_id: row.figures[0].value for row in part.rows_of(L.NEXT_ORDER)}
    assert set(waits) == {"c0", "c1"}
    assert 28 <= (waits["c0"] or 0) <= 32
    assert 17 <= (waits["c1"] or 0) <= 21
    assert [row.related_id for row in part.rows_of(L.NEXT_ORDER)] == ["o34", "o35"]
    [white] = part.rows_of(L.WHITE_CATEGORY)
    assert (white.label, [figure.value for figure in white.figures]) == ("TOPS", [1, 5_000])
    assert (part.version, part.basis, part.score is not None) == ("fit-1", Basis.MODEL, True)
    forecast = part.figure(F.FORECAST)
    assert sum(row.figures[0].value or 0 for row in part.rows_of(L.FORECAST)) == pytest.approx(forecast.value, abs=2)
    assert told(part, F.WHITESPACE) is NoFigure.NOT_RECORDED
    assert told(part, F.LEAD_SCORE) is NoFigure.NOT_RECORDED


# --- product and promotion ----------------------------------------------------------------------------------------


@pytest.mark.requirement("R23")
def test_product_tells_mix_pairs_and_broken_runs() -> None:
    bought = Bought(("TOPS", "TOPS", "KNITS"), ("RED", None, "RED"), ("S", "M", "S"), ints([60, 20, 20]))
    baskets = ints([order for order in range(40) for _ in range(2)]), ints([1, 0] * 20 + [2, 3] * 20)
    broken = [BrokenRun("s1", "HZ-1", "RED", ("S",), 4, 30, 50), BrokenRun("s2", "HZ-2", "SKY", ("L",), 4, 0, 0)]
    part = product(world(1, [(0, 10, 5)], bought=bought, baskets=baskets, basket_names=("A", "B", "C", "D"),
                         broken=broken))  # fmt: skip
    assert [(row.label, row.figures[0].value) for row in part.rows_of(L.CATEGORY)] == [
        ("TOPS", 8_000),
        ("KNITS", 2_000),
    ]
    assert [(row.label, row.figures[0].value) for row in part.rows_of(L.COLOUR)] == [("RED", 10_000)]
    pairs = part.rows_of(L.AFFINITY)
    assert [(row.label, row.figures[0].value, row.figures[2].value) for row in pairs] == [
        ("A → B", 20_000, 20), ("C → D", 20_000, 20),
    ]  # fmt: skip
    assert all((row.figures[0].low or 0) > 10_000 for row in pairs)
    assert [(row.label, row.record_id) for row in part.rows_of(L.BROKEN_RUN)] == [
        ("HZ-1 RED: S", "s1"), ("HZ-2 SKY: L", "s2"),
    ]  # fmt: skip
    assert (part.score, told(part, F.MISSING_SHARE), told(part, F.RETURN_RATE)) == (70, 3_000, NoFigure.NOT_RECORDED)


@pytest.mark.requirement("R24")
def test_promotion_knows_only_what_was_held_against_others() -> None:
    none = promotion(world(1, [(0, 10, 5)]))
    assert (none.score, told(none, F.ROI), none.basis) == (None, NoFigure.NOT_RECORDED, Basis.NOT_RECORDED)
    assert C.CAMPAIGNS_NOT_RECORDED in caveats(none)
    zero = Effect("e1", "Sold well", "2024-05-01", 90, 10, 0, -400, 400, 500)
    good = Effect("e2", "Worked", "2024-06-01", 90, 10, 2_000, 1_500, 2_500, 500)
    aborted = Effect("e3", "Aborted", "2024-07-01", 50, 1, None, None, None, 500)
    part = promotion(world(1, effects=[zero, good, aborted]))
    assert [(row.record_id, row.figures[1].value) for row in part.rows_of(L.CAMPAIGN)] == [
        ("e2", 30_000),
        ("e1", -10_000),
    ]
    shown = part.rows_of(L.CAMPAIGN)[1].figures[0]
    assert (shown.value, shown.low, shown.high) == (0, -400, 400)
    assert (told(part, F.CAMPAIGNS), told(part, F.ROI), part.score, part.n) == (2, 10_000, 100, 200)
    assert told(part, F.CANNIBALISATION) is NoFigure.NOT_RECORDED


@pytest.mark.requirement("R24")
def test_what_campaigns_brought_together_has_the_interval_of_a_sum() -> None:
    one = Effect("e1", "One", "2024-05-01", 90, 10, 100, -200, 400, 500)
    other = Effect("e2", "Other", "2024-06-01", 90, 10, 300, -100, 700, 500)
    part = promotion(world(1, effects=[one, other]))
    gain, back = part.figure(F.INCREMENT), part.figure(F.ROI)
    assert (gain.value, gain.low, gain.high) == (400, -100, 900), "300 and 400 wide make 500"
    assert (back.value, back.low, back.high) == (-6_000, -11_000, -1_000)
    assert C.GAIN_MAY_BE_NONE in caveats(part)
    sure = promotion(world(1, effects=[one, replace(other, gain_minor=900, gain_low_minor=500, gain_high_minor=1_300)]))
    assert C.GAIN_MAY_BE_NONE not in caveats(sure)
    open_ended = promotion(world(1, effects=[one, replace(other, gain_low_minor=None, gain_high_minor=None)]))
    assert (open_ended.figure(F.INCREMENT).low, open_ended.figure(F.ROI).low) == (None, None)


@pytest.mark.requirement("R24")
def test_a_campaign_says_how_much_its_gain_was_corrected_and_one_that_could_not_be_is_named() -> None:
    told_before = Effect("e1", "One", "2024-05-01", 90, 10, 100, -200, 400, 500, forecast_n=98, gain_variance_cut=0.625)
    part = promotion(world(1, effects=[told_before]))
    [row] = part.rows_of(L.CAMPAIGN)
    assert [(one.code, one.value, one.n) for one in row.figures[3:]] == [(F.GAIN_VARIANCE_CUT, 6_250, 98)]
    assert C.GAIN_NOT_ADJUSTED not in caveats(part)
    none_kept = replace(told_before, id="e2", forecast_n=0, gain_variance_cut=0.01)
    part = promotion(world(1, effects=[told_before, none_kept]))
    assert [len(row.figures) for row in part.rows_of(L.CAMPAIGN)] == [3, 4]
    assert C.GAIN_NOT_ADJUSTED in caveats(part)
    # of one that was judged before this was noted nothing is claimed
    part = promotion(world(1, effects=[replace(none_kept, forecast_n=None, gain_variance_cut=None)]))
    assert (C.GAIN_NOT_ADJUSTED in caveats(part), len(part.rows_of(L.CAMPAIGN)[0].figures)) == (False, 3)


@pytest.mark.requirement("R24")
def test_response_is_told_of_campaigns_that_asked_who_ordered_and_every_lift_with_its_interval() -> None:
    buyers = Effect("e1", "Who ordered", "2024-05-01", 300, 100, 5, -9, 9, 500, EvaluationMetric.BUYERS,
                    0.09, 0.021, 0.159, 0.69, 0.6)  # fmt: skip
    others = replace(buyers, id="e2", treated_n=100, treated_mean=0.29, ends_on="2024-05-02")
    money = replace(buyers, id="e3", metric=EvaluationMetric.REVENUE, lift=20.0, low=-10.0, high=50.0,
                    treated_mean=220.0, control_mean=200.0, ends_on="2024-05-03")  # fmt: skip
    part = promotion(world(1, effects=[buyers, others, money]))
    response = part.figure(F.RESPONSE)
    assert (response.value, response.n) == (5_900, 400)
    lifts = {
        row.record_id: [(one.code, one.value, one.low, one.high, one.n) for one in row.figures[3:]]
        for row in part.rows_of(L.CAMPAIGN)
    }
    assert lifts == {
        "e1": [(F.RESPONSE, 6_900, None, None, 300), (F.RESPONSE_LIFT, 900, 210, 1_590, 400)],
        "e2": [(F.RESPONSE, 2_900, None, None, 100), (F.RESPONSE_LIFT, 900, 210, 1_590, 200)],
        "e3": [(F.RELATIVE_LIFT, 1_000, -500, 2_500, 400)],
    }
    only_money = promotion(world(1, effects=[money]))
    assert told(only_money, F.RESPONSE) is NoFigure.NOT_RECORDED
    [nobody] = promotion(world(1, effects=[replace(money, control_mean=0.0)])).rows_of(L.CAMPAIGN)
    assert nobody.figures[3].missing is NoFigure.NOTHING_TO_COUNT
    drawn = orjson.dumps(chart_of(part, Words(load_messages(), "en", "USD"))).decode()
    assert drawn.count('"campaign":"Who ordered"') == 3 + 2 + 1


@pytest.mark.requirement("R24")
@pytest.mark.parametrize("effect", [0.0, 0.03])
def test_how_orders_go_with_discounts_is_found_within_the_customer(effect: float) -> None:
    """Who buys much gets more off: between customers that is no response, and it must not be taken for one."""
    draw = np.random.default_rng(3)
    lines: list[Line] = []
    for who in range(20):
        for back in range(15):
            percent = int(draw.integers(0, 10)) + who % 10
            units = round(1_000 * (1 + who) * np.exp(effect * percent + draw.normal(0, 0.05)))
            lines.append((who, 20 * back, 1, units, units * (100 - percent), units * 100))
    found = discount_response(world(20, (), lines))
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 10_000 * np.expm1(effect) <= found.high
    assert (found.low > 0) == (effect > 0)


# --- who may be told ----------------------------------------------------------------------------------------------


@pytest.mark.requirement("R49")
def test_who_reads_sums_only_is_told_no_single_customer() -> None:
    orders = [(who, 30 * back + who, 100 + who) for who in range(6) for back in range(1, 20)]
    lines: list[Line] = [(who, 10, 1, 10, 500 if who else 900, 1_000) for who in range(6)]
    scores = ScoreColumns(("HHHH",) * 6, IntColumn.full([5] * 6), IntColumn.full([9] * 6),
                          *(IntColumn.missing(6) for _ in range(3)))  # fmt: skip
    records = world(6, orders, lines, [(5, 3)] * 900, scores=scores)
    amount = {F.REVENUE, F.NET, F.WHITESPACE, F.DISCOUNT, F.NEXT_ORDER_IN, F.DAYS_SINCE, F.INTERVAL_DAYS}

    def singles(given: Records) -> list[Any]:
        return [
            row
            for part in seven_parts(given)
            for row in part.rows
            if row.collection == "customers" and amount & {figure.code for figure in row.figures}
        ]

    assert singles(records)
    assert singles(replace(records, rows_from_n=5)) == []
    parts = {part.code: part for part in seven_parts(replace(records, rows_from_n=5))}
    assert C.ROWS_WITHHELD in caveats(parts[SevenPPart.PROFITABILITY])
    assert [row.label for row in parts[SevenPPart.PROFITABILITY].rows_of(L.WHALE)] == ["6"]


def test_customers_without_an_exchange_rate_are_named_in_every_part() -> None:
    records = world(2, [(0, 10, 5)])
    left_out = replace(records.customers, left_out=np.array([False, True]))
    for part in seven_parts(replace(records, customers=left_out)):
        assert [one.count for one in part.caveats if one.code is C.LEFT_OUT] == [1]


Compute = Callable[[Records], Part]


@pytest.mark.parametrize("compute", [persistency, profitability, performance, prospecting, promotion])
def test_the_unit_of_money_changes_no_score(compute: Compute) -> None:
    orders = [(who, 40 * back + who, 1_000 + 100 * who) for who in range(4) for back in range(18)]
    lines: list[Line] = [(who, ago, 1, 5, net, net + 100) for who, ago, net in orders]
    one = world(4, orders, lines, [(0, 3)])
    many = world(
        4,
        [(who, ago, net * 1_000) for who, ago, net in orders],
        [(who, ago, kind, units, net * 1_000, listed * 1_000) for who, ago, kind, units, net, listed in lines],
        [(0, 3)],
        visit_cost_minor=100_000,
    )
    assert (compute(one).score, compute(one).trend) == (compute(many).score, compute(many).trend)
    assert within_year(one) == within_year(many) // 1_000


def within_year(records: Records) -> int:
    return int(records.revenue(Period(TODAY - 363, TODAY)).sum())
