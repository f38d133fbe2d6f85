"""What a push asks the database does not grow with its changes, and what nothing says has moved is not looked for."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from backend.domain.territories import Move
from backend.ids import new_id
from backend.storage.engine import Engine, PostgresConnection, SqliteConnection
from backend.storage.visibility import PLACES, place_columns, places_sql
from backend.sync.changes import Change, Intent, Status
from backend.sync.collections import COLLECTIONS
from backend.sync.doctor import check_feed
from backend.usecases.territories import move_customers
from backend.wiring import USE_CASES
from tests.sync.offices import Office, visit_fields

STATEMENTS_MAX = 26
"""What a push of changes to visits asks, whatever their number; without beginning and end of its transaction."""


@pytest.mark.parametrize("collection", sorted(PLACES))
def test_every_column_that_places_a_record_is_known(collection: str) -> None:
    columns = place_columns(collection)
    if columns is None:
        return
    sql = places_sql(collection)
    tables = set(re.findall(r"(?:FROM|JOIN) (\w+)", sql))
    assert tables == {COLLECTIONS[collection].table}, "another table has a say"
    assert columns == set(re.findall(r"\bp\.(\w+)", sql))


def test_what_other_rows_place_is_never_taken_to_stay() -> None:
    assert {name for name in PLACES if place_columns(name) is None} == {"customers", "contacts", "forms", "attachments"}


def listening(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is asked from now on; one with many rows once, one without rows never."""
    asked: list[str] = []
    for kind in (SqliteConnection, PostgresConnection):
        for name in ("fetch", "execute", "execute_many"):
            ask = getattr(kind, name)

            async def heard(self: Any, sql: str, *args: Sequence[object], ask: Any = ask) -> Any:
                if not (ask.__name__ == "execute_many" and not args[0]):
                    asked.append(sql)
                return await ask(self, sql, *args)

            monkeypatch.setattr(kind, name, heard)
    return asked


async def test_a_push_asks_as_often_for_forty_changes_as_for_five(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    visits = [new_id() for _ in range(40)]
    for number, visit in enumerate(visits):
        phone.replica.edit("visits", visit, visit_fields(office.shops[number % 3]))
    await phone.push()
    told = []
    for some in (visits[:5], visits):
        for visit in some:
            phone.replica.edit("visits", visit, {"nextStep": f"of {len(some)}"})
        asked = listening(monkeypatch)
        assert {answer["status"] for answer in await phone.push()} == {"APPLIED"}
        monkeypatch.undo()
        told.append(asked)
    few, many = told
    assert sorted(few) == sorted(many)
    assert len(many) <= STATEMENTS_MAX
    told, stepped = (
        next(n for n, sql in enumerate(many) if start in sql) for start in ("audit_entry", "sync_clock SET")
    )
    assert told < stepped, "whoever waits for the clock does not wait for the audit"
    assert places_sql("visits") not in many, "nothing moved"
    assert not [sql for sql in many if "purchase" in sql or "FROM attachment" in sql]


async def test_what_stays_keeps_its_place_and_moves_up_in_it(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    visit = new_id()
    phone.replica.edit("visits", visit, visit_fields(office.shops[0]))
    await phone.push()
    places = "SELECT id, scope, entered_seq, left_seq FROM feed_scope WHERE collection = 'visits' AND record_id = ?"
    stood = await office.rows(places, visit)
    phone.replica.edit("visits", visit, {"nextStep": "call"})
    await phone.push()
    assert await office.rows(places, visit) == stood
    ((seq,),) = await office.rows("SELECT seq FROM feed_scope WHERE collection = 'visits' AND record_id = ?", visit)
    assert seq == await office.rev("visits", visit)
    assert (await check_feed(engine)).drifted == 0


async def test_an_edit_that_moves_a_record_is_seen_by_whom_it_came_to(engine: Engine) -> None:
    office = await Office(engine).open()
    task = new_id()
    made = {"title": "a", "assigneeId": office.rep}
    await office.online(office.manager, "tasks", Change(task, Intent.CREATE, made))
    assert (await office.patch(office.manager, "tasks", task, assigneeId=office.other_rep)).status is Status.APPLIED
    open_in = "SELECT scope FROM feed_scope WHERE collection = 'tasks' AND record_id = ? AND left_seq IS NULL"
    assert await office.rows(open_in, task) == [(f"user:{office.other_rep}",)]
    assert (await check_feed(engine)).drifted == 0


@pytest.mark.parametrize("moved_first", [True, False])
async def test_what_is_edited_and_moved_in_one_work_moves(engine: Engine, moved_first: bool) -> None:
    office = await Office(engine).open()
    visit = new_id()
    await office.online(office.rep, "visits", Change(visit, Intent.CREATE, visit_fields(office.shops[0])))
    edit = Change(visit, Intent.PATCH, {"notes": "call"}, await office.rev("visits", visit))
    async with office.work(office.manager) as work:
        if moved_first:
            await move_customers(work, [Move(office.shops[0], office.west)])
        (outcome,) = await USE_CASES["visits", Intent.PATCH](work, [edit])
        if not moved_first:
            await move_customers(work, [Move(office.shops[0], office.west)])
    assert outcome.status is Status.APPLIED
    open_in = "SELECT scope FROM feed_scope WHERE collection = 'visits' AND record_id = ? AND left_seq IS NULL"
    assert await office.rows(open_in, visit) == [(f"territory:{office.west}",)]
    assert (await check_feed(engine)).drifted == 0
