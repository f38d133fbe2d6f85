"""Connections that stay open, on real sockets: devices are poked, and nobody stays who may not."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import get_introspection_query
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backend.config import Settings
from backend.errors import Code, Problem, Refused
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.usecases.sessions import Sessions
from tests import factories
from tests.clocks import HandClock
from tests.databases import free_port, fresh_sqlite
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN
from tests.schema.lines import PATIENCE_SECONDS, POKE, Events, events, line
from tests.servers import JsonObject, Served, serve
from tests.test_cli import serving, until_live

PUSH = """
mutation ($mutations: [SyncMutation!]!) { syncPush(mutations: $mutations) {
  ... on SyncPushed { clock results { status } } ... on Refusal { problems { code } } } }
"""


@dataclass
class Office:
    """A served organisation: a manager above a rep, each with a device."""

    served: Served
    clock: HandClock
    users: dict[str, str]
    devices: dict[str, str]
    clients: int = 0

    async def execute(self, sql: str, *args: object) -> None:
        async with self.served.services.engine.write() as conn:
            await conn.execute(sql, *args)

    async def token(self, who: str) -> str:
        """An access token of a sign-in on the device."""
        family_id = new_id()
        await self.execute(
            "INSERT INTO refresh_family (id, user_id, device_id, generation, rotated_at, expires_at)"
            " VALUES (?, ?, ?, 1, ?, ?)",
            family_id,
            self.users[who],
            self.devices[who],
            self.clock(),
            self.clock() + 86_400_000,
        )
        token, _ = self.served.services.tokens.issue(
            user_id=self.users[who], device_id=self.devices[who], family_id=family_id, role=who, locale="en"
        )
        return token

    async def write(self) -> int:
        """What the rep's phone pushes is applied; the clock after it."""
        self.clients += 1
        shop = {"id": new_id(), "set": {"nameEn": f"Shop {self.clients}", "kind": "RETAILER"}}
        mutation = {"id": new_id(), "clientSeq": self.clients, "change": {"customer": shop}}
        answer = await self.served.ask(PUSH, {"mutations": [mutation]}, token=await self.token("REP"))
        pushed = answer["data"]["syncPush"]
        assert [result["status"] for result in pushed["results"]] == ["APPLIED"], pushed
        clock: int = pushed["clock"]
        return clock

    @property
    def subscribers(self) -> int:
        return self.served.services.pokes.subscribers

    async def quiet(self) -> None:
        """Nobody follows any more, and no socket is counted."""
        await until(lambda: self.subscribers == 0 and self.served.app.state.sockets.open == 0)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def open_office(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[Office]:
    clock = HandClock()
    given = Settings(database_url=database_url, data_dir=folder / "var", poke_coalesce_ms=5, **settings)
    async with serve(given, clock=clock) as served:
        users, devices = {}, {}
        async with served.services.engine.write() as conn:
            patch = await factories.territory(conn, "/cn")
            for role in ("MANAGER", "REP", "ANALYST"):
                users[role] = await factories.user(conn, role=role)
                devices[role] = await factories.device(conn, users[role])
                await factories.grant(conn, users[role], f"user:{users[role]}", f"territory:{patch}")
            await factories.member(conn, patch, users["REP"])
        yield Office(served, clock, users, devices)


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """On both databases."""
    async with open_office(database_url, tmp_path) as office:
        yield office


@pytest.fixture
def file_url(sqlite_template: Path, tmp_path: Path) -> str:
    """For what is the same above both databases."""
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture
async def small(file_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    """An office with the least of everything."""
    least = {
        "poke_subscribers_max": 1,
        "sockets_max": 2,
        "socket_operations_max": 2,
        "socket_init_seconds_max": 1,
        "stream_check_seconds": 1,
        "allowed_origins": "https://crm.example.com",
    }
    async with open_office(file_url, tmp_path, **least) as office:
        yield office


# -- pokes ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R4")
async def test_what_a_rep_pushes_pokes_the_managers_devices(office: Office) -> None:
    token = await office.token("MANAGER")
    async with line(office.served, token) as socket, events(office.served, POKE, token) as stream:
        await socket.subscribe("p", POKE)
        assert await socket.clock() == await stream.clock()
        for _ in range(3):
            clock = await office.write()
            assert await socket.clock() == clock
            assert await stream.clock() == clock
    await office.quiet()


async def test_two_servers_on_one_database_poke_each_others_devices(office: Office, tmp_path: Path) -> None:
    settings = office.served.services.settings
    async with serve(settings, clock=office.clock) as other:
        token = await office.token("MANAGER")
        async with line(office.served, token) as here, line(other, token) as there:
            for socket in (here, there):
                await socket.subscribe("p", POKE)
                await socket.clock()
            for _ in range(2):
                clock = await office.write()
                assert await here.clock() == clock
                assert await there.clock() == clock


@pytest.mark.parametrize(
    "document",
    [
        "subscription A { p: syncPoke { t: __typename c: clock clock } }",
        "subscription ($no: Boolean = false) { syncPoke { clock again: clock @skip(if: $no) } }",
        "subscription { ... on Subscription { syncPoke { clock } } }",
    ],
)
async def test_what_follows_the_first_answer_has_its_form(office_on_file: Office, document: str) -> None:
    token = await office_on_file.token("MANAGER")
    async with events(office_on_file.served, document, token) as stream:
        _, first = await stream.event()
        then = json.dumps(first).replace(str(_clock_in(first)), str(await office_on_file.write()))
        _, second = await stream.event()
        assert json.dumps(second) == then
        assert list(first["data"]) == list(second["data"])


def _clock_in(answer: Any) -> int:
    ((poke,),) = (answer["data"].values(),)
    return int(poke.get("clock"))


async def test_of_many_who_follow_only_who_may_not_is_sent_away(office: Office) -> None:
    """Their sign-ins are asked for together; each is judged alone."""
    manager, rep = [await office.token("MANAGER") for _ in range(3)], await office.token("REP")
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(events(office.served, POKE, one)) for one in (*manager, rep)]
        for stream in streams:
            await stream.clock()
        family = office.served.services.tokens.read(manager[1]).family_id
        await office.execute("UPDATE refresh_family SET revoked_at = ? WHERE id = ?", office.clock(), family)
        office.clock.forward(seconds=1)
        clock = await office.write()
        _, data = await streams[1].event()
        assert data["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert await streams[1].event() == ("complete", None)
        for stream in (streams[0], streams[2], streams[3]):
            assert await stream.clock() == clock
    await office.quiet()


async def test_a_revoked_device_hears_nothing_more(office: Office) -> None:
    token = await office.token("MANAGER")
    async with line(office.served, token) as socket, events(office.served, POKE, token) as stream:
        await socket.subscribe("p", POKE)
        await socket.clock()
        await stream.clock()
        await office.execute("UPDATE device SET state = 'REVOKED' WHERE id = ?", office.devices["MANAGER"])
        office.clock.forward(seconds=1)
        await office.write()
        name, data = await stream.event()
        assert (name, set(data), data["errors"][0]["extensions"]["code"]) == ("next", {"errors"}, "DEVICE_REVOKED")
        assert await stream.event() == ("complete", None)
        assert await stream.block() == []
        assert await socket.end() == (4403, "DEVICE_REVOKED")
    await office.quiet()


@pytest.mark.parametrize(
    ("change", "seconds", "code"),
    [
        ("UPDATE device SET state = 'WIPED'", 1, "DEVICE_WIPED"),
        ("UPDATE user_account SET active = false", 1, "DEVICE_REVOKED"),
        ("UPDATE refresh_family SET revoked_at = 1", 1, "UNAUTHENTICATED"),
        ("UPDATE device SET state = 'ACTIVE'", 600, "TOKEN_EXPIRED"),
    ],
)
async def test_a_stream_ends_by_itself_when_its_caller_may_no_longer_stay(
    small: Office, change: str, seconds: int, code: str
) -> None:
    """Nothing is written meanwhile: an idle stream ends too."""
    token = await small.token("MANAGER")
    async with line(small.served, token) as socket:
        await socket.subscribe("p", POKE)
        await socket.clock()
        await small.execute(change)
        small.clock.forward(seconds=seconds)
        assert await socket.end() == (4403, code)
    await small.quiet()


async def test_an_idle_stream_of_events_lives_and_ends(small: Office) -> None:
    async with events(small.served, POKE, await small.token("MANAGER")) as stream:
        await stream.clock()
        assert await stream.block() == [":"]
        await small.execute("UPDATE device SET state = 'REVOKED'")
        small.clock.forward(seconds=1)
        name, data = await stream.event()
        assert (name, data["errors"][0]["extensions"]["code"]) == ("next", "DEVICE_REVOKED")
        assert await stream.event() == ("complete", None)
    await small.quiet()


async def test_a_socket_without_operations_ends_too(small: Office) -> None:
    async with line(small.served, await small.token("REP")) as socket:
        await small.execute("UPDATE device SET state = 'REVOKED'")
        small.clock.forward(seconds=1)
        assert await socket.end() == (4403, "DEVICE_REVOKED")
    await small.quiet()


async def test_who_does_not_sync_is_not_poked(office: Office) -> None:
    async with line(office.served, await office.token("ANALYST")) as socket:
        await socket.subscribe("p", POKE)
        heard = await socket.hear()
        assert (heard["type"], heard["id"]) == ("error", "p")
        assert [error["extensions"]["code"] for error in heard["payload"]] == ["NOT_PERMITTED"]
        await socket.send({"type": "ping"})
        assert await socket.hear() == {"type": "pong"}
    async with line(office.served, await office.token("MANAGER")) as socket:
        await socket.subscribe("p", POKE)
        await socket.clock()
        await office.execute("UPDATE user_account SET role = 'ANALYST' WHERE id = ?", office.users["MANAGER"])
        office.clock.forward(seconds=1)
        await office.write()
        heard = await socket.hear()
        assert (heard["type"], heard["payload"][0]["extensions"]["code"]) == ("error", "NOT_PERMITTED")
    await office.quiet()


async def test_nobody_is_refused_at_the_door(small: Office) -> None:
    for payload in (None, {}, {"Authorization": "Bearer x"}, {"Authorization": 5}, {"token": "x"}):
        async with line(small.served) as socket:
            await socket.send({"type": "connection_init", **({} if payload is None else {"payload": payload})})
            with pytest.raises(ConnectionClosed):
                await socket.hear()
            assert await socket.end() == (4403, "UNAUTHENTICATED")
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}):
        async with events(small.served, POKE, **headers) as stream:
            assert stream.answer.status_code == 401
            assert stream.answer.headers["www-authenticate"] == "Bearer"
            refused = json.loads(await stream.answer.aread())
            assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    await small.quiet()


