"""The one who asks: a process of its own, over plain sockets, told by lines of JSON what to ask and for how long.

`python -m tests.benchmarks.load COMPANY` reads one job a line and answers with one line. Connections are kept alive
within a job, one request at a time on each. What it costs itself is part of every answer.
"""

import asyncio
import base64
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop

from backend.sync.versions import SCHEMA_VERSION
from tests.benchmarks.company import Company
from tests.benchmarks.questions import OURS, PUSH_CHANGES, Device, bodies, body, canonical, pushes

Json = dict[str, Any]
LINE_MAX = 64_000_000
READ_SECONDS_MAX = 120
POKE = "subscription { syncPoke { clock } }"


class Connection:
    """HTTP/1.1 on one socket, as little of it as these servers speak."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> "Connection":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=4_000_000)
        return self

    def close(self) -> None:
        self.writer.close()

    async def ask(self, request: bytes, *, keep: bool = True) -> tuple[int, bytes, int]:
        """(status, body, bytes of the body on the wire); without `keep` the body is thrown away."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, lowered = int(head[9:12]), head.lower()
        if b"transfer-encoding: chunked" in lowered:
            return status, *await self._chunks(keep)
        at = lowered.index(b"content-length: ") + 16
        size = int(lowered[at : lowered.index(b"\r\n", at)])
        return status, await self.reader.readexactly(size), size

    async def _chunks(self, keep: bool) -> tuple[bytes, int]:
        parts, total = [], 0
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            part = await self.reader.readexactly(size + 2)
            total += size
            if size == 0:
                return b"".join(parts), total
            if keep:
                parts.append(part[:-2])


