"""The simulation: whole histories in one process that play the same to the last byte, and mutants it must catch."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.model import Violation
from tests.chaos.mutants import MUTANTS
from tests.chaos.simulation import simulate
from tests.databases import fresh_sqlite

SEED = int(os.environ.get("CHAOS_SEED", "1"))
HISTORIES = int(os.environ.get("CHAOS_HISTORIES", "4"))
STEPS = 500
MUTANT_STEPS = 1_200
MUTANT_SEEDS = 6
ROOT = Path(__file__).parents[2]


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("seed", range(SEED, SEED + HISTORIES))
async def test_whatever_the_network_and_the_server_do_every_device_is_right_at_rest(
    seed: int, sqlite_template: Path, tmp_path: Path
) -> None:
    told = await simulate(fresh_sqlite(sqlite_template, tmp_path), seed, STEPS)
    # the history was no quiet one: nothing of this may have been left out
    assert told.crashes > 0
    assert {"DROP_BEFORE", "DROP_AFTER", "TWICE", "REPLAYED_LATE", "CUT_ANSWER"} <= told.fates.keys()
    assert {"move_customers", "revoke", "grant", "delete_something", "merge_customers", "collide"} <= told.counts.keys()
    assert min(told.judged[what] for what in ("documents", "records", "fields", "gathered", "effects")) > 50
    assert told.judged["refusals kept"] > 5
    assert told.judged["brought back"] > 0


async def test_the_same_seed_gives_the_same_trace_in_another_process(sqlite_template: Path, tmp_path: Path) -> None:
    """Also where texts are hashed otherwise: no order of a set may decide anything."""
    here = [await simulate(fresh_sqlite(sqlite_template, tmp_path), seed, 250) for seed in (3, 3, 4)]
    assert here[0].digest == here[1].digest != here[2].digest
    there = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.chaos.simulation", "--seed", "3", "--steps", "250"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.splitlines()[-1].split() == ["trace", here[0].digest]


@contextmanager
def mutated(name: str) -> Iterator[None]:
    patches = MUTANTS[name].apply()
    try:
        yield
    finally:
        patches.undo()


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_fits_the_product_of_today(name: str) -> None:
    """What one replaces is there under its name; else nothing would be wrong, and it would be caught by nobody."""
    with mutated(name):
        pass


@pytest.mark.mutants
@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.simulated])
async def test_the_simulation_catches(name: str, sqlite_template: Path, tmp_path: Path) -> None:
    with mutated(name), pytest.raises(Violation):
        await play(sqlite_template, tmp_path)


async def play(template: Path, folder: Path) -> None:
    for seed in range(1, MUTANT_SEEDS + 1):
        await simulate(fresh_sqlite(template, folder), seed, MUTANT_STEPS)
