"""Work captured before a territory changed hands is taken from who had it then; what came after is not."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from backend.domain.territories import GRACE_DAYS, Move
from backend.domain.times import DAY_MS
from backend.ids import new_id
from backend.sync.doctor import check_feed
from backend.sync.protocol import answer_push
from backend.sync.push import Answer, Mutation
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.merges import merge_records
from backend.usecases.orders import change_orders
from backend.usecases.tasks import change_tasks
from backend.usecases.territories import create_territory, grant_territory, move_customers, revoke_territory
from backend.usecases.visits import change_visits
from backend.wiring import USE_CASES
from tests.house import House, create, patch
from tests.usecases.phones import sync, synced

HOUR_MS = 3_600_000
Fields = Mapping[str, object]


@dataclass
class Queue:
    """The queue of one person's phone in the house; `hand_in` pushes what was put since."""

    house: House
    who: str
    client_seq: int = 0
    waiting: list[Mutation] = field(default_factory=list)

    def put(
        self,
        collection: str,
        record_id: str,
        fields: Fields,
        *,
        captured_at_ms: int | None,
        base_rev: int | None = None,
        **more: Any,
    ) -> str:
        self.client_seq += 1
        made = Mutation(
            new_id(), self.client_seq, collection, record_id, base_rev, fields, captured_at_ms=captured_at_ms, **more
        )
        self.waiting.append(made)
        return made.id

    async def hand_in(self, **options: Any) -> list[Answer]:
        sent, self.waiting = self.waiting, []
        _, answers = await answer_push(
            self.house.engine,
            self.house.people[self.who],
            sent,
            USE_CASES,
            mutations_max=500,
            retries_max=3,
            clock=lambda: self.house.now_ms,
            **options,
        )
        self.sent = sent
        return answers


@pytest.fixture
def queue(house: House) -> Queue:
    return Queue(house, "wei")


async def a_shop(house: House, who: str = "wei") -> str:
    shop = new_id()
    [made] = await house.change(who, change_customers, create(shop, {"nameEn": "Shop", "kind": "RETAILER"}))
    assert made.problems == ()
    return shop


async def move(house: House, shop: str, patch_name: str) -> None:
    assert await house.work("manager", lambda work: move_customers(work, [Move(shop, house.patches[patch_name])])) == 1


async def revoke(house: House, who: str, patch_name: str) -> None:
    user_id = str(house.people[who].user_id)
    await house.work("manager", lambda work: revoke_territory(work, user_id, house.patches[patch_name]))


async def grant(house: House, who: str, patch_name: str) -> None:
    user_id = str(house.people[who].user_id)
    await house.work("manager", lambda work: grant_territory(work, user_id, house.patches[patch_name]))


def visit(shop: str, at_ms: int) -> Fields:
    return {"customerId": shop, "plannedAt": at_ms + DAY_MS}


async def lose(house: House, shop: str, how: str) -> None:
    await (move(house, shop, "south") if how == "moved" else revoke(house, "wei", "north"))


def codes(answer: Answer) -> list[str]:
    return [problem.code.value for problem in answer.problems]


