"""Who is erased how: consumers, colleagues, shops' contacts; who may; what others wrote; what the command line says."""

from typing import Any

import pytest

from backend.domain.contacts import CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.privacy import ERASED_COLLEAGUE, ERASED_NAMES, KEPT_OF_CUSTOMER, ErasureReason
from backend.errors import Code, Refused
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Status
from backend.sync.doctor import check_feed
from backend.sync.work import Work, in_work
from backend.usecases.merges import merge_records
from backend.usecases.people import set_active
from backend.usecases.privacy.erased import Erased
from backend.usecases.privacy.persons import erase_person
from backend.wiring import USE_CASES
from tests.files.conftest import declare
from tests.files.pictures import document
from tests.house import House, create, patch
from tests.usecases.canaries import is_seen, person, places_in_tables
from tests.usecases.phones import sync, synced
from tests.usecases.test_erasure import _rows, change, contact_at, make, shop


async def erase(house: House, record_id: str, who: str = "admin", *, strike: bool = False) -> Erased:
    async def story(work: Work) -> Erased:
        return await erase_person(work, record_id, ErasureReason.REQUEST, strike_mentions=strike)

    erased, _ = await in_work(house.engine, house.people[who], story, clock=lambda: house.now_ms, retries_max=3)
    return erased


def code_of(refused: pytest.ExceptionInfo[Refused]) -> list[Code]:
    return [problem.code for problem in refused.value.problems]


async def consumer(house: House, **more: Any) -> str:
    fields = person(CUSTOMER, stage="MATURE", province="上海市", city="上海", kind="CONSUMER") | more
    return await make(house, "wei", "customers", **fields)


@pytest.mark.requirement("R49")
async def test_a_consumer_stays_for_the_orders_and_is_nobody(house: House) -> None:
    customer = await consumer(house)
    own = await contact_at(house, customer, **person(CONTACT))
    shared = await contact_at(house, customer, nameEn="Shared Person")
    await make(house, "wei", "customerContacts", customerId=await shop(house), contactId=shared)
    order = await make(house, "wei", "orders", customerId=customer, currency="CNY", lines=[], notes="qzxv order",
                       poNumber="qzxv po")  # fmt: skip
    visit = await make(house, "wei", "visits", customerId=customer, plannedAt=house.now_ms, notes="qzxv visit",
                       nextStep="qzxv next")  # fmt: skip
    gone = await make(house, "wei", "visits", customerId=customer, plannedAt=house.now_ms, notes="qzxv deleted")
    rev = await house.rev("visits", gone)
    await house.change("admin", USE_CASES["visits", Intent.DELETE], Change(gone, Intent.DELETE, base_rev=rev))
    task = await make(house, "wei", "tasks", customerId=customer, title="call Qzxvanna", notes="qzxv task")
    assert await change(house, "manager", "customers", customer, notes="qzxv more") is Status.APPLIED
    merged = await consumer(house)
    await house.work("manager", lambda work: merge_records(work, "customers", customer, [merged]))
    phone = await synced(house, "wei")
    assert is_seen(repr(phone.documents).encode())

    erased = await erase(house, customer)
    assert await places_in_tables(house.engine) == []
    assert set(erased.ids) == {customer, merged, own}
    assert await house.row("customer", customer, "kind", "city", "name_zh", "name_ko", "name_en", "phone") == (
        "CONSUMER", "上海", *ERASED_NAMES.values(), None,
    )  # fmt: skip
    assert (await house.row("sales_order", order, "customer_id", "notes"))[0] == customer
    assert await house.row("task", task, "title") == ("•••",)
    assert await house.row("contact", shared, "name_en") == ("Shared Person",)
    await sync(house, "wei", phone)
    assert not is_seen(repr(phone.documents).encode())
    assert phone.documents["customers", customer]["nameEn"] == ERASED_NAMES["nameEn"]
    assert ("orders", order) in phone.documents
    assert (await check_feed(house.engine)).findings == []

    # work on it goes on where books need it, and tells nothing of the person
    late = [
        ("visits", patch(visit, await house.rev("visits", visit), notes="qzxv again"), Code.PERSON_ERASED),
        ("customers", patch(customer, await house.rev("customers", customer), phone="13755550199"), Code.PERSON_ERASED),
        ("tasks", create(new_id(), {"customerId": customer, "title": "qzxv"}), Code.PERSON_ERASED),
        ("visits", patch(visit, await house.rev("visits", visit), state="CANCELLED", reason="OTHER"), None),
    ]
    for name, wish, code in late:
        [outcome] = await house.change("wei", USE_CASES[name, wish.intent], wish)
        assert [problem.code for problem in outcome.problems] == ([code] if code else []), (name, outcome)
    assert await places_in_tables(house.engine) == []
    # what was told of the visit meanwhile goes, and then nothing is left to do
    assert set((await erase(house, customer)).counts) <= {"auditEntries"}
    again = await erase(house, customer)
    assert (again.already, again.counts) == (True, {})


