"""Golden exchanges of the native protocol: `mobile_contract/conversations/*.json`.

Each is held again with a real server and must come out to the byte; and the reference client plays the recorded
answers alone. `SELVEDGE_WRITE_CONVERSATIONS=1` writes the files anew.
"""

import itertools
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.config import Settings
from backend.domain.territories import Move
from backend.sync import issues
from backend.usecases.territories import move_customers
from mobile_contract.replica import Document, Replica
from tests import factories
from tests.clocks import HandClock
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN
from tests.servers import Served, serve
from tests.sync.offices import Office

CONTRACT = Path(__file__).parents[2] / "mobile_contract"
PULL = (CONTRACT / "operations" / "syncPull.graphql").read_text()
PUSH = (CONTRACT / "operations" / "syncPush.graphql").read_text()
WRITE = bool(os.environ.get("SELVEDGE_WRITE_CONVERSATIONS"))


def numbered() -> Iterator[str]:
    """Ids that are the same in every run."""
    return (f"01900000-0000-7000-8000-{number:012x}" for number in itertools.count(1))


@dataclass
class Talk:
    """What is said between phones and the server, written down as it is said."""

    served: Served
    office: Office
    ids: Iterator[str]
    tokens: dict[str, str] = field(default_factory=dict)
    phones: dict[str, Replica] = field(default_factory=dict)
    said: list[Document] = field(default_factory=list)

    async def phone(self, name: str, user_id: str) -> Replica:
        device = {"id": next(self.ids), "name": name, "platform": "ANDROID"}
        variables = {"email": f"{user_id}@example.com", "password": PASSWORD, "device": device}
        answer = await self.served.ask(SIGN_IN, variables)
        self.tokens[name] = answer["data"]["signIn"]["accessToken"]
        self.phones[name] = Replica(limit=4, new_id=lambda: next(self.ids))
        return self.phones[name]

    async def _say(self, name: str, says: str, operation: str, variables: Document) -> Document:
        document = PULL if operation == "SyncPull" else PUSH
        answer = await self.served.ask(document, variables, token=self.tokens[name])
        answer.pop("extensions", None)
        for error in answer.get("errors", []):
            error.pop("locations", None)
            error.get("extensions", {}).pop("requestId", None)
        self.said.append(
            {"phone": name, "says": says, "operation": operation, "variables": variables, "answer": answer}
        )
        return answer

    async def pull(self, name: str, says: str) -> None:
        """Pages until complete."""
        replica = self.phones[name]
        for _ in range(20):
            request = replica.pull_request()
            answer = await self._say(name, says, "SyncPull", request)
            if "errors" in answer:
                assert answer["errors"][0]["extensions"]["code"] == "CURSOR_EXPIRED", answer
                replica.expire()
                return
            replica.apply(request, answer["data"]["syncPull"])
            if answer["data"]["syncPull"]["complete"]:
                assert replica.refetch == []
                return
            says = "and the next page"
        raise AssertionError("no end of pages")

    async def push(self, name: str, says: str, mutations: list[Document] | None = None) -> list[str]:
        sent = self.phones[name].queue if mutations is None else mutations
        answer = await self._say(name, says, "SyncPush", {"mutations": list(sent)})
        results = answer["data"]["syncPush"]["results"]
        self.phones[name].take_answers(results)
        return [result["status"] for result in results]


Story = Callable[[Talk], Awaitable[None]]


async def first_sync(talk: Talk) -> None:
    await talk.phone("rep", talk.office.rep)
    await talk.pull("rep", "a new phone asks for everything")
    assert len(talk.phones["rep"].views("customers")) == 3


async def delta(talk: Talk) -> None:
    await first_sync(talk)
    await talk.office.patch(talk.office.manager, "customers", talk.office.shops[0], city="Seoul")
    await talk.pull("rep", "the manager changed one customer since")
    await talk.pull("rep", "and nothing since then")


async def conflict(talk: Talk) -> None:
    await first_sync(talk)
    shop = talk.office.shops[0]
    await talk.office.patch(talk.office.manager, "customers", shop, termsDays=60)
    talk.phones["rep"].edit("customers", shop, {"termsDays": 30, "city": "Busan"})
    talk.phones["rep"].edit("customers", talk.office.shops[1], {"territoryId": "x"})
    statuses = await talk.push("rep", "made without signal; the manager had set other terms")
    assert statuses == ["CONFLICT", "REFUSED"]
    await talk.pull("rep", "what did not stand comes back as sync issues")
    assert len(talk.phones["rep"].views("syncIssues")) == 2


