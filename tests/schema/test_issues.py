"""Sync issues online: in the reader's words, his own and his team's, and settled from there."""

from typing import Any

import pytest

from backend.domain.messages import LOCALES
from backend.domain.times import DAY_MS
from backend.ids import new_id
from backend.usecases.customers import change_customers
from tests.house import House, create, patch
from tests.schema.test_sync import PULL, mutation, push
from tests.usecases.asking import ask, data

LIST = """
query ($scope: IssueScope! = MINE, $days: Int, $first: Int, $after: String, $state: [IssueState!]) {
  syncIssues(scope: $scope, olderThanDays: $days, first: $first, after: $after, state: $state) {
    totalCount pageInfo { hasNextPage endCursor }
    nodes {
      id title text waysOut { code label } escalated authorId authorName mine theirs base state resolution history
      collection recordId field theirsBy theirsName theirsAt theirsRev wayCodes rev
    }
  }
}"""
SETTLE = """
mutation ($id: ID!, $choice: WayOut!, $value: JSON, $rev: BigInt, $fields: JSON, $without: [String!]) {
  resolveSyncIssue(id: $id, choice: $choice, value: $value, recordRev: $rev, fields: $fields, without: $without) {
    ... on SyncIssueResolved { status conflicts { path theirs } issue { state resolution resolvedName wayCodes } }
    ... on Refusal { problems { code path message } }
  }
}"""


async def clash(house: House, who: str = "wei", name: str = "Shop") -> tuple[str, str]:
    """(the shop, the issue): a rep's terms for a shop of his, against the manager's."""
    shop = new_id()
    [made] = await house.change(who, change_customers, create(shop, {"nameEn": name, "kind": "RETAILER"}))
    assert made.status == "APPLIED"
    base = await house.rev("customers", shop)
    await house.change("manager", change_customers, patch(shop, base, termsDays=60))
    [outcome] = await house.change(who, change_customers, patch(shop, base, termsDays=30))
    assert outcome.status == "CONFLICT"
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT id FROM sync_issue WHERE record_id = ?", shop)
    return shop, rows[0][0]


async def issues(house: House, who: str, **variables: Any) -> Any:
    return (await data(house, who, LIST, **variables))["syncIssues"]


async def test_each_reader_is_told_in_his_language(house: House) -> None:
    _, issue = await clash(house)
    [mine] = (await issues(house, "wei"))["nodes"]
    assert mine["id"] == issue
    assert mine["title"] == "Customer Shop: two entries for Payment terms (days)"
    assert mine["text"].startswith("You entered: 30 (22 Nov 2026, 12:00). Manager entered: 60")
    assert mine["waysOut"][0] == {"code": "KEEP_MINE", "label": "Use my entry: 30"}
    assert (mine["mine"], mine["theirs"], mine["authorName"], mine["theirsName"]) == (30, 60, "wei", "manager")
    told = set()
    for locale in LOCALES:
        answer = await ask(house, "manager", LIST, locale, scope="TEAM")
        [theirs] = answer["data"]["syncIssues"]["nodes"]
        told.add(theirs["text"])
        assert "wei" in theirs["text"].lower()
    assert len(told) == len(LOCALES)


async def test_a_phone_and_the_server_say_the_same(house: House) -> None:
    from_server = await clash(house)
    page = (await data(house, "wei", PULL.replace("limit: $limit", "limit: $limit, schemaVersion: 2")))["syncPull"]
    [document] = [r["document"] for b in page["blocks"] if b["collection"] == "syncIssues" for r in b["rows"]]
    [online] = (await issues(house, "wei"))["nodes"]
    assert document["id"] == from_server[1]
    same = ("mine", "theirs", "base", "field", "theirsBy", "theirsAt", "theirsRev", "state", "authorId")
    assert {name: document[name] for name in same} == {name: online[name] for name in same}
    assert document["waysOut"] == online["wayCodes"]


