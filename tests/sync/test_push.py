"""A device's queue: answered once and for ever, in order, and nothing entered is dropped in silence."""

import random
from typing import Any

import pytest

from backend.errors import Refused
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.sync.changes import Change, Intent
from mobile_contract.replica import Document
from tests.factories import NOW_MS, insert
from tests.sync.offices import Office, visit_fields


def statuses(answers: list[Document]) -> list[str]:
    return [answer["status"] for answer in answers]


def codes(answer: Document) -> list[str]:
    return [problem["code"] for problem in answer["problems"]]


async def test_a_queue_is_applied_in_order_and_acknowledged(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    visit = new_id()
    phone.replica.edit("visits", visit, visit_fields(office.shops[0], notes="first"))
    phone.replica.edit("visits", visit, {"nextStep": "call"})
    phone.replica.edit("customers", office.shops[0], {"termsDays": 30})
    assert statuses(await phone.push()) == ["APPLIED"] * 3
    assert phone.replica.queue == []
    assert phone.view("visits", visit)["nextStep"] == "call"
    await phone.sync()
    assert phone.view("visits", visit)["notes"] == "first"
    assert phone.line.pages[-1]["ackedMutation"] == 3


@pytest.mark.requirement("R4")
async def test_a_replay_answers_the_same_and_changes_nothing(engine: Engine) -> None:
    office = await Office(engine).open()
    phone, other = await office.phone(office.rep), await office.phone(office.manager)
    other.replica.edit("customers", office.shops[1], {"termsDays": 60, "city": "Seoul"})
    await other.push()
    replica = phone.replica
    replica.edit("visits", new_id(), visit_fields(office.shops[0]))  # applied
    replica.edit("customers", office.shops[1], {"street": "1 Main"})  # merged
    replica.edit("customers", office.shops[1], {"termsDays": 30})  # conflict
    replica.edit("customers", new_id(), {"kind": "RETAILER"})  # refused: no name
    replica.edit("tasks", new_id(), {"title": "a", "assigneeId": office.rep}, group="g")
    replica.edit("tasks", new_id(), {"assigneeId": office.rep}, group="g")  # its group fails
    sent = list(replica.queue)
    first = await phone.line.hand_in(sent)
    assert statuses(first) == ["APPLIED", "MERGED", "CONFLICT", "REFUSED", "DEPENDENCY_FAILED", "REFUSED"]
    held = await office.tables()
    for _ in range(3):
        assert await phone.line.hand_in(sent) == first
        assert await office.tables() == held
    assert await phone.line.hand_in(sent[2:4]) == first[2:4]


@pytest.mark.parametrize("seed", range(4))
async def test_pushes_lost_and_repeated_at_random_end_in_the_same_state(engine: Engine, seed: int) -> None:
    """Whatever arrives one to three times, in whatever portions: each mutation counts once."""
    rng = random.Random(seed)
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    replica, visits = phone.replica, [new_id() for _ in range(8)]
    for visit in visits:
        replica.edit("visits", visit, visit_fields(rng.choice(office.shops)))
    for number in range(12):
        replica.edit("visits", rng.choice(visits), {"notes": f"note {number}"})
    sent = list(replica.queue)
    seen: dict[str, str] = {}
    done = 0
    while done < len(sent):
        start, end = rng.randint(max(0, done - 4), done), rng.randint(done, min(len(sent), done + 5))
        for _ in range(rng.randint(1, 3)):
            for answer in await phone.line.hand_in(sent[start:end]):
                assert answer["status"] == seen.setdefault(answer["id"], answer["status"])
        done = max(done, end)
    assert set(seen.values()) == {"APPLIED"}
    await phone.sync()
    expected = {m["change"]["visit"]["id"]: m["change"]["visit"]["set"].get("notes") for m in sent}
    assert {visit: phone.view("visits", visit)["notes"] for visit in visits} == expected
    ((receipts,),) = await office.rows("SELECT count(*) FROM receipt")
    assert receipts == len(sent)


async def test_the_same_id_with_another_body_is_refused_and_the_queue_goes_on(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    first = phone.replica.edit("customers", office.shops[0], {"termsDays": 30})
    await phone.push()
    phone.replica.edit("customers", office.shops[0], {"termsDays": 45})
    phone.replica.queue[0]["id"] = first
    phone.replica.edit("customers", office.shops[1], {"termsDays": 45})
    reused, after = await phone.push()
    assert codes(reused) == ["MUTATION_ID_REUSED"]
    assert after["status"] == "APPLIED", "a mutation that can never be taken must not stop those behind it"
    await phone.sync()
    assert phone.view("customers", office.shops[0])["termsDays"] == 30
    assert [issue["code"] for issue in phone.issues()] == ["MUTATION_ID_REUSED"]


async def test_a_mutation_doubled_inside_one_request_counts_once(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("visits", new_id(), visit_fields(office.shops[0]))
    (sent,) = phone.replica.queue
    first, again = await phone.line.hand_in([sent, sent])
    assert (first["status"], again["status"]) == ("APPLIED", "APPLIED")
    twin = {**sent, "clientSeq": 2, "change": {"visit": {**sent["change"]["visit"], "set": {"notes": "x"}}}}
    phone.replica.edit("customers", office.shops[0], {"termsDays": 1})
    behind = {**phone.replica.queue[-1], "clientSeq": 3}
    other = {
        **sent,
        "id": new_id(),
        "clientSeq": 4,
        "change": {"customer": {"id": office.shops[1], "baseRev": 0, "set": {"city": "a"}}},
    }
    answers = await phone.line.hand_in([twin, behind, other, {**other, "clientSeq": 5, "change": behind["change"]}])
    assert [(a["status"], codes(a)) for a in answers][:2] == [("REFUSED", ["MUTATION_ID_REUSED"]), ("APPLIED", [])]
    assert codes(answers[3]) == ["MUTATION_ID_REUSED"]


async def test_a_gap_is_answered_retry_and_applied_when_it_is_filled(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    for number in range(3):
        phone.replica.edit("customers", office.shops[number], {"termsDays": 10})
    one, two, three = phone.replica.queue
    (early,) = await phone.line.hand_in([three])
    assert early["status"] == "RETRY"
    assert codes(early) == ["CLIENT_SEQ_GAP"]
    assert statuses(await phone.line.hand_in([one, three])) == ["APPLIED", "RETRY"]
    assert await office.rows("SELECT count(*) FROM receipt") == [(1,)], "RETRY leaves no receipt"
    assert statuses(await phone.line.hand_in([two, three])) == ["APPLIED", "APPLIED"]


async def test_an_old_mutation_without_receipt_is_never_applied_again(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], {"termsDays": 10})
    (sent,) = phone.replica.queue
    await phone.line.hand_in([sent])
    async with engine.write() as conn:
        await conn.execute("DELETE FROM receipt")
    await office.patch(office.manager, "customers", office.shops[0], termsDays=20)
    (answer,) = await phone.line.hand_in([sent])
    assert (answer["status"], answer["records"]) == ("ALREADY_HANDLED", [])
    await phone.sync()
    assert phone.view("customers", office.shops[0])["termsDays"] == 20


async def test_a_group_stands_or_falls_together_and_what_fell_is_kept(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    shop, visit, task = new_id(), new_id(), new_id()
    phone.replica.edit("customers", shop, {"kind": "RETAILER", "nameEn": "New"}, group="arrival")
    phone.replica.edit("visits", visit, visit_fields(shop), group="arrival")
    phone.replica.edit("tasks", task, {"title": "", "customerId": shop}, group="arrival")
    phone.replica.edit("customers", office.shops[0], {"termsDays": 7})
    answers = await phone.push()
    assert statuses(answers) == ["DEPENDENCY_FAILED", "DEPENDENCY_FAILED", "REFUSED", "APPLIED"]
    assert await office.rows("SELECT count(*) FROM customer WHERE id = ?", shop) == [(0,)]
    assert await office.rows("SELECT count(*) FROM feed WHERE record_id = ANY(?)", [shop, visit, task]) == [(0,)]
    await phone.sync()
    kept = {issue["recordId"]: issue for issue in phone.issues()}
    assert set(kept) == {shop, visit, task}
    assert kept[shop]["mine"] == {"kind": "RETAILER", "nameEn": "New"}
    assert phone.replica.view("customers", shop) is None


async def test_a_whole_group_is_applied(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    shop, visit = new_id(), new_id()
    phone.replica.edit("customers", shop, {"kind": "RETAILER", "nameEn": "New"}, group="arrival")
    phone.replica.edit("visits", visit, visit_fields(shop), group="arrival")
    assert statuses(await phone.push()) == ["APPLIED", "APPLIED"]
    await phone.sync()
    assert phone.view("visits", visit)["customerId"] == shop


async def test_a_group_cut_by_others_is_still_one(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], {"termsDays": 1}, group="g")
    phone.replica.edit("customers", office.shops[1], {"termsDays": 2})
    phone.replica.edit("customers", office.shops[2], {"termsDays": 9_999}, group="g")
    answers = await phone.push()
    assert statuses(answers) == ["DEPENDENCY_FAILED", "APPLIED", "REFUSED"]


async def test_a_conflict_keeps_both_values_and_tells_its_author_and_the_manager(engine: Engine) -> None:
    office = await Office(engine).open()
    shop = office.shops[0]
    phone, chief = await office.phone(office.rep), await office.phone(office.manager)
    await office.patch(office.manager, "customers", shop, termsDays=60)
    phone.replica.edit("customers", shop, {"termsDays": 30, "city": "Seoul"})
    (answer,) = await phone.push()
    assert answer["status"] == "CONFLICT"
    assert answer["problems"][0]["path"] == ["termsDays"]
    await phone.sync()
    held = phone.view("customers", shop)
    assert (held["termsDays"], held["city"]) == (60, "Seoul"), "the other field of the change stands"
    (issue,) = phone.issues()
    assert (issue["mine"], issue["theirs"], issue["field"]) == (30, 60, "termsDays")
    await chief.sync()
    assert [seen["id"] for seen in chief.issues()] == [issue["id"]]
    stranger = await office.phone(office.other_rep)
    assert stranger.issues() == []


async def test_a_second_phone_of_the_same_rep_conflicts_but_a_phone_never_with_itself(engine: Engine) -> None:
    office = await Office(engine).open()
    shop = office.shops[0]
    one, two = await office.phone(office.rep), await office.phone(office.rep)
    one.replica.edit("customers", shop, {"city": "Seoul"})
    one.replica.edit("customers", shop, {"city": "Busan"})
    assert statuses(await one.push()) == ["APPLIED", "APPLIED"]
    two.replica.edit("customers", shop, {"city": "Daegu"})
    assert statuses(await two.push()) == ["CONFLICT"]


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("apart", [True, False])
async def test_what_a_colleague_added_outlives_a_phone_that_heard_no_answer(engine: Engine, apart: bool) -> None:
    """His tag and his line were joined with ours; our next change knows of ours only, and must not undo that."""
    office = await Office(engine).open()
    shop = office.shops[0]
    phone, other = await office.phone(office.rep), await office.phone(office.manager)
    other.replica.edit("customers", shop, {"tags": ["theirs"], "notes": "theirs"})
    await other.push()
    phone.replica.edit("customers", shop, {"tags": ["first"], "notes": "first"})
    if apart:
        await phone.line.hand_in(phone.replica.queue)  # the answer is lost
    phone.replica.edit("customers", shop, {"tags": ["first", "second"], "notes": "first\nsecond"})
    assert statuses(await phone.push()) == ["MERGED", "MERGED"]
    await phone.sync()
    assert phone.view("customers", shop)["tags"] == ["first", "second", "theirs"]
    assert phone.view("customers", shop)["notes"] == "theirs\nfirst\nsecond"
    phone.replica.edit("customers", shop, {"tags": ["second"], "notes": "second"})
    await phone.push()
    assert phone.view("customers", shop)["tags"] == ["second"], "who has seen it all may take it away"
    assert phone.view("customers", shop)["notes"] == "second"


@pytest.mark.parametrize(
    "fields",
    [
        {"termsDays": 2**70},
        {"termsDays": -(2**63) - 1},
        {"nameEn": "half a pair \ud800"},
        {"nameEn": "nul \x00"},
        {"termsDays": float("nan")},
        {"termsDays": 1e300},
        {"tags": [[["deep"]]]},
        {"openHours": {"MON": None, "\ud800": "09:00-10:00"}},
        {"unheard": {"of": 1}},
        {"territoryId": "x"},
        {"id": "other"},
    ],
    ids=repr,
)
async def test_whatever_a_phone_sends_is_answered_and_blocks_nothing(engine: Engine, fields: Any) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], fields)
    phone.replica.edit("customers", office.shops[1], {"termsDays": 5})
    answers = await phone.push()
    assert statuses(answers) == ["REFUSED", "APPLIED"]
    assert (await phone.line.hand_in([])) == []
    await phone.sync()
    assert len(phone.issues()) == 1


@pytest.mark.parametrize("kind", ["score", "people", "", "customers; DROP"])
async def test_a_collection_nobody_may_push_is_refused_alone(engine: Engine, kind: str) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], {"termsDays": 5})
    sent = phone.replica.queue[0]
    odd = {**sent, "id": new_id(), "clientSeq": 2, "change": {kind: sent["change"]["customer"]}}
    assert statuses(await phone.line.hand_in([sent, odd])) == ["APPLIED", "REFUSED"]