# -- bounds -----------------------------------------------------------------------------------------------------


async def test_as_many_streams_as_the_setting_says_and_a_place_is_free_again(small: Office) -> None:
    token = await small.token("MANAGER")
    async with line(small.served, token) as socket:
        await socket.subscribe("p", POKE)
        await socket.clock()
        await socket.subscribe("q", POKE)
        heard = await socket.hear()
        assert (heard["type"], heard["id"], heard["payload"][0]["extensions"]["code"]) == ("error", "q", "BUSY")
        async with events(small.served, POKE, token) as stream:
            assert stream.answer.status_code == 503
            assert stream.answer.headers["retry-after"].isdecimal()
        assert small.subscribers == 1
        await socket.send({"type": "complete", "id": "p"})
        await until(lambda: small.subscribers == 0)
        await socket.subscribe("p", POKE)
        await socket.clock()
    await small.quiet()


async def test_a_line_that_breaks_leaves_nothing_behind(office: Office) -> None:
    token = await office.token("MANAGER")
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(line(office.served, token)) for _ in range(5)]
        streams = [await stack.enter_async_context(events(office.served, POKE, token)) for _ in range(5)]
        for socket in sockets:
            for operation_id in ("p", "q"):
                await socket.subscribe(operation_id, POKE)
                await socket.hear()
        for stream in streams:
            await stream.clock()
        assert office.subscribers == 15
        for socket in sockets[:3]:
            socket.raw.transport.abort()
        for stream in streams[:3]:
            await stream.answer.aclose()
        await until(lambda: office.subscribers == 6)
        clock = await office.write()
        assert await streams[4].clock() == clock
    await office.quiet()


