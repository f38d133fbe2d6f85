"""Plays every mutant until it is caught, and prints by what, with which seed and at which step: `make chaos-mutants`.

First the simulation, which is cheap, then real HTTP on each database where the mutant can be seen at all. A mutant
that survives is said so, and the exit code is 1.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from backend.storage.engine import open_engine
from backend.storage.migrate import migrate
from tests.chaos.model import Violation
from tests.chaos.mutants import MUTANTS, Mutant
from tests.chaos.run import database, run
from tests.chaos.simulation import simulate
from tests.databases import RunFolder, fresh_sqlite

SIMULATED_SEEDS = 8
SIMULATED_STEPS = 1_500
HTTP_STEPS = 3_000
SAID = re.compile(r"seed (\d+), step (\d+): (.*)")


@dataclass(frozen=True, slots=True)
class Caught:
    """`by`: the rule that was broken, in the judge's words."""

    mutant: str
    where: str
    seed: int
    step: int
    by: str
    seconds: float


def caught(mutant: Mutant, where: str, error: BaseException, seed: int, began: float) -> Caught:
    """What caught it. A server that stumbles or hangs over its own fault is caught too."""
    if found := SAID.match(str(error)):
        return Caught(mutant.name, where, int(found[1]), int(found[2]), found[3], monotonic() - began)
    return Caught(mutant.name, where, seed, 0, f"{type(error).__name__}: {str(error)[:200]}", monotonic() - began)


async def hunt_simulated(mutant: Mutant, template: Path, folder: Path) -> Caught | None:
    began = monotonic()
    for seed in range(1, SIMULATED_SEEDS + 1):
        url = fresh_sqlite(template, folder)
        patches = mutant.apply()
        try:
            await simulate(url, seed, SIMULATED_STEPS)
        except Violation as violation:
            return caught(mutant, "simulation", violation, seed, began)
        finally:
            patches.undo()
    return None


async def hunt_over_http(mutant: Mutant, kind: str, folder: RunFolder, seed: int) -> Caught | None:
    began = monotonic()
    with tempfile.TemporaryDirectory() as data:
        async with database(kind, folder) as url:
            await prepare(url, mutant)
            try:
                await run(url, seed, HTTP_STEPS, Path(data), mutant=mutant.name)
            except Violation as violation:
                return caught(mutant, kind, violation, seed, began)
    return None


async def prepare(url: str, mutant: Mutant) -> None:
    if not mutant.prepared:
        return
    engine = open_engine(url)
    await engine.start()
    try:
        async with engine.write() as conn:
            for sql in mutant.prepared:
                await conn.execute(sql)
    finally:
        await engine.close()


def shortened(text: str) -> str:
    """A rule without the ids of one run."""
    plain = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", text)
    return plain if len(plain) <= 110 else f"{plain[:110]}…"


def row(mutant: str, where: str, found: Caught | None) -> str:
    if found is None:
        return f"| {mutant} | {where} | **survived** | | |"
    return f"| {mutant} | {where} | {shortened(found.by)} | {found.seed} | {found.step} |"


async def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutant", choices=sorted(MUTANTS), action="append")
    parser.add_argument("--where", choices=("simulation", "sqlite", "postgres"), action="append")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    wanted = given.where or ["simulation", "sqlite", "postgres"]
    folder = RunFolder.begin()
    survived = False
    try:
        template = folder.path / "simulated.sqlite3"
        await migrate(f"sqlite://{template}")
        sys.stdout.write("| mutant | caught by | the rule it broke | seed | step |\n|---|---|---|---|---|\n")
        for name in given.mutant or MUTANTS:
            mutant = MUTANTS[name]
            for where in wanted:
                if where == "simulation" and mutant.simulated:
                    found = await hunt_simulated(mutant, template, folder.path)
                elif where in mutant.seen_on:
                    found = await hunt_over_http(mutant, where, folder, given.seed)
                else:
                    continue
                survived = survived or found is None
                sys.stdout.write(row(name, where, found) + "\n")
                sys.stdout.flush()
    finally:
        folder.end()
    return int(survived)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
