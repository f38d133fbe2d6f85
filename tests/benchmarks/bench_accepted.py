"""What the worst documents cost that are *not* refused: `python -m tests.benchmarks.bench_accepted [customers]`.

One process that serves SQLite with the limits nobody has set otherwise, asked by somebody who sees everybody; each
document stands just under one or more of the caps. Prints what each costs of processor, for the first time (parsed,
validated, planned) and again, and the longest the loop that serves everybody else was held by it at a stretch, in its
own processor time, so that what else runs on the machine does not count. Nothing is asserted.
"""

import asyncio
import gc
import statistics
import sys
import time
from contextlib import ExitStack
from typing import Any

import httpx
import orjson
from starlette.types import Message

from backend.app import make_app
from backend.config import Settings
from backend.ids import new_id
from backend.telemetry import configure_logs
from tests.benchmarks.bench_graphql import SMALLEST, postgres_server, prepare
from tests.benchmarks.company import PASSWORD
from tests.benchmarks.contest import SIGN_IN
from tests.databases import Unavailable

ROUNDS = 5
LOOP_MS = 100
BEAT_SECONDS = 0.0005
_CUSTOMER = "id code nameZh nameEn kind stage city street phone email currency completenessPercent createdAt"
_ORDER = "id number state source orderedOn poNumber currency units total { amountMinor }"
_LINE = "lines { id position description unitPriceMinor discountBp units totalMinor cells }"


def documents() -> dict[str, str]:
    """Named by the cap they stand under."""
    deep = "id"
    for level in range(3):
        rows = "customers(first: 2)" if level % 2 else "contacts(first: 2)"
        one = "customer" if level % 2 else "contact"
        deep = f"{rows} {{ nodes {{ {one} {{ {deep} }} }} }}"
    aliases = " ".join(f"a{n}: nameEn" for n in range(190))
    return {
        "cost: 200 customers, 110 fields": (
            f"{{ customers(first: 200) {{ nodes {{ {' '.join(f'a{n}: nameEn' for n in range(95))} {_CUSTOMER} }} }} }}"
        ),
        "cost: 190 aliases of a list": f"{{ customers(first: 200) {{ nodes {{ {aliases} }} }} }}",
        "cost: orders with lines": (
            f"{{ customers(first: 50) {{ nodes {{ id orders(first: 10) {{ nodes {{ {_ORDER} {_LINE} }} }} }} }} }}"
        ),
        "cost: orders with lines, wide": (
            f"{{ orders(first: 200) {{ nodes {{ {_ORDER} {_LINE} customer {{ {_CUSTOMER} }} }} }} }}"
        ),
        "depth: people of shops of people": f"{{ customers(first: 100) {{ nodes {{ {deep} }} }} }}",
        "10 at the top, each a page": "{ "
        + " ".join(f"p{n}: customers(first: 200) {{ nodes {{ {_CUSTOMER} }} }}" for n in range(10))
        + " }",
        "10 searches": "{ "
        + " ".join(
            f'p{n}: customers(filter: {{search: "clo"}}, last: 100) {{ totalCount nodes {{ id nameEn }} }}'
            for n in range(10)
        )
        + " }",
        "sorted, counted, from the end": (
            "{ customers(sort: PRIORITY, last: 200) { totalCount nodes { id score { priority } nextVisit { id } } } }"
        ),
        "selections: 60 fragments": "{ "
        + " ".join(
            f"p{n}: customers(first: 20) {{ nodes {{ {' '.join(f'...F{m}' for m in range(6 * n, 6 * n + 6))} }} }}"
            for n in range(10)
        )
        + " } "
        + " ".join(f"fragment F{n} on Customer {{ {_CUSTOMER} }}" for n in range(60)),
        "pages by variables": "query ("
        + ", ".join(f"$a{n}: Int = 1" for n in range(9))
        + ") { "
        + " ".join(f"p{n}: customers(first: $a{n}) {{ nodes {{ {_CUSTOMER} }} }}" for n in range(9))
        + " }",
        "the questions of tools": INTROSPECTION,
    }


