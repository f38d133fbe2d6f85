"""q1–q5 of the design side by side with the servers people would else write or take, in one run.

    python -m tests.benchmarks.bench_graphql [--write] [--customers N] [--rounds N] [--only q1,q5] [--cache FOLDER]

`--write` puts the results into docs/BENCHMARKS.md. `--cache` keeps the built databases in a folder for the next run; a
run that was broken off can be started again at any time. Parity comes first: where two servers answer differently,
no speed is told. Nothing is asserted about speed; each goal is said to be reached or not.
"""

import argparse
import asyncio
import base64
import os
import platform
import signal
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.storage.engine import open_engine
from backend.sync.cursor import Cursor, Position, seal
from backend.sync.versions import SCHEMA_VERSION
from tests.benchmarks.beyond import growth, late_page, packed, pokes
from tests.benchmarks.company import DELTA_ROWS, Company, build, shapes
from tests.benchmarks.contest import (
    CURSOR_SECRET,
    PEERS,
    ROOT,
    Asker,
    Failed,
    Postgres,
    Server,
    commit,
    others,
    ours,
    sign_in,
)
from tests.benchmarks.questions import OURS, PUSH_CHANGES
from tests.benchmarks.told import goals_table, page
from tests.databases import RunFolder, Unavailable

Json = dict[str, Any]
CUSTOMERS = 100_000
ROUNDS = 5
CLIENTS = 8
SUBSCRIBERS = 1_000
SMALLEST = 4_000
"""Two reps with two patches of 1,000 each."""
VERSIONS = ("strawberry-graphql", "tortoise-orm", "uvicorn", "asyncpg")
SECONDS_MANY, SECONDS_ONE = 0.8, 0.5
QUESTIONS = ("q1", "q2", "q3", "q4", "q5")
WORDS = {
    "q1": "one customer, its contacts, its last 10 orders with lines",
    "q2": "50 customers by priority, with territory and next visit",
    "q3": "what changed: 1,000 records",
    "q4": "first sync: everything in scope",
    "q5": "push of 100 changes",
}
POSTGRES_MORE = """
shared_buffers = 512MB
work_mem = 16MB
maintenance_work_mem = 256MB
effective_cache_size = 4GB
max_parallel_workers_per_gather = 0
"""
ABOUT = (__doc__ or "").splitlines()[0]
say = Console(highlight=False)


@dataclass
class Taken:
    """What was measured of one server, one question and one number of clients: a value of each round."""

    rates: list[float] = field(default_factory=list)
    server_ms: list[float] = field(default_factory=list)
    database_ms: list[float] = field(default_factory=list)
    asker_ms: list[float] = field(default_factory=list)
    median_ms: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    growth_mb: list[float] = field(default_factory=list)
    bytes: int = 0

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


