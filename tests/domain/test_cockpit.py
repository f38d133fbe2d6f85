"""The five steps: done by what is recorded, with what is missing next; and costs that nobody told are not nothing."""

import numpy as np
import pytest

from backend.domain.cockpit import (
    CapacityFacts,
    EvaluationFacts,
    NextMove,
    RolloutFacts,
    RunFacts,
    StepFound,
    StepState,
    SystemCostKind,
    contribution_step,
    evaluation_step,
    followed_strategies,
    resources_step,
    rollout_step,
    strategies_step,
    system_return,
)

pytestmark = pytest.mark.requirement("R26", "R30", "R56")

TODAY = "2026-11-22"


def told(step: StepFound) -> tuple[StepState, list[NextMove]]:
    return step.state, [one.move for one in step.missing]


def test_resources_are_done_while_a_capacity_holds_that_is_recorded_and_bounded() -> None:
    whole = CapacityFacts("c", "2026-10-01", "2026-12-31", 9_000, 2, 0, 5_000, 1)
    assert told(resources_step(None, TODAY)) == (StepState.NOT_STARTED, [NextMove.SET_CAPACITY])
    assert told(resources_step(whole, TODAY)) == (StepState.DONE, [])
    assert told(resources_step(whole, "2027-01-01")) == (StepState.GOING, [NextMove.SET_CAPACITY])
    assumed = CapacityFacts("c", "2026-10-01", "2026-12-31", 9_000, 2, 1, 5_000, 0)
    assert told(resources_step(assumed, TODAY)) == (
        StepState.GOING,
        [NextMove.RECORD_DAY_MINUTES, NextMove.NAME_CONSTRAINTS],
    )


def test_an_analysis_is_done_when_it_is_fresh_and_says_stop() -> None:
    assert told(contribution_step(RunFacts(), TODAY)) == (StepState.NOT_STARTED, [NextMove.ANALYSE])
    assert told(contribution_step(RunFacts(["r"], "2026-08-22", 5), TODAY)) == (StepState.DONE, [])
    assert told(contribution_step(RunFacts(["r"], "2026-08-21", 5), TODAY)) == (StepState.GOING, [NextMove.ANALYSE])
    going = contribution_step(RunFacts(["r"], "2026-11-01", 5, go_on=True), TODAY)
    assert told(going) == (StepState.GOING, [NextMove.LOOK_CLOSER])


def test_contacts_with_one_customer_do_not_stand_for_those_another_did_not_get() -> None:
    found = followed_strategies(
        ["A", "A", "B", "A", "B"],
        np.array([14, 14, 0, 400, 28]),
        np.array([900, 28, 900, 900, 27]),
        np.array([50, 0, 3, 2, 4]),
    )
    by = {one.strategy: one for one in found}
    # half a year at 14 days is 13 contacts, a newcomer of four weeks had 2; the longest cadence and a newcomer none
    assert (by["A"].customers_n, by["A"].due_n, by["A"].made_n) == (3, 15, 13)
    assert by["A"].followed_bp == 8_667
    assert (by["B"].due_n, by["B"].made_n, by["B"].followed_bp) == (0, 0, None)
    assert [one.strategy for one in found] == ["A", "B"]
    assert told(strategies_step(found, TODAY)) == (StepState.DONE, [])
    assert told(strategies_step((), None)) == (StepState.NOT_STARTED, [NextMove.SCORE])


def test_strategies_are_followed_from_four_of_five() -> None:
    def made(visits: int) -> StepFound:
        ones = np.ones(1, dtype=np.int64)
        return strategies_step(followed_strategies(["A"], 18 * ones, 182 * ones, visits * ones), TODAY)

    assert told(made(8)) == (StepState.DONE, [])
    going = made(7)
    assert told(going) == (StepState.GOING, [NextMove.VISIT_BY_CADENCE])
    assert going.missing[0].count == 3


def test_a_roll_out_is_done_when_something_was_carried_through_and_nothing_is_left_hanging() -> None:
    def step(again: int = 0, starts: int = 1, **counts: int) -> tuple[StepState, list[NextMove]]:
        return told(rollout_step(RolloutFacts(["i"], counts, starts, 0, again)))

    assert step(starts=0) == (StepState.NOT_STARTED, [NextMove.PROPOSE])
    assert step(starts=0, PROPOSED=2) == (StepState.NOT_STARTED, [NextMove.START])
    assert step(STARTED=1, DONE=1) == (StepState.GOING, [NextMove.FINISH])
    assert step(DONE=1) == (StepState.DONE, [])
    assert step(STOPPED=1, again=1) == (StepState.GOING, [NextMove.SETTLE_AGAIN_AND_AGAIN, NextMove.PROPOSE])


def test_evaluation_is_done_when_something_was_judged_and_nothing_waits_to_be() -> None:
    none, one = EvaluationFacts(), EvaluationFacts(["e"], closed_n=1)
    assert told(evaluation_step(none, RolloutFacts(), 0)) == (StepState.NOT_STARTED, [NextMove.PLAN_EVALUATION])
    assert told(evaluation_step(one, RolloutFacts(), 0)) == (StepState.DONE, [])
    assert told(evaluation_step(one, RolloutFacts(unjudged_n=2), 0)) == (
        StepState.GOING,
        [NextMove.PLAN_EVALUATION],
    )
    waiting = EvaluationFacts(["e"], running_n=1, waiting_n=1, closed_n=1)
    assert told(evaluation_step(waiting, RolloutFacts(), 0)) == (StepState.GOING, [NextMove.CLOSE_EVALUATION])


def test_what_was_not_told_is_neither_cost_nor_gain() -> None:
    found = system_return([], [])
    assert (found.cost_minor, found.gain_minor, found.ratio) == (None, None, None)
    only_cost = system_return([(SystemCostKind.LICENCE, 500)], [])
    assert (only_cost.cost_minor, only_cost.gain_minor, only_cost.ratio) == (500, None, None)


def test_gains_of_several_evaluations_add_with_their_intervals() -> None:
    found = system_return(
        [(SystemCostKind.LICENCE, 500), (SystemCostKind.HOURS, 300), (SystemCostKind.LICENCE, 200)],
        [(1_000, 700, 1_300), (2_000, 1_600, 2_400)],
    )
    assert (found.cost_minor, found.cost_by_kind[SystemCostKind.LICENCE]) == (1_000, 700)
    # half widths of 300 and 400 together are 500, not 700
    assert (found.gain_minor, found.gain_low_minor, found.gain_high_minor) == (3_000, 2_500, 3_500)
    assert (found.ratio, found.low, found.high) == (3.0, 2.5, 3.5)
