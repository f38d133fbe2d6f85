"""What a person answered and complained of goes with the person; what it measures stays the customer's."""

from typing import Any

import pytest

from backend.config import load_messages
from backend.domain.contacts import CONTACT
from backend.errors import Code
from backend.ids import new_id
from backend.sync.changes import Change, Intent
from backend.sync.doctor import check_feed
from backend.usecases.merges import merge_records, undo_merge
from backend.usecases.person_export import export_person
from backend.wiring import USE_CASES
from tests.house import House, create
from tests.usecases.canaries import is_seen, person, places_in_tables
from tests.usecases.phones import sync, synced
from tests.usecases.test_erasure import contact_at, make, shop
from tests.usecases.test_erasure_more import consumer, erase

QUESTIONS = [
    {"key": "happy", "kind": "CSAT", "nameEn": "Happy?", "measure": "CSAT"},
    {"key": "words", "kind": "LONG_TEXT", "nameEn": "In your words"},
]
SAID = {"happy": 2, "words": 'qzxv said "cold"'}
TOLD = {"subject": "qzxv subject", "notes": "qzxv notes", "resolution": "qzxv resolution"}


@pytest.fixture
async def form(house: House) -> str:
    return await make(house, "admin", "forms", key="f", occasion="VISIT", nameEn="F", questions=QUESTIONS)


async def said_by(house: House, form: str, customer: str, contact: str | None, **told: Any) -> tuple[str, str]:
    """(answer, case)."""
    who = {"customerId": customer, "contactId": contact}
    answer = await make(house, "wei", "answers", **who, formId=form, values=SAID)
    return answer, await make(house, "wei", "cases", **who, **(told or TOLD))


@pytest.mark.requirement("R49")
async def test_what_a_consumer_said_is_left_nowhere_and_its_measure_stays(house: House, form: str) -> None:
    customer = await consumer(house)
    contact = await contact_at(house, customer, **person(CONTACT))
    answer, case = await said_by(house, form, customer, contact)
    skip = {"kind": "SKIP", "reason": "OTHER", "note": "qzxv is ill"}
    skipped = await make(house, "wei", "judgements", customerId=customer, **skip)
    for name, gone in zip(("answers", "cases"), await said_by(house, form, customer, None), strict=True):
        await house.change("admin", USE_CASES[name, Intent.DELETE], Change(gone, Intent.DELETE))
    phone = await synced(house, "wei")
    tables = {place.partition(".")[0] for place in await places_in_tables(house.engine)}
    assert tables >= {"answer", "service_case", "judgement", "feed", "audit_entry", "deleted_record"}

    await erase(house, customer)
    assert await places_in_tables(house.engine) == []
    await sync(house, "wei", phone)
    assert not is_seen(repr(phone.documents).encode())
    document = phone.documents["answers", answer]
    assert (document["values"], document["contactId"], document["measures"][0]["value"]) == ({}, None, 2)
    assert phone.documents["cases", case]["subject"] == "•••"
    assert (phone.documents["judgements", skipped]["note"], phone.documents["judgements", skipped]["reason"]) == (
        None,
        "OTHER",
    )
    assert (await check_feed(house.engine)).findings == []
    assert (await erase(house, customer)).already
    for name, fields in (("answers", {"formId": form, "values": SAID}), ("cases", TOLD), ("judgements", skip)):
        wish = create(new_id(), {"customerId": customer, **fields})
        [outcome] = await house.change("wei", USE_CASES[name, Intent.CREATE], wish)
        assert [problem.code for problem in outcome.problems] == [Code.PERSON_ERASED], name
    assert await places_in_tables(house.engine) == []


@pytest.mark.requirement("R49")
async def test_what_a_contact_said_stays_as_numbers_of_the_customer_and_as_a_complaint_of_nobody(
    house: House, form: str
) -> None:
    customer = await shop(house)
    contact = await contact_at(house, customer, **person(CONTACT))
    answer, case = await said_by(house, form, customer, contact, subject="Wrong sizes", notes="Qzxvanna1 called")
    erased = await erase(house, contact, strike=True)
    assert erased.counts["mentions"] == 1
    phone = await synced(house, "wei")
    assert (phone.documents["cases", case]["contactId"], phone.documents["cases", case]["subject"]) == (
        None,
        "Wrong sizes",
    )
    assert phone.documents["answers", answer]["values"] == {}
    assert phone.documents["cases", case]["notes"] == "••• called"
    assert await places_in_tables(house.engine) == []


@pytest.mark.requirement("R49")
async def test_an_answer_of_somebody_else_that_names_the_person_is_listed_or_struck_out(
    house: House, form: str
) -> None:
    customer = await shop(house)
    contact = await contact_at(house, customer, nameEn="Qzxvanna")
    said = {"happy": 3, "words": "ask Qzxvanna for the keys"}
    answer = await make(house, "wei", "answers", customerId=customer, formId=form, values=said)
    other = await contact_at(house, customer, nameEn="Keys Keeper")
    erased = await erase(house, contact, strike=True)
    assert erased.counts["mentions"] == 1
    document = (await synced(house, "wei")).documents["answers", answer]
    assert document["values"] == {"happy": 3, "words": "ask ••• for the keys"}
    said = {"happy": 3, "words": "Keys Keeper has them"}
    named = await make(house, "wei", "answers", customerId=customer, formId=form, values=said)
    listed = (await erase(house, other)).mentions
    assert [(one.collection, one.record_id, one.field) for one in listed] == [("answers", named, "values.words")]


@pytest.mark.requirement("R49")
async def test_a_person_is_told_what_he_answered_and_complained_of(house: House, form: str) -> None:
    customer = await shop(house)
    contact = await contact_at(house, customer, nameEn="Ann")
    answer, case = await said_by(house, form, customer, contact)
    await said_by(house, form, customer, None)
    told = await house.work(
        "admin", lambda work: export_person(work, contact, rows_max=10, texts=load_messages(), locale="en")
    )
    held = {one["section"]: one for one in told["sections"]}
    for name, record_id in (("answers", answer), ("cases", case)):
        assert held[name]["total"] == 1
        row = {cell["field"]: cell["value"] for cell in held[name]["rows"][0]}
        assert row["id"] == record_id
        assert is_seen(repr(row).encode())


async def test_what_a_merged_contact_said_the_survivor_said_until_that_is_taken_back(house: House, form: str) -> None:
    customer = await shop(house)
    survivor, merged = [await contact_at(house, customer, nameEn=name) for name in ("Ann", "Anne")]
    answer, case = await said_by(house, form, customer, merged)
    [merge] = await house.work("manager", lambda work: merge_records(work, "contacts", survivor, [merged]))

    async def named() -> list[object]:
        phone = await synced(house, "wei")
        return [phone.documents[key]["contactId"] for key in (("answers", answer), ("cases", case))]

    assert await named() == [survivor, survivor]
    await house.work("manager", lambda work: undo_merge(work, merge))
    assert await named() == [merged, merged]
