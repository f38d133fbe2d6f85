"""A score run is ended from elsewhere by whoever may score; what was written until then is right and stays."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from backend.config import Settings
from backend.domain.score_runs import RunState
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.integrations import apart
from backend.storage.engine import Engine
from backend.sync import run_stops
from backend.sync.runs import ABANDONED_MS, KeptRun
from backend.usecases import insights
from backend.usecases.insights import RunSummary, cancel_scores
from tests import factories
from tests.house import NOON_MS, House
from tests.usecases.test_insights import TODAY, fetch, run, sell, shops, state_of, steady

SETTINGS = Settings(reporting_currency="USD", score_rows_per_work=2)
SAYS = "import json, sys; sys.stdin.readline(); told = lambda **one: print(json.dumps(one), flush=True); "


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], bool]]:
    """Whether each run begun has heard that it is to end; runs look often."""
    found: list[Callable[[], bool]] = []

    @asynccontextmanager
    async def kept(engine: Engine, row: KeptRun) -> AsyncIterator[Callable[[], bool]]:
        async with run_stops.hearing_stops(engine, row) as asked:
            found.append(asked)
            yield asked

    monkeypatch.setattr(run_stops, "LOOK_S", 0.005)
    monkeypatch.setattr(insights, "hearing_stops", kept)
    monkeypatch.setattr(insights, "ASK_S", 0.005)
    monkeypatch.setattr(apart, "ASK_SECONDS", 0.005)
    return found


async def scored(house: House, **options: Any) -> RunSummary:
    async with asyncio.timeout(60):
        return await run(house, **{"settings": SETTINGS, **options})


async def cancel(house: House, who: str = "admin", run_id: str | None = None) -> str:
    return await house.work(who, lambda work: cancel_scores(work, run_id))


async def refusal(house: House, who: str = "admin", run_id: str | None = None) -> list[tuple[Code, tuple[str, ...]]]:
    with pytest.raises(Refused) as refused:
        await cancel(house, who, run_id)
    return [(problem.code, tuple(problem.path)) for problem in refused.value.problems]


async def runs(house: House) -> list[tuple[Any, ...]]:
    rows = await fetch(
        house.engine, "SELECT state, customers_changed, cancel_asked_at FROM score_run ORDER BY started_at, id"
    )
    return [tuple(row) for row in rows]


async def asked_by(house: House) -> list[tuple[str, str]]:
    rows = await fetch(house.engine, "SELECT actor, record_id FROM audit_entry WHERE action = 'CANCEL' ORDER BY id")
    return [tuple(row) for row in rows]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what is waited for happens in threads and processes
            await asyncio.sleep(0.005)


@pytest.fixture
async def market(house: House) -> list[str]:
    ids = await shops(house, 6)
    await sell(house, [row for place, shop in enumerate(ids) for row in steady(shop, 10_000 * (place + 1))])
    return ids


@pytest.mark.requirement("R28")
async def test_a_run_that_writes_ends_at_its_next_batch_and_running_again_writes_the_rest(
    house: House, market: list[str], heard: list[Callable[[], bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def after_a_batch(_seconds: float) -> None:
        if not asked:
            # somebody loses patience, then somebody else; both mean the same run
            asked.append(await cancel(house))
            asked.append(await cancel(house, "analyst", asked[0]))
        if len(heard) == 1:
            await until(heard[0])

    monkeypatch.setattr(insights, "sleep", after_a_batch)
    stopped = await scored(house)
    assert (stopped.state, stopped.customers_changed, asked) == (RunState.CANCELLED, 2, [stopped.id] * 2)
    assert await runs(house) == [("CANCELLED", 2, NOON_MS)]
    assert await asked_by(house) == [(house.people["admin"].actor, stopped.id)]
    written = await fetch(house.engine, "SELECT customer_id, run_id, priority FROM customer_score")
    sums = await fetch(house.engine, "SELECT customer_id, SUM(points) FROM score_line GROUP BY customer_id")
    assert {row[0]: row[2] for row in written} == {row[0]: int(row[1]) for row in sums}
    assert [row[1] for row in written] == [stopped.id] * 2
    assert await refusal(house, run_id=stopped.id) == [(Code.INVALID_TRANSITION, ("state",))]
    # the next run is not the one that was to end
    rest = await scored(house)
    assert (rest.state, rest.customers_changed) == (RunState.FINISHED, 4)
    before = await state_of(house.engine)
    assert (await scored(house)).customers_changed == 0
    assert await state_of(house.engine) == before


async def test_a_computation_is_left_where_it_is(
    house: House, market: list[str], heard: list[Callable[[], bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    computing, goes_on = threading.Event(), threading.Event()

    def endless(_night: object) -> None:
        computing.set()
        goes_on.wait(60)

    monkeypatch.setattr(insights, "score_night", endless)
    try:
        going = asyncio.create_task(scored(house))
        await until(computing.is_set)
        run_id = await cancel(house)
        stopped = await going
    finally:
        goes_on.set()
    assert (stopped.id, stopped.state, stopped.customers_changed) == (run_id, RunState.CANCELLED, 0)
    assert await fetch(house.engine, "SELECT customer_id FROM customer_score") == []


async def test_the_process_of_a_run_hears_of_it_and_has_the_last_word(
    house: House, heard: list[Callable[[], bool]]
) -> None:
    last = {
        "last": "CANCELLED",
        "found": {"customers_scored": 9, "customers_changed": 3},
        "problems": [],
        "refused": [],
    }
    child = f"{SAYS}told(phase='COMPUTE', done=0, total=1); sys.stdin.read(); print({orjson.dumps(last).decode()!r})"
    told: list[str] = []
    going = asyncio.create_task(
        scored(house, apart=(sys.executable, "-c", child), progress=lambda phase, *_: told.append(phase))
    )
    await until(lambda: bool(told))
    await cancel(house)
    stopped = await going
    assert (stopped.state, stopped.customers_scored, stopped.customers_changed) == (RunState.CANCELLED, 9, 3)


async def test_a_process_that_does_not_end_is_ended_and_what_it_wrote_is_counted(
    house: House, market: list[str], heard: list[Callable[[], bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await scored(house)
    monkeypatch.setattr(apart, "STOP_SECONDS", 0.05)
    child = f"{SAYS}told(phase='COMPUTE', done=0, total=1); import time; time.sleep(60)"
    told: list[str] = []
    going = asyncio.create_task(
        scored(house, apart=(sys.executable, "-c", child), progress=lambda phase, *_: told.append(phase))
    )
    await until(lambda: bool(told))
    [(run_id,)] = await fetch(house.engine, "SELECT id FROM score_run WHERE state = 'RUNNING'")
    async with house.engine.write() as conn:
        await conn.execute("UPDATE customer_score SET run_id = ? WHERE customer_id = ?", run_id, market[0])
    assert await cancel(house) == run_id
    stopped = await going
    assert (stopped.state, stopped.customers_changed) == (RunState.CANCELLED, 1)


async def test_where_nothing_goes_on_nothing_is_to_be_ended(house: House) -> None:
    assert await refusal(house) == [(Code.NOT_FOUND, ("runId",))]
    for unknown in (new_id(), "no id at all", ""):
        assert await refusal(house, run_id=unknown) == [(Code.NOT_FOUND, ("runId",))]
    finished = await scored(house)
    assert await refusal(house) == [(Code.NOT_FOUND, ("runId",))]
    assert await refusal(house, run_id=finished.id) == [(Code.INVALID_TRANSITION, ("state",))]
    for who in ("wei", "agent"):
        assert await refusal(house, who, finished.id) == [(Code.NOT_PERMITTED, ())]
    assert (await runs(house), await asked_by(house)) == ([("FINISHED", 0, None)], [])


async def test_a_run_whose_process_is_gone_is_closed_by_whoever_asks(house: House) -> None:
    async with house.engine.write() as conn:
        await factories.insert(
            conn, "score_run", id=new_id(), state="RUNNING", as_of=TODAY, table_id="", models="{}", scope="{}",
            problems="[]", customers_scored=0, customers_changed=0, milliseconds=0, started_at=NOON_MS,
            beat_at=NOON_MS, started_by="staff:x",
        )  # fmt: skip
    house.now_ms += ABANDONED_MS - 1
    await cancel(house)
    assert [row[0] for row in await runs(house)] == ["RUNNING"], "it may be alive"
    house.now_ms += 1
    await cancel(house)
    assert [row[0] for row in await runs(house)] == ["FAILED"]


async def test_a_run_hears_of_it_though_the_database_was_away_for_a_moment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shops(house, 1)
    done = await scored(house)
    async with house.engine.write() as conn:
        await conn.execute("UPDATE score_run SET cancel_asked_at = ? WHERE id = ?", NOON_MS, done.id)
    row: Any = SimpleNamespace(table="score_run", id=done.id)
    read, away = house.engine.read, iter([True, True])

    def now_and_then() -> Any:
        if next(away, False):
            raise Refused(Problem(Code.UNAVAILABLE))
        return read()

    monkeypatch.setattr(run_stops, "LOOK_S", 0.005)
    monkeypatch.setattr(house.engine, "read", now_and_then)
    async with asyncio.timeout(20), run_stops.hearing_stops(house.engine, row) as asked:
        while not asked():  # noqa: ASYNC110 - what is waited for is a row
            await asyncio.sleep(0.005)
    assert list(away) == []
