"""Scripts under Node: the real client libraries, driven headless against a served Selvedge.

A script reads its orders from the environment variable `ORDERS` (JSON), prints one JSON object per line
(`{"check": "name", "ok": true, …}`) and ends with exit code 0 when it could run all of its checks.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
SCRIPT_SECONDS_MAX = 240


def need_node() -> str:
    """The node to run; without it, or without its packages, the test is skipped with the reason, and fails in CI."""
    node = shutil.which("node")
    missing = "Node is not installed" if node is None else None
    if missing is None and not (FOLDER / "node_modules").is_dir():
        missing = "tests/clients/node_modules is missing: make test installs it"
    if missing is not None:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the sync clients: {missing}", pytrace=False)
        pytest.skip(missing)
    assert node is not None
    return node


async def run_node(script: Path, orders: dict[str, Any], *, seconds_max: float = SCRIPT_SECONDS_MAX) -> list[Any]:
    """The objects a script printed, in order; the test fails with its words when it broke down."""
    process = await asyncio.create_subprocess_exec(
        need_node(),
        str(script),
        env={**os.environ, "ORDERS": json.dumps(orders)},
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds_max)
    except TimeoutError:
        process.kill()
        await process.communicate()
        pytest.fail(f"{script.name} took longer than {seconds_max} s", pytrace=False)
    printed = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    if process.returncode != 0:
        told = err.decode()[-4_000:]
        pytest.fail(f"{script.name} ended with {process.returncode}\n{out.decode()[-2_000:]}\n{told}", pytrace=False)
    return printed
