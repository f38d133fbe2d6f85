"""History goes when every live device has seen it and it is old enough; who slept past that loses no work."""

from dataclasses import replace

import pytest

from backend.auth.principal import Principal, PrincipalKind
from backend.config import Settings
from backend.domain.times import DAY_MS
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.sync.changes import Change, Intent
from backend.sync.collect import Collected, History, collect, seq_at
from backend.sync.feed import read_clock
from backend.sync.pull import pull
from mobile_contract.replica import Replica
from tests.factories import NOW_MS
from tests.sync.offices import Office, Phone, visit_fields
from tests.sync.worlds import SECRET, pull_request

SETTINGS = Settings(collect_rows_per_work=2, device_note_seconds=0)
JOB = Principal(PrincipalKind.SERVICE, service_id="operator")


async def collected(office: Office, *, days: float, **settings: int) -> Collected:
    """What a collection does so many days after the beginning."""
    clock_ms = NOW_MS + round(days * DAY_MS)
    given = SETTINGS.model_copy(update=settings)
    return await collect(office.engine, JOB, settings=given, clock=lambda: clock_ms)


async def sync_on(phone: Phone, *, days: float) -> None:
    phone.line.clock_ms = NOW_MS + round(days * DAY_MS)
    await phone.sync()
    phone.line.clock_ms += 120_000
    await phone.sync()  # what the first brought is proved by the next


async def delete_task(office: Office, task: str) -> None:
    base = await office.rev("tasks", task)
    (outcome,) = await office.online(office.admin, "tasks", Change(task, Intent.DELETE, base_rev=base))
    assert outcome.status == "APPLIED"


async def task_of(office: Office, title: str = "a") -> str:
    task = new_id()
    fields = {"title": title, "customerId": office.shops[0]}
    await office.online(office.rep, "tasks", Change(task, Intent.CREATE, fields))
    return task


async def tombstones(office: Office) -> int:
    ((count,),) = await office.rows("SELECT count(*) FROM feed WHERE deleted")
    return int(count)


@pytest.fixture
async def office(engine: Engine) -> Office:
    office = await Office(engine).open()
    office.engine = engine
    return office


async def test_history_goes_once_all_have_seen_it_and_it_is_old_enough(office: Office) -> None:
    phone, other = await office.phone(office.rep), await office.phone(office.manager)
    await collected(office, days=0)  # notes how old the clock is
    for task in [await task_of(office, str(n)) for n in range(5)]:
        await delete_task(office, task)
    await collected(office, days=1)
    for day in (20, 29):
        await sync_on(phone, days=day)
        await sync_on(other, days=day)
        young = await collected(office, days=day)
        assert set(young.removed.values()) == {0}
        assert await tombstones(office) == 5
    gone = await collected(office, days=31.1)
    ((acked,),) = await office.rows("SELECT min(acked_seq) FROM device")
    assert gone.horizon == acked
    assert await tombstones(office) == 0
    assert gone.removed[History.TOMBSTONES] == 5
    assert gone.removed[History.PLACES] >= 5
    assert await office.rows("SELECT 1 FROM feed_scope WHERE left_seq IS NOT NULL") == []
    await phone.sync()
    assert (await collected(office, days=32)).removed == dict.fromkeys(gone.removed, 0)


async def test_a_device_that_lags_holds_history_back_until_it_is_dropped(office: Office) -> None:
    phone, lazy = await office.phone(office.rep), await office.phone(office.manager)
    await sync_on(lazy, days=0)
    task = await task_of(office)
    await collected(office, days=1)
    await delete_task(office, task)
    await collected(office, days=2)
    await sync_on(phone, days=179)
    assert (await collected(office, days=179)).devices_dropped == 0
    assert await tombstones(office) == 1, "somebody who may still come back has not heard of it"
    dropped = await collected(office, days=181)
    assert dropped.devices_dropped == 1
    assert await tombstones(office) == 0
    assert await office.rows(
        "SELECT state, state_reason, dropped_at IS NOT NULL FROM device WHERE id = ?", lazy.line.principal.device_id
    ) == [("REVOKED", "SILENT", True)]
    lazy.line.clock_ms = NOW_MS + 182 * DAY_MS
    with pytest.raises(Refused, match="DEVICE_REVOKED"):
        await lazy.line.ask(lazy.replica.pull_request())
    audits = await office.rows("SELECT action FROM audit_entry WHERE collection = 'devices' ORDER BY action")
    assert audits == [("DROP",), ("REVOKE",)]


