"""Every edge of lifetime value that the definition names, and what can be handed in wrong: refusals with codes, finite
numbers, a stated basis."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.arrays import MONEY_MINOR_MAX, Basis, IntColumn
from backend.domain.calibration import calibrate_history
from backend.domain.clv import ClvColumns, ClvParameters, PeerGap, check_asked, clv, referrals_minor
from backend.domain.clv_drivers import ReferralTerms
from backend.domain.exchange import convert_columns
from backend.domain.frozen import KINDS, frontier_documents, frontier_for
from backend.domain.history import QUARTER_DAYS, HistoryColumns, history_of
from backend.domain.loyalty import recency_ratio
from backend.domain.money import Rate
from backend.domain.potential import PEERS_MIN, peer_frontiers, potential
from backend.domain.purchase import FitStatus, Model, PurchaseFit, TimeUnit
from backend.domain.purchase_forecast import expected_of_new
from backend.domain.scoring import ScoreInputs, ScoreParameters, score_customers
from backend.domain.spend import expected_spend, fit_spend
from backend.domain.times import day_number
from backend.domain.value import ChurnForm, Method, ValueInputs, lifetime_value
from backend.errors import Code, Refused
from tests.domain.worlds import TODAY, history, order_columns

pytestmark = pytest.mark.requirement("R50")
METHODS = pytest.mark.parametrize("method", Method)


def valued(found: HistoryColumns, gap: PeerGap | None = None, **asked) -> ClvColumns:
    calibration = calibrate_history(found, as_of_day=TODAY, version="t")
    return clv(found, calibration=calibration, as_of_day=TODAY, asked=ClvParameters(**asked), gap=gap)


def total(found: ClvColumns) -> list[int]:
    return (found.past_minor.values + found.future_minor.values).tolist()


def peer_gap(*year_minor: float, peers_n: int = PEERS_MIN) -> PeerGap:
    return PeerGap(np.array(year_minor, dtype=np.float64), np.full(len(year_minor), peers_n), visit_cost_minor=0)


def quarterly(customer: int, *amounts: int, start: int = 5) -> list[tuple[int, int, int]]:
    return [(customer, TODAY - start - QUARTER_DAYS * age, amount) for age, amount in enumerate(amounts)]


@METHODS
def test_without_orders_the_value_is_what_the_peers_frontier_brings_and_nothing_else(method: Method):
    nobody = history([], 1)
    alone = valued(nobody, method=method)
    assert (alone.past_minor.tolist(), alone.future_minor.tolist(), alone.quarters_n.tolist()) == ([0], [0], [0])
    found = valued(nobody, peer_gap(400_000.0), method=method)
    assert found.basis.tolist() == [Basis.PROSPECT]
    assert found.past_minor.tolist() == [0]
    assert found.churn_bp.tolist() == [None]
    assert found.future_minor.tolist() == found.gain_minor.tolist()
    assert (found.future_minor.values[0] > 0) == (method is not Method.BASIC)


def test_fewer_than_thirty_peers_set_no_frontier():
    nobody = history([], 1)
    assert valued(nobody, peer_gap(400_000.0, peers_n=PEERS_MIN - 1)).future_minor.tolist() == [0]


@METHODS
def test_one_order_is_valued_by_every_method(method: Method):
    found = valued(history([(0, TODAY - 3, 5_000)], 1), method=method)
    # BASIC discounts the only quarter at its end
    assert found.past_minor.tolist() == [4_882 if method is Method.BASIC else 5_000]
    assert 0 <= found.future_minor.values[0] < 20 * 5_000


def test_margin_comes_from_the_customer_then_the_category_then_the_organisation_then_revenue_for_all():
    rows = [(0, TODAY, 1_000), (1, TODAY, 1_000)]
    assert valued(history(rows, 2)).basis.tolist() == [Basis.REVENUE] * 2
    declared = valued(history(rows, 2), default_margin=0.3)
    assert (declared.basis.tolist(), declared.past_minor.tolist()) == ([Basis.DEFAULT_MARGIN] * 2, [300, 300])
    own = valued(history(rows, 2, costs=[400, None]), default_margin=0.3)
    assert own.basis.tolist() == [Basis.MARGIN, Basis.DEFAULT_MARGIN]
    assert own.past_minor.tolist() == [600, 600], "what is recorded of others beats what was declared"
    assert Basis.REVENUE not in own.basis.tolist(), "bases are never mixed in one ranking"


@METHODS
def test_returns_above_orders_are_a_loss_that_stays_one(method: Method):
    rows = [(0, TODAY - 5, 500), (0, TODAY - 5, -800)]
    found = valued(history(rows, 1, returns=[1]), method=method)
    assert found.past_minor.values[0] < 0


@METHODS
def test_a_negative_lifetime_margin_stays_negative(method: Method):
    found = valued(history(quarterly(0, 900, 900, 900), 1, costs=[1_000, 1_000, 1_000]), method=method)
    assert found.basis.tolist() == [Basis.MARGIN]
    assert total(found)[0] < 0


def test_a_seasonal_buyer_is_not_late_inside_a_declared_off_season():
    seasonal = history([(0, TODAY - 365, 900), (0, TODAY - 330, 900), (0, TODAY - 300, 900)], 1)
    plain = float(recency_ratio(seasonal, TODAY).value[0])
    inside = float(recency_ratio(seasonal, TODAY, ((TODAY - 280, TODAY),)).value[0])
    assert inside < 1.0 < plain


def test_an_intermittent_buyer_keeps_its_history_and_its_chance():
    every_year = history([(0, TODAY - 365 * n - 5, 9_000) for n in range(3)], 1)
    found = valued(every_year)
    assert found.past_minor.tolist() == [27_000]
    assert found.future_minor.values[0] > 0


def test_several_currencies_are_taken_at_the_rate_of_the_order_date():
    rates = (Rate("EUR", "2020-01-01", 1_100_000_000), Rate("EUR", "2024-01-01", 1_200_000_000))
    days = np.array([day_number("2023-12-31"), day_number("2024-01-01"), day_number("2019-01-01")])
    found = convert_columns(np.array([1_000, 1_000, 1_000]), np.array(["EUR"] * 3), days, to="USD", rates=rates)
    assert found.amount_minor.tolist() == [1_100, 1_200, 0]
    assert found.known.tolist() == [True, True, False], "without a rate it is not known, and is never added as it is"


def test_orders_of_one_day_are_one_purchase_and_samples_are_none():
    split = history([(0, TODAY - 40, 300), (0, TODAY - 40, 700), (0, TODAY - 9, 0), (0, TODAY - 5, 1_000)], 1)
    whole = history([(0, TODAY - 40, 1_000), (0, TODAY - 5, 1_000)], 1)
    assert split.orders_n.tolist() == [2]
    assert total(valued(split)) == total(valued(whole))


def test_a_small_organisation_uses_shipped_parameters_and_says_so():
    calibration = calibrate_history(history(quarterly(0, 900, 900), 1), as_of_day=TODAY, version="t")
    assert (calibration.purchase.status, calibration.spend.status) == (FitStatus.SHIPPED_PRIOR,) * 2


@pytest.mark.parametrize("model", Model)
def test_a_of_one_is_no_singularity(model: Model):
    near, at = (
        expected_of_new(
            PurchaseFit(model, TimeUnit.WEEK, 0.5, 6.0, a, 2.0, 0.0, (math.nan,) * 4, FitStatus.CONVERGED, 1), 182
        )
        for a in (1.0 + 1e-10, 1.0)
    )
    assert near == pytest.approx(at, rel=1e-8)


@pytest.mark.parametrize("field", ["discount_yearly", "compound_past_yearly"])
@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf, -1.0, -2.0, 1e308, 10.01])
def test_rates_that_cannot_be_are_refused(field: str, rate: float):
    with pytest.raises(Refused) as refused:
        valued(history([(0, TODAY, 900)], 1), **{field: rate})
    [problem] = refused.value.problems
    assert (problem.code, problem.allowed) == (Code.OUT_OF_RANGE, ("> -1", "10"))


def test_all_that_is_wrong_with_a_question_is_told_at_once():
    asked = ClvParameters(discount_yearly=math.nan, damping=1.5, default_margin=math.inf)
    with pytest.raises(Refused) as refused:
        check_asked(asked, ReferralTerms(math.inf, MONEY_MINOR_MAX + 1, -1))
    assert [problem.path[0] for problem in refused.value.problems] == [
        "discountYearly", "damping", "defaultMargin", "perQuarter", "gainMinor", "costMinor",
    ]  # fmt: skip
    check_asked(ClvParameters(discount_yearly=-0.5, damping=0.0, default_margin=-1.0), ReferralTerms(0.0, 0, 0))


def test_an_order_after_the_day_is_refused_by_history_and_by_the_value():
    with pytest.raises(Refused) as refused:
        history([(0, TODAY + 1, 900)], 1)
    assert refused.value.problems[0].code is Code.IN_THE_FUTURE
    later = history([(0, TODAY, 900)], 1)
    with pytest.raises(Refused) as refused:
        clv(later, calibration=calibrate_history(later, as_of_day=TODAY, version="t"), as_of_day=TODAY - 1)
    assert refused.value.problems[0].code is Code.IN_THE_FUTURE


def test_amounts_no_client_could_hold_are_refused_and_so_are_sums_beyond_64_bits():
    with pytest.raises(Refused) as refused:
        history([(0, TODAY, MONEY_MINOR_MAX + 1)], 1)
    assert (refused.value.problems[0].code, refused.value.problems[0].path) == (Code.OUT_OF_RANGE, ("net_minor",))
    many = [(0, TODAY - n, MONEY_MINOR_MAX) for n in range(513)]
    with pytest.raises(Refused) as refused:
        history(many, 1)
    assert refused.value.problems[0].path == ("net_minor",)
    assert valued(history(many[:500], 1)).past_minor.tolist() == [MONEY_MINOR_MAX], "cut to what a client holds"


@METHODS
@pytest.mark.parametrize(
    "rows",
    [
        [(0, TODAY - 3_650, 900), (0, TODAY, 900)],
        [(0, -25_000, 900), (0, -1, 900), (0, TODAY, 900)],
        [(0, TODAY, 1)],
        [(n, TODAY - 7 * k, 900) for n in range(300) for k in range(5)],
        [(0, TODAY - n, MONEY_MINOR_MAX) for n in range(100)],
        [(0, TODAY - 10, -900)],
    ],
    ids=["ten years of silence", "before the organisation", "one cent", "all alike", "huge", "only returns"],
)
def test_odd_histories_give_whole_finite_numbers_on_a_stated_basis(method: Method, rows: list[tuple[int, int, int]]):
    customers_n = max(row[0] for row in rows) + 1
    found = valued(history(rows, customers_n), peer_gap(*[1e6] * customers_n), method=method)
    for column in (found.past_minor, found.future_minor, found.gain_minor):
        assert column.known.all()
        assert (np.abs(column.values) <= MONEY_MINOR_MAX).all()
    assert set(found.basis.tolist()) <= {Basis.REVENUE, Basis.PROSPECT}
    assert (found.quarters_n <= 20).all()


amounts = st.lists(st.integers(1, 1_000_000), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(amounts, st.integers(1, 1_000_000), st.sampled_from(Method))
def test_more_contribution_is_never_worth_less(found: list[int], more: int, method: Method):
    richer = [*found[:-1], found[-1] + more] if method is Method.REGRESSION else [one + more for one in found]
    low, high = (valued(history(quarterly(0, *rows), 1), method=method) for rows in (found, richer))
    assert low.past_minor.values[0] <= high.past_minor.values[0]
    if method is not Method.REGRESSION:
        assert total(low)[0] <= total(high)[0]


@settings(max_examples=25, deadline=None)
@given(amounts, st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_a_higher_discount_never_raises_the_future(found: list[int], one: float, other: float):
    low, high = sorted((one, other))
    for method in (Method.PROBABILISTIC, Method.INVERSE_CHURN):
        near, far = (
            valued(history(quarterly(0, *found), 1), method=method, discount_yearly=rate) for rate in (low, high)
        )
        assert far.future_minor.values[0] <= near.future_minor.values[0]


@settings(max_examples=20, deadline=None)
@given(amounts, st.integers(2, 1_000), st.sampled_from(Method))
def test_the_unit_of_money_does_not_matter(found: list[int], scale: int, method: Method):
    one, fine = (
        valued(history(quarterly(0, *[a * by for a in found]), 1), method=method) for by in (1_000, 1_000 * scale)
    )
    assert total(fine)[0] == pytest.approx(scale * total(one)[0], rel=1e-6, abs=2 * scale)


@settings(max_examples=20, deadline=None)
@given(st.lists(amounts, min_size=2, max_size=5), st.sampled_from(Method), st.randoms())
def test_neither_the_sequence_of_rows_nor_of_customers_matters(found: list[list[int]], method: Method, chance):
    rows = [row for customer, amounts_of in enumerate(found) for row in quarterly(customer, *amounts_of)]
    shuffled = rows.copy()
    chance.shuffle(shuffled)
    assert total(valued(history(rows, len(found)), method=method)) == total(
        valued(history(shuffled, len(found)), method=method)
    )
    turned = [(len(found) - 1 - customer, day, amount) for customer, day, amount in rows]
    assert total(valued(history(turned, len(found)), method=method))[::-1] == total(
        valued(history(rows, len(found)), method=method)
    )


def test_an_order_delivered_twice_changes_nothing():
    rows = quarterly(0, 900, 800, 700)
    once, twice = history(rows, 1, keys=[1, 2, 3]), history([*rows, rows[0]], 1, keys=[1, 2, 3, 1])
    for method in Method:
        assert total(valued(once, method=method)) == total(valued(twice, method=method))


def test_nobody_is_an_empty_answer():
    found = valued(history([], 0), PeerGap(np.zeros(0), np.zeros(0, np.int64), 0))
    assert found.past_minor.values.shape == found.gain_minor.values.shape == (0,)


def test_the_horizon_form_overstates_what_survival_gives():
    flat = history(quarterly(0, *[10_000] * 10), 1)
    survival, horizon = (valued(flat, method=Method.REGRESSION, churn_form=form) for form in ChurnForm)
    assert horizon.future_minor.values[0] > survival.future_minor.values[0] > 0


def test_referrals_are_one_generation_in_whole_money():
    # the golden vector in cents: ρ = .1, G = 80, k = 15, four quarters at 2 % each
    yearly = 1.02**4 - 1
    assert referrals_minor(ReferralTerms(0.1, 8_000, 1_500), quarters_n=4, discount_yearly=yearly) == 2_475
    assert referrals_minor(ReferralTerms(0.1, 1_000, 1_500), quarters_n=4, discount_yearly=yearly) < 0
    assert referrals_minor(ReferralTerms(0.1, 8_000, 1_500), quarters_n=0, discount_yearly=yearly) == 0


def crowd(customers_n: int) -> tuple[HistoryColumns, np.ndarray, np.ndarray]:
    """Customers of two kinds in two places, the last a prospect; place 1 of kind 0 has too few of them."""
    rows = [row for c in range(customers_n - 1) for row in quarterly(c, *[1_000 * (c + 1)] * 4)]
    kind = np.arange(customers_n) % 2
    place = np.where((kind == 0) & (np.arange(customers_n) < 20), 1, 0)
    return history(rows, customers_n), kind, place * len(KINDS) + kind


def test_frontiers_kept_with_a_run_are_those_the_gaps_were_measured_by():
    found, kind, group = crowd(140)
    frontiers = peer_frontiers(found, kind=kind, peer_group=group, as_of_day=TODAY)
    documents = frontier_documents(frontiers, ["CN/31", "CN/44"])
    gaps = potential(
        found, kind=kind, peer_group=group, categories_n=IntColumn.missing(140), as_of_day=TODAY,
        active=np.ones(140, dtype=np.bool_),
    )  # fmt: skip
    assert {(one["kind"], one["place"]) for one in documents} == {
        (KINDS[0], "CN/31"), (KINDS[1], "CN/31"), (KINDS[0], None), (KINDS[1], None),
    }  # fmt: skip
    for row, place in ((139, "CN/31"), (138, "CN/31"), (0, "CN/44"), (1, "CN/31")):
        frontier = frontier_for(documents, KINDS[kind[row]], place)
        assert frontier is not None
        own = found.quarter_revenue_minor[row, :4].sum() * (
            364.0 / np.clip(TODAY - found.first_day[row], QUARTER_DAYS, 364)
        )
        assert max(frontier[0] - own, 0.0) == pytest.approx(gaps.parts_minor[row, 0])
        assert frontier[1] == gaps.peers_n[row]
    # the small shops of the other place are peers by kind only, and pull that frontier down
    assert frontier_for(documents, KINDS[0], "CN/31") != frontier_for(documents, KINDS[0], None)
    assert frontier_for(documents, KINDS[2], None) is None
    assert frontier_for(documents, KINDS[0], None) == frontier_for(documents, KINDS[0], "KR/11")
    alone = (np.zeros(0, dtype=np.int64),) * 2
    assert peer_frontiers(history([], 0), kind=alone[0], peer_group=alone[1], as_of_day=TODAY) == ()


def test_the_value_asked_for_is_the_scores_own():
    found, kind, group = crowd(140)
    scores = score_customers(ScoreInputs(found, kind, group), ScoreParameters(visit_cost_minor=100), TODAY)
    gaps = potential(
        found, kind=kind, peer_group=group, categories_n=IntColumn.missing(140), as_of_day=TODAY,
        active=np.ones(140, dtype=np.bool_),
    )  # fmt: skip
    gap = PeerGap(gaps.parts_minor[:, 0], gaps.peers_n, visit_cost_minor=100)
    values = clv(found, calibration=scores.calibration, as_of_day=TODAY, gap=gap)
    assert values.past_minor.tolist() == scores.clv_past_minor.tolist()
    assert values.future_minor.tolist() == scores.clv_future_minor.tolist()
    assert values.gain_minor.values[0] > 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_amounts_that_are_no_numbers_are_refused_by_spend_and_by_value(wrong: float):
    spend, count = np.array([10.0, wrong]), np.array([1, 2])
    fit = fit_spend(spend[:1], count[:1])
    for ask in (lambda: fit_spend(spend, count), lambda: expected_spend(fit, spend, count)):
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.problems[0].code is Code.INVALID_VALUE
    flows = ValueInputs(np.array([[1.0, wrong]]), np.array([0.2]), 0.02, gain=np.array([[wrong]]))
    for method in Method:
        with pytest.raises(Refused) as refused:
            lifetime_value(flows, method)
        assert [(p.code, p.path) for p in refused.value.problems] == [
            (Code.INVALID_VALUE, ("contribution",)), (Code.INVALID_VALUE, ("gain",)),
        ]  # fmt: skip


def test_spend_of_fewer_than_no_purchases_is_refused():
    with pytest.raises(Refused) as refused:
        fit_spend(np.array([10.0]), np.array([-1]))
    assert refused.value.problems[0].code is Code.OUT_OF_RANGE


def test_what_cannot_be_a_column_of_orders_is_refused():
    columns = order_columns([(0, TODAY, 900), (0, TODAY, 900)])
    for wrong in (
        dataclasses.replace(columns, customer=np.array([0, 1])),
        dataclasses.replace(columns, customer=np.array([0, -1])),
        dataclasses.replace(columns, day=columns.day[:1]),
    ):
        with pytest.raises(Refused):
            history_of(wrong, customers_n=1, as_of_day=TODAY)
