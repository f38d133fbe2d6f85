"""A small organisation made through the use cases themselves: one region, two patches, a rep each, a manager.

The fixture `house` is known to every test by `tests/conftest.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.ids import new_id
from backend.storage.dialects import Dialect
from backend.storage.engine import Engine
from backend.sync.changes import Change, Intent, Outcome, UseCase
from backend.sync.work import Door, Work, in_work
from backend.usecases.people import create_user
from backend.usecases.territories import create_territory, grant_territory
from tests import factories
from tests.databases import rows_as_script, run_script

NOON_MS = 1_795_320_000_000
"""2026-11-22 04:00 UTC: noon in Shanghai, one o'clock in Seoul."""


T = TypeVar("T")

_BUILT: list[tuple[dict[str, Principal], dict[str, str], str]] = []
"""People, patches and rows of the house this process has built on PostgreSQL, where that takes longer than a test."""


@dataclass
class House:
    """Who works here and where; `work` and `change` act as one of them."""

    engine: Engine
    people: dict[str, Principal] = field(default_factory=dict)
    patches: dict[str, str] = field(default_factory=dict)
    now_ms: int = NOON_MS

    async def work(self, who: str, story: Callable[[Work], Awaitable[T]], *, door: Door = Door.ONLINE) -> T:
        result, _ = await in_work(
            self.engine, self.people[who], story, clock=lambda: self.now_ms, retries_max=3, door=door
        )
        return result

    async def change(self, who: str, use_case: UseCase, *changes: Change) -> list[Outcome]:
        return await self.work(who, lambda work: use_case(work, changes))

    async def rev(self, collection: str, record_id: str) -> int:
        async with self.engine.read() as conn:
            rows = await conn.fetch("SELECT seq FROM feed WHERE key = ?", f"{collection}:{record_id}")
        return int(rows[0][0])

    async def row(self, table: str, record_id: str, *columns: str) -> tuple[object, ...]:
        async with self.engine.read() as conn:
            rows = await conn.fetch(f"SELECT {', '.join(columns)} FROM {table} WHERE id = ?", record_id)
        return tuple(rows[0]) if rows else ()


def create(record_id: str, fields: Mapping[str, object], *, captured_at_ms: int | None = None) -> Change:
    return Change(record_id, Intent.CREATE, fields, captured_at_ms=captured_at_ms)


def patch(record_id: str, base_rev: int, **fields: object) -> Change:
    return Change(record_id, Intent.PATCH, fields, base_rev)


@pytest.fixture
async def house(engine: Engine) -> House:
    house = House(engine)
    if _BUILT and engine.dialect is Dialect.POSTGRES:
        people, patches, script = _BUILT[0]
        house.people, house.patches = dict(people), dict(patches)
        async with engine.write() as conn:
            await run_script(conn, script)
        return house
    system = Principal(PrincipalKind.STAFF, user_id=new_id(), device_id=None, role=Role.ADMIN)
    house.people["system"] = system

    async def build(work: Work) -> None:
        root = await create_territory(work, _node("/cn", "REGION", "China"))
        for name in ("north", "south"):
            fields = {**_node(f"/cn/{name}", "PATCH", name), "parentId": root}
            house.patches[name] = await create_territory(work, fields)
        for who, role in (("wei", "REP"), ("na", "REP"), ("manager", "MANAGER"), ("admin", "ADMIN"),
                          ("agent", "SERVICE_AGENT"), ("analyst", "ANALYST")):  # fmt: skip
            user_id = await create_user(work, email=f"{who}@haizhi.example", name=who, role=role, password_hash="none")
            device_id = new_id()
            await factories.device(work.conn, user_id=user_id, id=device_id)
            house.people[who] = Principal(PrincipalKind.STAFF, user_id=user_id, device_id=device_id, role=Role(role))
        await grant_territory(work, str(house.people["wei"].user_id), house.patches["north"])
        await grant_territory(work, str(house.people["na"].user_id), house.patches["south"])
        await grant_territory(work, str(house.people["manager"].user_id), root)

    await house.work("system", build, door=Door.JOB)
    if engine.dialect is Dialect.POSTGRES:
        async with engine.read() as conn:
            _BUILT.append((dict(house.people), dict(house.patches), await rows_as_script(conn)))
    return house


def _node(path: str, kind: str, name: str) -> dict[str, object]:
    return {"path": path, "kind": kind, "nameEn": name, "timezone": "Asia/Shanghai"}
