"""What becomes of a device: the states it passes through, and what each lets it do.

ACTIVE syncs. DRAINING hands in what was captured before it began, for some days, and reads nothing. REVOKED does
neither. WIPED must destroy what it holds and say so; nothing leads out of it. Source: sync.md §8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from backend.domain.times import DAY_MS, instant_text
from backend.errors import Code, Problem

DEVICE_NAME_CHARACTERS_MAX = 120
DEVICE_PLATFORM_CHARACTERS_MAX = 40


class DeviceState(StrEnum):
    """What a device may do."""

    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    REVOKED = "REVOKED"
    WIPED = "WIPED"


DRAINED = "DRAINED"
"""Reason the server gives itself: the days of draining are over."""
SILENT = "SILENT"
"""Reason the server gives itself: nothing was heard of the device for too long."""

_S = DeviceState
STEPS: Mapping[DeviceState, frozenset[DeviceState]] = {
    _S.ACTIVE: frozenset({_S.DRAINING, _S.REVOKED, _S.WIPED}),
    _S.DRAINING: frozenset({_S.ACTIVE, _S.REVOKED, _S.WIPED}),
    _S.REVOKED: frozenset({_S.ACTIVE, _S.WIPED}),
    _S.WIPED: frozenset(),
}


def state_at(state: str, drain_until_ms: int | None, now_ms: int) -> DeviceState:
    """The state by now: a device whose draining is over is revoked, whether or not a job has written it down."""
    known = DeviceState(state)
    if known is _S.DRAINING and drain_until_ms is not None and now_ms >= drain_until_ms:
        return _S.REVOKED
    return known


def state_problem(before: DeviceState, after: DeviceState) -> Problem | None:
    """Why a device cannot go from one state to another; None when it can, or is there already."""
    if before is after or after in STEPS[before]:
        return None
    return Problem(Code.INVALID_TRANSITION, ("state",), tuple(sorted(STEPS[before])), {"enum": DeviceState.__name__})


def unserved(state: DeviceState) -> Problem | None:
    """Why a device in this state is answered nothing at all; None for one that is."""
    if state is _S.WIPED:
        return Problem(Code.DEVICE_WIPED)
    return Problem(Code.DEVICE_REVOKED) if state is _S.REVOKED else None


def unread(state: DeviceState) -> Problem | None:
    """Why a device in this state reads nothing; None for one that may."""
    return Problem(Code.DEVICE_DRAINING) if state is _S.DRAINING else unserved(state)


def drain_problem(captured_at_ms: int | None, drained_since_ms: int | None) -> Problem | None:
    """Why a draining device's work is not taken: only what was surely captured before the draining is.

    A device without a moment it began at (`None`) drains without a limit.
    """
    if drained_since_ms is None or (captured_at_ms is not None and captured_at_ms <= drained_since_ms):
        return None
    return Problem(Code.DEVICE_DRAINING, ("capturedAt",), (instant_text(drained_since_ms),))


def days_ago(now_ms: int, days: int) -> int:
    """The moment so many days of 24 hours before, in milliseconds, never below 0."""
    return max(0, now_ms - days * DAY_MS)


@dataclass(frozen=True, slots=True)
class DeviceGiven:
    """A device as it describes itself; the id is its own, made once."""

    id: str
    name: str
    platform: str


def device_problems(device: DeviceGiven, *, is_id: bool) -> list[Problem]:
    """What is wrong with a device as it describes itself; `is_id` says whether its id has the form of one."""
    problems = text_problems(
        (("device", "name"), device.name, DEVICE_NAME_CHARACTERS_MAX),
        (("device", "platform"), device.platform, DEVICE_PLATFORM_CHARACTERS_MAX),
    )
    if not is_id:
        problems.append(Problem(Code.INVALID_VALUE, ("device", "id"), ("a UUID in small letters",)))
    return problems


def text_problems(*given: tuple[tuple[str, ...], str, int]) -> list[Problem]:
    """REQUIRED, TOO_LONG or INVALID_VALUE for each (path, text, most characters)."""
    problems = []
    for path, text, characters_max in given:
        if not text.strip():
            problems.append(Problem(Code.REQUIRED, path))
        elif len(text) > characters_max:
            problems.append(Problem(Code.TOO_LONG, path, (str(characters_max),)))
        elif not is_storable(text):
            problems.append(Problem(Code.INVALID_VALUE, path))
    return problems


def is_storable(text: str) -> bool:
    """Neither database keeps a NUL or half of a surrogate pair, and no keyboard types them."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
