"""Sixteen segments that do not flicker, treat the unknown neutrally, and every one of which has a policy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.arrays import IntColumn
from backend.domain.lifecycle import Stage, stages
from backend.domain.segments import (
    ONBOARDING,
    SEGMENT_CODES,
    Cause,
    Dimensions,
    PreviousSegments,
    SegmentColumns,
    Thresholds,
    as_previous,
    freeze_thresholds,
    migration_matrix,
    segment,
)
from backend.domain.strategy import Serve, Strategy, StrategyTable, strategies_of
from tests.domain.worlds import TODAY, history

pytestmark = pytest.mark.requirement("R52")

CUTS = Thresholds("q", ((0, 10_000),), 0, 5_000)


def night(
    values: tuple[int | None, ...],
    previous: PreviousSegments | None = None,
    *,
    severe: bool = False,
    onboarding: bool = False,
    day: int = TODAY,
) -> SegmentColumns:
    """One customer's night with (E, P, L bp, S bp)."""
    return segment(
        Dimensions(*(IntColumn.of([value]) for value in values)),
        CUTS,
        kind=np.zeros(1, dtype=np.int64),
        onboarding=np.array([onboarding]),
        severe_open=np.array([severe]),
        previous=previous,
        as_of_day=day,
    )


def code(found: SegmentColumns) -> str:
    return SEGMENT_CODES[int(found.code[0])]


def test_codes_are_four_letters_in_the_order_existing_potential_loyalty_satisfaction():
    assert SEGMENT_CODES[0] == "LLLL"
    assert SEGMENT_CODES[0b1010] == "HLHL"
    assert SEGMENT_CODES[15] == "HHHH"
    assert SEGMENT_CODES[ONBOARDING] == "ONBOARDING"
    assert len(set(SEGMENT_CODES)) == 17
    assert code(night((10_000, 4_999, 6_000, 5_999))) == "HLHL"


def test_the_first_scoring_needs_no_band_and_unknown_axes_start_neutral():
    found = night((None, None, None, None))
    assert code(found) == "LLLH", "satisfaction stands at its prior of 60"
    assert found.cause[0] == Cause.FIRST_SCORED
    assert not found.known.any()
    assert night((10_000, None, None, None)).nights.tolist() == [[0, 0, 0, 0]]


def test_a_side_turns_on_the_second_night_beyond_the_band():
    start = as_previous(night((9_000, 0, 5_900, 7_000)))
    inside = night((10_900, 0, 6_400, 7_000), start)
    assert code(inside) == "LLLH"
    assert inside.nights.tolist() == [[0, 0, 0, 0]]
    first = night((11_000, 0, 6_500, 7_000), start, day=TODAY + 1)
    assert code(first) == "LLLH"
    assert first.cause[0] == Cause.UNCHANGED
    second = night((11_000, 0, 6_500, 7_000), as_previous(first), day=TODAY + 2)
    assert code(second) == "HLHH"
    assert (second.since_day[0], SEGMENT_CODES[second.previous_code[0]]) == (TODAY + 2, "LLLH")
    assert second.cause[0] == Cause.SEVERAL_AXES
    assert second.nights.tolist() == [[0, 0, 0, 0]]


def test_one_night_beyond_and_one_inside_starts_the_count_again():
    state = as_previous(night((9_000, 0, 0, 7_000)))
    for value in (11_000, 10_500, 11_000, 10_500):
        state = as_previous(night((value, 0, 0, 7_000), state))
        assert state.code.tolist() == [0b0001]


def test_down_needs_the_lower_edge():
    state = as_previous(night((10_000, 0, 6_000, 7_000)))
    assert code(night((9_000, 0, 5_500, 7_000), as_previous(night((9_000, 0, 5_500, 7_000), state)))) == "HLHH"
    below = night((8_999, 0, 5_499, 7_000), as_previous(night((8_999, 0, 5_499, 7_000), state)))
    assert code(below) == "LLLH"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(9_000, 10_999), st.integers(5_500, 6_499)), min_size=1, max_size=40))
