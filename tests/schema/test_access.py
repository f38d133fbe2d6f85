"""Who gets in, over HTTP and by two servers on one database: keys that rotate, families, services, read-only roles."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLUnionType,
)
from jwt.types import Options

from backend.auth.tokens import AUDIENCE
from backend.config import Settings
from backend.domain.permissions import SERVICE_RIGHTS, Role
from backend.errors import BadSetting
from backend.ids import new_id
from backend.schema.execute import core_schema
from backend.schema.http import OPEN_FIELDS
from backend.schema.root import build_schema
from backend.sync.work import Door as WorkDoor
from backend.sync.work import Work, in_work
from backend.usecases.keys import CLOCKS_APART_MS, retire_key, rotate_keys
from backend.wiring import open_services
from mobile_contract.files import fields_of
from tests import factories
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN, Door
from tests.schema.test_sessions import ME, REFRESH
from tests.servers import JsonObject, Served, serve
from tests.sync.worlds import staff

ADMIN_EMAIL = "admin@example.com"


@dataclass
class Pair:
    """Two servers that share a database and a root secret, and nothing in memory."""

    door: Door
    other: Served
    admin_id: str

    @property
    def both(self) -> tuple[Served, Served]:
        return self.door.served, self.other

    async def by_operator(self, story) -> object:  # type: ignore[no-untyped-def]
        services = self.door.served.services
        result, _ = await in_work(
            services.engine,
            staff(self.admin_id, None, Role.ADMIN),
            story,
            clock=self.door.clock,
            retries_max=3,
            door=WorkDoor.JOB,
        )
        return result

    async def rotate(self) -> None:
        services = self.door.served.services

        async def story(work: Work) -> object:
            return await rotate_keys(work, services.tokens.ring, overlap_seconds=60, token_seconds=600)

        await self.by_operator(story)

    async def sign_in(self, email: str, served: Served | None = None, device_id: str | None = None) -> JsonObject:
        device = {"id": device_id or new_id(), "name": "a phone", "platform": "WEB"}
        asked = {"email": email, "password": PASSWORD, "device": device}
        answer = await (served or self.door.served).ask(SIGN_IN, asked)
        found: JsonObject = answer["data"]["signIn"]
        return found

    async def admin(self) -> str:
        return str((await self.sign_in(ADMIN_EMAIL))["accessToken"])


@pytest.fixture
async def pair(door: Door, tmp_path: Path) -> AsyncIterator[Pair]:
    async with door.served.services.engine.write() as conn:
        admin_id = await factories.user(conn, email=ADMIN_EMAIL, role="ADMIN", password_hash=PASSWORD_HASH)
    async with serve(door.served.services.settings, clock=door.clock) as other:
        yield Pair(door, other, admin_id)


async def me(served: Served, token: str) -> str:
    """`ok`, or the code of the refusal."""
    answer = await served.ask(ME, token=token)
    return "ok" if answer.get("data") else str(answer["errors"][0]["extensions"]["code"])


# -- keys ---------------------------------------------------------------------------------------------------------


async def test_a_rotation_signs_nobody_out_and_no_server_is_restarted(pair: Pair) -> None:
    session = await pair.sign_in(pair.door.email)
    before = jwt.get_unverified_header(session["accessToken"])["kid"]
    cursor_secret = pair.other.services.cursor_secret
    await pair.rotate()
    tokens = [session["accessToken"]]
    kids = [before]
    for _ in range(9):
        pair.door.clock.forward(seconds=120)
        for served in pair.both:
            answer = await served.ask(REFRESH, {"token": session["refreshToken"]})
            session = answer["data"]["refresh"]
            tokens.append(session["accessToken"])
            kids.append(jwt.get_unverified_header(session["accessToken"])["kid"])
            # what was signed within eight minutes, by whichever key, holds on both servers
            for token in (tokens[-1], *tokens[-8:-4]):
                assert {await me(one, token) for one in pair.both} == {"ok"}
    after = kids[-1]
    assert kids == sorted(kids, key=[before, after].index)
    assert kids.count(before) == 1, "the new key signs once its time has come"
    jwks = [(await served.client.get("/.well-known/jwks.json")).json() for served in pair.both]
    assert jwks[0] == jwks[1]
    assert [key["kid"] for key in jwks[0]["keys"]] == [after], "what the old one signed has run out"
    assert (pair.other.services.cursor_secret, pair.door.served.services.rescue_keys.kid) == (
        cursor_secret,
        pair.other.services.rescue_keys.kid,
    )


async def test_what_is_published_checks_our_tokens_and_holds_no_secret(pair: Pair) -> None:
    session = await pair.sign_in(pair.door.email)
    (published,) = (await pair.other.client.get("/.well-known/jwks.json")).json()["keys"]
    assert set(published) == {"kty", "crv", "alg", "use", "kid", "x"}
    key = jwt.PyJWK.from_dict(published)
    options: Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    claims = jwt.decode(session["accessToken"], key, algorithms=["EdDSA"], audience=AUDIENCE, options=options)
    assert claims["sub"] == pair.door.user_id


async def test_a_stolen_key_is_refused_everywhere_within_a_second_and_devices_go_on(pair: Pair) -> None:
    session = await pair.sign_in(pair.door.email)
    assert {await me(served, session["accessToken"]) for served in pair.both} == {"ok"}
    kid = jwt.get_unverified_header(session["accessToken"])["kid"]
    await pair.by_operator(lambda work: retire_key(work, kid, at_once=True))
    pair.door.clock.forward(seconds=1)
    assert {await me(served, session["accessToken"]) for served in pair.both} == {"UNAUTHENTICATED"}
    answer = await pair.other.ask(REFRESH, {"token": session["refreshToken"]})
    assert {await me(served, answer["data"]["refresh"]["accessToken"]) for served in pair.both} == {"ok"}


async def test_a_server_with_another_root_secret_does_not_start(pair: Pair, tmp_path: Path) -> None:
    settings = pair.door.served.services.settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    with pytest.raises(BadSetting, match=r"SELVEDGE_ROOT_SECRET: .*selvedge keys retire"):
        async with open_services(settings, clock=pair.door.clock) as services:
            await services.shared_keys.start()
    # one that is told the secret shares no folder
    root = pair.door.served.services.keys.root.hex()
    told = Settings(**{**settings.model_dump(), "root_secret": root})
    async with serve(told, clock=pair.door.clock) as third:
        session = await pair.sign_in(pair.door.email, third)
        assert {await me(served, session["accessToken"]) for served in pair.both} == {"ok"}


# -- families, devices --------------------------------------------------------------------------------------------


async def test_a_hundred_refreshes_at_once_on_two_servers_give_one_successor(pair: Pair) -> None:
    session = await pair.sign_in(pair.door.email)
    asked = {"token": session["refreshToken"]}
    answers = await asyncio.gather(*(pair.both[n % 2].ask(REFRESH, asked) for n in range(100)))
    given = {answer["data"]["refresh"].get("refreshToken", str(answer)) for answer in answers}
    assert len(given) == 1
    assert given != {session["refreshToken"]}
    pair.door.clock.forward(seconds=31)
    reused = await pair.other.ask(REFRESH, asked)
    assert reused["data"]["refresh"]["problems"][0]["code"] == "UNAUTHENTICATED"
    for served in pair.both:
        again = await served.ask(REFRESH, {"token": next(iter(given))})
        assert again["data"]["refresh"]["problems"][0]["code"] == "UNAUTHENTICATED", "reuse ends the family"


async def test_a_revoked_device_is_out_of_every_door_of_the_other_server_within_a_second(pair: Pair) -> None:
    session = await pair.sign_in(pair.door.email)
    token, admin = session["accessToken"], await pair.admin()
    bearer = {"authorization": f"Bearer {token}"}
    attachment = f"/files/{new_id()}"
    assert await me(pair.other, token) == "ok"
    revoke = "mutation ($id: ID!) { revokeDevice(deviceId: $id) { __typename } }"
    answer = await pair.door.served.ask(revoke, {"id": session["deviceId"]}, token=admin)
    assert answer["data"]["revokeDevice"]["__typename"] == "DeviceChanged"
    pair.door.clock.forward(seconds=1)
    for served in pair.both:
        assert await me(served, token) == "DEVICE_REVOKED"
        answers = [
            await served.client.get("/sync/bulk", headers=bearer),
            await served.client.get("/sync/turbo?lastPulledAt=0", headers=bearer),
            await served.client.put(attachment, headers=bearer, content=b"bytes"),
            await served.client.get(attachment, headers=bearer),
        ]
        for found in answers:
            assert (found.status_code, found.json()["errors"][0]["extensions"]["code"]) == (403, "DEVICE_REVOKED")


PATIENCE_SECONDS = 20
ATTACH = """
mutation ($input: AttachmentInput!) { createAttachment(input: $input) {
  ... on AttachmentChanged { attachment { id } } ... on Refusal { problems { code path } } } }"""


async def test_an_upload_under_way_is_cut_when_its_device_is_revoked_on_another_server(pair: Pair) -> None:
    async with pair.door.served.services.engine.write() as conn:
        patch = await factories.territory(conn, path="/cn/near")
        await factories.member(conn, patch, pair.door.user_id)
        shop = await factories.customer(conn, territory_id=patch)

    async def seat(work: Work) -> None:
        work.reseat([pair.door.user_id])
        work.touched("customers", shop)

    await pair.by_operator(seat)
    session, admin = await pair.sign_in(pair.door.email), await pair.admin()
    data = b"%PDF-1.4 " + b"x" * 4_000
    declared = fields_of(
        data, collection="customers", record_id=shop, kind="DOCUMENT", file_name="a.pdf", mime="application/pdf"
    )
    made = await pair.other.ask(ATTACH, {"input": declared}, token=session["accessToken"])
    path = f"/files/{made['data']['createAttachment']['attachment']['id']}"
    bearer = f"Bearer {session['accessToken']}"
    head = [f"PUT {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: {bearer}", f"Content-Length: {len(data)}",
            f"Content-Range: bytes 0-{len(data) - 1}/{len(data)}", "", ""]  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.other.port)
    try:
        writer.write("\r\n".join(head).encode() + data[:2_000])  # the rest never comes
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not pair.other.services.pokes.standings.watchers:  # noqa: ASYNC110 - a state nobody tells
                await asyncio.sleep(0.005)
        revoke = "mutation ($id: ID!) { revokeDevice(deviceId: $id) { __typename } }"
        await pair.door.served.ask(revoke, {"id": session["deviceId"]}, token=admin)
        told = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)  # until the server closes
    finally:
        writer.close()
    assert told.startswith(b"HTTP/1.1 403"), told
    assert b'"code":"DEVICE_REVOKED"' in told
    # and the next chunk, on a connection of its own
    named = {"authorization": bearer, "content-range": f"bytes 2000-{len(data) - 1}/{len(data)}"}
    late = await pair.other.client.put(path, content=data[2_000:], headers=named)
    assert (late.status_code, late.json()["errors"][0]["extensions"]["code"]) == (403, "DEVICE_REVOKED")


# -- throttling ---------------------------------------------------------------------------------------------------


async def test_guessing_is_held_back_on_both_servers_and_the_rep_gets_in_on_his_own_phone(pair: Pair) -> None:
    door, phone = pair.door, new_id()
    await pair.sign_in(door.email, device_id=phone)
    codes = []
    for n in range(6):
        served = pair.both[n % 2]
        asked = {"email": door.email, "password": "wrong", "device": {"id": new_id(), "name": "x", "platform": "WEB"}}
        answer = await served.post({"query": SIGN_IN, "variables": asked})
        codes.append(answer.json()["data"]["signIn"]["problems"][0]["code"])
    assert codes == ["SIGN_IN_FAILED"] * 6
    answer = await pair.other.post({"query": SIGN_IN, "variables": asked})
    assert answer.json()["data"]["signIn"]["problems"][0]["code"] == "RATE_LIMITED"
    assert answer.headers["retry-after"] == "1"
    stranger = await pair.sign_in(door.email, pair.other)
    assert stranger["problems"][0]["code"] == "RATE_LIMITED", "nor with the right password, on a new device"
    own = await pair.sign_in(door.email, pair.other, phone)
    assert own["__typename"] == "Session"
    assert await me(pair.door.served, own["accessToken"]) == "ok"


# -- passwords ----------------------------------------------------------------------------------------------------

CHANGE_PASSWORD = """
mutation ($current: String!, $new: String!) { changePassword(currentPassword: $current, newPassword: $new) {
  ... on PasswordChanged { ok } ... on Refusal { problems { code path } } } }"""
BEGIN_RESET = """
mutation ($id: ID!) { beginPasswordReset(userId: $id) {
  ... on PasswordResetBegun { token expiresAt } ... on Refusal { problems { code path } } } }"""
RESET = """
mutation ($token: String!, $new: String!) { resetPassword(token: $token, newPassword: $new) {
  ... on PasswordChanged { ok } ... on Refusal { problems { code path } } } }"""


async def test_a_new_password_ends_the_other_devices_and_a_reset_ends_all(pair: Pair) -> None:
    door = pair.door
    here, there = [(await pair.sign_in(door.email))["accessToken"] for _ in range(2)]
    wrong = await pair.other.ask(CHANGE_PASSWORD, {"current": "wrong", "new": "long enough now"}, token=here)
    assert wrong["data"]["changePassword"]["problems"] == [{"code": "SIGN_IN_FAILED", "path": ["currentPassword"]}]
    short = await pair.other.ask(CHANGE_PASSWORD, {"current": PASSWORD, "new": "short"}, token=here)
    assert short["data"]["changePassword"]["problems"] == [{"code": "OUT_OF_RANGE", "path": ["newPassword"]}]
    done = await pair.other.ask(CHANGE_PASSWORD, {"current": PASSWORD, "new": "long enough now"}, token=here)
    assert done["data"]["changePassword"] == {"ok": True}
    door.clock.forward(seconds=1)
    assert [await me(door.served, token) for token in (here, there)] == ["ok", "UNAUTHENTICATED"]
    assert (await pair.sign_in(door.email))["problems"][0]["code"] == "SIGN_IN_FAILED"

    refused = await pair.other.ask(BEGIN_RESET, {"id": door.user_id}, token=here)
    assert refused["data"]["beginPasswordReset"]["problems"][0]["code"] == "NOT_PERMITTED"
    admin = await pair.admin()
    first, second = [
        (await pair.other.ask(BEGIN_RESET, {"id": door.user_id}, token=admin))["data"]["beginPasswordReset"]["token"]
        for _ in range(2)
    ]
    for token in (first, second[:-1] + "_", "", "é" * 43):
        answer = await door.served.ask(RESET, {"token": token, "new": "another long one"})
        assert answer["data"]["resetPassword"]["problems"] == [{"code": "UNAUTHENTICATED", "path": ["token"]}]
    answer = await door.served.ask(RESET, {"token": second, "new": PASSWORD * 3})
    assert answer["data"]["resetPassword"] == {"ok": True}
    again = await door.served.ask(RESET, {"token": second, "new": PASSWORD * 3})
    assert again["data"]["resetPassword"]["problems"][0]["code"] == "UNAUTHENTICATED"
    door.clock.forward(seconds=1)
    assert await me(pair.other, here) == "UNAUTHENTICATED"
    async with door.served.services.engine.read() as conn:
        told = await conn.fetch("SELECT action FROM audit_entry WHERE collection = 'users' AND record_id = ?"
                                " AND action IN ('UPDATE', 'GRANT') ORDER BY at, id", door.user_id)  # fmt: skip
        kept = await conn.fetch("SELECT token_sha256 FROM password_reset")
    assert sorted(row[0] for row in told) == ["GRANT", "GRANT", "UPDATE", "UPDATE"]
    assert kept == []


# -- services -----------------------------------------------------------------------------------------------------

SAVE = """
mutation ($input: ServiceInput!) { createService(input: $input) {
  ... on ServiceSaved { service { id name rights everywhere territoryIds requestsPerMinute active keys { id } } }
  ... on Refusal { problems { code path } } } }"""
UPDATE = SAVE.replace("($input", "($id: ID!, $input").replace("createService(", "updateService(id: $id, ")
ADD_KEY = """
mutation ($id: ID!, $days: Int) { addServiceKey(serviceId: $id, name: "first", days: $days) {
  ... on ServiceKeyMade { secret key { id name expiresAt revokedAt } } ... on Refusal { problems { code path } } } }"""
REVOKE_KEY = """
mutation ($id: ID!) { revokeServiceKey(keyId: $id) {
  ... on ServiceKeyRevoked { key { revokedAt } } ... on Refusal { problems { code path } } } }"""
ORDERS = "{ orders(first: 10) { nodes { id } } }"


async def company(pair: Pair) -> tuple[str, str, str]:
    """Two patches with a customer each: (id of the first patch, its customer, the other's customer)."""
    async with pair.door.served.services.engine.write() as conn:
        near, far = [await factories.territory(conn, path=f"/cn/{name}") for name in ("near", "far")]
        mine, others = [await factories.customer(conn, territory_id=patch) for patch in (near, far)]
    return near, mine, others


async def service(pair: Pair, admin: str, **wanted: object) -> JsonObject:
    answer = await pair.other.ask(SAVE, {"input": wanted}, token=admin)
    found: JsonObject = answer["data"]["createService"]
    return found


async def key_of(pair: Pair, admin: str, service_id: str, days: int | None = None) -> JsonObject:
    answer = await pair.door.served.ask(ADD_KEY, {"id": service_id, "days": days}, token=admin)
    found: JsonObject = answer["data"]["addServiceKey"]
    return found


async def seen(served: Served, secret: str) -> set[str] | str:
    answer = await served.ask("{ customers(first: 10) { nodes { id } } }", token=secret)
    if answer.get("errors"):
        return str(answer["errors"][0]["extensions"]["code"])
    return {node["id"] for node in answer["data"]["customers"]["nodes"]}


async def test_a_service_sees_what_its_rights_and_territories_say_and_no_more(pair: Pair) -> None:
    near, mine, others = await company(pair)
    admin = await pair.admin()
    made = await service(pair, admin, name="shop", rights=["read:customers"], territoryIds=[near])
    key = await key_of(pair, admin, made["service"]["id"])
    for served in pair.both:
        assert await seen(served, key["secret"]) == {mine}
        answer = await served.ask(ORDERS, token=key["secret"])
        assert answer["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
    answer = await pair.door.served.ask("query ($id: ID!) { customer(id: $id) { id } }", {"id": others},
                                        token=key["secret"])  # fmt: skip
    assert answer["data"]["customer"] is None
    wide = {"name": "shop", "rights": ["read:customers", "read:orders"], "everywhere": True}
    answer = await pair.door.served.ask(UPDATE, {"id": made["service"]["id"], "input": wide}, token=admin)
    assert answer["data"]["updateService"]["service"]["everywhere"] is True
    pair.door.clock.forward(seconds=1)
    assert await seen(pair.other, key["secret"]) == {mine, others}
    await pair.door.served.ask(UPDATE, {"id": made["service"]["id"], "input": {**wide, "active": False}}, token=admin)
    pair.door.clock.forward(seconds=1)
    assert await seen(pair.other, key["secret"]) == "UNAUTHENTICATED"


async def test_keys_overlap_expire_and_are_revoked_everywhere_within_a_second(pair: Pair) -> None:
    _, mine, others = await company(pair)
    admin = await pair.admin()
    made = await service(pair, admin, name="erp", rights=["read:customers"], everywhere=True)
    old, new = [await key_of(pair, admin, made["service"]["id"], days) for days in (None, 1)]
    for key in (old, new):
        assert {frozenset(await seen(served, key["secret"])) for served in pair.both} == {frozenset({mine, others})}
    revoked = await pair.door.served.ask(REVOKE_KEY, {"id": old["key"]["id"]}, token=admin)
    assert revoked["data"]["revokeServiceKey"]["key"]["revokedAt"]
    pair.door.clock.forward(seconds=1)
    assert [await seen(served, old["secret"]) for served in pair.both] == ["UNAUTHENTICATED"] * 2
    assert await seen(pair.other, new["secret"]) == {mine, others}
    for forged in (new["secret"][:-1] + ("A" if new["secret"][-1] != "A" else "B"), "sk1.x.y", "sk1." + new_id()):
        assert await seen(pair.other, forged) == "UNAUTHENTICATED"
    assert await seen(pair.other, new["secret"]) == {mine, others}
    async with pair.door.served.services.engine.read() as conn:
        kept = await conn.fetch("SELECT secret_sha256, last_used_at FROM service_key")
        entries = await conn.fetch("SELECT action FROM audit_entry WHERE collection IN ('services', 'serviceKeys')")
    assert all(new["secret"].rpartition(".")[2] not in row[0] and row[1] for row in kept)
    assert sorted(row[0] for row in entries) == ["CREATE", "CREATE", "CREATE", "REVOKE"]
    pair.door.clock.forward(seconds=86_400)
    assert await seen(pair.door.served, new["secret"]) == "TOKEN_EXPIRED"


CHANGE = """
mutation ($id: ID!, $rev: BigInt!, $patch: CustomerPatch!) { updateCustomer(id: $id, baseRev: $rev, patch: $patch) {
  __typename ... on CustomerChanged { status customer { nameZh rev } } ... on Refusal { problems { code path } } } }"""
CREATE = """
mutation ($input: CustomerInput!) { createCustomer(input: $input) {
  __typename ... on CustomerChanged { customer { id territoryId } } ... on Refusal { problems { code path } } } }"""
CREATE_TASK = """
mutation ($input: TaskInput!) { createTask(input: $input) {
  __typename ... on TaskChanged { task { id assigneeId } } ... on Refusal { problems { code path } } } }"""
TRAIL = """
{ auditTrail(filter: {collection: "customers"}) { nodes { actor actorName deviceId action recordId door } } }"""


async def test_a_service_writes_with_the_right_where_it_works_and_the_audit_names_it(pair: Pair) -> None:
    near, mine, others = await company(pair)
    async with pair.door.served.services.engine.read() as conn:
        (far,) = {row[0] for row in await conn.fetch("SELECT territory_id FROM customer")} - {near}
    admin = await pair.admin()
    rights = ["read:customers", "write:customers"]
    made = await service(pair, admin, name="erp", rights=rights, territoryIds=[near])
    reading = await service(pair, admin, name="shop", rights=rights[:1], everywhere=True)
    key, reader = [(await key_of(pair, admin, one["service"]["id"]))["secret"] for one in (made, reading)]

    async def told(document: str, token: str, **variables: object) -> JsonObject:
        answer = await pair.other.ask(document, variables, token=token)
        assert "errors" not in answer, answer
        (found,) = answer["data"].values()
        return dict(found)

    changed = await told(CHANGE, key, id=mine, rev=1, patch={"nameZh": "海织"})
    assert (changed["status"], changed["customer"]["nameZh"]) == ("APPLIED", "海织")
    rev = int(changed["customer"]["rev"])
    new = await told(CREATE, key, input={"nameEn": "New shop", "kind": "RETAILER", "territoryId": near})
    assert new["customer"]["territoryId"] == near
    refusals: dict[str, tuple[str, str, JsonObject]] = {
        "not where it works": (CHANGE, key, {"id": others, "rev": rev, "patch": {"nameZh": "x"}}),
        "no such territory for it": (CREATE, key, {"input": {"nameEn": "x", "kind": "RETAILER", "territoryId": far}}),
        "no right to change": (CHANGE, reader, {"id": mine, "rev": rev, "patch": {"nameZh": "x"}}),
        "no right to create": (CREATE, reader, {"input": {"nameEn": "x", "kind": "RETAILER"}}),
        "of another collection": (CREATE_TASK, key, {"input": {"title": "call", "assigneeId": pair.admin_id}}),
    }
    found = {}
    for why, (document, token, variables) in refusals.items():
        answer = await told(document, token, **variables)
        found[why] = [(one["code"], one["path"]) for one in answer["problems"]]
    assert found == {
        "not where it works": [("NOT_FOUND", ["id"])],
        "no such territory for it": [("NOT_FOUND", ["territoryId"])],
        "no right to change": [("NOT_PERMITTED", [])],
        "no right to create": [("NOT_PERMITTED", [])],
        "of another collection": [("NOT_PERMITTED", [])],
    }
    async with pair.door.served.services.engine.read() as conn:
        names = {
            row[0] for row in await conn.fetch("SELECT name_zh FROM customer WHERE id <> ?", new["customer"]["id"])
        }
    assert "海织" in names
    assert "x" not in names
    trail = (await pair.other.ask(TRAIL, token=admin))["data"]["auditTrail"]["nodes"]
    by = {"actor": f"service:{made['service']['id']}", "actorName": "erp", "deviceId": None, "door": "ONLINE"}
    assert trail == [
        {**by, "action": "CREATE", "recordId": new["customer"]["id"]},
        {**by, "action": "UPDATE", "recordId": mine},
    ]


async def test_a_service_asks_as_often_as_it_may_and_no_oftener_by_every_door(pair: Pair) -> None:
    await company(pair)
    admin = await pair.admin()
    rights = [name for name in SERVICE_RIGHTS if name.startswith("read:") or name == "bulk"]
    made = await service(pair, admin, name="shop", rights=rights, everywhere=True, requestsPerMinute=3)
    other = await service(pair, admin, name="erp", rights=["read:customers"], everywhere=True)
    key, free = [(await key_of(pair, admin, one["service"]["id"]))["secret"] for one in (made, other)]
    second = (await key_of(pair, admin, made["service"]["id"]))["secret"]
    query = {"query": "{ customers(first: 1) { nodes { id } } }"}
    answers = [await pair.other.post(query, authorization=f"Bearer {one}") for one in (key, second, key, second)]
    assert [("data" in one.json()) for one in answers] == [True, True, True, False], "its keys share one limit"
    refused = answers[-1]
    (error,) = refused.json()["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")
    bulk = await pair.other.client.get("/sync/bulk", headers={"authorization": f"Bearer {key}"})
    assert (bulk.status_code, bulk.json()["errors"][0]["extensions"]["code"]) == (429, "RATE_LIMITED")
    assert await seen(pair.other, free) != "RATE_LIMITED", "another one is not held back"
    pair.door.clock.forward(seconds=20)
    assert isinstance(await seen(pair.other, second), set)
    assert await seen(pair.other, key) == "RATE_LIMITED"
    wide = {"name": "shop", "rights": rights, "everywhere": True, "requestsPerMinute": 60}
    await pair.door.served.ask(UPDATE, {"id": made["service"]["id"], "input": wide}, token=admin)
    pair.door.clock.forward(seconds=1)
    assert isinstance(await seen(pair.other, key), set), "what an admin changed holds within a second"


async def test_only_admins_see_and_change_services_and_every_problem_is_named(pair: Pair) -> None:
    admin = await pair.admin()
    rep = (await pair.sign_in(pair.door.email))["accessToken"]
    wrong = await service(pair, admin, name=" ", rights=["read:everything"], territoryIds=[new_id()], locale="xx",
                          requestsPerMinute=0)  # fmt: skip
    assert [(one["code"], one["path"]) for one in wrong["problems"]] == [
        ("REQUIRED", ["name"]),
        ("NOT_ALLOWED_VALUE", ["rights"]),
        ("NOT_ALLOWED_VALUE", ["locale"]),
        ("OUT_OF_RANGE", ["requestsPerMinute"]),
        ("NOT_FOUND", ["territoryIds"]),
    ]
    short = await service(pair, admin, name="stream", rights=["bulk", "read:customers"], everywhere=True)
    assert short["problems"][0]["path"] == ["rights"]
    made = await service(pair, admin, name="shop", rights=["read:customers"], everywhere=True)
    assert (await service(pair, admin, name="shop", rights=["read:orders"], everywhere=True))["problems"] == [
        {"code": "ID_TAKEN", "path": ["name"]}
    ]
    key = await key_of(pair, admin, made["service"]["id"])
    for token in (rep, key["secret"]):
        assert (await service(pair, token, name="mine", rights=["export"], everywhere=True))["problems"][0]["code"] == (
            "NOT_PERMITTED"
        )
        listed = await pair.other.ask("{ services { id } }", token=token)
        assert listed["errors"][0]["extensions"]["code"] == "NOT_PERMITTED"
    listed = await pair.other.ask("{ services { name keys { name lastUsedAt } } }", token=admin)
    assert [one["name"] for one in listed["data"]["services"]] == ["shop"]


async def test_a_service_with_the_right_takes_all_it_sees_as_a_stream_and_goes_on_from_its_end(pair: Pair) -> None:
    from_all = ["read:customers", "read:contacts", "read:visits", "read:orders", "read:tasks", "read:attachments",
                "read:territories", "read:scores", "read:catalogue", "read:users",
                "read:customFields", "read:forms", "read:answers", "read:cases", "read:judgements", "bulk"]  # fmt: skip
    admin = await pair.admin()
    made = await service(pair, admin, name="warehouse", rights=from_all, everywhere=True)
    plain = await service(pair, admin, name="plain", rights=from_all[:-1], everywhere=True)
    secret, without = [(await key_of(pair, admin, one["service"]["id"]))["secret"] for one in (made, plain)]

    async def lines(cursor: str | None = None) -> list[str]:
        query = {} if cursor is None else {"cursor": cursor}
        bearer = {"authorization": f"Bearer {secret}"}
        answer = await pair.other.client.get("/sync/bulk", params=query, headers=bearer)
        assert answer.status_code == 200, answer.text
        return answer.text.splitlines()

    first = await lines()
    assert '"complete":true' in first[-1]
    cursor = first[-1].partition('"cursor":"')[2].partition('"')[0]
    assert '"complete":true' in (await lines(cursor))[-1]
    refused = await pair.other.client.get("/sync/bulk", headers={"authorization": f"Bearer {without}"})
    assert refused.status_code == 403


# -- the read-only role -------------------------------------------------------------------------------------------

OF_ONESELF = {"signOut", "refresh", "changePassword", "acknowledgeWipe", "signIn", "signInWithOidc",
              "beginOidcSignIn", "resetPassword", "syncReport"}  # fmt: skip
"""What everybody may do with his own sign-in and device; nothing of it writes a record."""


NAMED_ONLY = ("restore", "drainDevice", "revokeDevice", "wipeDevice", "reactivateDevice", "resolveSyncIssue",
              "undoMerge", "dismissMatch")  # fmt: skip
"""What begins by finding something that he sees none of: not found, as for an id that nobody has."""


def unknown(name: str) -> set[str]:
    return {"NOT_FOUND"} if name.startswith(NAMED_ONLY) else set()


WELL_FORMED = {
    "nameMatch": 'collection: "contacts"',
    "importOrders": 'input: {fileName: "a.csv", system: "erp", text: "a,b\\n1,2"}',
}
"""Arguments that may be left out and that these cannot do without."""


def literal(kind: GraphQLInputType, depth: int = 0) -> str:
    """Some well-formed value of an input type, with whatever must be given."""
    if isinstance(kind, GraphQLNonNull):
        return literal(kind.of_type, depth)
    if isinstance(kind, GraphQLList):
        return f"[{literal(kind.of_type, depth)}]"
    if isinstance(kind, GraphQLEnumType):
        return str(next(iter(kind.values)))
    if isinstance(kind, GraphQLInputObjectType):
        must = {name: found for name, found in kind.fields.items() if isinstance(found.type, GraphQLNonNull)}
        chosen = must if must and not kind.is_one_of else dict([next(iter(kind.fields.items()))])
        return "{" + ", ".join(f"{name}: {literal(found.type, depth + 1)}" for name, found in chosen.items()) + "}"
    assert isinstance(kind, GraphQLScalarType)
    by_name = {"Int": "1", "Float": "1.0", "Boolean": "true", "BigInt": "1", "JSON": "{}", "Date": '"2026-01-01"',
               "Instant": '"2026-01-01T00:00:00.000Z"', "ID": f'"{new_id()}"'}  # fmt: skip
    return str(by_name.get(kind.name, '"text"'))


async def test_the_back_office_reads_everything_and_no_mutation_of_the_schema_writes_for_it(pair: Pair) -> None:
    _, mine, others = await company(pair)
    engine = pair.door.served.services.engine
    async with engine.write() as conn:
        user_id = await factories.user(
            conn, email="office@example.com", role="BACK_OFFICE", password_hash=PASSWORD_HASH
        )

    async def seat(work: Work) -> None:
        work.reseat([user_id])

    await pair.by_operator(seat)
    token = (await pair.sign_in("office@example.com"))["accessToken"]
    assert await seen(pair.other, token) == {mine, others}
    bulk = await pair.other.client.get("/sync/bulk", headers={"authorization": f"Bearer {token}"})
    assert bulk.status_code == 403
    schema = core_schema(build_schema())
    mutations = schema.mutation_type.fields if schema.mutation_type else {}
    assert len(mutations) > 40
    tables = ("customer", "contact", "visit", "sales_order", "task", "user_account", "territory", "service", "feed",
              "import_batch", "attachment", "priority_table", "territory_member", "sync_issue")  # fmt: skip

    async def counted() -> list[int]:
        async with engine.read() as conn:
            rows = [(await conn.fetch(f"SELECT count(*) FROM {table}"))[0][0] for table in tables]
            ((seq,),) = await conn.fetch("SELECT seq FROM sync_clock")
        return [*rows, seq]

    before = await counted()
    told: dict[str, JsonObject] = {}
    refused: dict[str, set[str]] = {}
    for name, field in mutations.items():
        if name in OF_ONESELF:
            continue
        must = {n: one for n, one in field.args.items() if isinstance(one.type, GraphQLNonNull)}
        given = ", ".join(f"{n}: {literal(one.type)}" for n, one in must.items())
        if name in WELL_FORMED:
            named = WELL_FORMED[name]
            rest = [f"{n}: {literal(one.type)}" for n, one in must.items() if n != named.partition(":")[0]]
            given = ", ".join([*rest, named])
        kind = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        picked = "__typename"
        if isinstance(kind, GraphQLUnionType) and "Refusal" in {one.name for one in kind.types}:
            picked += " ... on Refusal { problems { code path } }"
        answer = await pair.door.served.ask(
            f"mutation {{ {name}{f'({given})' if given else ''} {{ {picked} }} }}", token=token
        )
        told[name] = answer
        data = (answer.get("data") or {}).get(name) or {}
        problems = data.get("problems") or [error["extensions"] for error in answer.get("errors", ())]
        refused[name] = {problem["code"] for problem in problems}
    assert await counted() == before, "nothing was written"
    unshut = {name: told[name] for name, codes in refused.items() if not codes & {"NOT_PERMITTED", *unknown(name)}}
    assert unshut == {}
    assert {"signInWithOidc", "resetPassword"} <= OPEN_FIELDS


async def test_the_old_key_is_trusted_as_long_as_what_it_may_have_signed(pair: Pair) -> None:
    """A server that took the new key up at the last moment signed with the old one until then."""
    await pair.rotate()
    pair.door.clock.forward(seconds=59)
    late = await pair.sign_in(pair.door.email, pair.other)
    pair.door.clock.forward(seconds=599)
    assert {await me(served, late["accessToken"]) for served in pair.both} == {"ok"}
    pair.door.clock.forward(seconds=2 + CLOCKS_APART_MS // 1_000)
    assert {await me(served, late["accessToken"]) for served in pair.both} == {"UNAUTHENTICATED"}
