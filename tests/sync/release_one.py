"""What the tree of the first release is asked to do: bring a database into its shape, and settle a company there.

Run with that tree as the working directory; it is its own code that writes. Argument: the database's address.
Prints one JSON object with the ids.
"""

import asyncio
import json
import sys

from argon2 import PasswordHasher

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.ids import new_id
from backend.storage.engine import open_engine
from backend.storage.migrate import migrate
from backend.sync.changes import Change, Intent
from backend.sync.work import Door, Work, in_work
from backend.usecases.customers import change_customers
from backend.usecases.people import create_user
from backend.usecases.territories import create_territory, grant_territory
from backend.usecases.visits import change_visits

PASSWORD = "demo"


async def settle(url: str) -> dict[str, str]:
    await migrate(url)
    engine = open_engine(url)
    await engine.start()
    hashed = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(PASSWORD)
    ids: dict[str, str] = {}

    async def found(work: Work) -> None:
        zone = {"timezone": "Asia/Shanghai"}
        root = await create_territory(work, {"path": "/cn", "kind": "REGION", "nameEn": "China", **zone})
        patch = {"path": "/cn/north", "kind": "PATCH", "nameEn": "north", "parentId": root, **zone}
        ids["north"] = await create_territory(work, patch)
        for who, role, seat in (("wei", "REP", ids["north"]), ("manager", "MANAGER", root)):
            ids[who] = await create_user(work, email=f"{who}@haizhi.example", name=who, role=role, password_hash=hashed)
            await grant_territory(work, ids[who], seat)

    async def trade(work: Work) -> None:
        ids["shop"] = new_id()
        shop = {"nameEn": "Shop", "kind": "RETAILER"}
        outcomes = await change_customers(work, [Change(ids["shop"], Intent.CREATE, shop)])
        for name in ("visit", "other"):
            ids[name] = new_id()
            visit = {"customerId": ids["shop"], "plannedAt": work.now_ms}
            outcomes += await change_visits(work, [Change(ids[name], Intent.CREATE, visit)])
        assert not any(outcome.problems for outcome in outcomes), outcomes

    async def tell(principal: Principal, story: object, door: Door) -> None:
        await in_work(engine, principal, story, clock=lambda: NOW_MS, retries_max=3, door=door)  # type: ignore[arg-type]

    await tell(Principal(PrincipalKind.STAFF, user_id=new_id(), role=Role.ADMIN), found, Door.JOB)
    await tell(Principal(PrincipalKind.STAFF, user_id=ids["wei"], role=Role.REP), trade, Door.ONLINE)
    await engine.close()
    return ids


NOW_MS = 1_795_320_000_000

if __name__ == "__main__":
    print(json.dumps(asyncio.run(settle(sys.argv[1]))))  # noqa: T201
