"""Which improvements to begin: graded 1 to 5 by five scores, ranked as a knapsack under the capacity there is.

What is under way keeps its place: starting and giving up again and again is what the ranking is to prevent, so it is
counted and named. *Source*: R29; `insight.md` §7.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from backend.errors import Code, Problem, Refused

GRADE_MIN, GRADE_MAX = 1, 5
ITEMS_OPEN_MAX = 60
"""Of one scope: what is not begun and not given up. A longer list is a wish list, not a plan."""
NODES_MAX = 300_000
"""Branches looked at; beyond it the best found so far is told, and that it is not proven."""
AGAIN_MIN = 2
"""Given up so often, an item is named: it was started and given up again and again."""
RESTART_COST = 3
"""Worth that an item loses for every time it was given up before."""
_SCALE = 10**18


class RolloutState(StrEnum):
    """How far a roll-out item is."""

    PROPOSED = "PROPOSED"
    STARTED = "STARTED"
    STOPPED = "STOPPED"
    """given up, for now or for good"""
    DONE = "DONE"


STEPS: Mapping[RolloutState, tuple[RolloutState, ...]] = {
    RolloutState.PROPOSED: (RolloutState.STARTED, RolloutState.STOPPED),
    RolloutState.STARTED: (RolloutState.DONE, RolloutState.STOPPED),
    RolloutState.STOPPED: (RolloutState.STARTED,),
    RolloutState.DONE: (),
}


def check_rollout_step(now: RolloutState, then: RolloutState) -> None:
    """Raises INVALID_TRANSITION with the states that are open."""
    if then not in STEPS[now]:
        raise Refused(Problem(Code.INVALID_TRANSITION, ("state",), tuple(STEPS[now]), {"enum": RolloutState.__name__}))


@dataclass(frozen=True, slots=True)
class Grades:
    """Five grades, 1 little to 5 much. `resources`: how much of what is scarce it takes; `disruption`: how much it
    disturbs normal work."""

    importance: int
    urgency: int
    difficulty: int
    resources: int
    disruption: int

    def named(self) -> tuple[tuple[str, int], ...]:
        """Field name and grade, in their order."""
        return tuple((name, getattr(self, name)) for name in self.__slots__)


def grade_problems(grades: Grades) -> list[Problem]:
    """OUT_OF_RANGE for each grade outside 1..5."""
    allowed = (str(GRADE_MIN), str(GRADE_MAX))
    return [
        Problem(Code.OUT_OF_RANGE, (name,), allowed)
        for name, grade in grades.named()
        if not GRADE_MIN <= grade <= GRADE_MAX
    ]


def worth(grades: Grades, stops_n: int = 0) -> int:
    """4·importance + 3·urgency + ease of the three others (5 − grade each), less 3 for every time it was given up; ≥ 1.

    Between 7 and 47 for an item never given up. A rule of ours, stated and not fitted: importance before urgency
    before ease.
    """
    ease = 3 * GRADE_MAX - grades.difficulty - grades.resources - grades.disruption
    return max(1, 4 * grades.importance + 3 * grades.urgency + ease - RESTART_COST * stops_n)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item as the ranking sees it. `minutes`, `budget_minor` ≥ 0: what it takes of the capacity."""

    id: str
    grades: Grades
    minutes: int
    budget_minor: int
    state: RolloutState = RolloutState.PROPOSED
    starts_n: int = 0
    stops_n: int = 0
    skills: tuple[str, ...] = ()

    @property
    def worth(self) -> int:
        """As `worth`."""
        return worth(self.grades, self.stops_n)

    @property
    def again_and_again(self) -> bool:
        """True where it was started and given up more than once."""
        return self.stops_n >= AGAIN_MIN


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """An item as it is kept, as the ranking sees it in `candidate`. `judged`: an evaluation of it was closed;
    `to_be_judged`: one is planned or running."""

    candidate: Candidate
    territory_id: str | None
    name: str
    purpose: str | None
    strategy: str | None
    currency: str
    reason: str | None
    proposed_at_ms: int
    proposed_by: str
    moved_at_ms: int
    judged: bool
    to_be_judged: bool

    @property
    def id(self) -> str:
        """The item's id."""
        return self.candidate.id

    @property
    def state(self) -> RolloutState:
        """How far it is."""
        return self.candidate.state