async def test_there_are_so_many_sockets_and_no_more(small: Office) -> None:
    token = await small.token("MANAGER")
    async with line(small.served, token):
        async with line(small.served, token):
            with pytest.raises(InvalidStatus) as refused:
                async with line(small.served):
                    pass
            assert refused.value.response.status_code == 503
        await until(lambda: small.served.app.state.sockets.open == 1)
        async with line(small.served, token):
            pass
    await small.quiet()


async def test_one_socket_runs_so_many_operations_at_once(file_url: str, tmp_path: Path) -> None:
    async with open_office(file_url, tmp_path, socket_operations_max=1) as office:
        async with line(office.served, await office.token("MANAGER")) as socket:
            await socket.subscribe("p", POKE)
            await socket.clock()
            await socket.subscribe("a", "{ __typename }")
            heard = await socket.hear()
            assert (heard["type"], heard["id"]) == ("error", "a")
            (problem,) = heard["payload"][0]["extensions"]["problems"]
            assert (problem["code"], problem["allowed"]) == ("TOO_MANY", ["1"])
            await socket.send({"type": "complete", "id": "p"})
            await socket.subscribe("a", "{ __typename }")
            assert (await socket.hear())["type"] == "next"
        await office.quiet()


async def test_who_does_not_take_his_answers_is_dropped(file_url: str, tmp_path: Path) -> None:
    async with (
        open_office(file_url, tmp_path, stream_send_seconds_max=1) as office,
        line(office.served, await office.token("MANAGER")) as socket,
    ):
        await socket.subscribe("p", POKE)
        await socket.clock()
        socket.raw.transport.pause_reading()
        for number in range(40):
            await socket.subscribe(str(number), get_introspection_query())
        await office.quiet()
        socket.raw.transport.abort()


