"""RxDB's pull and push, rule by rule, on both databases: what chance rarely meets, and what a client may get wrong."""

from typing import Any

import orjson
import pytest

from backend.errors import Code, Refused
from backend.ids import new_id
from backend.sync import rxdb
from backend.sync.changes import Change, Intent
from backend.sync.places import Row
from backend.sync.rxdb import Removed
from backend.sync.rxdb_push import PushRow, answer_push
from backend.sync.work import Door, Work
from backend.usecases.customers import change_customers
from backend.usecases.territories import grant_territory, revoke_territory
from backend.wiring import USE_CASES
from tests import factories
from tests.house import House, patch
from tests.sync.worlds import SECRET

ECHO_MS = 10_000
WAIT_MS = 60_000


class RxDevice:
    """What RxDB keeps of one collection, and its two requests."""

    def __init__(self, house: House, who: str, name: str) -> None:
        self.house, self.who, self.name = house, who, name
        self.checkpoint: str | None = None
        self.documents: dict[str, Any] = {}

    async def ask(self, limit: int = 100, checkpoint: str | None = None) -> tuple[rxdb.Page, str]:
        return await rxdb.answer_pull(
            self.house.engine,
            self.house.people[self.who],
            self.name,
            checkpoint or self.checkpoint,
            limit,
            secret=SECRET,
            rows_max=1_000,
            echo_ms=ECHO_MS,
            retries_max=3,
            clock=lambda: self.house.now_ms,
            note_seconds=0,
        )

    async def pull(self, limit: int = 100, *, pages: int = 100) -> int:
        """A run of at most so many pages; how many there were."""
        for page_n in range(1, pages + 1):
            page, token = await self.ask(limit)
            for one in page.found:
                if isinstance(one, Removed):
                    self.documents.pop(one.record_id, None)
                else:
                    self.documents[one.record_id] = shown(one)
            if page.found:
                self.checkpoint = token
            if len(page.found) < limit:
                return page_n
        return pages

    async def push(self, *rows: tuple[Any, Any], rows_max: int = 500) -> list[Row | Removed]:
        return await answer_push(
            self.house.engine,
            self.house.people[self.who],
            self.name,
            [PushRow(assumed, new) for assumed, new in rows],
            USE_CASES,
            rows_max=rows_max,
            wait_ms=WAIT_MS,
            echo_ms=ECHO_MS,
            retries_max=3,
            clock=lambda: self.house.now_ms,
        )


def shown(row: Row) -> dict[str, Any]:
    return {**orjson.loads(row.document), "rev": row.seq, "_deleted": False}


async def shops(house: House, patch_name: str, count: int) -> list[str]:
    async def make(work: Work) -> list[str]:
        ids = [
            await factories.customer(work.conn, name_en=f"Shop {n}", territory_id=house.patches[patch_name])
            for n in range(count)
        ]
        for made in ids:
            work.touched("customers", made)
        return sorted(ids)

    return await house.work("system", make, door=Door.JOB)


async def seat(house: House, who: str, patch_name: str, *, given: bool) -> None:
    act = grant_territory if given else revoke_territory
    user_id = str(house.people[who].user_id)
    await house.work("system", lambda work: act(work, user_id, house.patches[patch_name]), door=Door.JOB)


async def move(house: House, shop: str, patch_name: str) -> None:
    async def story(work: Work) -> None:
        await work.conn.execute("UPDATE customer SET territory_id = ? WHERE id = ?", house.patches[patch_name], shop)
        work.touched("customers", shop, ())

    await house.work("system", story, door=Door.JOB)


async def horizon_at(house: House, seq: int) -> None:
    async with house.engine.write() as conn:
        await conn.execute("UPDATE sync_clock SET horizon = ?", seq)


async def issues(house: House) -> list[tuple[Any, ...]]:
    async with house.engine.read() as conn:
        rows = await conn.fetch(
            "SELECT collection, record_id, code, field, mine FROM sync_issue ORDER BY created_at, id"
        )
    return [tuple(row) for row in rows]


# -- pulling -------------------------------------------------------------------------------------------------------


async def away_while_the_territory_was(house: House) -> tuple[RxDevice, list[str]]:
    """A phone in the middle of being told of a territory it lost; one shop left that territory meanwhile."""
    ids = await shops(house, "north", 5)
    phone = RxDevice(house, "wei", "customers")
    await phone.pull()
    await seat(house, "wei", "north", given=False)
    await move(house, ids[4], "south")
    await phone.pull(2, pages=1)
    assert len(phone.documents) == 3
    return phone, ids


