"""What a server holds while a company works: `python -m tests.benchmarks.bench_soak PORT PID [minutes] [rate]`.

The server is one process of the demo company on this machine (`SELVEDGE_DEMO=true selvedge serve`). Forty devices of
five people read, pull, push, sign in, and open and close subscriptions by websocket and by server-sent events, `rate`
times a second. Prints what was resident each minute, and how fast it grew in the last half, by least squares. Nothing
is asserted.
"""

import asyncio
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import websockets

from backend.domain.times import instant_text
from backend.ids import new_id
from backend.sync.versions import SCHEMA_VERSION
from tests.benchmarks.questions import OURS_Q1, OURS_Q2

MINUTES, LEAST_MINUTES, RATE = 20.0, 2.0, 7.0
DEVICES, UNDER_WAY_MAX, LOOK_SECONDS = 40, 50, 15
TOKEN_SECONDS = 500
OPERATIONS = Path(__file__).parents[2] / "mobile_contract" / "operations"
PEOPLE = ("wang.wei", "grace.miller", "chen.siyuan", "li.na", "he.jianguo")
PULL, PUSH, POKE, SIGN_IN, SHEET, LIST, TODAY, TASKS = (
    (OPERATIONS / f"{name}.graphql").read_text("utf-8")
    for name in ("syncPull", "syncPush", "syncPoke", "signIn", "customerSheet", "customers", "today", "tasks")
)
SEARCHES = ("海", "wjs", "wang", "1380", "nan")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Device:
    """One phone, and what of it the server would ask about."""

    def __init__(self, http: httpx.AsyncClient, number: int, told: Counter[str]) -> None:
        self.http, self.told = http, told
        self.email = f"{PEOPLE[number % len(PEOPLE)]}@haizhi.example"
        self.id = str(uuid.UUID(int=0x019A7D00_0000_7000_8000_0000000E0000 + number))
        self.token, self.signed_in_at, self.cursor, self.pushed = "", 0.0, None, 0
        self.customers: list[str] = []
        self.tasks: list[str] = []
        self.turn = asyncio.Lock()
        self.draw = random.Random(number)

    async def ask(self, name: str, document: str, **variables: Any) -> Any:
        head = {"authorization": f"Bearer {self.token}"} if self.token else {}
        answer = (
            await self.http.post("/graphql", json={"query": document, "variables": variables}, headers=head)
        ).json()
        self.told[name] += 1
        if answer.get("errors"):
            self.told[f"{name}: {answer['errors'][0]['extensions']['code']}"] += 1
            return None
        return answer["data"]

    async def sign_in(self) -> None:
        self.token = ""
        device = {"id": self.id, "name": "soak", "platform": "PYTHON"}
        told = await self.ask("signIn", SIGN_IN, email=self.email, password="demo", device=device)
        self.token, self.signed_in_at = told["signIn"]["accessToken"], time.monotonic()

    async def pull(self, *, fresh: bool = False) -> None:
        self.cursor = None if fresh else self.cursor
        complete = False
        while not complete:
            variables = {"cursor": self.cursor, "limit": 500, "schemaVersion": SCHEMA_VERSION, "refetch": []}
            page = (await self.ask("pull", PULL, **variables))["syncPull"]
            self.cursor, complete = page["cursor"], page["complete"]
            self.pushed = max(self.pushed, page["ackedMutation"] or 0)
            for block in page["blocks"]:
                if block["collection"] == "customers":
                    self.customers = [*self.customers, *(row["document"]["id"] for row in block["rows"])][-100:]

    async def push(self) -> None:
        mutations = []
        for _ in range(3):
            self.pushed += 1
            change: dict[str, Any] = {"id": new_id(), "set": {"title": f"soak {self.pushed}", "notes": "x" * 100}}
            if self.tasks and self.draw.random() < 0.6:
                change = {"id": self.draw.choice(self.tasks), "baseRev": 0, "set": {"notes": str(self.pushed)}}
            else:
                self.tasks = [*self.tasks, change["id"]][-20:]
            captured = instant_text(int(time.time() * 1_000))
            mutations.append(
                {"id": new_id(), "clientSeq": self.pushed, "capturedAt": captured, "change": {"task": change}}
            )
        told = await self.ask("push", PUSH, mutations=mutations)
        for result in (told or {"syncPush": {"results": []}})["syncPush"]["results"]:
            if result["status"] not in ("APPLIED", "MERGED"):
                self.told[f"push: {result['status']}"] += 1

    async def poke_by_socket(self) -> None:
        self.told["websocket"] += 1
        address = str(self.http.base_url).replace("http", "ws", 1).rstrip("/") + "/graphql"
        async with websockets.connect(address, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]) as socket:
            begin = {"type": "connection_init", "payload": {"Authorization": f"Bearer {self.token}"}}
            await socket.send(orjson.dumps(begin).decode())
            await asyncio.wait_for(socket.recv(), 20)
            asked = {"type": "subscribe", "id": "1", "payload": {"query": POKE}}
            await socket.send(orjson.dumps(asked).decode())
            async with asyncio.timeout(self.draw.uniform(0.5, 6)):
                while True:
                    await socket.recv()

    async def poke_by_stream(self) -> None:
        self.told["stream"] += 1
        head = {"authorization": f"Bearer {self.token}", "accept": "text/event-stream"}
        async with asyncio.timeout(self.draw.uniform(0.5, 6)):
            async with self.http.stream("POST", "/graphql/stream", json={"query": POKE}, headers=head) as stream:
                async for _ in stream.aiter_bytes():
                    pass

    async def act(self, act: Callable[["Device"], Awaitable[Any]], *, held: bool) -> None:
        """One thing at a time, as a phone does, but for what stays open."""
        try:
            async with self.turn:
                if time.monotonic() - self.signed_in_at > TOKEN_SECONDS or not self.token:
                    await self.sign_in()
                if not self.customers:
                    await self.pull()
                if not held:
                    await act(self)
            if held:
                await act(self)
        except TimeoutError:
            pass
        except (httpx.HTTPError, websockets.WebSocketException, KeyError, TypeError) as error:
            self.told[type(error).__name__] += 1