BESIDE = {
    "match_pair": "first_id = ? OR second_id = ?",
    "record_alias": "alias_id = ? OR record_id = ?",
    "external_id": "record_id = ? OR external = ?",
    "attachment": "record_id = ? OR id = ?",
}


async def test_what_stands_beside_the_record_goes_with_it(house: House) -> None:
    """Rows that hold an id, a number or a reason and no text of the person: no canary would tell of them."""
    customer = await consumer(house, phone="+8613755501001")
    merged, alike = await consumer(house, phone="+8613755501001"), await consumer(house, phone="+8613755501001")
    await house.work("manager", lambda work: merge_records(work, "customers", customer, [merged]))
    position = {"checkInAt": house.now_ms, "checkInLatE7": 317_000_001, "checkInLonE7": 1_210_000_001}
    visit = await make(house, "wei", "visits", customerId=customer, state="CHECKED_IN", **position)
    await declare(house, "wei", visit, document(2_000), collection="visits", file_name="x.pdf")
    other = await shop(house)
    base = await house.rev("customers", other)
    assert await change(house, "manager", "customers", other, street="a street") is Status.APPLIED
    naming = patch(other, base, street="ask +8613755501001")
    [outcome] = await house.change("wei", USE_CASES["customers", Intent.PATCH], naming)
    assert outcome.status is Status.CONFLICT
    async with house.engine.write() as conn:
        pair = sorted((customer, alike))
        await conn.execute("DELETE FROM match_pair")
        await conn.execute(
            "INSERT INTO match_pair (id, collection, first_id, second_id, points, reasons, state, found_at, found_by)"
            " VALUES (?, 'customers', ?, ?, 9, '[]', 'OPEN', 1, 'x')",
            new_id(), *pair,
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO external_id (id, system, collection, external, record_id)"
            " VALUES (?, 'erp', 'customers', '7', ?)",
            new_id(), customer,
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO import_row (id, batch_id, row_number, outcome, record_id, problems)"
            " VALUES (?, ?, 1, 'FAILED', ?,"
            ' \'[{"code": "INVALID_VALUE"}]\')',
            new_id(), new_id(), customer,
        )  # fmt: skip
        await conn.execute("UPDATE territory_assignment SET reason = 'moved house' WHERE customer_id = ?", customer)

    async def found() -> dict[str, int]:
        counts = {}
        for table, where in BESIDE.items():
            id_ = visit if table == "attachment" else customer
            counts[table] = (await _rows(house, f"SELECT count(*) FROM {table} WHERE {where}", id_, id_))[0][0]
        for name, sql in {
            "issues": "SELECT count(*) FROM sync_issue",
            "problems": "SELECT count(*) FROM import_row WHERE problems <> '[]'",
            "reasons": "SELECT count(*) FROM territory_assignment WHERE reason IS NOT NULL",
            "positions": "SELECT count(*) FROM visit WHERE check_in_lat_e7 IS NOT NULL",
        }.items():
            counts[name] = (await _rows(house, sql))[0][0]
        return counts

    before = await found()
    assert all(before.values()), before
    await erase(house, customer)
    assert not any((await found()).values()), await found()


def test_what_is_kept_of_a_consumer_is_named_and_whatever_is_added_goes() -> None:
    personal = {one.name for one in CUSTOMER.fields if one.personal}
    assert not personal & KEPT_OF_CUSTOMER
    assert {one.name for one in CUSTOMER.client_fields} >= KEPT_OF_CUSTOMER


