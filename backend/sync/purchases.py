"""Comparing the purchases kept with the orders they come from, and counting them anew."""

from collections.abc import Callable
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.clock import Clock
from backend.storage.engine import Engine
from backend.storage.purchases import (
    account_differs,
    count_anew,
    customers_drifted,
    next_customers,
    sampled_customers,
)
from backend.sync.work import Door, Work, in_work

CUSTOMERS_PER_WORK = 500
SAMPLE_CUSTOMERS = 1_000
Progress = Callable[[int], None]
"""Told how many customers are done."""


@dataclass(frozen=True, slots=True)
class PurchaseReport:
    """`accounted`: the table accounts for the orders as a whole; `drifted`: of the `sampled` those that differ."""

    accounted: bool
    sampled: int
    drifted: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return self.accounted and not self.drifted


async def check_purchases(engine: Engine, sample_n: int = SAMPLE_CUSTOMERS) -> PurchaseReport:
    """The whole by its sums, and a sample of customers by every row, in one snapshot."""
    async with engine.read() as conn:
        ids = await sampled_customers(conn, sample_n)
        return PurchaseReport(not await account_differs(conn), len(ids), tuple(await customers_drifted(conn, ids)))


async def rebuild_purchases(
    engine: Engine,
    principal: Principal,
    *,
    clock: Clock,
    retries_max: int,
    customers_n: int = CUSTOMERS_PER_WORK,
    progress: Progress | None = None,
) -> int:
    """Compare every customer with his orders and count those anew that differ; how many did.

    In works of bounded size, each right by itself: cut short, it is finished by beginning again.
    """
    after, done, mended = "", 0, 0
    while True:

        async def batch(work: Work, after: str = after) -> tuple[list[str], list[str]]:
            # whoever writes orders counts them under this lock too
            await work.conn.fetch("SELECT seq FROM sync_clock WHERE id = 1 FOR UPDATE")
            ids = await next_customers(work.conn, after, customers_n)
            wrong = await customers_drifted(work.conn, ids)
            await count_anew(work.conn, wrong)
            return ids, wrong

        (ids, wrong), _ = await in_work(engine, principal, batch, clock=clock, retries_max=retries_max, door=Door.JOB)
        if not ids:
            return mended
        after, done, mended = ids[-1], done + len(ids), mended + len(wrong)
        if progress is not None:
            progress(done)
