"""A whole organisation scored: consistent, deterministic, and defined for nobody, one and the incomplete."""

import dataclasses

import numpy as np
import pytest

from backend.domain.arrays import Basis, IntColumn
from backend.domain.calibration import calibrate
from backend.domain.clv import clv
from backend.domain.history import HistoryColumns, OrderColumns, history_of
from backend.domain.lifecycle import Stage
from backend.domain.priority import LINES, LineCode
from backend.domain.purchase import FitStatus
from backend.domain.score_facts import fact_documents
from backend.domain.scoring import ScoreColumns, ScoreInputs, ScoreParameters, score_customers
from backend.domain.segments import ONBOARDING, as_previous
from backend.errors import Code, Refused
from mobile_contract import priority as reference
from tests.domain.worlds import TODAY, history
from tests.papers.cdnow import orders

pytestmark = pytest.mark.requirement("R27", "R50")


def sample() -> tuple[OrderColumns, int, int]:
    """The CDNOW orders, with their number of customers and last day."""
    customer, day, cents = orders()
    nothing = np.zeros(customer.size, dtype=np.bool_)
    columns = OrderColumns(customer, day, cents, np.zeros_like(cents), nothing, nothing)
    return columns, int(customer.max()) + 1, int(day.max())


def rows_of(columns: HistoryColumns, rows: np.ndarray) -> HistoryColumns:
    return HistoryColumns(*(getattr(columns, f.name)[rows] for f in dataclasses.fields(columns)))


@pytest.fixture(scope="module")
def scored() -> ScoreColumns:
    columns, customers_n, today = sample()
    calibration = calibrate(columns, customers_n=customers_n, as_of_day=today, version="c")
    found = history_of(columns, customers_n=customers_n, as_of_day=today)
    inputs = ScoreInputs(found, np.zeros(customers_n, dtype=np.int64))
    return score_customers(inputs, ScoreParameters(calibration=calibration), today)


def test_lines_sum_to_the_score_and_say_what_was_not_recorded(scored):
    assert (scored.priority.points.sum(axis=1) == scored.priority.score).all()
    assert scored.priority.score.min() >= 0
    assert scored.priority.score.max() <= 100
    assert len(np.unique(scored.priority.score)) > 20
    recorded = dict(zip(LINES, scored.priority.recorded.any(axis=0), strict=True))
    without = {code for code, any_recorded in recorded.items() if not any_recorded}
    assert without == {
        LineCode.OVERDUE,
        LineCode.OBLIGATIONS,
        LineCode.SEASON_WINDOW,
        LineCode.SATISFACTION_GAP,
        LineCode.JUST_VISITED,
    }


def test_scores_are_whole_and_in_range(scored):
    for name in ("loyalty_bp", "satisfaction_bp", "churn_risk_bp", "potential_confidence_bp", "loyalty_coverage_bp"):
        column = getattr(scored, name)
        assert column.values.dtype == np.int64, name
        assert column.values.min() >= 0, name
        assert column.values.max() <= 10_000, name
    assert set(scored.value_basis.tolist()) == {Basis.REVENUE, Basis.PROSPECT}
    assert scored.calibration.purchase.status is FitStatus.CONVERGED
    assert 0.8 <= scored.calibration.level <= 1.25


def test_customers_of_zero_price_samples_only_are_prospects(scored):
    prospects = scored.stage == Stage.PROSPECT
    assert prospects.sum() == 8
    assert (scored.clv_past_minor.values[prospects] == 0).all()
    assert not scored.value_at_stake_minor.known[prospects].any()
    assert (scored.segment.code[prospects] == ONBOARDING).all()
    assert (scored.value_basis[prospects] == Basis.PROSPECT).all()


def test_past_value_is_the_money_that_came_in(scored):
    _, _, cents = orders()
    assert scored.clv_past_minor.values.sum() == cents.sum()


def test_expected_money_of_the_next_half_year_agrees_with_what_was_fitted(scored):
    expected = scored.expected_orders_milli.values.sum() / 1000
    columns, customers_n, today = sample()
    earlier = columns.day <= today - 182
    then = OrderColumns(*(getattr(columns, f.name)[earlier] for f in dataclasses.fields(columns)[:-1]))
    past = history_of(then, customers_n=customers_n, as_of_day=today - 182)
    now = history_of(columns, customers_n=customers_n, as_of_day=today)
    last_half_year = (now.orders_n - past.orders_n).sum()
    assert 0.5 * last_half_year < expected < 1.5 * last_half_year


def test_the_rows_sequence_changes_nothing_but_the_sequence():
    columns, customers_n, today = sample()
    found = history_of(columns, customers_n=customers_n, as_of_day=today)
    order = np.random.default_rng(2).permutation(customers_n)
    kind = (np.arange(customers_n) % 3).astype(np.int64)
    straight = score_customers(ScoreInputs(found, kind), ScoreParameters(), today)
    shuffled = score_customers(ScoreInputs(rows_of(found, order), kind[order]), ScoreParameters(), today)
    assert (shuffled.priority.points == straight.priority.points[order]).all()
    assert (shuffled.segment.code == straight.segment.code[order]).all()
    assert shuffled.thresholds == straight.thresholds
    assert shuffled.tables == straight.tables


