"""Tasks are seen by whoever has them to do and by those who answer for the territory, not by all who read customers."""

import importlib
from types import SimpleNamespace

import pytest
from tortoise import Tortoise, connections

from backend.domain.territories import Move
from backend.errors import Code
from backend.ids import new_id
from backend.storage.engine import Connection
from backend.storage.migrate import tortoise_config
from backend.storage.visibility import visible_to
from backend.sync.changes import Change, Intent
from backend.sync.doctor import check_feed
from backend.sync.work import Work
from backend.usecases.customers import change_customers
from backend.usecases.tasks import change_tasks
from backend.usecases.territories import move_customers
from backend.wiring import USE_CASES
from mobile_contract.replica import Replica
from tests import factories
from tests.house import NOON_MS, House, create
from tests.usecases.phones import sync, synced

READERS = ("wei", "na", "manager", "admin", "agent", "analyst")


class Scene:
    """A shop of wei's with his task and one the agent has there, a file at each, and a task about nobody."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.shop, self.unplaced = new_id(), new_id()
        self.weis, self.agents, self.nobodys, self.roots = (new_id() for _ in range(4))
        self.files = {self.weis: new_id(), self.agents: new_id()}

    @property
    def named(self) -> dict[str, str]:
        return {self.weis: "wei's", self.agents: "agent's", self.nobodys: "agent's own", self.roots: "of no territory"}

    async def seen(self, who: str, collection: str = "tasks") -> set[str]:
        """What a reader is shown online."""
        principal = self.house.people[who]
        table = {"tasks": "task", "attachments": "attachment"}[collection]
        visible, args = visible_to(principal, collection, "t")
        async with self.house.engine.read() as conn:
            rows = await conn.fetch(f"SELECT t.id FROM {table} t WHERE {visible}", *args)
        return {row[0] for row in rows}

    async def held(self, replica: Replica, collection: str = "tasks") -> set[str]:
        return {record_id for name, record_id in replica.documents if name == collection}


@pytest.fixture
async def scene(house: House) -> Scene:
    made = Scene(house)
    shop = {"nameEn": "Shop", "kind": "RETAILER"}
    for who, use_case, wish in (
        ("wei", change_customers, create(made.shop, shop)),
        ("admin", change_customers, create(made.unplaced, shop)),
        ("wei", change_tasks, create(made.weis, {"customerId": made.shop, "title": "call"})),
        ("agent", change_tasks, create(made.agents, {"customerId": made.shop, "title": "ask"})),
        ("agent", change_tasks, create(made.nobodys, {"title": "tidy"})),
        ("admin", change_tasks, create(made.roots, {"customerId": made.unplaced, "title": "place"})),
    ):
        [outcome] = await house.change(who, use_case, wish)
        assert outcome.problems == (), (who, outcome)

    async def hang(work: Work) -> None:
        for task_id, file_id in made.files.items():
            await factories.insert(
                work.conn, "attachment", id=file_id, collection="tasks", record_id=task_id, kind="PHOTO",
                file_name="a.png", mime="image/png", size_bytes=1, proof=False, sha256="0" * 64, state="PENDING",
                preview_state="NONE", created_at=NOON_MS, created_by=house.people["wei"].user_id,
            )  # fmt: skip
            work.touched("attachments", file_id)

    await house.work("system", hang)
    return made


@pytest.mark.requirement("R49")
async def test_who_has_a_queue_of_his_own_sees_that_and_no_more(scene: Scene) -> None:
    weis, agents, nobodys, roots = scene.weis, scene.agents, scene.nobodys, scene.roots
    wanted = {
        "wei": {weis, agents},
        "na": set(),
        "manager": {weis, agents, roots},
        "admin": {weis, agents, nobodys, roots},
        "agent": {agents, nobodys},
        "analyst": set(),
    }
    for who in READERS:
        tasks = wanted[who]
        assert await scene.seen(who) == tasks, who
        files = {scene.files[one] for one in tasks & scene.files.keys()}
        assert await scene.seen(who, "attachments") == files, who
    for who in ("wei", "na", "manager", "admin", "agent"):
        replica = await synced(scene.house, who)
        assert await scene.held(replica) == wanted[who], who
        assert await scene.held(replica, "attachments") == {
            scene.files[one] for one in wanted[who] & scene.files.keys()
        }, who
    assert ("customers", scene.shop) in (await synced(scene.house, "agent")).documents


async def test_a_colleague_who_becomes_an_agent_keeps_his_own_tasks_and_loses_the_others(scene: Scene) -> None:
    house = scene.house
    wei = house.people["wei"]
    phone = await synced(house, "wei")
    assert await scene.held(phone) == {scene.weis, scene.agents}

    async def becomes(work: Work) -> None:
        await work.conn.execute("UPDATE user_account SET role = 'SERVICE_AGENT' WHERE id = ?", wei.user_id)
        await work.conn.execute("UPDATE territory_member SET valid_to = 1 WHERE user_id = ?", wei.user_id)
        work.reseat([str(wei.user_id)])

    await house.work("system", becomes)
    house.people["wei"] = type(wei)(
        wei.kind, user_id=wei.user_id, device_id=wei.device_id, role=house.people["agent"].role
    )
    await sync(house, "wei", phone)
    assert await scene.held(phone) == {scene.weis}
    assert await scene.held(phone, "attachments") == {scene.files[scene.weis]}
    assert ("customers", scene.shop) in phone.documents, "its customer he goes on reading"
    assert await scene.seen("wei") == {scene.weis}


async def test_a_task_follows_its_customer_and_comes_back_where_that_stands(scene: Scene) -> None:
    house = scene.house
    north, south, agent = [await synced(house, who) for who in ("wei", "na", "agent")]
    for task in (scene.agents, scene.weis):
        await house.change("admin", change_tasks, Change(task, Intent.DELETE))
    house.now_ms += 1_000
    moves = [Move(scene.shop, house.patches["south"])]
    await house.work("admin", lambda work: move_customers(work, moves))
    for who, phone in (("wei", north), ("na", south), ("agent", agent)):
        await sync(house, who, phone)
    for phone in (north, south):
        assert await scene.held(phone) == set()
    assert await scene.held(agent) == {scene.nobodys}
    back = USE_CASES["tasks", Intent.RESTORE]
    [outcome] = await house.change("agent", back, Change(scene.weis, Intent.RESTORE))
    assert [one.code for one in outcome.problems] == [Code.NOT_FOUND], "what he never saw he does not bring back"
    for who, task in (("agent", scene.agents), ("na", scene.weis)):
        [outcome] = await house.change(who, back, Change(task, Intent.RESTORE))
        assert outcome.problems == (), who
    for who, phone in (("wei", north), ("na", south), ("agent", agent)):
        await sync(house, who, phone)
    assert await scene.held(north) == {scene.weis}, "his own, wherever its customer stands"
    assert await scene.held(south) == {scene.weis, scene.agents}
    assert await scene.held(agent) == {scene.nobodys, scene.agents}


async def _as_it_was(conn: Connection) -> None:
    """Places, sums and grants as they were while tasks stood where their customers stand."""
    old = "CASE WHEN {0} = 'unassigned_tasks' THEN 'unassigned' ELSE 'territory:' || substr({0}, 7) END"
    apart = "(scope = 'unassigned_tasks' OR scope LIKE 'tasks:%')"
    await conn.execute(f"UPDATE feed_scope SET scope = {old.format('scope')} WHERE {apart}")
    sums = await conn.fetch(f"SELECT {old.format('scope')}, collection, total, live FROM scope_sum WHERE {apart}")
    await conn.execute(f"DELETE FROM scope_sum WHERE {apart}")
    for scope, collection, total, live in sums:
        await conn.execute(
            "INSERT INTO scope_sum (key, scope, collection, total, live) VALUES (?, ?, ?, ?, ?)",
            f"{scope}/{collection}", scope, collection, total, live,
        )  # fmt: skip
    await conn.execute(f"DELETE FROM user_scope WHERE {apart}")


async def test_a_database_of_before_is_set_right_and_devices_lose_what_they_may_not_see(scene: Scene) -> None:
    house = scene.house
    async with house.engine.write() as conn:
        await _as_it_was(conn)
    phones = {who: await synced(house, who) for who in ("wei", "manager", "agent")}
    assert await scene.held(phones["agent"]) == {scene.weis, scene.agents, scene.nobodys, scene.roots}
    before = {who: await scene.held(phones[who]) for who in ("wei", "manager")}
    found = importlib.import_module("backend.storage.migrations.0023_tasks_apart")
    await Tortoise.init(config=tortoise_config(house.engine.url))
    try:
        [client] = connections.all()
        await found.set_tasks_apart(None, SimpleNamespace(client=client))
    finally:
        await Tortoise.close_connections()
    report = await check_feed(house.engine)
    assert report.findings == []
    for who, phone in phones.items():
        await sync(house, who, phone)
        assert phone.refetch == []
    assert await scene.held(phones["agent"]) == {scene.agents, scene.nobodys}
    assert await scene.held(phones["agent"], "attachments") == {scene.files[scene.agents]}
    for who, tasks in before.items():
        assert await scene.held(phones[who]) == tasks
        assert await scene.held(phones[who], "attachments") == set(scene.files.values())
    assert await scene.seen("analyst") == set()
