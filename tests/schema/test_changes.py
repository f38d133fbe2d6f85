"""Mutations over GraphQL: payload or refusal, merged like a push, read after commit."""

from typing import Any

import pytest

from backend.ids import new_id
from tests.house import House
from tests.usecases.asking import ask, data

PROBLEMS = "... on Refusal { problems { code message path allowed retry } }"
CREATE = f"""
mutation ($id: ID, $input: CustomerInput!) {{
  answer: createCustomer(id: $id, input: $input) {{
    __typename
    ... on CustomerChanged {{ status customer {{ id rev nameZh kind territoryId searchable: code tags }} }}
    {PROBLEMS}
  }}
}}"""
UPDATE = f"""
mutation ($id: ID!, $baseRev: BigInt!, $patch: CustomerPatch!) {{
  answer: updateCustomer(id: $id, baseRev: $baseRev, patch: $patch) {{
    __typename
    ... on CustomerChanged {{ status conflicts {{ path mine theirs }} customer {{ id rev nameEn notes termsDays }} }}
    {PROBLEMS}
  }}
}}"""


async def _created(house: House, who: str = "wei", **fields: object) -> Any:
    answer = await data(house, who, CREATE, input={"nameZh": "北辰百货", "kind": "RETAILER", **fields})
    assert answer["answer"]["__typename"] == "CustomerChanged", answer
    return answer["answer"]["customer"]


async def test_a_created_record_is_read_back_as_it_stands(house: House) -> None:
    customer = await _created(house, tags=["vip", "north"])
    assert customer["rev"] > 0
    assert (customer["territoryId"], customer["tags"]) == (house.patches["north"], ["north", "vip"])


async def test_a_refusal_tells_everything_at_once_in_the_readers_language(house: House) -> None:
    variables = {"input": {"kind": "RETAILER", "email": "nobody", "termsDays": 400}}
    for locale, word in (("en", "E"), ("zh-CN", "邮"), ("ko", "이메일")):
        answer = (await ask(house, "wei", CREATE, locale, **variables))["data"]["answer"]
        assert answer["__typename"] == "Refusal"
        problems = {(p["code"], ".".join(p["path"])): p["message"] for p in answer["problems"]}
        assert set(problems) == {
            ("INVALID_VALUE", "email"),
            ("OUT_OF_RANGE", "termsDays"),
            ("REQUIRED", "nameZh"),
        }
        assert word in problems["INVALID_VALUE", "email"]


async def test_two_managers_never_overwrite_each_other_in_silence(house: House) -> None:
    customer = await _created(house)
    base = {"id": customer["id"], "baseRev": customer["rev"]}
    first = await data(house, "manager", UPDATE, **base, patch={"termsDays": 30})
    second = await data(house, "admin", UPDATE, **base, patch={"nameEn": "Beichen"})
    third = await data(house, "admin", UPDATE, **base, patch={"termsDays": 60})
    assert [one["answer"]["status"] for one in (first, second, third)] == ["APPLIED", "MERGED", "CONFLICT"]
    assert third["answer"]["conflicts"] == [{"path": "termsDays", "mine": 60, "theirs": 30}]
    assert third["answer"]["customer"]["termsDays"] == 30
    assert third["answer"]["customer"]["nameEn"] == "Beichen"


async def test_a_patch_tells_absent_from_null(house: House) -> None:
    customer = await _created(house, termsDays=30, nameEn="Beichen")
    base = {"id": customer["id"], "baseRev": customer["rev"]}
    answer = await data(house, "wei", UPDATE, **base, patch={"termsDays": None})
    assert answer["answer"]["customer"]["termsDays"] is None
    assert answer["answer"]["customer"]["nameEn"] == "Beichen"


@pytest.mark.parametrize("stranger", ["na", "random id"])
async def test_a_row_outside_the_scope_answers_as_one_that_is_not_there(house: House, stranger: str) -> None:
    customer = await _created(house)
    who, record_id = ("na", customer["id"]) if stranger == "na" else ("wei", new_id())
    answer = await data(house, who, UPDATE, id=record_id, baseRev=customer["rev"], patch={"notes": "x"})
    assert [(p["code"], p["path"]) for p in answer["answer"]["problems"]] == [("NOT_FOUND", ["id"])]