# -- the protocol -----------------------------------------------------------------------------------------------

INIT = {"type": "connection_init"}
ASK = {"type": "subscribe", "id": "a", "payload": {"query": "{ __typename }"}}
ABUSE: dict[str, tuple[list[Any], int]] = {
    "not JSON": (["{"], 4400),
    "a number": (["5"], 4400),
    "null": (["null"], 4400),
    "a text": (['"x"'], 4400),
    "a list": (["[]"], 4400),
    "a deep list": (["[" * 100_000], 4400),
    "bytes": ([b'{"type":"ping"}'], 4400),
    "no type": ([{}], 4400),
    "a type of the server's": ([{"type": "next", "id": "a", "payload": {}}], 4400),
    "a type of an older protocol": ([{"type": "start", "id": "a", "payload": {}}], 4400),
    "a type that is no text": ([{"type": ["ping"]}], 4400),
    "init with null": ([{**INIT, "payload": None}], 4400),
    "init with a list": ([{**INIT, "payload": []}], 4400),
    "ping with a number": ([{"type": "ping", "payload": 5}], 4400),
    "pong with null": ([{"type": "pong", "payload": None}], 4400),
    "asking before init": ([ASK], 4401),
    "init twice": ([..., INIT], 4429),
    "no id": ([..., {"type": "subscribe", "payload": {"query": "{ a }"}}], 4400),
    "a number as id": ([..., {**ASK, "id": 5}], 4400),
    "null as id": ([..., {**ASK, "id": None}], 4400),
    "a map as id": ([..., {**ASK, "id": {}}], 4400),
    "an empty id": ([..., {**ASK, "id": ""}], 4400),
    "a number as id of complete": ([..., {"type": "complete", "id": 5}], 4400),
    "no payload": ([..., {"type": "subscribe", "id": "a"}], 4400),
    "null payload": ([..., {**ASK, "payload": None}], 4400),
    "no query": ([..., {**ASK, "payload": {}}], 4400),
    "a number as query": ([..., {**ASK, "payload": {"query": 5}}], 4400),
    "values too deep in each other": (
        [..., {**ASK, "payload": {"query": "{ __typename }", "variables": {"a": json.loads("[" * 70 + "]" * 70)}}}],
        4400,
    ),
    "a list of variables": ([..., {**ASK, "payload": {"query": "{ a }", "variables": []}}], 4400),
    "an id in use": ([..., {**ASK, "payload": {"query": POKE}}, ASK], 4409),
    "too long": (['{"type":"ping","payload":{"x":"' + "x" * 4_000_000 + '"}}'], 1009),
}
"""What is sent, `...` standing for a good beginning, and with which code the connection closes."""


