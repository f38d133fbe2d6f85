"""Customers and contacts: what suffices, what is missing, what is refused."""

import pytest

from backend.domain.contacts import CONTACT, CUSTOMER_CONTACT
from backend.domain.contacts import derived_fields as contact_derived
from backend.domain.customers import (
    CUSTOMER,
    CustomerKind,
    completeness,
    derived_fields,
    parse_hours,
    phone_region,
    wanted_fields,
    with_phone_region,
)
from backend.domain.fields import Merge, policy_of, validate, whole_problems, with_defaults
from backend.domain.names import matches, query_keys
from backend.errors import Code, Refused

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER_ID = "01890a5d-ac96-774b-bcce-b302099a8058"


@pytest.mark.requirement("R46")
def test_the_seven_kinds() -> None:
    assert {kind.value for kind in CustomerKind} == {
        "CONSUMER",
        "CORPORATE_GROUP",
        "RETAILER",
        "CHAIN",
        "DISTRIBUTOR",
        "MARKETPLACE",
        "FABRIC_SUPPLIER",
    }


@pytest.mark.parametrize("kind", list(CustomerKind))
def test_a_name_and_a_kind_suffice(kind: CustomerKind) -> None:
    clean, problems = validate(CUSTOMER, {"nameKo": "온유", "kind": kind.value}, creating=True)
    assert problems == []
    record = with_defaults(CUSTOMER, clean)
    assert (record["stage"], record["geofenceM"], record["tags"], record["openHours"]) == ("PROSPECT", 150, [], None)
    assert whole_problems(CUSTOMER, record) == []


def test_everything_wrong_with_a_customer_is_told_at_once() -> None:
    _, problems = validate(
        CUSTOMER,
        {
            "kind": "SHOP",
            "country": "EU",
            "phone": "12",
            "email": "x",
            "taxId": "?",
            "latE7": 900_000_001,
            "geofenceM": 1,
            "timezone": "Mars/Olympus",
            "openHours": {"MON": "9-5", "XXX": "09:00-10:00"},
            "creditLimitMinor": -1,
            "currency": "XXX",
            "customerSince": "2026-13-01",
            "searchKeys": "x",
            "colour": "red",
        },
        creating=True,
    )
    assert {(p.code.value, ".".join(p.path)) for p in problems} == {
        ("NOT_ALLOWED_VALUE", "kind"),
        ("REQUIRED", "nameZh"),
        ("NOT_ALLOWED_VALUE", "country"),
        ("INVALID_VALUE", "phone"),
        ("INVALID_VALUE", "email"),
        ("INVALID_VALUE", "taxId"),
        ("OUT_OF_RANGE", "latE7"),
        ("OUT_OF_RANGE", "geofenceM"),
        ("INVALID_VALUE", "timezone"),
        ("INVALID_VALUE", "openHours.MON"),
        ("NOT_ALLOWED_VALUE", "openHours.XXX"),
        ("OUT_OF_RANGE", "creditLimitMinor"),
        ("NOT_ALLOWED_VALUE", "currency"),
        ("INVALID_VALUE", "customerSince"),
        ("SERVER_ONLY_FIELD", "searchKeys"),
        ("UNKNOWN_FIELD", "colour"),
    }


def test_a_phone_without_country_code_belongs_to_the_customers_country() -> None:
    assert phone_region({"country": "kr"}, "CN") == "KR"
    assert phone_region({}, "KR") == phone_region({"country": "?"}, "KR") == "KR"
    korean = with_phone_region(CUSTOMER, "KR")
    clean, _ = validate(korean, {"country": "kr", "phone": "010-1234-5678"}, creating=False)
    assert clean == {"country": "KR", "phone": "+821012345678"}
    clean, _ = validate(CONTACT, {"phone": "138 0013 8000"}, creating=False)
    assert clean["phone"] == "+8613800138000"


def test_fields_that_belong_together_are_checked_together() -> None:
    def found(fields: dict[str, object]) -> list[tuple[str, str]]:
        return [(p.code.value, p.path[0]) for p in validate(CUSTOMER, fields, creating=False)[1]]

    assert found({"latE7": 1}) == [("REQUIRED", "lonE7")]
    assert found({"country": "CN", "postcode": "2000"}) == [("INVALID_VALUE", "postcode")]
    assert found({"creditLimitMinor": 5, "currency": None}) == [("REQUIRED", "currency")]
    assert found({"creditLimitMinor": 5}) == []
    whole = {"kind": "CHAIN", "nameEn": "x", "creditLimitMinor": 5, "currency": None, "id": ID, "parentId": ID}
    assert [p.path[0] for p in whole_problems(CUSTOMER, whole)] == ["currency", "parentId"]


