"""RxDB as it comes from npm, with its own query builders, against a served organisation on both databases."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.auth.principal import Principal
from backend.auth.tokens import Tokens
from backend.config import Settings
from backend.ids import new_id
from backend.sync.feed import EPOCH_STEP
from backend.sync.work import Door, Work
from tests import factories
from tests.clients.nodes import run_node
from tests.house import House
from tests.servers import Served, serve
from tests.usecases.catalogues import stock

FOLDER = Path(__file__).parent
CONTRACT = Path(__file__).parents[3] / "mobile_contract"
NORTHERN, SOUTHERN = 320, 5


async def shops(house: House, patch: str, count: int) -> list[str]:
    ids: list[str] = []

    async def make(work: Work) -> None:
        for number in range(count):
            made = await factories.customer(work.conn, name_en=f"Shop {number}", territory_id=house.patches[patch])
            work.touched("customers", made)
            ids.append(made)

    await house.work("system", make, door=Door.JOB)
    return ids


async def article(house: House) -> dict[str, Any]:
    """A style in one colour and three sizes."""

    async def make(work: Work) -> dict[str, Any]:
        shelf = await stock(work)
        await work.conn.execute("UPDATE sku SET state = 'ACTIVE' WHERE id = ?", shelf.discontinued)
        return {
            "styleId": shelf.style,
            "colourId": shelf.colour,
            "skus": [shelf.small, shelf.medium, shelf.discontinued],
        }

    return await house.work("system", make, door=Door.JOB)


async def signed_in(served: Served, principal: Principal, tokens: Tokens | None = None) -> dict[str, str]:
    services, family_id = served.services, new_id()
    async with services.engine.write() as conn:
        await conn.execute(
            "INSERT INTO refresh_family (id, user_id, device_id, generation, rotated_at, expires_at)"
            " VALUES (?, ?, ?, 1, ?, ?)",
            family_id,
            principal.user_id,
            principal.device_id,
            services.clock(),
            services.clock() + 86_400_000,
        )
    token, _ = (tokens or services.tokens).issue(
        user_id=str(principal.user_id),
        device_id=str(principal.device_id),
        family_id=family_id,
        role=str(principal.role),
        locale="en",
    )
    return {"userId": str(principal.user_id), "token": token}


@asynccontextmanager
async def office(house: House, folder: Path, **more: Any) -> AsyncIterator[tuple[Served, dict[str, Any]]]:
    """The house, served, and the orders a script needs."""
    settings = Settings(
        database_url=house.engine.url, data_dir=folder, access_token_seconds=3600, rxdb_echo_seconds=1, **more
    )

    async def second_phone(work: Work) -> Principal:
        wei = house.people["wei"]
        return replace(wei, device_id=await factories.device(work.conn, str(wei.user_id)))

    house.people["wei2"] = await house.work("system", second_phone, door=Door.JOB)
    async with serve(settings) as served:
        users = {who: await signed_in(served, house.people[who]) for who in ("wei", "wei2", "na", "manager", "admin")}
        yield (
            served,
            {
                "server": f"http://127.0.0.1:{served.port}",
                "users": users,
                "schemas": json.loads((CONTRACT / "rxdb-schemas.json").read_text("utf-8")),
                "patches": house.patches,
            },
        )


def judge(printed: list[Any], at_least: int) -> None:
    failed = [line for line in printed if not line["ok"]]
    assert not failed, failed
    assert len(printed) >= at_least, [line["check"] for line in printed]


@pytest.mark.requirement("R4")
async def test_rxdb_syncs_as_it_comes(house: House, tmp_path: Path) -> None:
    orders = {"shops": await shops(house, "north", NORTHERN), "southern": await shops(house, "south", SOUTHERN)}
    orders["article"] = await article(house)  # type: ignore[assignment]
    async with office(house, tmp_path) as (_, served_orders):
        judge(await run_node(FOLDER / "scenario.mjs", {**served_orders, **orders}), 66)


@pytest.mark.requirement("R4")
async def test_rxdb_goes_on_when_a_token_or_a_checkpoint_is_worn_out(house: House, tmp_path: Path) -> None:
    orders = {"shops": await shops(house, "north", 30)}
    async with office(house, tmp_path) as (served, served_orders):
        wei = served_orders["users"]["wei"]
        services = served.services
        earlier = Tokens(services.keys, services.settings, lambda: services.clock() - 86_400_000)
        wei["expired"] = await signed_in(served, house.people["wei"], earlier)

        async def next_epoch(_: Request) -> Response:
            """As after a restore."""
            async with services.engine.write() as conn:
                await conn.execute("UPDATE sync_clock SET seq = seq + ?", EPOCH_STEP)
            return Response()

        served.app.router.routes.append(Route("/test/epoch", next_epoch, methods=["POST"]))
        wei["expired"] = wei["expired"]["token"]
        schemas_n = len(served_orders["schemas"])
        judge(await run_node(FOLDER / "again.mjs", {**served_orders, **orders}), 8 + schemas_n)


def test_the_page_shows_the_very_code_that_is_tested() -> None:
    page = (CONTRACT / "rxdb.md").read_text("utf-8")
    assert (FOLDER / "selvedge.mjs").read_text("utf-8").rstrip() in page
