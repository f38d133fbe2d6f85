"""An organisation for one episode: two areas of two patches, four reps, the manager of one area, an admin."""

import random
import uuid
from collections.abc import Callable

from backend.auth.principal import Principal, PrincipalKind, Role
from backend.storage.engine import Engine
from backend.sync.work import Door, Work, in_work
from backend.usecases.people import create_user
from backend.usecases.territories import create_territory, grant_territory
from tests.chaos.model import Scope, User
from tests.chaos.world import Device, Shelf
from tests.factories import FIRST_SEQ
from tests.usecases.catalogues import stock

REPS = 4
KEPT = frozenset({"sync_clock", "audit_latch"})


async def empty(engine: Engine) -> None:
    """Nothing is left of the episode before; the feed begins its next epoch, as after a restore."""
    async with engine.write() as conn:
        if conn.dialect.value == "sqlite":
            rows = await conn.fetch("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        else:
            rows = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        # the audit lets nothing go but while its latch is open
        await conn.execute("DELETE FROM audit_latch")
        await conn.execute("INSERT INTO audit_latch (id, is_open) VALUES (1, ?)", True)
        for (table,) in rows:
            if table not in KEPT and "migration" not in table and "aerich" not in table:
                await conn.execute(f'DELETE FROM "{table}"')
        await conn.execute("UPDATE audit_latch SET is_open = ?", False)
        ((clock,),) = await conn.fetch("SELECT seq FROM sync_clock")
        await conn.execute("UPDATE sync_clock SET seq = ?, horizon = 0", (clock // FIRST_SEQ + 1) * FIRST_SEQ)


async def build(
    engine: Engine, seed: int, wall_ms: Callable[[], int], password_hash: str
) -> tuple[Scope, list[Device], Shelf]:
    """The organisation in the database, and what the model must know of it."""
    dice = random.Random(f"{seed}/stage")
    made: list[tuple[User, list[str]]] = []
    below: dict[str, list[str]] = {}

    async def story(work: Work) -> Shelf:
        root = await create_territory(work, _node(dice, f"/r{seed}", "REGION", None))
        patches: list[str] = []
        areas = []
        for area in ("east", "west"):
            node = await create_territory(work, _node(dice, f"/r{seed}/{area}", "AREA", root))
            inside = [
                await create_territory(work, _node(dice, f"/r{seed}/{area}/{n}", "PATCH", node)) for n in range(2)
            ]
            below.update({node: inside, **{patch: [patch] for patch in inside}})
            areas.append(node)
            patches += inside
        for number in range(REPS):
            seats = [patches[number]]
            made.append((await _person(work, seed, f"rep{number + 1}", "REP", password_hash), seats))
        made.append((await _person(work, seed, "manager", "MANAGER", password_hash), [areas[0]]))
        made.append((await _person(work, seed, "admin", "ADMIN", password_hash), []))
        for user, seats in made:
            for seat in seats:
                await grant_territory(work, user.id, seat)
        shelf = await stock(work)
        return Shelf(shelf.style, shelf.colour, (shelf.small, shelf.medium))

    system = Principal(PrincipalKind.STAFF, user_id="system", device_id=None, role=Role.ADMIN)
    shelf, _ = await in_work(engine, system, story, clock=wall_ms, retries_max=5, door=Door.JOB)
    scope = Scope([user for user, _ in made], below)
    devices = []
    for user, seats in made:
        for seat in seats:
            scope.seat(user.id, seat, 0.0)
        for letter in "ab" if user.name == "rep1" else "a":
            device = Device(f"{user.name}.{letter}", user, random.Random(f"{seed}/{user.name}/{letter}"), wall_ms)
            device.fresh()
            devices.append(device)
    return scope, devices, shelf


def _node(dice: random.Random, path: str, kind: str, parent: str | None) -> dict[str, object]:
    made = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    return {"id": made, "path": path, "kind": kind, "nameEn": path[1:], "timezone": "Asia/Shanghai", "parentId": parent}


async def _person(work: Work, seed: int, name: str, role: str, password_hash: str) -> User:
    email = f"{name}.{seed}@haizhi.example"
    made = await create_user(work, email=email, name=name, role=role, password_hash=password_hash)
    return User(made, name, role, email)