@pytest.mark.parametrize("good", ["09:00-12:30,14:00-21:00", "00:00-24:00", "09:00-12:30, 14:00-21:00"])
def test_opening_hours_are_spans_in_order(good: str) -> None:
    assert parse_hours(good) == good.replace(" ", "")


@pytest.mark.parametrize(
    "bad", ["9:00-10:00", "10:00-09:00", "09:00-11:00,10:00-12:00", "09:00", "25:00-26:00", "09:00-24:30"]
)
def test_other_opening_hours_are_refused(bad: str) -> None:
    with pytest.raises(Refused):
        parse_hours(bad)


@pytest.mark.requirement("R18", "R48")
def test_completeness_names_what_is_missing_for_the_kind() -> None:
    percent, missing = completeness({"kind": "CONSUMER", "nameZh": "王伟", "email": "a@b.de"})
    assert (percent, missing) == (40, ["country", "city", "customerSince"])
    shop = {group[0]: "x" for group in wanted_fields("RETAILER")} | {"kind": "RETAILER"}
    assert completeness(shop) == (100, [])
    assert completeness(shop | {"latE7": None}) == (92, ["latE7"])
    assert (
        completeness({"kind": "MARKETPLACE", "nameEn": "x"})[0]
        < completeness({"kind": "MARKETPLACE", "nameEn": "x", "code": "M1"})[0]
    )
    assert "latE7" not in completeness({"kind": "FABRIC_SUPPLIER", "nameEn": "x"})[1]


def test_what_is_computed_on_write_finds_and_sorts_the_customer() -> None:
    derived = derived_fields({"kind": "CONSUMER", "nameZh": "单伟", "phone": "+8613800138000", "code": "C-7"})
    for query in ("sw", "shanwei", "單偉", "138", "c7"):
        assert matches(str(derived["searchKeys"]), query_keys(query))
    assert str(derived["sortKey"]).startswith("shan4wei3")
    shop = derived_fields({"kind": "RETAILER", "nameZh": "单店"})
    assert str(shop["sortKey"]).startswith("dan1dian4")
    person = contact_derived({"nameKo": "김민수", "phone": "+821012345678"})
    assert matches(str(person["searchKeys"]), query_keys("ㄱㅁㅅ 010"))
    assert set(derived) <= {f.name for f in CUSTOMER.fields if f.server_only}
    assert set(person) <= {f.name for f in CONTACT.fields if f.server_only}


def test_a_contacts_channels_and_consent_events() -> None:
    clean, problems = validate(
        CONTACT,
        {
            "nameZh": "李娜",
            "channels": {"WECHAT": "lina88", "KAKAO": "lina"},
            "preferredChannel": "WECHAT",
            "locale": "zh",
            "consentEvents": [
                {
                    "channel": "WECHAT",
                    "purpose": "MARKETING",
                    "change": "GIVEN",
                    "at": "2026-03-01T00:00:00.000Z",
                    "source": "VISIT",
                    "wordingVersion": "1",
                }
            ],
        },
        creating=True,
    )
    assert problems == []
    assert clean["channels"] == {"KAKAO": "lina", "WECHAT": "lina88"}
    _, problems = validate(CONTACT, {"channels": {"FAX": "1"}, "consentEvents": [{"at": 5}]}, creating=False)
    assert (Code.NOT_ALLOWED_VALUE, ("channels", "FAX")) in [(p.code, p.path) for p in problems]
    assert (Code.REQUIRED, ("consentEvents", "0", "purpose")) in [(p.code, p.path) for p in problems]


def test_a_link_names_both_ends_and_they_never_change() -> None:
    assert validate(CUSTOMER_CONTACT, {"customerId": ID, "contactId": OTHER_ID}, creating=True)[1] == []
    problems = validate(CUSTOMER_CONTACT, {"customerId": ID}, creating=False)[1]
    assert [(p.code, p.path) for p in problems] == [(Code.NOT_EDITABLE, ("customerId",))]
    problems = validate(CUSTOMER_CONTACT, {}, creating=True)[1]
    assert [p.path for p in problems] == [("customerId",), ("contactId",)]


def test_policies_of_customer_and_contact_fields() -> None:
    assert policy_of(CUSTOMER, "tags") is Merge.SET_UNION
    assert policy_of(CUSTOMER, "notes") is Merge.APPEND_TEXT
    assert policy_of(CUSTOMER, "latE7") is policy_of(CUSTOMER, "lonE7") is Merge.LAST_WRITER
    assert policy_of(CUSTOMER, "openHours.MON") is Merge.MERGE
    assert policy_of(CUSTOMER, "territoryId") is Merge.SERVER_ONLY
    assert policy_of(CONTACT, "consentEvents") is Merge.SET_UNION
