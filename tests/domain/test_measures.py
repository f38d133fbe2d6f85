"""Loyalty, satisfaction and potential: each measure moves in its stated direction, stays in its range, and never
turns what is missing into a zero."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.arrays import Basis, IntColumn, Measure
from backend.domain.history import QUARTER_DAYS
from backend.domain.loyalty import (
    WEIGHTS,
    breadth,
    churn_risk,
    frequency,
    in_season_days,
    loyalty,
    overdue,
    recency_ratio,
    referrals,
    returns_score,
    share_of_wallet,
    tenure,
)
from backend.domain.potential import potential, yearly_trend
from backend.domain.satisfaction import (
    Answers,
    Complaints,
    SatisfactionInputs,
    answer_mean,
    company_nps,
    resolution,
    satisfaction,
)
from tests.domain.worlds import TODAY, history

pytestmark = pytest.mark.requirement("R52")

ONE_KIND = np.zeros(4, dtype=np.int64)


def regular(customer: int, gap_days: int, last_ago: int, orders_n: int, amount: int = 1_000):
    return [(customer, TODAY - last_ago - gap_days * k, amount) for k in range(orders_n)]


def exact(*values: float) -> Measure:
    column = np.array(values, dtype=np.float64)
    return Measure(column, np.ones_like(column), np.full(column.shape, Basis.RECORDED, dtype=np.int64))


def absent(rows_n: int) -> Measure:
    nothing = np.full(rows_n, Basis.NOT_RECORDED, dtype=np.int64)
    return Measure(np.full(rows_n, np.nan), np.zeros(rows_n), nothing)


# recency, overdue, churn


def test_recency_counts_in_the_customers_own_interval_shrunk_to_the_population():
    found = recency_ratio(history([*regular(0, 30, 60, 40), (1, TODAY - 60, 5)], 3), TODAY)
    assert found.value[0] == pytest.approx(2.0)
    assert found.value[1] == pytest.approx(2.0), "one order: the population's interval"
    assert np.isnan(found.value[2])
    assert found.basis.tolist() == [Basis.SHRUNK_TO_PEERS, Basis.PEERS_ONLY, Basis.NOT_RECORDED]
    assert found.confidence[0] > found.confidence[1] > found.confidence[2] == 0.0


def test_a_declared_off_season_is_no_silence():
    found = history([*regular(0, 30, 60, 5), *regular(1, 30, 5, 5)], 2)
    closed = ((TODAY - 50, TODAY - 21),)
    assert in_season_days(np.array([TODAY - 60]), np.array([TODAY]), closed).tolist() == [30]
    assert in_season_days(np.array([TODAY - 30]), np.array([TODAY]), closed).tolist() == [20]
    with_season, without = recency_ratio(found, TODAY, closed), recency_ratio(found, TODAY)
    assert with_season.value[0] < without.value[0]


def test_overdue_is_a_half_at_one_and_a_half_intervals():
    late = overdue(exact(0.0, 1.5, 3.0))
    assert late.value[1] == pytest.approx(0.5)
    assert late.value[0] < 0.01 < 0.99 < late.value[2]
    unknown = overdue(absent(1))
    assert (unknown.value[0], unknown.confidence[0], unknown.basis[0]) == (0.0, 0.0, Basis.NOT_RECORDED)


@pytest.mark.requirement("R19")
def test_churn_risk_is_never_certain_and_respects_being_overdue():
    found = history([*regular(0, 30, 5, 4), *regular(1, 30, 5, 3), (2, TODAY, 1)], 4)
    late = exact(1.0, 1.0, 0.0, 0.0)
    risk = churn_risk(np.array([0.9, 0.9, 1.0, 0.0]), late, found)
    assert risk.value[:3].tolist() == pytest.approx([0.5, 0.1, 0.01])
    assert np.isnan(risk.value[3]), "nobody leaves who never came"
    assert risk.basis.tolist()[:2] == [Basis.MODEL_AND_OVERDUE, Basis.MODEL]
    assert churn_risk(np.zeros(4), late, found).value[0] == 0.99


# the other parts of loyalty


def test_wallet_is_shrunk_to_peers_and_missing_budgets_take_the_peers_mean_without_weight():
    found = history([*regular(0, 91, 1, 8), *regular(1, 91, 1, 8), (2, TODAY, 100)], 4)
    share = share_of_wallet(found, IntColumn.of([4_000, 16_000, None, None]), ONE_KIND, TODAY)
    assert 0.25 < share.value[1] < share.value[0] <= 1.0
    assert share.value[2] == pytest.approx(0.625)
    assert share.confidence.tolist()[2:] == [0.0, 0.0]
    nobody = share_of_wallet(found, IntColumn.missing(4), ONE_KIND, TODAY)
    assert np.isnan(nobody.value).all()


def test_tenure_breadth_and_referrals_rise_and_a_recorded_zero_is_a_true_zero():
    young_old = tenure(history([(0, TODAY - 30, 1), (1, TODAY - 3000, 1)], 3), TODAY).value
    assert 0 < young_old[0] < young_old[1] < 1
    assert np.isnan(young_old[2])
    wide = breadth(IntColumn.of([1, 4, 4, None]), ONE_KIND)
    assert wide.value[:3].tolist() == [0.25, 1.0, 1.0]
    assert wide.basis[3] == Basis.NOT_RECORDED
    named = referrals(IntColumn.of([0, 2, None]))
    assert named.value[0] == 0.0
    assert named.value[1] == pytest.approx(1 - np.exp(-1))
    assert np.isnan(named.value[2])


def test_returns_at_the_mean_rate_score_two_thirds_as_do_unrecorded_ones():
    scores = returns_score(np.array([10, 10, 0, 40, -1]), np.array([100, 100, 100, 100, 100]))
    assert scores.value[4] == pytest.approx(2 / 3)
    assert scores.basis[4] == Basis.PRIOR
    assert scores.value[2] > scores.value[0] > scores.value[3] >= 0
    even = returns_score(np.array([10, 10]), np.array([100, 100]))
    assert even.value.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert returns_score(np.array([0]), np.array([10])).value.tolist() == [1.0], "nobody returns anything"


def test_frequency_is_a_percentile_within_the_kind():
    found = history([*regular(0, 30, 1, 9), *regular(1, 30, 1, 3), *regular(2, 90, 1, 2)], 4)
    value = frequency(found, np.array([0, 0, 1, 1])).value
    assert value[0] > value[1]
    assert value[2] == pytest.approx(0.5)
    assert np.isnan(value[3])


@pytest.mark.requirement("R19")
def test_loyalty_is_renormalised_over_what_is_present_with_its_coverage():
    parts = {name: absent(2) for name in WEIGHTS}
    parts["on_time"] = exact(0.8, 0.8)
    half = np.array([0.6, np.nan])
    parts["frequency"] = Measure(half, np.array([1.0, 0.0]), np.array([Basis.RECORDED, Basis.NOT_RECORDED]))
    found = loyalty(parts)
    assert found.score.value.tolist() == pytest.approx([100 * (0.24 + 0.12) / 0.5, 80.0])
    assert found.coverage.tolist() == pytest.approx([0.5, 0.3])
    assert found.score.basis.tolist() == [Basis.PARTLY_RECORDED, Basis.PROVISIONAL]
    full = loyalty({name: exact(1.0) for name in WEIGHTS})
    assert (full.score.value[0], full.score.basis[0]) == (pytest.approx(100.0), Basis.RECORDED)
    nothing = loyalty({name: absent(1) for name in WEIGHTS})
    assert np.isnan(nothing.score.value[0])
    assert nothing.score.confidence[0] == 0


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1), st.floats(0, 1))
def test_loyalty_never_falls_when_a_part_rises(name, one, other):
    low, high = sorted((one, other))
    parts = {part: exact(0.4, 0.4) for part in WEIGHTS} | {name: exact(low, high)}
    first, second = loyalty(parts).score.value
    assert 0 <= first <= second + 1e-12 <= 100 + 1e-9


# satisfaction


def answers(*rows: tuple[int, int, float]) -> Answers:
    return Answers(
        np.array([r[0] for r in rows], dtype=np.int64),
        np.array([TODAY - r[1] for r in rows], dtype=np.int64),
        np.array([r[2] for r in rows], dtype=np.float64),
    )


def complaint(customer: int, severity: float, *, opened=True, age=1.0, late=False, again=False) -> Complaints:
    return Complaints(
        np.array([customer]),
        np.array([severity]),
        np.array([opened]),
        np.array([age]),
        np.array([late]),
        np.array([again]),
    )


def test_nobody_asked_is_the_prior_with_no_confidence():
    for inputs in (None, SatisfactionInputs()):
        found = satisfaction(inputs, customers_n=2, as_of_day=TODAY)
        assert found.value.tolist() == [60.0, 60.0]
        assert found.confidence.tolist() == [0.0, 0.0]
        assert found.basis.tolist() == [Basis.PRIOR, Basis.PRIOR]


def test_silence_is_not_satisfaction():
    assert resolution(complaint(0, 0.2), 2).value[1] == 0.5
    silent = satisfaction(SatisfactionInputs(complaints=complaint(0, 0.2)), customers_n=2, as_of_day=TODAY)
    assert silent.value[1] == 60.0
    assert silent.confidence[1] == 0.0


def test_resolution_falls_with_open_severity_lateness_and_reopening():
    assert resolution(complaint(0, 0.4, age=0.5), 1).value[0] == pytest.approx(0.8)
    assert resolution(complaint(0, 0.4, opened=False), 1).value[0] == 1.0
    assert resolution(complaint(0, 0.4, opened=False, late=True, again=True), 1).value[0] == pytest.approx(0.2)
    assert resolution(complaint(0, 1.0, late=True), 1).value[0] == 0.0


def test_an_open_severe_complaint_caps_and_is_certain():
    inputs = SatisfactionInputs(csat=answers(*[(0, 1, 1.0)] * 20), complaints=complaint(0, 0.9, age=0.0))
    found = satisfaction(inputs, customers_n=1, as_of_day=TODAY)
    assert (found.value[0], found.confidence[0]) == (40.0, 1.0)
    assert found.basis[0] == Basis.CAPPED_BY_SEVERE_COMPLAINT
    told = satisfaction(None, customers_n=2, as_of_day=TODAY, severe_open=np.array([True, False]))
    assert told.value.tolist() == [40.0, 60.0]


def test_answers_fade_and_are_shrunk_to_everybodys_mean():
    fresh = answer_mean(answers((0, 0, 1.0), (1, 0, 0.0)), 1.0, 3, TODAY)
    assert fresh.value[:2].tolist() == pytest.approx([(1 + 5 * 0.5) / 6, (5 * 0.5) / 6])
    assert np.isnan(fresh.value[2])
    old_praise = answer_mean(answers((0, 900, 1.0), (0, 0, 0.0), (1, 0, 0.5)), 1.0, 2, TODAY)
    new_praise = answer_mean(answers((0, 900, 0.0), (0, 0, 1.0), (1, 0, 0.5)), 1.0, 2, TODAY)
    assert old_praise.value[0] < new_praise.value[0]


def test_company_nps_has_an_interval_that_narrows_with_answers():
    few = company_nps(answers((0, 0, 10.0), (1, 0, 9.0), (2, 0, 3.0)))
    many = company_nps(answers(*[(0, 0, 10.0), (1, 0, 9.0), (2, 0, 3.0)] * 100))
    assert few.value == many.value == pytest.approx(100 / 3)
    assert few.low < many.low < many.value < many.high < few.high
    nobody = company_nps(answers())
    assert np.isnan(nobody.value)
    assert (nobody.low, nobody.high) == (-100.0, 100.0)


# potential


def peers(customers_n: int, *, quarters_n: int = 8):
    """Customer k sells (k+1)·1,000 every quarter."""
    rows = [(k, TODAY - 10 - QUARTER_DAYS * q, 1_000 * (k + 1)) for k in range(customers_n) for q in range(quarters_n)]
    return history(rows, customers_n + 1)


def measured(found, customers_n: int, **changed):
    columns = {
        "kind": np.zeros(customers_n, dtype=np.int64),
        "peer_group": np.full(customers_n, -1, dtype=np.int64),
        "categories_n": IntColumn.missing(customers_n),
        "as_of_day": TODAY,
        "active": np.ones(customers_n, dtype=np.bool_),
    }
    return potential(found, **{**columns, **changed})


@pytest.mark.requirement("R22")
def test_potential_is_the_way_to_the_peers_frontier_and_prospects_have_the_longest():
    found = measured(peers(40), 41)
    value = found.year_minor.value
    assert (np.diff(value[:40]) <= 1e-9).all(), "who sells more has less to gain"
    assert value[40] >= value[0] > 0
    assert value[39] == 0
    assert set(found.year_minor.basis.tolist()) == {Basis.KIND_PEERS}


def test_fewer_than_thirty_peers_go_to_the_kind_and_then_to_nothing():
    small = measured(peers(29), 30)
    assert np.isnan(small.year_minor.value).all()
    assert set(small.year_minor.basis.tolist()) == {Basis.NOT_RECORDED}
    groups = np.array([0] * 35 + [1] * 6)
    mixed = measured(peers(40), 41, peer_group=groups)
    assert mixed.year_minor.basis[0] == Basis.PEERS_ONLY
    assert mixed.year_minor.basis[40] == Basis.KIND_PEERS
    assert mixed.year_minor.confidence[0] > mixed.year_minor.confidence[40]


@pytest.mark.requirement("R22")
def test_category_gap_counts_missing_categories_at_todays_revenue_each():
    found = measured(peers(40), 41, categories_n=IntColumn.of([2] + [4] * 39 + [None]))
    assert found.parts_minor[0, 1] == pytest.approx(2 * 4_000 / 2)
    assert found.parts_minor[1, 1] == 0
    assert found.year_minor.confidence[40] < found.year_minor.confidence[1]


def test_trend_compares_season_with_season_and_is_clipped():
    def seasonal(customer: int, growth: float):
        shape = (4_000, 100, 100, 100)
        return [
            (customer, TODAY - 5 - QUARTER_DAYS * q, round(shape[q % 4] * growth ** (-(q // 4)))) for q in range(12)
        ]

    rows = [*seasonal(0, 1.0), *seasonal(1, 1.2), *seasonal(2, 0.8), *seasonal(3, 9.0), (4, TODAY, 50)]
    trend = yearly_trend(history(rows, 5), TODAY)
    assert trend[0] == 0.0, "a strong season is no trend"
    assert 0 < trend[1] < 0.5
    assert -0.5 < trend[2] < 0
    assert trend[3] == 0.5 or trend[3] > trend[1]
    assert np.isnan(trend[4])


# properties of all measures


rows_of_orders = st.lists(
    st.tuples(st.integers(0, 5), st.integers(TODAY - 1400, TODAY), st.integers(1, 90_000)), max_size=40
)


def all_measures(found, customers_n: int, budget: list[int | None], scale: int = 1) -> dict[str, np.ndarray]:
    kind = np.zeros(customers_n, dtype=np.int64)
    ratio = recency_ratio(found, TODAY)
    late = overdue(ratio)
    columns = {
        "ratio": ratio,
        "on_time": Measure(1 - late.value, late.confidence, late.basis),
        "risk": churn_risk(np.full(customers_n, 0.5), late, found),
        "frequency": frequency(found, kind),
        "wallet": share_of_wallet(found, IntColumn.of([b and b * scale for b in budget]), kind, TODAY),
        "tenure": tenure(found, TODAY),
        "returns": returns_score(found.returns_n, found.orders_n),
    }
    parts = {name: measure for name, measure in columns.items() if name in WEIGHTS}
    return {name: m.value for name, m in columns.items()} | {"loyalty": loyalty(parts).score.value}


BUDGET: list[int | None] = [None, 50_000, 90_000, None, 10, 1]


@settings(max_examples=50, deadline=None)
@given(rows_of_orders, st.permutations(range(6)), st.sampled_from([100, 1300]))
def test_measures_are_bounded_and_blind_to_currency_scale_row_sequence_and_duplicates(rows, order, scale):
    before = all_measures(history(rows, 6), 6, BUDGET)
    for name, value in before.items():
        known = value[~np.isnan(value)]
        top = {"ratio": np.inf, "loyalty": 100.0 + 1e-9}.get(name, 1.0)
        assert ((known >= 0) & (known <= top)).all(), name
    scaled = all_measures(history([(c, d, m * scale) for c, d, m in rows], 6), 6, BUDGET, scale)
    place = {customer: row for row, customer in enumerate(order)}
    moved = all_measures(history([(place[c], d, m) for c, d, m in rows], 6), 6, [BUDGET[c] for c in order])
    doubled_rows = [*rows, *rows[:3]]
    doubled = all_measures(history(doubled_rows, 6, keys=[*range(len(rows)), *range(len(rows[:3]))]), 6, BUDGET)
    for name, value in before.items():
        assert scaled[name] == pytest.approx(value, nan_ok=True), name
        assert moved[name] == pytest.approx(value[list(order)], nan_ok=True), name
        assert doubled[name] == pytest.approx(value, nan_ok=True), name


@pytest.mark.parametrize("customers_n", [0, 1])
def test_measures_of_nobody_and_of_one_customer_without_orders_are_defined(customers_n: int):
    found = all_measures(history([], customers_n), customers_n, [None] * customers_n)
    assert all(value.shape == (customers_n,) for value in found.values())
    assert measured(history([], customers_n), customers_n).year_minor.value.shape == (customers_n,)
    assert satisfaction(None, customers_n=customers_n, as_of_day=TODAY).value.shape == (customers_n,)


def test_a_measure_keeps_its_columns_together():
    with pytest.raises(ValueError, match="length"):
        dataclasses.replace(exact(1.0), confidence=np.ones(2))
    with pytest.raises(ValueError, match="length"):
        IntColumn(np.zeros(2, dtype=np.int64), np.zeros(1, dtype=np.bool_))
