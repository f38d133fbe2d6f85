"""A long piece of work in a process of its own: one document in, a line of JSON for each thing it tells, and no longer
than somebody waits for it.

The child reads its order from standard input. As long as that stays open somebody waits; when it closes, whoever
asked has had enough or is gone, and the child is to end.
"""

import asyncio
import os
import select
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

Told = Mapping[str, Any]
LINE_BYTES_MAX = 1_000_000
ASK_SECONDS = 0.25
STOP_SECONDS = 60.0
"""A child that was told to end and goes on for so long is killed."""
NICE = 10
"""Whoever is served goes first."""
COMPUTING_THREADS_MAX = 2


class ChildFailed(Exception):
    """The process ended, or was ended, without its last word."""


async def told_apart(
    command: Sequence[str], order: Mapping[str, Any], *, hear: Callable[[Told], None], cancelled: Callable[[], bool]
) -> Told:
    """Have `command` carry out an order; its last word.

    `hear` is told everything else; `cancelled` is asked after each, and four times a second while nothing is told. A
    child that goes on for `STOP_SECONDS` after that is killed. Raises `ChildFailed`. Whatever ends the waiting ends the
    child.
    """
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES_MAX)
    assert child.stdin is not None
    child.stdin.write(orjson.dumps(order) + b"\n")
    enough = asyncio.Event()
    hearing = asyncio.create_task(_last_word(child, hear, cancelled, enough))
    try:
        while not (hearing.done() or enough.is_set()):
            if cancelled():
                enough.set()
            else:
                await asyncio.wait({hearing}, timeout=ASK_SECONDS)
        if enough.is_set():
            child.stdin.close()
            await asyncio.wait({hearing}, timeout=STOP_SECONDS)
        if not hearing.done():
            child.kill()
            raise ChildFailed(f"{command[-1]} went on for {STOP_SECONDS:.0f} s after it was to end")
        last = await hearing
    finally:
        hearing.cancel()
        await _ended(child)
    if last is None:
        raise ChildFailed(f"{command[-1]} ended with {child.returncode}")
    return last


async def _last_word(
    child: Process, hear: Callable[[Told], None], cancelled: Callable[[], bool], enough: asyncio.Event
) -> Told | None:
    """None where it ends without."""
    assert child.stdout is not None
    async for line in child.stdout:
        told: Told = orjson.loads(line)
        if told.get("last"):
            return told
        hear(told)
        if cancelled():
            enough.set()
    return None


async def _ended(child: Process) -> None:
    assert child.stdin is not None
    child.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def take_order() -> tuple[dict[str, Any], Callable[[], bool]]:
    """In the child: what is to be done, and whether nobody waits for it any more."""
    os.nice(NICE)
    order = orjson.loads(sys.stdin.buffer.readline())
    # nothing comes after the order, so what can be read by then is the end
    return order, lambda: bool(select.select([sys.stdin], [], [], 0)[0])


def computing_threads() -> ThreadPoolExecutor:
    """In the child: threads for what only computes, which get a processor nobody else wants.

    Not the whole child: while it holds a lock of the database, others wait for it.
    """
    return ThreadPoolExecutor(COMPUTING_THREADS_MAX, "computing", initializer=_go_last)


def _go_last() -> None:
    if sys.platform == "linux":
        # 0 is the thread that calls
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def tell(told: Told) -> None:
    """In the child: one thing, to whoever waits. Nobody may be there any more."""
    try:
        sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return