async def test_a_manager_sees_the_issues_of_his_own_reps_page_by_page(house: House) -> None:
    mine = [(await clash(house, "wei", f"N{number}"))[1] for number in range(3)]
    mine += [(await clash(house, "na", "S"))[1]]
    seen: list[str] = []
    after = None
    while True:
        page = await issues(house, "manager", scope="TEAM", first=2, after=after)
        assert page["totalCount"] == 4
        seen += [node["id"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == mine
    assert (await issues(house, "manager"))["nodes"] == [], "they are not his own"


@pytest.mark.parametrize("who", ["na", "agent", "analyst", "wei"])
async def test_nobody_else_has_a_team(house: House, who: str) -> None:
    _, issue = await clash(house)
    assert (await issues(house, who, scope="TEAM"))["nodes"] == []
    found = await data(house, who, "query ($id: ID!) { syncIssue(id: $id) { id } }", id=issue)
    assert (found["syncIssue"] is not None) is (who == "wei")


async def test_a_manager_of_another_region_sees_nothing(house: House) -> None:
    await clash(house)
    async with house.engine.write() as conn:
        await conn.execute(
            "UPDATE user_scope SET revoked_seq = 9223372036854 WHERE user_id = ? AND scope LIKE 'user:%'"
            " AND scope <> ?",
            house.people["manager"].user_id,
            f"user:{house.people['manager'].user_id}",
        )
    assert (await issues(house, "manager", scope="TEAM"))["nodes"] == []


async def test_what_is_open_for_three_days_is_on_the_managers_list(house: House) -> None:
    await clash(house, name="Old")
    house.now_ms += 3 * DAY_MS - 1
    await clash(house, name="New")
    [early] = (await issues(house, "manager", scope="TEAM", days=2))["nodes"]
    assert not early["escalated"]
    house.now_ms += 1
    page = (await issues(house, "manager", scope="TEAM"))["nodes"]
    assert [node["escalated"] for node in page] == [True, False]
    [late] = (await issues(house, "manager", scope="TEAM", days=3))["nodes"]
    assert "Old" in late["title"]
    await data(house, "wei", SETTLE, id=late["id"], choice="KEEP_THEIRS")
    assert (await issues(house, "manager", scope="TEAM", days=3))["nodes"] == []
    [settled] = (await issues(house, "manager", scope="TEAM", days=3, state=["RESOLVED"]))["nodes"]
    assert (settled["escalated"], settled["waysOut"]) == (False, [])


@pytest.mark.parametrize("days", [-1, 4_000, 2**31])
async def test_days_that_make_no_sense_are_refused(house: House, days: int) -> None:
    answer = await ask(house, "manager", LIST, scope="TEAM", days=days)
    assert answer["errors"][0]["extensions"]["code"] in ("OUT_OF_RANGE", "BAD_REQUEST")


async def test_a_decision_is_taken_once_and_told_to_who_comes_late(house: House) -> None:
    shop, issue = await clash(house)
    rev = await house.rev("customers", shop)
    taken = (await data(house, "wei", SETTLE, id=issue, choice="KEEP_MINE", rev=rev))["resolveSyncIssue"]
    assert (taken["status"], taken["issue"]["resolution"]) == ("APPLIED", "KEEP_MINE")
    assert await house.row("customer", shop, "terms_days") == (30,)
    again = (await data(house, "wei", SETTLE, id=issue, choice="KEEP_MINE", rev=rev))["resolveSyncIssue"]
    assert again == taken
    late = (await data(house, "manager", SETTLE, id=issue, choice="CUSTOM", value=45))["resolveSyncIssue"]
    assert [problem["code"] for problem in late["problems"]] == ["ALREADY_RESOLVED"]
    assert await house.row("customer", shop, "terms_days") == (30,)


async def test_what_changed_since_it_was_looked_at_is_not_overwritten(house: House) -> None:
    shop, issue = await clash(house)
    seen = await house.rev("customers", shop)
    await house.change("manager", change_customers, patch(shop, seen, termsDays=90))
    answer = (await data(house, "wei", SETTLE, id=issue, choice="CUSTOM", value=45, rev=seen))["resolveSyncIssue"]
    assert (answer["status"], answer["conflicts"]) == ("CONFLICT", [{"path": "termsDays", "theirs": 90}])
    assert answer["issue"]["state"] == "OPEN"
    assert await house.row("customer", shop, "terms_days") == (90,)
    [still] = (await issues(house, "wei"))["nodes"]
    assert (still["theirs"], still["history"][0]["sent"]) == (90, {"choice": "CUSTOM", "value": 45})


async def test_a_manager_settles_for_his_rep_and_the_audit_names_him(house: House) -> None:
    shop, issue = await clash(house)
    answer = (await data(house, "manager", SETTLE, id=issue, choice="CUSTOM", value=45))["resolveSyncIssue"]
    assert answer["issue"] == {
        "state": "RESOLVED",
        "resolution": "CUSTOM",
        "resolvedName": "manager",
        "wayCodes": ["KEEP_MINE", "KEEP_THEIRS", "CUSTOM"],
    }
    assert await house.row("customer", shop, "terms_days") == (45,)
    async with house.engine.read() as conn:
        rows = await conn.fetch("SELECT actor FROM audit_entry WHERE record_id = ? AND action = 'RESOLVE'", issue)
    assert [row[0] for row in rows] == [house.people["manager"].actor]


@pytest.mark.parametrize(
    ("variables", "codes"),
    [
        ({"choice": "DISCARD"}, {"NOT_ALLOWED_VALUE"}),
        ({"choice": "CUSTOM", "value": "x"}, {"INVALID_VALUE"}),
        ({"choice": "CUSTOM", "value": {"deep": [[[]]]}}, {"INVALID_VALUE"}),
        ({"choice": "CHANGE_AND_SEND_AGAIN", "fields": [1]}, {"INVALID_VALUE"}),
        ({"choice": "CUSTOM", "value": 5, "rev": 1}, {"OUT_OF_RANGE"}),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(house: House, variables: Any, codes: Any) -> None:
    _shop, issue = await clash(house)
    answer = (await data(house, "wei", SETTLE, id=issue, **variables))["resolveSyncIssue"]
    assert {problem["code"] for problem in answer["problems"]} == codes
    [still] = (await issues(house, "wei"))["nodes"]
    assert (still["state"], still["theirs"]) == ("OPEN", 60)


@pytest.mark.parametrize("issue", ["", "x", "\x00", "01890a5d-ac96-774b-bcce-b302099a8057"])
async def test_an_issue_that_is_none_is_not_found(house: House, issue: str) -> None:
    answer = await ask(house, "wei", SETTLE, id=issue, choice="KEEP_MINE")
    found = answer["data"]["resolveSyncIssue"]["problems"] if answer.get("data") else answer["errors"]
    assert found
    assert "INTERNAL" not in str(answer)


async def test_what_was_refused_is_sent_again_online(house: House) -> None:
    shop = new_id()
    await push(house, "wei", mutation(1, "customer", shop, {"nameKo": "온유", "termsDays": 9_999, "tint": 1}))
    [issue] = (await issues(house, "wei"))["nodes"]
    assert "What you entered was not saved." in issue["text"]
    fields = {"kind": "RETAILER", "termsDays": 3}
    answer = await data(
        house, "wei", SETTLE, id=issue["id"], choice="CHANGE_AND_SEND_AGAIN", fields=fields, without=["tint"]
    )
    assert answer["resolveSyncIssue"]["status"] == "APPLIED", answer
    assert await house.row("customer", shop, "name_ko", "terms_days") == ("온유", 3)


async def test_a_device_settles_by_its_queue(house: House) -> None:
    shop, issue = await clash(house)
    decision = mutation(1, "syncIssue", issue, {"choice": "KEEP_MINE"}, baseRev=await house.rev("syncIssues", issue))
    [answer] = await push(house, "wei", decision)
    assert (answer["status"], answer["records"][0]["document"]["state"]) == ("APPLIED", "RESOLVED")
    assert await house.row("customer", shop, "terms_days") == (30,)
