"""What somebody filled in: each rule says what it wants, and all that is wrong is told at once."""

import pytest

from backend.domain.given import check_first, check_range
from backend.errors import Code, Problem, Refused


@pytest.mark.parametrize(("first", "least"), [(1, 1), (50, 1), (0, 0)])
def test_as_many_rows_as_are_allowed_may_be_asked_for(first: int, least: int) -> None:
    check_first(first, 50, least=least)


@pytest.mark.parametrize(("first", "least"), [(0, 1), (51, 1), (-1, 0)])
def test_fewer_or_more_rows_are_refused_with_both_bounds(first: int, least: int) -> None:
    with pytest.raises(Refused) as refused:
        check_first(first, 50, least=least)
    assert refused.value.problems == (Problem(Code.OUT_OF_RANGE, ("first",), (str(least), "50")),)


def test_what_is_no_number_lies_in_no_range() -> None:
    problems: list[Problem] = []
    check_range(float("nan"), 0, 1, "share", problems)
    assert [problem.path for problem in problems] == [("share",)]