@dataclass(frozen=True, slots=True)
class Room:
    """What roll-outs may take together: minutes, budget in minor units, items at once, and skills there are."""

    minutes: int
    budget_minor: int
    wip_max: int
    skills: tuple[str, ...] = ()


class LeftOutReason(StrEnum):
    """Why an item is not chosen."""

    SKILL_MISSING = "SKILL_MISSING"
    TOO_MANY_MINUTES = "TOO_MANY_MINUTES"
    """more than there is for all"""
    TOO_MUCH_BUDGET = "TOO_MUCH_BUDGET"
    MINUTES_USED = "MINUTES_USED"
    """what is chosen leaves too few"""
    BUDGET_USED = "BUDGET_USED"
    WIP_LIMIT = "WIP_LIMIT"
    """as many as may be under way at once are chosen"""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item left out. `missing_minutes`, `missing_budget_minor`: how much too little was left for it; `skills`: those
    nobody has."""

    id: str
    reasons: tuple[LeftOutReason, ...]
    missing_minutes: int
    missing_budget_minor: int
    skills: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What to do with the room there is. `chosen`: ids, what is under way first, then by worth per share of the room;
    `kept_n` of them are under way; `proven`: no other choice is worth more."""

    chosen: tuple[str, ...]
    kept_n: int
    worth: int
    used_minutes: int
    used_budget_minor: int
    left_out: tuple[LeftOut, ...]
    again_and_again: tuple[str, ...]
    proven: bool


def rank_rollout(items: Sequence[Candidate], room: Room) -> RolloutPlan:
    """Choose what is worth most together within minutes, budget and items at once.

    Items under way are settled first, among themselves; only what they leave is given to others. Items DONE take
    nothing and are not in the answer. Exact by branch and bound; deterministic, ties by id. Raises TOO_MANY above
    `ITEMS_OPEN_MAX` items.
    """
    living = sorted((one for one in items if one.state is not RolloutState.DONE), key=lambda one: one.id)
    if len(living) > ITEMS_OPEN_MAX:
        raise Refused(Problem(Code.TOO_MANY, ("items",), (str(ITEMS_OPEN_MAX),)))
    under_way = [one for one in living if one.state is RolloutState.STARTED]
    kept, kept_proven = best_choice(under_way, room)
    rest = Room(
        room.minutes - sum(one.minutes for one in kept),
        room.budget_minor - sum(one.budget_minor for one in kept),
        room.wip_max - len(kept),
    )
    able = [one for one in living if one.state is not RolloutState.STARTED and not _lacks(one, room)]
    added, proven = best_choice(able, rest)
    chosen = [*_by_density(kept, room), *_by_density(added, room)]
    used = sum(one.minutes for one in chosen), sum(one.budget_minor for one in chosen)
    taken = {one.id for one in chosen}
    return RolloutPlan(
        chosen=tuple(one.id for one in chosen),
        kept_n=len(kept),
        worth=sum(one.worth for one in chosen),
        used_minutes=used[0],
        used_budget_minor=used[1],
        left_out=tuple(
            _left_out(one, room, used, len(chosen))
            for one in sorted(living, key=lambda one: (-one.worth, one.id))
            if one.id not in taken
        ),
        again_and_again=tuple(one.id for one in living if one.again_and_again),
        proven=kept_proven and proven,
    )


def best_choice(items: Sequence[Candidate], room: Room) -> tuple[tuple[Candidate, ...], bool]:
    """The items worth most together that fit, and whether that is proven.

    Branch and bound in the order of worth per unit of one weight that stands for both limits. Its bound takes items in
    that order and cuts the last one (any weighting gives a true bound; the tightest at the root is kept), and never
    more than the best `wip_max` of those that are left.
    """
    able = [one for one in items if one.minutes <= room.minutes and one.budget_minor <= room.budget_minor]
    most_n = min(room.wip_max, len(able))
    if most_n <= 0 or room.minutes < 0 or room.budget_minor < 0:
        return (), True
    search = min((_Search(able, room, most_n, share) for share in _SHARES), key=lambda one: one.root_bound)
    return search.run()


_SHARES = (0, 125, 250, 375, 500, 625, 750, 875, 1000)
"""How much of the common weight is minutes, in thousandths; the rest is budget."""


