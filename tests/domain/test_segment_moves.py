"""Moves between segments: what fell, and who went from where to where between two days."""

import pytest

from backend.domain.segment_moves import Move, fallen_axes, is_alarm, migration
from backend.domain.segments import SEGMENT_CODES

pytestmark = pytest.mark.requirement("R52")


def at(matrix: tuple[tuple[int, ...], ...], before: str, after: str) -> int:
    return matrix[SEGMENT_CODES.index(before)][SEGMENT_CODES.index(after)]


def test_an_axis_fell_when_it_was_high_and_is_low() -> None:
    assert fallen_axes("HHHH", "HLHL") == ("P", "S")
    assert fallen_axes("LLLL", "HHHH") == ()
    assert fallen_axes(None, "LLLL") == ()
    assert fallen_axes("HHHH", "ONBOARDING") == ()
    assert fallen_axes("ONBOARDING", "LLLL") == ()


@pytest.mark.parametrize(
    ("before", "after", "cause", "alarm"),
    [
        ("HHHH", "LHHH", "EXISTING_VALUE", True),
        ("HHHH", "HLHH", "POTENTIAL", False),
        ("HHHH", "HLLH", "SEVERAL_AXES", True),
        ("LHHH", "HHHH", "EXISTING_VALUE", False),
        ("HHHH", "HHHL", "SEVERE_COMPLAINT", True),
        (None, "LLLL", "FIRST_SCORED", False),
        ("ONBOARDING", "LLLL", "ONBOARDED", False),
    ],
)
def test_an_alarm_is_a_fall_of_what_a_customer_is_worth_or_thinks_of_us(
    before: str | None, after: str, cause: str, alarm: bool
) -> None:
    assert is_alarm(Move("c", "2026-11-01", before, after, cause)) is alarm


def test_who_went_where_between_two_days() -> None:
    moves = [
        Move("a", "2026-02-01", "HHHH", "LHHH", "EXISTING_VALUE"),
        Move("a", "2026-03-01", "LHHH", "LLHH", "POTENTIAL"),
        Move("b", "2026-03-01", "LLLL", "HLLL", "EXISTING_VALUE"),
        Move("c", "2026-02-02", None, "ONBOARDING", "FIRST_SCORED"),
        Move("gone", "2026-02-02", "HHHH", "LLLL", "SEVERAL_AXES"),
    ]
    matrix = migration(moves, {"a", "b", "c"}, {"HHHH": 7}, "2026-02-28")
    assert at(matrix, "HHHH", "LHHH") == 1
    assert at(matrix, "LLLL", "LLLL") == 1
    assert at(matrix, "HHHH", "HHHH") == 7
    assert sum(map(sum, matrix)) == 9
    later = migration(moves, {"a", "b", "c"}, {"HHHH": 7}, "2026-03-01")
    assert (at(later, "HHHH", "LLHH"), at(later, "LLLL", "HLLL"), at(later, "HHHH", "LHHH")) == (1, 1, 0)
    assert sum(map(sum, migration([], set(), {}, "2026-03-01"))) == 0