def test_frozen_parts_given_are_used_and_handed_back(scored):
    columns, customers_n, today = sample()
    found = history_of(columns, customers_n=customers_n, as_of_day=today)
    frozen = ScoreParameters(calibration=scored.calibration, thresholds=scored.thresholds, tables=scored.tables)
    few = np.arange(5)
    inputs = ScoreInputs(rows_of(found, few), np.zeros(5, dtype=np.int64), previous=None)
    some = score_customers(inputs, frozen, today)
    assert some.tables is scored.tables
    assert (some.value_at_stake_minor.values == scored.value_at_stake_minor.values[:5]).all()
    again = dataclasses.replace(inputs, previous=as_previous(some.segment))
    assert (score_customers(again, frozen, today + 1).segment.since_day == some.segment.since_day).all()


def test_one_customer_scored_alone_equals_the_same_customer_in_the_crowd_once_all_is_frozen(scored):
    columns, customers_n, today = sample()
    found = history_of(columns, customers_n=customers_n, as_of_day=today)
    frozen = ScoreParameters(calibration=scored.calibration, thresholds=scored.thresholds, tables=scored.tables)
    alone = score_customers(ScoreInputs(rows_of(found, np.array([5])), np.zeros(1, dtype=np.int64)), frozen, today)
    assert alone.existing_value_minor.values[0] == scored.existing_value_minor.values[5]
    assert alone.churn_risk_bp.known[0]


@pytest.mark.parametrize("rows", [[], [(0, TODAY - 40, 900)], [(0, TODAY - 40, -900)], [(0, TODAY, 0)]])
def test_nobody_one_customer_and_only_returns_are_finite(rows):
    customers_n = 1 if rows else 0
    found = score_customers(
        ScoreInputs(history(rows, customers_n), np.zeros(customers_n, dtype=np.int64)), ScoreParameters(), TODAY
    )
    assert found.priority.score.shape == (customers_n,)
    assert found.calibration.purchase.status is FitStatus.SHIPPED_PRIOR
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if isinstance(value, IntColumn):
            assert value.values.shape == (customers_n,), field.name


def test_without_peers_the_scored_future_is_the_probabilistic_value():
    rows = [(c, TODAY - 40 * k - 90 * c, 1_000 + 300 * c) for c in range(5) for k in range(1 + c)]
    found = history(rows, 6)
    scored_small = score_customers(ScoreInputs(found, np.zeros(6, dtype=np.int64)), ScoreParameters(), TODAY)
    valued = clv(found, calibration=scored_small.calibration, as_of_day=TODAY)
    assert scored_small.clv_future_minor.values.tolist() == valued.future_minor.values.tolist()
    assert scored_small.clv_past_minor.values.tolist() == valued.past_minor.values.tolist()
    assert valued.future_minor.values[:5].min() > 0


def test_local_facts_and_obligations_reach_their_lines():
    inputs = ScoreInputs(
        history([(0, TODAY - 40, 900), (1, TODAY - 40, 900)], 2),
        np.zeros(2, dtype=np.int64),
        last_visit_day=IntColumn.of([TODAY - 60, None]),
        cadence_days=IntColumn.of([30, 30]),
        severe_cases_n=IntColumn.of([1, 0]),
        overdue_tasks_n=IntColumn.of([0, 0]),
        open_tasks_n=IntColumn.of([0, 1]),
    )
    found = score_customers(inputs, ScoreParameters(), TODAY)
    points = {code: found.priority.points[:, place].tolist() for place, code in enumerate(LINES)}
    assert points[LineCode.OVERDUE] == [12, 0]
    assert points[LineCode.OBLIGATIONS] == [12, 3]
    assert found.priority.recorded[1, LINES.index(LineCode.OVERDUE)] == np.False_
    assert found.satisfaction_bp.values.tolist() == [4_000, 6_000]


def test_closed_customers_shape_neither_tables_nor_cuts():
    rows = [(c, TODAY - 30 * k, 1_000) for c in range(3) for k in range(1, 9)]
    giant = [(3, TODAY - 30 * k, 10**9) for k in range(1, 9)]
    inputs = ScoreInputs(
        history([*rows, *giant], 4), np.zeros(4, dtype=np.int64), closed=np.array([False, False, False, True])
    )
    found = score_customers(inputs, ScoreParameters(), TODAY)
    assert found.tables.existing.knots[-1] < 10**6
    assert dict(found.thresholds.existing_by_kind)[0] < 10**6


def test_bad_columns_are_refused_together():
    found = history([(0, TODAY, 5)], 1)
    inputs = ScoreInputs(found, np.zeros(2, dtype=np.int64), breadth_n=IntColumn.missing(3))
    with pytest.raises(Refused) as refused:
        score_customers(inputs, ScoreParameters(), TODAY - 1)
    assert {p.code for p in refused.value.problems} == {Code.INVALID_VALUE, Code.IN_THE_FUTURE}
    assert len(refused.value.problems) == 3


@pytest.mark.requirement("R28")
def test_a_customers_facts_let_a_device_compute_the_servers_priority(scored):
    documents = fact_documents(scored.priority_inputs, range(len(scored.priority.score)))
    parameters, tables = ScoreParameters().priority.document(), scored.tables.document()
    for row in range(0, len(documents), 97):
        found = reference.priority(parameters, tables, documents[row], {"today": scored.as_of_day})
        assert found["score"] == scored.priority.score[row]
        assert [line["points"] for line in found["lines"]] == scored.priority.points[row].tolist()
    assert all(isinstance(value, int | None) for value in documents[0].values())
    assert documents[0]["satisfactionBp"] is None, "never asked travels as not recorded, not as the prior"
