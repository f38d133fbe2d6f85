# ruff: noqa: E501 - the page's lines are as long as they are
"""The page of results: what was measured, each goal beside it, and whether it is reached."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

Json = dict[str, Any]
OURS, OURS_LITE = "ours, PostgreSQL", "ours, SQLite"
NAIVE, NAIVE_LITE, CACHED = "naive, PostgreSQL", "naive, SQLite", "naive + caches, PostgreSQL"
POSTGRAPHILE, MERCURIUS = "PostGraphile", "Mercurius"


class Measured(Protocol):
    """What of a run the page is made of."""

    taken: Any
    parity: dict[str, str]
    told: dict[str, Any]
    absent: list[str]
    rounds: int
    company: Any


class Goals:
    """The goals of the design, judged by one run."""

    def __init__(self, run: Measured) -> None:
        self._run = run

    def rate(self, name: str, server: str, clients: int) -> float | None:
        found = self._run.taken.get((name, clients, server))
        return None if found is None else float(found.rate)

    def ratio(self, name: str, other: str, clients: int, mine: str = OURS) -> float | None:
        ours, theirs = self.rate(name, mine, clients), self.rate(name, other, clients)
        return ours / theirs if ours and theirs else None

    def rows(self) -> Iterator[tuple[str, float | None, str, float, float | None, bool]]:
        """(goal, measured, unit, must, moonshot, more is better)."""
        many, one = 8, 1
        for name, clients, goals in (
            ("q1", many, ((POSTGRAPHILE, 2.0, 3.5), (NAIVE, 15.0, None), (CACHED, 8.0, None))),
            ("q2", many, ((POSTGRAPHILE, 2.2, 4.0), (NAIVE, 12.0, None))),
            ("q3", many, ((POSTGRAPHILE, 2.5, 8.0), (NAIVE, 10.0, None))),
            ("q4", one, ((POSTGRAPHILE, 2.5, 6.0),)),
            ("q5", many, ((POSTGRAPHILE, 4.0, 8.0),)),
        ):
            for other, must, moonshot in goals:
                yield (
                    f"{name}, {clients} client(s): times {other}",
                    self.ratio(name, other, clients),
                    "×",
                    must,
                    moonshot,
                    True,
                )
        yield "q5: changes/s at batch 100", _times(self.rate("q5", OURS, many), 100), "/s", 3_000, None, True
        records = self._run.told.get("q4 records")
        q4 = self._run.taken.get(("q4", one, OURS))
        if q4 and records:
            yield (
                "q4: documents/s of one core of the server",
                1_000 * records / statistics.median(q4.server_ms),
                "/s",
                25_000,
                None,
                True,
            )
            yield "q4: growth of the server's memory", max(q4.growth_mb), "MB", 32, None, False
        for name in ("q1", "q2", "q3", "q4", "q5"):
            clients = one if name == "q4" else many
            yield (
                f"{name} on SQLite: times naive on SQLite",
                self.ratio(name, NAIVE_LITE, clients, OURS_LITE),
                "×",
                10,
                None,
                True,
            )
        for name in ("q1", "q2", "q3", "q4", "q5"):
            clients = one if name == "q4" else many
            yield (
                f"{name} on SQLite: times ours on PostgreSQL",
                self.ratio(name, OURS, clients, OURS_LITE),
                "×",
                0,
                1,
                True,
            )
        for who, found in self._run.told.get("growth", {}).items():
            yield f"q2 with 10 times the customers, {who}: slower by", found["ratio"], "×", 1.3, 1.05, False
        for database, found in self._run.told.get("search", {}).items():
            text = f"name search, page {found['page']} against page 1, {database}: slower by"
            yield text, found["ratio"], "×", 1.3, None, False
        for by, found in self._run.told.get("pokes", {}).items():
            must = 60.0 if by == "SSE" else float("inf")
            yield (
                f"poke to {self._run.told['subscribers']:,} by {by}: median",
                found["median_ms"],
                "ms",
                must,
                30,
                False,
            )
            yield (
                f"poke by {by}: memory of each subscriber",
                found["kib_each"],
                "KiB",
                15 if by == "SSE" else float("inf"),
                None,
                False,
            )
        for encoding, found in self._run.told.get("packed", {}).items():
            if encoding != "identity":
                text = f"first sync packed by {encoding} ({found['bytes'] / 1e6:.1f} MB): extra CPU of the server"
                yield text, 100 * found["extra"], "%", 20, 10, False


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def goals_table(run: Measured) -> list[str]:
    lines = ["| goal | measured | must | | moonshot | |", "|---|---|---|---|---|---|"]
    for text, value, unit, must, moonshot, more in Goals(run).rows():
        sign = "≥" if more else "≤"
        bound = "" if must in (0, float("inf")) else f"{sign} {must:,g}"
        aim = "" if moonshot is None else f"{sign} {moonshot:,g}"
        if value is None:
            lines.append(f"| {text} | not measured | {bound} | | {aim} | |")
            continue
        lines.append(
            f"| {text} | {value:,.{0 if value >= 100 else 2}f} {unit} | {bound} | {_said(value, must, more) if bound else ''} |"
            f" {aim} | {_said(value, moonshot, more) if moonshot is not None else ''} |"
        )
    return lines


def _said(value: float, bound: float, more: bool) -> str:
    return "reached" if (value >= bound if more else value <= bound) else "**not reached**"


def results_table(run: Measured, name: str) -> list[str]:
    lines = [
        "| server | clients | requests/s, median (least to most) | CPU ms a request: server + PostgreSQL | median ms | RSS MB |",
        "|---|---|---|---|---|---|",
    ]
    for (question, clients, server), taken in run.taken.items():
        if question == name:
            database = statistics.median(taken.database_ms)
            digits = 2 if taken.rate < 10 else 0
            lines.append(
                f"| {server} | {clients} | {taken.rate:,.{digits}f} ({min(taken.rates):,.{digits}f} to {max(taken.rates):,.{digits}f}) |"
                f" {statistics.median(taken.server_ms):,.2f}{'' if 'SQLite' in server else f' + {database:,.2f}'} |"
                f" {statistics.median(taken.median_ms):,.1f} | {statistics.median(taken.rss_mb):,.0f} |"
            )
    return lines


def page(run: Measured, words: Mapping[str, str], names: Sequence[str], machine: str, commit: str) -> str:
    """The whole page, as it is kept in docs/BENCHMARKS.md."""
    company, scope = run.company, run.company.in_scope
    rows = ", ".join(f"{count:,} {table}" for table, count in company.rows.items())
    held = ", ".join(f"{count:,} {name}" for name, count in scope.items())
    parts = [
        "# Benchmarks",
        "Written by `python -m tests.benchmarks.bench_graphql --write`; edit nothing by hand. The goals are those of the"
        " design; every row says whether it is reached in this run.",
        f"**Machine:** {machine}. **Commit:** {commit}. {run.rounds} interleaved rounds.",
        *(f"**Absent:** {one}." for one in run.absent),
        *(f"**Note:** {one}" for one in run.told.get("notes", ())),
        "## Goals",
        "\n".join(goals_table(run)),
        "## How it is measured",
        f"- The company: {rows}.",
        "- Who asks ours: a rep (role REP) with two patches, signed in on a device, with scope, cost limits and logs on;"
        f" he may see {sum(scope.values()):,} records ({held}). q5 is pushed by another rep's devices, one for each client,"
        " through the same use cases as everything else: conflicts looked for, receipts, audit and feed written.",
        "- The others have no sign-in, no scope and no limits; they are told the patches. Their tables are copies of ours"
        " in the same PostgreSQL (or another SQLite file), with moments as text already, the number of the last change as"
        " a column, and the indexes their questions want. They write no receipts, no audit and no feed.",
        "- Every server is one process. PostgreSQL runs without fsync for all, which favours those that commit often. The"
        " one who asks is a process of its own; with two cores it shares them with server and database.",
        "- In a round every server is asked in turn, and each round begins with another one. CPU is read from /proc.",
        "- q4 of ours is `GET /sync/bulk`, unpacked; the others answer one document with six lists.",
        "## Parity",
        "No speed is told where answers differ. Compared as canonical JSON, with names of fields made the same:",
        "\n".join(f"- {name}: {text}." for name, text in run.parity.items()),
    ]
    for name in names:
        parts += [f"## {name}: {words[name]}", "\n".join(results_table(run, name))]
    return "\n\n".join(parts) + "\n"
