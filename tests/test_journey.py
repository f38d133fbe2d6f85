"""The main job, end to end: an order history comes in, is scored, and a phone that works offline visits by it.

Once from the command line and once by GraphQL, on both databases. The history is the CDNOW sample, which is about
people who bought music; it stands in for the trade of an apparel company because its figures are published.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.times import instant_text, local_day
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.sync.work import Work, in_work
from backend.usecases.people import create_user
from backend.usecases.territories import create_territory, grant_territory
from mobile_contract.replica import Document, Refusal, Replica
from tests.clocks import HandClock
from tests.papers.order_file import write_order_file
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN
from tests.servers import Served, serve

ROOT = Path(__file__).resolve().parent.parent
ZONE = "Asia/Shanghai"
PATCH = "/cn/cdnow"
ORDERS, CUSTOMERS = 6_919, 2_357
SCORED_AS_OF = "1998-07-01"
THAT_NOON_MS = 899_265_600_000
"""1998-07-01 04:00 UTC, the day after the sample ends: noon in Shanghai."""
LISTED, EXPLAINED = 200, 50

pytestmark = pytest.mark.requirement("R7", "R11", "R27", "R28")


@dataclass(frozen=True, slots=True)
class Office:
    """A migrated database with one patch, its rep, the rep's manager and an admin; and the history as a file."""

    settings: Settings
    history: Path
    patch_id: str

    @property
    def url(self) -> str:
        return self.settings.database_url


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> Office:
    engine = open_engine(database_url)
    await engine.start()
    system = Principal(PrincipalKind.STAFF, user_id=new_id(), role=Role.ADMIN)

    async def build(work: Work) -> str:
        node = {"kind": "REGION", "timezone": ZONE, "nameEn": "China"}
        root = await create_territory(work, {**node, "path": "/cn"})
        patch = await create_territory(work, {**node, "path": PATCH, "kind": "PATCH", "parentId": root})
        seats = {"REP": patch, "MANAGER": root, "ADMIN": None}
        for role, seat in seats.items():
            email = f"{role.lower()}@haizhi.example"
            user_id = await create_user(work, email=email, name=role.title(), role=role, password_hash=PASSWORD_HASH)
            if seat is not None:
                await grant_territory(work, user_id, seat)
        return patch

    # people and seats are older than the history's last day
    patch_id, _ = await in_work(engine, system, build, clock=lambda: THAT_NOON_MS, retries_max=0)
    await engine.close()
    history = tmp_path / "cdnow.csv"
    write_order_file(history)
    return Office(Settings(database_url=database_url, data_dir=tmp_path / "var"), history, patch_id)


class Caller:
    """Somebody signed in over HTTP, from a thread of his own; a `Transport` for the reference client."""

    def __init__(self, port: int, email: str) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        device = {"id": new_id(), "name": "a phone", "platform": "ANDROID"}
        session = self.ask(SIGN_IN, email=email, password=PASSWORD, device=device)["signIn"]
        self.user_id, self.device_id = session["userId"], session["deviceId"]
        self._client.headers["authorization"] = f"Bearer {session['accessToken']}"

    def ask(self, document: str, **variables: object) -> Any:
        answer = self._client.post("/graphql", json={"query": document, "variables": variables}).json()
        if "errors" in answer:
            raise Refusal(answer["errors"][0]["extensions"]["code"])
        return answer["data"]

    def pull(self, request: Document) -> Document:
        page: Document = self.ask(PULL, **request)["syncPull"]
        return page

    def push(self, mutations: list[Document]) -> list[Document]:
        answer = self.ask(PUSH, mutations=mutations)["syncPush"]
        if "problems" in answer:
            raise Refusal(answer["problems"][0]["code"])
        answers: list[Document] = answer["results"]
        return answers

    def close(self) -> None:
        self._client.close()