async def test_a_shop_is_no_person(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await erase(house, await shop(house))
    assert code_of(refused) == [Code.NOT_ALLOWED_VALUE]


@pytest.mark.requirement("R49")
async def test_a_colleague_who_has_left_becomes_somebody_who_has_left(house: House) -> None:
    who = str(house.people["wei"].user_id)
    async with house.engine.write() as conn:
        await conn.execute("UPDATE user_account SET name = 'Qzxvwei', email = 'qzxv@haizhi.example',"
                           " home_lat_e7 = 1, home_lon_e7 = 1 WHERE id = ?", who)  # fmt: skip
        await conn.execute("UPDATE device SET name = 'Qzxv phone' WHERE user_id = ?", who)
    customer = await shop(house)
    base = await house.rev("customers", customer)
    assert await change(house, "manager", "customers", customer, city="北京") is Status.APPLIED
    [outcome] = await house.change("wei", USE_CASES["customers", Intent.PATCH], patch(customer, base, city="上海"))
    assert outcome.status is Status.CONFLICT
    assert {place.partition(".")[0] for place in await places_in_tables(house.engine)} >= {"user_account", "device"}
    with pytest.raises(Refused) as refused:
        await erase(house, who)
    assert code_of(refused) == [Code.NOT_EDITABLE]
    await house.work("admin", lambda work: set_active(work, who, active=False))
    async with house.engine.write() as conn:
        await conn.execute("INSERT INTO oidc_link (id, issuer, subject, user_id, created_at)"
                           " VALUES (?, 'i', 's', ?, 1)",
                           new_id(), who)  # fmt: skip
    await erase(house, who)
    assert await places_in_tables(house.engine) == []
    assert await _rows(house, "SELECT 1 FROM oidc_link WHERE user_id = ?", who) == [], "nor by his provider"
    assert await house.row("user_account", who, "name", "home_lat_e7") == (ERASED_COLLEAGUE, None)
    assert await _rows(house, "SELECT author_name, mine FROM sync_issue") == [(ERASED_COLLEAGUE, '"上海"')]
    assert (await check_feed(house.engine)).findings == []
    assert (await erase(house, who)).already


@pytest.mark.parametrize("who", ["wei", "manager", "agent", "analyst"])
async def test_who_may_not_erase_learns_nothing(house: House, who: str) -> None:
    contact = await contact_at(house, await shop(house), nameEn="Ann")
    answers = []
    for record_id in (contact, new_id(), "no id"):
        with pytest.raises(Refused) as refused:
            await erase(house, record_id, who)
        answers.append(code_of(refused))
    assert answers == [[Code.NOT_PERMITTED]] * 3
    assert await house.row("contact", contact, "name_en") == ("Ann",)


async def test_nobody_is_not_found_and_somebody_only_once(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await erase(house, new_id())
    assert code_of(refused) == [Code.NOT_FOUND]
    contact = await contact_at(house, await shop(house), nameEn="Ann")
    first, second = await erase(house, contact), await erase(house, contact)
    assert (first.already, second.already, second.counts) == (False, True, {})
    [(erasure_id,)] = await _rows(house, "SELECT erasure_id FROM erased_person WHERE id = ?", contact)
    assert erasure_id == first.erasure_id
    told = await _rows(house, "SELECT count(*) FROM audit_entry WHERE action = 'ERASE' AND record_id = ?", contact)
    assert told[0][0] >= 1


async def test_what_others_wrote_of_the_person_is_listed_or_struck_out(house: House) -> None:
    customer = await shop(house, notes="ask Qzxvanna1 or ring +8613755501001")
    other = await contact_at(house, customer, nameEn="Bob", notes="the brother of Qzxvanna1")
    visit = await make(house, "wei", "visits", customerId=customer, plannedAt=house.now_ms, notes="met QZXVANNA1 not")
    contact = await contact_at(house, customer, **person(CONTACT))
    async with house.engine.read() as conn:
        [row] = await conn.fetch("SELECT phone FROM contact WHERE id = ?", contact)
    await house.work("system", lambda work: work.conn.execute(
        "UPDATE customer SET notes = ? WHERE id = ?", f"ask Qzxvanna1 or ring {row[0]}", customer))  # fmt: skip
    first = await erase(house, contact)
    assert {(m.collection, m.record_id, m.field) for m in first.mentions} == {
        ("customers", customer, "notes"),
        ("contacts", other, "notes"),
    }
    twin = await contact_at(house, customer, **person(CONTACT))
    await erase(house, twin, strike=True)
    assert (await house.row("customer", customer, "notes"))[0] == "ask ••• or ring •••"
    assert (await house.row("contact", other, "notes"))[0] == "the brother of •••"
    assert (await house.row("visit", visit, "notes"))[0] == "met QZXVANNA1 not"  # another name, as it is written
