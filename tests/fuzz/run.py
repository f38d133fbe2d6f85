"""`make fuzz`: `FUZZ_CASES` requests (20,000) drawn from `FUZZ_SEED` (1), half of them on each database.

`FUZZ_DATABASE` (`sqlite`, `postgres`) asks one only. Ends with 1 when anything was answered that may not be.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from time import monotonic

from backend.telemetry import configure_logs
from tests.databases import RunFolder, fresh_postgres, fresh_sqlite
from tests.fuzz.asking import Told, fuzzed
from tests.fuzz.drawing import draw, operations

CASES = 20_000
EACH = 15
"""So many of each field are drawn from one seed before the next."""
SHOWN = 30


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def ask(database_url: str, folder: Path, cases: int, seed_number: int) -> Told:
    told = Told()
    batch = EACH * len(operations())
    async with fuzzed(database_url, folder) as world:
        for number, done in enumerate(range(0, cases, batch)):
            shown = len(told.wrong)
            await world.ask_all(draw(min(batch, cases - done), seed_number + number, world.ids), told)
            say(f"  {told.cases:6,} asked, {len(told.wrong)} wrong")
            for text in told.wrong[shown:SHOWN]:
                say(f"\n{text}")
    return told


async def main() -> int:
    configure_logs("ERROR")
    cases = int(os.environ.get("FUZZ_CASES", CASES))
    seed_number = int(os.environ.get("FUZZ_SEED", "1"))
    only = os.environ.get("FUZZ_DATABASE")
    shared = RunFolder.begin()
    wrong = 0
    try:
        for place, database in enumerate(("sqlite", "postgres")):
            if only not in (None, database):
                continue
            share = cases if only else cases // 2
            with tempfile.TemporaryDirectory() as name:
                folder, began = Path(name), monotonic()
                say(f"{database}: {share:,} requests over {len(operations())} fields, seed {seed_number}")
                if database == "sqlite":
                    template = await asyncio.to_thread(shared.sqlite_template)
                    told = await ask(fresh_sqlite(template, folder), folder, share, seed_number)
                else:
                    server = await asyncio.to_thread(shared.postgres_url)
                    async with fresh_postgres(server) as url:
                        told = await ask(url, folder, share, seed_number + 1_000 * place)
                codes = ", ".join(f"{code} {count:,}" for code, count in told.codes.most_common())
                say(f"{database}: {told.cases:,} asked in {monotonic() - began:.0f} s, {len(told.wrong)} wrong")
                statuses = ", ".join(f"{status} {count:,}" for status, count in sorted(told.statuses.items()))
                say(f"  answered: {codes}")
                say(f"  statuses: {statuses}")
                for kind in ("Query", "Mutation"):
                    every, asked, run = (
                        {f for f in of if f.startswith(kind)} for of in (operations(), told.asked, told.run)
                    )
                    say(f"  {kind}: {len(asked)} of {len(every)} fields asked, {len(run)} run")
                    say(f"    never run: {', '.join(sorted(every - run)) or 'none'}")
                wrong += len(told.wrong)
    finally:
        shared.end()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
