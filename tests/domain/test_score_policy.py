"""Weights, floor and strategies in versions: what may be wished, and what a night does with it."""

import pytest

from backend.domain.lifecycle import Stage
from backend.domain.priority import POINTS_DEFAULT, publish_parameters
from backend.domain.score_policy import PolicyWish, ScorePolicy, policy_of, revised
from backend.domain.segments import SEGMENT_CODES
from backend.domain.strategy import OBJECTIVES, STRATEGY_CODES, Serve, StageRule, Strategy

pytestmark = pytest.mark.requirement("R28")
ROW = Strategy("SAVE", "DIRECTORS_CALL", 5, Serve.FIELD, 2)


def test_the_policy_the_product_comes_with_is_the_one_devices_know() -> None:
    assert ScorePolicy().parameters() == publish_parameters()
    assert sum(POINTS_DEFAULT.line_max[:8]) == 100


def test_a_wish_changes_what_it_names_and_nothing_else() -> None:
    wish = PolicyWish(
        weights=[("VALUE_AT_STAKE", 25), ("SAVABLE_REVENUE", 25)],
        existing_floor_minor=5_000,
        strategies=[("HHHH", None, ROW), ("LLLL", "WON_BACK", ROW)],
        stages=[("LOST", StageRule(300, "SAVE"))],
    )
    found, problems = revised(ScorePolicy(), wish, 3)
    assert problems == []
    assert (found.number, found.version) == (3, "policy-3")
    assert found.points.line_max == (25, 25, *POINTS_DEFAULT.line_max[2:])
    assert found.parameters().line_max == found.points.line_max
    assert (found.points.severe, found.existing_floor_minor) == (12, 5_000)
    low = SEGMENT_CODES.index("LLLL")
    assert found.strategies.strategy(SEGMENT_CODES.index("HHHH"), Stage.MATURE) == ROW
    assert found.strategies.strategy(low, Stage.WON_BACK) == ROW
    assert found.strategies.strategy(low, Stage.MATURE) == ScorePolicy().strategies.strategy(low, Stage.MATURE)
    assert found.strategies.strategy(SEGMENT_CODES.index("HLHH"), Stage.LOST).cadence_days == 84
    assert policy_of(3, found.document()) == found
    back, problems = revised(found, PolicyWish(strategies=[("LLLL", "WON_BACK", None)]), 4)
    assert problems == []
    assert back.strategies.exact == {}


@pytest.mark.parametrize(
    ("wish", "problems"),
    [
        (PolicyWish(weights=[("VALUE_AT_STAKE", 31)]), [("OUT_OF_RANGE", ("weights",), ("100", "100"))]),
        (PolicyWish(weights=[("VALUE_AT_STAKE", -1)]), [("OUT_OF_RANGE", ("weights", "0", "most"), ("0", "60"))]),
        (
            PolicyWish(weights=[("LOYALTY", 2), ("LOYALTY", 2)]),
            [("INVALID_VALUE", ("weights",), ("each line once",))],
        ),
        (PolicyWish(existing_floor_minor=-1), [("OUT_OF_RANGE", ("existingFloorMinor",), ("0", str(2**53 - 1)))]),
        (PolicyWish(obligation_points=(12, 101, 3)), [
            ("OUT_OF_RANGE", ("obligationPoints", "overdueTask"), ("0", "100"))
        ]),
        (
            PolicyWish(strategies=[("HXXX", None, ROW)], stages=[("GONE", StageRule(0))]),
            [
                ("NOT_ALLOWED_VALUE", ("strategies", "0", "segment"), SEGMENT_CODES),
                ("NOT_ALLOWED_VALUE", ("stages", "0", "stage"), tuple(Stage.__members__)),
                ("OUT_OF_RANGE", ("stages", "0", "cadencePercent"), ("1", "1000")),
            ],
        ),
        (
            PolicyWish(strategies=[("HHHH", None, Strategy("DREAM", "HOPE", 366, Serve.FIELD, 51))]),
            [
                ("NOT_ALLOWED_VALUE", ("strategies", "0", "objective"), OBJECTIVES),
                ("NOT_ALLOWED_VALUE", ("strategies", "0", "strategy"), STRATEGY_CODES),
                ("OUT_OF_RANGE", ("strategies", "0", "cadenceDays"), ("0", "365")),
                ("OUT_OF_RANGE", ("strategies", "0", "triesMax"), ("0", "50")),
            ],
        ),
        (
            PolicyWish(strategies=[("LLLL", None, Strategy("SAVE", "DIRECTORS_CALL", 7, Serve.EXIT))]),
            [("INVALID_VALUE", ("strategies", "0", "cadenceDays"), ("0",))],
        ),
        (PolicyWish(strategies=[("LLLL", None, None)]), [("REQUIRED", ("strategies", "0", "stage"), ())]),
    ],
)  # fmt: skip
def test_everything_wrong_is_said_at_once_and_nothing_is_taken(wish: PolicyWish, problems: list[object]) -> None:
    policy = ScorePolicy(2, existing_floor_minor=7)
    found, wrong = revised(policy, wish, 3)
    assert [(one.code.value, one.path, one.allowed) for one in wrong] == problems
    assert found is policy
