"""A name is found by the same words on the server and on a phone, and stands at the same place in a list."""

from typing import Any

import pytest

from backend.domain.names import sort_key
from backend.ids import new_id
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from mobile_contract.replica import Replica
from tests.house import House, create
from tests.usecases.asking import data

PULL = """
query ($cursor: String, $limit: Int!, $schemaVersion: Int!, $refetch: [SyncRefetch!]) {
  syncPull(cursor: $cursor, limit: $limit, schemaVersion: $schemaVersion, refetch: $refetch) {
    clock cursor complete scopesRemoved ackedMutation
    blocks { scope collection left rows { seq digest document } }
    checksums { scope collection sum count }
  }
}"""
SEARCH = """
query ($text: String!) {
  customers(filter: {search: $text}, first: 50) { nodes { id } }
  contacts(filter: {search: $text}, first: 50) { nodes { id } }
}"""
PEOPLE = ({"nameZh": "王伟"}, {"nameKo": "김민수"}, {"nameEn": "Wanda Wu"}, {"nameZh": "欧阳静"}, {"nameKo": "박서연"})
SHOPS = (
    {"nameZh": "北辰百货", "code": "BC-01"},
    {"nameZh": "上海锦绣"},
    {"nameKo": "온유"},
    {"nameKo": "가람상회"},
    {"nameEn": "Zephyr & Sons"},
    {"nameEn": "apple lane"},
    {"nameZh": "安和", "phone": "13800138000"},
)


@pytest.fixture
async def company(house: House) -> House:
    shops = [create(new_id(), {**names, "kind": "RETAILER"}) for names in SHOPS]
    people = [create(new_id(), names) for names in PEOPLE]
    await house.change("wei", change_customers, *shops)
    await house.change("wei", change_contacts, *people)
    links = [create(new_id(), {"customerId": shops[0].id, "contactId": person.id}) for person in people]
    await house.change("wei", change_customer_contacts, *links)
    return house


async def _phone(house: House) -> Replica:
    replica = Replica()
    while True:
        request = replica.pull_request()
        page = (await data(house, "wei", PULL, **request))["syncPull"]
        replica.apply(request, page)
        if page["complete"]:
            break
    return replica


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ww", 2),
        ("ㄱㅁㅅ", 1),
        ("wangwei", 1),
        ("wang wei", 1),
        ("王偉", 1),
        ("oyj", 1),
        ("BeiChen", 1),
        ("bc-01", 1),
        ("ㅇㅇ", 1),
        ("13800138000", 1),
        ("138 0013", 1),
        ("100%_", 0),
    ],
)
async def test_the_same_words_find_the_same_rows_on_server_and_phone(company: House, text: str, found: int) -> None:
    answer = await data(company, "wei", SEARCH, text=text)
    phone = await _phone(company)
    for collection in ("customers", "contacts"):
        server = {node["id"] for node in answer[collection]["nodes"]}
        assert server == {document["id"] for document in phone.search(collection, text)}
    assert sum(len(answer[collection]["nodes"]) for collection in ("customers", "contacts")) == found


async def test_names_stand_in_the_same_order_on_both_databases(company: House) -> None:
    document = "{ customers(sort: NAME, first: 50) { nodes { nameZh nameKo nameEn } } }"
    nodes: list[dict[str, Any]] = (await data(company, "wei", document))["customers"]["nodes"]
    names = [next(name for name in node.values() if name) for node in nodes]
    assert names == ["安和", "apple lane", "北辰百货", "上海锦绣", "Zephyr & Sons", "가람상회", "온유"]
    keys = [sort_key({"zh": n["nameZh"], "ko": n["nameKo"], "en": n["nameEn"]}) for n in nodes]
    assert keys == sorted(keys, key=str.encode)