def request(method: str, path: str, headers: dict[str, str], content: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def post(content: bytes, token: str | None) -> bytes:
    return request("POST", "/graphql", {"Authorization": f"Bearer {token}"} if token else {}, content)


@dataclass
class Asking:
    """One connection's part of a job: what it sends next, and what it does with the answer."""

    next: Callable[[], bytes]
    take: Callable[[bytes], None]
    keep: bool = True
    taken_ms: list[float] = field(default_factory=list)
    bytes_wire: int = 0


class Asker:
    """Holds what outlives a job: the devices that push, and how far they are."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.devices: dict[tuple[str, int], Device] = {}
        self.pushing: dict[tuple[str, int], Iterator[bytes]] = {}
        self.marks = (f"step {n}" for n in itertools.count(1))

    async def do(self, job: Json) -> Json:
        kind = job["do"]
        if kind == "load":
            return await self.load(job)
        if kind == "once":
            return await self.once(job)
        if kind == "pokes":
            return await self.pokes(job)
        raise SystemExit(f"unknown job {kind}")

    def asking(self, job: Json, number: int) -> Asking:
        side, name, tokens = job["side"], job["name"], job.get("tokens") or [None]
        token = tokens[number % len(tokens)]
        if name == "q5":
            return self._pushing(job, number, token)
        if "bodies" in job:
            told = [post(one.encode(), token) for one in job["bodies"]]
        elif side == OURS and name == "q4":
            path = f"/sync/bulk?schemaVersion={SCHEMA_VERSION}"
            encoding = job.get("encoding", "identity")
            told = [request("GET", path, {"Authorization": f"Bearer {token}", "Accept-Encoding": encoding})]
        else:
            told = [post(one, token) for one in bodies(side, name, self.company, cursor=job.get("cursor", ""))]
        turn = itertools.cycle(told[number % len(told) :] + told[: number % len(told)])
        return Asking(lambda: next(turn), _no_errors, keep=name != "q4")

    def _pushing(self, job: Json, number: int, token: str | None, *, changes: int = PUSH_CHANGES) -> Asking:
        key = (job["server"], number)
        visits = self.company.visits_second[number * PUSH_CHANGES : (number + 1) * PUSH_CHANGES]
        if job["side"] == OURS:
            if key not in self.devices:
                revs = {one: job["revs"][one] for one in visits}
                self.devices[key] = Device(visits, revs, self.marks, job["client_seqs"][number])
            device = self.devices[key]
            return Asking(lambda: post(device.next(changes), token), device.take)
        if key not in self.pushing:
            self.pushing[key] = pushes(job["side"], visits, self.marks, whole=bool(job.get("whole")))
        made = self.pushing[key]
        return Asking(lambda: post(next(made), token), _no_errors)

    async def load(self, job: Json) -> Json:
        """Ask on so many connections for so long; at least once on each."""
        asking = [self.asking(job, number) for number in range(job["clients"])]
        connections = [await Connection(job["port"]).open() for _ in asking]
        worked, began = time.process_time(), time.perf_counter()
        until = began + job["seconds"]
        await asyncio.gather(*(_run(one, conn, until) for one, conn in zip(asking, connections, strict=True)))
        elapsed, worked = time.perf_counter() - began, time.process_time() - worked
        for conn in connections:
            conn.close()
        taken = sorted(one for part in asking for one in part.taken_ms)
        return {
            "requests": len(taken),
            "seconds": elapsed,
            "median_ms": statistics.median(taken),
            "p95_ms": taken[int(len(taken) * 0.95)],
            "asker_ms": 1_000 * worked / len(taken),
            "bytes": sum(one.bytes_wire for one in asking) // len(taken),
        }

    async def once(self, job: Json) -> Json:
        """One request; its answer in the one form that all must share, in a file."""
        one = self.asking(job, 0)
        conn = await Connection(job["port"]).open()
        status, answer, size = await asyncio.wait_for(conn.ask(one.next()), READ_SECONDS_MAX)
        conn.close()
        if status != 200:
            return {"status": status, "said": answer[:400].decode(errors="replace")}
        one.take(answer)
        form = canonical(job["side"], job["name"], answer) if job.get("canonical") else answer
        Path(job["into"]).write_bytes(form)  # noqa: ASYNC240 - nothing else is asked meanwhile
        return {"status": status, "bytes": size}

    async def pokes(self, job: Json) -> Json:
        """Open so many subscriptions; then, push by push, when each was told. Ours only."""
        token, port, heard = job["tokens"][0], job["port"], _Heard(job["subscribers"])
        open_one = _follow_socket if job["by"] == "graphql-transport-ws" else _follow_events
        opened = []
        for start in range(0, job["subscribers"], 50):
            count = min(50, job["subscribers"] - start)
            opened += await asyncio.gather(*(open_one(port, token, heard) for _ in range(count)))
        await asyncio.wait_for(heard.everybody(), READ_SECONDS_MAX)
        memory_kb = _memory_kb(job["pid"])
        pushing = self._pushing({**job, "side": OURS, "server": job["server"]}, 0, job["pushing"], changes=1)
        conn = await Connection(port).open()
        taken = []
        for _ in range(job["times"]):
            heard.again()
            # from the sending of a push of one change: pokes may overtake its answer
            began = time.perf_counter()
            status, answer, _ = await conn.ask(pushing.next())
            assert status == 200, answer[:300]
            pushing.take(answer)
            await asyncio.wait_for(heard.everybody(), READ_SECONDS_MAX)
            taken.append([1_000 * (at - began) for at in heard.at])
            # pokes of one moment are gathered into one: what comes next begins after that
            await asyncio.sleep(0.2)
        conn.close()
        for task, writer in opened:
            task.cancel()
            writer.close()
        return {
            "median_ms": statistics.median(statistics.median(one) for one in taken),
            "last_ms": statistics.median(max(one) for one in taken),
            "memory_kb": memory_kb,
        }


class _Heard:
    """When each subscriber was told last."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.again()

    def again(self) -> None:
        self.at: list[float] = []
        self._all = asyncio.Event()

    def tell(self) -> None:
        self.at.append(time.perf_counter())
        if len(self.at) == self.count:
            self._all.set()

    async def everybody(self) -> None:
        await self._all.wait()


def _memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


Opened = tuple["asyncio.Task[None]", asyncio.StreamWriter]


async def _follow_events(port: int, token: str, heard: _Heard) -> Opened:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    writer.write(request("POST", "/graphql/stream", headers, body(POKE)))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head, head

    async def listen() -> None:
        while line := await reader.readline():
            if line.startswith(b"data:") and b"clock" in line:
                heard.tell()

    return asyncio.ensure_future(listen()), writer


async def _follow_socket(port: int, token: str, heard: _Heard) -> Opened:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key,
               "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "graphql-transport-ws"}  # fmt: skip
    writer.write(request("GET", "/graphql", headers))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head, head
    _send_frame(writer, {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
    assert b"connection_ack" in await _read_frame(reader)
    _send_frame(writer, {"type": "subscribe", "id": "1", "payload": {"query": POKE}})

    async def listen() -> None:
        while True:
            if b"clock" in await _read_frame(reader):
                heard.tell()

    return asyncio.ensure_future(listen()), writer


def _send_frame(writer: asyncio.StreamWriter, message: Json) -> None:
    payload, mask = orjson.dumps(message), os.urandom(4)
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    writer.write(b"\x81" + size + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)))


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    size = (await reader.readexactly(2))[1] & 0x7F
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(size)


async def _run(one: Asking, conn: Connection, until: float) -> None:
    while True:
        began = time.perf_counter()
        status, answer, size = await asyncio.wait_for(conn.ask(one.next(), keep=one.keep), READ_SECONDS_MAX)
        ended = time.perf_counter()
        one.taken_ms.append(1_000 * (ended - began))
        one.bytes_wire += size
        if status != 200:
            raise RuntimeError(f"status {status}: {answer[:300].decode(errors='replace')}")
        one.take(answer)
        if ended >= until:
            return


def _no_errors(answer: bytes) -> None:
    if b'"errors"' in answer[:200] or b'"errors"' in answer[-600:]:
        raise RuntimeError(answer[:600].decode(errors="replace"))


async def main(company: Company) -> None:
    asker = Asker(company)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            told = await asker.do(orjson.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the one's to know who gave the job
            told = {"failed": f"{type(error).__name__}: {error}"}
        sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main(Company.load(Path(sys.argv[1]))))
