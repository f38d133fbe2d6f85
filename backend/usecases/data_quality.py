"""How good what is recorded of customers is, and of whom nothing was heard for long."""

import asyncio
from dataclasses import dataclass

import numpy as np

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.given import check_first
from backend.domain.quality import Quality, data_quality
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection, Engine
from backend.storage.holding import held_customers
from backend.storage.quality import CheckedCustomers, read_checked

STALE_DAYS_MAX = 3_650


@dataclass(frozen=True, slots=True)
class QualityFound:
    """`ids`: of the customers checked; examples name their places."""

    ids: tuple[str, ...]
    stale_days: int
    parts: tuple[Quality, ...]


@dataclass(frozen=True, slots=True)
class Stale:
    """A customer of whom nothing was recorded for `silent_days`, since `touched_ms`."""

    customer_id: str
    touched_ms: int
    silent_days: int


@dataclass(frozen=True, slots=True)
class StaleFound:
    total: int
    checked_n: int
    items: tuple[Stale, ...]


async def quality_of(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    now_ms: int,
    customer_id: str | None = None,
    territory_id: str | None = None,
    stale_days: int | None = None,
) -> QualityFound:
    """The four parts of data quality of one customer, a territory, or all the caller holds.

    Raises NOT_PERMITTED, NOT_FOUND, OUT_OF_RANGE.
    """
    days = _days(stale_days, settings)
    async with engine.read() as conn:
        found = await _checked(conn, principal, customer_id, territory_id, now_ms)
    parts = await asyncio.to_thread(data_quality, found.facts, stale_days=days)
    return QualityFound(found.ids, days, parts)


async def stale_customers(
    engine: Engine,
    principal: Principal,
    *,
    settings: Settings,
    now_ms: int,
    first: int,
    territory_id: str | None = None,
    stale_days: int | None = None,
) -> StaleFound:
    """Customers without an order, a visit or a change for `stale_days` or longer, the longest silent first; ties by id.

    Raises NOT_PERMITTED, NOT_FOUND, OUT_OF_RANGE.
    """
    days = _days(stale_days, settings)
    check_first(first, settings.page_rows_max)
    async with engine.read() as conn:
        found = await _checked(conn, principal, None, territory_id, now_ms)
    silent = found.facts.silent_days.values
    order = np.argsort(np.array(found.touched_ms, dtype=np.int64), kind="stable")
    stale = order[silent[order] >= days]
    items = tuple(Stale(found.ids[row], found.touched_ms[row], int(silent[row])) for row in stale[:first].tolist())
    return StaleFound(int(stale.size), len(found.ids), items)


def _days(given: int | None, settings: Settings) -> int:
    if given is not None and not 1 <= given <= STALE_DAYS_MAX:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("days",), ("1", str(STALE_DAYS_MAX))))
    return settings.stale_days if given is None else given


async def _checked(
    conn: Connection, principal: Principal, customer_id: str | None, territory_id: str | None, now_ms: int
) -> CheckedCustomers:
    if not principal.reads("customers"):
        raise Refused(Problem(Code.NOT_PERMITTED, ("customers",)))
    where, args = await held_customers(conn, principal, territory_id)
    if customer_id is not None:
        where, args = f"{where} AND k.id = ?", [*args, customer_id]
    found = await read_checked(conn, where, args, now_ms=now_ms)
    if customer_id is not None and not found.ids:
        raise Refused(Problem(Code.NOT_FOUND, ("customerId",)))
    return found
