"""A faulty link between devices and servers: HTTP over TCP on 127.0.0.1, one request per connection.

It loses, doubles, replays, cuts and delays by the fault plan, and may squeeze everything through a slow link whose
time runs faster than ours (`LinkProfile.scale`) while its bytes stay true.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.faults import DELAY_SECONDS_MAX, REPLAY_AFTER_REQUESTS, Fault, FaultPlan

HEAD_BYTES_MAX = 64_000
PIECE_BYTES = 1_400
"""What one packet carries."""
UPSTREAM_SECONDS_MAX = 60
NAME_HEADER = b"x-chaos-name:"
RESEND_SECONDS_MIN = 1.0
"""How long a sender waits before it takes a packet for lost (RFC 6298), in the link's own time."""


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """A link: `scale` of its seconds pass in one of ours."""

    kbit_s: float
    round_trip_ms: float
    loss: float
    scale: float = 1.0

    def seconds(self, size: int, dice: random.Random) -> float:
        """The link's own time to carry `size` bytes one way once they are sent, lost packets sent again."""
        packets = max(1, -(-size // PIECE_BYTES))
        resent = sum(dice.random() < self.loss for _ in range(packets))
        wait = max(RESEND_SECONDS_MIN, self.round_trip_ms / 1_000)
        # packets lost together are asked for together: a lost one costs its time again and a part of the wait
        return (size + resent * PIECE_BYTES) * 8 / (self.kbit_s * 1_000) + wait * (resent > 0) * (1 + resent / packets)


TWO_G = LinkProfile(kbit_s=50, round_trip_ms=800, loss=0.05, scale=20)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as a server answered it, whether or not anybody heard the answer."""

    request: bytes
    answer: bytes
    asked_at: float
    answered_at: float


@dataclass
class Proxy:
    """`targets` are ports of servers; `observe` is told of every complete answer."""

    targets: Sequence[int]
    plan: FaultPlan
    link: LinkProfile | None = None
    observe: Callable[[Exchange], None] | None = None
    port: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    link_seconds: float = 0.0
    """Time that passed on the slow link, in its own seconds."""
    requests: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    answered_by: int = 0
    """the port of the server whose answer came last"""
    _server: asyncio.Server | None = None
    _late: list[tuple[int, bytes]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def quiet(self) -> None:
        """Send what was kept for a late replay, and wait until nothing is on its way."""
        late, self._late = self._late, []
        for _, raw in late:
            self._in_background(self._replay(raw))
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._tasks.add(serving)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await self._handle(reader, writer)
        finally:
            self._tasks.discard(serving)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = await read_request(reader)
        name = name_of(raw)
        self.requests += 1
        fault, dice = self.plan.draw(name)
        self.fates[fault.value] += 1
        self._replay_what_is_due()
        await self._carry(len(raw), dice)
        self.bytes_up += len(raw)
        if fault is Fault.DROP_BEFORE:
            return _reset(writer)
        if fault is Fault.DELAY:
            await asyncio.sleep(dice.random() * DELAY_SECONDS_MAX)
        if fault is Fault.CUT_REQUEST:
            await self._cut_request(raw, dice)
            return _reset(writer)
        if fault is Fault.LATE_REPLAY:
            self._late.append((self.requests + dice.randint(*REPLAY_AFTER_REQUESTS), raw))
        if fault is Fault.TWICE:
            await self._ask(raw, dice.choice(self.targets))
        if fault is Fault.TWICE_AT_ONCE:
            first, second = dice.sample(self.targets, 2) if len(self.targets) > 1 else [*self.targets] * 2
            answer, _ = await asyncio.gather(self._ask(raw, first), self._ask(raw, second))
        elif self.link is not None:
            return await self._stream(raw, dice, writer, cut=fault is Fault.CUT_ANSWER)
        else:
            answer = await self._ask(raw, dice.choice(self.targets))
        if answer is None or fault is Fault.DROP_AFTER:
            return _reset(writer)
        if fault is Fault.CUT_ANSWER:
            answer = answer[: dice.randrange(len(answer))]
        self.bytes_down += len(answer)
        writer.write(answer)
        await writer.drain()
        if fault is Fault.CUT_ANSWER:
            _reset(writer)
        return None

    async def _stream(self, raw: bytes, dice: random.Random, writer: asyncio.StreamWriter, *, cut: bool) -> None:
        """The answer piece by piece over the slow link; a cut one ends anywhere."""
        assert self.link is not None
        reader, upstream = await self._open(dice.choice(self.targets))
        try:
            upstream.write(raw)
            left = dice.randrange(200, 40_000) if cut else None
            while piece := await reader.read(PIECE_BYTES * 4):
                await self._carry(len(piece), dice, turn=False)
                if left is not None and left <= len(piece):
                    self.bytes_down += left
                    writer.write(piece[:left])
                    await writer.drain()
                    return _reset(writer)
                left = None if left is None else left - len(piece)
                self.bytes_down += len(piece)
                writer.write(piece)
                await writer.drain()
        finally:
            upstream.close()

    async def _carry(self, size: int, dice: random.Random, *, turn: bool = True) -> None:
        """Let the link's time pass for these bytes; a `turn` costs the round trip besides."""
        if self.link is None:
            return
        seconds = self.link.seconds(size, dice) + (self.link.round_trip_ms / 1_000 if turn else 0)
        self.link_seconds += seconds
        await asyncio.sleep(seconds / self.link.scale)

    async def _open(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to this server; to another one where nobody listens at its port."""
        for target in (port, *self.targets):
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", target)
        raise ConnectionRefusedError

    async def _ask(self, raw: bytes, port: int) -> bytes | None:
        """The whole answer, or None when no server is there or the one asked died over it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(UPSTREAM_SECONDS_MAX):
                reader, writer = await self._open(port)
                try:
                    writer.write(raw)
                    answer = await reader.read(-1)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return None
        if not whole(answer):
            return None
        self.answered_by = port
        if self.observe is not None:
            self.observe(Exchange(raw, answer, began, loop.time()))
        return answer

    async def _cut_request(self, raw: bytes, dice: random.Random) -> None:
        with suppress(OSError):
            _, writer = await self._open(dice.choice(self.targets))
            writer.write(raw[: dice.randrange(1, len(raw))])
            with suppress(OSError):
                await writer.drain()
            _reset(writer)

    def _replay_what_is_due(self) -> None:
        due = [raw for at, raw in self._late if at <= self.requests]
        self._late = [(at, raw) for at, raw in self._late if at > self.requests]
        for raw in due:
            self._in_background(self._replay(raw))

    async def _replay(self, raw: bytes) -> None:
        self.fates["REPLAYED_LATE"] += 1
        await self._ask(raw, self.targets[self.requests % len(self.targets)])


def _reset(writer: asyncio.StreamWriter) -> None:
    """No polite goodbye: what the other side has not read yet is gone."""
    transport = writer.transport
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request with its body, by Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = content_length(head) or 0
    return head + await reader.readexactly(size)


def content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


def name_of(raw: bytes) -> str:
    """What the sender calls this attempt."""
    for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        if line.lower().startswith(NAME_HEADER):
            return line.partition(b":")[2].strip().decode()
    return ""


def whole(answer: bytes) -> bool:
    """True when the answer came to its end."""
    head, parted, body = answer.partition(b"\r\n\r\n")
    if not parted:
        return False
    size = content_length(head)
    return len(body) >= size if size is not None else body.endswith(b"0\r\n\r\n")


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer, its chunks put together."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        if (length := int(size.partition(b";")[0], 16)) == 0:
            break
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)


async def send(port: int, raw: bytes) -> bytes | None:
    """One request over a connection of its own; the whole answer, or None when it never came."""
    try:
        async with asyncio.timeout(UPSTREAM_SECONDS_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(raw)
                answer = await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    return answer if whole(answer) else None


def request_bytes(
    path: str, body: bytes | None, *, token: str | None = None, name: str = "", accept: str = "identity"
) -> bytes:
    """A GET, or a POST of JSON, on a connection that ends with its answer."""
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"Accept-Encoding: {accept}", f"X-Chaos-Name: {name}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


@dataclass
class Totals:
    """What a run of proxies carried."""

    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    fates: Counter[str] = field(default_factory=Counter)

    def add(self, proxy: Proxy) -> None:
        self.requests += proxy.requests
        self.bytes_up += proxy.bytes_up
        self.bytes_down += proxy.bytes_down
        self.fates.update(proxy.fates)
