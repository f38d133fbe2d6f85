"""What an organisation's own fields say of a person goes with the person: values, history, and what others wrote."""

from typing import Any

import pytest

from backend.domain.contacts import CONTACT
from backend.errors import Code
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Status
from backend.sync.doctor import check_feed
from backend.sync.push import Mutation
from backend.wiring import USE_CASES
from tests.house import House, create, patch
from tests.usecases.canaries import is_seen, person, places_in_tables
from tests.usecases.phones import sync, synced
from tests.usecases.test_erasure import change, contact_at, make, next_seq, pushed, shop
from tests.usecases.test_erasure_more import consumer, erase

CUSTOMISED = ("customers", "contacts", "visits", "orders", "tasks")
CHOICES = [{"value": "HOME", "nameEn": "Home"}]
VALUES = {"story": 'qzxv said "so"', "where": "HOME", "kin": "Qzxvkin"}


@pytest.fixture
async def fields(house: House) -> None:
    """A long text, a choice and a personal text on every collection; the long text is asked for."""
    for name in CUSTOMISED:
        for key, kind, more in (
            ("story", "LONG_TEXT", {"required": True}),
            ("where", "CHOICE", {"choices": CHOICES}),
            ("kin", "TEXT", {"personal": True}),
        ):
            await make(house, "admin", "customFields", collection=name, key=key, kind=kind, nameEn=key, **more)


async def work_on(house: House, customer: str) -> dict[str, str]:
    """A visit, an order and a task of the customer with custom values; collection → id."""
    given: dict[str, dict[str, Any]] = {
        "visits": {"plannedAt": house.now_ms},
        "orders": {"currency": "CNY", "lines": []},
        "tasks": {"title": "call"},
    }
    return {n: await make(house, "wei", n, customerId=customer, custom=VALUES, **f) for n, f in given.items()}


@pytest.mark.requirement("R13", "R49")
async def test_custom_values_of_a_consumer_and_of_its_work_are_left_nowhere(house: House, fields: None) -> None:
    customer = await consumer(house, custom=VALUES)
    contact = await contact_at(house, customer, **person(CONTACT), custom=VALUES)
    work = await work_on(house, customer)
    gone = (await work_on(house, customer))["tasks"]
    await house.change("admin", USE_CASES["tasks", Intent.DELETE], Change(gone, Intent.DELETE))
    for name, record_id in [("customers", customer), ("contacts", contact), *work.items()]:
        base = await house.rev(name, record_id)
        theirs = {**VALUES, "story": "qzxv theirs", "kin": None}
        assert await change(house, "admin", name, record_id, custom=theirs) is Status.APPLIED, name
        mine = Mutation(
            new_id(), await next_seq(house, "wei"), name, record_id, base, {"custom": {"story": "qzxv mine"}},
            base={"custom": VALUES},
        )  # fmt: skip
        assert [answer.status for answer in await pushed(house, "wei", mine)] == [Status.CONFLICT], name
    phone = await synced(house, "wei")
    tables = {place.partition(".")[0] for place in await places_in_tables(house.engine)}
    assert tables >= {"customer", "contact", "visit", "sales_order", "task", "feed", "sync_issue", "audit_entry",
                      "deleted_record"}  # fmt: skip

    await erase(house, customer)
    assert await places_in_tables(house.engine) == []
    await sync(house, "wei", phone)
    assert not is_seen(repr(phone.documents).encode())
    for name, record_id in [("customers", customer), *work.items()]:
        assert phone.documents[name, record_id]["custom"] == {}, name
    assert (await check_feed(house.engine)).findings == []
    assert (await erase(house, customer)).already

    # nobody fills them in again, and work goes on without what is asked for
    for name, record_id in [("customers", customer), ("contacts", contact), *work.items()]:
        base = await house.rev(name, record_id)
        wish = patch(record_id, base, custom={"story": "qzxv again"})
        [outcome] = await house.change("wei", USE_CASES[name, Intent.PATCH], wish)
        assert [problem.code for problem in outcome.problems] == [Code.PERSON_ERASED], name
    assert await change(house, "wei", "visits", work["visits"], state="CANCELLED", reason="OTHER") is Status.APPLIED
    assert await places_in_tables(house.engine) == []


