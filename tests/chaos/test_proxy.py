"""The faulty proxy itself: each fault does what its name says, and the slow link counts true bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.chaos.faults import ONLINE, Fault, FaultPlan
from tests.chaos.proxy import TWO_G, LinkProfile, Proxy, body_of, read_request, request_bytes, send

BODY = b'{"said": "something"}'
ANSWER = b"x" * 3_000


@dataclass
class Echo:
    """A server that keeps what it was asked."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    broken: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heard.append(await read_request(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            self.broken += 1
        finally:
            writer.close()


@asynccontextmanager
async def line(fault: Fault, link: LinkProfile | None = None) -> AsyncIterator[tuple[Echo, Proxy]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    try:
        async with Proxy([echo.port], FaultPlan(1, {fault: 1}), link) as proxy:
            yield echo, proxy
    finally:
        server.close()


@pytest.mark.parametrize(
    ("fault", "answered", "heard"),
    [
        (Fault.NONE, True, 1),
        (Fault.DELAY, True, 1),
        (Fault.DROP_BEFORE, False, 0),
        (Fault.DROP_AFTER, False, 1),
        (Fault.CUT_ANSWER, False, 1),
        (Fault.TWICE, True, 2),
        (Fault.TWICE_AT_ONCE, True, 2),
    ],
)
async def test_a_fault_does_what_its_name_says(fault: Fault, answered: bool, heard: int) -> None:
    async with line(fault) as (echo, proxy):
        answer = await send(proxy.port, request_bytes("/graphql", BODY, name="a/1"))
        assert (answer is not None) == answered
        assert len(echo.heard) == heard
        assert all(raw.endswith(BODY) for raw in echo.heard)
        assert proxy.fates[fault.value] == 1
        if answer is not None:
            assert body_of(answer) == ANSWER


async def test_a_cut_request_reaches_no_server_whole() -> None:
    async with line(Fault.CUT_REQUEST) as (echo, proxy):
        for number in range(5):
            assert await send(proxy.port, request_bytes("/graphql", BODY * 50, name=f"a/{number}")) is None
        await proxy.quiet()
        assert not echo.heard


async def test_a_late_replay_sends_the_same_bytes_again_and_never_what_the_office_does_online() -> None:
    async with line(Fault.LATE_REPLAY) as (echo, proxy):
        assert await send(proxy.port, request_bytes("/graphql", BODY, name="a/1")) is not None
        assert await send(proxy.port, request_bytes("/graphql", b"{}", name=f"a/2{ONLINE}")) is not None
        assert len(echo.heard) == 2
        await proxy.quiet()
        assert echo.heard[2:] == echo.heard[:1]


async def test_a_fault_hangs_on_the_name_of_the_request_and_not_on_the_order() -> None:
    plan, again = FaultPlan(7), FaultPlan(7)
    names = [f"a/{number}" for number in range(200)]
    forward = {name: plan.draw(name)[0] for name in names}
    assert forward == {name: again.draw(name)[0] for name in reversed(names)}
    assert len(set(forward.values())) == len(Fault)
    plan.heal()
    assert {plan.draw(name)[0] for name in names} == {Fault.NONE}


async def test_the_slow_link_takes_its_time_and_counts_the_bytes() -> None:
    link = LinkProfile(kbit_s=50, round_trip_ms=800, loss=0.0, scale=1_000)
    async with line(Fault.NONE, link) as (_, proxy):
        asked = request_bytes("/graphql", BODY, name="a/1")
        answer = await send(proxy.port, asked)
        assert answer is not None
        assert proxy.bytes_up == len(asked)
        assert proxy.bytes_down == len(answer)
        assert proxy.link_seconds == pytest.approx(0.8 + (len(asked) + len(answer)) * 8 / 50_000)


def test_loss_costs_time_and_no_bytes_of_the_sender() -> None:
    whole = LinkProfile(TWO_G.kbit_s, TWO_G.round_trip_ms, 0.0)
    dice = Random(1)
    lossy = sum(TWO_G.seconds(14_000, dice) for _ in range(200)) / 200
    assert 1.05 * whole.seconds(14_000, dice) < lossy < 3 * whole.seconds(14_000, dice)
