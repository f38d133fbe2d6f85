"""The explanation is the score: lines that sum, whole numbers that agree everywhere."""

import ast
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.arrays import MICRO, IntColumn
from backend.domain.explanations import explain
from backend.domain.priority import (
    LINES,
    LineCode,
    QTable,
    QTables,
    expected_uplift,
    freeze_table,
    priorities,
    publish_parameters,
    rank_rows,
    share_micro,
    whole_points,
)
from backend.domain.priority_vectors import TODAY, as_inputs, evidence_of, priority_vectors, vectors_text
from mobile_contract import priority as reference

pytestmark = pytest.mark.requirement("R28")

CONTRACT = Path(reference.__file__).parent
PARAMETERS = publish_parameters()

amounts = st.none() | st.integers(-(10**6), 10**13)
bp = st.none() | st.integers(0, 10_000)
days = st.none() | st.integers(TODAY - 500, TODAY + 500)
scores = st.fixed_dictionaries(
    {
        "valueAtStakeMinor": amounts,
        "upliftMinor": amounts,
        "potentialMinor": amounts,
        "potentialConfidenceBp": bp,
        "existingValueMinor": amounts,
        "satisfactionBp": bp,
        "satisfactionConfidenceBp": bp,
        "loyaltyBp": bp,
        "cadenceDays": st.none() | st.integers(0, 120),
        "seasonCloseDay": days,
        "hasPreorderHistory": st.none() | st.integers(0, 1),
        "severeCases": st.none() | st.integers(0, 3),
    }
)
tasks = st.lists(st.fixed_dictionaries({"id": st.sampled_from("abc"), "dueDay": days}), max_size=4)
facts = st.fixed_dictionaries(
    {
        "today": st.just(TODAY),
        "lastVisitDay": days,
        "lastVisitId": st.none() | st.just("v"),
        "nextAppointmentDay": days,
        "nextAppointmentId": st.none() | st.just("n"),
        "lastOrderId": st.none() | st.just("o"),
        "openTasks": st.none() | tasks,
        "severeCases": st.none() | st.lists(st.sampled_from(("c1", "c2", "c3")), max_size=3, unique=True),
    }
)


def stretched(corners: list[int]) -> QTable:
    """A table through a few corners, with plateaus where two are equal."""
    places = np.linspace(0, 100, len(corners))
    return QTable(tuple(np.interp(np.arange(101), places, sorted(corners)).astype(np.int64).tolist()))


knots = st.lists(st.integers(-(10**5), 9 * 10**11) | st.just(0), min_size=2, max_size=6).map(stretched)
tables = st.builds(QTables, st.just("t"), knots, knots, knots, knots)
customers = st.lists(st.tuples(scores, facts), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(customers, tables)
def test_device_and_server_give_identical_lines_that_sum_to_the_score(rows, q_tables):
    columns = priorities(as_inputs([s for s, _ in rows], [f for _, f in rows]), PARAMETERS, q_tables, TODAY)
    for row, (score, fact) in enumerate(rows):
        lines = [line.document() for line in explain(columns, row, evidence_of(fact))]
        there = reference.priority(PARAMETERS.document(), q_tables.document(), score, fact)
        assert there == {"score": int(columns.score[row]), "lines": lines}
        assert sum(line["points"] for line in lines) == there["score"]
        assert 0 <= there["score"] <= 100


def test_the_committed_vectors_are_what_the_code_gives():
    assert (CONTRACT / "vectors" / "priority.json").read_text(encoding="utf-8") == vectors_text()


def test_the_reference_client_reproduces_every_vector():
    file = json.loads((CONTRACT / "vectors" / "priority.json").read_text(encoding="utf-8"))
    found = {
        case["customerId"]: reference.priority(file["parameters"], file["tables"], case["score"], case["facts"])
        for case in file["cases"]
    }
    assert len(found) > 100
    for case in file["cases"]:
        assert found[case["customerId"]] == case["expected"], case["customerId"]
    assert reference.rank(found) == file["ranking"]
    scores_seen = [found[name]["score"] for name in file["ranking"]]
    assert len(set(scores_seen)) > 30, "cases that all score alike would prove nothing"
    assert any(line["points"] for case in file["cases"] for line in case["expected"]["lines"][-1:]), "clip used"


@pytest.mark.requirement("R28")
def test_the_reference_client_stands_everybody_where_judgements_put_them():
    file = json.loads((CONTRACT / "vectors" / "priority.json").read_text(encoding="utf-8"))
    scored = {case["customerId"]: case["expected"] for case in file["cases"]}
    made = file["judgements"]
    for told in file["judged"]:
        assert reference.rank(scored, made, told["on"], told["me"]) == told["ranking"]
        for name, place in told["places"].items():
            mine = [one for one in made if one["customerId"] == name]
            assert reference.judged(scored[name]["score"], mine, told["on"], told["me"]) == place, name
    assert len({tuple(told["ranking"]) for told in file["judged"]}) == len(file["judged"]), "each day and person differ"
    assert any(place["skipped"] for told in file["judged"] for place in told["places"].values())
    sent = {**made[1], "id": "a", "createdAt": "2026-11-22T00:00:00.000Z", "score": 5}
    unsent = {**made[1], "id": "b", "createdAt": None, "createdBy": None, "score": 6}
    assert reference.judged(50, [unsent, sent], made[1]["startsOn"], "me")["rankedAt"] == 6
    own = {**unsent, "kind": "SKIP", "score": None}
    assert reference.judged(50, [own], made[1]["startsOn"], "me")["skipped"], "not sent yet: said here"


def test_the_device_part_uses_whole_numbers_and_the_standard_library_only():
    tree = ast.parse(Path(reference.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert imported == {"bisect", "typing"}
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Div)], "true division makes floats"
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, float)]