async def test_custom_texts_of_others_that_name_the_person_are_listed_or_struck_out(house: House, fields: None) -> None:
    named = {"story": 'met "Qzxvanna1" at HOME', "where": "HOME", "kin": "Qzxvanna1's brother"}
    customer = await shop(house, custom=named)
    other = await contact_at(house, customer, nameEn="Bob", custom={**named, "story": "nobody"})
    contact = await contact_at(house, customer, **person(CONTACT), custom={"story": "x"})
    found = await erase(house, contact)
    assert {(m.collection, m.record_id, m.field) for m in found.mentions} == {
        ("customers", customer, "custom.story"),
        ("customers", customer, "custom.kin"),
        ("contacts", other, "custom.kin"),
    }
    twin = await contact_at(house, customer, **person(CONTACT), custom={"story": "x"})
    await erase(house, twin, strike=True)
    documents = (await synced(house, "wei")).documents
    struck = {"story": 'met "•••" at HOME', "where": "HOME", "kin": "•••'s brother"}
    assert documents["customers", customer]["custom"] == struck
    assert documents["contacts", other]["custom"] == {**struck, "story": "nobody"}
    assert (await check_feed(house.engine)).findings == []


async def test_a_name_is_struck_out_of_every_text_however_many_there_are(house: House) -> None:
    customer = await shop(house)
    contact = await contact_at(house, customer, nameEn="Qzxvanna1")
    wishes = [create(new_id(), {"title": "ask Qzxvanna1", "notes": "ask qzxvanna1"}) for _ in range(60)]
    await house.change("wei", USE_CASES["tasks", Intent.CREATE], *wishes)
    listed = await erase(house, contact)
    assert [m.field for m in listed.mentions] == ["title"] * 50  # for somebody to look at, so not without end
    twin = await contact_at(house, customer, nameEn="Qzxvanna1")
    assert (await erase(house, twin, strike=True)).counts["mentions"] == 60
    async with house.engine.read() as conn:
        assert await conn.fetch("SELECT DISTINCT title, notes FROM task") == [("ask •••", "ask qzxvanna1")]


@pytest.mark.requirement("R49")
async def test_nobody_who_was_erased_is_brought_back_by_any_door(house: House) -> None:
    customer = await consumer(house)
    visit = await make(house, "wei", "visits", customerId=customer, plannedAt=house.now_ms, notes="qzxv")
    contact = await contact_at(house, await shop(house), **person(CONTACT))
    for name, record_id in (("visits", visit), ("contacts", contact)):
        await house.change("admin", USE_CASES[name, Intent.DELETE], Change(record_id, Intent.DELETE))
    for record_id in (customer, contact):
        await erase(house, record_id)
    for name, record_id in (("contacts", contact), ("customers", customer)):
        back = Change(record_id, Intent.RESTORE)
        [outcome] = await house.change("admin", USE_CASES[name, Intent.RESTORE], back)
        assert [problem.code for problem in outcome.problems] == [Code.PERSON_ERASED], name
        late = Mutation(new_id(), await next_seq(house, "wei"), name, record_id, None, {}, restore=True)
        [answer] = await pushed(house, "wei", late)
        assert [problem.code for problem in answer.problems] == [Code.PERSON_ERASED], name
    back = Change(visit, Intent.RESTORE)
    [outcome] = await house.change("admin", USE_CASES["visits", Intent.RESTORE], back)
    assert [problem.code for problem in outcome.problems] == [Code.RESTORE_TOO_LATE]
    assert await places_in_tables(house.engine) == []
