"""A score run in a process of its own: the same scores, and the same last word whatever becomes of it."""

import asyncio
import sys
from typing import Any

import orjson
import pytest

from backend.config import Settings
from backend.domain.score_runs import RunState
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.integrations.apart import ChildFailed
from backend.storage.dialects import Dialect
from backend.usecases import insights
from backend.usecases.insights import RunSummary, carry_out_order
from backend.wiring import SCORE_COMMAND
from tests.house import House
from tests.usecases.test_insights import TODAY, fetch, rate, run, sell, shops, state_of, steady


def settings_of(house: House) -> Settings:
    return Settings(reporting_currency="USD", database_url=house.engine.url, score_rows_per_work=2)


async def apart(house: House, **options: Any) -> RunSummary:
    async with asyncio.timeout(60):
        return await run(house, settings=settings_of(house), **{"apart": SCORE_COMMAND, **options})


async def last_run(house: House) -> tuple[Any, ...]:
    rows = await fetch(
        house.engine, "SELECT state, customers_scored, customers_changed, problems FROM score_run ORDER BY id DESC"
    )
    return tuple(rows[0])


async def test_a_run_apart_does_what_a_run_here_does(house: House) -> None:
    ids = await shops(house, 4)
    await sell(house, [row for place, shop in enumerate(ids) for row in steady(shop, 10_000 * (place + 1))])
    await sell(house, [((await shops(house, 1))[0], "2026-05-31", 1_000_000)], currency="KRW")
    stopped = await apart(house, cancelled=lambda: True)
    assert (stopped.state, stopped.customers_changed) == (RunState.CANCELLED, 0)
    told: list[tuple[str, int, int]] = []
    done = await apart(house, as_of=TODAY, progress=lambda *one: told.append(one))
    assert (done.state, done.customers_scored, done.customers_changed) == (RunState.FINISHED, 4, 4)
    assert (done.left_out_n, [problem.path for problem in done.problems]) == (1, [("KRW",)])
    assert (await last_run(house))[:3] == ("FINISHED", 4, 4)
    # the first has counted the orders before it heard that nobody waits
    assert told == [
        ("READ", 0, 5), ("READ", 5, 5), ("COMPUTE", 0, 1), ("COMPUTE", 1, 1), ("WRITE", 2, 4), ("WRITE", 4, 4),
    ]  # fmt: skip
    before = await state_of(house.engine)
    here = await run(house, as_of=TODAY)
    assert (here.customers_changed, here.level, here.fit_status, here.table_version) == (
        0, done.level, done.fit_status, done.table_version,
    )  # fmt: skip
    assert await state_of(house.engine) == before


@pytest.mark.parametrize("alone", [True, False])
async def test_a_run_beside_other_writers_leaves_them_their_turn(
    house: House, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    await shops(house, 4)
    pauses: list[float] = []

    async def slept(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(insights, "sleep", slept)
    assert (await run(house, settings=settings_of(house), alone=alone)).customers_changed == 4
    # PostgreSQL lets writers in by the order they came in
    needed = house.engine.dialect is Dialect.SQLITE and not alone
    assert pauses == [insights.TURN_S if needed else 0] * 2


async def test_what_a_run_apart_refuses_is_refused_here(house: House) -> None:
    [giant] = await shops(house, 1)
    await rate(house.engine, "KWD", "2026-01-01", 10**15)
    await sell(house, [(giant, "2026-05-31", 2**50)], currency="KWD")
    order = {
        "id": new_id(), "day": TODAY, "territoryId": None, "rebuild": False, "settings": {},
        "principal": {"kind": "SERVICE", "role": None, "user_id": None, "device_id": None, "service_id": "operator",
                      "contact_id": None, "locale": "en"},
    }  # fmt: skip
    last = await carry_out_order(
        house.engine, order, settings=settings_of(house), clock=lambda: house.now_ms, progress=lambda *_: None,
        cancelled=lambda: False,
    )  # fmt: skip
    assert (last["last"], [one["code"] for one in last["refused"]]) == ("FAILED", ["OUT_OF_RANGE"])
    says = f"import sys; sys.stdin.readline(); print({orjson.dumps(last).decode()!r}, flush=True)"
    with pytest.raises(Refused) as refused:
        await apart(house, apart=(sys.executable, "-c", says))
    assert [problem.code for problem in refused.value.problems] == [Code.OUT_OF_RANGE]
    state, _, _, problems = await last_run(house)
    assert (state, orjson.loads(problems)[0]["code"]) == ("FAILED", "OUT_OF_RANGE")


async def test_a_run_whose_process_dies_is_kept_as_failed_and_the_next_begins_at_once(house: House) -> None:
    await shops(house, 1)
    with pytest.raises(ChildFailed):
        await apart(house, apart=(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
    state, _, _, problems = await last_run(house)
    assert (state, orjson.loads(problems)[0]["code"]) == ("FAILED", "INTERNAL")
    assert (await run(house)).state is RunState.FINISHED
