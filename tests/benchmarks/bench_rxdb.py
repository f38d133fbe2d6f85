"""RxDB's own time for a first sync beside the server's share: `python -m tests.benchmarks.bench_rxdb [postgres]`.

10,000 shops of one territory into RxDB's memory storage under Node, in pages of 200 and of 1,000, on SQLite (or the
database named: `postgres`). Prints figures; nothing here is asserted.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import httpx

from backend.auth.principal import Role
from backend.config import Settings
from backend.storage.engine import Engine, open_engine
from tests.benchmarks.feeds import big_feed
from tests.clients.nodes import run_node
from tests.clients.rxdb.test_rxdb_client import CONTRACT, FOLDER, signed_in
from tests.databases import RunFolder, fresh_postgres, fresh_sqlite
from tests.factories import device, grant, user
from tests.servers import serve
from tests.sync.worlds import staff

SHOPS = 10_000
SCOPE = "territory:bench"
PAGES = (200, 1_000)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


async def bench(engine: Engine, folder: Path) -> None:
    await big_feed(engine, {SCOPE: SHOPS})
    schemas = json.loads((CONTRACT / "rxdb-schemas.json").read_text("utf-8"))
    document = _pull_document(list(schemas["customers"]["schema"]["properties"]))
    async with engine.write() as conn:
        rep = await user(conn)
        principal = staff(rep, await device(conn, rep), Role.REP)
        await grant(conn, rep, SCOPE)
    settings = Settings(database_url=engine.url, data_dir=folder / "var", access_token_seconds=3600)
    async with serve(settings) as served:
        me = await signed_in(served, principal)
        alone: dict[int, float] = {}
        for limit in PAGES:
            began, worked = time.perf_counter(), time.process_time()
            sent = await _pulled(served.client, document, limit, {"authorization": f"Bearer {me['token']}"})
            seconds, worked = time.perf_counter() - began, time.process_time() - worked
            alone[limit] = seconds * 1_000
            say(
                f"pages of {limit:,} without RxDB: {SHOPS / seconds:,.0f} documents/s, {sent / 1e6:.1f} MB in"
                f" {seconds:.2f} s; {SHOPS / worked:,.0f} documents per second of processor, client included"
            )
        for limit in PAGES:
            orders = {
                "server": f"http://127.0.0.1:{served.port}",
                "users": {"rep": me},
                "schemas": schemas,
                "batchSize": limit,
            }
            for line in await run_node(FOLDER / "bench.mjs", orders):
                say(
                    f"RxDB, pages of {limit:,}: {line['all']:,.0f} ms for {line['rows']:,} documents; the same pages"
                    f" without it took {alone[limit] / line['all']:.0%} of that"
                )


def _pull_document(fields: list[str]) -> str:
    """What RxDB's query builder prints."""
    asked = " ".join([*fields, "_deleted"])
    return (
        "query PullCustomers($checkpoint: CustomersInputCheckpoint, $limit: Int!) { pullCustomers("
        f"checkpoint: $checkpoint, limit: $limit) {{ documents {{ {asked} }} checkpoint {{ cursor }} }} }}"
    )


async def _pulled(client: httpx.AsyncClient, document: str, limit: int, headers: dict[str, str]) -> int:
    """Bytes of a whole first sync."""
    sent, checkpoint = 0, None
    while True:
        variables = {"checkpoint": checkpoint, "limit": limit}
        answer = await client.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
        sent += len(answer.content)
        page = answer.json()["data"]["pullCustomers"]
        checkpoint = page["checkpoint"]
        if len(page["documents"]) < limit:
            return sent


async def main(database: str) -> None:
    run = RunFolder.begin()
    try:
        with tempfile.TemporaryDirectory() as folder:
            if database == "postgres":
                async with fresh_postgres(await asyncio.to_thread(run.postgres_url)) as url:
                    await _on(url, Path(folder))
            else:
                await _on(fresh_sqlite(await asyncio.to_thread(run.sqlite_template), Path(folder)), Path(folder))
    finally:
        run.end()


async def _on(url: str, folder: Path) -> None:
    engine = open_engine(url)
    await engine.start()
    try:
        await bench(engine, folder)
    finally:
        await engine.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite"))