async def test_a_territory_given_back_does_not_end_the_telling_of_its_loss(house: House) -> None:
    phone, ids = await away_while_the_territory_was(house)
    await seat(house, "wei", "north", given=True)
    await phone.pull(2)
    assert sorted(phone.documents) == ids[:4]


async def test_what_is_still_to_be_told_of_a_loss_expires_with_the_history_it_needs(house: House) -> None:
    phone, _ = await away_while_the_territory_was(house)
    async with house.engine.read() as conn:
        clock, _ = await rxdb.read_clock(conn)
    await horizon_at(house, clock - 1)
    with pytest.raises(Refused, match="CURSOR_EXPIRED"):
        await phone.ask()


async def test_the_checkpoint_of_an_empty_answer_is_kept_for_the_client(house: House) -> None:
    """That client presents the old one for as long as nothing comes; history goes on without it."""
    await shops(house, "north", 2)
    phone = RxDevice(house, "wei", "customers")
    await phone.pull()
    for _ in range(3):
        await shops(house, "south", 1)
        page, _ = await phone.ask()
        assert page.found == ()
    async with house.engine.read() as conn:
        clock, _ = await rxdb.read_clock(conn)
    await horizon_at(house, clock)
    await phone.pull()
    new = await shops(house, "north", 1)
    await phone.pull()
    assert len(phone.documents) == 3
    assert new[0] in phone.documents


async def test_a_kept_answer_that_is_worn_out_is_no_obstacle_to_beginning_again(house: House) -> None:
    phone = RxDevice(house, "wei", "customers")
    await phone.pull()
    await shops(house, "south", 3)
    await shops(house, "north", 2)
    async with house.engine.read() as conn:
        clock, _ = await rxdb.read_clock(conn)
    await horizon_at(house, clock)
    await phone.pull()
    assert len(phone.documents) == 2


async def test_a_device_has_acked_what_its_slowest_collection_has(house: House) -> None:
    customers, contacts = RxDevice(house, "wei", "customers"), RxDevice(house, "wei", "contacts")
    await customers.pull()
    await contacts.pull()
    await shops(house, "north", 1)
    await contacts.pull()
    contacts_at = (await house.row("device", str(house.people["wei"].device_id), "acked_seq"))[0]
    await customers.pull()
    await shops(house, "north", 1)
    await customers.pull()
    async with house.engine.read() as conn:
        bases = await conn.fetch("SELECT collection, base_seq FROM rxdb_kept ORDER BY base_seq")
    acked = (await house.row("device", str(house.people["wei"].device_id), "acked_seq"))[0]
    assert acked == bases[0][1] >= contacts_at
    assert bases[0][1] < bases[-1][1]


async def test_a_checkpoint_is_good_for_its_collection_device_and_user_only(house: House) -> None:
    await shops(house, "north", 1)
    phone = RxDevice(house, "wei", "customers")
    await phone.pull()
    token = phone.checkpoint
    assert token is not None
    for other in (RxDevice(house, "na", "customers"), RxDevice(house, "wei", "contacts")):
        with pytest.raises(Refused, match="CURSOR_INVALID"):
            await other.ask(checkpoint=token)
    for position in range(len(token)):
        for letter in ("A", "_"):
            if token[position] != letter:
                with pytest.raises(Refused, match="CURSOR_INVALID"):
                    await phone.ask(checkpoint=token[:position] + letter + token[position + 1 :])
    for wrong in (" ", "é", "\ud800", token + "A", token[:-1], "." * 10_000):
        with pytest.raises(Refused, match="CURSOR_INVALID"):
            await phone.ask(checkpoint=wrong)


@pytest.mark.parametrize("limit", [0, -1, 1_001])
async def test_a_page_has_bounds(house: House, limit: int) -> None:
    with pytest.raises(Refused, match="OUT_OF_RANGE"):
        await RxDevice(house, "wei", "customers").ask(limit)


# -- pushing -------------------------------------------------------------------------------------------------------


async def shop_of(house: House) -> tuple[RxDevice, dict[str, Any]]:
    """A phone with one customer."""
    (shop,) = await shops(house, "north", 1)
    phone = RxDevice(house, "wei", "customers")
    await phone.pull()
    return phone, phone.documents[shop]


