"""Which activity worked before: effects pooled by hand, and the ranking by the lower end."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.backtest import Verdict
from backend.domain.campaign_advisor import pooled, ranked_patterns, relative_effect
from backend.domain.evaluations import EvaluationMetric, EvaluationRecord, EvaluationState, SubjectKind, t_quantile
from backend.errors import Refused

pytestmark = pytest.mark.requirement("R10", "R24")


def record(place: int = 1, *, result: dict[str, Any] | None = None, **fields: Any) -> EvaluationRecord:
    given: dict[str, Any] = {
        "id": f"id{place}",
        "state": EvaluationState.CLOSED,
        "subject_kind": SubjectKind.CAMPAIGN,
        "subject_id": f"campaign{place}",
        "name": "A campaign",
        "strategy": None,
        "territory_id": None,
        "segments": (),
        "kinds": (),
        "metric": EvaluationMetric.REVENUE,
        "starts_on": "2026-01-01",
        "ends_on": f"2026-02-{place:02d}",
        "holdout_bp": 5_000,
        "salt": "s",
        "cost_minor": 0,
        "currency": "USD",
        "expectation": None,
        "planned_at_ms": place,
        "planned_by": "x",
        "frozen_at_ms": 1,
        "treated_n": 500,
        "control_n": 500,
        "ended_at_ms": 2,
        "ended_by": "x",
        "result": {**told(0.10, 0.05), **(result or {})},
        "lesson": f"lesson {place}",
    }
    return EvaluationRecord(**{**given, **fields})


def told(lift: float, error: float, *, base: float = 200.0, arm_n: int = 500) -> dict[str, Any]:
    """A result whose effect is this share of the control's mean, with this standard error."""
    half = error * t_quantile(0.975, 2 * arm_n - 2) * base
    return {
        "lift": lift * base,
        "low": lift * base - half,
        "high": lift * base + half,
        "controlMean": base,
        "treatedN": arm_n,
        "controlN": arm_n,
    }


def test_one_effect_is_itself() -> None:
    found = pooled(np.array([0.2]), np.array([0.1]))
    assert (found.lift, found.spread) == (pytest.approx(0.2), 0.0)
    assert (found.low, found.high) == (pytest.approx(0.2 - 0.1959963985), pytest.approx(0.2 + 0.1959963985))


def test_effects_that_agree_are_weighted_by_their_inverse_variance() -> None:
    # weights 100 and 25: mean (10 + 7.5) / 125 = .14; Q = 100·.0016 + 25·.0256 = .8 < 1, so nothing is added
    found = pooled(np.array([0.1, 0.3]), np.array([0.1, 0.2]))
    assert (found.lift, found.spread) == (pytest.approx(0.14), 0.0)
    assert found.high - found.lift == pytest.approx(1.9599639845 / math.sqrt(125))


def test_effects_that_disagree_are_less_sure_than_their_errors_say() -> None:
    # weights 400 each: mean .15, Q = 2, τ² = (2 − 1) / (800 − 320000/800) = .0025; then weights 200 each, error .05
    found = pooled(np.array([0.1, 0.2]), np.array([0.05, 0.05]))
    assert (found.lift, found.spread) == (pytest.approx(0.15), pytest.approx(0.05))
    assert (found.low, found.high) == (pytest.approx(0.0520018008), pytest.approx(0.2479981992))


@pytest.mark.parametrize(
    ("lifts", "errors"), [([], []), ([0.1], [0.0]), ([math.nan], [0.1]), ([0.1], [math.inf]), ([0.1, 0.2], [0.1])]
)
def test_what_cannot_be_weighed_is_refused(lifts: list[float], errors: list[float]) -> None:
    with pytest.raises(Refused):
        pooled(np.array(lifts), np.array(errors))


EFFECTS = st.lists(st.tuples(st.floats(-2, 2), st.floats(0.01, 1)), min_size=1, max_size=6)


