"""Merging: one record of two, the old id still leading to it, and the way back."""

from typing import Any

import orjson
import pytest

from backend.errors import Code, Refused
from backend.ids import new_id
from backend.storage.visibility import places_sql
from backend.sync.changes import Change, Intent, Status
from backend.sync.doctor import check_feed
from backend.sync.push import Mutation, push
from backend.sync.work import Door, Work
from backend.usecases.matches import keep_match_keys, queue_matches
from backend.usecases.merges import merge_records, undo_merge
from backend.wiring import USE_CASES
from tests.house import House, create, patch
from tests.usecases.asking import ask, data

NEAR_BUND = {"latE7": 312_400_000, "lonE7": 1_214_900_000}


async def make(house: House, who: str, collection: str, /, **fields: Any) -> str:
    record_id = new_id()
    [outcome] = await house.change(who, USE_CASES[collection, Intent.CREATE], create(record_id, fields))
    assert outcome.status is Status.APPLIED, outcome
    return record_id


async def customer(house: House, who: str = "wei", **fields: Any) -> str:
    return await make(house, who, "customers", **{"kind": "RETAILER", "nameZh": "春裳生活馆", **fields})


def planned(house: House, customer_id: str, who: str) -> dict[str, Any]:
    rep_id = str(house.people[who].user_id)
    return {"customerId": customer_id, "purpose": "SELL", "plannedAt": "2026-11-25T02:00:00.000Z", "repId": rep_id}


async def visit_at(house: House, customer_id: str, who: str = "wei") -> str:
    return await make(house, who, "visits", **planned(house, customer_id, who))


async def merge(house: House, survivor_id: str, *merged_ids: str, who: str = "manager", take: tuple[str, ...] = (),
                collection: str = "customers") -> list[str]:  # fmt: skip
    return await house.work(who, lambda work: merge_records(work, collection, survivor_id, merged_ids, take))


async def feed_of(house: House, collection: str, record_id: str) -> tuple[bool, dict[str, Any]]:
    async with house.engine.read() as conn:
        [(deleted, document)] = await conn.fetch(
            "SELECT deleted, document FROM feed WHERE key = ?", f"{collection}:{record_id}"
        )
    return bool(deleted), orjson.loads(bytes(document))


async def sound(house: House) -> None:
    """Documents, places and checksums say what the tables say."""
    assert (await check_feed(house.engine)).findings == []


@pytest.mark.requirement("R32")
async def test_all_that_hangs_on_the_merged_customer_goes_to_the_survivor(house: House) -> None:
    survivor = await customer(house, "wei", phone="+862161234567")
    merged = await customer(house, "na", taxId="91310000MA1FL00001", tags=["VIP"], notes="asks for linen")
    visit = await visit_at(house, merged, "na")
    [merge_id] = await merge(house, survivor, merged)
    assert await house.row("visit", visit, "customer_id", "territory_id") == (survivor, house.patches["north"])
    deleted, document = await feed_of(house, "customers", survivor)
    assert not deleted
    assert (document["taxId"], document["phone"]) == ("91310000MA1FL00001", "+862161234567")
    assert (document["tags"], document["notes"]) == (["VIP"], "asks for linen")
    assert (await feed_of(house, "customers", merged))[0]
    assert await house.row("customer", merged, "id") == ()
    await sound(house)
    assert merge_id


async def test_a_chains_head_follows_when_one_of_its_doors_becomes_another_shop(house: House) -> None:
    """It stands where its doors stand: the survivor takes the door's place in the chain, and gives it back."""
    head = await customer(house, "admin", territoryId=house.patches["north"])
    door = await customer(house, "admin", territoryId=house.patches["north"], parentId=head)
    survivor = await customer(house, "na", nameZh="另一家店")
    [merge_id] = await merge(house, survivor, door)
    assert await house.row("customer", survivor, "parent_id") == (head,)
    await sound(house)
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert await house.row("customer", survivor, "parent_id") == (None,)
    assert await house.row("customer", door, "parent_id") == (head,)
    await sound(house)


