"""A score run beside a serving process: what questions wait meanwhile, and what a million customers take of memory.

    python -m tests.benchmarks.bench_scoring [sqlite] [postgres] [--customers N] [--rounds R]   questions during a run
    python -m tests.benchmarks.bench_scoring --memory 1000000                peak of scoring, in a process of its own

Questions: one process serves, this one asks it one small question after the other over one socket, first with nothing
else going on, then beside a process that only computes, then while the same server has `runScores` carried out. Asked
is a 99th percentile of at most twice the idle one, by the median of three rounds, each with a company and a server of
its own: a 99th percentile hangs on a few dozen questions. Where the process that only computes misses it too, the
machine has no processor to spare, and the run is not to blame. Memory: customers and orders are drawn, and scored by
the nightly run's own pure path (`score_night`), first with no score stored and then the night after with all of them;
reading them from a database is not part of it (`bench_scoring_scale`).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import httpx
import numpy as np

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.arrays import IntColumn
from backend.domain.history import OrderColumns
from backend.domain.nightly import Night, Scored, StoredScores, score_night
from backend.domain.permissions import Role
from backend.domain.score_facts import FACT_KEYS, DayFacts, text_hashes
from backend.domain.times import add_days, day_from_number, day_number
from backend.ids import new_id
from backend.integrations.apart import NICE
from backend.storage.engine import open_engine
from backend.storage.night import STORED_NUMBERS, STORED_TEXTS
from backend.sync.work import Door, Work, in_work
from backend.usecases.people import create_user
from backend.usecases.territories import create_territory, grant_territory
from tests import factories, histories
from tests.benchmarks.bench_bulk import Server, say, token_of
from tests.benchmarks.bench_purchase import peak_bytes
from tests.databases import RunFolder, free_port, fresh_postgres, fresh_sqlite

CUSTOMERS, ORDERS_EACH = 20_000, 5
IDLE_SECONDS, THINK_SECONDS = 10.0, 0.005
RATIO_MUST = 2.0
ROUNDS = 3
TODAY = "2026-11-22"
QUESTION = {"query": "{ me { id name } tasks(first: 20) { nodes { id title } } }"}
RUN = {"query": "mutation { runScores { __typename ... on ScoresRun { customersScored customersChanged } } }"}


async def company(url: str, customers_n: int) -> tuple[Principal, str]:
    """Customers with orders in one territory, and an admin who holds it, signed in."""
    engine = open_engine(url)
    await engine.start()
    system = Principal(PrincipalKind.STAFF, user_id=new_id(), device_id=None, role=Role.ADMIN)

    async def people(work: Work) -> tuple[str, str]:
        node: dict[str, object] = {"timezone": "Asia/Shanghai", "nameEn": "China", "path": "/cn", "kind": "REGION"}
        root = await create_territory(work, node)
        user = await create_user(work, email="chief@bench.example", name="Chief", role="ADMIN", password_hash="none")
        await grant_territory(work, user, root)
        return root, user

    (root, user), _ = await in_work(engine, system, people, clock=wall_clock_ms, retries_max=0, door=Door.JOB)
    draw = np.random.default_rng(1)
    device, family = new_id(), new_id()
    async with engine.write() as conn:
        await factories.device(conn, user_id=user, id=device)
        # one that is silent for months is revoked by the nightly jobs, which begin a minute after the server
        await conn.execute("UPDATE device SET last_seen_at = ? WHERE id = ?", wall_clock_ms(), device)
        await conn.execute(
            "INSERT INTO refresh_family (id, user_id, device_id, generation, rotated_at, expires_at, revoked_at)"
            " VALUES (?, ?, ?, 1, ?, ?, NULL)",
            family, user, device, wall_clock_ms(), wall_clock_ms() + 10**9,
        )  # fmt: skip
        ids = await histories.customers(conn, customers_n, territory_id=root)
        who = draw.integers(0, customers_n, customers_n * ORDERS_EACH).tolist()
        ago, amounts = draw.integers(0, 900, len(who)).tolist(), draw.integers(1_000, 10**6, len(who)).tolist()
        rows = [(ids[w], add_days(TODAY, -d), a) for w, d, a in zip(who, ago, amounts, strict=True)]
        await histories.orders(conn, rows, currency="CNY", territory_id=root)
        await conn.execute("ANALYZE")
    await engine.close()
    return Principal(PrincipalKind.STAFF, user_id=user, device_id=device, role=Role.ADMIN), family


def asked(client: httpx.Client, until: threading.Event, seconds: float | None) -> list[float]:
    """Milliseconds of each question, one after the other."""
    taken, ends = [], None if seconds is None else time.perf_counter() + seconds
    while not until.is_set() and (ends is None or time.perf_counter() < ends):
        began = time.perf_counter()
        answer = client.post("/graphql", json=QUESTION)
        taken.append((time.perf_counter() - began) * 1_000)
        if answer.status_code != 200 or "errors" in answer.json():
            raise SystemExit(f"no answer to compare: {answer.text[:300]}")
        time.sleep(THINK_SECONDS)
    return taken


class Child:
    """The most memory a process that the server started ever had, looked at while it runs."""

    def __init__(self, server_pid: int) -> None:
        self.peak_kb = 0
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, args=(server_pid,), daemon=True)
        self._looking.start()

    def _look(self, server_pid: int) -> None:
        while not self._over.wait(0.2):
            # a process or a thread may be gone before it is asked
            with suppress(OSError, StopIteration):
                for task in Path(f"/proc/{server_pid}/task").iterdir():
                    for child in (task / "children").read_text().split():
                        lines = Path(f"/proc/{child}/status").read_text().splitlines()
                        peak = next(line for line in lines if line.startswith("VmHWM:"))
                        self.peak_kb = max(self.peak_kb, int(peak.split()[1]))

    def over(self) -> int:
        self._over.set()
        self._looking.join()
        return self.peak_kb


def told(name: str, taken: list[float]) -> float:
    p50, p99, most = np.percentile(taken, [50, 99, 100]).tolist()
    say(f"{name:>12}: {len(taken):>6,} questions, p50 {p50:6.1f} ms, p99 {p99:6.1f} ms, longest {most:6.1f} ms")
    return float(p99)


def beside(niceness: int) -> subprocess.Popen[bytes]:
    """A process that only computes, and asks no database: what the processors alone cost."""
    computes = f"import os; os.nice({niceness})\nwhile True: sum(i * i for i in range(10_000))"
    return subprocess.Popen([sys.executable, "-c", computes])


def bench(url: str, folder: Path, customers_n: int) -> dict[str, float]:
    """The 99th percentile in milliseconds, by what went on meanwhile."""
    settings = Settings(database_url=url, data_dir=folder / "var")
    principal, family = asyncio.run(company(url, customers_n))
    os.environ |= {"SELVEDGE_REPORTING_CURRENCY": "CNY", "SELVEDGE_DEVICE_REQUESTS_PER_MINUTE": "100000",
                   "SELVEDGE_USER_REQUESTS_PER_MINUTE": "0"}  # fmt: skip
    server = Server(settings, free_port())
    headers = {"authorization": f"Bearer {token_of(settings, principal, family).strip()}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=600, headers=headers) as client:
            server.wait(client)
            over = threading.Event()
            asked(client, over, 2.0)  # whatever is made once
            found = {"idle": told("idle", asked(client, over, IDLE_SECONDS))}
            computing = beside(NICE)
            try:
                found["computing"] = told("computing", asked(client, over, IDLE_SECONDS))
            finally:
                computing.kill()
                computing.wait()
            for name in ("first run", "second run"):
                over.clear()
                answers: list[str] = []
                resting, worked = server.memory_kb("VmRSS"), server.worked_s()
                server.forget_peak()
                began = time.perf_counter()

                def run(answers: list[str] = answers, over: threading.Event = over) -> None:
                    with httpx.Client(base_url=client.base_url, timeout=600, headers=headers) as other:
                        answers.append(other.post("/graphql", json=RUN).text)
                    over.set()

                child = Child(server.process.pid)
                running = threading.Thread(target=run)
                running.start()
                found[name] = told(name, asked(client, over, None))
                running.join()
                if '"ScoresRun"' not in answers[0]:
                    raise SystemExit(f"no run to measure: {answers[0][:300]}")
                seconds, grown = time.perf_counter() - began, (server.memory_kb("VmHWM") - resting) / 1024
                apart = child.over() / 2**20
                say(
                    f"{'':>14}{seconds:.1f} s ({server.worked_s() - worked:.1f} s of the server's processor), peak"
                    f" +{grown:.0f} MB, of the run's own process {apart:.2f} GiB; p99 {found[name] / found['idle']:.1f}"
                    f" times the idle one; {answers[0][:160]}"
                )
    finally:
        server.stop()
    return found


def judged(database: str, rounds: Sequence[Mapping[str, float]]) -> None:
    """Every round's figure beside its own idle one, and the median of them, by which it is judged."""
    for name in rounds[0]:
        taken = ", ".join(f"{one[name]:.1f}" for one in rounds)
        line = (
            f"{database}, {name}: p99 of {len(rounds)} rounds {taken} ms, median {median(r[name] for r in rounds):.1f}"
        )
        if name != "idle":
            ratios = [one[name] / one["idle"] for one in rounds]
            line += f"; times idle {', '.join(f'{ratio:.1f}' for ratio in ratios)}, median {median(ratios):.1f}"
            if name != "computing":
                verdict = "reached" if median(ratios) <= RATIO_MUST else "MISSED"
                line += f", asked at most {RATIO_MUST:.0f}: {verdict}"
        say(line)