class _Search:
    """One branch and bound with its own weighting of minutes and budget; all whole numbers."""

    def __init__(self, able: Sequence[Candidate], room: Room, most_n: int, share: int) -> None:
        by_minutes = share * _SCALE // max(room.minutes, 1)
        by_budget = (1_000 - share) * _SCALE // max(room.budget_minor, 1)
        weight = {one.id: one.minutes * by_minutes + one.budget_minor * by_budget for one in able}
        self.items = sorted(able, key=lambda one: (weight[one.id] / one.worth, -one.worth, one.id))
        self.weights = [weight[one.id] for one in self.items]
        self.room, self.most_n = room, most_n
        self.capacity = room.minutes * by_minutes + room.budget_minor * by_budget
        self.weight_sums = [0, *accumulate(self.weights)]
        self.worth_sums = [0, *accumulate(one.worth for one in self.items)]
        self.best_of_rest = [
            [0, *accumulate(sorted((one.worth for one in self.items[place:]), reverse=True))]
            for place in range(len(self.items) + 1)
        ]
        self.root_bound = self._bound(0, self.capacity, most_n)
        self.nodes_n = 0

    def _bound(self, place: int, left: int, places_n: int) -> int:
        """No more than this can be added from `place` on."""
        reach = bisect_right(self.weight_sums, self.weight_sums[place] + left) - 1
        found = self.worth_sums[reach] - self.worth_sums[place]
        if reach < len(self.items):
            rest = left - (self.weight_sums[reach] - self.weight_sums[place])
            found += self.items[reach].worth * rest // max(self.weights[reach], 1)
        counted = self.best_of_rest[place]
        return min(found, counted[min(places_n, len(counted) - 1)])

    def run(self) -> tuple[tuple[Candidate, ...], bool]:
        """The best items, and whether every branch was looked at or cut off."""
        best: int = 0
        best_rows: tuple[int, ...] = ()
        # (next place, minutes left, budget left, weight left, places left, worth, rows taken); taking comes first
        stack: list[tuple[int, int, int, int, int, int, tuple[int, ...]]] = [
            (0, self.room.minutes, self.room.budget_minor, self.capacity, self.most_n, 0, ())
        ]
        while stack:
            place, minutes, budget, left, places_n, found, rows = stack.pop()
            if found > best:
                best, best_rows = found, rows
            if place == len(self.items) or not places_n or found + self._bound(place, left, places_n) <= best:
                continue
            self.nodes_n += 1
            if self.nodes_n > NODES_MAX:
                return tuple(self.items[row] for row in best_rows), False
            one = self.items[place]
            stack.append((place + 1, minutes, budget, left, places_n, found, rows))
            if one.minutes <= minutes and one.budget_minor <= budget:
                taken = (minutes - one.minutes, budget - one.budget_minor, left - self.weights[place])
                stack.append((place + 1, *taken, places_n - 1, found + one.worth, (*rows, place)))
        return tuple(self.items[row] for row in best_rows), True


def _lacks(one: Candidate, room: Room) -> tuple[str, ...]:
    return tuple(sorted(set(one.skills) - set(room.skills)))


def _by_density(items: Sequence[Candidate], room: Room) -> list[Candidate]:
    """Worth per share of the room first: what is begun first if time runs short."""

    def share(one: Candidate) -> float:
        return one.minutes / max(room.minutes, 1) + one.budget_minor / max(room.budget_minor, 1)

    return sorted(items, key=lambda one: (share(one) / one.worth, -one.worth, one.id))


def _left_out(one: Candidate, room: Room, used: tuple[int, int], chosen_n: int) -> LeftOut:
    missing_minutes = max(0, one.minutes - (room.minutes - used[0]))
    missing_budget = max(0, one.budget_minor - (room.budget_minor - used[1]))
    lacks = () if one.state is RolloutState.STARTED else _lacks(one, room)
    reasons = []
    if lacks:
        reasons.append(LeftOutReason.SKILL_MISSING)
    if missing_minutes:
        alone = one.minutes > room.minutes
        reasons.append(LeftOutReason.TOO_MANY_MINUTES if alone else LeftOutReason.MINUTES_USED)
    if missing_budget:
        alone = one.budget_minor > room.budget_minor
        reasons.append(LeftOutReason.TOO_MUCH_BUDGET if alone else LeftOutReason.BUDGET_USED)
    if chosen_n >= room.wip_max:
        reasons.append(LeftOutReason.WIP_LIMIT)
    return LeftOut(one.id, tuple(reasons), missing_minutes, missing_budget, lacks)
