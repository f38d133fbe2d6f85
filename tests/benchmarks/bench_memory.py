"""What a process holds while q1–q5 are asked of it for minutes: `python -m tests.benchmarks.bench_memory [seconds]`.

Ours alone, one process on each database, 8 clients, the five questions in turn. Prints what was resident after each
fifth of the time, and how fast it grew from the first fifth on, by least squares. Nothing is asserted.
"""

import asyncio
import sys
import time
from contextlib import ExitStack
from typing import Any

from tests.benchmarks.bench_graphql import (
    CLIENTS,
    QUESTIONS,
    SMALLEST,
    enter,
    postgres_server,
    prepare,
    revs_of,
    started,
)
from tests.benchmarks.contest import Asker, Server, ours
from tests.databases import Unavailable

SECONDS = 300
SLICE_SECONDS = 0.4
PARTS = 5
LEAST_SECONDS = 60
"""Of less nothing can be said."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def drive(server: Server, asker: Asker, seconds: float) -> tuple[list[tuple[float, float]], dict[str, int]]:
    """(seconds since the beginning, MB resident) after each round of questions; how often each was asked."""
    seen: list[tuple[float, float]] = []
    asked = dict.fromkeys(QUESTIONS, 0)
    began = time.monotonic()
    while (since := time.monotonic() - began) < seconds:
        for name in QUESTIONS:
            job: dict[str, Any] = {
                "do": "load", "server": server.name, "side": server.side, "name": name, "port": server.port,
                "clients": CLIENTS, "seconds": SLICE_SECONDS, **server.job(name),
            }  # fmt: skip
            asked[name] += asker.ask(job)["requests"]
        seen.append((since, server.memory_kb() / 1024))
    return seen, asked


def slope(seen: list[tuple[float, float]]) -> float:
    """MB a minute, by least squares."""
    n = len(seen)
    at, held = sum(t for t, _ in seen) / n, sum(mb for _, mb in seen) / n
    return 60 * sum((t - at) * (mb - held) for t, mb in seen) / sum((t - at) ** 2 for t, _ in seen)


def main(words: list[str]) -> int:
    seconds = max(LEAST_SECONDS, float(next(iter(words), SECONDS)))
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            folder, url = stack.enter_context(postgres_server(None))
        except Unavailable as error:
            say(f"no PostgreSQL, and the company is built there: {error}")
            return 0
        company = prepare(folder, url, SMALLEST, lambda text: say(f"{time.monotonic() - began:6.1f} s {text}"))
        database, lite = f"{url}/company_{SMALLEST}", f"sqlite://{folder / f'product-{SMALLEST}.sqlite3'}"
        asker = Asker(folder / f"company-{SMALLEST}.json", folder)
        stack.callback(asker.stop)
        for name, at in (("PostgreSQL", database), ("SQLite", lite)):
            server = ours(f"ours, {name}", name, at, folder)
            with started([server]):
                enter(server, company, asyncio.run(revs_of(at, company.visits_second)))
                rest = server.memory_kb() / 1024
                seen, asked = drive(server, asker, seconds)
                fifths = [seen[len(seen) * part // PARTS - 1][1] for part in range(1, PARTS + 1)]
                settled = seen[len(seen) // PARTS :]
                told = ", ".join(f"{name} {count:,}" for name, count in asked.items())
                say(f"{name}: {sum(asked.values()):,} requests in {seconds:.0f} s ({told})")
                say(f"  MB resident at rest {rest:.0f}; after each fifth " + ", ".join(f"{mb:.1f}" for mb in fifths))
                say(f"  from the first fifth on {slope(settled):+.2f} MB a minute,"
                    f" {settled[-1][1] - settled[0][1]:+.1f} MB in all")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
