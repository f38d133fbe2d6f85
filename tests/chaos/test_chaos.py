"""A thousand steps on each database over real HTTP: two server processes, kill -9, a proxy that does its worst.

`make chaos` plays twenty thousand; `CHAOS_SEED` begins elsewhere. A violation names its seed.
"""

import os
from pathlib import Path

import pytest

from tests.chaos import run as running
from tests.chaos.run import Servers, run
from tests.databases import fresh_sqlite

SEED = int(os.environ.get("CHAOS_SEED", "1"))
STEPS = 1_000


@pytest.mark.requirement("R4")
async def test_nothing_entered_is_lost_nothing_is_there_twice_and_nobody_sees_what_he_may_not(
    database_url: str, tmp_path: Path
) -> None:
    outcome = await run(database_url, SEED, STEPS, tmp_path / "var")
    assert outcome.steps == STEPS
    assert outcome.killed > 0
    faults = {"DROP_BEFORE", "DROP_AFTER", "TWICE", "TWICE_AT_ONCE", "REPLAYED_LATE", "CUT_REQUEST", "CUT_ANSWER"}
    assert faults <= outcome.carried.fates.keys()
    # how many refusals there are hangs on who comes first, which two processes decide anew each time
    judged = {what: outcome.judged[what] for what in ("documents", "values", "records", "fields", "refusals kept")}
    assert min(judged.values()) > 20, judged


async def test_a_violation_names_its_seed_its_step_and_what_was_done(sqlite_template: Path, tmp_path: Path) -> None:
    """The whole path of a failure, with a server that leaks."""
    url = fresh_sqlite(sqlite_template, tmp_path)
    with pytest.raises(AssertionError, match=r"seed 5, step \d+: rep\d was sent .* and may not see it") as caught:
        await run(url, 5, 300, tmp_path / "var", mutant="scope_leak")
    assert "enters customers" in str(caught.value)


async def test_servers_that_do_not_start_in_time_are_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "START_SECONDS_MAX", 0)
    servers = Servers(f"sqlite://{tmp_path / 'none.sqlite3'}", tmp_path / "var", 1)
    with pytest.raises(RuntimeError, match="did not start"):
        async with servers:
            pass
    assert [process.poll() is None for process in servers._processes.values()] == [False]
