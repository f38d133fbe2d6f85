"""What npm's own clients and audits find at the edge: graphql-http, graphql-ws and graphql-sse as they come."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.config import Settings
from tests.clients.nodes import run_node
from tests.servers import Served, serve

FOLDER = Path(__file__).parent
AUDITS = 61
"""Statements of GraphQL over HTTP that graphql-http 1.23 holds a server to."""


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(Settings(database_url=database_url, data_dir=tmp_path / "var")) as served:
        yield served


async def test_every_statement_of_graphql_over_http_holds(served: Served) -> None:
    found = await run_node(FOLDER / "audit.mjs", {"url": f"http://127.0.0.1:{served.port}/graphql"})
    assert [audit for audit in found if not audit["ok"]] == []
    assert len({audit["check"] for audit in found}) == len(found) == AUDITS
