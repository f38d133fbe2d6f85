"""The history of a record and the audit trail, as they are asked for."""

from typing import Any

import orjson
import pytest

from backend.auth.principal import Principal, PrincipalKind
from backend.domain.territories import Move
from backend.ids import new_id
from backend.schema.context import Context
from backend.schema.execute import encode, execute
from backend.storage.audit import entry_of, save_audit_alone
from backend.sync.changes import Change, Intent
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.merges import merge_records
from backend.usecases.orders import change_orders
from backend.usecases.territories import move_customers
from backend.wiring import USE_CASES
from tests.house import House, create, patch
from tests.usecases.asking import DOCUMENTS, PLANS, SCHEMA, SETTINGS, ask, data
from tests.usecases.catalogues import stock

HISTORY = """
query ($id: ID!, $first: Int, $after: String) {
  history(id: $id, first: $first, after: $after) {
    collection recordId deleted pageInfo { hasNextPage endCursor }
    entries {
      at capturedAt action actionLabel door doorLabel actorName deviceName reason fields recordId
      changes { path label before after beforeText afterText masked cut }
    }
  }
}"""
TRAIL = """
query ($filter: AuditFilter, $first: Int, $after: String) {
  auditTrail(filter: $filter, first: $first, after: $after) {
    nodes { id at actor actorName action door collection recordId deviceId fields changes personalChanges }
    pageInfo { hasNextPage endCursor }
  }
}"""


async def shop_of(house: House, who: str = "wei", **fields: object) -> str:
    shop = new_id()
    await house.change(who, change_customers, create(shop, {"nameEn": "Shop", "kind": "RETAILER", **fields}))
    return shop


async def edit(house: House, who: str, shop: str, **fields: object) -> None:
    await house.change(who, change_customers, patch(shop, await house.rev("customers", shop), **fields))


async def history(house: House, who: str, record_id: str, locale: str = "en", **page: object) -> Any:
    answer = await ask(house, who, HISTORY, locale, id=record_id, **page)
    assert "errors" not in answer, answer["errors"]
    return answer["data"]["history"]


def changes_of(entry: Any) -> dict[str, tuple[Any, Any]]:
    return {change["path"]: (change["before"], change["after"]) for change in entry["changes"]}


@pytest.mark.requirement("R32")
async def test_a_history_says_who_changed_what_when_and_by_which_door(house: House) -> None:
    shop = await shop_of(house)
    house.now_ms += 60_000
    base = await house.rev("customers", shop)
    given = Change(shop, Intent.PATCH, {"termsDays": 60}, base, captured_at_ms=house.now_ms - 5_000)
    await house.change("wei", change_customers, given)
    newest, oldest = (await history(house, "wei", shop))["entries"]
    assert (newest["action"], newest["door"], newest["actorName"]) == ("UPDATE", "ONLINE", "wei")
    assert (newest["at"], newest["capturedAt"]) == ("2026-11-22T04:01:00.000Z", "2026-11-22T04:00:55.000Z")
    assert newest["deviceName"]
    assert changes_of(newest) == {"termsDays": (None, 60)}
    assert oldest["action"] == "CREATE"
    assert changes_of(oldest)["nameEn"] == (None, "Shop")


@pytest.mark.parametrize(
    ("locale", "label", "action", "door"),
    [
        ("en", "Payment terms (days)", "Changed", "Online"),
        ("zh-CN", "账期（天）", "修改", "在线"),
        ("ko", "결제 조건(일)", "수정", "온라인"),
    ],
)
async def test_fields_and_deeds_are_named_in_the_readers_language(
    house: House, locale: str, label: str, action: str, door: str
) -> None:
    shop = await shop_of(house)
    await edit(house, "wei", shop, termsDays=60)
    entry = (await history(house, "wei", shop, locale))["entries"][0]
    assert (entry["changes"][0]["label"], entry["actionLabel"], entry["doorLabel"]) == (label, action, door)


