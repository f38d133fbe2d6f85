"""The first sync over 2G: `python -m tests.benchmarks.bench_weak_signal`.

Bytes are true; the link's seconds are its own, run through at many times their speed. Nothing here is asserted.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from backend.telemetry import configure_logs
from tests.chaos.weak_signal import BREAKS, PAGE_ROWS, SCALE, company, weak_phone
from tests.databases import RunFolder, fresh_sqlite

SEED = 1


async def main() -> None:
    configure_logs("ERROR")
    folder = RunFolder.begin()
    try:
        template = await asyncio.to_thread(folder.sqlite_template)
        with tempfile.TemporaryDirectory() as data:
            url = fresh_sqlite(template, folder.path)
            async with company(url, Path(data) / "var", "tiny") as (served, email):
                async with weak_phone(served, email, SEED) as phone:
                    found = await phone.stream()
                async with weak_phone(served, email, SEED) as phone:
                    paged = await phone.pages()
    finally:
        folder.end()
    of_100 = {fault.value: weight for fault, weight in BREAKS.items()}
    sys.stdout.write(
        f"first sync over 50 kbit/s, 800 ms, 5 % loss; of 100 requests {of_100}; time run {SCALE:g} times as fast\n"
        f"  today's list usable  {found.today}\n"
        f"  all there, by stream {found.whole}\n"
        f"    broken off {found.breaks} times, {found.rows_again} rows came again\n"
        f"  all there, by pages  {paged} (pages of {PAGE_ROWS} rows)\n"
    )


if __name__ == "__main__":
    asyncio.run(main())
