"""Where segments went: each move with what fell, and how many customers went from where to where. *Source*: R52."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from backend.domain.segments import AXES, SEGMENT_CODES, Cause, migration_matrix

NEVER = -1
_NUMBERS = {code: number for number, code in enumerate(SEGMENT_CODES)}


@dataclass(frozen=True, slots=True)
class Move:
    """A customer entered `to_segment` on a local day; `from_segment` None: first scored."""

    customer_id: str
    on_day: str
    from_segment: str | None
    to_segment: str
    cause: str


def fallen_axes(from_segment: str | None, to_segment: str) -> tuple[str, ...]:
    """The axes (E, P, L, S) that went from high to low; none for who came or went by onboarding."""
    if from_segment is None or len(from_segment) != len(AXES) or len(to_segment) != len(AXES):
        return ()
    return tuple(
        axis for axis, was, now in zip(AXES, from_segment, to_segment, strict=True) if (was, now) == ("H", "L")
    )


def is_alarm(move: Move) -> bool:
    """Whether somebody should look: an axis fell, or a severe complaint stands behind it. That potential fell is none:
    a customer who bought what he could buy has less left to buy."""
    return move.cause == Cause.SEVERE_COMPLAINT.name or bool(
        set(fallen_axes(move.from_segment, move.to_segment)) - {"P"}
    )


def migration(
    moves: Sequence[Move], scored: Set[str], others: Mapping[str, int], last_day: str
) -> tuple[tuple[int, ...], ...]:
    """(17, 17) customers by their segment at the end of a first day (rows) and of `last_day` (columns).

    `moves`: all moves after the first day, in the order of customer and day; `scored`: who of them has a score now;
    `others`: how many customers are in each segment of those who never moved since. Customers first scored after the
    first day are in no row.
    """
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for move in moves:
        before.setdefault(move.customer_id, NEVER if move.from_segment is None else _NUMBERS[move.from_segment])
        if move.on_day <= last_day:
            after[move.customer_id] = _NUMBERS[move.to_segment]
        else:
            after.setdefault(move.customer_id, NEVER if move.from_segment is None else _NUMBERS[move.from_segment])
    movers = [one for one in before if one in scored]
    counts = migration_matrix(
        np.array([before[one] for one in movers], dtype=np.int64),
        np.array([after[one] for one in movers], dtype=np.int64),
    )
    for segment, count in others.items():
        counts[_NUMBERS[segment], _NUMBERS[segment]] += count
    return tuple(tuple(row) for row in counts.tolist())
