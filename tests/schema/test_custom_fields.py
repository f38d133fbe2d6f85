"""Custom fields over GraphQL: defined by an admin, filled in by reps, and records found by what they hold."""

from typing import Any

import orjson
import pytest

from tests.house import House
from tests.usecases.asking import ask, data

DEFINE = """
mutation ($input: CustomFieldInput!) {
  answer: createCustomField(input: $input) {
    __typename
    ... on CustomFieldChanged { customField { id rev key kind required choices nameZh } }
    ... on Refusal { problems { code path message } }
  }
}"""
SHOP = """
mutation ($input: CustomerInput!) {
  answer: createCustomer(input: $input) {
    __typename
    ... on CustomerChanged { customer { id nameEn custom } }
    ... on Refusal { problems { code path message allowed } }
  }
}"""
FIND = "query ($where: [CustomFilter!]) { customers(filter: {custom: $where}) { nodes { nameEn } } }"
CHOICES = [{"value": "MALL", "nameEn": "Mall"}, {"value": "STREET", "nameEn": "Street"}]
FIELDS = (
    {"key": "format", "kind": "CHOICE", "choices": CHOICES},
    {"key": "brands", "kind": "CHOICES", "choices": CHOICES},
    {"key": "area", "kind": "INT", "least": 0},
    {"key": "refitOn", "kind": "DATE"},
    {"key": "always", "kind": "BOOL"},
    {"key": "motto", "kind": "TEXT", "personal": True},
)
SHOPS: dict[str, dict[str, Any]] = {
    "a": {"format": "MALL", "area": 50, "refitOn": "2020-01-01", "always": True, "motto": '春 "x"'},
    "b": {"format": "STREET", "area": 500, "brands": ["MALL", "STREET"], "refitOn": "2024-06-30", "always": False},
    "c": {"area": 9, "brands": ["STREET"], "motto": "50"},
    "d": {},
}


async def furnished(house: House) -> None:
    for field in FIELDS:
        given = {"collection": "customers", "nameEn": field["key"], **field}
        answer = (await data(house, "admin", DEFINE, input=given))["answer"]
        assert answer["__typename"] == "CustomFieldChanged", answer
    for name, held in SHOPS.items():
        answer = (await data(house, "wei", SHOP, input={"nameEn": name, "kind": "RETAILER", "custom": held}))["answer"]
        assert answer["customer"]["custom"] == dict(sorted(held.items()))


@pytest.mark.requirement("R13")
async def test_records_are_found_by_what_they_hold(house: House) -> None:
    await furnished(house)
    for where, found in (
        ({"key": "format", "in": ["MALL"]}, "a"),
        ({"key": "format", "in": ["MALL", "STREET"]}, "ab"),
        ({"key": "format", "in": []}, ""),
        ({"key": "brands", "in": ["MALL"]}, "b"),
        ({"key": "brands", "in": ["STREET", "MALL"]}, "bc"),
        ({"key": "area", "in": [50, 9]}, "ac"),
        ({"key": "area", "atLeast": 50}, "ab"),
        ({"key": "area", "atLeast": 10, "atMost": 499}, "a"),
        ({"key": "refitOn", "atMost": "2023-12-31"}, "a"),
        ({"key": "refitOn", "in": ["2024-06-30"]}, "b"),
        ({"key": "always", "in": [False]}, "b"),
        ({"key": "motto", "in": ['春 "x"', "50"]}, "ac"),
        ({"key": "motto", "isFilled": False}, "bd"),
        ({"key": "format", "isFilled": True}, "ab"),
    ):
        nodes = (await data(house, "wei", FIND, where=[where]))["customers"]["nodes"]
        assert "".join(node["nameEn"] for node in nodes) == found, where
    both = [{"key": "area", "atLeast": 10}, {"key": "brands", "isFilled": True}]
    assert (await data(house, "wei", FIND, where=both))["customers"]["nodes"] == [{"nameEn": "b"}]