async def test_what_the_survivor_has_stands_unless_the_merged_value_is_taken(house: House) -> None:
    survivor = await customer(house, phone="+862161234567", email="old@shop.example")
    merged = await customer(house, phone="+862169999999", email="new@shop.example")
    await merge(house, survivor, merged, take=("email",))
    assert await house.row("customer", survivor, "phone", "email") == ("+862161234567", "new@shop.example")


async def _pushed(house: House, who: str, *mutations: Mutation) -> list[Any]:
    async def story(work: Work) -> list[Any]:
        return await push(work, mutations, USE_CASES, mutations_max=100)

    return await house.work(who, story, door=Door.PUSH)


async def test_an_offline_edit_and_an_offline_visit_for_the_old_id_land_on_the_survivor(house: House) -> None:
    survivor, merged = await customer(house), await customer(house)
    base = await house.rev("customers", merged)
    await merge(house, survivor, merged)
    visit = new_id()
    answers = await _pushed(
        house,
        "wei",
        Mutation(new_id(), 1, "customers", merged, base, {"street": "延安路 1 号"}),
        Mutation(new_id(), 2, "visits", visit, None, planned(house, merged, "wei")),
        Mutation(new_id(), 3, "customers", survivor, base, {"city": "上海"}),
    )  # fmt: skip
    assert [answer.status for answer in answers] == [Status.APPLIED] * 3, answers
    assert answers[0].written == (("customers", survivor),)
    assert await house.row("customer", survivor, "street", "city") == ("延安路 1 号", "上海")
    assert await house.row("visit", visit, "customer_id") == (survivor,)
    await sound(house)


async def test_an_edit_of_the_old_id_in_one_batch_with_one_of_the_survivor_loses_neither(house: House) -> None:
    survivor, merged = await customer(house), await customer(house)
    base = await house.rev("customers", merged)
    await merge(house, survivor, merged)
    outcomes = await house.change(
        "wei",
        USE_CASES["customers", Intent.PATCH],
        patch(survivor, await house.rev("customers", survivor), city="上海"),
        patch(merged, base, street="延安路 1 号"),
    )
    assert [outcome.id for outcome in outcomes] == [survivor, survivor]
    assert await house.row("customer", survivor, "street", "city") == ("延安路 1 号", "上海")


async def test_an_edit_of_the_old_id_against_a_newer_value_is_kept_as_an_issue(house: House) -> None:
    survivor, merged = await customer(house), await customer(house)
    base = await house.rev("customers", merged)
    await house.change("manager", USE_CASES["customers", Intent.PATCH],
                       patch(survivor, await house.rev("customers", survivor), city="苏州"))  # fmt: skip
    await merge(house, survivor, merged)
    [answer] = await _pushed(house, "wei", Mutation(new_id(), 1, "customers", merged, base, {"city": "上海"}))
    assert answer.status is Status.CONFLICT
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT record_id, mine, theirs FROM sync_issue")
    assert [tuple(row) for row in rows] == [(survivor, '"上海"', '"苏州"')]


async def test_creating_the_old_id_again_writes_to_the_survivor_and_deleting_it_leaves_the_survivor(
    house: House,
) -> None:
    survivor, merged = await customer(house), await customer(house)
    await merge(house, survivor, merged)
    again = create(merged, {"kind": "RETAILER", "nameZh": "春裳生活馆", "street": "延安路 1 号"})
    [outcome] = await house.change("wei", USE_CASES["customers", Intent.CREATE], again)
    assert (outcome.id, outcome.status) == (survivor, Status.APPLIED)
    [outcome] = await house.change("admin", USE_CASES["customers", Intent.DELETE], Change(merged, Intent.DELETE))
    assert outcome.status is Status.APPLIED
    assert await house.row("customer", survivor, "street") == ("延安路 1 号",)


async def test_a_survivor_that_is_merged_itself_passes_both_old_ids_on(house: House) -> None:
    first, second, third = [await customer(house) for _ in range(3)]
    await merge(house, second, first)
    await merge(house, third, second)
    for old in (first, second):
        [outcome] = await house.change("wei", USE_CASES["customers", Intent.PATCH], patch(old, 0, city="上海"))
        assert outcome.id == third


