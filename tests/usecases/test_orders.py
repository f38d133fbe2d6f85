"""Orders from the grid to the manager's word."""

from dataclasses import dataclass
from typing import Any

import pytest

from backend.domain.orders import CELLS_MAX, LINES_MAX
from backend.errors import Code
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Status
from backend.sync.work import Door
from backend.usecases.customers import change_customers
from backend.usecases.orders import change_orders
from tests.house import House, create, patch
from tests.usecases.catalogues import Shelf, stock


@dataclass
class Shop:
    house: House
    shelf: Shelf
    id: str

    def line(self, line_id: str, **cells: int) -> dict[str, Any]:
        skus = {getattr(self.shelf, size): quantity for size, quantity in cells.items()}
        return {
            "id": line_id,
            "styleId": self.shelf.style,
            "colourId": self.shelf.colour,
            "unitPriceMinor": 1,
            "cells": skus,
        }

    async def draft(self, *lines: dict[str, Any], **more: object) -> str:
        order_id = new_id()
        fields = {"customerId": self.id, "currency": "CNY", "lines": list(lines), **more}
        [outcome] = await self.house.change("wei", change_orders, create(order_id, fields))
        assert outcome.status is Status.APPLIED, outcome.problems
        return order_id

    async def change(self, who: str, order_id: str, **fields: object) -> Any:
        rev = await self.house.rev("orders", order_id)
        [outcome] = await self.house.change(who, change_orders, patch(order_id, rev, **fields))
        return outcome


@pytest.fixture
async def shop(house: House) -> Shop:
    shelf = await house.work("system", stock, door=Door.JOB)
    shop_id = new_id()
    fields = {"nameKo": "온유", "kind": "RETAILER", "priceListId": shelf.price_list, "currency": "CNY"}
    await house.change("wei", change_customers, create(shop_id, fields))
    return Shop(house, shelf, shop_id)


@pytest.mark.requirement("R25")
async def test_totals_and_prices_are_the_servers_never_the_clients(shop: Shop) -> None:
    order_id = await shop.draft(shop.line(new_id(), small=2, medium=3))
    assert await shop.house.row("sales_order", order_id, "total_minor", "units") == (50_000, 5)


async def test_a_quantity_tier_counts_the_units_of_all_lines_of_a_style(shop: Shop) -> None:
    order_id = await shop.draft(shop.line(new_id(), small=25), shop.line(new_id(), medium=25))
    assert await shop.house.row("sales_order", order_id, "total_minor") == (50 * 9_000,)


async def test_two_people_editing_different_cells_of_one_order_both_win(shop: Shop) -> None:
    line_id = new_id()
    order_id = await shop.draft(shop.line(line_id, small=2, medium=3))
    base = await shop.house.rev("orders", order_id)
    one = patch(order_id, base, lines=[{"id": line_id, "cells": {shop.shelf.small: 7}}])
    other = patch(order_id, base, lines=[{"id": line_id, "cells": {shop.shelf.medium: 9}}])
    [first] = await shop.house.change("wei", change_orders, one)
    [second] = await shop.house.change("admin", change_orders, other)
    assert (first.status, second.status) == (Status.APPLIED, Status.MERGED)
    assert await shop.house.row("sales_order", order_id, "units") == (16,)


async def test_a_line_added_later_has_no_discount_unless_it_names_one(shop: Shop) -> None:
    order_id = await shop.draft(shop.line(new_id(), small=1))
    added = new_id()
    outcome = await shop.change("wei", order_id, lines=[shop.line(added, medium=2)])
    assert outcome.status is Status.APPLIED, outcome.problems
    assert await shop.house.row("order_line", added, "discount_bp", "units") == (0, 2)


