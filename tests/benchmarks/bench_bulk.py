"""A first sync as a stream beside one in pages, and what it costs the server: a served process, over a socket.

`python -m tests.benchmarks.bench_bulk [sqlite|postgres] [documents]`. Ratios are what counts; nothing is asserted.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import orjson

from backend.auth.keys import load_keys
from backend.auth.principal import Principal
from backend.auth.tokens import Tokens
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.ids import new_id
from backend.storage.engine import Engine, open_engine
from backend.sync.bulk import BulkLimits, BulkRequest, bulk_lines
from backend.sync.today import PackLimits
from backend.sync.versions import SCHEMA_VERSION
from tests.benchmarks.feeds import big_feed, holder
from tests.databases import RunFolder, free_port, fresh_postgres, fresh_sqlite
from tests.sync.worlds import SECRET

DOCUMENTS = 200_000
SCOPES = 20
ROUNDS = 3
PULL = """query ($cursor: String, $limit: Int!, $version: Int!) {
  syncPull(cursor: $cursor, limit: $limit, schemaVersion: $version) {
    clock cursor complete scopesRemoved ackedMutation
    blocks { scope collection left rows { seq digest document } }
    checksums { scope collection sum count }
  } }"""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Server:
    """A served process, with a token of somebody who holds everything there is."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.settings = settings
        self.port = port
        environment = {
            **os.environ,
            "SELVEDGE_DATABASE_URL": settings.database_url,
            "SELVEDGE_DATA_DIR": str(settings.data_dir),
            "SELVEDGE_LOG_LEVEL": "ERROR",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend", "serve", "--port", str(port)],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def memory_kb(self, name: str) -> int:
        """A line of the process's status: VmRSS now, VmHWM the most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1])

    def worked_s(self) -> float:
        """Seconds of processor the process has used."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def wait(self, client: httpx.Client) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if client.get("/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise SystemExit("the server did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def streamed(client: httpx.Client, encoding: str) -> tuple[float, int, int]:
    """(seconds, lines, bytes on the wire) of a whole stream, taken and thrown away."""
    began, lines, size = time.perf_counter(), 0, 0
    query = {"schemaVersion": str(SCHEMA_VERSION)}
    with client.stream("GET", "/sync/bulk", params=query, headers={"accept-encoding": encoding}) as answer:
        assert answer.status_code == 200, answer.read()
        for part in answer.iter_raw():
            size += len(part)
            lines += part.count(b"\n") if encoding == "identity" else 0
    return time.perf_counter() - began, lines, size


def paged(client: httpx.Client, limit: int) -> tuple[float, int, int]:
    """(seconds, documents, bytes on the wire) of a whole first sync in pages."""
    began, rows, size, cursor, complete = time.perf_counter(), 0, 0, None, False
    while not complete:
        variables = {"cursor": cursor, "limit": limit, "version": SCHEMA_VERSION}
        answer = client.post("/graphql", content=orjson.dumps({"query": PULL, "variables": variables}),
                             headers={"content-type": "application/json"})  # fmt: skip
        size += len(answer.content)
        page = orjson.loads(answer.content)["data"]["syncPull"]
        rows += sum(len(block["rows"]) for block in page["blocks"])
        cursor, complete = page["cursor"], page["complete"]
    return time.perf_counter() - began, rows, size


def token_of(settings: Settings, principal: Principal, family_id: str) -> str:
    tokens = Tokens(load_keys(settings.data_dir), settings, wall_clock_ms)
    token, _ = tokens.issue(
        user_id=principal.holder, device_id=principal.device_id or "", family_id=family_id, role="MANAGER", locale="en"
    )
    return token


async def prepare(url: str, documents: int) -> tuple[Principal, str]:
    engine = open_engine(url)
    await engine.start()
    scopes = {f"territory:{number:02d}": documents // SCOPES for number in range(SCOPES)}
    began = time.perf_counter()
    await big_feed(engine, scopes)
    principal = await holder(engine, list(scopes))
    family_id = new_id()
    async with engine.write() as conn:
        await conn.execute(
            "INSERT INTO refresh_family (id, user_id, device_id, generation, rotated_at, expires_at, revoked_at)"
            " VALUES (?, ?, ?, 1, ?, ?, NULL)",
            family_id, principal.holder, principal.device_id, wall_clock_ms(), wall_clock_ms() + 10**9,
        )  # fmt: skip
    say(f"{documents:,} documents written in {time.perf_counter() - began:.0f} s")
    await bench_path(engine, principal)
    await engine.close()
    return principal, family_id


async def bench_path(engine: Engine, principal: Principal) -> None:
    """The bulk path alone, in this process: documents a second of this core."""
    limits = BulkLimits(1_000, 512_000, PackLimits(50, 2_000))
    rates = []
    for _ in range(ROUNDS):
        worked, got = time.process_time(), 0
        async for part in bulk_lines(
            engine, principal, BulkRequest(None, None, SCHEMA_VERSION), secret=SECRET, limits=limits,
            clock=wall_clock_ms, retries_max=3,
        ):  # fmt: skip
            got += part.count(b"\n")
        rates.append(got / (time.process_time() - worked))
    say(f"bulk path without a socket: {statistics.median(rates):,.0f} documents per second of one core")


def bench(url: str, folder: Path, documents: int) -> None:
    settings = Settings(database_url=url, data_dir=folder / "var")
    principal, family_id = asyncio.run(prepare(url, documents))
    headers = {"authorization": f"Bearer {token_of(settings, principal, family_id)}"}
    server = Server(settings, free_port())
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=120, headers=headers) as client:
            server.wait(client)
            streamed(client, "zstd")  # whatever is made once
            taken: dict[str, list[float]] = {}
            wire: dict[str, int] = {}
            cores: dict[str, list[float]] = {}
            before, grown = server.memory_kb("VmRSS"), 0
            for _ in range(ROUNDS):
                for name in ("zstd", "gzip", "identity", "pages of 500", "pages of 1,000"):
                    worked = server.worked_s()
                    if name.startswith("pages"):
                        seconds, _, wire[name] = paged(client, 1_000 if "1,000" in name else 500)
                    else:
                        server.forget_peak()
                        resting = server.memory_kb("VmRSS")
                        seconds, _, wire[name] = streamed(client, name)
                        grown = max(grown, server.memory_kb("VmHWM") - resting)
                    taken.setdefault(name, []).append(seconds)
                    cores.setdefault(name, []).append(server.worked_s() - worked)
            for name, found in taken.items():
                seconds, worked = statistics.median(found), statistics.median(cores[name])
                say(
                    f"{name:>15}: {documents / seconds:>9,.0f} documents/s, {documents / worked:>9,.0f} per second of"
                    f" the server's processor, {wire[name] / 1_000_000:,.1f} MB"
                )
            bulk, pages = statistics.median(taken["zstd"]), statistics.median(taken["pages of 500"])
            say(f"bulk (zstd) to pages of 500: {pages / bulk:.1f} times as fast; to pages of 1,000:"
                f" {statistics.median(taken['pages of 1,000']) / bulk:.1f}")  # fmt: skip
            say(
                f"memory of the server while {documents:,} documents are streamed: at most {grown / 1024:.1f} MB more"
                f" than before ({before / 1024:.0f} MB when it had streamed once,"
                f" {server.memory_kb('VmRSS') / 1024:.0f} MB in the end)"
            )
    finally:
        server.stop()


def main(wanted: list[str]) -> None:
    documents = next((int(word) for word in wanted if word.isdecimal()), DOCUMENTS)
    databases = [word for word in wanted if not word.isdecimal()] or ["sqlite", "postgres"]
    made = RunFolder.begin()
    try:
        with tempfile.TemporaryDirectory() as path:
            if "sqlite" in databases:
                say("SQLite")
                bench(fresh_sqlite(made.sqlite_template(), Path(path)), Path(path), documents)
            if "postgres" in databases:
                say("PostgreSQL")
                asyncio.run(on_postgres(made.postgres_url(), Path(path), documents))
    finally:
        made.end()


async def on_postgres(server: str, folder: Path, documents: int) -> None:
    async with fresh_postgres(server) as url:
        await asyncio.to_thread(bench, url, folder, documents)


if __name__ == "__main__":
    main(sys.argv[1:])
