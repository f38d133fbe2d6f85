"""What did not simply stand: kept so that a person understands it, settled by those it concerns, never lost."""

from typing import Any

import pytest

from backend.ids import new_id
from backend.storage.engine import Engine
from backend.sync.changes import Change, Intent
from mobile_contract.replica import Document
from tests.factories import NOW_MS, insert
from tests.sync.offices import Office, Phone, visit_fields

STYLE, NAVY, CHALK, SMALL, MEDIUM, LARGE = (f"00000000-0000-7000-8000-00000000010{n}" for n in range(6))
R4 = pytest.mark.requirement("R4")


def statuses(answers: list[Document]) -> list[str]:
    return [answer["status"] for answer in answers]


def codes(answer: Document) -> list[str]:
    return [problem["code"] for problem in answer["problems"]]


async def catalogue(engine: Engine) -> None:
    async with engine.write() as conn:
        await insert(conn, "style", id=STYLE, code="ST-1", brand="Haizhi", name_zh="衬衫", name_ko=None,
                     name_en="Shirt", category="SHIRT", season_id=None, size_scale="[]", state="ACTIVE",
                     created_at=NOW_MS)  # fmt: skip
        await insert(
            conn, "colour", id=NAVY, style_id=STYLE, code="NV", name_zh="藏青", name_ko="네이비", name_en="navy"
        )
        for position, (sku, size) in enumerate(((SMALL, "S"), (MEDIUM, "M"), (LARGE, "L"))):
            await insert(conn, "sku", id=sku, style_id=STYLE, colour_id=NAVY, size=size, position=position,
                         ean=f"{position}", state="ACTIVE")  # fmt: skip


def order_fields(shop: str, line: str, **cells: int) -> Document:
    named = {"small": SMALL, "medium": MEDIUM, "large": LARGE}
    return {
        "customerId": shop,
        "currency": "CNY",
        "lines": [
            {
                "id": line,
                "styleId": STYLE,
                "colourId": NAVY,
                "unitPriceMinor": 12_900,
                "cells": {named[size]: count for size, count in cells.items()},
            }
        ],
    }


async def shared_order(office: Office, **cells: int) -> tuple[Phone, Phone, str, str]:
    """Two phones of a rep (he has a tablet too) that hold the same draft order."""
    await catalogue(office.engine)
    one, two = await office.phone(office.rep), await office.phone(office.rep)
    order, line = new_id(), new_id()
    one.replica.edit("orders", order, order_fields(office.shops[0], line, **cells))
    assert statuses(await one.push()) == ["APPLIED"]
    await one.sync()
    await two.sync()
    return one, two, order, line


def cell(line: str, sku: str, count: int) -> Document:
    return {"lines": [{"id": line, "cells": {sku: count}}]}


async def clash(office: Office, mine: object = 30, theirs: object = 60) -> tuple[Phone, Document]:
    """A rep's phone with one issue about the terms of a shop, which the manager had changed."""
    phone = await office.phone(office.rep)
    await office.patch(office.manager, "customers", office.shops[0], termsDays=theirs)
    phone.replica.edit("customers", office.shops[0], {"termsDays": mine}, capturedAt=NOW_MS)
    assert statuses(await phone.push()) == ["CONFLICT"]
    await phone.sync()
    [issue] = phone.issues()
    return phone, issue


# --- what is kept ----------------------------------------------------------------------------------------------


@R4
async def test_two_phones_editing_different_cells_of_one_order_both_win(engine: Engine) -> None:
    office = await Office(engine).open()
    one, two, order, line = await shared_order(office, small=5, medium=12)
    one.replica.edit("orders", order, cell(line, SMALL, 7))
    two.replica.edit("orders", order, cell(line, MEDIUM, 10))
    assert statuses(await one.push()) == ["APPLIED"]
    assert statuses(await two.push()) == ["MERGED"]
    await one.sync()
    assert one.view("orders", order)["lines"][0]["cells"] == {SMALL: 7, MEDIUM: 10}
    assert one.issues() == []


