"""What customers told us, as columns: each formula's input, and nothing where nothing was ever recorded."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.arrays import Basis, IntColumn, Measure
from backend.domain.feedback import (
    MEASURED,
    CaseRows,
    Feedback,
    Told,
    complaints,
    evidence_ids,
    fact_ages,
    measure_documents,
    only_of,
    proof_of,
    referrals_n,
    satisfaction_inputs,
    severe_cases_n,
    wallet_year_minor,
)
from backend.domain.forms import Measured
from backend.domain.history import OrderColumns, history_of
from backend.domain.loyalty import Loyalty, loyalty, share_of_wallet
from backend.domain.questions import QUESTIONS_MAX, STALE_DAYS, AskedFact, Standing, next_questions
from backend.domain.satisfaction import SILENCE, satisfaction, satisfaction_parts
from backend.domain.segments import ONBOARDING, SegmentColumns, Thresholds

TODAY = 20_000
Row = tuple[int, Measured, int, int, str]


def told(rows: Sequence[Row], *, of_style: Sequence[str] = ()) -> Told:
    return Told(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([MEASURED.index(row[1]) for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.int64),
        np.array([row[3] for row in rows], dtype=np.int64),
        np.array([row[4] in of_style for row in rows], dtype=np.bool_),
        [row[4] for row in rows],
    )


def cases(rows: Sequence[tuple[int, float, int, bool, float, bool, bool, str]]) -> CaseRows:
    customer, severity, opened, is_open, share, late, again, ids = zip(*rows, strict=True) if rows else ((),) * 8
    return CaseRows(
        np.array(customer, dtype=np.int64), np.array(severity, dtype=np.float64), np.array(opened, dtype=np.int64),
        np.array(is_open, dtype=np.bool_), np.array(share, dtype=np.float64), np.array(late, dtype=np.bool_),
        np.array(again, dtype=np.bool_), ids,
    )  # fmt: skip


def feedback(rows: Sequence[Row] = (), heard: CaseRows | None = None, **more: Sequence[str]) -> Feedback:
    return Feedback(told(rows, **more), heard or cases([]), heard is not None)


def orders(amounts: Sequence[int]) -> OrderColumns:
    """Per customer a small order two years ago, and one of this amount a month ago."""
    n = len(amounts)
    nothing = np.zeros(2 * n, dtype=np.bool_)
    who = np.tile(np.arange(n, dtype=np.int64), 2)
    days = np.repeat([TODAY - 730, TODAY - 30], n)
    return OrderColumns(who, days, np.array([*[1] * n, *amounts]), np.zeros_like(who), nothing, nothing)


@pytest.mark.requirement("R52")
def test_nothing_recorded_is_no_input_and_no_part() -> None:
    inputs = satisfaction_inputs(Feedback.nothing(), TODAY)
    assert (inputs.csat, inputs.nps, inputs.complaints) == (None, None, None)
    history = history_of(orders([100]), customers_n=1, as_of_day=TODAY)
    assert severe_cases_n(Feedback.nothing(), 1) is None
    assert wallet_year_minor(Feedback.nothing(), history, TODAY) is None
    assert referrals_n(Feedback.nothing(), 1) is None
    found = satisfaction(inputs, customers_n=1, as_of_day=TODAY)
    assert (found.value.tolist(), found.confidence.tolist(), found.basis.tolist()) == ([60.0], [0.0], [Basis.PRIOR])


@pytest.mark.requirement("R43", "R52")
def test_satisfaction_is_what_its_formula_says_of_these_answers() -> None:
    said = [
        (0, Measured.CSAT, TODAY, 5, "a"),
        (1, Measured.CSAT, TODAY - 180, 1, "b"),
        (1, Measured.NPS, TODAY, 3, "c"),
    ]
    parts = satisfaction_parts(satisfaction_inputs(feedback(said), TODAY), customers_n=3, as_of_day=TODAY)
    mean = (1.0 + 0.5 * 0.0) / 1.5
    assert parts["csat"].value[:2].tolist() == pytest.approx([(1 + 5 * mean) / 6, (0 + 5 * mean) / 5.5])
    assert np.isnan(parts["csat"].value[2])
    assert parts["nps"].value[1] == pytest.approx(0.3)
    assert parts["resolution"].basis.tolist() == [Basis.NOT_RECORDED] * 3
    whole = satisfaction(satisfaction_inputs(feedback(said), TODAY), customers_n=3, as_of_day=TODAY)
    csat, nps = parts["csat"].value, parts["nps"].value
    assert whole.value.tolist() == pytest.approx([100 * csat[0], 100 * (0.4 * csat[1] + 0.2 * nps[1]) / 0.6, 60.0])


@pytest.mark.requirement("R34")
def test_stars_for_our_service_are_satisfaction_and_stars_for_a_style_are_not() -> None:
    said = [(0, Measured.REVIEW, TODAY, 5, "service"), (1, Measured.REVIEW, TODAY, 1, "style")]
    found = satisfaction_inputs(feedback(said, of_style=["style"]), TODAY).csat
    assert found is not None
    assert (found.customer.tolist(), found.score.tolist()) == ([0], [1.0])


def test_complaints_of_a_year_count_and_older_ones_while_they_are_open() -> None:
    heard = cases(
        [
            (0, 1.0, TODAY - 400, True, 3.0, True, False, "old and open"),
            (1, 0.5, TODAY - 400, False, 9.0, True, True, "old and settled"),
            (1, 0.5, TODAY - 10, False, 9.0, False, True, "settled"),
        ]
    )
    found = complaints(feedback(heard=heard), TODAY)
    assert found is not None
    assert (found.customer.tolist(), found.age_share.tolist()) == ([0, 1], [3.0, 0.0])
    parts = satisfaction_parts(satisfaction_inputs(feedback(heard=heard), TODAY), customers_n=3, as_of_day=TODAY)
    assert parts["resolution"].value.tolist() == pytest.approx([0.0, 0.7, SILENCE])
    assert parts["resolution"].confidence.tolist() == [1.0, 1.0, 0.0]
    severe = severe_cases_n(feedback(heard=heard), 3)
    assert severe is not None
    assert severe.tolist() == [1, 0, 0]


@pytest.mark.requirement("R48")
def test_the_latest_word_about_a_budget_counts_for_two_years_and_a_share_is_of_our_sales() -> None:
    history = history_of(orders([30_000, 30_000, 30_000, 0, 30_000]), customers_n=5, as_of_day=TODAY)
    said = [
        (0, Measured.WALLET_BUDGET, TODAY - 9, 60_000, "a"),
        (0, Measured.WALLET_SHARE, TODAY - 8, 25, "b"),
        (1, Measured.WALLET_BUDGET, TODAY - 8, 90_000, "c"),
        (2, Measured.WALLET_BUDGET, TODAY - 730, 90_000, "old"),
        (3, Measured.WALLET_SHARE, TODAY, 50, "no sales"),
        (4, Measured.WALLET_SHARE, TODAY, 0, "share of nothing"),
    ]
    found = wallet_year_minor(feedback(said), history, TODAY)
    assert found is not None
    assert found.tolist() == [120_000, 90_000, None, None, None]
    share = share_of_wallet(history, found, np.zeros(5, dtype=np.int64), TODAY)
    assert share.basis.tolist()[:2] == [Basis.SHRUNK_TO_PEERS] * 2


def test_rows_of_the_customers_kept_are_numbered_anew() -> None:
    heard = cases([(1, 1.0, TODAY, True, 0.0, False, False, "x"), (2, 1.0, TODAY, True, 0.0, False, False, "y")])
    said = [(0, Measured.CSAT, TODAY, 5, "a"), (2, Measured.CSAT, TODAY, 1, "b")]
    kept = only_of(feedback(said, heard), np.array([False, True, True]))
    assert (kept.told.customer.tolist(), kept.told.ids) == ([1], ("b",))
    assert (kept.cases.customer.tolist(), kept.cases.ids) == ([0, 1], ("x", "y"))
    assert evidence_ids(kept) == ({0: ("x",), 1: ("y",)}, {1: ("b",)})


def test_a_measure_names_its_records_and_one_without_says_that_it_is_not_recorded() -> None:
    said = [(0, Measured.CSAT, TODAY - day, 4, f"a{day}") for day in range(7)]
    told_of = feedback(said)
    parts = satisfaction_parts(satisfaction_inputs(told_of, TODAY), customers_n=1, as_of_day=TODAY)
    [found] = measure_documents(proof_of(told_of, parts, parts["returns"]), [0])
    assert found["csat"]["rows"] == 7
    assert found["csat"]["evidence"] == ["a0", "a1", "a2", "a3", "a4"]
    assert (found["csat"]["from"], found["csat"]["until"]) == ("2024-09-28", "2024-10-04")
    assert found["nps"] == {
        "valueBp": None, "confidenceBp": 0, "basis": "NOT_RECORDED", "rows": 0, "from": None, "until": None,
        "evidence": [],
    }  # fmt: skip


# -- what to ask next --------------------------------------------------------------------------------------------


def standing(bits: Sequence[int], told_of: Feedback, *, onboarding: bool = False, severe: bool = False) -> Standing:
    n = len(bits)
    history = history_of(orders([50_000] * n), customers_n=n, as_of_day=TODAY)
    column, none = np.array(bits, dtype=np.int64), np.zeros(n, dtype=np.int64)
    known = Measure(np.full(n, 0.6), np.ones(n), np.full(n, int(Basis.RECORDED)))
    wallet = share_of_wallet(history, wallet_year_minor(told_of, history, TODAY) or IntColumn.missing(n), none, TODAY)
    referred = Measure(np.full(n, np.nan), np.zeros(n), np.full(n, int(Basis.NOT_RECORDED)))
    loyal: Loyalty = loyalty({"on_time": known, "frequency": known, "wallet": wallet, "tenure": known,
                              "breadth": known, "referrals": referred, "returns": known})  # fmt: skip
    code = np.full(n, ONBOARDING) if onboarding else column
    return Standing(
        satisfaction_parts(satisfaction_inputs(told_of, TODAY), customers_n=n, as_of_day=TODAY),
        loyal.parts,
        np.full(n, severe),
        SegmentColumns(code, column, np.zeros((n, 4), dtype=np.int64), none, code, none, np.ones((n, 4), dtype=bool)),
        Thresholds("v", (), 0, 0),
        history,
        TODAY,
    )


@pytest.mark.requirement("R48", "R52")
def test_at_most_three_questions_those_first_that_move_the_segment_most() -> None:
    told_of = feedback()
    asked = next_questions(standing([0b1111], told_of), fact_ages(told_of, 1, TODAY))
    found = asked.documents(0)
    assert len(found) == QUESTIONS_MAX
    assert [one["because"] for one in found] == ["UNRECORDED"] * 3
    # the worst word about satisfaction makes it low, the worst about the wallet loses loyalty
    assert (found[0]["measure"], found[0]["low"], found[0]["high"]) == ("CSAT", "HHHL", "HHHH")
    assert {one["measure"] for one in found} == {"CSAT", "NPS", "WALLET"}


def test_a_fact_known_lately_is_not_asked_and_one_known_long_ago_is_stale() -> None:
    for age, because in ((STALE_DAYS[AskedFact.CSAT], None), (STALE_DAYS[AskedFact.CSAT] + 1, "STALE")):
        told_of = feedback([(0, Measured.CSAT, TODAY - age, 4, "a")])
        asked = next_questions(standing([0b1111], told_of), fact_ages(told_of, 1, TODAY)).documents(0)
        assert {one["measure"]: one["because"] for one in asked}.get("CSAT") == because, age


def test_an_open_severe_complaint_leaves_satisfaction_low_whatever_is_said_and_onboarding_stays() -> None:
    asked = next_questions(standing([0b1110], feedback(), severe=True), fact_ages(feedback(), 1, TODAY))
    assert {(one["low"], one["high"]) for one in asked.documents(0) if one["measure"] in ("CSAT", "NPS")} == {
        ("HHHL", "HHHL")
    }
    new = next_questions(standing([0b1111], feedback(), onboarding=True), fact_ages(feedback(), 1, TODAY))
    assert {(one["low"], one["high"]) for one in new.documents(0)} == {("ONBOARDING", "ONBOARDING")}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 15),
            st.lists(st.tuples(st.sampled_from(list(Measured)), st.integers(0, 900), st.integers(0, 5)), max_size=4),
        ),
        max_size=6,
    )
)
def test_questions_are_bounded_distinct_and_the_same_in_any_company(
    customers: list[tuple[int, list[tuple[Measured, int, int]]]],
) -> None:
    rows = [
        (row, measure, TODAY - age, value, f"{row}-{at}")
        for row, (_, said) in enumerate(customers)
        for at, (measure, age, value) in enumerate(said)
    ]
    told_of, n = feedback(rows), len(customers)
    asked = next_questions(standing([bits for bits, _ in customers], told_of), fact_ages(told_of, n, TODAY))
    texts = asked.texts()
    assert len(texts) == n
    for row in range(n):
        found = asked.documents(row)
        names = [one["measure"] for one in found]
        assert len(names) == len(set(names)) <= QUESTIONS_MAX
        assert texts[row].count('"measure"') == len(found)
        ages = {fact: column.tolist()[row] for fact, column in fact_ages(told_of, n, TODAY).items()}
        fresh = {fact for fact, age in ages.items() if age is not None and age <= STALE_DAYS[fact]}
        assert not fresh & set(names)
        assert len(names) == min(QUESTIONS_MAX, len(AskedFact) - len(fresh))