def test_a_walk_inside_the_band_makes_no_switch(walk):
    state = as_previous(night((*(9_500, 4_500), 5_900, 6_100)))
    before = state.code.tolist()
    for money, score in walk:
        found = night((money, money // 2, score, score), state)
        state = as_previous(found)
        assert state.code.tolist() == before
        assert found.cause[0] == Cause.UNCHANGED


def test_an_open_severe_complaint_turns_satisfaction_low_at_once_and_back_only_by_the_rule():
    happy = as_previous(night((20_000, 9_000, 9_000, 9_000)))
    hurt = night((20_000, 9_000, 9_000, 4_000), happy, severe=True)
    assert code(hurt) == "HHHL"
    assert hurt.cause[0] == Cause.SEVERE_COMPLAINT
    first = night((20_000, 9_000, 9_000, 9_000), as_previous(hurt))
    assert code(first) == "HHHL"
    assert code(night((20_000, 9_000, 9_000, 9_000), as_previous(first))) == "HHHH"


def test_what_is_no_longer_known_keeps_its_side():
    state = as_previous(night((20_000, 9_000, 9_000, 2_000)))
    for _ in range(3):
        state = as_previous(night((None, None, None, None), state))
    assert SEGMENT_CODES[state.code[0]] == "HHHL"


def test_onboarding_stands_before_the_sixteen_and_leaves_into_the_sides_kept_behind_it():
    state = as_previous(night((20_000, 9_000, 9_000, 9_000), onboarding=True))
    assert SEGMENT_CODES[state.code[0]] == "ONBOARDING"
    grown = night((20_000, 9_000, 9_000, 9_000), state, day=TODAY + 90)
    assert code(grown) == "HHHH"
    assert grown.cause[0] == Cause.ONBOARDED


def test_existing_value_is_cut_where_eighty_percent_of_the_kind_is_held():
    values = [500, 200, 100, 100, 50, 50, 9_000_000, 1_000, -40]
    kind = np.array([0] * 6 + [1] * 3)
    frozen = freeze_thresholds(
        "q",
        kind=kind,
        existing_value_minor=IntColumn.full(values),
        counted=np.ones(9, dtype=np.bool_),
        visit_cost_minor=3_000,
        margin_rate=0.4,
    )
    assert dict(frozen.existing_by_kind) == {0: 100, 1: 9_000_000}, "one distributor drowns no shop"
    assert frozen.potential_minor == 30_000
    nobody = freeze_thresholds(
        "q",
        kind=np.zeros(2, dtype=np.int64),
        existing_value_minor=IntColumn.full([0, -5]),
        counted=np.ones(2, dtype=np.bool_),
        visit_cost_minor=1,
        margin_rate=0.0,
    )
    assert dict(nobody.existing_by_kind) == {0: 1}, "nothing earned is never high"


def test_a_managers_floor_lifts_a_low_cut():
    floored = Thresholds("q", ((0, 100),), 5_000, 1)
    found = segment(
        Dimensions(IntColumn.full([4_999, 5_000]), *(IntColumn.missing(2) for _ in range(3))),
        floored,
        kind=np.array([0, 7]),
        onboarding=np.zeros(2, dtype=np.bool_),
        severe_open=np.zeros(2, dtype=np.bool_),
        previous=None,
        as_of_day=TODAY,
    )
    assert [SEGMENT_CODES[c][0] for c in found.code] == ["L", "H"]


def test_migration_matrix_counts_moves_and_leaves_out_the_never_scored():
    matrix = migration_matrix(np.array([0, 0, 16, -1]), np.array([0, 3, 5, 5]))
    assert matrix.shape == (17, 17)
    assert (matrix[0, 0], matrix[0, 3], matrix[16, 5], matrix.sum()) == (1, 1, 1, 3)


# strategy and stage


@pytest.mark.requirement("R28", "R51")
def test_every_segment_and_stage_has_a_policy():
    assert set(StrategyTable().by_segment) == set(SEGMENT_CODES)
    for number in range(len(SEGMENT_CODES)):
        for stage in Stage:
            found = StrategyTable().strategy(number, stage)
            assert found.objective
            assert found.strategy
            assert found.cadence_days >= 0


@pytest.mark.requirement("R51")
def test_low_touch_ends_visits_only_and_the_exit_is_the_only_one_without_a_cadence():
    table = StrategyTable()
    assert [code for code, row in table.by_segment.items() if row.serve is Serve.EXIT] == ["LLLL"]
    assert [code for code, row in table.by_segment.items() if row.cadence_days == 0] == ["LLLL"]
    days = table.cadence_days(np.array([0, 15, 14]), np.array([Stage.MATURE, Stage.MATURE, Stage.DECLINING]))
    assert days.tolist() == [None, 14, 5]
    assert table.cadence_days(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)).tolist() == []


@pytest.mark.requirement("R28")
def test_a_row_for_one_segment_in_one_stage_stands_before_the_segment_and_the_stage():
    save = Strategy("SAVE", "DIRECTORS_CALL", 5)
    table = StrategyTable(exact={("HHHH", Stage.DECLINING): save})
    champion = SEGMENT_CODES.index("HHHH")
    assert table.strategy(champion, Stage.DECLINING) == save
    assert table.strategy(champion, Stage.WON_BACK).cadence_days == 14 * 75 // 100
    assert strategies_of(table.document()) == table
    assert strategies_of(None) == StrategyTable()


@pytest.mark.requirement("R16")
def test_lifecycle_stages_from_the_strongest_statement_to_the_weakest():
    def steady(customer: int, last_ago: int, orders_n: int, gap: int = 30):
        return [(customer, TODAY - last_ago - gap * k, 100) for k in range(orders_n)]

    found = history(
        [
            *steady(1, 5, 2),
            *steady(2, 5, 30),
            *steady(3, 5, 30),
            *steady(4, 5, 30),
            *steady(5, 100, 20),
            *steady(6, 200, 20),
            *steady(7, 5, 1),
            (7, TODAY - 900, 100),
            *steady(8, 400, 1),
            *steady(9, 100, 20),
        ],
        10,
    )
    stage = stages(
        found,
        ratio=np.array([np.nan, 0.2, 0.2, 0.2, 0.2, 3.3, 6.6, 0.1, 2.0, 3.3]),
        alive=np.array([0, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5, 0.9, 0.5, 0.05]),
        trend_yearly=np.array([np.nan, np.nan, 0.3, 0.0, -0.3, 0.0, 0.0, 0.0, np.nan, 0.0]),
        as_of_day=TODAY,
    )
    assert [Stage(s).name for s in stage] == [
        "PROSPECT",
        "NEW",
        "GROWING",
        "MATURE",
        "DECLINING",
        "DORMANT",
        "LOST",
        "WON_BACK",
        "NEW",
        "LOST",
    ]