@given(EFFECTS, st.floats(0.1, 10), st.randoms())
def test_the_pool_lies_within_its_effects_scales_with_them_and_knows_no_order(
    effects: list[tuple[float, float]], scale: float, rng: Any
) -> None:
    lifts, errors = (np.array(column) for column in zip(*effects, strict=True))
    found = pooled(lifts, errors)
    assert lifts.min() - 1e-9 <= found.lift <= lifts.max() + 1e-9
    assert found.low <= found.lift <= found.high
    larger = pooled(lifts * scale, errors * scale)
    assert larger.low == pytest.approx(found.low * scale, rel=1e-6, abs=1e-6)
    order = list(range(len(effects)))
    rng.shuffle(order)
    assert pooled(lifts[order], errors[order]).low == pytest.approx(found.low, rel=1e-6, abs=1e-9)


def test_an_effect_is_a_share_of_what_customers_left_alone_showed() -> None:
    found = relative_effect(record(result=told(0.10, 0.05)))
    assert found is not None
    assert found == (pytest.approx(0.10), pytest.approx(0.05))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": EvaluationState.ABORTED},
        {"result": {"controlMean": 0.0}},
        {"result": {"lift": None}},
        {"result": {"low": 20.0, "high": 20.0}},
    ],
)
def test_what_measured_nothing_tells_nothing(changes: dict[str, Any]) -> None:
    one = record(**changes)
    assert relative_effect(one) is None
    assert ranked_patterns([one], "HHHH") == ()


def test_patterns_are_ranked_by_the_lower_end_and_not_by_the_lift() -> None:
    large_unsure = record(1, result=told(0.50, 0.30), strategy="save offer")
    small_sure = record(2, result=told(0.10, 0.02), strategy="season mailing")
    harmful = record(3, result=told(-0.20, 0.02), subject_kind=SubjectKind.VISIT_PROGRAMME, subject_id="weekly")
    found = ranked_patterns([harmful, large_unsure, small_sure], "HHHH")
    assert [(one.action, one.verdict) for one in found] == [
        ("season mailing", Verdict.BETTER),
        ("save offer", Verdict.AS_GOOD),
        ("weekly", Verdict.WORSE),
    ]


def test_what_was_done_alike_is_one_pattern_and_what_differs_is_not() -> None:
    alike = [record(1, result=told(0.1, 0.05), strategy="x"), record(2, result=told(0.2, 0.05), strategy="x")]
    others = [
        record(3, strategy="x", metric=EvaluationMetric.BUYERS),
        record(4, strategy="x", subject_kind=SubjectKind.STRATEGY),
        record(5, strategy="x", segments=("HHHH", "HHHL")),
        record(6, strategy="y"),
    ]
    found = ranked_patterns([*alike, *others], "HHHH")
    assert len(found) == 5
    [joined] = [one for one in found if len(one.evaluations) > 1]
    assert [one.id for one in joined.evaluations] == ["id2", "id1"], "the newest first"
    assert (joined.lift, joined.treated_n, joined.control_n) == (pytest.approx(0.15), 1_000, 1_000)
    assert [one.aimed for one in found if one.evaluations[0].id == "id5"] == [True]


def test_other_segments_and_other_kinds_of_subjects_tell_nothing_of_this_one() -> None:
    found = [
        record(1, segments=("LLLL",)),
        record(2, subject_kind=SubjectKind.ROLL_OUT),
        record(3, subject_kind=SubjectKind.OTHER),
    ]
    assert ranked_patterns(found, "HHHH") == ()
    assert len(ranked_patterns(found, "LLLL")) == 1


def test_ties_go_by_name_whatever_the_order_they_come_in() -> None:
    found = [record(place, strategy=name) for place, name in enumerate("cab", start=1)]
    for rows in (found, found[::-1]):
        assert [one.action for one in ranked_patterns(rows, "HHHH")] == ["a", "b", "c"]
