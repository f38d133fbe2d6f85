"""Fixtures every floor uses. `engine` runs a test on both databases, each time freshly migrated."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from backend.storage.engine import Engine, open_engine
from tests.databases import RunFolder, Unavailable, fresh_postgres, fresh_sqlite
from tests.house import house as house

BOTH_DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
# how long one example takes says something about the machine, nothing about the rule
hypothesis.settings.register_profile(
    "house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("house")
PATIENCE = "statement_timeout = '240s'\n"
"""Of the server: who waits for a lock that is never let go is told so before the test's own time is over."""
RUN_FOLDER = pytest.StashKey[RunFolder]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    shared = getattr(config, "workerinput", None)
    folder = RunFolder(Path(shared["run_folder"])) if shared else RunFolder.begin()
    config.stash[RUN_FOLDER] = folder
    if shared is None and config.option.basetemp is None:
        # where the server's files are, in memory if there is room: every test makes a database file of its own
        config.option.basetemp = str(folder.path / "tests")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["run_folder"] = str(node.config.stash[RUN_FOLDER].path)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[RUN_FOLDER].end()


@pytest.fixture(scope="session")
def run_folder(request: pytest.FixtureRequest) -> RunFolder:
    return request.config.stash[RUN_FOLDER]


@pytest.fixture(scope="session")
def sqlite_template(run_folder: RunFolder) -> Path:
    return run_folder.sqlite_template()


@pytest.fixture(scope="session")
def postgres_server(run_folder: RunFolder) -> str:
    """Where no PostgreSQL can be had the test is skipped with the reason; in CI that is a failure."""
    try:
        return run_folder.postgres_url(more=PATIENCE)
    except Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs PostgreSQL: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(params=BOTH_DATABASES)
def database_source(request: pytest.FixtureRequest) -> Path | str:
    """The migrated original that databases are copied from: a file, or a server's address."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        return template
    server: str = request.getfixturevalue("postgres_server")
    return server


@pytest.fixture
async def database_url(database_source: Path | str, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a migrated database of this test's own."""
    if isinstance(database_source, Path):
        yield fresh_sqlite(database_source, tmp_path)
        return
    async with fresh_postgres(database_source) as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Engine]:
    """A started engine on a migrated database of this test's own, on SQLite and on PostgreSQL."""
    engine = open_engine(database_url)
    await engine.start()
    yield engine
    await engine.close()
