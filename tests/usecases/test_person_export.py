"""What is held about a person, handed out for that person: complete, in the reader's words, bounded, written down."""

from typing import Any

import orjson
import pytest

from backend.auth.principal import Principal, PrincipalKind
from backend.domain.contacts import CONTACT
from backend.domain.customers import CUSTOMER
from backend.domain.permissions import Role
from backend.ids import new_id
from backend.sync.work import Door, Work
from backend.usecases.merges import merge_records
from backend.usecases.people import create_user
from backend.usecases.services import ServiceGiven, create_service
from tests.house import House
from tests.usecases import asking
from tests.usecases.asking import ask
from tests.usecases.canaries import person
from tests.usecases.test_erasure import _rows, change, contact_at, make, shop

EXPORT = """mutation ($id: ID!) { exportPerson(id: $id) { __typename
  ... on PersonExport { collection document } ... on Refusal { problems { code } } } }"""


async def exported(house: House, who: str, record_id: str, locale: str = "en") -> Any:
    answer = await ask(house, who, EXPORT, locale, id=record_id)
    assert "errors" not in answer, answer
    return answer["data"]["exportPerson"]


def section(found: Any, name: str) -> list[dict[str, Any]]:
    [wanted] = [one for one in found["document"]["sections"] if one["section"] == name]
    return [{cell["field"]: cell["value"] for cell in row} for row in wanted["rows"]]


@pytest.mark.requirement("R49")
async def test_everything_a_contact_told_is_handed_out_with_who_changed_and_read_it(house: House) -> None:
    customer = await shop(house)
    contact = await contact_at(house, customer, **person(CONTACT))
    merged = await contact_at(house, customer, **person(CONTACT, 2))
    await house.work("manager", lambda work: merge_records(work, "contacts", contact, [merged]))
    await change(house, "manager", "contacts", contact, preferredChannel="EMAIL")
    await make(house, "wei", "visits", customerId=customer, plannedAt=house.now_ms, notes="Qzxvanna1 was there")
    first = await exported(house, "admin", contact)
    [record] = section(first, "record")
    for name, value in person(CONTACT).items():
        if name not in ("consentEvents", "phone", "notes", "channels"):
            assert record[name] == value, name
    assert record["channels"].items() >= person(CONTACT)["channels"].items()
    assert len(section(first, "consent")) == 2
    assert [row["customerId"] for row in section(first, "links")] == [customer]
    assert [row["mergedId"] for row in section(first, "merges")] == [merged]
    assert {row["action"] for row in section(first, "history")} >= {"CREATE", "UPDATE", "MERGE"}
    assert [row["field"] for row in section(first, "mentions")] == ["notes"]
    assert "was there" not in orjson.dumps(first).decode()
    second = await exported(house, "manager", contact)
    assert [row["action"] for row in section(second, "reads")] == ["EXPORT"]
    told = await _rows(house, "SELECT actor FROM audit_entry WHERE action = 'EXPORT' AND record_id = ? ORDER BY at, id",
                       contact)  # fmt: skip
    assert {row[0] for row in told} == {house.people["admin"].actor, house.people["manager"].actor}


@pytest.mark.parametrize(("locale", "label"), [("en", "Consent"), ("zh-CN", "同意记录"), ("ko", "동의 이력")])
async def test_labels_are_the_readers_and_keys_are_not(house: House, locale: str, label: str) -> None:
    contact = await contact_at(house, await shop(house), **person(CONTACT))
    found = (await exported(house, "admin", contact, locale))["document"]
    labels = {one["section"]: one["label"] for one in found["sections"]}
    assert labels["consent"] == label
    [[first, *_]] = found["sections"][0]["rows"]
    assert first.keys() == {"field", "label", "value"}


async def test_a_consumers_visits_orders_and_tasks_belong_to_it(house: House) -> None:
    customer = await make(house, "wei", "customers", **person(CUSTOMER), kind="CONSUMER")
    await make(house, "wei", "orders", customerId=customer, currency="CNY", lines=[])
    await make(house, "wei", "tasks", customerId=customer, title="call")
    found = await exported(house, "admin", customer)
    assert [len(section(found, name)) for name in ("visits", "orders", "tasks")] == [0, 1, 1]


