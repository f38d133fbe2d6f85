"""Score runs and the lists they lead to: states, and why a list of visits is empty."""

from enum import StrEnum


class RunState(StrEnum):
    """How far a score run got. What a run wrote before it ended early is right and stays."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class EmptyBecause(StrEnum):
    """Why there is nobody to visit on a list."""

    NO_CUSTOMERS = "NO_CUSTOMERS"
    ALL_CLOSED = "ALL_CLOSED"
    NOTHING_SCORED = "NOTHING_SCORED"