@pytest.mark.requirement("R32")
async def test_a_merge_is_undone_with_everything_that_changed_hands(house: House) -> None:
    survivor = await customer(house, "wei", phone="+862161234567")
    merged = await customer(house, "na", taxId="91310000MA1FL00001", nameEn="Spring")
    visit = await visit_at(house, merged, "na")
    contact = await make(house, "na", "contacts", nameZh="李娜")
    link = await make(house, "na", "customerContacts", customerId=merged, contactId=contact, primary=True)
    before = [await feed_of(house, *key) for key in (("customers", survivor), ("customers", merged), ("visits", visit),
                                                     ("customerContacts", link), ("contacts", contact))]  # fmt: skip
    [merge_id] = await merge(house, survivor, merged)
    assert (await house.row("customer_contact", link, "customer_id"))[0] == survivor
    later = await visit_at(house, survivor)
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    after = [await feed_of(house, *key) for key in (("customers", survivor), ("customers", merged), ("visits", visit),
                                                    ("customerContacts", link), ("contacts", contact))]  # fmt: skip
    assert after == before
    assert await house.row("visit", later, "customer_id") == (survivor,)
    assert await house.row("visit", visit, "territory_id") == (house.patches["south"],)
    [outcome] = await house.change("na", USE_CASES["customers", Intent.PATCH], patch(merged, 0, city="北京"))
    assert outcome.id == merged
    await sound(house)


@pytest.mark.parametrize("restored", ["within the merge", "after it was undone", "deleted before, after it was undone"])
async def test_what_was_deleted_when_a_merge_was_undone_or_before_goes_to_whom_it_belonged(
    house: House, restored: str
) -> None:
    survivor, merged, last = [await customer(house, who) for who in ("wei", "na", "na")]
    visit = await visit_at(house, merged, "na")
    task = await make(house, "na", "tasks", customerId=merged, title="call")
    contact = await make(house, "na", "contacts", nameZh="李娜")
    link = await make(house, "na", "customerContacts", customerId=merged, contactId=contact)
    gone = (("visits", visit, "visit"), ("tasks", task, "task"), ("customerContacts", link, "customer_contact"))

    async def each(intent: Intent) -> None:
        for name, record_id, _ in gone:
            [outcome] = await house.change("admin", USE_CASES[name, intent], Change(record_id, intent))
            assert outcome.status is Status.APPLIED, outcome

    if restored != "after it was undone":
        await each(Intent.DELETE)
    [first] = await merge(house, survivor, merged)
    if restored == "after it was undone":
        await each(Intent.DELETE)
    [second] = await merge(house, last, survivor)
    if restored == "within the merge":
        await each(Intent.RESTORE)
        for _, record_id, table in gone:
            assert await house.row(table, record_id, "customer_id") == (last,)
    later = await visit_at(house, last, "na")
    await house.work("admin", lambda work: undo_merge(work, second))
    await house.work("admin", lambda work: undo_merge(work, first))
    if restored != "within the merge":
        await each(Intent.RESTORE)
    for _, record_id, table in gone:
        assert await house.row(table, record_id, "customer_id", "territory_id") == (merged, house.patches["south"])
    assert await house.row("visit", later, "customer_id") == (last,)
    await sound(house)


@pytest.mark.parametrize("within", [True, False])
async def test_a_link_deleted_while_its_contact_was_another_one_names_the_right_one_again(
    house: House, within: bool
) -> None:
    shop, other = await customer(house), await customer(house, nameZh="春风")
    survivor, merged = [await make(house, "wei", "contacts", nameZh="李娜") for _ in range(2)]
    await make(house, "wei", "customerContacts", customerId=other, contactId=survivor)
    await make(house, "wei", "customerContacts", customerId=other, contactId=merged)
    link = await make(house, "wei", "customerContacts", customerId=shop, contactId=merged)

    async def each(*intents: Intent) -> None:
        for intent in intents:
            [outcome] = await house.change("admin", USE_CASES["customerContacts", intent], Change(link, intent))
            assert outcome.status is Status.APPLIED, outcome

    if within:
        await each(Intent.DELETE)
    [merge_id] = await merge(house, survivor, merged, collection="contacts")
    await each(Intent.RESTORE if within else Intent.DELETE)
    await house.work("admin", lambda work: undo_merge(work, merge_id))
    if not within:
        await each(Intent.RESTORE)
    assert await house.row("customer_contact", link, "contact_id") == (merged,)
    await sound(house)