def drawn_night(customers_n: int, as_of: str) -> Night:
    """Customers of one kind with orders over three years, of whom no score is stored yet."""
    draw = np.random.default_rng(1)
    rows_n, today = customers_n * ORDERS_EACH, day_number(as_of)
    customer = draw.integers(0, customers_n, rows_n)
    nothing = np.zeros(rows_n, dtype=np.bool_)
    nobody = [""] * customers_n
    missing = IntColumn.missing(customers_n)
    return Night(
        as_of=as_of,
        quarter="2026Q4",
        orders=OrderColumns(
            customer, today - 1 - draw.integers(0, 1_000, rows_n), draw.integers(1_000, 10**6, rows_n),
            np.zeros_like(customer), nothing, nothing,
        ),
        kind=np.zeros(customers_n, dtype=np.int64),
        peer_group=draw.integers(0, 30, customers_n),
        cadence_days=missing,
        breadth_n=missing,
        season_close_day=missing,
        has_preorder_history=missing,
        facts=DayFacts(
            missing, missing, IntColumn.full(np.zeros(customers_n, dtype=np.int64)),
            IntColumn.full(np.zeros(customers_n, dtype=np.int64)), nobody, nobody, nobody, {},
        ),
        stored=StoredScores(
            np.zeros(customers_n, dtype=np.bool_), dict.fromkeys(STORED_NUMBERS, missing),
            dict.fromkeys(STORED_TEXTS, nobody), dict.fromkeys(FACT_KEYS.values(), missing),
            np.zeros(customers_n, dtype=np.int64),
        ),
        currency="CNY",
        published=None,
        table_id="",
        new_version="2026Q4-1",
        new_table_id=new_id(),
        fitted=None,
        default_margin=0.3,
        visit_cost_minor=10_000,
    )  # fmt: skip


