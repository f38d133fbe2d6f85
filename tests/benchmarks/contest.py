"""The servers of a run, each one process: started, signed in to, watched through /proc, and stopped."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from backend.config import Settings
from backend.ids import new_id
from tests.benchmarks.company import PASSWORD
from tests.benchmarks.questions import OURS
from tests.databases import free_port

Json = dict[str, Any]
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = HERE / "peers"
START_SECONDS_MAX = 240
TICKS = os.sysconf("SC_CLK_TCK")
SIGN_IN = """mutation ($email: String!, $password: String!, $device: DeviceInput!) {
  signIn(email: $email, password: $password, device: $device) {
    __typename ... on Session { accessToken deviceId } ... on Refusal { problems { code } } } }"""


class Failed(Exception):
    """A server or the one who asks did not do what the run needs; the text says what."""


@dataclass
class Server:
    """One contestant. `side` is how it is asked; `database` which one it reads."""

    name: str
    side: str
    database: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    port: int
    ready: str = "/live"
    process: subprocess.Popen[bytes] | None = None
    jobs: Json = field(default_factory=dict)
    """what goes into every job: tokens and the like, by question"""

    def job(self, name: str) -> Json:
        """What a job about a question takes along."""
        return {**self.jobs.get("all", {}), **self.jobs.get(name, {})}

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, env={**os.environ, **self.environment}, stdout=subprocess.DEVNULL, stderr=log,
                stdin=subprocess.DEVNULL, cwd=ROOT,
            )  # fmt: skip

    def wait(self) -> None:
        """Until it answers. Raises `Failed` with the end of its log."""
        until = time.monotonic() + START_SECONDS_MAX
        body = orjson.dumps({"query": "{ __typename }"})
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            try:
                url = f"http://127.0.0.1:{self.port}/graphql"
                answer = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=10)
                if answer.status_code in (200, 401):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise Failed(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-1500:]}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def memory_kb(self, name: str = "VmRSS") -> int:
        """VmRSS now, or VmHWM: the most since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1])

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def worked_s(self) -> float:
        return worked_s(self.pid)


def worked_s(pid: int, *, children: bool = False) -> float:
    """Seconds of processor a process has used; with those of its children that have ended."""
    try:
        parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(part) for part in parts[11 : 15 if children else 13]) / TICKS


class Postgres:
    """The database server, by its first process."""

    def __init__(self, data: Path) -> None:
        self.pid = int((data / "postmaster.pid").read_text().split()[0])

    def worked_s(self) -> float:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return worked_s(self.pid, children=True) + sum(worked_s(int(child)) for child in children)


def widest_limits() -> dict[str, str]:
    """How often somebody may ask is lifted to the most the settings allow: here one user asks for a thousand."""
    found = {}
    for name, info in Settings.model_fields.items():
        if name.startswith("rate_") or name.endswith(("_per_minute", "_per_second", "_burst")):
            most = next((one.le for one in info.metadata if hasattr(one, "le")), None)
            if most is not None:
                found[f"SELVEDGE_{name.upper()}"] = str(most)
    return found


def ours(name: str, database: str, url: str, folder: Path) -> Server:
    data = folder / f"data-{name.replace(' ', '-')}"
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        **widest_limits(),
        "SELVEDGE_DATABASE_URL": url,
        "SELVEDGE_DATA_DIR": str(data),
        "SELVEDGE_ACCESS_TOKEN_SECONDS": "3600",
        "SELVEDGE_DEMO": "false",
        "SELVEDGE_CURSOR_SECRET": CURSOR_SECRET,
    }
    command = [sys.executable, "-m", "backend", "serve", "--port", str(port)]
    return Server(name, OURS, database, command, environment, folder / f"{data.name}.log", port)


CURSOR_SECRET = "a secret for measured cursors only"


def others(postgres_url: str, peer_sqlite: Path, shapes: Path, folder: Path) -> tuple[list[Server], list[str]]:
    """The servers measured beside ours, and what could not be had, in words."""
    found, absent = [], []
    peer_url = postgres_url.replace("postgres://", "asyncpg://") + "?schema=peer"
    for name, tuned in (("naive", ()), ("naive + caches", ("tuned",))):
        for database, url in (("PostgreSQL", peer_url), ("SQLite", f"sqlite://{peer_sqlite}")):
            port = free_port()
            command = [
                sys.executable,
                "-m",
                "tests.benchmarks.peers.strawberry_server",
                str(port),
                url,
                str(shapes),
                *tuned,
            ]
            found.append(
                Server(f"{name}, {database}", "strawberry", database, command, {}, folder / f"{port}.log", port)
            )
    # PostGraphile wants a newer Node than may be here: the peers bring their own
    node = next((str(one) for one in (PEERS / "node_modules/node/bin/node",) if one.exists()), shutil.which("node"))
    if node is None:
        absent.append("PostGraphile and Mercurius: no Node here")
    elif not (PEERS / "node_modules" / "postgraphile").exists():
        absent.append("PostGraphile and Mercurius: not installed (`npm ci` in tests/benchmarks/peers)")
    else:
        for name, script in (("PostGraphile", "postgraphile.js"), ("Mercurius", "mercurius.js")):
            port = free_port()
            command = [node, str(PEERS / script), str(port), postgres_url, str(shapes)]
            environment = {"NODE_ENV": "production", "GRAPHILE_ENV": "production"}
            found.append(Server(name, name.lower(), "PostgreSQL", command, environment, folder / f"{port}.log", port))
    return found, absent


def sign_in(server: Server, email: str) -> tuple[str, str]:
    """(access token, device id) of a new device."""
    variables = {"email": email, "password": PASSWORD, "device": {"id": new_id(), "name": "bench", "platform": "bench"}}
    answer = httpx.post(
        f"http://127.0.0.1:{server.port}/graphql", json={"query": SIGN_IN, "variables": variables}, timeout=30
    ).json()
    session = answer["data"]["signIn"]
    if session["__typename"] != "Session":
        raise Failed(f"signing in to {server.name}: {session}")
    return session["accessToken"], session["deviceId"]


class Asker:
    """The process that asks."""

    def __init__(self, company: Path, folder: Path) -> None:
        self._log = (folder / "asker.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load", str(company)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._log, cwd=ROOT,
        )  # fmt: skip

    def ask(self, job: Json) -> Json:
        """What became of a job. Raises `Failed`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(orjson.dumps(job) + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the asking process ended")
        told: Json = orjson.loads(line)
        if "failed" in told:
            raise Failed(f"{job.get('server')} {job.get('name')}: {told['failed']}")
        return told

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def commit() -> str:
    """The commit measured, and whether the tree had other changes."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return "unknown"
    head = subprocess.run(
        [git, "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    state = subprocess.run(
        [git, "status", "--porcelain", "--", "backend", "tests/benchmarks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip() + (" with changes not committed" if state.stdout.strip() else "")
