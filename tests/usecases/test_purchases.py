"""What is kept of every customer's orders, always what the orders themselves say."""

from contextlib import suppress
from random import Random
from typing import Any

import numpy as np
import pytest

from backend.config import Settings
from backend.domain.history import HistoryColumns, history_of
from backend.domain.orders import OrderState
from backend.domain.times import add_days, day_number, day_start_ms
from backend.errors import Refused
from backend.ids import new_id
from backend.storage import purchases
from backend.storage.engine import Connection
from backend.storage.purchases import (
    PurchasesRead,
    account_differs,
    customers_drifted,
    purchase_pages,
    sales_of_purchases,
)
from backend.storage.statistics import crowd_of, read_heads, read_orders, read_rates, sales_of
from backend.sync.changes import Change, Draft, Intent, save_drafts
from backend.sync.purchases import check_purchases, rebuild_purchases
from backend.sync.work import Door, Work
from backend.usecases.customers import change_customers
from backend.usecases.insights import run_scores
from backend.usecases.merges import merge_records, undo_merge
from backend.usecases.orders import change_orders
from tests import factories, histories
from tests.house import NOON_MS, House, create, patch
from tests.usecases.catalogues import Shelf, stock
from tests.usecases.test_imports import HISTORY, batch_id, history, run, undo

TODAY = "2026-11-22"
SETTINGS = Settings(reporting_currency="CNY")
DAY_MS = 86_400_000
COLUMNS = tuple(HistoryColumns.__slots__)


async def shops(house: House, count: int, **fields: object) -> list[str]:
    ids = sorted(new_id() for _ in range(count))
    for shop_id in ids:
        wish = {"nameEn": f"Shop {shop_id[-4:]}", "kind": "RETAILER", "currency": "CNY", **fields}
        [outcome] = await house.change("wei", change_customers, create(shop_id, wish))
        assert not outcome.problems
    return ids


async def sound(house: House) -> None:
    """Every customer's rows are what counting all of his orders anew finds."""
    async with house.engine.read() as conn:
        ids = [row[0] for row in await conn.fetch("SELECT id FROM customer")]
        gone = [row[0] for row in await conn.fetch("SELECT DISTINCT customer_id FROM purchase")]
        assert await customers_drifted(conn, sorted({*ids, *gone})) == []
        assert not await account_differs(conn)


async def kept(house: House) -> list[tuple[Any, ...]]:
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT customer_id, day, currency, amount_minor, orders_n FROM purchase"
            " ORDER BY customer_id, day, currency, amount_minor"
        )
    return [tuple(row) for row in rows]


async def both_histories(conn: Connection, day: str) -> tuple[HistoryColumns, HistoryColumns]:
    """From the table that is kept, and from every order."""
    crowd = await crowd_of(conn, day)
    ids = (await read_heads(conn, crowd)).ids
    read = PurchasesRead()
    async for page in purchase_pages(conn, ids, day, customers_n=2):
        read.take(*page)
    how: dict[str, Any] = {"customers_n": len(ids), "currency": "CNY"}
    sales = (
        sales_of_purchases(read.columns(await read_rates(conn)), **how),
        sales_of(await read_orders(conn, crowd), **how),
    )
    assert (sales[0].left_out == sales[1].left_out).all()
    assert sales[0].missing == sales[1].missing
    first, second = (history_of(found.orders, customers_n=len(ids), as_of_day=day_number(day)) for found in sales)
    return first, second


async def same_histories(house: House, *days: str) -> None:
    async with house.engine.read() as conn:
        for day in days:
            first, second = await both_histories(conn, day)
            for name in COLUMNS:
                np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


