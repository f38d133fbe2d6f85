"""What customers say: forms by version, answers that stay as they were given, complaints until they are settled."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.domain.cases import HOUR_MS
from backend.domain.territories import Move
from backend.domain.times import DAY_MS
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.usecases.answers import change_answers
from backend.usecases.cases import change_cases
from backend.usecases.customers import change_customers
from backend.usecases.forms import forms_within
from backend.usecases.records import restoring
from backend.usecases.territories import move_customers
from tests.house import NOON_MS, House, create, patch
from tests.usecases.phones import synced

publish = forms_within(5)
CSAT = {"key": "happy", "kind": "CSAT", "nameEn": "How happy are you?", "measure": "CSAT", "required": True}
NPS = {"key": "recommend", "kind": "NPS", "nameEn": "Would you recommend us?", "measure": "NPS"}
BUDGET = {"key": "budget", "kind": "MONEY", "nameEn": "Budget for goods like ours", "measure": "WALLET_BUDGET"}
SHARE = {"key": "share", "kind": "SHARE", "nameEn": "Our share", "measure": "WALLET_SHARE"}
WORDS = {"key": "words", "kind": "LONG_TEXT", "nameEn": "In your words", "personal": True}
DAY = {"key": "refit", "kind": "DATE", "nameEn": "Next refit"}
REASON = {"key": "reason", "kind": "CHOICE", "nameEn": "Why?", "choices": [{"value": "FIT"}, {"value": "PRICE"}]}


def problems(outcome: Outcome) -> set[tuple[str, str]]:
    return {(problem.code.value, ".".join(problem.path)) for problem in outcome.problems}


async def published(house: House, *questions: Mapping[str, object], key: str = "visit", **more: object) -> str:
    form_id = new_id()
    fields = {"key": key, "occasion": "VISIT", "nameEn": "After a visit", "questions": list(questions), **more}
    [outcome] = await house.change("admin", publish, create(form_id, fields))
    assert outcome.problems == ()
    return form_id


async def a_shop(house: House, who: str = "wei") -> str:
    shop = new_id()
    [outcome] = await house.change(who, change_customers, create(shop, {"nameEn": "Shop", "kind": "RETAILER"}))
    assert outcome.problems == ()
    return shop


async def answered(house: House, form: str, shop: str, who: str = "wei", **fields: Any) -> Outcome:
    change = create(new_id(), {"formId": form, "customerId": shop, **fields})
    [outcome] = await house.change(who, change_answers, change)
    return outcome


async def complained(house: House, shop: str, who: str = "wei", **fields: object) -> Outcome:
    change = create(new_id(), {"customerId": shop, "subject": "Wrong sizes", **fields})
    [outcome] = await house.change(who, change_cases, change)
    return outcome


async def step(house: House, case: str, state: str, who: str = "agent", **fields: object) -> Outcome:
    change = patch(case, await house.rev("cases", case), state=state, **fields)
    [outcome] = await house.change(who, change_cases, change)
    return outcome


async def held(house: House, collection: str, record_id: str, who: str = "wei") -> dict[str, Any]:
    """As a phone has it."""
    return dict((await synced(house, who)).documents[collection, record_id])


@pytest.mark.requirement("R34")
async def test_an_answer_is_judged_by_every_question_of_its_form_at_once(house: House) -> None:
    form = await published(house, CSAT, NPS, BUDGET, SHARE, WORDS, DAY, REASON)
    shop = await a_shop(house)
    wrong = await answered(
        house,
        form,
        shop,
        values={"happy": 6, "recommend": -1, "budget": {"amountMinor": -5, "currency": "XX"}, "share": 101,
                "refit": "2026-02-30", "reason": "WEATHER", "mood": 1},
        visitId=new_id(),
    )  # fmt: skip
    assert problems(wrong) == {
        ("OUT_OF_RANGE", "values.happy"),
        ("OUT_OF_RANGE", "values.recommend"),
        ("OUT_OF_RANGE", "values.budget.amountMinor"),
        ("NOT_ALLOWED_VALUE", "values.budget.currency"),
        ("OUT_OF_RANGE", "values.share"),
        ("INVALID_VALUE", "values.refit"),
        ("NOT_ALLOWED_VALUE", "values.reason"),
        ("UNKNOWN_FIELD", "values.mood"),
    }
    assert problems(await answered(house, form, shop, values={"recommend": 9, "budget": {"currency": "CNY"}})) == {
        ("REQUIRED", "values.happy"),
        ("REQUIRED", "values.budget.amountMinor"),
    }


@pytest.mark.requirement("R34", "R43")
async def test_what_an_answer_measures_stands_beside_its_words_on_a_phone(house: House) -> None:
    form, shop = await published(house, CSAT, NPS, BUDGET, WORDS), await a_shop(house)
    values = {"happy": 2, "recommend": 0, "budget": {"amountMinor": 90_000, "currency": "KRW"}, "words": "cold shop"}
    made = await answered(house, form, shop, values=values)
    assert made.status is Status.APPLIED, made
    document = await held(house, "answers", made.id)
    assert document["values"] == values
    measures = [(one["measure"], one["question"], one["value"], one["currency"]) for one in document["measures"]]
    assert measures == [
        ("CSAT", "happy", 2, None),
        ("NPS", "recommend", 0, None),
        ("WALLET_BUDGET", "budget", 90_000, "KRW"),
    ]
    assert document["answeredAt"] == "2026-11-22T04:00:00.000Z"
    assert ("forms", form) in (await synced(house, "wei")).documents


async def test_a_version_never_changes_and_an_answer_to_an_older_one_stays_valid(house: House) -> None:
    first = await published(house, CSAT)
    second = await published(house, {**CSAT, "required": False}, {**NPS, "required": True})
    shop = await a_shop(house)
    assert [(await held(house, "forms", one))["version"] for one in (first, second)] == [1, 2]
    assert (await answered(house, first, shop, values={"happy": 4})).problems == ()
    assert problems(await answered(house, second, shop, values={"happy": 4})) == {("REQUIRED", "values.recommend")}
    for field, value in (("questions", [NPS]), ("key", "other"), ("nameEn", "Other")):
        rev = await house.rev("forms", first)
        [outcome] = await house.change("admin", publish, patch(first, rev, **{field: value}))
        assert problems(outcome) == {("NOT_EDITABLE", field)}, field
    [retired] = await house.change("admin", publish, patch(first, await house.rev("forms", first), retired=True))
    assert retired.problems == ()
    assert (await answered(house, first, shop, values={"happy": 1})).problems == ()


async def test_a_form_that_does_not_go_together_is_refused_with_all_that_is_wrong(house: House) -> None:
    questions = [
        {"key": "a", "kind": "CHOICE", "nameEn": "A"},
        {"key": "b", "kind": "TEXT", "nameEn": "B", "choices": [{"value": "X"}], "least": 1},
        {"key": "c", "kind": "INT", "nameEn": "C", "least": 5, "most": 4, "measure": "CSAT"},
        NPS,
        {**NPS, "key": "again"},
        {"key": "bad key", "kind": "TEXT"},
    ]
    fields = {"key": "f", "occasion": "VISIT", "nameEn": "F", "questions": questions[:-1]}
    [outcome] = await house.change("admin", publish, create(new_id(), fields))
    assert problems(outcome) == {
        ("REQUIRED", "questions.0.choices"),
        ("INVALID_VALUE", "questions.1.choices"),
        ("INVALID_VALUE", "questions.1.least"),
        ("OUT_OF_RANGE", "questions.2.most"),
        ("INVALID_VALUE", "questions.2.measure"),
        ("INVALID_VALUE", "questions.4.measure"),
    }
    [outcome] = await house.change("admin", publish, create(new_id(), {**fields, "questions": questions[-1:]}))
    assert problems(outcome) == {("INVALID_VALUE", "questions.0.key"), ("REQUIRED", "questions.0.nameEn")}


async def test_only_an_admin_publishes_so_many_versions_and_an_answered_one_stays(house: House) -> None:
    form, shop = await published(house, CSAT), await a_shop(house)
    for who in ("wei", "manager", "agent", "analyst"):
        [outcome] = await house.change(who, publish, create(new_id(), {"key": "x", "occasion": "VISIT", "nameEn": "x",
                                                                       "questions": [CSAT]}))  # fmt: skip
        assert ("NOT_PERMITTED", "") in problems(outcome), who
    answer = await answered(house, form, shop, values={"happy": 3})
    [kept] = await house.change("admin", publish, Change(form, Intent.DELETE))
    assert problems(kept) == {("NOT_EDITABLE", "id")}
    await house.change("admin", change_answers, Change(answer.id, Intent.DELETE))
    [kept] = await house.change("admin", publish, Change(form, Intent.DELETE))
    assert problems(kept) == {("NOT_EDITABLE", "id")}, "the answer may come back"
    for version in range(4):
        await published(house, CSAT, key=f"k{version}")
    fields = {"key": "one", "occasion": "VISIT", "nameEn": "more", "questions": [CSAT]}
    [many] = await house.change("admin", publish, create(new_id(), fields))
    assert problems(many) == {("TOO_MANY", "id")}


@pytest.mark.requirement("R32")
async def test_a_version_deleted_by_mistake_comes_back_unless_another_has_its_number(house: House) -> None:
    first, second = await published(house, CSAT), await published(house, CSAT)
    before = await held(house, "forms", second)
    [gone] = await house.change("admin", publish, Change(second, Intent.DELETE))
    assert gone.problems == ()
    [back] = await house.change("admin", restoring("forms"), Change(second, Intent.RESTORE))
    assert back.problems == ()
    assert {**await held(house, "forms", second), "rev": 0} == {**before, "rev": 0}
    await house.change("admin", publish, Change(second, Intent.DELETE))
    third = await published(house, CSAT)
    assert (await held(house, "forms", third))["version"] == before["version"]
    [late] = await house.change("admin", restoring("forms"), Change(second, Intent.RESTORE))
    assert problems(late) == {("ID_TAKEN", "key")}
    [stands] = await house.change("admin", restoring("forms"), Change(first, Intent.RESTORE))
    assert stands.problems == ()


async def test_an_answer_names_only_what_is_there_and_the_future_says_nothing(house: House) -> None:
    form, shop, other = await published(house, CSAT), await a_shop(house), await a_shop(house, "na")
    theirs = await answered(house, form, other, "na", values={"happy": 3})
    wrong = await answered(house, form, shop, values={"happy": 3}, correctsId=theirs.id, visitId=new_id(),
                           contactId=new_id(), styleId=new_id())  # fmt: skip
    assert problems(wrong) == {("NOT_FOUND", name) for name in ("correctsId", "visitId", "contactId", "styleId")}
    assert problems(await answered(house, form, other, values={"happy": 3})) == {("NOT_FOUND", "customerId")}
    late = await answered(house, form, shop, values={"happy": 3}, answeredAt=NOON_MS + 600_000)
    assert problems(late) == {("IN_THE_FUTURE", "answeredAt")}
    nobody = await answered(house, new_id(), shop, values={"whatever": [1, 2]})
    assert problems(nobody) == {("NOT_FOUND", "formId")}


async def test_an_answer_is_told_once_and_a_correction_is_a_further_one(house: House) -> None:
    form, shop = await published(house, CSAT), await a_shop(house)
    first = await answered(house, form, shop, values={"happy": 1})
    for who in ("wei", "manager", "agent"):
        change = patch(first.id, await house.rev("answers", first.id), values={"happy": 5})
        [outcome] = await house.change(who, change_answers, change)
        assert ("NOT_EDITABLE", "values") in problems(outcome), who
    second = await answered(house, form, shop, values={"happy": 4}, correctsId=first.id)
    third = await answered(house, form, shop, values={"happy": 5}, correctsId=second.id)
    roots = [await house.row("answer", one.id, "root_id") for one in (first, second, third)]
    assert roots == [(first.id,)] * 3
    [again] = await house.change(
        "wei", change_answers, create(first.id, {"formId": form, "customerId": shop, "values": {"happy": 1}})
    )
    assert again.status is Status.APPLIED
    assert (await held(house, "answers", first.id))["values"] == {"happy": 1}


@pytest.mark.requirement("R52")
async def test_a_complaint_is_heard_by_a_rep_and_settled_by_the_service_desk(house: House) -> None:
    shop = await a_shop(house)
    made = await complained(house, shop, priority="P2", notes="two cartons")
    assert made.status is Status.APPLIED
    document = await held(house, "cases", made.id)
    assert (document["state"], document["kind"], document["late"]) == ("NEW", "COMPLAINT", False)
    assert await house.row("service_case", made.id, "opened_at", "due_at") == (NOON_MS, NOON_MS + 72 * HOUR_MS)
    # he who heard it does not settle it
    assert ("NOT_PERMITTED", "") in problems(await step(house, made.id, "RESOLVED", "wei", resolution="done"))
    assert problems(await step(house, made.id, "RESOLVED", "manager")) == {("NOT_PERMITTED", "state")}
    assert problems(await step(house, made.id, "RESOLVED")) == {("EVIDENCE_MISSING", "resolution")}
    assert (await step(house, made.id, "WAITING_CUSTOMER")).problems == ()
    assert await house.row("service_case", made.id, "assignee_id") == (house.people["agent"].user_id,)
    house.now_ms += 2 * DAY_MS
    assert (await step(house, made.id, "RESOLVED", resolution="exchanged")).problems == ()
    row = await house.row("service_case", made.id, "due_at", "resolved_at", "late", "waiting_since")
    assert row == (NOON_MS + 2 * DAY_MS + 72 * HOUR_MS, NOON_MS + 2 * DAY_MS, False, None)


async def test_waiting_is_not_counted_and_another_priority_promises_another_time(house: House) -> None:
    made = await complained(house, await a_shop(house), priority="P1")
    house.now_ms += 20 * HOUR_MS
    await step(house, made.id, "WAITING_CUSTOMER")
    house.now_ms += 100 * HOUR_MS
    await step(house, made.id, "IN_PROGRESS")
    assert await house.row("service_case", made.id, "due_at") == (NOON_MS + 124 * HOUR_MS,)
    await step(house, made.id, "IN_PROGRESS", priority="P2")
    assert await house.row("service_case", made.id, "due_at") == (NOON_MS + 172 * HOUR_MS,)
    await step(house, made.id, "IN_PROGRESS", priority="P1")
    house.now_ms += 5 * HOUR_MS
    await step(house, made.id, "RESOLVED", resolution="late")
    assert (await held(house, "cases", made.id))["late"] is True


async def test_a_settled_complaint_is_reopened_for_fourteen_days_and_begins_anew(house: House) -> None:
    made = await complained(house, await a_shop(house), priority="P3")
    assert problems(await step(house, made.id, "REOPENED", resolution="x")) == set()
    assert await house.row("service_case", made.id, "state", "reopened_times", "resolved_at") == ("REOPENED", 1, None)
    await step(house, made.id, "CLOSED", resolution="again")
    closed = await house.row("service_case", made.id, "state", "reopened_times", "due_at")
    assert closed == ("CLOSED", 1, house.now_ms + 168 * HOUR_MS)
    house.now_ms += 14 * DAY_MS + 1
    assert problems(await step(house, made.id, "REOPENED")) == {("INVALID_TRANSITION", "state")}


async def test_reps_see_their_own_complaints_managers_those_below_agents_all(house: House) -> None:
    mine, theirs = await a_shop(house), await a_shop(house, "na")
    form = await published(house, CSAT)
    cases = {shop: (await complained(house, shop, who)).id for shop, who in ((mine, "wei"), (theirs, "na"))}
    answers = {
        shop: (await answered(house, form, shop, who, values={"happy": 2})).id
        for shop, who in ((mine, "wei"), (theirs, "na"))
    }
    for who, shops in (("wei", {mine}), ("na", {theirs}), ("manager", {mine, theirs}), ("agent", {mine, theirs})):
        seen = {record_id for name, record_id in (await synced(house, who)).documents if name in ("cases", "answers")}
        assert seen == {kept[shop] for kept in (cases, answers) for shop in shops}, who
    base = await house.rev("cases", cases[mine])
    [up] = await house.change("manager", change_cases, patch(cases[mine], base, escalated=True))
    assert up.problems == ()
    [no] = await house.change("manager", change_cases, patch(cases[mine], base, subject="mine"))
    assert problems(no) == {("NOT_PERMITTED", "subject")}


async def test_what_was_said_moves_with_its_customer_and_comes_back_when_deleted(house: House) -> None:
    form, shop = await published(house, CSAT), await a_shop(house)
    answer = (await answered(house, form, shop, values={"happy": 2})).id
    case = (await complained(house, shop)).id
    before = await held(house, "answers", answer)
    house.now_ms += 1
    await house.work("manager", lambda work: move_customers(work, [Move(shop, house.patches["south"])]))
    gone, there = await synced(house, "wei"), await synced(house, "na")
    for key in (("answers", answer), ("cases", case)):
        assert key not in gone.documents
        assert key in there.documents
    [used] = await house.change("admin", change_customers, Change(shop, Intent.DELETE))
    assert problems(used) == {("NOT_EDITABLE", "id")}
    for name, use_case, record_id in (("answers", change_answers, answer), ("cases", change_cases, case)):
        [deleted] = await house.change("admin", use_case, Change(record_id, Intent.DELETE))
        assert deleted.problems == ()
        assert (name, record_id) not in (await synced(house, "na")).documents
        [back] = await house.change("admin", restoring(name), Change(record_id, Intent.RESTORE))
        assert back.problems == ()
    assert await held(house, "answers", answer, "na") == before
