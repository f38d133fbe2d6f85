"""Backtests on an organisation's own records: kept, one at a time, for those who may, and blind to the future."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from backend.config import Settings
from backend.domain.backtest import Ranker
from backend.domain.score_policy import PolicyWish, ScorePolicy, revised
from backend.domain.score_runs import RunState
from backend.domain.times import add_days, day_start_ms
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.storage.past import PastRows, read_past
from backend.sync.runs import Progress
from backend.usecases.backtests import BacktestRun, BacktestWish, evaluate_priority, last_evaluation
from tests import factories, histories
from tests.house import House

pytestmark = pytest.mark.requirement("R28", "R30")

TODAY = "2026-11-22"
SETTINGS = Settings(reporting_currency="USD")
DAYS, CUT = 90, "2026-08-24"
SHOPS = 24
LONG_AGO_MS = day_start_ms("2025-01-01", "Asia/Shanghai")


async def run(
    house: House,
    who: str = "analyst",
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    **options: Any,
) -> BacktestRun:
    return await evaluate_priority(
        house.engine,
        house.people[who],
        BacktestWish(**{"cuts": (CUT,), "holdout_days": DAYS, "replicates_n": 20, **options}),
        settings=SETTINGS,
        clock=lambda: house.now_ms,
        progress=progress,
        cancelled=cancelled,
    )


@pytest.fixture
async def market(house: House) -> list[str]:
    """24 shops known since long, each ordering in its own rhythm until today; the later ones buy more."""
    async with house.engine.write() as conn:
        ids = await histories.customers(conn, SHOPS, territory_id=house.patches["north"])
        await conn.execute("UPDATE customer SET created_at = ?", LONG_AGO_MS)
        rows = [
            (shop, add_days(TODAY, -place - (20 + 3 * place) * step), 1_000 * (place + 1) + step)
            for place, shop in enumerate(ids)
            for step in range(12)
        ]
        await histories.orders(conn, rows, territory_id=house.patches["north"])
    return ids


async def test_a_run_is_kept_and_the_last_one_is_shown(house: House, market: list[str]) -> None:
    found = await run(house)
    assert (found.state, found.cuts, found.holdout_days) == (RunState.FINISHED, (CUT,), DAYS)
    assert found.result is not None
    [cut] = found.result["cuts"]
    assert (cut["day"], cut["customers"]) == (CUT, SHOPS)
    assert cut["actualOrders"] > 0
    assert {one["ranking"] for one in cut["rankings"]} == set(Ranker)
    assert found.result["rfm"]["PRIORITY"] in ("BETTER", "AS_GOOD", "WORSE")
    assert "FEW_CUSTOMERS" in found.result["caveats"]
    async with house.engine.read() as conn:
        kept = await last_evaluation(conn, house.people["admin"])
    assert kept == found
    again = await run(house)
    assert again.id != found.id
    assert again.result == found.result, "the same records and seed give the same figures"
    async with house.engine.read() as conn:
        assert await last_evaluation(conn, house.people["analyst"]) == again


@pytest.mark.parametrize("who", ["wei", "manager", "agent"])
async def test_only_analysts_and_admins_run_and_read_it(house: House, who: str) -> None:
    with pytest.raises(Refused) as refused:
        await run(house, who)
    assert refused.value.problems[0].code is Code.NOT_PERMITTED
    async with house.engine.read() as conn:
        with pytest.raises(Refused):
            await last_evaluation(conn, house.people[who])
        assert await conn.fetch("SELECT id FROM priority_evaluation") == []


@pytest.mark.parametrize(
    ("options", "code", "path"),
    [
        ({"holdout_days": 13}, Code.OUT_OF_RANGE, "holdoutDays"),
        ({"replicates_n": 0}, Code.OUT_OF_RANGE, "replicates"),
        ({"seed": -1}, Code.OUT_OF_RANGE, "seed"),
        ({"seed": 2**53}, Code.OUT_OF_RANGE, "seed"),
        ({"cuts": (add_days(TODAY, -DAYS + 1),)}, Code.IN_THE_FUTURE, "cuts"),
        ({"cuts": tuple(add_days(CUT, -step) for step in range(9))}, Code.TOO_MANY, "cuts"),
        ({"cuts": ("2020-01-01",)}, Code.OUT_OF_RANGE, "customers"),
    ],
)
async def test_what_cannot_be_judged_is_named(
    house: House, market: list[str], options: dict[str, Any], code: Code, path: str
) -> None:
    with pytest.raises(Refused) as refused:
        await run(house, **options)
    [problem] = refused.value.problems
    assert (problem.code, problem.path) == (code, (path,))
    async with house.engine.read() as conn:
        states = await conn.fetch("SELECT state FROM priority_evaluation")
        assert await last_evaluation(conn, house.people["admin"]) is None, "a run that failed is not shown"
    assert [row[0] for row in states] == (["FAILED"] if path == "customers" else [])


@pytest.mark.parametrize("phase", ["READ", "RANK", "COMPARE"])
async def test_one_that_is_stopped_says_so_has_no_result_and_holds_nobody_up(
    house: House, market: list[str], phase: str
) -> None:
    told: list[str] = []
    found = await run(house, progress=lambda name, _done, _total: told.append(name), cancelled=lambda: phase in told)
    assert (found.state, found.result, told.count(phase)) == (RunState.CANCELLED, None, 1)
    async with house.engine.read() as conn:
        assert await last_evaluation(conn, house.people["admin"]) is None, "one that was stopped is not shown"
    told.clear()
    whole = await run(house, progress=lambda name, _done, _total: told.append(name))
    assert whole.state is RunState.FINISHED
    assert list(dict.fromkeys(told)) == ["READ", "RANK", "COMPARE"]


async def test_one_whose_caller_goes_away_computes_no_further(house: House, market: list[str]) -> None:
    reached, goes_on = threading.Event(), threading.Event()
    told: list[str] = []

    def tell(phase: str, _done: int, _total: int) -> None:
        told.append(phase)
        if phase == "RANK":
            reached.set()
            assert goes_on.wait(60)

    task = asyncio.create_task(run(house, progress=tell))
    assert await asyncio.to_thread(reached.wait, 60)
    task.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await task
    goes_on.set()
    async with asyncio.timeout(60):
        # the loop's threads are one pool: what waits for them has waited for the run's
        await asyncio.get_running_loop().shutdown_default_executor()
    assert "COMPARE" not in told
    async with house.engine.read() as conn:
        assert [row[0] for row in await conn.fetch("SELECT state FROM priority_evaluation")] == ["CANCELLED"]


async def test_one_at_a_time_and_one_that_died_is_closed(house: House, market: list[str]) -> None:
    async with house.engine.write() as conn:
        await conn.execute(
            "INSERT INTO priority_evaluation (id, state, cuts, holdout_days, seed, problems, milliseconds, started_at,"
            " beat_at, started_by) VALUES (?, 'RUNNING', '[]', 90, 1, '[]', 0, ?, ?, 'staff:x')",
            new_id(),
            house.now_ms,
            house.now_ms,
        )
    with pytest.raises(Refused) as refused:
        await run(house)
    assert refused.value.problems[0].code is Code.BUSY
    house.now_ms += 200_000
    await run(house)
    async with house.engine.read() as conn:
        states = await conn.fetch("SELECT state FROM priority_evaluation ORDER BY started_at")
    assert [row[0] for row in states] == ["FAILED", "FINISHED"]


async def task(conn: Connection, **columns: object) -> str:
    record = {"id": new_id(), "title": "call", "state": "OPEN", "priority": "NORMAL", "due_sort": 0, "source": "OWN",
              "created_by": "system", **columns}  # fmt: skip
    await factories.insert(conn, "task", **record)
    return str(record["id"])


async def visit(conn: Connection, **columns: object) -> str:
    record = {"id": new_id(), "purpose": "ROUTINE", "verification": "NONE", "happens_at": 0, "created_by": "system",
              **columns}  # fmt: skip
    await factories.insert(conn, "visit", **record)
    return str(record["id"])


async def answered(conn: Connection, shop: str, at: int, value: int, **columns: object) -> str:
    record: dict[str, object] = {"id": new_id(), "form_id": new_id(), "customer_id": shop, "said": "{}",
              "answered_at": at, "created_at": at, "created_by": "system", **columns}  # fmt: skip
    record.setdefault("root_id", record["id"])
    await factories.insert(conn, "answer", **record)
    await factories.insert(
        conn, "answer_measure", id=new_id(), answer_id=record["id"], position=0, measure="CSAT", question="csat",
        value=value,
    )  # fmt: skip
    return str(record["id"])


async def complaint(conn: Connection, shop: str, at: int, **columns: object) -> str:
    record = {"id": new_id(), "kind": "COMPLAINT", "customer_id": shop, "subject": "late", "priority": "P1",
              "state": "NEW", "escalated": False, "opened_at": at, "due_at": at + 86_400_000, "late": False,
              "reopened_times": 0, "created_at": at, "created_by": "system", **columns}  # fmt: skip
    await factories.insert(conn, "service_case", **record)
    return str(record["id"])


async def past(house: House) -> PastRows:
    async with house.engine.read() as conn:
        return await read_past(conn, CUT, DAYS, SETTINGS.organisation_timezone)


def known(found: PastRows) -> Any:
    """All a cut knows; of the orders only those until it."""
    orders = sorted(row for row in map(tuple, found.orders.rows) if row[1] <= CUT)
    facts = (found.facts.visits, found.facts.appointments, found.facts.tasks)
    told = (found.feedback.told, found.feedback.cases)
    return (
        found.heads.ids, orders, found.habits.breadth_n.tolist(), [list(map(tuple, rows)) for rows in (*facts, *told)],
        found.feedback.cases_recorded,
    )  # fmt: skip


async def test_whatever_happens_after_a_cut_changes_nothing_that_was_known_at_it(
    house: House, market: list[str]
) -> None:
    rep, later, before = str(house.people["wei"].user_id), house.now_ms, day_start_ms(CUT, "Asia/Shanghai")
    async with house.engine.write() as conn:
        open_task = await task(
            conn, customer_id=market[0], assignee_id=rep, due_on="2026-08-01", created_at=LONG_AGO_MS
        )
        agreed = await visit(
            conn, customer_id=market[1], rep_id=rep, state="PLANNED", planned_at=before + 3 * 86_400_000,
            happens_at=before, created_at=LONG_AGO_MS,
        )  # fmt: skip
        kept = await visit(
            conn, customer_id=market[2], rep_id=rep, state="COMPLETED", check_in_at=before - 86_400_000,
            happens_at=before, created_at=LONG_AGO_MS,
        )  # fmt: skip
        happy = await answered(conn, market[3], before - 86_400_000, 5)
        heard = await complaint(conn, market[4], before - 86_400_000)
    then, scored = await past(house), await run(house)
    assert [(row[2], row[7]) for row in then.feedback.told] == [(5, happy)]
    assert [(row[4], row[10]) for row in then.feedback.cases] == [(None, heard)]
    assert [row[1] for row in then.facts.tasks] == [open_task]
    assert [row[2] for row in then.facts.appointments] == [agreed]
    assert [row[2] for row in then.facts.visits] == [kept]
    async with house.engine.write() as conn:
        # the task is done, the appointment is kept, others come, a new shop opens, everybody orders again
        await conn.execute("UPDATE task SET state = 'DONE', done_at = ? WHERE id = ?", later, open_task)
        await conn.execute(
            "UPDATE visit SET state = 'COMPLETED', check_in_at = ? WHERE id = ?", before + 3 * 86_400_000, agreed
        )
        await task(conn, customer_id=market[5], assignee_id=rep, created_at=later)
        await visit(
            conn, customer_id=market[6], rep_id=rep, state="PLANNED", planned_at=before + 86_400_000,
            happens_at=before, created_at=later,
        )  # fmt: skip
        await visit(
            conn, customer_id=market[7], rep_id=rep, state="COMPLETED", check_in_at=later, happens_at=later,
            created_at=LONG_AGO_MS,
        )  # fmt: skip
        # what was said is corrected, the complaint settled late and opened once more, others say and complain
        await answered(conn, market[3], before - 86_400_000, 1, root_id=happy, corrects_id=happy, created_at=later)
        await answered(conn, market[8], later, 1)
        await conn.execute(
            "UPDATE service_case SET state = 'CLOSED', resolved_at = ?, late = TRUE, reopened_times = 2,"
            " waiting_since = ? WHERE id = ?",
            later,
            later,
            heard,
        )
        await complaint(conn, market[9], later)
        [new_shop] = await histories.customers(conn, 1, territory_id=house.patches["north"])
        await conn.execute("UPDATE customer SET created_at = ?, cadence_days = 3 WHERE id = ?", later, new_shop)
        await histories.orders(conn, [(shop, add_days(CUT, 7), 999_999) for shop in (*market[:9], new_shop)])
    now, again = await past(house), await run(house)
    assert known(then) == known(now)
    assert scored.result is not None
    assert again.result is not None
    first, second = scored.result["cuts"][0], again.result["cuts"][0]
    assert [one["expectedOrders"] for one in first["deciles"]] == [one["expectedOrders"] for one in second["deciles"]]
    assert (first["expectedOrders"], first["customers"]) == (second["expectedOrders"], second["customers"])
    assert first["actualOrders"] < second["actualOrders"], "what came after did change"


async def test_a_currency_without_a_rate_leaves_its_customers_out_and_says_so(house: House, market: list[str]) -> None:
    async with house.engine.write() as conn:
        await histories.orders(conn, [(market[0], "2026-01-05", 5)], currency="KRW")
    found = await run(house)
    assert found.result is not None
    assert found.result["cuts"][0]["customers"] == SHOPS - 1
    assert "NO_RATE_LEFT_OUT" in found.result["caveats"]


async def test_the_kept_document_is_what_json_knows(house: House, market: list[str]) -> None:
    await run(house)
    async with house.engine.read() as conn:
        [(text,)] = await conn.fetch("SELECT result FROM priority_evaluation")
    assert "NaN" not in text
    assert orjson.loads(text)["seed"] == 20_261_122


async def test_a_draft_of_the_weights_is_judged_before_it_is_published(house: House, market: list[str]) -> None:
    heavier = revised(ScorePolicy(), PolicyWish(weights=[("VALUE_AT_STAKE", 50), ("SAVABLE_REVENUE", 0)]), 7)
    assert heavier[1] == []
    async with house.engine.write() as conn:
        await conn.execute(
            "INSERT INTO score_policy (id, number, state, document, note, drafted_at, drafted_by)"
            " VALUES (?, 7, 'DRAFT', ?, NULL, 0, 'staff:x')",
            new_id(),
            orjson.dumps(heavier[0].document()).decode(),
        )
    results = [(await run(house)).result, (await run(house, policy=7)).result]
    ginis = []
    for result, number in zip(results, (0, 7), strict=True):
        assert result is not None
        assert result["policy"] == number
        ginis.append({one["ranking"]: one["gini"] for one in result["cuts"][0]["rankings"]})
    assert ginis[0]["PRIORITY"] != ginis[1]["PRIORITY"]
    assert ginis[0]["RFM"] == ginis[1]["RFM"]
    with pytest.raises(Refused) as refused:
        await run(house, policy=8)
    assert [(one.code, one.path) for one in refused.value.problems] == [(Code.NOT_FOUND, ("policy",))]


async def test_a_source_that_was_not_in_use_then_was_not_recorded(house: House, market: list[str]) -> None:
    async with house.engine.write() as conn:
        await complaint(conn, market[0], house.now_ms)
    assert (await past(house)).feedback.cases_recorded is False
    async with house.engine.write() as conn:
        await complaint(conn, market[0], LONG_AGO_MS)
    assert (await past(house)).feedback.cases_recorded is True
