"""The leader dies under chaos: two servers, PgBouncer, HAProxy, three PostgreSQL nodes under Patroni, all on loopback.

`make failover`, or `python -m tests.failover.run --seed 1 --episodes 4`. Each episode is one of chaos
(`docs/CHAOS.md`): an organisation, devices, a proxy that does its worst, and the judge at rest. In each the leader is
lost once: its whole machine by SIGKILL, half of the times the moment an answer is out; every third time by a planned
change. Then it is started again, and the next episode begins when it follows the one that leads now: nobody rebuilds
it, and over a run of three or more somebody leads who had been killed. Our servers are started once and must still be
the same processes at the end.
FAILOVER_LOGS names a folder to keep what everybody said.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from backend.errors import RETRY, Code, Retry
from backend.storage.engine import open_engine
from backend.storage.migrate import migrate
from mobile_contract.replica import Document, Refusal
from tests.chaos.model import Violation
from tests.chaos.proxy import Exchange, Proxy, body_of, request_bytes, send
from tests.chaos.run import HttpLine, Outcome, Servers, Witness, episode
from tests.chaos.world import LATER, Device, World
from tests.databases import Unavailable, free_port
from tests.failover.cluster import LOOK_SECONDS, Cluster, Node, find_programs

ROOT = Path(__file__).parents[2]
STEPS = 600
EPISODES = 4
SWITCHOVER_EVERY = 3
BACK_SECONDS_MAX = 120
PAUSE_SECONDS = 0.25
"""How long a device waits that was told to come later."""
ANSWER_SECONDS_MAX = 45
"""No request may wait longer for its answer, whatever befalls the database."""


@dataclass
class Change:
    """One loss of the leader. Moments are of the loop's clock, seconds counted from the loss."""

    kind: str
    lost: str
    at: float
    written_at: float | None = None
    """when the first push was answered that was sent after the loss"""
    led_seconds: float = 0.0
    leader: str = ""
    safe_seconds: float = 0.0
    back_seconds: float = 0.0
    """until the one that was lost is a standby again and every node runs"""


@dataclass
class Seen:
    """What every answer of the servers came to."""

    answers: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    later: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    slowest_seconds: float = 0.0
    retried: int = 0
    change: Change | None = None


