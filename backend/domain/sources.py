"""What a figure was computed from: each kind of record with its first and last day and how many there are.

A source that nobody records yet is said to be so; it never passes for a zero. *Source*: R7, R48.
"""

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Kinds of records that figures stand on. Some are not recorded by any part of the product yet."""

    ORDERS = "ORDERS"
    """orders that count: submitted, not cancelled and not sent back, and imported history"""
    VISITS = "VISITS"
    """visits that were made"""
    TASKS = "TASKS"
    ANSWERS = "ANSWERS"
    """answers to forms: surveys, shares of wallet, reviews"""
    CASES = "CASES"
    """complaints"""
    PEERS = "PEERS"
    """orders of comparable customers"""
    GOALS = "GOALS"
    """goals that are in force"""
    USERS = "USERS"
    """reps who are active"""
    COSTS = "COSTS"
    """recorded cost of goods"""
    RETURNS = "RETURNS"
    FREIGHT = "FREIGHT"
    INVOICES = "INVOICES"
    CAMPAIGNS = "CAMPAIGNS"
    OPPORTUNITIES = "OPPORTUNITIES"
    REFERRALS = "REFERRALS"


@dataclass(frozen=True, slots=True)
class SourceUsed:
    """One source of a figure. `recorded`: False where nothing of it is kept or nothing was found; then there are
    no days. `first_day`, `last_day`: local days; `rows_n`: how many records."""

    source: Source
    recorded: bool
    first_day: str | None = None
    last_day: str | None = None
    rows_n: int = 0


@dataclass(frozen=True, slots=True)
class ImportUsed:
    """An import that brought orders behind a figure; `orders_n`: how many of them."""

    id: str
    system: str
    file_name: str
    started_at_ms: int
    orders_n: int