def only(code: LineCode, **given_score: int) -> dict:
    file = priority_vectors()
    fact = {"today": TODAY} | {k: given_score.pop(k) for k in ("lastVisitDay",) if k in given_score}
    found = reference.priority(file["parameters"], file["tables"], given_score, fact)
    return next(line for line in found["lines"] if line["code"] == code)


@pytest.mark.requirement("R48")
def test_a_line_without_input_is_flagged_and_gives_nothing():
    columns = priorities(as_inputs([{}], [{"today": TODAY}]), PARAMETERS, zero_tables(), TODAY)
    assert columns.score.tolist() == [0]
    for line in explain(columns, 0):
        assert (line.points, line.recorded) == (0, line.code is LineCode.CLIP)
        assert line.code is LineCode.CLIP or not line.numbers


def test_a_satisfaction_never_asked_is_not_a_satisfaction_of_zero():
    unknown = only(LineCode.SATISFACTION_GAP, existingValueMinor=10**9)
    angry = only(
        LineCode.SATISFACTION_GAP,
        existingValueMinor=10**12,
        satisfactionBp=0,
        satisfactionConfidenceBp=10_000,
    )
    assert (unknown["recorded"], unknown["points"]) == (False, 0)
    assert (angry["recorded"], angry["points"]) == (True, 4)


@pytest.mark.parametrize(("since", "points"), [(0, 0), (22, 0), (28, 2), (42, 7), (56, 12), (400, 12)])
def test_overdue_counts_from_four_fifths_of_the_cadence_to_twice(since: int, points: int):
    assert only(LineCode.OVERDUE, cadenceDays=28, lastVisitDay=TODAY - since)["points"] == points


@pytest.mark.parametrize(("left", "points"), [(-1, 0), (0, 1), (14, 8), (30, 4), (45, 0), (200, 0)])
def test_season_window_is_a_triangle_that_ends_with_the_order_book(left: int, points: int):
    line = only(LineCode.SEASON_WINDOW, seasonCloseDay=TODAY + left, hasPreorderHistory=1)
    assert line["points"] == points
    assert only(LineCode.SEASON_WINDOW, seasonCloseDay=TODAY + left, hasPreorderHistory=0)["points"] == 0


def test_obligations_are_capped_and_late_ones_weigh_double():
    file = priority_vectors()

    def points(due_days: list[int | None], severe: int) -> int:
        fact = {"today": TODAY, "openTasks": [{"id": str(i), "dueDay": d} for i, d in enumerate(due_days)]}
        found = reference.priority(file["parameters"], file["tables"], {"severeCases": severe}, fact)
        return next(line["points"] for line in found["lines"] if line["code"] == "OBLIGATIONS")

    assert points([], 0) == 0
    assert points([TODAY], 0) == 3, "due today is not yet late"
    assert points([TODAY - 1], 0) == 6
    assert points([TODAY - 1, None], 0) == 9
    assert points([TODAY - 1] * 5, 1) == 12


