"""What stands in the logs, and that nobody's name or number does, whatever comes through whichever door."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import wall_clock_ms
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.sync.work import Door, open_work
from backend.telemetry import ALLOWED_KEYS
from backend.usecases.services import ServiceGiven, add_key, create_service
from tests.databases import free_port
from tests.operations.processes import ROOT, started, until_ready
from tests.operations.test_workers import prepare, sign_in

NAME, PHONE = "Zhang Xiaoming-Canary", "13812349876"
CANARIES = (NAME, PHONE, "Canary", "canary")


SCRIPT = """
import logging, threading, warnings
import structlog
from backend.telemetry import configure_logs

NAME, PHONE = "Zhang Xiaoming-Canary", "13812349876"
configure_logs("INFO")

def fails(phone):
    raise ValueError(f"no such number {phone}")

try:
    fails(PHONE)
except ValueError:
    logging.getLogger("uvicorn.error").exception("Exception in %s", NAME)
    logging.getLogger("asyncio").error(f"Task of {NAME} failed", exc_info=True)
warnings.simplefilter("always")
warnings.warn(f"{NAME} is deprecated", DeprecationWarning)
thread = threading.Thread(target=fails, args=(PHONE,))
thread.start()
thread.join()
structlog.get_logger(component="here").info("done", code=7, phone=PHONE, variables={"name": NAME})
"""


def test_what_is_said_is_told_without_values_whoever_says_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    first, second, third, fourth, last = (json.loads(line) for line in done.stderr.splitlines())
    assert first["event"] == "Exception in %s"
    assert first["component"] == "uvicorn.error"
    assert first["error_type"] == second["error_type"] == fourth["error_type"] == "ValueError"
    assert " fails < " in first["stack"]
    assert second["event"] == "a library said something"
    assert third["component"] == "py.warnings"
    assert fourth["component"] == "threading"
    assert last == {
        "event": "done",
        "component": "here",
        "code": 7,
        "level": "info",
        "timestamp": last["timestamp"],
    }
    assert not [canary for canary in CANARIES if canary in done.stderr]


async def test_no_name_or_number_gets_into_the_logs_by_any_door(sqlite_url: str, tmp_path: Path) -> None:
    await prepare(sqlite_url)
    port = free_port()
    with started(tmp_path, port, database_url=sqlite_url, log_level="DEBUG") as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await until_ready(client, server, tmp_path)
            token = await sign_in(client)
            headers = {"authorization": f"Bearer {token}", "x-client-name": NAME, "user-agent": NAME}

            async def ask(document: str, variables: object = None, **more: str) -> None:
                body = {"query": document, "variables": variables, "operationName": None}
                await client.post("/graphql", json=body, headers={**headers, **more})

            await ask(
                "mutation ($input: TaskInput!) { createTask(input: $input) { __typename } }",
                {"input": {"title": f"call {NAME} {PHONE}"}},
            )
            await ask(f'query Canary {{ customers(search: "{NAME} {PHONE}") {{ nodes {{ id }} }} }}')
            await ask(f"{{ {NAME.split('-')[1]} }}")
            await ask(f'mutation {{ signIn(email: "{NAME}", password: "{PHONE}", device: {{}}) {{ __typename }} }}')
            await ask("query ($id: ID!) { customer(id: $id) { id } }", {"id": NAME})
            await ask(
                "mutation ($m: [MutationInput!]!) { syncPush(schemaVersion: 1, mutations: $m) { __typename } }",
                {
                    "m": [
                        {"id": new_id(), "clientSeq": 1, "change": {"tasks": {"id": NAME, "fields": {"title": PHONE}}}}
                    ]
                },
            )
            await ask("{ me { id } }", authorization=f"Bearer {NAME}")
            for path in (f"/{NAME}", f"/files/{NAME}", f"/sync/bulk?cursor={NAME}", f"/graphql?query={NAME}"):
                await client.get(path, headers=headers)
            for body in (NAME.encode(), json.dumps(NAME).encode(), json.dumps({"query": 5, "x": NAME}).encode()):
                await client.post("/graphql", content=body, headers={**headers, "content-type": "application/json"})
            await client.post(
                "/graphql", json={"query": "{ me { id } }"}, headers={**headers, "x-request-id": f"<{NAME}>"}
            )
            await client.put(f"/files/{new_id()}", content=NAME.encode(), headers=headers)
        raw = b"GET /canary HTTP/1.1\r\nhost: x\r\nbad header Canary\r\n\r\n"
        await speak(port, raw)
        await speak(
            port, b"GET /graphql HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nx: " + NAME.encode() + b"\r\n\r\n"
        )
    said = (tmp_path / "log").read_text()
    assert not [line for line in said.splitlines() if any(canary in line for canary in CANARIES)]
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{") and '"timestamp"' in line]
    answered = [line for line in found if line["event"] == "answered"]
    assert len(answered) >= 17
    assert all(set(line) <= ALLOWED_KEYS for line in found)
    assert all(line["request_id"] for line in answered)
    assert any(line.get("user_id") and line.get("device_id") for line in answered)
    assert "Traceback" not in said


async def key_of_a_service(database_url: str) -> tuple[str, str]:
    """A service that reads attachments, by its id and its key."""
    engine = open_engine(database_url)
    await engine.start()
    operator = Principal(PrincipalKind.SERVICE, service_id="operator")
    async with open_work(engine, operator, now_ms=wall_clock_ms(), door=Door.JOB) as work:
        given = ServiceGiven("erp", ["read:customers", "read:attachments"], everywhere=True)
        service_id = await create_service(work, given)
        key = await add_key(work, service_id, "first", days=None)
    await engine.close()
    return service_id, key.text


async def test_what_another_system_asks_is_logged_by_its_id(sqlite_url: str, tmp_path: Path) -> None:
    await prepare(sqlite_url)
    service_id, key = await key_of_a_service(sqlite_url)
    port = free_port()
    with started(tmp_path, port, database_url=sqlite_url) as server:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await until_ready(client, server, tmp_path)
            by_key, by_phone = {"authorization": f"Bearer {key}"}, {"authorization": f"Bearer {await sign_in(client)}"}
            # over one connection, one after another: nobody is named in another's line
            for who, headers in (("key", by_key), ("phone", by_phone), ("nobody", {})):
                named = {**headers, "x-request-id": f"graphql-{who}"}
                await client.post("/graphql", json={"query": "{ customers { nodes { id } } }"}, headers=named)
                await client.get(f"/files/{new_id()}", headers={**headers, "x-request-id": f"files-{who}"})
    said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if '"answered"' in line]
    lines = {line["request_id"]: line for line in said}
    names = {"user_id", "device_id", "service_id"}
    for door in ("graphql", "files"):
        asked = lines[f"{door}-key"]
        assert {name: asked[name] for name in names & set(asked)} == {"service_id": service_id}
        assert names & set(lines[f"{door}-phone"]) == {"user_id", "device_id"}
        assert not names & set(lines[f"{door}-nobody"])


async def speak(port: int, raw: bytes) -> None:
    """Send bytes as they are, and wait for the answer's end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    await writer.drain()
    await asyncio.wait_for(reader.read(4_096), 30)
    writer.close()
    await writer.wait_closed()