class Seller:
    """Random doings to the orders of a few shops, by the doors there are."""

    def __init__(self, house: House, shelf: Shelf, ids: list[str], dice: Random) -> None:
        self.house, self.shelf, self.ids, self.dice = house, shelf, ids, dice
        self.orders: list[str] = []

    async def step(self) -> None:
        doing = self.dice.choice([self.order, self.order, self.offline, self.decide, self.decide, self.history])
        await doing()

    def line(self) -> dict[str, Any]:
        cells = {self.shelf.small: self.dice.randint(1, 3)}
        return {"id": new_id(), "styleId": self.shelf.style, "colourId": self.shelf.colour, "cells": cells}

    async def order(self, captured_at_ms: int | None = None) -> None:
        """Several at once, some of them only drafts."""
        wishes = []
        for _ in range(self.dice.randint(1, 3)):
            state = self.dice.choice(["DRAFT", "SUBMITTED", "SUBMITTED"])
            fields = {"customerId": self.dice.choice(self.ids), "currency": "CNY", "lines": [self.line()]}
            wishes.append(create(new_id(), {**fields, "state": state}, captured_at_ms=captured_at_ms))
        outcomes = await self.house.change("wei", change_orders, *wishes)
        assert not [outcome.problems for outcome in outcomes if outcome.problems]
        self.orders += [wish.id for wish in wishes]
        self.house.now_ms += self.dice.choice([0, 3_600_000, DAY_MS])

    async def offline(self) -> None:
        """What a phone took days ago comes only now."""
        await self.order(self.house.now_ms - self.dice.randint(1, 20) * DAY_MS)

    async def decide(self) -> None:
        """One step further with an order, where its state has one."""
        if not self.orders:
            return
        order_id = self.dice.choice(self.orders)
        [state] = await self.house.row("sales_order", order_id, "state")
        who, further = {
            "DRAFT": ("wei", [{"state": "SUBMITTED"}, {"lines": [self.line()]}, {"state": "CANCELLED"}]),
            "SUBMITTED": ("manager", [{"state": "CONFIRMED"}, {"state": "REJECTED", "rejectReason": "No credit"}]),
            "CONFIRMED": ("manager", [{"state": "CANCELLED"}, {"poNumber": "A-7"}]),
            "REJECTED": ("wei", [{"state": "DRAFT"}]),
        }.get(str(state), ("wei", []))
        if further:
            rev = await self.house.rev("orders", order_id)
            await self.house.change(who, change_orders, patch(order_id, rev, **self.dice.choice(further)))

    async def history(self) -> None:
        """Of another system: two of one day and amount, and a sample without a price, in a currency of their own."""
        day = add_days(TODAY, -self.dice.randint(1, 400))
        shop_id, currency = self.dice.choice(self.ids), self.dice.choice(["CNY", "USD", "KRW"])
        amount = self.dice.choice([0, 1, 12_345, 12_345])

        async def story(work: Work) -> None:
            drafts = [_imported(work, shop_id, day, currency, amount) for _ in range(self.dice.randint(1, 2))]
            await save_drafts(work, "orders", drafts)

        await self.house.work("system", story, door=Door.IMPORT)


def _imported(work: Work, customer_id: str, day: str, currency: str, amount: int) -> Draft:
    order = {
        "id": new_id(), "customerId": customer_id, "territoryId": None, "state": OrderState.DELIVERED.value,
        "source": "IMPORT", "currency": currency, "totalMinor": amount, "units": 1, "orderedOn": day,
        "orderedAt": day_start_ms(day, "UTC"), "createdAt": work.now_ms, "createdBy": "system", "lines": [],
        "custom": {},
    }  # fmt: skip
    return Draft(Change(str(order["id"]), Intent.CREATE), None, order)


@pytest.mark.parametrize("seed", [1, 2])
async def test_kept_statistics_are_a_rebuilds_are_the_nightly_runs(house: House, seed: int) -> None:
    shelf = await house.work("system", stock, door=Door.JOB)
    ids = await shops(house, 4, priceListId=shelf.price_list)
    async with house.engine.write() as conn:
        for currency, day, rate in (("USD", "2025-01-01", 7_100_000_000), ("KRW", "2026-06-01", 5_153_000)):
            await factories.insert(conn, "exchange_rate", id=new_id(), currency=currency, valid_from=day, rate_e9=rate)
    seller = Seller(house, shelf, ids, Random(seed))
    for step in range(30):
        await seller.step()
        if step % 6 == 5:
            await sound(house)
    await sound(house)
    assert {row[4] for row in await kept(house)} > {1}, "the world has days with equal orders"
    until = add_days(TODAY, 40)
    await same_histories(house, add_days(TODAY, -200), TODAY, until)
    house.now_ms = NOON_MS + 41 * DAY_MS
    before = await kept(house)
    summary = await run_scores(house.engine, house.people["analyst"], settings=SETTINGS, clock=lambda: house.now_ms)
    async with house.engine.write() as conn:
        await conn.execute("DELETE FROM purchase")
    again = await run_scores(house.engine, house.people["analyst"], settings=SETTINGS, clock=lambda: house.now_ms)
    assert (summary.customers_changed > 0, again.customers_changed) == (True, 0)
    assert await kept(house) == before


async def test_an_order_at_the_end_is_added_and_one_before_it_has_its_customer_counted_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = await house.work("system", stock, door=Door.JOB)
    [one, other] = await shops(house, 2, priceListId=shelf.price_list)
    seller = Seller(house, shelf, [one], Random(1))
    counted: list[str] = []
    count_anew = purchases.count_anew

    async def told(conn: Connection, customer_ids: list[str]) -> None:
        counted.extend(customer_ids)
        await count_anew(conn, customer_ids)

    monkeypatch.setattr(purchases, "count_anew", told)

    async def order(captured_at_ms: int, state: str = "SUBMITTED", shop: str = one) -> str:
        fields = {"customerId": shop, "currency": "CNY", "lines": [seller.line()], "state": state}
        wish = create(new_id(), fields, captured_at_ms=captured_at_ms)
        [outcome] = await house.change("wei", change_orders, wish)
        assert not outcome.problems
        return wish.id

    await order(NOON_MS - 5 * DAY_MS)
    await order(NOON_MS - 5 * DAY_MS)
    last = await order(NOON_MS)
    await order(NOON_MS - 9 * DAY_MS, shop=other)
    await order(NOON_MS - 7 * DAY_MS, "DRAFT")
    assert counted == []
    await order(NOON_MS - 1 * DAY_MS)
    assert counted == [one]
    rev = await house.rev("orders", last)
    await house.change("manager", change_orders, patch(last, rev, state="CONFIRMED"))
    assert counted == [one], "a decision that leaves the day and the amount counts nothing"
    rev = await house.rev("orders", last)
    await house.change("manager", change_orders, patch(last, rev, state="CANCELLED"))
    assert counted == [one, one]
    await sound(house)