@pytest.mark.requirement("R4")
async def test_who_slept_past_the_horizon_sends_first_and_then_holds_what_stands(office: Office) -> None:
    sleeper, awake = await office.phone(office.rep), await office.phone(office.manager)
    tasks = [await task_of(office, f"task {n}") for n in range(3)]
    await sync_on(sleeper, days=0)
    visit = new_id()
    sleeper.replica.edit("visits", visit, visit_fields(office.shops[0], notes="made offline"))
    sleeper.replica.edit("customers", office.shops[1], {"termsDays": 45})
    await collected(office, days=1)
    for task in tasks[:2]:
        await delete_task(office, task)
    await office.patch(office.manager, "customers", office.shops[2], street="2 Main")
    await collected(office, days=2)
    await sync_on(awake, days=60)
    # the sleeper is forgotten sooner than it would be dropped
    async with office.engine.write() as conn:
        await conn.execute("UPDATE device SET state = 'REVOKED' WHERE id = ?", sleeper.line.principal.device_id)
    assert (await collected(office, days=60)).removed[History.TOMBSTONES] == 2
    async with office.engine.write() as conn:
        await conn.execute("UPDATE device SET state = 'ACTIVE' WHERE id = ?", sleeper.line.principal.device_id)
    sleeper.line.clock_ms = NOW_MS + 60 * DAY_MS
    with pytest.raises(Refused) as refused:
        await sleeper.line.ask(sleeper.replica.pull_request())
    (problem,) = refused.value.problems
    assert (problem.code, problem.params) == (Code.CURSOR_EXPIRED, {"keepLocal": True})
    await sleeper.sync()
    assert sleeper.replica.queue == []
    assert sleeper.view("visits", visit)["notes"] == "made offline"
    assert sleeper.view("customers", office.shops[1])["termsDays"] == 45
    assert sleeper.view("customers", office.shops[2])["street"] == "2 Main"
    assert {tasks[2]} == set(sleeper.replica.views("tasks"))
    fresh = replace(sleeper, replica=Replica())
    await fresh.sync()
    await sleeper.sync()
    assert sleeper.replica.documents == fresh.replica.documents
    assert sleeper.replica.places == fresh.replica.places


async def test_a_pull_that_began_before_the_collection_sees_all_of_the_history(office: Office) -> None:
    phone, other = await office.phone(office.rep), await office.phone(office.manager)
    await collected(office, days=0)
    task = await task_of(office)
    await sync_on(phone, days=0)
    request = phone.replica.pull_request()
    await delete_task(office, task)
    await collected(office, days=1)
    await sync_on(other, days=40)
    async with office.engine.write() as conn:
        await conn.execute("UPDATE device SET state = 'REVOKED' WHERE id = ?", phone.line.principal.device_id)
    async with office.engine.read() as conn:
        await read_clock(conn)  # the snapshot is of now
        assert (await collected(office, days=40)).removed[History.TOMBSTONES] == 1
        page = await pull(conn, phone.line.principal, pull_request(request), secret=SECRET, bytes_max=10_000)
    assert {record_id for block in page.blocks for record_id in block.left} == {task}


async def test_nothing_goes_while_it_is_not_known_how_old_it_is(office: Office) -> None:
    task = await task_of(office)
    await delete_task(office, task)
    first = await collected(office, days=400)
    assert (first.horizon, first.removed[History.TOMBSTONES]) == (0, 0)
    assert (await collected(office, days=431)).removed[History.TOMBSTONES] == 1