async def test_only_who_sees_the_record_reads_its_history(house: House) -> None:
    shop = await shop_of(house)
    assert await history(house, "na", shop) is None
    assert await history(house, "wei", new_id()) is None
    assert await history(house, "wei", "no id") is None
    house.now_ms += 1
    await house.work("admin", lambda work: move_customers(work, [Move(shop, house.patches["south"])], "retired"))
    assert await history(house, "wei", shop) is None
    moved = (await history(house, "na", shop))["entries"][0]
    assert (moved["action"], moved["actorName"], moved["reason"]) == ("MOVE", "admin", "retired")
    assert changes_of(moved) == {"territoryId": (house.patches["north"], house.patches["south"])}


@pytest.mark.requirement("R49")
async def test_masked_roles_read_personal_values_masked(house: House) -> None:
    shop, contact = await shop_of(house), new_id()
    await house.change("wei", change_contacts, create(contact, {"nameEn": "Kim", "phone": "+821012345678"}))
    link = {"customerId": shop, "contactId": contact, "role": "BUYER"}
    await house.change("wei", change_customer_contacts, create(new_id(), link))
    base = await house.rev("contacts", contact)
    await house.change("wei", change_contacts, patch(contact, base, phone="+821099999999", preferredChannel="WECHAT"))
    found = await ask(house, "analyst", HISTORY, id=contact)
    assert "1099999999" not in orjson.dumps(found).decode()
    assert "Kim" not in orjson.dumps(found).decode()
    newest = found["data"]["history"]["entries"][0]
    told = {change["path"]: change for change in newest["changes"]}
    assert (told["phone"]["before"], told["phone"]["after"], told["phone"]["masked"]) == ("+•••", "+•••", True)
    assert (told["preferredChannel"]["after"], told["preferredChannel"]["masked"]) == ("WECHAT", False)
    assert changes_of((await history(house, "wei", contact))["entries"][0])["phone"][1] == "+821099999999"


async def test_a_shops_name_is_nobodys_and_a_consumers_is_a_persons(house: House) -> None:
    shop, person = await shop_of(house), await shop_of(house, kind="CONSUMER", nameEn="Kim Minji")
    shown = {
        record_id: changes_of((await history(house, "analyst", record_id))["entries"][0])["nameEn"][1]
        for record_id in (shop, person)
    }
    assert shown == {shop: "Shop", person: "K•••"}