@pytest.mark.parametrize("record_id", ["", "not-an-id", "x" * 10_000, "\x00"])
async def test_an_id_that_is_none_is_refused_alone(engine: Engine, record_id: str) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    for collection, fields in (
        ("visits", visit_fields(office.shops[0])),
        ("customers", {"kind": "RETAILER", "nameEn": "A"}),
        ("contacts", {"nameEn": "A"}),
        ("customerContacts", {"customerId": office.shops[0], "contactId": record_id}),
        ("orders", {"customerId": office.shops[0], "currency": "USD", "lines": []}),
        ("tasks", {"title": "A", "customerId": record_id}),
    ):
        phone.replica.edit(collection, record_id, fields)
    phone.replica.edit("customers", office.shops[1], {"termsDays": 5})
    answers = await phone.push()
    assert statuses(answers)[-1] == "APPLIED"
    assert statuses(answers)[0] == "REFUSED"


@pytest.mark.parametrize("mutation_id", ["", "1", "\x00"])
async def test_a_mutation_id_that_is_none_is_refused_alone(engine: Engine, mutation_id: str) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], {"termsDays": 4}, id=mutation_id)
    phone.replica.edit("customers", office.shops[1], {"termsDays": 5})
    sent = list(phone.replica.queue)
    assert statuses(await phone.line.hand_in(sent)) == ["REFUSED", "APPLIED"]
    assert statuses(await phone.line.hand_in(sent)) == ["REFUSED", "APPLIED"]
    await phone.sync()
    assert [issue["mine"] for issue in phone.issues()] == [{"termsDays": 4}]