INTROSPECTION = (
    "{ __schema { types { name kind description fields(includeDeprecated: true) { name description args { name type"
    " { name kind ofType { name kind ofType { name kind ofType { name } } } } defaultValue } type { name kind ofType"
    " { name kind ofType { name kind ofType { name } } } } } inputFields { name type { name kind ofType { name } } }"
    " enumValues { name description } possibleTypes { name } } } }"
)


class Beat:
    """How long the loop was held at a stretch, in processor time of its thread."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._last = time.thread_time()
        self._on = True

    def begin(self) -> None:
        self.longest_ms, self._last = 0.0, time.thread_time()

    def beat(self) -> None:
        now = time.thread_time()
        self.longest_ms = max(self.longest_ms, (now - self._last) * 1_000)
        self._last = now
        if self._on:
            asyncio.get_running_loop().call_later(BEAT_SECONDS, self.beat)

    def end(self) -> None:
        self._on = False


async def ask(app: Any, document: str, token: str, address: str) -> tuple[int, bytes]:
    """One request to the application itself, no socket and no client between."""
    body = orjson.dumps({"query": document})
    sent: list[bytes] = []
    status = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        sent.append(message.get("body", b""))

    headers = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body)),
               "authorization": f"Bearer {token}", "x-query-cost": "1"}  # fmt: skip
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/graphql",
        "raw_path": b"/graphql", "query_string": b"", "root_path": "", "scheme": "http", "server": ("127.0.0.1", 1),
        "client": (address, 1), "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    return status, b"".join(sent)


async def measure(settings: Settings, email: str) -> None:
    configure_logs(settings.log_level)
    app = make_app(settings)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            device = {"id": new_id(), "name": "measured", "platform": "OTHER"}
            asked = {"query": SIGN_IN, "variables": {"email": email, "password": PASSWORD, "device": device}}
            found = (await client.post("/graphql", json=asked)).json()["data"]["signIn"]
        token = found["accessToken"]
        # as the server does once it is up
        gc.collect()
        gc.freeze()
        sys.stdout.write(
            f"{'document':<36}{'cost':>8}{'bytes':>11}{'first ms':>10}{'again ms':>10}{'held ms':>9}{'again':>9}\n"
        )
        for name, document in documents().items():
            beat = Beat()
            beat.beat()
            worked, held = [], []
            status, answer = 0, b""
            for _ in range(1 + ROUNDS):
                await asyncio.sleep(0.05)
                beat.begin()
                began = time.process_time()
                status, answer = await ask(app, document, token, "127.0.0.1")
                worked.append((time.process_time() - began) * 1_000)
                await asyncio.sleep(2 * BEAT_SECONDS)
                held.append(beat.longest_ms)
            beat.end()
            body = orjson.loads(answer)
            cost = body.get("extensions", {}).get("cost", {})
            priced = cost.get("cost", cost.get("total", "?")) if isinstance(cost, dict) else cost
            said = "" if "errors" not in body else f"  {body['errors'][0]['message'][:90]} {status}"
            over = f"  HOLDS OVER {LOOP_MS} ms" if min(held[1:]) > LOOP_MS else ""
            sys.stdout.write(
                f"{name:<36}{priced!s:>8}{len(answer):>11,}{worked[0]:>10.1f}{statistics.median(worked[1:]):>10.1f}"
                f"{held[0]:>9.1f}{statistics.median(held[1:]):>9.1f}{over}{said}\n"
            )
            sys.stdout.flush()


def main(words: list[str]) -> int:
    customers = max(SMALLEST, int(next(iter(words), SMALLEST)))
    with ExitStack() as stack:
        try:
            folder, url = stack.enter_context(postgres_server(None))
        except Unavailable as error:
            sys.stdout.write(f"no PostgreSQL, and the company is built there: {error}\n")
            return 0
        company = prepare(folder, url, customers, lambda _text: None)
        for name, at in (
            ("SQLite", f"sqlite://{folder / f'product-{customers}.sqlite3'}"),
            ("PostgreSQL", f"{url}/company_{customers}"),
        ):
            sys.stdout.write(f"{name}, {customers:,} customers\n")
            settings = Settings(
                database_url=at, data_dir=folder / f"accepted-{name}", demo=False, nightly=False, log_level="ERROR",
                user_requests_per_minute=0, device_requests_per_minute=0, address_requests_per_minute=0,
            )  # fmt: skip
            asyncio.run(measure(settings, company.chief))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