async def test_what_a_refused_change_would_have_brought_is_not_kept(house: House) -> None:
    shelf = await house.work("system", stock, door=Door.JOB)
    [shop] = await shops(house, 1, priceListId=shelf.price_list)
    seller = Seller(house, shelf, [shop], Random(1))

    def wish() -> Change:
        fields = {"customerId": shop, "currency": "CNY", "lines": [seller.line()], "state": "SUBMITTED"}
        return create(new_id(), fields)

    async def story(work: Work) -> None:
        await change_orders(work, [wish()])
        with suppress(Refused):
            async with work.part():
                await change_orders(work, [wish()])
                raise Refused()

    await house.work("wei", story)
    assert sum(row[4] for row in await kept(house)) == 1
    await sound(house)


async def test_purchases_change_hands_with_a_merge_and_go_back(house: House) -> None:
    survivor, merged = await shops(house, 2)

    async def story(work: Work) -> None:
        for shop, day in ((survivor, "2026-05-05"), (merged, "2026-04-04"), (merged, "2026-06-06")):
            await save_drafts(work, "orders", [_imported(work, shop, day, "CNY", 700)])

    await house.work("system", story, door=Door.IMPORT)
    before = await kept(house)
    [merge] = await house.work("manager", lambda work: merge_records(work, "customers", survivor, [merged]))
    assert {row[0] for row in await kept(house)} == {survivor}
    await sound(house)
    await house.work("manager", lambda work: undo_merge(work, merge))
    assert await kept(house) == before
    await sound(house)


async def test_an_import_that_is_taken_back_takes_its_purchases_along(house: House) -> None:
    first = await run(house, HISTORY)
    before = await kept(house)
    assert (len(before), {row[2] for row in before}) == (6, {"USD"}), "a sample without a price is none"
    second = await run(house, history("C1,1997-01-19,1,1", "C1,1996-01-01,1,1", "C9,1997-02-01,1,1"))
    assert len(await kept(house)) == 9
    await sound(house)
    await undo(house, batch_id(second))
    assert await kept(house) == before
    await undo(house, batch_id(first))
    assert await kept(house) == []
    await sound(house)


async def test_a_rate_that_is_entered_later_holds_for_what_was_counted_before(house: House) -> None:
    [shop] = await shops(house, 1)

    async def story(work: Work) -> None:
        await save_drafts(work, "orders", [_imported(work, shop, "2026-05-05", "USD", 1_001) for _ in range(2)])

    await house.work("system", story, door=Door.IMPORT)
    before = await kept(house)
    for rate_e9, converted in ((7_000_500_000, 7_008), (6_000_000_000, 6_006)):
        async with house.engine.write() as conn:
            await conn.execute("DELETE FROM exchange_rate")
            await factories.insert(
                conn, "exchange_rate", id=new_id(), currency="USD", valid_from="2026-01-01", rate_e9=rate_e9
            )
        async with house.engine.read() as conn:
            first, second = await both_histories(conn, TODAY)
        # each order is converted by itself, as a report of single orders converts it
        assert first.revenue_minor.tolist() == second.revenue_minor.tolist() == [2 * converted]
    assert await kept(house) == before


async def test_orders_put_into_the_tables_are_found_by_the_next_run_and_by_a_look(house: House) -> None:
    ids = await shops(house, 3)
    async with house.engine.write() as conn:
        await histories.orders(
            conn, [(shop, f"2026-0{m}-01", 900) for shop in ids for m in range(1, 4)], currency="CNY"
        )
    report = await check_purchases(house.engine)
    assert (report.accounted, report.sampled, sorted(report.drifted)) == (False, 3, ids)
    await run_scores(house.engine, house.people["analyst"], settings=SETTINGS, clock=lambda: house.now_ms)
    assert (await check_purchases(house.engine)).clean
    assert len(await kept(house)) == 9
    # two that outweigh each other are found by looking at customers
    async with house.engine.write() as conn:
        await conn.execute(
            "UPDATE purchase SET customer_id = ? WHERE customer_id = ? AND day = '2026-01-01'", new_id(), ids[0]
        )
    report = await check_purchases(house.engine)
    assert (report.accounted, report.drifted) == (True, (ids[0],))
    steps: list[int] = []
    mended = await rebuild_purchases(
        house.engine, house.people["system"], clock=lambda: house.now_ms, retries_max=2, customers_n=2,
        progress=steps.append,
    )  # fmt: skip
    assert (mended, steps) == (2, [2, 4]), "the customer, and the one that never was"
    await sound(house)
    assert (await check_purchases(house.engine)).clean