@R4
async def test_the_same_cell_becomes_an_issue_that_says_everything(engine: Engine) -> None:
    office = await Office(engine).open()
    one, two, order, line = await shared_order(office, small=5, medium=12)
    one.replica.edit("orders", order, cell(line, MEDIUM, 8))
    two.replica.edit("orders", order, cell(line, MEDIUM, 10), capturedAt=NOW_MS)
    one.line.clock_ms += 60_000
    two.line.clock_ms += 120_000
    assert statuses(await one.push()) == ["APPLIED"]
    assert statuses(await two.push()) == ["CONFLICT"]
    await two.sync()
    [issue] = two.issues()
    assert (issue["base"], issue["mine"], issue["theirs"]) == (12, 10, 8)
    assert issue["field"] == f"lines.{line}.cells.{MEDIUM}"
    assert (issue["collection"], issue["recordId"]) == ("orders", order)
    assert (issue["theirsBy"], issue["theirsName"]) == (office.rep, "Kim Min-seo")
    assert (issue["authorId"], issue["authorName"]) == (office.rep, "Kim Min-seo")
    assert issue["theirsAt"] == "2026-01-01T00:01:00.000Z"
    assert issue["capturedAt"] == "2026-01-01T00:00:00.000Z"
    assert issue["about"]["customer"] == {"en": "Shop 0"}
    assert issue["about"]["day"] == "2026-01-01"
    assert issue["names"][MEDIUM] == {"en": "navy", "ko": "네이비", "zh": "藏青", "code": "NV", "size": "M"}
    assert issue["waysOut"] == ["KEEP_MINE", "KEEP_THEIRS", "CUSTOM"]
    assert (issue["state"], issue["resolution"]) == ("OPEN", None)


async def test_who_wrote_is_a_person_and_not_a_device(engine: Engine) -> None:
    office = await Office(engine).open()
    chief = await office.phone(office.manager)
    phone = await office.phone(office.rep)
    chief.replica.edit("customers", office.shops[0], {"termsDays": 60})
    await chief.push()
    phone.replica.edit("customers", office.shops[0], {"termsDays": 30})
    await phone.push()
    await phone.sync()
    [issue] = phone.issues()
    assert issue["theirsBy"] == office.manager
    assert issue["theirsRev"] == await office.rev("customers", office.shops[0])


