"""What there is to work with: minutes of reps, budget, skills, and what stands around it.

Plans and roll-outs take no more than there is; what does not fit is named with the reason. What could be raised is
told first, lowering the goal comes second. *Source*: R26; `insight.md` §7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from backend.domain.arrays import BASIS_POINTS, BoolArray, IntArray
from backend.domain.times import add_days

PERIOD_DAYS_MAX = 731
MINUTES_MAX = 100_000_000
WIP_MAX = 20
SKILLS_MAX, CONSTRAINTS_MAX, HOLIDAYS_MAX = 30, 20, 120


class ConstraintKind(StrEnum):
    """What stands around an undertaking and cannot be changed by it."""

    ECONOMY = "ECONOMY"
    CULTURE = "CULTURE"
    LAW = "LAW"
    TECHNOLOGY = "TECHNOLOGY"
    PEOPLE = "PEOPLE"
    OTHER = "OTHER"


class MinutesBasis(StrEnum):
    """Where the minutes of a capacity come from."""

    GIVEN = "GIVEN"
    """somebody named them"""
    RECORDED = "RECORDED"
    """minutes of every rep's day times working days"""
    PARTLY_ASSUMED = "PARTLY_ASSUMED"
    """the same, with the usual day for reps whose minutes were never recorded"""
    NOT_RECORDED = "NOT_RECORDED"
    """no rep works here, and nobody named any"""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One circumstance, in words."""

    kind: ConstraintKind
    text: str


@dataclass(frozen=True, slots=True)
class CapacityRecord:
    """A capacity as it is kept; never changed, a newer one of the same scope stands before it.

    `territory_id` None: the whole organisation. `rep_minutes`: all minutes of the period; `rollout_share_bp` of them
    may go to roll-outs, the rest to contacts with customers. `raisable_*`: what could be had on top if it is asked for.
    `wip_max`: roll-out items under way at once.
    """

    id: str
    territory_id: str | None
    starts_on: str
    ends_on: str
    working_days: int
    reps_n: int
    reps_assumed_n: int
    rep_minutes: int
    minutes_basis: MinutesBasis
    rollout_share_bp: int
    raisable_minutes: int
    budget_minor: int
    raisable_budget_minor: int
    currency: str
    wip_max: int
    skills: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    set_at_ms: int
    set_by: str

    @property
    def rollout_minutes(self) -> int:
        """Minutes that roll-outs may take."""
        return self.rep_minutes * self.rollout_share_bp // BASIS_POINTS

    @property
    def contact_minutes(self) -> int:
        """Minutes that are left for customers."""
        return self.rep_minutes - self.rollout_minutes


def working_days(first: str, last: str, holidays: Sequence[str] = ()) -> int:
    """Mondays to Fridays from `first` to `last`, both included, less the holidays named."""
    after = np.datetime64(add_days(last, 1))
    return int(np.busday_count(np.datetime64(first), after, holidays=np.array(holidays, dtype="datetime64[D]")))


@dataclass(frozen=True, slots=True)
class RepTime:
    """Minutes of all reps over a period, and for how many of them the usual day was taken."""

    minutes: int
    reps_n: int
    assumed_n: int
    basis: MinutesBasis


def rep_time(day_minutes: Sequence[int | None], days_n: int, usual_day_minutes: int) -> RepTime:
    """Minutes of reps over working days; a rep whose minutes were never recorded has the usual day, and is counted."""
    assumed_n = sum(one is None for one in day_minutes)
    total = sum(usual_day_minutes if one is None else one for one in day_minutes) * days_n
    basis = MinutesBasis.RECORDED if not assumed_n else MinutesBasis.PARTLY_ASSUMED
    return RepTime(total, len(day_minutes), assumed_n, basis if day_minutes else MinutesBasis.NOT_RECORDED)


class DropReason(StrEnum):
    """Why a customer's contacts are not in a plan."""

    NO_MINUTES = "NO_MINUTES"
    """the minutes are used up by customers of higher priority"""
    NEVER_FITS = "NEVER_FITS"
    """it needs more than there is for all"""


@dataclass(frozen=True, slots=True)
class ContactPlan:
    """Who gets the contacts the strategy wants. `taken`: (n,); `dropped`: rows left out, the highest priority first,
    each with its reason; `used_minutes` never exceeds what there was."""

    taken: BoolArray
    dropped: tuple[tuple[int, DropReason], ...]
    wanted_minutes: int
    used_minutes: int
    dropped_minutes: int


def plan_contacts(need_minutes: IntArray, priority: IntArray, available_minutes: int) -> ContactPlan:
    """Give customers their contacts by priority, the row breaking ties; one that does not fit any more is left out,
    and a smaller one after it may still fit. `need_minutes`: (n,) ≥ 0, whoever needs none is neither taken nor dropped.
    """
    order = np.lexsort((np.arange(priority.size), -priority))
    taken = np.zeros(need_minutes.size, dtype=np.bool_)
    left, dropped = max(available_minutes, 0), list[tuple[int, DropReason]]()
    for row, need in zip(order.tolist(), need_minutes[order].tolist(), strict=True):
        if need <= 0:
            continue
        if need <= left:
            taken[row] = True
            left -= need
        else:
            dropped.append((row, DropReason.NEVER_FITS if need > available_minutes else DropReason.NO_MINUTES))
    wanted, used = int(need_minutes[need_minutes > 0].sum()), max(available_minutes, 0) - left
    return ContactPlan(taken, tuple(dropped), wanted, used, wanted - used)


class Relief(StrEnum):
    """What to do about what does not fit."""

    FITS = "FITS"
    RAISE_FIRST = "RAISE_FIRST"
    """what could be raised would do: ask for it before giving anything up"""
    RAISE_AND_LOWER = "RAISE_AND_LOWER"
    """even with all that could be raised something stays out"""
    LOWER_GOAL = "LOWER_GOAL"
    """nothing can be raised"""


def way_out(missing: int, raisable: int) -> Relief:
    """First what can be raised, then lower goals. Both ≥ 0, in the same unit."""
    if missing <= 0:
        return Relief.FITS
    if raisable <= 0:
        return Relief.LOWER_GOAL
    return Relief.RAISE_FIRST if missing <= raisable else Relief.RAISE_AND_LOWER