async def test_records_of_others_are_not_found_and_never_come_back_in_an_answer(engine: Engine) -> None:
    office = await Office(engine).open()
    async with office.job() as work:
        foreign = await office.customer(work, office.west, "Not yours")
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", foreign, {"nameEn": "Mine now", "kind": "RETAILER"})
    phone.replica.queue[0]["change"]["customer"]["baseRev"] = 5
    phone.replica.edit("visits", new_id(), visit_fields(foreign))
    answers = await phone.push()
    assert [codes(answer) for answer in answers] == [["NOT_FOUND"], ["NOT_FOUND"]]
    assert all(answer["records"] == [] for answer in answers)
    assert "Not yours" not in repr(answers)


async def test_an_answer_is_read_under_the_scope_of_the_day(engine: Engine) -> None:
    """A replay after the record left the sender's scope tells the status, not the record."""
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], {"termsDays": 5})
    sent = list(phone.replica.queue)
    (first,) = await phone.line.hand_in(sent)
    assert len(first["records"]) == 1
    async with office.job() as work:
        await work.conn.execute("UPDATE customer SET territory_id = ? WHERE id = ?", office.west, office.shops[0])
        work.touched("customers", office.shops[0], ())
    (again,) = await phone.line.hand_in(sent)
    assert (again["status"], again["records"]) == ("APPLIED", [])


