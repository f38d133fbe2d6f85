"""The wall clock, in one place, so that everything else can be handed a time."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns milliseconds since 1970-01-01 UTC."""


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000
