# ruff: noqa: E501 - a job stands on its lines
"""What of our own server is measured beside q1–q5: late pages, growth, pokes, a packed first sync."""

import itertools
import statistics
import time
from collections.abc import Mapping
from typing import Any

import httpx

from tests.benchmarks.contest import Asker, Server, sign_in
from tests.benchmarks.questions import OURS_Q2

Json = dict[str, Any]
PAGE, LATE_PAGE = 50, 100
SEARCHED = "haizhi"
SEARCH = f"""query ($after: String) {{ customers(filter: {{ search: "{SEARCHED}" }}, first: {PAGE}, after: $after) {{
  nodes {{ id nameEn city }} pageInfo {{ endCursor hasNextPage }} }} }}"""
SECONDS = 0.6
PUSHES = 5


def late_page(servers: list[Server], asker: Asker, email: str, rounds: int) -> Json:
    """Page 100 of a name search beside its first page, for somebody who sees every customer: requests/s of each."""
    found: Json = {}
    for server in servers:
        token, _ = sign_in(server, email)
        cursors: list[str | None] = [None]
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            while len(cursors) < LATE_PAGE:
                asked = {"query": SEARCH, "variables": {"after": cursors[-1]}}
                answer = client.post("/graphql", json=asked, headers={"authorization": f"Bearer {token}"}).json()
                page = answer["data"]["customers"]
                if not page["pageInfo"]["hasNextPage"]:
                    break
                cursors.append(page["pageInfo"]["endCursor"])
        bodies = {
            "first": _body(SEARCH, after=None),
            "late": _body(SEARCH, after=cursors[-1]),
        }
        rates: dict[str, list[float]] = {"first": [], "late": []}
        for _, (name, body) in itertools.product(range(rounds), bodies.items()):
            rates[name].append(_rate(asker, server, [token], body))
        found[server.database] = {
            "page": len(cursors), "first": statistics.median(rates["first"]), "late": statistics.median(rates["late"]),
        }  # fmt: skip
        found[server.database]["ratio"] = found[server.database]["first"] / found[server.database]["late"]
    return found


def growth(
    pairs: Mapping[str, tuple[Server, Server]], askers: tuple[Asker, Asker], emails: Mapping[str, str], rounds: int
) -> Json:
    """q2 in a company of a tenth and in the whole one, by a rep and by somebody who sees everything."""
    found: Json = {}
    for database, servers in pairs.items():
        for who, email in emails.items():
            tokens = [sign_in(server, email)[0] for server in servers]
            rates: tuple[list[float], list[float]] = ([], [])
            for _, at in itertools.product(range(rounds), (0, 1)):
                rates[at].append(_rate(askers[at], servers[at], [tokens[at]], _body(OURS_Q2)))
            small, large = (statistics.median(one) for one in rates)
            found[f"{who}, {database}"] = {"small": small, "large": large, "ratio": small / large}
    return found


def _body(document: str, **variables: object) -> str:
    return httpx.Request("POST", "http://x", json={"query": document, "variables": variables}).content.decode()


def _rate(asker: Asker, server: Server, tokens: list[str], body: str) -> float:
    job = {"do": "load", "server": server.name, "side": server.side, "name": "own", "port": server.port, "clients": 1,
           "seconds": SECONDS, "tokens": tokens, "bodies": [body]}  # fmt: skip
    told = asker.ask(job)
    return float(told["requests"] / told["seconds"])


def pokes(server: Server, asker: Asker, subscribers: int) -> Json:
    """By each way: how long after the answer to a push its subscribers have been told, what each costs."""
    found: Json = {}
    for by in ("SSE", "graphql-transport-ws"):
        before = server.memory_kb()
        job = {**server.job("q5"), "do": "pokes", "by": by, "server": server.name, "port": server.port, "pid": server.pid,
               "subscribers": subscribers, "times": PUSHES, "tokens": server.jobs["all"]["tokens"],
               "pushing": server.jobs["q5"]["tokens"][0], "side": server.side}  # fmt: skip
        told = asker.ask(job)
        found[by] = {
            "median_ms": told["median_ms"],
            "last_ms": told["last_ms"],
            "kib_each": (told["memory_kb"] - before) / subscribers,
        }
        time.sleep(1)
    return found


PACKED_SECONDS = 2.0
"""How long first syncs are asked for at a time: processors are accounted for in hundredths of a second, and one takes
some twenty of them."""


def packed(server: Server, asker: Asker, rounds: int) -> Json:
    """CPU of a first sync by encoding, against the plain one."""
    worked: dict[str, list[float]] = {"identity": [], "zstd": [], "gzip": []}
    sizes: dict[str, int] = {}
    for _, encoding in itertools.product(range(rounds), worked):
        before = server.worked_s()
        job = {"do": "load", "server": server.name, "side": server.side, "name": "q4", "port": server.port, "clients": 1,
               "seconds": PACKED_SECONDS, "encoding": encoding, **server.job("q4")}  # fmt: skip
        told = asker.ask(job)
        worked[encoding].append((server.worked_s() - before) / told["requests"])
        sizes[encoding] = told["bytes"]
    plain = statistics.median(worked["identity"])
    return {
        name: {"ms": 1_000 * statistics.median(one), "extra": statistics.median(one) / plain - 1, "bytes": sizes[name]}
        for name, one in worked.items()
    }
