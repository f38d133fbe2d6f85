"""Where work waits, over GraphQL: from the trail and from what records keep of themselves, within scope."""

from typing import Any

import pytest

from backend.ids import new_id
from backend.usecases.customers import change_customers
from backend.usecases.tasks import change_tasks
from tests import factories
from tests.house import NOON_MS, House, create, patch
from tests.usecases.asking import ask, data

MINUTE_MS = 60_000
BOTTLENECKS = """
query ($flows: [Flow!], $territory: ID, $since: Date) {
  bottlenecks(flows: $flows, territoryId: $territory, since: $since) {
    since flows { flow records bottleneck
      states { state name stays waiting medianMinutes p90Minutes waitedBp examples } }
  }
}"""


async def shop(house: House, patch_name: str) -> str:
    shop_id = new_id()
    fields = {"nameEn": "Shop", "kind": "RETAILER", "territoryId": house.patches[patch_name]}
    await house.change("admin", change_customers, create(shop_id, fields))
    return shop_id


def states(answer: Any, flow: str) -> dict[str, tuple[int, int, int | None]]:
    [found] = [one for one in answer["bottlenecks"]["flows"] if one["flow"] == flow]
    return {one["state"]: (one["stays"], one["waiting"], one["medianMinutes"]) for one in found["states"]}


@pytest.mark.requirement("R37")
async def test_the_trail_says_how_long_tasks_stay_where(house: House) -> None:
    customer = await shop(house, "north")
    who = str(house.people["wei"].user_id)
    ids = [new_id() for _ in range(3)]
    for task in ids:
        fields = {"title": "Call", "customerId": customer, "assigneeId": who}
        await house.change("wei", change_tasks, create(task, fields))
    for minutes, task, state in ((30, ids[0], "IN_PROGRESS"), (60, ids[1], "IN_PROGRESS"), (100, ids[0], "DONE")):
        house.now_ms = NOON_MS + minutes * MINUTE_MS
        rev = await house.rev("tasks", task)
        [outcome] = await house.change("wei", change_tasks, patch(task, rev, state=state))
        assert not outcome.problems
    house.now_ms = NOON_MS + 200 * MINUTE_MS
    answer = await data(house, "wei", BOTTLENECKS, flows=["TASKS"])
    assert states(answer, "TASKS") == {"OPEN": (3, 1, 60), "IN_PROGRESS": (2, 1, 70)}
    [flow] = answer["bottlenecks"]["flows"]
    assert (flow["records"], flow["bottleneck"], answer["bottlenecks"]["since"]) == (3, None, "2026-05-26")
    found = {one["state"]: one for one in flow["states"]}
    assert found["OPEN"]["examples"] == [ids[2]]
    assert found["IN_PROGRESS"]["examples"] == [ids[1]]
    assert found["OPEN"]["name"] == "Open"
    assert states(await data(house, "na", BOTTLENECKS, flows=["TASKS"]), "TASKS") == {}


async def test_records_without_a_trail_say_what_they_keep_of_themselves(house: House) -> None:
    customer = await shop(house, "north")
    made = NOON_MS - 600 * MINUTE_MS
    common = {"customer_id": customer, "territory_id": house.patches["north"], "created_at": made, "created_by": "x"}

    async def order(conn: Any, state: str, submitted: int | None, source: str = "FIELD") -> None:
        at = None if submitted is None else made + submitted * MINUTE_MS
        row = {"state": state, "source": source, "currency": "USD", "units": 1, "total_minor": 1, "submitted_at": at}
        await factories.insert(
            conn, "sales_order", id=new_id(), ordered_on="2026-11-22", ordered_at=made, **row, **common
        )

    async def visit(conn: Any, state: str, came: int | None, left: int | None, planned: int | None = None) -> None:
        planned_at = None if planned is None else made + planned * MINUTE_MS
        came_at = None if came is None else made + came * MINUTE_MS
        left_at = None if left is None else made + left * MINUTE_MS
        row = {"rep_id": "r", "state": state, "purpose": "SELL", "verification": "VERIFIED", "happens_at": made}
        moments = {"planned_at": planned_at, "check_in_at": came_at, "check_out_at": left_at}
        await factories.insert(conn, "visit", id=new_id(), **row, **moments, **common)

    async with house.engine.write() as conn:
        for state, submitted in (("CLOSED", 20), ("SUBMITTED", 40), ("DRAFT", None), ("CANCELLED", None)):
            await order(conn, state, submitted)
        await order(conn, "CLOSED", None, "IMPORT")
        for state, came, left in (("COMPLETED", 60, 90), ("COMPLETED", -9, 41), ("CHECKED_IN", 100, None),
                                  ("PLANNED", None, None), ("MISSED", None, None), ("ABORTED", 70, None)):  # fmt: skip
            await visit(conn, state, came, left)
        for state, done in (("DONE", 120), ("OPEN", None), ("CANCELLED", None), ("SNOOZED", None)):
            at = None if done is None else made + done * MINUTE_MS
            row = {"state": state, "priority": "NORMAL", "due_sort": 0, "source": "HUMAN", "done_at": at}
            await factories.insert(
                conn, "task", id=new_id(), assignee_id=house.people["wei"].user_id, title="t", **row, **common
            )
    assert states(await data(house, "wei", BOTTLENECKS), "VISITS") == {"PLANNED": (4, 1, 70), "CHECKED_IN": (3, 1, 50)}
    async with house.engine.write() as conn:
        await conn.execute("DELETE FROM visit")
        # late by 10, before its time, not due before tomorrow, and waiting since 100 minutes
        for state, came, left, planned in (("COMPLETED", 60, 90, 50), ("COMPLETED", 60, 90, 70),
                                           ("PLANNED", None, None, 2_000), ("PLANNED", None, None, 500),
                                           ("MISSED", None, None, 50)):  # fmt: skip
            await visit(conn, state, came, left, planned)
    answer = await data(house, "wei", BOTTLENECKS)
    assert states(answer, "ORDERS") == {"DRAFT": (3, 1, 40), "SUBMITTED": (1, 1, None)}
    assert states(answer, "VISITS") == {"PLANNED": (3, 1, 10), "CHECKED_IN": (2, 0, 30)}
    assert states(answer, "TASKS") == {"OPEN": (2, 1, 120)}
    assert states(await data(house, "manager", BOTTLENECKS, territory=house.patches["north"]), "TASKS") == {
        "OPEN": (2, 1, 120)
    }
    south = await data(house, "manager", BOTTLENECKS, territory=house.patches["south"])
    assert [flow["records"] for flow in south["bottlenecks"]["flows"]] == [0, 0, 0, 0]