async def test_lines_and_their_cells_stay_bounded_across_changes(shop: Shop) -> None:
    full, first = [shop.line(new_id(), small=1) for _ in range(LINES_MAX)], new_id()
    order_id = await shop.draft(shop.line(first, small=1), *full[1:])
    one_more = await shop.change("wei", order_id, lines=[shop.line(new_id(), small=1)])
    assert [(p.code, p.path, p.allowed) for p in one_more.problems] == [(Code.TOO_MANY, ("lines",), ("500",))]
    wide = {"id": first, "cells": {new_id(): 1 for _ in range(CELLS_MAX)}}
    too_wide = await shop.change("wei", order_id, lines=[wide])
    assert (Code.TOO_MANY, ("lines", "0", "cells")) in [(p.code, p.path) for p in too_wide.problems]


async def test_the_same_cell_is_a_conflict_and_the_losing_value_is_kept(shop: Shop) -> None:
    line_id = new_id()
    order_id = await shop.draft(shop.line(line_id, small=2))
    base = await shop.house.rev("orders", order_id)
    for who, quantity in (("wei", 7), ("admin", 9)):
        change = patch(order_id, base, lines=[{"id": line_id, "cells": {shop.shelf.small: quantity}}])
        [outcome] = await shop.house.change(who, change_orders, change)
    path = f"lines.{line_id}.cells.{shop.shelf.small}"
    assert outcome.status is Status.CONFLICT
    assert [(c.path, c.mine, c.theirs) for c in outcome.conflicts] == [(path, 9, 7)]
    async with shop.house.engine.read() as conn:
        issues = await conn.fetch("SELECT user_id, field, mine, theirs FROM sync_issue")
    assert [tuple(row) for row in issues] == [(shop.house.people["admin"].user_id, path, "9", "7")]


@pytest.mark.parametrize(
    ("line", "code", "path"),
    [
        ({"cells": {"discontinued": 1}}, Code.SKU_DISCONTINUED, ("lines", "0", "cells", "discontinued")),
        ({"cells": {"small": -1}}, Code.OUT_OF_RANGE, ("lines", "0", "cells", "small")),
        ({"cells": {"small": 1}, "discountBp": 2_500}, Code.DISCOUNT_OVER_CAP, ("lines", "0", "discountBp")),
    ],
)
async def test_a_line_that_cannot_stand_names_its_cell(
    shop: Shop, line: dict[str, Any], code: Code, path: tuple[str, ...]
) -> None:
    cells = {getattr(shop.shelf, size): quantity for size, quantity in line["cells"].items()}
    bad = {**shop.line(new_id()), **line, "cells": cells}
    fields = {"customerId": shop.id, "currency": "CNY", "lines": [bad]}
    [outcome] = await shop.house.change("wei", change_orders, create(new_id(), fields))
    wanted = tuple(getattr(shop.shelf, part, part) for part in path)
    assert [(p.code, p.path) for p in outcome.problems] == [(code, wanted)]


async def test_another_currency_than_the_price_list_is_refused(shop: Shop) -> None:
    fields = {"customerId": shop.id, "currency": "USD", "lines": [shop.line(new_id(), small=1)]}
    [outcome] = await shop.house.change("wei", change_orders, create(new_id(), fields))
    assert [(p.code, p.allowed) for p in outcome.problems] == [(Code.CURRENCY_MIXED, ("CNY",))]


async def test_a_closed_order_book_refuses_submission_and_says_when_it_was_open(shop: Shop) -> None:
    order_id = await shop.draft(shop.line(new_id(), small=1), seasonId=shop.shelf.closed_season)
    outcome = await shop.change("wei", order_id, state="SUBMITTED")
    assert [(p.code, p.allowed) for p in outcome.problems] == [(Code.ORDER_WINDOW_CLOSED, ("2025-01-01", "2025-06-30"))]
    assert await shop.house.row("sales_order", order_id, "state") == ("DRAFT",)


