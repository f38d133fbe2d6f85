"""Whom to keep, win back and grow, and how to serve: each rule by hand."""

import numpy as np
import pytest

from backend.domain.arrays import IntColumn
from backend.domain.decisions import (
    Quadrant,
    ServeReason,
    at_risk_rows,
    quadrant_of,
    serve_decision,
    win_back_rows,
    yearly_while_active,
)
from backend.domain.lifecycle import Stage
from backend.domain.segments import SEGMENT_CODES
from backend.domain.strategy import Serve, StrategyTable


@pytest.mark.requirement("R28")
def test_who_is_at_risk_is_told_by_what_a_visit_brings_not_by_risk_times_value() -> None:
    risk = IntColumn.of([9_000, 5_000, 4_999, None, 6_000, 7_000])
    uplift = IntColumn.of([10, 500, 9_000, 9_000, None, 10])
    assert at_risk_rows(risk, uplift, 5_000).tolist() == [1, 0, 5, 4]
    assert at_risk_rows(IntColumn.missing(3), IntColumn.missing(3), 0).tolist() == []


@pytest.mark.requirement("R39")
def test_whom_to_win_back_is_told_by_a_year_of_what_it_brought_while_it_bought() -> None:
    yearly = yearly_while_active(np.array([4_000, 3_000, -50]), np.array([0, 100, 7]), np.array([1_460, 110, 7]))
    # four years, and ten days that count as one
    assert yearly.tolist() == [1_000, 3_000, -50]
    assert win_back_rows(yearly).tolist() == [1, 0, 2]
    assert win_back_rows(np.array([5, 5, 5])).tolist() == [0, 1, 2]


@pytest.mark.requirement("R39")
def test_every_segment_has_its_quadrant() -> None:
    found = {code: quadrant_of(code) for code in SEGMENT_CODES}
    assert found["HHLL"] is Quadrant.VALUABLE_AND_PROMISING
    assert found["HLHH"] is Quadrant.VALUABLE
    assert found["LHLH"] is Quadrant.PROMISING
    assert found["LLHH"] is Quadrant.NEITHER
    assert found["ONBOARDING"] is Quadrant.ONBOARDING
    assert [list(found.values()).count(one) for one in Quadrant] == [4, 4, 4, 4, 1]


@pytest.mark.requirement("R51")
def test_visits_that_cost_more_than_they_can_bring_give_way_to_the_office() -> None:
    champion = StrategyTable().strategy(SEGMENT_CODES.index("HHHH"), Stage.MATURE)
    dear = serve_decision(champion, 100_000, 10_000)
    # every 14 days is 27 visits a year
    assert (dear.visits_n, dear.visits_cost_minor, dear.expected_minor) == (27, 270_000, 200_000)
    assert (dear.serve, dear.planned, dear.reason) == (Serve.INSIDE, Serve.FIELD, ServeReason.VISITS_COST_MORE)
    worth = serve_decision(champion, 135_000, 10_000)
    assert (worth.serve, worth.reason) == (Serve.FIELD, ServeReason.BY_SEGMENT)
    unknown = serve_decision(champion, None, 10_000)
    assert (unknown.serve, unknown.reason, unknown.expected_minor) == (Serve.FIELD, ServeReason.VALUE_NOT_KNOWN, None)


@pytest.mark.requirement("R51")
def test_nobody_is_served_worse_than_the_strategy_says_but_in_the_field() -> None:
    for code in range(len(SEGMENT_CODES)):
        for stage in Stage:
            planned = StrategyTable().strategy(code, stage)
            found = serve_decision(planned, -1, 10_000)
            if planned.serve is Serve.FIELD:
                assert found.serve is Serve.INSIDE
            else:
                assert found.serve is planned.serve
            assert (found.visits_n == 0) == (planned.cadence_days == 0)