async def test_cases_nobody_took_and_those_that_wait_for_the_customer_are_seen_waiting(house: House) -> None:
    customer = await shop(house, "north")
    opened = NOON_MS - 600 * MINUTE_MS
    row = {
        "kind": "COMPLAINT", "customer_id": customer, "territory_id": house.patches["north"], "subject": "s",
        "priority": "P2", "escalated": False, "opened_at": opened, "due_at": NOON_MS, "late": False,
        "reopened_times": 0, "created_at": opened, "created_by": "x",
    }  # fmt: skip
    ids = [new_id() for _ in range(3)]
    async with house.engine.write() as conn:
        for case, state, waiting in zip(ids, ("NEW", "WAITING_CUSTOMER", "CLOSED"), (None, 100, None), strict=True):
            since = None if waiting is None else opened + waiting * MINUTE_MS
            await factories.insert(conn, "service_case", id=case, state=state, waiting_since=since, **row)
    answer = await data(house, "wei", BOTTLENECKS, flows=["CASES"])
    [flow] = answer["bottlenecks"]["flows"]
    told = {one["state"]: (one["stays"], one["waiting"], one["examples"]) for one in flow["states"]}
    assert told == {"NEW": (1, 1, [ids[0]]), "WAITING_CUSTOMER": (1, 1, [ids[1]])}
    assert [one["waitedBp"] for one in flow["states"]] == [5_455, 4_545]


async def test_of_a_record_older_than_its_trail_the_first_step_says_where_it_was(house: House) -> None:
    task, made = new_id(), NOON_MS - 600 * MINUTE_MS
    row = {"state": "DONE", "priority": "NORMAL", "due_sort": 0, "source": "HUMAN", "done_at": made + 90 * MINUTE_MS}
    trail = {"action": "UPDATE", "collection": "tasks", "record_id": task, "actor": "x", "door": "ONLINE"}
    steps = (("OPEN", "IN_PROGRESS", 25), ("IN_PROGRESS", "DONE", 90))
    async with house.engine.write() as conn:
        await factories.insert(
            conn,
            "task",
            id=task,
            assignee_id=house.people["wei"].user_id,
            title="t",
            created_at=made,
            created_by="x",
            **row,
        )
        for before, after, minutes in steps:
            changes = f'[{{"after":"{after}","before":"{before}","path":"state"}}]'
            at = made + minutes * MINUTE_MS
            await factories.insert(
                conn, "audit_entry", id=new_id(), at=at, fields_changed='["state"]', changes=changes, **trail
            )
    answer = await data(house, "wei", BOTTLENECKS, flows=["TASKS"])
    assert states(answer, "TASKS") == {"OPEN": (1, 0, 25), "IN_PROGRESS": (1, 0, 65)}


async def test_who_may_not_read_a_flow_is_told_which_he_may(house: House) -> None:
    async def refused(who: str, **variables: object) -> list[tuple[str, list[str], list[str]]]:
        [error] = (await ask(house, who, BOTTLENECKS, **variables))["errors"]
        return [(one["code"], one["path"], one["allowed"]) for one in error["extensions"]["problems"]]

    assert await refused("analyst", flows=["VISITS", "ORDERS"], since="2199-01-01") == [
        ("NOT_PERMITTED", ["flows", "1"], ["VISITS", "TASKS"]),
        ("IN_THE_FUTURE", ["since"], []),
    ]
    assert await refused("wei", territory=house.patches["south"]) == [("NOT_FOUND", ["territoryId"], [])]
    answer = await data(house, "analyst", BOTTLENECKS)
    assert [one["flow"] for one in answer["bottlenecks"]["flows"]] == ["VISITS", "TASKS"]
