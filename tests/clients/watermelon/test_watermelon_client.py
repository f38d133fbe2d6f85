"""WatermelonDB as it comes from npm, with both its adapters, against a served organisation on both databases."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.sync.work import Door, Work
from tests import factories
from tests.clients.nodes import run_node
from tests.clients.watermelon.sessions import signed_in
from tests.house import House
from tests.servers import serve
from tests.usecases.catalogues import stock

FOLDER = Path(__file__).parent
CONTRACT = Path(__file__).parents[3] / "mobile_contract"
CHECKS_MIN = 80


async def begun(house: House) -> dict[str, Any]:
    """A catalogue, some shops in both patches, a second phone."""

    async def build(work: Work) -> dict[str, Any]:
        shelf = await stock(work)
        shops: dict[str, list[str]] = {}
        for patch, count in (("north", 30), ("south", 5)):
            for number in range(count):
                made = await factories.customer(
                    work.conn, name_en=f"Shop {number}", territory_id=house.patches[patch], tags=["shop"]
                )
                work.touched("customers", made)
                shops.setdefault(patch, []).append(made)
        for who in ("wei", "admin"):
            person = house.people[who]
            house.people[f"{who}2"] = replace(person, device_id=await factories.device(work.conn, str(person.user_id)))
        told = {"style": shelf.style, "colour": shelf.colour, "small": shelf.small, "medium": shelf.medium}
        return {"shops": shops["north"], "shelf": {**told, "priceList": shelf.price_list}}

    return await house.work("system", build, door=Door.JOB)


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("kind", ["sqlite", "loki"])
async def test_watermelondb_syncs_as_it_comes(house: House, tmp_path: Path, kind: str) -> None:
    orders = await begun(house)
    settings = Settings(database_url=house.engine.url, data_dir=tmp_path / "var", access_token_seconds=3600)
    async with serve(settings) as served:
        users = {who: await signed_in(served, principal) for who, principal in house.people.items() if who != "system"}
        printed = await run_node(
            FOLDER / "checks.mjs",
            {
                **orders,
                "kind": kind,
                "server": f"http://127.0.0.1:{served.port}",
                "users": users,
                "patches": house.patches,
                "page": str(CONTRACT / "watermelon.md"),
                "schema": str(CONTRACT / "watermelon-schema.json"),
                "folder": str(tmp_path),
                "now": wall_clock_ms(),
            },
        )
    assert [line for line in printed if not line["ok"]] == []
    assert len(printed) >= CHECKS_MIN