async def test_what_is_against_the_protocol_closes_with_its_code(office_on_file: Office) -> None:
    office = office_on_file
    token = await office.token("MANAGER")
    closed = {}
    for name, (messages, _) in ABUSE.items():
        async with line(office.served) as socket:
            for message in messages:
                if message is ...:
                    await socket.begin(token)
                else:
                    with suppress(ConnectionClosed):  # a frame that is too long is not waited for
                        await socket.send(message)
            closed[name] = (await socket.end())[0]
    assert closed == {name: code for name, (_, code) in ABUSE.items()}
    async with line(office.served, token) as socket:
        await socket.raw.send(b'{"type": "\xff"}', text=True)
        assert (await socket.end())[0] == 1007
    await office.quiet()


@pytest.fixture
async def office_on_file(file_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(file_url, tmp_path) as office:
        yield office


@pytest.mark.parametrize("protocols", [(), ("graphql-ws",), ("soap",)])
async def test_no_other_protocol_is_spoken(office_on_file: Office, protocols: tuple[str, ...]) -> None:
    async with line(office_on_file.served, protocols=protocols) as socket:
        assert (await socket.end())[0] == 4406
    async with line(office_on_file.served, protocols=("graphql-ws", "graphql-transport-ws")) as socket:
        assert socket.raw.subprotocol == "graphql-transport-ws"


async def test_who_does_not_begin_is_sent_away(small: Office) -> None:
    async with line(small.served) as socket:
        await socket.send({"type": "ping"})
        assert await socket.hear() == {"type": "pong"}
        assert (await socket.end())[0] == 4408
    await small.quiet()


async def test_pages_of_other_sites_open_no_socket(small: Office) -> None:
    for foreign in ("https://evil.example.com", "null", "http://[", "https://crm.example.com.evil.net", ""):
        with pytest.raises(InvalidStatus) as refused:
            async with line(small.served, origin=foreign):
                pass
        assert refused.value.response.status_code == 403
    for welcome in ("https://crm.example.com", f"http://127.0.0.1:{small.served.port}"):
        async with line(small.served, await small.token("REP"), origin=welcome) as socket:
            await socket.send({"type": "ping"})
            assert await socket.hear() == {"type": "pong"}
    await small.quiet()


BAD_DOCUMENTS = {
    "": "BAD_REQUEST",
    "{": "BAD_REQUEST",
    "{ nothing }": "BAD_REQUEST",
    "subscription { nothing }": "BAD_REQUEST",
    "subscription { a: syncPoke { clock } b: syncPoke { clock } }": "BAD_REQUEST",
    "subscription { __typename }": "BAD_REQUEST",
    "query A { __typename } query B { __typename }": "BAD_REQUEST",
    "{" + " ".join(f"a{n}: __typename" for n in range(11)) + "}": "QUERY_TOO_COSTLY",
}


async def test_a_bad_document_is_told_and_the_connection_goes_on(office_on_file: Office) -> None:
    office = office_on_file
    token = await office.token("MANAGER")
    async with line(office.served, token) as socket:
        for document, code in BAD_DOCUMENTS.items():
            await socket.subscribe("a", document)
            heard = await socket.hear()
            assert (heard["type"], heard["id"]) == ("error", "a"), document
            assert heard["payload"][0]["extensions"]["code"] == code, document
        await socket.subscribe("a", "{ __typename }")
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}
    for document, code in BAD_DOCUMENTS.items():
        if document:
            async with events(office.served, document, token) as stream:
                name, data = await stream.event()
                assert (name, set(data)) == ("next", {"errors"}), document
                assert data["errors"][0]["extensions"]["code"] == code, document
                assert await stream.event() == ("complete", None)


