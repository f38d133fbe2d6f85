"""Which improvements to begin: never more than there is, nothing better left lying, and what is left out explained."""

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domain.rollouts import (
    ITEMS_OPEN_MAX,
    Candidate,
    Grades,
    LeftOutReason,
    RolloutState,
    Room,
    best_choice,
    check_rollout_step,
    grade_problems,
    rank_rollout,
    worth,
)
from backend.errors import Code, Refused

pytestmark = pytest.mark.requirement("R29")

MIDDLE = Grades(3, 3, 3, 3, 3)
grade = st.integers(1, 5)
grades = st.builds(Grades, grade, grade, grade, grade, grade)


def items_of(rows: list[tuple[Grades, int, int]]) -> list[Candidate]:
    return [Candidate(f"{place:02d}", *row) for place, row in enumerate(rows)]


candidates = st.lists(st.tuples(grades, st.integers(0, 30), st.integers(0, 20)), max_size=9).map(items_of)
rooms = st.builds(Room, st.integers(0, 90), st.integers(0, 60), st.integers(0, 6))


def brute_force(items: list[Candidate], room: Room) -> int:
    return max(
        sum(one.worth for one in chosen)
        for count in range(min(room.wip_max, len(items)) + 1)
        for chosen in combinations(items, count)
        if sum(one.minutes for one in chosen) <= room.minutes
        and sum(one.budget_minor for one in chosen) <= room.budget_minor
    )


@settings(max_examples=40)
@given(candidates, rooms)
def test_the_choice_is_worth_what_trying_all_of_them_finds(items: list[Candidate], room: Room) -> None:
    chosen, proven = best_choice(items, room)
    assert proven
    assert sum(one.worth for one in chosen) == brute_force(items, room)