async def test_another_users_device_and_a_revoked_one_push_nothing(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], {"termsDays": 5})
    async with engine.write() as conn:
        await conn.execute("UPDATE device SET state = 'REVOKED' WHERE user_id = ?", office.rep)
    with pytest.raises(Refused, match="DEVICE_REVOKED"):
        await phone.line.hand_in(phone.replica.queue)
    assert await office.rows("SELECT count(*) FROM receipt") == [(0,)]


async def test_setting_a_number_to_zero_is_a_change(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", office.shops[0], {"termsDays": 0})
    await phone.push()
    await phone.sync()
    assert phone.view("customers", office.shops[0])["termsDays"] == 0


async def test_editing_what_was_deleted_is_refused_and_kept(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    task = new_id()
    phone.replica.edit("tasks", task, {"title": "Call"})
    await phone.sync()
    await office.online(office.admin, "tasks", Change(task, Intent.DELETE, base_rev=await office.rev("tasks", task)))
    phone.replica.edit("tasks", task, {"title": "Call twice"})
    (answer,) = await phone.push()
    assert codes(answer) == ["DELETED"]
    await phone.sync()
    assert phone.replica.view("tasks", task) is None
    assert [issue["mine"] for issue in phone.issues()] == [{"title": "Call twice"}]


async def test_creating_the_same_record_again_is_answered_as_the_first_time(engine: Engine) -> None:
    """A client that lost its queue's ids, but not its records', sends equal content under new mutation ids."""
    office = await Office(engine).open()
    for collection, fields in (
        ("visits", visit_fields(office.shops[0], notes="a")),
        ("customers", {"kind": "RETAILER", "nameEn": "A", "tags": ["b", "a"], "phone": "+82 10 1234 5678"}),
        ("tasks", {"title": "A"}),
        ("contacts", {"nameEn": "A", "channels": {"CALL": "+82 10 1234 5678"}}),
        (
            "orders",
            {
                "customerId": office.shops[0],
                "currency": "USD",
                "lines": [await line(office, cells=2)],
            },
        ),
    ):
        phone = await office.phone(office.rep)
        record_id = new_id()
        phone.replica.edit(collection, record_id, fields)
        assert statuses(await phone.push()) == ["APPLIED"], (collection, phone.replica.outcomes)
        rev = await office.rev(collection, record_id)
        phone.replica.edit(collection, record_id, fields)
        phone.replica.queue[0]["change"] = {
            kind: {**wish, "baseRev": None} for kind, wish in phone.replica.queue[0]["change"].items()
        }
        assert statuses(await phone.push()) == ["APPLIED"], (collection, phone.replica.outcomes)
        assert await office.rev(collection, record_id) == rev


async def line(office: Office, cells: int, **more: object) -> Document:
    """An order line of a style made for it."""
    style, colour, sku = new_id(), new_id(), new_id()
    async with office.job() as work:
        conn = work.conn
        await insert(
            conn, "style", id=style, code=style, brand="B", name_en="Shirt", category="TOPS", size_scale='["M"]',
            state="ACTIVE", created_at=NOW_MS,
        )  # fmt: skip
        await insert(conn, "colour", id=colour, style_id=style, code="RED", name_en="Red")
        await insert(conn, "sku", id=sku, style_id=style, colour_id=colour, size="M", state="ACTIVE", position=0)
        work.touched("styles", style)
    return {"id": new_id(), "styleId": style, "colourId": colour, "unitPriceMinor": 100, "cells": {sku: cells}, **more}