async def test_an_illegal_step_names_the_allowed_ones(house: House) -> None:
    customer = await _created(house)
    made = await data(
        house,
        "wei",
        "mutation ($input: VisitInput!) { createVisit(input: $input) { ... on VisitChanged { visit { id rev } } } }",
        input={"customerId": customer["id"], "plannedAt": "2026-11-23T02:00:00.000Z"},
    )
    visit = made["createVisit"]["visit"]
    answer = await data(
        house,
        "wei",
        f"""mutation ($id: ID!, $rev: BigInt!) {{
          answer: updateVisit(id: $id, baseRev: $rev, patch: {{state: PLANNED, outcome: ORDER_TAKEN}}) {{
            ... on VisitChanged {{ visit {{ rev }} }}
          }}
          wrong: updateOrder(id: $id, baseRev: $rev, patch: {{state: CLOSED}}) {{ {PROBLEMS} }}
          step: updateVisit(id: $id, baseRev: $rev, patch: {{state: CANCELLED, reason: NO_TIME}}) {{
            ... on VisitChanged {{ visit {{ rev state }} }}
          }}
        }}""",
        id=visit["id"],
        rev=visit["rev"],
    )
    assert answer["wrong"]["problems"][0]["code"] == "NOT_FOUND"
    assert answer["step"]["visit"]["state"] == "CANCELLED"
    after = await data(
        house,
        "wei",
        f"""mutation ($id: ID!, $rev: BigInt!) {{
          again: updateVisit(id: $id, baseRev: $rev, patch: {{state: CHECKED_IN}}) {{ {PROBLEMS} }}
        }}""",
        id=visit["id"],
        rev=answer["step"]["visit"]["rev"],
    )
    assert [(p["code"], p["allowed"]) for p in after["again"]["problems"]] == [("INVALID_TRANSITION", [])]


async def test_customers_move_and_a_rep_may_not_move_them(house: House) -> None:
    customer = await _created(house)
    house.now_ms += 1_000
    document = f"""mutation ($customer: ID!, $territory: ID!) {{
      moveCustomers(moves: [{{customerId: $customer, territoryId: $territory}}], reason: "balance") {{
        ... on CustomersMoved {{ moved }} {PROBLEMS}
      }}
    }}"""
    wanted = {"customer": customer["id"], "territory": house.patches["south"]}
    refused = await data(house, "wei", document, **wanted)
    assert [p["code"] for p in refused["moveCustomers"]["problems"]] == ["NOT_PERMITTED"]
    assert (await data(house, "manager", document, **wanted))["moveCustomers"] == {"moved": 1}
    read = "query ($id: ID!) { customer(id: $id) { territoryId } }"
    assert (await data(house, "wei", read, id=customer["id"]))["customer"] is None
    found = await data(house, "na", read, id=customer["id"])
    assert found["customer"] == {"territoryId": house.patches["south"]}


@pytest.mark.parametrize("base_rev", [2**53 - 1, -1, 5])
async def test_a_revision_nobody_can_have_seen_wins_against_nobody(house: House, base_rev: int) -> None:
    customer = await _created(house, termsDays=30)
    answer = await data(house, "admin", UPDATE, id=customer["id"], baseRev=base_rev, patch={"termsDays": 60})
    assert [(p["code"], p["path"]) for p in answer["answer"]["problems"]] == [("OUT_OF_RANGE", ["baseRev"])]
    assert await house.row("customer", customer["id"], "terms_days") == (30,)


async def test_everything_wrong_with_a_visit_is_said_at_once_and_a_reps_work_is_his_own(house: House) -> None:
    document = f"mutation ($input: VisitInput!) {{ answer: createVisit(input: $input) {{ {PROBLEMS} }} }}"
    bare = await data(house, "wei", document, input={"customerId": new_id()})
    assert {(p["code"], p["path"][0]) for p in bare["answer"]["problems"]} == {
        ("REQUIRED", "plannedAt"),
        ("NOT_FOUND", "customerId"),
    }
    customer = await _created(house)
    given = {"customerId": customer["id"], "plannedAt": "2026-11-23T02:00:00.000Z"}
    lent = await data(house, "wei", document, input={**given, "repId": house.people["na"].user_id})
    assert [(p["code"], p["path"]) for p in lent["answer"]["problems"]] == [("NOT_PERMITTED", ["repId"])]


async def test_a_text_with_nul_is_a_wrong_value_on_both_databases(house: House) -> None:
    document = f"""mutation ($user: ID!, $territory: ID!) {{
      seat: grantTerritory(userId: $user, territoryId: $territory, reason: "\\u0000") {{ {PROBLEMS} }}
      out: setUserActive(userId: "\\u0000", active: false) {{ {PROBLEMS} }}
    }}"""
    given = {"user": house.people["wei"].user_id, "territory": house.patches["south"]}
    answer = await data(house, "admin", document, **given)
    assert [p["code"] for p in answer["seat"]["problems"]] == ["INVALID_VALUE"]
    assert [p["code"] for p in answer["out"]["problems"]] == ["NOT_FOUND"]
