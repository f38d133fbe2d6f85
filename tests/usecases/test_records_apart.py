"""What went with another record and is deleted by itself as well stays away when that other record comes back."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import pytest

from backend.ids import new_id
from backend.storage.dialects import Dialect
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.sync.push import Mutation, push
from backend.sync.rxdb_push import PushRow, answer_push
from backend.sync.watermelon_push import answer_watermelon_push
from backend.sync.work import Door, Work, open_work
from backend.usecases.territories import grant_territory, revoke_territory
from backend.wiring import USE_CASES
from tests.house import House, create
from tests.usecases.test_records import delete, restore, shop_of, trail, visit_at

Deleting = Callable[[House, str, str, str], Awaitable[None]]


async def online(house: House, who: str, collection: str, record_id: str) -> None:
    [outcome] = await house.change(who, USE_CASES[collection, Intent.DELETE], Change(record_id, Intent.DELETE))
    assert outcome.status is Status.APPLIED, outcome.problems


async def pushed(house: House, who: str, collection: str, record_id: str, captured_at_ms: int | None = None) -> None:
    at_ms = house.now_ms if captured_at_ms is None else captured_at_ms
    sent = Mutation(new_id(), 1, collection, record_id, 0, {}, delete=True, captured_at_ms=at_ms)

    async def story(work: Work) -> None:
        [answer] = await push(work, [sent], USE_CASES, mutations_max=1)
        assert answer.status is Status.APPLIED, answer.problems

    await house.work(who, story, door=Door.PUSH)


async def by_rxdb(house: House, who: str, collection: str, record_id: str) -> None:
    for _ in range(2):  # its answer was lost
        instead = await answer_push(
            house.engine,
            house.people[who],
            collection,
            [PushRow({"id": record_id, "rev": 1}, {"id": record_id, "rev": 1, "_deleted": True})],
            USE_CASES,
            rows_max=10,
            wait_ms=0,
            echo_ms=0,
            retries_max=3,
            clock=lambda: house.now_ms,
        )
        assert instead == []


async def by_watermelon(house: House, who: str, collection: str, record_id: str) -> None:
    for _ in range(2):
        await answer_watermelon_push(
            house.engine,
            house.people[who],
            {collection: {"created": [], "updated": [], "deleted": [record_id]}},
            1,
            USE_CASES,
            rows_max=10,
            retries_max=3,
            clock=lambda: house.now_ms,
        )


DOORS = pytest.mark.parametrize("deleting", [online, pushed, by_rxdb, by_watermelon])


async def linked(house: House) -> tuple[str, str, str]:
    """(shop, contact, link)"""
    shop, contact, link = await shop_of(house), new_id(), new_id()
    await _made(house, "contacts", contact, {"nameEn": "Kim"})
    await _made(house, "customerContacts", link, {"customerId": shop, "contactId": contact, "role": "BUYER"})
    return shop, contact, link


async def photographed(house: House) -> tuple[str, str]:
    """(visit, photo), both of wei's"""
    visit, photo = await visit_at(house, await shop_of(house)), new_id()
    fields = {
        "collection": "visits",
        "recordId": visit,
        "kind": "PHOTO",
        "fileName": "shelf.jpg",
        "sha256": hashlib.sha256(photo.encode()).hexdigest(),
        "sizeBytes": 10,
        "mime": "image/jpeg",
        "proof": False,
    }
    await _made(house, "attachments", photo, fields)
    return visit, photo


async def _made(house: House, collection: str, record_id: str, fields: dict[str, object]) -> None:
    [outcome] = await house.change("wei", USE_CASES[collection, Intent.CREATE], create(record_id, fields))
    assert outcome.status is Status.APPLIED, outcome.problems


@DOORS
@pytest.mark.requirement("R32")
@pytest.mark.parametrize("end", ["contacts", "customers"])
async def test_a_link_deleted_after_it_went_with_its_record_stays_away(
    house: House, deleting: Deleting, end: str
) -> None:
    shop, contact, link = await linked(house)
    whole = contact if end == "contacts" else shop
    await delete(house, end, whole)
    await deleting(house, "admin", "customerContacts", link)
    assert (await restore(house, "admin", end, whole)).status is Status.APPLIED
    assert await house.row("customer_contact", link, "id") == ()
    # by itself it still comes back, and its history says who had deleted it
    assert (await restore(house, "admin", "customerContacts", link)).status is Status.APPLIED
    assert [action for action, *_ in await trail(house, link)] == ["CREATE", "DELETE", "DELETE", "RESTORE"]


