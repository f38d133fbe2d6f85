"""WatermelonDB's own time for a first sync beside the server's share: `python -m tests.benchmarks.bench_watermelon`.

10,000 shops of one territory, by `watermelonPull` and by `/sync/turbo`, into both of WatermelonDB's adapters under
Node, on SQLite (or the database named: `postgres`). Prints figures; nothing here is asserted.
"""

import asyncio
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
from tests.clients.watermelon.sessions import signed_in
from tests.databases import RunFolder, fresh_postgres, fresh_sqlite
from tests.factories import device, grant, user
from tests.servers import serve
from tests.sync.worlds import staff

SHOPS = 10_000
SCOPE = "territory:bench"
SCRIPT = Path(__file__).parents[1] / "clients" / "watermelon" / "bench.mjs"
CONTRACT = Path(__file__).parents[2] / "mobile_contract"
PULL = 'query { watermelonPull(schemaVersion: 1, tables: ["customers"]) { changes timestamp } }'


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


async def bench(engine: Engine, folder: Path) -> None:
    await big_feed(engine, {SCOPE: SHOPS})
    async with engine.write() as conn:
        rep = await user(conn)
        principal = staff(rep, await device(conn, rep), Role.REP)
        await grant(conn, rep, SCOPE)
    settings = Settings(database_url=engine.url, data_dir=folder / "var", access_token_seconds=3600)
    async with serve(settings) as served:
        me = await signed_in(served, principal)
        headers = {"authorization": f"Bearer {me['token']}"}
        for name in ("watermelonPull", "/sync/turbo"):
            began, bytes_sent = time.perf_counter(), await _fetched(served.client, name, headers)
            seconds = time.perf_counter() - began
            say(f"{name}: {SHOPS / seconds:,.0f} documents/s, {bytes_sent / 1e6:.1f} MB in {seconds:.2f} s")
        for kind in ("sqlite", "loki"):
            orders = {
                "server": f"http://127.0.0.1:{served.port}", "token": me["token"], "kind": kind, "folder": str(folder),
                "page": str(CONTRACT / "watermelon.md"), "schema": str(CONTRACT / "watermelon-schema.json"),
            }  # fmt: skip
            for line in await run_node(SCRIPT, orders):
                say(
                    f"{kind} by {line['by']}: {line['all']:,.0f} ms, of them waiting for the server"
                    f" {line['server']:,.0f} ms ({line['server'] / line['all']:.0%}); {line['rows']:,} rows"
                )


async def _fetched(client: httpx.AsyncClient, name: str, headers: dict[str, str]) -> int:
    if name.startswith("/"):
        answer = await client.get(name, params={"tables": "customers"}, headers=headers)
    else:
        answer = await client.post("/graphql", json={"query": PULL}, headers=headers)
    answer.raise_for_status()
    return len(answer.content)


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