async def test_who_tries_to_sign_in_is_counted_under_his_address_by_every_transport(
    file_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever has one account would guess the passwords of all others over a websocket."""
    tried: list[str] = []

    async def sign_in(_: Sessions, email: str, password: str, device: object, *, address: str = "") -> None:
        tried.append(address)
        raise Refused(Problem(Code.UNAUTHENTICATED))

    monkeypatch.setattr(Sessions, "sign_in", sign_in)
    given = {"email": "a@b.example", "password": "x", "device": {"id": new_id(), "name": "x", "platform": "WEB"}}
    async with open_office(file_url, tmp_path, trusted_proxies="127.0.0.1") as office:
        token = await office.token("REP")
        head = {"X-Forwarded-For": "203.0.113.9"}
        await office.served.ask(SIGN_IN, given, **head)
        body = {"query": SIGN_IN, "variables": given}
        await office.served.client.post("/graphql/stream", json=body, headers=head)
        async with line(office.served, token, headers=head) as socket:
            await socket.subscribe("a", SIGN_IN, **given)
            heard = await socket.hear()
            assert heard["payload"]["data"]["signIn"]["problems"][0]["code"] == "UNAUTHENTICATED"
    assert tried == ["203.0.113.9"] * 3


async def test_every_transport_gives_the_same_answer(office: Office) -> None:
    await office.write()
    token = await office.token("MANAGER")
    pull = "{ syncPull { clock complete blocks { scope collection left rows { seq digest document } } } }"
    by_request = await office.served.ask(pull, token=token)
    assert by_request["data"]["syncPull"]["blocks"]
    async with events(office.served, pull, token) as stream:
        assert stream.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.answer.headers["cache-control"] == "no-store"
        assert await stream.event() == ("next", by_request)
        assert await stream.event() == ("complete", None)
        assert await stream.block() == []
    async with line(office.served, token) as socket:
        for _ in range(2):  # an id that is complete may be used again
            await socket.subscribe("a", pull)
            assert await socket.hear() == {"type": "next", "id": "a", "payload": by_request}
            assert await socket.hear() == {"type": "complete", "id": "a"}
        await socket.subscribe("b", PUSH, mutations=[])
        pushed: JsonObject = (await socket.hear())["payload"]["data"]["syncPush"]
        assert pushed["results"] == []


async def test_a_stream_is_asked_for_as_its_path_wants(office_on_file: Office) -> None:
    office = office_on_file
    token = {"authorization": f"Bearer {await office.token('MANAGER')}"}
    client = office.served.client
    async with client.stream("GET", "/graphql/stream", params={"query": POKE}, headers=token) as answer:
        assert await Events(answer).clock() >= 0
    wrong = {
        405: client.get("/graphql/stream", params={"query": "mutation { __typename }"}, headers=token),
        406: client.post("/graphql/stream", json={"query": POKE}, headers={**token, "accept": "application/json"}),
        415: client.post("/graphql/stream", content=b"{}", headers=token),
        400: client.post("/graphql/stream", json=[], headers=token),
    }
    assert {status: (await answer).status_code for status, answer in wrong.items()} == {s: s for s in wrong}
    elsewhere = await office.served.ask(POKE, token=token["authorization"].removeprefix("Bearer "))
    assert elsewhere["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    await office.quiet()


async def test_a_server_that_stops_breaks_its_streams_off(file_url: str, tmp_path: Path) -> None:
    """Without a `complete`, which would tell clients that there is nothing to come back for."""
    engine = open_engine(file_url)
    await engine.start()
    async with engine.write() as conn:
        await factories.user(conn, email="min@example.com", password_hash=PASSWORD_HASH)
    await engine.close()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with serving(tmp_path, port, database_url=file_url, log_level="WARNING") as process:
        await asyncio.to_thread(until_live, address, process)
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as client:
            served = Served(Starlette(), port, client)
            device = {"id": new_id(), "name": "a phone", "platform": "IOS"}
            given = {"email": "min@example.com", "password": PASSWORD, "device": device}
            token = (await served.ask(SIGN_IN, given))["data"]["signIn"]["accessToken"]
            async with line(served, token) as socket, events(served, POKE, token) as stream:
                await socket.subscribe("p", POKE)
                assert await socket.clock() == await stream.clock()
                process.send_signal(signal.SIGTERM)
                assert await stream.block() == []
                with pytest.raises(ConnectionClosed):
                    await socket.hear()
                assert socket.raw.close_code == 1012
        _, complained = await asyncio.to_thread(process.communicate, timeout=PATIENCE_SECONDS)
    assert (process.returncode, complained) == (-signal.SIGTERM, "")
