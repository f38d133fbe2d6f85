"""Who may come in: how often, how much at once, and who goes first."""

import asyncio
from typing import Any

import pytest
from graphql import get_introspection_query

from backend.admission import SMALL_BYTES, Bytes, Places, within
from backend.config import Settings
from backend.errors import Code, Refused
from tests.schema.conftest import Door
from tests.servers import serve

ASKED = {"query": "{ __typename }"}


def refused_busy(refused: pytest.ExceptionInfo[Refused]) -> bool:
    return [problem.code for problem in refused.value.problems] == [Code.BUSY]


async def test_so_many_are_worked_on_so_many_wait_and_the_next_is_told_to_come_again() -> None:
    places, leave = Places(4, 2, 10), asyncio.Event()
    most = 0

    async def work() -> None:
        nonlocal most
        async with places.place():
            most = max(most, places.working)
            await leave.wait()

    tasks = [asyncio.ensure_future(work()) for _ in range(6)]
    await asyncio.sleep(0)
    assert (places.working, places.waiting) == (4, 2)
    with pytest.raises(Refused) as refused:
        await work()
    assert refused_busy(refused)
    leave.set()
    await asyncio.gather(*tasks)
    assert (places.working, places.waiting, most) == (0, 0, 4)


async def test_who_waits_too_long_or_leaves_takes_no_place_with_him() -> None:
    places = Places(1, 5, 0)
    async with places.place():
        with pytest.raises(Refused) as refused:
            async with places.place():
                pass
        assert refused_busy(refused)
    places, ended = Places(1, 5, 10), []
    async with places.place():
        leaving = asyncio.ensure_future(places.place().__aenter__())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
    async with places.place():
        ended.append(places.working)
    assert (ended, places.working, places.waiting) == ([1], 0, 0)


async def test_large_work_leaves_places_to_small_and_is_not_forgotten() -> None:
    places, order = Places(4, 100, 10), list[str]()
    held = [places.place(large=True) for _ in range(3)]
    for one in held:
        await one.__aenter__()

    async def work(name: str, *, large: bool) -> None:
        async with places.place(large=large):
            order.append(name)

    waiting = asyncio.ensure_future(work("large", large=True))
    await asyncio.sleep(0)
    await work("small", large=False)
    assert order == ["small"], "a fourth large one waits though a place is free"
    last = places.place()
    await last.__aenter__()
    small = [asyncio.ensure_future(work("small", large=False)) for _ in range(8)]
    await asyncio.sleep(0)
    for one in (*held, last):
        await one.__aexit__(None, None, None)
    await asyncio.gather(waiting, *small)
    assert order.count("large") == 1
    assert order.index("large") < len(order) - 1, "it need not wait until nobody else does"


def test_bodies_are_held_up_to_a_bound_small_ones_beyond_it_and_one_alone_always() -> None:
    held = Bytes(100_000)
    with held.holding() as alone:
        alone.add(500_000)
        with held.holding() as small, held.holding() as large:
            small.add(SMALL_BYTES)
            with pytest.raises(Refused) as refused:
                large.add(SMALL_BYTES + 1)
            assert refused_busy(refused)
    assert held.held == 0


async def test_who_asks_too_often_is_told_when_to_come_again(door: Door, server_settings: Settings) -> None:
    device = (await door.sign_in())["accessToken"]
    narrow = {"device_requests_per_minute": 3, "user_requests_per_minute": 5}
    async with serve(server_settings.model_copy(update=narrow), clock=door.clock) as served:
        told = [await served.post(ASKED, authorization=f"Bearer {device}") for _ in range(4)]
        assert [answer.status_code for answer in told] == [200, 200, 200, 429]
        assert told[3].headers["retry-after"] == "20"
        extensions = told[3].json()["errors"][0]["extensions"]
        assert (extensions["code"], extensions["problems"][0]["path"]) == ("RATE_LIMITED", ["device"])
        assert extensions["problems"][0]["params"] == {"limit": 3, "retryAfterSeconds": 20}
        by_door = await served.client.get("/sync/bulk", headers={"authorization": f"Bearer {device}"})
        assert (by_door.status_code, by_door.headers["retry-after"]) == (429, "20")
        assert (await served.post(ASKED)).status_code == 200, "others are not held up"


async def test_an_address_is_believed_from_proxies_named_and_from_nobody_else(server_settings: Settings) -> None:
    async def statuses(**changed: Any) -> list[int]:
        settings = server_settings.model_copy(update={"address_requests_per_minute": 2, **changed})
        async with serve(settings) as served:
            asked = ["203.0.113.1"] * 3 + ["203.0.113.2"]
            return [(await served.post(ASKED, x_forwarded_for=address)).status_code for address in asked]

    assert await statuses(trusted_proxies=("127.0.0.1",)) == [200, 200, 429, 200]
    assert await statuses() == [200] * 4


async def test_a_developer_is_told_what_his_request_cost(door: Door) -> None:
    answer = await door.served.post(ASKED, x_query_cost="1")
    assert answer.json()["extensions"]["cost"]["cost"] == 1
    assert "extensions" not in (await door.served.post(ASKED)).json()
    # of questions about the schema, which may cost more, the limit that is theirs
    usual = {"query": get_introspection_query(descriptions=True)}
    told = (await door.served.post(usual, x_query_cost="1")).json()["extensions"]["cost"]
    assert door.served.services.settings.document_cost_max < told["cost"] < told["limit"]
    assert told["depth"] <= told["depthLimit"]


async def _after(turns: int, told: str) -> str:
    for _ in range(turns):
        await asyncio.sleep(0)
    return told


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_what_is_done_in_time_is_told(turns: int) -> None:
    assert await within(60, _after(turns, "done")) == "done"


async def test_what_takes_too_long_is_broken_off() -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.001, wait())
    assert ended.is_set()


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_failure_is_handed_on_before_and_after_the_first_wait(turns: int) -> None:
    async def fail() -> None:
        await _after(turns, "")
        raise LookupError

    with pytest.raises(LookupError):
        await within(60, fail())


async def test_who_is_cancelled_while_he_waits_breaks_his_work_off() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(within(60, wait()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