def test_a_visit_just_made_or_agreed_takes_twenty_off_and_fades_by_a_week():
    curve = PARAMETERS.just_visited_curve
    assert curve[0] == MICRO
    assert curve[7] == round(MICRO / np.e)
    assert all(a > b for a, b in itertools.pairwise(curve))


def test_share_is_that_of_customers_with_no_more():
    table = freeze_table(IntColumn.full([0] * 40 + list(range(1, 61))))
    found = share_micro(table, np.array([-3, 0, 1, 30, 60, 10**15]))
    assert found.tolist()[:2] == [0, 0]
    assert found[2] == pytest.approx(0.41 * MICRO, abs=0.011 * MICRO)
    assert found[3] == pytest.approx(0.70 * MICRO, abs=0.011 * MICRO)
    assert found.tolist()[4:] == [MICRO, MICRO]


@settings(max_examples=60, deadline=None)
@given(knots, st.lists(st.integers(-(10**6), 10**13), min_size=2, max_size=20))
def test_share_never_falls_when_the_amount_rises(table, values):
    shares = share_micro(table, np.array(sorted(values)))
    assert (np.diff(shares) >= 0).all()
    assert shares.min() >= 0
    assert shares.max() <= MICRO


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.integers(-20 * MICRO, 30 * MICRO), min_size=9, max_size=9), min_size=1, max_size=5))
def test_rounding_by_largest_remainder_keeps_the_sum_and_each_line_within_one_point(rows):
    micro = np.array(rows)
    points = whole_points(micro)
    assert (points.sum(axis=1) == (micro.sum(axis=1) + MICRO // 2) // MICRO).all()
    assert (np.abs(points * MICRO - micro) < MICRO).all()


def test_equal_remainders_go_to_the_earlier_line_on_both_sides():
    halves = dataclasses.replace(PARAMETERS, line_max=(1, 1, *PARAMETERS.line_max[2:]))
    table = QTable(tuple(range(101)))
    q_tables = QTables("t", table, table, table, table)
    score, fact = {"valueAtStakeMinor": 50, "upliftMinor": 50}, {"today": TODAY}
    there = reference.priority(halves.document(), q_tables.document(), score, fact)
    here = priorities(as_inputs([score], [fact]), halves, q_tables, TODAY)
    assert [line["points"] for line in there["lines"]][:2] == [1, 0]
    assert here.points[0, :2].tolist() == [1, 0]


def zero_tables() -> QTables:
    zero = QTable((0,) * 101)
    return QTables("zero", zero, zero, zero, zero)


def test_nobody_and_one_customer_are_ordinary_cases():
    nobody = priorities(as_inputs([], []), PARAMETERS, zero_tables(), TODAY)
    assert nobody.points.shape == (0, len(LINES))
    assert rank_rows(nobody.score, []).tolist() == []
    alone = freeze_table(IntColumn.full([500]))
    assert share_micro(alone, np.array([500])).tolist() == [MICRO]


def test_ranking_leaves_closed_customers_out_and_breaks_ties_by_id():
    order = rank_rows(np.array([50, 70, 50, 90]), ["c", "b", "a", "d"], np.array([False, False, False, True]))
    assert order.tolist() == [1, 2, 0]


def test_parameters_are_frozen_and_tables_must_ascend():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PARAMETERS.version = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="ascending"):
        QTable((1, *([0] * 100)))


def test_uplift_is_expected_spend_times_a_response_that_grows_with_lateness():
    response = {"base": 0.05, "peak": 0.2, "centre": 1.5, "width": 0.25}
    ratio = np.array([0.0, 1.0, 1.5, 2.0, np.nan])
    uplift = expected_uplift(np.full(5, 1000.0), ratio, **response)
    assert (np.diff(uplift[:4]) > 0).all()
    assert uplift[2] == pytest.approx(1000 * 0.125)
    assert uplift[4] == uplift[0], "unknown lateness reads as on time"
    assert expected_uplift(np.array([-5.0]), np.array([3.0]), **response).tolist() == [0.0]
