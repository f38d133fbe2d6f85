"""Two servers of one company, each a process of its own: whoever is shut out at one is out at the other."""

import sys
from pathlib import Path
from time import monotonic

import httpx
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from backend.ids import new_id
from backend.schema.sockets import PROTOCOL
from backend.storage.engine import open_engine
from tests import factories
from tests.databases import free_port
from tests.operations.processes import started, until_ready
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN
from tests.schema.lines import POKE, Line
from tests.schema.test_sessions import ME
from tests.servers import JsonObject

REVOKE = "mutation ($id: ID!) { revokeDevice(deviceId: $id) { __typename } }"


async def asked(client: httpx.AsyncClient, document: str, token: str = "", **variables: object) -> JsonObject:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = await client.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
    found: JsonObject = answer.json()
    return found


async def signed_in(client: httpx.AsyncClient, email: str) -> JsonObject:
    device = {"id": new_id(), "name": "a phone", "platform": "ANDROID"}
    found: JsonObject = (await asked(client, SIGN_IN, email=email, password=PASSWORD, device=device))["data"]["signIn"]
    return found


async def test_a_device_revoked_in_one_process_is_out_of_the_other_and_its_sockets_close(
    database_url: str, tmp_path: Path
) -> None:
    engine = open_engine(database_url)
    await engine.start()
    async with engine.write() as conn:
        for name, role in (("rep", "REP"), ("admin", "ADMIN")):
            await factories.user(conn, email=f"{name}@example.com", role=role, password_hash=PASSWORD_HASH)
    await engine.close()
    folders, ports = [tmp_path / name for name in "ab"], [free_port(), free_port()]
    shared = tmp_path / "var"
    for folder in (*folders, shared):
        folder.mkdir()
    for folder in folders:
        (folder / "var").symlink_to(shared)
    a, b = (httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) for port in ports)
    async with a, b:
        with started(folders[0], ports[0], database_url=database_url) as one:
            await until_ready(a, one, folders[0])  # the first makes the keys that both use
            with started(folders[1], ports[1], database_url=database_url) as other:
                await until_ready(b, other, folders[1])
                await revoked_at_one_and_out_of_the_other(a, b, ports[1])


async def revoked_at_one_and_out_of_the_other(a: httpx.AsyncClient, b: httpx.AsyncClient, port: int) -> None:
    phone, admin = await signed_in(a, "rep@example.com"), await signed_in(a, "admin@example.com")
    token = str(phone["accessToken"])
    assert (await asked(b, ME, token))["data"]["me"]
    async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=[Subprotocol(PROTOCOL)], proxy=None) as raw:
        line = Line(raw)
        await line.begin(token)
        await line.subscribe("p", POKE)
        await line.clock()
        told = await asked(a, REVOKE, str(admin["accessToken"]), id=phone["deviceId"])
        assert told["data"]["revokeDevice"]["__typename"] == "DeviceChanged", told
        began = monotonic()
        # nobody asks: the other process finds out for itself
        assert await line.end() == (4403, "DEVICE_REVOKED")
        sys.stdout.write(f"closed after {monotonic() - began:.3f} s\n")
    refused = await asked(b, ME, token)
    assert [error["extensions"]["code"] for error in refused["errors"]] == ["DEVICE_REVOKED"]
    bulk = await b.get("/sync/bulk", headers={"authorization": f"Bearer {token}"})
    assert (bulk.status_code, bulk.json()["errors"][0]["extensions"]["code"]) == (403, "DEVICE_REVOKED")
