"""Skips and overrides over every door: online, a push, RxDB, WatermelonDB; and how a day's list shows them."""

from typing import Any

import pytest

from backend.ids import new_id
from tests.house import House
from tests.schema.test_sync import mutation, push
from tests.schema.test_watermelon import created
from tests.schema.test_watermelon import push as watermelon_push
from tests.usecases.asking import ask, data
from tests.usecases.test_insights import sell, shops, steady

TODAY = "2026-11-22"
MAKE = """
mutation ($id: ID, $input: JudgementInput!) { createJudgement(id: $id, input: $input) {
  ... on JudgementChanged { status judgement { id kind startsOn endsOn author { name } customer { nameEn } } }
  ... on Refusal { problems { code path message allowed } } } }"""
LIST = """
{ visitPriorities(on: "2026-11-22") { items { customerId score rankedAt skipped
  judgements { id kind reason reasonText note endsOn score points author { name } } } } }"""
SEEN = """
query ($filter: JudgementFilter) { judgements(filter: $filter, first: 10) { nodes { id kind note withdrawn } } }"""
REPORT = """
query ($first: Date!, $until: Date!) { judgementQuality(from: $first, until: $until) {
  withinDays tooEarly withdrawn byReason { reason reasonText judgements verdict verdictText judged { whole share low } }
  byPerson { person { name } } } }"""


async def make(house: House, who: str, shop: str, **fields: Any) -> Any:
    return (await data(house, who, MAKE, id=new_id(), input={"customerId": shop, **fields}))["createJudgement"]


@pytest.mark.requirement("R28")
async def test_the_list_shows_who_judged_why_and_until_when_beside_the_score(house: House) -> None:
    ids = await shops(house, 3)
    await sell(house, [row for place, shop in enumerate(ids) for row in steady(shop, 10_000 * (place + 1))])
    await data(house, "analyst", "mutation { runScores { __typename } }")
    plain = (await data(house, "wei", LIST))["visitPriorities"]["items"]
    last = plain[-1]["customerId"]
    put = {"kind": "OVERRIDE", "reason": "OTHER", "note": "opens a second shop", "score": 99, "endsOn": "2026-12-24"}
    made = await make(house, "manager", last, **put)
    assert made["judgement"]["author"] == {"name": "manager"}
    assert made["judgement"]["startsOn"] == TODAY
    [first, *_] = (await data(house, "wei", LIST))["visitPriorities"]["items"]
    assert (first["customerId"], first["rankedAt"], first["skipped"]) == (last, 99, False)
    assert first["score"] == plain[-1]["score"]
    assert first["judgements"] == [
        {
            "id": made["judgement"]["id"],
            "kind": "OVERRIDE",
            "reason": "OTHER",
            "reasonText": "Another reason",
            "note": "opens a second shop",
            "endsOn": "2026-12-24",
            "score": 99,
            "points": None,
            "author": {"name": "manager"},
        }
    ]
    masked = (await data(house, "analyst", LIST))["visitPriorities"]["items"][0]["judgements"][0]
    assert masked["note"] == "o•••"
    await make(house, "wei", last, kind="SKIP", reason="NO_TIME")
    assert (await data(house, "wei", LIST))["visitPriorities"]["items"][-1]["skipped"]
    found = (await data(house, "wei", SEEN, filter={"standingOn": TODAY}))["judgements"]["nodes"]
    assert [one["kind"] for one in found] == ["OVERRIDE", "SKIP"]
    assert (await data(house, "wei", SEEN, filter={"standingOn": "2026-12-25"}))["judgements"]["nodes"] == []


async def test_every_door_takes_a_skip_and_refuses_an_override_of_a_rep(house: House) -> None:
    [shop] = await shops(house, 1)
    skip = {"kind": "SKIP", "reason": "CONTACT_AWAY"}
    put = {"kind": "OVERRIDE", "reason": "STRATEGIC", "points": 40}
    assert (await make(house, "wei", shop, **skip))["status"] == "APPLIED"
    assert [one["code"] for one in (await make(house, "wei", shop, **put))["problems"]] == ["NOT_PERMITTED"]

    sent = [
        mutation(seq, "judgement", new_id(), {"customerId": shop, **fields}) for seq, fields in ((1, skip), (2, put))
    ]
    results = await push(house, "wei", *sent)
    assert [one["status"] for one in results] == ["APPLIED", "REFUSED"]
    assert [one["code"] for one in results[1]["problems"]] == ["NOT_PERMITTED"]

    rows = [{"newDocumentState": {"id": new_id(), "customerId": shop, **fields}} for fields in (skip, put)]
    answer = await data(
        house,
        "wei",
        "mutation ($rows: [JudgementsInputPushRow!]) { pushJudgements(judgementsPushRow: $rows) { id _deleted } }",
        rows=rows,
    )
    assert [one["id"] for one in answer["pushJudgements"]] == [rows[1]["newDocumentState"]["id"]]

    columns = {"customerId": shop, "kind": "SKIP", "reason": "NO_TIME"}
    answer = await watermelon_push(house, {"judgements": created(new_id(), **columns)})
    assert answer.get("ok"), answer
    kept = (await data(house, "manager", SEEN))["judgements"]["nodes"]
    assert [one["kind"] for one in kept] == ["SKIP"] * 4


async def test_the_report_says_plainly_when_there_are_too_few(house: House) -> None:
    ids = await shops(house, 6)
    house.now_ms -= 40 * 86_400_000
    for shop in ids[:2]:
        await make(house, "wei", shop, kind="SKIP", reason="NO_TIME")
    house.now_ms += 40 * 86_400_000
    asked = {"first": "2026-09-01", "until": TODAY}
    found = (await data(house, "manager", REPORT, **asked))["judgementQuality"]
    assert (found["withinDays"], found["tooEarly"], found["withdrawn"]) == (30, 0, 0)
    assert found["byPerson"] == [{"person": {"name": "wei"}}]
    [row] = found["byReason"]
    assert (row["reasonText"], row["judgements"], row["verdict"], row["verdictText"]) == (
        "No time left",
        2,
        "TOO_FEW",
        "Too few to say anything",
    )
    assert (row["judged"]["whole"], row["judged"]["share"]) == (2, 0.0)
    assert (await data(house, "analyst", REPORT, **asked))["judgementQuality"]["byPerson"] is None
    refused = await ask(house, "wei", REPORT, **asked)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
