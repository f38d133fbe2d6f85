"""A merge when something of a customer or contact is deleted: before it, within it, and brought back before or after it
is undone. What is brought back stands on what its record has become, and goes back with everything else."""

from typing import Any

import pytest

from backend.errors import Code
from backend.sync.changes import Change, Intent, Status
from backend.usecases.merges import undo_merge
from backend.wiring import USE_CASES
from tests.house import House
from tests.usecases.phones import sync, synced
from tests.usecases.test_feedback import CSAT, published
from tests.usecases.test_merges import customer, make, merge, sound
from tests.usecases.test_records import delete, restore

PHOTO = {"kind": "PHOTO", "fileName": "a.jpg", "sha256": "0" * 64, "sizeBytes": 9, "mime": "image/jpeg"}
NAMES = {"customers": "parent_id", "attachments": "record_id"}
TABLES = {
    "customers": "customer", "attachments": "attachment", "cases": "service_case", "answers": "answer",
    "judgements": "judgement", "orders": "sales_order",
}  # fmt: skip
BEFORE_AND_WITHIN, BEFORE_AND_AFTER, WITHIN_AND_AFTER = (
    "deleted before, back within the merge",
    "deleted before, back after it was undone",
    "deleted within the merge, back after it was undone",
)
WHEN = (BEFORE_AND_WITHIN, BEFORE_AND_AFTER, WITHIN_AND_AFTER)


async def everything_on(house: House, customer_id: str) -> dict[str, str]:
    """One of each kind that hangs on a customer; collection → id."""
    form = await published(house, CSAT)
    return {
        "answers": await make(house, "na", "answers", formId=form, customerId=customer_id, values={"happy": 4}),
        "cases": await make(house, "na", "cases", customerId=customer_id, subject="Wrong sizes"),
        "judgements": await make(house, "na", "judgements", customerId=customer_id, kind="SKIP", reason="NO_TIME"),
        "orders": await make(house, "na", "orders", customerId=customer_id, currency="CNY"),
        "attachments": await make(
            house, "na", "attachments", collection="customers", recordId=customer_id, proof=False, **PHOTO
        ),
        "customers": await customer(house, "na", parentId=customer_id),
    }


async def named_by(house: House, made: dict[str, str]) -> dict[str, Any]:
    """Collection → what each names as the record it hangs on."""
    return {
        name: (await house.row(TABLES[name], record_id, NAMES.get(name, "customer_id")))[0]
        for name, record_id in made.items()
    }


@pytest.mark.requirement("R32")
@pytest.mark.parametrize("when", WHEN)
async def test_what_was_deleted_of_a_customer_is_where_that_customer_is(house: House, when: str) -> None:
    survivor, merged = await customer(house, "wei"), await customer(house, "na")
    made = await everything_on(house, merged)
    stays = await make(house, "na", "cases", customerId=merged, subject="Late")

    async def each_goes() -> None:
        for name, record_id in made.items():
            await delete(house, name, record_id)

    async def each_comes_back() -> None:
        for name, record_id in made.items():
            outcome = await restore(house, "admin", name, record_id)
            assert outcome.status is Status.APPLIED, (name, outcome.problems)

    if when is not WITHIN_AND_AFTER:
        await each_goes()
    [merge_id] = await merge(house, survivor, merged)
    if when is WITHIN_AND_AFTER:
        await each_goes()
    if when is BEFORE_AND_WITHIN:
        await each_comes_back()
        assert await named_by(house, made) == dict.fromkeys(made, survivor)
        await sound(house)
        held = (await synced(house, "wei")).documents
        assert {(name, record_id) for name, record_id in made.items() if name != "customers"} <= held.keys()
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    if when is not BEFORE_AND_WITHIN:
        await each_comes_back()
    assert await named_by(house, made) == dict.fromkeys(made, merged)
    assert await house.row("service_case", stays, "customer_id") == (merged,)
    await sound(house)
    south = await synced(house, "na")
    assert set(made.items()) <= set(south.documents)
    north = await synced(house, "wei")
    assert not set(made.items()) & set(north.documents), "nothing of it stays with the survivor"