@pytest.mark.requirement("R3")
async def test_a_rejection_with_its_reason_gives_the_rep_a_task(shop: Shop) -> None:
    order_id = await shop.draft(shop.line(new_id(), small=1))
    assert (await shop.change("wei", order_id, state="SUBMITTED")).status is Status.APPLIED
    without = await shop.change("manager", order_id, state="REJECTED")
    assert [p.code for p in without.problems] == [Code.EVIDENCE_MISSING]
    outcome = await shop.change("manager", order_id, state="REJECTED", rejectReason="credit limit")
    assert outcome.status is Status.APPLIED, outcome.problems
    async with shop.house.engine.read() as conn:
        tasks = await conn.fetch("SELECT assignee_id, customer_id, title, related_id, notes FROM task")
    assert [tuple(row) for row in tasks] == [
        (shop.house.people["wei"].user_id, shop.id, "ORDER_REJECTED", order_id, "credit limit")
    ]


async def test_a_rep_cannot_confirm_and_a_manager_cannot_edit_lines(shop: Shop) -> None:
    line_id = new_id()
    order_id = await shop.draft(shop.line(line_id, small=1))
    await shop.change("wei", order_id, state="SUBMITTED")
    by_rep = await shop.change("wei", order_id, state="CONFIRMED")
    by_manager = await shop.change("manager", order_id, lines=[{"id": line_id, "cells": {shop.shelf.small: 5}}])
    assert [p.code for p in by_rep.problems] == [Code.NOT_PERMITTED]
    assert Code.NOT_PERMITTED in [p.code for p in by_manager.problems]


async def test_nothing_changes_after_submission_but_by_going_back_to_draft(shop: Shop) -> None:
    order_id = await shop.draft(shop.line(new_id(), small=1))
    await shop.change("wei", order_id, state="SUBMITTED")
    outcome = await shop.change("wei", order_id, poNumber="A-1")
    assert [(p.code, p.path) for p in outcome.problems] == [(Code.NOT_EDITABLE, ("poNumber",))]


async def test_a_territory_total_passes_two_to_the_thirty_first_in_minor_units(shop: Shop) -> None:
    async with shop.house.engine.write() as conn:
        await conn.execute("UPDATE price SET price_minor = ?", 900_000_000)
    for _ in range(3):
        await shop.draft(shop.line(new_id(), small=1))
    async with shop.house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT sum(total_minor) FROM sales_order WHERE territory_id = ?", shop.house.patches["north"]
        )
    assert int(rows[0][0]) == 2_700_000_000


async def test_creating_the_same_order_twice_answers_as_the_first_time(shop: Shop) -> None:
    order_id = new_id()
    fields = {"customerId": shop.id, "currency": "CNY", "poNumber": "A-1"}
    for _ in range(2):
        [outcome] = await shop.house.change("wei", change_orders, create(order_id, fields))
        assert outcome.status is Status.APPLIED
    [other] = await shop.house.change("wei", change_orders, create(order_id, {**fields, "poNumber": "A-2"}))
    assert [(p.code, p.path) for p in other.problems] == [(Code.ID_TAKEN, ("id",))]


async def test_prices_the_server_set_do_not_make_a_replayed_order_another_one(shop: Shop) -> None:
    order_id, line = new_id(), shop.line(new_id(), small=2)
    fields = {"customerId": shop.id, "currency": "CNY", "lines": [line]}
    for _ in range(2):
        [outcome] = await shop.house.change("wei", change_orders, create(order_id, fields))
        assert outcome.status is Status.APPLIED, outcome.problems
    assert await shop.house.row("sales_order", order_id, "total_minor") == (20_000,)


async def test_an_order_somebody_else_just_changed_is_not_deleted_unseen(shop: Shop) -> None:
    order_id = await shop.draft(shop.line(new_id(), small=1))
    base = await shop.house.rev("orders", order_id)
    await shop.change("admin", order_id, poNumber="A-7")
    stale = Change(order_id, Intent.DELETE, base_rev=base)
    [outcome] = await shop.house.change("wei", change_orders, stale)
    assert Code.CONFLICT in [p.code for p in outcome.problems]
    assert await shop.house.row("sales_order", order_id, "po_number") == ("A-7",)
