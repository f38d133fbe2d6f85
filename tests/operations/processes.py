"""Servers as their operators start them: processes of their own, on a port of their own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent.parent
UNHURRIED = {f"{who}_requests_per_minute": "1000000" for who in ("user", "device", "address")}
"""A load test is no abuse."""


@contextmanager
def started(folder: Path, port: int, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server and all it starts; killed at the end, should it still run. What it says is in `log` of the folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SELVEDGE_")}
    named = {f"SELVEDGE_{name.upper()}": value for name, value in {**UNHURRIED, **settings}.items()}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "backend", "serve", "--port", str(port), *arguments],
            cwd=folder,
            env=kept | named | {"PYTHONPATH": str(ROOT), "SELVEDGE_DATA_DIR": str(folder / "var")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
        server.wait()


async def until_ready(client: httpx.AsyncClient, server: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(1_200):
        assert server.poll() is None, (folder / "log").read_text()
        try:
            if (await client.get("/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError((folder / "log").read_text())


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that still run; one that ended and was not asked how is none."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def children_of(server: subprocess.Popen[bytes]) -> list[int]:
    """Process ids of its workers."""
    found = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [int(pid) for pid in found]
