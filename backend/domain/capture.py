"""When something entered on a device really happened: its clock set right, and times that cannot be repaired.

Device clocks run days wrong, are set back in the middle of a day, and lie in the future. What is computed here
decides who wrote last and what is still taken from a former rep, so it errs towards "just now", which never wins
anything from the past. Source: sync.md §4, §8.
"""

from collections.abc import Sequence

from backend.domain.times import DAY_MS

CLOCK_OFFSET_DAYS_MAX = 30
"""A clock wrong by more says nothing: a battery went flat, or somebody plays with it."""


def clock_offset_ms(device_now_ms: int, server_now_ms: int) -> int:
    """What must be added to the device's times; positive for a clock that is behind."""
    return server_now_ms - device_now_ms


def capture_times(
    captured_ms: Sequence[int | None],
    *,
    offset_ms: int,
    now_ms: int,
    offset_days_max: int = CLOCK_OFFSET_DAYS_MAX,
) -> list[int | None]:
    """The moments a queue was captured, by the server's clock, in the order of the queue; none is later than `now_ms`.

    *captured_ms*: by the device's clock, oldest entry first; None where it was not said, and it stays None: such an
    entry counts as captured when it arrives. *offset_ms*: of `clock_offset_ms`; when it is more than
    `offset_days_max` days nothing the clock said is believed, and all are None. A time that would lie in the future
    shows that the clock was set back afterwards; the queue's order is certain, so it happened no later than the next
    entry whose time is possible, or now.
    """
    if abs(offset_ms) > offset_days_max * DAY_MS:
        return [None] * len(captured_ms)
    found: list[int | None] = []
    latest = now_ms
    for given in reversed(captured_ms):
        at = None if given is None else given + offset_ms
        if at is not None and at > now_ms:
            at = latest
        elif at is not None:
            latest = at
        found.append(at)
    return found[::-1]
