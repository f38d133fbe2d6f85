"""Whoever takes nothing of an ordinary answer is dropped, and what was held for him is given back."""

import asyncio
import json
import socket
from collections.abc import Callable
from math import inf

import pytest
from graphql import get_introspection_query

from backend.admission import CONNECTION_BYTES, Untaken
from backend.config import Settings
from backend.telemetry import metric_value
from tests.hardness.test_raw import lives, request
from tests.servers import Served, serve

PATIENCE_SECONDS = 90
ANSWERS = 40
"""So many answers in one breath are more than any buffer between the two holds."""
BODY = json.dumps({"query": get_introspection_query()}).encode()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


async def mute(served: Served) -> socket.socket:
    """A reader with hardly any room, who asks for much and takes nothing."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    reader.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(reader, ("127.0.0.1", served.port))
    asked = request(served, BODY).replace(b"Connection: close\r\n", b"")
    await loop.sock_sendall(reader, asked * ANSWERS)
    return reader


async def test_who_takes_nothing_of_an_answer_is_dropped_and_others_are_served(
    server_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what the system itself does about such a reader is another test's
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    async with serve(server_settings.model_copy(update={"stream_send_seconds_max": 1})) as served:
        whole = len((await served.client.post("/graphql", json={"query": get_introspection_query()})).content)
        dropped = metric_value("selvedge_readers_dropped_total")
        reader = await mute(served)
        try:
            await until(lambda: metric_value("selvedge_readers_dropped_total") == dropped + 1)
            admission = served.services.admission
            assert (admission.bodies.held, admission.places.working, admission.places.waiting) == (0, 0, 0)
            await lives(served)
            assert await taken(reader) < whole * ANSWERS
        finally:
            reader.close()
        await lives(served)


async def test_of_answers_nobody_takes_the_longest_waiting_is_given_up_when_they_are_too_much(
    server_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)
    async with serve(server_settings) as served:
        whole = len((await served.client.post("/graphql", json={"query": get_introspection_query()})).content)
    each = whole + CONNECTION_BYTES
    narrow = {"stream_send_seconds_max": 600, "answers_bytes_max": each * 2}
    async with serve(server_settings.model_copy(update=narrow)) as served:
        untaken, dropped = served.services.admission.untaken, metric_value("selvedge_readers_dropped_total")
        readers: list[socket.socket] = []
        try:
            for count in (1, 2):
                readers.append(await mute(served))
                await until(lambda count=count: untaken.held == count * each)  # type: ignore[misc]
            assert metric_value("selvedge_readers_dropped_total") == dropped
            readers.append(await mute(served))
            await until(lambda: metric_value("selvedge_readers_dropped_total") == dropped + 1)
            await until(lambda: untaken.held == 2 * each)
            assert await taken(readers[0]) < whole * ANSWERS
            assert await taken(readers[2], whole) >= whole, "who came last waits as before"
            await lives(served)
        finally:
            for reader in readers:
                reader.close()
        await until(lambda: untaken.held == 0)


async def test_who_waits_again_and_again_is_not_given_up_for_who_waits_on() -> None:
    untaken, ended = Untaken(100), list[str]()

    async def wait(name: str, held: int, over: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(600) as limit:
                with untaken.waiting(limit, held):
                    await over.wait()
        except TimeoutError:
            ended.append(name)

    still, bit, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    tasks = [asyncio.ensure_future(wait("taker", 50, bit))]
    await asyncio.sleep(0)
    tasks.append(asyncio.ensure_future(wait("still", 40, still)))
    await asyncio.sleep(0)
    bit.set()
    await tasks[0]
    tasks.append(asyncio.ensure_future(wait("taker", 50, over)))
    await asyncio.sleep(0)
    tasks.append(asyncio.ensure_future(wait("new", 30, over)))
    await asyncio.wait({tasks[1]})
    assert (ended, untaken.held) == (["still"], 80)
    tasks.append(asyncio.ensure_future(wait("alone too large", 500, over)))
    await asyncio.wait({tasks[2], tasks[3]})
    assert (ended, untaken.held) == (["still", "taker", "new"], 500)
    over.set()
    await asyncio.gather(*tasks)
    assert untaken.held == 0


async def taken(reader: socket.socket, most: float = inf) -> int:
    """The bytes still to be had until the connection ends, or so many."""
    found = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            while found < most and (part := await asyncio.get_running_loop().sock_recv(reader, 65_536)):
                found += len(part)
        except ConnectionError:
            pass
    return found


async def test_who_takes_his_answer_bit_by_bit_gets_all_of_it(server_settings: Settings) -> None:
    async with serve(server_settings.model_copy(update={"stream_send_seconds_max": 1})) as served:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(reader, ("127.0.0.1", served.port))
        await loop.sock_sendall(reader, request(served, BODY))
        found = bytearray()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while part := await loop.sock_recv(reader, 1_024):
                found += part
        reader.close()
        whole = await served.client.post("/graphql", content=BODY, headers={"content-type": "application/json"})
        assert bytes(found).partition(b"\r\n\r\n")[2] == whole.content
