"""Limits on connections that stay open: what is refused there is told in the same words, and closes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from backend.config import Settings
from tests.hardness.test_raw import OK, PATIENCE_SECONDS, lives, request, said, statuses
from tests.schema.conftest import Door
from tests.schema.lines import events, line
from tests.servers import JsonObject, Served, serve

ASKED = "{ __typename }"
DEEP = "{ a" + " { a" * 60 + " }" * 61
OVER: dict[str, tuple[str, str]] = {
    "tokens": ("{ " + "__typename " * 5_000 + "}", "tokens"),
    "characters": ("{ __typename } #" + "x" * 100_000, "characters"),
    "aliases": ("{ " + " ".join(f"a{n}: __typename" for n in range(300)) + " }", "aliases"),
    "nesting": (DEEP, "nesting"),
    "operations": (" ".join(f"query Q{n} {{ __typename }}" for n in range(200)), "definitions"),
}


def problems_of(error: JsonObject) -> list[tuple[str, Any]]:
    extensions = error["extensions"]
    return [(problem["code"], problem["params"].get("measure")) for problem in extensions["problems"]]


@pytest.fixture
async def token(door: Door) -> str:
    return str((await door.sign_in())["accessToken"])


async def test_a_document_over_a_limit_is_refused_on_every_connection_and_the_next_is_answered(
    door: Door, token: str
) -> None:
    async with line(door.served, token) as socket:
        for name, (text, measure) in OVER.items():
            await socket.subscribe(name, text)
            heard = await socket.hear()
            assert (heard["type"], heard["id"]) == ("error", name)
            assert ("QUERY_TOO_COSTLY", measure) in problems_of(heard["payload"][0]), heard
            async with events(door.served, text, token) as stream:
                event, told = await stream.event()
                assert event == "next"
                assert ("QUERY_TOO_COSTLY", measure) in problems_of(told["errors"][0]), told
                assert (await stream.event())[0] == "complete"
        await socket.subscribe("last", ASKED)
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}


@asynccontextmanager
async def narrow(door: Door, settings: Settings, **changed: int) -> AsyncIterator[Served]:
    async with serve(settings.model_copy(update=changed), clock=door.clock) as served:
        yield served


async def test_who_asks_too_often_over_a_connection_is_told_when_to_come_again(
    door: Door, token: str, server_settings: Settings
) -> None:
    async with narrow(door, server_settings, device_requests_per_minute=2) as served, line(served, token) as socket:
        for number in range(4):
            await socket.subscribe(str(number), ASKED)
            heard = await socket.hear()
            if number < 2:
                assert heard["payload"] == {"data": {"__typename": "Query"}}
                assert (await socket.hear())["type"] == "complete"
                continue
            assert heard["type"] == "error"
            extensions = heard["payload"][0]["extensions"]
            assert extensions["code"] == "RATE_LIMITED"
            assert extensions["problems"][0]["params"] == {"limit": 2, "retryAfterSeconds": 30}
        async with events(served, ASKED, token) as stream:
            await stream.answer.aread()
            assert (stream.answer.status_code, stream.answer.headers["retry-after"]) == (429, "30")
            assert stream.answer.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        door.clock.now_ms += 30_000
        await socket.subscribe("later", ASKED)
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_one_too_many_over_a_connection_is_told_that_the_server_is_busy(
    door: Door, token: str, server_settings: Settings
) -> None:
    full = {"requests_working_max": 1, "requests_waiting_max": 0}
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(narrow(door, server_settings, **full))
        socket = await stack.enter_async_context(line(served, token))
        async with served.services.admission.places.place():
            await socket.subscribe("a", ASKED)
            heard = await socket.hear()
            assert heard["type"] == "error"
            assert heard["payload"][0]["extensions"]["code"] == "BUSY"
            async with events(served, ASKED, token) as stream:
                await stream.answer.aread()
                assert stream.answer.status_code == 503
                assert int(stream.answer.headers["retry-after"]) > 0
                assert stream.answer.json()["errors"][0]["extensions"]["code"] == "BUSY"
            plain = await served.post({"query": ASKED})
            assert (plain.status_code, plain.json()["errors"][0]["extensions"]["code"]) == (503, "BUSY")
            assert int(plain.headers["retry-after"]) > 0
        await socket.subscribe("a", ASKED)
        assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_an_address_that_asks_too_often_gets_no_connection_and_is_told_when(
    server_settings: Settings,
) -> None:
    named = {"address_requests_per_minute": 1, "trusted_proxies": ("127.0.0.1",)}
    async with serve(server_settings.model_copy(update=named)) as served:
        upgrade = {
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-protocol": "graphql-transport-ws",
            "x-forwarded-for": "203.0.113.7",
        }
        assert (await served.post({"query": ASKED}, x_forwarded_for="203.0.113.7")).status_code == 200
        refused = await served.client.get("/graphql", headers=upgrade)
        assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (429, "RATE_LIMITED")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        streamed = await served.client.get(
            "/graphql/stream", params={"query": ASKED}, headers={"x-forwarded-for": "203.0.113.7"}
        )
        assert (streamed.status_code, "retry-after" in streamed.headers) == (429, True)


async def test_one_connection_too_many_is_told_so_and_others_are_served(server_settings: Settings) -> None:
    async with serve(server_settings.model_copy(update={"connections_max": 3})) as served:
        await lives(served)
        open_ones = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        try:
            answer = await said(served, b"")
            assert statuses(answer) == [503]
            assert b"retry-after: 5\r\n" in answer
            await lives(served)
        finally:
            for _reader, writer in open_ones:
                writer.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(served.connections) > 1:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        assert statuses(await said(served, request(served, OK))) == [200]


async def test_what_is_larger_than_a_message_may_be_ends_its_websocket_and_what_is_held_of_others_is_bounded(
    door: Door, token: str, server_settings: Settings
) -> None:
    small = {"socket_message_bytes_max": 40_000, "bodies_bytes_max": 30_000}
    async with narrow(door, server_settings, **small) as served:
        bodies = served.services.admission.bodies
        async with line(served, token) as socket, line(served, token) as other:
            await socket.subscribe("held", "subscription { syncPoke { clock } } #" + "x" * 25_000)
            assert (await socket.hear())["type"] == "next"
            assert bodies.held > 25_000
            await other.subscribe("more", ASKED + " #" + "x" * 25_000)
            refused = await other.hear()
            assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "BUSY")
            await other.subscribe("small", ASKED)
            assert (await other.hear())["payload"] == {"data": {"__typename": "Query"}}
            assert (await other.hear())["type"] == "complete"
            await other.subscribe("large", ASKED + " #" + "x" * 41_000)
            assert (await other.end())[0] == 1009
        async with asyncio.timeout(PATIENCE_SECONDS):
            while bodies.held:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