async def test_pages_go_on_where_the_last_one_ended(house: House) -> None:
    shop = await shop_of(house)
    for days in range(10, 17):
        await edit(house, "wei", shop, termsDays=days)
    seen, after = [], None
    while True:
        page = await history(house, "wei", shop, first=3, after=after)
        seen += [entry["action"] for entry in page["entries"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == ["UPDATE"] * 7 + ["CREATE"]
    for first in (-1, SETTINGS.history_rows_max + 1):
        refused = await ask(house, "wei", HISTORY, id=shop, first=first)
        assert refused["errors"][0]["extensions"]["code"] == "OUT_OF_RANGE"
    refused = await ask(house, "wei", HISTORY, id=shop, after="zz")
    assert refused["errors"][0]["extensions"]["code"] == "CURSOR_INVALID"


async def test_a_deleted_record_shows_its_history_to_who_would_see_it_and_can_be_brought_back(house: House) -> None:
    shop = await shop_of(house)
    await house.change("admin", change_customers, Change(shop, Intent.DELETE))
    found = await history(house, "wei", shop)
    assert (found["deleted"], found["entries"][0]["action"]) == (True, "DELETE")
    assert await history(house, "na", shop) is None
    restore = """
    mutation ($id: ID!) {
      restoreCustomer(id: $id) { __typename ... on CustomerChanged { status customer { nameEn } } }
    }"""
    assert (await data(house, "wei", restore, id=shop))["restoreCustomer"] == {
        "__typename": "CustomerChanged",
        "status": "APPLIED",
        "customer": {"nameEn": "Shop"},
    }
    assert [entry["action"] for entry in (await history(house, "wei", shop))["entries"]] == [
        "RESTORE",
        "DELETE",
        "CREATE",
    ]
    refused = await data(house, "na", restore, id=shop)
    assert refused["restoreCustomer"]["__typename"] == "Refusal"


async def test_the_history_of_a_merged_record_is_its_survivors(house: House) -> None:
    survivor, merged = await shop_of(house, nameEn="Stays"), await shop_of(house, nameEn="Goes", termsDays=30)
    await house.work("manager", lambda work: merge_records(work, "customers", survivor, [merged]))
    found = await history(house, "wei", merged)
    assert (found["recordId"], found["deleted"]) == (survivor, False)
    told = [(entry["action"], entry["recordId"]) for entry in found["entries"]]
    assert {("MERGE", survivor), ("DELETE", merged), ("CREATE", merged), ("CREATE", survivor)} <= set(told)


async def test_a_cell_of_an_order_is_told_by_its_size_and_colour(house: House) -> None:
    shelf = await house.work("system", stock)
    shop = await shop_of(house, priceListId=shelf.price_list, currency="CNY")
    order, line = new_id(), new_id()
    given = {"customerId": shop, "currency": "CNY", "source": "FIELD"}
    cells = {"id": line, "styleId": shelf.style, "colourId": shelf.colour, "cells": {shelf.small: 2}}
    [outcome] = await house.change("wei", change_orders, create(order, {**given, "lines": [cells]}))
    assert not outcome.problems
    base = await house.rev("orders", order)
    await house.change("wei", change_orders, patch(order, base, lines=[{"id": line, "cells": {shelf.small: 7}}]))
    newest = (await history(house, "wei", order))["entries"][0]
    told = {change["path"]: change for change in newest["changes"]}
    cell = told[f"lines.{line}.cells.{shelf.small}"]
    assert (cell["before"], cell["after"], cell["beforeText"], cell["afterText"]) == (2, 7, "2", "7")
    assert shelf.small not in cell["label"]
    assert "totalMinor" in told


# -- the trail ----------------------------------------------------------------------------------------------------


async def trail(house: House, who: str, first: int = 100, **filter: object) -> list[Any]:
    answer = await ask(house, who, TRAIL, filter=filter, first=first)
    assert "errors" not in answer, answer["errors"]
    nodes: list[Any] = answer["data"]["auditTrail"]["nodes"]
    return nodes


@pytest.mark.parametrize("who", ["wei", "agent", "analyst"])
async def test_who_has_no_right_to_the_trail_is_refused(house: House, who: str) -> None:
    refused = await ask(house, who, TRAIL)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
    assert await audits_of(house, "READ") == []


async def test_the_trail_of_one_actor_is_of_a_colleague_or_of_another_system_and_of_nobody_else(house: House) -> None:
    shop, service = await shop_of(house), new_id()
    await edit(house, "manager", shop, termsDays=30)
    erp = Principal(PrincipalKind.SERVICE, service_id=service)
    entry = entry_of(erp, "UPDATE", "customers", shop, at_ms=house.now_ms)
    await save_audit_alone(house.engine, [entry])
    for actor, told in (
        (str(house.people["wei"].user_id), house.people["wei"].actor),
        (str(house.people["manager"].user_id), house.people["manager"].actor),
        (service, erp.actor),
    ):
        assert {one["actor"] for one in await trail(house, "admin", actor=actor, record=shop)} == {told}
        assert {one["actor"] for one in await trail(house, "admin", actor=actor, action=["UPDATE"])} <= {told}
    assert await trail(house, "admin", actor=new_id()) == []
    both = await trail(house, "admin", record=shop, action=["CREATE", "UPDATE"])
    assert [one["action"] for one in both].count("UPDATE") == 2


async def audits_of(house: House, action: str) -> list[tuple[str, list[str]]]:
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT actor, fields_changed FROM audit_entry WHERE action = ? ORDER BY at, id", action
        )
    return [(row[0], orjson.loads(row[1])) for row in rows]


@pytest.mark.requirement("R32")
async def test_looking_at_the_trail_is_audited_once_per_request(house: House) -> None:
    shop = await shop_of(house)
    twice = """
    query ($id: ID!) {
      a: auditTrail(filter: {record: $id, action: [CREATE]}) { nodes { id } }
      b: auditTrail(filter: {record: $id, collection: "customers"}) { nodes { id } }
    }"""
    found = await data(house, "manager", twice, id=shop)
    asked = ("action", "recordId")
    assert len(found["a"]["nodes"]) == len(found["b"]["nodes"]) == 1
    assert await audits_of(house, "READ") == [(house.people["manager"].actor, [*asked])]
    # his own looking is the latest that was done
    assert [entry["actorName"] for entry in await trail(house, "admin", action=["READ"])] == ["admin", "manager"]


async def test_a_manager_reads_what_his_people_did_and_what_was_done_within_his_territories(house: House) -> None:
    shop = await shop_of(house)
    unplaced = await shop_of(house, "admin")
    await edit(house, "admin", shop, termsDays=30)

    async def narrow(work: Any) -> None:
        """The manager holds the north alone from now on."""
        await work.conn.execute(
            "UPDATE user_scope SET revoked_seq = 1, revoked_at = 1 WHERE user_id = ? AND scope IN (?, ?, ?, ?, ?)",
            house.people["manager"].user_id,
            f"territory:{house.patches['south']}",
            f"tasks:{house.patches['south']}",
            "unassigned_tasks",
            f"user:{house.people['na'].user_id}",
            "unassigned",
        )

    south = await shop_of(house, "na")
    na = str(house.people["na"].user_id)
    assert south in {entry["recordId"] for entry in await trail(house, "manager", actor=na)}
    assert {entry["recordId"] for entry in await trail(house, "manager", collection="customers")} >= {shop, south}
    await house.work("system", narrow)
    seen = {entry["recordId"] for entry in await trail(house, "manager", collection="customers")}
    assert shop in seen
    assert not {south, unplaced} & seen
    assert await trail(house, "manager", actor=na, collection="customers") == []
    assert [entry["recordId"] for entry in await trail(house, "admin", actor=na, collection="customers")] == [south]
    assert {shop, south, unplaced} <= {entry["recordId"] for entry in await trail(house, "admin")}
    await house.change("admin", change_customers, Change(shop, Intent.DELETE))
    assert "DELETE" in {entry["action"] for entry in await trail(house, "manager", record=shop)}


async def test_every_filter_holds_and_pages_go_on(house: House) -> None:
    shop = await shop_of(house)
    for days in range(10, 15):
        house.now_ms += 1_000
        await edit(house, "wei", shop, termsDays=days)
    wei = house.people["wei"]
    assert len(await trail(house, "admin", record=shop, action=["UPDATE"])) == 5
    for door, entries in (["ONLINE"], 5), (["PUSH"], 0), (["PUSH", "ONLINE"], 5):
        # whoever looks is told too, as online
        assert len(await trail(house, "admin", record=shop, action=["UPDATE"], door=door)) == entries, door
    assert len(await trail(house, "admin", device=wei.device_id, actor=wei.user_id, record=shop)) == 6
    assert len(await trail(house, "admin", actor=house.people["na"].user_id)) == 0
    middle: dict[str, Any] = {"from": "2026-11-22T04:00:02.000Z", "until": "2026-11-22T04:00:04.000Z"}
    assert [entry["at"][17:19] for entry in await trail(house, "admin", record=shop, **middle)] == ["03", "02"]
    refused = await ask(house, "admin", TRAIL, filter={"from": middle["until"], "until": middle["from"]})
    assert refused["errors"][0]["extensions"]["code"] == "OUT_OF_RANGE"
    # who looked at the trail of this record is told under another collection
    about = {"record": shop, "collection": "customers"}
    seen, after = [], None
    while True:
        page = (await data(house, "admin", TRAIL, filter=about, first=2, after=after))["auditTrail"]
        seen += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert len(seen) == len(set(seen)) == 6


async def test_the_compiled_answer_is_the_ordinary_one(house: House) -> None:
    shop = await shop_of(house, kind="CONSUMER")
    await edit(house, "wei", shop, termsDays=60, phone="+8613900000000")
    answers = []
    for compiled in (True, False):
        context = _context(house, house.people["admin"], compiled)
        given = {"filter": {"record": shop, "collection": "customers"}, "first": 10}
        answers.append(orjson.loads(encode(await execute(SCHEMA, context, DOCUMENTS, TRAIL, given))))
        assert (context.reads.compiled > 0) is compiled
    assert answers[0] == answers[1]
    assert answers[0]["data"]["auditTrail"]["nodes"][0]["personalChanges"]


def _context(house: House, principal: Principal, compiled: bool) -> Context:
    return Context(
        engine=house.engine,
        principal=principal,
        settings=SETTINGS,
        clock=lambda: house.now_ms,
        now_ms=house.now_ms,
        plans=PLANS,
        use_cases=USE_CASES,
        cursor_secret=b"test",
        compiled=compiled,
    )
