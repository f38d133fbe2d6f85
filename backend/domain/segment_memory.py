"""What a segment remembers from one night to the next, one whole number per customer.

Two states are kept: as a night left it, and as that night found it. Running the same night again starts from
what it found, so a run repeated, or resumed after a stop, counts no night twice. *Source*: R52.
"""

import numpy as np

from backend.domain.arrays import IntArray
from backend.domain.segments import NIGHTS_NEEDED, PreviousSegments, SegmentColumns

NEVER = 0
"""The state of a customer never scored."""

_DAY_ZERO = 1 << 20
_CODE_BITS, _SIDE_BITS, _NIGHT_BITS = 5, 4, 2


def pack_segments(tonight: SegmentColumns) -> IntArray:
    """(n,) states > 0: day entered, nights of the four axes, sides and code, from the highest bits down."""
    assert NIGHTS_NEEDED < 1 << _NIGHT_BITS
    packed = tonight.since_day + _DAY_ZERO
    for axis in range(4):
        packed = packed << _NIGHT_BITS | tonight.nights[:, axis]
    packed = packed << _SIDE_BITS | tonight.bits
    return np.asarray(packed << _CODE_BITS | tonight.code + 1, dtype=np.int64)


def unpack_segments(state: IntArray) -> PreviousSegments:
    """Inverse of `pack_segments`; `NEVER` gives a customer never scored."""
    code = (state & (1 << _CODE_BITS) - 1) - 1
    rest = state >> _CODE_BITS
    bits = rest & (1 << _SIDE_BITS) - 1
    rest = rest >> _SIDE_BITS
    shifts = np.arange(3, -1, -1) * _NIGHT_BITS
    nights = rest[:, None] >> shifts & (1 << _NIGHT_BITS) - 1
    since_day = np.where(code >= 0, (rest >> 4 * _NIGHT_BITS) - _DAY_ZERO, 0)
    return PreviousSegments(code, since_day, bits, nights)


def states_found(state: IntArray, state_before: IntArray, counted_day: IntArray, as_of_day: int) -> IntArray:
    """(n,) the states the night of `as_of_day` finds: those left by an earlier night.

    `state` was left by the night of `counted_day`, which had found `state_before`.
    """
    return np.where(counted_day < as_of_day, state, state_before).astype(np.int64)