async def test_a_value_of_another_kind_than_its_field_fits_no_condition_and_stops_none(house: House) -> None:
    """No door lets one in; one that is there all the same must not make lists unreadable for everybody."""
    await furnished(house)
    odd = {"format": 5, "brands": "MALL", "area": "large", "refitOn": 20_240_101, "always": "true", "motto": ["50"]}
    async with house.engine.write() as conn:
        await conn.execute("UPDATE customer SET custom = ? WHERE name_en = 'd'", orjson.dumps(odd).decode())
    for where, found in (
        ({"key": "format", "in": ["MALL"]}, "a"),
        ({"key": "brands", "in": ["MALL"]}, "b"),
        ({"key": "area", "in": [9]}, "c"),
        ({"key": "area", "atLeast": 50}, "ab"),
        ({"key": "area", "atMost": 50}, "ac"),
        ({"key": "refitOn", "atLeast": "1900-01-01"}, "ab"),
        ({"key": "refitOn", "atMost": "2199-12-31"}, "ab"),
        ({"key": "always", "in": [True]}, "a"),
        ({"key": "area", "isFilled": True}, "abcd"),
    ):
        nodes = (await data(house, "wei", FIND, where=[where]))["customers"]["nodes"]
        assert "".join(node["nameEn"] for node in nodes) == found, where
    for text, count in (
        ("custom.area >= 50", 2),
        ("custom.area between 0 and 100", 2),
        ('custom.brands has "MALL"', 1),
        ("custom.refitOn >= 1900-01-01", 2),
        ('custom.format = "MALL"', 1),
    ):
        asked = "query ($text: String!) { matchingCustomers(filter: {text: $text}) { count } }"
        assert (await data(house, "wei", asked, text=text))["matchingCustomers"]["count"] == count, text


async def test_a_filter_that_makes_no_sense_names_every_fault(house: House) -> None:
    await furnished(house)
    wrong = [
        {"key": "nothing", "isFilled": True},
        {"key": "area", "in": ["fifty"]},
        {"key": "format", "in": ["CELLAR"]},
        {"key": "motto", "atLeast": "a"},
        {"key": "refitOn", "atMost": "2024-02-31"},
    ]
    [error] = (await ask(house, "wei", FIND, where=wrong))["errors"]
    told = error["extensions"]["problems"]
    assert {(one["code"], ".".join(one["path"])) for one in told} == {
        ("UNKNOWN_FIELD", "filter.custom.0.key"),
        ("INVALID_VALUE", "filter.custom.1.in.0"),
        ("NOT_ALLOWED_VALUE", "filter.custom.2.in.0"),
        ("INVALID_VALUE", "filter.custom.3.atLeast"),
        ("INVALID_VALUE", "filter.custom.4.atMost"),
    }
    [error] = (await ask(house, "wei", FIND, where=[{"key": "area", "isFilled": True}] * 11))["errors"]
    assert error["extensions"]["code"] == "TOO_MANY"


async def test_masked_roles_neither_read_nor_compare_what_is_personal(house: House) -> None:
    await furnished(house)
    nodes = (await data(house, "analyst", "{ customers { nodes { nameEn custom } } }"))["customers"]["nodes"]
    assert {node["nameEn"]: node["custom"] for node in nodes} == {
        name: {key: value for key, value in sorted(held.items()) if key != "motto"} for name, held in SHOPS.items()
    }
    [error] = (await ask(house, "analyst", FIND, where=[{"key": "motto", "in": ["50"]}]))["errors"]
    assert error["extensions"]["code"] == "UNKNOWN_FIELD"
    assert (await data(house, "analyst", FIND, where=[{"key": "area", "in": [50]}]))["customers"]["nodes"] == [
        {"nameEn": "a"}
    ]


async def test_everybody_sees_what_is_defined_and_only_admins_define(house: House) -> None:
    await furnished(house)
    listed = """{
      customFields(collection: customers) { nodes { key kind personal } }
      none: customFields(collection: tasks) { totalCount }
    }"""
    found = await data(house, "wei", listed)
    assert {node["key"] for node in found["customFields"]["nodes"]} == {field["key"] for field in FIELDS}
    assert found["none"]["totalCount"] == 0
    refused = await data(house, "wei", DEFINE, input={"collection": "tasks", "key": "x", "kind": "TEXT", "nameEn": "x"})
    assert refused["answer"]["problems"][0]["code"] == "NOT_PERMITTED"