async def test_a_refusal_is_kept_whole_with_every_problem(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", new_id(), {"termsDays": 9_999, "nameKo": "온유"})
    await phone.push()
    await phone.sync()
    [issue] = phone.issues()
    assert issue["mine"] == {"termsDays": 9_999, "nameKo": "온유"}
    assert {problem["code"] for problem in issue["problems"]} == {"OUT_OF_RANGE", "REQUIRED"}
    assert issue["about"]["customer"] == {"ko": "온유"}
    assert issue["waysOut"] == ["CHANGE_AND_SEND_AGAIN", "DISCARD"]
    assert issue["intent"] == "CREATE"


async def test_an_issue_names_nothing_its_author_may_not_see(engine: Engine) -> None:
    office = await Office(engine).open()
    async with office.job() as work:
        foreign = await office.customer(work, office.west, "Hidden Shop")
    phone = await office.phone(office.rep)
    phone.replica.edit("visits", new_id(), visit_fields(foreign))
    phone.replica.edit("customers", foreign, {"termsDays": 1})
    phone.replica.edit("customers", office.shops[0], {"parentId": foreign, "termsDays": 9_999})
    assert statuses(await phone.push()) == ["REFUSED"] * 3
    await phone.sync()
    assert len(phone.issues()) == 3
    assert "Hidden" not in str(phone.issues())


async def test_what_a_later_capture_outran_is_kept_and_nobody_has_to_decide(engine: Engine) -> None:
    office = await Office(engine).open()
    contact = new_id()
    one, two = await office.phone(office.rep), await office.phone(office.rep)
    one.replica.edit("contacts", contact, {"nameEn": "Lee", "preferredChannel": "VISIT"})
    await one.push()
    await one.sync()
    await two.sync()
    one.replica.edit("contacts", contact, {"preferredChannel": "CALL"}, capturedAt=NOW_MS - 5_000)
    two.replica.edit("contacts", contact, {"preferredChannel": "SMS"}, capturedAt=NOW_MS - 9_000)
    await one.push()
    assert statuses(await two.push()) == ["MERGED"]
    await two.sync()
    assert two.view("contacts", contact)["preferredChannel"] == "CALL"
    [kept] = two.issues()
    assert (kept["mine"], kept["theirs"], kept["state"]) == ("SMS", "CALL", "RESOLVED")
    assert (kept["resolution"], kept["waysOut"]) == ("LATER_CAPTURE", [])


async def test_what_a_deletion_took_unseen_is_kept_for_who_had_entered_it(engine: Engine) -> None:
    office = await Office(engine).open()
    one, chief = await office.phone(office.rep), await office.phone(office.manager)
    task = new_id()
    one.replica.edit("tasks", task, {"title": "samples", "customerId": office.shops[0]})
    await one.push()
    await one.sync()
    await chief.sync()
    one.replica.edit("tasks", task, {"title": "samples in navy"})
    await one.push()
    rev = chief.replica.seen_seq("tasks", task)
    async with office.work(office.admin) as work:
        [outcome] = await chief.line.table["tasks", Intent.DELETE](work, [Change(task, Intent.DELETE, base_rev=rev)])
    assert outcome.status == "MERGED"
    await one.sync()
    [kept] = one.issues()
    assert (kept["code"], kept["mine"], kept["waysOut"]) == ("DELETED", {"title": "samples in navy"}, ["ACCEPT"])
    assert kept["theirsBy"] == office.admin


async def test_notes_that_do_not_fit_together_are_an_issue_and_not_cut(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    await office.patch(office.manager, "customers", office.shops[0], notes="a" * 5_000)
    phone.replica.edit("customers", office.shops[0], {"notes": "b" * 5_000})
    assert statuses(await phone.push()) == ["CONFLICT"]
    await phone.sync()
    assert phone.view("customers", office.shops[0])["notes"] == "a" * 5_000
    assert phone.issues()[0]["mine"] == "b" * 5_000


# --- how it is settled -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize(
    ("choice", "decision", "stands"),
    [("KEEP_MINE", {}, 30), ("KEEP_THEIRS", {}, 60), ("CUSTOM", {"value": 45}, 45)],
)
async def test_each_way_out_of_a_conflict(
    engine: Engine, choice: str, decision: Any, stands: int, online: bool
) -> None:
    office = await Office(engine).open()
    phone, issue = await clash(office)
    if online:
        fields = {"choice": choice, **decision}
        [outcome] = await office.online(office.rep, "syncIssues", Change(issue["id"], Intent.PATCH, fields))
        assert outcome.status == "APPLIED"
    else:
        phone.replica.resolve(issue["id"], choice, **decision)
        assert phone.issues()[0]["state"] == "RESOLVED", "shown as settled before it is sent"
        assert statuses(await phone.push()) == ["APPLIED"]
    await phone.sync()
    assert phone.view("customers", office.shops[0])["termsDays"] == stands
    [settled] = phone.issues()
    assert (settled["state"], settled["resolution"]) == ("RESOLVED", choice)
    assert (settled["resolvedBy"], settled["resolvedName"]) == (office.rep, "Kim Min-seo")
    assert settled["resolvedValue"] == stands
    assert (settled["mine"], settled["theirs"]) == (30, 60), "every value stays readable"


async def test_a_cell_and_a_line_are_put_back(engine: Engine) -> None:
    office = await Office(engine).open()
    one, two, order, line = await shared_order(office, small=5, medium=12)
    one.replica.edit("orders", order, cell(line, MEDIUM, 8))
    two.replica.edit("orders", order, cell(line, MEDIUM, 10))
    await one.push()
    await two.push()
    await two.sync()
    [issue] = two.issues()
    two.replica.resolve(issue["id"], "KEEP_MINE")
    assert statuses(await two.push()) == ["APPLIED"]
    await two.sync()
    await one.sync()
    assert one.view("orders", order)["lines"][0]["cells"] == {SMALL: 5, MEDIUM: 10}
    one.replica.edit("orders", order, {"lines": [{"id": line, "removed": True}]})
    two.replica.edit("orders", order, cell(line, LARGE, 3))
    await one.push()
    assert statuses(await two.push()) == ["CONFLICT"]
    await two.sync()
    [gone] = [found for found in two.issues() if found["state"] == "OPEN"]
    two.replica.resolve(gone["id"], "KEEP_MINE")
    assert statuses(await two.push()) == ["APPLIED"]
    await two.sync()
    assert two.view("orders", order)["lines"][0]["cells"] == {SMALL: 5, MEDIUM: 10, LARGE: 3}


@pytest.mark.parametrize("choice", ["KEEP_MINE", "CUSTOM"])
async def test_a_record_that_changed_again_is_a_conflict_again(engine: Engine, choice: str) -> None:
    office = await Office(engine).open()
    phone, issue = await clash(office)
    await office.patch(office.manager, "customers", office.shops[0], termsDays=90)
    phone.replica.resolve(issue["id"], choice, **({"value": 45} if choice == "CUSTOM" else {}))
    assert statuses(await phone.push()) == ["CONFLICT"]
    await phone.sync()
    assert phone.view("customers", office.shops[0])["termsDays"] == 90
    [again] = phone.issues()
    assert (again["id"], again["state"], again["mine"], again["theirs"]) == (issue["id"], "OPEN", 30, 90)
    [tried] = again["history"]
    assert tried["stood"] == 60
    assert tried["sent"] == ({"choice": choice, "value": 45} if choice == "CUSTOM" else {"choice": choice})
    phone.replica.resolve(issue["id"], "KEEP_MINE")
    assert statuses(await phone.push()) == ["APPLIED"], "having seen what stands, he may"
    await phone.sync()
    assert phone.view("customers", office.shops[0])["termsDays"] == 30


async def test_a_value_that_cannot_be_is_refused_kept_and_the_issue_stays_open(engine: Engine) -> None:
    office = await Office(engine).open()
    phone, issue = await clash(office)
    phone.replica.resolve(issue["id"], "CUSTOM", value=9_999)
    phone.replica.edit("customers", office.shops[1], {"termsDays": 5})
    answers = await phone.push()
    assert statuses(answers) == ["REFUSED", "APPLIED"]
    assert codes(answers[0]) == ["OUT_OF_RANGE"]
    await phone.sync()
    [still] = phone.issues()
    assert (still["state"], still["history"][0]["sent"]["value"]) == ("OPEN", 9_999)


async def test_author_and_manager_decide_at_once_one_wins_and_the_other_is_told(engine: Engine) -> None:
    office = await Office(engine).open()
    phone, issue = await clash(office)
    chief = await office.phone(office.manager)
    phone.replica.resolve(issue["id"], "KEEP_MINE")
    chief.replica.resolve(issue["id"], "CUSTOM", value=75)
    assert statuses(await phone.push()) == ["APPLIED"]
    [late] = await chief.push()
    assert (late["status"], codes(late)) == ("REFUSED", ["ALREADY_RESOLVED"])
    await chief.sync()
    [seen] = chief.issues()
    assert (seen["resolution"], seen["resolvedBy"]) == ("KEEP_MINE", office.rep)
    assert seen["history"][0]["sent"]["value"] == 75, "what the other wanted stays readable"
    assert chief.view("customers", office.shops[0])["termsDays"] == 30


async def test_a_decision_sent_again_changes_nothing(engine: Engine) -> None:
    office = await Office(engine).open()
    phone, issue = await clash(office)
    phone.replica.resolve(issue["id"], "KEEP_MINE")
    sent = list(phone.replica.queue)
    first = await phone.line.hand_in(sent)
    held = await office.tables()
    assert statuses(await phone.line.hand_in(sent)) == statuses(first) == ["APPLIED"]
    assert await office.tables() == held
    again = Change(issue["id"], Intent.PATCH, {"choice": "KEEP_MINE"})
    [outcome] = await office.online(office.rep, "syncIssues", again)
    assert outcome.status == "APPLIED"
    assert await office.tables() == held


async def test_the_manager_decides_within_his_own_rights(engine: Engine) -> None:
    office = await Office(engine).open()
    one, two, order, line = await shared_order(office, small=5)
    one.replica.edit("orders", order, cell(line, SMALL, 8))
    two.replica.edit("orders", order, cell(line, SMALL, 9))
    await one.push()
    await two.push()
    await two.sync()
    [issue] = two.issues()
    chief = await office.phone(office.manager)
    chief.replica.resolve(issue["id"], "KEEP_MINE")
    [answer] = await chief.push()
    assert codes(answer) == ["NOT_PERMITTED"], "a manager approves orders and does not write them"
    chief.replica.resolve(issue["id"], "KEEP_THEIRS")
    assert statuses(await chief.push()) == ["APPLIED"]


@pytest.mark.parametrize("who", ["other_rep", "agent"])
async def test_nobody_else_finds_the_issue(engine: Engine, who: str) -> None:
    office = await Office(engine).open()
    _, issue = await clash(office)
    change = Change(issue["id"], Intent.PATCH, {"choice": "KEEP_THEIRS"})
    [outcome] = await office.online(getattr(office, who), "syncIssues", change)
    assert [problem.code for problem in outcome.problems] == ["NOT_FOUND"]


async def test_what_was_refused_is_corrected_and_sent_again(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    shop = new_id()
    wrong = {"nameKo": "온유", "termsDays": 9_999, "openHours": {"MON": "09:00-18:00", "TUE": "x"}, "colour": "red"}
    phone.replica.edit("customers", shop, wrong)
    await phone.push()
    await phone.sync()
    [issue] = phone.issues()
    right = {"kind": "RETAILER", "termsDays": 30, "openHours": {"TUE": None}}
    phone.replica.resolve(issue["id"], "CHANGE_AND_SEND_AGAIN", fields=right, without=["colour"])
    assert statuses(await phone.push()) == ["APPLIED"]
    await phone.sync()
    held = phone.view("customers", shop)
    assert (held["nameKo"], held["termsDays"], held["openHours"]) == ("온유", 30, {"MON": "09:00-18:00"})
    [settled] = phone.issues()
    assert (settled["resolution"], settled["mine"]["termsDays"]) == ("CHANGE_AND_SEND_AGAIN", 9_999)


async def test_a_refused_step_is_sent_again_on_what_stands_now(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    visit = new_id()
    phone.replica.edit("visits", visit, visit_fields(office.shops[0]))
    phone.replica.edit("visits", visit, {"state": "COMPLETED", "checkInAt": NOW_MS})
    assert statuses(await phone.push()) == ["APPLIED", "REFUSED"]
    await phone.sync()
    [issue] = phone.issues()
    assert issue["code"] == "EVIDENCE_MISSING"
    more = {"checkOutAt": "2026-01-01T00:00:00.000Z", "outcome": "ORDER_TAKEN"}
    phone.replica.resolve(issue["id"], "CHANGE_AND_SEND_AGAIN", fields=more)
    assert statuses(await phone.push()) == ["APPLIED"]
    await phone.sync()
    assert phone.view("visits", visit)["state"] == "COMPLETED"


async def test_what_is_given_up_stays_readable(engine: Engine) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    phone.replica.edit("customers", new_id(), {"nameEn": "no kind"})
    await phone.push()
    await phone.sync()
    [issue] = phone.issues()
    phone.replica.resolve(issue["id"], "DISCARD")
    assert statuses(await phone.push()) == ["APPLIED"]
    await phone.sync()
    [kept] = phone.issues()
    assert (kept["state"], kept["resolution"], kept["mine"]) == ("RESOLVED", "DISCARD", {"nameEn": "no kind"})


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "REQUIRED"),
        ({"choice": "BURN"}, "NOT_ALLOWED_VALUE"),
        ({"choice": "DISCARD"}, "NOT_ALLOWED_VALUE"),
        ({"choice": ["KEEP_MINE"]}, "NOT_ALLOWED_VALUE"),
        ({"choice": "KEEP_MINE", "recordRev": "x"}, "INVALID_VALUE"),
        ({"choice": "KEEP_MINE", "recordRev": 2**60}, "INVALID_VALUE"),
        ({"choice": "KEEP_MINE", "recordRev": 5}, "OUT_OF_RANGE"),
        ({"choice": "KEEP_MINE", "more": 1}, "UNKNOWN_FIELD"),
        ({"choice": "CUSTOM", "value": {"a": {"b": []}}}, "INVALID_VALUE"),
        ({"choice": "CUSTOM", "value": 10**400}, "OUT_OF_RANGE"),
        ({"choice": "CUSTOM", "fields": 5, "without": "x"}, "INVALID_VALUE"),
        ({"choice": "KEEP_THEIRS", "without": ["a"] * 101}, "TOO_MANY"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_decision_that_makes_no_sense_is_refused_alone(engine: Engine, fields: Any, code: str) -> None:
    office = await Office(engine).open()
    phone, issue = await clash(office)
    phone.replica.edit("syncIssues", issue["id"], fields)
    phone.replica.edit("customers", office.shops[1], {"termsDays": 5})
    answers = await phone.push()
    assert statuses(answers) == ["REFUSED", "APPLIED"]
    assert code in codes(answers[0])
    await phone.sync()
    [still] = phone.issues()
    assert (still["state"], len(still["history"])) == ("OPEN", 1)