@pytest.mark.parametrize("seed", range(20))
def test_choices_that_are_hard_to_tell_apart_are_told_apart(seed: int) -> None:
    """Whatever is worth more takes more of both, so that a bound a little too low would cut the best off."""
    random = Random(seed)
    items = []
    for place in range(10):
        five = Grades(*(random.randint(1, 5) for _ in range(5)))
        size = worth(five)
        items.append(
            Candidate(f"{place:02d}", five, size * 10 + random.randint(0, 40), size * 7 + random.randint(0, 30))
        )
    room = Room(sum(one.minutes for one in items) // 2, sum(one.budget_minor for one in items) // 2, 7)
    chosen, proven = best_choice(items, room)
    assert proven
    assert sum(one.worth for one in chosen) == brute_force(items, room)


@settings(max_examples=40)
@given(candidates, rooms, st.integers(0, 511))
def test_nothing_is_exceeded_and_whatever_is_left_out_says_why(
    items: list[Candidate], room: Room, under_way: int
) -> None:
    states = {True: RolloutState.STARTED, False: RolloutState.PROPOSED}
    items = [
        Candidate(one.id, one.grades, one.minutes, one.budget_minor, states[bool(under_way >> place & 1)])
        for place, one in enumerate(items)
    ]
    plan = rank_rollout(items, room)
    by_id = {one.id: one for one in items}
    assert plan.used_minutes == sum(by_id[one].minutes for one in plan.chosen) <= room.minutes
    assert plan.used_budget_minor == sum(by_id[one].budget_minor for one in plan.chosen) <= room.budget_minor
    assert len(plan.chosen) <= room.wip_max
    assert {*plan.chosen, *(one.id for one in plan.left_out)} == set(by_id)
    assert all(one.reasons for one in plan.left_out)
    assert plan == rank_rollout(list(reversed(items)), room)


@settings(max_examples=40)
@given(candidates, rooms)
def test_more_room_is_never_worth_less(items: list[Candidate], room: Room) -> None:
    more = Room(room.minutes + 7, room.budget_minor + 5, room.wip_max + 1)
    assert rank_rollout(items, more).worth >= rank_rollout(items, room).worth


def test_what_is_under_way_keeps_its_place_against_something_worth_more() -> None:
    dull = Candidate("a", Grades(1, 1, 5, 5, 5), 60, 0, RolloutState.STARTED)
    shiny = Candidate("b", Grades(5, 5, 1, 1, 1), 60, 0)
    plan = rank_rollout([shiny, dull], Room(100, 0, 3))
    assert (plan.chosen, plan.kept_n) == (("a",), 1)
    assert [(one.id, one.reasons, one.missing_minutes) for one in plan.left_out] == [
        ("b", (LeftOutReason.MINUTES_USED,), 20)
    ]


def test_reasons_name_each_limit_that_stands_against_an_item() -> None:
    room = Room(100, 50, 1, ("photos",))
    plan = rank_rollout(
        [
            Candidate("best", Grades(5, 5, 1, 1, 1), 90, 10),
            Candidate("long", MIDDLE, 101, 0),
            Candidate("dear", MIDDLE, 1, 51),
            Candidate("other", MIDDLE, 20, 45),
            Candidate("skilled", Grades(5, 5, 1, 1, 1), 1, 1, skills=("sewing", "photos")),
        ],
        room,
    )
    assert plan.chosen == ("best",)
    left = {one.id: one for one in plan.left_out}
    wip = LeftOutReason.WIP_LIMIT
    assert left["long"].reasons == (LeftOutReason.TOO_MANY_MINUTES, wip)
    assert left["dear"].reasons == (LeftOutReason.TOO_MUCH_BUDGET, wip)
    assert left["other"].reasons == (LeftOutReason.MINUTES_USED, LeftOutReason.BUDGET_USED, wip)
    assert (left["other"].missing_minutes, left["other"].missing_budget_minor) == (10, 5)
    assert (left["skilled"].reasons, left["skilled"].skills) == ((LeftOutReason.SKILL_MISSING, wip), ("sewing",))


def test_giving_up_costs_worth_and_twice_is_named() -> None:
    assert worth(Grades(5, 5, 1, 1, 1)) == 47
    assert worth(Grades(1, 1, 5, 5, 5)) == 7
    assert worth(Grades(1, 1, 5, 5, 5), stops_n=9) == 1
    once = Candidate("once", MIDDLE, 1, 0, RolloutState.STOPPED, 1, 1)
    twice = Candidate("twice", MIDDLE, 1, 0, RolloutState.STOPPED, 2, 2)
    fresh = Candidate("fresh", MIDDLE, 1, 0)
    plan = rank_rollout([once, twice, fresh], Room(2, 0, 9))
    assert (once.worth, twice.worth) == (fresh.worth - 3, fresh.worth - 6)
    assert (plan.chosen, plan.again_and_again) == (("fresh", "once"), ("twice",))


def test_what_is_done_takes_nothing_and_a_long_list_is_refused() -> None:
    done = Candidate("a", MIDDLE, 50, 0, RolloutState.DONE)
    assert rank_rollout([done], Room(50, 0, 1)).chosen == ()
    many = [Candidate(f"{place:03d}", MIDDLE, 1, 1) for place in range(ITEMS_OPEN_MAX + 1)]
    with pytest.raises(Refused) as refused:
        rank_rollout(many, Room(10, 10, 3))
    assert refused.value.problems[0].code is Code.TOO_MANY


def test_sixty_items_with_weights_like_their_worth_are_settled_by_search() -> None:
    """The hard kind: what is worth more takes more, and both limits bind."""
    items = []
    for place in range(ITEMS_OPEN_MAX):
        five = Grades(1 + place % 5, 1 + place // 5 % 5, 1 + place * 7 % 5, 1 + place * 3 % 5, 3)
        minutes = 100 * worth(five) + place * 37 % 61
        items.append(Candidate(f"{place:02d}", five, minutes, 100 * worth(five) + place * 53 % 67))
    plan = rank_rollout(items, Room(20_000, 20_000, 12))
    assert plan.proven
    assert plan.worth <= 200


@pytest.mark.parametrize(
    ("now", "then", "allowed"),
    [
        (RolloutState.PROPOSED, RolloutState.DONE, ("STARTED", "STOPPED")),
        (RolloutState.STOPPED, RolloutState.DONE, ("STARTED",)),
        (RolloutState.DONE, RolloutState.STARTED, ()),
    ],
)
def test_steps_that_are_not_there_are_refused(now: RolloutState, then: RolloutState, allowed: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as refused:
        check_rollout_step(now, then)
    assert refused.value.problems[0].allowed == allowed


def test_grades_outside_one_to_five_are_all_named() -> None:
    assert [problem.path for problem in grade_problems(Grades(0, 6, 3, -1, 5))] == [
        ("importance",),
        ("urgency",),
        ("resources",),
    ]