async def test_a_row_that_came_before_is_taken_in_silence(house: House) -> None:
    phone, before = await shop_of(house)
    row = (before, {**before, "city": "Suzhou"})
    assert await phone.push(row) == []
    rev = await house.rev("customers", before["id"])
    assert await phone.push(row) == await phone.push(row) == []
    assert await house.rev("customers", before["id"]) == rev
    assert await issues(house) == []


async def test_a_replay_after_somebody_elses_change_brings_the_record(house: House) -> None:
    """The phone may have left that change aside while its own was on the way; else it never hears of it again."""
    phone, before = await shop_of(house)
    row = (before, {**before, "city": "Suzhou"})
    await phone.push(row)
    rev = await house.rev("customers", before["id"])
    await house.change("manager", change_customers, patch(before["id"], rev, district="Gusu"))
    [instead] = await phone.push(row)
    assert isinstance(instead, Row)
    assert (shown(instead)["city"], shown(instead)["district"]) == ("Suzhou", "Gusu")
    assert await phone.push((shown(instead), shown(instead))) == []


async def test_disjoint_edits_merge_in_silence_and_the_merged_record_is_pulled(house: House) -> None:
    phone, before = await shop_of(house)
    await house.change("manager", change_customers, patch(before["id"], before["rev"], district="Gusu"))
    assert await phone.push((before, {**before, "city": "Suzhou"})) == []
    await phone.pull()
    held = phone.documents[before["id"]]
    assert (held["city"], held["district"]) == ("Suzhou", "Gusu")
    assert await issues(house) == []


async def test_a_conflict_is_answered_with_the_whole_record_and_kept_once(house: House) -> None:
    phone, before = await shop_of(house)
    await house.change("manager", change_customers, patch(before["id"], before["rev"], city="Wuxi"))
    row = (before, {**before, "city": "Suzhou", "postcode": "215001"})
    for _ in range(3):
        [instead] = await phone.push(row)
        assert isinstance(instead, Row)
        found = shown(instead)
        assert (found["city"], found["postcode"]) == ("Wuxi", "215001")
        assert found.keys() == before.keys()
    [(collection, record_id, code, field, mine)] = await issues(house)
    assert (collection, record_id, code, field) == ("customers", before["id"], "CONFLICT", "city")
    assert "Suzhou" in mine


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"geofenceM": -5}, "OUT_OF_RANGE"),
        ({"geofenceM": "wide"}, "INVALID_VALUE"),
        ({"openHours": ["MON"]}, "INVALID_VALUE"),
        ({"tags": "one"}, "INVALID_VALUE"),
        ({"kind": None}, "REQUIRED"),
        ({"city": {"de": ["ep"]}}, "INVALID_VALUE"),
        ({"colour": "red"}, "UNKNOWN_FIELD"),
        ({"rev": "new"}, "INVALID_VALUE"),
        ({"_deleted": "yes"}, "INVALID_VALUE"),
    ],
)
async def test_a_wrong_value_is_refused_with_the_master_and_the_other_rows_go_on(
    house: House, wrong: dict[str, Any], code: str
) -> None:
    phone, before = await shop_of(house)
    (other,) = await shops(house, "north", 1)
    await phone.pull()
    assumed = {**before, "rev": "old"} if "rev" in wrong else before
    rows = [(assumed, {**before, **wrong}), (phone.documents[other], {**phone.documents[other], "city": "Suzhou"})]
    for _ in range(2):
        [instead] = await phone.push(*rows)
        assert isinstance(instead, Row)
        assert shown(instead) == before
    assert (await house.row("customer", other, "city")) == ("Suzhou",)
    assert [found[2] for found in await issues(house)] == [code]


async def test_what_only_the_server_writes_is_passed_over(house: House) -> None:
    phone, before = await shop_of(house)
    assert await phone.push((before, {**before, "createdAt": "1999-01-01T00:00:00.000Z", "searchKeys": 7})) == []
    assert await phone.push((before, {**before, "_meta": {"lwt": 1}, "_rev": "1-a", "_attachments": {}})) == []
    assert await issues(house) == []
    assert await house.rev("customers", before["id"]) == before["rev"]