async def test_undoing_keeps_what_was_changed_since_and_happens_once(house: House) -> None:
    survivor, merged = await customer(house), await customer(house, taxId="91310000MA1FL00001")
    [merge_id] = await merge(house, survivor, merged)
    await house.change("manager", USE_CASES["customers", Intent.PATCH],
                       patch(survivor, await house.rev("customers", survivor), taxId="91310000MA1FL00002"))  # fmt: skip
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert await house.row("customer", survivor, "tax_id") == ("91310000MA1FL00002",)
    assert await house.row("customer", merged, "tax_id") == ("91310000MA1FL00001",)
    with pytest.raises(Refused) as refused:
        await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert [problem.code for problem in refused.value.problems] == [Code.NOT_EDITABLE]


async def test_a_merge_whose_survivor_was_merged_is_undone_after_that_one(house: House) -> None:
    first, second, third = [await customer(house) for _ in range(3)]
    [inner] = await merge(house, second, first)
    [outer] = await merge(house, third, second)
    with pytest.raises(Refused) as refused:
        await house.work("manager", lambda work: undo_merge(work, inner))
    assert [problem.code for problem in refused.value.problems] == [Code.NOT_EDITABLE]
    await house.work("manager", lambda work: undo_merge(work, outer))
    await house.work("manager", lambda work: undo_merge(work, inner))
    assert [await house.row("customer", one, "id") for one in (first, second, third)] == [(first,), (second,), (third,)]
    await sound(house)


async def test_doors_of_a_merged_head_become_the_survivors_and_go_back(house: House) -> None:
    head, other = await customer(house, kind="CHAIN"), await customer(house, kind="CHAIN")
    door = await customer(house, "na", parentId=other)
    [merge_id] = await merge(house, head, other)
    assert await house.row("customer", door, "parent_id") == (head,)
    async with house.engine.read() as conn:
        places = {row[1] for row in await conn.fetch(places_sql("customers"), *[[head]] * 3)}
    assert f"territory:{house.patches['south']}" in places
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert await house.row("customer", door, "parent_id") == (other,)
    await sound(house)


@pytest.mark.requirement("R49")
async def test_a_consent_withdrawn_on_either_contact_stays_withdrawn(house: House) -> None:
    event = {"channel": "EMAIL", "purpose": "MARKETING", "source": "VISIT", "wordingVersion": "1"}
    given = {**event, "change": "GIVEN", "at": "2026-10-01T00:00:00.000Z"}
    withdrawn = {**event, "change": "WITHDRAWN", "at": "2026-09-01T00:00:00.000Z"}
    survivor = await make(house, "wei", "contacts", nameZh="李娜", consentEvents=[given])
    merged = await make(house, "wei", "contacts", nameZh="李娜", consentEvents=[withdrawn])
    shop = await customer(house)
    for contact in (survivor, merged):
        await make(house, "wei", "customerContacts", customerId=shop, contactId=contact)
    await merge(house, survivor, merged, collection="contacts")
    _, document = await feed_of(house, "contacts", survivor)
    assert {found["change"] for found in document["consentEvents"]} == {"GIVEN", "WITHDRAWN"}
    async with house.engine.read() as conn:
        assert len(await conn.fetch("SELECT id FROM customer_contact")) == 1
    await sound(house)


@pytest.mark.parametrize("who", ["wei", "agent", "analyst"])
async def test_only_whoever_may_merge_does(house: House, who: str) -> None:
    survivor, merged = await customer(house), await customer(house)
    with pytest.raises(Refused) as refused:
        await merge(house, survivor, merged, who=who)
    assert [problem.code for problem in refused.value.problems] == [Code.NOT_PERMITTED]


async def test_what_the_manager_does_not_see_he_does_not_merge(house: House) -> None:
    async def north_only(work: Work) -> None:
        await work.conn.execute("UPDATE territory_member SET territory_id = ? WHERE user_id = ?",
                                house.patches["north"], str(house.people["manager"].user_id))  # fmt: skip
        work.reseat([str(house.people["manager"].user_id)])

    survivor, merged = await customer(house, "wei"), await customer(house, "na")
    await house.work("system", north_only, door=Door.JOB)
    with pytest.raises(Refused) as refused:
        await merge(house, survivor, merged)
    assert [(p.code, p.path) for p in refused.value.problems] == [(Code.NOT_FOUND, ("mergedIds", "0"))]