PULL = """
query ($cursor: String, $limit: Int!, $schemaVersion: Int!, $refetch: [SyncRefetch!]) {
  syncPull(cursor: $cursor, limit: $limit, schemaVersion: $schemaVersion, refetch: $refetch) {
    clock cursor complete scopesRemoved ackedMutation
    blocks { scope collection left rows { seq digest document } }
    checksums { scope collection sum count }
  }
}"""
PUSH = """
mutation ($mutations: [SyncMutation!]!) {
  syncPush(mutations: $mutations) {
    ... on SyncPushed { results {
      id status problems { code path } records { collection seq digest document }
    } }
    ... on Refusal { problems { code path } }
  }
}"""
LIST = """
query ($territoryId: ID, $on: Date!, $listed: Int!, $explained: Int!) {
  visitPriorities(territoryId: $territoryId, on: $on, first: $listed) {
    totalCount
    items { score customerId }
  }
  explained: visitPriorities(territoryId: $territoryId, on: $on, first: $explained) {
    items { score customerId lines { code points text } }
  }
}"""
IMPORT = """
mutation ($input: ImportOrdersInput!) {
  importOrders(input: $input) {
    ... on OrdersImported { repeated rowsTotal ordersCreated rowsUnchanged rowsFailed customersCreated }
    ... on Refusal { problems { code path } }
  }
}"""
SCORE = """
mutation {
  runScores {
    ... on ScoresRun { state asOf customersScored customersChanged fitStatus }
    ... on Refusal { problems { code path } }
  }
}"""
SEEN = """
query ($customer: ID!, $visit: ID!, $order: ID!, $task: ID!) {
  customer(id: $customer) {
    rev cadenceDays
    orders(first: 1) { totalCount }
    tasks(first: 10) { nodes { id } }
    score { priority segment lines { points } }
  }
  visit(id: $visit) { state outcome repId checkInAt }
  order(id: $order) { state notes }
  task(id: $task) { title dueOn assigneeId }
}"""
UPDATE = """
mutation ($id: ID!, $baseRev: BigInt!, $patch: CustomerPatch!) {
  updateCustomer(id: $id, baseRev: $baseRev, patch: $patch) {
    ... on CustomerChanged { status }
    ... on Refusal { problems { code path } }
  }
}"""


# --- the two ways in ---------------------------------------------------------------------------------------------