async def test_rows_that_are_no_records_are_kept_and_stop_nobody(house: House) -> None:
    phone, before = await shop_of(house)
    answers = await phone.push(
        (None, "text"), (None, 7), (None, {"id": "not an id"}), (None, {}), ("text", before), (None, {"id": before}),
        (before, {**before, "city": "Suzhou"}),
    )  # fmt: skip
    told = [one.record_id for one in answers if isinstance(one, Removed)]
    assert told == ["not an id"]
    assert (await house.row("customer", before["id"], "city")) == ("Suzhou",)
    assert {found[2] for found in await issues(house)} == {"INVALID_VALUE"}


async def test_ids_of_another_collection_or_territory_are_refused_and_tell_nothing(house: House) -> None:
    phone, before = await shop_of(house)
    (foreign,) = await shops(house, "south", 1)
    contacts = RxDevice(house, "wei", "contacts")
    answers = await contacts.push((None, {"id": before["id"], "nameEn": "A person"}))
    assert answers == [Removed(before["id"])]
    for assumed in (None, {**before, "id": foreign}):
        answers = await phone.push((assumed, {"id": foreign, "nameEn": "Mine", "kind": "RETAILER"}))
        assert answers == [Removed(foreign)]
    assert (await house.row("customer", foreign, "name_en")) == ("Shop 0",)
    assert [found[2] for found in await issues(house)] == ["ID_TAKEN", "ID_TAKEN", "NOT_FOUND"]


async def test_too_many_rows_are_refused_as_a_whole(house: House) -> None:
    rows = [(None, {"id": new_id(), "nameEn": f"{n}"}) for n in range(10_001)]
    with pytest.raises(Refused) as refused:
        await RxDevice(house, "wei", "contacts").push(*rows)
    assert refused.value.problems[0].code is Code.TOO_MANY
    assert refused.value.problems[0].allowed == ("500",)


async def test_a_row_that_names_a_record_on_its_way_is_asked_for_again_and_the_others_are_taken(house: House) -> None:
    """Collections are pushed side by side: a visit may come before its customer."""
    phone, before = await shop_of(house)
    shop, visits = new_id(), RxDevice(house, "wei", "visits")
    rep = house.people["wei"].user_id
    plan = {"repId": rep, "plannedAt": "2026-12-01T02:00:00.000Z", "purpose": "SELL"}
    early, ready = {"id": new_id(), "customerId": shop, **plan}, {"id": new_id(), "customerId": before["id"], **plan}
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await visits.push((None, early), (None, ready))
        assert refused.value.problems[0].code is Code.BUSY
    assert await house.row("visit", ready["id"], "state") == ("PLANNED",)
    assert await issues(house) == []
    await phone.push((None, {"id": shop, "nameEn": "New", "kind": "RETAILER"}))
    await visits.push((None, early), (None, ready))
    assert await house.row("visit", early["id"], "state") == ("PLANNED",)


async def test_a_row_whose_record_never_comes_is_refused_after_a_while(house: House) -> None:
    visits = RxDevice(house, "wei", "visits")
    lost = {"id": new_id(), "customerId": new_id(), "repId": house.people["wei"].user_id, "purpose": "SELL"}
    with pytest.raises(Refused, match="BUSY"):
        await visits.push((None, lost))
    house.now_ms += WAIT_MS
    assert await visits.push((None, lost)) == [Removed(lost["id"])]
    assert len(await issues(house)) == 1


async def test_a_row_whose_record_was_refused_does_not_wait(house: House) -> None:
    customers, visits = RxDevice(house, "wei", "customers"), RxDevice(house, "wei", "visits")
    shop = new_id()
    assert await customers.push((None, {"id": shop, "nameEn": "New", "kind": "NO_SUCH"})) == [Removed(shop)]
    lost = {"id": new_id(), "customerId": shop, "repId": house.people["wei"].user_id, "purpose": "SELL"}
    assert await visits.push((None, lost)) == [Removed(lost["id"])]


