"""The native protocol over GraphQL: a phone's day, offline for half of it, with nothing lost."""

from collections.abc import Sequence
from typing import Any

import pytest

from backend.domain.times import instant_text
from backend.ids import new_id
from backend.sync.changes import Change, Intent, Outcome
from backend.sync.work import Work
from backend.usecases.tasks import change_tasks
from backend.wiring import USE_CASES
from tests.house import NOON_MS, House
from tests.usecases import asking
from tests.usecases.asking import ask, data

PULL = """
query ($cursor: String, $limit: Int! = 500) {
  syncPull(cursor: $cursor, limit: $limit) {
    clock cursor complete scopesRemoved ackedMutation
    blocks { scope collection left rows { seq digest document } }
    checksums { scope collection sum count }
  }
}"""
PUSH = """
mutation ($mutations: [SyncMutation!]!) {
  syncPush(mutations: $mutations) {
    ... on SyncPushed { clock results {
      id status problems { code path message } records { collection seq digest document }
    } }
    ... on Refusal { problems { code path } }
  }
}"""


def mutation(seq: int, key: str, record_id: str, fields: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    record = {"id": record_id, "set": fields, **{k: more.pop(k) for k in ("baseRev", "delete") if k in more}}
    return {"id": more.pop("id", new_id()), "clientSeq": seq, "change": {key: record}, **more}


async def push(house: House, who: str, *mutations: dict[str, Any]) -> list[Any]:
    answer = await data(house, who, PUSH, mutations=list(mutations))
    found: list[Any] = answer["syncPush"]["results"]
    return found


async def test_a_day_without_signal_arrives_whole(house: House) -> None:
    shop, visit = new_id(), new_id()
    day = [
        mutation(1, "customer", shop, {"nameKo": "온유", "kind": "RETAILER"}, group="a"),
        mutation(2, "visit", visit, {"customerId": shop, "checkInAt": NOON_MS - 600_000}, group="a"),
        mutation(3, "task", new_id(), {"title": "send samples", "customerId": shop, "dueOn": "2026-11-30"}),
    ]
    results = await push(house, "wei", *day)
    assert [r["status"] for r in results] == ["APPLIED"] * 3, results
    again = await push(house, "wei", *day)
    assert [(r["id"], r["status"]) for r in again] == [(r["id"], r["status"]) for r in results]
    page = (await data(house, "manager", PULL))["syncPull"]
    assert page["complete"]
    rows = {row["document"]["id"]: row for block in page["blocks"] for row in block["rows"]}
    assert rows[visit]["document"]["state"] == "CHECKED_IN"
    assert rows[shop]["document"]["nameKo"] == "온유"
    assert rows[visit] == {key: results[1]["records"][0][key] for key in ("seq", "digest", "document")}
    wei = (await data(house, "wei", PULL))["syncPull"]
    assert wei["ackedMutation"] == 3


async def test_a_group_stands_or_falls_together_and_the_rest_goes_on(house: House) -> None:
    shop = new_id()
    results = await push(
        house,
        "wei",
        mutation(1, "customer", shop, {"nameEn": "x", "kind": "RETAILER"}, group="a"),
        mutation(2, "visit", new_id(), {"customerId": shop}, group="a"),
        mutation(3, "task", new_id(), {"title": "alone"}),
    )
    assert [r["status"] for r in results] == ["DEPENDENCY_FAILED", "REFUSED", "APPLIED"]
    assert await house.row("customer", shop, "id") == ()
    page = (await data(house, "wei", PULL))["syncPull"]
    issues = [row["document"] for b in page["blocks"] if b["collection"] == "syncIssues" for row in b["rows"]]
    assert {issue["recordId"] for issue in issues} >= {shop}
    assert next(i for i in issues if i["recordId"] == shop)["mine"]["nameEn"] == "x"


async def test_a_gap_is_to_be_sent_again_and_leaves_no_receipt(house: House) -> None:
    late = mutation(2, "task", new_id(), {"title": "second"})
    [early] = await push(house, "wei", late)
    assert (early["status"], early["problems"][0]["code"]) == ("RETRY", "CLIENT_SEQ_GAP")
    both = await push(house, "wei", mutation(1, "task", new_id(), {"title": "first"}), late)
    assert [r["status"] for r in both] == ["APPLIED", "APPLIED"]


async def test_the_same_mutation_id_with_another_body_is_refused(house: House) -> None:
    first = mutation(1, "task", new_id(), {"title": "first"})
    await push(house, "wei", first)
    [reused] = await push(house, "wei", mutation(1, "task", new_id(), {"title": "other"}, id=first["id"]))
    assert (reused["status"], reused["problems"][0]["code"]) == ("REFUSED", "MUTATION_ID_REUSED")
    [other] = await push(house, "wei", mutation(1, "task", new_id(), {"title": "under a number that is taken"}))
    assert (other["status"], other["problems"][0]["code"]) == ("RETRY", "CLIENT_SEQ_GAP")


async def test_analysts_hold_no_slice_of_the_company(house: House) -> None:
    answer = await ask(house, "analyst", PULL)
    assert answer["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"


async def test_the_cursor_of_another_is_refused_and_pages_lead_to_the_same_end(house: House) -> None:
    for number in range(7):
        await push(house, "wei", mutation(number + 1, "task", new_id(), {"title": f"t{number}"}))
    whole = (await data(house, "wei", PULL))["syncPull"]
    seen: set[str] = set()
    cursor = None
    while True:
        page = (await data(house, "wei", PULL, cursor=cursor, limit=2))["syncPull"]
        seen |= {row["document"]["id"] for block in page["blocks"] for row in block["rows"]}
        cursor = page["cursor"]
        if page["complete"]:
            break
    assert seen == {row["document"]["id"] for block in whole["blocks"] for row in block["rows"]}
    assert page["checksums"] == whole["checksums"]
    answer = await ask(house, "na", PULL, cursor=cursor)
    assert answer["errors"][0]["extensions"]["code"] == "CURSOR_INVALID"


@pytest.mark.parametrize(
    ("collection", "fields", "code"),
    [
        ("task", {"title": "x", "createdAt": 1}, "SERVER_ONLY_FIELD"),
        ("task", {"title": "x", "colour": "red"}, "UNKNOWN_FIELD"),
        ("task", {"title": 5}, "INVALID_VALUE"),
        ("visit", {"customerId": "elsewhere", "plannedAt": NOON_MS}, "INVALID_VALUE"),
    ],
)
async def test_what_cannot_be_taken_is_named_and_the_next_goes_on(
    house: House, collection: str, fields: dict[str, Any], code: str
) -> None:
    results = await push(
        house, "wei", mutation(1, collection, new_id(), fields), mutation(2, "task", new_id(), {"title": "next"})
    )
    assert code in [p["code"] for p in results[0]["problems"]]
    assert [r["status"] for r in results] == ["REFUSED", "APPLIED"]


async def test_a_mutation_no_use_case_can_digest_stops_nobody_and_is_kept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumble(work: Work, changes: Sequence[Change]) -> list[Outcome]:
        if any(change.fields.get("title") == "poison" for change in changes):
            raise ZeroDivisionError
        return await change_tasks(work, changes)

    monkeypatch.setattr(asking, "USE_CASES", {**USE_CASES, ("tasks", Intent.CREATE): stumble})
    poison = new_id()
    results = await push(
        house,
        "wei",
        mutation(1, "task", new_id(), {"title": "before"}),
        mutation(2, "task", poison, {"title": "poison"}),
        mutation(3, "task", new_id(), {"title": "after"}),
    )
    assert [r["status"] for r in results] == ["APPLIED", "REFUSED", "APPLIED"]
    assert [p["code"] for p in results[1]["problems"]] == ["INTERNAL"]
    page = (await data(house, "wei", PULL))["syncPull"]
    issues = [row["document"] for b in page["blocks"] if b["collection"] == "syncIssues" for row in b["rows"]]
    assert [(i["recordId"], i["mine"]["title"]) for i in issues] == [(poison, "poison")]


async def test_of_two_positions_the_one_captured_later_stands_by_corrected_clocks(house: House) -> None:
    shop = new_id()
    made = await push(house, "wei", mutation(1, "customer", shop, {"nameEn": "x", "kind": "RETAILER"}))
    base = made[0]["records"][0]["seq"]
    document = PUSH.replace("$mutations: [SyncMutation!]!", "$mutations: [SyncMutation!]!, $now: DateTime").replace(
        "mutations: $mutations", "mutations: $mutations, deviceNow: $now"
    )

    async def moved(who: str, seq: int, lat_e7: int, captured_at_ms: int, ahead_ms: int) -> str:
        change = mutation(seq, "customer", shop, {"latE7": lat_e7, "lonE7": 1}, baseRev=base)
        change["capturedAt"] = instant_text(captured_at_ms)
        shown = instant_text(NOON_MS + ahead_ms)
        answer = await data(house, who, document, mutations=[change], now=shown)
        return str(answer["syncPush"]["results"][0]["status"])

    hour_ms = 3_600_000
    # by its own clock, two hours fast, this one came last; in truth it came first
    assert await moved("admin", 1, 222, NOON_MS - 30 * 60_000, 0) == "APPLIED"
    assert await moved("wei", 2, 111, NOON_MS + hour_ms, 2 * hour_ms) == "MERGED"
    assert await house.row("customer", shop, "lat_e7") == (222,)
    assert await moved("wei", 3, 333, NOON_MS - 10 * 60_000, 0) == "MERGED"
    assert await house.row("customer", shop, "lat_e7") == (333,)


@pytest.mark.parametrize("sent", [{"a\x00": 1}, {"openHours": {"\x00": "09:00-18:00"}}, 5, [], "text"])
async def test_whatever_a_change_holds_it_is_refused_alone_and_kept(house: House, sent: Any) -> None:
    results = await push(
        house,
        "wei",
        mutation(1, "customer", new_id(), sent),
        mutation(2, "task", new_id(), {"title": "next"}),
    )
    assert [r["status"] for r in results] == ["REFUSED", "APPLIED"]
    assert "INTERNAL" not in {p["code"] for p in results[0]["problems"]}
    page = (await data(house, "wei", PULL))["syncPull"]
    assert [b["collection"] for b in page["blocks"]].count("syncIssues") == 1