@DOORS
@pytest.mark.requirement("R32")
async def test_a_photo_deleted_without_signal_after_its_visit_went_stays_away(house: House, deleting: Deleting) -> None:
    visit, photo = await photographed(house)
    await delete(house, "visits", visit)
    await deleting(house, "wei", "attachments", photo)
    assert (await restore(house, "wei", "visits", visit)).status is Status.APPLIED
    assert await house.row("attachment", photo, "id") == ()
    assert (await restore(house, "wei", "attachments", photo)).status is Status.APPLIED


async def test_who_may_not_delete_it_or_never_saw_it_keeps_nothing_away(house: House) -> None:
    visit, photo = await photographed(house)
    await delete(house, "visits", visit)
    use_case = USE_CASES["attachments", Intent.DELETE]
    told = []

    async def seated(work: Work) -> None:
        await grant_territory(work, str(house.people["na"].user_id), house.patches["north"])

    for step, who in enumerate(("manager", "na", "na", "agent", "admin")):
        if step == 2:
            await house.work("system", seated, door=Door.JOB)
        [outcome] = await house.change(who, use_case, Change(photo, Intent.DELETE))
        told.append((who, outcome.status.value, [problem.code.value for problem in outcome.problems][:1]))
        if who == "agent":
            await restore(house, "wei", "visits", visit)
            assert await house.row("attachment", photo, "id") == (photo,)
            await delete(house, "visits", visit)
    assert told == [
        ("manager", "REFUSED", ["NOT_PERMITTED"]),
        ("na", "APPLIED", []),
        # he sees it now, and it is another's
        ("na", "REFUSED", ["NOT_PERMITTED"]),
        ("agent", "REFUSED", ["NOT_PERMITTED"]),
        ("admin", "APPLIED", []),
    ]
    await restore(house, "wei", "visits", visit)
    assert await house.row("attachment", photo, "id") == ()


async def test_what_went_by_itself_is_deleted_once(house: House) -> None:
    """A second deletion finds it done: nothing is told twice, and it comes back as it would have."""
    _, photo = await photographed(house)
    await delete(house, "attachments", photo)
    await online(house, "wei", "attachments", photo)
    assert [action for action, *_ in await trail(house, photo)] == ["CREATE", "DELETE"]
    assert (await restore(house, "wei", "attachments", photo)).status is Status.APPLIED


@pytest.mark.parametrize("late", [True, False])
async def test_a_former_holder_keeps_away_what_he_deleted_while_he_held_it(house: House, late: bool) -> None:
    visit, photo = await photographed(house)
    captured_at_ms = house.now_ms
    house.now_ms += 500
    await delete(house, "visits", visit)
    house.now_ms += 500
    wei = str(house.people["wei"].user_id)
    await house.work("system", lambda work: revoke_territory(work, wei, house.patches["north"]), door=Door.JOB)
    if late:
        await pushed(house, "wei", "attachments", photo, captured_at_ms)
    else:
        await online(house, "wei", "attachments", photo)
    assert (await restore(house, "admin", "visits", visit)).status is Status.APPLIED
    assert await house.row("attachment", photo, "id") == (() if late else (photo,))


@pytest.mark.parametrize("first", ["restore", "delete"])
async def test_restoring_the_whole_and_deleting_the_part_at_once_ends_without_the_part(
    house: House, first: str
) -> None:
    """Whoever comes second waits, and then does what he came for."""
    if house.engine.dialect is not Dialect.POSTGRES:
        pytest.skip("one writer at a time")
    _, contact, link = await linked(house)
    await delete(house, "contacts", contact)
    wishes = [("contacts", Change(contact, Intent.RESTORE)), ("customerContacts", Change(link, Intent.DELETE))]
    if first == "delete":
        wishes.reverse()
    told: list[Outcome] = []

    async def second() -> None:
        name, change = wishes[1]
        told.extend(await house.change("admin", USE_CASES[name, change.intent], change))

    async with open_work(house.engine, house.people["admin"], now_ms=house.now_ms) as work:
        name, change = wishes[0]
        told += await USE_CASES[name, change.intent](work, [change])
        other = asyncio.ensure_future(second())
        await _until_it_waits(house, other)
    await other
    assert [outcome.status for outcome in told] == [Status.APPLIED, Status.APPLIED]
    assert await house.row("customer_contact", link, "id") == ()
    assert await house.row("contact", contact, "id") == (contact,)


async def _until_it_waits(house: House, other: asyncio.Future[None]) -> None:
    """Returns once somebody waits for a lock, and at the latest when `other` has ended.

    Each look is a transaction of its own: within one PostgreSQL shows the list of those connected as it was at the
    first look, and whoever connects after it would never be seen to wait.
    """
    looking = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(60):
        while not other.done() and not await house.engine.fetch(looking):  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.01)
    assert not other.done(), "nobody had to wait"
