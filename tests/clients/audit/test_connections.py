"""Connections that stay open, by npm's own clients: graphql-ws and graphql-sse, with their default settings."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.schema.trusted import read_operations
from tests.clients.nodes import run_node
from tests.databases import fresh_sqlite
from tests.schema.test_subscriptions import Office, open_office

FOLDER = Path(__file__).parent


@pytest.fixture
async def office(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Office]:
    """What is above the database is the same on both."""
    async with open_office(fresh_sqlite(sqlite_template, tmp_path), tmp_path) as office:
        yield office


async def test_the_clients_of_npm_are_served(office: Office) -> None:
    (me,) = [operation for operation in read_operations() if operation.path.stem == "me"]
    orders = {
        "url": f"http://127.0.0.1:{office.served.port}/graphql",
        "token": await office.token("MANAGER"),
        "meHash": me.sha256,
    }
    checks = await run_node(FOLDER / "connections.mjs", orders)
    assert [check for check in checks if not check["ok"]] == []
    assert len({check["check"] for check in checks}) == len(checks) == 23
    await office.quiet()
