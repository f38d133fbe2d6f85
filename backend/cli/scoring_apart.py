"""A score run that the server asked for, in a process of its own: `python -m backend.cli.scoring_apart`.

Not a verb: its order comes from standard input, and what it does is told to standard output.
"""

import asyncio
import os

from backend.clock import wall_clock_ms
from backend.config import read_settings
from backend.domain.score_runs import RunState
from backend.integrations.apart import computing_threads, take_order, tell
from backend.storage.engine import open_engine
from backend.usecases.insights import carry_out_order

CONNECTIONS_MAX = 2
"""One reads a snapshot while another shows a sign of life."""


async def score() -> None:
    order, cancelled = take_order()
    asyncio.get_running_loop().set_default_executor(computing_threads())
    settings = read_settings(**order["settings"])
    engine = open_engine(settings.database_url, pool_connections_max=CONNECTIONS_MAX)
    await engine.start()
    try:
        last = await carry_out_order(
            engine,
            order,
            settings=settings,
            clock=wall_clock_ms,
            progress=lambda phase, done, total: tell({"phase": phase, "done": done, "total": total}),
            cancelled=cancelled,
        )
        tell(last)
    finally:
        await engine.close()
    if last["last"] == RunState.CANCELLED:
        # a computation nobody wants may still be on its way, and Python would wait for its thread
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(score())
