"""One server process of a chaos run: the product's own application, on a port, with pauses at awkward moments.

Arguments: port. Settings come from the environment; `CHAOS_STALLS` is the seed of the pauses (absent: none) and
`CHAOS_MUTANT` the name of the mutant this process is to be, for the proof that it is caught.
"""

import asyncio
import os
import random
import socket
import sys

import uvicorn

from backend.app import make_app
from backend.config import Settings
from backend.sync import work
from backend.telemetry import configure_logs
from tests.chaos.mutants import MUTANTS

STALL_SECONDS_MAX = 0.03
STALLS = 0.15


def stall_around_the_clock(seed: str) -> None:
    """Some transactions wait before or after the clock's step, as on a busy machine: others run into them."""
    dice = random.Random(seed)
    step_clock, save_receipts = work.step_clock, work.save_receipts

    async def stall() -> None:
        if dice.random() < STALLS:
            await asyncio.sleep(dice.random() * STALL_SECONDS_MAX)

    async def stalled_step(*args: object) -> int:
        await stall()
        seq: int = await step_clock(*args)  # type: ignore[arg-type]
        await stall()
        return seq

    async def stalled_receipts(*args: object, **named: object) -> None:
        await save_receipts(*args, **named)  # type: ignore[arg-type]
        await stall()

    work.step_clock = stalled_step
    work.save_receipts = stalled_receipts


def main(port: int) -> None:
    configure_logs("ERROR")
    if seed := os.environ.get("CHAOS_STALLS"):
        stall_around_the_clock(f"{seed}/{port}")
    if mutant := os.environ.get("CHAOS_MUTANT"):
        MUTANTS[mutant].apply()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    config = uvicorn.Config(make_app(Settings()), http="httptools", log_config=None, access_log=False)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