async def test_deleting_what_nobody_heard_of_and_what_is_gone_is_silence(house: House) -> None:
    contacts = RxDevice(house, "wei", "contacts")
    unheard = new_id()
    assert await contacts.push((None, {"id": unheard, "nameEn": "Nobody", "_deleted": True})) == []
    gone = {"id": new_id(), "nameEn": "Somebody"}
    assert await contacts.push((None, gone)) == []
    await contacts.pull()
    held = contacts.documents[gone["id"]]

    async def delete(work: Work) -> None:
        await work.conn.execute("DELETE FROM contact WHERE id = ?", gone["id"])
        work.deleted("contacts", gone["id"])

    await house.work("system", delete, door=Door.JOB)
    assert await contacts.push((held, {**held, "_deleted": True})) == []
    assert await contacts.push((held, {**held, "notes": "late"})) == [Removed(gone["id"])]
    back = ({**held, "_deleted": True}, {**held, "_deleted": False})
    assert await contacts.push(back) == [Removed(gone["id"])]  # nothing was kept of it that could come back
    assert await contacts.push(back) == [Removed(gone["id"])]
    assert [found[2] for found in await issues(house)] == ["DELETED", "RESTORE_TOO_LATE"]


async def test_undeleting_brings_the_record_back_with_what_was_changed_on_the_way(house: House) -> None:
    customers = RxDevice(house, "admin", "customers")
    shop = {"id": new_id(), "nameEn": "Corner", "kind": "RETAILER", "notes": "asks for linen"}
    assert await customers.push((None, shop)) == []
    await customers.pull()
    held = customers.documents[shop["id"]]
    assert await customers.push((held, {**held, "_deleted": True})) == []
    gone = {**held, "_deleted": True}
    assert await customers.push((gone, {**held, "nameEn": "Corner again", "rev": held["rev"]})) == []
    await customers.pull()
    back = customers.documents[shop["id"]]
    assert (back["nameEn"], back["notes"], back["_deleted"]) == ("Corner again", "asks for linen", False)
    assert await issues(house) == []


async def test_a_creation_sent_again_after_somebody_deleted_the_record_does_not_bring_it_back(house: House) -> None:
    customers = RxDevice(house, "wei", "customers")
    shop = {"id": new_id(), "nameEn": "Corner", "kind": "RETAILER"}
    assert await customers.push((None, shop)) == []
    await house.change("admin", change_customers, Change(shop["id"], Intent.DELETE))
    assert await customers.push((None, shop)) == [Removed(shop["id"])]
    assert await house.row("customer", shop["id"], "id") == ()


async def test_a_created_record_edited_before_its_answer_came_takes_both(house: House) -> None:
    """The app died after the server had written: what is pushed next has nothing it assumes."""
    contacts = RxDevice(house, "wei", "contacts")
    first = {"id": new_id(), "nameEn": "Once", "channels": {"WECHAT": "once"}}
    await contacts.push((None, first))
    await contacts.push((None, {**first, "notes": "and more", "channels": {"KAKAO": "more"}}))
    await contacts.pull()
    held = contacts.documents[first["id"]]
    assert (held["notes"], held["channels"]) == ("and more", {"KAKAO": "more", "WECHAT": "once"})
    assert await issues(house) == []


async def test_what_was_just_pushed_is_told_a_second_time_when_it_is_due(house: House) -> None:
    """RxDB leaves aside what comes of a record while its own write is on the way."""
    phone, before = await shop_of(house)
    await phone.push((before, {**before, "city": "Suzhou"}))
    page, token = await phone.ask()
    assert [one.record_id for one in page.found] == [before["id"]]
    phone.checkpoint = token
    assert (await phone.ask())[0].found == ()
    house.now_ms += ECHO_MS
    page, token = await phone.ask()
    assert [one.record_id for one in page.found] == [before["id"]]
    phone.checkpoint = token
    house.now_ms += ECHO_MS
    assert (await phone.ask())[0].found == ()


async def test_only_who_syncs_may(house: House) -> None:
    with pytest.raises(Refused, match="NOT_PERMITTED"):
        await RxDevice(house, "analyst", "customers").ask()
    with pytest.raises(Refused, match="NOT_PERMITTED"):
        await RxDevice(house, "analyst", "customers").push()


async def test_a_revoked_device_neither_pulls_nor_pushes(house: House) -> None:
    async with house.engine.write() as conn:
        await conn.execute("UPDATE device SET state = 'REVOKED' WHERE id = ?", house.people["wei"].device_id)
    phone = RxDevice(house, "wei", "contacts")
    for request in (phone.ask(), phone.push((None, {"id": new_id(), "nameEn": "A person"}))):
        with pytest.raises(Refused, match="DEVICE_REVOKED"):
            await request