class LaterLine(HttpLine):
    """A device that waits before it comes again, as the answer says."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    async def _ask(
        self, device: Device, operation: str, document: str, variables: Document, *, suffix: str = ""
    ) -> Any:
        try:
            return await super()._ask(device, operation, document, variables, suffix=suffix)
        except Refusal as refusal:
            if refusal.code in LATER:
                self.seen.retried += 1
                await asyncio.sleep(PAUSE_SECONDS)
            raise

    async def breathe(self) -> None:
        await asyncio.sleep(PAUSE_SECONDS)


class Watch(Witness):
    """Judges as chaos does, and that what failed over the database is told as something to try again."""

    def __init__(self, world: World, line: HttpLine, seen: Seen) -> None:
        super().__init__(world, line)
        self.seen = seen

    def __call__(self, exchange: Exchange) -> None:
        seen, status = self.seen, int(exchange.answer.split(b" ", 2)[1])
        seen.answers += 1
        seen.statuses[status] += 1
        seen.slowest_seconds = max(seen.slowest_seconds, exchange.answered_at - exchange.asked_at)
        try:
            found = json.loads(body_of(exchange.answer))
        except ValueError:
            self.world.accuse(Violation(f"no JSON in an answer: {exchange.answer[:300]!r}"))
            return
        codes = codes_of(found)
        seen.later.update(code for code in codes if code in LATER)
        if status >= 500 and not (codes and all(RETRY.get(Code(code)) is Retry.LATER for code in codes)):
            self.world.accuse(Violation(f"{status}, and nobody is told to come again: {found}"))
        change = seen.change
        pushed = b"SyncPush" in exchange.request and not codes
        if pushed and change is not None and change.written_at is None and exchange.asked_at > change.at:
            change.written_at = exchange.answered_at
        super().__call__(exchange)


def codes_of(answer: Document) -> list[str]:
    """Of errors, and of refusals that are values."""
    codes = [error.get("extensions", {}).get("code", "INTERNAL") for error in answer.get("errors") or []]
    for value in (answer.get("data") or {}).values():
        if isinstance(value, dict) and value.get("__typename") == "Refusal":
            codes += [problem["code"] for problem in value["problems"]]
    return codes


@dataclass
class Apps(Servers):
    """Two processes of `selvedge serve` behind the reverse proxy. What is lost here is the leader of the database."""

    cluster: Cluster | None = None
    seen: Seen = field(default_factory=Seen)
    changes: list[Change] = field(default_factory=list)
    _leader: Node | None = None
    _next: str = "kill"
    _changing: asyncio.Task[None] | None = None
    _returning: asyncio.Task[None] | None = None
    _apps: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def __aenter__(self) -> "Apps":
        assert self.cluster is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        own = free_port(), free_port()
        for port in own:
            self._start(port)
            await self.wait(port)
        edge = self.cluster.start_edge(own)
        self.ports = edge, edge
        await self._until_ready()
        return self

    def _start(self, port: int) -> None:
        assert self.cluster is not None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SELVEDGE_")}
        settings = {
            "SELVEDGE_DATABASE_URL": self.cluster.server_url,
            "SELVEDGE_POOLER_URL": self.cluster.pooler_url,
            "SELVEDGE_TRUSTED_PROXIES": "127.0.0.1",
            "SELVEDGE_DATA_DIR": str(self.folder),
            "SELVEDGE_LOG_LEVEL": "WARNING",
            "SELVEDGE_ACCESS_TOKEN_SECONDS": "3600",
            "SELVEDGE_POOL_CONNECTIONS_MAX": "8",
            "SELVEDGE_USER_REQUESTS_PER_MINUTE": "0",
            "SELVEDGE_DEVICE_REQUESTS_PER_MINUTE": "0",
        }
        with (self.folder / f"server-{port}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "backend", "serve", "--port", str(port)],
                cwd=ROOT,
                env=kept | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes[port] = process
        self._apps.append(process)

    async def next(self, kind: str) -> None:
        """What the coming episode does to the leader."""
        assert self.cluster is not None
        await self.until_back()
        self._leader, self._next, self._changing = await self.cluster.leader(), kind, None

    async def until_back(self) -> None:
        """Until whoever was lost last is a standby, the others run, and nothing of it is left to wait for."""
        assert self.cluster is not None
        if self._returning is not None:
            await self._returning
            self._returning = None
        await self.cluster.until_whole()

    def kill(self, port: int) -> bool:
        """The leader, once in an episode."""
        assert self.cluster is not None
        if self._changing is not None or self._leader is None:
            return False
        change = Change(self._next, self._leader.name, asyncio.get_running_loop().time())
        if change.kind == "kill":
            self.cluster.kill(self._leader)
            self.killed += 1
        self.seen.change = change
        self.changes.append(change)
        self._changing = asyncio.ensure_future(self._follow(change, self._leader))
        return True

    async def _follow(self, change: Change, lost: Node) -> None:
        cluster, loop = self.cluster, asyncio.get_running_loop()
        assert cluster is not None
        if change.kind == "switchover":
            candidate = await cluster.synchronous()
            if candidate is None or not await cluster.switch_over(lost, candidate):
                raise Violation("the planned change of leader was not done")
        leader = await cluster.until_led(but=lost)
        change.leader, change.led_seconds = leader.name, loop.time() - change.at
        if change.kind == "kill":
            cluster.start_node(lost)
        await cluster.until_safe()
        change.safe_seconds = loop.time() - change.at
        self._returning = asyncio.ensure_future(self._return(change))

    async def _return(self, change: Change) -> None:
        assert self.cluster is not None
        await self.cluster.until_whole()
        change.back_seconds = asyncio.get_running_loop().time() - change.at
        if (await self.cluster.members())[change.lost]["role"] == "leader":
            raise Violation(f"{change.lost} was lost and leads as if it had not been: {change}")

    async def wait_for_all(self) -> None:
        """Until the leader is followed again and the servers say they are ready."""
        if self._changing is None:
            raise Violation("the leader was not lost in this episode")
        async with asyncio.timeout(BACK_SECONDS_MAX):
            await self._changing
            await self._until_ready()
        self.still_the_same()

    async def _until_ready(self) -> None:
        answer = b""
        while b" 200 " not in answer[:15]:
            await asyncio.sleep(LOOK_SECONDS)
            answer = await send(self.ports[0], request_bytes("/ready", None)) or b""

    def still_the_same(self) -> None:
        """Raises `Violation` when one of our processes ended."""
        for process in self._apps:
            if process.poll() is not None:
                raise Violation(f"a server ended with {process.returncode}")

    def said(self, port: int) -> str:
        return "\n".join(log.read_text()[-3_000:] for log in sorted(self.folder.glob("server-*.log")))


def proxy_counting(seen: Seen) -> type[Proxy]:
    """A faulty network that counts what a living server left without an answer."""

    class Counting(Proxy):
        async def _ask(self, raw: bytes, port: int) -> bytes | None:
            answer = await super()._ask(raw, port)
            seen.unanswered += answer is None
            return answer

    return Counting


@dataclass
class Figures:
    seed: int
    outcome: Outcome
    seen: Seen
    changes: list[Change]
    start_seconds: float

    def led_again(self) -> list[str]:
        """Nodes that were killed, came back by themselves and led later."""
        killed: set[str] = set()
        found = []
        for change in self.changes:
            if change.leader in killed:
                found.append(change.leader)
            if change.kind == "kill":
                killed.add(change.lost)
        return found

    def told(self) -> str:
        outcome, seen = self.outcome, self.seen
        lines = [
            f"failover: seeds {self.seed} to {self.seed + outcome.episodes - 1}, {outcome.steps:,} steps in"
            f" {outcome.episodes} episodes, {outcome.seconds:.0f} s, no violation, no server of ours restarted",
            f"  the cluster was whole {self.start_seconds:.0f} s after its start",
        ]
        for change in self.changes:
            written = "-" if change.written_at is None else f"{change.written_at - change.at:.1f}"
            lines.append(
                f"  {change.kind:<10} {change.lost} -> {change.leader}: new leader after {change.led_seconds:.1f} s,"
                f" a push accepted after {written} s, a synchronous standby after {change.safe_seconds:.1f} s,"
                f" {change.lost} a standby after {change.back_seconds:.1f} s"
            )
        if led_again := self.led_again():
            lines.append(f"  led after they had been killed: {', '.join(led_again)}")
        took = [c.written_at - c.at for c in self.changes if c.written_at is not None and c.kind == "kill"]
        if took:
            lines.append(f"  writes again after a kill: median {median(took):.1f} s, most {max(took):.1f} s")
        lines += [
            f"  {seen.answers:,} answers, by status {dict(sorted(seen.statuses.items()))},"
            f" told to come later {dict(sorted(seen.later.items()))},"
            f" of which devices heard and tried again {seen.retried}",
            f"  left without an answer {seen.unanswered}, slowest answer {seen.slowest_seconds:.1f} s",
            f"  {outcome.carried.requests:,} requests of devices, faults"
            f" { {name: n for name, n in sorted(outcome.carried.fates.items()) if name != 'NONE'} }",
            f"  queues empty {max(outcome.healed_seconds, default=0.0):.1f} s after healing at the latest",
            f"  judged {dict(sorted(outcome.judged.items()))}",
        ]
        return "\n".join(lines) + "\n"


async def run(seed: int, episodes: int, steps: int, folder: Path) -> Figures:
    """Episodes on one cluster. Raises `Violation`; `Unavailable`: what is missing here."""
    programs = find_programs()
    (folder / "cluster").mkdir()
    began = monotonic()
    async with Cluster(folder / "cluster", programs) as cluster:
        start_seconds = monotonic() - began
        await migrate(cluster.server_url)
        outcome, seen = Outcome(), Seen()
        engine = open_engine(cluster.server_url)
        await engine.start()
        began = monotonic()
        try:
            async with Apps(cluster.server_url, folder / "var", seed, cluster=cluster, seen=seen) as apps:
                try:
                    for number in range(1, episodes + 1):
                        await apps.next("switchover" if number % SWITCHOVER_EVERY == 0 else "kill")
                        await episode(
                            apps,
                            engine,
                            seed + outcome.episodes,
                            steps,
                            outcome,
                            lambda _: None,
                            line=LaterLine(seen),
                            witness=lambda world, line: Watch(world, line, seen),
                            proxy_kind=proxy_counting(seen),
                            kills_count=1,
                        )
                        outcome.steps += steps
                        sys.stdout.write(f"episode {number} of {episodes}: {apps.changes[-1]}\n")
                        sys.stdout.flush()
                    await apps.until_back()
                    judge(seen, apps)
                except Violation as violation:
                    raise Violation(f"{violation}\n{apps.said(0)}\n{cluster.said()}") from None
                finally:
                    if kept := os.environ.get("FAILOVER_LOGS"):
                        shutil.copytree(
                            folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node-*", "etcd")
                        )
                return Figures(seed, outcome, seen, apps.changes, start_seconds)
        finally:
            await engine.close()
            outcome.seconds = monotonic() - began


def judge(seen: Seen, apps: Apps) -> None:
    """What holds for a whole run. Raises `Violation`."""
    apps.still_the_same()
    if seen.unanswered:
        raise Violation(f"{seen.unanswered} requests were left without an answer")
    if seen.slowest_seconds > ANSWER_SECONDS_MAX:
        raise Violation(f"a request waited {seen.slowest_seconds:.0f} s for its answer")
    for change in apps.changes:
        if change.written_at is None:
            raise Violation(f"nothing was written after {change}")
        if change.kind == "kill" and not seen.later:
            raise Violation("leaders died, and nobody noticed: this run shows nothing")


async def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FAILOVER_SEED", "1")))
    parser.add_argument("--episodes", type=int, default=int(os.environ.get("FAILOVER_EPISODES", str(EPISODES))))
    parser.add_argument("--steps", type=int, default=int(os.environ.get("FAILOVER_STEPS", str(STEPS))))
    given = parser.parse_args(arguments)
    running = asyncio.current_task()
    assert running is not None
    # whoever ends this early leaves nothing running either
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        with tempfile.TemporaryDirectory(prefix="selvedge-failover-") as folder:
            os.chmod(folder, 0o755)  # programs run as somebody else when this runs as root
            figures = await run(given.seed, given.episodes, given.steps, Path(folder))
            sys.stdout.write(figures.told())
    except Unavailable as missing:
        sys.stderr.write(f"cannot be run here:\n{missing}\n")
        return 2
    except Violation as violation:
        sys.stdout.write(f"VIOLATION {violation}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