Act = Callable[[Device], Awaitable[Any]]
WORK: tuple[tuple[int, bool, Act], ...] = (
    (22, False, lambda one: one.ask("q1", OURS_Q1, id=one.draw.choice(one.customers))),
    (12, False, lambda one: one.ask("q2", OURS_Q2)),
    (6, False, lambda one: one.ask("sheet", SHEET, id=one.draw.choice(one.customers))),
    (6, False, lambda one: one.ask("today", TODAY)),
    (6, False, lambda one: one.ask("list", LIST, first=20, filter={"search": one.draw.choice(SEARCHES)})),
    (4, False, lambda one: one.ask("tasks", TASKS, filter={})),
    (16, False, lambda one: one.pull()),
    (1, False, lambda one: one.pull(fresh=True)),
    (14, False, lambda one: one.push()),
    (5, True, lambda one: one.poke_by_socket()),
    (5, True, lambda one: one.poke_by_stream()),
    (2, False, lambda one: one.sign_in()),
)
"""How often of a hundred, whether it stays open for a while, and what."""


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(seen: list[tuple[float, float]]) -> float:
    """MB a minute, by least squares; `seen`: (seconds, MB)."""
    n = len(seen)
    at, held = sum(t for t, _ in seen) / n, sum(mb for _, mb in seen) / n
    return 60 * sum((t - at) * (mb - held) for t, mb in seen) / sum((t - at) ** 2 for t, _ in seen)


async def main(port: int, pid: int, minutes: float = MINUTES, rate: float = RATE) -> None:
    minutes = max(minutes, LEAST_MINUTES)
    told: Counter[str] = Counter()
    seen: list[tuple[float, float]] = []
    draw = random.Random(7)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        devices = [Device(http, number, told) for number in range(DEVICES)]
        began = due = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        while (since := time.monotonic() - began) < 60 * minutes:
            if since >= len(seen) * LOOK_SECONDS:
                seen.append((since, resident_mb(pid)))
                if len(seen) % 4 == 1:
                    say(f"{since / 60:5.1f} min  {seen[-1][1]:6.1f} MB  {sum(told.values()):,} told")
            if time.monotonic() >= due and len(under_way) < UNDER_WAY_MAX:
                due = max(due + 1 / rate, time.monotonic() - 1)
                [(_, held, act)] = draw.choices(WORK, [share for share, _, _ in WORK])
                task = asyncio.create_task(draw.choice(devices).act(act, held=held))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(0.005)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    half = [one for one in seen if one[0] >= 30 * minutes]
    say(f"{dict(told)}")
    say(f"in the last half {slope(half):+.2f} MB a minute, {half[-1][1] - half[0][1]:+.1f} MB in all")


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    asyncio.run(main(int(given[0]), int(given[1]), *given[2:4]))