async def test_bad_merges_name_everything_that_is_wrong(house: House) -> None:
    survivor = await customer(house)
    answer = await data(
        house,
        "manager",
        """mutation ($id: ID!) { mergeCustomers(survivorId: $id, mergedIds: [$id], take: ["colour", "id"]) {
          ... on Refusal { problems { code path } } } }""",
        id=survivor,
    )
    assert [(p["code"], p["path"]) for p in answer["mergeCustomers"]["problems"]] == [
        ("NOT_ALLOWED_VALUE", ["take", "0"]),
        ("NOT_ALLOWED_VALUE", ["take", "1"]),
        ("INVALID_VALUE", ["mergedIds"]),
    ]


@pytest.mark.requirement("R32")
async def test_likely_duplicates_are_named_before_creating(house: House) -> None:
    same = await customer(house, phone="+862161234567", **NEAR_BUND)
    await customer(house, "na", phone="+862161234567")
    await customer(house, nameZh="云尚供应链有限公司")
    answer = await data(
        house,
        "wei",
        """query ($c: CustomerCandidate!) { customerDuplicates(candidate: $c) {
          recordId level points reasons { code text } customer { id nameZh } } }""",
        c={"nameZh": "春裳生活馆有限公司", "phone": "021-6123 4567", "latE7": 312_401_000, "lonE7": 1_214_901_000},
    )
    [found] = answer["customerDuplicates"]
    assert (found["recordId"], found["customer"]["id"], found["level"]) == (same, same, "LIKELY")
    assert [reason["code"] for reason in found["reasons"]] == ["SAME_PHONE", "SAME_NAME", "NEAR"]
    assert found["points"] == 110


