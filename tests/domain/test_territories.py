"""Territories: the tree, dated assignments, moves."""

import pytest

from backend.domain.fields import validate
from backend.domain.territories import (
    MOVES_MAX,
    TERRITORY,
    Assignment,
    Move,
    check_moves,
    in_grace,
    is_at_or_below,
    parent_path,
    parse_path,
    place_problems,
)
from backend.domain.times import DAY_MS
from backend.errors import Code, Refused

KINDS = {"t1": "PATCH", "t2": "PATCH", "east": "AREA"}


def test_paths() -> None:
    assert parse_path("/cn/east/sh-01") == "/cn/east/sh-01"
    for bad in ("", "/", "cn", "/cn/", "/CN", "/cn//x", "/-a", "/a b", "/" + "/".join("a" * 13), "/" + "a" * 300):
        with pytest.raises(Refused):
            parse_path(bad)
    assert is_at_or_below("/cn/east", "/cn/east")
    assert is_at_or_below("/cn/east/sh", "/cn/east")
    assert not is_at_or_below("/cn/east", "/cn/ea")
    assert not is_at_or_below("/cn", "/cn/east")
    assert (parent_path("/cn/east"), parent_path("/cn")) == ("/cn", None)


def test_a_child_continues_its_parents_path_and_is_never_larger() -> None:
    area = {"path": "/cn", "kind": "AREA"}
    assert place_problems("PATCH", "/cn/sh", area) == []
    assert place_problems("REGION", "/cn", None) == []
    assert [p.path for p in place_problems("REGION", "/kr/sh", area)] == [("path",), ("kind",)]
    assert [p.path for p in place_problems("PATCH", "/cn/sh/a", {"path": "/cn/sh", "kind": "PATCH"})] == [("kind",)]
    assert [p.path for p in place_problems("PATCH", "/cn/sh", None)] == [("path",)]
    assert [p.path[0] for p in validate(TERRITORY, {"kind": "X"}, creating=True)[1]] == [
        "kind",
        "path",
        "nameZh",
        "timezone",
    ]


def test_a_move_ends_one_assignment_and_begins_the_next_at_the_same_instant() -> None:
    moved = check_moves(
        [Move("c", "t2"), Move("new", "t1"), Move("there", "t1")],
        kinds=KINDS,
        current={"c": Assignment("c", "t1", 10), "new": None, "there": Assignment("there", "t1", 10)},
        at_ms=50,
    )
    assert moved.ended == (Assignment("c", "t1", 10, 50),)
    assert moved.begun == (Assignment("c", "t2", 50), Assignment("new", "t1", 50))


def test_every_wrong_move_is_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        check_moves(
            [Move("foreign", "t2"), Move("c", "east"), Move("c", "gone"), Move("late", "t1")],
            kinds=KINDS,
            current={"c": None, "late": Assignment("late", "t2", 50)},
            at_ms=50,
        )
    assert {(p.code.value, p.path[1:]) for p in refused.value.problems} == {
        ("NOT_FOUND", ("0", "customerId")),
        ("NOT_ALLOWED_VALUE", ("1", "territoryId")),
        ("NOT_FOUND", ("2", "territoryId")),
        ("INVALID_VALUE", ("2", "customerId")),
        ("OVERLAPPING_ASSIGNMENT", ("3", "customerId")),
    }
    with pytest.raises(Refused) as many:
        check_moves(
            [Move(str(n), "t1") for n in range(MOVES_MAX + 1)],
            kinds=KINDS,
            current={str(n): None for n in range(MOVES_MAX + 1)},
            at_ms=50,
        )
    assert [p.code for p in many.value.problems] == [Code.TOO_MANY]


def test_a_move_told_twice_is_done_once_even_in_the_same_moment() -> None:
    """Its answer got lost, and it came again before the clock went on, or by a server whose clock is behind."""
    current = {"c": Assignment("c", "t1", 50)}
    assert not check_moves([Move("c", "t1")], kinds=KINDS, current=current, at_ms=50).begun
    assert not check_moves([Move("c", "t1")], kinds=KINDS, current=current, at_ms=40).begun
    with pytest.raises(Refused):
        check_moves([Move("c", "t2")], kinds=KINDS, current=current, at_ms=50)


def test_grace_takes_work_captured_before_the_move_for_fourteen_days() -> None:
    left = 100 * DAY_MS
    assert in_grace(left - 1, left, left + 14 * DAY_MS)
    assert not in_grace(left - 1, left, left + 14 * DAY_MS + 1)
    assert not in_grace(left, left, left + 1)