@pytest.mark.requirement("R32")
@pytest.mark.parametrize("when", WHEN)
async def test_what_was_deleted_of_a_contact_is_where_that_contact_is(house: House, when: str) -> None:
    shop = await customer(house, "wei")
    survivor, merged = [await make(house, "wei", "contacts", nameZh="李娜") for _ in range(2)]
    for contact in (survivor, merged):
        await make(house, "wei", "customerContacts", customerId=shop, contactId=contact)
    form = await published(house, CSAT)
    said: dict[str, Any] = {"customerId": shop, "contactId": merged}
    made = {
        "answers": await make(house, "wei", "answers", formId=form, values={"happy": 4}, **said),
        "cases": await make(house, "wei", "cases", subject="Wrong sizes", **said),
        "attachments": await make(house, "wei", "attachments", collection="contacts", recordId=merged, **PHOTO),
    }

    async def each(intent: Intent) -> None:
        for name, record_id in made.items():
            [outcome] = await house.change("admin", USE_CASES[name, intent], Change(record_id, intent))
            assert outcome.status is Status.APPLIED, (name, outcome.problems)

    async def named() -> set[Any]:
        rows = [
            await house.row(TABLES[n], i, "record_id" if n == "attachments" else "contact_id") for n, i in made.items()
        ]
        return {row[0] for row in rows}

    if when is not WITHIN_AND_AFTER:
        await each(Intent.DELETE)
    [merge_id] = await merge(house, survivor, merged, collection="contacts")
    if when is WITHIN_AND_AFTER:
        await each(Intent.DELETE)
    if when is BEFORE_AND_WITHIN:
        await each(Intent.RESTORE)
        assert await named() == {survivor}
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    if when is not BEFORE_AND_WITHIN:
        await each(Intent.RESTORE)
    assert await named() == {merged}
    await sound(house)


async def test_who_holds_it_again_brings_back_a_contact_deleted_within_the_merge(house: House) -> None:
    """Where it would stand is said by the links it went with, and those are the undone record's again."""
    survivor, merged = await customer(house, "wei"), await customer(house, "na")
    contact = await make(house, "na", "contacts", nameZh="李娜")
    link = await make(house, "na", "customerContacts", customerId=merged, contactId=contact)
    [merge_id] = await merge(house, survivor, merged)
    await delete(house, "contacts", contact)
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert [p.code for p in (await restore(house, "wei", "contacts", contact)).problems] == [Code.NOT_FOUND]
    outcome = await restore(house, "na", "contacts", contact)
    assert outcome.status is Status.APPLIED, outcome.problems
    assert await house.row("customer_contact", link, "customer_id") == (merged,)
    await sound(house)


async def test_a_deleted_link_comes_back_beside_its_like_and_goes_back(house: House) -> None:
    """Both customers knew the contact. A customer may have two links to one, as it may when they are made."""
    survivor, merged = await customer(house, "wei"), await customer(house, "na")
    contact = await make(house, "wei", "contacts", nameZh="李娜")
    held = await make(house, "wei", "customerContacts", customerId=survivor, contactId=contact, primary=True)
    gone = await make(house, "admin", "customerContacts", customerId=merged, contactId=contact, primary=True)
    await delete(house, "customerContacts", gone)
    [merge_id] = await merge(house, survivor, merged)
    assert (await restore(house, "wei", "customerContacts", gone)).status is Status.APPLIED
    assert await house.row("customer_contact", gone, "customer_id", "contact_id") == (survivor, contact)
    await sound(house)
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    for link, customer_id in ((gone, merged), (held, survivor)):
        assert await house.row("customer_contact", link, "customer_id", "contact_id") == (customer_id, contact)
    await sound(house)


async def test_a_deleted_door_comes_back_below_no_door(house: House) -> None:
    """Its head became a customer that is a door itself, and a chain is one storey high."""
    chain = await customer(house, "wei", kind="CHAIN")
    survivor, merged = await customer(house, "wei", parentId=chain), await customer(house, "wei")
    door = await customer(house, "wei", parentId=merged)
    await delete(house, "customers", door)
    [merge_id] = await merge(house, survivor, merged)
    [problem] = (await restore(house, "admin", "customers", door)).problems
    assert (problem.code, problem.path) == (Code.INVALID_VALUE, ("parentId",))
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert (await restore(house, "admin", "customers", door)).status is Status.APPLIED
    assert await house.row("customer", door, "parent_id") == (merged,)
    await sound(house)


async def test_what_a_merge_took_away_is_no_deleted_record_once_it_is_undone(house: House) -> None:
    survivor, merged = await customer(house, "wei"), await customer(house, "wei")
    phone = await synced(house, "wei")
    [merge_id] = await merge(house, survivor, merged)
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    async with house.engine.read() as conn:
        kept = await conn.fetch("SELECT key FROM deleted_record")
    assert [row[0] for row in kept] == []
    await sync(house, "wei", phone)
    assert ("customers", merged) in phone.documents
