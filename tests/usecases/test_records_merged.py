"""What was deleted before its customer was merged away comes back on the one that customer became."""

import pytest

from backend.domain.territories import Move
from backend.ids import new_id
from backend.sync.changes import Status
from backend.sync.push import Mutation, push
from backend.sync.work import Door, Work
from backend.usecases.territories import move_customers
from backend.wiring import USE_CASES
from tests.house import House
from tests.usecases.phones import synced
from tests.usecases.test_merges import customer, make, merge, sound
from tests.usecases.test_records import delete, restore, visit_at


@pytest.mark.requirement("R32")
async def test_what_hung_on_a_customer_comes_back_on_its_survivor(house: House) -> None:
    merged, survivor, last = await customer(house), await customer(house), await customer(house)
    contact = await make(house, "wei", "contacts", nameEn="Kim")
    photo = {"kind": "PHOTO", "fileName": "a.jpg", "sha256": "0" * 64, "sizeBytes": 9, "mime": "image/jpeg"}
    made = {
        "visits": await visit_at(house, merged),
        "tasks": await make(house, "wei", "tasks", title="Call", customerId=merged),
        "customerContacts": await make(
            house, "wei", "customerContacts", customerId=merged, contactId=contact, role="BUYER"
        ),
        "attachments": await make(
            house, "wei", "attachments", collection="customers", recordId=merged, proof=False, **photo
        ),
    }
    for collection, record_id in made.items():
        await delete(house, collection, record_id)
    # twice, and the last one stands in another territory
    await merge(house, survivor, merged)
    await merge(house, last, survivor)
    house.now_ms += 1
    await house.work("admin", lambda work: move_customers(work, [Move(last, house.patches["south"])]))
    for collection, record_id in made.items():
        assert (await restore(house, "wei", collection, record_id)).problems, "not his any more"
        outcome = await restore(house, "admin", collection, record_id)
        assert outcome.status is Status.APPLIED, (collection, outcome.problems)
    south = house.patches["south"]
    assert await house.row("visit", made["visits"], "customer_id", "territory_id") == (last, south)
    assert await house.row("task", made["tasks"], "customer_id", "territory_id") == (last, south)
    assert await house.row("customer_contact", made["customerContacts"], "customer_id") == (last,)
    assert await house.row("attachment", made["attachments"], "record_id") == (last,)
    assert set(made.items()) <= set((await synced(house, "na")).documents)
    await sound(house)


async def test_a_contact_comes_back_with_its_link_to_the_survivor_and_a_door_below_it(house: House) -> None:
    merged, survivor = await customer(house), await customer(house)
    contact = await make(house, "wei", "contacts", nameEn="Kim")
    link = await make(house, "wei", "customerContacts", customerId=merged, contactId=contact, role="BUYER")
    door = await customer(house, parentId=merged)
    await delete(house, "contacts", contact)
    await delete(house, "customers", door)
    await merge(house, survivor, merged)
    for collection, record_id in (("contacts", contact), ("customers", door)):
        outcome = await restore(house, "wei", collection, record_id)
        assert outcome.status is Status.APPLIED, (collection, outcome.problems)
    assert await house.row("customer_contact", link, "customer_id") == (survivor,)
    assert await house.row("customer", door, "parent_id") == (survivor,)
    await sound(house)


async def test_a_phone_brings_it_back_without_signal_and_writes_on(house: House) -> None:
    merged, survivor = await customer(house), await customer(house)
    visit = await visit_at(house, merged)
    base = await house.rev("visits", visit)
    await delete(house, "visits", visit)
    await merge(house, survivor, merged)
    at_ms = house.now_ms
    sent = [
        Mutation(new_id(), 1, "visits", visit, None, {}, restore=True, captured_at_ms=at_ms),
        Mutation(new_id(), 2, "visits", visit, base, {"nextStep": "call"}, captured_at_ms=at_ms),
    ]

    async def story(work: Work) -> list[Status]:
        return [answer.status for answer in await push(work, sent, USE_CASES, mutations_max=2)]

    assert await house.work("wei", story, door=Door.PUSH) == [Status.APPLIED, Status.APPLIED]
    assert await house.row("visit", visit, "customer_id", "next_step") == (survivor, "call")