def selvedge(office: Office, *arguments: str) -> str:
    """What a command line prints; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SELVEDGE_")}
    environment |= {
        "SELVEDGE_DATABASE_URL": office.url,
        "SELVEDGE_DATA_DIR": str(office.settings.data_dir),
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "backend", *arguments],
        cwd=office.history.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(text: str) -> set[int]:
    """Whole numbers as printed, with or without commas."""
    return {int(found.replace(",", "")) for found in re.findall(r"\b\d[\d,]*\b", text)}


async def by_command_line(office: Office) -> None:
    options = ("--system", "cdnow", "--currency", "USD", "--kind", "CONSUMER", "--territory", PATCH)
    mapping = ("--map", "customerCode=customer_code", "--map", "orderedOn=order_date", "--map", "units=units")
    command = ("import", "orders", office.history.name, *options, *mapping, "--map", "netAmount=net_amount_usd")
    rehearsed = await asyncio.to_thread(selvedge, office, *command, "--dry-run")
    assert {ORDERS, CUSTOMERS} <= numbers(rehearsed)
    imported = await asyncio.to_thread(selvedge, office, *command)
    assert {ORDERS, CUSTOMERS} <= numbers(imported)
    scored = await asyncio.to_thread(selvedge, office, "score", "--as-of", SCORED_AS_OF)
    assert CUSTOMERS in numbers(scored)


async def by_graphql(office: Office, served: Served) -> None:
    def run() -> None:
        manager, admin = Caller(served.port, "manager@haizhi.example"), Caller(served.port, "admin@haizhi.example")
        file = {
            "fileName": "cdnow.csv",
            "text": office.history.read_text("utf-8"),
            "system": "cdnow",
            "currency": "USD",
            "kind": "CONSUMER",
            "territoryId": office.patch_id,
        }
        assert manager.ask(IMPORT, input=file)["importOrders"] == {
            "repeated": False,
            "rowsTotal": ORDERS,
            "ordersCreated": ORDERS,
            "rowsUnchanged": 0,
            "rowsFailed": 0,
            "customersCreated": CUSTOMERS,
        }
        again = manager.ask(IMPORT, input=file)["importOrders"]
        assert (again["repeated"], again["ordersCreated"]) == (True, ORDERS)
        assert admin.ask(SCORE)["runScores"] == {
            "state": "FINISHED",
            "asOf": SCORED_AS_OF,
            "customersScored": CUSTOMERS,
            "customersChanged": CUSTOMERS,
            "fitStatus": "CONVERGED",
        }
        manager.close()
        admin.close()

    await asyncio.to_thread(run)


# --- what follows, either way ------------------------------------------------------------------------------------


def same_list(caller: Caller, phone: Replica, office: Office, day: str) -> list[Document]:
    """The server's list of a day, after checking that the phone ranks to the same integers, line by line."""
    found = caller.ask(LIST, territoryId=office.patch_id, on=day, listed=LISTED, explained=EXPLAINED)
    own = phone.ranked(day)
    assert found["visitPriorities"]["totalCount"] == len(own) == CUSTOMERS
    theirs = [(item["customerId"], item["score"]) for item in found["visitPriorities"]["items"]]
    assert [(customer_id, seen["score"]) for customer_id, seen in own[:LISTED]] == theirs
    assert len(theirs) == LISTED
    items: list[Document] = found["explained"]["items"]
    for item, (_, seen) in zip(items, own[:EXPLAINED], strict=True):
        lines = [(line["code"], line["points"]) for line in item["lines"]]
        assert [(line["code"], line["points"]) for line in seen["lines"]] == lines
        assert sum(points for _, points in lines) == item["score"]
    return items


def a_day_in_the_field(served: Served, office: Office, now_ms: int) -> tuple[Caller, str, list[str]]:
    """The rep's day. Returns him, the ids of what he wrote, for whoever wants to look behind it."""
    day = local_day(now_ms, ZONE)
    rep, manager = Caller(served.port, "rep@haizhi.example"), Caller(served.port, "manager@haizhi.example")
    phone = Replica(limit=1_000)

    # in the morning, with signal
    phone.sync(rep)
    held = {name: len(phone.views(name)) for name in ("customers", "orders", "scores")}
    assert held == {"customers": CUSTOMERS, "orders": ORDERS, "scores": CUSTOMERS}
    morning = same_list(rep, phone, office, day)
    first = morning[0]["customerId"]
    assert any(line["points"] > 0 and line["text"] for line in morning[0]["lines"])

    # without signal: a visit to the first on the list, what came of it, and an order's note that cannot be
    visit, order, task = new_id(), new_id(), new_id()
    delivered = next(one["id"] for one in phone.views("orders").values() if one["customerId"] == first)
    began, ended = instant_text(now_ms - 3_600_000), instant_text(now_ms - 1_200_000)
    check_in = {"customerId": first, "repId": rep.user_id, "state": "CHECKED_IN", "checkInAt": began}
    phone.edit("visits", visit, check_in, capturedAt=began)
    draft = {"customerId": first, "state": "DRAFT", "currency": "USD", "notes": "asks for hangers"}
    phone.edit("orders", order, draft)
    to_do = {"title": "send prices", "dueOn": day, "assigneeId": rep.user_id}
    phone.edit("tasks", task, {"customerId": first, "state": "OPEN", **to_do})
    check_out = {"state": "COMPLETED", "checkOutAt": ended, "outcome": "ORDER_EXPECTED"}
    phone.edit("visits", visit, check_out, capturedAt=ended)
    refused = phone.edit("orders", delivered, {"notes": "too late for this one"})
    assert phone.view("visits", visit)["state"] == "COMPLETED"  # type: ignore[index]
    offline = dict(phone.ranked(day))
    just_visited = {line["code"]: line["points"] for line in offline[first]["lines"]}
    assert just_visited["JUST_VISITED"] < 0 < just_visited["OBLIGATIONS"]

    # meanwhile, in the office
    seen = {"customer": first, "visit": visit, "order": order, "task": task}
    before = manager.ask(SEEN, **seen)
    assert (before["visit"], before["order"], before["task"]) == (None, None, None)
    change = {"id": first, "baseRev": before["customer"]["rev"], "patch": {"cadenceDays": 21}}
    assert manager.ask(UPDATE, **change)["updateCustomer"] == {"status": "APPLIED"}

    # signal again: everything arrives, nothing is lost, what was refused is told
    phone.sync(rep)
    assert phone.queue == []
    statuses = [phone.outcomes.pop(refused)["status"], *(one["status"] for one in phone.outcomes.values())]
    assert statuses == ["REFUSED", "APPLIED", "APPLIED", "APPLIED", "APPLIED"]
    [issue] = phone.views("syncIssues").values()
    assert issue["recordId"] == delivered
    after = manager.ask(SEEN, **seen)
    assert after["visit"] == {
        "state": "COMPLETED",
        "outcome": "ORDER_EXPECTED",
        "repId": rep.user_id,
        "checkInAt": began,
    }
    assert after["order"] == {"state": "DRAFT", "notes": "asks for hangers"}
    assert after["task"] == to_do
    assert after["customer"]["tasks"]["nodes"] == [{"id": task}]
    assert after["customer"]["score"]["priority"] == sum(line["points"] for line in after["customer"]["score"]["lines"])

    # pulled again: the manager's change is there, and both rank with what the day brought
    customer = phone.view("customers", first)
    assert customer is not None
    assert customer["cadenceDays"] == 21
    assert phone.mismatches(phone_checksums(rep, phone)) == []
    evening = same_list(rep, phone, office, day)
    assert [item["customerId"] for item in evening] != [item["customerId"] for item in morning]
    assert offline[first]["score"] == dict(phone.ranked(day))[first]["score"]
    manager.close()
    return rep, first, [visit, order, task]


