"""The served database and its rep, as the tests of GraphQL know them."""

from pathlib import Path

import pytest

from tests.databases import fresh_sqlite
from tests.schema.conftest import door, server_settings

__all__ = ["door", "server_settings"]


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return fresh_sqlite(sqlite_template, tmp_path)