async def test_a_section_is_cut_at_its_bound_and_says_so(house: House) -> None:
    contact = await contact_at(house, await shop(house), nameEn="Ann")
    for number in range(5):
        await change(house, "wei", "contacts", contact, nameEn=f"Ann{number}")
    bounded = asking.SETTINGS.model_copy(update={"person_export_rows_max": 2})
    whole, asking.SETTINGS = asking.SETTINGS, bounded
    try:
        found = await exported(house, "admin", contact)
    finally:
        asking.SETTINGS = whole
    [history] = [one for one in found["document"]["sections"] if one["section"] == "history"]
    assert (len(history["rows"]), history["more"], history["total"] >= 6) == (2, True, True)


EXPORTING = {Role.MANAGER, Role.ADMIN}
"""Marketers and analysts export masked lists; what is held of one person is not masked, so it is not theirs."""


@pytest.mark.requirement("R49")
async def test_without_the_right_or_with_masked_eyes_nothing_is_handed_out(house: House) -> None:
    contact = await contact_at(house, await shop(house), nameEn="Ann")
    for role in Role:
        who = await somebody(house, role)
        for record_id in (contact, new_id()):
            found = await exported(house, who, record_id)
            if role not in EXPORTING:
                assert [problem["code"] for problem in found["problems"]] == ["NOT_PERMITTED"], role
            else:
                assert found["__typename"] == ("PersonExport" if record_id == contact else "Refusal"), role


async def somebody(house: House, role: Role) -> str:
    """Somebody of that role."""
    for who, one in house.people.items():
        if one.role is role and who != "system":
            return who

    async def story(work: Work) -> str:
        return await create_user(work, email=f"{role}@haizhi.example", name="x", role=role.value, password_hash="x")

    user_id = await house.work("system", story, door=Door.JOB)
    house.people[role.value] = Principal(PrincipalKind.STAFF, user_id=user_id, device_id=new_id(), role=role)
    return role.value


@pytest.mark.parametrize(
    ("rights", "told"),
    [
        (("read:contacts", "export"), "PersonExport"),
        (("export",), "NOT_PERMITTED"),
    ],
)
async def test_another_system_needs_the_right_to_export_and_to_read_and_its_territory(
    house: House, rights: tuple[str, ...], told: str
) -> None:
    given = ServiceGiven("erp", rights, territory_ids=[house.patches["north"]])
    service = await house.work("admin", lambda work: create_service(work, given))
    house.people["erp"] = Principal(PrincipalKind.SERVICE, service_id=service, rights=frozenset(rights))
    near = await contact_at(house, await shop(house), nameEn="Ann")
    far = await contact_at(house, await shop(house, "na"), "na", nameEn="Bob")
    found = await exported(house, "erp", near)
    assert told in (found["__typename"], *(problem["code"] for problem in found.get("problems", ())))
    # what it may not see is answered like a random id
    beyond = [(await exported(house, "erp", one))["problems"][0]["code"] for one in (far, new_id())]
    assert beyond == (["NOT_FOUND"] * 2 if told == "PersonExport" else ["NOT_PERMITTED"] * 2)
    written = await _rows(house, "SELECT actor FROM audit_entry WHERE action = 'EXPORT'")
    assert [row[0] for row in written] == ([f"service:{service}"] if told == "PersonExport" else [])


async def test_a_shop_a_stranger_and_a_colleague_out_of_reach_are_not_found(house: House) -> None:
    for record_id in (await shop(house), new_id(), "x"):
        found = await exported(house, "admin", record_id)
        assert [problem["code"] for problem in found["problems"]] == ["NOT_FOUND"]
    colleague = str(house.people["wei"].user_id)
    assert (await exported(house, "manager", colleague))["problems"][0]["code"] == "NOT_FOUND"
    found = await exported(house, "admin", colleague)
    assert section(found, "record")[0]["email"] == "wei@haizhi.example"