def phone_checksums(rep: Caller, phone: Replica) -> list[Document]:
    """What the server says a phone must hold now; nothing has changed since its last pull."""
    page = rep.pull(phone.pull_request())
    assert page["complete"]
    assert [row for block in page["blocks"] for row in block["rows"]] == []
    checksums: list[Document] = page["checksums"]
    return checksums


async def audited(served: Served, record_id: str) -> list[tuple[str, str]]:
    """(actor, device) of every change of a record."""
    async with served.services.engine.read() as conn:
        rows = await conn.fetch("SELECT actor, device_id FROM audit_entry WHERE record_id = ? ORDER BY id", record_id)
    return [(row[0], row[1]) for row in rows]


Journey = Callable[[Served, int], Awaitable[None]]


@pytest.fixture
async def travel(office: Office) -> AsyncIterator[Journey]:
    callers: list[Caller] = []

    async def journey(served: Served, now_ms: int) -> None:
        rep, _, written = await asyncio.to_thread(a_day_in_the_field, served, office, now_ms)
        callers.append(rep)
        for record_id in written:
            entries = await audited(served, record_id)
            assert entries
            assert {device for _, device in entries} == {rep.device_id}
            assert {actor for actor, _ in entries} == {f"staff:{rep.user_id}"}

    yield journey
    for caller in callers:
        caller.close()


@pytest.mark.requirement("R32")
async def test_from_an_order_history_to_a_visit_by_graphql(office: Office, travel: Journey) -> None:
    async with serve(office.settings, clock=HandClock(THAT_NOON_MS)) as served:
        await by_graphql(office, served)
        await travel(served, THAT_NOON_MS)


async def test_from_an_order_history_to_a_visit_from_the_command_line(office: Office, travel: Journey) -> None:
    await by_command_line(office)
    async with serve(office.settings) as served:
        await travel(served, wall_clock_ms())