def night_after(night: Night, scored: Scored) -> Night:
    """The next day with the scores of this one stored, as a database gives them back."""
    stored = StoredScores(
        np.ones(night.kind.shape, dtype=np.bool_),
        {name: scored.numbers[name] for name in STORED_NUMBERS},
        {name: scored.texts[name] for name in STORED_TEXTS},
        {name: getattr(scored.columns.priority_inputs, name) for name in FACT_KEYS.values()},
        text_hashes(night.facts.evidence_texts()),
    )
    fields = {name: getattr(night, name) for name in Night.__slots__}
    return Night(**fields | {
        "as_of": day_from_number(day_number(night.as_of) + 1), "stored": stored, "published": scored.published,
        "table_id": scored.table_id, "fitted": scored.fitted,
    })  # fmt: skip


def memory(customers_n: int) -> None:
    before = peak_bytes()
    night = drawn_night(customers_n, TODAY)
    for name in ("first night", "night after"):
        began = time.perf_counter()
        scored = score_night(night)
        seconds = time.perf_counter() - began
        say(
            f"{customers_n:>9,} customers, {customers_n * ORDERS_EACH:,} orders | {name}: {seconds:.1f} s,"
            f" {int(scored.changed.sum()):,} changed, peak {peak_bytes() / 2**30:.2f} GiB"
            f" ({before / 2**20:.0f} MiB before the first customer)"
        )
        if name == "first night":
            night = night_after(night, scored)


def main() -> None:
    arguments = argparse.ArgumentParser(description="A score run beside questions, and its memory.")
    arguments.add_argument("databases", nargs="*", default=["sqlite", "postgres"], help="sqlite, postgres")
    arguments.add_argument("--customers", type=int, default=CUSTOMERS)
    arguments.add_argument("--rounds", type=int, default=ROUNDS, help="of which the median counts")
    arguments.add_argument("--memory", type=int, metavar="CUSTOMERS", help="peak memory for so many customers instead")
    given = arguments.parse_args()
    if given.memory:
        memory(given.memory)
        return
    made = RunFolder.begin()
    try:
        with tempfile.TemporaryDirectory() as path:
            for database in given.databases:
                rounds = []
                for number in range(given.rounds):
                    say(f"{database}, {given.customers:,} customers, round {number + 1} of {given.rounds}")
                    folder = Path(path) / f"{database}-{number}"
                    folder.mkdir()
                    if database == "sqlite":
                        rounds.append(bench(fresh_sqlite(made.sqlite_template(), folder), folder, given.customers))
                    else:
                        rounds.append(asyncio.run(on_postgres(made.postgres_url(), folder, given.customers)))
                judged(database, rounds)
    finally:
        made.end()
    # in a process of its own, so that nothing of the above counts
    subprocess.run([sys.executable, "-m", "tests.benchmarks.bench_scoring", "--memory", "1000000"], check=True)


async def on_postgres(server: str, folder: Path, customers_n: int) -> dict[str, float]:
    async with fresh_postgres(server) as url:
        return await asyncio.to_thread(bench, url, folder, customers_n)


if __name__ == "__main__":
    main()