@pytest.mark.parametrize("how", ["moved", "revoked"])
async def test_work_captured_before_the_change_is_taken_marked_and_answered_without_the_record(
    house: House, queue: Queue, how: str
) -> None:
    shop, planned, task, order = await a_shop(house), new_id(), new_id(), new_id()
    order_fields = {"customerId": shop, "currency": "CNY", "lines": []}
    for use_case, record_id, fields in (
        (change_visits, planned, visit(shop, house.now_ms)),
        (change_tasks, task, {"customerId": shop, "title": "Call", "assigneeId": house.people["manager"].user_id}),
        (change_orders, order, order_fields),
    ):
        who = "manager" if use_case is change_tasks else "wei"
        [made] = await house.change(who, use_case, create(record_id, fields))
        assert made.problems == ()
    bases = {
        name: await house.rev(name, record_id)
        for name, record_id in (("customers", shop), ("visits", planned), ("tasks", task), ("orders", order))
    }
    captured = house.now_ms + HOUR_MS
    new = {name: new_id() for name in ("visits", "tasks", "orders")}
    queue.put("customers", shop, {"notes": "closed on Mondays"}, captured_at_ms=captured, base_rev=bases["customers"])
    queue.put("visits", planned, {"nextStep": "bring samples"}, captured_at_ms=captured, base_rev=bases["visits"])
    queue.put("tasks", task, {"notes": "done half"}, captured_at_ms=captured, base_rev=bases["tasks"])
    queue.put("orders", order, {"poNumber": "A1"}, captured_at_ms=captured, base_rev=bases["orders"])
    queue.put("visits", new["visits"], visit(shop, captured), captured_at_ms=captured)
    queue.put(
        "visits", new["visits"], {"nextStep": "come back"}, captured_at_ms=captured + 1, base_rev=0
    )  # of a record the former rep could never see
    queue.put("orders", new["orders"], order_fields, captured_at_ms=captured)
    queue.put("tasks", new["tasks"], {"customerId": shop, "title": "Ring"}, captured_at_ms=captured)
    house.now_ms += 2 * HOUR_MS
    await lose(house, shop, how)
    house.now_ms += DAY_MS
    answers = await queue.hand_in()
    # moving it was a change of the customer by somebody else
    assert [answer.status.value for answer in answers] == ["MERGED" if how == "moved" else "APPLIED", *["APPLIED"] * 7]
    assert all(answer.late for answer in answers)
    # a task of his own is his by another scope; all else he reads no more
    assert [len(answer.records) for answer in answers] == [0] * 7 + [1]
    territory = house.patches["south" if how == "moved" else "north"]
    for table, record_id in (("visit", planned), ("visit", new["visits"]), ("sales_order", new["orders"])):
        assert await house.row(table, record_id, "territory_id", "accepted_late_at") == (territory, house.now_ms)
    assert await house.row("visit", new["visits"], "next_step") == ("come back",)
    assert await house.row("customer", shop, "notes", "territory_id") == ("closed on Mondays", territory)
    async with house.engine.read() as conn:
        audited = await conn.fetch("SELECT collection FROM audit_entry WHERE action = 'GRACE' ORDER BY collection")
        issues = await conn.fetch("SELECT code FROM sync_issue")
    assert [row[0] for row in audited] == ["customers", *["orders"] * 2, *["tasks"] * 2, *["visits"] * 3]
    assert issues == []
    assert (await check_feed(house.engine)).counts == {}
    # whoever has it now pulls it like any other record, with the mark
    holder = await synced(house, "na" if how == "moved" else "manager")
    assert holder.documents["visits", new["visits"]]["acceptedLateAt"] is not None
    former = await synced(house, "wei")
    assert not {key for key in former.documents if key[1] in {shop, planned, task, order, *list(new.values())[::2]}}