@dataclass
class Run:
    """Everything a run knows; what it measured is by question, clients and server."""

    folder: Path
    company: Company
    servers: list[Server]
    asker: Asker
    postgres: Postgres
    absent: list[str]
    rounds: int
    taken: dict[tuple[str, int, str], Taken] = field(default_factory=dict)
    parity: dict[str, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    def one(self, at: Server, name: str, clients: int, seconds: float, **more: Any) -> None:
        job = {"do": "load", "server": at.name, "side": at.side, "name": name, "port": at.port,
               "clients": clients, "seconds": seconds, **at.job(name), **more}  # fmt: skip
        taken = self.taken.setdefault((name, clients, more.get("label", at.name)), Taken())
        before = at.memory_kb()
        if name == "q4":
            at.forget_peak()
        worked, database = at.worked_s(), self.postgres.worked_s()
        told = self.asker.ask(job)
        requests = told["requests"]
        taken.rates.append(requests / told["seconds"])
        taken.server_ms.append(1_000 * (at.worked_s() - worked) / requests)
        taken.database_ms.append(1_000 * (self.postgres.worked_s() - database) / requests)
        taken.asker_ms.append(told["asker_ms"])
        taken.median_ms.append(told["median_ms"])
        taken.rss_mb.append(at.memory_kb() / 1024)
        taken.growth_mb.append((at.memory_kb("VmHWM") - before) / 1024)
        taken.bytes = told["bytes"]


# --- the databases ---


def prepare(folder: Path, postgres_url: str, customers: int, tell: Callable[[str], None]) -> Company:
    """The company in both databases; what a run before has finished is used again."""
    found = folder / f"company-{customers}.json"
    if found.exists():
        return Company.load(found)
    asyncio.run(_create_database(postgres_url, f"company_{customers}"))
    product, peers = folder / f"product-{customers}.sqlite3", folder / f"peers-{customers}.sqlite3"
    for path in (product, peers):
        for end in ("", "-wal", "-shm"):
            Path(f"{path}{end}").unlink(missing_ok=True)
    company = build(f"{postgres_url}/company_{customers}", product, peers, customers, tell)
    company.save(found)
    return company


async def _create_database(postgres_url: str, name: str) -> None:
    raw = await asyncpg.connect(f"{postgres_url}/postgres")
    try:
        await raw.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await raw.execute(f"CREATE DATABASE {name}")
    finally:
        await raw.close()


# --- signing in ---


def enter(server: Server, company: Company, revs: dict[str, int]) -> None:
    """The tokens of our servers: one rep's phone for reading, another rep's for pushing, each its own device."""
    token, device = sign_in(server, company.rep)
    at = Cursor(Position(company.delta_from), company.delta_from, (), SCHEMA_VERSION)
    cursor = seal(at, secret=CURSOR_SECRET.encode(), user_id=_user_of(token), device_id=device)
    pushing = [sign_in(server, company.second)[0] for _ in range(CLIENTS)]
    server.jobs = {
        "all": {"tokens": [token]},
        "q3": {"cursor": cursor},
        "q5": {"tokens": pushing, "revs": revs, "client_seqs": [0] * CLIENTS},
    }


def _user_of(token: str) -> str:
    part = token.split(".")[1]
    return str(orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["sub"])


async def revs_of(url: str, ids: tuple[str, ...]) -> dict[str, int]:
    """The revision of each visit that will be pushed, in one of our databases."""
    engine = open_engine(url)
    await engine.start()
    try:
        keys = [f"visits:{one}" for one in ids]
        return dict(await engine.fetch("SELECT record_id, seq FROM feed WHERE key = ANY(?)", keys))
    finally:
        await engine.close()


# --- parity ---


def compare(run: Run) -> None:
    """Ask every server every question once; raises `Failed` where one answers another thing than ours on PostgreSQL."""
    for name in ("q1", "q2", "q3", "q4"):
        forms: dict[str, bytes] = {}
        for server in run.servers:
            into = run.folder / "answer.json"
            job = {"do": "once", "server": server.name, "side": server.side, "name": name, "port": server.port,
                   "canonical": True, "into": str(into), **server.job(name)}  # fmt: skip
            told = run.asker.ask(job)
            if told["status"] != 200:
                raise Failed(f"{server.name}, {name}: {told}")
            forms[server.name] = into.read_bytes()
        (first, wanted), *rest = forms.items()
        for other, form in rest:
            if form != wanted:
                raise Failed(f"{name}: {other} does not answer what {first} does: {_difference(wanted, form)}")
        found = orjson.loads(wanted)
        records = sum(map(len, found.values())) if name == "q4" else len(found) if isinstance(found, list) else 1
        if records < {"q1": 1, "q2": 50, "q3": DELTA_ROWS, "q4": 1_000}[name]:
            raise Failed(f"{name}: only {records} records")
        run.parity[name] = f"{len(forms)} servers, {records:,} records, {len(wanted):,} bytes of canonical JSON each"
        run.told[f"{name} records"] = records


def _difference(wanted: bytes, found: bytes) -> str:
    at = next((n for n, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), min(len(wanted), len(found)))
    start = max(0, at - 120)
    there, here = (one[start : at + 80].decode(errors="replace") for one in (wanted, found))
    return f"…{there}… against …{here}…"


def compare_writes(run: Run) -> None:
    """After one push through each server the visits stand as that push said."""
    for server, more in pushing(run):
        run.one(server, "q5", 1, 0, **more)
        run.taken.clear()
        rows = asyncio.run(_next_steps(run, server))
        steps = [rows[one] for one in run.company.visits_second[:PUSH_CHANGES]]
        mark = steps[0].rpartition(" ")[0]
        if not mark.startswith("step ") or steps != [f"{mark} {n}" for n in range(PUSH_CHANGES)]:
            raise Failed(f"q5: after a push {more.get('label', server.name)} holds {steps[:3]} …")
    run.parity["q5"] = f"{len(list(pushing(run)))} ways, the {PUSH_CHANGES} visits read back from each one's table"


def pushing(run: Run) -> Iterator[tuple[Server, Json]]:
    """Every server, and PostGraphile with a set-based function of its own beside it."""
    for server in run.servers:
        yield server, {}
        if server.side == "postgraphile":
            label = "PostGraphile, set-based function"
            yield server, {"label": label, "server": label, "whole": True}


async def _next_steps(run: Run, server: Server) -> dict[str, str]:
    table = "visit" if server.side == OURS else "peer.visit"
    ids = run.company.visits_second[:PUSH_CHANGES]
    if server.database == "SQLite":
        name = "product" if server.side == OURS else "peers"
        lite = sqlite3.connect(run.folder / f"{name}-{run.company.customers}.sqlite3")
        marks = ", ".join("?" * len(ids))
        rows = lite.execute(f"SELECT id, next_step FROM visit WHERE id IN ({marks})", ids).fetchall()
        lite.close()
        return dict(rows)
    raw = await asyncpg.connect(run.told["url"])
    try:
        return dict(await raw.fetch(f"SELECT id, next_step FROM {table} WHERE id = ANY($1)", list(ids)))
    finally:
        await raw.close()


# --- the rounds ---


def measure(run: Run, names: list[str]) -> None:
    """Interleaved: in every round every server, in turn, and the next round begins with another one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=say) as bar:
        for name in names:
            ways = list(pushing(run)) if name == "q5" else [(server, {}) for server in run.servers]
            shown = bar.add_task(f"{name}: {WORDS[name]}", total=run.rounds * len(ways))
            for server, more in ways:  # a first time for caches, connections and plans
                if name != "q4":
                    # each of these pushes other records, whose pages nobody has read yet
                    run.one(server, name, CLIENTS, 0.3, **more)
                run.one(server, name, 1, 0.1 if name == "q4" else 0.3, **more)
            if name == "q5":
                asyncio.run(_look_anew(run.told["url"]))
            for key in [key for key in run.taken if key[0] == name]:
                del run.taken[key]
            for turn in range(run.rounds):
                at = turn % len(ways)
                for server, more in ways[at:] + ways[:at]:
                    if name != "q4":
                        run.one(server, name, CLIENTS, SECONDS_MANY, **more)
                    run.one(server, name, 1, SECONDS_ONE, **more)
                    bar.advance(shown)


async def _look_anew(url: str) -> None:
    """What autovacuum does within a minute everywhere else, and is off here for steady figures.

    A table that was empty when a statement was planned is else read through from end to end for as long as the
    connection lasts: the receipts of a run at each push, however many they are by then.
    """
    raw = await asyncpg.connect(url)
    try:
        await raw.execute("ANALYZE")
    finally:
        await raw.close()


# --- starting and stopping ---


@contextmanager
def started(servers: list[Server]) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield
    finally:
        for server in servers:
            server.stop()


@contextmanager
def postgres_server(folder: Path | None) -> Iterator[tuple[Path, str]]:
    """(folder, URL without a database) of a PostgreSQL of the run's own."""
    made = RunFolder.begin() if folder is None else RunFolder.begin(folder)
    try:
        yield made.path, made.postgres_url(more=POSTGRES_MORE)
    finally:
        made.end(keep=folder is not None)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bench_graphql", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help="put the results into docs/BENCHMARKS.md")
    parser.add_argument(
        "--customers",
        type=int,
        default=CUSTOMERS,
        help=f"size of the company, {CUSTOMERS:,} unless told; at least 4,000",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds, {ROUNDS} unless told")
    parser.add_argument("--only", default="", help="some of the questions, by commas; then nothing is written")
    parser.add_argument("--cache", type=Path, default=None, help="keep the built databases in this folder")
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            folder, url = stack.enter_context(postgres_server(given.cache))
        except Unavailable as error:
            say.print(f"no PostgreSQL, nothing to compare with: {error}")
            return 0
        try:
            run_all(stack, given, folder, url, began)
        except Failed as failed:
            say.print(f"[red]{failed}[/red]", soft_wrap=True)
            return 1
    return 0


def run_all(stack: ExitStack, given: argparse.Namespace, folder: Path, url: str, began: float) -> None:
    def tell(text: str) -> None:
        say.print(f"[dim]{time.monotonic() - began:6.1f} s[/dim] {text}")

    company = prepare(folder, url, given.customers, tell)
    database = f"{url}/company_{given.customers}"
    shapes_file = folder / "shapes.json"
    shapes_file.write_bytes(orjson.dumps(shapes()))
    tell("starting the servers")
    lite = f"sqlite://{folder / f'product-{given.customers}.sqlite3'}"
    ours_on_both = [
        ours("ours, PostgreSQL", "PostgreSQL", database, folder),
        ours("ours, SQLite", "SQLite", lite, folder),
    ]
    beside, absent = others(database, folder / f"peers-{given.customers}.sqlite3", shapes_file, folder)
    for one in absent:
        tell(f"absent: {one}")
    servers = [*ours_on_both, *beside]
    stack.enter_context(started(servers))
    for server, at in zip(ours_on_both, (database, lite), strict=True):
        enter(server, company, asyncio.run(revs_of(at, company.visits_second)))
    asker = Asker(folder / f"company-{given.customers}.json", folder)
    stack.callback(asker.stop)
    run = Run(folder, company, servers, asker, Postgres(folder / "server" / "data"), absent, given.rounds)
    run.told["url"] = database
    tell("parity")
    compare(run)
    compare_writes(run)
    for name, text in run.parity.items():
        tell(f"{name} answered alike: {text}")
    names = [name for name in QUESTIONS if not given.only or name in given.only.split(",")]
    measure(run, names)
    show(run, names)
    if not given.only:
        more(stack, run, url, tell)
        said = page(run, WORDS, names, machine(run), commit())
        say.print("\n".join(goals_table(run)), soft_wrap=True, markup=False)
        if given.write:
            (ROOT / "docs" / "BENCHMARKS.md").write_text(said, "utf-8")
            tell("wrote docs/BENCHMARKS.md")
    tell("done")


def more(stack: ExitStack, run: Run, url: str, tell: Callable[[str], None]) -> None:
    """What is measured of ours alone."""
    mine = [server for server in run.servers if server.side == OURS]
    tell("late pages of a name search")
    run.told["search"] = late_page(mine, run.asker, run.company.chief, run.rounds)
    tell("pokes")
    run.told["subscribers"] = SUBSCRIBERS
    run.told["pokes"] = pokes(mine[0], run.asker, SUBSCRIBERS)
    tell("a packed first sync")
    run.told["packed"] = packed(mine[0], run.asker, run.rounds)
    least = run.company.customers // 10
    if least < SMALLEST:
        tell(f"growth is not measured: a tenth of the company is less than {SMALLEST:,} customers")
        return
    tell("growth: a company of a tenth")
    company = prepare(run.folder, url, least, tell)
    path = run.folder / f"product-{least}.sqlite3"
    small = [
        ours("small, PostgreSQL", "PostgreSQL", f"{url}/company_{least}", run.folder),
        ours("small, SQLite", "SQLite", f"sqlite://{path}", run.folder),
    ]
    stack.enter_context(started(small))
    asker = Asker(run.folder / f"company-{least}.json", run.folder)
    stack.callback(asker.stop)
    pairs = {large.database: (little, large) for little, large in zip(small, mine, strict=True)}
    emails = {"a rep": company.rep, "one who sees all": company.chief}
    run.told["growth"] = growth(pairs, (asker, run.asker), emails, run.rounds)


def machine(run: Run) -> str:
    """Cores, processor and versions; nothing that names the machine or its folders."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in VERSIONS)]
    versions.append(f"PostgreSQL {asyncio.run(_postgres_version(run.told['url']))}, SQLite {sqlite3.sqlite_version}")
    locked = PEERS / "package-lock.json"
    packages = orjson.loads(locked.read_bytes())["packages"]
    versions += [
        f"{name} {packages[f'node_modules/{name}']['version']}" for name in ("node", "postgraphile", "mercurius")
    ]
    busy = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {model}, load {busy:.1f} at the end; {', '.join(versions)}"


async def _postgres_version(url: str) -> str:
    raw = await asyncpg.connect(url)
    try:
        return ".".join(str(part) for part in raw.get_server_version()[:2])
    finally:
        await raw.close()


def show(run: Run, names: list[str]) -> None:
    for name in names:
        say.print(f"[bold]{name}[/bold] {WORDS[name]}")
        for (question, clients, server), taken in run.taken.items():
            if question == name:
                used = f"{statistics.median(taken.server_ms):8.2f} + {statistics.median(taken.database_ms):6.2f} ms"
                say.print(
                    f"  {server:34} {clients} {taken.rate:9,.1f}/s"
                    f" ({min(taken.rates):,.1f}-{max(taken.rates):,.1f}) {used}"
                    f" asker {statistics.median(taken.asker_ms):5.2f} ms {statistics.median(taken.rss_mb):4.0f} MB",
                    soft_wrap=True,
                )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
