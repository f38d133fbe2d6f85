"""A process of its own: it is told its order, tells its last word, and never outlives whoever waits for it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from backend.integrations import apart
from backend.integrations.apart import ChildFailed, Told, computing_threads, told_apart

TELLS = "import json, sys; print(json.dumps({'heard': json.loads(sys.stdin.readline())}), flush=True); "
TELLS_LAST = "import json; print(json.dumps({'last': 'FINISHED'}), flush=True)"
LAST = "print(json.dumps({'last': 'FINISHED'}), flush=True)"
WAITS = "import sys; sys.stdin.read(); "
"""until nobody waits any more"""


def child(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


async def asked(text: str, *, enough: int | None = None) -> tuple[Told, list[Told]]:
    """`enough`: after hearing so much nobody waits any more."""
    heard: list[Told] = []
    async with asyncio.timeout(30):
        last = await told_apart(
            child(text), {"day": "2026-11-22"}, hear=heard.append, cancelled=lambda: len(heard) == enough
        )
    return last, heard


async def test_the_order_goes_in_and_everything_told_comes_out() -> None:
    assert await asked(TELLS + LAST) == ({"last": "FINISHED"}, [{"heard": {"day": "2026-11-22"}}])


@pytest.mark.parametrize("enough", [0, 1])
async def test_whoever_has_had_enough_closes_the_childs_input_and_hears_its_last_word(enough: int) -> None:
    assert (await asked(TELLS + WAITS + LAST, enough=enough))[0] == {"last": "FINISHED"}


async def test_a_child_that_tells_nothing_hears_it_too() -> None:
    asked: list[bool] = []

    def soon() -> bool:
        asked.append(True)
        return len(asked) > 3

    async with asyncio.timeout(30):
        last = await told_apart(child(WAITS + TELLS_LAST), {}, hear=asked.remove, cancelled=soon)
    assert last == {"last": "FINISHED"}


async def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "STOP_SECONDS", 0.05)
    with pytest.raises(ChildFailed, match="went on"):
        await asked(TELLS + "import time; time.sleep(60); " + LAST, enough=1)


@pytest.mark.parametrize("end", ["sys.exit(3)", "import os; os.kill(os.getpid(), 9)"])
async def test_a_child_that_ends_without_its_last_word_has_failed(end: str) -> None:
    with pytest.raises(ChildFailed):
        await asked(TELLS + end)


async def test_a_child_ends_with_whoever_waited_for_it(tmp_path: Path) -> None:
    told = asyncio.Event()
    number: list[int] = []

    def hear(one: Told) -> None:
        number.append(one["pid"])
        told.set()

    waits = f"import json, os, sys; print(json.dumps({{'pid': os.getpid()}}), flush=True); {WAITS}"
    waiting = asyncio.create_task(
        told_apart(child(waits + f"open({str(tmp_path / 'over')!r}, 'w')"), {}, hear=hear, cancelled=lambda: False)
    )
    async with asyncio.timeout(30):
        await told.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(number[0], 0)
    assert (tmp_path / "over").exists(), "its input was closed, so that it could end as it wants"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
def test_only_what_computes_goes_last() -> None:
    with computing_threads() as threads:
        assert threads.submit(os.sched_getscheduler, 0).result() == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
