"""One record has one id in one written form, and a number is no text: by every door the other form is refused, typed,
nothing of it is written and, where it came from a device, nothing of it is lost."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from backend.errors import Refused
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Status
from backend.sync.push import Mutation, push
from backend.sync.rxdb_push import PushRow, answer_push
from backend.sync.watermelon_push import answer_watermelon_push
from backend.sync.work import Door, Work
from backend.wiring import USE_CASES
from tests import factories
from tests.house import House
from tests.usecases import asking

Told = list[tuple[str, str]]
"""(code, the last step of its path) of every problem"""
Creating = Callable[[House, str, str, dict[str, Any]], Awaitable[Told]]


def told(problems: Any) -> Told:
    return [(problem.code.value, problem.path[-1]) for problem in problems]


async def online(house: House, collection: str, record_id: str, fields: dict[str, Any]) -> Told:
    change = Change(record_id, Intent.CREATE, fields)
    [outcome] = await house.change("wei", USE_CASES[collection, Intent.CREATE], change)
    assert outcome.status is Status.REFUSED
    return told(outcome.problems)


async def pushed(house: House, collection: str, record_id: str, fields: dict[str, Any]) -> Told:
    sent = Mutation(new_id(), 1, collection, record_id, None, fields)

    async def story(work: Work) -> Told:
        [answer] = await push(work, [sent], USE_CASES, mutations_max=1)
        assert answer.status is Status.REFUSED
        return told(answer.problems)

    return await house.work("wei", story, door=Door.PUSH)


async def by_rxdb(house: House, collection: str, record_id: str, fields: dict[str, Any]) -> Told:
    await answer_push(
        house.engine,
        house.people["wei"],
        collection,
        [PushRow(None, {"id": record_id, **fields})],
        USE_CASES,
        rows_max=10,
        wait_ms=0,
        echo_ms=0,
        retries_max=3,
        clock=lambda: house.now_ms,
    )
    return [(one["code"], one["path"][-1]) for problems, _ in await kept(house) for one in problems]


async def by_watermelon(house: House, collection: str, record_id: str, fields: dict[str, Any]) -> Told:
    columns = {name: orjson.dumps(value).decode() if name == "lines" else value for name, value in fields.items()}
    row = {"id": record_id, "_status": "created", "_changed": "", **columns}
    with pytest.raises(Refused) as refused:
        await answer_watermelon_push(
            house.engine,
            house.people["wei"],
            {collection: {"created": [row], "updated": [], "deleted": []}},
            1,
            USE_CASES,
            rows_max=10,
            retries_max=3,
            clock=lambda: house.now_ms,
        )
    return told(refused.value.problems)


async def kept(house: House) -> list[tuple[Any, Any]]:
    """(problems, mine) of every sync issue"""
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT problems, mine FROM sync_issue ORDER BY created_at, id")
    return [(orjson.loads(row[0]), orjson.loads(row[1])) for row in rows]


async def count_of(house: House, table: str) -> int:
    async with house.engine.read() as conn:
        return int((await conn.fetch(f"SELECT count(*) FROM {table}"))[0][0])


async def a_shop(house: House) -> str:
    async def story(work: Work) -> str:
        shop = await factories.customer(work.conn, name_en="Shop", territory_id=house.patches["north"])
        work.touched("customers", shop)
        return shop

    return await house.work("system", story, door=Door.JOB)


DOORS = pytest.mark.parametrize("creating", [online, pushed, by_rxdb, by_watermelon])


@DOORS
async def test_an_id_in_capitals_is_no_id(house: House, creating: Creating) -> None:
    fields = {"nameEn": "Kim"}
    assert await creating(house, "contacts", new_id().upper(), fields) == [("INVALID_VALUE", "id")]
    assert await count_of(house, "contact") == 0
    if creating in (pushed, by_rxdb):
        assert [mine["nameEn"] for _, mine in await kept(house)] == ["Kim"]


@DOORS
async def test_a_record_named_in_capitals_is_not_found_by_them(house: House, creating: Creating) -> None:
    shop = await a_shop(house)
    fields = {"title": "Call", "customerId": shop.upper()}
    assert await creating(house, "tasks", new_id(), fields) == [("INVALID_VALUE", "customerId")]
    assert await count_of(house, "task") == 0
    if creating is not online:
        assert [mine["title"] for _, mine in await kept(house)] == ["Call"]


@DOORS
@pytest.mark.parametrize("price", ["1900", 19.5])
async def test_a_price_that_is_no_whole_number_is_refused(house: House, creating: Creating, price: object) -> None:
    shop, style = await a_shop(house), new_id()
    line = {"id": new_id(), "styleId": style, "colourId": new_id(), "unitPriceMinor": price, "cells": {new_id(): 2}}
    found = await creating(house, "orders", new_id(), {"customerId": shop, "currency": "CNY", "lines": [line]})
    assert ("INVALID_VALUE", "unitPriceMinor") in found, found
    assert await count_of(house, "sales_order") == 0
    if creating is not online:
        [(_, mine)] = await kept(house)
        # an issue shows whole numbers and texts; the rest as it was written
        assert mine["lines"][0]["unitPriceMinor"] in (price, str(price))


async def test_who_asks_for_it_in_capitals_finds_nothing(house: House) -> None:
    shop = await a_shop(house)
    for asked, found in ((shop, shop), (shop.upper(), None)):
        answer = await asking.ask(house, "admin", "query ($id: ID!) { customer(id: $id) { id } }", id=asked)
        shown = (answer.get("data") or {}).get("customer")
        assert (shown or {}).get("id") == found, answer
