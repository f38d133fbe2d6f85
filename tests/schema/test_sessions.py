"""Signing in by GraphQL, and who is let through to which field."""

import pytest

from backend.ids import new_id
from tests.schema.conftest import Door

ME = "{ me { id name email role locale device { id name platform state } } }"
REFRESH = """
mutation ($token: String!) { refresh(refreshToken: $token) {
  ... on Session { accessToken refreshToken }  ... on Refusal { problems { code retry } } } }
"""
SIGN_OUT = """
mutation ($token: String!) { signOut(refreshToken: $token) {
  ... on SignedOut { ok }  ... on Refusal { problems { code } } } }
"""


async def test_a_session_opens_what_needs_somebody(door: Door) -> None:
    device_id = new_id()
    session = await door.sign_in(device_id=device_id)
    assert session["accessTokenExpiresAt"] == "2026-01-01T00:10:00.000Z"
    assert session["refreshTokenExpiresAt"] == "2026-01-31T00:00:00.000Z"
    assert await door.served.ask(ME, token=session["accessToken"]) == {
        "data": {
            "me": {
                "id": door.user_id,
                "name": "Kim Min-seo",
                "email": "min@example.com",
                "role": "REP",
                "locale": "ko",
                "device": {"id": device_id, "name": "Min's phone", "platform": "ANDROID", "state": "ACTIVE"},
            }
        }
    }


async def test_a_refusal_speaks_the_readers_language(door: Door) -> None:
    told = {}
    for language in ("en", "zh-CN,zh;q=0.9", "ko-KR", "de", "de, ko;q=0.5, en;q=0.7"):
        refusal = await door.sign_in(password="wrong", accept_language=language)
        (problem,) = refusal["problems"]
        assert (problem["code"], problem["path"], problem["retry"]) == ("SIGN_IN_FAILED", [], "AFTER_CHANGE")
        told[language] = problem["message"]
    assert len({told["en"], told["zh-CN,zh;q=0.9"], told["ko-KR"]}) == 3
    assert told["de"] == told["en"] == told["de, ko;q=0.5, en;q=0.7"]


async def test_refresh_works_with_a_worn_out_access_token_and_others_do_not(door: Door) -> None:
    session = await door.sign_in()
    door.clock.forward(seconds=600)
    answer = await door.served.ask(ME, token=session["accessToken"])
    assert "data" not in answer
    assert answer["errors"][0]["extensions"]["code"] == "TOKEN_EXPIRED"
    next_session = (await door.served.ask(REFRESH, {"token": session["refreshToken"]}, token=session["accessToken"]))[
        "data"
    ]["refresh"]
    assert (await door.served.ask(ME, token=next_session["accessToken"]))["data"]["me"]["id"] == door.user_id


async def test_signing_out_refuses_both_tokens_at_once(door: Door) -> None:
    session = await door.sign_in()
    assert "data" in await door.served.ask(ME, token=session["accessToken"])
    told = await door.served.ask(SIGN_OUT, {"token": session["refreshToken"]})
    assert told == {"data": {"signOut": {"ok": True}}}
    answer = await door.served.ask(ME, token=session["accessToken"])
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    refused = (await door.served.ask(REFRESH, {"token": session["refreshToken"]}))["data"]["refresh"]
    assert refused == {"problems": [{"code": "UNAUTHENTICATED", "retry": "AFTER_CHANGE"}]}
    foreign = (await door.served.ask(SIGN_OUT, {"token": "r1.nothing"}))["data"]["signOut"]
    assert foreign == {"problems": [{"code": "UNAUTHENTICATED"}]}


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "UNAUTHENTICATED"),
        ("", "UNAUTHENTICATED"),
        ("Basic bWluOmRlbW8=", "UNAUTHENTICATED"),
        ("Bearer", "UNAUTHENTICATED"),
        ("Bearer a.b.c", "UNAUTHENTICATED"),
        ("Bearer eyJhbGciOiJub25lIn0.e30.", "UNAUTHENTICATED"),
    ],
)
async def test_without_a_good_token_only_the_doors_fields_answer(
    door: Door, authorization: str | None, code: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for document in (
        ME,
        "{ __typename me { id } }",
        "{ ...A } fragment A on Query { ... { ...B } } fragment B on Query { me { id } }",
        "{ alias: syncPull { clock } }",
        "{ serverTime }",
        "mutation { syncPush(mutations: []) { __typename } }",
    ):
        answer = await door.served.post({"query": document}, **headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert set(answer.json()) == {"errors"}
        assert answer.json()["errors"][0]["extensions"]["code"] == code
    answer = await door.served.post({"query": "{ __typename __schema { queryType { name } } }"}, **headers)
    assert answer.json() == {"data": {"__typename": "Query", "__schema": {"queryType": {"name": "Query"}}}}


async def test_a_revoked_device_is_refused_by_every_field_within_a_second(door: Door) -> None:
    session = await door.sign_in()
    await door.execute("UPDATE device SET state = 'REVOKED'")
    door.clock.forward(seconds=1)
    for document in (ME, "{ serverTime }", "mutation { syncPush(mutations: []) { __typename } }"):
        answer = await door.served.post({"query": document}, authorization=f"Bearer {session['accessToken']}")
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["extensions"]["code"] == "DEVICE_REVOKED"


async def test_a_draining_device_may_push_and_nothing_else(door: Door) -> None:
    session = await door.sign_in()
    await door.execute("UPDATE device SET state = 'DRAINING'")
    door.clock.forward(seconds=1)
    token = session["accessToken"]
    assert (await door.served.ask(ME, token=token))["data"]["me"]["device"]["state"] == "DRAINING"
    pushed = await door.served.ask("mutation { syncPush(mutations: []) { __typename } }", token=token)
    assert pushed == {"data": {"syncPush": {"__typename": "SyncPushed"}}}
    pulled = await door.served.ask("{ syncPull { clock } }", token=token)
    assert pulled["errors"][0]["extensions"]["code"] == "DEVICE_DRAINING"


async def test_every_problem_of_form_is_told_with_its_path(door: Door) -> None:
    door.email = ""
    refusal = await door.sign_in(device_id="phone", password="")
    assert {(problem["code"], *problem["path"]) for problem in refusal["problems"]} == {
        ("REQUIRED", "email"),
        ("REQUIRED", "password"),
        ("INVALID_VALUE", "device", "id"),
    }
