"""A score run reads customers page by page: the pages together are what one reading of everybody would be."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from backend.domain.arrays import Ids
from backend.ids import new_id
from backend.storage.night import NightColumns, NightRead, night_pages, scored_customers_n
from backend.usecases.cases import change_cases
from backend.usecases.tasks import change_tasks
from backend.usecases.visits import change_visits
from tests.house import NOON_MS, House, create
from tests.usecases.test_insights import TODAY, run, sell, shops, steady

DAY_MS = 86_400_000


def plain(value: Any) -> Any:
    """Nested columns as Python values, to be compared."""
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Ids):
        return list(value)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


async def columns_of(house: House, customers_n: int, territories: frozenset[str] | None = None) -> NightColumns:
    read = NightRead(currency="USD", territories=territories)
    async with house.engine.read() as conn:
        total, sizes = await scored_customers_n(conn), []
        async for page in night_pages(conn, TODAY, customers_n=customers_n):
            sizes.append(len(page.heads.ids))
            read.take(page)
    assert (sum(sizes), max(sizes)) == (total, min(total, customers_n))
    return read.columns()


@pytest.fixture
async def town(house: House) -> list[str]:
    """Shops of three places with everything a run reads: one has no rate, some have tasks, visits and complaints."""
    places = [{"country": "CN", "province": one} for one in ("33", "11", "33")]
    ids = sorted(
        [*await shops(house, 3, **places[0]), *await shops(house, 2, patch_name="south", **places[1])]
        + await shops(house, 2, cadenceDays=9)
    )
    rows = [row for place, shop_id in enumerate(ids[1:6]) for row in steady(shop_id, 10_000 * (place + 1), count=4)]
    await sell(house, rows)
    await sell(house, [(ids[3], "2026-05-31", 1_000_000)], currency="KRW")
    done = {
        "checkInAt": NOON_MS - DAY_MS,
        "checkOutAt": NOON_MS - DAY_MS,
        "state": "COMPLETED",
        "outcome": "ORDER_TAKEN",
    }
    for use_case, wish in (
        (change_tasks, {"customerId": ids[1], "title": "Call", "dueOn": "2026-11-20"}),
        (change_tasks, {"customerId": ids[5], "title": "Write"}),
        (change_visits, {"customerId": ids[4], **done}),
        (change_visits, {"customerId": ids[6], "plannedAt": NOON_MS + DAY_MS}),
        (change_cases, {"customerId": ids[5], "kind": "COMPLAINT", "subject": "Seams", "priority": "P1"}),
    ):
        [outcome] = await house.change("admin", use_case, create(new_id(), wish))
        assert outcome.problems == (), wish
    await run(house)
    return ids


async def test_pages_of_any_size_are_the_columns_of_everybody(house: House, town: list[str]) -> None:
    whole = await columns_of(house, 1_000)
    assert list(whole.ids) == [one for one in town if one != town[3]]
    assert (whole.left_out_n, whole.missing) == (1, {"KRW": 1})
    assert whole.places == tuple(sorted(whole.places))
    assert len(set(whole.peer_group.tolist())) == 3, "two provinces, and none"
    assert (whole.facts.task_ids.keys(), whole.facts.case_ids.keys()) == ({1, 4}, {4})
    assert (whole.facts.last_visit_id[3] != "", whole.facts.next_appointment_id[5] != "") == (True, True)
    assert whole.stored.scored.all()
    for customers_n in (1, 2, 3):
        assert plain(await columns_of(house, customers_n)) == plain(whole)


async def test_who_is_within_is_told_page_by_page(house: House, town: list[str]) -> None:
    south = frozenset({house.patches["south"]})
    async with house.engine.read() as conn:
        held = await conn.fetch("SELECT id FROM customer WHERE territory_id = ?", house.patches["south"])
    for customers_n in (2, 1_000):
        found = await columns_of(house, customers_n, south)
        names = {one for one, within in zip(found.ids, found.within.tolist(), strict=True) if within}
        assert names == {row[0] for row in held} - {town[3]}


async def test_nobody_is_no_page(house: House) -> None:
    read = NightRead(currency="USD", territories=None)
    async with house.engine.read() as conn:
        assert [page async for page in night_pages(conn, TODAY)] == []
    assert len(read.columns().ids) == 0
