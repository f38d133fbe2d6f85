"""A server for whoever speaks to it in bare bytes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.config import Settings
from tests.databases import fresh_sqlite
from tests.schema.conftest import door as door
from tests.schema.conftest import server_settings as server_settings
from tests.servers import Served, serve


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """What stands before the database is the same above both; one is enough."""
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture
async def served(server_settings: Settings) -> AsyncIterator[Served]:
    async with serve(server_settings) as found:
        yield found