@pytest.mark.parametrize("how", ["moved", "revoked"])
async def test_what_was_taken_and_could_not_be_shown_again_is_not_replaced_unseen(
    house: House, queue: Queue, how: str
) -> None:
    """His phone goes on showing the record without his first tag, until it pulls that the record has left him. What
    he enters once more, thinking it lost, is there once."""
    shop = await a_shop(house)
    rev = await house.rev("customers", shop)
    nothing = {"tags": [], "notes": None}
    house.now_ms += HOUR_MS
    await lose(house, shop, how)
    first = ("window", "closed on Mondays")
    for tag, line in (first, ("corner", "asks for samples"), first):
        said = {"tags": [tag], "notes": line}
        queue.put("customers", shop, said, captured_at_ms=house.now_ms - HOUR_MS // 2, base_rev=rev, base=nothing)
        [answer] = await queue.hand_in()
        assert (answer.late, answer.records) == (True, [])
    tags, notes = await house.row("customer", shop, "tags", "notes")
    assert orjson.loads(tags) == ["corner", "window"]
    assert notes == "closed on Mondays\nasks for samples"


@pytest.mark.parametrize("how", ["moved", "revoked"])
async def test_what_was_captured_afterwards_or_too_long_ago_or_at_no_known_time_is_kept_and_not_taken(
    house: House, queue: Queue, how: str
) -> None:
    shop = await a_shop(house)
    house.now_ms += HOUR_MS
    before = house.now_ms - 1
    lost_at = house.now_ms
    await lose(house, shop, how)
    house.now_ms += HOUR_MS
    for captured in (lost_at, house.now_ms, None):
        queue.put("visits", new_id(), visit(shop, lost_at), captured_at_ms=captured)
    answers = await queue.hand_in()
    assert [(answer.status.value, answer.late, codes(answer)) for answer in answers] == [
        ("REFUSED", False, ["NOT_FOUND"])
    ] * 3
    house.now_ms = lost_at + GRACE_DAYS * DAY_MS
    queue.put("visits", new_id(), visit(shop, lost_at), captured_at_ms=before)
    [in_time] = await queue.hand_in()
    assert (in_time.status.value, in_time.late) == ("APPLIED", True)
    house.now_ms += 1
    queue.put("visits", new_id(), visit(shop, lost_at), captured_at_ms=before)
    queue.put("customers", shop, {"notes": "x"}, captured_at_ms=before, base_rev=0)
    for answer in await queue.hand_in():
        assert (answer.status.value, codes(answer)) == ("REFUSED", ["NOT_FOUND"])
    async with house.engine.read() as conn:
        assert await conn.fetch("SELECT COUNT(*) FROM sync_issue") == [(5,)]


async def test_the_days_of_grace_are_a_setting_and_none_means_none(house: House, queue: Queue) -> None:
    shop = await a_shop(house)
    house.now_ms += HOUR_MS
    await move(house, shop, "south")
    captured = house.now_ms - 1
    house.now_ms += 2 * DAY_MS
    for days, status in ((0, "REFUSED"), (1, "REFUSED"), (2, "APPLIED")):
        queue.put("visits", new_id(), visit(shop, captured), captured_at_ms=captured)
        [answer] = await queue.hand_in(grace_days=days)
        assert answer.status.value == status


async def test_who_never_had_it_has_no_grace_nor_who_had_it_later_than_he_says(house: House) -> None:
    shop = await a_shop(house)
    house.now_ms += HOUR_MS
    stranger = Queue(house, "na")
    stranger.put("visits", new_id(), visit(shop, house.now_ms), captured_at_ms=house.now_ms - 1)
    stranger.put("customers", shop, {"notes": "mine?"}, captured_at_ms=house.now_ms - 1, base_rev=0)
    await grant(house, "na", "north")
    granted_at = house.now_ms
    house.now_ms += HOUR_MS
    await revoke(house, "na", "north")
    house.now_ms += HOUR_MS
    stranger.put("visits", new_id(), visit(shop, granted_at), captured_at_ms=granted_at)
    answers = await stranger.hand_in()
    assert [(answer.status.value, answer.late) for answer in answers] == [
        ("REFUSED", False), ("REFUSED", False), ("APPLIED", True)
    ]  # fmt: skip


async def test_a_door_seen_and_not_held_then_is_not_written_now(house: House, queue: Queue) -> None:
    """The head of a chain was seen by the rep of a door; grace gives no right he did not have."""
    head = await a_shop(house, "na")
    door = new_id()
    await house.change("wei", change_customers, create(door, {"nameEn": "Door", "kind": "RETAILER", "parentId": head}))
    captured = house.now_ms + 1
    house.now_ms += HOUR_MS
    await move(house, door, "south")
    queue.put("customers", head, {"notes": "x"}, captured_at_ms=captured, base_rev=0)
    queue.put("visits", new_id(), visit(head, captured), captured_at_ms=captured)
    queue.put("visits", new_id(), visit(door, captured), captured_at_ms=captured)
    answers = await queue.hand_in()
    assert [codes(answer) for answer in answers] == [["NOT_PERMITTED"], ["NOT_PERMITTED"], []]


async def test_each_record_a_late_change_names_must_have_been_seen_when_it_was_captured(
    house: House, queue: Queue
) -> None:
    """A link between a customer lost later and a contact lost before is late for the one, and nothing for the other."""
    shop, other, contact = await a_shop(house), await a_shop(house), new_id()
    await house.change("wei", change_contacts, create(contact, {"nameEn": "Ann"}))
    link = create(new_id(), {"customerId": other, "contactId": contact, "role": "BUYER"})
    [made] = await house.change("wei", change_customer_contacts, link)
    assert made.problems == ()
    house.now_ms += HOUR_MS
    seen_both = house.now_ms - 1
    await move(house, other, "south")
    house.now_ms += HOUR_MS
    seen_one = house.now_ms - 1
    await move(house, shop, "south")
    house.now_ms += HOUR_MS
    fields = {"customerId": shop, "contactId": contact, "role": "OWNER"}
    queue.put("customerContacts", new_id(), fields, captured_at_ms=seen_one)
    queue.put("customerContacts", new_id(), fields, captured_at_ms=seen_both)
    early, late = await queue.hand_in()
    assert (early.status.value, [problem.path for problem in early.problems]) == ("REFUSED", [("contactId",)])
    assert (late.status.value, late.late) == ("APPLIED", True), codes(late)


async def test_who_may_not_read_it_any_more_is_not_told_what_stands(house: House, queue: Queue) -> None:
    shop = await a_shop(house)
    base = await house.rev("customers", shop)
    captured = house.now_ms + 1
    house.now_ms += HOUR_MS
    await move(house, shop, "south")
    rev = await house.rev("customers", shop)
    [theirs] = await house.change("na", change_customers, patch(shop, rev, nameEn="The secret new name"))
    assert theirs.problems == ()
    queue.put("customers", shop, {"nameEn": "Mine", "termsDays": 30}, captured_at_ms=captured, base_rev=base)
    [answer] = await queue.hand_in()
    assert (answer.status.value, answer.late, answer.records) == ("CONFLICT", True, [])
    assert await house.row("customer", shop, "name_en", "terms_days") == ("The secret new name", 30)
    former = await synced(house, "wei")
    [issue] = [d for (name, _), d in former.documents.items() if name == "syncIssues"]
    assert issue["mine"] == "Mine"
    assert "secret" not in orjson.dumps(list(former.documents.values())).decode()


async def test_a_replay_says_the_same_and_that_it_came_late(house: House, queue: Queue) -> None:
    shop = await a_shop(house)
    house.now_ms += HOUR_MS
    await move(house, shop, "south")
    queue.put("visits", new_id(), visit(shop, house.now_ms), captured_at_ms=house.now_ms - 1)
    [first] = await queue.hand_in()
    house.now_ms += 60 * DAY_MS
    queue.waiting = queue.sent
    [again] = await queue.hand_in()
    assert (first.status, first.late, first.records) == (again.status, again.late, again.records)
    assert again.late


async def test_one_queue_holds_what_is_late_what_is_not_and_what_came_after(house: House, queue: Queue) -> None:
    gone, kept = await a_shop(house), await a_shop(house)
    house.now_ms += HOUR_MS
    captured = house.now_ms - 1
    await move(house, gone, "south")
    house.now_ms += HOUR_MS
    for shop, at_ms in ((gone, captured), (kept, captured), (gone, house.now_ms), (kept, house.now_ms)):
        queue.put("visits", new_id(), visit(shop, captured), captured_at_ms=at_ms)
    answers = await queue.hand_in()
    assert [(answer.status.value, answer.late, len(answer.records)) for answer in answers] == [
        ("APPLIED", True, 0), ("APPLIED", False, 1), ("REFUSED", False, 0), ("APPLIED", False, 1)
    ]  # fmt: skip


async def test_a_group_with_late_work_stands_or_falls_together(house: House, queue: Queue) -> None:
    gone, kept, first, second = await a_shop(house), await a_shop(house), new_id(), new_id()
    house.now_ms += HOUR_MS
    captured = house.now_ms - 1
    await move(house, gone, "south")
    house.now_ms += HOUR_MS
    queue.put("visits", first, visit(kept, captured), captured_at_ms=captured, group="a")
    queue.put("visits", new_id(), visit(gone, captured), captured_at_ms=house.now_ms, group="a")
    queue.put("visits", second, visit(kept, captured), captured_at_ms=captured, group="b")
    queue.put("visits", new_id(), visit(gone, captured), captured_at_ms=captured, group="b")
    answers = await queue.hand_in()
    assert [(answer.status.value, answer.late) for answer in answers] == [
        ("DEPENDENCY_FAILED", False), ("REFUSED", False), ("APPLIED", False), ("APPLIED", True)
    ]  # fmt: skip
    assert await house.row("visit", first, "id") == ()
    assert await house.row("visit", second, "id") == (second,)


async def test_a_customer_made_for_a_territory_held_then_comes_into_it(house: House, queue: Queue) -> None:
    captured = house.now_ms + 1
    house.now_ms += HOUR_MS
    await revoke(house, "wei", "north")
    shop = new_id()
    fields = {"nameEn": "New", "kind": "RETAILER", "territoryId": house.patches["north"]}
    queue.put("customers", shop, fields, captured_at_ms=captured)
    queue.put("customers", new_id(), fields, captured_at_ms=house.now_ms)
    taken, refused = await queue.hand_in()
    assert (taken.status.value, taken.late) == ("APPLIED", True)
    assert await house.row("customer", shop, "territory_id") == (house.patches["north"],)
    assert (refused.status.value, codes(refused)) == ("REFUSED", ["NOT_FOUND"])


async def test_work_for_a_record_merged_into_one_elsewhere_lands_on_the_survivor(house: House, queue: Queue) -> None:
    mine, theirs = await a_shop(house), await a_shop(house, "na")
    captured = house.now_ms + 1
    house.now_ms += HOUR_MS
    await house.work("manager", lambda work: merge_records(work, "customers", theirs, [mine]))
    made = new_id()
    queue.put("visits", made, visit(mine, captured), captured_at_ms=captured)
    queue.put("visits", new_id(), visit(mine, captured), captured_at_ms=house.now_ms)
    taken, refused = await queue.hand_in()
    assert (taken.status.value, taken.late) == ("APPLIED", True), codes(taken)
    assert await house.row("visit", made, "customer_id", "territory_id") == (theirs, house.patches["south"])
    assert codes(refused) == ["NOT_FOUND"]


# -- clocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong_by_ms", [-3 * DAY_MS, -HOUR_MS, 0, 5 * DAY_MS])
async def test_a_clock_days_wrong_changes_nothing_when_the_device_says_what_it_shows(
    house: House, queue: Queue, wrong_by_ms: int
) -> None:
    shop = await a_shop(house)
    house.now_ms += HOUR_MS
    moved_at = house.now_ms
    await move(house, shop, "south")
    house.now_ms += HOUR_MS
    for at_ms in (moved_at - 1, moved_at):
        queue.put("visits", new_id(), visit(shop, moved_at), captured_at_ms=at_ms + wrong_by_ms)
    answers = await queue.hand_in(device_now_ms=house.now_ms + wrong_by_ms)
    assert [answer.late for answer in answers] == [True, False]
    # said once, it holds for a push that does not say it
    queue.put("visits", new_id(), visit(shop, moved_at), captured_at_ms=moved_at - 1 + wrong_by_ms)
    queue.put("visits", new_id(), visit(shop, moved_at), captured_at_ms=moved_at + wrong_by_ms)
    assert [answer.late for answer in await queue.hand_in()] == [True, False]


async def test_an_absurd_clock_proves_nothing(house: House, queue: Queue) -> None:
    shop = await a_shop(house)
    house.now_ms += HOUR_MS
    moved_at = house.now_ms
    await move(house, shop, "south")
    house.now_ms += HOUR_MS
    for wrong_by, status in ((-house.now_ms, "REFUSED"), (-31 * DAY_MS, "REFUSED"), (31 * DAY_MS, "REFUSED"),
                             (29 * DAY_MS, "APPLIED")):  # fmt: skip
        queue.put("visits", new_id(), visit(shop, house.now_ms), captured_at_ms=moved_at - 1 + wrong_by)
        [answer] = await queue.hand_in(device_now_ms=house.now_ms + wrong_by)
        assert answer.status.value == status, wrong_by


async def test_a_capture_in_the_future_is_taken_for_now(house: House, queue: Queue) -> None:
    task = new_id()
    queue.put("tasks", task, {"title": "Call", "state": "DONE"}, captured_at_ms=house.now_ms + 5 * DAY_MS)
    [answer] = await queue.hand_in(device_now_ms=house.now_ms)
    assert answer.status.value == "APPLIED"
    assert await house.row("task", task, "done_at") == (house.now_ms,)


async def test_the_last_capture_wins_by_corrected_clocks(house: House) -> None:
    """Two phones, one three days fast and one two days slow: who captured last by the true clock stands."""
    shop = await a_shop(house)
    base = await house.rev("customers", shop)
    fast, slow = Queue(house, "wei"), Queue(house, "manager")
    true_first, true_last = house.now_ms + HOUR_MS, house.now_ms + 2 * HOUR_MS
    fast.put("customers", shop, {"latE7": 1, "lonE7": 1}, captured_at_ms=true_first + 3 * DAY_MS, base_rev=base)
    slow.put("customers", shop, {"latE7": 2, "lonE7": 2}, captured_at_ms=true_last - 2 * DAY_MS, base_rev=base)
    house.now_ms += 3 * HOUR_MS
    await slow.hand_in(device_now_ms=house.now_ms - 2 * DAY_MS)
    await fast.hand_in(device_now_ms=house.now_ms + 3 * DAY_MS)
    assert await house.row("customer", shop, "lat_e7") == (2,)


# -- any order of moves, grants, captures and pushes -------------------------------------------------------------

PATCHES = ("north", "south", "west")


@dataclass
class Model:
    """What is true at every moment: (moment, territory of each shop, moment each territory was given to wei)."""

    states: list[tuple[int, dict[str, str], dict[str, int]]] = field(default_factory=list)

    def add(self, at_ms: int, shops: dict[str, str], held: dict[str, int]) -> None:
        self.states.append((at_ms, dict(shops), dict(held)))

    def expected(self, shop: str, captured: int | None, now: int) -> str:
        _, shops, held = self.states[-1]
        if shops[shop] in held:
            return "taken"
        if captured is None:
            return "refused"
        for (_, before, had), (at_ms, after, has) in zip(self.states, self.states[1:], strict=False):
            stood = before.get(shop)
            lost = stood in had and (after[shop] != stood or stood not in has)
            if lost and had[str(stood)] <= captured < at_ms and now - at_ms <= GRACE_DAYS * DAY_MS:
                return "late"
        return "refused"


@pytest.mark.parametrize("seed", range(4))
async def test_any_history_agrees_with_a_model_that_replays_it(house: House, seed: int) -> None:
    rng = random.Random(seed)
    queue, model = Queue(house, "wei"), Model()
    house.patches["west"] = await _west(house)
    shops = {await a_shop(house): "north" for _ in range(3)}
    held = {"north": 0}
    async with house.engine.read() as conn:
        granted = await conn.fetch(
            "SELECT granted_at FROM user_scope WHERE user_id = ? AND scope = ?",
            house.people["wei"].user_id,
            f"territory:{house.patches['north']}",
        )
    held["north"] = granted[0][0]
    began = house.now_ms
    model.add(house.now_ms, shops, held)
    seen: dict[str, int] = {"taken": 0, "late": 0, "refused": 0}
    for _ in range(45):
        house.now_ms += rng.choice((1, HOUR_MS, DAY_MS, 5 * DAY_MS))
        chance = rng.random()
        if chance < 0.3:
            shop = rng.choice(list(shops))
            target = rng.choice([name for name in PATCHES if name != shops[shop]])
            await move(house, shop, target)
            shops[shop] = target
        elif chance < 0.45:
            name = rng.choice(PATCHES)
            await (revoke(house, "wei", name) if name in held else grant(house, "wei", name))
            if name in held:
                del held[name]
            else:
                held[name] = house.now_ms
        model.add(house.now_ms, shops, held)
        house.now_ms += 1
        wrong_by = rng.choice((0, 0, 2 * DAY_MS, -DAY_MS))
        wanted = []
        for shop in shops:
            captured = rng.choice((None, house.now_ms, rng.randint(began - DAY_MS, house.now_ms)))
            if rng.random() < 0.5:  # at the very edge of a change
                captured = rng.choice(model.states)[0] - rng.choice((0, 1))
            shown = None if captured is None else captured + wrong_by
            if rng.random() < 0.5:
                queue.put("visits", new_id(), visit(shop, house.now_ms), captured_at_ms=shown)
            else:
                queue.put("customers", shop, {"tags": [f"t{queue.client_seq}"]}, captured_at_ms=shown, base_rev=0)
            wanted.append(model.expected(shop, captured, house.now_ms))
        answers = await queue.hand_in(device_now_ms=house.now_ms + wrong_by)
        found = ["late" if a.late else "refused" if a.status.value == "REFUSED" else "taken" for a in answers]
        assert found == wanted, (seed, [codes(answer) for answer in answers])
        for kind in wanted:
            seen[kind] += 1
        for shop, name in shops.items():
            assert await house.row("customer", shop, "territory_id") == (house.patches[name],)
    assert min(seen.values()) >= 5, seen
    assert (await check_feed(house.engine)).counts == {}
    phone = await synced(house, "wei")
    mine = {shop for shop, name in shops.items() if name in held}
    assert {key[1] for key in phone.documents if key[0] == "customers"} == mine
    assert {d["customerId"] for key, d in phone.documents.items() if key[0] == "visits"} <= mine
    await sync(house, "wei", phone)


async def _west(house: House) -> str:
    from_root = {"path": "/cn/west", "kind": "PATCH", "nameEn": "west", "timezone": "Asia/Shanghai"}
    async with house.engine.read() as conn:
        [(root,)] = await conn.fetch("SELECT id FROM territory WHERE path = '/cn'")
    return await house.work("admin", lambda work: create_territory(work, {**from_root, "parentId": root}))
