"""What becomes of a device: the states it passes through, and what each lets it do.

ACTIVE syncs. DRAINING hands in what was captured before it began, for some days, and reads nothing. REVOKED does
neither. WIPED must destroy what it holds and say so; nothing leads out of it. Source: sync.md §8.
"""

from collections.abc import Mapping
from enum import StrEnum

from backend.domain.times import DAY_MS, instant_text
from backend.errors import Code, Problem


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
