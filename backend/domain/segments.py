"""The four dimensions cut into high and low: sixteen segments, held steady by a band and two nights.

A code is four letters in the order existing value, potential, loyalty, satisfaction (`HHLH`). What is unknown
keeps its previous side; a side never known before starts low (E, P) or at its prior (S). *Source*: R51, R52.
"""

from dataclasses import dataclass
from enum import IntEnum

from backend.domain.arrays import BoolArray, IntArray

AXES = ("E", "P", "L", "S")
SEGMENTS_N = 16
ONBOARDING = 16
SEGMENT_CODES = (
    *("".join("H" if code >> (3 - axis) & 1 else "L" for axis in range(4)) for code in range(SEGMENTS_N)),
    "ONBOARDING",
)
"""Code by number: bit 3 existing value, bit 2 potential, bit 1 loyalty, bit 0 satisfaction; 16 onboarding."""

LOYALTY_THRESHOLD_BP = 6_000
SATISFACTION_THRESHOLD_BP = 6_000
SCORE_BAND_BP = 500
MONEY_BAND = 0.10
NIGHTS_NEEDED = 2
ONBOARDING_ORDERS_N = 2
ONBOARDING_DAYS = 90
PARETO_SHARE = 0.80


class Cause(IntEnum):
    """What moved a customer to the segment it is in; the name is the code clients see."""

    UNCHANGED = 0
    FIRST_SCORED = 1
    EXISTING_VALUE = 2
    POTENTIAL = 3
    LOYALTY = 4
    SATISFACTION = 5
    SEVERE_COMPLAINT = 6
    ONBOARDED = 7
    SEVERAL_AXES = 8


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The cuts of one quarter, frozen under a version.

    `existing_by_kind`: customer kind code → smallest high existing value, minor units;
    `existing_floor_minor`: a manager's floor under all of them; `potential_minor`: smallest high potential
    per year.
    """

    version: str
    existing_by_kind: tuple[tuple[int, int], ...]
    existing_floor_minor: int
    potential_minor: int
    loyalty_bp: int = LOYALTY_THRESHOLD_BP
    satisfaction_bp: int = SATISFACTION_THRESHOLD_BP


@dataclass(frozen=True, slots=True)
class PreviousSegments:
    """How last night left every customer; (n,) each.

    `code`: 0..16, −1 never scored; `since_day`: day the code was entered; `wanted_bits`: the sides 0..15
    that last night's numbers asked for; `nights`: (n, 4) consecutive nights each axis has asked for the
    other side.
    """

    code: IntArray
    since_day: IntArray
    bits: IntArray
    nights: IntArray


@dataclass(frozen=True, slots=True)
class SegmentColumns:
    """The segment of every customer; (n,) unless said otherwise.

    `code`: 0..15, 16 = onboarding (see `SEGMENT_CODES`); `bits`: the four sides behind the code (also while
    onboarding); `nights`: (n, 4) consecutive nights each axis has asked for the other side; `since_day`;
    `previous_code`: −1 never scored; `cause`: `Cause` of the last step taken tonight; `known`: (n, 4) False
    where the axis had no data and kept its side.
    """

    code: IntArray
    bits: IntArray
    nights: IntArray
    since_day: IntArray
    previous_code: IntArray
    cause: IntArray
    known: BoolArray
