"""Fields an organisation defines for itself: who defines them, what they take, and that two phones keep both values."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.domain.times import DAY_MS
from backend.errors import Code
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Outcome, Status
from backend.sync.work import Door
from backend.usecases.custom_fields import custom_fields_within
from backend.usecases.customers import change_customers
from backend.usecases.merges import merge_records, undo_merge
from backend.usecases.records import restoring
from backend.wiring import USE_CASES
from tests.house import House, create, patch
from tests.usecases.phones import sync, synced

define = custom_fields_within(4)
CHOICES = [{"value": "MALL", "nameEn": "Mall"}, {"value": "STREET", "nameEn": "Street", "nameZh": "临街店"}]


def field(key: str, kind: str, **more: object) -> dict[str, object]:
    return {"collection": "customers", "key": key, "kind": kind, "nameEn": key, **more}


def problems(outcome: Outcome) -> set[tuple[str, str]]:
    return {(problem.code.value, ".".join(problem.path)) for problem in outcome.problems}


async def defined(house: House, *fields: dict[str, object]) -> list[str]:
    ids = [new_id() for _ in fields]
    outcomes = await house.change("admin", define, *(create(i, f) for i, f in zip(ids, fields, strict=True)))
    assert [outcome.problems for outcome in outcomes] == [()] * len(fields)
    return ids


async def shop(house: House, **more: object) -> Outcome:
    [outcome] = await house.change(
        "wei", change_customers, create(new_id(), {"nameZh": "北辰百货", "kind": "RETAILER", **more})
    )
    return outcome


async def custom_of(house: House, record_id: str) -> Mapping[str, Any]:
    """As a phone in its territory has it."""
    document = (await synced(house, "wei")).documents["customers", record_id]
    found: Mapping[str, Any] = document["custom"]
    return found


@pytest.mark.requirement("R13")
async def test_every_kind_takes_its_values_and_names_what_it_does_not(house: House) -> None:
    await defined(
        house,
        field("floorAreaM2", "INT", least=1, most=9_000),
        field("storeFormat", "CHOICE", choices=CHOICES),
        field("brands", "CHOICES", choices=CHOICES),
        field("lastRefitOn", "DATE"),
    )
    good = {
        "floorAreaM2": 120,
        "storeFormat": "MALL",
        "brands": ["STREET", "MALL", "MALL"],
        "lastRefitOn": "2024-02-29",
    }
    made = await shop(house, custom=good)
    assert made.problems == ()
    assert await custom_of(house, made.id) == {**good, "brands": ["MALL", "STREET"]}
    bad = {
        "floorAreaM2": 0,
        "storeFormat": "CELLAR",
        "brands": ["MALL", "x"],
        "lastRefitOn": "2023-02-29",
        "colour": "red",
    }
    assert problems(await shop(house, custom=bad)) == {
        ("OUT_OF_RANGE", "custom.floorAreaM2"),
        ("NOT_ALLOWED_VALUE", "custom.storeFormat"),
        ("NOT_ALLOWED_VALUE", "custom.brands.1"),
        ("INVALID_VALUE", "custom.lastRefitOn"),
        ("UNKNOWN_FIELD", "custom.colour"),
    }
    for wrong in (1.5, True, "12", [1], {"a": 1}, 2**60):
        assert problems(await shop(house, custom={"floorAreaM2": wrong})), wrong
    assert problems(await shop(house, custom=["floorAreaM2"])) == {("INVALID_VALUE", "custom")}


async def test_texts_and_yes_or_no(house: House) -> None:
    await defined(house, field("motto", "TEXT"), field("story", "LONG_TEXT"), field("open24h", "BOOL"))
    good = {"motto": "穿出\u3000自己", "story": "one\ntwo", "open24h": False}
    made = await shop(house, custom=good)
    assert await custom_of(house, made.id) == good
    assert problems(await shop(house, custom={"motto": "a\nb", "open24h": 1, "story": "x" * 5_000})) == {
        ("INVALID_VALUE", "custom.motto"),
        ("INVALID_VALUE", "custom.open24h"),
        ("TOO_LONG", "custom.story"),
    }


async def test_nothing_is_defined_at_first(house: House) -> None:
    assert problems(await shop(house, custom={"anything": 1})) == {("UNKNOWN_FIELD", "custom.anything")}
    made = await shop(house)
    assert await custom_of(house, made.id) == {}


@pytest.mark.requirement("R13")
async def test_two_people_fill_different_keys_and_both_stand_and_one_key_is_a_conflict(house: House) -> None:
    await defined(house, field("floorAreaM2", "INT"), field("motto", "TEXT"))
    made = await shop(house, custom={"floorAreaM2": 100})
    base = await house.rev("customers", made.id)
    [mine] = await house.change("wei", change_customers, patch(made.id, base, custom={"motto": "mine"}))
    [theirs] = await house.change("manager", change_customers, patch(made.id, base, custom={"floorAreaM2": 140}))
    assert (mine.status, theirs.status) == (Status.APPLIED, Status.MERGED)
    assert await custom_of(house, made.id) == {"floorAreaM2": 140, "motto": "mine"}
    [late] = await house.change("admin", change_customers, patch(made.id, base, custom={"motto": "other"}))
    assert late.status is Status.CONFLICT
    assert [(c.path, c.mine, c.theirs) for c in late.conflicts] == [("custom.motto", "other", "mine")]
    rev = await house.rev("customers", made.id)
    await house.change("wei", change_customers, patch(made.id, rev, custom={"motto": None}))
    assert await custom_of(house, made.id) == {"floorAreaM2": 140}


@pytest.mark.parametrize("who", ["wei", "manager", "agent", "analyst"])
async def test_only_an_admin_defines(house: House, who: str) -> None:
    [outcome] = await house.change(who, define, create(new_id(), field("motto", "TEXT")))
    assert problems(outcome) == {("NOT_PERMITTED", "")}


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (field("Motto", "TEXT"), {("INVALID_VALUE", "key")}),
        (field("a.b", "TEXT"), {("INVALID_VALUE", "key")}),
        (field("motto", "FLOAT"), {("NOT_ALLOWED_VALUE", "kind")}),
        ({**field("motto", "TEXT"), "collection": "scores"}, {("NOT_ALLOWED_VALUE", "collection")}),
        ({**field("motto", "TEXT"), "nameEn": None}, {("REQUIRED", "nameEn")}),
        (field("motto", "CHOICE"), {("REQUIRED", "choices")}),
        (field("motto", "TEXT", choices=CHOICES), {("INVALID_VALUE", "choices")}),
        (field("motto", "CHOICE", choices=[*CHOICES, CHOICES[0]]), {("INVALID_VALUE", "choices.2.value")}),
        (field("motto", "CHOICE", choices=[{"value": "two words"}]), {("INVALID_VALUE", "choices.0.value")}),
        (field("motto", "TEXT", least=1), {("INVALID_VALUE", "least")}),
        (field("motto", "INT", least=2, most=1), {("OUT_OF_RANGE", "most")}),
    ],
)
async def test_a_definition_that_makes_no_sense_is_refused(
    house: House, given: dict[str, object], wrong: set[tuple[str, str]]
) -> None:
    [outcome] = await house.change("admin", define, create(new_id(), given))
    assert problems(outcome) == wrong


async def test_a_key_is_defined_once_and_fields_are_bounded(house: House) -> None:
    await defined(house, field("a", "TEXT"), field("b", "TEXT"), field("c", "TEXT"))
    twice = [
        create(new_id(), field("a", "INT")),
        create(new_id(), field("d", "INT")),
        create(new_id(), field("e", "INT")),
    ]
    outcomes = await house.change("admin", define, *twice)
    assert [problems(outcome) for outcome in outcomes] == [{("ID_TAKEN", "key")}, set(), {("TOO_MANY", "collection")}]
    [elsewhere] = await house.change("admin", define, create(new_id(), {**field("a", "TEXT"), "collection": "visits"}))
    assert elsewhere.problems == ()


async def test_kind_and_key_never_change(house: House) -> None:
    [made] = await defined(house, field("motto", "TEXT"))
    rev = await house.rev("customFields", made)
    [outcome] = await house.change("admin", define, patch(made, rev, kind="INT", key="other"))
    assert problems(outcome) == {("NOT_EDITABLE", "kind"), ("NOT_EDITABLE", "key")}


async def test_what_is_required_is_asked_of_what_was_entered_since(house: House) -> None:
    [made] = await defined(house, field("floorAreaM2", "INT", required=True))
    assert problems(await shop(house)) == {("REQUIRED", "custom.floorAreaM2")}
    assert problems(await shop(house, custom={"floorAreaM2": None})) == {("REQUIRED", "custom.floorAreaM2")}
    full = await shop(house, custom={"floorAreaM2": 80})
    assert full.problems == ()
    before = create(new_id(), {"nameZh": "老店", "kind": "RETAILER"}, captured_at_ms=house.now_ms - 1)
    assert [o.problems for o in await house.change("wei", change_customers, before)] == [()]
    rev = await house.rev("customers", full.id)
    [emptied] = await house.change("wei", change_customers, patch(full.id, rev, custom={"floorAreaM2": None}))
    assert problems(emptied) == {("REQUIRED", "custom.floorAreaM2")}
    [other] = await house.change("wei", change_customers, patch(full.id, rev, termsDays=30))
    assert other.problems == ()

    async def imported(work: Any) -> list[Outcome]:
        return await change_customers(work, [create(new_id(), {"nameZh": "导入", "kind": "RETAILER"})])

    assert [o.problems for o in await house.work("admin", imported, door=Door.IMPORT)] == [()]
    await house.change("admin", define, patch(made, await house.rev("customFields", made), required=False))
    assert (await shop(house)).problems == ()


async def test_a_retired_field_keeps_its_values_and_takes_those_of_phones_that_have_not_heard(house: House) -> None:
    [made] = await defined(house, field("motto", "TEXT", required=True))
    full = await shop(house, custom={"motto": "kept"})
    await house.change("admin", define, patch(made, await house.rev("customFields", made), retired=True))
    assert await custom_of(house, full.id) == {"motto": "kept"}
    assert (await shop(house)).problems == ()
    late = await shop(house, custom={"motto": "from afar"})
    assert late.problems == ()


async def test_a_definition_goes_only_while_nothing_is_filled_in(house: House) -> None:
    used, unused = await defined(house, field("motto", "TEXT"), field("mott", "TEXT"))
    await shop(house, custom={"motto": "mott"})
    outcomes = await house.change("admin", define, Change(used, Intent.DELETE), Change(unused, Intent.DELETE))
    assert [[p.code for p in o.problems] for o in outcomes] == [[Code.NOT_EDITABLE], []]


async def test_phones_hold_the_definitions_and_lose_those_taken_back(house: House) -> None:
    phone = await synced(house, "na")
    [made] = await defined(house, field("storeFormat", "CHOICE", choices=CHOICES, personal=True))
    await sync(house, "na", phone)
    told = phone.documents["customFields", made]
    assert (told["key"], told["kind"], told["personal"], told["required"]) == ("storeFormat", "CHOICE", True, False)
    assert [choice["value"] for choice in told["choices"]] == ["MALL", "STREET"]
    rev = await house.rev("customFields", made)
    [more] = await house.change(
        "admin",
        define,
        patch(made, rev, choices=[{"value": "OUTLET", "nameKo": "아웃렛"}, {"value": "MALL", "retired": True}]),
    )
    assert more.problems == ()
    await sync(house, "na", phone)
    choices = phone.documents["customFields", made]["choices"]
    assert {choice["value"]: choice["retired"] for choice in choices} == {
        "MALL": True,
        "STREET": False,
        "OUTLET": False,
    }
    await house.change("admin", define, Change(made, Intent.DELETE))
    await sync(house, "na", phone)
    assert ("customFields", made) not in phone.documents


async def bring_back(house: House, collection: str, record_id: str, who: str = "admin") -> Outcome:
    [outcome] = await house.change(who, USE_CASES[collection, Intent.RESTORE], Change(record_id, Intent.RESTORE))
    return outcome


@pytest.mark.requirement("R13", "R32")
async def test_a_definition_stays_while_something_deleted_or_merged_could_bring_a_value_back(house: House) -> None:
    """Else its key could be a field of another kind by then."""
    made = dict(
        zip(("motto", "other"), await defined(house, field("motto", "TEXT"), field("other", "TEXT")), strict=True)
    )

    async def taken_back(key: str) -> bool:
        [outcome] = await house.change("admin", define, Change(made[key], Intent.DELETE))
        assert problems(outcome) <= {("NOT_EDITABLE", "id")}
        return not outcome.problems

    first = await shop(house, custom={"motto": "春"})
    await house.change("admin", change_customers, Change(first.id, Intent.DELETE))
    assert not await taken_back("motto")
    assert (await bring_back(house, "customers", first.id)).problems == ()
    # on to a merge: the survivor takes nothing of it, and undoing gives it back
    second = await shop(house)
    [merge_id] = await house.work("manager", lambda work: merge_records(work, "customers", second.id, [first.id]))
    rev = await house.rev("customers", second.id)
    await house.change("wei", change_customers, patch(second.id, rev, custom={"motto": None}))
    assert not await taken_back("motto")
    assert await taken_back("other")
    await house.work("manager", lambda work: undo_merge(work, merge_id))
    assert await custom_of(house, first.id) == {"motto": "春"}
    rev = await house.rev("customers", first.id)
    await house.change("wei", change_customers, patch(first.id, rev, custom={"motto": None}))
    assert await taken_back("motto")


@pytest.mark.requirement("R32")
async def test_a_definition_taken_back_by_mistake_comes_back_unless_another_has_its_place(house: House) -> None:
    one, two, three = await defined(house, *(field(key, "INT", required=True) for key in ("one", "two", "three")))
    phone = await synced(house, "wei")
    stood = phone.documents["customFields", one]
    for gone in (one, two, three):
        await house.change("admin", define, Change(gone, Intent.DELETE))
    await sync(house, "wei", phone)
    assert ("customFields", one) not in phone.documents
    assert problems(await bring_back(house, "customFields", one, "manager")) == {("NOT_PERMITTED", "")}
    assert (await bring_back(house, "customFields", one)).problems == ()
    await sync(house, "wei", phone)
    assert {**phone.documents["customFields", one], "rev": 0} == {**stood, "rev": 0}
    assert problems(await shop(house)) == {("REQUIRED", "custom.one")}
    await defined(house, field("two", "TEXT"))
    assert problems(await bring_back(house, "customFields", two)) == {("ID_TAKEN", "key")}
    # the table of the house takes as many as nobody has set otherwise
    await defined(house, field("four", "INT"), field("five", "INT"))
    few = restoring("customFields", rows_max=4)
    [full] = await house.change("admin", few, Change(three, Intent.RESTORE))
    assert problems(full) == {("TOO_MANY", "id")}
    house.now_ms += 30 * DAY_MS + 1
    assert problems(await bring_back(house, "customFields", three)) == {("RESTORE_TOO_LATE", "id")}