async def test_a_seq_is_as_old_as_its_mark_unless_a_later_mark_says_otherwise(office: Office) -> None:
    async with office.engine.write() as conn:
        await conn.execute_many("INSERT INTO clock_mark (at, seq) VALUES (?, ?)", [(100, 10), (200, 20), (300, 30)])
        assert [await seq_at(conn, at) for at in (99, 100, 250, 300, 999)] == [0, 10, 20, 30, 30]
        # the server once believed it was long ago
        await conn.execute("INSERT INTO clock_mark (at, seq) VALUES (?, ?)", 150, 40)
        assert await seq_at(conn, 250) == 20


async def test_receipts_live_as_long_as_their_device_may_come_back(office: Office) -> None:
    phone = await office.phone(office.rep)
    phone.replica.edit("tasks", new_id(), {"title": "once"})
    sent = list(phone.replica.queue)
    assert [answer["status"] for answer in await phone.push()] == ["APPLIED"]
    await sync_on(phone, days=150)
    assert (await collected(office, days=209)).removed[History.RECEIPTS] == 0
    assert [answer["status"] for answer in await phone.line.hand_in(sent)] == ["APPLIED"]
    assert (await collected(office, days=210)).removed[History.RECEIPTS] == 1
    held = await office.tables()
    assert [answer["status"] for answer in await phone.line.hand_in(sent)] == ["ALREADY_HANDLED"]
    other = {**sent[0], "id": new_id()}
    assert [answer["status"] for answer in await phone.line.hand_in([other])] == ["ALREADY_HANDLED"]
    assert await office.tables() == held


async def test_a_phone_that_lost_count_is_told_where_to_go_on_and_loses_nothing(office: Office) -> None:
    """The app was set up anew under the same device id: its numbers begin again."""
    phone = await office.phone(office.rep)
    for number in range(3):
        phone.replica.edit("tasks", new_id(), {"title": f"before {number}"})
    await phone.sync()
    phone.replica = Replica()
    for number in range(4):
        phone.replica.edit("tasks", new_id(), {"title": f"after {number}"})
    await phone.sync()
    assert phone.replica.queue == []
    titles = {task["title"] for task in phone.replica.views("tasks").values()}
    assert titles == {f"before {n}" for n in range(3)} | {f"after {n}" for n in range(4)}
    assert phone.replica.client_seq == 7


async def test_a_draining_that_is_over_is_written_down(office: Office) -> None:
    phone = await office.phone(office.rep)
    async with office.engine.write() as conn:
        await conn.execute(
            "UPDATE device SET state = 'DRAINING', state_since = ?, drain_until = ? WHERE id = ?",
            NOW_MS,
            NOW_MS + 14 * DAY_MS,
            phone.line.principal.device_id,
        )
    assert (await collected(office, days=13.9)).devices_revoked == 0
    assert (await collected(office, days=14)).devices_revoked == 1
    assert await office.rows("SELECT state, state_reason FROM device WHERE state <> 'ACTIVE'") == [
        ("REVOKED", "DRAINED")
    ]


async def test_pulls_are_noted_once_a_minute_or_when_much_was_proved(office: Office) -> None:
    phone = await office.phone(office.rep)

    async def noted() -> tuple[object, ...]:
        return (await office.rows("SELECT acked_seq, pulled_at FROM device WHERE user_id = ?", office.rep))[0]

    assert await noted() == (0, NOW_MS)
    await phone.sync()
    first = await noted()
    assert first == (phone.replica.clock, NOW_MS)
    await task_of(office)
    for second in (1, 30, 59):
        phone.line.clock_ms = NOW_MS + second * 1_000
        await phone.sync()
        assert await noted() == first
    phone.line.clock_ms = NOW_MS + 60_000
    await phone.sync()
    acked, at = await noted()
    assert at == NOW_MS + 60_000
    assert acked == phone.replica.clock
    async with office.engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET seq = seq + 1000")
    await phone.sync()
    assert (await noted())[0] == acked
    await phone.sync()
    assert (await noted())[0] == acked + 1_000