async def move(talk: Talk) -> None:
    await first_sync(talk)
    await talk.phone("other rep", talk.office.other_rep)
    await talk.pull("other rep", "a phone in the west")
    async with talk.office.work(talk.office.manager) as work:
        await move_customers(work, [Move(talk.office.shops[0], talk.office.west)])
    await talk.pull("rep", "a customer was given to the west: it left")
    await talk.pull("other rep", "and arrives there")
    assert talk.office.shops[0] in talk.phones["other rep"].views("customers")


async def stale_cursor(talk: Talk) -> None:
    await first_sync(talk)
    async with talk.office.engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET seq = seq + 10, horizon = seq + 5")
    talk.phones["rep"].edit("customers", talk.office.shops[0], {"city": "Jeju"})
    await talk.pull("rep", "silent for longer than history is kept")
    assert await talk.push("rep", "first hand in what is waiting") == ["APPLIED"]
    await talk.pull("rep", "then start again, with every place marked")
    assert talk.phones["rep"].marks == set()


async def replayed_push(talk: Talk) -> None:
    await first_sync(talk)
    rep, visit = talk.phones["rep"], next(talk.ids)
    fields = {"customerId": talk.office.shops[0], "plannedAt": "2026-01-02T01:00:00.000Z"}
    rep.edit("visits", visit, fields, capturedAt="2026-01-01T00:00:00.000Z")
    rep.edit("customers", next(talk.ids), {"kind": "RETAILER"}, group="arrival")
    sent = list(rep.queue)
    first = await talk.push("rep", "the answer is lost on the way")
    again = await talk.push("rep", "so the phone sends the same again", sent)
    assert first == again == ["APPLIED", "REFUSED"]
    other = {"visit": {**sent[0]["change"]["visit"], "set": {"notes": "other"}}}
    assert await talk.push("rep", "a bug: the same id with another body", [{**sent[0], "change": other}]) == ["REFUSED"]
    early = {**sent[0], "id": next(talk.ids), "clientSeq": 9}
    assert await talk.push("rep", "a mutation before its turn", [early]) == ["RETRY"]


STORIES: tuple[Story, ...] = (first_sync, delta, conflict, move, stale_cursor, replayed_push)


def path_of(story: Story) -> Path:
    return CONTRACT / "conversations" / f"{story.__name__.replace('_', '-')}.json"


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_the_server_answers_as_written(
    story: Story, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = numbered()
    monkeypatch.setattr(factories, "new_id", lambda: next(ids))
    monkeypatch.setattr(issues, "new_id", lambda: next(ids))
    settings = Settings(database_url=database_url, data_dir=tmp_path / "var", cursor_secret=SecretStr("golden"))
    async with serve(settings, clock=HandClock()) as served:
        office = await Office(served.services.engine).open()
        async with office.engine.write() as conn:
            await conn.execute("UPDATE user_account SET password_hash = ?", PASSWORD_HASH)
        talk = Talk(served, office, ids)
        await story(talk)
    text = json.dumps({"title": story.__name__, "exchanges": talk.said}, ensure_ascii=False, indent=1) + "\n"
    if WRITE:
        path_of(story).write_text(text, encoding="utf-8")
    assert path_of(story).read_text(encoding="utf-8") == text


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_reference_client_plays_it_alone(story: Story) -> None:
    """Applying what was recorded leaves a phone that agrees with every checksum."""
    phones: dict[str, Replica] = {}
    completed = 0
    for said in json.loads(path_of(story).read_text(encoding="utf-8"))["exchanges"]:
        replica = phones.setdefault(said["phone"], Replica(limit=4))
        variables: dict[str, Any] = said["variables"]
        if said["operation"] == "SyncPush":
            replica.take_answers(said["answer"]["data"]["syncPush"]["results"])
        elif "errors" in said["answer"]:
            replica.expire()
        else:
            assert replica.pull_request() == variables
            assert replica.apply(variables, said["answer"]["data"]["syncPull"])
            assert replica.refetch == []
            completed += said["answer"]["data"]["syncPull"]["complete"]
    assert completed