async def test_those_who_neither_create_nor_merge_cannot_ask_by_telephone_number(house: House) -> None:
    await customer(house, phone="+862161234567")
    answer = await ask(house, "analyst", '{ customerDuplicates(candidate: {phone: "+862161234567"}) { recordId } }')
    assert answer["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"


QUEUE = """query ($c: String!) { matchQueue(collection: $c) {
  id firstId secondId points reasons { code } firstCustomer { id } } }"""


async def test_customers_made_in_the_field_enter_the_queue_of_whoever_may_merge_them(house: House) -> None:
    first = await customer(house, "wei", taxId="91310000MA1FL00001")
    second = await customer(house, "na", taxId="91310000MA1FL00001", nameZh="别的名字")
    [pair] = (await data(house, "manager", QUEUE, c="customers"))["matchQueue"]
    assert {pair["firstId"], pair["secondId"]} == {first, second}
    assert pair["firstCustomer"] is not None
    assert (await ask(house, "wei", QUEUE, c="customers"))["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
    await data(house, "manager", "mutation ($id: ID!) { dismissMatch(id: $id) { __typename } }", id=pair["id"])
    assert (await data(house, "manager", QUEUE, c="customers"))["matchQueue"] == []


async def test_a_merged_pair_leaves_the_queue(house: House) -> None:
    first = await customer(house, taxId="91310000MA1FL00001")
    second = await customer(house, taxId="91310000MA1FL00001")
    await merge(house, first, second)
    assert (await data(house, "manager", QUEUE, c="customers"))["matchQueue"] == []
    async with house.engine.read() as conn:
        states = await conn.fetch("SELECT state FROM match_pair")
    assert [row[0] for row in states] == ["MERGED"]


async def test_keys_follow_what_a_customer_becomes(house: House) -> None:
    shop = await customer(house, phone="+862161234567")
    await house.change("wei", USE_CASES["customers", Intent.PATCH],
                       patch(shop, await house.rev("customers", shop), phone="+862167777777"))  # fmt: skip
    by_phone = "query ($p: String!) { customerDuplicates(candidate: {phone: $p}) { recordId } }"
    assert (await data(house, "wei", by_phone, p="+862161234567"))["customerDuplicates"] == []
    found = (await data(house, "wei", by_phone, p="+862167777777"))["customerDuplicates"]
    assert [one["recordId"] for one in found] == [shop]


def job(house: House, **more: Any) -> dict[str, Any]:
    return {"clock": lambda: house.now_ms, "retries_max": 3, **more}


async def test_records_older_than_the_keys_get_them_and_are_compared_once(house: House) -> None:
    first = await customer(house, taxId="91310000MA1FL00001")
    second = await customer(house, taxId="91310000MA1FL00001")
    await customer(house, nameZh="云尚供应链")
    async with house.engine.write() as conn:
        await conn.execute("DELETE FROM match_key")
        await conn.execute("DELETE FROM match_pair")
    system = house.people["system"]
    assert await keep_match_keys(house.engine, system, **job(house)) == 3
    assert await keep_match_keys(house.engine, system, **job(house)) == 0
    assert await queue_matches(house.engine, system, **job(house)) == 1
    assert await queue_matches(house.engine, system, **job(house)) == 0
    [pair] = (await data(house, "manager", QUEUE, c="customers"))["matchQueue"]
    assert {pair["firstId"], pair["secondId"]} == {first, second}


async def test_a_number_that_very_many_share_is_no_hint(house: House) -> None:
    for at in range(25):
        await customer(
            house, nameZh=None, nameEn=f"{at:02}{'abcdefghijklmnopqrstuvwxyz'[at] * 6}", phone="+862100000000"
        )
    async with house.engine.write() as conn:
        await conn.execute("DELETE FROM match_pair")
    assert await queue_matches(house.engine, house.people["system"], **job(house)) == 0


async def test_a_rep_names_two_records_and_the_manager_is_asked(house: House) -> None:
    first, second = await customer(house), await customer(house, nameZh="云尚供应链")
    unseen = await customer(house, "na", nameZh="花线")
    name = """mutation ($a: ID!, $b: ID!) { nameMatch(oneId: $a, otherId: $b) {
      ... on MatchNamed { id } ... on Refusal { problems { code path } } } }"""
    named = (await data(house, "wei", name, a=first, b=second))["nameMatch"]
    [pair] = (await data(house, "manager", QUEUE, c="customers"))["matchQueue"]
    assert (pair["id"], [reason["code"] for reason in pair["reasons"]]) == (named["id"], ["NAMED"])
    refused = (await data(house, "wei", name, a=first, b=unseen))["nameMatch"]
    assert [(p["code"], p["path"]) for p in refused["problems"]] == [("NOT_FOUND", ["otherId"])]


async def test_what_hangs_on_a_merged_customer_and_its_visits_goes_along_and_comes_back(house: House) -> None:
    survivor, merged = await customer(house, "wei"), await customer(house, "na")
    visit = await visit_at(house, merged, "na")
    photo = {"kind": "PHOTO", "fileName": "front.jpg", "sha256": "ab" * 32, "sizeBytes": 9, "mime": "image/jpeg"}
    ids = [
        await make(house, "na", "attachments", collection=name, recordId=record_id, **photo)
        for name, record_id in (("customers", merged), ("visits", visit))
    ]
    before = [await feed_of(house, "attachments", one) for one in ids]
    [merge_id] = await merge(house, survivor, merged)
    assert (await feed_of(house, "attachments", ids[0]))[1]["recordId"] == survivor
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT DISTINCT scope FROM feed_scope WHERE collection = 'attachments' AND left_seq IS NULL"
        )
    assert [row[0] for row in rows] == [f"territory:{house.patches['north']}"]
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert [await feed_of(house, "attachments", one) for one in ids] == before
    await sound(house)


async def test_a_photo_taken_offline_of_the_old_id_hangs_on_the_survivor(house: House) -> None:
    survivor, merged = await customer(house), await customer(house)
    await merge(house, survivor, merged)
    photo = {"kind": "PHOTO", "fileName": "front.jpg", "sha256": "ab" * 32, "sizeBytes": 9, "mime": "image/jpeg"}
    attachment = await make(house, "wei", "attachments", collection="customers", recordId=merged, **photo)
    assert await house.row("attachment", attachment, "record_id") == (survivor,)
